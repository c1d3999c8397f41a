/* SPDX-License-Identifier: MPL-2.0 */
#include "common/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/text.h"

#define LOG_LINE_BYTES_MAX 4096

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const char *log_program = "stint";
static atomic_int log_level_now = LOG_LEVEL_INFO;
static enum log_format log_format_now = LOG_FORMAT_LOGFMT;

void log_setup(const char *program, enum log_level level, enum log_format format)
{
    log_program = program;
    log_format_now = format;
    log_set_level(level);
}

void log_set_level(enum log_level level)
{
    atomic_store(&log_level_now, (int)level);
}

bool log_is_on(enum log_level level)
{
    return (int)level <= atomic_load(&log_level_now);
}

bool log_level_parse(const char *s, enum log_level *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
        if (strcmp(s, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_format_parse(const char *s, enum log_format *ret)
{
    bool json = strcmp(s, "json") == 0;
    if (!json && strcmp(s, "logfmt") != 0)
        return false;
    *ret = json ? LOG_FORMAT_JSON : LOG_FORMAT_LOGFMT;
    return true;
}

/* Appends text inside double quotes; both formats escape alike. */
static void log_quote(struct buf *b, const char *s)
{
    buf_add_char(b, '"');
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\')
            buf_addf(b, "\\%c", *s);
        else if (*s == '\n')
            buf_add_str(b, "\\n");
        else if ((unsigned char)*s < 0x20 || *s == 0x7f)
            buf_addf(b, "\\u%04x", (unsigned)*s);
        else
            buf_add_char(b, *s);
    }
    buf_add_char(b, '"');
}

void log_write(enum log_level level, const char *fmt, ...)
{
    if (!log_is_on(level))
        return;
    char text[LOG_LINE_BYTES_MAX / 4];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    char now[TEXT_TIME_BYTES];
    text_time(now, clock_wall_ms());
    struct buf line;
    buf_init(&line, (size_t)LOG_LINE_BYTES_MAX * 4);
    if (log_format_now == LOG_FORMAT_JSON)
        buf_addf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\",\"msg\":", now,
                 level_names[level], log_program);
    else
        buf_addf(&line, "time=%s level=%s program=%s msg=", now, level_names[level], log_program);
    log_quote(&line, text);
    buf_add_str(&line, log_format_now == LOG_FORMAT_JSON ? "}\n" : "\n");
    ssize_t written = write(STDERR_FILENO, line.data, line.size);
    (void)written; /* nothing can be said where stderr is gone */
    buf_fini(&line);
}
