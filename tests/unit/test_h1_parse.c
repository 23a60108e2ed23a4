/*
 * Heads of HTTP/1: what is understood, and every way of being refused. Each input is parsed whole,
 * split at every position, and byte by byte in a buffer that moves; the results must be the same.
 */
#include "proxy/http/http1.h"

#include "tests/unit/check.h"

static const struct http_limits LIMITS = {8192, 32768, 16384, 100};
static struct http_head head, again;
static struct http_fault fault, fault_again;

#define NOT_A_RESPONSE HTTP_OTHER /* asked "as what method": parse a request instead */

static enum parse_rc parse(struct http_head *h, struct span in, enum http_method asked,
	const struct http_limits *limits, struct http_fault *ret_fault)
{
	if (asked == NOT_A_RESPONSE)
		return http1_parse_request(h, in, limits, ret_fault);
	return http1_parse_response(h, in, limits, asked, ret_fault);
}

static bool same_place(const char *a_base, struct span a, const char *b_base, struct span b)
{
	return a.len == b.len && (a.len == 0 || (a.ptr - a_base == b.ptr - b_base));
}

/* Is `again`, parsed in pieces out of `moved`, the same as `head`, parsed at once out of `text`? */
static bool same_head(const char *text, const char *moved)
{
	bool same = head.method == again.method && head.minor == again.minor &&
		    head.status == again.status && head.framing == again.framing &&
		    head.length == again.length && head.has_length == again.has_length &&
		    head.keep_alive == again.keep_alive &&
		    head.expect_continue == again.expect_continue &&
		    head.te_trailers == again.te_trailers && head.head_bytes == again.head_bytes &&
		    head.field_count == again.field_count && head.repeated == again.repeated &&
		    span_eq(head.target, again.target) &&
		    span_eq(head.authority, again.authority) &&
		    same_place(text, head.method_text, moved, again.method_text) &&
		    same_place(text, head.reason, moved, again.reason) &&
		    same_place(text, head.upgrade, moved, again.upgrade) &&
		    memcmp(head.first, again.first, sizeof(head.first)) == 0;

	for (unsigned i = 0; same && i < head.field_count; i++) {
		const struct http_field *a = &head.fields[i], *b = &again.fields[i];

		same = a->id == b->id && a->nominated == b->nominated &&
		       same_place(text, a->name, moved, b->name) &&
		       same_place(text, a->value, moved, b->value);
	}
	return same;
}

/* The first `cut` bytes, then in steps of `step`, each time in memory of its own size and place. */
static enum parse_rc parse_in_pieces(struct span text, size_t cut, size_t step,
	enum http_method asked, const struct http_limits *limits, char **ret_moved)
{
	enum parse_rc rc = PARSE_MORE;
	char *old = NULL;

	http_head_init(&again);
	for (size_t n = cut; rc == PARSE_MORE; n = n + step < text.len ? n + step : text.len) {
		char *now = malloc(n + 1);

		CHECK_TRUE(now != NULL);
		memcpy(now, text.ptr, n);
		rc = parse(&again, span_make(now, n), asked, limits, &fault_again);
		free(old);
		old = now;
		if (n == text.len)
			break;
	}
	*ret_moved = old;
	return rc;
}

static bool split_agrees(struct span text, size_t cut, size_t step, enum http_method asked,
	const struct http_limits *limits, enum parse_rc rc)
{
	char *moved;
	bool same = parse_in_pieces(text, cut, step, asked, limits, &moved) == rc;

	if (rc == PARSE_DONE)
		same = same && same_head(text.ptr, moved);
	if (rc == PARSE_BAD)
		same = same && fault.status == fault_again.status && fault.at == fault_again.at &&
		       fault.why == fault_again.why;
	if (!same)
		fprintf(stderr, "\ncut at %zu, then by %zu: '%.*s'\n", cut, step, SPAN_ARG(text));
	free(moved);
	return same;
}

static enum parse_rc parse_every_way(
	struct span text, enum http_method asked, const struct http_limits *limits)
{
	enum parse_rc rc;
	bool same = true;

	http_head_init(&head);
	rc = parse(&head, text, asked, limits, &fault);
	for (size_t cut = 0; cut < text.len && same; cut += text.len > 2000 ? 97 : 1)
		same = split_agrees(text, cut, text.len, asked, limits, rc);
	CHECK(same);
	CHECK(split_agrees(text, 0, text.len > 2000 ? 89 : 1, asked, limits, rc));
	return rc;
}

