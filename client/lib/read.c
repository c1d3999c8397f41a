/* SPDX-License-Identifier: MPL-2.0 */
/* read.c - GET, WAIT, FOLLOW, LIST, CANCEL: what is asked about jobs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/impl.h"

struct id_text {
    char text[24];
};

static struct view id_view(uint64_t id, struct id_text *t)
{
    snprintf(t->text, sizeof t->text, "%" PRIu64, id);
    return view_str(t->text);
}

int stint_get_start(struct stint *s, uint64_t id, unsigned want, struct stint_call **ret)
{
    static const struct {
        unsigned bit;
        const char *name;
    } parts[] = {{STINT_WANT_PAYLOAD, "payload"},
                 {STINT_WANT_STDOUT, "stdout"},
                 {STINT_WANT_STDERR, "stderr"}};
    json_t *names = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if ((want & parts[i].bit) != 0)
            json_array_append_new(names, json_string(parts[i].name));
    json_t *header = want != 0 ? json_pack("{s:O}", "want", names) : NULL;
    json_decref(names);
    struct id_text t;
    return call_start(s, VERB_GET, id_view(id, &t), header, NULL, 0, 0, ret);
}

int stint_wait_start(struct stint *s, const char *ids, uint64_t since, bool results,
                     uint64_t timeout_ms, struct stint_call **ret)
{
    uint64_t poll_ms = min_u64(timeout_ms, PROTO_LONG_POLL_MS);
    json_t *header = json_pack("{s:I,s:b,s:i,s:I}", "since", (json_int_t)since, "results", results,
                               "limit", PROTO_WAIT_JOBS_MAX, "timeout_ms", (json_int_t)poll_ms);
    return call_start(s, VERB_WAIT, view_str(ids), header, NULL, 0, poll_ms, ret);
}

/* A number that may be an integer or its text (ids are texts in JSON). */
static uint64_t u64_get(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    uint64_t n = 0;
    if (json_is_string(value))
        view_u64(view_of(json_string_value(value), json_string_length(value)), &n);
    else if (json_is_integer(value) && json_integer_value(value) > 0)
        n = (uint64_t)json_integer_value(value);
    return n;
}

static int int_get(const json_t *object, const char *key, int preset)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? (int)json_integer_value(value) : preset;
}

