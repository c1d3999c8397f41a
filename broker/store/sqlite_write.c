/* SPDX-License-Identifier: MPL-2.0 */
/* sqlite_write.c - records into rows.
 *
 * Each record is a few prepared statements by primary key. The path of an ordinary job (add, lease,
 * finish) touches the table `job`, the end of the table `done` and its two indexes, and nothing
 * else; large values go to `body` once and never move. Counters are kept in memory and written once
 * a transaction.
 *
 * A record that does not fit what is stored (a lease of a job that is not there, a finish number
 * used before) means that the core's state and the store have parted, so it is reported as damage:
 * going on would make it worse. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/store/sqlite.h"
#include "common/base/memory.h"

/* The log is moved into the database file when it has this many pages (of 4 KiB). */
#define WAL_PAGES_MAX 4000

static_assert(JOB_RUNNING == 2, "statement.def says 2 for a running job");
static_assert(BODY_CHUNKS_MAX <= 64, "a body's key has 6 bits for the chunk");
static_assert((uint64_t)BODY_CHUNK_BYTES * BODY_CHUNKS_MAX >= PROTO_OUTPUT_BYTES_MAX,
              "the largest output fits");

struct db_old {
    uint64_t number;
    uint64_t job;
    enum job_state state;
    bool has_run;
    bool has_body;
};

/* Runs a statement to its end. */
static int run(struct db *db, enum statement id, const char *what, struct error *e)
{
    int rc = sqlite3_step(db->statement[id]);
    int failed = rc == SQLITE_DONE ? 0 : db_fail(db, e, what);
    sqlite3_reset(db->statement[id]);
    return failed;
}

static int write_row(struct db *db, const struct writer *w, enum statement id, const char *what,
                     struct error *e)
{
    if (w->rc != SQLITE_OK)
        return db_fail(db, e, what);
    return run(db, id, what, e);
}

/* As write_row, for a statement that has to find its job. */
static int change_job(struct db *db, const struct writer *w, enum statement id, const char *what,
                      uint64_t job, struct error *e)
{
    if (write_row(db, w, id, what, e) != 0)
        return -1;
    if (sqlite3_changes(db->handle) == 1)
        return 0;
    char text[128];
    snprintf(text, sizeof text, "a %s found no whole row of an unfinished job", what);
    return db_damaged(db, e, "job", job, text);
}

int db_begin(struct db *db, struct error *e)
{
    memset(db->forgotten, 0, sizeof db->forgotten);
    return run(db, STATEMENT_BEGIN, "BEGIN", e);
}

static int meta_write(struct db *db, struct error *e)
{
    struct writer w;
    writer_init(&w, db, STATEMENT_META_SET, ROWSUM_META);
    writer_u64(&w, db->meta.broker_start);
    writer_u64(&w, db->meta.away_ms);
    writer_u64(&w, db->meta.next_job_id);
    writer_u64(&w, db->meta.next_finish);
    writer_u64(&w, db->unfinished);
    writer_u64(&w, db->meta.finished[JOB_SUCCEEDED]);
    writer_u64(&w, db->meta.finished[JOB_FAILED]);
    writer_u64(&w, db->meta.finished[JOB_CANCELLED]);
    writer_u64(&w, db->meta.finished[JOB_EXPIRED]);
    writer_sum(&w);
    db->is_meta_changed = false;
    return write_row(db, &w, STATEMENT_META_SET, "update of the counters", e);
}

int db_commit(struct db *db, struct error *e)
{
    if (db->is_meta_changed && meta_write(db, e) != 0)
        return -1;
    return run(db, STATEMENT_COMMIT, "COMMIT", e);
}

int db_checkpoint(struct db *db, struct error *e)
{
    if (!db->is_durable || db->wal_pages < WAL_PAGES_MAX)
        return 0;
    db->wal_pages = 0;
    if (sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) !=
        SQLITE_OK)
        return db_fail(db, e, "checkpoint");
    return 0;
}

