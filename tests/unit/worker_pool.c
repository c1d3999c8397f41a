/* SPDX-License-Identifier: MPL-2.0 */
/* worker_pool.c - the rules of a worker against a broker played by hand: registration, credit,
 * leases and fences, verdicts until their ACK, leaving. Time is a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "worker/pool/pool.h"

#define INSTANCE UINT64_C(0xabc)
#define START 5
#define LEASE_MS 30000
#define MARGIN_MS 1000
#define INTERVAL_MS 1000

struct world {
    struct pool *pool;
    struct pool_effects fx; /* of the last step */
    uint64_t now;
};

static void world_open(struct world *w, uint32_t slots)
{
    static const char *const handler[] = {"handler"};
    struct pool_config c = {.instance = INSTANCE,
                            .handler_argv = handler,
                            .handler_argc = 1,
                            .grace_ms = 30000,
                            .kill_grace_ms = 10000};
    snprintf(c.ready.name, sizeof c.ready.name, "w1");
    snprintf(c.ready.queues[0], sizeof c.ready.queues[0], "default");
    c.ready.queue_count = 1;
    c.ready.slots = slots;
    c.ready.kinds = KIND_BIT(JOB_PAYLOAD) | KIND_BIT(JOB_COMMAND);
    *w = (struct world){.pool = pool_new(&c), .now = 1000000};
    pool_effects_init(&w->fx);
}

static void world_close(struct world *w)
{
    pool_effects_fini(&w->fx);
    pool_free(&w->pool);
}

static void step(struct world *w, struct pool_event event)
{
    pool_effects_reset(&w->fx);
    event.boot_ms = w->now;
    event.random = 7;
    pool_step(w->pool, &event, &w->fx);
}

static void step_plain(struct world *w, enum pool_event_type type)
{
    step(w, (struct pool_event){.type = type});
}

/* A message of the broker under any session; `body` NULL: none. */
static void hear_as(struct world *w, struct session session, enum verb verb, const char *subject,
                    const char *header, const char *body)
{
    char tag[SESSION_BYTES_MAX];
    size_t tag_size = session_format(&session, tag);
    struct outmsg out;
    outmsg_init(&out, verb, view_of(tag, tag_size), view_str(subject));
    outmsg_header(&out, view_str(header));
    if (body != NULL)
        outmsg_body(&out, blob_from_view(view_str(body)));
    struct view frames[8];
    size_t n = outmsg_frame_count(&out);
    for (size_t i = 0; i < n; i++)
        frames[i] = outmsg_frame(&out, i);
    struct msg msg;
    struct error e = {0};
    if (msg_decode(frames, n, PLANE_B, &msg, &e) != STATUS_OK)
        fail_msg("%s", e.text);
    step(w, (struct pool_event){.type = POOL_EVENT_MESSAGE, .msg = &msg});
    outmsg_fini(&out);
}

static void hear(struct world *w, enum verb verb, const char *subject, const char *header,
                 const char *body)
{
    struct session s = pool_session(w->pool);
    s.broker_start = START;
    hear_as(w, s, verb, subject, header, body);
}

static const struct pool_effect *find(const struct world *w, enum pool_effect_type type)
{
    for (size_t i = 0; i < w->fx.count; i++)
        if (w->fx.items[i].type == type)
            return &w->fx.items[i];
    return NULL;
}

static const struct outmsg *sent(const struct world *w, enum verb verb)
{
    for (size_t i = 0; i < w->fx.count; i++) {
        const struct pool_effect *f = &w->fx.items[i];
        bool is_send = f->type == POOL_EFFECT_SEND_WORKERS || f->type == POOL_EFFECT_SEND_RESULTS;
        if (is_send && f->message.verb == verb)
            return &f->message;
    }
    return NULL;
}

static void check_subject(const struct outmsg *m, const char *expected)
{
    assert_non_null(m);
    if (!view_is(outmsg_frame(m, OUT_SUBJECT), expected))
        fail_msg("subject is %.*s, not %s", VIEW_ARG(outmsg_frame(m, OUT_SUBJECT)), expected);
}

static void check_body(const struct outmsg *m, size_t i, const char *expected)
{
    assert_non_null(m);
    assert_true(i < m->body_count);
    if (!view_is(blob_view(m->bodies[i]), expected))
        fail_msg("body is %.*s, not %s", VIEW_ARG(blob_view(m->bodies[i])), expected);
}

