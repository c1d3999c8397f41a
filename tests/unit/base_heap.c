/* SPDX-License-Identifier: MPL-2.0 */
/* The heap against a sorted model: inserts, removals from the middle, changes of keys. */
#include "tests/unit/unit.h"

#include "common/base/heap.h"
#include "common/base/list.h"
#include "common/base/rng.h"

#define NODES 300

static uint64_t model_least(const struct heap_node *nodes)
{
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < NODES; i++)
        if (heap_node_is_linked(&nodes[i]) && nodes[i].key < least)
            least = nodes[i].key;
    return least;
}

static void heap_against_model(void **state)
{
    (void)state;
    static struct heap_node nodes[NODES];
    struct heap h;
    struct rng rng = {42};
    heap_init(&h);
    for (int step = 0; step < 20000; step++) {
        struct heap_node *n = &nodes[rng_below(&rng, NODES)];
        if (rng_below(&rng, 3) == 0)
            heap_remove(&h, n);
        else
            heap_set(&h, n, rng_below(&rng, 1000), rng_below(&rng, 3));
        const struct heap_node *top = heap_top(&h);
        assert_int_equal(top != NULL ? top->key : UINT64_MAX, model_least(nodes));
    }
    uint64_t before = 0;
    while (heap_top(&h) != NULL) {
        struct heap_node *top = heap_top(&h);
        assert_true(top->key >= before);
        before = top->key;
        heap_remove(&h, top);
        assert_false(heap_node_is_linked(top));
    }
    heap_fini(&h);
}

static void list_moves(void **state)
{
    (void)state;
    struct list head;
    struct list a;
    struct list b;
    list_init(&head);
    list_init(&a);
    list_init(&b);
    assert_true(list_is_empty(&head));
    list_push_back(&head, &a);
    list_push_front(&head, &b);
    assert_ptr_equal(head.next, &b);
    list_remove(&b);
    list_remove(&b);
    assert_false(list_is_linked(&b));
    assert_ptr_equal(head.next, &a);
    list_remove(&a);
    assert_true(list_is_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_against_model),
        cmocka_unit_test(list_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
