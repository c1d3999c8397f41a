/* SPDX-License-Identifier: MPL-2.0 */
/* process.h - the main loops of the two kinds of helper processes. Neither returns; both run in a
 * fresh fork, close every descriptor but their socket and the standard ones, and end when the
 * socket's other end is closed and nothing that they had started is left. */
#ifndef STINT_WORKER_KEEPER_PROCESS_H
#define STINT_WORKER_KEEPER_PROCESS_H

#include "common/base/base.h"

NORETURN void nursery_main(int socket);
NORETURN void keeper_main(int socket);

/* What both need first: a name, no descriptors but `socket` (*socket is moved to 3), /dev/null as
 * stdin and stdout, signals of terminals and managers ignored, SIGCHLD blocked and delivered
 * through the descriptor that is returned, and to be a subreaper. */
int process_settle(const char *name, int *socket);
/* Empties the signalfd. */
void process_drain_signals(int signal_fd);

#endif
