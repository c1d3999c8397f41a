/* SPDX-License-Identifier: MPL-2.0 */
/* check.c - the promises, watched from outside of broker, workers and clients.
 *
 *   I1  a job whose OK has left for a client is committed, and ends
 *   I2  one accepted verdict per attempt, one finish per job, made of its own attempt's output
 *   I3  what was told of a finished job is never told differently
 *   I4  no slot runs two jobs, no ref starts twice or after its lease, and no job runs at two
 *       workers unless the broker saw the first one's connection cut
 *   I5  when the faults are over everything ends (world.c)
 *   I6  what a start loads is what was committed (sim_broker.c)
 *
 * Commit before send is checked where an effect becomes a message: what it shows must be on the
 * simulated disk at that moment. The first failure sticks and ends the world. */
#include <stdarg.h>
#include <stdlib.h>

#include "tests/sim/sim.h"

typedef unsigned long long ull;

void check_fail(struct world *w, const char *fmt, ...)
{
    struct checks *c = &w->checks;
    va_list args;
    if (c->has_failed)
        return;
    c->has_failed = true;
    va_start(args, fmt);
    vsnprintf(c->text, sizeof c->text, fmt, args);
    va_end(args);
    trace(w, "FAILED", "%s", c->text);
}

struct job_seen *check_job(struct world *w, uint64_t id)
{
    struct checks *c = &w->checks;
    if (id >= c->job_capacity) {
        size_t capacity = max_u64(256, max_u64(id + 1, c->job_capacity * 2));
        c->jobs = mem_realloc_array(c->jobs, capacity, sizeof c->jobs[0]);
        for (size_t i = c->job_capacity; i < capacity; i++)
            c->jobs[i] = (struct job_seen){.attempts = -1};
        c->job_capacity = capacity;
    }
    return &c->jobs[id];
}

/* --- messages of the broker --- */

static bool has_ended(const struct job_row *row, const struct ref *ref)
{
    if (row->finish != NULL && row->finish->attempt == ref->attempt &&
        row->finish->lease == ref->lease)
        return true;
    for (size_t i = 0; i < row->history_count; i++)
        if (row->history[i].number == ref->attempt)
            return true;
    return false;
}

static void sent_ack(struct world *w, const struct effect *f)
{
    const struct ref *ref = &f->ack.ref;
    const struct store_row *it = sim_store_row(w, ref->job);
    struct job_seen *seen = check_job(w, ref->job);
    if (it == NULL) {
        check_fail(w, "an ACK for job %llu, which is not committed", (ull)ref->job);
    } else if (strcmp(f->ack.outcome, "accepted") == 0) {
        if (!has_ended(&it->row, ref))
            check_fail(w, "ACK accepted %llu.%u.%llu before its end is committed", (ull)ref->job,
                       ref->attempt, (ull)ref->lease);
        if (seen->accepted_attempt >= ref->attempt)
            check_fail(w, "I2: a second verdict accepted: %llu.%u.%llu after attempt %u",
                       (ull)ref->job, ref->attempt, (ull)ref->lease, seen->accepted_attempt);
        seen->accepted_attempt = ref->attempt;
        seen->accepted_lease = ref->lease;
    } else if (strcmp(f->ack.outcome, "duplicate") == 0) {
        if (it->row.finish == NULL || !has_ended(&it->row, ref))
            check_fail(w, "ACK duplicate %llu.%u.%llu without its first", (ull)ref->job,
                       ref->attempt, (ull)ref->lease);
    } else if (strcmp(f->ack.outcome, "unknown") == 0) {
        count(w, COUNT_UNKNOWN);
        if (it->row.finish == NULL)
            check_fail(w, "ACK unknown for job %llu, which is not finished", (ull)ref->job);
    }
}

void check_sent(struct world *w, const struct effect *f)
{
    struct session session;
    const struct store_row *it = NULL;
    switch (f->type) {
    case EFFECT_SUBMITTED:
        for (uint32_t i = 0; i < f->submitted.count; i++) {
            check_job(w, f->submitted.first + i)->is_promised = true;
            if (sim_store_row(w, f->submitted.first + i) == NULL)
                check_fail(w, "I1: OK for job %llu leaves before its commit",
                           (ull)f->submitted.first + i);
        }
        break;
    case EFFECT_JOB:
        it = sim_store_row(w, f->job.ref.job);
        if (it == NULL || it->row.attempt < f->job.ref.attempt)
            check_fail(w, "JOB %llu.%u leaves before the commit of its lease", (ull)f->job.ref.job,
                       f->job.ref.attempt);
        break;
    case EFFECT_ACK:
        sent_ack(w, f);
        break;
    case EFFECT_FINISHED:
        for (size_t i = 0; i < f->finished.count; i++) {
            const struct finish *it2 = f->finished.finishes[i];
            if (it2->number >= w->store.next_finish || w->store.finishes[it2->number] != it2->job)
                check_fail(w, "I3: finish %llu of job %llu is told before its commit",
                           (ull)it2->number, (ull)it2->job);
        }
        break;
    case EFFECT_FOLLOWED:
        it = sim_store_row(w, f->followed.id);
        if (job_state_is_final(f->followed.state) && (it == NULL || it->row.finish == NULL))
            check_fail(w, "I3: the end of job %llu is told before its commit", (ull)f->followed.id);
        break;
    case EFFECT_READY:
        if (!session_parse(view_of(f->caller.tag, f->caller.tag_size), &session) ||
            session.broker_start != w->store.broker_start)
            check_fail(w, "a session of broker start %u, committed is %u", session.broker_start,
                       w->store.broker_start);
        break;
    default:
        break;
    }
}

