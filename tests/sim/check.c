/*
 * What must hold, at every instant and at the end. All of it is judged from outside, by what the
 * kernels have and what was sent; a node's own opinion counts only where the text says so.
 *
 *  1. Never two leases, at no instant, with agents frozen anywhere for any time. But for: a claim
 *     made blind (the client network lost a probe or an answer of it) with neither witness nor
 *     fencing; a node whose clock stood still without its knowing; an address that somebody deleted
 *     under its lease. Where only the address fences, also an agent that stood still between
 *     deciding and having. Even then it ends within D + P + 3h of both running and hearing each
 *     other (2h, and one for the way, drift and the timer).
 *  2. A claim rests on a probe that was begun at least P and at most the claim window ago and not
 *     answered, and on the witness's promise and the fence hook's success where there are such; or
 *     on a RELEASE made within L.
 *  3. Each claim's epoch is on disk and above the node's earlier ones (unless the disk was lost).
 *  4. A running agent that does not own the address does not have it.
 *  5. Without a fault nothing moves.
 *  6. Within the settle bound of the last fault exactly one node has the address, and it can serve.
 *  7. From a calm pair a dead host, a dead agent and a frozen one are replaced within D + P + 2h.
 *  8. A connection that a living node serves is never reset by the other: not by a planned move,
 * not by an agent's death or freeze; what is on its way in a planned move is not fenced; a
 * stopping service waits for what it is still handed.
 *  9. The clients of a dead host are told within 100 ms of the claim, and never while the second
 *     chance is loaded.
 */
#include "tests/sim/sim.h"

#include <stdarg.h>

#define DELAYED_MOST_NS (600 * NS_PER_MS)

void check_fail(struct world *w, const char *fmt, ...)
{
	va_list args;

	if (w->check.failure[0])
		return;
	va_start(args, fmt);
	vsnprintf(w->check.failure, sizeof(w->check.failure), fmt, args);
	va_end(args);
	world_trace(w, NULL, "FAILED: %s", w->check.failure);
}

void check_init(struct world *w)
{
	struct check *c = &w->check;
	uint64_t start_ns = w->sc->start_ns[0];

	if (w->sc->nodes > 1 && w->sc->start_ns[1] > start_ns)
		start_ns = w->sc->start_ns[1];
	*c = (struct check){.dual_ns = NEVER, .joined_ns = NEVER, .calm_ns = start_ns};
	for (uint32_t i = 0; i < NODES; i++)
		c->probe_begin_local_ns[i] = c->release_made_ns[i] = NEVER;
}

void check_fault(struct world *w, bool on)
{
	struct check *c = &w->check;

	c->faults_on += on ? 1 : -1U;
	c->faults_seen += on;
	c->calm_ns = c->faults_on ? NEVER : w->now_ns;
	if (!on)
		c->ended_ns = w->now_ns;
}

void check_claim_begins(struct world *w, const struct node *n)
{
	struct check *c = &w->check;

	c->probe_begin_local_ns[n->index] = NEVER;
	c->probe_answered[n->index] = c->probe_blind[n->index] = c->claim_froze[n->index] = false;
	c->fenced[n->index] = false;
	c->heard_off[n->index] = n->fsm.peer.boot_id && !(n->fsm.peer.flags & PACKET_PROXY_OK);
}

void check_claim_ends(struct world *w, const struct node *n)
{
	w->check.probe_begin_local_ns[n->index] = NEVER;
}

/* The agent stops running just now: was it in the middle of a claim? */
void check_froze(struct world *w, const struct node *n)
{
	bool claiming = n->fsm.state == FSM_PROBING;

	for (uint32_t i = n->todo_at; i < n->todo.count; i++)
		claiming = claiming || n->todo.list[i].kind == FSM_DO_ADD_ADDRESSES;
	if (claiming)
		w->check.claim_froze[n->index] = true;
	/* Before it could do what it must after a pause. */
	if (n->fsm.reason == REASON_PAUSED && n->todo_at < n->todo.count)
		w->check.stale_until_ns[n->index] = w->now_ns + n->times.lease_ns;
}

