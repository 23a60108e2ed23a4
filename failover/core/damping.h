/*
 * How long a node that failed must be good before it counts again: 1 s, doubled by each further
 * failure, at most 60 s; a quiet time of twice the maximum forgets.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define DAMPING_FIRST_NS (UINT64_C(1000) * 1000000)
#define DAMPING_MAX_NS (UINT64_C(60000) * 1000000)
#define DAMPING_FORGET_NS (2 * DAMPING_MAX_NS)

struct damping {
	uint64_t hold_ns;   /* now in force; 0: never failed, or forgotten */
	uint64_t failed_ns; /* the last failure */
};

/* Each failure, once. */
void damping_failed(struct damping *d, uint64_t now_ns);
/* Good without a break since good_since_ns (0: not good): may it count again? */
bool damping_over(const struct damping *d, uint64_t good_since_ns, uint64_t now_ns);
