/* SPDX-License-Identifier: MPL-2.0 */
/* bar.h - one line on a terminal that says how far it is: count, failures, rate, time left.
 *
 *     [=========>          ] 420/1000  2 failed  52.1/s  11 s left
 *
 * Drawn on stderr at most ten times a second, and only where that is a terminal. */
#ifndef STINT_CLIENT_CLI_BAR_H
#define STINT_CLIENT_CLI_BAR_H

#include "common/base/base.h"
#include "common/base/buf.h"

struct bar {
    bool is_on;
    bool is_drawn;
    uint64_t drawn_ms;
    uint64_t begin_ms;
    uint64_t sample_ms; /* when `sample_done` was taken */
    uint64_t sample_done;
    double rate; /* jobs per second, smoothed over some seconds */
    uint64_t done;
    uint64_t total; /* 0 = not known yet */
    uint64_t failed;
};

void bar_init(struct bar *b, bool is_on, uint64_t now_ms);
/* New numbers; draws when it is time. */
void bar_update(struct bar *b, uint64_t done, uint64_t total, uint64_t failed, uint64_t now_ms);
/* Removes the line, so that something else can be written; the next update draws it again. */
void bar_clear(struct bar *b);
/* The line without control characters, for `columns` columns. */
void bar_text(const struct bar *b, unsigned columns, struct buf *out);

#endif
