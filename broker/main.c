/* SPDX-License-Identifier: MPL-2.0 */
/* main.c - stint-broker: options, lock, store, sockets, then the driver's loop.
 *
 * Exit codes: 0 clean stop, 2 usage or bad configuration, 65 damaged store, 74 storage error, 75
 * another broker holds the directory or the store, 98 address in use. */
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "broker/driver.h"
#include "common/base/log.h"
#include "common/conf/conf.h"

#define EXIT_USAGE 2
#define STORE_FILE "stint.db"
#define PATH_BYTES 512

static const struct conf_option broker_options[] = {
    {"bind", 0, CONF_LIST, "STINT_BIND", "bind", NULL, "ADDRESS",
     "serve at ipc://DIRECTORY or tcp://HOST:PORT (PORT, PORT+1 and PORT+2 are used); may be "
     "repeated; default: the user's state directory, for root ipc:///run/stint",
     "Addresses", 0, 0, NULL, NULL},
    {"control", 0, CONF_STRING, "STINT_CONTROL", "control", NULL, "ADDRESS",
     "where shutdown and log level are asked for; default: the ipc directory", "Addresses", 0, 0,
     NULL, NULL},
    {"insecure", 0, CONF_FLAG, NULL, "insecure", NULL, NULL,
     "allow an address that other machines can reach, without authentication or encryption",
     "Addresses", 0, 0, NULL, NULL},
    {"store", 0, CONF_STRING, "STINT_STORE", "store", NULL, "URL",
     "sqlite:PATH, or memory: (nothing survives the process); default: stint.db in the ipc "
     "directory, for root in /var/lib/stint",
     "Store", 0, 0, NULL, NULL},
    {"reserve", 0, CONF_SIZE, NULL, "reserve", "64M", "SIZE",
     "free space of the store's file system below which submits are refused", "Store", 0, 0, NULL,
     NULL},
    {"lease", 0, CONF_DURATION, NULL, "lease", "30s", "TIME",
     "how long a silent worker keeps its jobs", "Workers", 400, 86400000, NULL, NULL},
    {"interval", 0, CONF_DURATION, NULL, "interval", "1s", "TIME",
     "shortest time between two heartbeats of a worker; at most a quarter of the lease", "Workers",
     50, 10000, NULL, NULL},
    {"away", 0, CONF_DURATION, NULL, "away", "2m", "TIME",
     "how long a planned stop may take: leases last that much longer", "Workers", 0, 86400000, NULL,
     NULL},
    {"keep", 0, CONF_DURATION, NULL, "keep", "24h", "TIME", "how long a succeeded job is kept",
     "Limits", 0, 0, NULL, NULL},
    {"keep-failed", 0, CONF_DURATION, NULL, "keep-failed", "7d", "TIME",
     "how long a failed job is kept", "Limits", 0, 0, NULL, NULL},
    {"queue-jobs", 0, CONF_U64, NULL, "queue-jobs", "1000000", "N",
     "unfinished jobs that one queue takes", "Limits", 1, 100000000, NULL, NULL},
    {"payload-memory", 0, CONF_SIZE, NULL, "payload-memory", "1G", "SIZE",
     "payloads of all unfinished jobs together", "Limits", 1048576, 0, NULL, NULL},
    {"log-level", 0, CONF_CHOICE, "STINT_LOG_LEVEL", "log-level", "info", "LEVEL",
     "error, warn, info or debug", "Logging", 0, 0, "error|warn|info|debug", NULL},
    {"log-format", 0, CONF_CHOICE, NULL, "log-format", "logfmt", "FORMAT", "logfmt or json",
     "Logging", 0, 0, "logfmt|json", NULL},
    {"check-config", 0, CONF_FLAG, NULL, NULL, NULL, NULL,
     "check the options and exit: 0 good, 2 bad", "Logging", 0, 0, NULL, NULL},
    {NULL, 0, CONF_FLAG, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL},
};

static const struct conf_example broker_examples[] = {
    {"stint-broker", "serve this user, store in the user's state directory"},
    {"stint-broker --bind ipc:///srv/stint", "sockets, store and lock in one directory"},
    {"stint-broker --bind tcp://0.0.0.0:5870 --insecure", "serve a private network"},
    {NULL, NULL},
};

static char version_text[128];

