/*
 * From the checked tree to a snapshot. The table of keys has seen to types, ranges and references;
 * here is what concerns the proxy alone: which time holds where, and which routes can never match.
 */
#include "proxy/settings/settings.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "proxy/net/tally.h"
#include "proxy/settings/arena.h"
#include "proxy/settings/build.h"
#include "proxy/settings/check.h"
#include "proxy/settings/location.h"
#include "proxy/settings/routes.h"
#include "proxy/settings/stream.h"
#include "proxy/tls/client.h"
#include "proxy/tls/server.h"
#include "shared/assert.h"
#include "shared/map.h"

#define LINE_BYTES_MAX 8192
#define FIELD_BYTES_MAX 16384

/* --- times ----------------------------------------------------------------------------------- */

/* X(key, before a route is known: in a route or pool it would come too late) */
#define TIMEOUTS(X)             \
	X(head, true)           \
	X(body, false)          \
	X(idle, true)           \
	X(h2_idle, true)        \
	X(send, false)          \
	X(connect, false)       \
	X(first_byte, false)    \
	X(between_bytes, false) \
	X(tunnel, false)        \
	X(half_closed, false)   \
	X(queue, false)         \
	X(server_idle, false)   \
	X(drain, true)

static void timeouts_top(const struct conf_node *root, struct timeouts *t)
{
#define X(key, early) t->key##_ns = conf_u64(root, "timeouts." #key);
	TIMEOUTS(X)
#undef X
}

/* What is written under `node` replaces what was inherited. where: of a route or pool, for the
 * warning. */
void build_timeouts(
	struct builder *b, const struct conf_node *node, const char *where, struct timeouts *t)
{
	const struct conf_node *found;

#define X(key, early)                                                                            \
	found = conf_find(node, "timeouts." #key);                                               \
	if (found)                                                                               \
		t->key##_ns = found->num;                                                        \
	if (found && (early) && where)                                                           \
		conf_warning(b->report, found->name_pos, NULL,                                   \
			"timeout '" #key "' has no effect in a %s: write it in the listener or " \
			"at the top",                                                            \
			where);
	TIMEOUTS(X)
#undef X
}

/* What is written replaces what was inherited. */
void build_content_limits(const struct conf_node *node, struct content_limits *c)
{
	const struct conf_node *found;

	found = conf_find(node, "limits.request_body");
	if (found)
		c->body_max_bytes = found->num;
	found = conf_find(node, "limits.body_rate");
	if (found)
		c->body_rate = found->num;
	found = conf_find(node, "limits.send_rate");
	if (found)
		c->send_rate = found->num;
}

/* A pool's limits have a time, too. */
void build_pool_timeouts(
	struct builder *b, const struct conf_node *pool, const char *where, struct timeouts *t)
{
	const struct conf_node *queue = conf_find(pool, "limits.queue_timeout");

