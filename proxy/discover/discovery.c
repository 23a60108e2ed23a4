#include "proxy/discover/discovery.h"

#include <stdlib.h>

#include "proxy/discover/file.h"
#include "proxy/discover/memory.h"
#include "proxy/discover/registry.h"
#include "proxy/discover/srv.h"
#include "shared/assert.h"
#include "shared/list.h"
#include "shared/log.h"

/* word, of membership and status; NAMES are servers of the configuration with a host's name */
#define SOURCES(X)          \
	X(NAMES, "servers") \
	X(DNS, "dns")       \
	X(FILE, "file")     \
	X(REGISTER, "register")
enum source_kind {
#define X(name, word) SOURCE_##name,
	SOURCES(X)
#undef X
};
static const char *const source_words[] = {
#define X(name, word) word,
	SOURCES(X)
#undef X
};

struct source {
	struct list link;
	enum source_kind kind;
	char *pool, *what; /* what: as in the file, or "" */
	struct crew *crew;
	/* One of them, or none; the first two have the crew. */
	struct srv *srv;
	struct file_source *file;
	struct registry *registry; /* then there is no crew */
	bool wanted;
};

struct discovery {
	struct discovery_options o;
	struct resolver *resolver; /* NULL: nobody has needed one */
	struct file_watch *files;  /* NULL: none yet */
	struct rng rng;
	struct leases *leases; /* NULL: nobody may register yet */
	struct list sources;
	bool late; /* for discovery_settle() */
};

/* --- sources -----------------------------------------------------------------------------------
 */

static void source_free(struct source *s, bool keep)
{
	list_remove(&s->link);
	if (s->srv)
		srv_free(s->srv, keep);
	else if (s->file)
		file_source_free(s->file, keep);
	else if (s->registry)
		registry_free(s->registry, keep);
	else
		crew_free(s->crew, keep);
	free(s->pool);
	free(s->what);
	free(s);
}

/* It is asked for its servers, which else the configuration has. */
static bool has_list(const struct source *s)
{
	return s->kind == SOURCE_FILE || (s->kind == SOURCE_DNS && s->what[0] == '_');
}

static json_t *registered(void *ctx)
{
	const struct discovery *d = ctx;
	json_t *all = json_object();

	list_each (it, &d->sources) {
		const struct source *s = list_item(it, struct source, link);

		if (s->registry)
			json_object_set_new(all, s->pool, registry_json(s->registry));
	}
	return all;
}

static int start_registry(struct discovery *d, struct source *s)
{
	const struct leases_options o = {.loop = d->o.loop,
		.state_dir = d->o.state_dir,
		.left = json_object_get(d->o.memory, "registered"),
		.owner = d->o.owner,
		.ctx = d,
		.gather = registered};
	struct err err;

	if (!d->leases)
		d->leases = leases_new(&o, &err);
	if (d->leases)
		s->registry = registry_new(d->o.loop, d->o.membership, d->leases, span_of(s->pool));
	return s->registry ? 0 : -1;
}

static int start(struct discovery *d, struct source *s)
{
	const struct crew_options o = {.loop = d->o.loop,
		.resolver = d->resolver,
		.rng = &d->rng,
		.membership = d->o.membership,
		.memory = d->o.memory};
	struct crew_entry e = {.weight = 1};
	struct err err;

	if (s->kind == SOURCE_REGISTER)
		return start_registry(d, s);
	s->crew = crew_new(&o, span_of(s->pool), source_words[s->kind]);
	if (!s->crew)
		return -1;
	if (has_list(s))
		memory_list(d->o.memory, span_of(s->pool), source_words[s->kind], s->what, s->crew);
	if (s->kind == SOURCE_FILE) {
		if (!d->files)
			d->files = file_watch_new(d->o.loop);
		s->file = d->files ? file_source_new(d->files, s->what, s->crew) : NULL;
		return s->file ? 0 : -1;
	}
	if (s->kind != SOURCE_DNS)
		return 0;
	if (has_list(s)) {
		s->srv = srv_new(&o, s->what, s->crew);
		return s->srv ? 0 : -1;
	}
	if (endpoint_parse(span_of(s->what), &e.address, &e.host, &e.port, &err) < 0)
		ASSERT(!"conf_rules_discover.c has seen to it");
	return crew_set(s->crew, &e, 1, &err);
}

static struct source *source_get(
	struct discovery *d, enum source_kind kind, struct span pool, struct span what)
{
	struct source *s;

