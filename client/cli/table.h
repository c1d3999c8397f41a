/* SPDX-License-Identifier: MPL-2.0 */
/* table.h - rows of text with aligned columns. A column that is empty in all rows is left out. On a
 * terminal the last column is cut at its edge; in a pipe or file nothing is ever cut. */
#ifndef STINT_CLIENT_CLI_TABLE_H
#define STINT_CLIENT_CLI_TABLE_H

#include "common/base/base.h"

#define TABLE_COLUMNS_MAX 16

struct table_cell {
    char *text;        /* owned, without control characters */
    const char *color; /* escape sequence or "" */
};

struct table {
    const char *const *titles;
    size_t columns;
    struct table_cell *cells; /* row by row */
    size_t count;
    size_t capacity;
    bool has_color;
};

void table_init(struct table *t, const char *const *titles, size_t columns, bool has_color);
void table_fini(struct table *t);
/* The next cell, left to right, row by row. */
void table_cell(struct table *t, const char *text, const char *color);
/* To stdout. */
void table_print(const struct table *t);

#endif
