/* SPDX-License-Identifier: MPL-2.0 */
/* call.c - the handle, and calls from start to reply. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/lib/impl.h"
#include "common/base/text.h"

#define STATUS(id, name, again, exit_code, sentence)                                               \
    _Static_assert((int)STINT_##id == (int)STATUS_##id, "stint.h and status.def differ");
#include "common/proto/status.def"
#undef STATUS
_Static_assert(STINT_JOBS_PER_SUBMIT_MAX == PROTO_JOBS_PER_SUBMIT_MAX, "stint.h and limits.h");
_Static_assert(STINT_PAYLOAD_BYTES_MAX == PROTO_PAYLOAD_BYTES_MAX, "stint.h and limits.h");
_Static_assert(STINT_SUBMITS_MAX == PROTO_WINDOW_SUBMITS, "stint.h and limits.h");

const char *stint_status_name(int status)
{
    switch (status) {
    case STINT_UNREACHABLE:
        return "unreachable";
    case STINT_TIMEOUT:
        return "timeout";
    case STINT_INTERRUPTED:
        return "interrupted";
    case STINT_PENDING:
        return "pending";
    default:
        return status >= 0 && status < STATUS_COUNT ? status_name((enum status)status) : "internal";
    }
}

int stint_status_exit_code(int status)
{
    switch (status) {
    case STINT_UNREACHABLE:
        return 4;
    case STINT_TIMEOUT:
        return 124;
    case STINT_INTERRUPTED:
        return 130;
    default:
        return status >= 0 && status < STATUS_COUNT ? status_exit_code((enum status)status) : 70;
    }
}

bool stint_status_is_retryable(int status)
{
    return status == STINT_UNREACHABLE ||
           (status >= 0 && status < STATUS_COUNT && status_is_retryable((enum status)status));
}

const char *stint_version(void)
{
    return STINT_VERSION;
}

void stint_zmq_version(char out[32])
{
    link_library_version(out);
}

int stint_fail(struct stint *s, int status, const char *fmt, ...)
{
    char text[ERROR_TEXT_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    error_set(&s->error, status, "%s", text);
    return status;
}

static void config_set(struct stint *s, const struct stint_config *config)
{
    if (config != NULL)
        s->config = *config;
    if (s->config.connect_timeout_ms == 0)
        s->config.connect_timeout_ms = 5000;
    if (s->config.reconnect_timeout_ms == 0)
        s->config.reconnect_timeout_ms = 300000;
    if (s->config.busy_timeout_ms == 0)
        s->config.busy_timeout_ms = 10000;
    const char *address = s->config.address != NULL ? s->config.address : getenv("STINT_BROKER");
    s->config.address = NULL; /* borrowed; what is needed of it is copied here */
    s->address_status = addresses_set(s->addresses, &s->address_count, address, s->config.control,
                                      &s->address_error);
    for (size_t i = 0; i < s->address_count; i++) {
        size_t used = strlen(s->addresses_text);
        snprintf(s->addresses_text + used, sizeof s->addresses_text - used, "%s%s",
                 i > 0 ? ", " : "", s->addresses[i].text);
    }
}

struct stint *stint_new(const struct stint_config *config)
{
    struct stint *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    uint64_t instance = 0;
    s->context = link_context_new();
    if (config != NULL && config->client_name != NULL)
        s->client_name = strdup(config->client_name);
    if (s->context == NULL || getrandom(&instance, sizeof instance, 0) != sizeof instance) {
        stint_free(&s);
        return NULL;
    }
    config_set(s, config);
    list_init(&s->calls);
    request_table_init(&s->table, instance);
    s->interrupt_fd = -1;
    return s;
}

void stint_free(struct stint **s)
{
    if (*s == NULL)
        return;
    if ((*s)->calls.next != NULL) {
        list_each_safe (node, &(*s)->calls) {
            struct stint_call *c = container_of(node, struct stint_call, link);
            stint_call_free(&c);
        }
        request_table_fini(&(*s)->table);
    }
    link_close(&(*s)->dial.link);
    link_context_free(&(*s)->context);
    free((*s)->client_name);
    free(*s);
    *s = NULL;
}

bool stint_is_connected(const struct stint *s)
{
    return s->dial.state == DIAL_READY;
}

const char *stint_address(const struct stint *s)
{
    bool is_known = s->dial.state == DIAL_READY || s->dial.was_ready;
    return is_known ? s->addresses[s->dial.address_at].text : s->addresses_text;
}

