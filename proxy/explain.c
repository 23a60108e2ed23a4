#include "proxy/explain.h"

#include <stdlib.h>

#include "proxy/exchange/exchange.h"
#include "proxy/http/cookie.h"
#include "proxy/pool/sticky.h"
#include "proxy/settings/location.h"
#include "proxy/settings/routes.h"
#include "shared/assert.h"

enum { TEXT_MAX = 49152, ROUTES_TOLD_MAX = 32, SERVERS_TOLD_MAX = 100, LINES_MAX = 16384 };

struct explain {
	struct proxy *p;
	const struct listener *listener;
	const struct route *route;
	struct addr client;
	bool trusted;
	struct regex_room *room;
	struct route_ask ask;
	json_t *out;
	/* The request as bytes, and as the data path reads it. */
	char text[TEXT_MAX], path_room[ACTION_PATH_MAX], target[ACTION_PATH_MAX];
	size_t len;
	struct http_head head;
};

struct url {
	struct span scheme, authority, target;
	uint16_t port;
};

static void tell(struct explain *e, const char *name, json_t *value)
{
	json_object_set_new(e->out, name, value);
}

static json_t *text_json(struct span s)
{
	return json_stringn(s.ptr ? s.ptr : "", s.len);
}

/* --- the question ------------------------------------------------------------------------------
 */

/* "http://shop.example.com:8080/x?y", or "/x?y". */
static int read_url(struct span text, struct url *u, struct err *err)
{
	struct span rest = text, port;
	size_t end;
	uint64_t number;

	*u = (struct url){.scheme = SPAN("http"), .port = 80};
	if (span_ieq(span_make(text.ptr, text.len < 8 ? 0 : 8), SPAN("https://"))) {
		u->scheme = SPAN("https");
		u->port = 443;
		rest = span_from(text, 8);
	} else if (span_ieq(span_make(text.ptr, text.len < 7 ? 0 : 7), SPAN("http://"))) {
		rest = span_from(text, 7);
	} else if (text.len == 0 || text.ptr[0] != '/') {
		return err_set(err,
			"'%.*s' is not a URL: write one such as http://shop.example.com/x, or "
			"only /x",
			SPAN_ARG(text));
	}
	end = span_find(rest, '/', 0);
	end = span_find(span_make(rest.ptr, end), '?', 0);
	u->authority = span_make(rest.ptr, end);
	u->target = span_from(rest, end);
	port = span_from(u->authority, exchange_without_port(u->authority).len);
	if (port.len > 1 && span_to_u64(span_from(port, 1), 65535, &number) == 0)
		u->port = (uint16_t)number;
	return 0;
}

static int add(struct explain *e, struct span text)
{
	if (sizeof(e->text) - e->len < text.len)
		return -1;
	if (text.len)
		memcpy(e->text + e->len, text.ptr, text.len);
	e->len += text.len;
	return 0;
}

static bool is_one_line(const char *text)
{
	return !strpbrk(text, "\r\n");
}

/* {"X-Beta": "yes"} */
static int add_named_headers(
	struct explain *e, const json_t *headers, bool *ret_host, struct err *err)
{
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)headers, name, value) {
		const char *text = json_string_value(value);

		if (!text || !is_one_line(text) || !is_one_line(name))
			return err_set(err, "header '%s' is not one line of text", name);
		*ret_host |= strcasecmp(name, "host") == 0;
		if (add(e, span_of(name)) < 0 || add(e, SPAN(": ")) < 0 ||
			add(e, span_of(text)) < 0 || add(e, SPAN("\r\n")) < 0)
			return err_set(err, "the request is too long");
	}
	return 0;
}

static int add_headers(struct explain *e, const json_t *headers, bool *ret_host, struct err *err)
{
	const json_t *line;
	size_t i;

	if (json_is_object(headers))
		return add_named_headers(e, headers, ret_host, err);
	if (headers && !json_is_array(headers))
		return err_set(err, "'headers' is an object such as {\"X-Beta\": \"yes\"}, or a "
				    "list of lines such as \"X-Beta: yes\"");
	json_array_foreach (headers, i, line) {
		const char *text = json_string_value(line);

		if (!text || !strchr(text, ':') || !is_one_line(text))
			return err_set(err, "'%s' is not a header: write it as Name: value",
				text ? text : "");
		*ret_host |= strncasecmp(text, "host:", 5) == 0;
		if (add(e, span_of(text)) < 0 || add(e, SPAN("\r\n")) < 0)
			return err_set(err, "the request is too long");
	}
	return 0;
}

