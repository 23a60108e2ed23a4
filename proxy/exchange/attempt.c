/*
 * A try at a server: choosing one, reaching it, and after a failure another one, where retry.c and
 * the pool's budget allow it.
 */
#include "proxy/exchange/exchange.h"

#include <errno.h>

#include "proxy/exchange/tunnel.h"
#include "proxy/worker.h"

static bool hash_key(const struct exchange *x, uint64_t *ret_key)
{
	struct route_ask ask;

	exchange_ask(x, &ask);
	return exchange_hash_key(&ask, &x->pool->hash, ret_key);
}

/* Once for each request: every field is written, and none twice. */
static inline void ask_for(const struct exchange *x, struct pick *ask)
{
	ask->tried = x->tried;
	ask->tried_count = x->tried_count;
	ask->now_ns = x->worker->now_ns;
	ask->rng = &x->worker->rng;
	ask->has_key = x->pool->balance == BALANCE_HASH && hash_key(x, &ask->key);
	ask->sticky = x->pool->sticky.cookie.len ? exchange_sticky(x) : 0;
}

/* Servers may have come or gone since it began: it chooses among those of now. What it has tried is
 * compared with them and no more. */
static void keep_up(struct exchange *x)
{
	struct snapshot *now = x->worker->snapshot;

	if (x->snapshot == now || x->snapshot->settings != now->settings || x->server)
		return;
	snapshot_unref(x->snapshot);
	x->snapshot = snapshot_ref(now);
}

/* The servers to choose from: the pool's, or with none of these those of the one that stands in. */
static const struct pool_view *view_of(struct exchange *x)
{
	const struct pool_view *v;

	keep_up(x);
	v = x->snapshot->views[x->pool->index];
	while (v->count == 0 && x->pool->stand_in) { /* not in a circle: conf_rules.c */
		x->pool = x->pool->stand_in;
		v = x->snapshot->views[x->pool->index];
	}
	return v;
}

/* NULL: all that could be used are full, or others are in line for them already. */
static struct server *take(const struct exchange *x, const struct pool_view *v, struct pick *what)
{
	struct pool_queue *q = &x->pool->state->queue;

	/* Who is bound to a server stands behind those who wait for it; the others go past them. */
	if (x->pool->limits.per_server && (what->sticky ? queue_length(q) : queue_unbound(q)) > 0)
		return NULL;
	return pool_take(v, what);
}

/* After NULL of take(): it is a matter of waiting. */
static bool is_full(const struct exchange *x, const struct pool_view *v, struct pick *what)
{
	return x->pool->limits.per_server && pool_prefer(v, what);
}

static void take_server(struct exchange *x, struct server *s)
{
	ASSERT(!x->server && x->tried_count < EXCHANGE_TRIED_MAX);
	x->server = s;
	x->server_pool = x->pool;
	x->chosen_ns = x->worker->now_ns;
	x->tried[x->tried_count++] = s;
}

/* The view of a pool that is the newest: those of a replaced snapshot are not made anew. */
static const struct pool_view *newest_view(const struct exchange *x, const struct pool *p)
{
	const struct snapshot *now = x->worker->snapshot;

	for (unsigned i = 0; x->snapshot != now && i < now->settings->pool_count; i++)
		if (now->settings->pools[i].state == p->state)
			return now->views[i];
	return x->snapshot->views[p->index];
}

void exchange_give_back(struct exchange *x, const struct pool *p, struct server *s)
{
	pool_release(newest_view(x, p), s);
}

void exchange_release_server(struct exchange *x, bool reusable)
{
	struct server_conn *sc = x->upstream;
	struct server *s = x->server;

	x->upstream = NULL;
	x->server = NULL;
	if (sc && reusable && x->server_idle_ns && !x->server_pool->send_proxy)
		upstream_release(sc, x->server_idle_ns);
	else if (sc)
		upstream_discard(sc);
	if (x->tunnel)
		atomic_fetch_sub_explicit(&s->sessions, 1, memory_order_relaxed);
	exchange_give_back(x, x->server_pool, s);
}

/* May it be tried again after this failure, which is counted then? *ret_server is the server for
 * it; NULL: all are full, wait for one. */
