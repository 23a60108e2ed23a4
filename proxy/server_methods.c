/*
 * server.set, server.add and server.remove of proxy.sock: what they take, what they write in the
 * book of orders, and what they answer. A program may call them again and again: what holds already
 * is no error, and is said.
 */
#include <errno.h>
#include <pwd.h>
#include <unistd.h>

#include "proxy/orders.h"
#include "proxy/proxy.h"
#include "proxy/status.h"
#include "proxy/succession.h"

/* --- parameters --------------------------------------------------------------------------------
 */

/* Who gives the order: the user at the other end of the socket, and for whom he says he acts. */
static int who_says(
	const struct rpc_caller *who, const json_t *params, char *out, size_t size, struct err *err)
{
	const json_t *by = json_object_get(params, "by");
	const char *text = json_string_value(by);
	struct passwd room, *user = NULL;
	char names[1024], uid[32];

	(void)getpwuid_r(who->uid, &room, names, sizeof(names), &user);
	(void)snprintf(uid, sizeof(uid), "user %u", (unsigned)who->uid);
	if (!by) {
		(void)snprintf(out, size, "%s", user ? user->pw_name : uid);
		return 0;
	}
	for (const char *c = text; c && *c; c++)
		if ((unsigned char)*c < ' ')
			text = NULL;
	if (!text || !text[0] || strlen(text) >= OVERRIDE_WHO_MAX / 2)
		return err_set(
			err, "'by' is a name of at most %d characters", OVERRIDE_WHO_MAX / 2 - 1);
	(void)snprintf(out, size, "%.31s (%.28s)", text, user ? user->pw_name : uid);
	return 0;
}

static int text_of(const json_t *params, const char *name, struct span *ret, struct err *err)
{
	const json_t *value = json_object_get(params, name);

	if (!json_is_string(value))
		return err_set(err, "'%s' is missing, or is no text", name);
	*ret = span_make(json_string_value(value), json_string_length(value));
	return 0;
}

static int no_such(const char *kind, struct span name, const char *in, const char *const *names,
	size_t count, struct err *err)
{
	const char *near = did_you_mean(name, names, count);

	return err_set(err, "there is no %s '%.*s'%s%s%s%s", kind, SPAN_ARG(name), in,
		near ? ": did you mean '" : "", near ? near : "", near ? "'?" : "");
}

enum { NAMES_MAX = 256 };

static const struct pool *find_pool(const struct proxy *p, struct span name, struct err *err)
{
	const struct pool *pool = membership_pool(p->membership, name);
	const char *names[NAMES_MAX];
	size_t count = 0;

	if (pool)
		return pool;
	for (unsigned i = 0; i < p->settings->pool_count && count < NAMES_MAX; i++)
		names[count++] = p->settings->pools[i].state->kept.name;
	(void)no_such("pool", name, "", names, count, err);
	return NULL;
}

static const struct member *find_member(const struct pool *p, struct span name, struct err *err)
{
	const struct member_set *set = p->state->set;
	const struct member *m = member_set_named(set, name);
	const char *names[NAMES_MAX];
	char in[160];
	size_t count = 0;

	if (m)
		return m;
	for (unsigned i = 0; i < set->count && count < NAMES_MAX; i++)
		names[count++] = set->members[i].server->name;
	(void)snprintf(in, sizeof(in), " in pool '%.*s'", SPAN_ARG(p->name));
	(void)no_such("server", name, in, names, count, err);
	return NULL;
}

/* *ret: 0 when it is not there. */
static int weight_of(const json_t *params, uint32_t *ret, struct err *err)
{
	const json_t *weight = json_object_get(params, "weight");

	*ret = (uint32_t)json_integer_value(weight);
	if (weight && (!json_is_integer(weight) || json_integer_value(weight) < 1 ||
			      json_integer_value(weight) > 256))
		return err_set(err, "'weight' is a number from 1 to 256");
	return 0;
}

/* --- server.set --------------------------------------------------------------------------------
 */

struct set_order {
	const struct pool *pool;
	const struct member *member;
	char by[OVERRIDE_WHO_MAX];
	bool has_admin;
	enum admin_state admin;
	uint64_t until_ms; /* 0: no limit */
	uint32_t weight;   /* 0: not asked for */
};