static bool header_has(const struct outmsg *m, const char *text)
{
    struct view v = outmsg_frame(m, OUT_HEADER);
    return memmem(v.data, v.size, text, strlen(text)) != NULL;
}

static void tick_at(struct world *w, uint64_t now)
{
    w->now = now;
    step_plain(w, POOL_EVENT_TICK);
}

static void welcome(struct world *w)
{
    char header[160];
    snprintf(header, sizeof header,
             "{\"interval_ms\":%d,\"lease_ms\":%d,\"margin_ms\":%d,\"reconnect_ms\":100}",
             INTERVAL_MS, LEASE_MS, MARGIN_MS);
    hear(w, VERB_READY, "", header, NULL);
}

static void register_now(struct world *w)
{
    if (pool_stats(w->pool)->dials == 0)
        step_plain(w, POOL_EVENT_START);
    while (pool_link(w->pool) == POOL_LINK_DOWN)
        tick_at(w, pool_deadline(w->pool));
    assert_int_equal(pool_link(w->pool), POOL_LINK_DIALLED);
    welcome(w);
    assert_int_equal(pool_link(w->pool), POOL_LINK_UP);
}

static void answer_beats(struct world *w)
{
    const struct outmsg *beat = sent(w, VERB_BEAT);
    assert_non_null(beat);
    char number[24];
    struct view v = outmsg_frame(beat, OUT_SUBJECT);
    snprintf(number, sizeof number, "%.*s", VIEW_ARG(v));
    hear(w, VERB_BEAT, number, "", NULL);
}

static void exited(struct world *w, size_t slot, uint64_t lease, enum pool_cause cause, int code,
                   int signal)
{
    struct blob *out = blob_from_view(view_str("out"));
    step(w, (struct pool_event){.type = POOL_EVENT_EXITED,
                                .exit = {.slot = slot,
                                         .lease = lease,
                                         .cause = cause,
                                         .exit_code = code,
                                         .signal = signal,
                                         .output = {out, NULL},
                                         .total_bytes = {3, 0}}});
    blob_unref(&out);
}

/* ---- */

static void registration(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 2);
    step_plain(&w, POOL_EVENT_START);
    assert_int_equal(w.fx.items[0].type, POOL_EFFECT_DIAL);
    const struct outmsg *ready = sent(&w, VERB_READY);
    assert_true(view_is(outmsg_frame(ready, OUT_TAG), "0000000000000abc.1.0"));
    assert_true(header_has(ready, "\"slots\":2"));
    /* An answer of another epoch or instance is not for us. */
    struct session other = {.instance = INSTANCE, .epoch = 9, .broker_start = START};
    hear_as(&w, other, VERB_READY, "", "", NULL);
    other = (struct session){.instance = 1, .epoch = 1, .broker_start = START};
    hear_as(&w, other, VERB_REGISTER, "", "", NULL);
    assert_int_equal(pool_link(w.pool), POOL_LINK_DIALLED);
    assert_int_equal(pool_stats(w.pool)->refused_session, 2);
    welcome(&w);
    assert_non_null(find(&w, POOL_EFFECT_REGISTERED));
    assert_true(view_is(outmsg_frame(sent(&w, VERB_INVENTORY), OUT_TAG), "0000000000000abc.1.5"));
    check_subject(sent(&w, VERB_BEAT), "1");
    check_subject(sent(&w, VERB_CREDIT), "2");
    /* REGISTER: everything anew, with the next epoch, after at most reconnect_ms. */
    hear(&w, VERB_REGISTER, "", "", NULL);
    assert_non_null(find(&w, POOL_EFFECT_HANG_UP));
    assert_true(pool_deadline(w.pool) <= w.now + 100);
    tick_at(&w, pool_deadline(w.pool));
    assert_true(view_is(outmsg_frame(sent(&w, VERB_READY), OUT_TAG), "0000000000000abc.2.0"));
    /* No answer: again. */
    tick_at(&w, pool_deadline(w.pool));
    assert_int_equal(pool_link(w.pool), POOL_LINK_DOWN);
    register_now(&w);
    world_close(&w);
}

