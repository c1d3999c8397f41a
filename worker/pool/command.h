/* SPDX-License-Identifier: MPL-2.0 */
/* command.h - from a JOB to the program that is run: argv with the item put in, environment.
 *
 * Items are bytes. Placeholders are those of GNU parallel, put in place inside words, never split
 * and never seen by a shell: {} the item, {.} without its last extension, {/} its last path
 * component, {//} its directory, {/.} the last component without extension, {#} the sequence
 * number. With another mark than {} only that mark stands for the item. */
#ifndef STINT_WORKER_POOL_COMMAND_H
#define STINT_WORKER_POOL_COMMAND_H

#include "common/base/error.h"
#include "common/proto/option.h"
#include "common/proto/ref.h"
#include "worker/pool/effect.h"

#define COMMAND_WORDS_BYTES_MAX ((size_t)4 * 1024 * 1024) /* argv with all items put in */
#define COMMAND_INPUT_ENV_BYTES_MAX ((size_t)64 * 1024)   /* a longer item is not in STINT_INPUT */

struct command_context {
    const struct job_spec *spec;
    const struct ref *ref;
    struct view body;                /* payload or item */
    const char *queue;               /* where spec names none */
    const char *worker;              /* its name */
    size_t slot;                     /* from 0; jobs see it from 1 */
    const char *const *handler_argv; /* for payload jobs */
    size_t handler_argc;
    uint64_t kill_grace_ms;
};

/* A new command, or NULL with `e`: the item cannot be an argument (NUL byte, too long). */
struct pool_command *command_build(const struct command_context *context, struct error *e);

#endif
