/* SPDX-License-Identifier: MPL-2.0 */
/* outbox.c - verdicts from the end of an attempt to the broker's ACK.
 *
 * The list is in the order of the last sending, so the front is always the next to be sent again.
 * A verdict belongs to its attempt and not to a session: it is sent under the session of the
 * moment, and dropped by the ACK of any. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "worker/pool/impl.h"

static struct verdict *verdict_of(struct list *node)
{
    return container_of(node, struct verdict, link);
}

bool outbox_is_full(const struct pool *p)
{
    return p->outbox_count >= PROTO_OUTBOX_MAX;
}

static void verdict_free(struct pool *p, struct verdict *v)
{
    list_remove(&v->link);
    p->outbox_count--;
    p->outbox_bytes -= v->bytes;
    blob_unref(&v->header);
    blob_unref(&v->bodies[0]);
    blob_unref(&v->bodies[1]);
    free(v);
}

static void verdict_send(struct pool *p, struct verdict *v)
{
    char tag[SESSION_BYTES_MAX];
    char subject[REF_BYTES_MAX];
    size_t tag_size = session_format(&p->session, tag);
    size_t subject_size = ref_format(&v->ref, subject);
    struct pool_effect *effect = pool_effects_add(p->fx, POOL_EFFECT_SEND_RESULTS);
    outmsg_init(&effect->message, v->verb, view_of(tag, tag_size), view_of(subject, subject_size));
    if (v->header != NULL)
        outmsg_header(&effect->message, blob_view(v->header));
    for (size_t i = 0; i < v->body_count; i++)
        outmsg_body(&effect->message, blob_ref(v->bodies[i]));
    v->sent_ms = p->now_ms;
    list_remove(&v->link);
    list_push_back(&p->outbox, &v->link);
}

static bool header_is_plain(enum verb verb, const struct verdict_header *h)
{
    return verb == VERB_DONE && h->exit_code == 0 && h->signal == 0 && !h->is_truncated &&
           h->run_ms == 0;
}

void outbox_add(struct pool *p, const struct ref *ref, enum verb verb,
                const struct verdict_header *header, struct blob *bodies[2])
{
    struct verdict *v = mem_zalloc(sizeof *v);
    v->ref = *ref;
    v->verb = verb;
    v->bodies[0] = bodies[0];
    v->bodies[1] = bodies[1];
    v->body_count = bodies[1] != NULL ? 2 : 1;
    if (!header_is_plain(verb, header)) {
        struct buf text;
        buf_init(&text, PROTO_HEADER_BYTES_MAX);
        verdict_header_encode(header, &text);
        v->header = blob_from_view(buf_view(&text));
        buf_fini(&text);
    }
    v->bytes = sizeof *v + blob_size(v->header) + blob_size(bodies[0]) + blob_size(bodies[1]);
    list_push_front(&p->outbox, &v->link);
    p->outbox_count++;
    p->outbox_bytes += v->bytes;
    if (p->link == POOL_LINK_UP)
        verdict_send(p, v);
}

struct verdict *outbox_find(const struct pool *p, const struct ref *ref)
{
    list_each (node, &p->outbox) {
        struct verdict *v = verdict_of(node);
        if (ref_eq(&v->ref, ref))
            return v;
    }
    return NULL;
}

void outbox_on_ack(struct pool *p, const struct msg *msg)
{
    bool is_news = !view_is(msg->subject, "accepted") && !view_is(msg->subject, "duplicate");
    for (size_t i = 0; i < msg->body_count; i++) {
        struct ref ref;
        struct verdict *v = ref_parse(msg->bodies[i], &ref) ? outbox_find(p, &ref) : NULL;
        if (v == NULL)
            continue; /* acknowledged before */
        if (is_news)
            pool_effects_log(p->fx, POOL_LEVEL_INFO, "%s of job %llu was not taken: %.*s",
                             verb_name(v->verb), (unsigned long long)ref.job,
                             (int)min_u64(msg->subject.size, 32), (const char *)msg->subject.data);
        verdict_free(p, v);
    }
}

void outbox_resend(struct pool *p, uint64_t before_ms)
{
    if (p->link != POOL_LINK_UP)
        return;
    size_t left = p->outbox_count; /* each at most once: sending moves it to the back */
    while (left-- > 0) {
        struct verdict *v = verdict_of(p->outbox.next);
        if (v->sent_ms > before_ms)
            return;
        verdict_send(p, v);
    }
}

uint64_t outbox_deadline(const struct pool *p)
{
    if (p->link != POOL_LINK_UP || list_is_empty(&p->outbox))
        return NEVER_MS;
    return verdict_of(p->outbox.next)->sent_ms + POOL_RESEND_MS;
}

void outbox_fini(struct pool *p)
{
    list_each_safe (node, &p->outbox)
        verdict_free(p, verdict_of(node));
}
