/* SPDX-License-Identifier: MPL-2.0 */
/* sim_broker.c - the broker's process: real ingress, core and egress, and the driver's way of work.
 *
 * One turn does what a turn of broker/driver.c does, in its order: ingest `workers` first, the
 * monitor, `control`, `results` (not under pressure), `clients`, signals, completions, peers found
 * unreachable, space, the tick (only after `workers` was drained), the end of the turn, hand-over
 * of records, release of what waited for commits that are confirmed. A kill may come between any
 * two effects; then nothing of this life is left but what the store had committed. */
#include <stdlib.h>

#include "broker/egress/egress.h"
#include "tests/sim/sim.h"

#define SPACE_MS 1000

static const struct egress_config egress_config = {
    .version = "0", .store_url = "sim:", .control = "ipc:///sim/control"};

uint64_t broker_mono_ms(const struct world *w)
{
    return world_ms(w) + w->broker.mono_offset_ms;
}

void broker_wake(struct world *w, uint64_t delay_us)
{
    if (w->broker.is_up && !w->broker.is_paused)
        happen_by(w, &w->broker.turn, w->now_us + delay_us);
}

void broker_done(struct world *w, const struct completion *c)
{
    struct broker *b = &w->broker;
    if (b->done_count == b->done_capacity) {
        b->done_capacity = max_u64(16, b->done_capacity * 2);
        b->done = mem_realloc_array(b->done, b->done_capacity, sizeof b->done[0]);
    }
    b->done[b->done_count++] = *c;
    broker_wake(w, roll(w, 100));
}

static void done_drop(struct broker *b)
{
    for (size_t i = 0; i < b->done_count; i++)
        if (b->done[i].is_answer)
            query_answer_fini(&b->done[i].answer);
    b->done_count = 0;
}

/* True where the planned kill comes now. */
static bool boundary(struct world *w)
{
    struct broker *b = &w->broker;
    if (b->crash_in > 0 && --b->crash_in == 0)
        b->is_dying = true;
    return b->is_dying;
}

/* --- out --- */

static void broker_send(struct world *w, const struct effect *f)
{
    static const enum net_plane planes[] = {[SOCKET_CLIENTS] = NET_CLIENTS,
                                            [SOCKET_CONTROL] = NET_CONTROL,
                                            [SOCKET_WORKERS] = NET_WORKERS};
    struct broker *b = &w->broker;
    const struct route *r = &f->caller.route;
    struct outmsg m;
    egress_encode(&egress_config, f, &m);
    struct packet *p = packet_new(&m, r);
    outmsg_fini(&m);
    check_sent(w, f);
    if (f->type == EFFECT_REGISTER)
        count(w, COUNT_REGISTER);
    if (net_send(w, planes[r->socket], r, p) || r->socket != SOCKET_WORKERS)
        return;
    count(w, COUNT_UNREACHABLE);
    trace(w, "broker", "finds a worker's connection gone");
    if (b->unreachable_count < UNREACHABLE_MAX)
        b->unreachable[b->unreachable_count++] = *r;
}

static void broker_perform(struct world *w, struct effect *f)
{
    switch (f->type) {
    case EFFECT_NOTE:
        trace(w, "broker", "notes: %s", f->note.text);
        break;
    case EFFECT_QUERY:
        sim_store_query(w, &f->query);
        f->query.ranges = NULL;
        break;
    case EFFECT_EXIT:
        w->broker.is_exiting = true;
        break;
    default:
        broker_send(w, f);
        break;
    }
    effect_fini(f);
}

static void held_push(struct broker *b, const struct effect *f)
{
    if (b->held_first + b->held_count == b->held_capacity) {
        if (b->held_first > 0)
            memmove(b->held, b->held + b->held_first, b->held_count * sizeof b->held[0]);
        b->held_first = 0;
        if (b->held_count == b->held_capacity) {
            b->held_capacity = max_u64(64, b->held_capacity * 2);
            b->held = mem_realloc_array(b->held, b->held_capacity, sizeof b->held[0]);
        }
    }
    b->held[b->held_first + b->held_count++] =
        (struct held){.commit = b->handed_over, .effect = *f};
}

static void broker_release(struct world *w)
{
    struct broker *b = &w->broker;
    while (b->held_count > 0 && b->held[b->held_first].commit <= b->confirmed && !boundary(w)) {
        struct effect f = b->held[b->held_first].effect;
        b->held_first++;
        b->held_count--;
        broker_perform(w, &f);
    }
}

static void broker_commit(struct world *w)
{
    struct broker *b = &w->broker;
    if (boundary(w))
        return;
    if (b->fx.record_count > 0) {
        b->handed_over = sim_store_commit(w, b->fx.records, b->fx.record_count);
        b->fx.record_count = 0;
    }
    for (size_t i = 0; i < b->fx.count; i++) {
        struct effect *f = &b->fx.list[i];
        if (boundary(w)) {
            memmove(b->fx.list, f, (b->fx.count - i) * sizeof *f);
            b->fx.count -= i;
            return;
        }
        if (f->waits && f->type != EFFECT_QUERY && b->handed_over > b->confirmed) {
            count(w, COUNT_HELD);
            held_push(b, f);
        } else {
            broker_perform(w, f);
        }
    }
    b->fx.count = 0;
}

