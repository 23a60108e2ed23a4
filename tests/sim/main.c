/*
 * tandem-sim: runs schedules, and explains the first that fails.
 */
#include "tests/sim/sim.h"

#include <getopt.h>
#include <time.h>

static const char *const mutation_names[] = {
#define X(name, what) [MUTATE_##name] = #name,
	MUTATIONS(X)
#undef X
};

static const char *const mutation_words[] = {
#define X(name, what) [MUTATE_##name] = (what),
	MUTATIONS(X)
#undef X
};

static struct world world;

struct options {
	uint64_t seed, schedules, mask;
	enum mutation mutation;
	enum fence fence;
	bool trace, packets, one;
};

static void usage(FILE *to)
{
	fprintf(to, "usage: tandem-sim [--schedules K] [--seed N [--mask M] [--trace [--packets]]] "
		    "[--fence kernel|address] [--mutate NAME]\n"
		    "  --schedules K  run K seeds from --seed (default 1000 from 1)\n"
		    "  --seed N       alone: run this one\n"
		    "  --mask M       only the faults whose bits are set\n"
		    "  --trace        say what happens; --packets: each packet too\n"
		    "  --fence WHAT   instead of what the seed draws\n"
		    "  --mutate NAME  break something that must be noticed:\n");
	for (uint32_t i = 1; i < MUTATION_COUNT; i++)
		fprintf(to, "    %-16s %s\n", mutation_names[i], mutation_words[i]);
}

static bool mutation_of(const char *name, enum mutation *ret_mutation)
{
	for (uint32_t i = 0; i < MUTATION_COUNT; i++) {
		if (strcmp(name, mutation_names[i]) == 0) {
			*ret_mutation = (enum mutation)i;
			return true;
		}
	}
	return false;
}

/* Leaves out every fault that the failure does not need. */
static uint64_t shrink(const struct schedule *sc, enum mutation mutation, uint64_t mask)
{
	bool smaller;

	do {
		smaller = false;
		for (uint32_t i = 0; i < sc->fault_count; i++) {
			uint64_t without = mask & ~(UINT64_C(1) << i);

			if (without != mask &&
				!world_run(&world, sc, without, mutation, false, false)) {
				mask = without;
				smaller = true;
			}
		}
	} while (smaller);
	return mask;
}

static void explain(const struct schedule *sc, const struct options *o)
{
	uint64_t mask = shrink(sc, o->mutation, (UINT64_C(1) << sc->fault_count) - 1);

	world_run(&world, sc, mask, o->mutation, false, false);
	printf("seed %llu failed: %s\n", (unsigned long long)sc->seed, world.check.failure);
	schedule_print(sc, mask);
	printf("see it: tandem-sim --seed %llu --mask 0x%llx --fence %s%s%s --trace\n",
		(unsigned long long)sc->seed, (unsigned long long)mask,
		sc->fence == FENCE_KERNEL ? "kernel" : "address", o->mutation ? " --mutate " : "",
		o->mutation ? mutation_names[o->mutation] : "");
}

static int run_one(const struct options *o)
{
	struct schedule sc;
	bool good;

	schedule_make(&sc, o->seed, o->fence);
	schedule_print(&sc, o->mask);
	good = world_run(&world, &sc, o->mask, o->mutation, o->trace, o->packets);
	printf("%s%s\n", good ? "good" : "failed: ", world.check.failure);
	return good ? 0 : 1;
}

static int run_many(const struct options *o)
{
	uint64_t claims = 0, moves = 0, steps = 0, simulated_ns = 0, dual_ns = 0;
	clock_t begin = clock();
	struct schedule sc;
	double seconds;

	world.steps = 0;
	for (uint64_t i = 0; i < o->schedules; i++) {
		schedule_make(&sc, o->seed + i, o->fence);
		if (!world_run(&world, &sc, UINT64_MAX, o->mutation, false, false)) {
			explain(&sc, o);
			return 1;
		}
		claims += world.check.claims;
		dual_ns += world.check.dual_total_ns;
		simulated_ns += world.now_ns;
		moves += world.check.moves;
	}
	steps = world.steps;
	seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
	printf("%llu schedules good: %.0f h of a pair's life, %llu steps, %llu claims, "
	       "%llu planned moves, %.1f s with two owners (all of them excused), %.1f s of "
	       "processor, %.0f "
	       "schedules/s\n",
		(unsigned long long)o->schedules, (double)simulated_ns / 3.6e12,
		(unsigned long long)steps, (unsigned long long)claims, (unsigned long long)moves,
		(double)dual_ns / 1e9, seconds, seconds > 0 ? (double)o->schedules / seconds : 0);
	return claims ? 0 : 1;
}

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long v = strtoull(text, &end, 0);

	if (*text == '\0' || *end != '\0') {
		usage(stderr);
		exit(2);
	}
	return v;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"schedules", required_argument, NULL, 'k'},
		{"seed", required_argument, NULL, 's'},
		{"mask", required_argument, NULL, 'm'},
		{"trace", no_argument, NULL, 't'},
		{"packets", no_argument, NULL, 'p'},
		{"fence", required_argument, NULL, 'f'},
		{"mutate", required_argument, NULL, 'x'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct options o = {.seed = 1, .mask = UINT64_MAX};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'k':
			o.schedules = number(optarg);
			break;
		case 's':
			o.seed = number(optarg);
			o.one = true;
			break;
		case 'm':
			o.mask = number(optarg);
			break;
		case 't':
			o.trace = true;
			break;
		case 'p':
			o.packets = true;
			break;
		case 'f':
			o.fence = strcmp(optarg, "kernel") == 0	   ? FENCE_KERNEL
				  : strcmp(optarg, "address") == 0 ? FENCE_ADDRESS
								   : FENCE_DRAWN;
			if (o.fence != FENCE_DRAWN)
				break;
			usage(stderr);
			return 2;
		case 'x':
			if (mutation_of(optarg, &o.mutation))
				break;
			__attribute__((fallthrough));
		default:
			usage(c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 2;
		}
	}
	if (o.one && o.schedules == 0)
		return run_one(&o);
	if (o.schedules == 0)
		o.schedules = 1000;
	return run_many(&o);
}
