/* The state machine of RFC 9568 section 6.4, transition by transition, and what it has beyond. */
#include "failover/core/vrrp.h"

#include "shared/units.h"
#include "tests/unit/check.h"

#define MS NS_PER_MS
#define ADVERTISE (1000 * MS)

static struct vrrp m;
static struct fsm_actions out;
static uint64_t now;

/* --- hands: what the agent does with an action --------------------------------------------------
 */
static unsigned sent_active, sent_zero, announced, refreshed, removed_before_zero;
static unsigned clients_told, told_unannounced, claims, early_addresses;
static bool has_address, stuck, unheard, refuses, told_stopped, window, lease;
static enum fsm_reason told;

static void step(enum fsm_event_kind kind);

static void perform(void)
{
	struct fsm_actions todo = out;
	enum fsm_event_kind results[FSM_ACTIONS_MAX];
	unsigned count = 0;

	for (uint32_t i = 0; i < todo.count; i++) {
		const struct fsm_action *a = &todo.list[i];

		if (a->kind == FSM_DO_OPEN_CLAIM) {
			window = a->at_ns > now;
		} else if (a->kind == FSM_DO_CLOSE_CLAIM) {
			window = false;
		} else if (a->kind == FSM_DO_SEND && a->packet == PACKET_CLAIM) {
			lease = window && !unheard && !refuses;
			claims++;
			sent_active += lease;
			results[count++] = lease ? FSM_EV_CLAIMED : FSM_EV_CLAIM_REFUSED;
		} else if (a->kind == FSM_DO_SEND && a->packet == PACKET_ACTIVE) {
			sent_active += !unheard && !refuses;
			if (refuses)
				results[count++] = FSM_EV_LEASE_REFUSED;
			else if (unheard)
				results[count++] = FSM_EV_UNHEARD;
		} else if (a->kind == FSM_DO_SEND) {
			sent_zero++;
			removed_before_zero += !has_address;
		} else if (a->kind == FSM_DO_ADD_ADDRESSES) {
			has_address = true;
			early_addresses += !lease;
			results[count++] = FSM_EV_ADDRESS_ADDED;
		} else if (a->kind == FSM_DO_REMOVE_ADDRESSES) {
			has_address = stuck;
			lease = false;
			results[count++] = stuck ? FSM_EV_ADDRESS_STUCK : FSM_EV_ADDRESS_REMOVED;
		} else if (a->kind == FSM_DO_ANNOUNCE) {
			announced++;
		} else if (a->kind == FSM_DO_REFRESH_ADDRESSES) {
			refreshed++;
		} else if (a->kind == FSM_DO_TICKLE) {
			clients_told++;
			told_unannounced += !has_address || announced == 0;
		} else if (a->kind == FSM_DO_TELL) {
			told = a->reason;
		} else if (a->kind == FSM_DO_STOPPED) {
			told_stopped = true;
		}
	}
	for (unsigned i = 0; i < count; i++)
		step(results[i]);
}

static void give(struct fsm_event ev)
{
	vrrp_step(&m, &ev, now, &out);
	perform();
}

static void step(enum fsm_event_kind kind)
{
	give((struct fsm_event){.kind = kind});
}

static void set(enum fsm_event_kind kind, bool good)
{
	give((struct fsm_event){
		.kind = kind, .good = good, .proxy = good ? FSM_PROXY_OK : FSM_PROXY_DEAD});
}

static void hear_tie(uint8_t priority, uint64_t interval_ns, enum vrrp_tie tie)
{
	struct vrrp_heard heard = {.priority = priority, .interval_ns = interval_ns, .tie = tie};

	vrrp_hear(&m, &heard, now, &out);
	perform();
}

static void hear(uint8_t priority)
{
	hear_tie(priority, ADVERTISE, VRRP_TIE_OURS);
}

/* Time goes by, with a tick whenever the machine asked for one. */
static void pass(uint64_t ns)
{
	uint64_t end = now + ns;

	while (m.next_ns <= end) {
		now = m.next_ns > now ? m.next_ns : now;
		step(FSM_EV_TICK);
	}
	now = end;
}

