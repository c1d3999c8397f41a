/* SPDX-License-Identifier: MPL-2.0 */
/* header.h - the JSON headers of the workers' messages, as plain structs without pointers, so that
 * they may be copied, compared and put into events.
 *
 * Encoders append to a buf (check buf.failed). Decoders ignore unknown keys, take defaults for
 * missing ones, and refuse wrong types and broken bounds with a text that names the key. Times in
 * milliseconds, sizes in bytes. Pure but for memory. */
#ifndef STINT_COMMON_PROTO_HEADER_H
#define STINT_COMMON_PROTO_HEADER_H

#include "common/base/base.h"
#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/base/view.h"
#include "common/proto/limits.h"
#include "common/proto/status.h"

/* READY, worker to broker: who it is and what it takes. */
struct ready_header {
    char name[PROTO_NAME_BYTES_MAX + 1];
    char host[PROTO_NAME_BYTES_MAX + 1];
    char containment[16]; /* "keeper", later "cgroup" */
    uint32_t pid;
    uint32_t slots;       /* 1..PROTO_SLOTS_MAX */
    uint32_t kinds;       /* bits KIND_BIT(enum job_kind); at least one */
    uint32_t interval_ms; /* wished beat interval; 0 = the broker's */
    uint32_t lease_ms;    /* wished lease; 0 = the broker's */
    uint32_t queue_count; /* 1.. */
    char queues[PROTO_QUEUES_PER_WORKER_MAX][PROTO_QUEUE_BYTES_MAX + 1]; /* preferred first */
};

void ready_header_encode(const struct ready_header *h, struct buf *b);
enum status ready_header_decode(struct view header, struct ready_header *ret, struct error *e);

/* READY, broker to worker: what was agreed. */
struct welcome_header {
    uint32_t interval_ms;  /* between two BEATs */
    uint32_t lease_ms;     /* counted by the worker from the sending of its last answered BEAT */
    uint32_t margin_ms;    /* the worker fences this much before the end of the lease */
    uint32_t reconnect_ms; /* the next registration waits a random time up to this */
};

void welcome_header_encode(const struct welcome_header *h, struct buf *b);
enum status welcome_header_decode(struct view header, struct welcome_header *ret, struct error *e);

/* DONE FAIL RETRY DISCARD RELEASED: how an attempt ended. An empty header stands for exit code 0,
 * no signal, nothing cut, sizes as the bodies are. */
struct verdict_header {
    int32_t exit_code;     /* -1: there is none (killed by a signal, never started, a handler) */
    int32_t signal;        /* 0: none */
    bool is_truncated;     /* stdout or stderr was cut */
    uint64_t stdout_bytes; /* written by the job, kept or not */
    uint64_t stderr_bytes;
    uint64_t run_ms;
    char reason[PROTO_REASON_BYTES_MAX + 1]; /* "" for DONE */
};

void verdict_header_init(struct verdict_header *h);
void verdict_header_encode(const struct verdict_header *h, struct buf *b);
/* stdout_size, stderr_size: of the bodies, for an empty header. */
enum status verdict_header_decode(struct view header, uint64_t stdout_size, uint64_t stderr_size,
                                  struct verdict_header *ret, struct error *e);

/* ERR: why, in words; "" where the header does not say it. */
void refusal_header_decode(struct view header, char *ret, size_t size);

/* CANCEL, broker to worker. */
struct cancel_header {
    uint32_t grace_ms; /* between TERM and KILL */
    char reason[PROTO_REASON_BYTES_MAX + 1];
};

void cancel_header_encode(const struct cancel_header *h, struct buf *b);
enum status cancel_header_decode(struct view header, struct cancel_header *ret, struct error *e);

#endif
