/*
 * The way of a request: its head is written anew for the server, its content passed on as it comes.
 * The content is framed for the server as it was for us. The client's buffer keeps the head for as
 * long as the exchange lives (it may have to be sent again), and the room behind it is where
 * content is read.
 */
#include "proxy/exchange/exchange.h"

#include <errno.h>

#include "proxy/exchange/tunnel.h"
#include "proxy/worker.h"

/* The target as sent to the server. A rewritten path stands in target_room, with its query behind
 * it. */
static struct span target_out(const struct exchange *x)
{
	if (x->path.ptr != x->target_room)
		return x->request.target;
	return span_make(x->path.ptr, x->path.len + (x->query.ptr ? 1 + x->query.len : 0));
}

/* A client of HTTP/1.0 may name no host. An empty one (RFC 9112 3.2) many servers refuse, so it is
 * the address that the client came to. */
static __attribute__((noinline)) struct span address_met(
	const struct exchange *x, char room[ADDR_TEXT_MAX])
{
	struct addr local;

	client_local(x->client, &local);
	return span_make(room, addr_format(&local, room));
}

int exchange_put_request(struct exchange *x, const struct http1_request_out *o)
{
	struct stage *s = &x->worker->stage;
	struct conn *to = &x->upstream->conn;
	size_t room, n;
	char *out = stage_scratch(s, &room);

	if (conn_is_stream(to)) {
		struct http_list list = worker_list(x->worker);

		if (http2_list_request(&list, out, room, &x->request, o) < 0)
			return -1;
		h2_send_head(to, &list, x->request_done && !o->upgrade);
		return 0;
	}
	n = http1_write_request(out, room, &x->request, o);
	if (!n)
		return -1;
	stage_wrote(s, n);
	return 0;
}

static int stage_head(struct exchange *x)
{
	const struct acceptor_fields *fields = client_fields(x->client);
	bool secure = x->client->ssl, upgrade = tunnel_wanted(x);
	UNFILLED char handshake[WEBSOCKET_LINE_MAX], address[ADDR_TEXT_MAX];
	struct http1_request_out o = {
		.target = target_out(x),
		.host = x->request.authority,
		.client_ip = client_ip(x->client),
		.trusted = x->peer_trusted,
		.fixed = span_make(fields->text[secure], fields->len[secure]),
		.client_cert =
			x->client->cert_fields ? span_of(x->client->cert_fields) : (struct span){0},
		.request_id = span_make(x->request_id, sizeof(x->request_id)),
		.via = x->listener->via,
		.upgrade = upgrade,
		.websocket = upgrade ? exchange_websocket_ask(x, handshake) : (struct span){0},
		.own_cookie = x->server_pool->sticky.cookie,
		.scheme = x->server_pool->tls ? SPAN("https") : SPAN("http"),
		.framing = exchange_framing_for(&x->upstream->conn, x->request.framing),
		.length = x->request.length,
	};

	if (!o.host.len)
		o.host = address_met(x, address);
	if (x->route->action && x->route->action->rewrite)
		return exchange_edit_request(x, &o);
	return exchange_put_request(x, &o);
}

/* Takes the next run of content from the client's buffer into the stage. 1: went on, 0: wants more
 * bytes or is done, -1: malformed. */
static int stage_content(struct exchange *x, struct http_fault *fault)
{
	struct stage *s = &x->worker->stage;
	struct conn *from = &x->client->conn, *to = &x->upstream->conn;
	enum http_framing framing = exchange_framing_for(to, x->request.framing);
	struct iobuf *in = from->in;
	struct span data, rest = span_make(in->data + x->body_at, in->end - x->body_at);
	size_t used;
	enum parse_rc rc = http1_body_next(&x->request_body, rest, &used, &data, fault);

	if (rc == PARSE_BAD) {
		fault_note(x, FAULT_REQUEST, EXCERPT_CONTENT, rest, fault);
		return -1;
	}
	x->body_at += (uint32_t)used;
	x->bytes_in += data.len;
	if (x->route->content.body_max_bytes && x->bytes_in > x->route->content.body_max_bytes) {
		*fault = (struct http_fault){413, 0, "content over the limit"};
		return -1;
	}
	exchange_stage_content(s, framing, data);
	if (rc != PARSE_DONE && !(from->eof && x->body_at == in->end &&
					exchange_body_ended(&x->request_body, from)))
		return used > 0;
	x->request_done = true;
	return exchange_stage_end(to, s, framing, x->request_body.trailers);
}

/* A larger buffer for what the client's holds, or else its front. False when there is no more room
 * to be had. */
static bool move_to_more_room(struct exchange *x)
{
	struct iobuf **in = &x->client->conn.in;
	struct http_head *h = &x->request;
	bool borrowed = x->path.ptr != x->target_room;
	size_t path_at = (size_t)(x->path.ptr - h->target.ptr),
	       query_at = (size_t)(x->query.ptr - h->target.ptr);
	uint32_t start = (*in)->start;

	if (!iobuf_make_room(&x->worker->iobufs, in))
		return false;
	x->body_at -= start;
	http_head_move(h, iobuf_span(*in).ptr);
	if (borrowed) {
		x->path.ptr = h->target.ptr + path_at;
		if (x->query.ptr)
			x->query.ptr = h->target.ptr + query_at;
	}
	return true;
}

