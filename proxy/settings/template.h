/*
 * Text with places for what a request has: "https://www.example.com{path}{query}", "/new/$1".
 *
 *   {scheme} {host} {path} {query} {client}   {query} with its "?", and nothing where there is none
 *   $0 to $9                                  groups of a regular expression; $$ is one "$"
 *
 * A brace that does not begin one of these words stands for itself. Pure.
 */
#pragma once

#include "proxy/settings/match.h"

#define PIECES(X)           \
	X(SCHEME, "scheme") \
	X(HOST, "host")     \
	X(PATH, "path")     \
	X(QUERY, "query")   \
	X(CLIENT, "client")
enum piece_kind {
	PIECE_TEXT,
	PIECE_GROUP,
#define X(name, word) PIECE_##name,
	PIECES(X)
#undef X
};

struct piece {
	enum piece_kind kind;
	unsigned group;
	struct span text;
};

struct template
{
	const struct piece *pieces;
	unsigned count;
	bool needs_groups, needs_host;
};

/* A bounded pen: once something did not fit, what was written is worth nothing. */
struct pen_text {
	char *at, *end;
	bool full;
};
void pen_put(struct pen_text *pen, struct span text);

/* groups: that the regular expression has, -1: there is none. -1 and *ret_what, in words, where the
 * text is faulty; -1 and NULL when memory is out. */
int template_read(
	struct span text, int groups, struct arena *a, struct template *ret, const char **ret_what);
/* groups: of the regular expression; may be NULL where the template needs none. */
void template_write(const struct template *t, const struct route_ask *ask,
	const struct captures *groups, struct pen_text *pen);
