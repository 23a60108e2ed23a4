/*
 * Looking up; the index is described in routes_index.h.
 */
#include "proxy/settings/routes_index.h"

static bool host_eq(struct span stored, struct span asked)
{
	return stored.len == asked.len &&
	       (memcmp(stored.ptr, asked.ptr, asked.len) == 0 || span_ieq(stored, asked));
}

uint32_t routes_find_set(const struct routes *r, struct span host, bool wild)
{
	uint64_t hash = host_hash(host, wild);

	for (uint32_t i = (uint32_t)hash & r->hosts.mask;; i = (i + 1) & r->hosts.mask) {
		const struct slot *s = &r->hosts.slots[i];

		if (s->item == 0)
			return NONE;
		if (s->tag == (uint32_t)(hash >> 32) && r->sets[s->item - 1].wild == wild &&
			host_eq(r->sets[s->item - 1].host, host))
			return s->item - 1;
	}
}

uint32_t routes_find_pattern(
	const struct routes *r, uint32_t set, enum path_kind kind, struct span path)
{
	uint64_t hash = path_hash(set, kind, path);

	for (uint32_t i = (uint32_t)hash & r->paths.mask;; i = (i + 1) & r->paths.mask) {
		const struct slot *s = &r->paths.slots[i];
		const struct pattern *p;

		if (s->item == 0)
			return NONE;
		p = &r->patterns[s->item - 1];
		if (s->tag == (uint32_t)(hash >> 32) && p->set == set && p->kind == kind &&
			span_eq(p->path, path))
			return s->item - 1;
	}
}

/* --- looking up ------------------------------------------------------------------------------ */

/* What is looked for: a request, or (to find out what shadows it) a route's pattern. */
struct query {
	struct span host, path;
	bool host_exact;  /* false: a wildcard's suffix, which only wildcards and "any" take */
	bool path_exact;  /* false: a prefix, which only prefixes and "any" take */
	uint32_t methods; /* all of these must be taken; 0: any method there is */
	const struct span *others;
	unsigned other_count;
	uint32_t best; /* routes below this one count; then the answer */
};

static bool has_others(const struct route_methods *m, const struct query *q)
{
	for (unsigned i = 0; i < q->other_count; i++) {
		unsigned at = 0;

		while (at < m->other_count && !span_eq(m->others[at], q->others[i]))
			at++;
		if (at == m->other_count)
			return false;
	}
	return true;
}

static inline void try_chain(const struct routes *r, const struct chain *c, struct query *q)
{
	for (uint32_t at = c->first; at != NONE; at = r->entries[at].next) {
		const struct entry *e = &r->entries[at];

		if (e->route >= q->best)
			return;
		if (e->methods != 0) {
			if (q->methods == 0 || (q->methods & ~e->methods) != 0)
				continue;
			if ((q->methods & OTHER_BIT) && !has_others(&r->methods[e->route], q))
				continue;
		}
		q->best = e->route;
		return;
	}
}

static void try_path(const struct routes *r, uint32_t set, enum path_kind kind, struct span path,
	struct query *q)
{
	uint32_t found = routes_find_pattern(r, set, kind, path);

	if (found != NONE)
		try_chain(r, &r->patterns[found].chain, q);
}

static void try_long_prefixes(const struct routes *r, uint32_t index, struct query *q)
{
	size_t last = r->sets[index].longest_prefix;

	if (q->path.len < last)
		last = q->path.len;
	for (size_t len = LONGEST_BIT; len <= last; len++)
		if (q->path.ptr[len - 1] == '/')
			try_path(r, index, PATH_PREFIX, span_make(q->path.ptr, len), q);
}

