/* SPDX-License-Identifier: MPL-2.0 */
/* show.c - `stint show`: everything about a job. `stint result`: what it wrote. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/follow.h"
#include "client/cli/interrupt.h"
#include "client/cli/job.h"
#include "client/cli/select.h"
#include "client/cli/selector.h"

static const struct conf_option options_show[] = {
    {.name = "payload",
     .kind = CONF_FLAG,
     .help = "write the payload's bytes, nothing else",
     .group = "Show"},
    {.name = NULL},
};
static const struct conf_option *const tables_show[] = {options_show, NULL};

static const struct conf_example examples_show[] = {
    {"stint show 42", "attempts with their reasons; why it waits"},
    {"stint show --json last", NULL},
    {"stint show --payload 42 > payload", NULL},
    {NULL, NULL},
};

/* A job's text must not move the cursor or make a line of its own. */
static void text_print(const char *text)
{
    for (const char *p = text; *p != '\0'; p++)
        putchar((unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p);
}

static void line(const char *name, const char *text)
{
    if (text[0] == '\0')
        return;
    printf("%-13s ", name);
    text_print(text);
    putchar('\n');
}

static void line_number(const json_t *job, const char *name, const char *key, const char *unit)
{
    const json_t *value = json_object_get(job, key);
    if (json_is_integer(value))
        printf("%-13s %lld%s\n", name, (long long)json_integer_value(value), unit);
}

static void show_attempts(const json_t *job)
{
    size_t i = 0;
    json_t *a = NULL;
    json_array_foreach(json_object_get(job, "history"), i, a)
    {
        const char *reason = job_text(a, "reason");
        printf("%-13s %llu: %s%s", i == 0 ? "attempts" : "",
               (unsigned long long)job_number(a, "attempt"), job_text(a, "outcome"),
               reason[0] != '\0' ? ": " : "");
        text_print(reason);
        printf(" on ");
        text_print(job_text(a, "worker"));
        printf(", %s to %s\n", job_text(a, "started_at"), job_text(a, "ended_at"));
    }
}

static void show_text(const json_t *job)
{
    struct buf command;
    buf_init(&command, 1 << 20);
    job_command_add(job, &command);
    printf("job           %s\n", job_text(job, "id"));
    line("state", job_text(job, "state"));
    line("reason", job_text(job, "reason"));
    line("waits for", job_text(job, "waiting_for"));
    line_number(job, "exit code", "exit_code", "");
    if (job_number(job, "signal") > 0)
        line_number(job, "signal", "signal", "");
    line("name", job_text(job, "name"));
    line("queue", job_text(job, "queue"));
    line_number(job, "priority", "priority", "");
    line("command", buf_cstr(&command));
    line("directory", job_text(job, "cwd"));
    line("submitted", job_text(job, "submitted_at"));
    line("not before", job_text(job, "not_before"));
    line("started", job_text(job, "started_at"));
    line("finished", job_text(job, "finished_at"));
    if (json_is_number(json_object_get(job, "run_seconds")))
        printf("%-13s %.3f s\n", "run time",
               json_number_value(json_object_get(job, "run_seconds")));
    line("worker", job_text(job, "worker"));
    line_number(job, "attempts", "attempts", "");
    if (job_number(job, "crashes") > 0)
        line_number(job, "crashes", "crashes", "");
    show_attempts(job);
    line_number(job, "payload", "payload_bytes", " bytes");
    line_number(job, "stdout", "stdout_bytes", " bytes");
    line_number(job, "stderr", "stderr_bytes", " bytes");
    if (json_is_true(json_object_get(job, "truncated")))
        line("output", "was cut (--output-limit)");
    buf_fini(&command);
}

/* GETs one job; NULL after a report, with the exit code in *ret_code. */
static struct stint_call *job_get(struct cli *cli, uint64_t id, unsigned want, int *ret_code)
{
    struct stint_call *c = NULL;
    int status = stint_get_start(cli->stint, id, want, &c);
    *ret_code = status != STINT_OK ? cli_fail(cli, status) : cli_finish(cli, &c);
    return c;
}

static int show_one(struct cli *cli, uint64_t id, bool is_first)
{
    bool is_payload = conf_flag(cli->conf, "payload");
    int code = EXIT_DONE;
    struct stint_call *c = job_get(cli, id, is_payload ? STINT_WANT_PAYLOAD : 0, &code);
    if (c == NULL)
        return code;
    if (is_payload) {
        struct stint_bytes payload = stint_call_body(c, 0);
        code = cli_write(cli, STDOUT_FILENO, payload.data, payload.size) ? code : EXIT_INTERNAL;
        stint_call_free(&c);
        return code;
    }
    json_t *job = cli_json(cli, c);
    if (job == NULL) {
        code = EXIT_INTERNAL;
    } else if (cli->is_json) {
        json_t *out = job_json(job, true);
        code = cli_print_json(cli, out) ? code : EXIT_INTERNAL;
        json_decref(out);
    } else {
        printf("%s", is_first ? "" : "\n");
        show_text(job);
    }
    json_decref(job);
    stint_call_free(&c);
    return code;
}

static int run_show(struct cli *cli)
{
    struct ids ids;
    ids_init(&ids);
    int code = selector_read(cli, &ids);
    if (code == EXIT_DONE)
        code = select_existing(cli, &ids);
    bool is_first = true;
    for (size_t i = 0; i < ids.size && code != EXIT_UNREACHABLE && code != EXIT_USAGE; i++) {
        for (uint64_t id = ids.ranges[i].first; id <= ids.ranges[i].last; id++) {
            code = exit_worse(code, show_one(cli, id, is_first));
            is_first = false;
        }
    }
    ids_fini(&ids);
    return cli_flush(cli, code);
}

const struct command command_show = {
    .name = "show",
    .summary = "everything about a job: state, attempts, why it waits",
    .usage = "stint show [options] SELECTOR...",
    .examples = examples_show,
    .notes = SELECTOR_HELP,
    .tables = tables_show,
    .mode = CONF_ARGS_MIXED,
    .run = run_show,
};

static const struct conf_option options_result[] = {
    {.name = "stderr", .kind = CONF_FLAG, .help = "stderr in place of stdout", .group = "Result"},
    {.name = "follow",
     .kind = CONF_FLAG,
     .help = "of a job that runs or waits: what it has written so far, and on until its end",
     .group = "Result"},
    {.name = NULL},
};
static const struct conf_option *const tables_result[] = {options_result, NULL};

static const struct conf_example examples_result[] = {
    {"stint result 42", "the command's stdout, or a handler's result"},
    {"stint result --stderr last", NULL},
    {"stint result --follow last", "watch it run"},
    {NULL, NULL},
};

static int result_json(struct cli *cli, const json_t *job, struct stint_bytes bytes,
                       const char *stream)
{
    json_t *out = json_object();
    json_object_set_new(out, "id", json_string(job_text(job, "id")));
    json_object_set_new(out, "state", json_string(job_text(job, "state")));
    json_set_bytes(out, stream, bytes);
    json_object_set_new(out, "truncated",
                        json_boolean(json_is_true(json_object_get(job, "truncated"))));
    bool ok = cli_print_json(cli, out);
    json_decref(out);
    return ok ? EXIT_DONE : EXIT_INTERNAL;
}

/* Says what went wrong with the job, if anything; returns 0 or 1. */
static int result_judge(struct cli *cli, const json_t *job, bool is_cut)
{
    const char *state = job_text(job, "state");
    const json_t *code = json_object_get(job, "exit_code");
    if (strcmp(state, "succeeded") != 0) {
        struct buf why;
        buf_init(&why, 1024);
        job_why(&why, state, job_text(job, "reason"),
                json_is_integer(code) ? (int)json_integer_value(code) : -1,
                (int)job_number(job, "signal"));
        cli_say(cli, "job %s %s", job_text(job, "id"), buf_cstr(&why));
        buf_fini(&why);
    }
    if (is_cut)
        cli_say(cli, "job %s: its output was cut (--output-limit)", job_text(job, "id"));
    return job_exit(state, is_cut);
}

static int result_one(struct cli *cli, uint64_t id)
{
    bool is_stderr = conf_flag(cli->conf, "stderr");
    int code = EXIT_DONE;
    struct stint_call *c =
        job_get(cli, id, is_stderr ? STINT_WANT_STDERR : STINT_WANT_STDOUT, &code);
    json_t *job = c != NULL ? cli_json(cli, c) : NULL;
    if (job == NULL) {
        stint_call_free(&c);
        return code != EXIT_DONE ? code : EXIT_INTERNAL;
    }
    struct stint_bytes bytes = stint_call_body(c, 0);
    if (!job_is_final(job_text(job, "state")))
        code = cli_error(cli, STINT_NOT_FINISHED,
                         "job %llu is %s; wait for it, or see it live with --follow",
                         (unsigned long long)id, job_text(job, "state"));
    else if (cli->is_json)
        code = result_json(cli, job, bytes, is_stderr ? "stderr" : "stdout");
    else if (!cli_write(cli, STDOUT_FILENO, bytes.data, bytes.size))
        code = EXIT_INTERNAL;
    if (code == EXIT_DONE)
        code = result_judge(cli, job, json_is_true(json_object_get(job, "truncated")));
    json_decref(job);
    stint_call_free(&c);
    return code;
}

static int follow_signal(struct follow *f, int number)
{
    (void)f;
    return EXIT_SIGNAL + number;
}

static int result_follow(struct cli *cli, uint64_t id)
{
    struct follow f;
    json_t *job = NULL;
    struct stint_call *c = NULL;
    bool is_stderr = conf_flag(cli->conf, "stderr");
    int fd = cli->is_json ? -1 : STDOUT_FILENO;
    follow_init(&f, cli, id, is_stderr ? -1 : fd, is_stderr ? fd : -1);
    f.interrupt_fd = interrupt_setup();
    f.on_signal = follow_signal;
    stint_set_interrupt_fd(cli->stint, f.interrupt_fd);
    int code = follow_job(&f, &job, &c);
    if (code == EXIT_DONE && cli->is_json)
        code = result_json(cli, job, stint_call_body(c, is_stderr ? 1 : 0),
                           is_stderr ? "stderr" : "stdout");
    if (code == EXIT_DONE)
        code = result_judge(cli, job, f.is_cut);
    json_decref(job);
    stint_call_free(&c);
    follow_fini(&f);
    return code;
}

static int run_result(struct cli *cli)
{
    struct ids ids;
    ids_init(&ids);
    int code = selector_read(cli, &ids);
    bool is_follow = conf_flag(cli->conf, "follow");
    if (code == EXIT_DONE && is_follow && ids.count > 1)
        code = cli_usage(cli, "--follow shows one job; %llu are selected",
                         (unsigned long long)ids.count);
    else if (code == EXIT_DONE && is_follow)
        code = result_follow(cli, ids.ranges[0].first);
    else if (code == EXIT_DONE) {
        code = select_existing(cli, &ids);
        for (size_t i = 0; i < ids.size && code != EXIT_UNREACHABLE && code != EXIT_INTERNAL; i++)
            for (uint64_t id = ids.ranges[i].first; id <= ids.ranges[i].last; id++)
                code = exit_worse(code, result_one(cli, id));
    }
    ids_fini(&ids);
    return code;
}

const struct command command_result = {
    .name = "result",
    .summary = "what a job wrote to stdout (or stderr), byte for byte",
    .usage = "stint result [options] SELECTOR...",
    .examples = examples_result,
    .notes = SELECTOR_HELP "\nExit code: 0 it succeeded, 1 it did not or its output is cut, "
                           "5 it has not finished.",
    .tables = tables_result,
    .mode = CONF_ARGS_MIXED,
    .run = run_result,
};
