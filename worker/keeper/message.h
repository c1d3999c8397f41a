/* SPDX-License-Identifier: MPL-2.0 */
/* message.h - what daemon, nursery and keepers say to each other over packet.h.
 *
 * Plain structs in the machine's own representation: all three are forks of one image and nothing
 * of this leaves the machine. Each packet starts with the u32 type.
 *
 *   daemon to nursery   NEW (one descriptor: the keeper's socket), DESTROY
 *   nursery to daemon   CLEAN: the keeper of that serial is dead and so is all it had started
 *   daemon to keeper    START (descriptors: input where HAS_INPUT, then strings where they are
 *                       not in the packet), STOP, FENCE
 *   keeper to daemon    HELLO, OUTPUT (+ bytes), EXITED (+ both outputs, or two descriptors) */
#ifndef STINT_WORKER_KEEPER_MESSAGE_H
#define STINT_WORKER_KEEPER_MESSAGE_H

#include <sys/types.h>

#include "worker/keeper/keeper.h"

enum message_type {
    MESSAGE_NEW = 1,
    MESSAGE_DESTROY,
    MESSAGE_CLEAN,
    MESSAGE_START,
    MESSAGE_STOP,
    MESSAGE_FENCE,
    MESSAGE_HELLO,
    MESSAGE_OUTPUT,
    MESSAGE_EXITED,
};

/* Bytes that follow a struct inside the packet; more goes into a memfd. */
#define MESSAGE_INLINE_BYTES_MAX ((size_t)64 * 1024)
#define MESSAGE_CHUNK_BYTES_MAX MESSAGE_INLINE_BYTES_MAX

struct message_nursery { /* NEW DESTROY CLEAN */
    uint32_t type;
    uint32_t serial; /* names one keeper, never reused */
};

#define MESSAGE_START_HAS_INPUT 1u
#define MESSAGE_START_HAS_CWD 2u
#define MESSAGE_START_HAS_STDOUT_FILE 4u
#define MESSAGE_START_HAS_STDERR_FILE 8u
#define MESSAGE_START_STREAM 16u
#define MESSAGE_START_STRINGS_IN_FD 32u

struct message_start {
    uint32_t type;
    uint32_t flags;
    uint32_t environment; /* enum keeper_environment */
    uint32_t argc;
    uint32_t env_count;
    uint32_t strings_bytes; /* NUL-terminated: argv, env, then cwd and the files where flagged */
    uint64_t tag;
    uint64_t time_limit_ms;
    uint64_t grace_ms;
    uint64_t fence_boot_ms;
    uint64_t output_limit_bytes;
};

struct message_stop {
    uint32_t type;
    uint32_t cause;
    uint64_t tag;
    uint64_t grace_ms;
};

struct message_fence {
    uint32_t type;
    uint32_t unused;
    uint64_t tag;
    uint64_t fence_boot_ms;
};

struct message_hello {
    uint32_t type;
    pid_t pid;
};

struct message_output {
    uint32_t type;
    uint32_t stream;
    uint64_t tag;
    uint64_t offset;
};

struct message_exited {
    uint32_t type;
    uint32_t in_fds; /* 1: both outputs came as descriptors */
    uint64_t tag;
    uint64_t kept_bytes[2];
    struct keeper_exit exit; /* its blobs are NULL here */
};

#endif
