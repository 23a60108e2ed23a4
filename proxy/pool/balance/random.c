/*
 * A server drawn at random, by weight.
 */
#include <stdlib.h>

#include "proxy/pool/balance/balance.h"
#include "shared/assert.h"

enum { DRAWS = 8 }; /* after so many that are passed over, the next in the view is taken */

/* table[i]: the weights of the servers up to and with i. */
static int prepare(struct pool_view *v)
{
	uint64_t *sums = malloc(v->count * sizeof(*sums)), sum = 0;

	if (!sums)
		return -1;
	for (unsigned i = 0; i < v->count; i++)
		sums[i] = sum += v->usable[i].weight;
	v->table = sums;
	return 0;
}

static unsigned draw(const struct pool_view *v, struct rng *rng)
{
	const uint64_t *sums = v->table;
	uint64_t at = rng_below(rng, sums[v->count - 1]);
	unsigned low = 0, high = v->count - 1;

	while (low < high) { /* the first whose sum is above `at` */
		unsigned middle = (low + high) / 2;

		if (sums[middle] > at)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static int pick(const struct pool_view *v, const struct pick *what)
{
	unsigned at = 0;

	for (unsigned i = 0; i < DRAWS; i++) {
		at = draw(v, what->rng);
		if (!passed_over(what, v->usable[at].server))
			return (int)at;
	}
	for (unsigned i = 0; i < v->count; i++) {
		if (!passed_over(what, v->usable[at].server))
			return (int)at;
		at = at + 1 == v->count ? 0 : at + 1;
	}
	return -1;
}

const struct balancer balance_random = {prepare, pick};
