/* SPDX-License-Identifier: MPL-2.0 */
#include "broker/driver.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "broker/ingress/ingress.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/notify.h"
#include "common/net/multipart.h"

#define TURN_MESSAGES 1000 /* of one socket in one turn */
#define SPACE_MS 1000      /* between two looks at the store's free space */

/* An effect that waits for its commit. */
struct held {
    uint64_t commit;
    struct effect effect;
};

struct driver {
    const struct driver_config *config;
    struct sockets *sockets;
    struct store *store;
    struct core *core;
    struct ingress *ingress;
    struct effects fx;
    int signal_fd;
    uint64_t now_ms;
    uint64_t wall_ms;
    uint64_t space_at_ms;
    uint64_t handed_over; /* number of the last commit handed over */
    uint64_t confirmed;
    struct held *held; /* a ring in order of commit */
    size_t held_first;
    size_t held_count;
    size_t held_capacity;      /* a power of two */
    struct route *unreachable; /* routes found dead since the last look */
    size_t unreachable_count;
    size_t unreachable_capacity;
    uint64_t replies_dropped;
    bool is_exiting; /* EFFECT_EXIT was released */
    bool is_drained; /* `workers` was read to its end in this turn */
    struct multipart in;
};

/* --- out --- */

/* All of them are told to the core: a thousand workers may be gone at once, and one that is left
 * out here would be missed only by its silence. */
static void driver_found_dead(struct driver *d, const struct route *r)
{
    if (d->unreachable_count == d->unreachable_capacity) {
        d->unreachable_capacity = max_u64(64, d->unreachable_capacity * 2);
        d->unreachable =
            mem_realloc_array(d->unreachable, d->unreachable_capacity, sizeof d->unreachable[0]);
    }
    d->unreachable[d->unreachable_count++] = *r;
}

static void driver_send(struct driver *d, const struct effect *f)
{
    struct multipart_frame *frames = NULL;
    struct outmsg m;
    const struct route *r = &f->caller.route;
    egress_encode(&d->config->egress, f, &m);
    size_t count = outmsg_frame_count(&m);
    frames = mem_zalloc((count + 3) * sizeof frames[0]);
    size_t n = 0;
    frames[n++].bytes = view_of(r->id, r->id_size);
    if (r->envelope_count == 2)
        frames[n++].bytes = view_of(r->envelope, r->envelope_size);
    if (r->envelope_count > 0)
        frames[n++].bytes = view_of(NULL, 0);
    for (size_t i = 0; i < count; i++, n++) {
        if (i >= OUT_SMALL_FRAMES)
            frames[n].blob = m.bodies[i - OUT_SMALL_FRAMES];
        else
            frames[n].bytes = outmsg_frame(&m, i);
    }
    int rc = multipart_send(sockets_router(d->sockets, (enum socket_id)r->socket), frames, n);
    if (rc == EHOSTUNREACH && r->socket == SOCKET_WORKERS) {
        driver_found_dead(d, r);
    } else if (rc != 0) {
        d->replies_dropped++; /* the peer left, or does not read; it will ask again */
    }
    outmsg_fini(&m);
    free(frames);
}

static void driver_perform(struct driver *d, struct effect *f)
{
    switch (f->type) {
    case EFFECT_NOTE:
        log_write((enum log_level)f->note.level, "%s", f->note.text);
        break;
    case EFFECT_QUERY:
        store_query(d->store, &f->query);
        f->query.ranges = NULL; /* the store's now */
        break;
    case EFFECT_EXIT:
        d->is_exiting = true;
        break;
    case EFFECT_LOGGED:
        log_set_level((enum log_level)f->log_level);
        driver_send(d, f);
        break;
    default:
        driver_send(d, f);
        break;
    }
    effect_fini(f);
}

static void held_push(struct driver *d, const struct effect *f)
{
    if (d->held_count == d->held_capacity) {
        size_t capacity = d->held_capacity > 0 ? d->held_capacity * 2 : 1024;
        struct held *held = mem_alloc(capacity * sizeof held[0]);
        for (size_t i = 0; i < d->held_count; i++)
            held[i] = d->held[(d->held_first + i) & (d->held_capacity - 1)];
        free(d->held);
        d->held = held;
        d->held_first = 0;
        d->held_capacity = capacity;
    }
    struct held *h = &d->held[(d->held_first + d->held_count++) & (d->held_capacity - 1)];
    h->commit = d->handed_over;
    h->effect = *f;
}

/* Sends what waited for the commits that are confirmed by now. */
static void driver_release(struct driver *d)
{
    while (d->held_count > 0 && d->held[d->held_first].commit <= d->confirmed) {
        struct effect f = d->held[d->held_first].effect;
        d->held_first = (d->held_first + 1) & (d->held_capacity - 1);
        d->held_count--;
        driver_perform(d, &f);
    }
}

