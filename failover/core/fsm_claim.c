/*
 * The states without the address: when to ask for it, and how a claim is made.
 *
 * A claim needs evidence that nobody has the address, and evidence ages: silence counts only while
 * we listen and after the receive queues are empty, an unanswered probe and the witness's promise
 * only within the claim window, a RELEASE only while the lease time runs since it was made. So the
 * fence hook, which takes what it takes, comes after a first round of questions (a living owner is
 * never fenced) and before a second one.
 */
#include "failover/core/fsm_internal.h"

/* The one that comes second by rank waits this much for the one that comes first. */
static uint64_t patience_ns(const struct fsm *m)
{
	uint64_t silence_ns = m->config.times.silence_ns;

	return m->peer.state == FSM_INIT ? FSM_SETTLE_NS + 2 * silence_ns : 4 * silence_ns;
}

/* No owner was heard for so long that it is our turn to ask; frozen nodes and the like never ask.
 */
static uint64_t ask_due_ns(const struct fsm *m, uint64_t now)
{
	uint64_t due = m->owner_ns, silence_ns = m->config.times.silence_ns;

	if (!willing(m))
		return UINT64_MAX;
	/* Its file may have a longer lease than ours while one of the two is reloaded. */
	if (silence_ns < m->peer.respect_ns)
		silence_ns = m->peer.respect_ns;
	/* Whom only the other end hears may stay an owner for a lease longer. */
	if (m->config.witness)
		silence_ns *= 2;
	if (m->config.peer && peer_is_before_us(m, now) && silence_ns < patience_ns(m))
		silence_ns = patience_ns(m);
	if (m->config.peer)
		due += silence_ns;
	if (due < m->retry_ns)
		due = m->retry_ns;
	if (m->stored_epoch <= m->epoch && !m->storing_epoch && due < m->store_retry_ns)
		due = m->store_retry_ns;
	return due;
}

uint64_t claim_due_ns(const struct fsm *m, uint64_t now)
{
	if (m->state == FSM_STANDBY)
		return ask_due_ns(m, now);
	if (m->state != FSM_PROBING || m->fence_ticket)
		return UINT64_MAX;
	if (now < m->probe_end_ns && m->probe_end_ns <= m->window_end_ns)
		return m->probe_end_ns;
	if (now < m->probe_end_ns || m->claim_sent || m->rules_pending || m->witness_ticket ||
		m->stored_epoch <= m->epoch)
		return m->window_end_ns + 1;
	return now;
}

static void open_window(struct step *s, uint64_t end_ns)
{
	s->m->window_end_ns = end_ns;
	act(s, FSM_DO_OPEN_CLAIM)->at_ns = end_ns;
}

/* Both answers must be fresh when the claim leaves. */
static void begin_round(struct step *s)
{
	struct fsm *m = s->m;

	ASSERT(m->state == FSM_PROBING && !m->probing && !m->by_release);
	m->probe_end_ns = UINT64_MAX;
	m->probing = true;
	open_window(s, s->now + m->config.times.window_ns);
	act(s, FSM_DO_PROBE_START);
	m->promise_asked_ns = 0;
	if (!m->config.witness)
		return;
	m->witness_ticket = act_ticket(s, FSM_DO_ASK_WITNESS);
	s->out->list[s->out->count - 1].epoch = m->epoch + 1;
	m->promise_asked_ns = s->now;
}

/* Has the peer connections that it serves? One that we have not met in this life: perhaps. */
static bool peer_serves(const struct fsm *m)
{
	return m->config.peer && (!m->peer.boot_id || m->peer.flags & PACKET_PROXY_OK);
}

/* Only its agent may be dead: its connections live on, and what strays to us is sent there. Made
 * ready while an answer is awaited, for it takes its time; a dead host needs nothing. */
static void make_ready(struct step *s)
{
	struct fsm *m = s->m;

	if (m->state == FSM_PROBING && !m->by_release && !m->claim_sent && m->host_lives &&
		peer_serves(m))
		load_rules(s, s->now + m->config.drain_ns);
}

