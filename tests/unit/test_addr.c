/*
 * Addresses and networks as text and back.
 */
#include "shared/addr.h"
#include "tests/unit/check.h"

static void addresses_round_trip(void)
{
	static const char *const texts[][2] = {
		{"10.0.0.1:80", "10.0.0.1:80"},
		{"[::1]:65535", "[::1]:65535"},
		{"[fd00:0::1]:1", "[fd00::1]:1"},
		{":80", "[::]:80"},
		{"0.0.0.0:8080", "0.0.0.0:8080"},
		{"[::ffff:10.0.0.1]:80", "10.0.0.1:80"},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char out[ADDR_TEXT_MAX];
		struct addr a;

		CHECK_TRUE(addr_parse(span_of(texts[i][0]), &a, NULL) == 0);
		CHECK_INT(addr_format(&a, out), strlen(texts[i][1]));
		CHECK_TEXT(span_of(out), texts[i][1]);
	}
}

static void wrong_addresses_are_refused_with_a_remedy(void)
{
	static const char *const texts[][2] = {
		{"10.0.0.1", "'10.0.0.1' has no port: write ADDRESS:PORT, such as 10.0.0.1:80"},
		{"::1:80", "'::1:80': write an IPv6 address in brackets, such as [::1]:80"},
		{"[::1]", "'[::1]' has no port: write [ADDRESS]:PORT, such as [::1]:80"},
		{"[10.0.0.1]:80", "'[10.0.0.1]:80' is not an address: brackets are for IPv6"},
		{"10.0.0.1:0", "'0' is not a port: write 1 to 65535"},
		{"10.0.0.1:65536", "'65536' is not a port: write 1 to 65535"},
		{"10.0.0.1:", "'' is not a port: write 1 to 65535"},
		{"", "'' has no port: write ADDRESS:PORT, such as 10.0.0.1:80"},
	};
	static const char *const others[] = {"10.0.0.01:80", "10.1:80", "host:80", "[]:80", "[:80",
		"[fe80::1%lo]:80", "10.0.0.1:+8", "1.2.3.4.5:80",
		"[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc]:80"};
	struct addr a;
	struct err err;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		CHECK_INT(addr_parse(span_of(texts[i][0]), &a, &err), -1);
		CHECK_TEXT(span_of(err.text), texts[i][1]);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		CHECK_INT(addr_parse(span_of(others[i]), &a, NULL), -1);
	CHECK_INT(addr_parse(SPAN("10.0.0.1\0:80"), &a, NULL), -1);
	CHECK_INT(addr_parse_ip(SPAN("10.0.0.1:80"), &a, NULL), -1);
	CHECK_INT(addr_parse_ip(SPAN(""), &a, NULL), -1);
}

static void mapped_addresses_are_ipv4(void)
{
	struct addr v4, mapped, other;
	char out[ADDR_TEXT_MAX];

	CHECK_TRUE(addr_parse(SPAN("10.0.0.1:80"), &v4, NULL) == 0);
	CHECK_TRUE(addr_parse(SPAN("[::ffff:10.0.0.1]:80"), &mapped, NULL) == 0);
	CHECK_TRUE(addr_parse(SPAN("10.0.0.1:81"), &other, NULL) == 0);
	CHECK(addr_eq(&v4, &mapped));
	CHECK(!addr_eq(&v4, &other));
	CHECK(addr_eq_ip(&mapped, &other));
	CHECK_INT(addr_len(&mapped), sizeof(struct sockaddr_in6));
	addr_unmap(&mapped);
	CHECK_INT(mapped.sa.sa_family, AF_INET);
	CHECK_INT(addr_port(&mapped), 80);
	CHECK_INT(addr_len(&mapped), sizeof(struct sockaddr_in));
	addr_format_ip(&mapped, out);
	CHECK_TEXT(span_of(out), "10.0.0.1");
}

static bool contains(const char *network, const char *ip)
{
	struct cidr c;
	struct addr a;

	CHECK_TRUE(cidr_parse(span_of(network), &c, NULL) == 0);
	CHECK_TRUE(addr_parse_ip(span_of(ip), &a, NULL) == 0);
	return cidr_contains(&c, &a);
}

static void networks_contain_what_shares_their_bits(void)
{
	CHECK(contains("10.0.0.0/8", "10.255.0.1"));
	CHECK(!contains("10.0.0.0/8", "11.0.0.1"));
	CHECK(contains("10.0.0.100/24", "10.0.0.1"));
	CHECK(contains("192.168.4.0/22", "192.168.7.255"));
	CHECK(!contains("192.168.4.0/22", "192.168.8.0"));
	CHECK(contains("10.0.0.1", "10.0.0.1"));
	CHECK(!contains("10.0.0.1", "10.0.0.2"));
	CHECK(contains("0.0.0.0/0", "1.2.3.4"));
	CHECK(!contains("0.0.0.0/0", "::1"));
	CHECK(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
	CHECK(contains("fd00::/8", "fdff::1"));
	CHECK(!contains("fd00::/8", "fe80::1"));
	CHECK(contains("::/0", "::1"));
	CHECK(contains("fd00::1", "fd00::1"));
}

static void networks_keep_their_host_bits(void)
{
	char out[ADDR_TEXT_MAX];
	struct cidr c;
	struct err err;

	CHECK_TRUE(cidr_parse(SPAN("10.0.0.100/24"), &c, NULL) == 0);
	cidr_format(&c, out);
	CHECK_TEXT(span_of(out), "10.0.0.100/24");
	CHECK_TRUE(cidr_parse(SPAN("fd00::100/64"), &c, NULL) == 0);
	cidr_format(&c, out);
	CHECK_TEXT(span_of(out), "fd00::100/64");
	CHECK_INT(cidr_parse(SPAN("10.0.0.0/33"), &c, &err), -1);
	CHECK_TEXT(
		span_of(err.text), "'10.0.0.0/33' is not a network: the bits after / are 0 to 32");
	CHECK_INT(cidr_parse(SPAN("10.0.0.0/"), &c, NULL), -1);
	CHECK_INT(cidr_parse(SPAN("/8"), &c, NULL), -1);
	CHECK_INT(cidr_parse(SPAN("10.0.0/8"), &c, NULL), -1);
}

static const struct test_case cases[] = {
	TEST(addresses_round_trip),
	TEST(wrong_addresses_are_refused_with_a_remedy),
	TEST(mapped_addresses_are_ipv4),
	TEST(networks_contain_what_shares_their_bits),
	TEST(networks_keep_their_host_bits),
};
TESTS_MAIN("addr", cases)