/* The request as it would come over the wire. */
static int write_request(struct explain *e, const char *method, const struct url *u,
	const json_t *headers, struct err *err)
{
	bool has_host = false;
	bool slash = u->target.len == 0 || u->target.ptr[0] != '/';

	if (add(e, span_of(method)) < 0 || add(e, slash ? SPAN(" /") : SPAN(" ")) < 0 ||
		add(e, u->target) < 0 || add(e, SPAN(" HTTP/1.1\r\n")) < 0)
		return err_set(err, "the request is too long");
	if (add_headers(e, headers, &has_host, err) < 0)
		return -1;
	if (!has_host && (add(e, SPAN("Host: ")) < 0 ||
				 add(e, u->authority.len ? u->authority : SPAN("localhost")) < 0 ||
				 add(e, SPAN("\r\n")) < 0))
		return err_set(err, "the request is too long");
	return add(e, SPAN("\r\n")) < 0 ? err_set(err, "the request is too long") : 0;
}

static bool listens_on(const struct listener *l, uint16_t port)
{
	for (unsigned i = 0; i < l->bind_count; i++)
		if (addr_port(&l->binds[i]) == port)
			return true;
	return false;
}

/* By name; else by the URL's port; else the only one that speaks HTTP. */
static int find_listener(struct explain *e, const char *name, uint16_t port, struct err *err)
{
	const struct settings *s = e->p->settings;
	const struct listener *only = NULL;
	unsigned count = 0;

	for (unsigned i = 0; i < s->listener_count && !e->listener; i++) {
		const struct listener *l = &s->listeners[i];

		if (l->mode != LISTENER_HTTP)
			continue;
		count++;
		only = l;
		if (name ? span_eq(l->name, span_of(name)) : listens_on(l, port))
			e->listener = l;
	}
	if (!e->listener && !name && count == 1)
		e->listener = only;
	if (e->listener)
		return 0;
	if (name)
		return err_set(err, "there is no listener '%s' that speaks HTTP", name);
	return err_set(err,
		"no listener that speaks HTTP is on port %u: write another port in the "
		"URL, or the listener's name",
		port);
}

static int read_client(struct explain *e, const char *from, struct err *err)
{
	if (!from)
		from = "127.0.0.1";
	if (addr_parse_ip(span_of(from), &e->client, err) < 0)
		return err_prefix(err, "from");
	return 0;
}

/* --- the way of the request --------------------------------------------------------------------
 */

static void answered(struct explain *e, uint16_t status, const char *why)
{
	tell(e, "status", json_integer(status));
	tell(e, "reason", json_string(why));
}

/* As exchange.c reads it; false: it is answered already. */
static bool read_head(struct explain *e)
{
	struct http_fault fault;

	http_head_init(&e->head);
	if (http1_parse_request(&e->head, span_make(e->text, e->len), &e->listener->limits,
		    &fault) != PARSE_DONE) {
		answered(e, fault.status, fault.why);
		return false;
	}
	if (e->head.method == HTTP_TRACE || e->head.method == HTTP_CONNECT) {
		answered(e, 405, "no route allows this method");
		return false;
	}
	if (http_path(e->head.target, e->listener->path_mode, e->path_room, sizeof(e->path_room),
		    &e->ask.path, &e->ask.query, &fault) != PARSE_DONE) {
		answered(e, 400, fault.why);
		return false;
	}
	e->trusted = identity_find(e->listener, &e->head, &e->client);
	e->ask.head = &e->head;
	e->ask.host = exchange_without_port(e->head.authority);
	e->ask.client = &e->client;
	if (e->p->settings->location)
		e->ask.location = location_find(e->p->settings->location, &e->client);
	e->ask.room = e->room;
	return true;
}

static void tell_request(struct explain *e)
{
	char client[ADDR_TEXT_MAX];

	addr_format_ip(&e->client, client);
	tell(e, "request",
		json_pack("{s:o, s:o, s:o, s:o?, s:s}", "method", text_json(e->head.method_text),
			"host", text_json(e->ask.host), "path", text_json(e->ask.path), "query",
			e->ask.query.ptr ? text_json(e->ask.query) : NULL, "client", client));
}

