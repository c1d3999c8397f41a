/* SPDX-License-Identifier: MPL-2.0 */
/* Sets of ids: texts, and every operation against a plain array of flags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/cli/ids.h"
#include "client/cli/selector.h"
#include "common/base/rng.h"

static void expect_text(const struct ids *s, const char *text)
{
    struct buf b;
    buf_init(&b, 10000);
    assert_true(ids_text(s, &b, 9000));
    assert_string_equal(buf_cstr(&b), text);
    buf_fini(&b);
}

static void test_parse(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",    "0",    "x",     "1,", ",1",  "1-",   "-1",
        "3-2", "1--2", "1-2-3", "01", "1 2", "last", "18446744073709551615"};
    struct ids s;
    ids_init(&s);
    assert_true(ids_parse(&s, view_str("9,7-8,40-45,12")));
    expect_text(&s, "7-9,12,40-45");
    assert_int_equal(s.count, 10);
    ids_fini(&s);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(ids_parse(&s, view_str(bad[i])));
        ids_fini(&s);
    }
    assert_int_equal(selector_add(NULL, &s, "5-6"), EXIT_DONE);
    assert_int_equal(selector_add(NULL, &s, "last"), EXIT_USAGE);
    ids_fini(&s);
}

static void test_text_is_cut_at_ranges(void **state)
{
    (void)state;
    struct ids s;
    struct buf b;
    ids_init(&s);
    buf_init(&b, 100);
    assert_true(ids_parse(&s, view_str("10-19,30,50")));
    assert_false(ids_text(&s, &b, 9));
    assert_string_equal(buf_cstr(&b), "10-19,30");
    assert_int_equal(ids_drop(&s, 30), 11);
    expect_text(&s, "50");
    buf_fini(&b);
    ids_fini(&s);
}

static void test_huge_ranges(void **state)
{
    (void)state;
    struct ids s;
    ids_init(&s);
    assert_true(ids_parse(&s, view_str("1-18446744073709551614")));
    assert_true(ids_remove(&s, 1000));
    assert_int_equal(ids_drop(&s, UINT64_MAX - 2), UINT64_MAX - 3);
    expect_text(&s, "18446744073709551614");
    ids_fini(&s);
}

enum {
    MODEL = 64
};

static void expect_model(const struct ids *s, const bool *model)
{
    uint64_t count = 0;
    for (uint64_t id = 1; id < MODEL; id++) {
        assert_int_equal(ids_has(s, id), model[id]);
        count += model[id];
    }
    assert_int_equal(s->count, count);
    for (size_t i = 0; i + 1 < s->size; i++)
        assert_true(s->ranges[i].last + 1 < s->ranges[i + 1].first);
}

static void test_against_model(void **state)
{
    (void)state;
    struct rng rng = {20261120};
    for (int round = 0; round < 300; round++) {
        struct ids s;
        struct ids other;
        bool model[MODEL] = {false};
        bool model_other[MODEL] = {false};
        ids_init(&s);
        ids_init(&other);
        for (int step = 0; step < 40; step++) {
            uint64_t first = 1 + rng_below(&rng, MODEL - 1);
            uint64_t last = first + rng_below(&rng, MODEL - first < 8 ? MODEL - first : 8);
            uint64_t kind = rng_below(&rng, 20);
            if (kind < 8) {
                ids_add(&s, first, last);
                memset(model + first, true, last - first + 1);
            } else if (kind < 10) {
                ids_add(&other, first, last);
                memset(model_other + first, true, last - first + 1);
            } else if (kind < 19) {
                assert_int_equal(ids_remove(&s, first), model[first]);
                model[first] = false;
            } else {
                ids_drop(&s, first);
                memset(model, false, first + 1);
            }
            expect_model(&s, model);
        }
        ids_intersect(&s, &other);
        for (size_t i = 0; i < MODEL; i++)
            model[i] = model[i] && model_other[i];
        expect_model(&s, model);
        ids_copy(&s, &other);
        expect_model(&s, model_other);
        ids_fini(&s);
        ids_fini(&other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_text_is_cut_at_ranges),
        cmocka_unit_test(test_huge_ranges),
        cmocka_unit_test(test_against_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
