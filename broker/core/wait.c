/* SPDX-License-Identifier: MPL-2.0 */
/* wait.c - those who wait: WAIT, FOLLOW, PROGRESS, and reads that the store is answering.
 *
 * A waiter is answered at the end of a turn with all that happened in it, so that a thousand
 * finishes make one reply. The last finishes are kept in a ring; a WAIT whose cursor lies in it
 * needs no store. Every waiter has a deadline, and their number is bounded. */
#include <stdio.h>

#include "broker/core/impl.h"

/* NULL where so many requests of this connection wait already that one more would be too many. */
static struct peer *peer_take(struct core *c, const struct route *r)
{
    struct peer_key key;
    memset(&key, 0, sizeof key); /* its bytes are the hash's key */
    key.socket = r->socket;
    key.id_size = r->id_size;
    memcpy(key.id, r->id, r->id_size);
    struct peer *p = NULL;
    HASH_FIND(hh, c->peers, &key, sizeof key, p);
    if (p == NULL) {
        p = mem_zalloc(sizeof *p);
        p->key = key;
        HASH_ADD(hh, c->peers, key, sizeof p->key, p);
    }
    if (p->waiters == PEER_WAITERS_MAX)
        return NULL;
    p->waiters++;
    return p;
}

static void peer_give(struct core *c, struct peer *p)
{
    if (--p->waiters > 0)
        return;
    HASH_DELETE(hh, c->peers, p);
    free(p);
}

struct waiter *waiter_new(struct core *c, enum waiter_kind kind, const struct event *e,
                          struct effects *fx)
{
    if (c->is_leaving || c->phase == PHASE_DONE) {
        core_refuse(fx, &e->caller, STATUS_STOPPING, "%s", status_sentence(STATUS_STOPPING));
        return NULL;
    }
    if (c->waiter_count >= c->config.waiters_max) {
        core_refuse(fx, &e->caller, STATUS_BUSY, "%u requests wait already", c->config.waiters_max);
        return NULL;
    }
    struct peer *peer = peer_take(c, &e->caller.route);
    if (peer == NULL) {
        core_refuse(fx, &e->caller, STATUS_BUSY, "%u requests of this client wait already",
                    PEER_WAITERS_MAX);
        return NULL;
    }
    struct waiter *w = mem_zalloc(sizeof *w);
    w->peer = peer;
    w->kind = kind;
    w->caller = e->caller;
    w->read = *e;
    w->selected = UINT64_MAX;
    w->timer.kind = TIMER_WAITER;
    list_init(&w->of_job);
    list_init(&w->dirty);
    list_push_back(&c->waiters[kind], &w->link);
    c->waiter_count++;
    return w;
}

void waiter_free(struct core *c, struct waiter *w)
{
    list_remove(&w->link);
    list_remove(&w->of_job);
    list_remove(&w->dirty);
    core_timer_stop(c, &w->timer);
    if (w->token != 0)
        HASH_DELETE(hh, c->reading, w);
    for (size_t i = 0; i < w->hit_count; i++)
        finish_unref(&w->hits[i]);
    free(w->hits);
    free(w->ranges);
    peer_give(c, w->peer);
    free(w);
    c->waiter_count--;
}

void waiter_touch(struct core *c, struct waiter *w)
{
    if (!list_is_linked(&w->dirty))
        list_push_back(&c->dirty, &w->dirty);
}

struct query *waiter_query(struct core *c, struct waiter *w, enum query_type type,
                           struct effects *fx)
{
    w->token = c->next_token++;
    HASH_ADD(hh, c->reading, token, sizeof w->token, w);
    struct effect *f = effects_add(fx, EFFECT_QUERY, NULL);
    f->query.type = type;
    f->query.token = w->token;
    return &f->query;
}

static struct id_range *ranges_dup(const struct id_range *ranges, size_t count)
{
    return count > 0 ? mem_dup(ranges, count * sizeof ranges[0]) : NULL;
}

/* --- WAIT --- */

static uint64_t ranges_total(const struct id_range *ranges, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total = add_sat_u64(total, ranges[i].last - ranges[i].first + 1);
    return total;
}

