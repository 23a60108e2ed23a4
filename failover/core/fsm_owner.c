/*
 * The states with the address, and giving it away: fence first, then tell the peer.
 */
#include "failover/core/fsm_internal.h"

#define ANNOUNCE_SECOND_NS (100 * NS_PER_MS)
#define ANNOUNCE_THIRD_NS (900 * NS_PER_MS) /* after the second */
/* A handover that the peer did not take is not tried again at once. */
#define HANDOVER_RETRY_NS NS_PER_S

/* Now, and again after 100 ms and 1 s: a switch or a client may miss one. */
void announce(struct step *s)
{
	struct fsm *m = s->m;

	ASSERT(owns(m));
	if (m->hook_ticket)
		return;
	act(s, FSM_DO_ANNOUNCE);
	m->announce_left = 2;
	m->announce_ns = s->now + ANNOUNCE_SECOND_NS;
}

void become_owner(struct step *s, enum fsm_reason reason)
{
	struct fsm *m = s->m;

	ASSERT(m->state == FSM_PROBING && m->claim_sent && !m->address);
	enter(s, FSM_ACTIVE, reason);
	m->sent_ns = s->now;
	m->known_ns = m->promise_asked_ns;
	m->want = REASON_NONE;
	m->yield_until_ns = m->handover_ns = m->conflict_until_ns = 0;
	m->contested = m->drained = false;
	m->refresh_ns = s->now + FSM_REFRESH_NS;
	m->rules_end_ns = s->now + m->config.drain_ns; /* of those that are loaded */
	act(s, FSM_DO_ADD_ADDRESSES);
	if (m->config.claim_hook)
		m->hook_ticket = act_ticket(s, FSM_DO_CLAIM_HOOK);
	act_alarm(s, FSM_ALARM_HELD, false);
}

/* Where the hook moves the address (in a cloud), nothing reaches us without it: the peer may do
 * better, and if there is none we try again after the hold-down. */
void on_claim_hooked(struct step *s, bool good)
{
	struct fsm *m = s->m;

	m->hook_ticket = 0;
	act_alarm(s, FSM_ALARM_HOOK, !good);
	if (!good)
		step_down(s, FSM_FAULT, REASON_CLAIM_HOOK_FAILED, true);
	else if (m->address)
		announce(s);
}

void known_as_owner(struct step *s, uint64_t age_ns)
{
	struct fsm *m = s->m;

	if (age_ns <= s->now && s->now - age_ns > m->known_ns)
		m->known_ns = s->now - age_ns;
}

static void remove_addresses(struct step *s)
{
	struct fsm *m = s->m;

	m->removing = true;
	m->address = m->contested = false;
	m->announce_left = 0;
	m->hook_ticket = 0;
	m->tickle = false;
	m->owner_ns = s->now;
	m->want = REASON_NONE;
	act(s, FSM_DO_REMOVE_ADDRESSES);
	act_alarm(s, FSM_ALARM_CANNOT_SERVE, false);
	act_alarm(s, FSM_ALARM_CONFLICT, false);
	if (m->epoch < m->peer.epoch)
		m->epoch = m->peer.epoch;
}

void step_down(struct step *s, enum fsm_state to, enum fsm_reason reason, bool release)
{
	struct fsm *m = s->m;

	ASSERT(owns(m) && (to == FSM_STANDBY || to == FSM_FAULT));
	m->release_owed = release && m->epoch >= m->peer.epoch;
	remove_addresses(s);
	unload_rules(s);
	m->release_reason = reason;
	if (to == FSM_FAULT) {
		damping_failed(&m->damping, s->now);
		m->good_since_ns = able(m) ? s->now : 0;
	}
	enter(s, to, reason);
}

/* HANDOVER, last part: after this we own nothing, and say so as soon as it is certain. */
void begin_fence(struct step *s)
{
	struct fsm *m = s->m;

	ASSERT(m->state == FSM_HANDOVER && !m->removing);
	m->drained = m->proxy != FSM_PROXY_OK;
	if (!m->drained)
		act(s, FSM_DO_SET_DRAIN);
	m->release_reason = m->reason;
	m->release_owed = m->epoch >= m->peer.epoch;
	remove_addresses(s);
}

uint64_t drain_limit_ns(const struct fsm *m)
{
	return m->stopping && m->config.stop_drain_ns ? m->config.stop_drain_ns
						      : m->config.drain_ns;
}

void on_fenced(struct step *s, bool certain)
{
	struct fsm *m = s->m;

	if (!m->removing)
		return;
	m->removing = false;
	m->owner_ns = s->now;
	act_alarm(s, FSM_ALARM_STUCK, !certain);
	if (m->state == FSM_HANDOVER) {
		unload_rules(s);
		m->drain_end_ns = s->now + drain_limit_ns(m);
		m->yield_until_ns = s->now + FSM_SETTLE_NS + 4 * m->config.times.silence_ns;
		m->taken = false;
		enter(s, FSM_DRAINING, REASON_FENCED);
		m->released = m->release_owed && certain && m->config.peer != 0;
	} else if (m->release_owed && certain && m->config.peer) {
		act_send(s, PACKET_RELEASE, m->release_reason);
	}
	m->release_owed = false;
}

/* A peer that was heard with a later epoch than ours, and owns nothing: our disk lost ours. Go past
 * it. */
static void catch_up_epoch(struct step *s)
{
	struct fsm *m = s->m;

	if (m->peer.epoch <= m->epoch || m->peer.epoch >= PACKET_EPOCH_MAX)
		return;
	if (m->stored_epoch <= m->peer.epoch) {
		store_epoch(s, m->peer.epoch + 1);
		return;
	}
	m->epoch = m->peer.epoch + 1;
	s->beat = true;
}

