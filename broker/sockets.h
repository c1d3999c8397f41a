/* SPDX-License-Identifier: MPL-2.0 */
/* sockets.h - the broker's sockets: set up once, with czmq; used raw.
 *
 * A private directory with an exclusive lock comes before any bind: a second bind on the path of a
 * live ipc socket would silently take its clients over. All sockets have a linger, bounds on frames
 * and, for ROUTERs, ROUTER_MANDATORY. One thread, the driver's. */
#ifndef STINT_BROKER_SOCKETS_H
#define STINT_BROKER_SOCKETS_H

#include "broker/core/event.h"
#include "common/base/error.h"
#include "common/net/address.h"

#define BINDS_MAX 16

struct sockets_config {
    struct net_address binds[BINDS_MAX];
    size_t bind_count;
    struct net_address control; /* ipc: a directory */
};

/* Exit codes in error.status: 2 usage, 75 the directory is held by another broker, 98 address in
 * use, 74 other failures of the system. */
enum {
    SOCKETS_EXIT_USAGE = 2,
    SOCKETS_EXIT_IO = 74,
    SOCKETS_EXIT_HELD = 75,
    SOCKETS_EXIT_IN_USE = 98
};

/* Makes the ipc directories that are missing, with mode 0700, refuses those that others own or may
 * write to, and takes their locks, which last until the process ends. Call it once, before
 * sockets_open and before the store is opened. */
int sockets_prepare(const struct sockets_config *config, struct error *e) MUST_CHECK;

struct sockets;

int sockets_open(const struct sockets_config *config, struct sockets **ret,
                 struct error *e) MUST_CHECK;
/* Closes; what was sent has up to a second to leave. NULL-safe. */
void sockets_close(struct sockets **s);

/* Raw handles for zmq_poll and zmq_msg_*; SOCKET_CLIENTS, _CONTROL, _WORKERS. */
void *sockets_router(struct sockets *s, enum socket_id id);
void *sockets_results(struct sockets *s);
/* A PAIR that carries the monitor events of `workers`. */
void *sockets_monitor(struct sockets *s);
/* Ports that HELLO names: of the first tcp address; 0 on ipc. */
uint16_t sockets_workers_port(const struct sockets *s);
uint16_t sockets_results_port(const struct sockets *s);

#endif
