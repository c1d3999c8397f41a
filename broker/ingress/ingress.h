/* SPDX-License-Identifier: MPL-2.0 */
/* ingress.h - frames in, one event out: decode, check, bound. Pure; knows the protocol, not the
 * rules.
 *
 * Every message makes an event or nothing: what is malformed becomes EVENT_REFUSED (clients and
 * operators are told ERR), and is dropped and counted where it came on `results` or from a peer
 * with a long routing id of its own. The event points into the frames and into the ingress's own
 * scratch memory; both must live until ingress_release. Not thread-safe. */
#ifndef STINT_BROKER_INGRESS_INGRESS_H
#define STINT_BROKER_INGRESS_INGRESS_H

#include "broker/core/event.h"

struct ingress;

struct ingress *ingress_new(void);
void ingress_free(struct ingress **in);

/* What the driver knows of a message beside its frames. */
struct arrival {
    enum plane plane; /* PLANE_C, PLANE_W, PLANE_R or PLANE_T */
    struct view peer; /* the ROUTER's routing id; empty on `results` */
    int connection;   /* number of the connection, -1 = not known */
    uint64_t now_ms;
    uint64_t wall_ms;
    bool is_pressed;
};

/* Returns the event for one message (frames without the routing id), or NULL where it is dropped.
 * The frames' bodies are copied once, into blobs that the event lends. */
const struct event *ingress_decode(struct ingress *in, const struct arrival *a,
                                   const struct view *frames, size_t frame_count);
/* Gives back what the last event lent. */
void ingress_release(struct ingress *in);

/* Messages that were dropped without an answer. */
uint64_t ingress_dropped(const struct ingress *in);

#endif
