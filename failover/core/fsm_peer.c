/*
 * What a packet of the peer means.
 */
#include "failover/core/fsm_internal.h"

static bool says_owner(enum packet_kind kind)
{
	switch (kind) {
	case PACKET_ACTIVE:
	case PACKET_CLAIM:
	case PACKET_PREPARE:
		return true;
	case PACKET_STANDBY:
	case PACKET_RELEASE:
	case PACKET_READY:
	case PACKET_DRAINED:
	case PACKET_TUPLES:
	case PACKET_REFUSE:
		break;
	}
	return false;
}

static void remember(struct step *s, const struct packet *p)
{
	struct fsm *m = s->m;
	struct fsm_peer *peer = &m->peer;

	peer->boot_id = p->boot_id;
	peer->sent_ns = p->sent_ns;
	peer->heard_ns = s->now;
	peer->epoch = p->epoch;
	peer->owner = says_owner(p->kind);
	peer->respect_ns = peer->owner ? times_respect_ns(p->lease_left_ms) : 0;
	peer->state = p->state;
	peer->flags = p->flags;
	peer->health = p->health;
	if (!peer_can_take(m, s->now))
		peer->good_since_ns = 0;
	else if (peer->good_since_ns == 0)
		peer->good_since_ns = s->now;
	if (!owns(m) && m->epoch < p->epoch) {
		/* A RELEASE of ours would now speak of a claim that is not ours. */
		m->epoch = p->epoch;
		m->released = m->release_owed = false;
	}
}

/* Two owners: one lets go, the other makes sure that the network knows where the address is. */
static void contest(struct step *s, const struct packet *p)
{
	struct fsm *m = s->m;

	if (!election_keeps(m->config.node, m->epoch, m->config.peer, p->epoch)) {
		step_down(s, FSM_STANDBY,
			p->epoch > m->epoch ? REASON_PEER_WINS : REASON_TIE_YIELDED, false);
		return;
	}
	if (m->contested)
		return;
	m->contested = true;
	s->beat = true;
	if (m->address)
		announce(s);
}

static void on_owner(struct step *s, const struct packet *p)
{
	struct fsm *m = s->m;

	m->owner_ns = s->now;
	act_alarm(s, FSM_ALARM_HELD, false);
	switch (m->state) {
	case FSM_INIT:
	case FSM_STANDBY:
	case FSM_FAULT:
		break;
	case FSM_PROBING:
		if (!m->claim_sent ||
			!election_keeps(m->config.node, m->epoch, m->config.peer, p->epoch))
			retreat(s, REASON_PEER_ACTIVE);
		break;
	case FSM_ACTIVE:
	case FSM_HANDOVER:
		if (owns(m))
			contest(s, p);
		break;
	case FSM_DRAINING:
		m->released = false;
		m->taken = true;
		break;
	}
}

static void on_no_owner(struct step *s)
{
	struct fsm *m = s->m;

	if (owns(m) && m->contested) {
		m->contested = false;
		if (m->address)
			announce(s);
	}
	if (m->state == FSM_PROBING && !m->by_release && !m->claim_sent &&
		m->peer.state == FSM_PROBING && peer_is_before_us(m, s->now))
		retreat(s, REASON_PEER_PROBING);
}

static void on_prepare(struct step *s)
{
	struct fsm *m = s->m;

	if (m->state != FSM_STANDBY || !willing(m)) {
		act_send(s, PACKET_REFUSE,
			!able(m)		   ? unable_reason(m)
			: m->state == FSM_DRAINING ? REASON_STILL_DRAINING
						   : REASON_PEER_CANNOT);
		return;
	}
	store_epoch(s, m->epoch + 1);
	m->host_lives = true;
	load_rules(s, s->now + NS_PER_S);
	if (m->rules)
		act_send(s, PACKET_READY, REASON_NONE);
	else
		m->ready_owed = true;
}

static void on_release(struct step *s, const struct fsm_event *ev)
{
	struct fsm *m = s->m;
	enum fsm_reason reason = ev->packet->reason;

	if (ev->packet->epoch < m->epoch || ev->age_ns > m->config.times.lease_ns)
		return;
	/* It may have asked for the address again since, or our clock stood still. */
	if (m->void_ns && m->void_ns >= s->now - ev->age_ns)
		return;
	if (can_rescue(m) && serves_no_more(reason))
		enter(s, FSM_STANDBY, REASON_PEER_RELEASED);
	if (willing(m))
		claim_by_release(s, ev->age_ns, reason);
}

void on_packet(struct step *s, const struct fsm_event *ev)
{
	struct fsm *m = s->m;
	const struct packet *p = ev->packet;

	ASSERT(p && p->node == m->config.peer && p->group == m->config.group);
	/* The slower path brings what the faster one has overtaken. */
	if (p->boot_id == m->peer.boot_id && p->sent_ns < m->peer.sent_ns)
		return;
	remember(s, p);
	known_as_owner(s, ev->age_ns);
	if (says_owner(p->kind))
		on_owner(s, p);
	else
		on_no_owner(s);
	switch (p->kind) {
	case PACKET_PREPARE:
		on_prepare(s);
		break;
	case PACKET_RELEASE:
		on_release(s, ev);
		break;
	case PACKET_READY:
		if (m->state == FSM_HANDOVER && !m->removing)
			begin_fence(s);
		break;
	case PACKET_REFUSE:
		if (m->state == FSM_HANDOVER && !m->removing)
			handover_refused(s, REASON_PEER_REFUSED);
		break;
	case PACKET_DRAINED:
		unload_rules(s);
		m->tickle = false;
		break;
	case PACKET_STANDBY:
	case PACKET_ACTIVE:
	case PACKET_CLAIM:
	case PACKET_TUPLES:
		break;
	}
}
