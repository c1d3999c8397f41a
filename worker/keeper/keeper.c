/* SPDX-License-Identifier: MPL-2.0 */
/* keeper.c - the keeper process: one job at a time, one thread, one poll loop.
 *
 *   IDLE ──START──► RUNNING ──time limit, STOP with grace──► STOPPING ──grace over──► KILLING
 *     ▲                │  │                                      │                       │
 *     │                │  └──fence, STOP without grace, main process gone but others ────┤
 *     │                └────────main process gone, nobody else ──┴───────────────────────┤
 *     └──────────────EXITED is with the daemon────────────── REPORTING ◄──nobody left────┘
 *
 * "Nobody left" is waitpid's ECHILD: the keeper is a subreaper, so all descendants hang below its
 * children. In KILLING it walks the tree and kills until then; a process that cannot die (waiting
 * for a disk) keeps the slot busy, as it must. The deadlines are on CLOCK_BOOTTIME and are served
 * by a timerfd, so a suspended machine fences right after it wakes, whether or not the daemon
 * runs. When the daemon's socket closes the job is killed at once and the keeper ends.
 *
 * Output is read only while less than a chunk of the stream waits to be sent, so a daemon that
 * does not listen slows the job down and costs no memory. */
#include "worker/keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "worker/keeper/capture.h"
#include "worker/keeper/message.h"
#include "worker/keeper/packet.h"
#include "worker/keeper/process.h"
#include "worker/keeper/spawn.h"
#include "worker/keeper/tree.h"

/* Live output: the first bytes wait so long (a job that ends sooner costs no message of its own),
 * later ones at most so long; a full chunk goes at once. */
#define STREAM_FIRST_MS 20
#define STREAM_INTERVAL_MS 80
#define KILL_ROUND_FIRST_MS 5
#define KILL_ROUND_MAX_MS 200
/* Read at the end from a pipe that a stranger still holds open; pipes are at most 1 MiB. */
#define DRAIN_BYTES_MAX ((size_t)2 * 1024 * 1024)
#define PENDING_BYTES_MAX (DRAIN_BYTES_MAX + 4 * MESSAGE_CHUNK_BYTES_MAX)

extern char **environ;

enum state {
    STATE_IDLE,
    STATE_RUNNING,
    STATE_STOPPING,
    STATE_KILLING,
    STATE_REPORTING
};

struct stream {
    int fd; /* -1: closed, or written to a file */
    struct capture capture;
    struct buf pending; /* read, not yet sent as a chunk */
    uint64_t sent_bytes;
    uint64_t flush_at_ms; /* while something is pending */
    uint64_t last_sent_ms;
};

struct job {
    uint64_t tag;
    pid_t main_pid;
    bool main_is_reaped;
    bool is_alone; /* no child is left */
    int main_status;
    int error_fd; /* -1: executed, or read */
    struct spawn_failure failure;
    bool is_streamed;
    enum keeper_cause cause;
    uint64_t grace_ms;
    uint64_t started_ms;
    uint64_t limit_at_ms;
    uint64_t fence_at_ms;
    uint64_t kill_at_ms; /* STOPPING: end of the grace. KILLING: next round */
    uint64_t kill_round_ms;
    uint64_t user_cpu_us;
    uint64_t system_cpu_us;
    uint64_t max_rss_kib;
};