static int read_timeout(const json_t *params, struct set_order *o, struct err *err)
{
	const json_t *timeout = json_object_get(params, "timeout");
	const char *text = json_string_value(timeout);
	uint64_t ns;

	if (!timeout)
		return 0;
	if (!o->has_admin || o->admin != ADMIN_DRAINING)
		return err_set(err, "'timeout' goes with \"admin\": \"draining\": after it the "
				    "server is in maintenance");
	if (!text || duration_parse(span_of(text), &ns, err) < 0)
		return err_set(err, "'timeout' is a duration with its unit, such as \"5m\"");
	o->until_ms = (realtime_ns() + ns) / NS_PER_MS;
	return 0;
}

static int read_set_order(const struct proxy *p, const struct rpc_caller *who, const json_t *params,
	struct set_order *o, struct err *err)
{
	const json_t *admin = json_object_get(params, "admin");
	struct span pool, server;

	*o = (struct set_order){.has_admin = admin != NULL};
	if (text_of(params, "pool", &pool, err) < 0 || text_of(params, "server", &server, err) < 0)
		return -1;
	o->pool = find_pool(p, pool, err);
	o->member = o->pool ? find_member(o->pool, server, err) : NULL;
	if (!o->member || who_says(who, params, o->by, sizeof(o->by), err) < 0)
		return -1;
	if (admin && (!json_is_string(admin) ||
			     admin_state_parse(span_of(json_string_value(admin)), &o->admin) < 0))
		return err_set(err, "'admin' is ready, draining or maintenance");
	if (weight_of(params, &o->weight, err) < 0)
		return -1;
	if (!admin && !o->weight)
		return err_set(err, "nothing to set: 'admin' or 'weight' is missing");
	return read_timeout(params, o, err);
}

/* The weight that the configuration, or who brought the server, gives it. */
static uint32_t own_weight(const struct overrides *book, const struct member *m)
{
	const struct override *v =
		overrides_find(book, span_of(m->server->pool_name), span_of(m->server->name));

	return v && v->weight.set ? v->weight.was : m->weight;
}

static json_t *from_to(json_t *from, json_t *to)
{
	return json_pack("{s:o, s:o}", "from", from, "to", to);
}

/* "17 sessions, 4 requests in flight" */
static void count_work(const struct server *s, char *out, size_t size)
{
	unsigned sessions = atomic_load(&s->sessions), all = atomic_load(&s->in_flight);
	unsigned requests = all > sessions ? all - sessions : 0;

	(void)snprintf(out, size, "%u session%s, %u request%s in flight", sessions,
		sessions == 1 ? "" : "s", requests, requests == 1 ? "" : "s");
}

static json_t *answer(const struct server *s, bool changed, const char *text)
{
	return json_pack("{s:b, s:s, s:s, s:s, s:I, s:I, s:I, s:s}", "changed", (int)changed,
		"pool", s->pool_name, "server", s->name, "address", s->address_text, "sessions",
		(json_int_t)atomic_load(&s->sessions), "in_flight",
		(json_int_t)atomic_load(&s->in_flight), "queued",
		(json_int_t)atomic_load(&s->queued), "text", text);
}

static void report(struct proxy *p, const char *by, const char *text)
{
	log_event(LOG_NOTICE, "server.ordered", "somebody changed a server", F_TEXT("by", by),
		F_TEXT("change", text));
	p->conditions_changed = true;
	rpc_publish(p->rpc, "server.ordered", json_pack("{s:s, s:s}", "by", by, "text", text));
}

/* What is to change, in words: "ready -> draining". False: nothing does. */
static bool compare(struct proxy *p, const struct set_order *o, char *out, size_t size)
{
	const struct override *v = overrides_find(
		orders_book(p->orders), o->pool->name, span_of(o->member->server->name));
	bool admin = o->has_admin &&
		     (o->admin != o->member->admin || o->until_ms != (v ? v->admin.until_ms : 0));
	bool weight = o->weight && o->weight != o->member->weight;
	size_t at = 0;

	if (o->has_admin && !admin)
		at += (size_t)snprintf(
			out + at, size - at, "%s already", admin_state_name(o->admin));
	else if (admin)
		at += (size_t)snprintf(out + at, size - at, "%s -> %s",
			admin_state_name(o->member->admin), admin_state_name(o->admin));
	if (o->weight && !weight)
		(void)snprintf(
			out + at, size - at, "%sweight %u already", at ? ", " : "", o->weight);
	else if (weight)
		(void)snprintf(out + at, size - at, "%sweight %u -> %u", at ? ", " : "",
			o->member->weight, o->weight);
	return admin || weight;
}

