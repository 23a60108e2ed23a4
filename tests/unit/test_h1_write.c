/*
 * What goes to the next hop, byte for byte.
 */
#include "proxy/http/http1.h"

#include "shared/assert.h"
#include "tests/unit/check.h"

static const struct http_limits LIMITS = {8192, 32768, 16384, 100};
static struct http_head head;
static struct http_fault fault;
static char out[4096];

static void parsed(const char *text)
{
	http_head_init(&head);
	CHECK_TRUE(http1_parse_request(&head, span_of(text), &LIMITS, &fault) == PARSE_DONE);
}

static void answered(const char *text)
{
	http_head_init(&head);
	CHECK_TRUE(http1_parse_response(&head, span_of(text), &LIMITS, HTTP_GET, &fault) ==
		   PARSE_DONE);
}

/* Byte for byte; and one byte less room is too little. */
static void request_becomes(const struct http1_request_out *o, const char *expected)
{
	size_t n = http1_write_request(out, sizeof(out), &head, o);

	CHECK_TEXT(span_make(out, n), expected);
	for (size_t size = 0; size < n; size++)
		CHECK_INT(http1_write_request(out, size, &head, o), 0);
	CHECK_INT(http1_write_request(out, n, &head, o), n);
}

static void response_becomes(const struct http1_response_out *o, const char *expected)
{
	size_t n = http1_write_response(out, sizeof(out), &head, o);

	CHECK_TEXT(span_make(out, n), expected);
	for (size_t size = 0; size < n; size++)
		CHECK_INT(http1_write_response(out, size, &head, o), 0);
	CHECK_INT(http1_write_response(out, n, &head, o), n);
}

static struct http1_request_out request_out(void)
{
	return (struct http1_request_out){
		.target = head.target,
		.host = head.authority,
		.client_ip = SPAN("192.0.2.7"),
		.fixed = SPAN("X-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\n"),
		.request_id = SPAN("ID"),
		.via = SPAN("lb"),
		.framing = head.framing,
		.length = head.length,
	};
}

#define OURS_OF(host)                                                                          \
	"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Host: " host                                \
	"\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\nX-Request-Id: ID\r\nVia: 1.1 " \
	"lb\r\n"

static void a_request_gets_our_fields(void)
{
	struct http1_request_out o;

	parsed("GET /a?b HTTP/1.1\r\nAccept: */*\r\nHost: a:80\r\nX: y\r\n\r\n");
	o = request_out();
	request_becomes(&o, "GET /a?b HTTP/1.1\r\nHost: a:80\r\nAccept: */*\r\nX: y\r\n" OURS_OF(
				    "a:80") "\r\n");
	o.target = SPAN("/c");
	o.host = SPAN("b");
	request_becomes(
		&o, "GET /c HTTP/1.1\r\nHost: b\r\nAccept: */*\r\nX: y\r\n" OURS_OF("a:80") "\r\n");
}

static void an_old_request_goes_on_as_1_1(void)
{
	struct http1_request_out o;

	parsed("BREW /a HTTP/1.0\r\n\r\n");
	o = request_out();
	o.host = SPAN("backend");
	o.request_id = o.fixed = o.client_ip = span_make(NULL, 0);
	request_becomes(&o, "BREW /a HTTP/1.1\r\nHost: backend\r\nVia: 1.0 lb\r\n\r\n");
	o.via = span_make(NULL, 0);
	request_becomes(&o, "BREW /a HTTP/1.1\r\nHost: backend\r\n\r\n");
}

