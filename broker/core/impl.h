/* SPDX-License-Identifier: MPL-2.0 */
/* impl.h - the core's inside: its state and the functions that its files share.
 *
 * A job's state is the list it is on: READY = in a ready heap of its queue, SCHEDULED = its timer
 * is its due time, RUNNING = in its worker's list of jobs and its timer is the end of its lease.
 * Only apply.c moves jobs. Volatile state (workers, credit, waiters, timers) is not in the store;
 * it is rebuilt from what workers and clients say again. */
#ifndef STINT_BROKER_CORE_IMPL_H
#define STINT_BROKER_CORE_IMPL_H

#include "broker/core/core.h"
#include "common/base/heap.h"
#include "common/base/list.h"
#include "common/base/memory.h"
#include "common/base/rng.h"

/* uthash ends the process where memory is gone, as mem_alloc does. */
#define uthash_malloc(size) mem_alloc(size)
#define uthash_fatal(text) abort()
#include <stdlib.h>
#include <uthash.h>

#define RING_SIZE 8192u                               /* last finishes kept in memory for WAIT */
#define RING_BYTES_MAX (32u << 20)                    /* of their results */
#define PEER_WAITERS_MAX (2u * PROTO_WINDOW_REQUESTS) /* of one connection */
#define SELECTION_SMALL 4096u                         /* sets up to it are checked id by id */
#define LIVE_BYTES_MAX (1u << 20) /* live output held of one stream of one job */
#define LIVE_TOTAL_BYTES_MAX (64u << 20)
#define RETRY_WAITS_MAX 100u /* RETRY verdicts of one job */
#define RETRY_DELAY_MAX_MS 300000u
#define UNREPORTED_LEASES 4u /* a JOB is on its way for at most so many leases */
#define PROBE_MS 50u         /* between two probes of a worker that seems cut */
#define PROBES_MAX 20u       /* then the hint was wrong: silence decides */
#define SILENT_INTERVALS 3u
#define LOST_SHOWN_MS 60000u   /* a lost worker is listed that long */
#define BYE_WAIT_MS 5000u      /* for the workers' BYE at a shutdown */
#define DONE_WAIT_MS 1000u     /* for the last look of the one who asked for the shutdown */
#define RELEASE_WAIT_MS 15000u /* for RELEASED verdicts: job grace and a margin */
#define EXPIRE_MS 10000u       /* between two turns of retention */
#define EXPIRE_JOBS_MAX 1000u
#define CANCEL_GRACE_MS 10000u
#define READY_CLASSES 4u /* kind x (crashed before or not) */
#define RATE_SECONDS 16u

enum timer_kind {
    TIMER_JOB,
    TIMER_WORKER,
    TIMER_WAITER,
    TIMER_STOP,
    TIMER_EXPIRE,
    TIMER_AWAY
};

struct timer {
    struct heap_node node; /* key: monotonic ms */
    enum timer_kind kind;
};

struct queue {
    uint32_t id;
    char name[PROTO_QUEUE_BYTES_MAX + 1];
    struct heap ready[READY_CLASSES];
    struct list idle[2]; /* subscriptions of workers with credit, by job kind */
    uint64_t count[3];   /* SCHEDULED, READY, RUNNING */
    struct list subscriptions;
    UT_hash_handle hh; /* by name */
    UT_hash_handle by_id;
};

/* Output of a running attempt, for those who follow it. Bytes [begin, begin + data.size). */
struct live {
    struct buf data[2];
    uint64_t begin[2];
};

