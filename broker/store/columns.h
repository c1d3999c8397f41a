/* SPDX-License-Identifier: MPL-2.0 */
/* columns.h - the columns of jobs, in the order in which they are summed, written and read.
 *
 * A job is stored in parts, each with a checksum of its own, so that a change of state rewrites and
 * sums a dozen numbers and never the payload:
 *   FIXED   what SUBMIT said; written once, moved as it is from `job` to `done`;
 *   CHANGE  state and lease of an unfinished job, in `job`;
 *   END     how the job ended, in `done`.
 * The sums of CHANGE and END begin with the job's id, so a part cannot serve for another row. */
#ifndef STINT_BROKER_STORE_COLUMNS_H
#define STINT_BROKER_STORE_COLUMNS_H

#define FIXED                                                                                      \
    "id,queue,name,kind,priority,retries,crash_limit,retry_delay_ms,time_limit_ms,keep_ms,"        \
    "output_limit_bytes,template_seq,seq,submitted_ms,payload_bytes,spec_bytes,spec,payload"
#define CHANGE                                                                                     \
    "state,not_before_ms,attempt,retries_used,retry_waits,crashes,lease,instance,started_ms,"      \
    "worker,is_cancelled,cancel_reason"
#define END                                                                                        \
    "number,state,outcome,attempt,crashes,retries_used,retry_waits,lease,exit_code,signal,"        \
    "is_truncated,stdout_bytes,stderr_bytes,run_ms,started_ms,finished_ms,forget_ms,reason,"       \
    "worker,stdout_size,stderr_size,stdout_data,stderr_data"

/* What a read of either table selects, and where some of the columns are. */
#define JOB_COLUMNS FIXED ",fixed_sum," CHANGE ",change_sum"
#define DONE_COLUMNS FIXED ",fixed_sum," END ",end_sum"
enum {
    COLUMN_ID = 0,
    COLUMN_QUEUE = 1,
    COLUMN_NAME = 2,
    COLUMN_JOB_STATE = 19,
    COLUMN_DONE_NUMBER = 19,
    COLUMN_DONE_STATE = 20,
    COLUMN_DONE_STDOUT_SIZE = 38,
    COLUMN_DONE_STDERR_SIZE = 39,
};

/* True where the row of `job` is there and its changing part is whole. */
#define IS_JOB "id=?1 AND change_sum=stint_sum(2,id," CHANGE ")"

#endif
