#include "proxy/discover/registry.h"

#include <stdlib.h>

#include "shared/list.h"
#include "shared/log.h"
#include "shared/map.h"

#define CHANGE_WRITTEN_NS (100 * NS_PER_MS)

struct entry {
	struct list link;
	char *name, *zone;
	struct registration what; /* its texts are the two above */
	uint64_t until_ns;
};

struct registry {
	struct ev_loop *loop;
	struct membership *membership;
	struct leases *leases;
	char *pool;
	struct map by_name;
	struct list entries;
	unsigned count;
	ev_timer lapse; /* of the lease that ends first */
};

static void entry_free(struct registry *r, struct entry *e)
{
	if (e->link.next != &e->link) {
		list_remove(&e->link);
		r->count--;
	}
	free(e->name);
	free(e->zone);
	free(e);
}

static int publish(struct registry *r, struct err *err)
{
	struct membership_server *list = calloc(r->count + 1, sizeof(*list));
	unsigned count = 0;
	int rc;

	if (!list)
		return err_set(err, "out of memory");
	list_each (it, &r->entries) {
		const struct registration *w = &list_item(it, struct entry, link)->what;

		list[count++] = (struct membership_server){.name = w->name,
			.address = w->address,
			.weight = w->weight,
			.zone = w->zone,
			.backup = w->backup};
	}
	rc = membership_source_set(r->membership, span_of(r->pool), "register", list, count, err);
	free(list);
	return rc;
}

static void publish_rest(struct registry *r)
{
	struct err err;

	if (publish(r, &err) < 0)
		log_event(LOG_ERROR, "register.unpublished",
			"the servers that were known before stay", F_TEXT("pool", r->pool),
			F_TEXT("reason", err.text));
}

/* --- leases ------------------------------------------------------------------------------------
 */

static void set_lapse(struct registry *r)
{
	uint64_t now_ns = monotonic_ns(), first_ns = UINT64_MAX;

	list_each (it, &r->entries) {
		const struct entry *e = list_item(it, struct entry, link);

		first_ns = e->until_ns < first_ns ? e->until_ns : first_ns;
	}
	ev_timer_stop(r->loop, &r->lapse);
	if (first_ns == UINT64_MAX)
		return;
	ev_timer_set(&r->lapse, first_ns > now_ns ? (double)(first_ns - now_ns) / 1e9 : 0, 0);
	ev_timer_start(r->loop, &r->lapse);
}

static void on_lapse(struct ev_loop *loop, ev_timer *w, int events)
{
	struct registry *r = w->data;
	uint64_t now_ns = monotonic_ns();
	bool any = false;

	(void)loop;
	(void)events;
	if (leases_owner(r->leases) == LEASES_THEIRS)
		return;
	list_each_safe (it, &r->entries) {
		struct entry *e = list_item(it, struct entry, link);

		if (e->until_ns > now_ns)
			continue;
		log_event(LOG_WARNING, "register.lapsed",
			"it did not renew its lease: it gets nothing new", F_TEXT("pool", r->pool),
			F_TEXT("server", e->name));
		map_take(&r->by_name, span_of(e->name));
		entry_free(r, e);
		any = true;
	}
	if (any) {
		publish_rest(r);
		leases_touch(r->leases, CHANGE_WRITTEN_NS);
	}
	set_lapse(r);
}

/* --- coming and going --------------------------------------------------------------------------
 */

static struct entry *entry_new(const struct registration *what)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	list_init(&e->link);
	e->name = span_dup(what->name);
	e->zone = span_dup(what->zone.len ? what->zone : SPAN(""));
	if (!e->name || !e->zone) {
		free(e->name);
		free(e->zone);
		free(e);
		return NULL;
	}
	e->what = *what;
	e->what.name = span_of(e->name);
	e->what.zone = span_of(e->zone);
	e->until_ns = monotonic_ns() + what->lease_ns;
	return e;
}

