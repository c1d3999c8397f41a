/* SPDX-License-Identifier: MPL-2.0 */
/* sqlite_query.c - the look-ups of query.h, each within one turn's budget.
 *
 * The store thread commits between two answers, so an answer must not take long: it stops after
 * TURN_MS or TURN_ROWS rows looked at and says where to go on. A row is skipped by the columns of
 * the filter alone and read (and checked against its sum) only where it is part of the answer. One
 * thing has no budget: counting the finished jobs of a set, which walks the index on their ids. */
#include <stdlib.h>

#include "broker/store/columns.h"
#include "broker/store/sqlite.h"
#include "common/base/clock.h"
#include "common/base/memory.h"

#define TURN_MS 2
#define TURN_ROWS 20000
/* A set of at most this many ids is looked up by id, a larger one by walking the finish numbers. */
#define SINCE_BY_ID_MAX 4096

struct turn {
    uint64_t until_ms;
    unsigned rows;
};

static void turn_init(struct turn *t)
{
    *t = (struct turn){.until_ms = clock_mono_ms() + TURN_MS};
}

/* Counts one row; true where the turn is over. */
static bool turn_is_over(struct turn *t)
{
    t->rows++;
    return t->rows >= TURN_ROWS || (t->rows % 32 == 0 && clock_mono_ms() >= t->until_ms);
}

struct answer {
    struct db *db;
    const struct query *q;
    struct query_answer *ret;
    size_t capacity;
    uint64_t bytes; /* of outputs */
    struct turn turn;
};

/* Room for one more row; counted by the caller when it is filled. */
static struct job_row *answer_row(struct answer *a)
{
    if (a->ret->row_count == a->capacity) {
        a->capacity = max_u64(16, a->capacity * 2);
        a->ret->rows = mem_realloc_array(a->ret->rows, a->capacity, sizeof a->ret->rows[0]);
    }
    return &a->ret->rows[a->ret->row_count];
}

static sqlite3_stmt *bind_range(struct db *db, enum statement id, uint64_t first, uint64_t last)
{
    sqlite3_stmt *st = db->statement[id];
    sqlite3_reset(st);
    sqlite3_bind_int64(st, 1, (sqlite3_int64)min_u64(first, INT64_MAX));
    sqlite3_bind_int64(st, 2, (sqlite3_int64)min_u64(last, INT64_MAX));
    return st;
}

/* --- JOB --- */

static int answer_job(struct answer *a, struct error *e)
{
    const struct query *q = a->q;
    a->ret->is_complete = true;
    int rc = 0;
    for (int i = 0; i < 2 && rc == 0 && a->ret->row_count == 0; i++) {
        bool is_done = i == 1;
        sqlite3_stmt *st =
            bind_range(a->db, is_done ? STATEMENT_DONE_DOWN : STATEMENT_JOB_DOWN, q->id, q->id);
        int step = sqlite3_step(st);
        if (step == SQLITE_ROW) {
            rc = is_done
                     ? db_read_done(a->db, st, q->with_payload, q->with_output, answer_row(a), e)
                     : db_read_job(a->db, st, q->with_payload, answer_row(a), e);
            a->ret->row_count += rc == 0;
        } else if (step != SQLITE_DONE) {
            rc = db_fail(a->db, e, "reading a job");
        }
        sqlite3_reset(st);
    }
    if (rc == 0 && a->ret->row_count == 1)
        rc = db_read_history(a->db, &a->ret->rows[0], e);
    return rc;
}

/* --- LIST: both tables merged, ids falling --- */

struct cursor {
    sqlite3_stmt *st;
    bool is_done; /* of the table `done` */
    bool has_row;
    uint64_t id;
};

static int cursor_step(struct answer *a, struct cursor *c, struct error *e)
{
    int step = sqlite3_step(c->st);
    c->has_row = step == SQLITE_ROW;
    if (step == SQLITE_DONE)
        return 0;
    if (step != SQLITE_ROW)
        return db_fail(a->db, e, "listing jobs");
    c->id = (uint64_t)sqlite3_column_int64(c->st, COLUMN_ID);
    return 0;
}

static int cursor_open(struct answer *a, struct cursor *c, bool is_done,
                       const struct id_range *range, struct error *e)
{
    /* States that are all of the other table need no look at this one. */
    unsigned final = 0;
    for (int i = 0; i < JOB_STATE_COUNT; i++)
        final |= job_state_is_final((enum job_state)i) ? 1U << i : 0;
    unsigned here = is_done ? final : ~final;
    *c = (struct cursor){.is_done = is_done};
    if (a->q->states != 0 && (a->q->states & here) == 0)
        return 0;
    c->st = bind_range(a->db, is_done ? STATEMENT_DONE_DOWN : STATEMENT_JOB_DOWN, range->first,
                       range->last);
    return cursor_step(a, c, e);
}

