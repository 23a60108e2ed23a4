#include "ctl/table.h"

#include <stdarg.h>
#include <stdlib.h>

#include "ctl/ctl.h"
#include "shared/assert.h"

static const char *const tint_codes[] = {"", "\033[32m", "\033[33m", "\033[31m", "\033[2m"};

/* Words come from daemons, which quote servers: nothing of it may steer the terminal. */
static void clean(char *s)
{
	for (unsigned char *c = (unsigned char *)s; *c; c++) {
		if (*c < 0x20 || *c == 0x7f)
			*c = '?';
		else if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) /* U+0080 to U+009F */
			*c = c[1] = '?';
	}
}

/* Characters, not bytes. */
static size_t width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

void table_init(struct table *t, const char *const *heads)
{
	*t = (struct table){0};
	while (heads[t->columns])
		t->columns++;
	ASSERT(t->columns > 0);
	for (unsigned i = 0; i < t->columns; i++)
		table_add(t, TINT_DIM, "%s", heads[i]);
}

void table_fini(struct table *t)
{
	for (size_t i = 0; i < t->cells; i++)
		free(t->cell[i].text);
	free(t->cell);
	*t = (struct table){0};
}

void table_add(struct table *t, enum tint tint, const char *fmt, ...)
{
	struct table_cell *c;
	va_list args;

	if (t->cells == t->room) {
		t->room = t->room ? 2 * t->room : 64;
		t->cell = realloc(t->cell, t->room * sizeof(*t->cell));
		if (!t->cell)
			die("out of memory");
	}
	c = &t->cell[t->cells++];
	c->tint = tint;
	va_start(args, fmt);
	if (vasprintf(&c->text, fmt, args) < 0)
		die("out of memory");
	va_end(args);
	clean(c->text);
}

static size_t column_width(const struct table *t, unsigned column)
{
	size_t most = 0;

	for (size_t i = column; i < t->cells; i += t->columns) {
		size_t w = width(t->cell[i].text);

		if (w > most)
			most = w;
	}
	return most;
}

static void put_tinted(const char *text, enum tint tint, bool color, FILE *to)
{
	if (color && tint != TINT_NONE)
		fprintf(to, "%s%s\033[0m", tint_codes[tint], text);
	else
		fputs(text, to);
}

void table_print(const struct table *t, unsigned indent, bool color, FILE *to)
{
	ASSERT(t->cells % t->columns == 0);
	if (t->cells == t->columns)
		return;
	for (size_t i = 0; i < t->cells; i++) {
		const struct table_cell *c = &t->cell[i];
		unsigned column = (unsigned)(i % t->columns);
		bool last = column == t->columns - 1;

		if (column == 0)
			fprintf(to, "%*s", (int)indent, "");
		put_tinted(c->text, c->tint, color, to);
		if (last)
			putc('\n', to);
		else
			fprintf(to, "%*s", (int)(column_width(t, column) - width(c->text) + 2), "");
	}
}

void tint_print(const char *s, enum tint tint, bool color, FILE *to)
{
	char *copy = strdup(s);

	if (!copy)
		die("out of memory");
	clean(copy);
	put_tinted(copy, tint, color, to);
	free(copy);
}
