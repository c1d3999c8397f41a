/* SPDX-License-Identifier: MPL-2.0 */
/* store.c - the store's thread: group commit, completions, fail-stop.
 *
 * The driver appends batches and queries to two lists under one lock. The thread takes both whole:
 * first all batches become one transaction, then queries are answered until QUERY_TURN_MS have
 * passed; what is left of them waits behind the next commit. So a query is answered after every
 * record that was handed over before it, and a commit never waits for more than one turn of
 * queries. While a sync runs the next batch gathers by itself; there is no timer.
 *
 * A completion is queued under the lock; the event descriptor is written when the queue stops being
 * empty and read when it is empty again, so it is readable exactly while there is something to
 * take. The commit is reported before the log is moved into the database file (checkpoint) and
 * before the records are freed: neither delays an acknowledgement.
 *
 * The connection belongs to the thread. store_load, which uses it before the first commit, runs on
 * the driver's thread while this one waits for work; the lock orders the two. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "broker/store/sqlite.h"
#include "common/base/clock.h"
#include "common/base/list.h"
#include "common/base/memory.h"

#define QUERY_TURN_MS 2

struct batch {
    struct list link;
    uint64_t commit;
    uint64_t bytes;
    size_t count;
    struct record records[];
};

struct question {
    struct list link;
    struct query query;
};

struct completion {
    struct list link;
    struct store_done done;
};

struct store {
    char *url;
    struct db db;         /* the thread's */
    uint64_t next_commit; /* the driver's */
    bool is_used;         /* the driver's: something was handed over */
    int fd;
    pthread_t thread;
    pthread_mutex_t lock; /* guards the rest, but for the counts at its end */
    pthread_cond_t wake;
    struct list batches;
    struct list questions;
    struct list completions;
    bool is_closing;
    atomic_uint_fast64_t backlog_bytes;
    atomic_uint_fast64_t memory_bytes; /* memory: size of the tables */
};

/* The end of the process on the first error: one line, and nothing else runs. */
static NORETURN void store_die(const struct error *e)
{
    const char *advice = "";
    if (e->status == STORE_EXIT_IO)
        advice = "; the broker stops here, all that it acknowledged is kept: see to the disk and "
                 "its free space, then start it again";
    else if (e->status == STORE_EXIT_DAMAGED)
        advice = "; the broker stops here and changed nothing of it: see to the disk, then restore "
                 "a backup, or look with sqlite3 at the row that is named";
    char line[1024];
    int size = snprintf(line, sizeof line, "stint-broker: store: %s%s\n", e->text, advice);
    ssize_t written = write(STDERR_FILENO, line, min_u64((uint64_t)size, sizeof line - 1));
    (void)written;
    _exit(e->status);
}

/* --- the thread --- */

static void complete(struct store *s, struct completion *c)
{
    pthread_mutex_lock(&s->lock);
    bool was_empty = list_is_empty(&s->completions);
    list_push_back(&s->completions, &c->link);
    if (was_empty)
        eventfd_write(s->fd, 1);
    pthread_mutex_unlock(&s->lock);
}

/* Writes all batches of the list in one transaction and empties it. */
static void batches_commit(struct store *s, struct list *batches)
{
    struct error e;
    struct completion *c = mem_zalloc(sizeof *c);
    uint64_t bytes = 0;
    if (db_begin(&s->db, &e) != 0)
        store_die(&e);
    list_each (node, batches) {
        const struct batch *b = container_of(node, struct batch, link);
        for (size_t i = 0; i < b->count; i++)
            if (db_apply(&s->db, &b->records[i], &e) != 0)
                store_die(&e);
        c->done.commit = b->commit;
        bytes += b->bytes;
    }
    if (db_commit(&s->db, &e) != 0)
        store_die(&e);
    memcpy(c->done.forgotten, s->db.forgotten, sizeof c->done.forgotten);
    atomic_fetch_sub(&s->backlog_bytes, bytes);
    atomic_store(&s->memory_bytes, db_memory_bytes(&s->db));
    complete(s, c);
    list_each_safe (node, batches) {
        struct batch *b = container_of(node, struct batch, link);
        for (size_t i = 0; i < b->count; i++)
            record_fini(&b->records[i]);
        free(b);
    }
    list_init(batches);
    if (db_checkpoint(&s->db, &e) != 0)
        store_die(&e);
}

static void question_free(struct question *it)
{
    list_remove(&it->link);
    query_fini(&it->query);
    free(it);
}

static void questions_answer(struct store *s, struct list *questions)
{
    uint64_t until_ms = clock_mono_ms() + QUERY_TURN_MS;
    while (!list_is_empty(questions)) {
        struct question *it = container_of(questions->next, struct question, link);
        struct completion *c = mem_zalloc(sizeof *c);
        struct error e;
        c->done.is_answer = true;
        if (db_answer(&s->db, &it->query, &c->done.answer, &e) != 0)
            store_die(&e);
        complete(s, c);
        question_free(it);
        if (clock_mono_ms() >= until_ms)
            break;
    }
}

static void list_take(struct list *from, struct list *to)
{
    list_each_safe (node, from) {
        list_remove(node);
        list_push_back(to, node);
    }
}

