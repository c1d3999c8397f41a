/* SPDX-License-Identifier: MPL-2.0 */
/* A client's requests: windows, answers, silence, and everything again over fresh sockets. */
#include "tests/unit/unit.h"

#include "common/session/request.h"

static struct request *add(struct request_table *t, enum verb verb)
{
    struct blob *body = blob_new("x", 1);
    size_t bodies = verb == VERB_SUBMIT ? 1 : 0;
    struct request *r =
        request_table_add(t, verb, view_str("q"), view_of(NULL, 0), &body, bodies, 0, NEVER_MS);
    if (bodies == 0)
        blob_unref(&body);
    return r;
}

static struct view tag_of(const struct request *r)
{
    return outmsg_frame(&r->msg, OUT_TAG);
}

static void submits_keep_their_span(void **state)
{
    (void)state;
    struct request_table t;
    struct request *first = NULL;
    request_table_init(&t, 0xabc);
    for (int i = 0; i < 20; i++) {
        struct request *r = add(&t, VERB_SUBMIT);
        first = i == 0 ? r : first;
    }
    int sent = 0;
    while (request_table_next(&t, 0) != NULL)
        sent++;
    assert_int_equal(sent, PROTO_WINDOW_SUBMITS);
    assert_true(view_is(tag_of(first), "R0000000000000abc.1"));
    struct request *r = request_table_reply(&t, tag_of(first));
    assert_ptr_equal(r, first);
    assert_null(request_table_reply(&t, tag_of(first)));
    assert_non_null(request_table_next(&t, 0));
    assert_null(request_table_next(&t, 0));
    /* put back, it bounds the span again and goes out first */
    request_table_again(&t, first);
    assert_ptr_equal(request_table_next(&t, 0), first);
    request_table_fini(&t);
}

static void silence_redials(void **state)
{
    (void)state;
    struct request_table t;
    request_table_init(&t, 1);
    add(&t, VERB_GET);
    struct request *poll = request_table_add(&t, VERB_WAIT, view_str("1"), view_of(NULL, 0), NULL,
                                             0, PROTO_LONG_POLL_MS, NEVER_MS);
    assert_int_equal(request_table_deadline(&t), NEVER_MS);
    while (request_table_next(&t, 100) != NULL) {
    }
    assert_int_equal(request_table_deadline(&t), 100 + REQUEST_PATIENCE_MS);
    assert_false(request_table_must_redial(&t, 99 + REQUEST_PATIENCE_MS));
    assert_true(request_table_must_redial(&t, 100 + REQUEST_PATIENCE_MS));
    request_table_redialled(&t);
    assert_int_equal(request_table_next(&t, 9000)->number, 1);
    assert_ptr_equal(request_table_next(&t, 9000), poll);
    assert_int_equal(poll->sent_count, 2);
    request_table_fini(&t);
}

static void deadlines_end_requests(void **state)
{
    (void)state;
    struct request_table t;
    request_table_init(&t, 1);
    request_table_add(&t, VERB_PING, view_of(NULL, 0), view_of(NULL, 0), NULL, 0, 0, 500);
    assert_null(request_table_expired(&t, 499));
    struct request *r = request_table_expired(&t, 500);
    assert_non_null(r);
    request_free(&r);
    assert_int_equal(t.count, 0);
    request_table_fini(&t);
}

static void full_pipe_keeps_the_request(void **state)
{
    (void)state;
    struct request_table t;
    request_table_init(&t, 1);
    add(&t, VERB_GET);
    struct request *r = request_table_next(&t, 0);
    request_table_unsend(&t, r);
    assert_int_equal(t.sent_count, 0);
    assert_ptr_equal(request_table_next(&t, 5), r);
    request_table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submits_keep_their_span),
        cmocka_unit_test(silence_redials),
        cmocka_unit_test(deadlines_end_requests),
        cmocka_unit_test(full_pipe_keeps_the_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
