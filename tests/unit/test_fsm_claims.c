/*
 * The state machine, a sentence at a time: what a claim needs beside silence and a probe (witness,
 * fence hook, claim hook), who is told after it, and time that stood still.
 */
#include "failover/core/fsm.h"

#include "tests/unit/fsm_rig.h"

static struct fsm_action last(enum fsm_action_kind kind)
{
	for (unsigned i = done_count; i > 0; i--)
		if (done[i - 1].kind == kind)
			return done[i - 1];
	CHECK_TRUE(false);
	return (struct fsm_action){.kind = kind};
}

static void answer(enum fsm_event_kind kind, enum fsm_action_kind asked, bool good)
{
	give((struct fsm_event){.kind = kind, .ticket = last(asked).ticket, .good = good});
}

/* STANDBY, the peer ACTIVE with epoch 5 and heard just now. */
static void standby_of(struct fsm_config config)
{
	begin_with(config);
	pass_hearing(1100 * MS, PACKET_ACTIVE, FSM_ACTIVE, 5);
	CHECK_TRUE(m.state == FSM_STANDBY);
	forget();
}

static struct fsm_config with_witness(void)
{
	struct fsm_config config = pair();

	config.witness = true;
	return config;
}

static struct fsm_config with_fence(void)
{
	struct fsm_config config = pair();

	config.fence_hook = true;
	return config;
}

/* --- the witness ---------------------------------------------------------------------------- */

static void a_claim_waits_for_the_witness(void)
{
	standby_of(with_witness());
	pass(599 * MS); /* twice the silence: an owner may live on what the witness hears */
	CHECK_INT(m.state, FSM_STANDBY);
	pass(2 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	CHECK_INT(times_done(FSM_DO_ASK_WITNESS), 1);
	CHECK_INT(last(FSM_DO_ASK_WITNESS).epoch, 6);
	pass(60 * MS);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	answer(FSM_EV_WITNESS, FSM_DO_ASK_WITNESS, true);
	tick();
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void a_refusal_of_the_witness_ends_the_claim(void)
{
	standby_of(with_witness());
	pass(601 * MS);
	answer(FSM_EV_WITNESS, FSM_DO_ASK_WITNESS, false);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_WITNESS_REFUSED);
	CHECK(fsm_alarm_on(&m, FSM_ALARM_WITNESS));
	pass(600 * MS);
	CHECK_INT(times_done(FSM_DO_ASK_WITNESS), 2);
	answer(FSM_EV_WITNESS, FSM_DO_ASK_WITNESS, true);
	CHECK(!fsm_alarm_on(&m, FSM_ALARM_WITNESS));
}

static void a_silent_witness_means_no_claim(void)
{
	standby_of(with_witness());
	pass(601 * MS + 151 * MS);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_WITNESS_SILENT);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	CHECK(fsm_alarm_on(&m, FSM_ALARM_WITNESS));
}

static void an_answer_to_an_earlier_question_does_not_count(void)
{
	uint32_t ticket;

	standby_of(with_witness());
	pass(601 * MS);
	ticket = last(FSM_DO_ASK_WITNESS).ticket;
	pass(700 * MS);
	CHECK_INT(times_done(FSM_DO_ASK_WITNESS), 2);
	give((struct fsm_event){.kind = FSM_EV_WITNESS, .ticket = ticket, .good = true});
	pass(100 * MS);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
}

static void a_release_needs_no_witness(void)
{
	standby_of(with_witness());
	hear(PACKET_RELEASE, FSM_DRAINING, 5);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(times_done(FSM_DO_ASK_WITNESS), 0);
}

static void owner_with_witness(void)
{
	standby_of(with_witness());
	hear(PACKET_RELEASE, FSM_DRAINING, 5);
	CHECK_TRUE(m.state == FSM_ACTIVE);
	forget();
}

