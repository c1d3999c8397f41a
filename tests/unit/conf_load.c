/* SPDX-License-Identifier: MPL-2.0 */
/* Origins: default < file < environment < command line, the file's syntax, and its errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/conf/conf.h"

static const struct conf_option options[] = {
    {.name = "queue",
     .kind = CONF_WORDS,
     .env = "T_QUEUE",
     .key = "queue",
     .value_default = "default",
     .metavar = "QUEUE",
     .help = "queues",
     .group = "Test"},
    {.name = "slots",
     .kind = CONF_U64,
     .env = "T_SLOTS",
     .key = "slots",
     .value_default = "4",
     .metavar = "N",
     .help = "slots",
     .group = "Test"},
    {.name = "loud",
     .kind = CONF_FLAG,
     .env = "T_LOUD",
     .key = "loud",
     .help = "loud",
     .group = "Test"},
    {.name = "name",
     .kind = CONF_STRING,
     .key = "name",
     .metavar = "NAME",
     .help = "name",
     .group = "Test"},
    {.name = "once", .kind = CONF_FLAG, .help = "not in the file", .group = "Test"},
    {.name = NULL},
};
static const struct conf_option options_other[] = {
    {.name = "grace",
     .kind = CONF_STRING,
     .key = "grace",
     .metavar = "TIME",
     .help = "grace",
     .group = "Test"},
    {.name = NULL},
};
static const struct conf_option *const known[] = {options_other, NULL};
static const struct conf_program program = {.name = "stint-worker",
                                            .summary = "Tests.",
                                            .usage = "stint-worker",
                                            .version = "1",
                                            .tables_known = known};

static char path[] = "/tmp/stint-conf-XXXXXX";

struct run {
    struct conf *conf;
    struct error error;
    int rc;
};

/* Reads `content` (NULL = no file) with up to one more argument. */
static struct run run_file(const char *content, const char *arg)
{
    struct run r = {.conf = conf_new(&program)};
    conf_add_options(r.conf, options);
    static char words[3][32] = {"stint-worker", "--config"};
    char *argv[4] = {words[0]};
    int argc = 1;
    if (content != NULL) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(content, f);
        fclose(f);
        argv[argc++] = words[1];
        argv[argc++] = path;
    }
    if (arg != NULL)
        argv[argc++] = strcpy(words[2], arg);
    r.rc = conf_read(r.conf, argc, argv, CONF_ARGS_MIXED, &r.error);
    return r;
}

static void expect_origin(struct run *r, const char *name, const char *text)
{
    struct buf b;
    buf_init(&b, 1000);
    conf_origin_add(r->conf, name, &b);
    char expected[200];
    snprintf(expected, sizeof expected, "%s%s", text[0] == ':' ? path : "", text);
    assert_string_equal(buf_cstr(&b), expected);
    buf_fini(&b);
}

static void expect_error(struct run r, const char *text)
{
    assert_int_equal(r.rc, -1);
    assert_int_equal(r.error.status, CONF_USAGE);
    char expected[500];
    snprintf(expected, sizeof expected, "%s%s", text[0] == ':' ? path : "", text);
    assert_string_equal(r.error.text, expected);
    conf_free(&r.conf);
}

static void test_order(void **state)
{
    (void)state;
    const char *file =
        "# comment\nqueue = f1\n[stint-worker]\nqueue = f2,f3\nslots: 7\nloud = yes\n"
        "name = has ; and # in it\n[stint-broker]\nwhatever = 1\n";
    struct run r = run_file(file, NULL);
    assert_int_equal(r.rc, 0);
    assert_int_equal(conf_count(r.conf, "queue"), 3);
    assert_string_equal(conf_item(r.conf, "queue", 2), "f3");
    assert_int_equal(conf_u64(r.conf, "slots"), 7);
    assert_true(conf_flag(r.conf, "loud"));
    assert_string_equal(conf_str(r.conf, "name"), "has ; and # in it");
    expect_origin(&r, "slots", ":5");
    conf_free(&r.conf);

    setenv("T_QUEUE", "e1", 1);
    setenv("T_SLOTS", "8", 1);
    setenv("T_LOUD", "off", 1);
    r = run_file(file, "--slots=9");
    assert_int_equal(r.rc, 0);
    assert_int_equal(conf_count(r.conf, "queue"), 1);
    assert_string_equal(conf_item(r.conf, "queue", 0), "e1");
    assert_int_equal(conf_u64(r.conf, "slots"), 9);
    assert_false(conf_flag(r.conf, "loud"));
    expect_origin(&r, "queue", "environment T_QUEUE");
    expect_origin(&r, "slots", "command line");
    expect_origin(&r, "once", "default");
    conf_free(&r.conf);

    setenv("T_QUEUE", "", 1); /* empty is the same as not set */
    unsetenv("T_SLOTS");
    unsetenv("T_LOUD");
    r = run_file(NULL, NULL);
    assert_int_equal(r.rc, 0);
    assert_string_equal(conf_item(r.conf, "queue", 0), "default");
    conf_free(&r.conf);
}

static void test_errors(void **state)
{
    (void)state;
    expect_error(run_file("slot = 3\n", NULL), ":1: unknown key 'slot' (did you mean slots?)");
    expect_error(run_file("\n\nslots = many\n", NULL),
                 ":3: slots: bad value 'many': expected a whole number");
    expect_error(run_file("once = yes\n", NULL), ":1: unknown key 'once'");
    expect_error(run_file("[stint-borker]\nx = 1\n", NULL),
                 ":2: unknown section [stint-borker] (there are [stint], [stint-broker] and "
                 "[stint-worker])");
    expect_error(run_file("slots = 1\nnonsense\n", NULL),
                 ":2: expected 'key = value' or '[section]'");
    expect_error(run_file("loud = perhaps\n", NULL),
                 ":1: loud: bad value 'perhaps': expected yes or no");
    setenv("T_SLOTS", "x", 1);
    expect_error(run_file(NULL, NULL),
                 "environment variable T_SLOTS: bad value 'x': expected a whole number");
    unsetenv("T_SLOTS");
}

static void test_keys_of_others(void **state)
{
    (void)state;
    struct run r = run_file("grace = 3s\n", NULL);
    assert_int_equal(r.rc, 0);
    conf_free(&r.conf);
}

static void test_file_missing(void **state)
{
    (void)state;
    setenv("STINT_CONFIG", "/nonexistent/stint.conf", 1);
    expect_error(run_file(NULL, NULL), "cannot open the configuration file "
                                       "/nonexistent/stint.conf: No such file or directory");
    struct run r = run_file(NULL, "--help"); /* a broken file cannot hide the help */
    assert_int_equal(r.rc, 0);
    assert_true(conf_flag(r.conf, "help"));
    conf_free(&r.conf);
    unsetenv("STINT_CONFIG");
}

static void test_long_lines(void **state)
{
    (void)state;
    char content[6000] = "name = ";
    memset(content + 7, 'x', 3000);
    struct run r = run_file(content, NULL);
    assert_int_equal(r.rc, 0);
    assert_int_equal(strlen(conf_str(r.conf, "name")), 3000);
    conf_free(&r.conf);
    memset(content + 7, 'x', 5000);
    expect_error(run_file(content, NULL), ":1: the line is longer than 4094 bytes");
}

int main(void)
{
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),          cmocka_unit_test(test_errors),
        cmocka_unit_test(test_keys_of_others), cmocka_unit_test(test_file_missing),
        cmocka_unit_test(test_long_lines),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return rc;
}
