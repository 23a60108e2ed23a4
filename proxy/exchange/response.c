/*
 * The way of a response: its head is written anew for the client, its content passed on as it
 * comes. What has no length towards a 1.1 client is sent in chunks, so that the connection lives on
 * and an end can be told from a cut; a 1.0 client gets it until the close. A response that stops
 * short is never made to look complete.
 */
#include "proxy/exchange/exchange.h"

#include <errno.h>

#include "proxy/exchange/tunnel.h"
#include "proxy/worker.h"

const struct http_limits exchange_response_limits = {.line_bytes = 8192,
	.head_bytes = 40 * 1024,
	.field_bytes = 40 * 1024,
	.fields = HTTP_FIELDS_MAX};

/* All of its answer is here. */
static void let_server_go(struct exchange *x)
{
	struct iobuf *in = x->upstream->conn.in;
	bool clean = !in || in->start == in->end;

	exchange_release_server(x, clean && x->response.keep_alive && x->request_done && !x->deaf &&
					   x->response.framing != HTTP_UNTIL_CLOSE);
}

static int stage_content(struct exchange *x)
{
	struct iobuf *in = x->upstream->conn.in;
	struct http_fault fault;
	struct span data;
	size_t used;
	enum parse_rc rc = http1_body_next(&x->response_body, iobuf_span(in), &used, &data, &fault);

	if (rc == PARSE_BAD) {
		fault_note(x, FAULT_RESPONSE, EXCERPT_CONTENT, iobuf_span(in), &fault);
		return -1;
	}
	in->start += (uint32_t)used;
	x->bytes_out += data.len;
	exchange_stage_content(&x->worker->stage, (enum http_framing)x->out_framing, data);
	x->response_done = rc == PARSE_DONE ||
			   (x->upstream->conn.eof && in->start == in->end &&
				   exchange_body_ended(&x->response_body, &x->upstream->conn));
	return used > 0;
}

static void cut_by_server(struct exchange *x, enum exchange_end why)
{
	stage_reset(&x->worker->stage);
	exchange_server_broke(x);
	exchange_cut(x, why);
}

/* What is in hand goes to the client, as far as it takes it. */
static void pump(struct exchange *x)
{
	struct stage *s = &x->worker->stage;
	struct conn *to = &x->client->conn, *from = &x->upstream->conn;
	int went = 1;

	while (went > 0 && !x->response_done && from->in && from->in->start < from->in->end) {
		went = stage_content(x);
		if (went < 0) {
			conn_flush(to, s); /* what was good of it */
			cut_by_server(x, END_SERVER_BAD);
			return;
		}
		if (!stage_has_room(s) && !x->response_done) {
			if (conn_flush(to, s) < 0) {
				exchange_cut(x, END_CLIENT_GONE);
				return;
			}
			if (conn_blocked(to))
				break;
		}
	}
	if (x->response_done && exchange_stage_end(to, s, (enum http_framing)x->out_framing,
					x->response_body.trailers) < 0) {
		cut_by_server(x, END_SERVER_BAD);
		return;
	}
	if (conn_flush(to, s) < 0) {
		exchange_cut(x, END_CLIENT_GONE);
		return;
	}
	if (x->response_done && (!to->pipe || x->request_done)) {
		let_server_go(x);
		if (!to->pipe) /* else once the client has it all */
			exchange_finish(x);
		return;
	}
	if (from->in && from->in->start == from->in->end)
		conn_drop_in(from);
	/* While the client does not read, its own send deadline runs, not the server's. */
	if (!conn_blocked(from))
		conn_deadline(from, conn_blocked(to) ? 0 : x->timeouts->between_bytes_ns);
}

/* --- the head
 * ------------------------------------------------------------------------------------------ */

static enum http_framing framing_out(const struct exchange *x)
{
	enum http_framing f = x->response.framing;

