/*
 * Who is asked before a claim: the client network, the witness, the hooks.
 */
#include "tests/sim/sim.h"

#define PROBE_SHOTS 3

static uint64_t lan_delay(struct world *w, const struct node *prober)
{
	if (w->mutation == MUTATE_slow_lan)
		return prober->times.probe_ns;
	return 10 * NS_PER_US + pick(&w->rng, w->sc->lan_delay_ns);
}

/* A question or an answer crosses the client network, for the sake of `prober`. */
static void cross(
	struct world *w, uint8_t from, enum what what, uint8_t prober, uint32_t arg, bool *blind)
{
	struct node *a = &w->nodes[0], *b = &w->nodes[1];

	if (!a->host_up || !b->host_up)
		return; /* a dead host has no address: nothing is missed */
	if (w->lan_cut[from] || !node_up(a) || !node_up(b))
		*blind = true;
	else
		world_at(w, w->now_ns + lan_delay(w, &w->nodes[prober]), what, (uint8_t)(1 - from),
			arg);
}

void lan_ask_host(struct world *w, struct node *n)
{
	bool *blind = &w->check.host_blind[n->index];

	*blind = false;
	w->check.asked_ns[n->index] = w->now_ns;
	cross(w, n->index, WHAT_HOST_IN, n->index, 0, blind);
}

static void probe_out(struct world *w, struct node *n, uint32_t probe)
{
	if (!n->running || n->probe != probe || w->sc->nodes < 2)
		return;
	if (n->frozen_until_ns > w->now_ns)
		return;
	cross(w, n->index, WHAT_PROBE_IN, n->index, probe, &w->check.probe_blind[n->index]);
}

/* The first leaves at once, the others by a timer. */
void lan_probe(struct world *w, struct node *n)
{
	w->check.probe_begin_local_ns[n->index] = node_clock(w, n, w->now_ns);
	n->probe++;
	ASSERT(n->probe % 2 == 1);
	if (!n->link || w->mutation == MUTATE_no_probe)
		return;
	probe_out(w, n, n->probe);
	for (uint32_t i = 1; i < PROBE_SHOTS; i++)
		world_at(w, w->now_ns + i * n->times.probe_ns / PROBE_SHOTS, WHAT_PROBE, n->index,
			n->probe);
}

static void probe_in(struct world *w, struct node *n, uint32_t probe)
{
	uint8_t prober = (uint8_t)(1 - n->index);

	if (!node_up(n)) {
		w->check.probe_blind[prober] = true;
		return;
	}
	if (kernel_answers(w, n))
		cross(w, n->index, WHAT_ANSWER_IN, prober, probe, &w->check.probe_blind[prober]);
	if (w->mutation == MUTATE_deaf_to_probes)
		return;
	kernel_revoke(w, n);
	if (w->mutation != MUTATE_one_way_revocation ||
		(n->index != 0 && n->fsm.state == FSM_PROBING))
		node_event(w, n, (struct fsm_event){.kind = FSM_EV_PEER_PROBE, .good = true});
}

static void answer_in(struct world *w, struct node *n, uint32_t probe)
{
	struct input *in;

	if (!node_up(n))
		w->check.probe_blind[n->index] = true;
	if (w->mutation == MUTATE_deaf_to_answers || n->probe != probe || !node_up(n))
		return;
	in = node_input(w, n, INPUT_EVENT);
	if (in) {
		in->event = (struct fsm_event){.kind = FSM_EV_PROBE_ANSWERED, .good = true};
		in->number = probe;
	}
}

void lan_happen(struct world *w, struct node *n, enum what what, uint32_t arg)
{
	uint8_t asker = (uint8_t)(1 - n->index);

	if (what == WHAT_PROBE) {
		probe_out(w, n, arg);
	} else if (what == WHAT_PROBE_IN) {
		probe_in(w, n, arg);
	} else if (what == WHAT_ANSWER_IN) {
		answer_in(w, n, arg);
	} else if (what == WHAT_HOST_IN && node_up(n)) {
		cross(w, n->index, WHAT_HOST_ANSWER, asker, 0, &w->check.host_blind[asker]);
	} else if (what == WHAT_HOST_IN) {
		w->check.host_blind[asker] = true;
	} else if (!node_up(n)) {
		w->check.host_blind[n->index] = true;
	} else if (w->mutation != MUTATE_deaf_to_hosts) {
		node_event(w, n, (struct fsm_event){.kind = FSM_EV_PEER_HOST});
	}
}

/* --- the witness ---------------------------------------------------------------------------- */

void witness_init(struct world *w)
{
	w->witness = (struct witness){.holder = -1};
}

static bool reach_witness(struct world *w, const struct node *n)
{
	return w->sc->witness && n->host_up && n->paused_ns == 0 && n->link &&
	       !w->witness.cut[n->index];
}

