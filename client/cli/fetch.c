/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/fetch.h"

#include <string.h>
#include <unistd.h>

#include "client/cli/job.h"

void fetch_init(struct fetch *f, struct cli *cli, bool is_used, bool has_order, bool has_tag)
{
    *f = (struct fetch){.cli = cli, .is_used = is_used, .has_order = has_order, .has_tag = has_tag};
    ids_init(&f->ready);
    ids_init(&f->ahead);
}

void fetch_fini(struct fetch *f)
{
    for (size_t i = 0; i < f->count; i++)
        stint_call_free(&f->calls[i]);
    f->count = 0;
    ids_fini(&f->ready);
    ids_fini(&f->ahead);
}

void fetch_submitted(struct fetch *f, struct view ids)
{
    if (f->is_used && f->has_order)
        ids_parse(&f->ahead, ids);
}

void fetch_finished(struct fetch *f, uint64_t id)
{
    if (f->is_used)
        ids_add(&f->ready, id, id);
}

void fetch_tag_lines(struct buf *out, struct stint_bytes tag, struct stint_bytes text)
{
    struct view rest = view_of(text.data, text.size);
    struct view line;
    while (rest.size > 0) {
        bool has_end = view_cut(rest, '\n', &line, &rest);
        buf_add(out, tag.data, tag.size);
        buf_add_char(out, '\t');
        buf_add_view(out, line);
        if (has_end)
            buf_add_char(out, '\n');
    }
}

static bool write_tagged(struct fetch *f, int fd, struct stint_bytes tag, struct stint_bytes text)
{
    struct buf out;
    buf_init(&out, SIZE_MAX / 4);
    fetch_tag_lines(&out, tag, text);
    bool ok = !out.failed && cli_write(f->cli, fd, out.data, out.size);
    buf_fini(&out);
    return ok;
}

/* Writes one job: bodies are payload, stdout, stderr. */
static int fetch_write(struct fetch *f, struct stint_call *c)
{
    struct stint_bytes item = stint_call_body(c, 0);
    struct stint_bytes out = stint_call_body(c, 1);
    struct stint_bytes err = stint_call_body(c, 2);
    bool ok = true;
    if (stint_call_status(c) != STINT_OK)
        return cli_fail_call(f->cli, c);
    if (f->cli->is_json) {
        json_t *job = cli_json(f->cli, c);
        json_t *line = job_json(job, false);
        json_set_bytes(line, "item", item);
        json_set_bytes(line, "stdout", out);
        json_set_bytes(line, "stderr", err);
        ok = job != NULL && cli_print_json(f->cli, line);
        json_decref(line);
        json_decref(job);
    } else if (f->has_tag) {
        ok = write_tagged(f, STDOUT_FILENO, item, out) && write_tagged(f, STDERR_FILENO, item, err);
    } else {
        ok = cli_write(f->cli, STDOUT_FILENO, out.data, out.size) &&
             cli_write(f->cli, STDERR_FILENO, err.data, err.size);
    }
    return ok ? EXIT_DONE : EXIT_INTERNAL;
}

/* The id to ask for next, or 0 where none is ready in its turn. */
static uint64_t fetch_next(struct fetch *f)
{
    if (f->ready.count == 0)
        return 0;
    uint64_t id = f->ready.ranges[0].first;
    if (f->has_order && (f->ahead.count == 0 || f->ahead.ranges[0].first != id))
        return 0;
    ids_remove(&f->ready, id);
    ids_remove(&f->ahead, id);
    return id;
}

int fetch_step(struct fetch *f)
{
    int code = EXIT_DONE;
    while (f->count > 0 && stint_call_is_done(f->calls[0]) && code == EXIT_DONE) {
        code = fetch_write(f, f->calls[0]);
        stint_call_free(&f->calls[0]);
        f->count--;
        memmove(&f->calls[0], &f->calls[1], f->count * sizeof f->calls[0]);
    }
    unsigned want = STINT_WANT_STDOUT | STINT_WANT_STDERR | STINT_WANT_PAYLOAD;
    uint64_t id = 0;
    while (code == EXIT_DONE && f->count < FETCH_CALLS_MAX && (id = fetch_next(f)) != 0) {
        int status = stint_get_start(f->cli->stint, id, want, &f->calls[f->count]);
        if (status != STINT_OK)
            return cli_fail(f->cli, status);
        f->count++;
    }
    return code;
}

bool fetch_is_done(const struct fetch *f)
{
    return f->count == 0 && f->ready.count == 0;
}
