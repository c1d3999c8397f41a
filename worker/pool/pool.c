/* SPDX-License-Identifier: MPL-2.0 */
/* pool.c - one step: fence what is over, handle the event, grant what is free, leave when done.
 *
 * Leases are checked before every event, so nothing that arrives late is taken for early. Silence
 * and other liveness deadlines are judged on TICK alone, which the driver sends after it has handed
 * over every message that was there. */
#include "worker/pool/pool.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "worker/pool/impl.h"

struct pool *pool_new(const struct pool_config *config)
{
    struct pool *p = mem_zalloc(sizeof *p);
    p->ready = config->ready;
    p->handler_argc = config->handler_argc;
    p->handler_argv = mem_zalloc((config->handler_argc + 1) * sizeof *p->handler_argv);
    for (size_t i = 0; i < config->handler_argc; i++)
        p->handler_argv[i] = mem_strdup(config->handler_argv[i]);
    p->grace_ms = config->grace_ms;
    p->kill_grace_ms = config->kill_grace_ms;
    p->session.instance = config->instance;
    p->welcome.reconnect_ms = POOL_RECONNECT_MS;
    p->redial_at_ms = NEVER_MS; /* until START */
    p->unanswered_since_ms = NEVER_MS;
    p->leave_end_ms = NEVER_MS;
    p->slot_count = config->ready.slots;
    p->slots = mem_zalloc(p->slot_count * sizeof *p->slots);
    p->leases = mem_zalloc((p->slot_count + PROTO_OUTBOX_MAX) * sizeof *p->leases);
    list_init(&p->outbox);
    return p;
}

void pool_free(struct pool **pool)
{
    struct pool *p = *pool;
    *pool = NULL;
    if (p == NULL)
        return;
    outbox_fini(p);
    for (size_t i = 0; i < p->handler_argc; i++)
        free(p->handler_argv[i]);
    free(p->handler_argv);
    free(p->slots);
    free(p->leases);
    free(p);
}

/* ---- leaving ---- */

void pool_release_all(struct pool *p)
{
    for (size_t i = 0; i < p->slot_count; i++) {
        if (p->slots[i].state != SLOT_RUNNING)
            continue;
        struct pool_effect *effect = pool_effects_add(p->fx, POOL_EFFECT_STOP);
        effect->slot = i;
        effect->lease = p->slots[i].ref.lease;
        effect->cause = POOL_CAUSE_RELEASED;
        effect->grace_ms = POOL_RELEASE_GRACE_MS;
    }
}

void pool_enter_releasing(struct pool *p, const char *why)
{
    pool_effects_log(p->fx, POOL_LEVEL_INFO, "%s: leaving, %zu jobs are given back", why, p->busy);
    p->mode = MODE_RELEASING;
    pool_release_all(p);
}

static void pool_exit(struct pool *p)
{
    if (p->outbox_count > 0)
        pool_effects_log(p->fx, POOL_LEVEL_WARN,
                         "%zu verdicts were not acknowledged, these jobs will run again",
                         p->outbox_count);
    if (p->link == POOL_LINK_UP)
        link_message(p, VERB_BYE, view_of(NULL, 0));
    pool_effects_add(p->fx, POOL_EFFECT_EXIT)->exit_code = p->exit_code;
    p->mode = MODE_GONE;
}

static void pool_term(struct pool *p, bool is_interrupt)
{
    if (p->mode == MODE_RELEASING) {
        pool_exit(p);
    } else if (is_interrupt || p->mode == MODE_DRAINING) {
        pool_enter_releasing(p, "stop requested");
    } else {
        p->mode = MODE_DRAINING;
        p->grace_end_ms = add_sat_u64(p->now_ms, p->grace_ms);
        pool_effects_log(p->fx, POOL_LEVEL_INFO, "draining: %zu jobs running", p->busy);
    }
}

/* When a worker that wants to leave may: nothing runs, and every verdict is acknowledged or the
 * time for that is over. */
static void pool_leave(struct pool *p)
{
    if (p->mode == MODE_DRAINING && p->now_ms >= p->grace_end_ms && p->busy > 0)
        pool_enter_releasing(p, "grace is over");
    if ((p->mode != MODE_DRAINING && p->mode != MODE_RELEASING) || p->busy > 0)
        return;
    if (p->leave_end_ms == NEVER_MS)
        p->leave_end_ms = p->now_ms + POOL_LEAVE_MS;
    if (p->outbox_count == 0 || p->now_ms >= p->leave_end_ms)
        pool_exit(p);
}

/* ---- messages ---- */

static void on_stop(struct pool *p, const struct msg *msg)
{
    if (view_is(msg->subject, "exit")) {
        if (p->mode != MODE_RELEASING)
            pool_enter_releasing(p, "the broker stops the pool");
    } else if (view_is(msg->subject, "release")) {
        pool_effects_log(p->fx, POOL_LEVEL_INFO, "the broker takes %zu jobs back", p->busy);
        p->is_credit_stopped = true;
        pool_release_all(p);
    } else {
        p->stats.refused_other++;
    }
}

