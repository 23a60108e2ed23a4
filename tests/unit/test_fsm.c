/*
 * The state machine, a sentence at a time: one machine, events by hand, its actions looked at.
 * (Two machines against each other are the simulator's business: tests/sim.)
 */
#include "failover/core/fsm.h"

#include "tests/unit/fsm_rig.h"

/* --- boot ----------------------------------------------------------------------------------- */

static void nothing_happens_before_all_is_good_for_a_second(void)
{
	now = START;
	auto_results = true;
	fsm_init(&m, &(struct fsm_config){.times = times_of(TIMES_default), .node = 1, .group = 51},
		0, now);
	tick();
	give((struct fsm_event){.kind = FSM_EV_LINK, .good = true});
	give((struct fsm_event){.kind = FSM_EV_GATEWAY, .good = true});
	pass(5 * NS_PER_S);
	CHECK_INT(m.state, FSM_INIT);
	proxy_is(FSM_PROXY_OK);
	pass(999 * MS);
	CHECK_INT(m.state, FSM_INIT);
	proxy_is(FSM_PROXY_DEAD);
	proxy_is(FSM_PROXY_OK);
	pass(999 * MS);
	CHECK_INT(m.state, FSM_INIT);
	pass(60 * MS);
	CHECK(m.state != FSM_INIT);
}