	list_each (it, &d->sources) {
		s = list_item(it, struct source, link);
		if (s->kind == kind && span_eq(span_of(s->pool), pool) &&
			span_eq(span_of(s->what), what))
			return s;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	list_init(&s->link);
	s->kind = kind;
	s->pool = span_dup(pool);
	s->what = span_dup(what);
	if (!s->pool || !s->what || start(d, s) < 0) {
		source_free(s, true);
		return NULL;
	}
	list_append(&d->sources, &s->link);
	return s;
}

/* --- the configuration -------------------------------------------------------------------------
 */

static int use_resolver(struct discovery *d, const struct conf_node *root)
{
	struct addr servers[16];
	unsigned count = 0;
	struct err err;

	conf_each (node, conf_find(root, "resolvers")) {
		ASSERT(count < countof(servers)); /* the table's maximum */
		servers[count++] = node->addr;
	}
	if (!d->resolver)
		d->resolver = resolver_new(d->o.loop, servers, count, &err);
	else if (resolver_set_servers(d->resolver, servers, count, &err) == 0)
		return 0;
	if (d->resolver)
		return 0;
	log_event(LOG_ERROR, "discover.resolvers", err.text);
	return -1;
}

static bool has_name(const struct conf_node *server)
{
	return conf_find(server, "address")->addr.sa.sa_family == AF_UNSPEC;
}

/* Servers that are written with a host's name. */
static int follow_names(struct discovery *d, const struct pool *p)
{
	const struct conf_node *servers = conf_find(p->node, "servers");
	struct crew_entry *list = calloc(servers ? servers->count + 1 : 1, sizeof(*list));
	unsigned count = 0;
	struct source *s;
	struct err err;
	int rc = 0;

	if (!list)
		return -1;
	conf_each (node, servers) {
		struct crew_entry *e = &list[count];

		if (!has_name(node))
			continue;
		*e = (struct crew_entry){.name = node->name,
			.weight = (uint32_t)conf_u64(node, "weight"),
			.zone = conf_text(node, "zone"),
			.backup = conf_bool(node, "backup")};
		if (endpoint_parse(conf_find(node, "address")->text, &e->address, &e->host,
			    &e->port, &err) < 0)
			ASSERT(!"the table has seen to it");
		count++;
	}
	if (count) {
		s = source_get(d, SOURCE_NAMES, p->name, SPAN(""));
		rc = s ? crew_set(s->crew, list, count, &err) : -1;
		if (s)
			s->wanted = true;
	}
	free(list);
	return rc;
}

static int follow(struct discovery *d, const struct pool *p, enum source_kind kind,
	const struct conf_node *node, struct span what)
{
	struct source *s = node ? source_get(d, kind, p->name, what) : NULL;

	if (s)
		s->wanted = true;
	return s || !node ? 0 : -1;
}

static int follow_sources(struct discovery *d, const struct pool *p)
{
	const struct conf_node *dns = conf_find(p->node, "discover.dns");
	const struct conf_node *file = conf_find(p->node, "discover.file");

	return follow(d, p, SOURCE_DNS, dns, dns ? dns->text : SPAN("")) |
	       follow(d, p, SOURCE_FILE, file, file ? file->text : SPAN("")) |
	       follow(d, p, SOURCE_REGISTER, conf_find(p->node, "discover.register"), SPAN(""));
}

/* Has the pool another source of that kind, which replaces what this one published? */
static bool is_replaced(const struct discovery *d, const struct source *s)
{
	list_each (it, &d->sources) {
		const struct source *other = list_item(it, struct source, link);

		if (other != s && other->wanted && other->kind == s->kind &&
			strcmp(other->pool, s->pool) == 0)
			return true;
	}
	return false;
}

static bool is_needed(const struct settings *s)
{
	for (unsigned i = 0; i < s->pool_count; i++) {
		if (conf_find(s->pools[i].node, "discover.dns") ||
			conf_find(s->pools[i].node, "discover.file"))
			return true; /* names in a file, too */
		conf_each (server, conf_find(s->pools[i].node, "servers"))
			if (has_name(server))
				return true;
	}
	return false;
}

void discovery_apply(struct discovery *d, const struct settings *s)
{
	int rc = 0;

	list_each (it, &d->sources)
		list_item(it, struct source, link)->wanted = false;
	if (is_needed(s) && use_resolver(d, s->conf->root) < 0)
		return;
	for (unsigned i = 0; i < s->pool_count; i++)
		rc |= follow_names(d, &s->pools[i]) | follow_sources(d, &s->pools[i]);
	if (rc < 0)
		log_event(LOG_ERROR, "discover.out_of_memory",
			"some servers are not looked for until the next reload");
	list_each_safe (it, &d->sources) {
		struct source *source = list_item(it, struct source, link);

		if (!source->wanted)
			source_free(source, is_replaced(d, source));
	}
}

struct registry *discovery_registry(struct discovery *d, struct span pool)
{
	list_each (it, &d->sources) {
		struct source *s = list_item(it, struct source, link);

		if (s->registry && span_eq(span_of(s->pool), pool))
			return s->registry;
	}
	return NULL;
}

/* --- the start ---------------------------------------------------------------------------------
 */

static bool is_settled(const struct source *s)
{
	if (s->registry)
		return true;
	return s->srv ? srv_settled(s->srv) : crew_settled(s->crew);
}

static void on_late(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	((struct discovery *)w->data)->late = true;
}

void discovery_settle(struct discovery *d, uint64_t limit_ns)
{
	ev_timer limit;
	bool settled = false;

	ev_timer_init(&limit, on_late, (double)limit_ns / 1e9, 0);
	limit.data = d;
	ev_timer_start(d->o.loop, &limit);
	for (d->late = false; !settled && !d->late;) {
		settled = true;
		list_each (it, &d->sources)
			settled = settled && is_settled(list_item(it, struct source, link));
		if (!settled)
			ev_run(d->o.loop, EVRUN_ONCE);
	}
	ev_timer_stop(d->o.loop, &limit);
	json_object_clear(d->o.memory);
}

json_t *discovery_memory(const struct discovery *d)
{
	json_t *memory = json_object();

	list_each (it, &d->sources) {
		const struct source *s = list_item(it, struct source, link);

		if (s->crew)
			memory_keep(memory, span_of(s->pool), source_words[s->kind],
				has_list(s) ? s->what : NULL, s->crew);
	}
	json_object_set_new(memory, "registered", registered((void *)(uintptr_t)d));
	return memory;
}

void discovery_set_leases_owner(struct discovery *d, enum leases_owner owner)
{
	d->o.owner = owner;
	if (d->leases)
		leases_set_owner(d->leases, owner);
}

enum leases_owner discovery_leases_owner(const struct discovery *d)
{
	return d->o.owner;
}

/* --- status ------------------------------------------------------------------------------------
 */

/* In the shape of a server that is there. */
static void add_unresolved(void *ctx, const struct crew_entry *e, const char *reason)
{
	json_t *status = ctx;
	char address[DNS_NAME_MAX + 8];

	snprintf(address, sizeof(address), "%.*s:%u", SPAN_ARG(e->host), e->port);
	json_object_setn_new(json_object_get(status, "servers"), e->name.ptr, e->name.len,
		json_pack("{s:s, s:s%, s:i, s:i, s:b, s:s, s:s, s:s, s:s, s:n, s:i, s:i, s:i, s:i}",
			"address", address, "zone", e->zone.len ? e->zone.ptr : "", e->zone.len,
			"weight", (int)e->weight, "effective_weight", 0, "backup", e->backup,
			"configured", "enabled", "admin", "ready", "health", "unresolved", "reason",
			reason, "since", "in_flight", 0, "queued", 0, "requests_total", 0,
			"failures_total", 0));
	json_object_set_new(status, "total",
		json_integer(json_integer_value(json_object_get(status, "total")) + 1));
}

static json_t *source_status(const struct source *s)
{
	const char *reason = s->srv    ? srv_reason(s->srv)
			     : s->file ? file_source_reason(s->file)
				       : NULL;
	const char *first;
	json_t *hosts, *status, *value;

	if (s->registry)
		return json_pack("{s:o}", "servers", registry_status(s->registry));
	hosts = crew_troubles(s->crew);
	json_object_foreach (hosts, first, value) {
		if (!reason)
			reason = json_string_value(value);
		break;
	}
	status = json_pack("{s:s?, s:s, s:s?, s:o}", "from", s->what[0] ? s->what : NULL, "state",
		!reason			  ? "resolved"
		: crew_published(s->crew) ? "stale"
					  : "unresolved",
		"reason", reason, "hosts", hosts);
	return status;
}

void discovery_status(const struct discovery *d, struct span pool, json_t *status)
{
	json_t *all = json_object();

	list_each (it, &d->sources) {
		const struct source *s = list_item(it, struct source, link);

		if (!span_eq(span_of(s->pool), pool))
			continue;
		json_object_set_new(all, source_words[s->kind], source_status(s));
		if (s->crew)
			crew_unresolved(s->crew, add_unresolved, status);
	}
	if (json_object_size(all))
		json_object_set(status, "discovery", all);
	json_decref(all);
}

struct discovery *discovery_new(const struct discovery_options *o)
{
	struct discovery *d = calloc(1, sizeof(*d));
	uint64_t seed;

	if (!d)
		return NULL;
	d->o = *o;
	json_incref(d->o.memory);
	list_init(&d->sources);
	random_bytes(&seed, sizeof(seed));
	rng_seed(&d->rng, seed);
	return d;
}

void discovery_free(struct discovery *d)
{
	if (!d)
		return;
	if (d->leases)
		leases_flush(d->leases);
	list_each_safe (it, &d->sources)
		source_free(list_item(it, struct source, link), true);
	leases_free(d->leases);
	resolver_free(d->resolver);
	file_watch_free(d->files);
	json_decref(d->o.memory);
	free(d);
}