struct keeper {
    int socket;
    int signal_fd;
    int timer_fd;
    uint64_t timer_at_ms; /* what timer_fd is set to; NEVER_MS: off */
    enum state state;
    bool daemon_is_gone;
    uint64_t now_ms;
    struct job job;
    struct stream streams[2];
    uint8_t buffer[PACKET_BYTES_MAX];
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void keeper_signal(struct keeper *k, int signal_number)
{
    if (tree_signal(signal_number, NULL, 0) >= 0 || k->job.main_is_reaped)
        return;
    kill(k->job.main_pid, signal_number); /* no /proc here: what can be done without it */
    kill(-k->job.main_pid, signal_number);
}

static void keeper_kill(struct keeper *k)
{
    if (k->state != STATE_KILLING)
        k->job.kill_round_ms = KILL_ROUND_FIRST_MS;
    k->state = STATE_KILLING;
    keeper_signal(k, SIGKILL);
    k->job.kill_at_ms = k->now_ms + k->job.kill_round_ms;
    k->job.kill_round_ms = min_u64(k->job.kill_round_ms * 2, KILL_ROUND_MAX_MS);
}

/* Ends the job; called again only makes it harder. A fence replaces the cause: what the job was
 * about to be ended for no longer matters to anyone. */
static void keeper_end_job(struct keeper *k, enum keeper_cause cause, uint64_t grace_ms)
{
    if (k->state != STATE_RUNNING && k->state != STATE_STOPPING)
        return;
    if (k->job.cause == KEEPER_CAUSE_EXITED || cause == KEEPER_CAUSE_FENCED)
        k->job.cause = cause;
    if (grace_ms == 0) {
        keeper_kill(k);
        return;
    }
    uint64_t kill_at_ms = add_sat_u64(k->now_ms, grace_ms);
    if (k->state == STATE_RUNNING) {
        k->state = STATE_STOPPING;
        k->job.kill_at_ms = kill_at_ms;
        keeper_signal(k, SIGTERM);
    }
    k->job.kill_at_ms = min_u64(k->job.kill_at_ms, kill_at_ms);
}

/* ---- what comes from the daemon ---- */

/* The strings of a START as an array of pointers into them, each group closed by NULL. */
struct strings {
    char *bytes;
    char **argv;
    char **env;
    char *cwd;
    char *files[2];
};

static char *next_string(char **at, char *end)
{
    char *s = *at;
    char *nul = s < end ? memchr(s, '\0', (size_t)(end - s)) : NULL;
    if (nul == NULL)
        return NULL;
    *at = nul + 1;
    return s;
}

static bool strings_split(struct strings *s, const struct message_start *m)
{
    char *at = s->bytes;
    char *end = at + m->strings_bytes;
    bool ok = m->argc > 0;
    s->argv = mem_zalloc(sizeof *s->argv * ((size_t)m->argc + m->env_count + 1));
    s->env = s->argv + m->argc + 1;
    for (uint32_t i = 0; ok && i < m->argc; i++)
        ok = (s->argv[i] = next_string(&at, end)) != NULL;
    for (uint32_t i = 0; ok && i < m->env_count; i++)
        ok = (s->env[i] = next_string(&at, end)) != NULL;
    if (ok && (m->flags & MESSAGE_START_HAS_CWD) != 0)
        ok = (s->cwd = next_string(&at, end)) != NULL;
    if (ok && (m->flags & MESSAGE_START_HAS_STDOUT_FILE) != 0)
        ok = (s->files[0] = next_string(&at, end)) != NULL;
    if (ok && (m->flags & MESSAGE_START_HAS_STDERR_FILE) != 0)
        ok = (s->files[1] = next_string(&at, end)) != NULL;
    return ok && at == end;
}

static void keeper_spawn(struct keeper *k, const struct message_start *m, const struct strings *s,
                         int input_fd)
{
    struct job *j = &k->job;
    *j = (struct job){
        .tag = m->tag,
        .error_fd = -1,
        .is_streamed = (m->flags & MESSAGE_START_STREAM) != 0,
        .cause = KEEPER_CAUSE_EXITED,
        .grace_ms = m->grace_ms,
        .started_ms = k->now_ms,
        .limit_at_ms = add_sat_u64(k->now_ms, m->time_limit_ms),
        .fence_at_ms = m->fence_boot_ms,
    };
    char **envp =
        spawn_environment(environ, (enum keeper_environment)m->environment, s->env, m->env_count);
    struct spawn_request request = {.argv = s->argv,
                                    .envp = envp,
                                    .cwd = s->cwd,
                                    .files = {s->files[0], s->files[1]},
                                    .input_fd = input_fd};
    struct spawn_child child = {.pid = 0, .output_fds = {-1, -1}, .error_fd = -1};
    size_t limit = (size_t)min_u64(m->output_limit_bytes, KEEPER_OUTPUT_LIMIT_BYTES_MAX);
    k->state = STATE_RUNNING;
    if (spawn_start(&request, &child) != 0) {
        j->main_is_reaped = true;
        j->is_alone = true;
        j->failure.exit_code = 126;
        strncpy(j->failure.reason, strerror(errno), sizeof j->failure.reason - 1);
    }
    free(envp);
    j->main_pid = child.pid;
    j->error_fd = child.error_fd;
    for (size_t i = 0; i < 2; i++) {
        k->streams[i] = (struct stream){.fd = child.output_fds[i]};
        capture_init(&k->streams[i].capture, limit);
        buf_init(&k->streams[i].pending, PENDING_BYTES_MAX);
    }
}

/* false: not a message that our daemon sends. */
static bool keeper_start(struct keeper *k, size_t size, const int *fds, size_t fd_count)
{
    struct message_start m;
    if (size < sizeof m || k->state != STATE_IDLE)
        return false;
    memcpy(&m, k->buffer, sizeof m);
    bool has_input = (m.flags & MESSAGE_START_HAS_INPUT) != 0;
    bool in_fd = (m.flags & MESSAGE_START_STRINGS_IN_FD) != 0;
    size_t in_packet = in_fd ? 0 : m.strings_bytes;
    if (fd_count != (size_t)has_input + in_fd || size != sizeof m + in_packet ||
        m.strings_bytes > KEEPER_STRINGS_BYTES_MAX || m.argc > m.strings_bytes ||
        m.env_count > m.strings_bytes)
        return false;
    struct strings s = {.bytes = mem_alloc(m.strings_bytes)};
    bool ok = true;
    if (in_fd)
        ok = packet_memfd_read(fds[has_input], s.bytes, m.strings_bytes);
    else
        memcpy(s.bytes, k->buffer + sizeof m, m.strings_bytes);
    ok = ok && strings_split(&s, &m);
    if (ok)
        keeper_spawn(k, &m, &s, has_input ? fds[0] : -1);
    free(s.argv);
    free(s.bytes);
    return ok;
}

static bool keeper_handle(struct keeper *k, size_t size, const int *fds, size_t fd_count)
{
    uint32_t type = 0;
    if (size < sizeof type)
        return false;
    memcpy(&type, k->buffer, sizeof type);
    if (type == MESSAGE_START)
        return keeper_start(k, size, fds, fd_count);
    if (type == MESSAGE_STOP && size == sizeof(struct message_stop)) {
        struct message_stop m;
        memcpy(&m, k->buffer, sizeof m);
        if (m.tag == k->job.tag)
            keeper_end_job(k, (enum keeper_cause)m.cause, m.grace_ms);
        return true;
    }
    if (type == MESSAGE_FENCE && size == sizeof(struct message_fence)) {
        struct message_fence m;
        memcpy(&m, k->buffer, sizeof m);
        if (m.tag == k->job.tag)
            k->job.fence_at_ms = m.fence_boot_ms;
        return true;
    }
    return false;
}

static void keeper_hear(struct keeper *k)
{
    while (!k->daemon_is_gone) {
        int fds[PACKET_FDS_MAX];
        size_t fd_count = 0;
        ssize_t size = packet_recv(k->socket, k->buffer, sizeof k->buffer, fds, &fd_count);
        if (size == 0)
            return;
        if (size < 0 || !keeper_handle(k, (size_t)size, fds, fd_count))
            k->daemon_is_gone = true;
        for (size_t i = 0; i < fd_count; i++)
            close(fds[i]);
    }
}

/* ---- the job's processes and output ---- */

static void keeper_reap(struct keeper *k)
{
    struct job *j = &k->job;
    for (;;) {
        int status = 0;
        struct rusage usage;
        pid_t pid = wait4(-1, &status, WNOHANG, &usage);
        if (pid == 0)
            return;
        if (pid < 0) {
            j->is_alone = errno == ECHILD;
            return;
        }
        j->user_cpu_us +=
            (uint64_t)usage.ru_utime.tv_sec * 1000000 + (uint64_t)usage.ru_utime.tv_usec;
        j->system_cpu_us +=
            (uint64_t)usage.ru_stime.tv_sec * 1000000 + (uint64_t)usage.ru_stime.tv_usec;
        j->max_rss_kib = max_u64(j->max_rss_kib, (uint64_t)usage.ru_maxrss);
        if (pid == j->main_pid) {
            j->main_is_reaped = true;
            j->main_status = status;
        }
    }
}

static bool stream_wants_bytes(const struct stream *s)
{
    return s->fd >= 0 && s->pending.size < MESSAGE_CHUNK_BYTES_MAX;
}

/* Reads once. Returns the bytes read; 0: nothing there, or the stream is closed now. */
static size_t stream_read(struct keeper *k, struct stream *s)
{
    uint8_t *bytes = k->buffer;
    ssize_t n;
    do {
        n = read(s->fd, bytes, MESSAGE_CHUNK_BYTES_MAX);
    } while (n < 0 && errno == EINTR);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        close_fd(&s->fd);
    if (n <= 0)
        return 0;
    struct view v = view_of(bytes, (size_t)n);
    capture_add(&s->capture, v);
    if (k->job.is_streamed) {
        if (s->pending.size == 0)
            s->flush_at_ms =
                max_u64(k->now_ms + STREAM_FIRST_MS, s->last_sent_ms + STREAM_INTERVAL_MS);
        buf_add_view(&s->pending, v);
    }
    return (size_t)n;
}

static bool stream_is_due(const struct keeper *k, const struct stream *s)
{
    if (s->pending.size == 0)
        return false;
    return s->pending.size >= MESSAGE_CHUNK_BYTES_MAX || k->now_ms >= s->flush_at_ms ||
           k->state == STATE_REPORTING;
}

/* Sends what is due; false where the socket is full. */
static bool stream_send(struct keeper *k, unsigned index)
{
    struct stream *s = &k->streams[index];
    while (stream_is_due(k, s)) {
        size_t n = (size_t)min_u64(s->pending.size, MESSAGE_CHUNK_BYTES_MAX);
        struct message_output m = {
            .type = MESSAGE_OUTPUT, .stream = index, .tag = k->job.tag, .offset = s->sent_bytes};
        struct iovec parts[2] = {{.iov_base = &m, .iov_len = sizeof m},
                                 {.iov_base = s->pending.data, .iov_len = n}};
        int sent = packet_send(k->socket, parts, 2, NULL, 0);
        if (sent < 0)
            k->daemon_is_gone = true;
        if (sent <= 0)
            return false;
        buf_drop_front(&s->pending, n);
        s->sent_bytes += n;
        s->last_sent_ms = k->now_ms;
        s->flush_at_ms = k->now_ms + STREAM_INTERVAL_MS;
    }
    return true;
}

static void keeper_read_failure(struct keeper *k)
{
    struct spawn_failure failure;
    ssize_t n = read(k->job.error_fd, &failure, sizeof failure);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == (ssize_t)sizeof failure)
        k->job.failure = failure;
    close_fd(&k->job.error_fd);
}

