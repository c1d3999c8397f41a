/* SPDX-License-Identifier: MPL-2.0 */
/* sqlite_row.c - stored rows into structs, each checked against its sum on the way.
 *
 * Columns are read in the order in which they were summed. Texts are looked at in place and copied
 * when the sum has been found right. Jobs of one SUBMIT lie next to each other, so a row whose
 * options and spec equal those of the row before shares its template: a million jobs that came in
 * a thousand requests load as a thousand templates. */
#include <stdio.h>
#include <stdlib.h>

#include "broker/store/columns.h"
#include "broker/store/sqlite.h"
#include "common/base/memory.h"

static const char bad_sum[] = "its content does not match its checksum";

static void reader_init(struct reader *r, sqlite3_stmt *st, enum rowsum_part part)
{
    *r = (struct reader){.st = st};
    rowsum_init(&r->sum, part);
}

/* --- large values --- */

static struct blob *blob_sized(size_t size)
{
    struct blob *b = mem_alloc(sizeof *b + size);
    atomic_init(&b->refs, 1);
    b->size = size;
    return b;
}

/* One chunk into *b at *at. */
static int body_chunk(struct db *db, sqlite3_stmt *st, struct blob *b, size_t *at, struct error *e)
{
    struct reader r;
    reader_init(&r, st, ROWSUM_BODY);
    uint64_t key = reader_u64(&r);
    struct view data = reader_bytes(&r);
    if (!reader_is_whole(&r))
        return db_damaged(db, e, "body", key, bad_sum);
    if (data.size > b->size - *at)
        return db_damaged(db, e, "body", key, "it is longer than its job says");
    memcpy(b->data + *at, data.data, data.size);
    *at += data.size;
    return 0;
}

static int body_read(struct db *db, uint64_t id, enum body_kind kind, uint64_t size,
                     struct blob **ret, struct error *e)
{
    uint64_t size_max = (uint64_t)BODY_CHUNK_BYTES * BODY_CHUNKS_MAX;
    if (size > size_max)
        return db_damaged(db, e, "body", body_key(id, kind, 0), "its job says an absurd size");
    struct blob *b = blob_sized(size);
    size_t at = 0;
    sqlite3_stmt *st = db->statement[STATEMENT_BODY_GET];
    sqlite3_bind_int64(st, 1, (sqlite3_int64)body_key(id, kind, 0));
    sqlite3_bind_int64(st, 2, (sqlite3_int64)body_key(id, kind, BODY_CHUNKS_MAX - 1));
    int rc = 0;
    int step = SQLITE_DONE;
    while (rc == 0 && (step = sqlite3_step(st)) == SQLITE_ROW)
        rc = body_chunk(db, st, b, &at, e);
    if (rc == 0 && step != SQLITE_DONE)
        rc = db_fail(db, e, "reading a large value");
    else if (rc == 0 && at != size)
        rc = db_damaged(db, e, "body", body_key(id, kind, 0), "a part of it is missing");
    sqlite3_reset(st);
    if (rc != 0)
        blob_unref(&b);
    *ret = b;
    return rc;
}

/* The value from its row, or from `body` where it is too large for that. */
static int value_read(struct db *db, uint64_t id, enum body_kind kind, uint64_t size,
                      struct view in_row, struct blob **ret, struct error *e)
{
    if (size > INLINE_BYTES_MAX)
        return body_read(db, id, kind, size, ret, e);
    *ret = blob_from_view(in_row);
    return 0;
}

/* --- jobs --- */

/* The last template where it says the same, or a new one. */
static void template_share(struct db *db, const struct job_options *options, struct view spec,
                           struct job_row *row)
{
    const struct job_template *last = db->template;
    /* Bytes for bytes, gaps too: fixed_read cleared both before it filled them. */
    /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c) */
    bool is_same = last != NULL && memcmp(&last->options, options, sizeof *options) == 0;
    if (!is_same || !view_eq(blob_view(last->spec), spec)) {
        job_template_unref(&db->template);
        db->template = job_template_new(options, blob_from_view(spec));
    }
    row->template = job_template_ref(db->template);
}

