/* SPDX-License-Identifier: MPL-2.0 */
/* sim_task.c - what clients ask, and what the answers must be.
 *
 * Each client submits batches, waits for all results of each, and in between follows, gets, lists
 * and cancels jobs, its own and others'. An answer is compared with what the store had committed
 * when it came: a WAIT must name exactly the finishes of its set between its two cursors, in order;
 * what was told of a finished job must be the same ever after; what a SUBMIT was told must be
 * there. */
#include <jansson.h>
#include <stdlib.h>

#include "tests/sim/sim.h"

typedef unsigned long long ull;

/* --- asking --- */

static void ask_submit(struct world *w, struct client *c)
{
    struct blob *bodies[BATCH_JOBS_MAX];
    char header[256];
    char queue[4];
    struct batch *b = &w->batches[w->batch_count];
    *b = (struct batch){.client = c->index, .index = (uint32_t)w->batch_count++};
    b->count = 1 + (uint32_t)roll(w, chance(w, 60) ? 3 : BATCH_JOBS_MAX);
    b->is_kept = chance(w, 90);
    for (uint32_t i = 0; i < b->count; i++) {
        char text[32];
        bodies[i] = blob_new(text, (size_t)snprintf(text, sizeof text, "b%u.%u", b->index, i));
    }
    int n = snprintf(header, sizeof header, "{\"priority\":%u,\"retries\":%u,\"crash_limit\":%u",
                     (unsigned)roll(w, 10), (unsigned)roll(w, 4), 1 + (unsigned)roll(w, 4));
    if (chance(w, 80))
        n += snprintf(header + n, sizeof header - (size_t)n, ",\"retry_delay_ms\":%u",
                      (unsigned)roll(w, 3000));
    if (chance(w, 15))
        n += snprintf(header + n, sizeof header - (size_t)n, ",\"time_limit_ms\":%u",
                      200 + (unsigned)roll(w, 3000));
    if (!b->is_kept)
        n += snprintf(header + n, sizeof header - (size_t)n, ",\"keep_ms\":%u",
                      (unsigned)roll(w, 5000));
    if (chance(w, 40))
        n += snprintf(header + n, sizeof header - (size_t)n, ",\"argv\":[\"true\"]");
    snprintf(header + n, sizeof header - (size_t)n, "}");
    snprintf(queue, sizeof queue, "q%u", (unsigned)roll(w, 2));
    client_ask(w, c, ASK_SUBMIT, VERB_SUBMIT, queue, header, bodies, b->count, 0)->batch = b;
}

/* Committed jobs of a range that are not forgotten; `all`: forgotten ones too. */
static uint64_t jobs_there(const struct world *w, uint64_t first, uint64_t last, bool all)
{
    uint64_t n = 0;
    for (uint64_t id = first; id <= last; id++) {
        const struct store_row *it = sim_store_row(w, id);
        n += it != NULL && (all || !it->is_forgotten);
    }
    return n;
}

static void ask_wait(struct world *w, struct client *c, struct batch *b, uint64_t first,
                     uint64_t last, uint64_t since)
{
    char subject[48];
    char header[128];
    uint64_t limit = chance(w, 50) ? 1 + roll(w, 3) : 1000;
    uint64_t timeout_ms = chance(w, 20) ? roll(w, 3) : 1000 + roll(w, 9000);
    bool with_results = chance(w, 50);
    snprintf(subject, sizeof subject, last > first ? "%llu-%llu" : "%llu", (ull)first, (ull)last);
    snprintf(header, sizeof header,
             "{\"since\":%llu,\"limit\":%llu,\"timeout_ms\":%llu,\"results\":%s}", (ull)since,
             (ull)limit, (ull)timeout_ms, with_results ? "true" : "false");
    struct ask *a = client_ask(w, c, ASK_WAIT, VERB_WAIT, subject, header, NULL, 0, timeout_ms);
    a->batch = b;
    a->first = first;
    a->last = last;
    a->since = since;
    a->limit = limit;
    a->with_results = with_results;
    a->is_chain = b != NULL;
    a->existed = jobs_there(w, first, last, true);
}

