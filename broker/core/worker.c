/* SPDX-License-Identifier: MPL-2.0 */
/* worker.c - sessions of workers: registration, inventory, credit, heartbeats, and their end.
 *
 * Three ways to be gone are kept apart. CUT: the connection is gone (a hint of the socket monitor,
 * confirmed by a probe that found no such peer); the worker may register again within cut_ms, then
 * its jobs are given away. SILENT: nothing was heard for 3 intervals; it gets no new work, its jobs
 * are given away only as their leases run out. BYE: it left by plan, nothing is counted.
 *
 * Every message must carry the worker's present session and come over its present route; anything
 * else is answered with REGISTER. */
#include "broker/core/impl.h"

struct worker *worker_find(struct core *c, uint64_t instance)
{
    struct worker *w = NULL;
    HASH_FIND(hh, c->workers, &instance, sizeof instance, w);
    return w;
}

bool worker_is_reachable(const struct worker *w)
{
    return w->state == WORKER_JOINING || w->state == WORKER_ACTIVE || w->state == WORKER_SILENT;
}

static struct worker *worker_new(struct core *c, uint64_t instance)
{
    struct worker *w = mem_zalloc(sizeof *w);
    w->instance = instance;
    w->connection = -1;
    w->state = WORKER_EXPECTED;
    w->lease_ms = c->config.lease_ms;
    w->interval_ms = c->config.interval_ms;
    w->heard_ms = c->now_ms;
    w->timer.kind = TIMER_WORKER;
    list_init(&w->jobs);
    HASH_ADD(hh, c->workers, instance, sizeof w->instance, w);
    return w;
}

struct worker *worker_expect(struct core *c, uint64_t instance, struct blob *name)
{
    struct worker *w = worker_find(c, instance);
    if (w == NULL) {
        w = worker_new(c, instance);
        w->name = blob_ref(name);
        core_timer_set(c, &w->timer, c->now_ms + w->lease_ms + c->away_ms + 1000);
    }
    return w;
}

static void worker_unsubscribe(struct worker *w)
{
    for (uint32_t i = 0; i < w->info.queue_count; i++) {
        struct subscription *s = &w->subscriptions[i];
        list_remove(&s->idle[0]);
        list_remove(&s->idle[1]);
        list_remove(&s->of_queue);
    }
    w->info.queue_count = 0;
}

void worker_free(struct core *c, struct worker *w)
{
    worker_unsubscribe(w);
    core_timer_stop(c, &w->timer);
    HASH_DELETE(hh, c->workers, w);
    blob_unref(&w->name);
    free(w);
}

void worker_caller(const struct worker *w, struct caller *ret)
{
    char tag[SESSION_BYTES_MAX];
    memset(ret, 0, sizeof *ret);
    ret->route = w->route;
    ret->tag_size = (uint8_t)session_format(&w->session, tag);
    memcpy(ret->tag, tag, ret->tag_size);
}

static void worker_set_state(struct core *c, struct worker *w, enum worker_state state)
{
    w->state = state;
    w->since_ms = c->now_ms;
    w->probes = 0;
    worker_set_idle(w);
}

static void worker_send(struct worker *w, enum effect_type type, bool waits, struct effects *fx)
{
    struct caller to;
    worker_caller(w, &to);
    effects_add(fx, type, &to)->waits = waits;
}

void worker_cancel_send(struct worker *w, const struct job *j, struct effects *fx)
{
    struct caller to;
    worker_caller(w, &to);
    struct effect *f = effects_add(fx, EFFECT_CANCEL_JOB, &to);
    f->cancel_job.ref = (struct ref){j->id, j->attempt, j->lease};
    f->cancel_job.header.grace_ms = CANCEL_GRACE_MS;
    view_copy(blob_view(j->cancel_reason), f->cancel_job.header.reason,
              sizeof f->cancel_job.header.reason);
}

