/*
 * Answers of our own: errors, as plain text, saying nothing about the servers.
 */
#include "proxy/exchange/exchange.h"

#include <stdarg.h>

#include "proxy/worker.h"

#define HTTP_LINE_MAX 9216 /* of a target, a host and what stands around them */

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

static void stage_text(struct stage *s, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void stage_text(struct stage *s, const char *format, ...)
{
	va_list args;
	size_t room;
	char *out = stage_scratch(s, &room);
	int n;

	va_start(args, format);
	n = vsnprintf(out, room, format, args);
	va_end(args);
	ASSERT(n >= 0 && (size_t)n < room);
	stage_wrote(s, (size_t)n);
}

static void stage_answer(struct exchange *x, const struct answer *a)
{
	struct stage *s = &x->worker->stage;
	struct span date = worker_date(x->worker);
	bool has_id = x->has_request_id;

	stage_text(s, "HTTP/1.1 %u %s\r\n%.*s", a->status, http_reason(a->status), SPAN_ARG(date));
	if (a->content_type.len)
		stage_text(s, "Content-Type: %.*s\r\nContent-Length: %zu\r\n",
			SPAN_ARG(a->content_type), a->content.len);
	stage_span(s, a->fields);
	stage_span(s, exchange_hsts(x));
	stage_text(s, "%s%.*s%s%s\r\n", has_id ? "X-Request-Id: " : "",
		has_id ? (int)sizeof(x->request_id) : 0, x->request_id, has_id ? "\r\n" : "",
		x->keep_client ? "" : "Connection: close\r\n");
	x->bytes_out = 0;
	if (x->request.method == HTTP_HEAD || !a->content_type.len)
		return;
	stage_span(s, a->content);
	x->bytes_out = a->content.len;
}

void exchange_answer(struct exchange *x, uint16_t status, enum exchange_end why)
{
	char words[64];
	int n = snprintf(words, sizeof(words), "%u %s\n", status, http_reason(status));
	const struct answer a = {.status = status,
		.fields = span_of(extra_field(status)),
		.content_type = SPAN("text/plain; charset=utf-8"),
		.content = span_make(words, (size_t)n)};

	ASSERT(status >= 400);
	exchange_answer_with(x, &a, why);
}

void exchange_answer_with(struct exchange *x, const struct answer *a, enum exchange_end why)
{
	struct stage *s = &x->worker->stage;

	ASSERT(!x->response_started);
	x->status = a->status;
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
	stage_answer(x, a);
	if (conn_flush(&x->client->conn, s) < 0) {
		exchange_cut(x, why);
		return;
	}
	exchange_finish(x);
}

void exchange_send_to_tls(struct exchange *x)
{
	const struct http_head *h = &x->request;
	struct span host = exchange_without_port(h->authority);
	struct span target = h->target.ptr[0] == '/' ? h->target : SPAN("/"); /* else "*" */
	bool safe = h->method == HTTP_GET || h->method == HTTP_HEAD;
	uint16_t status = safe ? 301 : 308; /* with 301 others may become GET (RFC 9110 15.4.2) */
	char port[8] = "", line[HTTP_LINE_MAX], words[64];
	int n, len;

	if (!host.len) {
		exchange_answer(x, 400, END_REFUSED);
		return;
	}
	if (x->listener->redirect_port != 443)
		snprintf(port, sizeof(port), ":%u", x->listener->redirect_port);
	len = snprintf(line, sizeof(line), "Location: https://%.*s%s%.*s\r\n", SPAN_ARG(host), port,
		SPAN_ARG(target));
	if (len < 0 || (size_t)len >= sizeof(line)) {
		exchange_answer(x, 414, END_REFUSED);
		return;
	}
	n = snprintf(words, sizeof(words), "%u %s\n", status, http_reason(status));
	exchange_answer_with(x,
		&(const struct answer){.status = status,
			.fields = span_make(line, (size_t)len),
			.content_type = SPAN("text/plain; charset=utf-8"),
			.content = span_make(words, (size_t)n)},
		END_ANSWERED);
}