void on_probe_sent(struct step *s)
{
	struct fsm *m = s->m;

	if (m->state != FSM_PROBING || !m->probing)
		return;
	m->probe_end_ns = s->now + m->config.times.probe_ns;
	make_ready(s);
}

void on_peer_host(struct step *s)
{
	s->m->host_lives = true;
	make_ready(s);
}

static void ask(struct step *s)
{
	struct fsm *m = s->m;
	bool alive = fsm_peer_alive(m, s->now), serves = peer_serves(m);

	ASSERT(willing(m) && s->queues_empty);
	enter(s, FSM_PROBING,
		!m->config.peer ? REASON_NO_PEER
		: alive		? REASON_NO_OWNER
				: REASON_PEER_SILENT);
	begin_round(s);
	m->tickle = m->config.peer && !(alive && serves);
	if (serves && !alive)
		ask_host(s);
	m->host_lives = alive;
}

void claim_by_release(struct step *s, uint64_t age_ns, enum fsm_reason reason)
{
	struct fsm *m = s->m;

	ASSERT(willing(m) && age_ns <= m->config.times.lease_ns);
	if (m->claim_sent)
		return;
	if (m->state == FSM_STANDBY)
		enter(s, FSM_PROBING, REASON_PEER_RELEASED);
	if (m->probing)
		act(s, FSM_DO_PROBE_STOP);
	m->probing = false;
	m->by_release = true;
	m->witness_ticket = m->fence_ticket = 0;
	m->probe_end_ns = s->now;
	m->promise_asked_ns = s->now - age_ns;
	/* The peer does not claim again before its silence time; we are done well before. */
	open_window(s, s->now + m->config.times.lease_ns - age_ns);
	m->tickle = serves_no_more(reason);
	m->host_lives = true;
	if (m->tickle)
		unload_rules(s);
	else
		load_rules(s, s->now + m->config.drain_ns);
}

/* Without the claim. The next try comes later on the node that is second, lest they meet for ever.
 */
void retreat(struct step *s, enum fsm_reason reason)
{
	struct fsm *m = s->m;
	uint64_t silence_ns = m->config.times.silence_ns;
	/* By the ids alone: two that are each preferred in their own file would meet for ever. */
	bool first = m->config.node > m->config.peer;
	bool claimed = m->claim_sent;

	ASSERT(m->state == FSM_PROBING);
	enter(s, FSM_STANDBY, reason);
	/* The kernel may have let it pass, and have given a lease. */
	if (claimed) {
		m->removing = true;
		act(s, FSM_DO_REMOVE_ADDRESSES);
	}
	unload_rules(s);
	m->retry_ns = s->now + (first ? silence_ns : silence_ns + silence_ns / 2);
}

void on_witness(struct step *s, bool good)
{
	struct fsm *m = s->m;

	m->witness_ticket = 0;
	act_alarm(s, FSM_ALARM_WITNESS, !good);
	if (!good)
		retreat(s, REASON_WITNESS_REFUSED);
}

void on_peer_fenced(struct step *s, bool good)
{
	struct fsm *m = s->m;

	m->fence_ticket = 0;
	m->fenced = good;
	act_alarm(s, FSM_ALARM_FENCE, !good);
	if (!good) {
		retreat(s, REASON_FENCE_FAILED);
		m->retry_ns += NS_PER_S;
	} else if (s->now > m->window_end_ns) {
		begin_round(s);
	}
}

void on_claimed(struct step *s)
{
	struct fsm *m = s->m;

	if (m->state != FSM_PROBING || !m->claim_sent)
		return;
	if (s->now > m->window_end_ns)
		retreat(s, REASON_CLAIM_LATE);
	else
		become_owner(s, m->by_release ? REASON_PEER_RELEASED : REASON_PROBE_SILENT);
}

