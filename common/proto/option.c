/* SPDX-License-Identifier: MPL-2.0 */
#include "common/proto/option.h"

#include <jansson.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/memory.h"
#include "common/base/text.h"

/* jansson reads a whole number only up to INT64_MAX; nothing here needs more. */
enum option_id {
#define NUMBER(field, key, low, high, preset, meaning) OPTION_##field,
#define TEXT(id, key, meaning) OPTION_##id,
#include "common/proto/option.def"
#undef NUMBER
#undef TEXT
    OPTION_COUNT
};

static const struct option_row {
    const char *key;
    bool is_number;
    uint64_t low;
    uint64_t high;
} option_table[OPTION_COUNT] = {
#define NUMBER(field, key, low, high, preset, meaning) {key, true, low, high},
#define TEXT(id, key, meaning) {key, false, 0, 0},
#include "common/proto/option.def"
#undef NUMBER
#undef TEXT
};

const char *job_kind_name(enum job_kind kind)
{
    return kind == JOB_COMMAND ? "command" : "payload";
}

void job_options_init(struct job_options *o)
{
    *o = (struct job_options){.kind = JOB_PAYLOAD};
#define NUMBER(field, key, low, high, preset, meaning) o->field = preset;
#define TEXT(id, key, meaning)
#include "common/proto/option.def"
#undef NUMBER
#undef TEXT
}

static enum option_id option_find(const char *key)
{
    int i = 0;
    while (i < OPTION_COUNT && strcmp(option_table[i].key, key) != 0)
        i++;
    return (enum option_id)i;
}

static enum status bad_value(struct error *e, const char *key, const char *why)
{
    error_set(e, STATUS_BAD_ARGUMENT, "%s: %s", key, why);
    return STATUS_BAD_ARGUMENT;
}

static enum status number_get(json_t *value, const struct option_row *row, uint64_t *ret,
                              struct error *e)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return bad_value(e, row->key, "a whole number from 0 on is needed");
    uint64_t n = (uint64_t)json_integer_value(value);
    if (n < row->low || n > row->high) {
        error_set(e, STATUS_BAD_ARGUMENT, "%s: %llu is not in %llu..%llu", row->key,
                  (unsigned long long)n, (unsigned long long)row->low,
                  (unsigned long long)row->high);
        return STATUS_BAD_ARGUMENT;
    }
    *ret = n;
    return STATUS_OK;
}

static enum status options_number(struct job_options *o, enum option_id id, json_t *value,
                                  struct error *e)
{
    uint64_t n = 0;
    enum status s = number_get(value, &option_table[id], &n, e);
    if (s != STATUS_OK)
        return s;
    switch (id) {
#define NUMBER(field, key, low, high, preset, meaning)                                             \
    case OPTION_##field:                                                                           \
        o->field = (__typeof__(o->field))n;                                                        \
        break;
#define TEXT(id, key, meaning)
#include "common/proto/option.def"
#undef NUMBER
#undef TEXT
    default:
        break;
    }
    return STATUS_OK;
}

/* A text of argv, env, cwd and files: a JSON string or {"base64": "..."}; without NULs. Appended to
 * `out` (which may be NULL: check only). */
static bool bytes_get(json_t *value, struct buf *out)
{
    struct buf bytes;
    buf_init(&bytes, PROTO_HEADER_BYTES_MAX);
    bool good = false;
    if (json_is_string(value)) {
        buf_add(&bytes, json_string_value(value), json_string_length(value));
        good = true;
    } else if (json_is_object(value) && json_object_size(value) == 1) {
        json_t *text = json_object_get(value, "base64");
        good =
            json_is_string(text) &&
            text_base64_decode(&bytes, view_of(json_string_value(text), json_string_length(text)));
    }
    good = good && !bytes.failed && (bytes.size == 0 || !memchr(bytes.data, '\0', bytes.size));
    if (good && out != NULL)
        buf_add(out, bytes.data, bytes.size);
    buf_fini(&bytes);
    return good;
}

