/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/table.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/memory.h"

void table_init(struct table *t, const char *const *titles, size_t columns, bool has_color)
{
    *t = (struct table){.titles = titles, .columns = columns, .has_color = has_color};
}

void table_fini(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->cells[i].text);
    free(t->cells);
    *t = (struct table){0};
}

void table_cell(struct table *t, const char *text, const char *color)
{
    if (t->count == t->capacity) {
        t->capacity = t->capacity > 0 ? t->capacity * 2 : 64;
        t->cells = mem_realloc_array(t->cells, t->capacity, sizeof t->cells[0]);
    }
    char *copy = mem_strdup(text);
    for (char *p = copy; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    t->cells[t->count++] = (struct table_cell){copy, color};
}

/* Columns on a terminal: characters, not bytes (continuation bytes of UTF-8 take no place). */
static size_t text_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

/* How many characters fit into the last column: all of them in a pipe. */
static size_t room_last(const size_t *widths, size_t last)
{
    enum {
        ROOM_MIN = 12
    };
    struct winsize size;
    size_t used = 0;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return SIZE_MAX;
    for (size_t c = 0; c < last; c++)
        used += widths[c] > 0 ? widths[c] + 2 : 0;
    return used + ROOM_MIN < size.ws_col ? size.ws_col - used : ROOM_MIN;
}

/* Ends the text after so many characters. */
static void text_cut(char *text, size_t width)
{
    size_t used = 0;
    for (char *p = text; *p != '\0'; p++) {
        used += ((unsigned char)*p & 0xC0) != 0x80;
        if (used > width) {
            *p = '\0';
            return;
        }
    }
}

static void cell_print(const struct table *t, const char *text, const char *color, size_t width)
{
    bool is_colored = t->has_color && color[0] != '\0';
    printf("%s%s%s", is_colored ? color : "", text, is_colored ? "\033[0m" : "");
    for (size_t used = text_width(text); used < width; used++)
        putchar(' ');
}

void table_print(const struct table *t)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    size_t last = 0;
    for (size_t i = 0; i < t->count; i++) {
        size_t width = text_width(t->cells[i].text);
        if (width > widths[i % t->columns])
            widths[i % t->columns] = width;
    }
    for (size_t c = 0; c < t->columns; c++) {
        size_t title = text_width(t->titles[c]);
        if (widths[c] > 0 && widths[c] < title)
            widths[c] = title;
        if (widths[c] > 0)
            last = c;
    }
    assert(t->columns > 0);
    size_t room = room_last(widths, last);
    for (size_t row = 0; row * t->columns < t->count; row++)
        text_cut(t->cells[row * t->columns + last].text, room);
    for (size_t row = 0; row <= t->count / t->columns; row++) {
        for (size_t c = 0; c <= last; c++) {
            const struct table_cell *cell =
                row > 0 ? &t->cells[(row - 1) * t->columns + c] : &(struct table_cell){NULL, ""};
            if (widths[c] == 0)
                continue;
            cell_print(t, row > 0 ? cell->text : t->titles[c], row > 0 ? cell->color : "\033[1m",
                       c < last ? widths[c] + 2 : 0);
        }
        putchar('\n');
    }
}
