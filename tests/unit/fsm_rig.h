/*
 * One state machine on a bench: events by hand, results by themselves, its actions remembered.
 * For the test files of the state machine; everything is static, one machine a program.
 */
#pragma once

#include "failover/core/fsm.h"
#include "shared/assert.h"
#include "shared/units.h"
#include "tests/unit/check.h"

#define MS NS_PER_MS
#define START (1000 * NS_PER_S)

static struct fsm m;
static uint64_t now;
static struct fsm_actions out;
/* Everything that was done since the last forget(). */
static struct fsm_action done[512];
static unsigned done_count;
static uint64_t peer_seq;
static bool auto_results; /* whatever is asked of the kernel and the disk succeeds */
static bool host_lives;	  /* the peer's host answers when it is asked */

static inline void give(struct fsm_event ev);

static inline void results(const struct fsm_actions *acts)
{
	for (uint32_t i = 0; i < acts->count; i++) {
		const struct fsm_action *a = &acts->list[i];

		if (a->kind == FSM_DO_STORE_EPOCH)
			give((struct fsm_event){.kind = FSM_EV_EPOCH_STORED, .epoch = a->epoch});
		else if (a->kind == FSM_DO_PROBE_START)
			give((struct fsm_event){.kind = FSM_EV_PROBE_SENT});
		else if (a->kind == FSM_DO_SEND && a->packet == PACKET_CLAIM)
			give((struct fsm_event){.kind = FSM_EV_CLAIMED});
		else if (a->kind == FSM_DO_ADD_ADDRESSES)
			give((struct fsm_event){.kind = FSM_EV_ADDRESS_ADDED});
		else if (a->kind == FSM_DO_REMOVE_ADDRESSES)
			give((struct fsm_event){.kind = FSM_EV_ADDRESS_REMOVED});
		else if (a->kind == FSM_DO_LOAD_RULES)
			give((struct fsm_event){.kind = FSM_EV_RULES_LOADED});
		else if (a->kind == FSM_DO_ASK_PEER && host_lives)
			give((struct fsm_event){.kind = FSM_EV_PEER_HOST});
	}
}

static inline void give(struct fsm_event ev)
{
	struct fsm_actions acts;

	fsm_step(&m, &ev, now, &acts);
	for (uint32_t i = 0; i < acts.count; i++) {
		CHECK_TRUE(done_count < countof(done));
		done[done_count++] = acts.list[i];
	}
	out = acts;
	if (auto_results)
		results(&acts);
}

static inline void tick(void)
{
	give((struct fsm_event){.kind = FSM_EV_TICK});
}

static inline void forget(void)
{
	done_count = 0;
}

/* Time passes, with ticks when they are due. */
static inline void pass(uint64_t ns)
{
	uint64_t end = now + ns;

	while (m.next_ns <= end) {
		if (done_count > countof(done) / 2)
			forget();
		if (now < m.next_ns)
			now = m.next_ns;
		tick();
	}
	now = end;
}

static inline unsigned times_done(enum fsm_action_kind kind)
{
	unsigned n = 0;

	for (unsigned i = 0; i < done_count; i++)
		n += done[i].kind == kind;
	return n;
}

static inline unsigned times_sent(enum packet_kind kind)
{
	unsigned n = 0;

	for (unsigned i = 0; i < done_count; i++)
		n += done[i].kind == FSM_DO_SEND && done[i].packet == kind;
	return n;
}

/* Where in the list; -1: nowhere. */
static inline int place(enum fsm_action_kind kind)
{
	for (unsigned i = 0; i < done_count; i++)
		if (done[i].kind == kind)
			return (int)i;
	return -1;
}

static inline int place_sent(enum packet_kind kind)
{
	for (unsigned i = 0; i < done_count; i++)
		if (done[i].kind == FSM_DO_SEND && done[i].packet == kind)
			return (int)i;
	return -1;
}

static inline struct packet peer_packet(enum packet_kind kind, enum fsm_state state, uint64_t epoch)
{
	return (struct packet){
		.kind = kind,
		.state = state,
		.flags = PACKET_PROXY_OK | PACKET_GATEWAY_OK,
		.node = m.config.peer,
		.group = 51,
		.epoch = epoch,
		.boot_id = 77,
		.seq = ++peer_seq,
		.sent_ns = now,
		.health = PACKET_HEALTH_MAX,
	};
}

static inline void hear_packet(const struct packet *p, uint64_t age_ns)
{
	give((struct fsm_event){.kind = FSM_EV_PACKET, .packet = p, .age_ns = age_ns});
}

static inline void hear(enum packet_kind kind, enum fsm_state state, uint64_t epoch)
{
	struct packet p = peer_packet(kind, state, epoch);

	hear_packet(&p, 10 * MS);
}

/* The peer says the same every 50 ms. */
static inline void pass_hearing(
	uint64_t ns, enum packet_kind kind, enum fsm_state state, uint64_t epoch)
{
	uint64_t end = now + ns;

	while (now + 50 * MS <= end) {
		pass(50 * MS);
		hear(kind, state, epoch);
	}
	pass(end - now);
}

static inline struct fsm_config pair(void)
{
	return (struct fsm_config){
		.times = times_of(TIMES_default),
		.node = 1,
		.peer = 2,
		.group = 51,
		.drain_ns = 2 * NS_PER_S,
	};
}

static inline void good(void)
{
	give((struct fsm_event){.kind = FSM_EV_LINK, .good = true});
	give((struct fsm_event){.kind = FSM_EV_GATEWAY, .good = true});
	give((struct fsm_event){.kind = FSM_EV_PROXY, .proxy = FSM_PROXY_OK});
}

static inline void begin_with(struct fsm_config config)
{
	now = START;
	peer_seq = 0;
	auto_results = host_lives = true;
	fsm_init(&m, &config, 0, now);
	forget();
	tick();
	good();
}

/* STANDBY, the peer ACTIVE with epoch 5 and heard just now. */
static inline void standby(void)
{
	begin_with(pair());
	pass_hearing(1100 * MS, PACKET_ACTIVE, FSM_ACTIVE, 5);
	CHECK_TRUE(m.state == FSM_STANDBY);
	forget();
}

/* ACTIVE by a probe, the peer then STANDBY and heard just now. */
static inline void active_of(struct fsm_config config)
{
	begin_with(config);
	pass(1500 * MS);
	CHECK_TRUE(m.state == FSM_ACTIVE);
	if (config.peer)
		pass_hearing(100 * MS, PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK_TRUE(m.state == FSM_ACTIVE);
	forget();
}

static inline void active(void)
{
	active_of(pair());
}

static inline void proxy_is(enum fsm_proxy proxy)
{
	give((struct fsm_event){.kind = FSM_EV_PROXY, .proxy = proxy});
}