static enum status argv_check(json_t *value, struct error *e)
{
    if (!json_is_array(value) || json_array_size(value) == 0)
        return bad_value(e, "argv", "a list of at least one text is needed");
    if (json_array_size(value) > PROTO_ARGV_MAX)
        return bad_value(e, "argv", "too many words");
    size_t i = 0;
    json_t *word = NULL;
    json_array_foreach(value, i, word)
    {
        if (!bytes_get(word, NULL))
            return bad_value(e, "argv", "each word is a text or {\"base64\": text}, without NUL");
    }
    return STATUS_OK;
}

static enum status env_check(json_t *value, struct error *e)
{
    if (!json_is_object(value) || json_object_size(value) > PROTO_ENV_MAX)
        return bad_value(e, "env", "an object of at most 1024 variables is needed");
    const char *key = NULL;
    json_t *text = NULL;
    json_object_foreach(value, key, text)
    {
        if (key[0] == '\0' || strchr(key, '=') != NULL || !bytes_get(text, NULL))
            return bad_value(e, "env", "each value is a text, each name not empty and without =");
    }
    return STATUS_OK;
}

static enum status text_check(struct job_options *o, enum option_id id, json_t *value,
                              struct error *e)
{
    const char *key = option_table[id].key;
    const char *text = json_string_value(value);
    switch (id) {
    case OPTION_NAME:
        if (text == NULL || json_string_length(value) > PROTO_NAME_BYTES_MAX)
            return bad_value(e, key, "a text of at most 128 bytes is needed");
        memcpy(o->name, text, json_string_length(value) + 1);
        return STATUS_OK;
    case OPTION_ARGV:
        o->kind = JOB_COMMAND;
        return argv_check(value, e);
    case OPTION_ENV:
        return env_check(value, e);
    case OPTION_INPUT:
        if (text == NULL || (strcmp(text, "stdin") != 0 && strcmp(text, "argv") != 0))
            return bad_value(e, key, "\"stdin\" or \"argv\" is needed");
        return STATUS_OK;
    case OPTION_MARK:
        if (text == NULL || text[0] == '\0')
            return bad_value(e, key, "a text that is not empty is needed");
        return STATUS_OK;
    case OPTION_CWD: {
        struct buf path;
        buf_init(&path, PROTO_HEADER_BYTES_MAX);
        bool good = bytes_get(value, &path) && path.size > 0 && path.data[0] == '/';
        buf_fini(&path);
        return good ? STATUS_OK : bad_value(e, key, "an absolute path is needed");
    }
    default:
        return bytes_get(value, NULL) ? STATUS_OK : bad_value(e, key, "a text is needed");
    }
}

/* Builds the spec: what the worker needs, in the order of the table; NULL where that is nothing. */
static struct blob *spec_make(json_t *header)
{
    static const int kept[] = {OPTION_ARGV,          OPTION_ENV,
                               OPTION_CWD,           OPTION_INPUT,
                               OPTION_MARK,          OPTION_STDOUT_FILE,
                               OPTION_STDERR_FILE,   OPTION_NAME,
                               OPTION_time_limit_ms, OPTION_output_limit_bytes};
    json_t *spec = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        const char *key = option_table[kept[i]].key;
        json_t *value = json_object_get(header, key);
        if (value != NULL)
            json_object_set(spec, key, value);
    }
    struct blob *blob = NULL;
    if (json_object_size(spec) > 0) {
        char *text = json_dumps(spec, JSON_COMPACT);
        if (text != NULL)
            blob = blob_new(text, strlen(text));
        free(text);
    }
    json_decref(spec);
    return blob;
}

