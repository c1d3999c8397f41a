/* SPDX-License-Identifier: MPL-2.0 */
/* main.c - `stint`: finds the command, reads the options, opens the library, runs the command.
 *
 * General options may stand before or after the command. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "common/base/memory.h"

static const struct command *const commands[] = {
    &command_submit, &command_run,     &command_map,  &command_wait,
    &command_show,   &command_result,  &command_list, &command_cancel,
    &command_status, &command_workers, &command_ping, &command_shutdown,
};

static const struct conf_example examples[] = {
    {"stint run -- make test", "run it on a worker as if it were here"},
    {"find . -name '*.png' | stint map -- optipng {}", "one job for each file"},
    {"stint submit -- ./nightly.sh && stint wait last", "put it in the queue, wait later"},
    {NULL, NULL},
};

static const struct conf_option *const tables_known[] = {options_general, options_job, NULL};

static char *version_text(void)
{
    char zmq[32];
    char text[160];
    stint_zmq_version(zmq);
    snprintf(text, sizeof text, "%s (libstint %s, libzmq %s, jansson %s)", STINT_VERSION,
             stint_version(), zmq, jansson_version_str());
    return mem_strdup(text);
}

static struct conf_program program_of(const struct command *c, const char *version)
{
    struct conf_program p = {.name = "stint",
                             .summary = "\nThe client of the stint job broker.",
                             .usage = "stint [options] COMMAND [options] [arguments]",
                             .examples = examples,
                             .version = version,
                             .tables_known = tables_known};
    if (c != NULL) {
        p.summary = c->summary;
        p.usage = c->usage;
        p.examples = c->examples;
        p.notes = c->notes;
    }
    return p;
}

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int command_unknown(struct cli *cli, const char *name)
{
    const char *names[ARRAY_SIZE(commands)];
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        names[i] = commands[i]->name;
    const char *near = conf_nearest(name, names, ARRAY_SIZE(names));
    if (near != NULL)
        return cli_usage(cli, "unknown command '%.60s' (did you mean %s?)", name, near);
    return cli_usage(cli, "unknown command '%.60s' (see stint --help)", name);
}

static void commands_help(struct buf *out)
{
    buf_add_str(out, "\nCommands:\n");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        buf_addf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    buf_add_str(out, "\n'stint COMMAND --help' tells about one command.\n");
}

/* Without a command: help, version and settings; anything else is a usage error. */
static int main_alone(struct cli *cli)
{
    if (conf_flag(cli->conf, "help")) {
        struct buf out;
        buf_init(&out, 1 << 20);
        conf_help_add(cli->conf, &out);
        commands_help(&out);
        fwrite(out.data, 1, out.size, stdout);
        buf_fini(&out);
        return cli_flush(cli, EXIT_DONE);
    }
    if (conf_answer(cli->conf))
        return EXIT_DONE;
    return cli_usage(cli, "which command? See stint --help");
}

static void notice(void *arg, enum stint_notice kind, const char *text)
{
    struct cli *cli = arg;
    if (cli->command->is_control)
        return;
    uint64_t limit_ms = conf_ms(cli->conf, "reconnect-timeout");
    if (kind == STINT_NOTICE_BACK)
        cli_say(cli, "%s", text);
    else if (limit_ms == NEVER_MS)
        cli_say(cli, "%s; waiting until it is back", text);
    else
        cli_say(cli, "%s; waiting up to %llu s until it is back", text,
                (unsigned long long)(limit_ms / 1000));
}

static void cli_setup(struct cli *cli)
{
    const struct conf *c = cli->conf;
    const char *color = conf_str(c, "color");
    const char *no_color = getenv("NO_COLOR");
    bool is_auto = strcmp(color, "auto") == 0 && (no_color == NULL || no_color[0] == '\0');
    bool is_always = strcmp(color, "always") == 0;
    cli->is_json = conf_flag(c, "json");
    cli->is_quiet = conf_flag(c, "quiet");
    cli->has_color_out = is_always || (is_auto && isatty(STDOUT_FILENO) != 0);
    cli->has_color_err = is_always || (is_auto && isatty(STDERR_FILENO) != 0);
    cli->is_run = cli->command == &command_run;
}

