/* SPDX-License-Identifier: MPL-2.0 */
/* watch.h - tells about each job of a set as it finishes, exactly once.
 *
 * One long poll is under way at a time, for the jobs that have not finished yet. The cursor saves
 * the broker work; it never decides what is told: a told job leaves the set, so an answer that
 * comes twice is recognised, and a job that joins late pulls the cursor back to where it was when
 * the job was submitted. Jobs that the broker does not know (any more) are counted as gone. */
#ifndef STINT_CLIENT_CLI_WATCH_H
#define STINT_CLIENT_CLI_WATCH_H

#include "client/cli/cli.h"
#include "client/cli/ids.h"

struct watch {
    struct cli *cli;
    struct ids open; /* not finished yet */
    struct stint_call *call;
    bool has_results;       /* ask for outputs too */
    uint64_t cursor;        /* everything before it has been told */
    uint64_t cursor_joined; /* lowest cursor of jobs that joined while a poll was under way */
    uint64_t asked_count;   /* ids in the poll under way */
    uint64_t asked_last;    /* the highest of them */
    uint64_t asked_since;
    uint64_t asked_ms;
    uint64_t asked_poll_ms;
    uint64_t resume_ms; /* no new poll before */
    uint64_t gone;      /* ids that do not exist (any more) */
    uint64_t told;
    void (*finished)(void *arg, const struct stint_finished *job);
    void *arg;
};

void watch_init(struct watch *w, struct cli *cli, bool has_results);
void watch_fini(struct watch *w);
/* `cursor`: w->cursor when the jobs were submitted, 0 = long ago. */
void watch_add(struct watch *w, struct view ids, uint64_t cursor);
/* Handles an answer and starts the next poll, of at most `poll_ms`. Returns 0, or an exit code
 * after a report. */
int watch_step(struct watch *w, uint64_t poll_ms, uint64_t now_ms);
bool watch_is_done(const struct watch *w);
uint64_t watch_deadline_ms(const struct watch *w);

#endif
