/* SPDX-License-Identifier: MPL-2.0 */
/* stint.h - libstint, the client library of the stint job broker.
 *
 * A `struct stint` is a connection to one broker. Requests are started and run at the same time
 * over it (a *call*); stint_poll moves bytes, and a finished call holds the reply until it is
 * freed. For programs that ask one thing at a time there are functions that block.
 *
 *     struct stint *s = stint_new(NULL);
 *     char ids[STINT_IDS_BYTES_MAX];
 *     if (stint_connect(s) == STINT_OK &&
 *         stint_submit(s, "default", NULL, &(struct stint_bytes){"hello", 5}, 1, ids) == STINT_OK)
 *         printf("%s\n", ids);
 *     else
 *         fprintf(stderr, "%s\n", stint_error(s));
 *     stint_free(&s);
 *
 * What holds everywhere:
 *  - Status: functions return enum stint_status; 0 is success. stint_error gives the sentence.
 *  - Connections: a request that got no answer is sent again over a fresh connection, until the
 *    reconnect timeout is over. A submit carries an id of its own, so sending it again never makes
 *    a second job, also across a crash of the broker.
 *  - Durability: a submit or cancel that returned STINT_OK is on the broker's stable storage.
 *  - Ownership: what is passed in is copied before a function returns; what a reply shows is
 *    borrowed from its call and valid until stint_call_free. `x_free` takes the address of the
 *    pointer, accepts NULL and sets it to NULL.
 *  - Threads: one struct stint (and its calls) belongs to one thread at a time. Different ones are
 *    independent. There are no globals.
 *  - The library installs no signal handler, prints nothing and never ends the process, with one
 *    exception: where a small allocation (below a page) fails it writes a line and ends with 70.
 *    Payloads and replies are checked and give STINT_NO_MEMORY.
 *  - Texts are UTF-8 and end with NUL unless they are a struct stint_bytes. Times are in
 *    milliseconds, sizes in bytes. Bounds are those of the protocol: payload 1 MiB, a request 16
 *    MiB, 1,000 jobs in a submit, name 128 bytes, queue name [A-Za-z0-9._-]{1,64}. */
#ifndef STINT_STINT_H
#define STINT_STINT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The first block is what a broker answers (docs/protocol.md); the second happens here. */
enum stint_status {
    STINT_OK,
    STINT_BAD_MESSAGE,
    STINT_BAD_VERSION,
    STINT_UNKNOWN_VERB,
    STINT_BAD_ARGUMENT,
    STINT_UNKNOWN_KEY,
    STINT_TOO_LARGE,
    STINT_NOT_FOUND,
    STINT_QUEUE_FULL,
    STINT_QUEUE_CLOSED,
    STINT_STORE_FULL,
    STINT_BUSY,
    STINT_DRAINING,
    STINT_STOPPING,
    STINT_CONFLICT,
    STINT_NOT_FINISHED,
    STINT_NOT_AUTHORISED,
    STINT_NO_MEMORY,
    STINT_INTERNAL,

    STINT_UNREACHABLE = 100, /* no broker answered in time */
    STINT_TIMEOUT,           /* the caller's own time is over; the call goes on */
    STINT_INTERRUPTED,       /* the interrupt descriptor became readable; the call goes on */
    STINT_PENDING,           /* the call has no answer yet */
};

/* "queue_full", "unreachable": a word that does not change between versions. */
const char *stint_status_name(int status);
/* The exit code that the `stint` command gives for it (2 usage, 3 nothing found, 4 unreachable, 5
 * refused, 6 not authorised, 70 internal, 124 time is over). */
int stint_status_exit_code(int status);
/* True where the same request may succeed later without a change. */
bool stint_status_is_retryable(int status);

/* Version of the library, and of the libzmq that it runs on ("0.1.0", "4.3.4"). */
const char *stint_version(void);
void stint_zmq_version(char out[32]);

/* --- connection --- */

enum stint_notice {
    STINT_NOTICE_LOST,     /* the connection broke or fell silent; dialling begins */
    STINT_NOTICE_STOPPING, /* the broker said that it is stopping; dialling begins */
    STINT_NOTICE_BACK,     /* a broker answers again; what was unanswered is sent again */
};

struct stint_config {
    /* "ipc://DIR" or "tcp://HOST:PORT"; NULL: $STINT_BROKER, else the user's directory and
     * /run/stint, in this order (root: the other way round). */
    const char *address;
    const char *client_name;       /* shown in the broker's log; NULL = none */
    uint64_t connect_timeout_ms;   /* for the first answer of a broker; 0 = 5 s */
    uint64_t reconnect_timeout_ms; /* after a lost connection; 0 = 5 min; STINT_NEVER = no end */
    uint64_t busy_timeout_ms;      /* how long "busy" is asked again; 0 = 10 s */
    bool control;                  /* dial the broker's control socket: only ping, status, workers,
                                    * shutdown and progress are served there */
    /* Called from inside the functions that poll, or NULL. */
    void (*notice)(void *arg, enum stint_notice notice, const char *text);
    void *notice_arg;
};

