/* SPDX-License-Identifier: MPL-2.0 */
/* sqlite_open.c - from a URL to a connection that is locked, migrated and ready.
 *
 * One connection in exclusive locking mode does everything. That is the lock against a second
 * broker (SQLite takes it on the file itself, so it holds whatever path leads there), it keeps the
 * log's index in memory, and it stays clear of the WAL-reset defect of SQLite before 3.41, which
 * needs two writers. POSIX drops a process's locks on a file when *any* descriptor of it is
 * closed: nothing else in the broker may open the database file.
 *
 * WAL with synchronous=FULL syncs the log once at each commit. The application id tells a stint
 * store from anybody else's database, which is left alone; user_version is the number of
 * migrations that were applied, each in one transaction. A file from a newer stint is refused. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/store/columns.h"
#include "broker/store/sqlite.h"
#include "common/base/clock.h"
#include "common/base/memory.h"

#define APPLICATION_ID 0x73746e74 /* "stnt" */
#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

static const char *const statement_sql[STATEMENT_COUNT] = {
#define STATEMENT(id, sql) [STATEMENT_##id] = sql,
#include "broker/store/statement.def"
#undef STATEMENT
};

/* --- schema --- */

#define FIXED_TABLE                                                                                \
    "queue INTEGER NOT NULL,name TEXT,kind INTEGER NOT NULL,priority INTEGER NOT NULL,"            \
    "retries INTEGER NOT NULL,crash_limit INTEGER NOT NULL,retry_delay_ms INTEGER NOT NULL,"       \
    "time_limit_ms INTEGER NOT NULL,keep_ms INTEGER NOT NULL,output_limit_bytes INTEGER NOT NULL," \
    "template_seq INTEGER NOT NULL,seq INTEGER NOT NULL,submitted_ms INTEGER NOT NULL,"            \
    "payload_bytes INTEGER NOT NULL,spec_bytes INTEGER NOT NULL,fixed_sum INTEGER NOT NULL,"

/* Numbers from 2^63 up (NEVER_MS is 2^64 - 1) are stored as the negative number of the same bits;
 * forget_ms, which is compared, stops at 2^63 - 1. body: key = id << 8 | kind << 6 | chunk. */
static const char schema_1[] =
    "CREATE TABLE migration(version INTEGER PRIMARY KEY,stint TEXT NOT NULL,at_ms INTEGER NOT NULL)"
    "STRICT;"
    "CREATE TABLE meta(one INTEGER PRIMARY KEY CHECK(one=1),broker_start INTEGER NOT NULL,"
    "away_ms INTEGER NOT NULL,next_job_id INTEGER NOT NULL,next_finish INTEGER NOT NULL,"
    "unfinished INTEGER NOT NULL,succeeded INTEGER NOT NULL,failed INTEGER NOT NULL,cancelled "
    "INTEGER NOT NULL,"
    "expired INTEGER NOT NULL,sum INTEGER NOT NULL)STRICT;"
    "CREATE TABLE queue(id INTEGER PRIMARY KEY,name TEXT NOT NULL,sum INTEGER NOT NULL)STRICT;"
    "CREATE TABLE client(client INTEGER PRIMARY KEY,hour INTEGER NOT NULL,at_ms INTEGER NOT NULL,"
    "ring BLOB NOT NULL,sum INTEGER NOT NULL)STRICT;"
    "CREATE INDEX client_hour ON client(hour);"
    "CREATE TABLE job(id INTEGER PRIMARY KEY,state INTEGER NOT NULL," FIXED_TABLE
    "not_before_ms INTEGER NOT NULL,attempt INTEGER NOT NULL,retries_used INTEGER NOT NULL,"
    "retry_waits INTEGER NOT NULL,crashes INTEGER NOT NULL,lease INTEGER NOT NULL,"
    "instance INTEGER NOT NULL,started_ms INTEGER NOT NULL,worker TEXT,"
    "is_cancelled INTEGER NOT NULL,cancel_reason TEXT,change_sum INTEGER NOT NULL,"
    "spec TEXT,payload BLOB)STRICT;"
    "CREATE TABLE done(number INTEGER PRIMARY KEY,id INTEGER NOT NULL,state INTEGER NOT "
    "NULL," FIXED_TABLE
    "outcome INTEGER NOT NULL,attempt INTEGER NOT NULL,crashes INTEGER NOT NULL,"
    "retries_used INTEGER NOT NULL,retry_waits INTEGER NOT NULL,lease INTEGER NOT NULL,"
    "exit_code INTEGER NOT NULL,signal INTEGER NOT NULL,is_truncated INTEGER NOT NULL,"
    "stdout_bytes INTEGER NOT NULL,stderr_bytes INTEGER NOT NULL,run_ms INTEGER NOT NULL,"
    "started_ms INTEGER NOT NULL,finished_ms INTEGER NOT NULL,forget_ms INTEGER NOT NULL,"
    "reason TEXT,worker TEXT,stdout_size INTEGER NOT NULL,stderr_size INTEGER NOT NULL,"
    "end_sum INTEGER NOT NULL,spec TEXT,payload BLOB,stdout_data BLOB,stderr_data BLOB)STRICT;"
    "CREATE UNIQUE INDEX done_id ON done(id);"
    "CREATE INDEX done_forget ON done(forget_ms);"
    "CREATE TABLE body(key INTEGER PRIMARY KEY,data BLOB NOT NULL,sum INTEGER NOT NULL)STRICT;"
    "CREATE TABLE history(job INTEGER NOT NULL,attempt INTEGER NOT NULL,outcome INTEGER NOT NULL,"
    "started_ms INTEGER NOT NULL,ended_ms INTEGER NOT NULL,worker TEXT,reason TEXT,"
    "sum INTEGER NOT NULL,PRIMARY KEY(job,attempt))STRICT,WITHOUT ROWID;"
    /* The counters of a fresh store; stint_sum in the order of META_SET. */
    "INSERT INTO meta VALUES(1,0,0,1,1,0,0,0,0,0,stint_sum(8,0,0,1,1,0,0,0,0,0));";

