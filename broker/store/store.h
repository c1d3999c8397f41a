/* SPDX-License-Identifier: MPL-2.0 */
/* store.h - records in, commit number out; queries in, answers out.
 *
 * One thread of its own does all the work on one database connection. The driver hands over batches
 * of records (one a turn) and queries; the thread takes all that is waiting, writes it in one
 * transaction with one sync (group commit: the batch is what arrived during the last sync; no
 * timer), then answers the queries that came behind those batches, and reports through a
 * completion descriptor.
 *
 * FAIL-STOP: on the first failed write, sync or commit the thread writes one line that names the
 * operation, the file and the error to stderr and ends the process with _exit(74): no rollback, no
 * close, no atexit. Damaged content that a query or a record meets: the same with _exit(65), naming
 * table and row; store_open and store_load return it as an error. There is no way to run on after
 * an error.
 *
 * URLs: "sqlite:PATH" (WAL, synchronous=FULL, one exclusive connection) and "memory:" (the same
 * tables in memory; nothing survives the process).
 *
 * Thread rule: all functions are called from one thread, the driver's. */
#ifndef STINT_BROKER_STORE_STORE_H
#define STINT_BROKER_STORE_STORE_H

#include "broker/core/query.h"
#include "broker/core/record.h"
#include "common/base/error.h"

struct store;

/* Exit codes of the broker that a failed open asks for, in error.status. */
enum {
    STORE_EXIT_USAGE = 2,
    STORE_EXIT_DAMAGED = 65,
    STORE_EXIT_IO = 74,
    STORE_EXIT_HELD = 75
};

/* Whether `url` has the form of a store's; touches nothing. Returns 0, or -1 with `e` (USAGE). */
int store_url_check(const char *url, struct error *e) MUST_CHECK;
/* Opens (and creates or migrates) the store and starts its thread. Missing directories are made
 * with mode 0700. On failure returns -1 with `e` (status: one of the exit codes above; HELD when
 * another process holds the database) and *ret is NULL. */
int store_open(const char *url, struct store **ret, struct error *e) MUST_CHECK;
/* Waits until everything handed over is committed, ends the thread, closes. NULL-safe. */
void store_close(struct store **s);

bool store_is_durable(const struct store *s);
const char *store_url(const struct store *s);

/* What a start needs, read once, before the first commit. Callbacks get borrowed rows; they take
 * references of what they keep. Order: meta, queues by id, clients (one call for each entry, the
 * clients in order of use), then unfinished jobs by id, with their payloads. */
struct store_meta {
    uint32_t broker_start;              /* of the last broker; 0 = a fresh store */
    uint64_t away_ms;                   /* of its planned stop; 0 = none */
    uint64_t next_job_id;               /* never used before */
    uint64_t next_finish;               /* never used before */
    uint64_t finished[JOB_STATE_COUNT]; /* finished jobs that are kept, by state */
};

struct store_loader {
    void *user;
    void (*meta)(void *user, const struct store_meta *m);
    void (*queue)(void *user, uint32_t id, const char *name);
    void (*client)(void *user, uint64_t client, const struct client_entry *e, uint64_t at_ms);
    void (*job)(void *user, const struct job_row *row);
};

int store_load(struct store *s, const struct store_loader *loader, struct error *e) MUST_CHECK;

/* Hands over the records (their references move to the store; the array stays the caller's) and
 * returns the number of the commit that will hold them: they rise by one. */
uint64_t store_commit(struct store *s, struct record *records, size_t count);
/* Hands over a query (its ranges move to the store). */
void store_query(struct store *s, const struct query *q);

/* Readable when there is a completion; drained by store_take. */
int store_fd(const struct store *s);

struct store_done {
    bool is_answer; /* else: commits up to `commit` are on stable storage */
    uint64_t commit;
    struct query_answer answer; /* the caller's to fini */
    /* of RECORD_EXPIREs in these commits: how many finished jobs were forgotten, by state */
    uint64_t forgotten[JOB_STATE_COUNT];
};

/* The next completion, in order; false when there is none. */
bool store_take(struct store *s, struct store_done *ret);

/* Bytes handed over and not yet committed (the measure of pressure). */
uint64_t store_backlog_bytes(const struct store *s);
/* Size of the store's files and free bytes of its file system (UINT64_MAX for memory:). */
void store_space(const struct store *s, uint64_t *ret_bytes, uint64_t *ret_free_bytes);

#endif
