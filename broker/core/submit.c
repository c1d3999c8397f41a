/* SPDX-License-Identifier: MPL-2.0 */
/* submit.c - requests of clients that change something: SUBMIT and CANCEL.
 *
 * All jobs of a SUBMIT are accepted or none, in one commit together with the durable request id, so
 * that the same request again finds its first answer. */
#include "broker/core/impl.h"

/* Answers a durable request id that was seen before. True when it was answered (or refused). */
static bool submit_again(struct core *c, const struct event *e, struct effects *fx)
{
    struct request_id id = e->submit.request;
    struct client *it = NULL;
    if (id.sequence == 0)
        return false;
    HASH_FIND(hh, c->clients, &id.client, sizeof id.client, it);
    if (it == NULL)
        return false;
    const struct client_entry *entry = &it->ring[id.sequence % CLIENT_RING];
    if (entry->sequence < id.sequence)
        return false;
    if (entry->sequence > id.sequence || entry->digest != e->submit.digest) {
        core_refuse(fx, &e->caller, STATUS_CONFLICT,
                    entry->sequence > id.sequence
                        ? "this request id is older than the last 8 of its client"
                        : "this request id came before with other content");
        return true;
    }
    struct effect *f = effects_add(fx, EFFECT_SUBMITTED, &e->caller);
    f->submitted.first = entry->first_id;
    f->submitted.count = entry->count;
    f->submitted.is_existing = true;
    return true;
}

static bool submit_refused(struct core *c, const struct event *e, uint64_t bytes,
                           struct effects *fx)
{
    const struct core_config *config = &c->config;
    const struct queue *q = queue_find(c, e->submit.queue);
    uint64_t unfinished =
        q != NULL ? q->count[JOB_READY] + q->count[JOB_SCHEDULED] + q->count[JOB_RUNNING] : 0;
    if (e->is_pressed) {
        core_refuse(fx, &e->caller, STATUS_BUSY, "too many bytes wait for their commit");
    } else if (c->store_free_bytes < config->store_reserve_bytes) {
        core_refuse(fx, &e->caller, STATUS_STORE_FULL,
                    "the store's file system has %llu bytes left; %llu are kept for results",
                    (unsigned long long)c->store_free_bytes,
                    (unsigned long long)config->store_reserve_bytes);
    } else if (unfinished + e->submit.count > config->queue_jobs_max) {
        core_refuse(fx, &e->caller, STATUS_QUEUE_FULL,
                    "queue %.*s takes at most %llu unfinished jobs", (int)e->submit.queue.size,
                    (const char *)e->submit.queue.data, (unsigned long long)config->queue_jobs_max);
    } else if (bytes > sub_sat_u64(config->payload_bytes_max, c->payload_bytes)) {
        core_refuse(fx, &e->caller, STATUS_QUEUE_FULL,
                    "the payloads of all unfinished jobs hold their most bytes: %llu",
                    (unsigned long long)config->payload_bytes_max);
    } else if (q == NULL && HASH_CNT(hh, c->queues) >= config->queues_max) {
        core_refuse(fx, &e->caller, STATUS_BUSY, "there are %u queues, no more are allowed",
                    config->queues_max);
    } else {
        return false;
    }
    return true;
}

static uint32_t submit_queue(struct core *c, struct view name, struct effects *fx)
{
    const struct queue *q = queue_find(c, name);
    if (q != NULL)
        return q->id;
    struct record *r = effects_record(fx, RECORD_QUEUE, 0);
    r->queue.id = c->next_queue;
    memcpy(r->queue.name, name.data, name.size);
    core_apply(c, r);
    return r->queue.id;
}

static void submit_client(struct core *c, const struct event *e, uint64_t first, struct effects *fx)
{
    if (e->submit.request.sequence == 0)
        return;
    struct client *known = NULL;
    HASH_FIND(hh, c->clients, &e->submit.request.client, sizeof e->submit.request.client, known);
    if (known == NULL && HASH_CNT(hh, c->clients) >= c->config.clients_max) {
        struct client *oldest = c->clients;
        HASH_DELETE(hh, c->clients, oldest);
        free(oldest);
    }
    struct record *r = effects_record(fx, RECORD_CLIENT, 0);
    r->client.client = e->submit.request.client;
    r->client.sequence = e->submit.request.sequence;
    r->client.first_id = first;
    r->client.count = (uint32_t)e->submit.count;
    r->client.digest = e->submit.digest;
    r->client.at_ms = c->wall_ms;
    core_apply(c, r);
}

