/* SPDX-License-Identifier: MPL-2.0 */
/* keeper.h - run programs so that nothing of them is ever left behind.
 *
 * A worker daemon has one *keeper* process for each slot. A keeper runs one job at a time: it
 * forks and executes it, is the subreaper of everything the job starts, captures its output, knows
 * its time limit and the fence deadline, and ends the whole tree, processes that called setsid or
 * daemonised included, before it reports the end. The keepers are children of one *nursery*
 * process, forked before the daemon makes threads or a ZeroMQ context.
 *
 * What this keeps true, whichever process is killed with SIGKILL at whichever moment:
 *   - the daemon: keepers and nursery see their sockets close and kill everything at once;
 *   - a keeper: its orphans become children of the nursery, which kills them; the daemon is told
 *     (KEEPER_EVENT_LOST) only when they are gone, and the slot gets a new keeper;
 *   - the nursery: the daemon is told (KEEPER_EVENT_NURSERY_LOST) and should end; orphans become
 *     the daemon's children and keeper_set_free kills them.
 * An end is reported once, after the last process of the job is gone.
 *
 * One thread owns a set. All calls but keeper_set_start and keeper_set_free return at once. */
#ifndef STINT_WORKER_KEEPER_KEEPER_H
#define STINT_WORKER_KEEPER_KEEPER_H

#include <sys/types.h>

#include "common/base/base.h"
#include "common/base/blob.h"
#include "common/base/error.h"
#include "common/base/view.h"

#define KEEPER_SLOTS_MAX 1024
#define KEEPER_OUTPUT_LIMIT_BYTES_MAX ((size_t)64 * 1024 * 1024)
#define KEEPER_STRINGS_BYTES_MAX ((size_t)8 * 1024 * 1024) /* argv, env and paths of one job */
#define KEEPER_REASON_BYTES_MAX 320
#define KEEPER_GRACE_MS_DEFAULT 10000 /* TERM to KILL, unless the caller says otherwise */

enum keeper_cause {
    KEEPER_CAUSE_EXITED,      /* it ended by itself: exit code, or a signal that was not ours */
    KEEPER_CAUSE_NOT_STARTED, /* never executed: exit_code 126 or 127, and a reason */
    KEEPER_CAUSE_TIME_LIMIT,
    KEEPER_CAUSE_CANCELLED,
    KEEPER_CAUSE_RELEASED,
    KEEPER_CAUSE_FENCED,
};

enum keeper_environment {
    KEEPER_ENVIRONMENT_BUILT, /* PATH HOME USER LANG LC_* TZ of the worker, then `env` */
    KEEPER_ENVIRONMENT_WHOLE, /* the worker's own (but for its service manager's), then `env` */
};

/* What to run; borrowed for the duration of keeper_set_spawn. */
struct keeper_job {
    uint64_t tag;            /* the caller's; comes back in every event of this job */
    const char *const *argv; /* argc strings; argv[0] is looked up in the job's PATH */
    size_t argc;
    const char *const *env; /* env_count strings NAME=VALUE; later ones win */
    size_t env_count;
    enum keeper_environment environment;
    const char *cwd;         /* NULL: the worker's */
    const char *stdout_file; /* NULL: captured; else created or emptied, opened after chdir */
    const char *stderr_file;
    struct view input;           /* on stdin, which is /dev/null where it is empty */
    uint64_t time_limit_ms;      /* NEVER_MS: none */
    uint64_t grace_ms;           /* TERM to KILL after the time limit */
    uint64_t fence_boot_ms;      /* on CLOCK_BOOTTIME; NEVER_MS: none */
    uint64_t output_limit_bytes; /* kept of each stream, cut to KEEPER_OUTPUT_LIMIT_BYTES_MAX */
    bool stream;                 /* report output while the job runs */
};

