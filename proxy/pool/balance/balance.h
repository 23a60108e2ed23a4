/*
 * Balancing: a file an algorithm, each behind two functions. They work on a pool's view, which is
 * immutable, and on counters that all workers share; any worker calls pick, without a lock.
 */
#pragma once

#include "proxy/pool/pool.h"

struct tried { /* servers that this request has failed at */
	struct server *const *servers;
	unsigned count;
};

struct balancer {
	const char *name; /* as in the configuration */
	/* Makes the view's tables; -1 when memory is out. NULL: nothing to make. */
	int (*prepare)(struct pool_view *v);
	/* An index into v->usable, or -1 when all were tried. v has at least one server. */
	int (*pick)(const struct pool_view *v, struct tried tried, struct rng *rng);
};

extern const struct balancer balance_least_requests, balance_round_robin;

static inline bool was_tried(struct tried tried, const struct server *s)
{
	for (unsigned i = 0; i < tried.count; i++)
		if (tried.servers[i] == s)
			return true;
	return false;
}
