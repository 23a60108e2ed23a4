/*
 * The balancing algorithms on views made by hand: nothing but the core is linked.
 */
#include "proxy/pool/balance/balance.h"

#include <pthread.h>
#include <stdlib.h>

#include "shared/assert.h"
#include "shared/units.h"
#include "tests/unit/check.h"

#define MANY_MAX 1000

struct bench { /* a pool of servers with weights, all idle */
	struct pool pool;
	struct pool_state *state;
	struct server *servers;
	struct pool_view view;
};

static void bench_init(
	struct bench *b, const struct balancer *algo, const uint32_t *weights, unsigned count)
{
	memset(b, 0, sizeof(*b));
	b->state = aligned_alloc(64, sizeof(*b->state));
	b->servers = aligned_alloc(64, count * sizeof(*b->servers));
	b->view.usable = calloc(count, sizeof(*b->view.usable));
	CHECK_TRUE(b->state && b->servers && b->view.usable);
	memset(b->state, 0, sizeof(*b->state));
	memset(b->servers, 0, count * sizeof(*b->servers));
	b->pool.state = b->state;
	b->view.pool = &b->pool;
	b->view.count = count;
	for (unsigned i = 0; i < count; i++) {
		b->view.usable[i].server = &b->servers[i];
		b->view.usable[i].weight = weights ? weights[i] : 1;
	}
	CHECK_TRUE(!algo->prepare || algo->prepare(&b->view) == 0);
}

static void bench_fini(struct bench *b)
{
	free(b->state);
	free(b->servers);
	free(b->view.usable);
	free(b->view.cycle);
}

struct tried { /* servers that the request has failed at */
	struct server *const *servers;
	unsigned count;
};

static const struct tried nothing = {NULL, 0};

static int pick_of(
	const struct balancer *algo, const struct pool_view *v, struct tried tried, struct rng *rng)
{
	const struct pick what = {.tried = tried.servers, .tried_count = tried.count, .rng = rng};

	return algo->pick(v, &what);
}

/* --- round robin --------------------------------------------------------------------------------
 */

static void equal_servers_come_in_the_order_of_the_file(void)
{
	struct bench b;

	bench_init(&b, &balance_round_robin, (const uint32_t[]){7, 7, 7}, 3);
	CHECK_INT(b.view.cycle_len, 3);
	for (int i = 0; i < 9; i++)
		CHECK_INT(pick_of(&balance_round_robin, &b.view, nothing, NULL), i % 3);
	bench_fini(&b);
}

static void weights_are_reduced_and_kept_exactly(void)
{
	static const uint32_t weights[] = {50, 10, 10, 30};
	unsigned seen[4] = {0};
	struct bench b;

	bench_init(&b, &balance_round_robin, weights, 4);
	CHECK_INT(b.view.cycle_len, 10);
	for (unsigned i = 0; i < 10; i++)
		seen[pick_of(&balance_round_robin, &b.view, nothing, NULL)]++;
	CHECK_INT(seen[0], 5);
	CHECK_INT(seen[1], 1);
	CHECK_INT(seen[2], 1);
	CHECK_INT(seen[3], 3);
	bench_fini(&b);
}

/* Between two turns of a server there are never more than about its share of others. */
static void turns_are_smooth(void)
{
	static const uint32_t weights[] = {100, 50, 20, 20, 7, 3};
	unsigned last[6] = {0}, total = 200;
	struct bench b;

	bench_init(&b, &balance_round_robin, weights, 6);
	CHECK_INT(b.view.cycle_len, total);
	for (unsigned i = 1; i <= 3 * total; i++) {
		int at = pick_of(&balance_round_robin, &b.view, nothing, NULL);

		if (last[at])
			CHECK(i - last[at] <= 2 * total / weights[at] + 6);
		last[at] = i;
	}
	bench_fini(&b);
}

static void a_cycle_that_would_be_too_long_is_scaled_and_keeps_the_small(void)
{
	uint32_t weights[MANY_MAX];
	unsigned seen[MANY_MAX] = {0};
	struct bench b;

	for (unsigned i = 0; i < MANY_MAX; i++)
		weights[i] = i == 0 ? 1 : 255 + i % 2;
	bench_init(&b, &balance_round_robin, weights, MANY_MAX);
	CHECK(b.view.cycle_len <= 65536);
	CHECK(b.view.cycle_len > 60000);
	for (uint32_t i = 0; i < b.view.cycle_len; i++)
		seen[b.view.cycle[i]]++;
	CHECK_INT(seen[0], 1);
	for (unsigned i = 1; i < MANY_MAX; i++)
		CHECK(seen[i] >= 62 && seen[i] <= 66);
	bench_fini(&b);
}

