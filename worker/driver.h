/* SPDX-License-Identifier: MPL-2.0 */
/* driver.h - the only loop of a worker: sockets, keepers, signals and the clock around the rules.
 *
 * It turns what happens into events for worker/pool, and its effects into sends and processes. It
 * decides nothing itself but two things: output that `results` has no room for is held, and until
 * it is gone no further output is taken from the keepers; and of several default addresses one
 * whose socket exists is dialled. */
#ifndef STINT_WORKER_DRIVER_H
#define STINT_WORKER_DRIVER_H

#include "common/net/address.h"
#include "worker/keeper/keeper.h"
#include "worker/pool/pool.h"

struct driver_config {
    struct pool_config pool;
    struct net_address addresses[NET_DEFAULTS_MAX];
    size_t address_count;
};

/* Blocks the signals that the loop serves; before the keepers are started and any thread is made.
 * Returns the descriptor that delivers them, or -1 with `e`. */
int driver_signals(struct error *e);

/* Runs until the rules say EXIT and returns the exit code. Takes neither of the two over. */
int driver_run(const struct driver_config *config, struct keeper_set *keepers, int signal_fd);

#endif
