/* SPDX-License-Identifier: MPL-2.0 */
/* world.c - one seed from its first happening to its last.
 *
 * A seed first chooses a plan: how many of what, how fast, and which kinds of faults at which rate
 * (many seeds have few kinds: a rare fault alone finds other things than all together). Then chaos
 * for a while, then calm: nothing fails any more, and within a bound of virtual time every job must
 * have ended, every answer be there, every outbox be empty. */
#include <stdarg.h>
#include <stdlib.h>

#include "tests/sim/sim.h"

#define CALM_MAX_US (120 * SECOND_US) /* and a lease, and the time of a planned stop */
#define CALM_LOOK_US (100 * MS_US)
#define WALL_MS UINT64_C(1800000000000)

typedef unsigned long long ull;

uint64_t world_ms(const struct world *w)
{
    return w->now_us / MS_US;
}

uint64_t wall_ms(const struct world *w)
{
    return (uint64_t)((int64_t)(w->wall_base_ms + world_ms(w)) + w->wall_step_ms);
}

void trace(const struct world *w, const char *who, const char *fmt, ...)
{
    if (!w->is_traced)
        return;
    va_list args;
    printf("%4llu.%06llu  %-9s ", (ull)(w->now_us / SECOND_US), (ull)(w->now_us % SECOND_US), who);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
}

void trace_packet(const struct world *w, const char *who, const char *arrow, const struct packet *p)
{
    size_t at = 0;
    if (!w->is_traced)
        return;
    while (at < p->frame_count && !view_is(p->frames[at], PROTO_NAME))
        at++;
    if (at + OUT_SMALL_FRAMES > p->frame_count)
        return;
    const struct view *f = p->frames + at;
    char body[64] = "";
    if (p->frame_count > at + OUT_SMALL_FRAMES)
        snprintf(body, sizeof body, " [%.*s]", (int)min_u64(f[5].size, 56),
                 (const char *)f[5].data);
    trace(w, who, "%s  %.*s %.*s %.*s %.*s%s", arrow, VIEW_ARG(f[1]), VIEW_ARG(f[3]),
          VIEW_ARG(f[2]), (int)min_u64(f[4].size, 200),
          f[4].data != NULL ? (const char *)f[4].data : "", body);
}

void happen_at(struct world *w, struct happening *h, uint64_t at_us)
{
    heap_set(&w->happenings, &h->node, at_us, rng_next(&w->rng));
}

void happen_by(struct world *w, struct happening *h, uint64_t at_us)
{
    if (!happens(h) || h->node.key > at_us)
        happen_at(w, h, at_us);
}

void happen_not(struct world *w, struct happening *h)
{
    heap_remove(&w->happenings, &h->node);
}

/* --- the plan --- */

static void plan_faults(struct world *w)
{
    struct plan *p = &w->plan;
    uint32_t share = chance(w, 20) ? 100 : 10 + (uint32_t)roll(w, 50);
    for (int i = 0; i < FAULT_COUNT; i++)
        p->fault_weight[i] = chance(w, share) ? 1 + (uint32_t)roll(w, 8) : 0;
    static const enum fault rare[] = {FAULT_SHUTDOWN_DRAIN, FAULT_SHUTDOWN_FINISH,
                                      FAULT_SHUTDOWN_NOW, FAULT_WALL_STEP, FAULT_STORE_FULL};
    for (size_t i = 0; i < ARRAY_SIZE(rare); i++)
        p->fault_weight[rare[i]] = min_u64(p->fault_weight[rare[i]], chance(w, 50) ? 1 : 0) != 0;
}

/* Two kinds of worlds in which the rare meets the rare more often: leases that end under silence,
 * and sessions that follow one another quickly. */
