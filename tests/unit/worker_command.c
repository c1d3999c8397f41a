/* SPDX-License-Identifier: MPL-2.0 */
/* worker_command.c - from a JOB to a command line: placeholders, items of any bytes, environment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/pool/command.h"

static const struct ref ref = {.job = 7, .attempt = 2, .lease = 99};

static struct pool_command *build(const char *header, struct view body, struct error *e)
{
    static const char *const handler[] = {"handler", "--flag"};
    struct job_spec spec;
    if (job_spec_decode(view_str(header), &spec, e) != 0)
        fail_msg("%s", e->text);
    struct command_context context = {.spec = &spec,
                                      .ref = &ref,
                                      .body = body,
                                      .queue = "first",
                                      .worker = "w1",
                                      .slot = 3,
                                      .handler_argv = handler,
                                      .handler_argc = 2,
                                      .kill_grace_ms = 10};
    struct pool_command *c = command_build(&context, e);
    job_spec_fini(&spec);
    return c;
}

static void check_argv(const char *header, const char *item, const char *const *expected,
                       size_t count)
{
    struct error e = {0};
    struct pool_command *c = build(header, view_str(item), &e);
    if (c == NULL)
        fail_msg("%s", e.text);
    assert_int_equal(c->argc, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(c->argv[i], expected[i]);
    assert_null(c->argv[count]);
    assert_null(c->input);
    pool_command_free(&c);
}

static void placeholders(void **state)
{
    (void)state;
    static const char header[] =
        "{\"argv\":[\"c\",\"{}\",\"{.}\",\"{/}\",\"{//}\",\"{/.}\",\"{#}\",\"-{/}-{}{\",\"{x}\"],"
        "\"input\":\"argv\",\"seq\":12}";
    static const char *const rows[][10] = {
        {"sub.d/a b.tar.gz", "sub.d/a b.tar", "a b.tar.gz", "sub.d", "a b.tar",
         "-a b.tar.gz-sub.d/a b.tar.gz{"},
        {"plain", "plain", "plain", ".", "plain", "-plain-plain{"},
        {"sub.d/bar", "sub.d/bar", "bar", "sub.d", "bar", "-bar-sub.d/bar{"},
        {"/top", "/top", "top", "/", "top", "-top-/top{"},
        {"{}", "{}", "{}", ".", "{}", "-{}-{}{"}, /* an item is never expanded again */
        {"$(x);'\"*\n", "$(x);'\"*\n", "$(x);'\"*\n", ".", "$(x);'\"*\n",
         "-$(x);'\"*\n-$(x);'\"*\n{"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *const *r = rows[i];
        const char *const expected[] = {"c", r[0], r[1], r[2], r[3], r[4], "12", r[5], "{x}"};
        check_argv(header, r[0], expected, ARRAY_SIZE(expected));
    }
}

static void marks_and_appending(void **state)
{
    (void)state;
    const char *const appended[] = {"rm", "-f", "x y"};
    check_argv("{\"argv\":[\"rm\",\"-f\"],\"input\":\"argv\"}", "x y", appended, 3);
    const char *const marked[] = {"echo", "{}", "<x>"};
    check_argv("{\"argv\":[\"echo\",\"{}\",\"<%>\"],\"input\":\"argv\",\"mark\":\"%\"}", "x",
               marked, 3);
    const char *const empty[] = {"echo", "[]"};
    check_argv("{\"argv\":[\"echo\",\"[{}]\"],\"input\":\"argv\"}", "", empty, 2);
}

static bool has_env(const struct pool_command *c, const char *entry)
{
    for (size_t i = 0; i < c->env_count; i++)
        if (strcmp(c->env[i], entry) == 0)
            return true;
    return false;
}

static void environment_and_stdin(void **state)
{
    (void)state;
    struct error e = {0};
    struct pool_command *c =
        build("{\"argv\":[\"cat\",\"{}\"],\"env\":{\"A\":\"1\"},\"cwd\":\"/d\","
              "\"stdout_file\":\"o\",\"time_limit_ms\":5}",
              view_of("a\0b", 3), &e);
    assert_non_null(c);
    assert_string_equal(c->argv[1], "{}"); /* no item, so the mark is a word */
    assert_true(view_eq(blob_view(c->input), view_of("a\0b", 3)));
    assert_true(has_env(c, "A=1") && has_env(c, "STINT_JOB_ID=7") && has_env(c, "STINT_ATTEMPT=2"));
    assert_true(has_env(c, "STINT_LEASE=99") && has_env(c, "STINT_WORKER=w1"));
    assert_true(has_env(c, "STINT_SLOT=4") && has_env(c, "STINT_JOB_QUEUE=first"));
    assert_string_equal(c->cwd, "/d");
    assert_string_equal(c->stdout_file, "o");
    assert_int_equal(c->time_limit_ms, 5);
    assert_false(c->is_handler);
    pool_command_free(&c);
    c = build("{\"queue\":\"q2\",\"seq\":3}", view_str("payload"), &e);
    assert_non_null(c);
    assert_true(c->is_handler);
    assert_string_equal(c->argv[1], "--flag");
    assert_true(has_env(c, "STINT_JOB_QUEUE=q2") && has_env(c, "STINT_SEQ=3"));
    pool_command_free(&c);
    c = build("{\"argv\":[\"a\"],\"input\":\"argv\"}", view_str("it em"), &e);
    assert_true(has_env(c, "STINT_INPUT=it em"));
    pool_command_free(&c);
}

static void items_that_are_no_arguments(void **state)
{
    (void)state;
    struct error e = {0};
    assert_null(build("{\"argv\":[\"a\",\"{}\"],\"input\":\"argv\"}", view_of("a\0b", 3), &e));
    assert_non_null(strstr(e.text, "NUL"));
    size_t size = 1024 * 1024;
    char *big = malloc(size);
    assert_non_null(big);
    memset(big, 'x', size);
    assert_null(
        build("{\"argv\":[\"a\",\"{}{}{}{}{}\"],\"input\":\"argv\"}", view_of(big, size), &e));
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(placeholders),
        cmocka_unit_test(marks_and_appending),
        cmocka_unit_test(environment_and_stdin),
        cmocka_unit_test(items_that_are_no_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
