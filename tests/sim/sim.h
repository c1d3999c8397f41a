/* SPDX-License-Identifier: MPL-2.0 */
/* sim.h - one seeded world: the real rules of broker, workers and clients on a simulated network,
 * store and clock.
 *
 * Everything that happens is a *happening*: a time in microseconds and a function. The world takes
 * the earliest one, sets its clock, runs it, and checks what must always be true. Nothing else
 * moves time. All choices come from one generator, so a seed is a whole history.
 *
 * Real object code: broker_core, broker_ingress, broker_egress, worker_pool, the codec, the request
 * table. Simulated here: the two drivers (their order of work and the hold-back of replies are
 * those of broker/driver.c and worker/driver.c), sockets, store, processes of jobs, people.
 *
 *     world.c       clock, phases (chaos, then calm), life and death     faults.c   what goes wrong
 *     net.c         sockets, connections, delays, cuts, silence
 *     sim_broker.c  the broker's process        sim_store.c  what is on its disk
 *     sim_worker.c  a worker's process and its jobs' processes
 *     sim_client.c  a client's process          sim_task.c   what clients ask and what they check
 *     check.c       the promises, watched from outside of all of them */
#ifndef STINT_TESTS_SIM_SIM_H
#define STINT_TESTS_SIM_SIM_H

#include <stdio.h>

#include "broker/core/core.h"
#include "broker/ingress/ingress.h"
#include "common/base/heap.h"
#include "common/base/list.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/session/request.h"
#include "worker/pool/pool.h"

#define WORKERS_MAX 5
#define CLIENTS_MAX 4
#define OPERATOR CLIENTS_MAX /* the peer that asks on `control` */
#define PEOPLE_MAX (CLIENTS_MAX + 1)
#define SLOTS_MAX 4
#define BATCH_JOBS_MAX 8
#define BATCHES_MAX 64
#define NUMBERS_MAX 128 /* connections at a time */
#define SECOND_US UINT64_C(1000000)
#define MS_US UINT64_C(1000)

struct world;
struct conn;

/* --- time --- */

struct happening {
    struct heap_node node;
    void (*run)(struct world *w, struct happening *h);
};

void happen_at(struct world *w, struct happening *h, uint64_t at_us);
void happen_by(struct world *w, struct happening *h, uint64_t at_us); /* at the latest then */
void happen_not(struct world *w, struct happening *h);
static inline bool happens(const struct happening *h)
{
    return heap_node_is_linked(&h->node);
}

/* --- network --- */

enum net_plane {
    NET_CLIENTS,
    NET_CONTROL,
    NET_WORKERS,
    NET_RESULTS,
    NET_PLANES
};

/* One message in flight or in an inbox; the frames lie behind the struct. */
struct packet {
    struct list link;
    struct conn *conn;
    uint64_t ready_us;
    size_t frame_count;
    struct view frames[];
};

struct packet *packet_new(const struct outmsg *m, const struct route *envelope);

/* One direction of a connection: in order, one head that is due. */
struct pipe {
    struct conn *conn;
    struct list packets;
    struct happening head;
    uint64_t last_us;  /* of the last packet put in */
    uint64_t until_us; /* the sender is gone: what comes later is lost */
};

struct conn {
    struct list link; /* in world.conns */
    uint32_t id;      /* the routing id */
    int number;       /* of the connection; used again */
    enum net_plane plane;
    struct socket *socket; /* the peer's; NULL: the peer has closed it */
    struct peer *peer;
    bool is_broker_open;
    bool is_cut; /* nothing passes any more; both sides learn it later */
    struct pipe up;
    struct pipe down;
    struct happening peer_notice; /* the peer learns that it is closed */
    struct happening broker_notice;
};

/* A process on the other side of the broker's sockets. */
struct peer {
    char name[24];
    bool is_paused;
    uint64_t silent_until_us; /* partitioned: nothing passes, nothing is lost */
};

/* A peer's socket: connects by itself, again and again. */
struct socket {
    enum net_plane plane;
    struct peer *peer;
    int owner; /* index of the worker or client */
    bool is_open;
    struct conn *conn;
    struct list unsent; /* before the connection stands */
    struct happening connect;
};

void socket_init(struct socket *s, enum net_plane plane, struct peer *peer, int owner);
void socket_open(struct world *w, struct socket *s);
void socket_close(struct world *w, struct socket *s);
void socket_send(struct world *w, struct socket *s, struct packet *p);
bool net_send(struct world *w, enum net_plane plane, const struct route *r, struct packet *p);
void net_cut(struct world *w, struct conn *c);
void net_broker_gone(struct world *w, bool is_planned);
void net_hint(struct world *w, int number, uint64_t delay_us);
void net_fini(struct world *w);

