/* SPDX-License-Identifier: MPL-2.0 */
/* worker_keeper.c - keepers against real processes: how jobs end, what is captured, and above all
 * that nothing of a job is left whoever is killed. Waiting is always for an event (the set's
 * descriptor, a pidfd), with a bound after which the test fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "worker/keeper/keeper.h"
#include "worker/keeper/tree.h"

#define BOUND_MS 20000
#define STREAM_BYTES_MAX ((size_t)16 * 1024 * 1024)

struct world {
    struct keeper_set *set;
    struct buf streamed[2];
};

static struct keeper_job shell_job(const char *const argv[3])
{
    return (struct keeper_job){.tag = 7,
                               .argv = argv,
                               .argc = 3,
                               .time_limit_ms = NEVER_MS,
                               .fence_boot_ms = NEVER_MS,
                               .output_limit_bytes = 1024 * 1024,
                               .stream = true};
}

static void world_open(struct world *w, size_t slots)
{
    struct error e = {0};
    w->set = keeper_set_start(slots, &e);
    if (w->set == NULL)
        fail_msg("%s", e.text);
    buf_init(&w->streamed[0], STREAM_BYTES_MAX);
    buf_init(&w->streamed[1], STREAM_BYTES_MAX);
}

static void world_close(struct world *w)
{
    keeper_set_free(&w->set);
    buf_fini(&w->streamed[0]);
    buf_fini(&w->streamed[1]);
    assert_int_equal(tree_signal(0, NULL, 0), 0); /* neither process nor zombie */
}

static bool next_event(struct world *w, struct keeper_event *event)
{
    uint64_t until = clock_mono_ms() + BOUND_MS;
    for (;;) {
        if (keeper_set_next(w->set, event) == 1)
            return true;
        uint64_t now = clock_mono_ms();
        struct pollfd p = {.fd = keeper_set_fd(w->set), .events = POLLIN};
        if (now >= until || poll(&p, 1, (int)(until - now)) == 0)
            return false;
    }
}

/* Takes output until something else comes. */
static struct keeper_event wait_end(struct world *w)
{
    struct keeper_event event;
    for (;;) {
        assert_true(next_event(w, &event));
        if (event.type != KEEPER_EVENT_OUTPUT)
            return event;
        assert_true(event.stream < 2);
        assert_int_equal(event.offset, w->streamed[event.stream].size);
        buf_add_view(&w->streamed[event.stream], event.bytes);
    }
}

/* Takes output until stdout has so many bytes. */
static void wait_output(struct world *w, size_t bytes)
{
    while (w->streamed[0].size < bytes) {
        struct keeper_event event;
        assert_true(next_event(w, &event));
        assert_int_equal(event.type, KEEPER_EVENT_OUTPUT);
        buf_add_view(&w->streamed[event.stream], event.bytes);
    }
}

static void spawn(struct world *w, const struct keeper_job *job)
{
    struct error e = {0};
    buf_reset(&w->streamed[0]);
    buf_reset(&w->streamed[1]);
    if (keeper_set_spawn(w->set, 0, job, &e) != 0)
        fail_msg("%s", e.text);
}

static struct keeper_event run(struct world *w, const struct keeper_job *job)
{
    spawn(w, job);
    struct keeper_event event = wait_end(w);
    assert_int_equal(event.type, KEEPER_EVENT_EXITED);
    assert_int_equal(event.tag, job->tag);
    return event;
}

static struct keeper_event run_shell(struct world *w, const char *script)
{
    const char *const argv[] = {"sh", "-c", script};
    struct keeper_job job = shell_job(argv);
    return run(w, &job);
}

static void check_output(const struct keeper_event *event, unsigned stream, const char *expected)
{
    struct view v = blob_view(event->exit.output[stream].data);
    if (!view_is(v, expected))
        fail_msg("stream %u is '%.*s', not '%s'", stream, VIEW_ARG(v), expected);
}

static int pidfd(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 && errno != ESRCH)
        fail_msg("pidfd_open: %s", strerror(errno));
    return fd;
}

