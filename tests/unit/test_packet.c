/*
 * The heartbeat on the wire: there and back, and everything that is not one.
 */
#include "failover/core/packet.h"

#include "shared/rng.h"
#include "tests/unit/check.h"

static struct packet sample(void)
{
	struct packet p = {
		.kind = PACKET_RELEASE,
		.state = FSM_DRAINING,
		.reason = REASON_PROXY_DEAD,
		.flags = PACKET_GATEWAY_OK | PACKET_DRAINING | PACKET_HEARS_YOU,
		.node = 2,
		.path = 1,
		.group = 51,
		.epoch = 0x0102030405060708,
		.boot_id = 0x1112131415161718,
		.seq = 0x2122232425262728,
		.sent_ns = 0x3132333435363738,
		.echo_boot_id = 0x4142434445464748,
		.echo_seq = 0x5152535455565758,
		.echo_delay_us = 0x61626364,
		.lease_left_ms = 0x71727374,
		.health = 1000,
		.preference = 0x8182,
		.connections = 0x91929394,
		.key_id = 0xa1a2a3a4,
	};

	for (unsigned i = 0; i < PACKET_HASH_BYTES; i++)
		p.config_hash[i] = (uint8_t)(0xb0 + i);
	return p;
}

static bool same(const struct packet *a, const struct packet *b)
{
	return a->kind == b->kind && a->state == b->state && a->reason == b->reason &&
	       a->flags == b->flags && a->node == b->node && a->path == b->path &&
	       a->group == b->group && a->epoch == b->epoch && a->boot_id == b->boot_id &&
	       a->seq == b->seq && a->sent_ns == b->sent_ns && a->echo_boot_id == b->echo_boot_id &&
	       a->echo_seq == b->echo_seq && a->echo_delay_us == b->echo_delay_us &&
	       a->lease_left_ms == b->lease_left_ms && a->health == b->health &&
	       a->preference == b->preference && a->connections == b->connections &&
	       a->key_id == b->key_id &&
	       memcmp(a->config_hash, b->config_hash, PACKET_HASH_BYTES) == 0;
}

static void what_is_encoded_is_decoded(void)
{
	struct packet p = sample(), back;
	uint8_t wire[PACKET_MAX_BYTES];
	size_t len = packet_encode(&p, wire);

	CHECK_INT(len, PACKET_MIN_BYTES + 5);
	CHECK_INT(packet_decode(span_make(wire, len), &back), PACKET_OK);
	CHECK(same(&p, &back));
	CHECK_INT(packet_key_id(span_make(wire, len)), 0xa1a2a3a4);
}

static void the_layout_is_the_documented_one(void)
{
	struct packet p = sample();
	uint8_t wire[PACKET_MAX_BYTES];
	size_t len = packet_encode(&p, wire);
	static const uint8_t head[24] = {3, 1, 5, 0x4a, 0, 51, 2, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0x11,
		0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18};
	static const uint8_t tail[] = {
		0xa1, 0xa2, 0xa3, 0xa4, 0, 0, 0, 5, 0, 1, 0, 1, REASON_PROXY_DEAD};

	CHECK(memcmp(wire, head, sizeof(head)) == 0);
	CHECK_INT(wire[24], 0x21);
	CHECK_INT(wire[32], 0x31);
	CHECK_INT(wire[40], 0x41);
	CHECK_INT(wire[48], 0x51);
	CHECK_INT(wire[56], 0x61);
	CHECK_INT(wire[60], 0x71);
	CHECK_INT(wire[64] << 8 | wire[65], 1000);
	CHECK_INT(wire[66], 0x81);
	CHECK_INT(wire[68], 0x91);
	CHECK_INT(wire[72], 0xb0);
	CHECK(memcmp(wire + 88, tail, sizeof(tail)) == 0);
	for (size_t i = len - PACKET_MAC_BYTES; i < len; i++)
		CHECK_INT(wire[i], 0);
}

static void every_truncation_is_refused(void)
{
	struct packet p = sample(), back;
	uint8_t wire[PACKET_MAX_BYTES];
	size_t len = packet_encode(&p, wire);

	for (size_t cut = 0; cut < len; cut++)
		CHECK_INT(packet_decode(span_make(wire, cut), &back), PACKET_TRUNCATED);
	CHECK_INT(packet_decode(span_make(wire, len + 1), &back), PACKET_OVERLONG);
}

