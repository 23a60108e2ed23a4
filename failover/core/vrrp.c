#include "failover/core/vrrp.h"

#include "shared/assert.h"
#include "shared/units.h"

#define ANNOUNCE_SECOND_NS (100 * NS_PER_MS)
#define ANNOUNCE_THIRD_NS (900 * NS_PER_MS) /* after the second */
/* Two routers that both think they win (which the rules exclude, if all keep them) must not answer
 * each other at wire speed. */
#define ASSERT_PAUSE_NS (10 * NS_PER_MS)
#define CONFLICT_NS (10 * NS_PER_S) /* RFC 5227 2.4: defend once in that time */
/* From the decision to claim to the claim, at most: who was held up for longer knows too little. */
#define CLAIM_MOST_NS (200 * NS_PER_MS)
#define LONGEST_SLEEP_NS NS_PER_S

struct step {
	struct vrrp *m;
	uint64_t now;
	struct fsm_actions *out;
};

/* --- questions ---------------------------------------------------------------------------------
 */
uint64_t vrrp_skew_ns(const struct vrrp *m)
{
	return (256 - (uint64_t)m->config.priority) * m->learned_ns / 256;
}

uint64_t vrrp_down_interval_ns(const struct vrrp *m)
{
	return 3 * m->learned_ns + vrrp_skew_ns(m);
}

uint64_t vrrp_lease_ns(const struct vrrp *m)
{
	return vrrp_lease_of(m->said_ns);
}

bool vrrp_peer_alive(const struct vrrp *m, uint64_t now_ns)
{
	return m->heard_ns != 0 && m->peer.priority != 0 &&
	       now_ns - m->heard_ns <= vrrp_down_interval_ns(m);
}

static bool able(const struct vrrp *m)
{
	return m->link && m->gateway && !m->unfenced && m->proxy == FSM_PROXY_OK;
}

static enum fsm_reason unable_reason(const struct vrrp *m)
{
	if (!m->link)
		return REASON_LINK_DOWN;
	if (m->unfenced)
		return REASON_NO_FENCE;
	return m->gateway ? fsm_proxy_reason(m->proxy) : REASON_GATEWAY_LOST;
}

/* Preempt_Mode, as of now. */
static bool preempts(const struct vrrp *m, uint64_t now)
{
	return m->config.preempt && !m->moved && !m->frozen && m->good_since_ns != 0 &&
	       now - m->good_since_ns >= m->config.preempt_after_ns;
}

enum fsm_reason vrrp_switchover_check(const struct vrrp *m, uint64_t now_ns)
{
	if (m->frozen)
		return REASON_FROZEN_BY_OPERATOR;
	switch (m->state) {
	case FSM_ACTIVE:
		return REASON_NONE;
	case FSM_STANDBY:
		return vrrp_peer_alive(m, now_ns) && m->peer.priority >= m->config.priority
			       ? REASON_PRIORITY_LOW
			       : REASON_NONE;
	case FSM_INIT:
	case FSM_FAULT:
	case FSM_PROBING:
	case FSM_HANDOVER:
	case FSM_DRAINING:
		break;
	}
	return able(m) ? REASON_STARTED : unable_reason(m);
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* --- actions -----------------------------------------------------------------------------------
 */
static struct fsm_action *act(struct step *s, enum fsm_action_kind kind)
{
	struct fsm_action *a = &s->out->list[s->out->count];

