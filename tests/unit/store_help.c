/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/unit/store_help.h"

#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* ThreadSanitizer waits a second at each exit for late races; some hundred children exit here. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "atexit_sleep_ms=0";
}

/* --- scratch --- */

int scratch_make(void **state)
{
    const char *base = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/stint-store-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(path) == NULL)
        return -1;
    *state = mem_strdup(path);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

int scratch_remove(void **state)
{
    int rc = nftw(*state, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return rc;
}

const char *scratch_url(void **state)
{
    static char url[600];
    snprintf(url, sizeof url, "sqlite:%s/store.db", (const char *)*state);
    return url;
}

const char *scratch_path(void **state)
{
    return scratch_url(state) + strlen("sqlite:");
}

/* --- calls that wait --- */

struct store *store_must_open(const char *url)
{
    struct error e = {0};
    struct store *s = NULL;
    if (store_open(url, &s, &e) != 0)
        fail_msg("store_open: %d: %s", e.status, e.text);
    return s;
}

static void store_next(struct store *s, struct store_done *ret)
{
    while (!store_take(s, ret)) {
        struct pollfd p = {.fd = store_fd(s), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 60000), 1);
    }
}

void store_commit_wait(struct store *s, struct record *records, size_t count, uint64_t *forgotten)
{
    uint64_t commit = store_commit(s, records, count);
    struct store_done d = {0};
    do {
        store_next(s, &d);
        assert_false(d.is_answer);
        for (int i = 0; i < JOB_STATE_COUNT && forgotten != NULL; i++)
            forgotten[i] += d.forgotten[i];
    } while (d.commit < commit);
}

void store_ask(struct store *s, const struct query *q, struct query_answer *ret)
{
    store_query(s, q);
    struct store_done d = {0};
    do
        store_next(s, &d);
    while (!d.is_answer);
    assert_int_equal(d.answer.token, q->token);
    *ret = d.answer;
}

