/* SPDX-License-Identifier: MPL-2.0 */
/* What can go wrong around the store: killed processes, failing disks, damaged files, a second
 * opener, a file of another version or of somebody else. Each ends as store.h says, and what was
 * reported as committed is there afterwards. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "tests/unit/store_help.h"

/* --- a stream of batches: batch n is the same in every process --- */

#define BATCH_JOBS 10

struct stream {
    const char *url;
    atomic_uint_fast64_t *committed; /* in shared memory */
    uint64_t batches;                /* then end */
    int ready_fd;                    /* a byte for each report; -1 = none */
    uint64_t file_bytes_max;
    int fail_at;        /* the n-th write, sync or truncate fails; 0 = none */
    bool is_log_spared; /* only those of the database file itself count */
};

/* Batch n adds ten jobs and leases them, and finishes half of those of batch n - 1. */
static size_t stream_batch(uint64_t n, struct record *r)
{
    struct rng rng = {n};
    size_t count = 0;
    uint64_t first = (n - 1) * BATCH_JOBS + 1;
    if (n == 1)
        r[count++] = record_queue(1, "q");
    struct job_template *t = make_template(&rng, 50);
    for (uint64_t i = 0; i < BATCH_JOBS; i++) {
        r[count++] =
            record_add(first + i, 1, job_template_ref(t), make_blob(&rng, rng_below(&rng, 3000)));
        r[count++] = record_lease(first + i, 1, first + i);
    }
    job_template_unref(&t);
    for (uint64_t i = 0; n > 1 && i < BATCH_JOBS / 2; i++) {
        struct record *f = &r[count++];
        *f = record_finish(first - BATCH_JOBS + i, (n - 2) * BATCH_JOBS / 2 + i + 1, JOB_SUCCEEDED);
        f->finish->stdout_data = make_blob(&rng, rng_below(&rng, 3000));
    }
    return count;
}

static void stream_take(struct stream *st, struct store *s, bool wait)
{
    struct store_done d;
    struct pollfd p = {.fd = store_fd(s), .events = POLLIN};
    if (wait)
        poll(&p, 1, -1);
    while (store_take(s, &d)) {
        atomic_store(st->committed, d.commit);
        if (st->ready_fd >= 0 && write(st->ready_fd, "", 1) != 1)
            _exit(3);
    }
}

static void stream_body(void *arg)
{
    struct stream *st = arg;
    struct error e;
    struct store *s = NULL;
    if (store_open(st->url, &s, &e) != 0) {
        fprintf(stderr, "%s\n", e.text);
        _exit(e.status);
    }
    for (uint64_t n = 1; n <= st->batches; n++) {
        struct record records[64];
        uint64_t commit = store_commit(s, records, stream_batch(n, records));
        /* Up to five are under way. */
        while (atomic_load(st->committed) + 5 < commit)
            stream_take(st, s, true);
    }
    while (atomic_load(st->committed) < st->batches)
        stream_take(st, s, true);
    store_close(&s);
}

struct stored {
    uint64_t jobs;
};

static void stored_meta(void *user, const struct store_meta *m)
{
    struct stored *it = user;
    it->jobs = m->next_job_id - 1;
}

static void stored_queue(void *user, uint32_t id, const char *name)
{
    (void)user;
    (void)id;
    (void)name;
}

static void stored_client(void *user, uint64_t client, const struct client_entry *e, uint64_t at_ms)
{
    (void)user;
    (void)client;
    (void)e;
    (void)at_ms;
}

static void stored_job(void *user, const struct job_row *row)
{
    (void)user;
    (void)row;
}

static const struct store_loader stored_loader = {NULL, stored_meta, stored_queue, stored_client,
                                                  stored_job};

