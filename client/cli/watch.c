/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/watch.h"

enum {
    WATCH_TEXT_BYTES_MAX = 60000, /* a subject holds 64 KiB */
    WATCH_PAUSE_MS = 100,         /* after an empty answer that came at once */
};

void watch_init(struct watch *w, struct cli *cli, bool has_results)
{
    *w = (struct watch){.cli = cli, .has_results = has_results, .cursor_joined = UINT64_MAX};
    ids_init(&w->open);
}

void watch_fini(struct watch *w)
{
    stint_call_free(&w->call);
    ids_fini(&w->open);
}

void watch_add(struct watch *w, struct view ids, uint64_t cursor)
{
    ids_parse(&w->open, ids);
    if (w->call != NULL)
        w->cursor_joined = min_u64(w->cursor_joined, cursor);
    else
        w->cursor = min_u64(w->cursor, cursor);
}

/* Ids of the last poll that are still open. */
static uint64_t asked_open(const struct watch *w)
{
    uint64_t count = 0;
    for (size_t i = 0; i < w->open.size && w->open.ranges[i].first <= w->asked_last; i++)
        count += min_u64(w->open.ranges[i].last, w->asked_last) - w->open.ranges[i].first + 1;
    return count;
}

static void asked_are_gone(struct watch *w)
{
    w->gone += ids_drop(&w->open, w->asked_last);
}

static int watch_answer(struct watch *w, uint64_t now_ms)
{
    struct stint_wait_reply reply;
    struct stint_finished job;
    if (stint_call_status(w->call) == STINT_NOT_FOUND) {
        asked_are_gone(w);
        return EXIT_DONE;
    }
    if (stint_call_status(w->call) != STINT_OK)
        return cli_fail_call(w->cli, w->call);
    int status = stint_wait_reply(w->call, &reply);
    for (size_t i = 0; status == STINT_OK && i < reply.count; i++) {
        status = stint_wait_job(w->call, i, &job);
        if (status == STINT_OK && ids_remove(&w->open, job.id)) {
            w->told++;
            w->finished(w->arg, &job);
        }
    }
    if (status != STINT_OK)
        return cli_fail(w->cli, status);
    /* An empty answer that came early and moved the cursor: the broker looks further in steps. */
    bool is_early = reply.count == 0 && now_ms - w->asked_ms < w->asked_poll_ms / 2;
    if (is_early && reply.since <= w->asked_since) {
        /* all that exist of the set were told before: ask from the beginning who is missing */
        w->cursor = 0;
        w->resume_ms = now_ms + WATCH_PAUSE_MS;
    } else {
        w->cursor = reply.since;
    }
    if (reply.has_selected && asked_open(w) == sub_sat_u64(w->asked_count, reply.selected))
        asked_are_gone(w);
    return EXIT_DONE;
}

static int watch_ask(struct watch *w, uint64_t poll_ms, uint64_t now_ms)
{
    struct buf text;
    buf_init(&text, WATCH_TEXT_BYTES_MAX + 64);
    bool is_all = ids_text(&w->open, &text, WATCH_TEXT_BYTES_MAX);
    struct ids asked;
    ids_init(&asked);
    ids_parse(&asked, buf_view(&text));
    w->asked_count = asked.count;
    w->asked_last = asked.ranges[asked.size - 1].last;
    ids_fini(&asked);
    /* an incomplete list: the cursor says nothing about those left out */
    w->asked_since = is_all ? w->cursor : 0;
    if (!is_all)
        w->cursor_joined = 0;
    w->asked_ms = now_ms;
    w->asked_poll_ms = poll_ms;
    int status = stint_wait_start(w->cli->stint, buf_cstr(&text), w->asked_since, w->has_results,
                                  poll_ms, &w->call);
    buf_fini(&text);
    return status != STINT_OK ? cli_fail(w->cli, status) : EXIT_DONE;
}

int watch_step(struct watch *w, uint64_t poll_ms, uint64_t now_ms)
{
    if (w->call != NULL && stint_call_is_done(w->call)) {
        int code = watch_answer(w, now_ms);
        stint_call_free(&w->call);
        w->cursor = min_u64(w->cursor, w->cursor_joined);
        w->cursor_joined = UINT64_MAX;
        if (code != EXIT_DONE)
            return code;
    }
    if (w->call == NULL && w->open.count > 0 && now_ms >= w->resume_ms)
        return watch_ask(w, poll_ms, now_ms);
    return EXIT_DONE;
}

bool watch_is_done(const struct watch *w)
{
    return w->open.count == 0;
}

uint64_t watch_deadline_ms(const struct watch *w)
{
    return w->call == NULL && w->open.count > 0 ? w->resume_ms : NEVER_MS;
}
