/* SPDX-License-Identifier: MPL-2.0 */
/* client.c - requests of clients and operators into events. */
#include "broker/ingress/impl.h"

#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum status try_status = (call);                                                           \
        if (try_status != STATUS_OK)                                                               \
            return try_status;                                                                     \
    } while (0)

/* FNV-1a over the request's content, so that a repeated request id with other content is noticed.
 * http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t digest_add(uint64_t h, struct view v)
{
    const uint8_t *p = v.data;
    for (size_t i = 0; i < v.size; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001B3);
    return (h ^ v.size) * UINT64_C(0x100000001B3);
}

static enum status decode_submit(struct ingress *in, const struct msg *m)
{
    struct event *e = &in->event;
    uint64_t bytes = m->header.size;
    for (size_t i = 0; i < m->body_count; i++) {
        if (m->bodies[i].size > PROTO_PAYLOAD_BYTES_MAX) {
            error_set(&in->error, STATUS_TOO_LARGE, "body %zu has %zu bytes; at most %u", i + 1,
                      m->bodies[i].size, PROTO_PAYLOAD_BYTES_MAX);
            return STATUS_TOO_LARGE;
        }
        bytes += m->bodies[i].size;
    }
    if (bytes > PROTO_REQUEST_BYTES_MAX) {
        error_set(&in->error, STATUS_TOO_LARGE, "a request of %llu bytes; at most %u",
                  (unsigned long long)bytes, PROTO_REQUEST_BYTES_MAX);
        return STATUS_TOO_LARGE;
    }
    TRY(job_options_decode(m->header, &in->options, &in->spec, &in->error));
    e->type = EVENT_SUBMIT;
    e->submit.queue = m->subject;
    e->submit.options = &in->options;
    e->submit.spec = in->spec;
    request_id_parse(m->tag, &e->submit.request);
    uint64_t digest = UINT64_C(0xCBF29CE484222325);
    bool is_durable = e->submit.request.sequence != 0;
    if (is_durable)
        digest = digest_add(digest_add(digest, m->subject), m->header);
    for (size_t i = 0; i < m->body_count; i++) {
        in->bodies[in->body_count++] = blob_from_view(m->bodies[i]);
        if (is_durable)
            digest = digest_add(digest, m->bodies[i]);
    }
    e->submit.digest = digest >> 1; /* SQLite's numbers are signed */
    e->submit.payloads = in->bodies;
    e->submit.count = in->body_count;
    return STATUS_OK;
}

static enum status decode_get(struct ingress *in, const struct msg *m)
{
    static const char *const keys[] = {"want", NULL};
    struct event *e = &in->event;
    TRY(ingress_header(in, m, keys));
    e->type = EVENT_GET;
    view_u64(m->subject, &e->get.id);
    json_t *list = json_object_get(in->header, "want");
    if (list != NULL && (!json_is_array(list) || json_array_size(list) > WANTS_MAX))
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, "want", "a list of at most 3 is needed");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        uint8_t want = 0;
        if (name != NULL && strcmp(name, "payload") == 0)
            want = WANT_PAYLOAD;
        else if (name != NULL && strcmp(name, "stdout") == 0)
            want = WANT_STDOUT;
        else if (name != NULL && strcmp(name, "stderr") == 0)
            want = WANT_STDERR;
        else
            return ingress_refuse(in, STATUS_BAD_ARGUMENT, "want", "payload, stdout or stderr");
        e->get.wants[e->get.want_count++] = want;
    }
    return STATUS_OK;
}

static enum status decode_ids(struct ingress *in, const struct msg *m, bool may_be_empty,
                              size_t *ret_count)
{
    if (!idset_parse(m->subject, in->ranges, RANGES_MAX, ret_count))
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, "subject",
                              "not a set of at most 8192 ranges");
    if (*ret_count == 0 && !may_be_empty)
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, "subject", "a set of ids is needed");
    return STATUS_OK;
}

