/*
 * Two open-addressed tables. Hosts: from a host pattern to its host_set. Patterns: from (host_set,
 * path pattern) to the chain of routes that have it, in file order. A request has few candidates:
 * its exact host, the wildcards over it, and "any"; in each the exact path, the prefixes that end
 * at its slashes, and "any". Bitmaps of the lengths in use say which of them can exist at all, so
 * most are never hashed. The lowest route index among the candidates wins.
 *
 * The hash is not keyed: the keys in the tables are the operator's, so a client who makes hashes
 * collide meets the same short probes as everybody else.
 *
 * For routes.c, which looks up, and routes_build.c, which builds; nobody else.
 */
#pragma once

#include "proxy/settings/routes.h"
#include "shared/assert.h"

#define NONE UINT32_MAX
#define OTHER_BIT (1u << HTTP_OTHER)
#define LONGEST_BIT 63u /* stands for this length and all above */

enum path_kind { PATH_EXACT, PATH_PREFIX };

struct entry { /* one route in the chain of a pattern */
	uint32_t route;
	uint32_t methods : 31; /* bits by enum http_method; 0: any */
	bool conditional : 1;  /* it has conditions beside */
	uint32_t next;
};

struct chain {
	uint32_t first, last; /* entries; NONE: empty */
	uint32_t methods;     /* what the entries without conditions take together */
	bool all;	      /* one of them takes any method */
};

struct pattern {
	uint32_t set;
	enum path_kind kind;
	struct span path; /* of a prefix: with the slash at the end */
	struct chain chain;
};

struct host_set {	  /* all path patterns of one host pattern */
	struct span host; /* lower case; of a wildcard: ".example.com" */
	bool wild;
	uint32_t first_route; /* the lowest in here */
	uint64_t exact_lengths, prefix_lengths;
	uint32_t longest_prefix;
	struct chain any_path;
};

struct slot {
	uint32_t tag;
	uint32_t item; /* index + 1; 0: free */
};

struct table {
	struct slot *slots;
	uint32_t mask;
};

struct route_methods {
	uint32_t bits;
	struct span *others; /* texts behind OTHER_BIT */
	unsigned other_count;
};

struct routes {
	struct route *routes;
	struct route_methods *methods; /* by route */
	struct match *matches;	       /* by route */
	struct span *others;	       /* what methods[].others point into */
	unsigned count;
	struct host_set *sets; /* [0]: any host */
	uint32_t set_count, set_max;
	struct pattern *patterns;
	uint32_t pattern_count, pattern_max;
	struct entry *entries;
	uint32_t entry_count, entry_max;
	struct table hosts, paths;
	uint64_t wild_lengths;
	uint32_t longest_wild;
	bool has_exact_hosts;
	char *text; /* what the spans above point into */
	size_t text_len, text_max;
	/* The patterns of route i: combos[first_of[i]] up to combos[first_of[i + 1]]. */
	uint32_t *first_of;
	struct combo {
		uint32_t set, pattern; /* pattern NONE: any path */
	} * combos;
};

/* --- hashing --------------------------------------------------------------------------------- */

static inline uint64_t mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * UINT64_C(0x9fb21c651e98df25);
	return h ^ (h >> 32);
}

/* fold: 0x20 in every byte for hosts (upper and lower case meet; what else meets costs a
 * comparison). */
static inline uint64_t hash_text(const char *p, size_t len, uint64_t h, uint64_t fold)
{
	uint64_t word = 0;
	uint32_t a, b;

	h ^= len * UINT64_C(0x9e3779b97f4a7c15);
	if (len >= 8) {
		for (size_t i = 0; i + 8 < len; i += 8) {
			memcpy(&word, p + i, 8);
			h = mix(h, word | fold);
		}
		memcpy(&word, p + len - 8, 8);
	} else if (len >= 4) {
		memcpy(&a, p, 4);
		memcpy(&b, p + len - 4, 4);
		word = (uint64_t)a << 32 | b;
	} else if (len > 0) {
		word = (uint64_t)(uint8_t)p[0] << 16 | (uint64_t)(uint8_t)p[len / 2] << 8 |
		       (uint8_t)p[len - 1];
	}
	return mix(h, word | fold);
}

#define FOLD UINT64_C(0x2020202020202020)

static inline uint64_t host_hash(struct span host, bool wild)
{
	return hash_text(host.ptr, host.len, wild, FOLD);
}

static inline uint64_t path_hash(uint32_t set, enum path_kind kind, struct span path)
{
	return hash_text(path.ptr, path.len, (uint64_t)set << 1 | kind, 0);
}

static inline uint64_t length_bit(size_t len)
{
	return UINT64_C(1) << (len < LONGEST_BIT ? len : LONGEST_BIT);
}

/* The bits of all lengths that fit into len. */
static inline uint64_t lengths_up_to(size_t len)
{
	return len < LONGEST_BIT ? (UINT64_C(2) << len) - 1 : UINT64_MAX;
}

/* Index of the host pattern's set, or NONE. */
uint32_t routes_find_set(const struct routes *r, struct span host, bool wild);
/* Index of the pattern in that set, or NONE. */
uint32_t routes_find_pattern(
	const struct routes *r, uint32_t set, enum path_kind kind, struct span path);
