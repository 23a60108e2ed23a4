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
	return low + rng_below(r, high - low + 1);
}

static bool chance(struct rng *r, uint32_t pct)
{
	return rng_below(r, 100) < pct;
}

/*
 * An address of a dead or frozen agent answers probes for its lifetime; then a boot settles, the
 * second by rank may wait for the first (one boot and two silences, or four silences), tries are at
 * most a silence and a half and a probe apart, and an abandoned handover is tried again after a
 * second.
 */
uint64_t settle_bound_ns(const struct schedule *sc)
{
	struct times t = times_of(sc->profile);

	return FSM_ADDRESS_LIFE_NS + 2 * FSM_SETTLE_NS + 8 * t.silence_ns + 3 * t.probe_ns +
	       NS_PER_S;
}

static void make_fault(struct schedule *sc, struct rng *r, struct fault *f, uint64_t from_ns)
{
	static const uint64_t longest_ms[] = {100, 600, 3000, 6000};

	f->kind = (enum fault_kind)rng_below(r, FAULT_KIND_COUNT);
	f->at_ns = from_ns + rng_below(r, 9000 * NS_PER_MS);
	f->end_ns = f->at_ns + between(r, NS_PER_MS, longest_ms[rng_below(r, 4)] * NS_PER_MS);
	f->node = (uint8_t)rng_below(r, sc->nodes);
	f->path = (uint8_t)rng_below(r, sc->paths);
	f->dirs = (uint8_t)between(r, 1, 3);
	f->pct = (uint8_t)between(r, 5, 95);
	f->disk_lost = chance(r, 30);
	f->extra_ns = between(r, NS_PER_MS, 500 * NS_PER_MS);
}

void schedule_make(struct schedule *sc, uint64_t seed)
{
	uint64_t last_ns = 0, from_ns;
	struct rng r;
	struct times t;

	rng_seed(&r, seed);
	memset(sc, 0, sizeof(*sc));
	sc->seed = seed;
	sc->profile = chance(&r, 80) ? TIMES_default : chance(&r, 50) ? TIMES_fast : TIMES_relaxed;
	t = times_of(sc->profile);
	sc->nodes = chance(&r, 97) ? 2 : 1;
	sc->paths = (uint32_t)between(&r, 1, PATHS_MAX);
	sc->prefer = (uint8_t)rng_below(&r, 3);
	sc->failback_ns = chance(&r, 6) ? between(&r, 500, 3000) * NS_PER_MS : 0;
	if (sc->prefer > sc->nodes)
		sc->prefer = 0;
	for (uint32_t i = 0; i < NODES; i++) {
		sc->ppm[i] = (int32_t)between(&r, 0, 20000) - 10000;
		sc->offset_ns[i] = rng_below(&r, 1000 * NS_PER_S);
		/* At the same instant, nearly so, or not at all. */
		sc->start_ns[i] =
			NS_PER_MS + (chance(&r, 30) ? 0
						    : rng_below(&r, chance(&r, 50) ? 100 * NS_PER_MS
										   : 3 * NS_PER_S));
	}
	for (uint32_t i = 0; i < PATHS_MAX; i++) {
		sc->path_delay_ns[i] = between(&r, 20 * NS_PER_US, t.heartbeat_ns / 8);
		sc->path_jitter_ns[i] = rng_below(&r, t.heartbeat_ns / 8);
	}
	sc->lan_delay_ns = between(&r, 20 * NS_PER_US, t.probe_ns / 8);
	sc->dead_at_end = sc->nodes == 2 && chance(&r, 10) ? (int)rng_below(&r, 2) : -1;

	from_ns = chance(&r, 20) ? 0 : 4 * NS_PER_S;
	sc->fault_count = (uint32_t)rng_below(&r, chance(&r, 80) ? 6 : FAULTS_MAX);
	for (uint32_t i = 0; i < sc->fault_count; i++)
		make_fault(sc, &r, &sc->faults[i], from_ns);
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
	printf("seed %llu: profile %s, %u node(s), %u path(s), prefer %u, failback %.1f s, drift "
	       "%+d %+d ppm, "
	       "start %.3f %.3f s, dead at end %d\n",
		(unsigned long long)sc->seed, times_profile_name(sc->profile), sc->nodes, sc->paths,
		sc->prefer, (double)sc->failback_ns / 1e9, sc->ppm[0], sc->ppm[1],
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
