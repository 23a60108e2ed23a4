/*
 * Draws a schedule from a seed: the pair, its network and clocks, and what goes wrong when.
 */
#include "tests/sim/sim.h"

static const char *const names[] = {
#define X(name) [FAULT_##name] = #name,
	FAULTS(X)
#undef X
};

const char *fault_name(enum fault_kind kind)
{
	ASSERT((unsigned)kind < FAULT_KIND_COUNT);
	return names[kind];
}

static uint64_t between(struct rng *r, uint64_t low, uint64_t high)
{
	return low + pick(r, high - low + 1);
}

static bool chance(struct rng *r, uint32_t pct)
{
	return pick(r, 100) < pct;
}

/*
 * An address of a dead or frozen agent answers probes for its lifetime; then a boot settles, the
 * second by rank may wait for the first (one boot and two silences, or four silences), tries are at
 * most a silence and a half and a probe apart, and an abandoned handover is tried again after a
 * second.
 */
uint64_t settle_bound_ns(const struct schedule *sc)
{
	const struct times *t = &sc->slowest;
	uint64_t bound_ns = FSM_ADDRESS_LIFE_NS + 2 * FSM_SETTLE_NS + 8 * t->silence_ns +
			    3 * t->probe_ns + NS_PER_S;

	if (sc->witness)
		bound_ns += 8 * t->silence_ns;
	/* One that failed is tried again after a hold-down of up to 8 s, and the next takes its
	 * time; a fenced host comes back and settles. */
	if (sc->fence_hook)
		bound_ns += 5 * NS_PER_S;
	if (sc->claim_hook)
		bound_ns += 10 * NS_PER_S;
	return bound_ns;
}

static void make_fault(struct schedule *sc, struct rng *r, struct fault *f, uint64_t from_ns)
{
	static const uint64_t longest_ms[] = {100, 600, 1500, 4000};

	f->kind = (enum fault_kind)pick(r, FAULT_KIND_COUNT);
	f->at_ns = from_ns + pick(r, 5000 * NS_PER_MS);
	f->end_ns = f->at_ns + between(r, NS_PER_MS, longest_ms[pick(r, 4)] * NS_PER_MS);
	f->node = (uint8_t)pick(r, sc->nodes);
	f->path = (uint8_t)pick(r, sc->paths);
	f->dirs = (uint8_t)between(r, 1, 3);
	f->pct = (uint8_t)between(r, 5, 95);
	f->disk_lost = chance(r, 30);
	f->extra_ns = between(r, NS_PER_MS, 500 * NS_PER_MS);
}

static void make_pair(struct schedule *sc, struct rng *r, enum fence fence)
{
	bool skewed = chance(r, 5);

	sc->fence = chance(r, 70) ? FENCE_KERNEL : FENCE_ADDRESS;
	if (fence != FENCE_DRAWN)
		sc->fence = fence;
	sc->nodes = chance(r, 97) ? 2 : 1;
	sc->paths = (uint32_t)between(r, 1, PATHS_MAX);
	sc->failback_ns = chance(r, 4) ? between(r, 500, 3000) * NS_PER_MS : 0;
	sc->on_wire = chance(r, 6);
	sc->whole = chance(r, 6);
	sc->witness = sc->nodes == 2 && chance(r, 20);
	sc->fence_hook = sc->nodes == 2 && chance(r, 12);
	sc->claim_hook = chance(r, 12);
	for (uint32_t i = 0; i < NODES; i++) {
		bool differs = i == 0 || (skewed && sc->failback_ns == 0);

		sc->profiles[i] = chance(r, 80)	  ? TIMES_default
				  : chance(r, 50) ? TIMES_fast
						  : TIMES_relaxed;
		sc->prefers[i] = (uint8_t)pick(r, 3);
		sc->drain_ns[i] = between(r, 200, 2000) * NS_PER_MS;
		if (!differs) {
			sc->profiles[i] = sc->profiles[0];
			sc->prefers[i] = sc->prefers[0];
			sc->drain_ns[i] = sc->drain_ns[0];
		}
		if (sc->prefers[i] > sc->nodes)
			sc->prefers[i] = 0;
		sc->ppm[i] = (int32_t)between(r, 0, 20000) - 10000;
		sc->offset_ns[i] = pick(r, 1000 * NS_PER_S);
		/* At the same instant, nearly so, or not at all. */
		sc->start_ns[i] = NS_PER_MS;
		if (!chance(r, 30))
			sc->start_ns[i] += pick(r, chance(r, 50) ? 100 * NS_PER_MS : 2 * NS_PER_S);
	}
}

static void make_network(struct schedule *sc, struct rng *r)
{
	struct times a = times_of(sc->profiles[0]), b = times_of(sc->profiles[1]);
	const struct times *fastest = a.silence_ns < b.silence_ns ? &a : &b;

	sc->slowest = a.silence_ns < b.silence_ns ? b : a;
	for (uint32_t i = 0; i < PATHS_MAX; i++) {
		sc->path_delay_ns[i] = between(r, 20 * NS_PER_US, fastest->heartbeat_ns / 8);
		sc->path_jitter_ns[i] = pick(r, fastest->heartbeat_ns / 8);
	}
	sc->lan_delay_ns = between(r, 20 * NS_PER_US, fastest->probe_ns / 8);
}

