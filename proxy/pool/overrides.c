#include "proxy/pool/overrides.h"

#include <stdarg.h>
#include <stdlib.h>

#include "shared/assert.h"
#include "shared/map.h"
#include "shared/units.h"

#define FORGET_AFTER_MS \
	(UINT64_C(7) * 24 * 3600 * 1000) /* a peer that was away for longer is late */
#define KEY_MAX 256

struct overrides {
	struct map by_key; /* struct override */
	uint64_t seen_ms;  /* the latest stamp */
};

static void override_free(struct override *v)
{
	if (!v)
		return;
	free(v->key);
	free(v);
}

struct overrides *overrides_new(void)
{
	struct overrides *o = calloc(1, sizeof(*o));

	if (o)
		map_init(&o->by_key, OVERRIDES_MAX);
	return o;
}

void overrides_free(struct overrides *o)
{
	const struct override *v;
	size_t at = 0;

	if (!o)
		return;
	while ((v = overrides_next(o, &at)))
		override_free((struct override *)(uintptr_t)v);
	map_fini(&o->by_key);
	free(o);
}

const struct override *overrides_next(const struct overrides *o, size_t *at)
{
	struct span key;
	void *value;

	return map_next(&o->by_key, at, &key, &value) ? value : NULL;
}

static bool says_something(const struct override *v)
{
	return v->admin.set || v->weight.set || v->added.set;
}

unsigned overrides_count(const struct overrides *o)
{
	const struct override *v;
	unsigned n = 0;
	size_t at = 0;

	while ((v = overrides_next(o, &at)))
		n += says_something(v);
	return n;
}

static struct span key_of(struct span pool, struct span server, char room[KEY_MAX])
{
	int n = snprintf(room, KEY_MAX, "%.*s/%.*s", SPAN_ARG(pool), SPAN_ARG(server));

	return span_make(room, n > 0 && n < KEY_MAX ? (size_t)n : 0);
}

const struct override *overrides_find(
	const struct overrides *o, struct span pool, struct span server)
{
	char room[KEY_MAX];

	return map_get(&o->by_key, key_of(pool, server, room));
}

/* --- registers ---------------------------------------------------------------------------------
 */

static bool is_newer(const struct override_stamp *a, const struct override_stamp *than)
{
	if (a->at_ms != than->at_ms)
		return a->at_ms > than->at_ms;
	return strcmp(a->node, than->node) > 0;
}

static uint64_t last_said_ms(const struct override *v)
{
	uint64_t last_ms = v->admin.stamp.at_ms;

	last_ms = v->weight.stamp.at_ms > last_ms ? v->weight.stamp.at_ms : last_ms;
	return v->added.stamp.at_ms > last_ms ? v->added.stamp.at_ms : last_ms;
}

static void forget(struct overrides *o, const struct override *v)
{
	override_free(map_take(&o->by_key, span_of(v->key)));
}

/* The one that was taken back longest ago makes room. */
static bool make_room(struct overrides *o)
{
	const struct override *v, *oldest = NULL;
	size_t at = 0;

	while ((v = overrides_next(o, &at)))
		if (!says_something(v) && (!oldest || last_said_ms(v) < last_said_ms(oldest)))
			oldest = v;
	if (oldest)
		forget(o, oldest);
	return oldest != NULL;
}

static struct override *get(
	struct overrides *o, struct span pool, struct span server, struct err *err)
{
	char room[KEY_MAX];
	struct span key = key_of(pool, server, room);
	struct override *v = map_get(&o->by_key, key);

	if (v)
		return v;
	if (o->by_key.used == OVERRIDES_MAX && !make_room(o)) {
		err_set(err,
			"%d servers differ from the configuration already, and no more can: write "
			"some of it there",
			OVERRIDES_MAX);
		return NULL;
	}
	v = calloc(1, sizeof(*v));
	if (v)
		v->key = span_dup(key);
	if (!v || !key.len || !v->key || map_put(&o->by_key, key, v) < 0) {
		override_free(v);
		err_set(err, key.len ? "out of memory" : "the name is too long");
		return NULL;
	}
	v->pool = span_make(v->key, pool.len);
	v->server = span_make(v->key + pool.len + 1, server.len);
	return v;
}

struct override_stamp overrides_stamp(
	const struct overrides *o, const char *by, const char *node, uint64_t now_ms)
{
	struct override_stamp s = {.at_ms = now_ms > o->seen_ms ? now_ms : o->seen_ms + 1};

	(void)span_copy(span_of(by), s.by, sizeof(s.by));
	(void)span_copy(span_of(node), s.node, sizeof(s.node));
	return s;
}

