#include "proxy/exchange/upstream.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/exchange/exchange.h"
#include "proxy/exchange/h2_server.h"
#include "proxy/exchange/server_tls.h"
#include "proxy/net/rawio.h"
#include "proxy/worker.h"
#include "shared/log.h"

static struct server_conn *server_conn_of(struct conn *c)
{
	return container_of(c, struct server_conn, conn);
}

static void close_idle(struct server_conn *sc)
{
	struct upstream *u = &sc->conn.worker->upstreams[sc->server->slot];

	list_remove(&sc->link);
	ASSERT(u->idle_count > 0);
	u->idle_count--;
	conn_close(&sc->conn);
}

/* Of TLS alone: a ticket, a new key. */
static bool says_nothing(struct conn *conn)
{
	bool full;

	return conn->transport && conn_read(conn, IOBUF_SMALL_BYTES, &full) == IO_AGAIN;
}

static void on_readable(struct conn *conn)
{
	struct server_conn *sc = server_conn_of(conn);

	if (sc->exchange)
		exchange_server_readable(sc->exchange);
	else if (!says_nothing(conn))
		close_idle(sc); /* closed by the server, or bytes that nobody asked for */
}

/* Where the pool wants it, the server hears whose connection it is before anything else. An empty
 * socket takes all of it. */
static int announce(struct server_conn *sc)
{
	const struct client *c = sc->exchange->client;
	enum proxy_version version = sc->exchange->server_pool->send_proxy;
	char header[PROXY_HEADER_OUT_MAX];
	struct addr local;
	size_t len;
	ssize_t n;

	if (!version || sc->stream)
		return 0;
	client_local(c, &local);
	len = proxy_header_write(header, version, &c->addr, &local);
	n = raw_send(sc->conn.fd, header, len);
	if (n >= 0 && (size_t)n < len)
		errno = ENOBUFS;
	return n == (ssize_t)len ? 0 : -1;
}

/* The socket is connected. 1: TLS is on its way; -1 with errno. */
static int begin(struct server_conn *sc)
{
	const struct exchange *x = sc->exchange;

	if (announce(sc) < 0)
		return -1;
	if (!x->server_pool->tls)
		return 0;
	sc->tls = x->server_pool->tls->id;
	return server_tls_start(&sc->conn, sc->server, x->server_pool,
		       x->plain ? TLS_ANY_PROTOCOL : TLS_HTTP1) < 0
		       ? -1
		       : 1;
}

static void connect_failed(struct server_conn *sc, int error)
{
	if (error == EPROTO && !sc->stream) /* else it was told of the connection */
		server_tls_failed(sc->server, tls_fault(&sc->conn));
	exchange_server_connect_failed(sc->exchange, error);
}

static void on_writable(struct conn *conn)
{
	struct server_conn *sc = server_conn_of(conn);
	int error, rc = 0;

	if (!sc->exchange)
		return;
	if (!conn->connecting) {
		exchange_server_drained(sc->exchange);
		return;
	}
	conn->connecting = false;
	error = conn_connect_error(conn);
	if (!error && !conn->transport) {
		rc = begin(sc);
		error = rc < 0 ? errno : 0;
	}
	if (error) {
		connect_failed(sc, error);
		return;
	}
	if (rc > 0)
		return;
	conn_deadline(conn, 0);
	conn_start(conn);
	exchange_server_connected(sc->exchange);
}

static void on_write_error(struct conn *conn)
{
	struct server_conn *sc = server_conn_of(conn);

	if (sc->exchange)
		exchange_server_deaf(sc->exchange);
	else
		close_idle(sc);
}

static void on_deadline(struct conn *conn)
{
	struct server_conn *sc = server_conn_of(conn);

	if (!sc->exchange) {
		conn->worker->upstreams[sc->server->slot].idle_wanted /= 2;
		close_idle(sc);
	} else if (conn->connecting)
		exchange_server_connect_failed(sc->exchange, ETIMEDOUT);
	else if (!conn_blocked(conn) || conn_stalled(conn, 0))
		exchange_server_timeout(sc->exchange);
}

void server_conn_free(struct conn *conn)
{
	struct server_conn *sc = server_conn_of(conn);

	ASSERT(!sc->exchange);
	if (sc->stream) {
		h2_server_free_stream(sc);
		return;
	}
	atomic_fetch_sub_explicit(&conn->worker->server_conns, 1, memory_order_relaxed);
	free(sc);
}

static const struct conn_handler handler = {
	.on_readable = on_readable,
	.on_writable = on_writable,
	.on_write_error = on_write_error,
	.on_deadline = on_deadline,
	.free = server_conn_free,
};

struct server_conn *upstream_take(struct worker *w, struct server *s, struct exchange *x)
{
	struct upstream *u = &w->upstreams[s->slot];

	if (x->server_pool->h2)
		return h2_server_take(w, s, x);
	/* An exchange of an older snapshot may ask for a server whose slot another has now. */
	while (u->server == s && !list_empty(&u->idle)) {
		struct server_conn *sc = list_item(u->idle.next, struct server_conn, link);

		if (sc->tls != tls_client_id(x->server_pool->tls)) {
			close_idle(sc); /* the pool had other settings then */
			continue;
		}
		list_remove(&sc->link);
		u->idle_count--;
		sc->exchange = x;
		return sc;
	}
	return NULL;
}

