/* SPDX-License-Identifier: MPL-2.0 */
/* worker_capture.c - head and tail of a stream: compared with a plain copy of everything, for many
 * limits and sizes of additions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "worker/keeper/capture.h"

#define ALL_BYTES_MAX 4000

static void check(const struct capture *c, const uint8_t *all, size_t total)
{
    struct view views[CAPTURE_VIEWS];
    uint8_t kept[ALL_BYTES_MAX];
    size_t size = 0;
    capture_views(c, views);
    for (size_t i = 0; i < CAPTURE_VIEWS; i++) {
        if (views[i].size > 0)
            memcpy(kept + size, views[i].data, views[i].size);
        size += views[i].size;
    }
    assert_int_equal(c->total_bytes, total);
    if (total <= c->limit_bytes) {
        assert_false(capture_is_truncated(c));
        assert_int_equal(size, total);
        assert_memory_equal(kept, all, total);
        return;
    }
    assert_true(capture_is_truncated(c));
    assert_int_equal(size, c->limit_bytes);
    size_t head = capture_head_bytes(c);
    assert_memory_equal(kept, all, head);
    assert_memory_equal(kept + head, all + total - (size - head), size - head);
}

static void head_and_tail(void **state)
{
    (void)state;
    static const size_t limits[] = {0, 1, 2, 3, 7, 64, 100, 1000};
    struct rng rng = {.state = 1};
    uint8_t all[ALL_BYTES_MAX];
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (uint8_t)rng_next(&rng);
    for (size_t round = 0; round < 400; round++) {
        struct capture c;
        capture_init(&c, limits[round % ARRAY_SIZE(limits)]);
        size_t step = 1 + (size_t)rng_below(&rng, 300);
        size_t total = 0;
        while (total < sizeof all) {
            size_t n = (size_t)min_u64(rng_below(&rng, step + 1), sizeof all - total);
            capture_add(&c, view_of(all + total, n));
            total += n;
            check(&c, all, total);
        }
        capture_fini(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(head_and_tail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
