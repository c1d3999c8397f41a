/* SPDX-License-Identifier: MPL-2.0 */
#include "worker/keeper/capture.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

#define FIRST_CAPACITY_BYTES 4096

void capture_init(struct capture *c, size_t limit_bytes)
{
    *c = (struct capture){.limit_bytes = limit_bytes, .tail_at = limit_bytes / 2};
}

void capture_fini(struct capture *c)
{
    free(c->data);
    *c = (struct capture){0};
}

static void capture_reserve(struct capture *c, size_t need)
{
    if (need <= c->capacity)
        return;
    size_t capacity = c->capacity > 0 ? c->capacity : FIRST_CAPACITY_BYTES;
    while (capacity < need)
        capacity *= 2;
    capacity = (size_t)min_u64(capacity, c->limit_bytes);
    c->data = mem_realloc(c->data, capacity);
    c->capacity = capacity;
}

/* Adds to the ring behind the head: only its newest bytes survive. */
static void capture_add_tail(struct capture *c, struct view v)
{
    size_t head = capture_head_bytes(c);
    size_t ring = c->limit_bytes - head;
    if (ring == 0)
        return;
    if (v.size > ring) {
        size_t skipped = v.size - ring;
        v = view_skip(v, skipped);
        c->tail_at = head + (c->tail_at - head + skipped) % ring;
    }
    while (v.size > 0) {
        size_t n = (size_t)min_u64(v.size, c->limit_bytes - c->tail_at);
        memcpy(c->data + c->tail_at, v.data, n);
        c->tail_at += n;
        if (c->tail_at == c->limit_bytes)
            c->tail_at = head;
        v = view_skip(v, n);
    }
}

void capture_add(struct capture *c, struct view v)
{
    c->total_bytes += v.size;
    size_t n = (size_t)min_u64(v.size, c->limit_bytes - c->size);
    if (n > 0) {
        capture_reserve(c, c->size + n);
        memcpy(c->data + c->size, v.data, n);
        c->size += n;
        v = view_skip(v, n);
    }
    if (v.size > 0)
        capture_add_tail(c, v);
}

void capture_views(const struct capture *c, struct view ret_views[CAPTURE_VIEWS])
{
    memset(ret_views, 0, sizeof *ret_views * CAPTURE_VIEWS);
    if (!capture_is_truncated(c)) {
        ret_views[0] = view_of(c->data, c->size);
        return;
    }
    if (c->size == 0)
        return;
    size_t head = capture_head_bytes(c);
    ret_views[0] = view_of(c->data, head);
    ret_views[1] = view_of(c->data + c->tail_at, c->limit_bytes - c->tail_at);
    ret_views[2] = view_of(c->data + head, c->tail_at - head);
}