static void fields_of_this_hop_are_taken_out(void)
{
	struct http1_request_out o;

	parsed("POST / HTTP/1.1\r\nHost: a\r\nConnection: close, X-One\r\nKeep-Alive: 5\r\nA: "
	       "1\r\nX-One: 2\r\n"
	       "Proxy-Connection: keep-alive\r\nB: 3\r\nTE: gzip\r\nProxy-Authorization: "
	       "p\r\nUpgrade: u\r\n"
	       "Proxy-Authenticate: q\r\nC: 4\r\nD: 5\r\nTransfer-Encoding: chunked\r\nExpect: "
	       "100-continue\r\n"
	       "X_Forwarded_For: 6\r\nE: 7\r\n\r\n");
	o = request_out();
	request_becomes(&o,
		"POST / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 3\r\nC: 4\r\nD: 5\r\nE: 7\r\n" OURS_OF(
			"a") "Transfer-Encoding: chunked\r\n\r\n");
}

static void white_space_around_values_is_not_passed_on_where_it_trails(void)
{
	struct http1_request_out o;

	parsed("GET / HTTP/1.1\r\nHost: a\r\nA:1\r\nB: 2 \r\nC:\r\nD: \t\r\nE: 5\t \r\n\r\n");
	o = request_out();
	request_becomes(
		&o, "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: \r\nD: \r\nE: 5\r\n" OURS_OF(
			    "a") "\r\n");
	parsed("GET / HTTP/1.1\r\nHost: a\r\nA:1\r\nB:  2\r\nC:\r\nD: \t\r\nE:\t5\r\n\r\n");
	o = request_out();
	request_becomes(
		&o, "GET / HTTP/1.1\r\nHost: a\r\nA:1\r\nB:  2\r\nC:\r\nD: \t\r\nE:\t5\r\n" OURS_OF(
			    "a") "\r\n");
}

static void framing_is_what_we_say_not_what_came(void)
{
	struct http1_request_out o;

	parsed("POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\ncontent-length: "
	       "00012\r\n\r\n");
	o = request_out();
	request_becomes(
		&o, "POST / HTTP/1.1\r\nHost: a\r\n" OURS_OF("a") "Content-Length: 12\r\n\r\n");
	o.length = UINT64_MAX;
	request_becomes(&o, "POST / HTTP/1.1\r\nHost: a\r\n" OURS_OF(
				    "a") "Content-Length: 18446744073709551615\r\n\r\n");
	o.length = 0;
	request_becomes(
		&o, "POST / HTTP/1.1\r\nHost: a\r\n" OURS_OF("a") "Content-Length: 0\r\n\r\n");
	o.framing = HTTP_NO_BODY;
	request_becomes(&o, "POST / HTTP/1.1\r\nHost: a\r\n" OURS_OF("a") "\r\n");
}

#define CLAIMS                                                                                 \
	"X-Forwarded-For: 1.1.1.1\r\nForwarded: for=x\r\nX-Request-Id: R\r\nX-Forwarded-For: " \
	"2.2.2.2, 3.3.3.3\r\n"                                                                 \
	"X-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\nX-Forwarded-Prefix: /p\r\n"        \
	"X-Forwarded-By: b\r\nVia: 1.0 w\r\n"

static void claims_of_the_untrusted_are_dropped(void)
{
	struct http1_request_out o;

	parsed("GET / HTTP/1.1\r\nHost: a\r\n" CLAIMS "\r\n");
	o = request_out();
	request_becomes(&o, "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 w\r\n" OURS_OF("a") "\r\n");
}

static void claims_of_the_trusted_are_kept_and_the_list_grows(void)
{
	struct http1_request_out o;

	parsed("GET / HTTP/1.1\r\nHost: a\r\n" CLAIMS "\r\n");
	o = request_out();
	o.trusted = true;
	request_becomes(&o,
		"GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=x\r\nX-Request-Id: R\r\n"
		"X-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\nX-Forwarded-Prefix: /p\r\n"
		"X-Forwarded-By: b\r\nVia: 1.0 w\r\n"
		"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7\r\nVia: 1.1 lb\r\n\r\n");
	parsed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	o = request_out();
	o.trusted = true;
	request_becomes(&o, "GET / HTTP/1.1\r\nHost: a\r\n" OURS_OF("a") "\r\n");
}