static enum parse_rc request(const char *text)
{
	return parse_every_way(span_of(text), NOT_A_RESPONSE, &LIMITS);
}

static enum parse_rc response(const char *text, enum http_method asked)
{
	return parse_every_way(span_of(text), asked, &LIMITS);
}

/* A request that must be refused with this status. */
static void refused_span(struct span text, int status)
{
	enum parse_rc rc = parse_every_way(text, NOT_A_RESPONSE, &LIMITS);

	if (rc != PARSE_BAD || fault.status != status || fault.at > text.len || !fault.why)
		fprintf(stderr, "\nnot refused with %d: '%.*s'\n", status, SPAN_ARG(text));
	CHECK_INT(rc, PARSE_BAD);
	CHECK_INT(fault.status, status);
	CHECK(fault.at <= text.len && fault.why != NULL);
}

static void refused(const char *text, int status)
{
	refused_span(span_of(text), status);
}

static void understood(const char *text)
{
	enum parse_rc rc = request(text);

	if (rc != PARSE_DONE)
		fprintf(stderr, "\nnot understood (%s): '%s'\n",
			rc == PARSE_BAD ? fault.why : "more", text);
	CHECK_TRUE(rc == PARSE_DONE);
	CHECK_INT(head.head_bytes, strlen(text));
}

static void answered(const char *text, enum http_method asked)
{
	enum parse_rc rc = response(text, asked);

	if (rc != PARSE_DONE)
		fprintf(stderr, "\nnot understood (%s): '%s'\n",
			rc == PARSE_BAD ? fault.why : "more", text);
	CHECK_TRUE(rc == PARSE_DONE);
}

static void garbage(const char *text)
{
	CHECK_INT(response(text, HTTP_GET), PARSE_BAD);
	CHECK_INT(fault.status, 502);
	CHECK(fault.why != NULL);
}

#define H "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n" H
#define POST "POST / HTTP/1.1\r\n" H

static void a_plain_request_is_taken_apart(void)
{
	understood(
		"GET /a/b?c=d HTTP/1.1\r\nHost: example.com:8080\r\nAccept:  */* \t\r\nX-Empty:\r\n"
		"X-Blank: \t \r\n\r\n");
	CHECK_INT(head.method, HTTP_GET);
	CHECK_TEXT(head.method_text, "GET");
	CHECK_TEXT(head.target, "/a/b?c=d");
	CHECK_TEXT(head.authority, "example.com:8080");
	CHECK_INT(head.minor, 1);
	CHECK_INT(head.framing, HTTP_NO_BODY);
	CHECK(head.keep_alive && !head.has_length && !head.expect_continue && !head.absolute_form);
	CHECK_INT(head.field_count, 4);
	CHECK_TEXT(head.fields[1].name, "Accept");
	CHECK_TEXT(head.fields[1].value, "*/*");
	CHECK_TEXT(head.fields[2].value, "");
	CHECK_TEXT(head.fields[3].value, "");
	CHECK_INT(head.fields[1].id, HTTP_F_OTHER);
	CHECK(http_field_find(&head, HTTP_F_HOST) == &head.fields[0]);
	CHECK(http_field_find(&head, HTTP_F_COOKIE) == NULL);
}

static void content_begins_where_the_head_ends(void)
{
	CHECK_INT(request(POST "Content-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n"), PARSE_DONE);
	CHECK_INT(head.head_bytes, strlen(POST "Content-Length: 3\r\n\r\n"));
	CHECK_INT(head.framing, HTTP_LENGTH);
	CHECK_INT(head.length, 3);
}

