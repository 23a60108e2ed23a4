#include "proxy/exchange/h2_client.h"

#include "proxy/exchange/exchange.h"
#include "proxy/net/h2.h"
#include "proxy/worker.h"

/* In which a client that was told to go may still begin requests, if its ping does not come back
 * sooner. */
#define LAST_REQUESTS_NS (1 * NS_PER_S)

struct h2_client {
	struct h2 h2;
	struct client *client;
	enum { SERVING, WARNED, LEAVING } state;
};

struct stream_client {
	struct client client;
	struct h2_stream stream;
};

static struct h2_client *of_h2(struct h2 *h)
{
	return container_of(h, struct h2_client, h2);
}

static struct client *of_conn(struct conn *conn)
{
	return container_of(conn, struct client, conn);
}

static const struct timeouts *timeouts_of(const struct client *c)
{
	return &c->acceptor->listener->timeouts;
}

bool h2_client_busy(const struct client *c)
{
	return c->h2->h2.stream_count > 0;
}

/* --- the time
 * ----------------------------------------------------------------------------------------- */

static void set_idle_deadline(struct client *c)
{
	const struct h2_client *hc = c->h2;

	if (conn_blocked(&c->conn)) /* its send deadline runs */
		return;
	if (hc->state == WARNED)
		return;
	if (h2_client_busy(c)) {
		conn_deadline(&c->conn, 0);
		return;
	}
	if (!c->conn.timer.deadline_ns) {
		c->silent_since_ns = c->conn.worker->now_ns;
		conn_deadline(&c->conn, client_idle_ns(c, timeouts_of(c)->h2_idle_ns));
	}
}

static void leave(struct h2_client *hc)
{
	if (hc->state == LEAVING)
		return;
	hc->state = LEAVING;
	if (!conn_blocked(&hc->client->conn))
		conn_deadline(&hc->client->conn, 0);
	h2_say_goodbye(&hc->h2);
}

void h2_client_drain(struct client *c)
{
	if (c->h2->state != SERVING)
		return;
	c->h2->state = WARNED;
	h2_warn(&c->h2->h2);
	if (!conn_blocked(&c->conn))
		conn_deadline(&c->conn, LAST_REQUESTS_NS);
}

static void on_quiet(struct h2 *h)
{
	struct h2_client *hc = of_h2(h);

	if (hc->state == WARNED && h->ponged)
		leave(hc);
	h->ponged = h->greeted = false;
	set_idle_deadline(hc->client);
}

/* --- the streams
 * --------------------------------------------------------------------------------------- */

static struct h2_stream *on_request(struct h2 *h, int32_t id)
{
	struct client *over = of_h2(h)->client, *c;
	struct acceptor *a = over->acceptor;
	struct stream_client *sc = malloc(sizeof(*sc));

	if (!sc)
		return NULL;
	c = &sc->client;
	conn_init(&c->conn, a->worker, &client_handler, -1);
	c->conn.send_ns = a->listener->timeouts.send_ns;
	c->acceptor = a;
	c->addr = over->addr;
	c->ssl = over->ssl;
	c->claim = over->claim;
	c->cert_fields = over->cert_fields;
	c->ip_len = 0;
	c->state = CLIENT_OPEN;
	c->running = c->held_back = c->linger = c->counted = false;
	c->asked = true;
	c->h2 = NULL;
	c->over = over;
	client_listed_init(&c->listed);
	list_init(&c->link);
	c->exchange = exchange_new(c);
	if (!c->exchange) {
		free(sc);
		return NULL;
	}
	h2_stream_init(&sc->stream, h, &c->conn, id);
	http2_read_start(
		&sc->stream.reader, HTTP2_REQUEST, &c->exchange->request, &a->listener->limits);
	conn_start(&c->conn);
	conn_deadline(&c->conn, timeouts_of(c)->head_ns);
	client_has_asked(over);
	set_idle_deadline(over);
	return &sc->stream;
}

static void begin(struct h2_stream *s, struct client *c)
{
	struct conn *conn = &c->conn;

	s->head = H2_HEAD_TAKEN;
	conn->eof = s->in_end && !s->in.len;
	exchange_head_here(c->exchange, s->reader.fault.status ? &s->reader.fault : NULL);
}