/* --- the broker and its store --- */

struct held {
    uint64_t commit;
    struct effect effect;
};

struct completion {
    bool is_answer;
    uint64_t commit;
    uint64_t forgotten[JOB_STATE_COUNT];
    struct query_answer answer;
};

#define UNREACHABLE_MAX 64
#define HINTS_MAX 64

struct broker {
    bool is_up;
    bool is_paused;
    bool is_dying;   /* killed between two effects of this turn */
    bool is_exiting; /* EXIT was released */
    bool is_termed;  /* SIGTERM is pending */
    uint32_t lives;
    int crash_in; /* effects until it is killed; -1 = it is not */
    struct core *core;
    struct effects fx;
    uint64_t mono_offset_ms;
    uint64_t handed_over;
    uint64_t confirmed;
    struct held *held;
    size_t held_first;
    size_t held_count;
    size_t held_capacity;
    struct route unreachable[UNREACHABLE_MAX];
    size_t unreachable_count;
    int hints[HINTS_MAX];
    size_t hint_count;
    struct list inbox[NET_PLANES];
    struct completion *done; /* of the store, not taken yet */
    size_t done_count;
    size_t done_capacity;
    uint64_t space_at_ms;
    struct happening turn;
    struct happening start;
    struct happening resume;
};

void broker_init(struct world *w);
void broker_fini(struct world *w);
void broker_wake(struct world *w, uint64_t delay_us);
void broker_kill(struct world *w);
void broker_pause(struct world *w, uint64_t us);
void broker_done(struct world *w, const struct completion *c);
uint64_t broker_mono_ms(const struct world *w);

struct store_row {
    bool exists;
    bool is_forgotten;
    struct job_row row;
};

struct store_batch {
    uint64_t commit;
    struct record *records;
    size_t count;
};

struct store_client {
    uint64_t id;
    uint64_t at_ms;
    struct client_entry ring[CLIENT_RING];
};

struct sim_store {
    /* on disk */
    struct store_row *rows; /* by id */
    size_t row_capacity;
    uint64_t *finishes; /* job ids by finish number */
    size_t finish_capacity;
    char queues[64][PROTO_QUEUE_BYTES_MAX + 1]; /* by id - 1 */
    uint32_t queue_count;
    struct store_client *clients;
    size_t client_count;
    size_t client_capacity;
    uint32_t broker_start;
    uint64_t away_ms;
    uint64_t next_job;
    uint64_t next_finish;
    uint64_t finished[JOB_STATE_COUNT];
    struct core *shadow; /* exactly the committed records */
    /* of the running process */
    uint64_t last_commit;
    struct store_batch *batches; /* taken ones first */
    size_t batch_count;
    size_t batch_taken;
    size_t batch_capacity;
    struct query *questions;
    size_t question_count;
    size_t question_taken;
    size_t question_capacity;
    struct happening work;
};

void sim_store_init(struct world *w);
void sim_store_fini(struct world *w);
uint64_t sim_store_commit(struct world *w, struct record *records, size_t count);
void sim_store_query(struct world *w, const struct query *q);
void sim_store_end(struct world *w, bool is_planned); /* its process ends */
void sim_store_load(struct world *w, void (*step)(struct world *w, struct event *e));
const struct store_row *sim_store_row(const struct world *w, uint64_t id);
size_t sim_store_backlog(const struct world *w);

/* --- workers --- */

struct process {
    bool is_used;
    struct ref ref;
    size_t slot;
    int worker;
    uint64_t started_us;
    uint64_t fence_us;
    uint64_t ignores_us; /* TERM, so long */
    uint32_t chunks;     /* of output */
    uint32_t chunks_sent;
    int exit_code;
    int signal;
    bool obeys_with_0; /* ends with 0 when it gets TERM */
    enum pool_cause cause;
    struct happening end;
    struct happening fence;
    struct happening write;
};

struct ended {
    bool is_lost;
    bool is_not_spawned;
    bool is_output;
    struct process process;
    uint32_t chunk;
    uint64_t ended_us;
};

#define ENDED_MAX 64

struct worker {
    struct peer peer;
    int index;
    bool is_up;
    bool is_dying;
    bool is_quiet;
    uint64_t instance;
    uint64_t clock_offset_ms;
    int crash_in;
    uint32_t kinds;
    uint32_t slots;
    uint32_t queue_count;
    uint32_t lease_ms; /* wished; 0: the broker's */
    uint32_t interval_ms;
    struct pool *pool;
    struct pool_effects fx;
    struct socket workers;
    struct socket results;
    struct list inbox;
    bool was_cut;
    struct ended ended[ENDED_MAX];
    size_t ended_count;
    struct process processes[SLOTS_MAX];
    struct happening turn;
    struct happening start;
    struct happening resume;
};