static int write_set_order(struct proxy *p, const struct set_order *o, struct err *err)
{
	struct overrides *book = orders_book(p->orders);
	struct override_stamp stamp = orders_stamp(p->orders, o->by);

	if (o->has_admin &&
		overrides_set_admin(book, o->member, o->admin, o->until_ms, &stamp, err) < 0)
		return -1;
	if (o->weight && overrides_set_weight(book, o->member->server, o->weight,
				 own_weight(book, o->member), &stamp, err) < 0)
		return -1;
	return orders_commit(p->orders, o->pool->name, err);
}

/* What an order leaves of a pool that had servers to use; "" is said of one that has some still. */
static const char *what_is_left(const struct pool *pool)
{
	const struct member_set *set = pool->state->set;

	for (unsigned i = 0; i < set->count; i++)
		if (member_admits(&set->members[i]))
			return "";
	return pool->stand_in ? "; no other server takes new requests: another pool stands in"
			      : "; no other server takes new requests: they get 503";
}

static int set(struct proxy *p, const struct rpc_caller *who, const json_t *params,
	struct server **ret_server, json_t **ret_result, struct err *err)
{
	char change[96], work[64], text[384];
	enum admin_state before;
	struct set_order o;
	uint32_t weight;
	bool changed;

	if (read_set_order(p, who, params, &o, err) < 0)
		return -1;
	*ret_server = server_ref(o.member->server); /* its set may go */
	before = o.member->admin;
	weight = o.member->weight;
	changed = compare(p, &o, change, sizeof(change));
	count_work(*ret_server, work, sizeof(work));
	(void)snprintf(text, sizeof(text), "%s: %s, %s", (*ret_server)->key, change, work);
	if (changed) {
		if (write_set_order(p, &o, err) < 0)
			return -1;
		proxy_settle(p);
	}
	if (o.has_admin && o.admin != ADMIN_READY)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s",
			what_is_left(o.pool));
	if (changed)
		report(p, o.by, text);
	*ret_result = answer(*ret_server, changed, text);
	if (o.has_admin)
		json_object_set_new(*ret_result, "admin",
			from_to(json_string(admin_state_name(before)),
				json_string(admin_state_name(o.admin))));
	if (o.weight)
		json_object_set_new(*ret_result, "weight",
			from_to(json_integer(weight), json_integer(o.weight)));
	return 0;
}

int method_server_set(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct server *s = NULL;
	int rc = succession_may_change(ctx, err);

	if (rc == 0)
		rc = set(ctx, who, params, &s, ret_result, err);
	server_unref(s);
	return rc;
}

/* --- server.add --------------------------------------------------------------------------------
 */

/* "server" as in server.set; "name" is taken too. */
static int server_name(const json_t *params, struct span *ret, struct err *err)
{
	return text_of(params, json_object_get(params, "server") ? "server" : "name", ret, err);
}

static int read_added(const json_t *params, struct membership_server *s, struct err *err)
{
	const json_t *zone = json_object_get(params, "zone");
	const json_t *backup = json_object_get(params, "backup");
	struct span address;
	struct err why;

	*s = (struct membership_server){0};
	if (server_name(params, &s->name, err) < 0 ||
		text_of(params, "address", &address, err) < 0 ||
		weight_of(params, &s->weight, err) < 0)
		return -1;
	if (addr_parse(address, &s->address, &why) < 0)
		return err_set(err,
			"'address' is an IP address and a port, such as "
			"\"10.0.1.12:8080\": %s",
			why.text);
	if (zone && text_of(params, "zone", &s->zone, err) < 0)
		return -1;
	if (backup && !json_is_boolean(backup))
		return err_set(err, "'backup' is true or false");
	s->backup = json_is_true(backup);
	s->weight = s->weight ? s->weight : 1;
	return membership_check(s, 1, err);
}

static bool is_same(const struct member *m, const struct membership_server *s, uint32_t weight)
{
	return addr_eq(&m->server->address, &s->address) && weight == s->weight &&
	       m->backup == s->backup && span_eq(m->zone, s->zone);
}

/* A server of that name is in the pool. True: there is nothing to add. */
static int is_there(struct proxy *p, const struct pool *pool, const struct member *m,
	const struct membership_server *s, bool *ret_same, struct err *err)
{
	const struct override *v = overrides_find(orders_book(p->orders), pool->name, s->name);

	if (strcmp(m->source, SOURCE_RUNTIME) == 0) {
		*ret_same = v && v->added.set && is_same(m, s, v->added.weight);
		return 0;
	}
	*ret_same = true;
	if (addr_eq(&m->server->address, &s->address))
		return 0;
	return err_set(err,
		"server '%s' is in pool '%s' already, with address %s, and comes from: %s; change "
		"it there, or take another name",
		m->server->name, m->server->pool_name, m->server->address_text, m->source);
}