/* The store holds some whole number of batches, at least those reported, exactly. Returns it. */
static uint64_t stream_check(const struct stream *st)
{
    struct stored stored = {0};
    struct store_loader loader = stored_loader;
    loader.user = &stored;
    struct store *s = store_must_open(st->url);
    struct error e = {0};
    if (store_load(s, &loader, &e) != 0)
        fail_msg("%s", e.text);
    store_close(&s);
    assert_int_equal(stored.jobs % BATCH_JOBS, 0);
    uint64_t batches = stored.jobs / BATCH_JOBS;
    assert_true(batches >= atomic_load(st->committed));
    struct model m;
    model_init(&m);
    for (uint64_t n = 1; n <= batches; n++) {
        struct record records[64];
        size_t count = stream_batch(n, records);
        for (size_t i = 0; i < count; i++) {
            model_apply(&m, &records[i]);
            record_fini(&records[i]);
        }
    }
    model_check(&m, st->url);
    model_fini(&m);
    return batches;
}

static void stream_init(struct stream *st, const char *url)
{
    *st = (struct stream){.url = url, .ready_fd = -1};
    st->committed = mmap(NULL, sizeof *st->committed, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(st->committed != MAP_FAILED);
}

static void stream_fini(struct stream *st)
{
    munmap(st->committed, sizeof *st->committed);
}

static void test_kill(void **state)
{
    for (int round = 0; round < 12; round++) {
        char url[640];
        snprintf(url, sizeof url, "sqlite:%s/%d/db", (const char *)*state, round);
        struct stream st;
        stream_init(&st, url);
        st.batches = UINT64_MAX;
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        st.ready_fd = fds[1];
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            close(fds[0]);
            stream_body(&st);
            _exit(0);
        }
        close(fds[1]);
        char byte = 0;
        for (int reports = 0; reports < 3 + round * round; reports++)
            assert_int_equal(read(fds[0], &byte, 1), 1);
        kill(pid, SIGKILL);
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        close(fds[0]);
        stream_check(&st);
        stream_fini(&st);
    }
}

/* --- failing disks --- */

static void limited_body(void *arg)
{
    struct stream *st = arg;
    struct rlimit limit = {st->file_bytes_max, st->file_bytes_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    stream_body(st);
}

static void test_full(void **state)
{
    struct stream st;
    stream_init(&st, scratch_url(state));
    st.batches = UINT64_MAX;
    st.file_bytes_max = 1 << 20;
    char text[2048];
    int status = child_run(limited_body, &st, text, sizeof text);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), STORE_EXIT_IO);
    assert_non_null(strstr(text, "store.db"));
    assert_non_null(strstr(text, "start it again"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
    uint64_t batches = stream_check(&st);
    /* What was not reported may be there only where its own commit was the one that failed. */
    assert_true(batches <= atomic_load(st.committed) + 6);
    stream_fini(&st);
}

/* A file layer that fails at one chosen write, sync or truncation and works before and after: a
 * store that tried again would get away with it. */

struct shim_file {
    sqlite3_file base;
    sqlite3_file *real;
    bool is_counted;
};

static sqlite3_vfs shim_vfs;
static sqlite3_vfs *real_vfs;
static int shim_calls;
static int shim_fail_at;
static int shim_failures;
static bool shim_spares_log;

#define REAL(f) (((struct shim_file *)(void *)(f))->real)

static bool shim_fails(sqlite3_file *f)
{
    bool fails = ((struct shim_file *)(void *)f)->is_counted && ++shim_calls == shim_fail_at;
    shim_failures += fails;
    return fails;
}

static int shim_close(sqlite3_file *f)
{
    int rc = REAL(f)->pMethods != NULL ? REAL(f)->pMethods->xClose(REAL(f)) : SQLITE_OK;
    free(REAL(f));
    return rc;
}

static int shim_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    return REAL(f)->pMethods->xRead(REAL(f), to, n, at);
}

static int shim_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    return shim_fails(f) ? SQLITE_IOERR_WRITE : REAL(f)->pMethods->xWrite(REAL(f), from, n, at);
}

static int shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return shim_fails(f) ? SQLITE_IOERR_TRUNCATE : REAL(f)->pMethods->xTruncate(REAL(f), size);
}

static int shim_sync(sqlite3_file *f, int flags)
{
    return shim_fails(f) ? SQLITE_IOERR_FSYNC : REAL(f)->pMethods->xSync(REAL(f), flags);
}

static int shim_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    return REAL(f)->pMethods->xFileSize(REAL(f), ret);
}

static int shim_lock(sqlite3_file *f, int level)
{
    return REAL(f)->pMethods->xLock(REAL(f), level);
}