void worker_init(struct world *w, int index);
void worker_fini(struct world *w, int index);
void worker_deliver(struct world *w, int index, struct packet *p);
void worker_cut(struct world *w, int index, enum net_plane plane);
void worker_kill(struct world *w, int index);
void worker_pause(struct world *w, int index, uint64_t us);
void worker_signal(struct world *w, int index, enum pool_event_type type);
void worker_wake(struct world *w, struct worker *k, uint64_t delay_us);
/* What an attempt writes to stdout: `chunks` times the same text. */
size_t process_text(const struct ref *ref, char out[REF_BYTES_MAX + 2]);

/* --- clients --- */

enum ask_kind {
    ASK_SUBMIT,
    ASK_WAIT,
    ASK_FOLLOW,
    ASK_GET,
    ASK_LIST,
    ASK_CANCEL,
    ASK_OTHER,
    ASK_SHUTDOWN,
    ASK_PROGRESS,
};

/* A request under way and what its answer is checked against. */
struct ask {
    struct list link;
    uint64_t number; /* of the request */
    enum ask_kind kind;
    struct batch *batch;
    uint64_t first;
    uint64_t last;
    uint64_t since;
    uint64_t limit;
    uint64_t existed; /* jobs of the set that were acknowledged when it was asked */
    bool is_chain;    /* the batch's own wait */
    bool with_results;
    bool was_final; /* an answer said already that the job is final */
    uint32_t attempt;
    uint64_t at[2];
    enum job_state state;
};

/* Jobs of one SUBMIT: what the people know of them. */
struct batch {
    int client;
    uint32_t index;
    uint32_t count;
    uint64_t first; /* id; 0: not acknowledged */
    bool is_kept;   /* kept long enough to be waited for */
    bool is_refused;
    bool is_abandoned; /* its client died before the answer */
    bool is_over;      /* all results are known */
    uint64_t since;
    uint32_t known; /* bits: results seen by the wait */
};

enum dial_state {
    DIAL_PAUSED,
    DIAL_HELLO,
    DIAL_READY
};

struct client {
    struct peer peer;
    int index;
    bool is_up;
    uint8_t envelope; /* frames in front: 0 DEALER, 1 REQ, 2 REQ that correlates */
    bool sees_cuts;
    enum dial_state dial;
    uint32_t epoch;
    uint64_t dial_at_us;
    uint64_t hello_until_us;
    uint64_t busy_until_us;
    struct request_table table;
    struct list asks;
    struct socket socket;
    struct list inbox;
    bool was_cut;
    int crash_in;          /* requests until it is killed; -1 = it is not */
    bool is_stopping_pool; /* the operator: a SHUTDOWN is under way */
    uint64_t think_at_us;
    struct happening turn;
    struct happening start;
    struct happening resume;
};

void client_init(struct world *w, int index);
void client_fini(struct world *w, int index);
void client_deliver(struct world *w, int index, struct packet *p);
void client_cut(struct world *w, int index);
void client_kill(struct world *w, int index);
void client_pause(struct world *w, int index, uint64_t us);
void client_wake(struct world *w, struct client *c, uint64_t delay_us);
void client_resume(struct world *w, struct happening *h);
struct ask *client_ask(struct world *w, struct client *c, enum ask_kind kind, enum verb verb,
                       const char *subject, const char *header, struct blob **bodies,
                       size_t body_count, uint64_t poll_ms);
void task_think(struct world *w, struct client *c);
/* The answer to an ask; true where it is to be asked again. */
bool task_answer(struct world *w, struct client *c, struct ask *a, const struct msg *m);
void task_recover(struct world *w, struct client *c);
void task_shutdown(struct world *w, const char *mode, bool keep_workers);
bool tasks_are_over(const struct world *w, const struct client *c);

/* --- what is watched --- */

/* One attempt that a worker started. */
struct attempt_seen {
    struct ref ref;
    int worker;
    bool is_alive;
    int32_t next; /* of the same job; -1: none */
};

struct job_seen {
    int32_t attempts;          /* the last one started; -1: none */
    uint64_t digest;           /* of the result that clients were told; 0: none */
    bool is_promised;          /* OK has left for a client */
    bool was_final;            /* somebody was told a final state */
    uint32_t accepted_attempt; /* last attempt whose verdict was accepted */
    uint64_t accepted_lease;
    uint32_t finishes;
    uint64_t excused; /* bits by attempt: given away because the connection was cut */
};

