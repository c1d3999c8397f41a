/* SPDX-License-Identifier: MPL-2.0 */
/* shutdown.c - `stint shutdown`: stops the pool and shows how far it is; returns when it is done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/job.h"
#include "common/base/text.h"

static const struct conf_option options_shutdown[] = {
    {.name = "drain",
     .kind = CONF_FLAG,
     .help = "no new jobs; run all that are ready, then as --finish",
     .group = "Shutdown"},
    {.name = "finish",
     .kind = CONF_FLAG,
     .help = "start nothing more, let running jobs finish within the grace; the rest stays stored "
             "[default]",
     .group = "Shutdown"},
    {.name = "now",
     .kind = CONF_FLAG,
     .help = "give running jobs back at once; they stay stored and run again later",
     .group = "Shutdown"},
    {.name = "grace",
     .kind = CONF_DURATION,
     .value_default = "30s",
     .metavar = "TIME",
     .help = "how long running jobs may take",
     .group = "Shutdown"},
    {.name = "keep-workers",
     .kind = CONF_FLAG,
     .help = "the workers stay and wait for the next broker",
     .group = "Shutdown"},
    {.name = NULL},
};
static const struct conf_option *const tables[] = {options_shutdown, NULL};

static const struct conf_example examples[] = {
    {"stint shutdown", "running jobs get 30 s, the rest is kept for the next start"},
    {"stint shutdown --drain --grace 1h", "empty the queues first"},
    {"stint shutdown --now", NULL},
    {NULL, NULL},
};

struct progress {
    struct cli *cli;
    bool is_drawn;
    char phase[32]; /* of the last line */
};

static void progress_clear(struct progress *p)
{
    if (p->is_drawn)
        fprintf(stderr, "\r\033[K");
    p->is_drawn = false;
}

/* On a terminal one line that changes; else a line for each phase. */
static void progress_show(struct progress *p, const json_t *reply)
{
    const char *phase = job_text(reply, "phase");
    struct buf text;
    char left[TEXT_SPAN_BYTES] = "";
    uint64_t left_ms = job_number(reply, "left_ms");
    if (p->cli->is_json) {
        snprintf(p->phase, sizeof p->phase, "%s", phase);
        cli_print_json(p->cli, reply);
        return;
    }
    buf_init(&text, 1024);
    if (left_ms > 0 && left_ms < 86400000ULL * 365)
        text_span(left, left_ms / 1000 * 1000);
    buf_addf(&text, "%s: %llu running, %llu ready, %llu workers%s%s", phase,
             (unsigned long long)job_number(reply, "running"),
             (unsigned long long)job_number(reply, "ready"),
             (unsigned long long)job_number(reply, "workers"), left[0] != '\0' ? ", at most " : "",
             left);
    if (isatty(STDERR_FILENO) && !p->cli->is_quiet) {
        fprintf(stderr, "\r%s\033[K", buf_cstr(&text));
        p->is_drawn = true;
    } else if (strcmp(phase, p->phase) != 0) {
        cli_say(p->cli, "%s", buf_cstr(&text));
    }
    snprintf(p->phase, sizeof p->phase, "%s", phase);
    buf_fini(&text);
}

/* The broker leaves right after its last phase, so the answer that says so may not come any more:
 * once a shutdown was accepted, a broker that is gone is a broker that has stopped. */
static bool is_gone_well(const struct progress *p, int status)
{
    return status == STINT_UNREACHABLE && p->phase[0] != '\0';
}

/* Shows answers until the last one. */
static int shutdown_watch(struct progress *p, struct stint_call **c)
{
    struct cli *cli = p->cli;
    for (;;) {
        int status = stint_call_wait(*c, STINT_NEVER);
        if (is_gone_well(p, status))
            return EXIT_DONE;
        if (status != STINT_OK) {
            progress_clear(p);
            return cli_fail(cli, status);
        }
        json_t *reply = cli_json(cli, *c);
        if (reply == NULL)
            return EXIT_INTERNAL;
        char *known = json_dumps(reply, JSON_COMPACT);
        /* "serving" after a shutdown was accepted: a supervisor has started the next broker */
        const char *phase = job_text(reply, "phase");
        bool is_done = strcmp(phase, "done") == 0 || strcmp(phase, "serving") == 0;
        progress_show(p, reply);
        json_decref(reply);
        stint_call_free(c);
        if (is_done) {
            free(known);
            return EXIT_DONE;
        }
        status = stint_progress_start(cli->stint, known, c);
        free(known);
        if (status != STINT_OK)
            return cli_fail(cli, status);
    }
}

static int run(struct cli *cli)
{
    const struct conf *conf = cli->conf;
    bool drain = conf_flag(conf, "drain");
    bool finish = conf_flag(conf, "finish");
    bool now = conf_flag(conf, "now");
    if (drain + finish + now > 1)
        return cli_usage(cli, "only one of --drain, --finish and --now can be meant");
    const char *mode = drain ? "drain" : now ? "now" : "finish";
    struct progress p = {.cli = cli};
    struct stint_call *c = NULL;
    int status = stint_shutdown_start(cli->stint, mode, conf_ms(conf, "grace"),
                                      conf_flag(conf, "keep-workers"), &c);
    int code = status != STINT_OK ? cli_fail(cli, status) : shutdown_watch(&p, &c);
    progress_clear(&p);
    if (code == EXIT_DONE)
        cli_say(cli, "the broker has stopped%s",
                conf_flag(conf, "keep-workers") ? "; its workers wait for the next one" : "");
    stint_call_free(&c);
    return code;
}

const struct command command_shutdown = {
    .name = "shutdown",
    .summary = "stop the pool: broker and workers; stored jobs stay stored",
    .usage = "stint shutdown [--drain|--finish|--now] [options]",
    .examples = examples,
    .notes = "A second shutdown that is harder (--now after --finish) replaces the first. SIGTERM "
             "to stint-broker\nstops only the broker; workers and running jobs go on.",
    .tables = tables,
    .mode = CONF_ARGS_MIXED,
    .is_control = true,
    .takes_no_arguments = true,
    .run = run,
};
