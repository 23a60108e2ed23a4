/*
 * Heads of HTTP/2: what a list of fields becomes, and what becomes a list (RFC 9113 8).
 */
#include "proxy/http/http2.h"

#include "shared/assert.h"
#include "tests/unit/check.h"

static const struct http_limits LIMITS = {8192, 32768, 16384, 100};
static struct http_head head;
static struct http2_reader reader;
static char text[40000];

struct pair {
	const char *name, *value;
};

static enum parse_rc read_all(
	enum http2_kind kind, const struct pair *pairs, bool ends, enum http_method method)
{
	http2_read_start(&reader, kind, kind == HTTP2_TRAILERS ? NULL : &head, &LIMITS);
	for (; pairs->name; pairs++)
		CHECK_TRUE(http2_read_field(
			&reader, text, sizeof(text), span_of(pairs->name), span_of(pairs->value)));
	return http2_read_end(&reader, text, ends, method);
}

#define PAIRS(...) ((const struct pair[]){__VA_ARGS__, {NULL, NULL}})
#define BASIC                                                     \
	{":method", "GET"}, {":scheme", "https"}, {":path", "/"}, \
	{                                                         \
		":authority", "a.test"                            \
	}

static void good(const struct pair *pairs, bool ends)
{
	CHECK_INT(read_all(HTTP2_REQUEST, pairs, ends, HTTP_GET), PARSE_DONE);
}

static void bad(const struct pair *pairs, unsigned status)
{
	CHECK_INT(read_all(HTTP2_REQUEST, pairs, true, HTTP_GET), PARSE_BAD);
	CHECK_INT(reader.fault.status, status);
}

static void a_request_is_its_pseudo_fields_and_the_others(void)
{
	good(PAIRS(BASIC, {"x-a", "1"}, {"te", "trailers"}), true);
	CHECK_INT(head.method, HTTP_GET);
	CHECK_TEXT(head.target, "/");
	CHECK_TEXT(head.authority, "a.test");
	CHECK_INT(head.field_count, 2);
	CHECK_TEXT(head.fields[0].name, "x-a");
	CHECK_TEXT(head.fields[0].value, "1");
	CHECK(head.te_trailers && head.h2 && head.keep_alive);
	CHECK_INT(head.framing, HTTP_NO_BODY);
	CHECK_TEXT(span_make(text, head.head_bytes),
		":method: GET\r\n:scheme: https\r\n:path: /\r\n:authority: a.test\r\n"
		"x-a: 1\r\nte: trailers\r\n\r\n");
}

static void content_ends_with_the_stream_or_has_a_length(void)
{
	good(PAIRS(BASIC), false);
	CHECK_INT(head.framing, HTTP_UNTIL_CLOSE);
	good(PAIRS(BASIC, {"content-length", "7"}), false);
	CHECK_INT(head.framing, HTTP_LENGTH);
	CHECK_INT(head.length, 7);
	good(PAIRS({":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a"}),
		true);
	CHECK_INT(head.framing, HTTP_LENGTH); /* told to HTTP/1 servers */
	CHECK_INT(head.length, 0);
	bad(PAIRS(BASIC, {"content-length", "7"}), 400);
	bad(PAIRS(BASIC, {"content-length", "0"}, {"content-length", "0"}), 400);
	bad(PAIRS(BASIC, {"content-length", "+0"}), 400);
}

