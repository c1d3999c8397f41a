/* SPDX-License-Identifier: MPL-2.0 */
/* sim_worker.c - a worker's process: the real pool, the driver's way of work, and jobs' processes.
 *
 * A job's process runs for a time that was rolled, writes its own ref, and ends with an exit code,
 * a signal, at its time limit, or when it is told to. Its keeper knows the fence and kills it then,
 * also while the daemon is stopped; when the daemon is killed, its processes end with it. Two exit
 * codes stand for verdicts that only other worker programs send: 75 becomes RETRY on the wire, 65
 * DISCARD. */
#include <stdlib.h>

#include "tests/sim/sim.h"

#define EXIT_RETRY 75
#define EXIT_DISCARD 65

static uint64_t boot_ms(const struct world *w, const struct worker *k)
{
    return world_ms(w) + k->clock_offset_ms;
}

void worker_wake(struct world *w, struct worker *k, uint64_t delay_us)
{
    if (k->is_up && !k->peer.is_paused)
        happen_by(w, &k->turn, w->now_us + delay_us);
}

size_t process_text(const struct ref *ref, char out[REF_BYTES_MAX + 2])
{
    size_t n = ref_format(ref, out);
    out[n] = ';';
    return n + 1;
}

/* --- processes --- */

static void ended_push(struct world *w, struct worker *k, const struct ended *e)
{
    if (k->ended_count == ENDED_MAX) {
        check_fail(w, "the simulator's list of ended processes is full");
        return;
    }
    k->ended[k->ended_count++] = *e;
    worker_wake(w, k, roll(w, 300));
}

static void process_stop(struct world *w, struct process *p)
{
    happen_not(w, &p->end);
    happen_not(w, &p->fence);
    happen_not(w, &p->write);
    check_ended(w, &p->ref);
    p->is_used = false;
}

static void process_end(struct world *w, struct happening *h)
{
    struct process *p = container_of(h, struct process, end);
    struct ended e = {.process = *p, .ended_us = w->now_us};
    process_stop(w, p);
    ended_push(w, &w->workers[p->worker], &e);
}

/* The keeper's own clock: no grace. */
static void process_fence(struct world *w, struct happening *h)
{
    struct process *p = container_of(h, struct process, fence);
    if (w->now_us < p->fence_us) {
        happen_at(w, h, p->fence_us);
        return;
    }
    p->cause = POOL_CAUSE_FENCED;
    p->exit_code = -1;
    p->signal = 9;
    count(w, COUNT_KEEPER_FENCED);
    process_end(w, &p->end);
}

static void process_write(struct world *w, struct happening *h)
{
    struct process *p = container_of(h, struct process, write);
    struct worker *k = &w->workers[p->worker];
    if (k->ended_count > ENDED_MAX / 2)
        return;
    struct ended e = {.is_output = true, .process = *p, .chunk = p->chunks_sent++};
    ended_push(w, k, &e);
    if (p->chunks_sent < p->chunks)
        happen_at(w, h, w->now_us + roll(w, SECOND_US));
}

static void process_plan(struct world *w, struct process *p, const struct pool_command *c)
{
    uint64_t us = 1000 + roll(w, chance(w, 70) ? 300 * MS_US : 4 * SECOND_US);
    if (chance(w, w->plan.long_jobs))
        us = roll(w, 50 * SECOND_US);
    uint64_t outcome = roll(w, 100);
    p->cause = POOL_CAUSE_EXITED;
    if (w->is_calm) {
        us = 1000 + roll(w, 200 * MS_US);
        outcome = 0;
    }
    if (outcome >= 96)
        p->exit_code = EXIT_DISCARD;
    else if (outcome >= 90)
        p->exit_code = EXIT_RETRY;
    else if (outcome >= 75)
        p->exit_code = 1 + (int)roll(w, 3);
    else if (outcome >= 70) {
        p->signal = 11;
        p->exit_code = -1;
    }
    if (c->time_limit_ms != NEVER_MS && c->time_limit_ms * MS_US < us) {
        us = c->time_limit_ms * MS_US + roll(w, 100 * MS_US);
        p->cause = POOL_CAUSE_TIME_LIMIT;
        p->exit_code = -1;
        p->signal = 15;
    }
    p->ignores_us = chance(w, 70) ? roll(w, 10 * MS_US) : roll(w, 15 * SECOND_US);
    p->obeys_with_0 = chance(w, 20);
    p->chunks = (uint32_t)roll(w, 4);
    happen_at(w, &p->end, w->now_us + us);
    happen_at(w, &p->fence, p->fence_us);
    if (p->chunks > 0)
        happen_at(w, &p->write, w->now_us + roll(w, us));
}

