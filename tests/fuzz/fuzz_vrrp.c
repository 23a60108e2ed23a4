/*
 * Anything as an advertisement of VRRP: refused, or one that is encoded again as the same bytes.
 * What was accepted is heard by a machine in one of its states, which must bear it.
 *
 * The first byte chooses: 1: IPv6 (32 bytes of addresses and the message) instead of an IPv4
 * datagram; 2: a right checksum is put in first, of either form (4); the rest: the machine's state.
 */
#include "failover/core/vrrp.h"
#include "shared/assert.h"
#include "shared/units.h"
#include "tests/fuzz/fuzz.h"

static void step(struct vrrp *m, struct fsm_event ev, uint64_t now_ns);

static void perform(struct vrrp *m, const struct fsm_actions *out, uint64_t now_ns)
{
	ASSERT(out->next_ns > now_ns || m->state != FSM_INIT);
	for (uint32_t i = 0; i < out->count; i++)
		if (out->list[i].kind == FSM_DO_ADD_ADDRESSES)
			step(m, (struct fsm_event){.kind = FSM_EV_ADDRESS_ADDED}, now_ns);
		else if (out->list[i].kind == FSM_DO_REMOVE_ADDRESSES)
			step(m, (struct fsm_event){.kind = FSM_EV_ADDRESS_REMOVED}, now_ns);
}

static void step(struct vrrp *m, struct fsm_event ev, uint64_t now_ns)
{
	struct fsm_actions out;

	vrrp_step(m, &ev, now_ns, &out);
	perform(m, &out, now_ns);
}

/* Ten times, with the machine's own time in between. */
static void hear(const struct vrrp_packet *p, unsigned how)
{
	struct vrrp_config config = {.priority = (uint8_t)(1 + how * 13 % 254),
		.preempt = how & 1,
		.interval_ns = NS_PER_S};
	struct vrrp_heard heard = {.priority = p->priority,
		.interval_ns = p->interval_cs * VRRP_CS_NS,
		.tie = how % 3};
	uint64_t now_ns = NS_PER_S;
	struct fsm_actions out;
	struct vrrp m;

	vrrp_init(&m, &config, now_ns);
	step(&m, (struct fsm_event){.kind = FSM_EV_LINK, .good = true}, now_ns);
	step(&m, (struct fsm_event){.kind = FSM_EV_GATEWAY, .good = true}, now_ns);
	step(&m, (struct fsm_event){.kind = FSM_EV_PROXY, .proxy = FSM_PROXY_OK}, now_ns);
	for (unsigned i = 0; i < how; i++)
		step(&m, (struct fsm_event){.kind = FSM_EV_TICK}, now_ns += 300 * NS_PER_MS);
	for (unsigned i = 0; i < 10; i++) {
		bool was_active = m.state == FSM_ACTIVE;

		vrrp_hear(&m, &heard, now_ns, &out);
		perform(&m, &out, now_ns);
		ASSERT(!was_active || p->priority <= config.priority || m.state != FSM_ACTIVE);
		now_ns = m.next_ns > now_ns ? m.next_ns : now_ns;
		step(&m, (struct fsm_event){.kind = FSM_EV_TICK}, now_ns);
	}
}

static void put_checksum(const struct vrrp_envelope *e, uint8_t *message, size_t len, bool pseudo)
{
	struct vrrp_packet p = {.vrid = message[1],
		.priority = message[2],
		.count = message[3],
		.interval_cs = (uint16_t)((message[4] & 15) << 8 | message[5]),
		.pseudo_header = pseudo,
		.addresses = message + VRRP_HEAD_BYTES};
	uint8_t wire[VRRP_DATAGRAM_MAX];

	if (p.count == 0 || p.interval_cs == 0 ||
		len != VRRP_HEAD_BYTES + p.count * vrrp_address_bytes(e->family))
		return;
	(void)vrrp_encode(e, &p, wire);
	memcpy(message, wire, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vrrp_envelope e = {.family = AF_INET6, .ttl = VRRP_TTL};
	uint8_t copy[VRRP_DATAGRAM_MAX], wire[VRRP_DATAGRAM_MAX];
	struct span message;
	struct vrrp_packet p;
	size_t len;

	if (size < 1 || size - 1 > sizeof(copy))
		return 0;
	memcpy(copy, data + 1, size - 1);
	message = span_make(copy, size - 1);
	if (data[0] & 1) {
		if (message.len < 32)
			return 0;
		memcpy(e.from, copy, 16);
		memcpy(e.to, copy + 16, 16);
		message = span_from(message, 32);
	} else if (vrrp_open_ip4(message, &e, &message) != VRRP_OK) {
		return 0;
	}
	if ((data[0] & 2) && message.len >= VRRP_HEAD_BYTES)
		put_checksum(&e, copy + (message.ptr - (char *)copy), message.len, data[0] & 4);
	if (vrrp_decode(&e, message, &p) != VRRP_OK)
		return 0;
	len = vrrp_encode(&e, &p, wire);
	ASSERT(len == message.len);
	/* But for the four reserved bits, and with them the checksum. */
	if (((uint8_t)message.ptr[4] & 0xf0) == 0)
		ASSERT(memcmp(wire, message.ptr, 6) == 0);
	ASSERT(memcmp(wire + 8, message.ptr + 8, len - 8) == 0);
	hear(&p, data[0] >> 3);
	return 0;
}