static bool probe_allows(const struct world *w, const struct node *n)
{
	const struct check *c = &w->check;
	uint64_t begin = c->probe_begin_local_ns[n->index], now = node_clock(w, n, w->now_ns);

	/* A claim that was decided in time can still leave late; its effect is what counts. */
	if (w->sc->witness && !c->promised[n->index])
		return false;
	if (w->sc->fence_hook && !c->fenced[n->index] && !fsm_peer_alive(&n->fsm, n->fsm.now_ns))
		return false;
	return begin != NEVER && now - begin >= n->times.probe_ns && !c->probe_answered[n->index] &&
	       (now - begin <= n->times.window_ns || c->claim_froze[n->index]);
}

static bool release_allows(const struct world *w, const struct node *n)
{
	uint64_t made = w->check.release_made_ns[n->index];
	uint64_t limit = n->times.lease_ns + n->times.lease_ns / 50;

	return made != NEVER && (w->now_ns - made <= limit || w->check.claim_froze[n->index] ||
					w->now_ns < w->check.stale_until_ns[n->index]);
}

static void check_epoch(struct world *w, const struct node *n)
{
	uint64_t *last = &w->check.claim_epoch[n->index];

	if (n->fsm.epoch <= *last)
		check_fail(w, "node %c claims with epoch %llu after %llu", 'a' + n->index,
			(unsigned long long)n->fsm.epoch, (unsigned long long)*last);
	if (n->fsm.epoch > n->disk_epoch)
		check_fail(w, "node %c claims with epoch %llu, but %llu is on disk", 'a' + n->index,
			(unsigned long long)n->fsm.epoch, (unsigned long long)n->disk_epoch);
	*last = n->fsm.epoch;
}

void check_claim(struct world *w, const struct node *n)
{
	struct check *c = &w->check;
	bool calm = c->calm_ns != NEVER && w->now_ns > c->calm_ns + settle_bound_ns(w->sc);

	if (!probe_allows(w, n) && !release_allows(w, n))
		check_fail(w, "node %c claims with neither a probe nor a RELEASE", 'a' + n->index);
	check_epoch(w, n);
	c->claims++;
	c->by_probe[n->index] = !n->fsm.by_release;
	if (w->sc->failback_ns == 0 && c->taken > 0 && (calm || c->faults_seen == 0) &&
		w->sc->dead_at_end < 0)
		check_fail(w, "node %c claims without a fault", 'a' + n->index);
	c->claim_ns[n->index] = w->now_ns;
	c->release_made_ns[n->index] = NEVER;
	c->probe_begin_local_ns[n->index] = NEVER;
}

static bool path_is_good(const struct world *w, uint32_t path)
{
	if (path == 0 && (!w->nodes[0].link || !w->nodes[1].link))
		return false;
	for (uint32_t from = 0; from < NODES; from++)
		if (w->path_cut[path][from] || w->path_loss_pct[path][from] ||
			w->path_extra_ns[path][from])
			return false;
	return true;
}

static void check_joined(struct world *w)
{
	struct check *c = &w->check;
	bool joined = false;

	for (uint32_t path = 0; path < w->sc->paths; path++)
		joined = joined || path_is_good(w, path);
	for (uint32_t i = 0; i < NODES; i++)
		joined = joined && w->nodes[i].running &&
			 w->nodes[i].frozen_until_ns <= w->now_ns &&
			 c->stuck_until_ns[i] <= w->now_ns;
	if (!joined)
		c->joined_ns = NEVER;
	else if (c->joined_ns == NEVER)
		c->joined_ns = w->now_ns;
}