static bool cursor_matches(const struct answer *a, const struct cursor *c)
{
    const struct query *q = a->q;
    int state = sqlite3_column_int(c->st, c->is_done ? COLUMN_DONE_STATE : COLUMN_JOB_STATE);
    if (q->states != 0 && (state < 0 || state >= JOB_STATE_COUNT || !(q->states >> state & 1)))
        return false;
    if (q->queue != 0 && (uint64_t)sqlite3_column_int64(c->st, COLUMN_QUEUE) != q->queue)
        return false;
    if (q->name[0] == '\0')
        return true;
    const void *name = sqlite3_column_blob(c->st, COLUMN_NAME);
    return view_is(view_of(name, (size_t)sqlite3_column_bytes(c->st, COLUMN_NAME)), q->name);
}

/* The rows of one range. *ret_stop: the limit or the end of the turn was reached within it. */
static int list_range(struct answer *a, const struct id_range *range, bool *ret_stop,
                      struct error *e)
{
    struct cursor job = {0};
    struct cursor done = {0};
    int rc = cursor_open(a, &job, false, range, e);
    if (rc == 0)
        rc = cursor_open(a, &done, true, range, e);
    bool stop = turn_is_over(&a->turn);
    while (rc == 0 && (job.has_row || done.has_row)) {
        if (a->ret->row_count >= a->q->limit) {
            stop = true;
            break;
        }
        struct cursor *c = !done.has_row || (job.has_row && job.id > done.id) ? &job : &done;
        a->ret->scanned_to = c->id;
        if (cursor_matches(a, c)) {
            rc = c->is_done ? db_read_done(a->db, c->st, false, false, answer_row(a), e)
                            : db_read_job(a->db, c->st, false, answer_row(a), e);
            a->ret->row_count += rc == 0;
        }
        if (rc == 0)
            rc = cursor_step(a, c, e);
        if (turn_is_over(&a->turn)) {
            stop = job.has_row || done.has_row;
            break;
        }
    }
    sqlite3_reset(job.st);
    sqlite3_reset(done.st);
    if (!stop)
        a->ret->scanned_to = range->first;
    *ret_stop = stop;
    return rc;
}

static int answer_list(struct answer *a, struct error *e)
{
    static const struct id_range all = {.first = 0, .last = INT64_MAX};
    const struct query *q = a->q;
    const struct id_range *ranges = q->range_count > 0 ? q->ranges : &all;
    uint64_t below = q->before_id > 0 ? q->before_id : UINT64_MAX;
    a->ret->scanned_to = below;
    for (size_t i = q->range_count > 0 ? q->range_count : 1; i-- > 0;) {
        struct id_range range = ranges[i];
        if (range.first >= below)
            continue;
        range.last = min_u64(range.last, below - 1);
        bool stop = false;
        if (list_range(a, &range, &stop, e) != 0)
            return -1;
        if (stop)
            return 0;
    }
    a->ret->is_complete = true;
    return 0;
}

/* --- SINCE --- */

/* Adds the finished job on which the statement stands; false in *ret_fits where bytes_max says no
 * more. */
static int since_add(struct answer *a, sqlite3_stmt *st, bool *ret_fits, struct error *e)
{
    const struct query *q = a->q;
    uint64_t bytes = q->with_output
                         ? (uint64_t)sqlite3_column_int64(st, COLUMN_DONE_STDOUT_SIZE) +
                               (uint64_t)sqlite3_column_int64(st, COLUMN_DONE_STDERR_SIZE)
                         : 0;
    *ret_fits =
        a->ret->row_count == 0 || (a->bytes <= q->bytes_max && bytes <= q->bytes_max - a->bytes);
    if (!*ret_fits)
        return 0;
    if (db_read_done(a->db, st, false, q->with_output, answer_row(a), e) != 0)
        return -1;
    a->ret->row_count++;
    a->bytes += bytes;
    return 0;
}

/* Walks the finish numbers. */
static int since_walk(struct answer *a, struct error *e)
{
    const struct query *q = a->q;
    struct query_answer *ret = a->ret;
    sqlite3_stmt *st = a->db->statement[STATEMENT_DONE_SINCE];
    sqlite3_bind_int64(st, 1, (sqlite3_int64)min_u64(q->since, INT64_MAX));
    int rc = 0;
    int step = SQLITE_DONE;
    bool stop = false;
    while (rc == 0 && !stop && (step = sqlite3_step(st)) == SQLITE_ROW) {
        uint64_t id = (uint64_t)sqlite3_column_int64(st, COLUMN_ID);
        uint64_t number = (uint64_t)sqlite3_column_int64(st, COLUMN_DONE_NUMBER);
        if (idset_has(q->ranges, q->range_count, id)) {
            bool fits = false;
            if (ret->row_count < q->limit)
                rc = since_add(a, st, &fits, e);
            if (!fits)
                break;
        }
        ret->scanned_to = number;
        stop = turn_is_over(&a->turn);
    }
    if (rc == 0 && step != SQLITE_ROW && step != SQLITE_DONE)
        rc = db_fail(a->db, e, "reading finished jobs");
    sqlite3_reset(st);
    if (rc == 0 && step == SQLITE_DONE) {
        ret->is_complete = true;
        ret->scanned_to = max_u64(q->since, a->db->meta.next_finish - 1);
    }
    return rc;
}

