/* SPDX-License-Identifier: MPL-2.0 */
/* Table test over option.def: each number at its bounds and one beyond, unknown keys by name, and
 * the way of argv, env and bytes that are not UTF-8 from a SUBMIT to the worker's spec. */
#include "tests/unit/unit.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/buf.h"
#include "common/proto/header.h"
#include "common/proto/option.h"

static enum status decode(const char *header, struct job_options *o, struct error *e)
{
    struct blob *spec = NULL;
    enum status s = job_options_decode(view_str(header), o, &spec, e);
    if (s != STATUS_OK)
        assert_null(spec);
    blob_unref(&spec);
    return s;
}

static void check_number(const char *key, uint64_t n, bool is_good)
{
    char header[128];
    struct job_options o;
    struct error e;
    snprintf(header, sizeof header, "{\"%s\":%" PRIu64 "}", key, n);
    assert_int_equal(decode(header, &o, &e), is_good ? STATUS_OK : STATUS_BAD_ARGUMENT);
    if (!is_good)
        assert_non_null(strstr(e.text, key));
}

static void numbers_at_their_bounds(void **state)
{
    (void)state;
#define NUMBER(field, key, low, high, preset, meaning)                                             \
    check_number(key, low, true);                                                                  \
    if ((uint64_t)(low) > 0)                                                                       \
        check_number(key, (uint64_t)(low)-1, false);                                               \
    check_number(key, min_u64(high, INT64_MAX), true);                                             \
    if ((uint64_t)(high) < INT64_MAX)                                                              \
        check_number(key, (uint64_t)(high) + 1, false);
#define TEXT(id, key, meaning)
#include "common/proto/option.def"
#undef NUMBER
#undef TEXT
}

static void refusals_name_the_key(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        enum status status;
        const char *named;
    } bad[] = {
        {"{\"retrys\":3}", STATUS_UNKNOWN_KEY, "retrys"},
        {"{\"retries\":\"3\"}", STATUS_BAD_ARGUMENT, "retries"},
        {"{\"retries\":-1}", STATUS_BAD_ARGUMENT, "retries"},
        {"{\"retries\":1,\"retries\":2}", STATUS_BAD_ARGUMENT, "JSON"},
        {"[]", STATUS_BAD_ARGUMENT, "object"},
        {"{", STATUS_BAD_ARGUMENT, "object"},
        {"{\"argv\":[]}", STATUS_BAD_ARGUMENT, "argv"},
        {"{\"argv\":[1]}", STATUS_BAD_ARGUMENT, "argv"},
        {"{\"argv\":[\"a\"],\"cwd\":\"relative\"}", STATUS_BAD_ARGUMENT, "cwd"},
        {"{\"argv\":[\"a\"],\"env\":{\"A=B\":\"c\"}}", STATUS_BAD_ARGUMENT, "env"},
        {"{\"argv\":[\"a\"],\"input\":\"file\"}", STATUS_BAD_ARGUMENT, "input"},
        {"{\"argv\":[{\"base64\":\"AA==\"}]}", STATUS_BAD_ARGUMENT, "argv"},
        {"{\"cwd\":\"/\"}", STATUS_BAD_ARGUMENT, "cwd"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct job_options o;
        struct error e = {0};
        assert_int_equal(decode(bad[i].header, &o, &e), bad[i].status);
        assert_non_null(strstr(e.text, bad[i].named));
    }
}

