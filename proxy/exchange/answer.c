/*
 * Answers of our own: errors, as plain text, saying nothing about the servers.
 */
#include "proxy/exchange/exchange.h"

#include "proxy/worker.h"

/* Content that is all here already is stepped over, so that the connection can live on. */
static void skip_content_in_hand(struct exchange *x)
{
	struct iobuf *in = x->client->conn.in;

	while (!x->request_done && in && x->body_at < in->end) {
		struct span data, rest = span_make(in->data + x->body_at, in->end - x->body_at);
		struct http_fault fault;
		size_t used;
		enum parse_rc rc = http1_body_next(&x->request_body, rest, &used, &data, &fault);

		if (rc == PARSE_BAD || (rc == PARSE_MORE && !used))
			return;
		x->body_at += (uint32_t)used;
		x->request_done = rc == PARSE_DONE;
	}
}

static const char *extra_field(uint16_t status)
{
	if (status == 503)
		return "Retry-After: 1\r\n";
	if (status == 405) /* RFC 9110 15.5.6 wants it */
		return "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n";
	return "";
}

static size_t format(struct exchange *x, char *out, size_t size)
{
	const char *reason = http_reason(x->status);
	struct span date = worker_date(x->worker);
	bool has_id = x->has_request_id;
	char body[64];
	int body_len = snprintf(body, sizeof(body), "%u %s\n", x->status, reason);
	int n = snprintf(out, size,
		"HTTP/1.1 %u %s\r\n%.*sContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
		"%d\r\n"
		"%s%.*s%s%s%s\r\n%s",
		x->status, reason, SPAN_ARG(date), body_len, has_id ? "X-Request-Id: " : "",
		has_id ? (int)sizeof(x->request_id) : 0, x->request_id, has_id ? "\r\n" : "",
		extra_field(x->status), x->keep_client ? "" : "Connection: close\r\n",
		x->request.method == HTTP_HEAD ? "" : body);

	ASSERT(n > 0 && (size_t)n < size);
	x->bytes_out = x->request.method == HTTP_HEAD ? 0 : (uint64_t)body_len;
	return (size_t)n;
}

void exchange_answer(struct exchange *x, uint16_t status, enum exchange_end why)
{
	struct stage *s = &x->worker->stage;
	size_t room;
	char *out;

	ASSERT(!x->response_started && status >= 400);
	x->status = status;
	x->end = why;
	if (x->plain) { /* there is no other way to say so */
		exchange_cut(x, why);
		return;
	}
	if (x->server)
		exchange_release_server(x, false);
	if (why == END_CLIENT_BAD || why == END_CLIENT_TIMEOUT)
		x->request_done = false; /* where it ends is nothing to rely on: close */
	else
		skip_content_in_hand(x);
	x->keep_client = x->keep_client && x->request_done && !client_is_leaving(x->client) &&
			 x->request.minor > 0 && (!x->client->conn.eof || exchange_next_in_hand(x));
	x->response_started = true;
	stage_reset(s);
	out = stage_scratch(s, &room);
	stage_wrote(s, format(x, out, room));
	if (conn_flush(&x->client->conn, s) < 0) {
		exchange_cut(x, why);
		return;
	}
	exchange_finish(x);
}
