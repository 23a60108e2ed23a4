/*
 * What a reload changes, in words. First what has a name for it; then, where the file says
 * something else and no line has said so, that a section changed.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "proxy/settings/routes.h"
#include "proxy/settings/settings.h"
#include "proxy/tls/client.h"
#include "proxy/tls/server.h"
#include "shared/assert.h"
#include "shared/map.h"

enum { ROUTES_TOLD_MAX = 10 };

struct diff {
	char **lines;
	size_t count, room;
};

static void say(struct diff *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct diff *d, const char *fmt, ...)
{
	char line[512];
	char **lines = d->lines;
	va_list args;

	if (d->count == d->room) {
		lines = realloc(d->lines, (d->room * 2 + 16) * sizeof(*lines));
		if (!lines)
			return; /* fewer words: the reload itself goes on */
		d->lines = lines;
		d->room = d->room * 2 + 16;
	}
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	lines[d->count] = span_dup(span_of(line));
	if (lines[d->count])
		d->count++;
}

/* The same names and values in the same order. */
static bool same(const struct conf_node *a, const struct conf_node *b)
{
	if (!a || !b)
		return a == b;
	if (a->kind != b->kind || a->count != b->count || !span_eq(a->name, b->name) ||
		!span_eq(a->text, b->text))
		return false;
	for (a = a->first, b = b->first; a && b; a = a->next, b = b->next)
		if (!same(a, b))
			return false;
	return !a && !b;
}

/* --- pools -------------------------------------------------------------------------------------
 */

static void diff_member(
	struct diff *d, struct span pool, const struct member *old, const struct member *new)
{
	const char *name = new->server->name;

	if (!addr_eq(&old->server->address, &new->server->address))
		say(d, "pool %.*s: server %s address %s -> %s", SPAN_ARG(pool), name,
			old->server->address_text, new->server->address_text);
	if (old->weight != new->weight)
		say(d, "pool %.*s: server %s weight %u -> %u", SPAN_ARG(pool), name, old->weight,
			new->weight);
	if (!span_eq(old->zone, new->zone))
		say(d, "pool %.*s: server %s zone '%.*s' -> '%.*s'", SPAN_ARG(pool), name,
			SPAN_ARG(old->zone), SPAN_ARG(new->zone));
	if (old->disabled != new->disabled)
		say(d, "pool %.*s: server %s %s", SPAN_ARG(pool), name,
			new->disabled ? "disabled" : "enabled");
	if (old->backup != new->backup)
		say(d, "pool %.*s: server %s is %s backup", SPAN_ARG(pool), name,
			new->backup ? "now a" : "no longer a");
}

static void diff_members(struct diff *d, const struct pool *old, const struct pool *new)
{
	struct map by_name;

	map_init(&by_name, old->member_count);
	for (unsigned i = 0; i < old->member_count; i++)
		if (map_put(&by_name, span_of(old->members[i].server->name), &old->members[i]) < 0)
			break;
	for (unsigned i = 0; i < new->member_count; i++) {
		const struct member *m = &new->members[i];
		const struct member *was = map_take(&by_name, span_of(m->server->name));

		if (was)
			diff_member(d, new->name, was, m);
		else
			say(d, "pool %.*s: server %s added", SPAN_ARG(new->name), m->server->name);
	}
	for (unsigned i = 0; i < old->member_count; i++)
		if (map_get(&by_name, span_of(old->members[i].server->name)))
			say(d, "pool %.*s: server %s removed", SPAN_ARG(old->name),
				old->members[i].server->name);
	map_fini(&by_name);
}

static void diff_pool(struct diff *d, const struct pool *old, const struct pool *new)
{
	static const char *const parts[] = {"health", "limits", "passive", "protocol", "retry",
		"send_proxy", "slow_start", "sticky", "timeouts", "tls", "when_all_down"};

	struct span before = conf_text(old->node, "balance"),
		    after = conf_text(new->node, "balance");

	diff_members(d, old, new);
	if (!span_eq(before, after))
		say(d, "pool %.*s: balance %.*s -> %.*s", SPAN_ARG(new->name), SPAN_ARG(before),
			SPAN_ARG(after));
	for (size_t i = 0; i < countof(parts); i++)
		if (!same(conf_find(old->node, parts[i]), conf_find(new->node, parts[i])))
			say(d, "pool %.*s: %s changed", SPAN_ARG(new->name), parts[i]);
	/* The files may be others than they were, whatever the file that names them says. */
	if (same(conf_find(old->node, "tls"), conf_find(new->node, "tls")) &&
		tls_client_id(old->tls) != tls_client_id(new->tls))
		say(d, "pool %.*s: certificates changed", SPAN_ARG(new->name));
}

/* --- listeners ---------------------------------------------------------------------------------
 */

static bool has_bind(const struct listener *l, const struct addr *a)
{
	for (unsigned i = 0; i < l->bind_count; i++)
		if (addr_eq(&l->binds[i], a))
			return true;
	return false;
}

static void diff_binds(struct diff *d, const struct listener *old, const struct listener *new)
{
	char text[ADDR_TEXT_MAX];

	for (unsigned i = 0; i < new->bind_count; i++) {
		addr_format(&new->binds[i], text);
		if (!has_bind(old, &new->binds[i]))
			say(d, "listener %.*s: bind %s added", SPAN_ARG(new->name), text);
	}
	for (unsigned i = 0; i < old->bind_count; i++) {
		addr_format(&old->binds[i], text);
		if (!has_bind(new, &old->binds[i]))
			say(d, "listener %.*s: bind %s removed", SPAN_ARG(old->name), text);
	}
}