static void forget(void)
{
	sent_active = sent_zero = announced = refreshed = removed_before_zero = 0;
	clients_told = told_unannounced = claims = early_addresses = 0;
}

/* A node that is well, just Backup. */
static void backup(struct vrrp_config config)
{
	now = 1000 * NS_PER_S;
	has_address = stuck = unheard = refuses = told_stopped = window = lease = false;
	forget();
	vrrp_init(&m, &config, now);
	step(FSM_EV_TICK);
	set(FSM_EV_LINK, true);
	set(FSM_EV_GATEWAY, true);
	set(FSM_EV_PROXY, true);
	CHECK_INT(m.state, FSM_INIT);
	pass(FSM_SETTLE_NS);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(sent_active + sent_zero, 0);
}

static const struct vrrp_config usual = {
	.priority = 100, .preempt = true, .interval_ns = ADVERTISE};

static uint64_t skew(uint8_t priority)
{
	return (256 - (uint64_t)priority) * ADVERTISE / 256;
}

static void active(struct vrrp_config config)
{
	backup(config);
	pass(3 * ADVERTISE + skew(config.priority));
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK(has_address);
	pass(2500 * MS);
	forget();
}

/* --- 6.4.1 Initialize
 * -----------------------------------------------------------------------------
 */
static void it_stays_in_initialize_until_it_can_serve(void)
{
	now = NS_PER_S;
	vrrp_init(&m, &usual, now);
	step(FSM_EV_TICK);
	set(FSM_EV_LINK, true);
	set(FSM_EV_GATEWAY, true);
	pass(60 * NS_PER_S);
	CHECK_INT(m.state, FSM_INIT);
	set(FSM_EV_PROXY, true);
	pass(FSM_SETTLE_NS);
	CHECK_INT(m.state, FSM_STANDBY);
}

/* --- 6.4.2 Backup
 * ---------------------------------------------------------------------------------
 */
static void it_claims_after_three_intervals_and_the_skew(void)
{
	backup(usual);
	pass(3 * ADVERTISE + skew(100) - 1);
	CHECK_INT(m.state, FSM_STANDBY);
	pass(1);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(told, REASON_ADVERT_SILENT);
	CHECK_INT(sent_active, 1);
	CHECK_INT(announced, 1);
}

static void its_first_advertisement_opens_the_lease_before_it_has_an_address(void)
{
	backup(usual);
	pass(3 * ADVERTISE + skew(100));
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(claims, 1);
	CHECK(lease && has_address);
	CHECK_INT(early_addresses, 0);
	pass(60 * NS_PER_S);
	CHECK_INT(claims, 1);
	CHECK_INT(sent_active, 61);
}

static void a_claim_that_the_kernel_refuses_is_a_fault_and_nobody_hears_of_it(void)
{
	backup(usual);
	refuses = true;
	pass(3 * ADVERTISE + skew(100));
	CHECK_INT(m.state, FSM_FAULT);
	CHECK_INT(told, REASON_CLAIM_REFUSED);
	CHECK(!window && !has_address);
	CHECK_INT(announced + sent_zero + clients_told, 0);
	refuses = false;
	pass(DAMPING_FIRST_NS + 3 * ADVERTISE + skew(100));
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void an_old_decision_to_claim_is_no_claim(void)
{
	const struct {
		uint64_t interval_ns, window_ns;
	} cases[] = {{ADVERTISE, 200 * MS}, {20 * MS, 50 * MS}, {10 * MS, 25 * MS}};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct vrrp_config config = usual;

		config.interval_ns = cases[i].interval_ns;
		backup(config);
		now += vrrp_down_interval_ns(&m);
		vrrp_step(&m, &(struct fsm_event){.kind = FSM_EV_TICK}, now, &out);
		CHECK_INT(out.list[0].kind, FSM_DO_OPEN_CLAIM);
		CHECK_INT(out.list[0].at_ns, now + cases[i].window_ns);
		CHECK_INT(out.list[1].packet, PACKET_CLAIM);
		CHECK_INT(m.state, FSM_STANDBY);
	}
}

