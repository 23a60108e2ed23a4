/* The set of clients: against a plain array that does the same slowly, and at its limits. */
#include "failover/clients.h"

#include <stdlib.h>

#include "shared/rng.h"
#include "tests/unit/check.h"

#define VIPS 5

static unsigned added, removed, emptied;

static void on_change(void *ctx, const struct client_key *k, bool there)
{
	(void)ctx, (void)k;
	if (there)
		added++;
	else
		removed++;
}

static void on_empty(void *ctx)
{
	(void)ctx;
	emptied++;
}

static struct clients *open_set(void)
{
	const struct clients_handlers h = {.on_change = on_change, .on_empty = on_empty};
	struct clients *c = clients_new(&h);

	CHECK_TRUE(c != NULL);
	added = removed = emptied = 0;
	return c;
}

static struct client_key key(unsigned vip, unsigned client)
{
	struct addr local, remote;
	struct err err;

	/* Every other virtual address is an IPv6 one. */
	CHECK_TRUE(addr_parse(vip & 1 ? SPAN("[fd77::100]:443") : SPAN("10.77.0.100:80"), &local,
			   &err) == 0);
	CHECK_TRUE(addr_parse(SPAN("10.1.2.3:1"), &remote, &err) == 0);
	if (vip & 1)
		local.in6.sin6_addr.s6_addr[15] = (uint8_t)vip;
	else
		local.in.sin_addr.s_addr = htonl(0x0a4d0000 + vip);
	remote.in.sin_addr.s_addr = htonl(0x0a010000 + client / 1000);
	addr_set_port(&remote, (uint16_t)(client % 1000 + 1));
	return client_key(&local, &remote);
}

static uint64_t count(const struct clients *c, unsigned vip)
{
	struct client_key k = key(vip, 0);
	struct addr local, remote;
	struct cidr cidr;
	struct err err;
	char text[ADDR_TEXT_MAX];

	client_key_addrs(&k, &local, &remote);
	(void)addr_format_ip(&local, text);
	CHECK_TRUE(cidr_parse(span_of(text), &cidr, &err) == 0);
	return clients_count(c, &cidr, 1);
}

static void addresses_come_out_as_they_went_in(void)
{
	static const char *const texts[][2] = {
		{"10.77.0.100:80", "192.0.2.7:65535"},
		{"[fd77::100]:443", "[2001:db8::7]:1"},
	};

	for (unsigned i = 0; i < 2; i++) {
		struct addr local, remote, l, r;
		struct client_key k;
		struct err err;

		CHECK_INT(addr_parse(span_of(texts[i][0]), &local, &err), 0);
		CHECK_INT(addr_parse(span_of(texts[i][1]), &remote, &err), 0);
		k = client_key(&local, &remote);
		client_key_addrs(&k, &l, &r);
		CHECK(addr_eq(&l, &local) && addr_eq(&r, &remote));
		CHECK_INT(l.sa.sa_family, local.sa.sa_family);
	}
}

static void counts_agree_with_a_plain_array(void)
{
	enum { CLIENTS = 3000 };
	static bool there[VIPS][CLIENTS];
	unsigned counts[VIPS] = {0}, seen = 0;
	struct clients_cursor at = {0};
	const struct client_key *k;
	struct clients *c = open_set();
	struct rng rng;

	memset(there, 0, sizeof(there));
	rng_seed(&rng, 7);
	for (unsigned i = 0; i < 200000; i++) {
		unsigned vip = (unsigned)rng_below(&rng, VIPS);
		unsigned client = (unsigned)rng_below(&rng, CLIENTS);
		bool want = rng_below(&rng, 100) < (i < 100000 ? 70 : 30);
		struct client_key this = key(vip, client);

		if (!want)
			clients_remove(c, 0, &this);
		else if (clients_add(c, 0, &this) != 0)
			CU_FAIL_FATAL("refused");
		counts[vip] += want - there[vip][client];
		there[vip][client] = want;
	}
	for (unsigned vip = 0; vip < VIPS; vip++) {
		CHECK_INT(count(c, vip), counts[vip]);
		seen += counts[vip];
	}
	CHECK_INT(clients_total(c), seen);
	CHECK_INT(added - removed, seen);
	while (clients_next(c, &at, &k))
		seen--;
	CHECK_INT(seen, 0);
	clients_clear(c, 0);
	CHECK_INT(clients_total(c), 0);
	CHECK_INT(added, removed);
	clients_free(c);
}

