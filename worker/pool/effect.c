/* SPDX-License-Identifier: MPL-2.0 */
#include "worker/pool/effect.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"

void pool_command_free(struct pool_command **command)
{
    struct pool_command *c = *command;
    *command = NULL;
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->argc; i++)
        free(c->argv[i]);
    for (size_t i = 0; i < c->env_count; i++)
        free(c->env[i]);
    free(c->argv);
    free(c->env);
    free(c->cwd);
    free(c->stdout_file);
    free(c->stderr_file);
    blob_unref(&c->input);
    free(c);
}

void pool_effects_init(struct pool_effects *fx)
{
    *fx = (struct pool_effects){0};
}

void pool_effects_reset(struct pool_effects *fx)
{
    for (size_t i = 0; i < fx->count; i++) {
        outmsg_fini(&fx->items[i].message);
        pool_command_free(&fx->items[i].command);
    }
    fx->count = 0;
}

void pool_effects_fini(struct pool_effects *fx)
{
    pool_effects_reset(fx);
    free(fx->items);
    *fx = (struct pool_effects){0};
}

struct pool_effect *pool_effects_add(struct pool_effects *fx, enum pool_effect_type type)
{
    if (fx->count == fx->capacity) {
        fx->capacity = fx->capacity > 0 ? fx->capacity * 2 : 16;
        fx->items = mem_realloc_array(fx->items, fx->capacity, sizeof *fx->items);
    }
    struct pool_effect *effect = &fx->items[fx->count++];
    *effect = (struct pool_effect){.type = type};
    return effect;
}

void pool_effects_log(struct pool_effects *fx, enum pool_level level, const char *fmt, ...)
{
    struct pool_effect *effect = pool_effects_add(fx, POOL_EFFECT_LOG);
    effect->level = level;
    va_list args;
    va_start(args, fmt);
    vsnprintf(effect->text, sizeof effect->text, fmt, args);
    va_end(args);
}