static const struct conf_program broker_program = {
    .name = "stint-broker",
    .summary = "Keeps jobs on disk and gives them to workers.",
    .usage = "stint-broker [OPTION]...",
    .examples = broker_examples,
    .notes = "SIGTERM or SIGINT stops this broker only: workers keep their jobs and the next start "
             "takes\nthem over. 'stint shutdown' stops the pool.\n\n"
             "Exit codes: 0 clean stop, 2 usage, 65 damaged store, 74 storage error, 75 another "
             "broker\nholds the directory or the store, 98 address in use.",
    .version = version_text,
};

struct plan {
    struct sockets_config sockets;
    struct driver_config driver;
    char store[PATH_BYTES];
    char control[ENDPOINT_BYTES_MAX];
};

static int plan_binds(struct plan *p, const struct conf *c, struct error *e)
{
    size_t n = conf_count(c, "bind");
    if (n > BINDS_MAX)
        return error_set(e, EXIT_USAGE, "--bind: at most %d addresses", BINDS_MAX);
    for (size_t i = 0; i < n; i++) {
        struct net_address *a = &p->sockets.binds[i];
        if (net_address_parse(conf_item(c, "bind", i), PROTO_PORT_DEFAULT, a, e) != 0)
            return error_prefix(e, "--bind");
        if (!net_address_is_local(a) && !conf_flag(c, "insecure"))
            return error_set(e, EXIT_USAGE,
                             "--bind %s: other machines could reach it without authentication; "
                             "add --insecure if the network is private",
                             conf_item(c, "bind", i));
    }
    p->sockets.bind_count = n;
    if (n > 0)
        return 0;
    struct net_address list[NET_DEFAULTS_MAX];
    if (net_address_defaults(list) == 0)
        return error_set(e, EXIT_USAGE,
                         "no default directory: neither XDG_STATE_HOME nor HOME is set; give "
                         "--bind ipc://DIRECTORY");
    p->sockets.binds[0] = list[0];
    p->sockets.bind_count = 1;
    return 0;
}

static int plan_control(struct plan *p, const struct conf *c, struct error *e)
{
    struct net_address *control = &p->sockets.control;
    struct net_address list[NET_DEFAULTS_MAX];
    if (conf_str(c, "control") != NULL) {
        if (net_address_parse(conf_str(c, "control"), PROTO_PORT_DEFAULT + 3, control, e) != 0)
            return error_prefix(e, "--control");
        if (!net_address_is_local(control) && !conf_flag(c, "insecure"))
            return error_set(e, EXIT_USAGE,
                             "--control %s: other machines could stop this broker; "
                             "add --insecure if the network is private",
                             conf_str(c, "control"));
    } else {
        size_t i = 0;
        while (i < p->sockets.bind_count && !p->sockets.binds[i].is_ipc)
            i++;
        if (i < p->sockets.bind_count)
            *control = p->sockets.binds[i];
        else if (net_address_defaults(list) > 0)
            *control = list[0];
        else
            return error_set(e, EXIT_USAGE, "no directory for the control socket; give --control");
    }
    net_address_text(control, p->control);
    return 0;
}

/* The default store: beside the sockets; for root's default directory, which does not outlive the
 * machine's run, in /var/lib/stint. */
static int plan_store(struct plan *p, const struct conf *c, struct error *e)
{
    const char *url = conf_str(c, "store");
    struct net_address list[NET_DEFAULTS_MAX];
    const struct net_address *a = NULL;
    for (size_t i = 0; i < p->sockets.bind_count && a == NULL; i++)
        if (p->sockets.binds[i].is_ipc)
            a = &p->sockets.binds[i];
    bool is_default = conf_count(c, "bind") == 0 || a == NULL;
    if (url != NULL)
        snprintf(p->store, sizeof p->store, "%s", url);
    else if (is_default && geteuid() == 0)
        snprintf(p->store, sizeof p->store, "sqlite:/var/lib/stint/%s", STORE_FILE);
    else if (a == NULL && net_address_defaults(list) > 0)
        snprintf(p->store, sizeof p->store, "sqlite:%s/%s", list[0].host, STORE_FILE);
    else
        snprintf(p->store, sizeof p->store, "sqlite:%s/%s", a != NULL ? a->host : ".", STORE_FILE);
    return store_url_check(p->store, e) == 0 ? 0 : error_prefix(e, "--store");
}

