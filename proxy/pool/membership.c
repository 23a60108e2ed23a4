#include "proxy/pool/membership.h"

#include <errno.h>
#include <stdlib.h>

#include "shared/assert.h"
#include "shared/list.h"
#include "shared/log.h"
#include "shared/map.h"

#define ROSTERS_MAX 65536

struct source {
	struct list link; /* of its roster */
	const char *name; /* a string that lives on */
	struct membership_server *list;
	unsigned count;
	char *text; /* what the list points into */
};

struct roster { /* what a pool has beside its configuration */
	char *pool;
	struct list sources; /* the first one has the say */
	struct list leaving; /* struct leaver */
};

struct leaver {
	struct list link;      /* of its roster */
	struct server *server; /* holds a reference */
};

struct membership {
	struct server_table *table;
	struct membership_options options;
	struct settings *settings; /* that run; NULL before the first */
	struct map rosters;	   /* by pool */
};

/* --- sources -----------------------------------------------------------------------------------
 */

static void source_free(struct source *s)
{
	if (!s)
		return;
	list_remove(&s->link);
	free(s->list);
	free(s->text);
	free(s);
}

static struct span keep_text(char **at, struct span s)
{
	struct span kept = span_make(*at, s.len);

	if (s.len)
		memcpy(*at, s.ptr, s.len);
	*at += s.len;
	return kept;
}

/* NULL when out of memory. */
static struct source *source_new(
	const char *name, const struct membership_server *list, unsigned count)
{
	struct source *s = calloc(1, sizeof(*s));
	size_t bytes = 0;
	char *at;

	if (!s)
		return NULL;
	list_init(&s->link);
	s->name = name;
	for (unsigned i = 0; i < count; i++)
		bytes += list[i].name.len + list[i].zone.len;
	s->list = malloc((count + 1) * sizeof(*s->list));
	s->text = at = malloc(bytes + 1);
	if (!s->list || !s->text) {
		source_free(s);
		return NULL;
	}
	for (unsigned i = 0; i < count; i++) {
		s->list[i] = list[i];
		s->list[i].name = keep_text(&at, list[i].name);
		s->list[i].zone = keep_text(&at, list[i].zone);
	}
	s->count = count;
	return s;
}

static bool source_same(
	const struct source *s, const struct membership_server *list, unsigned count)
{
	if (s->count != count)
		return false;
	for (unsigned i = 0; i < count; i++)
		if (!span_eq(s->list[i].name, list[i].name) ||
			!addr_eq(&s->list[i].address, &list[i].address) ||
			s->list[i].weight != list[i].weight ||
			!span_eq(s->list[i].zone, list[i].zone) ||
			s->list[i].backup != list[i].backup)
			return false;
	return true;
}

static bool is_name(struct span s)
{
	if (s.len == 0 || s.len >= SERVER_NAME_MAX)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = ascii_lower(s.ptr[i]);

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
			!(c && strchr("._-:[]", c))) /* an address is a name too */
			return false;
	}
	return true;
}

int membership_check(const struct membership_server *list, unsigned count, struct err *err)
{
	struct map seen;
	int rc = 0;

	if (count > SOURCE_SERVERS_MAX)
		return err_set(
			err, "%u servers are too many: at most %d", count, SOURCE_SERVERS_MAX);
	map_init(&seen, count);
	for (unsigned i = 0; i < count && rc == 0; i++) {
		const struct membership_server *s = &list[i];

		if (!is_name(s->name))
			rc = err_set(err,
				"'%.*s' is not a name: letters, digits, '.', '_', '-' or an "
				"address, at most "
				"%d",
				SPAN_ARG(s->name), SERVER_NAME_MAX - 1);
		else if (s->weight < 1 || s->weight > 256)
			rc = err_set(err, "server '%.*s': weight %u is not between 1 and 256",
				SPAN_ARG(s->name), s->weight);
		else if (map_get(&seen, s->name))
			rc = err_set(err, "server '%.*s' is there twice", SPAN_ARG(s->name));
		else if (map_put(&seen, s->name, (void *)(uintptr_t)s) < 0)
			rc = err_set(err, "out of memory");
	}
	map_fini(&seen);
	return rc;
}

/* --- rosters -----------------------------------------------------------------------------------
 */

static void leaver_free(struct leaver *l)
{
	list_remove(&l->link);
	server_unref(l->server);
	free(l);
}