const char *stint_error(const struct stint *s)
{
    return s->error.text;
}

void stint_set_interrupt_fd(struct stint *s, int fd)
{
    s->interrupt_fd = fd;
}

int call_start(struct stint *s, enum verb verb, struct view subject, json_t *header,
               struct blob **bodies, size_t body_count, uint64_t poll_ms, struct stint_call **ret)
{
    struct stint_call *c = calloc(1, sizeof *c);
    char *text =
        header != NULL && json_object_size(header) > 0 ? json_dumps(header, JSON_COMPACT) : NULL;
    int status = STINT_OK;
    if (s->address_status != STINT_OK)
        status = stint_fail(s, s->address_status, "%s", s->address_error.text);
    else if (c == NULL || (text == NULL && header != NULL && json_object_size(header) > 0))
        status = stint_fail(s, STINT_NO_MEMORY, "out of memory");
    else if (text != NULL && strlen(text) > PROTO_HEADER_BYTES_MAX)
        status = stint_fail(s, STINT_TOO_LARGE,
                            "the command and its options take %zu bytes; at most %d are allowed",
                            strlen(text), PROTO_HEADER_BYTES_MAX);
    else if (subject.size > PROTO_SUBJECT_BYTES_MAX)
        status = stint_fail(s, STINT_TOO_LARGE, "the list of ids takes %zu bytes; at most %d",
                            subject.size, PROTO_SUBJECT_BYTES_MAX);
    json_decref(header);
    if (status != STINT_OK) {
        for (size_t i = 0; i < body_count; i++)
            blob_unref(&bodies[i]);
        free(text);
        free(c);
        return status;
    }
    *c = (struct stint_call){.stint = s, .status = STINT_PENDING};
    c->request = request_table_add(&s->table, verb, subject, view_str(text), bodies, body_count,
                                   poll_ms, NEVER_MS);
    free(text);
    list_push_back(&s->calls, &c->link);
    s->calls_open++;
    *ret = c;
    uint64_t now_ms = stint_now_ms();
    dial_want(s, now_ms);
    dial_drive(s, now_ms);
    return STINT_OK;
}

struct stint_call *call_of(struct stint *s, const struct request *r)
{
    list_each (node, &s->calls) {
        struct stint_call *c = container_of(node, struct stint_call, link);
        if (c->request == r)
            return c;
    }
    return NULL;
}

static void call_finish(struct stint_call *c, int status)
{
    c->status = status;
    c->request = NULL;
    c->stint->calls_open--;
    c->stint->calls_finished++;
}

void call_fail(struct stint_call *c, int status, const char *text)
{
    error_set(&c->error, status, "%s", text);
    call_finish(c, status);
}

void call_answer(struct stint_call *c, struct link_message *m, const struct msg *msg)
{
    c->message = m;
    c->msg = *msg;
    if (msg->verb == VERB_OK) {
        call_finish(c, STINT_OK);
        return;
    }
    enum status status = status_parse(msg->subject);
    const char *text = json_string_value(json_object_get(call_json(c), "message"));
    if (status == STATUS_OK)
        status = STATUS_INTERNAL;
    call_fail(c, (int)status, text != NULL ? text : status_sentence(status));
}

json_t *call_json(struct stint_call *c)
{
    if (c->json == NULL && c->message != NULL && c->msg.header.size > 0)
        c->json = json_loadb(c->msg.header.data, c->msg.header.size, 0, NULL);
    return json_is_object(c->json) ? c->json : NULL;
}

bool stint_call_is_done(const struct stint_call *c)
{
    return c->status != STINT_PENDING;
}

int stint_call_status(const struct stint_call *c)
{
    return c->status;
}

const char *stint_call_error(const struct stint_call *c)
{
    return c->error.text;
}

static struct stint_bytes bytes_of(struct view v)
{
    return (struct stint_bytes){v.data != NULL ? v.data : "", v.size};
}

struct stint_bytes stint_call_subject(const struct stint_call *c)
{
    return bytes_of(c->message != NULL ? c->msg.subject : view_of(NULL, 0));
}

struct stint_bytes stint_call_json(const struct stint_call *c)
{
    return bytes_of(c->message != NULL ? c->msg.header : view_of(NULL, 0));
}

size_t stint_call_body_count(const struct stint_call *c)
{
    return c->message != NULL ? c->msg.body_count : 0;
}