void init_run(struct step *s)
{
	struct fsm *m = s->m;

	if (m->good_since_ns == 0 || s->now - m->good_since_ns < FSM_SETTLE_NS)
		return;
	m->owner_ns = s->now;
	enter(s, FSM_STANDBY, REASON_ALL_GOOD);
}

void standby_run(struct step *s)
{
	struct fsm *m = s->m;

	if (!able(m)) {
		damping_failed(&m->damping, s->now);
		unload_rules(s);
		enter(s, FSM_FAULT, unable_reason(m));
		return;
	}
	/* Ahead of need: a claim after a RELEASE does not wait for the disk. */
	store_epoch(s, m->epoch + 1);
	if (s->queues_empty && s->now >= ask_due_ns(m, s->now))
		ask(s);
}

/* What made the claim late has been done by now, such as loading rules: the answers are too old,
 * not the silence, and when all is asked again there is less to do. */
static void ask_again(struct step *s)
{
	struct fsm *m = s->m;

	act_alarm(s, FSM_ALARM_WITNESS, m->witness_ticket != 0);
	if (m->witness_ticket || m->claim_sent || m->by_release) {
		retreat(s, m->witness_ticket ? REASON_WITNESS_SILENT : REASON_CLAIM_LATE);
	} else if (s->queues_empty) {
		if (m->probing)
			act(s, FSM_DO_PROBE_STOP);
		m->probing = false;
		begin_round(s);
	}
}

/* The witness can hardly say in time that it heard the claim: as an owner of whom nobody knows we
 * would let go again at once. Or it was configured since, and there is no promise. */
static bool promise_ends(const struct fsm *m, uint64_t now)
{
	const struct times *t = &m->config.times;

	return now - m->promise_asked_ns > t->lease_ns - t->heartbeat_ns;
}

void probing_run(struct step *s)
{
	struct fsm *m = s->m;

	if (!willing(m)) {
		retreat(s, !able(m)	 ? unable_reason(m)
			   : m->stopping ? REASON_STOPPING
					 : REASON_FROZEN_BY_OPERATOR);
		return;
	}
	if (m->fence_ticket)
		return;
	if (s->now > m->window_end_ns) {
		ask_again(s);
		return;
	}
	if (m->claim_sent || s->now < m->probe_end_ns || m->rules_pending || m->witness_ticket)
		return;
	if (!m->by_release && !s->queues_empty)
		return;
	if (m->stored_epoch <= m->epoch) {
		store_epoch(s, m->epoch + 1);
		return;
	}
	if (m->probing)
		act(s, FSM_DO_PROBE_STOP);
	m->probing = false;
	if (m->config.witness && !m->by_release && promise_ends(m, s->now)) {
		begin_round(s);
		return;
	}
	if (m->config.fence_hook && !m->by_release && !m->fenced && m->config.peer &&
		!fsm_peer_alive(m, s->now)) {
		m->fence_ticket = act_ticket(s, FSM_DO_FENCE_PEER);
		return;
	}
	/* A dead host's clients are told; those of a living one are served there. */
	if (m->fenced || !m->host_lives)
		unload_rules(s);
	m->claim_sent = true;
	m->epoch++;
	act_send(s, PACKET_CLAIM, REASON_NONE);
}

/* Does a peer that can serve have the address? Then there is time to see whether we stay good. */
static bool is_served(const struct fsm *m, uint64_t now)
{
	if (fsm_peer_alive(m, now) && m->peer.owner)
		return m->peer.health != 0;
	return now - m->owner_ns < m->config.times.silence_ns;
}

void fault_run(struct step *s)
{
	struct fsm *m = s->m;

	if (!able(m))
		return;
	if (!damping_over(&m->damping, m->good_since_ns, s->now) &&
		(m->reason == REASON_ADDRESS_FAILED || m->reason == REASON_CLAIM_HOOK_FAILED ||
			is_served(m, s->now)))
		return;
	enter(s, FSM_STANDBY, REASON_ALL_GOOD);
}
