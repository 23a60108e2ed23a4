/*
 * The agent's part: queues drained before ticks, actions done in their order, results brought back.
 * Nothing takes time here but hooks and the witness, and a freeze can come before any action.
 */
#include "tests/sim/sim.h"

#include "failover/core/fsm_internal.h"

uint64_t node_clock(const struct world *w, const struct node *n, uint64_t true_ns)
{
	uint64_t awake_ns =
		true_ns - n->stood_ns - (w->mutation == MUTATE_stopped_clock ? n->slept_ns : 0);
	int64_t skew = (int64_t)awake_ns * w->sc->ppm[n->index] / 1000000;

	return w->sc->offset_ns[n->index] + awake_ns + (uint64_t)skew;
}

/* The first true time at which the node's clock shows at least local_ns (to 2 us). */
static uint64_t true_time(const struct world *w, const struct node *n, uint64_t local_ns)
{
	uint64_t now_local = node_clock(w, n, w->now_ns);

	if (local_ns <= now_local)
		return w->now_ns;
	return w->now_ns +
	       (local_ns - now_local) * 1000000 / (uint64_t)(1000000 + w->sc->ppm[n->index]) +
	       2 * NS_PER_US;
}

bool node_owns(const struct node *n)
{
	return n->running &&
	       (n->fsm.state == FSM_ACTIVE || (n->fsm.state == FSM_HANDOVER && !n->fsm.removing));
}

static void set_wake(struct world *w, struct node *n)
{
	if (!n->running)
		n->wake_ns = NEVER;
	else if (n->frozen_until_ns > w->now_ns)
		n->wake_ns = n->frozen_until_ns;
	else if (n->todo_at < n->todo.count || n->result_count || n->inbox_count)
		n->wake_ns = w->now_ns;
	else
		n->wake_ns = true_time(w, n, n->todo.next_ns);
}

struct input *node_input(struct world *w, struct node *n, enum input_kind kind)
{
	/* A socket's buffer overflows; what the agent's own host tells it does not get lost. */
	uint32_t room = kind == INPUT_DATAGRAM ? INBOX_MAX - RESULTS_MAX : INBOX_MAX;
	struct input *in;

	if (!n->running || n->inbox_count >= room || (kind == INPUT_DATAGRAM && n->paused_ns))
		return NULL;
	in = &n->inbox[(n->inbox_head + n->inbox_count++) % INBOX_MAX];
	in->kind = kind;
	if (n->frozen_until_ns <= w->now_ns)
		n->wake_ns = w->now_ns;
	return in;
}

void node_event(struct world *w, struct node *n, struct fsm_event ev)
{
	struct input *in = node_input(w, n, INPUT_EVENT);

	w->dirty = true;
	if (in)
		in->event = ev;
}

static struct fsm_config config_of(const struct world *w, const struct node *n)
{
	const struct schedule *sc = w->sc;

	return (struct fsm_config){
		.times = n->times,
		.node = (uint8_t)(n->index + 1),
		.peer = sc->nodes == 2 ? (uint8_t)(2 - n->index) : 0,
		.prefer = sc->prefers[n->index],
		.group = GROUP,
		.failback_ns = sc->failback_ns,
		.drain_ns = sc->drain_ns[n->index],
		.witness = sc->witness,
		.fence_hook = sc->fence_hook,
		.claim_hook = sc->claim_hook,
	};
}

static void empty_inbox(struct world *w, struct node *n)
{
	for (; n->inbox_count; n->inbox_count--) {
		const struct input *in = &n->inbox[n->inbox_head];

		if (in->kind == INPUT_DATAGRAM)
			world_free(w, in->number);
		n->inbox_head = (n->inbox_head + 1) % INBOX_MAX;
	}
}

