/* SPDX-License-Identifier: MPL-2.0 */
/* map.c - `stint map`: one job for each item, outputs as the jobs finish.
 *
 *     items -> feeder (submits) -> watch (finished jobs) -> output
 *
 * In the plain case outputs come with the answers of the watch. With --keep-order, --tag and --json
 * each finished job is fetched by itself (fetch.c), a few at a time and in the wanted order. Memory
 * does not grow with the number of items, only with the gaps between unfinished jobs. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/interrupt.h"
#include "client/cli/job.h"
#include "client/cli/map.h"
#include "client/cli/selector.h"
#include "common/base/clock.h"
#include "common/base/text.h"

static bool check_halt(const char *value, const char **ret_why)
{
    struct map_halt halt;
    *ret_why = "expected now,fail=N or soon,fail=N";
    return map_halt_parse(value, &halt);
}

static const struct conf_option options_map[] = {
    {.name = "arg-file",
     .letter = 'a',
     .kind = CONF_STRING,
     .metavar = "FILE",
     .help = "read items from this file, not from stdin",
     .group = "Map"},
    {.name = "null",
     .letter = '0',
     .kind = CONF_FLAG,
     .help = "items end with NUL, not newline (find -print0)",
     .group = "Map"},
    {.name = "mark",
     .letter = 'I',
     .kind = CONF_STRING,
     .metavar = "STR",
     .help = "the text in COMMAND that stands for the item, in place of {}",
     .group = "Map"},
    {.name = "jobs",
     .letter = 'j',
     .kind = CONF_U64,
     .metavar = "N",
     .help = "at most N of its jobs in the broker at a time (default: no limit)",
     .group = "Map",
     .min = 1,
     .max = 1000000000},
    {.name = "keep-order",
     .letter = 'k',
     .kind = CONF_FLAG,
     .help = "outputs in the order of the items",
     .group = "Map"},
    {.name = "tag",
     .kind = CONF_FLAG,
     .help = "begin each line of output with the item and a tab",
     .group = "Map"},
    {.name = "halt",
     .kind = CONF_STRING,
     .metavar = "now|soon,fail=N",
     .help = "after N failures: now = cancel everything; soon = start no further job",
     .group = "Map",
     .check = check_halt},
    {.name = "timeout",
     .kind = CONF_DURATION,
     .value_default = "none",
     .metavar = "TIME",
     .help = "stop waiting after this time, exit 124; the jobs go on",
     .group = "Map"},
    {.name = "detach",
     .kind = CONF_FLAG,
     .help = "print the ids of the jobs and do not wait",
     .group = "Map"},
    {.name = NULL},
};
static const struct conf_option *const tables[] = {options_map, options_job, NULL};

static const struct conf_example examples[] = {
    {"find . -name '*.png' | stint map -- optipng {}", "one job for each line"},
    {"stint map -- gzip -9 ::: *.log", "the item is appended where there is no {}"},
    {"seq 1000 | stint map --keep-order --halt soon,fail=1 -- ./step {}", NULL},
    {NULL, NULL},
};

enum {
    POLL_FEEDING_MS = 200, /* of the watch while jobs are still added to it */
    POLL_MS = 10000,
    AGAIN_MS = 2000, /* a second Ctrl-C within it cancels */
    KEEP_LAST_MS = 1000,
    FAILED_NAMED_MAX = 10,
};

bool map_halt_parse(const char *text, struct map_halt *ret)
{
    bool is_now = strncmp(text, "now,fail=", 9) == 0;
    bool is_soon = strncmp(text, "soon,fail=", 10) == 0;
    uint64_t n = 0;
    if ((!is_now && !is_soon) || !text_u64(strchr(text, '=') + 1, &n) || n == 0)
        return false;
    *ret = (struct map_halt){.is_now = is_now, .failures = n};
    return true;
}

