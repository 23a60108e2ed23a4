/*
 * PROXY protocol headers: read as the text has them, refused where they differ, and what is written
 * is read back.
 */
#include "proxy/net/proxy_protocol.h"

#include "tests/unit/check.h"

static struct proxy_header header;
static size_t bytes;
static const char *why;

static enum parse_rc parse(struct span in)
{
	why = "";
	return proxy_header_parse(in, &header, &bytes, &why);
}

static void check_addresses(const char *source, const char *destination)
{
	char text[ADDR_TEXT_MAX];

	CHECK_TRUE(header.has_addresses);
	addr_format(&header.source, text);
	CHECK_TEXT(span_of(text), source);
	addr_format(&header.destination, text);
	CHECK_TEXT(span_of(text), destination);
}

#define V1(text) parse(SPAN("PROXY " text "\r\nGET /"))

static void version_1_names_both_ends(void)
{
	CHECK_INT(V1("TCP4 192.0.2.1 198.51.100.7 40000 443"), PARSE_DONE);
	CHECK_INT(bytes, strlen("PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n"));
	check_addresses("192.0.2.1:40000", "198.51.100.7:443");
	CHECK_INT(V1("TCP6 2001:db8::1 ::1 0 65535"), PARSE_DONE);
	check_addresses("[2001:db8::1]:0", "[::1]:65535");
}

static void an_unknown_protocol_of_version_1_says_nothing_of_addresses(void)
{
	CHECK_INT(V1("UNKNOWN"), PARSE_DONE);
	CHECK(!header.has_addresses);
	CHECK_INT(bytes, 15);
	CHECK_INT(V1("UNKNOWN ffff:: ffff:: 65535 65535 and more"), PARSE_DONE);
	CHECK(!header.has_addresses);
}

static void version_1_has_one_way_to_be_written(void)
{
	CHECK_INT(V1("TCP4  192.0.2.1 198.51.100.7 40000 443"), PARSE_BAD);
	CHECK_INT(V1("TCP4 192.0.2.1 198.51.100.7 40000 443 "), PARSE_BAD);
	CHECK_INT(V1("TCP4 192.0.2.1 198.51.100.7 40000"), PARSE_BAD);
	CHECK_INT(V1("TCP4 192.0.2.1 198.51.100.7"), PARSE_BAD);
	CHECK_INT(V1("TCP4 192.0.2.1 198.51.100.7 040000 443"), PARSE_BAD);
	CHECK_INT(V1("TCP4 192.0.2.1 198.51.100.7 65536 443"), PARSE_BAD);
	CHECK_INT(V1("TCP4 192.0.2.1 198.51.100.7 -1 443"), PARSE_BAD);
	CHECK_INT(V1("TCP4 192.0.2.01 198.51.100.7 1 443"), PARSE_BAD);
	CHECK_INT(V1("TCP4 ::1 ::1 1 443"), PARSE_BAD);
	CHECK_INT(V1("TCP6 192.0.2.1 198.51.100.7 1 443"), PARSE_BAD);
	CHECK_INT(V1("UDP4 192.0.2.1 198.51.100.7 1 443"), PARSE_BAD);
	CHECK_INT(V1("UNKNOWNS"), PARSE_BAD);
	CHECK_INT(V1(""), PARSE_BAD);
	CHECK_INT(parse(SPAN("PROXY \n")), PARSE_BAD);
	CHECK_INT(parse(SPAN("PROXY TCP4 192.0.2.1 198.51.100.7 1 443\n")), PARSE_BAD);
	CHECK_INT(parse(SPAN("proxy TCP4 192.0.2.1 198.51.100.7 1 443\r\n")), PARSE_BAD);
	CHECK_INT(parse(SPAN("GET / HTTP/1.1\r\n\r\n")), PARSE_BAD);
	CHECK_TEXT(span_of(why), "no PROXY protocol header");
}

static void a_line_of_version_1_has_107_bytes_at_most(void)
{
	char text[200];

	memset(text, 'x', sizeof(text));
	memcpy(text, "PROXY UNKNOWN ", 14);
	CHECK_INT(parse(span_make(text, 106)), PARSE_MORE);
	CHECK_INT(bytes, 107);
	CHECK_INT(parse(span_make(text, 107)), PARSE_BAD);
	memcpy(text + 105, "\r\n", 2);
	CHECK_INT(parse(span_make(text, 107)), PARSE_DONE);
	text[105] = 'x';
	memcpy(text + 106, "\r\n", 2);
	CHECK_INT(parse(span_make(text, 108)), PARSE_BAD);
}