int child_run(void (*body)(void *arg), void *arg, char *text, size_t text_bytes)
{
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(pipe_fds[1], STDERR_FILENO);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        body(arg);
        _exit(0);
    }
    close(pipe_fds[1]);
    size_t used = 0;
    ssize_t n = 0;
    while (used + 1 < text_bytes && (n = read(pipe_fds[0], text + used, text_bytes - 1 - used)) > 0)
        used += (size_t)n;
    text[used] = '\0';
    close(pipe_fds[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* --- records --- */

struct blob *make_blob(struct rng *rng, size_t size)
{
    uint8_t *bytes = mem_alloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)rng_next(rng);
    struct blob *b = blob_new(bytes, size);
    free(bytes);
    return b;
}

struct job_template *make_template(struct rng *rng, size_t spec_bytes)
{
    struct job_options o;
    memset(&o, 0, sizeof o);
    job_options_init(&o);
    o.priority = (uint8_t)rng_below(rng, 10);
    o.retries = (uint32_t)rng_below(rng, 1000);
    o.seq = rng_below(rng, 2) ? rng_next(rng) : 0;
    o.keep_ms = rng_below(rng, 2) ? NEVER_MS : rng_below(rng, 1000000);
    if (rng_below(rng, 2))
        snprintf(o.name, sizeof o.name, "name-%d", (int)rng_below(rng, 5));
    return job_template_new(&o, make_blob(rng, spec_bytes));
}

struct record record_add(uint64_t job, uint32_t queue, struct job_template *t, struct blob *payload)
{
    struct record r = {.type = RECORD_ADD, .job = job};
    r.add.queue = queue;
    r.add.submitted_ms = 1700000000000 + job;
    r.add.template = t;
    r.add.payload = payload;
    return r;
}

struct record record_lease(uint64_t job, uint32_t attempt, uint64_t lease)
{
    struct record r = {.type = RECORD_LEASE, .job = job};
    r.lease.attempt = attempt;
    r.lease.lease = lease;
    r.lease.instance = UINT64_C(0xfedcba9876543210);
    r.lease.started_ms = 1700000001000 + job;
    r.lease.worker = blob_new("worker-1", 8);
    return r;
}

struct record record_finish(uint64_t job, uint64_t number, enum job_state state)
{
    struct record r = {.type = RECORD_FINISH, .job = job};
    struct finish *f = finish_new();
    f->job = job;
    f->number = number;
    f->state = state;
    f->attempt = 1;
    f->finished_ms = 1700000002000 + job;
    f->forget_ms = f->finished_ms + 1000;
    f->reason = blob_new("because", 7);
    r.finish = f;
    return r;
}

struct record record_queue(uint32_t id, const char *name)
{
    struct record r = {.type = RECORD_QUEUE};
    r.queue.id = id;
    snprintf(r.queue.name, sizeof r.queue.name, "%s", name);
    return r;
}

struct record record_expire(uint64_t wall_ms, uint32_t jobs_max)
{
    struct record r = {.type = RECORD_EXPIRE};
    r.expire.wall_ms = wall_ms;
    r.expire.jobs_max = jobs_max;
    return r;
}

/* --- the model --- */

void model_init(struct model *m)
{
    *m = (struct model){.meta = {.next_job_id = 1, .next_finish = 1}};
}

void model_fini(struct model *m)
{
    for (size_t i = 0; i < m->job_count; i++)
        job_row_fini(&m->jobs[i]);
    free(m->jobs);
    free(m->clients);
}

static struct job_row *model_add(struct model *m, uint64_t id)
{
    if (id >= m->job_count) {
        if (id >= m->job_capacity) {
            m->job_capacity = max_u64(64, id * 2);
            m->jobs = mem_realloc_array(m->jobs, m->job_capacity, sizeof m->jobs[0]);
        }
        memset(m->jobs + m->job_count, 0, (id + 1 - m->job_count) * sizeof m->jobs[0]);
        m->job_count = id + 1;
    }
    m->meta.next_job_id = max_u64(m->meta.next_job_id, id + 1);
    return &m->jobs[id];
}

static void model_requeue(struct job_row *row, const struct record *r)
{
    row->state = r->requeue.not_before_ms > 0 ? JOB_SCHEDULED : JOB_READY;
    row->not_before_ms = r->requeue.not_before_ms;
    row->retries_used = r->requeue.retries_used;
    row->retry_waits = r->requeue.retry_waits;
    row->crashes = r->requeue.crashes;
    row->lease = 0;
    row->instance = 0;
    blob_unref(&row->worker);
    if (!r->requeue.has_ended)
        return;
    row->history = mem_realloc_array(row->history, row->history_count + 1, sizeof row->history[0]);
    struct attempt *a = &row->history[row->history_count++];
    *a = r->requeue.ended;
    blob_ref(a->worker);
    blob_ref(a->reason);
}

static void model_finish(struct model *m, struct job_row *row, const struct record *r)
{
    row->finish = finish_ref(r->finish);
    row->state = r->finish->state;
    row->attempt = r->finish->attempt;
    row->crashes = r->finish->crashes;
    row->started_ms = r->finish->started_ms;
    row->lease = 0;
    row->instance = 0;
    row->not_before_ms = 0;
    row->is_cancelled = false;
    blob_unref(&row->worker);
    blob_unref(&row->cancel_reason);
    m->meta.finished[row->state]++;
    m->meta.next_finish = max_u64(m->meta.next_finish, r->finish->number + 1);
}

static void model_client(struct model *m, const struct record *r)
{
    size_t i = 0;
    while (i < m->client_count && m->clients[i].client != r->client.client)
        i++;
    if (i == m->client_count) {
        m->clients = mem_realloc_array(m->clients, ++m->client_count, sizeof m->clients[0]);
        m->clients[i] = (struct model_client){.client = r->client.client};
    }
    m->clients[i].at_ms = max_u64(m->clients[i].at_ms, r->client.at_ms);
    m->clients[i].ring[r->client.sequence % CLIENT_RING] = (struct client_entry){
        r->client.sequence, r->client.first_id, r->client.digest, r->client.count};
}

static void model_expire(struct model *m, const struct record *r)
{
    for (uint32_t n = 0; n < r->expire.jobs_max; n++) {
        struct job_row *old = NULL;
        for (size_t i = 0; i < m->job_count; i++) {
            struct job_row *row = &m->jobs[i];
            if (row->id != 0 && row->finish != NULL &&
                row->finish->forget_ms <= r->expire.wall_ms &&
                (old == NULL || row->finish->forget_ms < old->finish->forget_ms ||
                 (row->finish->forget_ms == old->finish->forget_ms &&
                  row->finish->number < old->finish->number)))
                old = row;
        }
        if (old == NULL)
            break;
        m->meta.finished[old->state]--;
        m->forgotten[old->state]++;
        job_row_fini(old);
        *old = (struct job_row){0};
    }
    size_t kept = 0;
    for (size_t i = 0; i < m->client_count; i++)
        if (m->clients[i].at_ms + CLIENT_KEEP_MS > r->expire.wall_ms)
            m->clients[kept++] = m->clients[i];
    m->client_count = kept;
}

void model_apply(struct model *m, const struct record *r)
{
    struct job_row *row = r->job != 0 ? model_add(m, r->job) : NULL;
    switch (r->type) {
    case RECORD_START:
        m->meta.broker_start = r->start.number;
        m->meta.away_ms = 0;
        break;
    case RECORD_AWAY:
        m->meta.away_ms = r->away.ms;
        break;
    case RECORD_QUEUE:
        m->queue_count = r->queue.id;
        memcpy(m->queues[r->queue.id], r->queue.name, sizeof r->queue.name);
        break;
    case RECORD_ADD:
        *row = (struct job_row){.id = r->job,
                                .queue = r->add.queue,
                                .state = r->add.not_before_ms > 0 ? JOB_SCHEDULED : JOB_READY,
                                .seq = r->add.seq,
                                .submitted_ms = r->add.submitted_ms,
                                .not_before_ms = r->add.not_before_ms,
                                .template = job_template_ref(r->add.template),
                                .payload = blob_ref(r->add.payload),
                                .payload_bytes = blob_size(r->add.payload)};
        break;
    case RECORD_LEASE:
        row->state = JOB_RUNNING;
        row->not_before_ms = 0;
        row->attempt = r->lease.attempt;
        row->lease = r->lease.lease;
        row->instance = r->lease.instance;
        row->started_ms = r->lease.started_ms;
        blob_unref(&row->worker);
        row->worker = blob_ref(r->lease.worker);
        break;
    case RECORD_REQUEUE:
        model_requeue(row, r);
        break;
    case RECORD_CANCEL:
        row->is_cancelled = true;
        blob_unref(&row->cancel_reason);
        row->cancel_reason = blob_ref(r->cancel.reason);
        break;
    case RECORD_FINISH:
        model_finish(m, row, r);
        break;
    case RECORD_CLIENT:
        model_client(m, r);
        break;
    case RECORD_EXPIRE:
        model_expire(m, r);
        break;
    }
}

/* --- comparing --- */

static void blob_check(const struct blob *want, const struct blob *got)
{
    assert_int_equal(blob_size(want), blob_size(got));
    assert_true(view_eq(blob_view(want), blob_view(got)));
}

static void finish_check(const struct finish *want, const struct finish *got)
{
    assert_int_equal(want->job, got->job);
    assert_int_equal(want->number, got->number);
    assert_int_equal(want->state, got->state);
    assert_int_equal(want->outcome, got->outcome);
    assert_int_equal(want->attempt, got->attempt);
    assert_int_equal(want->crashes, got->crashes);
    assert_int_equal(want->lease, got->lease);
    assert_int_equal(want->exit_code, got->exit_code);
    assert_int_equal(want->signal, got->signal);
    assert_int_equal(want->is_truncated, got->is_truncated);
    assert_int_equal(want->seq, got->seq);
    assert_int_equal(want->stdout_bytes, got->stdout_bytes);
    assert_int_equal(want->stderr_bytes, got->stderr_bytes);
    assert_int_equal(want->run_ms, got->run_ms);
    assert_int_equal(want->started_ms, got->started_ms);
    assert_int_equal(want->finished_ms, got->finished_ms);
    assert_int_equal(want->forget_ms, got->forget_ms);
    blob_check(want->reason, got->reason);
    blob_check(want->worker, got->worker);
    blob_check(want->stdout_data, got->stdout_data);
    blob_check(want->stderr_data, got->stderr_data);
}

void job_row_check(const struct job_row *want, const struct job_row *got)
{
    const struct job_options *a = &want->template->options;
    const struct job_options *b = &got->template->options;
    assert_int_equal(want->id, got->id);
    assert_int_equal(want->queue, got->queue);
    assert_int_equal(want->state, got->state);
    assert_int_equal(want->seq, got->seq);
    assert_int_equal(want->submitted_ms, got->submitted_ms);
    assert_int_equal(want->not_before_ms, got->not_before_ms);
    assert_int_equal(want->payload_bytes, got->payload_bytes);
    assert_int_equal(want->attempt, got->attempt);
    assert_int_equal(want->retries_used, got->retries_used);
    assert_int_equal(want->retry_waits, got->retry_waits);
    assert_int_equal(want->crashes, got->crashes);
    assert_int_equal(want->lease, got->lease);
    assert_int_equal(want->instance, got->instance);
    assert_int_equal(want->started_ms, got->started_ms);
    assert_int_equal(want->is_cancelled, got->is_cancelled);
    blob_check(want->payload, got->payload);
    blob_check(want->worker, got->worker);
    blob_check(want->cancel_reason, got->cancel_reason);
    assert_int_equal(a->retry_delay_ms, b->retry_delay_ms);
    assert_int_equal(a->time_limit_ms, b->time_limit_ms);
    assert_int_equal(a->keep_ms, b->keep_ms);
    assert_int_equal(a->output_limit_bytes, b->output_limit_bytes);
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->retries, b->retries);
    assert_int_equal(a->crash_limit, b->crash_limit);
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->kind, b->kind);
    assert_string_equal(a->name, b->name);
    blob_check(want->template->spec, got->template->spec);
    assert_int_equal(want->finish != NULL, got->finish != NULL);
    if (want->finish != NULL)
        finish_check(want->finish, got->finish);
}