/* Unfinished jobs of the set: by id, or by walking all jobs, whatever is shorter. */
static uint64_t ranges_resident(struct core *c, const struct id_range *ranges, size_t count)
{
    uint64_t n = 0;
    if (ranges_total(ranges, count) <= HASH_COUNT(c->jobs)) {
        for (size_t i = 0; i < count; i++)
            for (uint64_t id = ranges[i].first; id <= ranges[i].last; id++)
                n += job_find(c, id) != NULL ? 1 : 0;
    } else {
        for (const struct job *j = c->jobs; j != NULL; j = j->hh.next)
            n += idset_has(ranges, count, j->id) ? 1 : 0;
    }
    return n;
}

static void waiter_hit(struct core *c, struct waiter *w, struct finish *f)
{
    if (w->hit_count >= w->limit)
        return; /* the cursor of the reply ends before it */
    if (w->hit_count == w->hit_capacity) {
        w->hit_capacity = w->hit_capacity > 0 ? w->hit_capacity * 2 : 4;
        w->hits = mem_realloc_array(w->hits, w->hit_capacity, sizeof(struct finish *));
    }
    w->hits[w->hit_count++] = finish_ref(f);
    if (w->token == 0)
        waiter_touch(c, w);
}

void waiters_finished(struct core *c, struct job *j, struct finish *f)
{
    list_each (node, &j->waits)
        waiter_hit(c, container_of(node, struct waiter, of_job), f);
    list_each (node, &c->wide_waits) {
        struct waiter *w = container_of(node, struct waiter, of_job);
        if (idset_has(w->ranges, w->range_count, f->job))
            waiter_hit(c, w, f);
    }
}

/* Most WAITs are for one job, and a finish must not look at those of all others. A job that is not
 * there has ended, or never was: it ends no more. */
static void wait_watch(struct core *c, struct waiter *w, uint64_t total)
{
    struct job *j = total == 1 ? job_find(c, w->ranges[0].first) : NULL;
    if (j != NULL)
        list_push_back(&j->waits, &w->of_job);
    else if (total > 1)
        list_push_back(&c->wide_waits, &w->of_job);
}

static void waiter_ring(struct core *c, struct waiter *w)
{
    for (uint64_t n = max_u64(w->since + 1, c->ring_first); n < c->next_finish; n++) {
        struct finish *f = c->ring[n % RING_SIZE];
        if (idset_has(w->ranges, w->range_count, f->job))
            waiter_hit(c, w, f);
    }
}

void core_wait(struct core *c, const struct event *e, struct effects *fx)
{
    struct waiter *w = waiter_new(c, WAITER_WAIT, e, fx);
    if (w == NULL)
        return;
    w->ranges = ranges_dup(e->wait.ranges, e->wait.range_count);
    w->range_count = e->wait.range_count;
    w->since = e->wait.since;
    w->limit = (uint32_t)max_u64(1, min_u64(e->wait.limit, PROTO_WAIT_JOBS_MAX));
    w->with_results = e->wait.with_results;
    uint64_t total = ranges_total(w->ranges, w->range_count);
    bool is_small = total <= SELECTION_SMALL;
    wait_watch(c, w, total);
    uint64_t resident =
        is_small || w->since == 0 ? ranges_resident(c, w->ranges, w->range_count) : 1;
    core_timer_set(c, &w->timer,
                   add_sat_u64(c->now_ms, min_u64(e->wait.timeout_ms, PROTO_LONG_POLL_MS)));
    if (w->since == 0 && resident == total && total > 0) {
        w->selected = total;
        w->since = c->next_finish - 1;
    } else if (w->since == 0 || w->since + 1 < c->ring_first) {
        struct query *q = waiter_query(c, w, QUERY_SINCE, fx);
        q->ranges = ranges_dup(w->ranges, w->range_count);
        q->range_count = w->range_count;
        q->since = w->since;
        q->limit = w->limit;
        q->bytes_max = PROTO_WAIT_BYTES_MAX;
        q->with_output = w->with_results;
        q->with_count = w->since == 0;
        q->count_to = c->next_finish - 1; /* what finishes from here on is among `resident` */
        w->resident = resident;
    } else {
        waiter_ring(c, w);
        if (w->hit_count == 0 && resident == 0)
            waiter_touch(c, w);
    }
}

