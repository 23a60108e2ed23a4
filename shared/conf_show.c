/*
 * A checked configuration as lines for people: each value with its path and where it comes from,
 * with the table's defaults if they are wanted.
 */
#include <stdio.h>

#include "shared/assert.h"
#include "shared/buf.h"
#include "shared/conf_build.h"

struct show {
	const struct conf *conf;
	bool effective;
	void *ctx;
	void (*line)(void *ctx, const char *path, const char *value, const char *from);
	char path[512];
	size_t len;
	struct buf value;
};

static void show_node(struct show *s, const struct conf_node *n);

/* The path with another name behind it; returns what to cut it back to. */
static size_t enter(struct show *s, struct span name, bool dotted)
{
	size_t before = s->len;
	int n = snprintf(s->path + before, sizeof(s->path) - before, "%s%.*s",
		before && dotted ? "." : "", SPAN_ARG(name));

	if (n > 0)
		s->len = before + (size_t)n < sizeof(s->path) ? before + (size_t)n
							      : sizeof(s->path) - 1;
	return before;
}

static void leave(struct show *s, size_t before)
{
	s->len = before;
	s->path[before] = '\0';
}

/* May it be told to everyone in the group? Names of files are; what is in them never comes here. */
static bool is_secret(const struct conf_node *n)
{
	return (n->key && n->key->secret) ||
	       (n->parent && n->parent->key && n->parent->key->secret);
}

/* Appends; without memory the value ends there. */
static void add_text(struct show *s, const struct conf_node *n)
{
	if (is_secret(n))
		(void)buf_append(&s->value, SPAN("(hidden)"));
	else
		(void)buf_append(&s->value, n->text);
}

static void tell(struct show *s, const char *from)
{
	const char *value = buf_append(&s->value, span_make("", 1)) == 0 ? s->value.data : "";

	s->line(s->ctx, s->path, value, from);
	s->value.len = 0;
}

static void tell_written(struct show *s, const struct conf_node *n)
{
	char from[256];

	ASSERT(n->pos.file < s->conf->file_count);
	snprintf(from, sizeof(from), "%s:%u", s->conf->files[n->pos.file], n->pos.line);
	tell(s, from);
}

static void show_defaults(struct show *s, const struct conf_key *map);

static void show_default(struct show *s, const struct conf_key *row)
{
	size_t before = enter(s, span_of(row->name), true);

	if (row->fallback) {
		(void)buf_append(&s->value, span_of(row->fallback));
		tell(s, "default");
	} else if (row->type == CONF_TYPE_MAP) {
		show_defaults(s, row);
	}
	leave(s, before);
}

/* A section that needs something written in it does not exist without. */
static void show_defaults(struct show *s, const struct conf_key *map)
{
	for (const struct conf_key *k = map->keys; k->name; k++)
		if (k->required)
			return;
	for (const struct conf_key *k = map->keys; k->name; k++)
		if (!k->later)
			show_default(s, k);
}

/* In the order of the table. Sections that are not written are shown at the top, and below it where
 * the table says that they hold: of others it is their being there that means something. */
static void show_map(struct show *s, const struct conf_node *n)
{
	for (const struct conf_key *k = n->key->keys; k->name; k++) {
		const struct conf_node *child = NULL;
		size_t before;

		conf_each (candidate, n)
			if (span_eq(candidate->name, span_of(k->name)))
				child = candidate;
		if (child) {
			before = enter(s, child->name, true);
			show_node(s, child);
			leave(s, before);
		} else if (s->effective && !k->later && (k->fallback || k->holds || !n->parent)) {
			show_default(s, k);
		}
	}
}

static void show_list(struct show *s, const struct conf_node *n)
{
	unsigned i = 0;

	if (!n->first || n->first->kind == CONF_SCALAR) {
		(void)buf_append(&s->value, SPAN("["));
		conf_each (child, n) {
			(void)buf_append(&s->value, i++ ? SPAN(", ") : SPAN(""));
			add_text(s, child);
		}
		(void)buf_append(&s->value, SPAN("]"));
		tell_written(s, n);
		return;
	}
	conf_each (child, n) {
		char at[24];
		size_t before;

		snprintf(at, sizeof(at), "[%u]", i++);
		before = enter(s, span_of(at), false);
		show_node(s, child);
		leave(s, before);
	}
}

static void show_node(struct show *s, const struct conf_node *n)
{
	switch (n->kind) {
	case CONF_SCALAR:
		add_text(s, n);
		tell_written(s, n);
		return;
	case CONF_LIST:
		show_list(s, n);
		return;
	case CONF_MAP:
		if (n->key && n->key->type == CONF_TYPE_MAP) {
			show_map(s, n);
			return;
		}
		conf_each (child, n) {
			size_t before = enter(s, child->name, true);

			show_node(s, child);
			leave(s, before);
		}
		return;
	}
}

void conf_show(const struct conf *c, bool effective, void *ctx,
	void (*line)(void *ctx, const char *path, const char *value, const char *from))
{
	struct show s = {.conf = c, .effective = effective, .ctx = ctx, .line = line};

	buf_init(&s.value, 1 << 16);
	show_node(&s, c->root);
	buf_fini(&s.value);
}
