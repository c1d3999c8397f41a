/* SPDX-License-Identifier: MPL-2.0 */
/* sim_store.c - the store as the broker sees it: group commit, queries, a crash, a load.
 *
 * Like the real one: batches that wait become one commit; a query is answered after all records
 * that were handed over before it, perhaps after later ones too; a kill loses what was handed over
 * and not committed, the commit under way may have reached the disk or not. Rows are those of the
 * real tables, built from the records alone, so that what a restart loads is made by other code
 * than the core's. A *shadow* core applies exactly the committed records; what a start loads must
 * equal it. */
#include <stdlib.h>

#include "tests/sim/shadow.h"
#include "tests/sim/sim.h"

static struct store_row *row_of(struct sim_store *s, uint64_t id)
{
    if (id >= s->row_capacity) {
        size_t capacity = max_u64(64, max_u64(id + 1, s->row_capacity * 2));
        s->rows = mem_realloc_array(s->rows, capacity, sizeof s->rows[0]);
        memset(s->rows + s->row_capacity, 0, (capacity - s->row_capacity) * sizeof s->rows[0]);
        s->row_capacity = capacity;
    }
    return &s->rows[id];
}

const struct store_row *sim_store_row(const struct world *w, uint64_t id)
{
    const struct sim_store *s = &w->store;
    return id < s->row_capacity && s->rows[id].exists ? &s->rows[id] : NULL;
}

size_t sim_store_backlog(const struct world *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->store.batch_count; i++)
        n += w->store.batches[i].count;
    return n;
}

/* --- records onto rows --- */

static void apply_add(struct sim_store *s, const struct record *r)
{
    struct store_row *it = row_of(s, r->job);
    it->exists = true;
    it->row = (struct job_row){
        .id = r->job,
        .queue = r->add.queue,
        .state = r->add.not_before_ms > 0 ? JOB_SCHEDULED : JOB_READY,
        .seq = r->add.seq,
        .submitted_ms = r->add.submitted_ms,
        .not_before_ms = r->add.not_before_ms,
        .template = job_template_ref(r->add.template),
        .payload = blob_ref(r->add.payload),
        .payload_bytes = blob_size(r->add.payload),
    };
    s->next_job = max_u64(s->next_job, r->job + 1);
}

static void apply_lease(struct job_row *row, const struct record *r)
{
    row->state = JOB_RUNNING;
    row->not_before_ms = 0;
    row->attempt = r->lease.attempt;
    row->lease = r->lease.lease;
    row->instance = r->lease.instance;
    row->started_ms = r->lease.started_ms;
    blob_unref(&row->worker);
    row->worker = blob_ref(r->lease.worker);
}

static void apply_requeue(struct job_row *row, const struct record *r)
{
    row->state = r->requeue.not_before_ms > 0 ? JOB_SCHEDULED : JOB_READY;
    row->not_before_ms = r->requeue.not_before_ms;
    row->retries_used = r->requeue.retries_used;
    row->retry_waits = r->requeue.retry_waits;
    row->crashes = r->requeue.crashes;
    row->lease = 0;
    row->instance = 0;
    blob_unref(&row->worker);
    if (!r->requeue.has_ended)
        return;
    row->history = mem_realloc_array(row->history, row->history_count + 1, sizeof row->history[0]);
    struct attempt *a = &row->history[row->history_count++];
    *a = r->requeue.ended;
    blob_ref(a->worker);
    blob_ref(a->reason);
}

static void apply_finish(struct sim_store *s, struct job_row *row, const struct record *r)
{
    const struct finish *f = r->finish;
    row->state = f->state;
    row->lease = 0;
    row->instance = 0;
    row->finish = finish_ref(r->finish);
    if (f->number >= s->finish_capacity) {
        size_t capacity = max_u64(64, max_u64(f->number + 1, s->finish_capacity * 2));
        s->finishes = mem_realloc_array(s->finishes, capacity, sizeof s->finishes[0]);
        memset(s->finishes + s->finish_capacity, 0,
               (capacity - s->finish_capacity) * sizeof s->finishes[0]);
        s->finish_capacity = capacity;
    }
    s->finishes[f->number] = f->job;
    s->finished[f->state]++;
    s->next_finish = max_u64(s->next_finish, f->number + 1);
}

