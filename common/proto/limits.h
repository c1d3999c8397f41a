/* SPDX-License-Identifier: MPL-2.0 */
/* limits.h - every bound of the wire protocol in one place. Sizes in bytes, times in milliseconds.
 *
 * A peer that passes a bound gets ERR with the status named here; nothing is stored of such a
 * request. docs/protocol.md lists the same numbers and is checked against this file. */
#ifndef STINT_COMMON_PROTO_LIMITS_H
#define STINT_COMMON_PROTO_LIMITS_H

#define PROTO_NAME "ST1"

/* Frames of one message, envelope included; a longer one is read to its end and refused. */
#define PROTO_FRAMES_MAX 4104
#define PROTO_BODIES_MAX 4096 /* frames behind the header */
#define PROTO_TAG_BYTES_MAX 48
#define PROTO_REQUEST_ID_BYTES_MAX 32
#define PROTO_SUBJECT_BYTES_MAX 65536            /* a list of id ranges */
#define PROTO_HEADER_BYTES_MAX 65536             /* status too_large */
#define PROTO_JOB_HEADER_BYTES_MAX (2U << 16)    /* of a SUBMIT, with queue, name and number */
#define PROTO_REPLY_HEADER_BYTES_MAX (16U << 20) /* many jobs, workers or queues in one reply */

#define PROTO_JOBS_PER_SUBMIT_MAX 1000
#define PROTO_PAYLOAD_BYTES_MAX (1U << 20)    /* one job's payload or item */
#define PROTO_REQUEST_BYTES_MAX (16U << 20)   /* all frames of one request */
#define PROTO_RESULT_BYTES_MAX (1U << 20)     /* of a payload job's handler */
#define PROTO_OUTPUT_BYTES_DEFAULT (1U << 20) /* captured, each stream */
#define PROTO_OUTPUT_BYTES_MAX (64U << 20)
#define PROTO_OUTPUT_CHUNK_BYTES_MAX (256U << 10) /* one OUTPUT message */
#define PROTO_MESSAGE_BYTES_MAX (144U << 20)      /* ZMQ_MAXMSGSIZE of `results`, one frame */

#define PROTO_QUEUE_BYTES_MAX 64 /* [A-Za-z0-9._-]{1,64} */
#define PROTO_NAME_BYTES_MAX 128
#define PROTO_REASON_BYTES_MAX 256
#define PROTO_QUEUES_PER_WORKER_MAX 32
#define PROTO_SLOTS_MAX 1024
#define PROTO_LEASES_PER_WORKER_MAX 4096 /* held by one worker, prefetch included */
#define PROTO_OUTBOX_MAX 1024            /* verdicts that wait for their ACK */
#define PROTO_ARGV_MAX 4096
#define PROTO_ENV_MAX 1024

/* HELLO tells the windows that are in force; these are the broker's defaults. */
#define PROTO_WINDOW_REQUESTS 64        /* of one client, in flight */
#define PROTO_WINDOW_SUBMITS 8          /* of them, SUBMITs with a durable request id */
#define PROTO_WAIT_JOBS_MAX 1000        /* in one WAIT reply */
#define PROTO_WAIT_BYTES_MAX (8U << 20) /* of results in one WAIT reply; one job always fits */
#define PROTO_LIST_JOBS_MAX 1000
#define PROTO_LIST_BYTES_MAX (8U << 20) /* of job objects in one LIST reply; one always fits */
#define PROTO_LONG_POLL_MS 10000        /* WAIT, FOLLOW and PROGRESS are answered within it */

#define PROTO_PORT_DEFAULT 5870

#endif
