/*
 * A try at a server: choosing one, reaching it, and after a failure another one, where retry.c and
 * the pool's budget allow it.
 */
#include "proxy/exchange/exchange.h"

#include <errno.h>

#include "proxy/worker.h"

static struct server *pick(const struct exchange *x)
{
	return pool_pick(x->snapshot->views[x->route->pool->index], x->tried, x->tried_count,
		&x->worker->rng);
}

static void take_server(struct exchange *x, struct server *s)
{
	ASSERT(!x->server && x->tried_count < EXCHANGE_TRIED_MAX);
	x->server = s;
	x->chosen_ns = x->worker->now_ns;
	atomic_fetch_add_explicit(&s->in_flight, 1, memory_order_relaxed);
	x->tried[x->tried_count++] = s;
}

void exchange_release_server(struct exchange *x, bool reusable)
{
	struct server_conn *sc = x->upstream;

	x->upstream = NULL;
	if (sc && reusable && x->server_idle_ns)
		upstream_release(sc, x->server_idle_ns);
	else if (sc)
		upstream_discard(sc);
	atomic_fetch_sub_explicit(&x->server->in_flight, 1, memory_order_relaxed);
	x->server = NULL;
}

/* The server for another try after this failure, which is counted; NULL: none, or not allowed. */
static struct server *find_next(struct exchange *x, enum retry_failure what)
{
	const struct pool *p = x->route->pool;
	const struct retry_case failed = {
		.failure = what,
		.status = x->response.status,
		.method = x->request.method,
		.sent = x->head_sent,
		.held = x->rewindable,
		.retries = x->retries,
	};
	struct server *s = retry_allowed(&p->retry, &failed) ? pick(x) : NULL;

	if (!s)
		return NULL;
	/* A kept connection that was closed says nothing of a server in trouble, and it happens at
	 * most once to a request: no storm comes of it. */
	if (what != RETRY_WENT_STALE && !budget_take_retry(&p->state->budget, x->worker->now_ns)) {
		atomic_fetch_add_explicit(&p->state->retries_denied_total, 1, memory_order_relaxed);
		return NULL;
	}
	atomic_fetch_add_explicit(&p->state->retries_total, 1, memory_order_relaxed);
	x->retries++;
	return s;
}

/* The request is to be sent again from its start. */
static void rewind_request(struct exchange *x)
{
	struct conn *c = &x->client->conn;

	ASSERT(x->rewindable && !x->response_started);
	x->body_at = c->in->start + x->request.head_bytes;
	http1_body_init(&x->request_body, x->request.framing, x->request.length);
	x->request_done = x->request.framing == HTTP_NO_BODY;
	x->keep_client = x->request.keep_alive;
	x->bytes_in = x->pace.bytes_before = 0;
	x->head_sent = x->heard = x->deaf = x->waits_for_body = false;
	http_head_init(&x->response);
	if (!conn_blocked(c)) /* else its send deadline runs */
		conn_deadline(c, 0);
}

static void report_unconnected(struct server *s, int error)
{
	/* It is we who are out of something, and that is not the server's fault. */
	if (error == EMFILE || error == ENFILE || error == ENOMEM || error == EADDRNOTAVAIL)
		return;
	server_report(s, error == ECONNREFUSED ? SERVER_REFUSED : SERVER_UNREACHABLE);
}

static void go_to(struct exchange *x, struct server *s)
{
	/* A loop: connecting may fail at once, and then the next server is asked. */
	for (; s; s = find_next(x, RETRY_UNCONNECTED)) {
		take_server(x, s);
		x->upstream = x->fresh_only ? NULL : upstream_take(x->worker, s, x);
		x->reused = x->upstream != NULL;
		if (x->reused) {
			exchange_send_request(x);
			return;
		}
		x->upstream = upstream_connect(x->worker, s, x, x->timeouts->connect_ns);
		if (x->upstream) {
			x->upstream->conn.send_ns = x->timeouts->send_ns;
			return;
		}
		report_unconnected(s, errno);
		exchange_release_server(x, false);
	}
	exchange_answer(x, 502, END_CONNECT_FAILED);
}

void exchange_choose(struct exchange *x)
{
	struct server *s = pick(x);

	if (s)
		go_to(x, s);
	else
		exchange_answer(x, 503, END_NO_SERVER);
}

void exchange_retry(struct exchange *x, struct server *s, bool reusable)
{
	if (x->server)
		exchange_release_server(x, reusable);
	rewind_request(x);
	go_to(x, s);
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
	s = find_next(x, what);
	if (s)
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

void exchange_server_answered(struct exchange *x)
{
	server_report(x->server, SERVER_OK);
	x->server_idle_ns = idle_time(x);
}

struct server *exchange_find_better(struct exchange *x)
{
	/* Most answers, and most pools, end here. */
	if (!(x->route->pool->retry.on & retry_status_bit(x->response.status)))
		return NULL;
	return find_next(x, RETRY_STATUS);
}

void exchange_server_connect_failed(struct exchange *x, int error)
{
	report_unconnected(x->server, error);
	if (error == ETIMEDOUT)
		exchange_failed(x, RETRY_UNCONNECTED, 504, END_CONNECT_TIMEOUT);
	else
		exchange_failed(x, RETRY_UNCONNECTED, 502, END_CONNECT_FAILED);
}

void exchange_server_connected(struct exchange *x)
{
	exchange_send_request(x);
}

void exchange_server_timeout(struct exchange *x)
{
	server_report(x->server, SERVER_BROKE);
	if (x->response_started)
		exchange_cut(x, END_SERVER_TIMEOUT_BODY);
	else
		exchange_failed(x, RETRY_TOO_SLOW, 504, END_SERVER_TIMEOUT_HEAD);
}