static void *store_main(void *arg)
{
    struct store *s = arg;
    struct list batches;
    struct list questions;
    list_init(&batches);
    list_init(&questions);
    for (bool is_closing = false; !is_closing;) {
        pthread_mutex_lock(&s->lock);
        while (list_is_empty(&s->batches) && list_is_empty(&s->questions) &&
               list_is_empty(&questions) && !s->is_closing)
            pthread_cond_wait(&s->wake, &s->lock);
        list_take(&s->batches, &batches);
        list_take(&s->questions, &questions);
        is_closing = s->is_closing; /* nothing comes behind what was just taken */
        pthread_mutex_unlock(&s->lock);
        if (!list_is_empty(&batches))
            batches_commit(s, &batches);
        if (!is_closing)
            questions_answer(s, &questions);
    }
    list_each_safe (node, &questions) {
        question_free(container_of(node, struct question, link));
    }
    return NULL;
}

/* --- the driver's side --- */

/* The thread takes no signals: they are the driver's, by signalfd. */
static int thread_start(struct store *s, struct error *e)
{
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&s->thread, NULL, store_main, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return error_set_errno(e, STORE_EXIT_IO, rc, "cannot start the store's thread");
    pthread_setname_np(s->thread, "store");
    return 0;
}

static void store_free(struct store *s)
{
    list_each_safe (node, &s->completions) {
        struct completion *c = container_of(node, struct completion, link);
        query_answer_fini(&c->done.answer);
        free(c);
    }
    db_close(&s->db);
    if (s->fd >= 0)
        close(s->fd);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s->url);
    free(s);
}

int store_url_check(const char *url, struct error *e)
{
    return db_url_check(url, e);
}

int store_open(const char *url, struct store **ret, struct error *e)
{
    *ret = NULL;
    struct store *s = mem_zalloc(sizeof *s);
    s->url = mem_strdup(url);
    s->next_commit = 1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    list_init(&s->batches);
    list_init(&s->questions);
    list_init(&s->completions);
    s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = s->fd >= 0 ? 0 : error_set_errno(e, STORE_EXIT_IO, errno, "eventfd");
    if (rc == 0)
        rc = db_open(url, &s->db, e);
    if (rc == 0)
        rc = thread_start(s, e);
    if (rc != 0) {
        store_free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

void store_close(struct store **s)
{
    struct store *it = *s;
    *s = NULL;
    if (it == NULL)
        return;
    pthread_mutex_lock(&it->lock);
    it->is_closing = true;
    pthread_cond_signal(&it->wake);
    pthread_mutex_unlock(&it->lock);
    pthread_join(it->thread, NULL);
    store_free(it);
}

bool store_is_durable(const struct store *s)
{
    return s->db.is_durable;
}

const char *store_url(const struct store *s)
{
    return s->url;
}

int store_load(struct store *s, const struct store_loader *loader, struct error *e)
{
    assert(!s->is_used);
    return db_load(&s->db, loader, e);
}

static uint64_t record_bytes(const struct record *r)
{
    uint64_t bytes = sizeof *r;
    if (r->type == RECORD_ADD)
        bytes += blob_size(r->add.payload) + blob_size(r->add.template->spec);
    else if (r->type == RECORD_FINISH)
        bytes += blob_size(r->finish->stdout_data) + blob_size(r->finish->stderr_data);
    return bytes;
}

uint64_t store_commit(struct store *s, struct record *records, size_t count)
{
    struct batch *b = mem_alloc(sizeof *b + count * sizeof b->records[0]);
    *b = (struct batch){.commit = s->next_commit++, .count = count};
    list_init(&b->link);
    if (count > 0)
        memcpy(b->records, records, count * sizeof records[0]);
    for (size_t i = 0; i < count; i++)
        b->bytes += record_bytes(&records[i]);
    s->is_used = true;
    atomic_fetch_add(&s->backlog_bytes, b->bytes);
    uint64_t commit = b->commit;
    pthread_mutex_lock(&s->lock);
    list_push_back(&s->batches, &b->link);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    return commit;
}

void store_query(struct store *s, const struct query *q)
{
    struct question *it = mem_zalloc(sizeof *it);
    list_init(&it->link);
    it->query = *q;
    s->is_used = true;
    pthread_mutex_lock(&s->lock);
    list_push_back(&s->questions, &it->link);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

int store_fd(const struct store *s)
{
    return s->fd;
}

bool store_take(struct store *s, struct store_done *ret)
{
    struct completion *c = NULL;
    pthread_mutex_lock(&s->lock);
    if (!list_is_empty(&s->completions)) {
        c = container_of(s->completions.next, struct completion, link);
        list_remove(&c->link);
        if (list_is_empty(&s->completions)) {
            eventfd_t count = 0;
            eventfd_read(s->fd, &count);
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (c == NULL)
        return false;
    *ret = c->done;
    free(c);
    return true;
}

uint64_t store_backlog_bytes(const struct store *s)
{
    return atomic_load(&s->backlog_bytes);
}

void store_space(const struct store *s, uint64_t *ret_bytes, uint64_t *ret_free_bytes)
{
    *ret_bytes = atomic_load(&s->memory_bytes);
    *ret_free_bytes = UINT64_MAX;
    if (!s->db.is_durable)
        return;
    /* By name: opening and closing the file here would drop SQLite's lock on it. */
    static const char *const suffixes[] = {"", "-wal"};
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        char path[4096];
        struct stat st;
        snprintf(path, sizeof path, "%s%s", s->db.path, suffixes[i]);
        if (stat(path, &st) == 0)
            *ret_bytes += (uint64_t)st.st_size;
    }
    struct statvfs fs;
    if (statvfs(s->db.path, &fs) == 0)
        *ret_free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
}