static void batch_stored(void *arg, struct view ids, uint64_t stamp)
{
    struct map *m = arg;
    if (m->all.count == 0 && m->name[0] != '\0')
        cli_say(m->cli, "these jobs are named %s", m->name);
    ids_parse(&m->all, ids);
    if (m->is_detached) {
        struct ids batch;
        ids_init(&batch);
        ids_parse(&batch, ids);
        for (size_t i = 0; i < batch.size; i++)
            for (uint64_t id = batch.ranges[i].first; id <= batch.ranges[i].last; id++)
                printf(m->cli->is_json ? "{\"id\":\"%llu\"}\n" : "%llu\n", (unsigned long long)id);
        ids_fini(&batch);
        return;
    }
    watch_add(&m->watch, ids, stamp);
    fetch_submitted(&m->fetch, ids);
}

static void job_finished(void *arg, const struct stint_finished *job)
{
    struct map *m = arg;
    bool is_bad = strcmp(job->state, "succeeded") != 0;
    m->code = exit_worse(m->code, job_exit(job->state, job->truncated));
    m->failed += is_bad;
    m->cut += job->truncated;
    if (m->fetch.is_used) {
        fetch_finished(&m->fetch, job->id);
    } else {
        m->has_broken = m->has_broken ||
                        !cli_write(m->cli, STDOUT_FILENO, job->out.data, job->out.size) ||
                        !cli_write(m->cli, STDERR_FILENO, job->err.data, job->err.size);
    }
    bool is_ours = m->is_halted && strcmp(job->state, "cancelled") == 0;
    if (is_bad && m->named < FAILED_NAMED_MAX && !is_ours) {
        struct buf why;
        buf_init(&why, 1024);
        job_why(&why, job->state, job->reason, job->exit_code, job->signal);
        cli_say(m->cli, "job %llu (item %llu) %s", (unsigned long long)job->id,
                (unsigned long long)job->seq, buf_cstr(&why));
        buf_fini(&why);
        m->named++;
    }
}

/* Cancels the given jobs; blocks until that is stored. */
static int map_cancel(struct map *m, const struct ids *ids, const char *reason)
{
    int code = EXIT_DONE;
    struct ids left;
    struct buf text;
    ids_init(&left);
    ids_copy(&left, ids);
    buf_init(&text, 65536);
    while (code == EXIT_DONE && left.count > 0) {
        struct stint_call *c = NULL;
        struct ids asked;
        ids_init(&asked);
        buf_reset(&text);
        ids_text(&left, &text, 60000);
        ids_parse(&asked, buf_view(&text));
        int status = stint_cancel_start(m->cli->stint, buf_cstr(&text), reason, cli_user(), &c);
        code = status != STINT_OK ? cli_fail(m->cli, status) : cli_finish(m->cli, &c);
        stint_call_free(&c);
        ids_drop(&left, asked.ranges[asked.size - 1].last);
        ids_fini(&asked);
    }
    buf_fini(&text);
    ids_fini(&left);
    return code;
}

static int waiting_take(void *arg, const json_t *job)
{
    uint64_t id = job_number(job, "id");
    if (id > 0)
        ids_add(arg, id, id);
    return EXIT_DONE;
}

/* --halt: no further items; now: cancel all; soon: cancel those that have not started. */
static int map_halt(struct map *m)
{
    struct ids waiting;
    int code = EXIT_DONE;
    m->is_halted = true;
    feeder_stop(&m->feeder, false);
    cli_say(m->cli, "%llu jobs failed; %s (--halt)", (unsigned long long)m->failed,
            m->halt.is_now ? "the others are cancelled" : "no further ones are started");
    stint_set_interrupt_fd(m->cli->stint, -1);
    ids_init(&waiting);
    if (m->halt.is_now) {
        ids_copy(&waiting, &m->watch.open);
    } else {
        struct stint_filter filter = {.ids = "",
                                      .states = "scheduled,ready",
                                      .name = m->spec.options.name,
                                      .queue = m->spec.queue};
        code = select_each(m->cli, filter, NEVER_MS, waiting_take, &waiting, NULL);
        ids_intersect(&waiting, &m->watch.open);
    }
    if (code == EXIT_DONE)
        code = map_cancel(m, &waiting, "stopped by --halt");
    ids_fini(&waiting);
    stint_set_interrupt_fd(m->cli->stint, m->interrupt_fd);
    return code;
}