static bool find_next(struct exchange *x, enum retry_failure what, struct server **ret_server)
{
	const struct retry_case failed = {
		.failure = what,
		.status = x->response.status,
		.method = x->request.method,
		.sent = x->head_sent,
		.held = x->rewindable,
		.others = x->tried_count > 0 ? x->tried_count - 1U : 0,
	};
	const struct pool_view *v;
	struct server *s;
	struct pick ask;

	if (!retry_allowed(&x->pool->retry, &failed))
		return false;
	v = view_of(x);
	ask_for(x, &ask);
	s = take(x, v, &ask);
	/* An answer that is here is better than one that may come after a wait. */
	if (!s && (what == RETRY_STATUS || !is_full(x, v, &ask)))
		return false;
	/* A kept connection that was closed says nothing of a server in trouble, and it happens at
	 * most once to a request: no storm comes of it. */
	if (what != RETRY_WENT_STALE &&
		!budget_take_retry(&x->pool->state->budget, x->worker->now_ns)) {
		atomic_fetch_add_explicit(
			&x->pool->state->retries_denied_total, 1, memory_order_relaxed);
		if (s)
			pool_release(v, s);
		return false;
	}
	atomic_fetch_add_explicit(&x->pool->state->retries_total, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&x->pool->state->retries_by[retry_reason(what, failed.status)], 1,
		memory_order_relaxed);
	x->retries++;
	*ret_server = s;
	return true;
}

/* The request is to be sent again from its start. */
static void rewind_request(struct exchange *x)
{
	struct conn *c = &x->client->conn;

	ASSERT(x->rewindable && !x->response_started);
	if (x->plain) /* it has not begun */
		return;
	x->body_at = c->in->start + x->request.head_bytes;
	exchange_body_init(&x->request_body, &x->request);
	x->request_done = x->request.framing == HTTP_NO_BODY;
	x->keep_client = x->request.keep_alive;
	x->bytes_in = x->pace.bytes_before = 0;
	x->head_sent = x->heard = x->deaf = x->waits_for_body = false;
	http_head_init(&x->response);
	if (!conn_blocked(c)) /* else its send deadline runs */
		conn_deadline(c, 0);
}

static void report_failure(struct exchange *x, enum server_outcome outcome)
{
	server_report(x->server, outcome);
	server_add_phantom(x->server, x->worker->now_ns);
	if (x->server_pool->limits.per_server)
		server_suspect(x->server);
}

void exchange_server_broke(struct exchange *x)
{
	report_failure(x, SERVER_BROKE);
}

static void report_unconnected(struct exchange *x, int error)
{
	/* It is we who are out of something, and that is not the server's fault. */
	if (error == EMFILE || error == ENFILE || error == ENOMEM || error == EADDRNOTAVAIL)
		return;
	if (error == EPROTO)
		report_failure(x, SERVER_TLS);
	else
		report_failure(x, error == ECONNREFUSED ? SERVER_REFUSED : SERVER_UNREACHABLE);
}

/* Connected to it, or on the way there; -1: failed at once, and it was let go of. */
static int reach(struct exchange *x, struct server *s)
{
	take_server(x, s);
	x->upstream = x->fresh_only || x->plain || x->pool->send_proxy
			      ? NULL
			      : upstream_take(x->worker, s, x);
	x->reused = x->upstream != NULL;
	if (!x->reused)
		x->upstream = upstream_connect(x->worker, s, x, x->timeouts->connect_ns);
	if (!x->upstream) {
		report_unconnected(x, errno);
		exchange_release_server(x, false);
		return -1;
	}
	x->upstream->conn.send_ns = x->timeouts->send_ns;
	if (x->reused)
		exchange_send_request(x);
	return 0;
}

/* s as find_next() gave it. */
static void go_on(struct exchange *x, struct server *s)
{
	const struct pool_view *v;
	struct pick ask;

	while (s) {
		if (reach(x, s) == 0)
			return;
		if (!find_next(x, RETRY_UNCONNECTED, &s)) {
			exchange_answer(x, 502, END_CONNECT_FAILED);
			return;
		}
	}
	v = view_of(x);
	ask_for(x, &ask);
	exchange_wait(x, v, &ask);
}

