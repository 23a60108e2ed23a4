/*
 * What a route does with a request beyond handing it to its pool (settings/action.h): who may come,
 * answers, several pools, other paths, hosts and fields. Routes without any of it never come here.
 */
#include "proxy/exchange/exchange.h"

#include "proxy/worker.h"

enum { LINES_MAX = 16384 }; /* of fields that a route puts */

static void answer(struct exchange *x, const struct route_ask *ask)
{
	const struct action *act = x->route->action;
	const struct own_answer *own = act->answer;
	char line[ACTION_PATH_MAX + 32] = "Location: ", words[64];
	struct answer a = {.status = own->status,
		.fields = own->fields,
		.content_type = own->content_type,
		.content = own->content};
	size_t at = strlen(line), len;
	int n;

	if (own->is_redirect) {
		len = action_location(act, ask, line + at, ACTION_PATH_MAX);
		if (!len) {
			exchange_answer(x, ask->host.len ? 414 : 400, END_REFUSED);
			return;
		}
		memcpy(line + at + len, "\r\n", 2);
		a.fields = span_make(line, at + len + 2);
		n = snprintf(
			words, sizeof(words), "%u %s\n", own->status, http_reason(own->status));
		a.content = span_make(words, (size_t)n);
	}
	exchange_answer_with(x, &a, END_ANSWERED);
}

static void ask_with_scheme(const struct exchange *x, struct route_ask *ask)
{
	exchange_ask(x, ask);
	ask->scheme = exchange_is_secure(x) ? SPAN("https") : SPAN("http");
}

bool exchange_act(struct exchange *x)
{
	const struct action *a = x->route->action;
	const struct choice *chosen;
	struct route_ask ask;
	uint16_t status;

	if (!access_allows(&a->access, x->client_addr)) {
		exchange_answer(x, 403, END_DENIED);
		return false;
	}
	ask_with_scheme(x, &ask);
	if (a->answer) {
		answer(x, &ask);
		return false;
	}
	if (a->choice_count) {
		chosen = action_choose(a, &x->worker->rng);
		x->pool = chosen->pool;
		x->timeouts = &chosen->timeouts;
		x->client->conn.send_ns = x->timeouts->send_ns;
	}
	if (!a->rewrite)
		return true;
	status = action_rewrite_path(
		a, &ask, x->listener->path_mode, x->target_room, &x->path, &x->query);
	if (status)
		exchange_answer(x, status, END_REFUSED);
	return !status;
}

/* The path may have been rewritten: fields are told of the one that came. */
static void ask_as_it_came(const struct exchange *x, struct route_ask *ask, char *room)
{
	struct http_fault fault;
	enum parse_rc rc;

	ask_with_scheme(x, ask);
	rc = http_path(x->request.target, x->listener->path_mode, room, ACTION_PATH_MAX, &ask->path,
		&ask->query, &fault);
	ASSERT(rc == PARSE_DONE);
}

/* The lines that come, in `lines`; -1: they do not fit. */
static int edit(struct exchange *x, const struct field_edits *e, struct http_head *h, char *lines)
{
	struct route_ask ask;
	UNFILLED char room[ACTION_PATH_MAX];

	if (!e->gone_count && !e->put_count)
		return 0;
	ask_as_it_came(x, &ask, room);
	return action_edit_fields(x->route->action, e, &ask, h, lines, LINES_MAX);
}

int exchange_edit_request(struct exchange *x, struct http1_request_out *o)
{
	const struct rewrite *rw = x->route->action->rewrite;
	UNFILLED char lines[LINES_MAX];
	int len = edit(x, &rw->request, &x->request, lines);

	if (len < 0)
		return -1;
	o->extra = span_make(lines, (size_t)len);
	if (rw->host.len)
		o->host = rw->host;
	return exchange_put_request(x, o);
}

int exchange_edit_response(struct exchange *x, struct http1_response_out *o)
{
	UNFILLED char lines[LINES_MAX + SET_COOKIE_MAX];
	int len = edit(x, &x->route->action->rewrite->response, &x->response, lines);

	if (len < 0)
		return -1;
	ASSERT(o->own.len <= SET_COOKIE_MAX);
	if (o->own.len)
		memcpy(lines + len, o->own.ptr, o->own.len);
	o->own = span_make(lines, (size_t)len + o->own.len);
	return exchange_put_response(x, o);
}