struct checks {
    struct job_seen *jobs; /* by id */
    size_t job_capacity;
    struct attempt_seen *attempts;
    size_t attempt_count;
    size_t attempt_capacity;
    bool has_failed;
    char text[400];
};

void check_fail(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct job_seen *check_job(struct world *w, uint64_t id);
void check_sent(struct world *w, const struct effect *f);
void check_record(struct world *w, const struct record *r);
void check_started(struct world *w, int worker, const struct ref *ref, uint64_t fence_ms,
                   uint64_t now_ms);
void check_ended(struct world *w, const struct ref *ref);
void check_worker(struct world *w, const struct worker *k);
void check_told(struct world *w, uint64_t job, uint64_t digest);
bool check_attempt_lease(const struct world *w, uint64_t job, uint32_t attempt, uint64_t *ret);
void check_end(struct world *w);
void check_fini(struct world *w);

/* --- faults and counters --- */

enum fault {
#define FAULT(id, text, must) FAULT_##id,
#include "tests/sim/fault.def"
#undef FAULT
    FAULT_COUNT
};

enum counter {
#define COUNTER(id, text, must) COUNT_##id,
#include "tests/sim/counter.def"
#undef COUNTER
    COUNTER_COUNT
};

struct tally {
    uint64_t faults[FAULT_COUNT];
    uint64_t counters[COUNTER_COUNT];
    uint64_t messages;
    uint64_t restarts;
    uint64_t virtual_us;
    uint64_t virtual_max_us;
};

void fault_aftershock(struct world *w);
void fault_next(struct world *w, struct happening *h);
void faults_end(struct world *w);

/* --- the world --- */

/* What a seed chose once for its whole history. */
struct plan {
    int workers;
    int clients;
    uint32_t batches; /* of each client */
    uint64_t chaos_us;
    uint64_t fault_gap_us;
    uint32_t fault_weight[FAULT_COUNT];
    uint64_t net_us;         /* usual longest delay */
    uint64_t results_us;     /* more of it on `results` */
    uint64_t commit_us;      /* usual longest commit */
    uint64_t slow_commit_us; /* of a slow store */
    uint32_t turn_messages;
    size_t pressure;      /* records */
    bool has_merge;       /* inboxes of several connections are read in any order */
    uint32_t long_jobs;   /* of 100 */
    uint32_t wishes;      /* of 100 workers: another lease and beat than the broker's */
    uint32_t spawn_fails; /* of 100 */
    uint32_t aftershocks; /* of 100 starts of a broker: a worker falls silent soon after */
    struct core_config core;
};

struct world {
    uint64_t seed;
    bool is_traced;
    struct rng rng;
    uint64_t now_us;
    uint64_t wall_base_ms;
    int64_t wall_step_ms;
    uint64_t digest; /* of all that was delivered */
    struct heap happenings;
    struct plan plan;
    bool is_aftershock; /* the next fault */
    bool is_calm;
    uint64_t calm_us;
    struct happening fault;
    struct happening calm;
    /* for a while */
    uint64_t net_slow_until_us;
    uint64_t net_slow_us;
    uint64_t commit_slow_until_us;
    uint64_t commit_slow_us;
    uint64_t space_low_until_us;
    uint64_t listens_us; /* the broker cannot be dialled before */

    struct list conns;
    struct list dead_conns;
    uint32_t next_conn;
    bool numbers[NUMBERS_MAX];
    struct list hints;

    struct broker broker;
    struct sim_store store;
    struct ingress *ingress; /* shared by all worlds: scratch */
    struct worker workers[WORKERS_MAX];
    struct client clients[PEOPLE_MAX];
    struct batch batches[BATCHES_MAX];
    size_t batch_count;
    struct checks checks;
    struct tally *tally;
};

void world_run(struct world *w, uint64_t seed, bool is_traced, struct ingress *in,
               struct tally *tally);
void world_fini(struct world *w);
uint64_t world_ms(const struct world *w);
uint64_t wall_ms(const struct world *w);
void trace(const struct world *w, const char *who, const char *fmt, ...) PRINTF_LIKE(3, 4);
void trace_packet(const struct world *w, const char *who, const char *arrow,
                  const struct packet *p);

static inline uint64_t roll(struct world *w, uint64_t n)
{
    return rng_below(&w->rng, n);
}

/* True `percent` times of 100. */
static inline bool chance(struct world *w, uint32_t percent)
{
    return rng_below(&w->rng, 100) < percent;
}

static inline uint64_t roll_us(struct world *w, uint64_t low_us, uint64_t high_us)
{
    return low_us + rng_below(&w->rng, high_us - low_us + 1);
}

static inline void count(struct world *w, enum counter c)
{
    w->tally->counters[c]++;
}

#endif
