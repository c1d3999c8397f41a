/* SPDX-License-Identifier: MPL-2.0 */
#include "common/net/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

enum {
    LINK_RECONNECT_MS = 200, /* growing up to: */
    LINK_RECONNECT_MAX_MS = 2000,
    LINK_CONNECT_TIMEOUT_MS = 2000,
};

struct link {
    void *socket;
    void *monitor;
};

struct link_message {
    size_t count;
    struct view *views; /* into the frames */
    zmq_msg_t frames[];
};

void *link_context_new(void)
{
    void *context = zmq_ctx_new();
    if (context != NULL)
        zmq_ctx_set(context, ZMQ_IO_THREADS, 1);
    return context;
}

void link_context_free(void **context)
{
    while (*context != NULL && zmq_ctx_term(*context) != 0 && errno == EINTR)
        ;
    *context = NULL;
}

void link_library_version(char out[32])
{
    int major = 0;
    int minor = 0;
    int patch = 0;
    zmq_version(&major, &minor, &patch);
    snprintf(out, 32, "%d.%d.%d", major, minor, patch);
}

static bool socket_set(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

static bool link_configure(struct link *l, const char *endpoint, int64_t frame_bytes_max)
{
    return socket_set(l->socket, ZMQ_LINGER, 0) && socket_set(l->socket, ZMQ_SNDHWM, 0) &&
           socket_set(l->socket, ZMQ_RCVHWM, 0) &&
           socket_set(l->socket, ZMQ_RECONNECT_IVL, LINK_RECONNECT_MS) &&
           socket_set(l->socket, ZMQ_RECONNECT_IVL_MAX, LINK_RECONNECT_MAX_MS) &&
           socket_set(l->socket, ZMQ_CONNECT_TIMEOUT, LINK_CONNECT_TIMEOUT_MS) &&
           /* libzmq takes only the first address of a name, so IPv6 only where it is meant */
           socket_set(l->socket, ZMQ_IPV6, strchr(endpoint, '[') != NULL) &&
           zmq_setsockopt(l->socket, ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof frame_bytes_max) == 0;
}

static bool link_monitor(struct link *l, void *context)
{
    char name[64];
    snprintf(name, sizeof name, "inproc://stint-monitor-%p", l->socket);
    int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_DISCONNECTED;
    if (zmq_socket_monitor(l->socket, name, events) != 0)
        return false;
    l->monitor = zmq_socket(context, ZMQ_PAIR);
    return l->monitor != NULL && socket_set(l->monitor, ZMQ_LINGER, 0) &&
           socket_set(l->monitor, ZMQ_RCVHWM, 0) && zmq_connect(l->monitor, name) == 0;
}

int link_open(struct link **ret, void *context, const char *endpoint, int64_t frame_bytes_max)
{
    struct link *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ENOMEM;
    l->socket = zmq_socket(context, ZMQ_DEALER);
    if (l->socket == NULL || !link_configure(l, endpoint, frame_bytes_max) ||
        !link_monitor(l, context) || zmq_connect(l->socket, endpoint) != 0) {
        int error = errno != 0 ? errno : EIO;
        link_close(&l);
        return error;
    }
    *ret = l;
    return 0;
}

void link_close(struct link **l)
{
    if (*l == NULL)
        return;
    if ((*l)->socket != NULL) {
        zmq_socket_monitor((*l)->socket, NULL, 0);
        zmq_close((*l)->socket);
    }
    if ((*l)->monitor != NULL)
        zmq_close((*l)->monitor);
    free(*l);
    *l = NULL;
}

/* Reads one event of the monitor: a frame with its number, a frame with its address. */
static bool monitor_read(void *monitor, unsigned *ret_number)
{
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, monitor, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&frame);
        return false;
    }
    uint16_t number = 0;
    if (zmq_msg_size(&frame) >= sizeof number)
        memcpy(&number, zmq_msg_data(&frame), sizeof number);
    while (zmq_msg_more(&frame) && zmq_msg_recv(&frame, monitor, ZMQ_DONTWAIT) >= 0)
        ;
    zmq_msg_close(&frame);
    *ret_number = number;
    return true;
}