static void a_single_box_claims_after_the_probe(void)
{
	struct fsm_config config = pair();

	config.peer = 0;
	begin_with(config);
	pass(1010 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	CHECK_INT(m.reason, REASON_NO_PEER);
	pass(60 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(m.epoch, 1);
}

static void the_preferred_of_two_at_boot_does_not_wait(void)
{
	struct fsm_config config = pair();

	config.prefer = 1;
	begin_with(config);
	pass_hearing(1450 * MS, PACKET_STANDBY, FSM_STANDBY, 0);
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void the_second_of_two_at_boot_waits(void)
{
	begin_with(pair()); /* node 1: the lower id */
	pass_hearing(2000 * MS, PACKET_STANDBY, FSM_STANDBY, 0);
	CHECK_INT(m.state, FSM_STANDBY);
	/* But not for ever: the first may be unable for a reason of its own. */
	pass_hearing(700 * MS, PACKET_STANDBY, FSM_STANDBY, 0);
	CHECK_INT(m.state, FSM_ACTIVE);
}

/* --- taking --------------------------------------------------------------------------------- */

static void backup_takes_over_after_silence(void)
{
	standby();
	pass(299 * MS);
	CHECK_INT(m.state, FSM_STANDBY);
	pass(10 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	CHECK_INT(m.reason, REASON_PEER_SILENT);
	CHECK_INT(times_done(FSM_DO_ADD_ADDRESSES), 0);
	pass(50 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(m.epoch, 6);
	CHECK(place(FSM_DO_PROBE_START) < place_sent(PACKET_CLAIM));
	CHECK(place_sent(PACKET_CLAIM) < place(FSM_DO_ADD_ADDRESSES));
	CHECK(place(FSM_DO_ADD_ADDRESSES) < place(FSM_DO_ANNOUNCE));
}

static void an_owner_with_a_longer_lease_than_ours_is_waited_for(void)
{
	struct packet p;

	standby();
	p = peer_packet(PACKET_ACTIVE, FSM_ACTIVE, 5);
	p.lease_left_ms = 1000;
	hear_packet(&p, 0);
	pass(1014 * MS);
	CHECK_INT(m.state, FSM_STANDBY);
	pass(2 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	/* Not longer than any lease can be, nor once it has let go. */
	standby();
	p.boot_id++;
	p.lease_left_ms = UINT32_MAX;
	hear_packet(&p, 0);
	pass(59900 * MS);
	CHECK_INT(m.state, FSM_STANDBY);
	pass(200 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	standby();
	p.sent_ns = now;
	p.boot_id++;
	hear_packet(&p, 0);
	hear(PACKET_STANDBY, FSM_FAULT, 5);
	pass(301 * MS);
	CHECK_INT(m.state, FSM_PROBING);
}

static void a_claim_says_how_long_its_lease_is(void)
{
	struct packet p;

	standby();
	pass(310 * MS);
	pass(60 * MS);
	CHECK(place_sent(PACKET_CLAIM) >= 0);
	fsm_packet(&m, &done[place_sent(PACKET_CLAIM)], now, &p);
	CHECK_INT(p.lease_left_ms, 250);
}

static void an_owner_on_any_path_keeps_the_backup_quiet(void)
{
	standby();
	for (int i = 0; i < 40; i++) {
		struct packet p;

		pass(250 * MS);
		p = peer_packet(PACKET_ACTIVE, FSM_ACTIVE, 5);
		give((struct fsm_event){.kind = FSM_EV_PACKET, .packet = &p, .path = i % 2});
		CHECK_INT(m.state, FSM_STANDBY);
	}
}

static void the_epoch_is_on_disk_before_the_claim(void)
{
	standby();
	CHECK_INT(m.stored_epoch, 6); /* stored ahead of need */
	auto_results = false;
	hear(PACKET_ACTIVE, FSM_ACTIVE, 9);
	CHECK_INT(m.storing_epoch, 10);
	pass(310 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	give((struct fsm_event){.kind = FSM_EV_PROBE_SENT});
	give((struct fsm_event){.kind = FSM_EV_RULES_LOADED});
	pass(60 * MS);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	give((struct fsm_event){.kind = FSM_EV_EPOCH_STORED, .epoch = 10});
	tick();
	CHECK_INT(times_sent(PACKET_CLAIM), 1);
	CHECK_INT(m.epoch, 10);
}

static void no_disk_no_claim_and_an_alarm(void)
{
	standby();
	auto_results = false;
	hear(PACKET_ACTIVE, FSM_ACTIVE, 9);
	give((struct fsm_event){.kind = FSM_EV_EPOCH_FAILED});
	CHECK(fsm_alarm_on(&m, FSM_ALARM_EPOCH));
	pass(900 * MS);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	auto_results = true;
	pass(600 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK(!fsm_alarm_on(&m, FSM_ALARM_EPOCH));
}

static void an_answered_probe_holds_the_claim(void)
{
	standby();
	pass(310 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	give((struct fsm_event){.kind = FSM_EV_PROBE_ANSWERED, .good = true});
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK(fsm_alarm_on(&m, FSM_ALARM_HELD));
	CHECK_INT(times_done(FSM_DO_PROBE_STOP), 1);
	pass(449 * MS); /* a silence and a half: this node is the second by rank */
	CHECK_INT(m.state, FSM_STANDBY);
	pass(2 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	hear(PACKET_ACTIVE, FSM_ACTIVE, 5);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK(!fsm_alarm_on(&m, FSM_ALARM_HELD));
}

static void a_probe_that_was_not_sent_proves_nothing(void)
{
	standby();
	auto_results = false;
	pass(310 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	give((struct fsm_event){.kind = FSM_EV_PROBE_FAILED});
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
}

static void the_wait_begins_when_the_probe_leaves(void)
{
	standby();
	auto_results = false;
	pass(310 * MS);
	give((struct fsm_event){.kind = FSM_EV_RULES_LOADED});
	pass(40 * MS);
	give((struct fsm_event){.kind = FSM_EV_PROBE_SENT});
	pass(49 * MS);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	pass(2 * MS);
	CHECK_INT(times_sent(PACKET_CLAIM), 1);
}

static void two_that_probe_at_once_both_retreat(void)
{
	standby();
	pass(310 * MS);
	give((struct fsm_event){.kind = FSM_EV_PEER_PROBE, .good = true});
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_PEER_PROBING);
	CHECK(!fsm_alarm_on(&m, FSM_ALARM_CONFLICT));
}

static void a_stranger_who_keeps_asking_is_a_conflict(void)
{
	standby();
	pass(310 * MS);
	give((struct fsm_event){.kind = FSM_EV_PEER_PROBE});
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK(fsm_alarm_on(&m, FSM_ALARM_CONFLICT));
	pass_hearing(9900 * MS, PACKET_ACTIVE, FSM_ACTIVE, 5);
	CHECK(fsm_alarm_on(&m, FSM_ALARM_CONFLICT));
	pass_hearing(200 * MS, PACKET_ACTIVE, FSM_ACTIVE, 5);
	CHECK(!fsm_alarm_on(&m, FSM_ALARM_CONFLICT));
	active(); /* our kernel answers it, and no harm is done */
	give((struct fsm_event){.kind = FSM_EV_PEER_PROBE});
	CHECK(!fsm_alarm_on(&m, FSM_ALARM_CONFLICT));
}

static void a_backup_lets_the_peers_probe_finish(void)
{
	standby();
	pass(295 * MS);
	give((struct fsm_event){.kind = FSM_EV_PEER_PROBE, .good = true});
	pass(149 * MS);
	CHECK_INT(m.state, FSM_STANDBY);
	pass(2 * MS);
	CHECK_INT(m.state, FSM_PROBING);
}

static void a_claim_is_not_made_on_stale_evidence(void)
{
	standby();
	pass(310 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	now += 160 * MS; /* the window is 150 ms */
	give((struct fsm_event){.kind = FSM_EV_GATEWAY, .good = true});
	CHECK_INT(times_done(FSM_DO_PROBE_START), 1); /* the queues may hold an answer */
	tick();
	CHECK_INT(m.state, FSM_PROBING);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	CHECK_INT(times_done(FSM_DO_OPEN_CLAIM), 2);
	CHECK_INT(times_done(FSM_DO_PROBE_START), 2);
	CHECK_INT(times_done(FSM_DO_LOAD_RULES), 1); /* that is done */
	pass(49 * MS);
	CHECK_INT(times_sent(PACKET_CLAIM), 0);
	pass(2 * MS);
	CHECK_INT(times_sent(PACKET_CLAIM), 1);
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void who_slept_longer_than_the_silence_while_asking_listens_anew(void)
{
	standby();
	pass(310 * MS);
	CHECK_INT(m.state, FSM_PROBING);
	now = m.next_ns + 300 * MS + 1;
	tick();
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_FROZEN);
	pass(299 * MS);
	CHECK_INT(times_done(FSM_DO_PROBE_START), 1);
}

/* Not even an epoch is used up, however long that lasts. */
static void without_a_fence_nothing_is_claimed(void)
{
	standby();
	give((struct fsm_event){.kind = FSM_EV_FENCE, .good = false});
	CHECK_INT(m.state, FSM_FAULT);
	CHECK_INT(m.reason, REASON_NO_FENCE);
	pass(60 * NS_PER_S);
	CHECK_INT(m.state, FSM_FAULT);
	CHECK_INT(m.epoch, 5);
	give((struct fsm_event){.kind = FSM_EV_FENCE, .good = true});
	pass(400 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(m.epoch, 6);
}

static void a_claim_that_left_too_late_does_not_count(void)
{
	standby();
	pass(310 * MS);
	auto_results = false;
	pass(50 * MS);
	CHECK_INT(times_sent(PACKET_CLAIM), 1);
	now += 120 * MS;
	give((struct fsm_event){.kind = FSM_EV_CLAIMED});
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(times_done(FSM_DO_ADD_ADDRESSES), 0);
	CHECK_INT(times_done(FSM_DO_REMOVE_ADDRESSES), 1); /* of the lease that the kernel gave */
}

static void a_refused_claim_ends_in_standby(void)
{
	standby();
	pass(310 * MS);
	auto_results = false;
	pass(50 * MS);
	give((struct fsm_event){.kind = FSM_EV_CLAIM_REFUSED});
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_CLAIM_REFUSED);
}

static void silence_during_a_freeze_of_ours_does_not_count(void)
{
	standby();
	now += 10 * NS_PER_S;
	tick();
	CHECK_INT(m.state, FSM_STANDBY);
	pass(299 * MS);
	CHECK_INT(m.state, FSM_STANDBY);
	pass(60 * MS);
	CHECK(m.state != FSM_STANDBY);
}

static void a_node_that_cannot_serve_never_claims(void)
{
	standby();
	proxy_is(FSM_PROXY_HUNG);
	CHECK_INT(m.state, FSM_FAULT);
	pass(10 * NS_PER_S);
	CHECK_INT(m.state, FSM_FAULT);
	CHECK_INT(times_done(FSM_DO_PROBE_START), 0);
}

static void a_frozen_backup_never_claims(void)
{
	standby();
	give((struct fsm_event){.kind = FSM_EV_FREEZE, .until_ns = now + 20 * NS_PER_S});
	pass(19 * NS_PER_S);
	CHECK_INT(m.state, FSM_STANDBY);
	pass(2 * NS_PER_S);
	CHECK_INT(m.state, FSM_ACTIVE);
}

/* --- RELEASE -------------------------------------------------------------------------------- */

static void a_release_is_taken_at_once(void)
{
	uint64_t before;

	standby();
	before = now;
	hear(PACKET_RELEASE, FSM_DRAINING, 5);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(m.reason, REASON_PEER_RELEASED);
	CHECK_INT(now - before, 0);
	CHECK_INT(m.epoch, 6);
	CHECK_INT(times_done(FSM_DO_PROBE_START), 0);
	CHECK_INT(times_done(FSM_DO_TICKLE), 0);
}

static void a_dead_proxys_clients_are_told_after_its_release(void)
{
	struct packet p;

	standby();
	p = peer_packet(PACKET_RELEASE, FSM_DRAINING, 5);
	p.reason = REASON_PROXY_DEAD;
	hear_packet(&p, 10 * MS);
	CHECK_INT(times_done(FSM_DO_TICKLE), 1);
	CHECK(place(FSM_DO_ADD_ADDRESSES) < place(FSM_DO_TICKLE));
}

static void an_old_release_needs_a_probe_like_anything_else(void)
{
	struct packet p;

	standby();
	p = peer_packet(PACKET_RELEASE, FSM_DRAINING, 5);
	hear_packet(&p, 251 * MS);
	CHECK_INT(m.state, FSM_STANDBY);
	p = peer_packet(PACKET_RELEASE, FSM_DRAINING, 5);
	hear_packet(&p, UINT64_MAX);
	CHECK_INT(m.state, FSM_STANDBY);
}

static void a_release_of_an_earlier_epoch_is_ignored(void)
{
	standby();
	hear(PACKET_RELEASE, FSM_DRAINING, 4);
	CHECK_INT(m.state, FSM_STANDBY);
}

static void a_packet_that_another_path_overtook_is_ignored(void)
{
	struct packet late;

	standby();
	late = peer_packet(PACKET_RELEASE, FSM_DRAINING, 5);
	pass(20 * MS);
	hear(PACKET_ACTIVE, FSM_ACTIVE, 5);
	hear_packet(&late, 20 * MS);
	CHECK_INT(m.state, FSM_STANDBY);
}

static void a_release_is_not_taken_by_a_node_that_cannot_serve(void)
{
	standby();
	proxy_is(FSM_PROXY_DEAD);
	hear(PACKET_RELEASE, FSM_DRAINING, 5);
	CHECK_INT(m.state, FSM_FAULT);
}

static void prepare_is_answered_when_the_rules_are_loaded(void)
{
	standby();
	auto_results = false;
	hear(PACKET_PREPARE, FSM_HANDOVER, 5);
	CHECK_INT(times_done(FSM_DO_LOAD_RULES), 1);
	CHECK_INT(times_sent(PACKET_READY), 0);
	give((struct fsm_event){.kind = FSM_EV_RULES_LOADED});
	CHECK_INT(times_sent(PACKET_READY), 1);
	pass_hearing(1100 * MS, PACKET_ACTIVE, FSM_ACTIVE, 5);
	CHECK_INT(times_done(FSM_DO_UNLOAD_RULES), 1);
}

static void prepare_is_refused_when_it_cannot_be_followed(void)
{
	standby();
	auto_results = false;
	hear(PACKET_PREPARE, FSM_HANDOVER, 5);
	give((struct fsm_event){.kind = FSM_EV_RULES_FAILED});
	CHECK_INT(times_sent(PACKET_REFUSE), 1);
	give((struct fsm_event){.kind = FSM_EV_FREEZE});
	hear(PACKET_PREPARE, FSM_HANDOVER, 5);
	CHECK_INT(times_sent(PACKET_REFUSE), 2);
	CHECK_INT(times_sent(PACKET_READY), 0);
}

/* --- having --------------------------------------------------------------------------------- */

static void the_address_is_announced_three_times_and_refreshed(void)
{
	begin_with(pair());
	pass(1000 * MS);
	while (m.state != FSM_ACTIVE)
		pass(MS);
	forget();
	CHECK_INT(m.announce_left, 2);
	pass(101 * MS);
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 1);
	pass(900 * MS);
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 2);
	CHECK_INT(times_done(FSM_DO_REFRESH_ADDRESSES), 2);
	pass(1000 * MS);
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 2);
	CHECK_INT(times_done(FSM_DO_REFRESH_ADDRESSES), 4);
}

static void an_owner_that_slept_longer_than_its_lease_lets_go(void)
{
	active();
	now = m.sent_ns + 250 * MS + 1;
	tick();
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_FROZEN);
	CHECK_INT(times_sent(PACKET_ACTIVE), 0);
	CHECK(place(FSM_DO_REMOVE_ADDRESSES) < place_sent(PACKET_RELEASE));
}

static void an_owner_that_slept_a_little_less_keeps_it(void)
{
	active();
	now = m.sent_ns + 250 * MS;
	tick();
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void a_later_claim_wins(void)
{
	active();
	hear(PACKET_ACTIVE, FSM_ACTIVE, 2);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_PEER_WINS);
	CHECK_INT(times_done(FSM_DO_REMOVE_ADDRESSES), 1);
	CHECK_INT(times_sent(PACKET_RELEASE), 0);
}

static void at_a_tie_the_lower_node_id_lets_go(void)
{
	struct fsm_config config = pair();

	active();
	hear(PACKET_ACTIVE, FSM_ACTIVE, 1);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_TIE_YIELDED);
	config.node = 2;
	config.peer = 1;
	active_of(config);
	hear(PACKET_ACTIVE, FSM_ACTIVE, 1);
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void the_winner_announces_when_it_meets_the_loser(void)
{
	active();
	pass_hearing(1200 * MS, PACKET_STANDBY, FSM_STANDBY, 1);
	forget();
	hear(PACKET_ACTIVE, FSM_ACTIVE, 0);
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 1);
	CHECK_INT(times_sent(PACKET_ACTIVE), 1); /* at once: the loser should know */
	hear(PACKET_ACTIVE, FSM_ACTIVE, 0);
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 1);
	hear(PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 2);
	pass_hearing(1200 * MS, PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 4);
}

static void an_owner_that_lost_its_disk_goes_past_the_peers_epoch(void)
{
	active();
	hear(PACKET_STANDBY, FSM_STANDBY, 9);
	tick();
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(m.epoch, 10);
	CHECK_INT(m.stored_epoch, 10);
}

static void a_deleted_address_is_back_within_one_event(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_ADDRESS_DELETED});
	CHECK_INT(times_done(FSM_DO_ADD_ADDRESSES), 1);
	CHECK(m.address);
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 1);
}

static void an_address_that_cannot_be_added_is_a_fault(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_ADDRESS_FAILED});
	CHECK_INT(m.state, FSM_FAULT);
	CHECK(place(FSM_DO_REMOVE_ADDRESSES) < place_sent(PACKET_RELEASE));
}

static void a_conflict_is_alarmed_and_answered_once(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_ADDRESS_CONFLICT});
	give((struct fsm_event){.kind = FSM_EV_ADDRESS_CONFLICT});
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK(fsm_alarm_on(&m, FSM_ALARM_CONFLICT));
	CHECK_INT(times_done(FSM_DO_ANNOUNCE), 1);
	pass_hearing(11 * NS_PER_S, PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK(!fsm_alarm_on(&m, FSM_ALARM_CONFLICT));
}