static enum status decode_wait(struct ingress *in, const struct msg *m)
{
    static const char *const keys[] = {"since", "results", "limit", "timeout_ms", NULL};
    struct event *e = &in->event;
    uint64_t limit = PROTO_WAIT_JOBS_MAX;
    e->type = EVENT_WAIT;
    e->wait.timeout_ms = PROTO_LONG_POLL_MS;
    TRY(ingress_header(in, m, keys));
    TRY(decode_ids(in, m, false, &e->wait.range_count));
    TRY(ingress_u64(in, "since", INT64_MAX, &e->wait.since));
    TRY(ingress_bool(in, "results", &e->wait.with_results));
    TRY(ingress_u64(in, "limit", INT64_MAX, &limit));
    TRY(ingress_u64(in, "timeout_ms", INT64_MAX, &e->wait.timeout_ms));
    e->wait.limit = (uint32_t)min_u64(limit, PROTO_WAIT_JOBS_MAX);
    e->wait.ranges = in->ranges;
    return STATUS_OK;
}

static enum status decode_follow(struct ingress *in, const struct msg *m)
{
    static const char *const keys[] = {"attempt", "stdout", "stderr", "state", NULL};
    struct event *e = &in->event;
    uint64_t attempt = 0;
    const char *state = NULL;
    e->type = EVENT_FOLLOW;
    e->follow.state = JOB_STATE_COUNT;
    view_u64(m->subject, &e->follow.id);
    TRY(ingress_header(in, m, keys));
    TRY(ingress_u64(in, "attempt", UINT32_MAX, &attempt));
    TRY(ingress_u64(in, "stdout", INT64_MAX, &e->follow.stdout_at));
    TRY(ingress_u64(in, "stderr", INT64_MAX, &e->follow.stderr_at));
    TRY(ingress_text(in, "state", 16, &state));
    if (state[0] != '\0' && !job_state_parse(view_str(state), &e->follow.state))
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, "state", "no such state");
    e->follow.attempt = (uint32_t)attempt;
    return STATUS_OK;
}

static enum status decode_states(struct ingress *in, unsigned *ret)
{
    json_t *list = json_object_get(in->header, "state");
    if (list != NULL && !json_is_array(list))
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, "state", "a list of states is needed");
    size_t i = 0;
    json_t *value = NULL;
    json_array_foreach(list, i, value)
    {
        enum job_state state = JOB_STATE_COUNT;
        if (!json_is_string(value) || !job_state_parse(view_str(json_string_value(value)), &state))
            return ingress_refuse(in, STATUS_BAD_ARGUMENT, "state", "no such state");
        *ret |= 1U << state;
    }
    return STATUS_OK;
}

static enum status decode_list(struct ingress *in, const struct msg *m)
{
    static const char *const keys[] = {"queue", "state", "name", "before", "limit", NULL};
    struct event *e = &in->event;
    uint64_t limit = 100;
    const char *queue = NULL;
    const char *before = NULL;
    e->type = EVENT_LIST;
    TRY(ingress_header(in, m, keys));
    TRY(decode_ids(in, m, true, &e->list.range_count));
    TRY(ingress_text(in, "queue", PROTO_QUEUE_BYTES_MAX, &queue));
    TRY(ingress_text(in, "name", PROTO_NAME_BYTES_MAX, &e->list.name));
    TRY(ingress_text(in, "before", 20, &before));
    TRY(ingress_u64(in, "limit", INT64_MAX, &limit));
    TRY(decode_states(in, &e->list.states));
    if (before[0] != '\0' && !view_u64(view_str(before), &e->list.before_id))
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, "before", "an id is needed");
    if (queue[0] != '\0' && !queue_name_is_valid(view_str(queue)))
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, "queue", "not a queue name");
    e->list.queue = view_str(queue);
    e->list.limit = (uint32_t)min_u64(limit, PROTO_LIST_JOBS_MAX);
    e->list.ranges = in->ranges;
    return STATUS_OK;
}

