/* SPDX-License-Identifier: MPL-2.0 */
/* The command line: syntax, exact names, suggestions, checks of values, help and print-config. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/conf/conf.h"

static bool check_name(const char *value, const char **ret_why)
{
    *ret_why = "a queue name has letters, digits, '.', '_' and '-'";
    return strchr(value, ' ') == NULL;
}

static const struct conf_option options[] = {
    {.name = "queue",
     .letter = 'q',
     .kind = CONF_WORDS,
     .env = "T_QUEUE",
     .key = "queue",
     .value_default = "default",
     .metavar = "QUEUE",
     .help = "serve these queues",
     .group = "Test",
     .check = check_name},
    {.name = "verbose",
     .letter = 'v',
     .kind = CONF_FLAG,
     .key = "verbose",
     .help = "say more",
     .group = "Test"},
    {.name = "null", .letter = '0', .kind = CONF_FLAG, .help = "NUL", .group = "Test"},
    {.name = "env", .kind = CONF_LIST, .metavar = "K=V", .help = "environment", .group = "Test"},
    {.name = "slots",
     .letter = 'j',
     .kind = CONF_U64,
     .key = "slots",
     .value_default = "4",
     .metavar = "N",
     .help = "slots",
     .group = "Test",
     .min = 1,
     .max = 64},
    {.name = "limit",
     .kind = CONF_SIZE,
     .key = "limit",
     .value_default = "1M",
     .metavar = "SIZE",
     .help = "bytes",
     .group = "Test"},
    {.name = "time-limit",
     .kind = CONF_DURATION,
     .key = "time-limit",
     .value_default = "none",
     .metavar = "TIME",
     .help = "time",
     .group = "Test"},
    {.name = "wait",
     .kind = CONF_DURATION,
     .metavar = "TIME",
     .help = "time",
     .group = "Test",
     .min = 10,
     .max = 5000},
    {.name = "color",
     .kind = CONF_CHOICE,
     .value_default = "auto",
     .choices = "auto|always|never",
     .help = "colour",
     .group = "Test"},
    {.name = "name",
     .kind = CONF_STRING,
     .metavar = "NAME",
     .help = "a long sentence that must be wrapped because it does not fit into one line of the "
             "help text at all",
     .group = "Other"},
    {.name = NULL},
};

static const struct conf_example examples[] = {{"stint-test x", "do it"}, {NULL, NULL}};
static const struct conf_program program = {.name = "stint-test",
                                            .summary = "Tests.",
                                            .usage = "stint-test [options]\nstint-test -- X",
                                            .examples = examples,
                                            .notes = "The end.",
                                            .version = "1.2.3"};

struct run {
    struct conf *conf;
    struct error error;
    int rc;
};

#define WORDS(...) ((const char *const[]){__VA_ARGS__})
#define RUN(mode, ...)                                                                             \
    run_args(mode, sizeof WORDS(__VA_ARGS__) / sizeof(char *), WORDS(__VA_ARGS__))

static struct run run_args(enum conf_args_mode mode, size_t argc, const char *const *argv)
{
    struct run r = {.conf = conf_new(&program)};
    conf_add_options(r.conf, options);
    char **kept = malloc(argc * sizeof *kept);
    memcpy(kept, argv, argc * sizeof *kept);
    r.rc = conf_parse_args(r.conf, (int)argc, kept, mode, &r.error);
    free(kept);
    return r;
}

static void expect_error(struct run r, const char *text)
{
    assert_int_equal(r.rc, -1);
    assert_int_equal(r.error.status, CONF_USAGE);
    assert_string_equal(r.error.text, text);
    conf_free(&r.conf);
}

static void test_defaults(void **state)
{
    (void)state;
    struct run r = RUN(CONF_ARGS_MIXED, "one");
    assert_int_equal(r.rc, 0);
    assert_int_equal(conf_count(r.conf, "queue"), 1);
    assert_string_equal(conf_item(r.conf, "queue", 0), "default");
    assert_false(conf_is_set(r.conf, "queue"));
    assert_int_equal(conf_u64(r.conf, "slots"), 4);
    assert_int_equal(conf_bytes(r.conf, "limit"), 1048576);
    assert_true(conf_ms(r.conf, "time-limit") == NEVER_MS);
    assert_int_equal(conf_ms(r.conf, "wait"), 0);
    assert_null(conf_str(r.conf, "name"));
    assert_string_equal(conf_str(r.conf, "color"), "auto");
    assert_false(conf_flag(r.conf, "verbose"));
    assert_true(conf_has(r.conf, "name"));
    assert_false(conf_has(r.conf, "nam"));
    conf_free(&r.conf);
    assert_null(r.conf);
    conf_free(&r.conf);
}

static void test_syntax(void **state)
{
    (void)state;
    struct run r =
        RUN(CONF_ARGS_MIXED, "-v0j8", "a", "--queue=x,y", "--queue", "z", "--env", "A=1,2",
            "--env=B", "-", "--time-limit", "1.5", "--name=", "--", "--verbose", "b");
    assert_int_equal(r.rc, 0);
    assert_true(conf_flag(r.conf, "verbose"));
    assert_true(conf_flag(r.conf, "null"));
    assert_int_equal(conf_u64(r.conf, "slots"), 8);
    assert_int_equal(conf_count(r.conf, "queue"), 3);
    assert_string_equal(conf_item(r.conf, "queue", 2), "z");
    assert_int_equal(conf_count(r.conf, "env"), 2);
    assert_string_equal(conf_item(r.conf, "env", 0), "A=1,2");
    assert_int_equal(conf_ms(r.conf, "time-limit"), 1500);
    assert_string_equal(conf_str(r.conf, "name"), "");
    assert_int_equal(conf_args_count(r.conf), 4);
    assert_int_equal(conf_args_before_dashes(r.conf), 2);
    assert_string_equal(conf_args(r.conf)[1], "-");
    assert_string_equal(conf_args(r.conf)[2], "--verbose");
    assert_null(conf_args(r.conf)[4]);
    conf_free(&r.conf);
}

static void test_options_first(void **state)
{
    (void)state;
    struct run r = RUN(CONF_ARGS_OPTIONS_FIRST, "-v", "ls", "-l", "--", "x");
    assert_int_equal(r.rc, 0);
    assert_int_equal(conf_args_count(r.conf), 4);
    assert_int_equal(conf_args_before_dashes(r.conf), 4);
    assert_string_equal(conf_args(r.conf)[1], "-l");
    assert_string_equal(conf_args(r.conf)[2], "--");
    conf_free(&r.conf);
    r = RUN(CONF_ARGS_OPTIONS_FIRST, "-v", "--", "ls", "--", "x");
    assert_int_equal(conf_args_count(r.conf), 3);
    assert_int_equal(conf_args_before_dashes(r.conf), 0);
    conf_free(&r.conf);
}

static void test_twice(void **state)
{
    (void)state;
    struct run r = RUN(CONF_ARGS_OPTIONS_FIRST, "-j", "2", "--env", "A", "cmd", "-j3");
    char **rest = conf_args(r.conf) + 1;
    char last[] = "--env=B";
    char *kept[] = {rest[0], last};
    assert_int_equal(conf_parse_args(r.conf, 2, kept, CONF_ARGS_MIXED, &r.error), 0);
    assert_int_equal(conf_u64(r.conf, "slots"), 3);
    assert_int_equal(conf_count(r.conf, "env"), 2);
    assert_int_equal(conf_args_count(r.conf), 0);
    conf_free(&r.conf);
}

static void test_unknown(void **state)
{
    (void)state;
    expect_error(RUN(CONF_ARGS_MIXED, "--time=3"),
                 "unknown option '--time' (did you mean --time-limit?)");
    expect_error(RUN(CONF_ARGS_MIXED, "--quue", "a"),
                 "unknown option '--quue' (did you mean --queue?)");
    expect_error(RUN(CONF_ARGS_MIXED, "--zzz"), "unknown option '--zzz' (see --help)");
    expect_error(RUN(CONF_ARGS_MIXED, "-vx"), "unknown option '-x' in '-vx' (see --help)");
    expect_error(RUN(CONF_ARGS_MIXED, "--verbos"),
                 "unknown option '--verbos' (did you mean --verbose?)");
}

static void test_values(void **state)
{
    (void)state;
    expect_error(RUN(CONF_ARGS_MIXED, "--slots"), "--slots needs a value (N)");
    expect_error(RUN(CONF_ARGS_MIXED, "-j"), "-j (--slots) needs a value (N)");
    expect_error(RUN(CONF_ARGS_MIXED, "--verbose=1"), "--verbose takes no value");
    expect_error(RUN(CONF_ARGS_MIXED, "-j", "x"),
                 "-j (--slots): bad value 'x': expected a whole number");
    expect_error(RUN(CONF_ARGS_MIXED, "--slots=65"), "--slots: bad value '65': expected 1 to 64");
    expect_error(RUN(CONF_ARGS_MIXED, "--wait=6s"), "--wait: bad value '6s': expected 10ms to 5s");
    expect_error(RUN(CONF_ARGS_MIXED, "--wait=none"),
                 "--wait: bad value 'none': expected 10ms to 5s");
    expect_error(RUN(CONF_ARGS_MIXED, "--limit=1X"),
                 "--limit: bad value '1X': expected a size such as 64K, 1M or 2G");
    expect_error(RUN(CONF_ARGS_MIXED, "--color=red"),
                 "--color: bad value 'red': expected one of auto|always|never");
    expect_error(RUN(CONF_ARGS_MIXED, "--queue=a,,b"),
                 "--queue: bad value 'a,,b': an item is empty");
    expect_error(RUN(CONF_ARGS_MIXED, "--queue=a b"),
                 "--queue: bad value 'a b': a queue name has letters, digits, '.', '_' and '-'");
}

static void test_help(void **state)
{
    (void)state;
    struct run r = RUN(CONF_ARGS_MIXED, "-h");
    struct buf out;
    buf_init(&out, 1 << 20);
    conf_help_add(r.conf, &out);
    const char *text = buf_cstr(&out);
    const char *begin = "Usage: stint-test [options]\n"
                        "       stint-test -- X\n"
                        "Tests.\n\n"
                        "Examples:\n"
                        "  stint-test x ";
    assert_memory_equal(text, begin, strlen(begin));
    assert_non_null(
        strstr(text, "\n  -q, --queue QUEUE           serve these queues [$T_QUEUE, default]\n"));
    assert_non_null(strstr(
        text, "\n      --color auto|always|never\n                              colour [auto]\n"));
    assert_non_null(strstr(text, "\nOther options:\n"));
    assert_true(strstr(text, "Test options:") < strstr(text, "General options:"));
    assert_non_null(strstr(text, "\nThe end.\n"));
    size_t column = 0;
    for (const char *p = text; *p != '\0'; p++) {
        column = *p == '\n' ? 0 : column + 1;
        assert_true(column <= 100);
    }
    buf_fini(&out);
    conf_free(&r.conf);
}

static void test_print(void **state)
{
    (void)state;
    struct run r = RUN(CONF_ARGS_MIXED, "-v", "--queue=a,b");
    struct buf out;
    buf_init(&out, 1 << 20);
    conf_print_add(r.conf, &out);
    assert_string_equal(buf_cstr(&out), "queue = a                               # command line\n"
                                        "queue = b                               # command line\n"
                                        "verbose = yes                           # command line\n"
                                        "slots = 4                               # default\n"
                                        "limit = 1M                              # default\n"
                                        "time-limit = none                       # default\n");
    buf_fini(&out);
    conf_free(&r.conf);
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const words[] = {"submit", "run", "map", "status", "shutdown"};
    assert_string_equal(conf_nearest("sumbit", words, ARRAY_SIZE(words)), "submit");
    assert_string_equal(conf_nearest("stat", words, ARRAY_SIZE(words)), "status");
    assert_string_equal(conf_nearest("rn", words, ARRAY_SIZE(words)), "run");
    assert_null(conf_nearest("x", words, ARRAY_SIZE(words)));
    assert_null(conf_nearest("frobnicate", words, ARRAY_SIZE(words)));
    assert_null(conf_nearest("", words, ARRAY_SIZE(words)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_options_first), cmocka_unit_test(test_twice),
        cmocka_unit_test(test_unknown),       cmocka_unit_test(test_values),
        cmocka_unit_test(test_help),          cmocka_unit_test(test_print),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
