/* SPDX-License-Identifier: MPL-2.0 */
/* follow.h - stays with one job until it has finished: writes its output as it comes, says why it
 * does not start, and in the end gives the job object. The bytes written are exactly those of the
 * job's last attempt, in order (and before them those of earlier attempts, which were live then);
 * where live bytes are missing the stream is held back and completed from the result. */
#ifndef STINT_CLIENT_CLI_FOLLOW_H
#define STINT_CLIENT_CLI_FOLLOW_H

#include "client/cli/cli.h"

struct follow_stream {
    int fd;         /* -1: not wanted */
    uint64_t shown; /* bytes of this attempt that were written */
    bool is_held;   /* bytes are missing: wait for the result */
};

struct follow {
    struct cli *cli;
    uint64_t id;
    struct follow_stream out;
    struct follow_stream err;
    bool is_cut; /* the end: some of the job's output was not kept */
    /* What a signal does: called with its number; a result other than 0 ends follow_job with it.
     * `*until_ms` may be set: follow_job ends then with `*until_code`. NULL: no signals. */
    int (*on_signal)(struct follow *f, int number);
    uint64_t until_ms; /* NEVER_MS: until the job has finished */
    int until_code;
    int interrupt_fd; /* -1 = none */
    /* --- inside --- */
    struct stint_follow known;
    struct stint_call *call;
    uint64_t why_ms; /* when to look why it waits */
    char why[160];   /* the reason that was told last */
};

void follow_init(struct follow *f, struct cli *cli, uint64_t id, int out_fd, int err_fd);
/* Returns 0 and the job object (a new reference, with "payload", "stdout" and "stderr" in no form),
 * with the call that holds stdout and stderr as its bodies; else an exit code after a report. */
int follow_job(struct follow *f, json_t **ret_job, struct stint_call **ret_call);
void follow_fini(struct follow *f);

#endif