static void an_owner_whom_neither_peer_nor_witness_hears_lets_go(void)
{
	owner_with_witness();
	for (int i = 0; i < 20; i++) { /* the witness is enough */
		pass(50 * MS);
		give((struct fsm_event){.kind = FSM_EV_WITNESS_HEARD, .age_ns = 5 * MS});
	}
	pass_hearing(NS_PER_S, PACKET_STANDBY, FSM_STANDBY, 6); /* and so is the peer */
	CHECK_INT(m.state, FSM_ACTIVE);
	pass(200 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	pass(100 * MS);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_UNHEARD);
}

static void a_peer_that_is_heard_but_does_not_hear_us_vouches_for_nothing(void)
{
	owner_with_witness();
	for (int i = 0; i < 8 && m.state == FSM_ACTIVE; i++) {
		struct packet p = peer_packet(PACKET_STANDBY, FSM_STANDBY, 6);

		pass(50 * MS);
		hear_packet(&p, UINT64_MAX);
	}
	CHECK_INT(m.reason, REASON_UNHEARD);
}

static void a_witness_that_a_reload_adds_has_a_lease_to_hear_the_owner(void)
{
	struct fsm_config config = with_witness();

	standby_of(pair());
	hear(PACKET_RELEASE, FSM_DRAINING, 5);
	pass(NS_PER_S); /* nobody vouches for it, nor needs to */
	CHECK_INT(m.state, FSM_ACTIVE);
	fsm_configure(&m, &config, now);
	tick();
	CHECK_INT(m.state, FSM_ACTIVE);
	pass(200 * MS);
	give((struct fsm_event){.kind = FSM_EV_WITNESS_HEARD, .age_ns = 5 * MS});
	pass(200 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	pass(100 * MS);
	CHECK_INT(m.reason, REASON_UNHEARD);
}

/* --- the fence hook ------------------------------------------------------------------------- */

static void a_silent_peer_is_fenced_after_the_probe_and_before_the_claim(void)
{
	standby_of(with_fence());
	pass(310 * MS);
	CHECK_INT(times_done(FSM_DO_FENCE_PEER), 0);
	pass(50 * MS);
	CHECK_INT(times_done(FSM_DO_FENCE_PEER), 1);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	answer(FSM_EV_PEER_FENCED, FSM_DO_FENCE_PEER, true);
	tick();
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(times_done(FSM_DO_PROBE_START), 1);
}

static void after_a_slow_fence_hook_the_network_is_asked_again(void)
{
	standby_of(with_fence());
	pass(5 * NS_PER_S);
	CHECK_INT(m.state, FSM_PROBING);
	forget();
	m.ticket = 1;
	give((struct fsm_event){.kind = FSM_EV_PEER_FENCED, .ticket = 1, .good = true});
	CHECK_INT(times_done(FSM_DO_PROBE_START), 1);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	pass(60 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(times_done(FSM_DO_FENCE_PEER), 0); /* once is enough */
}

static void what_a_reload_asks_for_in_mid_claim_is_waited_for(void)
{
	standby_of(with_fence());
	pass(360 * MS);
	m.config.witness = true;
	answer(FSM_EV_PEER_FENCED, FSM_DO_FENCE_PEER, true);
	tick();
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	CHECK_INT(times_done(FSM_DO_PROBE_START), 2);
	CHECK_INT(times_done(FSM_DO_ASK_WITNESS), 1);
	pass(60 * MS);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	answer(FSM_EV_WITNESS, FSM_DO_ASK_WITNESS, true);
	tick();
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(times_done(FSM_DO_FENCE_PEER), 1);
}

static void a_promise_that_is_about_to_end_is_asked_for_again(void)
{
	struct fsm_config config = with_fence();

	config.witness = true;
	config.times = times_of(TIMES_fast);
	standby_of(config);
	pass(111 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	answer(FSM_EV_WITNESS, FSM_DO_ASK_WITNESS, true);
	pass(35 * MS); /* the window is open for 40 */
	answer(FSM_EV_PEER_FENCED, FSM_DO_FENCE_PEER, true);
	tick();
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	CHECK_INT(times_done(FSM_DO_ASK_WITNESS), 2);
	answer(FSM_EV_WITNESS, FSM_DO_ASK_WITNESS, true);
	pass(12 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(times_done(FSM_DO_FENCE_PEER), 1);
}

static void a_failed_fence_hook_means_no_claim(void)
{
	standby_of(with_fence());
	pass(360 * MS);
	answer(FSM_EV_PEER_FENCED, FSM_DO_FENCE_PEER, false);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_FENCE_FAILED);
	CHECK(fsm_alarm_on(&m, FSM_ALARM_FENCE));
	forget();
	pass(1200 * MS); /* it is not for a hook to run all the time */
	CHECK_INT(times_done(FSM_DO_FENCE_PEER), 0);
	pass(400 * MS);
	CHECK_INT(times_done(FSM_DO_FENCE_PEER), 1);
}

static void an_owner_that_is_heard_during_the_fence_hook_keeps_it(void)
{
	standby_of(with_fence());
	pass(360 * MS);
	hear(PACKET_ACTIVE, FSM_ACTIVE, 5);
	CHECK_INT(m.state, FSM_STANDBY);
	answer(FSM_EV_PEER_FENCED, FSM_DO_FENCE_PEER, true);
	CHECK_INT(m.state, FSM_STANDBY);
}

static void nobody_is_fenced_who_answers_or_lives(void)
{
	struct fsm_config config = with_fence();

	standby_of(config);
	pass(310 * MS);
	give((struct fsm_event){.kind = FSM_EV_PROBE_ANSWERED, .good = true});
	pass(100 * MS);
	CHECK_INT(times_done(FSM_DO_FENCE_PEER), 0);
	config.prefer = 1;
	begin_with(config); /* nobody owns it, both are there */
	pass_hearing(1450 * MS, PACKET_STANDBY, FSM_STANDBY, 0);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(times_done(FSM_DO_FENCE_PEER), 0);
}

/* --- the claim hook ------------------------------------------------------------------------- */

static void claimed_with_hook(void)
{
	struct fsm_config config = pair();

	config.claim_hook = true;
	standby_of(config);
	pass(400 * MS);
	CHECK_TRUE(m.state == FSM_ACTIVE);
}

static void nothing_is_announced_before_the_claim_hook_is_done(void)
{
	claimed_with_hook();
	CHECK_INT(times_done(FSM_DO_CLAIM_HOOK), 1);
	CHECK_INT(times_done(FSM_DO_ADD_ADDRESSES), 1);
	pass(1500 * MS);
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 0);
	CHECK(times_sent(PACKET_ACTIVE) > 20);
	answer(FSM_EV_CLAIM_HOOKED, FSM_DO_CLAIM_HOOK, true);
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 1);
}

static void a_failed_claim_hook_gives_the_address_up(void)
{
	claimed_with_hook();
	answer(FSM_EV_CLAIM_HOOKED, FSM_DO_CLAIM_HOOK, false);
	CHECK_INT(m.state, FSM_FAULT);
	CHECK_INT(m.reason, REASON_CLAIM_HOOK_FAILED);
	CHECK(place(FSM_DO_REMOVE_ADDRESSES) < place_sent(PACKET_RELEASE));
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 0);
	CHECK(fsm_alarm_on(&m, FSM_ALARM_HOOK));
	forget();
	pass(950 * MS); /* also while nobody serves: the hook costs something */
	CHECK_INT(m.state, FSM_FAULT);
	pass(600 * MS);
	CHECK_INT(times_done(FSM_DO_CLAIM_HOOK), 1);
}