static int number_compare(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

/* The finish numbers above `since` of a small set, sorted. */
static int since_numbers(struct answer *a, uint64_t *numbers, size_t *ret_count, struct error *e)
{
    size_t count = 0;
    for (size_t i = 0; i < a->q->range_count; i++) {
        sqlite3_stmt *st =
            bind_range(a->db, STATEMENT_DONE_NUMBERS, a->q->ranges[i].first, a->q->ranges[i].last);
        int step = SQLITE_DONE;
        while ((step = sqlite3_step(st)) == SQLITE_ROW) {
            uint64_t number = (uint64_t)sqlite3_column_int64(st, 0);
            if (number > a->q->since && count < SINCE_BY_ID_MAX)
                numbers[count++] = number;
        }
        int failed = step == SQLITE_DONE ? 0 : db_fail(a->db, e, "reading finished jobs");
        sqlite3_reset(st);
        if (failed)
            return -1;
    }
    qsort(numbers, count, sizeof numbers[0], number_compare);
    *ret_count = count;
    return 0;
}

static int since_by_id(struct answer *a, struct error *e)
{
    uint64_t numbers[SINCE_BY_ID_MAX] = {0};
    size_t count = 0;
    if (since_numbers(a, numbers, &count, e) != 0)
        return -1;
    sqlite3_stmt *st = a->db->statement[STATEMENT_DONE_SINCE];
    bool is_over = false;
    for (size_t i = 0; i < count; i++) {
        if (is_over || a->ret->row_count >= a->q->limit)
            return 0;
        sqlite3_bind_int64(st, 1, (sqlite3_int64)(numbers[i] - 1));
        bool fits = false;
        bool is_there = sqlite3_step(st) == SQLITE_ROW &&
                        (uint64_t)sqlite3_column_int64(st, COLUMN_DONE_NUMBER) == numbers[i];
        int rc = is_there ? since_add(a, st, &fits, e)
                          : db_damaged(a->db, e, "done", numbers[i],
                                       "the index done_id has it, the table does not");
        sqlite3_reset(st);
        if (rc != 0 || !fits)
            return rc;
        a->ret->scanned_to = numbers[i];
        is_over = turn_is_over(&a->turn);
    }
    a->ret->is_complete = true;
    a->ret->scanned_to = max_u64(a->q->since, a->db->meta.next_finish - 1);
    return 0;
}

static int since_count(struct answer *a, struct error *e)
{
    for (size_t i = 0; i < a->q->range_count; i++) {
        sqlite3_stmt *st =
            bind_range(a->db, STATEMENT_DONE_COUNT, a->q->ranges[i].first, a->q->ranges[i].last);
        int step = sqlite3_step(st);
        if (step == SQLITE_ROW)
            a->ret->finished_count += (uint64_t)sqlite3_column_int64(st, 0);
        int failed = step == SQLITE_ROW ? 0 : db_fail(a->db, e, "counting finished jobs");
        sqlite3_reset(st);
        if (failed)
            return -1;
    }
    /* The few that finished since the question was asked. */
    sqlite3_stmt *st = a->db->statement[STATEMENT_DONE_SINCE];
    sqlite3_bind_int64(st, 1, (sqlite3_int64)min_u64(a->q->count_to, INT64_MAX));
    int step = SQLITE_DONE;
    while ((step = sqlite3_step(st)) == SQLITE_ROW)
        a->ret->finished_count -= idset_has(a->q->ranges, a->q->range_count,
                                            (uint64_t)sqlite3_column_int64(st, COLUMN_ID));
    int failed = step == SQLITE_DONE ? 0 : db_fail(a->db, e, "counting finished jobs");
    sqlite3_reset(st);
    return failed;
}

static int answer_since(struct answer *a, struct error *e)
{
    const struct query *q = a->q;
    if (q->with_count && since_count(a, e) != 0)
        return -1;
    a->ret->scanned_to = q->since;
    uint64_t ids = 0;
    for (size_t i = 0; i < q->range_count; i++)
        ids = add_sat_u64(ids, add_sat_u64(q->ranges[i].last - q->ranges[i].first, 1));
    turn_init(&a->turn); /* the count is not part of it */
    if (ids <= SINCE_BY_ID_MAX && ids < sub_sat_u64(a->db->meta.next_finish, q->since))
        return since_by_id(a, e);
    return since_walk(a, e);
}

int db_answer(struct db *db, const struct query *q, struct query_answer *ret, struct error *e)
{
    *ret = (struct query_answer){.type = q->type, .token = q->token};
    struct answer a = {.db = db, .q = q, .ret = ret};
    turn_init(&a.turn);
    int rc = 0;
    switch (q->type) {
    case QUERY_JOB:
        rc = answer_job(&a, e);
        break;
    case QUERY_LIST:
        rc = answer_list(&a, e);
        break;
    case QUERY_SINCE:
        rc = answer_since(&a, e);
        break;
    }
    if (rc != 0)
        query_answer_fini(ret);
    return rc;
}