void exchange_go_to(struct exchange *x, struct server *s)
{
	ASSERT(s);
	go_on(x, s);
}

void exchange_choose(struct exchange *x)
{
	const struct pool_view *v = view_of(x);
	struct server *s;
	struct pick ask;

	ask_for(x, &ask);
	s = take(x, v, &ask);
	if (s)
		go_on(x, s);
	else if (is_full(x, v, &ask))
		exchange_wait(x, v, &ask);
	else
		exchange_answer(x, 503, END_NO_SERVER);
}

void exchange_retry(struct exchange *x, struct server *s, bool reusable)
{
	if (x->server)
		exchange_release_server(x, reusable);
	rewind_request(x);
	go_on(x, s);
}

void exchange_failed(
	struct exchange *x, enum retry_failure what, uint16_t status, enum exchange_end why)
{
	struct server *s;

	exchange_release_server(x, false);
	if (what == RETRY_WENT_STALE) {
		/* The server closed a connection that it was free to close: not its failure. It may
		 * serve again, over a new connection. */
		x->fresh_only = true;
		x->tried_count--;
	}
	if (find_next(x, what, &s))
		exchange_retry(x, s, false);
	else
		exchange_answer(x, status, why);
}

/* A server closes what was idle for as long as it says; a second less, and no request meets that.
 */
static uint64_t idle_time(const struct exchange *x)
{
	uint64_t own_ns = x->timeouts->server_idle_ns, said_s;

	if (!http_keep_alive_timeout(&x->response, &said_s))
		return own_ns;
	if (said_s <= 1)
		return 0;
	return (said_s - 1) * NS_PER_S < own_ns ? (said_s - 1) * NS_PER_S : own_ns;
}

/* It is there, but does not serve. Of a 500 nobody can say whether it is the request's fault; where
 * it is worth another server to the pool, it is this server's. */
static bool is_failure(const struct exchange *x, uint16_t status)
{
	return (status >= 502 && status <= 504) ||
	       (status == 500 && x->server_pool->retry.on & RETRY_ON_500);
}

void exchange_server_answered(struct exchange *x)
{
	uint16_t status = x->response.status;

	if (is_failure(x, status)) {
		server_report(x->server, SERVER_BROKE);
		server_add_phantom(x->server, x->worker->now_ns);
	} else {
		server_report(x->server, SERVER_OK);
		/* An error may be quick, and is no reason to come again. */
		if (x->server_pool->balance == BALANCE_LEAST_TIME && status < 500)
			server_answer_took(
				x->server, x->worker->now_ns - x->connected_ns, x->worker->now_ns);
	}
	timings_add(x->server_pool->state->first_bytes, x->worker->index,
		x->worker->now_ns - x->connected_ns);
	x->server_idle_ns = idle_time(x);
}

struct server *exchange_find_better(struct exchange *x)
{
	struct server *s;

	/* Most answers, and most pools, end here. */
	if (!(x->pool->retry.on & retry_status_bit(x->response.status)))
		return NULL;
	return find_next(x, RETRY_STATUS, &s) ? s : NULL;
}

void exchange_server_connect_failed(struct exchange *x, int error)
{
	report_unconnected(x, error);
	if (error == ETIMEDOUT)
		exchange_failed(x, RETRY_UNCONNECTED, 504, END_CONNECT_TIMEOUT);
	else if (error == EPROTO)
		exchange_failed(x, RETRY_UNCONNECTED, 502, END_SERVER_TLS);
	else
		exchange_failed(x, RETRY_UNCONNECTED, 502, END_CONNECT_FAILED);
}

void exchange_server_connected(struct exchange *x)
{
	timings_add(x->server_pool->state->connects, x->worker->index,
		x->worker->now_ns - x->chosen_ns);
	if (x->plain)
		tunnel_open(x);
	else
		exchange_send_request(x);
}

void exchange_server_timeout(struct exchange *x)
{
	exchange_server_broke(x);
	if (x->response_started)
		exchange_cut(x, END_SERVER_TIMEOUT_BODY);
	else
		exchange_failed(x, RETRY_TOO_SLOW, 504, END_SERVER_TIMEOUT_HEAD);
}
