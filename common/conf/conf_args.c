/* SPDX-License-Identifier: MPL-2.0 */
/* conf_args.c - the command line. getopt_long is not used, because it accepts abbreviated names,
 * keeps global state and prints by itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/conf/conf.h"
#include "common/conf/conf_impl.h"

struct conf_cursor {
    struct conf *conf;
    int argc;
    char **argv;
    int at;
    struct error *error;
};

const char *conf_nearest(const char *word, const char *const *words, size_t count)
{
    size_t length = strlen(word);
    size_t best_distance = length / 3 + 2;
    const char *best = NULL;
    for (size_t i = 0; i < count; i++) {
        bool is_prefix = length >= 2 && strncmp(words[i], word, length) == 0;
        size_t distance = is_prefix ? 1 : text_distance(word, words[i]);
        if (distance < best_distance && distance < length) {
            best_distance = distance;
            best = words[i];
        }
    }
    return best;
}

static int conf_unknown(const struct conf_cursor *k, const char *arg, struct view name)
{
    const struct conf *c = k->conf;
    const char **names = mem_zalloc((c->slots_count + 1) * sizeof *names);
    for (size_t i = 0; i < c->slots_count; i++)
        names[i] = c->slots[i].option->name;
    char *word = view_dup(name);
    const char *near = conf_nearest(word, names, c->slots_count);
    if (near != NULL)
        error_set(k->error, CONF_USAGE, "unknown option '--%s' (did you mean --%s?)", word, near);
    else
        error_set(k->error, CONF_USAGE, "unknown option '%s' (see --help)", arg);
    free(word);
    free(names);
    return -1;
}

static int conf_arg_long(struct conf_cursor *k)
{
    const char *arg = k->argv[k->at++];
    struct view name;
    struct view value;
    bool has_value = view_cut(view_str(arg + 2), '=', &name, &value);
    char *word = view_dup(name);
    struct conf_slot *s = conf_slot_find(k->conf, word);
    free(word);
    if (s == NULL)
        return conf_unknown(k, arg, name);
    char text[128];
    snprintf(text, sizeof text, "--%s", s->option->name);
    struct conf_origin from = {.rank = CONF_RANK_ARGS, .text = text};
    if (s->option->kind == CONF_FLAG) {
        if (has_value)
            return error_set(k->error, CONF_USAGE, "%s takes no value", text);
        return conf_slot_set(s, "yes", &from, k->error);
    }
    if (has_value) /* the value ends where arg ends, so it is a C string */
        return conf_slot_set(s, value.data != NULL ? value.data : "", &from, k->error);
    if (k->at == k->argc)
        return error_set(k->error, CONF_USAGE, "%s needs a value (%s)", text, s->option->metavar);
    return conf_slot_set(s, k->argv[k->at++], &from, k->error);
}

static int conf_arg_letters(struct conf_cursor *k)
{
    const char *arg = k->argv[k->at++];
    for (const char *p = arg + 1; *p != '\0'; p++) {
        struct conf_slot *s = conf_slot_find_letter(k->conf, *p);
        if (s == NULL)
            return error_set(k->error, CONF_USAGE, "unknown option '-%c' in '%s' (see --help)", *p,
                             arg);
        char text[128];
        snprintf(text, sizeof text, "-%c (--%s)", *p, s->option->name);
        struct conf_origin from = {.rank = CONF_RANK_ARGS, .text = text};
        if (s->option->kind == CONF_FLAG) {
            if (conf_slot_set(s, "yes", &from, k->error) < 0)
                return -1;
            continue;
        }
        if (p[1] != '\0')
            return conf_slot_set(s, p + 1, &from, k->error);
        if (k->at == k->argc)
            return error_set(k->error, CONF_USAGE, "%s needs a value (%s)", text,
                             s->option->metavar);
        return conf_slot_set(s, k->argv[k->at++], &from, k->error);
    }
    return 0;
}

static void conf_args_keep(struct conf_cursor *k)
{
    k->conf->args[k->conf->args_count++] = k->argv[k->at++];
}

int conf_parse_args(struct conf *c, int argc, char **argv, enum conf_args_mode mode,
                    struct error *e)
{
    struct conf_cursor k = {.conf = c, .argc = argc, .argv = argv, .error = e};
    c->args = mem_realloc_array(c->args, (size_t)argc + 1, sizeof *c->args);
    c->args_count = 0;
    bool dashes = false;
    while (k.at < argc) {
        const char *arg = argv[k.at];
        bool is_option = arg[0] == '-' && arg[1] != '\0';
        if (is_option && strcmp(arg, "--") == 0) {
            dashes = true;
            k.at++;
            break;
        }
        if (!is_option) {
            if (mode == CONF_ARGS_OPTIONS_FIRST)
                break;
            conf_args_keep(&k);
            continue;
        }
        if ((arg[1] == '-' ? conf_arg_long(&k) : conf_arg_letters(&k)) < 0)
            return -1;
    }
    c->args_before_dashes = c->args_count;
    while (k.at < argc)
        conf_args_keep(&k);
    if (!dashes)
        c->args_before_dashes = c->args_count;
    c->args[c->args_count] = NULL;
    return 0;
}
