/*
 * The server that is likely to answer first: the mean time to its first byte x (1 + in flight) /
 * weight. Up to 64 servers all are looked at; above that the better of two drawn at random.
 *
 * The mean is exponential (server_answer_took() in server.h) and fades while nothing is heard: a
 * server that was slow is tried again some day. One that nobody has heard of yet is taken to be as
 * fast as the one it is compared with, so that it gets its share and no flood.
 */
#include "proxy/pool/balance/balance.h"
#include "shared/assert.h"

enum { SCAN_MAX = 64 };

struct promise { /* us is 0: not known */
	uint64_t us, requests;
	uint32_t weight;
};

static struct promise promise_of(const struct member *m, uint64_t now_ns)
{
	const struct server *s = m->server;

	return (struct promise){server_answer_us(s, now_ns), server_load(s, now_ns) + 1, m->weight};
}

static bool is_sooner(struct promise a, struct promise b)
{
	uint64_t a_us = a.us ? a.us : b.us ? b.us : 1, b_us = b.us ? b.us : a_us;

	/* Times are at most 2^32 us, requests and weights far below 2^32: the product of all may
	 * not fit into 64 bits. */
	return (unsigned __int128)a_us * a.requests * b.weight <
	       (unsigned __int128)b_us * b.requests * a.weight;
}

/* `count` of them from `from` on, round the view; -1: all are passed over. */
static int best_of(
	const struct pool_view *v, const struct pick *what, unsigned from, unsigned count)
{
	struct promise best_promise = {0};
	unsigned at = from;
	int best = -1;

	for (unsigned i = 0; i < count; i++, at = at + 1 == v->count ? 0 : at + 1) {
		struct promise p;

		if (passed_over(what, v->usable[at].server))
			continue;
		p = promise_of(&v->usable[at], what->now_ns);
		if (best >= 0 && !is_sooner(p, best_promise))
			continue;
		best = (int)at;
		best_promise = p;
	}
	return best;
}

static int pick(const struct pool_view *v, const struct pick *what)
{
	unsigned first = (unsigned)rng_below(what->rng, v->count), second;
	int a, b;

	if (v->count <= SCAN_MAX) /* from a random one on: ties go round */
		return best_of(v, what, first, v->count);
	second = (first + 1 + (unsigned)rng_below(what->rng, v->count - 1)) % v->count;
	a = best_of(v, what, first, 1);
	b = best_of(v, what, second, 1);
	if (a < 0 && b < 0)
		return best_of(v, what, first, v->count);
	if (a < 0 || b < 0)
		return a < 0 ? b : a;
	return is_sooner(promise_of(&v->usable[b], what->now_ns),
		       promise_of(&v->usable[a], what->now_ns))
		       ? b
		       : a;
}

const struct balancer balance_least_time = {NULL, pick};
