/* SPDX-License-Identifier: MPL-2.0 */
/* why.h - says on stderr why the first job of a set does not start, when nothing of the set has
 * happened for 1.5 s; asks on as long as that is so, tells a reason once. */
#ifndef STINT_CLIENT_CLI_WHY_H
#define STINT_CLIENT_CLI_WHY_H

#include "client/cli/cli.h"
#include "client/cli/ids.h"

struct why {
    struct cli *cli;
    struct stint_call *call;
    uint64_t next_ms;
    uint64_t told_before; /* jobs that had finished at the last look */
    char text[160];       /* the reason that was told last */
};

void why_init(struct why *w, struct cli *cli, uint64_t now_ms);
void why_fini(struct why *w);
/* `open`: unfinished jobs; `told`: how many have finished. */
void why_step(struct why *w, const struct ids *open, uint64_t told, uint64_t now_ms);
uint64_t why_deadline_ms(const struct why *w);

#endif