static int shim_unlock(sqlite3_file *f, int level)
{
    return REAL(f)->pMethods->xUnlock(REAL(f), level);
}

static int shim_is_reserved(sqlite3_file *f, int *ret)
{
    return REAL(f)->pMethods->xCheckReservedLock(REAL(f), ret);
}

static int shim_control(sqlite3_file *f, int op, void *arg)
{
    return REAL(f)->pMethods->xFileControl(REAL(f), op, arg);
}

static int shim_sector(sqlite3_file *f)
{
    return REAL(f)->pMethods->xSectorSize(REAL(f));
}

static int shim_device(sqlite3_file *f)
{
    return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f));
}

static const sqlite3_io_methods shim_methods = {
    .iVersion = 1,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_is_reserved,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_device,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret)
{
    (void)vfs;
    struct shim_file *it = (struct shim_file *)(void *)f;
    it->real = mem_zalloc((size_t)real_vfs->szOsFile);
    it->base.pMethods = &shim_methods;
    it->is_counted = !shim_spares_log || (flags & SQLITE_OPEN_MAIN_DB);
    return real_vfs->xOpen(real_vfs, name, it->real, flags, ret);
}

static void shim_install(const struct stream *st)
{
    real_vfs = sqlite3_vfs_find(NULL);
    shim_vfs = *real_vfs;
    shim_vfs.zName = "shim";
    shim_vfs.szOsFile = sizeof(struct shim_file);
    shim_vfs.xOpen = shim_open;
    sqlite3_vfs_register(&shim_vfs, 1);
    shim_fail_at = st->fail_at;
    shim_spares_log = st->is_log_spared;
}

static void shimmed_body(void *arg)
{
    struct stream *st = arg;
    shim_install(st);
    stream_body(st);
    /* Ended without an error: only where the failure never came, or came at the close. */
    _exit(shim_failures == 0 ? 0 : 1);
}

static void test_each_failure(void **state)
{
    int failed = 0;
    for (int at = 1;; at += 1 + at / 24) {
        char url[640];
        snprintf(url, sizeof url, "sqlite:%s/%d/db", (const char *)*state, at);
        struct stream st;
        stream_init(&st, url);
        st.batches = 12;
        st.fail_at = at;
        char text[2048];
        int status = child_run(shimmed_body, &st, text, sizeof text);
        assert_true(WIFEXITED(status));
        uint64_t reported = atomic_load(st.committed);
        if (WEXITSTATUS(status) != STORE_EXIT_IO) {
            assert_int_equal(reported, st.batches); /* all committed: it failed in the close */
            stream_fini(&st);
            break;
        }
        failed++;
        assert_true(text[0] != '\0');
        uint64_t batches = stream_check(&st);
        assert_true(batches <= reported + 6);
        stream_fini(&st);
    }
    print_message("%d failures\n", failed);
    assert_true(failed > 40);
}

/* One commit so large that the log is moved into the database file behind it. */
static void checkpoint_body(void *arg)
{
    struct stream *st = arg;
    shim_install(st);
    struct rng rng = {3};
    struct store *s = store_must_open(st->url);
    struct record r[18] = {record_queue(1, "q")};
    for (uint64_t id = 1; id < ARRAY_SIZE(r); id++)
        r[id] = record_add(id, 1, make_template(&rng, 0), make_blob(&rng, 1 << 20));
    store_commit_wait(s, r, ARRAY_SIZE(r), NULL);
    atomic_store(st->committed, 1);
    r[0] = record_queue(2, "r");
    store_commit_wait(s, r, 1, NULL);
    atomic_store(st->committed, 2);
    store_close(&s);
}

static void test_checkpoint_failure(void **state)
{
    static const int at[] = {4, 5, 100, 2000, 4300};
    for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
        char url[640];
        snprintf(url, sizeof url, "sqlite:%s/%zu/db", (const char *)*state, i);
        struct stream st;
        stream_init(&st, url);
        st.fail_at = at[i];
        st.is_log_spared = true;
        char text[2048];
        int status = child_run(checkpoint_body, &st, text, sizeof text);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), STORE_EXIT_IO);
        assert_non_null(strstr(text, "checkpoint"));
        /* The commit before it was reported, or was about to be; that behind it never. */
        assert_true(atomic_load(st.committed) <= 1);
        struct stored stored = {0};
        struct store_loader loader = stored_loader;
        loader.user = &stored;
        struct error e = {0};
        struct store *s = store_must_open(url);
        assert_int_equal(store_load(s, &loader, &e), 0);
        assert_int_equal(stored.jobs, 17);
        store_close(&s);
        stream_fini(&st);
    }
}

