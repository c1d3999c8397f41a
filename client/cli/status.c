/* SPDX-License-Identifier: MPL-2.0 */
/* status.c - `stint status`, `stint workers`, `stint ping`: how the pool is. */
#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/job.h"
#include "client/cli/table.h"
#include "common/base/clock.h"

static const struct conf_option *const tables_none[] = {NULL};

static const struct conf_example examples_status[] = {
    {"stint status", NULL},
    {"stint status --json | jq .jobs", NULL},
    {"stint --broker tcp://queue.example:5870 status", "another machine's broker"},
    {NULL, NULL},
};

/* The members named, in this order; null where the broker does not tell. A new reference. */
static json_t *pick(const json_t *from, const char *const *keys, size_t count)
{
    json_t *out = json_object();
    for (size_t i = 0; i < count; i++) {
        json_t *value = json_object_get(from, keys[i]);
        json_object_set_new(out, keys[i], value != NULL ? json_incref(value) : json_null());
    }
    return out;
}

/* "12.3 MiB". */
static void size_text(char out[32], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    size_t unit = 0;
    while (n >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
        n /= 1024;
        unit++;
    }
    snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", n, units[unit]);
}

static void status_queues(const json_t *queues)
{
    static const char *const titles[] = {"QUEUE", "READY", "SCHEDULED", "RUNNING"};
    static const char *const keys[] = {"ready", "scheduled", "running"};
    struct table t;
    size_t i = 0;
    json_t *q = NULL;
    if (json_array_size(queues) == 0)
        return;
    table_init(&t, titles, ARRAY_SIZE(titles), false);
    json_array_foreach(queues, i, q)
    {
        table_cell(&t, job_text(q, "name"), "");
        for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
            char number[24];
            snprintf(number, sizeof number, "%llu", (unsigned long long)job_number(q, keys[k]));
            table_cell(&t, number, "");
        }
    }
    printf("\n");
    table_print(&t);
    table_fini(&t);
}

static void status_text(struct cli *cli, const json_t *s)
{
    static const char *const states[] = {"ready",  "scheduled", "running", "succeeded",
                                         "failed", "cancelled", "expired"};
    const json_t *jobs = json_object_get(s, "jobs");
    const json_t *workers = json_object_get(s, "workers");
    const json_t *rates = json_object_get(s, "rates");
    char used[32];
    char left[32];
    size_text(used, job_number(s, "store_bytes"));
    size_text(left, job_number(s, "store_free_bytes"));
    printf("broker   %s, version %s, start %llu%s\n", stint_address(cli->stint),
           job_text(s, "version"), (unsigned long long)job_number(s, "broker_start"),
           json_is_true(json_object_get(s, "stopping")) ? ", stopping" : "");
    printf("store    %s, %s used, %s free\n", job_text(s, "store"), used, left);
    printf("jobs    ");
    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        printf("%s %llu %s", i > 0 ? "," : "", (unsigned long long)job_number(jobs, states[i]),
               states[i]);
    printf("\nrates    %.1f submitted/s, %.1f finished/s\n",
           json_number_value(json_object_get(rates, "submitted_per_second")),
           json_number_value(json_object_get(rates, "finished_per_second")));
    printf("workers  %llu active, %llu silent, %llu lost; %llu of %llu slots busy\n",
           (unsigned long long)job_number(workers, "active"),
           (unsigned long long)job_number(workers, "silent"),
           (unsigned long long)job_number(workers, "lost"),
           (unsigned long long)job_number(workers, "slots_busy"),
           (unsigned long long)job_number(workers, "slots"));
    status_queues(json_object_get(s, "queues"));
}

static int run_status(struct cli *cli)
{
    static const char *const keys[] = {"version",          "broker_start", "store", "store_bytes",
                                       "store_free_bytes", "jobs",         "rates", "workers"};
    struct stint_call *c = NULL;
    int status = stint_status_start(cli->stint, &c);
    int code = status != STINT_OK ? cli_fail(cli, status) : cli_finish(cli, &c);
    if (code != EXIT_DONE)
        return code;
    json_t *reply = cli_json(cli, c);
    if (reply == NULL) {
        code = EXIT_INTERNAL;
    } else if (cli->is_json) {
        json_t *out = pick(reply, keys, ARRAY_SIZE(keys));
        code = cli_print_json(cli, out) ? EXIT_DONE : EXIT_INTERNAL;
        json_decref(out);
    } else {
        status_text(cli, reply);
    }
    json_decref(reply);
    stint_call_free(&c);
    return cli_flush(cli, code);
}

const struct command command_status = {
    .name = "status",
    .summary = "the broker, its store, jobs by state, workers",
    .usage = "stint status [options]",
    .examples = examples_status,
    .tables = tables_none,
    .mode = CONF_ARGS_MIXED,
    .takes_no_arguments = true,
    .run = run_status,
};

static const struct conf_example examples_workers[] = {
    {"stint workers", NULL},
    {"stint workers --json | jq -r 'select(.state == \"silent\").name'", NULL},
    {"watch stint workers", NULL},
    {NULL, NULL},
};

/* A list of texts, or one text, as "a,b". */
static void words_add(struct buf *out, const json_t *value)
{
    size_t i = 0;
    json_t *word = NULL;
    if (json_is_string(value))
        buf_add_str(out, json_string_value(value));
    json_array_foreach(value, i, word)
    {
        buf_addf(out, "%s%s", i > 0 ? "," : "",
                 json_is_string(word) ? json_string_value(word) : "?");
    }
}

