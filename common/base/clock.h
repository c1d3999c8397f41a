/* SPDX-License-Identifier: MPL-2.0 */
/* clock.h - the three clocks, in milliseconds. Only drivers read them; cores get time in events.
 *
 * mono: CLOCK_MONOTONIC, for deadlines of the broker. boot: CLOCK_BOOTTIME, which also counts a
 * suspended machine, for a worker's lease. wall: CLOCK_REALTIME since 1970 (UTC), for what people
 * read and for due times, never for leases. Thread-safe. */
#ifndef STINT_COMMON_BASE_CLOCK_H
#define STINT_COMMON_BASE_CLOCK_H

#include "common/base/base.h"

uint64_t clock_mono_ms(void);
uint64_t clock_boot_ms(void);
uint64_t clock_wall_ms(void);

#endif
