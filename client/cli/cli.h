/* SPDX-License-Identifier: MPL-2.0 */
/* cli.h - what the commands of `stint` share. One file per command; each declares its options, its
 * examples and its function in a `struct command`, and main.c lists them.
 *
 * The tool uses only the public library, common/base and common/conf. stdout is data, stderr is
 * everything else. A command returns the exit code (exit.h). */
#ifndef STINT_CLIENT_CLI_CLI_H
#define STINT_CLIENT_CLI_CLI_H

#include <jansson.h>

#include "client/cli/exit.h"
#include "common/base/base.h"
#include "common/base/buf.h"
#include "common/base/view.h"
#include "common/conf/conf.h"
#include "stint/stint.h"

struct command;
struct bar;

struct cli {
    const struct command *command;
    struct conf *conf;
    struct stint *stint;
    struct bar *bar; /* drawn on the terminal now, or NULL; cleared before a line is written */
    bool is_json;
    bool is_quiet;
    bool has_color_out;
    bool has_color_err;
    bool is_run; /* errors that are not the job's doing end with 125 */
};

struct command {
    const char *name;
    const char *summary;
    const char *usage; /* lines without "stint " in front of them are not needed: "stint ping" */
    const struct conf_example *examples;
    const char *notes;                       /* or NULL */
    const struct conf_option *const *tables; /* NULL-terminated; general options come on top */
    enum conf_args_mode mode;
    bool is_control;         /* talks to the control socket */
    bool takes_no_arguments; /* one is a mistake: "stint shutdown now" would be no --now */
    int (*run)(struct cli *cli);
};

extern const struct command command_submit, command_run, command_map, command_wait, command_show,
    command_result, command_list, command_cancel, command_status, command_workers, command_ping,
    command_shutdown;

extern const struct conf_option options_general[];
extern const struct conf_option options_job[];

/* A line on stderr, "stint: ..."; nothing when --quiet. */
void cli_say(struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The error of the last library function, or of a call; returns the exit code. */
int cli_fail(struct cli *cli, int status);
int cli_fail_call(struct cli *cli, const struct stint_call *c);
/* An error that happened here; `status` is one of enum stint_status. Returns the exit code. */
int cli_error(struct cli *cli, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* A usage error: one line on stderr and exit code 2 (`run`: 125). */
int cli_usage(struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The user's name for "cancelled by", or NULL; valid until the next call. */
const char *cli_user(void);

/* Waits for the call; on failure reports, frees the call and returns the exit code, else 0. */
int cli_finish(struct cli *cli, struct stint_call **c);
/* Parses the JSON of a reply; NULL (after a report) where it is none. */
json_t *cli_json(struct cli *cli, const struct stint_call *c);

/* All of the bytes to a descriptor; waits where it is full. False (and one report) on an error. */
bool cli_write(struct cli *cli, int fd, const void *data, size_t size);
/* One JSON value and a newline to stdout. */
bool cli_print_json(struct cli *cli, const json_t *json);
/* Flushes stdout; returns `code`, or 70 where it could not be written. */
int cli_flush(struct cli *cli, int code);

#endif
