/*
 * A host's addresses, followed: asked for again when their time to live is over (1 s to 60 s), and
 * after a failure in ever longer steps up to 30 s. An address goes only by a good answer without
 * it: SERVFAIL, silence and a refusal keep what was known, and so does NXDOMAIN, which more often
 * says that something is wrong with the zone than that a host should go. NOERROR without an address
 * is a good answer.
 */
#pragma once

#include "proxy/discover/resolver.h"
#include "shared/rng.h"

#define FOLLOW_TTL_LEAST_S 1
#define FOLLOW_TTL_MOST_S 60
#define FOLLOW_RETRY_MOST_S 30

/* When to ask again; shared with srv.c. failures: in a row, 0: it was good. */
double follow_delay_s(struct rng *rng, uint32_t ttl_s, unsigned failures);

struct host_family {
	struct addr *list; /* sorted, without port */
	unsigned count;
	uint32_t ttl_s;
	bool failed; /* the last time */
};

struct host {
	struct resolver *resolver;
	char *name;
	void (*on_change)(void *ctx); /* other addresses, or the first word on them */
	void *ctx;
	struct host_family families[2]; /* IPv4, IPv6 */
	struct resolver_query *queries[2];
	ev_timer next;
	struct ev_loop *loop;
	struct rng *rng;
	bool changed;	   /* not told yet */
	bool asked;	   /* there was a word on both */
	bool answered;	   /* a good one, once; or recalled */
	unsigned failures; /* in a row */
	char reason[96];   /* of the last failure; "": it was good */
};

/* Begins to ask. NULL when out of memory. Borrows all, but copies the name. */
struct host *host_new(struct ev_loop *loop, struct resolver *r, struct rng *rng, const char *name,
	void (*on_change)(void *ctx), void *ctx);
void host_free(struct host *h);
/* These count until it is answered. Before the loop runs on. */
void host_recall(struct host *h, const struct addr *list, unsigned count);
static inline unsigned host_count(const struct host *h)
{
	return h->families[0].count + h->families[1].count;
}
/* IPv4 first. */
static inline const struct addr *host_addr(const struct host *h, unsigned i)
{
	return i < h->families[0].count ? &h->families[0].list[i]
					: &h->families[1].list[i - h->families[0].count];
}