static bool same_certificates(const struct tls_server *a, const struct tls_server *b)
{
	if (!a || !b || a->store->count != b->store->count)
		return a == b;
	for (unsigned i = 0; i < a->store->count; i++)
		if (memcmp(a->store->certs[i]->fingerprint, b->store->certs[i]->fingerprint,
			    sizeof(a->store->certs[i]->fingerprint)) != 0)
			return false;
	return true;
}

struct route_nodes {
	const struct conf_node **all; /* NULL: none, or out of memory */
	size_t count;
};

static struct route_nodes routes_of(const struct listener *l)
{
	const struct conf_node *routes = conf_find(l->node, "routes");
	struct route_nodes r = {0};

	r.all = calloc(routes ? routes->count + 1 : 1, sizeof(struct conf_node *));
	if (r.all)
		conf_each (route, routes)
			r.all[r.count++] = route;
	return r;
}

/* Routes have no names: what is the same at the beginning and at the end stays, and what lies
 * between is told by its place. */
static void diff_routes(struct diff *d, const struct listener *old, const struct listener *new)
{
	struct route_nodes a = routes_of(old), b = routes_of(new);
	size_t at = 0, a_end = a.count, b_end = b.count, told = 0;

	if (!same(conf_find(old->node, "pool"), conf_find(new->node, "pool")))
		say(d, "listener %.*s: pool changed", SPAN_ARG(new->name));
	while (at < a_end && at < b_end && same(a.all[at], b.all[at]))
		at++;
	while (at < a_end && at < b_end && same(a.all[a_end - 1], b.all[b_end - 1]))
		a_end--, b_end--;
	for (; (at < a_end || at < b_end) && told < ROUTES_TOLD_MAX; at++, told++)
		say(d, "listener %.*s: route %zu %s", SPAN_ARG(new->name), at + 1,
			at >= a_end   ? "added"
			: at >= b_end ? "removed"
				      : "changed");
	if (at < a_end || at < b_end)
		say(d, "listener %.*s: and %zu more routes", SPAN_ARG(new->name),
			(a_end > b_end ? a_end : b_end) - at);
	free(a.all);
	free(b.all);
}

static void diff_listener(struct diff *d, const struct listener *old, const struct listener *new)
{
	static const char *const parts[] = {"mode", "proxy_protocol", "trusted_proxies", "path",
		"limits", "timeouts", "via", "tls", "redirect", "allow", "deny"};

	diff_binds(d, old, new);
	diff_routes(d, old, new);
	for (size_t i = 0; i < countof(parts); i++)
		if (!same(conf_find(old->node, parts[i]), conf_find(new->node, parts[i])))
			say(d, "listener %.*s: %s changed", SPAN_ARG(new->name), parts[i]);
	if (!same_certificates(old->tls, new->tls))
		say(d, "listener %.*s: certificates changed", SPAN_ARG(new->name));
}

/* --- the whole ---------------------------------------------------------------------------------
 */

static void diff_pools(struct diff *d, const struct settings *old, const struct settings *new)
{
	struct map by_name;

	map_init(&by_name, old->pool_count);
	for (unsigned i = 0; i < old->pool_count; i++)
		if (map_put(&by_name, old->pools[i].name, &old->pools[i]) < 0)
			break;
	for (unsigned i = 0; i < new->pool_count; i++) {
		const struct pool *p = &new->pools[i], *was = map_take(&by_name, p->name);

		if (was)
			diff_pool(d, was, p);
		else
			say(d, "pool %.*s added, servers: %u", SPAN_ARG(p->name), p->member_count);
	}
	for (unsigned i = 0; i < old->pool_count; i++)
		if (map_get(&by_name, old->pools[i].name))
			say(d, "pool %.*s removed", SPAN_ARG(old->pools[i].name));
	map_fini(&by_name);
}

static const struct listener *listener_named(const struct settings *s, struct span name)
{
	for (unsigned i = 0; i < s->listener_count; i++)
		if (span_eq(s->listeners[i].name, name))
			return &s->listeners[i];
	return NULL;
}

static void diff_listeners(struct diff *d, const struct settings *old, const struct settings *new)
{
	for (unsigned i = 0; i < new->listener_count; i++) {
		const struct listener *l = &new->listeners[i], *was = listener_named(old, l->name);

		if (was)
			diff_listener(d, was, l);
		else
			say(d, "listener %.*s added", SPAN_ARG(l->name));
	}
	for (unsigned i = 0; i < old->listener_count; i++)
		if (!listener_named(new, old->listeners[i].name))
			say(d, "listener %.*s removed", SPAN_ARG(old->listeners[i].name));
}

size_t settings_diff(const struct settings *old, const struct settings *new, char ***ret_lines)
{
	static const char *const parts[] = {"timeouts", "log", "failover", "location"};
	struct diff d = {0};

	if (old->workers != new->workers)
		say(&d, "workers %u -> %u: from the next start on", old->workers, new->workers);
	diff_listeners(&d, old, new);
	diff_pools(&d, old, new);
	for (size_t i = 0; i < countof(parts); i++)
		if (!same(conf_find(old->conf->root, parts[i]),
			    conf_find(new->conf->root, parts[i])))
			say(&d, "%s changed", parts[i]);
	*ret_lines = d.lines;
	return d.count;
}