/* Nobody could have known better: see 1. */
static bool is_excused(const struct world *w)
{
	const struct check *c = &w->check;
	const uint64_t *since_ns = w->kernel ? c->claim_ns : c->had_ns;
	uint32_t later = since_ns[1] > since_ns[0];
	bool blind = c->probe_blind[later] && !c->fenced[later] && !(w->sc->witness && w->kernel);

	for (uint32_t i = 0; i < NODES; i++)
		if (c->addressless[i] || c->dual_ns <= c->stale_until_ns[i])
			return true;
	return blind || (!w->kernel && c->claim_froze[later]);
}

static void check_dual(struct world *w)
{
	const struct times *t = &w->sc->slowest;
	struct check *c = &w->check;
	const struct node *a = &w->nodes[0], *b = &w->nodes[1];
	bool dual = kernel_holds(w, a) && kernel_holds(w, b);
	bool both_think = node_owns(a) && node_owns(b);
	uint64_t since;

	if (!dual && !both_think) {
		if (c->dual_ns != NEVER)
			c->dual_total_ns += w->now_ns - c->dual_ns;
		c->dual_ns = NEVER;
		c->dual_excused = false;
		return;
	}
	if (c->dual_ns == NEVER)
		c->dual_ns = w->now_ns;
	if (dual && !c->dual_excused) {
		c->dual_excused = is_excused(w);
		/* Where the address is the fence, a claim and a removal may meet in an instant. */
		if (!c->dual_excused && (w->kernel || w->now_ns > c->dual_ns))
			check_fail(w, "both nodes have the address, and node %c could have known",
				'a' + (c->claim_ns[1] > c->claim_ns[0]));
	}
	since = c->dual_ns > c->joined_ns ? c->dual_ns : c->joined_ns;
	if (c->joined_ns != NEVER &&
		w->now_ns - since > t->silence_ns + t->probe_ns + 3 * t->heartbeat_ns)
		check_fail(w, "two owners %.3f ms after they could hear each other",
			(double)(w->now_ns - since) / 1e6);
}

void check_lease(struct world *w)
{
	check_dual(w);
}

void check_instant(struct world *w)
{
	if (!w->dirty && w->check.dual_ns == NEVER)
		return;
	w->dirty = false;
	for (uint32_t i = 0; i < w->sc->nodes; i++) {
		const struct node *n = &w->nodes[i];

		if (n->running && n->frozen_until_ns <= w->now_ns && kernel_holds(w, n) &&
			!node_owns(n) && w->check.stuck_until_ns[i] <= w->now_ns)
			check_fail(w, "node %c has the address in state %s", 'a' + n->index,
				fsm_state_name(n->fsm.state));
	}
	check_joined(w);
	check_dual(w);
	kernel_flows(w);
}

void check_resumed(struct world *w, const struct node *n, bool seen)
{
	bool idle = n->running && n->frozen_until_ns <= w->now_ns && n->todo_at == n->todo.count;

	/* Seen at once by an agent that is not in the middle of something, it harms nothing. */
	if (!seen || !idle)
		w->check.stale_until_ns[n->index] =
			w->now_ns + n->times.window_ns + n->times.lease_ns;
}

/* --- in time -------------------------------------------------------------------------------- */