static void read_more_at_once(struct exchange *x)
{
	if (x->client->conn.in->size == IOBUF_SMALL_BYTES &&
		x->request_body.left > IOBUF_SMALL_BYTES)
		move_to_more_room(x);
}

/* Whether the buffer can go on holding content that was passed on, for another try; it moves to a
 * larger one for that. */
static bool hold_content(struct exchange *x)
{
	struct iobuf *in = x->client->conn.in;
	const struct http_head *h = &x->request;
	uint64_t whole = h->head_bytes + h->length;

	if (!x->rewindable || x->response_started || !retry_may_resend(&x->pool->retry, h->method))
		return false;
	if (h->framing != HTTP_LENGTH)
		return iobuf_room(in) > in->size / 4 || move_to_more_room(x) || iobuf_room(in) > 0;
	if (whole > IOBUF_LARGE_BYTES)
		return false;
	while (in->size - in->start < whole) {
		if (!move_to_more_room(x))
			return false;
		in = x->client->conn.in;
	}
	return true;
}

/* Content too large to be held, of known length, goes from socket to socket: once what came with
 * the head has filled the buffer, or none did. */
static bool wants_splice(const struct exchange *x)
{
	const struct http_head *h = &x->request;

	return h->framing == HTTP_LENGTH && h->length >= SPLICE_MIN_BYTES && !x->rewindable;
}

/* After a flush nothing in the stage borrows from the buffer any more: room behind the head again.
 */
static void reclaim_room(struct exchange *x)
{
	struct iobuf *in = x->client->conn.in;
	uint32_t head_end = in->start + x->request.head_bytes;

	if (x->request_done || x->body_at < in->end || x->body_at == head_end ||
		iobuf_room(in) > in->size / 4 || hold_content(x))
		return;
	x->body_at = in->end = head_end;
	x->rewindable = false;
	if (!wants_splice(x))
		read_more_at_once(x);
}

static void abandon(struct exchange *x)
{
	struct client *c = x->client;

	exchange_client_gone(x);
	client_exchange_cut(c);
}

bool exchange_make_room(struct exchange *x)
{
	struct iobuf *in = x->client->conn.in;
	uint32_t head_end = in->start + x->request.head_bytes, left = in->end - x->body_at;

	/* Pipelined requests wait their turn; content waits for the server. What was passed on
	 * already makes room for more, behind a piece of framing that is not whole yet. */
	if (x->request_done || x->body_at == head_end)
		return false;
	if (hold_content(x))
		return iobuf_room(x->client->conn.in) > 0; /* none: it is all there */
	memmove(in->data + head_end, in->data + x->body_at, left);
	x->body_at = head_end;
	in->end = head_end + left;
	x->rewindable = false;
	return iobuf_room(in) > 0;
}

/* Has the client been waited for long enough, and sent too little meanwhile? Time in which the
 * server held it back does not count. */
static bool comes_too_slowly(struct exchange *x)
{
	uint64_t rate = x->route->content.body_rate, came;

	x->pace.waited_ns += x->worker->now_ns - x->pace.since_ns;
	if (x->pace.waited_ns < x->timeouts->body_ns)
		return false;
	came = x->bytes_in - x->pace.bytes_before;
	if (came < rate * (x->pace.waited_ns / NS_PER_MS) / 1000)
		return true;
	x->pace.waited_ns = 0;
	x->pace.bytes_before = x->bytes_in;
	return false;
}

/* -1: the exchange is over. */
static int wait_for_content(struct exchange *x)
{
	struct conn *c = &x->client->conn;

	if (x->waits_for_body && !x->request_done && comes_too_slowly(x)) {
		exchange_client_timeout(x);
		return -1;
	}
	x->waits_for_body = !x->request_done && !conn_blocked(&x->upstream->conn);
	if (x->waits_for_body) {
		x->pace.since_ns = x->worker->now_ns;
		conn_resume(c);
	}
	if (!conn_blocked(c)) /* else its send deadline runs */
		conn_deadline(c, x->waits_for_body ? x->timeouts->body_ns : 0);
	return 0;
}

/* The server's answer is what we wait for once the whole request is with the kernel, or the rest of
 * an answer that came early. */
static void wait_for_server(struct exchange *x)
{
	struct conn *to = &x->upstream->conn;

	if (conn_blocked(to))
		return; /* its send deadline runs */
	if (x->response_head_done)
		conn_deadline(
			to, conn_blocked(&x->client->conn) ? 0 : x->timeouts->between_bytes_ns);
	else
		conn_deadline(to, x->request_done ? x->timeouts->first_byte_ns : 0);
}

void exchange_server_deaf(struct exchange *x)
{
	struct conn *to = &x->upstream->conn;

	conn_drop_pending(to);
	/* It closed, or does not want the rest. Whether it answered first, reading will tell. */
	x->deaf = true;
	x->waits_for_body = false;
	x->keep_client = false;
	if (!conn_blocked(&x->client->conn))
		conn_deadline(&x->client->conn, 0);
	if (!x->response_head_done)
		conn_deadline(to, x->timeouts->first_byte_ns);
	conn_resume(to);
}

