/* SPDX-License-Identifier: MPL-2.0 */
/* spawn.c - see spawn.h. The keeper has one thread, so the child may use all of libc until exec.
 * The order in the child matters: the parent-death signal before anything that can block, the
 * directory before the files, the descriptors last. */
#include "worker/keeper/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/base/memory.h"

#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND 127
#define FALLBACK_PATH "/usr/local/bin:/usr/bin:/bin"

/* Descriptors of one start; -1 where there is none. */
struct spawn_pipes {
    int output_read[2];
    int output_write[2];
    int error_read;
    int error_write;
};

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static NORETURN void child_fail(int error_fd, int exit_code, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static NORETURN void child_fail(int error_fd, int exit_code, const char *fmt, ...)
{
    struct spawn_failure failure = {.exit_code = exit_code};
    int saved = errno;
    va_list args;
    va_start(args, fmt);
    vsnprintf(failure.reason, sizeof failure.reason, fmt, args);
    va_end(args);
    size_t used = strlen(failure.reason);
    snprintf(failure.reason + used, sizeof failure.reason - used, ": %s", strerror(saved));
    ssize_t written = write(error_fd, &failure, sizeof failure);
    (void)written; /* the exit code says it too */
    _exit(exit_code);
}

static void child_reset_signals(void)
{
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL); /* fails for KILL and STOP, which is fine */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_open_file(const char *path, int error_fd)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY | O_CLOEXEC, 0666);
    if (fd < 0)
        child_fail(error_fd, EXIT_NOT_EXECUTABLE, "cannot write to '%.200s'", path);
    return fd;
}

static void child_set_descriptors(const struct spawn_request *r, const struct spawn_pipes *p)
{
    int in = r->input_fd >= 0 ? r->input_fd : open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out[2];
    for (size_t i = 0; i < 2; i++) {
        bool same = i == 1 && r->files[0] != NULL && r->files[1] != NULL &&
                    strcmp(r->files[0], r->files[1]) == 0;
        if (same)
            out[i] = out[0];
        else
            out[i] = r->files[i] != NULL ? child_open_file(r->files[i], p->error_write)
                                         : p->output_write[i];
    }
    int error_fd = p->error_write;
    if (in < 0 || dup2(in, STDIN_FILENO) < 0 || dup2(out[0], STDOUT_FILENO) < 0 ||
        dup2(out[1], STDERR_FILENO) < 0)
        child_fail(error_fd, EXIT_NOT_EXECUTABLE, "cannot set up the standard descriptors");
}

static const char *environment_find(char *const *envp, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; envp[i] != NULL; i++)
        if (strncmp(envp[i], name, n) == 0 && envp[i][n] == '=')
            return envp[i] + n + 1;
    return NULL;
}

/* Executes argv[0], looked up in the PATH of the new environment as execvp would in ours. Returns
 * only on failure, with errno. ENOEXEC is not given to a shell. */
static void child_exec(char **argv, char **envp)
{
    if (argv[0][0] == '\0') {
        errno = ENOENT;
        return;
    }
    if (strchr(argv[0], '/') != NULL) {
        execve(argv[0], argv, envp);
        return;
    }
    const char *path = environment_find(envp, "PATH");
    if (path == NULL || *path == '\0')
        path = FALLBACK_PATH;
    int result = ENOENT;
    for (const char *p = path; p != NULL;) {
        const char *end = strchr(p, ':');
        int size = end != NULL ? (int)(end - p) : (int)strlen(p);
        char file[PATH_MAX];
        int n = snprintf(file, sizeof file, "%.*s/%s", size > 0 ? size : 1, size > 0 ? p : ".",
                         argv[0]);
        p = end != NULL ? end + 1 : NULL;
        if (n < 0 || (size_t)n >= sizeof file)
            continue;
        execve(file, argv, envp);
        if (errno == EACCES)
            result = EACCES; /* worth saying only where no later directory has it */
        else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV &&
                 errno != ETIMEDOUT)
            return;
    }
    errno = result;
}