/* ---- the end of a job ---- */

/* Nobody is left: take what is still in the pipes and go to REPORTING. */
static void keeper_finish(struct keeper *k)
{
    if (k->job.error_fd >= 0)
        keeper_read_failure(k);
    close_fd(&k->job.error_fd);
    for (size_t i = 0; i < 2; i++) {
        struct stream *s = &k->streams[i];
        size_t total = 0;
        while (s->fd >= 0 && total < DRAIN_BYTES_MAX) {
            size_t n = stream_read(k, s);
            if (n == 0)
                break;
            total += n;
        }
        close_fd(&s->fd);
        if (!capture_is_truncated(&s->capture))
            buf_reset(&s->pending); /* the report has it */
    }
    k->state = STATE_REPORTING;
}

static void keeper_fill_exit(const struct keeper *k, struct keeper_exit *x)
{
    const struct job *j = &k->job;
    *x = (struct keeper_exit){
        .cause = j->cause,
        .run_ms = k->now_ms - j->started_ms,
        .user_cpu_ms = j->user_cpu_us / 1000,
        .system_cpu_ms = j->system_cpu_us / 1000,
        .max_rss_kib = j->max_rss_kib,
    };
    if (j->failure.exit_code != 0) {
        x->cause = j->cause == KEEPER_CAUSE_EXITED ? KEEPER_CAUSE_NOT_STARTED : j->cause;
        x->exit_code = j->failure.exit_code;
        memcpy(x->reason, j->failure.reason, sizeof x->reason);
        x->reason[sizeof x->reason - 1] = '\0';
    } else if (WIFSIGNALED(j->main_status)) {
        x->exit_code = -1;
        x->signal = WTERMSIG(j->main_status);
    } else {
        x->exit_code = WEXITSTATUS(j->main_status);
    }
    for (size_t i = 0; i < 2; i++) {
        const struct stream *s = &k->streams[i];
        struct keeper_output *out = &x->output[i];
        out->total_bytes = s->capture.total_bytes;
        out->truncated = capture_is_truncated(&s->capture);
        out->head_bytes = out->truncated ? capture_head_bytes(&s->capture) : 0;
        out->streamed_bytes = s->sent_bytes;
    }
}

