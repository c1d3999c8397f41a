/* SPDX-License-Identifier: MPL-2.0 */
/* net.c - the network as ZeroMQ shows it.
 *
 * A socket connects by itself and keeps what is sent before it is connected. A connection is in
 * order in each direction, and nothing orders two connections. A cut loses what is in flight; each
 * side learns of it at its own time. The end of a process loses a tail of what it sent. Silence
 * (a partition) delays everything and loses nothing. Connection numbers are used again at once, and
 * what the broker's monitor says of them may come late, in another order, or be wrong. */
#include <stdlib.h>

#include "tests/sim/sim.h"

struct hint {
    struct happening at;
    struct list link;
    int number;
};

struct packet *packet_new(const struct outmsg *m, const struct route *envelope)
{
    size_t n = outmsg_frame_count(m);
    size_t extra = envelope != NULL ? envelope->envelope_count : 0;
    size_t bytes = outmsg_bytes(m) + (extra == 2 ? envelope->envelope_size : 0U);
    struct packet *p = mem_alloc(sizeof *p + (n + extra) * sizeof p->frames[0] + bytes);
    uint8_t *at = (uint8_t *)&p->frames[n + extra];
    p->frame_count = 0;
    p->conn = NULL;
    list_init(&p->link);
    if (extra == 2) {
        memcpy(at, envelope->envelope, envelope->envelope_size);
        p->frames[p->frame_count++] = view_of(at, envelope->envelope_size);
        at += envelope->envelope_size;
    }
    if (extra > 0)
        p->frames[p->frame_count++] = view_of(at, 0);
    for (size_t i = 0; i < n; i++) {
        struct view v = outmsg_frame(m, i);
        if (v.size > 0)
            memcpy(at, v.data, v.size);
        p->frames[p->frame_count++] = view_of(at, v.size);
        at += v.size;
    }
    return p;
}

static void packets_free(struct list *packets)
{
    list_each_safe (node, packets) {
        list_remove(node);
        free(container_of(node, struct packet, link));
    }
}

static void pipe_drop(struct world *w, struct pipe *p)
{
    packets_free(&p->packets);
    happen_not(w, &p->head);
}

static uint64_t net_delay(struct world *w, enum net_plane plane)
{
    uint64_t us = 20 + roll(w, w->plan.net_us);
    if (w->is_calm)
        return 20 + roll(w, MS_US);
    if (plane == NET_RESULTS)
        us += roll(w, w->plan.results_us + 1);
    if (w->now_us < w->net_slow_until_us)
        us += roll(w, w->net_slow_us);
    return us;
}

static void pipe_put(struct world *w, struct pipe *pipe, struct packet *p)
{
    struct conn *c = pipe->conn;
    if (c->is_cut) {
        free(p);
        return;
    }
    p->conn = c;
    pipe->last_us = max_u64(pipe->last_us, w->now_us + net_delay(w, c->plane));
    p->ready_us = pipe->last_us;
    list_push_back(&pipe->packets, &p->link);
    if (!happens(&pipe->head))
        happen_at(w, &pipe->head, p->ready_us);
}

/* Where the peer is silent: puts the happening off until it can be heard again. An old connection
 * comes back some time after the network does. */
static bool put_off(struct world *w, const struct conn *c, struct happening *h)
{
    if (w->now_us >= c->peer->silent_until_us)
        return false;
    happen_at(w, h, c->peer->silent_until_us + roll(w, w->is_calm ? MS_US : 2 * SECOND_US));
    return true;
}

static void deliver_down(struct world *w, struct conn *c, struct packet *p)
{
    w->tally->messages++;
    if (c->plane == NET_WORKERS)
        worker_deliver(w, c->socket->owner, p);
    else
        client_deliver(w, c->socket->owner, p);
}

static void pipe_head(struct world *w, struct happening *h)
{
    struct pipe *pipe = container_of(h, struct pipe, head);
    struct conn *c = pipe->conn;
    bool is_up = pipe == &c->up;
    if (put_off(w, c, h))
        return;
    struct packet *p = container_of(pipe->packets.next, struct packet, link);
    list_remove(&p->link);
    if (p->ready_us > pipe->until_us || (is_up ? !c->is_broker_open : c->socket == NULL)) {
        free(p);
        pipe_drop(w, pipe);
        return;
    }
    if (!list_is_empty(&pipe->packets)) {
        const struct packet *next = container_of(pipe->packets.next, struct packet, link);
        happen_at(w, h, max_u64(w->now_us, next->ready_us));
    }
    if (is_up) {
        w->tally->messages++;
        list_push_back(&w->broker.inbox[c->plane], &p->link);
        broker_wake(w, roll(w, 200));
    } else {
        deliver_down(w, c, p);
    }
}

