/*
 * Balancing: a file an algorithm, each behind two functions. They work on a pool's view, which is
 * immutable, and on counters that all workers share; any worker calls pick, without a lock.
 */
#pragma once

#include "proxy/pool/pool.h"

struct balancer {
	/* Makes the view's tables; -1 when memory is out. NULL: nothing to make. */
	int (*prepare)(struct pool_view *v);
	/* An index into v->usable, or -1 when all are passed over. v has at least one server. */
	int (*pick)(const struct pool_view *v, const struct pick *what);
};

#define X(name, word) extern const struct balancer balance_##word;
BALANCES(X)
#undef X

static inline bool was_tried(const struct pick *what, const struct server *s)
{
	for (unsigned i = 0; i < what->tried_count; i++)
		if (what->tried[i] == s)
			return true;
	return false;
}

/* Not this one: it was tried, or has as many requests as it may have, or has just
 * failed. */
static inline bool passed_over(const struct pick *what, const struct server *s)
{
	if (what->limit &&
		(atomic_load_explicit(&s->in_flight, memory_order_relaxed) >= what->limit ||
			atomic_load_explicit(&s->suspect, memory_order_relaxed)))
		return true;
	return was_tried(what, s);
}