static const char *text_get(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

int stint_wait_reply(struct stint_call *c, struct stint_wait_reply *ret)
{
    json_t *json = call_json(c);
    const json_t *jobs = json_object_get(json, "jobs");
    if (!json_is_array(jobs))
        return stint_fail(c->stint, STINT_BAD_MESSAGE, "the broker's reply holds no jobs");
    *ret = (struct stint_wait_reply){.since = u64_get(json, "since"),
                                     .has_selected = json_object_get(json, "selected") != NULL,
                                     .selected = u64_get(json, "selected"),
                                     .count = json_array_size(jobs)};
    return STINT_OK;
}

int stint_wait_job(struct stint_call *c, size_t at, struct stint_finished *ret)
{
    const json_t *jobs = json_object_get(call_json(c), "jobs");
    const json_t *job = json_array_get(jobs, at);
    *ret = (struct stint_finished){
        .id = u64_get(job, "id"),
        .seq = u64_get(job, "seq"),
        .state = text_get(job, "state"),
        .reason = text_get(job, "reason"),
        .worker = text_get(job, "worker"),
        .exit_code = int_get(job, "exit_code", -1),
        .signal = int_get(job, "signal", 0),
        .attempts = (unsigned)int_get(job, "attempts", 0),
        .run_seconds = json_number_value(json_object_get(job, "run_seconds")),
        .truncated = json_is_true(json_object_get(job, "truncated")),
        .stdout_bytes = u64_get(job, "stdout_bytes"),
        .stderr_bytes = u64_get(job, "stderr_bytes"),
        .out = stint_call_body(c, at * 2),
        .err = stint_call_body(c, at * 2 + 1),
    };
    if (ret->id == 0 || ret->state[0] == '\0')
        return stint_fail(c->stint, STINT_BAD_MESSAGE, "the broker's reply holds a bad job");
    return STINT_OK;
}

int stint_follow_start(struct stint *s, uint64_t id, const struct stint_follow *known,
                       struct stint_call **ret)
{
    json_t *header = json_object();
    if (known != NULL && known->state[0] != '\0')
        json_object_set_new(header, "state", json_string(known->state));
    if (known != NULL && known->attempt > 0) {
        json_object_set_new(header, "attempt", json_integer((json_int_t)known->attempt));
        json_object_set_new(header, "stdout", json_integer((json_int_t)known->stdout_at));
        json_object_set_new(header, "stderr", json_integer((json_int_t)known->stderr_at));
    }
    struct id_text t;
    return call_start(s, VERB_FOLLOW, id_view(id, &t), header, NULL, 0, PROTO_LONG_POLL_MS, ret);
}

int stint_follow_reply(struct stint_call *c, struct stint_follow *ret)
{
    json_t *json = call_json(c);
    const char *waiting_for = json_string_value(json_object_get(json, "waiting_for"));
    if (text_get(json, "state")[0] == '\0')
        return stint_fail(c->stint, STINT_BAD_MESSAGE, "the broker's reply holds no state");
    *ret = (struct stint_follow){.attempt = (unsigned)int_get(json, "attempt", 0),
                                 .stdout_at = u64_get(json, "stdout"),
                                 .stderr_at = u64_get(json, "stderr"),
                                 .out = stint_call_body(c, 0),
                                 .err = stint_call_body(c, 1),
                                 .waiting_for = waiting_for};
    snprintf(ret->state, sizeof ret->state, "%s", text_get(json, "state"));
    return STINT_OK;
}

/* "ready,running" as a JSON list. */
static json_t *words_json(const char *words)
{
    json_t *list = json_array();
    struct view rest = view_str(words);
    struct view word;
    bool more = true;
    while (more) {
        more = view_cut(rest, ',', &word, &rest);
        json_array_append_new(list, json_stringn(word.data, word.size));
    }
    return list;
}

int stint_list_start(struct stint *s, const struct stint_filter *f, struct stint_call **ret)
{
    json_t *header = json_object();
    struct id_text t;
    if (f->queue != NULL)
        json_object_set_new(header, "queue", json_string(f->queue));
    if (f->states != NULL)
        json_object_set_new(header, "state", words_json(f->states));
    if (f->name != NULL)
        json_object_set_new(header, "name", json_string(f->name));
    if (f->before != 0) {
        id_view(f->before, &t);
        json_object_set_new(header, "before", json_string(t.text));
    }
    uint64_t limit = f->limit != 0 ? min_u64(f->limit, PROTO_LIST_JOBS_MAX) : 100;
    json_object_set_new(header, "limit", json_integer((json_int_t)limit));
    return call_start(s, VERB_LIST, view_str(f->ids), header, NULL, 0, 0, ret);
}

int stint_cancel_start(struct stint *s, const char *ids, const char *reason, const char *by,
                       struct stint_call **ret)
{
    json_t *header = json_object();
    if (reason != NULL)
        json_object_set_new(header, "reason", json_string(reason));
    if (by != NULL)
        json_object_set_new(header, "by", json_string(by));
    return call_start(s, VERB_CANCEL, view_str(ids), header, NULL, 0, 0, ret);
}

int stint_wait(struct stint *s, uint64_t id, uint64_t timeout_ms, struct stint_finished *ret,
               struct stint_call **ret_call)
{
    uint64_t until_ms = add_sat_u64(stint_now_ms(), timeout_ms);
    struct id_text t;
    uint64_t since = 0;
    id_view(id, &t);
    for (;;) {
        struct stint_call *c = NULL;
        struct stint_wait_reply reply = {0};
        uint64_t left_ms = sub_sat_u64(until_ms, stint_now_ms());
        int status = stint_wait_start(s, t.text, since, true, left_ms, &c);
        if (status == STINT_OK)
            status = stint_call_wait(c, add_sat_u64(left_ms, 1));
        if (status == STINT_OK)
            status = stint_wait_reply(c, &reply);
        if (status == STINT_OK && reply.count > 0)
            status = stint_wait_job(c, 0, ret);
        if (status == STINT_OK && reply.count > 0) {
            *ret_call = c;
            return STINT_OK;
        }
        since = reply.since;
        stint_call_free(&c);
        if (status != STINT_OK)
            return status;
        if (stint_now_ms() >= until_ms)
            return stint_fail(s, STINT_TIMEOUT, "job %s has not finished yet", t.text);
    }
}
