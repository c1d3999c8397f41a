/* SPDX-License-Identifier: MPL-2.0 */
#include "common/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *e, int status, const char *fmt, ...)
{
    if (e == NULL)
        return -1;
    va_list args;
    va_start(args, fmt);
    e->status = status;
    vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    return -1;
}

int error_set_errno(struct error *e, int status, int errno_value, const char *fmt, ...)
{
    if (e == NULL)
        return -1;
    va_list args;
    va_start(args, fmt);
    e->status = status;
    vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    size_t used = strlen(e->text);
    snprintf(e->text + used, sizeof e->text - used, ": %s", strerror(errno_value));
    return -1;
}

int error_prefix(struct error *e, const char *fmt, ...)
{
    if (e == NULL)
        return -1;
    char old[ERROR_TEXT_BYTES_MAX];
    memcpy(old, e->text, sizeof old);
    va_list args;
    va_start(args, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    size_t used = strlen(e->text);
    snprintf(e->text + used, sizeof e->text - used, ": %.*s", (int)(sizeof old - 1), old);
    return -1;
}
