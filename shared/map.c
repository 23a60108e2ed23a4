/*
 * Open addressing with linear probing, at most three quarters full; a removed slot is closed by
 * moving later ones back, so there are no tombstones. The hash is SipHash-1-3 with a seed of its
 * own per map.
 */
#include "shared/map.h"

#include <stdlib.h>

#include "shared/assert.h"
#include "shared/rng.h"

enum { FIRST_SLOTS = 16 };

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

uint64_t hash_bytes(struct span s, const uint64_t seed[2])
{
	uint64_t v[4] = {
		seed[0] ^ UINT64_C(0x736f6d6570736575),
		seed[1] ^ UINT64_C(0x646f72616e646f6d),
		seed[0] ^ UINT64_C(0x6c7967656e657261),
		seed[1] ^ UINT64_C(0x7465646279746573),
	};
	uint64_t word, last = (uint64_t)s.len << 56;
	size_t i = 0;

	for (; s.len - i >= 8; i += 8) {
		memcpy(&word, s.ptr + i, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	for (unsigned shift = 0; i < s.len; i++, shift += 8)
		last |= (uint64_t)(unsigned char)s.ptr[i] << shift;
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (unsigned n = 0; n < 3; n++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_init(struct map *m, size_t max_entries)
{
	*m = (struct map){.max = max_entries};
	random_bytes(m->seed, sizeof(m->seed));
}

void map_fini(struct map *m)
{
	for (size_t i = 0; i < m->size; i++)
		free(m->slots[i].key);
	free(m->slots);
	m->slots = NULL;
	m->used = m->size = 0;
}

/* The slot that holds the key, or the free one where it would go. The table has a free slot. */
static struct map_slot *slot_for(const struct map *m, struct span key, uint64_t hash)
{
	size_t i = hash & (m->size - 1);

	ASSERT(m->used < m->size);
	for (;; i = (i + 1) & (m->size - 1)) {
		struct map_slot *s = &m->slots[i];

		if (!s->key || (s->hash == hash && span_eq(span_make(s->key, s->key_len), key)))
			return s;
	}
}

void *map_get(const struct map *m, struct span key)
{
	struct map_slot *s;

	if (m->used == 0)
		return NULL;
	s = slot_for(m, key, hash_bytes(key, m->seed));
	return s->key ? s->value : NULL;
}

static int grow(struct map *m)
{
	size_t size = m->size ? m->size * 2 : FIRST_SLOTS;
	struct map_slot *slots = calloc(size, sizeof(*slots));

	ASSERT((size & (size - 1)) == 0);
	if (!slots)
		return -1;
	for (size_t i = 0; i < m->size; i++) {
		size_t to;

		if (!m->slots[i].key)
			continue;
		to = m->slots[i].hash & (size - 1);
		while (slots[to].key)
			to = (to + 1) & (size - 1);
		slots[to] = m->slots[i];
	}
	free(m->slots);
	m->slots = slots;
	m->size = size;
	return 0;
}

int map_put(struct map *m, struct span key, void *value)
{
	uint64_t hash = hash_bytes(key, m->seed);
	struct map_slot *s = m->size ? slot_for(m, key, hash) : NULL;
	char *copy;

	if (s && s->key) {
		s->value = value;
		return 0;
	}
	if (m->used >= m->max)
		return -1;
	if (m->used >= m->size / 4 * 3) {
		if (grow(m) < 0)
			return -1;
		s = slot_for(m, key, hash);
	}
	ASSERT(s);
	copy = span_dup(key);
	if (!copy)
		return -1;
	*s = (struct map_slot){copy, key.len, hash, value};
	m->used++;
	return 0;
}

void *map_take(struct map *m, struct span key)
{
	struct map_slot *s;
	size_t hole, i;
	void *value;

	if (m->used == 0)
		return NULL;
	s = slot_for(m, key, hash_bytes(key, m->seed));
	if (!s->key)
		return NULL;
	value = s->value;
	free(s->key);
	hole = (size_t)(s - m->slots);
	for (i = (hole + 1) & (m->size - 1); m->slots[i].key; i = (i + 1) & (m->size - 1)) {
		size_t home = m->slots[i].hash & (m->size - 1);

		/* It may fill the hole if that is not before the place where its search begins. */
		if (((i - home) & (m->size - 1)) >= ((i - hole) & (m->size - 1))) {
			m->slots[hole] = m->slots[i];
			hole = i;
		}
	}
	m->slots[hole] = (struct map_slot){0};
	m->used--;
	return value;
}

bool map_next(const struct map *m, size_t *at, struct span *ret_key, void **ret_value)
{
	while (*at < m->size) {
		const struct map_slot *s = &m->slots[(*at)++];

		if (!s->key)
			continue;
		*ret_key = span_make(s->key, s->key_len);
		*ret_value = s->value;
		return true;
	}
	return false;
}