/* --- who is told ---------------------------------------------------------------------------- */

static void a_dead_hosts_clients_are_told_at_once(void)
{
	standby();
	host_lives = false;
	pass(370 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(times_done(FSM_DO_ASK_PEER), 1);
	CHECK_INT(times_done(FSM_DO_LOAD_RULES), 0);
	CHECK_INT(times_done(FSM_DO_TICKLE), 1);
	CHECK(place(FSM_DO_ANNOUNCE) < place(FSM_DO_TICKLE));
}

static void a_living_hosts_clients_are_left_alone(void)
{
	standby();
	pass(1500 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(times_done(FSM_DO_LOAD_RULES), 1);
	CHECK(place(FSM_DO_PROBE_START) < place(FSM_DO_LOAD_RULES)); /* while it is awaited */
	CHECK(place(FSM_DO_LOAD_RULES) < place_sent(PACKET_CLAIM));
	CHECK_INT(times_done(FSM_DO_UNLOAD_RULES), 0);
	CHECK_INT(times_done(FSM_DO_TICKLE), 0);
	hear(PACKET_DRAINED, FSM_STANDBY, 5);
	CHECK_INT(times_done(FSM_DO_UNLOAD_RULES), 1);
	tick();
	CHECK_INT(times_done(FSM_DO_TICKLE), 0);
}

static void a_host_that_answers_late_is_no_dead_one(void)
{
	standby();
	host_lives = false;
	pass(340 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	give((struct fsm_event){.kind = FSM_EV_PEER_HOST});
	pass(30 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(times_done(FSM_DO_LOAD_RULES), 1);
	CHECK(place(FSM_DO_LOAD_RULES) < place_sent(PACKET_CLAIM));
	CHECK_INT(times_done(FSM_DO_TICKLE), 0);
}

static void a_host_that_dies_after_its_agent_is_noticed(void)
{
	standby();
	pass(1000 * MS);
	host_lives = false;
	forget();
	pass(1200 * MS);
	CHECK_INT(times_done(FSM_DO_UNLOAD_RULES), 1);
	CHECK_INT(times_done(FSM_DO_TICKLE), 1);
	CHECK(place(FSM_DO_UNLOAD_RULES) < place(FSM_DO_TICKLE));
}

static void who_is_left_at_the_drain_limit_is_told(void)
{
	standby();
	pass(2700 * MS);
	CHECK(!m.rules);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(times_done(FSM_DO_TICKLE), 1);
}

static void a_release_of_a_living_proxy_loads_the_rules_first(void)
{
	struct packet p;

	standby();
	auto_results = false;
	p = peer_packet(PACKET_RELEASE, FSM_STANDBY, 5);
	p.reason = REASON_FROZEN;
	hear_packet(&p, 10 * MS);
	CHECK_INT(times_done(FSM_DO_LOAD_RULES), 1);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	give((struct fsm_event){.kind = FSM_EV_RULES_LOADED});
	CHECK_INT(times_sent(PACKET_CLAIM), 1);
}

static void a_release_from_before_the_peers_probe_is_void(void)
{
	struct packet late;

	standby();
	late = peer_packet(PACKET_RELEASE, FSM_DRAINING, 5);
	pass(20 * MS);
	give((struct fsm_event){.kind = FSM_EV_PEER_PROBE, .good = true});
	pass(20 * MS);
	hear_packet(&late, 60 * MS);
	CHECK_INT(m.state, FSM_STANDBY);
	hear(PACKET_RELEASE, FSM_DRAINING, 5);
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void a_release_is_not_repeated_once_the_peer_has_claimed_since(void)
{
	active();
	proxy_is(FSM_PROXY_DEAD);
	CHECK_INT(times_sent(PACKET_RELEASE), 1);
	pass(20 * MS);
	forget();
	hear(PACKET_RELEASE, FSM_STANDBY, 2); /* it had it and gave it back: we missed that */
	pass(60 * MS);
	CHECK_INT(times_sent(PACKET_RELEASE), 0);
}

static void a_dead_proxys_clients_are_told_though_its_host_lives(void)
{
	struct packet p;

	standby();
	p = peer_packet(PACKET_ACTIVE, FSM_ACTIVE, 5);
	p.flags = PACKET_GATEWAY_OK;
	hear_packet(&p, 0);
	pass(400 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(times_done(FSM_DO_LOAD_RULES), 0);
	CHECK_INT(times_done(FSM_DO_TICKLE), 1);
}

/* --- draining and need ---------------------------------------------------------------------- */

static void draining(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_SWITCHOVER});
	hear(PACKET_READY, FSM_STANDBY, 1);
	hear(PACKET_ACTIVE, FSM_ACTIVE, 2);
	CHECK_TRUE(m.state == FSM_DRAINING);
	forget();
}

static void a_move_back_waits_until_the_connections_are_finished(void)
{
	struct packet p;

	draining();
	CHECK_INT(fsm_switchover_check(&m, now), REASON_STILL_DRAINING);
	hear(PACKET_PREPARE, FSM_HANDOVER, 2);
	CHECK_INT(times_sent(PACKET_REFUSE), 1);
	CHECK_INT(done[place_sent(PACKET_REFUSE)].reason, REASON_STILL_DRAINING);
	active();
	p = peer_packet(PACKET_STANDBY, FSM_DRAINING, 1);
	hear_packet(&p, 0);
	CHECK_INT(fsm_switchover_check(&m, now), REASON_STILL_DRAINING);
}

static void a_draining_node_rescues_an_owner_that_cannot_serve(void)
{
	struct packet p;

	active();
	p = peer_packet(PACKET_STANDBY, FSM_DRAINING, 1);
	hear_packet(&p, 0);
	proxy_is(FSM_PROXY_DEAD);
	CHECK_INT(m.state, FSM_DRAINING);
	draining();
	p = peer_packet(PACKET_RELEASE, FSM_DRAINING, 2);
	p.reason = REASON_PROXY_DEAD;
	hear_packet(&p, 0);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(m.epoch, 3);
	CHECK(place(FSM_DO_CLEAR_DRAIN) < place_sent(PACKET_CLAIM));
	CHECK_INT(times_done(FSM_DO_LOAD_RULES), 0);
	CHECK_INT(times_done(FSM_DO_TICKLE), 1);
}

/* --- time and strangers --------------------------------------------------------------------- */

static void an_owner_whose_clock_stood_still_fences_first(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_PAUSED, .age_ns = 100 * MS});
	CHECK_INT(m.state, FSM_ACTIVE);
	forget();
	give((struct fsm_event){.kind = FSM_EV_PAUSED, .age_ns = 3 * NS_PER_S});
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_PAUSED);
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 0);
	CHECK_INT(times_sent(PACKET_ACTIVE), 0);
	CHECK_INT(done[0].kind, FSM_DO_REMOVE_ADDRESSES);
}

