#include "proxy/conditions.h"

#include "proxy/certs.h"
#include "proxy/pool/members.h"

static void add(json_t *list, const char *kind, const char *subject, const char *words)
{
	if (json_array_size(list) < CONDITIONS_MAX)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "kind", kind, "subject",
						    subject, "words", words));
}

/* One that somebody took out is no trouble. */
static bool is_down(const struct member *m)
{
	const struct health *h = &m->server->health;

	return member_admits(m) &&
	       (h->state == HEALTH_DOWN || h->state == HEALTH_EJECTED ||
		       h->state == HEALTH_RISING || m->server->agent.state == AGENT_DOWN);
}

static void look_at_pool(json_t *list, const struct pool *p)
{
	const struct member_set *set = p->state->set;
	char name[128], words[64];
	unsigned down = 0;

	for (unsigned i = 0; i < set->count; i++)
		down += is_down(&set->members[i]);
	if (down == 0)
		return;
	(void)snprintf(name, sizeof(name), "%.*s", SPAN_ARG(p->name));
	(void)snprintf(words, sizeof(words), "%u of %u servers are down", down, set->count);
	add(list, down == set->count ? "pool_down" : "pool_degraded", name, words);
}

static void look_at_servers(json_t *list, const struct pool *p)
{
	const struct member_set *set = p->state->set;
	char subject[160];

	for (unsigned i = 0; i < set->count; i++) {
		const struct server *s = set->members[i].server;

		if (!is_down(&set->members[i]))
			continue;
		(void)snprintf(subject, sizeof(subject), "%.*s/%s", SPAN_ARG(p->name), s->name);
		add(list, "server_down", subject, s->health.reason);
	}
}

json_t *conditions_now(const struct settings *s)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < s->pool_count; i++)
		look_at_pool(list, &s->pools[i]);
	for (unsigned i = 0; i < s->pool_count; i++)
		look_at_servers(list, &s->pools[i]);
	certs_each_condition(s, add, list);
	return json_pack("{s:o}", "conditions", list);
}