static void a_tried_server_is_passed_over_and_when_all_were_there_is_none(void)
{
	static const uint32_t weights[] = {256, 1, 1};
	struct bench b;

	bench_init(&b, &balance_round_robin, weights, 3);
	for (unsigned i = 0; i < 600; i++) {
		struct server *tried[] = {&b.servers[0], &b.servers[2], &b.servers[1]};

		CHECK(pick_of(&balance_round_robin, &b.view, (struct tried){tried, 1}, NULL) > 0);
		CHECK_INT(
			pick_of(&balance_round_robin, &b.view, (struct tried){tried, 2}, NULL), 1);
		CHECK_INT(
			pick_of(&balance_round_robin, &b.view, (struct tried){tried, 3}, NULL), -1);
	}
	bench_fini(&b);
}

struct picker {
	const struct pool_view *view;
	const struct balancer *algo;
	unsigned seen[MANY_MAX];
	uint64_t seed;
	bool hold; /* counts the request as in flight, for as long as one pick */
};

enum { PICKS_EACH = 25000, PICKERS = 4 };

static void *pick_many(void *arg)
{
	struct picker *p = arg;
	struct rng rng;

	rng_seed(&rng, p->seed);
	for (unsigned i = 0; i < PICKS_EACH; i++) {
		int at = pick_of(p->algo, p->view, nothing, &rng);
		struct server *s = p->view->usable[at].server;

		p->seen[at]++;
		if (p->hold) {
			atomic_fetch_add(&s->in_flight, 1);
			atomic_fetch_sub(&s->in_flight, 1);
		}
	}
	return NULL;
}

static void pick_from_four_threads(
	const struct bench *b, const struct balancer *algo, bool hold, unsigned *ret_seen)
{
	static struct picker pickers[PICKERS];
	pthread_t threads[PICKERS];

	for (unsigned t = 0; t < PICKERS; t++) {
		pickers[t] =
			(struct picker){.view = &b->view, .algo = algo, .seed = t, .hold = hold};
		CHECK_TRUE(pthread_create(&threads[t], NULL, pick_many, &pickers[t]) == 0);
	}
	for (unsigned t = 0; t < PICKERS; t++) {
		pthread_join(threads[t], NULL);
		for (unsigned i = 0; i < b->view.count; i++)
			ret_seen[i] += pickers[t].seen[i];
	}
}

static void round_robin_is_exact_over_100000_picks_from_four_threads(void)
{
	unsigned seen[4] = {0};
	struct bench b;

	bench_init(&b, &balance_round_robin, (const uint32_t[]){5, 1, 1, 3}, 4);
	pick_from_four_threads(&b, &balance_round_robin, false, seen);
	CHECK_INT(seen[0], 50000);
	CHECK_INT(seen[1], 10000);
	CHECK_INT(seen[2], 10000);
	CHECK_INT(seen[3], 30000);
	bench_fini(&b);
}

static void round_robin_passes_over_the_full(void)
{
	struct bench b;
	struct pick what = {.limit = 2};

	bench_init(&b, &balance_round_robin, NULL, 3);
	atomic_store(&b.servers[0].in_flight, 2);
	atomic_store(&b.servers[2].in_flight, 3);
	for (unsigned i = 0; i < 9; i++)
		CHECK_INT(balance_round_robin.pick(&b.view, &what), 1);
	atomic_store(&b.servers[1].in_flight, 2);
	CHECK_INT(balance_round_robin.pick(&b.view, &what), -1);
	bench_fini(&b);
}

/* --- least requests ------------------------------------------------------------------------------
 */

static void the_least_loaded_for_its_weight_is_taken(void)
{
	struct bench b;

	bench_init(&b, &balance_least_requests, (const uint32_t[]){1, 2, 4}, 3);
	atomic_store(&b.servers[0].in_flight, 1); /* 2/1 */
	atomic_store(&b.servers[1].in_flight, 2); /* 3/2 */
	atomic_store(&b.servers[2].in_flight, 6); /* 7/4 */
	CHECK_INT(pick_of(&balance_least_requests, &b.view, nothing, NULL), 1);
	atomic_store(&b.servers[1].in_flight, 3); /* 4/2 */
	CHECK_INT(pick_of(&balance_least_requests, &b.view, nothing, NULL), 2);
	atomic_store(&b.servers[2].in_flight, 9); /* 10/4 */
	atomic_store(&b.servers[1].in_flight, 4); /* 5/2 */
	CHECK_INT(pick_of(&balance_least_requests, &b.view, nothing, NULL), 0);
	bench_fini(&b);
}

