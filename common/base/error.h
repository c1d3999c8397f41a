/* SPDX-License-Identifier: MPL-2.0 */
/* error.h - what went wrong, filled once where it went wrong.
 *
 * A failing function returns a negative number and fills the caller's `struct error`; callers on
 * the way up may put context in front of the text; only the edge (main, the driver) prints it.
 * `status` is one of enum status (common/proto/status.h) or an errno value negated by the caller's
 * convention; error.h does not look at it. A NULL error is allowed everywhere and ignored. */
#ifndef STINT_COMMON_BASE_ERROR_H
#define STINT_COMMON_BASE_ERROR_H

#include "common/base/base.h"

#define ERROR_TEXT_BYTES_MAX 512

struct error {
    int status;
    char text[ERROR_TEXT_BYTES_MAX];
};

/* Fills `e` and returns -1, so that `return error_set(...)` reads well. Longer texts are cut. */
int error_set(struct error *e, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As error_set, with ": strerror(errno_value)" appended. */
int error_set_errno(struct error *e, int status, int errno_value, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* Puts "PREFIX: " in front of the text that is there. Returns -1. */
int error_prefix(struct error *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