	ASSERT(s->out->count < FSM_ACTIONS_MAX);
	*a = (struct fsm_action){.kind = kind};
	s->out->count++;
	return a;
}

static void alarm(struct step *s, enum fsm_alarm alarm, bool on)
{
	uint32_t bit = UINT32_C(1) << alarm;
	struct fsm_action *a;

	if (((s->m->alarms & bit) != 0) == on)
		return;
	s->m->alarms ^= bit;
	a = act(s, FSM_DO_ALARM);
	a->alarm = alarm;
	a->on = on;
}

static void say(struct step *s, enum packet_kind kind)
{
	act(s, FSM_DO_SEND)->packet = kind;
	if (s->m->sent_ns != s->now)
		s->m->sent_before_ns = s->m->sent_ns;
	s->m->sent_ns = s->now;
	s->m->unheard = false;
	s->m->said_ns = s->m->config.interval_ns;
}

static void enter(struct step *s, enum fsm_state to, enum fsm_reason reason)
{
	struct fsm_action *a = act(s, FSM_DO_TELL);

	a->from = s->m->state;
	a->to = to;
	a->reason = reason;
	s->m->state = to;
	s->m->reason = reason;
	s->m->since_ns = s->now;
}

static void announce(struct step *s)
{
	act(s, FSM_DO_ANNOUNCE);
	s->m->announce_left = 2;
	s->m->announce_ns = s->now + ANNOUNCE_SECOND_NS;
}

/* --- changes of state --------------------------------------------------------------------------
 */
static void set_down_timer(struct step *s, uint64_t after_ns, enum fsm_reason reason)
{
	s->m->down_ns = s->now + after_ns;
	s->m->down_reason = reason;
}

static void learn(struct step *s, const struct vrrp_heard *heard)
{
	s->m->learned_ns = heard->interval_ns;
	set_down_timer(s, vrrp_down_interval_ns(s->m), REASON_ADVERT_SILENT);
}

static void become_backup(struct step *s, enum fsm_reason reason)
{
	s->m->learned_ns = s->m->config.interval_ns;
	set_down_timer(s, vrrp_down_interval_ns(s->m), REASON_ADVERT_SILENT);
	enter(s, FSM_STANDBY, reason);
}

/* First the lease, which the advertisement opens as it leaves; then the addresses. */
static void claim(struct step *s, enum fsm_reason reason)
{
	struct vrrp *m = s->m;

	ASSERT(m->state == FSM_STANDBY && able(m) && !m->claiming);
	m->claiming = true;
	m->claim_reason = reason;
	act(s, FSM_DO_OPEN_CLAIM)->at_ns =
		s->now + earliest(CLAIM_MOST_NS, vrrp_lease_of(m->config.interval_ns));
	say(s, PACKET_CLAIM);
}

/* Fence first; resign: say so (priority 0) once that is certain. The caller says what it is then.
 */
static void let_go(struct step *s, bool resign)
{
	struct vrrp *m = s->m;

	ASSERT(m->state == FSM_ACTIVE);
	m->removing = true;
	m->resign_owed = resign;
	m->address = m->tickle = false;
	m->announce_left = 0;
	act(s, FSM_DO_REMOVE_ADDRESSES);
	alarm(s, FSM_ALARM_CONFLICT, false);
	alarm(s, FSM_ALARM_CANNOT_SERVE, false);
}

static void on_removed(struct step *s, bool certain)
{
	struct vrrp *m = s->m;

	if (!m->removing)
		return;
	m->removing = false;
	alarm(s, FSM_ALARM_STUCK, !certain);
	if (m->resign_owed && certain)
		say(s, PACKET_RELEASE);
	m->resign_owed = false;
}

static void fail(struct step *s, enum fsm_reason reason)
{
	struct vrrp *m = s->m;

	if (m->state == FSM_ACTIVE)
		let_go(s, true);
	damping_failed(&m->damping, s->now);
	m->good_since_ns = able(m) ? s->now : 0;
	enter(s, FSM_FAULT, reason);
}

/* A backup may have claimed since we sent last: neither the address nor the right to it is ours. */
static void check_own_gap(struct step *s)
{
	struct vrrp *m = s->m;

	if (m->state != FSM_ACTIVE || s->now - m->sent_ns <= vrrp_lease_ns(m))
		return;
	if (m->unheard) {
		/* As long as that lasts it is not fit to become an owner either. */
		fail(s, REASON_LEASE_LOST);
		return;
	}
	let_go(s, false);
	become_backup(s, REASON_FROZEN);
}

static void on_unheard(struct step *s)
{
	struct vrrp *m = s->m;

	m->sent_ns = m->sent_before_ns;
	m->unheard = true;
	check_own_gap(s);
}

/* Somebody took it away, or the rules: whoever is next need not wait. */
static void on_lease_refused(struct step *s)
{
	if (s->m->state != FSM_ACTIVE)
		return;
	let_go(s, true);
	become_backup(s, REASON_LEASE_LOST);
}

static void on_claimed(struct step *s)
{
	struct vrrp *m = s->m;

	if (!m->claiming)
		return;
	m->claiming = false;
	enter(s, FSM_ACTIVE, m->claim_reason);
	m->moved = false;
	m->tickle = true;
	m->advert_ns = m->sent_ns + m->config.interval_ns;
	m->refresh_ns = s->now + FSM_REFRESH_NS;
	m->announce_left = 0;
	check_own_gap(s);
	if (m->state == FSM_ACTIVE)
		act(s, FSM_DO_ADD_ADDRESSES);
}

static void on_claim_refused(struct step *s)
{
	struct vrrp *m = s->m;

	if (!m->claiming)
		return;
	m->claiming = false;
	act(s, FSM_DO_CLOSE_CLAIM);
	fail(s, REASON_CLAIM_REFUSED);
}

/* --- what the states do by themselves ----------------------------------------------------------
 */
static void run_backup(struct step *s)
{
	struct vrrp *m = s->m;

	if (!able(m))
		fail(s, unable_reason(m));
	else if (s->now >= m->down_ns && !m->frozen && !m->removing && !m->claiming)
		claim(s, m->down_reason);
}

static void run_active(struct step *s)
{
	struct vrrp *m = s->m;

	/* Frozen by the operator it stays, whatever the proxy does; without these it cannot. */
	if (!able(m) && (!m->link || m->unfenced || !m->frozen)) {
		fail(s, unable_reason(m));
		return;
	}
	alarm(s, FSM_ALARM_CANNOT_SERVE, !able(m));
	if (s->now >= m->advert_ns) {
		say(s, PACKET_ACTIVE);
		m->advert_ns += m->config.interval_ns;
		if (m->advert_ns <= s->now)
			m->advert_ns = s->now + m->config.interval_ns;
	}
	if (m->address && s->now >= m->refresh_ns) {
		act(s, FSM_DO_REFRESH_ADDRESSES);
		m->refresh_ns = s->now + FSM_REFRESH_NS;
	}
	if (m->announce_left > 0 && s->now >= m->announce_ns) {
		act(s, FSM_DO_ANNOUNCE);
		m->announce_left--;
		m->announce_ns = s->now + ANNOUNCE_THIRD_NS;
	}
}

static void run(struct step *s)
{
	struct vrrp *m = s->m;

	if (m->frozen && m->frozen_until_ns != 0 && s->now >= m->frozen_until_ns)
		m->frozen = false;
	if (s->now >= m->conflict_until_ns)
		alarm(s, FSM_ALARM_CONFLICT, false);
	switch (m->state) {
	case FSM_INIT:
		if (!m->stopping && m->good_since_ns != 0 &&
			s->now - m->good_since_ns >= FSM_SETTLE_NS)
			become_backup(s, REASON_ALL_GOOD);
		break;
	case FSM_FAULT:
		if (damping_over(&m->damping, m->good_since_ns, s->now))
			become_backup(s, REASON_ALL_GOOD);
		break;
	case FSM_STANDBY:
		run_backup(s);
		break;
	case FSM_ACTIVE:
		run_active(s);
		break;
	case FSM_PROBING:
	case FSM_HANDOVER:
	case FSM_DRAINING:
		ASSERT(false);
	}
	if (m->stopping && !m->removing && !m->stopped) {
		m->stopped = true;
		act(s, FSM_DO_STOPPED);
	}
}

static void finish(struct step *s)
{
	struct vrrp *m = s->m;
	uint64_t next = s->now + LONGEST_SLEEP_NS;

	run(s);
	if (m->frozen && m->frozen_until_ns != 0)
		next = earliest(next, m->frozen_until_ns);
	switch (m->state) {
	case FSM_INIT:
		if (m->good_since_ns != 0)
			next = earliest(next, m->good_since_ns + FSM_SETTLE_NS);
		break;
	case FSM_FAULT:
		if (m->good_since_ns != 0)
			next = earliest(next, m->good_since_ns + m->damping.hold_ns);
		break;
	case FSM_STANDBY:
		if (!m->frozen)
			next = earliest(next, m->down_ns);
		break;
	case FSM_ACTIVE:
		next = earliest(next, earliest(m->advert_ns, m->refresh_ns));
		next = earliest(next, m->sent_ns + vrrp_lease_ns(m) + 1);
		if (m->announce_left > 0)
			next = earliest(next, m->announce_ns);
		break;
	case FSM_PROBING:
	case FSM_HANDOVER:
	case FSM_DRAINING:
		break;
	}
	m->next_ns = s->out->next_ns = next;
}

/* --- advertisements ----------------------------------------------------------------------------
 */
/* 6.4.2 */
static void backup_hears(struct step *s, const struct vrrp_heard *heard)
{
	struct vrrp *m = s->m;

	if (heard->priority == 0)
		set_down_timer(s, vrrp_skew_ns(m), REASON_PEER_LEFT);
	else if (heard->priority >= m->config.priority || !preempts(m, s->now))
		learn(s, heard);
	else if (m->down_reason == REASON_ADVERT_SILENT)
		m->down_reason = REASON_PREEMPTS;
}

/* 6.4.3 */
static void active_hears(struct step *s, const struct vrrp_heard *heard)
{
	struct vrrp *m = s->m;
	bool tie = heard->priority == m->config.priority;

	if (heard->priority == 0) {
		say(s, PACKET_ACTIVE);
		m->advert_ns = s->now + m->config.interval_ns;
	} else if (heard->priority > m->config.priority || (tie && heard->tie == VRRP_TIE_THEIRS)) {
		let_go(s, false);
		become_backup(s, tie ? REASON_TIE_LOST : REASON_PRIORITY_HIGH);
		learn(s, heard);
	} else if (!tie || heard->tie == VRRP_TIE_OURS) {
		if (s->now - m->sent_ns >= ASSERT_PAUSE_NS)
			say(s, PACKET_ACTIVE);
		/* Clients may have learned the loser's MAC. */
		if (m->announce_left == 0) {
			m->announce_left = 2;
			m->announce_ns = s->now + ANNOUNCE_SECOND_NS;
		}
	}
}

void vrrp_hear(
	struct vrrp *m, const struct vrrp_heard *heard, uint64_t now_ns, struct fsm_actions *out)
{
	struct step s = {.m = m, .now = now_ns, .out = out};

