/* Frames about who has an address: byte for byte, and read back. */
#include "failover/net/frame.h"

#include "tests/unit/check.h"

static const uint8_t mac[FRAME_MAC_LEN] = {0x02, 0x11, 0x22, 0x33, 0x44, 0x55};

static struct cidr vip(const char *text)
{
	struct cidr c;
	struct err err;

	CHECK_TRUE(cidr_parse(span_of(text), &c, &err) == 0);
	return c;
}

static void check_bytes(const uint8_t *got, size_t len, const char *hex)
{
	char text[2 * FRAME_MAX + 1] = "";

	for (size_t i = 0; i < len; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", got[i]);
	CHECK_TEXT(span_of(text), hex);
}

static void check_said(
	const uint8_t *frame, size_t len, enum frame_kind kind, const struct cidr *about)
{
	struct frame_said said = frame_read(frame, len);

	CHECK_INT(said.kind, kind);
	CHECK(memcmp(said.mac, mac, sizeof(mac)) == 0);
	CHECK(cidr_same_host(&said.address, about));
	for (size_t cut = 0; cut < len && cut < 78; cut++)
		CHECK_INT(frame_read(frame, cut).kind, FRAME_NOTHING);
}

static void a_gratuitous_request_names_the_address_twice(void)
{
	struct cidr v = vip("10.0.0.100/24");
	uint8_t out[FRAME_MAX];
	size_t len = frame_announce(&v, mac, FRAME_REQUEST, out);

	check_bytes(out, len,
		"ffffffffffff021122334455080600010800060400010211223344550a000064"
		"0000000000000a000064");
	check_said(out, len, FRAME_CLAIM, &v);
}

static void a_gratuitous_reply_names_the_mac_twice(void)
{
	struct cidr v = vip("10.0.0.100/24");
	uint8_t out[FRAME_MAX];
	size_t len = frame_announce(&v, mac, FRAME_REPLY, out);

	check_bytes(out, len,
		"ffffffffffff021122334455080600010800060400020211223344550a000064"
		"0211223344550a000064");
	check_said(out, len, FRAME_CLAIM, &v);
}

static void an_arp_probe_has_no_sender_address(void)
{
	struct cidr v = vip("10.0.0.100/24");
	uint8_t out[FRAME_MAX];
	size_t len = frame_probe(&v, mac, out);

	check_bytes(out, len,
		"ffffffffffff0211223344550806000108000604000102112233445500000000"
		"0000000000000a000064");
	check_said(out, len, FRAME_PROBE, &v);
}

/* The checksum, by the definition of RFC 1071: the sum over pseudo-header and message is all ones.
 */
static unsigned checksum_of(const uint8_t *frame, size_t len)
{
	uint32_t sum = (uint32_t)(len - 54) + 58;

	for (size_t i = 22; i + 1 < len; i += 2)
		sum += (uint32_t)(frame[i] << 8 | frame[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void an_unsolicited_advertisement_overrides(void)
{
	struct cidr v = vip("fd00::100/64");
	uint8_t out[FRAME_MAX];
	size_t len = frame_announce(&v, mac, FRAME_REQUEST, out);

	CHECK_INT(len, 86);
	check_bytes(out, 54,
		"33330000000102112233445586dd6000000000203afffd000000000000000000"
		"000000000100ff020000000000000000000000000001");
	CHECK_INT(checksum_of(out, len), 0xffff);
	memset(out + 56, 0, 2);
	check_bytes(out + 54, len - 54,
		"8800000020000000fd0000000000000000000000000001000201021122334455");
	check_said(out, len, FRAME_CLAIM, &v);
}

static void a_solicitation_asks_from_nobody(void)
{
	struct cidr v = vip("fd00::12:3456/64");
	uint8_t out[FRAME_MAX], group[FRAME_MAC_LEN];
	size_t len = frame_probe(&v, mac, out);

	CHECK_INT(len, 78);
	check_bytes(out, 54,
		"3333ff12345602112233445586dd6000000000183aff00000000000000000000"
		"000000000000ff0200000000000000000001ff123456");
	CHECK_INT(checksum_of(out, len), 0xffff);
	check_said(out, len, FRAME_PROBE, &v);
	frame_solicited_mac(&v, group);
	CHECK(memcmp(group, out, sizeof(group)) == 0);
}

static void the_owner_of_a_sender_address_claims_it(void)
{
	struct cidr v = vip("fd00::100/64"), from = vip("fd00::7/64");
	uint8_t out[FRAME_MAX];
	size_t len = frame_probe(&v, mac, out);

	memcpy(out + 22, from.bytes, 16); /* an ordinary solicitation: from an address */
	check_said(out, len, FRAME_CLAIM, &from);
}

static void what_is_odd_says_nothing(void)
{
	static const struct {
		size_t at;
		uint8_t value;
	} arp[] = {{12, 9}, {14, 1}, {16, 9}, {18, 8}, {19, 6}, {21, 3}},
	  nd[] = {{12, 9}, {20, 17}, {21, 254}, {54, 137}};
	struct cidr v4 = vip("10.0.0.100/24"), v6 = vip("fd00::100/64");
	uint8_t out[FRAME_MAX];

	for (size_t i = 0; i < sizeof(arp) / sizeof(*arp); i++) {
		size_t len = frame_probe(&v4, mac, out);

		out[arp[i].at] = arp[i].value;
		CHECK_INT(frame_read(out, len).kind, FRAME_NOTHING);
	}
	for (size_t i = 0; i < sizeof(nd) / sizeof(*nd); i++) {
		size_t len = frame_probe(&v6, mac, out);

		out[nd[i].at] = nd[i].value;
		CHECK_INT(frame_read(out, len).kind, FRAME_NOTHING);
	}
}

/* As a receiver checks it: everything with its checksum adds up to all ones. */
static uint16_t sum(const uint8_t *at, size_t len, uint32_t add)
{
	for (size_t i = 0; i < len; i++)
		add += i % 2 ? at[i] : (uint32_t)at[i] << 8;
	while (add >> 16)
		add = (add & 0xffff) + (add >> 16);
	return (uint16_t)add;
}

static void a_datagram_is_whole_with_its_checksums(void)
{
	static const uint8_t to_mac[FRAME_MAC_LEN] = {2, 9, 9, 9, 9, 9};
	static const char payload[] = "of odd length";
	uint8_t out[FRAME_UDP_HEAD_MAX + sizeof(payload)];
	struct addr from, to;
	struct err err;
	size_t len, plen = sizeof(payload) - 1;

	CHECK_TRUE(addr_parse(SPAN("10.0.0.1:4242"), &from, &err) == 0);
	CHECK_TRUE(addr_parse(SPAN("10.0.0.2:4243"), &to, &err) == 0);
	len = frame_udp(&from, mac, &to, to_mac, span_make(payload, plen), out);
	CHECK_INT(len, 14 + 20 + 8 + plen);
	check_bytes(out, 18,
		"0209090909090211223344550800"
		"45c00029");
	CHECK_INT(out[14 + 8], 255);
	CHECK_INT(sum(out + 14, 20, 0), 0xffff);
	CHECK_INT(sum(out + 14 + 12, 8 + 8 + plen, 17 + 8 + (uint32_t)plen), 0xffff);
	CHECK(memcmp(out + 14 + 20, "\x10\x92\x10\x93", 4) == 0);
	CHECK(memcmp(out + 14 + 28, payload, plen) == 0);

	CHECK_TRUE(addr_parse(SPAN("[fd00::1]:4242"), &from, &err) == 0);
	CHECK_TRUE(addr_parse(SPAN("[fd00::2]:4242"), &to, &err) == 0);
	len = frame_udp(&from, mac, &to, to_mac, span_make(payload, plen), out);
	CHECK_INT(len, 14 + 40 + 8 + plen);
	check_bytes(out + 12, 10,
		"86dd6c000000"
		"001511ff");
	CHECK_INT(sum(out + 14 + 8, 32 + 8 + plen, 17 + 8 + (uint32_t)plen), 0xffff);
}

static const struct test_case cases[] = {
	TEST(a_gratuitous_request_names_the_address_twice),
	TEST(a_gratuitous_reply_names_the_mac_twice),
	TEST(an_arp_probe_has_no_sender_address),
	TEST(an_unsolicited_advertisement_overrides),
	TEST(a_solicitation_asks_from_nobody),
	TEST(the_owner_of_a_sender_address_claims_it),
	TEST(what_is_odd_says_nothing),
	TEST(a_datagram_is_whole_with_its_checksums),
};
TESTS_MAIN("frame", cases)
