/* SPDX-License-Identifier: MPL-2.0 */
/* heap.h - an intrusive binary min-heap ordered by a pair of numbers.
 *
 * The node lives inside the object and knows its place, so removal of any node and a change of its
 * key cost O(log n). Order: key, then tie; equal pairs come out in no promised order. The heap owns
 * only its array of pointers. */
#ifndef STINT_COMMON_BASE_HEAP_H
#define STINT_COMMON_BASE_HEAP_H

#include "common/base/base.h"

struct heap_node {
    uint64_t key;
    uint64_t tie;
    size_t place; /* index + 1 in the heap; 0 = in no heap */
};

struct heap {
    struct heap_node **nodes;
    size_t count;
    size_t capacity;
};

void heap_init(struct heap *h);
void heap_fini(struct heap *h);

static inline bool heap_node_is_linked(const struct heap_node *n)
{
    return n->place != 0;
}

/* Inserts an unlinked node. */
void heap_insert(struct heap *h, struct heap_node *n, uint64_t key, uint64_t tie);
/* Removes a node; does nothing to an unlinked one. */
void heap_remove(struct heap *h, struct heap_node *n);
/* Inserts, or moves to the new key where it is linked already. */
void heap_set(struct heap *h, struct heap_node *n, uint64_t key, uint64_t tie);
/* The smallest node, or NULL. */
static inline struct heap_node *heap_top(const struct heap *h)
{
    return h->count > 0 ? h->nodes[0] : NULL;
}

#endif
