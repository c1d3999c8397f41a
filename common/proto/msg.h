/* SPDX-License-Identifier: MPL-2.0 */
/* msg.h - the one decoder and the one encoder of stint's multipart messages.
 *
 *     [envelope]* [ "ST1" ][ VERB ][ TAG ][ SUBJECT ][ HEADER ][ BODY ]*
 *
 * Decoding borrows: a `struct msg` points into the received frames and lives no longer. It checks
 * everything that verb.def declares (plane, subject, number of bodies) and the sizes of limits.h;
 * the JSON header is read by options.h and header.h, and only where it is not empty.
 *
 * Encoding owns: a `struct outmsg` holds its small frames in one buffer and shares its bodies. It
 * is plain data; common/net puts it on a socket. */
#ifndef STINT_COMMON_PROTO_MSG_H
#define STINT_COMMON_PROTO_MSG_H

#include "common/base/blob.h"
#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/proto/limits.h"
#include "common/proto/status.h"

enum plane {
    PLANE_C = 1,      /* client to broker on `clients` */
    PLANE_W = 2,      /* worker to broker on `workers` */
    PLANE_B = 4,      /* broker to worker on `workers` */
    PLANE_R = 8,      /* worker to broker on `results` */
    PLANE_T = 16,     /* operator to broker on `control` */
    PLANE_REPLY = 32, /* broker to client on `clients` or `control` */
};

enum subject_kind {
    SUBJECT_NONE,
    SUBJECT_QUEUE,
    SUBJECT_IDS,
    SUBJECT_ID,
    SUBJECT_REF,
    SUBJECT_NUMBER,
    SUBJECT_WORD,
};

enum verb {
#define VERB(id, name, planes, subject, bodies_min, bodies_max) VERB_##id,
#include "common/proto/verb.def"
#undef VERB
    VERB_COUNT
};

const char *verb_name(enum verb v);
/* The planes on which it may be sent (bits of enum plane). */
unsigned verb_planes(enum verb v);
enum subject_kind verb_subject(enum verb v);
size_t verb_bodies_min(enum verb v);
size_t verb_bodies_max(enum verb v);

struct msg {
    enum verb verb;
    struct view tag; /* request id, or session on the workers' planes */
    struct view subject;
    struct view header; /* empty or JSON, not parsed yet */
    const struct view *bodies;
    size_t body_count;
    const struct view *envelope; /* to be echoed in front of the reply */
    size_t envelope_count;       /* 0..2 */
};

/* Splits a received message (without a ROUTER's routing id). Returns STATUS_OK, or the refusal to
 * send with `e` saying which field is wrong; then ret->envelope and ret->tag are what could be read
 * of them, so that the refusal reaches its request. `frames` must outlive *ret. */
enum status msg_decode(const struct view *frames, size_t frame_count, enum plane plane,
                       struct msg *ret, struct error *e);

/* --- encoding --- */

enum {
    OUT_PROTO,
    OUT_VERB,
    OUT_TAG,
    OUT_SUBJECT,
    OUT_HEADER,
    OUT_SMALL_FRAMES
};

struct outmsg {
    struct buf small;                     /* the five small frames, one after the other */
    uint32_t small_end[OUT_SMALL_FRAMES]; /* where each ends in `small` */
    struct blob **bodies;                 /* owned references; NULL = an empty frame */
    size_t body_count;
    size_t body_capacity;
    enum verb verb;
};

/* Starts a message; the header is empty until outmsg_header. */
void outmsg_init(struct outmsg *m, enum verb verb, struct view tag, struct view subject);
void outmsg_header(struct outmsg *m, struct view header);
/* Takes over the caller's reference. */
void outmsg_body(struct outmsg *m, struct blob *body);
void outmsg_fini(struct outmsg *m);
/* A deep enough copy (bodies are shared). */
void outmsg_copy(struct outmsg *to, const struct outmsg *from);
/* Frame i of 5 + body_count, as it goes on the wire. */
struct view outmsg_frame(const struct outmsg *m, size_t i);
size_t outmsg_frame_count(const struct outmsg *m);
/* Bytes of all frames. */
size_t outmsg_bytes(const struct outmsg *m);

#endif
