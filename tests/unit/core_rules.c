/* SPDX-License-Identifier: MPL-2.0 */
/* The rules of semantics, one story each, on the bare core: what goes out, what is recorded, what
 * waits for the commit. Virtual time. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "broker/core/core.h"

struct world {
    struct core *core;
    struct effects fx;
    struct core_config config;
    uint64_t now_ms;
    uint64_t wall_ms;
    uint64_t sequence;
};

static struct world w;

static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    core_config_init(&w.config);
    w.core = core_new(&w.config);
    effects_init(&w.fx);
    w.now_ms = 1000;
    w.wall_ms = UINT64_C(1795176000000);
    struct event e = {.type = EVENT_START, .now_ms = w.now_ms, .wall_ms = w.wall_ms};
    core_step(w.core, &e, &w.fx);
    effects_reset(&w.fx);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    effects_fini(&w.fx);
    core_free(&w.core);
    return 0;
}

/* One event, its effects alone in w.fx. */
static void step(struct event *e)
{
    e->now_ms = w.now_ms;
    e->wall_ms = w.wall_ms;
    effects_reset(&w.fx);
    core_step(w.core, e, &w.fx);
    core_turn_end(w.core, w.now_ms, &w.fx);
}

/* Time passes; ticks come when they are due. Effects of all of them are kept. */
static void pass(uint64_t ms)
{
    uint64_t until = w.now_ms + ms;
    effects_reset(&w.fx);
    while (core_deadline(w.core) <= until) {
        uint64_t at = core_deadline(w.core) > w.now_ms ? core_deadline(w.core) : w.now_ms;
        w.wall_ms += at - w.now_ms;
        w.now_ms = at;
        struct event e = {.type = EVENT_TICK, .now_ms = w.now_ms, .wall_ms = w.wall_ms};
        core_step(w.core, &e, &w.fx);
        core_turn_end(w.core, w.now_ms, &w.fx);
    }
    w.wall_ms += until - w.now_ms;
    w.now_ms = until;
}

static struct effect *find(enum effect_type type)
{
    for (size_t i = 0; i < w.fx.count; i++)
        if (w.fx.list[i].type == type)
            return &w.fx.list[i];
    return NULL;
}

static struct record *recorded(enum record_type type)
{
    for (size_t i = 0; i < w.fx.record_count; i++)
        if (w.fx.records[i].type == type)
            return &w.fx.records[i];
    return NULL;
}

static struct event client_event(enum event_type type)
{
    struct event e = {.type = type};
    e.caller.route.socket = SOCKET_CLIENTS;
    e.caller.route.id_size = 1;
    e.caller.route.id[0] = 'c';
    return e;
}

static uint64_t submit_with(const struct job_options *o, uint64_t sequence, uint64_t digest)
{
    struct event e = client_event(EVENT_SUBMIT);
    struct blob *payload = blob_new("p", 1);
    e.submit.queue = view_str("default");
    e.submit.options = o;
    e.submit.payloads = &payload;
    e.submit.count = 1;
    e.submit.request = (struct request_id){5, sequence};
    e.submit.digest = digest;
    step(&e);
    blob_unref(&payload);
    const struct effect *f = find(EFFECT_SUBMITTED);
    return f != NULL ? f->submitted.first : 0;
}

static uint64_t submit(void)
{
    struct job_options o;
    job_options_init(&o);
    return submit_with(&o, ++w.sequence, 1);
}

static struct event worker_event(enum event_type type, uint64_t instance, uint32_t epoch)
{
    struct event e = {.type = type, .connection = (int)instance};
    e.caller.route.socket = SOCKET_WORKERS;
    e.caller.route.id_size = 2;
    e.caller.route.id[0] = (uint8_t)instance;
    e.caller.route.id[1] = (uint8_t)epoch;
    e.session = (struct session){instance, epoch, 0};
    if (type != EVENT_READY)
        e.session.broker_start = (uint32_t)(UINT64_C(1795176000000) / 1000);
    return e;
}

static void worker_credit(uint64_t instance, uint32_t epoch, uint64_t credit)
{
    struct event e = worker_event(EVENT_CREDIT, instance, epoch);
    e.credit = credit;
    step(&e);
}