static void to_witness(struct world *w, struct node *n, enum what what, uint32_t arg)
{
	if (reach_witness(w, n))
		world_at(w, w->now_ns + 10 * NS_PER_US + pick(&w->rng, 2 * w->sc->lan_delay_ns),
			what, n->index, arg);
}

void witness_ask(struct world *w, struct node *n, uint32_t ticket)
{
	to_witness(w, n, WHAT_WITNESS_ASKED, ticket);
}

void witness_tell(struct world *w, struct node *n, enum packet_kind kind)
{
	struct witness *v = &w->witness;
	uint32_t place = v->said[n->index]++ % countof(v->said_ns[0]);

	v->said_ns[n->index][place] = node_clock(w, n, w->now_ns);
	to_witness(w, n, kind == PACKET_RELEASE ? WHAT_WITNESS_FREES : WHAT_WITNESS_HEARS, place);
}

static bool is_free(const struct world *w, const struct node *n)
{
	const struct witness *v = &w->witness;
	uint64_t promise_ns = times_promise_ns(&w->sc->slowest);

	return v->holder == (int)n->index || w->now_ns - v->heard_ns > promise_ns ||
	       (v->holder < 0 && v->heard_ns == 0);
}

static void hold(struct world *w, const struct node *n)
{
	w->witness.holder = (int)n->index;
	w->witness.heard_ns = w->now_ns;
}

static void asked(struct world *w, struct node *n, uint32_t ticket)
{
	bool good = is_free(w, n);

	if (good)
		hold(w, n);
	to_witness(w, n, WHAT_WITNESS_SAYS, ticket * 2 + good);
}

/* An owner that says so: believed, unless another one with a later claim is. */
static void hears(struct world *w, struct node *n, uint32_t place)
{
	struct witness *v = &w->witness;

	if (!is_free(w, n) && n->fsm.epoch <= v->holder_epoch)
		return;
	hold(w, n);
	v->holder_epoch = n->fsm.epoch;
	to_witness(w, n, WHAT_WITNESS_ECHOES, place);
}

static void frees(struct world *w, const struct node *n)
{
	struct witness *v = &w->witness;

	if (v->holder != (int)n->index)
		return;
	v->holder = -1;
	v->heard_ns = 0;
}

static void says(struct world *w, struct node *n, uint32_t arg)
{
	bool good = arg % 2 || w->mutation == MUTATE_witness_ignored;

	w->check.promised[n->index] = arg % 2;
	node_event(
		w, n, (struct fsm_event){.kind = FSM_EV_WITNESS, .ticket = arg / 2, .good = good});
}

void witness_happen(struct world *w, struct node *n, enum what what, uint32_t arg)
{
	if (what == WHAT_WITNESS_ASKED)
		asked(w, n, arg);
	else if (what == WHAT_WITNESS_HEARS)
		hears(w, n, arg);
	else if (what == WHAT_WITNESS_FREES)
		frees(w, n);
	else if (!reach_witness(w, n))
		return; /* the answer is lost */
	else if (what == WHAT_WITNESS_SAYS)
		says(w, n, arg);
	else
		node_event(w, n,
			(struct fsm_event){.kind = FSM_EV_WITNESS_HEARD,
				.age_ns = node_clock(w, n, w->now_ns) -
					  w->witness.said_ns[n->index][arg]});
}

/* --- the hooks ------------------------------------------------------------------------------ */

void hook_run(struct world *w, struct node *n, enum what what, uint32_t ticket)
{
	world_at(w, w->now_ns + NS_PER_MS + pick(&w->rng, 600 * NS_PER_MS), what, n->index, ticket);
}

static void fence(struct world *w, struct node *n)
{
	struct node *peer = node_peer(w, n);

	w->check.fenced[n->index] = true;
	if (!peer->host_up)
		return;
	node_kill(w, peer);
	w->check.died_ns[peer->index] = w->now_ns;
	w->check.untold[peer->index] = w->check.untold[peer->index] || peer->kernel.flows;
	peer->host_up = peer->kernel.flows = false;
	kernel_reset(peer);
	world_at(w, w->now_ns + 2 * NS_PER_S, WHAT_BACK, peer->index, 0);
}

void hook_done(struct world *w, struct node *n, enum what what, uint32_t ticket)
{
	bool good = !n->hooks_fail;

	if (!n->host_up)
		return;
	if (good && what == WHAT_FENCE_HOOK && n->fsm.fence_ticket == ticket)
		fence(w, n);
	if (what == WHAT_FENCE_HOOK && w->mutation == MUTATE_fence_ignored)
		good = true;
	node_event(w, n,
		(struct fsm_event){
			.kind = what == WHAT_FENCE_HOOK ? FSM_EV_PEER_FENCED : FSM_EV_CLAIM_HOOKED,
			.ticket = ticket,
			.good = good});
}
