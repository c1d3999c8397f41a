/* SPDX-License-Identifier: MPL-2.0 */
/* conf_impl.h - what the files of common/conf share. A slot is one option with its present value;
 * a value of lower rank than the present one is dropped, whatever the order of reading. */
#ifndef STINT_COMMON_CONF_CONF_IMPL_H
#define STINT_COMMON_CONF_CONF_IMPL_H

#include "common/conf/conf.h"

enum conf_rank {
    CONF_RANK_DEFAULT,
    CONF_RANK_FILE,
    CONF_RANK_ENV,
    CONF_RANK_ARGS
};

struct conf_slot {
    const struct conf_option *option;
    enum conf_rank rank;
    int line;        /* in the file, for CONF_RANK_FILE */
    uint64_t number; /* flags: 0 or 1; numbers, bytes, milliseconds */
    char **items;    /* owned; the value as text, one item but for lists */
    size_t count;
};

struct conf {
    const struct conf_program *program;
    struct conf_slot *slots;
    size_t slots_count;
    char *file; /* path of the file that was read, owned; NULL = none */
    char **args;
    int args_count;
    int args_before_dashes;
};

/* Where a value comes from, for error messages: rank, and the place in words. */
struct conf_origin {
    enum conf_rank rank;
    int line;
    const char *text; /* "--queue", "etc/stint.conf:3: queue", "environment variable STINT_QUEUE" */
};

struct conf_slot *conf_slot_find(const struct conf *c, const char *name);
struct conf_slot *conf_slot_find_letter(const struct conf *c, char letter);
/* Checks and stores one value as text (a flag on the command line: "yes"). */
int conf_slot_set(struct conf_slot *s, const char *value, const struct conf_origin *from,
                  struct error *e);
int conf_file_read(struct conf *c, const char *path, struct error *e);

#endif