/* --- the end of a connection, as each side learns it --- */

static void conn_settle(struct world *w, struct conn *c)
{
    if (c->socket != NULL || c->is_broker_open)
        return;
    list_remove(&c->link);
    list_push_back(&w->dead_conns, &c->link);
}

static void hint_run(struct world *w, struct happening *h)
{
    struct hint *it = container_of(h, struct hint, at);
    struct broker *b = &w->broker;
    if (b->is_up && b->hint_count < HINTS_MAX) {
        b->hints[b->hint_count++] = it->number;
        broker_wake(w, roll(w, 200));
    }
    list_remove(&it->link);
    free(it);
}

void net_hint(struct world *w, int number, uint64_t delay_us)
{
    struct hint *it = mem_zalloc(sizeof *it);
    it->at.run = hint_run;
    it->number = number;
    list_push_back(&w->hints, &it->link);
    happen_at(w, &it->at, w->now_us + delay_us);
}

static void conn_close_broker(struct world *w, struct conn *c)
{
    c->is_broker_open = false;
    w->numbers[c->number] = false;
    pipe_drop(w, &c->up);
}

static void broker_notice(struct world *w, struct happening *h)
{
    struct conn *c = container_of(h, struct conn, broker_notice);
    if (!c->is_broker_open || put_off(w, c, h))
        return;
    if (w->broker.is_paused || (!c->is_cut && !list_is_empty(&c->up.packets))) {
        happen_at(w, h, w->now_us + 5 * MS_US);
        return;
    }
    trace(w, "net", "the broker sees that #%d of %s is closed", c->number, c->peer->name);
    conn_close_broker(w, c);
    if (c->plane == NET_WORKERS)
        net_hint(w, c->number, chance(w, 10) ? roll(w, 3 * SECOND_US) : roll(w, 2 * MS_US));
    conn_settle(w, c);
}

static void socket_retry(struct world *w, struct socket *s, uint64_t most_us)
{
    happen_at(w, &s->connect, w->now_us + 100 + roll(w, most_us));
}

static void peer_notice(struct world *w, struct happening *h)
{
    struct conn *c = container_of(h, struct conn, peer_notice);
    struct socket *s = c->socket;
    if (s == NULL || put_off(w, c, h))
        return;
    if (!c->is_cut && !list_is_empty(&c->down.packets)) {
        happen_at(w, h, w->now_us + 5 * MS_US);
        return;
    }
    trace(w, c->peer->name, "sees that its connection #%d is closed", c->number);
    c->socket = NULL;
    s->conn = NULL;
    pipe_drop(w, &c->down);
    conn_settle(w, c);
    socket_retry(w, s, 200 * MS_US);
    if (c->plane == NET_WORKERS || c->plane == NET_RESULTS)
        worker_cut(w, s->owner, c->plane);
    else
        client_cut(w, s->owner);
}

static uint64_t notice_us(struct world *w)
{
    return w->now_us + 100 + (chance(w, 10) ? roll(w, 2 * SECOND_US) : roll(w, 5 * MS_US));
}

void net_cut(struct world *w, struct conn *c)
{
    if (c->is_cut)
        return;
    trace(w, "net", "#%d of %s is cut", c->number, c->peer->name);
    c->is_cut = true;
    pipe_drop(w, &c->up);
    pipe_drop(w, &c->down);
    happen_at(w, &c->broker_notice, notice_us(w));
    happen_at(w, &c->peer_notice, notice_us(w));
}

/* How much of what a dying process has sent still arrives. */
static uint64_t tail_us(struct world *w, bool is_planned)
{
    if (is_planned || chance(w, 50))
        return UINT64_MAX;
    return w->now_us + roll(w, 5 * MS_US);
}

