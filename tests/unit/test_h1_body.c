/*
 * Content of HTTP/1: each body is read whole, split at every position and byte by byte; what comes
 * out, where it ends and why it is refused must be the same.
 */
#include "proxy/http/http1.h"

#include "tests/unit/check.h"

/* What a body came to. */
struct outcome {
	enum parse_rc rc;
	size_t used; /* of everything given */
	size_t data_len, trailers_len, at;
	uint16_t status;
	char data[20000], trailers[HTTP1_TRAILERS_MAX];
};
static struct outcome whole, pieces;

/*
 * As a connection would: bytes come up to `cut`, then `step` more at a time; what is done with is
 * taken off the front, and what remains is given again, in memory of its own.
 */
static void read_body(enum http_framing framing, uint64_t length, struct span text, size_t cut,
	size_t step, struct outcome *o)
{
	struct http_fault fault = {0};
	struct http1_body body;
	size_t have = cut, used;

	http1_body_init(&body, framing, length);
	o->used = o->data_len = o->trailers_len = o->at = o->status = 0;
	for (;;) {
		size_t n = have - o->used;
		char *in = malloc(n + 1);
		struct span data;

		CHECK_TRUE(in != NULL);
		memcpy(in, text.ptr + o->used, n);
		o->rc = http1_body_next(&body, span_make(in, n), &used, &data, &fault);
		if (o->rc == PARSE_BAD) {
			o->at = o->used + fault.at;
			o->status = fault.status;
		} else {
			CHECK_TRUE(used <= n && data.ptr >= in && data.ptr + data.len <= in + used);
			memcpy(o->data + o->data_len, data.ptr, data.len);
			o->data_len += data.len;
			o->used += used;
		}
		if (o->rc == PARSE_DONE && framing == HTTP_CHUNKED) {
			o->trailers_len = body.trailers.len;
			memcpy(o->trailers, body.trailers.ptr, body.trailers.len);
		}
		free(in);
		if (o->rc != PARSE_MORE)
			return;
		if (used)
			continue;
		if (have == text.len)
			return;
		have = have + step < text.len ? have + step : text.len;
	}
}

static bool agrees(
	enum http_framing framing, uint64_t length, struct span text, size_t cut, size_t step)
{
	read_body(framing, length, text, cut, step, &pieces);
	if (whole.rc == pieces.rc && whole.at == pieces.at && whole.status == pieces.status &&
		whole.data_len == pieces.data_len && whole.trailers_len == pieces.trailers_len &&
		(whole.rc == PARSE_BAD || whole.used == pieces.used) &&
		memcmp(whole.data, pieces.data, whole.data_len) == 0 &&
		memcmp(whole.trailers, pieces.trailers, whole.trailers_len) == 0)
		return true;
	fprintf(stderr, "\ncut at %zu, then by %zu: '%.*s'\n", cut, step, SPAN_ARG(text));
	return false;
}

static enum parse_rc read_every_way(enum http_framing framing, uint64_t length, struct span text)
{
	bool same = true;

	read_body(framing, length, text, text.len, 1, &whole);
	for (size_t cut = 0; cut < text.len && same; cut += text.len > 1000 ? 53 : 1)
		same = agrees(framing, length, text, cut, text.len);
	CHECK(same);
	CHECK(agrees(framing, length, text, 0, text.len > 1000 ? 61 : 1));
	return whole.rc;
}

static enum parse_rc chunked(const char *text)
{
	return read_every_way(HTTP_CHUNKED, 0, span_of(text));
}

static void reads_as(const char *text, const char *data, const char *trailers, size_t left)
{
	CHECK_INT(chunked(text), PARSE_DONE);
	CHECK_TEXT(span_make(whole.data, whole.data_len), data);
	CHECK_TEXT(span_make(whole.trailers, whole.trailers_len), trailers);
	CHECK_INT(whole.used, strlen(text) - left);
}

static void refused(const char *text, int status)
{
	if (chunked(text) != PARSE_BAD || whole.status != status)
		fprintf(stderr, "\nnot refused with %d: '%s'\n", status, text);
	CHECK_INT(whole.rc, PARSE_BAD);
	CHECK_INT(whole.status, status);
	CHECK(whole.at <= strlen(text));
}

static void no_content_is_done_at_once(void)
{
	CHECK_INT(read_every_way(HTTP_NO_BODY, 0, SPAN("GET")), PARSE_DONE);
	CHECK_INT(whole.used, 0);
	CHECK_INT(read_every_way(HTTP_LENGTH, 0, SPAN("GET")), PARSE_DONE);
	CHECK_INT(whole.used, 0);
}