/* Waits for the end of a process that need not be our child. */
static void wait_gone(int *fd)
{
    if (*fd < 0)
        return;
    struct pollfd p = {.fd = *fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, BOUND_MS), 1);
    close(*fd);
    *fd = -1;
}

/* Job scripts print "PID " for each of their processes; the numbers in the order of printing. */
static size_t parse_pids(struct buf *text, pid_t *pids, size_t max)
{
    size_t n = 0;
    char *at = mem_strdup(buf_cstr(text));
    char *save = NULL;
    for (char *s = strtok_r(at, " \n", &save); s != NULL && n < max;
         s = strtok_r(NULL, " \n", &save))
        pids[n++] = (pid_t)strtol(s, NULL, 10);
    free(at);
    return n;
}

/* ---- how jobs end ---- */

static void exit_codes_and_signals(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct keeper_event e = run_shell(&w, "echo out; echo err >&2; exit 3");
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_EXITED);
    assert_int_equal(e.exit.exit_code, 3);
    assert_int_equal(e.exit.signal, 0);
    check_output(&e, 0, "out\n");
    check_output(&e, 1, "err\n");
    keeper_event_fini(&e);
    e = run_shell(&w, "true");
    assert_int_equal(e.exit.exit_code, 0);
    assert_null(e.exit.output[0].data);
    keeper_event_fini(&e);
    e = run_shell(&w, "kill -SEGV $$");
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_EXITED);
    assert_int_equal(e.exit.signal, SIGSEGV);
    assert_int_equal(e.exit.exit_code, -1);
    keeper_event_fini(&e);
    e = run_shell(&w, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
    assert_true(e.exit.user_cpu_ms + e.exit.system_cpu_ms <= e.exit.run_ms + 100);
    assert_true(e.exit.max_rss_kib > 0);
    keeper_event_fini(&e);
    world_close(&w);
}

static void what_cannot_be_executed(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    const char *argv[] = {"no-such-program-here", NULL, NULL};
    struct keeper_job job = shell_job(argv);
    job.argc = 1;
    struct keeper_event e = run(&w, &job);
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_NOT_STARTED);
    assert_int_equal(e.exit.exit_code, 127);
    assert_non_null(strstr(e.exit.reason, "no-such-program-here"));
    argv[0] = "/etc/passwd";
    e = run(&w, &job);
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_NOT_STARTED);
    assert_int_equal(e.exit.exit_code, 126);
    argv[0] = "/no/such/path";
    e = run(&w, &job);
    assert_int_equal(e.exit.exit_code, 127);
    argv[0] = "";
    e = run(&w, &job);
    assert_int_equal(e.exit.exit_code, 127);
    argv[0] = "true";
    job.cwd = "/no/such/directory";
    e = run(&w, &job);
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_NOT_STARTED);
    assert_int_equal(e.exit.exit_code, 126);
    assert_non_null(strstr(e.exit.reason, "/no/such/directory"));
    job.cwd = "/";
    job.stdout_file = "/no/such/directory/out";
    e = run(&w, &job);
    assert_int_equal(e.exit.exit_code, 126);
    assert_non_null(strstr(e.exit.reason, "/no/such/directory/out"));
    job.stdout_file = NULL;
    e = run(&w, &job);
    assert_int_equal(e.exit.exit_code, 0);
    world_close(&w);
}

static void directory_environment_and_descriptors(void **state)
{
    (void)state;
    struct world w;
    setenv("STINT_TEST_SECRET", "s", 1);
    setenv("LC_TIME", "C", 1);
    setenv("NOTIFY_SOCKET", "/x", 1);
    world_open(&w, 1);
    static const char script[] = "pwd; echo \"${STINT_TEST_SECRET-unset} $LC_TIME $A $B\"; "
                                 "ls /proc/self/fd | tr '\\n' ' '; ls -l /proc/self/fd/0 | "
                                 "grep -c /dev/null";
    const char *const argv[] = {"sh", "-c", script};
    const char *const env[] = {"A=1", "B=x", "B=2"};
    struct keeper_job job = shell_job(argv);
    job.env = env;
    job.env_count = 3;
    job.cwd = "/usr";
    struct keeper_event e = run(&w, &job);
    check_output(&e, 0, "/usr\nunset C 1 2\n0 1 2 3 1\n"); /* 3 is ls's own */
    keeper_event_fini(&e);
    const char *const again[] = {"sh", "-c", "echo \"$STINT_TEST_SECRET ${NOTIFY_SOCKET-unset}\""};
    job = shell_job(again);
    job.environment = KEEPER_ENVIRONMENT_WHOLE;
    e = run(&w, &job);
    check_output(&e, 0, "s unset\n");
    keeper_event_fini(&e);
    unsetenv("STINT_TEST_SECRET");
    world_close(&w);
}

