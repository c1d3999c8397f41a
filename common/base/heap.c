/* SPDX-License-Identifier: MPL-2.0 */
#include "common/base/heap.h"

#include <stdlib.h>

#include "common/base/memory.h"

void heap_init(struct heap *h)
{
    *h = (struct heap){0};
}

void heap_fini(struct heap *h)
{
    free(h->nodes);
    heap_init(h);
}

static bool heap_less(const struct heap_node *a, const struct heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->tie < b->tie;
}

static void heap_put(struct heap *h, size_t at, struct heap_node *n)
{
    h->nodes[at] = n;
    n->place = at + 1;
}

static void heap_sift_up(struct heap *h, size_t at, struct heap_node *n)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!heap_less(n, h->nodes[parent]))
            break;
        heap_put(h, at, h->nodes[parent]);
        at = parent;
    }
    heap_put(h, at, n);
}

static void heap_sift_down(struct heap *h, size_t at, struct heap_node *n)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && heap_less(h->nodes[child + 1], h->nodes[child]))
            child++;
        if (!heap_less(h->nodes[child], n))
            break;
        heap_put(h, at, h->nodes[child]);
        at = child;
    }
    heap_put(h, at, n);
}

void heap_insert(struct heap *h, struct heap_node *n, uint64_t key, uint64_t tie)
{
    if (h->count == h->capacity) {
        h->capacity = h->capacity > 0 ? h->capacity * 2 : 16;
        h->nodes = mem_realloc_array(h->nodes, h->capacity, sizeof h->nodes[0]);
    }
    n->key = key;
    n->tie = tie;
    h->count++;
    heap_sift_up(h, h->count - 1, n);
}

void heap_remove(struct heap *h, struct heap_node *n)
{
    if (n->place == 0)
        return;
    size_t at = n->place - 1;
    n->place = 0;
    struct heap_node *last = h->nodes[--h->count];
    if (last == n)
        return;
    if (at > 0 && heap_less(last, h->nodes[(at - 1) / 2]))
        heap_sift_up(h, at, last);
    else
        heap_sift_down(h, at, last);
}

void heap_set(struct heap *h, struct heap_node *n, uint64_t key, uint64_t tie)
{
    if (n->place != 0 && n->key == key && n->tie == tie)
        return;
    heap_remove(h, n);
    heap_insert(h, n, key, tie);
}