static void ask_follow(struct world *w, struct client *c, uint64_t id, const struct ask *before)
{
    char subject[24];
    char header[128] = "";
    snprintf(subject, sizeof subject, "%llu", (ull)id);
    if (before != NULL)
        snprintf(header, sizeof header,
                 "{\"attempt\":%u,\"stdout\":%llu,\"stderr\":%llu,\"state\":\"%s\"}",
                 before->attempt, (ull)before->at[0], (ull)before->at[1],
                 job_state_name(before->state));
    struct ask *a =
        client_ask(w, c, ASK_FOLLOW, VERB_FOLLOW, subject, header, NULL, 0, PROTO_LONG_POLL_MS);
    if (before != NULL) {
        a->attempt = before->attempt;
        a->at[0] = before->at[0];
        a->at[1] = before->at[1];
    }
    a->first = a->last = id;
    a->was_final = check_job(w, id)->was_final;
    a->existed = 1;
}

static void ask_get(struct world *w, struct client *c, uint64_t id)
{
    char subject[24];
    snprintf(subject, sizeof subject, "%llu", (ull)id);
    struct ask *a = client_ask(w, c, ASK_GET, VERB_GET, subject,
                               chance(w, 50) ? "{\"want\":[\"stdout\"]}" : "", NULL, 0, 0);
    a->first = a->last = id;
    a->was_final = check_job(w, id)->was_final;
    a->existed = jobs_there(w, id, id, true);
}

static void ask_list(struct world *w, struct client *c, uint64_t first, uint64_t last)
{
    char subject[48];
    snprintf(subject, sizeof subject, last > first ? "%llu-%llu" : "%llu", (ull)first, (ull)last);
    struct ask *a = client_ask(w, c, ASK_LIST, VERB_LIST, subject, "{\"limit\":1000}", NULL, 0, 0);
    a->first = first;
    a->last = last;
    a->existed = sim_store_row(w, last) != NULL ? last : 0;
}

static void ask_cancel(struct world *w, struct client *c, const struct batch *b)
{
    char subject[48];
    uint64_t first = b->first + roll(w, b->count);
    uint64_t last = first + roll(w, b->first + b->count - first);
    snprintf(subject, sizeof subject, last > first ? "%llu-%llu" : "%llu", (ull)first, (ull)last);
    struct ask *a = client_ask(w, c, ASK_CANCEL, VERB_CANCEL, subject,
                               "{\"reason\":\"enough\",\"by\":\"sim\"}", NULL, 0, 0);
    a->first = first;
    a->last = last;
}

static const struct batch *batch_any(struct world *w)
{
    if (w->batch_count == 0)
        return NULL;
    const struct batch *b = &w->batches[roll(w, w->batch_count)];
    return b->first != 0 ? b : NULL;
}

static void ask_something(struct world *w, struct client *c)
{
    const struct batch *b = batch_any(w);
    if (b == NULL || c->table.count > 20)
        return;
    uint64_t id = b->first + roll(w, b->count);
    switch (roll(w, 9)) {
    case 0:
    case 1:
        ask_follow(w, c, id, NULL);
        break;
    case 2:
        ask_get(w, c, id);
        break;
    case 3:
        ask_list(w, c, 1 + roll(w, id), id);
        break;
    case 4:
        ask_cancel(w, c, b);
        if (chance(w, 50)) /* behind it in the same turn, perhaps */
            ask_wait(w, c, NULL, b->first, b->first + b->count - 1, 0);
        break;
    case 5:
    case 6:
        ask_wait(w, c, NULL, 1 + roll(w, id), id,
                 chance(w, 50) ? 0 : roll(w, w->store.next_finish));
        break;
    case 7:
        client_ask(w, c, ASK_OTHER, VERB_STATUS, "", "", NULL, 0, 0);
        break;
    default:
        client_ask(w, c, ASK_OTHER, chance(w, 50) ? VERB_PING : VERB_WORKERS, "", "", NULL, 0, 0);
        break;
    }
}

