/* SPDX-License-Identifier: MPL-2.0 */
/* main.c - stint-worker: options, and the order of the start.
 *
 * Signals are blocked and the keepers forked before anything of ZeroMQ exists: a fork of a process
 * with a context or threads would hand dead sockets to every job. */
#include <czmq.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/conf/conf.h"
#include "worker/driver.h"

#define EXIT_USAGE 2
#define EXIT_INTERNAL 70
#define GRACE_DEFAULT "30s"

static bool check_queue(const char *value, const char **ret_why)
{
    *ret_why = "a queue is 1 to 64 of A-Z a-z 0-9 . _ -";
    return queue_name_is_valid(view_str(value));
}

static bool check_name(const char *value, const char **ret_why)
{
    *ret_why = "a name is 1 to 128 bytes of UTF-8";
    size_t n = strlen(value);
    return n > 0 && n <= PROTO_NAME_BYTES_MAX && view_is_utf8(view_str(value));
}

static uint32_t processor_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

/* "4", or "50%" of the processors that this process may use, at least 1. */
static bool slots_parse(const char *value, uint32_t *ret)
{
    size_t n = strlen(value);
    bool is_share = n > 0 && value[n - 1] == '%';
    uint64_t number = 0;
    if (!view_u64(view_of(value, is_share ? n - 1 : n), &number) || number == 0 || number > 100000)
        return false;
    if (is_share)
        number = max_u64(number * processor_count() / 100, 1);
    *ret = (uint32_t)number;
    return number <= PROTO_SLOTS_MAX;
}

static bool check_slots(const char *value, const char **ret_why)
{
    uint32_t slots = 0;
    *ret_why = "expected 1 to 1024, or a share of the processors such as 50%";
    return slots_parse(value, &slots);
}

static const struct conf_option options[] = {
    {.name = "broker",
     .kind = CONF_STRING,
     .env = "STINT_BROKER",
     .key = "broker",
     .metavar = "ADDRESS",
     .help =
         "ipc://DIRECTORY or tcp://HOST:PORT of the broker [default: the user's directory, then "
         "/run/stint]",
     .group = "Worker"},
    {.name = "queue",
     .letter = 'q',
     .kind = CONF_WORDS,
     .env = "STINT_QUEUE",
     .key = "queue",
     .value_default = "default",
     .metavar = "QUEUE",
     .help = "queues to take jobs from, the preferred first; may be repeated",
     .group = "Worker",
     .check = check_queue},
    {.name = "slots",
     .letter = 'j',
     .kind = CONF_STRING,
     .key = "slots",
     .value_default = "100%",
     .metavar = "N|N%",
     .help = "jobs at the same time, or a share of the processors",
     .group = "Worker",
     .check = check_slots},
    {.name = "allow-commands",
     .kind = CONF_FLAG,
     .key = "allow-commands",
     .help =
         "run command jobs also from a tcp address or a directory that others may write to, and "
         "beside PROGRAM",
     .group = "Worker"},
    {.name = "grace",
     .kind = CONF_DURATION,
     .key = "grace",
     .value_default = GRACE_DEFAULT,
     .metavar = "TIME",
     .help = "how long running jobs may go on after SIGTERM before they are given back",
     .group = "Worker"},
    {.name = "name",
     .kind = CONF_STRING,
     .key = "name",
     .metavar = "NAME",
     .help = "name of this worker for people [default: HOST:PID]",
     .group = "Worker",
     .check = check_name},
    {.name = "log-level",
     .kind = CONF_CHOICE,
     .key = "log-level",
     .value_default = "info",
     .choices = "error|warn|info|debug",
     .help = "what is worth a line on stderr",
     .group = "Log"},
    {.name = "log-format",
     .kind = CONF_CHOICE,
     .key = "log-format",
     .value_default = "logfmt",
     .choices = "logfmt|json",
     .help = "how a line looks",
     .group = "Log"},
    {.name = NULL},
};

