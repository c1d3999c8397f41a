/* SPDX-License-Identifier: MPL-2.0 */
/* link.h - one DEALER socket to one endpoint, with its monitor: what a client dials.
 *
 * A link is dialled once. When it is lost or silent for too long it is closed and a fresh one is
 * opened; libzmq's own reconnecting only covers the time until the first connection. The monitor
 * tells at once when a connection came up, failed or was cut (stable API only: socket-monitor v1).
 * Nothing here blocks but link_poll, ends the process, touches signals or keeps globals; where
 * memory is gone functions return an errno value. One thread owns a context and its links. */
#ifndef STINT_COMMON_NET_LINK_H
#define STINT_COMMON_NET_LINK_H

#include <poll.h>

#include "common/base/base.h"
#include "common/base/view.h"

/* A ZeroMQ context with one I/O thread; NULL without memory or descriptors (errno is set). */
void *link_context_new(void);
/* Ends the context; all its links must be closed. NULL-safe, sets the pointer to NULL. */
void link_context_free(void **context);
/* "4.3.4" of the library that is loaded. */
void link_library_version(char out[32]);

struct link;

enum link_event {
    LINK_CONNECTED = 1, /* a connection is up */
    LINK_REFUSED = 2,   /* an attempt to connect failed; libzmq goes on trying */
    LINK_CUT = 4,       /* the connection was lost */
};

/* Starts to connect. Messages may be sent at once; they wait for the connection. Frames above
 * `frame_bytes_max` from the peer end the connection. Returns 0 or an errno value. */
int link_open(struct link **ret, void *context, const char *endpoint, int64_t frame_bytes_max);
/* Closes at once and drops what was not sent. NULL-safe, sets the pointer to NULL. */
void link_close(struct link **l);

/* Bits of enum link_event since the last call. */
unsigned link_events(struct link *l);

/* Sends one message without blocking (the bytes are copied). Returns 0, EAGAIN where the pipe is
 * full, or another errno value. Nothing was sent unless 0 is returned. */
int link_send(struct link *l, const struct view *frames, size_t count);

/* One received message: owns its frames. */
struct link_message;

/* Takes a whole message. Returns 0 and *ret, EAGAIN where there is none, EMSGSIZE where it had more
 * than `frames_max` frames (it was read to its end and dropped), or another errno value. */
int link_receive(struct link *l, size_t frames_max, struct link_message **ret);
const struct view *link_message_frames(const struct link_message *m, size_t *ret_count);
void link_message_free(struct link_message **m);

#define LINK_POLL_EXTRA_MAX 16
/* Waits until the link (may be NULL) has a message or an event, one of the `extra` descriptors is
 * ready (revents is filled), a signal handler ran, or the time is over (-1 = never). Returns 0, or
 * an errno value (EINTR included). */
int link_poll(struct link *l, struct pollfd *extra, size_t extra_count, int timeout_ms);

#endif
