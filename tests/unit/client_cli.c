/* SPDX-License-Identifier: MPL-2.0 */
/* Small parts of the tool: exit codes, the traps of a shell line, --halt, tags, the bar, job JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/cli/exit.h"
#include "client/cli/fetch.h"
#include "client/cli/job.h"
#include "client/cli/map.h"
#include "client/cli/spec.h"

static void test_exit_order(void **state)
{
    (void)state;
    static const int order[] = {70, 2, 4, 6, 3, 5, 124, 1, 0};
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        for (size_t k = i; k < ARRAY_SIZE(order); k++) {
            assert_int_equal(exit_worse(order[i], order[k]), order[i]);
            assert_int_equal(exit_worse(order[k], order[i]), order[i]);
        }
    }
    assert_int_equal(exit_worse(130, 1), 130);
}

static void test_exit_of_run(void **state)
{
    (void)state;
    assert_int_equal(exit_of_run("succeeded", "", 0, 0, false), 0);
    assert_int_equal(exit_of_run("failed", "exit 3", 3, 0, false), 3);
    assert_int_equal(exit_of_run("failed", "exit 255", 255, 0, false), 255);
    assert_int_equal(exit_of_run("failed", "signal 9", -1, 9, false), 137);
    assert_int_equal(exit_of_run("failed", "cannot execute", 126, 0, false), 126);
    assert_int_equal(exit_of_run("failed", "no such command", 127, 0, false), 127);
    assert_int_equal(exit_of_run("failed", "time limit", -1, 15, false), 124);
    assert_int_equal(exit_of_run("failed", "crashed 3 times", -1, 0, false), 125);
    assert_int_equal(exit_of_run("cancelled", "cancelled by ann", -1, 15, false), 125);
    assert_int_equal(exit_of_run("expired", "", -1, 0, false), 125);
    assert_int_equal(exit_of_run("succeeded", "", 0, 0, true), 125);
    assert_int_equal(exit_of_run("failed", "exit 3", 3, 0, true), 3);
}

static void test_shell_lines(void **state)
{
    (void)state;
    static const char *const lines[] = {"ls -l",     "a|b", "echo $HOME", "x>y",
                                        "./no such", "*.c", "a;b"};
    static const char *const words[] = {"ls", "/bin/ls", "./a-b_c.sh", "{}", "a=b", "x,y:z@1%"};
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        assert_true(spec_is_shell_line(lines[i]));
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        assert_false(spec_is_shell_line(words[i]));
}

static void test_injection(void **state)
{
    (void)state;
    char sh[] = "/bin/sh";
    char ls[] = "ls";
    char c[] = "-ec";
    char bad[] = "gzip {}";
    char good[] = "gzip \"$1\"";
    char name[] = "_";
    char mark[] = "{}";
    assert_true(spec_is_injection((char *[]){sh, c, bad}, 3, "{}"));
    assert_false(spec_is_injection((char *[]){sh, c, bad}, 3, "@@"));
    assert_false(spec_is_injection((char *[]){sh, c, good, name, mark}, 5, "{}"));
    assert_false(spec_is_injection((char *[]){ls, c, bad}, 3, "{}"));
    assert_false(spec_is_injection((char *[]){sh, bad}, 2, "{}"));
}

static void test_halt(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "now", "now,fail=", "now,fail=0", "later,fail=1", "now,fail=1x", "soon,success=1"};
    struct map_halt halt;
    assert_true(map_halt_parse("now,fail=3", &halt));
    assert_true(halt.is_now);
    assert_int_equal(halt.failures, 3);
    assert_true(map_halt_parse("soon,fail=1", &halt));
    assert_false(halt.is_now);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(map_halt_parse(bad[i], &halt));
}

static void expect_tagged(const char *text, const char *expected)
{
    struct buf out;
    buf_init(&out, 1000);
    fetch_tag_lines(&out, (struct stint_bytes){"T", 1}, (struct stint_bytes){text, strlen(text)});
    assert_string_equal(buf_cstr(&out), expected);
    buf_fini(&out);
}

static void test_tags(void **state)
{
    (void)state;
    expect_tagged("", "");
    expect_tagged("a\n", "T\ta\n");
    expect_tagged("a\n\nb", "T\ta\nT\t\nT\tb");
}

static void test_bar(void **state)
{
    (void)state;
    struct bar bar;
    struct buf out;
    buf_init(&out, 1000);
    bar_init(&bar, false, 1000);
    bar_update(&bar, 50, 0, 0, 2000);
    bar_text(&bar, 80, &out);
    assert_string_equal(buf_cstr(&out), "50 done  50/s");
    bar_update(&bar, 100, 400, 2, 3000);
    buf_reset(&out);
    bar_text(&bar, 80, &out);
    assert_string_equal(buf_cstr(&out), "[=====>              ] 100/400  2 failed  50/s  7 s left");
    buf_reset(&out);
    bar_text(&bar, 11, &out);
    assert_string_equal(buf_cstr(&out), "[=====>   ");
    buf_fini(&out);
}

static const char *const fields[] = {
    "id",           "queue",        "state",      "reason",      "exit_code",
    "signal",       "name",         "attempts",   "crashes",     "priority",
    "submitted_at", "not_before",   "started_at", "finished_at", "run_seconds",
    "worker",       "argv",         "cwd",        "meta",        "payload_bytes",
    "stdout_bytes", "stderr_bytes", "truncated",  "existing",    "waiting_for"};

static void test_job_json(void **state)
{
    (void)state;
    json_t *job = json_loads("{\"id\":\"7\",\"kind\":\"command\",\"seq\":1,\"state\":\"ready\","
                             "\"history\":[{}],\"argv\":[\"ls\"]}",
                             0, NULL);
    json_t *out = job_json(job, false);
    const char *key = NULL;
    json_t *value = NULL;
    size_t i = 0;
    json_object_foreach(out, key, value)
    {
        assert_string_equal(key, fields[i++]);
    }
    assert_int_equal(i, ARRAY_SIZE(fields));
    assert_true(json_is_null(json_object_get(out, "worker")));
    json_decref(out);
    out = job_json(job, true);
    assert_int_equal(json_array_size(json_object_get(out, "history")), 1);
    json_decref(out);
    json_decref(job);
}

static void test_job_json_bytes(void **state)
{
    (void)state;
    json_t *job = json_loads(
        "{\"cwd\":{\"base64\":\"/w==\"},\"argv\":[\"a\",{\"base64\":\"/w==\"}]}", 0, NULL);
    json_t *out = job_json(job, false);
    json_set_bytes(out, "stdout", (struct stint_bytes){"\xff", 1});
    json_set_bytes(out, "stderr", (struct stint_bytes){"ok", 2});
    assert_null(json_object_get(out, "argv"));
    assert_string_equal(job_text(out, "cwd_base64"), "/w==");
    json_t *words = json_object_get(out, "argv_base64");
    assert_string_equal(json_string_value(json_array_get(words, 0)), "YQ==");
    assert_string_equal(json_string_value(json_array_get(words, 1)), "/w==");
    assert_string_equal(job_text(out, "stdout_base64"), "/w==");
    assert_string_equal(job_text(out, "stderr"), "ok");
    json_decref(out);
    json_decref(job);
}

static void test_job_words(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1000);
    json_t *job = json_loads("{\"argv\":[\"sh\",\"-c\",\"echo 'x'\",\"\",\"a.b/c\"]}", 0, NULL);
    job_command_add(job, &out);
    assert_string_equal(buf_cstr(&out), "sh -c 'echo '\\''x'\\''' '' a.b/c");
    buf_reset(&out);
    job_why(&out, "cancelled", "cancelled by ann", -1, 15);
    assert_string_equal(buf_cstr(&out), "cancelled by ann");
    buf_reset(&out);
    job_why(&out, "failed", "", -1, 9);
    assert_string_equal(buf_cstr(&out), "failed: signal 9");
    json_decref(job);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_order),
        cmocka_unit_test(test_exit_of_run),
        cmocka_unit_test(test_shell_lines),
        cmocka_unit_test(test_injection),
        cmocka_unit_test(test_halt),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_job_json),
        cmocka_unit_test(test_job_json_bytes),
        cmocka_unit_test(test_job_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
