/* SPDX-License-Identifier: MPL-2.0 */
/* impl.h - the state of the rules in pool.h; only the files of this folder see it.
 *
 *   pool.c     events, modes (serving, quiet, draining, releasing), deadlines, leaving
 *   link.c     dialling, registration, beats, credit
 *   slot.c     JOB, CANCEL, fence, ends of attempts
 *   outbox.c   verdicts until they are acknowledged */
#ifndef STINT_WORKER_POOL_IMPL_H
#define STINT_WORKER_POOL_IMPL_H

#include "common/base/list.h"
#include "worker/pool/pool.h"

#define BEATS_MAX 64 /* sent times that are remembered */

enum mode {
    MODE_SERVING,
    MODE_QUIET,     /* no more credit */
    MODE_DRAINING,  /* no more credit, leaves when nothing runs */
    MODE_RELEASING, /* gives back what runs, then leaves */
    MODE_GONE,      /* EXIT was said */
};

enum slot_state {
    SLOT_FREE,
    SLOT_RUNNING,
    SLOT_FENCED, /* its lease has ended; its processes are being killed; there is no verdict */
};

struct slot {
    enum slot_state state;
    struct ref ref;
    uint64_t lease_end_ms;
    uint64_t since_beat; /* BEATs up to this number did not list it */
};

struct verdict {
    struct list link; /* pool.outbox, the longest unsent first */
    struct ref ref;
    enum verb verb;
    struct blob *header; /* NULL: empty */
    struct blob *bodies[2];
    size_t body_count;
    size_t bytes;
    uint64_t sent_ms; /* 0: not in any session */
};

struct beat {
    uint64_t number;
    uint64_t sent_ms;
};

struct pool {
    struct ready_header ready;
    char **handler_argv;
    size_t handler_argc;
    uint64_t grace_ms;
    uint64_t kill_grace_ms;

    uint64_t now_ms;
    uint64_t random;
    struct pool_effects *fx; /* of the step that runs */

    enum pool_link link;
    struct session session;
    struct welcome_header welcome;
    uint64_t redial_at_ms; /* POOL_LINK_DOWN */
    uint64_t ready_sent_ms;
    bool is_refusal_told; /* since the last registration */

    uint64_t beat_number; /* of the last BEAT sent, in any session */
    struct beat beats[BEATS_MAX];
    uint64_t answered_beat;       /* in this session; 0: none */
    uint64_t base_ms;             /* sent time of the last answered BEAT or READY */
    uint64_t unanswered_since_ms; /* sent time of the first unanswered BEAT; NEVER_MS: none */
    uint64_t next_beat_ms;
    uint64_t away_ms; /* said by the broker in this session: added to every lease */

    uint64_t received;        /* JOBs in this session */
    uint64_t granted;         /* said in CREDIT in this session */
    bool is_credit_stopped;   /* by STOP release, until the next registration */
    uint64_t credit_pause_ms; /* no credit before */

    struct slot *slots;
    size_t slot_count;
    size_t busy;

    struct list outbox;
    size_t outbox_count;
    size_t outbox_bytes;
    uint64_t *leases; /* scratch of a BEAT */

    enum mode mode;
    uint64_t grace_end_ms; /* MODE_DRAINING */
    uint64_t leave_end_ms; /* nothing runs, only the outbox is left; NEVER_MS: not yet */
    int exit_code;
    struct pool_stats stats;
};

/* pool.c */
void pool_release_all(struct pool *p);
void pool_enter_releasing(struct pool *p, const char *why);

/* link.c */
void link_dial(struct pool *p);
/* Registration is lost: hangs up and dials again after a while. */
void link_gap(struct pool *p, const char *why);
void link_on_ready(struct pool *p, const struct session *tag, const struct msg *msg);
/* ERR to READY: not registered, and why. */
void link_on_refusal(struct pool *p, const struct msg *msg);
void link_on_beat(struct pool *p, const struct msg *msg);
void link_on_away(struct pool *p, const struct msg *msg);
void link_beat(struct pool *p);
void link_grant(struct pool *p);
void link_tick(struct pool *p);
uint64_t link_deadline(const struct pool *p);
/* The end of the lease of a JOB that comes now. */
uint64_t link_base_lease_end(const struct pool *p);
/* A message on `workers` in this session; the caller adds header and bodies to it. */
struct outmsg *link_message(struct pool *p, enum verb verb, struct view subject);

/* slot.c */
void slot_on_job(struct pool *p, const struct msg *msg);
void slot_on_cancel(struct pool *p, const struct msg *msg);
void slot_on_output(struct pool *p, const struct pool_output *output);
void slot_on_exit(struct pool *p, enum pool_event_type type, const struct pool_exit *x);
/* Moves the end of a running attempt's lease, here and at its keeper. */
void slot_renew(struct pool *p, struct slot *slot, uint64_t lease_end_ms);
/* Ends every attempt whose lease has ended. */
void slots_fence(struct pool *p);
uint64_t slots_deadline(const struct pool *p);

/* outbox.c */
bool outbox_is_full(const struct pool *p);
/* Takes over the references of the bodies; sends at once where the link is up. */
void outbox_add(struct pool *p, const struct ref *ref, enum verb verb,
                const struct verdict_header *header, struct blob *bodies[2]);
void outbox_on_ack(struct pool *p, const struct msg *msg);
struct verdict *outbox_find(const struct pool *p, const struct ref *ref);
/* Sends those again that wait since `before_ms` or longer. */
void outbox_resend(struct pool *p, uint64_t before_ms);
uint64_t outbox_deadline(const struct pool *p);
void outbox_fini(struct pool *p);

#endif