static void what_a_fresh_list_does_not_name_is_removed(void)
{
	struct clients *c = open_set();

	for (unsigned i = 0; i < 5000; i++) {
		struct client_key k = key(i % 2, i);

		CHECK_INT(clients_add(c, 0, &k), 0);
	}
	clients_begin(c, 0);
	for (unsigned i = 4000; i < 6000; i++) {
		struct client_key k = key(i % 2, i);

		CHECK_INT(clients_add(c, 0, &k), 0);
	}
	CHECK_INT(clients_total(c), 6000); /* nothing is lost before the list is whole */
	clients_end(c, 0);
	CHECK_INT(clients_total(c), 2000);
	CHECK_INT(count(c, 0), 1000);
	CHECK_INT(added, 6000);
	CHECK_INT(removed, 4000);
	for (unsigned i = 4000; i < 6000; i++) {
		struct client_key k = key(i % 2, i);

		clients_remove(c, 0, &k);
	}
	CHECK_INT(clients_total(c), 0);
	clients_free(c);
}

static void an_address_that_loses_its_last_client_is_told_once(void)
{
	struct client_key a = key(0, 1), b = key(0, 2), other = key(1, 1);
	struct clients *c = open_set();

	clients_remove(c, 0, &a); /* of an empty set */
	CHECK_INT(clients_add(c, 0, &a) + clients_add(c, 0, &b) + clients_add(c, 0, &other), 0);
	CHECK_INT(clients_add(c, 0, &a), 0); /* again: nothing changes */
	CHECK_INT(count(c, 0), 2);
	clients_remove(c, 0, &a);
	clients_remove(c, 0, &a);
	CHECK_INT(emptied, 0);
	clients_remove(c, 0, &b);
	CHECK_INT(emptied, 1);
	CHECK_INT(count(c, 0), 0);
	CHECK_INT(count(c, 1), 1);
	CHECK_INT(added, 3);
	CHECK_INT(removed, 2);
	clients_free(c);
}

static void one_too_many_is_refused_and_counted(void)
{
	struct clients *c = open_set();
	struct client_key k;

	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		k = key(0, i);
		if (clients_add(c, 0, &k) != 0)
			CU_FAIL_FATAL("refused too early");
	}
	k = key(0, CLIENTS_MAX);
	CHECK_INT(clients_add(c, 0, &k), -1);
	CHECK_INT(clients_refused(c), 1);
	CHECK_INT(count(c, 0), CLIENTS_MAX);
	k = key(0, 77);
	CHECK_INT(clients_add(c, 0, &k), 0); /* it is there already */
	clients_remove(c, 0, &k);
	k = key(0, CLIENTS_MAX);
	CHECK_INT(clients_add(c, 0, &k), 0);
	clients_free(c);
}

static void addresses_without_clients_make_room_for_others(void)
{
	struct clients *c = open_set();
	struct client_key k = key(0, 1);

	for (unsigned i = 0; i < 3 * CLIENTS_VIPS_MAX; i++) {
		k.local[14] = (uint8_t)(i >> 8);
		k.local[15] = (uint8_t)i;
		CHECK_INT(clients_add(c, 0, &k), 0);
		clients_remove(c, 0, &k);
	}
	for (unsigned i = 0; i < CLIENTS_VIPS_MAX; i++) {
		k.local[14] = (uint8_t)(i >> 8);
		k.local[15] = (uint8_t)i;
		CHECK_INT(clients_add(c, 0, &k), 0);
	}
	k.local[13] = 9;
	CHECK_INT(clients_add(c, 0, &k), -1);
	clients_free(c);
}

static const struct test_case cases[] = {
	TEST(addresses_come_out_as_they_went_in),
	TEST(counts_agree_with_a_plain_array),
	TEST(what_a_fresh_list_does_not_name_is_removed),
	TEST(an_address_that_loses_its_last_client_is_told_once),
	TEST(one_too_many_is_refused_and_counted),
	TEST(addresses_without_clients_make_room_for_others),
};
TESTS_MAIN("clients", cases)
