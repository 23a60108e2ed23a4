/*
 * Servers of a pool that say themselves that they are there. Each has a lease, which it renews by
 * saying so again; one whose lease runs out, or that says goodbye, leaves the pool and is drained.
 * With it comes what it tells of itself: weight, zone, load. Who may register is for the caller to
 * see (registering.h). Main thread.
 */
#pragma once

#include <ev.h>
#include <jansson.h>

#include "proxy/discover/leases.h"
#include "proxy/pool/membership.h"

#define REGISTRY_SERVERS_MAX 4096 /* of a pool */
#define REGISTRY_LEASE_LEAST_NS NS_PER_S
#define REGISTRY_LEASE_MOST_NS (3600 * NS_PER_S)

struct registration {
	struct span name;
	struct addr address;
	uint32_t weight;
	struct span zone;
	bool backup;
	uint64_t lease_ns;
	double load; /* 0 to 1; below 0: it did not say */
};

struct registry;
/* Begins with what was left of the pool's leases. Borrows all. NULL when out of memory. */
struct registry *registry_new(
	struct ev_loop *loop, struct membership *m, struct leases *leases, struct span pool);
void registry_free(struct registry *r, bool keep);
/* Comes, or renews. *ret_new: it was not there. -1 with err: nothing changed. */
int registry_put(
	struct registry *r, const struct registration *what, bool *ret_new, struct err *err);
/* -1: there is none of that name. */
int registry_leave(struct registry *r, struct span name);
/* The mean of the loads that were told; below 0: none was. */
double registry_load(const struct registry *r);
/* {NAME: {address, weight, zone, backup, load, lease_ms, until_ms}}, for the next process; owned.
 * lease_ms is the whole of it, until_ms is CLOCK_REALTIME. */
json_t *registry_json(const struct registry *r);
/* {NAME: {lease_ms, load}}: what is left of the lease; owned. */
json_t *registry_status(const struct registry *r);
