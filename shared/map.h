/*
 * Hash map from byte strings to pointers; keeps copies of its keys. Keyed hashing (SipHash-like,
 * seeded per map) so that a client who chooses keys cannot choose collisions.
 */
#pragma once

#include "shared/span.h"

struct map_slot {
	char *key; /* NULL: free */
	size_t key_len;
	uint64_t hash;
	void *value;
};

struct map {
	struct map_slot *slots;
	size_t used, size; /* size is a power of two or 0 */
	size_t max;	   /* the most entries it takes */
	uint64_t seed[2];
};

void map_init(struct map *m, size_t max_entries);
void map_fini(struct map *m); /* values are the caller's */
void *map_get(const struct map *m, struct span key);
/* Replaces; returns -1 when full or out of memory. */
int map_put(struct map *m, struct span key, void *value);
/* Returns the value taken out, or NULL. */
void *map_take(struct map *m, struct span key);
/* Iterates: start with *at = 0; false at the end. Do not change the map meanwhile. */
bool map_next(const struct map *m, size_t *at, struct span *ret_key, void **ret_value);
uint64_t hash_bytes(struct span s, const uint64_t seed[2]);
