/*
 * A route's conditions from the checked tree, and what a snapshot keeps beside it.
 */
#include "proxy/settings/build.h"
#include "shared/assert.h"

/* --- the snapshot's memory ---------------------------------------------------------------------
 */

void *build_alloc(struct builder *b, size_t count, size_t size)
{
	void *p = arena_alloc(b->settings->arena, count, size);

	if (!p)
		b->out_of_memory = true;
	return p;
}

const struct cidr *build_networks(
	struct builder *b, const struct conf_node *list, unsigned *ret_count)
{
	struct cidr *all = list ? build_alloc(b, list->count, sizeof(*all)) : NULL;

	*ret_count = 0;
	if (all)
		conf_each (node, list)
			all[(*ret_count)++] = node->cidr;
	return all;
}

void build_access(struct builder *b, const struct conf_node *node, struct access *ret)
{
	ret->allow = build_networks(b, conf_find(node, "allow"), &ret->allow_count);
	ret->deny = build_networks(b, conf_find(node, "deny"), &ret->deny_count);
}

const struct regex *build_regex(struct builder *b, const struct conf_node *node, struct span text)
{
	char why[160];
	size_t at;
	struct regex *r = arena_regex(b->settings->arena, text, why, sizeof(why), &at);

	if (!r && !why[0])
		b->out_of_memory = true;
	else if (!r)
		conf_error(b->report, node->pos, NULL,
			"'%.*s' is not a regular expression: %s, at character %zu", SPAN_ARG(text),
			why, at + 1);
	return r;
}

/* --- conditions --------------------------------------------------------------------------------
 */

/* Values of a list; of one "*" there is none, which any value satisfies. */
static void build_wanted(struct builder *b, const struct conf_node *list, struct condition *c)
{
	struct wanted *all = build_alloc(b, list->count, sizeof(*all));
	unsigned count = 0;
	bool any = false;

	if (!all)
		return;
	conf_each (value, list) {
		struct wanted *w = &all[count++];

		any |= span_eq(value->text, SPAN("*"));
		w->text = value->text;
		if (value->text.ptr[0] == '~') {
			w->text = span_trim(span_from(value->text, 1));
			w->regex = build_regex(b, value, w->text);
		}
	}
	c->wanted = all;
	c->wanted_count = any ? 0 : count;
}

static bool is_media_type(struct span text)
{
	size_t slash = span_find(text, '/', 0);

	if (slash == 0 || slash + 1 >= text.len || span_find(text, '/', slash + 1) < text.len)
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] == ';' || text.ptr[i] == ' ' || text.ptr[i] == ',' ||
			(text.ptr[i] == '*' && (i != slash + 1 || i + 1 != text.len)))
			return false;
	return true;
}

static void check_media_types(struct builder *b, const struct conf_node *list)
{
	conf_each (type, list)
		if (!is_media_type(type->text))
			conf_error(b->report, type->pos, NULL,
				"'%.*s' is not a media type: write one such as application/json, "
				"or image/*, without parameters",
				SPAN_ARG(type->text));
}

static void build_condition(struct builder *b, enum condition_kind kind,
	const struct conf_node *list, struct condition *c)
{
	*c = (struct condition){.kind = kind};
	switch (kind) {
	case CONDITION_CLIENT:
		c->networks = build_networks(b, list, &c->network_count);
		return;
	case CONDITION_LOCATION:
		if (!b->settings->location)
			conf_error(b->report, list->name_pos, "location: {networks: FILE}",
				"'location' can not be matched: say at the top of the file who is "
				"where");
		build_wanted(b, list, c);
		return;
	case CONDITION_CONTENT_TYPE:
		check_media_types(b, list);
		build_wanted(b, list, c);
		return;
	case CONDITION_HEADER:
		c->field = http_field_id(list->name);
		c->name = list->name;
		build_wanted(b, list, c);
		return;
	case CONDITION_COOKIE:
	case CONDITION_QUERY:
		c->name = list->name;
		build_wanted(b, list, c);
		return;
	case CONDITION_UPGRADE:
	case CONDITION_PATH:
		build_wanted(b, list, c);
		return;
	}
}

static bool is_map_of(enum condition_kind kind)
{
	return kind == CONDITION_HEADER || kind == CONDITION_COOKIE || kind == CONDITION_QUERY;
}

/* What of `match` is such a condition; NULL: nothing. */
static const struct conf_node *written(const struct conf_node *match, enum condition_kind kind)
{
	const struct conf_node *n = conf_find(match, condition_word(kind));

	if (!n || !n->count)
		return NULL;
	/* A plain path is the index's. */
	return kind == CONDITION_PATH && n->first->text.ptr[0] != '~' ? NULL : n;
}

void build_match(struct builder *b, const struct conf_node *match, struct match *ret)
{
	struct condition *all;
	unsigned count = 0;

	for (unsigned kind = 0; kind <= CONDITION_PATH; kind++) {
		const struct conf_node *n = written(match, kind);

		count += !n ? 0 : is_map_of(kind) ? (unsigned)n->count : 1;
	}
	*ret = (struct match){0};
	if (!count)
		return;
	all = build_alloc(b, count, sizeof(*all));
	if (!all)
		return;
	for (unsigned kind = 0; kind <= CONDITION_PATH; kind++) {
		const struct conf_node *n = written(match, kind);

		if (n && is_map_of(kind))
			conf_each (list, n)
				build_condition(b, kind, list, &all[ret->count++]);
		else if (n)
			build_condition(b, kind, n, &all[ret->count++]);
	}
	ASSERT(ret->count == count);
	ret->conditions = all;
}
