/*
 * Encoding and decoding of the heartbeat: see packet.h for the layout.
 */
#include "failover/core/packet.h"

#include "shared/assert.h"

#define TLV_HEAD_BYTES 4

static const char *const kind_names[] = {
#define X(value, name) [value] = #name,
	PACKET_KINDS(X)
#undef X
};

static const char *const rc_names[] = {
#define X(name) [PACKET_##name] = #name,
	PACKET_RCS(X)
#undef X
};

static void put16(uint8_t *out, uint16_t v)
{
	out[0] = (uint8_t)(v >> 8);
	out[1] = (uint8_t)v;
}

static void put32(uint8_t *out, uint32_t v)
{
	put16(out, (uint16_t)(v >> 16));
	put16(out + 2, (uint16_t)v);
}

static void put64(uint8_t *out, uint64_t v)
{
	put32(out, (uint32_t)(v >> 32));
	put32(out + 4, (uint32_t)v);
}

static uint16_t get16(const uint8_t *in)
{
	return (uint16_t)(in[0] << 8 | in[1]);
}

static uint32_t get32(const uint8_t *in)
{
	return (uint32_t)get16(in) << 16 | get16(in + 2);
}

static uint64_t get64(const uint8_t *in)
{
	return (uint64_t)get32(in) << 32 | get32(in + 4);
}

static bool tlvs_well_formed(struct span tlvs)
{
	struct packet_tlv tlv;

	while (packet_tlv_next(&tlvs, &tlv))
		;
	return tlvs.len == 0;
}

bool packet_tlv_next(struct span *rest, struct packet_tlv *ret_tlv)
{
	const uint8_t *in = (const uint8_t *)rest->ptr;
	size_t len;

	if (rest->len < TLV_HEAD_BYTES)
		return false;
	len = get16(in + 2);
	if (len > rest->len - TLV_HEAD_BYTES)
		return false;
	ret_tlv->type = get16(in);
	ret_tlv->value = span_make(rest->ptr + TLV_HEAD_BYTES, len);
	*rest = span_from(*rest, TLV_HEAD_BYTES + len);
	return true;
}

static bool in_range(const struct packet *p)
{
	return p->group >= 1 && p->group <= 255 && p->node >= 1 && p->boot_id != 0 && p->seq != 0 &&
	       p->epoch <= PACKET_EPOCH_MAX && p->health <= PACKET_HEALTH_MAX;
}

size_t packet_encode(const struct packet *p, uint8_t out[PACKET_MAX_BYTES])
{
	size_t tlv_bytes = p->tlvs.len;
	uint8_t *at = out + PACKET_HEAD_BYTES;

	ASSERT((unsigned)p->kind <= PACKET_KIND_LAST && (unsigned)p->state <= FSM_STATE_LAST);
	ASSERT((unsigned)p->reason <= FSM_REASON_LAST);
	ASSERT(in_range(p));
	ASSERT((p->flags & ~PACKET_FLAGS_ALL) == 0);
	ASSERT(tlvs_well_formed(p->tlvs));
	if (p->reason != REASON_NONE) {
		put16(at, PACKET_TLV_REASON);
		put16(at + 2, 1);
		at[TLV_HEAD_BYTES] = (uint8_t)p->reason;
		at += TLV_HEAD_BYTES + 1;
		tlv_bytes += TLV_HEAD_BYTES + 1;
	}
	ASSERT(tlv_bytes <= PACKET_TLVS_MAX_BYTES);
	if (p->tlvs.len)
		memcpy(at, p->tlvs.ptr, p->tlvs.len);

	out[0] = (uint8_t)p->kind;
	out[1] = PACKET_VERSION;
	out[2] = (uint8_t)p->state;
	out[3] = p->flags;
	put16(out + 4, p->group);
	out[6] = p->node;
	out[7] = p->path;
	put64(out + 8, p->epoch);
	put64(out + 16, p->boot_id);
	put64(out + 24, p->seq);
	put64(out + 32, p->sent_ns);
	put64(out + 40, p->echo_boot_id);
	put64(out + 48, p->echo_seq);
	put32(out + 56, p->echo_delay_us);
	put32(out + 60, p->lease_left_ms);
	put16(out + 64, p->health);
	put16(out + 66, p->preference);
	put32(out + 68, p->connections);
	memcpy(out + 72, p->config_hash, PACKET_HASH_BYTES);
	put32(out + 88, p->key_id);
	put32(out + 92, (uint32_t)tlv_bytes);
	memset(out + PACKET_HEAD_BYTES + tlv_bytes, 0, PACKET_MAC_BYTES);
	return PACKET_MIN_BYTES + tlv_bytes;
}

