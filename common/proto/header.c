/* SPDX-License-Identifier: MPL-2.0 */
#include "common/proto/header.h"

#include <jansson.h>
#include <stdlib.h>

#include "common/proto/option.h"
#include "common/proto/ref.h"

/* The reader of one header: the first mistake sticks. */
struct reader {
    json_t *json; /* NULL: an empty header */
    enum status status;
    struct error *error;
};

static void reader_open(struct reader *r, struct view header, struct error *e)
{
    *r = (struct reader){.status = STATUS_OK, .error = e};
    if (header.size == 0)
        return;
    json_error_t at;
    r->json = json_loadb(header.data, header.size, JSON_REJECT_DUPLICATES, &at);
    if (!json_is_object(r->json)) {
        r->status = STATUS_BAD_ARGUMENT;
        error_set(e, STATUS_BAD_ARGUMENT, "the header is not a JSON object: %s", at.text);
    }
}

static enum status reader_close(struct reader *r)
{
    json_decref(r->json);
    return r->status;
}

static void reader_fail(struct reader *r, const char *key, const char *why)
{
    if (r->status != STATUS_OK)
        return;
    r->status = STATUS_BAD_ARGUMENT;
    error_set(r->error, STATUS_BAD_ARGUMENT, "%s: %s", key, why);
}

static uint64_t reader_u64(struct reader *r, const char *key, uint64_t preset, uint64_t low,
                           uint64_t high)
{
    json_t *value = r->status == STATUS_OK ? json_object_get(r->json, key) : NULL;
    if (value == NULL)
        return preset;
    uint64_t n = json_is_integer(value) && json_integer_value(value) >= 0
                     ? (uint64_t)json_integer_value(value)
                     : UINT64_MAX;
    if (n < low || n > high)
        reader_fail(r, key, "not a number within its bounds");
    return n;
}

static uint32_t reader_u32(struct reader *r, const char *key, uint32_t preset, uint32_t low,
                           uint32_t high)
{
    return (uint32_t)reader_u64(r, key, preset, low, high);
}

/* Copies a text of at most size - 1 bytes. */
static void reader_text(struct reader *r, const char *key, char *to, size_t size)
{
    json_t *value = r->status == STATUS_OK ? json_object_get(r->json, key) : NULL;
    to[0] = '\0';
    if (value == NULL)
        return;
    if (!json_is_string(value) || json_string_length(value) >= size) {
        reader_fail(r, key, "not a text, or too long");
        return;
    }
    memcpy(to, json_string_value(value), json_string_length(value) + 1);
}

/* Appends the object and gives it back. Invalid UTF-8 was replaced by text_value before. */
static void json_add(struct buf *b, json_t *json)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    if (text != NULL)
        buf_add_str(b, text);
    else
        b->failed = true;
    free(text);
    json_decref(json);
}

/* A JSON string of any bytes: those that are not UTF-8 become question marks. */
static json_t *text_value(const char *s)
{
    json_t *value = json_string(s);
    if (value != NULL)
        return value;
    char clean[PROTO_REASON_BYTES_MAX + 1];
    size_t n = 0;
    for (; s[n] != '\0' && n < sizeof clean - 1; n++)
        clean[n] = (unsigned char)s[n] < 0x80 ? s[n] : '?';
    clean[n] = '\0';
    return json_string(clean);
}

void ready_header_encode(const struct ready_header *h, struct buf *b)
{
    json_t *queues = json_array();
    for (uint32_t i = 0; i < h->queue_count; i++)
        json_array_append_new(queues, json_string(h->queues[i]));
    json_t *kinds = json_array();
    for (int kind = JOB_PAYLOAD; kind <= JOB_COMMAND; kind++)
        if ((h->kinds & KIND_BIT(kind)) != 0)
            json_array_append_new(kinds, json_string(job_kind_name((enum job_kind)kind)));
    json_t *json = json_object();
    json_object_set_new(json, "name", text_value(h->name));
    json_object_set_new(json, "host", text_value(h->host));
    json_object_set_new(json, "containment", text_value(h->containment));
    json_object_set_new(json, "pid", json_integer(h->pid));
    json_object_set_new(json, "slots", json_integer(h->slots));
    json_object_set_new(json, "kinds", kinds);
    json_object_set_new(json, "queues", queues);
    if (h->interval_ms > 0)
        json_object_set_new(json, "interval_ms", json_integer(h->interval_ms));
    if (h->lease_ms > 0)
        json_object_set_new(json, "lease_ms", json_integer(h->lease_ms));
    json_add(b, json);
}

static void ready_queues(struct reader *r, struct ready_header *h)
{
    json_t *queues = json_object_get(r->json, "queues");
    size_t n = json_array_size(queues);
    if (n == 0 || n > PROTO_QUEUES_PER_WORKER_MAX) {
        reader_fail(r, "queues", "a list of 1 to 32 queue names is needed");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        json_t *name = json_array_get(queues, i);
        struct view text = view_of(json_string_value(name), json_string_length(name));
        if (!json_is_string(name) || !queue_name_is_valid(text)) {
            reader_fail(r, "queues", "not a queue name");
            return;
        }
        memcpy(h->queues[i], text.data, text.size + 1);
        for (size_t k = 0; k < i; k++)
            if (strcmp(h->queues[k], h->queues[i]) == 0)
                reader_fail(r, "queues", "a queue is named twice");
    }
    h->queue_count = (uint32_t)n;
}