static void an_empty_id_of_the_trusted_is_none(void)
{
	struct http1_request_out o;

	parsed("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id:\r\n\r\n");
	o = request_out();
	o.trusted = true;
	request_becomes(&o, "GET / HTTP/1.1\r\nHost: a\r\n" OURS_OF("a") "\r\n");
}

static void upgrade_and_te_are_said_anew_for_the_next_hop(void)
{
	struct http1_request_out o;

	parsed("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, TE\r\nUpgrade: websocket\r\nTE: "
	       "trailers\r\n\r\n");
	o = request_out();
	request_becomes(&o, "GET / HTTP/1.1\r\nHost: a\r\n" OURS_OF(
				    "a") "Connection: te\r\nTE: trailers\r\n\r\n");
	o.upgrade = true;
	request_becomes(&o, "GET / HTTP/1.1\r\nHost: a\r\n" OURS_OF(
				    "a") "Connection: upgrade, te\r\nTE: trailers\r\nUpgrade: "
					 "websocket\r\n\r\n");
	parsed("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
	o = request_out();
	o.upgrade = true;
	request_becomes(&o, "GET / HTTP/1.1\r\nHost: a\r\n" OURS_OF(
				    "a") "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n");
}

static void heads_from_elsewhere_are_written_too(void)
{
	struct http1_request_out o;

	parsed("GET / HTTP/1.1\r\nHost: a\r\nA:1\r\nB: 2\r\n\r\n");
	head.base = NULL;
	head.fields[1].name = SPAN("x-name");
	head.fields[2].value = SPAN("else");
	o = request_out();
	request_becomes(
		&o, "GET / HTTP/1.1\r\nHost: a\r\nx-name: 1\r\nB: else\r\n" OURS_OF("a") "\r\n");
}

/* Of every length, since how a piece is moved depends on it. */
static void pieces_of_every_length_are_written_whole(void)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	char piece[100], expected[2048];
	struct http1_request_out o;

	for (size_t i = 0; i < sizeof(piece); i++)
		piece[i] = digits[i % 36];
	for (int n = 1; n <= (int)sizeof(piece); n++) {
		parsed("GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n");
		head.base = NULL;
		o = request_out();
		o.target = o.host = o.client_ip = o.request_id = o.via = o.fixed =
			head.method_text = head.authority = head.fields[1].name =
				head.fields[1].value = span_make(piece, (size_t)n);
		snprintf(expected, sizeof(expected),
			"%1$.*2$s %1$.*2$s HTTP/1.1\r\nHost: %1$.*2$s\r\n%1$.*2$s: %1$.*2$s\r\n"
			"X-Forwarded-For: %1$.*2$s\r\nX-Forwarded-Host: %1$.*2$s\r\n%1$.*2$s"
			"X-Request-Id: %1$.*2$s\r\nVia: 1.1 %1$.*2$s\r\n\r\n",
			piece, n);
		request_becomes(&o, expected);
	}
}

static void our_own_cookie_stays_with_us_and_all_others_pass(void)
{
	static const struct {
		const char *came, *left;
	} tries[] = {
		{"Cookie: lb=1\r\n", ""},
		{"Cookie: a=1; lb=2; b=3\r\n", "Cookie: a=1; b=3\r\n"},
		{"Cookie: lb=2;; lb=3;a=lb=4 ;\r\n", "Cookie: a=lb=4\r\n"},
		{"Cookie: lb=1\r\nCookie: LB=2\r\n", "Cookie: LB=2\r\n"},
		{"Cookie: lbx=1; lb; xlb=2\r\n", "Cookie: lbx=1; lb; xlb=2\r\n"},
		{"Accept: a\r\n", "Accept: a\r\n"},
	};

	for (unsigned i = 0; i < countof(tries); i++) {
		char text[200], expected[400];
		struct http1_request_out o;

		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", tries[i].came);
		parsed(text);
		o = request_out();
		o.own_cookie = SPAN("lb");
		snprintf(expected, sizeof(expected),
			"GET / HTTP/1.1\r\nHost: h\r\n%sX-Forwarded-For: 192.0.2.7\r\n"
			"X-Forwarded-Host: h\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\n"
			"X-Request-Id: ID\r\nVia: 1.1 lb\r\n\r\n",
			tries[i].left);
		request_becomes(&o, expected);
	}
}

