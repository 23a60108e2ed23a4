/*
 * Counting connections by client address, from several threads too.
 */
#include "proxy/net/tally.h"

#include <pthread.h>

#include "tests/unit/check.h"

static struct addr ip(const char *text)
{
	struct addr a;

	CHECK_INT(addr_parse_ip(span_of(text), &a, NULL), 0);
	return a;
}

static void an_address_has_so_many_places_and_gets_them_back(void)
{
	struct tally *t = tally_new();
	struct addr a = ip("192.0.2.1"), b = ip("192.0.2.2");

	CHECK(tally_enter(t, &a, 2));
	CHECK(tally_enter(t, &a, 2));
	CHECK(!tally_enter(t, &a, 2));
	CHECK(tally_enter(t, &b, 2));
	tally_leave(t, &a);
	CHECK(tally_enter(t, &a, 2));
	CHECK(!tally_enter(t, &a, 2));
	CHECK(tally_enter(t, &a, 3)); /* the limit is what is asked with */
	for (unsigned i = 0; i < 3; i++)
		tally_leave(t, &a);
	tally_leave(t, &b);
	CHECK(tally_enter(t, &a, 1));
	tally_free(t);
}

static void an_ipv6_address_stands_for_its_64(void)
{
	struct tally *t = tally_new();
	struct addr a = ip("2001:db8:0:1::1"), same = ip("2001:db8:0:1:ffff::2");
	struct addr other = ip("2001:db8:0:2::1"), v4 = ip("32.1.13.184");

	CHECK(tally_enter(t, &a, 1));
	CHECK(!tally_enter(t, &same, 1));
	CHECK(tally_enter(t, &other, 1));
	CHECK(tally_enter(t, &v4, 1)); /* the same first bytes */
	tally_leave(t, &same);
	CHECK(tally_enter(t, &a, 1));
	tally_free(t);
}

enum { THREADS = 4, ROUNDS = 20000, ADDRESSES = 64, MAX = 3 };

static void *come_and_go(void *arg)
{
	struct addr a = ip("10.0.0.0");

	for (unsigned i = 0; i < ROUNDS; i++) {
		a.in.sin_addr.s_addr = htonl(0x0a000000 + i % ADDRESSES);
		if (tally_enter(arg, &a, MAX))
			tally_leave(arg, &a);
	}
	return NULL;
}

static void threads_leave_nothing_behind(void)
{
	struct tally *t = tally_new();
	struct addr a = ip("10.0.0.0");
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, come_and_go, t), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < ADDRESSES; i++) {
		a.in.sin_addr.s_addr = htonl(0x0a000000 + i);
		CHECK(tally_enter(t, &a, 1));
	}
	tally_free(t);
}

static const struct test_case cases[] = {
	TEST(an_address_has_so_many_places_and_gets_them_back),
	TEST(an_ipv6_address_stands_for_its_64),
	TEST(threads_leave_nothing_behind),
};

TESTS_MAIN("tally", cases)
