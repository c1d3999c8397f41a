/* SPDX-License-Identifier: MPL-2.0 */
#include "broker/sockets.h"

#include <czmq.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/memory.h"

#define LINGER_MS 1000
#define HANDSHAKE_MS 3000
#define CLIENTS_RCVHWM 64 /* requests of one client that wait unread; HELLO's window */
/* Replies of one client that wait unread: a window of them always finds room, though libzmq learns
 * of what was read only in halves of this number. A client that reads nothing holds no more. */
#define CLIENTS_SNDHWM (2 * PROTO_WINDOW_REQUESTS + 8)
#define RESULTS_RCVHWM 64
#define BACKLOG 1024

struct sockets {
    zsock_t *routers[SOCKET_COUNT];
    zsock_t *results;
    void *monitor;
    uint16_t workers_port;
    uint16_t results_port;
};

static int directory_make(const char *path, struct error *e)
{
    char part[ADDRESS_HOST_BYTES];
    for (size_t i = 1; path[i - 1] != '\0' && i < sizeof part; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return error_set_errno(e, SOCKETS_EXIT_IO, errno, "cannot make the directory %s", part);
    }
    return 0;
}

/* Who may write there could put sockets of his own in place of ours, and be sent the jobs of all
 * clients and asked for commands by all workers. */
static int directory_check(const char *path, struct error *e)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return error_set_errno(e, SOCKETS_EXIT_IO, errno, "cannot look at %s", path);
    if (!S_ISDIR(st.st_mode))
        return error_set(e, SOCKETS_EXIT_USAGE, "%s is not a directory", path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return error_set(e, SOCKETS_EXIT_USAGE,
                         "the directory %s belongs to another user (%u); give one of your own with "
                         "--bind ipc://DIR",
                         path, (unsigned)st.st_uid);
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return error_set(e, SOCKETS_EXIT_USAGE,
                         "other users may write to the directory %s; say 'chmod go-w %s', or give "
                         "another one with --bind ipc://DIR",
                         path, path);
    return 0;
}

