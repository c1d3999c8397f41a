/* SPDX-License-Identifier: MPL-2.0 */
/* submit.c - `stint submit`: one job, or with --lines one payload job for each line of stdin. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/feeder.h"
#include "client/cli/payload.h"
#include "client/cli/selector.h"
#include "common/base/clock.h"

static const struct conf_option options_submit[] = {
    {.name = "data",
     .kind = CONF_STRING,
     .metavar = "TEXT",
     .help = "the payload",
     .group = "Payload"},
    {.name = "file",
     .kind = CONF_STRING,
     .metavar = "FILE",
     .help = "the payload is the content of this file (- = stdin)",
     .group = "Payload"},
    {.name = "stdin",
     .kind = CONF_FLAG,
     .help = "the payload is stdin (without COMMAND that needs no option)",
     .group = "Payload"},
    {.name = "lines",
     .kind = CONF_FLAG,
     .help = "one payload job for each line of stdin",
     .group = "Payload"},
    {.name = "null",
     .letter = '0',
     .kind = CONF_FLAG,
     .help = "with --lines: items end with NUL, not newline",
     .group = "Payload"},
    {.name = NULL},
};

static const struct conf_option *const tables[] = {options_submit, options_job, NULL};

static const struct conf_example examples[] = {
    {"stint submit -- ./nightly.sh", "a command; prints the id of the job"},
    {"echo '{\"user\": 7}' | stint submit --queue mail", "a payload for a worker with a PROGRAM"},
    {"stint submit --lines --queue urls < urls.txt", "one job for each line"},
    {NULL, NULL},
};

struct submit_lines {
    struct cli *cli;
    struct ids ids;
    bool has_failed;
};

/* Prints "7-9,12" as one id a line, or as one JSON object a line. */
static bool ids_print(struct cli *cli, struct view text)
{
    struct view rest = text;
    struct view word;
    bool more = text.size > 0;
    struct buf out;
    bool ok = true;
    buf_init(&out, 1 << 20);
    while (more) {
        struct view first_text;
        struct view last_text;
        uint64_t first = 0;
        more = view_cut(rest, ',', &word, &rest);
        bool is_range = view_cut(word, '-', &first_text, &last_text);
        view_u64(first_text, &first);
        uint64_t last = first;
        if (is_range)
            view_u64(last_text, &last);
        for (uint64_t id = first; id <= last; id++)
            buf_addf(&out, cli->is_json ? "{\"id\":\"%llu\"}\n" : "%llu\n", (unsigned long long)id);
    }
    ok = cli_write(cli, STDOUT_FILENO, out.data, out.size);
    buf_fini(&out);
    return ok;
}

static void lines_stored(void *arg, struct view ids, uint64_t stamp)
{
    struct submit_lines *s = arg;
    (void)stamp;
    ids_parse(&s->ids, ids);
    s->has_failed = s->has_failed || !ids_print(s->cli, ids);
}

static int submit_lines(struct cli *cli, const struct spec *spec)
{
    struct items items;
    struct feeder feeder;
    struct submit_lines s = {.cli = cli};
    items_init_fd(&items, STDIN_FILENO, conf_flag(cli->conf, "null") ? '\0' : '\n');
    feeder_init(&feeder, cli, &items, spec);
    feeder.stored = lines_stored;
    feeder.arg = &s;
    int code = EXIT_DONE;
    while (code == EXIT_DONE && !feeder_is_done(&feeder) && !s.has_failed) {
        uint64_t now_ms = clock_mono_ms();
        code = feeder_step(&feeder, NEVER_MS, 0, now_ms);
        struct pollfd fd = {.fd = feeder_fd(&feeder, NEVER_MS), .events = POLLIN};
        uint64_t until_ms = feeder_deadline_ms(&feeder);
        int wait_ms = until_ms == NEVER_MS ? -1 : (int)min_u64(sub_sat_u64(until_ms, now_ms), 1000);
        if (code != EXIT_DONE || feeder_is_done(&feeder))
            break;
        stint_poll(cli->stint, &fd, fd.fd >= 0 ? 1 : 0, wait_ms);
        int error = fd.revents != 0 ? items_read(&items) : 0;
        if (error != 0)
            code = cli_usage(cli, "cannot read stdin: %s", strerror(error));
    }
    if (s.ids.count > 0)
        selector_keep_last(&s.ids);
    ids_fini(&s.ids);
    feeder_fini(&feeder);
    items_fini(&items);
    return s.has_failed ? EXIT_INTERNAL : code;
}

