/* SPDX-License-Identifier: MPL-2.0 */
/* set.c - the daemon's side of keeper.h: all keepers of a worker behind one descriptor.
 *
 * A slot's keeper is made at the start and again, on demand, by the first spawn after it was lost;
 * so a machine on which keepers die at once does not loop. One epoll instance watches the keepers
 * and the nursery; each call of keeper_set_next takes one packet, and epoll's ready list is fair.
 */
#include "worker/keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "worker/keeper/message.h"
#include "worker/keeper/packet.h"
#include "worker/keeper/process.h"
#include "worker/keeper/tree.h"

#define FREE_WAIT_MS 10000
#define FREE_ROUND_MS 20
#define SPARE_DESCRIPTORS 256 /* for everything else in the daemon */
#define NURSERY_INDEX UINT64_MAX

enum slot_state {
    SLOT_EMPTY, /* no keeper: the next spawn asks for one */
    SLOT_LIVE,
    SLOT_DYING, /* its socket is closed; the nursery has not said CLEAN */
};

struct slot {
    enum slot_state state;
    int socket;
    uint32_t serial;
    pid_t pid;
    bool is_busy;
    uint64_t tag;
};

struct keeper_set {
    pid_t nursery_pid;
    int nursery_socket; /* -1: gone */
    int epoll_fd;
    uint32_t last_serial;
    size_t slot_count;
    struct slot *slots;
    uint8_t buffer[PACKET_BYTES_MAX];
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static bool set_watch(struct keeper_set *set, int fd, uint64_t index)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = index}};
    return epoll_ctl(set->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool nursery_tell(struct keeper_set *set, uint32_t type, uint32_t serial, const int *fd)
{
    struct message_nursery m = {.type = type, .serial = serial};
    struct iovec part = {.iov_base = &m, .iov_len = sizeof m};
    return packet_send(set->nursery_socket, &part, 1, fd, fd != NULL ? 1 : 0) == 1;
}

static bool slot_fill(struct keeper_set *set, size_t index)
{
    struct slot *slot = &set->slots[index];
    int pair[2];
    if (set->nursery_socket < 0 || packet_pair(pair) != 0)
        return false;
    uint32_t serial = ++set->last_serial;
    bool ok = set_watch(set, pair[0], index) && nursery_tell(set, MESSAGE_NEW, serial, &pair[1]);
    int saved = errno;
    close(pair[1]);
    if (!ok) {
        close(pair[0]);
        errno = saved;
        return false;
    }
    *slot = (struct slot){.state = SLOT_LIVE, .socket = pair[0], .serial = serial};
    return true;
}

/* Room for a socket to each keeper. The nursery was forked before, so jobs get the limit that the
 * worker was started with. */
static void descriptors_raise(size_t slot_count)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < slot_count + SPARE_DESCRIPTORS) {
        limit.rlim_cur = (rlim_t)min_u64(limit.rlim_max, slot_count + SPARE_DESCRIPTORS);
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Holds 0, 1 and 2, so that no socket of ours becomes a standard descriptor of a child. */
static bool standard_descriptors_hold(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

struct keeper_set *keeper_set_start(size_t slot_count, struct error *e)
{
    int pair[2];
    if (slot_count == 0 || slot_count > KEEPER_SLOTS_MAX) {
        error_set(e, EINVAL, "slots: 1 to %d", KEEPER_SLOTS_MAX);
        return NULL;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (!standard_descriptors_hold() || packet_pair(pair) != 0) {
        error_set_errno(e, errno, errno, "cannot start keepers");
        return NULL;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        nursery_main(pair[1]);
    }
    int saved = errno;
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        error_set_errno(e, saved, saved, "cannot start keepers: fork");
        return NULL;
    }
    descriptors_raise(slot_count);
    struct keeper_set *set = mem_zalloc(sizeof *set);
    set->nursery_pid = pid;
    set->nursery_socket = pair[0];
    set->slot_count = slot_count;
    set->slots = mem_zalloc(sizeof *set->slots * slot_count);
    for (size_t i = 0; i < slot_count; i++)
        set->slots[i].socket = -1;
    set->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    bool ok = set->epoll_fd >= 0 && set_watch(set, pair[0], NURSERY_INDEX);
    for (size_t i = 0; ok && i < slot_count; i++)
        ok = slot_fill(set, i) || errno == EAGAIN;
    if (!ok) {
        error_set_errno(e, errno, errno, "cannot start %zu keepers", slot_count);
        keeper_set_free(&set);
    }
    return set;
}

/* Waits a little for children to die; false once `until_ms` has passed. */
static bool free_wait(uint64_t until_ms)
{
    poll(NULL, 0, FREE_ROUND_MS);
    return clock_mono_ms() < until_ms;
}

void keeper_set_free(struct keeper_set **set)
{
    struct keeper_set *s = *set;
    *set = NULL;
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->slot_count; i++)
        close_fd(&s->slots[i].socket);
    /* Half-closed: the nursery ends as if it were closed, and its own end shows as end of file. */
    uint64_t until_ms = clock_mono_ms() + FREE_WAIT_MS;
    int nursery_end = s->nursery_socket;
    if (nursery_end >= 0) {
        shutdown(nursery_end, SHUT_WR);
        struct pollfd p = {.fd = nursery_end, .events = POLLIN};
        int fds[PACKET_FDS_MAX];
        size_t fd_count = 0;
        ssize_t size = 0;
        while (size >= 0 && poll(&p, 1, FREE_WAIT_MS) > 0)
            size = packet_recv(nursery_end, s->buffer, sizeof s->buffer, fds, &fd_count);
        close(nursery_end);
    }
    while (waitpid(s->nursery_pid, NULL, WNOHANG) == 0 && free_wait(until_ms))
        continue;
    /* Only where the nursery was killed is anything left, as children of ours. */
    pid_t reaped = 1;
    while (reaped > 0 || (reaped == 0 && tree_signal(SIGKILL, NULL, 0) > 0 && free_wait(until_ms)))
        reaped = waitpid(-1, NULL, WNOHANG);
    close_fd(&s->epoll_fd);
    free(s->slots);
    free(s);
}

int keeper_set_fd(const struct keeper_set *set)
{
    return set->epoll_fd;
}

bool keeper_set_is_busy(const struct keeper_set *set, size_t slot)
{
    return slot < set->slot_count && set->slots[slot].is_busy;
}

pid_t keeper_set_keeper_pid(const struct keeper_set *set, size_t slot)
{
    return slot < set->slot_count ? set->slots[slot].pid : 0;
}

pid_t keeper_set_nursery_pid(const struct keeper_set *set)
{
    return set->nursery_pid;
}

/* ---- events ---- */

static bool take_output(struct keeper_set *set, struct slot *slot, size_t size,
                        struct keeper_event *event)
{
    struct message_output m;
    if (size <= sizeof m || !slot->is_busy)
        return false;
    memcpy(&m, set->buffer, sizeof m);
    event->type = KEEPER_EVENT_OUTPUT;
    event->tag = m.tag;
    event->stream = m.stream;
    event->offset = m.offset;
    event->bytes = view_of(set->buffer + sizeof m, size - sizeof m);
    return m.stream < 2;
}

static struct blob *blob_from_fd(int fd, uint64_t size)
{
    if (size == 0)
        return NULL;
    struct blob *b = mem_alloc(sizeof *b + size);
    atomic_init(&b->refs, 1);
    b->size = size;
    if (!packet_memfd_read(fd, b->data, size))
        blob_unref(&b);
    return b;
}

static bool take_exited(struct keeper_set *set, struct slot *slot, size_t size, const int *fds,
                        size_t fd_count, struct keeper_event *event)
{
    struct message_exited m;
    if (size < sizeof m || !slot->is_busy)
        return false;
    memcpy(&m, set->buffer, sizeof m);
    event->type = KEEPER_EVENT_EXITED;
    event->tag = m.tag;
    event->exit = m.exit;
    if (m.kept_bytes[0] > KEEPER_OUTPUT_LIMIT_BYTES_MAX ||
        m.kept_bytes[1] > KEEPER_OUTPUT_LIMIT_BYTES_MAX || (m.in_fds != 0) != (fd_count == 2))
        return false;
    uint8_t *at = set->buffer + sizeof m;
    if (m.in_fds == 0 && size != sizeof m + m.kept_bytes[0] + m.kept_bytes[1])
        return false;
    for (size_t i = 0; i < 2; i++) {
        if (m.in_fds != 0) {
            event->exit.output[i].data = blob_from_fd(fds[i], m.kept_bytes[i]);
        } else {
            event->exit.output[i].data = blob_new(at, (size_t)m.kept_bytes[i]);
            at += m.kept_bytes[i];
        }
    }
    slot->is_busy = false;
    return true;
}

static void slot_is_dying(struct keeper_set *set, struct slot *slot)
{
    close_fd(&slot->socket); /* also leaves the epoll instance */
    slot->state = SLOT_DYING;
    nursery_tell(set, MESSAGE_DESTROY, slot->serial, NULL);
}

/* One packet of a keeper: true where it is an event for the caller. */
static bool slot_hear(struct keeper_set *set, size_t index, struct keeper_event *event)
{
    struct slot *slot = &set->slots[index];
    int fds[PACKET_FDS_MAX];
    size_t fd_count = 0;
    ssize_t size = packet_recv(slot->socket, set->buffer, sizeof set->buffer, fds, &fd_count);
    if (size == 0)
        return false;
    uint32_t type = 0;
    if (size >= (ssize_t)sizeof type)
        memcpy(&type, set->buffer, sizeof type);
    *event = (struct keeper_event){.slot = index};
    bool is_event = false;
    bool is_sane = size > 0;
    if (type == MESSAGE_HELLO && size == sizeof(struct message_hello)) {
        struct message_hello m;
        memcpy(&m, set->buffer, sizeof m);
        slot->pid = m.pid;
    } else if (is_sane && type == MESSAGE_OUTPUT) {
        is_event = is_sane = take_output(set, slot, (size_t)size, event);
    } else if (is_sane && type == MESSAGE_EXITED) {
        is_event = is_sane = take_exited(set, slot, (size_t)size, fds, fd_count, event);
    } else {
        is_sane = false;
    }
    for (size_t i = 0; i < fd_count; i++)
        close(fds[i]);
    if (!is_sane)
        slot_is_dying(set, slot);
    return is_event;
}

static bool nursery_hear(struct keeper_set *set, struct keeper_event *event)
{
    struct message_nursery m;
    int fds[PACKET_FDS_MAX];
    size_t fd_count = 0;
    ssize_t size = packet_recv(set->nursery_socket, &m, sizeof m, fds, &fd_count);
    if (size == 0)
        return false;
    for (size_t i = 0; i < fd_count; i++)
        close(fds[i]);
    if (size != (ssize_t)sizeof m || m.type != MESSAGE_CLEAN) {
        close_fd(&set->nursery_socket);
        *event = (struct keeper_event){.type = KEEPER_EVENT_NURSERY_LOST};
        return true;
    }
    for (size_t i = 0; i < set->slot_count; i++) {
        struct slot *slot = &set->slots[i];
        if (slot->state == SLOT_EMPTY || slot->serial != m.serial)
            continue;
        close_fd(&slot->socket);
        *event = (struct keeper_event){
            .type = KEEPER_EVENT_LOST, .slot = i, .tag = slot->tag, .was_busy = slot->is_busy};
        *slot = (struct slot){.state = SLOT_EMPTY, .socket = -1};
        return true;
    }
    return false;
}

int keeper_set_next(struct keeper_set *set, struct keeper_event *ret_event)
{
    for (;;) {
        struct epoll_event ready;
        int n = epoll_wait(set->epoll_fd, &ready, 1, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        bool is_event = ready.data.u64 == NURSERY_INDEX
                            ? nursery_hear(set, ret_event)
                            : slot_hear(set, (size_t)ready.data.u64, ret_event);
        if (is_event)
            return 1;
    }
}

void keeper_event_fini(struct keeper_event *event)
{
    blob_unref(&event->exit.output[0].data);
    blob_unref(&event->exit.output[1].data);
}

/* ---- commands ---- */

static void add_string(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s) + 1);
}