static void plan_focus(struct world *w)
{
    static const enum fault lease_faults[] = {
        FAULT_SILENCE,     FAULT_SILENCE_ALL,  FAULT_SLOW_STORE,   FAULT_BROKER_CRASH,
        FAULT_BROKER_TERM, FAULT_BROKER_PAUSE, FAULT_WORKER_PAUSE, FAULT_BROKER_CRASH_WITHIN};
    static const enum fault session_faults[] = {FAULT_CUT,
                                                FAULT_CUT_ALL,
                                                FAULT_SLOW_NET,
                                                FAULT_BROKER_CRASH,
                                                FAULT_WORKER_CRASH,
                                                FAULT_SLOW_NET,
                                                FAULT_WORKER_CRASH_WITHIN,
                                                FAULT_FALSE_HINT};
    struct plan *p = &w->plan;
    uint64_t kind = roll(w, 4);
    if (kind > 1)
        return;
    memset(p->fault_weight, 0, sizeof p->fault_weight);
    for (size_t i = 0; i < ARRAY_SIZE(lease_faults); i++)
        p->fault_weight[kind == 0 ? lease_faults[i] : session_faults[i]] = 1 + (uint32_t)roll(w, 4);
    if (kind == 0) {
        p->core.lease_ms = 4000 + (uint32_t)roll(w, 3000);
        p->wishes = chance(w, 50) ? 60 : 0;
        p->long_jobs = 60;
        p->aftershocks = 40;
        p->slow_commit_us = p->core.lease_ms * MS_US;
        p->fault_weight[FAULT_SLOW_STORE] = 6;
    } else {
        p->has_merge = true;
        p->fault_gap_us = 100 * MS_US + roll(w, SECOND_US);
    }
}

static void plan_make(struct world *w)
{
    static const uint32_t leases_ms[] = {4000, 6000, 10000, 30000};
    struct plan *p = &w->plan;
    p->workers = 1 + (int)roll(w, WORKERS_MAX);
    p->clients = 1 + (int)roll(w, CLIENTS_MAX);
    p->batches = 1 + (uint32_t)roll(w, 16);
    p->chaos_us = (10 + roll(w, 90)) * SECOND_US;
    p->fault_gap_us = 100 * MS_US + roll(w, 4 * SECOND_US);
    p->net_us = chance(w, 50) ? 300 : roll(w, 100 * MS_US);
    p->results_us = chance(w, 70) ? 0 : roll(w, 300 * MS_US);
    p->commit_us = chance(w, 50) ? 3 * MS_US : roll(w, 200 * MS_US);
    p->slow_commit_us = 4 * SECOND_US;
    p->turn_messages = chance(w, 80) ? 1000 : 1 + (uint32_t)roll(w, 3);
    p->pressure = chance(w, 85) ? 100000 : 5 + roll(w, 30);
    p->has_merge = chance(w, 50);
    p->long_jobs = chance(w, 50) ? 0 : chance(w, 50) ? 15 : 70;
    p->wishes = chance(w, 70) ? 0 : 50;
    p->spawn_fails = chance(w, 85) ? 0 : (uint32_t)roll(w, 30);
    core_config_init(&p->core);
    p->core.seed = rng_next(&w->rng);
    p->core.lease_ms = leases_ms[roll(w, ARRAY_SIZE(leases_ms))];
    if (chance(w, 10))
        p->core.queue_jobs_max = 5 + roll(w, 20);
    if (chance(w, 5))
        p->core.waiters_max = 2 + (uint32_t)roll(w, 3);
    p->core.away_ms = 2000 + roll(w, 20000);
    plan_faults(w);
    plan_focus(w);
}

static void plan_trace(const struct world *w)
{
    const struct plan *p = &w->plan;
    trace(w, "world",
          "seed %llu: %d workers, %d clients, chaos %llu ms, lease %u ms, net %llu us, results "
          "+%llu us, commit %llu us, a fault each %llu ms",
          (ull)w->seed, p->workers, p->clients, (ull)(p->chaos_us / MS_US), p->core.lease_ms,
          (ull)p->net_us, (ull)p->results_us, (ull)p->commit_us, (ull)(p->fault_gap_us / MS_US));
}

/* --- calm --- */

