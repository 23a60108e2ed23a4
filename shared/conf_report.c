/*
 * Faults of a configuration: gathered in any order, shown sorted by file and line, with the source
 * line and a caret. A file can hold millions of faults, so only the first 1,000 are kept; all are
 * counted.
 */
#include "shared/conf.h"

#include <stdarg.h>
#include <stdlib.h>

#include "shared/assert.h"
#include "shared/conf_build.h"

enum { KEPT = 1000, SHOWN = 20, WORD_MAX = 64, LINE_WIDTH = 160, LINE_BEFORE = 60 };

struct fault {
	struct conf_pos pos;
	bool warning;
	size_t order; /* found as the n-th */
	char text[256];
	char hint[128];
};

struct conf_report {
	struct fault *faults;
	size_t count, cap; /* cap up to 2 * KEPT; then sorted and cut to KEPT */
	size_t errors, warnings;
};

struct conf_report *conf_report_new(void)
{
	return calloc(1, sizeof(struct conf_report));
}

void conf_report_free(struct conf_report *r)
{
	if (r)
		free(r->faults);
	free(r);
}

static int compare(const void *a, const void *b)
{
	const struct fault *x = a, *y = b;

	if (x->pos.file != y->pos.file)
		return x->pos.file < y->pos.file ? -1 : 1;
	if (x->pos.line != y->pos.line)
		return x->pos.line < y->pos.line ? -1 : 1;
	if (x->pos.column != y->pos.column)
		return x->pos.column < y->pos.column ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static void sort(const struct conf_report *r)
{
	if (r->count)
		qsort(r->faults, r->count, sizeof(*r->faults), compare);
}

/* Room for one more; NULL when out of memory (the fault is then counted, not kept). */
static struct fault *room(struct conf_report *r)
{
	if (r->count == 2 * KEPT) {
		sort(r);
		r->count = KEPT;
	}
	if (r->count == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 16;
		struct fault *faults;

		if (cap > 2 * KEPT)
			cap = 2 * KEPT;
		faults = realloc(r->faults, cap * sizeof(*faults));
		if (!faults)
			return NULL;
		r->faults = faults;
		r->cap = cap;
	}
	ASSERT(r->count < r->cap);
	return &r->faults[r->count++];
}

/* Names in a message come from the file: nothing that a terminal would obey, no half of a
 * character. */
static void make_printable(char *text)
{
	struct span s = span_of(text);
	size_t bad = span_utf8(s);

	if (bad < s.len && s.len - bad < 4)
		text[bad] = '\0';
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

static void __attribute__((format(printf, 5, 0))) add(struct conf_report *r, bool warning,
	struct conf_pos pos, const char *hint, const char *fmt, va_list args)
{
	size_t order = r->errors + r->warnings;
	struct fault *f = room(r);

	if (warning)
		r->warnings++;
	else
		r->errors++;
	if (!f)
		return;
	*f = (struct fault){.pos = pos, .warning = warning, .order = order};
	vsnprintf(f->text, sizeof(f->text), fmt, args);
	make_printable(f->text);
	if (hint) {
		span_copy(span_of(hint), f->hint, sizeof(f->hint));
		make_printable(f->hint);
	}
}

void conf_error(struct conf_report *r, struct conf_pos pos, const char *hint, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add(r, false, pos, hint, fmt, args);
	va_end(args);
}

void conf_warning(
	struct conf_report *r, struct conf_pos pos, const char *hint, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add(r, true, pos, hint, fmt, args);
	va_end(args);
}

size_t conf_report_errors(const struct conf_report *r)
{
	return r->errors;
}

size_t conf_report_warnings(const struct conf_report *r)
{
	return r->warnings;
}

/* --- showing --------------------------------------------------------------------------------- */

static const char *file_of(const struct conf *conf, struct conf_pos pos)
{
	ASSERT(pos.file < conf->file_count);
	return conf->files[pos.file];
}

static struct span line_of(const struct conf *conf, struct conf_pos pos)
{
	struct span text = span_make(conf->texts[pos.file], conf->text_lens[pos.file]);
	size_t at = 0;

	for (uint32_t line = 1; line < pos.line && at < text.len; line++)
		at = span_find(text, '\n', at) + 1;
	if (at >= text.len)
		return SPAN("");
	text = span_make(text.ptr + at, span_find(text, '\n', at) - at);
	if (text.len && text.ptr[text.len - 1] == '\r')
		text.len--;
	return text;
}

/* Bytes of the character at the beginning of s (1 for a byte that begins none). */
static size_t character(struct span s)
{
	unsigned char c = (unsigned char)s.ptr[0];
	size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;

	return n <= s.len && span_utf8(span_make(s.ptr, n)) == n ? n : 1;
}

static void print_character(struct span c, FILE *to)
{
	unsigned char first = (unsigned char)c.ptr[0];

	if (c.len == 1 && (first < 0x20 || first >= 0x7f))
		fputc(first == '\t' ? ' ' : '?', to);
	else
		fwrite(c.ptr, 1, c.len, to);
}

static void print_source(const struct fault *f, const struct conf *conf, FILE *to)
{
	struct span line = line_of(conf, f->pos);
	/* A very long line is shown from a little before the fault. */
	uint32_t from = f->pos.column > LINE_WIDTH - LINE_BEFORE ? f->pos.column - LINE_BEFORE : 1;
	uint32_t column = 1, width = f->pos.width ? f->pos.width : 1;

	fprintf(to, "%5u | ", f->pos.line);
	while (line.len && column < from + LINE_WIDTH) {
		size_t n = character(line);

		if (column >= from)
			print_character(span_make(line.ptr, n), to);
		line = span_from(line, n);
		column++;
	}
	fprintf(to, "\n      | %*s", (int)(f->pos.column - from), "");
	if (width > from + LINE_WIDTH - f->pos.column)
		width = from + LINE_WIDTH - f->pos.column;
	for (uint32_t i = 0; i < width; i++)
		fputc(i == 0 ? '^' : '~', to);
	if (f->hint[0])
		fprintf(to, " %s", f->hint);
	fputc('\n', to);
}

static const char *kind(const struct fault *f)
{
	return f->warning ? "warning" : "error";
}

void conf_report_print(const struct conf_report *r, const struct conf *conf, FILE *to)
{
	size_t shown[2] = {0, 0}, all = r->errors + r->warnings, hidden;

	sort(r);
	for (size_t i = 0; i < r->count; i++) {
		const struct fault *f = &r->faults[i];

		if (shown[f->warning] == SHOWN)
			continue;
		shown[f->warning]++;
		if (f->pos.line == 0) {
			fprintf(to, "%s: %s: %s\n", file_of(conf, f->pos), kind(f), f->text);
			continue;
		}
		fprintf(to, "%s:%u:%u: %s: %s\n", file_of(conf, f->pos), f->pos.line, f->pos.column,
			kind(f), f->text);
		print_source(f, conf, to);
	}
	hidden = all - shown[0] - shown[1];
	if (hidden)
		fprintf(to, "... and %zu more\n", hidden);
}

char *conf_report_line(const struct conf_report *r, const struct conf *conf, size_t index)
{
	const struct fault *f;
	char *line = NULL;
	int n;

	if (index >= r->count)
		return NULL;
	sort(r);
	f = &r->faults[index];
	if (f->pos.line == 0)
		n = asprintf(&line, "%s: %s: %s", file_of(conf, f->pos), kind(f), f->text);
	else
		n = asprintf(&line, "%s:%u:%u: %s: %s", file_of(conf, f->pos), f->pos.line,
			f->pos.column, kind(f), f->text);
	return n < 0 ? NULL : line;
}

/* --- near words ------------------------------------------------------------------------------ */

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

/* Damerau-Levenshtein, adjacent letters swapped counting as one; both at most WORD_MAX long. */
static size_t distance(struct span a, struct span b)
{
	size_t rows[3][WORD_MAX + 1];
	size_t *two = rows[0], *one = rows[1], *now = rows[2];

	ASSERT(a.len <= WORD_MAX && b.len <= WORD_MAX);
	for (size_t j = 0; j <= b.len; j++)
		one[j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		size_t *spare = two;

		now[0] = i;
		for (size_t j = 1; j <= b.len; j++) {
			size_t differ = ascii_lower(a.ptr[i - 1]) != ascii_lower(b.ptr[j - 1]);

			now[j] = min3(one[j] + 1, now[j - 1] + 1, one[j - 1] + differ);
			if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] &&
				a.ptr[i - 2] == b.ptr[j - 1] && two[j - 2] + 1 < now[j])
				now[j] = two[j - 2] + 1;
		}
		two = one;
		one = now;
		now = spare;
	}
	return one[b.len];
}

size_t near_limit(struct span word)
{
	return word.len / 3 + 1;
}

bool is_nearer(struct span word, struct span candidate, size_t *best)
{
	size_t gap = candidate.len > word.len ? candidate.len - word.len : word.len - candidate.len;
	size_t d;

	if (word.len > WORD_MAX || candidate.len > WORD_MAX || gap >= *best)
		return false;
	d = distance(word, candidate);
	if (d >= *best)
		return false;
	*best = d;
	return true;
}

const char *did_you_mean(struct span word, const char *const *candidates, size_t count)
{
	size_t best_distance = near_limit(word);
	const char *best = NULL;

	for (size_t i = 0; i < count; i++)
		if (is_nearer(word, span_of(candidates[i]), &best_distance))
			best = candidates[i];
	return best;
}
