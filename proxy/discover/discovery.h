/*
 * Where the servers come from that the configuration does not list with an address: DNS, for whole
 * pools and for single servers that are written with a host's name; files; the servers themselves.
 * Follows what the running snapshot says and tells the pools' membership. Nothing of it is fatal:
 * what is not known is asked for until it is. Main thread.
 */
#pragma once

#include <ev.h>
#include <jansson.h>

#include "proxy/discover/leases.h"
#include "proxy/pool/membership.h"

struct discovery;
struct registry;
struct discovery_options {
	struct ev_loop *loop;
	struct membership *membership;
	const char *state_dir; /* all three borrowed */
	/* What a process before this one left (memory.h, and "registered" for leases.h); shared
	 * until discovery_settle() is over. NULL: nothing. */
	json_t *memory;
	enum leases_owner owner;
};
struct discovery *discovery_new(const struct discovery_options *o); /* NULL: out of memory */
void discovery_free(struct discovery *d);
/* The snapshot runs (the membership has it): what it says the same as the one before goes on. */
void discovery_apply(struct discovery *d, const struct settings *s);
/* Where the servers of a pool register; NULL: they may not, or out of memory. */
struct registry *discovery_registry(struct discovery *d, struct span pool);
/* Turns the loop until everything was answered or has failed once, for so long at most: for the
 * start, before clients are heard. */
void discovery_settle(struct discovery *d, uint64_t limit_ns);
/* What the next process should know of it; owned. */
json_t *discovery_memory(const struct discovery *d);
/* Whose the leases of registered servers are from now on. */
void discovery_set_leases_owner(struct discovery *d, enum leases_owner owner);
enum leases_owner discovery_leases_owner(const struct discovery *d);
/* Adds to a pool's status where its servers come from, and those that are not known yet. */
void discovery_status(const struct discovery *d, struct span pool, json_t *status);