#define V2_START "\r\n\r\n\0\r\nQUIT\n"
#define INET "\xc0\x00\x02\x01\xc6\x33\x64\x07\x9c\x40\x01\xbb" /* the addresses from above */
#define V2(rest) parse(SPAN(V2_START rest))

static void version_2_names_both_ends(void)
{
	static const uint8_t v6[36] = {[0] = 0x20,
		[1] = 0x01,
		[2] = 0x0d,
		[3] = 0xb8,
		[15] = 1,
		[31] = 1,
		[32] = 0x9c,
		[33] = 0x40,
		[34] = 0x01,
		[35] = 0xbb};
	char text[52] = V2_START "\x21\x21\0\x24";

	CHECK_INT(V2("\x21\x11\0\x0c" INET "rest"), PARSE_DONE);
	CHECK_INT(bytes, 28);
	check_addresses("192.0.2.1:40000", "198.51.100.7:443");
	memcpy(text + 16, v6, sizeof(v6));
	CHECK_INT(parse(span_make(text, sizeof(text))), PARSE_DONE);
	check_addresses("[2001:db8::1]:40000", "[::1]:443");
}

static void commands_and_families_without_an_address_for_us_keep_the_connections_own(void)
{
	char unix_socket[16 + 216] = V2_START "\x21\x31\0\xd8";

	CHECK_INT(V2("\x20\0\0\0"), PARSE_DONE); /* LOCAL */
	CHECK(!header.has_addresses);
	CHECK_INT(V2("\x20\x11\0\x02\xff\xff"), PARSE_DONE); /* whatever LOCAL has is skipped */
	CHECK_INT(bytes, 18);
	CHECK_INT(V2("\x21\0\0\x03"
		     "abc"),
		PARSE_DONE); /* UNSPEC */
	CHECK(!header.has_addresses);
	CHECK_INT(V2("\x21\x12\0\x0c" INET), PARSE_DONE); /* UDP: not what this connection is */
	CHECK(!header.has_addresses);
	CHECK_INT(parse(span_make(unix_socket, sizeof(unix_socket))), PARSE_DONE);
	CHECK(!header.has_addresses);
	CHECK_INT(bytes, sizeof(unix_socket));
}

static void version_2_is_refused_where_the_text_does_not_know_it(void)
{
	CHECK_INT(V2("\x11\x11\0\x0c" INET), PARSE_BAD); /* version 1 in binary */
	CHECK_INT(V2("\x31\x11\0\x0c" INET), PARSE_BAD);
	CHECK_INT(V2("\x22\x11\0\x0c" INET), PARSE_BAD);	 /* a third command */
	CHECK_INT(V2("\x21\x41\0\x0c" INET), PARSE_BAD);	 /* a fifth family */
	CHECK_INT(V2("\x21\x13\0\x0c" INET), PARSE_BAD);	 /* a fourth transport */
	CHECK_INT(V2("\x21\x11\0\x0b" INET), PARSE_BAD);	 /* too short */
	CHECK_INT(V2("\x21\x21\0\x0c" INET), PARSE_BAD);	 /* too short for IPv6 */
	CHECK_INT(V2("\x21\x31\0\x0c" INET), PARSE_BAD);	 /* and for a path */
	CHECK_INT(V2("\x21\x11\xff\xff" INET), PARSE_BAD);	 /* too long */
	CHECK_INT(parse(SPAN("\r\n\r\nGET / HTTP")), PARSE_BAD); /* not the signature */
}

static void tlvs_are_stepped_over_within_bounds(void)
{
	CHECK_INT(V2("\x21\x11\0\x12" INET "\x02\0\x03"
		     "api"),
		PARSE_DONE);
	CHECK_INT(bytes, 34);
	CHECK_INT(V2("\x21\x11\0\x12" INET "\x04\0\0\xe0\0\0"), PARSE_DONE); /* two empty ones */
	CHECK_INT(V2("\x21\x11\0\x12" INET "\x02\0\x04"
		     "api"),
		PARSE_BAD);
	CHECK_TEXT(span_of(why), "a TLV beyond the end");
	CHECK_INT(V2("\x21\x11\0\x0e" INET "\x02\0"), PARSE_BAD);
}

