/* SPDX-License-Identifier: MPL-2.0 */
/* option.h - the options of a job: SUBMIT's header in, the worker's spec out.
 *
 * The broker needs the numbers and the name; it never looks into argv. So decoding splits a header
 * in two: `struct job_options` (plain numbers, no pointers) and the *spec*, the compact JSON text
 * of what only the worker needs (argv, env, cwd, input, mark, files, time and output limits), which
 * is stored and sent on as it is. Bytes that are not UTF-8 travel inside JSON as {"base64":"..."}
 * in argv, env values, cwd, stdout_file and stderr_file. */
#ifndef STINT_COMMON_PROTO_OPTION_H
#define STINT_COMMON_PROTO_OPTION_H

#include "common/base/base.h"
#include "common/base/blob.h"
#include "common/base/error.h"
#include "common/proto/limits.h"
#include "common/proto/status.h"

enum job_kind {
    JOB_PAYLOAD,
    JOB_COMMAND
};

#define KIND_BIT(kind) (1U << (kind))

const char *job_kind_name(enum job_kind kind);

struct job_options {
    uint64_t retry_delay_ms;     /* NEVER_MS: the growing delay */
    uint64_t time_limit_ms;      /* NEVER_MS: none */
    uint64_t keep_ms;            /* NEVER_MS: the broker's default */
    uint64_t output_limit_bytes; /* each stream */
    uint64_t seq;                /* of the first body; 0 = not numbered */
    uint32_t retries;
    uint32_t crash_limit;
    uint8_t priority;
    uint8_t kind; /* enum job_kind */
    char name[PROTO_NAME_BYTES_MAX + 1];
};

void job_options_init(struct job_options *o);

/* Reads a SUBMIT header (empty = all defaults). *ret_spec gets a new reference or NULL (plain
 * payload job). Refuses unknown keys by name, wrong types, values out of bounds; then `e` names the
 * key and *ret_spec is NULL. Pure but for memory. */
enum status job_options_decode(struct view header, struct job_options *ret, struct blob **ret_spec,
                               struct error *e);

/* --- the worker's side --- */

struct job_spec {
    char *arena;        /* owns all the texts below */
    char **argv;        /* argc pointers and a NULL; argc 0 = payload job */
    size_t *argv_bytes; /* argv[i] may not hold NULs, so strlen(argv[i]) == argv_bytes[i] */
    size_t argc;
    char **env; /* "K=V", env_count pointers and a NULL */
    size_t env_count;
    const char *queue; /* NULL: the first queue of the worker's READY */
    const char *name;  /* NULL: none */
    const char *cwd;   /* NULL: the worker's */
    const char *mark;  /* "{}" unless given */
    const char *stdout_file;
    const char *stderr_file;
    uint64_t time_limit_ms; /* NEVER_MS: none */
    uint64_t output_limit_bytes;
    uint64_t seq; /* 0: not numbered */
    bool input_is_argv;
};

/* Reads the header of a JOB (empty: a payload job with all defaults). Unknown keys are ignored.
 * Returns 0, or -1 with `e`. Fini with job_spec_fini, also after a failure. */
int job_spec_decode(struct view header, struct job_spec *ret, struct error *e) MUST_CHECK;
void job_spec_fini(struct job_spec *s);

/* The header of JOB: the stored spec with queue, name and seq put in where they are needed. `queue`
 * empty: it is the worker's first. Appends nothing where everything is default. */
struct buf;
void job_header_add(struct buf *b, struct view spec, struct view queue, uint64_t seq);

#endif