/* FIXED, but for the checks that name the row. */
static bool fixed_read(struct reader *r, struct job_row *row, struct job_options *o,
                       struct view *ret_spec, uint64_t *ret_spec_bytes, struct view *ret_payload)
{
    memset(o, 0, sizeof *o); /* the gaps too: they are compared */
    row->id = reader_u64(r);
    row->queue = (uint32_t)reader_u64(r);
    struct view name = reader_bytes(r);
    if (name.size > 0)
        memcpy(o->name, name.data, min_u64(name.size, PROTO_NAME_BYTES_MAX));
    o->kind = (uint8_t)reader_u64(r);
    o->priority = (uint8_t)reader_u64(r);
    o->retries = (uint32_t)reader_u64(r);
    o->crash_limit = (uint32_t)reader_u64(r);
    o->retry_delay_ms = reader_u64(r);
    o->time_limit_ms = reader_u64(r);
    o->keep_ms = reader_u64(r);
    o->output_limit_bytes = reader_u64(r);
    o->seq = reader_u64(r);
    row->seq = reader_u64(r);
    row->submitted_ms = reader_u64(r);
    row->payload_bytes = reader_u64(r);
    *ret_spec_bytes = reader_u64(r);
    *ret_spec = reader_bytes(r);
    *ret_payload = reader_bytes(r);
    return reader_is_whole(r);
}

static int fixed_load(struct db *db, struct reader *r, const char *table, bool with_payload,
                      struct job_row *row, struct error *e)
{
    struct job_options options;
    struct view spec;
    struct view payload;
    uint64_t spec_bytes = 0;
    if (!fixed_read(r, row, &options, &spec, &spec_bytes, &payload))
        return db_damaged(db, e, table, row->id, bad_sum);
    if (spec_bytes > INLINE_BYTES_MAX) {
        struct blob *large = NULL;
        if (body_read(db, row->id, BODY_SPEC, spec_bytes, &large, e) != 0)
            return -1;
        template_share(db, &options, blob_view(large), row);
        blob_unref(&large);
    } else {
        template_share(db, &options, spec, row);
    }
    return with_payload ? value_read(db, row->id, BODY_PAYLOAD, row->payload_bytes, payload,
                                     &row->payload, e)
                        : 0;
}

int db_read_job(struct db *db, sqlite3_stmt *st, bool with_payload, struct job_row *ret,
                struct error *e)
{
    struct job_row row = {0};
    struct reader r;
    reader_init(&r, st, ROWSUM_FIXED);
    int rc = fixed_load(db, &r, "job", with_payload, &row, e);
    rowsum_init(&r.sum, ROWSUM_CHANGE);
    rowsum_u64(&r.sum, row.id);
    uint64_t state = reader_u64(&r);
    row.state = (enum job_state)state;
    row.not_before_ms = reader_u64(&r);
    row.attempt = (uint32_t)reader_u64(&r);
    row.retries_used = (uint32_t)reader_u64(&r);
    row.retry_waits = (uint32_t)reader_u64(&r);
    row.crashes = (uint32_t)reader_u64(&r);
    row.lease = reader_u64(&r);
    row.instance = reader_u64(&r);
    row.started_ms = reader_u64(&r);
    struct view worker = reader_bytes(&r);
    row.is_cancelled = reader_u64(&r) != 0;
    struct view cancel_reason = reader_bytes(&r);
    if (rc == 0 && !reader_is_whole(&r))
        rc = db_damaged(db, e, "job", row.id, bad_sum);
    else if (rc == 0 && state > JOB_RUNNING)
        rc = db_damaged(db, e, "job", row.id, "its state is not that of an unfinished job");
    if (rc != 0) {
        job_row_fini(&row);
        return rc;
    }
    row.worker = blob_from_view(worker);
    row.cancel_reason = blob_from_view(cancel_reason);
    *ret = row;
    return 0;
}

struct end_views {
    struct view reason;
    struct view worker;
    struct view stdout_data;
    struct view stderr_data;
    uint64_t stdout_size;
    uint64_t stderr_size;
};

static bool end_read(struct reader *r, struct job_row *row, struct finish *f, struct end_views *v)
{
    f->number = reader_u64(r);
    f->state = (enum job_state)reader_u64(r);
    f->outcome = (enum outcome)reader_u64(r);
    f->attempt = (uint32_t)reader_u64(r);
    f->crashes = (uint32_t)reader_u64(r);
    row->retries_used = (uint32_t)reader_u64(r);
    row->retry_waits = (uint32_t)reader_u64(r);
    f->lease = reader_u64(r);
    f->exit_code = (int32_t)reader_u64(r);
    f->signal = (int32_t)reader_u64(r);
    f->is_truncated = reader_u64(r) != 0;
    f->stdout_bytes = reader_u64(r);
    f->stderr_bytes = reader_u64(r);
    f->run_ms = reader_u64(r);
    f->started_ms = reader_u64(r);
    f->finished_ms = reader_u64(r);
    f->forget_ms = reader_u64(r);
    if (f->forget_ms == INT64_MAX)
        f->forget_ms = NEVER_MS;
    v->reason = reader_bytes(r);
    v->worker = reader_bytes(r);
    v->stdout_size = reader_u64(r);
    v->stderr_size = reader_u64(r);
    v->stdout_data = reader_bytes(r);
    v->stderr_data = reader_bytes(r);
    return reader_is_whole(r) && f->state < JOB_STATE_COUNT && job_state_is_final(f->state) &&
           f->outcome < OUTCOME_COUNT;
}