static void fill_start(struct message_start *m, struct buf *strings, const struct keeper_job *job)
{
    *m = (struct message_start){
        .type = MESSAGE_START,
        .environment = job->environment,
        .argc = (uint32_t)job->argc,
        .env_count = (uint32_t)job->env_count,
        .tag = job->tag,
        .time_limit_ms = job->time_limit_ms,
        .grace_ms = job->grace_ms,
        .fence_boot_ms = job->fence_boot_ms,
        .output_limit_bytes = job->output_limit_bytes,
        .flags = job->stream ? MESSAGE_START_STREAM : 0,
    };
    for (size_t i = 0; i < job->argc; i++)
        add_string(strings, job->argv[i]);
    for (size_t i = 0; i < job->env_count; i++)
        add_string(strings, job->env[i]);
    const struct {
        const char *text;
        uint32_t flag;
    } optional[] = {{job->cwd, MESSAGE_START_HAS_CWD},
                    {job->stdout_file, MESSAGE_START_HAS_STDOUT_FILE},
                    {job->stderr_file, MESSAGE_START_HAS_STDERR_FILE}};
    for (size_t i = 0; i < ARRAY_SIZE(optional); i++) {
        if (optional[i].text == NULL)
            continue;
        add_string(strings, optional[i].text);
        m->flags |= optional[i].flag;
    }
    m->strings_bytes = (uint32_t)strings->size;
}