static void saw(struct overrides *o, const struct override_stamp *stamp)
{
	if (stamp->at_ms > o->seen_ms)
		o->seen_ms = stamp->at_ms;
}

int overrides_set_admin(struct overrides *o, const struct member *m, enum admin_state state,
	uint64_t until_ms, const struct override_stamp *stamp, struct err *err)
{
	struct override *v = get(o, span_of(m->server->pool_name), span_of(m->server->name), err);

	if (!v)
		return -1;
	v->admin.stamp = *stamp;
	v->admin.set = state != ADMIN_READY;
	v->admin.state = state;
	v->admin.until_ms = state == ADMIN_DRAINING ? until_ms : 0;
	v->admin.was_disabled = m->disabled;
	saw(o, stamp);
	return 0;
}

int overrides_set_weight(struct overrides *o, const struct server *s, uint32_t weight, uint32_t was,
	const struct override_stamp *stamp, struct err *err)
{
	struct override *v = get(o, span_of(s->pool_name), span_of(s->name), err);

	if (!v)
		return -1;
	v->weight.stamp = *stamp;
	v->weight.set = weight && weight != was;
	v->weight.value = weight;
	v->weight.was = was;
	saw(o, stamp);
	return 0;
}

int overrides_add(struct overrides *o, const struct override_server *s,
	const struct override_stamp *stamp, struct err *err)
{
	struct override *v;

	if (s->zone.len >= sizeof(v->added.zone))
		return err_set(err, "the zone's name is longer than %zu characters",
			sizeof(v->added.zone) - 1);
	v = get(o, s->pool, s->name, err);
	if (!v)
		return -1;
	v->added.stamp = *stamp;
	v->added.set = true;
	v->added.address = s->address;
	v->added.weight = s->weight;
	v->added.backup = s->backup;
	(void)span_copy(s->zone, v->added.zone, sizeof(v->added.zone));
	saw(o, stamp);
	return 0;
}

void overrides_remove(struct overrides *o, struct span pool, struct span server,
	const struct override_stamp *stamp)
{
	char room[KEY_MAX];
	struct override *v = map_get(&o->by_key, key_of(pool, server, room));

	ASSERT(v && v->added.set);
	v->added.stamp = *stamp;
	v->added.set = false;
	if (v->admin.set)
		v->admin.stamp = *stamp;
	if (v->weight.set)
		v->weight.stamp = *stamp;
	v->admin.set = v->weight.set = false;
	saw(o, stamp);
}

enum admin_state override_admin(const struct override *o, uint64_t now_ms)
{
	if (!o || !o->admin.set)
		return ADMIN_READY;
	if (o->admin.state == ADMIN_DRAINING && o->admin.until_ms && now_ms >= o->admin.until_ms)
		return ADMIN_MAINTENANCE;
	return o->admin.state;
}

uint64_t overrides_due_ms(const struct overrides *o, uint64_t now_ms)
{
	const struct override *v;
	uint64_t due_ms = 0;
	size_t at = 0;

	while ((v = overrides_next(o, &at)))
		if (v->admin.set && v->admin.until_ms > now_ms &&
			(!due_ms || v->admin.until_ms < due_ms))
			due_ms = v->admin.until_ms;
	return due_ms;
}

/* --- against the configuration -----------------------------------------------------------------
 */

struct ruling {
	const struct override *override;
	const struct override_stamp *stamp; /* NULL: only told */
	json_t *lines;
	unsigned count;
};

