#include "proxy/exchange/h2_server.h"

#include <errno.h>

#include "proxy/exchange/exchange.h"
#include "proxy/exchange/server_tls.h"
#include "proxy/net/h2.h"
#include "proxy/tls/server.h"
#include "proxy/worker.h"

struct h2_server {
	struct conn conn;
	struct list link; /* upstream.shared */
	struct h2 h2;
	struct server *server;
	uint64_t idle_ns;
	uint64_t tls; /* what it is made with: tls_client_id() */
	bool ready;   /* its SETTINGS have come: it speaks HTTP/2, and what it takes is known */
	bool pinged;  /* and not heard since */
	bool leaving;
};

struct server_stream {
	struct server_conn sc;
	struct h2_stream stream;
};

static const struct h2_conf conf = {
	.stream_window = 256 * 1024, .connection_window = 4 << 20, .frame_bytes = 16384};

static struct h2_server *of_h2(struct h2 *h)
{
	return container_of(h, struct h2_server, h2);
}

static struct h2_server *of_conn(struct conn *conn)
{
	return container_of(conn, struct h2_server, conn);
}

static struct server_conn *of_stream(const struct h2_stream *s)
{
	return container_of(s->conn, struct server_conn, conn);
}

/* --- the connection
 * ------------------------------------------------------------------------------------ */

static void give_up(struct h2_server *hs)
{
	if (hs->conn.closing)
		return;
	list_remove(&hs->link);
	list_init(&hs->link);
	hs->h2.over = true;
	h2_abandon(&hs->h2);
	conn_close(&hs->conn);
}

static void set_deadline(struct h2_server *hs)
{
	if (conn_blocked(&hs->conn) || hs->conn.connecting)
		return;
	conn_deadline(&hs->conn, hs->h2.stream_count ? H2_SERVER_SILENT_NS : hs->idle_ns);
}

static void say_goodbye(struct h2_server *hs)
{
	if (hs->leaving)
		return;
	hs->leaving = true;
	list_remove(&hs->link); /* nobody finds it any more */
	list_init(&hs->link);
	h2_say_goodbye(&hs->h2);
}

static void on_readable(struct conn *conn)
{
	struct h2_server *hs = of_conn(conn);
	bool full;

	switch (conn_read(conn, IOBUF_LARGE_BYTES, &full)) {
	case IO_AGAIN:
		return;
	case IO_EOF:
	case IO_ERROR:
		give_up(hs);
		return;
	case IO_OK:
		break;
	}
	hs->pinged = false;
	set_deadline(hs);
	h2_receive(&hs->h2, iobuf_span(conn->in));
	if (!conn->closing)
		conn_drop_in(conn);
}

static struct conn *next_waiting(struct h2_server *hs)
{
	list_each (it, &hs->h2.streams) {
		struct conn *conn = list_item(it, struct h2_stream, link)->conn;

		if (conn->connecting)
			return conn;
	}
	return NULL;
}

/* Those who wait for the connect hear what came of it; each may be gone after that. */
static void tell_waiting(struct h2_server *hs)
{
	struct conn *conn;

	while ((conn = next_waiting(hs)))
		conn->handler->on_writable(conn);
}

/* The socket is connected: TLS is to follow, as those who wait want it. False: nothing more is. */
static bool secure(struct h2_server *hs, int *ret_error)
{
	struct conn *waiting = next_waiting(hs);
	const struct exchange *x;

	ASSERT(waiting); /* else it was given up (on_quiet) */
	x = container_of(waiting, struct server_conn, conn)->exchange;
	if (!x->server_pool->tls)
		return false;
	ASSERT(x->server_pool->tls->id == hs->tls);
	if (server_tls_start(&hs->conn, hs->server, x->server_pool, TLS_HTTP2) == 0)
		return true;
	*ret_error = errno;
	return false;
}

/* RFC 9113 3.2: over TLS it is agreed on, or not spoken. */
static int look_at_tls(const struct h2_server *hs, int error)
{
	const char *why = NULL;

	if (error == EPROTO)
		why = tls_fault(&hs->conn);
	else if (!error && !tls_speaks_h2(tls_of(&hs->conn)))
		why = "it does not speak HTTP/2";
	if (!why)
		return error;
	server_tls_failed(hs->server, why);
	return EPROTO;
}

static void on_connected(struct h2_server *hs)
{
	int error = conn_connect_error(&hs->conn);

	if (hs->conn.transport)
		error = look_at_tls(hs, error);
	else if (!error && secure(hs, &error))
		return;
	hs->h2.connect_error = error;
	if (hs->h2.connect_error) { /* nobody is to find it while they look for another */
		list_remove(&hs->link);
		list_init(&hs->link);
		tell_waiting(hs);
		give_up(hs);
		return;
	}
	hs->conn.connecting = false;
	conn_resume(&hs->conn);
	set_deadline(hs);
	h2_writable(&hs->h2);
}

