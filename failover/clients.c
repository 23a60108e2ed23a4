/*
 * A hash set in shards, each an array of its own with linear probing: one that grows moves a
 * thousandth of all clients and not all of them, so that no heartbeat waits for it.
 */
#include "failover/clients.h"

#include <stdlib.h>
#include <string.h>

#include "shared/assert.h"
#include "shared/map.h"
#include "shared/rng.h"

struct slot {
	struct client_key key;
	uint32_t named : 29; /* in which generation of its source, last; 0: the slot is free */
	uint32_t source : 3;
};

struct shard {
	struct slot *slots;
	uint32_t used, size; /* size is a power of two or 0 */
};

struct vip {
	uint8_t bytes[16];
	uint32_t count;
};

struct clients {
	struct clients_handlers handlers;
	struct shard shards[CLIENTS_SHARDS];
	struct vip vips[CLIENTS_VIPS_MAX];
	unsigned vip_count;
	uint64_t total, refused;
	struct {
		uint64_t total;
		uint32_t generation; /* never 0 */
	} sources[CLIENTS_SOURCES];
	uint64_t seed[2];
	bool changing; /* a handler is at work */
};

_Static_assert(sizeof(struct client_key) == 36, "compared as bytes");
_Static_assert(sizeof(struct slot) == 40 && CLIENTS_SOURCES == 1 << 3, "a million of them");

#define GENERATION_MAX ((1U << 29) - 1)

/* --- keys --------------------------------------------------------------------------------------
 */
static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static void put_addr(const struct addr *a, uint8_t out[16], uint16_t *ret_port)
{
	if (a->sa.sa_family == AF_INET) {
		memcpy(out, mapped, sizeof(mapped));
		memcpy(out + 12, &a->in.sin_addr, 4);
	} else {
		memcpy(out, &a->in6.sin6_addr, 16);
	}
	*ret_port = addr_port(a);
}

static void get_addr(const uint8_t in[16], uint16_t port, struct addr *ret_addr)
{
	*ret_addr = (struct addr){.in6 = {.sin6_family = AF_INET6}};
	memcpy(&ret_addr->in6.sin6_addr, in, 16);
	addr_set_port(ret_addr, port);
	addr_unmap(ret_addr);
}

struct client_key client_key(const struct addr *local, const struct addr *remote)
{
	struct client_key k;

	put_addr(local, k.local, &k.local_port);
	put_addr(remote, k.remote, &k.remote_port);
	return k;
}

void client_key_addrs(const struct client_key *k, struct addr *ret_local, struct addr *ret_remote)
{
	get_addr(k->local, k->local_port, ret_local);
	get_addr(k->remote, k->remote_port, ret_remote);
}

