/*
 * A listener's routes from the checked tree: for the index (routes.h) their hosts, paths and
 * methods, for each what holds on it, and warnings of those that can never match.
 */
#include <stdio.h>
#include <stdlib.h>

#include "proxy/settings/build.h"
#include "proxy/settings/routes.h"
#include "shared/assert.h"

struct route_building {
	struct route_spec *specs;
	const struct conf_node **nodes;
	unsigned count;
};

/* --- for the index -----------------------------------------------------------------------------
 */

static void route_fault(struct builder *b, const struct conf_node *node, const char *what)
{
	conf_error(b->report, node->pos, NULL, "'%.*s' can not be matched: %s",
		SPAN_ARG(node->text), what);
}

/* Requests are matched after their path was made normal, so the pattern is made normal too. */
static struct span normal_path(
	struct builder *b, const struct conf_node *node, enum http_path_mode mode)
{
	struct span text = node->text, plain, path, query;
	bool prefix = text.len > 0 && text.ptr[text.len - 1] == '*';
	struct http_fault fault;
	char *out;

	plain = span_make(text.ptr, text.len - prefix);
	out = build_alloc(b, text.len + 2, 1);
	if (mode == HTTP_PATH_RAW || !out)
		return text;
	if (http_path(plain, HTTP_PATH_NORMALIZE, out, text.len + 1, &path, &query, &fault) !=
		PARSE_DONE) {
		route_fault(b, node, fault.why);
		return text;
	}
	if (span_eq(path, plain))
		return text;
	memmove(out, path.ptr, path.len);
	if (prefix)
		out[path.len] = '*';
	return span_make(out, path.len + prefix);
}

static void index_hosts(struct builder *b, const struct conf_node *hosts, struct route_spec *spec)
{
	struct span *all = build_alloc(b, hosts->count, sizeof(*all));

	if (!all)
		return;
	conf_each (host, hosts) {
		const char *fault = route_host_fault(host->text);

		if (fault)
			route_fault(b, host, fault);
		else
			all[spec->host_count++] = host->text;
	}
	spec->hosts = all;
}

static void index_paths(struct builder *b, const struct conf_node *paths, enum http_path_mode mode,
	struct route_spec *spec)
{
	struct span *all = build_alloc(b, paths->count, sizeof(*all));

	if (!all)
		return;
	conf_each (path, paths) {
		const char *fault;

		if (path->text.ptr[0] == '~' && paths->count > 1) {
			conf_error(b->report, path->pos, "write a route of its own for it",
				"a regular expression for the path stands alone");
			continue;
		}
		if (path->text.ptr[0] == '~')
			continue; /* a condition */
		fault = route_path_fault(path->text);
		if (fault)
			route_fault(b, path, fault);
		else
			all[spec->path_count++] = normal_path(b, path, mode);
	}
	spec->paths = all;
}

static void index_methods(
	struct builder *b, const struct conf_node *methods, struct route_spec *spec)
{
	struct span *all = build_alloc(b, methods->count, sizeof(*all));

	if (!all)
		return;
	conf_each (method, methods)
		all[spec->method_count++] = method->text;
	spec->methods = all;
}

static void index_match(struct builder *b, const struct conf_node *match, enum http_path_mode mode,
	struct route_spec *spec)
{
	const struct conf_node *hosts = conf_find(match, "host"), *paths = conf_find(match, "path");
	const struct conf_node *methods = conf_find(match, "method");

	if (hosts)
		index_hosts(b, hosts, spec);
	if (paths)
		index_paths(b, paths, mode, spec);
	if (methods)
		index_methods(b, methods, spec);
	build_match(b, match, &spec->match);
}

/* --- one route ---------------------------------------------------------------------------------
 */

static uint8_t priority_of(struct span word)
{
	if (span_eq(word, SPAN("low")))
		return PRIORITY_LOW;
	if (span_eq(word, SPAN("normal")))
		return PRIORITY_NORMAL;
	if (span_eq(word, SPAN("high")))
		return PRIORITY_HIGH;
	ASSERT(word.len == 1);
	return (uint8_t)(word.ptr[0] - '0');
}

/* The one pool that it has; NULL: several, or none. */
static const struct pool *pool_of(const struct builder *b, const struct conf_node *pool)
{
	const struct pool *p;

	if (!pool || pool->kind != CONF_SCALAR)
		return NULL;
	p = map_get(&b->pools, pool->text);
	ASSERT(p); /* the table checks references */
	return p;
}

