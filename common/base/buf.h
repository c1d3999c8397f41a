/* SPDX-License-Identifier: MPL-2.0 */
/* buf.h - a growing byte buffer that is born with a maximum.
 *
 * Invariants: size <= capacity <= max_bytes; data is NULL only while capacity is 0. An append that
 * would pass the maximum, or finds no memory, changes nothing and sets `failed`, which stays set
 * until buf_reset; so a long sequence of appends is checked once, at its end. buf_cstr always
 * returns a NUL-terminated string. Life cycle: buf_init, any appends, buf_fini. Not thread-safe. */
#ifndef STINT_COMMON_BASE_BUF_H
#define STINT_COMMON_BASE_BUF_H

#include "common/base/base.h"
#include "common/base/view.h"

struct buf {
    uint8_t *data;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated */
    size_t max_bytes;
    bool failed;
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_fini(struct buf *b);
/* Empties the buffer and clears `failed`; keeps the memory. */
void buf_reset(struct buf *b);

void buf_add(struct buf *b, const void *data, size_t size);
void buf_add_view(struct buf *b, struct view v);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_add_u64(struct buf *b, uint64_t n); /* decimal */
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Removes the first n bytes (n <= size). */
void buf_drop_front(struct buf *b, size_t n);

static inline struct view buf_view(const struct buf *b)
{
    return view_of(b->data, b->size);
}

/* The content as a C string, valid until the next change; "" where there is none. */
const char *buf_cstr(struct buf *b);

#endif