static void do_spawn(struct world *w, struct worker *k, const struct pool_effect *f)
{
    struct process *p = &k->processes[f->slot];
    struct ref ref;
    uint64_t lease_end_ms = 0;
    if (p->is_used || !pool_slot_holds(k->pool, f->slot, &ref, &lease_end_ms)) {
        check_fail(w, "I4: %s starts a job in slot %zu, which is busy", k->peer.name, f->slot);
        return;
    }
    if (chance(w, w->is_calm ? 0 : w->plan.spawn_fails)) {
        struct ended e = {.is_not_spawned = true, .process = {.ref = ref, .slot = f->slot}};
        ended_push(w, k, &e);
        return;
    }
    check_started(w, k->index, &ref, f->fence_ms, boot_ms(w, k));
    struct process it = *p;
    *p = (struct process){.is_used = true,
                          .ref = ref,
                          .slot = f->slot,
                          .worker = k->index,
                          .started_us = w->now_us,
                          .fence_us = (f->fence_ms - k->clock_offset_ms) * MS_US,
                          .end.run = it.end.run,
                          .fence.run = it.fence.run,
                          .write.run = it.write.run};
    count(w, COUNT_STARTS);
    process_plan(w, p, f->command);
    trace(w, k->peer.name, "starts %llu.%u.%llu in slot %zu", (unsigned long long)ref.job,
          ref.attempt, (unsigned long long)ref.lease, f->slot);
}

static void do_stop(struct world *w, struct worker *k, const struct pool_effect *f)
{
    struct process *p = &k->processes[f->slot];
    if (!p->is_used || p->ref.lease != f->lease)
        return;
    uint64_t us = 500 + roll(w, 3 * MS_US);
    if (f->grace_ms > 0)
        us += min_u64(p->ignores_us, f->grace_ms * MS_US);
    if (f->cause == POOL_CAUSE_FENCED)
        count(w, COUNT_FENCED);
    if (p->end.node.key <= w->now_us + us)
        return; /* it ends sooner by itself */
    bool is_obedient = f->grace_ms > 0 && p->obeys_with_0;
    p->cause = f->cause;
    p->exit_code = is_obedient ? 0 : -1;
    p->signal = is_obedient ? 0 : f->grace_ms > 0 ? 15 : 9;
    happen_at(w, &p->end, w->now_us + us);
}

static void do_fence(struct world *w, struct worker *k, const struct pool_effect *f)
{
    struct process *p = &k->processes[f->slot];
    if (!p->is_used || p->ref.lease != f->lease)
        return;
    p->fence_us = (f->fence_ms - k->clock_offset_ms) * MS_US;
    happen_by(w, &p->fence, p->fence_us);
}

/* --- the driver --- */

static void results_send(struct world *w, struct worker *k, const struct outmsg *m)
{
    struct view header = outmsg_frame(m, OUT_HEADER);
    bool is_retry =
        m->verb == VERB_FAIL && memmem(header.data, header.size, "\"exit_code\":75", 14);
    bool is_discard =
        m->verb == VERB_FAIL && memmem(header.data, header.size, "\"exit_code\":65", 14);
    if (m->verb == VERB_RELEASED)
        count(w, COUNT_RELEASED);
    if (m->verb == VERB_RELEASED && memmem(header.data, header.size, "no free slot", 12))
        check_fail(w, "I4: %s was given more jobs than it has slots for", k->peer.name);
    if (!is_retry && !is_discard) {
        socket_send(w, &k->results, packet_new(m, NULL));
        return;
    }
    struct outmsg other;
    outmsg_init(&other, is_retry ? VERB_RETRY : VERB_DISCARD, outmsg_frame(m, OUT_TAG),
                outmsg_frame(m, OUT_SUBJECT));
    outmsg_header(&other, header);
    for (size_t i = 0; i < m->body_count; i++)
        outmsg_body(&other, blob_ref(m->bodies[i]));
    socket_send(w, &k->results, packet_new(&other, NULL));
    outmsg_fini(&other);
    if (is_retry)
        count(w, COUNT_RETRIED);
}

