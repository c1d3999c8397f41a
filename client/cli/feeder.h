/* SPDX-License-Identifier: MPL-2.0 */
/* feeder.h - items in, submitted jobs out: reads items as they come, packs up to 1,000 of them into
 * a submit, keeps up to STINT_SUBMITS_MAX submits under way, and waits where a queue is full.
 * Memory is bounded by the submits under way. Batches are told in the order of the input. */
#ifndef STINT_CLIENT_CLI_FEEDER_H
#define STINT_CLIENT_CLI_FEEDER_H

#include "client/cli/cli.h"
#include "client/cli/items.h"
#include "client/cli/spec.h"

struct feeder_batch {
    struct buf data; /* the bodies, one after the other */
    size_t ends[STINT_JOBS_PER_SUBMIT_MAX];
    size_t count;
    uint64_t first_seq;
    uint64_t stamp;          /* the caller's, at the time of the first sending */
    uint64_t retry_ms;       /* refused (full): submitted again then; 0 = not refused */
    struct stint_call *call; /* NULL: being filled, or refused */
    bool is_started;
};

struct feeder {
    struct cli *cli;
    struct items *items;
    const struct spec *spec;
    struct feeder_batch *ring[STINT_SUBMITS_MAX]; /* oldest first */
    size_t used;
    size_t window;  /* submits under way, at most STINT_SUBMITS_MAX; 1 keeps ids in input order */
    uint64_t taken; /* items read so far */
    uint64_t accepted; /* of them, stored by the broker */
    bool is_numbered;  /* give the jobs sequence numbers from 1 on */
    bool is_ended;     /* no more items: the end, or stopped */
    bool is_told_full;
    int code; /* an exit code after a failure */
    /* A batch is stored: its ids as text. */
    void (*stored)(void *arg, struct view ids, uint64_t stamp);
    void *arg;
};

void feeder_init(struct feeder *f, struct cli *cli, struct items *items, const struct spec *spec);
void feeder_fini(struct feeder *f);
/* Does what can be done now. `room`: how many further items may be taken; `stamp` is kept with the
 * batches that are sent now. Returns 0, or the exit code of a failure that was reported. */
int feeder_step(struct feeder *f, uint64_t room, uint64_t stamp, uint64_t now_ms);
/* No more items; what was read is submitted where `submit_rest`, else forgotten. */
void feeder_stop(struct feeder *f, bool submit_rest);
/* The descriptor to poll for input, or -1 where none is wanted now. */
int feeder_fd(const struct feeder *f, uint64_t room);
/* All items are stored (or given up). */
bool feeder_is_done(const struct feeder *f);
/* When feeder_step has something to do by itself; NEVER_MS. */
uint64_t feeder_deadline_ms(const struct feeder *f);

#endif
