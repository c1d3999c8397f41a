/* SPDX-License-Identifier: MPL-2.0 */
/* dial.c - the connection to the broker.
 *
 *     IDLE --want--> HELLO --answered--> READY
 *       ^             |  ^                 |
 *       |     refused |  | pause over      | cut, silent, "stopping"
 *       |             v  |                 v
 *       +--give up-- PAUSE <---------------+
 *
 * Each attempt uses a fresh socket (a fresh one is heard at once where an old one may be mute for
 * many seconds) and greets first: HELLO, on the control socket PING. Only after the answer are
 * requests sent, so a request is never lost in the pipe of a broker that does not exist. Addresses
 * are tried in their order; after the last comes a pause that grows. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/lib/impl.h"
#include "common/base/clock.h"
#include "common/net/address.h"

#define CONTROL_UNREACHED "its control socket cannot be reached from here"

enum {
    DIAL_PAUSE_MIN_MS = 50,
    DIAL_PAUSE_MAX_MS = 1000,
    DIAL_HELLO_MS = 2500, /* for the answer to a greeting, where it is not the only address */
    DIAL_STOPPING_MS = 200,
    DIAL_BUSY_MS = 100, /* nothing is sent for so long after "busy" */
};

uint64_t stint_now_ms(void)
{
    return clock_mono_ms();
}

static void notice(struct stint *s, enum stint_notice kind, const char *text)
{
    if (s->config.notice != NULL)
        s->config.notice(s->config.notice_arg, kind, text);
}

/* Fails every call that has no answer. */
static void calls_fail(struct stint *s, int status, const char *text)
{
    request_table_fini(&s->table);
    list_each_safe (node, &s->calls) {
        struct stint_call *c = container_of(node, struct stint_call, link);
        if (c->status == STINT_PENDING)
            call_fail(c, status, text);
    }
}

static void dial_give_up(struct stint *s)
{
    struct buf text;
    buf_init(&text, ERROR_TEXT_BYTES_MAX - 1);
    if (s->dial.was_ready)
        buf_addf(&text, "the broker at %s did not come back within %.3g s",
                 s->addresses[s->dial.address_at].text,
                 (double)s->config.reconnect_timeout_ms / 1000);
    else
        buf_addf(&text, "no broker answered within %.3g s",
                 (double)s->config.connect_timeout_ms / 1000);
    for (size_t i = 0; i < s->address_count && !s->dial.was_ready; i++)
        buf_addf(&text, "%s %s (%s)", i == 0 ? "; tried" : ",", s->addresses[i].text,
                 s->addresses[i].failure[0] != '\0' ? s->addresses[i].failure : "no answer");
    link_close(&s->dial.link);
    s->dial = (struct dial){.state = DIAL_IDLE, .epoch = s->dial.epoch};
    stint_fail(s, STINT_UNREACHABLE, "%s", buf_cstr(&text));
    calls_fail(s, STINT_UNREACHABLE, buf_cstr(&text));
    buf_fini(&text);
}

static void greet(struct stint *s, uint64_t now_ms)
{
    struct dial *d = &s->dial;
    char tag[16];
    snprintf(tag, sizeof tag, "h%u", d->epoch);
    bool ping = s->config.control && (d->is_at_control || s->addresses[d->address_at].is_ipc);
    char *header = NULL;
    if (!ping && s->client_name != NULL) {
        json_t *json = json_pack("{s:o}", "client", json_bytes(s->client_name));
        header = json_dumps(json, JSON_COMPACT);
        json_decref(json);
    }
    struct view frames[] = {view_str(PROTO_NAME),
                            view_str(verb_name(ping ? VERB_PING : VERB_HELLO)), view_str(tag),
                            view_of(NULL, 0), view_str(header)};
    link_send(d->link, frames, ARRAY_SIZE(frames));
    free(header);
    d->state = DIAL_HELLO;
    bool is_only = s->address_count == 1;
    d->hello_until_ms = now_ms + (is_only ? 2 : 1) * (uint64_t)DIAL_HELLO_MS;
}

/* Opens a fresh link and greets; false where libzmq refuses the endpoint. */
static bool dial_open(struct stint *s, const char *endpoint, uint64_t now_ms)
{
    link_close(&s->dial.link);
    s->dial.epoch++;
    int error = link_open(&s->dial.link, s->context, endpoint, PROTO_MESSAGE_BYTES_MAX);
    if (error != 0) {
        snprintf(s->addresses[s->dial.address_at].failure,
                 sizeof s->addresses[s->dial.address_at].failure, "%s", strerror(error));
        return false;
    }
    greet(s, now_ms);
    return true;
}

static void dial_pause(struct stint *s, uint64_t now_ms)
{
    link_close(&s->dial.link);
    s->dial.state = DIAL_PAUSE;
    s->dial.resume_ms = now_ms + s->dial.pause_ms;
    s->dial.pause_ms = min_u64(max_u64(s->dial.pause_ms * 2, DIAL_PAUSE_MIN_MS), DIAL_PAUSE_MAX_MS);
}

