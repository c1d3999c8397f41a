/* SPDX-License-Identifier: MPL-2.0 */
/* apply.c - records into state: what a durable fact means in memory.
 *
 * Live, each record is applied when it is emitted; at a start the rows that the store loaded come
 * through core_load. Both ways must give the same state (core_digest). No decisions here. */
#include <assert.h>

#include "broker/core/impl.h"

struct job *job_find(struct core *c, uint64_t id)
{
    struct job *j = NULL;
    HASH_FIND(hh, c->jobs, &id, sizeof id, j);
    return j;
}

struct queue *queue_find(struct core *c, struct view name)
{
    struct queue *q = NULL;
    HASH_FIND(hh, c->queues, name.data, name.size, q);
    return q;
}

struct queue *queue_by_id(struct core *c, uint32_t id)
{
    struct queue *q = NULL;
    HASH_FIND(by_id, c->queues_by_id, &id, sizeof id, q);
    return q;
}

static void queue_add(struct core *c, uint32_t id, const char *name)
{
    if (queue_by_id(c, id) != NULL || queue_find(c, view_str(name)) != NULL)
        return;
    struct queue *q = mem_zalloc(sizeof *q);
    q->id = id;
    memcpy(q->name, name, min_u64(strlen(name), PROTO_QUEUE_BYTES_MAX));
    for (size_t i = 0; i < READY_CLASSES; i++)
        heap_init(&q->ready[i]);
    list_init(&q->idle[0]);
    list_init(&q->idle[1]);
    list_init(&q->subscriptions);
    HASH_ADD(hh, c->queues, name, strlen(q->name), q);
    HASH_ADD(by_id, c->queues_by_id, id, sizeof q->id, q);
    c->next_queue = (uint32_t)max_u64(c->next_queue, (uint64_t)id + 1);
}

/* The monotonic time of a wall time, by the clocks of this moment. */
uint64_t job_due_ms(const struct core *c, uint64_t wall_ms)
{
    return add_sat_u64(c->now_ms, sub_sat_u64(wall_ms, c->wall_ms));
}

static void job_leave(struct core *c, struct job *j)
{
    assert(j != NULL); /* records of the core's own name jobs that are there */
    c->count[j->state]--;
    j->queue->count[j->state]--;
    core_timer_stop(c, &j->timer);
    if (j->state == JOB_READY) {
        heap_remove(&j->queue->ready[job_class(j)], &j->ready);
    } else if (j->state == JOB_RUNNING) {
        list_remove(&j->held);
        j->worker->job_count--;
        if (j->crashes > 0)
            j->worker->suspects--;
        j->worker = NULL;
        j->lease = 0;
        live_free(c, j);
    }
}

/* Puts the job where its state says; its fields are those of the new state already. */
static void job_enter(struct core *c, struct job *j, enum job_state state)
{
    j->state = (uint8_t)state;
    c->count[state]++;
    j->queue->count[state]++;
    if (state == JOB_READY) {
        heap_insert(&j->queue->ready[job_class(j)], &j->ready,
                    (uint64_t)(9 - j->template->options.priority), j->id);
    } else if (state == JOB_SCHEDULED) {
        core_timer_set(c, &j->timer, job_due_ms(c, j->not_before_ms));
    } else if (state == JOB_RUNNING) {
        list_push_back(&j->worker->jobs, &j->held);
        j->worker->job_count++;
        if (j->crashes > 0)
            j->worker->suspects++;
        j->leased_ms = c->now_ms;
        core_timer_set(c, &j->timer, add_sat_u64(c->now_ms, j->worker->lease_ms));
    }
}

static struct job *job_new(struct core *c, uint64_t id, struct queue *q, struct job_template *t,
                           struct blob *payload)
{
    struct job *j = mem_zalloc(sizeof *j);
    j->id = id;
    j->queue = q;
    j->template = job_template_ref(t);
    j->payload = blob_ref(payload);
    list_init(&j->held);
    list_init(&j->followers);
    list_init(&j->waits);
    j->timer.kind = TIMER_JOB;
    c->payload_bytes += blob_size(payload);
    c->next_job = max_u64(c->next_job, id + 1);
    HASH_ADD(hh, c->jobs, id, sizeof j->id, j);
    return j;
}