static void what_is_no_http2_is_refused(void)
{
	bad(PAIRS({":method", "GET"}, {":scheme", "https"}, {":path", "/"}), 400);
	bad(PAIRS({":method", "GET"}, {":path", "/"}, {":authority", "a"}), 400);
	bad(PAIRS({":scheme", "https"}, {":path", "/"}, {":authority", "a"}), 400);
	bad(PAIRS({":method", "GET"}, {":scheme", "https"}, {":authority", "a"}), 400);
	bad(PAIRS(BASIC, {":path", "/"}), 400);
	bad(PAIRS(BASIC, {"x", "1"}, {":path", "/"}), 400);
	bad(PAIRS(BASIC, {":status", "200"}), 400);
	bad(PAIRS(BASIC, {":new", "200"}), 400);
	bad(PAIRS(BASIC, {"", "1"}), 400);
	bad(PAIRS(BASIC, {"X", "1"}), 400);
	bad(PAIRS(BASIC, {"x:", "1"}), 400);
	bad(PAIRS(BASIC, {"x", " 1"}), 400);
	bad(PAIRS(BASIC, {"x", "1\t"}), 400);
	bad(PAIRS(BASIC, {"x", "1\r\nhost: b"}), 400);
	bad(PAIRS(BASIC, {"x", "1\n"}), 400);
	bad(PAIRS(BASIC, {"connection", "x"}), 400);
	bad(PAIRS(BASIC, {"keep-alive", "x"}), 400);
	bad(PAIRS(BASIC, {"proxy-connection", "x"}), 400);
	bad(PAIRS(BASIC, {"transfer-encoding", "chunked"}), 400);
	bad(PAIRS(BASIC, {"upgrade", "x"}), 400);
	bad(PAIRS(BASIC, {"te", "gzip"}), 400);
	bad(PAIRS(BASIC, {"host", "b.test"}), 400);
	bad(PAIRS(BASIC, {"host", "a.test"}, {"host", "a.test"}), 400);
	bad(PAIRS(BASIC, {"expect", "x"}), 417);
}

static void the_target_is_a_path(void)
{
	static const char *const wrong[] = {"", "x", "*", "http://a.test/", "/ ", "/#", "/\x7f"};

	for (unsigned i = 0; i < countof(wrong); i++)
		bad(PAIRS({":method", "GET"}, {":scheme", "https"}, {":path", wrong[i]},
			    {":authority", "a"}),
			400);
	good(PAIRS({":method", "OPTIONS"}, {":scheme", "https"}, {":path", "*"},
		     {":authority", "a"}),
		true);
}

static void host_stands_for_an_authority_that_is_not_there(void)
{
	good(PAIRS({":method", "GET"}, {":scheme", "https"}, {":path", "/"}, {"host", "b:81"}),
		true);
	CHECK_TEXT(head.authority, "b:81");
	bad(PAIRS({":method", "GET"}, {":scheme", "https"}, {":path", "/"}, {":authority", "u@a"}),
		400);
}

static void connect_has_an_authority_alone_or_a_protocol(void)
{
	good(PAIRS({":method", "CONNECT"}, {":authority", "a:80"}), false);
	bad(PAIRS({":method", "CONNECT"}, {":authority", "a"}), 400);
	bad(PAIRS({":method", "CONNECT"}, {":authority", "a:80"}, {":path", "/"}), 400);
	good(PAIRS({":method", "CONNECT"}, {":scheme", "https"}, {":path", "/"},
		     {":authority", "a"}, {":protocol", "websocket"}),
		false);
	CHECK_TEXT(head.upgrade, "websocket");
	CHECK_INT(head.framing, HTTP_NO_BODY);
	bad(PAIRS({":method", "CONNECT"}, {":scheme", "https"}, {":path", "/"}, {":authority", "a"},
		    {":protocol", "chat"}),
		501);
	bad(PAIRS(BASIC, {":protocol", "websocket"}), 400);
}

static void crumbs_are_one_cookie(void)
{
	good(PAIRS(BASIC, {"cookie", "a=1"}, {"x", "y"}, {"cookie", "b=2"}, {"z", "w"},
		     {"cookie", "c=3"}),
		true);
	CHECK_INT(head.field_count, 3);
	CHECK_TEXT(head.fields[0].value, "a=1; b=2; c=3");
	CHECK_TEXT(head.fields[1].name, "x");
	CHECK_TEXT(head.fields[1].value, "y");
	CHECK_TEXT(head.fields[2].value, "w");
	CHECK(!(head.repeated >> HTTP_F_COOKIE & 1));
}