/* Sends EXITED: false where the socket is full now. */
static bool keeper_send_exit(struct keeper *k)
{
    struct view views[2][CAPTURE_VIEWS];
    struct message_exited m = {.type = MESSAGE_EXITED, .tag = k->job.tag};
    keeper_fill_exit(k, &m.exit);
    for (size_t i = 0; i < 2; i++) {
        capture_views(&k->streams[i].capture, views[i]);
        for (size_t v = 0; v < CAPTURE_VIEWS; v++)
            m.kept_bytes[i] += views[i][v].size;
    }
    int fds[2] = {-1, -1};
    struct iovec parts[1 + 2 * CAPTURE_VIEWS] = {{.iov_base = &m, .iov_len = sizeof m}};
    size_t part_count = 1;
    if (m.kept_bytes[0] + m.kept_bytes[1] > MESSAGE_INLINE_BYTES_MAX) {
        m.in_fds = 1;
        fds[0] = packet_memfd(views[0], CAPTURE_VIEWS);
        fds[1] = packet_memfd(views[1], CAPTURE_VIEWS);
        if (fds[0] < 0 || fds[1] < 0)
            _exit(70); /* no memory for what was promised: the daemon sees a lost keeper */
    } else {
        for (size_t i = 0; i < 2; i++)
            for (size_t v = 0; v < CAPTURE_VIEWS; v++)
                if (views[i][v].size > 0)
                    parts[part_count++] =
                        (struct iovec){.iov_base = k->streams[i].capture.data +
                                                   ((const uint8_t *)views[i][v].data -
                                                    k->streams[i].capture.data),
                                       .iov_len = views[i][v].size};
    }
    int sent = packet_send(k->socket, parts, part_count, fds, m.in_fds != 0 ? 2 : 0);
    close_fd(&fds[0]);
    close_fd(&fds[1]);
    if (sent < 0)
        k->daemon_is_gone = true;
    return sent > 0;
}

