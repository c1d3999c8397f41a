/* SPDX-License-Identifier: MPL-2.0 */
/* request.h - a client's requests between "asked" and "answered", over any number of connections.
 *
 * Data flows one way: request_table_add puts a request in; request_table_next says what to put on
 * the socket now (in order, within the windows); request_table_reply takes an answer out;
 * request_table_tick says when silence means "dial fresh sockets"; then everything that has no
 * answer goes out again, oldest first. A SUBMIT carries a durable request id (docs/protocol.md), so
 * repeating it never makes a second job. Pure: no clock, no sockets; time comes in (any clock that
 * does not step). Not thread-safe. */
#ifndef STINT_COMMON_SESSION_REQUEST_H
#define STINT_COMMON_SESSION_REQUEST_H

#include "common/base/list.h"
#include "common/proto/msg.h"
#include "common/proto/ref.h"

/* How long a request may stay unanswered before the connection is taken for dead: by then the
 * broker answers everything, long polls excepted, which get their own time on top. */
#define REQUEST_PATIENCE_MS 5000
#define REQUEST_REDIAL_MIN_MS 200
#define REQUEST_REDIAL_MAX_MS 2000

enum request_state {
    REQUEST_WAITING,
    REQUEST_SENT
};

struct request {
    struct list link;     /* in its table, oldest first */
    struct outmsg msg;    /* as it is sent, each time */
    uint64_t number;      /* from 1, unique in the table's life */
    uint64_t sequence;    /* of a SUBMIT, else 0 */
    uint64_t patience_ms; /* longest time from sending to answer */
    uint64_t deadline_ms; /* when the caller gives up; NEVER_MS */
    uint64_t sent_ms;     /* while REQUEST_SENT */
    uint32_t sent_count;
    enum request_state state;
};

struct request_table {
    uint64_t instance; /* of this client, random */
    uint64_t next_number;
    uint64_t next_sequence;
    struct list requests; /* all without an answer, oldest first */
    size_t count;
    size_t sent_count;
    size_t window_requests;
    size_t window_submits;   /* sequence numbers in flight span less than this */
    uint64_t redial_wait_ms; /* grows with each dial that brought no answer */
};

void request_table_init(struct request_table *t, uint64_t instance);
void request_table_fini(struct request_table *t);

/* Takes `verb`, subject, header and bodies (bodies' references are taken over), gives the request
 * its id, and queues it. The returned request belongs to the table until reply or expired hands it
 * out. `poll_ms`: for a long poll the time that the broker may take on purpose. */
struct request *request_table_add(struct request_table *t, enum verb verb, struct view subject,
                                  struct view header, struct blob **bodies, size_t body_count,
                                  uint64_t poll_ms, uint64_t deadline_ms);

/* The next request to send now, marked as sent; NULL when nothing may go. */
struct request *request_table_next(struct request_table *t, uint64_t now_ms);
/* Undoes the marking where the socket refused the message (full pipe). */
void request_table_unsend(struct request_table *t, struct request *r);

/* Takes the request with this id out of the table (the caller frees it with request_free), or NULL
 * where it was answered before. */
struct request *request_table_reply(struct request_table *t, struct view tag);
/* Puts an answered request back at its old place (the broker said "not now"), to be sent again. */
void request_table_again(struct request_table *t, struct request *r);

/* Takes out one request whose deadline has passed, or NULL. */
struct request *request_table_expired(struct request_table *t, uint64_t now_ms);

/* True: silence has lasted too long; the caller closes its sockets, dials fresh ones and calls
 * request_table_redialled. */
bool request_table_must_redial(const struct request_table *t, uint64_t now_ms);
/* Everything without an answer is to be sent again. */
void request_table_redialled(struct request_table *t);

/* When one of the two above may become true; NEVER_MS. */
uint64_t request_table_deadline(const struct request_table *t);

void request_free(struct request **r);

#endif
