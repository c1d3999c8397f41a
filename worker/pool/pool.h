/* SPDX-License-Identifier: MPL-2.0 */
/* pool.h - the rules of a worker: slots, credit, leases, verdicts, leaving. A pure state machine.
 *
 *     pool_step(pool, event, effects)      messages, ends of jobs and time in; sends and spawns out
 *
 * Same configuration and events: same effects. No clock, no I/O. Every event has a defined outcome
 * in every state; what is late, unknown or not allowed becomes a counter (pool_stats).
 *
 * What it keeps true:
 *   - a slot runs at most one attempt, and is free again only when its keeper said that the last
 *     process is gone;
 *   - an attempt is started only under the session of the moment and within its lease, and is ended
 *     without grace when its lease ends. The lease of an attempt counts from the sending of the
 * last answered BEAT that listed it; before there is one, from the last BEAT or READY that had been
 *     answered when its JOB came;
 *   - a verdict stays in the outbox until the broker acknowledges it, whatever happens to sessions;
 *     credit is granted only for what slots and outbox can take;
 *   - every dial is a new epoch on fresh sockets.
 *
 * Time is CLOCK_BOOTTIME in milliseconds throughout (boot_ms). */
#ifndef STINT_WORKER_POOL_POOL_H
#define STINT_WORKER_POOL_POOL_H

#include "common/base/blob.h"
#include "common/proto/header.h"
#include "common/proto/msg.h"
#include "common/proto/option.h"
#include "common/proto/ref.h"
#include "worker/pool/effect.h"

#define POOL_OUTBOX_BYTES_MAX ((size_t)64 * 1024 * 1024) /* above it no credit is granted */
#define POOL_RESEND_MS 2000        /* an unacknowledged verdict is sent again after it */
#define POOL_ANSWER_MS 2000        /* a READY without an answer by then: dial again */
#define POOL_SILENT_INTERVALS 3    /* without an answered BEAT: dial again */
#define POOL_RECONNECT_MS 500      /* until a broker has told its own */
#define POOL_AWAY_MS_MAX 3600000   /* of one AWAY */
#define POOL_SPAWN_PAUSE_MS 1000   /* no credit after this machine could not start a process */
#define POOL_RELEASE_GRACE_MS 1000 /* TERM to KILL for jobs that are given back */
#define POOL_LEAVE_MS 5000         /* to get the last verdicts acknowledged, then exit without */

struct pool;

/* Borrowed by pool_new, which copies what it needs. */
struct pool_config {
    uint64_t instance;               /* random */
    struct ready_header ready;       /* who this is; slots, kinds and queues */
    const char *const *handler_argv; /* PROGRAM for payload jobs; handler_argc 0: none */
    size_t handler_argc;
    uint64_t grace_ms; /* from the first TERM until running jobs are given back; NEVER_MS: no end */
    uint64_t kill_grace_ms; /* TERM to KILL after a time limit */
};

enum pool_event_type {
    POOL_EVENT_START,       /* first, once */
    POOL_EVENT_TICK,        /* pool_deadline has come (harmless at any time) */
    POOL_EVENT_MESSAGE,     /* msg: from the `workers` socket of the last DIAL */
    POOL_EVENT_CUT,         /* the connection of that socket was lost */
    POOL_EVENT_OUTPUT,      /* output: a running job wrote */
    POOL_EVENT_EXITED,      /* exit: a job has ended and all its processes are gone */
    POOL_EVENT_LOST,        /* exit.slot, exit.lease: its keeper died, the processes are gone */
    POOL_EVENT_NOT_SPAWNED, /* exit.slot, exit.lease, exit.reason: this machine cannot start it */
    POOL_EVENT_FATAL,       /* no more jobs can be run here: give back and exit with 70 */
    POOL_EVENT_TERM,        /* finish within the grace, then leave; the second time: leave now */
    POOL_EVENT_INT,         /* leave now; said while leaving: exit at once */
    POOL_EVENT_QUIET,       /* take no more, stay */
};

struct pool_exit {
    size_t slot;
    uint64_t lease; /* as in the SPAWN; another one is ignored */
    enum pool_cause cause;
    int exit_code;      /* -1: killed by `signal` */
    int signal;         /* 0: none */
    const char *reason; /* NOT_STARTED, NOT_SPAWNED; else NULL */
    uint64_t run_ms;
    struct blob *output[2]; /* stdout, stderr: borrowed, the pool takes its own references */
    uint64_t total_bytes[2];
    bool is_truncated;
};

struct pool_output {
    size_t slot;
    uint64_t lease;
    unsigned stream; /* 0 stdout, 1 stderr */
    uint64_t offset;
    struct view bytes; /* at most PROTO_OUTPUT_CHUNK_BYTES_MAX */
};

struct pool_event {
    enum pool_event_type type;
    uint64_t boot_ms; /* never falls */
    uint64_t random;  /* fresh in every event */
    union {
        const struct msg *msg; /* decoded for PLANE_B */
        struct pool_output output;
        struct pool_exit exit;
    };
};

struct pool *pool_new(const struct pool_config *config);
void pool_free(struct pool **pool);

/* Handles one event; appends to `fx`. */
void pool_step(struct pool *pool, const struct pool_event *event, struct pool_effects *fx);

/* When the next POOL_EVENT_TICK is due, in boot_ms; NEVER_MS: not before another event. */
uint64_t pool_deadline(const struct pool *pool);

/* --- for tests, simulation and the status line --- */

enum pool_link {
    POOL_LINK_DOWN,    /* waits before it dials again */
    POOL_LINK_DIALLED, /* READY is out, not answered */
    POOL_LINK_UP,      /* registered */
};

struct pool_stats {
    uint64_t started;
    uint64_t succeeded;
    uint64_t failed;
    uint64_t fenced;          /* attempts ended because their lease had */
    uint64_t refused_session; /* messages of another session */
    uint64_t refused_late;    /* JOBs after the end of their lease */
    uint64_t refused_twice;   /* JOBs that were here already */
    uint64_t refused_full;    /* JOBs beyond the credit, or while leaving: given back */
    uint64_t refused_other;   /* messages that broke the protocol */
    uint64_t dials;
};

const struct pool_stats *pool_stats(const struct pool *pool);
enum pool_link pool_link(const struct pool *pool);
/* The session of the moment; broker_start is 0 unless the link is up. */
struct session pool_session(const struct pool *pool);
size_t pool_slots(const struct pool *pool);
size_t pool_busy(const struct pool *pool); /* slots with processes, fenced ones included */
size_t pool_outbox(const struct pool *pool);
/* True where the slot runs an attempt that it still holds: its ref and the end of its lease. */
bool pool_slot_holds(const struct pool *pool, size_t slot, struct ref *ret_ref,
                     uint64_t *ret_lease_end_ms);
/* True where a verdict on this attempt waits for its acknowledgement. */
bool pool_outbox_holds(const struct pool *pool, const struct ref *ref);

#endif