static void keeper_report(struct keeper *k)
{
    if (!stream_send(k, 0) || !stream_send(k, 1) || !keeper_send_exit(k))
        return;
    for (size_t i = 0; i < 2; i++) {
        capture_fini(&k->streams[i].capture);
        buf_fini(&k->streams[i].pending);
    }
    k->job = (struct job){.error_fd = -1};
    k->state = STATE_IDLE;
}

/* ---- the loop ---- */

static bool keeper_has_job(const struct keeper *k)
{
    return k->state == STATE_RUNNING || k->state == STATE_STOPPING || k->state == STATE_KILLING;
}

/* Serves the deadlines, then the end. */
static void keeper_decide(struct keeper *k)
{
    struct job *j = &k->job;
    if (!keeper_has_job(k))
        return;
    if (j->main_is_reaped && j->is_alone) {
        keeper_finish(k);
        return;
    }
    if (k->daemon_is_gone && k->state != STATE_KILLING)
        keeper_kill(k);
    else if (k->now_ms >= j->fence_at_ms && k->state != STATE_KILLING)
        keeper_end_job(k, KEEPER_CAUSE_FENCED, 0);
    else if (k->state == STATE_RUNNING && j->main_is_reaped)
        keeper_kill(k); /* it is over, what it left behind goes too */
    else if (k->state == STATE_RUNNING && k->now_ms >= j->limit_at_ms)
        keeper_end_job(k, KEEPER_CAUSE_TIME_LIMIT, j->grace_ms);
    else if (k->state != STATE_RUNNING && k->now_ms >= j->kill_at_ms)
        keeper_kill(k);
}