/* All that it holds goes back; the entry stays for a while so that people can see it. */
static void worker_lose(struct core *c, struct worker *w, enum outcome outcome, const char *why,
                        struct effects *fx)
{
    worker_set_state(c, w, WORKER_LOST);
    core_timer_set(c, &w->timer, c->now_ms + LOST_SHOWN_MS);
    if (w->job_count > 0)
        core_note(fx, 1, "worker %.*s was lost with %u jobs: %s", VIEW_ARG(blob_view(w->name)),
                  w->job_count, why);
    list_each_safe (node, &w->jobs) {
        job_lost(c, container_of(node, struct job, held), outcome, why, fx);
    }
}

/* --- registration --- */

static uint32_t worker_interval(const struct core *c, uint32_t wished_ms)
{
    uint64_t fair_ms = (uint64_t)HASH_CNT(hh, c->workers) * 1000 / 500;
    uint64_t ms = max_u64(max_u64(c->config.interval_ms, fair_ms), wished_ms);
    return (uint32_t)min_u64(ms, 10000);
}

/* Whether all its queues are there or may be made. */
static bool queues_fit(struct core *c, const struct ready_header *info)
{
    uint64_t count = HASH_CNT(hh, c->queues);
    for (uint32_t i = 0; i < info->queue_count; i++)
        count += queue_find(c, view_str(info->queues[i])) == NULL ? 1 : 0;
    return count <= c->config.queues_max || count == HASH_CNT(hh, c->queues);
}

static void worker_subscribe(struct core *c, struct worker *w, const struct ready_header *info,
                             struct effects *fx)
{
    for (uint32_t i = 0; i < info->queue_count; i++) {
        struct view name = view_str(info->queues[i]);
        if (queue_find(c, name) == NULL) {
            struct record *r = effects_record(fx, RECORD_QUEUE, 0);
            r->queue.id = c->next_queue;
            memcpy(r->queue.name, name.data, name.size);
            core_apply(c, r);
        }
    }
    worker_unsubscribe(w);
    w->info = *info;
    for (uint32_t i = 0; i < info->queue_count; i++) {
        struct subscription *s = &w->subscriptions[i];
        s->worker = w;
        s->queue = queue_find(c, view_str(info->queues[i]));
        list_init(&s->idle[0]);
        list_init(&s->idle[1]);
        list_init(&s->of_queue);
        list_push_back(&s->queue->subscriptions, &s->of_queue);
    }
}

/* A slow disk must not keep workers out: the answer shows nothing but the start number, so it waits
 * only until that is stored, or where the worker's lease is longer than what a restart would give
 * it without the record of that. */
static void worker_welcome(struct core *c, struct worker *w, struct effects *fx)
{
    struct caller to;
    worker_caller(w, &to);
    struct effect *f = effects_add(fx, EFFECT_READY, &to);
    f->waits = !c->is_start_stored || w->lease_ms > c->config.lease_ms;
    f->ready.interval_ms = w->interval_ms;
    f->ready.lease_ms = w->lease_ms;
    f->ready.margin_ms = (uint32_t)min_u64(c->config.margin_ms, w->lease_ms / 4);
    f->ready.reconnect_ms = (uint32_t)min_u64(HASH_CNT(hh, c->workers), c->config.cut_ms / 2);
}

static bool route_eq(const struct route *a, const struct route *b)
{
    return a->id_size == b->id_size && memcmp(a->id, b->id, a->id_size) == 0;
}

static void worker_hint(struct core *c, struct worker *w, struct effects *fx)
{
    if (!worker_is_reachable(w) || w->probes > 0)
        return;
    w->probes = 1;
    worker_set_idle(w);
    worker_send(w, EFFECT_PROBE, false, fx);
    core_timer_set(c, &w->timer, c->now_ms + PROBE_MS);
}

/* The connection number of a message names its sender; one recorded for another worker means that
 * the other one's connection is closed and the number used again. */
