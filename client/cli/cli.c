/* SPDX-License-Identifier: MPL-2.0 */
/* cli.c - what commands say and write. */
#include "client/cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/bar.h"

enum {
    LINE_BYTES_MAX = 4096
};

/* One write, so that lines of several processes do not mix. */
static void stderr_line(struct cli *cli, struct buf *line)
{
    if (cli->bar != NULL)
        bar_clear(cli->bar);
    buf_add_char(line, '\n');
    ssize_t written = write(STDERR_FILENO, buf_cstr(line), line->size);
    (void)written;
}

static PRINTF_LIKE(2, 0) void text_add(struct buf *line, const char *fmt, va_list args)
{
    char text[LINE_BYTES_MAX / 2];
    vsnprintf(text, sizeof text, fmt, args);
    /* a peer's text must not move the cursor or start a line of its own */
    for (const char *p = text; *p != '\0'; p++)
        buf_add_char(line, (unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p);
}

void cli_say(struct cli *cli, const char *fmt, ...)
{
    if (cli->is_quiet)
        return;
    struct buf line;
    buf_init(&line, LINE_BYTES_MAX);
    buf_add_str(&line, "stint: ");
    va_list args;
    va_start(args, fmt);
    text_add(&line, fmt, args);
    va_end(args);
    stderr_line(cli, &line);
    buf_fini(&line);
}

/* The report of an error, as text or JSON. */
static void error_report(struct cli *cli, const char *status, int code, const char *text)
{
    struct buf line;
    buf_init(&line, LINE_BYTES_MAX);
    if (cli->is_json) {
        json_t *json =
            json_pack("{s:s,s:s,s:i}", "error", status, "message", text, "exit_code", code);
        char *dump = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
        buf_add_str(&line, dump != NULL ? dump : "{\"error\":\"internal\"}");
        free(dump);
        json_decref(json);
    } else {
        const char *red = cli->has_color_err ? "\033[31m" : "";
        const char *plain = cli->has_color_err ? "\033[0m" : "";
        buf_addf(&line, "stint%s%s: %s%s%s", cli->command != NULL ? " " : "",
                 cli->command != NULL ? cli->command->name : "", red, text, plain);
    }
    stderr_line(cli, &line);
    buf_fini(&line);
}

/* The address that starts a pool where the user expects one. */
static void hint_start(struct cli *cli)
{
    if (cli->is_json)
        return;
    struct buf line;
    buf_init(&line, LINE_BYTES_MAX);
    buf_add_str(&line, "To start a pool on this machine:\n    stint-broker &\n    stint-worker &");
    stderr_line(cli, &line);
    buf_fini(&line);
}

int cli_error(struct cli *cli, int status, const char *fmt, ...)
{
    struct buf text;
    buf_init(&text, LINE_BYTES_MAX);
    va_list args;
    va_start(args, fmt);
    text_add(&text, fmt, args);
    va_end(args);
    int code = cli->is_run ? EXIT_NOT_THE_JOB : stint_status_exit_code(status);
    error_report(cli, stint_status_name(status), code, buf_cstr(&text));
    if (status == STINT_UNREACHABLE)
        hint_start(cli);
    buf_fini(&text);
    return code;
}

int cli_fail(struct cli *cli, int status)
{
    return cli_error(cli, status, "%s", stint_error(cli->stint));
}

int cli_fail_call(struct cli *cli, const struct stint_call *c)
{
    return cli_error(cli, stint_call_status(c), "%s", stint_call_error(c));
}

int cli_usage(struct cli *cli, const char *fmt, ...)
{
    struct buf text;
    buf_init(&text, LINE_BYTES_MAX);
    va_list args;
    va_start(args, fmt);
    text_add(&text, fmt, args);
    va_end(args);
    int code = cli->is_run ? EXIT_NOT_THE_JOB : EXIT_USAGE;
    error_report(cli, "usage", code, buf_cstr(&text));
    buf_fini(&text);
    return code;
}

const char *cli_user(void)
{
    const struct passwd *user = getpwuid(geteuid());
    return user != NULL ? user->pw_name : NULL;
}

int cli_finish(struct cli *cli, struct stint_call **c)
{
    int status = stint_call_wait(*c, STINT_NEVER);
    if (status == STINT_OK)
        return EXIT_DONE;
    int code = cli_fail(cli, status);
    stint_call_free(c);
    return code;
}

json_t *cli_json(struct cli *cli, const struct stint_call *c)
{
    struct stint_bytes text = stint_call_json(c);
    json_t *json = json_loadb(text.data, text.size, 0, NULL);
    if (!json_is_object(json)) {
        json_decref(json);
        cli_error(cli, STINT_BAD_MESSAGE, "the broker's reply is not understood");
        return NULL;
    }
    return json;
}

bool cli_write(struct cli *cli, int fd, const void *data, size_t size)
{
    const char *p = data;
    if (size > 0 && cli->bar != NULL)
        bar_clear(cli->bar);
    while (size > 0) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            poll(&wait, 1, -1);
            continue;
        }
        if (n < 0) {
            cli_error(cli, STINT_INTERNAL, "cannot write to %s: %s",
                      fd == STDOUT_FILENO ? "stdout" : "stderr", strerror(errno));
            return false;
        }
        p += n;
        size -= (size_t)n;
    }
    return true;
}

bool cli_print_json(struct cli *cli, const json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(12));
    if (text == NULL) {
        cli_error(cli, STINT_NO_MEMORY, "out of memory");
        return false;
    }
    size_t size = strlen(text);
    text[size] = '\n'; /* in place of the NUL: one write for one line */
    bool ok = cli_write(cli, STDOUT_FILENO, text, size + 1);
    free(text);
    return ok;
}

int cli_flush(struct cli *cli, int code)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return code;
    return cli_error(cli, STINT_INTERNAL, "cannot write to stdout: %s", strerror(errno));
}