static const char *what_is_open(const struct world *w)
{
    static char text[80];
    if (!w->broker.is_up || w->clients[OPERATOR].is_stopping_pool || sim_store_backlog(w) > 0)
        return "the broker is not serving";
    for (uint64_t id = 1; id < w->store.next_job; id++)
        if (w->store.rows[id].exists && w->store.rows[id].row.finish == NULL) {
            snprintf(text, sizeof text, "job %llu is still %s, attempt %u,", (ull)id,
                     job_state_name(w->store.rows[id].row.state), w->store.rows[id].row.attempt);
            return text;
        }
    for (int i = 0; i < w->plan.workers; i++) {
        const struct worker *k = &w->workers[i];
        if (!k->is_up || pool_link(k->pool) != POOL_LINK_UP)
            return "a worker is not registered";
        if (pool_busy(k->pool) > 0 || k->ended_count > 0)
            return "a worker still runs something";
        if (pool_outbox(k->pool) > 0)
            return "a worker keeps verdicts";
    }
    for (int i = 0; i < w->plan.clients; i++)
        if (!w->clients[i].is_up || !list_is_empty(&w->clients[i].asks))
            return "a client has no answer";
    for (size_t i = 0; i < w->batch_count; i++)
        if (w->batches[i].first != 0 && w->batches[i].is_kept && !w->batches[i].is_over)
            return "a client waits for results";
    return NULL;
}

/* Long jobs, retry delays and leaving workers of the chaos end within CALM_MAX_US. */
static uint64_t calm_bound_us(const struct world *w)
{
    uint64_t lease_ms = w->plan.core.lease_ms;
    for (int i = 0; i < w->plan.workers; i++)
        lease_ms = max_u64(lease_ms, w->workers[i].lease_ms);
    return CALM_MAX_US + (lease_ms + w->plan.core.away_ms) * MS_US;
}

static void world_calm(struct world *w, struct happening *h)
{
    if (!w->is_calm) {
        trace(w, "world", "calm: nothing fails from here on");
        w->is_calm = true;
        w->calm_us = w->now_us;
        faults_end(w);
    }
    const char *open = what_is_open(w);
    if (open == NULL) {
        const struct core *live = w->broker.core;
        if (core_digest(live) != core_digest(w->store.shadow))
            check_fail(w, "I6: the live state is not what was committed");
        check_end(w);
        return;
    }
    if (w->now_us > w->calm_us + calm_bound_us(w)) {
        check_fail(w, "I5: %s %llu s after the last fault", open,
                   (ull)(calm_bound_us(w) / SECOND_US));
        return;
    }
    happen_at(w, h, w->now_us + CALM_LOOK_US);
}

/* --- life --- */

static void world_init(struct world *w, uint64_t seed, bool is_traced, struct ingress *in,
                       struct tally *tally)
{
    struct rng mixed = {seed};
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->is_traced = is_traced;
    w->rng.state = rng_next(&mixed);
    w->ingress = in;
    w->tally = tally;
    w->wall_base_ms = WALL_MS;
    w->next_conn = 1;
    heap_init(&w->happenings);
    list_init(&w->conns);
    list_init(&w->dead_conns);
    list_init(&w->hints);
    plan_make(w);
    plan_trace(w);
    sim_store_init(w);
    broker_init(w);
    for (int i = 0; i < w->plan.workers; i++)
        worker_init(w, i);
    for (int i = 0; i < w->plan.clients; i++)
        client_init(w, i);
    client_init(w, OPERATOR);
    w->fault.run = fault_next;
    w->calm.run = world_calm;
    happen_at(w, &w->fault, roll(w, 3 * SECOND_US));
    happen_at(w, &w->calm, w->plan.chaos_us);
}

void world_run(struct world *w, uint64_t seed, bool is_traced, struct ingress *in,
               struct tally *tally)
{
    world_init(w, seed, is_traced, in, tally);
    while (!w->checks.has_failed && (!w->is_calm || happens(&w->calm))) {
        struct heap_node *top = heap_top(&w->happenings);
        heap_remove(&w->happenings, top);
        w->now_us = max_u64(w->now_us, top->key);
        struct happening *h = container_of(top, struct happening, node);
        h->run(w, h);
    }
    tally->virtual_us += w->now_us;
    tally->virtual_max_us = max_u64(tally->virtual_max_us, w->now_us);
    w->digest = rng_next(&w->rng) ^ w->now_us;
}

void world_fini(struct world *w)
{
    broker_fini(w);
    sim_store_fini(w);
    for (int i = 0; i < w->plan.workers; i++)
        worker_fini(w, i);
    for (int i = 0; i < w->plan.clients; i++)
        client_fini(w, i);
    client_fini(w, OPERATOR);
    net_fini(w);
    check_fini(w);
    heap_fini(&w->happenings);
}
