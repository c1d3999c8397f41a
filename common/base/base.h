/* SPDX-License-Identifier: MPL-2.0 */
/* base.h - the few attributes and helpers that every file of stint may use.
 *
 * common/base depends on libc alone. Nothing in it knows what a job or a message is. */
#ifndef STINT_COMMON_BASE_BASE_H
#define STINT_COMMON_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRINTF_LIKE(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))
#define MUST_CHECK __attribute__((warn_unused_result))
#define UNUSED __attribute__((unused))
#define NORETURN __attribute__((noreturn))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The object that holds `member` at address `ptr`. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* a + b, or UINT64_MAX where that would overflow (deadlines: "never"). */
static inline uint64_t add_sat_u64(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t sub_sat_u64(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* "Never" for deadlines and "no limit" for bounds. */
#define NEVER_MS UINT64_MAX

#endif
