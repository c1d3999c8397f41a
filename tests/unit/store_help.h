/* SPDX-License-Identifier: MPL-2.0 */
/* store_help.h - what the tests of the store share: a scratch directory, calls that wait for their
 * completion (by poll on the store's descriptor), and a model.
 *
 * The model is the contract of record.h in plain arrays: what each record does to a row. A store
 * is right when, after any records and any reopening, it gives back what the model holds. */
#ifndef STINT_TESTS_UNIT_STORE_HELP_H
#define STINT_TESTS_UNIT_STORE_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/store/store.h"
#include "common/base/memory.h"
#include "common/base/rng.h"

/* --- scratch --- */

/* cmocka setup and teardown: *state is the path of a fresh directory. */
int scratch_make(void **state);
int scratch_remove(void **state);
/* "sqlite:DIR/store.db"; valid until the next call. */
const char *scratch_url(void **state);
const char *scratch_path(void **state);

/* --- calls that wait --- */

struct store *store_must_open(const char *url);
/* Hands the records over and waits for their commit; adds what was forgotten to *forgotten (may be
 * NULL), which has JOB_STATE_COUNT places. */
void store_commit_wait(struct store *s, struct record *records, size_t count, uint64_t *forgotten);
void store_ask(struct store *s, const struct query *q, struct query_answer *ret);
/* Runs `body` in a child process with its stderr captured in `text`; returns the exit status as
 * waitpid gives it. */
int child_run(void (*body)(void *arg), void *arg, char *text, size_t text_bytes);

/* --- records --- */

struct job_template *make_template(struct rng *rng, size_t spec_bytes);
struct blob *make_blob(struct rng *rng, size_t size);
struct record record_add(uint64_t job, uint32_t queue, struct job_template *t,
                         struct blob *payload);
struct record record_lease(uint64_t job, uint32_t attempt, uint64_t lease);
struct record record_finish(uint64_t job, uint64_t number, enum job_state state);
struct record record_queue(uint32_t id, const char *name);
struct record record_expire(uint64_t wall_ms, uint32_t jobs_max);

/* --- the model --- */

struct model_client {
    uint64_t client;
    uint64_t at_ms;
    struct client_entry ring[CLIENT_RING];
};

struct model {
    struct store_meta meta;
    uint32_t queue_count; /* ids 1..queue_count */
    char queues[64][PROTO_QUEUE_BYTES_MAX + 1];
    struct model_client *clients;
    size_t client_count;
    struct job_row *jobs; /* at index id; id 0 there = none */
    size_t job_count;     /* indexes in use */
    size_t job_capacity;
    uint64_t forgotten[JOB_STATE_COUNT];
};

void model_init(struct model *m);
void model_fini(struct model *m);
/* Takes references of its own. */
void model_apply(struct model *m, const struct record *r);
/* Fails the test where the store, freshly opened, differs: first what it loads, then each job by
 * QUERY_JOB, forgotten ones too. Closes the store. */
void model_check(const struct model *m, const char *url);
void job_row_check(const struct job_row *want, const struct job_row *got);

#endif
