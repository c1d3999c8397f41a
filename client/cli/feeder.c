/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/feeder.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

enum {
    BATCH_BYTES = 1 << 20, /* a batch takes no further item above this */
    RETRY_MS = 500,
};

void feeder_init(struct feeder *f, struct cli *cli, struct items *items, const struct spec *spec)
{
    *f = (struct feeder){.cli = cli, .items = items, .spec = spec, .window = STINT_SUBMITS_MAX};
}

static void batch_free(struct feeder_batch *b)
{
    stint_call_free(&b->call);
    buf_fini(&b->data);
    free(b);
}

void feeder_fini(struct feeder *f)
{
    for (size_t i = 0; i < f->used; i++)
        batch_free(f->ring[i]);
    f->used = 0;
}

/* The batch that takes the next item, or NULL where all are under way. */
static struct feeder_batch *batch_open(struct feeder *f)
{
    if (f->used > 0 && !f->ring[f->used - 1]->is_started)
        return f->ring[f->used - 1];
    if (f->used >= f->window)
        return NULL;
    struct feeder_batch *b = mem_zalloc(sizeof *b);
    buf_init(&b->data, BATCH_BYTES + STINT_PAYLOAD_BYTES_MAX);
    b->first_seq = f->taken + 1;
    f->ring[f->used++] = b;
    return b;
}

static bool batch_is_full(const struct feeder_batch *b)
{
    return b->count == STINT_JOBS_PER_SUBMIT_MAX || b->data.size >= BATCH_BYTES;
}

static int batch_submit(struct feeder *f, struct feeder_batch *b)
{
    struct stint_bytes bodies[STINT_JOBS_PER_SUBMIT_MAX];
    for (size_t i = 0; i < b->count; i++) {
        size_t begin = i > 0 ? b->ends[i - 1] : 0;
        bodies[i] = (struct stint_bytes){b->data.data + begin, b->ends[i] - begin};
    }
    struct stint_job_options options = f->spec->options;
    options.seq = f->is_numbered ? b->first_seq : 0;
    b->is_started = true;
    b->retry_ms = 0;
    int status =
        stint_submit_start(f->cli->stint, f->spec->queue, &options, bodies, b->count, &b->call);
    return status != STINT_OK ? cli_fail(f->cli, status) : EXIT_DONE;
}

/* Takes items into batches and sends what is complete, or all there is where none comes now. */
static int feeder_fill(struct feeder *f, uint64_t room, uint64_t stamp)
{
    while (!f->is_ended) {
        struct feeder_batch *b = batch_open(f);
        struct stint_bytes item;
        enum items_next next = ITEMS_MORE;
        while (b != NULL && !batch_is_full(b) && room > 0 &&
               (next = items_next(f->items, &item)) == ITEMS_ONE) {
            buf_add(&b->data, item.data, item.size);
            b->ends[b->count++] = b->data.size;
            f->taken++;
            room--;
        }
        if (b == NULL)
            return EXIT_DONE;
        if (next == ITEMS_TOO_LARGE)
            return cli_error(f->cli, STINT_TOO_LARGE, "item %llu is larger than %u bytes",
                             (unsigned long long)f->taken + 1, STINT_PAYLOAD_BYTES_MAX);
        f->is_ended = next == ITEMS_END;
        if (b->count == 0)
            return EXIT_DONE;
        bool is_full = batch_is_full(b);
        b->stamp = stamp;
        int code = batch_submit(f, b);
        if (code != EXIT_DONE || !is_full)
            return code;
    }
    return EXIT_DONE;
}

static bool status_is_waited(int status)
{
    return status == STINT_QUEUE_FULL || status == STINT_STORE_FULL || status == STINT_BUSY;
}

/* Looks at the oldest batch; true where it is through and gone. */
static bool feeder_settle(struct feeder *f, uint64_t now_ms)
{
    struct feeder_batch *b = f->used > 0 ? f->ring[0] : NULL;
    if (b == NULL || b->call == NULL || !stint_call_is_done(b->call))
        return false;
    int status = stint_call_status(b->call);
    if (status == STINT_OK) {
        struct stint_bytes ids = stint_call_subject(b->call);
        f->accepted += b->count;
        f->stored(f->arg, view_of(ids.data, ids.size), b->stamp);
        batch_free(b);
        f->used--;
        memmove(&f->ring[0], &f->ring[1], f->used * sizeof f->ring[0]);
        return true;
    }
    if (!status_is_waited(status)) {
        f->code = cli_fail_call(f->cli, b->call);
        return false;
    }
    if (!f->is_told_full)
        cli_say(f->cli, "%s; waiting", stint_call_error(b->call));
    f->is_told_full = true;
    stint_call_free(&b->call);
    b->retry_ms = now_ms + RETRY_MS;
    return false;
}

int feeder_step(struct feeder *f, uint64_t room, uint64_t stamp, uint64_t now_ms)
{
    while (f->code == EXIT_DONE && feeder_settle(f, now_ms))
        ;
    for (size_t i = 0; f->code == EXIT_DONE && i < f->used; i++) {
        struct feeder_batch *b = f->ring[i];
        if (b->is_started && b->call == NULL && now_ms >= b->retry_ms)
            f->code = batch_submit(f, b);
    }
    if (f->code == EXIT_DONE)
        f->code = feeder_fill(f, room, stamp);
    return f->code;
}

void feeder_stop(struct feeder *f, bool submit_rest)
{
    f->is_ended = true;
    if (!submit_rest && f->used > 0 && !f->ring[f->used - 1]->is_started)
        batch_free(f->ring[--f->used]);
}

int feeder_fd(const struct feeder *f, uint64_t room)
{
    bool has_place = f->used < f->window || !f->ring[f->used - 1]->is_started;
    return f->is_ended || !has_place || room == 0 || f->code != EXIT_DONE ? -1 : f->items->fd;
}

bool feeder_is_done(const struct feeder *f)
{
    bool is_empty = f->used == 0 || (f->used == 1 && f->ring[0]->count == 0);
    return f->is_ended && is_empty;
}

uint64_t feeder_deadline_ms(const struct feeder *f)
{
    uint64_t deadline = NEVER_MS;
    for (size_t i = 0; i < f->used; i++)
        if (f->ring[i]->is_started && f->ring[i]->call == NULL)
            deadline = min_u64(deadline, f->ring[i]->retry_ms);
    return deadline;
}