static int cli_open(struct cli *cli)
{
    bool waits = cli->command == &command_ping && conf_is_set(cli->conf, "wait");
    struct stint_config config = {
        .address = conf_str(cli->conf, "broker"),
        .client_name = "stint",
        .connect_timeout_ms = conf_ms(cli->conf, waits ? "wait" : "connect-timeout"),
        /* a shutdown is done when its broker is gone */
        .reconnect_timeout_ms =
            cli->command->is_control ? 500 : conf_ms(cli->conf, "reconnect-timeout"),
        .control = cli->command->is_control,
        .notice = notice,
        .notice_arg = cli,
    };
    cli->stint = stint_new(&config);
    if (cli->stint == NULL)
        return cli_error(cli, STINT_NO_MEMORY,
                         "cannot set up ZeroMQ: out of memory or descriptors");
    return EXIT_DONE;
}

/* Reads all arguments with the command's tables: those before the command, then those after it. */
static int command_args(struct cli *cli, int argc, char **argv, int at)
{
    struct error e;
    for (const struct conf_option *const *t = cli->command->tables; *t != NULL; t++)
        conf_add_options(cli->conf, *t);
    if (conf_parse_args(cli->conf, at, argv, CONF_ARGS_OPTIONS_FIRST, &e) < 0 ||
        conf_parse_args(cli->conf, argc - at - 1, argv + at + 1, cli->command->mode, &e) < 0 ||
        conf_load(cli->conf, &e) < 0)
        return cli_usage(cli, "%s", e.text);
    return EXIT_DONE;
}

static int command_run_all(struct cli *cli, int argc, char **argv, int at)
{
    cli->is_run = cli->command == &command_run;
    int code = command_args(cli, argc, argv, at);
    if (code != EXIT_DONE)
        return code;
    if (conf_answer(cli->conf))
        return EXIT_DONE;
    cli_setup(cli);
    if (cli->command->takes_no_arguments && conf_args_count(cli->conf) > 0)
        return cli_usage(cli, "unexpected argument '%.60s' (see stint %s --help)",
                         conf_args(cli->conf)[0], cli->command->name);
    code = cli_open(cli);
    return code != EXIT_DONE ? code : cli->command->run(cli);
}

/* Whether the user wants JSON, as far as that can be told while the arguments are not understood:
 * it decides the form of a usage error. */
static bool args_ask_for_json(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    char *version = version_text();
    struct conf_program program = program_of(NULL, version);
    struct cli cli = {.conf = conf_new(&program)};
    struct error e;
    argc -= argc > 0;
    argv++;
    conf_add_options(cli.conf, options_general);
    cli.is_json = args_ask_for_json(argc, argv);
    int code = EXIT_DONE;
    if (conf_parse_args(cli.conf, argc, argv, CONF_ARGS_OPTIONS_FIRST, &e) < 0) {
        code = cli_usage(&cli, "%s", e.text);
    } else if (conf_args_count(cli.conf) == 0) {
        code = conf_load(cli.conf, &e) < 0 ? cli_usage(&cli, "%s", e.text) : main_alone(&cli);
    } else {
        int at = argc - conf_args_count(cli.conf);
        cli.command = command_find(argv[at]);
        if (cli.command == NULL) {
            code = command_unknown(&cli, argv[at]);
        } else {
            conf_free(&cli.conf);
            program = program_of(cli.command, version);
            cli.conf = conf_new(&program);
            conf_add_options(cli.conf, options_general);
            code = command_run_all(&cli, argc, argv, at);
        }
    }
    stint_free(&cli.stint);
    conf_free(&cli.conf);
    free(version);
    return code;
}
