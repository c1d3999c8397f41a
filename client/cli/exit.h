/* SPDX-License-Identifier: MPL-2.0 */
/* exit.h - exit codes, and which one wins when a command has several reasons. */
#ifndef STINT_CLIENT_CLI_EXIT_H
#define STINT_CLIENT_CLI_EXIT_H

#include "common/base/base.h"

enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1, /* a job did not succeed, or its output was cut */
    EXIT_USAGE = 2,
    EXIT_NOTHING = 3, /* nothing selected */
    EXIT_UNREACHABLE = 4,
    EXIT_REFUSED = 5,
    EXIT_NOT_AUTHORISED = 6,
    EXIT_INTERNAL = 70,
    EXIT_TIMEOUT = 124,
    EXIT_NOT_THE_JOB = 125, /* `run`: anything that is not the job's doing */
    EXIT_NOT_EXECUTABLE = 126,
    EXIT_NO_COMMAND = 127,
    EXIT_SIGNAL = 128, /* plus the signal's number */
};

/* The code of two reasons at once: 70, 2, signals, then 4, 6, 3, 5, 124, 1, 0 in this order. */
int exit_worse(int a, int b);

/* What `run` ends with for a finished job. `state` and `reason` as the broker tells them;
 * exit_code -1 = none, signal 0 = none. */
int exit_of_run(const char *state, const char *reason, int exit_code, int signal, bool truncated);

#endif
