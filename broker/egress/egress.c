/* SPDX-License-Identifier: MPL-2.0 */
/* egress.c - replies to clients and operators, messages to workers. JSON that a job's submitter
 * wrote (argv, cwd) is passed on as it came; everything else is built here. */
#include "broker/egress/egress.h"

#include <jansson.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/base/text.h"

#define TEXT_JSON_BYTES_MAX 4096

/* A JSON string of any bytes: what is not UTF-8 becomes question marks. */
static json_t *json_text(struct view v)
{
    if (v.size == 0)
        return json_null();
    json_t *text = json_stringn(v.data, v.size);
    if (text != NULL)
        return text;
    char clean[TEXT_JSON_BYTES_MAX];
    size_t n = (size_t)min_u64(v.size, sizeof clean);
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = ((const unsigned char *)v.data)[i];
        clean[i] = (char)(byte < 0x80 && byte != 0 ? byte : '?');
    }
    return json_stringn(clean, n);
}

static json_t *json_time(uint64_t wall_ms)
{
    char text[TEXT_TIME_BYTES];
    if (wall_ms == 0)
        return json_null();
    text_time(text, wall_ms);
    return json_string(text);
}

static json_t *json_u64(uint64_t n)
{
    return json_integer((json_int_t)min_u64(n, INT64_MAX));
}

static json_t *json_id(uint64_t id)
{
    return json_sprintf("%llu", (unsigned long long)id);
}

/* Sets the object as the message's header and gives it back. */
static void header_set(struct outmsg *m, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    if (text != NULL)
        outmsg_header(m, view_str(text));
    free(text);
    json_decref(json);
}

static struct view caller_tag(const struct effect *f)
{
    return view_of(f->caller.tag, f->caller.tag_size);
}

/* --- jobs --- */

static void finish_fields(json_t *o, const struct finish *f)
{
    json_object_set_new(o, "reason", json_text(blob_view(f->reason)));
    json_object_set_new(o, "exit_code",
                        f->exit_code >= 0 ? json_integer(f->exit_code) : json_null());
    json_object_set_new(o, "signal", f->signal > 0 ? json_integer(f->signal) : json_null());
    json_object_set_new(o, "run_seconds",
                        f->started_ms > 0 ? json_real((double)f->run_ms / 1000) : json_null());
    json_object_set_new(o, "worker", json_text(blob_view(f->worker)));
    json_object_set_new(o, "started_at", json_time(f->started_ms));
    json_object_set_new(o, "finished_at", json_time(f->finished_ms));
    json_object_set_new(o, "truncated", json_boolean(f->is_truncated));
    json_object_set_new(o, "stdout_bytes", json_u64(f->stdout_bytes));
    json_object_set_new(o, "stderr_bytes", json_u64(f->stderr_bytes));
}

static json_t *json_finish(const struct finish *f)
{
    json_t *o = json_object();
    json_object_set_new(o, "id", json_id(f->job));
    json_object_set_new(o, "state", json_string(job_state_name(f->state)));
    json_object_set_new(o, "attempts", json_integer(f->attempt));
    json_object_set_new(o, "seq", json_u64(f->seq));
    finish_fields(o, f);
    return o;
}

static json_t *json_history(const struct job_row *row)
{
    json_t *list = json_array();
    for (size_t i = 0; i < row->history_count; i++) {
        const struct attempt *a = &row->history[i];
        json_t *o = json_object();
        json_object_set_new(o, "attempt", json_integer(a->number));
        json_object_set_new(o, "worker", json_text(blob_view(a->worker)));
        json_object_set_new(o, "started_at", json_time(a->started_ms));
        json_object_set_new(o, "ended_at", json_time(a->ended_ms));
        json_object_set_new(o, "outcome", json_string(outcome_name(a->outcome)));
        json_object_set_new(o, "reason", json_text(blob_view(a->reason)));
        json_array_append_new(list, o);
    }
    return list;
}

