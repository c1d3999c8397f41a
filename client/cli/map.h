/* SPDX-License-Identifier: MPL-2.0 */
/* map.h - the state of one `stint map`. */
#ifndef STINT_CLIENT_CLI_MAP_H
#define STINT_CLIENT_CLI_MAP_H

#include "client/cli/bar.h"
#include "client/cli/feeder.h"
#include "client/cli/fetch.h"
#include "client/cli/select.h"
#include "client/cli/watch.h"
#include "client/cli/why.h"
#include "common/base/rng.h"

struct map_halt {
    bool is_now;
    uint64_t failures; /* 0: never */
};

/* "now,fail=3", "soon,fail=1". */
bool map_halt_parse(const char *text, struct map_halt *ret);

struct map {
    struct cli *cli;
    struct spec spec;
    struct items items;
    struct feeder feeder;
    struct watch watch;
    struct fetch fetch;
    struct why why;
    struct bar bar;
    struct map_halt halt;
    struct ids all; /* every id of this map, for `last` */
    uint64_t kept_count;
    uint64_t kept_ms;
    uint64_t jobs_max;
    uint64_t until_ms; /* --timeout */
    uint64_t leave_ms; /* after Ctrl-C; NEVER_MS = no signal came */
    uint64_t failed;
    uint64_t named; /* failures told by name */
    uint64_t cut;
    int code;         /* of the jobs that have finished */
    int file;         /* --arg-file, or -1 */
    int interrupt_fd; /* or -1 */
    bool is_detached;
    bool is_halted;
    bool has_broken; /* the output cannot be written */
    char name[32];
};

#endif
