/* SPDX-License-Identifier: MPL-2.0 */
/* payload.h - a whole input as one payload. */
#ifndef STINT_CLIENT_CLI_PAYLOAD_H
#define STINT_CLIENT_CLI_PAYLOAD_H

#include "client/cli/cli.h"

/* Appends everything up to the end of the descriptor; an exit code after a report where it is too
 * large or cannot be read. `what` names it. */
int payload_read(struct cli *cli, int fd, const char *what, struct buf *out);

#endif
