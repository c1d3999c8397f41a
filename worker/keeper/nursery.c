/* SPDX-License-Identifier: MPL-2.0 */
/* nursery.c - the process that makes keepers and cleans up after those that were killed.
 *
 * A keeper that dies leaves the processes of its job to the nursery, the next subreaper above it.
 * The nursery kills everything below it that is not a living keeper, repeats until a walk over
 * /proc finds nothing, and only then says CLEAN for the dead keepers to the daemon. When the
 * daemon's socket closes it kills all, keepers included, and ends. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/keeper/message.h"
#include "worker/keeper/packet.h"
#include "worker/keeper/process.h"
#include "worker/keeper/tree.h"

/* Between two rounds of killing; exits of children end the wait earlier. */
#define KILL_ROUND_MS 10

struct nursery {
    int socket;
    int signal_fd;
    size_t keeper_count;
    pid_t pids[KEEPER_SLOTS_MAX];
    uint32_t serials[KEEPER_SLOTS_MAX];
    size_t dead_count; /* keepers whose CLEAN is to be sent */
    uint32_t dead[KEEPER_SLOTS_MAX];
    bool is_clean; /* nothing was left below at the last look, and no keeper died since */
};

int process_settle(const char *name, int *socket)
{
    prctl(PR_SET_NAME, name);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    static const int ignored[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGPIPE, SIGUSR1,
                                  SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU, SIGALRM};
    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd >= 0) {
        dup2(null_fd, STDIN_FILENO);
        dup2(null_fd, STDOUT_FILENO);
    }
    if (*socket != STDERR_FILENO + 1) {
        dup3(*socket, STDERR_FILENO + 1, O_CLOEXEC);
        *socket = STDERR_FILENO + 1;
    }
    close_range((unsigned)*socket + 1, ~0u, 0);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    return signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

void process_drain_signals(int signal_fd)
{
    struct signalfd_siginfo info[8];
    while (read(signal_fd, info, sizeof info) > 0)
        continue;
}

static void nursery_forget(struct nursery *n, size_t i)
{
    n->keeper_count--;
    n->pids[i] = n->pids[n->keeper_count];
    n->serials[i] = n->serials[n->keeper_count];
}

/* Reaps all zombies. A dead keeper is noted; any other child was an orphan. Returns false where
 * there is no child at all. */
static bool nursery_reap(struct nursery *n)
{
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid == 0)
            return true;
        if (pid < 0)
            return errno != ECHILD;
        for (size_t i = 0; i < n->keeper_count; i++) {
            if (n->pids[i] != pid)
                continue;
            n->dead[n->dead_count++] = n->serials[i];
            n->is_clean = false;
            nursery_forget(n, i);
            break;
        }
    }
}

static void nursery_fork_keeper(struct nursery *n, uint32_t serial, int socket)
{
    pid_t pid = n->keeper_count + n->dead_count < KEEPER_SLOTS_MAX ? fork() : -1;
    if (pid == 0) {
        close(n->signal_fd);
        close(n->socket);
        keeper_main(socket);
    }
    close(socket); /* where there was no fork the daemon sees it close, and hears CLEAN */
    if (pid > 0) {
        n->pids[n->keeper_count] = pid;
        n->serials[n->keeper_count++] = serial;
    } else if (n->dead_count < KEEPER_SLOTS_MAX) {
        n->dead[n->dead_count++] = serial;
    }
}

static NORETURN void nursery_end(struct nursery *n)
{
    while (nursery_reap(n)) {
        struct pollfd p = {.fd = n->signal_fd, .events = POLLIN};
        if (tree_signal(SIGKILL, NULL, 0) < 0)
            for (size_t i = 0; i < n->keeper_count; i++)
                kill(n->pids[i], SIGKILL);
        poll(&p, 1, KILL_ROUND_MS);
        process_drain_signals(n->signal_fd);
    }
    _exit(0);
}

static void nursery_hear(struct nursery *n)
{
    struct message_nursery m;
    int fds[PACKET_FDS_MAX];
    size_t fd_count = 0;
    for (;;) {
        ssize_t size = packet_recv(n->socket, &m, sizeof m, fds, &fd_count);
        if (size == 0)
            return;
        if (size != (ssize_t)sizeof m)
            nursery_end(n);
        if (m.type == MESSAGE_NEW && fd_count == 1) {
            nursery_fork_keeper(n, m.serial, fds[0]);
        } else if (m.type == MESSAGE_DESTROY && fd_count == 0) {
            for (size_t i = 0; i < n->keeper_count; i++)
                if (n->serials[i] == m.serial)
                    kill(n->pids[i], SIGKILL);
        } else {
            nursery_end(n);
        }
    }
}

/* Kills orphans; once there are none tells the daemon. */
static void nursery_clean(struct nursery *n)
{
    if (!n->is_clean && tree_signal(SIGKILL, n->pids, n->keeper_count) == 0)
        n->is_clean = true;
    while (n->is_clean && n->dead_count > 0) {
        struct message_nursery m = {.type = MESSAGE_CLEAN, .serial = n->dead[n->dead_count - 1]};
        struct iovec part = {.iov_base = &m, .iov_len = sizeof m};
        int sent = packet_send(n->socket, &part, 1, NULL, 0);
        if (sent < 0)
            nursery_end(n);
        if (sent == 0)
            return;
        n->dead_count--;
    }
}

void nursery_main(int socket)
{
    static struct nursery n;
    setsid(); /* Ctrl-C and SIGHUP of the daemon's terminal are for the daemon alone */
    n.signal_fd = process_settle("stint-nursery", &socket);
    n.socket = socket;
    n.is_clean = true;
    if (n.signal_fd < 0)
        _exit(70);
    for (;;) {
        bool is_waiting_to_send = n.is_clean && n.dead_count > 0;
        struct pollfd p[2] = {
            {.fd = n.socket, .events = (short)(POLLIN | (is_waiting_to_send ? POLLOUT : 0))},
            {.fd = n.signal_fd, .events = POLLIN}};
        poll(p, 2, n.is_clean ? -1 : KILL_ROUND_MS);
        process_drain_signals(n.signal_fd);
        nursery_reap(&n);
        nursery_hear(&n);
        nursery_clean(&n);
    }
}