/* --- damage --- */

static void raw_exec(const char *path, const char *sql)
{
    sqlite3 *raw = NULL;
    char *text = NULL;
    assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
    if (sqlite3_exec(raw, sql, NULL, NULL, &text) != SQLITE_OK)
        fail_msg("%s: %s", sql, text);
    assert_true(sqlite3_total_changes(raw) > 0 || strncmp(sql, "UPDATE", 6) != 0);
    sqlite3_close(raw);
}

/* Jobs 1 (small, finished), 2 (large, finished), 3 (large), 4 (leased), 5 (retried). */
static void damage_fill(const char *url)
{
    struct rng rng = {5};
    struct store *s = store_must_open(url);
    struct record r[] = {
        record_queue(1, "default"),
        record_add(1, 1, make_template(&rng, 20), make_blob(&rng, 50)),
        record_add(2, 1, make_template(&rng, 20), make_blob(&rng, 5000)),
        record_add(3, 1, make_template(&rng, 2000), make_blob(&rng, 5000)),
        record_add(4, 1, make_template(&rng, 0), NULL),
        record_add(5, 1, make_template(&rng, 0), blob_new("the needle in the haystack", 26)),
        record_lease(4, 1, 44),
        record_lease(5, 1, 55),
        {.type = RECORD_REQUEUE, .job = 5},
        record_finish(1, 1, JOB_FAILED),
        record_finish(2, 2, JOB_SUCCEEDED),
        {.type = RECORD_CLIENT},
    };
    r[8].requeue.has_ended = true;
    r[8].requeue.ended.number = 1;
    r[10].finish->stdout_data = make_blob(&rng, 5000);
    r[11].client.client = 77;
    r[11].client.sequence = 1;
    store_commit_wait(s, r, ARRAY_SIZE(r), NULL);
    store_close(&s);
}

/* Everything that reads: load, each job by id, LIST, SINCE. Exits as main does. */
static void read_body(void *arg)
{
    struct error e = {0};
    struct store *s = NULL;
    struct stored stored;
    struct store_loader loader = stored_loader;
    loader.user = &stored;
    if (store_open(arg, &s, &e) != 0 || store_load(s, &loader, &e) != 0) {
        fprintf(stderr, "%s\n", e.text);
        _exit(e.status);
    }
    struct query_answer a;
    for (uint64_t id = 1; id <= 5; id++) {
        struct query q = {.type = QUERY_JOB, .id = id, .with_payload = true, .with_output = true};
        store_ask(s, &q, &a);
        query_answer_fini(&a);
    }
    struct query list = {.type = QUERY_LIST, .limit = 100};
    store_ask(s, &list, &a);
    query_answer_fini(&a);
    struct query since = {.type = QUERY_SINCE, .limit = 100, .range_count = 1};
    since.ranges = mem_zalloc(sizeof since.ranges[0]);
    since.ranges[0] = (struct id_range){1, 1000000};
    store_ask(s, &since, &a);
    query_answer_fini(&a);
    store_close(&s);
}