	if (f != HTTP_CHUNKED && f != HTTP_UNTIL_CLOSE)
		return f;
	if (x->request.minor == 0)
		return HTTP_UNTIL_CLOSE;
	return exchange_framing_for(&x->client->conn, f);
}

int exchange_put_response(struct exchange *x, const struct http1_response_out *o)
{
	struct stage *s = &x->worker->stage;
	struct conn *to = &x->client->conn;
	size_t room, n;
	char *out = stage_scratch(s, &room);

	if (conn_is_stream(to)) {
		struct http_list list = worker_list(x->worker);

		if (http2_list_response(&list, out, room, &x->response, o) < 0)
			return -1;
		h2_send_head(to, &list, x->response_done && x->response.status >= 200);
		return 0;
	}
	n = http1_write_response(out, room, &x->response, o);
	if (!n)
		return -1;
	stage_wrote(s, n);
	return 0;
}

static int stage_head(struct exchange *x)
{
	UNFILLED char own[SET_COOKIE_MAX], handshake[WEBSOCKET_LINE_MAX];
	struct span websocket =
		x->switches ? exchange_websocket_agree(x, handshake) : (struct span){0};
	bool sticks = x->server_pool->sticky.cookie.len &&
		      (x->response.status >= 200 || x->response.status == 101);
	struct http1_response_out o = {
		.framing = x->out_framing,
		.length = x->response.length,
		.has_length = x->response.has_length,
		.keep_alive = x->keep_client,
		.client_minor = x->request.minor,
		.upgrade = x->response.status == 101,
		.via = x->listener->via,
		.date = !x->response.first[HTTP_F_DATE] ? worker_date(x->worker) : (struct span){0},
		.hsts = exchange_hsts(x),
		.own = sticks ? exchange_set_cookie(x, own, sizeof(own)) : (struct span){0},
		.websocket = websocket,
	};

	if (x->route->action && x->route->action->rewrite && x->response.status >= 200)
		return exchange_edit_response(x, &o);
	return exchange_put_response(x, &o);
}

static void server_malformed(struct exchange *x)
{
	exchange_server_broke(x);
	exchange_answer(x, 502, END_SERVER_BAD);
}

/* A status that this request cannot be answered with. */
static void note_status(struct exchange *x, const char *why)
{
	const struct iobuf *in = x->upstream->conn.in;
	const struct http_fault fault = {502, 9, why};

	fault_note(x, FAULT_RESPONSE, EXCERPT_HEAD,
		span_make(in->data + in->start - x->response.head_bytes, x->response.head_bytes),
		&fault);
}

/* The connection can serve others once this response, of which only the head is read, is passed
 * over: all of it is in hand, and nothing else. */
static bool pass_over(struct exchange *x)
{
	const struct http_head *h = &x->response;
	struct iobuf *in = x->upstream->conn.in;
	uint64_t content = h->framing == HTTP_LENGTH ? h->length : 0;

	if (!h->keep_alive || !x->request_done || x->deaf || conn_blocked(&x->upstream->conn) ||
		(h->framing != HTTP_LENGTH && h->framing != HTTP_NO_BODY) ||
		in->end - in->start != content)
		return false;
	in->start = in->end;
	return true;
}

static void begin(struct exchange *x)
{
	struct http_head *h = &x->response;
	struct server *better;

	exchange_server_answered(x);
	better = exchange_find_better(x);
	if (better) {
		exchange_retry(x, better, pass_over(x));
		return;
	}
	/* A server of HTTP/1 that knows no WebSockets; over HTTP/2 that would say that there is one
	 * (RFC 8441 5). */
	if (x->request.extended && h->status < 300) {
		note_status(x, "no 101, for a WebSocket over HTTP/2");
		exchange_answer(x, 502, END_SERVER_BAD);
		return;
	}
	x->first_byte_ns = x->worker->now_ns;
	x->status = h->status;
	x->response_head_done = true;
	exchange_body_init(&x->response_body, h);
	x->out_framing = framing_out(x);
	if (!x->request_done || client_is_leaving(x->client) || x->out_framing == HTTP_UNTIL_CLOSE)
		x->keep_client = false;
	x->response_done = h->framing == HTTP_NO_BODY ||
			   (h->framing == HTTP_LENGTH && h->length == 0 && !h->h2);
	if (stage_head(x) < 0) {
		server_malformed(x);
		return;
	}
	x->response_started = true;
	pump(x);
}