void task_think(struct world *w, struct client *c)
{
    uint32_t made = 0;
    if (w->is_calm || c->index == OPERATOR)
        return;
    for (size_t i = 0; i < w->batch_count; i++)
        made += w->batches[i].client == c->index;
    if (made < w->plan.batches && w->batch_count < BATCHES_MAX && chance(w, 60))
        ask_submit(w, c);
    if (chance(w, 50))
        ask_something(w, c);
}

/* After a kill: what was acknowledged is waited for anew. */
void task_recover(struct world *w, struct client *c)
{
    for (size_t i = 0; i < w->batch_count; i++) {
        struct batch *b = &w->batches[i];
        if (b->client != c->index || b->first == 0 || b->is_over || !b->is_kept)
            continue;
        b->known = 0;
        ask_wait(w, c, b, b->first, b->first + b->count - 1, 0);
    }
}

void task_shutdown(struct world *w, const char *mode, bool keep_workers)
{
    struct client *c = &w->clients[OPERATOR];
    char header[64];
    if (!c->is_up)
        return;
    snprintf(header, sizeof header, "{\"grace_ms\":%u,\"keep_workers\":%s}",
             (unsigned)roll(w, 8000), keep_workers ? "true" : "false");
    client_ask(w, c, ASK_SHUTDOWN, VERB_SHUTDOWN, mode, header, NULL, 0, 0);
    c->is_stopping_pool = true;
}

bool tasks_are_over(const struct world *w, const struct client *c)
{
    (void)w;
    return list_is_empty(&c->asks);
}

/* --- answers --- */

static uint64_t hash_add(uint64_t h, const void *data, size_t size)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < size; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001B3);
    return (h ^ size) * UINT64_C(0x100000001B3);
}

/* Of all that a finished job's result consists of. */
static uint64_t result_digest(const json_t *job)
{
    static const char *const keys[] = {"state",        "reason",       "exit_code",   "signal",
                                       "attempts",     "worker",       "started_at",  "finished_at",
                                       "stdout_bytes", "stderr_bytes", "run_seconds", "seq"};
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const json_t *v = json_object_get(job, keys[i]);
        json_int_t n = json_integer_value(v);
        double real = json_real_value(v);
        int type = v != NULL ? (int)json_typeof(v) : -1;
        h = hash_add(h, &type, sizeof type);
        if (json_is_string(v))
            h = hash_add(h, json_string_value(v), json_string_length(v));
        else if (json_is_integer(v))
            h = hash_add(h, &n, sizeof n);
        else if (json_is_real(v))
            h = hash_add(h, &real, sizeof real);
    }
    return h != 0 ? h : 1;
}

static uint64_t job_id(const json_t *job)
{
    uint64_t id = 0;
    const char *text = json_string_value(json_object_get(job, "id"));
    if (text != NULL)
        view_u64(view_str(text), &id);
    return id;
}

static bool job_is_final(const json_t *job)
{
    enum job_state state = JOB_STATE_COUNT;
    const char *text = json_string_value(json_object_get(job, "state"));
    return text != NULL && job_state_parse(view_str(text), &state) && job_state_is_final(state);
}

/* A job object that somebody was told. */
static void saw_job(struct world *w, const json_t *job, bool was_final)
{
    uint64_t id = job_id(job);
    if (sim_store_row(w, id) == NULL)
        check_fail(w, "I1: a client was told of job %llu, which is not committed", (ull)id);
    else if (job_is_final(job))
        check_told(w, id, result_digest(job));
    else if (was_final)
        check_fail(w, "I3: job %llu was final and is not any more", (ull)id);
}

