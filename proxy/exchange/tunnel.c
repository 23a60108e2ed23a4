/*
 * A tunnel's two directions are alike. Bytes are read only when the other side has taken all that
 * came before, so that one read (or one pipe) is the most that is ever held, and an idle tunnel
 * holds neither.
 *
 * Each connection's deadline is moved when bytes are written to it; the later of the two is the
 * tunnel's, and a shorter one once a side has ended. A side's end is passed on behind its bytes. A
 * side that broke is still read to its end, since its last words may be waiting; then the other is
 * reset as well.
 */
#include "proxy/exchange/tunnel.h"

#include "proxy/worker.h"

struct tunnel {
	ev_timer last_call;	   /* runs once the listener has gone */
	const struct conn *broken; /* nothing can be written to it any more; NULL: none */
	bool end_passed;	   /* of one side: the other still goes on */
	char head[]; /* the request's, which the log quotes: the buffer it came in is not kept */
};

static struct conn *other_side(const struct exchange *x, const struct conn *c)
{
	return c == &x->client->conn ? &x->upstream->conn : &x->client->conn;
}

static void cut(struct exchange *x, enum exchange_end why)
{
	conn_abort(&x->upstream->conn);
	exchange_cut(x, why);
}

static void cut_by(struct exchange *x, const struct conn *who)
{
	cut(x, who == &x->client->conn ? END_CLIENT_GONE : END_SERVER_CUT);
}

static void on_last_call(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct exchange *x = timer->data;

	(void)loop;
	(void)events;
	cut(x, END_DRAINED);
}

void tunnel_drain(struct exchange *x)
{
	struct tunnel *t = x->tunnel;

	/* A stop has a limit of its own. */
	if (x->worker->stopping || ev_is_active(&t->last_call))
		return;
	ev_timer_set(&t->last_call, (double)x->listener->timeouts.drain_ns / 1e9, 0);
	ev_timer_start(x->worker->loop, &t->last_call);
}

void tunnel_fini(struct exchange *x)
{
	ev_timer_stop(x->worker->loop, &x->tunnel->last_call);
	free(x->tunnel);
	x->tunnel = NULL;
}

static const struct conn_handler client_side, server_side;
static void pump(struct exchange *x, struct conn *from);

/* What is in hand for it goes nowhere; what it said before it broke is passed on. */
static void broke(struct exchange *x, struct conn *c)
{
	struct conn *from = other_side(x, c);

	if (x->tunnel->broken) {
		cut_by(x, x->tunnel->broken);
		return;
	}
	x->tunnel->broken = c;
	if (c == &x->client->conn)
		x->bytes_out -= conn_in_pipe(c);
	conn_drop_pending(c);
	conn_drop_in(from);
	conn_pause(from);
	pump(x, c);
}

/* Bytes are about to go. To a server the first go at once in any case, and are often the last. */
static void count(struct exchange *x, const struct conn *from, uint64_t bytes)
{
	if (from != &x->client->conn) {
		x->bytes_out += bytes;
		return;
	}
	if (x->upstream->patient && x->bytes_in)
		upstream_hurry(x->upstream);
	x->bytes_in += bytes;
}

/* -1: that is all for now. */
static int pass_bytes_on(struct exchange *x, struct conn *from, struct conn *to)
{
	struct stage *s = &x->worker->stage;
	struct span bytes = iobuf_span(from->in);

	count(x, from, bytes.len);
	stage_span(s, bytes);
	if (conn_flush(to, s) < 0) {
		broke(x, to);
		return -1;
	}
	conn_drop_in(from);
	conn_deadline(to, to->send_ns);
	return conn_blocked(to) ? -1 : 0;
}

/* For how long nothing may move from now on. */
static void set_limit(struct exchange *x, uint64_t limit_ns)
{
	struct conn *sides[] = {&x->client->conn, &x->upstream->conn};

	for (unsigned i = 0; i < countof(sides); i++) {
		sides[i]->send_ns = limit_ns;
		conn_deadline(sides[i], limit_ns);
	}
}

static void pass_end_on(struct exchange *x, struct conn *to)
{
	if (x->tunnel->broken)
		cut_by(x, x->tunnel->broken);
	else if (x->tunnel->end_passed)
		exchange_finish(x); /* closing both passes this one on, too */
	else if (conn_shutdown(to) < 0)
		broke(x, to);
	else {
		x->tunnel->end_passed = true;
		set_limit(x, x->timeouts->half_closed_ns);
	}
}

/* Passes on what is in hand from this side, then its end if it came; else there may be more. */
static void pump(struct exchange *x, struct conn *from)
{
	struct conn *to = other_side(x, from);

	if (conn_blocked(to)) /* on_writable comes back to it */
		return;
	if (from->in && pass_bytes_on(x, from, to) < 0)
		return;
	if (from->eof)
		pass_end_on(x, to);
	else
		conn_resume(from);
}

