/* SPDX-License-Identifier: MPL-2.0 */
/* stop.c - the two ways to stop: SIGTERM stops this broker only, SHUTDOWN stops the pool.
 *
 *     serving -> draining -> finishing -> releasing -> stopping_workers -> done
 *
 * `drain` enters at draining, `finish` at finishing, `now` at releasing; a phase is left when what
 * it waits for has come or its time is over. A harder request enters further right. */
#include "broker/core/impl.h"

static const char *const phase_names[] = {"serving",   "draining",         "finishing",
                                          "releasing", "stopping_workers", "done"};

const char *stop_phase_name(enum stop_phase p)
{
    return phase_names[p];
}

static uint64_t workers_reachable(const struct core *c)
{
    uint64_t n = 0;
    for (const struct worker *w = c->workers; w != NULL; w = w->hh.next)
        n += worker_is_reachable(w) ? 1 : 0;
    return n;
}

void progress_send(struct core *c, const struct caller *to, struct effects *fx)
{
    struct effect *f = effects_add(fx, EFFECT_PROGRESS, to);
    f->progress.phase = c->phase;
    c->is_told |= c->phase == PHASE_DONE;
    f->progress.running = c->count[JOB_RUNNING];
    f->progress.ready = c->count[JOB_READY];
    f->progress.scheduled = c->count[JOB_SCHEDULED];
    f->progress.workers = workers_reachable(c);
    f->progress.left_ms =
        c->stop_deadline_ms == NEVER_MS || c->phase == PHASE_SERVING || c->phase == PHASE_DONE
            ? NEVER_MS
            : sub_sat_u64(c->stop_deadline_ms, c->now_ms);
}

static void workers_stop(struct core *c, bool is_exit, struct effects *fx)
{
    for (struct worker *w = c->workers; w != NULL; w = w->hh.next) {
        if (!worker_is_reachable(w))
            continue;
        struct caller to;
        worker_caller(w, &to);
        effects_add(fx, EFFECT_STOP, &to)->stop_is_exit = is_exit;
    }
}

static void workers_away(struct core *c, struct effects *fx)
{
    core_away_set(c, core_away_needed(c, c->config.away_ms), fx);
    for (struct worker *w = c->workers; w != NULL; w = w->hh.next) {
        if (!worker_is_reachable(w))
            continue;
        struct caller to;
        worker_caller(w, &to);
        effects_add(fx, EFFECT_AWAY, &to)->away_ms = c->config.away_ms;
    }
}

static void phase_enter(struct core *c, enum stop_phase phase, uint64_t bound_ms,
                        struct effects *fx)
{
    c->phase = phase;
    c->stop_deadline_ms = add_sat_u64(c->now_ms, bound_ms);
    core_timer_set(c, &c->stop_timer, c->stop_deadline_ms);
    core_note(fx, 2, "stopping: %s, %llu running, %llu ready", stop_phase_name(phase),
              (unsigned long long)c->count[JOB_RUNNING], (unsigned long long)c->count[JOB_READY]);
    if (phase == PHASE_RELEASING || (phase == PHASE_STOPPING_WORKERS && !c->keep_workers))
        workers_stop(c, !c->keep_workers, fx);
    if (phase != PHASE_DONE)
        return;
    if (c->keep_workers || c->count[JOB_RUNNING] > 0)
        workers_away(c, fx);
    list_each_safe (node, &c->waiters[WAITER_PROGRESS]) {
        struct waiter *w = container_of(node, struct waiter, link);
        progress_send(c, &w->caller, fx);
        waiter_free(c, w);
    }
    waiters_stop(c, fx);
}

static bool phase_step(struct core *c, struct effects *fx)
{
    bool is_over = c->now_ms >= c->stop_deadline_ms;
    bool is_idle = c->count[JOB_RUNNING] == 0;
    switch (c->phase) {
    case PHASE_DRAINING:
        if (!is_idle || c->count[JOB_READY] > 0)
            return false;
        phase_enter(c, PHASE_FINISHING, 0, fx);
        return true;
    case PHASE_FINISHING:
        if (is_idle)
            phase_enter(c, PHASE_STOPPING_WORKERS, BYE_WAIT_MS, fx);
        else if (is_over)
            phase_enter(c, PHASE_RELEASING, RELEASE_WAIT_MS, fx);
        else
            return false;
        return true;
    case PHASE_RELEASING:
        if (!is_idle && !is_over)
            return false;
        phase_enter(c, PHASE_STOPPING_WORKERS, BYE_WAIT_MS, fx);
        return true;
    case PHASE_STOPPING_WORKERS:
        if (!c->keep_workers && workers_reachable(c) > 0 && !is_over)
            return false;
        phase_enter(c, PHASE_DONE, DONE_WAIT_MS, fx);
        return true;
    case PHASE_DONE:
        /* The one who asked may be about to ask again: it is told before the process ends. */
        if ((c->is_told || is_over) && !c->has_exited) {
            c->has_exited = true;
            effects_add(fx, EFFECT_EXIT, NULL);
        }
        break;
    case PHASE_SERVING:
        break;
    }
    return false;
}

void stop_check(struct core *c, struct effects *fx)
{
    while (phase_step(c, fx)) {
    }
    list_each (node, &c->waiters[WAITER_PROGRESS]) {
        waiter_touch(c, container_of(node, struct waiter, link));
    }
}

void core_shutdown(struct core *c, const struct event *e, struct effects *fx)
{
    if (e->shutdown.mode < c->stop_mode || c->is_leaving) {
        core_refuse(fx, &e->caller, STATUS_CONFLICT, "a harder shutdown is under way");
        return;
    }
    bool is_new = e->shutdown.mode > c->stop_mode;
    c->stop_mode = e->shutdown.mode;
    c->keep_workers = is_new ? e->shutdown.keep_workers : c->keep_workers;
    if (is_new && c->stop_mode == STOP_DRAIN)
        phase_enter(c, PHASE_DRAINING, NEVER_MS, fx);
    else if (is_new && c->stop_mode == STOP_FINISH)
        phase_enter(c, PHASE_FINISHING, e->shutdown.grace_ms, fx);
    else if (is_new && c->phase < PHASE_RELEASING)
        phase_enter(c, PHASE_RELEASING, RELEASE_WAIT_MS, fx);
    progress_send(c, &e->caller, fx);
}

void core_progress(struct core *c, const struct event *e, struct effects *fx)
{
    bool changed = e->progress.phase != c->phase || e->progress.running != c->count[JOB_RUNNING] ||
                   e->progress.ready != c->count[JOB_READY] ||
                   e->progress.workers != workers_reachable(c);
    if (!e->progress.has_seen || changed || c->phase == PHASE_DONE) {
        progress_send(c, &e->caller, fx);
        return;
    }
    struct waiter *w = waiter_new(c, WAITER_PROGRESS, e, fx);
    if (w != NULL)
        core_timer_set(c, &w->timer, c->now_ms + 1000);
}

void core_term(struct core *c, struct effects *fx)
{
    if (c->is_leaving || c->phase == PHASE_DONE)
        return;
    c->is_leaving = true;
    waiters_stop(c, fx);
    workers_away(c, fx);
    effects_add(fx, EFFECT_EXIT, NULL);
}
