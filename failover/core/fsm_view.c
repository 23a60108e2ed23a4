/*
 * The state machine looked at: names, the questions that its parts ask of it, and the packet in
 * which it describes itself. Nothing here changes it.
 */
#include "failover/core/fsm_internal.h"

static const char *const event_names[] = {
#define X(name) [FSM_EV_##name] = #name,
	FSM_EVENTS(X)
#undef X
};

static const char *const action_names[] = {
#define X(name) [FSM_DO_##name] = #name,
	FSM_ACTIONS(X)
#undef X
};

static const char *const alarm_names[] = {
#define X(name, words) [FSM_ALARM_##name] = #name,
	FSM_ALARMS(X)
#undef X
};

static const char *const alarm_words[] = {
#define X(name, words) [FSM_ALARM_##name] = (words),
	FSM_ALARMS(X)
#undef X
};

const char *fsm_event_name(enum fsm_event_kind kind)
{
	ASSERT((unsigned)kind < countof(event_names));
	return event_names[kind];
}

const char *fsm_action_name(enum fsm_action_kind kind)
{
	ASSERT((unsigned)kind < countof(action_names));
	return action_names[kind];
}

const char *fsm_alarm_name(enum fsm_alarm alarm)
{
	ASSERT((unsigned)alarm < countof(alarm_names));
	return alarm_names[alarm];
}

const char *fsm_alarm_words(enum fsm_alarm alarm)
{
	ASSERT((unsigned)alarm < countof(alarm_words));
	return alarm_words[alarm];
}

/* --- questions ------------------------------------------------------------------------------ */

/* Says so to the peer, and is bound by the lease. */
bool owns(const struct fsm *m)
{
	return m->state == FSM_ACTIVE || (m->state == FSM_HANDOVER && !m->removing);
}

bool able(const struct fsm *m)
{
	return m->link && m->gateway && !m->unfenced && m->proxy == FSM_PROXY_OK;
}

enum fsm_reason fsm_proxy_reason(enum fsm_proxy proxy)
{
	switch (proxy) {
	case FSM_PROXY_DEAD:
		return REASON_PROXY_DEAD;
	case FSM_PROXY_HUNG:
		return REASON_PROXY_HUNG;
	case FSM_PROXY_ABSENT:
		return REASON_PROXY_ABSENT;
	case FSM_PROXY_OK:
		break;
	}
	return REASON_NONE;
}

enum fsm_reason unable_reason(const struct fsm *m)
{
	if (!m->link)
		return REASON_LINK_DOWN;
	if (m->unfenced)
		return REASON_NO_FENCE;
	if (m->proxy != FSM_PROXY_OK)
		return fsm_proxy_reason(m->proxy);
	return m->gateway ? REASON_NONE : REASON_GATEWAY_LOST;
}

bool willing(const struct fsm *m)
{
	return (m->state == FSM_STANDBY || m->state == FSM_PROBING) && able(m) && !m->frozen &&
	       !m->stopping && !m->removing;
}

bool fsm_peer_alive(const struct fsm *m, uint64_t now_ns)
{
	return m->peer.boot_id != 0 && now_ns - m->peer.heard_ns < m->config.times.silence_ns;
}

bool peer_can_take(const struct fsm *m, uint64_t now)
{
	return fsm_peer_alive(m, now) && m->peer.health != 0 &&
	       (m->peer.state == FSM_STANDBY || m->peer.state == FSM_PROBING);
}

bool peer_can_rescue(const struct fsm *m, uint64_t now)
{
	return peer_can_take(m, now) ||
	       (fsm_peer_alive(m, now) && m->peer.health != 0 && m->peer.state == FSM_DRAINING);
}

bool can_rescue(const struct fsm *m)
{
	return m->state == FSM_DRAINING && able(m) && !m->frozen && !m->stopping;
}

bool serves_no_more(enum fsm_reason reason)
{
	return reason == REASON_PROXY_DEAD || reason == REASON_PROXY_HUNG ||
	       reason == REASON_PROXY_ABSENT || reason == REASON_GATEWAY_LOST ||
	       reason == REASON_LINK_DOWN || reason == REASON_NO_FENCE;
}

bool peer_is_before_us(const struct fsm *m, uint64_t now)
{
	const struct fsm_peer *p = &m->peer;
	bool starting = p->state == FSM_INIT && (p->flags & PACKET_PROXY_OK) &&
			(p->flags & PACKET_GATEWAY_OK);

	if (!peer_can_take(m, now) && !(fsm_peer_alive(m, now) && starting))
		return false;
	if (now < m->yield_until_ns)
		return true;
	if (p->flags & PACKET_DRAINING)
		return false;
	return election_outranks(m->config.peer, m->config.node, m->config.prefer);
}

enum fsm_reason fsm_switchover_check(const struct fsm *m, uint64_t now_ns)
{
	if (m->frozen)
		return REASON_FROZEN_BY_OPERATOR;
	if (m->stopping)
		return REASON_STOPPING;
	if (m->state == FSM_DRAINING)
		return REASON_STILL_DRAINING;
	if (m->state == FSM_ACTIVE && !peer_can_take(m, now_ns))
		return peer_can_rescue(m, now_ns) ? REASON_STILL_DRAINING : REASON_PEER_CANNOT;
	if (m->state == FSM_ACTIVE)
		return REASON_NONE;
	if (m->state != FSM_STANDBY)
		return able(m) ? REASON_NOT_OWNER : unable_reason(m);
	if (!fsm_peer_alive(m, now_ns))
		return REASON_PEER_SILENT;
	return m->peer.owner ? REASON_NONE : REASON_NOT_OWNER;
}

void fsm_packet(const struct fsm *m, const struct fsm_action *send, uint64_t now_ns,
	struct packet *ret_packet)
{
	uint64_t lease_end_ns = m->sent_ns + m->config.times.lease_ns;
	struct packet *p = ret_packet;

	ASSERT(send->kind == FSM_DO_SEND);
	*p = (struct packet){
		.kind = send->packet,
		.state = m->state,
		.reason = send->reason,
		.node = m->config.node,
		.group = m->config.group,
		.epoch = m->epoch,
	};
	if (m->proxy == FSM_PROXY_OK)
		p->flags |= PACKET_PROXY_OK;
	if (m->gateway)
		p->flags |= PACKET_GATEWAY_OK;
	if (m->address)
		p->flags |= PACKET_VIP_OK;
	if (m->state == FSM_DRAINING || now_ns < m->yield_until_ns)
		p->flags |= PACKET_DRAINING;
	if (m->want != REASON_NONE)
		p->flags |= PACKET_WANT_RELEASE;
	if (owns(m) ? able(m) : willing(m) || can_rescue(m))
		p->health = PACKET_HEALTH_MAX;
	if (m->config.prefer == m->config.node)
		p->preference = 1;
	if (send->packet == PACKET_CLAIM) /* opens one */
		lease_end_ns = now_ns + m->config.times.lease_ns;
	if ((owns(m) || send->packet == PACKET_CLAIM) && lease_end_ns > now_ns)
		p->lease_left_ms = (uint32_t)((lease_end_ns - now_ns) / NS_PER_MS);
}
