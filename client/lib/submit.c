/* SPDX-License-Identifier: MPL-2.0 */
/* submit.c - SUBMIT: job options to a JSON header, bodies to blobs. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/impl.h"
#include "common/base/text.h"

void stint_job_options_init(struct stint_job_options *o)
{
    *o = (struct stint_job_options){.priority = STINT_DEFAULT,
                                    .retries = STINT_DEFAULT,
                                    .retry_delay_ms = STINT_DEFAULT,
                                    .crash_limit = STINT_DEFAULT,
                                    .time_limit_ms = STINT_DEFAULT,
                                    .keep_ms = STINT_DEFAULT,
                                    .output_limit_bytes = STINT_DEFAULT};
}

json_t *json_bytes(const char *text)
{
    struct view v = view_str(text);
    if (view_is_utf8(v))
        return json_stringn(text, v.size);
    struct buf b;
    buf_init(&b, SIZE_MAX / 4);
    text_base64_add(&b, v);
    json_t *json = b.failed ? NULL : json_pack("{s:s#}", "base64", b.data, (int)b.size);
    buf_fini(&b);
    return json;
}

static void number_set(json_t *header, const char *key, uint64_t value)
{
    if (value != STINT_DEFAULT && value != STINT_NEVER)
        json_object_set_new(header, key, json_integer((json_int_t)value));
}

static void text_set(json_t *header, const char *key, const char *value)
{
    if (value != NULL)
        json_object_set_new(header, key, json_bytes(value));
}

static void command_set(json_t *header, const struct stint_job_options *o)
{
    json_t *argv = json_array();
    for (const char *const *word = o->argv; *word != NULL; word++)
        json_array_append_new(argv, json_bytes(*word));
    json_object_set_new(header, "argv", argv);
    if (o->env != NULL && o->env[0] != NULL) {
        json_t *env = json_object();
        for (const char *const *pair = o->env; *pair != NULL; pair++) {
            const char *equals = strchr(*pair, '=');
            if (equals == NULL)
                continue;
            json_object_setn_new(env, *pair, (size_t)(equals - *pair), json_bytes(equals + 1));
        }
        json_object_set_new(header, "env", env);
    }
    text_set(header, "cwd", o->cwd);
    text_set(header, "stdout_file", o->stdout_file);
    text_set(header, "stderr_file", o->stderr_file);
    if (o->body_is_item) {
        text_set(header, "input", "argv");
        text_set(header, "mark", o->mark);
    }
}

static json_t *options_json(const struct stint_job_options *o)
{
    json_t *header = json_object();
    number_set(header, "priority", o->priority);
    number_set(header, "retries", o->retries);
    number_set(header, "retry_delay_ms", o->retry_delay_ms);
    number_set(header, "crash_limit", o->crash_limit);
    number_set(header, "time_limit_ms", o->time_limit_ms);
    if (o->keep_ms == STINT_NEVER)
        json_object_set_new(header, "keep_ms", json_integer(INT64_MAX));
    else
        number_set(header, "keep_ms", o->keep_ms);
    number_set(header, "output_limit_bytes", o->output_limit_bytes);
    if (o->seq != 0)
        number_set(header, "seq", o->seq);
    text_set(header, "name", o->name);
    if (o->argv != NULL && o->argv[0] != NULL)
        command_set(header, o);
    return header;
}

/* A copy of the bytes; NULL for none, or where memory is gone (then *failed is set). */
static struct blob *blob_try(const struct stint_bytes *bytes, bool *failed)
{
    if (bytes->size == 0)
        return NULL;
    struct blob *b = malloc(sizeof *b + bytes->size);
    if (b == NULL) {
        *failed = true;
        return NULL;
    }
    atomic_init(&b->refs, 1);
    b->size = bytes->size;
    memcpy(b->data, bytes->data, bytes->size);
    return b;
}

static int bodies_check(struct stint *s, const struct stint_bytes *bodies, size_t count)
{
    size_t total = 0;
    if (count == 0 || count > PROTO_JOBS_PER_SUBMIT_MAX)
        return stint_fail(s, STINT_BAD_ARGUMENT, "a submit of %zu jobs; 1 to %d are allowed", count,
                          PROTO_JOBS_PER_SUBMIT_MAX);
    for (size_t i = 0; i < count; i++) {
        total += bodies[i].size;
        if (bodies[i].size > PROTO_PAYLOAD_BYTES_MAX)
            return stint_fail(s, STINT_TOO_LARGE, "a payload of %zu bytes; at most %u are allowed",
                              bodies[i].size, PROTO_PAYLOAD_BYTES_MAX);
    }
    if (total > STINT_SUBMIT_BYTES_MAX)
        return stint_fail(s, STINT_TOO_LARGE, "a submit of %zu bytes; at most %u are allowed",
                          total, STINT_SUBMIT_BYTES_MAX);
    return STINT_OK;
}

int stint_submit_start(struct stint *s, const char *queue, const struct stint_job_options *options,
                       const struct stint_bytes *bodies, size_t count, struct stint_call **ret)
{
    if (!queue_name_is_valid(view_str(queue)))
        return stint_fail(s, STINT_BAD_ARGUMENT,
                          "bad queue name '%.80s': 1 to 64 letters, digits, '.', '_' and '-'",
                          queue);
    int status = bodies_check(s, bodies, count);
    if (status != STINT_OK)
        return status;
    struct blob **blobs = calloc(count, sizeof *blobs);
    bool failed = blobs == NULL;
    for (size_t i = 0; i < count && !failed; i++)
        blobs[i] = blob_try(&bodies[i], &failed);
    json_t *header = options != NULL ? options_json(options) : NULL;
    if (failed || (options != NULL && header == NULL)) {
        for (size_t i = 0; blobs != NULL && i < count; i++)
            blob_unref(&blobs[i]);
        json_decref(header);
        status = stint_fail(s, STINT_NO_MEMORY, "out of memory");
    } else {
        status = call_start(s, VERB_SUBMIT, view_str(queue), header, blobs, count, 0, ret);
    }
    free(blobs);
    return status;
}

int stint_submit(struct stint *s, const char *queue, const struct stint_job_options *options,
                 const struct stint_bytes *bodies, size_t count, char ret_ids[STINT_IDS_BYTES_MAX])
{
    struct stint_call *c = NULL;
    int status = stint_submit_start(s, queue, options, bodies, count, &c);
    if (status == STINT_OK)
        status = stint_call_wait(c, STINT_NEVER);
    struct id_range first = {0, 0};
    size_t ranges = 0;
    if (status == STINT_OK) {
        assert(c != NULL);
        struct view ids = c->msg.subject;
        if (idset_is_valid(ids) && ids.size > 0 && idset_next(&ids, &first))
            ranges = 1;
        else
            status = stint_fail(s, STINT_BAD_MESSAGE, "the broker's reply holds no ids");
    }
    if (ranges > 0)
        snprintf(ret_ids, STINT_IDS_BYTES_MAX, "%" PRIu64, first.first);
    stint_call_free(&c);
    return status;
}