static void apply_client(struct sim_store *s, const struct record *r)
{
    struct store_client *it = NULL;
    for (size_t i = 0; i < s->client_count; i++)
        if (s->clients[i].id == r->client.client)
            it = &s->clients[i];
    if (it == NULL) {
        if (s->client_count == s->client_capacity) {
            s->client_capacity = max_u64(8, s->client_capacity * 2);
            s->clients = mem_realloc_array(s->clients, s->client_capacity, sizeof s->clients[0]);
        }
        it = &s->clients[s->client_count++];
        *it = (struct store_client){.id = r->client.client};
    }
    it->at_ms = max_u64(it->at_ms, r->client.at_ms);
    it->ring[r->client.sequence % CLIENT_RING] = (struct client_entry){
        r->client.sequence, r->client.first_id, r->client.digest, r->client.count};
}

static void apply_expire(struct world *w, const struct record *r, uint64_t *forgotten)
{
    struct sim_store *s = &w->store;
    for (uint64_t n = 1; n < s->next_finish; n++) {
        struct store_row *it = row_of(s, s->finishes[n]);
        if (it->is_forgotten || it->row.finish->forget_ms > r->expire.wall_ms)
            continue;
        it->is_forgotten = true;
        s->finished[it->row.state]--;
        forgotten[it->row.state]++;
        count(w, COUNT_FORGOTTEN);
    }
}

static void store_apply(struct world *w, const struct record *r, uint64_t *forgotten)
{
    struct sim_store *s = &w->store;
    struct store_row *it = r->job != 0 ? row_of(s, r->job) : NULL;
    if (it != NULL && (r->type == RECORD_ADD) == it->exists) {
        check_fail(w, "record %d of job %llu, which %s", (int)r->type, (unsigned long long)r->job,
                   it->exists ? "is there already" : "is not there");
        return;
    }
    check_record(w, r);
    switch (r->type) {
    case RECORD_START:
        s->broker_start = r->start.number;
        s->away_ms = 0;
        break;
    case RECORD_AWAY:
        s->away_ms = r->away.ms;
        break;
    case RECORD_QUEUE:
        s->queue_count = r->queue.id;
        memcpy(s->queues[r->queue.id - 1], r->queue.name, sizeof s->queues[0]);
        break;
    case RECORD_ADD:
        apply_add(s, r);
        break;
    case RECORD_LEASE:
        apply_lease(&it->row, r);
        break;
    case RECORD_REQUEUE:
        apply_requeue(&it->row, r);
        break;
    case RECORD_CANCEL:
        it->row.is_cancelled = true;
        blob_unref(&it->row.cancel_reason);
        it->row.cancel_reason = blob_ref(r->cancel.reason);
        break;
    case RECORD_FINISH:
        apply_finish(s, &it->row, r);
        break;
    case RECORD_CLIENT:
        apply_client(s, r);
        break;
    case RECORD_EXPIRE:
        apply_expire(w, r, forgotten);
        break;
    }
    shadow_apply(s->shadow, r);
}

/* --- queries --- */

static struct job_row row_copy(const struct job_row *from, const struct query *q)
{
    struct job_row row = *from;
    row.template = job_template_ref(from->template);
    row.payload = q->with_payload ? blob_ref(from->payload) : NULL;
    row.worker = blob_ref(from->worker);
    row.cancel_reason = blob_ref(from->cancel_reason);
    row.finish = finish_ref(from->finish);
    row.history = NULL;
    row.history_count = 0;
    if (q->type == QUERY_JOB && from->history_count > 0) {
        row.history = mem_dup(from->history, from->history_count * sizeof row.history[0]);
        row.history_count = from->history_count;
        for (size_t i = 0; i < row.history_count; i++) {
            blob_ref(row.history[i].worker);
            blob_ref(row.history[i].reason);
        }
    }
    return row;
}

static bool is_wanted(const struct query *q, uint64_t id)
{
    return q->range_count == 0 || idset_has(q->ranges, q->range_count, id);
}

