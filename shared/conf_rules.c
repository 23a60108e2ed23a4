/*
 * Rules that take several keys: what a pair needs to be safe, addresses written twice, listeners
 * that lead nowhere. Looks only at what conf_check() found good.
 */
#include <stdlib.h>

#include "shared/assert.h"
#include "shared/conf_build.h"
#include "shared/map.h"

enum { PATHS_MAX = 8, LEASE_MARGIN_MS = 15 };
enum { MODE_HTTP, MODE_TCP, MODE_PASSTHROUGH }; /* as the words of 'mode' */

struct rules {
	const struct conf *conf;
	struct conf_report *report;
	bool no_memory;
};

static struct conf_pos name_or_value(const struct conf_node *n)
{
	return n->name.len ? n->name_pos : n->pos;
}

/* The first node with the same text as this, which is remembered otherwise; NULL when it is new. */
static const struct conf_node *seen_before(
	struct rules *r, struct map *seen, struct span text, const struct conf_node *n)
{
	const struct conf_node *first = map_get(seen, text);

	if (!first && map_put(seen, text, (void *)(uintptr_t)n) < 0)
		r->no_memory = true;
	return first;
}

/* Every member of a named map has its own number at `key`. */
static void check_own_number(struct rules *r, const struct conf_node *named, const char *key)
{
	const struct conf_node *owner[256] = {NULL};

	conf_each (member, named) {
		const struct conf_node *n = good(member, key);
		char place[160];

		if (!n)
			continue;
		ASSERT(n->num < countof(owner));
		if (!owner[n->num]) {
			owner[n->num] = member;
			continue;
		}
		conf_place(r->conf, owner[n->num]->name_pos, n->pos, place, sizeof(place));
		conf_error(r->report, n->pos, NULL, "%s %llu belongs to %s '%.*s' already%s", key,
			(unsigned long long)n->num, named->key->noun, SPAN_ARG(owner[n->num]->name),
			place);
	}
}

/* --- failover -------------------------------------------------------------------------------- */

/* Every path of `a` is one of `b` too; addresses are compared once. */
static void check_paths(
	struct rules *r, const struct conf_node *a, const struct conf_node *b, bool addresses)
{
	const struct conf_node *of_a = good(a, "paths"), *of_b = good(b, "paths");

	conf_each (path, of_a) {
		const struct conf_node *other = NULL;
		char place[160];

		conf_each (candidate, of_b)
			if (span_eq(candidate->name, path->name))
				other = candidate;
		conf_place(r->conf, path->name_pos, b->name_pos, place, sizeof(place));
		if (of_b && !other)
			conf_error(r->report, of_b->name_pos, NULL,
				"node '%.*s' has no path '%.*s', which node '%.*s' has%s",
				SPAN_ARG(b->name), SPAN_ARG(path->name), SPAN_ARG(a->name), place);
		if (!other || !addresses || path->broken || other->broken)
			continue;
		if (addr_eq_ip(&path->addr, &other->addr))
			conf_error(r->report, other->pos, NULL,
				"both nodes have the same address on path '%.*s'",
				SPAN_ARG(path->name));
		else if (path->addr.sa.sa_family != other->addr.sa.sa_family)
			conf_error(r->report, other->pos, NULL,
				"path '%.*s' is IPv4 on one node and IPv6 on the other",
				SPAN_ARG(path->name));
	}
}

static void check_virtual_ips(
	struct rules *r, const struct conf_node *groups, const struct conf_node *nodes)
{
	struct map seen;

	map_init(&seen, 4096);
	conf_each (node, nodes)
		conf_each (path, good(node, "paths"))
			if (!path->broken) {
				char text[ADDR_TEXT_MAX];

				addr_format_ip(&path->addr, text);
				seen_before(r, &seen, span_of(text), path);
			}
	conf_each (group, groups)
		conf_each (ip, good(group, "virtual_ips")) {
			const struct conf_node *first;
			char text[ADDR_TEXT_MAX], place[160];
			struct span alone;

			if (ip->broken)
				continue;
			cidr_format(&ip->cidr, text);
			alone = span_make(text, span_find(span_of(text), '/', 0));
			first = seen_before(r, &seen, alone, ip);
			if (!first)
				continue;
			conf_place(r->conf, first->pos, ip->pos, place, sizeof(place));
			conf_error(r->report, ip->pos, NULL, "address %.*s is %s already%s",
				SPAN_ARG(alone),
				first->key->type == CONF_TYPE_CIDR ? "a virtual IP"
								   : "a node's own",
				place);
		}
	map_fini(&seen);
}

