/*
 * Building the index of routes, and what is wrong with a pattern. Everything is counted first, so
 * that nothing has to grow later.
 */
#include <stdlib.h>

#include "proxy/settings/routes_index.h"

/* --- patterns as written ---------------------------------------------------------------------- */

const char *route_host_fault(struct span host)
{
	struct span name = host;

	if (span_starts(host, SPAN("*.")))
		name = span_from(host, 2);
	if (name.len == 0)
		return "a host name is missing";
	if (name.len > 253)
		return "a host name has at most 253 characters";
	if (name.ptr[0] == '[')
		return name.ptr[name.len - 1] == ']' ? NULL : "write it without the port";
	if (name.ptr[0] == '.' || name.ptr[name.len - 1] == '.')
		return "write it without a dot at either end";
	for (size_t i = 0; i < name.len; i++) {
		char c = ascii_lower(name.ptr[i]);

		if (c == ':')
			return "write it without the port";
		if (c == '*')
			return "'*' stands only for the first labels, as in *.example.com";
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
			    c == '_'))
			return "write it with letters, digits, '-', '_' and '.'";
	}
	return NULL;
}

const char *route_path_fault(struct span path)
{
	if (path.len == 0 || path.ptr[0] != '/')
		return "a path begins with '/'";
	if (path.len > 4096)
		return "a path has at most 4096 characters";
	for (size_t i = 0; i < path.len; i++) {
		char c = path.ptr[i];

		if (c == '*' && (i + 1 < path.len || path.ptr[i - 1] != '/'))
			return "'*' stands only at the end, after a '/', as in /x/*";
		if (c == '?' || c == '#')
			return "a path ends before '?' and '#'";
		if (c <= ' ' || c == 127)
			return "blanks, control and non-ASCII characters are written as %XX";
	}
	return NULL;
}

/* --- building -------------------------------------------------------------------------------- */

static struct span keep(struct routes *r, struct span s, bool lower)
{
	char *at = r->text + r->text_len;

	ASSERT(s.len <= r->text_max - r->text_len);
	for (size_t i = 0; i < s.len; i++)
		at[i] = lower ? ascii_lower(s.ptr[i]) : s.ptr[i];
	r->text_len += s.len;
	return span_make(at, s.len);
}

static void table_put(struct table *t, uint64_t hash, uint32_t index)
{
	uint32_t i = (uint32_t)hash & t->mask;

	while (t->slots[i].item)
		i = (i + 1) & t->mask;
	t->slots[i] = (struct slot){(uint32_t)(hash >> 32), index + 1};
}

static uint32_t new_set(struct routes *r, struct span host, bool wild)
{
	uint32_t index = r->set_count++;

	ASSERT(index < r->set_max);
	r->sets[index] = (struct host_set){.host = keep(r, host, true),
		.wild = wild,
		.first_route = NONE,
		.any_path = {NONE, NONE, 0, false}};
	return index;
}

static uint32_t add_host(struct routes *r, struct span text)
{
	bool wild = text.ptr[0] == '*';
	struct span host = wild ? span_from(text, 1) : text;
	uint32_t index = routes_find_set(r, host, wild);

	ASSERT(!route_host_fault(text));
	if (index != NONE)
		return index;
	index = new_set(r, host, wild);
	table_put(&r->hosts, host_hash(r->sets[index].host, wild), index);
	if (wild) {
		r->wild_lengths |= length_bit(host.len);
		if (host.len > r->longest_wild)
			r->longest_wild = (uint32_t)host.len;
	} else {
		r->has_exact_hosts = true;
	}
	return index;
}

static uint32_t add_path(struct routes *r, uint32_t set, struct span text)
{
	enum path_kind kind = text.ptr[text.len - 1] == '*' ? PATH_PREFIX : PATH_EXACT;
	struct span path = kind == PATH_PREFIX ? span_make(text.ptr, text.len - 1) : text;
	uint32_t index = routes_find_pattern(r, set, kind, path);
	struct host_set *s = &r->sets[set];

	ASSERT(!route_path_fault(text));
	if (index != NONE)
		return index;
	index = r->pattern_count++;
	ASSERT(index < r->pattern_max);
	r->patterns[index] =
		(struct pattern){set, kind, keep(r, path, false), {NONE, NONE, 0, false}};
	table_put(&r->paths, path_hash(set, kind, path), index);
	if (kind == PATH_EXACT) {
		s->exact_lengths |= length_bit(path.len);
	} else {
		s->prefix_lengths |= length_bit(path.len);
		if (path.len > s->longest_prefix)
			s->longest_prefix = (uint32_t)path.len;
	}
	return index;
}

/* A route that earlier ones of the same pattern leave nothing to is not chained: chains stay short.
 */
static void append(struct routes *r, struct chain *c, uint32_t route)
{
	uint32_t methods = r->methods[route].bits;
	bool conditional = r->matches[route].count > 0;

	if (c->all || (methods && !(methods & OTHER_BIT) && !(methods & ~c->methods)))
		return;
	ASSERT(r->entry_count < r->entry_max);
	r->entries[r->entry_count] = (struct entry){route, methods, conditional, NONE};
	if (c->last == NONE)
		c->first = r->entry_count;
	else
		r->entries[c->last].next = r->entry_count;
	c->last = r->entry_count++;
	if (conditional)
		return;
	c->methods |= methods;
	c->all = methods == 0;
}

