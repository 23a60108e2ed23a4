/*
 * What a route does (action.h) from the checked tree. Fields that make a message's framing, or that
 * Tandem puts itself, cannot be set; texts are read here once, so that a request meets no mistake.
 */
#include <stdio.h>

#include "proxy/settings/build.h"
#include "shared/assert.h"

struct context {
	struct builder *b;
	int groups; /* of the regular expression for the path; -1: there is none */
};

static void fault(struct context *c, const struct conf_node *node, const char *what)
{
	conf_error(c->b->report, node->pos, NULL, "'%.*s': %s", SPAN_ARG(node->text), what);
}

static void read_template(struct context *c, const struct conf_node *node, struct span text,
	int groups, struct template *ret)
{
	const char *what;

	if (template_read(text, groups, c->b->settings->arena, ret, &what) == 0)
		return;
	if (what)
		fault(c, node, what);
	else
		c->b->out_of_memory = true;
}

static bool has_piece(const struct template *t, enum piece_kind kind)
{
	for (unsigned i = 0; i < t->count; i++)
		if (t->pieces[i].kind == kind)
			return true;
	return false;
}

/* Of what may stand in a URL as it is; but: characters that may not stand here beside. */
static bool is_url_text(struct span text, const char *but)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] <= ' ' || text.ptr[i] > '~' || strchr("\"<>\\^`", text.ptr[i]) ||
			strchr(but, text.ptr[i]))
			return false;
	return true;
}

/* --- several pools -----------------------------------------------------------------------------
 */

static void build_choices(struct context *c, const struct conf_node *route,
	const struct conf_node *pools, const struct timeouts *inherited, struct action *a)
{
	struct choice *all = build_alloc(c->b, pools->count, sizeof(*all));

	if (!all)
		return;
	conf_each (share, pools) {
		struct choice *one = &all[a->choice_count++];

		one->pool = map_get(&c->b->pools, share->name);
		ASSERT(one->pool); /* conf_rules_routes.c */
		one->below = a->shares += (uint32_t)share->num;
		one->timeouts = *inherited;
		build_pool_timeouts(c->b, one->pool->node, NULL, &one->timeouts);
		build_timeouts(c->b, route, NULL, &one->timeouts);
		one->timeouts.head_ns = inherited->head_ns;
		one->timeouts.idle_ns = inherited->idle_ns;
		one->timeouts.h2_idle_ns = inherited->h2_idle_ns;
		one->timeouts.drain_ns = inherited->drain_ns;
	}
	a->choices = all;
}

/* --- fields ------------------------------------------------------------------------------------
 */

static bool may_touch(struct context *c, struct conf_pos pos, struct span name, const char *instead)
{
	const char *why = http_field_reserved(name);

	if (why)
		conf_error(c->b->report, pos, instead, "field '%.*s' cannot be changed: %s",
			SPAN_ARG(name), why);
	return !why;
}

static const char *remedy(struct span name)
{
	if (http_field_id(name) == HTTP_F_HOST)
		return "write rewrite: {host: ...}";
	return http_field_id(name) == HTTP_F_VIA ? "write via: NAME or via: off in the listener"
						 : NULL;
}

static void put_fields(struct context *c, const struct conf_node *map, struct field_edits *e,
	struct span *gone, struct field_value *put)
{
	conf_each (field, map) {
		struct field_value *v = &put[e->put_count];

		if (!may_touch(c, field->name_pos, field->name, remedy(field->name)))
			continue;
		v->name = field->name;
		read_template(c, field, field->text, c->groups, &v->value);
		e->put_count++;
		if (gone)
			gone[e->gone_count++] = field->name;
	}
}

static void build_edits(struct context *c, const struct conf_node *node, struct field_edits *e)
{
	const struct conf_node *set = conf_find(node, "set"), *add = conf_find(node, "add");
	const struct conf_node *gone = conf_find(node, "remove");
	size_t sets = set ? set->count : 0;
	struct field_value *put = build_alloc(c->b, sets + (add ? add->count : 0), sizeof(*put));
	struct span *names = build_alloc(c->b, sets + (gone ? gone->count : 0), sizeof(*names));

	if (!put || !names)
		return;
	put_fields(c, set, e, names, put);
	put_fields(c, add, e, NULL, put);
	conf_each (name, gone)
		if (may_touch(c, name->pos, name->text, remedy(name->text)))
			names[e->gone_count++] = name->text;
	e->put = put;
	e->gone = names;
}