unsigned link_events(struct link *l)
{
    unsigned events = 0;
    unsigned number = 0;
    while (monitor_read(l->monitor, &number)) {
        if (number == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
            events |= LINK_CONNECTED;
        else if (number == ZMQ_EVENT_CONNECT_RETRIED)
            events |= LINK_REFUSED;
        else if (number == ZMQ_EVENT_DISCONNECTED)
            events |= LINK_CUT;
    }
    return events;
}

int link_send(struct link *l, const struct view *frames, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0);
        int rc = 0;
        do
            rc = zmq_send(l->socket, frames[i].data, frames[i].size, flags);
        while (rc < 0 && errno == EINTR);
        if (rc < 0)
            return errno;
    }
    return 0;
}

/* Receives frame by frame; a frame's message struct may only be moved by zmq_msg_move. */
static int receive_frames(struct link *l, zmq_msg_t *frames, size_t frames_max, size_t *ret_count)
{
    bool more = true;
    size_t count = 0;
    zmq_msg_t spare;
    zmq_msg_init(&spare);
    while (more) {
        zmq_msg_t *frame = count < frames_max ? &frames[count] : &spare;
        if (frame != &spare)
            zmq_msg_init(frame);
        int rc = zmq_msg_recv(frame, l->socket, ZMQ_DONTWAIT);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0) {
            *ret_count = count;
            zmq_msg_close(&spare);
            return errno;
        }
        more = zmq_msg_more(frame) != 0;
        count++;
    }
    zmq_msg_close(&spare);
    *ret_count = count < frames_max ? count : frames_max;
    return count > frames_max ? EMSGSIZE : 0;
}

int link_receive(struct link *l, size_t frames_max, struct link_message **ret)
{
    zmq_msg_t *frames = malloc(frames_max * sizeof *frames);
    if (frames == NULL)
        return ENOMEM;
    size_t count = 0;
    int error = receive_frames(l, frames, frames_max, &count);
    struct link_message *m = NULL;
    if (error == 0) {
        m = malloc(sizeof *m + count * sizeof m->frames[0]);
        struct view *views = malloc(count * sizeof *views);
        if (m == NULL || views == NULL) {
            free(m);
            free(views);
            m = NULL;
            error = ENOMEM;
        } else {
            m->count = count;
            m->views = views;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (m != NULL) {
            zmq_msg_init(&m->frames[i]);
            zmq_msg_move(&m->frames[i], &frames[i]);
            m->views[i] = view_of(zmq_msg_data(&m->frames[i]), zmq_msg_size(&m->frames[i]));
        }
        zmq_msg_close(&frames[i]);
    }
    free(frames);
    if (error == 0)
        *ret = m;
    return error;
}

const struct view *link_message_frames(const struct link_message *m, size_t *ret_count)
{
    *ret_count = m->count;
    return m->views;
}

void link_message_free(struct link_message **m)
{
    if (*m == NULL)
        return;
    for (size_t i = 0; i < (*m)->count; i++)
        zmq_msg_close(&(*m)->frames[i]);
    free((*m)->views);
    free(*m);
    *m = NULL;
}

int link_poll(struct link *l, struct pollfd *extra, size_t extra_count, int timeout_ms)
{
    zmq_pollitem_t items[LINK_POLL_EXTRA_MAX + 2];
    if (extra_count > LINK_POLL_EXTRA_MAX)
        return EINVAL;
    for (size_t i = 0; i < extra_count; i++) {
        items[i] =
            (zmq_pollitem_t){.fd = extra[i].fd,
                             .events = (short)((extra[i].events & POLLIN ? ZMQ_POLLIN : 0) |
                                               (extra[i].events & POLLOUT ? ZMQ_POLLOUT : 0))};
        extra[i].revents = 0;
    }
    size_t count = extra_count;
    if (l != NULL) {
        items[count++] = (zmq_pollitem_t){.socket = l->socket, .events = ZMQ_POLLIN};
        items[count++] = (zmq_pollitem_t){.socket = l->monitor, .events = ZMQ_POLLIN};
    }
    if (zmq_poll(items, (int)count, timeout_ms) < 0)
        return errno;
    for (size_t i = 0; i < extra_count; i++)
        extra[i].revents = (short)((items[i].revents & ZMQ_POLLIN ? POLLIN : 0) |
                                   (items[i].revents & ZMQ_POLLOUT ? POLLOUT : 0) |
                                   (items[i].revents & ZMQ_POLLERR ? POLLERR : 0));
    return 0;
}
