/* SPDX-License-Identifier: MPL-2.0 */
/* core.c - the state machine's frame: events to handlers, timers, the end of a turn. */
#include "broker/core/core.h"

#include <stdarg.h>
#include <stdio.h>

#include "broker/core/impl.h"

void core_config_init(struct core_config *c)
{
    *c = (struct core_config){
        .seed = 1,
        .lease_ms = 30000,
        .margin_ms = 1000,
        .interval_ms = 1000,
        .cut_ms = 1000,
        .keep_ms = UINT64_C(24) * 3600 * 1000,
        .keep_failed_ms = UINT64_C(7) * 24 * 3600 * 1000,
        .away_ms = 120000,
        .queue_jobs_max = 1000000,
        .payload_bytes_max = UINT64_C(1) << 30,
        .store_reserve_bytes = UINT64_C(64) << 20,
        .workers_max = 10000,
        .waiters_max = 20000,
        .clients_max = 100000,
        .queues_max = 10000,
    };
}

struct core *core_new(const struct core_config *config)
{
    struct core *c = mem_zalloc(sizeof *c);
    c->config = *config;
    c->rng.state = config->seed;
    c->next_job = 1;
    c->next_finish = 1;
    c->ring_first = 1;
    c->next_queue = 1;
    c->next_token = 1;
    c->store_free_bytes = UINT64_MAX;
    for (size_t i = 0; i < ARRAY_SIZE(c->waiters); i++)
        list_init(&c->waiters[i]);
    list_init(&c->wide_waits);
    list_init(&c->dirty);
    heap_init(&c->timers);
    c->expire_timer.kind = TIMER_EXPIRE;
    c->stop_timer.kind = TIMER_STOP;
    c->away_timer.kind = TIMER_AWAY;
    return c;
}

void core_free(struct core **core)
{
    struct core *c = *core;
    *core = NULL;
    if (c == NULL)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(c->waiters); i++) {
        list_each_safe (node, &c->waiters[i]) {
            waiter_free(c, container_of(node, struct waiter, link));
        }
    }
    core_forget_all(c);
    heap_fini(&c->timers);
    free(c);
}

void core_refuse(struct effects *fx, const struct caller *to, enum status status, const char *fmt,
                 ...)
{
    struct effect *f = effects_add(fx, EFFECT_REFUSE, to);
    f->refuse.status = status;
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->refuse.text, sizeof f->refuse.text, fmt, args);
    va_end(args);
}

void core_note(struct effects *fx, uint8_t level, const char *fmt, ...)
{
    struct effect *f = effects_add(fx, EFFECT_NOTE, NULL);
    f->waits = false;
    f->note.level = level;
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->note.text, sizeof f->note.text, fmt, args);
    va_end(args);
}

struct blob *blob_text(const char *fmt, ...)
{
    char text[PROTO_REASON_BYTES_MAX + 1];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return blob_new(text, strlen(text));
}

void core_timer_set(struct core *c, struct timer *t, uint64_t at_ms)
{
    if (at_ms == NEVER_MS)
        heap_remove(&c->timers, &t->node);
    else
        heap_set(&c->timers, &t->node, at_ms, 0);
}

void core_timer_stop(struct core *c, struct timer *t)
{
    heap_remove(&c->timers, &t->node);
}

static struct timer *timer_of(struct heap_node *node)
{
    return container_of(node, struct timer, node);
}

uint64_t core_away_needed(const struct core *c, uint64_t told_ms)
{
    uint64_t old_ms = sub_sat_u64(c->away_until_ms, c->now_ms + c->config.lease_ms);
    uint64_t ms = 0;
    for (const struct worker *w = c->workers; w != NULL; w = w->hh.next)
        ms = max_u64(ms, sub_sat_u64(w->lease_ms, c->config.lease_ms));
    return max_u64(old_ms, ms + told_ms);
}

void core_away_set(struct core *c, uint64_t ms, struct effects *fx)
{
    if (ms == c->away_ms)
        return;
    struct record *r = effects_record(fx, RECORD_AWAY, 0);
    r->away.ms = ms;
    core_apply(c, r);
}

/* The leases of before run on, counted anew from now and longer by what was stored. That is stored
 * again until they are over: this start may not be the last one that they see. */
static void core_start(struct core *c, const struct event *e, struct effects *fx)
{
    uint64_t away_ms = c->away_ms;
    struct worker *w = NULL;
    struct worker *w_next = NULL;
    HASH_ITER (hh, c->workers, w, w_next) {
        list_each (node, &w->jobs) {
            struct job *j = container_of(node, struct job, held);
            core_timer_set(c, &j->timer, c->now_ms + w->lease_ms + away_ms);
        }
    }
    uint64_t number = max_u64((uint64_t)c->broker_start + 1, e->wall_ms / 1000);
    struct record *r = effects_record(fx, RECORD_START, 0);
    r->start.number = (uint32_t)number;
    core_apply(c, r);
    if (c->count[JOB_RUNNING] > 0 && away_ms > 0) {
        c->away_until_ms = c->now_ms + c->config.lease_ms + away_ms;
        core_timer_set(c, &c->away_timer, c->away_until_ms);
        core_away_set(c, away_ms, fx);
    }
    c->next_lease = 1;
    c->is_started = true;
    core_timer_set(c, &c->expire_timer, c->now_ms + EXPIRE_MS);
}

