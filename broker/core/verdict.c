/* SPDX-License-Identifier: MPL-2.0 */
/* verdict.c - how attempts and jobs end.
 *
 * A verdict is judged by (job, attempt, lease) alone: the fence. It is acknowledged on the worker's
 * present session whatever it was, after the commit, so that the worker can drop it. After a cancel
 * intent `ok` still ends the job succeeded; everything else, a lost worker too, ends it cancelled.
 */
#include <inttypes.h>

#include "broker/core/impl.h"

void live_free(struct core *c, struct job *j)
{
    if (j->live == NULL)
        return;
    for (int i = 0; i < 2; i++) {
        c->live_bytes -= j->live->data[i].size;
        buf_fini(&j->live->data[i]);
    }
    free(j->live);
    j->live = NULL;
}

void job_finish(struct core *c, struct job *j, enum job_state state, enum outcome outcome,
                struct blob *reason, const struct event *e, struct effects *fx)
{
    const struct job_options *o = &j->template->options;
    bool good = state == JOB_SUCCEEDED || state == JOB_CANCELLED;
    uint64_t keep_ms = o->keep_ms != NEVER_MS ? o->keep_ms
                       : good                 ? c->config.keep_ms
                                              : c->config.keep_failed_ms;
    struct finish *f = finish_new();
    f->job = j->id;
    f->number = c->next_finish;
    f->state = state;
    f->outcome = outcome;
    f->attempt = j->attempt;
    f->crashes = j->crashes + (outcome == OUTCOME_CRASHED ? 1 : 0);
    f->lease = j->lease;
    f->seq = j->seq;
    f->started_ms = j->started_ms;
    f->finished_ms = c->wall_ms;
    f->forget_ms = add_sat_u64(c->wall_ms, keep_ms);
    f->reason = reason;
    f->worker = j->worker != NULL ? blob_ref(j->worker->name) : NULL;
    if (e != NULL) {
        f->exit_code = e->verdict.header->exit_code;
        f->signal = e->verdict.header->signal;
        f->is_truncated = e->verdict.header->is_truncated;
        f->stdout_bytes = e->verdict.header->stdout_bytes;
        f->stderr_bytes = e->verdict.header->stderr_bytes;
        f->run_ms = e->verdict.header->run_ms;
        f->stdout_data = blob_ref(e->verdict.stdout_data);
        f->stderr_data = blob_ref(e->verdict.stderr_data);
    } else if (j->lease != 0) {
        f->run_ms = sub_sat_u64(c->wall_ms, j->started_ms);
    }
    job_followers_touch(c, j);
    struct record *r = effects_record(fx, RECORD_FINISH, j->id);
    r->finish = f;
    waiters_finished(c, j, f);
    core_apply(c, r);
    c->finished[c->now_ms / 1000 % RATE_SECONDS]++;
}

/* Puts the job back with the ended attempt in its history. */
static void job_requeue(struct core *c, struct job *j, enum outcome outcome, struct blob *reason,
                        uint64_t delay_ms, struct effects *fx)
{
    struct record *r = effects_record(fx, RECORD_REQUEUE, j->id);
    r->requeue.not_before_ms = delay_ms > 0 ? add_sat_u64(c->wall_ms, delay_ms) : 0;
    r->requeue.retries_used = j->retries_used + (outcome == OUTCOME_FAIL ? 1 : 0);
    r->requeue.retry_waits = j->retry_waits + (outcome == OUTCOME_RETRY ? 1 : 0);
    r->requeue.crashes = j->crashes + (outcome == OUTCOME_CRASHED ? 1 : 0);
    r->requeue.has_ended = true;
    r->requeue.ended.number = j->attempt;
    r->requeue.ended.outcome = outcome;
    r->requeue.ended.started_ms = j->started_ms;
    r->requeue.ended.ended_ms = c->wall_ms;
    r->requeue.ended.worker = blob_ref(j->worker->name);
    r->requeue.ended.reason = reason;
    core_apply(c, r);
    job_followers_touch(c, j);
    dispatch_job(c, j, fx);
}