static void those_that_wait_for_a_server_count_like_those_it_has(void)
{
	struct bench b;

	bench_init(&b, &balance_least_requests, NULL, 2);
	atomic_store(&b.servers[0].in_flight, 1);
	atomic_store(&b.servers[0].queued, 3);
	atomic_store(&b.servers[1].in_flight, 3);
	CHECK_INT(pick_of(&balance_least_requests, &b.view, nothing, NULL), 1);
	atomic_store(&b.servers[0].queued, 1);
	CHECK_INT(pick_of(&balance_least_requests, &b.view, nothing, NULL), 0);
	bench_fini(&b);
}

static void a_failure_counts_like_a_request_for_a_second(void)
{
	const uint64_t now_ns = 5000 * NS_PER_S;
	struct rng rng;
	struct bench b;
	struct pick what = {.rng = &rng, .now_ns = now_ns};
	unsigned first = 0;

	rng_seed(&rng, 3);
	bench_init(&b, &balance_least_requests, NULL, 2);
	atomic_store(&b.servers[1].in_flight, 2);
	CHECK_INT(balance_least_requests.pick(&b.view, &what), 0);
	for (unsigned i = 0; i < 3; i++) /* it fails at once, and so looks idle */
		server_add_phantom(&b.servers[0], now_ns + i * NS_PER_MS);
	CHECK_INT(server_load(&b.servers[0], now_ns + 2 * NS_PER_MS), 3);
	CHECK_INT(balance_least_requests.pick(&b.view, &what), 1);
	what.now_ns = now_ns + 990 * NS_PER_MS;
	CHECK_INT(balance_least_requests.pick(&b.view, &what), 1);
	what.now_ns = now_ns + 1005 * NS_PER_MS;
	CHECK_INT(balance_least_requests.pick(&b.view, &what), 0);
	CHECK_INT(server_load(&b.servers[0], what.now_ns), 0);
	server_add_phantom(&b.servers[0], what.now_ns); /* starts anew */
	CHECK_INT(server_load(&b.servers[0], what.now_ns), 1);
	atomic_store(&b.servers[1].in_flight, 1);
	for (unsigned i = 0; i < 100; i++)
		first += balance_least_requests.pick(&b.view, &what) == 0;
	CHECK(first > 40 && first < 60);
	bench_fini(&b);
}

static void least_requests_passes_over_the_full(void)
{
	for (unsigned count = 3; count <= 100; count += 97) {
		struct rng rng;
		struct bench b;
		struct pick what = {.limit = 1, .rng = &rng};

		rng_seed(&rng, count);
		bench_init(&b, &balance_least_requests, NULL, count);
		for (unsigned i = 1; i < count; i++)
			atomic_store(&b.servers[i].in_flight, 1);
		for (unsigned i = 0; i < 100; i++)
			CHECK_INT(balance_least_requests.pick(&b.view, &what), 0);
		atomic_store(&b.servers[0].in_flight, 1);
		CHECK_INT(balance_least_requests.pick(&b.view, &what), -1);
		bench_fini(&b);
	}
}

static void idle_servers_take_turns_evenly(void)
{
	unsigned seen[5] = {0};
	struct bench b;

	bench_init(&b, &balance_least_requests, NULL, 5);
	for (unsigned i = 0; i < 1000; i++)
		seen[pick_of(&balance_least_requests, &b.view, nothing, NULL)]++;
	for (unsigned i = 0; i < 5; i++)
		CHECK(seen[i] >= 197 && seen[i] <= 203);
	bench_fini(&b);
}

static void ties_among_some_are_even_while_another_is_busy(void)
{
	unsigned seen[4] = {0};
	struct bench b;

	bench_init(&b, &balance_least_requests, NULL, 4);
	atomic_store(&b.servers[1].in_flight, 3);
	for (unsigned i = 0; i < 900; i++)
		seen[pick_of(&balance_least_requests, &b.view, nothing, NULL)]++;
	CHECK_INT(seen[1], 0);
	for (unsigned i = 0; i < 4; i++)
		CHECK(i == 1 || (seen[i] >= 297 && seen[i] <= 303));
	bench_fini(&b);
}