static void test_damage(void **state)
{
    static const struct {
        const char *sql;
        const char *named;
    } cases[] = {
        {"UPDATE meta SET next_job_id=3", "table meta, row 1"},
        {"DELETE FROM meta", "table meta, row 1"},
        {"UPDATE queue SET name='other'", "table queue, row 1"},
        {"UPDATE client SET at_ms=at_ms+1", "table client, row 77"},
        {"UPDATE job SET queue=2 WHERE id=3", "table job, row 3"},
        {"UPDATE job SET name='x' WHERE id=4", "table job, row 4"},
        {"UPDATE job SET lease=45 WHERE id=4", "table job, row 4"},
        {"UPDATE job SET state=1 WHERE id=4", "table job, row 4"},
        {"UPDATE job SET payload=NULL WHERE id=5", "table job, row 5"},
        {"UPDATE job SET id=6 WHERE id=5", "table job, row 6"},
        {"UPDATE job SET retries=retries+1,fixed_sum=fixed_sum+1 WHERE id=5", "table job, row 5"},
        {"DELETE FROM job WHERE id=4", "table job"},
        {"UPDATE body SET data=zeroblob(5000) WHERE key=3<<8", "table body, row 768"},
        {"UPDATE body SET data=zeroblob(2000) WHERE key=(3<<8)+(3<<6)", "table body, row 960"},
        {"DELETE FROM body WHERE key=2<<8", "table body, row 512"},
        {"DELETE FROM body WHERE key=(2<<8)+(1<<6)", "table body, row 576"},
        {"UPDATE history SET outcome=5", "table history, row 5"},
        {"UPDATE done SET exit_code=0 WHERE number=1", "table done, row 1"},
        {"UPDATE done SET number=9 WHERE number=1", "table done, row 9"},
        {"UPDATE done SET id=9 WHERE number=1", "table done"},
        {"UPDATE done SET state=3 WHERE number=1", "table done, row 1"},
        {"UPDATE done SET reason='because!' WHERE number=2", "table done, row 2"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char url[640];
        snprintf(url, sizeof url, "sqlite:%s/%zu.db", (const char *)*state, i);
        damage_fill(url);
        raw_exec(url + strlen("sqlite:"), cases[i].sql);
        char text[2048];
        int status = child_run(read_body, url, text, sizeof text);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != STORE_EXIT_DAMAGED ||
            strstr(text, cases[i].named) == NULL)
            fail_msg("%s: status %d, \"%s\"", cases[i].sql, status, text);
    }
}

/* A row whose changing part is damaged is not made whole again by the next change. */
static void lease_body(void *arg)
{
    struct error e = {0};
    struct store *s = NULL;
    if (store_open(arg, &s, &e) != 0)
        _exit(e.status);
    struct record r = record_lease(5, 2, 56);
    store_commit_wait(s, &r, 1, NULL);
    store_close(&s);
}

static void test_damage_before_change(void **state)
{
    damage_fill(scratch_url(state));
    raw_exec(scratch_path(state), "UPDATE job SET crashes=2 WHERE id=5");
    char url[640];
    char text[2048];
    snprintf(url, sizeof url, "%s", scratch_url(state));
    int status = child_run(lease_body, url, text, sizeof text);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), STORE_EXIT_DAMAGED);
    assert_non_null(strstr(text, "table job, row 5"));
}

static size_t file_read(const char *path, uint8_t *to, size_t size)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, to, size);
    close(fd);
    assert_true(n > 0 && (size_t)n < size);
    return (size_t)n;
}

static void file_write(const char *path, const uint8_t *from, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, from, size), size);
    close(fd);
}

/* One byte of the file itself. */
static void test_damage_of_a_byte(void **state)
{
    static uint8_t bytes[1 << 20];
    char url[640];
    snprintf(url, sizeof url, "%s", scratch_url(state));
    damage_fill(url);
    size_t size = file_read(scratch_path(state), bytes, sizeof bytes);
    uint8_t *at = memmem(bytes, size, "haystack", 8);
    assert_non_null(at);
    *at ^= 1;
    file_write(scratch_path(state), bytes, size);
    char text[2048];
    int status = child_run(read_body, url, text, sizeof text);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), STORE_EXIT_DAMAGED);
    assert_non_null(strstr(text, "table job, row 5"));
}

/* Any byte of it: found, or without effect; never a crash, never other content. */
static void load_body(void *arg)
{
    struct model m;
    model_init(&m);
    struct error e = {0};
    struct store *s = NULL;
    struct stored stored = {0};
    struct store_loader loader = stored_loader;
    loader.user = &stored;
    if (store_open(arg, &s, &e) != 0 || store_load(s, &loader, &e) != 0)
        _exit(e.status);
    store_close(&s);
    _exit(stored.jobs == 5 ? 0 : 1);
}

