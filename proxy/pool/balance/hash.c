/*
 * The same key to the same server: weighted rendezvous. Each server's score for a key is -w /
 * ln(h), h in (0, 1) made of the key and the server's name; the highest wins. Nothing is kept and
 * nothing is shared: every worker and both nodes find the same server, and when one leaves only its
 * own keys move.
 *
 * No server has more than 1.5 times its share of what is in flight (but may always have two: one
 * user's requests that overlap for a moment, while there is little to do, stay together). A key
 * that is asked for more than that goes on to the server with the next score, the same for
 * everybody.
 *
 * A request without the key (no such cookie) goes where there is the least to do.
 */
#include <math.h>
#include <stdlib.h>

#include "proxy/pool/balance/balance.h"
#include "shared/assert.h"
#include "shared/map.h"

enum { ALWAYS = 2 }; /* in flight at one server */

struct names {
	bool equal; /* all weights are the same: h alone decides */
	uint64_t weight;
	uint64_t hashes[]; /* of the servers' names */
};

static int prepare(struct pool_view *v)
{
	static const uint64_t seed[2] = {
		UINT64_C(0x74616e64656d2d31), UINT64_C(0x72656e64657a766f)};
	struct names *n = malloc(sizeof(*n) + v->count * sizeof(n->hashes[0]));

	if (!n)
		return -1;
	n->equal = true;
	n->weight = 0;
	for (unsigned i = 0; i < v->count; i++) {
		n->hashes[i] = hash_bytes(span_of(v->usable[i].server->name), seed);
		n->weight += v->usable[i].weight;
		n->equal &= v->usable[i].weight == v->usable[0].weight;
	}
	v->table = n;
	return 0;
}

/* Every bit of the result depends on every bit of both (the finish of splitmix64). */
static uint64_t mix(uint64_t key, uint64_t name)
{
	uint64_t z = key ^ name;

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static double score_of(const struct pool_view *v, unsigned i, uint64_t key)
{
	const struct names *n = v->table;
	double h = ((double)(mix(key, n->hashes[i]) >> 11) + 0.5) * 0x1p-53;

	ASSERT(h > 0 && h < 1);
	/* -1 / ln(h) grows with h. */
	return n->equal ? h : -(double)v->usable[i].weight / log(h);
}

/* The highest below `below`; -1: there is none. */
static int next_best(
	const struct pool_view *v, const struct pick *what, double below, double *ret_score)
{
	int best = -1;

	for (unsigned i = 0; i < v->count; i++) {
		double score = score_of(v, i, what->key);

		if (score >= below || (best >= 0 && score <= *ret_score) ||
			passed_over(what, v->usable[i].server))
			continue;
		best = (int)i;
		*ret_score = score;
	}
	return best;
}

static uint64_t in_flight_at(const struct pool_view *v, int i)
{
	return atomic_load_explicit(&v->usable[i].server->in_flight, memory_order_relaxed);
}

/* One request more, and it has no more than 1.5 times its share of all. */
static bool has_room(const struct pool_view *v, int i, uint64_t in_flight)
{
	const struct names *n = v->table;
	uint64_t own = in_flight_at(v, i);

	/* Rounded up, so that there is always one with room. */
	return own < ALWAYS || own * 2 * n->weight < 3 * (in_flight + 1) * v->usable[i].weight;
}

static int pick(const struct pool_view *v, const struct pick *what)
{
	double score = 0, below = INFINITY;
	uint64_t in_flight = 0;
	int first, at;

	if (!what->has_key)
		return balance_least_requests.pick(v, what);
	first = next_best(v, what, below, &score);
	if (first < 0 || in_flight_at(v, first) < ALWAYS)
		return first;
	for (unsigned i = 0; i < v->count; i++)
		in_flight += in_flight_at(v, (int)i);
	for (at = first; at >= 0 && !has_room(v, at, in_flight);) {
		below = score;
		at = next_best(v, what, below, &score);
	}
	return at >= 0 ? at : first; /* those with room were all passed over */
}

const struct balancer balance_hash = {prepare, pick};