static void worker_connection(struct core *c, struct worker *w, int connection, struct effects *fx)
{
    if (connection < 0 || connection == w->connection)
        return;
    for (struct worker *other = c->workers; other != NULL; other = other->hh.next) {
        if (other != w && other->connection == connection) {
            other->connection = -1;
            worker_hint(c, other, fx);
        }
    }
    w->connection = connection;
}

void core_ready(struct core *c, const struct event *e, struct effects *fx)
{
    struct worker *w = worker_find(c, e->session.instance);
    if (w != NULL && w->state != WORKER_EXPECTED && e->session.epoch <= w->session.epoch) {
        if (e->session.epoch == w->session.epoch && route_eq(&w->route, &e->caller.route) &&
            worker_is_reachable(w))
            worker_welcome(c, w, fx); /* the answer was lost */
        else
            c->stats.refused_sessions++;
        return;
    }
    if (w == NULL && HASH_CNT(hh, c->workers) >= c->config.workers_max) {
        core_refuse(fx, &e->caller, STATUS_BUSY, "there are %u workers, no more are allowed",
                    c->config.workers_max);
        return;
    }
    if (!queues_fit(c, e->ready)) {
        core_refuse(fx, &e->caller, STATUS_BUSY, "there are %u queues, no more are allowed",
                    c->config.queues_max);
        return;
    }
    if (w == NULL)
        w = worker_new(c, e->session.instance);
    worker_subscribe(c, w, e->ready, fx);
    blob_unref(&w->name);
    w->name = blob_new(e->ready->name, strlen(e->ready->name));
    w->session = e->session;
    w->session.broker_start = c->broker_start;
    w->route = e->caller.route;
    w->granted = 0;
    w->sent = 0;
    w->is_listed = false;
    w->heard_ms = c->now_ms;
    w->interval_ms = worker_interval(c, e->ready->interval_ms);
    uint32_t lease_ms = e->ready->lease_ms > 0 ? e->ready->lease_ms : c->config.lease_ms;
    w->lease_ms = (uint32_t)max_u64(lease_ms, (uint64_t)4 * w->interval_ms);
    core_away_set(c, max_u64(c->away_ms, sub_sat_u64(w->lease_ms, c->config.lease_ms)), fx);
    worker_set_state(c, w, WORKER_JOINING);
    worker_connection(c, w, e->connection, fx);
    core_timer_set(c, &w->timer, c->now_ms + (uint64_t)SILENT_INTERVALS * w->interval_ms);
    worker_welcome(c, w, fx);
}

/* --- messages of a session --- */

/* Never to an earlier end: after a planned stop the worker holds the job for as long as AWAY said
 * until a BEAT is answered, and whether this answer arrives is not known here. */
static void worker_renew(struct core *c, struct worker *w, struct job *j)
{
    uint64_t end_ms = c->now_ms + w->lease_ms;
    j->is_reported = true;
    if (heap_node_is_linked(&j->timer.node))
        end_ms = max_u64(end_ms, j->timer.node.key);
    core_timer_set(c, &j->timer, end_ms);
}

static void inventory_running(struct core *c, struct worker *w, const struct ref *ref,
                              struct effects *fx)
{
    struct job *j = job_find(c, ref->job);
    if (j != NULL && j->worker == w && j->attempt == ref->attempt && j->lease == ref->lease) {
        j->is_listed = true;
        c->stats.adopted++;
        worker_renew(c, w, j);
        if (j->is_cancelled)
            worker_cancel_send(w, j, fx);
        return;
    }
    struct caller to;
    worker_caller(w, &to);
    struct effect *f = effects_add(fx, EFFECT_CANCEL_JOB, &to);
    f->cancel_job.ref = *ref;
    memcpy(f->cancel_job.header.reason, "stale", sizeof "stale");
}

