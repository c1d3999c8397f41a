/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/bar.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/text.h"

enum {
    BAR_DRAW_MS = 100,
    BAR_SAMPLE_MS = 500,
    BAR_CELLS = 20,
};

void bar_init(struct bar *b, bool is_on, uint64_t now_ms)
{
    *b = (struct bar){.is_on = is_on, .begin_ms = now_ms, .sample_ms = now_ms};
}

static void bar_sample(struct bar *b, uint64_t now_ms)
{
    uint64_t span_ms = now_ms - b->sample_ms;
    if (span_ms < BAR_SAMPLE_MS)
        return;
    double rate = (double)(b->done - b->sample_done) * 1000.0 / (double)span_ms;
    bool is_first = b->sample_ms == b->begin_ms;
    b->rate = is_first ? rate : b->rate * 0.8 + rate * 0.2;
    b->sample_ms = now_ms;
    b->sample_done = b->done;
}

void bar_text(const struct bar *b, unsigned columns, struct buf *out)
{
    size_t begin = out->size;
    if (b->total > 0) {
        unsigned cells = (unsigned)(b->done * BAR_CELLS / b->total);
        buf_add_char(out, '[');
        for (unsigned i = 0; i < BAR_CELLS; i++)
            buf_add_char(out, i < cells ? '=' : i == cells ? '>' : ' ');
        buf_addf(out, "] %llu/%llu", (unsigned long long)b->done, (unsigned long long)b->total);
    } else {
        buf_addf(out, "%llu done", (unsigned long long)b->done);
    }
    if (b->failed > 0)
        buf_addf(out, "  %llu failed", (unsigned long long)b->failed);
    if (b->rate > 0)
        buf_addf(out, b->rate < 10 ? "  %.2f/s" : "  %.0f/s", b->rate);
    if (b->rate > 0 && b->total > b->done) {
        char span[TEXT_SPAN_BYTES];
        uint64_t left_s = (uint64_t)((double)(b->total - b->done) / b->rate) + 1;
        text_span(span, left_s * 1000);
        if (left_s < 10)
            buf_addf(out, "  %llu s left", (unsigned long long)left_s);
        else
            buf_addf(out, "  %s left", span);
    }
    if (columns > 1 && out->size - begin > columns - 1)
        out->size = begin + columns - 1;
}

static unsigned terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void bar_update(struct bar *b, uint64_t done, uint64_t total, uint64_t failed, uint64_t now_ms)
{
    b->done = done;
    b->total = total;
    b->failed = failed;
    bar_sample(b, now_ms);
    if (!b->is_on || (b->is_drawn && now_ms - b->drawn_ms < BAR_DRAW_MS))
        return;
    struct buf line;
    buf_init(&line, 1024);
    buf_add_str(&line, "\r");
    bar_text(b, terminal_columns(), &line);
    buf_add_str(&line, "\033[K");
    ssize_t written = write(STDERR_FILENO, line.data, line.size);
    (void)written;
    buf_fini(&line);
    b->is_drawn = true;
    b->drawn_ms = now_ms;
}

void bar_clear(struct bar *b)
{
    if (!b->is_drawn)
        return;
    static const char text[] = "\r\033[K";
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
    b->is_drawn = false;
}