static void evidence_from_before_a_pause_does_not_count(void)
{
	standby();
	pass(320 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	give((struct fsm_event){.kind = FSM_EV_PAUSED, .age_ns = NS_PER_S});
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_PAUSED);
}

static void a_stranger_who_answers_is_a_conflict(void)
{
	standby();
	pass(310 * MS);
	give((struct fsm_event){.kind = FSM_EV_PROBE_ANSWERED, .good = false});
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_ADDRESS_CONFLICT);
	CHECK(fsm_alarm_on(&m, FSM_ALARM_CONFLICT));
	CHECK(!fsm_alarm_on(&m, FSM_ALARM_HELD));
	pass(600 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK(!fsm_alarm_on(&m, FSM_ALARM_CONFLICT));
}

/* --- the gateway and the fence --------------------------------------------------------------- */

static void who_lost_its_fence_gives_the_address_to_a_peer_that_can_take_it(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_FENCE, .good = false});
	CHECK_INT(m.state, FSM_DRAINING);
	CHECK_INT(done[place_sent(PACKET_RELEASE)].reason, REASON_NO_FENCE);
	CHECK(place(FSM_DO_REMOVE_ADDRESSES) < place_sent(PACKET_RELEASE));
}

static void a_lost_gateway_moves_the_address_to_a_peer_that_has_it(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_GATEWAY, .good = false});
	pass_hearing(950 * MS, PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_ACTIVE); /* the peer may miss it in a moment too */
	pass_hearing(100 * MS, PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_DRAINING);
	CHECK_INT(done[place_sent(PACKET_RELEASE)].reason, REASON_GATEWAY_LOST);
}

