/*
 * Heads of HTTP/1. The first byte says what is parsed (r h c: a response to GET, HEAD, CONNECT;
 * else a request), the second how it is cut. Oracles: any cutting gives the same result; what the
 * writer makes of a parsed head, parsed again, means the same.
 */
#include <stdio.h>
#include <stdlib.h>

#include "proxy/http/h1_internal.h"
#include "tests/fuzz/fuzz.h"

static const struct http_limits limits = {1024, 3072, 2048, 100};
static const struct http_limits wide = {65536, 65536, 65536, HTTP_FIELDS_MAX};
static struct http_head whole, pieces, again;

static enum parse_rc parse(struct http_head *h, struct span in, char kind,
	const struct http_limits *l, struct http_fault *ret_fault)
{
	switch (kind) {
	case 'r':
		return http1_parse_response(h, in, l, HTTP_GET, ret_fault);
	case 'h':
		return http1_parse_response(h, in, l, HTTP_HEAD, ret_fault);
	case 'c':
		return http1_parse_response(h, in, l, HTTP_CONNECT, ret_fault);
	}
	return http1_parse_request(h, in, l, ret_fault);
}

static void same_span(struct span a, struct span b)
{
	ASSERT(span_eq(a, b));
}

static void same_head(const struct http_head *a, const struct http_head *b)
{
	ASSERT(a->method == b->method && a->status == b->status && a->minor == b->minor);
	ASSERT(a->framing == b->framing && a->length == b->length &&
		a->has_length == b->has_length);
	ASSERT(a->keep_alive == b->keep_alive && a->expect_continue == b->expect_continue);
	ASSERT(a->te_trailers == b->te_trailers && a->absolute_form == b->absolute_form);
	ASSERT(a->head_bytes == b->head_bytes && a->field_count == b->field_count);
	ASSERT(a->repeated == b->repeated && memcmp(a->first, b->first, sizeof(a->first)) == 0);
	same_span(a->method_text, b->method_text);
	same_span(a->target, b->target);
	same_span(a->authority, b->authority);
	same_span(a->reason, b->reason);
	same_span(a->upgrade, b->upgrade);
	for (unsigned i = 0; i < a->field_count; i++) {
		same_span(a->fields[i].name, b->fields[i].name);
		same_span(a->fields[i].value, b->fields[i].value);
		ASSERT(a->fields[i].id == b->fields[i].id);
		ASSERT(a->fields[i].nominated == b->fields[i].nominated);
	}
}

/* Parsed in pieces, each time in memory of its own; step 0: as the seed says. */
static void check_pieces(struct span text, char kind, uint32_t seed, size_t step, enum parse_rc rc,
	const struct http_fault *fault)
{
	struct http_fault piece_fault = {0};
	enum parse_rc piece_rc = PARSE_MORE;
	char *old = NULL;
	size_t n = 0;

	http_head_init(&pieces);
	while (piece_rc == PARSE_MORE && n < text.len) {
		char *now;

		n += step ? step : fuzz_piece(&seed);
		n = n < text.len ? n : text.len;
		now = malloc(n);
		ASSERT(now);
		memcpy(now, text.ptr, n);
		piece_rc = parse(&pieces, span_make(now, n), kind, &limits, &piece_fault);
		free(old);
		old = now;
	}
	ASSERT(piece_rc == rc);
	if (rc == PARSE_DONE)
		same_head(&whole, &pieces);
	if (rc == PARSE_BAD)
		ASSERT(piece_fault.status == fault->status && piece_fault.at == fault->at &&
			piece_fault.why == fault->why);
	free(old);
}

/* The fields of `whole` that pass, in order, are those of `again` from the first on. */
static void check_fields_passed(uint64_t taken_out, unsigned first)
{
	unsigned at = first;

	for (unsigned i = 0; i < whole.field_count; i++) {
		const struct http_field *f = &whole.fields[i];

		if (f->nominated || field_in(f->id, taken_out))
			continue;
		ASSERT(at < again.field_count);
		same_span(f->name, again.fields[at].name);
		same_span(f->value, again.fields[at].value);
		at++;
	}
	for (unsigned i = 0; i < again.field_count; i++)
		ASSERT(!again.fields[i].nominated || again.fields[i].id == HTTP_F_TE);
}