/* Entry n leads from schema version n to n + 1. Append only. */
static const char *const migrations[] = {schema_1};

/* --- errors --- */

int db_fail(const struct db *db, struct error *e, const char *operation)
{
    int rc = sqlite3_extended_errcode(db->handle);
    int status = STORE_EXIT_IO;
    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT: /* a record that does not fit what is stored */
        status = STORE_EXIT_DAMAGED;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        status = STORE_EXIT_HELD;
        break;
    default:
        break;
    }
    if ((rc & 0xff) == SQLITE_NOTADB)
        return error_set(e, status,
                         "%s is not a store of stint, or its beginning is damaged; it was left as "
                         "it is",
                         db->path);
    if (status == STORE_EXIT_HELD)
        return error_set(e, status, "%s is in use by another process (a running stint-broker?)",
                         db->path);
    int code = sqlite3_system_errno(db->handle);
    if (((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN) && code != 0)
        return error_set_errno(e, status, code, "%s on %s: %s (SQLite %d)", operation, db->path,
                               sqlite3_errmsg(db->handle), rc);
    return error_set(e, status, "%s on %s: %s (SQLite %d)", operation, db->path,
                     sqlite3_errmsg(db->handle), rc);
}

int db_damaged(const struct db *db, struct error *e, const char *table, uint64_t row,
               const char *what)
{
    return error_set(e, STORE_EXIT_DAMAGED, "%s is damaged: table %s, row %llu: %s", db->path,
                     table, (unsigned long long)row, what);
}

/* --- the file --- */

static int directory_sync(const char *path, struct error *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        error_set_errno(e, STORE_EXIT_IO, errno, "cannot sync the directory %s", path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    close(fd);
    return 0;
}

/* Makes the directory with all above it (mode 0700) and makes their names durable. */
static int directory_make(const char *path, struct error *e)
{
    if (mkdir(path, 0700) != 0 && errno == EEXIST)
        return 0;
    char *copy = mem_strdup(path);
    const char *parent = dirname(copy);
    int rc = 0;
    if (access(path, F_OK) != 0) {
        rc = directory_make(parent, e);
        if (rc == 0 && mkdir(path, 0700) != 0 && errno != EEXIST)
            rc = error_set_errno(e, STORE_EXIT_IO, errno, "cannot make the directory %s", path);
    }
    if (rc == 0)
        rc = directory_sync(parent, e);
    free(copy);
    return rc;
}

/* Creates the file for its owner alone (payloads are nobody else's business) and makes its name
 * durable, which SQLite does not do for a database file. */
static int file_make(const char *path, struct error *e)
{
    char *copy = mem_strdup(path);
    const char *directory = dirname(copy);
    int rc = directory_make(directory, e);
    if (rc == 0) {
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0) {
            close(fd);
            rc = directory_sync(directory, e);
        } else if (errno != EEXIST) {
            rc = error_set_errno(e, STORE_EXIT_IO, errno, "cannot create %s", path);
        }
    }
    free(copy);
    return rc;
}

