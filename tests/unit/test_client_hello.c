/*
 * ClientHellos, built field by field: the server's name is found wherever it may be, and what could
 * be read in two ways is refused.
 */
#include "proxy/net/client_hello.h"

#include <stdlib.h>

#include "tests/unit/check.h"

static char message[70000], wire[400000], room[CLIENT_HELLO_MAX];
static size_t message_len, bytes;
static struct client_hello hello;
static const char *why;

static void put(const void *from, size_t len)
{
	CHECK_TRUE(message_len + len <= sizeof(message));
	memcpy(message + message_len, from, len);
	message_len += len;
}

static void put_number(size_t n, unsigned width)
{
	while (width-- > 0) {
		char byte = (char)(n >> 8 * width);

		put(&byte, 1);
	}
}

static void set_number(size_t at, size_t n, unsigned width)
{
	for (unsigned i = 0; i < width; i++)
		message[at + i] = (char)(n >> 8 * (width - 1 - i));
}

/* All before the extensions. */
static void begin(void)
{
	static const char random[32];

	message_len = 0;
	put_number(1, 1);
	put_number(0, 3);
	put_number(0x0303, 2);
	put(random, sizeof(random));
	put_number(0, 1); /* session */
	put_number(2, 2); /* ciphers */
	put_number(0x1301, 2);
	put_number(0x0100, 2); /* compression: null */
}

static size_t extensions_at;

static void begin_extensions(void)
{
	begin();
	extensions_at = message_len;
	put_number(0, 2);
}

static void put_extension(size_t type, const void *data, size_t len)
{
	put_number(type, 2);
	put_number(len, 2);
	put(data, len);
}

static void put_name(struct span name)
{
	put_number(0, 2);
	put_number(name.len + 5, 2);
	put_number(name.len + 3, 2);
	put_number(0, 1);
	put_number(name.len, 2);
	put(name.ptr, name.len);
}

static void end(bool extensions)
{
	if (extensions)
		set_number(extensions_at, message_len - extensions_at - 2, 2);
	set_number(1, message_len - 4, 3);
}

/* In records of at most so many bytes; returns the wire's length. */
static size_t to_wire(size_t piece)
{
	size_t at = 0, n = 0;

	while (at < message_len) {
		size_t len = message_len - at < piece ? message_len - at : piece;

		memcpy(wire + n, "\x16\x03\x01", 3);
		wire[n + 3] = (char)(len >> 8);
		wire[n + 4] = (char)len;
		memcpy(wire + n + 5, message + at, len);
		n += 5 + len;
		at += len;
	}
	return n;
}

static enum parse_rc parse(size_t len)
{
	char *exact = malloc(len + !len);
	enum parse_rc rc;

	CHECK_TRUE(exact != NULL);
	memcpy(exact, wire, len);
	why = "";
	rc = client_hello_parse(span_make(exact, len), room, &hello, &bytes, &why);
	free(exact);
	return rc;
}

static void check_bad(const char *expected)
{
	CHECK_INT(parse(to_wire(16384)), PARSE_BAD);
	CHECK_TEXT(span_of(why), expected);
}

static void the_name_is_found_among_other_extensions(void)
{
	begin_extensions();
	put_extension(10, "\0\2\0\x1d", 4);
	put_name(SPAN("Shop.Example.com"));
	put_extension(43, "\2\3\4", 3);
	end(true);
	CHECK_INT(parse(to_wire(16384)), PARSE_DONE);
	CHECK_TEXT(hello.server_name, "Shop.Example.com");
}

static void a_hello_may_have_no_name_and_no_extensions(void)
{
	begin_extensions();
	put_extension(43, "\2\3\4", 3);
	end(true);
	CHECK_INT(parse(to_wire(16384)), PARSE_DONE);
	CHECK_INT(hello.server_name.len, 0);
	begin();
	end(false);
	CHECK_INT(parse(to_wire(16384)), PARSE_DONE);
	CHECK_INT(hello.server_name.len, 0);
}

static void records_may_cut_it_anywhere(void)
{
	static const char padding[3000];

	begin_extensions();
	put_name(SPAN("a.example"));
	put_extension(21, padding, sizeof(padding));
	end(true);
	for (size_t piece = 1; piece < 80; piece++) {
		size_t len = to_wire(piece);

		if (len > CLIENT_HELLO_WIRE_MAX) {
			CHECK_INT(parse(len), PARSE_BAD);
			continue;
		}
		CHECK_INT(parse(len), PARSE_DONE);
		CHECK_TEXT(hello.server_name, "a.example");
	}
}