/* --- in --- */

static void broker_event(struct world *w, struct event *e)
{
    e->now_ms = broker_mono_ms(w);
    e->wall_ms = wall_ms(w);
    core_step(w->broker.core, e, &w->broker.fx);
}

/* The next message of an inbox: the oldest of its connection, which may be any connection. */
static struct packet *inbox_take(struct world *w, struct list *inbox)
{
    struct packet *p = container_of(inbox->next, struct packet, link);
    if (w->plan.has_merge) {
        const struct packet *other = p;
        for (uint64_t skip = roll(w, 6); skip > 0 && other->link.next != inbox; skip--)
            other = container_of(other->link.next, struct packet, link);
        while (p->conn != other->conn)
            p = container_of(p->link.next, struct packet, link);
    }
    list_remove(&p->link);
    return p;
}

static bool broker_ingest(struct world *w, enum net_plane plane, bool is_pressed)
{
    static const enum plane planes[] = {[NET_CLIENTS] = PLANE_C,
                                        [NET_CONTROL] = PLANE_T,
                                        [NET_WORKERS] = PLANE_W,
                                        [NET_RESULTS] = PLANE_R};
    struct list *inbox = &w->broker.inbox[plane];
    for (uint32_t i = 0; i < w->plan.turn_messages; i++) {
        if (list_is_empty(inbox))
            return true;
        struct packet *p = inbox_take(w, inbox);
        uint8_t id[5] = {0};
        memcpy(id + 1, &p->conn->id, sizeof p->conn->id);
        struct arrival a = {.plane = planes[plane],
                            .peer = view_of(id, plane == NET_RESULTS ? 0 : sizeof id),
                            .connection = plane == NET_WORKERS ? p->conn->number : -1,
                            .now_ms = broker_mono_ms(w),
                            .wall_ms = wall_ms(w),
                            .is_pressed = is_pressed};
        trace_packet(w, p->conn->peer->name, "-> broker", p);
        const struct event *e = ingress_decode(w->ingress, &a, p->frames, p->frame_count);
        if (e != NULL)
            core_step(w->broker.core, e, &w->broker.fx);
        if (e == NULL || e->type == EVENT_REFUSED)
            check_fail(w, "a message of %s was refused", p->conn->peer->name);
        ingress_release(w->ingress);
        free(p);
    }
    return list_is_empty(inbox);
}

static void broker_monitor(struct world *w)
{
    struct broker *b = &w->broker;
    while (b->hint_count > 0) { /* in any order */
        size_t i = (size_t)roll(w, b->hint_count);
        struct event e = {.type = EVENT_CUT, .cut = b->hints[i]};
        b->hints[i] = b->hints[--b->hint_count];
        broker_event(w, &e);
    }
}

static void broker_completions(struct world *w)
{
    struct broker *b = &w->broker;
    for (size_t i = 0; i < b->done_count; i++) {
        struct completion *c = &b->done[i];
        if (c->is_answer) {
            struct event e = {.type = EVENT_ANSWER, .answer = &c->answer};
            broker_event(w, &e);
            query_answer_fini(&c->answer);
        } else {
            struct event e = {.type = EVENT_FORGOTTEN, .forgotten = c->forgotten};
            b->confirmed = max_u64(b->confirmed, c->commit);
            broker_event(w, &e);
        }
    }
    b->done_count = 0;
}

static void broker_unreachable(struct world *w)
{
    struct broker *b = &w->broker;
    for (size_t i = 0; i < b->unreachable_count; i++) {
        struct event e = {.type = EVENT_UNREACHABLE};
        e.caller.route = b->unreachable[i];
        broker_event(w, &e);
    }
    b->unreachable_count = 0;
}

static void broker_space(struct world *w)
{
    struct broker *b = &w->broker;
    if (broker_mono_ms(w) < b->space_at_ms)
        return;
    struct event e = {.type = EVENT_SPACE};
    e.space.bytes = 1 << 20;
    e.space.free_bytes = w->now_us < w->space_low_until_us ? 1000 : UINT64_C(1) << 40;
    b->space_at_ms = broker_mono_ms(w) + SPACE_MS;
    broker_event(w, &e);
}

/* --- life --- */

