/*
 * Networks within each other: the longest prefix wins, whatever the order they were added in.
 */
#include "proxy/settings/network_table.h"

#include <stdlib.h>

#include "shared/assert.h"
#include "shared/rng.h"
#include "tests/unit/check.h"

static struct network_table *table;
static uint32_t lines[2];

static struct cidr network(const char *text)
{
	struct cidr c;

	CHECK_TRUE(cidr_parse(span_of(text), &c, NULL) == 0);
	return c;
}

static void add(const char *text, uint32_t tag)
{
	struct cidr c = network(text);

	CHECK_TRUE(network_table_add(table, &c, tag, tag) == 0);
}

/* Its tag; -1: nobody's. */
static int find(const char *ip)
{
	struct addr a;
	uint32_t tag;

	CHECK_TRUE(addr_parse_ip(span_of(ip), &a, NULL) == 0);
	return network_table_find(table, &a, &tag) ? (int)tag : -1;
}

static void begin(void)
{
	table = network_table_new();
	CHECK_TRUE(table != NULL);
}

static void the_longest_prefix_wins(void)
{
	begin();
	add("10.1.2.3", 4);
	add("10.0.0.0/8", 1);
	add("10.1.2.0/24", 3);
	add("10.1.0.0/16", 2);
	add("fd00::/8", 5);
	add("fd00:1::/32", 6);
	CHECK_INT(network_table_close(table, lines), 0);
	CHECK_INT(find("10.1.2.3"), 4);
	CHECK_INT(find("10.1.2.2"), 3);
	CHECK_INT(find("10.1.2.4"), 3);
	CHECK_INT(find("10.1.3.0"), 2);
	CHECK_INT(find("10.0.255.255"), 1);
	CHECK_INT(find("10.255.255.255"), 1);
	CHECK_INT(find("9.255.255.255"), -1);
	CHECK_INT(find("11.0.0.0"), -1);
	CHECK_INT(find("::ffff:10.1.2.3"), 4); /* as a listener on both kinds sees it */
	CHECK_INT(find("fd00:1:2::3"), 6);
	CHECK_INT(find("fdff::"), 5);
	CHECK_INT(find("::1"), -1);
	network_table_free(table);
}

static void everything_and_the_ends_of_the_world(void)
{
	begin();
	add("::/0", 1);
	add("0.0.0.0/0", 2);
	add("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 3);
	add("255.255.255.255", 4);
	add("::", 5);
	CHECK_INT(network_table_close(table, lines), 0);
	CHECK_INT(find("::"), 5);
	CHECK_INT(find("::1"), 1);
	CHECK_INT(find("0.0.0.0"), 2);
	CHECK_INT(find("255.255.255.255"), 4);
	CHECK_INT(find("::1:0:0:0"), 1);
	CHECK_INT(find("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"), 1);
	CHECK_INT(find("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 3);
	network_table_free(table);
	begin();
	CHECK_INT(network_table_close(table, lines), 0);
	CHECK_INT(find("::1"), -1);
	network_table_free(table);
}

static void the_same_network_twice_is_told_with_both_lines(void)
{
	begin();
	add("10.0.0.0/8", 7);
	add("11.0.0.0/8", 8);
	add("10.1.1.1/8", 9); /* the host's bits do not count */
	CHECK_INT(network_table_close(table, lines), 1);
	CHECK(lines[0] == 7 && lines[1] == 9);
	network_table_free(table);
}

/* Against looking at all of them, one by one. */
static void random_networks_are_found_as_by_looking_at_each(void)
{
	enum { COUNT = 400 };
	struct cidr all[COUNT];
	struct rng rng;

	rng_seed(&rng, 7);
	for (unsigned round = 0; round < 30; round++) {
		unsigned count = 0;

		begin();
		while (count < COUNT) {
			struct cidr *c = &all[count];
			bool twice = false;

			*c = (struct cidr){.family = rng_below(&rng, 2) ? AF_INET : AF_INET6};
			c->bits = (uint8_t)rng_below(&rng, c->family == AF_INET ? 33 : 129);
			for (unsigned i = 0; i < 16; i++) /* few values, so that they nest */
				c->bytes[i] = (uint8_t)(rng_below(&rng, 2) * 0x81);
			for (unsigned i = 0; i < count && !twice; i++) {
				struct addr base = {0};

				base.sa.sa_family = c->family;
				memcpy(c->family == AF_INET ? (void *)&base.in.sin_addr
							    : (void *)&base.in6.sin6_addr,
					c->bytes, c->family == AF_INET ? 4 : 16);
				twice = all[i].family == c->family && all[i].bits == c->bits &&
					cidr_contains(&all[i], &base);
			}
			if (twice)
				continue;
			CHECK_TRUE(network_table_add(table, c, count, count) == 0);
			count++;
		}
		CHECK_INT(network_table_close(table, lines), 0);
		for (unsigned i = 0; i < 2000; i++) {
			struct addr a = {.sa.sa_family = rng_below(&rng, 2) ? AF_INET : AF_INET6};
			uint8_t *bytes = a.sa.sa_family == AF_INET ? (uint8_t *)&a.in.sin_addr
								   : a.in6.sin6_addr.s6_addr;
			int best = -1, best_bits = -1;
			uint32_t tag;
			bool found;

			for (unsigned k = 0; k < (a.sa.sa_family == AF_INET ? 4 : 16); k++)
				bytes[k] = (uint8_t)(rng_below(&rng, 2) * 0x81 +
						     (rng_below(&rng, 8) == 0));
			for (unsigned k = 0; k < COUNT; k++) {
				int bits = all[k].bits + (all[k].family == AF_INET ? 96 : 0);

				if (!cidr_contains(&all[k], &a) || bits <= best_bits)
					continue;
				best = (int)k;
				best_bits = bits;
			}
			found = network_table_find(table, &a, &tag);
			CHECK(found == (best >= 0) && (!found || tag == (uint32_t)best));
		}
		network_table_free(table);
	}
}

static const struct test_case cases[] = {
	TEST(the_longest_prefix_wins),
	TEST(everything_and_the_ends_of_the_world),
	TEST(the_same_network_twice_is_told_with_both_lines),
	TEST(random_networks_are_found_as_by_looking_at_each),
};

TESTS_MAIN("network_table", cases)