static NORETURN void child_run(const struct spawn_request *r, const struct spawn_pipes *p,
                               pid_t keeper)
{
    setsid();
    child_reset_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != keeper)
        _exit(EXIT_NOT_EXECUTABLE); /* the keeper died before the line above */
    if (r->cwd != NULL && chdir(r->cwd) != 0)
        child_fail(p->error_write, EXIT_NOT_EXECUTABLE, "cannot enter the directory '%.200s'",
                   r->cwd);
    child_set_descriptors(r, p);
    int error_fd = p->error_write;
    if (error_fd != STDERR_FILENO + 1) {
        dup3(error_fd, STDERR_FILENO + 1, O_CLOEXEC);
        error_fd = STDERR_FILENO + 1;
    }
    close_range((unsigned)error_fd + 1, ~0u, 0);
    child_exec(r->argv, r->envp);
    bool missing = errno == ENOENT || errno == ENOTDIR;
    child_fail(error_fd, missing ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, "cannot execute '%.200s'",
               r->argv[0]);
}

static void pipes_close(struct spawn_pipes *p)
{
    for (size_t i = 0; i < 2; i++) {
        close_if_open(p->output_read[i]);
        close_if_open(p->output_write[i]);
    }
    close_if_open(p->error_read);
    close_if_open(p->error_write);
}

/* The read end does not block; the write end is the job's and does. */
static bool pipe_open(int *ret_read, int *ret_write)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return false;
    *ret_read = fds[0];
    *ret_write = fds[1];
    return fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0;
}

int spawn_start(const struct spawn_request *request, struct spawn_child *ret_child)
{
    struct spawn_pipes p = {{-1, -1}, {-1, -1}, -1, -1};
    bool ok = pipe_open(&p.error_read, &p.error_write);
    for (size_t i = 0; ok && i < 2; i++)
        if (request->files[i] == NULL)
            ok = pipe_open(&p.output_read[i], &p.output_write[i]);
    pid_t keeper = getpid();
    pid_t pid = ok ? fork() : -1;
    if (pid < 0) {
        int saved = errno;
        pipes_close(&p);
        errno = saved;
        return -1;
    }
    if (pid == 0)
        child_run(request, &p, keeper);
    close_if_open(p.output_write[0]);
    close_if_open(p.output_write[1]);
    close(p.error_write);
    *ret_child = (struct spawn_child){
        .pid = pid, .output_fds = {p.output_read[0], p.output_read[1]}, .error_fd = p.error_read};
    return 0;
}

/* What a command may see of the worker's environment (names; LC_* as a prefix). */
static bool is_for_commands(const char *entry)
{
    static const char *const names[] = {"PATH=", "HOME=", "USER=", "LANG=", "TZ=", "LC_"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strncmp(entry, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* What the service manager said to the worker alone (sd_notify(3), sd_listen_fds(3)). */
static bool is_for_the_worker_alone(const char *entry)
{
    static const char *const names[] = {"NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=",
                                        "LISTEN_FDS=",    "LISTEN_PID=",    "LISTEN_FDNAMES="};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strncmp(entry, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static void environment_put(char **envp, size_t *count, char *entry)
{
    const char *equals = strchr(entry, '=');
    if (equals == NULL)
        return;
    size_t name_bytes = (size_t)(equals - entry) + 1;
    for (size_t i = 0; i < *count; i++) {
        if (strncmp(envp[i], entry, name_bytes) == 0) {
            envp[i] = entry;
            return;
        }
    }
    envp[(*count)++] = entry;
}

char **spawn_environment(char *const *inherited, enum keeper_environment environment,
                         char *const *env, size_t env_count)
{
    size_t there = 0;
    while (inherited != NULL && inherited[there] != NULL)
        there++;
    char **envp = mem_realloc_array(NULL, there + env_count + 1, sizeof *envp);
    size_t count = 0;
    for (size_t i = 0; i < there; i++) {
        bool wanted = environment == KEEPER_ENVIRONMENT_WHOLE
                          ? !is_for_the_worker_alone(inherited[i])
                          : is_for_commands(inherited[i]);
        if (wanted)
            environment_put(envp, &count, inherited[i]);
    }
    for (size_t i = 0; i < env_count; i++)
        environment_put(envp, &count, env[i]);
    envp[count] = NULL;
    return envp;
}