static void keeper_set_timer(struct keeper *k)
{
    uint64_t at = NEVER_MS;
    if (keeper_has_job(k)) {
        at = k->state == STATE_RUNNING ? k->job.limit_at_ms : k->job.kill_at_ms;
        if (k->state != STATE_KILLING)
            at = min_u64(at, k->job.fence_at_ms);
        for (size_t i = 0; i < 2; i++)
            if (k->streams[i].pending.size > 0 && !stream_is_due(k, &k->streams[i]))
                at = min_u64(at, k->streams[i].flush_at_ms);
    }
    if (at == k->timer_at_ms)
        return;
    k->timer_at_ms = at;
    struct itimerspec spec = {0};
    if (at != NEVER_MS) {
        uint64_t at_least_one = max_u64(at, 1); /* all zero would switch it off */
        spec.it_value.tv_sec = (time_t)min_u64(at_least_one / 1000, INT32_MAX);
        spec.it_value.tv_nsec = (long)(at_least_one % 1000) * 1000000;
    }
    timerfd_settime(k->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void keeper_wait(struct keeper *k)
{
    bool is_sending = k->state == STATE_REPORTING || stream_is_due(k, &k->streams[0]) ||
                      stream_is_due(k, &k->streams[1]);
    struct pollfd p[] = {
        {.fd = k->daemon_is_gone ? -1 : k->socket,
         .events = (short)(POLLIN | (is_sending ? POLLOUT : 0))},
        {.fd = k->signal_fd, .events = POLLIN},
        {.fd = k->timer_fd, .events = POLLIN},
        {.fd = k->job.error_fd, .events = POLLIN},
        {.fd = stream_wants_bytes(&k->streams[0]) ? k->streams[0].fd : -1, .events = POLLIN},
        {.fd = stream_wants_bytes(&k->streams[1]) ? k->streams[1].fd : -1, .events = POLLIN},
    };
    poll(p, ARRAY_SIZE(p), -1);
    k->now_ms = clock_boot_ms();
    if (p[2].revents != 0) {
        uint64_t expired;
        ssize_t n = read(k->timer_fd, &expired, sizeof expired);
        (void)n;
        k->timer_at_ms = NEVER_MS;
    }
    if (p[1].revents != 0)
        process_drain_signals(k->signal_fd);
    for (size_t i = 0; i < 2; i++)
        if (p[4 + i].revents != 0)
            stream_read(k, &k->streams[i]);
    if (p[3].revents != 0)
        keeper_read_failure(k);
}

static void keeper_greet(struct keeper *k)
{
    struct message_hello m = {.type = MESSAGE_HELLO, .pid = getpid()};
    struct iovec part = {.iov_base = &m, .iov_len = sizeof m};
    if (packet_send(k->socket, &part, 1, NULL, 0) != 1)
        _exit(0);
}

void keeper_main(int socket)
{
    struct keeper *k = mem_zalloc(sizeof *k);
    k->signal_fd = process_settle("stint-keeper", &socket);
    k->socket = socket;
    k->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    k->timer_at_ms = NEVER_MS;
    k->job.error_fd = -1;
    k->streams[0].fd = -1;
    k->streams[1].fd = -1;
    if (k->signal_fd < 0 || k->timer_fd < 0)
        _exit(70);
    keeper_greet(k);
    while (!k->daemon_is_gone || keeper_has_job(k)) {
        keeper_set_timer(k);
        keeper_wait(k);
        keeper_hear(k);
        if (keeper_has_job(k))
            keeper_reap(k);
        keeper_decide(k);
        if (k->state == STATE_REPORTING)
            keeper_report(k);
        else if (!k->daemon_is_gone && keeper_has_job(k) && stream_send(k, 0))
            stream_send(k, 1);
    }
    _exit(0);
}
