/*
 * The step itself: what every event has in common, and the timers. The states are in fsm_claim.c
 * (without the address) and fsm_owner.c (with it), what a packet means in fsm_peer.c, what the
 * machine knows and says of itself in fsm_view.c.
 */
#include "failover/core/fsm.h"

#include "failover/core/fsm_internal.h"

/* RFC 5227 2.4: an address is defended once in that time. */
#define CONFLICT_NS (10 * NS_PER_S)

/* --- actions -------------------------------------------------------------------------------- */

struct fsm_action *act(struct step *s, enum fsm_action_kind kind)
{
	struct fsm_action *a = &s->out->list[s->out->count];

	ASSERT(s->out->count < FSM_ACTIONS_MAX);
	s->out->count++;
	*a = (struct fsm_action){.kind = kind};
	return a;
}

uint32_t act_ticket(struct step *s, enum fsm_action_kind kind)
{
	struct fsm *m = s->m;

	if (++m->ticket == 0)
		m->ticket = 1;
	act(s, kind)->ticket = m->ticket;
	return m->ticket;
}

void act_send(struct step *s, enum packet_kind kind, enum fsm_reason reason)
{
	struct fsm_action *a = act(s, FSM_DO_SEND);

	ASSERT(kind != PACKET_ACTIVE || owns(s->m));
	ASSERT(kind != PACKET_RELEASE || !owns(s->m));
	a->packet = kind;
	a->reason = reason;
}

void act_alarm(struct step *s, enum fsm_alarm alarm, bool on)
{
	struct fsm_action *a;

	ASSERT(alarm < FSM_ALARM_COUNT);
	if (fsm_alarm_on(s->m, alarm) == on)
		return;
	s->m->alarms ^= 1U << alarm;
	a = act(s, FSM_DO_ALARM);
	a->alarm = alarm;
	a->on = on;
}

void enter(struct step *s, enum fsm_state to, enum fsm_reason reason)
{
	struct fsm *m = s->m;
	struct fsm_action *a;

	ASSERT(to != m->state && reason != REASON_NONE);
	if (m->state == FSM_PROBING) {
		if (m->probing)
			act(s, FSM_DO_PROBE_STOP);
		if (to != FSM_ACTIVE)
			act(s, FSM_DO_CLOSE_CLAIM);
		m->probing = m->by_release = m->claim_sent = m->fenced = false;
		m->witness_ticket = m->fence_ticket = 0;
	}
	if (m->state == FSM_DRAINING) {
		act(s, FSM_DO_CLEAR_DRAIN);
		m->released = false;
	}
	a = act(s, FSM_DO_TELL);
	a->from = m->state;
	a->to = to;
	a->reason = reason;
	m->state = to;
	m->reason = reason;
	m->since_ns = s->now;
	s->beat = true;
}

/* Durable before it is used; asked for ahead of time, so that a claim need not wait for the disk.
 */
void store_epoch(struct step *s, uint64_t epoch)
{
	struct fsm *m = s->m;

	if (epoch <= m->stored_epoch || m->storing_epoch || s->now < m->store_retry_ns ||
		epoch > PACKET_EPOCH_MAX)
		return;
	m->storing_epoch = epoch;
	act(s, FSM_DO_STORE_EPOCH)->epoch = epoch;
}

void load_rules(struct step *s, uint64_t end_ns)
{
	struct fsm *m = s->m;

	m->rules_end_ns = end_ns;
	if (m->rules || m->rules_pending)
		return;
	m->rules_pending = true;
	act(s, FSM_DO_LOAD_RULES);
}

void unload_rules(struct step *s)
{
	struct fsm *m = s->m;

	if (m->rules || m->rules_pending)
		act(s, FSM_DO_UNLOAD_RULES);
	m->rules = m->rules_pending = m->ready_owed = false;
}

void ask_host(struct step *s)
{
	struct fsm *m = s->m;

	m->host_lives = false;
	m->host_end_ns = UINT64_MAX; /* its time begins when it was asked: after this step */
	act(s, FSM_DO_ASK_PEER);
}

/* --- events --------------------------------------------------------------------------------- */