/* argv and cwd come out of the stored spec. */
static void spec_fields(json_t *o, const struct job_template *t)
{
    struct view text = blob_view(t->spec);
    json_t *spec = text.size > 0 ? json_loadb(text.data, text.size, 0, NULL) : NULL;
    json_t *argv = json_object_get(spec, "argv");
    json_t *cwd = json_object_get(spec, "cwd");
    json_object_set(o, "argv", argv != NULL ? argv : json_null());
    json_object_set(o, "cwd", cwd != NULL ? cwd : json_null());
    json_decref(spec);
}

static json_t *json_job(const struct job_view *v)
{
    const struct job_row *row = &v->row;
    const struct job_options *options = &row->template->options;
    json_t *o = json_object();
    json_object_set_new(o, "id", json_id(row->id));
    json_object_set_new(o, "queue", json_string(v->queue));
    json_object_set_new(o, "kind", json_string(job_kind_name((enum job_kind)options->kind)));
    json_object_set_new(o, "state", json_string(job_state_name(row->state)));
    if (row->finish != NULL) {
        finish_fields(o, row->finish);
    } else {
        static const char *const unknown[] = {"exit_code", "signal", "run_seconds", "finished_at"};
        struct view reason = row->is_cancelled ? blob_view(row->cancel_reason) : view_of(NULL, 0);
        json_object_set_new(o, "reason", json_text(reason));
        for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
            json_object_set_new(o, unknown[i], json_null());
        bool is_running = row->state == JOB_RUNNING;
        json_object_set_new(o, "worker",
                            is_running ? json_text(blob_view(row->worker)) : json_null());
        json_object_set_new(o, "started_at", is_running ? json_time(row->started_ms) : json_null());
        json_object_set_new(o, "truncated", json_false());
        json_object_set_new(o, "stdout_bytes", json_integer(0));
        json_object_set_new(o, "stderr_bytes", json_integer(0));
    }
    json_object_set_new(o, "name", json_text(view_str(options->name)));
    json_object_set_new(o, "attempts", json_integer(row->attempt));
    json_object_set_new(o, "crashes",
                        json_integer(row->finish != NULL ? row->finish->crashes : row->crashes));
    json_object_set_new(o, "priority", json_integer(options->priority));
    json_object_set_new(o, "submitted_at", json_time(row->submitted_ms));
    json_object_set_new(o, "not_before", json_time(row->not_before_ms));
    spec_fields(o, row->template);
    json_object_set_new(o, "meta", json_null());
    json_object_set_new(o, "payload_bytes", json_u64(row->payload_bytes));
    json_object_set_new(o, "existing", json_false());
    json_object_set_new(o, "waiting_for", json_text(view_str(v->waiting_for)));
    json_object_set_new(o, "seq", json_u64(row->seq));
    return o;
}

static void encode_jobs(const struct effect *f, struct outmsg *m)
{
    if (f->jobs.is_list) {
        json_t *list = json_array();
        for (size_t i = 0; i < f->jobs.count; i++)
            json_array_append_new(list, json_job(&f->jobs.jobs[i]));
        json_t *o = json_object();
        json_object_set_new(o, "jobs", list);
        json_object_set_new(o, "more", json_boolean(f->jobs.has_more));
        header_set(m, o);
        return;
    }
    const struct job_row *row = &f->jobs.jobs[0].row;
    json_t *o = json_job(&f->jobs.jobs[0]);
    json_object_set_new(o, "history", json_history(row));
    header_set(m, o);
    for (uint8_t i = 0; i < f->jobs.want_count; i++) {
        struct blob *body = NULL;
        if (f->jobs.wants[i] == WANT_PAYLOAD)
            body = row->payload;
        else if (row->finish != NULL)
            body = f->jobs.wants[i] == WANT_STDOUT ? row->finish->stdout_data
                                                   : row->finish->stderr_data;
        outmsg_body(m, blob_ref(body));
    }
}

static void encode_finished(const struct effect *f, struct outmsg *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < f->finished.count; i++) {
        const struct finish *it = f->finished.finishes[i];
        json_array_append_new(list, json_finish(it));
        if (f->finished.with_results) {
            outmsg_body(m, blob_ref(it->stdout_data));
            outmsg_body(m, blob_ref(it->stderr_data));
        }
    }
    json_t *o = json_object();
    json_object_set_new(o, "since", json_u64(f->finished.since));
    if (f->finished.selected != UINT64_MAX)
        json_object_set_new(o, "selected", json_u64(f->finished.selected));
    json_object_set_new(o, "jobs", list);
    header_set(m, o);
}