static bool is_same(const struct registration *a, const struct registration *b)
{
	return addr_eq(&a->address, &b->address) && a->weight == b->weight &&
	       span_eq(a->zone, b->zone) && a->backup == b->backup;
}

/* `next` in the place of `was`, which may be NULL, and published; else all is as before. */
static int replace(struct registry *r, struct entry *was, struct entry *next, struct err *err)
{
	list_append(&r->entries, &next->link);
	r->count++;
	if (was) {
		list_remove(&was->link);
		r->count--;
	}
	if (map_put(&r->by_name, next->what.name, next) == 0 && publish(r, err) == 0) {
		if (was)
			entry_free(r, was);
		return 0;
	}
	map_take(&r->by_name, next->what.name);
	entry_free(r, next);
	if (was) {
		list_append(&r->entries, &was->link);
		r->count++;
		(void)map_put(&r->by_name, was->what.name, was); /* there is room: it was there */
	}
	return -1;
}

int registry_put(
	struct registry *r, const struct registration *what, bool *ret_new, struct err *err)
{
	struct entry *was = map_get(&r->by_name, what->name), *next;

	if (was && is_same(&was->what, what)) {
		was->until_ns = monotonic_ns() + what->lease_ns;
		was->what.lease_ns = what->lease_ns;
		was->what.load = what->load;
		set_lapse(r);
		leases_touch(r->leases, what->lease_ns / 4);
		*ret_new = false;
		return 0;
	}
	if (!was && r->count == REGISTRY_SERVERS_MAX)
		return err_set(err, "pool '%s' has %d registered servers already", r->pool,
			REGISTRY_SERVERS_MAX);
	next = entry_new(what);
	err_set(err, "out of memory");
	if (!next || replace(r, was, next, err) < 0)
		return -1;
	set_lapse(r);
	leases_touch(r->leases, CHANGE_WRITTEN_NS);
	*ret_new = !was;
	return 0;
}

int registry_leave(struct registry *r, struct span name)
{
	struct entry *e = map_take(&r->by_name, name);

	if (!e)
		return -1;
	entry_free(r, e);
	publish_rest(r);
	set_lapse(r);
	leases_touch(r->leases, CHANGE_WRITTEN_NS);
	return 0;
}

/* --- asking ------------------------------------------------------------------------------------
 */

double registry_load(const struct registry *r)
{
	double sum = 0;
	unsigned count = 0;

	list_each (it, &r->entries) {
		double load = list_item(it, struct entry, link)->what.load;

		if (load >= 0) {
			sum += load;
			count++;
		}
	}
	return count ? sum / count : -1;
}

json_t *registry_status(const struct registry *r)
{
	json_t *all = json_object();
	uint64_t now_ns = monotonic_ns();

	list_each (it, &r->entries) {
		const struct entry *e = list_item(it, struct entry, link);
		uint64_t left_ns = e->until_ns > now_ns ? e->until_ns - now_ns : 0;

		json_object_set_new(all, e->name,
			json_pack("{s:I, s:o}", "lease_ms", (json_int_t)(left_ns / NS_PER_MS),
				"load", e->what.load >= 0 ? json_real(e->what.load) : json_null()));
	}
	return all;
}

/* --- from one process to the next --------------------------------------------------------------
 */

json_t *registry_json(const struct registry *r)
{
	uint64_t now_ns = monotonic_ns(), now_ms = realtime_ns() / NS_PER_MS;
	json_t *all = json_object();
	char address[ADDR_TEXT_MAX];

	list_each (it, &r->entries) {
		const struct entry *e = list_item(it, struct entry, link);
		uint64_t left_ns = e->until_ns > now_ns ? e->until_ns - now_ns : 0;

		addr_format(&e->what.address, address);
		json_object_set_new(all, e->name,
			json_pack("{s:s, s:i, s:s, s:b, s:f, s:I, s:I}", "address", address,
				"weight", (int)e->what.weight, "zone", e->zone, "backup",
				e->what.backup, "load", e->what.load, "lease_ms",
				(json_int_t)(e->what.lease_ns / NS_PER_MS), "until_ms",
				(json_int_t)now_ms + (json_int_t)(left_ns / NS_PER_MS)));
	}
	return all;
}