static void worker_join(uint64_t instance, uint32_t epoch, const struct ref *running, size_t n,
                        uint64_t credit)
{
    struct ready_header h = {.slots = 1, .kinds = 3, .queue_count = 1};
    snprintf(h.name, sizeof h.name, "w%llu", (unsigned long long)instance);
    strcpy(h.queues[0], "default");
    struct event e = worker_event(EVENT_READY, instance, epoch);
    e.ready = &h;
    step(&e);
    assert_non_null(find(EFFECT_READY));
    e = worker_event(EVENT_INVENTORY, instance, epoch);
    e.inventory.running = running;
    e.inventory.running_count = n;
    step(&e);
    if (credit > 0)
        worker_credit(instance, epoch, credit);
}

static struct ref job_sent(void)
{
    const struct effect *f = find(EFFECT_JOB);
    assert_non_null(f);
    assert_true(f->waits);
    return f->job.ref;
}

static void verdict(uint64_t instance, uint32_t epoch, struct ref ref, enum outcome outcome)
{
    struct verdict_header h;
    verdict_header_init(&h);
    h.exit_code = outcome == OUTCOME_OK ? 0 : 3;
    struct event e = worker_event(EVENT_VERDICT, instance, epoch);
    e.verdict.ref = ref;
    e.verdict.outcome = outcome;
    e.verdict.header = &h;
    step(&e);
}

static void assert_acked(const char *outcome)
{
    const struct effect *f = find(EFFECT_ACK);
    assert_non_null(f);
    assert_true(f->waits);
    assert_string_equal(f->ack.outcome, outcome);
}

static void lose(uint64_t instance, uint32_t epoch)
{
    struct event e = worker_event(EVENT_UNREACHABLE, instance, epoch);
    step(&e);
    pass(w.config.cut_ms);
}

static void submit_waits_for_its_commit(void **state)
{
    (void)state;
    assert_int_equal(submit(), 1);
    assert_true(find(EFFECT_SUBMITTED)->waits);
    assert_non_null(recorded(RECORD_ADD));
    assert_non_null(recorded(RECORD_CLIENT));
}

static void repeated_submit_is_the_same_job(void **state)
{
    (void)state;
    struct job_options o;
    job_options_init(&o);
    assert_int_equal(submit_with(&o, 1, 7), 1);
    assert_int_equal(submit_with(&o, 1, 7), 1);
    assert_true(find(EFFECT_SUBMITTED)->submitted.is_existing);
    assert_true(find(EFFECT_SUBMITTED)->waits);
    assert_null(recorded(RECORD_ADD));
    assert_int_equal(submit_with(&o, 1, 8), 0);
    assert_int_equal(find(EFFECT_REFUSE)->refuse.status, STATUS_CONFLICT);
    assert_int_equal(submit_with(&o, 9, 7), 2);
    assert_int_equal(submit_with(&o, 1, 7), 0); /* its place in the ring is taken */
    assert_int_equal(find(EFFECT_REFUSE)->refuse.status, STATUS_CONFLICT);
}

static void full_table_of_clients_forgets_others(void **state)
{
    (void)state;
    struct job_options o;
    job_options_init(&o);
    teardown(state);
    w.config.clients_max = 1;
    w.core = core_new(&w.config);
    struct event e = {.type = EVENT_START, .now_ms = w.now_ms, .wall_ms = w.wall_ms};
    step(&e);
    assert_int_equal(submit_with(&o, 1, 7), 1);
    assert_int_equal(submit_with(&o, 2, 7), 2);
    assert_int_equal(submit_with(&o, 1, 7), 1); /* its own requests are still known */
    assert_true(find(EFFECT_SUBMITTED)->submitted.is_existing);
}

static void lease_rides_in_the_submits_commit(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 1);
    submit();
    assert_non_null(recorded(RECORD_ADD));
    assert_non_null(recorded(RECORD_LEASE));
    struct ref ref = job_sent();
    assert_int_equal(ref.attempt, 1);
    submit(); /* no credit left */
    assert_null(find(EFFECT_JOB));
    worker_credit(1, 1, 2);
    assert_int_equal(job_sent().job, 2);
}

