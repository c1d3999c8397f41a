/* SPDX-License-Identifier: MPL-2.0 */
#include "common/session/request.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"

static struct request *request_of(struct list *node)
{
    return container_of(node, struct request, link);
}

void request_table_init(struct request_table *t, uint64_t instance)
{
    *t = (struct request_table){.instance = instance,
                                .next_number = 1,
                                .next_sequence = 1,
                                .window_requests = PROTO_WINDOW_REQUESTS,
                                .window_submits = PROTO_WINDOW_SUBMITS};
    list_init(&t->requests);
}

void request_free(struct request **r)
{
    if (*r != NULL) {
        outmsg_fini(&(*r)->msg);
        free(*r);
    }
    *r = NULL;
}

void request_table_fini(struct request_table *t)
{
    list_each_safe (node, &t->requests) {
        struct request *r = request_of(node);
        list_remove(node);
        request_free(&r);
    }
    t->count = 0;
    t->sent_count = 0;
}

struct request *request_table_add(struct request_table *t, enum verb verb, struct view subject,
                                  struct view header, struct blob **bodies, size_t body_count,
                                  uint64_t poll_ms, uint64_t deadline_ms)
{
    struct request *r = mem_zalloc(sizeof *r);
    char tag[REQUEST_ID_BYTES_MAX];
    r->number = t->next_number++;
    if (verb == VERB_SUBMIT) {
        r->sequence = t->next_sequence++;
        struct request_id id = {t->instance, r->sequence};
        request_id_format(&id, tag);
    } else {
        snprintf(tag, sizeof tag, "q%llu", (unsigned long long)r->number);
    }
    outmsg_init(&r->msg, verb, view_str(tag), subject);
    outmsg_header(&r->msg, header);
    for (size_t i = 0; i < body_count; i++)
        outmsg_body(&r->msg, bodies[i]);
    r->patience_ms = add_sat_u64(REQUEST_PATIENCE_MS, poll_ms);
    r->deadline_ms = deadline_ms;
    list_push_back(&t->requests, &r->link);
    t->count++;
    return r;
}

/* True where the sequence number keeps within the span of the oldest unanswered SUBMIT: the broker
 * remembers only so many. */
static bool request_fits(const struct request_table *t, const struct request *r)
{
    if (r->sequence == 0)
        return true;
    list_each (node, &t->requests) {
        const struct request *oldest = request_of(node);
        if (oldest->sequence != 0 && oldest->sequence < r->sequence)
            return r->sequence - oldest->sequence < t->window_submits;
    }
    return true;
}

struct request *request_table_next(struct request_table *t, uint64_t now_ms)
{
    if (t->sent_count >= t->window_requests || t->sent_count == t->count)
        return NULL;
    list_each (node, &t->requests) {
        struct request *r = request_of(node);
        if (r->state == REQUEST_SENT)
            continue;
        if (!request_fits(t, r))
            return NULL;
        r->state = REQUEST_SENT;
        r->sent_ms = now_ms;
        r->sent_count++;
        t->sent_count++;
        return r;
    }
    return NULL;
}

void request_table_unsend(struct request_table *t, struct request *r)
{
    if (r->state != REQUEST_SENT)
        return;
    r->state = REQUEST_WAITING;
    r->sent_count--;
    t->sent_count--;
}

static struct request *request_take(struct request_table *t, struct request *r)
{
    list_remove(&r->link);
    t->count--;
    if (r->state == REQUEST_SENT)
        t->sent_count--;
    r->state = REQUEST_WAITING;
    return r;
}

struct request *request_table_reply(struct request_table *t, struct view tag)
{
    list_each (node, &t->requests) {
        struct request *r = request_of(node);
        if (r->sent_count > 0 && view_eq(outmsg_frame(&r->msg, OUT_TAG), tag)) {
            t->redial_wait_ms = 0;
            return request_take(t, r);
        }
    }
    return NULL;
}

void request_table_again(struct request_table *t, struct request *r)
{
    struct list *at = &t->requests;
    list_each (node, &t->requests) {
        if (request_of(node)->number > r->number) {
            at = node;
            break;
        }
    }
    list_insert_before(at, &r->link);
    t->count++;
}

struct request *request_table_expired(struct request_table *t, uint64_t now_ms)
{
    list_each (node, &t->requests) {
        struct request *r = request_of(node);
        if (r->deadline_ms <= now_ms)
            return request_take(t, r);
    }
    return NULL;
}

/* How long this request waits for its answer over the present connection. */
static uint64_t request_patience(const struct request_table *t, const struct request *r)
{
    return max_u64(r->patience_ms, t->redial_wait_ms);
}

bool request_table_must_redial(const struct request_table *t, uint64_t now_ms)
{
    list_each (node, &t->requests) {
        const struct request *r = request_of(node);
        if (r->state == REQUEST_SENT && add_sat_u64(r->sent_ms, request_patience(t, r)) <= now_ms)
            return true;
    }
    return false;
}

void request_table_redialled(struct request_table *t)
{
    list_each (node, &t->requests) {
        request_of(node)->state = REQUEST_WAITING;
    }
    t->sent_count = 0;
    t->redial_wait_ms = min_u64(max_u64(t->redial_wait_ms * 2, REQUEST_PATIENCE_MS / 2),
                                (uint64_t)REQUEST_PATIENCE_MS * 2);
}

uint64_t request_table_deadline(const struct request_table *t)
{
    uint64_t deadline = NEVER_MS;
    list_each (node, &t->requests) {
        const struct request *r = request_of(node);
        deadline = min_u64(deadline, r->deadline_ms);
        if (r->state == REQUEST_SENT)
            deadline = min_u64(deadline, add_sat_u64(r->sent_ms, request_patience(t, r)));
    }
    return deadline;
}
