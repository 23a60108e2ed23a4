/*
 * The server with the fewest requests in flight for its weight, counted over all workers:
 * (in flight + waiting for it + failures of the last second + 1) / weight. Up to 64 servers all are
 * looked at; above that the better of two drawn at random, which is nearly as good and costs the
 * same for any number.
 *
 * Servers that tie take turns by weight. Whose turn it is comes from the shared ticket times the
 * golden ratio: over any set of tied servers this is as even as smooth weighted round robin,
 * without keeping a state for each server that workers would have to share.
 */
#include "proxy/pool/balance/balance.h"
#include "shared/assert.h"

enum { SCAN_MAX = 64 };

struct load { /* a fraction */
	uint64_t requests;
	uint32_t weight;
};

static struct load load_of(const struct member *m, uint64_t now_ns)
{
	return (struct load){server_load(m->server, now_ns) + 1, m->weight};
}

/* Below 0: a carries less than b. */
static int compare(struct load a, struct load b)
{
	uint64_t x = a.requests * b.weight, y = b.requests * a.weight;

	return (x > y) - (x < y);
}

static int take_turns(
	const struct pool_view *v, const uint8_t *tied, unsigned count, uint32_t weight)
{
	uint64_t ticket =
		atomic_fetch_add_explicit(&v->pool->state->ticket, 1, memory_order_relaxed);
	uint64_t turn = (((ticket * UINT64_C(0x9e3779b97f4a7c15)) >> 32) * weight) >> 32;

	ASSERT(turn < weight);
	for (unsigned i = 0; i < count; i++) {
		uint32_t own = v->usable[tied[i]].weight;

		if (turn < own)
			return tied[i];
		turn -= own;
	}
	ASSERT(!"the weights of the tied servers do not add up");
	return -1;
}

static int pick_of_all(const struct pool_view *v, const struct pick *what)
{
	uint8_t tied[SCAN_MAX];
	unsigned count = 0;
	uint32_t weight = 0;
	struct load least = {0, 1};

	for (unsigned i = 0; i < v->count; i++) {
		struct load load = load_of(&v->usable[i], what->now_ns);
		int order = count ? compare(load, least) : -1;

		if (order > 0 || passed_over(what, v->usable[i].server))
			continue;
		if (order < 0) {
			least = load;
			count = 0;
			weight = 0;
		}
		tied[count++] = (uint8_t)i;
		weight += v->usable[i].weight;
	}
	if (count <= 1)
		return count ? tied[0] : -1;
	return take_turns(v, tied, count, weight);
}

/* The first from `at` on, round the view, that is not passed over; -1 when there is none. */
static int free_from(const struct pool_view *v, const struct pick *what, unsigned at)
{
	for (unsigned i = 0; i < v->count; i++) {
		if (!passed_over(what, v->usable[at].server))
			return (int)at;
		at = at + 1 == v->count ? 0 : at + 1;
	}
	return -1;
}

static int pick_of_two(const struct pool_view *v, const struct pick *what)
{
	unsigned first = (unsigned)rng_below(what->rng, v->count);
	/* The second is another one: a distance of 1 to count - 1. */
	unsigned second = (first + 1 + (unsigned)rng_below(what->rng, v->count - 1)) % v->count;
	int a = free_from(v, what, first), b;

	if (a < 0)
		return -1;
	b = free_from(v, what, second);
	if (b < 0) /* another worker has just taken the last slot that was left */
		return a;
	return compare(load_of(&v->usable[b], what->now_ns), load_of(&v->usable[a], what->now_ns)) <
			       0
		       ? b
		       : a;
}

static int pick(const struct pool_view *v, const struct pick *what)
{
	return v->count <= SCAN_MAX ? pick_of_all(v, what) : pick_of_two(v, what);
}

const struct balancer balance_least_requests = {NULL, pick};