static void worker_row(struct table *t, const json_t *w)
{
    struct buf text;
    buf_init(&text, 1 << 16);
    table_cell(t, job_text(w, "name"), "");
    const char *state = job_text(w, "state");
    table_cell(t, state, strcmp(state, "active") == 0 ? "\033[32m" : "\033[33m");
    words_add(&text, json_object_get(w, "queues"));
    table_cell(t, buf_cstr(&text), "");
    buf_reset(&text);
    words_add(&text, json_object_get(w, "kinds"));
    table_cell(t, buf_cstr(&text), "");
    buf_reset(&text);
    buf_addf(&text, "%llu/%llu", (unsigned long long)job_number(w, "slots_busy"),
             (unsigned long long)job_number(w, "slots"));
    table_cell(t, buf_cstr(&text), "");
    buf_reset(&text);
    buf_addf(&text, "%.1f s", json_number_value(json_object_get(w, "silent_seconds")));
    table_cell(t, buf_cstr(&text), "");
    buf_reset(&text);
    buf_addf(&text, "%llu", (unsigned long long)job_number(w, "succeeded"));
    table_cell(t, buf_cstr(&text), "");
    buf_reset(&text);
    buf_addf(&text, "%llu", (unsigned long long)job_number(w, "failed"));
    table_cell(t, buf_cstr(&text), "");
    table_cell(t, job_text(w, "host"), "");
    buf_fini(&text);
}

static int workers_print(struct cli *cli, const json_t *workers)
{
    static const char *const keys[] = {"name",           "host",      "pid",        "queues",
                                       "kinds",          "slots",     "slots_busy", "state",
                                       "silent_seconds", "succeeded", "failed",     "containment"};
    static const char *const titles[] = {"NAME",   "STATE",     "QUEUES", "KINDS", "BUSY",
                                         "SILENT", "SUCCEEDED", "FAILED", "HOST"};
    size_t i = 0;
    json_t *w = NULL;
    struct table t;
    bool ok = true;
    table_init(&t, titles, ARRAY_SIZE(titles), cli->has_color_out);
    json_array_foreach(workers, i, w)
    {
        if (cli->is_json) {
            json_t *out = pick(w, keys, ARRAY_SIZE(keys));
            ok = ok && cli_print_json(cli, out);
            json_decref(out);
        } else {
            worker_row(&t, w);
        }
    }
    if (t.count > 0)
        table_print(&t);
    table_fini(&t);
    if (json_array_size(workers) == 0)
        cli_say(cli, "no workers; start one with: stint-worker &");
    return ok ? EXIT_DONE : EXIT_INTERNAL;
}

static int run_workers(struct cli *cli)
{
    struct stint_call *c = NULL;
    int status = stint_workers_start(cli->stint, &c);
    int code = status != STINT_OK ? cli_fail(cli, status) : cli_finish(cli, &c);
    if (code != EXIT_DONE)
        return code;
    json_t *reply = cli_json(cli, c);
    code = reply != NULL ? workers_print(cli, json_object_get(reply, "workers")) : EXIT_INTERNAL;
    json_decref(reply);
    stint_call_free(&c);
    return cli_flush(cli, code);
}

const struct command command_workers = {
    .name = "workers",
    .summary = "the workers: what they serve and how busy they are",
    .usage = "stint workers [options]",
    .examples = examples_workers,
    .tables = tables_none,
    .mode = CONF_ARGS_MIXED,
    .takes_no_arguments = true,
    .run = run_workers,
};

static const struct conf_option options_ping[] = {
    {.name = "wait",
     .kind = CONF_DURATION,
     .metavar = "TIME",
     .help = "how long to wait for a broker that is starting, in place of --connect-timeout",
     .group = "Ping",
     .min = 1,
     .max = NEVER_MS},
    {.name = NULL},
};
static const struct conf_option *const tables_ping[] = {options_ping, NULL};

static const struct conf_example examples_ping[] = {
    {"stint ping", "exit 0 when the broker serves, 4 when not"},
    {"stint ping --wait 30s", "in a start-up script"},
    {"stint ping --quiet || systemctl restart stint-broker", NULL},
    {NULL, NULL},
};

static int run_ping(struct cli *cli)
{
    struct stint_call *c = NULL;
    int status = stint_connect(cli->stint);
    if (status != STINT_OK)
        return cli_fail(cli, status);
    uint64_t begin_ms = clock_mono_ms();
    status = stint_ping_start(cli->stint, &c);
    int code = status != STINT_OK ? cli_fail(cli, status) : cli_finish(cli, &c);
    if (code != EXIT_DONE)
        return code;
    uint64_t took_ms = clock_mono_ms() - begin_ms;
    json_t *reply = cli_json(cli, c);
    if (reply == NULL) {
        code = EXIT_INTERNAL;
    } else if (cli->is_json) {
        json_object_set_new(reply, "address", json_string(stint_address(cli->stint)));
        json_object_set_new(reply, "seconds", json_real((double)took_ms / 1000));
        code = cli_print_json(cli, reply) ? EXIT_DONE : EXIT_INTERNAL;
    } else if (!cli->is_quiet) {
        printf("%s serves, version %s, %llu ms\n", stint_address(cli->stint),
               job_text(reply, "version"), (unsigned long long)took_ms);
    }
    json_decref(reply);
    stint_call_free(&c);
    return cli_flush(cli, code);
}

const struct command command_ping = {
    .name = "ping",
    .summary = "does a broker serve?",
    .usage = "stint ping [options]",
    .examples = examples_ping,
    .tables = tables_ping,
    .mode = CONF_ARGS_MIXED,
    .takes_no_arguments = true,
    .run = run_ping,
};