static void signals_are_reset(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct keeper_event e =
        run_shell(&w, "grep -E '^Sig(Blk|Ign)' /proc/self/status | tr -s '\\t' ' '");
    check_output(&e, 0, "SigBlk: 0000000000000000\nSigIgn: 0000000000000000\n");
    keeper_event_fini(&e);
    world_close(&w);
}

/* ---- input and output ---- */

static void input_of_a_mebibyte(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    size_t size = 1024 * 1024;
    uint8_t *input = mem_alloc(size);
    for (size_t i = 0; i < size; i++)
        input[i] = (uint8_t)(i * 31 + i / 251);
    const char *const argv[] = {"cat", NULL, NULL};
    struct keeper_job job = shell_job(argv);
    job.argc = 1;
    job.input = view_of(input, size);
    struct keeper_event e = run(&w, &job);
    assert_true(view_eq(blob_view(e.exit.output[0].data), job.input));
    assert_false(e.exit.output[0].truncated);
    keeper_event_fini(&e);
    /* A job that reads nothing of it ends all the same. */
    const char *const lazy[] = {"true", NULL, NULL};
    job.argv = lazy;
    e = run(&w, &job);
    assert_int_equal(e.exit.exit_code, 0);
    keeper_event_fini(&e);
    free(input);
    world_close(&w);
}

/* 5 MiB where byte i is decided by i: kept are the first and last half MiB, all is streamed. */
static void output_head_and_tail(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct keeper_event e = run_shell(&w, "seq -f %015.0f 0 327679");
    struct keeper_output *out = &e.exit.output[0];
    size_t total = (size_t)5 * 1024 * 1024;
    size_t half = 512 * 1024;
    assert_int_equal(out->total_bytes, total);
    assert_true(out->truncated);
    assert_int_equal(out->head_bytes, half);
    assert_int_equal(blob_size(out->data), 2 * half);
    assert_int_equal(w.streamed[0].size, total);
    assert_int_equal(out->streamed_bytes, total);
    assert_memory_equal(w.streamed[0].data + total - 16, "000000000327679\n", 16);
    assert_memory_equal(out->data->data, w.streamed[0].data, half);
    assert_memory_equal(out->data->data + half, w.streamed[0].data + total - half, half);
    keeper_event_fini(&e);
    world_close(&w);
}

static void binary_output_and_no_stream(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    const char *const argv[] = {"sh", "-c", "printf 'a\\000b\\377'; printf '\\000' >&2"};
    struct keeper_job job = shell_job(argv);
    job.stream = false;
    struct keeper_event e = run(&w, &job);
    assert_true(view_eq(blob_view(e.exit.output[0].data), view_of("a\0b\377", 4)));
    assert_true(view_eq(blob_view(e.exit.output[1].data), view_of("", 1)));
    assert_int_equal(w.streamed[0].size, 0);
    assert_int_equal(e.exit.output[0].streamed_bytes, 0);
    keeper_event_fini(&e);
    world_close(&w);
}

