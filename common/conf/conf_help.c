/* SPDX-License-Identifier: MPL-2.0 */
/* conf_help.c - what --help, --version and --print-config print, made from the tables. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/conf/conf.h"
#include "common/conf/conf_impl.h"

enum {
    HELP_BYTES_MAX = 1 << 20,
    HELP_COLUMN = 30, /* where the sentences begin */
    HELP_WIDTH = 100,
};

static void conf_pad(struct buf *out, size_t line_start, size_t column)
{
    do
        buf_add_char(out, ' ');
    while (!out->failed && out->size - line_start < column);
}

/* Adds the words of `text`, wrapped at HELP_WIDTH with HELP_COLUMN as margin. */
static void conf_wrap(struct buf *out, size_t *line_start, const char *text)
{
    struct view rest = view_str(text);
    struct view word;
    bool more = true;
    bool first = true;
    while (more) {
        more = view_cut(rest, ' ', &word, &rest);
        if (!first && out->size - *line_start + 1 + word.size > HELP_WIDTH) {
            buf_add_char(out, '\n');
            *line_start = out->size;
            conf_pad(out, *line_start, HELP_COLUMN);
        } else if (!first) {
            buf_add_char(out, ' ');
        }
        buf_add_view(out, word);
        first = false;
    }
}

static void conf_option_help(struct buf *out, const struct conf_option *o)
{
    size_t line_start = out->size;
    if (o->letter != 0)
        buf_addf(out, "  -%c, --%s", o->letter, o->name);
    else
        buf_addf(out, "      --%s", o->name);
    if (o->kind != CONF_FLAG)
        buf_addf(out, " %s", o->kind == CONF_CHOICE ? o->choices : o->metavar);
    if (out->size - line_start >= HELP_COLUMN - 1) {
        buf_add_char(out, '\n');
        line_start = out->size;
    }
    conf_pad(out, line_start, HELP_COLUMN);
    struct buf text;
    buf_init(&text, HELP_BYTES_MAX);
    buf_add_str(&text, o->help);
    if (o->value_default != NULL && o->env != NULL)
        buf_addf(&text, " [$%s, %s]", o->env, o->value_default);
    else if (o->value_default != NULL)
        buf_addf(&text, " [%s]", o->value_default);
    else if (o->env != NULL)
        buf_addf(&text, " [$%s]", o->env);
    conf_wrap(out, &line_start, buf_cstr(&text));
    buf_fini(&text);
    buf_add_char(out, '\n');
}

static bool conf_group_is_new(const struct conf *c, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(c->slots[i].option->group, c->slots[at].option->group) == 0)
            return false;
    return true;
}

static void conf_group_help(const struct conf *c, struct buf *out, const char *group)
{
    buf_addf(out, "\n%s options:\n", group);
    for (size_t i = 0; i < c->slots_count; i++)
        if (strcmp(c->slots[i].option->group, group) == 0)
            conf_option_help(out, c->slots[i].option);
}

void conf_help_add(const struct conf *c, struct buf *out)
{
    const struct conf_program *p = c->program;
    struct view rest = view_str(p->usage);
    struct view line;
    for (bool more = true, first = true; more; first = false) {
        more = view_cut(rest, '\n', &line, &rest);
        buf_addf(out, "%s %.*s\n", first ? "Usage:" : "      ", VIEW_ARG(line));
    }
    buf_addf(out, "%s\n", p->summary);
    if (p->examples != NULL)
        buf_add_str(out, "\nExamples:\n");
    for (const struct conf_example *x = p->examples; x != NULL && x->command != NULL; x++) {
        if (x->what != NULL)
            buf_addf(out, "  %-58s # %s\n", x->command, x->what);
        else
            buf_addf(out, "  %s\n", x->command);
    }
    /* the program's own groups first; the common one was added first and comes last */
    const char *general = c->slots[0].option->group;
    for (size_t i = 0; i < c->slots_count; i++)
        if (strcmp(c->slots[i].option->group, general) != 0 && conf_group_is_new(c, i))
            conf_group_help(c, out, c->slots[i].option->group);
    conf_group_help(c, out, general);
    if (p->notes != NULL)
        buf_addf(out, "\n%s\n", p->notes);
}

void conf_print_add(const struct conf *c, struct buf *out)
{
    for (size_t i = 0; i < c->slots_count; i++) {
        const struct conf_slot *s = &c->slots[i];
        if (s->option->key == NULL)
            continue;
        for (size_t k = 0; k < s->count || k == 0; k++) {
            const char *value = s->option->kind == CONF_FLAG ? (s->number != 0 ? "yes" : "no")
                                : s->count > 0               ? s->items[k]
                                                             : "";
            size_t line_start = out->size;
            buf_addf(out, "%s = %s", s->option->key, value);
            conf_pad(out, line_start, 40);
            buf_add_str(out, "# ");
            conf_origin_add(c, s->option->name, out);
            buf_add_char(out, '\n');
        }
    }
}

bool conf_answer(const struct conf *c)
{
    bool help = conf_flag(c, "help");
    bool version = conf_flag(c, "version");
    if (!help && !version && !conf_flag(c, "print-config"))
        return false;
    struct buf out;
    buf_init(&out, HELP_BYTES_MAX);
    if (help)
        conf_help_add(c, &out);
    else if (version)
        buf_addf(&out, "%s %s\n", c->program->name, c->program->version);
    else
        conf_print_add(c, &out);
    fwrite(out.data, 1, out.size, stdout);
    fflush(stdout);
    buf_fini(&out);
    return true;
}
