/*
 * The raw tree against the table: unknown and duplicate keys, kinds, values, what is required, and
 * names that must be defined elsewhere. A node found faulty is marked broken, so that one mistake
 * is told once.
 */
#include <stdlib.h>

#include "shared/assert.h"
#include "shared/conf_build.h"
#include "shared/map.h"

/* Up to here duplicates are looked for by comparing, beyond through a map. */
enum { FEW = 16, DESCRIPTION = 200, HINTS_FOR = 200, CANDIDATES_MAX = 2000, REF_TARGETS = 8 };

struct names { /* what a REF can name */
	const char *path;
	const struct conf_node *node; /* NULL: nothing of it is written */
	struct map map;
};

struct check {
	struct conf *conf;
	struct conf_report *report;
	struct conf_node **refs; /* to be resolved when all names are known */
	size_t ref_count, ref_cap;
	struct names names[REF_TARGETS];
	size_t names_count;
	bool no_memory;
};

static void check_node(struct check *c, struct conf_node *n, const struct conf_key *key);

/* Looking for near words takes time: not when there are hundreds of faults already. */
static bool wants_hint(const struct check *c)
{
	return conf_report_errors(c->report) < HINTS_FOR;
}

static void report_duplicate(struct check *c, struct conf_node *n, const struct conf_node *first)
{
	char place[160], hint[192];

	n->broken = true;
	conf_place(c->conf, first->name_pos, n->name_pos, place, sizeof(place));
	snprintf(hint, sizeof(hint), "first written here:%s", place);
	conf_error(c->report, n->name_pos, hint, "duplicate key '%.*s'", SPAN_ARG(n->name));
}

static void check_duplicates(struct check *c, struct conf_node *map)
{
	struct map seen;

	if (map->count <= FEW) {
		for (struct conf_node *n = map->first; n; n = n->next)
			for (struct conf_node *first = map->first; first != n; first = first->next)
				if (span_eq(first->name, n->name)) {
					report_duplicate(c, n, first);
					break;
				}
		return;
	}
	map_init(&seen, map->count);
	for (struct conf_node *n = map->first; n && !c->no_memory; n = n->next) {
		const struct conf_node *first = map_get(&seen, n->name);

		if (first)
			report_duplicate(c, n, first);
		else if (map_put(&seen, n->name, n) < 0)
			c->no_memory = true;
	}
	map_fini(&seen);
}

/* Returns the row that was probably meant. */
static const struct conf_key *report_unknown(
	struct check *c, struct conf_node *n, const struct conf_key *map)
{
	char where[DESCRIPTION], hint[96];
	const char *words[64], *near = NULL;
	size_t count = 0;

	for (const struct conf_key *k = map->keys; k->name; k++) {
		ASSERT(count < countof(words));
		if (!k->later)
			words[count++] = k->name;
	}
	if (wants_hint(c))
		near = did_you_mean(n->name, words, count);
	if (near)
		snprintf(hint, sizeof(hint), "did you mean '%s'?", near);
	conf_node_describe(n->parent, where, sizeof(where));
	conf_error(c->report, n->name_pos, near ? hint : NULL, "unknown key '%.*s' %s %s",
		SPAN_ARG(n->name), n->parent->parent ? "in" : "at", where);
	n->broken = true;
	return near ? conf_key_find(map, span_of(near)) : NULL;
}

static void check_map(struct check *c, struct conf_node *map, const struct conf_key *key)
{
	uint64_t seen = 0; /* by row: written, or written wrongly */
	char where[DESCRIPTION];

	for (struct conf_node *n = map->first; n; n = n->next) {
		const struct conf_key *k = conf_key_find(key, n->name);

		if (!k) {
			k = report_unknown(c, n, key);
		} else if (k->later) {
			n->broken = true;
			conf_error(c->report, n->name_pos, k->hint,
				"'%s' is not available in this version", k->name);
		} else if (!n->broken) {
			check_node(c, n, k);
		}
		if (k) {
			ASSERT(k - key->keys < 64);
			seen |= UINT64_C(1) << (k - key->keys);
		}
	}
	for (const struct conf_key *k = key->keys; k->name; k++) {
		if (!k->required || (seen & UINT64_C(1) << (k - key->keys)))
			continue;
		conf_node_describe(map, where, sizeof(where));
		conf_error(c->report, map->name.len ? map->name_pos : map->pos, NULL,
			"%s needs '%s'", where, k->name);
	}
}