static const struct conf_example examples[] = {
    {"stint-worker", "run command jobs of this machine's broker, one on each processor"},
    {"stint-worker -q mail,default -j 8", "eight at a time, mail first"},
    {"stint-worker -q images -- ./resize --to 640", "run ./resize for each payload, on its stdin"},
    {NULL, NULL},
};

static char version_text[128];

static const struct conf_program program = {
    .name = "stint-worker",
    .summary = "Takes jobs from a stint broker and runs them.",
    .usage = "stint-worker [options] [-- PROGRAM ARG…]",
    .examples = examples,
    .notes =
        "Signals: TERM finishes running jobs within the grace and leaves, a second TERM or INT "
        "gives\nthem back at once; USR1 takes no more jobs. With PROGRAM the worker runs it "
        "for each payload\njob, without PROGRAM it runs command jobs.",
    .version = version_text,
};

static void version_init(void)
{
    int major = 0;
    int minor = 0;
    int patch = 0;
    zmq_version(&major, &minor, &patch);
    snprintf(version_text, sizeof version_text, "%s\nlibzmq %d.%d.%d\nczmq %d.%d.%d", STINT_VERSION,
             major, minor, patch, CZMQ_VERSION_MAJOR, CZMQ_VERSION_MINOR, CZMQ_VERSION_PATCH);
}

static int identity_fill(const struct conf *conf, struct pool_config *pool, struct error *e)
{
    struct ready_header *ready = &pool->ready;
    const char *name = conf_str(conf, "name");
    char host[PROTO_NAME_BYTES_MAX + 1] = "";
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        snprintf(host, sizeof host, "localhost");
    memcpy(ready->host, host, sizeof ready->host);
    ready->pid = (uint32_t)getpid();
    if (name != NULL)
        snprintf(ready->name, sizeof ready->name, "%s", name);
    else
        snprintf(ready->name, sizeof ready->name, "%.*s:%u", PROTO_NAME_BYTES_MAX - 12, host,
                 ready->pid);
    snprintf(ready->containment, sizeof ready->containment, "keeper");
    if (getrandom(&pool->instance, sizeof pool->instance, 0) != (ssize_t)sizeof pool->instance)
        return error_set(e, EXIT_INTERNAL, "no random numbers");
    return 0;
}

static int queues_fill(const struct conf *conf, struct ready_header *ready, struct error *e)
{
    size_t count = conf_count(conf, "queue");
    if (count == 0 || count > PROTO_QUEUES_PER_WORKER_MAX)
        return error_set(e, EXIT_USAGE, "--queue: 1 to %d queues", PROTO_QUEUES_PER_WORKER_MAX);
    for (size_t i = 0; i < count; i++)
        snprintf(ready->queues[i], sizeof ready->queues[i], "%s", conf_item(conf, "queue", i));
    ready->queue_count = (uint32_t)count;
    return 0;
}

/* Which kinds of jobs are taken; a worker that would take none is a mistake. */
static int kinds_fill(const struct conf *conf, struct driver_config *config, struct error *e)
{
    struct ready_header *ready = &config->pool.ready;
    bool has_program = conf_args_count(conf) > 0;
    bool allows = conf_flag(conf, "allow-commands");
    if (has_program) {
        config->pool.handler_argv = (const char *const *)conf_args(conf);
        config->pool.handler_argc = (size_t)conf_args_count(conf);
        ready->kinds |= KIND_BIT(JOB_PAYLOAD);
    }
    bool is_guarded = true;
    for (size_t i = 0; i < config->address_count; i++)
        is_guarded = is_guarded && net_address_is_guarded(&config->addresses[i]);
    if (allows || (!has_program && is_guarded))
        ready->kinds |= KIND_BIT(JOB_COMMAND);
    if (ready->kinds != 0)
        return 0;
    char address[ENDPOINT_BYTES_MAX];
    net_address_text(&config->addresses[0], address);
    return error_set(e, EXIT_USAGE,
                     "nothing to run: name a program behind --, or say --allow-commands to run "
                     "whatever commands clients of %s submit",
                     address);
}