/* Output comes while the job runs: the job waits for a FIFO that is written once it was seen. */
static void output_is_live(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    char directory[] = "/tmp/stint-test-XXXXXX";
    char fifo[64];
    char script[128];
    assert_non_null(mkdtemp(directory));
    snprintf(fifo, sizeof fifo, "%s/fifo", directory);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    snprintf(script, sizeof script, "echo first; read x < %s; echo $x", fifo);
    const char *const argv[] = {"sh", "-c", script};
    struct keeper_job job = shell_job(argv);
    spawn(&w, &job);
    wait_output(&w, 6);
    assert_string_equal(buf_cstr(&w.streamed[0]), "first\n");
    int fd = open(fifo, O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, "second\n", 7), 7);
    close(fd);
    struct keeper_event e = wait_end(&w);
    assert_int_equal(e.type, KEEPER_EVENT_EXITED);
    check_output(&e, 0, "first\nsecond\n");
    keeper_event_fini(&e);
    unlink(fifo);
    rmdir(directory);
    world_close(&w);
}

static void output_to_files(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    char directory[] = "/tmp/stint-test-XXXXXX";
    assert_non_null(mkdtemp(directory));
    const char *const argv[] = {"sh", "-c", "echo out; echo err >&2"};
    struct keeper_job job = shell_job(argv);
    job.cwd = directory;
    job.stdout_file = "both";
    job.stderr_file = "both";
    struct keeper_event e = run(&w, &job);
    assert_int_equal(e.exit.exit_code, 0);
    assert_null(e.exit.output[0].data);
    char path[64];
    char text[32] = "";
    snprintf(path, sizeof path, "%s/both", directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, text, sizeof text - 1), 8);
    assert_string_equal(text, "out\nerr\n");
    close(fd);
    unlink(path);
    rmdir(directory);
    world_close(&w);
}

/* The daemon takes no events: the job is slowed down, the deadline is served all the same. */
static void a_daemon_that_does_not_listen(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    const char *const argv[] = {"sh", "-c", "echo $$; exec yes"};
    struct keeper_job job = shell_job(argv);
    job.time_limit_ms = 300;
    job.grace_ms = 100;
    spawn(&w, &job);
    wait_output(&w, 10);
    pid_t pid = 0;
    assert_int_equal(parse_pids(&w.streamed[0], &pid, 1), 1);
    int fd = pidfd(pid);
    wait_gone(&fd);
    struct keeper_event e = wait_end(&w);
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_TIME_LIMIT);
    assert_int_equal(e.exit.output[0].streamed_bytes, w.streamed[0].size);
    assert_true(w.streamed[0].size < STREAM_BYTES_MAX);
    keeper_event_fini(&e);
    world_close(&w);
}

/* ---- what a job leaves behind ---- */

static void grandchildren_are_killed(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    /* Each of the three holds the pipe; none may hold the slot. */
    struct keeper_event e =
        run_shell(&w, "sleep 1000 & setsid sleep 1000 & (setsid sleep 1000 &) ; "
                      "echo $$; exit 4");
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_EXITED);
    assert_int_equal(e.exit.exit_code, 4);
    keeper_event_fini(&e);
    assert_int_equal(tree_signal(0, NULL, 0), 2); /* the nursery and one keeper */
    world_close(&w);
}

/* Starts a family that is deaf to TERM (the job itself, a child, a setsid child and a daemon that
 * forked twice; each prints its number) and returns pidfds of everything below the keeper that it
 * printed. */
static size_t start_family(struct world *w, int *fds, size_t max)
{
    static const char script[] =
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1000; done' & "
        "setsid sh -c 'echo $$; while :; do sleep 1000; done' & "
        "(setsid sh -c 'echo $$; while :; do sleep 1000; done' &) ; "
        "echo $$; while :; do sleep 1000; done";
    const char *const argv[] = {"sh", "-c", script};
    struct keeper_job job = shell_job(argv);
    pid_t pids[8];
    spawn(w, &job);
    size_t n = 0;
    for (size_t lines = 0; lines < 4;) {
        wait_output(w, w->streamed[0].size + 1);
        lines = 0;
        for (size_t i = 0; i < w->streamed[0].size; i++)
            lines += w->streamed[0].data[i] == '\n';
    }
    n = parse_pids(&w->streamed[0], pids, ARRAY_SIZE(pids));
    assert_int_equal(n, 4);
    assert_true(n <= max);
    for (size_t i = 0; i < n; i++) {
        fds[i] = pidfd(pids[i]);
        assert_true(fds[i] >= 0);
    }
    return n;
}

