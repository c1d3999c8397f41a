/* SPDX-License-Identifier: MPL-2.0 */
#include "common/base/blob.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

struct blob *blob_new(const void *data, size_t size)
{
    if (size == 0)
        return NULL;
    struct blob *b = mem_alloc(sizeof *b + size);
    atomic_init(&b->refs, 1);
    b->size = size;
    memcpy(b->data, data, size);
    return b;
}

struct blob *blob_from_view(struct view v)
{
    return blob_new(v.data, v.size);
}

struct blob *blob_ref(struct blob *b)
{
    if (b != NULL)
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void blob_unref(struct blob **b)
{
    struct blob *it = *b;
    *b = NULL;
    if (it != NULL && atomic_fetch_sub_explicit(&it->refs, 1, memory_order_acq_rel) == 1)
        free(it);
}
