/* SPDX-License-Identifier: MPL-2.0 */
/* query.h - what the core asks the store to look up, and the answer, both as plain data.
 *
 * A query sees every record handed to the store before it. The answer comes back as an event. A
 * query that would take longer than one turn's budget may return fewer rows with is_complete false;
 * the asker goes on from the last row. */
#ifndef STINT_BROKER_CORE_QUERY_H
#define STINT_BROKER_CORE_QUERY_H

#include "broker/core/record.h"

enum query_type {
    QUERY_JOB,   /* one job, with payload and history */
    QUERY_LIST,  /* jobs by filter, newest first (id falling) */
    QUERY_SINCE, /* finished jobs of a set with finish number > since, oldest finish first */
};

struct query {
    enum query_type type;
    uint64_t token;          /* the core's own, given back with the answer */
    uint64_t id;             /* JOB */
    struct id_range *ranges; /* LIST (none = all), SINCE; sorted; owned */
    size_t range_count;
    uint64_t since;                      /* SINCE */
    uint64_t before_id;                  /* LIST: ids below it; 0 = from the newest */
    uint32_t queue;                      /* LIST; 0 = any */
    unsigned states;                     /* LIST: bits 1 << enum job_state; 0 = any */
    char name[PROTO_NAME_BYTES_MAX + 1]; /* LIST; "" = any */
    uint32_t limit;                      /* rows */
    uint64_t bytes_max;                  /* SINCE: of results; one row always fits */
    bool with_output;                    /* JOB, SINCE: fill stdout_data and stderr_data */
    bool with_payload;                   /* JOB: fill payload */
    bool with_count;                     /* SINCE: fill finished_count */
    uint64_t count_to;                   /* with_count: finish numbers above it do not count */
};

void query_fini(struct query *q);

struct query_answer {
    enum query_type type;
    uint64_t token;
    struct job_row *rows; /* owned */
    size_t row_count;
    uint64_t finished_count; /* SINCE with_count: jobs of the set that finished up to count_to */
    bool is_complete;        /* there are no more rows */
    /* SINCE: no row of the set up to this finish number is missing. LIST: no row from this id up is
     * missing: what before_id of the next query should be. */
    uint64_t scanned_to;
};

void query_answer_fini(struct query_answer *a);

#endif
