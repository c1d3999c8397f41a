/* SPDX-License-Identifier: MPL-2.0 */
/* faults.c - what goes wrong: one fault at a time, of the kinds that the seed has chosen. */
#include "tests/sim/sim.h"

static int any_worker(struct world *w)
{
    return (int)roll(w, (uint64_t)w->plan.workers);
}

static int any_client(struct world *w)
{
    return (int)roll(w, (uint64_t)w->plan.clients);
}

static struct peer *any_peer(struct world *w)
{
    if (chance(w, 70))
        return &w->workers[any_worker(w)].peer;
    return &w->clients[any_client(w)].peer;
}

/* Mostly short, sometimes longer than a lease. */
static uint64_t some_us(struct world *w, uint64_t usual_us)
{
    if (chance(w, 20))
        return roll(w, (uint64_t)w->plan.core.lease_ms * (chance(w, 30) ? 5 : 2) * MS_US);
    return roll(w, usual_us);
}

static void silence(struct world *w, struct peer *p, uint64_t us)
{
    trace(w, p->name, "is silent for %llu ms", (unsigned long long)(us / MS_US));
    p->silent_until_us = max_u64(p->silent_until_us, w->now_us + us);
}

static void silence_all(struct world *w)
{
    uint64_t us = some_us(w, 8 * SECOND_US);
    for (int i = 0; i < w->plan.workers; i++)
        silence(w, &w->workers[i].peer, us);
    for (int i = 0; i < w->plan.clients; i++)
        silence(w, &w->clients[i].peer, us);
}

static void cut(struct world *w, bool all)
{
    uint64_t n = 0;
    list_each (node, &w->conns) {
        n++;
    }
    uint64_t which = roll(w, n);
    list_each_safe (node, &w->conns) {
        struct conn *c = container_of(node, struct conn, link);
        if (c->is_broker_open && c->socket != NULL && (all || which == 0))
            net_cut(w, c);
        which--;
    }
}

static void keeper_lost(struct world *w)
{
    struct worker *k = &w->workers[any_worker(w)];
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        struct process *p = &k->processes[i];
        if (!p->is_used || k->ended_count + 1 >= ENDED_MAX)
            continue;
        struct ended e = {.is_lost = true, .process = *p, .ended_us = w->now_us};
        happen_not(w, &p->end);
        happen_not(w, &p->fence);
        happen_not(w, &p->write);
        check_ended(w, &p->ref);
        p->is_used = false;
        k->ended[k->ended_count++] = e;
        worker_wake(w, k, 100);
        return;
    }
}

static void false_hint(struct world *w)
{
    list_each (node, &w->conns) {
        const struct conn *c = container_of(node, struct conn, link);
        if (c->plane == NET_WORKERS && c->is_broker_open && chance(w, 40)) {
            net_hint(w, c->number, roll(w, MS_US));
            return;
        }
    }
}

static void broker_fault(struct world *w, enum fault f)
{
    static const char *const modes[] = {"drain", "finish", "now"};
    switch (f) {
    case FAULT_BROKER_CRASH:
        broker_kill(w);
        break;
    case FAULT_BROKER_CRASH_WITHIN:
        if (w->broker.is_up)
            w->broker.crash_in = 1 + (int)roll(w, 30);
        break;
    case FAULT_BROKER_TERM:
        w->broker.is_termed = w->broker.is_up;
        broker_wake(w, 0);
        break;
    case FAULT_BROKER_PAUSE:
        broker_pause(w, some_us(w, 5 * SECOND_US));
        break;
    default:
        task_shutdown(w, modes[f - FAULT_SHUTDOWN_DRAIN], chance(w, 30));
        break;
    }
}

static void worker_fault(struct world *w, enum fault f)
{
    int i = any_worker(w);
    switch (f) {
    case FAULT_WORKER_CRASH:
        worker_kill(w, i);
        break;
    case FAULT_WORKER_CRASH_WITHIN:
        w->workers[i].crash_in = 1 + (int)roll(w, 12);
        break;
    case FAULT_WORKER_TERM:
        worker_signal(w, i, POOL_EVENT_TERM);
        break;
    case FAULT_WORKER_INT:
        worker_signal(w, i, POOL_EVENT_INT);
        break;
    case FAULT_WORKER_QUIET:
        worker_signal(w, i, POOL_EVENT_QUIET);
        break;
    case FAULT_WORKER_PAUSE:
        worker_pause(w, i, some_us(w, 5 * SECOND_US));
        break;
    default:
        keeper_lost(w);
        break;
    }
}

