/*
 * The servers of a pool at one time, from wherever they come: an immutable set, counted by
 * reference, which keeps its servers alive. The main thread makes a new one when a server comes,
 * goes or gets another weight or state (membership.h); a view of the pool refers to the set that it
 * was made from, and so whoever runs with an old view still has all of its servers.
 */
#pragma once

#include "proxy/pool/server.h"
#include "shared/span.h"

/* What somebody wants of a server. name, word */
#define ADMIN_STATES(X)                                                                           \
	X(READY, "ready")                                                                         \
	X(DRAINING, "draining")	      /* nothing new; those who are bound to it may still come */ \
	X(MAINTENANCE, "maintenance") /* nobody, and no checks */
enum admin_state {
#define X(name, text) ADMIN_##name,
	ADMIN_STATES(X)
#undef X
};
const char *admin_state_name(enum admin_state s);
/* -1: no such word. */
int admin_state_parse(struct span word, enum admin_state *ret);

struct member { /* a server as it is in a pool */
	struct server *server;
	uint32_t weight;  /* 1-256 */
	struct span zone; /* empty: none */
	bool backup;
	bool disabled; /* in the configuration */
	enum admin_state admin;
	const char *source; /* who brought it, a string that lives on; NULL: not told */
};

struct member_set {
	_Atomic unsigned refs;
	unsigned count;
	char *zones; /* what those of the members point into */
	struct member members[];
};

/* Copies what is given, and takes references to the servers. NULL when out of memory. */
struct member_set *member_set_new(const struct member *members, unsigned count);
struct member_set *member_set_ref(struct member_set *s);
void member_set_unref(struct member_set *s); /* any thread; NULL is fine */
/* NULL: not in it. */
const struct member *member_set_find(const struct member_set *s, const struct server *server);
const struct member *member_set_named(const struct member_set *s, struct span name);
bool member_set_same(const struct member_set *a, const struct member_set *b);

/* May new requests go there, as far as people have a say? */
static inline bool member_admits(const struct member *m)
{
	return m->admin == ADMIN_READY && !m->disabled;
}
