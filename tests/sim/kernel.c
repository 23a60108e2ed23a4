/*
 * What the kernels enforce, and what becomes of the connections through them.
 *
 * With a lease: the address is answered for, and packets for it are taken, only while the lease
 * runs. Only the owner's heartbeat renews it, and only while it runs; only a claim inside the claim
 * window opens it; the peer's probe closes the window. Without: the address is the fence, and dies
 * by its lifetime.
 */
#include "tests/sim/sim.h"

bool kernel_holds(const struct world *w, const struct node *n)
{
	const struct kernel *k = &n->kernel;

	return node_up(n) && (w->kernel ? k->lease_until_ns : k->address_until_ns) > w->now_ns;
}

bool kernel_answers(const struct world *w, const struct node *n)
{
	return kernel_holds(w, n) && n->kernel.address_until_ns > w->now_ns;
}

void kernel_reset(struct node *n)
{
	bool flows = n->kernel.flows;

	n->kernel = (struct kernel){.rules_from_ns = NEVER, .flows = flows};
}

bool kernel_claim(struct world *w, struct node *n)
{
	struct kernel *k = &n->kernel;

	w->dirty = true;
	if (!w->kernel)
		return true;
	if (!n->link || (k->claim_until_ns <= w->now_ns && w->mutation != MUTATE_window_ignored))
		return false;
	/* The address is there first, so that whoever has a lease answers for it. */
	if (!n->add_fails && w->mutation != MUTATE_lease_before_address)
		kernel_add(w, n);
	k->lease_until_ns = w->now_ns + n->lease_ns;
	check_lease(w);
	return true;
}

bool kernel_renew(struct world *w, struct node *n)
{
	struct kernel *k = &n->kernel;

	if (!w->kernel || !n->link)
		return true;
	if (k->lease_until_ns <= w->now_ns && w->mutation != MUTATE_renew_after_expiry)
		return false;
	k->lease_until_ns = w->now_ns + n->lease_ns;
	if (w->mutation == MUTATE_renew_after_expiry)
		check_lease(w);
	return true;
}

void kernel_open_claim(struct world *w, struct node *n, uint64_t for_ns)
{
	n->kernel.claim_until_ns = w->now_ns + for_ns;
}

void kernel_revoke(struct world *w, struct node *n)
{
	if (w->mutation != MUTATE_one_way_revocation || n->index != 0)
		n->kernel.claim_until_ns = 0;
}

void kernel_add(struct world *w, struct node *n)
{
	w->dirty = true;
	w->check.addressless[n->index] = false;
	if (n->kernel.address_until_ns <= w->now_ns)
		w->check.had_ns[n->index] = w->now_ns;
	n->kernel.address_until_ns =
		w->mutation == MUTATE_no_deadman ? NEVER : w->now_ns + FSM_ADDRESS_LIFE_NS;
}

/* The lease first: with it and without the address nobody would answer the peer's probe. */
void kernel_remove(struct world *w, struct node *n)
{
	w->dirty = true;
	if (w->mutation != MUTATE_lease_kept && w->mutation != MUTATE_early_release)
		n->kernel.lease_until_ns = 0;
	if (n->remove_fails)
		return;
	if (w->mutation == MUTATE_early_release)
		world_at(w, w->now_ns + 100 * NS_PER_MS, WHAT_REMOVE, n->index, 0);
	else
		n->kernel.address_until_ns = 0;
}

static void shift(uint64_t *until_ns, uint64_t from_ns, uint64_t ns)
{
	if (*until_ns > from_ns && *until_ns != NEVER)
		*until_ns += ns;
}

void kernel_stood_still(struct world *w, struct node *n, uint64_t ns)
{
	struct kernel *k = &n->kernel;
	uint64_t from_ns = w->now_ns - ns;

	w->dirty = true;
	shift(&k->lease_until_ns, from_ns, ns);
	shift(&k->claim_until_ns, from_ns, ns);
	shift(&k->address_until_ns, from_ns, ns);
	shift(&w->check.stuck_until_ns[n->index], from_ns, ns);
}

/* --- connections ---------------------------------------------------------------------------- */

/* Could it still serve the connections that it has, if they reached it? */
static bool serves(const struct node *n)
{
	return node_up(n) && n->gateway && n->proxy == FSM_PROXY_OK;
}

/* `n` gets packets of connections that its peer has. */
static void strays(struct world *w, const struct node *n)
{
	struct node *peer = node_peer(w, n);
	const struct check *c = &w->check;
	bool excused = c->rules_failed[n->index] || c->host_blind[n->index] || c->split_flows ||
		       c->probe_blind[n->index] || w->lan_cut[0] || w->lan_cut[1] ||
		       c->heard_off[n->index] || !n->running ||
		       c->stuck_until_ns[n->index] > w->now_ns ||
		       c->stale_until_ns[n->index] > c->claim_ns[n->index];

	if (!peer->kernel.flows || n->kernel.rules_from_ns <= w->now_ns)
		return;
	if (serves(peer) && !excused)
		check_fail(w, "node %c resets connections that node %c serves", 'a' + n->index,
			'a' + peer->index);
	w->check.flows_cut++;
	peer->kernel.flows = false;
}

void kernel_flows(struct world *w)
{
	bool both = kernel_answers(w, &w->nodes[0]) && kernel_answers(w, &w->nodes[1]);

	if (both)
		w->check.split_flows = true;
	for (uint32_t i = 0; i < w->sc->nodes; i++) {
		struct node *n = &w->nodes[i];

		if (!kernel_answers(w, n))
			continue;
		if (w->sc->nodes == 2)
			strays(w, n);
		n->kernel.flows = n->kernel.flows || serves(n);
		if (!both && !node_peer(w, n)->kernel.flows)
			w->check.split_flows = false;
	}
}
