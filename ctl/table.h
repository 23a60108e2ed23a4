/*
 * A table for people: columns as wide as their widest cell, colour only when asked for. Pure but
 * for the FILE it is printed to.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "shared/span.h"

enum tint { TINT_NONE, TINT_GOOD, TINT_WARN, TINT_BAD, TINT_DIM };

struct table_cell {
	char *text;
	enum tint tint;
};

struct table {
	unsigned columns;
	size_t cells, room; /* the first row is the heads */
	struct table_cell *cell;
};

/* heads ends with NULL. Out of memory ends the program: this is a tool for a terminal. */
void table_init(struct table *t, const char *const *heads);
void table_fini(struct table *t);
/* The next cell, from left to right; a full row is followed by the next. Control bytes are shown as
 * '?'. */
void table_add(struct table *t, enum tint tint, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Prints, each line after `indent` spaces; nothing when there is no row. */
void table_print(const struct table *t, unsigned indent, bool color, FILE *to);
/* s with control bytes replaced, tinted. */
void tint_print(const char *s, enum tint tint, bool color, FILE *to);