static void fence_refuses_old_attempts(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 1);
    submit();
    struct ref first = job_sent();
    worker_join(2, 1, NULL, 0, 1);
    lose(1, 1);
    struct ref second = job_sent();
    assert_int_equal(second.attempt, 2);
    assert_true(second.lease > first.lease);
    worker_join(1, 2, NULL, 0, 0);
    verdict(1, 2, first, OUTCOME_OK);
    assert_acked("stale");
    assert_null(recorded(RECORD_FINISH));
    verdict(2, 1, second, OUTCOME_OK);
    assert_acked("accepted");
    assert_non_null(recorded(RECORD_FINISH));
    verdict(2, 1, second, OUTCOME_FAIL);
    assert_acked("duplicate");
    assert_null(recorded(RECORD_FINISH));
}

static void crash_limit_ends_a_poison_job(void **state)
{
    (void)state;
    submit();
    for (uint64_t i = 1; i <= 3; i++) {
        worker_join(i, 1, NULL, 0, 1);
        assert_int_equal(job_sent().attempt, i);
        lose(i, 1);
    }
    const struct record *r = recorded(RECORD_FINISH);
    assert_non_null(r);
    assert_int_equal(r->finish->state, JOB_FAILED);
    assert_int_equal(r->finish->crashes, 3);
    struct view reason = blob_view(r->finish->reason);
    assert_true(reason.size > 15 && memcmp(reason.data, "crashed 3 times", 15) == 0);
}

static void two_crashed_jobs_do_not_share_a_worker(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 2);
    submit();
    submit();
    lose(1, 1);
    worker_join(2, 1, NULL, 0, 2);
    size_t sent = 0;
    for (size_t i = 0; i < w.fx.count; i++)
        sent += w.fx.list[i].type == EFFECT_JOB;
    assert_int_equal(sent, 1);
    worker_join(3, 1, NULL, 0, 2);
    assert_non_null(find(EFFECT_JOB));
}

static void retries_wait_and_end(void **state)
{
    (void)state;
    struct job_options o;
    job_options_init(&o);
    o.retries = 1;
    worker_join(1, 1, NULL, 0, 5);
    submit_with(&o, ++w.sequence, 1);
    verdict(1, 1, job_sent(), OUTCOME_FAIL);
    const struct record *r = recorded(RECORD_REQUEUE);
    assert_non_null(r);
    uint64_t delay = r->requeue.not_before_ms - w.wall_ms;
    assert_in_range(delay, 500, 1500); /* 2^0 s with jitter 0.5 to 1.5 */
    assert_true(r->requeue.has_ended);
    pass(1500);
    verdict(1, 1, job_sent(), OUTCOME_FAIL);
    r = recorded(RECORD_FINISH);
    assert_non_null(r);
    assert_int_equal(r->finish->state, JOB_FAILED);
    assert_int_equal(r->finish->attempt, 2);
}

static void discard_and_release(void **state)
{
    (void)state;
    struct job_options o;
    job_options_init(&o);
    o.retries = 5;
    worker_join(1, 1, NULL, 0, 5);
    submit_with(&o, ++w.sequence, 1);
    verdict(1, 1, job_sent(), OUTCOME_RELEASED);
    assert_non_null(recorded(RECORD_REQUEUE));
    assert_int_equal(recorded(RECORD_REQUEUE)->requeue.not_before_ms, 0);
    assert_int_equal(recorded(RECORD_REQUEUE)->requeue.retries_used, 0);
    verdict(1, 1, job_sent(), OUTCOME_DISCARD);
    assert_int_equal(recorded(RECORD_FINISH)->finish->state, JOB_FAILED);
}

static void cancel_outlives_the_worker(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 1);
    submit();
    submit();
    struct id_range both = {1, 2};
    struct event e = client_event(EVENT_CANCEL);
    e.cancel.ranges = &both;
    e.cancel.range_count = 1;
    e.cancel.reason = "wrong batch";
    e.cancel.by = "ann";
    step(&e);
    assert_int_equal(find(EFFECT_CANCELLED)->cancelled.cancelled, 1);
    assert_int_equal(find(EFFECT_CANCELLED)->cancelled.cancelling, 1);
    assert_non_null(find(EFFECT_CANCEL_JOB));
    assert_non_null(recorded(RECORD_CANCEL));
    lose(1, 1);
    assert_int_equal(recorded(RECORD_FINISH)->finish->state, JOB_CANCELLED);
}