struct job {
    uint64_t id;
    struct queue *queue;
    struct job_template *template;
    struct blob *payload;
    uint64_t seq;
    uint64_t submitted_ms;  /* wall */
    uint64_t not_before_ms; /* wall; SCHEDULED */
    uint64_t started_ms;    /* wall; of the last attempt */
    uint64_t lease;         /* RUNNING, else 0 */
    uint64_t leased_ms;     /* monotonic; RUNNING */
    struct worker *worker;  /* RUNNING, else NULL */
    struct list held;       /* RUNNING: in worker->jobs */
    struct blob *cancel_reason;
    struct list followers;  /* waiters: FOLLOW */
    struct list waits;      /* waiters: WAIT for this job alone */
    struct live *live;      /* NULL until the first OUTPUT of an attempt */
    struct heap_node ready; /* READY: in queue->ready[job_class] */
    struct timer timer;
    uint32_t attempt;
    uint32_t retries_used;
    uint32_t retry_waits;
    uint32_t crashes;
    uint8_t state;
    bool is_cancelled; /* a cancel intent is stored */
    bool is_reported;  /* the worker has named this lease at least once */
    bool is_listed;    /* while an INVENTORY is read */
    UT_hash_handle hh; /* by id */
};

enum worker_state {
    WORKER_EXPECTED, /* holds leases from before the start; not seen yet */
    WORKER_JOINING,  /* READY answered, INVENTORY awaited */
    WORKER_ACTIVE,
    WORKER_SILENT, /* gets no new work */
    WORKER_CUT,    /* its connection is gone */
    WORKER_LOST,   /* listed for a while, holds nothing */
};

struct subscription {
    struct worker *worker;
    struct queue *queue;
    struct list idle[2]; /* in queue->idle[kind] while the worker has credit */
    struct list of_queue;
};

struct worker {
    uint64_t instance;
    struct session session;
    struct route route;
    int connection; /* -1 = not known */
    enum worker_state state;
    struct ready_header info;
    struct blob *name;
    struct subscription subscriptions[PROTO_QUEUES_PER_WORKER_MAX];
    uint64_t granted; /* CREDIT of this session */
    uint64_t sent;    /* JOBs of this session */
    struct list jobs;
    uint32_t job_count;
    uint32_t suspects; /* of them, jobs that crashed before */
    uint64_t heard_ms;
    uint64_t since_ms; /* of the state */
    uint32_t interval_ms;
    uint32_t lease_ms;
    uint32_t probes; /* sent since the hint; 0 = none under way */
    bool is_listed;  /* its INVENTORY of this session has come */
    uint64_t succeeded;
    uint64_t failed;
    struct timer timer;
    UT_hash_handle hh; /* by instance */
};

enum waiter_kind {
    WAITER_WAIT,
    WAITER_FOLLOW,
    WAITER_PROGRESS,
    WAITER_READ
};

/* A connection of which requests wait; kept while there are any. */
struct peer {
    struct peer_key {
        uint8_t socket;
        uint8_t id_size;
        uint8_t id[ROUTE_BYTES_MAX];
    } key;
    uint32_t waiters;
    UT_hash_handle hh; /* by key */
};

struct waiter {
    enum waiter_kind kind;
    struct caller caller;
    struct peer *peer;
    struct list link;   /* in core->waiters[kind] */
    struct list of_job; /* FOLLOW: in job->followers; WAIT: in job->waits or core->wide_waits */
    struct list dirty;  /* in core->dirty: answered at the end of the turn */
    struct timer timer;
    uint64_t token; /* of its query; 0 = none under way */
    /* WAIT */
    struct id_range *ranges;
    size_t range_count;
    uint64_t since;
    uint64_t resident; /* unfinished jobs of the set when the query left */
    uint64_t selected; /* UINT64_MAX = not asked for */
    uint32_t limit;
    bool with_results;
    struct finish **hits;
    size_t hit_count;
    size_t hit_capacity;
    /* FOLLOW */
    uint64_t job;
    uint32_t attempt;
    uint64_t at[2];
    enum job_state state;
    /* READ */
    struct event read; /* a GET or LIST: type, wants, limit */
    UT_hash_handle hh; /* by token */
};

struct client {
    uint64_t instance;
    uint64_t at_ms; /* wall, of the last SUBMIT */
    struct client_entry ring[CLIENT_RING];
    UT_hash_handle hh; /* by instance; in order of use */
};