/* --- rewriting ---------------------------------------------------------------------------------
 */

static void read_path(
	struct context *c, const struct conf_node *node, int groups, struct template *ret)
{
	read_template(c, node, node->text, groups, ret);
	if (!is_url_text(node->text, "?#"))
		fault(c, node, "a path has no '?' or '#', and what is not ASCII is written as %XX");
	else if (has_piece(ret, PIECE_QUERY))
		fault(c, node, "the query goes to the server as it came: leave {query} out");
}

static struct span read_prefix(struct context *c, const struct conf_node *rewrite, const char *key)
{
	const struct conf_node *node = conf_find(rewrite, key);
	struct span text = node ? node->text : (struct span){0};

	if (node && span_find(text, '?', 0) < text.len)
		fault(c, node, "a path has no '?'");
	return text;
}

static bool is_authority(struct span text)
{
	size_t colon = span_find(text, ':', 0), bracket = span_find(text, ']', 0);
	size_t end = text.ptr[0] == '[' && bracket < text.len ? bracket + 1 : colon;
	uint64_t port;

	for (size_t i = 0; i < end; i++) {
		char ch = ascii_lower(text.ptr[i]);

		if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || strchr("-._", ch) ||
			    (text.ptr[0] == '[' && strchr("[:]", ch))))
			return false;
	}
	return end > 0 &&
	       (end == text.len || (text.ptr[end] == ':' && span_to_u64(span_from(text, end + 1),
								    65535, &port) == 0));
}

static void build_replace(struct context *c, const struct conf_node *replace, struct rewrite *rw)
{
	const struct conf_node *pattern = conf_find(replace, "pattern");

	rw->replace = build_regex(c->b, pattern, pattern->text);
	if (rw->replace)
		read_path(c, conf_find(replace, "with"), (int)regex_groups(rw->replace), &rw->with);
}

static void build_rewrite(struct context *c, const struct conf_node *node, struct action *a)
{
	const struct conf_node *path = conf_find(node, "path"), *host = conf_find(node, "host");
	const struct conf_node *replace = conf_find(node, "replace");
	struct rewrite *rw = build_alloc(c->b, 1, sizeof(*rw));

	if (!rw)
		return;
	a->rewrite = rw;
	if (path && (replace || conf_find(node, "strip_prefix")))
		conf_error(c->b->report, path->name_pos, "write what it becomes under 'path'",
			"'path' is the whole path: there is nothing left for 'strip_prefix' or "
			"'replace'");
	rw->has_path = path != NULL;
	if (path)
		read_path(c, path, c->groups, &rw->path);
	rw->strip_prefix = read_prefix(c, node, "strip_prefix");
	rw->add_prefix = read_prefix(c, node, "add_prefix");
	if (replace)
		build_replace(c, replace, rw);
	if (host && !is_authority(host->text))
		fault(c, host, "write host or host:port");
	rw->host = host ? host->text : (struct span){0};
	build_edits(c, conf_find(node, "request_headers"), &rw->request);
	build_edits(c, conf_find(node, "response_headers"), &rw->response);
}

/* --- answers of our own ------------------------------------------------------------------------
 */

static bool is_target(struct span text)
{
	return span_starts(text, SPAN("http://")) || span_starts(text, SPAN("https://")) ||
	       span_starts(text, SPAN("{scheme}://")) ||
	       (span_starts(text, SPAN("/")) && !span_starts(text, SPAN("//"))) ||
	       span_starts(text, SPAN("{path}"));
}

static void build_redirect(
	struct context *c, const struct conf_node *node, struct own_answer *answer)
{
	const struct conf_node *to = conf_find(node, "to"), *status = conf_find(node, "status");
	bool https = span_eq(to->text, SPAN("https"));
	uint64_t number = https ? 308 : 302;

