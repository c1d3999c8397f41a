/* SPDX-License-Identifier: MPL-2.0 */
/* driver.h - the broker's only loop: wait, ingest, tick, commit, release, observe.
 *
 * It owns the clock, the sockets and the store's hand-over; it knows no rules. One turn:
 *
 *     wait      zmq_poll until the core's deadline or a completion; one reading of the clock
 *     ingest    up to TURN_MESSAGES whole messages a socket, workers first -> ingress -> core_step
 *     tick      when the deadline has come and `workers` is drained
 *     commit    hand the turn's records to the store thread (group commit)
 *     release   what waited for commits that are confirmed: encode, send, never block
 *
 * Commit before send is a property of this file: an effect that waits is kept with the number of
 * the last commit handed over, and leaves when that commit is confirmed. */
#ifndef STINT_BROKER_DRIVER_H
#define STINT_BROKER_DRIVER_H

#include "broker/core/core.h"
#include "broker/egress/egress.h"
#include "broker/sockets.h"
#include "broker/store/store.h"

struct driver_config {
    struct core_config core;
    struct egress_config egress;
    uint64_t pressure_bytes; /* not yet committed; above it new work is refused */
};

/* Serves until a shutdown or SIGTERM/SIGINT is done. Sockets and store stay the caller's. Returns
 * the exit code of the process. `signal_fd` is a signalfd for SIGTERM and SIGINT. */
int driver_run(const struct driver_config *config, struct sockets *sockets, struct store *store,
               int signal_fd);

#endif
