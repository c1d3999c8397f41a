/* SPDX-License-Identifier: MPL-2.0 */
/* ids.h - a set of job ids as sorted ranges: "40-45,47". Ranges never touch or overlap. Adding at
 * the end and taking from the front cost O(1); memory grows with the number of ranges. */
#ifndef STINT_CLIENT_CLI_IDS_H
#define STINT_CLIENT_CLI_IDS_H

#include "common/base/base.h"
#include "common/base/buf.h"
#include "common/base/view.h"

struct ids_range {
    uint64_t first;
    uint64_t last;
};

struct ids {
    struct ids_range *ranges;
    size_t size;
    size_t capacity;
    uint64_t count; /* ids in all ranges */
};

void ids_init(struct ids *s);
void ids_fini(struct ids *s);
void ids_add(struct ids *s, uint64_t first, uint64_t last);
/* False where it was not in the set. */
bool ids_remove(struct ids *s, uint64_t id);
/* Removes all ids up to `last`; returns how many they were. */
uint64_t ids_drop(struct ids *s, uint64_t last);
/* Adds all of `from`. */
void ids_copy(struct ids *s, const struct ids *from);
/* Keeps only what `other` has too. */
void ids_intersect(struct ids *s, const struct ids *other);
bool ids_has(const struct ids *s, uint64_t id);
/* Adds "7", "7-9", "7,9-12"; false where the text is something else (the set may have grown). */
bool ids_parse(struct ids *s, struct view text);
/* Appends the text of the first ranges, at most `bytes_max`; false where that was not all. */
bool ids_text(const struct ids *s, struct buf *out, size_t bytes_max);

#endif
