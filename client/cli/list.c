/* SPDX-License-Identifier: MPL-2.0 */
/* list.c - `stint list`: jobs, newest first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/job.h"
#include "client/cli/select.h"
#include "client/cli/selector.h"
#include "client/cli/table.h"

static bool check_states(const char *value, const char **ret_why)
{
    static const char *const states[] = {"scheduled", "ready",     "running", "succeeded",
                                         "failed",    "cancelled", "expired"};
    *ret_why = "expected scheduled, ready, running, succeeded, failed, cancelled or expired";
    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        if (strcmp(value, states[i]) == 0)
            return true;
    return false;
}

static const struct conf_option options_list[] = {
    {.name = "queue",
     .kind = CONF_STRING,
     .metavar = "QUEUE",
     .help = "of this queue",
     .group = "List"},
    {.name = "state",
     .kind = CONF_WORDS,
     .metavar = "STATE[,STATE]",
     .help = "in one of these states",
     .group = "List",
     .check = check_states},
    {.name = "name",
     .kind = CONF_STRING,
     .metavar = "NAME",
     .help = "with this name",
     .group = "List"},
    {.name = "limit",
     .kind = CONF_U64,
     .value_default = "100",
     .metavar = "N",
     .help = "at most so many, the newest ones",
     .group = "List"},
    {.name = NULL},
};
static const struct conf_option *const tables[] = {options_list, NULL};

static const struct conf_example examples[] = {
    {"stint list", "the newest 100"},
    {"stint list --state failed --name nightly", NULL},
    {"stint list --json --limit 1000000 | jq -r .id", NULL},
    {NULL, NULL},
};

struct listing {
    struct cli *cli;
    struct table table;
    uint64_t count;
};

static const char *state_color(const char *state)
{
    if (strcmp(state, "succeeded") == 0)
        return "\033[32m";
    if (strcmp(state, "running") == 0)
        return "\033[36m";
    if (strcmp(state, "failed") == 0 || strcmp(state, "expired") == 0)
        return "\033[31m";
    return strcmp(state, "cancelled") == 0 ? "\033[33m" : "";
}

static int job_row(void *arg, const json_t *job)
{
    struct listing *l = arg;
    l->count++;
    if (l->cli->is_json) {
        json_t *out = job_json(job, false);
        bool ok = cli_print_json(l->cli, out);
        json_decref(out);
        return ok ? EXIT_DONE : EXIT_INTERNAL;
    }
    struct buf text;
    buf_init(&text, 1 << 20);
    const char *state = job_text(job, "state");
    table_cell(&l->table, job_text(job, "id"), "");
    table_cell(&l->table, state, state_color(state));
    table_cell(&l->table, job_text(job, "queue"), "");
    table_cell(&l->table, job_text(job, "name"), "");
    table_cell(&l->table, job_text(job, "submitted_at"), "");
    if (json_is_number(json_object_get(job, "run_seconds")))
        buf_addf(&text, "%.2f s", json_number_value(json_object_get(job, "run_seconds")));
    table_cell(&l->table, buf_cstr(&text), "");
    const char *reason = job_text(job, "reason");
    table_cell(&l->table, reason[0] != '\0' ? reason : job_text(job, "waiting_for"), "");
    buf_reset(&text);
    job_command_add(job, &text);
    table_cell(&l->table, buf_cstr(&text), "");
    buf_fini(&text);
    return EXIT_DONE;
}

/* "ready,running" from the items of --state; NULL where there are none. */
static const char *states_text(const struct conf *c, struct buf *out)
{
    size_t count = conf_count(c, "state");
    for (size_t i = 0; i < count; i++)
        buf_addf(out, "%s%s", i > 0 ? "," : "", conf_item(c, "state", i));
    return count > 0 ? buf_cstr(out) : NULL;
}

static int list_ids(struct cli *cli, struct buf *out)
{
    struct ids ids;
    ids_init(&ids);
    int code = conf_args_count(cli->conf) > 0 ? selector_read(cli, &ids) : EXIT_DONE;
    if (!ids_text(&ids, out, 60000) && code == EXIT_DONE)
        code = cli_usage(cli, "the selection has too many ranges");
    ids_fini(&ids);
    return code;
}

static int run(struct cli *cli)
{
    static const char *const titles[] = {"ID",        "STATE", "QUEUE",  "NAME",
                                         "SUBMITTED", "RUN",   "REASON", "COMMAND"};
    struct listing l = {.cli = cli};
    struct buf ids;
    struct buf states;
    bool more = false;
    buf_init(&ids, 65536);
    buf_init(&states, 1024);
    table_init(&l.table, titles, ARRAY_SIZE(titles), cli->has_color_out);
    int code = list_ids(cli, &ids);
    bool is_selected = ids.size > 0;
    struct stint_filter filter = {.ids = buf_cstr(&ids),
                                  .queue = conf_str(cli->conf, "queue"),
                                  .states = states_text(cli->conf, &states),
                                  .name = conf_str(cli->conf, "name")};
    if (code == EXIT_DONE)
        code = select_each(cli, filter, conf_u64(cli->conf, "limit"), job_row, &l, &more);
    if (code == EXIT_DONE && !cli->is_json && l.count > 0)
        table_print(&l.table);
    if (code == EXIT_DONE && l.count == 0 && is_selected)
        code = cli_error(cli, STINT_NOT_FOUND, "no such job (any more)");
    else if (code == EXIT_DONE && l.count == 0)
        cli_say(cli, "no jobs");
    if (code == EXIT_DONE && more)
        cli_say(cli, "there are more; see them with --limit");
    table_fini(&l.table);
    buf_fini(&states);
    buf_fini(&ids);
    return cli_flush(cli, code);
}

const struct command command_list = {
    .name = "list",
    .summary = "jobs, newest first",
    .usage = "stint list [options] [SELECTOR...]",
    .examples = examples,
    .notes = SELECTOR_HELP,
    .tables = tables,
    .mode = CONF_ARGS_MIXED,
    .run = run,
};
