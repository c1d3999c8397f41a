/* SPDX-License-Identifier: MPL-2.0 */
#include "worker/pool/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/memory.h"

#define ENV_OWN_MAX 8 /* variables that stint sets */

/* The parts of an item that placeholders name. */
struct item {
    struct view whole;
    struct view base;      /* after the last slash */
    struct view directory; /* as dirname(1) */
    char seq[24];
};

static const char *view_rchr(struct view v, char c)
{
    const char *p = v.data;
    for (size_t i = v.size; i > 0; i--)
        if (p[i - 1] == c)
            return p + i - 1;
    return NULL;
}

static struct view directory_of(struct view v)
{
    const char *p = v.data;
    size_t n = v.size;
    while (n > 1 && p[n - 1] == '/')
        n--;
    while (n > 0 && p[n - 1] != '/')
        n--;
    if (n == 0)
        return view_str(".");
    while (n > 1 && p[n - 1] == '/')
        n--;
    return view_of(p, n);
}

/* Without the last dot and what follows it, where that dot is behind the last slash. */
static struct view without_extension(struct view v)
{
    const char *dot = view_rchr(v, '.');
    const char *slash = view_rchr(v, '/');
    if (dot == NULL || (slash != NULL && dot < slash))
        return v;
    return view_of(v.data, (size_t)(dot - (const char *)v.data));
}

static void item_init(struct item *item, struct view bytes, uint64_t seq)
{
    *item = (struct item){.whole = bytes, .base = bytes, .directory = directory_of(bytes)};
    const char *slash = view_rchr(bytes, '/');
    if (slash != NULL)
        item->base = view_skip(bytes, (size_t)(slash - (const char *)bytes.data) + 1);
    snprintf(item->seq, sizeof item->seq, "%llu", (unsigned long long)seq);
}

/* Where `word` begins with a placeholder: its length, and what it stands for. Else 0. */
static size_t placeholder_at(const char *word, const char *mark, const struct item *item,
                             struct view *ret)
{
    if (strcmp(mark, "{}") != 0) {
        *ret = item->whole;
        return *mark != '\0' && strncmp(word, mark, strlen(mark)) == 0 ? strlen(mark) : 0;
    }
    const struct {
        const char *text;
        struct view value;
    } table[] = {
        {"{}", item->whole},
        {"{.}", without_extension(item->whole)},
        {"{/}", item->base},
        {"{//}", item->directory},
        {"{/.}", without_extension(item->base)},
        {"{#}", view_str(item->seq)},
    };
    for (size_t i = 0; *word == '{' && i < ARRAY_SIZE(table); i++) {
        size_t n = strlen(table[i].text);
        if (strncmp(word, table[i].text, n) == 0) {
            *ret = table[i].value;
            return n;
        }
    }
    return 0;
}

/* Appends the word with its placeholders replaced; true where it had any. */
static bool word_fill(struct buf *b, const char *word, const char *mark, const struct item *item)
{
    bool any = false;
    while (*word != '\0') {
        struct view value;
        size_t n = placeholder_at(word, mark, item, &value);
        if (n > 0) {
            buf_add_view(b, value);
            word += n;
            any = true;
        } else {
            buf_add_char(b, *word++);
        }
    }
    return any;
}

static void argv_copy(struct pool_command *c, const char *const *argv, size_t argc)
{
    c->argv = mem_zalloc((argc + 1) * sizeof *c->argv);
    c->argc = argc;
    for (size_t i = 0; i < argc; i++)
        c->argv[i] = mem_strdup(argv[i]);
}