uint64_t db_memory_bytes(const struct db *db)
{
    if (db->is_durable)
        return 0;
    sqlite3_stmt *st = db->statement[STATEMENT_PAGES];
    uint64_t bytes = sqlite3_step(st) == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
    sqlite3_reset(st);
    return bytes;
}

static int body_add(struct db *db, uint64_t id, enum body_kind kind, const struct blob *b,
                    struct error *e)
{
    if (blob_size(b) <= INLINE_BYTES_MAX)
        return 0;
    struct view rest = blob_view(b);
    for (unsigned chunk = 0; rest.size > 0; chunk++) {
        if (chunk == BODY_CHUNKS_MAX)
            return error_set(e, STORE_EXIT_IO, "job %llu has a value of %zu bytes, at most %u fit",
                             (unsigned long long)id, blob_size(b),
                             BODY_CHUNKS_MAX * BODY_CHUNK_BYTES);
        struct writer w;
        writer_init(&w, db, STATEMENT_BODY_ADD, ROWSUM_BODY);
        writer_u64(&w, body_key(id, kind, chunk));
        writer_bytes(&w, view_of(rest.data, min_u64(rest.size, BODY_CHUNK_BYTES)));
        writer_sum(&w);
        if (write_row(db, &w, STATEMENT_BODY_ADD, "insert of a large value", e) != 0)
            return -1;
        rest = view_skip(rest, BODY_CHUNK_BYTES);
    }
    return 0;
}

static void writer_fixed(struct writer *w, const struct record *r)
{
    const struct job_options *o = &r->add.template->options;
    writer_u64(w, r->job);
    writer_u64(w, r->add.queue);
    writer_text(w, view_str(o->name));
    writer_u64(w, o->kind);
    writer_u64(w, o->priority);
    writer_u64(w, o->retries);
    writer_u64(w, o->crash_limit);
    writer_u64(w, o->retry_delay_ms);
    writer_u64(w, o->time_limit_ms);
    writer_u64(w, o->keep_ms);
    writer_u64(w, o->output_limit_bytes);
    writer_u64(w, o->seq);
    writer_u64(w, r->add.seq);
    writer_u64(w, r->add.submitted_ms);
    writer_u64(w, blob_size(r->add.payload));
    writer_u64(w, blob_size(r->add.template->spec));
    writer_text(w, inline_view(r->add.template->spec));
    writer_bytes(w, inline_view(r->add.payload));
    writer_sum(w);
}

static int apply_add(struct db *db, const struct record *r, struct error *e)
{
    if (r->job >= JOB_ID_MAX)
        return error_set(e, STORE_EXIT_IO, "job id %llu is beyond what can be stored",
                         (unsigned long long)r->job);
    struct writer w;
    writer_init(&w, db, STATEMENT_JOB_ADD, ROWSUM_FIXED);
    writer_fixed(&w, r);
    rowsum_init(&w.sum, ROWSUM_CHANGE);
    rowsum_u64(&w.sum, r->job);
    writer_u64(&w, r->add.not_before_ms > 0 ? JOB_SCHEDULED : JOB_READY);
    writer_u64(&w, r->add.not_before_ms);
    for (int zeros = 0; zeros < 10; zeros++) /* the rest of CHANGE: nothing happened yet */
        rowsum_u64(&w.sum, 0);
    writer_sum(&w);
    if (write_row(db, &w, STATEMENT_JOB_ADD, "insert of a job", e) != 0 ||
        body_add(db, r->job, BODY_PAYLOAD, r->add.payload, e) != 0 ||
        body_add(db, r->job, BODY_SPEC, r->add.template->spec, e) != 0)
        return -1;
    db->unfinished++;
    db->meta.next_job_id = max_u64(db->meta.next_job_id, r->job + 1);
    db->is_meta_changed = true;
    return 0;
}