static int addresses_fill(const struct conf *conf, struct driver_config *config, struct error *e)
{
    const char *given = conf_str(conf, "broker");
    if (given != NULL) {
        config->address_count = 1;
        return net_address_parse(given, PROTO_PORT_DEFAULT, &config->addresses[0], e);
    }
    config->address_count = net_address_defaults(config->addresses);
    if (config->address_count == 0)
        return error_set(e, EXIT_USAGE,
                         "no default address: neither XDG_STATE_HOME nor HOME is "
                         "set; give --broker ADDRESS");
    return 0;
}

static int config_fill(const struct conf *conf, struct driver_config *config, struct error *e)
{
    if (addresses_fill(conf, config, e) != 0)
        return -1;
    config->pool.grace_ms = conf_ms(conf, "grace");
    config->pool.kill_grace_ms = KEEPER_GRACE_MS_DEFAULT;
    if (!slots_parse(conf_str(conf, "slots"), &config->pool.ready.slots))
        return error_set(e, EXIT_USAGE, "--slots: not a number of slots");
    if (identity_fill(conf, &config->pool, e) != 0 ||
        queues_fill(conf, &config->pool.ready, e) != 0)
        return -1;
    return kinds_fill(conf, config, e);
}

static void log_start(const struct conf *conf, const struct driver_config *config)
{
    enum log_level level = LOG_LEVEL_INFO;
    enum log_format format = LOG_FORMAT_LOGFMT;
    log_level_parse(conf_str(conf, "log-level"), &level);
    log_format_parse(conf_str(conf, "log-format"), &format);
    log_setup(program.name, level, format);
    const struct ready_header *ready = &config->pool.ready;
    log_info("stint-worker %s: %s, %u slots, %u queues, %s%s", STINT_VERSION, ready->name,
             ready->slots, ready->queue_count,
             (ready->kinds & KIND_BIT(JOB_COMMAND)) != 0 ? "commands" : "",
             (ready->kinds & KIND_BIT(JOB_PAYLOAD)) == 0   ? ""
             : (ready->kinds & KIND_BIT(JOB_COMMAND)) != 0 ? " and payloads"
                                                           : "payloads");
    for (size_t i = 0; i < config->address_count; i++) {
        char address[ENDPOINT_BYTES_MAX];
        net_address_text(&config->addresses[i], address);
        log_info("broker: %s", address);
    }
}

int main(int argc, char **argv)
{
    static struct driver_config config;
    struct error e = {0};
    version_init();
    struct conf *conf = conf_new(&program);
    conf_add_options(conf, options);
    if (conf_read(conf, argc, argv, CONF_ARGS_OPTIONS_FIRST, &e) != 0) {
        fprintf(stderr, "stint-worker: %s\n", e.text);
        conf_free(&conf);
        return EXIT_USAGE;
    }
    if (conf_answer(conf)) {
        conf_free(&conf);
        return 0;
    }
    if (config_fill(conf, &config, &e) != 0) {
        fprintf(stderr, "stint-worker: %s\n", e.text);
        conf_free(&conf);
        return e.status == EXIT_INTERNAL ? EXIT_INTERNAL : EXIT_USAGE;
    }
    int signal_fd = driver_signals(&e); /* before the first line that somebody may wait for */
    log_start(conf, &config);
    struct keeper_set *keepers =
        signal_fd >= 0 ? keeper_set_start(config.pool.ready.slots, &e) : NULL;
    int exit_code = EXIT_INTERNAL;
    if (keepers == NULL)
        log_error("%s", e.text);
    else
        exit_code = driver_run(&config, keepers, signal_fd);
    keeper_set_free(&keepers);
    conf_free(&conf);
    log_info("stopped with exit code %d", exit_code);
    return exit_code;
}