/* --- the connection --- */

/* stint_sum(part, values...): rowsum.h for statements that sum columns they do not change. */
static void sql_sum(sqlite3_context *context, int count, sqlite3_value **values)
{
    struct rowsum sum;
    rowsum_init(&sum, (enum rowsum_part)sqlite3_value_int(values[0]));
    for (int i = 1; i < count; i++) {
        int type = sqlite3_value_type(values[i]);
        if (type == SQLITE_TEXT || type == SQLITE_BLOB) {
            const void *data = sqlite3_value_blob(values[i]);
            rowsum_bytes(&sum, view_of(data, (size_t)sqlite3_value_bytes(values[i])));
        } else {
            rowsum_u64(&sum, (uint64_t)sqlite3_value_int64(values[i])); /* NULL is 0 */
        }
    }
    sqlite3_result_int64(context, (sqlite3_int64)sum.value);
}

static int wal_grew(void *user, sqlite3 *handle, const char *name, int pages)
{
    struct db *db = user;
    (void)handle;
    (void)name;
    db->wal_pages = pages;
    return SQLITE_OK;
}

static int db_exec(struct db *db, const char *sql, struct error *e)
{
    return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(db, e, sql);
}

/* The first value of the first row as a number, or as text where `text` is not NULL: then it is
 * compared and *ret_n is whether it is equal. */
static int db_ask(struct db *db, const char *sql, const char *text, int64_t *ret_n, struct error *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db->handle, sql, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW && text == NULL)
        *ret_n = sqlite3_column_int64(st, 0);
    else if (rc == SQLITE_ROW)
        *ret_n = sqlite3_stricmp((const char *)sqlite3_column_text(st, 0), text) == 0;
    /* A pragma that writes does so behind its row, so its end counts too. */
    if (rc == SQLITE_ROW)
        rc = sqlite3_step(st);
    int result = rc == SQLITE_DONE ? 0 : db_fail(db, e, sql);
    sqlite3_finalize(st);
    return result;
}

/* Looks before anything is written: a database that is not ours, or not ours to understand, stays
 * as it is. The read takes the lock of exclusive mode. */
static int db_identify(struct db *db, int64_t *ret_version, struct error *e)
{
    int64_t id = 0;
    int64_t objects = 0;
    if (db_ask(db, "PRAGMA application_id", NULL, &id, e) != 0 ||
        db_ask(db, "PRAGMA user_version", NULL, ret_version, e) != 0 ||
        db_ask(db, "SELECT count(*) FROM sqlite_schema", NULL, &objects, e) != 0)
        return -1;
    if (id != APPLICATION_ID && (id != 0 || objects > 0))
        return error_set(e, STORE_EXIT_DAMAGED, "%s is not a store of stint; it was left as it is",
                         db->path);
    int64_t known = (int64_t)ARRAY_SIZE(migrations);
    if (*ret_version < 0 || *ret_version > known)
        return error_set(e, STORE_EXIT_DAMAGED,
                         "%s has schema version %lld, this stint (" STINT_VERSION
                         ") knows versions up to %lld: start a newer stint-broker",
                         db->path, (long long)*ret_version, (long long)known);
    return 0;
}

static int db_configure(struct db *db, struct error *e)
{
    /* Pages that a reader may find changed under it are none of our problems; a page with cells
     * out of place is. secure_delete, a default of Debian's, would write zeros twice for each job.
     */
    static const char always[] =
        "PRAGMA cell_size_check=ON;PRAGMA foreign_keys=OFF;PRAGMA secure_delete=OFF;"
        "PRAGMA trusted_schema=OFF;PRAGMA temp_store=MEMORY;PRAGMA recursive_triggers=OFF;";
    static const char on_disk[] = "PRAGMA synchronous=FULL;PRAGMA cache_size=-32768;"
                                  "PRAGMA journal_size_limit=67108864;PRAGMA wal_autocheckpoint=0";
    if (db_exec(db, always, e) != 0)
        return -1;
    if (!db->is_durable)
        return db_exec(db, "PRAGMA synchronous=OFF;PRAGMA journal_mode=OFF", e);
    int64_t is_wal = 0;
    int64_t level = 0;
    if (db_ask(db, "PRAGMA journal_mode=WAL", "wal", &is_wal, e) != 0 ||
        db_exec(db, on_disk, e) != 0 || db_ask(db, "PRAGMA synchronous", NULL, &level, e) != 0)
        return -1;
    if (!is_wal || level != 2)
        return error_set(e, STORE_EXIT_IO, "%s: this file system does not allow a write-ahead log",
                         db->path);
    sqlite3_wal_hook(db->handle, wal_grew, db);
    /* A write lock, once: where another process came in between, this is where it shows. */
    return db_exec(db, "BEGIN IMMEDIATE;COMMIT", e);
}