struct core {
    struct core_config config;
    struct rng rng;
    uint64_t now_ms;
    uint64_t wall_ms;
    uint32_t broker_start;
    uint64_t away_ms;       /* as stored: how much longer leases may last at the next start */
    uint64_t away_until_ms; /* monotonic: the leases of before the start are over by then */
    uint64_t next_job;
    uint64_t next_finish;
    uint32_t next_queue;
    uint64_t next_lease; /* low half */
    bool is_started;
    bool is_start_stored; /* the commit of RECORD_START is confirmed: it is the first one */

    struct job *jobs;
    struct queue *queues;
    struct queue *queues_by_id;
    struct worker *workers;
    struct client *clients;
    struct heap timers;
    struct timer expire_timer;
    struct timer away_timer;

    struct list waiters[4];
    struct list wide_waits; /* WAITs for more than one job: they look at each finish */
    struct list dirty;
    struct waiter *reading; /* by token */
    uint64_t next_token;
    size_t waiter_count;
    struct peer *peers;

    struct finish *ring[RING_SIZE];
    uint64_t ring_first; /* finish number of the oldest one kept */
    uint64_t ring_bytes;

    uint64_t count[JOB_STATE_COUNT]; /* of all queues; final ones as stored */
    uint64_t payload_bytes;
    uint64_t live_bytes;
    uint64_t store_bytes;
    uint64_t store_free_bytes;
    uint64_t rate_second;
    uint32_t submitted[RATE_SECONDS];
    uint32_t finished[RATE_SECONDS];
    struct core_stats stats;

    enum stop_mode stop_mode;
    enum stop_phase phase;
    bool keep_workers;
    bool is_leaving; /* SIGTERM: only this broker stops */
    bool is_told;    /* `done` was said to somebody */
    bool has_exited; /* EFFECT_EXIT was given */
    uint64_t stop_deadline_ms;
    struct timer stop_timer;
};

/* --- apply.c: the only place that moves jobs --- */
void core_apply(struct core *c, const struct record *r);
void core_load(struct core *c, const struct event *e);
struct job *job_find(struct core *c, uint64_t id);
struct queue *queue_find(struct core *c, struct view name);
struct queue *queue_by_id(struct core *c, uint32_t id);
void core_forget_all(struct core *c);
/* The newest of the last finishes that is this job's, or NULL: it ended before those, or not yet.
 */
struct finish *ring_find(const struct core *c, uint64_t job);
uint64_t job_due_ms(const struct core *c, uint64_t wall_ms);

static inline unsigned job_class(const struct job *j)
{
    return j->template->options.kind * 2u + (j->crashes > 0 ? 1u : 0u);
}

/* --- core.c --- */
void core_refuse(struct effects *fx, const struct caller *to, enum status status, const char *fmt,
                 ...) PRINTF_LIKE(4, 5);
