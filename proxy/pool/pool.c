#include "proxy/pool/pool.h"

#include <stdlib.h>

#include "proxy/pool/balance/balance.h"
#include "proxy/pool/queue.h"
#include "proxy/pool/sticky.h"
#include "proxy/tls/client.h"
#include "shared/assert.h"
#include "shared/units.h"

static const struct balancer *balancer_of(const struct pool *p)
{
	static const struct balancer *const all[] = {
#define X(name, word) &balance_##word,
		BALANCES(X)
#undef X
	};

	ASSERT((unsigned)p->balance < countof(all));
	return all[p->balance];
}

/* --- views -------------------------------------------------------------------------------------
 */

static bool is_usable(const struct member *m)
{
	return atomic_load_explicit(&m->server->usable, memory_order_relaxed);
}

/* Its agent wants nothing new for it. */
static bool is_leaving(const struct member *m)
{
	return atomic_load_explicit(&m->server->drains, memory_order_relaxed);
}

static bool is_up(const struct member *m)
{
	return member_admits(m) && is_usable(m) && !is_leaving(m);
}

/* Well, but on its way out. */
static bool drains(const struct member *m)
{
	return is_usable(m) && !m->disabled &&
	       (m->admin == ADMIN_DRAINING || (m->admin == ADMIN_READY && is_leaving(m)));
}

/* A last resort: it failed, but somebody is there. */
static bool may_live(const struct member *m)
{
	return member_admits(m) && !atomic_load_explicit(&m->server->refused, memory_order_relaxed);
}

static unsigned gather(struct pool_view *v, bool backup, bool (*wanted)(const struct member *m))
{
	const struct member_set *set = v->set;

	v->count = 0;
	for (unsigned i = 0; i < set->count; i++)
		if (set->members[i].backup == backup && wanted(&set->members[i]))
			v->usable[v->count++] = set->members[i];
	return v->count;
}

unsigned pool_share_pct(const struct pool *p, const struct server *s, uint64_t now_ns)
{
	uint64_t since_ns = now_ns - s->started_ns;

	if (!s->started_ns || since_ns >= p->slow_start_ns)
		return 100;
	return (unsigned)(10 + 90 * since_ns / p->slow_start_ns);
}

/* The same, and what its agent leaves of it. */
static unsigned part_pct(const struct pool *p, const struct server *s, uint64_t now_ns)
{
	unsigned pct = pool_share_pct(p, s, now_ns) * s->agent.weight_pct / 100;

	return pct ? pct : 1;
}

/* Weights by what each gets of its share; all the same when all get all. */
static void weigh(struct pool_view *v, uint64_t now_ns)
{
	const struct pool *p = v->pool;
	bool partly = false;

	for (unsigned i = 0; i < v->count; i++)
		partly |= part_pct(p, v->usable[i].server, now_ns) < 100;
	for (unsigned i = 0; partly && i < v->count; i++)
		v->usable[i].weight *= part_pct(p, v->usable[i].server, now_ns);
}

static struct pool_view *empty_view(const struct pool *p, struct member_set *set)
{
	struct pool_view *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	atomic_init(&v->refs, 1);
	v->pool = p;
	v->set = member_set_ref(set);
	v->balancer = balancer_of(p);
	v->usable = calloc(set->count + 1, sizeof(*v->usable));
	if (!v->usable) {
		pool_view_unref(v);
		return NULL;
	}
	return v;
}

static bool is_near(const struct pool *p, const struct member *m)
{
	return p->own_zone.len && span_eq(m->zone, p->own_zone);
}

/* How many of 2^32 requests the servers of our own zone leave to others: none while they can all be
 * used or nearly, for each may take 1.4 times its share. */
static uint32_t spilt(const struct pool_view *v)
{
	const struct pool *p = v->pool;
	uint64_t all = 0, usable = 0;

	for (unsigned i = 0; i < v->set->count; i++)
		if (!v->set->members[i].backup && is_near(p, &v->set->members[i]))
			all += v->set->members[i].weight;
	for (unsigned i = 0; i < v->count; i++)
		usable += v->usable[i].weight;
	ASSERT(usable > 0 && usable <= all);
	if (usable * 14 >= all * 10)
		return 0;
	return (uint32_t)(UINT32_MAX - UINT32_MAX * (usable * 14) / (all * 10));
}

/* Where servers of our own zone and others can be used, the others get a view of their own. */
static int part_zones(struct pool_view *v)
{
	const struct pool *p = v->pool;
	unsigned near = 0, far = 0;

	for (unsigned i = 0; i < v->count; i++)
		near += is_near(p, &v->usable[i]);
	if (near == 0 || near == v->count)
		return 0;
	v->beyond = empty_view(p, v->set);
	if (!v->beyond)
		return -1;
	v->beyond->count = v->count - near;
	near = 0;
	for (unsigned i = 0; i < v->count; i++)
		if (is_near(p, &v->usable[i]))
			v->usable[near++] = v->usable[i];
		else
			v->beyond->usable[far++] = v->usable[i];
	v->count = near;
	v->beyond_share = spilt(v);
	return 0;
}