static struct exchange *exchange_of(struct conn *c)
{
	if (c->handler == &client_side)
		return container_of(c, struct client, conn)->exchange;
	return container_of(c, struct server_conn, conn)->exchange;
}

/* Bytes come in bulk: from socket to socket, for as long as they do. */
static enum io_rc splice_on(struct exchange *x, struct conn *from, struct conn *to)
{
	uint32_t bytes;
	enum io_rc rc = conn_pipe_fill(from, to, UINT64_MAX, &bytes);

	if (rc != IO_OK)
		return rc;
	x->bulk = bytes >= IOBUF_SMALL_BYTES;
	count(x, from, bytes);
	if (conn_pipe_flush(to) < 0) {
		broke(x, to);
		return IO_AGAIN;
	}
	conn_deadline(to, to->send_ns);
	return IO_OK;
}

static enum io_rc read_some(struct exchange *x, struct conn *from)
{
	bool full;
	enum io_rc rc = conn_read(from, x->bulk ? IOBUF_LARGE_BYTES : IOBUF_SMALL_BYTES, &full);

	if (rc != IO_OK)
		conn_drop_in(from);
	x->bulk |= full;
	return rc;
}

static void on_readable(struct conn *c)
{
	struct exchange *x = exchange_of(c);
	struct conn *to = other_side(x, c);
	enum io_rc rc;

	/* After its end the other's nearly always comes at once, and closes both: only a socket
	 * that is heard again before that costs the loop a call. */
	if (c->eof || conn_blocked(to) || x->tunnel->broken == to) {
		conn_pause(c);
		return;
	}
	ASSERT(!c->in);
	rc = x->bulk && conn_pipe_get(c, to) ? splice_on(x, c, to) : read_some(x, c);
	if (rc == IO_AGAIN)
		return;
	if (rc == IO_ERROR) {
		x->tunnel->broken = c;
		c->eof = true;
	}
	pump(x, c);
}

static void on_writable(struct conn *c)
{
	struct exchange *x = exchange_of(c);

	conn_deadline(c, c->send_ns);
	pump(x, other_side(x, c));
}

static void on_write_error(struct conn *c)
{
	broke(exchange_of(c), c);
}

static void on_deadline(struct conn *c)
{
	struct exchange *x = exchange_of(c);

	if (conn_blocked(c) && !conn_stalled(c, 0))
		return;
	if (other_side(x, c)->timer.deadline_ns <= x->worker->now_ns)
		cut(x, x->tunnel->end_passed ? END_TUNNEL_HALF : END_TUNNEL_IDLE);
}

#define HANDLER(free_function)                                                \
	{                                                                     \
		.on_readable = on_readable, .on_writable = on_writable,       \
		.on_write_error = on_write_error, .on_deadline = on_deadline, \
		.free = (free_function)                                       \
	}
static const struct conn_handler client_side = HANDLER(client_free);
static const struct conn_handler server_side = HANDLER(server_conn_free);

static struct tunnel *tunnel_new(struct exchange *x, size_t head_bytes)
{
	struct tunnel *t = calloc(1, sizeof(*t) + head_bytes);

	if (!t)
		return NULL;
	ev_timer_init(&t->last_call, on_last_call, 0, 0);
	t->last_call.data = x;
	return t;
}

/* The request's head moves out of the client's buffer, whose rest belongs to the tunnel. */
static void take_head(struct exchange *x)
{
	struct iobuf *in = x->client->conn.in;
	uint32_t bytes = x->request.head_bytes;
	struct tunnel *t = tunnel_new(x, bytes);

	if (!t)
		return;
	memcpy(t->head, in->data + in->start, bytes);
	http_head_move(&x->request, t->head);
	x->path = x->query = span_make(NULL, 0);
	in->start = x->body_at;
	x->tunnel = t;
}

/* The two connections are the tunnel's from now on. */
static void begin(struct exchange *x)
{
	x->response_started = x->response_head_done = true;
	x->keep_client = false;
	server_report(x->server, SERVER_OK);
	if (!x->tunnel) {
		exchange_cut(x, END_PROXY_FULL);
		return;
	}
	atomic_fetch_add_explicit(&x->server->sessions, 1, memory_order_relaxed);
	x->client->conn.handler = &client_side;
	x->upstream->conn.handler = &server_side;
	set_limit(x, x->timeouts->tunnel_ns);
	if (x->client->acceptor->draining)
		tunnel_drain(x);
	pump(x, &x->client->conn);
	if (!x->over)
		pump(x, &x->upstream->conn);
}

void tunnel_start(struct exchange *x)
{
	ASSERT(x->request_done && !x->tunnel);
	x->status = x->response.status;
	x->first_byte_ns = x->worker->now_ns;
	take_head(x);
	begin(x);
}

void tunnel_open(struct exchange *x)
{
	ASSERT(x->plain && !x->tunnel);
	x->status = 200;
	x->connected_ns = x->worker->now_ns;
	x->tunnel = tunnel_new(x, 0);
	begin(x);
}
