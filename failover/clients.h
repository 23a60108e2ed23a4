/*
 * Who is connected to our virtual addresses: a set of (virtual address and port, client's address
 * and port), bounded, with a count for each virtual address. The agent keeps two: what the proxy
 * beside us told, and the copy of the peer's, which says whom to tell when the peer dies.
 *
 * Clients come from sources, numbered from 0: processes that serve side by side while one replaces
 * the other. A client belongs to who named it last, and only that one may take it out.
 *
 * What a source has is renewed as a whole between clients_begin and clients_end (the other side was
 * started again): what was not named again is then removed. Everything is told to on_change, one
 * change at a time, which must not change the set. Flat memory, no clock, no file; the owner's
 * thread.
 */
#pragma once

#include "shared/addr.h"

#define CLIENTS_MAX 262144
#define CLIENTS_VIPS_MAX 1024
#define CLIENTS_SHARDS 256
#define CLIENTS_SOURCES 8

/* IPv4 addresses as ::ffff:a.b.c.d; ports in host order. No padding: compared and hashed as bytes.
 */
struct client_key {
	uint8_t local[16], remote[16];
	uint16_t local_port, remote_port;
};
struct client_key client_key(const struct addr *local, const struct addr *remote);
void client_key_addrs(const struct client_key *k, struct addr *ret_local, struct addr *ret_remote);

struct clients_handlers {
	void *ctx;
	/* Either may be NULL. */
	void (*on_change)(void *ctx, const struct client_key *k, bool there);
	void (*on_empty)(void *ctx); /* an address has lost its last client, after on_change */
};

struct clients;
struct clients *clients_new(const struct clients_handlers *h); /* NULL: out of memory */
void clients_free(struct clients *c);

/* One that is there already only counts as named again. -1: full, or out of memory; counted. */
int clients_add(struct clients *c, unsigned source, const struct client_key *k);
void clients_remove(struct clients *c, unsigned source, const struct client_key *k);
void clients_begin(struct clients *c, unsigned source);
void clients_end(struct clients *c, unsigned source);
void clients_clear(struct clients *c, unsigned source);

bool clients_has(const struct clients *c, const struct client_key *k);
/* How many are connected to these addresses. */
uint64_t clients_count(const struct clients *c, const struct cidr *vips, unsigned vip_count);
uint64_t clients_total(const struct clients *c);
uint64_t clients_of(const struct clients *c, unsigned source);
uint64_t clients_refused(const struct clients *c); /* that found no room, ever */

/*
 * One after the other: start with a zeroed cursor; false at the end. The set may change in between:
 * who was there all the time and in a shard that did not change is met exactly once.
 */
struct clients_cursor {
	uint32_t shard, slot;
};
bool clients_next(
	const struct clients *c, struct clients_cursor *at, const struct client_key **ret_key);