/* Whom the cookie of this pool's users may name: those of the view, and of the one beyond; and
 * those that drain, for the users who are there already. */
static int bind_users(struct pool_view *v)
{
	const struct pool *p = v->pool;

	v->sticky = sticky_table_new(v->set->count);
	if (!v->sticky)
		return -1;
	for (const struct pool_view *in = v; in; in = in->beyond)
		for (unsigned i = 0; i < in->count; i++)
			sticky_table_add(v->sticky,
				sticky_value(p->sticky.key, in->usable[i].server),
				in->usable[i].server);
	for (unsigned i = 0; i < v->set->count; i++)
		if (drains(&v->set->members[i]))
			sticky_table_add(v->sticky,
				sticky_value(p->sticky.key, v->set->members[i].server),
				v->set->members[i].server);
	return 0;
}

/* The servers are in it: their weights, and what the algorithm wants. */
static int finish(struct pool_view *v, uint64_t now_ns)
{
	const struct balancer *b = v->balancer;

	weigh(v, now_ns);
	return v->count > 0 && b->prepare ? b->prepare(v) : 0;
}

struct pool_view *pool_view_new(const struct pool *p, struct member_set *set)
{
	struct pool_view *v = empty_view(p, set);
	uint64_t now_ns = monotonic_ns();

	if (!v)
		return NULL;
	if (gather(v, false, is_up) == 0) {
		if (gather(v, true, is_up) == 0 && !p->when_all_down_503 && !p->stand_in) {
			if (gather(v, false, may_live) == 0)
				gather(v, true, may_live);
			v->failing_open = v->count > 0;
		}
	} else if (part_zones(v) < 0) {
		pool_view_unref(v);
		return NULL;
	}
	if (finish(v, now_ns) < 0 || (v->beyond && finish(v->beyond, now_ns) < 0) ||
		(p->sticky.cookie.len && bind_users(v) < 0)) {
		pool_view_unref(v);
		return NULL;
	}
	return v;
}

struct pool_view *pool_view_ref(struct pool_view *v)
{
	unsigned before = atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);

	ASSERT(before > 0);
	return v;
}

void pool_view_unref(struct pool_view *v)
{
	unsigned before;

	if (!v)
		return;
	before = atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel);
	ASSERT(before > 0);
	if (before > 1)
		return;
	pool_view_unref(v->beyond);
	member_set_unref(v->set);
	free(v->usable);
	free(v->cycle);
	free(v->table);
	free(v->sticky);
	free(v);
}

static struct server *pick_in(const struct pool_view *v, const struct pick *what)
{
	int at = v->balancer->pick(v, what);

	ASSERT(at < (int)v->count);
	return at < 0 ? NULL : v->usable[at].server;
}

/* Of a key it is always the same, as long as the share is. */
static bool goes_beyond(const struct pool_view *v, const struct pick *what)
{
	uint64_t drawn = what->has_key ? what->key : rng_u64(what->rng);

	return (uint32_t)(drawn * UINT64_C(0x9e3779b97f4a7c15) >> 32) < v->beyond_share;
}

static struct server *pick(const struct pool_view *v, const struct pick *what)
{
	const struct pool_view *first = v, *second = v->beyond;
	struct server *s;

	if (v->count == 0)
		return NULL;
	if (!second && v->count == 1) /* nothing to choose, and a common case */
		return passed_over(what, v->usable[0].server) ? NULL : v->usable[0].server;
	if (!second)
		return pick_in(v, what);
	if (v->beyond_share && goes_beyond(v, what)) {
		first = second;
		second = v;
	}
	s = pick_in(first, what);
	return s ? s : pick_in(second, what);
}

struct server *pool_bound(const struct pool_view *v, const struct pick *what)
{
	struct server *s =
		what->sticky && v->sticky ? sticky_table_find(v->sticky, what->sticky) : NULL;

	return s && !was_tried(what, s) ? s : NULL;
}

struct server *pool_take(const struct pool_view *v, struct pick *what)
{
	uint32_t limit = v->pool->limits.per_server;
	struct server *s = pool_bound(v, what);

	what->limit = limit;
	if (s)
		return !passed_over(what, s) && server_reserve(s, limit) ? s : NULL;
	do /* another worker may have been faster; it has the slot then, and there is one less */
		s = pick(v, what);
	while (s && !server_reserve(s, limit));
	return s;
}

struct server *pool_prefer(const struct pool_view *v, struct pick *what)
{
	struct server *bound = pool_bound(v, what);