/* Whatever a flipped bit makes of it: refused, or a packet whose values are all in their ranges. */
static void every_flipped_bit_is_refused_or_in_range(void)
{
	struct packet p = sample(), back;
	uint8_t wire[PACKET_MAX_BYTES], again[PACKET_MAX_BYTES];
	size_t len = packet_encode(&p, wire);
	unsigned accepted = 0;

	for (size_t bit = 0; bit < len * 8; bit++) {
		wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (packet_decode(span_make(wire, len), &back) == PACKET_OK) {
			accepted++;
			/* encode ASSERTs every range. */
			back.tlvs = (struct span){NULL, 0};
			packet_encode(&back, again);
		}
		wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	CHECK(accepted > 0 && accepted < len * 8);
}

static void expect(size_t offset, uint8_t value, enum packet_rc rc)
{
	struct packet p = sample(), back;
	uint8_t wire[PACKET_MAX_BYTES];
	size_t len = packet_encode(&p, wire);

	wire[offset] = value;
	CHECK_INT(packet_decode(span_make(wire, len), &back), rc);
}

static void values_outside_their_ranges_are_refused(void)
{
	expect(0, PACKET_KIND_LAST, PACKET_OK);
	expect(0, PACKET_KIND_LAST + 1, PACKET_BAD_KIND);
	expect(1, 2, PACKET_BAD_VERSION);
	expect(2, FSM_STATE_LAST, PACKET_OK);
	expect(2, FSM_STATE_LAST + 1, PACKET_BAD_STATE);
	expect(3, 0x80, PACKET_OK);	/* a flag of tomorrow */
	expect(4, 1, PACKET_BAD_RANGE); /* group 307 */
	expect(5, 0, PACKET_BAD_RANGE); /* group 0 */
	expect(6, 0, PACKET_BAD_RANGE); /* node 0 */
	expect(8, 0x80, PACKET_BAD_RANGE);
	expect(64, 4, PACKET_BAD_RANGE); /* health 1256 */
	expect(92, 1, PACKET_OVERLONG);
	expect(95, 4, PACKET_OVERLONG);
	expect(95, 6, PACKET_TRUNCATED);
	expect(99, 0, PACKET_BAD_TLV);
	expect(99, 2, PACKET_BAD_TLV);
	expect(98, 1, PACKET_BAD_TLV);
}

static void unknown_tlvs_are_skipped_and_kept(void)
{
	static const uint8_t extra[] = {0x7f, 0xff, 0, 3, 'a', 'b', 'c', 0, 9, 0, 0};
	struct packet p = sample(), back;
	struct packet_tlv tlv;
	uint8_t wire[PACKET_MAX_BYTES];
	size_t len;

	p.tlvs = span_make(extra, sizeof(extra));
	len = packet_encode(&p, wire);
	CHECK_INT(packet_decode(span_make(wire, len), &back), PACKET_OK);
	CHECK_INT(back.reason, REASON_PROXY_DEAD);
	CHECK(packet_tlv_next(&back.tlvs, &tlv));
	CHECK_INT(tlv.type, PACKET_TLV_REASON);
	CHECK(packet_tlv_next(&back.tlvs, &tlv));
	CHECK_INT(tlv.type, 0x7fff);
	CHECK_TEXT(tlv.value, "abc");
	CHECK(packet_tlv_next(&back.tlvs, &tlv));
	CHECK_INT(tlv.value.len, 0);
	CHECK(!packet_tlv_next(&back.tlvs, &tlv));
}

static void a_reason_of_tomorrow_is_no_reason(void)
{
	struct packet p = sample(), back;
	uint8_t wire[PACKET_MAX_BYTES];
	size_t len = packet_encode(&p, wire);

	wire[100] = FSM_REASON_LAST + 1;
	CHECK_INT(packet_decode(span_make(wire, len), &back), PACKET_OK);
	CHECK_INT(back.reason, REASON_NONE);
}

static void noise_is_never_read_beyond_its_end(void)
{
	struct rng r;
	struct packet back;

	rng_seed(&r, 7);
	for (unsigned i = 0; i < 20000; i++) {
		size_t len = rng_below(&r, 200);
		uint8_t *noise = malloc(len ? len : 1);

		CHECK_TRUE(noise != NULL);
		for (size_t j = 0; j < len; j++)
			noise[j] = (uint8_t)rng_u64(&r);
		if (len > 95) {
			noise[0] %= PACKET_KIND_LAST + 1;
			noise[1] = PACKET_VERSION;
			noise[2] %= FSM_STATE_LAST + 1;
			noise[4] = noise[8] = noise[64] = noise[92] = noise[93] = noise[94] = 0;
			noise[95] = (uint8_t)(len - PACKET_MIN_BYTES);
		}
		packet_decode(span_make(noise, len), &back);
		free(noise);
	}
}

static const struct test_case cases[] = {
	TEST(what_is_encoded_is_decoded),
	TEST(the_layout_is_the_documented_one),
	TEST(every_truncation_is_refused),
	TEST(every_flipped_bit_is_refused_or_in_range),
	TEST(values_outside_their_ranges_are_refused),
	TEST(unknown_tlvs_are_skipped_and_kept),
	TEST(a_reason_of_tomorrow_is_no_reason),
	TEST(noise_is_never_read_beyond_its_end),
};
TESTS_MAIN("packet", cases)
