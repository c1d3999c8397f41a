/* SPDX-License-Identifier: MPL-2.0 */
/* impl.h - what the files of libstint share.
 *
 *     call.c    calls: start, reply, free; the blocking wait
 *     dial.c    the connection: which address, hello, silence, giving up, dialling again
 *     address.c texts of addresses to endpoints
 *     submit.c read.c broker.c   one function pair for each request: header out, reply in
 *
 * A request is in the request table (common/session/request.h) until its answer; its call knows it
 * by pointer as long as it is there. A call is "done" from the moment its status is not PENDING. */
#ifndef STINT_CLIENT_LIB_IMPL_H
#define STINT_CLIENT_LIB_IMPL_H

#include <jansson.h>

#include "common/base/error.h"
#include "common/base/list.h"
#include "common/net/link.h"
#include "common/session/request.h"
#include "stint/stint.h"

#define ADDRESSES_MAX 2
#define ADDRESS_BYTES_MAX 320 /* = ENDPOINT_BYTES_MAX of common/net/address.h */

struct address {
    char text[ADDRESS_BYTES_MAX];     /* as the user knows it: ipc://DIR */
    char endpoint[ADDRESS_BYTES_MAX]; /* what is dialled: ipc://DIR/clients */
    char failure[128];                /* why the last attempt failed; "" = not tried */
    bool is_ipc;
};

/* Fills the list from a given address, or the defaults where `given` is NULL or empty. Returns
 * STINT_OK or STINT_BAD_ARGUMENT with `e`. */
int addresses_set(struct address list[ADDRESSES_MAX], size_t *ret_count, const char *given,
                  bool control, struct error *e);
/* Why nobody can be reached at an ipc endpoint, in a few words. */
const char *address_failure(const struct address *a);

enum dial_state {
    DIAL_IDLE,  /* no link; nothing is wanted, or it was given up */
    DIAL_PAUSE, /* no link; dialling goes on at resume_ms */
    DIAL_HELLO, /* link open, greeting sent, not answered yet */
    DIAL_READY, /* the broker answers */
};

struct dial {
    enum dial_state state;
    struct link *link;
    size_t address_at;       /* in addresses; valid in HELLO and READY */
    bool is_at_control;      /* the link goes to a control endpoint that HELLO named */
    bool was_ready;          /* a broker answered since dialling was last given up */
    bool is_lost_told;       /* notice LOST or STOPPING went out, BACK did not */
    bool is_stopping;        /* the broker said so; it is back when another one greets */
    uint64_t give_up_ms;     /* not valid in IDLE and READY */
    uint64_t hello_until_ms; /* valid in HELLO */
    uint64_t resume_ms;      /* valid in PAUSE */
    uint64_t pause_ms;       /* the next pause; grows */
    unsigned epoch;          /* counts links; part of the greeting's tag */
};

struct stint {
    struct stint_config config;
    char *client_name;
    void *context;
    struct address addresses[ADDRESSES_MAX];
    size_t address_count;
    char addresses_text[ADDRESSES_MAX * ADDRESS_BYTES_MAX];
    int address_status; /* STINT_BAD_ARGUMENT: the address is of no use */
    struct error address_error;
    struct dial dial;
    struct request_table table;
    struct list calls;
    size_t calls_open;
    uint64_t calls_finished; /* rises */
    uint64_t calls_told;     /* of them, told by a return of stint_poll */
    json_int_t broker_start; /* of the last greeting */
    uint64_t busy_until_ms;  /* nothing is sent before: the broker said busy */
    int interrupt_fd;
    struct error error;
};

struct stint_call {
    struct list link; /* in stint.calls */
    struct stint *stint;
    struct request *request; /* while it is in the table */
    int status;
    struct error error;
    uint64_t busy_since_ms; /* 0: not told busy */
    struct link_message *message;
    struct msg msg; /* decoded from `message`; valid while that is there */
    json_t *json;   /* parsed header; NULL until asked for */
};

uint64_t stint_now_ms(void);
/* Does all that can be done now without waiting. */
void dial_drive(struct stint *s, uint64_t now_ms);
/* When dial_drive has something to do though nothing arrived; NEVER_MS. */
uint64_t dial_deadline_ms(const struct stint *s);
/* Wants a connection: begins to dial where nothing is under way. */
void dial_want(struct stint *s, uint64_t now_ms);

/* Starts a call. `header` may be NULL (empty); it is taken over. Bodies' references are taken over,
 * also when it fails. */
int call_start(struct stint *s, enum verb verb, struct view subject, json_t *header,
               struct blob **bodies, size_t body_count, uint64_t poll_ms, struct stint_call **ret);
/* The answer of a call: takes the message over. */
void call_answer(struct stint_call *c, struct link_message *m, const struct msg *msg);
void call_fail(struct stint_call *c, int status, const char *text);
struct stint_call *call_of(struct stint *s, const struct request *r);
/* The reply's header as an object; NULL where it is none. Owned by the call. */
json_t *call_json(struct stint_call *c);
/* Fills the handle's error and returns the status. */
int stint_fail(struct stint *s, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Bytes as JSON: a string, or {"base64": "..."} where they are not UTF-8. */
json_t *json_bytes(const char *text);

#endif
