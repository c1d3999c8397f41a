/* SPDX-License-Identifier: MPL-2.0 */
/* rowsum.h - the checksum of a stored row.
 *
 * SQLite has none: a bit that turns over on the disk becomes another job id, another queue or
 * another exit code, silently. Every row carries the sum of its values, written with it and
 * compared on every read.
 *
 * The sum takes 64-bit words: numbers as they are, bytes as their size and then eight at a time,
 * little endian, the last word padded with zeros; an absent value is as the empty one. Each step
 * (xor, times an odd number, xor with a right shift) is a bijection of the state and of the word,
 * so a change within one word is always found, any other with probability 1 - 2^-64. It is for
 * accidents, not against people who write to the file. The definition is part of the file format:
 * changing it needs a new schema version. */
#ifndef STINT_BROKER_STORE_ROWSUM_H
#define STINT_BROKER_STORE_ROWSUM_H

#include <endian.h>
#include <string.h>

#include "common/base/view.h"

/* Which part of which table: equal values in different places have different sums. Stored. */
enum rowsum_part {
    ROWSUM_FIXED = 1,  /* of a job: what never changes */
    ROWSUM_CHANGE = 2, /* of an unfinished job: its state and lease */
    ROWSUM_END = 3,    /* of a finished job: how it ended */
    ROWSUM_BODY = 4,
    ROWSUM_HISTORY = 5,
    ROWSUM_QUEUE = 6,
    ROWSUM_CLIENT = 7,
    ROWSUM_META = 8,
};

struct rowsum {
    uint64_t value;
};

static inline void rowsum_u64(struct rowsum *s, uint64_t word)
{
    uint64_t x = (s->value ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    s->value = x ^ (x >> 32);
}

static inline void rowsum_init(struct rowsum *s, enum rowsum_part part)
{
    s->value = 0;
    rowsum_u64(s, (uint64_t)part);
}

static inline void rowsum_bytes(struct rowsum *s, struct view v)
{
    const unsigned char *at = v.data;
    size_t left = v.size;
    rowsum_u64(s, left);
    for (; left >= sizeof(uint64_t); left -= sizeof(uint64_t), at += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, at, sizeof word);
        rowsum_u64(s, le64toh(word));
    }
    if (left > 0) {
        uint64_t word = 0;
        memcpy(&word, at, left);
        rowsum_u64(s, le64toh(word));
    }
}

#endif