static void inbox_drop(struct list *inbox)
{
    list_each_safe (node, inbox) {
        list_remove(node);
        free(container_of(node, struct packet, link));
    }
}

static void hang_up(struct world *w, struct worker *k)
{
    socket_close(w, &k->workers);
    socket_close(w, &k->results);
    inbox_drop(&k->inbox);
    k->was_cut = false;
}

/* The process ends, and its jobs' processes with it. */
static void worker_end(struct world *w, struct worker *k)
{
    const struct pool_stats *stats = pool_stats(k->pool);
    w->tally->counters[COUNT_LATE_JOB] += stats->refused_late;
    for (size_t i = 0; i < SLOTS_MAX; i++)
        if (k->processes[i].is_used)
            process_stop(w, &k->processes[i]);
    hang_up(w, k);
    k->ended_count = 0;
    k->is_up = k->is_dying = k->peer.is_paused = k->is_quiet = false;
    k->crash_in = -1;
    pool_free(&k->pool);
    pool_effects_reset(&k->fx);
    happen_not(w, &k->turn);
    happen_not(w, &k->resume);
    happen_at(w, &k->start,
              w->now_us + 50 * MS_US + roll(w, w->is_calm ? 100 * MS_US : 5 * SECOND_US));
}

void worker_kill(struct world *w, int index)
{
    struct worker *k = &w->workers[index];
    if (!k->is_up)
        return;
    trace(w, k->peer.name, "is killed");
    worker_end(w, k);
}

static void worker_perform(struct world *w, struct worker *k, const struct pool_effect *f)
{
    switch (f->type) {
    case POOL_EFFECT_DIAL:
        hang_up(w, k);
        socket_open(w, &k->workers);
        socket_open(w, &k->results);
        break;
    case POOL_EFFECT_HANG_UP:
        hang_up(w, k);
        break;
    case POOL_EFFECT_SEND_WORKERS:
        socket_send(w, &k->workers, packet_new(&f->message, NULL));
        break;
    case POOL_EFFECT_SEND_RESULTS:
        results_send(w, k, &f->message);
        break;
    case POOL_EFFECT_SPAWN:
        do_spawn(w, k, f);
        break;
    case POOL_EFFECT_STOP:
        do_stop(w, k, f);
        break;
    case POOL_EFFECT_FENCE:
        do_fence(w, k, f);
        break;
    case POOL_EFFECT_LOG:
        trace(w, k->peer.name, "notes: %s", f->text);
        break;
    case POOL_EFFECT_EXIT:
        trace(w, k->peer.name, "exits with %d", f->exit_code);
        k->is_dying = true;
        break;
    case POOL_EFFECT_REGISTERED:
        break;
    }
}

/* True where the worker lives on. */
static bool worker_step(struct world *w, struct worker *k, struct pool_event *e)
{
    e->boot_ms = boot_ms(w, k);
    e->random = rng_next(&w->rng);
    pool_step(k->pool, e, &k->fx);
    for (size_t i = 0; i < k->fx.count; i++) {
        if (k->crash_in > 0 && --k->crash_in == 0) {
            trace(w, k->peer.name, "is killed between two effects");
            k->is_dying = true;
        }
        if (!k->is_dying)
            worker_perform(w, k, &k->fx.items[i]);
    }
    if (k->is_dying) {
        worker_end(w, k);
        return false;
    }
    pool_effects_reset(&k->fx);
    check_worker(w, k);
    return true;
}

