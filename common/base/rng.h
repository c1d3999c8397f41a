/* SPDX-License-Identifier: MPL-2.0 */
/* rng.h - a small deterministic generator (SplitMix64: Steele, Lea, Flood 2014, "Fast splittable
 * pseudorandom number generators"). For jitter and simulation; never for secrets. */
#ifndef STINT_COMMON_BASE_RNG_H
#define STINT_COMMON_BASE_RNG_H

#include "common/base/base.h"

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* A number in [0, n); 0 where n is 0. The bias is below n / 2^64. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
    return n == 0 ? 0 : (uint64_t)(((__uint128_t)rng_next(r) * n) >> 64);
}

#endif
