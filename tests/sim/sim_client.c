/* SPDX-License-Identifier: MPL-2.0 */
/* sim_client.c - a client's process: the real request table over a simulated DEALER or REQ socket.
 *
 * It greets, sends what the windows allow, asks again over a fresh socket after a cut or after
 * silence, and drops everything when it is killed; its next life has another instance. The fifth
 * one is the operator on `control`; it never repeats a SHUTDOWN. What is asked and what answers
 * must say is in sim_task.c. */
#include <stdlib.h>

#include "tests/sim/sim.h"

#define HELLO_US (2 * SECOND_US)

void client_wake(struct world *w, struct client *c, uint64_t delay_us)
{
    if (c->is_up && !c->peer.is_paused)
        happen_by(w, &c->turn, w->now_us + delay_us);
}

static void asks_drop(struct client *c)
{
    list_each_safe (node, &c->asks) {
        struct ask *a = container_of(node, struct ask, link);
        list_remove(node);
        if (a->kind == ASK_SUBMIT)
            a->batch->is_abandoned = true;
        free(a);
    }
}

static void inbox_drop(struct client *c)
{
    list_each_safe (node, &c->inbox) {
        list_remove(node);
        free(container_of(node, struct packet, link));
    }
    c->was_cut = false;
}

static void client_lost(struct world *w, struct client *c, uint64_t pause_us)
{
    request_table_redialled(&c->table);
    socket_close(w, &c->socket);
    inbox_drop(c);
    c->dial = DIAL_PAUSED;
    c->dial_at_us = w->now_us + pause_us;
    if (c->index != OPERATOR)
        return;
    asks_drop(c);
    request_table_fini(&c->table);
    c->is_stopping_pool = false;
}

static void client_route(const struct client *c, struct route *r)
{
    *r = (struct route){.envelope_count = c->envelope};
    if (c->envelope == 2) {
        r->envelope_size = 4;
        memcpy(r->envelope, "\0\0\1", 4);
    }
}

static void client_send(struct world *w, struct client *c, const struct outmsg *m)
{
    struct route r;
    client_route(c, &r);
    socket_send(w, &c->socket, packet_new(m, &r));
}

static void client_dial(struct world *w, struct client *c)
{
    socket_open(w, &c->socket);
    if (c->index == OPERATOR) {
        c->dial = DIAL_READY;
        return;
    }
    char tag[16];
    struct outmsg m;
    snprintf(tag, sizeof tag, "h%u", ++c->epoch);
    outmsg_init(&m, VERB_HELLO, view_str(tag), view_of(NULL, 0));
    client_send(w, c, &m);
    outmsg_fini(&m);
    c->dial = DIAL_HELLO;
    c->hello_until_us = w->now_us + HELLO_US;
}

struct ask *client_ask(struct world *w, struct client *c, enum ask_kind kind, enum verb verb,
                       const char *subject, const char *header, struct blob **bodies,
                       size_t body_count, uint64_t poll_ms)
{
    struct request *r = request_table_add(&c->table, verb, view_str(subject), view_str(header),
                                          bodies, body_count, poll_ms, NEVER_MS);
    struct ask *a = mem_zalloc(sizeof *a);
    a->number = r->number;
    a->kind = kind;
    list_push_back(&c->asks, &a->link);
    client_wake(w, c, 0);
    return a;
}

static struct ask *ask_of(struct client *c, uint64_t number)
{
    list_each (node, &c->asks) {
        struct ask *a = container_of(node, struct ask, link);
        if (a->number == number)
            return a;
    }
    return NULL;
}

/* True where the connection was given up. */
static bool client_reply(struct world *w, struct client *c, const struct msg *m)
{
    char tag[16];
    snprintf(tag, sizeof tag, "h%u", c->epoch);
    if (c->dial == DIAL_HELLO && view_is(m->tag, tag)) {
        c->dial = DIAL_READY;
        return false;
    }
    struct request *r = request_table_reply(&c->table, m->tag);
    if (r == NULL)
        return false; /* answered before */
    struct ask *a = ask_of(c, r->number);
    enum status status = m->verb == VERB_ERR ? status_parse(m->subject) : STATUS_OK;
    if (a->kind == ASK_SUBMIT && r->sent_count > 1)
        count(w, COUNT_RESENT_SUBMIT);
    if ((status == STATUS_BUSY || status == STATUS_STOPPING) && c->index != OPERATOR) {
        request_table_again(&c->table, r);
        if (status == STATUS_STOPPING)
            client_lost(w, c, 200 * MS_US + roll(w, SECOND_US));
        else
            c->busy_until_us = w->now_us + 200 * MS_US;
        return status == STATUS_STOPPING;
    }
    request_free(&r);
    list_remove(&a->link);
    task_answer(w, c, a, m);
    free(a);
    return false;
}

static void client_receive(struct world *w, struct client *c)
{
    while (!list_is_empty(&c->inbox)) {
        struct packet *p = container_of(c->inbox.next, struct packet, link);
        struct msg m;
        struct error error = {0};
        list_remove(&p->link);
        trace_packet(w, c->peer.name, "<- broker", p);
        bool is_good =
            p->frame_count > c->envelope &&
            msg_decode(p->frames, p->frame_count, PLANE_REPLY, &m, &error) == STATUS_OK &&
            m.envelope_count == c->envelope;
        if (!is_good)
            check_fail(w, "%s cannot read a reply: %s", c->peer.name, error.text);
        bool is_lost = is_good && client_reply(w, c, &m);
        free(p);
        if (is_lost)
            return;
    }
}

