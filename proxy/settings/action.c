#include "proxy/settings/action.h"

#include "shared/assert.h"

static bool is_in(const struct cidr *networks, unsigned count, const struct addr *client)
{
	for (unsigned i = 0; i < count; i++)
		if (cidr_contains(&networks[i], client))
			return true;
	return false;
}

bool access_allows(const struct access *a, const struct addr *client)
{
	if (is_in(a->deny, a->deny_count, client))
		return false;
	return a->allow_count == 0 || is_in(a->allow, a->allow_count, client);
}

const struct choice *action_choose(const struct action *a, struct rng *rng)
{
	uint64_t drawn = rng_below(rng, a->shares);
	unsigned at = 0;

	ASSERT(a->choice_count > 0);
	while (a->choices[at].below <= drawn)
		at++;
	ASSERT(at < a->choice_count);
	return &a->choices[at];
}

/* NULL: the templates need none. */
static const struct captures *groups_for(
	const struct action *a, const struct route_ask *ask, bool needed, struct captures *room)
{
	if (!needed)
		return NULL;
	/* The path matched when the route was found. */
	if (!match_captures(a->match, ask, room))
		*room = (struct captures){0};
	return room;
}

/* --- paths -------------------------------------------------------------------------------------
 */

/* Without the prefix where it is one in whole segments: /api of /api/x and of /api, not of /apis.
 */
static struct span strip(struct span path, struct span prefix)
{
	if (prefix.len && prefix.ptr[prefix.len - 1] == '/')
		prefix.len--;
	if (!span_starts(path, prefix) || (path.len > prefix.len && path.ptr[prefix.len] != '/'))
		return path;
	return span_from(path, prefix.len);
}

static void put_replaced(const struct rewrite *rw, const struct route_ask *ask, struct span path,
	struct pen_text *pen)
{
	struct captures groups;

	if (!rw->replace || regex_match(rw->replace, ask->room, path, &groups) != REGEX_YES) {
		pen_put(pen, path);
		return;
	}
	pen_put(pen, span_make(path.ptr, groups.start));
	template_write(&rw->with, ask, &groups, pen);
	pen_put(pen, span_from(path, groups.end));
}

/* Into room: the new path, "?" and query; 0: it does not fit. */
static size_t put_target(
	const struct action *a, const struct route_ask *ask, char *room, size_t size)
{
	const struct rewrite *rw = a->rewrite;
	struct pen_text pen = {.at = room, .end = room + size};
	struct captures groups;
	struct span rest;
	char *first;

	pen_put(&pen, rw->add_prefix);
	if (pen.at > room && pen.at[-1] == '/')
		pen.at--;
	first = pen.at;
	if (rw->has_path) {
		template_write(
			&rw->path, ask, groups_for(a, ask, rw->path.needs_groups, &groups), &pen);
	} else {
		rest = strip(ask->path, rw->strip_prefix);
		put_replaced(rw, ask, rest.len ? rest : SPAN("/"), &pen);
	}
	/* What a replacement left may have lost its slash. */
	if (!pen.full && (pen.at == first || *first != '/')) {
		size_t len = (size_t)(pen.at - first);

		pen_put(&pen, SPAN("/"));
		if (!pen.full)
			memmove(first + 1, first, len);
		*first = '/';
	}
	if (ask->query.ptr) {
		pen_put(&pen, SPAN("?"));
		pen_put(&pen, ask->query);
	}
	return pen.full ? 0 : (size_t)(pen.at - room);
}

uint16_t action_rewrite_path(const struct action *a, const struct route_ask *ask,
	enum http_path_mode mode, char *out, struct span *ret_path, struct span *ret_query)
{
	const struct rewrite *rw = a->rewrite;
	char room[ACTION_PATH_MAX];
	struct http_fault fault;
	struct span path, query;
	size_t len;

	if (!rw->has_path && !rw->strip_prefix.len && !rw->add_prefix.len && !rw->replace) {
		*ret_path = ask->path;
		*ret_query = ask->query;
		return 0;
	}
	if (span_eq(ask->path, SPAN("*"))) { /* of the server as a whole */
		*ret_path = ask->path;
		*ret_query = ask->query;
		return 0;
	}
	len = put_target(a, ask, room, sizeof(room));
	if (!len)
		return 414;
	/* Captures of ours may form what no client could have sent. */
	if (http_path(span_make(room, len), mode == HTTP_PATH_RAW ? mode : HTTP_PATH_NORMALIZE, out,
		    ACTION_PATH_MAX, &path, &query, &fault) != PARSE_DONE)
		return 400;
	if (path.ptr != out)
		memcpy(out, room, len);
	*ret_path = span_make(out, path.len);
	*ret_query = query.ptr ? span_make(out + path.len + 1, query.len) : (struct span){0};
	return 0;
}

/* --- answers and fields ------------------------------------------------------------------------
 */

static bool is_slash(char c)
{
	return c == '/' || c == '\\';
}

size_t action_location(const struct action *a, const struct route_ask *ask, char *out, size_t size)
{
	const struct template *t = &a->answer->location;
	struct route_ask plain;
	struct pen_text pen = {.at = out, .end = out + size};
	struct captures groups;
	size_t len, slashes = 0;

	ASSERT(a->answer->is_redirect);
	if (t->needs_host && !ask->host.len)
		return 0;
	if (span_eq(ask->path, SPAN("*"))) { /* of the server as a whole; no URL has it */
		plain = *ask;
		plain.path = SPAN("/");
		ask = &plain;
	}
	template_write(t, ask, groups_for(a, ask, t->needs_groups, &groups), &pen);
	if (pen.full)
		return 0;
	len = (size_t)(pen.at - out);
	/* "//evil.example" in a path must not become another host. */
	while (slashes < len && is_slash(out[slashes]))
		slashes++;
	if (slashes > 1) {
		len -= slashes - 1;
		memmove(out + 1, out + slashes, len - 1);
		out[0] = '/';
	}
	return len;
}

/* Are they one and the same to a server that makes no difference between _ and -? */
static bool are_alike(struct span a, struct span b)
{
	size_t at = 0;

	if (a.len != b.len)
		return false;
	while (at < a.len && (ascii_lower(a.ptr[at]) == ascii_lower(b.ptr[at]) ||
				     (a.ptr[at] == '_' && b.ptr[at] == '-')))
		at++;
	return at == a.len;
}

static void mark_gone(struct http_head *h, struct span name)
{
	enum http_field_id id = http_field_id(name);

	for (struct http_field *f = h->fields; f < h->fields + h->field_count; f++)
		if (http_field_is(f, id, name) ||
			(f->id == HTTP_F_OTHER && are_alike(f->name, name)))
			f->nominated = true;
}

int action_edit_fields(const struct action *a, const struct field_edits *edits,
	const struct route_ask *ask, struct http_head *h, char *out, size_t size)
{
	struct pen_text pen = {.at = out, .end = out + size};
	struct captures room;
	const struct captures *groups;
	bool needed = false;

	for (unsigned i = 0; i < edits->gone_count; i++)
		mark_gone(h, edits->gone[i]);
	for (unsigned i = 0; i < edits->put_count; i++)
		needed |= edits->put[i].value.needs_groups;
	groups = groups_for(a, ask, needed, &room);
	for (unsigned i = 0; i < edits->put_count; i++) {
		pen_put(&pen, edits->put[i].name);
		pen_put(&pen, SPAN(": "));
		template_write(&edits->put[i].value, ask, groups, &pen);
		pen_put(&pen, SPAN("\r\n"));
	}
	return pen.full ? -1 : (int)(pen.at - out);
}