static void check_request_written(bool trusted)
{
	struct http1_request_out o = {
		.target = whole.target,
		.host = whole.authority.len ? whole.authority : SPAN("none"),
		.client_ip = SPAN("192.0.2.1"),
		.trusted = trusted,
		.fixed = SPAN("X-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\n"),
		.request_id = SPAN("id"),
		.via = SPAN("lb"),
		.upgrade = true,
		.framing = whole.framing,
		.length = whole.length,
	};
	uint64_t taken_out = FIELDS_HOP_BY_HOP | FIELD_BIT(HOST) | FIELD_BIT(CONTENT_LENGTH) |
			     FIELD_BIT(EXPECT) | FIELD_BIT(X_FORWARDED_FOR);
	struct http_fault fault;
	static char out[16384];
	size_t n = http1_write_request(out, sizeof(out), &whole, &o);

	ASSERT(n > 0);
	http_head_init(&again);
	ASSERT(http1_parse_request(&again, span_make(out, n), &wide, &fault) == PARSE_DONE);
	ASSERT(again.head_bytes == n && again.minor == 1 && again.method == whole.method);
	ASSERT(again.framing == whole.framing && again.length == whole.length);
	ASSERT(again.keep_alive && !again.absolute_form && !again.expect_continue);
	ASSERT(again.te_trailers == whole.te_trailers);
	same_span(again.method_text, whole.method_text);
	same_span(again.target, whole.target);
	same_span(again.authority, o.host);
	same_span(again.upgrade, whole.upgrade);
	if (!trusted)
		taken_out |= FIELDS_FORWARDED | FIELD_BIT(X_FORWARDED) | FIELD_BIT(X_REQUEST_ID);
	check_fields_passed(taken_out, 1);
}

static void check_response_written(char kind)
{
	struct http1_response_out o = {
		.framing = whole.framing,
		.length = whole.length,
		.has_length = whole.has_length,
		.keep_alive = whole.keep_alive,
		.client_minor = 1,
		.upgrade = whole.upgrade.len > 0,
		.via = SPAN("lb"),
		.date = SPAN("Date: d\r\n"),
	};
	struct http_fault fault;
	static char out[16384];
	size_t n = http1_write_response(out, sizeof(out), &whole, &o);

	ASSERT(n > 0);
	http_head_init(&again);
	ASSERT(parse(&again, span_make(out, n), kind, &wide, &fault) == PARSE_DONE);
	ASSERT(again.head_bytes == n && again.status == whole.status);
	ASSERT(again.framing == whole.framing && again.length == whole.length);
	ASSERT(again.has_length == whole.has_length);
	ASSERT(again.keep_alive == whole.keep_alive || whole.status < 200);
	same_span(again.reason, whole.reason);
	check_fields_passed(FIELDS_HOP_BY_HOP | FIELD_BIT(CONTENT_LENGTH), 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_fault fault = {0};
	struct span text;
	enum parse_rc rc;
	char kind;

	if (size < 3)
		return 0;
	kind = (char)data[0];
	text = span_make(data + 2, size - 2);
	http_head_init(&whole);
	rc = parse(&whole, text, kind, &limits, &fault);
	check_pieces(text, kind, data[1], 0, rc, &fault);
	check_pieces(text, kind, 0, 1, rc, &fault);
	if (rc == PARSE_BAD)
		ASSERT(fault.status >= 400 && fault.at <= text.len && fault.why);
	if (rc != PARSE_DONE)
		return 0;
	ASSERT(whole.head_bytes <= text.len && whole.head_bytes <= limits.head_bytes);
	ASSERT(memcmp(text.ptr + whole.head_bytes - 4, "\r\n\r\n", 4) == 0);
	if (kind == 'r' || kind == 'h' || kind == 'c')
		check_response_written(kind);
	else
		check_request_written(data[1] & 1);
	return 0;
}
