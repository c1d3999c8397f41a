/* SPDX-License-Identifier: MPL-2.0 */
/* multipart.h - whole multipart messages on raw ZeroMQ sockets, without blocking.
 *
 * For the daemons: frames are received into a fixed array (a longer message is read to its end, its
 * further frames are dropped, and it is delivered with as many frames as fit, so that a decoder
 * with a lower bound refuses it); large bodies are sent without a copy, by reference to their blob.
 * One thread owns a socket. */
#ifndef STINT_COMMON_NET_MULTIPART_H
#define STINT_COMMON_NET_MULTIPART_H

#include <zmq.h>

#include "common/base/blob.h"
#include "common/base/view.h"

#define MULTIPART_FRAMES_MAX 4106 /* the protocol's, a routing id, and one too many */

struct multipart {
    zmq_msg_t frames[MULTIPART_FRAMES_MAX];
    struct view views[MULTIPART_FRAMES_MAX];
    size_t count;
    int connection; /* number of the connection that the message came over, -1 = not known */
};

/* Receives one message. Returns 0, EAGAIN where there is none, or another errno value. Views live
 * until multipart_release, which must come before the next multipart_receive. */
int multipart_receive(void *socket, struct multipart *in);
void multipart_release(struct multipart *in);

/* One frame to send: bytes that are copied, or a blob whose bytes are shared. */
struct multipart_frame {
    struct view bytes;
    struct blob *blob; /* borrowed; NULL = copy `bytes` */
};

/* Sends all frames as one message. Returns 0, or an errno value (EAGAIN: the pipe is full;
 * EHOSTUNREACH: a mandatory ROUTER knows no such peer); then nothing was sent. */
int multipart_send(void *socket, const struct multipart_frame *frames, size_t count);

#endif
