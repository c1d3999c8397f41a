/* SPDX-License-Identifier: MPL-2.0 */
/* text.h - numbers and times as people write and read them. All of it thread-safe, no allocation
 * but where said. Parsers accept the whole string or nothing and leave *ret alone on failure. */
#ifndef STINT_COMMON_BASE_TEXT_H
#define STINT_COMMON_BASE_TEXT_H

#include "common/base/base.h"
#include "common/base/buf.h"
#include "common/base/view.h"

/* "250ms" "10s" "5m" "2h" "3d"; a bare number (fractions allowed: "1.5") is seconds; "none" is
 * NEVER_MS. */
bool text_duration_ms(const char *s, uint64_t *ret_ms);
/* "64K" "1M" "2G" (powers of 1024); a bare number is bytes. */
bool text_size_bytes(const char *s, uint64_t *ret_bytes);
bool text_u64(const char *s, uint64_t *ret);

#define TEXT_TIME_BYTES 32
/* RFC 3339 in UTC with milliseconds: 2026-01-31T12:00:00.123Z */
void text_time(char out[TEXT_TIME_BYTES], uint64_t wall_ms);
/* RFC 3339 (any offset), milliseconds since 1970. */
bool text_time_ms(const char *s, uint64_t *ret_wall_ms);
#define TEXT_SPAN_BYTES 32
/* A duration for people: "0.25 s", "12 s", "3 min 5 s", "2 h 4 min", "3 d 1 h". */
void text_span(char out[TEXT_SPAN_BYTES], uint64_t ms);

/* base64 (RFC 4648, with padding) appended to b. */
void text_base64_add(struct buf *b, struct view v);
/* Decodes all of v, appended to b; false where it is not base64. */
bool text_base64_decode(struct buf *b, struct view v);

/* The Damerau-Levenshtein (restricted) distance of two short words, for "did you mean". */
size_t text_distance(const char *a, const char *b);

#endif