static void a_lost_lease_is_the_end_of_it(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_LEASE_REFUSED});
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_LEASE_LOST);
}

static void a_lost_link_fences_first_and_then_says_so(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_LINK, .good = false});
	CHECK_INT(m.state, FSM_FAULT);
	CHECK(place(FSM_DO_REMOVE_ADDRESSES) >= 0);
	CHECK(place(FSM_DO_REMOVE_ADDRESSES) < place_sent(PACKET_RELEASE));
}

/* --- giving --------------------------------------------------------------------------------- */

static void a_dead_proxy_hands_over_at_once(void)
{
	uint64_t before;

	active();
	before = now;
	proxy_is(FSM_PROXY_DEAD);
	CHECK_INT(m.state, FSM_DRAINING);
	CHECK_INT(now - before, 0);
	CHECK_INT(times_sent(PACKET_PREPARE), 0);
	CHECK(place(FSM_DO_REMOVE_ADDRESSES) >= 0);
	CHECK(place(FSM_DO_REMOVE_ADDRESSES) < place_sent(PACKET_RELEASE));
	CHECK_INT(done[place_sent(PACKET_RELEASE)].reason, REASON_PROXY_DEAD);
}

static void a_dead_proxy_stays_when_the_peer_cannot_serve(void)
{
	struct packet p;

	active();
	p = peer_packet(PACKET_STANDBY, FSM_FAULT, 1);
	p.health = 0;
	hear_packet(&p, 0);
	proxy_is(FSM_PROXY_DEAD);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK(fsm_alarm_on(&m, FSM_ALARM_CANNOT_SERVE));
	/* And goes as soon as it can. */
	hear(PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_DRAINING);
	CHECK(!fsm_alarm_on(&m, FSM_ALARM_CANNOT_SERVE));
}