/* We did not run for so long that what we know of the peer is old: it may have done anything. While
 * we ask that takes longer: what was asked before is judged by its age anyway, and asked again. */
static void notice_sleep(struct step *s)
{
	struct fsm *m = s->m;
	uint64_t limit_ns =
		m->state == FSM_PROBING ? m->config.times.silence_ns : m->config.times.lease_ns;

	if (owns(m)) {
		if (s->now - m->sent_ns > m->config.times.lease_ns)
			step_down(s, FSM_STANDBY, REASON_FROZEN, true);
		else if (m->config.witness && s->now - m->known_ns > m->config.times.lease_ns)
			step_down(s, FSM_STANDBY, REASON_UNHEARD, true);
		return;
	}
	if (s->now <= m->next_ns || s->now - m->next_ns <= limit_ns)
		return;
	m->owner_ns = s->now;
	if (m->state == FSM_PROBING)
		retreat(s, REASON_FROZEN);
}

/* The world went on without us, and without the kernel's lease: it stood still as well. */
static void on_paused(struct step *s, uint64_t pause_ns)
{
	struct fsm *m = s->m;
	uint64_t lease_ns = m->config.times.lease_ns;

	m->void_ns = s->now;
	if (owns(m)) {
		if (pause_ns > lease_ns || s->now - m->sent_ns > lease_ns - pause_ns)
			step_down(s, FSM_STANDBY, REASON_PAUSED, true);
		return;
	}
	m->owner_ns = s->now;
	if (m->state == FSM_PROBING)
		retreat(s, REASON_PAUSED);
}

static void on_probe_answered(struct step *s, bool by_peer)
{
	struct fsm *m = s->m;

	if (m->state != FSM_PROBING || m->by_release)
		return;
	act_alarm(s, by_peer ? FSM_ALARM_HELD : FSM_ALARM_CONFLICT, true);
	if (!by_peer)
		m->conflict_until_ns = s->now + CONFLICT_NS;
	retreat(s, by_peer ? REASON_PROBE_ANSWERED : REASON_ADDRESS_CONFLICT);
}

/* Whoever it was: the peer's MAC may be another than the one that we know. A stranger who keeps
 * asking keeps us from claiming, and somebody should know. */
static void on_peer_probe(struct step *s, bool by_peer)
{
	struct fsm *m = s->m;

	if (!by_peer && !owns(m)) {
		act_alarm(s, FSM_ALARM_CONFLICT, true);
		m->conflict_until_ns = s->now + CONFLICT_NS;
	}
	m->void_ns = s->now;
	/* Let it finish; it will do the same for us. */
	if (m->state == FSM_PROBING)
		retreat(s, REASON_PEER_PROBING);
	else if (m->retry_ns < s->now + m->config.times.window_ns)
		m->retry_ns = s->now + m->config.times.window_ns;
}

static void condition_changed(struct step *s)
{
	struct fsm *m = s->m;

	if (!able(m))
		m->good_since_ns = 0;
	else if (m->good_since_ns == 0)
		m->good_since_ns = s->now;
}

static void on_epoch(struct step *s, bool stored, uint64_t epoch)
{
	struct fsm *m = s->m;

	m->storing_epoch = 0;
	act_alarm(s, FSM_ALARM_EPOCH, !stored);
	if (stored && epoch > m->stored_epoch)
		m->stored_epoch = epoch;
	if (stored)
		return;
	m->store_retry_ns = s->now + NS_PER_S;
	if (m->state == FSM_PROBING)
		retreat(s, REASON_EPOCH_FAILED);
}

static void on_rules(struct step *s, bool loaded)
{
	struct fsm *m = s->m;

	if (!m->rules_pending)
		return;
	m->rules_pending = false;
	m->rules = loaded;
	if (!m->ready_owed)
		return;
	m->ready_owed = false;
	if (loaded && willing(m))
		act_send(s, PACKET_READY, REASON_NONE);
	else
		act_send(s, PACKET_REFUSE, loaded ? unable_reason(m) : REASON_RULES_FAILED);
}