/* The server has agreed to switch: the client hears of it as it asked. */
static void switch_over(struct exchange *x)
{
	x->out_framing = HTTP_NO_BODY;
	x->switches = true;
	if (stage_head(x) < 0)
		server_malformed(x);
	else if (conn_flush(&x->client->conn, &x->worker->stage) < 0)
		exchange_cut(x, END_CLIENT_GONE);
	else
		tunnel_start(x);
}

/* 1xx: 100 is ours to say and was said; 101 only where an upgrade was forwarded; the others pass to
 * a client that knows them (RFC 9110 15.2). -1: the exchange is over, or a tunnel. */
static int interim(struct exchange *x)
{
	struct conn *to = &x->client->conn;

	if (x->response.status == 101 && tunnel_agreed(x)) {
		switch_over(x);
		return -1;
	}
	if (x->response.status == 101) {
		note_status(x, "101 that nothing asked for");
		server_malformed(x);
		return -1;
	}
	if (x->response.status == 100 || x->request.minor == 0 || conn_blocked(to))
		return 0;
	x->out_framing = HTTP_NO_BODY;
	if (stage_head(x) < 0) {
		server_malformed(x);
		return -1;
	}
	if (conn_flush(to, &x->worker->stage) < 0) {
		exchange_cut(x, END_CLIENT_GONE);
		return -1;
	}
	return 0;
}

static void read_head(struct exchange *x)
{
	struct iobuf *in = x->upstream->conn.in;
	struct http_fault fault;

	for (;;) {
		switch (http1_parse_response(&x->response, iobuf_span(in),
			&exchange_response_limits, x->request.method, &fault)) {
		case PARSE_BAD:
			fault_note(x, FAULT_RESPONSE, EXCERPT_HEAD, iobuf_span(in), &fault);
			server_malformed(x);
			return;
		case PARSE_MORE:
			return;
		case PARSE_DONE:
			break;
		}
		in->start += x->response.head_bytes;
		if (x->response.status >= 200) {
			begin(x);
			return;
		}
		if (interim(x) < 0)
			return;
		http_head_init(&x->response);
		if (in->start == in->end) {
			in->start = in->end = 0;
			return;
		}
	}
}

void exchange_server_head(struct exchange *x, const struct http_fault *fault)
{
	struct iobuf *in = x->upstream->conn.in;

	x->heard = true;
	if (fault) {
		fault_note(x, FAULT_RESPONSE, EXCERPT_HEAD, iobuf_span(in), fault);
		server_malformed(x);
		return;
	}
	in->start += x->response.head_bytes;
	/* Asked for by CONNECT, and nghttp2 holds no answer to that to the length it says. */
	if (x->request.upgrade.len && x->response.framing == HTTP_LENGTH)
		x->response.framing = HTTP_UNTIL_CLOSE;
	if (x->request.upgrade.len && tunnel_agreed(x))
		switch_over(x);
	else if (x->response.status >= 200)
		begin(x);
	else if (interim(x) == 0)
		exchange_expect_answer(x);
}

/* --- events
 * --------------------------------------------------------------------------------------------- */

static void on_eof(struct exchange *x)
{
	struct conn *from = &x->upstream->conn;

	conn_pause(from);
	if (!x->response_head_done) {
		if (x->reused && !x->heard) {
			exchange_failed(x, RETRY_WENT_STALE, 502, END_SERVER_CUT);
			return;
		}
		exchange_server_broke(x);
		exchange_failed(x, RETRY_BROKE, 502, END_SERVER_CUT);
		return;
	}
	if (!exchange_body_ended(&x->response_body, from)) {
		cut_by_server(x, END_SERVER_CUT);
		return;
	}
	x->response_done = true;
	pump(x);
}