static void say_come_back(struct map *m, const char *more)
{
    if (m->all.count > 0)
        cli_say(m->cli,
                "%llu jobs go on; see them with: stint list --name %s, await them with: "
                "stint wait last%s",
                (unsigned long long)m->watch.open.count, m->spec.options.name, more);
    else if (m->feeder.used > 0 && m->feeder.ring[0]->is_started)
        cli_say(m->cli,
                "interrupted while submitting; jobs may have been stored: see stint list --name %s",
                m->spec.options.name);
}

/* The first Ctrl-C stops reading; a second within 2 s cancels; TERM and HUP leave at once. */
static int map_signal(struct map *m, int number, uint64_t now_ms)
{
    feeder_stop(&m->feeder, false);
    if (number != SIGINT) {
        say_come_back(m, "");
        return EXIT_SIGNAL + number;
    }
    if (m->leave_ms == NEVER_MS) {
        m->leave_ms = now_ms + AGAIN_MS;
        say_come_back(m, " (Ctrl-C again: cancel them)");
        return EXIT_DONE;
    }
    stint_set_interrupt_fd(m->cli->stint, -1);
    if (map_cancel(m, &m->watch.open, "interrupted") == EXIT_DONE)
        cli_say(m->cli, "%llu jobs are cancelled", (unsigned long long)m->watch.open.count);
    return EXIT_SIGNAL + SIGINT;
}

static uint64_t map_room(const struct map *m)
{
    uint64_t in_broker = m->feeder.taken - m->watch.told - m->watch.gone;
    return sub_sat_u64(m->jobs_max, m->is_detached ? 0 : in_broker);
}

static bool map_is_done(const struct map *m)
{
    return feeder_is_done(&m->feeder) && (m->is_detached || watch_is_done(&m->watch)) &&
           fetch_is_done(&m->fetch);
}

/* Remembers the ids of this map as `last`, now and then and at the end. */
static void keep_last(struct map *m, uint64_t now_ms, bool is_end)
{
    if (m->all.count == m->kept_count || (!is_end && now_ms < m->kept_ms + KEEP_LAST_MS))
        return;
    selector_keep_last(&m->all);
    m->kept_count = m->all.count;
    m->kept_ms = now_ms;
}

static bool map_must_halt(const struct map *m)
{
    return m->halt.failures > 0 && !m->is_halted && m->failed >= m->halt.failures;
}

/* Submits and watches until neither makes work for the other: a finished job is room for an item
 * (--jobs), a stored one is to be watched, and no further event would tell of either. */
static int map_move(struct map *m, uint64_t now_ms)
{
    int code = EXIT_DONE;
    uint64_t before = 0;
    uint64_t after = m->feeder.accepted + m->watch.told + m->watch.gone;
    do {
        before = after;
        code = feeder_step(&m->feeder, map_room(m), m->watch.cursor, now_ms);
        uint64_t poll_ms = feeder_is_done(&m->feeder) ? POLL_MS : POLL_FEEDING_MS;
        if (code == EXIT_DONE && !m->is_detached)
            code = watch_step(&m->watch, poll_ms, now_ms);
        after = m->feeder.accepted + m->watch.told + m->watch.gone;
    } while (code == EXIT_DONE && after != before && !map_must_halt(m));
    return code;
}

/* Everything that can be done now. 0 to go on, or the exit code to end with. */
static int map_turn(struct map *m, uint64_t now_ms)
{
    int number = interrupt_take();
    int code = number != 0 ? map_signal(m, number, now_ms) : EXIT_DONE;
    if (code == EXIT_DONE && now_ms >= m->leave_ms)
        code = EXIT_SIGNAL + SIGINT;
    if (code == EXIT_DONE && now_ms >= m->until_ms)
        code = cli_error(m->cli, STINT_TIMEOUT, "unfinished jobs: %llu",
                         (unsigned long long)m->watch.open.count);
    if (code == EXIT_DONE && m->has_broken)
        code = EXIT_INTERNAL;
    if (code == EXIT_DONE)
        code = map_move(m, now_ms);
    if (feeder_is_done(&m->feeder) && watch_is_done(&m->watch))
        m->fetch.has_order = false; /* all ids are there and sorted; none is waited for */
    if (code == EXIT_DONE)
        code = fetch_step(&m->fetch);
    if (code == EXIT_DONE && map_must_halt(m))
        code = map_halt(m);
    keep_last(m, now_ms, false);
    return code;
}