static struct http1_response_out response_out(void)
{
	return (struct http1_response_out){
		.framing = head.framing,
		.length = head.length,
		.has_length = head.has_length,
		.keep_alive = true,
		.client_minor = 1,
		.via = SPAN("lb"),
		.date = SPAN("Date: now\r\n"),
	};
}

static void a_response_is_rewritten_for_the_client(void)
{
	struct http1_response_out o;

	answered("HTTP/1.0 200 Fine by me\r\nServer: s\r\nContent-Length: 5\r\nConnection: "
		 "keep-alive, X\r\nX: y\r\n"
		 "Keep-Alive: timeout=5\r\nProxy-Authenticate: z\r\nSet-Cookie: a\r\nSet-Cookie: "
		 "b\r\n\r\n");
	o = response_out();
	response_becomes(&o, "HTTP/1.1 200 Fine by me\r\nServer: s\r\nSet-Cookie: a\r\nSet-Cookie: "
			     "b\r\nDate: now\r\n"
			     "Via: 1.0 lb\r\nContent-Length: 5\r\n\r\n");
	o.keep_alive = false;
	o.via = span_make(NULL, 0);
	response_becomes(&o, "HTTP/1.1 200 Fine by me\r\nServer: s\r\nSet-Cookie: a\r\nSet-Cookie: "
			     "b\r\nDate: now\r\n"
			     "Connection: close\r\nContent-Length: 5\r\n\r\n");
}

static void lines_of_our_own_follow_the_servers(void)
{
	struct http1_response_out o;

	answered("HTTP/1.1 204 No Content\r\nSet-Cookie: a=1\r\nDate: d\r\n\r\n");
	o = response_out();
	o.own = SPAN("Set-Cookie: lb=2\r\n");
	response_becomes(&o, "HTTP/1.1 204 No Content\r\nSet-Cookie: a=1\r\nDate: d\r\n"
			     "Set-Cookie: lb=2\r\nVia: 1.1 lb\r\n\r\n");
}

static void the_clients_version_and_framing_are_respected(void)
{
	struct http1_response_out o;

	answered("HTTP/1.1 200\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n");
	o = response_out();
	response_becomes(&o,
		"HTTP/1.1 200 \r\nDate: then\r\nVia: 1.1 lb\r\nTransfer-Encoding: chunked\r\n\r\n");
	o.framing = HTTP_UNTIL_CLOSE;
	o.client_minor = 0;
	o.keep_alive = false;
	response_becomes(
		&o, "HTTP/1.1 200 \r\nDate: then\r\nVia: 1.1 lb\r\nConnection: close\r\n\r\n");
	o.framing = HTTP_LENGTH;
	o.keep_alive = true;
	o.length = 7;
	response_becomes(&o, "HTTP/1.1 200 \r\nDate: then\r\nVia: 1.1 lb\r\nConnection: "
			     "keep-alive\r\nContent-Length: 7\r\n\r\n");
}

static void a_length_without_content_is_kept_only_where_it_means_something(void)
{
	struct http1_response_out o;

	answered("HTTP/1.1 304 Not Modified\r\nDate: d\r\nContent-Length: 5\r\n\r\n");
	o = response_out();
	response_becomes(&o,
		"HTTP/1.1 304 Not Modified\r\nDate: d\r\nVia: 1.1 lb\r\nContent-Length: 5\r\n\r\n");
	answered("HTTP/1.1 204 No Content\r\nDate: d\r\nContent-Length: 5\r\n\r\n");
	o = response_out();
	o.has_length = true;
	response_becomes(&o, "HTTP/1.1 204 No Content\r\nDate: d\r\nVia: 1.1 lb\r\n\r\n");
	answered("HTTP/1.1 103 Early Hints\r\nLink: l\r\nContent-Length: 5\r\n\r\n");
	o = response_out();
	o.has_length = true;
	o.keep_alive = false;
	response_becomes(&o, "HTTP/1.1 103 Early Hints\r\nLink: l\r\nVia: 1.1 lb\r\n\r\n");
}

