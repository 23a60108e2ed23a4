/*
 * What must hold, at every instant and at the end. All of it is judged from outside, by what the
 * kernels have and what was sent; a node's own opinion counts only where the text says so.
 *
 *  1. Two nodes have the address for longer than an instant only if the later claim was made blind
 * (the client network lost a probe or an answer of it), or by an agent that stood still between
 * deciding and having. Even then it ends within D + P + 3h of both running and hearing each other
 * (2h, and one for the way, drift and the timer).
 *  2. A claim rests on a probe that was begun at least P and at most the claim window ago and not
 *     answered, or on a RELEASE made within L.
 *  3. Each claim's epoch is on disk and above the node's earlier ones (unless the disk was lost).
 *  4. A running agent that does not own the address does not have it.
 *  5. Without a fault nothing moves.
 *  6. Within the settle bound of the last fault exactly one node has the address, and it can serve.
 */
#include "tests/sim/sim.h"

#include <stdarg.h>

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
}

void check_claim_begins(struct world *w, const struct node *n)
{
	struct check *c = &w->check;

	c->probe_begin_local_ns[n->index] = NEVER;
	c->probe_answered[n->index] = c->probe_blind[n->index] = c->claim_froze[n->index] = false;
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
}

static bool probe_allows(const struct world *w, const struct node *n)
{
	const struct check *c = &w->check;
	uint64_t begin = c->probe_begin_local_ns[n->index], now = node_clock(w, n, w->now_ns);

	/* A claim that was decided in time can still leave late; its effect is what counts. */
	return begin != NEVER && now - begin >= w->times.probe_ns && !c->probe_answered[n->index] &&
	       (now - begin <= w->times.window_ns || c->claim_froze[n->index]);
}

static bool release_allows(const struct world *w, const struct node *n)
{
	uint64_t made = w->check.release_made_ns[n->index];
	uint64_t limit = w->times.lease_ns + w->times.lease_ns / 50;

	return made != NEVER && (w->now_ns - made <= limit || w->check.claim_froze[n->index]);
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
	if (w->sc->failback_ns == 0 && c->claims > 1 && (calm || c->faults_seen == 0) &&
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

static bool owner(const struct node *n)
{
	return n->running &&
	       (n->fsm.state == FSM_ACTIVE || (n->fsm.state == FSM_HANDOVER && !n->fsm.removing));
}

static void check_dual(struct world *w)
{
	const struct times *t = &w->times;
	struct check *c = &w->check;
	const struct node *a = &w->nodes[0], *b = &w->nodes[1];
	bool dual = node_has_address(w, a) && node_has_address(w, b);
	bool both_think = owner(a) && owner(b);
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
		uint32_t later = c->claim_ns[1] > c->claim_ns[0];

		c->dual_excused = c->probe_blind[later] || c->claim_froze[later];
		if (!c->dual_excused && w->now_ns > c->dual_ns)
			check_fail(w, "both nodes have the address, and node %c could have known",
				'a' + (int)later);
	}
	since = c->dual_ns > c->joined_ns ? c->dual_ns : c->joined_ns;
	if (c->joined_ns != NEVER &&
		w->now_ns - since > t->silence_ns + t->probe_ns + 3 * t->heartbeat_ns)
		check_fail(w, "two owners %.3f ms after they could hear each other",
			(double)(w->now_ns - since) / 1e6);
}

void check_instant(struct world *w)
{
	for (uint32_t i = 0; i < w->sc->nodes; i++) {
		const struct node *n = &w->nodes[i];

		if (n->running && n->frozen_until_ns <= w->now_ns &&
			n->address_until_ns > w->now_ns && !owner(n) &&
			w->check.stuck_until_ns[i] <= w->now_ns)
			check_fail(w, "node %c has the address in state %s", 'a' + n->index,
				fsm_state_name(n->fsm.state));
	}
	check_joined(w);
	check_dual(w);
}

void check_settled(struct world *w)
{
	uint32_t owners = 0, serving = 0;

	for (uint32_t i = 0; i < w->sc->nodes; i++) {
		const struct node *n = &w->nodes[i];

		owners += owner(n);
		serving += owner(n) && node_has_address(w, n) && n->proxy == FSM_PROXY_OK;
	}
	if (owners != 1 || serving != 1)
		check_fail(w, "%u owners, %u of them serving, %.3f s after the last fault", owners,
			serving, (double)(w->now_ns - w->sc->healed_ns) / 1e9);
}

void check_end(struct world *w)
{
	const struct schedule *sc = w->sc;

	check_settled(w);
	if (sc->failback_ns && sc->prefer && sc->dead_at_end < 0 &&
		!owner(&w->nodes[sc->prefer - 1]))
		check_fail(w, "the preferred node did not get the address back");
}