static void roster_free(struct roster *r)
{
	list_each_safe (it, &r->leaving)
		leaver_free(list_item(it, struct leaver, link));
	list_each_safe (it, &r->sources)
		source_free(list_item(it, struct source, link));
	free(r->pool);
	free(r);
}

static struct roster *roster_get(struct membership *m, struct span pool)
{
	struct roster *r = map_get(&m->rosters, pool);

	if (r)
		return r;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	list_init(&r->sources);
	list_init(&r->leaving);
	r->pool = span_dup(pool);
	if (!r->pool || map_put(&m->rosters, pool, r) < 0) {
		roster_free(r);
		return NULL;
	}
	return r;
}

static struct source *source_find(const struct roster *r, const char *name)
{
	list_each (it, &r->sources)
		if (strcmp(list_item(it, struct source, link)->name, name) == 0)
			return list_item(it, struct source, link);
	return NULL;
}

/* --- merging -----------------------------------------------------------------------------------
 */

struct merge {
	struct member *members;
	unsigned count;
	struct map names; /* struct member by name */
	struct err *err;
};

static int merge_add(struct merge *g, const struct member *m)
{
	g->members[g->count] = *m;
	if (map_put(&g->names, span_of(m->server->name), &g->members[g->count]) < 0)
		return err_set(g->err, "out of memory");
	g->count++;
	return 0;
}

static int merge_found(struct merge *g, struct membership *m, const struct pool *p,
	const struct membership_server *s, const char *source)
{
	struct member member = {
		.weight = s->weight, .zone = s->zone, .backup = s->backup, .source = source};

	if (map_get(&g->names, s->name)) {
		log_event(LOG_WARNING, "server.name_taken",
			"another server of the pool has this name: not used",
			F_SPAN("pool", p->name), F_SPAN("server", s->name),
			F_TEXT("source", source));
		return 0;
	}
	member.server = server_get(m->table, p->name, s->name, &s->address);
	if (!member.server)
		return err_set(g->err,
			errno == ENOSPC ? "no room for server '%.*s': at most %d at a time"
					: "out of memory for server '%.*s' of at most %d",
			SPAN_ARG(s->name), SERVERS_MAX);
	if (merge_add(g, &member) == 0)
		return 0;
	server_unref(member.server);
	return -1;
}

/* Servers that people added. */
static int merge_added(struct merge *g, struct membership *m, const struct pool *p)
{
	const struct override *v;
	size_t at = 0;
	int rc = 0;

	while (rc == 0 && m->options.book && (v = overrides_next(m->options.book, &at))) {
		const struct membership_server s = {.name = v->server,
			.address = v->added.address,
			.weight = v->added.weight,
			.zone = span_of(v->added.zone),
			.backup = v->added.backup};

		if (v->added.set && span_eq(v->pool, p->name))
			rc = merge_found(g, m, p, &s, SOURCE_RUNTIME);
	}
	return rc;
}

static void merge_overrides(struct merge *g, const struct membership *m)
{
	uint64_t now_ms = realtime_ns() / NS_PER_MS;

	for (unsigned i = 0; m->options.book && i < g->count; i++) {
		struct member *member = &g->members[i];
		const struct override *v = overrides_find(m->options.book,
			span_of(member->server->pool_name), span_of(member->server->name));

		member->admin = override_admin(v, now_ms);
		if (v && v->weight.set)
			member->weight = v->weight.value;
	}
}

static int merge_all(struct merge *g, struct membership *m, const struct pool *p)
{
	const struct roster *r = map_get(&m->rosters, p->name);
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < p->member_count; i++) {
		struct member member = p->members[i];

		member.source = SOURCE_CONFIGURATION;
		rc = merge_add(g, &member);
	}
	if (rc == 0)
		rc = merge_added(g, m, p);
	if (!r)
		return rc;
	list_each (it, &r->sources) {
		const struct source *src = list_item(it, struct source, link);

		for (unsigned i = 0; rc == 0 && i < src->count; i++)
			rc = merge_found(g, m, p, &src->list[i], src->name);
	}
	return rc;
}

/* The servers of a pool: the configuration's, then who was added, then those of the sources. NULL
 * with err. */