	build_timeouts(b, pool, where, t);
	if (queue)
		t->queue_ns = queue->num;
}

/* --- pools ----------------------------------------------------------------------------------- */

static void build_retry(const struct conf_node *node, struct retry_conf *r)
{
	static const char *const words[] = {
#define X(name, text) text,
		RETRY_WORDS(X)
#undef X
	};
	const struct conf_node *on = conf_find(node, "retry.on");

	r->further = 2;
	if (conf_find(node, "retry.attempts"))
		r->further = (unsigned)conf_u64(node, "retry.attempts") - 1;
	if (conf_find(node, "retry.retry_unsafe_methods"))
		r->unsafe_methods = conf_bool(node, "retry.retry_unsafe_methods");
	r->on = on ? 0 : RETRY_ON_CONNECT | RETRY_ON_STALE | RETRY_ON_RESET;
	conf_each (word, on)
		for (unsigned i = 0; i < countof(words); i++)
			if (span_eq(word->text, span_of(words[i])))
				r->on |= 1u << i;
}

static void build_passive(const struct conf_node *node, struct pool *p)
{
	const struct conf_node *passive = conf_find(node, "passive"), *most;

	p->passive = (struct passive_conf){PASSIVE_FAILURES, PASSIVE_EJECT_NS, PASSIVE_EJECTED_PCT};
	if (passive) {
		p->passive.failures = (unsigned)conf_u64(passive, "failures");
		p->passive.eject_ns = conf_u64(passive, "eject");
		most = conf_find(passive, "max_ejected");
		if (most)
			p->passive.max_ejected_pct = most->ratio;
	}
	if (conf_find(node, "slow_start"))
		p->slow_start_ns = conf_u64(node, "slow_start");
}

static void build_sticky(const struct builder *b, const struct conf_node *node, struct pool *p)
{
	const struct conf_node *sticky = conf_find(node, "sticky");

	if (!sticky)
		return;
	p->sticky.cookie = conf_text(sticky, "cookie");
	p->sticky.key = b->settings->sticky_key;
	if (conf_find(sticky, "max_age"))
		p->sticky.max_age_s = conf_u64(sticky, "max_age") / NS_PER_S;
}

static void build_members(struct builder *b, const struct conf_node *servers, struct pool *p)
{
	conf_each (node, servers) {
		const struct conf_node *address = conf_find(node, "address");
		struct member *m = &p->members[p->member_count];

		if (address->addr.sa.sa_family == AF_UNSPEC)
			continue; /* a name: its server comes by DNS */
		m->server = server_get(b->settings->table, p->name, node->name, &address->addr);
		if (!m->server && errno == ENOMEM) {
			b->out_of_memory = true;
			return;
		}
		if (!m->server) {
			conf_error(b->report, node->name_pos, NULL,
				"no room for server '%.*s': at most %d at a time, old and new ones "
				"together during a reload",
				SPAN_ARG(node->name), SERVERS_MAX);
			return;
		}
		p->member_count++;
		m->weight = (uint32_t)conf_u64(node, "weight");
		m->backup = conf_bool(node, "backup");
		m->disabled = !conf_bool(node, "enabled");
		m->zone = conf_text(node, "zone");
	}
}

/* "round_robin", "hash cookie:user": checked by the table. */
static void build_balance(struct span text, struct pool *p)
{
	static const char *const words[] = {
#define X(name, word) #word,
		BALANCES(X)
#undef X
	};
	static const char *const keys[] = {
#define X(name, text) text,
		HASH_KEYS(X)
#undef X
	};
	size_t space = span_find(text, ' ', 0);
	struct span key;

	for (unsigned i = 0; i < countof(words); i++)
		if (span_eq(span_make(text.ptr, space), span_of(words[i])))
			p->balance = (enum balance)i;
	if (p->balance != BALANCE_HASH)
		return;
	key = span_trim(span_from(text, space));
	for (unsigned i = 0; i < countof(keys); i++)
		if (span_starts(key, span_of(keys[i]))) {
			p->hash.key = i;
			p->hash.name = span_from(key, strlen(keys[i]));
		}
}

static void build_pool(struct builder *b, const struct conf_node *node, struct pool *p)
{
	const struct conf_node *all_down = conf_find(node, "when_all_down");

	p->name = node->name;
	p->node = node;
	p->state = pool_state_get(b->settings->table, node->name);
	if (!p->state)
		b->out_of_memory = true;
	build_balance(conf_text(node, "balance"), p);
	p->when_all_down_503 =
		all_down && all_down->kind == CONF_SCALAR && span_eq(all_down->text, SPAN("503"));
	p->timeouts = b->settings->timeouts;
	build_pool_timeouts(b, node, "pool", &p->timeouts);
	if (conf_find(node, "limits.connections_per_server")) {
		p->limits.per_server = (uint32_t)conf_u64(node, "limits.connections_per_server");
		p->limits.queue = (uint32_t)conf_u64(node, "limits.queue");
	}
	p->limits.has_idle = conf_find(node, "limits.idle_per_server");
	if (p->limits.has_idle)
		p->limits.idle = (uint32_t)conf_u64(node, "limits.idle_per_server");
	check_build(b, node, p);
	stream_build_pool(node, p);
	if (pool_build_tls(b->report, p) < 0)
		b->out_of_memory = true;
	build_retry(node, &p->retry);
	build_passive(node, p);
	build_sticky(b, node, p);
	registering_build(&p->registering, node, b->report);
	scale_build(&p->scaling, node);
	settings_pool_h2(node, p);
	build_members(b, conf_find(node, "servers"), p);
}

static size_t servers_of(const struct conf_node *pool)
{
	const struct conf_node *servers = conf_find(pool, "servers");

	return servers ? servers->count : 0;
}

/* Pools that get the traffic of others, when all are built. Not in a circle: conf_rules.c. */
static void build_stand_ins(struct builder *b)
{
	struct settings *s = b->settings;

	for (unsigned i = 0; i < s->pool_count; i++) {
		const struct conf_node *pool = conf_find(s->pools[i].node, "when_all_down.pool");

		if (pool)
			s->pools[i].stand_in = map_get(&b->pools, pool->text);
		ASSERT(!pool || s->pools[i].stand_in); /* the table checks references */
	}
}

static void build_pools(struct builder *b, const struct conf_node *pools)
{
	struct settings *s = b->settings;
	struct member *members = s->members;

	conf_each (node, pools) {
		struct pool *p = &s->pools[s->pool_count];

		p->index = s->pool_count++;
		p->members = members;
		members += servers_of(node);
		if (map_put(&b->pools, node->name, p) < 0)
			b->out_of_memory = true;
		build_pool(b, node, p);
		if (b->out_of_memory)
			return;
	}
	build_stand_ins(b);
}

/* --- listeners -------------------------------------------------------------------------------- */

static void build_limits(const struct conf_node *node, struct listener *l)
{
	uint64_t head_bytes = conf_u64(node, "limits.request_head");

	l->limits.head_bytes = (uint32_t)head_bytes;
	l->limits.line_bytes = head_bytes < LINE_BYTES_MAX ? (uint32_t)head_bytes : LINE_BYTES_MAX;
	l->limits.field_bytes =
		head_bytes < FIELD_BYTES_MAX ? (uint32_t)head_bytes : FIELD_BYTES_MAX;
	l->limits.fields = (uint16_t)conf_u64(node, "limits.fields");
	l->content.body_rate = conf_u64(node, "limits.body_rate");
	l->content.send_rate = conf_u64(node, "limits.send_rate");
	build_content_limits(node, &l->content);
	if (conf_find(node, "limits.connections"))
		l->connections_max = (uint32_t)conf_u64(node, "limits.connections");
	if (conf_find(node, "limits.connections_per_client"))
		l->connections_per_client =
			(uint32_t)conf_u64(node, "limits.connections_per_client");
}

bool listener_trusts(const struct listener *l, const struct addr *a)
{
	for (unsigned i = 0; i < l->trusted_count; i++)
		if (cidr_contains(&l->trusted[i], a))
			return true;
	return false;
}

static enum http_path_mode path_mode_of(struct span word)
{
	if (span_eq(word, SPAN("raw")))
		return HTTP_PATH_RAW;
	return span_eq(word, SPAN("reject")) ? HTTP_PATH_REJECT : HTTP_PATH_NORMALIZE;
}

static void build_listener(struct builder *b, const struct conf_node *node, struct listener *l)
{
	const struct conf_node *binds = conf_find(node, "bind");

	l->name = node->name;
	l->node = node;
	l->state = listener_state_get(b->settings->table, node->name);
	l->binds = calloc(binds ? binds->count + 1 : 1, sizeof(*l->binds));
	if (!l->state || !l->binds) {
		b->out_of_memory = true;
		return;
	}
	conf_each (bind, binds)
		l->binds[l->bind_count++] = bind->addr;
	l->timeouts = b->settings->timeouts;
	build_timeouts(b, node, NULL, &l->timeouts);
	build_limits(node, l);
	settings_h2(node, l);
	/* The workers learn of it with this snapshot, so nobody looks yet. */
	if (l->connections_per_client && !l->state->tally && !(l->state->tally = tally_new())) {
		b->out_of_memory = true;
		return;
	}
	l->path_mode = path_mode_of(conf_text(node, "path"));
	l->via = conf_find(node, "via") ? conf_text(node, "via")
					: span_make(b->settings->via, sizeof(b->settings->via));
	if (span_eq(l->via, SPAN("off")))
		l->via = (struct span){0};
	l->trusted = build_networks(b, conf_find(node, "trusted_proxies"), &l->trusted_count);
	build_access(b, node, &l->access);
	if (stream_build_listener(node, l) < 0)
		b->out_of_memory = true;
	if (listener_build_tls(b->report, l) < 0)
		b->out_of_memory = true;
	if (b->out_of_memory)
		return;
	build_routes(b, node, l);
}

static void build_listeners(struct builder *b, const struct conf_node *listeners)
{
	struct settings *s = b->settings;

	conf_each (node, listeners) {
		build_listener(b, node, &s->listeners[s->listener_count++]);
		if (b->out_of_memory)
			return;
	}
}

/* --- the whole ----------------------------------------------------------------------------------
 */

/* The cores that this process may run on. */
static unsigned core_count(void)
{
	cpu_set_t set;
	int count;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	count = CPU_COUNT(&set);
	return count > 0 ? (unsigned)count : 1;
}

static void build_log(struct builder *b, const struct conf_node *root)
{
	struct settings *s = b->settings;
	struct span access = conf_text(root, "log.access");

	s->access_format = span_eq(conf_text(root, "log.format"), SPAN("combined"))
				   ? ACCESS_COMBINED
				   : ACCESS_JSON;
	if (span_eq(access, SPAN("off")))
		return;
	s->access_log = span_dup(access);
	if (!s->access_log)
		b->out_of_memory = true;
}

static void build_hash(struct settings *s)
{
	uint8_t digest[32];

	conf_digest(s->conf, digest);
	for (unsigned i = 0; i < sizeof(digest); i++)
		snprintf(s->hash + 2 * i, 3, "%02x", digest[i]);
}

/* Everything but conf. */
static void dismantle(struct settings *s)
{
	for (unsigned i = 0; i < s->listener_count; i++) {
		struct listener *l = &s->listeners[i];

		free(l->binds);
		free((void *)(uintptr_t)l->proxies); /* const to those who read */
		tls_server_free(l->tls);
		routes_free((struct routes *)(uintptr_t)l->routes);
		listener_state_unref(s->table, l->state);
	}
	for (unsigned i = 0; i < s->pool_count; i++) {
		struct pool *p = &s->pools[i];

		for (unsigned m = 0; m < p->member_count; m++)
			server_unref(p->members[m].server);
		pool_state_unref(s->table, p->state);
		tls_client_free(p->tls);
	}
	admin_fini(&s->admin);
	free(s->listeners);
	free(s->pools);
	free(s->members);
	free((void *)(uintptr_t)s->access_log);
	location_free(s->location);
	if (s->arena)
		arena_fini(s->arena);
	free(s->arena);
	free(s);
}

static void build_location(struct builder *b, const struct conf_node *node)
{
	if (!node)
		return;
	b->settings->location = location_new(node, b->report);
	b->out_of_memory |= !b->settings->location && conf_report_errors(b->report) == 0;
}

/* The arrays, to the size that they will have. */
static int allocate(struct settings *s)
{
	const struct conf_node *pools = conf_find(s->conf->root, "pools");
	const struct conf_node *listeners = conf_find(s->conf->root, "listeners");
	size_t members = 0;

	conf_each (pool, pools)
		members += servers_of(pool);
	s->members = calloc(members + 1, sizeof(*s->members));
	s->pools = calloc(pools ? pools->count + 1 : 1, sizeof(*s->pools));
	s->listeners = calloc(listeners ? listeners->count + 1 : 1, sizeof(*s->listeners));
	s->arena = calloc(1, sizeof(*s->arena));
	return s->members && s->pools && s->listeners && s->arena ? 0 : -1;
}

struct settings *settings_build(struct conf *conf, struct conf_report *report,
	struct server_table *table, uint64_t generation, struct err *err)
{
	struct builder b = {.report = report};
	struct settings *s;
	uint64_t workers;