static void spec_reaches_the_worker(void **state)
{
    (void)state;
    static const char header[] =
        "{\"argv\":[\"cp\",\"{}\",{\"base64\":\"/3g=\"}],\"env\":{\"A\":\"b c\"},"
        "\"cwd\":\"/tmp\",\"input\":\"argv\",\"time_limit_ms\":1500,"
        "\"priority\":9,\"name\":\"n\",\"seq\":7}";
    struct job_options o;
    struct blob *spec = NULL;
    struct error e;
    assert_int_equal(job_options_decode(view_str(header), &o, &spec, &e), STATUS_OK);
    assert_int_equal(o.priority, 9);
    assert_int_equal(o.kind, JOB_COMMAND);
    assert_int_equal(o.seq, 7);
    assert_string_equal(o.name, "n");
    assert_int_equal(o.retries, 0);
    assert_int_equal(o.crash_limit, 3);
    struct buf b;
    buf_init(&b, 4096);
    job_header_add(&b, blob_view(spec), view_str("mail"), 9);
    struct job_spec s;
    assert_int_equal(job_spec_decode(buf_view(&b), &s, &e), 0);
    assert_int_equal(s.argc, 3);
    assert_string_equal(s.argv[2], "\xffx");
    assert_string_equal(s.env[0], "A=b c");
    assert_string_equal(s.cwd, "/tmp");
    assert_string_equal(s.queue, "mail");
    assert_string_equal(s.mark, "{}");
    assert_true(s.input_is_argv && s.seq == 9 && s.time_limit_ms == 1500);
    job_spec_fini(&s);
    buf_fini(&b);
    blob_unref(&spec);
}

static void empty_headers_are_defaults(void **state)
{
    (void)state;
    struct job_options o;
    struct blob *spec = NULL;
    struct error e;
    assert_int_equal(job_options_decode(view_of(NULL, 0), &o, &spec, &e), STATUS_OK);
    assert_null(spec);
    assert_int_equal(o.kind, JOB_PAYLOAD);
    assert_int_equal(o.priority, 5);
    struct buf b;
    buf_init(&b, 100);
    job_header_add(&b, view_of(NULL, 0), view_of(NULL, 0), 0);
    assert_int_equal(b.size, 0);
    job_header_add(&b, view_of(NULL, 0), view_of(NULL, 0), 4);
    assert_string_equal(buf_cstr(&b), "{\"seq\":4}");
    buf_fini(&b);
}

static void worker_headers_round_trip(void **state)
{
    (void)state;
    struct error e;
    struct buf b;
    buf_init(&b, 65536);
    struct ready_header ready = {.pid = 7, .slots = 3, .kinds = 3, .queue_count = 2};
    strcpy(ready.name, "w1");
    strcpy(ready.host, "h");
    strcpy(ready.containment, "keeper");
    strcpy(ready.queues[0], "a");
    strcpy(ready.queues[1], "b");
    struct ready_header ready_back;
    ready_header_encode(&ready, &b);
    assert_int_equal(ready_header_decode(buf_view(&b), &ready_back, &e), STATUS_OK);
    assert_memory_equal(&ready, &ready_back, sizeof ready);
    buf_reset(&b);
    struct welcome_header welcome = {1000, 30000, 1000, 5};
    struct welcome_header welcome_back;
    welcome_header_encode(&welcome, &b);
    assert_int_equal(welcome_header_decode(buf_view(&b), &welcome_back, &e), STATUS_OK);
    assert_memory_equal(&welcome, &welcome_back, sizeof welcome);
    buf_reset(&b);
    struct verdict_header verdict;
    struct verdict_header verdict_back;
    verdict_header_init(&verdict);
    verdict.signal = 9;
    verdict.is_truncated = true;
    verdict.stdout_bytes = 12;
    strcpy(verdict.reason, "signal 9");
    verdict_header_encode(&verdict, &b);
    assert_int_equal(verdict_header_decode(buf_view(&b), 0, 0, &verdict_back, &e), STATUS_OK);
    assert_int_equal(verdict_back.exit_code, -1);
    assert_int_equal(verdict_back.signal, 9);
    assert_true(verdict_back.is_truncated);
    assert_string_equal(verdict_back.reason, "signal 9");
    assert_int_equal(verdict_header_decode(view_of(NULL, 0), 5, 6, &verdict_back, &e), STATUS_OK);
    assert_int_equal(verdict_back.exit_code, 0);
    assert_int_equal(verdict_back.stderr_bytes, 6);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_at_their_bounds),   cmocka_unit_test(refusals_name_the_key),
        cmocka_unit_test(spec_reaches_the_worker),   cmocka_unit_test(empty_headers_are_defaults),
        cmocka_unit_test(worker_headers_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