static void on_event(struct h2_stream *s)
{
	struct conn *conn = s->conn;
	struct client *c = of_conn(conn);

	if (conn->closing)
		return;
	if (s->reset || (s->closed && !c->exchange)) {
		client_close(c);
		return;
	}
	if (s->head == H2_HEAD_HERE)
		begin(s, c);
	if (!conn->closing && conn->reading && !conn->eof && (s->in.len || s->in_end))
		conn->handler->on_readable(conn);
}

void h2_client_answered(struct client *c)
{
	const struct h2_stream *s = c->conn.layer;

	h2_send_end(&c->conn, span_make(NULL, 0)); /* of a tunnel; else it was said before */
	c->conn.handler = &client_handler;
	conn_pause(&c->conn);
	conn_drop_in(&c->conn);
	if (s->closed)
		conn_close(&c->conn);
	else /* its end may wait for a window, which nobody has to open */
		conn_deadline(&c->conn, c->conn.send_ns);
}

void h2_client_free_stream(struct client *c)
{
	ASSERT(!c->exchange);
	free(container_of(c, struct stream_client, client));
}

/* --- the connection
 * ------------------------------------------------------------------------------------ */

static void on_over(struct h2 *h)
{
	struct client *c = of_h2(h)->client;

	c->conn.handler = &client_handler;
	h2_abandon(h);
	client_say_goodbye(c, true);
}

static void on_broken(struct h2 *h)
{
	client_close(of_h2(h)->client);
}

static const struct h2_role role = {
	.server = true,
	.on_request = on_request,
	.on_event = on_event,
	.on_quiet = on_quiet,
	.on_over = on_over,
	.on_broken = on_broken,
};

static void take_input(struct client *c)
{
	h2_receive(&c->h2->h2, iobuf_span(c->conn.in));
	if (!c->conn.closing)
		conn_drop_in(&c->conn);
}

static void on_readable(struct conn *conn)
{
	struct client *c = of_conn(conn);
	bool full;

	switch (conn_read(conn, IOBUF_SMALL_BYTES, &full)) {
	case IO_AGAIN:
		return;
	case IO_EOF:
	case IO_ERROR:
		client_close(c);
		return;
	case IO_OK:
		take_input(c);
		return;
	}
}

static void on_writable(struct conn *conn)
{
	struct client *c = of_conn(conn);

	conn_deadline(conn, c->h2->state == WARNED ? LAST_REQUESTS_NS : 0);
	set_idle_deadline(c);
	h2_writable(&c->h2->h2);
}

static void on_write_error(struct conn *conn)
{
	client_close(of_conn(conn));
}

static void on_deadline(struct conn *conn)
{
	struct client *c = of_conn(conn);

	if (conn_blocked(conn)) {
		if (conn_stalled(conn, c->acceptor->listener->content.send_rate))
			client_close(c);
	} else if (!c->asked || c->h2->state == LEAVING) {
		client_close(c);
	} else { /* idle for long enough, or the last requests have come */
		leave(c->h2);
	}
}

static const struct conn_handler handler = {
	.on_readable = on_readable,
	.on_writable = on_writable,
	.on_write_error = on_write_error,
	.on_deadline = on_deadline,
	.free = client_free,
};

void h2_client_start(struct client *c)
{
	const struct listener *l = c->acceptor->listener;
	struct h2_client *hc = malloc(sizeof(*hc));

	if (!hc || h2_init(&hc->h2, &role, &c->conn, &l->h2_conf, &l->limits) < 0) {
		free(hc);
		client_close(c);
		return;
	}
	hc->client = c;
	hc->state = SERVING;
	c->h2 = hc;
	c->conn.handler = &handler;
	atomic_fetch_add_explicit(&l->state->h2_connections, 1, memory_order_relaxed);
	if (client_is_leaving(c))
		h2_client_drain(c);
	if (c->conn.in)
		take_input(c);
	if (!c->conn.closing)
		conn_resume(&c->conn);
}

void h2_client_abandon(struct client *c)
{
	c->h2->h2.over = true;
	h2_abandon(&c->h2->h2);
}

void h2_client_free(struct client *c)
{
	struct listener_state *state = c->acceptor->listener->state;

	atomic_fetch_sub_explicit(&state->h2_connections, 1, memory_order_relaxed);
	if (c->h2->h2.overspent)
		atomic_fetch_add_explicit(&state->h2_floods_total, 1, memory_order_relaxed);
	h2_fini(&c->h2->h2);
	free(c->h2);
}