void check_timed(struct world *w, const struct fault *f)
{
	const struct node *n = &w->nodes[f->node], *other = &w->nodes[1 - f->node];
	const struct times *t = &n->times;
	const struct fsm *m = &other->fsm;
	struct check *c = &w->check;
	uint64_t bound_ns = t->silence_ns + t->probe_ns + 2 * t->heartbeat_ns;

	if (f->kind != FAULT_HOST_DEAD && f->kind != FAULT_AGENT_KILLED && f->kind != FAULT_FREEZE)
		return;
	if (!w->kernel || w->sc->nodes < 2 || w->sc->witness || w->sc->fence_hook ||
		w->sc->claim_hook || w->sc->profiles[0] != w->sc->profiles[1])
		return;
	/* What a fault delayed is a word of the owner's too, when it arrives. */
	if (w->now_ns - c->ended_ns < DELAYED_MOST_NS)
		return;
	if (c->faults_on != 1 || c->joined_ns == NEVER || w->now_ns - c->joined_ns < NS_PER_S ||
		f->end_ns - f->at_ns <= bound_ns)
		return;
	if (n->fsm.state != FSM_ACTIVE || !kernel_answers(w, n) || m->state != FSM_STANDBY ||
		m->frozen || m->now_ns < m->retry_ns || !m->peer.owner || m->alarms ||
		m->stored_epoch <= m->epoch)
		return;
	c->takeover_faults = c->faults_seen;
	world_at(w, w->now_ns + bound_ns, WHAT_TAKEN, other->index, 0);
}

void check_taken(struct world *w, const struct node *n)
{
	if (w->check.faults_seen == w->check.takeover_faults &&
		!(node_owns(n) && kernel_answers(w, n)))
		check_fail(w, "node %c has not taken over in time", 'a' + n->index);
}

/* It has the address now, of a host that died: by when are its clients told? */
void check_tell_by(struct world *w, const struct node *n)
{
	const struct check *c = &w->check;
	uint32_t peer = 1 - n->index;

	if (w->sc->nodes < 2 || !c->untold[peer] || !c->by_probe[n->index] ||
		c->died_ns[peer] >= c->asked_ns[n->index] || n->fsm.peer.boot_id == 0)
		return;
	world_at(w, w->now_ns + (w->sc->claim_hook ? 800 : 100) * NS_PER_MS, WHAT_TOLD, n->index,
		(uint32_t)c->claims);
}

void check_told(struct world *w, const struct node *n, uint32_t claim)
{
	if (w->check.claims == claim && w->check.untold[1 - n->index] && node_owns(n) &&
		n->frozen_until_ns + 100 * NS_PER_MS < w->now_ns && n->fsm.hook_ticket == 0)
		check_fail(w, "node %c has not told the clients of a dead host", 'a' + n->index);
}

void check_tickle(struct world *w, const struct node *n)
{
	if (n->kernel.rules_from_ns <= w->now_ns)
		check_fail(w, "node %c tells clients while the second chance is loaded",
			'a' + n->index);
	w->check.untold[1 - n->index] = false;
}

/* The agent ends next, and its kernel takes no more of what the peer's hands over. Who has not
 * heard that the address was taken does not know of it. */
void check_drained(struct world *w, const struct node *n)
{
	const struct node *peer = node_peer(w, n);

	if (w->sc->nodes == 2 && n->kernel.flows && n->proxy == FSM_PROXY_OK && n->gateway &&
		n->fsm.taken && kernel_answers(w, peer) && peer->kernel.rules_from_ns <= w->now_ns)
		check_fail(w, "node %c stops though node %c hands it connections that it serves",
			'a' + n->index, 'a' + peer->index);
}

/* --- the end -------------------------------------------------------------------------------- */

void check_settled(struct world *w)
{
	uint32_t owners = 0, serving = 0;

	for (uint32_t i = 0; i < w->sc->nodes; i++) {
		const struct node *n = &w->nodes[i];

		owners += node_owns(n);
		serving += node_owns(n) && kernel_answers(w, n) && n->proxy == FSM_PROXY_OK;
	}
	if (owners != 1 || serving != 1)
		check_fail(w, "%u owners, %u of them serving, %.3f s after the last fault", owners,
			serving, (double)(w->now_ns - w->sc->healed_ns) / 1e9);
}

void check_end(struct world *w)
{
	const struct schedule *sc = w->sc;

	check_settled(w);
	if (sc->failback_ns && sc->prefers[0] && sc->dead_at_end < 0 &&
		!node_owns(&w->nodes[sc->prefers[0] - 1]))
		check_fail(w, "the preferred node did not get the address back");
}