void worker_signal(struct world *w, int index, enum pool_event_type type)
{
    struct worker *k = &w->workers[index];
    struct pool_event e = {.type = type};
    if (!k->is_up || k->peer.is_paused)
        return;
    trace(w, k->peer.name, "gets a signal: %s",
          type == POOL_EVENT_TERM    ? "TERM"
          : type == POOL_EVENT_QUIET ? "USR1"
                                     : "INT");
    k->is_quiet |= type == POOL_EVENT_QUIET;
    if (worker_step(w, k, &e))
        worker_wake(w, k, 0);
}

static bool serve_messages(struct world *w, struct worker *k)
{
    while (!list_is_empty(&k->inbox)) {
        struct packet *p = container_of(k->inbox.next, struct packet, link);
        struct msg m;
        struct error error;
        list_remove(&p->link);
        trace_packet(w, k->peer.name, "<- broker", p);
        bool is_good = msg_decode(p->frames, p->frame_count, PLANE_B, &m, &error) == STATUS_OK;
        struct pool_event e = {.type = POOL_EVENT_MESSAGE, .msg = &m};
        if (!is_good || m.verb == VERB_ERR)
            check_fail(w, "%s cannot read a message, or is refused", k->peer.name);
        bool lives = !is_good || worker_step(w, k, &e);
        free(p);
        if (!lives)
            return false;
    }
    return true;
}

static bool serve_output(struct world *w, struct worker *k, const struct ended *it)
{
    char text[REF_BYTES_MAX + 2];
    size_t n = process_text(&it->process.ref, text);
    struct pool_event e = {.type = POOL_EVENT_OUTPUT,
                           .output = {.slot = it->process.slot,
                                      .lease = it->process.ref.lease,
                                      .offset = it->chunk * n,
                                      .bytes = view_of(text, n)}};
    return worker_step(w, k, &e);
}

static bool serve_ended(struct world *w, struct worker *k, const struct ended *it)
{
    const struct process *p = &it->process;
    char text[REF_BYTES_MAX + 2];
    size_t n = process_text(&p->ref, text);
    struct buf out;
    if (it->is_output)
        return serve_output(w, k, it);
    buf_init(&out, 4096);
    for (uint32_t i = 0; i < max_u64(p->chunks, 1); i++)
        buf_add(&out, text, n);
    struct blob *output = blob_from_view(buf_view(&out));
    buf_fini(&out);
    struct pool_event e = {.type = it->is_lost          ? POOL_EVENT_LOST
                                   : it->is_not_spawned ? POOL_EVENT_NOT_SPAWNED
                                                        : POOL_EVENT_EXITED,
                           .exit = {.slot = p->slot,
                                    .lease = p->ref.lease,
                                    .cause = p->cause,
                                    .exit_code = p->exit_code,
                                    .signal = p->signal,
                                    .run_ms = (it->ended_us - p->started_us) / MS_US,
                                    .output = {output, NULL},
                                    .total_bytes = {blob_size(output), 0}}};
    bool lives = worker_step(w, k, &e);
    blob_unref(&output);
    return lives;
}

static void worker_turn(struct world *w, struct happening *h)
{
    struct worker *k = container_of(h, struct worker, turn);
    if (!serve_messages(w, k))
        return;
    while (k->ended_count > 0) {
        struct ended it = k->ended[0];
        memmove(k->ended, k->ended + 1, --k->ended_count * sizeof k->ended[0]);
        if (!serve_ended(w, k, &it))
            return;
    }
    if (k->was_cut) {
        struct pool_event e = {.type = POOL_EVENT_CUT};
        k->was_cut = false;
        if (!worker_step(w, k, &e))
            return;
    }
    if (boot_ms(w, k) >= pool_deadline(k->pool)) {
        struct pool_event e = {.type = POOL_EVENT_TICK};
        if (!worker_step(w, k, &e))
            return;
    }
    uint64_t deadline_ms = pool_deadline(k->pool);
    if (deadline_ms != NEVER_MS)
        happen_by(w, h,
                  max_u64(w->now_us + 1, sub_sat_u64(deadline_ms, k->clock_offset_ms) * MS_US));
}

void worker_deliver(struct world *w, int index, struct packet *p)
{
    struct worker *k = &w->workers[index];
    list_push_back(&k->inbox, &p->link);
    worker_wake(w, k, roll(w, 200));
}