static bool same(const struct client_key *a, const struct client_key *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* --- counts ------------------------------------------------------------------------------------
 */
static struct vip *vip_find(struct clients *c, const uint8_t bytes[16])
{
	for (unsigned i = 0; i < c->vip_count; i++)
		if (memcmp(c->vips[i].bytes, bytes, 16) == 0)
			return &c->vips[i];
	return NULL;
}

/* A place for the address, in that of one without clients when there is no other; NULL: none. */
static struct vip *vip_make(struct clients *c, const uint8_t bytes[16])
{
	struct vip *v = vip_find(c, bytes);

	if (v)
		return v;
	for (unsigned i = 0; c->vip_count == CLIENTS_VIPS_MAX && !v && i < c->vip_count; i++)
		if (c->vips[i].count == 0)
			v = &c->vips[i];
	if (!v && c->vip_count < CLIENTS_VIPS_MAX)
		v = &c->vips[c->vip_count++];
	if (v) {
		memcpy(v->bytes, bytes, 16);
		v->count = 0;
	}
	return v;
}

/* --- shards ------------------------------------------------------------------------------------
 */
static uint64_t hash_of(const struct clients *c, const struct client_key *k)
{
	return hash_bytes(span_make((const char *)k, sizeof(*k)), c->seed);
}

static struct shard *shard_of(struct clients *c, uint64_t hash)
{
	return &c->shards[hash >> 56];
}

/* Its slot, or the free one where it belongs. */
static struct slot *slot_of(const struct shard *s, const struct client_key *k, uint64_t hash)
{
	uint32_t at = (uint32_t)hash & (s->size - 1);

	while (s->slots[at].named && !same(&s->slots[at].key, k))
		at = (at + 1) & (s->size - 1);
	return &s->slots[at];
}

static int shard_grow(const struct clients *c, struct shard *s)
{
	struct shard next = {.used = s->used, .size = s->size ? 2 * s->size : 16};

	next.slots = calloc(next.size, sizeof(*next.slots));
	if (!next.slots)
		return -1;
	for (uint32_t i = 0; i < s->size; i++)
		if (s->slots[i].named)
			*slot_of(&next, &s->slots[i].key, hash_of(c, &s->slots[i].key)) =
				s->slots[i];
	free(s->slots);
	s->slots = next.slots;
	s->size = next.size;
	return 0;
}

/* Those behind it in its run move up, so that each is still found from where it belongs. */
static void slot_free(const struct clients *c, struct shard *s, struct slot *gone)
{
	uint32_t mask = s->size - 1, hole = (uint32_t)(gone - s->slots);

	for (uint32_t at = (hole + 1) & mask; s->slots[at].named; at = (at + 1) & mask) {
		uint32_t home = (uint32_t)hash_of(c, &s->slots[at].key) & mask;

		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		s->slots[hole] = s->slots[at];
		hole = at;
	}
	s->slots[hole].named = 0;
	s->used--;
}

/* --- changes -----------------------------------------------------------------------------------
 */
static void told(struct clients *c, const struct client_key *k, bool there, bool empty)
{
	ASSERT(!c->changing);
	c->changing = true;
	if (c->handlers.on_change)
		c->handlers.on_change(c->handlers.ctx, k, there);
	c->changing = false;
	if (empty && c->handlers.on_empty)
		c->handlers.on_empty(c->handlers.ctx);
}

static struct slot *slot_make(struct clients *c, const struct client_key *k, uint64_t hash)
{
	struct shard *s = shard_of(c, hash);

	if (s->used * 4 >= s->size * 3 && shard_grow(c, s) != 0)
		return NULL;
	return slot_of(s, k, hash);
}

/* It is that source's from now on. */
static void name(struct clients *c, struct slot *at, unsigned source)
{
	c->sources[source].total++;
	at->source = (uint32_t)source & (CLIENTS_SOURCES - 1);
	at->named = c->sources[source].generation & GENERATION_MAX;
}

int clients_add(struct clients *c, unsigned source, const struct client_key *k)
{
	uint64_t hash = hash_of(c, k);
	struct slot *at = slot_make(c, k, hash);
	struct vip *v;

	ASSERT(!c->changing && source < CLIENTS_SOURCES);
	if (at && at->named) {
		c->sources[at->source].total--;
		name(c, at, source);
		return 0;
	}
	v = at && c->total < CLIENTS_MAX ? vip_make(c, k->local) : NULL;
	if (!v) {
		c->refused++;
		return -1;
	}
	at->key = *k;
	name(c, at, source);
	shard_of(c, hash)->used++;
	v->count++;
	c->total++;
	told(c, k, true, false);
	return 0;
}

static void take_out(struct clients *c, struct shard *s, struct slot *at)
{
	struct client_key k = at->key;
	struct vip *v = vip_find(c, k.local);

	ASSERT(v && v->count > 0 && c->total > 0 && c->sources[at->source].total > 0);
	c->sources[at->source].total--;
	slot_free(c, s, at);
	c->total--;
	v->count--;
	told(c, &k, false, v->count == 0);
}

void clients_remove(struct clients *c, unsigned source, const struct client_key *k)
{
	uint64_t hash = hash_of(c, k);
	struct shard *s = shard_of(c, hash);
	struct slot *at = s->size ? slot_of(s, k, hash) : NULL;

	ASSERT(!c->changing && source < CLIENTS_SOURCES);
	if (at && at->named && at->source == source)
		take_out(c, s, at);
}

void clients_begin(struct clients *c, unsigned source)
{
	ASSERT(source < CLIENTS_SOURCES);
	c->sources[source].generation = c->sources[source].generation % GENERATION_MAX + 1;
}

void clients_end(struct clients *c, unsigned source)
{
	ASSERT(source < CLIENTS_SOURCES);
	for (unsigned i = 0; i < CLIENTS_SHARDS; i++) {
		struct shard *s = &c->shards[i];

		/* Taking one out moves another into its slot: that one is looked at next. */
		for (uint32_t at = 0; at < s->size;)
			if (s->slots[at].named && s->slots[at].source == source &&
				s->slots[at].named != c->sources[source].generation)
				take_out(c, s, &s->slots[at]);
			else
				at++;
	}
}

void clients_clear(struct clients *c, unsigned source)
{
	clients_begin(c, source);
	clients_end(c, source);
}

/* --- looking -----------------------------------------------------------------------------------
 */
bool clients_has(const struct clients *c, const struct client_key *k)
{
	uint64_t hash = hash_of(c, k);
	const struct shard *s = &c->shards[hash >> 56];

	return s->size && slot_of(s, k, hash)->named;
}

uint64_t clients_count(const struct clients *c, const struct cidr *vips, unsigned vip_count)
{
	uint64_t count = 0;
	uint8_t bytes[16];

	for (unsigned i = 0; i < vip_count; i++) {
		if (vips[i].family == AF_INET) {
			memcpy(bytes, mapped, sizeof(mapped));
			memcpy(bytes + 12, vips[i].bytes, 4);
		} else {
			memcpy(bytes, vips[i].bytes, 16);
		}
		for (unsigned j = 0; j < c->vip_count; j++)
			if (memcmp(c->vips[j].bytes, bytes, 16) == 0)
				count += c->vips[j].count;
	}
	return count;
}

uint64_t clients_total(const struct clients *c)
{
	return c->total;
}

uint64_t clients_of(const struct clients *c, unsigned source)
{
	return c->sources[source].total;
}

uint64_t clients_refused(const struct clients *c)
{
	return c->refused;
}

bool clients_next(
	const struct clients *c, struct clients_cursor *at, const struct client_key **ret_key)
{
	for (; at->shard < CLIENTS_SHARDS; at->shard++, at->slot = 0) {
		const struct shard *s = &c->shards[at->shard];

		while (at->slot < s->size) {
			const struct slot *slot = &s->slots[at->slot++];

			if (!slot->named)
				continue;
			*ret_key = &slot->key;
			return true;
		}
	}
	return false;
}

/* --- life --------------------------------------------------------------------------------------
 */
struct clients *clients_new(const struct clients_handlers *h)
{
	struct clients *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->handlers = *h;
	for (unsigned i = 0; i < CLIENTS_SOURCES; i++)
		c->sources[i].generation = 1;
	random_bytes(c->seed, sizeof(c->seed));
	return c;
}

void clients_free(struct clients *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < CLIENTS_SHARDS; i++)
		free(c->shards[i].slots);
	free(c);
}
