#include "proxy/exchange/exchange.h"

#include "proxy/exchange/tunnel.h"
#include "proxy/settings/location.h"
#include "proxy/tls/server.h"
#include "proxy/worker.h"
#include "shared/log.h"

const char *exchange_end_text(enum exchange_end end)
{
	static const char *const texts[] = {
#define X(name, text) text,
		EXCHANGE_ENDS(X)
#undef X
	};
	ASSERT((unsigned)end < countof(texts));
	return texts[end];
}

/* --- memory
 * ----------------------------------------------------------------------------------------- */

struct exchange *exchange_new(struct client *c)
{
	struct worker *w = c->conn.worker;
	struct exchange *x;

	if (!list_empty(&w->free_exchanges)) {
		x = list_item(w->free_exchanges.next, struct exchange, link);
		list_remove(&x->link);
		w->free_exchange_count--;
	} else {
		x = malloc(sizeof(*x));
		if (!x)
			return NULL;
	}
	memset(x, 0, offsetof(struct exchange, request_id));
	list_init(&x->link);
	x->worker = w;
	x->client = c;
	x->snapshot = snapshot_ref(c->acceptor->snapshot);
	x->listener = c->acceptor->listener;
	x->timeouts = &x->listener->timeouts;
	x->started_ns = w->now_ns;
	http_head_init(&x->request);
	return x;
}

void exchange_reap(struct exchange *x)
{
	struct worker *w = x->worker;

	list_remove(&x->link);
	if (w->free_exchange_count >= EXCHANGE_KEEP) {
		free(x);
		return;
	}
	list_push(&w->free_exchanges, &x->link);
	w->free_exchange_count++;
}

void exchange_free_all(struct worker *w)
{
	list_each_safe (it, &w->free_exchanges)
		free(list_item(it, struct exchange, link));
	list_init(&w->free_exchanges);
}

static void count(const struct exchange *x)
{
	struct listener_state *l = x->listener->state;
	struct answers *a = l->answers;

	atomic_fetch_add_explicit(&l->requests_total, 1, memory_order_relaxed);
	timings_add(l->durations, x->worker->index, x->worker->now_ns - x->started_ns);
	if (x->pool) {
		atomic_fetch_add_explicit(&x->pool->state->requests_total, 1, memory_order_relaxed);
		a = x->pool->state->answers;
	}
	if (x->tried_count)
		a = x->tried[x->tried_count - 1]->answered;
	answers_count(a, x->worker->index, l->kept.id, x->status);
}

/* Everything that the exchange holds goes back; the memory itself after the loop iteration. */
static void end(struct exchange *x)
{
	ASSERT(!x->over);
	x->over = true;
	x->bytes_out -= conn_in_pipe(&x->client->conn); /* which it will never get */
	if (x->server)
		exchange_release_server(x, false);
	if (x->waiting)
		exchange_leave_queue(x);
	if (x->head_done) { /* a connection that never sent a request is not one */
		count(x);
		if (x->worker->access)
			access_log_exchange(x->worker->access, x);
	}
	if (x->tunnel)
		tunnel_fini(x);
	snapshot_unref(x->snapshot);
	list_append(&x->worker->reap_exchanges, &x->link);
}

/* --- content, the same both ways --- */

void exchange_stage_content(struct stage *s, enum http_framing framing, struct span data)
{
	size_t room;

	if (framing != HTTP_CHUNKED || !data.len) {
		stage_span(s, data);
		return;
	}
	stage_wrote(s, http1_write_chunk_head(stage_scratch(s, &room), data.len));
	stage_span(s, data);
	memcpy(stage_scratch(s, &room), "\r\n", 2);
	stage_wrote(s, 2);
}

bool exchange_body_ended(struct http1_body *b, const struct conn *from)
{
	if (http1_body_eof(b) != PARSE_DONE)
		return false;
	if (conn_is_stream(from))
		b->trailers = h2_trailers(from);
	return true;
}

int exchange_stage_end(
	struct conn *to, struct stage *s, enum http_framing framing, struct span trailers)
{
	size_t room, n;
	char *out = stage_scratch(s, &room);

	if (framing != HTTP_CHUNKED)
		return conn_is_stream(to) ? h2_send_end(to, trailers) : 0;
	n = http1_write_last_chunk(out, room, trailers);
	if (!n)
		return -1;
	stage_wrote(s, n);
	return 0;
}

/* --- endings
 * ------------------------------------------------------------------------------------------ */

bool exchange_next_in_hand(const struct exchange *x)
{
	const struct iobuf *in = x->client->conn.in;

	return x->request_done && in && x->body_at < in->end;
}