/* Hands the records over, then performs or keeps the effects. */
static void driver_commit(struct driver *d)
{
    if (d->fx.record_count > 0) {
        d->handed_over = store_commit(d->store, d->fx.records, d->fx.record_count);
        d->fx.record_count = 0;
    }
    for (size_t i = 0; i < d->fx.count; i++) {
        struct effect *f = &d->fx.list[i];
        bool is_query = f->type == EFFECT_QUERY; /* the store keeps the order itself */
        if (f->waits && !is_query && d->handed_over > d->confirmed)
            held_push(d, f);
        else
            driver_perform(d, f);
    }
    d->fx.count = 0;
}

/* --- in --- */

static void driver_clock(struct driver *d)
{
    d->now_ms = clock_mono_ms();
    d->wall_ms = clock_wall_ms();
}

static void driver_event(struct driver *d, struct event *e)
{
    e->now_ms = d->now_ms;
    e->wall_ms = d->wall_ms;
    core_step(d->core, e, &d->fx);
}

/* Reads up to TURN_MESSAGES; true where the socket was read to its end. */
static bool driver_ingest(struct driver *d, void *socket, enum plane plane, bool is_pressed)
{
    bool is_router = plane != PLANE_R;
    for (int i = 0; i < TURN_MESSAGES; i++) {
        int rc = multipart_receive(socket, &d->in);
        if (rc == EAGAIN)
            return true;
        if (rc != 0) {
            log_error("cannot receive: %s", zmq_strerror(rc));
            return true;
        }
        struct arrival a = {.plane = plane,
                            .connection = plane == PLANE_W ? d->in.connection : -1,
                            .now_ms = d->now_ms,
                            .wall_ms = d->wall_ms,
                            .is_pressed = is_pressed};
        const struct view *frames = d->in.views;
        size_t count = d->in.count;
        if (is_router) {
            a.peer = frames[0];
            frames++;
            count--;
        }
        const struct event *e = ingress_decode(d->ingress, &a, frames, count);
        if (e != NULL)
            core_step(d->core, e, &d->fx);
        ingress_release(d->ingress);
        multipart_release(&d->in);
    }
    return false;
}

static void driver_monitor(struct driver *d)
{
    /* Frame 1: event number (16 bits) and its value (32 bits), unaligned; frame 2: the endpoint. */
    while (multipart_receive(sockets_monitor(d->sockets), &d->in) == 0) {
        uint16_t number = 0;
        int32_t value = -1;
        if (d->in.count > 0 && d->in.views[0].size >= 6) {
            memcpy(&number, d->in.views[0].data, sizeof number);
            memcpy(&value, (const char *)d->in.views[0].data + 2, sizeof value);
        }
        multipart_release(&d->in);
        struct event e = {.type = EVENT_CUT, .cut = value};
        if (number == ZMQ_EVENT_DISCONNECTED && value >= 0)
            driver_event(d, &e);
    }
}

