/* SPDX-License-Identifier: MPL-2.0 */
/* Look-ups against the model: filters, pages, sets, budgets; and the order of commits and answers
 * on the store's thread. On files and on memory:. */
#include <poll.h>
#include <stdio.h>

#include "tests/unit/store_help.h"

struct world {
    struct model model;
    struct rng rng;
    struct store *store;
};

/* `jobs` jobs over three queues; some leased, `done_in_8` of eight finished, in shuffled order. */
static void world_fill(struct world *w, const char *url, uint64_t jobs, unsigned done_in_8)
{
    model_init(&w->model);
    w->rng.state = 42;
    w->store = store_must_open(url);
    struct record r[4096];
    size_t count = 0;
    for (uint32_t q = 1; q <= 3; q++)
        r[count++] = record_queue(q, q == 1 ? "a" : q == 2 ? "b" : "c");
    struct job_template *t[8];
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        t[i] = make_template(&w->rng, 30);
    for (uint64_t id = 1; id <= jobs; id++) {
        r[count++] = record_add(id, 1 + (uint32_t)rng_below(&w->rng, 3),
                                job_template_ref(t[id / 8 % 8]), make_blob(&w->rng, 20));
        /* Jobs finish about in order: each looks back at one that is still there. */
        uint64_t other = id - min_u64(id - 1, rng_below(&w->rng, 30));
        if (other < w->model.job_count && w->model.jobs[other].finish == NULL &&
            rng_below(&w->rng, 8) < done_in_8) {
            r[count] = record_finish(other, w->model.meta.next_finish,
                                     (enum job_state)(JOB_SUCCEEDED + rng_below(&w->rng, 4)));
            r[count++].finish->stdout_data = make_blob(&w->rng, rng_below(&w->rng, 1500));
        }
        static size_t applied;
        if (id == 1)
            applied = 0;
        for (; applied < count; applied++)
            model_apply(&w->model, &r[applied]);
        if (count + 2 > ARRAY_SIZE(r) || id == jobs) {
            store_commit_wait(w->store, r, count, NULL);
            count = 0;
            applied = 0;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        job_template_unref(&t[i]);
}

static void world_fini(struct world *w)
{
    store_close(&w->store);
    model_fini(&w->model);
}

static struct id_range *copy_ranges(const struct id_range *ranges, size_t count)
{
    return count > 0 ? mem_dup(ranges, count * sizeof ranges[0]) : NULL;
}

/* --- LIST --- */

static bool list_wants(const struct query *q, const struct job_row *row)
{
    return row->id != 0 && (q->queue == 0 || row->queue == q->queue) &&
           (q->states == 0 || (q->states >> row->state & 1)) &&
           (q->name[0] == '\0' || strcmp(row->template->options.name, q->name) == 0) &&
           (q->range_count == 0 || idset_has(q->ranges, q->range_count, row->id));
}

/* Walks all pages and compares with the model. Returns the number of pages. */
static int list_check(struct world *w, const struct query *filter)
{
    int pages = 0;
    uint64_t want = w->model.job_count; /* ids below it are still to come */
    for (uint64_t before = 0;;) {
        struct query q = *filter;
        q.ranges = copy_ranges(filter->ranges, filter->range_count);
        q.token = (uint64_t)++pages;
        q.before_id = before;
        struct query_answer a;
        store_ask(w->store, &q, &a);
        assert_true(a.row_count <= q.limit);
        for (size_t i = 0; i < a.row_count; i++) {
            do
                assert_true(want-- > 1);
            while (!list_wants(filter, &w->model.jobs[want]));
            assert_int_equal(a.rows[i].id, want);
            assert_int_equal(a.rows[i].state, w->model.jobs[want].state);
            assert_int_equal(a.rows[i].payload_bytes, w->model.jobs[want].payload_bytes);
            assert_null(a.rows[i].payload);
        }
        bool is_complete = a.is_complete;
        assert_true(before == 0 || is_complete || a.scanned_to < before);
        before = a.scanned_to;
        query_answer_fini(&a);
        if (is_complete)
            break;
        assert_true(before > 0);
    }
    while (want-- > 1)
        assert_false(list_wants(filter, &w->model.jobs[want]));
    return pages;
}

static void check_lists(const char *url)
{
    struct world w;
    world_fill(&w, url, 2000, 5);
    struct query q = {.type = QUERY_LIST, .limit = 100};
    assert_true(list_check(&w, &q) >= 20);
    q.limit = 1000;
    q.queue = 2;
    list_check(&w, &q);
    q.states = 1U << JOB_READY;
    list_check(&w, &q);
    q.states = 1U << JOB_FAILED | 1U << JOB_EXPIRED;
    list_check(&w, &q);
    q.states |= 1U << JOB_READY;
    q.queue = 0;
    snprintf(q.name, sizeof q.name, "name-1");
    list_check(&w, &q);
    snprintf(q.name, sizeof q.name, "no such name");
    list_check(&w, &q);
    q = (struct query){.type = QUERY_LIST, .limit = 7};
    struct id_range ranges[] = {{3, 3}, {10, 100}, {500, 510}, {1990, 5000}, {9000, UINT64_MAX}};
    q.ranges = ranges;
    q.range_count = ARRAY_SIZE(ranges);
    list_check(&w, &q);
    q.range_count = 1;
    list_check(&w, &q);
    world_fini(&w);
}

static void test_list(void **state)
{
    check_lists(scratch_url(state));
}

static void test_list_memory(void **state)
{
    (void)state;
    check_lists("memory:");
}

/* A filter that fits nothing looks at a bounded number of rows in one go. */
static void test_list_budget(void **state)
{
    struct world w;
    world_fill(&w, scratch_url(state), 60000, 5);
    struct query q = {.type = QUERY_LIST, .limit = 10};
    snprintf(q.name, sizeof q.name, "no such name");
    assert_true(list_check(&w, &q) >= 3);
    q.name[0] = '\0';
    q.limit = 1000000;
    assert_true(list_check(&w, &q) >= 3);
    world_fini(&w);
}

/* --- SINCE --- */

static uint64_t since_wanted(const struct world *w, const struct query *q, uint64_t after)
{
    uint64_t best = UINT64_MAX;
    for (size_t id = 1; id < w->model.job_count; id++) {
        const struct finish *f = w->model.jobs[id].finish;
        if (f != NULL && f->number > after && f->number < best &&
            idset_has(q->ranges, q->range_count, id))
            best = f->number;
    }
    return best;
}

static int since_check(struct world *w, const struct query *filter)
{
    int pages = 0;
    uint64_t last = filter->since;
    uint64_t count = 0;
    for (size_t id = 1; id < w->model.job_count; id++)
        count += w->model.jobs[id].finish != NULL &&
                 w->model.jobs[id].finish->number <= filter->count_to &&
                 idset_has(filter->ranges, filter->range_count, id);
    for (uint64_t since = filter->since;;) {
        struct query q = *filter;
        q.ranges = copy_ranges(filter->ranges, filter->range_count);
        q.since = since;
        q.token = (uint64_t)++pages;
        struct query_answer a;
        store_ask(w->store, &q, &a);
        assert_true(a.row_count <= q.limit);
        uint64_t bytes = 0;
        for (size_t i = 0; i < a.row_count; i++) {
            const struct finish *f = a.rows[i].finish;
            assert_int_equal(f->number, since_wanted(w, filter, last));
            const struct finish *want = w->model.jobs[f->job].finish;
            assert_int_equal(want->number, f->number);
            assert_true(view_eq(blob_view(f->stdout_data),
                                q.with_output ? blob_view(want->stdout_data) : view_str(NULL)));
            bytes += blob_size(f->stdout_data);
            last = f->number;
        }
        assert_true(a.row_count <= 1 || bytes <= q.bytes_max);
        assert_int_equal(a.finished_count, q.with_count ? count : 0);
        assert_true(a.scanned_to >= since && a.scanned_to >= last);
        uint64_t next = since_wanted(w, filter, last);
        assert_true(next == UINT64_MAX || next > a.scanned_to);
        assert_true(a.is_complete || a.scanned_to > since);
        since = a.scanned_to;
        bool is_complete = a.is_complete;
        query_answer_fini(&a);
        if (is_complete)
            break;
    }
    assert_int_equal(since_wanted(w, filter, last), UINT64_MAX);
    return pages;
}

static void check_sinces(const char *url)
{
    struct world w;
    world_fill(&w, url, 2000, 6);
    struct id_range ranges[] = {{3, 3}, {10, 100}, {500, 510}, {1500, 5000}};
    struct query q = {.type = QUERY_SINCE,
                      .ranges = ranges,
                      .range_count = 3,
                      .limit = 10,
                      .bytes_max = UINT64_MAX,
                      .with_count = true,
                      .count_to = UINT64_MAX};
    assert_true(since_check(&w, &q) > 5);
    q.range_count = 4;
    q.limit = 1000;
    since_check(&w, &q);
    q.count_to = w.model.meta.next_finish / 2;
    since_check(&w, &q);
    q.with_output = true;
    q.with_count = false;
    q.bytes_max = 10000;
    assert_true(since_check(&w, &q) > 10);
    q.bytes_max = 0;
    q.since = 300;
    q.range_count = 1;
    since_check(&w, &q);
    q.range_count = 2; /* by id: a small set, far behind */
    q.since = 0;
    since_check(&w, &q);
    struct id_range all = {1, UINT64_MAX};
    q.ranges = &all;
    q.range_count = 1;
    q.limit = 50;
    q.bytes_max = UINT64_MAX;
    since_check(&w, &q);
    q.since = UINT64_MAX; /* beyond all */
    since_check(&w, &q);
    q.range_count = 0;
    q.since = 0;
    since_check(&w, &q);
    world_fini(&w);
}

static void test_since(void **state)
{
    check_sinces(scratch_url(state));
}

static void test_since_memory(void **state)
{
    (void)state;
    check_sinces("memory:");
}

static void test_since_budget(void **state)
{
    struct world w;
    world_fill(&w, scratch_url(state), 50000, 7);
    struct id_range range = {100000, 200000}; /* nothing of it is there */
    struct query q = {.type = QUERY_SINCE, .ranges = &range, .range_count = 1, .limit = 10};
    assert_true(since_check(&w, &q) >= 2);
    world_fini(&w);
}

/* --- the thread --- */

static void take(struct store *s, struct store_done *ret)
{
    while (!store_take(s, ret)) {
        struct pollfd p = {.fd = store_fd(s), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 60000), 1);
    }
}

/* Each answer shows all that was handed over before its query, and its commits are reported
 * first. */
static void test_order(void **state)
{
    enum {
        JOBS = 2000
    };
    struct rng rng = {7};
    struct store *s = store_must_open(scratch_url(state));
    struct record r = record_queue(1, "q");
    assert_int_equal(store_commit(s, &r, 1), 1);
    struct job_template *t = make_template(&rng, 10);
    for (uint64_t id = 1; id <= JOBS; id++) {
        r = record_add(id, 1, job_template_ref(t), make_blob(&rng, 10));
        assert_int_equal(store_commit(s, &r, 1), id + 1);
        struct query q = {.type = QUERY_JOB, .token = id, .id = id, .with_payload = true};
        store_query(s, &q);
    }
    job_template_unref(&t);
    uint64_t committed = 0;
    for (uint64_t answers = 0; answers < JOBS;) {
        struct store_done d;
        take(s, &d);
        if (!d.is_answer) {
            assert_true(d.commit > committed);
            committed = d.commit;
            continue;
        }
        answers++;
        assert_int_equal(d.answer.token, answers);
        assert_true(committed >= d.answer.token + 1);
        assert_int_equal(d.answer.row_count, 1);
        assert_int_equal(d.answer.rows[0].id, d.answer.token);
        query_answer_fini(&d.answer);
    }
    assert_int_equal(committed, JOBS + 1);
    assert_int_equal(store_backlog_bytes(s), 0);
    struct pollfd p = {.fd = store_fd(s), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0); /* nothing to take: not readable */
    struct store_done d;
    assert_false(store_take(s, &d));
    store_close(&s);
}

/* Closing commits what was handed over and drops what nobody took. */
static void test_close(void **state)
{
    struct rng rng = {8};
    struct model m;
    model_init(&m);
    struct store *s = store_must_open(scratch_url(state));
    struct job_template *t = make_template(&rng, 10);
    struct record r = record_queue(1, "q");
    model_apply(&m, &r);
    store_commit(s, &r, 1);
    for (uint64_t id = 1; id <= 200; id++) {
        r = record_add(id, 1, job_template_ref(t), make_blob(&rng, 2000));
        model_apply(&m, &r);
        store_commit(s, &r, 1);
        struct query q = {.type = QUERY_LIST, .limit = 10, .range_count = 1};
        q.ranges = mem_zalloc(sizeof q.ranges[0]);
        store_query(s, &q);
    }
    job_template_unref(&t);
    store_close(&s);
    assert_null(s);
    store_close(&s);
    model_check(&m, scratch_url(state));
    model_fini(&m);
}

static void test_space(void **state)
{
    uint64_t bytes = 0;
    uint64_t free_bytes = 0;
    struct rng rng = {9};
    struct record r[] = {record_queue(1, "q"),
                         record_add(1, 1, make_template(&rng, 0), make_blob(&rng, 1 << 20))};
    struct store *s = store_must_open(scratch_url(state));
    store_commit_wait(s, r, ARRAY_SIZE(r), NULL);
    store_space(s, &bytes, &free_bytes);
    assert_true(bytes > 1 << 20);
    assert_true(free_bytes > 0 && free_bytes != UINT64_MAX);
    store_close(&s);
    s = store_must_open("memory:");
    assert_false(store_is_durable(s));
    struct record q = record_queue(1, "q");
    store_commit_wait(s, &q, 1, NULL);
    store_space(s, &bytes, &free_bytes);
    assert_true(bytes > 0);
    assert_true(free_bytes == UINT64_MAX);
    store_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_list, scratch_make, scratch_remove),
        cmocka_unit_test(test_list_memory),
        cmocka_unit_test_setup_teardown(test_list_budget, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_since, scratch_make, scratch_remove),
        cmocka_unit_test(test_since_memory),
        cmocka_unit_test_setup_teardown(test_since_budget, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_order, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_close, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_space, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