static void every_beginning_wants_more_and_never_more_than_there_is(void)
{
	static const size_t pieces[] = {16384, 7, 1};

	begin_extensions();
	put_name(SPAN("a.example"));
	end(true);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		size_t len = to_wire(pieces[i]), want = 0;

		for (size_t n = 0; n < len; n++) {
			CHECK_INT(parse(n), PARSE_MORE);
			CHECK(bytes > n && bytes <= len && bytes >= want);
			want = bytes;
		}
		CHECK_INT(parse(len), PARSE_DONE);
	}
}

static void what_follows_the_hello_is_not_its_matter(void)
{
	size_t len;

	begin_extensions();
	put_name(SPAN("a.example"));
	end(true);
	len = to_wire(16384);
	memcpy(wire + len, "\x14\x03\x03\0\1\1", 6);
	CHECK_INT(parse(len + 6), PARSE_DONE);
}

static void what_is_no_tls_is_refused_at_its_first_byte(void)
{
	wire[0] = 'G';
	CHECK_INT(parse(1), PARSE_BAD);
	CHECK_TEXT(span_of(why), "no TLS handshake");
	memcpy(wire, "\x16\x02", 2);
	CHECK_INT(parse(2), PARSE_BAD);
	memcpy(wire, "\x16\x03\x01\0\0", 5); /* empty records are forbidden (RFC 8446 5.1) */
	CHECK_INT(parse(5), PARSE_BAD);
	memcpy(wire, "\x16\x03\x01\x40\x01", 5);
	CHECK_INT(parse(5), PARSE_BAD);
	memcpy(wire, "\x16\x03\x01\0\4\2\0\0\0", 9); /* a ServerHello */
	CHECK_INT(parse(9), PARSE_BAD);
	memcpy(wire, "\x16\x03\x01\0\4\1\0\x40\0", 9); /* 16 KiB and its own head */
	CHECK_INT(parse(9), PARSE_BAD);
	CHECK_TEXT(span_of(why), "a ClientHello of more than 16 KiB");
}

static void two_names_are_refused(void)
{
	begin_extensions();
	put_name(SPAN("a.example"));
	put_name(SPAN("b.example"));
	end(true);
	check_bad("two lists of server names");
	begin_extensions();
	put_extension(0, "\0\x08\0\0\1a\0\0\1b", 10);
	end(true);
	check_bad("two server names");
}

static void a_name_is_a_host_name(void)
{
	static const struct span bad[] = {
		{"", 0}, {"a b", 3}, {"a\0b", 3}, {"2001:db8::1", 11}, {"b\xc3\xbc.example", 10}};
	char longest[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin_extensions();
		put_name(bad[i]);
		end(true);
		check_bad("a server name that is no host name");
	}
	memset(longest, 'x', sizeof(longest));
	begin_extensions();
	put_name(span_make(longest, 255));
	end(true);
	CHECK_INT(parse(to_wire(16384)), PARSE_DONE);
	CHECK_INT(hello.server_name.len, 255);
	begin_extensions();
	put_name(span_make(longest, 256));
	end(true);
	check_bad("a server name that is no host name");
}

static void lengths_must_fit_into_each_other(void)
{
	begin_extensions();
	put_extension(0, "\0\5\0\0\1a", 6); /* the list says one more than there is */
	end(true);
	check_bad("a malformed list of server names");
	begin_extensions();
	put_extension(0, "\0\3\0\0\1a", 6); /* and one less */
	end(true);
	check_bad("a malformed list of server names");
	begin_extensions();
	put_extension(0, "\0\0", 2);
	end(true);
	check_bad("a malformed list of server names");
	begin_extensions();
	put_number(43, 2);
	put_number(9, 2);
	end(true);
	check_bad("a malformed extension");
	begin_extensions();
	put_name(SPAN("a.example"));
	end(true);
	set_number(extensions_at, message_len - extensions_at - 3, 2); /* a byte is left over */
	check_bad("a malformed ClientHello");
	begin();
	put_number(0, 1);
	end(false);
	check_bad("a malformed ClientHello");
	begin();
	message_len -= 2; /* no compression */
	end(false);
	check_bad("a malformed ClientHello");
}

static const struct test_case cases[] = {
	TEST(the_name_is_found_among_other_extensions),
	TEST(a_hello_may_have_no_name_and_no_extensions),
	TEST(records_may_cut_it_anywhere),
	TEST(every_beginning_wants_more_and_never_more_than_there_is),
	TEST(what_follows_the_hello_is_not_its_matter),
	TEST(what_is_no_tls_is_refused_at_its_first_byte),
	TEST(two_names_are_refused),
	TEST(a_name_is_a_host_name),
	TEST(lengths_must_fit_into_each_other),
};
TESTS_MAIN("client_hello", cases)
