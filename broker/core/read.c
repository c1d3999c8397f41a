/* SPDX-License-Identifier: MPL-2.0 */
/* read.c - requests that only look: GET and LIST (through the store), STATUS and WORKERS (from
 * memory, at once). */
#include <assert.h>
#include <stdio.h>

#include "broker/core/impl.h"

/* Of a job object without what its SUBMIT brought (argv, cwd); a generous guess. */
#define JOB_OBJECT_BYTES 2048

/* The workers of a queue at one moment. The last answer is kept while one reply is made: a page of
 * a thousand jobs asks about a few queues. */
struct service {
    const struct queue *queue; /* NULL: not counted yet */
    unsigned kind;
    uint32_t workers;
    uint32_t of_kind;
    uint32_t slots;
    uint32_t busy;
};

static struct service queue_service(const struct queue *q, unsigned kind)
{
    struct service s = {.queue = q, .kind = kind};
    list_each (node, &q->subscriptions) {
        const struct worker *w = container_of(node, struct subscription, of_queue)->worker;
        if (w->state != WORKER_ACTIVE)
            continue;
        s.workers++;
        if ((w->info.kinds & KIND_BIT(kind)) != 0) {
            s.of_kind++;
            s.slots += w->info.slots;
            s.busy += w->job_count;
        }
    }
    return s;
}

static void waiting_for(const struct core *c, const struct job *j, struct service *last, char *out,
                        size_t size)
{
    assert(j->queue != NULL);
    out[0] = '\0';
    if (j->state == JOB_SCHEDULED) {
        uint64_t left_ms = sub_sat_u64(j->not_before_ms, c->wall_ms);
        snprintf(out, size, "its time: %llu.%01u s from now", (unsigned long long)(left_ms / 1000),
                 (unsigned)(left_ms % 1000 / 100));
        return;
    }
    if (j->state != JOB_READY)
        return;
    if (last->queue != j->queue || last->kind != j->template->options.kind)
        *last = queue_service(j->queue, j->template->options.kind);
    const struct service s = *last;
    if (!core_may_dispatch(c))
        snprintf(out, size, "the broker is stopping");
    else if (s.workers == 0)
        snprintf(out, size, "no worker serves queue %s", j->queue->name);
    else if (s.of_kind == 0)
        snprintf(out, size, "no worker of queue %s takes %s jobs", j->queue->name,
                 job_kind_name(j->template->options.kind));
    else if (s.busy >= s.slots)
        snprintf(out, size, "all %u slots of queue %s are busy", s.slots, j->queue->name);
    else
        snprintf(out, size, "a worker of queue %s that takes more work", j->queue->name);
}

void core_waiting_for(const struct core *c, const struct job *j, char *out, size_t size)
{
    struct service none = {0};
    waiting_for(c, j, &none, out, size);
}

void core_get(struct core *c, const struct event *e, struct effects *fx)
{
    struct waiter *w = waiter_new(c, WAITER_READ, e, fx);
    if (w == NULL)
        return;
    struct query *q = waiter_query(c, w, QUERY_JOB, fx);
    q->id = e->get.id;
    q->limit = 1;
    for (uint8_t i = 0; i < e->get.want_count; i++) {
        q->with_payload |= e->get.wants[i] == WANT_PAYLOAD;
        q->with_output |= e->get.wants[i] != WANT_PAYLOAD;
    }
}

void core_list(struct core *c, const struct event *e, struct effects *fx)
{
    const struct queue *queue = NULL;
    if (e->list.queue.size > 0 && (queue = queue_find(c, e->list.queue)) == NULL) {
        core_refuse(fx, &e->caller, STATUS_NOT_FOUND, "there is no queue %.*s",
                    VIEW_ARG(e->list.queue));
        return;
    }
    struct waiter *w = waiter_new(c, WAITER_READ, e, fx);
    if (w == NULL)
        return;
    struct query *q = waiter_query(c, w, QUERY_LIST, fx);
    q->before_id = e->list.before_id;
    q->queue = queue != NULL ? queue->id : 0;
    q->states = e->list.states;
    q->limit = (uint32_t)max_u64(1, min_u64(e->list.limit, PROTO_LIST_JOBS_MAX));
    snprintf(q->name, sizeof q->name, "%s", e->list.name);
    if (e->list.range_count > 0)
        q->ranges = mem_dup(e->list.ranges, e->list.range_count * sizeof(struct id_range));
    q->range_count = e->list.range_count;
}

/* Takes the row's references over into the view. */
static void job_view_fill(struct core *c, struct job_view *v, const struct job_row *row,
                          struct service *last)
{
    v->row = *row;
    v->row.template = job_template_ref(row->template);
    v->row.payload = blob_ref(row->payload);
    v->row.worker = blob_ref(row->worker);
    v->row.cancel_reason = blob_ref(row->cancel_reason);
    v->row.finish = finish_ref(row->finish);
    v->row.history = NULL;
    if (row->history_count > 0) {
        v->row.history = mem_dup(row->history, row->history_count * sizeof(struct attempt));
        for (size_t i = 0; i < row->history_count; i++) {
            blob_ref(row->history[i].worker);
            blob_ref(row->history[i].reason);
        }
    }
    const struct queue *q = queue_by_id(c, row->queue);
    v->queue = q != NULL ? q->name : "";
    const struct job *j = job_find(c, row->id);
    if (j != NULL)
        waiting_for(c, j, last, v->waiting_for, sizeof v->waiting_for);
}

