/* SPDX-License-Identifier: MPL-2.0 */
/* log.h - one line an event on stderr, for people and for collectors.
 *
 * logfmt (default): time=… level=info program=stint-broker msg="…" key=value; json: the same as one
 * object a line. Values come as a printf text of the message; newlines and control characters of
 * peers' text are escaped. Levels: error warn info debug. Set up once in main; then called from
 * one thread at a time or any (each line is one write(2), so lines do not mix). Cores never log. */
#ifndef STINT_COMMON_BASE_LOG_H
#define STINT_COMMON_BASE_LOG_H

#include "common/base/base.h"

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};
enum log_format {
    LOG_FORMAT_LOGFMT,
    LOG_FORMAT_JSON
};

/* `program` must outlive the process's logging. */
void log_setup(const char *program, enum log_level level, enum log_format format);
bool log_level_parse(const char *s, enum log_level *ret);
bool log_format_parse(const char *s, enum log_format *ret);
void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);

void log_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_is_on(LOG_LEVEL_DEBUG))                                                            \
            log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                               \
    } while (0)

#endif