static struct member_set *merge(struct membership *m, const struct pool *p, struct err *err)
{
	const struct roster *r = map_get(&m->rosters, p->name);
	unsigned room = p->member_count + (m->options.book ? OVERRIDES_MAX : 0);
	struct merge g = {.err = err};
	struct member_set *set = NULL;

	if (r)
		list_each (it, &r->sources)
			room += list_item(it, struct source, link)->count;
	map_init(&g.names, room);
	g.members = malloc((room + 1) * sizeof(*g.members));
	err_set(err, "out of memory");
	if (g.members && merge_all(&g, m, p) == 0) {
		merge_overrides(&g, m);
		set = member_set_new(g.members, g.count);
	}
	for (unsigned i = p->member_count; i < g.count; i++)
		server_unref(g.members[i].server);
	map_fini(&g.names);
	free(g.members);
	return set;
}

/* --- changes -----------------------------------------------------------------------------------
 */

static void tell(const struct membership *m, const struct pool *p, const struct server *s,
	bool came, const char *source)
{
	const char *event = came ? "server.added" : "server.removed";

	log_event(LOG_NOTICE, event,
		came ? "in the pool from now on" : "gets nothing new; what it has may end",
		F_SPAN("pool", p->name), F_TEXT("server", s->name),
		F_TEXT("address", s->address_text), F_TEXT("source", source));
	if (m->options.on_event)
		m->options.on_event(m->options.ctx, event,
			json_pack("{s:s%, s:s, s:s, s:s}", "pool", p->name.ptr, p->name.len,
				"server", s->name, "address", s->address_text, "source", source));
}

/* Every server of one set that the other does not have. source: NULL is a reload, which says itself
 * who came and who left. */
static void each_other(struct membership *m, const struct pool *p, const struct member_set *set,
	const struct member_set *other, const char *source,
	void (*each)(
		struct membership *m, const struct pool *p, struct server *s, const char *source))
{
	bool there[SERVERS_MAX] = {false};

	for (unsigned i = 0; i < other->count; i++)
		there[other->members[i].server->slot] = true;
	for (unsigned i = 0; i < set->count; i++)
		if (!there[set->members[i].server->slot])
			each(m, p, set->members[i].server, source);
}

static void on_came(
	struct membership *m, const struct pool *p, struct server *s, const char *source)
{
	struct roster *r = map_get(&m->rosters, p->name);

	if (source)
		tell(m, p, s, true, source);
	if (r)
		list_each_safe (it, &r->leaving)
			if (list_item(it, struct leaver, link)->server == s)
				leaver_free(list_item(it, struct leaver, link));
}

/* Without memory for it, it is not shown any more; what it has ends all the same. */
static void on_left(
	struct membership *m, const struct pool *p, struct server *s, const char *source)
{
	struct roster *r = roster_get(m, p->name);
	struct leaver *l;

	if (source)
		tell(m, p, s, false, source);
	if (!r)
		return;
	l = calloc(1, sizeof(*l));
	if (!l)
		return;
	l->server = server_ref(s);
	list_append(&r->leaving, &l->link);
}

static bool has_ended(const struct server *s)
{
	return atomic_load(&s->in_flight) == 0 && atomic_load(&s->queued) == 0;
}

void membership_each_leaving(const struct membership *m, const struct pool *p, void *ctx,
	void (*each)(void *ctx, const struct server *s))
{
	const struct roster *r = map_get(&m->rosters, p->name);

	if (r)
		list_each (it, &r->leaving)
			if (!has_ended(list_item(it, struct leaver, link)->server))
				each(ctx, list_item(it, struct leaver, link)->server);
}

void membership_sweep(struct membership *m)
{
	struct span name;
	size_t at = 0;
	void *value;

	while (map_next(&m->rosters, &at, &name, &value)) {
		struct roster *r = value;

		list_each_safe (it, &r->leaving)
			if (has_ended(list_item(it, struct leaver, link)->server))
				leaver_free(list_item(it, struct leaver, link));
	}
}

/* The pool's servers are those of `set` from now on. Takes it. */
static void install(
	struct membership *m, const struct pool *p, struct member_set *set, const char *source)
{
	struct member_set *old = p->state->set;

	if (member_set_same(old, set)) {
		member_set_unref(set);
		return;
	}
	p->state->set = set;
	each_other(m, p, old, set, source, on_left);
	each_other(m, p, set, old, source, on_came);
	m->options.on_changed(m->options.ctx, p);
	member_set_unref(old);
}