static void on_switchover(struct step *s)
{
	struct fsm *m = s->m;

	if (fsm_switchover_check(m, s->now) != REASON_NONE)
		return;
	m->want = REASON_OPERATOR;
	m->want_until_ns = s->now + FSM_WANT_NS;
	s->beat = true;
}

static void on_conflict(struct step *s)
{
	struct fsm *m = s->m;

	if (!owns(m))
		return;
	act_alarm(s, FSM_ALARM_CONFLICT, true);
	if (s->now >= m->conflict_until_ns)
		announce(s);
	m->conflict_until_ns = s->now + CONFLICT_NS;
}

static void on_address(struct step *s, enum fsm_event_kind kind)
{
	struct fsm *m = s->m;

	if (!owns(m))
		return;
	if (kind == FSM_EV_ADDRESS_FAILED) {
		step_down(s, FSM_FAULT, REASON_ADDRESS_FAILED, true);
	} else if (kind == FSM_EV_ADDRESS_DELETED) {
		m->address = false;
		act(s, FSM_DO_ADD_ADDRESSES);
	} else {
		m->address = true;
		act_alarm(s, FSM_ALARM_STUCK, false);
		announce(s);
	}
}

static void on_local_event(struct step *s, const struct fsm_event *ev)
{
	struct fsm *m = s->m;

	if (ev->kind == FSM_EV_LINK) {
		m->link = ev->good;
	} else if (ev->kind == FSM_EV_GATEWAY) {
		if (m->gateway != ev->good)
			m->gateway_ns = s->now;
		m->gateway = ev->good;
	} else if (ev->kind == FSM_EV_FENCE) {
		m->unfenced = !ev->good;
	} else {
		m->proxy = ev->proxy;
	}
	condition_changed(s);
	s->beat = true;
}

static void on_operator_event(struct step *s, const struct fsm_event *ev)
{
	struct fsm *m = s->m;

	if (ev->kind == FSM_EV_STOP) {
		m->stopping = true;
		if (m->state == FSM_DRAINING && m->drain_end_ns > s->now + drain_limit_ns(m))
			m->drain_end_ns = s->now + drain_limit_ns(m);
	} else {
		m->frozen = ev->kind == FSM_EV_FREEZE;
		m->frozen_until_ns = m->frozen ? ev->until_ns : 0;
		m->want = REASON_NONE;
	}
	s->beat = true;
}

static void on_event(struct step *s, const struct fsm_event *ev)
{
	struct fsm *m = s->m;

	switch (ev->kind) {
	case FSM_EV_TICK:
		s->queues_empty = true;
		break;
	case FSM_EV_PACKET:
		on_packet(s, ev);
		break;
	case FSM_EV_LINK:
	case FSM_EV_GATEWAY:
	case FSM_EV_PROXY:
	case FSM_EV_FENCE:
		on_local_event(s, ev);
		break;
	case FSM_EV_PROBE_ANSWERED:
		on_probe_answered(s, ev->good);
		break;
	case FSM_EV_PROBE_SENT:
		on_probe_sent(s);
		break;
	case FSM_EV_PROBE_FAILED:
		if (m->state == FSM_PROBING && !m->by_release)
			retreat(s, REASON_PROBE_FAILED);
		break;
	case FSM_EV_PEER_PROBE:
		on_peer_probe(s, ev->good);
		break;
	case FSM_EV_WITNESS:
		if (m->witness_ticket && ev->ticket == m->witness_ticket)
			on_witness(s, ev->good);
		break;
	case FSM_EV_WITNESS_HEARD:
		known_as_owner(s, ev->age_ns);
		break;
	case FSM_EV_PEER_FENCED:
		if (m->fence_ticket && ev->ticket == m->fence_ticket)
			on_peer_fenced(s, ev->good);
		break;
	case FSM_EV_PEER_HOST:
		on_peer_host(s);
		break;
	case FSM_EV_CLAIM_HOOKED:
		if (m->hook_ticket && ev->ticket == m->hook_ticket)
			on_claim_hooked(s, ev->good);
		break;
	case FSM_EV_PAUSED:
		on_paused(s, ev->age_ns);
		break;
	case FSM_EV_EPOCH_STORED:
		on_epoch(s, true, ev->epoch);
		break;
	case FSM_EV_EPOCH_FAILED:
		on_epoch(s, false, 0);
		break;
	case FSM_EV_CLAIMED:
		on_claimed(s);
		break;
	case FSM_EV_CLAIM_REFUSED:
		if (m->state == FSM_PROBING)
			retreat(s, REASON_CLAIM_REFUSED);
		break;
	case FSM_EV_LEASE_REFUSED:
		if (owns(m))
			step_down(s, FSM_STANDBY, REASON_LEASE_LOST, true);
		break;
	case FSM_EV_ADDRESS_ADDED:
	case FSM_EV_ADDRESS_FAILED:
	case FSM_EV_ADDRESS_DELETED:
		on_address(s, ev->kind);
		break;
	case FSM_EV_ADDRESS_REMOVED:
	case FSM_EV_ADDRESS_STUCK:
		on_fenced(s, ev->kind == FSM_EV_ADDRESS_REMOVED);
		break;
	case FSM_EV_ADDRESS_CONFLICT:
		on_conflict(s);
		break;
	case FSM_EV_RULES_LOADED:
	case FSM_EV_RULES_FAILED:
		on_rules(s, ev->kind == FSM_EV_RULES_LOADED);
		break;
	case FSM_EV_DRAINED:
		if (m->state == FSM_DRAINING || m->removing)
			m->drained = true;
		break;
	case FSM_EV_SWITCHOVER:
		on_switchover(s);
		break;
	case FSM_EV_FREEZE:
	case FSM_EV_RESUME:
	case FSM_EV_STOP:
		on_operator_event(s, ev);
		break;
	case FSM_EV_UNHEARD:
		break;
	}
}

