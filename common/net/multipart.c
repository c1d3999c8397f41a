/* SPDX-License-Identifier: MPL-2.0 */
#include "common/net/multipart.h"

#include <errno.h>
#include <string.h>

/* Bodies up to it are copied: cheaper than the bookkeeping of a shared one. */
#define MULTIPART_COPY_BYTES_MAX 1024

static int frame_more(zmq_msg_t *frame)
{
    return zmq_msg_more(frame);
}

/* Reads and drops the rest of a message that is too long. */
static void multipart_drain(void *socket)
{
    zmq_msg_t frame;
    int more = 1;
    while (more != 0) {
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, socket, ZMQ_DONTWAIT) < 0)
            more = 0;
        else
            more = frame_more(&frame);
        zmq_msg_close(&frame);
    }
}

int multipart_receive(void *socket, struct multipart *in)
{
    in->count = 0;
    in->connection = -1;
    for (;;) {
        zmq_msg_t *frame = &in->frames[in->count];
        zmq_msg_init(frame);
        int rc = 0;
        do
            rc = zmq_msg_recv(frame, socket, ZMQ_DONTWAIT);
        while (rc < 0 && zmq_errno() == EINTR);
        if (rc < 0) {
            int cause = zmq_errno();
            zmq_msg_close(frame);
            multipart_release(in);
            return cause;
        }
        in->views[in->count] = view_of(zmq_msg_data(frame), zmq_msg_size(frame));
        in->count++;
        if (frame_more(frame) == 0)
            break;
        if (in->count == MULTIPART_FRAMES_MAX) {
            multipart_drain(socket);
            break;
        }
    }
    /* The number is known to the body frames only. */
    in->connection = zmq_msg_get(&in->frames[in->count - 1], ZMQ_SRCFD);
    return 0;
}

void multipart_release(struct multipart *in)
{
    for (size_t i = 0; i < in->count; i++)
        zmq_msg_close(&in->frames[i]);
    in->count = 0;
}

static void frame_unref(void *data, void *hint)
{
    (void)data;
    struct blob *b = hint;
    blob_unref(&b);
}

static int frame_init(zmq_msg_t *msg, const struct multipart_frame *f)
{
    if (f->blob != NULL && f->blob->size > MULTIPART_COPY_BYTES_MAX)
        return zmq_msg_init_data(msg, f->blob->data, f->blob->size, frame_unref, blob_ref(f->blob));
    struct view bytes = f->blob != NULL ? blob_view(f->blob) : f->bytes;
    int rc = zmq_msg_init_size(msg, bytes.size);
    if (rc == 0 && bytes.size > 0)
        memcpy(zmq_msg_data(msg), bytes.data, bytes.size);
    return rc;
}

int multipart_send(void *socket, const struct multipart_frame *frames, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        zmq_msg_t msg;
        if (frame_init(&msg, &frames[i]) != 0)
            return zmq_errno();
        int flags = ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0);
        int rc = 0;
        do
            rc = zmq_msg_send(&msg, socket, flags);
        while (rc < 0 && zmq_errno() == EINTR);
        if (rc < 0) {
            int cause = zmq_errno();
            zmq_msg_close(&msg);
            return cause;
        }
    }
    return 0;
}