static void core_expire(struct core *c, struct effects *fx)
{
    struct record *r = effects_record(fx, RECORD_EXPIRE, 0);
    r->expire.wall_ms = c->wall_ms;
    r->expire.jobs_max = EXPIRE_JOBS_MAX;
    core_apply(c, r);
    struct client *it = NULL;
    struct client *next = NULL;
    HASH_ITER (hh, c->clients, it, next) {
        if (add_sat_u64(it->at_ms, CLIENT_KEEP_MS) > c->wall_ms)
            break; /* in order of use */
        HASH_DELETE(hh, c->clients, it);
        free(it);
    }
    core_timer_set(c, &c->expire_timer, c->now_ms + EXPIRE_MS);
}

/* A full turn of retention has left more behind: the next one comes at once, in the commit after
 * this one, so that forgetting keeps up with any rate at which jobs finish. */
static void core_forgotten(struct core *c, const struct event *e)
{
    uint64_t total = 0;
    for (int i = JOB_SUCCEEDED; i < JOB_STATE_COUNT; i++) {
        total += e->forgotten[i];
        c->count[i] -= min_u64(e->forgotten[i], c->count[i]);
    }
    if (total >= EXPIRE_JOBS_MAX)
        core_timer_set(c, &c->expire_timer, c->now_ms);
}

static void timer_fired(struct core *c, struct timer *t, struct effects *fx)
{
    switch (t->kind) {
    case TIMER_JOB:
        job_due(c, container_of(t, struct job, timer), fx);
        break;
    case TIMER_WORKER:
        worker_timer(c, container_of(t, struct worker, timer), fx);
        break;
    case TIMER_WAITER:
        waiter_expired(c, container_of(t, struct waiter, timer), fx);
        break;
    case TIMER_STOP:
        break; /* stop_check looks at the deadline itself */
    case TIMER_EXPIRE:
        core_expire(c, fx);
        break;
    case TIMER_AWAY:
        core_away_set(c, core_away_needed(c, 0), fx);
        break;
    }
}

static void core_tick(struct core *c, struct effects *fx)
{
    struct heap_node *top = NULL;
    while ((top = heap_top(&c->timers)) != NULL && top->key <= c->now_ms) {
        heap_remove(&c->timers, top);
        timer_fired(c, timer_of(top), fx);
    }
}

static void core_answer(struct core *c, const struct query_answer *a, struct effects *fx)
{
    struct waiter *w = NULL;
    HASH_FIND(hh, c->reading, &a->token, sizeof a->token, w);
    if (w == NULL)
        return;
    HASH_DELETE(hh, c->reading, w);
    w->token = 0;
    if (w->kind == WAITER_WAIT)
        wait_answer(c, w, a, fx);
    else if (w->kind == WAITER_FOLLOW)
        follow_gone(c, w, a, fx);
    else
        read_answer(c, w, a, fx);
}

static void core_simple(struct core *c, const struct event *e, struct effects *fx,
                        enum effect_type type)
{
    struct effect *f = effects_add(fx, type, &e->caller);
    f->waits = false;
    if (type == EFFECT_LOGGED)
        f->log_level = e->log_level;
    else
        f->broker_start = c->broker_start;
}

static void core_client_event(struct core *c, const struct event *e, struct effects *fx)
{
    switch (e->type) {
    case EVENT_HELLO:
        core_simple(c, e, fx, EFFECT_HELLO);
        break;
    case EVENT_PING:
        core_simple(c, e, fx, EFFECT_PING);
        break;
    case EVENT_LOG:
        core_simple(c, e, fx, EFFECT_LOGGED);
        break;
    case EVENT_SUBMIT:
        core_submit(c, e, fx);
        break;
    case EVENT_GET:
        core_get(c, e, fx);
        break;
    case EVENT_WAIT:
        core_wait(c, e, fx);
        break;
    case EVENT_FOLLOW:
        core_follow(c, e, fx);
        break;
    case EVENT_LIST:
        core_list(c, e, fx);
        break;
    case EVENT_CANCEL:
        core_cancel(c, e, fx);
        break;
    case EVENT_STATUS:
        core_status(c, e, fx);
        break;
    case EVENT_WORKERS:
        core_workers(c, e, fx);
        break;
    case EVENT_SHUTDOWN:
        core_shutdown(c, e, fx);
        break;
    case EVENT_PROGRESS:
        core_progress(c, e, fx);
        break;
    default: {
        struct effect *f = effects_add(fx, EFFECT_REFUSE, &e->caller);
        f->refuse.status = e->refused.status;
        snprintf(f->refuse.text, sizeof f->refuse.text, "%s", e->refused.text);
        break;
    }
    }
}