static void a_head_may_move_while_it_is_read(void)
{
	static char other[sizeof(text)];
	struct http1_request_out o = {.target = SPAN("/"), .host = SPAN("a.test")};
	char out[512];
	size_t n;

	http2_read_start(&reader, HTTP2_REQUEST, &head, &LIMITS);
	for (const struct pair *p = PAIRS(BASIC, {"x-a", "1"}, {"cookie", "a"}, {"cookie", "b"});
		p->name; p++) {
		size_t room = reader.bytes;

		while (!http2_read_field(&reader, text, room, span_of(p->name), span_of(p->value)))
			room++;
		memcpy(other, text, reader.bytes);
		memset(text, 'Z', sizeof(text));
		http_head_move(&head, other);
		memcpy(text, other, reader.bytes);
		memset(other, 'Y', sizeof(other));
		http_head_move(&head, text);
	}
	CHECK_INT(http2_read_end(&reader, text, true, HTTP_GET), PARSE_DONE);
	CHECK_TEXT(head.authority, "a.test");
	n = http1_write_request(out, sizeof(out), &head, &o);
	CHECK_TEXT(span_make(out, n), "GET / HTTP/1.1\r\nHost: a.test\r\nx-a: 1\r\ncookie: a; b\r\n"
				      "X-Forwarded-Host: a.test\r\n\r\n");
}

static void limits_are_those_of_http1(void)
{
	static char value[17000], path[8300];

	memset(value, 'v', sizeof(value) - 1);
	memset(path, '/', sizeof(path) - 1);
	bad(PAIRS(BASIC, {"x", value}), 431);
	bad(PAIRS({":method", "GET"}, {":scheme", "https"}, {":path", path}, {":authority", "a"}),
		414);
	value[16000] = '\0';
	good(PAIRS(BASIC, {"x", value}, {"y", value}), true);
	bad(PAIRS(BASIC, {"x", value}, {"y", value}, {"z", value}), 431);
	http2_read_start(&reader, HTTP2_REQUEST, &head, &LIMITS);
	for (const struct pair *p = PAIRS(BASIC); p->name; p++)
		http2_read_field(&reader, text, sizeof(text), span_of(p->name), span_of(p->value));
	for (unsigned i = 0; i < 101; i++) /* crumbs count too */
		http2_read_field(&reader, text, sizeof(text), SPAN("cookie"), SPAN("a"));
	CHECK_INT(http2_read_end(&reader, text, true, HTTP_GET), PARSE_BAD);
	CHECK_INT(reader.fault.status, 431);
}

static void answered(
	const struct pair *pairs, bool ends, enum http_method method, enum http_framing framing)
{
	CHECK_INT(read_all(HTTP2_RESPONSE, pairs, ends, method), PARSE_DONE);
	CHECK_INT(head.framing, framing);
}

static void a_response_ends_with_the_stream_or_has_no_content(void)
{
	answered(PAIRS({":status", "200"}), false, HTTP_GET, HTTP_UNTIL_CLOSE);
	answered(PAIRS({":status", "200"}, {"content-length", "3"}), false, HTTP_GET, HTTP_LENGTH);
	answered(PAIRS({":status", "200"}, {"content-length", "3"}), true, HTTP_HEAD, HTTP_NO_BODY);
	CHECK(head.has_length && head.length == 3);
	answered(PAIRS({":status", "304"}), true, HTTP_GET, HTTP_NO_BODY);
	CHECK_INT(head.status, 304);
	CHECK_INT(read_all(HTTP2_RESPONSE, PAIRS({":status", "20"}), true, HTTP_GET), PARSE_BAD);
	CHECK_INT(reader.fault.status, 502);
	CHECK_INT(read_all(HTTP2_RESPONSE, PAIRS({"x", "1"}), true, HTTP_GET), PARSE_BAD);
	CHECK_INT(
		read_all(HTTP2_RESPONSE,
			PAIRS({":status", "200"}, {"content-length", "1"}, {"content-length", "2"}),
			false, HTTP_GET),
		PARSE_BAD);
}

/* --- lists ------------------------------------------------------------------------------------ */

static struct http_pair pairs[HTTP_LIST_MAX];
static struct http_list list = {.pairs = pairs, .max = HTTP_LIST_MAX};

static void lists(const struct pair *expected)
{
	unsigned i = 0;

	for (; expected[i].name; i++) {
		CHECK_TRUE(i < list.count);
		CHECK_TEXT(list.pairs[i].name, expected[i].name);
		CHECK_TEXT(list.pairs[i].value, expected[i].value);
	}
	CHECK_INT(list.count, i);
}