static void a_higher_priority_makes_a_shorter_skew(void)
{
	struct vrrp_config high = usual;

	high.priority = 254;
	backup(high);
	pass(3 * ADVERTISE + 2 * ADVERTISE / 256);
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void an_advertisement_of_the_same_or_a_higher_priority_starts_the_wait_again(void)
{
	const uint8_t priorities[] = {100, 101, 254, 255};

	backup(usual);
	for (unsigned i = 0; i < sizeof(priorities); i++) {
		pass(3 * ADVERTISE);
		hear(priorities[i]);
	}
	pass(3 * ADVERTISE + skew(100) - 1);
	CHECK_INT(m.state, FSM_STANDBY);
	pass(1);
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void the_active_routers_interval_is_learned(void)
{
	backup(usual);
	hear_tie(200, 100 * MS, VRRP_TIE_OURS);
	CHECK_INT(vrrp_skew_ns(&m), 156 * 100 * MS / 256);
	pass(300 * MS + 156 * 100 * MS / 256);
	CHECK_INT(m.state, FSM_ACTIVE);
	/* and ours is sent */
	forget();
	pass(10 * ADVERTISE);
	CHECK_INT(sent_active, 10);
}

static void priority_zero_leaves_only_the_skew_to_wait(void)
{
	backup(usual);
	hear(200);
	hear(0);
	pass(skew(100) - 1);
	CHECK_INT(m.state, FSM_STANDBY);
	pass(1);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(told, REASON_PEER_LEFT);
}

static void a_lower_priority_is_preempted(void)
{
	backup(usual);
	for (int i = 0; i < 3; i++) {
		pass(ADVERTISE);
		hear(99);
	}
	pass(skew(100));
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(told, REASON_PREEMPTS);
}

static void a_lower_priority_is_left_alone_without_preemption(void)
{
	struct vrrp_config mild = usual;

	mild.preempt = false;
	backup(mild);
	for (int i = 0; i < 100; i++) {
		pass(ADVERTISE);
		hear(1);
	}
	CHECK_INT(m.state, FSM_STANDBY);
	pass(3 * ADVERTISE + skew(100));
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void preemption_waits_until_the_node_was_well_for_a_time(void)
{
	struct vrrp_config late = usual;

	late.preempt_after_ns = 60 * NS_PER_S;
	backup(late);
	for (int i = 0; i < 58; i++) {
		pass(ADVERTISE);
		hear(1);
	}
	CHECK_INT(m.state, FSM_STANDBY);
	for (int i = 0; i < 5; i++) {
		pass(ADVERTISE);
		if (m.state == FSM_STANDBY)
			hear(1);
	}
	CHECK_INT(m.state, FSM_ACTIVE);
}

/* --- 6.4.3 Active
 * ---------------------------------------------------------------------------------
 */
static void it_advertises_at_its_interval_and_keeps_its_addresses_alive(void)
{
	active(usual);
	pass(100 * ADVERTISE);
	CHECK_INT(sent_active, 100);
	CHECK_INT(refreshed, 200);
	CHECK_INT(announced, 0);
}

static void it_announces_at_once_and_twice_more(void)
{
	backup(usual);
	pass(3 * ADVERTISE + skew(100));
	CHECK_INT(announced, 1);
	pass(100 * MS);
	CHECK_INT(announced, 2);
	pass(900 * MS);
	CHECK_INT(announced, 3);
	pass(60 * NS_PER_S);
	CHECK_INT(announced, 3);
}

/* No connection follows the addresses: those that the peer has are lost, however they moved. */
static void the_peers_clients_are_told_once_after_each_claim(void)
{
	backup(usual);
	pass(3 * ADVERTISE + skew(100));
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(clients_told, 1);
	step(FSM_EV_ADDRESS_DELETED); /* added and announced again */
	CHECK_INT(announced, 2);
	pass(60 * NS_PER_S);
	CHECK_INT(clients_told, 1);
	hear(200);
	CHECK_INT(m.state, FSM_STANDBY);
	hear(0);
	pass(skew(100));
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(clients_told, 2);
	CHECK_INT(told_unannounced, 0);
}

static void it_yields_to_a_higher_priority_without_a_word(void)
{
	active(usual);
	hear_tie(101, 2 * ADVERTISE, VRRP_TIE_OURS);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(told, REASON_PRIORITY_HIGH);
	CHECK(!has_address);
	CHECK_INT(sent_zero, 0);
	CHECK_INT(vrrp_down_interval_ns(&m), 6 * ADVERTISE + 2 * skew(100));
}

static void it_yields_to_an_address_owner(void)
{
	active(usual);
	hear(255);
	CHECK_INT(m.state, FSM_STANDBY);
}

static void a_tie_goes_to_the_higher_address(void)
{
	active(usual);
	hear_tie(100, ADVERTISE, VRRP_TIE_OURS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(sent_active, 1);
	hear_tie(100, ADVERTISE, VRRP_TIE_THEIRS);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(told, REASON_TIE_LOST);
}

static void a_tie_that_is_decided_elsewhere_changes_nothing(void)
{
	active(usual);
	hear_tie(100, ADVERTISE, VRRP_TIE_ELSEWHERE);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(sent_active, 0);
}

static void a_lower_priority_is_answered_at_once_and_clients_are_told_again(void)
{
	active(usual);
	hear(99);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(sent_active, 1);
	pass(150 * MS);
	CHECK_INT(announced, 1);
}

static void a_flood_of_lower_priorities_is_not_answered_in_kind(void)
{
	active(usual);
	for (int i = 0; i < 1000; i++) {
		now += MS / 10;
		hear(99);
	}
	CHECK(sent_active <= 11);
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void priority_zero_is_answered_and_the_timer_starts_again(void)
{
	active(usual);
	pass(500 * MS);
	forget();
	hear(0);
	CHECK_INT(sent_active, 1);
	pass(ADVERTISE - 1);
	CHECK_INT(sent_active, 1);
	pass(1);
	CHECK_INT(sent_active, 2);
}

static void a_stop_removes_the_addresses_and_then_says_priority_zero(void)
{
	active(usual);
	step(FSM_EV_STOP);
	CHECK_INT(m.state, FSM_INIT);
	CHECK_INT(sent_zero, 1);
	CHECK_INT(removed_before_zero, 1);
	CHECK(told_stopped);
	pass(60 * NS_PER_S);
	CHECK_INT(m.state, FSM_INIT);
}

static void a_backup_stops_without_a_word(void)
{
	backup(usual);
	step(FSM_EV_STOP);
	CHECK(told_stopped);
	CHECK_INT(sent_zero + sent_active, 0);
}

/* --- faults
 * ---------------------------------------------------------------------------------------
 */
static void a_dead_proxy_hands_over_by_priority_zero(void)
{
	active(usual);
	set(FSM_EV_PROXY, false);
	CHECK_INT(m.state, FSM_FAULT);
	CHECK_INT(told, REASON_PROXY_DEAD);
	CHECK_INT(sent_zero, 1);
	CHECK_INT(removed_before_zero, 1);
}

static void a_node_that_cannot_serve_never_claims(void)
{
	const enum fsm_event_kind conditions[] = {
		FSM_EV_LINK, FSM_EV_GATEWAY, FSM_EV_PROXY, FSM_EV_FENCE};

	for (unsigned i = 0; i < sizeof(conditions) / sizeof(*conditions); i++) {
		backup(usual);
		set(conditions[i], false);
		CHECK_INT(m.state, FSM_FAULT);
		pass(600 * NS_PER_S);
		hear(0);
		pass(600 * NS_PER_S);
		CHECK_INT(sent_active, 0);
		set(conditions[i], true);
		pass(DAMPING_FIRST_NS);
		CHECK_INT(m.state, FSM_STANDBY);
		pass(3 * ADVERTISE + skew(100));
		CHECK_INT(m.state, FSM_ACTIVE);
	}
}

static void addresses_that_cannot_be_added_are_a_fault(void)
{
	active(usual);
	step(FSM_EV_ADDRESS_FAILED);
	CHECK_INT(m.state, FSM_FAULT);
	CHECK_INT(sent_zero, 1);
}

static void an_address_that_is_stuck_is_not_given_away(void)
{
	active(usual);
	stuck = true;
	set(FSM_EV_PROXY, false);
	CHECK_INT(sent_zero, 0);
	CHECK(m.alarms >> FSM_ALARM_STUCK & 1);
}

static void a_deleted_address_is_added_and_announced_again(void)
{
	active(usual);
	has_address = false;
	step(FSM_EV_ADDRESS_DELETED);
	CHECK(has_address);
	CHECK_INT(announced, 1);
}

static void an_owner_that_stood_still_for_longer_than_its_lease_steps_down(void)
{
	active(usual);
	pass(500 * MS);
	now = m.sent_ns + 5 * ADVERTISE / 2 + 1;
	forget();
	/* a backup claimed meanwhile, and its word comes first */
	hear(50);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(told, REASON_FROZEN);
	CHECK(!has_address);
	CHECK_INT(sent_zero + sent_active, 0);
}

static void an_owner_that_stood_still_for_less_stays(void)
{
	active(usual);
	now = m.sent_ns + 5 * ADVERTISE / 2;
	step(FSM_EV_TICK);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(sent_active, 1);
}

static void an_owner_whose_lease_was_taken_away_gives_it_up_at_once(void)
{
	active(usual);
	refuses = true;
	pass(ADVERTISE);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(told, REASON_LEASE_LOST);
	CHECK_INT(sent_zero, 1);
	CHECK_INT(removed_before_zero, 1);
}

static void an_owner_without_a_fence_lets_go_though_it_is_frozen_by_the_operator(void)
{
	active(usual);
	give((struct fsm_event){.kind = FSM_EV_FREEZE});
	set(FSM_EV_FENCE, false);
	CHECK_INT(m.state, FSM_FAULT);
	CHECK_INT(told, REASON_NO_FENCE);
	CHECK(!has_address);
}

static void an_owner_that_nobody_hears_lets_go_when_its_lease_is_over(void)
{
	active(usual);
	unheard = true;
	pass(ADVERTISE);
	CHECK_INT(m.state, FSM_ACTIVE);
	unheard = false; /* for a moment, half an interval ago when it ends */
	pass(ADVERTISE);
	unheard = true;
	pass(2 * ADVERTISE - 1);
	CHECK_INT(m.state, FSM_ACTIVE);
	pass(2);
	CHECK_INT(m.state, FSM_FAULT);
	CHECK_INT(m.reason, REASON_LEASE_LOST);
	CHECK(!has_address);
	/* It tries again, ever more rarely, and announces nothing. */
	forget();
	pass(600 * NS_PER_S);
	CHECK_INT(announced, 0);
	CHECK(!has_address);
	unheard = false;
	pass(70 * NS_PER_S);
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void a_suspended_owner_steps_down_and_a_suspended_backup_listens_anew(void)
{
	active(usual);
	give((struct fsm_event){.kind = FSM_EV_PAUSED, .age_ns = 10 * NS_PER_S});
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(told, REASON_PAUSED);
	pass(3 * ADVERTISE);
	give((struct fsm_event){.kind = FSM_EV_PAUSED, .age_ns = 10 * NS_PER_S});
	pass(3 * ADVERTISE);
	CHECK_INT(m.state, FSM_STANDBY);
	pass(skew(100));
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void somebody_else_who_has_the_address_is_an_alarm_and_is_answered_once(void)
{
	active(usual);
	for (int i = 0; i < 5; i++)
		step(FSM_EV_ADDRESS_CONFLICT);
	CHECK_INT(announced, 1);
	CHECK(m.alarms >> FSM_ALARM_CONFLICT & 1);
	pass(12 * NS_PER_S);
	CHECK(!(m.alarms >> FSM_ALARM_CONFLICT & 1));
}

/* --- orders
 * ---------------------------------------------------------------------------------------
 */
static void a_switchover_gives_it_away_and_does_not_take_it_back(void)
{
	active(usual);
	CHECK_INT(vrrp_switchover_check(&m, now), REASON_NONE);
	step(FSM_EV_SWITCHOVER);
	CHECK_INT(m.state, FSM_STANDBY);
	CHECK_INT(sent_zero, 1);
	pass(skew(50));
	for (int i = 0; i < 100; i++) {
		hear(50);
		pass(ADVERTISE);
	}
	CHECK_INT(m.state, FSM_STANDBY);
	/* until the peer gives it up */
	hear(0);
	pass(skew(100));
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK(!m.moved);
}

static void a_switchover_that_nobody_takes_comes_back(void)
{
	active(usual);
	step(FSM_EV_SWITCHOVER);
	pass(3 * ADVERTISE + skew(100));
	CHECK_INT(m.state, FSM_ACTIVE);
}

static void a_backup_of_higher_priority_takes_it_on_order(void)
{
	struct vrrp_config mild = usual;

	mild.preempt = false;
	backup(mild);
	hear(50);
	CHECK_INT(vrrp_switchover_check(&m, now), REASON_NONE);
	step(FSM_EV_SWITCHOVER);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(told, REASON_OPERATOR);
}

static void a_backup_of_lower_priority_cannot_take_it(void)
{
	backup(usual);
	hear(100);
	CHECK_INT(vrrp_switchover_check(&m, now), REASON_PRIORITY_LOW);
	step(FSM_EV_SWITCHOVER);
	CHECK_INT(m.state, FSM_STANDBY);
}

static void frozen_it_neither_claims_nor_gives_away_but_yields(void)
{
	backup(usual);
	give((struct fsm_event){.kind = FSM_EV_FREEZE});
	pass(600 * NS_PER_S);
	CHECK_INT(m.state, FSM_STANDBY);
	step(FSM_EV_RESUME);
	CHECK_INT(m.state, FSM_ACTIVE);
	give((struct fsm_event){.kind = FSM_EV_FREEZE});
	CHECK_INT(vrrp_switchover_check(&m, now), REASON_FROZEN_BY_OPERATOR);
	set(FSM_EV_PROXY, false);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK(m.alarms >> FSM_ALARM_CANNOT_SERVE & 1);
	hear(200);
	CHECK_INT(m.state, FSM_FAULT);
	CHECK(!has_address);
}

static void a_freeze_ends_by_itself(void)
{
	active(usual);
	give((struct fsm_event){.kind = FSM_EV_FREEZE, .until_ns = now + 5 * NS_PER_S});
	set(FSM_EV_PROXY, false);
	pass(5 * NS_PER_S);
	CHECK_INT(m.state, FSM_FAULT);
}

static void a_shorter_interval_counts_at_once(void)
{
	struct vrrp_config quick = usual;

	active(usual);
	quick.interval_ns = 100 * MS;
	vrrp_configure(&m, &quick);
	step(FSM_EV_TICK);
	pass(1000 * MS);
	CHECK_INT(m.state, FSM_ACTIVE);
	CHECK_INT(sent_active, 10);
}

/* --- two of them
 * ----------------------------------------------------------------------------------
 */
static void no_backup_of_any_priority_claims_while_an_owner_may_still_think_it_is_one(void)
{
	for (unsigned priority = 1; priority <= 254; priority++) {
		struct vrrp_config config = usual;

		config.priority = (uint8_t)priority;
		backup(config);
		hear(255);
		CHECK(vrrp_down_interval_ns(&m) > 3 * ADVERTISE);
		CHECK(m.down_ns > now + vrrp_lease_ns(&m));
	}
}

/* Whole milliseconds, as the kernel counts it; one advertisement may get lost, or be late by an
 * interval and a half; and before the most eager backup half an interval is left. */
static void a_lease_ends_half_an_interval_before_any_backup_claims(void)
{
	struct vrrp backup_of_254 = {.config = {.priority = 254}};

	for (uint64_t cs = 1; cs <= VRRP_INTERVAL_MAX_CS; cs++) {
		uint64_t interval_ns = cs * VRRP_CS_NS, lease_ns = vrrp_lease_of(interval_ns);

		backup_of_254.learned_ns = interval_ns;
		CHECK(lease_ns % MS == 0 && lease_ns > 2 * interval_ns);
		CHECK(lease_ns + interval_ns / 2 < vrrp_down_interval_ns(&backup_of_254));
	}
}

/* What the peer learned with the last advertisement counts, until the next one says otherwise. */
static void a_new_interval_changes_the_lease_when_it_has_been_advertised(void)
{
	struct vrrp_config slow = usual;

	active(usual);
	slow.interval_ns = 4 * ADVERTISE;
	vrrp_configure(&m, &slow);
	CHECK_INT(vrrp_lease_ns(&m), 5 * ADVERTISE / 2);
	pass(ADVERTISE);
	CHECK_INT(vrrp_lease_ns(&m), 10 * ADVERTISE);
}

static const struct test_case cases[] = {
	TEST(it_stays_in_initialize_until_it_can_serve),
	TEST(it_claims_after_three_intervals_and_the_skew),
	TEST(its_first_advertisement_opens_the_lease_before_it_has_an_address),
	TEST(a_claim_that_the_kernel_refuses_is_a_fault_and_nobody_hears_of_it),
	TEST(an_old_decision_to_claim_is_no_claim),
	TEST(a_higher_priority_makes_a_shorter_skew),
	TEST(an_advertisement_of_the_same_or_a_higher_priority_starts_the_wait_again),
	TEST(the_active_routers_interval_is_learned),
	TEST(priority_zero_leaves_only_the_skew_to_wait),
	TEST(a_lower_priority_is_preempted),
	TEST(a_lower_priority_is_left_alone_without_preemption),
	TEST(preemption_waits_until_the_node_was_well_for_a_time),
	TEST(it_advertises_at_its_interval_and_keeps_its_addresses_alive),
	TEST(it_announces_at_once_and_twice_more),
	TEST(the_peers_clients_are_told_once_after_each_claim),
	TEST(it_yields_to_a_higher_priority_without_a_word),
	TEST(it_yields_to_an_address_owner),
	TEST(a_tie_goes_to_the_higher_address),
	TEST(a_tie_that_is_decided_elsewhere_changes_nothing),
	TEST(a_lower_priority_is_answered_at_once_and_clients_are_told_again),
	TEST(a_flood_of_lower_priorities_is_not_answered_in_kind),
	TEST(priority_zero_is_answered_and_the_timer_starts_again),
	TEST(a_stop_removes_the_addresses_and_then_says_priority_zero),
	TEST(a_backup_stops_without_a_word),
	TEST(a_dead_proxy_hands_over_by_priority_zero),
	TEST(a_node_that_cannot_serve_never_claims),
	TEST(addresses_that_cannot_be_added_are_a_fault),
	TEST(an_address_that_is_stuck_is_not_given_away),
	TEST(a_deleted_address_is_added_and_announced_again),
	TEST(an_owner_that_stood_still_for_longer_than_its_lease_steps_down),
	TEST(an_owner_that_stood_still_for_less_stays),
	TEST(an_owner_whose_lease_was_taken_away_gives_it_up_at_once),
	TEST(an_owner_without_a_fence_lets_go_though_it_is_frozen_by_the_operator),
	TEST(an_owner_that_nobody_hears_lets_go_when_its_lease_is_over),
	TEST(a_suspended_owner_steps_down_and_a_suspended_backup_listens_anew),
	TEST(somebody_else_who_has_the_address_is_an_alarm_and_is_answered_once),
	TEST(a_switchover_gives_it_away_and_does_not_take_it_back),
	TEST(a_switchover_that_nobody_takes_comes_back),
	TEST(a_backup_of_higher_priority_takes_it_on_order),
	TEST(a_backup_of_lower_priority_cannot_take_it),
	TEST(frozen_it_neither_claims_nor_gives_away_but_yields),
	TEST(a_freeze_ends_by_itself),
	TEST(a_shorter_interval_counts_at_once),
	TEST(no_backup_of_any_priority_claims_while_an_owner_may_still_think_it_is_one),
	TEST(a_lease_ends_half_an_interval_before_any_backup_claims),
	TEST(a_new_interval_changes_the_lease_when_it_has_been_advertised),
};
TESTS_MAIN("vrrp", cases)