static int apply_lease(struct db *db, const struct record *r, struct error *e)
{
    struct writer w;
    writer_init(&w, db, STATEMENT_JOB_LEASE, ROWSUM_CHANGE);
    writer_u64(&w, r->job);
    writer_u64(&w, r->lease.attempt);
    writer_u64(&w, r->lease.lease);
    writer_u64(&w, r->lease.instance);
    writer_u64(&w, r->lease.started_ms);
    writer_text(&w, blob_view(r->lease.worker));
    return change_job(db, &w, STATEMENT_JOB_LEASE, "lease", r->job, e);
}

static int history_add(struct db *db, uint64_t job, const struct attempt *a, struct error *e)
{
    struct writer w;
    writer_init(&w, db, STATEMENT_HISTORY_ADD, ROWSUM_HISTORY);
    writer_u64(&w, job);
    writer_u64(&w, a->number);
    writer_u64(&w, a->outcome);
    writer_u64(&w, a->started_ms);
    writer_u64(&w, a->ended_ms);
    writer_text(&w, blob_view(a->worker));
    writer_text(&w, blob_view(a->reason));
    writer_sum(&w);
    return write_row(db, &w, STATEMENT_HISTORY_ADD, "insert of an attempt", e);
}

static int apply_requeue(struct db *db, const struct record *r, struct error *e)
{
    struct writer w;
    writer_init(&w, db, STATEMENT_JOB_REQUEUE, ROWSUM_CHANGE);
    writer_u64(&w, r->job);
    writer_u64(&w, r->requeue.not_before_ms > 0 ? JOB_SCHEDULED : JOB_READY);
    writer_u64(&w, r->requeue.not_before_ms);
    writer_u64(&w, r->requeue.retries_used);
    writer_u64(&w, r->requeue.retry_waits);
    writer_u64(&w, r->requeue.crashes);
    if (change_job(db, &w, STATEMENT_JOB_REQUEUE, "requeue", r->job, e) != 0)
        return -1;
    return r->requeue.has_ended ? history_add(db, r->job, &r->requeue.ended, e) : 0;
}

static int apply_cancel(struct db *db, const struct record *r, struct error *e)
{
    struct writer w;
    writer_init(&w, db, STATEMENT_JOB_CANCEL, ROWSUM_CHANGE);
    writer_u64(&w, r->job);
    writer_text(&w, blob_view(r->cancel.reason));
    return change_job(db, &w, STATEMENT_JOB_CANCEL, "cancel", r->job, e);
}

/* The statement moves the row; it sums END itself, as two of its columns come from the old row. */
static int apply_finish(struct db *db, const struct record *r, struct error *e)
{
    const struct finish *f = r->finish;
    struct writer w;
    writer_init(&w, db, STATEMENT_JOB_FINISH, ROWSUM_END);
    writer_u64(&w, r->job);
    writer_u64(&w, f->number);
    writer_u64(&w, f->state);
    writer_u64(&w, f->outcome);
    writer_u64(&w, f->attempt);
    writer_u64(&w, f->crashes);
    writer_u64(&w, f->lease);
    writer_u64(&w, (uint64_t)(int64_t)f->exit_code);
    writer_u64(&w, (uint64_t)(int64_t)f->signal);
    writer_u64(&w, f->is_truncated);
    writer_u64(&w, f->stdout_bytes);
    writer_u64(&w, f->stderr_bytes);
    writer_u64(&w, f->run_ms);
    writer_u64(&w, f->started_ms);
    writer_u64(&w, f->finished_ms);
    writer_u64(&w, min_u64(f->forget_ms, INT64_MAX));
    writer_text(&w, blob_view(f->reason));
    writer_text(&w, blob_view(f->worker));
    writer_u64(&w, blob_size(f->stdout_data));
    writer_u64(&w, blob_size(f->stderr_data));
    writer_bytes(&w, inline_view(f->stdout_data));
    writer_bytes(&w, inline_view(f->stderr_data));
    if (change_job(db, &w, STATEMENT_JOB_FINISH, "finish", r->job, e) != 0)
        return -1;
    writer_init(&w, db, STATEMENT_JOB_DELETE, ROWSUM_CHANGE);
    writer_u64(&w, r->job);
    if (change_job(db, &w, STATEMENT_JOB_DELETE, "finish", r->job, e) != 0 ||
        body_add(db, r->job, BODY_STDOUT, f->stdout_data, e) != 0 ||
        body_add(db, r->job, BODY_STDERR, f->stderr_data, e) != 0)
        return -1;
    db->unfinished--;
    db->meta.finished[f->state]++;
    db->meta.next_finish = max_u64(db->meta.next_finish, f->number + 1);
    db->is_meta_changed = true;
    return 0;
}