const struct pool *membership_pool(const struct membership *m, struct span name)
{
	for (unsigned i = 0; m->settings && i < m->settings->pool_count; i++)
		if (span_eq(m->settings->pools[i].name, name))
			return &m->settings->pools[i];
	return NULL;
}

bool membership_source_has(const struct membership *m, struct span pool, const char *source)
{
	const struct roster *r = map_get(&m->rosters, pool);

	return r && source_find(r, source);
}

/* `next` in the place of `was` (either may be NULL: none). */
static void swap(struct roster *r, struct source *was, struct source *next)
{
	if (next)
		list_append(was ? &was->link : &r->sources, &next->link); /* before it */
	if (was)
		list_remove(&was->link);
}

int membership_source_set(struct membership *m, struct span pool, const char *source,
	const struct membership_server *list, unsigned count, struct err *err)
{
	const struct pool *p = membership_pool(m, pool);
	struct source *was, *next = NULL;
	struct member_set *set;
	struct roster *r;

	if (!p)
		return err_set(err, "there is no pool '%.*s'", SPAN_ARG(pool));
	if (membership_check(list, count, err) < 0)
		return -1;
	r = roster_get(m, pool);
	if (r && count > 0)
		next = source_new(source, list, count);
	if (!r || (count > 0 && !next))
		return err_set(err, "out of memory");
	was = source_find(r, source);
	if (was ? source_same(was, list, count) : count == 0) {
		source_free(next);
		return 0;
	}
	swap(r, was, next);
	set = merge(m, p, err);
	if (!set) {
		if (was)
			list_append(next ? &next->link : &r->sources, &was->link);
		source_free(next);
		return -1;
	}
	source_free(was);
	install(m, p, set, source);
	return 0;
}

int membership_refresh(struct membership *m, struct span pool, struct err *err)
{
	const struct pool *p = membership_pool(m, pool);
	struct member_set *set = p ? merge(m, p, err) : NULL;

	if (!p)
		return 0; /* of a pool that the other node has, or that was removed */
	if (!set)
		return -1;
	install(m, p, set, SOURCE_RUNTIME);
	return 0;
}

/* --- snapshots ---------------------------------------------------------------------------------
 */

void membership_sets_free(struct member_set **sets, unsigned count)
{
	for (unsigned i = 0; sets && i < count; i++)
		member_set_unref(sets[i]);
	free(sets);
}

struct member_set **membership_sets_new(
	struct membership *m, const struct settings *s, struct err *err)
{
	struct member_set **sets = calloc(s->pool_count + 1, sizeof(*sets));

	if (!sets)
		err_set(err, "out of memory");
	for (unsigned i = 0; sets && i < s->pool_count; i++) {
		sets[i] = merge(m, &s->pools[i], err);
		if (!sets[i]) {
			membership_sets_free(sets, i);
			return NULL;
		}
	}
	return sets;
}

static void forget_lost_pools(struct membership *m)
{
	struct span name;
	size_t at = 0;
	void *value;

	while (map_next(&m->rosters, &at, &name, &value)) {
		if (membership_pool(m, name))
			continue;
		roster_free(map_take(&m->rosters, name));
		at = 0; /* it has changed under us */
	}
}

void membership_apply(struct membership *m, struct settings *s, struct member_set **sets)
{
	struct settings *old = m->settings;

	m->settings = settings_ref(s);
	for (unsigned i = 0; i < s->pool_count; i++) {
		const struct pool *p = &s->pools[i];
		struct member_set *was = p->state->set;

		p->state->set = sets[i];
		if (was) {
			each_other(m, p, was, sets[i], NULL, on_left);
			each_other(m, p, sets[i], was, NULL, on_came);
		}
		member_set_unref(was);
	}
	free(sets);
	forget_lost_pools(m);
	settings_unref(old);
}

struct membership *membership_new(struct server_table *t, const struct membership_options *o)
{
	struct membership *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->table = t;
	m->options = *o;
	map_init(&m->rosters, ROSTERS_MAX);
	return m;
}

void membership_free(struct membership *m)
{
	struct span name;
	size_t at = 0;
	void *value;

	if (!m)
		return;
	while (map_next(&m->rosters, &at, &name, &value))
		roster_free(value);
	map_fini(&m->rosters);
	settings_unref(m->settings);
	free(m);
}
