/* SPDX-License-Identifier: MPL-2.0 */
/* driver.c - see driver.h. One turn:
 *
 *   wait      zmq_poll until the rules' deadline, a socket, a keeper or a signal
 *   signals   TERM INT HUP QUIT USR1; CHLD reaps whatever became our child (as PID 1: anything)
 *   messages  `workers` drained, at most MESSAGES_PER_TURN
 *   keepers   output and ends of jobs, unless output waits for room
 *   tick      the rules' deadline, only after `workers` was drained to its end
 *
 * A step's effects are carried out before the next event. What fails while carrying out (a process
 * that cannot be made) becomes an event of its own afterwards. */
#include "worker/driver.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/notify.h"
#include "common/base/rng.h"
#include "worker/wire.h"

#define MESSAGES_PER_TURN 1000
#define KEEPER_EVENTS_PER_TURN 256
/* Live output waits so long for room in `results`; ends of jobs, which come behind it, no longer.
 */
#define HELD_MS_MAX 5000

/* A SPAWN that failed, to be told to the rules. */
struct failed_spawn {
    size_t slot;
    uint64_t lease;
    char reason[ERROR_TEXT_BYTES_MAX];
};

struct driver {
    struct pool *pool;
    struct pool_effects fx;
    struct keeper_set *keepers;
    struct wire *wire;
    struct rng rng;
    int signal_fd;
    bool is_over;
    int exit_code;
    bool has_held;    /* output that `results` had no room for */
    bool is_dropping; /* it had none for too long: output is dropped until it has */
    uint64_t held_until_ms;
    struct outmsg held;
    size_t failed_count;
    struct failed_spawn failed[PROTO_SLOTS_MAX];
};

/* ---- effects ---- */

static void do_spawn(struct driver *d, const struct pool_effect *effect)
{
    const struct pool_command *c = effect->command;
    struct error e = {0};
    struct keeper_job job = {
        .tag = effect->lease,
        .argv = (const char *const *)c->argv,
        .argc = c->argc,
        .env = (const char *const *)c->env,
        .env_count = c->env_count,
        .environment = c->is_handler ? KEEPER_ENVIRONMENT_WHOLE : KEEPER_ENVIRONMENT_BUILT,
        .cwd = c->cwd,
        .stdout_file = c->stdout_file,
        .stderr_file = c->stderr_file,
        .input = blob_view(c->input),
        .time_limit_ms = c->time_limit_ms,
        .grace_ms = c->grace_ms,
        .fence_boot_ms = effect->fence_ms,
        .output_limit_bytes = c->output_limit_bytes,
        .stream = true,
    };
    if (keeper_set_spawn(d->keepers, effect->slot, &job, &e) == 0)
        return;
    struct failed_spawn *f = &d->failed[d->failed_count++];
    *f = (struct failed_spawn){.slot = effect->slot, .lease = effect->lease};
    memcpy(f->reason, e.text, sizeof f->reason);
}

static void do_stop(struct driver *d, const struct pool_effect *effect)
{
    static const enum keeper_cause causes[] = {
        [POOL_CAUSE_EXITED] = KEEPER_CAUSE_RELEASED,
        [POOL_CAUSE_NOT_STARTED] = KEEPER_CAUSE_RELEASED,
        [POOL_CAUSE_TIME_LIMIT] = KEEPER_CAUSE_TIME_LIMIT,
        [POOL_CAUSE_CANCELLED] = KEEPER_CAUSE_CANCELLED,
        [POOL_CAUSE_RELEASED] = KEEPER_CAUSE_RELEASED,
        [POOL_CAUSE_FENCED] = KEEPER_CAUSE_FENCED,
    };
    keeper_set_stop(d->keepers, effect->slot, causes[effect->cause], effect->grace_ms);
}

static void do_send_results(struct driver *d, struct pool_effect *effect)
{
    if (wire_send_results(d->wire, &effect->message) == WIRE_SENT) {
        d->is_dropping = false;
        return;
    }
    if (effect->message.verb != VERB_OUTPUT || d->has_held || d->is_dropping)
        return;
    d->held = effect->message;
    d->held_until_ms = clock_boot_ms() + HELD_MS_MAX;
    effect->message = (struct outmsg){0};
    d->has_held = true;
}

static void drop_held(struct driver *d)
{
    if (d->has_held)
        outmsg_fini(&d->held);
    d->has_held = false;
}

static void do_dial(struct driver *d)
{
    struct error e = {0};
    drop_held(d);
    if (wire_dial(d->wire, &e) != 0)
        log_warn("%s", e.text);
    else
        log_debug("dialling %s", wire_address(d->wire));
}