static void a_refusal_is_said_once(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    step_plain(&w, POOL_EVENT_START);
    for (int i = 0; i < 3; i++) {
        struct session s = pool_session(w.pool); /* as in READY: its start is 0 */
        hear_as(&w, s, VERB_ERR, "busy", "{\"message\":\"there are 2 workers\"}", NULL);
        const struct pool_effect *said = find(&w, POOL_EFFECT_LOG);
        assert_non_null(strstr(said->text, "there are 2 workers"));
        assert_int_equal(said->level, i == 0 ? POOL_LEVEL_WARN : POOL_LEVEL_DEBUG);
        assert_int_equal(pool_link(w.pool), POOL_LINK_DOWN);
        assert_true(pool_deadline(w.pool) >= w.now + 1000);
        tick_at(&w, pool_deadline(w.pool));
        assert_non_null(sent(&w, VERB_READY));
    }
    welcome(&w);
    assert_int_equal(pool_link(w.pool), POOL_LINK_UP);
    world_close(&w);
}

static void a_job_runs_and_is_reported(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    register_now(&w);
    hear(&w, VERB_JOB, "7.1.100", "{\"argv\":[\"echo\",\"hi\"]}", "");
    const struct pool_effect *spawn = find(&w, POOL_EFFECT_SPAWN);
    assert_non_null(spawn);
    assert_int_equal(spawn->lease, 100);
    assert_int_equal(spawn->fence_ms, w.now + LEASE_MS - MARGIN_MS);
    assert_string_equal(spawn->command->argv[1], "hi");
    assert_null(sent(&w, VERB_CREDIT)); /* the slot is taken */
    tick_at(&w, w.now + INTERVAL_MS);
    check_body(sent(&w, VERB_BEAT), 0, "100");
    answer_beats(&w);
    step(&w, (struct pool_event){.type = POOL_EVENT_OUTPUT,
                                 .output = {.slot = 0, .lease = 100, .bytes = view_str("hi\n")}});
    check_subject(sent(&w, VERB_OUTPUT), "7.1.100");
    check_body(sent(&w, VERB_OUTPUT), 0, "out");
    check_body(sent(&w, VERB_OUTPUT), 1, "0");
    check_body(sent(&w, VERB_OUTPUT), 2, "hi\n");
    exited(&w, 0, 100, POOL_CAUSE_EXITED, 0, 0);
    check_subject(sent(&w, VERB_DONE), "7.1.100");
    assert_int_equal(outmsg_frame(sent(&w, VERB_DONE), OUT_HEADER).size, 0);
    check_body(sent(&w, VERB_DONE), 0, "out");
    check_subject(sent(&w, VERB_CREDIT), "2");
    assert_int_equal(pool_outbox(w.pool), 1);
    /* Kept and listed until the ACK; sent again every two seconds. */
    tick_at(&w, w.now + POOL_RESEND_MS);
    assert_non_null(sent(&w, VERB_DONE));
    check_body(sent(&w, VERB_BEAT), 0, "100");
    hear(&w, VERB_ACK, "accepted", "", "7.1.99");
    assert_int_equal(pool_outbox(w.pool), 1);
    hear(&w, VERB_ACK, "stale", "", "7.1.100");
    assert_int_equal(pool_outbox(w.pool), 0);
    world_close(&w);
}

static void verdicts_in_words(void **state)
{
    (void)state;
    static const struct {
        enum pool_cause cause;
        int code;
        int signal;
        enum verb verb;
        const char *header;
    } rows[] = {
        {POOL_CAUSE_EXITED, 3, 0, VERB_FAIL, "exit 3"},
        {POOL_CAUSE_EXITED, -1, 9, VERB_FAIL, "signal 9"},
        {POOL_CAUSE_TIME_LIMIT, 0, 0, VERB_FAIL, "time limit"},
        {POOL_CAUSE_CANCELLED, 0, 0, VERB_DONE, ""},
        {POOL_CAUSE_CANCELLED, -1, 15, VERB_FAIL, "signal 15"},
        {POOL_CAUSE_RELEASED, -1, 15, VERB_RELEASED, "leaving"},
        {POOL_CAUSE_FENCED, -1, 9, VERB_RELEASED, "lease"},
        {POOL_CAUSE_NOT_STARTED, 127, 0, VERB_FAIL, "worker w1"},
    };
    struct world w;
    world_open(&w, 1);
    register_now(&w);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char ref[32];
        snprintf(ref, sizeof ref, "%zu.1.%zu", i + 1, i + 50);
        hear(&w, VERB_JOB, ref, "", "payload");
        assert_string_equal(find(&w, POOL_EFFECT_SPAWN)->command->argv[0], "handler");
        exited(&w, 0, i + 50, rows[i].cause, rows[i].code, rows[i].signal);
        const struct outmsg *m = sent(&w, rows[i].verb);
        assert_non_null(m);
        assert_true(header_has(m, rows[i].header));
        hear(&w, VERB_ACK, "accepted", "", ref);
    }
    hear(&w, VERB_JOB, "90.1.90", "", "payload");
    step(&w, (struct pool_event){.type = POOL_EVENT_LOST, .exit = {.slot = 0, .lease = 90}});
    assert_true(header_has(sent(&w, VERB_FAIL), "keeper lost"));
    hear(&w, VERB_JOB, "91.1.91", "{\"argv\":", "x");
    assert_non_null(sent(&w, VERB_DISCARD));
    world_close(&w);
}

