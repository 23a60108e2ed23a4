#include "proxy/settings/template.h"

#include "shared/assert.h"

void pen_put(struct pen_text *pen, struct span text)
{
	if (pen->full || (size_t)(pen->end - pen->at) < text.len) {
		pen->full = true;
		return;
	}
	if (text.len)
		memcpy(pen->at, text.ptr, text.len);
	pen->at += text.len;
}

/* --- reading -----------------------------------------------------------------------------------
 */

struct reader {
	struct span text;
	size_t at, run; /* where we are, and where the text began that is to be kept */
	int groups;
	struct piece *pieces;
	struct template *out;
	struct arena *arena;
};

static void add(struct reader *r, enum piece_kind kind, unsigned group, struct span text)
{
	r->pieces[r->out->count++] = (struct piece){kind, group, text};
}

static void end_run(struct reader *r)
{
	if (r->at > r->run)
		add(r, PIECE_TEXT, 0,
			arena_keep(r->arena, span_make(r->text.ptr + r->run, r->at - r->run)));
}

/* The word in braces at the front of text; {0}: it is none. */
static struct span word_at(struct span text)
{
	size_t len = 1;

	while (len < text.len &&
		((text.ptr[len] >= 'a' && text.ptr[len] <= 'z') || text.ptr[len] == '_'))
		len++;
	if (len == 1 || len >= text.len || text.ptr[len] != '}')
		return (struct span){0};
	return span_make(text.ptr + 1, len - 1);
}

static int read_word(struct reader *r, struct span word, const char **ret_what)
{
	static const struct {
		enum piece_kind kind;
		struct span word;
	} known[] = {
#define X(name, word) {PIECE_##name, SPAN(word)},
		PIECES(X)
#undef X
	};

	for (size_t i = 0; i < countof(known); i++) {
		if (!span_eq(known[i].word, word))
			continue;
		end_run(r);
		add(r, known[i].kind, 0, (struct span){0});
		r->out->needs_host |= known[i].kind == PIECE_HOST;
		r->at += word.len + 2;
		r->run = r->at;
		return 0;
	}
	*ret_what = "the words in braces are {scheme}, {host}, {path}, {query} and {client}";
	return -1;
}

static int read_group(struct reader *r, unsigned group, const char **ret_what)
{
	if (r->groups < 0) {
		*ret_what = "$0 to $9 are the groups of a regular expression, and there is none: "
			    "write $$ for a '$'";
		return -1;
	}
	if ((int)group > r->groups) {
		*ret_what = "the regular expression has fewer groups";
		return -1;
	}
	end_run(r);
	add(r, PIECE_GROUP, group, (struct span){0});
	r->out->needs_groups = true;
	r->at += 2;
	r->run = r->at;
	return 0;
}

static int read_piece(struct reader *r, const char **ret_what)
{
	struct span rest = span_from(r->text, r->at), word;

	if (rest.ptr[0] == '{') {
		word = word_at(rest);
		if (word.len)
			return read_word(r, word, ret_what);
	} else if (rest.ptr[0] == '$' && rest.len > 1) {
		if (rest.ptr[1] >= '0' && rest.ptr[1] <= '9')
			return read_group(r, (unsigned)(rest.ptr[1] - '0'), ret_what);
		if (rest.ptr[1] == '$') {
			r->at++; /* one of the two */
			end_run(r);
			r->run = ++r->at;
			return 0;
		}
	}
	r->at++;
	return 0;
}

int template_read(
	struct span text, int groups, struct arena *a, struct template *ret, const char **ret_what)
{
	struct reader r = {.text = text, .groups = groups, .out = ret, .arena = a};
	size_t most = 1;

	*ret_what = NULL;
	*ret = (struct template){0};
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] == '{' || text.ptr[i] == '$')
			most += 2; /* it, and the text behind it */
	r.pieces = arena_alloc(a, most, sizeof(*r.pieces));
	if (!r.pieces)
		return -1;
	ret->pieces = r.pieces;
	while (r.at < text.len)
		if (read_piece(&r, ret_what) < 0)
			return -1;
	end_run(&r);
	return a->out_of_memory ? -1 : 0;
}

/* --- writing -----------------------------------------------------------------------------------
 */

static void write_piece(const struct piece *p, const struct route_ask *ask,
	const struct captures *groups, struct pen_text *pen)
{
	char text[ADDR_TEXT_MAX];

	switch (p->kind) {
	case PIECE_TEXT:
		pen_put(pen, p->text);
		return;
	case PIECE_GROUP:
		ASSERT(groups);
		if (p->group < groups->count)
			pen_put(pen, groups->group[p->group]);
		return;
	case PIECE_SCHEME:
		pen_put(pen, ask->scheme);
		return;
	case PIECE_HOST:
		pen_put(pen, ask->host);
		return;
	case PIECE_PATH:
		pen_put(pen, ask->path);
		return;
	case PIECE_QUERY:
		if (ask->query.ptr) {
			pen_put(pen, SPAN("?"));
			pen_put(pen, ask->query);
		}
		return;
	case PIECE_CLIENT:
		pen_put(pen, span_make(text, addr_format_ip(ask->client, text)));
		return;
	}
	ASSERT(!"a kind of piece");
}

void template_write(const struct template *t, const struct route_ask *ask,
	const struct captures *groups, struct pen_text *pen)
{
	for (unsigned i = 0; i < t->count; i++)
		write_piece(&t->pieces[i], ask, groups, pen);
}