/* Waits for an answer, an item, a signal or a time. */
static int map_wait(struct map *m, uint64_t now_ms)
{
    struct pollfd fds[2];
    size_t count = 0;
    uint64_t next_ms =
        min_u64(min_u64(m->leave_ms, m->until_ms),
                min_u64(feeder_deadline_ms(&m->feeder), watch_deadline_ms(&m->watch)));
    next_ms = min_u64(next_ms, m->is_detached ? NEVER_MS : why_deadline_ms(&m->why));
    if (m->bar.is_on)
        next_ms = min_u64(next_ms, now_ms + 500);
    int wait_ms = next_ms == NEVER_MS ? -1 : (int)min_u64(sub_sat_u64(next_ms, now_ms) + 1, 60000);
    int input = feeder_fd(&m->feeder, map_room(m));
    if (m->interrupt_fd >= 0)
        fds[count++] = (struct pollfd){.fd = m->interrupt_fd, .events = POLLIN};
    if (input >= 0)
        fds[count++] = (struct pollfd){.fd = input, .events = POLLIN};
    stint_poll(m->cli->stint, fds, count, wait_ms);
    if (input >= 0 && fds[count - 1].revents != 0) {
        int error = items_read(&m->items);
        if (error != 0)
            return cli_usage(m->cli, "cannot read the items: %s", strerror(error));
    }
    return EXIT_DONE;
}

static int map_loop(struct map *m)
{
    int code = EXIT_DONE;
    while (code == EXIT_DONE) {
        uint64_t now_ms = clock_mono_ms();
        code = map_turn(m, now_ms);
        if (code != EXIT_DONE || map_is_done(m))
            break;
        if (!m->is_detached) {
            uint64_t total = m->feeder.is_ended ? m->feeder.taken : 0;
            why_step(&m->why, &m->watch.open, m->watch.told, now_ms);
            bar_update(&m->bar, m->watch.told, total, m->failed, now_ms);
        }
        code = map_wait(m, now_ms);
    }
    keep_last(m, 0, true);
    bar_clear(&m->bar);
    return code;
}