static int argv_fill(struct pool_command *c, const struct command_context *x, struct error *e)
{
    const struct job_spec *spec = x->spec;
    struct item item;
    struct buf word;
    bool any = false;
    size_t total = 0;
    if (x->body.size > 0 && memchr(x->body.data, '\0', x->body.size) != NULL)
        return error_set(e, STATUS_BAD_ARGUMENT,
                         "the item holds a NUL byte, no argument can be made of it");
    item_init(&item, x->body, spec->seq);
    buf_init(&word, COMMAND_WORDS_BYTES_MAX);
    c->argv = mem_zalloc((spec->argc + 2) * sizeof *c->argv);
    for (size_t i = 0; i < spec->argc && !word.failed && total <= COMMAND_WORDS_BYTES_MAX; i++) {
        buf_reset(&word);
        any = word_fill(&word, spec->argv[i], spec->mark, &item) || any;
        c->argv[c->argc++] = mem_strdup(buf_cstr(&word));
        total += word.size + 1;
    }
    if (!any && !word.failed)
        c->argv[c->argc++] = view_dup(x->body);
    bool too_long = word.failed || total > COMMAND_WORDS_BYTES_MAX;
    buf_fini(&word);
    return too_long ? error_set(e, STATUS_TOO_LARGE, "the arguments are too long with this item")
                    : 0;
}

static void PRINTF_LIKE(2, 3) env_add(struct pool_command *c, const char *fmt, ...)
{
    char text[PROTO_NAME_BYTES_MAX + 64]; /* name and value are bounded by the protocol */
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof text)
        c->env[c->env_count++] = mem_strdup(text);
}

static void env_fill(struct pool_command *c, const struct command_context *x)
{
    const struct job_spec *spec = x->spec;
    c->env = mem_zalloc((spec->env_count + ENV_OWN_MAX + 1) * sizeof *c->env);
    for (size_t i = 0; i < spec->env_count; i++)
        c->env[c->env_count++] = mem_strdup(spec->env[i]);
    env_add(c, "STINT_JOB_ID=%llu", (unsigned long long)x->ref->job);
    env_add(c, "STINT_JOB_QUEUE=%s", spec->queue != NULL ? spec->queue : x->queue);
    env_add(c, "STINT_ATTEMPT=%u", x->ref->attempt);
    env_add(c, "STINT_LEASE=%llu", (unsigned long long)x->ref->lease);
    env_add(c, "STINT_WORKER=%s", x->worker);
    env_add(c, "STINT_SLOT=%zu", x->slot + 1);
    if (spec->seq > 0)
        env_add(c, "STINT_SEQ=%llu", (unsigned long long)spec->seq);
    if (spec->input_is_argv && x->body.size <= COMMAND_INPUT_ENV_BYTES_MAX) {
        struct buf b;
        buf_init(&b, COMMAND_INPUT_ENV_BYTES_MAX + sizeof "STINT_INPUT=");
        buf_add_str(&b, "STINT_INPUT=");
        buf_add_view(&b, x->body);
        c->env[c->env_count++] = mem_strdup(buf_cstr(&b));
        buf_fini(&b);
    }
}

static char *copy_or_null(const char *s)
{
    return s != NULL ? mem_strdup(s) : NULL;
}

struct pool_command *command_build(const struct command_context *context, struct error *e)
{
    const struct job_spec *spec = context->spec;
    struct pool_command *c = mem_zalloc(sizeof *c);
    c->time_limit_ms = spec->time_limit_ms;
    c->grace_ms = context->kill_grace_ms;
    c->output_limit_bytes = spec->output_limit_bytes;
    c->is_handler = spec->argc == 0;
    if (c->is_handler) {
        argv_copy(c, context->handler_argv, context->handler_argc);
    } else {
        c->cwd = copy_or_null(spec->cwd);
        c->stdout_file = copy_or_null(spec->stdout_file);
        c->stderr_file = copy_or_null(spec->stderr_file);
        if (!spec->input_is_argv)
            argv_copy(c, (const char *const *)spec->argv, spec->argc);
        else if (argv_fill(c, context, e) != 0)
            pool_command_free(&c);
    }
    if (c == NULL)
        return NULL;
    if (!spec->input_is_argv)
        c->input = blob_from_view(context->body);
    env_fill(c, context);
    return c;
}