static int apply_queue(struct db *db, const struct record *r, struct error *e)
{
    struct writer w;
    writer_init(&w, db, STATEMENT_QUEUE_ADD, ROWSUM_QUEUE);
    writer_u64(&w, r->queue.id);
    writer_text(&w, view_str(r->queue.name));
    writer_sum(&w);
    return write_row(db, &w, STATEMENT_QUEUE_ADD, "insert of a queue", e);
}

static void put_le(uint8_t *to, uint64_t n, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(n >> (8 * i));
}

static size_t ring_encode(const struct client_entry ring[CLIENT_RING],
                          uint8_t out[CLIENT_RING * CLIENT_ENTRY_BYTES])
{
    uint8_t *to = out;
    for (size_t i = 0; i < CLIENT_RING; i++) {
        if (ring[i].sequence == 0)
            continue;
        put_le(to, ring[i].sequence, 8);
        put_le(to + 8, ring[i].first_id, 8);
        put_le(to + 16, ring[i].digest, 8);
        put_le(to + 24, ring[i].count, 4);
        to += CLIENT_ENTRY_BYTES;
    }
    return (size_t)(to - out);
}

/* The row is found by client; the index on the hour is touched when the hour changes. */
static int apply_client(struct db *db, const struct record *r, struct error *e)
{
    uint64_t client = r->client.client;
    struct client_entry ring[CLIENT_RING] = {{0}};
    uint64_t hour = 0;
    uint64_t at_ms = 0;
    enum statement id = STATEMENT_CLIENT_ADD;
    sqlite3_stmt *get = db->statement[STATEMENT_CLIENT_GET];
    sqlite3_bind_int64(get, 1, (sqlite3_int64)client);
    int step = sqlite3_step(get);
    int rc = 0;
    if (step == SQLITE_ROW) {
        rc = db_read_client(db, get, &client, &hour, &at_ms, ring, e);
        id = STATEMENT_CLIENT_SET;
    } else if (step != SQLITE_DONE) {
        rc = db_fail(db, e, "reading a client");
    }
    sqlite3_reset(get);
    if (rc != 0)
        return rc;
    at_ms = max_u64(at_ms, r->client.at_ms);
    if (id == STATEMENT_CLIENT_SET && hour != at_ms / CLIENT_HOUR_MS)
        id = STATEMENT_CLIENT_MOVE;
    ring[r->client.sequence % CLIENT_RING] = (struct client_entry){.sequence = r->client.sequence,
                                                                   .first_id = r->client.first_id,
                                                                   .digest = r->client.digest,
                                                                   .count = r->client.count};
    uint8_t bytes[CLIENT_RING * CLIENT_ENTRY_BYTES];
    struct writer w;
    writer_init(&w, db, id, ROWSUM_CLIENT);
    writer_u64(&w, client);
    writer_u64(&w, at_ms / CLIENT_HOUR_MS);
    writer_u64(&w, at_ms);
    writer_bytes(&w, view_of(bytes, ring_encode(ring, bytes)));
    writer_sum(&w);
    return write_row(db, &w, id, "update of a client", e);
}

/* --- forgetting --- */