/* Why the routes before it did not take it: the last of them, nearest to it. */
static void tell_passed_over(struct explain *e)
{
	const struct routes *all = e->listener->routes;
	unsigned end = e->route ? e->route->index : routes_count(all);
	unsigned first = end > ROUTES_TOLD_MAX ? end - ROUTES_TOLD_MAX : 0;
	json_t *list = json_array();

	for (unsigned i = first; i < end; i++) {
		char why[256];

		routes_why_not(all, i, &e->ask, why, sizeof(why));
		json_array_append_new(
			list, json_pack("{s:i, s:i, s:s}", "route", (int)i + 1, "line",
				      (int)routes_get(all, i)->line, "why", why));
	}
	tell(e, "passed_over", list);
	tell(e, "passed_over_more", json_integer(first));
}

static void find_route(struct explain *e)
{
	e->route = routes_find(e->listener->routes, &e->ask);
	tell_passed_over(e);
	if (e->route)
		tell(e, "route",
			json_pack("{s:i, s:i}", "route", (int)e->route->index + 1, "line",
				(int)e->route->line));
	else if (e->listener->redirect_port)
		answered(e, e->head.method == HTTP_GET || e->head.method == HTTP_HEAD ? 301 : 308,
			"the listener redirects to https");
	else
		answered(e, 404, "no route takes it");
}

/* --- what the route does -----------------------------------------------------------------------
 */

static void tell_answer(struct explain *e, const struct action *a)
{
	size_t len;

	if (!a->answer->is_redirect) {
		answered(e, a->answer->status, "the route answers by itself");
		return;
	}
	len = action_location(a, &e->ask, e->target, sizeof(e->target));
	if (!len) {
		answered(e, e->ask.host.len ? 414 : 400, "the redirect cannot be formed");
		return;
	}
	answered(e, a->answer->status, "the route redirects");
	tell(e, "location", text_json(span_make(e->target, len)));
}

static void tell_edits(struct explain *e, const char *name, const struct action *a,
	const struct field_edits *edits)
{
	struct http_head head = e->head; /* in which the fields that go are marked */
	json_t *put = json_array(), *gone = json_array();
	char *lines = malloc(LINES_MAX);
	struct span rest = {0};
	int len = lines ? action_edit_fields(a, edits, &e->ask, &head, lines, LINES_MAX) : -1;

	if (len > 0)
		rest = span_make(lines, (size_t)len);
	while (rest.len) {
		size_t end = span_find(rest, '\r', 0);

		json_array_append_new(put, text_json(span_make(rest.ptr, end)));
		rest = span_from(rest, end + 2);
	}
	for (unsigned i = 0; i < edits->gone_count; i++)
		json_array_append_new(gone, text_json(edits->gone[i]));
	if (edits->gone_count || edits->put_count)
		tell(e, name, json_pack("{s:O, s:O}", "removed", gone, "put", put));
	json_decref(put);
	json_decref(gone);
	free(lines);
}

/* False: it is answered. What hash goes by is the path as the server gets it. */
static bool tell_rewrite(struct explain *e, const struct action *a)
{
	struct span path, query;
	uint16_t status =
		action_rewrite_path(a, &e->ask, e->listener->path_mode, e->target, &path, &query);
	const struct rewrite *rw = a->rewrite;

	if (status) {
		answered(e, status, "the rewritten path is not one that may be sent");
		return false;
	}
	tell_edits(e, "request_headers", a, &rw->request);
	tell_edits(e, "response_headers", a, &rw->response);
	tell(e, "sent",
		json_pack("{s:o, s:o, s:o?}", "host",
			text_json(rw->host.len ? rw->host : e->head.authority), "path",
			text_json(path), "query", query.ptr ? text_json(query) : NULL));
	e->ask.path = path;
	e->ask.query = query;
	return true;
}

/* --- who would serve it ------------------------------------------------------------------------
 */

static bool is_usable(const struct pool_view *v, const struct server *s)
{
	for (unsigned i = 0; v && i < v->count; i++)
		if (v->usable[i].server == s)
			return true;
	return v && v->beyond && is_usable(v->beyond, s);
}

static void tell_server(
	json_t *list, const struct pool *p, const struct pool_view *v, const struct member *m)
{
	json_t *one = pool_server_status(p, m);

	json_object_set_new(one, "name", json_string(m->server->name));
	json_object_set_new(one, "can_serve", json_boolean(is_usable(v, m->server)));
	json_array_append_new(list, one);
}

static void tell_chosen(
	struct explain *e, json_t *out, const struct pool *p, const struct pool_view *v)
{
	struct rng rng;
	struct pick what = {.now_ns = monotonic_ns(), .rng = &rng};
	struct span cookie = p->sticky.cookie;
	const struct server *s = NULL;
	const char *why = "";

