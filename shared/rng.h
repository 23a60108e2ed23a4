/*
 * A seeded generator of random numbers (not for secrets): the same seed gives the same run.
 */
#pragma once

#include <stdint.h>

struct rng {
	uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_u64(struct rng *r);
/* Uniform in [0, bound); 0 when bound is 0. */
uint64_t rng_below(struct rng *r, uint64_t bound);
/* Random bytes of the kernel, for seeds, ids and keys; aborts when there are none. */
void random_bytes(void *out, uint32_t len);
