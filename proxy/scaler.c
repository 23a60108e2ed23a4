#include "proxy/scaler.h"

#include <stdlib.h>

#include "proxy/discover/registry.h"
#include "proxy/pool/members.h"
#include "proxy/pool/queue.h"
#include "proxy/proxy.h"
#include "shared/log.h"

#define WINDOW_NS                                                                      \
	(10 * NS_PER_S) /* of the times: what is seen is between one and two of it old \
			 */

#define SLOWEST_NS (120 * NS_PER_S) /* what is beyond the histogram's bounds */

struct scaled {
	struct scaling machine;
	struct duration_sums then, before; /* at the beginning of this window, and of the last */
	uint64_t window_ns;		   /* since when */
};

/* --- what is seen ------------------------------------------------------------------------------
 */

/* What the servers have that may get traffic. */
static uint64_t in_flight(const struct pool *p, uint64_t *ret_room)
{
	const struct member_set *set = p->state->set;
	uint64_t n = 0;

	*ret_room = 0;
	for (unsigned i = 0; i < set->count; i++) {
		const struct member *m = &set->members[i];

		if (!member_admits(m) || m->backup ||
			!atomic_load_explicit(&m->server->usable, memory_order_relaxed))
			continue;
		n += atomic_load_explicit(&m->server->in_flight, memory_order_relaxed);
		*ret_room += p->limits.per_server;
	}
	return n;
}

static double in_flight_pct(const struct pool *p)
{
	uint64_t room, n = in_flight(p, &room);

	return room ? (double)n * 100 / (double)room : -1;
}

static double p99_ms(struct scaled *s, const struct pool *p, uint64_t now_ns)
{
	struct duration_sums now, recent = {0};
	uint64_t p99_ns, room;

	timings_sum(p->state->first_bytes, &now);
	if (now_ns - s->window_ns >= WINDOW_NS) {
		s->before = s->window_ns ? s->then : now;
		s->then = now;
		s->window_ns = now_ns;
	}
	for (unsigned i = 0; i < countof(now.counts); i++)
		recent.counts[i] = now.counts[i] - s->before.counts[i];
	recent.total = now.total - s->before.total;
	if (recent.total ==
		0) /* nobody waits: that is fast; or somebody does, nobody knows how long */
		return in_flight(p, &room) + queue_length(&p->state->queue) ? -1 : 0;
	p99_ns = duration_quantile_ns(&recent, 0.99);
	return (double)(p99_ns < SLOWEST_NS ? p99_ns : SLOWEST_NS) / (double)NS_PER_MS;
}

static double load_pct(struct discovery *d, const struct pool *p)
{
	const struct registry *r = discovery_registry(d, p->name);
	double load = r ? registry_load(r) : -1;

	return load < 0 ? -1 : load * 100;
}

static void see(struct scaled *s, const struct proxy *p, const struct pool *pool, uint64_t now_ns,
	struct scaling_seen *seen)
{
	const struct member_set *set = pool->state->set;

	seen->servers = 0;
	for (unsigned i = 0; i < set->count; i++)
		seen->servers += member_admits(&set->members[i]) && !set->members[i].backup;
	seen->values[SCALING_IN_FLIGHT] = in_flight_pct(pool);
	seen->values[SCALING_QUEUE] = queue_length(&pool->state->queue);
	seen->values[SCALING_P99] = p99_ms(s, pool, now_ns);
	seen->values[SCALING_LOAD] = load_pct(p->discovery, pool);
}

/* --- what is wanted ----------------------------------------------------------------------------
 */

static void tell(struct proxy *p, const struct pool *pool, unsigned want, const char *why)
{
	json_t *what = json_pack("{s:s%, s:i, s:s}", "pool", pool->name.ptr, pool->name.len, "want",
		(int)want, "why", why);

	log_event(LOG_NOTICE, "autoscale.wanted", why, F_SPAN("pool", pool->name),
		F_INT("want", want));
	rpc_publish(p->rpc, "autoscale.wanted", json_incref(what));
	if (failover_link_scale(p->link, what) < 0)
		log_event(LOG_ERROR, "autoscale.untold", "the agent does not listen",
			F_SPAN("pool", pool->name));
}

static void look(struct proxy *p, const struct pool *pool, uint64_t now_ns)
{
	struct scaled *s = pool->state->scaled;
	struct scaling_seen seen;
	unsigned want;

	if (!s)
		s = pool->state->scaled = calloc(1, sizeof(*s));
	if (!s)
		return;
	see(s, p, pool, now_ns, &seen);
	if (scaling_step(&s->machine, &pool->scaling, &seen, now_ns, &want))
		tell(p, pool, want, s->machine.why);
}

void scaler_second(struct proxy *p)
{
	bool active = p->link && failover_link_role(p->link) == FAILOVER_ACTIVE;
	uint64_t now_ns = monotonic_ns();

	for (unsigned i = 0; i < p->settings->pool_count; i++) {
		const struct pool *pool = &p->settings->pools[i];

		if (pool->scaling.max && active && !p->stopping) {
			look(p, pool, now_ns);
		} else if (pool->state->scaled) { /* whoever has the traffic sees it anew */
			free(pool->state->scaled);
			pool->state->scaled = NULL;
		}
	}
}

void scaler_status(const struct pool *p, json_t *status)
{
	const struct scaled *s = p->state->scaled;

	if (p->scaling.max)
		json_object_set_new(status, "scale",
			json_pack("{s:i, s:i, s:o, s:s?}", "min", (int)p->scaling.min, "max",
				(int)p->scaling.max, "want",
				s && s->machine.want ? json_integer(s->machine.want) : json_null(),
				"why", s && s->machine.want ? s->machine.why : NULL));
}