#define STINT_NEVER UINT64_MAX

struct stint;

/* A handle; nothing is dialled yet. `config` may be NULL. NULL is returned only without memory or
 * descriptors. */
struct stint *stint_new(const struct stint_config *config);
/* Drops calls without an answer (a submit among them may or may not have been stored) and closes.
 * Does not block. Calls that were not freed are freed. */
void stint_free(struct stint **s);

/* Dials and waits until a broker answers, at most the connect timeout. Optional: the first request
 * dials too. STINT_UNREACHABLE: stint_error names each address that was tried and why it failed. */
int stint_connect(struct stint *s);
bool stint_is_connected(const struct stint *s);
/* The address in use, or all addresses that would be tried, separated by ", ". */
const char *stint_address(const struct stint *s);
/* What the last failed function on this handle had to say: one sentence, never NULL. */
const char *stint_error(const struct stint *s);
/* The blocking functions return STINT_INTERRUPTED when this descriptor is readable; -1 = none
 * (default). A signal handler may write to the other end of the pipe. */
void stint_set_interrupt_fd(struct stint *s, int fd);

/* --- calls --- */

struct stint_bytes {
    const void *data;
    size_t size;
};

struct stint_call;

/* Moves what can be moved; returns as soon as a call got its answer, one of the `extra` descriptors
 * (at most 8; events POLLIN and POLLOUT) is ready, or `timeout_ms` is over (-1 = none). Returns how
 * many calls finished (since the last return) and descriptors are ready; 0 = time is over, or a
 * signal came. Blocking functions poll too: after one of them look at the open calls first. */
int stint_poll(struct stint *s, struct pollfd *extra, size_t extra_count, int timeout_ms);
bool stint_call_is_done(const struct stint_call *c);
/* Polls until the call is done, at most `timeout_ms` (STINT_NEVER). Returns its status. */
int stint_call_wait(struct stint_call *c, uint64_t timeout_ms);
/* STINT_PENDING before the end. After an error the text is in stint_call_error. */
int stint_call_status(const struct stint_call *c);
const char *stint_call_error(const struct stint_call *c);
/* The reply: its subject (ids of a submit), its JSON text ("" = none) and its bodies. */
struct stint_bytes stint_call_subject(const struct stint_call *c);
struct stint_bytes stint_call_json(const struct stint_call *c);
size_t stint_call_body_count(const struct stint_call *c);
struct stint_bytes stint_call_body(const struct stint_call *c, size_t at);
/* Forgets the call; one without an answer is not sent again. */
void stint_call_free(struct stint_call **c);
/* How many calls have no answer yet. The broker allows a window of requests; calls above it wait
 * here and cost memory, so a producer keeps its submits below STINT_SUBMITS_MAX. */
size_t stint_calls_open(const struct stint *s);
#define STINT_SUBMITS_MAX 8

/* --- jobs --- */

#define STINT_DEFAULT (UINT64_MAX - 1) /* the broker's default */
#define STINT_JOBS_PER_SUBMIT_MAX 1000
#define STINT_PAYLOAD_BYTES_MAX (1U << 20)
#define STINT_SUBMIT_BYTES_MAX (15U << 20) /* bodies of one submit; the rest is for the header */

/* What the jobs of one submit share. Set the fields that matter after stint_job_options_init. */
struct stint_job_options {
    uint64_t priority;           /* 0..9; higher first */
    uint64_t retries;            /* further attempts after a failure */
    uint64_t retry_delay_ms;     /* STINT_DEFAULT: growing */
    uint64_t crash_limit;        /* attempts that may end because the worker was lost */
    uint64_t time_limit_ms;      /* STINT_DEFAULT or STINT_NEVER: none */
    uint64_t keep_ms;            /* how long the finished job is kept */
    uint64_t output_limit_bytes; /* captured output of each stream */
    uint64_t seq;                /* number of the first body, the next count on; 0 = none */
    const char *name;            /* or NULL */
    /* A command; without it the jobs carry their payload to a worker's handler. */
    const char *const *argv; /* NULL-terminated, any bytes; or NULL */
    const char *const *env;  /* NULL-terminated list of "K=V", or NULL */
    const char *cwd;         /* absolute, or NULL: the worker's */
    const char *stdout_file; /* written by the worker on its machine, or NULL: captured */
    const char *stderr_file;
    bool body_is_item; /* the body takes the place of `mark` in argv; else it is the stdin */
    const char *mark;  /* or NULL: {} */
};

void stint_job_options_init(struct stint_job_options *o);

/* One job for each body, all or none stored. `options` may be NULL. The reply's subject is the set
 * of new ids in the order of the bodies ("7-9,12"). Errors at once: STINT_TOO_LARGE,
 * STINT_BAD_ARGUMENT, STINT_NO_MEMORY. */
