/* SPDX-License-Identifier: MPL-2.0 */
#include "common/base/view.h"

#include "common/base/memory.h"

bool view_u64(struct view v, uint64_t *ret)
{
    const unsigned char *p = v.data;
    if (v.size == 0 || v.size > 20 || (v.size > 1 && p[0] == '0'))
        return false;
    uint64_t n = 0;
    for (size_t i = 0; i < v.size; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, p[i] - '0', &n))
            return false;
    }
    *ret = n;
    return true;
}

bool view_cut(struct view v, char sep, struct view *ret_head, struct view *rest)
{
    const char *at = v.size > 0 ? memchr(v.data, sep, v.size) : NULL;
    if (at == NULL) {
        *ret_head = v;
        *rest = (struct view){NULL, 0};
        return false;
    }
    size_t head = (size_t)(at - (const char *)v.data);
    *ret_head = view_of(v.data, head);
    *rest = view_of(at + 1, v.size - head - 1);
    return true;
}

/* Length of the UTF-8 sequence at p (1..4), or 0 where it is malformed. Table 3-7 of Unicode. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || left < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
        (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return length;
}

bool view_is_utf8(struct view v)
{
    const unsigned char *p = v.data;
    for (size_t i = 0; i < v.size;) {
        size_t length = utf8_length(p + i, v.size - i);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}

char *view_dup(struct view v)
{
    char *s = mem_alloc(v.size + 1);
    if (v.size > 0)
        memcpy(s, v.data, v.size);
    s[v.size] = '\0';
    return s;
}
