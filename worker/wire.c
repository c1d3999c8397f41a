/* SPDX-License-Identifier: MPL-2.0 */
#include "worker/wire.h"

#include <czmq.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/net/multipart.h"
#include "common/proto/ref.h"

#define RECONNECT_MS 200
#define RECONNECT_MS_MAX 2000
#define CONNECT_TIMEOUT_MS 2000
#define HANDSHAKE_MS 3000
#define LINGER_MS 1000
/* Verdicts are kept in the outbox anyway; output that finds no room stops its keepers. */
#define RESULTS_MARK 256
#define WORKERS_MARK 1000
#define EARLY_MAX 8 /* messages that wait for the answer to HELLO */
#define FRAME_BYTES_MAX PROTO_REQUEST_BYTES_MAX

struct wire {
    const struct net_address *addresses;
    size_t address_count;
    size_t dialled;                   /* index of the address of the last dial */
    char address[ENDPOINT_BYTES_MAX]; /* as text */
    zsock_t *hello;                   /* DEALER to `clients` while its answer is awaited */
    zsock_t *workers;
    zsock_t *results;
    zsock_t *monitor;
    unsigned monitor_number;
    struct outmsg early[EARLY_MAX];
    size_t early_count;
    struct multipart in; /* the message received last */
};

struct wire *wire_new(const struct net_address *addresses, size_t address_count)
{
    struct wire *w = mem_zalloc(sizeof *w);
    w->addresses = addresses;
    w->address_count = address_count;
    net_address_text(&addresses[0], w->address);
    zsys_handler_set(NULL); /* before the first socket: signals are the driver's */
    zsys_set_linger(0);
    zsys_set_logstream(stderr);
    return w;
}

static void close_sockets(struct wire *w, int linger_ms)
{
    if (w->workers != NULL) {
        zmq_socket_monitor(zsock_resolve(w->workers), NULL, 0);
        zsock_set_linger(w->workers, linger_ms);
    }
    if (w->results != NULL)
        zsock_set_linger(w->results, linger_ms);
    zsock_destroy(&w->monitor);
    zsock_destroy(&w->hello);
    zsock_destroy(&w->workers);
    zsock_destroy(&w->results);
    for (size_t i = 0; i < w->early_count; i++)
        outmsg_fini(&w->early[i]);
    w->early_count = 0;
}

void wire_hang_up(struct wire *w)
{
    close_sockets(w, 0);
}

void wire_free(struct wire **wire)
{
    struct wire *w = *wire;
    *wire = NULL;
    if (w == NULL)
        return;
    multipart_release(&w->in);
    close_sockets(w, LINGER_MS);
    free(w);
    zsys_shutdown();
}

const char *wire_address(const struct wire *w)
{
    return w->address;
}

/* ---- dialling ---- */

static zsock_t *socket_open(int type, int mark, const char *endpoint)
{
    zsock_t *s = zsock_new(type);
    if (s == NULL)
        return NULL;
    zsock_set_linger(s, 0);
    zsock_set_sndhwm(s, mark);
    zsock_set_rcvhwm(s, mark);
    zsock_set_reconnect_ivl(s, RECONNECT_MS);
    zsock_set_reconnect_ivl_max(s, RECONNECT_MS_MAX);
    zsock_set_connect_timeout(s, CONNECT_TIMEOUT_MS);
    zsock_set_handshake_ivl(s, HANDSHAKE_MS);
    zsock_set_maxmsgsize(s, FRAME_BYTES_MAX);
    zsock_set_ipv6(s, 1);
    if (zsock_connect(s, "%s", endpoint) != 0)
        zsock_destroy(&s);
    return s;
}

/* The monitor comes before the connection, so that no event is missed; its own PAIR has no mark,
 * because a full one would block the I/O thread. */
static zsock_t *workers_open(struct wire *w, const char *endpoint)
{
    char inproc[64];
    snprintf(inproc, sizeof inproc, "inproc://stint-monitor-%u", ++w->monitor_number);
    zsock_t *s = socket_open(ZMQ_DEALER, WORKERS_MARK, endpoint);
    if (s == NULL || zmq_socket_monitor(zsock_resolve(s), inproc, ZMQ_EVENT_DISCONNECTED) != 0) {
        zsock_destroy(&s);
        return NULL;
    }
    w->monitor = zsock_new(ZMQ_PAIR);
    if (w->monitor != NULL) {
        zsock_set_rcvhwm(w->monitor, 0);
        zsock_set_linger(w->monitor, 0);
    }
    if (w->monitor == NULL || zsock_connect(w->monitor, "%s", inproc) != 0) {
        zsock_destroy(&w->monitor);
        zmq_socket_monitor(zsock_resolve(s), NULL, 0);
        zsock_destroy(&s);
    }
    return s;
}

static bool planes_open(struct wire *w, uint16_t workers_port, uint16_t results_port)
{
    const struct net_address *a = &w->addresses[w->dialled];
    char endpoint[ENDPOINT_BYTES_MAX];
    net_endpoint(a, NET_WORKERS, workers_port, endpoint);
    w->workers = workers_open(w, endpoint);
    net_endpoint(a, NET_RESULTS, results_port, endpoint);
    if (w->workers != NULL)
        w->results = socket_open(ZMQ_PUSH, RESULTS_MARK, endpoint);
    return w->results != NULL;
}

static enum wire_sent socket_send(zsock_t *socket, const struct outmsg *message);

