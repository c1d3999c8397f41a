/* SPDX-License-Identifier: MPL-2.0 */
/* The library against a broker that the test plays: a ROUTER in the same thread, so that each step
 * is taken in a known order and nothing waits for time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "stint/stint.h"

enum {
    STEPS_MAX = 3000,
    FRAMES = 12
};

struct fake {
    void *context;
    void *socket;
    char directory[64];
    char address[80];
    char frames[FRAMES][4096]; /* of the last request, routing id first */
    size_t sizes[FRAMES];
    size_t count;
    int greetings;
    struct stint *stint;
    int notices[3];
};

static void notice(void *arg, enum stint_notice kind, const char *text)
{
    struct fake *f = arg;
    (void)text;
    f->notices[kind]++;
}

static void fake_bind(struct fake *f)
{
    char endpoint[100];
    int zero = 0;
    snprintf(endpoint, sizeof endpoint, "ipc://%s/clients", f->directory);
    f->socket = zmq_socket(f->context, ZMQ_ROUTER);
    zmq_setsockopt(f->socket, ZMQ_LINGER, &zero, sizeof zero);
    assert_int_equal(zmq_bind(f->socket, endpoint), 0);
}

static int setup(void **state)
{
    struct fake *f = calloc(1, sizeof *f);
    strcpy(f->directory, "/tmp/stint-lib-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->address, sizeof f->address, "ipc://%s", f->directory);
    f->context = zmq_ctx_new();
    fake_bind(f);
    struct stint_config config = {
        .address = f->address, .client_name = "test", .notice = notice, .notice_arg = f};
    f->stint = stint_new(&config);
    assert_non_null(f->stint);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fake *f = *state;
    char path[100];
    stint_free(&f->stint);
    zmq_close(f->socket);
    zmq_ctx_term(f->context);
    snprintf(path, sizeof path, "%s/clients", f->directory);
    unlink(path);
    rmdir(f->directory);
    free(f);
    return 0;
}

static bool fake_receive(struct fake *f)
{
    int more = 1;
    size_t size = sizeof more;
    f->count = 0;
    while (more) {
        int n = zmq_recv(f->socket, f->frames[f->count], sizeof f->frames[0] - 1, ZMQ_DONTWAIT);
        if (n < 0)
            return false;
        f->sizes[f->count] = (size_t)n;
        f->frames[f->count++][n] = '\0';
        zmq_getsockopt(f->socket, ZMQ_RCVMORE, &more, &size);
        assert_true(f->count < FRAMES);
    }
    return true;
}

/* Answers the last request; bodies end with NULL. */
static void fake_answer(struct fake *f, const char *verb, const char *subject, const char *header,
                        const char *const *bodies)
{
    const char *frames[] = {"ST1", verb, f->frames[3], subject, header};
    zmq_send(f->socket, f->frames[0], f->sizes[0], ZMQ_SNDMORE);
    for (size_t i = 0; i < 5; i++)
        zmq_send(f->socket, frames[i], strlen(frames[i]),
                 i < 4 || bodies != NULL ? ZMQ_SNDMORE : 0);
    for (size_t i = 0; bodies != NULL && bodies[i] != NULL; i++)
        zmq_send(f->socket, bodies[i], strlen(bodies[i]), bodies[i + 1] != NULL ? ZMQ_SNDMORE : 0);
}

/* Runs both sides until a request that is no greeting arrives. */
static void fake_request(struct fake *f, const char *verb)
{
    for (int i = 0; i < STEPS_MAX; i++) {
        stint_poll(f->stint, NULL, 0, 5);
        if (!fake_receive(f))
            continue;
        assert_string_equal(f->frames[1], "ST1");
        if (strcmp(f->frames[2], "HELLO") == 0) {
            char header[64];
            f->greetings++;
            snprintf(header, sizeof header, "{\"broker_start\":%d}", f->greetings);
            fake_answer(f, "OK", "", header, NULL);
            continue;
        }
        assert_string_equal(f->frames[2], verb);
        return;
    }
    fail_msg("no %s came", verb);
}

static void until_done(struct fake *f, struct stint_call *c, int status)
{
    for (int i = 0; i < STEPS_MAX && !stint_call_is_done(c); i++)
        stint_poll(f->stint, NULL, 0, 5);
    assert_int_equal(stint_call_status(c), status);
}

static struct stint_call *submit(struct fake *f)
{
    struct stint_call *c = NULL;
    struct stint_bytes bodies[2] = {{"one", 3}, {"", 0}};
    assert_int_equal(stint_submit_start(f->stint, "q", NULL, bodies, 2, &c), STINT_OK);
    assert_int_equal(stint_call_status(c), STINT_PENDING);
    return c;
}

static void test_submit(void **state)
{
    struct fake *f = *state;
    struct stint_call *c = submit(f);
    fake_request(f, "SUBMIT");
    assert_int_equal(f->count, 8);
    assert_int_equal(f->frames[3][0], 'R');
    assert_string_equal(f->frames[4], "q");
    assert_string_equal(f->frames[5], "");
    assert_string_equal(f->frames[6], "one");
    assert_int_equal(f->sizes[7], 0);
    fake_answer(f, "OK", "7-8", "", NULL);
    until_done(f, c, STINT_OK);
    assert_memory_equal(stint_call_subject(c).data, "7-8", 3);
    assert_int_equal(stint_calls_open(f->stint), 0);
    stint_call_free(&c);
    assert_true(stint_is_connected(f->stint));
    assert_string_equal(stint_address(f->stint), f->address);
}

static void test_options(void **state)
{
    struct fake *f = *state;
    struct stint_call *c = NULL;
    struct stint_job_options o;
    const char *argv[] = {"ls", "\xff", NULL};
    const char *env[] = {"A=1=2", NULL};
    stint_job_options_init(&o);
    o.retries = 2;
    o.time_limit_ms = STINT_NEVER;
    o.argv = argv;
    o.env = env;
    o.cwd = "/tmp";
    o.body_is_item = true;
    o.seq = 5;
    assert_int_equal(stint_submit_start(f->stint, "q", &o, &(struct stint_bytes){"x", 1}, 1, &c),
                     0);
    fake_request(f, "SUBMIT");
    assert_string_equal(f->frames[5],
                        "{\"retries\":2,\"seq\":5,\"argv\":[\"ls\",{\"base64\":\"/w==\"}],"
                        "\"env\":{\"A\":\"1=2\"},\"cwd\":\"/tmp\",\"input\":\"argv\"}");
    stint_call_free(&c);
}

static void test_refusals(void **state)
{
    struct fake *f = *state;
    struct stint_call *c = submit(f);
    fake_request(f, "SUBMIT");
    fake_answer(f, "ERR", "queue_full", "{\"message\":\"queue q is full\"}", NULL);
    until_done(f, c, STINT_QUEUE_FULL);
    assert_string_equal(stint_call_error(c), "queue q is full");
    assert_int_equal(stint_status_exit_code(STINT_QUEUE_FULL), 5);
    stint_call_free(&c);
    assert_int_equal(stint_ping_start(f->stint, &c), STINT_OK);
    fake_request(f, "PING");
    fake_answer(f, "ERR", "of_the_future", "", NULL);
    until_done(f, c, STINT_INTERNAL);
    stint_call_free(&c);
}

/* A submit without an answer is sent again over a fresh connection, with the same request id. */
static void test_cut(void **state)
{
    struct fake *f = *state;
    char tag[64];
    struct stint_call *c = submit(f);
    fake_request(f, "SUBMIT");
    strcpy(tag, f->frames[3]);
    zmq_close(f->socket);
    for (int i = 0; i < STEPS_MAX && f->notices[STINT_NOTICE_LOST] == 0; i++)
        stint_poll(f->stint, NULL, 0, 5);
    fake_bind(f);
    fake_request(f, "SUBMIT");
    assert_string_equal(f->frames[3], tag);
    assert_int_equal(f->greetings, 2);
    assert_int_equal(f->notices[STINT_NOTICE_BACK], 1);
    fake_answer(f, "OK", "7-8", "{\"existing\":true}", NULL);
    until_done(f, c, STINT_OK);
    stint_call_free(&c);
}

static void test_stopping_and_busy(void **state)
{
    struct fake *f = *state;
    char tag[64];
    struct stint_call *c = submit(f);
    fake_request(f, "SUBMIT");
    strcpy(tag, f->frames[3]);
    fake_answer(f, "ERR", "stopping", "", NULL);
    fake_request(f, "SUBMIT");
    assert_string_equal(f->frames[3], tag);
    assert_int_equal(f->notices[STINT_NOTICE_STOPPING], 1);
    assert_int_equal(f->greetings, 2);
    fake_answer(f, "ERR", "busy", "", NULL);
    fake_request(f, "SUBMIT");
    assert_string_equal(f->frames[3], tag);
    assert_int_equal(f->greetings, 2);
    fake_answer(f, "OK", "1-2", "", NULL);
    until_done(f, c, STINT_OK);
    stint_call_free(&c);
}

static void test_wait_reply(void **state)
{
    struct fake *f = *state;
    struct stint_call *c = NULL;
    struct stint_wait_reply reply;
    struct stint_finished job;
    const char *bodies[] = {"out", "err", NULL};
    assert_int_equal(stint_wait_start(f->stint, "7-9", 3, true, 500, &c), STINT_OK);
    fake_request(f, "WAIT");
    assert_string_equal(f->frames[4], "7-9");
    assert_string_equal(f->frames[5],
                        "{\"since\":3,\"results\":true,\"limit\":1000,\"timeout_ms\":500}");
    fake_answer(f, "OK", "",
                "{\"since\":12,\"jobs\":[{\"id\":\"8\",\"state\":\"failed\",\"reason\":\"exit 3\","
                "\"exit_code\":3,\"signal\":null,\"attempts\":2,\"run_seconds\":0.5,"
                "\"worker\":\"w\",\"truncated\":true,\"stdout_bytes\":9,\"seq\":4}]}",
                bodies);
    until_done(f, c, STINT_OK);
    assert_int_equal(stint_wait_reply(c, &reply), STINT_OK);
    assert_int_equal(reply.since, 12);
    assert_int_equal(reply.count, 1);
    assert_false(reply.has_selected);
    assert_int_equal(stint_wait_job(c, 0, &job), STINT_OK);
    assert_int_equal(job.id, 8);
    assert_int_equal(job.exit_code, 3);
    assert_int_equal(job.signal, 0);
    assert_int_equal(job.attempts, 2);
    assert_int_equal(job.stdout_bytes, 9);
    assert_true(job.truncated);
    assert_memory_equal(job.err.data, "err", 3);
    assert_int_equal(stint_wait_job(c, 1, &job), STINT_BAD_MESSAGE);
    stint_call_free(&c);
}

static void test_follow_reply(void **state)
{
    struct fake *f = *state;
    struct stint_call *c = NULL;
    struct stint_follow known = {.state = "running", .attempt = 1, .stdout_at = 5};
    const char *bodies[] = {"more", "", NULL};
    assert_int_equal(stint_follow_start(f->stint, 7, &known, &c), STINT_OK);
    fake_request(f, "FOLLOW");
    assert_string_equal(f->frames[5],
                        "{\"state\":\"running\",\"attempt\":1,\"stdout\":5,\"stderr\":0}");
    fake_answer(f, "OK", "7", "{\"state\":\"running\",\"attempt\":1,\"stdout\":5,\"stderr\":0}",
                bodies);
    until_done(f, c, STINT_OK);
    assert_int_equal(stint_follow_reply(c, &known), STINT_OK);
    assert_int_equal(known.out.size, 4);
    assert_int_equal(known.err.size, 0);
    assert_null(known.waiting_for);
    stint_call_free(&c);
}

/* A call that is given up is not sent again, and its late answer is dropped. */
static void test_forgotten_call(void **state)
{
    struct fake *f = *state;
    struct stint_call *c = submit(f);
    struct stint_call *ping = NULL;
    fake_request(f, "SUBMIT");
    stint_call_free(&c);
    assert_int_equal(stint_calls_open(f->stint), 0);
    fake_answer(f, "OK", "1-2", "", NULL);
    assert_int_equal(stint_ping_start(f->stint, &ping), STINT_OK);
    fake_request(f, "PING");
    fake_answer(f, "OK", "", "{\"version\":\"0\"}", NULL);
    until_done(f, ping, STINT_OK);
}

static void test_limits(void **state)
{
    struct fake *f = *state;
    struct stint_call *c = NULL;
    char *big = calloc(1, STINT_PAYLOAD_BYTES_MAX + 1);
    struct stint_bytes body = {big, STINT_PAYLOAD_BYTES_MAX + 1};
    assert_int_equal(stint_submit_start(f->stint, "q", NULL, &body, 1, &c), STINT_TOO_LARGE);
    assert_int_equal(stint_submit_start(f->stint, "q", NULL, &body, 0, &c), STINT_BAD_ARGUMENT);
    assert_int_equal(stint_submit_start(f->stint, "a b", NULL, &body, 1, &c), STINT_BAD_ARGUMENT);
    assert_non_null(strstr(stint_error(f->stint), "a b"));
    assert_null(c);
    memset(big, 'x', 70000);
    struct stint_job_options o;
    const char *argv[] = {big, NULL};
    stint_job_options_init(&o);
    o.argv = argv;
    body.size = 0;
    assert_int_equal(stint_submit_start(f->stint, "q", &o, &body, 1, &c), STINT_TOO_LARGE);
    free(big);
}

static void test_unreachable(void **state)
{
    (void)state;
    struct stint_config config = {.address = "ipc:///nonexistent/stint", .connect_timeout_ms = 60};
    struct stint *s = stint_new(&config);
    struct stint_call *c = NULL;
    assert_int_equal(stint_ping_start(s, &c), STINT_OK);
    assert_int_equal(stint_call_wait(c, STINT_NEVER), STINT_UNREACHABLE);
    assert_string_equal(stint_error(s), "no broker answered within 0.06 s; tried "
                                        "ipc:///nonexistent/stint (no broker's socket there)");
    assert_int_equal(stint_connect(s), STINT_UNREACHABLE);
    stint_free(&s);
    assert_null(s);
}

static void test_interrupt(void **state)
{
    struct fake *f = *state;
    int fds[2];
    struct stint_call *c = submit(f);
    assert_int_equal(pipe(fds), 0);
    stint_set_interrupt_fd(f->stint, fds[0]);
    assert_int_equal(stint_call_wait(c, 0), STINT_TIMEOUT);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(stint_call_wait(c, STINT_NEVER), STINT_INTERRUPTED);
    assert_int_equal(stint_call_status(c), STINT_PENDING);
    stint_set_interrupt_fd(f->stint, -1);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
#define WITH_BROKER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_BROKER(test_submit),
        WITH_BROKER(test_options),
        WITH_BROKER(test_refusals),
        WITH_BROKER(test_cut),
        WITH_BROKER(test_stopping_and_busy),
        WITH_BROKER(test_wait_reply),
        WITH_BROKER(test_follow_reply),
        WITH_BROKER(test_forgotten_call),
        WITH_BROKER(test_limits),
        WITH_BROKER(test_interrupt),
        cmocka_unit_test(test_unreachable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