static void ok_after_a_cancel_succeeds(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 1);
    submit();
    struct ref ref = job_sent();
    struct id_range one = {1, 1};
    struct event e = client_event(EVENT_CANCEL);
    e.cancel.ranges = &one;
    e.cancel.range_count = 1;
    e.cancel.reason = "";
    e.cancel.by = "";
    step(&e);
    verdict(1, 1, ref, OUTCOME_OK);
    assert_int_equal(recorded(RECORD_FINISH)->finish->state, JOB_SUCCEEDED);
}

static void silence_gives_nothing_away_before_the_lease(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 1);
    submit();
    struct ref ref = job_sent();
    struct id_range lease = {ref.lease, ref.lease};
    struct event e = worker_event(EVENT_BEAT, 1, 1);
    e.beat.leases = &lease;
    e.beat.lease_count = 1;
    step(&e);
    assert_false(find(EFFECT_BEAT)->waits);
    worker_join(2, 1, NULL, 0, 1);
    for (int i = 0; i < 29; i++) {
        pass(1000);
        assert_null(find(EFFECT_JOB));
        e = worker_event(EVENT_BEAT, 2, 1);
        step(&e);
    }
    pass(1000);
    assert_int_equal(job_sent().attempt, 2);
    assert_int_equal(recorded(RECORD_REQUEUE)->requeue.crashes, 1);
}

static void restart_adopts_what_the_worker_reports(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 2);
    submit();
    struct ref running = job_sent();
    submit();
    job_sent();
    /* registers again and knows only the first one */
    worker_join(1, 2, &running, 1, 0);
    assert_int_equal(core_stats(w.core)->adopted, 1);
    worker_credit(1, 2, 1);
    struct ref again = job_sent();
    assert_int_equal(again.job, 2);
    assert_int_equal(again.attempt, 2);
    verdict(1, 2, running, OUTCOME_OK);
    assert_acked("accepted");
}

static void old_sessions_are_sent_to_register(void **state)
{
    (void)state;
    worker_join(1, 2, NULL, 0, 0);
    struct event e = worker_event(EVENT_CREDIT, 1, 1);
    e.credit = 5;
    step(&e);
    assert_non_null(find(EFFECT_REGISTER));
    submit();
    assert_null(find(EFFECT_JOB));
    e = worker_event(EVENT_BEAT, 9, 1);
    step(&e);
    assert_non_null(find(EFFECT_REGISTER));
}

/* A start after a planned stop: one running job of worker 1, whose lease AWAY made longer. */
static struct ref start_after_a_planned_stop(void)
{
    static const uint64_t none[JOB_STATE_COUNT];
    struct job_options o;
    struct ref ref = {7, 1, UINT64_C(99) << 32 | 1};
    core_free(&w.core);
    w.core = core_new(&w.config);
    job_options_init(&o);
    struct event e = {.type = EVENT_LOAD_META};
    e.meta.broker_start = 99;
    e.meta.away_ms = 60000;
    e.meta.next_job_id = 8;
    e.meta.next_finish = 1;
    e.meta.finished = none;
    step(&e);
    e = (struct event){.type = EVENT_LOAD_QUEUE};
    e.queue.id = 1;
    e.queue.name = "default";
    step(&e);
    struct job_row row = {.id = ref.job,
                          .queue = 1,
                          .state = JOB_RUNNING,
                          .template = job_template_new(&o, NULL),
                          .attempt = ref.attempt,
                          .lease = ref.lease,
                          .instance = 1};
    e = (struct event){.type = EVENT_LOAD_JOB, .row = &row};
    step(&e);
    job_row_fini(&row);
    e = (struct event){.type = EVENT_START};
    step(&e);
    return ref;
}

static void beats_never_shorten_what_a_planned_stop_gave(void **state)
{
    (void)state;
    struct ref ref = start_after_a_planned_stop();
    worker_join(1, 1, &ref, 1, 0);
    struct id_range lease = {ref.lease, ref.lease};
    struct event e = worker_event(EVENT_BEAT, 1, 1);
    e.beat.leases = &lease;
    e.beat.lease_count = 1;
    step(&e);
    assert_non_null(find(EFFECT_BEAT));
    pass(60000 + w.config.lease_ms - 1); /* silence: the worker may run it until then */
    assert_null(recorded(RECORD_REQUEUE));
    pass(1);
    assert_non_null(recorded(RECORD_REQUEUE));
}