static void encode_followed(const struct effect *f, struct outmsg *m)
{
    json_t *o = json_object();
    json_object_set_new(o, "state", json_string(job_state_name(f->followed.state)));
    json_object_set_new(o, "attempt", json_integer(f->followed.attempt));
    json_object_set_new(o, "stdout", json_u64(f->followed.stdout_at));
    json_object_set_new(o, "stderr", json_u64(f->followed.stderr_at));
    if (f->followed.waiting_for[0] != '\0')
        json_object_set_new(o, "waiting_for", json_text(view_str(f->followed.waiting_for)));
    header_set(m, o);
    outmsg_body(m, blob_ref(f->followed.stdout_data));
    outmsg_body(m, blob_ref(f->followed.stderr_data));
}

/* --- the broker itself --- */

static void encode_hello(const struct egress_config *c, const struct effect *f, struct outmsg *m)
{
    json_t *o = json_object();
    json_object_set_new(o, "version", json_string(c->version));
    json_object_set_new(o, "broker_start", json_integer(f->broker_start));
    if (f->type == EFFECT_HELLO) {
        json_object_set_new(o, "workers_port", json_integer(c->workers_port));
        json_object_set_new(o, "results_port", json_integer(c->results_port));
        json_object_set_new(o, "control", json_string(c->control));
        json_object_set_new(o, "window_requests", json_integer(PROTO_WINDOW_REQUESTS));
        json_object_set_new(o, "window_submits", json_integer(PROTO_WINDOW_SUBMITS));
        json_object_set_new(o, "payload_bytes_max", json_integer(PROTO_PAYLOAD_BYTES_MAX));
        json_object_set_new(o, "request_bytes_max", json_integer(PROTO_REQUEST_BYTES_MAX));
        json_object_set_new(o, "jobs_per_submit_max", json_integer(PROTO_JOBS_PER_SUBMIT_MAX));
    }
    header_set(m, o);
}

static void encode_status(const struct egress_config *c, const struct effect *f, struct outmsg *m)
{
    const struct status_view *v = f->status;
    json_t *jobs = json_object();
    for (int i = 0; i < JOB_STATE_COUNT; i++)
        json_object_set_new(jobs, job_state_name((enum job_state)i), json_u64(v->jobs[i]));
    json_t *queues = json_array();
    for (size_t i = 0; i < v->queue_count; i++) {
        json_t *q = json_object();
        json_object_set_new(q, "name", json_string(v->queues[i].name));
        json_object_set_new(q, "ready", json_u64(v->queues[i].ready));
        json_object_set_new(q, "scheduled", json_u64(v->queues[i].scheduled));
        json_object_set_new(q, "running", json_u64(v->queues[i].running));
        json_array_append_new(queues, q);
    }
    json_t *rates = json_object();
    json_object_set_new(rates, "submitted_per_second", json_real(v->submitted_per_second));
    json_object_set_new(rates, "finished_per_second", json_real(v->finished_per_second));
    json_t *workers = json_object();
    json_object_set_new(workers, "active", json_integer(v->workers_active));
    json_object_set_new(workers, "silent", json_integer(v->workers_silent));
    json_object_set_new(workers, "lost", json_integer(v->workers_lost));
    json_object_set_new(workers, "slots", json_integer(v->slots));
    json_object_set_new(workers, "slots_busy", json_integer(v->slots_busy));
    json_t *o = json_object();
    json_object_set_new(o, "version", json_string(c->version));
    json_object_set_new(o, "broker_start", json_integer(v->broker_start));
    json_object_set_new(o, "store", json_string(c->store_url));
    json_object_set_new(o, "store_bytes", json_u64(v->store_bytes));
    json_object_set_new(o, "store_free_bytes",
                        v->store_free_bytes == UINT64_MAX ? json_null()
                                                          : json_u64(v->store_free_bytes));
    json_object_set_new(o, "jobs", jobs);
    json_object_set_new(o, "queues", queues);
    json_object_set_new(o, "rates", rates);
    json_object_set_new(o, "workers", workers);
    json_object_set_new(o, "stopping", json_boolean(v->is_stopping));
    header_set(m, o);
}

