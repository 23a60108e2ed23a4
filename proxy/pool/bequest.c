#include "proxy/pool/bequest.h"

static json_t *health_json(const struct health *h)
{
	return json_pack("{s:s, s:s, s:i, s:i, s:b, s:I, s:I, s:I, s:s}", "state",
		health_state_name(h->state), "below", health_state_name(h->below), "count",
		(int)h->count, "ejections", (int)h->ejections, "refused", (int)h->refused, "since",
		(json_int_t)h->since_ns, "since_realtime", (json_int_t)h->since_realtime_ns,
		"ejected_until", (json_int_t)h->ejected_until_ns, "reason", h->reason);
}

void bequest_add(json_t *servers, const struct member_set *set)
{
	for (unsigned i = 0; set && i < set->count; i++) {
		const struct server *s = set->members[i].server;

		json_object_set_new(servers, s->key,
			json_pack("{s:s, s:o}", "address", s->address_text, "health",
				health_json(&s->health)));
	}
}

static bool state_of(const json_t *name, enum health_state *ret)
{
	static const char *const names[] = {
#define X(name, text, usable) text,
		HEALTH_STATES(X)
#undef X
	};

	for (unsigned i = 0; json_is_string(name) && i < countof(names); i++)
		if (strcmp(names[i], json_string_value(name)) == 0) {
			*ret = (enum health_state)i;
			return true;
		}
	return false;
}

static uint64_t number(const json_t *from, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(from, name));

	return n > 0 ? (uint64_t)n : 0;
}

void bequest_take(const json_t *servers, struct server *s)
{
	const json_t *left = json_object_get(servers, s->key);
	const json_t *from = json_object_get(left, "health");
	const char *address = json_string_value(json_object_get(left, "address"));
	const char *reason = json_string_value(json_object_get(from, "reason"));
	struct health h = {0};

	if (!address || strcmp(address, s->address_text) != 0 || !reason ||
		!state_of(json_object_get(from, "state"), &h.state) ||
		!state_of(json_object_get(from, "below"), &h.below))
		return;
	h.count = (unsigned)number(from, "count");
	h.ejections = (unsigned)number(from, "ejections");
	h.refused = json_is_true(json_object_get(from, "refused"));
	h.since_ns = number(from, "since");
	h.since_realtime_ns = number(from, "since_realtime");
	h.ejected_until_ns = number(from, "ejected_until");
	(void)snprintf(h.reason, sizeof(h.reason), "%s", reason);
	s->health = h;
	atomic_store(&s->usable, health_usable(&h));
	atomic_store(&s->refused, h.refused);
}
