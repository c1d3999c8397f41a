/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static int interrupt_pipe[2] = {-1, -1};

static void on_signal(int number)
{
    int saved = errno;
    unsigned char byte = (unsigned char)number;
    ssize_t written = write(interrupt_pipe[1], &byte, 1);
    (void)written;
    errno = saved;
}

int interrupt_setup(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    if (pipe2(interrupt_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return -1;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction action = {.sa_handler = on_signal};
        struct sigaction before;
        sigemptyset(&action.sa_mask);
        /* what was ignored (nohup, a job in the background) stays ignored */
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
    return interrupt_pipe[0];
}

int interrupt_take(void)
{
    unsigned char byte = 0;
    return interrupt_pipe[0] >= 0 && read(interrupt_pipe[0], &byte, 1) == 1 ? byte : 0;
}
