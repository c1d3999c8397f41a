/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/follow.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/interrupt.h"
#include "client/cli/job.h"
#include "common/base/clock.h"

enum {
    WHY_FIRST_MS = 1500, /* a job that has not started by then: say why, within 2 s */
    WHY_NEXT_MS = 5000,
};

void follow_init(struct follow *f, struct cli *cli, uint64_t id, int out_fd, int err_fd)
{
    *f = (struct follow){.cli = cli,
                         .id = id,
                         .out.fd = out_fd,
                         .err.fd = err_fd,
                         .until_ms = NEVER_MS,
                         .interrupt_fd = -1,
                         .why_ms = clock_mono_ms() + WHY_FIRST_MS};
}

void follow_fini(struct follow *f)
{
    stint_call_free(&f->call);
}

/* Live bytes that begin at offset `at`. False where they cannot be written. */
static bool stream_live(struct follow *f, struct follow_stream *s, uint64_t at,
                        struct stint_bytes bytes)
{
    if (s->is_held || bytes.size == 0)
        return true;
    if (at > s->shown) {
        s->is_held = true;
        return true;
    }
    size_t known = (size_t)min_u64(s->shown - at, bytes.size);
    s->shown += bytes.size - known;
    return s->fd < 0 ||
           cli_write(f->cli, s->fd, (const char *)bytes.data + known, bytes.size - known);
}

/* What of the kept output was not shown yet; `total` bytes were written by the job. Kept output is
 * the whole, or a head and a tail of equal size. */
static bool stream_rest(struct follow *f, struct follow_stream *s, struct stint_bytes kept,
                        uint64_t total)
{
    uint64_t skip = min_u64(s->shown, kept.size);
    if (total > kept.size) {
        uint64_t missing = sub_sat_u64(total, s->shown);
        uint64_t half = kept.size / 2;
        if (s->shown >= half || missing <= half)
            skip = kept.size - min_u64(missing, kept.size - half);
    }
    return s->fd < 0 ||
           cli_write(f->cli, s->fd, (const char *)kept.data + skip, kept.size - (size_t)skip);
}

static void why_say(struct follow *f, const char *why)
{
    if (why[0] == '\0' || strcmp(why, f->why) == 0)
        return;
    snprintf(f->why, sizeof f->why, "%s", why);
    cli_say(f->cli, "job %llu waits: %s", (unsigned long long)f->id, why);
}

/* Asks why the job does not start; blocks for one round trip. */
static int why_ask(struct follow *f)
{
    struct stint_call *c = NULL;
    int status = stint_get_start(f->cli->stint, f->id, 0, &c);
    if (status == STINT_OK)
        status = stint_call_wait(c, WHY_FIRST_MS);
    if (status == STINT_OK) {
        json_t *job = cli_json(f->cli, c);
        const char *state = job_text(job, "state");
        if (strcmp(state, "ready") == 0 || strcmp(state, "scheduled") == 0)
            why_say(f, job_text(job, "waiting_for"));
        json_decref(job);
    }
    stint_call_free(&c);
    f->why_ms = clock_mono_ms() + WHY_NEXT_MS;
    return EXIT_DONE;
}

/* Writes what a reply of FOLLOW brings. */
static int follow_take(struct follow *f)
{
    struct stint_follow news;
    int status = stint_call_status(f->call);
    if (status != STINT_OK)
        return cli_fail_call(f->cli, f->call);
    status = stint_follow_reply(f->call, &news);
    if (status != STINT_OK)
        return cli_fail(f->cli, status);
    memcpy(f->known.state, news.state, sizeof f->known.state);
    if (news.attempt < f->known.attempt || news.attempt == 0)
        return EXIT_DONE; /* a broker that started anew and has not heard of the attempt yet */
    if (news.attempt > f->known.attempt) {
        if (f->known.attempt > 0)
            cli_say(f->cli, "job %llu: attempt %u begins", (unsigned long long)f->id, news.attempt);
        f->out.shown = f->err.shown = 0;
        f->out.is_held = f->err.is_held = false;
    }
    bool ok = stream_live(f, &f->out, news.stdout_at, news.out) &&
              stream_live(f, &f->err, news.stderr_at, news.err);
    f->known.attempt = news.attempt;
    /* a held stream asks for its newest bytes only, so that the poll does not answer at once */
    f->known.stdout_at = max_u64(f->out.shown, news.stdout_at + news.out.size);
    f->known.stderr_at = max_u64(f->err.shown, news.stderr_at + news.err.size);
    return ok ? EXIT_DONE : EXIT_INTERNAL;
}

static int follow_end(struct follow *f, json_t **ret_job, struct stint_call **ret_call)
{
    struct stint_call *c = NULL;
    int status = stint_get_start(f->cli->stint, f->id, STINT_WANT_STDOUT | STINT_WANT_STDERR, &c);
    if (status != STINT_OK)
        return cli_fail(f->cli, status);
    int code = cli_finish(f->cli, &c);
    if (code != EXIT_DONE)
        return code;
    json_t *job = cli_json(f->cli, c);
    if (job == NULL) {
        stint_call_free(&c);
        return EXIT_INTERNAL;
    }
    if (job_number(job, "attempts") != f->known.attempt)
        f->out.shown = f->err.shown = 0;
    /* Whether the live view happened to show all of it is chance, and no base for an exit code. */
    f->is_cut = json_is_true(json_object_get(job, "truncated"));
    bool ok = stream_rest(f, &f->out, stint_call_body(c, 0), job_number(job, "stdout_bytes")) &&
              stream_rest(f, &f->err, stint_call_body(c, 1), job_number(job, "stderr_bytes"));
    *ret_job = job;
    *ret_call = c;
    return ok ? EXIT_DONE : EXIT_INTERNAL;
}

static int follow_signals(struct follow *f)
{
    int number = 0;
    int code = 0;
    while (code == 0 && f->on_signal != NULL && (number = interrupt_take()) != 0)
        code = f->on_signal(f, number);
    return code;
}

int follow_job(struct follow *f, json_t **ret_job, struct stint_call **ret_call)
{
    while (!job_is_final(f->known.state)) {
        uint64_t now_ms = clock_mono_ms();
        bool is_waiting = strcmp(f->known.state, "running") != 0;
        int code = follow_signals(f);
        if (code == 0 && now_ms >= f->until_ms)
            code = f->until_code;
        if (code == 0 && is_waiting && now_ms >= f->why_ms && stint_is_connected(f->cli->stint))
            code = why_ask(f);
        if (code == 0 && f->call == NULL) {
            int status = stint_follow_start(f->cli->stint, f->id, &f->known, &f->call);
            code = status != STINT_OK ? cli_fail(f->cli, status) : 0;
        }
        if (code != 0)
            return code;
        if (!stint_call_is_done(f->call)) {
            struct pollfd fd = {.fd = f->interrupt_fd, .events = POLLIN};
            uint64_t next_ms = min_u64(f->until_ms, is_waiting ? f->why_ms : NEVER_MS);
            now_ms = clock_mono_ms();
            int timeout_ms =
                next_ms == NEVER_MS ? -1 : (int)min_u64(sub_sat_u64(next_ms, now_ms) + 1, 60000);
            stint_poll(f->cli->stint, &fd, f->interrupt_fd >= 0 ? 1 : 0, timeout_ms);
        }
        if (stint_call_is_done(f->call)) {
            code = follow_take(f);
            stint_call_free(&f->call);
            if (code != 0)
                return code;
        }
    }
    return follow_end(f, ret_job, ret_call);
}