static void job_free(struct core *c, struct job *j)
{
    list_each_safe (node, &j->followers) {
        list_remove(node);
    }
    list_each_safe (node, &j->waits) {
        list_remove(node);
    }
    live_free(c, j);
    HASH_DELETE(hh, c->jobs, j);
    c->payload_bytes -= blob_size(j->payload);
    job_template_unref(&j->template);
    blob_unref(&j->payload);
    blob_unref(&j->cancel_reason);
    free(j);
}

static void apply_add(struct core *c, const struct record *r)
{
    struct queue *q = queue_by_id(c, r->add.queue);
    struct job *j = job_new(c, r->job, q, r->add.template, r->add.payload);
    j->seq = r->add.seq;
    j->submitted_ms = r->add.submitted_ms;
    j->not_before_ms = r->add.not_before_ms;
    job_enter(c, j, r->add.not_before_ms > 0 ? JOB_SCHEDULED : JOB_READY);
}

static void apply_lease(struct core *c, struct job *j, const struct record *r)
{
    job_leave(c, j);
    j->attempt = r->lease.attempt;
    j->lease = r->lease.lease;
    j->started_ms = r->lease.started_ms;
    j->not_before_ms = 0;
    j->is_reported = false;
    j->worker = worker_expect(c, r->lease.instance, r->lease.worker);
    job_enter(c, j, JOB_RUNNING);
}

static void apply_requeue(struct core *c, struct job *j, const struct record *r)
{
    job_leave(c, j);
    j->retries_used = r->requeue.retries_used;
    j->retry_waits = r->requeue.retry_waits;
    j->crashes = r->requeue.crashes;
    j->not_before_ms = r->requeue.not_before_ms;
    job_enter(c, j, r->requeue.not_before_ms > 0 ? JOB_SCHEDULED : JOB_READY);
}

static void ring_drop(struct core *c)
{
    struct finish **f = &c->ring[c->ring_first % RING_SIZE];
    c->ring_bytes -= *f != NULL ? blob_size((*f)->stdout_data) + blob_size((*f)->stderr_data) : 0;
    finish_unref(f);
    c->ring_first++;
}

static void ring_push(struct core *c, struct finish *f)
{
    if (c->next_finish - c->ring_first == RING_SIZE)
        ring_drop(c);
    c->ring[f->number % RING_SIZE] = finish_ref(f);
    c->ring_bytes += blob_size(f->stdout_data) + blob_size(f->stderr_data);
    c->next_finish = f->number + 1;
    while (c->ring_bytes > RING_BYTES_MAX && c->ring_first + 1 < c->next_finish)
        ring_drop(c);
}

struct finish *ring_find(const struct core *c, uint64_t job)
{
    for (uint64_t n = c->next_finish; n > c->ring_first; n--)
        if (c->ring[(n - 1) % RING_SIZE]->job == job)
            return c->ring[(n - 1) % RING_SIZE];
    return NULL;
}

static void apply_finish(struct core *c, struct job *j, const struct record *r)
{
    job_leave(c, j);
    c->count[r->finish->state]++;
    ring_push(c, r->finish);
    job_free(c, j);
}

static void client_put(struct core *c, uint64_t instance, const struct client_entry *entry,
                       uint64_t at_ms)
{
    struct client *it = NULL;
    HASH_FIND(hh, c->clients, &instance, sizeof instance, it);
    if (it == NULL) {
        it = mem_zalloc(sizeof *it);
        it->instance = instance;
    } else {
        HASH_DELETE(hh, c->clients, it); /* and back in: the order of the hash is that of use */
    }
    it->at_ms = max_u64(it->at_ms, at_ms);
    it->ring[entry->sequence % CLIENT_RING] = *entry;
    HASH_ADD(hh, c->clients, instance, sizeof it->instance, it);
}

