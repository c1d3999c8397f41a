/* SPDX-License-Identifier: MPL-2.0 */
/* conf.c - values: storing with checks, and the getters. */
#include "common/conf/conf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/conf/conf_impl.h"

static const struct conf_option conf_options_common[] = {
    {.name = "config",
     .kind = CONF_STRING,
     .env = "STINT_CONFIG",
     .metavar = "FILE",
     .help = "read options from this INI file",
     .group = "General"},
    {.name = "print-config",
     .kind = CONF_FLAG,
     .help = "print every setting with its origin, and exit",
     .group = "General"},
    {.name = "help",
     .letter = 'h',
     .kind = CONF_FLAG,
     .help = "print this help, and exit",
     .group = "General"},
    {.name = "version",
     .kind = CONF_FLAG,
     .help = "print the versions of the program and its libraries, and exit",
     .group = "General"},
    {.name = NULL},
};

struct conf *conf_new(const struct conf_program *program)
{
    struct conf *c = mem_zalloc(sizeof *c);
    c->program = program;
    c->args = mem_zalloc(sizeof *c->args);
    conf_add_options(c, conf_options_common);
    return c;
}

static void conf_slot_clear(struct conf_slot *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->items[i]);
    s->count = 0;
    s->number = 0;
}

void conf_free(struct conf **c)
{
    if (*c == NULL)
        return;
    for (size_t i = 0; i < (*c)->slots_count; i++) {
        conf_slot_clear(&(*c)->slots[i]);
        free((*c)->slots[i].items);
    }
    free((*c)->slots);
    free((*c)->args);
    free((*c)->file);
    free(*c);
    *c = NULL;
}

void conf_add_options(struct conf *c, const struct conf_option *table)
{
    for (; table->name != NULL; table++) {
        assert(conf_slot_find(c, table->name) == NULL);
        assert(table->letter == 0 || conf_slot_find_letter(c, table->letter) == NULL);
        c->slots = mem_realloc_array(c->slots, c->slots_count + 1, sizeof *c->slots);
        struct conf_slot *s = &c->slots[c->slots_count++];
        *s = (struct conf_slot){.option = table};
        if (table->value_default != NULL) {
            struct error e;
            int rc = conf_slot_set(s, table->value_default, &(struct conf_origin){.text = ""}, &e);
            assert(rc == 0);
            (void)rc;
        }
    }
}

struct conf_slot *conf_slot_find(const struct conf *c, const char *name)
{
    for (size_t i = 0; i < c->slots_count; i++)
        if (strcmp(c->slots[i].option->name, name) == 0)
            return &c->slots[i];
    return NULL;
}

struct conf_slot *conf_slot_find_letter(const struct conf *c, char letter)
{
    for (size_t i = 0; i < c->slots_count; i++)
        if (c->slots[i].option->letter == letter)
            return &c->slots[i];
    return NULL;
}

static bool conf_flag_parse(const char *value, uint64_t *ret)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcmp(value, words[i]) == 0) {
            *ret = i % 2;
            return true;
        }
    }
    return false;
}

static bool conf_choice_has(const char *choices, const char *value)
{
    struct view rest = view_str(choices);
    struct view word;
    bool more = true;
    while (more) {
        more = view_cut(rest, '|', &word, &rest);
        if (view_is(word, value))
            return true;
    }
    return false;
}

/* Appends the number as the option's kind writes it, for messages about bounds. */
static void conf_number_add(struct buf *out, enum conf_kind kind, uint64_t n)
{
    if (kind == CONF_DURATION && n == NEVER_MS)
        buf_add_str(out, "none");
    else if (kind == CONF_DURATION)
        buf_addf(out, n % 1000 == 0 ? "%llus" : "%llums",
                 (unsigned long long)(n % 1000 == 0 ? n / 1000 : n));
    else
        buf_add_u64(out, n);
}

/* Says in `why` what the value should have been; returns true where it is right. */
static bool conf_value_check(const struct conf_option *o, const char *value, uint64_t *ret_number,
                             struct buf *why)
{
    uint64_t n = 0;
    const char *reason = NULL;
    bool is_number = o->kind == CONF_U64 || o->kind == CONF_SIZE || o->kind == CONF_DURATION;
    if (o->kind == CONF_FLAG && !conf_flag_parse(value, &n))
        buf_add_str(why, "expected yes or no");
    else if (o->kind == CONF_U64 && !text_u64(value, &n))
        buf_add_str(why, "expected a whole number");
    else if (o->kind == CONF_SIZE && !text_size_bytes(value, &n))
        buf_add_str(why, "expected a size such as 64K, 1M or 2G");
    else if (o->kind == CONF_DURATION && !text_duration_ms(value, &n))
        buf_add_str(why, "expected a duration such as 250ms, 10s, 5m, 2h, 3d or none");
    else if (o->kind == CONF_CHOICE && !conf_choice_has(o->choices, value))
        buf_addf(why, "expected one of %s", o->choices);
    else if (is_number && o->max != 0 && (n < o->min || n > o->max)) {
        buf_add_str(why, "expected ");
        conf_number_add(why, o->kind, o->min);
        buf_add_str(why, " to ");
        conf_number_add(why, o->kind, o->max);
    } else if (o->check != NULL && !o->check(value, &reason)) {
        buf_add_str(why, reason);
    }
    *ret_number = n;
    return why->size == 0;
}