static void slow_store_keeps_no_worker_out(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 0);
    struct ready_header h = {.slots = 1, .kinds = 3, .queue_count = 1};
    strcpy(h.queues[0], "default");
    struct event e = worker_event(EVENT_READY, 2, 1);
    e.ready = &h;
    step(&e);
    assert_true(find(EFFECT_READY)->waits); /* the start number is not stored yet */
    static const uint64_t none[JOB_STATE_COUNT];
    struct event confirmed = {.type = EVENT_FORGOTTEN, .forgotten = none};
    step(&confirmed);
    e = worker_event(EVENT_READY, 3, 1);
    e.ready = &h;
    step(&e);
    assert_false(find(EFFECT_READY)->waits);
    h.lease_ms = 2 * w.config.lease_ms; /* a restart must know of it first */
    e = worker_event(EVENT_READY, 4, 1);
    e.ready = &h;
    step(&e);
    assert_true(find(EFFECT_READY)->waits);
}

static void wait_is_answered_by_the_finish(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 1);
    submit();
    struct ref ref = job_sent();
    struct id_range one = {1, 1};
    struct event e = client_event(EVENT_WAIT);
    e.wait.ranges = &one;
    e.wait.range_count = 1;
    e.wait.limit = 10;
    e.wait.timeout_ms = 10000;
    e.wait.with_results = true;
    step(&e);
    assert_null(find(EFFECT_FINISHED));
    verdict(1, 1, ref, OUTCOME_OK);
    const struct effect *f = find(EFFECT_FINISHED);
    assert_non_null(f);
    assert_true(f->waits);
    assert_int_equal(f->finished.count, 1);
    assert_int_equal(f->finished.selected, 1);
    uint64_t since = f->finished.since;
    e.wait.since = since - 1 > 0 ? since - 1 : since;
    e.wait.since = since;
    step(&e); /* nothing of the set is left: answered at once */
    assert_non_null(find(EFFECT_FINISHED));
    assert_int_equal(find(EFFECT_FINISHED)->finished.count, 0);
}

static void finishes_find_their_own_waits(void **state)
{
    (void)state;
    struct ref refs[2];
    const struct id_range sets[] = {{1, 1}, {2, 2}, {1, 2}};
    worker_join(1, 1, NULL, 0, 2);
    for (int i = 0; i < 2; i++) {
        submit();
        refs[i] = job_sent();
    }
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
        struct event e = client_event(EVENT_WAIT);
        e.caller.route.id[0] = (uint8_t)('a' + i);
        e.wait.ranges = &sets[i];
        e.wait.range_count = 1;
        e.wait.limit = 10;
        e.wait.timeout_ms = 10000;
        step(&e);
        assert_null(find(EFFECT_FINISHED));
    }
    verdict(1, 1, refs[1], OUTCOME_OK);
    size_t answered = 0;
    for (size_t i = 0; i < w.fx.count; i++) {
        if (w.fx.list[i].type != EFFECT_FINISHED)
            continue;
        assert_int_not_equal(w.fx.list[i].caller.route.id[0], 'a');
        assert_int_equal(w.fx.list[i].finished.finishes[0]->job, 2);
        answered++;
    }
    assert_int_equal(answered, 2);
    verdict(1, 1, refs[0], OUTCOME_OK);
    assert_int_equal(find(EFFECT_FINISHED)->caller.route.id[0], 'a');
    pass(10000);
    assert_null(find(EFFECT_FINISHED)); /* each was answered once */
}

static void one_client_does_not_take_all_the_waiting(void **state)
{
    (void)state;
    submit();
    struct id_range one = {1, 1};
    struct event e = client_event(EVENT_WAIT);
    e.wait.ranges = &one;
    e.wait.range_count = 1;
    e.wait.timeout_ms = 10000;
    for (unsigned i = 0; i < 2 * PROTO_WINDOW_REQUESTS; i++) {
        step(&e);
        assert_null(find(EFFECT_REFUSE));
    }
    step(&e);
    assert_int_equal(find(EFFECT_REFUSE)->refuse.status, STATUS_BUSY);
    e.caller.route.id[0] = 'd'; /* another client waits as ever */
    step(&e);
    assert_null(find(EFFECT_REFUSE));
    pass(10000);
    e.caller.route.id[0] = 'c'; /* and so does the first one when it was answered */
    step(&e);
    assert_null(find(EFFECT_REFUSE));
}