static void a_planned_move_waits_for_ready(void)
{
	active();
	CHECK_INT(fsm_switchover_check(&m, now), REASON_NONE);
	give((struct fsm_event){.kind = FSM_EV_SWITCHOVER});
	CHECK_INT(m.state, FSM_HANDOVER);
	CHECK_INT(times_sent(PACKET_PREPARE), 1);
	CHECK_INT(times_done(FSM_DO_REMOVE_ADDRESSES), 0);
	hear(PACKET_READY, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_DRAINING);
	CHECK(place(FSM_DO_SET_DRAIN) < place(FSM_DO_REMOVE_ADDRESSES));
	CHECK(place(FSM_DO_REMOVE_ADDRESSES) < place_sent(PACKET_RELEASE));
}

static void without_ready_the_owner_keeps_it(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_SWITCHOVER});
	pass_hearing(190 * MS, PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_HANDOVER);
	pass(20 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(m.reason, REASON_NOT_READY);
	CHECK_INT(times_done(FSM_DO_REMOVE_ADDRESSES), 0);
}

static void a_refusal_ends_the_move_at_once(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_SWITCHOVER});
	hear(PACKET_REFUSE, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(m.reason, REASON_PEER_REFUSED);
}

static void the_backup_can_ask_for_the_address(void)
{
	struct packet p;

	standby();
	CHECK_INT(fsm_switchover_check(&m, now), REASON_NONE);
	give((struct fsm_event){.kind = FSM_EV_SWITCHOVER});
	fsm_packet(
		&m, &(struct fsm_action){.kind = FSM_DO_SEND, .packet = PACKET_STANDBY}, now, &p);
	CHECK(p.flags & PACKET_WANT_RELEASE);
	pass_hearing(6 * NS_PER_S, PACKET_ACTIVE, FSM_ACTIVE, 5);
	fsm_packet(
		&m, &(struct fsm_action){.kind = FSM_DO_SEND, .packet = PACKET_STANDBY}, now, &p);
	CHECK(!(p.flags & PACKET_WANT_RELEASE));

	active();
	p = peer_packet(PACKET_STANDBY, FSM_STANDBY, 1);
	p.flags |= PACKET_WANT_RELEASE;
	hear_packet(&p, 0);
	CHECK_INT(m.state, FSM_HANDOVER);
	CHECK_INT(m.reason, REASON_PEER_WANTS);
}

