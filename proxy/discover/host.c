#include "proxy/discover/host.h"

#include <stdio.h>
#include <stdlib.h>

#include "shared/assert.h"
#include "shared/log.h"

double follow_delay_s(struct rng *rng, uint32_t ttl_s, unsigned failures)
{
	double delay_s = ttl_s, jitter = (double)(rng_u64(rng) >> 11) / (double)(1ull << 53);

	if (failures)
		delay_s = failures < 6 ? (double)(1u << (failures - 1)) : FOLLOW_RETRY_MOST_S;
	else if (ttl_s < FOLLOW_TTL_LEAST_S)
		delay_s = FOLLOW_TTL_LEAST_S;
	else if (ttl_s > FOLLOW_TTL_MOST_S)
		delay_s = FOLLOW_TTL_MOST_S;
	return delay_s * (1 + jitter / 10); /* many at once are not asked for at once again */
}

static int by_bytes(const void *a, const void *b)
{
	const struct addr *x = a, *y = b;

	if (x->sa.sa_family == AF_INET)
		return memcmp(&x->in.sin_addr, &y->in.sin_addr, sizeof(x->in.sin_addr));
	return memcmp(&x->in6.sin6_addr, &y->in6.sin6_addr, sizeof(x->in6.sin6_addr));
}

/* Takes the list. True: it is another one. */
static bool set_list(struct host_family *f, struct addr *list, unsigned given)
{
	unsigned count = 0;
	bool same;

	qsort(list, given, sizeof(*list), by_bytes);
	for (unsigned i = 0; i < given; i++)
		if (count == 0 || by_bytes(&list[count - 1], &list[i]) != 0)
			list[count++] = list[i];
	same = count == f->count;
	for (unsigned i = 0; same && i < count; i++)
		same = by_bytes(&list[i], &f->list[i]) == 0;
	free(f->list);
	f->list = list;
	f->count = count;
	return !same;
}

/* True: it is another list. */
static bool take_list(struct host_family *f, const struct resolver_result *result)
{
	struct addr *list = calloc(result->count + 1, sizeof(*list));

	if (!list)
		return false; /* what was known stays */
	for (unsigned i = 0; i < result->count; i++)
		list[i] = result->records[i].addr;
	return set_list(f, list, result->count);
}

void host_recall(struct host *h, const struct addr *list, unsigned count)
{
	static const sa_family_t families[] = {AF_INET, AF_INET6};

	for (unsigned k = 0; k < countof(families); k++) {
		struct addr *of = calloc(count + 1, sizeof(*of));
		unsigned n = 0;

		for (unsigned i = 0; of && i < count; i++)
			if (list[i].sa.sa_family == families[k])
				of[n++] = list[i];
		if (of)
			(void)set_list(&h->families[k], of, n);
	}
	h->answered = host_count(h) > 0;
}

static bool is_good(const struct host_family *f)
{
	return !f->failed && f->count > 0;
}

/* Both have had their word. With addresses of one family it is good, whatever became of the other:
 * some servers fail for all that they have no IPv6 of. */
static void settle(struct host *h)
{
	const struct host_family *a = &h->families[0], *b = &h->families[1];
	uint32_t ttl_s = a->ttl_s < b->ttl_s ? a->ttl_s : b->ttl_s;

	if (is_good(a) != is_good(b))
		ttl_s = is_good(a) ? a->ttl_s : b->ttl_s;
	if (!a->failed && !b->failed)
		h->reason[0] = '\0';
	if (is_good(a) || is_good(b) || !h->reason[0])
		h->failures = 0;
	else
		h->failures++;
	ev_timer_stop(h->loop, &h->next);
	ev_timer_set(&h->next, follow_delay_s(h->rng, ttl_s, h->failures), 0);
	ev_timer_start(h->loop, &h->next);
}

static void hear(struct host *h, unsigned which, const struct resolver_result *result)
{
	struct host_family *f = &h->families[which];
	bool first = !h->asked;

	h->queries[which] = NULL;
	f->failed = result->verdict != DNS_GOOD;
	f->ttl_s = result->ttl_s;
	if (f->failed) {
		snprintf(h->reason, sizeof(h->reason), "%s",
			result->verdict == DNS_NXDOMAIN ? "NXDOMAIN" : result->why);
		if (h->failures == 0)
			log_event(LOG_WARNING, "discover.failed", "keeping what was known before",
				F_TEXT("name", h->name), F_TEXT("reason", h->reason));
	} else {
		h->answered = true;
		h->changed |= take_list(f, result);
		if (result->dropped)
			log_event(LOG_WARNING, "discover.too_many", "some addresses are left out",
				F_TEXT("name", h->name), F_INT("most", RESOLVER_RECORDS_MAX));
	}
	if (h->queries[1 - which])
		return; /* both together: an address may go while another comes */
	settle(h);
	h->asked = true;
	if (h->changed || first) {
		h->changed = false;
		h->on_change(h->ctx);
	}
}

static void on_v4(void *ctx, const struct resolver_result *result)
{
	hear(ctx, 0, result);
}

static void on_v6(void *ctx, const struct resolver_result *result)
{
	hear(ctx, 1, result);
}

static void ask(struct host *h)
{
	static const struct resolver_result no_memory = {
		.verdict = DNS_FAILED, .why = "out of memory"};

	ASSERT(!h->queries[0] && !h->queries[1]);
	h->queries[0] = resolver_ask(h->resolver, h->name, DNS_A, on_v4, h);
	h->queries[1] = resolver_ask(h->resolver, h->name, DNS_AAAA, on_v6, h);
	if (!h->queries[0])
		hear(h, 0, &no_memory);
	if (!h->queries[1])
		hear(h, 1, &no_memory);
}

static void on_next(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	ask(w->data);
}

struct host *host_new(struct ev_loop *loop, struct resolver *r, struct rng *rng, const char *name,
	void (*on_change)(void *ctx), void *ctx)
{
	struct host *h = calloc(1, sizeof(*h));

	if (h)
		h->name = strdup(name);
	if (!h || !h->name) {
		free(h);
		return NULL;
	}
	h->resolver = r;
	h->loop = loop;
	h->rng = rng;
	h->on_change = on_change;
	h->ctx = ctx;
	ev_timer_init(&h->next, on_next, 0, 0);
	h->next.data = h;
	ev_timer_start(loop, &h->next);
	return h;
}

void host_free(struct host *h)
{
	if (!h)
		return;
	resolver_cancel(h->queries[0]);
	resolver_cancel(h->queries[1]);
	ev_timer_stop(h->loop, &h->next);
	free(h->families[0].list);
	free(h->families[1].list);
	free(h->name);
	free(h);
}
