/*
 * The tree of a configuration: making it, and asking it. Where nothing is written the answer is the
 * table's default, read by the same code as the file.
 */
#include "shared/conf.h"

#include <stdlib.h>

#include "shared/assert.h"
#include "shared/conf_build.h"

struct conf *conf_new(void)
{
	struct conf *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->root = conf_node_new(CONF_MAP, SPAN(""), SPAN(""));
	if (!c->root) {
		free(c);
		return NULL;
	}
	c->root->pos = (struct conf_pos){0, 1, 1, 1};
	return c;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	conf_node_free(c->root);
	for (size_t i = 0; i < c->file_count; i++) {
		free(c->files[i]);
		free(c->texts[i]);
	}
	free(c->files);
	free(c->texts);
	free(c->text_lens);
	free(c);
}

int conf_add_file(struct conf *c, const char *name, char *text, size_t len)
{
	size_t n = c->file_count + 1;
	char **files = realloc(c->files, n * sizeof(*files)), **texts, *copy;
	size_t *lens;

	if (files)
		c->files = files;
	texts = realloc(c->texts, n * sizeof(*texts));
	if (texts)
		c->texts = texts;
	lens = realloc(c->text_lens, n * sizeof(*lens));
	if (lens)
		c->text_lens = lens;
	copy = span_dup(span_of(name));
	if (!files || !texts || !lens || !copy) {
		free(copy);
		free(text);
		return -1;
	}
	if (text && len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		len -= 3; /* a byte order mark is not text */
		memmove(text, text + 3, len);
	}
	c->files[n - 1] = copy;
	c->texts[n - 1] = text;
	c->text_lens[n - 1] = len;
	c->file_count = n;
	return (int)(n - 1);
}

struct conf_node *conf_node_new(enum conf_kind kind, struct span name, struct span text)
{
	struct conf_node *n = calloc(1, sizeof(*n) + name.len + text.len);
	char *bytes;

	if (!n)
		return NULL;
	bytes = (char *)(n + 1);
	n->kind = kind;
	if (name.len)
		memcpy(bytes, name.ptr, name.len);
	n->name = span_make(bytes, name.len);
	if (text.len)
		memcpy(bytes + name.len, text.ptr, text.len);
	n->text = span_make(bytes + name.len, text.len);
	return n;
}

void conf_node_free(struct conf_node *n)
{
	struct conf_node *next;

	if (!n)
		return;
	for (struct conf_node *child = n->first; child; child = next) {
		next = child->next;
		conf_node_free(child);
	}
	free(n);
}

void conf_node_append(struct conf_node *parent, struct conf_node *child)
{
	ASSERT(parent->kind != CONF_SCALAR && !child->next);
	child->parent = parent;
	if (parent->last)
		parent->last->next = child;
	else
		parent->first = child;
	parent->last = child;
	parent->count++;
}

/* --- in words -------------------------------------------------------------------------------- */

static unsigned index_of(const struct conf_node *n)
{
	unsigned index = 1;

	for (const struct conf_node *c = n->parent->first; c != n; c = c->next)
		index++;
	return index;
}

void conf_node_describe(const struct conf_node *n, char *out, size_t size)
{
	const struct conf_node *p = n->parent;
	const struct conf_key *above = p ? p->key : NULL;
	bool member = above && (above->type == CONF_TYPE_NAMED || above->type == CONF_TYPE_LIST);
	size_t at;
	int len;

	if (!p) {
		snprintf(out, size, "the top level");
		return;
	}
	if (member && above->noun && p->kind == CONF_LIST)
		len = snprintf(out, size, "%s %u", above->noun, index_of(n));
	else if (member && above->noun)
		len = snprintf(out, size, "%s '%.*s'", above->noun, SPAN_ARG(n->name));
	else if (member && p->kind == CONF_LIST)
		len = snprintf(out, size, "value %u", index_of(n));
	else
		len = snprintf(out, size, "'%.*s'", SPAN_ARG(n->name));
	at = len < 0 ? 0 : (size_t)len;
	/* A member is of what holds its list: "server 'a1' of pool 'api'", not of 'servers' of it.
	 */
	if (member && above->noun)
		p = p->parent;
	if (p && p->parent && at + 4 < size) {
		memcpy(out + at, " of ", 5);
		conf_node_describe(p, out + at + 4, size - at - 4);
	}
}

void conf_place(
	const struct conf *c, struct conf_pos of, struct conf_pos from, char *out, size_t size)
{
	ASSERT(of.file < c->file_count);
	if (of.file == from.file)
		snprintf(out, size, " (line %u)", of.line);
	else
		snprintf(out, size, " (%s:%u)", c->files[of.file], of.line);
}

/* --- asking ---------------------------------------------------------------------------------- */

/* Takes the part before the next dot off path. */
static struct span next_part(struct span *path)
{
	size_t dot = span_find(*path, '.', 0);
	struct span part = span_make(path->ptr, dot);

	*path = dot < path->len ? span_from(*path, dot + 1) : SPAN("");
	return part;
}

static const struct conf_node *child_of(const struct conf_node *map, struct span name)
{
	if (map->kind != CONF_MAP)
		return NULL;
	conf_each (child, map)
		if (span_eq(child->name, name))
			return child;
	return NULL;
}

const struct conf_node *conf_find(const struct conf_node *map, const char *path)
{
	struct span rest = span_of(path);

	while (map && rest.len)
		map = child_of(map, next_part(&rest));
	return map;
}

/* The value, or the default typed into *scratch; NULL when there is neither. */
static const struct conf_node *ask(
	const struct conf_node *map, const char *path, struct conf_node *scratch)
{
	const struct conf_node *found = conf_find(map, path);
	const struct conf_key *key = map->key;
	struct span rest = span_of(path);

	if (found)
		return found;
	ASSERT(key);
	while (rest.len) {
		key = conf_key_find(key, next_part(&rest));
		ASSERT(key);
	}
	if (!key->fallback)
		return NULL;
	*scratch = (struct conf_node){.kind = CONF_SCALAR, .text = span_of(key->fallback)};
	if (key->type == CONF_TYPE_EITHER)
		key = key->shapes[CONF_SCALAR];
	if (key->type != CONF_TYPE_LIST)
		ASSERT(conf_type_scalar(key, scratch, NULL, NULL, 0) == 0);
	return scratch;
}

uint64_t conf_u64(const struct conf_node *map, const char *path)
{
	struct conf_node scratch;
	const struct conf_node *n = ask(map, path, &scratch);

	return n ? n->num : 0;
}

bool conf_bool(const struct conf_node *map, const char *path)
{
	return conf_u64(map, path) != 0;
}

struct span conf_text(const struct conf_node *map, const char *path)
{
	struct conf_node scratch;
	const struct conf_node *n = ask(map, path, &scratch);

	return n ? n->text : (struct span){0};
}

void conf_words_of(const struct conf_node *list, char *out, size_t size)
{
	size_t at = 0;

	ASSERT(size > 0);
	out[0] = '\0';
	conf_each (word, list)
		if (word->text.len + 2 <= size - at)
			at += (size_t)snprintf(
				out + at, size - at, "%s%.*s", at ? "," : "", SPAN_ARG(word->text));
}
