/* VRRP version 3 on the wire: both forms of checksum, both families, and whatever is not one. */
#include "failover/core/vrrp_packet.h"

#include <arpa/inet.h>

#include "tests/unit/check.h"

static struct vrrp_envelope from4(const char *from)
{
	struct vrrp_envelope e = {.family = AF_INET, .ttl = 255, .to = {224, 0, 0, 18}};

	CHECK_INT(inet_pton(AF_INET, from, e.from), 1);
	return e;
}

static struct vrrp_envelope from6(const char *from)
{
	struct vrrp_envelope e = {.family = AF_INET6, .ttl = 255, .to = {0xff, 0x02, [15] = 0x12}};

	CHECK_INT(inet_pton(AF_INET6, from, e.from), 1);
	return e;
}

/* As keepalived 2.2.7 sends it: priority 100, every 0.2 s, 10.77.0.100. */
static const uint8_t of_keepalived[] = {0x31, 51, 100, 1, 0, 20, 0x75, 0x27, 10, 77, 0, 100};

static struct vrrp_packet good(const struct vrrp_envelope *e, const uint8_t *wire, size_t len)
{
	struct vrrp_packet p = {0};

	CHECK_INT(vrrp_decode(e, span_make(wire, len), &p), VRRP_OK);
	return p;
}

static enum vrrp_verdict verdict(const struct vrrp_envelope *e, const uint8_t *wire, size_t len)
{
	struct vrrp_packet p;

	return vrrp_decode(e, span_make(wire, len), &p);
}

static void an_advertisement_of_keepalived_is_read(void)
{
	struct vrrp_envelope e = from4("10.77.0.3");
	struct vrrp_packet p = good(&e, of_keepalived, sizeof(of_keepalived));

	CHECK_INT(p.vrid, 51);
	CHECK_INT(p.priority, 100);
	CHECK_INT(p.interval_cs, 20);
	CHECK_INT(p.count, 1);
	CHECK_INT(memcmp(p.addresses, (uint8_t[]){10, 77, 0, 100}, 4), 0);
	CHECK(p.pseudo_header);
}

static void the_checksum_of_the_message_alone_is_right_too(void)
{
	struct vrrp_envelope e = from4("10.77.0.3");
	uint8_t wire[sizeof(of_keepalived)];
	struct vrrp_packet p;

	memcpy(wire, of_keepalived, sizeof(wire));
	/* 3133 + 6401 + 0014 + 0a4d + 0064 = 9ff9 */
	wire[6] = 0x60;
	wire[7] = 0x06;
	p = good(&e, wire, sizeof(wire));
	CHECK(!p.pseudo_header);
	CHECK_INT(p.priority, 100);
}

static void what_is_written_is_what_keepalived_writes(void)
{
	struct vrrp_envelope e = from4("10.77.0.3");
	const uint8_t vip[] = {10, 77, 0, 100};
	struct vrrp_packet p = {.vrid = 51,
		.priority = 100,
		.count = 1,
		.interval_cs = 20,
		.pseudo_header = true,
		.addresses = vip};
	uint8_t wire[VRRP_DATAGRAM_MAX];

	CHECK_INT(vrrp_encode(&e, &p, wire), sizeof(of_keepalived));
	CHECK_INT(memcmp(wire, of_keepalived, sizeof(of_keepalived)), 0);
	p.pseudo_header = false;
	CHECK_INT(vrrp_encode(&e, &p, wire), sizeof(of_keepalived));
	CHECK_INT(wire[6] << 8 | wire[7], 0x6006);
}

static void ipv6_always_has_a_pseudo_header(void)
{
	struct vrrp_envelope e = from6("fe80::1"), other = from6("fe80::2");
	const uint8_t vips[32] = {0xfe, 0x80, [15] = 0x99, [16] = 0xfd, 0x77, [31] = 0x64};
	struct vrrp_packet p = {.vrid = 7,
		.priority = 254,
		.count = 2,
		.interval_cs = VRRP_INTERVAL_MAX_CS,
		.pseudo_header = false,
		.addresses = vips};
	uint8_t wire[VRRP_DATAGRAM_MAX];
	size_t len = vrrp_encode(&e, &p, wire);
	struct vrrp_packet back = good(&e, wire, len);

	CHECK_INT(len, 8 + 32);
	CHECK(back.pseudo_header);
	CHECK_INT(back.interval_cs, 4095);
	CHECK_INT(memcmp(back.addresses, vips, sizeof(vips)), 0);
	CHECK_INT(verdict(&other, wire, len), VRRP_CHECKSUM);
}

static void the_most_addresses_fit(void)
{
	static uint8_t vips[255 * 16];
	struct vrrp_envelope e = from6("fe80::1");
	struct vrrp_packet p = {.vrid = 1,
		.priority = 1,
		.count = 255,
		.interval_cs = 1,
		.pseudo_header = true,
		.addresses = vips};
	uint8_t wire[VRRP_DATAGRAM_MAX];

	for (size_t i = 0; i < sizeof(vips); i++)
		vips[i] = 0xff; /* the largest sum */
	CHECK_INT(good(&e, wire, vrrp_encode(&e, &p, wire)).count, 255);
}