/* With TLS 1.3 a server looks at our certificate when for us the handshake is over. One that does
 * not like it has not read anything. */
static bool was_refused(struct exchange *x)
{
	if (x->heard || x->reused || !tls_refused(&x->upstream->conn))
		return false;
	server_tls_failed(x->server, tls_fault(&x->upstream->conn));
	exchange_server_connect_failed(x, EPROTO);
	return true;
}

static void on_error(struct exchange *x)
{
	if (was_refused(x))
		return;
	if (!x->response_head_done) {
		on_eof(x); /* a reset before any answer: the same */
		return;
	}
	cut_by_server(x, END_SERVER_CUT);
}

/* Once reads come full, a large message goes on from socket to socket, where it has the same
 * framing on both sides and that is not chunks. */
static bool wants_splice(const struct exchange *x)
{
	const struct http_head *h = &x->response;

	return x->bulk && x->response_head_done && !x->upstream->conn.in &&
	       x->out_framing == h->framing && http1_body_opaque(&x->response_body) > 0 &&
	       (h->framing != HTTP_LENGTH || h->length >= SPLICE_MIN_BYTES);
}

static void splice_response(struct exchange *x)
{
	struct conn *to = &x->client->conn, *from = &x->upstream->conn;
	uint32_t bytes;

	switch (conn_pipe_fill(from, to, http1_body_opaque(&x->response_body), &bytes)) {
	case IO_AGAIN:
		return;
	case IO_EOF:
		on_eof(x);
		return;
	case IO_ERROR:
		on_error(x);
		return;
	case IO_OK:
		break;
	}
	x->bytes_out += bytes;
	x->response_done = http1_body_skip(&x->response_body, bytes) == PARSE_DONE;
	if (conn_pipe_flush(to) < 0)
		exchange_cut(x, END_CLIENT_GONE);
	else
		pump(x);
}

/* Records are made of what is in hand: the more, the fewer. */
static uint32_t read_size(const struct exchange *x)
{
	const struct conn *to = &x->client->conn;

	return x->bulk || (to->transport && !conn_is_stream(to)) ? IOBUF_LARGE_BYTES
								 : IOBUF_SMALL_BYTES;
}

void exchange_server_readable(struct exchange *x)
{
	struct conn *from = &x->upstream->conn;
	bool full;

	if (x->response_head_done && conn_blocked(&x->client->conn)) {
		conn_pause(from);
		return;
	}
	if (wants_splice(x) && conn_pipe_get(from, &x->client->conn)) {
		splice_response(x);
		return;
	}
	/* Part of a head or of a trailer section may fill the buffer. */
	if (from->in && !iobuf_room(from->in) && !iobuf_make_room(&x->worker->iobufs, &from->in)) {
		on_error(x);
		return;
	}
	switch (conn_read(from, read_size(x), &full)) {
	case IO_AGAIN:
		return;
	case IO_EOF:
		on_eof(x);
		return;
	case IO_ERROR:
		on_error(x);
		return;
	case IO_OK:
		break;
	}
	x->bulk |= full;
	x->heard = true;
	if (x->response_head_done)
		pump(x);
	else
		read_head(x);
}

void exchange_client_drained(struct exchange *x)
{
	if (x->waits_for_body)
		conn_deadline(&x->client->conn, x->timeouts->body_ns);
	if (x->waiting)
		exchange_wait_deadline(x);
	if (x->response_done && !x->upstream) {
		exchange_finish(x);
		return;
	}
	if (!x->response_head_done || !x->upstream)
		return;
	conn_resume(&x->upstream->conn);
	pump(x);
}