static void answer_list(const struct sim_store *s, const struct query *q, struct query_answer *a)
{
    uint64_t below = q->before_id > 0 ? min_u64(q->before_id, s->next_job) : s->next_job;
    a->is_complete = true;
    for (uint64_t id = below; id-- > 1;) {
        const struct store_row *it = &s->rows[id];
        if (!it->exists || it->is_forgotten || !is_wanted(q, id) ||
            (q->states != 0 && (q->states >> it->row.state & 1) == 0) ||
            (q->queue != 0 && q->queue != it->row.queue))
            continue;
        if (a->row_count >= q->limit) {
            a->is_complete = false;
            return;
        }
        a->rows[a->row_count++] = row_copy(&it->row, q);
        a->scanned_to = id;
    }
}

/* `budget`: rows that may be looked at in this turn. */
static void answer_since(const struct sim_store *s, const struct query *q, struct query_answer *a,
                         uint64_t budget)
{
    a->scanned_to = q->since;
    for (uint64_t n = 1; q->with_count && n < s->next_finish; n++)
        a->finished_count += !s->rows[s->finishes[n]].is_forgotten && n <= q->count_to &&
                             is_wanted(q, s->finishes[n]);
    for (uint64_t n = q->since + 1; n < s->next_finish; n++) {
        const struct store_row *it = &s->rows[s->finishes[n]];
        if (budget-- == 0)
            return;
        if (is_wanted(q, it->row.id) && !it->is_forgotten) {
            if (a->row_count >= q->limit)
                return;
            a->rows[a->row_count++] = row_copy(&it->row, q);
        }
        a->scanned_to = n;
    }
    a->is_complete = true;
    a->scanned_to = max_u64(q->since, s->next_finish - 1);
}

static void store_answer(struct world *w, const struct query *q)
{
    struct sim_store *s = &w->store;
    struct completion c = {.is_answer = true};
    c.answer.type = q->type;
    c.answer.token = q->token;
    c.answer.rows = mem_zalloc((s->next_job + 1) * sizeof c.answer.rows[0]);
    if (q->type == QUERY_JOB) {
        const struct store_row *it = sim_store_row(w, q->id);
        if (it != NULL && !it->is_forgotten)
            c.answer.rows[c.answer.row_count++] = row_copy(&it->row, q);
        c.answer.is_complete = true;
    } else if (q->type == QUERY_LIST) {
        answer_list(s, q, &c.answer);
    } else {
        answer_since(s, q, &c.answer, chance(w, 20) ? 1 + roll(w, 5) : UINT64_MAX);
    }
    count(w, COUNT_QUERIES);
    broker_done(w, &c);
}

/* --- the store's thread --- */

static void store_begin(struct world *w)
{
    struct sim_store *s = &w->store;
    if (happens(&s->work) || (s->batch_count == 0 && s->question_count == 0))
        return;
    s->batch_taken = s->batch_count;
    s->question_taken = s->question_count;
    uint64_t us = 20 + roll(w, w->is_calm ? MS_US : w->plan.commit_us);
    if (!w->is_calm && w->now_us < w->commit_slow_until_us)
        us += roll(w, w->commit_slow_us);
    if (s->batch_taken == 0)
        us = 10 + roll(w, MS_US);
    happen_at(w, &s->work, w->now_us + us);
}

static void batches_apply(struct world *w, struct completion *c)
{
    struct sim_store *s = &w->store;
    for (size_t i = 0; i < s->batch_taken; i++) {
        struct store_batch *b = &s->batches[i];
        for (size_t k = 0; k < b->count; k++) {
            store_apply(w, &b->records[k], c->forgotten);
            record_fini(&b->records[k]);
        }
        c->commit = b->commit;
        free(b->records);
    }
    struct event e = {.type = EVENT_FORGOTTEN, .forgotten = c->forgotten};
    core_step(s->shadow, &e, NULL);
    s->batch_count -= s->batch_taken;
    for (size_t i = 0; i < s->batch_count; i++)
        s->batches[i] = s->batches[i + s->batch_taken];
    s->batch_taken = 0;
}

static void store_work(struct world *w, struct happening *h)
{
    struct sim_store *s = &w->store;
    if (w->broker.is_paused) { /* the thread too */
        happen_at(w, h, w->now_us + 10 * MS_US);
        return;
    }
    if (s->batch_taken > 0) {
        struct completion c = {0};
        batches_apply(w, &c);
        broker_done(w, &c);
    }
    for (size_t i = 0; i < s->question_taken; i++) {
        store_answer(w, &s->questions[i]);
        query_fini(&s->questions[i]);
    }
    s->question_count -= s->question_taken;
    for (size_t i = 0; i < s->question_count; i++)
        s->questions[i] = s->questions[i + s->question_taken];
    s->question_taken = 0;
    store_begin(w);
}

