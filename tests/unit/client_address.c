/* SPDX-License-Identifier: MPL-2.0 */
/* Addresses: their texts, the defaults of a user and of root, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/lib/impl.h"

static void expect_one(const char *given, bool control, const char *text, const char *endpoint)
{
    struct address list[ADDRESSES_MAX];
    struct error e;
    size_t count = 0;
    assert_int_equal(addresses_set(list, &count, given, control, &e), STINT_OK);
    assert_int_equal(count, 1);
    assert_string_equal(list[0].text, text);
    assert_string_equal(list[0].endpoint, endpoint);
}

static void test_given(void **state)
{
    (void)state;
    expect_one("ipc:///run/stint", false, "ipc:///run/stint", "ipc:///run/stint/clients");
    expect_one("ipc:///run/stint//", true, "ipc:///run/stint", "ipc:///run/stint/control");
    expect_one("tcp://host:7000", false, "tcp://host:7000", "tcp://host:7000");
    expect_one("tcp://host", false, "tcp://host:5870", "tcp://host:5870");
    expect_one("tcp://[::1]:7000", false, "tcp://[::1]:7000", "tcp://[::1]:7000");
    expect_one("tcp://[::1]", false, "tcp://[::1]:5870", "tcp://[::1]:5870");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "host:1",        "tcp://",     "tcp://:1",       "tcp://h:",     "tcp://h:0",
        "tcp://h:65536", "tcp://h:1x", "ipc://relative", "udp://host:1", "/run/stint"};
    struct address list[ADDRESSES_MAX];
    struct error e;
    size_t count = 1;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(addresses_set(list, &count, bad[i], false, &e), STINT_BAD_ARGUMENT);
        assert_int_equal(count, 0);
        assert_non_null(strstr(e.text, bad[i]));
    }
    char long_path[200] = "ipc:///";
    memset(long_path + 7, 'x', 98);
    assert_int_equal(addresses_set(list, &count, long_path, false, &e), STINT_OK);
    long_path[105] = 'x';
    assert_int_equal(addresses_set(list, &count, long_path, false, &e), STINT_BAD_ARGUMENT);
    assert_non_null(strstr(e.text, "too long for a socket"));
}

static void test_defaults(void **state)
{
    (void)state;
    struct address list[ADDRESSES_MAX];
    struct error e;
    size_t count = 0;
    size_t user = geteuid() == 0 ? 1 : 0;
    setenv("XDG_STATE_HOME", "/state", 1);
    setenv("HOME", "/home/ann", 1);
    assert_int_equal(addresses_set(list, &count, NULL, false, &e), STINT_OK);
    assert_int_equal(count, 2);
    assert_string_equal(list[user].text, "ipc:///state/stint");
    assert_string_equal(list[1 - user].text, "ipc:///run/stint");
    unsetenv("XDG_STATE_HOME");
    assert_int_equal(addresses_set(list, &count, "", false, &e), STINT_OK);
    assert_string_equal(list[user].text, "ipc:///home/ann/.local/state/stint");
    unsetenv("HOME");
    assert_int_equal(addresses_set(list, &count, NULL, false, &e), STINT_OK);
    assert_int_equal(count, 1);
    assert_string_equal(list[0].text, "ipc:///run/stint");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_given),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