static void jobs_that_are_not_started(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    register_now(&w);
    struct session old = pool_session(w.pool);
    old.broker_start--;
    hear_as(&w, old, VERB_JOB, "1.1.1", "", "p");
    assert_int_equal(pool_busy(w.pool), 0);
    assert_int_equal(pool_stats(w.pool)->refused_session, 1);
    hear(&w, VERB_JOB, "1.1.1", "", "p");
    assert_int_equal(pool_busy(w.pool), 1);
    hear(&w, VERB_JOB, "1.1.1", "", "p"); /* the same again */
    assert_int_equal(pool_stats(w.pool)->refused_twice, 1);
    hear(&w, VERB_JOB, "2.1.2", "", "p"); /* beyond the credit */
    assert_null(find(&w, POOL_EFFECT_SPAWN));
    check_subject(sent(&w, VERB_RELEASED), "2.1.2");
    exited(&w, 0, 1, POOL_CAUSE_EXITED, 0, 0);
    hear(&w, VERB_JOB, "1.1.1", "", "p"); /* its verdict is in the outbox */
    assert_null(find(&w, POOL_EFFECT_SPAWN));
    /* After the end of the lease: no answered BEAT since the registration. */
    uint64_t end = w.now + LEASE_MS - MARGIN_MS;
    w.now = end;
    hear(&w, VERB_JOB, "3.1.3", "", "p");
    assert_null(find(&w, POOL_EFFECT_SPAWN));
    assert_int_equal(pool_stats(w.pool)->refused_late, 1);
    world_close(&w);
}

static void leases_and_fences(void **state)
{
    (void)state;
    struct world w;
    struct ref ref;
    uint64_t end = 0;
    world_open(&w, 2);
    register_now(&w);
    uint64_t begin = w.now;
    hear(&w, VERB_JOB, "1.1.1", "", "p");
    /* The answer to BEAT 1, sent before the JOB came, does not renew it. */
    w.now += 500;
    hear(&w, VERB_BEAT, "1", "", NULL);
    assert_null(find(&w, POOL_EFFECT_FENCE));
    tick_at(&w, begin + INTERVAL_MS);
    check_subject(sent(&w, VERB_BEAT), "2");
    w.now += 400;
    hear(&w, VERB_BEAT, "2", "", NULL);
    assert_int_equal(find(&w, POOL_EFFECT_FENCE)->fence_ms,
                     begin + INTERVAL_MS + LEASE_MS - MARGIN_MS);
    hear(&w, VERB_BEAT, "2", "", NULL); /* twice, and one that was never sent */
    hear(&w, VERB_BEAT, "77", "", NULL);
    assert_null(find(&w, POOL_EFFECT_FENCE));
    /* Silence: it dials again; the job runs on until its lease ends, then it is killed at once. */
    tick_at(&w, begin + 2 * INTERVAL_MS);
    while (pool_link(w.pool) == POOL_LINK_UP)
        tick_at(&w, pool_deadline(w.pool));
    assert_true(w.now <= begin + 5 * INTERVAL_MS);
    assert_true(pool_slot_holds(w.pool, 0, &ref, &end));
    assert_int_equal(end, begin + INTERVAL_MS + LEASE_MS - MARGIN_MS);
    tick_at(&w, end - 1);
    assert_null(find(&w, POOL_EFFECT_STOP));
    tick_at(&w, end);
    const struct pool_effect *stop = find(&w, POOL_EFFECT_STOP);
    assert_non_null(stop);
    assert_int_equal(stop->cause, POOL_CAUSE_FENCED);
    assert_int_equal(stop->grace_ms, 0);
    assert_false(pool_slot_holds(w.pool, 0, &ref, &end));
    assert_int_equal(pool_busy(w.pool), 1); /* until its processes are gone */
    register_now(&w);
    check_body(sent(&w, VERB_INVENTORY), 0, "");
    check_subject(sent(&w, VERB_CREDIT), "1");
    exited(&w, 0, 1, POOL_CAUSE_FENCED, -1, 9);
    assert_int_equal(pool_outbox(w.pool), 0); /* forgotten: no verdict */
    check_subject(sent(&w, VERB_CREDIT), "2");
    world_close(&w);
}

