/* SPDX-License-Identifier: MPL-2.0 */
/* wait.c - `stint wait`: until all jobs of a selection have finished, or with --any one of them. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/bar.h"
#include "client/cli/cli.h"
#include "client/cli/interrupt.h"
#include "client/cli/job.h"
#include "client/cli/selector.h"
#include "client/cli/watch.h"
#include "client/cli/why.h"
#include "common/base/clock.h"

static const struct conf_option options_wait[] = {
    {.name = "timeout",
     .kind = CONF_DURATION,
     .value_default = "none",
     .metavar = "TIME",
     .help = "stop waiting after this time, exit 124",
     .group = "Wait"},
    {.name = "any",
     .kind = CONF_FLAG,
     .help = "stop at the first job that finishes and print its id",
     .group = "Wait"},
    {.name = NULL},
};

static const struct conf_option *const tables[] = {options_wait, NULL};

static const struct conf_example examples[] = {
    {"stint wait last", "exit 0 when all of them succeeded"},
    {"stint wait --timeout 10m 40-45", NULL},
    {"stint submit -- ./nightly.sh | stint wait -", NULL},
    {NULL, NULL},
};

enum {
    FAILED_NAMED_MAX = 10
};

struct waiting {
    struct cli *cli;
    struct watch watch;
    struct bar bar;
    uint64_t failed;
    int code;
    bool is_any;
    bool is_over; /* --any: one has finished */
};

static void wait_finished(void *arg, const struct stint_finished *job)
{
    struct waiting *w = arg;
    if (w->is_any && w->is_over)
        return;
    w->code = exit_worse(w->code, job_exit(job->state, job->truncated));
    bool is_bad = strcmp(job->state, "succeeded") != 0;
    w->failed += is_bad;
    if ((is_bad || job->truncated) && w->failed <= FAILED_NAMED_MAX) {
        struct buf why;
        buf_init(&why, 1024);
        job_why(&why, job->state, job->reason, job->exit_code, job->signal);
        cli_say(w->cli, "job %llu %s%s", (unsigned long long)job->id, buf_cstr(&why),
                job->truncated ? "; its output was cut" : "");
        buf_fini(&why);
    }
    if (w->cli->is_json) {
        json_t *out = json_pack("{s:s}", "state", job->state);
        char id[24];
        snprintf(id, sizeof id, "%llu", (unsigned long long)job->id);
        json_object_set_new(out, "id", json_string(id));
        json_object_set_new(out, "reason",
                            job->reason[0] != '\0' ? json_string(job->reason) : json_null());
        json_object_set_new(out, "exit_code",
                            job->exit_code >= 0 ? json_integer(job->exit_code) : json_null());
        json_object_set_new(out, "signal",
                            job->signal > 0 ? json_integer(job->signal) : json_null());
        json_object_set_new(out, "attempts", json_integer((json_int_t)job->attempts));
        json_object_set_new(out, "run_seconds", json_real(job->run_seconds));
        json_object_set_new(out, "worker", json_string(job->worker));
        json_object_set_new(out, "stdout_bytes", json_integer((json_int_t)job->stdout_bytes));
        json_object_set_new(out, "stderr_bytes", json_integer((json_int_t)job->stderr_bytes));
        json_object_set_new(out, "truncated", json_boolean(job->truncated));
        cli_print_json(w->cli, out);
        json_decref(out);
    } else if (w->is_any) {
        printf("%llu\n", (unsigned long long)job->id);
    }
    w->is_over = true;
}

static bool wait_is_over(const struct waiting *w)
{
    return watch_is_done(&w->watch) || (w->is_any && w->is_over);
}

/* One turn: 0 to go on, or an exit code. */
static int wait_turn(struct waiting *w, uint64_t until_ms, uint64_t now_ms)
{
    int code = watch_step(&w->watch, 10000, now_ms);
    int number = interrupt_take();
    if (number != 0)
        return EXIT_SIGNAL + number;
    if (code != EXIT_DONE || wait_is_over(w))
        return code;
    if (now_ms >= until_ms)
        return cli_error(w->cli, STINT_TIMEOUT, "unfinished jobs: %llu",
                         (unsigned long long)w->watch.open.count);
    return EXIT_DONE;
}

static int wait_loop(struct waiting *w, uint64_t until_ms, int interrupt_fd)
{
    struct why why;
    int code = EXIT_DONE;
    why_init(&why, w->cli, clock_mono_ms());
    while (code == EXIT_DONE && !wait_is_over(w)) {
        uint64_t now_ms = clock_mono_ms();
        code = wait_turn(w, until_ms, now_ms);
        why_step(&why, &w->watch.open, w->watch.told, now_ms);
        bar_update(&w->bar, w->watch.told, w->watch.told + w->watch.open.count, w->failed, now_ms);
        bool has_answer = w->watch.call != NULL && stint_call_is_done(w->watch.call);
        if (code != EXIT_DONE || has_answer)
            continue;
        uint64_t next_ms =
            min_u64(min_u64(until_ms, watch_deadline_ms(&w->watch)), why_deadline_ms(&why));
        if (w->bar.is_on)
            next_ms = min_u64(next_ms, now_ms + 500);
        struct pollfd fd = {.fd = interrupt_fd, .events = POLLIN};
        int wait_ms = (int)min_u64(sub_sat_u64(next_ms, now_ms) + 1, 60000);
        if (!wait_is_over(w))
            stint_poll(w->cli->stint, &fd, interrupt_fd >= 0 ? 1 : 0, wait_ms);
    }
    why_fini(&why);
    return code;
}

static int run(struct cli *cli)
{
    struct waiting w = {.cli = cli, .is_any = conf_flag(cli->conf, "any")};
    watch_init(&w.watch, cli, false);
    w.watch.finished = wait_finished;
    w.watch.arg = &w;
    int code = selector_read(cli, &w.watch.open);
    if (code == EXIT_DONE) {
        uint64_t now_ms = clock_mono_ms();
        int interrupt_fd = interrupt_setup();
        stint_set_interrupt_fd(cli->stint, interrupt_fd);
        bool is_terminal = isatty(STDERR_FILENO) && !cli->is_quiet && !cli->is_json;
        bar_init(&w.bar, is_terminal && w.watch.open.count > 1, now_ms);
        cli->bar = &w.bar;
        code = wait_loop(&w, add_sat_u64(now_ms, conf_ms(cli->conf, "timeout")), interrupt_fd);
        bar_clear(&w.bar);
        cli->bar = NULL;
    }
    if (code == EXIT_DONE && w.watch.told == 0)
        code = cli_error(cli, STINT_NOT_FOUND, "no such job (any more)");
    if (w.failed > FAILED_NAMED_MAX)
        cli_say(cli, "%llu jobs did not succeed", (unsigned long long)w.failed);
    watch_fini(&w.watch);
    return cli_flush(cli, exit_worse(code, w.code));
}

const struct command command_wait = {
    .name = "wait",
    .summary = "wait until jobs have finished",
    .usage = "stint wait [options] SELECTOR...",
    .examples = examples,
    .notes = SELECTOR_HELP "\nExit code: 0 all succeeded, 1 one did not or its output was cut, "
                           "124 --timeout.",
    .tables = tables,
    .mode = CONF_ARGS_MIXED,
    .run = run,
};
