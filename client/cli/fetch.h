/* SPDX-License-Identifier: MPL-2.0 */
/* fetch.h - the outputs of a map where they need more than the watch brings: in the order of the
 * items, with the item in front of each line, or as JSON objects.
 *
 * Jobs come in as they were submitted and as they finish; a few GETs are under way at a time, and
 * outputs are written in the order of the requests. Without --keep-order that is the order of
 * finishing, with it the order of submission: a job that has finished waits until its turn, as an
 * id and nothing more. */
#ifndef STINT_CLIENT_CLI_FETCH_H
#define STINT_CLIENT_CLI_FETCH_H

#include "client/cli/cli.h"
#include "client/cli/ids.h"

#define FETCH_CALLS_MAX 16

struct fetch {
    struct cli *cli;
    bool is_used;
    bool has_order;
    bool has_tag;
    struct ids ready; /* finished, not asked for yet */
    struct ids ahead; /* --keep-order: submitted and not asked for yet; lowest id = next */
    struct stint_call *calls[FETCH_CALLS_MAX]; /* oldest first */
    size_t count;
};

void fetch_init(struct fetch *f, struct cli *cli, bool is_used, bool has_order, bool has_tag);
void fetch_fini(struct fetch *f);
void fetch_submitted(struct fetch *f, struct view ids);
void fetch_finished(struct fetch *f, uint64_t id);
/* Writes what has come and asks for more. Returns 0, or an exit code after a report. */
int fetch_step(struct fetch *f);
bool fetch_is_done(const struct fetch *f);

/* Appends the text with `tag` and a tab in front of each line; a last line without an end stays
 * without one. */
void fetch_tag_lines(struct buf *out, struct stint_bytes tag, struct stint_bytes text);

#endif