struct check {
    const struct model *m;
    uint64_t last_job;
    size_t jobs;
    size_t entries;
    uint32_t queues;
};

static void check_meta(void *user, const struct store_meta *meta)
{
    const struct check *c = user;
    assert_memory_equal(meta, &c->m->meta, sizeof *meta);
}

static void check_queue(void *user, uint32_t id, const char *name)
{
    struct check *c = user;
    assert_int_equal(id, ++c->queues);
    assert_string_equal(name, c->m->queues[id]);
}

static void check_client(void *user, uint64_t client, const struct client_entry *e, uint64_t at_ms)
{
    struct check *c = user;
    size_t i = 0;
    while (i < c->m->client_count && c->m->clients[i].client != client)
        i++;
    assert_true(i < c->m->client_count);
    assert_int_equal(c->m->clients[i].at_ms, at_ms);
    const struct client_entry *want = &c->m->clients[i].ring[e->sequence % CLIENT_RING];
    assert_int_equal(want->sequence, e->sequence);
    assert_int_equal(want->first_id, e->first_id);
    assert_int_equal(want->digest, e->digest);
    assert_int_equal(want->count, e->count);
    c->entries++;
}

static void check_job(void *user, const struct job_row *row)
{
    struct check *c = user;
    assert_true(row->id > c->last_job && row->id < c->m->job_count);
    assert_null(c->m->jobs[row->id].finish);
    job_row_check(&c->m->jobs[row->id], row);
    c->last_job = row->id;
    c->jobs++;
}

