#include "proxy/pool/pool.h"

#include <stdlib.h>

#include "proxy/pool/balance/balance.h"
#include "shared/assert.h"
#include "shared/units.h"

static const struct balancer *balancer_of(const struct pool *p)
{
	switch (p->balance) {
	case BALANCE_LEAST_REQUESTS:
		return &balance_least_requests;
	case BALANCE_ROUND_ROBIN:
		return &balance_round_robin;
	}
	ASSERT(!"unknown balance");
	return NULL;
}

/* --- views -------------------------------------------------------------------------------------
 */

static bool is_up(const struct member *m)
{
	return atomic_load_explicit(&m->server->usable, memory_order_relaxed);
}

/* A last resort: it failed, but somebody is there. */
static bool may_live(const struct member *m)
{
	return !atomic_load_explicit(&m->server->refused, memory_order_relaxed);
}

static unsigned gather(struct pool_view *v, bool backup, bool (*wanted)(const struct member *m))
{
	const struct pool *p = v->pool;

	v->count = 0;
	for (unsigned i = 0; i < p->member_count; i++)
		if (p->members[i].backup == backup && wanted(&p->members[i]))
			v->usable[v->count++] = p->members[i];
	return v->count;
}

struct pool_view *pool_view_new(const struct pool *p)
{
	struct pool_view *v = calloc(1, sizeof(*v));
	const struct balancer *b = balancer_of(p);

	if (!v)
		return NULL;
	atomic_init(&v->refs, 1);
	v->pool = p;
	v->usable = calloc(p->member_count + 1, sizeof(*v->usable));
	if (!v->usable) {
		pool_view_unref(v);
		return NULL;
	}
	if (gather(v, false, is_up) == 0 && gather(v, true, is_up) == 0 && !p->when_all_down_503) {
		if (gather(v, false, may_live) == 0)
			gather(v, true, may_live);
		v->failing_open = v->count > 0;
	}
	if (v->count > 0 && b->prepare && b->prepare(v) < 0) {
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
	free(v->usable);
	free(v->cycle);
	free(v);
}

struct server *pool_pick(const struct pool_view *v, struct server *const *tried,
	unsigned tried_count, struct rng *rng)
{
	int at;

	if (v->count == 0)
		return NULL;
	at = balancer_of(v->pool)->pick(v, (struct tried){tried, tried_count}, rng);
	ASSERT(at < (int)v->count);
	return at < 0 ? NULL : v->usable[at].server;
}

/* --- status ------------------------------------------------------------------------------------
 */

static json_t *server_status(const struct pool *p, const struct member *m, uint64_t now_ns)
{
	const struct health_conf conf = {.rise = p->check.rise, .fall = p->check.fall};
	const struct server *s = m->server;
	char health[64], since[25];

	health_format(&s->health, &conf, now_ns, health, sizeof(health));
	time_format(s->health.since_realtime_ns, since);
	return json_pack("{s:s, s:i, s:i, s:b, s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:I, s:I}",
		"address", s->address_text, "weight", (int)m->weight, "effective_weight",
		(int)m->weight, "backup", (int)m->backup, "configured", "enabled", "admin", "ready",
		"health", health, "reason", s->health.reason, "since", since, "in_flight",
		(json_int_t)atomic_load(&s->in_flight), "queued", 0, "requests_total",
		(json_int_t)atomic_load(&s->requests_total), "failures_total",
		(json_int_t)atomic_load(&s->failures_total));
}

json_t *pool_status(const struct pool *p)
{
	json_t *servers = json_object();
	uint64_t now_ns = monotonic_ns();
	unsigned up = 0;

	for (unsigned i = 0; i < p->member_count; i++) {
		const struct member *m = &p->members[i];

		up += is_up(m);
		json_object_set_new(servers, m->server->name, server_status(p, m, now_ns));
	}
	return json_pack("{s:s, s:i, s:i, s:I, s:I, s:I, s:o}", "balance", balancer_of(p)->name,
		"up", (int)up, "total", (int)p->member_count, "requests_total",
		(json_int_t)atomic_load(&p->state->requests_total), "retries_total",
		(json_int_t)atomic_load(&p->state->retries_total), "retries_denied_total",
		(json_int_t)atomic_load(&p->state->retries_denied_total), "servers", servers);
}