static void check_group_paths(
	struct rules *r, const struct conf_node *group, const struct conf_node *paths)
{
	conf_each (wanted, good(group, "paths")) {
		size_t best = near_limit(wanted->text);
		const struct conf_node *near = NULL;
		char hint[128];
		bool found = span_eq(wanted->text, SPAN("all"));

		conf_each (path, paths) {
			found = found || span_eq(path->name, wanted->text);
			if (is_nearer(wanted->text, path->name, &best))
				near = path;
		}
		if (found || wanted->broken || !paths)
			continue;
		if (near)
			snprintf(hint, sizeof(hint), "did you mean '%.*s'?", SPAN_ARG(near->name));
		conf_error(r->report, wanted->pos, near ? hint : NULL,
			"path '%.*s' is not one of the nodes'", SPAN_ARG(wanted->text));
	}
}

/* VRRP counts its numbers by interface and family. */
static bool is_apart(
	const struct conf_node *failover, const struct conf_node *a, const struct conf_node *b)
{
	bool v4[2] = {false}, v6[2] = {false};
	const struct conf_node *groups[2] = {a, b};

	for (size_t i = 0; i < countof(groups); i++) {
		if (!conf_speaks_vrrp(failover, groups[i]))
			return false;
		conf_each (vip, good(groups[i], "virtual_ips")) {
			v4[i] = v4[i] || vip->cidr.family == AF_INET;
			v6[i] = v6[i] || vip->cidr.family == AF_INET6;
		}
	}
	return !span_eq(conf_text(a, "interface"), conf_text(b, "interface")) ||
	       (!(v4[0] && v4[1]) && !(v6[0] && v6[1]));
}

static void check_vrids(
	struct rules *r, const struct conf_node *failover, const struct conf_node *groups)
{
	conf_each (group, groups) {
		const struct conf_node *vrid = good(group, "vrid");

		conf_each (other, groups) {
			const struct conf_node *its = good(other, "vrid");
			char place[160];

			if (other == group)
				break;
			if (!vrid || !its || vrid->num != its->num ||
				is_apart(failover, group, other))
				continue;
			conf_place(r->conf, other->name_pos, vrid->pos, place, sizeof(place));
			conf_error(r->report, vrid->pos, NULL,
				"vrid %llu belongs to group '%.*s' already%s",
				(unsigned long long)vrid->num, SPAN_ARG(other->name), place);
			break;
		}
	}
}

struct times {
	uint64_t heartbeat, lease, silence, probe,
		claim_window; /* ms in the profiles, ns when read */
};

/* The profile's times with what is written beside it; false when that is faulty itself. */
static bool read_times(const struct conf_node *failover, struct times *t)
{
	static const struct times profiles[] = {
		{10, 40, 55, 10, 40}, {50, 250, 300, 50, 150}, {200, 1000, 1200, 100, 400}};
	const struct conf_node *profile = conf_find(failover, "profile");
	const struct conf_node *times = conf_find(failover, "times");
	const char *const names[] = {"heartbeat", "lease", "silence", "probe", "claim_window"};
	uint64_t *const values[] = {
		&t->heartbeat, &t->lease, &t->silence, &t->probe, &t->claim_window};

	if ((profile && profile->broken) || (times && times->broken))
		return false;
	*t = profiles[conf_u64(failover, "profile")];
	for (size_t i = 0; i < countof(names); i++) {
		const struct conf_node *n = times ? conf_find(times, names[i]) : NULL;

		if (n && n->broken)
			return false;
		*values[i] = n ? n->num : *values[i] * NS_PER_MS;
	}
	return true;
}

