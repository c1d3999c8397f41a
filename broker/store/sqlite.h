/* SPDX-License-Identifier: MPL-2.0 */
/* sqlite.h - the tables on one SQLite connection. For broker/store alone.
 *
 * Nothing here knows threads: the connection is used by one thread at a time, store.c sees to that.
 * Every function that may fail returns -1 with `e`, whose status is the exit code that belongs to
 * it: 65 where stored content is damaged, 74 where the disk or SQLite failed, 75 where another
 * process holds the file. After a failure there is no going on with the connection (a failed sync
 * must never be tried again): the caller ends the process, or, in store_open and store_load, gives
 * up the store. Statements are reset after each use, so no read transaction outlives its call. */
#ifndef STINT_BROKER_STORE_SQLITE_H
#define STINT_BROKER_STORE_SQLITE_H

#include <sqlite3.h>

#include "broker/store/rowsum.h"
#include "broker/store/store.h"

enum statement {
#define STATEMENT(id, sql) STATEMENT_##id,
#include "broker/store/statement.def"
#undef STATEMENT
    STATEMENT_COUNT
};

struct db_old; /* a finished job to forget */

struct db {
    sqlite3 *handle;
    char *path; /* ":memory:" for memory: */
    bool is_durable;
    bool is_meta_changed;
    struct store_meta meta; /* as of the last record applied */
    uint64_t unfinished;    /* rows of `job`: a load that finds fewer has met damage */
    int wal_pages;          /* in the log, after the last commit */
    sqlite3_stmt *statement[STATEMENT_COUNT];
    struct job_template *template; /* the last one read, shared by equal rows behind it */
    struct db_old *old;
    size_t old_capacity;
    uint64_t forgotten[JOB_STATE_COUNT]; /* since db_begin */
};

/* --- sqlite_open.c --- */

/* Whether the URL is one of db_open's. Returns 0, or -1 with `e`. */
int db_url_check(const char *url, struct error *e) MUST_CHECK;
/* Opens, creates or migrates; takes the lock; reads the counters. On failure *db is empty. */
int db_open(const char *url, struct db *db, struct error *e) MUST_CHECK;
void db_close(struct db *db);
/* Fills `e` from the connection's last error. Returns -1. */
int db_fail(const struct db *db, struct error *e, const char *operation);
/* Fills `e` for a row whose content is not what was written. Returns -1. */
int db_damaged(const struct db *db, struct error *e, const char *table, uint64_t row,
               const char *what);

/* --- sqlite_write.c --- */

int db_begin(struct db *db, struct error *e) MUST_CHECK;
int db_apply(struct db *db, const struct record *r, struct error *e) MUST_CHECK;
/* Returns when the transaction is on stable storage. */
int db_commit(struct db *db, struct error *e) MUST_CHECK;
/* Size of the tables of memory:, 0 of a file (its size is asked by name). */
uint64_t db_memory_bytes(const struct db *db);
/* Moves the log into the database file where it has grown long. */
int db_checkpoint(struct db *db, struct error *e) MUST_CHECK;

/* --- sqlite_row.c --- */

int db_meta_read(struct db *db, struct error *e) MUST_CHECK;
int db_load(struct db *db, const struct store_loader *loader, struct error *e) MUST_CHECK;
/* The row on which a statement of JOB_COLUMNS or DONE_COLUMNS stands. *ret is the caller's to fini
 * where 0 is returned. */
int db_read_job(struct db *db, sqlite3_stmt *st, bool with_payload, struct job_row *ret,
                struct error *e) MUST_CHECK;
int db_read_done(struct db *db, sqlite3_stmt *st, bool with_payload, bool with_output,
                 struct job_row *ret, struct error *e) MUST_CHECK;
int db_read_history(struct db *db, struct job_row *row, struct error *e) MUST_CHECK;
/* The ring of a client off a statement of CLIENT_GET or CLIENT_ALL. */
int db_read_client(struct db *db, sqlite3_stmt *st, uint64_t *ret_client, uint64_t *ret_hour,
                   uint64_t *ret_at_ms, struct client_entry ring[CLIENT_RING],
                   struct error *e) MUST_CHECK;