static int plan_make(struct plan *p, const struct conf *c, struct error *e)
{
    if (plan_binds(p, c, e) != 0 || plan_control(p, c, e) != 0 || plan_store(p, c, e) != 0)
        return -1;
    struct core_config *core = &p->driver.core;
    core_config_init(core);
    core->lease_ms = (uint32_t)conf_ms(c, "lease");
    core->interval_ms = (uint32_t)conf_ms(c, "interval");
    if ((uint64_t)core->interval_ms * 4 > core->lease_ms)
        return error_set(e, EXIT_USAGE, "--lease must be at least 4 times --interval (%u ms)",
                         core->interval_ms);
    core->margin_ms = core->lease_ms / 30 < 1000 ? core->lease_ms / 30 : 1000;
    core->away_ms = conf_ms(c, "away");
    core->keep_ms = conf_ms(c, "keep");
    core->keep_failed_ms = conf_ms(c, "keep-failed");
    core->queue_jobs_max = conf_u64(c, "queue-jobs");
    core->payload_bytes_max = conf_bytes(c, "payload-memory");
    core->store_reserve_bytes = conf_bytes(c, "reserve");
    p->driver.pressure_bytes = UINT64_C(256) << 20;
    p->driver.egress.version = STINT_VERSION;
    p->driver.egress.control = p->control;
    return 0;
}

/* As many descriptors as the system lets us have: each peer takes one. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int signals_open(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return -1;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int broker_serve(struct plan *p)
{
    struct error e = {0};
    struct store *store = NULL;
    struct sockets *sockets = NULL;
    int rc = EXIT_FAILURE;
    int signal_fd = signals_open();
    if (signal_fd < 0) {
        log_error("cannot watch signals: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    /* The store before the sockets: nobody is answered who could not be served. The lock of the
     * directory before the store: a second broker is told so in one sentence. */
    if (sockets_prepare(&p->sockets, &e) != 0 || store_open(p->store, &store, &e) != 0 ||
        sockets_open(&p->sockets, &sockets, &e) != 0) {
        log_error("%s", e.text);
        rc = e.status;
    } else {
        char address[ENDPOINT_BYTES_MAX];
        for (size_t i = 0; i < p->sockets.bind_count; i++) {
            net_address_text(&p->sockets.binds[i], address);
            log_info("serving at %s, store %s", address, store_url(store));
        }
        if (!store_is_durable(store))
            log_warn("the store is memory: NOTHING SURVIVES this process, no job and no result");
        p->driver.egress.store_url = store_url(store);
        p->driver.egress.workers_port = sockets_workers_port(sockets);
        p->driver.egress.results_port = sockets_results_port(sockets);
        rc = driver_run(&p->driver, sockets, store, signal_fd);
    }
    sockets_close(&sockets);
    store_close(&store);
    close(signal_fd);
    return rc;
}

int main(int argc, char **argv)
{
    struct error e = {0};
    int major = 0;
    int minor = 0;
    int patch = 0;
    zmq_version(&major, &minor, &patch);
    snprintf(version_text, sizeof version_text, STINT_VERSION "\nlibzmq %d.%d.%d\nsqlite %s", major,
             minor, patch, sqlite3_libversion());
    umask(077);
    struct conf *conf = conf_new(&broker_program);
    conf_add_options(conf, broker_options);
    int rc = EXIT_USAGE;
    struct plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL || conf_read(conf, argc, argv, CONF_ARGS_MIXED, &e) != 0) {
        fprintf(stderr, "stint-broker: %s\n", e.text);
    } else if (conf_answer(conf)) {
        rc = EXIT_SUCCESS;
    } else if (conf_args_count(conf) > 0) {
        fprintf(stderr, "stint-broker: unexpected argument '%s'; see stint-broker --help\n",
                conf_args(conf)[0]);
    } else if (plan_make(plan, conf, &e) != 0) {
        fprintf(stderr, "stint-broker: %s\n", e.text);
    } else if (conf_flag(conf, "check-config")) {
        rc = EXIT_SUCCESS;
    } else {
        enum log_level level = LOG_LEVEL_INFO;
        enum log_format format = LOG_FORMAT_LOGFMT;
        log_level_parse(conf_str(conf, "log-level"), &level);
        log_format_parse(conf_str(conf, "log-format"), &format);
        log_setup("stint-broker", level, format);
        raise_descriptors();
        rc = broker_serve(plan);
    }
    free(plan);
    conf_free(&conf);
    return rc;
}