static void hurry(int fd)
{
	static const int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void upstream_hurry(struct server_conn *sc)
{
	sc->patient = false;
	hurry(sc->conn.fd);
}

static int open_socket(const struct server *s, bool patient)
{
	int fd = socket(
		s->address.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	int error;

	if (fd < 0)
		return -1;
	if (!patient)
		hurry(fd);
	if (connect(fd, &s->address.sa, addr_len(&s->address)) == 0 || errno == EINPROGRESS)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

int upstream_open(const struct server *s, bool patient)
{
	int fd = open_socket(s, patient), error = errno;

	if (fd < 0 && (error == EMFILE || error == ENFILE || error == EADDRNOTAVAIL))
		log_event(LOG_ERROR, "server.unconnectable", "cannot make a connection to a server",
			F_TEXT("reason", strerror(error)), F_TEXT("address", s->address_text));
	errno = error;
	return fd;
}

void upstream_init_stream(
	struct server_conn *sc, struct worker *w, struct server *s, struct exchange *x)
{
	conn_init(&sc->conn, w, &handler, -1);
	list_init(&sc->link);
	sc->server = s;
	sc->exchange = x;
	sc->stream = true;
	sc->patient = false;
	sc->tls = 0;
}

static void want_idle(struct upstream *u, const struct server *s)
{
	uint32_t busy = atomic_load_explicit(&s->in_flight, memory_order_relaxed);

	if (u->server == s && busy > u->idle_wanted)
		u->idle_wanted = busy;
}

struct server_conn *upstream_connect(
	struct worker *w, struct server *s, struct exchange *x, uint64_t timeout_ns)
{
	/* What is passed on first has nothing before it to wait for, and may be all there is. */
	bool patient = x->plain && !x->server_pool->tls && !x->server_pool->send_proxy;
	struct server_conn *sc;
	int fd, error;

	if (x->server_pool->h2 && !x->plain)
		return h2_server_connect(w, s, x, timeout_ns);
	sc = malloc(sizeof(*sc));
	if (!sc)
		return NULL;
	fd = upstream_open(s, patient);
	if (fd < 0) {
		error = errno;
		free(sc);
		errno = error;
		return NULL;
	}
	conn_init(&sc->conn, w, &handler, fd);
	list_init(&sc->link);
	sc->server = s;
	sc->exchange = x;
	sc->stream = false;
	sc->patient = patient;
	sc->tls = 0;
	atomic_fetch_add_explicit(&w->server_conns, 1, memory_order_relaxed);
	want_idle(&w->upstreams[s->slot], s);
	conn_deadline(&sc->conn, timeout_ns);
	conn_start_connecting(&sc->conn);
	return sc;
}

static bool has_enough(const struct upstream *u, const struct pool_limits *limits)
{
	if (limits->has_idle)
		return u->idle_count >= limits->idle;
	return u->idle_count >= UPSTREAM_IDLE_MIN && u->idle_count >= u->idle_wanted;
}

void upstream_release(struct server_conn *sc, uint64_t idle_ns)
{
	struct worker *w = sc->conn.worker;
	struct upstream *u = &w->upstreams[sc->server->slot];
	const struct pool_limits *limits = &sc->exchange->server_pool->limits;

	sc->exchange = NULL;
	if (sc->stream || u->server != sc->server || has_enough(u, limits) || w->stopping ||
		conn_blocked(&sc->conn) || sc->conn.eof) {
		conn_close(&sc->conn);
		return;
	}
	conn_drop_in(&sc->conn);
	conn_resume(&sc->conn);
	conn_deadline(&sc->conn, idle_ns);
	list_push(&u->idle, &sc->link);
	u->idle_count++;
}

void upstream_discard(struct server_conn *sc)
{
	sc->exchange = NULL;
	conn_close(&sc->conn);
}

void upstream_init(struct upstream *u)
{
	list_init(&u->idle);
	list_init(&u->shared);
}

static void close_all_idle(struct upstream *u)
{
	while (!list_empty(&u->idle))
		close_idle(list_item(u->idle.next, struct server_conn, link));
}

static void close_all(struct upstream *u)
{
	close_all_idle(u);
	h2_server_drain_all(u);
}

void upstream_close_strangers(struct worker *w)
{
	for (unsigned i = 0; i < w->upstream_count; i++) {
		struct upstream *u = &w->upstreams[i];

		if (!u->server)
			tls_kept_drop(&u->kept);
		if (!list_empty(&u->idle) &&
			list_item(u->idle.next, struct server_conn, link)->server != u->server)
			close_all_idle(u);
		if (!list_empty(&u->shared) && h2_server_of(u) != u->server)
			h2_server_drain_all(u);
	}
}

void upstream_close_all(struct worker *w)
{
	for (unsigned i = 0; i < w->upstream_count; i++)
		close_all(&w->upstreams[i]);
}
