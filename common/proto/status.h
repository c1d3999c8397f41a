/* SPDX-License-Identifier: MPL-2.0 */
/* status.h - the outcomes that a peer or a user can be told; the table is status.def. */
#ifndef STINT_COMMON_PROTO_STATUS_H
#define STINT_COMMON_PROTO_STATUS_H

#include "common/base/base.h"
#include "common/base/view.h"

enum status {
#define STATUS(id, name, again, exit_code, sentence) STATUS_##id,
#include "common/proto/status.def"
#undef STATUS
    STATUS_COUNT
};

const char *status_name(enum status s);
const char *status_sentence(enum status s);
/* The exit code of the command-line tools for it (docs/cli.md). */
int status_exit_code(enum status s);
/* True where the same request may succeed later without a change. */
bool status_is_retryable(enum status s);
/* The status with this wire name; STATUS_INTERNAL for a name that this version does not know. */
enum status status_parse(struct view name);

#endif