static void check_named(struct check *c, struct conf_node *map, const struct conf_key *key)
{
	static const struct conf_key name_key = {.type = CONF_TYPE_NAME};

	for (struct conf_node *n = map->first; n; n = n->next) {
		struct conf_node name = {.kind = CONF_SCALAR, .text = n->name};
		struct err err;

		if (n->broken)
			continue;
		if (conf_type_scalar(&name_key, &name, &err, NULL, 0) < 0) {
			n->broken = true;
			conf_error(c->report, n->name_pos, NULL, "%s", err.text);
			continue;
		}
		check_node(c, n, key->value);
	}
}

static void check_count(struct check *c, struct conf_node *n, const struct conf_key *key)
{
	char where[DESCRIPTION], range[80];

	if (n->count >= key->min && (key->max == 0 || n->count <= key->max))
		return;
	conf_key_range(key, range, sizeof(range));
	if (key->max == 0)
		snprintf(range, sizeof(range), "at least %llu", (unsigned long long)key->min);
	conf_node_describe(n, where, sizeof(where));
	conf_error(c->report, n->name.len ? n->name_pos : n->pos, NULL, "%s has %zu %s: write %s",
		where, n->count, n->count == 1 ? "entry" : "entries", range);
	n->broken = true;
}

/* Puts the value of n one level down, as the only child of what is now a map or list. */
static struct conf_node *wrap(
	struct check *c, struct conf_node *n, enum conf_kind kind, const char *name)
{
	struct conf_node *child = conf_node_new(n->kind, span_of(name), SPAN(""));

	if (!child) {
		c->no_memory = true;
		return NULL;
	}
	child->text = n->text; /* stays in n's bytes, which live as long */
	child->pos = child->name_pos = n->pos;
	child->first = n->first;
	child->last = n->last;
	child->count = n->count;
	for (struct conf_node *below = child->first; below; below = below->next)
		below->parent = child;
	n->kind = kind;
	n->text = SPAN("");
	n->first = n->last = NULL;
	n->count = 0;
	conf_node_append(n, child);
	return child;
}

static void remember_ref(struct check *c, struct conf_node *n)
{
	if (c->ref_count == c->ref_cap) {
		size_t cap = c->ref_cap ? c->ref_cap * 2 : 64;
		struct conf_node **refs = realloc(c->refs, cap * sizeof(struct conf_node *));

		if (!refs) {
			c->no_memory = true;
			return;
		}
		c->refs = refs;
		c->ref_cap = cap;
	}
	c->refs[c->ref_count++] = n;
}

static void check_scalar(struct check *c, struct conf_node *n, const struct conf_key *key)
{
	char hint[160] = "";
	struct err err;

	if (conf_type_scalar(key, n, &err, hint, sizeof(hint)) < 0) {
		n->broken = true;
		conf_error(c->report, n->pos, hint[0] ? hint : NULL, "%s", err.text);
	} else if (key->type == CONF_TYPE_REF) {
		remember_ref(c, n);
	}
}

/* The kind that the row wants: true, or reported. */
static bool check_kind(struct check *c, struct conf_node *n, enum conf_kind kind)
{
	static const char *const kinds[] = {"a single value", "a map", "a list"};
	static const char *const hints[] = {NULL, "write its keys below it", NULL};
	char where[DESCRIPTION];
	bool named = n->kind == CONF_SCALAR && n->text.len == 0 && n->name.len;

	if (n->kind == kind)
		return true;
	conf_node_describe(n, where, sizeof(where));
	conf_error(c->report, named ? n->name_pos : n->pos, hints[kind], "%s is %s, not %s", where,
		named ? "empty" : kinds[n->kind], kinds[kind]);
	n->broken = true;
	return false;
}

static void check_either(struct check *c, struct conf_node *n, const struct conf_key *key)
{
	const struct conf_key *shape = key->shapes[n->kind];

	if (!shape)
		check_kind(c, n, key->shapes[CONF_SCALAR] ? CONF_SCALAR : CONF_MAP);
	else if (shape->later)
		conf_error(c->report, n->pos, shape->hint, "not available in this version: %s",
			shape->help);
	else
		check_node(c, n, shape);
	if (shape && shape->later)
		n->broken = true;
}

