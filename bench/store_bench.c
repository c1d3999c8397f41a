/* SPDX-License-Identifier: MPL-2.0 */
/* store_bench.c - jobs per second through the store: add, lease, finish; then a start.
 *
 *   store_bench URL [JOBS [PAYLOAD_BYTES]]
 *
 * Batches of 1, 32 and 256 jobs go through, each as three commits (adds, leases, finishes), one
 * batch under way at a time, so that a batch of 1 shows the latency of a sync. "stream" keeps up to
 * 64 batches of one job under way and shows what group commit makes of them. At the end JOBS
 * unfinished jobs are stored and loaded as at a start. The file of URL should not exist. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "broker/store/store.h"
#include "common/base/memory.h"

#define BATCH_MAX 1000

static uint64_t next_job = 1;
static uint64_t next_finish = 1;
static struct job_template *template;
static struct blob *payload;
static struct blob *worker;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void wait_for(struct store *s, uint64_t commit)
{
    static uint64_t committed;
    static const struct store *of;
    if (of != s)
        committed = 0;
    of = s;
    while (committed < commit) {
        struct store_done d;
        if (store_take(s, &d)) {
            committed = d.commit;
            continue;
        }
        struct pollfd p = {.fd = store_fd(s), .events = POLLIN};
        poll(&p, 1, -1);
    }
}

static uint64_t add(struct store *s, uint64_t first, size_t count)
{
    struct record r[BATCH_MAX];
    for (size_t i = 0; i < count; i++) {
        r[i] = (struct record){.type = RECORD_ADD, .job = first + i};
        r[i].add.queue = 1;
        r[i].add.submitted_ms = 1700000000000;
        r[i].add.template = job_template_ref(template);
        r[i].add.payload = blob_ref(payload);
    }
    return store_commit(s, r, count);
}

static uint64_t lease(struct store *s, uint64_t first, size_t count)
{
    struct record r[BATCH_MAX];
    for (size_t i = 0; i < count; i++) {
        r[i] = (struct record){.type = RECORD_LEASE, .job = first + i};
        r[i].lease.attempt = 1;
        r[i].lease.lease = UINT64_C(1700000000) << 32 | (first + i);
        r[i].lease.instance = UINT64_C(0x123456789abcdef0);
        r[i].lease.started_ms = 1700000000100;
        r[i].lease.worker = blob_ref(worker);
    }
    return store_commit(s, r, count);
}

static uint64_t finish(struct store *s, uint64_t first, size_t count)
{
    struct record r[BATCH_MAX];
    for (size_t i = 0; i < count; i++) {
        struct finish *f = finish_new();
        f->job = first + i;
        f->number = next_finish++;
        f->state = JOB_SUCCEEDED;
        f->attempt = 1;
        f->lease = UINT64_C(1700000000) << 32 | (first + i);
        f->exit_code = 0;
        f->started_ms = 1700000000100;
        f->finished_ms = 1700000000200 + f->number;
        f->forget_ms = f->finished_ms + 86400000;
        f->worker = blob_ref(worker);
        f->stdout_data = blob_ref(payload);
        r[i] = (struct record){.type = RECORD_FINISH, .job = first + i, .finish = f};
    }
    return store_commit(s, r, count);
}

static void report(const char *what, uint64_t jobs, double start_s)
{
    double s = now_s() - start_s;
    printf("%-12s %9llu jobs %8.2f s %10.0f jobs/s\n", what, (unsigned long long)jobs, s,
           (double)jobs / s);
    fflush(stdout);
}

static void run_batches(struct store *s, size_t batch, double seconds)
{
    double start_s = now_s();
    uint64_t jobs = 0;
    while (now_s() < start_s + seconds) {
        add(s, next_job, batch);
        wait_for(s, lease(s, next_job, batch));
        wait_for(s, finish(s, next_job, batch));
        next_job += batch;
        jobs += batch;
    }
    char what[32];
    snprintf(what, sizeof what, "batch %zu", batch);
    report(what, jobs, start_s);
}

static void run_stream(struct store *s, double seconds)
{
    double start_s = now_s();
    uint64_t jobs = 0;
    uint64_t commits[64] = {0};
    while (now_s() < start_s + seconds) {
        size_t slot = jobs++ % ARRAY_SIZE(commits);
        if (commits[slot] > 0)
            wait_for(s, commits[slot]);
        add(s, next_job, 1);
        lease(s, next_job, 1);
        commits[slot] = finish(s, next_job++, 1);
    }
    wait_for(s, commits[(jobs - 1) % ARRAY_SIZE(commits)]);
    report("stream", jobs, start_s);
}

static void on_meta(void *user, const struct store_meta *m)
{
    (void)user;
    (void)m;
}

static void on_queue(void *user, uint32_t id, const char *name)
{
    (void)user;
    (void)id;
    (void)name;
}

static void on_client(void *user, uint64_t client, const struct client_entry *e, uint64_t at_ms)
{
    (void)user;
    (void)client;
    (void)e;
    (void)at_ms;
}

static void on_job(void *user, const struct job_row *row)
{
    (void)row;
    ++*(uint64_t *)user;
}

static struct store *must_open(const char *url)
{
    struct error e;
    struct store *s = NULL;
    if (store_open(url, &s, &e) != 0) {
        fprintf(stderr, "%s\n", e.text);
        exit(e.status);
    }
    return s;
}

static void run_query(struct store *s, const char *what, const struct query *q)
{
    double start_s = now_s();
    struct store_done d = {0};
    store_query(s, q);
    do {
        struct pollfd p = {.fd = store_fd(s), .events = POLLIN};
        poll(&p, 1, -1);
    } while (!store_take(s, &d) || !d.is_answer);
    printf("%-12s %9zu rows %8.3f ms, counted %llu\n", what, d.answer.row_count,
           (now_s() - start_s) * 1e3, (unsigned long long)d.answer.finished_count);
    query_answer_fini(&d.answer);
}

static void run_load(struct store *s, const char *url, uint64_t jobs)
{
    double start_s = now_s();
    uint64_t commit = 0;
    for (uint64_t left = jobs; left > 0;) {
        size_t count = (size_t)min_u64(left, BATCH_MAX);
        commit = add(s, next_job, count);
        if (commit % 8 == 0)
            wait_for(s, commit);
        next_job += count;
        left -= count;
    }
    wait_for(s, commit);
    report("add", jobs, start_s);
    if (!store_is_durable(s)) {
        store_close(&s);
        return;
    }
    store_close(&s);
    start_s = now_s();
    s = must_open(url);
    uint64_t seen = 0;
    struct store_loader loader = {&seen, on_meta, on_queue, on_client, on_job};
    struct error e;
    if (store_load(s, &loader, &e) != 0) {
        fprintf(stderr, "%s\n", e.text);
        exit(e.status);
    }
    report("open, load", seen, start_s);
    struct query list = {.type = QUERY_LIST, .limit = 100};
    run_query(s, "list 100", &list);
    struct query since = {.type = QUERY_SINCE, .limit = 100, .bytes_max = 8U << 20};
    since.with_count = true;
    since.count_to = UINT64_MAX;
    since.with_output = true;
    since.range_count = 1;
    since.ranges = mem_zalloc(sizeof since.ranges[0]);
    since.ranges[0] = (struct id_range){1, INT64_MAX};
    run_query(s, "since 100", &since);
    store_close(&s);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: store_bench URL [JOBS [PAYLOAD_BYTES]]\n");
        return 2;
    }
    uint64_t jobs = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    size_t payload_bytes = argc > 3 ? strtoull(argv[3], NULL, 10) : 100;
    struct job_options options;
    memset(&options, 0, sizeof options);
    job_options_init(&options);
    template = job_template_new(&options, blob_new("{\"argv\":[\"true\"]}", 17));
    void *bytes = mem_zalloc(payload_bytes);
    payload = blob_new(bytes, payload_bytes);
    free(bytes);
    worker = blob_new("host-1/0", 8);
    struct store *s = must_open(argv[1]);
    struct record queue = {.type = RECORD_QUEUE};
    queue.queue.id = 1;
    memcpy(queue.queue.name, "default", 8);
    wait_for(s, store_commit(s, &queue, 1));
    run_batches(s, 1, 3);
    run_batches(s, 32, 3);
    run_batches(s, 256, 3);
    run_batches(s, 1000, 3);
    run_stream(s, 3);
    run_load(s, argv[1], jobs);
    job_template_unref(&template);
    blob_unref(&payload);
    blob_unref(&worker);
    return 0;
}