void exchange_finish(struct exchange *x)
{
	struct client *c = x->client;
	bool whole = x->request_done, next = exchange_next_in_hand(x);
	bool keep = x->keep_client && whole && (!c->conn.eof || next);

	/* What follows the request in the buffer is the next one's. */
	if (c->conn.in && whole)
		c->conn.in->start = x->body_at;
	if (whole && !conn_blocked(&c->conn))
		conn_deadline(&c->conn, 0);
	end(x);
	client_exchange_done(c, keep, !whole || next);
}

void exchange_cut(struct exchange *x, enum exchange_end why)
{
	struct client *c = x->client;

	x->end = why;
	end(x);
	client_exchange_cut(c);
}

void exchange_client_gone(struct exchange *x)
{
	if (x->head_done) {
		x->end = END_CLIENT_GONE;
		if (!x->status)
			x->status = 499;
	}
	if (x->tunnel) /* the server must not take what it got for all there was */
		conn_abort(&x->upstream->conn);
	end(x);
}

void exchange_client_eof(struct exchange *x)
{
	if (conn_is_stream(&x->client->conn)) { /* it has said all, and is still there */
		exchange_request_bytes(x);
		return;
	}
	if (x->waiting) { /* nobody works on it yet, and most that close have gone */
		x->status = 499;
		exchange_cut(x, END_CLIENT_GONE);
		return;
	}
	/* A half-close after the whole request is a client that waits for its answer. Whether it is
	 * whole shows once the server has taken what is in hand. */
	if (x->request_done || x->upstream->conn.connecting || conn_blocked(&x->upstream->conn))
		return;
	if (!x->response_started)
		x->status = 400;
	exchange_cut(x, END_CLIENT_GONE);
}

/* What a head that is not whole, or malformed, says of others is not believed. */
static void end_head(struct exchange *x)
{
	x->head_done = true;
	if (!x->client_ip.len)
		x->client_ip = client_ip(x->client);
}

void exchange_client_timeout(struct exchange *x)
{
	struct client *c = x->client;

	if (!x->head_done) {
		if (!c->conn.in || c->conn.in->start == c->conn.in->end || c->over) {
			exchange_cut(x, END_CLIENT_TIMEOUT);
			return;
		}
		end_head(x);
		exchange_answer(x, 408, END_CLIENT_TIMEOUT);
		return;
	}
	if (x->response_started || conn_blocked(&c->conn))
		exchange_cut(x, END_CLIENT_TIMEOUT);
	else if (x->waiting)
		exchange_queue_timeout(x);
	else if (x->waits_for_body)
		exchange_answer(x, 408, END_CLIENT_TIMEOUT);
}

/* --- the head
 * ----------------------------------------------------------------------------------------- */

void exchange_reject(struct exchange *x, const struct http_fault *fault)
{
	fault_note(x, FAULT_REQUEST, EXCERPT_HEAD, iobuf_span(x->client->conn.in), fault);
	end_head(x);
	exchange_answer(x, fault->status, END_CLIENT_BAD);
}

struct span exchange_without_port(struct span authority)
{
	size_t at = authority.len;

	if (at && authority.ptr[0] == '[') { /* [::1]:80 */
		size_t close = span_find(authority, ']', 0);

		return close < authority.len ? span_make(authority.ptr, close + 1) : authority;
	}
	while (at > 0 && authority.ptr[at - 1] >= '0' && authority.ptr[at - 1] <= '9')
		at--;
	if (at > 0 && authority.ptr[at - 1] == ':')
		return span_make(authority.ptr, at - 1);
	return authority;
}

void exchange_ask(const struct exchange *x, struct route_ask *ask)
{
	const struct location *where = x->snapshot->settings->location;

	*ask = (struct route_ask){.head = &x->request,
		.host = exchange_without_port(x->request.authority),
		.path = x->path,
		.query = x->query,
		.client = x->client_addr,
		.location = where ? location_find(where, x->client_addr) : (struct span){0},
		.room = x->worker->regex_room};
}

/* A client can make an expression explode, if it is one of that kind: whoever wrote it should know.
 */
static void note_gave_up(struct exchange *x, const struct route *r)
{
	atomic_fetch_add_explicit(
		&x->listener->state->regex_gave_up_total, 1, memory_order_relaxed);
	log_event(LOG_WARNING, "route.regex",
		"a route's regular expression takes too many steps on a request: no match",
		F_SPAN("listener", x->listener->name), F_INT("line", r->line),
		F_SPAN("client", x->client_ip));
}