static void try_set(const struct routes *r, uint32_t index, struct query *q)
{
	const struct host_set *s = &r->sets[index];
	struct span path = q->path;
	uint64_t lengths;

	if (s->first_route >= q->best)
		return;
	if (q->path_exact && (s->exact_lengths & length_bit(path.len)))
		try_path(r, index, PATH_EXACT, path, q);
	lengths = s->prefix_lengths & lengths_up_to(path.len);
	for (; lengths; lengths &= lengths - 1) {
		size_t len = (size_t)__builtin_ctzll(lengths);

		if (len == LONGEST_BIT)
			try_long_prefixes(r, index, q);
		else if (path.ptr[len - 1] == '/') /* NOLINT: no length fits an empty path */
			try_path(r, index, PATH_PREFIX, span_make(path.ptr, len), q);
	}
	try_chain(r, &s->any_path, q);
}

static void try_wildcard(const struct routes *r, struct query *q, size_t len)
{
	struct span suffix = span_from(q->host, q->host.len - len);
	uint32_t set;

	ASSERT(suffix.ptr && suffix.len == len);
	if (suffix.ptr[0] != '.')
		return;
	set = routes_find_set(r, suffix, true);
	if (set != NONE)
		try_set(r, set, q);
}

static void try_wildcards(const struct routes *r, struct query *q)
{
	/* *.example.com does not take .example.com: a name has at least one byte before the suffix.
	 */
	size_t longest = q->host_exact ? q->host.len - 1 : q->host.len;
	uint64_t lengths = r->wild_lengths & lengths_up_to(longest);

	for (; lengths; lengths &= lengths - 1) {
		size_t len = (size_t)__builtin_ctzll(lengths);
		size_t last = len;

		if (len == LONGEST_BIT)
			last = longest < r->longest_wild ? longest : r->longest_wild;
		for (; len <= last; len++)
			try_wildcard(r, q, len);
	}
}

/* What is most likely to have a low index comes first: the rest is then passed over at a glance. */
static inline void walk(const struct routes *r, struct query *q)
{
	if (q->host.len > 0) {
		if (r->has_exact_hosts && q->host_exact) {
			uint32_t set = routes_find_set(r, q->host, false);

			if (set != NONE)
				try_set(r, set, q);
		}
		if (r->wild_lengths)
			try_wildcards(r, q);
	}
	try_set(r, 0, q);
}

const struct route *routes_find(const struct routes *r, struct span host, struct span path,
	enum http_method method, struct span method_text)
{
	struct query q = {.host = host,
		.path = path,
		.host_exact = true,
		.path_exact = true,
		.methods = 1u << method,
		.others = &method_text,
		.other_count = method == HTTP_OTHER,
		.best = r->count};

	ASSERT((unsigned)method <= HTTP_OTHER);
	/* "example.com." is the same name, written absolutely. */
	if (host.len > 1 && host.ptr[host.len - 1] == '.')
		q.host.len--;
	walk(r, &q);
	return q.best < r->count ? &r->routes[q.best] : NULL;
}

bool routes_shadowed(const struct routes *r, unsigned index, const struct route **ret_first,
	const struct route **ret_last)
{
	const struct route_methods *m = &r->methods[index];
	uint32_t first = NONE, last = 0;

	ASSERT(index < r->count);
	for (uint32_t i = r->first_of[index]; i < r->first_of[index + 1]; i++) {
		const struct combo *combo = &r->combos[i];
		const struct host_set *set = &r->sets[combo->set];
		const struct pattern *p =
			combo->pattern == NONE ? NULL : &r->patterns[combo->pattern];
		struct query q = {.host = set->host,
			.path = p ? p->path : (struct span){0},
			.host_exact = !set->wild,
			.path_exact = p && p->kind == PATH_EXACT,
			.methods = m->bits,
			.others = m->others,
			.other_count = m->other_count,
			.best = index};

		walk(r, &q);
		if (q.best == index)
			return false;
		first = q.best < first ? q.best : first;
		last = q.best > last ? q.best : last;
	}
	ASSERT(first != NONE); /* every route has a pattern */
	*ret_first = &r->routes[first];
	*ret_last = &r->routes[last];
	return true;
}

unsigned routes_count(const struct routes *r)
{
	return r->count;
}

const struct route *routes_get(const struct routes *r, unsigned index)
{
	ASSERT(index < r->count);
	return &r->routes[index];
}