static void worker_inventory(struct core *c, struct worker *w, const struct event *e,
                             struct effects *fx)
{
    if (w->state != WORKER_JOINING)
        return; /* sent twice */
    for (size_t i = 0; i < e->inventory.running_count; i++)
        inventory_running(c, w, &e->inventory.running[i], fx);
    for (size_t i = 0; i < e->inventory.outbox_count; i++) {
        const struct ref *ref = &e->inventory.outbox[i];
        struct job *j = job_find(c, ref->job);
        if (j != NULL && j->worker == w && j->attempt == ref->attempt && j->lease == ref->lease) {
            j->is_listed = true;
            worker_renew(c, w, j);
        }
    }
    /* Still joining here, so that what it lost is not given back while the list is walked. */
    list_each_safe (node, &w->jobs) {
        struct job *j = container_of(node, struct job, held);
        if (!j->is_listed)
            job_lost(c, j, OUTCOME_UNKNOWN, "its worker registered without it", fx);
        else
            j->is_listed = false;
    }
    w->is_listed = true;
    worker_set_state(c, w, WORKER_ACTIVE);
    if (c->phase >= PHASE_RELEASING && !c->keep_workers) {
        worker_send(w, EFFECT_STOP, true, fx);
        fx->list[fx->count - 1].stop_is_exit = true;
    }
    dispatch_worker(c, w, fx);
}

/* A JOB may wait long for its commit while BEATs are answered, and the worker counts the lease of a
 * JOB from its last answered BEAT. So each BEAT also prolongs the leases that were never reported:
 * until one lease after it the job may run there. Bounded, in case a JOB is lost without a trace.
 */
static void worker_beat(struct core *c, struct worker *w, const struct event *e, struct effects *fx)
{
    list_each (node, &w->jobs) {
        struct job *j = container_of(node, struct job, held);
        if (idset_has(e->beat.leases, e->beat.lease_count, j->lease))
            worker_renew(c, w, j);
        else if (!j->is_reported)
            core_timer_set(c, &j->timer,
                           min_u64(c->now_ms + w->lease_ms,
                                   j->leased_ms + (uint64_t)UNREPORTED_LEASES * w->lease_ms));
    }
    worker_send(w, EFFECT_BEAT, false, fx);
    fx->list[fx->count - 1].beat = e->beat.number;
}

/* Anything heard is a sign of life, never of readiness: credit is what it was. */
static void worker_heard(struct core *c, struct worker *w, struct effects *fx)
{
    w->heard_ms = c->now_ms;
    if (w->state == WORKER_SILENT) {
        worker_set_state(c, w, w->is_listed ? WORKER_ACTIVE : WORKER_JOINING);
        core_note(fx, 2, "worker %.*s is heard again", VIEW_ARG(blob_view(w->name)));
    } else if (w->probes > 0) {
        w->probes = 0;
    } else {
        return;
    }
    core_timer_set(c, &w->timer, c->now_ms + (uint64_t)SILENT_INTERVALS * w->interval_ms);
    dispatch_worker(c, w, fx);
}

void core_worker_message(struct core *c, const struct event *e, struct effects *fx)
{
    struct worker *w = worker_find(c, e->session.instance);
    if (w == NULL || !worker_is_reachable(w) || !session_eq(&w->session, &e->session) ||
        !route_eq(&w->route, &e->caller.route)) {
        c->stats.refused_sessions++;
        if (e->type != EVENT_BYE)
            effects_add(fx, EFFECT_REGISTER, &e->caller)->waits = false;
        return;
    }
    worker_connection(c, w, e->connection, fx);
    worker_heard(c, w, fx);
    switch (e->type) {
    case EVENT_INVENTORY:
        worker_inventory(c, w, e, fx);
        break;
    case EVENT_CREDIT:
        w->granted = min_u64(e->credit, w->sent + PROTO_LEASES_PER_WORKER_MAX);
        dispatch_worker(c, w, fx);
        break;
    case EVENT_BEAT:
        worker_beat(c, w, e, fx);
        break;
    default: /* BYE */
        worker_lose(c, w, OUTCOME_UNKNOWN, "it left", fx);
        worker_free(c, w);
        break;
    }
}

