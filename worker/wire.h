/* SPDX-License-Identifier: MPL-2.0 */
/* wire.h - the worker's ZeroMQ sockets: `workers` (DEALER, with a monitor) and `results` (PUSH).
 *
 * Made anew by every wire_dial. On tcp the ports are not known before the broker said them, so
 * there a dial first asks HELLO on `clients`, and messages for `workers` wait in a short list until
 * the sockets are up. Sockets are set up with czmq; data goes over zmq_msg_*. Nothing blocks but
 * wire_free, for at most a second. One thread owns a wire. */
#ifndef STINT_WORKER_WIRE_H
#define STINT_WORKER_WIRE_H

#include <zmq.h>

#include "common/base/base.h"
#include "common/base/error.h"
#include "common/net/address.h"
#include "common/proto/msg.h"

#define WIRE_POLL_ITEMS 4

struct wire;

enum wire_sent {
    WIRE_SENT,
    WIRE_FULL, /* not sent: the pipe is full, or there is no socket */
};

struct wire *wire_new(const struct net_address *addresses, size_t address_count);
/* Closes everything; what was sent has up to a second to leave. */
void wire_free(struct wire **wire);

/* Closes what is open and dials the next address (of several, one whose socket exists). 0, or -1
 * with `e` (no descriptors): as if nobody answered. */
int wire_dial(struct wire *w, struct error *e);
void wire_hang_up(struct wire *w);
/* The address that was dialled last. */
const char *wire_address(const struct wire *w);

/* Bodies above a few KiB are shared with the I/O thread, not copied. */
enum wire_sent wire_send_workers(struct wire *w, const struct outmsg *message);
enum wire_sent wire_send_results(struct wire *w, const struct outmsg *message);

/* Fills `items` for zmq_poll and returns how many. */
size_t wire_poll_items(struct wire *w, bool wants_results, zmq_pollitem_t items[WIRE_POLL_ITEMS]);
/* Serves the HELLO of a dial over tcp; call it once a turn. */
void wire_serve(struct wire *w);

/* Takes the next message of `workers`, decoded; its views live until the next call. 1, 0: there is
 * none, -1: one that breaks the protocol was dropped (`e` says how). */
int wire_receive(struct wire *w, struct msg *ret, struct error *e);
/* True once after the connection of `workers` was lost. */
bool wire_was_cut(struct wire *w);

#endif
