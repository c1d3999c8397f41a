/* SPDX-License-Identifier: MPL-2.0 */
/* selector.h - which jobs a command means: ids, ranges, lists, `last`, `-` (from stdin).
 *
 * `last` is kept in a file of this user on this machine: $XDG_STATE_HOME/stint/last-ids, else
 * ~/.local/state/stint/last-ids; it is replaced in one step, so it is never half-written. */
#ifndef STINT_CLIENT_CLI_SELECTOR_H
#define STINT_CLIENT_CLI_SELECTOR_H

#include "client/cli/cli.h"
#include "client/cli/ids.h"

#define SELECTOR_HELP                                                                              \
    "SELECTOR: 42, 40-45, 40,42, last (ids of your last submit, run or map), - (ids from stdin)."

/* Reads all arguments into the set (initialised by the caller). Returns 0, or an exit code after a
 * report; no argument at all is a usage error. */
int selector_read(struct cli *cli, struct ids *ret);
/* The same for given words; without `cli` nothing is reported and stdin and `last` are refused. */
int selector_add(struct cli *cli, struct ids *ids, const char *word);
/* Remembers the set as `last`; failures are ignored (it is a convenience). */
void selector_keep_last(const struct ids *ids);

#endif