/* --- the end of a connection --- */

void core_cut(struct core *c, const struct event *e, struct effects *fx)
{
    for (struct worker *w = c->workers; w != NULL; w = w->hh.next)
        if (w->connection == e->cut)
            worker_hint(c, w, fx);
}

void core_unreachable(struct core *c, const struct event *e, struct effects *fx)
{
    for (struct worker *w = c->workers; w != NULL; w = w->hh.next) {
        if (worker_is_reachable(w) && route_eq(&w->route, &e->caller.route)) {
            worker_set_state(c, w, WORKER_CUT);
            w->connection = -1;
            core_timer_set(c, &w->timer, c->now_ms + c->config.cut_ms);
            core_note(fx, 2, "worker %.*s: its connection is gone", VIEW_ARG(blob_view(w->name)));
        }
    }
}

static void worker_probe(struct core *c, struct worker *w, struct effects *fx)
{
    if (w->probes >= PROBES_MAX) {
        w->probes = 0;
        core_timer_set(c, &w->timer, c->now_ms + (uint64_t)SILENT_INTERVALS * w->interval_ms);
        dispatch_worker(c, w, fx);
        return;
    }
    w->probes++;
    worker_send(w, EFFECT_PROBE, false, fx);
    core_timer_set(c, &w->timer, c->now_ms + PROBE_MS);
}

void worker_timer(struct core *c, struct worker *w, struct effects *fx)
{
    uint64_t silent_ms = (uint64_t)SILENT_INTERVALS * w->interval_ms;
    uint64_t quiet_ms = c->now_ms - w->heard_ms;
    switch (w->state) {
    case WORKER_JOINING:
    case WORKER_ACTIVE:
        if (w->probes > 0) {
            worker_probe(c, w, fx);
        } else if (quiet_ms < silent_ms) {
            core_timer_set(c, &w->timer, w->heard_ms + silent_ms);
        } else {
            worker_set_state(c, w, WORKER_SILENT);
            core_timer_set(c, &w->timer, w->heard_ms + w->lease_ms + 1000);
            core_note(fx, 1, "worker %.*s is silent for %llu ms; it gets no new work",
                      VIEW_ARG(blob_view(w->name)), (unsigned long long)quiet_ms);
        }
        break;
    case WORKER_SILENT:
        if (w->probes > 0)
            worker_probe(c, w, fx);
        else if (w->job_count == 0 && quiet_ms >= w->lease_ms)
            worker_lose(c, w, OUTCOME_CRASHED, "it is silent", fx);
        else
            core_timer_set(c, &w->timer, c->now_ms + silent_ms);
        break;
    case WORKER_CUT:
        worker_lose(c, w, OUTCOME_CRASHED, "its connection was cut", fx);
        break;
    case WORKER_EXPECTED:
    case WORKER_LOST:
        if (w->job_count == 0)
            worker_free(c, w);
        else
            core_timer_set(c, &w->timer, c->now_ms + w->lease_ms);
        break;
    }
}

void workers_shift(struct core *c, uint64_t late_ms)
{
    struct worker *w = NULL;
    struct worker *next = NULL;
    HASH_ITER (hh, c->workers, w, next) {
        w->heard_ms = min_u64(w->heard_ms + late_ms, c->now_ms);
        if (heap_node_is_linked(&w->timer.node))
            core_timer_set(c, &w->timer, w->timer.node.key + late_ms);
        list_each (node, &w->jobs) {
            struct job *j = container_of(node, struct job, held);
            j->leased_ms += late_ms;
            if (heap_node_is_linked(&j->timer.node))
                core_timer_set(c, &j->timer, j->timer.node.key + late_ms);
        }
    }
}
