/*
 * The agent's part: queues drained before ticks, actions done in their order, results brought back.
 * Nothing takes time here, but a freeze can come before any action.
 */
#include "tests/sim/sim.h"

uint64_t node_clock(const struct world *w, const struct node *n, uint64_t true_ns)
{
	uint64_t awake_ns = true_ns - (w->mutation == MUTATE_stopped_clock ? n->slept_ns : 0);
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

bool node_has_address(const struct world *w, const struct node *n)
{
	return n->host_up && n->link && n->address_until_ns > w->now_ns;
}

struct input *node_input(struct node *n, enum input_kind kind)
{
	struct input *in;

	if (!n->running || n->inbox_count == INBOX_MAX)
		return NULL;
	in = &n->inbox[(n->inbox_head + n->inbox_count++) % INBOX_MAX];
	in->kind = kind;
	return in;
}

void node_event(struct node *n, struct fsm_event ev)
{
	struct input *in = node_input(n, INPUT_EVENT);

	if (in)
		in->event = ev;
}

void node_start(struct world *w, struct node *n)
{
	struct fsm_config config = {
		.times = w->times,
		.node = (uint8_t)(n->index + 1),
		.peer = w->sc->nodes == 2 ? (uint8_t)(2 - n->index) : 0,
		.prefer = w->sc->prefer,
		.group = GROUP,
		.failback_ns = w->sc->failback_ns,
		.drain_ns = NS_PER_S,
	};

	if (n->running || !n->host_up)
		return;
	world_trace(w, n, "starts, epoch on disk %llu", (unsigned long long)n->disk_epoch);
	n->running = true;
	n->freeze_armed = false;
	n->frozen_until_ns = n->slept_ns = 0;
	n->address_until_ns = 0; /* what an earlier life left is removed */
	n->inbox_head = n->inbox_count = n->result_count = n->todo_at = n->todo.count = 0;
	n->probe += n->probe % 2;
	fsm_init(&n->fsm, &config, n->disk_epoch, node_clock(w, n, w->now_ns));
	n->todo.next_ns = n->fsm.next_ns;
	replay_init(&n->replay, rng_u64(&w->rng) | 1, w->sc->paths, w->times.silence_ns);
	node_event(n, (struct fsm_event){.kind = FSM_EV_LINK, .good = n->link});
	node_event(n, (struct fsm_event){.kind = FSM_EV_GATEWAY, .good = n->gateway});
	node_event(n, (struct fsm_event){.kind = FSM_EV_PROXY, .proxy = n->proxy});
}

void node_kill(struct world *w, struct node *n)
{
	if (!n->running)
		return;
	world_trace(w, n, "agent gone");
	check_froze(w, n);
	n->running = false;
	n->probe += n->probe % 2;
}

void node_freeze(struct world *w, struct node *n, uint64_t for_ns)
{
	uint64_t until_ns = w->now_ns + for_ns;

	if (!n->running)
		return;
	world_trace(w, n, "frozen for %.3f ms", (double)for_ns / 1e6);
	check_froze(w, n);
	if (until_ns > n->frozen_until_ns) {
		uint64_t from_ns = n->frozen_until_ns > w->now_ns ? n->frozen_until_ns : w->now_ns;

		n->slept_ns += until_ns - from_ns;
		n->frozen_until_ns = until_ns;
	}
}

uint64_t node_wake_ns(const struct world *w, const struct node *n)
{
	if (!n->running)
		return NEVER;
	if (n->frozen_until_ns > w->now_ns)
		return n->frozen_until_ns;
	if (n->todo_at < n->todo.count || n->result_count || n->inbox_count)
		return w->now_ns;
	return true_time(w, n, n->todo.next_ns);
}

static void result(struct node *n, enum fsm_event_kind kind, uint64_t epoch)
{
	ASSERT(n->result_count < RESULTS_MAX);
	n->results[n->result_count++] = (struct fsm_event){.kind = kind, .epoch = epoch};
}

static void send_packet(struct world *w, struct node *n, const struct fsm_action *a)
{
	uint8_t wire[PACKET_MAX_BYTES];
	struct datagram d;
	struct packet p;

	if (a->packet == PACKET_CLAIM) {
		check_claim(w, n);
		result(n, n->claim_refused ? FSM_EV_CLAIM_REFUSED : FSM_EV_CLAIMED, 0);
		if (n->claim_refused)
			return;
	}
	if (a->packet == PACKET_ACTIVE && n->lease_refused) {
		result(n, FSM_EV_LEASE_REFUSED, 0);
		return;
	}
	if (w->trace_packets || (w->trace && a->packet > PACKET_ACTIVE))
		world_trace(w, n, "sends %s, epoch %llu", packet_kind_name(a->packet),
			(unsigned long long)n->fsm.epoch);
	if (w->sc->nodes < 2)
		return;
	for (uint32_t path = 0; path < w->sc->paths; path++) {
		uint64_t now_ns = node_clock(w, n, w->now_ns);

		fsm_packet(&n->fsm, a, now_ns, &p);
		replay_stamp(&n->replay, path, &p, now_ns);
		d.len = (uint16_t)packet_encode(&p, wire);
		ASSERT(d.len <= WIRE_MAX);
		memcpy(d.bytes, wire, d.len);
		d.path = (uint8_t)path;
		d.made_ns = w->now_ns;
		world_send(w, n, path, &d);
	}
}

static void start_probe(struct world *w, struct node *n)
{
	w->check.probe_begin_local_ns[n->index] = node_clock(w, n, w->now_ns);
	n->probe++;
	ASSERT(n->probe % 2 == 1);
	if (!n->link) {
		result(n, FSM_EV_PROBE_FAILED, 0);
		return;
	}
	result(n, FSM_EV_PROBE_SENT, 0);
	for (uint32_t i = 0; i < 3; i++)
		world_at(w, w->now_ns + i * w->times.probe_ns / 3, WHAT_PROBE, n->index, n->probe);
}

static void add_address(struct world *w, struct node *n)
{
	if (n->add_fails) {
		result(n, FSM_EV_ADDRESS_FAILED, 0);
		return;
	}
	n->address_until_ns =
		w->mutation == MUTATE_no_deadman ? NEVER : w->now_ns + FSM_ADDRESS_LIFE_NS;
	result(n, FSM_EV_ADDRESS_ADDED, 0);
}

static void remove_address(struct world *w, struct node *n)
{
	result(n, n->remove_fails ? FSM_EV_ADDRESS_STUCK : FSM_EV_ADDRESS_REMOVED, 0);
	if (n->remove_fails)
		return;
	if (w->mutation == MUTATE_early_release)
		world_at(w, w->now_ns + 100 * NS_PER_MS, WHAT_REMOVE, n->index, 0);
	else
		n->address_until_ns = 0;
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

static void perform(struct world *w, struct node *n, const struct fsm_action *a)
{
	switch (a->kind) {
	case FSM_DO_SEND:
		send_packet(w, n, a);
		return;
	case FSM_DO_TELL:
		world_trace(w, n, "%s -> %s: %s", fsm_state_name(a->from), fsm_state_name(a->to),
			fsm_reason_words(a->reason));
		if (a->to == FSM_PROBING)
			check_claim_begins(w, n);
		else if (a->from == FSM_PROBING && a->to != FSM_ACTIVE)
			check_claim_ends(w, n);
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
	case FSM_DO_STORE_EPOCH:
		store(w, n, a->epoch);
		break;
	case FSM_DO_ADD_ADDRESSES:
		add_address(w, n);
		break;
	case FSM_DO_REFRESH_ADDRESSES:
		if (n->add_fails)
			result(n, FSM_EV_ADDRESS_FAILED, 0);
		else if (n->address_until_ns <= w->now_ns)
			result(n, FSM_EV_ADDRESS_DELETED, 0);
		else if (w->mutation != MUTATE_no_deadman)
			n->address_until_ns = w->now_ns + FSM_ADDRESS_LIFE_NS;
		return;
	case FSM_DO_REMOVE_ADDRESSES:
		remove_address(w, n);
		break;
	case FSM_DO_LOAD_RULES:
		result(n, n->rules_fail ? FSM_EV_RULES_FAILED : FSM_EV_RULES_LOADED, 0);
		break;
	case FSM_DO_SET_DRAIN:
		/* Or connections stay until the limit. */
		if (rng_below(&w->rng, 2))
			result(n, FSM_EV_DRAINED, 0);
		break;
	case FSM_DO_ASK_PEER:
	case FSM_DO_ASK_WITNESS:
	case FSM_DO_FENCE_PEER:
	case FSM_DO_CLAIM_HOOK:
		break;
	case FSM_DO_STOPPED:
		node_kill(w, n);
		break;
	case FSM_DO_OPEN_CLAIM:
	case FSM_DO_CLOSE_CLAIM:
	case FSM_DO_ANNOUNCE:
	case FSM_DO_UNLOAD_RULES:
	case FSM_DO_CLEAR_DRAIN:
	case FSM_DO_TICKLE:
		break;
	}
	world_trace(w, n, "  does %s", fsm_action_name(a->kind));
}

static void step(struct world *w, struct node *n, const struct fsm_event *ev)
{
	ASSERT(n->todo_at == n->todo.count);
	if (ev->kind != FSM_EV_TICK && ev->kind != FSM_EV_PACKET)
		world_trace(w, n, "  sees %s", fsm_event_name(ev->kind));
	w->steps++;
	fsm_step(&n->fsm, ev, node_clock(w, n, w->now_ns), &n->todo);
	n->todo_at = 0;
}

static void hear(struct world *w, struct node *n, const struct datagram *d)
{
	uint64_t now_ns = node_clock(w, n, w->now_ns);
	enum replay_verdict verdict;
	struct replay_news news = {.age_ns = 0};
	struct packet p;

	ASSERT(packet_decode(span_make(d->bytes, d->len), &p) == PACKET_OK);
	verdict = replay_check(&n->replay, d->path, &p, now_ns, &news);
	if (w->trace_packets)
		world_trace(w, n, "hears %s on path %u: %s", packet_kind_name(p.kind), d->path,
			replay_verdict_name(verdict));
	if (w->mutation != MUTATE_trusting && !replay_counts(verdict))
		return;
	if (w->mutation == MUTATE_trusting)
		p.sent_ns = now_ns;
	if (w->mutation == MUTATE_old_release)
		news.age_ns = 0;
	if (w->mutation == MUTATE_deaf && (p.kind == PACKET_ACTIVE || p.kind == PACKET_CLAIM))
		return;
	if (p.kind == PACKET_RELEASE && (w->check.release_made_ns[n->index] == NEVER ||
						d->made_ns > w->check.release_made_ns[n->index]))
		w->check.release_made_ns[n->index] = d->made_ns;
	step(w, n,
		&(struct fsm_event){
			.kind = FSM_EV_PACKET,
			.path = d->path,
			.age_ns = news.age_ns,
			.packet = &p,
		});
}

static void take_input(struct world *w, struct node *n)
{
	/* It stays in its place of the ring for as long as the step lasts. */
	const struct input *in = &n->inbox[n->inbox_head];

	n->inbox_head = (n->inbox_head + 1) % INBOX_MAX;
	n->inbox_count--;
	if (in->kind == INPUT_DATAGRAM) {
		hear(w, n, &in->datagram);
		return;
	}
	if (in->event.kind == FSM_EV_PROBE_ANSWERED && (in->probe != n->probe || n->probe % 2 == 0))
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
				rng_below(&w->rng, 3) == 0) {
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
			return;
		}
	}
}
