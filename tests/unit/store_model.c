/* SPDX-License-Identifier: MPL-2.0 */
/* Every record type by itself, and long random sequences of them, survive close, open and load. */
#include <stdio.h>

#include "tests/unit/store_help.h"

struct world {
    struct model model;
    struct rng rng;
    const char *url;
    struct store *store;
};

static void world_init(struct world *w, const char *url, uint64_t seed)
{
    model_init(&w->model);
    w->rng.state = seed;
    w->url = url;
    w->store = store_must_open(url);
}

static void world_fini(struct world *w)
{
    store_close(&w->store);
    model_fini(&w->model);
}

/* Commits, applies to the model, reopens and compares. */
static void world_commit(struct world *w, struct record *records, size_t count, bool reopen)
{
    uint64_t forgotten[JOB_STATE_COUNT] = {0};
    memset(w->model.forgotten, 0, sizeof w->model.forgotten);
    for (size_t i = 0; i < count; i++)
        model_apply(&w->model, &records[i]);
    store_commit_wait(w->store, records, count, forgotten);
    assert_memory_equal(forgotten, w->model.forgotten, sizeof forgotten);
    if (!reopen)
        return;
    store_close(&w->store);
    model_check(&w->model, w->url);
    w->store = store_must_open(w->url);
}

static void test_fresh(void **state)
{
    struct world w;
    world_init(&w, scratch_url(state), 1);
    assert_true(store_is_durable(w.store));
    assert_string_equal(store_url(w.store), scratch_url(state));
    world_commit(&w, NULL, 0, true);
    world_fini(&w);
}

static void test_each_type(void **state)
{
    struct world w;
    world_init(&w, scratch_url(state), 2);
    struct record r = {.type = RECORD_START};
    r.start.number = UINT32_MAX;
    world_commit(&w, &r, 1, true);
    r = (struct record){.type = RECORD_AWAY};
    r.away.ms = 120000;
    world_commit(&w, &r, 1, true);
    r = record_queue(1, "default");
    world_commit(&w, &r, 1, true);
    r = record_add(1, 1, make_template(&w.rng, 300), make_blob(&w.rng, 100));
    r.add.seq = 77;
    world_commit(&w, &r, 1, true);
    r = record_add(2, 1, make_template(&w.rng, 0), NULL);
    r.add.not_before_ms = 1800000000000;
    world_commit(&w, &r, 1, true);
    r = record_lease(1, 1, UINT64_MAX - 5);
    world_commit(&w, &r, 1, true);
    r = (struct record){.type = RECORD_REQUEUE, .job = 1};
    r.requeue.not_before_ms = 1900000000000;
    r.requeue.retries_used = 1;
    r.requeue.retry_waits = 2;
    r.requeue.crashes = 3;
    r.requeue.has_ended = true;
    r.requeue.ended = (struct attempt){.number = 1,
                                       .outcome = OUTCOME_CRASHED,
                                       .started_ms = 5,
                                       .ended_ms = 6,
                                       .worker = blob_new("w", 1),
                                       .reason = blob_new("lost", 4)};
    world_commit(&w, &r, 1, true);
    r = (struct record){.type = RECORD_REQUEUE, .job = 1}; /* it came due */
    world_commit(&w, &r, 1, true);
    r = record_lease(1, 2, 9);
    world_commit(&w, &r, 1, true);
    r = (struct record){.type = RECORD_CANCEL, .job = 1};
    r.cancel.reason = blob_new("by the test", 11);
    world_commit(&w, &r, 1, true);
    r = record_finish(1, 1, JOB_CANCELLED);
    r.finish->seq = 77;
    r.finish->exit_code = -1;
    r.finish->signal = 15;
    r.finish->is_truncated = true;
    r.finish->forget_ms = NEVER_MS;
    r.finish->stdout_data = make_blob(&w.rng, 1024);
    r.finish->stderr_data = make_blob(&w.rng, 1025);
    world_commit(&w, &r, 1, true);
    r = (struct record){.type = RECORD_CLIENT};
    r.client.client = UINT64_MAX;
    r.client.sequence = 9;
    r.client.first_id = 1;
    r.client.digest = UINT64_MAX - 1;
    r.client.at_ms = 1700000000000;
    r.client.count = 1000;
    world_commit(&w, &r, 1, true);
    r = record_finish(2, 2, JOB_EXPIRED);
    world_commit(&w, &r, 1, true);
    r = record_expire(1700000002000 + 2 + 1000, 10);
    world_commit(&w, &r, 1, true);
    assert_int_equal(w.model.forgotten[JOB_EXPIRED], 1);
    world_fini(&w);
}

