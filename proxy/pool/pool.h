/*
 * Choosing a server. A view is an immutable table of the servers of a pool that may be used right
 * now, made by the main thread when health, weights or the snapshot change, and handed to the
 * workers, so that picking takes no lock: round robin is a ticket into a precomputed smooth cycle
 * shared by all workers, least requests scans the shared counters.
 */
#pragma once

#include "proxy/settings/settings.h"
#include "shared/rng.h"

struct balancer;

struct pool_view {
	_Atomic unsigned refs;
	const struct pool *pool; /* borrows: the view's holder keeps the snapshot */
	struct member_set *set;	 /* what it was made from; holds a reference */
	const struct balancer *balancer;
	bool failing_open; /* nothing is healthy: these are tried all the same */
	unsigned count;	   /* usable servers; 0: answer 503 */
	/* Servers of other zones than our own, in a view of their own; NULL: all are in this one.
	 */
	struct pool_view *beyond;
	uint32_t beyond_share; /* of 2^32 requests, those that go there first */
	struct member *usable; /* borrows the set's servers */
	uint32_t cycle_len;    /* round robin: positions in the cycle */
	uint16_t *cycle;       /* indices into usable, smooth and weighted */
	void *table;	       /* the algorithm's own */
	/* From cookies to those of the servers that can be used; NULL: the pool has no cookie. */
	struct sticky_table *sticky;
};

/* NULL when out of memory. Takes a reference to the set. */
struct pool_view *pool_view_new(const struct pool *p, struct member_set *set);
struct pool_view *pool_view_ref(struct pool_view *v);
void pool_view_unref(struct pool_view *v);

struct pick {			     /* what is asked for: a server for one request */
	struct server *const *tried; /* servers that it has failed at: not one of these */
	unsigned tried_count;
	uint64_t now_ns;
	struct rng *rng;
	bool has_key; /* of `hash` */
	uint64_t key;
	uint64_t sticky; /* what the user's cookie says; 0: nothing */
	uint32_t limit; /* of requests in flight at a server; 0: none (filled in by these functions)
			 */
};

/* The server that the user's cookie names, if he can be served there; else NULL. */
struct server *pool_bound(const struct pool_view *v, const struct pick *what);
/* Takes a server, in whose in_flight the request is counted from now on; where it is bound to one,
 * that one. NULL: all were tried, or have as many as they may have. Any worker; no lock. */
struct server *pool_take(const struct pool_view *v, struct pick *what);
/* Which it would be if none were full; nothing is counted. NULL: all were tried. */
struct server *pool_prefer(const struct pool_view *v, struct pick *what);
/* Gives back what pool_take() gave, to whoever waits for it. */
void pool_release(const struct pool_view *v, struct server *s);

/* How much of its share a server gets now, 10 to 100: it grows after it joined (slow_start). Main
 * thread. */
unsigned pool_share_pct(const struct pool *p, const struct server *s, uint64_t now_ns);

/* A server as the status socket shows it. Main thread. */
json_t *pool_server_status(const struct pool *p, const struct member *m);
/* {balance, up, total, servers: {...}} as the status socket shows it. Main thread. */
json_t *pool_status(const struct pool *p);