void core_submit(struct core *c, const struct event *e, struct effects *fx)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < e->submit.count; i++)
        bytes += blob_size(e->submit.payloads[i]);
    if (submit_again(c, e, fx))
        return;
    if (c->is_leaving || c->phase != PHASE_SERVING) {
        core_refuse(fx, &e->caller, c->is_leaving ? STATUS_STOPPING : STATUS_DRAINING, "%s",
                    status_sentence(c->is_leaving ? STATUS_STOPPING : STATUS_DRAINING));
        return;
    }
    if (submit_refused(c, e, bytes, fx))
        return;
    uint32_t queue = submit_queue(c, e->submit.queue, fx);
    struct job_template *t = job_template_new(e->submit.options, blob_ref(e->submit.spec));
    uint64_t first = c->next_job;
    for (size_t i = 0; i < e->submit.count; i++) {
        struct record *r = effects_record(fx, RECORD_ADD, c->next_job);
        r->add.queue = queue;
        r->add.seq = t->options.seq > 0 ? t->options.seq + i : 0;
        r->add.submitted_ms = c->wall_ms;
        r->add.template = job_template_ref(t);
        r->add.payload = blob_ref(e->submit.payloads[i]);
        core_apply(c, r);
    }
    job_template_unref(&t);
    submit_client(c, e, first, fx);
    c->submitted[c->now_ms / 1000 % RATE_SECONDS] += (uint32_t)e->submit.count;
    struct effect *f = effects_add(fx, EFFECT_SUBMITTED, &e->caller);
    f->submitted.first = first;
    f->submitted.count = (uint32_t)e->submit.count;
    for (size_t i = 0; i < e->submit.count; i++)
        dispatch_job(c, job_find(c, first + i), fx);
}

static void cancel_job(struct core *c, struct job *j, const struct event *e, struct effects *fx,
                       uint64_t *cancelled, uint64_t *cancelling)
{
    const char *by = e->cancel.by[0] != '\0' ? e->cancel.by : "a client";
    const char *colon = e->cancel.reason[0] != '\0' ? ": " : "";
    struct blob *reason = blob_text("cancelled by %.100s%s%.140s", by, colon, e->cancel.reason);
    if (j->state != JOB_RUNNING) {
        job_finish(c, j, JOB_CANCELLED, OUTCOME_CANCELLED, reason, NULL, fx);
        ++*cancelled;
        return;
    }
    ++*cancelling;
    if (j->is_cancelled) {
        blob_unref(&reason);
        return;
    }
    struct record *r = effects_record(fx, RECORD_CANCEL, j->id);
    r->cancel.reason = reason;
    core_apply(c, r);
    if (worker_is_reachable(j->worker))
        worker_cancel_send(j->worker, j, fx);
}

void core_cancel(struct core *c, const struct event *e, struct effects *fx)
{
    uint64_t total = 0;
    uint64_t cancelled = 0;
    uint64_t cancelling = 0;
    for (size_t i = 0; i < e->cancel.range_count; i++)
        total += e->cancel.ranges[i].last - e->cancel.ranges[i].first + 1;
    if (total <= HASH_COUNT(c->jobs)) {
        for (size_t i = 0; i < e->cancel.range_count; i++) {
            for (uint64_t id = e->cancel.ranges[i].first; id <= e->cancel.ranges[i].last; id++) {
                struct job *j = job_find(c, id);
                if (j != NULL)
                    cancel_job(c, j, e, fx, &cancelled, &cancelling);
            }
        }
    } else {
        struct job *j = NULL;
        struct job *next = NULL;
        HASH_ITER (hh, c->jobs, j, next) {
            if (idset_has(e->cancel.ranges, e->cancel.range_count, j->id))
                cancel_job(c, j, e, fx, &cancelled, &cancelling);
        }
    }
    struct effect *f = effects_add(fx, EFFECT_CANCELLED, &e->caller);
    f->cancelled.cancelled = cancelled;
    f->cancelled.cancelling = cancelling;
    f->cancelled.not_open = total - cancelled - cancelling;
}