static void assert_gone(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct pollfd p = {.fd = fds[i], .events = POLLIN};
        assert_int_equal(poll(&p, 1, 0), 1);
        close(fds[i]);
    }
}

static void stop_reaches_all(void **state)
{
    (void)state;
    static const enum keeper_cause causes[] = {KEEPER_CAUSE_CANCELLED, KEEPER_CAUSE_RELEASED};
    struct world w;
    world_open(&w, 1);
    for (size_t i = 0; i < ARRAY_SIZE(causes); i++) {
        int fds[8];
        size_t n = start_family(&w, fds, ARRAY_SIZE(fds));
        uint64_t before = clock_mono_ms();
        keeper_set_stop(w.set, 0, causes[i], 150);
        struct keeper_event e = wait_end(&w);
        assert_int_equal(e.type, KEEPER_EVENT_EXITED);
        assert_int_equal(e.exit.cause, causes[i]);
        assert_int_equal(e.exit.signal, SIGKILL);
        assert_true(clock_mono_ms() - before >= 149);
        assert_gone(fds, n); /* before the end was reported */
        keeper_event_fini(&e);
    }
    world_close(&w);
}

static void a_harder_stop_wins(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    int fds[8];
    size_t n = start_family(&w, fds, ARRAY_SIZE(fds));
    keeper_set_stop(w.set, 0, KEEPER_CAUSE_CANCELLED, 3600 * 1000);
    keeper_set_stop(w.set, 0, KEEPER_CAUSE_RELEASED, 0);
    struct keeper_event e = wait_end(&w);
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_CANCELLED);
    assert_gone(fds, n);
    keeper_event_fini(&e);
    world_close(&w);
}

static void term_is_enough_for_the_polite(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    static const char script[] = "trap 'echo bye; exit 5' TERM; echo ready; while :; do "
                                 "sleep 1000 & wait $!; done";
    const char *const argv[] = {"sh", "-c", script};
    struct keeper_job job = shell_job(argv);
    spawn(&w, &job);
    wait_output(&w, 6);
    keeper_set_stop(w.set, 0, KEEPER_CAUSE_CANCELLED, 3600 * 1000);
    struct keeper_event e = wait_end(&w);
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_CANCELLED);
    assert_int_equal(e.exit.exit_code, 5);
    check_output(&e, 0, "ready\nbye\n");
    keeper_event_fini(&e);
    world_close(&w);
}

static void time_limit_kills_the_deaf(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    const char *const argv[] = {"sh", "-c", "trap '' TERM; echo x; while :; do sleep 1000; done"};
    struct keeper_job job = shell_job(argv);
    job.time_limit_ms = 100;
    job.grace_ms = 100;
    struct keeper_event e = run(&w, &job);
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_TIME_LIMIT);
    assert_int_equal(e.exit.signal, SIGKILL);
    assert_true(e.exit.run_ms >= 200);
    check_output(&e, 0, "x\n");
    keeper_event_fini(&e);
    world_close(&w);
}

static void fence_kills_at_once(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    const char *const argv[] = {"sleep", "1000", NULL};
    struct keeper_job job = shell_job(argv);
    job.argc = 2;
    job.fence_boot_ms = clock_boot_ms() + 100;
    struct keeper_event e = run(&w, &job);
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_FENCED);
    assert_int_equal(e.exit.signal, SIGKILL);
    assert_true(clock_boot_ms() >= job.fence_boot_ms);
    keeper_event_fini(&e);
    /* Moved forward it does not fire; moved into the past it does, in spite of a grace. */
    job.fence_boot_ms = clock_boot_ms() + 3600 * 1000;
    spawn(&w, &job);
    keeper_set_stop(w.set, 0, KEEPER_CAUSE_CANCELLED, 0);
    e = wait_end(&w);
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_CANCELLED);
    keeper_event_fini(&e);
    int fds[8];
    size_t n = start_family(&w, fds, ARRAY_SIZE(fds));
    keeper_set_stop(w.set, 0, KEEPER_CAUSE_CANCELLED, 3600 * 1000);
    keeper_set_fence(w.set, 0, clock_boot_ms());
    e = wait_end(&w);
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_FENCED);
    assert_gone(fds, n);
    keeper_event_fini(&e);
    world_close(&w);
}