static void saw_output(struct world *w, uint64_t id, struct view body)
{
    const struct store_row *it = sim_store_row(w, id);
    struct view stored = blob_view(it->row.finish != NULL ? it->row.finish->stdout_data : NULL);
    if (!view_eq(stored, body))
        check_fail(w, "I3: job %llu: another stdout was told than is stored", (ull)id);
}

static void answer_submit(struct world *w, struct client *c, struct ask *a, const struct msg *m)
{
    struct batch *b = a->batch;
    struct id_range range;
    size_t n = 0;
    if (m->verb == VERB_ERR) {
        enum status s = status_parse(m->subject);
        if (s != STATUS_DRAINING && s != STATUS_STORE_FULL && s != STATUS_QUEUE_FULL)
            check_fail(w, "a SUBMIT of %s was refused: %s", c->peer.name, status_name(s));
        b->is_refused = true;
        count(w, COUNT_REFUSED_SUBMIT);
        return;
    }
    if (!idset_parse(m->subject, &range, 1, &n) || n != 1 ||
        range.last - range.first + 1 != b->count) {
        check_fail(w, "a SUBMIT of %u jobs got %.*s", b->count, VIEW_ARG(m->subject));
        return;
    }
    b->first = range.first;
    w->tally->counters[COUNT_JOBS] += b->count;
    for (uint32_t i = 0; i < b->count; i++) {
        const struct store_row *it = sim_store_row(w, b->first + i);
        char text[32];
        snprintf(text, sizeof text, "b%u.%u", b->index, i);
        check_job(w, b->first + i)->is_promised = true;
        if (it == NULL || !view_is(blob_view(it->row.payload), text))
            check_fail(w, "I1: %s was told of job %llu, which is not committed, or another's",
                       c->peer.name, (ull)(b->first + i));
    }
    if (b->is_kept)
        ask_wait(w, c, b, b->first, b->first + b->count - 1, 0);
}

/* The finishes of the set between the two cursors, no more and no fewer, in order. */
static void check_wait(struct world *w, const struct ask *a, uint64_t since, const json_t *jobs)
{
    const struct sim_store *s = &w->store;
    size_t at = 0;
    if (since < a->since || since >= max_u64(s->next_finish, a->since + 1))
        check_fail(w, "a WAIT moved its cursor from %llu to %llu, the last finish is %llu",
                   (ull)a->since, (ull)since, (ull)s->next_finish - 1);
    if (json_array_size(jobs) > a->limit)
        check_fail(w, "a WAIT got %zu jobs", json_array_size(jobs));
    for (uint64_t n = a->since + 1; n <= since && n < s->next_finish; n++) {
        uint64_t id = s->finishes[n];
        if (id < a->first || id > a->last)
            continue;
        if (at < json_array_size(jobs) && job_id(json_array_get(jobs, at)) == id)
            at++;
        else if (!s->rows[id].is_forgotten)
            check_fail(w, "a WAIT from %llu to %llu misses finish %llu of job %llu", (ull)a->since,
                       (ull)since, (ull)n, (ull)id);
    }
    if (at != json_array_size(jobs))
        check_fail(w, "a WAIT from %llu to %llu names job %llu, which did not finish there",
                   (ull)a->since, (ull)since, (ull)job_id(json_array_get(jobs, at)));
}

static void check_selected(struct world *w, const struct ask *a, const json_t *header)
{
    uint64_t gone =
        jobs_there(w, a->first, a->last, true) - jobs_there(w, a->first, a->last, false);
    uint64_t low = sub_sat_u64(a->existed, gone);
    uint64_t high = jobs_there(w, a->first, a->last, true);
    const json_t *v = json_object_get(header, "selected");
    uint64_t selected = (uint64_t)json_integer_value(v);
    if (a->since == 0 && (v == NULL || selected < low || selected > high))
        check_fail(w, "a WAIT for %llu-%llu says selected %llu; there are %llu to %llu",
                   (ull)a->first, (ull)a->last, (ull)selected, (ull)low, (ull)high);
}