static void test_damage_anywhere(void **state)
{
    static uint8_t bytes[1 << 20];
    char url[640];
    snprintf(url, sizeof url, "%s", scratch_url(state));
    damage_fill(url);
    size_t size = file_read(scratch_path(state), bytes, sizeof bytes);
    struct rng rng = {11};
    int found = 0;
    for (int i = 0; i < 150; i++) {
        /* Half of them where the first page has the schema's head. */
        size_t at = rng_below(&rng, i % 2 ? size : 100);
        uint8_t bit = (uint8_t)(1U << rng_below(&rng, 8));
        bytes[at] ^= bit;
        file_write(scratch_path(state), bytes, size);
        bytes[at] ^= bit;
        char text[2048];
        int status = child_run(load_body, url, text, sizeof text);
        if (!WIFEXITED(status) ||
            (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != STORE_EXIT_DAMAGED &&
             WEXITSTATUS(status) != STORE_EXIT_IO))
            fail_msg("byte %zu, bit %u: status %d: %s", at, bit, status, text);
        found += WEXITSTATUS(status) == STORE_EXIT_DAMAGED;
    }
    assert_true(found > 10);
}

/* --- not ours to open --- */

static void open_body(void *arg)
{
    struct error e = {0};
    struct store *s = NULL;
    if (store_open(arg, &s, &e) == 0)
        _exit(0);
    assert_null(s);
    fprintf(stderr, "%s\n", e.text);
    _exit(e.status);
}

static void open_must_fail(const char *url, int status, const char *says)
{
    char copy[640];
    char text[2048];
    snprintf(copy, sizeof copy, "%s", url);
    int got = child_run(open_body, copy, text, sizeof text);
    if (!WIFEXITED(got) || WEXITSTATUS(got) != status || strstr(text, says) == NULL)
        fail_msg("%s: status %d, \"%s\"", url, got, text);
}

static void test_held(void **state)
{
    struct store *s = store_must_open(scratch_url(state));
    open_must_fail(scratch_url(state), STORE_EXIT_HELD, "in use by another process");
    struct error e = {0};
    struct store *again = NULL;
    assert_int_equal(store_open(scratch_url(state), &again, &e), -1);
    assert_int_equal(e.status, STORE_EXIT_HELD);
    struct record r = record_queue(1, "q");
    store_commit_wait(s, &r, 1, NULL);
    open_must_fail(scratch_url(state), STORE_EXIT_HELD, "in use by another process");
    store_close(&s);
    s = store_must_open(scratch_url(state));
    store_close(&s);
}

static void test_versions(void **state)
{
    struct store *s = store_must_open(scratch_url(state));
    store_close(&s);
    raw_exec(scratch_path(state), "PRAGMA user_version=1000");
    open_must_fail(scratch_url(state), STORE_EXIT_DAMAGED, "newer");
    raw_exec(scratch_path(state), "PRAGMA user_version=1");
    s = store_must_open(scratch_url(state));
    store_close(&s);
}

static void test_not_a_store(void **state)
{
    char url[640];
    snprintf(url, sizeof url, "sqlite:%s/other.db", (const char *)*state);
    raw_exec(url + strlen("sqlite:"), "CREATE TABLE precious(x); INSERT INTO precious VALUES(1)");
    open_must_fail(url, STORE_EXIT_DAMAGED, "not a store");
    raw_exec(url + strlen("sqlite:"), "UPDATE precious SET x=2"); /* untouched */
    file_write(scratch_path(state), (const uint8_t *)"This is a letter, not a database.........",
               40);
    open_must_fail(scratch_url(state), STORE_EXIT_DAMAGED, "store.db");
    open_must_fail("postgres://x", STORE_EXIT_USAGE, "sqlite:PATH");
    open_must_fail("sqlite:", STORE_EXIT_USAGE, "sqlite:PATH");
    open_must_fail("sqlite:/proc/no/such/place", STORE_EXIT_IO, "/proc/no");
    snprintf(url, sizeof url, "sqlite:%s", (const char *)*state);
    open_must_fail(url, STORE_EXIT_IO, (const char *)*state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_full, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_each_failure, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_checkpoint_failure, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_damage, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_damage_before_change, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_damage_of_a_byte, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_damage_anywhere, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_held, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_versions, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_not_a_store, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