int db_read_done(struct db *db, sqlite3_stmt *st, bool with_payload, bool with_output,
                 struct job_row *ret, struct error *e)
{
    uint64_t number = (uint64_t)sqlite3_column_int64(st, COLUMN_DONE_NUMBER);
    struct job_row row = {.finish = finish_new()};
    struct finish *f = row.finish;
    struct end_views v = {0};
    struct reader r;
    reader_init(&r, st, ROWSUM_FIXED);
    int rc = fixed_load(db, &r, "done", with_payload, &row, e);
    rowsum_init(&r.sum, ROWSUM_END);
    rowsum_u64(&r.sum, row.id);
    if (rc == 0 && !end_read(&r, &row, f, &v))
        rc = db_damaged(db, e, "done", number, bad_sum);
    if (rc == 0 && with_output)
        rc = value_read(db, row.id, BODY_STDOUT, v.stdout_size, v.stdout_data, &f->stdout_data, e);
    if (rc == 0 && with_output)
        rc = value_read(db, row.id, BODY_STDERR, v.stderr_size, v.stderr_data, &f->stderr_data, e);
    if (rc != 0) {
        job_row_fini(&row);
        return rc;
    }
    f->job = row.id;
    f->seq = row.seq;
    f->reason = blob_from_view(v.reason);
    f->worker = blob_from_view(v.worker);
    row.state = f->state;
    row.attempt = f->attempt;
    row.crashes = f->crashes;
    row.started_ms = f->started_ms;
    *ret = row;
    return 0;
}

static int attempt_read(struct db *db, sqlite3_stmt *st, struct attempt *ret, struct error *e)
{
    struct reader r;
    reader_init(&r, st, ROWSUM_HISTORY);
    uint64_t job = reader_u64(&r);
    struct attempt a = {.number = (uint32_t)reader_u64(&r)};
    a.outcome = (enum outcome)reader_u64(&r);
    a.started_ms = reader_u64(&r);
    a.ended_ms = reader_u64(&r);
    struct view worker = reader_bytes(&r);
    struct view reason = reader_bytes(&r);
    if (!reader_is_whole(&r) || (unsigned)a.outcome >= OUTCOME_COUNT)
        return db_damaged(db, e, "history", job, bad_sum);
    a.worker = blob_from_view(worker);
    a.reason = blob_from_view(reason);
    *ret = a;
    return 0;
}

int db_read_history(struct db *db, struct job_row *row, struct error *e)
{
    sqlite3_stmt *st = db->statement[STATEMENT_HISTORY_GET];
    sqlite3_bind_int64(st, 1, (sqlite3_int64)row->id);
    size_t capacity = 0;
    int rc = 0;
    int step = SQLITE_DONE;
    while (rc == 0 && (step = sqlite3_step(st)) == SQLITE_ROW) {
        if (row->history_count == capacity) {
            capacity = max_u64(8, capacity * 2);
            row->history = mem_realloc_array(row->history, capacity, sizeof row->history[0]);
        }
        rc = attempt_read(db, st, &row->history[row->history_count], e);
        row->history_count += rc == 0;
    }
    if (rc == 0 && step != SQLITE_DONE)
        rc = db_fail(db, e, "reading the attempts of a job");
    sqlite3_reset(st);
    return rc;
}

/* --- clients --- */

static uint64_t get_le(const uint8_t *from, size_t bytes)
{
    uint64_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n |= (uint64_t)from[i] << (8 * i);
    return n;
}

int db_read_client(struct db *db, sqlite3_stmt *st, uint64_t *ret_client, uint64_t *ret_hour,
                   uint64_t *ret_at_ms, struct client_entry ring[CLIENT_RING], struct error *e)
{
    struct reader r;
    reader_init(&r, st, ROWSUM_CLIENT);
    *ret_client = reader_u64(&r);
    *ret_hour = reader_u64(&r);
    *ret_at_ms = reader_u64(&r);
    struct view bytes = reader_bytes(&r);
    if (!reader_is_whole(&r) || bytes.size % CLIENT_ENTRY_BYTES != 0)
        return db_damaged(db, e, "client", *ret_client, bad_sum);
    memset(ring, 0, CLIENT_RING * sizeof ring[0]);
    for (const uint8_t *at = bytes.data; bytes.size > 0; at = bytes.data) {
        struct client_entry it = {.sequence = get_le(at, 8),
                                  .first_id = get_le(at + 8, 8),
                                  .digest = get_le(at + 16, 8),
                                  .count = (uint32_t)get_le(at + 24, 4)};
        ring[it.sequence % CLIENT_RING] = it;
        bytes = view_skip(bytes, CLIENT_ENTRY_BYTES);
    }
    return 0;
}