static void a_length_ends_where_it_says(void)
{
	CHECK_INT(read_every_way(HTTP_LENGTH, 5, SPAN("helloGET")), PARSE_DONE);
	CHECK_INT(whole.used, 5);
	CHECK_TEXT(span_make(whole.data, whole.data_len), "hello");
	CHECK_INT(read_every_way(HTTP_LENGTH, 9, SPAN("helloGET")), PARSE_MORE);
	CHECK_INT(whole.used, 8);
}

static void content_until_close_is_all_there_is(void)
{
	CHECK_INT(read_every_way(HTTP_UNTIL_CLOSE, 0, SPAN("hello\r\n0\r\n\r\n")), PARSE_MORE);
	CHECK_INT(whole.data_len, 12);
}

static void chunks_are_joined_and_their_end_is_found(void)
{
	reads_as("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", "", 0);
	reads_as("0\r\n\r\nGET / HTTP/1.1\r\n", "", "", 16);
	reads_as("00000000000000a\r\n0123456789\r\n000\r\n\r\nrest", "0123456789", "", 4);
	reads_as("A\r\n0123456789\r\n1\r\n\r\r\n2\r\n\r\n\r\n0\r\n\r\n", "0123456789\r\r\n", "", 0);
}

static void extensions_are_dropped(void)
{
	reads_as("5;a=b\r\nhello\r\n0;c=\"d e\"; f\r\n\r\n", "hello", "", 0);
	reads_as("5;\r\nhello\r\n0\r\n\r\n", "hello", "", 0);
}

static void trailers_come_out_whole(void)
{
	reads_as("0\r\nA: b\r\nGrpc-Status: 0 \r\n\r\nGET", "", "A: b\r\nGrpc-Status: 0 \r\n", 3);
	reads_as("1\r\nx\r\n0\r\nA:\r\n\r\n", "x", "A:\r\n", 0);
}

static void sizes_that_are_not_plain_hexadecimal_are_refused(void)
{
	static const char *const sizes[] = {"", "+5", "-5", "0x5", " 5", "5 ", "5\t", "5 ;a", "g",
		"5h", "\"5\"", "00000000000000005", "8000000000000000", "ffffffffffffffff",
		"10000000000000000", "5,5", ";a"};
	char text[128];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		snprintf(text, sizeof(text), "%s\r\nhello\r\n0\r\n\r\n", sizes[i]);
		refused(text, 400);
	}
	CHECK_INT(chunked("7fffffffffffffff\r\nhello"), PARSE_MORE);
	CHECK_INT(whole.data_len, 5);
}

static void bare_line_ends_in_framing_are_refused(void)
{
	refused("5\nhello\r\n0\r\n\r\n", 400);
	refused("5\rhello\r\n0\r\n\r\n", 400);
	refused("5\r\r\nhello\r\n0\r\n\r\n", 400);
	refused("5\r\nhello\n0\r\n\r\n", 400);
	refused("5\r\nhello\r0\r\n\r\n", 400);
	refused("5\r\nhello\r\n0\n\r\n", 400);
	refused("5\r\nhello\r\n0\r\n\n", 400);
	refused("5\r\nhello\r\n0\r\n\rX", 400);
	refused("5;a\nhello\r\n0\r\n\r\n", 400);
	refused("5;a\rb\r\nhello\r\n0\r\n\r\n", 400);
	refused("5;a\1\r\nhello\r\n0\r\n\r\n", 400);
	refused("0\r\nA: b\n\r\n", 400);
}

static void chunks_must_be_as_long_as_they_say(void)
{
	refused("4\r\nhello\r\n0\r\n\r\n", 400);
	refused("6\r\nhello\r\n0\r\n\r\n", 400);
	refused("5\r\nhello0\r\n\r\n", 400);
	refused("5\r\nhello\r\n\r\n0\r\n\r\n", 400);
}

static void trailers_must_be_fields(void)
{
	refused("0\r\nA : b\r\n\r\n", 400);
	refused("0\r\n: b\r\n\r\n", 400);
	refused("0\r\nA\r\n\r\n", 400);
	refused("0\r\nA: b\r\n c\r\n\r\n", 400);
	refused("0\r\nA: \1\r\n\r\n", 400);
	refused("0\r\nGET / HTTP/1.1\r\n\r\n", 400);
}