/* This register loses, for this reason; true: drop it. */
static bool rule(struct ruling *r, const struct override_stamp *said, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static bool rule(struct ruling *r, const struct override_stamp *said, const char *fmt, ...)
{
	char what[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	json_array_append_new(r->lines, json_sprintf("server %s: %s; what %s said is dropped",
						r->override->key, what, said->by));
	r->count++;
	return r->stamp != NULL;
}

static const struct pool *pool_named(const struct settings *s, struct span name)
{
	for (unsigned i = 0; i < s->pool_count; i++)
		if (span_eq(s->pools[i].name, name))
			return &s->pools[i];
	return NULL;
}

static const struct member *configured(const struct pool *p, struct span name)
{
	for (unsigned i = 0; i < p->member_count; i++)
		if (span_eq(span_of(p->members[i].server->name), name))
			return &p->members[i];
	return NULL;
}

static void drop(struct override_stamp *stamp, bool *set, const struct override_stamp *now)
{
	*stamp = *now;
	*set = false;
}

static void judge(struct ruling *r, struct override *v, const struct settings *s)
{
	const struct pool *p = pool_named(s, v->pool);
	const struct member *m = p ? configured(p, v->server) : NULL;
	/* Not in the file, and nobody can bring it any more. */
	bool gone = !p || (!m && !v->added.set && !conf_find(p->node, "discover"));
	const char *why =
		p ? "it is not in the pool any more" : "its pool is not configured any more";

	if (v->added.set && (m || !p) &&
		rule(r, &v->added.stamp, "%s", m ? "it is in the configuration now" : why))
		drop(&v->added.stamp, &v->added.set, r->stamp);
	if (v->weight.set && gone && rule(r, &v->weight.stamp, "%s", why))
		drop(&v->weight.stamp, &v->weight.set, r->stamp);
	else if (v->weight.set && m && m->weight != v->weight.was &&
		 rule(r, &v->weight.stamp, "weight %u was set when %u was configured, now it is %u",
			 v->weight.value, v->weight.was, m->weight))
		drop(&v->weight.stamp, &v->weight.set, r->stamp);
	if (v->admin.set && gone && rule(r, &v->admin.stamp, "%s", why))
		drop(&v->admin.stamp, &v->admin.set, r->stamp);
	else if (v->admin.set && m && m->disabled != v->admin.was_disabled &&
		 rule(r, &v->admin.stamp, "it is %s in the configuration now",
			 m->disabled ? "disabled" : "enabled"))
		drop(&v->admin.stamp, &v->admin.set, r->stamp);
}

unsigned overrides_reconcile(struct overrides *o, const struct settings *s,
	const struct override_stamp *stamp, json_t *lines)
{
	struct ruling r = {.stamp = stamp, .lines = lines};
	size_t at = 0;

	while ((r.override = overrides_next(o, &at)))
		judge(&r, (struct override *)(uintptr_t)r.override, s);
	if (stamp && r.count)
		saw(o, stamp);
	return r.count;
}

/* --- as JSON -----------------------------------------------------------------------------------
 */

/* A register: its stamp, and its value (NULL: taken back). Takes value. */
static void put(json_t *entry, const char *name, const struct override_stamp *stamp, json_t *value)
{
	if (!stamp->at_ms) {
		json_decref(value);
		return;
	}
	json_object_set_new(entry, name,
		json_pack("{s:I, s:s, s:s, s:o}", "at", (json_int_t)stamp->at_ms, "by", stamp->by,
			"node", stamp->node, "value", value ? value : json_null()));
}

static json_t *entry_json(const struct override *v)
{
	json_t *entry = json_object();
	char address[ADDR_TEXT_MAX];

	put(entry, "admin", &v->admin.stamp,
		v->admin.set
			? json_pack("{s:s, s:I, s:b}", "state", admin_state_name(v->admin.state),
				  "until", (json_int_t)v->admin.until_ms, "was_disabled",
				  (int)v->admin.was_disabled)
			: NULL);
	put(entry, "weight", &v->weight.stamp,
		v->weight.set ? json_pack("{s:I, s:I}", "weight", (json_int_t)v->weight.value,
					"was", (json_int_t)v->weight.was)
			      : NULL);
	if (v->added.set)
		addr_format(&v->added.address, address);
	put(entry, "added", &v->added.stamp,
		v->added.set ? json_pack("{s:s, s:I, s:s, s:b}", "address", address, "weight",
				       (json_int_t)v->added.weight, "zone", v->added.zone, "backup",
				       (int)v->added.backup)
			     : NULL);
	return entry;
}

json_t *overrides_json(struct overrides *o, uint64_t now_ms)
{
	json_t *servers = json_object();
	const struct override *v;
	size_t at = 0;

	while ((v = overrides_next(o, &at))) {
		if (!says_something(v) && last_said_ms(v) + FORGET_AFTER_MS < now_ms) {
			forget(o, v);
			at = 0; /* the map has changed under us: those seen are put again */
			continue;
		}
		json_object_set_new(servers, v->key, entry_json(v));
	}
	return json_pack("{s:o}", "servers", servers);
}

static int read_text(const json_t *from, const char *name, char *out, size_t size)
{
	struct span text = span_of(json_string_value(json_object_get(from, name)));

	return text.ptr && span_copy(text, out, size) == 0 ? 0 : -1;
}

static int read_number(const json_t *from, const char *name, uint64_t max, uint64_t *ret)
{
	const json_t *n = json_object_get(from, name);

	if (!json_is_integer(n) || json_integer_value(n) < 0 ||
		(uint64_t)json_integer_value(n) > max)
		return -1;
	*ret = (uint64_t)json_integer_value(n);
	return 0;
}

/* A register that is not there was never said: 0. */
static int read_register(const json_t *entry, const char *name, struct override_stamp *stamp,
	bool *set, const json_t **ret_value)
{
	const json_t *reg = json_object_get(entry, name);

	*ret_value = json_object_get(reg, "value");
	*set = json_is_object(*ret_value);
	if (!reg)
		return 0;
	if (!*ret_value || read_number(reg, "at", INT64_MAX, &stamp->at_ms) < 0 ||
		read_text(reg, "by", stamp->by, sizeof(stamp->by)) < 0 ||
		read_text(reg, "node", stamp->node, sizeof(stamp->node)) < 0)
		return -1;
	return 0;
}

static int read_added(const json_t *value, struct override *v)
{
	struct span address = span_of(json_string_value(json_object_get(value, "address")));
	uint64_t weight;

	if (!address.ptr || addr_parse(address, &v->added.address, NULL) < 0 ||
		read_number(value, "weight", 256, &weight) < 0 || weight == 0 ||
		read_text(value, "zone", v->added.zone, sizeof(v->added.zone)) < 0)
		return -1;
	v->added.weight = (uint32_t)weight;
	v->added.backup = json_is_true(json_object_get(value, "backup"));
	return 0;
}

static int read_entry(const json_t *entry, struct override *v)
{
	const json_t *admin, *weight, *added;
	const char *state;
	uint64_t n = 0, was = 0;

	if (!json_is_object(entry) ||
		read_register(entry, "admin", &v->admin.stamp, &v->admin.set, &admin) < 0 ||
		read_register(entry, "weight", &v->weight.stamp, &v->weight.set, &weight) < 0 ||
		read_register(entry, "added", &v->added.stamp, &v->added.set, &added) < 0)
		return -1;
	state = json_string_value(json_object_get(admin, "state"));
	if (v->admin.set && (!state || admin_state_parse(span_of(state), &v->admin.state) < 0 ||
				    read_number(admin, "until", INT64_MAX, &v->admin.until_ms) < 0))
		return -1;
	v->admin.was_disabled = json_is_true(json_object_get(admin, "was_disabled"));
	if (v->weight.set && (read_number(weight, "weight", 256, &n) < 0 || n == 0 ||
				     read_number(weight, "was", 256, &was) < 0))
		return -1;
	v->weight.value = (uint32_t)n;
	v->weight.was = (uint32_t)was;
	return v->added.set ? read_added(added, v) : 0;
}

/* --- merging -----------------------------------------------------------------------------------
 */

#define MERGE(reg)                                                        \
	do {                                                              \
		if (is_newer(&theirs->reg.stamp, &v->reg.stamp)) {        \
			v->reg = theirs->reg;                             \
			saw(o, &v->reg.stamp);                            \
			*ret_changed = true;                              \
		} else if (is_newer(&v->reg.stamp, &theirs->reg.stamp)) { \
			*ret_ahead = true;                                \
		}                                                         \
	} while (0)

static void merge_entry(struct overrides *o, struct override *v, const struct override *theirs,
	bool *ret_changed, bool *ret_ahead)
{
	MERGE(admin);
	MERGE(weight);
	MERGE(added);
}

/* Names are looked at as whoever wrote the file may have been somebody else. */
static int split_key(const char *key, struct span *ret_pool, struct span *ret_server)
{
	struct span whole = span_of(key);
	size_t slash = span_find(whole, '/', 0);

	if (whole.len >= KEY_MAX || slash == 0 || slash + 1 >= whole.len)
		return -1;
	*ret_pool = span_make(key, slash);
	*ret_server = span_from(whole, slash + 1);
	return span_find(*ret_server, '/', 0) == ret_server->len ? 0 : -1;
}

int overrides_merge(struct overrides *o, const json_t *book, bool *ret_changed, bool *ret_ahead,
	struct err *err)
{
	json_t *servers = json_object_get(book, "servers"), *entry;
	const struct override *mine;
	struct span pool, server;
	const char *key;
	size_t at = 0;

	*ret_changed = *ret_ahead = false;
	if (!json_is_object(servers))
		return err_set(err, "'servers' is missing");
	json_object_foreach (servers, key, entry) {
		struct override theirs = {0};

		if (split_key(key, &pool, &server) < 0 || read_entry(entry, &theirs) < 0)
			return err_set(err, "what it says of server '%.100s' makes no sense", key);
	}
	json_object_foreach (servers, key, entry) {
		struct override theirs = {0}, *v;

		if (split_key(key, &pool, &server) < 0 || read_entry(entry, &theirs) < 0)
			ASSERT(!"looked at above");
		v = get(o, pool, server, err);
		if (!v)
			return -1;
		merge_entry(o, v, &theirs, ret_changed, ret_ahead);
	}
	while ((mine = overrides_next(o, &at)))
		if (!json_object_get(servers, mine->key))
			*ret_ahead = true;
	return 0;
}
