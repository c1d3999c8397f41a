/* SPDX-License-Identifier: MPL-2.0 */
/* options.c - the options of all commands, and those of a job. */
#include "client/cli/cli.h"

static bool check_name(const char *value, const char **ret_why)
{
    struct view v = view_str(value);
    *ret_why = "expected UTF-8 text of at most 128 bytes";
    return v.size <= 128 && view_is_utf8(v);
}

static bool check_queue(const char *value, const char **ret_why)
{
    size_t length = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._-");
    *ret_why = "expected 1 to 64 letters, digits, '.', '_' and '-'";
    return length >= 1 && length <= 64 && value[length] == '\0';
}

static bool check_variable(const char *value, const char **ret_why)
{
    struct view name;
    struct view rest;
    *ret_why = "expected NAME=VALUE or NAME";
    view_cut(view_str(value), '=', &name, &rest);
    return name.size > 0 && view_is_utf8(name);
}

const struct conf_option options_general[] = {
    {.name = "broker",
     .kind = CONF_STRING,
     .env = "STINT_BROKER",
     .key = "broker",
     .metavar = "ADDRESS",
     .help =
         "ipc://DIRECTORY or tcp://HOST:PORT of the broker [default: the user's directory, then "
         "/run/stint]",
     .group = "General"},
    {.name = "json",
     .kind = CONF_FLAG,
     .help = "print JSON: one object, or one a line; errors too",
     .group = "General"},
    {.name = "quiet",
     .letter = 'q',
     .kind = CONF_FLAG,
     .key = "quiet",
     .help = "no remarks and no bar on stderr; errors are printed",
     .group = "General"},
    {.name = "color",
     .kind = CONF_CHOICE,
     .key = "color",
     .value_default = "auto",
     .choices = "auto|always|never",
     .help = "colour on a terminal; $NO_COLOR turns it off",
     .group = "General"},
    {.name = "connect-timeout",
     .kind = CONF_DURATION,
     .key = "connect-timeout",
     .value_default = "5s",
     .metavar = "TIME",
     .help = "how long to try to reach a broker",
     .group = "General",
     .min = 1,
     .max = 86400000},
    {.name = "reconnect-timeout",
     .kind = CONF_DURATION,
     .key = "reconnect-timeout",
     .value_default = "5m",
     .metavar = "TIME",
     .help = "how long to wait for a broker that was lost while waiting",
     .group = "General",
     .min = 1,
     .max = NEVER_MS},
    {.name = NULL},
};

const struct conf_option options_job[] = {
    {.name = "queue",
     .kind = CONF_STRING,
     .env = "STINT_QUEUE",
     .key = "queue",
     .value_default = "default",
     .metavar = "QUEUE",
     .help = "the queue that takes the jobs",
     .group = "Job",
     .check = check_queue},
    {.name = "priority",
     .kind = CONF_U64,
     .value_default = "5",
     .metavar = "0..9",
     .help = "higher first; in order of submission inside one priority of one queue",
     .group = "Job",
     .min = 0,
     .max = 9},
    {.name = "time-limit",
     .kind = CONF_DURATION,
     .value_default = "none",
     .metavar = "TIME",
     .help = "run time of one attempt; then its whole process tree is ended",
     .group = "Job",
     .min = 1,
     .max = NEVER_MS},
    {.name = "retries",
     .kind = CONF_U64,
     .value_default = "0",
     .metavar = "N",
     .help = "further attempts after a failure (a lost worker is counted by --crash-limit)",
     .group = "Job",
     .min = 0,
     .max = 1000},
    {.name = "retry-delay",
     .kind = CONF_DURATION,
     .metavar = "TIME",
     .help = "wait before a further attempt [default: 1 s, 2 s, 4 s, ... up to 300 s, with jitter]",
     .group = "Job",
     .min = 0,
     .max = UINT32_MAX},
    {.name = "crash-limit",
     .kind = CONF_U64,
     .value_default = "3",
     .metavar = "N",
     .help = "attempts that may end because the worker was lost, even with --retries 0; 1 = never "
             "run again after a lost worker",
     .group = "Job",
     .min = 1,
     .max = 1000},
    {.name = "name",
     .kind = CONF_STRING,
     .metavar = "NAME",
     .help = "a label, to be found again with list --name",
     .group = "Job",
     .check = check_name},
    {.name = "env",
     .kind = CONF_LIST,
     .metavar = "K[=V]",
     .help = "set a variable of the command's environment; without =V copy it from here",
     .group = "Job",
     .check = check_variable},
    {.name = "cwd",
     .kind = CONF_STRING,
     .metavar = "DIR",
     .help = "working directory of the command [default: the present one]",
     .group = "Job"},
    {.name = "stdout",
     .kind = CONF_STRING,
     .metavar = "FILE",
     .help = "the worker writes the command's stdout to this file on its machine",
     .group = "Job"},
    {.name = "stderr",
     .kind = CONF_STRING,
     .metavar = "FILE",
     .help = "the same for stderr",
     .group = "Job"},
    {.name = "keep",
     .kind = CONF_DURATION,
     .metavar = "TIME",
     .help = "how long the finished job is kept [default: 24h, 7d where it failed]",
     .group = "Job"},
    {.name = "output-limit",
     .kind = CONF_SIZE,
     .value_default = "1M",
     .metavar = "SIZE",
     .help = "captured output of each stream; of more, the head and the tail are kept",
     .group = "Job",
     .min = 0,
     .max = 64U << 20},
    {.name = NULL},
};
