/* SPDX-License-Identifier: MPL-2.0 */
/* blob.h - immutable, reference-counted bytes: a payload is copied once and then only pointed to.
 *
 * A blob's bytes never change after blob_new_* returned it to a second holder. The count is atomic:
 * driver, store thread and libzmq's I/O thread may each hold and drop references. NULL stands for
 * the empty blob everywhere. */
#ifndef STINT_COMMON_BASE_BLOB_H
#define STINT_COMMON_BASE_BLOB_H

#include <stdatomic.h>

#include "common/base/base.h"
#include "common/base/view.h"

struct blob {
    atomic_uint refs;
    size_t size; /* bytes */
    uint8_t data[];
};

/* A copy of the bytes with one reference; NULL for zero bytes. Ends the process without memory. */
struct blob *blob_new(const void *data, size_t size);
struct blob *blob_from_view(struct view v);
/* Takes one more reference and returns the blob (NULL stays NULL). */
struct blob *blob_ref(struct blob *b);
/* Gives one reference back and sets the holder's pointer to NULL. */
void blob_unref(struct blob **b);

static inline struct view blob_view(const struct blob *b)
{
    return b != NULL ? view_of(b->data, b->size) : view_of(NULL, 0);
}

static inline size_t blob_size(const struct blob *b)
{
    return b != NULL ? b->size : 0;
}

#endif