static void work_survives_a_gap(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 3);
    register_now(&w);
    hear(&w, VERB_JOB, "1.1.10", "", "p");
    hear(&w, VERB_JOB, "2.1.11", "", "p");
    hear(&w, VERB_JOB, "3.2.13", "", "p");
    exited(&w, 2, 13, POOL_CAUSE_EXITED, 0, 0);
    step_plain(&w, POOL_EVENT_CUT);
    exited(&w, 1, 11, POOL_CAUSE_EXITED, 1, 0); /* while there is no broker */
    assert_null(sent(&w, VERB_FAIL));
    register_now(&w);
    check_body(sent(&w, VERB_INVENTORY), 0, "1.1.10\n");
    const struct outmsg *inventory = sent(&w, VERB_INVENTORY);
    assert_int_equal(blob_size(inventory->bodies[1]), strlen("2.1.11\n3.2.13\n"));
    check_body(sent(&w, VERB_BEAT), 0, "10-11,13");
    assert_non_null(sent(&w, VERB_DONE));
    assert_non_null(sent(&w, VERB_FAIL));
    check_subject(sent(&w, VERB_CREDIT), "2");
    /* The READY that was answered does not renew what runs, the next BEAT does. */
    assert_null(find(&w, POOL_EFFECT_FENCE));
    answer_beats(&w);
    assert_non_null(find(&w, POOL_EFFECT_FENCE));
    world_close(&w);
}

static void a_planned_absence_extends_leases(void **state)
{
    (void)state;
    struct world w;
    struct ref ref;
    uint64_t before = 0;
    uint64_t after = 0;
    world_open(&w, 1);
    register_now(&w);
    hear(&w, VERB_JOB, "1.1.10", "", "p");
    assert_true(pool_slot_holds(w.pool, 0, &ref, &before));
    hear(&w, VERB_AWAY, "120000", "", NULL);
    assert_int_equal(find(&w, POOL_EFFECT_FENCE)->fence_ms, before + 120000);
    hear(&w, VERB_AWAY, "120000", "", NULL); /* said twice, meant once */
    assert_true(pool_slot_holds(w.pool, 0, &ref, &after));
    assert_int_equal(after, before + 120000);
    step_plain(&w, POOL_EVENT_CUT);
    tick_at(&w, before + 60000);
    assert_true(pool_slot_holds(w.pool, 0, &ref, &after));
    register_now(&w); /* the lease is that of the new session once a BEAT listed it */
    answer_beats(&w);
    assert_true(pool_slot_holds(w.pool, 0, &ref, &after));
    assert_true(after <= w.now + LEASE_MS - MARGIN_MS);
    world_close(&w);
}

static void cancel(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    register_now(&w);
    hear(&w, VERB_JOB, "1.1.10", "", "p");
    hear(&w, VERB_CANCEL, "1.1.11", "{\"grace_ms\":500}", NULL);
    assert_null(find(&w, POOL_EFFECT_STOP));
    hear(&w, VERB_CANCEL, "1.1.10", "{\"grace_ms\":500,\"reason\":\"x\"}", NULL);
    const struct pool_effect *stop = find(&w, POOL_EFFECT_STOP);
    assert_int_equal(stop->cause, POOL_CAUSE_CANCELLED);
    assert_int_equal(stop->grace_ms, 500);
    world_close(&w);
}