/* --- records, as they are committed and before they are applied --- */

static void record_ended(struct world *w, const struct record *r)
{
    const struct attempt *ended = &r->requeue.ended;
    bool is_cut = view_is(blob_view(ended->reason), "its connection was cut");
    if (ended->outcome == OUTCOME_CRASHED)
        count(w, COUNT_CRASHED);
    if (ended->outcome == OUTCOME_UNKNOWN)
        count(w, COUNT_TAKEN_BACK);
    if (!is_cut)
        return;
    check_job(w, r->job)->excused |= UINT64_C(1) << (ended->number % 64);
}

/* What a job may use up: retries by failures, crashes by lost workers, nothing by anything else. */
static void check_budgets(struct world *w, const struct finish *f, const struct job_row *row)
{
    const struct job_options *o = &row->template->options;
    uint32_t ended[OUTCOME_COUNT] = {0};
    for (size_t i = 0; i < row->history_count; i++)
        ended[row->history[i].outcome]++;
    bool is_spent = ended[OUTCOME_FAIL] == o->retries;
    bool is_poison = ended[OUTCOME_CRASHED] + 1 == o->crash_limit;
    if (ended[OUTCOME_FAIL] > o->retries || ended[OUTCOME_CRASHED] >= o->crash_limit)
        check_fail(w, "job %llu ran again beyond its retries or its crash limit", (ull)f->job);
    if (f->state == JOB_FAILED && ((f->outcome == OUTCOME_FAIL && !is_spent) ||
                                   (f->outcome == OUTCOME_CRASHED && !is_poison)))
        check_fail(w, "job %llu failed with tries left", (ull)f->job);
    if (row->is_cancelled && f->state != JOB_CANCELLED && f->state != JOB_SUCCEEDED)
        check_fail(w, "job %llu was cancelled and ends %s", (ull)f->job, job_state_name(f->state));
    if (f->state == JOB_CANCELLED && row->state == JOB_RUNNING && !row->is_cancelled)
        check_fail(w, "job %llu ends cancelled, nobody asked for it", (ull)f->job);
}

static void record_finish(struct world *w, const struct record *r, const struct job_row *row)
{
    const struct finish *f = r->finish;
    struct view out = blob_view(f->stdout_data);
    char text[REF_BYTES_MAX + 2];
    const struct ref ref = {f->job, f->attempt, f->lease};
    if (++check_job(w, r->job)->finishes > 1 || row->finish != NULL)
        check_fail(w, "I2: job %llu finishes twice", (ull)r->job);
    if (f->number != w->store.next_finish)
        check_fail(w, "finish %llu follows %llu", (ull)f->number, (ull)w->store.next_finish - 1);
    if (f->attempt != row->attempt || f->lease != row->lease)
        check_fail(w, "I2: job %llu finishes by %u.%llu, committed is %u.%llu", (ull)r->job,
                   f->attempt, (ull)f->lease, row->attempt, (ull)row->lease);
    check_budgets(w, f, row);
    size_t n = process_text(&ref, text);
    if (f->outcome == OUTCOME_OK && (out.size < n || memcmp(out.data, text, n) != 0))
        check_fail(w, "I2: job %llu ended as %.*s with the output of %.*s", (ull)r->job, (int)n - 1,
                   text, (int)min_u64(out.size, 60), (const char *)out.data);
}

void check_record(struct world *w, const struct record *r)
{
    const struct store_row *it = r->job != 0 ? sim_store_row(w, r->job) : NULL;
    if (it != NULL && it->row.finish != NULL)
        check_fail(w, "I3: record %d of job %llu after its end", (int)r->type, (ull)r->job);
    else if (r->type == RECORD_REQUEUE && it->row.is_cancelled)
        check_fail(w, "job %llu was cancelled and waits again", (ull)r->job);
    else if (r->type == RECORD_REQUEUE && r->requeue.has_ended)
        record_ended(w, r);
    else if (r->type == RECORD_LEASE &&
             (it->row.state != JOB_READY || r->lease.attempt != it->row.attempt + 1))
        check_fail(w, "a lease of job %llu, which is not ready", (ull)r->job);
    else if (r->type == RECORD_FINISH)
        record_finish(w, r, &it->row);
}

/* --- attempts at workers --- */