/* Dials the addresses from `at` on; a pause where none is left. */
static void dial_from(struct stint *s, size_t at, uint64_t now_ms)
{
    s->dial.is_at_control = false;
    for (; at < s->address_count; at++) {
        s->dial.address_at = at;
        if (dial_open(s, s->addresses[at].endpoint, now_ms))
            return;
    }
    s->dial.address_at = 0;
    dial_pause(s, now_ms);
}

static void dial_next(struct stint *s, const char *why, uint64_t now_ms)
{
    struct address *a = &s->addresses[s->dial.address_at];
    snprintf(a->failure, sizeof a->failure, "%s", why);
    dial_from(s, s->dial.address_at + 1, now_ms);
}

void dial_want(struct stint *s, uint64_t now_ms)
{
    if (s->dial.state != DIAL_IDLE)
        return;
    for (size_t i = 0; i < s->address_count; i++)
        s->addresses[i].failure[0] = '\0';
    s->dial.give_up_ms = add_sat_u64(now_ms, s->config.connect_timeout_ms);
    dial_from(s, 0, now_ms);
}

/* The connection is gone: everything without an answer goes out again over a fresh one. */
static void dial_lost(struct stint *s, enum stint_notice kind, const char *text, uint64_t now_ms)
{
    request_table_redialled(&s->table);
    if (s->dial.state == DIAL_READY && !s->dial.is_lost_told)
        s->dial.give_up_ms = add_sat_u64(now_ms, s->config.reconnect_timeout_ms);
    s->dial.is_stopping = s->dial.is_stopping || kind == STINT_NOTICE_STOPPING;
    if (s->dial.is_stopping) /* it goes on greeting until it is gone */
        s->dial.pause_ms = max_u64(s->dial.pause_ms, DIAL_STOPPING_MS);
    dial_pause(s, now_ms);
    if (!s->dial.is_lost_told)
        notice(s, kind, text);
    s->dial.is_lost_told = true;
}

/* Dials the control socket at the address that HELLO named; false where that cannot be one. */
static bool dial_control(struct stint *s, const char *control, uint64_t now_ms)
{
    struct net_address a;
    char endpoint[ENDPOINT_BYTES_MAX];
    struct error e;
    if (control == NULL || net_address_parse(control, PROTO_PORT_DEFAULT, &a, &e) != 0)
        return false;
    net_endpoint(&a, NET_CONTROL, a.port, endpoint);
    return dial_open(s, endpoint, now_ms);
}

/* The greeting was answered with OK. */
static void dial_answered(struct stint *s, const struct msg *m, uint64_t now_ms)
{
    json_t *json =
        json_loadb(m->header.data != NULL ? m->header.data : "", m->header.size, 0, NULL);
    struct dial *d = &s->dial;
    const char *control = json_string_value(json_object_get(json, "control"));
    if (s->config.control && !d->is_at_control && !s->addresses[d->address_at].is_ipc) {
        d->is_at_control = true;
        if (!dial_control(s, control, now_ms))
            dial_next(s, CONTROL_UNREACHED, now_ms);
        json_decref(json);
        return;
    }
    json_int_t requests = json_integer_value(json_object_get(json, "window_requests"));
    json_int_t submits = json_integer_value(json_object_get(json, "window_submits"));
    json_int_t broker_start = json_integer_value(json_object_get(json, "broker_start"));
    if (requests > 0)
        s->table.window_requests = (size_t)requests;
    if (submits > 0)
        s->table.window_submits = (size_t)submits;
    json_decref(json);
    d->state = DIAL_READY;
    d->was_ready = true;
    d->pause_ms = 0;
    /* A broker that is stopping still greets; it is back only when it is another one. */
    bool is_back = d->is_lost_told && !(d->is_stopping && broker_start == s->broker_start);
    s->broker_start = broker_start;
    if (is_back) {
        d->is_lost_told = false;
        d->is_stopping = false;
        notice(s, STINT_NOTICE_BACK, "the broker answers again");
    }
}

/* One message while the greeting is unanswered. */
static void hello_message(struct stint *s, struct link_message *m, uint64_t now_ms)
{
    size_t count = 0;
    const struct view *frames = link_message_frames(m, &count);
    struct msg msg;
    struct error e = {0};
    char tag[16];
    snprintf(tag, sizeof tag, "h%u", s->dial.epoch);
    enum status status = msg_decode(frames, count, PLANE_REPLY, &msg, &e);
    if (status == STATUS_BAD_VERSION || status == STATUS_BAD_MESSAGE)
        dial_next(s, "what answers there does not speak this protocol", now_ms);
    else if (status == STATUS_OK && view_is(msg.tag, tag) && msg.verb == VERB_OK)
        dial_answered(s, &msg, now_ms);
    else if (status == STATUS_OK && view_is(msg.tag, tag))
        dial_next(s, status_sentence(status_parse(msg.subject)), now_ms);
}

