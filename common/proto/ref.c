/* SPDX-License-Identifier: MPL-2.0 */
#include "common/proto/ref.h"

#include <inttypes.h>
#include <stdio.h>

bool ref_parse(struct view v, struct ref *ret)
{
    struct view job;
    struct view attempt;
    struct view lease;
    struct view rest;
    uint64_t n = 0;
    struct ref r;
    if (!view_cut(v, '.', &job, &rest) || !view_cut(rest, '.', &attempt, &lease))
        return false;
    if (!view_u64(job, &r.job) || !view_u64(attempt, &n) || !view_u64(lease, &r.lease) ||
        n > UINT32_MAX)
        return false;
    r.attempt = (uint32_t)n;
    *ret = r;
    return true;
}

size_t ref_format(const struct ref *r, char out[REF_BYTES_MAX])
{
    return (size_t)snprintf(out, REF_BYTES_MAX, "%" PRIu64 ".%" PRIu32 ".%" PRIu64, r->job,
                            r->attempt, r->lease);
}

/* Reads 16 lower-case hex digits off the front. */
static bool hex16_cut(struct view *v, uint64_t *ret)
{
    const char *p = v->data;
    if (v->size < 16)
        return false;
    uint64_t n = 0;
    for (size_t i = 0; i < 16; i++) {
        unsigned digit = 0;
        if (p[i] >= '0' && p[i] <= '9')
            digit = (unsigned)(p[i] - '0');
        else if (p[i] >= 'a' && p[i] <= 'f')
            digit = (unsigned)(p[i] - 'a') + 10;
        else
            return false;
        n = n << 4 | digit;
    }
    *v = view_skip(*v, 16);
    *ret = n;
    return true;
}

static bool dot_cut(struct view *v)
{
    if (v->size == 0 || *(const char *)v->data != '.')
        return false;
    *v = view_skip(*v, 1);
    return true;
}

bool session_parse(struct view v, struct session *ret)
{
    struct session s;
    struct view epoch;
    struct view start;
    uint64_t e = 0;
    uint64_t b = 0;
    if (!hex16_cut(&v, &s.instance) || !dot_cut(&v) || !view_cut(v, '.', &epoch, &start) ||
        !view_u64(epoch, &e) || !view_u64(start, &b) || e > UINT32_MAX || b > UINT32_MAX)
        return false;
    s.epoch = (uint32_t)e;
    s.broker_start = (uint32_t)b;
    *ret = s;
    return true;
}

size_t session_format(const struct session *s, char out[SESSION_BYTES_MAX])
{
    return (size_t)snprintf(out, SESSION_BYTES_MAX, "%016" PRIx64 ".%" PRIu32 ".%" PRIu32,
                            s->instance, s->epoch, s->broker_start);
}

bool request_id_parse(struct view v, struct request_id *ret)
{
    struct request_id r;
    if (v.size == 0 || *(const char *)v.data != 'R')
        return false;
    v = view_skip(v, 1);
    if (!hex16_cut(&v, &r.client) || !dot_cut(&v) || !view_u64(v, &r.sequence) || r.sequence == 0)
        return false;
    *ret = r;
    return true;
}

size_t request_id_format(const struct request_id *r, char out[REQUEST_ID_BYTES_MAX])
{
    return (size_t)snprintf(out, REQUEST_ID_BYTES_MAX, "R%016" PRIx64 ".%" PRIu64, r->client,
                            r->sequence);
}

bool queue_name_is_valid(struct view v)
{
    const char *p = v.data;
    if (v.size == 0 || v.size > PROTO_QUEUE_BYTES_MAX)
        return false;
    for (size_t i = 0; i < v.size; i++) {
        bool letter = (p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z');
        bool digit = p[i] >= '0' && p[i] <= '9';
        if (!letter && !digit && p[i] != '.' && p[i] != '_' && p[i] != '-')
            return false;
    }
    return true;
}

bool idset_next(struct view *rest, struct id_range *ret)
{
    struct view item;
    struct view first;
    struct view last;
    if (rest->size == 0)
        return false;
    view_cut(*rest, ',', &item, rest);
    bool is_range = view_cut(item, '-', &first, &last);
    if (!view_u64(first, &ret->first))
        return false;
    ret->last = ret->first;
    return !is_range || view_u64(last, &ret->last);
}

bool idset_is_valid(struct view v)
{
    struct id_range r;
    uint64_t before = 0;
    if (v.size > 0 && ((const char *)v.data)[v.size - 1] == ',')
        return false;
    while (v.size > 0) {
        if (!idset_next(&v, &r) || r.first == 0 || r.last < r.first || r.first <= before ||
            r.last == UINT64_MAX)
            return false;
        before = r.last;
    }
    return true;
}

void idset_add(struct buf *b, uint64_t first, uint64_t last)
{
    if (b->size > 0)
        buf_add_char(b, ',');
    buf_add_u64(b, first);
    if (last != first) {
        buf_add_char(b, '-');
        buf_add_u64(b, last);
    }
}

bool idset_parse(struct view v, struct id_range *ranges, size_t max, size_t *ret_count)
{
    if (!idset_is_valid(v))
        return false;
    size_t n = 0;
    while (v.size > 0) {
        if (n == max || !idset_next(&v, &ranges[n]))
            return false;
        n++;
    }
    *ret_count = n;
    return true;
}

bool idset_has(const struct id_range *ranges, size_t count, uint64_t id)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (id > ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && id >= ranges[low].first;
}
