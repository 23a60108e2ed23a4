/* The packet that tells a dead node's client: its bytes, and both checksums; and how the TIME_WAITs
 * that would answer it are found. */
#include "failover/net/tickle.h"

#include <arpa/inet.h>
#include <unistd.h>

#include "failover/net/netlink_diag.h"
#include "shared/units.h"
#include "tests/unit/check.h"

static struct client_key key(const char *local, const char *remote)
{
	struct addr l, r;
	struct err err;

	CHECK_TRUE(addr_parse(span_of(local), &l, &err) == 0);
	CHECK_TRUE(addr_parse(span_of(remote), &r, &err) == 0);
	return client_key(&l, &r);
}

/* RFC 1071: over what carries its own checksum the sum is all ones. */
static unsigned sum(const uint8_t *bytes, size_t len, unsigned n)
{
	for (size_t i = 0; i < len; i++)
		n += i % 2 ? bytes[i] : (unsigned)bytes[i] << 8;
	while (n >> 16)
		n = (n & 0xffff) + (n >> 16);
	return n;
}

static void an_ipv4_packet_is_a_bare_ack_with_right_checksums(void)
{
	static const uint8_t tcp[16] = {
		0x00, 0x50, 0xd4, 0x31, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 1};
	struct client_key k = key("10.77.0.100:80", "192.0.2.7:54321");
	uint8_t out[TICKLE_BYTES_MAX];

	CHECK_INT(tickle_packet(&k, out), 40);
	CHECK_INT(out[0], 0x45);
	CHECK_INT(out[3], 40);
	CHECK_INT(out[8], 64);
	CHECK_INT(out[9], 6);
	CHECK(memcmp(out + 12, "\x0a\x4d\x00\x64\xc0\x00\x02\x07", 8) == 0);
	CHECK(memcmp(out + 20, tcp, sizeof(tcp)) == 0);
	CHECK_INT(sum(out, 20, 0), 0xffff);
	CHECK_INT(sum(out + 12, 8 + 20, 6 + 20), 0xffff);
	CHECK(out[36] || out[37]);
}

static void an_ipv6_packet_is_too(void)
{
	struct client_key k = key("[fd77::100]:443", "[2001:db8::7]:1024");
	uint8_t out[TICKLE_BYTES_MAX];

	CHECK_INT(tickle_packet(&k, out), 60);
	CHECK_INT(out[0], 0x60);
	CHECK_INT(out[5], 20);
	CHECK_INT(out[6], 6);
	CHECK_INT(out[7], 64);
	CHECK_INT(out[8], 0xfd);
	CHECK_INT(out[39], 7);
	CHECK_INT(out[40] << 8 | out[41], 443);
	CHECK_INT(out[42] << 8 | out[43], 1024);
	CHECK_INT(out[53], 0x10);
	CHECK_INT(sum(out + 8, 32 + 20, 6 + 20), 0xffff);
}

#define LEFT 500

static struct addr server;
static unsigned found;

/* None is wanted: to end one takes rights that a test need not have. */
static bool look(void *ctx, const struct addr *local, const struct addr *remote)
{
	(void)ctx, (void)local;
	found += addr_eq(remote, &server);
	return false;
}

static void leave_time_waits(unsigned count)
{
	socklen_t len = sizeof(server.in);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	/* An address on which nobody else has left any. */
	server.in = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(0x7f800000 | ((uint32_t)getpid() & 0x7fffff))};
	CHECK_TRUE(bind(listener, &server.sa, len) == 0 && listen(listener, 8) == 0);
	CHECK_TRUE(getsockname(listener, &server.sa, &len) == 0);
	for (unsigned i = 0; i < count; i++) {
		int there = socket(AF_INET, SOCK_STREAM, 0), here;

		CHECK_TRUE(connect(there, &server.sa, len) == 0);
		here = accept(listener, NULL, NULL);
		close(there);
		close(here);
	}
	close(listener);
}

static void time_waits_are_gone_through_in_turns_that_end(void)
{
	struct netlink_diag_left *left;
	unsigned turns = 0;
	bool done = false;
	struct err err;

	leave_time_waits(LEFT);
	left = netlink_diag_left_new(look, NULL, &err);
	CHECK_TRUE(left != NULL);
	for (unsigned before = 0; !done; turns++, before = found) {
		CHECK_INT(netlink_diag_forget(left, monotonic_ns(), &done, &err), 0);
		CHECK(found - before < LEFT / 2);
	}
	CHECK(turns > 3);
	CHECK(found >= LEFT); /* one may be seen twice when others come and go */
	netlink_diag_left_free(left);
}

static const struct test_case cases[] = {
	TEST(time_waits_are_gone_through_in_turns_that_end),
	TEST(an_ipv4_packet_is_a_bare_ack_with_right_checksums),
	TEST(an_ipv6_packet_is_too),
};
TESTS_MAIN("tickle", cases)