static void broker_end(struct world *w, bool is_planned)
{
    struct broker *b = &w->broker;
    const struct core_stats *stats = core_stats(b->core);
    w->tally->counters[COUNT_STALE] += stats->stale_verdicts;
    w->tally->counters[COUNT_DUPLICATE] += stats->duplicate_verdicts;
    w->tally->counters[COUNT_ADOPTED] += stats->adopted;
    w->tally->counters[COUNT_REFUSED_SESSION] += stats->refused_sessions;
    sim_store_end(w, is_planned);
    done_drop(b);
    while (b->held_count > 0) {
        effect_fini(&b->held[b->held_first++].effect);
        b->held_count--;
    }
    b->held_first = 0;
    effects_reset(&b->fx);
    core_free(&b->core);
    for (size_t i = 0; i < NET_PLANES; i++) {
        list_each_safe (node, &b->inbox[i]) {
            list_remove(node);
            free(container_of(node, struct packet, link));
        }
    }
    b->hint_count = 0;
    b->unreachable_count = 0;
    b->is_up = b->is_paused = b->is_dying = b->is_exiting = b->is_termed = false;
    b->crash_in = -1;
    happen_not(w, &b->turn);
    happen_not(w, &b->resume);
    net_broker_gone(w, is_planned);
    uint64_t us = 50 * MS_US + roll(w, w->is_calm ? 100 * MS_US : 3 * SECOND_US);
    if (!w->is_calm && chance(w, 7))
        us = roll(w, 45 * SECOND_US);
    happen_at(w, &b->start, w->now_us + us);
}

void broker_kill(struct world *w)
{
    if (!w->broker.is_up)
        return;
    trace(w, "broker", "is killed");
    broker_end(w, false);
}

static void broker_turn(struct world *w, struct happening *h)
{
    struct broker *b = &w->broker;
    bool is_pressed = sim_store_backlog(w) > w->plan.pressure;
    (void)h;
    if (is_pressed)
        count(w, COUNT_PRESSED);
    bool is_drained = broker_ingest(w, NET_WORKERS, is_pressed);
    broker_monitor(w);
    bool is_idle = broker_ingest(w, NET_CONTROL, is_pressed);
    is_idle &= is_pressed || broker_ingest(w, NET_RESULTS, is_pressed);
    is_idle &= broker_ingest(w, NET_CLIENTS, is_pressed);
    if (b->is_termed) {
        struct event e = {.type = EVENT_TERM};
        b->is_termed = false;
        broker_event(w, &e);
    }
    broker_completions(w);
    broker_unreachable(w);
    broker_space(w);
    if (is_drained && core_deadline(b->core) <= broker_mono_ms(w)) {
        struct event e = {.type = EVENT_TICK};
        broker_event(w, &e);
    }
    core_turn_end(b->core, broker_mono_ms(w), &b->fx);
    broker_commit(w);
    if (!b->is_dying)
        broker_release(w);
    if (b->is_dying || b->is_exiting) {
        trace(w, "broker", b->is_dying ? "is killed between two effects" : "ends by plan");
        broker_end(w, !b->is_dying);
        return;
    }
    if (!is_drained || !is_idle || b->unreachable_count > 0)
        broker_wake(w, 20);
    uint64_t deadline_ms = core_deadline(b->core);
    if (deadline_ms != NEVER_MS)
        happen_by(w, &b->turn,
                  max_u64(w->now_us + 1, sub_sat_u64(deadline_ms, b->mono_offset_ms) * MS_US));
}

static void broker_start(struct world *w, struct happening *h)
{
    struct broker *b = &w->broker;
    (void)h;
    trace(w, "broker", "starts");
    w->tally->restarts += b->lives > 0;
    b->lives++;
    b->mono_offset_ms = 1000 + roll(w, 1000000); /* another boot, another clock */
    b->core = core_new(&w->plan.core);
    b->handed_over = b->confirmed = 0;
    b->space_at_ms = 0;
    sim_store_load(w, broker_event);
    count(w, COUNT_RELOADS);
    if (core_digest(b->core) != core_digest(w->store.shadow))
        check_fail(w, "I6: what was loaded is not what was committed");
    struct event e = {.type = EVENT_START};
    broker_event(w, &e);
    broker_space(w);
    b->is_up = true;
    broker_commit(w);
    fault_aftershock(w);
    w->listens_us = w->now_us + roll(w, 20 * MS_US);
    broker_wake(w, 0);
}

static void broker_resume(struct world *w, struct happening *h)
{
    (void)h;
    trace(w, "broker", "goes on");
    w->broker.is_paused = false;
    broker_wake(w, 0);
}

void broker_pause(struct world *w, uint64_t us)
{
    struct broker *b = &w->broker;
    if (!b->is_up || b->is_paused)
        return;
    trace(w, "broker", "is stopped for %llu ms", (unsigned long long)(us / MS_US));
    b->is_paused = true;
    happen_not(w, &b->turn);
    happen_at(w, &b->resume, w->now_us + us);
}

void broker_init(struct world *w)
{
    struct broker *b = &w->broker;
    b->crash_in = -1;
    b->turn.run = broker_turn;
    b->start.run = broker_start;
    b->resume.run = broker_resume;
    effects_init(&b->fx);
    for (size_t i = 0; i < NET_PLANES; i++)
        list_init(&b->inbox[i]);
    happen_at(w, &b->start, 0);
}

void broker_fini(struct world *w)
{
    struct broker *b = &w->broker;
    if (b->is_up)
        broker_end(w, false);
    effects_fini(&b->fx);
    free(b->held);
    free(b->done);
}