/* Ids and finish numbers go on behind jobs that are no longer there. */
static void test_numbers_never_repeat(void **state)
{
    struct world w;
    world_init(&w, scratch_url(state), 3);
    struct record r[] = {record_queue(1, "q"), record_add(41, 1, make_template(&w.rng, 0), NULL),
                         record_finish(41, 17, JOB_SUCCEEDED), record_expire(UINT64_MAX, 10)};
    world_commit(&w, r, ARRAY_SIZE(r), true);
    assert_int_equal(w.model.meta.next_job_id, 42);
    assert_int_equal(w.model.meta.next_finish, 18);
    world_fini(&w);
}

static void test_large_values(void **state)
{
    struct world w;
    world_init(&w, scratch_url(state), 4);
    struct record r[] = {
        record_queue(1, "q"),
        record_add(1, 1, make_template(&w.rng, 65536), make_blob(&w.rng, 1 << 20)),
        record_add(2, 1, make_template(&w.rng, 65536), make_blob(&w.rng, (1 << 20) - 1)),
    };
    world_commit(&w, r, ARRAY_SIZE(r), true);
    struct record f = record_finish(1, 1, JOB_SUCCEEDED);
    f.finish->stdout_data = make_blob(&w.rng, PROTO_OUTPUT_BYTES_MAX);
    f.finish->stderr_data = make_blob(&w.rng, (3 << 20) + 1);
    world_commit(&w, &f, 1, true);
    f = record_expire(UINT64_MAX, 10);
    world_commit(&w, &f, 1, true);
    world_fini(&w);
}

/* --- random --- */

static struct job_row *random_job(struct world *w, bool (*fits)(const struct job_row *row))
{
    for (int tries = 0; tries < 20 && w->model.job_count > 0; tries++) {
        struct job_row *row = &w->model.jobs[rng_below(&w->rng, w->model.job_count)];
        if (row->id != 0 && row->finish == NULL && fits(row))
            return row;
    }
    return NULL;
}

static bool is_ready(const struct job_row *row)
{
    return row->state == JOB_READY;
}

static bool is_running(const struct job_row *row)
{
    return row->state == JOB_RUNNING;
}

static bool is_any(const struct job_row *row)
{
    (void)row;
    return true;
}

static bool is_not_ready(const struct job_row *row)
{
    return row->state != JOB_READY;
}

static size_t random_size(struct rng *rng)
{
    static const size_t most[] = {1, 20, 200, 1030, 1030, 5000, 70000};
    return rng_below(rng, most[rng_below(rng, ARRAY_SIZE(most))]);
}

static bool random_add(struct world *w, struct record *r)
{
    struct rng *rng = &w->rng;
    if (w->model.queue_count == 0)
        return false;
    const struct job_row *last =
        w->model.job_count > 0 ? &w->model.jobs[w->model.job_count - 1] : NULL;
    struct job_template *t = last != NULL && last->id != 0 && rng_below(rng, 3) > 0
                                 ? job_template_ref(last->template)
                                 : make_template(rng, random_size(rng));
    *r = record_add(w->model.meta.next_job_id + (rng_below(rng, 20) == 0),
                    1 + (uint32_t)rng_below(rng, w->model.queue_count), t,
                    make_blob(rng, random_size(rng)));
    r->add.seq = rng_below(rng, 2) ? rng_next(rng) : 0;
    r->add.not_before_ms = rng_below(rng, 3) ? 0 : rng_next(rng) >> rng_below(rng, 63);
    return true;
}

static bool random_requeue(struct world *w, struct record *r)
{
    struct rng *rng = &w->rng;
    const struct job_row *row = random_job(w, is_not_ready);
    if (row == NULL)
        return false;
    *r = (struct record){.type = RECORD_REQUEUE, .job = row->id};
    r->requeue.not_before_ms = rng_below(rng, 2) ? rng_next(rng) : 0;
    r->requeue.retries_used = (uint32_t)rng_below(rng, 100);
    r->requeue.retry_waits = (uint32_t)rng_below(rng, 100);
    r->requeue.crashes = (uint32_t)rng_below(rng, 100);
    if (row->state == JOB_RUNNING) {
        r->requeue.has_ended = true;
        r->requeue.ended = (struct attempt){.number = row->attempt,
                                            .outcome = (enum outcome)rng_below(rng, OUTCOME_COUNT),
                                            .started_ms = rng_next(rng),
                                            .ended_ms = rng_next(rng),
                                            .worker = make_blob(rng, rng_below(rng, 20)),
                                            .reason = make_blob(rng, rng_below(rng, 256))};
    }
    return true;
}

