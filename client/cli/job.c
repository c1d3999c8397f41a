/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/job.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"

static const char *const job_fields[] = {
    "id",           "queue",        "state",      "reason",      "exit_code",
    "signal",       "name",         "attempts",   "crashes",     "priority",
    "submitted_at", "not_before",   "started_at", "finished_at", "run_seconds",
    "worker",       "argv",         "cwd",        "meta",        "payload_bytes",
    "stdout_bytes", "stderr_bytes", "truncated",  "existing",    "waiting_for",
};

void json_set_bytes(json_t *object, const char *key, struct stint_bytes bytes)
{
    struct view v = view_of(bytes.data, bytes.size);
    if (view_is_utf8(v)) {
        json_object_set_new(object, key, json_stringn(bytes.data, bytes.size));
        return;
    }
    char name[64];
    struct buf text;
    buf_init(&text, SIZE_MAX / 4);
    text_base64_add(&text, v);
    snprintf(name, sizeof name, "%s_base64", key);
    json_object_set_new(object, name, json_stringn((const char *)text.data, text.size));
    buf_fini(&text);
}

static const json_t *base64_of(const json_t *value)
{
    const json_t *text = json_is_object(value) ? json_object_get(value, "base64") : NULL;
    return json_is_string(text) ? text : NULL;
}

/* A list of words of which one is not UTF-8: all of them in base64. */
static json_t *words_base64(const json_t *words)
{
    json_t *list = json_array();
    size_t i = 0;
    json_t *word = NULL;
    json_array_foreach(words, i, word)
    {
        struct buf text;
        buf_init(&text, SIZE_MAX / 4);
        const json_t *coded = base64_of(word);
        if (coded != NULL)
            buf_add_str(&text, json_string_value(coded));
        else
            text_base64_add(&text, view_of(json_string_value(word), json_string_length(word)));
        json_array_append_new(list, json_string(buf_cstr(&text)));
        buf_fini(&text);
    }
    return list;
}

static bool words_need_base64(const json_t *words)
{
    size_t i = 0;
    json_t *word = NULL;
    json_array_foreach(words, i, word)
    {
        if (base64_of(word) != NULL)
            return true;
    }
    return false;
}

static void field_set(json_t *out, const char *key, json_t *value)
{
    char name[64];
    snprintf(name, sizeof name, "%s_base64", key);
    if (base64_of(value) != NULL)
        json_object_set(out, name, json_object_get(value, "base64"));
    else if (json_is_array(value) && words_need_base64(value))
        json_object_set_new(out, name, words_base64(value));
    else if (value != NULL)
        json_object_set(out, key, value);
    else
        json_object_set_new(out, key, json_null());
}

json_t *job_json(const json_t *job, bool with_history)
{
    json_t *out = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(job_fields); i++)
        field_set(out, job_fields[i], json_object_get(job, job_fields[i]));
    json_t *history = json_object_get(job, "history");
    if (with_history)
        json_object_set_new(out, "history", history != NULL ? json_incref(history) : json_array());
    return out;
}

const char *job_text(const json_t *job, const char *key)
{
    const char *text = json_string_value(json_object_get(job, key));
    return text != NULL ? text : "";
}

uint64_t job_number(const json_t *job, const char *key)
{
    const json_t *value = json_object_get(job, key);
    uint64_t n = 0;
    if (json_is_integer(value) && json_integer_value(value) > 0)
        n = (uint64_t)json_integer_value(value);
    else if (json_is_string(value))
        text_u64(json_string_value(value), &n);
    return n;
}

bool job_is_final(const char *state)
{
    return strcmp(state, "succeeded") == 0 || strcmp(state, "failed") == 0 ||
           strcmp(state, "cancelled") == 0 || strcmp(state, "expired") == 0;
}

int job_exit(const char *state, bool truncated)
{
    return strcmp(state, "succeeded") == 0 && !truncated ? EXIT_DONE : EXIT_FAILED;
}

void job_why(struct buf *out, const char *state, const char *reason, int exit_code, int signal)
{
    bool says_all = strncmp(reason, state, strlen(state)) == 0; /* "cancelled by ann" */
    buf_add_str(out, says_all ? reason : state);
    if (says_all)
        return;
    if (reason[0] != '\0')
        buf_addf(out, ": %s", reason);
    else if (signal > 0)
        buf_addf(out, ": signal %d", signal);
    else if (exit_code > 0)
        buf_addf(out, ": exit %d", exit_code);
}

static void word_add(struct buf *out, const char *word)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "0123456789_@%+=:,./-{}";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        buf_add_str(out, word);
        return;
    }
    buf_add_char(out, '\'');
    for (const char *p = word; *p != '\0'; p++) {
        if (*p == '\'')
            buf_add_str(out, "'\\''");
        else
            buf_add_char(out, (unsigned char)*p < 0x20 ? '?' : *p);
    }
    buf_add_char(out, '\'');
}

void job_command_add(const json_t *job, struct buf *out)
{
    size_t i = 0;
    json_t *word = NULL;
    json_array_foreach(json_object_get(job, "argv"), i, word)
    {
        if (i > 0)
            buf_add_char(out, ' ');
        word_add(out, json_is_string(word) ? json_string_value(word) : "?");
    }
}