	what->limit = 0;
	return bound ? bound : pick(v, what);
}

/* Who waits does not do so for this one: it is out of service; or it is a backup, while others can
 * be used again. */
static bool is_relieved(const struct pool_view *v, const struct server *s)
{
	const struct member *m = member_set_find(v->set, s);

	if (!m)
		return false;
	return ((!member_admits(m) || is_leaving(m)) && !drains(m)) ||
	       (m->backup && v->count > 0 && !v->usable[0].backup);
}

void pool_release(const struct pool_view *v, struct server *s)
{
	struct pool_queue *q = &v->pool->state->queue;

	/* In this order, both sequentially consistent: see queue_enter(). */
	atomic_fetch_sub_explicit(&s->in_flight, 1, memory_order_seq_cst);
	if (queue_length(q) > 0 && !atomic_load_explicit(&s->suspect, memory_order_relaxed) &&
		(v->failing_open || atomic_load_explicit(&s->usable, memory_order_relaxed)) &&
		!is_relieved(v, s))
		queue_offer(q, s);
}

/* --- status ------------------------------------------------------------------------------------
 */

static const char *tls_word(const struct pool *p)
{
	if (!p->tls)
		return "off";
	return p->tls->verify ? "verified" : "not verified";
}

json_t *pool_server_status(const struct pool *p, const struct member *m)
{
	uint64_t now_ns = monotonic_ns();
	const struct health_conf conf = {.rise = p->check.rise, .fall = p->check.fall};
	const struct server *s = m->server;
	unsigned share = pool_share_pct(p, s, now_ns), part = part_pct(p, s, now_ns);
	char health[64], reason[sizeof(s->health.reason)], since[25];
	json_t *all;

	snprintf(reason, sizeof(reason), "%s", s->health.reason);

	if (share < 100)
		snprintf(health, sizeof(health), "starting %u %%", share);
	else
		health_format(&s->health, &conf, now_ns, health, sizeof(health));
	if (health_usable(&s->health) && s->agent.state == AGENT_DOWN) {
		snprintf(health, sizeof(health), "down");
		snprintf(reason, sizeof(reason), "its agent says so: %s",
			s->agent.reason[0] ? s->agent.reason : "no reason given");
	}
	time_format(s->health.since_realtime_ns, since);
	all = json_pack(
		"{s:s, s:s%, s:i, s:i, s:b, s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:i, s:I, s:I}",
		"address", s->address_text, "zone", m->zone.len ? m->zone.ptr : "", m->zone.len,
		"weight", (int)m->weight, "effective_weight", (int)((m->weight * part + 99) / 100),
		"backup", (int)m->backup, "configured", m->disabled ? "disabled" : "enabled",
		"admin", admin_state_name(m->admin), "health", health, "reason", reason, "since",
		since, "in_flight", (json_int_t)atomic_load(&s->in_flight), "sessions",
		(int)atomic_load(&s->sessions), "queued", (int)atomic_load(&s->queued),
		"requests_total", (json_int_t)atomic_load(&s->requests_total), "failures_total",
		(json_int_t)atomic_load(&s->failures_total));
	json_object_set_new(all, "tls", json_string(tls_word(p)));
	if (p->agent.kind != CHECK_NONE)
		json_object_set_new(all, "agent",
			json_pack("{s:s, s:i, s:s, s:o}", "state", agent_state_name(s->agent.state),
				"weight_pct", (int)s->agent.weight_pct, "reason", s->agent.reason,
				"age_ms",
				s->agent_heard_ns
					? json_integer((json_int_t)((now_ns - s->agent_heard_ns) /
								    NS_PER_MS))
					: json_null()));
	return all;
}

json_t *pool_status(const struct pool *p)
{
	struct span balance = conf_text(p->node, "balance");
	const struct member_set *set = p->state->set;
	json_t *servers = json_object();
	unsigned up = 0;

	for (unsigned i = 0; i < set->count; i++) {
		const struct member *m = &set->members[i];

		up += is_up(m);
		json_object_set_new(servers, m->server->name, pool_server_status(p, m));
	}
	return json_pack("{s:s%, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:o}", "balance",
		balance.ptr, balance.len, "up", (int)up, "total", (int)set->count, "queued",
		(int)queue_length(&p->state->queue), "queue_full_total",
		(json_int_t)atomic_load(&p->state->queue_full_total), "queue_timeouts_total",
		(json_int_t)atomic_load(&p->state->queue_timeouts_total), "requests_total",
		(json_int_t)atomic_load(&p->state->requests_total), "retries_total",
		(json_int_t)atomic_load(&p->state->retries_total), "retries_denied_total",
		(json_int_t)atomic_load(&p->state->retries_denied_total), "servers", servers);
}