/* A job that forks as fast as it can from processes that end at once. */
static void a_runaway_is_caught(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    const char *const argv[] = {"sh", "-c", "f() { echo x; (f &) ; }; f; f; while :; do :; done"};
    struct keeper_job job = shell_job(argv);
    spawn(&w, &job);
    wait_output(&w, 100);
    keeper_set_stop(w.set, 0, KEEPER_CAUSE_CANCELLED, 0);
    struct keeper_event e = wait_end(&w);
    assert_int_equal(e.exit.cause, KEEPER_CAUSE_CANCELLED);
    keeper_event_fini(&e);
    world_close(&w);
}

/* ---- who is killed ---- */

static void kill_of_a_keeper(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 2);
    for (int round = 0; round < 3; round++) {
        int fds[8];
        size_t n = start_family(&w, fds, ARRAY_SIZE(fds));
        kill(keeper_set_keeper_pid(w.set, 0), SIGKILL);
        struct keeper_event e = wait_end(&w);
        assert_int_equal(e.type, KEEPER_EVENT_LOST);
        assert_int_equal(e.slot, 0);
        assert_true(e.was_busy);
        assert_int_equal(e.tag, 7);
        assert_gone(fds, n);
    }
    struct keeper_event e = run_shell(&w, "echo again");
    check_output(&e, 0, "again\n");
    keeper_event_fini(&e);
    world_close(&w);
}

static void kill_of_the_nursery(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    int fds[8];
    size_t n = start_family(&w, fds, ARRAY_SIZE(fds));
    kill(keeper_set_nursery_pid(w.set), SIGKILL);
    struct keeper_event e = wait_end(&w);
    assert_int_equal(e.type, KEEPER_EVENT_NURSERY_LOST);
    kill(keeper_set_keeper_pid(w.set, 0), SIGKILL); /* now all hang below this process */
    keeper_set_free(&w.set);
    assert_gone(fds, n);
    world_close(&w);
}

/* A daemon of its own runs the family and passes on what the job printed; it is killed. */
static void daemon_main(int out)
{
    struct world w;
    int fds[8];
    world_open(&w, 2);
    size_t n = start_family(&w, fds, ARRAY_SIZE(fds));
    char line[64];
    int size = snprintf(line, sizeof line, "%d %d ", (int)keeper_set_nursery_pid(w.set),
                        (int)keeper_set_keeper_pid(w.set, 0));
    if (n != 4 || write(out, line, (size_t)size) != size ||
        write(out, w.streamed[0].data, w.streamed[0].size) != (ssize_t)w.streamed[0].size)
        _exit(1);
    close(out);
    for (;;)
        pause();
}

static void kill_of_the_daemon(void **state)
{
    (void)state;
    for (int victims = 1; victims <= 3; victims++) {
        int out[2];
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        pid_t daemon = fork();
        if (daemon == 0)
            daemon_main(out[1]);
        close(out[1]);
        struct buf text;
        buf_init(&text, 4096);
        char bytes[512];
        for (ssize_t n; (n = read(out[0], bytes, sizeof bytes)) > 0;)
            buf_add(&text, bytes, (size_t)n);
        close(out[0]);
        pid_t pids[8];
        int fds[8];
        size_t n = parse_pids(&text, pids, ARRAY_SIZE(pids));
        assert_int_equal(n, 6);
        for (size_t i = 0; i < n; i++)
            assert_true((fds[i] = pidfd(pids[i])) >= 0);
        /* The daemon alone; together with the nursery; together with the keeper. */
        kill(daemon, SIGSTOP);
        if (victims >= 2)
            kill(pids[victims == 2 ? 0 : 1], SIGKILL);
        kill(daemon, SIGKILL);
        assert_int_equal(waitpid(daemon, NULL, 0), daemon);
        for (size_t i = 0; i < n; i++)
            wait_gone(&fds[i]);
        buf_fini(&text);
    }
    while (waitpid(-1, NULL, 0) > 0)
        continue;
}