uint64_t sim_store_commit(struct world *w, struct record *records, size_t count)
{
    struct sim_store *s = &w->store;
    if (s->batch_count == s->batch_capacity) {
        s->batch_capacity = max_u64(16, s->batch_capacity * 2);
        s->batches = mem_realloc_array(s->batches, s->batch_capacity, sizeof s->batches[0]);
    }
    struct store_batch *b = &s->batches[s->batch_count++];
    b->commit = ++s->last_commit;
    b->records = mem_dup(records, count * sizeof records[0]);
    b->count = count;
    store_begin(w);
    return b->commit;
}

void sim_store_query(struct world *w, const struct query *q)
{
    struct sim_store *s = &w->store;
    if (s->question_count == s->question_capacity) {
        s->question_capacity = max_u64(16, s->question_capacity * 2);
        s->questions =
            mem_realloc_array(s->questions, s->question_capacity, sizeof s->questions[0]);
    }
    s->questions[s->question_count++] = *q;
    store_begin(w);
}

void sim_store_end(struct world *w, bool is_planned)
{
    struct sim_store *s = &w->store;
    struct completion c = {0};
    if (is_planned)
        s->batch_taken = s->batch_count;
    if (is_planned || (s->batch_taken > 0 && chance(w, 50)))
        batches_apply(w, &c);
    for (size_t i = 0; i < s->batch_count; i++) {
        for (size_t k = 0; k < s->batches[i].count; k++) {
            record_fini(&s->batches[i].records[k]);
            count(w, COUNT_LOST_RECORDS);
        }
        free(s->batches[i].records);
    }
    for (size_t i = 0; i < s->question_count; i++)
        query_fini(&s->questions[i]);
    s->batch_count = s->batch_taken = s->question_count = s->question_taken = 0;
    s->last_commit = 0;
    happen_not(w, &s->work);
}

/* --- what a start loads --- */

void sim_store_load(struct world *w, void (*step)(struct world *w, struct event *e))
{
    struct sim_store *s = &w->store;
    struct event meta = {.type = EVENT_LOAD_META};
    meta.meta.broker_start = s->broker_start;
    meta.meta.away_ms = s->away_ms;
    meta.meta.next_job_id = s->next_job;
    meta.meta.next_finish = s->next_finish;
    meta.meta.finished = s->finished;
    step(w, &meta);
    for (uint32_t i = 0; i < s->queue_count; i++) {
        struct event e = {.type = EVENT_LOAD_QUEUE};
        e.queue.id = i + 1;
        e.queue.name = s->queues[i];
        step(w, &e);
    }
    for (size_t i = 0; i < s->client_count; i++) {
        for (size_t k = 0; k < CLIENT_RING; k++) {
            struct event e = {.type = EVENT_LOAD_CLIENT};
            e.client.id = s->clients[i].id;
            e.client.entry = &s->clients[i].ring[k];
            e.client.at_ms = s->clients[i].at_ms;
            if (e.client.entry->sequence != 0)
                step(w, &e);
        }
    }
    for (uint64_t id = 1; id < s->next_job; id++) {
        const struct store_row *it = sim_store_row(w, id);
        struct event e = {.type = EVENT_LOAD_JOB};
        if (it == NULL || job_state_is_final(it->row.state))
            continue;
        e.row = &it->row;
        step(w, &e);
    }
}

void sim_store_init(struct world *w)
{
    struct sim_store *s = &w->store;
    s->next_job = 1;
    s->next_finish = 1;
    s->work.run = store_work;
    s->shadow = core_new(&w->plan.core);
}

void sim_store_fini(struct world *w)
{
    struct sim_store *s = &w->store;
    sim_store_end(w, false);
    for (uint64_t id = 0; id < s->row_capacity; id++)
        if (s->rows[id].exists)
            job_row_fini(&s->rows[id].row);
    free(s->rows);
    free(s->finishes);
    free(s->clients);
    free(s->batches);
    free(s->questions);
    core_free(&s->shadow);
}
