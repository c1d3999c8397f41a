/* SPDX-License-Identifier: MPL-2.0 */
/* record.h - durable facts: all that the core ever asks the store to remember, and the rows that
 * the store gives back.
 *
 * A *record* is one change, emitted by the core, applied to the core's own state at once and to the
 * store in the same order, many to a transaction. A *row* is the state that records have led to.
 * What a restart loads (rows of unfinished jobs, queues, clients, counters) must rebuild exactly
 * the core's durable state; the simulator checks that.
 *
 * Ownership: records and rows own references to their blobs, templates and finishes; record_fini
 * and job_row_fini give them back. All counts are atomic, so a batch of records may be handed to
 * the store thread. Wall times are milliseconds since 1970 (UTC); 0 = none. */
#ifndef STINT_BROKER_CORE_RECORD_H
#define STINT_BROKER_CORE_RECORD_H

#include <stdatomic.h>

#include "common/base/blob.h"
#include "common/proto/option.h"
#include "common/proto/ref.h"

enum job_state {
#define STATE(id, name, is_final) JOB_##id,
#include "broker/core/state.def"
#undef STATE
    JOB_STATE_COUNT
};

const char *job_state_name(enum job_state s);
bool job_state_is_final(enum job_state s);
bool job_state_parse(struct view name, enum job_state *ret);

/* How an attempt ended, for history and counters. Stored as a number: append only. */
enum outcome {
    OUTCOME_OK = 0,
    OUTCOME_FAIL = 1,
    OUTCOME_RETRY = 2,
    OUTCOME_DISCARD = 3,
    OUTCOME_RELEASED = 4,
    OUTCOME_CRASHED = 5, /* the worker was lost */
    OUTCOME_UNKNOWN = 6, /* taken back: the worker never reported it */
    OUTCOME_CANCELLED = 7,
    OUTCOME_EXPIRED = 8,
    OUTCOME_COUNT
};

const char *outcome_name(enum outcome o);

/* What all jobs of one SUBMIT share. Immutable once made. options.seq is that of the first job. */
struct job_template {
    atomic_uint refs;
    struct job_options options;
    struct blob *spec; /* JSON for the worker; NULL = none */
};

/* Takes over `spec`. One reference. */
struct job_template *job_template_new(const struct job_options *options, struct blob *spec);
struct job_template *job_template_ref(struct job_template *t);
void job_template_unref(struct job_template **t);

/* An attempt that did not end its job. */
struct attempt {
    uint32_t number;
    enum outcome outcome;
    uint64_t started_ms; /* wall */
    uint64_t ended_ms;   /* wall */
    struct blob *worker; /* name; NULL = none */
    struct blob *reason; /* text; NULL = none */
};

/* How a job ended. Immutable once made, shared by record, waiters and replies. */
struct finish {
    atomic_uint refs;
    uint64_t job;
    uint64_t number; /* the cursor of WAIT: rises by one with each finish */
    enum job_state state;
    enum outcome outcome;
    uint32_t attempt; /* the last one; 0 = it never ran */
    uint32_t crashes;
    uint64_t lease;    /* of the accepted verdict; 0 = none */
    int32_t exit_code; /* -1 = none */
    int32_t signal;    /* 0 = none */
    bool is_truncated;
    uint64_t seq;
    uint64_t stdout_bytes;
    uint64_t stderr_bytes;
    uint64_t run_ms;
    uint64_t started_ms;  /* wall; 0 = it never ran */
    uint64_t finished_ms; /* wall */
    uint64_t forget_ms;   /* wall: kept until then */
    struct blob *reason;
    struct blob *worker;
    struct blob *stdout_data;
    struct blob *stderr_data;
};

struct finish *finish_new(void);
struct finish *finish_ref(struct finish *f);
void finish_unref(struct finish **f);

enum record_type {
    RECORD_START,   /* a broker started: its start number */
    RECORD_AWAY,    /* leases may last this much longer than usual, counted from the next start */
    RECORD_QUEUE,   /* a queue was created */
    RECORD_ADD,     /* a job was accepted */
    RECORD_LEASE,   /* an attempt is given to a worker */
    RECORD_REQUEUE, /* an attempt ended, or a scheduled job came due; the job waits again */
    RECORD_CANCEL,  /* a running job is to be cancelled */
    RECORD_FINISH,  /* the job is final */
    RECORD_CLIENT,  /* a durable request id was answered */
    RECORD_EXPIRE,  /* forget finished jobs whose time has come */
};

struct record {
    enum record_type type;
    uint64_t job; /* ADD LEASE REQUEUE CANCEL FINISH */
    union {
        struct {
            uint32_t number;
        } start;
        struct {
            uint64_t ms;
        } away;
        struct {
            uint32_t id; /* from 1, rising */
            char name[PROTO_QUEUE_BYTES_MAX + 1];
        } queue;
        struct {
            uint32_t queue;
            uint64_t seq;
            uint64_t submitted_ms;
            uint64_t not_before_ms; /* 0 = ready at once */
            struct job_template *template;
            struct blob *payload;
        } add;
        struct {
            uint32_t attempt;
            uint64_t lease;
            uint64_t instance;
            uint64_t started_ms;
            struct blob *worker; /* name */
        } lease;
        struct {
            uint64_t not_before_ms; /* 0 = ready */
            uint32_t retries_used;
            uint32_t retry_waits; /* RETRY verdicts so far */
            uint32_t crashes;
            bool has_ended; /* `ended` is filled: an attempt ended */
            struct attempt ended;
        } requeue;
        struct {
            struct blob *reason;
        } cancel;
        struct finish *finish;
        struct {
            uint64_t client;
            uint64_t sequence;
            uint64_t first_id;
            uint64_t digest; /* of the request's content */
            uint64_t at_ms;  /* wall */
            uint32_t count;
        } client;
        struct {
            uint64_t wall_ms;
            uint32_t jobs_max; /* of this turn */
        } expire;
    };
};

void record_fini(struct record *r);

/* A job as it is stored. For an unfinished job `finish` is NULL. */
struct job_row {
    uint64_t id;
    uint32_t queue;
    enum job_state state; /* SCHEDULED READY RUNNING, or a final one */
    uint64_t seq;
    uint64_t submitted_ms;
    uint64_t not_before_ms;
    struct job_template *template;
    struct blob *payload; /* NULL also where it was not asked for; payload_bytes tells its size */
    uint64_t payload_bytes;
    uint32_t attempt;
    uint32_t retries_used;
    uint32_t retry_waits;
    uint32_t crashes;
    uint64_t lease; /* RUNNING */
    uint64_t instance;
    uint64_t started_ms;
    struct blob *worker;
    struct blob *cancel_reason; /* a running job with a cancel intent */
    bool is_cancelled;
    struct attempt *history; /* only where a read asked for it */
    size_t history_count;
    struct finish *finish;
};

void job_row_fini(struct job_row *row);

#define CLIENT_RING PROTO_WINDOW_SUBMITS
/* A client is forgotten (RECORD_EXPIRE) this long after its last entry, by core and store alike. */
#define CLIENT_KEEP_MS 86400000u

/* One durable request id and its answer; a client has CLIENT_RING of them, by sequence %
 * CLIENT_RING. */
struct client_entry {
    uint64_t sequence; /* 0 = empty */
    uint64_t first_id;
    uint64_t digest;
    uint32_t count;
};

#endif
