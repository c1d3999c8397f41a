/* SPDX-License-Identifier: MPL-2.0 */
/* spawn.h - fork and execute one program in a clean process.
 *
 * The child gets: a session of its own, default signal dispositions and an empty mask, SIGKILL
 * when the keeper dies, its working directory, three standard descriptors and no other, and the
 * environment that is handed in, nothing inherited. What goes wrong between fork and exec comes
 * back through a pipe; a closed pipe without a word means that the program runs. */
#ifndef STINT_WORKER_KEEPER_SPAWN_H
#define STINT_WORKER_KEEPER_SPAWN_H

#include <sys/types.h>

#include "common/base/base.h"
#include "worker/keeper/keeper.h"

struct spawn_request {
    char **argv; /* NULL-terminated */
    char **envp; /* NULL-terminated, complete */
    const char *cwd;
    const char *files[2]; /* stdout, stderr: a path, or NULL for a pipe */
    int input_fd;         /* -1: /dev/null. Stays the caller's */
};

struct spawn_child {
    pid_t pid;
    int output_fds[2]; /* read ends, non-blocking; -1 where a file was asked for */
    int error_fd;      /* read end, non-blocking: struct spawn_failure or end of file */
};

struct spawn_failure {
    int exit_code; /* 126: found but not executable, or no directory or file; 127: not found */
    char reason[KEEPER_REASON_BYTES_MAX];
};

/* 0, or -1 with errno where not even a fork was possible (nothing is left open then). The child is
 * the caller's to reap, the descriptors the caller's to close. */
int spawn_start(const struct spawn_request *request, struct spawn_child *ret_child);

/* Full environment of a job in one allocated array (free(3) it; the strings are borrowed): first
 * from `inherited` what `environment` lets through, then env, where later names replace earlier. */
char **spawn_environment(char *const *inherited, enum keeper_environment environment,
                         char *const *env, size_t env_count);

#endif