int stint_submit_start(struct stint *s, const char *queue, const struct stint_job_options *options,
                       const struct stint_bytes *bodies, size_t count, struct stint_call **ret);

/* Header and bodies of one job; `want` is a sum of STINT_WANT_*, the bodies come in this order. The
 * JSON is the job object of docs/protocol.md. */
enum {
    STINT_WANT_PAYLOAD = 1,
    STINT_WANT_STDOUT = 2,
    STINT_WANT_STDERR = 4
};
int stint_get_start(struct stint *s, uint64_t id, unsigned want, struct stint_call **ret);

/* A long poll (at most 10 s) for jobs of the set `ids` that finish after cursor `since`; 0 = from
 * the beginning. Ask again with the cursor of the reply. */
int stint_wait_start(struct stint *s, const char *ids, uint64_t since, bool results,
                     uint64_t timeout_ms, struct stint_call **ret);

/* One finished job of a wait reply. Texts are borrowed from the call. */
struct stint_finished {
    uint64_t id;
    uint64_t seq;       /* 0 = not numbered */
    const char *state;  /* succeeded failed cancelled expired */
    const char *reason; /* "" where there is none */
    const char *worker; /* "" where there is none */
    int exit_code;      /* -1: none */
    int signal;         /* 0: none */
    unsigned attempts;
    double run_seconds;
    bool truncated;
    uint64_t stdout_bytes; /* written by the job, kept or not */
    uint64_t stderr_bytes;
    struct stint_bytes out; /* where results were asked for */
    struct stint_bytes err;
};

struct stint_wait_reply {
    uint64_t since;    /* the next cursor */
    bool has_selected; /* only in answers to since 0 */
    uint64_t selected; /* how many jobs of the set exist, finished or not */
    size_t count;      /* jobs in this reply */
};

/* Both return STINT_OK or STINT_BAD_MESSAGE; call them on a wait that ended with STINT_OK. */
int stint_wait_reply(struct stint_call *c, struct stint_wait_reply *ret);
int stint_wait_job(struct stint_call *c, size_t at, struct stint_finished *ret);

/* A long poll (at most 10 s) for the output of a job: say what is known, get what is new. Start
 * with an empty struct; `state` NULL or "" is answered at once. In a final state there is no
 * output: get it with stint_get_start. */
struct stint_follow {
    char state[16];
    unsigned attempt;
    uint64_t stdout_at; /* bytes that the caller has; in a reply: offset of `out` */
    uint64_t stderr_at;
    struct stint_bytes out; /* only in replies */
    struct stint_bytes err;
    const char *waiting_for; /* why it does not run, or NULL */
};
int stint_follow_start(struct stint *s, uint64_t id, const struct stint_follow *known,
                       struct stint_call **ret);
int stint_follow_reply(struct stint_call *c, struct stint_follow *ret);

/* Newest first. Any of the filters may be NULL or 0; `ids` "" = all; `states` "ready,running".
 * JSON:
 * {"jobs": [...], "more": BOOL}; ask on with `before` = the last id. */
struct stint_filter {
    const char *ids;
    const char *queue;
    const char *states;
    const char *name;
    uint64_t before;
    uint64_t limit; /* 0 = 100, at most 1,000 */
};
int stint_list_start(struct stint *s, const struct stint_filter *f, struct stint_call **ret);

/* JSON: {"cancelled", "cancelling", "not_open"}. `by` and `reason` may be NULL. */
int stint_cancel_start(struct stint *s, const char *ids, const char *reason, const char *by,
                       struct stint_call **ret);

/* --- broker --- */

int stint_ping_start(struct stint *s, struct stint_call **ret);
int stint_status_start(struct stint *s, struct stint_call **ret);
int stint_workers_start(struct stint *s, struct stint_call **ret);

/* Only with config.control. `mode`: "drain", "finish", "now". JSON of both, also for watching:
 * {"phase", "running", "ready", "scheduled", "workers", "left_ms"}. A progress call is answered
 * when the phase or a number differs from what is given, or within 1 s. `known_json` is the JSON of
 * the last reply, or NULL. */
int stint_shutdown_start(struct stint *s, const char *mode, uint64_t grace_ms, bool keep_workers,
                         struct stint_call **ret);
int stint_progress_start(struct stint *s, const char *known_json, struct stint_call **ret);

/* --- blocking --- */

#define STINT_IDS_BYTES_MAX 24
/* For one job (or the first id of a batch): the id as text. Other sets: stint_submit_start. */
int stint_submit(struct stint *s, const char *queue, const struct stint_job_options *options,
                 const struct stint_bytes *bodies, size_t count, char ret_ids[STINT_IDS_BYTES_MAX]);
/* Waits until the job has finished; *ret has its state in `state`-less numbers and the call that
 * owns the texts, to be freed by the caller. */
int stint_wait(struct stint *s, uint64_t id, uint64_t timeout_ms, struct stint_finished *ret,
               struct stint_call **ret_call);
int stint_ping(struct stint *s);

#ifdef __cplusplus
}
#endif

#endif