static void switching_protocols_passes_when_asked_for(void)
{
	struct http1_response_out o;

	answered("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		 "Sec-WebSocket-Accept: x\r\n\r\n");
	o = response_out();
	o.upgrade = true;
	response_becomes(&o,
		"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nVia: 1.1 lb\r\n"
		"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n");
}

static void chunk_heads_are_plain_hexadecimal(void)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} sizes[] = {{1, "1\r\n"}, {15, "f\r\n"}, {16, "10\r\n"}, {500, "1f4\r\n"},
		{65536, "10000\r\n"}, {INT64_MAX, "7fffffffffffffff\r\n"},
		{UINT64_MAX, "ffffffffffffffff\r\n"}};
	char chunk[HTTP1_CHUNK_HEAD_MAX];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		CHECK_TEXT(span_make(chunk, http1_write_chunk_head(chunk, sizes[i].bytes)),
			sizes[i].text);
}

static void the_last_chunk_carries_the_trailers_that_may_pass(void)
{
	struct span none = {NULL, 0};

	CHECK_TEXT(span_make(out, http1_write_last_chunk(out, sizeof(out), none)), "0\r\n\r\n");
	CHECK_INT(http1_write_last_chunk(out, 4, none), 0);
	CHECK_TEXT(span_make(out, http1_write_last_chunk(out, sizeof(out),
					  SPAN("Grpc-Status: 0\r\nContent-Length: 5\r\nHost: x\r\n"
					       "TRANSFER-ENCODING: chunked\r\nAuthorization: "
					       "a\r\nX-Sum: s\r\n"
					       "Cache-Control: c\r\nWWW-Authenticate: "
					       "w\r\nX_Forwarded_For: f\r\n"
					       "Set-Cookie: k\r\nCookie: k\r\nTrailer: t\r\nTE: "
					       "trailers\r\nY:\r\n"))),
		"0\r\nGrpc-Status: 0\r\nX-Sum: s\r\nY:\r\n\r\n");
	CHECK_INT(http1_write_last_chunk(out, 10, SPAN("Y: abcdefgh\r\n")), 0);
}

static const struct test_case cases[] = {
	TEST(a_request_gets_our_fields),
	TEST(an_old_request_goes_on_as_1_1),
	TEST(fields_of_this_hop_are_taken_out),
	TEST(white_space_around_values_is_not_passed_on_where_it_trails),
	TEST(framing_is_what_we_say_not_what_came),
	TEST(claims_of_the_untrusted_are_dropped),
	TEST(claims_of_the_trusted_are_kept_and_the_list_grows),
	TEST(an_empty_id_of_the_trusted_is_none),
	TEST(upgrade_and_te_are_said_anew_for_the_next_hop),
	TEST(heads_from_elsewhere_are_written_too),
	TEST(pieces_of_every_length_are_written_whole),
	TEST(our_own_cookie_stays_with_us_and_all_others_pass),
	TEST(a_response_is_rewritten_for_the_client),
	TEST(lines_of_our_own_follow_the_servers),
	TEST(the_clients_version_and_framing_are_respected),
	TEST(a_length_without_content_is_kept_only_where_it_means_something),
	TEST(switching_protocols_passes_when_asked_for),
	TEST(chunk_heads_are_plain_hexadecimal),
	TEST(the_last_chunk_carries_the_trailers_that_may_pass),
};
TESTS_MAIN("HTTP/1 writing", cases)