static bool hello_open(struct wire *w)
{
    struct outmsg message;
    w->hello = socket_open(ZMQ_DEALER, WORKERS_MARK, w->address);
    if (w->hello == NULL)
        return false;
    outmsg_init(&message, VERB_HELLO, view_str("worker"), view_of(NULL, 0));
    bool ok = socket_send(w->hello, &message) == WIRE_SENT;
    outmsg_fini(&message);
    return ok;
}

/* Of several addresses the first whose socket exists, else the first. */
static void choose_address(struct wire *w)
{
    w->dialled = 0;
    for (size_t i = w->address_count; i > 0; i--)
        if (net_address_is_there(&w->addresses[i - 1], NET_WORKERS))
            w->dialled = i - 1;
    net_address_text(&w->addresses[w->dialled], w->address);
}

int wire_dial(struct wire *w, struct error *e)
{
    close_sockets(w, 0);
    choose_address(w);
    bool ok = w->addresses[w->dialled].is_ipc ? planes_open(w, 0, 0) : hello_open(w);
    if (ok)
        return 0;
    int saved = errno;
    close_sockets(w, 0);
    return error_set_errno(e, saved, saved, "cannot dial %s", wire_address(w));
}

/* ---- sending ---- */

static enum wire_sent socket_send(zsock_t *socket, const struct outmsg *message)
{
    size_t count = outmsg_frame_count(message);
    struct multipart_frame *frames = mem_zalloc(count * sizeof frames[0]);
    for (size_t i = 0; i < count; i++) {
        if (i >= OUT_SMALL_FRAMES)
            frames[i].blob = message->bodies[i - OUT_SMALL_FRAMES];
        else
            frames[i].bytes = outmsg_frame(message, i);
    }
    int rc = multipart_send(zsock_resolve(socket), frames, count);
    free(frames);
    return rc == 0 ? WIRE_SENT : WIRE_FULL;
}

enum wire_sent wire_send_workers(struct wire *w, const struct outmsg *message)
{
    if (w->workers != NULL)
        return socket_send(w->workers, message);
    if (w->hello == NULL || w->early_count == EARLY_MAX)
        return WIRE_FULL;
    outmsg_copy(&w->early[w->early_count++], message);
    return WIRE_SENT;
}

enum wire_sent wire_send_results(struct wire *w, const struct outmsg *message)
{
    return w->results != NULL ? socket_send(w->results, message) : WIRE_FULL;
}

/* ---- receiving ---- */

static bool read_message(struct wire *w, zsock_t *socket)
{
    multipart_release(&w->in);
    return multipart_receive(zsock_resolve(socket), &w->in) == 0;
}

int wire_receive(struct wire *w, struct msg *ret, struct error *e)
{
    if (w->workers == NULL || !read_message(w, w->workers))
        return 0;
    return msg_decode(w->in.views, w->in.count, PLANE_B, ret, e) == STATUS_OK ? 1 : -1;
}

bool wire_was_cut(struct wire *w)
{
    bool was_cut = false;
    while (w->monitor != NULL && read_message(w, w->monitor)) {
        uint16_t event = 0;
        if (w->in.views[0].size >= sizeof event)
            memcpy(&event, w->in.views[0].data, sizeof event);
        was_cut = was_cut || event == ZMQ_EVENT_DISCONNECTED;
    }
    return was_cut;
}

/* ---- the greeting of tcp ---- */

static uint16_t port_of(const json_t *header, const char *key)
{
    json_int_t port = json_integer_value(json_object_get(header, key));
    return port > 0 && port <= UINT16_MAX ? (uint16_t)port : 0;
}

static void early_send(struct wire *w)
{
    for (size_t i = 0; i < w->early_count; i++) {
        socket_send(w->workers, &w->early[i]);
        outmsg_fini(&w->early[i]);
    }
    w->early_count = 0;
}

void wire_serve(struct wire *w)
{
    struct msg m;
    if (w->hello == NULL)
        return;
    if (!read_message(w, w->hello) ||
        msg_decode(w->in.views, w->in.count, PLANE_REPLY, &m, NULL) != STATUS_OK ||
        m.verb != VERB_OK)
        return; /* the dial runs into its time-out */
    json_t *header = json_loadb(m.header.data, m.header.size, 0, NULL);
    uint16_t workers_port = port_of(header, "workers_port");
    uint16_t results_port = port_of(header, "results_port");
    json_decref(header);
    if (workers_port == 0 || results_port == 0)
        return;
    zsock_destroy(&w->hello);
    if (planes_open(w, workers_port, results_port))
        early_send(w);
    else
        close_sockets(w, 0);
}

size_t wire_poll_items(struct wire *w, bool wants_results, zmq_pollitem_t items[WIRE_POLL_ITEMS])
{
    size_t n = 0;
    if (w->workers != NULL)
        items[n++] = (zmq_pollitem_t){.socket = zsock_resolve(w->workers), .events = ZMQ_POLLIN};
    if (w->monitor != NULL)
        items[n++] = (zmq_pollitem_t){.socket = zsock_resolve(w->monitor), .events = ZMQ_POLLIN};
    if (w->hello != NULL)
        items[n++] = (zmq_pollitem_t){.socket = zsock_resolve(w->hello), .events = ZMQ_POLLIN};
    if (w->results != NULL && wants_results)
        items[n++] = (zmq_pollitem_t){.socket = zsock_resolve(w->results), .events = ZMQ_POLLOUT};
    return n;
}
