/* SPDX-License-Identifier: MPL-2.0 */
/* worker.c - messages of workers into events, from `workers` and from `results`. */
#include "broker/ingress/impl.h"

/* Reads refs, one a line, each line ended by a newline. */
static bool decode_refs(struct view body, struct ref *refs, size_t max, size_t *ret_count)
{
    size_t n = 0;
    while (body.size > 0) {
        struct view line;
        if (n == max || !view_cut(body, '\n', &line, &body) || !ref_parse(line, &refs[n]))
            return false;
        n++;
    }
    *ret_count = n;
    return true;
}

static enum status decode_inventory(struct ingress *in, const struct msg *m)
{
    struct event *e = &in->event;
    e->type = EVENT_INVENTORY;
    if (!decode_refs(m->bodies[0], in->running, ARRAY_SIZE(in->running),
                     &e->inventory.running_count) ||
        !decode_refs(m->bodies[1], in->outbox, ARRAY_SIZE(in->outbox), &e->inventory.outbox_count))
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, "INVENTORY",
                              "not lines of refs, or too many");
    e->inventory.running = in->running;
    e->inventory.outbox = in->outbox;
    return STATUS_OK;
}

static enum status decode_beat(struct ingress *in, const struct msg *m)
{
    struct event *e = &in->event;
    e->type = EVENT_BEAT;
    view_u64(m->subject, &e->beat.number);
    if (m->body_count > 0 &&
        !idset_parse(m->bodies[0], in->ranges, RANGES_MAX, &e->beat.lease_count))
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, "BEAT", "the body is not a set of leases");
    e->beat.leases = in->ranges;
    return STATUS_OK;
}

enum status ingress_worker(struct ingress *in, const struct msg *m)
{
    struct event *e = &in->event;
    if (!session_parse(m->tag, &e->session))
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, verb_name(m->verb), "the tag is no session");
    switch (m->verb) {
    case VERB_READY:
        e->type = EVENT_READY;
        e->ready = &in->ready;
        return ready_header_decode(m->header, &in->ready, &in->error);
    case VERB_INVENTORY:
        return decode_inventory(in, m);
    case VERB_CREDIT:
        e->type = EVENT_CREDIT;
        view_u64(m->subject, &e->credit);
        return STATUS_OK;
    case VERB_BEAT:
        return decode_beat(in, m);
    default:
        e->type = EVENT_BYE;
        return STATUS_OK;
    }
}

static enum status decode_output(struct ingress *in, const struct msg *m)
{
    struct event *e = &in->event;
    e->type = EVENT_OUTPUT;
    e->output.is_stderr = view_is(m->bodies[0], "err");
    e->output.data = m->bodies[2];
    if ((!e->output.is_stderr && !view_is(m->bodies[0], "out")) ||
        !view_u64(m->bodies[1], &e->output.offset) ||
        m->bodies[2].size > PROTO_OUTPUT_CHUNK_BYTES_MAX ||
        e->output.offset > INT64_MAX - PROTO_OUTPUT_CHUNK_BYTES_MAX)
        return STATUS_BAD_ARGUMENT;
    return STATUS_OK;
}

enum status ingress_result(struct ingress *in, const struct msg *m)
{
    static const struct {
        enum verb verb;
        enum outcome outcome;
    } outcomes[] = {{VERB_DONE, OUTCOME_OK},
                    {VERB_FAIL, OUTCOME_FAIL},
                    {VERB_RETRY, OUTCOME_RETRY},
                    {VERB_DISCARD, OUTCOME_DISCARD},
                    {VERB_RELEASED, OUTCOME_RELEASED}};
    struct event *e = &in->event;
    struct ref ref;
    if (!session_parse(m->tag, &e->session) || !ref_parse(m->subject, &ref))
        return STATUS_BAD_ARGUMENT;
    if (m->verb == VERB_OUTPUT) {
        e->output.ref = ref;
        return decode_output(in, m);
    }
    size_t sizes[2] = {0, 0};
    for (size_t i = 0; i < m->body_count; i++) {
        sizes[i] = m->bodies[i].size;
        if (sizes[i] > PROTO_OUTPUT_BYTES_MAX)
            return STATUS_TOO_LARGE;
    }
    enum status s = verdict_header_decode(m->header, sizes[0], sizes[1], &in->verdict, &in->error);
    if (s != STATUS_OK)
        return s;
    e->type = EVENT_VERDICT;
    e->verdict.ref = ref;
    e->verdict.header = &in->verdict;
    for (size_t i = 0; i < ARRAY_SIZE(outcomes); i++)
        if (outcomes[i].verb == m->verb)
            e->verdict.outcome = outcomes[i].outcome;
    for (size_t i = 0; i < m->body_count; i++)
        in->bodies[in->body_count++] = blob_from_view(m->bodies[i]);
    e->verdict.stdout_data = m->body_count > 0 ? in->bodies[0] : NULL;
    e->verdict.stderr_data = m->body_count > 1 ? in->bodies[1] : NULL;
    return STATUS_OK;
}