void node_start(struct world *w, struct node *n)
{
	struct fsm_config config = config_of(w, n);

	n->start_owed = n->paused_ns != 0;
	if (n->running || !n->host_up || n->start_owed)
		return;
	world_trace(w, n, "starts, epoch on disk %llu", (unsigned long long)n->disk_epoch);
	w->dirty = n->running = true;
	w->check.untold[n->index] = false;
	n->freeze_armed = false;
	n->frozen_until_ns = n->slept_ns = 0;
	kernel_reset(n); /* what an earlier life left is removed */
	n->result_count = n->todo_at = n->todo.count = 0;
	n->probe += n->probe % 2;
	fsm_init(&n->fsm, &config, n->disk_epoch, node_clock(w, n, w->now_ns));
	n->todo.next_ns = n->fsm.next_ns;
	replay_init(&n->replay, rng_u64(&w->rng) | 1, w->sc->paths, n->times.silence_ns);
	node_event(w, n, (struct fsm_event){.kind = FSM_EV_LINK, .good = n->link});
	node_event(w, n, (struct fsm_event){.kind = FSM_EV_GATEWAY, .good = n->gateway});
	node_event(w, n, (struct fsm_event){.kind = FSM_EV_FENCE, .good = n->fence});
	node_event(w, n, (struct fsm_event){.kind = FSM_EV_PROXY, .proxy = n->proxy});
}

void node_kill(struct world *w, struct node *n)
{
	if (!n->running)
		return;
	world_trace(w, n, "agent gone");
	check_froze(w, n);
	w->dirty = true;
	n->running = false;
	n->wake_ns = NEVER;
	n->probe += n->probe % 2;
	empty_inbox(w, n);
}

void node_freeze(struct world *w, struct node *n, uint64_t for_ns)
{
	uint64_t until_ns = w->now_ns + for_ns;

	if (!n->running)
		return;
	world_trace(w, n, "frozen for %.3f ms", (double)for_ns / 1e6);
	check_froze(w, n);
	w->dirty = true;
	if (until_ns > n->frozen_until_ns) {
		uint64_t from_ns = n->frozen_until_ns > w->now_ns ? n->frozen_until_ns : w->now_ns;

		n->slept_ns += until_ns - from_ns;
		n->frozen_until_ns = until_ns;
	}
	set_wake(w, n);
}

void node_pause(struct world *w, struct node *n, uint64_t for_ns, bool seen)
{
	uint64_t slept_ns = n->slept_ns;

	if (!n->host_up || n->paused_ns)
		return;
	node_freeze(w, n, for_ns);
	n->slept_ns = slept_ns; /* that is not what its clock misses */
	n->paused_ns = w->now_ns;
	n->kernel.flows = false; /* they are told, as if it were dead */
	world_at(w, w->now_ns + for_ns, WHAT_RESUMED, n->index, seen);
}

void node_resume(struct world *w, struct node *n, bool seen)
{
	uint64_t stood_ns = w->now_ns - n->paused_ns;

	if (!n->paused_ns)
		return;
	n->paused_ns = 0;
	n->stood_ns += stood_ns;
	if (!n->host_up)
		return;
	kernel_stood_still(w, n, stood_ns);
	check_resumed(w, n, seen);
	world_trace(w, n, "goes on after %.3f ms", (double)stood_ns / 1e6);
	if (n->start_owed)
		node_start(w, n);
	else if (n->running && seen && w->mutation != MUTATE_pause_unseen) {
		ASSERT(n->result_count < RESULTS_MAX);
		memmove(n->results + 1, n->results, n->result_count++ * sizeof(n->results[0]));
		n->results[0] = (struct fsm_event){.kind = FSM_EV_PAUSED, .age_ns = stood_ns};
	}
	set_wake(w, n);
}

static void result(struct node *n, enum fsm_event_kind kind, uint64_t epoch)
{
	ASSERT(n->result_count < RESULTS_MAX);
	n->results[n->result_count++] = (struct fsm_event){.kind = kind, .epoch = epoch};
}