static void add(
	struct schedule *sc, enum fault_kind kind, uint8_t node, uint64_t at_ns, uint64_t for_ns)
{
	sc->faults[sc->fault_count++] = (struct fault){
		.kind = kind, .node = node, .dirs = 3, .at_ns = at_ns, .end_ns = at_ns + for_ns};
}

/* What chance brings together too seldom: nodes that cannot hear each other, and agents that stand
 * still meanwhile. */
static void make_storm(struct schedule *sc, struct rng *r, uint64_t from_ns)
{
	uint64_t at_ns = chance(r, 40) ? 0 : from_ns + pick(r, NS_PER_S);
	uint64_t for_ns = between(r, 1000, 4000) * NS_PER_MS;
	bool split = sc->witness || chance(r, 20);

	if (at_ns == 0 && chance(r, 50))
		sc->start_ns[1] = sc->start_ns[0] + pick(r, 30 * NS_PER_MS);
	add(sc, split ? FAULT_SPLIT : FAULT_ALL_PATHS_CUT, 0, at_ns, for_ns);
	if (sc->witness) {
		add(sc, FAULT_WITNESS_CUT, 0, at_ns, for_ns);
		sc->faults[sc->fault_count - 1].dirs = (uint8_t)between(r, 1, 2);
	}
	for (uint32_t i = 0; i < 4; i++)
		add(sc, chance(r, 70) ? FAULT_FREEZE_IN_ACTION : FAULT_FREEZE, (uint8_t)pick(r, 2),
			at_ns + pick(r, for_ns), between(r, 20, 900) * NS_PER_MS);
}

void schedule_make(struct schedule *sc, uint64_t seed, enum fence fence)
{
	uint64_t last_ns = 0, from_ns;
	struct rng r;

	rng_seed(&r, seed);
	memset(sc, 0, sizeof(*sc));
	sc->seed = seed;
	make_pair(sc, &r, fence);
	make_network(sc, &r);
	sc->dead_at_end = sc->nodes == 2 && chance(&r, 10) ? (int)pick(&r, 2) : -1;

	from_ns = chance(&r, 20) ? 0 : 2500 * NS_PER_MS;
	sc->fault_count = (uint32_t)pick(&r, chance(&r, 80) ? 6 : FAULTS_MAX);
	for (uint32_t i = 0; i < sc->fault_count; i++)
		make_fault(sc, &r, &sc->faults[i], from_ns);
	if (sc->nodes == 2 && chance(&r, 15)) {
		sc->fault_count = 0;
		make_storm(sc, &r, from_ns);
	}
	for (uint32_t i = 0; i < NODES; i++)
		if (last_ns < sc->start_ns[i])
			last_ns = sc->start_ns[i];
	for (uint32_t i = 0; i < sc->fault_count; i++)
		if (last_ns < sc->faults[i].end_ns)
			last_ns = sc->faults[i].end_ns;
	/* What was delayed most is still on its way at the end of its fault. */
	sc->healed_ns = last_ns + 600 * NS_PER_MS;
	sc->settled_ns = sc->healed_ns + settle_bound_ns(sc);
	sc->end_ns = sc->settled_ns + 2 * NS_PER_S;
	if (sc->failback_ns)
		sc->end_ns += DAMPING_MAX_NS + sc->failback_ns + settle_bound_ns(sc);
}

void schedule_print(const struct schedule *sc, uint64_t mask)
{
	printf("seed %llu: fence %s%s%s%s, profiles %s %s, %u node(s), %u path(s), prefer %u %u, "
	       "failback %.1f s, drain %.1f %.1f s, drift %+d %+d ppm, start %.3f %.3f s, dead at "
	       "end %d\n",
		(unsigned long long)sc->seed, sc->fence == FENCE_KERNEL ? "kernel" : "address",
		sc->witness ? ", witness" : "", sc->fence_hook ? ", fence hook" : "",
		sc->claim_hook ? ", claim hook" : "", times_profile_name(sc->profiles[0]),
		times_profile_name(sc->profiles[1]), sc->nodes, sc->paths, sc->prefers[0],
		sc->prefers[1], (double)sc->failback_ns / 1e9, (double)sc->drain_ns[0] / 1e9,
		(double)sc->drain_ns[1] / 1e9, sc->ppm[0], sc->ppm[1],
		(double)sc->start_ns[0] / 1e9, (double)sc->start_ns[1] / 1e9, sc->dead_at_end);
	for (uint32_t i = 0; i < sc->fault_count; i++) {
		const struct fault *f = &sc->faults[i];

		if (mask >> i & 1)
			printf("  fault %2u: %-17s %.6f to %.6f s, node %c, path %u, directions "
			       "%u, %u %%, %.0f ms%s\n",
				i, fault_name(f->kind), (double)f->at_ns / 1e9,
				(double)f->end_ns / 1e9, 'a' + f->node, f->path, f->dirs, f->pct,
				(double)f->extra_ns / 1e6, f->disk_lost ? ", disk lost" : "");
	}
}