static enum status decode_cancel(struct ingress *in, const struct msg *m)
{
    static const char *const keys[] = {"reason", "by", NULL};
    struct event *e = &in->event;
    e->type = EVENT_CANCEL;
    TRY(ingress_header(in, m, keys));
    TRY(decode_ids(in, m, false, &e->cancel.range_count));
    TRY(ingress_text(in, "reason", PROTO_REASON_BYTES_MAX, &e->cancel.reason));
    TRY(ingress_text(in, "by", PROTO_NAME_BYTES_MAX, &e->cancel.by));
    e->cancel.ranges = in->ranges;
    return STATUS_OK;
}

enum status ingress_client(struct ingress *in, const struct msg *m)
{
    static const char *const hello_keys[] = {"client", NULL};
    static const char *const no_keys[] = {NULL};
    const char *name = NULL;
    switch (m->verb) {
    case VERB_HELLO:
        TRY(ingress_header(in, m, hello_keys));
        in->event.type = EVENT_HELLO;
        return ingress_text(in, "client", PROTO_NAME_BYTES_MAX, &name);
    case VERB_SUBMIT:
        return decode_submit(in, m);
    case VERB_GET:
        return decode_get(in, m);
    case VERB_WAIT:
        return decode_wait(in, m);
    case VERB_FOLLOW:
        return decode_follow(in, m);
    case VERB_LIST:
        return decode_list(in, m);
    case VERB_CANCEL:
        return decode_cancel(in, m);
    case VERB_STATUS:
        in->event.type = EVENT_STATUS;
        break;
    case VERB_WORKERS:
        in->event.type = EVENT_WORKERS;
        break;
    default:
        in->event.type = EVENT_PING;
        break;
    }
    return ingress_header(in, m, no_keys);
}

static enum status decode_shutdown(struct ingress *in, const struct msg *m)
{
    static const char *const keys[] = {"grace_ms", "keep_workers", NULL};
    struct event *e = &in->event;
    e->type = EVENT_SHUTDOWN;
    e->shutdown.grace_ms = 30000;
    TRY(ingress_header(in, m, keys));
    TRY(ingress_u64(in, "grace_ms", INT64_MAX, &e->shutdown.grace_ms));
    TRY(ingress_bool(in, "keep_workers", &e->shutdown.keep_workers));
    if (view_is(m->subject, "drain"))
        e->shutdown.mode = STOP_DRAIN;
    else if (view_is(m->subject, "finish"))
        e->shutdown.mode = STOP_FINISH;
    else if (view_is(m->subject, "now"))
        e->shutdown.mode = STOP_NOW;
    else
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, "subject", "drain, finish or now");
    return STATUS_OK;
}

static enum status decode_progress(struct ingress *in, const struct msg *m)
{
    static const char *const keys[] = {"phase", "running", "ready", "workers", NULL};
    struct event *e = &in->event;
    const char *phase = NULL;
    e->type = EVENT_PROGRESS;
    TRY(ingress_header(in, m, keys));
    TRY(ingress_text(in, "phase", 32, &phase));
    TRY(ingress_u64(in, "running", INT64_MAX, &e->progress.running));
    TRY(ingress_u64(in, "ready", INT64_MAX, &e->progress.ready));
    TRY(ingress_u64(in, "workers", INT64_MAX, &e->progress.workers));
    e->progress.has_seen = phase[0] != '\0';
    for (int i = PHASE_SERVING; i <= PHASE_DONE; i++)
        if (strcmp(phase, stop_phase_name((enum stop_phase)i)) == 0)
            e->progress.phase = (enum stop_phase)i;
    return STATUS_OK;
}

enum status ingress_control(struct ingress *in, const struct msg *m)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    switch (m->verb) {
    case VERB_SHUTDOWN:
        return decode_shutdown(in, m);
    case VERB_PROGRESS:
        return decode_progress(in, m);
    case VERB_LOG:
        in->event.type = EVENT_LOG;
        for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
            if (view_is(m->subject, levels[i])) {
                in->event.log_level = (uint8_t)i;
                return STATUS_OK;
            }
        }
        return ingress_refuse(in, STATUS_BAD_ARGUMENT, "subject", "error, warn, info or debug");
    default:
        return ingress_client(in, m);
    }
}