/* false: the kernel refused it. */
static bool leave(struct world *w, struct node *n, const struct fsm_action *a)
{
	enum packet_kind kind = a->packet;
	bool good = true;

	if (kind == PACKET_CLAIM) {
		check_claim(w, n);
		good = !n->claim_refused && n->fence && kernel_claim(w, n);
		if (!good && w->kernel)
			kernel_remove(w, n);
		result(n, good ? FSM_EV_CLAIMED : FSM_EV_CLAIM_REFUSED, 0);
	} else if (kind == PACKET_DRAINED || serves_no_more(a->reason)) {
		n->kernel.flows = false; /* what is left is cut off */
	} else if (kind == PACKET_ACTIVE) {
		if (n->lease_refused || !n->fence)
			n->kernel.lease_until_ns = 0;
		good = !n->lease_refused && n->fence && kernel_renew(w, n);
		if (!good)
			result(n, FSM_EV_LEASE_REFUSED, 0);
	}
	if (good && w->sc->witness &&
		(kind == PACKET_CLAIM || kind == PACKET_ACTIVE || kind == PACKET_RELEASE))
		witness_tell(w, n, kind);
	return good;
}

static void send_packet(struct world *w, struct node *n, const struct fsm_action *a)
{
	struct packet p;

	if (!leave(w, n, a))
		return;
	if (w->trace_packets || (w->trace && a->packet > PACKET_ACTIVE))
		world_trace(w, n, "sends %s, epoch %llu", packet_kind_name(a->packet),
			(unsigned long long)n->fsm.epoch);
	if (w->sc->nodes < 2)
		return;
	fsm_packet(&n->fsm, a, node_clock(w, n, w->now_ns), &p);
	world_send(w, n, &p);
}

static void start_probe(struct world *w, struct node *n)
{
	lan_probe(w, n);
	result(n, n->link ? FSM_EV_PROBE_SENT : FSM_EV_PROBE_FAILED, 0);
}

static void add_address(struct world *w, struct node *n)
{
	if (!n->add_fails) {
		kernel_add(w, n);
		check_tell_by(w, n);
	}
	result(n, n->add_fails ? FSM_EV_ADDRESS_FAILED : FSM_EV_ADDRESS_ADDED, 0);
}

static void refresh(struct world *w, struct node *n)
{
	if (n->add_fails)
		result(n, FSM_EV_ADDRESS_FAILED, 0);
	else if (n->kernel.address_until_ns <= w->now_ns)
		result(n, FSM_EV_ADDRESS_DELETED, 0);
	else if (w->mutation != MUTATE_no_deadman)
		n->kernel.address_until_ns = w->now_ns + FSM_ADDRESS_LIFE_NS;
}

static void remove_address(struct world *w, struct node *n)
{
	if (n->fsm.state == FSM_HANDOVER && n->kernel.flows && n->proxy == FSM_PROXY_OK &&
		n->fsm.proxy == FSM_PROXY_OK && !n->kernel.drain)
		check_fail(w, "node %c moves the address and drops what is on its way to it",
			'a' + n->index);
	result(n, n->remove_fails ? FSM_EV_ADDRESS_STUCK : FSM_EV_ADDRESS_REMOVED, 0);
	kernel_remove(w, n);
}

static void store(struct world *w, struct node *n, uint64_t epoch)
{
	if (n->epoch_fails) {
		result(n, FSM_EV_EPOCH_FAILED, 0);
		return;
	}
	if (w->mutation != MUTATE_lazy_disk)
		n->disk_epoch = epoch;
	result(n, FSM_EV_EPOCH_STORED, epoch);
}

static void rules_on(struct world *w, struct node *n)
{
	w->check.rules_failed[n->index] = n->rules_fail;
	if (!n->rules_fail && w->mutation != MUTATE_no_rules)
		n->kernel.rules_from_ns =
			w->now_ns + (w->mutation == MUTATE_rules_late ? 5 * NS_PER_MS : 0);
	result(n, n->rules_fail ? FSM_EV_RULES_FAILED : FSM_EV_RULES_LOADED, 0);
}

static void rules_off(struct world *w, struct node *n)
{
	n->kernel.rules_from_ns = NEVER;
	w->check.rules_failed[n->index] = false;
	/* The limit of a second chance. */
	if (w->sc->nodes == 2 && kernel_answers(w, n) &&
		node_clock(w, n, w->now_ns) >= n->fsm.rules_end_ns)
		node_peer(w, n)->kernel.flows = false;
}