static void world_fault(struct world *w, enum fault f)
{
    switch (f) {
    case FAULT_CLIENT_CRASH:
        client_kill(w, any_client(w));
        break;
    case FAULT_CLIENT_CRASH_WITHIN:
        w->clients[any_client(w)].crash_in = 1 + (int)roll(w, 4);
        break;
    case FAULT_CLIENT_PAUSE:
        client_pause(w, any_client(w), some_us(w, 5 * SECOND_US));
        break;
    case FAULT_CUT:
    case FAULT_CUT_ALL:
        cut(w, f == FAULT_CUT_ALL);
        break;
    case FAULT_SILENCE:
        silence(w, any_peer(w), some_us(w, 8 * SECOND_US));
        break;
    case FAULT_SILENCE_ALL:
        silence_all(w);
        break;
    case FAULT_SLOW_NET:
        w->net_slow_until_us = w->now_us + roll(w, 8 * SECOND_US);
        w->net_slow_us = roll(w, 1500 * MS_US);
        break;
    case FAULT_SLOW_STORE:
        w->commit_slow_until_us = w->now_us + roll(w, 10 * SECOND_US);
        w->commit_slow_us = roll(w, chance(w, 30) ? w->plan.slow_commit_us : 500 * MS_US);
        break;
    case FAULT_STORE_FULL:
        w->space_low_until_us = w->now_us + roll(w, 4 * SECOND_US);
        break;
    case FAULT_FALSE_HINT:
        false_hint(w);
        break;
    default:
        w->wall_step_ms = (int64_t)roll(w, 7200001) - 3600000;
        trace(w, "world", "the wall clock is now off by %lld ms", (long long)w->wall_step_ms);
        break;
    }
}

void fault_aftershock(struct world *w)
{
    if (w->is_calm || w->plan.aftershocks == 0 || !chance(w, w->plan.aftershocks))
        return;
    w->is_aftershock = true;
    happen_at(w, &w->fault, w->now_us + roll(w, 500 * MS_US));
}

void fault_next(struct world *w, struct happening *h)
{
    uint64_t sum = 0;
    int f = 0;
    for (int i = 0; i < FAULT_COUNT; i++)
        sum += w->plan.fault_weight[i];
    uint64_t at = roll(w, sum);
    while (f < FAULT_COUNT - 1 && at >= w->plan.fault_weight[f])
        at -= w->plan.fault_weight[f++];
    /* Often in bursts: the second one meets what the first one has left half done. */
    uint64_t gap_us =
        chance(w, 30) ? min_u64(w->plan.fault_gap_us, 600 * MS_US) : w->plan.fault_gap_us;
    happen_at(w, h, w->now_us + 1 + roll(w, 2 * gap_us));
    if (w->is_aftershock) {
        f = FAULT_SILENCE;
        w->is_aftershock = false;
    }
    if (sum == 0)
        return;
    w->tally->faults[f]++;
    if (f <= FAULT_SHUTDOWN_NOW)
        broker_fault(w, (enum fault)f);
    else if (f <= FAULT_KEEPER_LOST)
        worker_fault(w, (enum fault)f);
    else
        world_fault(w, (enum fault)f);
}

/* Calm: what lasts is ended, what waits is woken. */
void faults_end(struct world *w)
{
    struct broker *b = &w->broker;
    bool has_stepped = w->wall_step_ms != 0;
    happen_not(w, &w->fault);
    w->net_slow_until_us = w->commit_slow_until_us = w->space_low_until_us = 0;
    if (has_stepped) /* due times are wall times: now all of them have come */
        w->wall_step_ms = 3600000;
    b->crash_in = -1;
    if (b->is_paused)
        happen_at(w, &b->resume, w->now_us + 1);
    if (!b->is_up)
        happen_by(w, &b->start, w->now_us + 100 * MS_US);
    for (int i = 0; i < w->plan.workers; i++) {
        struct worker *k = &w->workers[i];
        k->crash_in = -1;
        k->peer.silent_until_us = min_u64(k->peer.silent_until_us, w->now_us);
        if (k->peer.is_paused)
            happen_at(w, &k->resume, w->now_us + 1);
        if (k->is_quiet)
            worker_kill(w, i);
    }
    for (int i = 0; i < PEOPLE_MAX; i++) {
        struct client *c = &w->clients[i];
        c->crash_in = -1;
        c->peer.silent_until_us = min_u64(c->peer.silent_until_us, w->now_us);
        if (c->peer.is_paused)
            happen_at(w, &c->resume, w->now_us + 1);
    }
    if (has_stepped)
        broker_kill(w);
}