static void on_writable(struct conn *conn)
{
	struct h2_server *hs = of_conn(conn);

	if (conn->connecting) {
		on_connected(hs);
		return;
	}
	set_deadline(hs);
	h2_writable(&hs->h2);
}

static void on_write_error(struct conn *conn)
{
	give_up(of_conn(conn));
}

static void on_deadline(struct conn *conn)
{
	struct h2_server *hs = of_conn(conn);

	if (conn_blocked(conn)) {
		if (conn_stalled(conn, 0))
			give_up(hs);
	} else if (!hs->h2.stream_count) {
		if (hs->leaving)
			give_up(hs);
		say_goodbye(hs);
	} else if (hs->pinged) {
		give_up(hs);
	} else {
		hs->pinged = true;
		h2_ping(&hs->h2);
		set_deadline(hs);
	}
}

static void free_server(struct conn *conn)
{
	struct h2_server *hs = of_conn(conn);

	atomic_fetch_sub_explicit(&conn->worker->server_conns, 1, memory_order_relaxed);
	h2_fini(&hs->h2);
	free(hs);
}

static const struct conn_handler handler = {
	.on_readable = on_readable,
	.on_writable = on_writable,
	.on_write_error = on_write_error,
	.on_deadline = on_deadline,
	.free = free_server,
};

/* --- its streams
 * --------------------------------------------------------------------------------------- */

/* It has not looked at this request. A server that says goodbye, as one does that is restarted, or
 * whose connection is old, takes it over a new connection; said again there, it is a refusal. */
static void refused(const struct h2_stream *s, struct exchange *x)
{
	bool goodbye = s->h2 && !h2_takes_more(s->h2) && !x->fresh_only;

	x->head_sent = false;
	exchange_failed(x, goodbye ? RETRY_WENT_STALE : RETRY_UNCONNECTED, 502, END_SERVER_CUT);
}

/* Reset by the server, or lost with the connection. */
static void on_reset(struct h2_stream *s, struct server_conn *sc)
{
	struct exchange *x = sc->exchange;

	if (s->code == NGHTTP2_REFUSED_STREAM && !x->response_head_done) {
		refused(s, x);
		return;
	}
	if (!s->lost)
		x->reused = false; /* it is there, and does not want this one */
	if (s->in_end && x->request_done)
		return; /* all is said */
	exchange_server_deaf(x);
	if (sc->exchange && sc->conn.reading)
		exchange_server_readable(x);
}

static void on_event(struct h2_stream *s)
{
	struct server_conn *sc = of_stream(s);
	struct conn *conn = s->conn;

	if (conn->closing || !sc->exchange)
		return;
	if (conn->connecting) {
		exchange_server_connect_failed(sc->exchange, ECONNRESET);
		return;
	}
	if (s->head == H2_HEAD_HERE) {
		s->head = H2_HEAD_TAKEN;
		exchange_server_head(
			sc->exchange, s->reader.fault.status ? &s->reader.fault : NULL);
	}
	if (conn->closing || !sc->exchange)
		return;
	if (conn->reading && !conn->eof && (s->in.len || s->in_end))
		conn->handler->on_readable(conn);
	if (!conn->closing && sc->exchange && s->reset)
		on_reset(s, sc);
}

/* How many requests it takes at a time, as far as is known. */
static uint32_t streams_max(const struct h2_server *hs)
{
	uint32_t known = hs->conn.worker->upstreams[hs->server->slot].streams_max;
	uint32_t max = hs->ready || !known ? h2_streams_max(&hs->h2) : known;

	return max < H2_SERVER_STREAMS_MAX ? max : H2_SERVER_STREAMS_MAX;
}

static bool has_room(const struct h2_server *hs)
{
	return !hs->leaving && !hs->conn.closing && h2_takes_more(&hs->h2) &&
	       hs->h2.stream_count < streams_max(hs);
}

static struct h2_server *find(
	struct worker *w, struct server *s, const struct exchange *x, bool ready)
{
	uint64_t tls = tls_client_id(x->server_pool->tls);
	struct upstream *u = &w->upstreams[s->slot];

	if (u->server != s)
		return NULL;
	list_each (it, &u->shared) {
		struct h2_server *hs = list_item(it, struct h2_server, link);

		if (hs->ready == ready && hs->tls == tls && has_room(hs))
			return hs;
	}
	return NULL;
}

static const struct h2_role role;