static json_t *json_split(const char *list)
{
    json_t *array = json_array();
    struct view rest = view_str(list);
    while (rest.size > 0) {
        struct view item;
        view_cut(rest, ',', &item, &rest);
        json_array_append_new(array, json_text(item));
    }
    return array;
}

static void encode_workers(const struct effect *f, struct outmsg *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < f->workers.count; i++) {
        const struct worker_view *v = &f->workers.workers[i];
        json_t *kinds = json_array();
        for (int kind = JOB_PAYLOAD; kind <= JOB_COMMAND; kind++)
            if ((v->kinds & KIND_BIT(kind)) != 0)
                json_array_append_new(kinds, json_string(job_kind_name((enum job_kind)kind)));
        json_t *o = json_object();
        json_object_set_new(o, "name", json_text(view_str(v->name)));
        json_object_set_new(o, "host", json_text(view_str(v->host)));
        json_object_set_new(o, "pid", json_integer(v->pid));
        json_object_set_new(o, "queues", json_split(v->queues));
        json_object_set_new(o, "kinds", kinds);
        json_object_set_new(o, "slots", json_integer(v->slots));
        json_object_set_new(o, "slots_busy", json_integer(v->slots_busy));
        json_object_set_new(o, "state", json_string(v->state));
        json_object_set_new(o, "silent_seconds", json_real((double)v->silent_ms / 1000));
        json_object_set_new(o, "succeeded", json_u64(v->succeeded));
        json_object_set_new(o, "failed", json_u64(v->failed));
        json_object_set_new(o, "containment", json_text(view_str(v->containment)));
        json_array_append_new(list, o);
    }
    json_t *o = json_object();
    json_object_set_new(o, "workers", list);
    header_set(m, o);
}

static void encode_progress(const struct effect *f, struct outmsg *m)
{
    json_t *o = json_object();
    json_object_set_new(o, "phase", json_string(stop_phase_name(f->progress.phase)));
    json_object_set_new(o, "running", json_u64(f->progress.running));
    json_object_set_new(o, "ready", json_u64(f->progress.ready));
    json_object_set_new(o, "scheduled", json_u64(f->progress.scheduled));
    json_object_set_new(o, "workers", json_u64(f->progress.workers));
    json_object_set_new(o, "left_ms",
                        f->progress.left_ms == NEVER_MS ? json_null()
                                                        : json_u64(f->progress.left_ms));
    header_set(m, o);
}

static void encode_refusal(const struct effect *f, struct outmsg *m)
{
    json_t *o = json_object();
    json_object_set_new(o, "message", json_text(view_str(f->refuse.text)));
    outmsg_init(m, VERB_ERR, caller_tag(f), view_str(status_name(f->refuse.status)));
    header_set(m, o);
}

/* The first frames of a reply; the subject is filled where the verb has one. */
static void encode_reply(const struct egress_config *c, const struct effect *f, struct outmsg *m)
{
    struct buf subject;
    buf_init(&subject, 64);
    if (f->type == EFFECT_SUBMITTED)
        idset_add(&subject, f->submitted.first, f->submitted.first + f->submitted.count - 1);
    else if (f->type == EFFECT_JOBS && !f->jobs.is_list)
        buf_add_u64(&subject, f->jobs.jobs[0].row.id);
    else if (f->type == EFFECT_FOLLOWED)
        buf_add_u64(&subject, f->followed.id);
    outmsg_init(m, VERB_OK, caller_tag(f), buf_view(&subject));
    buf_fini(&subject);
    switch (f->type) {
    case EFFECT_HELLO:
    case EFFECT_PING:
        encode_hello(c, f, m);
        break;
    case EFFECT_SUBMITTED:
        if (f->submitted.is_existing)
            outmsg_header(m, view_str("{\"existing\":true}"));
        break;
    case EFFECT_JOBS:
        encode_jobs(f, m);
        break;
    case EFFECT_FINISHED:
        encode_finished(f, m);
        break;
    case EFFECT_FOLLOWED:
        encode_followed(f, m);
        break;
    case EFFECT_CANCELLED:
        header_set(m, json_pack("{s:I,s:I,s:I}", "cancelled", (json_int_t)f->cancelled.cancelled,
                                "cancelling", (json_int_t)f->cancelled.cancelling, "not_open",
                                (json_int_t)min_u64(f->cancelled.not_open, INT64_MAX)));
        break;
    case EFFECT_STATUS:
        encode_status(c, f, m);
        break;
    case EFFECT_WORKERS:
        encode_workers(f, m);
        break;
    case EFFECT_PROGRESS:
        encode_progress(f, m);
        break;
    default:
        break;
    }
}