static void answer_wait(struct world *w, struct client *c, struct ask *a, const struct msg *m,
                        const json_t *header)
{
    struct batch *b = a->batch;
    count(w, COUNT_WAITS);
    if (m->verb == VERB_ERR) {
        if (status_parse(m->subject) != STATUS_NOT_FOUND ||
            jobs_there(w, a->first, a->last, false) >= max_u64(a->existed, 1))
            check_fail(w, "a WAIT for %llu-%llu got ERR %.*s", (ull)a->first, (ull)a->last,
                       VIEW_ARG(m->subject));
        return;
    }
    const json_t *jobs = json_object_get(header, "jobs");
    uint64_t since = (uint64_t)json_integer_value(json_object_get(header, "since"));
    check_wait(w, a, since, jobs);
    check_selected(w, a, header);
    if (m->body_count != (a->with_results ? 2 * json_array_size(jobs) : 0))
        check_fail(w, "a WAIT got %zu bodies", m->body_count);
    for (size_t i = 0; i < json_array_size(jobs) && !w->checks.has_failed; i++) {
        const json_t *job = json_array_get(jobs, i);
        saw_job(w, job, true);
        if (a->with_results)
            saw_output(w, job_id(job), m->bodies[2 * i]);
        if (!a->is_chain)
            continue;
        uint32_t bit = 1U << (job_id(job) - b->first);
        if ((b->known & bit) != 0)
            check_fail(w, "a WAIT was told twice of job %llu", (ull)job_id(job));
        b->known |= bit;
    }
    if (!a->is_chain)
        return;
    b->is_over = b->known == (1U << b->count) - 1;
    if (!b->is_over)
        ask_wait(w, c, b, b->first, b->first + b->count - 1, since);
}

static void answer_follow(struct world *w, struct client *c, struct ask *a, const struct msg *m,
                          const json_t *header)
{
    const struct store_row *it = sim_store_row(w, a->first);
    count(w, COUNT_FOLLOWS);
    if (m->verb == VERB_ERR) {
        if (status_parse(m->subject) != STATUS_NOT_FOUND || it == NULL || !it->is_forgotten)
            check_fail(w, "a FOLLOW of %llu got ERR %.*s", (ull)a->first, VIEW_ARG(m->subject));
        return;
    }
    const char *state = json_string_value(json_object_get(header, "state"));
    struct ask next = {.attempt = (uint32_t)json_integer_value(json_object_get(header, "attempt"))};
    next.at[0] = (uint64_t)json_integer_value(json_object_get(header, "stdout"));
    next.at[1] = (uint64_t)json_integer_value(json_object_get(header, "stderr"));
    if (m->body_count != 2 || !job_state_parse(view_str(state), &next.state)) {
        check_fail(w, "a FOLLOW of %llu got an answer of another form", (ull)a->first);
        return;
    }
    if (job_state_is_final(next.state)) {
        check_job(w, a->first)->was_final = true;
        if (it->row.state != next.state)
            check_fail(w, "I3: a FOLLOW of %llu says %s", (ull)a->first, state);
        return;
    }
    if (a->was_final)
        check_fail(w, "I3: job %llu was final, a FOLLOW says %s", (ull)a->first, state);
    char text[REF_BYTES_MAX + 2];
    struct ref ref = {.job = a->first, .attempt = next.attempt};
    const uint8_t *data = m->bodies[0].data;
    if (m->bodies[0].size > 0 && !check_attempt_lease(w, ref.job, ref.attempt, &ref.lease))
        check_fail(w, "a FOLLOW has output of attempt %u, which never ran", ref.attempt);
    size_t size = process_text(&ref, text);
    for (size_t i = 0; i < m->bodies[0].size; i++)
        if (data[i] != (uint8_t)text[(next.at[0] + i) % size])
            check_fail(w, "a FOLLOW of %llu got other bytes than were written", (ull)a->first);
    next.at[0] += m->bodies[0].size;
    ask_follow(w, c, a->first, &next);
}