static struct h2_server *connect_server(struct worker *w, struct server *s, struct exchange *x)
{
	struct h2_server *hs = calloc(1, sizeof(*hs));
	int fd, error;

	if (!hs)
		return NULL;
	fd = upstream_open(s, false);
	if (fd < 0) {
		error = errno;
		free(hs);
		errno = error;
		return NULL;
	}
	conn_init(&hs->conn, w, &handler, fd);
	hs->conn.send_ns = x->timeouts->send_ns;
	hs->server = s;
	hs->tls = tls_client_id(x->server_pool->tls);
	list_init(&hs->link);
	conn_start_connecting(&hs->conn);
	atomic_fetch_add_explicit(&w->server_conns, 1, memory_order_relaxed);
	if (h2_init(&hs->h2, &role, &hs->conn, &conf, &exchange_response_limits) < 0) {
		conn_close(&hs->conn);
		errno = ENOMEM;
		return NULL;
	}
	if (w->upstreams[s->slot].server == s)
		list_append(&w->upstreams[s->slot].shared, &hs->link);
	return hs;
}

/* More of them wait than it takes at a time, which nobody knew: the others go on over connections
 * of their own. Of one that takes none, for now, they stay. */
static void share_out(struct h2_server *hs)
{
	uint32_t max = streams_max(hs);

	while (max && hs->h2.stream_count > max) {
		struct h2_stream *s = list_item(hs->h2.streams.prev, struct h2_stream, link);
		struct exchange *x = of_stream(s)->exchange;
		struct h2_server *to;

		if (!x || !s->conn->connecting)
			return;
		to = find(hs->conn.worker, hs->server, x, false);
		if (!to)
			to = connect_server(hs->conn.worker, hs->server, x);
		if (!to)
			return;
		to->idle_ns = hs->idle_ns;
		h2_stream_move(s, &to->h2);
	}
}

/* Its SETTINGS have come. */
static void on_greeted(struct h2_server *hs)
{
	hs->ready = true;
	hs->conn.worker->upstreams[hs->server->slot].streams_max = h2_streams_max(&hs->h2);
	share_out(hs);
	tell_waiting(hs);
}

static void on_quiet(struct h2 *h)
{
	struct h2_server *hs = of_h2(h);

	h->ponged = false;
	if (h->greeted && !hs->ready)
		on_greeted(hs);
	h->greeted = false;
	if (h->stream_count)
		return;
	if (!hs->ready)
		give_up(hs); /* who wanted it waits no more */
	else if (hs->conn.worker->stopping)
		say_goodbye(hs);
	else
		set_deadline(hs);
}

static void on_end(struct h2 *h)
{
	give_up(of_h2(h));
}

static const struct h2_role role = {
	.on_event = on_event,
	.on_quiet = on_quiet,
	.on_over = on_end,
	.on_broken = on_end,
};

static struct server_conn *add_stream(struct h2_server *hs, struct exchange *x)
{
	struct server_stream *ss = malloc(sizeof(*ss));

	if (!ss)
		return NULL;
	hs->idle_ns = x->timeouts->server_idle_ns;
	upstream_init_stream(&ss->sc, hs->conn.worker, hs->server, x);
	h2_stream_init(&ss->stream, &hs->h2, &ss->sc.conn, 0);
	return &ss->sc;
}

struct server_conn *h2_server_take(struct worker *w, struct server *s, struct exchange *x)
{
	struct h2_server *hs = find(w, s, x, true);
	struct server_conn *sc = hs ? add_stream(hs, x) : NULL;

	if (!sc)
		return NULL;
	set_deadline(hs);
	conn_start(&sc->conn);
	return sc;
}

struct server_conn *h2_server_connect(
	struct worker *w, struct server *s, struct exchange *x, uint64_t timeout_ns)
{
	struct h2_server *hs = find(w, s, x, false);
	struct server_conn *sc;

	if (!hs)
		hs = connect_server(w, s, x);
	if (!hs)
		return NULL;
	sc = add_stream(hs, x);
	if (!sc)
		return NULL;
	sc->conn.connecting = true;
	conn_deadline(&sc->conn, timeout_ns);
	return sc;
}

const struct server *h2_server_of(const struct upstream *u)
{
	return list_empty(&u->shared) ? NULL
				      : list_item(u->shared.next, struct h2_server, link)->server;
}

void h2_server_free_stream(struct server_conn *sc)
{
	free(container_of(sc, struct server_stream, sc));
}

void h2_server_drain_all(struct upstream *u)
{
	while (!list_empty(&u->shared)) {
		struct h2_server *hs = list_item(u->shared.next, struct h2_server, link);

		if (hs->h2.stream_count)
			say_goodbye(hs);
		else
			give_up(hs);
	}
}