/* ---- leaks ---- */

static size_t count_descriptors(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    size_t n = 0;
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static void nothing_leaks(void **state)
{
    (void)state;
    struct world w;
    size_t outside = count_descriptors(getpid());
    world_open(&w, 1);
    char input[100000];
    memset(input, 'x', sizeof input);
    size_t here = 0;
    size_t there = 0;
    for (int i = 0; i < 30; i++) {
        const char *const argv[] = {"sh", "-c", "cat; cat /dev/null >&2"};
        struct keeper_job job = shell_job(argv);
        job.input = view_of(input, i % 2 == 0 ? sizeof input : 10);
        struct keeper_event e = run(&w, &job);
        assert_int_equal(e.exit.output[0].total_bytes, job.input.size);
        keeper_event_fini(&e);
        if (i == 0) {
            here = count_descriptors(getpid());
            there = count_descriptors(keeper_set_keeper_pid(w.set, 0));
        }
        assert_int_equal(count_descriptors(getpid()), here);
        /* The keeper may still be about to close the two memfds of its report. */
        assert_true(count_descriptors(keeper_set_keeper_pid(w.set, 0)) <= there + 2);
    }
    world_close(&w);
    assert_int_equal(count_descriptors(getpid()), outside);
}

static void bounds(void **state)
{
    (void)state;
    struct error e = {0};
    assert_null(keeper_set_start(0, &e));
    assert_null(keeper_set_start(KEEPER_SLOTS_MAX + 1, &e));
    struct world w;
    world_open(&w, 1);
    const char *const argv[] = {"sleep", "1000", NULL};
    struct keeper_job job = shell_job(argv);
    job.argc = 2;
    spawn(&w, &job);
    assert_true(keeper_set_is_busy(w.set, 0));
    assert_int_equal(keeper_set_spawn(w.set, 0, &job, &e), -1); /* never two in a slot */
    keeper_set_stop(w.set, 0, KEEPER_CAUSE_RELEASED, 0);
    struct keeper_event event = wait_end(&w);
    assert_int_equal(event.exit.cause, KEEPER_CAUSE_RELEASED);
    keeper_event_fini(&event);
    assert_false(keeper_set_is_busy(w.set, 0));
    /* An argument list that is sent in a memfd, and one that the kernel refuses. */
    size_t big = 100000;
    char *text = mem_alloc(big * 2 + 1);
    memset(text, 'y', big * 2);
    text[big] = '\0';
    const char *const echo[] = {"echo", text, NULL};
    job.argv = echo;
    event = run(&w, &job);
    assert_int_equal(event.exit.output[0].total_bytes, big + 1);
    keeper_event_fini(&event);
    text[big] = 'y';
    text[big * 2] = '\0';
    event = run(&w, &job);
    assert_int_equal(event.exit.cause, KEEPER_CAUSE_NOT_STARTED);
    assert_int_equal(event.exit.exit_code, 126);
    keeper_event_fini(&event);
    free(text);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_codes_and_signals),
        cmocka_unit_test(what_cannot_be_executed),
        cmocka_unit_test(directory_environment_and_descriptors),
        cmocka_unit_test(signals_are_reset),
        cmocka_unit_test(input_of_a_mebibyte),
        cmocka_unit_test(output_head_and_tail),
        cmocka_unit_test(binary_output_and_no_stream),
        cmocka_unit_test(output_is_live),
        cmocka_unit_test(output_to_files),
        cmocka_unit_test(a_daemon_that_does_not_listen),
        cmocka_unit_test(grandchildren_are_killed),
        cmocka_unit_test(stop_reaches_all),
        cmocka_unit_test(a_harder_stop_wins),
        cmocka_unit_test(term_is_enough_for_the_polite),
        cmocka_unit_test(time_limit_kills_the_deaf),
        cmocka_unit_test(fence_kills_at_once),
        cmocka_unit_test(a_runaway_is_caught),
        cmocka_unit_test(kill_of_a_keeper),
        cmocka_unit_test(kill_of_the_nursery),
        cmocka_unit_test(kill_of_the_daemon),
        cmocka_unit_test(nothing_leaks),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