static bool random_finish(struct world *w, struct record *r)
{
    struct rng *rng = &w->rng;
    const struct job_row *row = random_job(w, rng_below(rng, 4) ? is_running : is_any);
    if (row == NULL)
        return false;
    *r = record_finish(row->id, w->model.meta.next_finish + (rng_below(rng, 20) == 0),
                       (enum job_state)(JOB_SUCCEEDED + rng_below(rng, 4)));
    struct finish *f = r->finish;
    f->outcome = (enum outcome)rng_below(rng, OUTCOME_COUNT);
    f->attempt = row->attempt;
    f->crashes = (uint32_t)rng_next(rng);
    f->lease = row->lease;
    f->exit_code = (int32_t)rng_next(rng);
    f->signal = (int32_t)rng_below(rng, 64);
    f->is_truncated = rng_below(rng, 2);
    f->seq = row->seq;
    f->stdout_bytes = rng_next(rng);
    f->stderr_bytes = rng_next(rng);
    f->run_ms = rng_next(rng) >> 20;
    f->started_ms = row->started_ms;
    f->forget_ms = rng_below(rng, 10) ? 1700000000000 + rng_below(rng, 100000) : NEVER_MS;
    f->worker = blob_ref(row->worker);
    f->stdout_data = make_blob(rng, random_size(rng));
    f->stderr_data = make_blob(rng, random_size(rng));
    return true;
}

static bool random_client(struct world *w, struct record *r)
{
    struct rng *rng = &w->rng;
    *r = (struct record){.type = RECORD_CLIENT};
    r->client.client = rng_below(rng, 10) * UINT64_C(0x9E3779B97F4A7C15);
    r->client.sequence = 1 + rng_below(rng, 40);
    r->client.first_id = rng_next(rng);
    r->client.digest = rng_next(rng);
    r->client.at_ms = 1700000000000 + rng_below(rng, 2 * (uint64_t)CLIENT_KEEP_MS);
    r->client.count = 1 + (uint32_t)rng_below(rng, 1000);
    return true;
}

static bool random_lease(struct world *w, struct record *r)
{
    const struct job_row *row = random_job(w, is_ready);
    if (row == NULL)
        return false;
    *r = record_lease(row->id, row->attempt + 1, rng_next(&w->rng));
    return true;
}

static bool random_cancel(struct world *w, struct record *r)
{
    const struct job_row *row = random_job(w, is_running);
    if (row == NULL)
        return false;
    *r = (struct record){.type = RECORD_CANCEL, .job = row->id};
    r->cancel.reason = make_blob(&w->rng, rng_below(&w->rng, 50));
    return true;
}

static bool random_meta(struct world *w, struct record *r)
{
    if (rng_below(&w->rng, 2)) {
        *r = (struct record){.type = RECORD_START};
        r->start.number = (uint32_t)rng_next(&w->rng);
    } else {
        *r = (struct record){.type = RECORD_AWAY};
        r->away.ms = rng_next(&w->rng);
    }
    return true;
}

static bool random_queue(struct world *w, struct record *r)
{
    if (w->model.queue_count >= 50)
        return false;
    char name[32];
    snprintf(name, sizeof name, "queue-%u", w->model.queue_count);
    *r = record_queue(w->model.queue_count + 1, name);
    return true;
}

static bool random_expire(struct world *w, struct record *r)
{
    *r = record_expire(1700000000000 + rng_below(&w->rng, 2 * (uint64_t)CLIENT_KEEP_MS),
                       (uint32_t)rng_below(&w->rng, 6));
    return true;
}

/* A record that fits the model as it is; the model has it applied. */
static void random_record(struct world *w, struct record *r)
{
    static bool (*const kinds[])(struct world * w, struct record * r) = {
        random_add,    random_add,    random_add,    random_lease,   random_lease,
        random_lease,  random_finish, random_finish, random_requeue, random_cancel,
        random_client, random_meta,   random_queue,  random_expire};
    while (!kinds[rng_below(&w->rng, ARRAY_SIZE(kinds))](w, r))
        continue;
    model_apply(&w->model, r);
}

static void random_world(const char *url, uint64_t seed, int rounds)
{
    struct world w;
    world_init(&w, url, seed);
    for (int round = 0; round < rounds; round++) {
        struct record records[64];
        for (uint64_t batches = 1 + rng_below(&w.rng, 10); batches > 0; batches--) {
            size_t count = rng_below(&w.rng, ARRAY_SIZE(records));
            uint64_t forgotten[JOB_STATE_COUNT] = {0};
            memset(w.model.forgotten, 0, sizeof w.model.forgotten);
            for (size_t i = 0; i < count; i++)
                random_record(&w, &records[i]);
            store_commit_wait(w.store, records, count, forgotten);
            assert_memory_equal(forgotten, w.model.forgotten, sizeof forgotten);
        }
        store_close(&w.store);
        model_check(&w.model, url);
        w.store = store_must_open(url);
    }
    world_fini(&w);
}

static void test_random(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        char url[640];
        snprintf(url, sizeof url, "sqlite:%s/%llu/a/b/store.db", (const char *)*state,
                 (unsigned long long)seed);
        print_message("seed %llu\n", (unsigned long long)seed);
        random_world(url, seed, 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fresh, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_each_type, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_numbers_never_repeat, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_large_values, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_random, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