static int old_find(struct db *db, const struct record *r, size_t *ret_count, struct error *e)
{
    sqlite3_stmt *st = db->statement[STATEMENT_DONE_OLD];
    sqlite3_bind_int64(st, 1, (sqlite3_int64)min_u64(r->expire.wall_ms, INT64_MAX - 1));
    sqlite3_bind_int64(st, 2, r->expire.jobs_max);
    size_t count = 0;
    int rc = 0;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        if (count == db->old_capacity) {
            db->old_capacity = max_u64(64, db->old_capacity * 2);
            db->old = mem_realloc_array(db->old, db->old_capacity, sizeof db->old[0]);
        }
        db->old[count++] = (struct db_old){
            .number = (uint64_t)sqlite3_column_int64(st, 0),
            .job = (uint64_t)sqlite3_column_int64(st, 1),
            .state = (enum job_state)sqlite3_column_int(st, 2),
            .has_run = sqlite3_column_int(st, 3) != 0,
            .has_body = sqlite3_column_int64(st, 4) > INLINE_BYTES_MAX,
        };
    }
    int failed = rc == SQLITE_DONE ? 0 : db_fail(db, e, "looking for jobs to forget");
    sqlite3_reset(st);
    *ret_count = count;
    return failed;
}

static int delete_keys(struct db *db, enum statement id, uint64_t first, uint64_t last,
                       struct error *e)
{
    sqlite3_stmt *st = db->statement[id];
    sqlite3_bind_int64(st, 1, (sqlite3_int64)first);
    if (sqlite3_bind_parameter_count(st) > 1)
        sqlite3_bind_int64(st, 2, (sqlite3_int64)last);
    return run(db, id, "forgetting", e);
}

static int apply_expire(struct db *db, const struct record *r, struct error *e)
{
    size_t count = 0;
    if (old_find(db, r, &count, e) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct db_old *it = &db->old[i];
        if ((unsigned)it->state >= JOB_STATE_COUNT || db->meta.finished[it->state] == 0)
            return db_damaged(db, e, "done", it->number, "its state is not one that was counted");
        if (delete_keys(db, STATEMENT_DONE_DELETE, it->number, 0, e) != 0 ||
            (it->has_run && delete_keys(db, STATEMENT_HISTORY_DELETE, it->job, 0, e) != 0) ||
            (it->has_body &&
             delete_keys(db, STATEMENT_BODY_DELETE, body_key(it->job, BODY_PAYLOAD, 0),
                         body_key(it->job + 1, BODY_PAYLOAD, 0) - 1, e) != 0))
            return -1;
        db->meta.finished[it->state]--;
        db->forgotten[it->state]++;
        db->is_meta_changed = true;
    }
    if (r->expire.wall_ms < CLIENT_KEEP_MS)
        return 0;
    uint64_t at_ms = r->expire.wall_ms - CLIENT_KEEP_MS;
    return delete_keys(db, STATEMENT_CLIENT_OLD, at_ms / CLIENT_HOUR_MS, at_ms, e);
}

int db_apply(struct db *db, const struct record *r, struct error *e)
{
    switch (r->type) {
    case RECORD_START:
        db->meta.broker_start = r->start.number;
        db->meta.away_ms = 0; /* it was for this start */
        db->is_meta_changed = true;
        return 0;
    case RECORD_AWAY:
        db->meta.away_ms = r->away.ms;
        db->is_meta_changed = true;
        return 0;
    case RECORD_QUEUE:
        return apply_queue(db, r, e);
    case RECORD_ADD:
        return apply_add(db, r, e);
    case RECORD_LEASE:
        return apply_lease(db, r, e);
    case RECORD_REQUEUE:
        return apply_requeue(db, r, e);
    case RECORD_CANCEL:
        return apply_cancel(db, r, e);
    case RECORD_FINISH:
        return apply_finish(db, r, e);
    case RECORD_CLIENT:
        return apply_client(db, r, e);
    case RECORD_EXPIRE:
        return apply_expire(db, r, e);
    }
    return 0;
}