static void answer_list(struct world *w, const struct ask *a, const json_t *header)
{
    const json_t *jobs = json_object_get(header, "jobs");
    uint64_t id = a->last;
    for (size_t i = 0; i < json_array_size(jobs); i++) {
        const json_t *job = json_array_get(jobs, i);
        saw_job(w, job, false);
        for (; id > job_id(job) && id >= a->first; id--)
            if (id <= a->existed && sim_store_row(w, id) != NULL && !w->store.rows[id].is_forgotten)
                check_fail(w, "a LIST leaves out job %llu", (ull)id);
        if (job_id(job) != id--)
            check_fail(w, "a LIST is not in order, or beyond its set");
    }
}

static void answer_cancel(struct world *w, const struct ask *a, const json_t *header)
{
    json_int_t cancelling = json_integer_value(json_object_get(header, "cancelling"));
    json_int_t sum = json_integer_value(json_object_get(header, "cancelled")) + cancelling +
                     json_integer_value(json_object_get(header, "not_open"));
    if (cancelling > 0)
        count(w, COUNT_CANCELS);
    if ((uint64_t)sum != a->last - a->first + 1)
        check_fail(w, "a CANCEL of %llu jobs speaks of %lld", (ull)(a->last - a->first + 1),
                   (long long)sum);
}

static void answer_progress(struct world *w, struct client *c, const struct msg *m, json_t *header)
{
    const char *phase = json_string_value(json_object_get(header, "phase"));
    if (m->verb == VERB_ERR || phase == NULL || strcmp(phase, "done") == 0 ||
        strcmp(phase, "serving") == 0) {
        c->is_stopping_pool = false;
        if (phase != NULL && phase[0] == 'd')
            count(w, COUNT_STOPPED_POOLS);
        return;
    }
    json_object_del(header, "scheduled");
    json_object_del(header, "left_ms");
    char *text = json_dumps(header, JSON_COMPACT);
    client_ask(w, c, ASK_PROGRESS, VERB_PROGRESS, "", text, NULL, 0, 1000);
    free(text);
}

bool task_answer(struct world *w, struct client *c, struct ask *a, const struct msg *m)
{
    json_t *header =
        m->header.size > 0 ? json_loadb(m->header.data, m->header.size, 0, NULL) : NULL;
    if (a->kind == ASK_SUBMIT)
        answer_submit(w, c, a, m);
    else if (a->kind == ASK_WAIT)
        answer_wait(w, c, a, m, header);
    else if (a->kind == ASK_FOLLOW)
        answer_follow(w, c, a, m, header);
    else if (a->kind == ASK_SHUTDOWN || a->kind == ASK_PROGRESS)
        answer_progress(w, c, m, header);
    else if (a->kind == ASK_GET && m->verb == VERB_ERR) {
        const struct store_row *it = sim_store_row(w, a->first);
        if (status_parse(m->subject) != STATUS_NOT_FOUND || (it != NULL && !it->is_forgotten))
            check_fail(w, "a GET of %llu got ERR %.*s", (ull)a->first, VIEW_ARG(m->subject));
    } else if (m->verb == VERB_ERR) {
        check_fail(w, "%s got ERR %.*s", c->peer.name, VIEW_ARG(m->subject));
    } else if (a->kind == ASK_GET) {
        saw_job(w, header, a->was_final);
        if (m->body_count == 1 && job_is_final(header) && !w->checks.has_failed)
            saw_output(w, a->first, m->bodies[0]);
    } else if (a->kind == ASK_LIST) {
        answer_list(w, a, header);
    } else if (a->kind == ASK_CANCEL) {
        answer_cancel(w, a, header);
    }
    json_decref(header);
    return false;
}
