/* SPDX-License-Identifier: MPL-2.0 */
#include "common/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool text_u64(const char *s, uint64_t *ret)
{
    return view_u64(view_str(s), ret);
}

/* Reads "DIGITS[.DIGITS]" and returns its value times `scale`; *ret_end is what follows. */
static bool text_scaled(const char *s, const char **ret_end, uint64_t *ret_whole,
                        uint64_t *ret_milli)
{
    uint64_t whole = 0;
    uint64_t milli = 0;
    const char *p = s;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
            return false;
    if (p == s)
        return false;
    if (*p == '.') {
        uint64_t unit = 100;
        const char *first = ++p;
        for (; *p >= '0' && *p <= '9'; p++, unit /= 10)
            milli += unit * (uint64_t)(*p - '0');
        if (p == first)
            return false;
    }
    *ret_end = p;
    *ret_whole = whole;
    *ret_milli = milli;
    return true;
}

static bool text_times(uint64_t whole, uint64_t milli, uint64_t scale, uint64_t *ret)
{
    uint64_t n = 0;
    if (__builtin_mul_overflow(whole, scale, &n) ||
        __builtin_add_overflow(n, milli * scale / 1000, &n) || n == UINT64_MAX)
        return false;
    *ret = n;
    return true;
}

bool text_duration_ms(const char *s, uint64_t *ret_ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    if (strcmp(s, "none") == 0) {
        *ret_ms = NEVER_MS;
        return true;
    }
    const char *end = NULL;
    uint64_t whole = 0;
    uint64_t milli = 0;
    if (!text_scaled(s, &end, &whole, &milli))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (strcmp(end, units[i].unit) == 0)
            return text_times(whole, milli, units[i].ms, ret_ms);
    return false;
}

bool text_size_bytes(const char *s, uint64_t *ret_bytes)
{
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {{"", 1}, {"K", 1024}, {"M", 1048576}, {"G", 1073741824}};
    const char *end = NULL;
    uint64_t whole = 0;
    uint64_t milli = 0;
    if (!text_scaled(s, &end, &whole, &milli))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (strcmp(end, units[i].unit) == 0)
            return text_times(whole, milli, units[i].bytes, ret_bytes);
    return false;
}

void text_time(char out[TEXT_TIME_BYTES], uint64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    size_t used =
        gmtime_r(&seconds, &tm) ? strftime(out, TEXT_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
    snprintf(out + used, TEXT_TIME_BYTES - used, ".%03uZ", (unsigned)(wall_ms % 1000));
}

bool text_time_ms(const char *s, uint64_t *ret_wall_ms)
{
    struct tm tm = {0};
    const char *p = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
    if (p == NULL)
        return false;
    uint64_t milli = 0;
    if (*p == '.') {
        uint64_t unit = 100;
        const char *first = ++p;
        for (; *p >= '0' && *p <= '9'; p++, unit /= 10)
            milli += unit * (uint64_t)(*p - '0');
        if (p == first)
            return false;
    }
    long offset = 0;
    if (*p == 'Z' && p[1] == '\0') {
        offset = 0;
    } else if ((*p == '+' || *p == '-') && strlen(p) == 6 && p[3] == ':') {
        unsigned hours = 0;
        unsigned minutes = 0;
        if (sscanf(p + 1, "%2u:%2u", &hours, &minutes) != 2 || hours > 23 || minutes > 59)
            return false;
        offset = (long)(hours * 3600 + minutes * 60) * (*p == '-' ? -1 : 1);
    } else {
        return false;
    }
    time_t seconds = timegm(&tm) - offset;
    if (seconds < 0)
        return false;
    *ret_wall_ms = (uint64_t)seconds * 1000 + milli;
    return true;
}

void text_span(char out[TEXT_SPAN_BYTES], uint64_t ms)
{
    unsigned long long s = ms / 1000;
    if (ms < 10000)
        snprintf(out, TEXT_SPAN_BYTES, "%llu.%02u s", s, (unsigned)(ms % 1000 / 10));
    else if (s < 60)
        snprintf(out, TEXT_SPAN_BYTES, "%llu s", s);
    else if (s < 3600)
        snprintf(out, TEXT_SPAN_BYTES, "%llu min %llu s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, TEXT_SPAN_BYTES, "%llu h %llu min", s / 3600, s % 3600 / 60);
    else
        snprintf(out, TEXT_SPAN_BYTES, "%llu d %llu h", s / 86400, s % 86400 / 3600);
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void text_base64_add(struct buf *b, struct view v)
{
    const uint8_t *p = v.data;
    for (size_t i = 0; i < v.size; i += 3) {
        size_t left = v.size - i;
        uint32_t n = (uint32_t)p[i] << 16;
        n |= left > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        n |= left > 2 ? (uint32_t)p[i + 2] : 0;
        char out[4] = {base64_digits[n >> 18], base64_digits[(n >> 12) & 63],
                       left > 1 ? base64_digits[(n >> 6) & 63] : '=',
                       left > 2 ? base64_digits[n & 63] : '='};
        buf_add(b, out, sizeof out);
    }
}

bool text_base64_decode(struct buf *b, struct view v)
{
    const char *p = v.data;
    if (v.size % 4 != 0)
        return false;
    for (size_t i = 0; i < v.size; i += 4) {
        size_t pad = 0;
        if (i + 4 == v.size)
            pad = p[i + 3] != '=' ? 0 : p[i + 2] != '=' ? 1 : 2;
        uint32_t n = 0;
        for (size_t k = 0; k < 4; k++) {
            const char *at = k + pad < 4 ? strchr(base64_digits, p[i + k]) : base64_digits;
            if (at == NULL || (k + pad < 4 && p[i + k] == '\0'))
                return false;
            n = n << 6 | (uint32_t)(at - base64_digits);
        }
        uint8_t out[3] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
        buf_add(b, out, 3 - pad);
    }
    return !b->failed;
}

size_t text_distance(const char *a, const char *b)
{
    enum {
        WORD_MAX = 40
    };
    size_t n = strlen(a);
    size_t m = strlen(b);
    if (n >= WORD_MAX || m >= WORD_MAX)
        return WORD_MAX;
    size_t d[WORD_MAX + 1][WORD_MAX + 1];
    for (size_t i = 0; i <= n; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}
