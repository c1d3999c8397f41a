/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/ids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

void ids_init(struct ids *s)
{
    *s = (struct ids){0};
}

void ids_fini(struct ids *s)
{
    free(s->ranges);
    ids_init(s);
}

/* The first range that ends at `id` or later. */
static size_t ids_find(const struct ids *s, uint64_t id)
{
    size_t low = 0;
    size_t high = s->size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->ranges[middle].last < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void ids_insert(struct ids *s, size_t at, struct ids_range r)
{
    if (s->size == s->capacity) {
        s->capacity = s->capacity > 0 ? s->capacity * 2 : 16;
        s->ranges = mem_realloc_array(s->ranges, s->capacity, sizeof s->ranges[0]);
    }
    memmove(&s->ranges[at + 1], &s->ranges[at], (s->size - at) * sizeof s->ranges[0]);
    s->ranges[at] = r;
    s->size++;
}

static void ids_erase(struct ids *s, size_t from, size_t to)
{
    if (from == to)
        return;
    memmove(&s->ranges[from], &s->ranges[to], (s->size - to) * sizeof s->ranges[0]);
    s->size -= to - from;
}

void ids_add(struct ids *s, uint64_t first, uint64_t last)
{
    /* all ranges that overlap or touch the new one melt into it */
    size_t from = ids_find(s, first > 0 ? first - 1 : 0);
    size_t to = from;
    while (to < s->size && s->ranges[to].first <= (last < UINT64_MAX ? last + 1 : last)) {
        first = min_u64(first, s->ranges[to].first);
        last = max_u64(last, s->ranges[to].last);
        s->count -= s->ranges[to].last - s->ranges[to].first + 1;
        to++;
    }
    s->count += last - first + 1;
    if (to > from) {
        s->ranges[from] = (struct ids_range){first, last};
        ids_erase(s, from + 1, to);
    } else {
        ids_insert(s, from, (struct ids_range){first, last});
    }
}

bool ids_has(const struct ids *s, uint64_t id)
{
    size_t at = ids_find(s, id);
    return at < s->size && s->ranges[at].first <= id;
}

bool ids_remove(struct ids *s, uint64_t id)
{
    size_t at = ids_find(s, id);
    if (at == s->size || s->ranges[at].first > id)
        return false;
    struct ids_range r = s->ranges[at];
    s->count--;
    if (r.first == r.last) {
        ids_erase(s, at, at + 1);
    } else if (r.first == id) {
        s->ranges[at].first++;
    } else if (r.last == id) {
        s->ranges[at].last--;
    } else {
        s->ranges[at].first = id + 1;
        ids_insert(s, at, (struct ids_range){r.first, id - 1});
    }
    return true;
}

uint64_t ids_drop(struct ids *s, uint64_t last)
{
    uint64_t before = s->count;
    size_t whole = 0;
    while (whole < s->size && s->ranges[whole].last <= last) {
        s->count -= s->ranges[whole].last - s->ranges[whole].first + 1;
        whole++;
    }
    ids_erase(s, 0, whole);
    if (s->size > 0 && s->ranges[0].first <= last) {
        s->count -= last - s->ranges[0].first + 1;
        s->ranges[0].first = last + 1;
    }
    return before - s->count;
}

void ids_copy(struct ids *s, const struct ids *from)
{
    for (size_t i = 0; i < from->size; i++)
        ids_add(s, from->ranges[i].first, from->ranges[i].last);
}

void ids_intersect(struct ids *s, const struct ids *other)
{
    struct ids both;
    ids_init(&both);
    size_t i = 0;
    size_t k = 0;
    while (i < s->size && k < other->size) {
        uint64_t first = max_u64(s->ranges[i].first, other->ranges[k].first);
        uint64_t last = min_u64(s->ranges[i].last, other->ranges[k].last);
        if (first <= last)
            ids_add(&both, first, last);
        if (s->ranges[i].last < other->ranges[k].last)
            i++;
        else
            k++;
    }
    ids_fini(s);
    *s = both;
}

bool ids_parse(struct ids *s, struct view text)
{
    struct view rest = text;
    struct view word;
    bool more = true;
    while (more) {
        more = view_cut(rest, ',', &word, &rest);
        struct view first_text;
        struct view last_text;
        uint64_t first = 0;
        uint64_t last = 0;
        bool is_range = view_cut(word, '-', &first_text, &last_text);
        if (!view_u64(first_text, &first) || first == 0 || first == UINT64_MAX)
            return false;
        last = first;
        if (is_range && (!view_u64(last_text, &last) || last < first || last == UINT64_MAX))
            return false;
        ids_add(s, first, last);
    }
    return true;
}

bool ids_text(const struct ids *s, struct buf *out, size_t bytes_max)
{
    size_t begin = out->size;
    for (size_t i = 0; i < s->size; i++) {
        char text[48];
        unsigned long long first = s->ranges[i].first;
        unsigned long long last = s->ranges[i].last;
        const char *comma = i > 0 ? "," : "";
        if (first == last)
            snprintf(text, sizeof text, "%s%llu", comma, first);
        else
            snprintf(text, sizeof text, "%s%llu-%llu", comma, first, last);
        if (out->size - begin + strlen(text) > bytes_max)
            return false;
        buf_add_str(out, text);
    }
    return true;
}