/* --- to workers --- */

static void encode_job(const struct effect *f, struct outmsg *m)
{
    char subject[REF_BYTES_MAX];
    struct buf header;
    buf_init(&header, (size_t)PROTO_HEADER_BYTES_MAX * 2);
    ref_format(&f->job.ref, subject);
    outmsg_init(m, VERB_JOB, caller_tag(f), view_str(subject));
    job_header_add(&header, blob_view(f->job.template->spec), view_str(f->job.queue), f->job.seq);
    outmsg_header(m, buf_view(&header));
    outmsg_body(m, blob_ref(f->job.payload));
    buf_fini(&header);
}

static void encode_cancel(const struct effect *f, struct outmsg *m)
{
    char subject[REF_BYTES_MAX];
    struct buf header;
    buf_init(&header, PROTO_HEADER_BYTES_MAX);
    ref_format(&f->cancel_job.ref, subject);
    outmsg_init(m, VERB_CANCEL, caller_tag(f), view_str(subject));
    cancel_header_encode(&f->cancel_job.header, &header);
    outmsg_header(m, buf_view(&header));
    buf_fini(&header);
}

static void encode_number(const struct effect *f, enum verb verb, uint64_t number, struct outmsg *m)
{
    struct buf subject;
    buf_init(&subject, 32);
    buf_add_u64(&subject, number);
    outmsg_init(m, verb, caller_tag(f), buf_view(&subject));
    buf_fini(&subject);
}

static void encode_ready(const struct effect *f, struct outmsg *m)
{
    struct buf header;
    buf_init(&header, PROTO_HEADER_BYTES_MAX);
    outmsg_init(m, VERB_READY, caller_tag(f), view_of(NULL, 0));
    welcome_header_encode(&f->ready, &header);
    outmsg_header(m, buf_view(&header));
    buf_fini(&header);
}

void egress_encode(const struct egress_config *c, const struct effect *f, struct outmsg *m)
{
    char ref[REF_BYTES_MAX];
    switch (f->type) {
    case EFFECT_REFUSE:
        encode_refusal(f, m);
        break;
    case EFFECT_READY:
        encode_ready(f, m);
        break;
    case EFFECT_JOB:
        encode_job(f, m);
        break;
    case EFFECT_ACK:
        outmsg_init(m, VERB_ACK, caller_tag(f), view_str(f->ack.outcome));
        outmsg_body(m, blob_new(ref, ref_format(&f->ack.ref, ref)));
        break;
    case EFFECT_BEAT:
        encode_number(f, VERB_BEAT, f->beat, m);
        break;
    case EFFECT_CANCEL_JOB:
        encode_cancel(f, m);
        break;
    case EFFECT_STOP:
        outmsg_init(m, VERB_STOP, caller_tag(f), view_str(f->stop_is_exit ? "exit" : "release"));
        break;
    case EFFECT_REGISTER:
        outmsg_init(m, VERB_REGISTER, caller_tag(f), view_of(NULL, 0));
        break;
    case EFFECT_AWAY:
        encode_number(f, VERB_AWAY, f->away_ms, m);
        break;
    case EFFECT_PROBE:
        outmsg_init(m, VERB_PROBE, caller_tag(f), view_of(NULL, 0));
        break;
    default:
        encode_reply(c, f, m);
        break;
    }
}