struct stint_bytes stint_call_body(const struct stint_call *c, size_t at)
{
    return bytes_of(at < stint_call_body_count(c) ? c->msg.bodies[at] : view_of(NULL, 0));
}

void stint_call_free(struct stint_call **c)
{
    struct stint_call *it = *c;
    *c = NULL;
    if (it == NULL)
        return;
    if (it->request != NULL) {
        it->request->deadline_ms = 0; /* the table hands out what has expired */
        struct request *r = request_table_expired(&it->stint->table, 0);
        request_free(&r);
    }
    if (it->status == STINT_PENDING)
        it->stint->calls_open--;
    list_remove(&it->link);
    link_message_free(&it->message);
    json_decref(it->json);
    free(it);
}

size_t stint_calls_open(const struct stint *s)
{
    return s->calls_open;
}

/* Milliseconds for poll(2) from now to the earlier of two times; -1 = never. */
static int poll_timeout(uint64_t now_ms, uint64_t a_ms, uint64_t b_ms)
{
    uint64_t until_ms = min_u64(a_ms, b_ms);
    if (until_ms == NEVER_MS)
        return -1;
    return (int)min_u64(sub_sat_u64(until_ms, now_ms), 1000000);
}

int stint_poll(struct stint *s, struct pollfd *extra, size_t extra_count, int timeout_ms)
{
    uint64_t now_ms = stint_now_ms();
    uint64_t until_ms = timeout_ms < 0 ? NEVER_MS : now_ms + (uint64_t)timeout_ms;
    if (s->calls_open > 0)
        dial_want(s, now_ms);
    enum dial_state state = s->dial.state;
    for (;;) {
        dial_drive(s, now_ms);
        /* What the drive above found is as good as what the poll below would find. */
        bool has_news =
            s->calls_finished != s->calls_told || (s->dial.state != state && s->calls_open == 0);
        int wait_ms = has_news ? 0 : poll_timeout(now_ms, until_ms, dial_deadline_ms(s));
        int error = link_poll(s->dial.link, extra, extra_count, wait_ms);
        int ready = 0;
        for (size_t i = 0; error == 0 && i < extra_count; i++)
            ready += extra[i].revents != 0;
        now_ms = stint_now_ms();
        dial_drive(s, now_ms);
        int finished = (int)(s->calls_finished - s->calls_told);
        s->calls_told = s->calls_finished;
        bool is_news =
            s->dial.state != state && s->calls_open == 0; /* stint_connect waits for it */
        if (error != 0 || is_news || finished + ready > 0 || now_ms >= until_ms)
            return finished + ready;
    }
}

/* Polls once; STINT_INTERRUPTED, or STINT_TIMEOUT after `until_ms`, else STINT_OK. */
static int wait_step(struct stint *s, uint64_t until_ms)
{
    struct pollfd fd = {.fd = s->interrupt_fd, .events = POLLIN};
    uint64_t now_ms = stint_now_ms();
    if (now_ms >= until_ms)
        return stint_fail(s, STINT_TIMEOUT, "the time is over");
    stint_poll(s, &fd, s->interrupt_fd >= 0 ? 1 : 0, poll_timeout(now_ms, until_ms, NEVER_MS));
    return fd.revents != 0 ? stint_fail(s, STINT_INTERRUPTED, "interrupted") : STINT_OK;
}

int stint_call_wait(struct stint_call *c, uint64_t timeout_ms)
{
    uint64_t until_ms = add_sat_u64(stint_now_ms(), timeout_ms);
    /* Other calls may finish meanwhile; the caller's next stint_poll has to tell of them. */
    uint64_t told = c->stint->calls_told;
    int status = STINT_OK;
    while (!stint_call_is_done(c) && status == STINT_OK)
        status = wait_step(c->stint, until_ms);
    c->stint->calls_told = told;
    if (!stint_call_is_done(c))
        return status;
    if (c->status != STINT_OK)
        stint_fail(c->stint, c->status, "%s", c->error.text);
    return c->status;
}

int stint_connect(struct stint *s)
{
    if (s->address_status != STINT_OK)
        return stint_fail(s, s->address_status, "%s", s->address_error.text);
    dial_want(s, stint_now_ms());
    while (s->dial.state != DIAL_READY && s->dial.state != DIAL_IDLE) {
        int status = wait_step(s, NEVER_MS);
        if (status != STINT_OK)
            return status;
    }
    return s->dial.state == DIAL_READY ? STINT_OK : STINT_UNREACHABLE;
}