/* "Not now" answers that are worth asking again; true where the request went back. */
static bool answer_retried(struct stint *s, struct stint_call *c, struct request *r,
                           enum status status, uint64_t now_ms)
{
    if (status == STATUS_STOPPING && !s->config.control) {
        request_table_again(&s->table, r);
        c->request = r;
        dial_lost(s, STINT_NOTICE_STOPPING, "the broker is stopping", now_ms);
        return true;
    }
    if (status == STATUS_BUSY) {
        if (c->busy_since_ms == 0)
            c->busy_since_ms = now_ms;
        if (now_ms - c->busy_since_ms >= s->config.busy_timeout_ms)
            return false;
        request_table_again(&s->table, r);
        c->request = r;
        s->busy_until_ms = now_ms + DIAL_BUSY_MS;
        return true;
    }
    return false;
}

/* One message of a connection that is ready. */
static void ready_message(struct stint *s, struct link_message *m, uint64_t now_ms)
{
    size_t count = 0;
    const struct view *frames = link_message_frames(m, &count);
    struct msg msg;
    struct request *r = NULL;
    if (msg_decode(frames, count, PLANE_REPLY, &msg, NULL) == STATUS_OK)
        r = request_table_reply(&s->table, msg.tag);
    struct stint_call *c = r != NULL ? call_of(s, r) : NULL;
    enum status status = msg.verb == VERB_ERR ? status_parse(msg.subject) : STATUS_OK;
    if (c == NULL) {
        request_free(&r);
        link_message_free(&m);
        return;
    }
    c->request = NULL;
    if (status != STATUS_OK && answer_retried(s, c, r, status, now_ms)) {
        link_message_free(&m);
        return;
    }
    request_free(&r);
    call_answer(c, m, &msg);
}

static void drive_receive(struct stint *s, uint64_t now_ms)
{
    /* A reply may close the link (stopping), so it is looked up anew each time. */
    unsigned epoch = s->dial.epoch;
    while (s->dial.link != NULL && s->dial.epoch == epoch) {
        struct link_message *m = NULL;
        int error = link_receive(s->dial.link, PROTO_FRAMES_MAX, &m);
        if (error == EMSGSIZE)
            continue;
        if (error != 0)
            return;
        if (s->dial.state == DIAL_READY) {
            ready_message(s, m, now_ms);
        } else {
            hello_message(s, m, now_ms);
            link_message_free(&m);
        }
    }
}

static void drive_send(struct stint *s, uint64_t now_ms)
{
    struct request *r = NULL;
    while (s->dial.state == DIAL_READY && now_ms >= s->busy_until_ms &&
           (r = request_table_next(&s->table, now_ms)) != NULL) {
        size_t count = outmsg_frame_count(&r->msg);
        struct view frames[OUT_SMALL_FRAMES + PROTO_JOBS_PER_SUBMIT_MAX];
        for (size_t i = 0; i < count; i++)
            frames[i] = outmsg_frame(&r->msg, i);
        if (link_send(s->dial.link, frames, count) != 0) {
            request_table_unsend(&s->table, r);
            return;
        }
    }
}

void dial_drive(struct stint *s, uint64_t now_ms)
{
    struct dial *d = &s->dial;
    if (d->state == DIAL_PAUSE && now_ms >= d->resume_ms)
        dial_from(s, 0, now_ms);
    if (d->link != NULL)
        drive_receive(s, now_ms);
    if (d->link != NULL) {
        unsigned events = link_events(d->link);
        if (d->state == DIAL_HELLO && (events & (LINK_CUT | LINK_REFUSED)) != 0)
            dial_next(s,
                      d->is_at_control ? CONTROL_UNREACHED
                                       : address_failure(&s->addresses[d->address_at]),
                      now_ms);
        else if (d->state == DIAL_READY && (events & LINK_CUT) != 0)
            dial_lost(s, STINT_NOTICE_LOST, "the connection to the broker is lost", now_ms);
    }
    if (d->state == DIAL_HELLO && now_ms >= d->hello_until_ms)
        dial_next(s, "no answer", now_ms);
    if (d->state == DIAL_READY && request_table_must_redial(&s->table, now_ms))
        dial_lost(s, STINT_NOTICE_LOST, "the broker does not answer", now_ms);
    if ((d->state == DIAL_HELLO || d->state == DIAL_PAUSE) && now_ms >= d->give_up_ms)
        dial_give_up(s);
    drive_send(s, now_ms);
}

uint64_t dial_deadline_ms(const struct stint *s)
{
    const struct dial *d = &s->dial;
    uint64_t deadline = NEVER_MS;
    if (d->state == DIAL_PAUSE)
        deadline = min_u64(d->resume_ms, d->give_up_ms);
    else if (d->state == DIAL_HELLO)
        deadline = min_u64(d->hello_until_ms, d->give_up_ms);
    else if (d->state == DIAL_READY)
        deadline = request_table_deadline(&s->table);
    if (d->state == DIAL_READY && s->table.sent_count < s->table.count &&
        s->busy_until_ms > stint_now_ms())
        deadline = min_u64(deadline, s->busy_until_ms);
    return deadline;
}
