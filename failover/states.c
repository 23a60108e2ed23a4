#include "failover/states.h"

#include <string.h>

#include "shared/span.h"

void states_init(struct states *s)
{
	*s = (struct states){0};
}

void states_fini(struct states *s)
{
	for (unsigned i = 0; i < s->count; i++)
		json_decref(s->list[i].json);
	states_init(s);
}

static bool whole_number(const json_t *n, uint64_t *ret)
{
	if (!json_is_integer(n) || json_integer_value(n) < 0)
		return false;
	*ret = (uint64_t)json_integer_value(n);
	return true;
}

/* The fields, but for json. */
static int read_fields(struct state *s, const json_t *json, struct err *err)
{
	const json_t *version = json_object_get(json, "version");
	struct span kind = span_of(json_string_value(json_object_get(json, "kind")));
	struct span who = span_of(json_string_value(json_object_get(version, "who")));

	if (kind.len == 0 || span_copy(kind, s->kind, sizeof(s->kind)) != 0)
		return err_set(
			err, "'kind' is a word of at most %d characters", STATES_KIND_MAX - 1);
	if (!who.ptr || span_copy(who, s->who, sizeof(s->who)) != 0 ||
		!whole_number(json_object_get(version, "value"), &s->value) ||
		!whole_number(json_object_get(version, "when"), &s->when_ms))
		return err_set(err, "'version' is {value, who, when} of a state");
	if (!json_object_get(json, "doc"))
		return err_set(err, "'doc' is missing");
	if (json_dumpb(json, NULL, 0, JSON_COMPACT) > STATES_TEXT_MAX)
		return err_set(
			err, "the state '%s' is over %d KiB", s->kind, STATES_TEXT_MAX / 1024);
	return 0;
}

static bool is_newer(const struct state *a, const struct state *than)
{
	if (a->value != than->value)
		return a->value > than->value;
	if (a->when_ms != than->when_ms)
		return a->when_ms > than->when_ms;
	return strcmp(a->who, than->who) > 0;
}

enum states_rc states_put(
	struct states *s, const json_t *json, unsigned *ret_index, struct err *err)
{
	struct state next = {0};
	unsigned i = 0;

	if (read_fields(&next, json, err) != 0)
		return STATES_REFUSED;
	while (i < s->count && strcmp(s->list[i].kind, next.kind) != 0)
		i++;
	if (i < s->count && !is_newer(&next, &s->list[i]))
		return STATES_KNOWN;
	if (i == STATES_MAX) {
		err_set(err, "there are %d kinds of state already", STATES_MAX);
		return STATES_REFUSED;
	}
	if (i == s->count)
		s->list[s->count++].json = NULL;
	json_decref(s->list[i].json);
	s->list[i] = next;
	s->list[i].json = json_incref((json_t *)(uintptr_t)json);
	*ret_index = i;
	return STATES_NEWER;
}
