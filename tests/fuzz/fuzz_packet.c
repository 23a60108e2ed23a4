/*
 * Any datagram as a heartbeat: refused, or a packet that is encoded again as the same one. What was
 * accepted also goes through replay protection and a state machine, which must bear anything that a
 * peer with the right key could say.
 */
#include "failover/core/fsm.h"
#include "failover/core/replay.h"
#include "shared/assert.h"
#include "shared/units.h"
#include "tests/fuzz/fuzz.h"

static void encode_again(const struct packet *p, struct span datagram)
{
	uint8_t wire[PACKET_MAX_BYTES];
	struct packet plain = *p, back;
	size_t len;

	/* The reason is among the TLVs already. */
	plain.reason = REASON_NONE;
	len = packet_encode(&plain, wire);
	ASSERT(len == datagram.len);
	ASSERT(packet_decode(span_make(wire, len), &back) == PACKET_OK);
	ASSERT(back.epoch == p->epoch && back.seq == p->seq && back.reason == p->reason);
	ASSERT(memcmp(wire + 4, datagram.ptr + 4, len - 4 - PACKET_MAC_BYTES) == 0);
}

static void step(struct fsm *m, struct fsm_event ev, uint64_t now_ns)
{
	struct fsm_actions out;

	fsm_step(m, &ev, now_ns, &out);
	for (uint32_t i = 0; i < out.count; i++) {
		if (out.list[i].kind == FSM_DO_STORE_EPOCH)
			step(m,
				(struct fsm_event){
					.kind = FSM_EV_EPOCH_STORED, .epoch = out.list[i].epoch},
				now_ns);
		else if (out.list[i].kind == FSM_DO_PROBE_START)
			step(m, (struct fsm_event){.kind = FSM_EV_PROBE_SENT}, now_ns);
		else if (out.list[i].kind == FSM_DO_SEND && out.list[i].packet == PACKET_CLAIM)
			step(m, (struct fsm_event){.kind = FSM_EV_CLAIMED}, now_ns);
		else if (out.list[i].kind == FSM_DO_ADD_ADDRESSES)
			step(m, (struct fsm_event){.kind = FSM_EV_ADDRESS_ADDED}, now_ns);
		else if (out.list[i].kind == FSM_DO_REMOVE_ADDRESSES)
			step(m, (struct fsm_event){.kind = FSM_EV_ADDRESS_REMOVED}, now_ns);
		else if (out.list[i].kind == FSM_DO_LOAD_RULES)
			step(m, (struct fsm_event){.kind = FSM_EV_RULES_LOADED}, now_ns);
	}
}

/* A machine in the state that the first byte asks for hears the packet, and lives on. */
static void hear(struct packet p, unsigned how)
{
	uint64_t now_ns = NS_PER_S;
	struct fsm_config config = {
		.times = times_of(TIMES_default),
		.node = p.node == 1 ? 2 : 1,
		.peer = p.node,
		.group = p.group,
		.drain_ns = NS_PER_S,
	};
	struct fsm m;

	fsm_init(&m, &config, how % 5, now_ns);
	step(&m, (struct fsm_event){.kind = FSM_EV_LINK, .good = true}, now_ns);
	step(&m, (struct fsm_event){.kind = FSM_EV_GATEWAY, .good = true}, now_ns);
	step(&m, (struct fsm_event){.kind = FSM_EV_PROXY, .proxy = FSM_PROXY_OK}, now_ns);
	for (unsigned i = 0; i < 20 + how % 16 * 2; i++)
		step(&m, (struct fsm_event){.kind = FSM_EV_TICK}, now_ns += 50 * NS_PER_MS);
	if (how & 16)
		step(&m, (struct fsm_event){.kind = FSM_EV_STOP}, now_ns);
	for (unsigned i = 0; i < 10; i++) {
		step(&m,
			(struct fsm_event){
				.kind = FSM_EV_PACKET, .packet = &p, .age_ns = p.sent_ns},
			now_ns);
		step(&m, (struct fsm_event){.kind = FSM_EV_TICK}, now_ns += 50 * NS_PER_MS);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span datagram = span_make(data + 1, size ? size - 1 : 0);
	struct replay_news news;
	struct replay r;
	struct packet p;

	if (size == 0 || packet_decode(datagram, &p) != PACKET_OK)
		return 0;
	encode_again(&p, datagram);
	replay_init(&r, 1, 1, NS_PER_S);
	ASSERT(!replay_counts(replay_check(&r, 0, &p, NS_PER_S, &news)));
	hear(p, data[0]);
	return 0;
}
