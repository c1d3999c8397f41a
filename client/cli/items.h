/* SPDX-License-Identifier: MPL-2.0 */
/* items.h - items one after the other: lines of a descriptor (or NUL-terminated with -0), or words
 * of the command line. Items are bytes; an empty line is an empty item; the last line needs no
 * end. Memory is bounded by the longest item allowed. Nothing blocks but a read on a descriptor
 * that poll(2) did not call readable. */
#ifndef STINT_CLIENT_CLI_ITEMS_H
#define STINT_CLIENT_CLI_ITEMS_H

#include "common/base/base.h"
#include "common/base/buf.h"
#include "stint/stint.h"

enum items_next {
    ITEMS_ONE,       /* *ret is the next item, valid until items_read */
    ITEMS_MORE,      /* nothing complete is here: poll items_fd, then items_read */
    ITEMS_END,       /* there are no more */
    ITEMS_TOO_LARGE, /* the next item is above the limit */
};

struct items {
    int fd; /* -1 once it ended, or where the items are words */
    char separator;
    struct buf data;
    size_t at;      /* where the next item begins in data */
    size_t scanned; /* no separator before it */
    char **words;
    size_t words_left;
    uint64_t count; /* items given out */
};

void items_init_fd(struct items *s, int fd, char separator);
/* `words` must outlive the items. */
void items_init_words(struct items *s, char **words, size_t count);
void items_fini(struct items *s); /* does not close the descriptor */

enum items_next items_next(struct items *s, struct stint_bytes *ret);
/* One read(2). Returns 0, or an errno value; the end of the input is no error. */
int items_read(struct items *s);

#endif
