/*
 * Looking up; the index is described in routes_index.h.
 */
#include "proxy/settings/routes_index.h"

#include <stdio.h>

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

/* For how many routes with conditions a later one asks whether they leave it anything. */
#define SHADOW_LOOKS_MAX 64

/* What is looked for: a request, or (to find out what shadows it) a route's pattern. */
struct query {
	struct route_ask *ask;	   /* NULL: a route's pattern, */
	const struct match *match; /* and then its conditions */
	unsigned looks;		   /* at those of others */
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

/* Out of line: most listeners have no route with conditions. */
static __attribute__((noinline)) bool holds(const struct routes *r, uint32_t route, struct query *q)
{
	const struct match *m = &r->matches[route];
	bool gave_up = false, good;

	if (!q->ask)
		return q->looks++ < SHADOW_LOOKS_MAX && match_implies(q->match, m);
	good = match_holds(m, q->ask, NULL, &gave_up);
	if (gave_up)
		q->ask->gave_up = &r->routes[route];
	return good;
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
		if (e->conditional && !holds(r, e->route, q))
			continue;
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

const struct route *routes_find(const struct routes *r, struct route_ask *ask)
{
	const struct http_head *h = ask->head;
	struct query q = {.ask = ask,
		.host = ask->host,
		.path = ask->path,
		.host_exact = true,
		.path_exact = true,
		.methods = 1u << h->method,
		.others = &h->method_text,
		.other_count = h->method == HTTP_OTHER,
		.best = r->count};

	ASSERT((unsigned)h->method <= HTTP_OTHER);
	/* "example.com." is the same name, written absolutely. */
	if (ask->host.len > 1 && ask->host.ptr[ask->host.len - 1] == '.')
		q.host.len--;
	walk(r, &q);
	return q.best < r->count ? &r->routes[q.best] : NULL;
}

/* --- what can never match ------------------------------------------------------------------------
 */

struct shadow {
	uint32_t first, last;
};

/* The earlier route that takes all requests of this pattern with these methods goes into the
 * shadow; false: there is none. */
static bool find_shadow(const struct routes *r, unsigned index, const struct combo *combo,
	struct query *q, struct shadow *ret)
{
	const struct host_set *set = &r->sets[combo->set];
	const struct pattern *p = combo->pattern == NONE ? NULL : &r->patterns[combo->pattern];

	q->match = &r->matches[index];
	q->host = set->host;
	q->path = p ? p->path : (struct span){0};
	q->host_exact = !set->wild;
	q->path_exact = p && p->kind == PATH_EXACT;
	q->best = index;
	walk(r, q);
	if (q->best == index)
		return false;
	ret->first = q->best < ret->first ? q->best : ret->first;
	ret->last = q->best > ret->last ? q->best : ret->last;
	return true;
}

/*
 * A pattern is a set of requests without end but for its methods: there is always one more name
 * below a wildcard or a prefix. So no number of smaller patterns fills it, and what takes all of it
 * for one method is one pattern around it; only over the methods do several routes add up.
 */
static bool find_shadows(
	const struct routes *r, unsigned index, const struct combo *combo, struct shadow *ret)
{
	const struct route_methods *m = &r->methods[index];

	if (m->bits == 0) {
		struct query q = {.methods = 0};

		return find_shadow(r, index, combo, &q, ret);
	}
	for (unsigned bit = 0; bit < HTTP_OTHER; bit++) {
		struct query q = {.methods = 1u << bit};

		if ((m->bits & 1u << bit) && !find_shadow(r, index, combo, &q, ret))
			return false;
	}
	for (unsigned i = 0; i < m->other_count; i++) {
		struct query q = {.methods = OTHER_BIT, .others = &m->others[i], .other_count = 1};

		if (!find_shadow(r, index, combo, &q, ret))
			return false;
	}
	return true;
}

bool routes_shadowed(const struct routes *r, unsigned index, const struct route **ret_first,
	const struct route **ret_last)
{
	struct shadow found = {NONE, 0};

	ASSERT(index < r->count);
	for (uint32_t i = r->first_of[index]; i < r->first_of[index + 1]; i++)
		if (!find_shadows(r, index, &r->combos[i], &found))
			return false;
	ASSERT(found.first != NONE); /* every route has a pattern */
	*ret_first = &r->routes[found.first];
	*ret_last = &r->routes[found.last];
	return true;
}

/* --- words ---------------------------------------------------------------------------------------
 */

static bool host_fits(const struct host_set *set, struct span host)
{
	if (set->host.len == 0)
		return true;
	if (host.len > 1 && host.ptr[host.len - 1] == '.')
		host.len--;
	if (!set->wild)
		return host_eq(set->host, host);
	return host.len > set->host.len &&
	       host_eq(set->host, span_from(host, host.len - set->host.len));
}

static bool path_fits(const struct pattern *p, struct span path)
{
	if (!p)
		return true;
	return p->kind == PATH_EXACT ? span_eq(p->path, path) : span_starts(path, p->path);
}

static void list_hosts(const struct routes *r, unsigned index, char *out, size_t size)
{
	int n = snprintf(out, size, "the host is not ");

	for (uint32_t i = r->first_of[index]; i < r->first_of[index + 1] && (size_t)n < size; i++) {
		const struct host_set *set = &r->sets[r->combos[i].set];

		if (i == r->first_of[index] || r->combos[i].set != r->combos[i - 1].set)
			n += snprintf(out + n, size - (size_t)n, "%s%s%.*s",
				i == r->first_of[index] ? "" : ", ", set->wild ? "*" : "",
				SPAN_ARG(set->host));
	}
}

static void list_paths(const struct routes *r, unsigned index, char *out, size_t size)
{
	uint32_t first = r->first_of[index], set = r->combos[first].set;
	int n = snprintf(out, size, "the path is not ");

	/* The same for each host: those of the first will do. */
	for (uint32_t i = first;
		i < r->first_of[index + 1] && r->combos[i].set == set && (size_t)n < size; i++) {
		const struct pattern *p = &r->patterns[r->combos[i].pattern];

		n += snprintf(out + n, size - (size_t)n, "%s%.*s%s", i == first ? "" : ", ",
			SPAN_ARG(p->path), p->kind == PATH_PREFIX ? "*" : "");
	}
}

static bool method_fits(const struct route_methods *m, const struct http_head *h)
{
	struct query q = {.others = &h->method_text, .other_count = h->method == HTTP_OTHER};

	return m->bits == 0 || ((m->bits & 1u << h->method) && has_others(m, &q));
}

void routes_why_not(
	const struct routes *r, unsigned index, const struct route_ask *ask, char *out, size_t size)
{
	const struct condition *failed;
	bool host = false, path = false, gave_up = false;

	ASSERT(index < r->count);
	for (uint32_t i = r->first_of[index]; i < r->first_of[index + 1]; i++) {
		const struct combo *c = &r->combos[i];

		if (!host_fits(&r->sets[c->set], ask->host))
			continue;
		host = true;
		path |= path_fits(c->pattern == NONE ? NULL : &r->patterns[c->pattern], ask->path);
	}
	if (!host)
		list_hosts(r, index, out, size);
	else if (!path)
		list_paths(r, index, out, size);
	else if (!method_fits(&r->methods[index], ask->head))
		snprintf(out, size, "the method is another");
	else if (!match_holds(&r->matches[index], ask, &failed, &gave_up))
		condition_describe(failed, out, size);
	else
		snprintf(out, size, "it takes the request");
	if (gave_up)
		snprintf(out, size, "its regular expression gave up: it takes too many steps");
}

const struct route *routes_take_all(const struct routes *r)
{
	const struct chain *any = &r->sets[0].any_path;
	const struct entry *first = any->first == NONE ? NULL : &r->entries[any->first];

	if (!first || first->route > 0 || first->methods || first->conditional)
		return NULL;
	return &r->routes[0];
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