static void a_switchover_that_cannot_be_is_refused_with_the_reason(void)
{
	struct fsm_config config = pair();

	config.peer = 0;
	active_of(config);
	CHECK_INT(fsm_switchover_check(&m, now), REASON_PEER_CANNOT);
	give((struct fsm_event){.kind = FSM_EV_SWITCHOVER});
	CHECK_INT(m.state, FSM_ACTIVE);
	active();
	pass(400 * MS);
	CHECK_INT(fsm_switchover_check(&m, now), REASON_PEER_CANNOT);
	give((struct fsm_event){.kind = FSM_EV_FREEZE});
	CHECK_INT(fsm_switchover_check(&m, now), REASON_FROZEN_BY_OPERATOR);
}

static void a_frozen_owner_stays_with_a_dead_proxy(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_FREEZE});
	proxy_is(FSM_PROXY_DEAD);
	pass_hearing(1000 * MS, PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_ACTIVE);
	hear(PACKET_ACTIVE, FSM_ACTIVE, 2); /* but it loses like any other */
	CHECK(m.state != FSM_ACTIVE);
}

static void failback_waits_until_the_preferred_peer_was_good_for_long_enough(void)
{
	struct fsm_config config = pair();

	config.prefer = 2;
	config.failback_ns = 5 * NS_PER_S;
	active_of(config);
	pass_hearing(4800 * MS, PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_ACTIVE);
	hear(PACKET_STANDBY, FSM_FAULT, 1); /* a flap begins it anew */
	pass_hearing(4800 * MS, PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_ACTIVE);
	pass_hearing(300 * MS, PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_HANDOVER);
	CHECK_INT(m.reason, REASON_FAILBACK);
}