static void driver_signals(struct driver *d)
{
    struct signalfd_siginfo info;
    while (read(d->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        log_info("%s: this broker stops, workers keep their jobs and wait for the next one",
                 info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
        struct event e = {.type = EVENT_TERM};
        driver_event(d, &e);
    }
}

static void driver_completions(struct driver *d)
{
    struct store_done done;
    while (store_take(d->store, &done)) {
        if (done.is_answer) {
            struct event e = {.type = EVENT_ANSWER, .answer = &done.answer};
            driver_event(d, &e);
            query_answer_fini(&done.answer);
            continue;
        }
        d->confirmed = max_u64(d->confirmed, done.commit);
        struct event e = {.type = EVENT_FORGOTTEN, .forgotten = done.forgotten};
        driver_event(d, &e);
    }
}

static void driver_unreachable(struct driver *d)
{
    for (size_t i = 0; i < d->unreachable_count; i++) {
        struct event e = {.type = EVENT_UNREACHABLE};
        e.caller.route = d->unreachable[i];
        driver_event(d, &e);
    }
    d->unreachable_count = 0;
}

static void driver_space(struct driver *d)
{
    if (d->now_ms < d->space_at_ms)
        return;
    struct event e = {.type = EVENT_SPACE};
    store_space(d->store, &e.space.bytes, &e.space.free_bytes);
    d->space_at_ms = d->now_ms + SPACE_MS;
    driver_event(d, &e);
}

static void driver_tick(struct driver *d)
{
    if (!d->is_drained || core_deadline(d->core) > d->now_ms)
        return;
    struct event e = {.type = EVENT_TICK};
    driver_event(d, &e);
}

/* --- start --- */

static void load_meta(void *user, const struct store_meta *m)
{
    struct event e = {.type = EVENT_LOAD_META};
    e.meta.broker_start = m->broker_start;
    e.meta.away_ms = m->away_ms;
    e.meta.next_job_id = m->next_job_id;
    e.meta.next_finish = m->next_finish;
    e.meta.finished = m->finished;
    driver_event(user, &e);
}

static void load_queue(void *user, uint32_t id, const char *name)
{
    struct event e = {.type = EVENT_LOAD_QUEUE};
    e.queue.id = id;
    e.queue.name = name;
    driver_event(user, &e);
}

static void load_client(void *user, uint64_t client, const struct client_entry *entry,
                        uint64_t at_ms)
{
    struct event e = {.type = EVENT_LOAD_CLIENT};
    e.client.id = client;
    e.client.entry = entry;
    e.client.at_ms = at_ms;
    driver_event(user, &e);
}

static void load_job(void *user, const struct job_row *row)
{
    struct event e = {.type = EVENT_LOAD_JOB, .row = row};
    driver_event(user, &e);
}

static int driver_start(struct driver *d)
{
    const struct store_loader loader = {d, load_meta, load_queue, load_client, load_job};
    struct error error;
    driver_clock(d);
    if (store_load(d->store, &loader, &error) != 0) {
        log_error("%s", error.text);
        return error.status;
    }
    struct event e = {.type = EVENT_START};
    driver_event(d, &e);
    driver_space(d);
    driver_commit(d);
    return 0;
}

/* --- the loop --- */

static void driver_turn(struct driver *d)
{
    bool is_pressed = store_backlog_bytes(d->store) > d->config->pressure_bytes;
    zmq_pollitem_t items[] = {
        {.socket = sockets_router(d->sockets, SOCKET_WORKERS), .events = ZMQ_POLLIN},
        {.socket = sockets_router(d->sockets, SOCKET_CLIENTS), .events = ZMQ_POLLIN},
        {.socket = sockets_router(d->sockets, SOCKET_CONTROL), .events = ZMQ_POLLIN},
        {.socket = sockets_monitor(d->sockets), .events = ZMQ_POLLIN},
        {.fd = d->signal_fd, .events = ZMQ_POLLIN},
        {.fd = store_fd(d->store), .events = ZMQ_POLLIN},
        {.socket = sockets_results(d->sockets), .events = ZMQ_POLLIN},
    };
    int count = is_pressed ? 6 : 7; /* under pressure the workers' outboxes hold the results */
    uint64_t wait_ms =
        d->unreachable_count > 0 ? 0 : sub_sat_u64(core_deadline(d->core), clock_mono_ms());
    if (zmq_poll(items, count, (long)min_u64(wait_ms, 3600000)) < 0 && zmq_errno() != EINTR)
        log_error("cannot poll: %s", zmq_strerror(zmq_errno()));
    driver_clock(d);
    d->is_drained = driver_ingest(d, items[0].socket, PLANE_W, is_pressed);
    driver_monitor(d);
    driver_ingest(d, items[2].socket, PLANE_T, is_pressed);
    if (!is_pressed)
        driver_ingest(d, items[6].socket, PLANE_R, is_pressed);
    driver_ingest(d, items[1].socket, PLANE_C, is_pressed);
    driver_signals(d);
    driver_completions(d);
    driver_unreachable(d);
    driver_space(d);
    driver_tick(d);
    core_turn_end(d->core, d->now_ms, &d->fx);
    driver_commit(d);
    driver_release(d);
}

int driver_run(const struct driver_config *config, struct sockets *sockets, struct store *store,
               int signal_fd)
{
    struct driver *d = mem_zalloc(sizeof *d);
    d->config = config;
    d->sockets = sockets;
    d->store = store;
    d->signal_fd = signal_fd;
    d->core = core_new(&config->core);
    d->ingress = ingress_new();
    effects_init(&d->fx);
    int rc = driver_start(d);
    if (rc == 0) {
        log_info("ready");
        notify_send("READY=1");
    }
    while (rc == 0 && !d->is_exiting)
        driver_turn(d);
    notify_send("STOPPING=1");
    const struct core_stats *stats = core_stats(d->core);
    log_info("stopped; %llu stale and %llu duplicate verdicts, %llu replies dropped",
             (unsigned long long)stats->stale_verdicts,
             (unsigned long long)stats->duplicate_verdicts, (unsigned long long)d->replies_dropped);
    while (d->held_count > 0) {
        effect_fini(&d->held[d->held_first].effect);
        d->held_first = (d->held_first + 1) & (d->held_capacity - 1);
        d->held_count--;
    }
    free(d->held);
    free(d->unreachable);
    effects_fini(&d->fx);
    ingress_free(&d->ingress);
    core_free(&d->core);
    free(d);
    return rc;
}
