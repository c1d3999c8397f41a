/* SPDX-License-Identifier: MPL-2.0 */
/* event.h - everything that can happen to the core, as plain data with the time inside.
 *
 * Events are made by ingress (messages), the driver (ticks, signals, socket hints) and the store
 * (answers, loaded rows). The core borrows what an event points to and takes references of what it
 * keeps; the maker frees the event after core_step. */
#ifndef STINT_BROKER_CORE_EVENT_H
#define STINT_BROKER_CORE_EVENT_H

#include "broker/core/query.h"
#include "broker/core/record.h"
#include "common/proto/header.h"
#include "common/proto/msg.h"

enum socket_id {
    SOCKET_CLIENTS,
    SOCKET_CONTROL,
    SOCKET_WORKERS,
    SOCKET_COUNT
};

#define ROUTE_BYTES_MAX 24
#define ENVELOPE_BYTES_MAX 8

/* Where an answer goes: a ROUTER's routing id and the envelope to echo. */
struct route {
    uint8_t socket; /* enum socket_id */
    uint8_t id_size;
    uint8_t envelope_count; /* 0, 1 (empty frame) or 2 (head, empty frame) */
    uint8_t envelope_size;  /* of the head */
    uint8_t id[ROUTE_BYTES_MAX];
    uint8_t envelope[ENVELOPE_BYTES_MAX];
};

/* A request that waits for its reply. */
struct caller {
    struct route route;
    uint8_t tag_size;
    char tag[PROTO_TAG_BYTES_MAX];
};

enum event_type {
    /* start, in this order; then START once */
    EVENT_LOAD_META,
    EVENT_LOAD_QUEUE,
    EVENT_LOAD_CLIENT,
    EVENT_LOAD_JOB,
    EVENT_START,
    /* the driver's */
    EVENT_TICK,        /* core_deadline has come and `workers` is drained */
    EVENT_TERM,        /* SIGTERM: this broker alone stops */
    EVENT_CUT,         /* the socket monitor says: connection `cut` of `workers` is closed */
    EVENT_UNREACHABLE, /* a send to event.caller.route found no such peer */
    EVENT_SPACE,       /* size and free space of the store */
    EVENT_ANSWER,      /* a query's answer */
    EVENT_FORGOTTEN,   /* a commit is confirmed; so many finished jobs were forgotten in it */
    /* clients and operators */
    EVENT_REFUSED, /* ingress refuses: event.refused */
    EVENT_HELLO,
    EVENT_SUBMIT,
    EVENT_GET,
    EVENT_WAIT,
    EVENT_FOLLOW,
    EVENT_LIST,
    EVENT_CANCEL,
    EVENT_STATUS,
    EVENT_WORKERS,
    EVENT_PING,
    EVENT_SHUTDOWN,
    EVENT_PROGRESS,
    EVENT_LOG,
    /* workers */
    EVENT_READY,
    EVENT_INVENTORY,
    EVENT_CREDIT,
    EVENT_BEAT,
    EVENT_BYE,
    EVENT_VERDICT,
    EVENT_OUTPUT,
};

enum stop_mode {
    STOP_NONE,
    STOP_DRAIN,
    STOP_FINISH,
    STOP_NOW
};

enum stop_phase {
    PHASE_SERVING,
    PHASE_DRAINING,         /* dispatch goes on until nothing is ready or running */
    PHASE_FINISHING,        /* no dispatch; running jobs finish within the grace */
    PHASE_RELEASING,        /* the grace is over: workers give their jobs back */
    PHASE_STOPPING_WORKERS, /* workers say BYE */
    PHASE_DONE,
};

const char *stop_phase_name(enum stop_phase p);

enum {
    WANT_PAYLOAD = 1,
    WANT_STDOUT = 2,
    WANT_STDERR = 4
};
#define WANTS_MAX 3

struct event {
    enum event_type type;
    uint64_t now_ms;        /* CLOCK_MONOTONIC; never falls */
    uint64_t wall_ms;       /* since 1970 */
    struct caller caller;   /* clients', operators' and workers' events */
    struct session session; /* workers' events */
    int connection;         /* workers' events: number of the connection, -1 = not known */
    bool is_pressed;        /* too many bytes wait for their commit: refuse new work */
    union {
        struct {
            uint32_t broker_start; /* of the last broker */
            uint64_t away_ms;
            uint64_t next_job_id;
            uint64_t next_finish;
            const uint64_t *finished; /* JOB_STATE_COUNT counters */
        } meta;
        struct {
            uint32_t id;
            const char *name;
        } queue;
        struct {
            uint64_t id;
            const struct client_entry *entry;
            uint64_t at_ms;
        } client;
        const struct job_row *row;
        int cut;
        struct {
            uint64_t bytes;
            uint64_t free_bytes;
        } space;
        const struct query_answer *answer;
        const uint64_t *forgotten; /* by state */
        struct {
            enum status status;
            const char *text;
        } refused;
        struct {
            struct view queue;
            const struct job_options *options;
            struct blob *spec;            /* borrowed; may be NULL */
            struct blob *const *payloads; /* borrowed */
            size_t count;
            uint64_t digest;           /* of queue, header and bodies */
            struct request_id request; /* client 0: not a durable id */
        } submit;
        struct {
            uint64_t id;
            uint8_t wants[WANTS_MAX];
            uint8_t want_count;
        } get;
        struct {
            const struct id_range *ranges;
            size_t range_count;
            uint64_t since;
            uint64_t timeout_ms;
            uint32_t limit;
            bool with_results;
        } wait;
        struct {
            uint64_t id;
            uint32_t attempt;
            uint64_t stdout_at;
            uint64_t stderr_at;
            enum job_state state; /* JOB_STATE_COUNT: not known */
        } follow;
        struct {
            const struct id_range *ranges;
            size_t range_count;
            struct view queue; /* empty = any */
            unsigned states;
            const char *name; /* "" = any */
            uint64_t before_id;
            uint32_t limit;
        } list;
        struct {
            const struct id_range *ranges;
            size_t range_count;
            const char *reason;
            const char *by;
        } cancel;
        struct {
            enum stop_mode mode;
            uint64_t grace_ms;
            bool keep_workers;
        } shutdown;
        struct {
            bool has_seen;
            enum stop_phase phase;
            uint64_t running;
            uint64_t ready;
            uint64_t workers;
        } progress;
        uint8_t log_level;
        const struct ready_header *ready;
        struct {
            const struct ref *running;
            size_t running_count;
            const struct ref *outbox;
            size_t outbox_count;
        } inventory;
        uint64_t credit; /* running total of the session */
        struct {
            uint64_t number;
            const struct id_range *leases;
            size_t lease_count;
        } beat;
        struct {
            enum outcome outcome; /* OK FAIL RETRY DISCARD RELEASED */
            struct ref ref;
            const struct verdict_header *header;
            struct blob *stdout_data; /* borrowed */
            struct blob *stderr_data;
        } verdict;
        struct {
            struct ref ref;
            bool is_stderr;
            uint64_t offset;
            struct view data;
        } output;
    };
};

#endif
