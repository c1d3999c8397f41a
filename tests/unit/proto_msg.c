/* SPDX-License-Identifier: MPL-2.0 */
/* Table test over verb.def: every verb goes through encoder and decoder on each of its planes, is
 * refused on the others, and at each bound; every truncation of every message is refused. */
#include "tests/unit/unit.h"

#include "common/proto/msg.h"

static const char *subject_good(enum subject_kind kind)
{
    switch (kind) {
    case SUBJECT_NONE:
        return "";
    case SUBJECT_QUEUE:
        return "default";
    case SUBJECT_IDS:
        return "1-5,9";
    case SUBJECT_ID:
        return "17";
    case SUBJECT_REF:
        return "17.1.99";
    case SUBJECT_NUMBER:
        return "0";
    case SUBJECT_WORD:
        break;
    }
    return "word";
}

static const char *subject_bad(enum subject_kind kind)
{
    switch (kind) {
    case SUBJECT_NONE:
        return "x";
    case SUBJECT_QUEUE:
        return "a b";
    case SUBJECT_IDS:
        return "5-1";
    case SUBJECT_ID:
        return "0";
    case SUBJECT_REF:
        return "17.1";
    case SUBJECT_NUMBER:
        return "-1";
    case SUBJECT_WORD:
        break;
    }
    return NULL;
}

/* Builds a message and returns its frames. */
static size_t frames_of(struct outmsg *m, enum verb verb, const char *subject, size_t bodies,
                        struct view *frames)
{
    outmsg_init(m, verb, view_str("tag"), view_str(subject));
    outmsg_header(m, view_str("{\"a\":1}"));
    for (size_t i = 0; i < bodies; i++)
        outmsg_body(m, blob_new("body", 4));
    size_t n = outmsg_frame_count(m);
    for (size_t i = 0; i < n; i++)
        frames[i] = outmsg_frame(m, i);
    return n;
}

static struct view frames[PROTO_FRAMES_MAX + 8];

static void check_plane(enum verb verb, enum plane plane)
{
    struct outmsg out;
    struct msg in;
    struct error e;
    size_t least = verb_bodies_min(verb);
    size_t n = frames_of(&out, verb, subject_good(verb_subject(verb)), least, frames);
    enum status s = msg_decode(frames, n, plane, &in, &e);
    if ((verb_planes(verb) & (unsigned)plane) == 0) {
        assert_int_equal(s, STATUS_UNKNOWN_VERB);
        outmsg_fini(&out);
        return;
    }
    assert_int_equal(s, STATUS_OK);
    assert_int_equal(in.verb, verb);
    assert_true(view_is(in.tag, "tag") && view_is(in.header, "{\"a\":1}"));
    assert_true(view_is(in.subject, subject_good(verb_subject(verb))));
    assert_int_equal(in.body_count, least);
    for (size_t cut = 0; cut < n; cut++)
        assert_true(msg_decode(frames, cut, plane, &in, &e) != STATUS_OK);
    outmsg_fini(&out);
    if (subject_bad(verb_subject(verb)) != NULL) {
        n = frames_of(&out, verb, subject_bad(verb_subject(verb)), least, frames);
        assert_int_equal(msg_decode(frames, n, plane, &in, &e), STATUS_BAD_ARGUMENT);
        outmsg_fini(&out);
    }
    n = frames_of(&out, verb, subject_good(verb_subject(verb)), verb_bodies_max(verb) + 1, frames);
    assert_true(msg_decode(frames, n, plane, &in, &e) != STATUS_OK);
    outmsg_fini(&out);
}

static void every_verb(void **state)
{
    (void)state;
    static const enum plane planes[] = {PLANE_C, PLANE_W, PLANE_B, PLANE_R, PLANE_T, PLANE_REPLY};
    for (int v = 0; v < VERB_COUNT; v++)
        for (size_t p = 0; p < ARRAY_SIZE(planes); p++)
            check_plane((enum verb)v, planes[p]);
}

static enum status decode(const char *const *texts, size_t n, struct msg *m)
{
    struct error e;
    for (size_t i = 0; i < n; i++)
        frames[i] = view_str(texts[i]);
    return msg_decode(frames, n, PLANE_C, m, &e);
}

static void envelopes(void **state)
{
    (void)state;
    struct msg m;
    const char *dealer[] = {"ST1", "PING", "r", "", ""};
    assert_int_equal(decode(dealer, 5, &m), STATUS_OK);
    assert_int_equal(m.envelope_count, 0);
    const char *req[] = {"", "ST1", "PING", "r", "", ""};
    assert_int_equal(decode(req, 6, &m), STATUS_OK);
    assert_int_equal(m.envelope_count, 1);
    const char *correlate[] = {"abcd", "", "ST1", "PING", "r", "", ""};
    assert_int_equal(decode(correlate, 7, &m), STATUS_OK);
    assert_int_equal(m.envelope_count, 2);
    const char *deep[] = {"a", "b", "", "ST1", "PING", "r", "", ""};
    assert_int_equal(decode(deep, 8, &m), STATUS_BAD_MESSAGE);
}

static void refusals_keep_the_tag(void **state)
{
    (void)state;
    struct msg m;
    const char *unknown[] = {"", "ST1", "NOPE", "r7", "", ""};
    assert_int_equal(decode(unknown, 6, &m), STATUS_UNKNOWN_VERB);
    assert_true(view_is(m.tag, "r7") && m.envelope_count == 1);
    const char *version[] = {"ST2", "PING", "r", "", ""};
    assert_int_equal(decode(version, 5, &m), STATUS_BAD_VERSION);
    const char *garbage[] = {"\x01\x02", "zzz"};
    assert_int_equal(decode(garbage, 2, &m), STATUS_BAD_MESSAGE);
    assert_int_equal(decode(garbage, 0, &m), STATUS_BAD_MESSAGE);
    const char *long_tag[] = {"ST1", "PING", "123456789012345678901234567890123", "", ""};
    assert_int_equal(decode(long_tag, 5, &m), STATUS_TOO_LARGE);
    assert_int_equal(m.tag.size, 0);
}

static void statuses(void **state)
{
    (void)state;
    for (int s = 0; s < STATUS_COUNT; s++)
        assert_int_equal(status_parse(view_str(status_name((enum status)s))), s);
    assert_int_equal(status_parse(view_str("of a later version")), STATUS_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb),
        cmocka_unit_test(envelopes),
        cmocka_unit_test(refusals_keep_the_tag),
        cmocka_unit_test(statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
