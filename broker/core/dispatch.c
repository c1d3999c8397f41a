/* SPDX-License-Identifier: MPL-2.0 */
/* dispatch.c - which job goes to which worker.
 *
 * By credit: a worker without a free slot gets nothing. A job that becomes ready looks for a worker
 * with credit (the one that waited longest); a worker that grants credit looks for the best job of
 * its queues, in its order of preference. So at most one side waits, and no list is searched. A job
 * that crashed before does not share a worker with another such job. */
#include "broker/core/impl.h"

bool core_may_dispatch(const struct core *c)
{
    return !c->is_leaving && (c->phase == PHASE_SERVING || c->phase == PHASE_DRAINING);
}

void worker_set_idle(struct worker *w)
{
    bool idle = w->state == WORKER_ACTIVE && w->probes == 0 && w->sent < w->granted;
    for (uint32_t i = 0; i < w->info.queue_count; i++) {
        struct subscription *s = &w->subscriptions[i];
        for (unsigned kind = 0; kind < 2; kind++) {
            if (list_is_linked(&s->idle[kind]))
                list_remove(&s->idle[kind]);
            if (idle && (w->info.kinds & KIND_BIT(kind)) != 0)
                list_push_back(&s->queue->idle[kind], &s->idle[kind]);
        }
    }
}

static void dispatch_lease(struct core *c, struct job *j, struct worker *w, struct effects *fx)
{
    struct record *r = effects_record(fx, RECORD_LEASE, j->id);
    r->lease.attempt = j->attempt + 1;
    r->lease.lease = ((uint64_t)c->broker_start << 32) + c->next_lease++;
    r->lease.instance = w->instance;
    r->lease.started_ms = c->wall_ms;
    r->lease.worker = blob_ref(w->name);
    core_apply(c, r);
    w->sent++;
    struct caller to;
    worker_caller(w, &to);
    struct effect *f = effects_add(fx, EFFECT_JOB, &to);
    f->job.ref = (struct ref){j->id, j->attempt, j->lease};
    f->job.queue = w->subscriptions[0].queue == j->queue ? NULL : j->queue->name;
    f->job.template = job_template_ref(j->template);
    f->job.payload = blob_ref(j->payload);
    f->job.seq = j->seq;
    job_followers_touch(c, j);
}

void dispatch_job(struct core *c, struct job *j, struct effects *fx)
{
    if (!core_may_dispatch(c) || j->state != JOB_READY)
        return;
    struct list *idle = &j->queue->idle[j->template->options.kind];
    list_each (node, idle) {
        struct subscription *s =
            (struct subscription *)(void *)((char *)node - offsetof(struct subscription, idle) -
                                            j->template->options.kind * sizeof(struct list));
        if (j->crashes > 0 && s->worker->suspects > 0)
            continue;
        struct worker *w = s->worker;
        dispatch_lease(c, j, w, fx);
        worker_set_idle(w); /* to the end of the lists, or off them */
        return;
    }
}

/* The best ready job of a queue that this worker may take, or NULL. */
static struct job *dispatch_best(const struct queue *q, const struct worker *w)
{
    struct heap_node *best = NULL;
    for (unsigned class = 0; class < READY_CLASSES; class ++) {
        bool is_suspect = class % 2 == 1;
        struct heap_node *top = heap_top(&q->ready[class]);
        if (top == NULL || (w->info.kinds & KIND_BIT(class / 2)) == 0 ||
            (is_suspect && w->suspects > 0))
            continue;
        if (best == NULL || top->key < best->key || (top->key == best->key && top->tie < best->tie))
            best = top;
    }
    return best != NULL ? container_of(best, struct job, ready) : NULL;
}

void dispatch_worker(struct core *c, struct worker *w, struct effects *fx)
{
    bool found = core_may_dispatch(c) && w->state == WORKER_ACTIVE && w->probes == 0;
    while (found && w->sent < w->granted) {
        found = false;
        for (uint32_t i = 0; i < w->info.queue_count && !found; i++) {
            struct job *j = dispatch_best(w->subscriptions[i].queue, w);
            if (j != NULL) {
                dispatch_lease(c, j, w, fx);
                found = true;
            }
        }
    }
    worker_set_idle(w);
}