static int directory_lock(const char *directory, struct error *e)
{
    char path[ENDPOINT_BYTES_MAX];
    if (directory_make(directory, e) != 0 || directory_check(directory, e) != 0)
        return -1;
    snprintf(path, sizeof path, "%s/lock", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(e, SOCKETS_EXIT_IO, errno, "cannot open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0; /* stays open: the lock is the process's */
    int cause = errno;
    close(fd);
    if (cause == EWOULDBLOCK)
        return error_set(e, SOCKETS_EXIT_HELD,
                         "another broker serves ipc://%s (it holds %s); stop it with "
                         "'stint shutdown', or give this one another --bind ipc://DIR",
                         directory, path);
    return error_set_errno(e, SOCKETS_EXIT_IO, cause, "cannot lock %s", path);
}

int sockets_prepare(const struct sockets_config *config, struct error *e)
{
    bool is_locked = !config->control.is_ipc;
    for (size_t i = 0; i < config->bind_count; i++) {
        const struct net_address *a = &config->binds[i];
        if (a->is_ipc && directory_lock(a->host, e) != 0)
            return -1;
        is_locked |= a->is_ipc && strcmp(a->host, config->control.host) == 0;
    }
    return is_locked ? 0 : directory_lock(config->control.host, e);
}

static zsock_t *socket_new(int type, int sndhwm, int rcvhwm, int64_t frame_bytes_max)
{
    zsock_t *s = zsock_new(type);
    if (s == NULL)
        return NULL;
    zsock_set_linger(s, LINGER_MS);
    zsock_set_sndhwm(s, sndhwm);
    zsock_set_rcvhwm(s, rcvhwm);
    zsock_set_backlog(s, BACKLOG);
    zsock_set_handshake_ivl(s, HANDSHAKE_MS);
    zsock_set_ipv6(s, 1);
    zmq_setsockopt(zsock_resolve(s), ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof frame_bytes_max);
    if (type == ZMQ_ROUTER)
        zsock_set_router_mandatory(s, 1);
    return s;
}

static int socket_bind(zsock_t *s, const struct net_address *a, enum plane_socket which,
                       uint16_t port, struct error *e)
{
    char endpoint[ENDPOINT_BYTES_MAX];
    net_endpoint(a, which, port, endpoint);
    if (zmq_bind(zsock_resolve(s), endpoint) == 0)
        return 0;
    int cause = zmq_errno();
    if (cause == EADDRINUSE)
        return error_set(e, SOCKETS_EXIT_IN_USE,
                         "cannot bind %s: the address is in use; give another one with --bind",
                         endpoint);
    return error_set(e, SOCKETS_EXIT_IO, "cannot bind %s: %s", endpoint, zmq_strerror(cause));
}

static int sockets_bind(struct sockets *s, const struct net_address *a, struct error *e)
{
    uint16_t port = a->port;
    if (socket_bind(s->routers[SOCKET_CLIENTS], a, NET_CLIENTS, port, e) != 0 ||
        socket_bind(s->routers[SOCKET_WORKERS], a, NET_WORKERS, (uint16_t)(port + 1), e) != 0 ||
        socket_bind(s->results, a, NET_RESULTS, (uint16_t)(port + 2), e) != 0)
        return -1;
    if (!a->is_ipc && s->workers_port == 0) {
        s->workers_port = (uint16_t)(port + 1);
        s->results_port = (uint16_t)(port + 2);
    }
    return 0;
}

/* The monitor's PAIR must never fill: a full one stops the I/O thread. */
static int monitor_open(struct sockets *s, struct error *e)
{
    static const char endpoint[] = "inproc://workers-monitor";
    int zero = 0;
    if (zmq_socket_monitor(zsock_resolve(s->routers[SOCKET_WORKERS]), endpoint,
                           ZMQ_EVENT_DISCONNECTED) != 0)
        return error_set(e, SOCKETS_EXIT_IO, "cannot watch workers: %s", zmq_strerror(zmq_errno()));
    s->monitor = zmq_socket(zsys_init(), ZMQ_PAIR);
    if (s->monitor == NULL || zmq_setsockopt(s->monitor, ZMQ_RCVHWM, &zero, sizeof zero) != 0 ||
        zmq_setsockopt(s->monitor, ZMQ_LINGER, &zero, sizeof zero) != 0 ||
        zmq_connect(s->monitor, endpoint) != 0)
        return error_set(e, SOCKETS_EXIT_IO, "cannot watch workers: %s", zmq_strerror(zmq_errno()));
    return 0;
}

int sockets_open(const struct sockets_config *config, struct sockets **ret, struct error *e)
{
    *ret = NULL;
    zsys_handler_set(NULL); /* signals are the driver's */
    if (zsys_init() == NULL)
        return error_set(e, SOCKETS_EXIT_IO, "cannot start ZeroMQ");
    struct sockets *s = mem_zalloc(sizeof *s);
    s->routers[SOCKET_CLIENTS] = socket_new(ZMQ_ROUTER, CLIENTS_SNDHWM, CLIENTS_RCVHWM,
                                            PROTO_PAYLOAD_BYTES_MAX + PROTO_HEADER_BYTES_MAX);
    s->routers[SOCKET_CONTROL] =
        socket_new(ZMQ_ROUTER, CLIENTS_SNDHWM, CLIENTS_RCVHWM, PROTO_HEADER_BYTES_MAX);
    s->routers[SOCKET_WORKERS] = socket_new(ZMQ_ROUTER, 0, 1000, PROTO_HEADER_BYTES_MAX * 4);
    s->results = socket_new(ZMQ_PULL, 1, RESULTS_RCVHWM, PROTO_MESSAGE_BYTES_MAX);
    int rc = 0;
    for (size_t i = 0; i < ARRAY_SIZE(s->routers) && rc == 0; i++)
        if (s->routers[i] == NULL || s->results == NULL)
            rc = error_set(e, SOCKETS_EXIT_IO, "cannot make a socket: %s", strerror(errno));
    if (rc == 0)
        rc = monitor_open(s, e);
    for (size_t i = 0; i < config->bind_count && rc == 0; i++)
        rc = sockets_bind(s, &config->binds[i], e);
    if (rc == 0)
        rc = socket_bind(s->routers[SOCKET_CONTROL], &config->control, NET_CONTROL,
                         config->control.port, e);
    if (rc != 0)
        sockets_close(&s);
    *ret = s;
    return rc;
}

void sockets_close(struct sockets **s)
{
    if (*s == NULL)
        return;
    /* The monitor first: an event that finds its PAIR closed is lost memory in libzmq. */
    if ((*s)->routers[SOCKET_WORKERS] != NULL)
        zmq_socket_monitor(zsock_resolve((*s)->routers[SOCKET_WORKERS]), NULL, 0);
    if ((*s)->monitor != NULL)
        zmq_close((*s)->monitor);
    for (size_t i = 0; i < ARRAY_SIZE((*s)->routers); i++)
        zsock_destroy(&(*s)->routers[i]);
    zsock_destroy(&(*s)->results);
    free(*s);
    *s = NULL;
    zsys_shutdown();
}

void *sockets_router(struct sockets *s, enum socket_id id)
{
    return zsock_resolve(s->routers[id]);
}

void *sockets_results(struct sockets *s)
{
    return zsock_resolve(s->results);
}

void *sockets_monitor(struct sockets *s)
{
    return s->monitor;
}

uint16_t sockets_workers_port(const struct sockets *s)
{
    return s->workers_port;
}

uint16_t sockets_results_port(const struct sockets *s)
{
    return s->results_port;
}