static void ready_kinds(struct reader *r, struct ready_header *h)
{
    json_t *kinds = json_object_get(r->json, "kinds");
    size_t i = 0;
    json_t *name = NULL;
    json_array_foreach(kinds, i, name)
    {
        const char *text = json_string_value(name);
        if (text != NULL && strcmp(text, job_kind_name(JOB_PAYLOAD)) == 0)
            h->kinds |= KIND_BIT(JOB_PAYLOAD);
        else if (text != NULL && strcmp(text, job_kind_name(JOB_COMMAND)) == 0)
            h->kinds |= KIND_BIT(JOB_COMMAND);
    }
    if (h->kinds == 0)
        reader_fail(r, "kinds", "\"command\", \"payload\" or both are needed");
}

enum status ready_header_decode(struct view header, struct ready_header *ret, struct error *e)
{
    struct reader r;
    *ret = (struct ready_header){0};
    reader_open(&r, header, e);
    reader_text(&r, "name", ret->name, sizeof ret->name);
    reader_text(&r, "host", ret->host, sizeof ret->host);
    reader_text(&r, "containment", ret->containment, sizeof ret->containment);
    ret->pid = reader_u32(&r, "pid", 0, 0, UINT32_MAX);
    ret->slots = reader_u32(&r, "slots", 1, 1, PROTO_SLOTS_MAX);
    ret->interval_ms = reader_u32(&r, "interval_ms", 0, 0, 3600000);
    ret->lease_ms = reader_u32(&r, "lease_ms", 0, 0, 86400000);
    if (r.status == STATUS_OK) {
        ready_queues(&r, ret);
        ready_kinds(&r, ret);
    }
    return reader_close(&r);
}

void welcome_header_encode(const struct welcome_header *h, struct buf *b)
{
    buf_addf(b, "{\"interval_ms\":%u,\"lease_ms\":%u,\"margin_ms\":%u,\"reconnect_ms\":%u}",
             h->interval_ms, h->lease_ms, h->margin_ms, h->reconnect_ms);
}

enum status welcome_header_decode(struct view header, struct welcome_header *ret, struct error *e)
{
    struct reader r;
    reader_open(&r, header, e);
    ret->interval_ms = reader_u32(&r, "interval_ms", 1000, 1, 3600000);
    ret->lease_ms = reader_u32(&r, "lease_ms", 30000, 1, 86400000);
    ret->margin_ms = reader_u32(&r, "margin_ms", 1000, 0, ret->lease_ms);
    ret->reconnect_ms = reader_u32(&r, "reconnect_ms", 0, 0, 3600000);
    return reader_close(&r);
}

void verdict_header_init(struct verdict_header *h)
{
    *h = (struct verdict_header){.exit_code = -1};
}

void verdict_header_encode(const struct verdict_header *h, struct buf *b)
{
    json_t *json = json_object();
    if (h->exit_code >= 0)
        json_object_set_new(json, "exit_code", json_integer(h->exit_code));
    if (h->signal > 0)
        json_object_set_new(json, "signal", json_integer(h->signal));
    if (h->is_truncated)
        json_object_set_new(json, "truncated", json_true());
    json_object_set_new(json, "stdout_bytes", json_integer((json_int_t)h->stdout_bytes));
    json_object_set_new(json, "stderr_bytes", json_integer((json_int_t)h->stderr_bytes));
    json_object_set_new(json, "run_ms", json_integer((json_int_t)h->run_ms));
    if (h->reason[0] != '\0')
        json_object_set_new(json, "reason", text_value(h->reason));
    json_add(b, json);
}

enum status verdict_header_decode(struct view header, uint64_t stdout_size, uint64_t stderr_size,
                                  struct verdict_header *ret, struct error *e)
{
    struct reader r;
    verdict_header_init(ret);
    reader_open(&r, header, e);
    if (r.json == NULL)
        ret->exit_code = 0;
    else
        ret->exit_code = (int32_t)reader_u64(&r, "exit_code", (uint32_t)-1, 0, 255);
    ret->signal = (int32_t)reader_u32(&r, "signal", 0, 0, 128);
    ret->stdout_bytes = reader_u64(&r, "stdout_bytes", stdout_size, 0, INT64_MAX);
    ret->stderr_bytes = reader_u64(&r, "stderr_bytes", stderr_size, 0, INT64_MAX);
    ret->run_ms = reader_u64(&r, "run_ms", 0, 0, INT64_MAX);
    reader_text(&r, "reason", ret->reason, sizeof ret->reason);
    json_t *cut = r.status == STATUS_OK ? json_object_get(r.json, "truncated") : NULL;
    if (cut != NULL && !json_is_boolean(cut))
        reader_fail(&r, "truncated", "true or false is needed");
    ret->is_truncated = json_is_true(cut);
    return reader_close(&r);
}

void refusal_header_decode(struct view header, char *ret, size_t size)
{
    struct error e;
    struct reader r;
    reader_open(&r, header, &e);
    reader_text(&r, "message", ret, size);
    (void)reader_close(&r);
}

void cancel_header_encode(const struct cancel_header *h, struct buf *b)
{
    json_t *json = json_object();
    json_object_set_new(json, "grace_ms", json_integer(h->grace_ms));
    json_object_set_new(json, "reason", text_value(h->reason));
    json_add(b, json);
}

enum status cancel_header_decode(struct view header, struct cancel_header *ret, struct error *e)
{
    struct reader r;
    reader_open(&r, header, e);
    ret->grace_ms = reader_u32(&r, "grace_ms", 10000, 0, 3600000);
    reader_text(&r, "reason", ret->reason, sizeof ret->reason);
    return reader_close(&r);
}