static void a_routed_packet_is_refused(void)
{
	struct vrrp_envelope e = from4("10.77.0.3");

	e.ttl = 254;
	CHECK_INT(verdict(&e, of_keepalived, sizeof(of_keepalived)), VRRP_TTL_WRONG);
}

static void other_versions_and_types_are_refused(void)
{
	struct vrrp_envelope e = from4("10.77.0.3");
	uint8_t wire[sizeof(of_keepalived)];

	memcpy(wire, of_keepalived, sizeof(wire));
	wire[0] = 0x21;
	CHECK_INT(verdict(&e, wire, sizeof(wire)), VRRP_VERSION);
	wire[0] = 0x32;
	CHECK_INT(verdict(&e, wire, sizeof(wire)), VRRP_TYPE);
}

static void every_length_but_the_right_one_is_refused(void)
{
	struct vrrp_envelope e = from4("10.77.0.3");
	uint8_t wire[sizeof(of_keepalived) + 4] = {0};

	memcpy(wire, of_keepalived, sizeof(of_keepalived));
	for (size_t len = 0; len <= sizeof(wire); len++)
		if (len != sizeof(of_keepalived))
			CHECK_INT(verdict(&e, wire, len), VRRP_SHAPE);
}

static void no_addresses_is_no_advertisement(void)
{
	struct vrrp_envelope e = from4("10.77.0.3");
	uint8_t wire[8];

	memcpy(wire, of_keepalived, sizeof(wire));
	wire[3] = 0;
	CHECK_INT(verdict(&e, wire, sizeof(wire)), VRRP_SHAPE);
}

static void every_flipped_bit_is_noticed(void)
{
	struct vrrp_envelope e = from4("10.77.0.3");

	for (unsigned bit = 0; bit < sizeof(of_keepalived) * 8; bit++) {
		uint8_t wire[sizeof(of_keepalived)];

		memcpy(wire, of_keepalived, sizeof(wire));
		wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
		CHECK(verdict(&e, wire, sizeof(wire)) != VRRP_OK);
	}
}

static void an_interval_of_nothing_is_refused(void)
{
	struct vrrp_envelope e = from4("10.77.0.3");
	uint8_t wire[sizeof(of_keepalived)];

	memcpy(wire, of_keepalived, sizeof(wire));
	wire[5] = 0;
	wire[7] = (uint8_t)(wire[7] + 20); /* the sum again */
	CHECK_INT(verdict(&e, wire, sizeof(wire)), VRRP_INTERVAL);
}

static void an_ip_header_is_taken_off_whatever_its_length(void)
{
	uint8_t datagram[24 + sizeof(of_keepalived) + 6] = {0x46, 0xc0, 0,
		24 + sizeof(of_keepalived), [8] = 255, VRRP_PROTOCOL, [12] = 10, 77, 0, 3, 224, 0,
		0, 18};
	struct vrrp_envelope e;
	struct span message;

	memcpy(datagram + 24, of_keepalived, sizeof(of_keepalived));
	CHECK_INT(vrrp_open_ip4(span_make(datagram, sizeof(datagram)), &e, &message), VRRP_OK);
	CHECK_INT(e.ttl, 255);
	CHECK_INT(message.len, sizeof(of_keepalived)); /* without a short frame's padding */
	CHECK_INT(verdict(&e, (const uint8_t *)message.ptr, message.len), VRRP_OK);
}

static void a_broken_ip_header_is_refused(void)
{
	uint8_t datagram[32] = {0x45, [3] = 32};
	struct vrrp_envelope e;
	struct span message;

	CHECK_INT(vrrp_open_ip4(span_make(datagram, 32), &e, &message), VRRP_OK);
	CHECK_INT(vrrp_open_ip4(span_make(datagram, 31), &e, &message), VRRP_SHAPE);
	CHECK_INT(vrrp_open_ip4(span_make(datagram, 19), &e, &message), VRRP_SHAPE);
	datagram[0] = 0x44;
	CHECK_INT(vrrp_open_ip4(span_make(datagram, 32), &e, &message), VRRP_SHAPE);
	datagram[0] = 0x49; /* a head of 36 bytes */
	CHECK_INT(vrrp_open_ip4(span_make(datagram, 32), &e, &message), VRRP_SHAPE);
	datagram[0] = 0x65;
	CHECK_INT(vrrp_open_ip4(span_make(datagram, 32), &e, &message), VRRP_SHAPE);
}

static const struct test_case cases[] = {
	TEST(an_advertisement_of_keepalived_is_read),
	TEST(the_checksum_of_the_message_alone_is_right_too),
	TEST(what_is_written_is_what_keepalived_writes),
	TEST(ipv6_always_has_a_pseudo_header),
	TEST(the_most_addresses_fit),
	TEST(a_routed_packet_is_refused),
	TEST(other_versions_and_types_are_refused),
	TEST(every_length_but_the_right_one_is_refused),
	TEST(no_addresses_is_no_advertisement),
	TEST(every_flipped_bit_is_noticed),
	TEST(an_interval_of_nothing_is_refused),
	TEST(an_ip_header_is_taken_off_whatever_its_length),
	TEST(a_broken_ip_header_is_refused),
};
TESTS_MAIN("vrrp_packet", cases)
