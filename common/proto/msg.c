/* SPDX-License-Identifier: MPL-2.0 */
#include "common/proto/msg.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/proto/ref.h"

struct verb_row {
    const char *name;
    unsigned planes;
    enum subject_kind subject;
    size_t bodies_min;
    size_t bodies_max;
};

static const struct verb_row verb_table[VERB_COUNT] = {
#define VERB(id, name, planes, subject, bodies_min, bodies_max)                                    \
    [VERB_##id] = {name, planes, subject, bodies_min, bodies_max},
#include "common/proto/verb.def"
#undef VERB
};

const char *verb_name(enum verb v)
{
    return verb_table[v].name;
}

unsigned verb_planes(enum verb v)
{
    return verb_table[v].planes;
}

enum subject_kind verb_subject(enum verb v)
{
    return verb_table[v].subject;
}

size_t verb_bodies_min(enum verb v)
{
    return verb_table[v].bodies_min;
}

size_t verb_bodies_max(enum verb v)
{
    return verb_table[v].bodies_max;
}

static bool verb_parse(struct view name, enum verb *ret)
{
    for (int i = 0; i < VERB_COUNT; i++) {
        if (view_is(name, verb_table[i].name)) {
            *ret = (enum verb)i;
            return true;
        }
    }
    return false;
}

static bool subject_is_valid(enum subject_kind kind, struct view subject)
{
    uint64_t number = 0;
    struct ref ref;
    switch (kind) {
    case SUBJECT_NONE:
        return subject.size == 0;
    case SUBJECT_QUEUE:
        return queue_name_is_valid(subject);
    case SUBJECT_ID:
        return view_u64(subject, &number) && number > 0;
    case SUBJECT_NUMBER:
        return view_u64(subject, &number);
    case SUBJECT_REF:
        return ref_parse(subject, &ref);
    case SUBJECT_IDS:
        return idset_is_valid(subject);
    case SUBJECT_WORD:
        break;
    }
    return true;
}

/* Finds the envelope of REQ and DEALER peers: nothing, or up to the first empty frame. */
static size_t envelope_count(const struct view *frames, size_t frame_count)
{
    for (size_t i = 0; i < 2 && i < frame_count && !view_is(frames[0], PROTO_NAME); i++)
        if (frames[i].size == 0)
            return i + 1;
    return 0;
}

static enum status msg_check(const struct msg *m, enum plane plane, struct error *e)
{
    const struct verb_row *row = &verb_table[m->verb];
    if ((row->planes & (unsigned)plane) == 0) {
        error_set(e, STATUS_UNKNOWN_VERB, "%s is not a message of this socket", row->name);
        return STATUS_UNKNOWN_VERB;
    }
    size_t header_max = plane == PLANE_REPLY ? PROTO_REPLY_HEADER_BYTES_MAX
                        : plane == PLANE_B   ? PROTO_JOB_HEADER_BYTES_MAX
                                             : PROTO_HEADER_BYTES_MAX;
    bool is_header = m->header.size > header_max;
    if (is_header || m->subject.size > PROTO_SUBJECT_BYTES_MAX) {
        error_set(e, STATUS_TOO_LARGE, "%s: %s of %zu bytes; at most %zu", row->name,
                  is_header ? "a header" : "a subject",
                  is_header ? m->header.size : m->subject.size,
                  is_header ? header_max : (size_t)PROTO_SUBJECT_BYTES_MAX);
        return STATUS_TOO_LARGE;
    }
    if (!subject_is_valid(row->subject, m->subject)) {
        error_set(e, STATUS_BAD_ARGUMENT, "%s: the subject \"%.*s\" is not valid", row->name,
                  (int)min_u64(m->subject.size, 80), (const char *)m->subject.data);
        return STATUS_BAD_ARGUMENT;
    }
    if (m->body_count < row->bodies_min || m->body_count > row->bodies_max) {
        enum status s = m->body_count > row->bodies_max && m->verb == VERB_SUBMIT
                            ? STATUS_TOO_LARGE
                            : STATUS_BAD_MESSAGE;
        error_set(e, (int)s, "%s with %zu bodies; %zu to %zu are allowed", row->name, m->body_count,
                  row->bodies_min, row->bodies_max);
        return s;
    }
    return STATUS_OK;
}

enum status msg_decode(const struct view *frames, size_t frame_count, enum plane plane,
                       struct msg *ret, struct error *e)
{
    *ret = (struct msg){.verb = VERB_ERR, .envelope = frames};
    size_t at = envelope_count(frames, frame_count);
    ret->envelope_count = at;
    if (at == frame_count || !view_is(frames[at], PROTO_NAME)) {
        bool other =
            at < frame_count && frames[at].size == 3 && memcmp(frames[at].data, PROTO_NAME, 2) == 0;
        enum status s = other ? STATUS_BAD_VERSION : STATUS_BAD_MESSAGE;
        error_set(e, (int)s, "the message does not begin with " PROTO_NAME);
        return s;
    }
    if (frame_count - at > 2 && frames[at + 2].size <= PROTO_TAG_BYTES_MAX)
        ret->tag = frames[at + 2];
    if (frame_count - at < OUT_SMALL_FRAMES) {
        error_set(e, STATUS_BAD_MESSAGE, "a message of %zu frames; at least %d are needed",
                  frame_count - at, OUT_SMALL_FRAMES);
        return STATUS_BAD_MESSAGE;
    }
    if (!verb_parse(frames[at + 1], &ret->verb)) {
        error_set(e, STATUS_UNKNOWN_VERB, "unknown verb \"%.*s\"",
                  (int)min_u64(frames[at + 1].size, 32), (const char *)frames[at + 1].data);
        return STATUS_UNKNOWN_VERB;
    }
    size_t tag_max =
        (plane & (PLANE_C | PLANE_T)) != 0 ? PROTO_REQUEST_ID_BYTES_MAX : PROTO_TAG_BYTES_MAX;
    if (frames[at + 2].size > tag_max) {
        ret->tag = view_of(NULL, 0);
        error_set(e, STATUS_TOO_LARGE, "a request id of %zu bytes; at most %zu",
                  frames[at + 2].size, tag_max);
        return STATUS_TOO_LARGE;
    }
    ret->subject = frames[at + 3];
    ret->header = frames[at + 4];
    ret->bodies = frames + at + OUT_SMALL_FRAMES;
    ret->body_count = frame_count - at - OUT_SMALL_FRAMES;
    return msg_check(ret, plane, e);
}

static void outmsg_small(struct outmsg *m, int which, struct view v)
{
    buf_add_view(&m->small, v);
    m->small_end[which] = (uint32_t)m->small.size;
}

void outmsg_init(struct outmsg *m, enum verb verb, struct view tag, struct view subject)
{
    *m = (struct outmsg){.verb = verb};
    buf_init(&m->small, SIZE_MAX / 2);
    outmsg_small(m, OUT_PROTO, view_str(PROTO_NAME));
    outmsg_small(m, OUT_VERB, view_str(verb_name(verb)));
    outmsg_small(m, OUT_TAG, tag);
    outmsg_small(m, OUT_SUBJECT, subject);
    m->small_end[OUT_HEADER] = m->small_end[OUT_SUBJECT];
}

void outmsg_header(struct outmsg *m, struct view header)
{
    m->small.size = m->small_end[OUT_SUBJECT];
    outmsg_small(m, OUT_HEADER, header);
}

void outmsg_body(struct outmsg *m, struct blob *body)
{
    if (m->body_count == m->body_capacity) {
        m->body_capacity = m->body_capacity > 0 ? m->body_capacity * 2 : 2;
        m->bodies = mem_realloc_array(m->bodies, m->body_capacity, sizeof m->bodies[0]);
    }
    m->bodies[m->body_count++] = body;
}

void outmsg_fini(struct outmsg *m)
{
    for (size_t i = 0; i < m->body_count; i++)
        blob_unref(&m->bodies[i]);
    free(m->bodies);
    buf_fini(&m->small);
    *m = (struct outmsg){0};
}

void outmsg_copy(struct outmsg *to, const struct outmsg *from)
{
    *to = (struct outmsg){.verb = from->verb};
    buf_init(&to->small, SIZE_MAX / 2);
    buf_add_view(&to->small, buf_view(&from->small));
    memcpy(to->small_end, from->small_end, sizeof to->small_end);
    for (size_t i = 0; i < from->body_count; i++)
        outmsg_body(to, blob_ref(from->bodies[i]));
}

struct view outmsg_frame(const struct outmsg *m, size_t i)
{
    if (i >= OUT_SMALL_FRAMES)
        return blob_view(m->bodies[i - OUT_SMALL_FRAMES]);
    size_t begin = i > 0 ? m->small_end[i - 1] : 0;
    return view_of(m->small.data + begin, m->small_end[i] - begin);
}

size_t outmsg_frame_count(const struct outmsg *m)
{
    return OUT_SMALL_FRAMES + m->body_count;
}

size_t outmsg_bytes(const struct outmsg *m)
{
    size_t bytes = m->small.size;
    for (size_t i = 0; i < m->body_count; i++)
        bytes += blob_size(m->bodies[i]);
    return bytes;
}