void worker_cut(struct world *w, int index, enum net_plane plane)
{
    struct worker *k = &w->workers[index];
    if (plane != NET_WORKERS)
        return; /* nobody watches the other one */
    k->was_cut = true;
    worker_wake(w, k, roll(w, MS_US));
}

static void ready_fill(const struct worker *k, struct ready_header *r)
{
    *r = (struct ready_header){.slots = k->slots,
                               .kinds = k->kinds,
                               .queue_count = k->queue_count,
                               .lease_ms = k->lease_ms,
                               .interval_ms = k->interval_ms,
                               .pid = 7};
    snprintf(r->name, sizeof r->name, "%s", k->peer.name);
    snprintf(r->host, sizeof r->host, "sim");
    snprintf(r->containment, sizeof r->containment, "keeper");
    for (uint32_t i = 0; i < k->queue_count; i++)
        snprintf(r->queues[i], sizeof r->queues[i], "q%u",
                 ((uint32_t)k->index + i) % k->queue_count);
}

static void worker_start(struct world *w, struct happening *h)
{
    static const char *const handler[] = {"handler"};
    struct worker *k = container_of(h, struct worker, start);
    k->instance = rng_next(&w->rng) | 1;
    k->clock_offset_ms = 5000 + roll(w, 1000000);
    k->is_up = true;
    struct pool_config config = {.instance = k->instance,
                                 .handler_argv = handler,
                                 .handler_argc = 1,
                                 .grace_ms = roll(w, 10000),
                                 .kill_grace_ms = 1000};
    ready_fill(k, &config.ready);
    k->pool = pool_new(&config);
    trace(w, k->peer.name, "starts as %016llx with %u slots", (unsigned long long)k->instance,
          k->slots);
    struct pool_event e = {.type = POOL_EVENT_START};
    if (worker_step(w, k, &e))
        worker_wake(w, k, 0);
}

static void worker_resume(struct world *w, struct happening *h)
{
    struct worker *k = container_of(h, struct worker, resume);
    trace(w, k->peer.name, "goes on");
    k->peer.is_paused = false;
    worker_wake(w, k, 0);
}

void worker_pause(struct world *w, int index, uint64_t us)
{
    struct worker *k = &w->workers[index];
    if (!k->is_up || k->peer.is_paused)
        return;
    trace(w, k->peer.name, "is stopped for %llu ms", (unsigned long long)(us / MS_US));
    k->peer.is_paused = true;
    happen_not(w, &k->turn);
    happen_at(w, &k->resume, w->now_us + us);
}

void worker_init(struct world *w, int index)
{
    struct worker *k = &w->workers[index];
    k->index = index;
    k->crash_in = -1;
    snprintf(k->peer.name, sizeof k->peer.name, "worker%d", index + 1);
    k->slots = 1 + (uint32_t)roll(w, SLOTS_MAX);
    k->queue_count = index == 0 ? 2 : 1 + (uint32_t)roll(w, 2);
    k->kinds = KIND_BIT(JOB_PAYLOAD) | KIND_BIT(JOB_COMMAND);
    if (index > 0 && chance(w, 30))
        k->kinds = KIND_BIT(roll(w, 2));
    if (chance(w, w->plan.wishes)) {
        k->lease_ms = 4000 + (uint32_t)roll(w, 60000);
        k->interval_ms = 500 + (uint32_t)roll(w, 3000);
    }
    socket_init(&k->workers, NET_WORKERS, &k->peer, index);
    socket_init(&k->results, NET_RESULTS, &k->peer, index);
    list_init(&k->inbox);
    pool_effects_init(&k->fx);
    k->turn.run = worker_turn;
    k->start.run = worker_start;
    k->resume.run = worker_resume;
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        k->processes[i].end.run = process_end;
        k->processes[i].fence.run = process_fence;
        k->processes[i].write.run = process_write;
    }
    happen_at(w, &k->start, roll(w, 200 * MS_US));
}

void worker_fini(struct world *w, int index)
{
    struct worker *k = &w->workers[index];
    if (k->is_up)
        worker_end(w, k);
    pool_effects_fini(&k->fx);
}