void core_note(struct effects *fx, uint8_t level, const char *fmt, ...) PRINTF_LIKE(3, 4);
void core_timer_set(struct core *c, struct timer *t, uint64_t at_ms);
void core_timer_stop(struct core *c, struct timer *t);
struct blob *blob_text(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* How much longer than the configured lease, counted from the next start, a lease that is out now
 * may last: of workers that asked for longer ones and are told of `told_ms` more now, and what is
 * left of those from before this start. */
uint64_t core_away_needed(const struct core *c, uint64_t told_ms);
void core_away_set(struct core *c, uint64_t ms, struct effects *fx);

/* --- submit.c --- */
void core_submit(struct core *c, const struct event *e, struct effects *fx);
void core_cancel(struct core *c, const struct event *e, struct effects *fx);

/* --- dispatch.c --- */
void dispatch_job(struct core *c, struct job *j, struct effects *fx);
void dispatch_worker(struct core *c, struct worker *w, struct effects *fx);
/* Puts the worker's subscriptions on or off the idle lists, as its credit and state say. */
void worker_set_idle(struct worker *w);
bool core_may_dispatch(const struct core *c);

/* --- worker.c --- */
void core_ready(struct core *c, const struct event *e, struct effects *fx);
void core_worker_message(struct core *c, const struct event *e, struct effects *fx);
void core_cut(struct core *c, const struct event *e, struct effects *fx);
void core_unreachable(struct core *c, const struct event *e, struct effects *fx);
void worker_timer(struct core *c, struct worker *w, struct effects *fx);
struct worker *worker_expect(struct core *c, uint64_t instance, struct blob *name);
struct worker *worker_find(struct core *c, uint64_t instance);
void worker_free(struct core *c, struct worker *w);
void worker_caller(const struct worker *w, struct caller *ret);
/* True where messages may reach it. */
bool worker_is_reachable(const struct worker *w);
void workers_shift(struct core *c, uint64_t late_ms);
void worker_cancel_send(struct worker *w, const struct job *j, struct effects *fx);

/* --- verdict.c --- */
void core_verdict(struct core *c, const struct event *e, struct effects *fx);
void core_output(struct core *c, const struct event *e);
/* The attempt ended without a verdict: the worker was lost (CRASHED), or never had it (UNKNOWN). */
void job_lost(struct core *c, struct job *j, enum outcome outcome, const char *why,
              struct effects *fx);
/* Ends a job: RECORD_FINISH. Takes over `reason`. `e` is the verdict, or NULL. */
void job_finish(struct core *c, struct job *j, enum job_state state, enum outcome outcome,
                struct blob *reason, const struct event *e, struct effects *fx);
void job_due(struct core *c, struct job *j, struct effects *fx);
void live_free(struct core *c, struct job *j);

/* --- wait.c --- */
void core_wait(struct core *c, const struct event *e, struct effects *fx);
void core_follow(struct core *c, const struct event *e, struct effects *fx);
void wait_answer(struct core *c, struct waiter *w, const struct query_answer *a,
                 struct effects *fx);
/* Tells the WAITs of an end; the job is still there. */
void waiters_finished(struct core *c, struct job *j, struct finish *f);
void waiters_flush(struct core *c, struct effects *fx);
/* Answers all that wait with `stopping`. */
void waiters_stop(struct core *c, struct effects *fx);
struct waiter *waiter_new(struct core *c, enum waiter_kind kind, const struct event *e,
                          struct effects *fx);
void waiter_free(struct core *c, struct waiter *w);
void waiter_touch(struct core *c, struct waiter *w);
void waiter_expired(struct core *c, struct waiter *w, struct effects *fx);
/* Sends a query for it; fill the returned query before the next effect is added. */
struct query *waiter_query(struct core *c, struct waiter *w, enum query_type type,
                           struct effects *fx);
void job_followers_touch(struct core *c, struct job *j);
void follow_gone(struct core *c, struct waiter *w, const struct query_answer *a,
                 struct effects *fx);

/* --- read.c --- */
void core_get(struct core *c, const struct event *e, struct effects *fx);
void core_list(struct core *c, const struct event *e, struct effects *fx);
void core_status(struct core *c, const struct event *e, struct effects *fx);
void core_workers(struct core *c, const struct event *e, struct effects *fx);
void read_answer(struct core *c, struct waiter *w, const struct query_answer *a,
                 struct effects *fx);
void core_waiting_for(const struct core *c, const struct job *j, char *out, size_t size);
void core_count(struct core *c);

/* --- stop.c --- */
void core_shutdown(struct core *c, const struct event *e, struct effects *fx);
void core_progress(struct core *c, const struct event *e, struct effects *fx);
void core_term(struct core *c, struct effects *fx);
void stop_check(struct core *c, struct effects *fx);
void progress_send(struct core *c, const struct caller *to, struct effects *fx);

#endif