static void check_times(struct rules *r, const struct conf_node *failover)
{
	const struct conf_node *at = conf_find(failover, "times");
	struct times t;

	if (!at || !read_times(failover, &t))
		return; /* the profiles themselves are good */
	if (t.heartbeat > t.lease / 4)
		conf_error(r->report, name_or_value(at), NULL,
			"heartbeat must be at most a quarter of lease (%llu ms of %llu ms)",
			(unsigned long long)(t.heartbeat / NS_PER_MS),
			(unsigned long long)(t.lease / NS_PER_MS));
	if (t.lease + LEASE_MARGIN_MS * NS_PER_MS > t.silence)
		conf_error(r->report, name_or_value(at), NULL,
			"silence must be at least %d ms longer than lease (%llu ms and %llu ms): "
			"else "
			"two nodes could be active",
			LEASE_MARGIN_MS, (unsigned long long)(t.silence / NS_PER_MS),
			(unsigned long long)(t.lease / NS_PER_MS));
	if (t.claim_window <= t.probe)
		conf_error(r->report, name_or_value(at), NULL,
			"claim_window must be longer than probe (%llu ms and %llu ms)",
			(unsigned long long)(t.claim_window / NS_PER_MS),
			(unsigned long long)(t.probe / NS_PER_MS));
}

static void check_failover(struct rules *r, const struct conf_node *failover)
{
	const struct conf_node *nodes = good(failover, "nodes"), *groups = good(failover, "groups");

	if (nodes) {
		ASSERT(nodes->count == 2);
		check_own_number(r, nodes, "id");
		check_paths(r, nodes->first, nodes->last, true);
		check_paths(r, nodes->last, nodes->first, false);
	}
	if (groups) {
		check_vrids(r, failover, groups);
		check_virtual_ips(r, groups, nodes);
	}
	conf_each (group, groups) {
		const struct conf_node *failback = good(group, "failback");

		check_group_paths(r, group, nodes ? good(nodes->first, "paths") : NULL);
		if (failback && failback->num && !conf_find(group, "prefer") &&
			!conf_find(group, "priority"))
			conf_error(r->report, failback->pos, NULL,
				"failback: after needs 'prefer': which node gets the group back?");
	}
	check_times(r, failover);
	conf_rules_protocol(r->report, failover);
}

/* --- proxy ----------------------------------------------------------------------------------- */

/* Each address once: two sockets could share it, and each get some of the clients. But one that
 * passes TLS on may have one of HTTP behind it, which gets what it does not take. */
static void check_binds(
	struct rules *r, const struct conf_node *binds, uint64_t mode, struct map *seen)
{
	static const char *const claims[] = {"http", "tls"};

	conf_each (bind, binds) {
		const struct conf_node *first = NULL;
		char text[ADDR_TEXT_MAX], claim[ADDR_TEXT_MAX + 8], place[160];

		if (bind->broken)
			continue;
		addr_format(&bind->addr, text);
		for (unsigned i = 0; i < countof(claims) && !first; i++) {
			if (mode == (i ? MODE_HTTP : MODE_PASSTHROUGH))
				continue;
			snprintf(claim, sizeof(claim), "%s %s", claims[i], text);
			first = seen_before(r, seen, span_of(claim), bind);
		}
		if (!first)
			continue;
		conf_place(r->conf, first->pos, bind->pos, place, sizeof(place));
		conf_error(r->report, bind->pos, NULL, "%.*s is listened on already%s",
			SPAN_ARG(bind->text), place);
	}
}

static void check_admin(struct rules *r, const struct conf_node *admin)
{
	static const char *const own[] = {"127.0.0.0/8", "::1"};

	if (!admin || conf_find(admin, "allow"))
		return;
	conf_each (bind, good(admin, "bind")) {
		bool local = bind->broken;
		struct cidr c;

		for (size_t i = 0; !local && i < countof(own); i++)
			local = cidr_parse(span_of(own[i]), &c, NULL) == 0 &&
				cidr_contains(&c, &bind->addr);
		if (!local)
			conf_warning(r->report, bind->pos, "add allow: [NETWORK, ...]",
				"whoever reaches %.*s sees the state of this node",
				SPAN_ARG(bind->text));
	}
}

/* Where there is no agent nobody sends them. */
static void check_alerts(struct rules *r)
{
	const struct conf_node *alerts = conf_find(r->conf->root, "alerts");

	if (alerts && !conf_find(r->conf->root, "failover"))
		conf_warning(r->report, alerts->name_pos, "watch /metrics of 'admin'",
			"nobody will be told: alerts are sent by the agent, and a box without "
			"'failover' has none");
}

