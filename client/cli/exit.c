/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/exit.h"

#include <string.h>

static int exit_rank(int code)
{
    static const int order[] = {EXIT_DONE,    EXIT_FAILED,         EXIT_TIMEOUT,    EXIT_REFUSED,
                                EXIT_NOTHING, EXIT_NOT_AUTHORISED, EXIT_UNREACHABLE};
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        if (order[i] == code)
            return (int)i;
    return (int)ARRAY_SIZE(order) + (code == EXIT_USAGE) + 2 * (code == EXIT_INTERNAL);
}

int exit_worse(int a, int b)
{
    return exit_rank(b) > exit_rank(a) ? b : a;
}

int exit_of_run(const char *state, const char *reason, int exit_code, int signal, bool truncated)
{
    bool is_ended = strcmp(state, "succeeded") == 0 || strcmp(state, "failed") == 0;
    if (!is_ended)
        return EXIT_NOT_THE_JOB;
    if (strcmp(reason, "time limit") == 0)
        return EXIT_TIMEOUT;
    if (signal > 0)
        return EXIT_SIGNAL + signal;
    if (exit_code > 0)
        return exit_code;
    if (strcmp(state, "succeeded") != 0) /* no code of its own: crashed too often, discarded */
        return EXIT_NOT_THE_JOB;
    return truncated ? EXIT_NOT_THE_JOB : 0;
}
