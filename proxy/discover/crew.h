/*
 * What one source wants in a pool, with names made into addresses: entries come as a whole list,
 * hosts among them are followed, and each change goes to the pool's membership. A list that brings
 * new hosts replaces what is published once each of them was answered or has failed, so that a pool
 * does not stand empty in between; one of which no host was ever answered replaces nothing.
 */
#pragma once

#include <jansson.h>

#include "proxy/discover/host.h"
#include "proxy/pool/membership.h"

struct crew_entry {
	struct span name; /* of the server; empty: as many servers as it has addresses, named by
			     those */
	struct span host; /* empty: it is the address */
	struct addr address;
	uint16_t port; /* of the host */
	uint32_t weight;
	struct span zone;
	bool backup;
};

struct crew_options { /* borrows all */
	struct ev_loop *loop;
	struct resolver *resolver;
	struct rng *rng;
	struct membership *membership;
	const json_t *memory; /* memory.h */
};

struct crew;
/* NULL when out of memory. `source`: a string that lives on. */
struct crew *crew_new(const struct crew_options *o, struct span pool, const char *source);
/* What it published is gone with it, unless `keep`. */
void crew_free(struct crew *c, bool keep);
/* Copies. -1 with err, and what was there before stays. */
int crew_set(struct crew *c, const struct crew_entry *list, unsigned count, struct err *err);
/* Publishes again, where the pool's snapshot is another. */
void crew_publish(struct crew *c);
/* Every host was answered or has failed once. */
bool crew_settled(struct crew *c);
/* Some server of its, or of a crew before it in the same place, is or was published. */
bool crew_published(const struct crew *c);
/* Calls `each` for every entry, with its host or NULL, and which of that one's addresses a named
 * server has (family 0: none). */
void crew_each(const struct crew *c, void *ctx,
	void (*each)(void *ctx, const struct crew_entry *e, const struct host *h,
		const struct addr *chosen));
/* Hosts that have failed or are not known yet, as {NAME: reason}; owned. */
json_t *crew_troubles(const struct crew *c);
/* Calls `each` for named entries without an address. */
void crew_unresolved(const struct crew *c,
	void (*each)(void *ctx, const struct crew_entry *e, const char *reason), void *ctx);