static enum http_method method_of(struct span text)
{
	static const struct span names[] = {
#define X(name, text) SPAN(text),
		HTTP_METHODS(X)
#undef X
	};

	for (unsigned m = 0; m < HTTP_OTHER; m++)
		if (span_eq(names[m], text))
			return (enum http_method)m;
	return HTTP_OTHER;
}

static void add_methods(struct routes *r, const struct route_spec *spec, struct span **others)
{
	struct route_methods *m = &r->methods[spec->route.index];

	m->others = *others;
	for (unsigned i = 0; i < spec->method_count; i++) {
		enum http_method method = method_of(spec->methods[i]);

		m->bits |= 1u << method;
		if (method == HTTP_OTHER)
			m->others[m->other_count++] = keep(r, spec->methods[i], false);
	}
	*others += m->other_count;
}

static void add_combo(struct routes *r, uint32_t route, uint32_t set, uint32_t pattern)
{
	struct host_set *s = &r->sets[set];

	r->combos[r->first_of[route + 1]++] = (struct combo){set, pattern};
	if (route < s->first_route)
		s->first_route = route;
	append(r, pattern == NONE ? &s->any_path : &r->patterns[pattern].chain, route);
}

static void add_route(struct routes *r, const struct route_spec *spec)
{
	uint32_t route = spec->route.index;
	unsigned hosts = spec->host_count ? spec->host_count : 1;

	r->routes[route] = spec->route;
	r->matches[route] = spec->match;
	r->first_of[route + 1] = r->first_of[route];
	for (unsigned h = 0; h < hosts; h++) {
		uint32_t set = spec->host_count ? add_host(r, spec->hosts[h]) : 0;

		if (spec->path_count == 0)
			add_combo(r, route, set, NONE);
		for (unsigned p = 0; p < spec->path_count; p++)
			add_combo(r, route, set, add_path(r, set, spec->paths[p]));
	}
}

static int table_init(struct table *t, size_t items)
{
	size_t size = 16;

	while (size < items * 2)
		size *= 2;
	t->slots = calloc(size, sizeof(*t->slots));
	t->mask = (uint32_t)(size - 1);
	return t->slots ? 0 : -1;
}

static int allocate(
	struct routes *r, const struct route_spec *specs, unsigned count, struct span **ret_others)
{
	size_t sets = 1, patterns = 0, combos = 0, methods = 0, text = 0;

	for (unsigned i = 0; i < count; i++) {
		const struct route_spec *s = &specs[i];
		size_t hosts = s->host_count ? s->host_count : 1;

		sets += s->host_count;
		methods += s->method_count;
		patterns += hosts * s->path_count;
		combos += hosts * (s->path_count ? s->path_count : 1);
		for (unsigned h = 0; h < s->host_count; h++)
			text += s->hosts[h].len;
		for (unsigned p = 0; p < s->path_count; p++)
			text += s->paths[p].len * hosts;
		for (unsigned m = 0; m < s->method_count; m++)
			text += s->methods[m].len;
		if (combos > ROUTE_PATTERNS_MAX)
			return -1;
	}
	r->routes = calloc(count + 1, sizeof(*r->routes));
	r->methods = calloc(count + 1, sizeof(*r->methods));
	r->matches = calloc(count + 1, sizeof(*r->matches));
	r->first_of = calloc(count + 1, sizeof(*r->first_of));
	r->sets = calloc(sets, sizeof(*r->sets));
	r->patterns = calloc(patterns + 1, sizeof(*r->patterns));
	r->entries = calloc(combos + 1, sizeof(*r->entries));
	r->combos = calloc(combos + 1, sizeof(*r->combos));
	r->text = malloc(text + 1);
	*ret_others = r->others = calloc(methods + 1, sizeof(*r->others));
	r->set_max = (uint32_t)sets;
	r->pattern_max = (uint32_t)patterns;
	r->entry_max = (uint32_t)combos;
	r->text_max = text;
	if (table_init(&r->hosts, sets) < 0 || table_init(&r->paths, patterns) < 0)
		return -1;
	return r->routes && r->methods && r->matches && r->first_of && r->sets && r->patterns &&
			       r->entries && r->combos && r->text && r->others
		       ? 0
		       : -1;
}

struct routes *routes_new(const struct route_spec *specs, unsigned count)
{
	struct routes *r = calloc(1, sizeof(*r));
	struct span *others;

	if (!r)
		return NULL;
	if (count > ROUTES_MAX || allocate(r, specs, count, &others) < 0) {
		routes_free(r);
		return NULL;
	}
	r->count = count;
	new_set(r, (struct span){0}, false);
	for (unsigned i = 0; i < count; i++) {
		ASSERT(specs[i].route.index == i);
		add_methods(r, &specs[i], &others);
		add_route(r, &specs[i]);
	}
	ASSERT(r->text_len <= r->text_max && r->entry_count <= r->entry_max);
	return r;
}

void routes_free(struct routes *r)
{
	if (!r)
		return;
	free(r->routes);
	free(r->methods);
	free(r->matches);
	free(r->first_of);
	free(r->sets);
	free(r->patterns);
	free(r->entries);
	free(r->combos);
	free(r->others);
	free(r->text);
	free(r->hosts.slots);
	free(r->paths.slots);
	free(r);
}
