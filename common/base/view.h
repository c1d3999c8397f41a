/* SPDX-License-Identifier: MPL-2.0 */
/* view.h - borrowed bytes: a pointer and a size, never owned, never NUL-terminated.
 *
 * A view is valid as long as what it was made from. {NULL, 0} is the empty view. */
#ifndef STINT_COMMON_BASE_VIEW_H
#define STINT_COMMON_BASE_VIEW_H

#include <string.h>

#include "common/base/base.h"

struct view {
    const void *data;
    size_t size; /* bytes */
};

/* For printf's "%.*s". */
#define VIEW_ARG(v) (int)(v).size, (const char *)((v).data ? (v).data : "")

static inline struct view view_of(const void *data, size_t size)
{
    return (struct view){data, size};
}

static inline struct view view_str(const char *s)
{
    return (struct view){s, s != NULL ? strlen(s) : 0};
}

static inline bool view_eq(struct view a, struct view b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool view_is(struct view a, const char *s)
{
    return view_eq(a, view_str(s));
}

/* The view without its first `n` bytes (all of them where it has fewer). */
static inline struct view view_skip(struct view v, size_t n)
{
    if (n >= v.size)
        return (struct view){NULL, 0};
    return (struct view){(const char *)v.data + n, v.size - n};
}

/* Reads an unsigned decimal number that fills the view: no sign, no space, no leading zero but "0"
 * itself, at most 2^64 - 1. Returns false (and leaves *ret alone) for anything else. */
bool view_u64(struct view v, uint64_t *ret);

/* Splits at the first `sep`: *ret_head is before it, *rest after it. Returns false where there is
 * no `sep`; then *ret_head is all of it and *rest is empty. */
bool view_cut(struct view v, char sep, struct view *ret_head, struct view *rest);

/* True where the bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool view_is_utf8(struct view v);

/* Copies what fits into `to` (size >= 1) and ends it with a NUL. */
static inline void view_copy(struct view v, char *to, size_t size)
{
    size_t n = v.size < size - 1 ? v.size : size - 1;
    if (n > 0)
        memcpy(to, v.data, n);
    to[n] = '\0';
}

/* A fresh NUL-terminated copy (mem_alloc). */
char *view_dup(struct view v);

#endif