static int flush_to_server(struct exchange *x)
{
	if (conn_flush(&x->upstream->conn, &x->worker->stage) == 0) {
		x->head_sent = true;
		return 0;
	}
	/* Of what we had no memory to keep the rest of, a part may have gone. */
	x->head_sent |= errno == ENOMEM || errno == ENOBUFS;
	if (x->reused && !x->head_sent)
		exchange_failed(x, RETRY_WENT_STALE, 502, END_SERVER_CUT);
	else
		exchange_server_deaf(x);
	return -1;
}

int exchange_pump_request(struct exchange *x)
{
	struct stage *s = &x->worker->stage;
	struct conn *to = &x->upstream->conn;
	struct http_fault fault = {400, 0, ""};
	int went = 1;

	while (went > 0 && !x->request_done) {
		went = stage_content(x, &fault);
		if (went < 0) {
			stage_reset(s);
			if (x->response_started)
				exchange_cut(x, END_CLIENT_BAD);
			else
				exchange_answer(x, fault.status, END_CLIENT_BAD);
			return -1;
		}
		if (!stage_has_room(s) && went > 0) {
			if (flush_to_server(x) < 0)
				return -1;
			if (conn_blocked(to))
				break;
		}
	}
	if (flush_to_server(x) < 0)
		return -1;
	if (!x->request_done && x->client->conn.eof && !conn_blocked(to)) {
		exchange_client_eof(x); /* that was all of it */
		return -1;
	}
	reclaim_room(x);
	if (wait_for_content(x) < 0)
		return -1;
	wait_for_server(x);
	return 0;
}

/* "100 Continue" is ours to say, once a server is there to take the content (RFC 9110 10.1.1). */
static int say_continue(struct exchange *x)
{
	static const struct span line = {"HTTP/1.1 100 Continue\r\n\r\n", 25};
	struct http_pair status = {SPAN(":status"), SPAN("100")};
	const struct http_list interim = {&status, 1, 1};
	struct conn *c = &x->client->conn;

	if (!x->request.expect_continue || x->request_done || x->body_at < c->in->end)
		return 0;
	x->request.expect_continue = false; /* once, also when another server is tried */
	if (conn_is_stream(c)) {
		h2_send_head(c, &interim, false);
		return 0;
	}
	stage_span(&x->worker->stage, line);
	return conn_flush(c, &x->worker->stage);
}

void exchange_expect_answer(struct exchange *x)
{
	struct conn *from = &x->upstream->conn;

	if (conn_is_stream(from))
		h2_expect_head(from, &x->response, &exchange_response_limits, x->request.method);
	else
		http_head_init(&x->response);
}

void exchange_send_request(struct exchange *x)
{
	x->connected_ns = x->worker->now_ns;
	exchange_expect_answer(x);
	if (x->request.extended && !tunnel_wanted(x)) {
		exchange_answer(x, 501, END_REFUSED);
		return;
	}
	if (say_continue(x) < 0) {
		exchange_cut(x, END_CLIENT_GONE);
		return;
	}
	if (stage_head(x) < 0) {
		exchange_answer(x, 431, END_REFUSED);
		return;
	}
	exchange_pump_request(x);
}

bool exchange_splice_request(struct exchange *x)
{
	struct conn *from = &x->client->conn, *to;
	uint32_t bytes;

	if (!x->upstream || x->request_done || x->deaf || !wants_splice(x) ||
		x->body_at < from->in->end)
		return false;
	to = &x->upstream->conn;
	if (conn_blocked(to)) {
		conn_pause(from);
		return true;
	}
	if (!conn_pipe_get(from, to)) {
		read_more_at_once(x);
		return false;
	}
	switch (conn_pipe_fill(from, to, http1_body_opaque(&x->request_body), &bytes)) {
	case IO_AGAIN:
		return true;
	case IO_EOF:
		conn_pause(from);
		exchange_client_eof(x);
		return true;
	case IO_ERROR:
		abandon(x);
		return true;
	case IO_OK:
		break;
	}
	x->bytes_in += bytes;
	x->request_done = http1_body_skip(&x->request_body, bytes) == PARSE_DONE;
	if (conn_pipe_flush(to) < 0)
		exchange_server_deaf(x);
	else
		exchange_pump_request(x); /* which finds nothing in hand, and waits */
	return true;
}

void exchange_request_bytes(struct exchange *x)
{
	if (x->request_done)
		return; /* pipelined: it waits in the buffer */
	if (x->deaf) {
		conn_pause(&x->client->conn);
		return;
	}
	if (!x->upstream || x->upstream->conn.connecting || conn_blocked(&x->upstream->conn))
		return; /* read ahead; the buffer's end stops it */
	exchange_pump_request(x);
}

void exchange_server_drained(struct exchange *x)
{
	if (x->request_done)
		wait_for_server(x);
	else
		exchange_pump_request(x);
}