/* --- time ----------------------------------------------------------------------------------- */

static void expire(struct step *s)
{
	struct fsm *m = s->m;

	if (m->frozen && m->frozen_until_ns && s->now >= m->frozen_until_ns)
		m->frozen = false;
	if (m->want != REASON_NONE && s->now >= m->want_until_ns)
		m->want = REASON_NONE;
	if (m->peer.good_since_ns && !peer_can_take(m, s->now))
		m->peer.good_since_ns = 0;
	if ((m->rules || m->rules_pending) && m->state != FSM_PROBING && s->now >= m->rules_end_ns)
		unload_rules(s);
	if (fsm_alarm_on(m, FSM_ALARM_CONFLICT) && s->now >= m->conflict_until_ns)
		act_alarm(s, FSM_ALARM_CONFLICT, false);
}

static void run_state(struct step *s)
{
	switch (s->m->state) {
	case FSM_INIT:
		init_run(s);
		break;
	case FSM_STANDBY:
		standby_run(s);
		break;
	case FSM_PROBING:
		probing_run(s);
		break;
	case FSM_ACTIVE:
		active_run(s);
		break;
	case FSM_HANDOVER:
		handover_run(s);
		break;
	case FSM_DRAINING:
		draining_run(s);
		break;
	case FSM_FAULT:
		fault_run(s);
		break;
	}
}

/* Until it stays where it is: a chain such as FAULT, STANDBY, PROBING is one step. */
static void run(struct step *s)
{
	enum fsm_state before;
	int hops = 0;

	do {
		ASSERT(hops < 8);
		hops++;
		before = s->m->state;
		run_state(s);
	} while (s->m->state != before);
}

static void heartbeat(struct step *s)
{
	struct fsm *m = s->m;

	if (!s->beat && s->now < m->beat_ns)
		return;
	if (owns(m)) {
		act_send(s, PACKET_ACTIVE, REASON_NONE);
		m->sent_ns = s->now;
		if (m->state == FSM_HANDOVER)
			act_send(s, PACKET_PREPARE, m->reason);
	} else if (m->released) {
		act_send(s, PACKET_RELEASE, m->release_reason);
	} else {
		act_send(s, PACKET_STANDBY, REASON_NONE);
	}
	m->beat_ns = s->now + m->config.times.heartbeat_ns;
}

static void earlier(uint64_t *next, uint64_t at, bool applies)
{
	if (applies && at < *next)
		*next = at;
}

