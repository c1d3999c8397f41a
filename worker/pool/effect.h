/* SPDX-License-Identifier: MPL-2.0 */
/* effect.h - what a worker's rules want done, as plain data in the order in which to do it. */
#ifndef STINT_WORKER_POOL_EFFECT_H
#define STINT_WORKER_POOL_EFFECT_H

#include "common/base/blob.h"
#include "common/proto/msg.h"
#include "common/proto/option.h"
#include "common/proto/ref.h"

#define POOL_LOG_BYTES_MAX 320

enum pool_effect_type {
    POOL_EFFECT_DIAL,         /* close both sockets, open and connect fresh ones */
    POOL_EFFECT_HANG_UP,      /* close both sockets */
    POOL_EFFECT_SEND_WORKERS, /* message; a full pipe drops it */
    POOL_EFFECT_SEND_RESULTS, /* message; a full pipe drops it, verdicts come again */
    POOL_EFFECT_SPAWN,        /* slot, lease, command, fence_ms */
    POOL_EFFECT_STOP,         /* slot, lease, cause, grace_ms (0: KILL at once) */
    POOL_EFFECT_FENCE,        /* slot, lease, fence_ms: the attempt's lease was renewed */
    POOL_EFFECT_REGISTERED,   /* a broker has answered: the worker serves */
    POOL_EFFECT_LOG,          /* level, text */
    POOL_EFFECT_EXIT,         /* exit_code; nothing follows */
};

enum pool_level {
    POOL_LEVEL_ERROR,
    POOL_LEVEL_WARN,
    POOL_LEVEL_INFO,
    POOL_LEVEL_DEBUG
};

/* How an attempt ended, and of these CANCELLED, RELEASED and FENCED: why it is to be ended. */
enum pool_cause {
    POOL_CAUSE_EXITED, /* by itself: exit code, or a signal that was not ours */
    POOL_CAUSE_NOT_STARTED,
    POOL_CAUSE_TIME_LIMIT,
    POOL_CAUSE_CANCELLED,
    POOL_CAUSE_RELEASED,
    POOL_CAUSE_FENCED,
};

/* A program to run, complete: the keeper adds only what it inherits. Owns all it points to. */
struct pool_command {
    char **argv; /* argc strings and a NULL */
    size_t argc;
    char **env; /* NAME=VALUE, env_count strings and a NULL; later ones win */
    size_t env_count;
    bool is_handler; /* keeps the worker's own environment and directory */
    char *cwd;       /* NULL: the worker's */
    char *stdout_file;
    char *stderr_file;
    struct blob *input; /* on stdin; NULL: empty */
    uint64_t time_limit_ms;
    uint64_t grace_ms;
    uint64_t output_limit_bytes;
};

void pool_command_free(struct pool_command **command);

struct pool_effect {
    enum pool_effect_type type;
    size_t slot;
    uint64_t lease;
    uint64_t fence_ms; /* CLOCK_BOOTTIME */
    uint64_t grace_ms;
    enum pool_cause cause;
    enum pool_level level;
    int exit_code;
    struct outmsg message;        /* owned */
    struct pool_command *command; /* owned */
    char text[POOL_LOG_BYTES_MAX];
};

/* A list that is filled by pool_step and emptied by its caller. */
struct pool_effects {
    struct pool_effect *items;
    size_t count;
    size_t capacity;
};

void pool_effects_init(struct pool_effects *fx);
void pool_effects_fini(struct pool_effects *fx);
/* Frees what the effects own and empties the list; keeps its memory. */
void pool_effects_reset(struct pool_effects *fx);

/* A new effect at the end; valid until the next one is added. */
struct pool_effect *pool_effects_add(struct pool_effects *fx, enum pool_effect_type type);
void pool_effects_log(struct pool_effects *fx, enum pool_level level, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

#endif