/* Finds the one payload: --data, --file, --stdin, or stdin where there is no command. */
static int submit_payload(struct cli *cli, bool is_command, struct buf *out)
{
    const char *data = conf_str(cli->conf, "data");
    const char *file = conf_str(cli->conf, "file");
    bool is_stdin = conf_flag(cli->conf, "stdin");
    if ((data != NULL) + (file != NULL) + is_stdin > 1)
        return cli_usage(cli, "only one of --data, --file and --stdin can be the payload");
    if (data != NULL) {
        buf_add_str(out, data);
        return out->failed ? cli_error(cli, STINT_TOO_LARGE, "--data is too large") : EXIT_DONE;
    }
    if (file != NULL && strcmp(file, "-") != 0) {
        int fd = open(file, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return cli_usage(cli, "cannot open %s: %s", file, strerror(errno));
        int code = payload_read(cli, fd, file, out);
        close(fd);
        return code;
    }
    if (file == NULL && !is_stdin && is_command)
        return EXIT_DONE;
    if (file == NULL && !is_stdin && isatty(STDIN_FILENO))
        return cli_usage(cli, "what is the payload? Give a COMMAND, --data, --file, or pipe it in");
    return payload_read(cli, STDIN_FILENO, "stdin", out);
}

static int submit_one(struct cli *cli, const struct spec *spec, const struct buf *payload)
{
    char id[STINT_IDS_BYTES_MAX];
    struct stint_bytes body = {payload->data, payload->size};
    int status = stint_submit(cli->stint, spec->queue, &spec->options, &body, 1, id);
    if (status != STINT_OK)
        return cli_fail(cli, status);
    struct ids ids;
    ids_init(&ids);
    ids_parse(&ids, view_str(id));
    selector_keep_last(&ids);
    ids_fini(&ids);
    return ids_print(cli, view_str(id)) ? EXIT_DONE : EXIT_INTERNAL;
}

static int run(struct cli *cli)
{
    size_t argc = (size_t)conf_args_count(cli->conf);
    bool is_lines = conf_flag(cli->conf, "lines");
    if (is_lines && argc > 0)
        return cli_usage(cli,
                         "--lines makes payload jobs; for one command on each line: stint map");
    if (conf_flag(cli->conf, "null") && !is_lines)
        return cli_usage(cli, "-0 needs --lines");
    struct spec spec = {0};
    struct buf payload;
    buf_init(&payload, STINT_PAYLOAD_BYTES_MAX);
    int code = spec_read(cli, conf_args(cli->conf), argc, false, &spec);
    if (code == EXIT_DONE && is_lines) {
        code = submit_lines(cli, &spec);
    } else if (code == EXIT_DONE) {
        code = submit_payload(cli, argc > 0, &payload);
        if (code == EXIT_DONE)
            code = submit_one(cli, &spec, &payload);
    }
    buf_fini(&payload);
    spec_fini(&spec);
    return code;
}

const struct command command_submit = {
    .name = "submit",
    .summary = "put a job into a queue and print its id",
    .usage = "stint submit [options] [--] COMMAND [ARGUMENT...]\n"
             "stint submit [options] < payload",
    .examples = examples,
    .tables = tables,
    .mode = CONF_ARGS_OPTIONS_FIRST,
    .run = run,
};