static int db_migrate(struct db *db, int64_t version, struct error *e)
{
    for (; version < (int64_t)ARRAY_SIZE(migrations); version++) {
        char note[256];
        snprintf(
            note, sizeof note,
            "INSERT INTO migration VALUES(%lld,'" STINT_VERSION "',%llu);"
            "PRAGMA user_version=%lld;PRAGMA application_id=" STRINGIFY(APPLICATION_ID) ";"
                                                                                        "COMMIT",
            (long long)version + 1, (unsigned long long)clock_wall_ms(), (long long)version + 1);
        if (db_exec(db, "BEGIN IMMEDIATE", e) != 0 || db_exec(db, migrations[version], e) != 0 ||
            db_exec(db, note, e) != 0)
            return error_prefix(e, "migration to schema version %lld", (long long)version + 1);
    }
    return 0;
}

static int db_prepare(struct db *db, struct error *e)
{
    for (int i = 0; i < STATEMENT_COUNT; i++) {
        if (sqlite3_prepare_v3(db->handle, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &db->statement[i], NULL) != SQLITE_OK)
            return db_fail(db, e, "preparing statements");
    }
    return 0;
}

/* Statistics of memory cost a process-wide lock at each allocation, and nobody reads them. Fails
 * where another part of the process has used SQLite already; then they stay. */
static void sqlite_configure(void)
{
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static int db_start(struct db *db, struct error *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, sqlite_configure);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(db->path, &db->handle, flags, NULL) != SQLITE_OK)
        return db_fail(db, e, "open");
    sqlite3_extended_result_codes(db->handle, 1);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    if (sqlite3_create_function_v2(db->handle, "stint_sum", -1,
                                   SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, NULL,
                                   sql_sum, NULL, NULL, NULL) != SQLITE_OK)
        return db_fail(db, e, "open");
    int64_t version = 0;
    if (db_exec(db, "PRAGMA locking_mode=EXCLUSIVE", e) != 0 || db_identify(db, &version, e) != 0 ||
        db_configure(db, e) != 0 || db_migrate(db, version, e) != 0 || db_prepare(db, e) != 0 ||
        db_meta_read(db, e) != 0)
        return -1;
    return 0;
}

/* The path in "sqlite:PATH", or NULL. */
static const char *url_path(const char *url)
{
    static const char sqlite[] = "sqlite:";
    bool is_path = strncmp(url, sqlite, sizeof sqlite - 1) == 0 && url[sizeof sqlite - 1] != '\0';
    return is_path ? url + sizeof sqlite - 1 : NULL;
}

int db_url_check(const char *url, struct error *e)
{
    if (strcmp(url, "memory:") == 0 || url_path(url) != NULL)
        return 0;
    return error_set(e, STORE_EXIT_USAGE,
                     "\"%s\" is not the URL of a store: sqlite:PATH or memory:", url);
}

int db_open(const char *url, struct db *db, struct error *e)
{
    *db = (struct db){.is_durable = true};
    if (db_url_check(url, e) != 0)
        return -1;
    const char *path = url_path(url);
    if (path == NULL) {
        db->is_durable = false;
        db->path = mem_strdup(":memory:");
    } else {
        /* A relative path gets "./": to SQLite "file:..." and ":memory:" mean something else. */
        size_t size = strlen(path) + 3;
        db->path = mem_alloc(size);
        snprintf(db->path, size, "%s%s", path[0] == '/' ? "" : "./", path);
    }
    int rc = db->is_durable ? file_make(db->path, e) : 0;
    if (rc == 0)
        rc = db_start(db, e);
    if (rc != 0)
        db_close(db);
    return rc;
}

void db_close(struct db *db)
{
    for (int i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(db->statement[i]);
    sqlite3_close(db->handle);
    job_template_unref(&db->template);
    free(db->old);
    free(db->path);
    *db = (struct db){0};
}