static const struct route *find_route(struct exchange *x)
{
	const struct route *found = x->listener->takes_all;
	struct route_ask ask;

	if (found)
		return found;
	exchange_ask(x, &ask);
	found = routes_find(x->listener->routes, &ask);
	if (ask.gave_up)
		note_gave_up(x, ask.gave_up);
	return found;
}

/* What the request asks that we refuse whoever serves it; 0: nothing. */
static uint16_t refusal(struct exchange *x, enum exchange_end *ret_end)
{
	const struct access *access = &x->listener->access;
	const struct http_head *h = &x->request;

	*ret_end = END_REFUSED;
	if (h->method == HTTP_TRACE || h->method == HTTP_CONNECT)
		return 405;
	if (exchange_seen_in_via(x))
		return 508;
	if (x->client->ssl && tls_misdirected(x->client->ssl, exchange_without_port(h->authority)))
		return 421;
	*ret_end = END_DENIED;
	if ((access->allow_count || access->deny_count) && !access_allows(access, x->client_addr))
		return 403;
	*ret_end = END_NO_ROUTE;
	x->route = find_route(x);
	if (!x->route)
		return 404;
	*ret_end = END_REFUSED;
	if (x->route->content.body_max_bytes && h->framing == HTTP_LENGTH &&
		h->length > x->route->content.body_max_bytes)
		return 413;
	return 0;
}

/* Content is read behind the head. One that leaves little room there, or none, moves to the front
 * or into a large buffer. */
static void settle(struct exchange *x)
{
	struct iobuf **in = &x->client->conn.in;
	struct http_head *h = &x->request;
	bool small = h->framing == HTTP_LENGTH && h->length < HTTP1_TRAILERS_MAX;
	uint64_t wanted = h->head_bytes + (small ? h->length : HTTP1_TRAILERS_MAX);

	while ((*in)->size - (*in)->start < wanted && iobuf_make_room(&x->worker->iobufs, in))
		http_head_move(h, iobuf_span(*in).ptr);
}

void exchange_route(struct exchange *x, const struct route *route)
{
	x->route = route;
	x->timeouts = &route->timeouts;
	x->client->conn.send_ns = x->timeouts->send_ns;
	x->pool = route->pool;
	if (route->action && !exchange_act(x))
		return;
	budget_count_request(&x->pool->state->budget, x->worker->now_ns);
	exchange_choose(x);
}

static void begin(struct exchange *x)
{
	struct client *c = x->client;
	struct http_head *h = &x->request;
	struct http_fault fault;
	enum exchange_end why;
	uint16_t status;

	if (h->framing != HTTP_NO_BODY)
		settle(x);
	x->head_done = true;
	x->head_ns = x->worker->now_ns;
	x->keep_client = h->keep_alive;
	x->body_at = c->conn.in->start + h->head_bytes;
	x->rewindable = true;
	exchange_body_init(&x->request_body, h);
	x->request_done = h->framing == HTTP_NO_BODY;
	conn_deadline(&c->conn, 0);
	http_request_id(x->request_id, worker_wall_ns(x->worker) / NS_PER_MS,
		rng_u64(&x->worker->rng), rng_u64(&x->worker->rng));
	x->has_request_id = true;
	exchange_find_client(x);
	if (h->method != HTTP_CONNECT &&
		http_path(h->target, x->listener->path_mode, x->target_room, sizeof(x->target_room),
			&x->path, &x->query, &fault) != PARSE_DONE) {
		fault.at += (uint32_t)(h->target.ptr - iobuf_span(c->conn.in).ptr);
		exchange_reject(x, &fault);
		return;
	}
	status = refusal(x, &why);
	if (status == 404 && x->listener->redirect_port) {
		exchange_send_to_tls(x);
		return;
	}
	if (status) {
		exchange_answer(x, status, why);
		return;
	}
	exchange_route(x, x->route);
}

void exchange_head_here(struct exchange *x, const struct http_fault *fault)
{
	if (fault)
		exchange_reject(x, fault);
	else
		begin(x);
}

bool exchange_read_head(struct exchange *x)
{
	struct client *c = x->client;
	struct http_fault fault;
	bool first = x->request.scanned == 0 && x->request.at == 0;

	switch (http1_parse_request(
		&x->request, iobuf_span(c->conn.in), &x->listener->limits, &fault)) {
	case PARSE_MORE:
		if (first)
			conn_deadline(&c->conn, x->timeouts->head_ns);
		return false;
	case PARSE_BAD:
		exchange_reject(x, &fault);
		return true;
	case PARSE_DONE:
		begin(x);
		return true;
	}
	return false;
}