/* --- the start --- */

int db_meta_read(struct db *db, struct error *e)
{
    sqlite3_stmt *st = db->statement[STATEMENT_META_GET];
    int step = sqlite3_step(st);
    int rc = 0;
    if (step == SQLITE_ROW) {
        struct reader r;
        reader_init(&r, st, ROWSUM_META);
        db->meta.broker_start = (uint32_t)reader_u64(&r);
        db->meta.away_ms = reader_u64(&r);
        db->meta.next_job_id = reader_u64(&r);
        db->meta.next_finish = reader_u64(&r);
        db->unfinished = reader_u64(&r);
        db->meta.finished[JOB_SUCCEEDED] = reader_u64(&r);
        db->meta.finished[JOB_FAILED] = reader_u64(&r);
        db->meta.finished[JOB_CANCELLED] = reader_u64(&r);
        db->meta.finished[JOB_EXPIRED] = reader_u64(&r);
        if (!reader_is_whole(&r))
            rc = db_damaged(db, e, "meta", 1, bad_sum);
    } else if (step == SQLITE_DONE) {
        rc = db_damaged(db, e, "meta", 1, "it is missing");
    } else {
        rc = db_fail(db, e, "reading the counters");
    }
    sqlite3_reset(st);
    return rc;
}

static int load_queue(struct db *db, sqlite3_stmt *st, const struct store_loader *loader,
                      struct error *e)
{
    struct reader r;
    reader_init(&r, st, ROWSUM_QUEUE);
    uint64_t id = reader_u64(&r);
    struct view name = reader_bytes(&r);
    if (!reader_is_whole(&r) || name.size > PROTO_QUEUE_BYTES_MAX)
        return db_damaged(db, e, "queue", id, bad_sum);
    char text[PROTO_QUEUE_BYTES_MAX + 1] = {0};
    if (name.size > 0)
        memcpy(text, name.data, name.size);
    loader->queue(loader->user, (uint32_t)id, text);
    return 0;
}

static int load_client(struct db *db, sqlite3_stmt *st, const struct store_loader *loader,
                       struct error *e)
{
    uint64_t client = 0;
    uint64_t hour = 0;
    uint64_t at_ms = 0;
    struct client_entry ring[CLIENT_RING] = {{0}};
    if (db_read_client(db, st, &client, &hour, &at_ms, ring, e) != 0)
        return -1;
    for (size_t i = 0; i < CLIENT_RING; i++)
        if (ring[i].sequence != 0)
            loader->client(loader->user, client, &ring[i], at_ms);
    return 0;
}

static int load_job(struct db *db, sqlite3_stmt *st, const struct store_loader *loader,
                    struct error *e)
{
    struct job_row row;
    if (db_read_job(db, st, true, &row, e) != 0)
        return -1;
    loader->job(loader->user, &row);
    job_row_fini(&row);
    return 0;
}

typedef int (*load_row)(struct db *db, sqlite3_stmt *st, const struct store_loader *loader,
                        struct error *e);

static int load_all(struct db *db, enum statement id, load_row load,
                    const struct store_loader *loader, uint64_t *ret_count, struct error *e)
{
    sqlite3_stmt *st = db->statement[id];
    int rc = 0;
    int step = SQLITE_DONE;
    for (*ret_count = 0; rc == 0 && (step = sqlite3_step(st)) == SQLITE_ROW; (*ret_count)++)
        rc = load(db, st, loader, e);
    if (rc == 0 && step != SQLITE_DONE)
        rc = db_fail(db, e, "loading");
    sqlite3_reset(st);
    return rc;
}

int db_load(struct db *db, const struct store_loader *loader, struct error *e)
{
    uint64_t count = 0;
    loader->meta(loader->user, &db->meta);
    if (load_all(db, STATEMENT_QUEUE_ALL, load_queue, loader, &count, e) != 0 ||
        load_all(db, STATEMENT_CLIENT_ALL, load_client, loader, &count, e) != 0 ||
        load_all(db, STATEMENT_JOB_ALL, load_job, loader, &count, e) != 0)
        return -1;
    if (count == db->unfinished)
        return 0;
    char text[128];
    snprintf(text, sizeof text, "%llu unfinished jobs were stored and %llu are there",
             (unsigned long long)db->unfinished, (unsigned long long)count);
    return db_damaged(db, e, "job", 0, text);
}