void core_apply(struct core *c, const struct record *r)
{
    struct job *j = r->job != 0 ? job_find(c, r->job) : NULL;
    switch (r->type) {
    case RECORD_START:
        c->broker_start = r->start.number;
        c->away_ms = 0;
        break;
    case RECORD_AWAY:
        c->away_ms = r->away.ms;
        break;
    case RECORD_QUEUE:
        queue_add(c, r->queue.id, r->queue.name);
        break;
    case RECORD_ADD:
        apply_add(c, r);
        break;
    case RECORD_LEASE:
        apply_lease(c, j, r);
        break;
    case RECORD_REQUEUE:
        apply_requeue(c, j, r);
        break;
    case RECORD_CANCEL:
        assert(j != NULL);
        j->is_cancelled = true;
        blob_unref(&j->cancel_reason);
        j->cancel_reason = blob_ref(r->cancel.reason);
        break;
    case RECORD_FINISH:
        apply_finish(c, j, r);
        break;
    case RECORD_CLIENT: {
        struct client_entry entry = {r->client.sequence, r->client.first_id, r->client.digest,
                                     r->client.count};
        client_put(c, r->client.client, &entry, r->client.at_ms);
        break;
    }
    case RECORD_EXPIRE: /* the store reports what it forgot */
        break;
    }
}

static void load_job(struct core *c, const struct job_row *row)
{
    struct queue *q = queue_by_id(c, row->queue);
    if (q == NULL || job_find(c, row->id) != NULL || job_state_is_final(row->state))
        return;
    struct job *j = job_new(c, row->id, q, row->template, row->payload);
    j->seq = row->seq;
    j->submitted_ms = row->submitted_ms;
    j->not_before_ms = row->not_before_ms;
    j->started_ms = row->started_ms;
    j->attempt = row->attempt;
    j->retries_used = row->retries_used;
    j->retry_waits = row->retry_waits;
    j->crashes = row->crashes;
    j->is_cancelled = row->is_cancelled;
    j->cancel_reason = blob_ref(row->cancel_reason);
    if (row->state == JOB_RUNNING) {
        j->lease = row->lease;
        j->is_reported = true; /* not known; a lost one counts */
        j->worker = worker_expect(c, row->instance, row->worker);
    }
    job_enter(c, j, row->state);
}

void core_load(struct core *c, const struct event *e)
{
    switch (e->type) {
    case EVENT_LOAD_META:
        c->broker_start = e->meta.broker_start;
        c->away_ms = e->meta.away_ms;
        c->next_job = max_u64(c->next_job, e->meta.next_job_id);
        c->next_finish = max_u64(c->next_finish, e->meta.next_finish);
        c->ring_first = c->next_finish;
        for (int i = JOB_SUCCEEDED; i < JOB_STATE_COUNT; i++)
            c->count[i] = e->meta.finished[i];
        break;
    case EVENT_LOAD_QUEUE:
        queue_add(c, e->queue.id, e->queue.name);
        break;
    case EVENT_LOAD_CLIENT:
        client_put(c, e->client.id, e->client.entry, e->client.at_ms);
        break;
    default:
        load_job(c, e->row);
        break;
    }
}

void core_forget_all(struct core *c)
{
    struct job *j = NULL;
    struct job *j_next = NULL;
    HASH_ITER (hh, c->jobs, j, j_next) {
        job_leave(c, j);
        job_free(c, j);
    }
    struct worker *w = NULL;
    struct worker *w_next = NULL;
    HASH_ITER (hh, c->workers, w, w_next) {
        worker_free(c, w);
    }
    struct client *it = NULL;
    struct client *it_next = NULL;
    HASH_ITER (hh, c->clients, it, it_next) {
        HASH_DELETE(hh, c->clients, it);
        free(it);
    }
    struct queue *q = NULL;
    struct queue *q_next = NULL;
    HASH_ITER (hh, c->queues, q, q_next) {
        HASH_DELETE(hh, c->queues, q);
        HASH_DELETE(by_id, c->queues_by_id, q);
        for (size_t i = 0; i < READY_CLASSES; i++)
            heap_fini(&q->ready[i]);
        free(q);
    }
    while (c->ring_first < c->next_finish)
        ring_drop(c);
}