static void ties_between_unequal_servers_go_by_weight(void)
{
	unsigned seen[2] = {0};
	struct bench b;

	bench_init(&b, &balance_least_requests, (const uint32_t[]){3, 1}, 2);
	atomic_store(&b.servers[0].in_flight, 2); /* 3/3 and 1/1 */
	for (unsigned i = 0; i < 1000; i++)
		seen[pick_of(&balance_least_requests, &b.view, nothing, NULL)]++;
	CHECK(seen[0] >= 745 && seen[0] <= 755);
	bench_fini(&b);
}

static void least_requests_never_takes_a_tried_server(void)
{
	for (unsigned count = 3; count <= 100; count += 97) { /* by scan, and by two choices */
		struct server *tried[100];
		struct rng rng;
		struct bench b;

		rng_seed(&rng, count);
		bench_init(&b, &balance_least_requests, NULL, count);
		for (unsigned i = 0; i < count; i++)
			tried[i] = &b.servers[i];
		for (unsigned i = 0; i < 500; i++) {
			struct tried but_last = {tried, count - 1}, first = {tried, 1},
				     all = {tried, count};

			CHECK_INT(pick_of(&balance_least_requests, &b.view, but_last, &rng),
				count - 1);
			CHECK(pick_of(&balance_least_requests, &b.view, first, &rng) > 0);
			CHECK_INT(pick_of(&balance_least_requests, &b.view, all, &rng), -1);
		}
		bench_fini(&b);
	}
}

static void of_many_servers_the_better_of_two_is_taken(void)
{
	enum { COUNT = 100, ROUNDS = 20000 };
	unsigned busy = 0;
	struct rng rng;
	struct bench b;

	rng_seed(&rng, 11);
	bench_init(&b, &balance_least_requests, NULL, COUNT);
	for (unsigned i = 0; i < COUNT / 2; i++)
		atomic_store(&b.servers[i].in_flight, 10);
	for (unsigned i = 0; i < ROUNDS; i++)
		busy += pick_of(&balance_least_requests, &b.view, nothing, &rng) < COUNT / 2;
	/* Only when both that were drawn are busy: a quarter. */
	CHECK(busy > ROUNDS / 4 - ROUNDS / 50 && busy < ROUNDS / 4 + ROUNDS / 50);
	bench_fini(&b);
}

static void four_threads_spread_over_idle_servers(void)
{
	unsigned seen[8] = {0}, total = 0;
	struct bench b;

	bench_init(&b, &balance_least_requests, NULL, 8);
	pick_from_four_threads(&b, &balance_least_requests, true, seen);
	for (unsigned i = 0; i < 8; i++) {
		/* A picker that is off the CPU keeps its server busy for as long: wide bounds. */
		CHECK(seen[i] > 3000 && seen[i] < 30000);
		CHECK_INT(atomic_load(&b.servers[i].in_flight), 0);
		total += seen[i];
	}
	CHECK_INT(total, PICKERS * PICKS_EACH);
	bench_fini(&b);
}

static const struct test_case cases[] = {
	TEST(equal_servers_come_in_the_order_of_the_file),
	TEST(weights_are_reduced_and_kept_exactly),
	TEST(turns_are_smooth),
	TEST(a_cycle_that_would_be_too_long_is_scaled_and_keeps_the_small),
	TEST(a_tried_server_is_passed_over_and_when_all_were_there_is_none),
	TEST(round_robin_is_exact_over_100000_picks_from_four_threads),
	TEST(round_robin_passes_over_the_full),
	TEST(the_least_loaded_for_its_weight_is_taken),
	TEST(those_that_wait_for_a_server_count_like_those_it_has),
	TEST(a_failure_counts_like_a_request_for_a_second),
	TEST(least_requests_passes_over_the_full),
	TEST(idle_servers_take_turns_evenly),
	TEST(ties_among_some_are_even_while_another_is_busy),
	TEST(ties_between_unequal_servers_go_by_weight),
	TEST(least_requests_never_takes_a_tried_server),
	TEST(of_many_servers_the_better_of_two_is_taken),
	TEST(four_threads_spread_over_idle_servers),
};

TESTS_MAIN("balance", cases)