void wait_answer(struct core *c, struct waiter *w, const struct query_answer *a, struct effects *fx)
{
    if (w->since == 0) {
        w->selected = a->finished_count + w->resident;
        if (w->selected == 0) {
            core_refuse(fx, &w->caller, STATUS_NOT_FOUND, "none of these jobs exists (any more)");
            waiter_free(c, w);
            return;
        }
    }
    if (a->row_count == 0 && a->is_complete) {
        /* Nothing before the query; what came since is among the hits. */
        uint64_t seen = w->hit_count > 0 ? w->hits[0]->number - 1 : c->next_finish - 1;
        w->since = max_u64(w->since, seen);
        bool is_late = !heap_node_is_linked(&w->timer.node); /* its time passed meanwhile */
        if (w->hit_count > 0 || w->resident == 0 || is_late)
            waiter_touch(c, w);
        return;
    }
    struct effect *f = effects_add(fx, EFFECT_FINISHED, &w->caller);
    f->finished.finishes = mem_zalloc((a->row_count + 1) * sizeof(struct finish *));
    for (size_t i = 0; i < a->row_count; i++)
        f->finished.finishes[f->finished.count++] = finish_ref(a->rows[i].finish);
    f->finished.since = a->row_count > 0 ? a->rows[a->row_count - 1].finish->number
                                         : max_u64(a->scanned_to, w->since);
    f->finished.selected = w->selected;
    f->finished.with_results = w->with_results;
    waiter_free(c, w);
}

/* Answers with the hits, as many as the byte bound allows. */
static void wait_reply(struct core *c, struct waiter *w, struct effects *fx)
{
    struct effect *f = effects_add(fx, EFFECT_FINISHED, &w->caller);
    uint64_t bytes = 0;
    size_t n = 0;
    for (; n < w->hit_count; n++) {
        uint64_t more = blob_size(w->hits[n]->stdout_data) + blob_size(w->hits[n]->stderr_data);
        if (n > 0 && w->with_results && bytes + more > PROTO_WAIT_BYTES_MAX)
            break;
        bytes += more;
    }
    f->finished.selected = w->selected;
    f->finished.with_results = w->with_results;
    f->finished.since = n > 0 ? w->hits[n - 1]->number : max_u64(w->since, c->next_finish - 1);
    f->finished.finishes = w->hits;
    f->finished.count = n;
    for (size_t i = n; i < w->hit_count; i++)
        finish_unref(&w->hits[i]);
    w->hits = NULL;
    w->hit_count = 0;
    waiter_free(c, w);
}

/* --- FOLLOW --- */

void job_followers_touch(struct core *c, struct job *j)
{
    list_each (node, &j->followers) {
        waiter_touch(c, container_of(node, struct waiter, of_job));
    }
}

/* The last answer: the job is final. What the asker has of this attempt stays valid. */
static void follow_state(struct waiter *w, const struct finish *end, struct effects *fx)
{
    struct effect *f = effects_add(fx, EFFECT_FOLLOWED, &w->caller);
    bool same = end->attempt == w->attempt;
    f->followed.id = w->job;
    f->followed.state = end->state;
    f->followed.attempt = end->attempt;
    f->followed.stdout_at = same ? w->at[0] : 0;
    f->followed.stderr_at = same ? w->at[1] : 0;
}

static bool follow_has_news(const struct waiter *w, const struct job *j)
{
    if (j->state != w->state || j->attempt != w->attempt)
        return true;
    for (int i = 0; j->live != NULL && i < 2; i++)
        if (j->live->begin[i] + j->live->data[i].size > w->at[i])
            return true;
    return false;
}

static void follow_reply(struct core *c, struct waiter *w, const struct job *j, struct effects *fx)
{
    struct effect *f = effects_add(fx, EFFECT_FOLLOWED, &w->caller);
    f->followed.id = j->id;
    f->followed.state = (enum job_state)j->state;
    f->followed.attempt = j->attempt;
    uint64_t *offsets[2] = {&f->followed.stdout_at, &f->followed.stderr_at};
    struct blob **data[2] = {&f->followed.stdout_data, &f->followed.stderr_data};
    bool same = j->attempt == w->attempt;
    for (int i = 0; i < 2; i++) {
        uint64_t at = same ? w->at[i] : 0;
        if (j->live != NULL) {
            uint64_t begin = j->live->begin[i];
            uint64_t end = begin + j->live->data[i].size;
            at = max_u64(begin, min_u64(at, end));
            *data[i] = blob_from_view(view_skip(buf_view(&j->live->data[i]), at - begin));
        }
        *offsets[i] = at;
    }
    core_waiting_for(c, j, f->followed.waiting_for, sizeof f->followed.waiting_for);
}

