/*
 * How much of a pool's load may be retries: at most 20 % of the requests of the last ten seconds,
 * but 3 in any case, so that a pool with little traffic may retry too. What keeps a pool that is in
 * trouble from being asked three times as much.
 *
 * Ten counters of one second each, of requests and of retries, shared by all workers, without a
 * lock. A counter carries the second that it counts; whoever comes first in a new second starts it
 * anew. Counting costs one atomic addition. The window is the current second and the nine before.
 * Asking and counting are two steps: workers that ask at the same moment may together go over the
 * limit by one retry each, no more. Pure: the time is given.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BUDGET_SECONDS 10
#define BUDGET_SHARE 5 /* one retry for so many requests */
#define BUDGET_RETRIES_MIN 3

struct budget { /* all zero: nothing counted */
	/* The second in the upper half, the count in the lower. */
	_Atomic uint64_t requests[BUDGET_SECONDS], retries[BUDGET_SECONDS];
};

void budget_count_request(struct budget *b, uint64_t now_ns);
/* One more retry? Counts it when there is room for it. */
bool budget_take_retry(struct budget *b, uint64_t now_ns);