void net_broker_gone(struct world *w, bool is_planned)
{
    list_each_safe (node, &w->conns) {
        struct conn *c = container_of(node, struct conn, link);
        if (!c->is_broker_open)
            continue;
        conn_close_broker(w, c);
        c->down.until_us = tail_us(w, is_planned);
        if (c->socket != NULL && !happens(&c->peer_notice))
            happen_at(w, &c->peer_notice, notice_us(w));
        conn_settle(w, c);
    }
}

/* --- connecting --- */

static int number_take(struct world *w)
{
    for (int i = 10; i < NUMBERS_MAX; i++) {
        if (w->numbers[i])
            continue;
        w->numbers[i] = true;
        return i;
    }
    abort();
}

static void pipe_init(struct pipe *p, struct conn *c)
{
    p->conn = c;
    p->head.run = pipe_head;
    p->until_us = UINT64_MAX;
    list_init(&p->packets);
}

static void socket_connect(struct world *w, struct happening *h)
{
    struct socket *s = container_of(h, struct socket, connect);
    if (!s->is_open || s->conn != NULL)
        return;
    if (!w->broker.is_up || w->broker.is_paused || s->peer->is_paused ||
        w->now_us < w->listens_us || w->now_us < s->peer->silent_until_us) {
        socket_retry(w, s, 200 * MS_US);
        return;
    }
    struct conn *c = mem_zalloc(sizeof *c);
    c->id = w->next_conn++;
    c->number = number_take(w);
    c->plane = s->plane;
    c->socket = s;
    c->peer = s->peer;
    c->is_broker_open = true;
    c->peer_notice.run = peer_notice;
    c->broker_notice.run = broker_notice;
    pipe_init(&c->up, c);
    pipe_init(&c->down, c);
    list_push_back(&w->conns, &c->link);
    s->conn = c;
    list_each (node, &w->dead_conns) {
        if (container_of(node, struct conn, link)->number == c->number) {
            count(w, COUNT_REUSED_NUMBER);
            break;
        }
    }
    list_each_safe (node, &s->unsent) {
        list_remove(node);
        pipe_put(w, &c->up, container_of(node, struct packet, link));
    }
}

void socket_init(struct socket *s, enum net_plane plane, struct peer *peer, int owner)
{
    *s = (struct socket){.plane = plane, .peer = peer, .owner = owner};
    s->connect.run = socket_connect;
    list_init(&s->unsent);
}

void socket_open(struct world *w, struct socket *s)
{
    s->is_open = true;
    socket_retry(w, s, MS_US);
}

void socket_close(struct world *w, struct socket *s)
{
    struct conn *c = s->conn;
    s->is_open = false;
    s->conn = NULL;
    happen_not(w, &s->connect);
    packets_free(&s->unsent);
    if (c == NULL)
        return;
    c->socket = NULL;
    pipe_drop(w, &c->down);
    happen_not(w, &c->peer_notice);
    c->up.until_us = tail_us(w, false);
    if (c->is_broker_open && !happens(&c->broker_notice))
        happen_at(w, &c->broker_notice, notice_us(w));
    conn_settle(w, c);
}

void socket_send(struct world *w, struct socket *s, struct packet *p)
{
    if (!s->is_open)
        free(p);
    else if (s->conn == NULL)
        list_push_back(&s->unsent, &p->link);
    else
        pipe_put(w, &s->conn->up, p);
}

bool net_send(struct world *w, enum net_plane plane, const struct route *r, struct packet *p)
{
    uint32_t id = 0;
    memcpy(&id, r->id + 1, sizeof id);
    list_each (node, &w->conns) {
        struct conn *c = container_of(node, struct conn, link);
        if (c->id != id || c->plane != plane || !c->is_broker_open)
            continue;
        if (c->socket == NULL)
            free(p); /* closed there, not known here */
        else
            pipe_put(w, &c->down, p);
        return true;
    }
    free(p);
    return false;
}

void net_fini(struct world *w)
{
    struct list *lists[] = {&w->conns, &w->dead_conns};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        list_each_safe (node, lists[i]) {
            struct conn *c = container_of(node, struct conn, link);
            packets_free(&c->up.packets);
            packets_free(&c->down.packets);
            list_remove(node);
            free(c);
        }
    }
    list_each_safe (node, &w->hints) {
        list_remove(node);
        free(container_of(node, struct hint, link));
    }
    for (size_t i = 0; i < NET_PLANES; i++)
        packets_free(&w->broker.inbox[i]);
}