/* True where the client lives on. */
static bool client_transmit(struct world *w, struct client *c)
{
    struct request *r = NULL;
    while (c->dial == DIAL_READY && w->now_us >= c->busy_until_us &&
           (r = request_table_next(&c->table, world_ms(w))) != NULL) {
        client_send(w, c, &r->msg);
        if (c->crash_in > 0 && --c->crash_in == 0) {
            client_kill(w, c->index);
            return false;
        }
    }
    return true;
}

static void client_turn(struct world *w, struct happening *h)
{
    struct client *c = container_of(h, struct client, turn);
    uint64_t pause_us = 100 * MS_US + roll(w, w->is_calm ? 100 * MS_US : 2 * SECOND_US);
    if (c->dial == DIAL_PAUSED && w->now_us >= c->dial_at_us)
        client_dial(w, c);
    client_receive(w, c);
    if (c->dial != DIAL_PAUSED && c->was_cut && (c->sees_cuts || c->index == OPERATOR))
        client_lost(w, c, pause_us);
    c->was_cut = false;
    if (c->dial == DIAL_HELLO && w->now_us >= c->hello_until_us)
        client_lost(w, c, pause_us);
    if (c->dial == DIAL_READY && request_table_must_redial(&c->table, world_ms(w)))
        client_lost(w, c, pause_us);
    if (w->now_us >= c->think_at_us) {
        c->think_at_us = w->now_us + roll(w, 4 * SECOND_US);
        task_think(w, c);
    }
    if (!client_transmit(w, c))
        return;
    uint64_t at_us = w->is_calm && tasks_are_over(w, c) ? UINT64_MAX : c->think_at_us;
    if (c->dial == DIAL_PAUSED)
        at_us = min_u64(at_us, c->dial_at_us);
    if (c->dial == DIAL_HELLO)
        at_us = min_u64(at_us, c->hello_until_us);
    if (c->dial == DIAL_READY && w->now_us < c->busy_until_us)
        at_us = min_u64(at_us, c->busy_until_us);
    uint64_t deadline_ms = request_table_deadline(&c->table);
    if (c->dial == DIAL_READY && deadline_ms != NEVER_MS)
        at_us = min_u64(at_us, deadline_ms * MS_US);
    if (at_us != UINT64_MAX)
        happen_by(w, h, max_u64(at_us, w->now_us + 1));
}

void client_deliver(struct world *w, int index, struct packet *p)
{
    struct client *c = &w->clients[index];
    list_push_back(&c->inbox, &p->link);
    client_wake(w, c, roll(w, 200));
}

void client_cut(struct world *w, int index)
{
    struct client *c = &w->clients[index];
    c->was_cut = true;
    client_wake(w, c, roll(w, 200));
}

static void client_end(struct world *w, struct client *c)
{
    asks_drop(c);
    request_table_fini(&c->table);
    socket_close(w, &c->socket);
    inbox_drop(c);
    c->is_up = c->peer.is_paused = c->is_stopping_pool = false;
    happen_not(w, &c->turn);
    happen_not(w, &c->resume);
}

void client_kill(struct world *w, int index)
{
    struct client *c = &w->clients[index];
    if (!c->is_up)
        return;
    trace(w, c->peer.name, "is killed");
    client_end(w, c);
    happen_at(w, &c->start, w->now_us + 50 * MS_US + roll(w, 3 * SECOND_US));
}

static void client_start(struct world *w, struct happening *h)
{
    struct client *c = container_of(h, struct client, start);
    c->is_up = true;
    c->crash_in = -1;
    c->dial = DIAL_PAUSED;
    c->dial_at_us = w->now_us;
    c->busy_until_us = 0;
    c->think_at_us = w->now_us;
    c->sees_cuts = chance(w, 70);
    request_table_init(&c->table, rng_next(&w->rng) >> 1);
    trace(w, c->peer.name, "starts");
    task_recover(w, c);
    client_wake(w, c, 0);
}

void client_resume(struct world *w, struct happening *h)
{
    struct client *c = container_of(h, struct client, resume);
    trace(w, c->peer.name, "goes on");
    c->peer.is_paused = false;
    client_wake(w, c, 0);
}

void client_pause(struct world *w, int index, uint64_t us)
{
    struct client *c = &w->clients[index];
    if (!c->is_up || c->peer.is_paused)
        return;
    trace(w, c->peer.name, "is stopped for %llu ms", (unsigned long long)(us / MS_US));
    c->peer.is_paused = true;
    happen_not(w, &c->turn);
    happen_at(w, &c->resume, w->now_us + us);
}

void client_init(struct world *w, int index)
{
    struct client *c = &w->clients[index];
    c->index = index;
    if (index == OPERATOR)
        snprintf(c->peer.name, sizeof c->peer.name, "operator");
    else
        snprintf(c->peer.name, sizeof c->peer.name, "client%d", index + 1);
    c->envelope = (uint8_t)roll(w, 3);
    c->turn.run = client_turn;
    c->start.run = client_start;
    c->resume.run = client_resume;
    list_init(&c->asks);
    list_init(&c->inbox);
    list_init(&c->table.requests);
    socket_init(&c->socket, index == OPERATOR ? NET_CONTROL : NET_CLIENTS, &c->peer, index);
    happen_at(w, &c->start, roll(w, 500 * MS_US));
}

void client_fini(struct world *w, int index)
{
    client_end(w, &w->clients[index]);
}
