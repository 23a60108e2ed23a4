#include "proxy/discover/srv.h"

#include <stdlib.h>

#include "shared/log.h"

struct srv {
	struct crew_options o;
	char *name;
	struct crew *crew;
	struct resolver_query *query;
	ev_timer next;
	bool asked;
	unsigned failures;
	char reason[96];
};

/* 0 to 65535 of a server becomes 1 to 256, in proportion where that is more. */
static uint32_t scaled(uint16_t weight, uint16_t most)
{
	uint32_t w = most > 256 ? (uint32_t)weight * 256 / most : weight;

	return w ? w : 1;
}

static void take(struct srv *s, const struct resolver_result *result)
{
	struct crew_entry *list = calloc(result->count + 1, sizeof(*list));
	uint16_t first = UINT16_MAX, most = 0;
	struct err err = {"out of memory"};

	for (unsigned i = 0; i < result->count; i++) {
		first = result->records[i].priority < first ? result->records[i].priority : first;
		most = result->records[i].weight > most ? result->records[i].weight : most;
	}
	/* The first who says an address has the say: those of the lowest priority come first. */
	for (unsigned i = 0, at = 0; list && i < 2 * result->count; i++) {
		const struct dns_record *r = &result->records[i % result->count];
		bool backup = i >= result->count;

		if (backup == (r->priority == first))
			continue;
		list[at++] = (struct crew_entry){.host = span_of(r->target),
			.port = r->port,
			.weight = scaled(r->weight, most),
			.backup = backup};
	}
	if (!list || crew_set(s->crew, list, result->count, &err) < 0)
		log_event(LOG_ERROR, "discover.unpublished",
			"the servers that were known before stay", F_TEXT("name", s->name),
			F_TEXT("reason", err.text));
	free(list);
	if (result->dropped)
		log_event(LOG_WARNING, "discover.too_many", "some servers are left out",
			F_TEXT("name", s->name), F_INT("most", RESOLVER_RECORDS_MAX));
}

static void on_result(void *ctx, const struct resolver_result *result)
{
	struct srv *s = ctx;

	s->query = NULL;
	s->asked = true;
	if (result->verdict == DNS_GOOD) {
		s->failures = 0;
		s->reason[0] = '\0';
		take(s, result);
	} else {
		snprintf(s->reason, sizeof(s->reason), "%s",
			result->verdict == DNS_NXDOMAIN ? "NXDOMAIN" : result->why);
		if (s->failures++ == 0)
			log_event(LOG_WARNING, "discover.failed", "keeping what was known before",
				F_TEXT("name", s->name), F_TEXT("reason", s->reason));
	}
	ev_timer_set(&s->next, follow_delay_s(s->o.rng, result->ttl_s, s->failures), 0);
	ev_timer_start(s->o.loop, &s->next);
}

static void on_next(struct ev_loop *loop, ev_timer *w, int events)
{
	static const struct resolver_result no_memory = {
		.verdict = DNS_FAILED, .why = "out of memory"};
	struct srv *s = w->data;

	(void)loop;
	(void)events;
	s->query = resolver_ask(s->o.resolver, s->name, DNS_SRV, on_result, s);
	if (!s->query)
		on_result(s, &no_memory);
}

struct srv *srv_new(const struct crew_options *o, const char *name, struct crew *crew)
{
	struct srv *s = calloc(1, sizeof(*s));

	if (s)
		s->name = strdup(name);
	if (!s || !s->name) {
		free(s);
		return NULL;
	}
	s->o = *o;
	s->crew = crew;
	ev_timer_init(&s->next, on_next, 0, 0);
	s->next.data = s;
	ev_timer_start(o->loop, &s->next);
	return s;
}

void srv_free(struct srv *s, bool keep)
{
	if (!s)
		return;
	resolver_cancel(s->query);
	ev_timer_stop(s->o.loop, &s->next);
	crew_free(s->crew, keep);
	free(s->name);
	free(s);
}

bool srv_settled(const struct srv *s)
{
	return s->asked && crew_settled(s->crew);
}

const char *srv_reason(const struct srv *s)
{
	return !s->asked ? "being asked for" : s->reason[0] ? s->reason : NULL;
}
