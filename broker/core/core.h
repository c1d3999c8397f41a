/* SPDX-License-Identifier: MPL-2.0 */
/* core.h - the rules of the broker: a pure state machine.
 *
 *     core_step(core, event, effects)      time and peers' words in, records and sends out
 *
 * Same configuration, seed and events: same effects, to the byte. No clock, no I/O, no threads, no
 * locale; links against nothing that has them. Every event has a defined outcome in every state:
 * what is late, unknown or not allowed becomes a refusal and a counter, never an assertion.
 *
 * Decide, then apply: a handler reads state and emits records; core_apply changes the state by them
 * and is the only place that does, live and at load. Effects that show durable state wait for the
 * commit of all records emitted before them (effect.waits).
 *
 * Flow of a job: EVENT_SUBMIT -> ADD (+ LEASE when a worker is free) -> EFFECT_JOB -> EVENT_VERDICT
 * -> FINISH or REQUEUE -> EFFECT_ACK, EFFECT_FINISHED to those who wait. */
#ifndef STINT_BROKER_CORE_CORE_H
#define STINT_BROKER_CORE_CORE_H

#include "broker/core/effect.h"
#include "broker/core/event.h"

struct core;

struct core_config {
    uint64_t seed;                /* for jitter */
    uint32_t lease_ms;            /* default 30,000 */
    uint32_t margin_ms;           /* by which workers fence early, default 1,000 */
    uint32_t interval_ms;         /* shortest beat interval, default 1,000 */
    uint32_t cut_ms;              /* a cut worker may register again within it, default 1,000 */
    uint64_t keep_ms;             /* of succeeded and cancelled jobs, default 24 h */
    uint64_t keep_failed_ms;      /* of failed and expired ones, default 7 d */
    uint64_t away_ms;             /* how long a planned stop takes at most, default 2 min */
    uint64_t queue_jobs_max;      /* unfinished jobs of one queue, default 1,000,000 */
    uint64_t payload_bytes_max;   /* of all unfinished jobs together, default 1 GiB */
    uint64_t store_reserve_bytes; /* below it submits are refused, default 64 MiB */
    uint32_t workers_max;         /* default 10,000 */
    uint32_t waiters_max;         /* default 20,000 */
    uint32_t clients_max;         /* remembered durable request ids' owners, default 100,000 */
    uint32_t queues_max;          /* default 10,000 */
};

void core_config_init(struct core_config *c);

struct core *core_new(const struct core_config *config);
void core_free(struct core **core);

/* Handles one event; appends to `fx`. */
void core_step(struct core *core, const struct event *event, struct effects *fx);

/* Ends a turn: answers those who wait with all that happened since the last call. The driver calls
 * it after the last event of a turn and before it hands the turn's records to the store. */
void core_turn_end(struct core *core, uint64_t now_ms, struct effects *fx);

/* When EVENT_TICK is due (monotonic ms; NEVER_MS = not before another event). */
uint64_t core_deadline(const struct core *core);

/* A hash over the durable state (unfinished jobs, queues, clients, counters), independent of the
 * order in which it came about. For tests: live state == loaded state. */
uint64_t core_digest(const struct core *core);

/* Counters for tests and the log. */
struct core_stats {
    uint64_t stale_verdicts;
    uint64_t duplicate_verdicts;
    uint64_t refused_sessions;
    uint64_t leases_lost;
    uint64_t adopted;
};

const struct core_stats *core_stats(const struct core *core);

#endif
