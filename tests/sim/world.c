/*
 * Time, the network between the nodes, and what the faults do to them.
 */
#include "tests/sim/sim.h"

#include <stdarg.h>

void world_trace(const struct world *w, const struct node *n, const char *fmt, ...)
{
	va_list args;

	if (!w->trace)
		return;
	printf("%12.6f %c ", (double)w->now_ns / 1e9, n ? 'a' + n->index : ' ');
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

/* --- what is to come ------------------------------------------------------------------------ */

static bool before(const struct event *a, const struct event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void world_at(struct world *w, uint64_t at_ns, enum what what, uint8_t node, uint32_t arg)
{
	struct event e = {
		.at_ns = at_ns, .order = w->heap_order++, .what = what, .node = node, .arg = arg};
	uint32_t i = w->heap_count++;

	ASSERT(w->heap_count <= EVENTS_MAX && at_ns >= w->now_ns);
	while (i > 0 && before(&e, &w->heap[(i - 1) / 2])) {
		w->heap[i] = w->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	w->heap[i] = e;
}

static struct event take_next(struct world *w)
{
	struct event top = w->heap[0], last = w->heap[--w->heap_count];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < w->heap_count) {
		if (child + 1 < w->heap_count && before(&w->heap[child + 1], &w->heap[child]))
			child++;
		if (!before(&w->heap[child], &last))
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = last;
	return top;
}

/* --- network -------------------------------------------------------------------------------- */

/* The first path is the client network itself. */
static bool path_works(const struct world *w, uint32_t path, uint8_t from)
{
	const struct node *a = &w->nodes[0], *b = &w->nodes[1];

	return !w->path_cut[path][from] && a->host_up && b->host_up && !a->paused_ns &&
	       !b->paused_ns && (path > 0 || (a->link && b->link));
}

static void fly(struct world *w, uint8_t from, const struct datagram *d, uint64_t extra_ns)
{
	uint32_t path = d->packet.path;
	uint64_t delay = w->sc->path_delay_ns[path] +
			 pick(&w->rng, w->sc->path_jitter_ns[path] + extra_ns + 1);
	uint32_t slot;

	if (w->free_count == 0)
		return;
	slot = w->free_slots[--w->free_count];
	w->flying[slot] = *d;
	world_at(w, w->now_ns + delay, WHAT_DATAGRAM, (uint8_t)(1 - from), slot);
}

void world_free(struct world *w, uint32_t slot)
{
	ASSERT(w->free_count < FLYING_MAX);
	w->free_slots[w->free_count++] = slot;
}

static void tape(struct world *w, uint8_t from, const struct datagram *d)
{
	if (w->tape_count[from] < countof(w->tape[0]))
		w->tape[from][w->tape_count[from]++] = *d;
	else if (pick(&w->rng, 16) == 0)
		w->tape[from][pick(&w->rng, countof(w->tape[0]))] = *d;
}

void world_send(struct world *w, struct node *n, const struct packet *p)
{
	struct datagram d = {.packet = *p, .made_ns = w->now_ns};
	uint64_t now_ns = node_clock(w, n, w->now_ns);
	uint8_t from = n->index;

	for (uint32_t path = 0; path < w->sc->paths; path++) {
		uint64_t extra_ns = w->path_extra_ns[path][from];

		replay_stamp(&n->replay, path, &d.packet, now_ns);
		if (w->taping)
			tape(w, from, &d);
		if (!path_works(w, path, from) ||
			(w->path_loss_pct[path][from] &&
				pick(&w->rng, 100) < w->path_loss_pct[path][from]))
			continue;
		fly(w, from, &d, extra_ns);
		if (w->path_dup_pct[path][from] && pick(&w->rng, 100) < w->path_dup_pct[path][from])
			fly(w, from, &d, extra_ns + 20 * NS_PER_MS);
	}
}

static void land(struct world *w, uint8_t to, uint32_t slot)
{
	struct input *in = NULL;

	if (w->nodes[to].host_up)
		in = node_input(w, &w->nodes[to], INPUT_DATAGRAM);
	if (in)
		in->number = slot;
	else
		world_free(w, slot);
}

static void play_tape(struct world *w, uint8_t from, bool again)
{
	uint32_t count = w->tape_count[from];

	if (count)
		fly(w, from, &w->tape[from][pick(&w->rng, count)], 0);
	if (again && w->now_ns + 7 * NS_PER_MS < w->sc->end_ns)
		world_at(w, w->now_ns + 7 * NS_PER_MS, WHAT_TAPE, from, again);
}

/* --- faults --------------------------------------------------------------------------------- */

static void cut_paths(
	struct world *w, const struct fault *f, uint32_t first, uint32_t last, bool on)
{
	for (uint32_t path = first; path <= last; path++)
		for (uint8_t from = 0; from < NODES; from++)
			if (f->dirs >> from & 1)
				w->path_cut[path][from] += on ? 1 : -1U;
}

static void cut_lan(struct world *w, const struct fault *f, bool on)
{
	for (uint8_t from = 0; from < NODES; from++)
		if (f->dirs >> from & 1)
			w->lan_cut[from] += on ? 1 : -1U;
}

static void path_fault(struct world *w, const struct fault *f, bool on)
{
	for (uint8_t from = 0; from < NODES; from++) {
		if (!(f->dirs >> from & 1))
			continue;
		if (f->kind == FAULT_PATH_LOSS)
			w->path_loss_pct[f->path][from] = on ? f->pct : 0;
		else if (f->kind == FAULT_PATH_DELAY)
			w->path_extra_ns[f->path][from] = on ? f->extra_ns : 0;
		else
			w->path_dup_pct[f->path][from] = on ? f->pct : 0;
	}
}

static void set_proxy(struct world *w, struct node *n, enum fsm_proxy proxy)
{
	n->proxy = proxy;
	n->kernel.flows = n->kernel.flows && proxy == FSM_PROXY_OK;
	node_event(w, n, (struct fsm_event){.kind = FSM_EV_PROXY, .proxy = proxy});
}

static void lose_disk(struct world *w, struct node *n, const struct fault *f)
{
	if (!f->disk_lost)
		return;
	n->disk_epoch = 0;
	w->check.claim_epoch[n->index] = 0;
}

static void host_dies(struct world *w, struct node *n)
{
	node_kill(w, n);
	w->check.untold[n->index] = w->check.untold[n->index] || n->kernel.flows;
	w->check.died_ns[n->index] = w->now_ns;
	n->host_up = n->kernel.flows = false;
	kernel_reset(n);
}

static void host_fault(struct world *w, const struct fault *f, struct node *n, bool on)
{
	if (!on) {
		n->host_up = true;
		node_start(w, n);
		return;
	}
	if (f->kind == FAULT_HOST_DEAD)
		host_dies(w, n);
	else
		node_kill(w, n);
	lose_disk(w, n, f);
}

static void stop_service(struct world *w, struct node *n, bool on)
{
	if (on) {
		node_event(w, n, (struct fsm_event){.kind = FSM_EV_STOP});
		return;
	}
	/* The service manager's patience is over, and it starts it again. */
	node_kill(w, n);
	node_start(w, n);
}

static void freeze_fault(struct world *w, const struct fault *f, struct node *n, bool on)
{
	if (f->kind == FAULT_FREEZE) {
		if (on)
			node_freeze(w, n, f->end_ns - f->at_ns);
		return;
	}
	n->freeze_armed = on;
	n->freeze_for_ns = f->end_ns - f->at_ns;
	if (!on && n->frozen_until_ns > w->now_ns && n->paused_ns == 0) {
		n->slept_ns -= n->frozen_until_ns - w->now_ns;
		n->frozen_until_ns = w->now_ns;
		n->wake_ns = w->now_ns;
	}
}

static void delete_address(struct world *w, struct node *n)
{
	if (!n->host_up || n->kernel.address_until_ns <= w->now_ns)
		return;
	n->kernel.address_until_ns = 0;
	w->check.addressless[n->index] = true;
	node_event(w, n, (struct fsm_event){.kind = FSM_EV_ADDRESS_DELETED});
}

static void witness_fault(struct world *w, const struct fault *f, bool on)
{
	if (f->kind == FAULT_WITNESS_CUT) {
		for (uint8_t i = 0; i < NODES; i++)
			if (f->dirs >> i & 1)
				w->witness.cut[i] += on ? 1 : -1U;
		return;
	}
	/* It remembers nothing, and so promises nothing for as long as promises last. */
	w->witness.holder = -1;
	w->witness.holder_epoch = 0;
	w->witness.heard_ns = w->now_ns;
}

static void condition_fault(
	struct world *w, struct node *n, enum fsm_event_kind kind, bool *condition, bool good)
{
	*condition = good;
	n->kernel.flows = false;
	node_event(w, n, (struct fsm_event){.kind = kind, .good = good});
}

/* told_once: what has no end, only a beginning. */
static void told_once(struct world *w, struct node *n, enum fsm_event_kind kind, bool on)
{
	if (on)
		node_event(w, n, (struct fsm_event){.kind = kind});
}

static void apply(struct world *w, const struct fault *f, bool on)
{
	struct node *n = &w->nodes[f->node];

	switch (f->kind) {
	case FAULT_PATH_LOSS:
	case FAULT_PATH_DELAY:
	case FAULT_PATH_DUPLICATE:
		path_fault(w, f, on);
		break;
	case FAULT_PATH_CUT:
		cut_paths(w, f, f->path, f->path, on);
		break;
	case FAULT_ALL_PATHS_CUT:
		cut_paths(w, f, 0, PATHS_MAX - 1, on);
		break;
	case FAULT_LAN_CUT:
		cut_lan(w, f, on);
		break;
	case FAULT_SPLIT:
		cut_paths(w, f, 0, PATHS_MAX - 1, on);
		cut_lan(w, f, on);
		break;
	case FAULT_FREEZE:
	case FAULT_FREEZE_IN_ACTION:
		freeze_fault(w, f, n, on);
		break;
	case FAULT_AGENT_KILLED:
	case FAULT_HOST_DEAD:
		host_fault(w, f, n, on);
		break;
	case FAULT_PROXY_DEAD:
		set_proxy(w, n, on ? FSM_PROXY_DEAD : FSM_PROXY_OK);
		break;
	case FAULT_PROXY_HUNG:
		set_proxy(w, n, on ? FSM_PROXY_HUNG : FSM_PROXY_OK);
		break;
	case FAULT_LINK_DOWN:
		condition_fault(w, n, FSM_EV_LINK, &n->link, !on);
		break;
	case FAULT_GATEWAY_LOST:
		condition_fault(w, n, FSM_EV_GATEWAY, &n->gateway, !on);
		break;
	case FAULT_FENCE_LOST:
		condition_fault(w, n, FSM_EV_FENCE, &n->fence, !on);
		break;
	case FAULT_SWITCHOVER:
		told_once(w, n, FSM_EV_SWITCHOVER, on);
		break;
	case FAULT_OPERATOR_FREEZE:
		node_event(w, n, (struct fsm_event){.kind = on ? FSM_EV_FREEZE : FSM_EV_RESUME});
		break;
	case FAULT_SERVICE_STOP:
		stop_service(w, n, on);
		break;
	case FAULT_VIP_DELETED:
		if (on)
			delete_address(w, n);
		break;
	case FAULT_EPOCH_UNSTORABLE:
		n->epoch_fails = on;
		break;
	case FAULT_ADDRESS_UNADDABLE:
		n->add_fails = on;
		break;
	case FAULT_ADDRESS_STUCK:
		n->remove_fails = on;
		w->check.stuck_until_ns[n->index] = on ? NEVER : w->now_ns + FSM_ADDRESS_LIFE_NS;
		break;
	case FAULT_CLAIM_REFUSED:
		n->claim_refused = on;
		break;
	case FAULT_LEASE_REFUSED:
		n->lease_refused = on;
		break;
	case FAULT_RULES_FAIL:
		n->rules_fail = on;
		break;
	case FAULT_CONFLICT:
		told_once(w, n, FSM_EV_ADDRESS_CONFLICT, on);
		break;
	case FAULT_SUSPENDED:
	case FAULT_VM_PAUSED:
		if (on)
			node_pause(w, n, f->end_ns - f->at_ns, f->kind == FAULT_SUSPENDED);
		break;
	case FAULT_WITNESS_CUT:
	case FAULT_WITNESS_RESTARTED:
		witness_fault(w, f, on);
		break;
	case FAULT_HOOKS_FAIL:
		n->hooks_fail = on;
		break;
	case FAULT_REPLAY:
		for (int i = 0; on && i < 64; i++)
			play_tape(w, n->index, false);
		break;
	}
}

static void change_fault(struct world *w, uint32_t number, bool on)
{
	const struct fault *f = &w->sc->faults[number];

	world_trace(w, &w->nodes[f->node], "fault %u %s %s", number, fault_name(f->kind),
		on ? "begins" : "ends");
	w->dirty = true;
	check_fault(w, on);
	if (on)
		check_timed(w, f);
	apply(w, f, on);
}

/* --- the run -------------------------------------------------------------------------------- */

static void drained(struct world *w, struct node *n, uint32_t number)
{
	if (w->drain_number[n->index] != number)
		return;
	n->kernel.flows = false;
	node_event(w, n, (struct fsm_event){.kind = FSM_EV_DRAINED});
}

/*
 * After the last fault: once one node serves and the other waits, and both have kept to it for a
 * second, what follows is a second like that one. (One schedule in sixteen is run to its end to
 * see.)
 */
static void quiet(struct world *w, uint32_t count)
{
	const struct schedule *sc = w->sc;
	uint32_t owners = 0;
	bool rest = true;

	for (uint32_t i = 0; i < sc->nodes; i++) {
		const struct node *n = &w->nodes[i];

		owners += node_owns(n);
		if ((int)i == sc->dead_at_end)
			continue;
		rest = rest && n->running && n->fsm.alarms == 0 && n->fsm.hook_ticket == 0 &&
		       !n->fsm.rules && (node_owns(n) || n->fsm.state == FSM_STANDBY);
		if (sc->failback_ns && sc->prefers[i] == i + 1)
			rest = rest && node_owns(n);
	}
	count = rest && owners == 1 ? count + 1 : 0;
	w->over = count > 10;
	world_at(w, w->now_ns + 100 * NS_PER_MS, WHAT_QUIET, 0, count);
}

static void happen(struct world *w, const struct event *e)
{
	struct node *n = &w->nodes[e->node];

	switch (e->what) {
	case WHAT_DATAGRAM:
		land(w, e->node, e->arg);
		break;
	case WHAT_PROBE:
	case WHAT_PROBE_IN:
	case WHAT_ANSWER_IN:
	case WHAT_HOST_IN:
	case WHAT_HOST_ANSWER:
		lan_happen(w, n, e->what, e->arg);
		break;
	case WHAT_WITNESS_ASKED:
	case WHAT_WITNESS_SAYS:
	case WHAT_WITNESS_HEARS:
	case WHAT_WITNESS_ECHOES:
	case WHAT_WITNESS_FREES:
		witness_happen(w, n, e->what, e->arg);
		break;
	case WHAT_FENCE_HOOK:
	case WHAT_CLAIM_HOOK:
		hook_done(w, n, e->what, e->arg);
		break;
	case WHAT_DRAINED:
		drained(w, n, e->arg);
		break;
	case WHAT_RESUMED:
		node_resume(w, n, e->arg);
		break;
	case WHAT_BACK:
		n->host_up = true;
		node_start(w, n);
		break;
	case WHAT_TAKEN:
		check_taken(w, n);
		break;
	case WHAT_TOLD:
		check_told(w, n, e->arg);
		break;
	case WHAT_FAULT:
		change_fault(w, e->arg, true);
		break;
	case WHAT_FAULT_END:
		change_fault(w, e->arg, false);
		break;
	case WHAT_START:
		node_start(w, n);
		break;
	case WHAT_DEATH:
		world_trace(w, n, "host dies for good");
		host_dies(w, n);
		w->check.faults_seen++;
		play_tape(w, e->node, true);
		break;
	case WHAT_TAPE:
		play_tape(w, e->node, e->arg);
		break;
	case WHAT_SETTLED:
		check_settled(w);
		break;
	case WHAT_QUIET:
		quiet(w, e->arg);
		break;
	case WHAT_REMOVE:
		n->kernel.lease_until_ns = n->kernel.address_until_ns = 0;
		break;
	}
}

static void prepare(struct world *w)
{
	const struct schedule *sc = w->sc;

	for (uint32_t i = 0; i < FLYING_MAX; i++)
		w->free_slots[i] = i;
	w->free_count = FLYING_MAX;
	w->taping = sc->dead_at_end >= 0;
	witness_init(w);
	for (uint8_t i = 0; i < NODES; i++) {
		struct node *n = &w->nodes[i];

		memset(n, 0, sizeof(*n));
		n->index = i;
		n->wake_ns = NEVER;
		n->times = times_of(sc->profiles[i]);
		n->lease_ns = n->times.lease_ns * 1000000 / (uint64_t)(1000000 + sc->ppm[i]);
		if (w->mutation == MUTATE_long_lease)
			n->lease_ns = 2 * n->times.silence_ns;
		kernel_reset(n);
		n->inbox = w->inboxes[i];
		n->host_up = i < sc->nodes;
		n->link = n->gateway = n->fence = true;
		n->proxy = FSM_PROXY_OK;
		if (n->host_up)
			world_at(w, sc->start_ns[i], WHAT_START, i, 0);
	}
	for (uint32_t i = 0; i < sc->fault_count; i++) {
		if (!(w->mask >> i & 1))
			continue;
		w->taping = w->taping || sc->faults[i].kind == FAULT_REPLAY;
		world_at(w, sc->faults[i].at_ns, WHAT_FAULT, sc->faults[i].node, i);
		world_at(w, sc->faults[i].end_ns, WHAT_FAULT_END, sc->faults[i].node, i);
	}
	if (sc->dead_at_end >= 0)
		world_at(w, sc->healed_ns, WHAT_DEATH, (uint8_t)sc->dead_at_end, 0);
	world_at(w, sc->settled_ns, WHAT_SETTLED, 0, 0);
	if (!sc->whole)
		world_at(w, sc->healed_ns, WHAT_QUIET, 0, 0);
	check_init(w);
}

/* Everything but the big arrays, which need no clearing. */
static void reset(struct world *w)
{
	memset(w->path_cut, 0, sizeof(w->path_cut));
	memset(w->path_loss_pct, 0, sizeof(w->path_loss_pct));
	memset(w->path_extra_ns, 0, sizeof(w->path_extra_ns));
	memset(w->path_dup_pct, 0, sizeof(w->path_dup_pct));
	memset(w->lan_cut, 0, sizeof(w->lan_cut));
	memset(w->tape_count, 0, sizeof(w->tape_count));
	memset(w->drain_number, 0, sizeof(w->drain_number));
	w->over = false;
	w->dirty = true;
	w->now_ns = w->heap_order = 0;
	w->heap_count = 0;
}

bool world_run(struct world *w, const struct schedule *sc, uint64_t mask, enum mutation mutation,
	bool trace, bool trace_packets)
{
	reset(w);
	w->sc = sc;
	w->mask = mask;
	w->mutation = mutation;
	w->trace = trace;
	w->trace_packets = trace_packets;
	w->kernel = sc->fence == FENCE_KERNEL;
	rng_seed(&w->rng, sc->seed ^ UINT64_C(0x9e3779b97f4a7c15));
	prepare(w);
	while (!w->check.failure[0] && !w->over) {
		uint64_t next = w->heap_count ? w->heap[0].at_ns : NEVER;

		for (uint32_t i = 0; i < NODES; i++)
			if (w->nodes[i].wake_ns < next)
				next = w->nodes[i].wake_ns;
		if (next > sc->end_ns)
			break;
		ASSERT(next >= w->now_ns);
		w->now_ns = next;
		while (w->heap_count && w->heap[0].at_ns == next) {
			struct event e = take_next(w);

			happen(w, &e);
		}
		for (uint32_t i = 0; i < NODES; i++)
			if (w->nodes[i].wake_ns <= next)
				node_run(w, &w->nodes[i]);
		check_instant(w);
	}
	if (!w->check.failure[0])
		check_end(w);
	return !w->check.failure[0];
}