static void a_list_says_of_each_job_what_it_waits_for(void **state)
{
    (void)state;
    static const char *const queues[] = {"a", "default", "default", "a"};
    struct job_row rows[4] = {{0}};
    struct job_options o;
    job_options_init(&o);
    worker_join(1, 1, NULL, 0, 0); /* it serves `default` */
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct event e = client_event(EVENT_SUBMIT);
        struct blob *none = NULL;
        e.submit.queue = view_str(queues[i]);
        e.submit.options = &o;
        e.submit.payloads = &none;
        e.submit.count = 1;
        step(&e);
        rows[i].id = find(EFFECT_SUBMITTED)->submitted.first;
        rows[i].template = job_template_new(&o, NULL);
    }
    struct event e = client_event(EVENT_LIST);
    e.list.name = "";
    step(&e);
    struct query_answer answer = {.type = QUERY_LIST, .rows = rows, .row_count = 4};
    answer.token = find(EFFECT_QUERY)->query.token;
    e = (struct event){.type = EVENT_ANSWER, .answer = &answer};
    step(&e);
    const struct effect *f = find(EFFECT_JOBS);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_non_null(strstr(f->jobs.jobs[i].waiting_for, queues[i]));
        assert_int_equal(strstr(f->jobs.jobs[i].waiting_for, "no worker serves") != NULL,
                         queues[i][0] == 'a');
        job_row_fini(&rows[i]);
    }
}

static void wait_ends_with_its_time(void **state)
{
    (void)state;
    submit();
    struct id_range one = {1, 1};
    struct event e = client_event(EVENT_WAIT);
    e.wait.ranges = &one;
    e.wait.range_count = 1;
    e.wait.limit = 10;
    e.wait.timeout_ms = 700;
    step(&e);
    pass(699);
    assert_null(find(EFFECT_FINISHED));
    pass(1);
    assert_non_null(find(EFFECT_FINISHED));
}

static void follow_keeps_what_was_seen(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 1);
    submit();
    struct ref ref = job_sent();
    struct event out = worker_event(EVENT_OUTPUT, 1, 1);
    out.output.ref = ref;
    out.output.data = view_str("hello");
    step(&out);
    struct event e = client_event(EVENT_FOLLOW);
    e.follow.id = 1;
    e.follow.state = JOB_STATE_COUNT;
    step(&e);
    const struct effect *f = find(EFFECT_FOLLOWED);
    assert_non_null(f);
    assert_true(view_is(blob_view(f->followed.stdout_data), "hello"));
    assert_int_equal(f->followed.attempt, 1);
    e.follow.attempt = 1;
    e.follow.stdout_at = 5;
    e.follow.state = JOB_RUNNING;
    step(&e);
    assert_null(find(EFFECT_FOLLOWED));
    verdict(1, 1, ref, OUTCOME_OK);
    f = find(EFFECT_FOLLOWED);
    assert_non_null(f);
    assert_int_equal(f->followed.state, JOB_SUCCEEDED);
    assert_int_equal(f->followed.attempt, 1);
    assert_int_equal(f->followed.stdout_at, 5);
}

static void shutdown_finishes_releases_and_ends(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 1);
    submit();
    struct ref ref = job_sent();
    struct event e = client_event(EVENT_SHUTDOWN);
    e.shutdown.mode = STOP_FINISH;
    e.shutdown.grace_ms = 5000;
    step(&e);
    assert_int_equal(find(EFFECT_PROGRESS)->progress.phase, PHASE_FINISHING);
    assert_int_equal(submit(), 0);
    assert_int_equal(find(EFFECT_REFUSE)->refuse.status, STATUS_DRAINING);
    pass(5000);
    assert_non_null(find(EFFECT_STOP));
    assert_true(find(EFFECT_STOP)->stop_is_exit);
    verdict(1, 1, ref, OUTCOME_RELEASED);
    assert_null(find(EFFECT_JOB));
    assert_null(find(EFFECT_EXIT));
    e = worker_event(EVENT_BYE, 1, 1);
    step(&e);
    assert_null(find(EFFECT_EXIT)); /* the one who asked has not been told yet */
    e = client_event(EVENT_PROGRESS);
    e.progress.has_seen = true;
    e.progress.phase = PHASE_STOPPING_WORKERS;
    step(&e);
    assert_int_equal(find(EFFECT_PROGRESS)->progress.phase, PHASE_DONE);
    assert_non_null(find(EFFECT_EXIT));
    assert_true(find(EFFECT_EXIT)->waits);
}