/* Splits the arguments at ":::"; opens what the items come from. */
static int map_items(struct map *m, size_t *ret_argc)
{
    char **args = conf_args(m->cli->conf);
    size_t count = (size_t)conf_args_count(m->cli->conf);
    const char *file = conf_str(m->cli->conf, "arg-file");
    char separator = conf_flag(m->cli->conf, "null") ? '\0' : '\n';
    size_t argc = 0;
    while (argc < count && strcmp(args[argc], ":::") != 0)
        argc++;
    *ret_argc = argc;
    if (argc == 0)
        return cli_usage(m->cli, "which command? As in: stint map -- gzip {} ::: *.log");
    if (argc < count && file != NULL)
        return cli_usage(m->cli, "items come from ::: or from --arg-file, not from both");
    if (argc < count) {
        items_init_words(&m->items, args + argc + 1, count - argc - 1);
        return EXIT_DONE;
    }
    int fd = STDIN_FILENO;
    if (file != NULL && strcmp(file, "-") != 0) {
        fd = open(file, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return cli_usage(m->cli, "cannot open %s: %s", file, strerror(errno));
        m->file = fd;
    } else if (isatty(STDIN_FILENO)) {
        cli_say(m->cli, "reading items from the terminal, one a line; end with Ctrl-D");
    }
    items_init_fd(&m->items, fd, separator);
    return EXIT_DONE;
}

static void map_name(struct map *m)
{
    if (m->spec.options.name != NULL)
        return;
    struct rng rng = {clock_wall_ms() << 20 ^ (uint64_t)getpid()};
    snprintf(m->name, sizeof m->name, "map-%06llx",
             (unsigned long long)(rng_next(&rng) & 0xffffff));
    m->spec.options.name = m->name;
}

static void map_setup(struct map *m)
{
    const struct conf *c = m->cli->conf;
    uint64_t now_ms = clock_mono_ms();
    bool tag = conf_flag(c, "tag");
    bool order = conf_flag(c, "keep-order");
    m->spec.options.body_is_item = true;
    m->spec.options.mark = conf_str(c, "mark");
    m->jobs_max = conf_is_set(c, "jobs") ? conf_u64(c, "jobs") : NEVER_MS;
    m->until_ms = add_sat_u64(now_ms, conf_ms(c, "timeout"));
    m->leave_ms = NEVER_MS;
    if (conf_str(c, "halt") != NULL)
        map_halt_parse(conf_str(c, "halt"), &m->halt);
    bool is_fetched = tag || order || m->cli->is_json;
    feeder_init(&m->feeder, m->cli, &m->items, &m->spec);
    m->feeder.stored = batch_stored;
    m->feeder.arg = m;
    m->feeder.is_numbered = true;
    if (order) /* a batch that is refused must not be overtaken */
        m->feeder.window = 1;
    watch_init(&m->watch, m->cli, !is_fetched);
    m->watch.finished = job_finished;
    m->watch.arg = m;
    fetch_init(&m->fetch, m->cli, is_fetched && !m->is_detached, order, tag);
    why_init(&m->why, m->cli, now_ms);
    bar_init(&m->bar, isatty(STDERR_FILENO) && !m->cli->is_quiet && !m->cli->is_json, now_ms);
    m->cli->bar = &m->bar;
    m->interrupt_fd = interrupt_setup();
    stint_set_interrupt_fd(m->cli->stint, m->interrupt_fd);
}

static void map_report(struct map *m)
{
    if (m->failed > FAILED_NAMED_MAX)
        cli_say(m->cli, "%llu of %llu jobs did not succeed", (unsigned long long)m->failed,
                (unsigned long long)m->watch.told);
    if (m->cut > 0)
        cli_say(m->cli, "the output of %llu jobs was cut (--output-limit)",
                (unsigned long long)m->cut);
    if (m->watch.gone > 0) {
        cli_error(m->cli, STINT_NOT_FOUND, "%llu jobs are not known to the broker any more",
                  (unsigned long long)m->watch.gone);
        m->code = exit_worse(m->code, EXIT_NOTHING);
    }
}

static int run(struct cli *cli)
{
    struct map *m = calloc(1, sizeof *m);
    size_t argc = 0;
    if (m == NULL)
        return cli_error(cli, STINT_NO_MEMORY, "out of memory");
    m->cli = cli;
    m->file = -1;
    m->is_detached = conf_flag(cli->conf, "detach");
    int code = map_items(m, &argc);
    if (code == EXIT_DONE && !m->is_detached && conf_is_set(cli->conf, "keep") &&
        conf_ms(cli->conf, "keep") < 60000)
        code = cli_usage(cli, "--keep: map needs at least 1m, to fetch the results (or --detach)");
    if (code == EXIT_DONE)
        code = spec_read(cli, conf_args(cli->conf), argc, true, &m->spec);
    if (code == EXIT_DONE) {
        map_name(m);
        map_setup(m);
        code = map_loop(m);
        map_report(m);
        code = exit_worse(code, m->code);
        cli->bar = NULL;
        fetch_fini(&m->fetch);
        why_fini(&m->why);
        watch_fini(&m->watch);
        feeder_fini(&m->feeder);
        ids_fini(&m->all);
    }
    items_fini(&m->items);
    spec_fini(&m->spec);
    if (m->file >= 0)
        close(m->file);
    free(m);
    return cli_flush(cli, code);
}

const struct command command_map = {
    .name = "map",
    .summary = "one job for each item, outputs as they finish",
    .usage = "stint map [options] [--] COMMAND [ARGUMENT...] [::: ITEM...]",
    .examples = examples,
    .notes =
        "In COMMAND: {} the item, {.} without its extension, {/} its last path component, {//} "
        "its directory,\n{/.} the last component without extension, {#} the number of the "
        "item.\nCtrl-C stops reading and leaves the jobs running; twice cancels them.",
    .tables = tables,
    .mode = CONF_ARGS_OPTIONS_FIRST,
    .run = run,
};