void read_answer(struct core *c, struct waiter *w, const struct query_answer *a, struct effects *fx)
{
    const struct event *e = &w->read;
    bool is_list = e->type == EVENT_LIST;
    if (!is_list && a->row_count == 0) {
        core_refuse(fx, &w->caller, STATUS_NOT_FOUND, "there is no job %llu (any more)",
                    (unsigned long long)e->get.id);
    } else {
        struct effect *f = effects_add(fx, EFFECT_JOBS, &w->caller);
        f->jobs.jobs = mem_zalloc((a->row_count + 1) * sizeof(struct job_view));
        uint64_t bytes = 0;
        struct service last = {0};
        for (size_t i = 0; i < a->row_count && bytes < PROTO_LIST_BYTES_MAX; i++) {
            bytes += JOB_OBJECT_BYTES + blob_size(a->rows[i].template->spec);
            job_view_fill(c, &f->jobs.jobs[f->jobs.count++], &a->rows[i], &last);
        }
        f->jobs.is_list = is_list;
        f->jobs.has_more = !a->is_complete || f->jobs.count < a->row_count;
        if (!is_list) {
            memcpy(f->jobs.wants, e->get.wants, sizeof f->jobs.wants);
            f->jobs.want_count = e->get.want_count;
        }
    }
    waiter_free(c, w);
}

/* Seconds pass: buckets of seconds in which nothing happened are emptied. */
void core_count(struct core *c)
{
    uint64_t second = c->now_ms / 1000;
    uint64_t gap = min_u64(second - c->rate_second, RATE_SECONDS);
    for (uint64_t i = 1; i <= gap; i++) {
        c->submitted[(c->rate_second + i) % RATE_SECONDS] = 0;
        c->finished[(c->rate_second + i) % RATE_SECONDS] = 0;
    }
    c->rate_second = second;
}

/* Events a second over the last ten whole seconds. */
static double rate_of(const struct core *c, const uint32_t *buckets)
{
    uint64_t sum = 0;
    for (uint64_t i = 1; i <= 10; i++)
        sum += buckets[(c->rate_second + RATE_SECONDS - i) % RATE_SECONDS];
    return (double)sum / 10;
}

void core_status(struct core *c, const struct event *e, struct effects *fx)
{
    struct status_view *v = mem_zalloc(sizeof *v);
    v->broker_start = c->broker_start;
    v->store_bytes = c->store_bytes;
    v->store_free_bytes = c->store_free_bytes;
    memcpy(v->jobs, c->count, sizeof v->jobs);
    v->submitted_per_second = rate_of(c, c->submitted);
    v->finished_per_second = rate_of(c, c->finished);
    for (const struct worker *w = c->workers; w != NULL; w = w->hh.next) {
        v->workers_active += w->state == WORKER_ACTIVE || w->state == WORKER_JOINING;
        v->workers_silent += w->state == WORKER_SILENT || w->state == WORKER_EXPECTED;
        v->workers_lost += w->state == WORKER_LOST || w->state == WORKER_CUT;
        if (w->state == WORKER_ACTIVE) {
            v->slots += w->info.slots;
            v->slots_busy += (uint32_t)min_u64(w->job_count, w->info.slots);
        }
    }
    v->is_stopping = c->is_leaving || c->phase != PHASE_SERVING;
    v->queues = mem_zalloc((HASH_CNT(hh, c->queues) + 1) * sizeof v->queues[0]);
    for (const struct queue *q = c->queues; q != NULL; q = q->hh.next) {
        struct queue_view *qv = &v->queues[v->queue_count++];
        memcpy(qv->name, q->name, sizeof qv->name);
        qv->scheduled = q->count[JOB_SCHEDULED];
        qv->ready = q->count[JOB_READY];
        qv->running = q->count[JOB_RUNNING];
    }
    struct effect *f = effects_add(fx, EFFECT_STATUS, &e->caller);
    f->waits = false;
    f->status = v;
}

void core_workers(struct core *c, const struct event *e, struct effects *fx)
{
    static const char *const state_names[] = {"expected", "joining", "active",
                                              "silent",   "cut",     "lost"};
    struct effect *f = effects_add(fx, EFFECT_WORKERS, &e->caller);
    f->waits = false;
    f->workers.workers = mem_zalloc((HASH_CNT(hh, c->workers) + 1) * sizeof(struct worker_view));
    for (const struct worker *w = c->workers; w != NULL; w = w->hh.next) {
        struct worker_view *v = &f->workers.workers[f->workers.count++];
        struct buf queues;
        buf_init(&queues, 65536);
        for (uint32_t i = 0; i < w->info.queue_count; i++)
            buf_addf(&queues, "%s%s", i > 0 ? "," : "", w->info.queues[i]);
        v->queues = mem_strdup(buf_cstr(&queues));
        buf_fini(&queues);
        snprintf(v->name, sizeof v->name, "%.*s", VIEW_ARG(blob_view(w->name)));
        memcpy(v->host, w->info.host, sizeof v->host);
        memcpy(v->containment, w->info.containment, sizeof v->containment);
        v->state = state_names[w->state];
        v->silent_ms = c->now_ms - w->heard_ms;
        v->succeeded = w->succeeded;
        v->failed = w->failed;
        v->pid = w->info.pid;
        v->kinds = w->info.kinds;
        v->slots = w->info.slots;
        v->slots_busy = w->job_count;
    }
}