static int conf_item_add(struct conf_slot *s, struct view item, const struct conf_origin *from,
                         struct error *e)
{
    char *value = view_dup(item);
    struct buf why;
    buf_init(&why, 512);
    uint64_t n = 0;
    if (!conf_value_check(s->option, value, &n, &why)) {
        error_set(e, CONF_USAGE, "%s: bad value '%.200s': %s", from->text, value, buf_cstr(&why));
        buf_fini(&why);
        free(value);
        return -1;
    }
    buf_fini(&why);
    s->number = n;
    s->items = mem_realloc_array(s->items, s->count + 1, sizeof *s->items);
    s->items[s->count++] = value;
    return 0;
}

int conf_slot_set(struct conf_slot *s, const char *value, const struct conf_origin *from,
                  struct error *e)
{
    if (from->rank < s->rank)
        return 0;
    bool is_list = s->option->kind == CONF_LIST || s->option->kind == CONF_WORDS;
    if (!is_list || from->rank > s->rank)
        conf_slot_clear(s);
    s->rank = from->rank;
    s->line = from->line;
    if (s->option->kind != CONF_WORDS)
        return conf_item_add(s, view_str(value), from, e);
    struct view rest = view_str(value);
    struct view word;
    bool more = true;
    while (more) {
        more = view_cut(rest, ',', &word, &rest);
        if (word.size == 0)
            return error_set(e, CONF_USAGE, "%s: bad value '%.200s': an item is empty", from->text,
                             value);
        if (conf_item_add(s, word, from, e) < 0)
            return -1;
    }
    return 0;
}

static const struct conf_slot *conf_get(const struct conf *c, const char *name)
{
    const struct conf_slot *s = conf_slot_find(c, name);
    assert(s != NULL);
    return s;
}

bool conf_flag(const struct conf *c, const char *name)
{
    const struct conf_slot *s = conf_get(c, name);
    assert(s->option->kind == CONF_FLAG);
    return s->number != 0;
}

const char *conf_str(const struct conf *c, const char *name)
{
    const struct conf_slot *s = conf_get(c, name);
    assert(s->option->kind == CONF_STRING || s->option->kind == CONF_CHOICE);
    return s->count > 0 ? s->items[0] : NULL;
}

uint64_t conf_u64(const struct conf *c, const char *name)
{
    const struct conf_slot *s = conf_get(c, name);
    assert(s->option->kind == CONF_U64);
    return s->number;
}

uint64_t conf_bytes(const struct conf *c, const char *name)
{
    const struct conf_slot *s = conf_get(c, name);
    assert(s->option->kind == CONF_SIZE);
    return s->number;
}

uint64_t conf_ms(const struct conf *c, const char *name)
{
    const struct conf_slot *s = conf_get(c, name);
    assert(s->option->kind == CONF_DURATION);
    return s->number;
}

size_t conf_count(const struct conf *c, const char *name)
{
    return conf_get(c, name)->count;
}

const char *conf_item(const struct conf *c, const char *name, size_t at)
{
    const struct conf_slot *s = conf_get(c, name);
    assert(at < s->count);
    return s->items[at];
}

bool conf_is_set(const struct conf *c, const char *name)
{
    return conf_get(c, name)->rank != CONF_RANK_DEFAULT;
}

bool conf_has(const struct conf *c, const char *name)
{
    return conf_slot_find(c, name) != NULL;
}

void conf_origin_add(const struct conf *c, const char *name, struct buf *out)
{
    const struct conf_slot *s = conf_get(c, name);
    switch (s->rank) {
    case CONF_RANK_DEFAULT:
        buf_add_str(out, "default");
        break;
    case CONF_RANK_FILE:
        buf_addf(out, "%s:%d", c->file, s->line);
        break;
    case CONF_RANK_ENV:
        buf_addf(out, "environment %s", s->option->env);
        break;
    case CONF_RANK_ARGS:
        buf_add_str(out, "command line");
        break;
    }
}

int conf_args_count(const struct conf *c)
{
    return c->args_count;
}

char **conf_args(const struct conf *c)
{
    return c->args;
}

int conf_args_before_dashes(const struct conf *c)
{
    return c->args_before_dashes;
}

static int conf_env_read(struct conf *c, struct error *e)
{
    for (size_t i = 0; i < c->slots_count; i++) {
        struct conf_slot *s = &c->slots[i];
        const char *value = s->option->env != NULL ? getenv(s->option->env) : NULL;
        if (value == NULL || value[0] == '\0')
            continue;
        char text[128];
        snprintf(text, sizeof text, "environment variable %s", s->option->env);
        struct conf_origin from = {.rank = CONF_RANK_ENV, .text = text};
        if (conf_slot_set(s, value, &from, e) < 0)
            return -1;
    }
    return 0;
}

int conf_load(struct conf *c, struct error *e)
{
    if (conf_flag(c, "help") || conf_flag(c, "version"))
        return 0;
    if (conf_env_read(c, e) < 0)
        return -1;
    const char *path = conf_str(c, "config");
    return path != NULL ? conf_file_read(c, path, e) : 0;
}

int conf_read(struct conf *c, int argc, char **argv, enum conf_args_mode mode, struct error *e)
{
    int skip = argc > 0 ? 1 : 0;
    if (conf_parse_args(c, argc - skip, argv + skip, mode, e) < 0)
        return -1;
    return conf_load(c, e);
}
