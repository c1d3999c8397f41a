/* SPDX-License-Identifier: MPL-2.0 */
/* memory.h - allocation for the daemons and the tools.
 *
 * mem_* never return NULL: where memory is gone they write one line to stderr and end the process
 * with 70 (_exit, nothing is flushed). A broker or worker that dies is a case that everything else
 * is built for; one that goes on half-informed is not. The client library uses plain malloc and
 * reports STINT_ENOMEM instead. Sizes are in bytes; freeing is free(3). */
#ifndef STINT_COMMON_BASE_MEMORY_H
#define STINT_COMMON_BASE_MEMORY_H

#include "common/base/base.h"

void *mem_alloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *mem_zalloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *p, size_t bytes) __attribute__((returns_nonnull));
/* count * each, checked for overflow. */
void *mem_realloc_array(void *p, size_t count, size_t each_bytes) __attribute__((returns_nonnull));
void *mem_dup(const void *p, size_t bytes) __attribute__((malloc, returns_nonnull));
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull));

#endif
