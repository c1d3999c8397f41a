/* SPDX-License-Identifier: MPL-2.0 */
/* cancel.c - `stint cancel`: waiting jobs end at once, running ones are told to. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/interrupt.h"
#include "client/cli/job.h"
#include "client/cli/select.h"
#include "client/cli/selector.h"
#include "client/cli/watch.h"
#include "common/base/clock.h"

static const struct conf_option options_cancel[] = {
    {.name = "reason",
     .kind = CONF_STRING,
     .metavar = "TEXT",
     .help = "why; shown with the job",
     .group = "Cancel"},
    {.name = "wait",
     .kind = CONF_FLAG,
     .help = "until the processes of running jobs are gone",
     .group = "Cancel"},
    {.name = "dry-run", .kind = CONF_FLAG, .help = "only count the jobs", .group = "Cancel"},
    {.name = "yes", .letter = 'y', .kind = CONF_FLAG, .help = "do not ask", .group = "Cancel"},
    {.name = NULL},
};
static const struct conf_option *const tables[] = {options_cancel, NULL};

static const struct conf_example examples[] = {
    {"stint cancel 42 --reason 'wrong input'", NULL},
    {"stint cancel --wait last", "returns when nothing of them runs any more"},
    {"stint cancel --dry-run 40-99", "how many would it be?"},
    {NULL, NULL},
};

static void job_ended(void *arg, const struct stint_finished *job)
{
    (void)arg;
    (void)job;
}

/* Waits until all jobs of the set have finished. */
static int cancel_wait(struct cli *cli, const struct ids *ids)
{
    struct watch watch;
    struct buf text;
    int interrupt_fd = interrupt_setup();
    int code = EXIT_DONE;
    buf_init(&text, 64 << 20);
    watch_init(&watch, cli, false);
    watch.finished = job_ended;
    ids_text(ids, &text, 64 << 20);
    watch_add(&watch, buf_view(&text), 0);
    while (code == EXIT_DONE && !watch_is_done(&watch)) {
        uint64_t now_ms = clock_mono_ms();
        int number = interrupt_take();
        struct pollfd fd = {.fd = interrupt_fd, .events = POLLIN};
        uint64_t next_ms = watch_deadline_ms(&watch);
        code = number != 0 ? EXIT_SIGNAL + number : watch_step(&watch, 10000, now_ms);
        if (code == EXIT_DONE && !watch_is_done(&watch))
            stint_poll(cli->stint, &fd, interrupt_fd >= 0 ? 1 : 0,
                       next_ms == NEVER_MS ? 10000 : (int)sub_sat_u64(next_ms, now_ms) + 1);
    }
    watch_fini(&watch);
    buf_fini(&text);
    return code;
}

static bool user_agrees(uint64_t count)
{
    char answer[16] = "";
    fprintf(stderr, "Cancel up to %llu jobs? [y/N] ", (unsigned long long)count);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

static void counts_add(json_t *sum, const json_t *reply)
{
    static const char *const keys[] = {"cancelled", "cancelling", "not_open"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        json_int_t n = json_integer_value(json_object_get(sum, keys[i])) +
                       json_integer_value(json_object_get(reply, keys[i]));
        json_object_set_new(sum, keys[i], json_integer(n));
    }
}

/* Sends the set in as many requests as its text needs; adds the counts to `sum`. */
static int cancel_send(struct cli *cli, const struct ids *ids, json_t *sum)
{
    struct ids left;
    struct buf text;
    int code = EXIT_DONE;
    ids_init(&left);
    buf_init(&text, 64 << 20);
    ids_text(ids, &text, 64 << 20);
    ids_parse(&left, buf_view(&text));
    while (code == EXIT_DONE && left.count > 0) {
        struct stint_call *c = NULL;
        struct ids asked;
        ids_init(&asked);
        buf_reset(&text);
        ids_text(&left, &text, 60000);
        ids_parse(&asked, buf_view(&text));
        int status = stint_cancel_start(cli->stint, buf_cstr(&text), conf_str(cli->conf, "reason"),
                                        cli_user(), &c);
        code = status != STINT_OK ? cli_fail(cli, status) : cli_finish(cli, &c);
        json_t *reply = code == EXIT_DONE ? cli_json(cli, c) : NULL;
        counts_add(sum, reply);
        json_decref(reply);
        stint_call_free(&c);
        ids_drop(&left, asked.ranges[asked.size - 1].last);
        ids_fini(&asked);
    }
    buf_fini(&text);
    ids_fini(&left);
    return code;
}

static int cancel_report(struct cli *cli, const json_t *sum)
{
    if (cli->is_json)
        return cli_print_json(cli, sum) ? EXIT_DONE : EXIT_INTERNAL;
    long long ended = json_integer_value(json_object_get(sum, "cancelled"));
    long long asked = json_integer_value(json_object_get(sum, "cancelling"));
    printf("%lld cancelled", ended);
    if (asked > 0)
        printf(", %lld running told to stop", asked);
    printf("\n");
    return EXIT_DONE;
}

static int run(struct cli *cli)
{
    struct ids ids;
    ids_init(&ids);
    json_t *sum = json_object();
    int code = selector_read(cli, &ids);
    bool is_many = ids.count > 1;
    bool asks = is_many && !conf_flag(cli->conf, "yes") && isatty(STDIN_FILENO) &&
                isatty(STDERR_FILENO) && !cli->is_json;
    if (code == EXIT_DONE && (conf_flag(cli->conf, "dry-run") || asks))
        code = select_states(cli, &ids, "scheduled,ready,running");
    if (code == EXIT_DONE && conf_flag(cli->conf, "dry-run")) {
        printf("%llu would be cancelled\n", (unsigned long long)ids.count);
    } else if (code == EXIT_DONE && asks && !user_agrees(ids.count)) {
        code = EXIT_REFUSED;
    } else if (code == EXIT_DONE) {
        code = cancel_send(cli, &ids, sum);
        json_int_t hit = json_integer_value(json_object_get(sum, "cancelled")) +
                         json_integer_value(json_object_get(sum, "cancelling"));
        if (code == EXIT_DONE && hit == 0)
            code = cli_error(cli, STINT_NOT_FOUND, "none of these jobs is unfinished");
        else if (code == EXIT_DONE)
            code = cancel_report(cli, sum);
        if (code == EXIT_DONE && conf_flag(cli->conf, "wait"))
            code = cancel_wait(cli, &ids);
    }
    json_decref(sum);
    ids_fini(&ids);
    return cli_flush(cli, code);
}

const struct command command_cancel = {
    .name = "cancel",
    .summary = "end jobs: waiting ones at once, running ones with their whole process tree",
    .usage = "stint cancel [options] SELECTOR...",
    .examples = examples,
    .notes = SELECTOR_HELP,
    .tables = tables,
    .mode = CONF_ARGS_MIXED,
    .run = run,
};