static void check_listeners(struct rules *r, const struct conf_node *listeners)
{
	struct map seen;

	map_init(&seen, 65536);
	conf_each (listener, listeners) {
		const struct conf_node *pool = conf_find(listener, "pool");
		const struct conf_node *routes = conf_find(listener, "routes");

		if (listener->broken)
			continue;
		if (!pool && !routes && !conf_find(listener, "redirect"))
			conf_error(r->report, listener->name_pos, NULL,
				"listener '%.*s' needs 'pool'%s", SPAN_ARG(listener->name),
				conf_u64(listener, "mode") == MODE_TCP ? "" : " or 'routes'");
		if (pool && routes)
			conf_error(r->report, pool->name_pos, "make it the last route",
				"listener '%.*s' has both 'pool' and 'routes'",
				SPAN_ARG(listener->name));
		check_binds(r, good(listener, "bind"), conf_u64(listener, "mode"), &seen);
	}
	check_binds(r, good(good(r->conf->root, "admin"), "bind"), MODE_TCP, &seen);
	map_fini(&seen);
}

static void check_limits(struct rules *r, const struct conf_node *pool)
{
	const struct conf_node *limits = good(pool, "limits");
	const struct conf_node *wait = good(limits, "queue_timeout");
	const struct conf_node *queue = good(limits, "queue");

	if (limits && !conf_find(limits, "connections_per_server") &&
		(queue || wait || !conf_find(limits, "idle_per_server")))
		conf_error(r->report, limits->name_pos, NULL,
			"'limits' of pool '%.*s' needs 'connections_per_server': without it "
			"nobody ever waits",
			SPAN_ARG(pool->name));
	if (wait && good(pool, "timeouts.queue"))
		conf_error(r->report, wait->name_pos, "write one of the two",
			"pool '%.*s' has both 'queue_timeout' and 'timeouts: {queue}'",
			SPAN_ARG(pool->name));
}

static const struct conf_node *stand_in(const struct conf_node *pool)
{
	const struct conf_node *name = good(pool, "when_all_down.pool");

	return name ? name->target : NULL;
}

/* Where the traffic goes with a pool's servers down, and on from there, is never back to it. */
static void check_stand_in(struct rules *r, const struct conf_node *pool, size_t pools)
{
	const struct conf_node *at = stand_in(pool);

	for (size_t steps = 0; at && at != pool && steps < pools; steps++)
		at = stand_in(at);
	if (at && at == pool)
		conf_error(r->report, conf_find(pool, "when_all_down.pool")->pos, NULL,
			"with all servers down the traffic of pool '%.*s' would come back to it",
			SPAN_ARG(pool->name));
}

static void check_pools(struct rules *r, const struct conf_node *pools)
{
	conf_each (pool, pools) {
		conf_each (server, good(pool, "servers")) {
			const struct conf_node *address = good(server, "address");

			if (address && address->addr.sa.sa_family != AF_UNSPEC &&
				addr_is_any(&address->addr))
				conf_error(r->report, address->pos, NULL,
					"'%.*s' is no server's address: write its IP address",
					SPAN_ARG(address->text));
		}
		conf_rules_health(r->report, pool);
		check_limits(r, pool);
		conf_rules_discover(r->report, r->conf->root, pool);
		conf_rules_scale(r->report, r->conf->root, pool);
		conf_rules_pool_tls(r->report, pool);
		check_stand_in(r, pool, pools->count);
	}
}

int conf_rules(const struct conf *conf, struct conf_report *report)
{
	struct rules r = {.conf = conf, .report = report};
	const struct conf_node *failover = good(conf->root, "failover");

	if (failover)
		check_failover(&r, failover);
	check_listeners(&r, good(conf->root, "listeners"));
	check_admin(&r, good(conf->root, "admin"));
	check_alerts(&r);
	conf_rules_tls(report, good(conf->root, "listeners"));
	check_pools(&r, good(conf->root, "pools"));
	conf_rules_stream(report, conf);
	if (conf_rules_routes(report, conf->root) < 0)
		r.no_memory = true;
	return r.no_memory ? -1 : 0;
}