static struct blob *cancel_reason(const struct job *j, const char *how)
{
    return blob_text("%.*s%s%s", VIEW_ARG(blob_view(j->cancel_reason)), how[0] != '\0' ? "; " : "",
                     how);
}

void job_lost(struct core *c, struct job *j, enum outcome outcome, const char *why,
              struct effects *fx)
{
    struct view worker = blob_view(j->worker->name);
    c->stats.leases_lost++;
    if (j->is_cancelled) {
        job_finish(c, j, JOB_CANCELLED, outcome, cancel_reason(j, why), NULL, fx);
    } else if (outcome == OUTCOME_CRASHED && j->crashes + 1 >= j->template->options.crash_limit) {
        uint32_t n = j->crashes + 1;
        struct blob *reason =
            blob_text("crashed %u time%s: worker %.*s: %s", n, n == 1 ? "" : "s",
                      (int)min_u64(worker.size, 80), (const char *)worker.data, why);
        job_finish(c, j, JOB_FAILED, outcome, reason, NULL, fx);
    } else {
        job_requeue(c, j, outcome, blob_text("%s", why), 0, fx);
    }
}

/* A worker that got rid of a job that crashed before may take another such job, and there may be no
 * further CREDIT to remind of it: CREDIT is sent when the slot is free, and nothing orders it and
 * the verdict. */
static void suspect_left(struct core *c, struct worker *w, bool was_suspect, struct effects *fx)
{
    if (was_suspect && w->sent < w->granted)
        dispatch_worker(c, w, fx);
}

void job_due(struct core *c, struct job *j, struct effects *fx)
{
    if (j->state == JOB_RUNNING) {
        struct worker *w = j->worker;
        bool was_suspect = j->crashes > 0;
        job_lost(c, j, j->is_reported ? OUTCOME_CRASHED : OUTCOME_UNKNOWN,
                 j->is_reported ? "its lease ran out" : "its worker never reported it", fx);
        suspect_left(c, w, was_suspect, fx);
        return;
    }
    if (j->state != JOB_SCHEDULED)
        return;
    struct record *r = effects_record(fx, RECORD_REQUEUE, j->id);
    r->requeue.retries_used = j->retries_used;
    r->requeue.retry_waits = j->retry_waits;
    r->requeue.crashes = j->crashes;
    core_apply(c, r);
    job_followers_touch(c, j);
    dispatch_job(c, j, fx);
}

/* min(2^n s * jitter(0.5..1.5), 300 s), n = retries used so far; or what the job asks for. */
static uint64_t retry_delay(struct core *c, const struct job *j, uint32_t n)
{
    if (j->template->options.retry_delay_ms != NEVER_MS)
        return j->template->options.retry_delay_ms;
    uint64_t base_ms = UINT64_C(1000) << min_u64(n, 9);
    return min_u64(base_ms / 2 + rng_below(&c->rng, base_ms), RETRY_DELAY_MAX_MS);
}

static struct blob *verdict_reason(const struct verdict_header *h)
{
    if (h->reason[0] != '\0')
        return blob_text("%s", h->reason);
    if (h->signal > 0)
        return blob_text("signal %d", h->signal);
    if (h->exit_code >= 0)
        return blob_text("exit %d", h->exit_code);
    return blob_text("failed");
}