	rng_seed(&rng, what.now_ns);
	if (cookie.len)
		what.sticky = sticky_parse(http_cookie_find(&e->head, cookie));
	if (p->balance == BALANCE_HASH)
		what.has_key = exchange_hash_key(&e->ask, &p->hash, &what.key);
	if (what.sticky && (s = pool_bound(v, &what)))
		why = "its cookie";
	else if (what.has_key && (s = pool_prefer(v, &what)))
		why = "hash";
	else if (v->count == 1 && !v->beyond && (s = pool_prefer(v, &what)))
		why = "the only one";
	if (s)
		json_object_set_new(
			out, "chosen", json_pack("{s:s, s:s}", "server", s->name, "by", why));
}

static void tell_pool(struct explain *e, json_t *out, const struct pool *p)
{
	const struct pool_view *v = e->p->views[p->index];
	json_t *list = json_array();
	unsigned told = 0;

	json_object_set_new(out, "pool", text_json(p->name));
	while (v->count == 0 && p->stand_in) { /* as attempt.c has it */
		p = p->stand_in;
		v = e->p->views[p->index];
		json_object_set_new(out, "stand_in", text_json(p->name));
	}
	for (; told < v->set->count && told < SERVERS_TOLD_MAX; told++)
		tell_server(list, p, v, &v->set->members[told]);
	json_object_set_new(out, "servers", list);
	json_object_set_new(out, "servers_more", json_integer(v->set->count - told));
	if (v->count > 0)
		tell_chosen(e, out, p, v);
}

static void tell_pools(struct explain *e, const struct route *r)
{
	const struct action *a = r->action;
	json_t *list = json_array();
	uint32_t before = 0;

	for (unsigned i = 0; a && i < a->choice_count; i++) {
		const struct choice *c = &a->choices[i];
		json_t *one = json_object();

		json_object_set_new(
			one, "share_pct", json_real(100.0 * (c->below - before) / a->shares));
		tell_pool(e, one, c->pool);
		json_array_append_new(list, one);
		before = c->below;
	}
	if (r->pool) {
		json_t *one = json_pack("{s:f}", "share_pct", 100.0);

		tell_pool(e, one, r->pool);
		json_array_append_new(list, one);
	}
	tell(e, "pools", list);
}

static void follow(struct explain *e)
{
	const struct action *a = e->route->action;

	if (a && !access_allows(&a->access, &e->client)) {
		answered(e, 403, "the route denies this client");
		return;
	}
	if (a && a->answer) {
		tell_answer(e, a);
		return;
	}
	if (a && a->rewrite && !tell_rewrite(e, a))
		return;
	tell_pools(e, e->route);
}

static void explain(struct explain *e)
{
	tell(e, "listener", text_json(e->listener->name));
	if (!read_head(e))
		return;
	tell_request(e);
	if (!access_allows(&e->listener->access, &e->client)) {
		answered(e, 403, "the listener denies this client");
		return;
	}
	find_route(e);
	if (e->route)
		follow(e);
}

/* --- the method --------------------------------------------------------------------------------
 */

static int ask(struct explain *e, const json_t *params, struct err *err)
{
	const char *method = json_string_value(json_object_get(params, "method"));
	const char *url = json_string_value(json_object_get(params, "url"));
	const char *name = json_string_value(json_object_get(params, "listener"));
	const json_t *from = json_object_get(params, "from");
	struct url u;

	if (!url)
		return err_set(err, "'url' is missing: write {\"method\": \"GET\", \"url\": "
				    "\"http://shop.example.com/\"}");
	if (!is_one_line(url) || (method && !is_one_line(method)))
		return err_set(err, "'method' and 'url' are one line each");
	if (from && !json_is_string(from))
		return err_set(err, "'from' is a client's IP address, such as \"10.0.0.7\"");
	if (read_url(span_of(url), &u, err) < 0 || find_listener(e, name, u.port, err) < 0 ||
		read_client(e, json_string_value(from), err) < 0 ||
		write_request(e, method ? method : "GET", &u, json_object_get(params, "headers"),
			err) < 0)
		return -1;
	e->ask.scheme = u.scheme;
	e->room = regex_room_new();
	e->out = json_object();
	if (!e->room || !e->out)
		return err_set(err, "out of memory");
	explain(e);
	return 0;
}

int explain_method(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct explain *e = calloc(1, sizeof(*e));
	int rc;

	(void)who;
	if (!e)
		return err_set(err, "out of memory");
	e->p = ctx;
	rc = ask(e, params, err);
	if (rc == 0)
		*ret_result = e->out;
	else
		json_decref(e->out);
	regex_room_free(e->room);
	free(e);
	return rc;
}
