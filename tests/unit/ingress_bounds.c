/* SPDX-License-Identifier: MPL-2.0 */
/* What ingress makes of messages: the event, the refusal with its text, or nothing. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "broker/ingress/ingress.h"
#include "common/base/memory.h"

static struct ingress *in;

static int setup(void **state)
{
    (void)state;
    in = ingress_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ingress_free(&in);
    return 0;
}

static const struct event *decode(enum plane plane, const struct view *frames, size_t n)
{
    struct arrival a = {.plane = plane, .peer = view_str("peer"), .connection = 4, .now_ms = 9};
    return ingress_decode(in, &a, frames, n);
}

static const struct event *say(enum plane plane, const char *verb, const char *tag,
                               const char *subject, const char *header)
{
    struct view frames[] = {view_str("ST1"), view_str(verb), view_str(tag), view_str(subject),
                            view_str(header)};
    return decode(plane, frames, 5);
}

static void assert_refused(const struct event *e, enum status status, const char *named)
{
    assert_non_null(e);
    assert_int_equal(e->type, EVENT_REFUSED);
    assert_int_equal(e->refused.status, status);
    assert_non_null(strstr(e->refused.text, named));
}

static void refusals_name_what_is_wrong(void **state)
{
    (void)state;
    assert_refused(say(PLANE_C, "GET", "t", "1", "{\"wnat\":[]}"), STATUS_UNKNOWN_KEY, "wnat");
    assert_refused(say(PLANE_C, "GET", "t", "1", "{\"want\":[\"x\"]}"), STATUS_BAD_ARGUMENT,
                   "want");
    assert_refused(say(PLANE_C, "GET", "t", "0", ""), STATUS_BAD_ARGUMENT, "GET");
    assert_refused(say(PLANE_C, "WAIT", "t", "", ""), STATUS_BAD_ARGUMENT, "subject");
    assert_refused(say(PLANE_C, "WAIT", "t", "1", "{\"since\":-1}"), STATUS_BAD_ARGUMENT, "since");
    assert_refused(say(PLANE_C, "WAIT", "t", "1", "nonsense"), STATUS_BAD_ARGUMENT, "JSON");
    assert_refused(say(PLANE_C, "LIST", "t", "", "{\"state\":[\"no\"]}"), STATUS_BAD_ARGUMENT,
                   "state");
    assert_refused(say(PLANE_C, "SUBMIT", "t", "q", ""), STATUS_BAD_MESSAGE, "SUBMIT");
    assert_refused(say(PLANE_C, "SHUTDOWN", "t", "now", ""), STATUS_UNKNOWN_VERB, "SHUTDOWN");
    assert_refused(say(PLANE_T, "SHUTDOWN", "t", "soon", ""), STATUS_BAD_ARGUMENT, "drain");
    assert_refused(say(PLANE_W, "BEAT", "t", "1", ""), STATUS_BAD_ARGUMENT, "session");
}

static void large_bodies_are_refused(void **state)
{
    (void)state;
    size_t size = PROTO_PAYLOAD_BYTES_MAX;
    char *bytes = mem_zalloc(size + 1);
    struct view frames[] = {view_str("ST1"), view_str("SUBMIT"), view_str("t"),
                            view_str("q"),   view_str(""),       view_of(bytes, size)};
    const struct event *e = decode(PLANE_C, frames, 6);
    assert_int_equal(e->type, EVENT_SUBMIT);
    assert_int_equal(e->submit.count, 1);
    frames[5].size = size + 1;
    assert_refused(decode(PLANE_C, frames, 6), STATUS_TOO_LARGE, "body 1");
    struct view many[5 + 17];
    memcpy(many, frames, 5 * sizeof frames[0]);
    for (size_t i = 5; i < ARRAY_SIZE(many); i++)
        many[i] = view_of(bytes, size);
    assert_refused(decode(PLANE_C, many, ARRAY_SIZE(many)), STATUS_TOO_LARGE, "request");
    ingress_release(in);
    free(bytes);
}

static void callers_are_kept(void **state)
{
    (void)state;
    struct view frames[] = {view_str("abcd"), view_str(""), view_str("ST1"), view_str("PING"),
                            view_str("r1"),   view_str(""), view_str("")};
    const struct event *e = decode(PLANE_C, frames, 7);
    assert_int_equal(e->type, EVENT_PING);
    assert_int_equal(e->caller.route.envelope_count, 2);
    assert_memory_equal(e->caller.route.envelope, "abcd", 4);
    assert_int_equal(e->caller.route.id_size, 4);
    assert_memory_equal(e->caller.tag, "r1", 2);
    frames[0] = view_str("too long for an envelope");
    e = decode(PLANE_C, frames, 7);
    assert_refused(e, STATUS_BAD_MESSAGE, "envelope");
    assert_int_equal(e->caller.route.envelope_count, 0);
    assert_memory_equal(e->caller.tag, "r1", 2);
    assert_int_equal(ingress_dropped(in), 0);
}

static void results_have_nobody_to_tell(void **state)
{
    (void)state;
    static const char session[] = "0123456789abcdef.1.2";
    assert_null(say(PLANE_R, "DONE", session, "1.1.1", ""));
    assert_int_equal(ingress_dropped(in), 1);
    struct view frames[] = {view_str("ST1"),
                            view_str("FAIL"),
                            view_str(session),
                            view_str("1.2.3"),
                            view_str("{\"exit_code\":3}"),
                            view_str("out")};
    const struct event *e = decode(PLANE_R, frames, 6);
    assert_int_equal(e->type, EVENT_VERDICT);
    assert_int_equal(e->verdict.outcome, OUTCOME_FAIL);
    assert_int_equal(e->verdict.header->exit_code, 3);
    assert_int_equal(e->verdict.header->stdout_bytes, 3);
    assert_int_equal(e->verdict.ref.attempt, 2);
    struct view output[] = {view_str("ST1"),   view_str("OUTPUT"), view_str(session),
                            view_str("1.2.3"), view_str(""),       view_str("err"),
                            view_str("10"),    view_str("text")};
    e = decode(PLANE_R, output, 8);
    assert_int_equal(e->type, EVENT_OUTPUT);
    assert_true(e->output.is_stderr);
    output[5] = view_str("nil");
    assert_null(decode(PLANE_R, output, 8));
}

static void inventories_are_lines_of_refs(void **state)
{
    (void)state;
    struct view frames[] = {
        view_str("ST1"), view_str("INVENTORY"), view_str("0123456789abcdef.1.2"),
        view_str(""),    view_str(""),          view_str("1.1.1\n2.1.2\n"),
        view_str("")};
    const struct event *e = decode(PLANE_W, frames, 7);
    assert_int_equal(e->type, EVENT_INVENTORY);
    assert_int_equal(e->inventory.running_count, 2);
    assert_int_equal(e->inventory.outbox_count, 0);
    frames[5] = view_str("1.1.1\n2.1.2");
    assert_refused(decode(PLANE_W, frames, 7), STATUS_BAD_ARGUMENT, "INVENTORY");
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        STORY(refusals_name_what_is_wrong),
        STORY(large_bodies_are_refused),
        STORY(callers_are_kept),
        STORY(results_have_nobody_to_tell),
        STORY(inventories_are_lines_of_refs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
