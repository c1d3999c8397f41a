/* SPDX-License-Identifier: MPL-2.0 */
#include "common/proto/status.h"

static const struct {
    const char *name;
    bool again;
    int exit_code;
    const char *sentence;
} status_table[STATUS_COUNT] = {
#define STATUS(id, name, again, exit_code, sentence)                                               \
    [STATUS_##id] = {name, again, exit_code, sentence},
#include "common/proto/status.def"
#undef STATUS
};

const char *status_name(enum status s)
{
    return status_table[s].name;
}

const char *status_sentence(enum status s)
{
    return status_table[s].sentence;
}

int status_exit_code(enum status s)
{
    return status_table[s].exit_code;
}

bool status_is_retryable(enum status s)
{
    return status_table[s].again;
}

enum status status_parse(struct view name)
{
    for (int i = 0; i < STATUS_COUNT; i++)
        if (view_is(name, status_table[i].name))
            return (enum status)i;
    return STATUS_INTERNAL;
}