static void the_outbox_bounds_credit(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 4);
    register_now(&w);
    uint64_t lease = 1;
    for (; pool_outbox(w.pool) < PROTO_OUTBOX_MAX; lease++) {
        char ref[64];
        snprintf(ref, sizeof ref, "%llu.1.%llu", (unsigned long long)lease,
                 (unsigned long long)lease);
        hear(&w, VERB_JOB, ref, "", "p");
        if (find(&w, POOL_EFFECT_SPAWN) != NULL)
            exited(&w, find(&w, POOL_EFFECT_SPAWN)->slot, lease, POOL_CAUSE_EXITED, 0, 0);
    }
    assert_null(sent(&w, VERB_CREDIT));
    hear(&w, VERB_JOB, "5000.1.5000", "", "p");
    assert_null(find(&w, POOL_EFFECT_SPAWN));
    assert_int_equal(pool_outbox(w.pool), PROTO_OUTBOX_MAX);
    hear(&w, VERB_ACK, "accepted", "", "1.1.1");
    assert_non_null(sent(&w, VERB_CREDIT));
    world_close(&w);
}

static void a_machine_that_cannot_fork(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    register_now(&w);
    hear(&w, VERB_JOB, "1.1.10", "", "p");
    step(&w, (struct pool_event){.type = POOL_EVENT_NOT_SPAWNED,
                                 .exit = {.slot = 0, .lease = 10, .reason = "fork: no memory"}});
    assert_non_null(sent(&w, VERB_RELEASED));
    assert_null(sent(&w, VERB_CREDIT)); /* not at once */
    tick_at(&w, w.now + POOL_SPAWN_PAUSE_MS);
    assert_non_null(sent(&w, VERB_CREDIT));
    world_close(&w);
}

/* ---- leaving ---- */

static void drain(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 2);
    register_now(&w);
    hear(&w, VERB_JOB, "1.1.10", "", "p");
    step_plain(&w, POOL_EVENT_TERM);
    assert_null(find(&w, POOL_EFFECT_STOP));
    hear(&w, VERB_JOB, "2.1.11", "", "p"); /* was under way: given back */
    check_subject(sent(&w, VERB_RELEASED), "2.1.11");
    exited(&w, 0, 10, POOL_CAUSE_EXITED, 0, 0);
    assert_null(sent(&w, VERB_CREDIT));
    assert_null(find(&w, POOL_EFFECT_EXIT)); /* two verdicts are on the way */
    hear(&w, VERB_ACK, "accepted", "", "1.1.10");
    hear(&w, VERB_ACK, "accepted", "", "2.1.11");
    assert_non_null(sent(&w, VERB_BYE));
    assert_int_equal(find(&w, POOL_EFFECT_EXIT)->exit_code, 0);
    step_plain(&w, POOL_EVENT_TERM);
    assert_int_equal(w.fx.count, 0);
    world_close(&w);
}

static void grace_and_impatience(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct world w;
        world_open(&w, 1);
        register_now(&w);
        hear(&w, VERB_JOB, "1.1.10", "", "p");
        if (how < 2)
            step_plain(&w, POOL_EVENT_TERM);
        if (how == 0)
            tick_at(&w, w.now + 30000 - MARGIN_MS - 1); /* the lease would end before the grace */
        else if (how == 1)
            step_plain(&w, POOL_EVENT_TERM);
        else if (how == 2)
            step_plain(&w, POOL_EVENT_INT);
        else
            hear(&w, VERB_STOP, "exit", "", NULL);
        if (how == 0) {
            assert_null(find(&w, POOL_EFFECT_STOP));
        } else {
            assert_int_equal(find(&w, POOL_EFFECT_STOP)->cause, POOL_CAUSE_RELEASED);
            exited(&w, 0, 10, POOL_CAUSE_RELEASED, -1, 15);
            check_subject(sent(&w, VERB_RELEASED), "1.1.10");
            hear(&w, VERB_ACK, "accepted", "", "1.1.10");
            assert_non_null(sent(&w, VERB_BYE));
            assert_int_equal(find(&w, POOL_EFFECT_EXIT)->exit_code, 0);
        }
        world_close(&w);
    }
}

static void grace_over(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    register_now(&w);
    hear(&w, VERB_JOB, "1.1.10", "", "p");
    step_plain(&w, POOL_EVENT_TERM);
    uint64_t end = w.now + 30000;
    for (w.now += INTERVAL_MS; w.now < end; w.now += INTERVAL_MS) {
        step_plain(&w, POOL_EVENT_TICK);
        assert_null(find(&w, POOL_EFFECT_STOP));
        answer_beats(&w);
    }
    tick_at(&w, end);
    assert_int_equal(find(&w, POOL_EFFECT_STOP)->cause, POOL_CAUSE_RELEASED);
    /* The broker is gone: the worker leaves with its verdict after a while. */
    exited(&w, 0, 10, POOL_CAUSE_RELEASED, -1, 15);
    step_plain(&w, POOL_EVENT_CUT);
    uint64_t until = w.now + POOL_LEAVE_MS;
    while (find(&w, POOL_EFFECT_EXIT) == NULL && w.now <= until)
        tick_at(&w, pool_deadline(w.pool));
    assert_non_null(find(&w, POOL_EFFECT_EXIT));
    world_close(&w);
}

