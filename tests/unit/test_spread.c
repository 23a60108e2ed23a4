/*
 * How the algorithms that draw, measure or hash spread requests, against their definitions: nothing
 * but the core is linked.
 */
#include <stdlib.h>

#include "proxy/pool/balance/balance.h"
#include "shared/assert.h"
#include "tests/unit/check.h"

enum { MOST = 100, DECISIONS = 100000 };

struct bench {
	struct pool pool;
	struct pool_state *state;
	struct server *servers;
	char names[MOST][8];
	struct pool_view view;
	struct rng rng;
	struct pick what;
};

/* Servers s0, s1...; weights NULL: all 1. */
static struct bench *bench_new(const struct balancer *algo, const uint32_t *weights, unsigned count)
{
	struct bench *b = calloc(1, sizeof(*b));

	CHECK_TRUE(b != NULL && count <= MOST);
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
		snprintf(b->names[i], sizeof(b->names[i]), "s%u", i);
		b->servers[i].name = b->names[i];
		b->view.usable[i].server = &b->servers[i];
		b->view.usable[i].weight = weights ? weights[i] : 1;
	}
	CHECK_TRUE(!algo->prepare || algo->prepare(&b->view) == 0);
	rng_seed(&b->rng, 5);
	b->what = (struct pick){.rng = &b->rng, .has_key = true};
	return b;
}

static void bench_free(struct bench *b)
{
	free(b->state);
	free(b->servers);
	free(b->view.usable);
	free(b->view.table);
	free(b);
}

/* Where the key leads, by index in the bench; -1: nowhere. */
static int lead(struct bench *b, const struct balancer *algo, uint64_t key)
{
	b->what.key = key * UINT64_C(0x9e3779b97f4a7c15); /* keys are hashes */
	return algo->pick(&b->view, &b->what);
}

static void check_shares(const unsigned *seen, const uint32_t *weights, unsigned count)
{
	unsigned total = 0;

	for (unsigned i = 0; i < count; i++)
		total += weights[i];
	for (unsigned i = 0; i < count; i++) {
		double expected = (double)DECISIONS * weights[i] / total;

		/* Four standard deviations of a draw are 640 at most. */
		CHECK(seen[i] > expected - 640 && seen[i] < expected + 640);
	}
}

static const uint32_t weights[] = {1, 2, 3, 10};

static void random_draws_by_weight(void)
{
	struct bench *b = bench_new(&balance_random, weights, 4);
	unsigned seen[4] = {0};

	for (unsigned i = 0; i < DECISIONS; i++)
		seen[lead(b, &balance_random, i)]++;
	check_shares(seen, weights, 4);
	bench_free(b);
}

static void none_takes_one_that_was_tried_or_is_full_and_each_finds_the_last(void)
{
	const struct balancer *const all[] = {&balance_random, &balance_least_time, &balance_hash};

	for (unsigned a = 0; a < countof(all); a++)
		for (unsigned count = 3; count <= MOST; count += MOST - 3) {
			struct bench *b = bench_new(all[a], NULL, count);
			struct server *tried[] = {&b->servers[0], &b->servers[1]};

			b->what.tried = tried;
			b->what.tried_count = 2;
			b->what.limit = 1;
			for (unsigned i = 3; i < count; i++)
				atomic_store(&b->servers[i].in_flight, 1);
			for (unsigned i = 0; i < 50; i++)
				CHECK_INT(lead(b, all[a], i), 2);
			atomic_store(&b->servers[2].in_flight, 1);
			CHECK_INT(lead(b, all[a], 1), -1);
			bench_free(b);
		}
}

/* --- least time ---------------------------------------------------------------------------------
 */

#define AT(s) (UINT64_C(1000) * NS_PER_S + (s)*NS_PER_S)

static void the_soonest_answer_is_mean_time_and_work_by_weight(void)
{
	struct bench *b = bench_new(&balance_least_time, (const uint32_t[]){1, 1, 4}, 3);

	b->what.now_ns = AT(0);
	server_answer_took(&b->servers[0], 10 * NS_PER_MS, AT(0));
	server_answer_took(&b->servers[1], 30 * NS_PER_MS, AT(0));
	server_answer_took(&b->servers[2], 60 * NS_PER_MS, AT(0));
	CHECK_INT(lead(b, &balance_least_time, 0), 0); /* 10, 30, 60 / 4 */
	atomic_store(&b->servers[0].in_flight, 1);
	CHECK_INT(lead(b, &balance_least_time, 0), 2); /* 20, 30, 15 */
	atomic_store(&b->servers[2].in_flight, 2);
	CHECK_INT(lead(b, &balance_least_time, 0), 0); /* 20, 30, 45 */
	atomic_store(&b->servers[0].in_flight, 3);
	CHECK_INT(lead(b, &balance_least_time, 0), 1); /* 40, 30, 45 */
	bench_free(b);
}

static void the_mean_follows_by_eighths_and_fades_in_silence(void)
{
	struct server s = {0};

	CHECK_INT(server_answer_us(&s, AT(0)), 0);
	server_answer_took(&s, 8 * NS_PER_MS, AT(0));
	CHECK_INT(server_answer_us(&s, AT(0)), 8001);
	server_answer_took(&s, 0, AT(0));
	CHECK(server_answer_us(&s, AT(0)) >= 7000 && server_answer_us(&s, AT(0)) <= 7003);
	CHECK(server_answer_us(&s, AT(10)) >= 3500 && server_answer_us(&s, AT(10)) <= 3502);
	CHECK_INT(server_answer_us(&s, AT(86400)), 1); /* known all the same */
}

