/* SPDX-License-Identifier: MPL-2.0 */
/* capture.h - the head and the tail of an endless stream in bounded memory.
 *
 * Up to limit_bytes everything is kept. Beyond that the first half stays as it is and the second
 * half becomes a ring that holds the newest bytes. Memory grows with what was written, never above
 * limit_bytes. Nothing is inserted at the cut; capture_head_bytes says where it is. */
#ifndef STINT_WORKER_KEEPER_CAPTURE_H
#define STINT_WORKER_KEEPER_CAPTURE_H

#include "common/base/base.h"
#include "common/base/view.h"

#define CAPTURE_VIEWS 3

struct capture {
    uint8_t *data;
    size_t capacity;
    size_t size; /* bytes in use */
    size_t limit_bytes;
    size_t tail_at;       /* where the next byte goes once size == limit_bytes */
    uint64_t total_bytes; /* all that was added */
};

void capture_init(struct capture *c, size_t limit_bytes);
void capture_fini(struct capture *c);
void capture_add(struct capture *c, struct view v);

static inline bool capture_is_truncated(const struct capture *c)
{
    return c->total_bytes > c->limit_bytes;
}

/* Where a truncated capture is cut: bytes of the head. */
static inline size_t capture_head_bytes(const struct capture *c)
{
    return c->limit_bytes / 2;
}

/* The kept bytes in order as (possibly empty) views, valid until the next change. */
void capture_views(const struct capture *c, struct view ret_views[CAPTURE_VIEWS]);

#endif