/* --- sqlite_query.c --- */

/* Answers within one turn's budget. *ret is the caller's to fini where 0 is returned. */
int db_answer(struct db *db, const struct query *q, struct query_answer *ret,
              struct error *e) MUST_CHECK;

/* --- bodies: large values in rows of their own, which never move --- */

/* A value up to this size lies in its job's row. */
#define INLINE_BYTES_MAX 1024
/* Larger ones are cut into rows of this size, at most BODY_CHUNKS_MAX of them. */
#define BODY_CHUNK_BYTES (1U << 20)
#define BODY_CHUNKS_MAX 64
/* Ids stay below this, so that a body's key holds id, kind and chunk. */
#define JOB_ID_MAX (UINT64_C(1) << 55)

enum body_kind { /* stored */
    BODY_PAYLOAD = 0,
    BODY_STDOUT = 1,
    BODY_STDERR = 2,
    BODY_SPEC = 3,
};

static inline uint64_t body_key(uint64_t id, enum body_kind kind, unsigned chunk)
{
    return id << 8 | (uint64_t)kind << 6 | chunk;
}

/* The part of a value that its job's row holds. */
static inline struct view inline_view(const struct blob *b)
{
    return blob_size(b) <= INLINE_BYTES_MAX ? blob_view(b) : view_of(NULL, 0);
}

/* --- rings of clients: an entry is 28 bytes, little endian; empty ones are left out --- */

#define CLIENT_ENTRY_BYTES 28
#define CLIENT_HOUR_MS 3600000U

/* --- reading and binding in order, with the sum along the way --- */

struct reader {
    sqlite3_stmt *st;
    int at; /* the next column */
    struct rowsum sum;
};

static inline uint64_t reader_u64(struct reader *r)
{
    uint64_t n = (uint64_t)sqlite3_column_int64(r->st, r->at++);
    rowsum_u64(&r->sum, n);
    return n;
}

/* Valid until the statement steps. */
static inline struct view reader_bytes(struct reader *r)
{
    const void *data = sqlite3_column_blob(r->st, r->at);
    struct view v = view_of(data, (size_t)sqlite3_column_bytes(r->st, r->at++));
    rowsum_bytes(&r->sum, v);
    return v;
}

/* Reads the sum's column: true where it is that of the values read. */
static inline bool reader_is_whole(struct reader *r)
{
    return (uint64_t)sqlite3_column_int64(r->st, r->at++) == r->sum.value;
}

struct writer {
    sqlite3_stmt *st;
    int at; /* the last parameter bound */
    int rc;
    struct rowsum sum;
};

static inline void writer_init(struct writer *w, struct db *db, enum statement id,
                               enum rowsum_part part)
{
    *w = (struct writer){.st = db->statement[id]};
    rowsum_init(&w->sum, part);
}

static inline void writer_u64(struct writer *w, uint64_t n)
{
    w->rc |= sqlite3_bind_int64(w->st, ++w->at, (sqlite3_int64)n);
    rowsum_u64(&w->sum, n);
}

static inline void writer_text(struct writer *w, struct view v)
{
    w->rc |= v.size > 0
                 ? sqlite3_bind_text64(w->st, ++w->at, v.data, v.size, SQLITE_STATIC, SQLITE_UTF8)
                 : sqlite3_bind_null(w->st, ++w->at);
    rowsum_bytes(&w->sum, v);
}

static inline void writer_bytes(struct writer *w, struct view v)
{
    w->rc |= v.size > 0 ? sqlite3_bind_blob64(w->st, ++w->at, v.data, v.size, SQLITE_STATIC)
                        : sqlite3_bind_null(w->st, ++w->at);
    rowsum_bytes(&w->sum, v);
}

static inline void writer_sum(struct writer *w)
{
    w->rc |= sqlite3_bind_int64(w->st, ++w->at, (sqlite3_int64)w->sum.value);
}

#endif
