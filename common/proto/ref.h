/* SPDX-License-Identifier: MPL-2.0 */
/* ref.h - the small texts of the protocol: job.attempt.lease, session tags, request ids, id sets.
 *
 * All parsers take exactly one spelling of each value, so equal values are equal bytes. */
#ifndef STINT_COMMON_PROTO_REF_H
#define STINT_COMMON_PROTO_REF_H

#include "common/base/base.h"
#include "common/base/buf.h"
#include "common/base/view.h"
#include "common/proto/limits.h"

/* One attempt of one job under one lease: the fence. Text: "JOB.ATTEMPT.LEASE", decimal. */
struct ref {
    uint64_t job;
    uint32_t attempt; /* 1 = the first */
    uint64_t lease;   /* broker start number in the high 32 bits, a counter below */
};

#define REF_BYTES_MAX 56
bool ref_parse(struct view v, struct ref *ret);
/* Writes the text with a NUL; returns its length. */
size_t ref_format(const struct ref *r, char out[REF_BYTES_MAX]);

static inline bool ref_eq(const struct ref *a, const struct ref *b)
{
    return a->job == b->job && a->attempt == b->attempt && a->lease == b->lease;
}

/* Who talks to whom, since when. Text: "INSTANCE.EPOCH.START": 16 hex digits of the worker's
 * instance, its epoch (rises with each dial), the broker's start number (0 = not known yet). */
struct session {
    uint64_t instance;
    uint32_t epoch;
    uint32_t broker_start;
};

#define SESSION_BYTES_MAX 40
bool session_parse(struct view v, struct session *ret);
size_t session_format(const struct session *s, char out[SESSION_BYTES_MAX]);

static inline bool session_eq(const struct session *a, const struct session *b)
{
    return a->instance == b->instance && a->epoch == b->epoch && a->broker_start == b->broker_start;
}

/* A request id that makes a SUBMIT safe to send again: "R" and 16 hex digits of the client
 * instance, ".", its sequence number (from 1, rising by one with each new SUBMIT). Any other
 * request id is opaque. */
struct request_id {
    uint64_t client;
    uint64_t sequence;
};

#define REQUEST_ID_BYTES_MAX 40
bool request_id_parse(struct view v, struct request_id *ret);
size_t request_id_format(const struct request_id *r, char out[REQUEST_ID_BYTES_MAX]);

/* A queue name: [A-Za-z0-9._-]{1,64}. */
bool queue_name_is_valid(struct view v);

/* A set of ids as text: "7", "7-9", "7,9-12,40"; ranges rise and do not overlap. The
 * empty text is the empty set. */
struct id_range {
    uint64_t first;
    uint64_t last;
};

bool idset_is_valid(struct view v);
/* Reads the next range off *rest; false at its end. Only for valid sets. */
bool idset_next(struct view *rest, struct id_range *ret);
void idset_add(struct buf *b, uint64_t first, uint64_t last);
/* Parses at most `max` ranges; false where the text is no set or has more. */
bool idset_parse(struct view v, struct id_range *ranges, size_t max, size_t *ret_count);
/* True where the sorted ranges hold the id (binary search). */
bool idset_has(const struct id_range *ranges, size_t count, uint64_t id);

#endif
