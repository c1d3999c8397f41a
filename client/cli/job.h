/* SPDX-License-Identifier: MPL-2.0 */
/* job.h - job objects of the broker as the tool prints them: frozen field names in JSON, and a few
 * words for people. */
#ifndef STINT_CLIENT_CLI_JOB_H
#define STINT_CLIENT_CLI_JOB_H

#include <jansson.h>

#include "client/cli/exit.h"
#include "common/base/buf.h"
#include "stint/stint.h"

/* The object with exactly the frozen fields in their order (null where not known), plus the history
 * of attempts where asked for. A new reference. Texts that came as {"base64"} are renamed to
 * KEY_base64. */
json_t *job_json(const json_t *job, bool with_history);
/* Sets KEY to the bytes as text, or KEY_base64 where they are not UTF-8. */
void json_set_bytes(json_t *object, const char *key, struct stint_bytes bytes);

const char *job_text(const json_t *job, const char *key); /* "" where it is no text */
uint64_t job_number(const json_t *job, const char *key);  /* a number, or a text that is one */
bool job_is_final(const char *state);
/* Exit code of a command that watched the job: 0, or 1 where it did not succeed or was cut. */
int job_exit(const char *state, bool truncated);
/* "exit 3", "signal 9", "time limit": why a job ended, for a line on stderr. */
void job_why(struct buf *out, const char *state, const char *reason, int exit_code, int signal);
/* The command line, quoted where needed; nothing for a payload job. */
void job_command_add(const json_t *job, struct buf *out);

#endif
