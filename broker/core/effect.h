/* SPDX-License-Identifier: MPL-2.0 */
/* effect.h - everything the core wants done, as plain data.
 *
 * A step appends records (to be committed) and effects (to be sent). An effect with `waits` leaves
 * only after the commit of the records that were emitted up to it: the driver stamps it with the
 * commit number. Effects own what they point to; effects_reset gives it back. */
#ifndef STINT_BROKER_CORE_EFFECT_H
#define STINT_BROKER_CORE_EFFECT_H

#include "broker/core/event.h"

enum effect_type {
    EFFECT_REFUSE, /* ERR to caller: status, text */
    EFFECT_HELLO,  /* egress knows ports and versions */
    EFFECT_PING,
    EFFECT_SUBMITTED, /* ids */
    EFFECT_JOBS,      /* GET: one row; LIST: many */
    EFFECT_FINISHED,  /* WAIT */
    EFFECT_FOLLOWED,  /* FOLLOW */
    EFFECT_CANCELLED, /* CANCEL */
    EFFECT_STATUS,
    EFFECT_WORKERS,
    EFFECT_PROGRESS, /* SHUTDOWN and PROGRESS */
    EFFECT_LOGGED,   /* LOG: the driver sets the level and answers */
    EFFECT_READY,    /* to a worker: what was agreed */
    EFFECT_JOB,
    EFFECT_ACK,
    EFFECT_BEAT,
    EFFECT_CANCEL_JOB,
    EFFECT_STOP,
    EFFECT_REGISTER,
    EFFECT_AWAY,
    EFFECT_PROBE,
    EFFECT_QUERY, /* to the store */
    EFFECT_NOTE,  /* a line for the log */
    EFFECT_EXIT,  /* end the process with 0 once everything is sent */
};

struct worker_view {
    char name[PROTO_NAME_BYTES_MAX + 1];
    char host[PROTO_NAME_BYTES_MAX + 1];
    char containment[16];
    const char *state;
    char *queues; /* "a,b"; owned */
    uint64_t silent_ms;
    uint64_t succeeded;
    uint64_t failed;
    uint32_t pid;
    uint32_t kinds;
    uint32_t slots;
    uint32_t slots_busy;
};

struct queue_view {
    char name[PROTO_QUEUE_BYTES_MAX + 1];
    uint64_t ready;
    uint64_t scheduled;
    uint64_t running;
};

struct status_view {
    uint32_t broker_start;
    uint64_t store_bytes;
    uint64_t store_free_bytes;
    uint64_t jobs[JOB_STATE_COUNT];
    double submitted_per_second;
    double finished_per_second;
    uint32_t workers_active;
    uint32_t workers_silent;
    uint32_t workers_lost;
    uint32_t slots;
    uint32_t slots_busy;
    bool is_stopping;
    struct queue_view *queues; /* owned */
    size_t queue_count;
};

struct job_view {
    struct job_row row;
    const char *queue;     /* name; lives as long as the core */
    char waiting_for[160]; /* "" = nothing, or final */
};

struct effect {
    enum effect_type type;
    bool waits;
    struct caller caller; /* replies: the whole; to workers: route, and tag = the session */
    union {
        struct {
            enum status status;
            char text[256];
        } refuse;
        uint32_t broker_start; /* HELLO, PING */
        struct {
            uint64_t first;
            uint32_t count;
            bool is_existing;
        } submitted;
        struct {
            struct job_view *jobs; /* owned */
            size_t count;
            bool is_list;
            bool has_more;
            uint8_t wants[WANTS_MAX];
            uint8_t want_count;
        } jobs;
        struct {
            struct finish **finishes; /* owned references */
            size_t count;
            uint64_t since;
            uint64_t selected; /* UINT64_MAX = not said */
            bool with_results;
        } finished;
        struct {
            uint64_t id;
            enum job_state state;
            uint32_t attempt;
            uint64_t stdout_at;
            uint64_t stderr_at;
            struct blob *stdout_data; /* owned */
            struct blob *stderr_data;
            char waiting_for[160];
        } followed;
        struct {
            uint64_t cancelled;
            uint64_t cancelling;
            uint64_t not_open;
        } cancelled;
        struct status_view *status; /* owned */
        struct {
            struct worker_view *workers; /* owned */
            size_t count;
        } workers;
        struct {
            enum stop_phase phase;
            uint64_t running;
            uint64_t ready;
            uint64_t scheduled;
            uint64_t workers;
            uint64_t left_ms; /* NEVER_MS = no bound */
        } progress;
        uint8_t log_level;
        struct welcome_header ready;
        struct {
            struct ref ref;
            const char *queue;             /* NULL: the worker's first */
            struct job_template *template; /* owned reference */
            struct blob *payload;          /* owned reference */
            uint64_t seq;
        } job;
        struct {
            struct ref ref;
            const char *outcome; /* "accepted", … */
        } ack;
        uint64_t beat;
        struct {
            struct ref ref;
            struct cancel_header header;
        } cancel_job;
        bool stop_is_exit;
        uint64_t away_ms;
        struct query query; /* owned */
        struct {
            uint8_t level; /* enum log_level's numbers */
            char text[256];
        } note;
    };
};

struct effects {
    struct effect *list;
    size_t count;
    size_t capacity;
    struct record *records;
    size_t record_count;
    size_t record_capacity;
};

void effects_init(struct effects *fx);
/* Gives back what effects and records own and empties both; keeps the arrays. */
void effects_reset(struct effects *fx);
void effects_fini(struct effects *fx);

/* Appends an empty effect of a type; `caller` may be NULL. The pointer lives until the next call.
 */
struct effect *effects_add(struct effects *fx, enum effect_type type, const struct caller *caller);
/* Appends a record; its references belong to the list. */
struct record *effects_record(struct effects *fx, enum record_type type, uint64_t job);
void effect_fini(struct effect *f);

#endif