void core_follow(struct core *c, const struct event *e, struct effects *fx)
{
    struct waiter *w = waiter_new(c, WAITER_FOLLOW, e, fx);
    if (w == NULL)
        return;
    w->job = e->follow.id;
    w->attempt = e->follow.attempt;
    w->at[0] = e->follow.stdout_at;
    w->at[1] = e->follow.stderr_at;
    w->state = e->follow.state;
    struct job *j = job_find(c, w->job);
    if (j == NULL) {
        struct query *q = waiter_query(c, w, QUERY_JOB, fx);
        q->id = w->job;
        return;
    }
    list_push_back(&j->followers, &w->of_job);
    core_timer_set(c, &w->timer, c->now_ms + PROTO_LONG_POLL_MS);
    if (follow_has_news(w, j))
        waiter_touch(c, w);
}

void follow_gone(struct core *c, struct waiter *w, const struct query_answer *a, struct effects *fx)
{
    if (a->row_count == 0 || a->rows[0].finish == NULL)
        core_refuse(fx, &w->caller, STATUS_NOT_FOUND, "there is no job %llu (any more)",
                    (unsigned long long)w->job);
    else
        follow_state(w, a->rows[0].finish, fx);
    waiter_free(c, w);
}

/* The state of a job that ended while somebody followed it: in the ring, or, where large results
 * have pushed it out of there within the turn, in the store. */
static void follow_ended(struct core *c, struct waiter *w, struct effects *fx)
{
    const struct finish *f = ring_find(c, w->job);
    if (f != NULL) {
        follow_state(w, f, fx);
        waiter_free(c, w);
        return;
    }
    struct query *q = waiter_query(c, w, QUERY_JOB, fx);
    q->id = w->job;
}

/* --- all of them --- */

static bool progress_has_news(const struct core *c, const struct waiter *w)
{
    const struct event *e = &w->read;
    return c->phase == PHASE_DONE || e->progress.phase != c->phase ||
           e->progress.running != c->count[JOB_RUNNING] || e->progress.ready != c->count[JOB_READY];
}

static void waiter_answer(struct core *c, struct waiter *w, struct effects *fx)
{
    if (w->kind == WAITER_WAIT) {
        wait_reply(c, w, fx);
        return;
    }
    if (w->kind == WAITER_FOLLOW) {
        const struct job *j = job_find(c, w->job);
        if (j == NULL) {
            follow_ended(c, w, fx);
            return;
        }
        follow_reply(c, w, j, fx);
    } else {
        progress_send(c, &w->caller, fx);
    }
    waiter_free(c, w);
}

void waiters_flush(struct core *c, struct effects *fx)
{
    while (!list_is_empty(&c->dirty)) {
        struct waiter *w = container_of(c->dirty.next, struct waiter, dirty);
        list_remove(&w->dirty);
        const struct job *j = w->kind == WAITER_FOLLOW ? job_find(c, w->job) : NULL;
        bool is_idle = (w->kind == WAITER_PROGRESS && !progress_has_news(c, w)) ||
                       (j != NULL && !follow_has_news(w, j));
        if (!is_idle)
            waiter_answer(c, w, fx);
    }
}

void waiter_expired(struct core *c, struct waiter *w, struct effects *fx)
{
    if (w->token != 0) /* the store is slow: its answer will do */
        return;
    waiter_answer(c, w, fx);
}

void waiters_stop(struct core *c, struct effects *fx)
{
    for (size_t kind = 0; kind < ARRAY_SIZE(c->waiters); kind++) {
        list_each_safe (node, &c->waiters[kind]) {
            struct waiter *w = container_of(node, struct waiter, link);
            if (w->kind == WAITER_WAIT && w->hit_count > 0 && w->token == 0) {
                wait_reply(c, w, fx);
                continue;
            }
            core_refuse(fx, &w->caller, STATUS_STOPPING, "%s", status_sentence(STATUS_STOPPING));
            waiter_free(c, w);
        }
    }
}