static void do_log(const struct pool_effect *effect)
{
    static const enum log_level levels[] = {[POOL_LEVEL_ERROR] = LOG_LEVEL_ERROR,
                                            [POOL_LEVEL_WARN] = LOG_LEVEL_WARN,
                                            [POOL_LEVEL_INFO] = LOG_LEVEL_INFO,
                                            [POOL_LEVEL_DEBUG] = LOG_LEVEL_DEBUG};
    log_write(levels[effect->level], "%s", effect->text);
}

static void do_effect(struct driver *d, struct pool_effect *effect)
{
    switch (effect->type) {
    case POOL_EFFECT_DIAL:
        do_dial(d);
        break;
    case POOL_EFFECT_HANG_UP:
        drop_held(d);
        wire_hang_up(d->wire);
        break;
    case POOL_EFFECT_SEND_WORKERS:
        wire_send_workers(d->wire, &effect->message);
        break;
    case POOL_EFFECT_SEND_RESULTS:
        do_send_results(d, effect);
        break;
    case POOL_EFFECT_SPAWN:
        do_spawn(d, effect);
        break;
    case POOL_EFFECT_STOP:
        do_stop(d, effect);
        break;
    case POOL_EFFECT_FENCE:
        keeper_set_fence(d->keepers, effect->slot, effect->fence_ms);
        break;
    case POOL_EFFECT_REGISTERED:
        notify_send("STATUS=registered with the broker");
        break;
    case POOL_EFFECT_LOG:
        do_log(effect);
        break;
    case POOL_EFFECT_EXIT:
        d->is_over = true;
        d->exit_code = effect->exit_code;
        break;
    }
}

/* ---- events ---- */

static void step_once(struct driver *d, struct pool_event *event)
{
    event->boot_ms = clock_boot_ms();
    event->random = rng_next(&d->rng);
    pool_step(d->pool, event, &d->fx);
    for (size_t i = 0; i < d->fx.count; i++)
        do_effect(d, &d->fx.items[i]);
    pool_effects_reset(&d->fx);
}

static void step(struct driver *d, struct pool_event *event)
{
    step_once(d, event);
    while (d->failed_count > 0 && !d->is_over) {
        const struct failed_spawn f = d->failed[--d->failed_count];
        struct pool_event failure = {
            .type = POOL_EVENT_NOT_SPAWNED,
            .exit = {.slot = f.slot, .lease = f.lease, .exit_code = -1, .reason = f.reason}};
        step_once(d, &failure);
    }
}

static void step_plain(struct driver *d, enum pool_event_type type)
{
    struct pool_event event = {.type = type};
    step(d, &event);
}

static enum pool_cause cause_of(enum keeper_cause cause)
{
    static const enum pool_cause causes[] = {
        [KEEPER_CAUSE_EXITED] = POOL_CAUSE_EXITED,
        [KEEPER_CAUSE_NOT_STARTED] = POOL_CAUSE_NOT_STARTED,
        [KEEPER_CAUSE_TIME_LIMIT] = POOL_CAUSE_TIME_LIMIT,
        [KEEPER_CAUSE_CANCELLED] = POOL_CAUSE_CANCELLED,
        [KEEPER_CAUSE_RELEASED] = POOL_CAUSE_RELEASED,
        [KEEPER_CAUSE_FENCED] = POOL_CAUSE_FENCED,
    };
    return causes[cause];
}

static void on_keeper_event(struct driver *d, const struct keeper_event *k)
{
    struct pool_event event = {.type = POOL_EVENT_FATAL};
    switch (k->type) {
    case KEEPER_EVENT_OUTPUT:
        event.type = POOL_EVENT_OUTPUT;
        event.output = (struct pool_output){.slot = k->slot,
                                            .lease = k->tag,
                                            .stream = k->stream,
                                            .offset = k->offset,
                                            .bytes = k->bytes};
        break;
    case KEEPER_EVENT_EXITED:
        event.type = POOL_EVENT_EXITED;
        event.exit = (struct pool_exit){
            .slot = k->slot,
            .lease = k->tag,
            .cause = cause_of(k->exit.cause),
            .exit_code = k->exit.exit_code,
            .signal = k->exit.signal,
            .reason = k->exit.reason,
            .run_ms = k->exit.run_ms,
            .output = {k->exit.output[0].data, k->exit.output[1].data},
            .total_bytes = {k->exit.output[0].total_bytes, k->exit.output[1].total_bytes},
            .is_truncated = k->exit.output[0].truncated || k->exit.output[1].truncated,
        };
        break;
    case KEEPER_EVENT_LOST:
        log_error("the keeper of slot %zu was killed", k->slot + 1);
        if (!k->was_busy)
            return;
        event.type = POOL_EVENT_LOST;
        event.exit = (struct pool_exit){.slot = k->slot, .lease = k->tag};
        break;
    case KEEPER_EVENT_NURSERY_LOST:
        log_error("the process that makes keepers was killed");
        break;
    }
    step(d, &event);
}