static enum status options_read(json_t *header, struct job_options *o, struct error *e)
{
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(header, key, value)
    {
        enum option_id id = option_find(key);
        if (id == OPTION_COUNT) {
            error_set(e, STATUS_UNKNOWN_KEY, "SUBMIT does not know the key \"%.64s\"", key);
            return STATUS_UNKNOWN_KEY;
        }
        enum status s = option_table[id].is_number ? options_number(o, id, value, e)
                                                   : text_check(o, id, value, e);
        if (s != STATUS_OK)
            return s;
    }
    static const int command_only[] = {OPTION_ENV,  OPTION_CWD,         OPTION_INPUT,
                                       OPTION_MARK, OPTION_STDOUT_FILE, OPTION_STDERR_FILE};
    for (size_t i = 0; o->kind == JOB_PAYLOAD && i < ARRAY_SIZE(command_only); i++)
        if (json_object_get(header, option_table[command_only[i]].key) != NULL)
            return bad_value(e, option_table[command_only[i]].key, "only a job with argv has it");
    return STATUS_OK;
}

enum status job_options_decode(struct view header, struct job_options *ret, struct blob **ret_spec,
                               struct error *e)
{
    job_options_init(ret);
    *ret_spec = NULL;
    if (header.size == 0)
        return STATUS_OK;
    json_error_t at;
    json_t *json = json_loadb(header.data, header.size, JSON_REJECT_DUPLICATES, &at);
    if (!json_is_object(json)) {
        json_decref(json);
        error_set(e, STATUS_BAD_ARGUMENT, "the header is not a JSON object: %s", at.text);
        return STATUS_BAD_ARGUMENT;
    }
    enum status s = options_read(json, ret, e);
    if (s == STATUS_OK)
        *ret_spec = spec_make(json);
    json_decref(json);
    return s;
}

/* --- the worker's side --- */

/* Copies a text into the arena and returns its offset, or SIZE_MAX. */
static size_t arena_text(struct buf *arena, json_t *value)
{
    size_t at = arena->size;
    if (!bytes_get(value, arena))
        return SIZE_MAX;
    buf_add_char(arena, '\0');
    return at;
}

static int spec_list(struct job_spec *s, struct buf *arena, json_t *argv, json_t *env,
                     struct error *e)
{
    s->argc = json_array_size(argv);
    s->env_count = json_object_size(env);
    if (s->argc > PROTO_ARGV_MAX || s->env_count > PROTO_ENV_MAX)
        return error_set(e, STATUS_TOO_LARGE, "argv or env has too many entries");
    s->argv = mem_zalloc((s->argc + 1) * sizeof s->argv[0]);
    s->argv_bytes = mem_zalloc((s->argc + 1) * sizeof s->argv_bytes[0]);
    s->env = mem_zalloc((s->env_count + 1) * sizeof s->env[0]);
    /* Offsets first (the arena moves while it grows); spec_fix turns them into pointers. */
    for (size_t i = 0; i < s->argc; i++) {
        size_t at = arena_text(arena, json_array_get(argv, i));
        if (at == SIZE_MAX)
            return error_set(e, STATUS_BAD_ARGUMENT, "argv[%zu] is not a text", i);
        s->argv[i] = (char *)(uintptr_t)at;
        s->argv_bytes[i] = arena->size - at - 1;
    }
    const char *key = NULL;
    json_t *value = NULL;
    size_t i = 0;
    json_object_foreach(env, key, value)
    {
        size_t at = arena->size;
        buf_add_str(arena, key);
        buf_add_char(arena, '=');
        if (arena_text(arena, value) == SIZE_MAX)
            return error_set(e, STATUS_BAD_ARGUMENT, "env: %s is not a text", key);
        s->env[i++] = (char *)(uintptr_t)at;
    }
    return 0;
}

static uint64_t spec_number(json_t *json, const char *key, uint64_t preset)
{
    json_t *value = json_object_get(json, key);
    return json_is_integer(value) ? (uint64_t)json_integer_value(value) : preset;
}

