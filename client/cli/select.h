/* SPDX-License-Identifier: MPL-2.0 */
/* select.h - asks the broker which jobs there are: pages of LIST, newest first. */
#ifndef STINT_CLIENT_CLI_SELECT_H
#define STINT_CLIENT_CLI_SELECT_H

#include "client/cli/cli.h"
#include "client/cli/ids.h"

/* Calls `each` for up to `limit` jobs (NEVER_MS = all) that pass the filter; a result other than 0
 * ends it. *ret_more (may be NULL): there are more. Returns 0, an exit code after a report, or what
 * `each` returned. */
int select_each(struct cli *cli, struct stint_filter filter, uint64_t limit,
                int (*each)(void *arg, const json_t *job), void *arg, bool *ret_more);

/* Keeps the ids of the set that exist. A single id is not looked up (the next request tells).
 * Nothing left: a report and exit 3. */
int select_existing(struct cli *cli, struct ids *ids);
/* The same, and only those in one of `states` ("ready,running"), or NULL for all. */
int select_states(struct cli *cli, struct ids *ids, const char *states);

#endif