static enum packet_rc decode_tlvs(struct span tlvs, struct packet *p)
{
	struct packet_tlv tlv;

	p->tlvs = tlvs;
	p->reason = REASON_NONE;
	while (packet_tlv_next(&tlvs, &tlv)) {
		if (tlv.type != PACKET_TLV_REASON)
			continue;
		if (tlv.value.len != 1)
			return PACKET_BAD_TLV;
		/* A reason that only a newer peer knows is no reason to us. */
		if ((uint8_t)tlv.value.ptr[0] <= FSM_REASON_LAST)
			p->reason = (enum fsm_reason)(uint8_t)tlv.value.ptr[0];
	}
	return tlvs.len == 0 ? PACKET_OK : PACKET_BAD_TLV;
}

static void decode_head(const uint8_t *in, struct packet *p)
{
	p->kind = (enum packet_kind)in[0];
	p->state = (enum fsm_state)in[2];
	p->flags = in[3] & PACKET_FLAGS_ALL;
	p->group = get16(in + 4);
	p->node = in[6];
	p->path = in[7];
	p->epoch = get64(in + 8);
	p->boot_id = get64(in + 16);
	p->seq = get64(in + 24);
	p->sent_ns = get64(in + 32);
	p->echo_boot_id = get64(in + 40);
	p->echo_seq = get64(in + 48);
	p->echo_delay_us = get32(in + 56);
	p->lease_left_ms = get32(in + 60);
	p->health = get16(in + 64);
	p->preference = get16(in + 66);
	p->connections = get32(in + 68);
	memcpy(p->config_hash, in + 72, PACKET_HASH_BYTES);
	p->key_id = get32(in + 88);
}

enum packet_rc packet_decode(struct span datagram, struct packet *ret_packet)
{
	const uint8_t *in = (const uint8_t *)datagram.ptr;
	enum packet_rc rc;
	struct packet p;
	uint32_t tlv_bytes;

	if (datagram.len < PACKET_MIN_BYTES)
		return PACKET_TRUNCATED;
	if (in[1] != PACKET_VERSION)
		return PACKET_BAD_VERSION;
	tlv_bytes = get32(in + 92);
	if (tlv_bytes > PACKET_TLVS_MAX_BYTES || datagram.len > PACKET_MIN_BYTES + tlv_bytes)
		return PACKET_OVERLONG;
	if (datagram.len < PACKET_MIN_BYTES + tlv_bytes)
		return PACKET_TRUNCATED;
	if (in[0] > PACKET_KIND_LAST)
		return PACKET_BAD_KIND;
	if (in[2] > FSM_STATE_LAST)
		return PACKET_BAD_STATE;
	decode_head(in, &p);
	if (!in_range(&p))
		return PACKET_BAD_RANGE;
	rc = decode_tlvs(span_make(datagram.ptr + PACKET_HEAD_BYTES, tlv_bytes), &p);
	if (rc == PACKET_OK)
		*ret_packet = p;
	return rc;
}

uint32_t packet_key_id(struct span datagram)
{
	ASSERT(datagram.len >= PACKET_MIN_BYTES);
	return get32((const uint8_t *)datagram.ptr + 88);
}

const char *packet_kind_name(enum packet_kind kind)
{
	ASSERT((unsigned)kind < countof(kind_names));
	return kind_names[kind];
}

const char *packet_rc_name(enum packet_rc rc)
{
	ASSERT((unsigned)rc < countof(rc_names));
	return rc_names[rc];
}
