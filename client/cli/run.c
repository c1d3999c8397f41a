/* SPDX-License-Identifier: MPL-2.0 */
/* run.c - `stint run`: a command on a worker as if it ran here. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/follow.h"
#include "client/cli/interrupt.h"
#include "client/cli/job.h"
#include "client/cli/payload.h"
#include "client/cli/selector.h"
#include "client/cli/spec.h"
#include "common/base/clock.h"

static const struct conf_option options_run[] = {
    {.name = "stdin",
     .kind = CONF_FLAG,
     .help = "read stdin to its end (at most 1 MiB) and give it to the command",
     .group = "Run"},
    {.name = NULL},
};

static const struct conf_option *const tables[] = {options_run, options_job, NULL};

static const struct conf_example examples[] = {
    {"stint run make -j4 test", "output and exit code are the command's"},
    {"sort big.txt | stint run --stdin -- uniq -c", "stdin travels with the job"},
    {"stint run --time-limit 5m --retries 2 -- ./flaky.sh", NULL},
    {NULL, NULL},
};

enum {
    AGAIN_MS = 2000
}; /* a second Ctrl-C within it cancels */

/* Sends the cancellation and waits until it is stored. */
static int run_cancel(struct cli *cli, uint64_t id)
{
    char ids[24];
    struct stint_call *c = NULL;
    snprintf(ids, sizeof ids, "%llu", (unsigned long long)id);
    stint_set_interrupt_fd(cli->stint, -1);
    int status = stint_cancel_start(cli->stint, ids, "interrupted", cli_user(), &c);
    if (status == STINT_OK)
        status = stint_call_wait(c, 10000);
    if (status == STINT_OK)
        cli_say(cli, "job %s is cancelled", ids);
    else
        cli_fail(cli, status);
    stint_call_free(&c);
    return EXIT_SIGNAL + SIGINT;
}

static int run_signal(struct follow *f, int number)
{
    if (number != SIGINT) {
        cli_say(f->cli, "job %llu goes on; see it with: stint result --follow %llu",
                (unsigned long long)f->id, (unsigned long long)f->id);
        return EXIT_SIGNAL + number;
    }
    if (f->until_ms != NEVER_MS)
        return run_cancel(f->cli, f->id);
    f->until_ms = clock_mono_ms() + AGAIN_MS;
    f->until_code = EXIT_SIGNAL + SIGINT;
    cli_say(f->cli,
            "job %llu goes on; see it with: stint result --follow %llu (Ctrl-C again: cancel it)",
            (unsigned long long)f->id, (unsigned long long)f->id);
    return 0;
}

static int run_exit(struct cli *cli, const struct follow *f, const json_t *job)
{
    const char *state = job_text(job, "state");
    const char *reason = job_text(job, "reason");
    const json_t *code_value = json_object_get(job, "exit_code");
    int exit_code = json_is_integer(code_value) ? (int)json_integer_value(code_value) : -1;
    int signal_number = (int)job_number(job, "signal");
    int code = exit_of_run(state, reason, exit_code, signal_number, f->is_cut);
    bool is_plain = strcmp(state, "succeeded") == 0 || (exit_code > 0 && exit_code < 126);
    if (f->is_cut)
        cli_say(cli, "job %llu: its output was cut (--output-limit)", (unsigned long long)f->id);
    if (!is_plain) {
        struct buf why;
        buf_init(&why, 1024);
        job_why(&why, state, reason, exit_code, signal_number);
        cli_say(cli, "job %llu %s", (unsigned long long)f->id, buf_cstr(&why));
        buf_fini(&why);
    }
    return code;
}

static int run_print_json(struct cli *cli, const json_t *job, const struct stint_call *c)
{
    json_t *out = job_json(job, false);
    json_set_bytes(out, "stdout", stint_call_body(c, 0));
    json_set_bytes(out, "stderr", stint_call_body(c, 1));
    bool ok = cli_print_json(cli, out);
    json_decref(out);
    return ok ? EXIT_DONE : EXIT_NOT_THE_JOB;
}

static int run_follow(struct cli *cli, uint64_t id, int interrupt_fd)
{
    struct follow f;
    json_t *job = NULL;
    struct stint_call *c = NULL;
    follow_init(&f, cli, id, cli->is_json ? -1 : STDOUT_FILENO, cli->is_json ? -1 : STDERR_FILENO);
    f.interrupt_fd = interrupt_fd;
    f.on_signal = run_signal;
    int code = follow_job(&f, &job, &c);
    if (code == EXIT_INTERNAL)
        code = EXIT_NOT_THE_JOB;
    if (code == EXIT_DONE && cli->is_json)
        code = run_print_json(cli, job, c);
    if (code == EXIT_DONE)
        code = run_exit(cli, &f, job);
    json_decref(job);
    stint_call_free(&c);
    follow_fini(&f);
    return code;
}

static int run_submit(struct cli *cli, const struct spec *spec, struct stint_bytes payload,
                      uint64_t *ret_id)
{
    char text[STINT_IDS_BYTES_MAX];
    int status = stint_submit(cli->stint, spec->queue, &spec->options, &payload, 1, text);
    if (status == STINT_INTERRUPTED) {
        cli_say(cli, "interrupted while submitting; the job may have been stored: see stint list");
        return EXIT_SIGNAL + interrupt_take();
    }
    if (status != STINT_OK)
        return cli_fail(cli, status);
    *ret_id = strtoull(text, NULL, 10);
    struct ids ids;
    ids_init(&ids);
    ids_add(&ids, *ret_id, *ret_id);
    selector_keep_last(&ids);
    ids_fini(&ids);
    return EXIT_DONE;
}

static int run(struct cli *cli)
{
    size_t argc = (size_t)conf_args_count(cli->conf);
    struct spec spec = {0};
    struct buf payload;
    uint64_t id = 0;
    if (argc == 0)
        return cli_usage(cli, "which command? As in: stint run -- make test");
    if (conf_is_set(cli->conf, "keep") && conf_ms(cli->conf, "keep") < 60000)
        return cli_usage(cli, "--keep: run needs at least 1m, to fetch the result");
    buf_init(&payload, STINT_PAYLOAD_BYTES_MAX);
    int code = spec_read(cli, conf_args(cli->conf), argc, false, &spec);
    if (code == EXIT_DONE && conf_flag(cli->conf, "stdin"))
        code = payload_read(cli, STDIN_FILENO, "stdin", &payload);
    int interrupt_fd = interrupt_setup();
    stint_set_interrupt_fd(cli->stint, interrupt_fd);
    if (code == EXIT_DONE)
        code = run_submit(cli, &spec, (struct stint_bytes){payload.data, payload.size}, &id);
    if (code == EXIT_DONE)
        code = run_follow(cli, id, interrupt_fd);
    buf_fini(&payload);
    spec_fini(&spec);
    return code;
}

const struct command command_run = {
    .name = "run",
    .summary = "submit a command, show its output live, exit as it does",
    .usage = "stint run [options] [--] COMMAND [ARGUMENT...]",
    .examples = examples,
    .notes = "Exit code: the command's own; 128+N if signal N ended it, 126 or 127 if it could not "
             "be run,\n124 at its time limit, 125 for anything that is not its doing.\n"
             "Ctrl-C leaves the job running and says how to come back; twice cancels it.",
    .tables = tables,
    .mode = CONF_ARGS_OPTIONS_FIRST,
    .run = run,
};