void check_started(struct world *w, int worker, const struct ref *ref, uint64_t fence_ms,
                   uint64_t now_ms)
{
    struct checks *c = &w->checks;
    struct job_seen *job = check_job(w, ref->job);
    if (fence_ms <= now_ms)
        check_fail(w, "I4: %llu.%u started after the end of its lease", (ull)ref->job,
                   ref->attempt);
    for (int32_t i = job->attempts; i >= 0; i = c->attempts[i].next) {
        const struct attempt_seen *other = &c->attempts[i];
        if (ref_eq(&other->ref, ref))
            check_fail(w, "I4: %llu.%u.%llu started twice", (ull)ref->job, ref->attempt,
                       (ull)ref->lease);
        bool is_excused =
            (job->excused >> (min_u64(other->ref.attempt, ref->attempt) % 64) & 1) != 0;
        if (other->is_alive && !is_excused)
            check_fail(w,
                       "I4: job %llu starts at worker%d (%u.%llu) and still runs at worker%d "
                       "(%u.%llu)",
                       (ull)ref->job, worker + 1, ref->attempt, (ull)ref->lease, other->worker + 1,
                       other->ref.attempt, (ull)other->ref.lease);
        if (other->is_alive && is_excused)
            count(w, COUNT_OVERLAP);
    }
    if (c->attempt_count == c->attempt_capacity) {
        c->attempt_capacity = max_u64(256, c->attempt_capacity * 2);
        c->attempts = mem_realloc_array(c->attempts, c->attempt_capacity, sizeof c->attempts[0]);
    }
    c->attempts[c->attempt_count] = (struct attempt_seen){
        .ref = *ref, .worker = worker, .is_alive = true, .next = job->attempts};
    job->attempts = (int32_t)c->attempt_count++;
}

void check_ended(struct world *w, const struct ref *ref)
{
    struct checks *c = &w->checks;
    for (int32_t i = check_job(w, ref->job)->attempts; i >= 0; i = c->attempts[i].next)
        if (ref_eq(&c->attempts[i].ref, ref))
            c->attempts[i].is_alive = false;
}

bool check_attempt_lease(const struct world *w, uint64_t job, uint32_t attempt, uint64_t *ret)
{
    const struct checks *c = &w->checks;
    for (int32_t i = job < c->job_capacity ? c->jobs[job].attempts : -1; i >= 0;
         i = c->attempts[i].next) {
        if (c->attempts[i].ref.attempt == attempt) {
            *ret = c->attempts[i].ref.lease;
            return true;
        }
    }
    return false;
}

void check_worker(struct world *w, const struct worker *k)
{
    const struct pool_stats *stats = pool_stats(k->pool);
    if (stats->refused_twice > 0)
        check_fail(w, "I4: %s was given a ref twice", k->peer.name);
    if (stats->refused_other > 0)
        check_fail(w, "%s was sent a message that breaks the protocol", k->peer.name);
}

/* --- clients --- */

void check_told(struct world *w, uint64_t id, uint64_t digest)
{
    struct job_seen *job = check_job(w, id);
    const struct store_row *it = sim_store_row(w, id);
    if (it == NULL || it->row.finish == NULL)
        check_fail(w, "I3: the end of job %llu was told, it is not committed", (ull)id);
    if (job->digest != 0 && job->digest != digest)
        check_fail(w, "I3: the result of job %llu was told differently before", (ull)id);
    job->digest = digest;
    job->was_final = true;
}

/* --- the end of a world --- */

void check_end(struct world *w)
{
    uint32_t bodies[BATCHES_MAX] = {0};
    for (uint64_t id = 1; id < max_u64(w->store.next_job, w->checks.job_capacity); id++) {
        const struct store_row *it = sim_store_row(w, id);
        unsigned batch = 0;
        unsigned body = 0;
        if (it == NULL) {
            if (id < w->checks.job_capacity && w->checks.jobs[id].is_promised)
                check_fail(w, "I1: job %llu is lost", (ull)id);
            continue;
        }
        if (it->row.finish == NULL)
            check_fail(w, "I5: job %llu has not ended", (ull)id);
        char text[32] = "";
        struct view payload = blob_view(it->row.payload);
        memcpy(text, payload.data, min_u64(payload.size, sizeof text - 1));
        if (sscanf(text, "b%u.%u", &batch, &body) != 2 || batch >= w->batch_count)
            check_fail(w, "job %llu has a payload that nobody submitted", (ull)id);
        else if ((bodies[batch] & 1U << body) != 0)
            check_fail(w, "body %u of batch %u became two jobs", body, batch);
        else
            bodies[batch] |= 1U << body;
    }
    for (size_t i = 0; i < w->batch_count; i++)
        if (bodies[i] != 0 && bodies[i] != (1U << w->batches[i].count) - 1)
            check_fail(w, "batch %zu was stored in part", i);
}

void check_fini(struct world *w)
{
    free(w->checks.jobs);
    free(w->checks.attempts);
}
