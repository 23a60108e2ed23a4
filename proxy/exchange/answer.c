/*
 * Answers of our own: errors, as plain text, saying nothing about the servers.
 */
#include "proxy/exchange/exchange.h"

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

/* What goes before the content, as a head like any other. */
static int put_head(struct exchange *x, const struct answer *a)
{
	struct http_head *h = &x->response;
	const struct http1_response_out o = {
		.framing = (enum http_framing)x->out_framing,
		.length = a->content.len,
		.has_length = a->content_type.len,
		.keep_alive = x->keep_client,
		.client_minor = x->request.minor,
		.date = worker_date(x->worker),
		.hsts = exchange_hsts(x),
		.own = a->fields,
	};

	http_head_init(h);
	h->status = a->status;
	h->reason = span_of(http_reason(a->status));
	if (a->content_type.len)
		h->fields[h->field_count++] =
			(struct http_field){.name = SPAN("Content-Type"), .value = a->content_type};
	if (x->has_request_id)
		h->fields[h->field_count++] = (struct http_field){
			.name = SPAN("X-Request-Id"), .value = exchange_request_id(x)};
	return exchange_put_response(x, &o);
}

/* -1: it does not fit. */
static int stage_answer(struct exchange *x, const struct answer *a)
{
	bool has_content = x->request.method != HTTP_HEAD && a->content.len;

	x->out_framing = has_content ? HTTP_LENGTH : HTTP_NO_BODY;
	x->response_done = !has_content;
	x->bytes_out = 0;
	if (put_head(x, a) < 0)
		return -1;
	x->response_done = true;
	if (!has_content)
		return 0;
	stage_span(&x->worker->stage, a->content);
	x->bytes_out = a->content.len;
	return exchange_stage_end(
		&x->client->conn, &x->worker->stage, HTTP_LENGTH, span_make(NULL, 0));
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
	if (stage_answer(x, a) < 0 || conn_flush(&x->client->conn, s) < 0) {
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
