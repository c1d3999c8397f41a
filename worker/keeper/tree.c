/* SPDX-License-Identifier: MPL-2.0 */
/* tree.c - a walk over all of /proc (children files are a kernel option and are not exact either).
 *
 * Process numbers are reused. A direct child's number is safe: only we reap it. For a deeper one
 * a pidfd is opened first and its parent read again after that, so a number that was reused in
 * between is either noticed or the signal goes to a pidfd of a dead process. */
#include "worker/keeper/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/memory.h"

struct process {
    pid_t pid;
    pid_t parent;
    char state;
    bool is_below; /* a descendant that is not spared */
};

struct process_table {
    struct process *rows; /* sorted by pid */
    size_t count;
    size_t capacity;
};

/* Reads state and parent from /proc/PID/stat: "PID (name) S PPID ..."; the name may hold anything,
 * so the last ')' counts. */
static bool process_read(pid_t pid, struct process *ret)
{
    char path[64];
    char text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    const char *p = strrchr(text, ')');
    int parent = 0;
    char state = '?';
    if (p == NULL || sscanf(p + 1, " %c %d", &state, &parent) != 2)
        return false;
    *ret = (struct process){.pid = pid, .parent = (pid_t)parent, .state = state};
    return true;
}

static int process_compare(const void *a, const void *b)
{
    const struct process *x = a;
    const struct process *y = b;
    return (x->pid > y->pid) - (x->pid < y->pid);
}

static bool table_read(struct process_table *t)
{
    DIR *dir = opendir("/proc");
    if (dir == NULL)
        return false;
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        if (d->d_name[0] < '1' || d->d_name[0] > '9')
            continue;
        struct process p;
        if (!process_read((pid_t)strtol(d->d_name, NULL, 10), &p))
            continue;
        if (t->count == t->capacity) {
            t->capacity = t->capacity > 0 ? t->capacity * 2 : 256;
            t->rows = mem_realloc_array(t->rows, t->capacity, sizeof *t->rows);
        }
        t->rows[t->count++] = p;
    }
    closedir(dir);
    if (t->count > 0)
        qsort(t->rows, t->count, sizeof *t->rows, process_compare);
    return true;
}

static bool pid_is_in(pid_t pid, const pid_t *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == pid)
            return true;
    return false;
}

static bool is_below(const struct process_table *t, pid_t pid)
{
    struct process key = {.pid = pid};
    const struct process *p =
        t->count > 0 ? bsearch(&key, t->rows, t->count, sizeof key, process_compare) : NULL;
    return p != NULL && p->is_below;
}

/* Marks children, then children of marked ones, until a pass marks nothing new. */
static void table_mark(struct process_table *t, pid_t self, const pid_t *spare, size_t spare_count)
{
    bool changed = true;
    while (changed) {
        changed = false;
        for (size_t i = 0; i < t->count; i++) {
            struct process *p = &t->rows[i];
            if (p->is_below)
                continue;
            bool child = p->parent == self && !pid_is_in(p->pid, spare, spare_count);
            if (child || is_below(t, p->parent)) {
                p->is_below = true;
                changed = true;
            }
        }
    }
}

static void process_signal(const struct process_table *t, const struct process *p, pid_t self,
                           int signal_number)
{
    if (p->parent == self) {
        kill(p->pid, signal_number);
        if (signal_number == SIGTERM)
            kill(p->pid, SIGCONT);
        return;
    }
    int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (fd < 0)
        return;
    struct process now;
    if (process_read(p->pid, &now) && (now.parent == self || is_below(t, now.parent))) {
        syscall(SYS_pidfd_send_signal, fd, signal_number, NULL, 0);
        if (signal_number == SIGTERM)
            syscall(SYS_pidfd_send_signal, fd, SIGCONT, NULL, 0);
    }
    close(fd);
}

int tree_signal(int signal_number, const pid_t *spare, size_t spare_count)
{
    struct process_table t = {0};
    pid_t self = getpid();
    if (!table_read(&t))
        return -1;
    table_mark(&t, self, spare, spare_count);
    int count = 0;
    for (size_t i = 0; i < t.count; i++) {
        if (!t.rows[i].is_below)
            continue;
        count++;
        if (signal_number != 0 && t.rows[i].state != 'Z')
            process_signal(&t, &t.rows[i], self, signal_number);
    }
    free(t.rows);
    return count;
}