static void manual_failback_never_happens_by_itself(void)
{
	struct fsm_config config = pair();

	config.prefer = 2;
	active_of(config);
	pass_hearing(100 * NS_PER_S, PACKET_STANDBY, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void release_is_repeated_until_the_peer_has_it(void)
{
	active();
	proxy_is(FSM_PROXY_DEAD);
	pass(110 * MS);
	CHECK_INT(times_sent(PACKET_RELEASE), 3);
	hear(PACKET_CLAIM, FSM_PROBING, 2);
	forget();
	pass(200 * MS);
	CHECK_INT(times_sent(PACKET_RELEASE), 0);
}

static void an_address_that_is_stuck_is_not_released(void)
{
	active();
	auto_results = false;
	proxy_is(FSM_PROXY_DEAD);
	give((struct fsm_event){.kind = FSM_EV_ADDRESS_STUCK});
	pass(500 * MS);
	CHECK_INT(times_sent(PACKET_RELEASE), 0);
	CHECK(fsm_alarm_on(&m, FSM_ALARM_STUCK));
}

static void draining_ends_when_the_last_connection_is_gone(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_SWITCHOVER});
	hear(PACKET_READY, FSM_STANDBY, 1);
	pass_hearing(1000 * MS, PACKET_ACTIVE, FSM_ACTIVE, 2);
	CHECK_INT(m.state, FSM_DRAINING);
	give((struct fsm_event){.kind = FSM_EV_DRAINED});
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(times_sent(PACKET_DRAINED), 1);
	CHECK_INT(times_done(FSM_DO_CLEAR_DRAIN), 1);
}

static void draining_ends_at_its_limit(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_SWITCHOVER});
	hear(PACKET_READY, FSM_STANDBY, 1);
	pass_hearing(2100 * MS, PACKET_ACTIVE, FSM_ACTIVE, 2);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_DRAIN_TIMEOUT);
}

static void a_stop_drains_no_longer_than_its_own_limit(void)
{
	active();
	m.config.stop_drain_ns = 500 * MS;
	give((struct fsm_event){.kind = FSM_EV_SWITCHOVER});
	hear(PACKET_READY, FSM_STANDBY, 1);
	pass_hearing(100 * MS, PACKET_ACTIVE, FSM_ACTIVE, 2);
	CHECK_INT(m.state, FSM_DRAINING);
	give((struct fsm_event){.kind = FSM_EV_STOP});
	pass_hearing(400 * MS, PACKET_ACTIVE, FSM_ACTIVE, 2);
	CHECK_INT(m.state, FSM_DRAINING);
	pass_hearing(200 * MS, PACKET_ACTIVE, FSM_ACTIVE, 2);
	CHECK_INT(m.reason, REASON_DRAIN_TIMEOUT);
	CHECK_INT(times_done(FSM_DO_STOPPED), 1);
}

static void a_stop_drains_on_while_the_new_owner_is_silent(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_STOP});
	hear(PACKET_READY, FSM_STANDBY, 1);
	hear(PACKET_ACTIVE, FSM_ACTIVE, 2);
	pass(600 * MS);
	hear(PACKET_RELEASE, FSM_STANDBY, 2); /* it stood still, and will take it again */
	pass(400 * MS);
	CHECK_INT(m.state, FSM_DRAINING);
	CHECK_INT(times_done(FSM_DO_STOPPED), 0);
	give((struct fsm_event){.kind = FSM_EV_DRAINED});
	CHECK_INT(times_done(FSM_DO_STOPPED), 1);
}

static void a_stop_does_not_wait_for_what_nobody_took(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_STOP});
	hear(PACKET_READY, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_DRAINING);
	pass(500 * MS);
	CHECK_INT(times_done(FSM_DO_STOPPED), 1);
}

static void shorter_times_of_a_reload_cost_no_lease(void)
{
	struct fsm_config config = pair();

	active();
	now = m.sent_ns + 48 * MS;
	config.times = times_of(TIMES_fast);
	fsm_configure(&m, &config, now);
	CHECK(m.beat_ns <= now + 10 * MS);
	tick();
	CHECK_INT(m.state, FSM_ACTIVE);
	pass(NS_PER_S);
	CHECK_INT(m.state, FSM_ACTIVE);
	now += 50 * MS;
	tick();
	CHECK_INT(m.reason, REASON_FROZEN);
}

