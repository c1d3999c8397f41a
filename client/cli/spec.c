/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/spec.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"

bool spec_is_shell_line(const char *word)
{
    if (strpbrk(word, " \t\n|&;<>()$`\\\"'*?[]#~!") == NULL)
        return false;
    return strchr(word, '/') == NULL || access(word, X_OK) != 0;
}

bool spec_is_injection(char **argv, size_t argc, const char *mark)
{
    static const char *const shells[] = {"sh", "bash", "dash", "zsh", "ksh"};
    if (argc < 3 || argv[1][0] != '-' || strchr(argv[1], 'c') == NULL)
        return false;
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash != NULL ? slash + 1 : argv[0];
    for (size_t i = 0; i < ARRAY_SIZE(shells); i++)
        if (strcmp(name, shells[i]) == 0)
            return strstr(argv[2], mark) != NULL;
    return false;
}

static int command_check(struct cli *cli, char **argv, size_t argc, bool is_map)
{
    if (argc == 1 && spec_is_shell_line(argv[0])) {
        bool is_words = strpbrk(argv[0], "|&;<>()$`\\\"'*?[]#~!\n") == NULL;
        const char *command = cli->command->name;
        if (is_words)
            return cli_usage(cli,
                             "the command is one word with spaces; write its words separately: "
                             "stint %s -- %s",
                             command, argv[0]);
        if (is_map)
            return cli_usage(cli, "no shell runs the command; to use one, write: "
                                  "stint map -- sh -c '... \"$1\"' _ {}");
        return cli_usage(cli,
                         "no shell runs the command; to use one, write: stint %s -- sh -c '%s'",
                         command, argv[0]);
    }
    const char *mark =
        is_map && conf_str(cli->conf, "mark") != NULL ? conf_str(cli->conf, "mark") : "{}";
    if (is_map && spec_is_injection(argv, argc, mark))
        cli_say(cli,
                "warning: %s inside the text of sh -c makes each item shell code; "
                "safer: sh -c '... \"$1\"' _ %s",
                mark, mark);
    return EXIT_DONE;
}

static int env_read(struct cli *cli, struct spec *s)
{
    size_t count = conf_count(cli->conf, "env");
    s->env = mem_zalloc((count + 1) * sizeof *s->env);
    for (size_t i = 0; i < count; i++) {
        const char *item = conf_item(cli->conf, "env", i);
        if (strchr(item, '=') != NULL) {
            s->env[i] = mem_strdup(item);
            continue;
        }
        const char *value = getenv(item);
        if (value == NULL) {
            s->env[i] = NULL;
            return cli_usage(cli, "--env %s: it is not set in this environment", item);
        }
        s->env[i] = mem_alloc(strlen(item) + strlen(value) + 2);
        sprintf(s->env[i], "%s=%s", item, value);
    }
    s->options.env = (const char *const *)(const void *)s->env;
    return EXIT_DONE;
}

/* The working directory, absolute: a directory that exists here is cleaned of symbolic dots. */
static int cwd_read(struct cli *cli, struct spec *s)
{
    const char *given = conf_str(cli->conf, "cwd");
    char here[PATH_MAX];
    if (given != NULL && given[0] == '/') {
        s->cwd = mem_strdup(given);
    } else {
        if (getcwd(here, sizeof here) == NULL)
            return cli_usage(cli, "the working directory cannot be read (%s); name one with --cwd",
                             strerror(errno));
        const char *rest = given != NULL ? given : "";
        s->cwd = mem_alloc(strlen(here) + strlen(rest) + 2);
        sprintf(s->cwd, "%s%s%s", here, rest[0] != '\0' ? "/" : "", rest);
        char *clean = given != NULL ? realpath(s->cwd, NULL) : NULL;
        if (clean != NULL) {
            free(s->cwd);
            s->cwd = clean;
        }
    }
    s->options.cwd = s->cwd;
    return EXIT_DONE;
}

static void numbers_read(const struct conf *c, struct stint_job_options *o)
{
    if (conf_is_set(c, "priority"))
        o->priority = conf_u64(c, "priority");
    if (conf_is_set(c, "retries"))
        o->retries = conf_u64(c, "retries");
    if (conf_is_set(c, "retry-delay"))
        o->retry_delay_ms = conf_ms(c, "retry-delay");
    if (conf_is_set(c, "crash-limit"))
        o->crash_limit = conf_u64(c, "crash-limit");
    if (conf_is_set(c, "time-limit"))
        o->time_limit_ms = conf_ms(c, "time-limit");
    if (conf_is_set(c, "keep"))
        o->keep_ms = conf_ms(c, "keep");
    if (conf_is_set(c, "output-limit"))
        o->output_limit_bytes = conf_bytes(c, "output-limit");
    o->name = conf_str(c, "name");
}

/* The files are the worker's; a relative name is meant from the job's directory. */
static void files_read(struct cli *cli, struct spec *s)
{
    static const char *const names[] = {"stdout", "stderr"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const char *given = conf_str(cli->conf, names[i]);
        if (given == NULL)
            continue;
        bool is_absolute = given[0] == '/';
        s->files[i] = mem_alloc(strlen(s->cwd) + strlen(given) + 2);
        sprintf(s->files[i], "%s%s%s", is_absolute ? "" : s->cwd, is_absolute ? "" : "/", given);
    }
    s->options.stdout_file = s->files[0];
    s->options.stderr_file = s->files[1];
}

int spec_read(struct cli *cli, char **argv, size_t argc, bool is_map, struct spec *ret)
{
    static const char *const command_only[] = {"env", "cwd", "stdout", "stderr"};
    *ret = (struct spec){.queue = conf_str(cli->conf, "queue")};
    stint_job_options_init(&ret->options);
    numbers_read(cli->conf, &ret->options);
    if (argc == 0) {
        for (size_t i = 0; i < ARRAY_SIZE(command_only); i++)
            if (conf_is_set(cli->conf, command_only[i]))
                return cli_usage(cli, "--%s needs a command", command_only[i]);
        return EXIT_DONE;
    }
    int code = command_check(cli, argv, argc, is_map);
    if (code == EXIT_DONE)
        code = env_read(cli, ret);
    if (code == EXIT_DONE)
        code = cwd_read(cli, ret);
    if (code == EXIT_DONE)
        files_read(cli, ret);
    ret->argv = mem_zalloc((argc + 1) * sizeof *ret->argv);
    for (size_t i = 0; i < argc; i++)
        ret->argv[i] = argv[i];
    ret->options.argv = ret->argv;
    return code;
}

void spec_fini(struct spec *s)
{
    for (size_t i = 0; s->env != NULL && s->env[i] != NULL; i++)
        free(s->env[i]);
    free(s->env);
    free(s->argv);
    free(s->cwd);
    free(s->files[0]);
    free(s->files[1]);
    *s = (struct spec){0};
}