static void stop_release_and_quiet(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    register_now(&w);
    hear(&w, VERB_JOB, "1.1.10", "", "p");
    hear(&w, VERB_STOP, "release", "", NULL);
    assert_int_equal(find(&w, POOL_EFFECT_STOP)->cause, POOL_CAUSE_RELEASED);
    exited(&w, 0, 10, POOL_CAUSE_RELEASED, -1, 15);
    assert_null(sent(&w, VERB_CREDIT));
    hear(&w, VERB_ACK, "accepted", "", "1.1.10");
    assert_null(find(&w, POOL_EFFECT_EXIT));
    step_plain(&w, POOL_EVENT_CUT);
    register_now(&w); /* the next broker gets credit */
    assert_non_null(sent(&w, VERB_CREDIT));
    step_plain(&w, POOL_EVENT_QUIET);
    hear(&w, VERB_JOB, "2.1.20", "", "p"); /* granted before: runs */
    assert_non_null(find(&w, POOL_EFFECT_SPAWN));
    exited(&w, 0, 20, POOL_CAUSE_EXITED, 0, 0);
    assert_null(sent(&w, VERB_CREDIT));
    assert_null(find(&w, POOL_EFFECT_EXIT));
    step_plain(&w, POOL_EVENT_FATAL);
    hear(&w, VERB_ACK, "accepted", "", "2.1.20");
    assert_int_equal(find(&w, POOL_EFFECT_EXIT)->exit_code, 70);
    world_close(&w);
}

/* Noise: any message and event in any order never breaks the count of slots. */
static void noise(void **state)
{
    (void)state;
    static const enum verb verbs[] = {VERB_READY, VERB_JOB,  VERB_ACK,      VERB_BEAT, VERB_CANCEL,
                                      VERB_STOP,  VERB_AWAY, VERB_REGISTER, VERB_PROBE};
    static const char *const subjects[] = {"",        "1.1.1", "accepted", "3", "1.1.1",
                                           "release", "50",    "",         ""};
    static const char *const bodies[] = {NULL, "p", "1.1.1", NULL, NULL, NULL, NULL, NULL, NULL};
    uint64_t seed = 1;
    for (int round = 0; round < 200; round++) {
        struct world w;
        world_open(&w, 2);
        register_now(&w);
        for (int i = 0; i < 60; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            size_t pick = (size_t)(seed >> 40) % 14;
            w.now += (seed >> 50) % 700;
            if (pick < ARRAY_SIZE(verbs))
                hear(&w, verbs[pick], subjects[pick], "", bodies[pick]);
            else if (pick == 9)
                exited(&w, seed >> 60 & 1, 1, POOL_CAUSE_EXITED, 0, 0);
            else if (pick == 10)
                step_plain(&w, POOL_EVENT_CUT);
            else
                step_plain(&w, POOL_EVENT_TICK);
            assert_true(pool_busy(w.pool) <= 2);
            assert_true(pool_deadline(w.pool) > w.now || pick < 11);
        }
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registration),
        cmocka_unit_test(a_refusal_is_said_once),
        cmocka_unit_test(a_job_runs_and_is_reported),
        cmocka_unit_test(verdicts_in_words),
        cmocka_unit_test(jobs_that_are_not_started),
        cmocka_unit_test(leases_and_fences),
        cmocka_unit_test(work_survives_a_gap),
        cmocka_unit_test(a_planned_absence_extends_leases),
        cmocka_unit_test(cancel),
        cmocka_unit_test(the_outbox_bounds_credit),
        cmocka_unit_test(a_machine_that_cannot_fork),
        cmocka_unit_test(drain),
        cmocka_unit_test(grace_and_impatience),
        cmocka_unit_test(grace_over),
        cmocka_unit_test(stop_release_and_quiet),
        cmocka_unit_test(noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
