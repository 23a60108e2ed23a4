/*
 * DNS messages as values: what they say, and what a bad one can do (nothing).
 */
#include "proxy/discover/dns_answer.h"

#include <arpa/inet.h>

#include "shared/rng.h"
#include "tests/unit/check.h"

struct message {
	uint8_t bytes[2048];
	size_t len;
};

static void put(struct message *m, const void *bytes, size_t len)
{
	CHECK_TRUE(m->len + len <= sizeof(m->bytes));
	memcpy(m->bytes + m->len, bytes, len);
	m->len += len;
}

static void put16(struct message *m, unsigned n)
{
	put(m, (const uint8_t[]){(uint8_t)(n >> 8), (uint8_t)n}, 2);
}

static void begin(struct message *m, unsigned code, unsigned answers, unsigned authorities)
{
	*m = (struct message){0};
	put16(m, 7);
	put16(m, 0x8180 | code);
	put16(m, 1);
	put16(m, answers);
	put16(m, authorities);
	put16(m, 0);
	put(m, "\3web\4test\0\0\1\0\1", 14);
}

static void record(struct message *m, unsigned type, uint32_t ttl_s, const void *data, size_t len)
{
	put16(m, 0xc00c);
	put16(m, type);
	put16(m, 1);
	put16(m, ttl_s >> 16);
	put16(m, ttl_s & 0xffff);
	put16(m, (unsigned)len);
	put(m, data, len);
}

static enum dns_verdict read_it(const struct message *m, enum dns_type type,
	struct dns_record *records, unsigned room, struct dns_answer *a)
{
	return dns_answer_read(span_make(m->bytes, m->len), type, records, room, a);
}

static void addresses_come_with_the_least_time_of_all_that_led_to_them(void)
{
	struct dns_record r[4];
	struct dns_answer a;
	struct message m;
	char text[ADDR_TEXT_MAX];

	begin(&m, 0, 3, 0);
	record(&m, DNS_CNAME, 30, "\1x\xc0\x0c", 4);
	record(&m, DNS_A, 60, "\x0a\0\0\1", 4);
	record(&m, DNS_A, 90, "\x0a\0\0\2", 4);
	CHECK_INT(read_it(&m, DNS_A, r, 4, &a), DNS_GOOD);
	CHECK_INT(a.count, 2);
	CHECK_INT(a.ttl_s, 30);
	addr_format_ip(&r[1].addr, text);
	CHECK(strcmp(text, "10.0.0.2") == 0);
	/* Of another type there is nothing. */
	CHECK_INT(read_it(&m, DNS_AAAA, r, 4, &a), DNS_GOOD);
	CHECK_INT(a.count, 0);
	/* What there is no room for is counted. */
	CHECK_INT(read_it(&m, DNS_A, r, 1, &a), DNS_GOOD);
	CHECK_INT(a.count, 1);
	CHECK_INT(a.dropped, 1);
}

static void a_service_is_a_place_in_an_order_and_a_name(void)
{
	struct dns_record r[4];
	struct dns_answer a;
	struct message m;

	begin(&m, 0, 4, 0);
	record(&m, DNS_SRV, 5, "\0\1\0\2\x1f\x90\2S1\xc0\x0c", 11);
	record(&m, DNS_SRV, 5, "\0\1\0\2\x1f\x90\0", 7);       /* "." */
	record(&m, DNS_SRV, 5, "\0\1\0\2\0\0\xc0\x0c", 8);     /* port 0 */
	record(&m, DNS_SRV, 5, "\0\1\0\2\x1f\x90\2a b\0", 10); /* a blank in it */
	CHECK_INT(read_it(&m, DNS_SRV, r, 4, &a), DNS_GOOD);
	CHECK_INT(a.count, 1);
	CHECK_INT(r[0].priority, 1);
	CHECK_INT(r[0].weight, 2);
	CHECK_INT(r[0].port, 8080);
	CHECK(strcmp(r[0].target, "s1.web.test") == 0);
}

static void an_empty_answer_holds_for_as_long_as_its_soa_says(void)
{
	static const char soa[] = "\0\0"
				  "\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\x19";
	struct dns_record r[1];
	struct dns_answer a;
	struct message m;

	begin(&m, 3, 0, 1);
	record(&m, DNS_SOA, 300, soa, 22);
	CHECK_INT(read_it(&m, DNS_A, r, 1, &a), DNS_NXDOMAIN);
	CHECK_INT(a.ttl_s, 25);
	begin(&m, 0, 0, 1);
	record(&m, DNS_SOA, 20, soa, 22);
	CHECK_INT(read_it(&m, DNS_A, r, 1, &a), DNS_GOOD);
	CHECK_INT(a.ttl_s, 20);
}

static void a_code_is_told_in_words(void)
{
	struct dns_record r[1];
	struct dns_answer a;
	struct message m;

	begin(&m, 2, 0, 0);
	CHECK_INT(read_it(&m, DNS_A, r, 1, &a), DNS_FAILED);
	CHECK(strcmp(a.why, "SERVFAIL") == 0);
	begin(&m, 9, 0, 0);
	CHECK_INT(read_it(&m, DNS_A, r, 1, &a), DNS_FAILED);
	CHECK(strcmp(a.why, "an unknown response code") == 0);
}

static void names_that_point_in_circles_or_beyond_are_refused(void)
{
	struct dns_record r[1];
	struct dns_answer a;
	struct message m;

	begin(&m, 0, 1, 0);
	record(&m, DNS_SRV, 5, "\0\1\0\2\0\x50\xc0\x2c", 8); /* itself */
	CHECK_INT(read_it(&m, DNS_SRV, r, 1, &a), DNS_GOOD);
	CHECK_INT(a.count, 0);
	begin(&m, 0, 1, 0);
	record(&m, DNS_SRV, 5, "\0\1\0\2\0\x50\xff\xff", 8);
	CHECK_INT(read_it(&m, DNS_SRV, r, 1, &a), DNS_GOOD);
	CHECK_INT(a.count, 0);
}

static void cut_or_changed_anywhere_it_harms_nobody(void)
{
	struct dns_record r[8];
	struct dns_answer a;
	struct message m;
	struct rng rng;

	begin(&m, 0, 3, 0);
	record(&m, DNS_A, 60, "\x0a\0\0\1", 4);
	record(&m, DNS_SRV, 5, "\0\1\0\2\x1f\x90\2s1\xc0\x0c", 11);
	record(&m, DNS_A, 90, "\x0a\0\0\2", 4);
	for (size_t len = 0; len < m.len; len++) {
		struct message cut = m;

		cut.len = len;
		CHECK_INT(read_it(&cut, DNS_A, r, 8, &a), DNS_FAILED);
	}
	rng_seed(&rng, 42);
	for (unsigned i = 0; i < 200000; i++) {
		struct message bad = m;

		for (unsigned k = 0; k < 3; k++)
			bad.bytes[rng_below(&rng, m.len)] = (uint8_t)rng_u64(&rng);
		(void)read_it(&bad, i & 1 ? DNS_A : DNS_SRV, r, 8, &a);
		CHECK_TRUE(a.count <= 8);
	}
}

static const struct test_case cases[] = {
	TEST(addresses_come_with_the_least_time_of_all_that_led_to_them),
	TEST(a_service_is_a_place_in_an_order_and_a_name),
	TEST(an_empty_answer_holds_for_as_long_as_its_soa_says),
	TEST(a_code_is_told_in_words),
	TEST(names_that_point_in_circles_or_beyond_are_refused),
	TEST(cut_or_changed_anywhere_it_harms_nobody),
};
TESTS_MAIN("dns_answer", cases)