static int spec_fill(struct job_spec *s, json_t *json, struct error *e)
{
    struct {
        const char *key;
        const char **to;
        size_t at;
    } texts[] = {
        {"queue", &s->queue, 0},
        {"name", &s->name, 0},
        {"cwd", &s->cwd, 0},
        {"mark", &s->mark, 0},
        {"stdout_file", &s->stdout_file, 0},
        {"stderr_file", &s->stderr_file, 0},
    };
    struct buf arena;
    buf_init(&arena, (size_t)PROTO_HEADER_BYTES_MAX * 2);
    int rc = spec_list(s, &arena, json_object_get(json, "argv"), json_object_get(json, "env"), e);
    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(texts); i++) {
        json_t *value = json_object_get(json, texts[i].key);
        texts[i].at = value != NULL ? arena_text(&arena, value) : SIZE_MAX;
        if (value != NULL && texts[i].at == SIZE_MAX)
            rc = error_set(e, STATUS_BAD_ARGUMENT, "%s is not a text", texts[i].key);
    }
    if (rc == 0 && arena.failed)
        rc = error_set(e, STATUS_TOO_LARGE, "the texts of a job's header are too large");
    if (rc != 0) {
        buf_fini(&arena);
        s->argc = 0;
        return rc;
    }
    s->arena = (char *)arena.data;
    for (size_t i = 0; i < s->argc; i++)
        s->argv[i] = s->arena + (uintptr_t)s->argv[i];
    for (size_t i = 0; i < s->env_count; i++)
        s->env[i] = s->arena + (uintptr_t)s->env[i];
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (texts[i].at != SIZE_MAX)
            *texts[i].to = s->arena + texts[i].at;
    const char *input = json_string_value(json_object_get(json, "input"));
    s->input_is_argv = input != NULL && strcmp(input, "argv") == 0;
    s->time_limit_ms = spec_number(json, "time_limit_ms", NEVER_MS);
    s->output_limit_bytes =
        min_u64(spec_number(json, "output_limit_bytes", PROTO_OUTPUT_BYTES_DEFAULT),
                PROTO_OUTPUT_BYTES_MAX);
    s->seq = spec_number(json, "seq", 0);
    return 0;
}

int job_spec_decode(struct view header, struct job_spec *ret, struct error *e)
{
    *ret = (struct job_spec){
        .mark = "{}", .time_limit_ms = NEVER_MS, .output_limit_bytes = PROTO_OUTPUT_BYTES_DEFAULT};
    if (header.size == 0)
        return 0;
    json_error_t at;
    json_t *json = json_loadb(header.data, header.size, JSON_REJECT_DUPLICATES, &at);
    int rc = -1;
    if (json_is_object(json))
        rc = spec_fill(ret, json, e);
    else
        error_set(e, STATUS_BAD_ARGUMENT, "the header of a JOB is not a JSON object: %s", at.text);
    json_decref(json);
    return rc;
}

void job_spec_fini(struct job_spec *s)
{
    free(s->argv);
    free(s->argv_bytes);
    free(s->env);
    free(s->arena);
    *s = (struct job_spec){.mark = "{}"};
}

void job_header_add(struct buf *b, struct view spec, struct view queue, uint64_t seq)
{
    if (spec.size == 0 && queue.size == 0 && seq == 0)
        return;
    const char *comma = "";
    buf_add_char(b, '{');
    if (queue.size > 0) {
        buf_addf(b, "\"queue\":\"%.*s\"", VIEW_ARG(queue));
        comma = ",";
    }
    if (seq > 0) {
        buf_addf(b, "%s\"seq\":%llu", comma, (unsigned long long)seq);
        comma = ",";
    }
    if (spec.size > 2) { /* a spec is "{...}" with at least one key */
        buf_add_str(b, comma);
        buf_add_view(b, view_skip(spec, 1));
    } else {
        buf_add_char(b, '}');
    }
}