static void shutdown_ends_though_nobody_watches(void **state)
{
    (void)state;
    struct event e = client_event(EVENT_SHUTDOWN);
    e.shutdown.mode = STOP_NOW;
    step(&e);
    assert_int_equal(find(EFFECT_PROGRESS)->progress.phase, PHASE_RELEASING);
    assert_null(find(EFFECT_EXIT));
    pass(1000);
    assert_non_null(find(EFFECT_EXIT));
}

static void term_keeps_the_workers(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 1);
    submit();
    struct event e = {.type = EVENT_TERM};
    step(&e);
    assert_non_null(find(EFFECT_AWAY));
    assert_non_null(recorded(RECORD_AWAY));
    assert_non_null(find(EFFECT_EXIT));
    assert_null(find(EFFECT_STOP));
    assert_null(recorded(RECORD_REQUEUE));
}

static void store_short_of_space_refuses_early(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 1);
    submit();
    struct ref ref = job_sent();
    struct event e = {.type = EVENT_SPACE};
    e.space.free_bytes = w.config.store_reserve_bytes - 1;
    step(&e);
    assert_int_equal(submit(), 0);
    assert_int_equal(find(EFFECT_REFUSE)->refuse.status, STATUS_STORE_FULL);
    verdict(1, 1, ref, OUTCOME_OK);
    assert_acked("accepted");
    e.space.free_bytes = w.config.store_reserve_bytes;
    step(&e);
    assert_int_not_equal(submit(), 0);
}

static void paused_broker_blames_nobody(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 1);
    submit();
    w.now_ms += 3600000; /* stopped for an hour; the worker's beats wait in the socket */
    struct event e = worker_event(EVENT_BEAT, 1, 1);
    step(&e);
    assert_non_null(find(EFFECT_BEAT));
    struct event tick = {.type = EVENT_TICK};
    step(&tick);
    assert_null(recorded(RECORD_REQUEUE));
}

static void follow_asks_the_store_where_the_ring_is_short(void **state)
{
    (void)state;
    struct ref refs[2];
    worker_join(1, 1, NULL, 0, 2);
    for (int i = 0; i < 2; i++) {
        submit();
        refs[i] = job_sent();
    }
    struct event e = client_event(EVENT_FOLLOW);
    e.follow.id = 1;
    e.follow.attempt = 1;
    e.follow.state = JOB_RUNNING;
    step(&e);
    assert_null(find(EFFECT_FOLLOWED));
    /* Both end in one turn, with results that do not find room together. */
    struct verdict_header h;
    verdict_header_init(&h);
    h.exit_code = 0;
    static uint8_t zeros[20 << 20];
    struct blob *large = blob_new(zeros, sizeof zeros);
    effects_reset(&w.fx);
    for (int i = 0; i < 2; i++) {
        e = worker_event(EVENT_VERDICT, 1, 1);
        e.now_ms = w.now_ms;
        e.wall_ms = w.wall_ms;
        e.verdict.ref = refs[i];
        e.verdict.outcome = OUTCOME_OK;
        e.verdict.header = &h;
        e.verdict.stdout_data = large;
        core_step(w.core, &e, &w.fx);
    }
    blob_unref(&large);
    core_turn_end(w.core, w.now_ms, &w.fx);
    assert_null(find(EFFECT_REFUSE));
    assert_int_equal(find(EFFECT_QUERY)->query.id, 1);
    struct finish *end = finish_new();
    end->state = JOB_SUCCEEDED;
    end->attempt = 1;
    struct job_row row = {.id = 1, .finish = end};
    struct query_answer answer = {.type = QUERY_JOB, .rows = &row, .row_count = 1};
    answer.token = find(EFFECT_QUERY)->query.token;
    e = (struct event){.type = EVENT_ANSWER, .answer = &answer};
    step(&e);
    assert_int_equal(find(EFFECT_FOLLOWED)->followed.state, JOB_SUCCEEDED);
    finish_unref(&end);
}