	if (conf_report_errors(report) > 0)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s) {
		err_set(err, "out of memory");
		return NULL;
	}
	atomic_init(&s->refs, 1);
	s->generation = generation;
	s->conf = conf;
	s->table = table;
	b.settings = s;
	map_init(&b.pools,
		conf_find(conf->root, "pools") ? conf_find(conf->root, "pools")->count : 0);
	workers = conf_u64(conf->root, "workers");
	s->workers = workers ? (unsigned)workers : core_count(); /* auto */
	server_table_workers(table, s->workers);
	timeouts_top(conf->root, &s->timeouts);
	build_log(&b, conf->root);
	b.out_of_memory |= admin_build(&s->admin, conf->root) < 0;
	if (allocate(s) < 0)
		b.out_of_memory = true;
	if (!b.out_of_memory)
		build_pools(&b, conf_find(conf->root, "pools"));
	if (!b.out_of_memory)
		build_location(&b, conf_find(conf->root, "location"));
	if (!b.out_of_memory && conf_report_errors(report) == 0)
		build_listeners(&b, conf_find(conf->root, "listeners"));
	settings_build_redirects(s);
	map_fini(&b.pools);
	if (b.out_of_memory || conf_report_errors(report) > 0) {
		if (b.out_of_memory)
			err_set(err, "out of memory");
		dismantle(s);
		return NULL;
	}
	build_hash(s);
	memcpy(s->via, "tandem-", 7);
	memcpy(s->via + 7, s->hash, sizeof(s->via) - 7);
	return s;
}

void settings_locate(struct settings *s, const char *node)
{
	struct span zone = {0};

	conf_each (n, conf_find(s->conf->root, "failover.nodes"))
		if (node && span_eq(n->name, span_of(node)))
			zone = conf_text(n, "zone");
	for (unsigned i = 0; i < s->pool_count; i++)
		s->pools[i].own_zone = zone;
}

struct settings *settings_ref(struct settings *s)
{
	unsigned before = atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);

	ASSERT(before > 0);
	return s;
}

void settings_unref(struct settings *s)
{
	struct conf *conf;
	unsigned before;

	if (!s)
		return;
	before = atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel);
	ASSERT(before > 0);
	if (before > 1)
		return;
	conf = s->conf;
	dismantle(s);
	conf_free(conf);
}
