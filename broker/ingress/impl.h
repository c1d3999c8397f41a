/* SPDX-License-Identifier: MPL-2.0 */
/* impl.h - the scratch memory of ingress and what its files share. */
#ifndef STINT_BROKER_INGRESS_IMPL_H
#define STINT_BROKER_INGRESS_IMPL_H

#include <jansson.h>

#include "broker/ingress/ingress.h"

#define RANGES_MAX 8192 /* of one set: what fits a subject */

struct ingress {
    struct event event;
    struct error error;
    uint64_t dropped;
    json_t *header; /* of a client's request; NULL where it is empty */
    /* scratch that events point to */
    struct job_options options;
    struct blob *spec;
    struct blob *bodies[PROTO_JOBS_PER_SUBMIT_MAX];
    size_t body_count;
    struct id_range ranges[RANGES_MAX];
    struct ready_header ready;
    struct verdict_header verdict;
    struct ref running[PROTO_LEASES_PER_WORKER_MAX];
    struct ref outbox[PROTO_OUTBOX_MAX];
};

/* Each fills in->event for its verbs, or returns a refusal with in->error set. */
enum status ingress_client(struct ingress *in, const struct msg *m);
enum status ingress_worker(struct ingress *in, const struct msg *m);
enum status ingress_result(struct ingress *in, const struct msg *m);
enum status ingress_control(struct ingress *in, const struct msg *m);

/* Parses the request's header and refuses keys that are not among `keys` (NULL-terminated). */
enum status ingress_header(struct ingress *in, const struct msg *m, const char *const *keys);
enum status ingress_u64(struct ingress *in, const char *key, uint64_t high, uint64_t *ret);
enum status ingress_bool(struct ingress *in, const char *key, bool *ret);
/* "" where it is missing. Lives as long as the header. */
enum status ingress_text(struct ingress *in, const char *key, size_t bytes_max, const char **ret);
enum status ingress_refuse(struct ingress *in, enum status s, const char *key, const char *why);

#endif