static void framing_without_end_is_refused(void)
{
	static char text[16000];
	size_t n = (size_t)snprintf(text, sizeof(text), "5;");

	memset(text + n, 'x', HTTP1_EXTENSION_MAX);
	snprintf(text + n + HTTP1_EXTENSION_MAX, 64, "\r\nhello\r\n0\r\n\r\n");
	reads_as(text, "hello", "", 0);
	snprintf(text + n + HTTP1_EXTENSION_MAX, 64, "x\r\nhello\r\n0\r\n\r\n");
	refused(text, 400);

	n = (size_t)snprintf(text, sizeof(text), "0\r\nA: ");
	memset(text + n, 'x', HTTP1_TRAILERS_MAX - 7);
	snprintf(text + n + HTTP1_TRAILERS_MAX - 7, 64, "\r\n\r\n");
	CHECK_INT(chunked(text), PARSE_DONE);
	CHECK_INT(whole.trailers_len, HTTP1_TRAILERS_MAX - 2);
	snprintf(text + n + HTTP1_TRAILERS_MAX - 7, 64, "x\r\n\r\n");
	refused(text, 431);
}

static void only_what_may_end_by_closing_does(void)
{
	struct http1_body b;
	struct http_fault fault;
	struct span data;
	size_t used;

	http1_body_init(&b, HTTP_UNTIL_CLOSE, 0);
	CHECK_INT(http1_body_eof(&b), PARSE_DONE);
	http1_body_init(&b, HTTP_NO_BODY, 0);
	CHECK_INT(http1_body_eof(&b), PARSE_DONE);
	http1_body_init(&b, HTTP_LENGTH, 3);
	CHECK_INT(http1_body_eof(&b), PARSE_BAD);
	CHECK_INT(http1_body_next(&b, SPAN("abc"), &used, &data, &fault), PARSE_DONE);
	CHECK_INT(http1_body_eof(&b), PARSE_DONE);
	http1_body_init(&b, HTTP_CHUNKED, 0);
	CHECK_INT(http1_body_next(&b, SPAN("0\r\n"), &used, &data, &fault), PARSE_MORE);
	CHECK_INT(http1_body_eof(&b), PARSE_BAD);
	CHECK_INT(http1_body_next(&b, SPAN("\r\n"), &used, &data, &fault), PARSE_DONE);
	CHECK_INT(http1_body_eof(&b), PARSE_DONE);
	CHECK_INT(http1_body_next(&b, SPAN("GET"), &used, &data, &fault), PARSE_DONE);
	CHECK_INT(used, 0);
}

static void content_that_goes_by_unseen_counts(void)
{
	struct http1_body b;
	struct http_fault fault;
	struct span data;
	size_t used;

	http1_body_init(&b, HTTP_NO_BODY, 0);
	CHECK_INT(http1_body_opaque(&b), 0);
	http1_body_init(&b, HTTP_CHUNKED, 0);
	CHECK_INT(http1_body_opaque(&b), 0);
	CHECK_INT(http1_body_next(&b, SPAN("ff\r\nabc"), &used, &data, &fault), PARSE_MORE);
	CHECK_INT(http1_body_opaque(&b), 0); /* its framing is ours to read */
	http1_body_init(&b, HTTP_UNTIL_CLOSE, 0);
	CHECK_INT(http1_body_skip(&b, 1 << 30), PARSE_MORE);
	CHECK_INT(http1_body_opaque(&b), UINT64_MAX);
	http1_body_init(&b, HTTP_LENGTH, 10);
	CHECK_INT(http1_body_next(&b, SPAN("abc"), &used, &data, &fault), PARSE_MORE);
	CHECK_INT(http1_body_opaque(&b), 7);
	CHECK_INT(http1_body_skip(&b, 6), PARSE_MORE);
	CHECK_INT(http1_body_eof(&b), PARSE_BAD);
	CHECK_INT(http1_body_next(&b, SPAN("xGET"), &used, &data, &fault), PARSE_DONE);
	CHECK_INT(used, 1);
	http1_body_init(&b, HTTP_LENGTH, 10);
	CHECK_INT(http1_body_skip(&b, 10), PARSE_DONE);
	CHECK_INT(http1_body_eof(&b), PARSE_DONE);
}

static const struct test_case cases[] = {
	TEST(no_content_is_done_at_once),
	TEST(a_length_ends_where_it_says),
	TEST(content_until_close_is_all_there_is),
	TEST(chunks_are_joined_and_their_end_is_found),
	TEST(extensions_are_dropped),
	TEST(trailers_come_out_whole),
	TEST(sizes_that_are_not_plain_hexadecimal_are_refused),
	TEST(bare_line_ends_in_framing_are_refused),
	TEST(chunks_must_be_as_long_as_they_say),
	TEST(trailers_must_be_fields),
	TEST(framing_without_end_is_refused),
	TEST(only_what_may_end_by_closing_does),
	TEST(content_that_goes_by_unseen_counts),
};
TESTS_MAIN("HTTP/1 content", cases)
