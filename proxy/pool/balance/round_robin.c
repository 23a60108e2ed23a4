/*
 * Smooth weighted round robin, worked out beforehand: a cycle in which each server stands as often
 * as its weight (reduced by the common divisor) says, evenly apart. One ticket, shared by all
 * workers and by all snapshots, says whose turn it is, so that any `cycle_len` picks in a row are
 * exact, however many workers took them.
 */
#include <stdlib.h>

#include "proxy/pool/balance/balance.h"
#include "shared/assert.h"

enum {
	CYCLE_MAX = 65536,
	WALK_MAX = 64 /* steps along the cycle past servers that are passed over */
};

static uint32_t gcd(uint32_t a, uint32_t b)
{
	while (b) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Weights divided by what they have in common; scaled down when the cycle would get too long. */
static uint32_t turns_of(const struct pool_view *v, unsigned i, uint32_t divisor, uint64_t total)
{
	uint32_t turns;

	ASSERT(divisor > 0);
	turns = v->usable[i].weight / divisor;
	if (total <= CYCLE_MAX)
		return turns;
	turns = (uint32_t)(turns * (uint64_t)(CYCLE_MAX - v->count) / total);
	return turns ? turns : 1;
}

static int by_place(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/*
 * The k-th of a server's n turns stands at (k + phase) / n of the way round. Phases go by the
 * golden ratio, which keeps servers of the same weight apart from each other too.
 */
static void lay_out(const struct pool_view *v, uint32_t divisor, uint64_t total, uint64_t *places)
{
	uint32_t at = 0;

	for (unsigned i = 0; i < v->count; i++) {
		uint32_t turns = turns_of(v, i, divisor, total);
		uint64_t phase = (i * UINT64_C(0x9e3779b97f4a7c15)) >> 32;

		for (uint32_t k = 0; k < turns; k++)
			places[at++] = (((uint64_t)k << 32 | phase) / turns) << 16 | i;
	}
	ASSERT(at == v->cycle_len);
	qsort(places, at, sizeof(*places), by_place);
}

static int prepare(struct pool_view *v)
{
	uint32_t divisor = 0;
	uint64_t total = 0, turns = 0, *places;

	for (unsigned i = 0; i < v->count; i++) {
		ASSERT(v->usable[i].weight >= 1);
		divisor = gcd(v->usable[i].weight, divisor);
		total += v->usable[i].weight;
	}
	total = divisor ? total / divisor : 0;
	for (unsigned i = 0; i < v->count; i++)
		turns += turns_of(v, i, divisor, total);
	ASSERT(turns <= CYCLE_MAX && v->count <= SERVERS_MAX);
	v->cycle_len = (uint32_t)turns;
	v->cycle = malloc((turns + 1) * sizeof(*v->cycle));
	if (!v->cycle)
		return -1;
	if (turns == v->count) { /* all alike: in the order of the file */
		for (unsigned i = 0; i < v->count; i++)
			v->cycle[i] = (uint16_t)i;
		return 0;
	}
	places = malloc(turns * sizeof(*places));
	if (!places)
		return -1;
	lay_out(v, divisor, total, places);
	for (uint32_t i = 0; i < v->cycle_len; i++)
		v->cycle[i] = (uint16_t)places[i];
	free(places);
	return 0;
}

static int pick(const struct pool_view *v, const struct pick *what)
{
	uint64_t ticket =
		atomic_fetch_add_explicit(&v->pool->state->ticket, 1, memory_order_relaxed);
	uint32_t at = (uint32_t)(ticket % v->cycle_len);

	if (what->tried_count == 0 && what->limit == 0)
		return v->cycle[at];
	for (uint32_t step = 0; step < WALK_MAX; step++) {
		if (!passed_over(what, v->usable[v->cycle[at]].server))
			return v->cycle[at];
		at = at + 1 == v->cycle_len ? 0 : at + 1;
	}
	for (unsigned i = 0; i < v->count; i++)
		if (!passed_over(what, v->usable[i].server))
			return (int)i;
	return -1;
}

const struct balancer balance_round_robin = {prepare, pick};