static void forgetting_keeps_up_with_finishing(void **state)
{
    (void)state;
    uint64_t forgotten[JOB_STATE_COUNT] = {0};
    struct event e = {.type = EVENT_FORGOTTEN, .forgotten = forgotten};
    pass(10000);
    assert_non_null(recorded(RECORD_EXPIRE));
    uint32_t full = recorded(RECORD_EXPIRE)->expire.jobs_max;
    forgotten[JOB_SUCCEEDED] = full - 1;
    forgotten[JOB_FAILED] = 1;
    step(&e);
    pass(0);
    assert_non_null(recorded(RECORD_EXPIRE)); /* there may be more: at once */
    forgotten[JOB_FAILED] = 0;
    step(&e);
    pass(9999);
    assert_null(recorded(RECORD_EXPIRE)); /* there is no more: as usual */
    pass(1);
    assert_non_null(recorded(RECORD_EXPIRE));
}

static void late_inventory_counts(void **state)
{
    (void)state;
    worker_join(1, 1, NULL, 0, 1);
    submit();
    job_sent();
    struct ready_header h = {.slots = 1, .kinds = 3, .queue_count = 1, .name = "w1"};
    strcpy(h.queues[0], "default");
    struct event e = worker_event(EVENT_READY, 1, 2);
    e.ready = &h;
    step(&e);
    pass(4000); /* silent before it said what it runs */
    worker_credit(1, 2, 1);
    assert_null(find(EFFECT_JOB)); /* heard, but its INVENTORY is still to come */
    e = worker_event(EVENT_INVENTORY, 1, 2);
    step(&e);
    assert_int_equal(recorded(RECORD_REQUEUE)->requeue.ended.outcome, OUTCOME_UNKNOWN);
    assert_int_equal(job_sent().attempt, 2);
}

static void refused_workers_leave_nothing_behind(void **state)
{
    (void)state;
    teardown(state);
    w.config.queues_max = 1;
    w.core = core_new(&w.config);
    struct event e = {.type = EVENT_START, .now_ms = w.now_ms, .wall_ms = w.wall_ms};
    step(&e);
    struct ready_header h = {.slots = 1, .kinds = 3, .queue_count = 2, .name = "w"};
    strcpy(h.queues[0], "a");
    strcpy(h.queues[1], "b");
    e = worker_event(EVENT_READY, 1, 1);
    e.ready = &h;
    step(&e);
    assert_int_equal(find(EFFECT_REFUSE)->refuse.status, STATUS_BUSY);
    assert_null(recorded(RECORD_QUEUE)); /* all of its queues or none */
    e = client_event(EVENT_WORKERS);
    step(&e);
    assert_int_equal(find(EFFECT_WORKERS)->workers.count, 0);
    submit();
    worker_join(2, 1, NULL, 0, 1); /* what is there already is served as ever */
    job_sent();
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        STORY(submit_waits_for_its_commit),
        STORY(repeated_submit_is_the_same_job),
        STORY(full_table_of_clients_forgets_others),
        STORY(lease_rides_in_the_submits_commit),
        STORY(fence_refuses_old_attempts),
        STORY(crash_limit_ends_a_poison_job),
        STORY(two_crashed_jobs_do_not_share_a_worker),
        STORY(retries_wait_and_end),
        STORY(discard_and_release),
        STORY(cancel_outlives_the_worker),
        STORY(ok_after_a_cancel_succeeds),
        STORY(silence_gives_nothing_away_before_the_lease),
        STORY(restart_adopts_what_the_worker_reports),
        STORY(old_sessions_are_sent_to_register),
        STORY(beats_never_shorten_what_a_planned_stop_gave),
        STORY(slow_store_keeps_no_worker_out),
        STORY(wait_is_answered_by_the_finish),
        STORY(finishes_find_their_own_waits),
        STORY(one_client_does_not_take_all_the_waiting),
        STORY(a_list_says_of_each_job_what_it_waits_for),
        STORY(wait_ends_with_its_time),
        STORY(follow_keeps_what_was_seen),
        STORY(shutdown_finishes_releases_and_ends),
        STORY(shutdown_ends_though_nobody_watches),
        STORY(term_keeps_the_workers),
        STORY(store_short_of_space_refuses_early),
        STORY(paused_broker_blames_nobody),
        STORY(follow_asks_the_store_where_the_ring_is_short),
        STORY(forgetting_keeps_up_with_finishing),
        STORY(late_inventory_counts),
        STORY(refused_workers_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