static void one_that_nobody_has_heard_of_gets_its_share_and_no_flood(void)
{
	struct bench *b = bench_new(&balance_least_time, NULL, 3);
	unsigned seen[3] = {0};

	b->what.now_ns = AT(0);
	server_answer_took(&b->servers[0], 10 * NS_PER_MS, AT(0));
	server_answer_took(&b->servers[1], 10 * NS_PER_MS, AT(0));
	for (unsigned i = 0; i < 300; i++) { /* all stay in flight */
		int at = lead(b, &balance_least_time, i);

		seen[at]++;
		atomic_fetch_add(&b->servers[at].in_flight, 1);
	}
	for (unsigned i = 0; i < 3; i++)
		CHECK_INT(seen[i], 100);
	bench_free(b);
}

/* --- hash ---------------------------------------------------------------------------------------
 */

static void keys_spread_by_weight(void)
{
	static const uint32_t same[] = {7, 7, 7, 7};
	unsigned seen[4] = {0}, even[4] = {0};
	struct bench *b = bench_new(&balance_hash, weights, 4);

	for (unsigned i = 0; i < DECISIONS; i++)
		seen[lead(b, &balance_hash, i)]++;
	check_shares(seen, weights, 4);
	bench_free(b);
	b = bench_new(&balance_hash, same, 4);
	for (unsigned i = 0; i < DECISIONS; i++)
		even[lead(b, &balance_hash, i)]++;
	check_shares(even, same, 4);
	bench_free(b);
}

/* Also where one weighs more or less: the other way round a server joins. */
static void when_one_of_ten_leaves_only_its_keys_move_and_to_all_others(void)
{
	static const uint32_t unequal[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};

	for (unsigned mixed = 0; mixed < 2; mixed++) {
		struct bench *ten = bench_new(&balance_hash, mixed ? unequal : NULL, 10);
		struct bench *nine = bench_new(&balance_hash, mixed ? unequal : NULL, 9);
		unsigned taken[9] = {0}, moved = 0;

		for (unsigned i = 0; i < DECISIONS; i++) {
			int before = lead(ten, &balance_hash, i),
			    after = lead(nine, &balance_hash, i);

			if (before == 9) {
				moved++;
				taken[after]++;
			} else {
				CHECK_INT(after, before);
			}
		}
		CHECK(moved > DECISIONS / 10 - 640);
		for (unsigned i = 0; i < 9; i++)
			CHECK(taken[i] > moved / 100);
		bench_free(ten);
		bench_free(nine);
	}
}

static void the_order_in_the_file_makes_no_difference(void)
{
	struct bench *b = bench_new(&balance_hash, NULL, 5);
	struct bench *turned = bench_new(&balance_hash, NULL, 5);

	free(turned->view.table);
	for (unsigned i = 0; i < 5; i++)
		turned->view.usable[i].server = &turned->servers[4 - i];
	CHECK_TRUE(balance_hash.prepare(&turned->view) == 0);
	for (unsigned i = 0; i < 1000; i++)
		CHECK_INT(lead(turned, &balance_hash, i), 4 - lead(b, &balance_hash, i));
	bench_free(b);
	bench_free(turned);
}

/* Everybody asks for one key, and nobody goes: at no time has a server more than 1.5 times its
 * share of what is in flight (rounded up). */
static void a_key_that_everybody_asks_for_is_bounded(void)
{
	static const uint32_t some[] = {1, 1, 1, 1, 4, 2};
	struct bench *b = bench_new(&balance_hash, some, 6);

	for (unsigned n = 1; n <= 2000; n++) {
		int at = lead(b, &balance_hash, 42);

		CHECK_TRUE(at >= 0);
		atomic_fetch_add(&b->servers[at].in_flight, 1);
		CHECK(atomic_load(&b->servers[at].in_flight) * 2 * 10 < 3 * n * some[at] + 20 ||
			atomic_load(&b->servers[at].in_flight) <= 2);
	}
	bench_free(b);
}

static void a_key_stays_while_its_server_has_room(void)
{
	struct bench *b = bench_new(&balance_hash, NULL, 4);
	int home = lead(b, &balance_hash, 7), next;

	for (unsigned i = 0; i < 4; i++)
		atomic_store(&b->servers[i].in_flight, 10);
	CHECK_INT(lead(b, &balance_hash, 7), home); /* 11 <= 1.5 * 41 / 4 */
	atomic_store(&b->servers[home].in_flight, 30);
	next = lead(b, &balance_hash, 7);
	CHECK(next != home);
	for (unsigned i = 0; i < 10; i++)
		CHECK_INT(lead(b, &balance_hash, 7), next);
	bench_free(b);
}

static void a_request_without_the_key_goes_where_there_is_least_to_do(void)
{
	struct bench *b = bench_new(&balance_hash, NULL, 3);

	b->what.has_key = false;
	atomic_store(&b->servers[0].in_flight, 2);
	atomic_store(&b->servers[2].in_flight, 2);
	for (unsigned i = 0; i < 20; i++)
		CHECK_INT(lead(b, &balance_hash, i), 1);
	bench_free(b);
}

static const struct test_case cases[] = {
	TEST(random_draws_by_weight),
	TEST(none_takes_one_that_was_tried_or_is_full_and_each_finds_the_last),
	TEST(the_soonest_answer_is_mean_time_and_work_by_weight),
	TEST(the_mean_follows_by_eighths_and_fades_in_silence),
	TEST(one_that_nobody_has_heard_of_gets_its_share_and_no_flood),
	TEST(keys_spread_by_weight),
	TEST(when_one_of_ten_leaves_only_its_keys_move_and_to_all_others),
	TEST(the_order_in_the_file_makes_no_difference),
	TEST(a_key_that_everybody_asks_for_is_bounded),
	TEST(a_key_stays_while_its_server_has_room),
	TEST(a_request_without_the_key_goes_where_there_is_least_to_do),
};

TESTS_MAIN("spread", cases)