/* REGISTER and the answer to READY come before the session is known in full. */
static bool is_for_this_dial(const struct pool *p, const struct session *tag)
{
    return tag->instance == p->session.instance && tag->epoch == p->session.epoch;
}

static void on_message(struct pool *p, const struct msg *msg)
{
    struct session tag;
    if (p->link == POOL_LINK_DOWN || !session_parse(msg->tag, &tag) || !is_for_this_dial(p, &tag)) {
        p->stats.refused_session++;
        return;
    }
    if (msg->verb == VERB_READY) {
        link_on_ready(p, &tag, msg);
        return;
    }
    if (msg->verb == VERB_REGISTER) {
        link_gap(p, "the broker does not know this worker");
        return;
    }
    if (msg->verb == VERB_ERR) {
        link_on_refusal(p, msg);
        return;
    }
    if (p->link != POOL_LINK_UP || !session_eq(&tag, &p->session)) {
        p->stats.refused_session++;
        return;
    }
    switch (msg->verb) {
    case VERB_JOB:
        slot_on_job(p, msg);
        break;
    case VERB_ACK:
        outbox_on_ack(p, msg);
        break;
    case VERB_BEAT:
        link_on_beat(p, msg);
        break;
    case VERB_CANCEL:
        slot_on_cancel(p, msg);
        break;
    case VERB_AWAY:
        link_on_away(p, msg);
        break;
    case VERB_PROBE:
        link_beat(p);
        break;
    case VERB_STOP:
        on_stop(p, msg);
        break;
    default:
        p->stats.refused_other++;
        break;
    }
}

/* ---- the step ---- */

static void handle(struct pool *p, const struct pool_event *event)
{
    switch (event->type) {
    case POOL_EVENT_START:
        if (p->link == POOL_LINK_DOWN && p->stats.dials == 0)
            link_dial(p);
        break;
    case POOL_EVENT_TICK:
        link_tick(p);
        break;
    case POOL_EVENT_MESSAGE:
        on_message(p, event->msg);
        break;
    case POOL_EVENT_CUT:
        link_gap(p, "the connection to the broker was cut");
        break;
    case POOL_EVENT_OUTPUT:
        slot_on_output(p, &event->output);
        break;
    case POOL_EVENT_EXITED:
    case POOL_EVENT_LOST:
    case POOL_EVENT_NOT_SPAWNED:
        slot_on_exit(p, event->type, &event->exit);
        break;
    case POOL_EVENT_FATAL:
        p->exit_code = 70;
        if (p->mode != MODE_RELEASING)
            pool_enter_releasing(p, "this worker cannot run jobs any more");
        break;
    case POOL_EVENT_TERM:
    case POOL_EVENT_INT:
        pool_term(p, event->type == POOL_EVENT_INT);
        break;
    case POOL_EVENT_QUIET:
        if (p->mode == MODE_SERVING) {
            p->mode = MODE_QUIET;
            pool_effects_log(p->fx, POOL_LEVEL_INFO, "quiet: takes no more jobs");
        }
        break;
    }
}

void pool_step(struct pool *pool, const struct pool_event *event, struct pool_effects *fx)
{
    if (pool->mode == MODE_GONE)
        return;
    pool->fx = fx;
    pool->now_ms = max_u64(pool->now_ms, event->boot_ms);
    pool->random = event->random;
    slots_fence(pool);
    handle(pool, event);
    if (pool->mode != MODE_GONE) {
        link_grant(pool);
        pool_leave(pool);
    }
    pool->fx = NULL;
}

uint64_t pool_deadline(const struct pool *p)
{
    if (p->mode == MODE_GONE)
        return NEVER_MS;
    uint64_t at = min_u64(link_deadline(p), slots_deadline(p));
    if (p->mode == MODE_DRAINING && p->busy > 0)
        at = min_u64(at, p->grace_end_ms);
    return min_u64(at, p->leave_end_ms);
}

/* ---- for tests and the status line ---- */

const struct pool_stats *pool_stats(const struct pool *p)
{
    return &p->stats;
}

enum pool_link pool_link(const struct pool *p)
{
    return p->link;
}

struct session pool_session(const struct pool *p)
{
    return p->session;
}

size_t pool_slots(const struct pool *p)
{
    return p->slot_count;
}

size_t pool_busy(const struct pool *p)
{
    return p->busy;
}

size_t pool_outbox(const struct pool *p)
{
    return p->outbox_count;
}

bool pool_slot_holds(const struct pool *p, size_t slot, struct ref *ret_ref,
                     uint64_t *ret_lease_end_ms)
{
    if (slot >= p->slot_count || p->slots[slot].state != SLOT_RUNNING)
        return false;
    *ret_ref = p->slots[slot].ref;
    *ret_lease_end_ms = p->slots[slot].lease_end_ms;
    return true;
}

bool pool_outbox_holds(const struct pool *p, const struct ref *ref)
{
    return outbox_find(p, ref) != NULL;
}