/* m: what is there by that name, or NULL. */
static int write_added(struct proxy *p, const struct pool *pool, const struct member *m,
	const struct membership_server *s, const char *by, struct err *err)
{
	struct overrides *book = orders_book(p->orders);
	struct override_stamp stamp = orders_stamp(p->orders, by);
	const struct override_server added = {.pool = pool->name,
		.name = s->name,
		.address = s->address,
		.weight = s->weight,
		.zone = s->zone,
		.backup = s->backup};

	if (overrides_add(book, &added, &stamp, err) < 0)
		return -1;
	if (m && s->weight != m->weight && /* an order about its weight is older than this one */
		overrides_set_weight(book, m->server, s->weight, s->weight, &stamp, err) < 0)
		return -1;
	if (orders_commit(p->orders, pool->name, err) == 0)
		return 0;
	stamp = orders_stamp(p->orders, by);
	overrides_remove(book, pool->name, s->name, &stamp);
	(void)orders_commit(p->orders, pool->name, NULL);
	return -1;
}

int method_server_add(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct proxy *p = ctx;
	char by[OVERRIDE_WHO_MAX], text[256];
	struct membership_server s;
	const struct member *m;
	const struct pool *pool;
	struct span pool_name;
	bool same = false, was;

	if (succession_may_change(p, err) < 0 || text_of(params, "pool", &pool_name, err) < 0 ||
		who_says(who, params, by, sizeof(by), err) < 0 || read_added(params, &s, err) < 0)
		return -1;
	pool = find_pool(p, pool_name, err);
	if (!pool)
		return -1;
	m = member_set_named(pool->state->set, s.name);
	was = m != NULL;
	if (m && is_there(p, pool, m, &s, &same, err) < 0)
		return -1;
	if (!same && write_added(p, pool, m, &s, by, err) < 0)
		return -1;
	m = member_set_named(pool->state->set, s.name);
	ASSERT(m);
	(void)snprintf(text, sizeof(text), "%s: %s, %s", m->server->key,
		same  ? "is there already"
		: was ? "changed"
		      : "added",
		m->server->address_text);
	if (!same) {
		proxy_settle(p);
		report(p, by, text);
	}
	*ret_result = answer(m->server, !same, text);
	return 0;
}

/* --- server.remove -----------------------------------------------------------------------------
 */

static int may_remove(const struct member *m, struct err *err)
{
	if (strcmp(m->source, SOURCE_RUNTIME) == 0)
		return 0;
	return err_set(err,
		"server '%s' comes from: %s; take it out there, or put it into maintenance",
		m->server->key, m->source);
}

static int remove_server(struct proxy *p, const struct pool *pool, struct server *s, const char *by,
	json_t **ret_result, struct err *err)
{
	struct override_stamp stamp = orders_stamp(p->orders, by);
	char work[64], text[256];

	overrides_remove(orders_book(p->orders), pool->name, span_of(s->name), &stamp);
	if (orders_commit(p->orders, pool->name, err) < 0)
		return -1;
	proxy_settle(p);
	count_work(s, work, sizeof(work));
	(void)snprintf(text, sizeof(text), "%s: removed, %s", s->key, work);
	report(p, by, text);
	*ret_result = answer(s, true, text);
	return 0;
}

int method_server_remove(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct proxy *p = ctx;
	char by[OVERRIDE_WHO_MAX];
	struct span pool_name, name;
	const struct member *m;
	const struct pool *pool;
	struct server *s;
	int rc;

	if (succession_may_change(p, err) < 0 || text_of(params, "pool", &pool_name, err) < 0 ||
		server_name(params, &name, err) < 0 ||
		who_says(who, params, by, sizeof(by), err) < 0)
		return -1;
	pool = find_pool(p, pool_name, err);
	if (!pool)
		return -1;
	m = member_set_named(pool->state->set, name);
	if (!m) {
		*ret_result = json_pack("{s:b, s:s%, s:s%, s:o}", "changed", 0, "pool",
			pool_name.ptr, pool_name.len, "server", name.ptr, name.len, "text",
			json_sprintf(
				"%.*s/%.*s: is not there", SPAN_ARG(pool_name), SPAN_ARG(name)));
		return 0;
	}
	if (may_remove(m, err) < 0)
		return -1;
	s = server_ref(m->server);
	rc = remove_server(p, pool, s, by, ret_result, err);
	server_unref(s);
	return rc;
}
