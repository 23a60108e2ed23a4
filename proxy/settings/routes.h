/*
 * Routes of one listener, indexed by host and path so that 10,000 cost about what 10 do. First
 * match in file order wins, whatever the index looks at first. Pure; allocates only while it is
 * built, and is immutable after that: any thread may look up.
 *
 *   host    `shop.example.com`: that one. `*.example.com`: any name below it, at any depth; not
 *           example.com itself.
 *   path    `/x`: that one. `/x/` and a star: /x/ and everything below it, not `/x` (as nginx's
 *           location and Traefik's PathPrefix have it: list both when both are meant).
 *   method  any of the list.
 *
 * Further conditions (match.h), a regular expression for the path among them, are looked at where
 * host, path and method agree: a listener without any does not know of them.
 */
#pragma once

#include "proxy/settings/match.h"
#include "proxy/settings/settings.h"

struct route_spec { /* what to build from; borrowed until routes_new returns */
	struct route route;
	const struct span *hosts; /* none: any */
	unsigned host_count;
	const struct span *paths; /* none: any */
	unsigned path_count;
	const struct span *methods; /* none: any */
	unsigned method_count;
	struct match match; /* what it points to must live as long as the routes */
};

#define ROUTES_MAX 65536	   /* of a listener */
#define ROUTE_PATTERNS_MAX 1048576 /* hosts x paths, of all its routes */

/* specs[i].route.index must be i; hosts and paths without fault. NULL when memory is out or there
 * are more than the maxima. */
struct routes *routes_new(const struct route_spec *specs, unsigned count);
void routes_free(struct routes *r);
unsigned routes_count(const struct routes *r);
const struct route *routes_get(const struct routes *r, unsigned index);
/* The first route, if it takes every request there is; else NULL. */
const struct route *routes_take_all(const struct routes *r);
/* Do earlier routes together take every request of this one, so that it can never match? True is
 * certain: they take each of its hosts, paths and methods, and want nothing of a request that this
 * one does not want too. The lowest and the highest of them are told (often the same). */
bool routes_shadowed(const struct routes *r, unsigned index, const struct route **ret_first,
	const struct route **ret_last);
/* Why this route, of those before the one that was found, did not take the request: the first thing
 * that does not agree, in words. */
void routes_why_not(const struct routes *r, unsigned index, const struct route_ask *ask, char *out,
	size_t size);
/* NULL, or what is wrong with a pattern, in words. */
const char *route_host_fault(struct span host);
const char *route_path_fault(struct span path);