static void longer_times_of_a_reload_save_no_lease(void)
{
	struct fsm_config config = pair();

	active();
	config.times = times_of(TIMES_relaxed);
	now = m.sent_ns + 260 * MS;
	fsm_configure(&m, &config, now);
	tick();
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(m.reason, REASON_FROZEN);
}

static void an_address_that_nobody_took_comes_back(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_SWITCHOVER});
	hear(PACKET_READY, FSM_STANDBY, 1);
	CHECK_INT(m.state, FSM_DRAINING);
	pass(1000 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(m.epoch, 2);
}

static void a_stop_hands_over_and_then_ends(void)
{
	active();
	give((struct fsm_event){.kind = FSM_EV_STOP});
	CHECK_INT(m.state, FSM_HANDOVER);
	hear(PACKET_READY, FSM_STANDBY, 1);
	hear(PACKET_CLAIM, FSM_PROBING, 2);
	CHECK_INT(times_done(FSM_DO_STOPPED), 0);
	give((struct fsm_event){.kind = FSM_EV_DRAINED});
	CHECK_INT(times_done(FSM_DO_STOPPED), 1);
	CHECK(place(FSM_DO_REMOVE_ADDRESSES) < place(FSM_DO_STOPPED));
}

static void a_stop_without_a_peer_just_lets_go(void)
{
	struct fsm_config config = pair();

	config.peer = 0;
	active_of(config);
	give((struct fsm_event){.kind = FSM_EV_STOP});
	CHECK(place(FSM_DO_REMOVE_ADDRESSES) >= 0);
	give((struct fsm_event){.kind = FSM_EV_DRAINED});
	CHECK_INT(times_done(FSM_DO_STOPPED), 1);
	forget();
	pass(5 * NS_PER_S);
	CHECK_INT(times_done(FSM_DO_STOPPED), 0);
	CHECK_INT(times_done(FSM_DO_PROBE_START), 0);
}

static void a_stop_of_a_backup_is_immediate(void)
{
	standby();
	give((struct fsm_event){.kind = FSM_EV_STOP});
	CHECK_INT(times_done(FSM_DO_STOPPED), 1);
}

/* --- FAULT ---------------------------------------------------------------------------------- */

static void a_fault_is_held_down_while_the_peer_serves(void)
{
	standby();
	proxy_is(FSM_PROXY_DEAD);
	proxy_is(FSM_PROXY_OK);
	pass_hearing(950 * MS, PACKET_ACTIVE, FSM_ACTIVE, 5);
	CHECK_INT(m.state, FSM_FAULT);
	pass_hearing(100 * MS, PACKET_ACTIVE, FSM_ACTIVE, 5);
	CHECK_INT(m.state, FSM_STANDBY);
	proxy_is(FSM_PROXY_DEAD);
	proxy_is(FSM_PROXY_OK);
	pass_hearing(1900 * MS, PACKET_ACTIVE, FSM_ACTIVE, 5);
	CHECK_INT(m.state, FSM_FAULT);
	pass_hearing(150 * MS, PACKET_ACTIVE, FSM_ACTIVE, 5);
	CHECK_INT(m.state, FSM_STANDBY);
}