	if (status)
		span_to_u64(status->text, 399, &number);
	answer->status = (uint16_t)number;
	answer->is_redirect = true;
	answer->content_type = SPAN("text/plain; charset=utf-8");
	if (!https && !is_target(to->text))
		fault(c, to,
			"write https, a URL that begins with http://, https:// or {scheme}://, "
			"or a path that begins with one /");
	else if (!is_url_text(to->text, ""))
		fault(c, to, "what is not ASCII, and blanks, are written as %XX");
	read_template(c, to, https ? SPAN("https://{host}{path}{query}") : to->text, c->groups,
		&answer->location);
}

static size_t fields_size(const struct conf_node *fields)
{
	size_t size = 0;

	conf_each (field, fields)
		size += field->name.len + field->text.len + 4;
	return size;
}

static struct span build_lines(struct context *c, const struct conf_node *fields)
{
	size_t size = fields_size(fields);
	char *room = build_alloc(c->b, size, 1);
	struct pen_text pen;

	if (!room)
		return (struct span){0};
	pen = (struct pen_text){.at = room, .end = room + size};
	conf_each (field, fields) {
		if (http_field_id(field->name) == HTTP_F_CONTENT_TYPE) {
			conf_error(c->b->report, field->name_pos, "write content_type beside it",
				"'%.*s' has a key of its own", SPAN_ARG(field->name));
			continue;
		}
		if (!may_touch(c, field->name_pos, field->name, NULL))
			continue;
		pen_put(&pen, field->name);
		pen_put(&pen, SPAN(": "));
		pen_put(&pen, field->text);
		pen_put(&pen, SPAN("\r\n"));
	}
	ASSERT(!pen.full);
	return span_make(room, (size_t)(pen.at - room));
}

/* "403 Forbidden\n", as our own errors have it. */
static struct span status_in_words(struct context *c, uint16_t status)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%u %s\n", status, http_reason(status));

	return arena_keep(c->b->settings->arena, span_make(text, (size_t)n));
}

static void build_respond(
	struct context *c, const struct conf_node *node, struct own_answer *answer)
{
	const struct conf_node *body = conf_find(node, "body");
	bool empty;

	answer->status = (uint16_t)conf_u64(node, "status");
	empty = answer->status == 204 || answer->status == 304;
	if (empty && body)
		conf_error(c->b->report, body->name_pos, "leave 'body' out",
			"an answer %u has no content", answer->status);
	if (!empty) {
		answer->content = body ? body->text : status_in_words(c, answer->status);
		answer->content_type = conf_text(node, "content_type");
	}
	answer->fields = build_lines(c, conf_find(node, "headers"));
}

/* --- the whole ---------------------------------------------------------------------------------
 */

static int groups_of(const struct match *match)
{
	const struct condition *last = match->count ? &match->conditions[match->count - 1] : NULL;

	if (!last || last->kind != CONDITION_PATH || !last->wanted_count || !last->wanted[0].regex)
		return -1;
	return (int)regex_groups(last->wanted[0].regex);
}

static struct own_answer *new_answer(struct context *c, struct action *a)
{
	struct own_answer *answer = build_alloc(c->b, 1, sizeof(*answer));

	a->answer = answer;
	return answer;
}

const struct action *build_action(struct builder *b, const struct conf_node *route,
	const struct match *match, const struct timeouts *inherited)
{
	static const char *const kinds[] = {"allow", "deny", "redirect", "respond", "rewrite"};
	const struct conf_node *pool = conf_find(route, "pool"), *node;
	struct context c = {.b = b, .groups = groups_of(match)};
	bool any = pool && pool->kind == CONF_MAP;
	struct own_answer *answer;
	struct action *a;

	for (size_t i = 0; i < countof(kinds); i++)
		any |= conf_find(route, kinds[i]) != NULL;
	if (!any)
		return NULL;
	a = build_alloc(b, 1, sizeof(*a));
	if (!a)
		return NULL;
	a->match = match;
	build_access(b, route, &a->access);
	if (pool && pool->kind == CONF_MAP)
		build_choices(&c, route, pool, inherited, a);
	node = conf_find(route, "redirect");
	if (node && (answer = new_answer(&c, a)))
		build_redirect(&c, node, answer);
	node = conf_find(route, "respond");
	if (node && (answer = new_answer(&c, a)))
		build_respond(&c, node, answer);
	node = conf_find(route, "rewrite");
	if (node)
		build_rewrite(&c, node, a);
	return a;
}