/* Sends START with its descriptors: false with errno. */
static bool slot_send_start(struct slot *slot, struct message_start *m, struct buf *strings,
                            struct view input)
{
    int fds[PACKET_FDS_MAX] = {-1, -1};
    size_t fd_count = 0;
    struct iovec parts[2] = {{.iov_base = m, .iov_len = sizeof *m},
                             {.iov_base = strings->data, .iov_len = strings->size}};
    size_t part_count = 2;
    bool ok = true;
    if (input.size > 0) {
        m->flags |= MESSAGE_START_HAS_INPUT;
        fds[fd_count] = packet_memfd(&input, 1);
        ok = fds[fd_count++] >= 0;
    }
    if (ok && strings->size > MESSAGE_INLINE_BYTES_MAX) {
        struct view bytes = buf_view(strings);
        m->flags |= MESSAGE_START_STRINGS_IN_FD;
        fds[fd_count] = packet_memfd(&bytes, 1);
        ok = fds[fd_count++] >= 0;
        part_count = 1;
    }
    if (ok) {
        int sent = packet_send(slot->socket, parts, part_count, fds, fd_count);
        if (sent == 0)
            errno = EAGAIN;
        ok = sent == 1;
    }
    int saved = errno;
    close_fd(&fds[0]);
    close_fd(&fds[1]);
    errno = saved;
    return ok;
}