/* While strays go to a silent peer: to whom, once its host is dead? */
static void watch_host(struct step *s)
{
	struct fsm *m = s->m;

	if (!m->rules || fsm_peer_alive(m, s->now) || !s->queues_empty)
		return;
	if (m->host_end_ns == UINT64_MAX)
		m->host_end_ns = s->now + m->config.times.probe_ns;
	if (s->now < m->host_end_ns)
		return;
	if (!m->host_lives) {
		unload_rules(s);
		m->tickle = true;
	} else if (s->now - m->host_end_ns >= FSM_HOST_NS) {
		ask_host(s);
	}
}

static void upkeep(struct step *s)
{
	struct fsm *m = s->m;

	catch_up_epoch(s);
	watch_host(s);
	if (m->tickle && m->address && !m->rules && !m->rules_pending && !m->hook_ticket) {
		act(s, FSM_DO_TICKLE);
		m->tickle = false;
	}
	if (m->announce_left && s->now >= m->announce_ns) {
		act(s, FSM_DO_ANNOUNCE);
		m->announce_left--;
		m->announce_ns = s->now + ANNOUNCE_THIRD_NS;
	}
	if (m->address && s->now >= m->refresh_ns) {
		act(s, FSM_DO_REFRESH_ADDRESSES);
		m->refresh_ns = s->now + FSM_REFRESH_NS;
	}
}

/* Why the address should move though we could keep it; REASON_NONE: it should not. */
static enum fsm_reason reason_to_move(const struct fsm *m, uint64_t now)
{
	if (m->stopping)
		return REASON_STOPPING;
	if (m->frozen || now < m->handover_ns || m->hook_ticket || !peer_can_take(m, now))
		return REASON_NONE;
	if (m->want != REASON_NONE)
		return m->want;
	if (m->peer.flags & PACKET_WANT_RELEASE)
		return REASON_PEER_WANTS;
	if (m->config.failback_ns && m->config.peer && m->config.prefer == m->config.peer &&
		m->peer.good_since_ns && now - m->peer.good_since_ns >= m->config.failback_ns)
		return REASON_FAILBACK;
	return REASON_NONE;
}

/* Only the gateway is lost, just now: whoever took the address at once might lose it next, and then
 * nobody would have it until the gateway is back. */
static bool may_be_lost_to_both(const struct fsm *m, uint64_t now)
{
	return unable_reason(m) == REASON_GATEWAY_LOST && now - m->gateway_ns < FSM_GATEWAY_NS;
}

void active_run(struct step *s)
{
	struct fsm *m = s->m;
	bool failed = !able(m) && !may_be_lost_to_both(m, s->now);
	enum fsm_reason move;

	if (!m->link) {
		step_down(s, FSM_FAULT, REASON_LINK_DOWN, true);
		return;
	}
	upkeep(s);
	if (failed && !m->frozen && peer_can_rescue(m, s->now)) {
		/* Nothing is served here: no time to lose on making ready. */
		enter(s, FSM_HANDOVER, unable_reason(m));
		begin_fence(s);
		return;
	}
	act_alarm(s, FSM_ALARM_CANNOT_SERVE, failed);
	move = reason_to_move(m, s->now);
	if (move == REASON_NONE)
		return;
	enter(s, FSM_HANDOVER, move);
	m->ready_end_ns = s->now + FSM_READY_NS;
	if (!peer_can_take(m, s->now))
		begin_fence(s);
}

static void keep(struct step *s, enum fsm_reason reason)
{
	struct fsm *m = s->m;

	ASSERT(m->state == FSM_HANDOVER && !m->removing);
	m->want = REASON_NONE;
	m->handover_ns = s->now + HANDOVER_RETRY_NS;
	enter(s, FSM_ACTIVE, reason);
}

void handover_refused(struct step *s, enum fsm_reason reason)
{
	if (s->m->stopping)
		begin_fence(s);
	else
		keep(s, reason);
}

void handover_run(struct step *s)
{
	struct fsm *m = s->m;

	if (m->removing)
		return;
	if (!m->link)
		step_down(s, FSM_FAULT, REASON_LINK_DOWN, true);
	else if (m->frozen && !m->stopping)
		keep(s, REASON_FROZEN_BY_OPERATOR);
	else if (!able(m) && !may_be_lost_to_both(m, s->now))
		begin_fence(s);
	else if (s->now >= m->ready_end_ns)
		handover_refused(s, REASON_NOT_READY);
}

void draining_run(struct step *s)
{
	struct fsm *m = s->m;
	bool timeout = s->now >= m->drain_end_ns;
	/* With a stopping agent the connections end that the peer's kernel hands over. It may be
	 * silent for a while, and even let go and take the address again: they outlive that. */
	bool kept = m->stopping && m->taken;
	bool nobody = !kept && s->now - m->owner_ns >= m->config.times.silence_ns;
	enum fsm_reason reason;

	if (!nobody && (m->released || !(m->drained || timeout)))
		return;
	/* What the peer still sends us need not come any more. */
	if (!nobody && m->config.peer)
		act_send(s, PACKET_DRAINED, REASON_NONE);
	/* The peer may be acting on the RELEASE that we said last: as long again before we ask. */
	if (m->released)
		m->owner_ns = s->now;
	reason = nobody ? REASON_PEER_SILENT : m->drained ? REASON_DRAINED : REASON_DRAIN_TIMEOUT;
	enter(s, FSM_STANDBY, reason);
}