static void core_event(struct core *c, const struct event *e, struct effects *fx)
{
    switch (e->type) {
    case EVENT_LOAD_META:
    case EVENT_LOAD_QUEUE:
    case EVENT_LOAD_CLIENT:
    case EVENT_LOAD_JOB:
        core_load(c, e);
        break;
    case EVENT_START:
        core_start(c, e, fx);
        break;
    case EVENT_TICK:
        core_tick(c, fx);
        break;
    case EVENT_TERM:
        core_term(c, fx);
        break;
    case EVENT_CUT:
        core_cut(c, e, fx);
        break;
    case EVENT_UNREACHABLE:
        core_unreachable(c, e, fx);
        break;
    case EVENT_SPACE:
        c->store_bytes = e->space.bytes;
        c->store_free_bytes = e->space.free_bytes;
        break;
    case EVENT_ANSWER:
        core_answer(c, e->answer, fx);
        break;
    case EVENT_FORGOTTEN:
        c->is_start_stored = c->is_started;
        core_forgotten(c, e);
        break;
    case EVENT_READY:
        core_ready(c, e, fx);
        break;
    case EVENT_INVENTORY:
    case EVENT_CREDIT:
    case EVENT_BEAT:
    case EVENT_BYE:
        core_worker_message(c, e, fx);
        break;
    case EVENT_VERDICT:
        core_verdict(c, e, fx);
        break;
    case EVENT_OUTPUT:
        core_output(c, e);
        break;
    default:
        core_client_event(c, e, fx);
        break;
    }
}

void core_step(struct core *c, const struct event *e, struct effects *fx)
{
    /* Time since the last step beyond the deadline: more than a beat of it means that the broker
     * was paused, not its workers. Counted once, by the first event behind the pause. */
    uint64_t late_ms = sub_sat_u64(e->now_ms, max_u64(core_deadline(c), c->now_ms));
    c->wall_ms = e->wall_ms;
    c->now_ms = max_u64(c->now_ms, e->now_ms);
    if (c->is_started && late_ms > c->config.interval_ms)
        workers_shift(c, late_ms);
    core_count(c);
    core_event(c, e, fx);
    if (c->phase != PHASE_SERVING)
        stop_check(c, fx);
}

void core_turn_end(struct core *c, uint64_t now_ms, struct effects *fx)
{
    c->now_ms = max_u64(c->now_ms, now_ms);
    waiters_flush(c, fx);
}

uint64_t core_deadline(const struct core *c)
{
    const struct heap_node *top = heap_top(&c->timers);
    return top != NULL ? top->key : NEVER_MS;
}

static uint64_t hash_mix(uint64_t h, uint64_t value)
{
    struct rng r = {h ^ value};
    return rng_next(&r);
}

static uint64_t hash_bytes(uint64_t h, struct view v)
{
    const uint8_t *p = v.data;
    for (size_t i = 0; i < v.size; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001B3);
    return hash_mix(h, v.size);
}

static uint64_t options_digest(const struct job_template *t)
{
    const struct job_options *o = &t->options;
    const uint64_t fields[] = {o->retry_delay_ms,     o->time_limit_ms, o->keep_ms,
                               o->output_limit_bytes, o->seq,           o->retries,
                               o->crash_limit,        o->priority,      o->kind};
    uint64_t h = hash_bytes(0, view_str(o->name));
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        h = hash_mix(h, fields[i]);
    return hash_bytes(h, blob_view(t->spec));
}

static uint64_t job_digest(const struct job *j)
{
    uint64_t h = hash_mix(j->id, j->queue->id);
    const uint64_t fields[] = {j->state,
                               j->seq,
                               j->submitted_ms,
                               j->not_before_ms,
                               j->started_ms,
                               j->attempt,
                               j->retries_used,
                               j->retry_waits,
                               j->crashes,
                               j->lease,
                               j->is_cancelled,
                               options_digest(j->template),
                               j->worker != NULL ? j->worker->instance : 0};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        h = hash_mix(h, fields[i]);
    return hash_bytes(hash_bytes(h, blob_view(j->cancel_reason)), blob_view(j->payload));
}

static uint64_t client_digest(const struct client *it)
{
    uint64_t sum = hash_mix(it->instance, it->at_ms);
    for (size_t i = 0; i < CLIENT_RING; i++) {
        const struct client_entry *e = &it->ring[i];
        uint64_t h = hash_mix(it->instance, e->sequence);
        if (e->sequence != 0)
            sum += hash_mix(hash_mix(h, e->first_id), hash_mix(e->digest, e->count));
    }
    return sum;
}

uint64_t core_digest(const struct core *c)
{
    uint64_t sum = hash_mix(c->next_job, c->next_finish) + c->next_queue + hash_mix(0, c->away_ms);
    for (const struct job *j = c->jobs; j != NULL; j = j->hh.next)
        sum += job_digest(j);
    for (const struct queue *q = c->queues; q != NULL; q = q->hh.next)
        sum += hash_bytes(q->id, view_str(q->name));
    for (const struct client *it = c->clients; it != NULL; it = it->hh.next)
        sum += client_digest(it);
    for (int i = JOB_SUCCEEDED; i < JOB_STATE_COUNT; i++)
        sum += hash_mix((uint64_t)i, c->count[i]);
    return sum;
}

const struct core_stats *core_stats(const struct core *c)
{
    return &c->stats;
}