/* The last connection goes at some time, perhaps only at the limit. */
static void set_drain(struct world *w, struct node *n)
{
	uint64_t for_ns = pick(&w->rng, w->sc->drain_ns[n->index] * 3 / 2);

	n->kernel.drain = w->mutation != MUTATE_no_drain;
	w->drain_number[n->index]++;
	world_at(w, w->now_ns + (n->kernel.flows ? for_ns : 0), WHAT_DRAINED, n->index,
		w->drain_number[n->index]);
}

static void tell(struct world *w, struct node *n, const struct fsm_action *a)
{
	world_trace(w, n, "%s -> %s: %s", fsm_state_name(a->from), fsm_state_name(a->to),
		fsm_reason_words(a->reason));
	if (a->to == FSM_PROBING)
		check_claim_begins(w, n);
	else if (a->from == FSM_PROBING && a->to != FSM_ACTIVE)
		check_claim_ends(w, n);
	if (a->from == FSM_DRAINING &&
		(a->reason == REASON_DRAINED || a->reason == REASON_DRAIN_TIMEOUT))
		n->kernel.flows = false;
	if (a->from == FSM_DRAINING && n->fsm.stopping)
		check_drained(w, n);
	w->check.taken += a->to == FSM_ACTIVE && a->from == FSM_PROBING;
	if (a->to == FSM_DRAINING && w->sc->nodes == 2)
		w->check.moves++;
}

static void perform(struct world *w, struct node *n, const struct fsm_action *a)
{
	if (a->kind == FSM_DO_SEND) {
		send_packet(w, n, a);
		return;
	}
	w->dirty = true;
	switch (a->kind) {
	case FSM_DO_SEND:
		break;
	case FSM_DO_TELL:
		tell(w, n, a);
		return;
	case FSM_DO_ALARM:
		world_trace(w, n, "alarm %s %s", fsm_alarm_name(a->alarm), a->on ? "on" : "off");
		return;
	case FSM_DO_PROBE_START:
		start_probe(w, n);
		break;
	case FSM_DO_PROBE_STOP:
		ASSERT(n->probe % 2 == 1);
		n->probe++;
		break;
	case FSM_DO_ASK_PEER:
		lan_ask_host(w, n);
		break;
	case FSM_DO_ASK_WITNESS:
		w->check.promised[n->index] = false;
		witness_ask(w, n, a->ticket);
		break;
	case FSM_DO_FENCE_PEER:
		hook_run(w, n, WHAT_FENCE_HOOK, a->ticket);
		break;
	case FSM_DO_CLAIM_HOOK:
		hook_run(w, n, WHAT_CLAIM_HOOK, a->ticket);
		break;
	case FSM_DO_STORE_EPOCH:
		store(w, n, a->epoch);
		break;
	case FSM_DO_OPEN_CLAIM: {
		uint64_t now_ns = node_clock(w, n, w->now_ns);

		kernel_open_claim(w, n, a->at_ns > now_ns ? a->at_ns - now_ns : 0);
		break;
	}
	case FSM_DO_CLOSE_CLAIM:
		kernel_open_claim(w, n, 0);
		break;
	case FSM_DO_ADD_ADDRESSES:
		add_address(w, n);
		break;
	case FSM_DO_REFRESH_ADDRESSES:
		refresh(w, n);
		return;
	case FSM_DO_REMOVE_ADDRESSES:
		remove_address(w, n);
		break;
	case FSM_DO_LOAD_RULES:
		rules_on(w, n);
		break;
	case FSM_DO_UNLOAD_RULES:
		rules_off(w, n);
		break;
	case FSM_DO_SET_DRAIN:
		set_drain(w, n);
		break;
	case FSM_DO_CLEAR_DRAIN:
		n->kernel.drain = false;
		w->drain_number[n->index]++;
		break;
	case FSM_DO_TICKLE:
		if (w->mutation == MUTATE_mute)
			break;
		check_tickle(w, n);
		break;
	case FSM_DO_ANNOUNCE:
		if (w->mutation == MUTATE_tickle_early)
			check_tickle(w, n);
		break;
	case FSM_DO_STOPPED:
		node_kill(w, n);
		break;
	}
	world_trace(w, n, "  does %s", fsm_action_name(a->kind));
}