int keeper_set_spawn(struct keeper_set *set, size_t slot_index, const struct keeper_job *job,
                     struct error *e)
{
    struct slot *slot = &set->slots[slot_index];
    if (slot->is_busy || slot->state == SLOT_DYING || job->argc == 0)
        return error_set(e, EBUSY, "slot %zu is busy", slot_index);
    if (slot->state == SLOT_EMPTY && !slot_fill(set, slot_index))
        return error_set_errno(e, errno, errno, "cannot start a keeper");
    struct message_start m;
    struct buf strings;
    buf_init(&strings, KEEPER_STRINGS_BYTES_MAX);
    fill_start(&m, &strings, job);
    int result = 0;
    if (strings.failed || job->argc > UINT32_MAX || job->env_count > UINT32_MAX)
        result = error_set(e, E2BIG, "arguments and environment are too long");
    else if (!slot_send_start(slot, &m, &strings, job->input))
        result = error_set_errno(e, errno, errno, "cannot hand the job to its keeper");
    buf_fini(&strings);
    if (result == 0) {
        slot->is_busy = true;
        slot->tag = job->tag;
    }
    return result;
}

void keeper_set_stop(struct keeper_set *set, size_t slot_index, enum keeper_cause cause,
                     uint64_t grace_ms)
{
    struct slot *slot = &set->slots[slot_index];
    if (slot_index >= set->slot_count || !slot->is_busy || slot->state != SLOT_LIVE)
        return;
    struct message_stop m = {
        .type = MESSAGE_STOP, .cause = cause, .tag = slot->tag, .grace_ms = grace_ms};
    struct iovec part = {.iov_base = &m, .iov_len = sizeof m};
    if (packet_send(slot->socket, &part, 1, NULL, 0) == 0)
        nursery_tell(set, MESSAGE_DESTROY, slot->serial, NULL); /* a keeper that does not listen */
}

void keeper_set_fence(struct keeper_set *set, size_t slot_index, uint64_t fence_boot_ms)
{
    struct slot *slot = &set->slots[slot_index];
    if (slot_index >= set->slot_count || !slot->is_busy || slot->state != SLOT_LIVE)
        return;
    struct message_fence m = {
        .type = MESSAGE_FENCE, .tag = slot->tag, .fence_boot_ms = fence_boot_ms};
    struct iovec part = {.iov_base = &m, .iov_len = sizeof m};
    packet_send(slot->socket, &part, 1, NULL, 0); /* full: the older, safer one counts */
}