static void hold_down_ends_when_nobody_serves(void)
{
	standby();
	for (int i = 0; i < 6; i++) { /* 32 s by now */
		proxy_is(FSM_PROXY_DEAD);
		proxy_is(FSM_PROXY_OK);
		pass_hearing(40 * NS_PER_S, PACKET_ACTIVE, FSM_ACTIVE, 5);
	}
	proxy_is(FSM_PROXY_DEAD);
	proxy_is(FSM_PROXY_OK);
	CHECK_INT(m.state, FSM_FAULT);
	pass(500 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void what_is_said_matches_what_is(void)
{
	struct fsm_action send = {.kind = FSM_DO_SEND, .packet = PACKET_ACTIVE};
	struct packet p;

	active();
	tick();
	fsm_packet(&m, &send, now, &p);
	CHECK_INT(p.state, FSM_ACTIVE);
	CHECK_INT(p.flags, PACKET_PROXY_OK | PACKET_GATEWAY_OK | PACKET_VIP_OK);
	CHECK_INT(p.health, PACKET_HEALTH_MAX);
	CHECK_INT(p.epoch, 1);
	CHECK(p.lease_left_ms >= 200 && p.lease_left_ms <= 250);
	standby();
	give((struct fsm_event){.kind = FSM_EV_GATEWAY, .good = false});
	send.packet = PACKET_STANDBY;
	fsm_packet(&m, &send, now, &p);
	CHECK_INT(p.flags, PACKET_PROXY_OK);
	CHECK_INT(p.health, 0);
	CHECK_INT(p.lease_left_ms, 0);
}

static void every_name_is_there(void)
{
	CHECK(strcmp(fsm_state_name(FSM_HANDOVER), "HANDOVER") == 0);
	CHECK(strcmp(fsm_reason_name(REASON_PEER_SILENT), "PEER_SILENT") == 0);
	CHECK(strcmp(fsm_reason_words(REASON_PEER_SILENT), "peer silent on all paths") == 0);
	CHECK(strcmp(fsm_event_name(FSM_EV_STOP), "STOP") == 0);
	CHECK(strcmp(fsm_action_name(FSM_DO_TICKLE), "TICKLE") == 0);
	CHECK(strcmp(fsm_alarm_name(FSM_ALARM_HELD), "HELD") == 0);
	CHECK(strncmp(fsm_alarm_words(FSM_ALARM_HELD), "held", 4) == 0);
	for (int r = 0; r <= (int)FSM_REASON_LAST; r++)
		CHECK(fsm_reason_name((enum fsm_reason)r) != NULL);
}

static const struct test_case cases[] = {
	TEST(nothing_happens_before_all_is_good_for_a_second),
	TEST(a_single_box_claims_after_the_probe),
	TEST(the_preferred_of_two_at_boot_does_not_wait),
	TEST(the_second_of_two_at_boot_waits),
	TEST(backup_takes_over_after_silence),
	TEST(an_owner_with_a_longer_lease_than_ours_is_waited_for),
	TEST(a_claim_says_how_long_its_lease_is),
	TEST(an_owner_on_any_path_keeps_the_backup_quiet),
	TEST(the_epoch_is_on_disk_before_the_claim),
	TEST(no_disk_no_claim_and_an_alarm),
	TEST(an_answered_probe_holds_the_claim),
	TEST(a_probe_that_was_not_sent_proves_nothing),
	TEST(the_wait_begins_when_the_probe_leaves),
	TEST(two_that_probe_at_once_both_retreat),
	TEST(a_stranger_who_keeps_asking_is_a_conflict),
	TEST(a_backup_lets_the_peers_probe_finish),
	TEST(a_claim_is_not_made_on_stale_evidence),
	TEST(who_slept_longer_than_the_silence_while_asking_listens_anew),
	TEST(without_a_fence_nothing_is_claimed),
	TEST(a_claim_that_left_too_late_does_not_count),
	TEST(a_refused_claim_ends_in_standby),
	TEST(silence_during_a_freeze_of_ours_does_not_count),
	TEST(a_node_that_cannot_serve_never_claims),
	TEST(a_frozen_backup_never_claims),
	TEST(a_release_is_taken_at_once),
	TEST(a_dead_proxys_clients_are_told_after_its_release),
	TEST(an_old_release_needs_a_probe_like_anything_else),
	TEST(a_release_of_an_earlier_epoch_is_ignored),
	TEST(a_packet_that_another_path_overtook_is_ignored),
	TEST(a_release_is_not_taken_by_a_node_that_cannot_serve),
	TEST(prepare_is_answered_when_the_rules_are_loaded),
	TEST(prepare_is_refused_when_it_cannot_be_followed),
	TEST(the_address_is_announced_three_times_and_refreshed),
	TEST(an_owner_that_slept_longer_than_its_lease_lets_go),
	TEST(an_owner_that_slept_a_little_less_keeps_it),
	TEST(a_later_claim_wins),
	TEST(at_a_tie_the_lower_node_id_lets_go),
	TEST(the_winner_announces_when_it_meets_the_loser),
	TEST(an_owner_that_lost_its_disk_goes_past_the_peers_epoch),
	TEST(a_deleted_address_is_back_within_one_event),
	TEST(an_address_that_cannot_be_added_is_a_fault),
	TEST(a_conflict_is_alarmed_and_answered_once),
	TEST(a_lost_lease_is_the_end_of_it),
	TEST(a_lost_link_fences_first_and_then_says_so),
	TEST(a_dead_proxy_hands_over_at_once),
	TEST(a_dead_proxy_stays_when_the_peer_cannot_serve),
	TEST(a_planned_move_waits_for_ready),
	TEST(without_ready_the_owner_keeps_it),
	TEST(a_refusal_ends_the_move_at_once),
	TEST(the_backup_can_ask_for_the_address),
	TEST(a_switchover_that_cannot_be_is_refused_with_the_reason),
	TEST(a_frozen_owner_stays_with_a_dead_proxy),
	TEST(failback_waits_until_the_preferred_peer_was_good_for_long_enough),
	TEST(manual_failback_never_happens_by_itself),
	TEST(release_is_repeated_until_the_peer_has_it),
	TEST(an_address_that_is_stuck_is_not_released),
	TEST(draining_ends_when_the_last_connection_is_gone),
	TEST(draining_ends_at_its_limit),
	TEST(a_stop_drains_no_longer_than_its_own_limit),
	TEST(a_stop_drains_on_while_the_new_owner_is_silent),
	TEST(a_stop_does_not_wait_for_what_nobody_took),
	TEST(shorter_times_of_a_reload_cost_no_lease),
	TEST(longer_times_of_a_reload_save_no_lease),
	TEST(an_address_that_nobody_took_comes_back),
	TEST(a_stop_hands_over_and_then_ends),
	TEST(a_stop_without_a_peer_just_lets_go),
	TEST(a_stop_of_a_backup_is_immediate),
	TEST(a_fault_is_held_down_while_the_peer_serves),
	TEST(hold_down_ends_when_nobody_serves),
	TEST(what_is_said_matches_what_is),
	TEST(every_name_is_there),
};
TESTS_MAIN("fsm", cases)