static void a_proxy_that_dies_without_a_gateway_moves_the_address_at_once(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_GATEWAY, .good = false});
	proxy_is(FSM_PROXY_DEAD);
	CHECK_INT(m.state, FSM_DRAINING);
	CHECK_INT(done[place_sent(PACKET_RELEASE)].reason, REASON_PROXY_DEAD);
}

static void a_gateway_that_both_lost_moves_nothing(void)
{
	struct packet p;

	active();
	give((struct fsm_event){.kind = FSM_EV_GATEWAY, .good = false});
	pass_hearing(700 * MS, PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK(!fsm_alarm_on(&m, FSM_ALARM_CANNOT_SERVE));
	for (int i = 0; i < 15; i++) {
		pass(50 * MS);
		p = peer_packet(PACKET_STANDBY, FSM_FAULT, 1);
		p.flags = PACKET_PROXY_OK;
		p.health = 0;
		hear_packet(&p, 10 * MS);
	}
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK(fsm_alarm_on(&m, FSM_ALARM_CANNOT_SERVE));
}

static const struct test_case cases[] = {
	TEST(a_claim_waits_for_the_witness),
	TEST(a_refusal_of_the_witness_ends_the_claim),
	TEST(a_silent_witness_means_no_claim),
	TEST(an_answer_to_an_earlier_question_does_not_count),
	TEST(a_release_needs_no_witness),
	TEST(an_owner_whom_neither_peer_nor_witness_hears_lets_go),
	TEST(a_witness_that_a_reload_adds_has_a_lease_to_hear_the_owner),
	TEST(a_peer_that_is_heard_but_does_not_hear_us_vouches_for_nothing),
	TEST(a_silent_peer_is_fenced_after_the_probe_and_before_the_claim),
	TEST(after_a_slow_fence_hook_the_network_is_asked_again),
	TEST(what_a_reload_asks_for_in_mid_claim_is_waited_for),
	TEST(a_promise_that_is_about_to_end_is_asked_for_again),
	TEST(a_failed_fence_hook_means_no_claim),
	TEST(an_owner_that_is_heard_during_the_fence_hook_keeps_it),
	TEST(nobody_is_fenced_who_answers_or_lives),
	TEST(nothing_is_announced_before_the_claim_hook_is_done),
	TEST(a_failed_claim_hook_gives_the_address_up),
	TEST(a_dead_hosts_clients_are_told_at_once),
	TEST(a_living_hosts_clients_are_left_alone),
	TEST(a_host_that_answers_late_is_no_dead_one),
	TEST(a_host_that_dies_after_its_agent_is_noticed),
	TEST(who_is_left_at_the_drain_limit_is_told),
	TEST(a_release_of_a_living_proxy_loads_the_rules_first),
	TEST(a_release_from_before_the_peers_probe_is_void),
	TEST(a_release_is_not_repeated_once_the_peer_has_claimed_since),
	TEST(a_dead_proxys_clients_are_told_though_its_host_lives),
	TEST(a_move_back_waits_until_the_connections_are_finished),
	TEST(a_draining_node_rescues_an_owner_that_cannot_serve),
	TEST(an_owner_whose_clock_stood_still_fences_first),
	TEST(evidence_from_before_a_pause_does_not_count),
	TEST(a_stranger_who_answers_is_a_conflict),
	TEST(who_lost_its_fence_gives_the_address_to_a_peer_that_can_take_it),
	TEST(a_lost_gateway_moves_the_address_to_a_peer_that_has_it),
	TEST(a_proxy_that_dies_without_a_gateway_moves_the_address_at_once),
	TEST(a_gateway_that_both_lost_moves_nothing),
};
TESTS_MAIN("fsm_claims", cases)