/* What is in no hurry (hold-down, draining, READY and the like) is looked at with each heartbeat.
 */
static uint64_t next_due(const struct fsm *m, uint64_t now)
{
	uint64_t next = m->beat_ns;

	earlier(&next, claim_due_ns(m, now), true);
	earlier(&next, m->announce_ns, m->announce_left > 0 && m->state == FSM_ACTIVE);
	earlier(&next, m->refresh_ns, m->address && m->state == FSM_ACTIVE);
	return next > now ? next : now;
}

void fsm_init(
	struct fsm *m, const struct fsm_config *config, uint64_t stored_epoch, uint64_t now_ns)
{
	ASSERT(times_check(&config->times) == NULL);
	ASSERT(config->node != 0 && config->node != config->peer);
	ASSERT(config->group >= 1 && config->group <= 255);
	memset(m, 0, sizeof(*m));
	m->config = *config;
	m->state = FSM_INIT;
	m->reason = REASON_STARTED;
	m->since_ns = m->now_ns = m->next_ns = m->beat_ns = m->owner_ns = now_ns;
	m->stored_epoch = stored_epoch < PACKET_EPOCH_MAX ? stored_epoch : PACKET_EPOCH_MAX - 1;
	m->epoch = m->stored_epoch;
}

/* What began then and ends after a lease ends when it would have ended, whatever a lease is now;
 * but no later than if it began now. */
static uint64_t begun(uint64_t at_ns, uint64_t old_lease_ns, uint64_t lease_ns, uint64_t now_ns)
{
	uint64_t end_ns = at_ns + old_lease_ns;
	uint64_t began_ns = end_ns > lease_ns ? end_ns - lease_ns : 0;

	return began_ns < now_ns ? began_ns : now_ns;
}

void fsm_configure(struct fsm *m, const struct fsm_config *config, uint64_t now_ns)
{
	uint64_t old_ns = m->config.times.lease_ns, lease_ns = config->times.lease_ns;

	ASSERT(times_check(&config->times) == NULL);
	ASSERT(config->node == m->config.node && config->peer == m->config.peer &&
		config->group == m->config.group);
	m->sent_ns = begun(m->sent_ns, old_ns, lease_ns, now_ns);
	m->known_ns = begun(m->known_ns, old_ns, lease_ns, now_ns);
	if (config->witness && !m->config.witness)
		m->known_ns = now_ns;
	if (m->beat_ns > now_ns + config->times.heartbeat_ns)
		m->beat_ns = now_ns + config->times.heartbeat_ns;
	m->config = *config;
}

static void check_invariants(const struct fsm *m)
{
	ASSERT(m->state == FSM_PROBING || (!m->probing && !m->by_release && !m->claim_sent));
	ASSERT(m->state == FSM_HANDOVER || m->state == FSM_ACTIVE || !m->address);
	ASSERT(!owns(m) || (m->epoch <= m->stored_epoch && m->epoch > 0));
	ASSERT(!m->removing || !owns(m));
	ASSERT(m->announce_left == 0 || owns(m));
	ASSERT(m->hook_ticket == 0 || owns(m));
	ASSERT((m->witness_ticket == 0 && m->fence_ticket == 0) || m->state == FSM_PROBING);
	ASSERT(!m->released || m->state == FSM_DRAINING);
	ASSERT(!m->rules || !m->rules_pending);
}

void fsm_step(struct fsm *m, const struct fsm_event *ev, uint64_t now_ns, struct fsm_actions *out)
{
	struct step s = {.m = m, .now = now_ns, .out = out};

	ASSERT(now_ns >= m->now_ns);
	out->count = 0;
	m->now_ns = now_ns;
	notice_sleep(&s);
	on_event(&s, ev);
	expire(&s);
	run(&s);
	heartbeat(&s);
	if (m->stopping && !m->stopped && !m->removing &&
		(m->state == FSM_INIT || m->state == FSM_STANDBY || m->state == FSM_FAULT)) {
		m->stopped = true;
		act(&s, FSM_DO_STOPPED);
	}
	m->next_ns = out->next_ns = next_due(m, now_ns);
	check_invariants(m);
}