	ASSERT(now_ns >= m->now_ns && heard->interval_ns > 0);
	out->count = 0;
	m->now_ns = now_ns;
	check_own_gap(&s);
	m->heard_ns = now_ns;
	m->peer = *heard;
	if (m->state == FSM_STANDBY)
		backup_hears(&s, heard);
	else if (m->state == FSM_ACTIVE)
		active_hears(&s, heard);
	finish(&s);
}

/* --- events ------------------------------------------------------------------------------------
 */
static void on_condition(struct step *s, const struct fsm_event *ev)
{
	struct vrrp *m = s->m;

	if (ev->kind == FSM_EV_LINK)
		m->link = ev->good;
	else if (ev->kind == FSM_EV_GATEWAY)
		m->gateway = ev->good;
	else if (ev->kind == FSM_EV_FENCE)
		m->unfenced = !ev->good;
	else
		m->proxy = ev->proxy;
	if (!able(m))
		m->good_since_ns = 0;
	else if (m->good_since_ns == 0)
		m->good_since_ns = s->now;
}

static void on_address(struct step *s, enum fsm_event_kind kind)
{
	struct vrrp *m = s->m;

	if (m->state != FSM_ACTIVE)
		return;
	if (kind == FSM_EV_ADDRESS_FAILED) {
		fail(s, REASON_ADDRESS_FAILED);
	} else if (kind == FSM_EV_ADDRESS_DELETED) {
		m->address = false;
		act(s, FSM_DO_ADD_ADDRESSES);
	} else {
		m->address = true;
		announce(s);
		if (m->tickle)
			act(s, FSM_DO_TICKLE);
		m->tickle = false;
	}
}

static void on_conflict(struct step *s)
{
	struct vrrp *m = s->m;

	if (m->state != FSM_ACTIVE)
		return;
	alarm(s, FSM_ALARM_CONFLICT, true);
	if (s->now >= m->conflict_until_ns)
		announce(s);
	m->conflict_until_ns = s->now + CONFLICT_NS;
}

static void on_switchover(struct step *s)
{
	struct vrrp *m = s->m;

	if (vrrp_switchover_check(m, s->now) != REASON_NONE)
		return;
	if (m->state == FSM_STANDBY) {
		if (able(m) && !m->claiming)
			claim(s, REASON_OPERATOR);
		return;
	}
	let_go(s, true);
	m->moved = true;
	become_backup(s, REASON_OPERATOR);
}

/* Time went by for the others that our clock does not count. */
static void on_paused(struct step *s, uint64_t paused_ns)
{
	struct vrrp *m = s->m;

	if (m->state == FSM_ACTIVE && s->now - m->sent_ns + paused_ns > vrrp_lease_ns(m)) {
		let_go(s, false);
		become_backup(s, REASON_PAUSED);
	} else if (m->state == FSM_STANDBY) {
		set_down_timer(s, vrrp_down_interval_ns(m), REASON_ADVERT_SILENT);
	}
}

static void on_stop(struct step *s)
{
	struct vrrp *m = s->m;

	m->stopping = true;
	if (m->state == FSM_ACTIVE)
		let_go(s, true);
	m->good_since_ns = 0;
	if (m->state != FSM_INIT)
		enter(s, FSM_INIT, REASON_STOPPING);
}

void vrrp_step(struct vrrp *m, const struct fsm_event *ev, uint64_t now_ns, struct fsm_actions *out)
{
	struct step s = {.m = m, .now = now_ns, .out = out};

	ASSERT(now_ns >= m->now_ns);
	out->count = 0;
	m->now_ns = now_ns;
	if (ev->kind != FSM_EV_UNHEARD)
		check_own_gap(&s);
	switch (ev->kind) {
	case FSM_EV_LINK:
	case FSM_EV_GATEWAY:
	case FSM_EV_FENCE:
	case FSM_EV_PROXY:
		on_condition(&s, ev);
		break;
	case FSM_EV_ADDRESS_ADDED:
	case FSM_EV_ADDRESS_FAILED:
	case FSM_EV_ADDRESS_DELETED:
		on_address(&s, ev->kind);
		break;
	case FSM_EV_ADDRESS_REMOVED:
	case FSM_EV_ADDRESS_STUCK:
		on_removed(&s, ev->kind == FSM_EV_ADDRESS_REMOVED);
		break;
	case FSM_EV_ADDRESS_CONFLICT:
		on_conflict(&s);
		break;
	case FSM_EV_SWITCHOVER:
		on_switchover(&s);
		break;
	case FSM_EV_FREEZE:
	case FSM_EV_RESUME:
		m->frozen = ev->kind == FSM_EV_FREEZE;
		m->frozen_until_ns = ev->until_ns;
		break;
	case FSM_EV_CLAIMED:
		on_claimed(&s);
		break;
	case FSM_EV_CLAIM_REFUSED:
		on_claim_refused(&s);
		break;
	case FSM_EV_LEASE_REFUSED:
		on_lease_refused(&s);
		break;
	case FSM_EV_UNHEARD:
		on_unheard(&s);
		break;
	case FSM_EV_PAUSED:
		on_paused(&s, ev->age_ns);
		break;
	case FSM_EV_STOP:
		on_stop(&s);
		break;
	case FSM_EV_TICK:
	case FSM_EV_PACKET:
	case FSM_EV_PROBE_SENT:
	case FSM_EV_PROBE_FAILED:
	case FSM_EV_PROBE_ANSWERED:
	case FSM_EV_WITNESS:
	case FSM_EV_WITNESS_HEARD:
	case FSM_EV_PEER_FENCED:
	case FSM_EV_PEER_HOST:
	case FSM_EV_CLAIM_HOOKED:
	case FSM_EV_PEER_PROBE:
	case FSM_EV_EPOCH_STORED:
	case FSM_EV_EPOCH_FAILED:
	case FSM_EV_RULES_LOADED:
	case FSM_EV_RULES_FAILED:
	case FSM_EV_DRAINED:
		break;
	}
	finish(&s);
}

/* --- life --------------------------------------------------------------------------------------
 */
void vrrp_configure(struct vrrp *m, const struct vrrp_config *config)
{
	ASSERT(config->priority >= 1 && config->priority <= 254);
	ASSERT(config->interval_ns >= VRRP_CS_NS);
	m->config = *config;
	if (m->state == FSM_ACTIVE && m->advert_ns > m->now_ns + config->interval_ns)
		m->advert_ns = m->now_ns + config->interval_ns;
}

void vrrp_init(struct vrrp *m, const struct vrrp_config *config, uint64_t now_ns)
{
	*m = (struct vrrp){
		.state = FSM_INIT, .reason = REASON_STARTED, .since_ns = now_ns, .now_ns = now_ns};
	vrrp_configure(m, config);
	m->learned_ns = m->said_ns = config->interval_ns;
}
