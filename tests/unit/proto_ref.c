/* SPDX-License-Identifier: MPL-2.0 */
/* Refs, sessions, request ids, queue names and id sets: one spelling each, and nothing else. */
#include "tests/unit/unit.h"

#include "common/proto/ref.h"

static void refs(void **state)
{
    (void)state;
    struct ref r = {12, 3, UINT64_C(7709999999999)};
    struct ref back;
    char text[REF_BYTES_MAX];
    size_t length = ref_format(&r, text);
    assert_int_equal(length, strlen(text));
    assert_true(ref_parse(view_str(text), &back) && ref_eq(&r, &back));
    r = (struct ref){UINT64_MAX, UINT32_MAX, UINT64_MAX};
    assert_true(ref_format(&r, text) < REF_BYTES_MAX);
    assert_true(ref_parse(view_str(text), &back) && ref_eq(&r, &back));
    static const char *const bad[] = {"",        "1",      "1.2",    "1.2.",           ".2.3",
                                      "1.2.3.4", "01.2.3", "1.2.-3", "1.4294967296.3", "a.b.c",
                                      "1.2.3\n"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(ref_parse(view_str(bad[i]), &back));
}

static void sessions(void **state)
{
    (void)state;
    struct session s = {UINT64_C(0x0123456789abcdef), 4, 1795176000};
    struct session back;
    char text[SESSION_BYTES_MAX];
    session_format(&s, text);
    assert_string_equal(text, "0123456789abcdef.4.1795176000");
    assert_true(session_parse(view_str(text), &back) && session_eq(&s, &back));
    s = (struct session){UINT64_MAX, UINT32_MAX, UINT32_MAX};
    assert_true(session_format(&s, text) < SESSION_BYTES_MAX);
    assert_true(session_parse(view_str(text), &back) && session_eq(&s, &back));
    static const char *const bad[] = {"",
                                      "0123456789abcdef.4",
                                      "0123456789ABCDEF.4.1",
                                      "0123456789abcde.4.1",
                                      "0123456789abcdef.4.4294967296",
                                      "0123456789abcdef.4.1.1"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(session_parse(view_str(bad[i]), &back));
}

static void request_ids(void **state)
{
    (void)state;
    struct request_id r = {UINT64_C(0xfedcba9876543210), 77};
    struct request_id back;
    char text[REQUEST_ID_BYTES_MAX];
    request_id_format(&r, text);
    assert_string_equal(text, "Rfedcba9876543210.77");
    assert_true(request_id_parse(view_str(text), &back));
    assert_int_equal(back.sequence, 77);
    assert_false(request_id_parse(view_str("Rfedcba9876543210.0"), &back));
    assert_false(request_id_parse(view_str("fedcba9876543210.1"), &back));
    assert_false(request_id_parse(view_str(""), &back));
}

static void queue_names(void **state)
{
    (void)state;
    char name[66];
    memset(name, 'a', sizeof name);
    assert_true(queue_name_is_valid(view_of(name, 64)));
    assert_false(queue_name_is_valid(view_of(name, 65)));
    assert_true(queue_name_is_valid(view_str("Mail.out_2-x")));
    static const char *const bad[] = {"", "a b", "a/b", "gr\xc3\xbcn", "a\n", "*"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(queue_name_is_valid(view_str(bad[i])));
}

static void id_sets(void **state)
{
    (void)state;
    struct id_range ranges[3];
    size_t n = 9;
    assert_true(idset_parse(view_str(""), ranges, 3, &n) && n == 0);
    assert_true(idset_parse(view_str("7,9-12,40"), ranges, 3, &n) && n == 3);
    assert_true(ranges[1].first == 9 && ranges[1].last == 12);
    struct id_range few[3];
    assert_false(idset_parse(view_str("1,3,5,7"), few, 3, &n));
    static const uint64_t in[] = {7, 9, 10, 12, 40};
    static const uint64_t out[] = {0, 6, 8, 13, 39, 41, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(in); i++)
        assert_true(idset_has(ranges, 3, in[i]));
    for (size_t i = 0; i < ARRAY_SIZE(out); i++)
        assert_false(idset_has(ranges, 3, out[i]));
    static const char *const bad[] = {",",
                                      "1,",
                                      ",1",
                                      "2,1",
                                      "1,1",
                                      "3-2",
                                      "1-3,3",
                                      "0",
                                      "1-",
                                      "-1",
                                      "1--2",
                                      "a",
                                      "1-18446744073709551615"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(idset_is_valid(view_str(bad[i])));
    struct buf b;
    buf_init(&b, 100);
    idset_add(&b, 3, 3);
    idset_add(&b, 5, 9);
    assert_string_equal(buf_cstr(&b), "3,5-9");
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refs),        cmocka_unit_test(sessions), cmocka_unit_test(request_ids),
        cmocka_unit_test(queue_names), cmocka_unit_test(id_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