static void serve_keepers(struct driver *d)
{
    if (d->has_held && wire_send_results(d->wire, &d->held) == WIRE_SENT) {
        drop_held(d);
    } else if (d->has_held && clock_boot_ms() >= d->held_until_ms) {
        log_debug("live output is dropped: the broker takes none");
        d->is_dropping = true;
        drop_held(d);
    }
    for (int i = 0; i < KEEPER_EVENTS_PER_TURN && !d->has_held && !d->is_over; i++) {
        struct keeper_event event = {.type = KEEPER_EVENT_OUTPUT};
        if (keeper_set_next(d->keepers, &event) == 0)
            return;
        on_keeper_event(d, &event);
        keeper_event_fini(&event);
    }
}

/* True where `workers` was read to its end. */
static bool serve_messages(struct driver *d)
{
    wire_serve(d->wire);
    for (int i = 0; i < MESSAGES_PER_TURN && !d->is_over; i++) {
        struct msg msg;
        struct error e = {0};
        int rc = wire_receive(d->wire, &msg, &e);
        if (rc == 0)
            return true;
        if (rc < 0) {
            log_debug("a message was dropped: %s", e.text);
            continue;
        }
        struct pool_event event = {.type = POOL_EVENT_MESSAGE, .msg = &msg};
        step(d, &event);
    }
    return false;
}

static void serve_signals(struct driver *d)
{
    struct signalfd_siginfo info;
    while (!d->is_over && read(d->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        switch (info.ssi_signo) {
        case SIGCHLD:
            while (waitpid(-1, NULL, WNOHANG) > 0)
                continue;
            break;
        case SIGINT:
        case SIGQUIT:
            notify_send("STOPPING=1");
            step_plain(d, POOL_EVENT_INT);
            break;
        case SIGUSR1:
            step_plain(d, POOL_EVENT_QUIET);
            break;
        default: /* TERM, and HUP: the terminal is gone */
            notify_send("STOPPING=1");
            step_plain(d, POOL_EVENT_TERM);
            break;
        }
    }
}

int driver_signals(struct error *e)
{
    static const int served[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGCHLD};
    sigset_t mask;
    sigemptyset(&mask);
    for (size_t i = 0; i < ARRAY_SIZE(served); i++)
        sigaddset(&mask, served[i]);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    int fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd >= 0 ? fd : error_set_errno(e, errno, errno, "signalfd");
}

static long wait_ms(const struct driver *d)
{
    uint64_t deadline = min_u64(pool_deadline(d->pool), d->has_held ? d->held_until_ms : NEVER_MS);
    if (deadline == NEVER_MS)
        return -1;
    return (long)min_u64(sub_sat_u64(deadline, clock_boot_ms()), INT32_MAX);
}

static void turn(struct driver *d)
{
    zmq_pollitem_t items[WIRE_POLL_ITEMS + 2];
    size_t n = wire_poll_items(d->wire, d->has_held, items);
    items[n++] = (zmq_pollitem_t){.fd = d->signal_fd, .events = ZMQ_POLLIN};
    if (!d->has_held)
        items[n++] = (zmq_pollitem_t){.fd = keeper_set_fd(d->keepers), .events = ZMQ_POLLIN};
    zmq_poll(items, (int)n, wait_ms(d));
    serve_signals(d);
    bool is_drained = serve_messages(d);
    serve_keepers(d);
    if (!d->is_over && is_drained && wire_was_cut(d->wire))
        step_plain(d, POOL_EVENT_CUT);
    if (!d->is_over && is_drained && clock_boot_ms() >= pool_deadline(d->pool))
        step_plain(d, POOL_EVENT_TICK);
}

int driver_run(const struct driver_config *config, struct keeper_set *keepers, int signal_fd)
{
    struct driver *d = mem_zalloc(sizeof *d);
    d->pool = pool_new(&config->pool);
    d->keepers = keepers;
    d->signal_fd = signal_fd;
    d->wire = wire_new(config->addresses, config->address_count);
    d->rng.state = config->pool.instance ^ clock_boot_ms();
    pool_effects_init(&d->fx);
    notify_send("READY=1");
    step_plain(d, POOL_EVENT_START);
    while (!d->is_over)
        turn(d);
    int exit_code = d->exit_code;
    drop_held(d);
    wire_free(&d->wire);
    pool_effects_fini(&d->fx);
    pool_free(&d->pool);
    free(d);
    return exit_code;
}