static void check_node(struct check *c, struct conf_node *n, const struct conf_key *key)
{
	if (n->broken || c->no_memory)
		return;
	n->key = key;
	switch (key->type) {
	case CONF_TYPE_EITHER:
		check_either(c, n, key);
		break;
	case CONF_TYPE_MAP:
	case CONF_TYPE_NAMED:
		if (n->kind == CONF_SCALAR && n->text.len && key->short_for &&
			!wrap(c, n, CONF_MAP, key->short_for))
			break;
		if (!check_kind(c, n, CONF_MAP))
			break;
		check_duplicates(c, n);
		if (key->type == CONF_TYPE_MAP) {
			check_map(c, n, key);
		} else {
			check_named(c, n, key);
			check_count(c, n, key);
		}
		break;
	case CONF_TYPE_LIST:
		if (n->kind != CONF_LIST && !wrap(c, n, CONF_LIST, ""))
			break;
		for (struct conf_node *child = n->first; child; child = child->next)
			check_node(c, child, key->value);
		check_count(c, n, key);
		break;
	case CONF_TYPE_TEXT:
	case CONF_TYPE_NAME:
	case CONF_TYPE_BOOL:
	case CONF_TYPE_COUNT:
	case CONF_TYPE_DURATION:
	case CONF_TYPE_SIZE:
	case CONF_TYPE_RATE:
	case CONF_TYPE_BYTE_RATE:
	case CONF_TYPE_PERCENT:
	case CONF_TYPE_SHARE:
	case CONF_TYPE_BALANCE:
	case CONF_TYPE_ENUM:
	case CONF_TYPE_ADDRESS:
	case CONF_TYPE_ENDPOINT:
	case CONF_TYPE_IP:
	case CONF_TYPE_CIDR:
	case CONF_TYPE_FILE:
	case CONF_TYPE_HOST:
	case CONF_TYPE_PATH:
	case CONF_TYPE_METHOD:
	case CONF_TYPE_STATUS:
	case CONF_TYPE_REF:
		if (check_kind(c, n, CONF_SCALAR))
			check_scalar(c, n, key);
		break;
	}
}

/* --- names ----------------------------------------------------------------------------------- */

static struct names *names_of(struct check *c, const char *path)
{
	struct names *s = c->names;

	for (; s < c->names + c->names_count; s++)
		if (strcmp(s->path, path) == 0)
			return s;
	ASSERT(c->names_count < REF_TARGETS);
	c->names_count++;
	*s = (struct names){.path = path, .node = conf_find(c->conf->root, path)};
	map_init(&s->map, s->node ? s->node->count : 0);
	if (!s->node)
		return s;
	for (struct conf_node *n = s->node->first; n && !c->no_memory; n = n->next)
		if (!map_get(&s->map, n->name) && map_put(&s->map, n->name, n) < 0)
			c->no_memory = true;
	return s;
}

/* The defined name that n probably means, and where it is. */
static void hint_name(
	struct check *c, const struct names *s, const struct conf_node *n, char *hint, size_t size)
{
	size_t best_distance = near_limit(n->text);
	const struct conf_node *best = NULL;
	char place[160];

	if (!s->node || !wants_hint(c) || s->node->count > CANDIDATES_MAX)
		return;
	conf_each (candidate, s->node)
		if (is_nearer(n->text, candidate->name, &best_distance))
			best = candidate;
	if (!best)
		return;
	conf_place(c->conf, best->name_pos, n->pos, place, sizeof(place));
	snprintf(hint, size, "did you mean '%.*s'%s?", SPAN_ARG(best->name), place);
}

static void resolve(struct check *c, struct conf_node *n)
{
	const struct names *s = names_of(c, n->key->ref);
	char hint[256] = "";

	n->target = map_get(&s->map, n->text);
	if (n->target)
		return;
	hint_name(c, s, n, hint, sizeof(hint));
	n->broken = true;
	conf_error(c->report, n->pos, hint[0] ? hint : NULL, "%s '%.*s' is not defined",
		n->key->noun, SPAN_ARG(n->text));
}

int conf_check(struct conf *conf, const struct conf_key *top, struct conf_report *report)
{
	struct check c = {.conf = conf, .report = report};

	check_node(&c, conf->root, top);
	for (size_t i = 0; i < c.ref_count && !c.no_memory; i++)
		resolve(&c, c.refs[i]);
	for (size_t i = 0; i < c.names_count; i++)
		map_fini(&c.names[i].map);
	free(c.refs);
	return c.no_memory ? -1 : 0;
}
