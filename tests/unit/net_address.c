/* SPDX-License-Identifier: MPL-2.0 */
/* Addresses: what is accepted, what is refused with its name, which defaults are tried. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/net/address.h"

static void forms(void **state)
{
    (void)state;
    struct net_address a;
    struct error e;
    char text[ENDPOINT_BYTES_MAX];
    assert_int_equal(net_address_parse("ipc:///run/stint/", 5870, &a, &e), 0);
    net_endpoint(&a, NET_RESULTS, 0, text);
    assert_string_equal(text, "ipc:///run/stint/results");
    assert_true(net_address_is_local(&a));
    assert_int_equal(net_address_parse("tcp://example.org", 5870, &a, &e), 0);
    net_address_text(&a, text);
    assert_string_equal(text, "tcp://example.org:5870");
    assert_false(net_address_is_local(&a));
    assert_int_equal(net_address_parse("tcp://[::1]:99", 5870, &a, &e), 0);
    assert_true(net_address_is_local(&a) && a.port == 99);
    assert_int_equal(net_address_parse("tcp://127.0.0.1:6000", 5870, &a, &e), 0);
    assert_true(net_address_is_local(&a));
    assert_int_equal(net_address_parse("tcp://0.0.0.0:6000", 5870, &a, &e), 0);
    assert_false(net_address_is_local(&a));
}

static void refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         "run",       "ipc://run",     "tcp://",
                                      "tcp://:1", "tcp://h:0", "tcp://h:65534", "tcp://h:x",
                                      "udp://h:1"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct net_address a;
        struct error e = {0};
        assert_int_equal(net_address_parse(bad[i], 5870, &a, &e), -1);
        assert_int_equal(e.status, 2);
    }
    char path[200] = "ipc:///";
    memset(path + strlen(path), 'x', 120);
    struct net_address a;
    struct error e = {0};
    assert_int_equal(net_address_parse(path, 5870, &a, &e), -1);
    assert_non_null(strstr(e.text, "too long"));
}

static void guards(void **state)
{
    (void)state;
    char path[] = "/tmp/stint-guard-XXXXXX";
    struct net_address a = {.is_ipc = true};
    assert_non_null(mkdtemp(path));
    strcpy(a.host, path);
    assert_true(net_address_is_guarded(&a));
    assert_int_equal(chmod(path, 0770), 0);
    assert_false(net_address_is_guarded(&a));
    assert_int_equal(chmod(path, 0755), 0);
    assert_true(net_address_is_guarded(&a));
    assert_int_equal(rmdir(path), 0);
    assert_true(net_address_is_guarded(&a));
    a.is_ipc = false;
    assert_false(net_address_is_guarded(&a));
}

static void defaults(void **state)
{
    (void)state;
    struct net_address list[NET_DEFAULTS_MAX];
    setenv("XDG_STATE_HOME", "/tmp/state", 1);
    size_t n = net_address_defaults(list);
    assert_int_equal(n, 2);
    bool has_user = strcmp(list[0].host, "/tmp/state/stint") == 0 ||
                    strcmp(list[1].host, "/tmp/state/stint") == 0;
    assert_true(has_user);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms),
        cmocka_unit_test(refusals),
        cmocka_unit_test(guards),
        cmocka_unit_test(defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