static void a_response_of_http1_becomes_a_list(void)
{
	const struct http_limits limits = {8192, 40960, 16384, 100};
	const struct http1_response_out o = {.framing = HTTP_LENGTH,
		.length = 2,
		.via = SPAN("lb"),
		.date = SPAN("Date: today\r\n"),
		.own = SPAN("Set-Cookie: a=b\r\n")};
	struct http_fault fault;
	char room[256];

	http_head_init(&head);
	CHECK_TRUE(
		http1_parse_response(&head,
			SPAN("HTTP/1.1 200 OK\r\nX-Up: Va L \r\nConnection: x-gone\r\nX-Gone: 1\r\n"
			     "Keep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\n"),
			&limits, HTTP_GET, &fault) == PARSE_DONE);
	CHECK_INT(http2_list_response(&list, room, sizeof(room), &head, &o), 0);
	lists(PAIRS({":status", "200"}, {"x-up", "Va L"}, {"date", "today"}, {"set-cookie", "a=b"},
		{"via", "1.1 lb"}, {"content-length", "2"}));
	CHECK_INT(http2_list_response(&list, room, 20, &head, &o), -1);
	list.max = 5;
	CHECK_INT(http2_list_response(&list, room, sizeof(room), &head, &o), -1);
	list.max = HTTP_LIST_MAX;
}

static void a_request_becomes_a_list(void)
{
	const struct http1_request_out o = {.target = SPAN("/p"),
		.host = SPAN("a.test"),
		.scheme = SPAN("http"),
		.client_ip = SPAN("192.0.2.7"),
		.trusted = true,
		.own_cookie = SPAN("lb"),
		.fixed = SPAN("X-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\n"),
		.request_id = SPAN("ID"),
		.framing = HTTP_UNTIL_CLOSE};
	struct http_fault fault;
	char room[512];

	http_head_init(&head);
	CHECK_TRUE(
		http1_parse_request(&head,
			SPAN("POST /x HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nAccept: */*\r\n"
			     "Cookie: lb=1; a=b\r\nX-Forwarded-For: 198.51.100.1\r\n"
			     "X-Client-Cert-Subject: s\r\nX-Forwarded-Prefix: /y\r\n"
			     "Transfer-Encoding: chunked\r\n\r\n"),
			&LIMITS, &fault) == PARSE_DONE);
	CHECK_INT(http2_list_request(&list, room, sizeof(room), &head, &o), 0);
	lists(PAIRS({":method", "POST"}, {":scheme", "http"}, {":authority", "a.test"},
		{":path", "/p"}, {"accept", "*/*"}, {"x-client-cert-subject", "s"},
		{"x-forwarded-prefix", "/y"}, {"cookie", "a=b"},
		{"x-forwarded-for", "198.51.100.1, 192.0.2.7"}, {"x-forwarded-host", "a.test"},
		{"x-forwarded-proto", "http"}, {"x-forwarded-port", "80"}, {"x-request-id", "ID"},
		{"te", "trailers"}));
}

static void trailers_pass_without_those_that_mean_something_else(void)
{
	char room[64];

	CHECK_INT(read_all(HTTP2_TRAILERS,
			  PAIRS({"grpc-status", "0"}, {"content-length", "1"}, {"x", "y z"}), true,
			  HTTP_GET),
		PARSE_DONE);
	CHECK_INT(http2_list_trailers(&list, room, sizeof(room), span_make(text, reader.bytes)), 0);
	lists(PAIRS({"grpc-status", "0"}, {"x", "y z"}));
	CHECK_INT(read_all(HTTP2_TRAILERS, PAIRS({":path", "/"}), true, HTTP_GET), PARSE_BAD);
}

static const struct test_case cases[] = {
	TEST(a_request_is_its_pseudo_fields_and_the_others),
	TEST(content_ends_with_the_stream_or_has_a_length),
	TEST(what_is_no_http2_is_refused),
	TEST(the_target_is_a_path),
	TEST(host_stands_for_an_authority_that_is_not_there),
	TEST(connect_has_an_authority_alone_or_a_protocol),
	TEST(crumbs_are_one_cookie),
	TEST(a_head_may_move_while_it_is_read),
	TEST(limits_are_those_of_http1),
	TEST(a_response_ends_with_the_stream_or_has_no_content),
	TEST(a_response_of_http1_becomes_a_list),
	TEST(a_request_becomes_a_list),
	TEST(trailers_pass_without_those_that_mean_something_else),
};
TESTS_MAIN("HTTP/2 heads", cases)