static void a_checksum_must_agree(void)
{
	/* made with another implementation of CRC32c */
	static const char good[] = V2_START "\x21\x11\0\x13" INET "\x03\0\x04\xb9\x96\x52\xf9";
	char bad[sizeof(good)];

	CHECK_INT(parse(span_make(good, sizeof(good) - 1)), PARSE_DONE);
	check_addresses("192.0.2.1:40000", "198.51.100.7:443");
	for (size_t i = 16; i < 28; i++) {
		memcpy(bad, good, sizeof(good));
		bad[i] ^= 1;
		CHECK_INT(parse(span_make(bad, sizeof(good) - 1)), PARSE_BAD);
	}
	CHECK_TEXT(span_of(why), "a checksum that does not agree");
	CHECK_INT(V2("\x21\x11\0\x11" INET "\x03\0\x02\0\0"), PARSE_BAD); /* of two bytes */
}

static void every_beginning_wants_more_and_says_how_much_at_least(void)
{
	static const char v1[] = "PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n";
	static const char v2[] = V2_START "\x21\x11\0\x0c" INET;

	for (size_t n = 0; n < sizeof(v1) - 1; n++) {
		CHECK_INT(parse(span_make(v1, n)), PARSE_MORE);
		CHECK(bytes > n && bytes <= sizeof(v1) - 1);
	}
	for (size_t n = 0; n < sizeof(v2) - 1; n++) {
		CHECK_INT(parse(span_make(v2, n)), PARSE_MORE);
		CHECK(bytes > n && bytes <= sizeof(v2) - 1);
	}
	CHECK_INT(bytes, sizeof(v2) - 1);
}

static struct addr address(const char *text)
{
	struct addr a;

	CHECK_TRUE(addr_parse(span_of(text), &a, NULL) == 0);
	return a;
}

static void what_is_written_is_read_back(void)
{
	static const char *const pairs[][2] = {{"192.0.2.1:40000", "198.51.100.7:443"},
		{"[2001:db8::1]:40000", "[::1]:443"},
		{"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
			"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535"}};
	char out[PROXY_HEADER_OUT_MAX];

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		for (enum proxy_version v = PROXY_V1; v <= PROXY_V2; v++) {
			struct addr from = address(pairs[i][0]), to = address(pairs[i][1]);
			size_t n = proxy_header_write(out, v, &from, &to);

			CHECK_INT(parse(span_make(out, n)), PARSE_DONE);
			CHECK_INT(bytes, n);
			check_addresses(pairs[i][0], pairs[i][1]);
		}
}

static void ends_of_two_families_are_both_written_as_ipv6(void)
{
	struct addr from = address("192.0.2.1:40000"), to = address("[::1]:443");
	char out[PROXY_HEADER_OUT_MAX];
	size_t n = proxy_header_write(out, PROXY_V1, &from, &to);

	CHECK_TEXT(span_make(out, n), "PROXY TCP6 ::ffff:192.0.2.1 ::1 40000 443\r\n");
	n = proxy_header_write(out, PROXY_V2, &from, &to);
	CHECK_INT(parse(span_make(out, n)), PARSE_DONE);
	check_addresses("192.0.2.1:40000", "[::1]:443");
}

static void a_connection_of_our_own_is_said_to_be_that(void)
{
	char out[PROXY_HEADER_OUT_MAX];

	CHECK_TEXT(
		span_make(out, proxy_header_write(out, PROXY_V1, NULL, NULL)), "PROXY UNKNOWN\r\n");
	CHECK_INT(proxy_header_write(out, PROXY_V2, NULL, NULL), 16);
	CHECK_INT(parse(span_make(out, 16)), PARSE_DONE);
	CHECK(!header.has_addresses);
}

static const struct test_case cases[] = {
	TEST(version_1_names_both_ends),
	TEST(an_unknown_protocol_of_version_1_says_nothing_of_addresses),
	TEST(version_1_has_one_way_to_be_written),
	TEST(a_line_of_version_1_has_107_bytes_at_most),
	TEST(version_2_names_both_ends),
	TEST(commands_and_families_without_an_address_for_us_keep_the_connections_own),
	TEST(version_2_is_refused_where_the_text_does_not_know_it),
	TEST(tlvs_are_stepped_over_within_bounds),
	TEST(a_checksum_must_agree),
	TEST(every_beginning_wants_more_and_says_how_much_at_least),
	TEST(what_is_written_is_read_back),
	TEST(ends_of_two_families_are_both_written_as_ipv6),
	TEST(a_connection_of_our_own_is_said_to_be_that),
};
TESTS_MAIN("proxy_protocol", cases)