static void check_query(const struct model *m, struct store *s, uint64_t id)
{
    struct query q = {
        .type = QUERY_JOB, .token = id, .id = id, .with_payload = true, .with_output = true};
    struct query_answer a;
    store_ask(s, &q, &a);
    assert_true(a.is_complete);
    const struct job_row *want = &m->jobs[id];
    if (want->id == 0) {
        assert_int_equal(a.row_count, 0);
        return;
    }
    assert_int_equal(a.row_count, 1);
    job_row_check(want, &a.rows[0]);
    assert_int_equal(a.rows[0].history_count, want->history_count);
    for (size_t i = 0; i < want->history_count; i++) {
        const struct attempt *x = &want->history[i];
        const struct attempt *y = &a.rows[0].history[i];
        assert_int_equal(x->number, y->number);
        assert_int_equal(x->outcome, y->outcome);
        assert_int_equal(x->started_ms, y->started_ms);
        assert_int_equal(x->ended_ms, y->ended_ms);
        blob_check(x->worker, y->worker);
        blob_check(x->reason, y->reason);
    }
    query_answer_fini(&a);
}

void model_check(const struct model *m, const char *url)
{
    struct check c = {.m = m};
    struct store_loader loader = {&c, check_meta, check_queue, check_client, check_job};
    struct error e = {0};
    struct store *s = store_must_open(url);
    if (store_load(s, &loader, &e) != 0)
        fail_msg("store_load: %s", e.text);
    assert_int_equal(c.queues, m->queue_count);
    size_t entries = 0;
    for (size_t i = 0; i < m->client_count; i++)
        for (size_t n = 0; n < CLIENT_RING; n++)
            entries += m->clients[i].ring[n].sequence != 0;
    assert_int_equal(c.entries, entries);
    size_t unfinished = 0;
    for (size_t id = 1; id < m->job_count; id++) {
        unfinished += m->jobs[id].id != 0 && m->jobs[id].finish == NULL;
        check_query(m, s, id);
    }
    assert_int_equal(c.jobs, unfinished);
    store_close(&s);
}