static void build_timeouts_of_route(
	struct builder *b, const struct listener *l, const struct conf_node *node, struct route *r)
{
	r->timeouts = l->timeouts;
	if (r->pool)
		build_pool_timeouts(b, r->pool->node, NULL, &r->timeouts);
	build_timeouts(b, node, "route", &r->timeouts);
	r->timeouts.head_ns = l->timeouts.head_ns;
	r->timeouts.idle_ns = l->timeouts.idle_ns;
	r->timeouts.h2_idle_ns = l->timeouts.h2_idle_ns;
	r->timeouts.drain_ns = l->timeouts.drain_ns;
}

/* node: the route, or of the short form only the pool's name. */
static void build_route(struct builder *b, struct route_building *rb, const struct listener *l,
	const struct conf_node *node)
{
	struct route_spec *spec = &rb->specs[rb->count];
	struct route *r = &spec->route;
	const struct conf_node *match;
	struct match *kept;

	r->index = rb->count;
	r->line = node->pos.line;
	r->priority = PRIORITY_NORMAL;
	r->content = l->content;
	rb->nodes[rb->count++] = node;
	if (node->kind == CONF_SCALAR) {
		r->pool = pool_of(b, node);
		build_timeouts_of_route(b, l, NULL, r);
		return;
	}
	r->pool = pool_of(b, conf_find(node, "pool"));
	r->priority = priority_of(conf_text(node, "priority"));
	build_content_limits(node, &r->content);
	build_timeouts_of_route(b, l, node, r);
	match = conf_find(node, "match");
	if (match)
		index_match(b, match, l->path_mode, spec);
	kept = build_alloc(b, 1, sizeof(*kept));
	if (!kept)
		return;
	*kept = spec->match;
	r->action = build_action(b, node, kept, &l->timeouts);
}

/* --- what can never match ----------------------------------------------------------------------
 */

static size_t describe_first(const struct conf_node *list, char *out, size_t size)
{
	const struct conf_node *first = conf_first(list);
	int n = first ? snprintf(out, size, "%.*s%s", SPAN_ARG(first->text),
				list->count > 1 ? " and others" : "")
		      : 0;

	return n > 0 ? (size_t)n < size ? (size_t)n : size - 1 : 0;
}

/* "shop.example.com/assets/x" as the file has it, or "" for a route that takes all. */
static void describe(const struct conf_node *node, char *out, size_t size)
{
	const struct conf_node *host = conf_find(node, "match.host");
	const struct conf_node *path = conf_find(node, "match.path");
	size_t at = (size_t)snprintf(out, size, "%s", host || path ? " for " : "");

	at += describe_first(host, out + at, size - at);
	describe_first(path, out + at, size - at);
}

static void warn_of_shadows(
	struct builder *b, const struct routes *r, const struct conf_node *const *nodes)
{
	for (unsigned i = 0; i < routes_count(r); i++) {
		const struct route *first, *last;
		char what[512];

		ASSERT(nodes[i]);
		if (!routes_shadowed(r, i, &first, &last))
			continue;
		describe(nodes[i], what, sizeof(what));
		if (first == last)
			conf_warning(b->report, nodes[i]->pos, NULL,
				"route %u can never match: route %u (line %u) already takes every "
				"request%s",
				i + 1, first->index + 1, first->line, what);
		else
			conf_warning(b->report, nodes[i]->pos, NULL,
				"route %u can never match: routes before it, from %u (line %u) to "
				"%u (line %u), together take every request%s",
				i + 1, first->index + 1, first->line, last->index + 1, last->line,
				what);
	}
}

/* --- all of them -------------------------------------------------------------------------------
 */

void build_routes(struct builder *b, const struct conf_node *listener, struct listener *l)
{
	const struct conf_node *routes = conf_find(listener, "routes");
	const struct conf_node *pool = conf_find(listener, "pool");
	size_t count = routes ? routes->count : 1;
	struct route_building rb = {0};
	struct routes *built = NULL;

	ASSERT(!routes || !pool); /* the table's rules see to that; without both it redirects */
	if (count > ROUTES_MAX) {
		conf_error(b->report, routes->name_pos, NULL, "a listener has at most %d routes",
			ROUTES_MAX);
		return;
	}
	rb.specs = calloc(count + 1, sizeof(*rb.specs));
	rb.nodes = calloc(count + 1, sizeof(struct conf_node *));
	if (!rb.specs || !rb.nodes)
		b->out_of_memory = true;
	else if (pool)
		build_route(b, &rb, l, pool);
	else
		conf_each (route, routes)
			build_route(b, &rb, l, route);
	if (!b->out_of_memory && conf_report_errors(b->report) == 0) {
		built = routes_new(rb.specs, rb.count);
		b->out_of_memory = !built;
	}
	if (built) {
		warn_of_shadows(b, built, rb.nodes);
		l->takes_all = routes_take_all(built);
	}
	l->routes = built;
	free(rb.specs);
	free(rb.nodes);
}
