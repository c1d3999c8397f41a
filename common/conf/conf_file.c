/* SPDX-License-Identifier: MPL-2.0 */
/* conf_file.c - the configuration file, read with inih.
 *
 * Debian's inih gives its handler no line numbers and cuts long lines silently, so lines are
 * handed to it one by one by a reader that counts them and refuses what is too long. */
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/conf/conf.h"
#include "common/conf/conf_impl.h"

struct conf_reader {
    struct conf *conf;
    FILE *file;
    const char *path;
    int line;
    bool failed;
    struct error *error;
};

/* inih's fgets: one whole line, or NULL at the end and after an error. */
static char *conf_line_read(char *out, int out_bytes, void *user)
{
    struct conf_reader *r = user;
    if (r->failed || fgets(out, out_bytes, r->file) == NULL)
        return NULL;
    r->line++;
    size_t length = strlen(out);
    if (length + 1 == (size_t)out_bytes && out[length - 1] != '\n') {
        error_set(r->error, CONF_USAGE, "%s:%d: the line is longer than %d bytes", r->path, r->line,
                  out_bytes - 2);
        r->failed = true;
        return NULL;
    }
    return out;
}

static bool conf_key_is_known(const struct conf_program *program, const char *key)
{
    for (size_t t = 0; program->tables_known != NULL && program->tables_known[t] != NULL; t++)
        for (const struct conf_option *o = program->tables_known[t]; o->name != NULL; o++)
            if (o->key != NULL && strcmp(o->key, key) == 0)
                return true;
    return false;
}

static int conf_key_unknown(struct conf_reader *r, const char *key)
{
    struct conf *c = r->conf;
    const char **keys = mem_zalloc((c->slots_count + 1) * sizeof *keys);
    size_t count = 0;
    for (size_t i = 0; i < c->slots_count; i++)
        if (c->slots[i].option->key != NULL)
            keys[count++] = c->slots[i].option->key;
    const char *near = conf_nearest(key, keys, count);
    if (near != NULL)
        error_set(r->error, CONF_USAGE, "%s:%d: unknown key '%.100s' (did you mean %s?)", r->path,
                  r->line, key, near);
    else
        error_set(r->error, CONF_USAGE, "%s:%d: unknown key '%.100s'", r->path, r->line, key);
    free(keys);
    return -1;
}

static int conf_pair_set(struct conf_reader *r, const char *section, const char *key,
                         const char *value)
{
    static const char *const programs[] = {"stint", "stint-broker", "stint-worker"};
    if (section[0] != '\0' && strcmp(section, r->conf->program->name) != 0) {
        for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
            if (strcmp(section, programs[i]) == 0)
                return 0;
        return error_set(r->error, CONF_USAGE,
                         "%s:%d: unknown section [%.100s] (there are [stint], [stint-broker] and "
                         "[stint-worker])",
                         r->path, r->line, section);
    }
    for (size_t i = 0; i < r->conf->slots_count; i++) {
        struct conf_slot *s = &r->conf->slots[i];
        if (s->option->key == NULL || strcmp(s->option->key, key) != 0)
            continue;
        char text[ERROR_TEXT_BYTES_MAX];
        snprintf(text, sizeof text, "%.200s:%d: %s", r->path, r->line, key);
        struct conf_origin from = {.rank = CONF_RANK_FILE, .line = r->line, .text = text};
        return conf_slot_set(s, value, &from, r->error);
    }
    return conf_key_is_known(r->conf->program, key) ? 0 : conf_key_unknown(r, key);
}

static int conf_pair_take(void *user, const char *section, const char *key, const char *value)
{
    struct conf_reader *r = user;
    if (!r->failed && conf_pair_set(r, section, key, value != NULL ? value : "") < 0)
        r->failed = true;
    return 1;
}

int conf_file_read(struct conf *c, const char *path, struct error *e)
{
    struct conf_reader r = {.conf = c, .path = path, .error = e};
    r.file = fopen(path, "re");
    if (r.file == NULL)
        return error_set_errno(e, CONF_USAGE, errno, "cannot open the configuration file %s", path);
    free(c->file);
    c->file = mem_strdup(path);
    ini_max_line = CONF_VALUE_BYTES_MAX;
    ini_use_stack = true;
    ini_allow_multiline = false;
    ini_allow_inline_comments = false;
    int rc = ini_parse_stream(conf_line_read, &r, conf_pair_take, &r);
    bool unreadable = ferror(r.file) != 0;
    fclose(r.file);
    if (r.failed)
        return -1;
    if (unreadable)
        return error_set(e, CONF_USAGE, "cannot read the configuration file %s", path);
    if (rc > 0)
        return error_set(e, CONF_USAGE, "%s:%d: expected 'key = value' or '[section]'", path, rc);
    return 0;
}