static void verdict_accept(struct core *c, struct job *j, const struct event *e, struct effects *fx)
{
    enum outcome outcome = e->verdict.outcome;
    const struct job_options *o = &j->template->options;
    struct blob *reason = verdict_reason(e->verdict.header);
    if (outcome == OUTCOME_OK) {
        j->worker->succeeded++;
        blob_unref(&reason);
        job_finish(c, j, JOB_SUCCEEDED, outcome, NULL, e, fx);
        return;
    }
    j->worker->failed += outcome != OUTCOME_RELEASED ? 1 : 0;
    if (j->is_cancelled) {
        char how[PROTO_REASON_BYTES_MAX + 1];
        view_copy(blob_view(reason), how, sizeof how);
        blob_unref(&reason);
        job_finish(c, j, JOB_CANCELLED, outcome, cancel_reason(j, how), e, fx);
    } else if (outcome == OUTCOME_RELEASED) {
        job_requeue(c, j, outcome, reason, 0, fx);
    } else if (outcome == OUTCOME_RETRY && j->retry_waits < RETRY_WAITS_MAX) {
        job_requeue(c, j, outcome, reason, retry_delay(c, j, j->retry_waits), fx);
    } else if (outcome == OUTCOME_FAIL && j->retries_used < o->retries) {
        job_requeue(c, j, outcome, reason, retry_delay(c, j, j->retries_used), fx);
    } else {
        job_finish(c, j, JOB_FAILED, outcome, reason, e, fx);
    }
}

/* Why a verdict is not accepted: was it already, or is it of another attempt? */
static const char *verdict_refusal(struct core *c, const struct ref *ref)
{
    if (job_find(c, ref->job) != NULL) {
        c->stats.stale_verdicts++;
        return "stale";
    }
    const struct finish *f = ring_find(c, ref->job);
    if (f == NULL)
        return "unknown";
    bool same = f->attempt == ref->attempt && f->lease == ref->lease;
    c->stats.duplicate_verdicts += same ? 1 : 0;
    c->stats.stale_verdicts += same ? 0 : 1;
    return same ? "duplicate" : "stale";
}

void core_verdict(struct core *c, const struct event *e, struct effects *fx)
{
    const struct ref *ref = &e->verdict.ref;
    struct job *j = job_find(c, ref->job);
    const char *answer = "accepted";
    if (j != NULL && j->state == JOB_RUNNING && j->attempt == ref->attempt &&
        j->lease == ref->lease) {
        struct worker *holder = j->worker;
        bool was_suspect = j->crashes > 0;
        verdict_accept(c, j, e, fx);
        suspect_left(c, holder, was_suspect, fx);
    } else {
        answer = verdict_refusal(c, ref);
    }
    struct worker *w = worker_find(c, e->session.instance);
    if (w == NULL || !worker_is_reachable(w))
        return; /* it will send it again after its registration */
    struct caller to;
    worker_caller(w, &to);
    struct effect *f = effects_add(fx, EFFECT_ACK, &to);
    f->ack.ref = *ref;
    f->ack.outcome = answer;
}

/* --- live output --- */

void core_output(struct core *c, const struct event *e)
{
    const struct ref *ref = &e->output.ref;
    struct job *j = job_find(c, ref->job);
    if (j == NULL || j->state != JOB_RUNNING || j->attempt != ref->attempt ||
        j->lease != ref->lease)
        return;
    if (j->live == NULL) {
        j->live = mem_zalloc(sizeof *j->live);
        buf_init(&j->live->data[0], LIVE_BYTES_MAX);
        buf_init(&j->live->data[1], LIVE_BYTES_MAX);
    }
    struct buf *b = &j->live->data[e->output.is_stderr];
    uint64_t *begin = &j->live->begin[e->output.is_stderr];
    struct view data = e->output.data;
    uint64_t end = *begin + b->size;
    if (e->output.offset > end) { /* a chunk was lost: what came before is of no use */
        c->live_bytes -= b->size;
        buf_reset(b);
        *begin = e->output.offset;
    } else {
        data = view_skip(data, end - e->output.offset);
    }
    uint64_t total = c->live_bytes - b->size;
    uint64_t room = min_u64(LIVE_BYTES_MAX, sub_sat_u64(LIVE_TOTAL_BYTES_MAX, total));
    if (data.size > room) {
        *begin += b->size + (data.size - room);
        c->live_bytes -= b->size;
        buf_reset(b);
        data = view_skip(data, data.size - room);
    } else if (b->size + data.size > room) {
        size_t drop = b->size + data.size - room;
        buf_drop_front(b, drop);
        c->live_bytes -= drop;
        *begin += drop;
    }
    buf_add_view(b, data);
    c->live_bytes += data.size;
    job_followers_touch(c, j);
}