/* What was kept of one output stream: all of it, or its head and its tail. */
struct keeper_output {
    struct blob *data;       /* NULL: nothing */
    uint64_t total_bytes;    /* what the job wrote */
    uint64_t head_bytes;     /* where truncated: the cut is after so many bytes of data */
    uint64_t streamed_bytes; /* sent as KEEPER_EVENT_OUTPUT; the rest is at the end of data. Where
                                truncated, everything was sent */
    bool truncated;
};

struct keeper_exit {
    enum keeper_cause cause;
    int exit_code;                        /* -1 where a signal ended it */
    int signal;                           /* 0 where it exited */
    char reason[KEEPER_REASON_BYTES_MAX]; /* KEEPER_CAUSE_NOT_STARTED: what and why */
    uint64_t run_ms;
    uint64_t user_cpu_ms;
    uint64_t system_cpu_ms;
    uint64_t max_rss_kib;
    struct keeper_output output[2]; /* stdout, stderr */
};

enum keeper_event_type {
    KEEPER_EVENT_OUTPUT,       /* stream, offset, bytes */
    KEEPER_EVENT_EXITED,       /* exit; the slot is free */
    KEEPER_EVENT_LOST,         /* the keeper died, its job's processes are gone; the slot is free.
                                  was_busy says whether there was a job (tag) */
    KEEPER_EVENT_NURSERY_LOST, /* no further keeper can be made: end the daemon. Said once */
};

struct keeper_event {
    enum keeper_event_type type;
    size_t slot;
    uint64_t tag;
    unsigned stream;   /* 0 stdout, 1 stderr */
    uint64_t offset;   /* bytes of the stream before these */
    struct view bytes; /* valid until the next call with this set */
    bool was_busy;
    struct keeper_exit exit; /* owned by the event: keeper_event_fini */
};

struct keeper_set;

/* Forks the nursery, which forks slot_count (1..KEEPER_SLOTS_MAX) keepers. The process must have
 * one thread and no ZeroMQ context. Makes the process a subreaper and keeps descriptors 0 to 2
 * occupied. NULL and *e on failure. */
struct keeper_set *keeper_set_start(size_t slot_count, struct error *e);
/* Kills what runs, ends all keepers and the nursery and reaps them; gives up after 10 s (a process
 * in an uninterruptible wait). */
void keeper_set_free(struct keeper_set **set);

/* Readable when keeper_set_next has something to say. */
int keeper_set_fd(const struct keeper_set *set);
/* Takes the next event: 1, or 0 where there is none. A caller that does not take events makes the
 * keepers stop reading the output of their jobs; it stops neither deadlines nor kills. */
int keeper_set_next(struct keeper_set *set, struct keeper_event *ret_event);
void keeper_event_fini(struct keeper_event *event);

/* Starts a job in a free slot: 0; -1 and *e where that cannot be done on this machine now (then
 * the slot stays free and no event follows). That a program cannot be executed is not such a
 * failure, it comes as KEEPER_EVENT_EXITED. */
int keeper_set_spawn(struct keeper_set *set, size_t slot, const struct keeper_job *job,
                     struct error *e);
/* Ends the job in a slot: TERM to the whole tree, KILL after grace_ms; 0 is KILL at once. The end
 * comes as an event with this cause (or KEEPER_CAUSE_EXITED where the job was faster). Repeated
 * with less grace it becomes harder; the first cause stays. No effect on a free slot. */
void keeper_set_stop(struct keeper_set *set, size_t slot, enum keeper_cause cause,
                     uint64_t grace_ms);
/* Moves the deadline (CLOCK_BOOTTIME, ms) at which the job in a slot is killed without grace. */
void keeper_set_fence(struct keeper_set *set, size_t slot, uint64_t fence_boot_ms);

bool keeper_set_is_busy(const struct keeper_set *set, size_t slot);
/* For diagnosis and tests: 0 until the keeper has said its first word. */
pid_t keeper_set_keeper_pid(const struct keeper_set *set, size_t slot);
pid_t keeper_set_nursery_pid(const struct keeper_set *set);

#endif