static void methods_are_known_by_their_exact_name(void)
{
	understood("DELETE / HTTP/1.1\r\n" H "\r\n");
	CHECK_INT(head.method, HTTP_DELETE);
	understood("OPTIONS * HTTP/1.1\r\n" H "\r\n");
	CHECK_INT(head.method, HTTP_OPTIONS);
	CHECK_TEXT(head.target, "*");
	understood("get / HTTP/1.1\r\n" H "\r\n");
	CHECK_INT(head.method, HTTP_OTHER);
	understood("M-SEARCH!#$%&'*+.^_`|~ / HTTP/1.1\r\n" H "\r\n");
	CHECK_INT(head.method, HTTP_OTHER);
	CHECK_TEXT(head.method_text, "M-SEARCH!#$%&'*+.^_`|~");
	understood("TRACE / HTTP/1.1\r\n" H "\r\n");
	CHECK_INT(head.method, HTTP_TRACE);
	understood("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
	CHECK_INT(head.method, HTTP_CONNECT);
	CHECK_TEXT(head.authority, "a:443");
}

static void empty_lines_before_a_request_are_skipped(void)
{
	understood("\r\n\r\n" GET "\r\n");
	CHECK_TEXT(head.method_text, "GET");
	refused("\n" GET "\r\n", 400);
	CHECK_INT(fault.at, 0);
}

static void length_and_transfer_encoding_together_are_refused(void)
{
	refused(POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
	refused(POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400);
	refused(POST "Transfer-Encoding: gzip\r\nContent-Length: 3\r\n\r\n", 400);
	refused(POST "transfer-encodinG:chunked\r\ncontent-lengtH:0\r\n\r\n", 400);
}

static void a_length_that_is_not_one_number_is_refused(void)
{
	static const char *const values[] = {"", "3, 3", "3,3", "+3", "-3", "3 3", "0x3", "3.",
		"3a", "a", "\"3\"", "9223372036854775808", "18446744073709551616",
		"99999999999999999999999", "3;", "\t", "3\xa0"};
	char text[256];

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		snprintf(text, sizeof(text), POST "Content-Length: %s\r\n\r\n", values[i]);
		refused(text, 400);
	}
	refused(POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400);
	refused(POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400);
	understood(POST "Content-Length: 9223372036854775807\r\n\r\n");
	CHECK(head.length == INT64_MAX);
	understood(POST "Content-Length: 00000000000000000000042\r\n\r\n");
	CHECK_INT(head.length, 42);
	understood(POST "Content-Length: 0\r\n\r\n");
	CHECK_INT(head.framing, HTTP_LENGTH);
	CHECK(head.has_length);
}

static void chunked_must_come_last_and_once(void)
{
	understood(POST "Transfer-Encoding: Chunked\r\n\r\n");
	CHECK_INT(head.framing, HTTP_CHUNKED);
	refused(POST "Transfer-Encoding: chunked, gzip\r\n\r\n", 400);
	refused(POST "Transfer-Encoding: chunked, chunked\r\n\r\n", 400);
	refused(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
	refused(POST "Transfer-Encoding: chunked\r\nX: y\r\nTransfer-Encoding: identity\r\n\r\n",
		400);
	refused(POST "Transfer-Encoding: chunked,\r\n\r\n", 400);
	refused(POST "Transfer-Encoding:\r\n\r\n", 400);
	refused(POST "Transfer-Encoding: ,chunked\r\n\r\n", 400);
	refused(POST "Transfer-Encoding: chunked;q=1\r\n\r\n", 400);
	refused(POST "Transfer-Encoding: \"chunked\"\r\n\r\n", 400);
	refused("POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 400);
}

static void transfer_codings_other_than_chunked_are_not_implemented(void)
{
	refused(POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501);
	refused(POST "Transfer-Encoding: gzip\r\n\r\n", 501);
	refused(POST "Transfer-Encoding: identity\r\n\r\n", 501);
	refused(POST "Transfer-Encoding: xchunked\r\n\r\n", 501);
	refused(POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 501);
}

static void bare_line_ends_are_refused(void)
{
	refused("GET / HTTP/1.1\nHost: a\r\n\r\n", 400);
	CHECK_INT(fault.at, 14);
	refused("GET / HTTP/1.1\r\nHost: a\n\r\n", 400);
	refused("GET / HTTP/1.1\r\nHost: a\n\n", 400);
	refused("GET / HTTP/1.1\r\nHost: a\r\n\n", 400);
	refused("GET / HTTP/1.1\rHost: a\r\n\r\n", 400);
	refused(GET "X: a\rb\r\n\r\n", 400);
	refused(GET "X: a\r\r\n\r\n", 400);
	refused(GET "X: a\nTransfer-Encoding: chunked\r\n\r\n", 400);
	refused(GET "\r\r\n\r\n", 400);
}

static void folded_lines_are_refused(void)
{
	refused(GET "X: a\r\n b\r\n\r\n", 400);
	CHECK(strcmp(fault.why, "folded field line") == 0);
	refused(GET "X: a\r\n\tb\r\n\r\n", 400);
	refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400);
	refused(GET "X: a\r\n \r\n\r\n", 400);
}

static void field_names_must_be_tokens(void)
{
	refused(GET "X : a\r\n\r\n", 400);
	refused(GET "Content-Length : 5\r\n\r\n", 400);
	refused(GET "Transfer-Encoding\t: chunked\r\n\r\n", 400);
	refused(GET ": a\r\n\r\n", 400);
	refused(GET "X\r\n\r\n", 400);
	refused(GET "no colon at all in this one\r\n\r\n", 400);
	refused(GET "X(y): a\r\n\r\n", 400);
	refused(GET "X\x80: a\r\n\r\n", 400);
	refused(GET "\"X\": a\r\n\r\n", 400);
	refused(GET "A-Name-Of-More-Than-Sixteen-Bytes And-A-Space: a\r\n\r\n", 400);
	understood(GET "!#$%&'*+-.^_`|~09azAZ: a\r\n\r\n");
	understood(GET "X::: a:b\r\n\r\n");
	CHECK_TEXT(head.fields[1].value, ":: a:b");
}

static void control_bytes_in_a_value_are_refused(void)
{
	char text[] = GET "X-Value: some text ? and more than sixteen bytes\r\n\r\n";
	char *place = strchr(text, '?');

	for (int c = 0; c < 256; c++) {
		*place = (char)c;
		if ((c < 32 && c != '\t') || c == 127)
			refused_span(span_make(text, sizeof(text) - 1), 400);
		else
			understood(text);
	}
}

static void bytes_that_no_target_holds_are_refused(void)
{
	char text[] = "GET /some/path/of?more=than-sixteen HTTP/1.1\r\n" H "\r\n";
	char *place = strchr(text, '?');

	for (int c = 0; c < 256; c++) {
		*place = (char)c;
		if (c <= 32 || c >= 127 || c == '#')
			refused_span(span_make(text, sizeof(text) - 1), 400);
		else
			understood(text);
	}
}

static void request_lines_have_three_words_and_single_spaces(void)
{
	refused("GET  / HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET /  HTTP/1.1\r\n" H "\r\n", 400);
	refused(" GET / HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET / HTTP/1.1 \r\n" H "\r\n", 400);
	refused("GET\t/ HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET /\tHTTP/1.1\r\n" H "\r\n", 400);
	refused("GET HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET\r\n" H "\r\n", 400);
	refused("GET / a HTTP/1.1\r\n" H "\r\n", 400);
	refused("G@T / HTTP/1.1\r\n" H "\r\n", 400);
	refused("G\x80T / HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET / HTTP/1.1, HTTP/1.1\r\n" H "\r\n", 400);
	refused("\x16\x03\x01\x02", 400);
}

static void versions_are_one_point_something(void)
{
	understood("GET / HTTP/1.0\r\n\r\n");
	CHECK_INT(head.minor, 0);
	understood("GET / HTTP/1.7\r\n" H "\r\n");
	CHECK_INT(head.minor, 1);
	refused("GET / HTTP/2.0\r\n" H "\r\n", 505);
	refused("GET / HTTP/9.9\r\n" H "\r\n", 505);
	refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
	refused("GET / HTTP/0.9\r\n" H "\r\n", 400);
	refused("GET /\r\n", 400);
	refused("GET / \r\n", 400);
	refused("GET / http/1.1\r\n" H "\r\n", 400);
	refused("GET / HTTP/1.10\r\n" H "\r\n", 400);
	refused("GET / HTTP/11.1\r\n" H "\r\n", 400);
	refused("GET / HTTP/1,1\r\n" H "\r\n", 400);
	refused("GET / HTTP/1.\r\n" H "\r\n", 400);
	refused("GET / HTTPS/1.1\r\n" H "\r\n", 400);
}

static void one_good_host_is_needed(void)
{
	static const char *const good[] = {"a", "example.com", "example.com.", "a:0", "a:65535",
		"127.0.0.1:80", "[::1]", "[::1]:80", "[2001:db8::192.0.2.1]:443", "under_score.x",
		"xn--nxasmq6b", "A-b.C~d"};
	static const char *const bad[] = {"", "a b", "a:", "a:b", "a:80:80", "a:65536", "a:000080",
		"a/", "a/b", "a@b", "a,b", "a?b", "a\\b", "[::1", "::1", "[::1]80", "[::g]", "[]",
		"[1.2.3.4]", "[::1%25eth0]", "a%41", ":80", "http://a", "\xc3\xa4", "a:+8", "a;b",
		"*"};
	char text[256];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", good[i]);
		understood(text);
		CHECK_TEXT(head.authority, good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
		refused(text, 400);
	}
	refused("GET / HTTP/1.1\r\n\r\n", 400);
	refused("GET / HTTP/1.1\r\n" H H "\r\n", 400);
	refused("GET / HTTP/1.0\r\n" H H "\r\n", 400);
	refused("GET / HTTP/1.1\r\n" H "host: b\r\n\r\n", 400);
	understood("GET / HTTP/1.0\r\n\r\n");
	CHECK_TEXT(head.authority, "");
}

static void absolute_form_must_agree_with_host(void)
{
	understood("GET http://Example.com/a?b HTTP/1.1\r\nHost: example.com\r\n\r\n");
	CHECK(head.absolute_form);
	CHECK_TEXT(head.target, "/a?b");
	CHECK_TEXT(head.authority, "example.com");
	understood("GET HTTPS://a:8443/ HTTP/1.1\r\nHost: a:8443\r\n\r\n");
	CHECK_TEXT(head.target, "/");
	understood("GET http://a HTTP/1.1\r\n" H "\r\n");
	CHECK_TEXT(head.target, "/");
	understood("OPTIONS http://a HTTP/1.1\r\n" H "\r\n");
	CHECK_TEXT(head.target, "*");
	understood("GET http://a/b HTTP/1.0\r\n\r\n");
	CHECK_TEXT(head.authority, "a");
	understood("GET http://a/?u=http://b/ HTTP/1.1\r\n" H "\r\n");
	CHECK_TEXT(head.target, "/?u=http://b/");
	refused("GET http://b/ HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET http://a:80/ HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET http://a/ HTTP/1.1\r\n\r\n", 400);
	refused("GET http://user@a/ HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET http:///x HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET http:// HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET https:// HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET http://a?b HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET ftp://a/ HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET a HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET a/b HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET * HTTP/1.1\r\n" H "\r\n", 400);
	refused("OPTIONS ** HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET ?x HTTP/1.1\r\n" H "\r\n", 400);
}

static void connect_names_host_and_port_and_has_no_content(void)
{
	refused("CONNECT a HTTP/1.1\r\n" H "\r\n", 400);
	refused("CONNECT / HTTP/1.1\r\n" H "\r\n", 400);
	refused("CONNECT b:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 400);
	refused("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 1\r\n\r\n", 400);
	refused("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
}

static char *filled(const char *before, size_t count, const char *after)
{
	size_t a = strlen(before), b = strlen(after);
	char *text = malloc(a + count + b + 1);

	CHECK_TRUE(text != NULL);
	memcpy(text, before, a);
	memset(text + a, 'x', count);
	memcpy(text + a + count, after, b + 1);
	return text;
}

static void a_request_line_over_the_limit_is_414(void)
{
	char *text = filled("GET /", 8192 - 14, " HTTP/1.1\r\n" H "\r\n");

	understood(text);
	free(text);
	text = filled("GET /", 8192 - 13, " HTTP/1.1\r\n" H "\r\n");
	refused(text, 414);
	free(text);
	text = filled("GET /", 9000, "");
	refused(text, 414);
	free(text);
}

static void a_field_over_the_limit_is_431(void)
{
	char *text = filled(GET "X: ", 16384 - 3, "\r\n\r\n");

	understood(text);
	free(text);
	text = filled(GET "X: ", 16384 - 2, "\r\n\r\n");
	refused(text, 431);
	free(text);
}

static void a_head_over_the_limit_is_431(void)
{
	static const struct http_limits small = {100, 200, 190, 10};
	char *text = filled(GET "X: ", 200 - strlen(GET "X: \r\n\r\n"), "\r\n\r\n");

	CHECK_INT(parse_every_way(span_of(text), NOT_A_RESPONSE, &small), PARSE_DONE);
	free(text);
	text = filled(GET "X: ", 201 - strlen(GET "X: \r\n\r\n"), "\r\n\r\n");
	CHECK_INT(parse_every_way(span_of(text), NOT_A_RESPONSE, &small), PARSE_BAD);
	CHECK_INT(fault.status, 431);
	free(text);
	/* nor can empty lines go on for ever */
	text = malloc(402);
	CHECK_TRUE(text != NULL);
	for (int i = 0; i < 401; i++)
		text[i] = i % 2 ? '\n' : '\r';
	CHECK_INT(parse_every_way(span_make(text, 401), NOT_A_RESPONSE, &small), PARSE_BAD);
	CHECK_INT(fault.status, 431);
	free(text);
}

static void more_fields_than_the_limit_are_431(void)
{
	char text[4096] = "GET / HTTP/1.1\r\n" H;
	size_t at = strlen(text);

	for (int i = 1; i < 100; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "X-%d: y\r\n", i);
	snprintf(text + at, sizeof(text) - at, "\r\n");
	understood(text);
	CHECK_INT(head.field_count, 100);
	snprintf(text + at, sizeof(text) - at, "X-100: y\r\n\r\n");
	refused(text, 431);
}

static void persistence_follows_version_and_connection(void)
{
	understood(GET "\r\n");
	CHECK(head.keep_alive);
	understood(GET "Connection: close\r\n\r\n");
	CHECK(!head.keep_alive);
	understood(GET "Connection: foo, CLOSE ,,bar\r\n\r\n");
	CHECK(!head.keep_alive);
	understood(GET "Connection: foo\r\nConnection: close\r\n\r\n");
	CHECK(!head.keep_alive);
	understood(GET "Connection: keep-alive, close\r\n\r\n");
	CHECK(!head.keep_alive);
	understood("GET / HTTP/1.0\r\n\r\n");
	CHECK(!head.keep_alive);
	understood("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
	CHECK(head.keep_alive);
	refused(GET "Connection: a b\r\n\r\n", 400);
	refused(GET "Connection: \"close\"\r\n\r\n", 400);
	refused(GET "Connection: "
		    "a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\r\n\r\n",
		400);
}

static void connection_options_name_fields_for_this_hop(void)
{
	understood(GET "x-one: 1\r\nConnection: X-One, Cookie\r\nX-Two: 2\r\nX-ONE: 3\r\nCookie: "
		       "c\r\n\r\n");
	CHECK(head.fields[1].nominated && head.fields[4].nominated && head.fields[5].nominated);
	CHECK(!head.fields[0].nominated && !head.fields[3].nominated);
}

static void fields_that_we_set_cannot_be_nominated(void)
{
	understood("POST / HTTP/1.1\r\nConnection: Host, Content-Length, X-Forwarded-For, "
		   "X-Forwarded-Proto, Via, "
		   "X-Request-Id, Date, Forwarded, Transfer-Encoding, x-forwarded-host, "
		   "X-Forwarded-Port\r\n"
		   "Host: a\r\nContent-Length: 3\r\nX-Forwarded-For: b\r\nX-Forwarded-Proto: "
		   "c\r\nVia: d\r\n"
		   "X-Request-Id: e\r\nDate: f\r\nForwarded: g\r\nX-Forwarded-Host: "
		   "h\r\nX-Forwarded-Port: i\r\n\r\n");
	CHECK_INT(head.field_count, 11);
	for (unsigned i = 0; i < head.field_count; i++)
		CHECK(!head.fields[i].nominated);
	CHECK_INT(head.length, 3);
}

static void underscored_twins_of_our_fields_go_no_further(void)
{
	understood(GET "X_Forwarded_For: a\r\nx-forwarded_proto: b\r\nContent_Length: "
		       "5\r\nTransfer_Encoding: chunked\r\n"
		       "X_Request_ID: c\r\nX_Mine: d\r\nUser_Agent: e\r\n\r\n");
	for (unsigned i = 1; i < 6; i++)
		CHECK(head.fields[i].nominated);
	CHECK(!head.fields[6].nominated && !head.fields[7].nominated);
	CHECK_INT(head.framing, HTTP_NO_BODY);
}

static void only_one_expectation_can_be_met(void)
{
	understood(POST "Content-Length: 3\r\nExpect: 100-Continue\r\n\r\n");
	CHECK(head.expect_continue);
	understood(POST "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
	CHECK(head.expect_continue);
	understood(GET "Expect: 100-continue\r\n\r\n");
	CHECK(!head.expect_continue);
	understood("POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
	CHECK(!head.expect_continue);
	refused(POST "Content-Length: 3\r\nExpect: 200-ok\r\n\r\n", 417);
	refused(POST "Content-Length: 3\r\nExpect: 100-continue, x\r\n\r\n", 417);
	refused(POST "Content-Length: 3\r\nExpect: \r\n\r\n", 417);
	refused(POST "Content-Length: 3\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n",
		417);
}

static void upgrade_counts_only_when_connection_says_so(void)
{
	understood(GET "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
	CHECK_TEXT(head.upgrade, "websocket");
	understood(GET "Connection: keep-alive, Upgrade\r\nUpgrade: a/1, b\r\n\r\n");
	CHECK_TEXT(head.upgrade, "a/1, b");
	understood(GET "Upgrade: websocket\r\n\r\n");
	CHECK_TEXT(head.upgrade, "");
	understood("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
	CHECK_TEXT(head.upgrade, "");
	understood(GET "Connection: upgrade, HTTP2-Settings\r\nUpgrade: websocket, "
		       "H2C\r\nHTTP2-Settings: A\r\n\r\n");
	CHECK_TEXT(head.upgrade, "");
	CHECK(head.fields[3].nominated);
	understood(GET "Connection: upgrade\r\nUpgrade: a b\r\n\r\n");
	CHECK_TEXT(head.upgrade, "");
	understood(GET "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n");
	CHECK_TEXT(head.upgrade, "");
}

static void te_is_looked_through_for_trailers(void)
{
	understood(GET "TE: gzip;q=0.5, Trailers\r\n\r\n");
	CHECK(head.te_trailers);
	understood(GET "TE: gzip\r\nTE: trailers\r\n\r\n");
	CHECK(head.te_trailers);
	understood(GET "TE: gzip\r\n\r\n");
	CHECK(!head.te_trailers);
}

static void a_plain_response_is_taken_apart(void)
{
	answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello", HTTP_GET);
	CHECK_INT(head.status, 200);
	CHECK_TEXT(head.reason, "OK");
	CHECK_INT(head.framing, HTTP_LENGTH);
	CHECK_INT(head.length, 5);
	CHECK(head.keep_alive);
	answered("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", HTTP_GET);
	CHECK_TEXT(head.reason, "");
	answered("HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", HTTP_GET);
	CHECK_INT(head.status, 404);
	answered("HTTP/1.0 200 Tr\xc3\xa8s bien\r\nConnection: keep-alive\r\nContent-Length: "
		 "0\r\n\r\n",
		HTTP_GET);
	CHECK_TEXT(head.reason, "Tr\xc3\xa8s bien");
	CHECK(head.keep_alive);
}

static void responses_without_content_have_none_whatever_they_say(void)
{
	answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", HTTP_HEAD);
	CHECK_INT(head.framing, HTTP_NO_BODY);
	CHECK(head.has_length && head.length == 5 && head.keep_alive);
	answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_HEAD);
	CHECK_INT(head.framing, HTTP_NO_BODY);
	answered("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", HTTP_GET);
	CHECK_INT(head.framing, HTTP_NO_BODY);
	CHECK(head.has_length && head.length == 5 && head.keep_alive);
	answered("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", HTTP_GET);
	CHECK_INT(head.framing, HTTP_NO_BODY);
	CHECK(!head.has_length && head.keep_alive);
	answered("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", HTTP_GET);
	CHECK(!head.has_length && head.length == 0 && !head.keep_alive);
	answered("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", HTTP_GET);
	CHECK_INT(head.framing, HTTP_NO_BODY);
	answered("HTTP/1.1 200 OK\r\n\r\n", HTTP_CONNECT);
	CHECK_INT(head.framing, HTTP_NO_BODY);
	answered("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: "
		 "websocket\r\n\r\n",
		HTTP_GET);
	CHECK_TEXT(head.upgrade, "websocket");
}

static void a_response_without_framing_lasts_until_close(void)
{
	answered("HTTP/1.1 200 OK\r\n\r\n", HTTP_GET);
	CHECK_INT(head.framing, HTTP_UNTIL_CLOSE);
	CHECK(!head.keep_alive);
}

static void transfer_encoding_wins_over_length_and_ends_the_connection(void)
{
	answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
		HTTP_GET);
	CHECK_INT(head.framing, HTTP_CHUNKED);
	CHECK(!head.keep_alive && !head.has_length);
	answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_GET);
	CHECK(head.keep_alive);
	answered("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
		HTTP_GET);
	CHECK_INT(head.framing, HTTP_CHUNKED);
	CHECK(!head.keep_alive);
}

static void equal_lengths_in_a_response_are_one(void)
{
	answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\nContent-Length: 5\r\n\r\n",
		HTTP_GET);
	CHECK_INT(head.length, 5);
	answered("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", HTTP_GET);
	CHECK_INT(head.length, 5);
	garbage("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n");
	garbage("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n");
	garbage("HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\n");
	garbage("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n");
	garbage("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n");
}

static void garbage_from_a_server_is_502(void)
{
	char *text = filled("HTTP/1.1 200 ", 41000, "\r\n\r\n");

	garbage(text);
	free(text);
	garbage("HTTP/1.1 20 OK\r\n\r\n");
	garbage("HTTP/1.1 2000 OK\r\n\r\n");
	garbage("HTTP/1.1 099 OK\r\n\r\n");
	garbage("HTTP/1.1 2x0 OK\r\n\r\n");
	garbage("HTTP/1.1  200 OK\r\n\r\n");
	garbage("HTTP/2.0 200 OK\r\n\r\n");
	garbage("HTTP/0.9 200 OK\r\n\r\n");
	garbage("HTTP 200 OK\r\n\r\n");
	garbage("ICY 200 OK bla\r\n\r\n");
	garbage("\r\nHTTP/1.1 200 OK\r\n\r\n");
	garbage("SSH-2.0-x\r\n");
	garbage("HTTP/1.1 200 OK\n\n");
	garbage("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n");
	garbage("HTTP/1.1 200 OK\r\nX : a\r\n\r\n");
	garbage("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n");
	garbage("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n");
	garbage("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n");
	garbage("HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n");
}

static void a_head_dripping_in_is_scanned_once(void)
{
	char *text = filled(GET "X: ", 16000, "\r\n\r\n");
	size_t len = strlen(text);

	http_head_init(&head);
	for (size_t n = 0; n < len; n++) {
		CHECK_TRUE(http1_parse_request(&head, span_make(text, n), &LIMITS, &fault) ==
			   PARSE_MORE);
		CHECK_TRUE(head.scanned + 1 >= n);
	}
	CHECK_INT(http1_parse_request(&head, span_make(text, len), &LIMITS, &fault), PARSE_DONE);
	free(text);
}

static const struct test_case cases[] = {
	TEST(a_plain_request_is_taken_apart),
	TEST(content_begins_where_the_head_ends),
	TEST(methods_are_known_by_their_exact_name),
	TEST(empty_lines_before_a_request_are_skipped),
	TEST(length_and_transfer_encoding_together_are_refused),
	TEST(a_length_that_is_not_one_number_is_refused),
	TEST(chunked_must_come_last_and_once),
	TEST(transfer_codings_other_than_chunked_are_not_implemented),
	TEST(bare_line_ends_are_refused),
	TEST(folded_lines_are_refused),
	TEST(field_names_must_be_tokens),
	TEST(control_bytes_in_a_value_are_refused),
	TEST(bytes_that_no_target_holds_are_refused),
	TEST(request_lines_have_three_words_and_single_spaces),
	TEST(versions_are_one_point_something),
	TEST(one_good_host_is_needed),
	TEST(absolute_form_must_agree_with_host),
	TEST(connect_names_host_and_port_and_has_no_content),
	TEST(a_request_line_over_the_limit_is_414),
	TEST(a_field_over_the_limit_is_431),
	TEST(a_head_over_the_limit_is_431),
	TEST(more_fields_than_the_limit_are_431),
	TEST(persistence_follows_version_and_connection),
	TEST(connection_options_name_fields_for_this_hop),
	TEST(fields_that_we_set_cannot_be_nominated),
	TEST(underscored_twins_of_our_fields_go_no_further),
	TEST(only_one_expectation_can_be_met),
	TEST(upgrade_counts_only_when_connection_says_so),
	TEST(te_is_looked_through_for_trailers),
	TEST(a_plain_response_is_taken_apart),
	TEST(responses_without_content_have_none_whatever_they_say),
	TEST(a_response_without_framing_lasts_until_close),
	TEST(transfer_encoding_wins_over_length_and_ends_the_connection),
	TEST(equal_lengths_in_a_response_are_one),
	TEST(garbage_from_a_server_is_502),
	TEST(a_head_dripping_in_is_scanned_once),
};
TESTS_MAIN("HTTP/1 heads", cases)
