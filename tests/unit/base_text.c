/* SPDX-License-Identifier: MPL-2.0 */
/* Durations, sizes, times, base64 and word distance: each accepted form and each refusal. */
#include "tests/unit/unit.h"

#include "common/base/text.h"

static void duration_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"0", 0},       {"10", 10000},      {"1.5", 1500},   {"250ms", 250},
                {"10s", 10000}, {"5m", 300000},     {"2h", 7200000}, {"3d", 259200000},
                {"0.001s", 1},  {"none", NEVER_MS}, {"1.5m", 90000}};
    static const char *const bad[] = {"",
                                      "s",
                                      "-1",
                                      "1x",
                                      "1 s",
                                      "1.",
                                      ".5",
                                      "1ss",
                                      "None",
                                      "1e3",
                                      "99999999999999999999",
                                      "213503982335d"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        uint64_t ms = 77;
        assert_true(text_duration_ms(good[i].text, &ms));
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t ms = 77;
        assert_false(text_duration_ms(bad[i], &ms));
        assert_int_equal(ms, 77);
    }
}

static void size_forms(void **state)
{
    (void)state;
    uint64_t bytes = 0;
    assert_true(text_size_bytes("64K", &bytes) && bytes == 65536);
    assert_true(text_size_bytes("1.5M", &bytes) && bytes == 1572864);
    assert_true(text_size_bytes("2G", &bytes) && bytes == UINT64_C(2147483648));
    assert_true(text_size_bytes("17", &bytes) && bytes == 17);
    assert_false(text_size_bytes("64k", &bytes));
    assert_false(text_size_bytes("17179869184G", &bytes));
}

static void time_round_trip(void **state)
{
    (void)state;
    static const uint64_t times[] = {
        0, 1, 999, 1000, UINT64_C(1795176000123), UINT64_C(4102444799999)};
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        char text[TEXT_TIME_BYTES];
        uint64_t ms = 1;
        text_time(text, times[i]);
        assert_true(text_time_ms(text, &ms));
        assert_int_equal(ms, times[i]);
    }
    uint64_t ms = 0;
    assert_true(text_time_ms("2026-01-31T12:00:00+02:00", &ms));
    assert_int_equal(ms % 86400000, 10 * 3600000);
    assert_false(text_time_ms("2026-01-31", &ms));
    assert_false(text_time_ms("2026-01-31T12:00:00", &ms));
    assert_false(text_time_ms("2026-01-31T12:00:00Zx", &ms));
}

static void base64_round_trip(void **state)
{
    (void)state;
    uint8_t bytes[200];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        struct buf text;
        struct buf back;
        buf_init(&text, 1000);
        buf_init(&back, 1000);
        text_base64_add(&text, view_of(bytes, n));
        assert_true(text_base64_decode(&back, buf_view(&text)));
        assert_true(view_eq(buf_view(&back), view_of(bytes, n)));
        buf_fini(&text);
        buf_fini(&back);
    }
    static const char *const bad[] = {"A", "AA", "AAA", "A===", "AA=A", "A*==", "====", "AAAA="};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct buf back;
        buf_init(&back, 100);
        assert_false(text_base64_decode(&back, view_str(bad[i])));
        buf_fini(&back);
    }
}

static void utf8_forms(void **state)
{
    (void)state;
    assert_true(view_is_utf8(view_str("")));
    assert_true(view_is_utf8(view_str("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80")));
    static const char *const bad[] = {
        "\x80", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe0\x80\x80", "\xff"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(view_is_utf8(view_str(bad[i])));
}

static void numbers(void **state)
{
    (void)state;
    uint64_t n = 5;
    assert_true(view_u64(view_str("0"), &n) && n == 0);
    assert_true(view_u64(view_str("18446744073709551615"), &n) && n == UINT64_MAX);
    static const char *const bad[] = {"",   "00", "01", "+1",
                                      "-1", " 1", "1 ", "18446744073709551616"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(view_u64(view_str(bad[i]), &n));
}

static void distances(void **state)
{
    (void)state;
    assert_int_equal(text_distance("submit", "submit"), 0);
    assert_int_equal(text_distance("sumbit", "submit"), 1);
    assert_int_equal(text_distance("", "abc"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duration_forms),  cmocka_unit_test(size_forms),
        cmocka_unit_test(time_round_trip), cmocka_unit_test(base64_round_trip),
        cmocka_unit_test(utf8_forms),      cmocka_unit_test(numbers),
        cmocka_unit_test(distances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