static void step(struct world *w, struct node *n, const struct fsm_event *ev)
{
	ASSERT(n->todo_at == n->todo.count);
	if (w->trace && ev->kind != FSM_EV_TICK && ev->kind != FSM_EV_PACKET)
		world_trace(w, n, "  sees %s", fsm_event_name(ev->kind));
	w->steps++;
	if (w->mutation == MUTATE_unheard)
		n->fsm.known_ns = node_clock(w, n, w->now_ns);
	fsm_step(&n->fsm, ev, node_clock(w, n, w->now_ns), &n->todo);
	n->todo_at = 0;
}

static void on_wire(struct packet *p)
{
	uint8_t wire[PACKET_MAX_BYTES];
	size_t len = packet_encode(p, wire);

	ASSERT(packet_decode(span_make(wire, len), p) == PACKET_OK);
	p->tlvs = (struct span){0}; /* of the wire's memory */
}

static void hear(struct world *w, struct node *n, struct datagram *d)
{
	uint64_t now_ns = node_clock(w, n, w->now_ns);
	uint64_t *released_ns = &w->check.release_made_ns[n->index];
	struct replay_news news = {.age_ns = 0};
	struct packet *p = &d->packet;
	enum replay_verdict verdict;

	if (w->sc->on_wire)
		on_wire(p);
	verdict = replay_check(&n->replay, p->path, p, now_ns, &news);
	if (w->trace_packets)
		world_trace(w, n, "hears %s on path %u: %s", packet_kind_name(p->kind), p->path,
			replay_verdict_name(verdict));
	if (w->mutation != MUTATE_trusting && !replay_counts(verdict))
		return;
	if (w->mutation == MUTATE_trusting)
		p->sent_ns = now_ns;
	if (w->mutation == MUTATE_old_release)
		news.age_ns = 0;
	if (w->mutation == MUTATE_deaf && (p->kind == PACKET_ACTIVE || p->kind == PACKET_CLAIM))
		return;
	if (p->kind == PACKET_RELEASE && (*released_ns == NEVER || d->made_ns > *released_ns))
		*released_ns = d->made_ns;
	step(w, n,
		&(struct fsm_event){
			.kind = FSM_EV_PACKET,
			.path = p->path,
			.age_ns = news.age_ns,
			.packet = p,
		});
}

static void take_input(struct world *w, struct node *n)
{
	/* It stays in its place of the ring for as long as the step lasts. */
	const struct input *in = &n->inbox[n->inbox_head];

	n->inbox_head = (n->inbox_head + 1) % INBOX_MAX;
	n->inbox_count--;
	if (in->kind == INPUT_DATAGRAM) {
		hear(w, n, &w->flying[in->number]);
		world_free(w, in->number);
		return;
	}
	if (in->event.kind == FSM_EV_PROBE_ANSWERED &&
		(in->number != n->probe || n->probe % 2 == 0))
		return;
	if (in->event.kind == FSM_EV_PROBE_ANSWERED)
		w->check.probe_answered[n->index] = true;
	step(w, n, &in->event);
}

void node_run(struct world *w, struct node *n)
{
	uint32_t spins = 0;

	while (n->running && n->frozen_until_ns <= w->now_ns && !w->check.failure[0]) {
		if (spins++ > 5000) {
			check_fail(w, "node %c never rests", 'a' + n->index);
		} else if (n->todo_at < n->todo.count) {
			if (n->freeze_armed && n->todo.list[n->todo_at].kind != FSM_DO_TELL &&
				pick(&w->rng, 3) == 0) {
				n->freeze_armed = false;
				node_freeze(w, n, n->freeze_for_ns);
				continue;
			}
			perform(w, n, &n->todo.list[n->todo_at++]);
		} else if (n->result_count) {
			struct fsm_event ev = n->results[0];

			n->result_count--;
			memmove(n->results, n->results + 1, n->result_count * sizeof(ev));
			step(w, n, &ev);
		} else if (n->inbox_count) {
			take_input(w, n);
		} else if (node_clock(w, n, w->now_ns) >= n->todo.next_ns) {
			step(w, n, &(struct fsm_event){.kind = FSM_EV_TICK});
		} else {
			break;
		}
	}
	set_wake(w, n);
}
