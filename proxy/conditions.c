#include "proxy/conditions.h"

#include "proxy/pool/server.h"

static void add(json_t *list, const char *kind, const char *subject, const char *words)
{
	if (json_array_size(list) < CONDITIONS_MAX)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "kind", kind, "subject",
						    subject, "words", words));
}

static bool is_down(const struct server *s)
{
	return s->health.state == HEALTH_DOWN || s->health.state == HEALTH_EJECTED ||
	       s->health.state == HEALTH_RISING;
}

static void look_at_pool(json_t *list, const struct pool *p)
{
	char name[128], words[64];
	unsigned down = 0;

	for (unsigned i = 0; i < p->member_count; i++)
		down += is_down(p->members[i].server);
	if (down == 0)
		return;
	(void)snprintf(name, sizeof(name), "%.*s", SPAN_ARG(p->name));
	(void)snprintf(words, sizeof(words), "%u of %u servers are down", down, p->member_count);
	add(list, down == p->member_count ? "pool_down" : "pool_degraded", name, words);
}

static void look_at_servers(json_t *list, const struct pool *p)
{
	char subject[160];

	for (unsigned i = 0; i < p->member_count; i++) {
		const struct server *s = p->members[i].server;

		if (!is_down(s))
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
	return json_pack("{s:o}", "conditions", list);
}
