/* SPDX-License-Identifier: MPL-2.0 */
#include "common/base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static NORETURN void memory_gone(void)
{
    static const char text[] = "stint: out of memory\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
    _exit(70);
}

void *mem_alloc(size_t bytes)
{
    void *p = malloc(bytes > 0 ? bytes : 1);
    if (p == NULL)
        memory_gone();
    return p;
}

void *mem_zalloc(size_t bytes)
{
    void *p = calloc(1, bytes > 0 ? bytes : 1);
    if (p == NULL)
        memory_gone();
    return p;
}

void *mem_realloc(void *p, size_t bytes)
{
    void *q = realloc(p, bytes > 0 ? bytes : 1);
    if (q == NULL)
        memory_gone();
    return q;
}

void *mem_realloc_array(void *p, size_t count, size_t each_bytes)
{
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, each_bytes, &bytes))
        memory_gone();
    return mem_realloc(p, bytes);
}

void *mem_dup(const void *p, size_t bytes)
{
    void *q = mem_alloc(bytes);
    if (bytes > 0)
        memcpy(q, p, bytes);
    return q;
}

char *mem_strdup(const char *s)
{
    return mem_dup(s, strlen(s) + 1);
}