/* False: it makes no sense, or its lease is over. */
static bool read_left(
	const char *name, const json_t *from, struct registration *w, uint64_t *ret_left_ms)
{
	const char *address = json_string_value(json_object_get(from, "address"));
	const char *zone = json_string_value(json_object_get(from, "zone"));
	json_int_t weight = json_integer_value(json_object_get(from, "weight"));
	json_int_t lease_ms = json_integer_value(json_object_get(from, "lease_ms"));
	json_int_t until_ms = json_integer_value(json_object_get(from, "until_ms"));
	json_int_t left_ms = until_ms - (json_int_t)(realtime_ns() / NS_PER_MS);
	struct membership_server server;
	struct err err;

	if (!address || !zone || addr_parse(span_of(address), &w->address, NULL) < 0 ||
		weight < 1 || weight > 256 ||
		lease_ms < (json_int_t)(REGISTRY_LEASE_LEAST_NS / NS_PER_MS) ||
		lease_ms > (json_int_t)(REGISTRY_LEASE_MOST_NS / NS_PER_MS) || left_ms <= 0)
		return false;
	w->name = span_of(name);
	w->weight = (uint32_t)weight;
	w->zone = span_of(zone);
	w->backup = json_is_true(json_object_get(from, "backup"));
	w->lease_ns = (uint64_t)lease_ms * NS_PER_MS;
	w->load = json_number_value(json_object_get(from, "load"));
	/* The clock may have been set back: nobody has longer than was asked for. */
	*ret_left_ms = (uint64_t)(left_ms < lease_ms ? left_ms : lease_ms);
	server = (struct membership_server){.name = w->name, .weight = w->weight};
	return membership_check(&server, 1, &err) == 0;
}

static void restore(struct registry *r, json_t *left)
{
	struct registration w;
	uint64_t left_ms;
	const char *name;
	json_t *from;

	json_object_foreach (left, name, from) {
		struct entry *e;

		if (r->count == REGISTRY_SERVERS_MAX || !read_left(name, from, &w, &left_ms))
			continue;
		e = entry_new(&w);
		if (!e || map_put(&r->by_name, w.name, e) < 0) {
			if (e)
				entry_free(r, e);
			log_event(LOG_ERROR, "register.unread",
				"out of memory: not all are known who were registered",
				F_TEXT("pool", r->pool));
			break;
		}
		e->until_ns = monotonic_ns() + left_ms * NS_PER_MS;
		list_append(&r->entries, &e->link);
		r->count++;
	}
	json_decref(left);
	if (r->count == 0)
		return;
	log_event(LOG_NOTICE, "register.restored", "their leases go on", F_TEXT("pool", r->pool),
		F_INT("servers", r->count));
	publish_rest(r);
	set_lapse(r);
}

struct registry *registry_new(
	struct ev_loop *loop, struct membership *m, struct leases *leases, struct span pool)
{
	struct registry *r = calloc(1, sizeof(*r));

	if (r)
		r->pool = span_dup(pool);
	if (!r || !r->pool) {
		free(r);
		return NULL;
	}
	r->loop = loop;
	r->membership = m;
	r->leases = leases;
	map_init(&r->by_name, REGISTRY_SERVERS_MAX + 1);
	list_init(&r->entries);
	ev_init(&r->lapse, on_lapse);
	r->lapse.data = r;
	restore(r, leases_take(leases, pool));
	return r;
}

void registry_free(struct registry *r, bool keep)
{
	if (!r)
		return;
	ev_timer_stop(r->loop, &r->lapse);
	list_each_safe (it, &r->entries)
		entry_free(r, list_item(it, struct entry, link));
	map_fini(&r->by_name);
	if (!keep) {
		publish_rest(r);
		leases_touch(r->leases, CHANGE_WRITTEN_NS);
	}
	free(r->pool);
	free(r);
}
