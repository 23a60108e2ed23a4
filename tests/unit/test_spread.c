/*
 * How the algorithms that draw, measure or hash spread requests, against their definitions: nothing
 * but the core is linked.
 */
#include <pthread.h>
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
	free(b->view.cycle);
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

/* --- several workers ----------------------------------------------------------------------------
 */

enum { WORKERS = 4, HELD = 32 /* requests that a worker has in flight */ };

struct labour {
	struct bench *bench;
	const struct balancer *algo;
	unsigned index;
	bool one_key; /* everybody asks for the same */
	unsigned seen[MOST];
	unsigned most_over; /* by how much a server was over 1.5 times its share at most */
};

/* By how much, with this request counted. */
static unsigned over_bound(const struct bench *b, unsigned at)
{
	unsigned in_flight = 0, bound, own = atomic_load(&b->servers[at].in_flight);

	for (unsigned i = 0; i < b->view.count; i++)
		in_flight += atomic_load(&b->servers[i].in_flight);
	bound = 3 * in_flight / (2 * b->view.count) + 1;
	return own > bound && own > 2 ? own - bound : 0;
}

/* Takes servers and gives them back in any order, as a worker does, on counters that all workers
 * share. */
static void *work(void *arg)
{
	struct labour *l = arg;
	struct rng rng;
	struct pick what = {.rng = &rng, .has_key = true, .now_ns = AT(0)};
	int held[HELD] = {0};

	rng_seed(&rng, 100 + l->index);
	for (unsigned i = 0; i < DECISIONS / WORKERS; i++) {
		unsigned slot = i < HELD ? i : (unsigned)rng_below(&rng, HELD);
		int at;

		if (i >= HELD)
			atomic_fetch_sub(&l->bench->servers[held[slot]].in_flight, 1);
		what.key = l->one_key ? 42 : rng_u64(&rng);
		at = l->algo->pick(&l->bench->view, &what);
		if (at < 0)
			return l;
		held[slot] = at;
		atomic_fetch_add(&l->bench->servers[at].in_flight, 1);
		l->seen[at]++;
		if (l->one_key && over_bound(l->bench, (unsigned)at) > l->most_over)
			l->most_over = over_bound(l->bench, (unsigned)at);
	}
	for (unsigned i = 0; i < HELD; i++)
		atomic_fetch_sub(&l->bench->servers[held[i]].in_flight, 1);
	return NULL;
}

/* 100,000 decisions by all of them together; who got how many. Returns most_over. */
static unsigned work_together(
	struct bench *b, const struct balancer *algo, bool one_key, unsigned seen[MOST])
{
	struct labour labours[WORKERS];
	pthread_t threads[WORKERS];
	unsigned most_over = 0;

	for (unsigned i = 0; i < WORKERS; i++) {
		labours[i] =
			(struct labour){.bench = b, .algo = algo, .index = i, .one_key = one_key};
		CHECK_TRUE(pthread_create(&threads[i], NULL, work, &labours[i]) == 0);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		void *failed;

		CHECK_TRUE(pthread_join(threads[i], &failed) == 0);
		CHECK(failed == NULL);
		for (unsigned s = 0; s < b->view.count; s++)
			seen[s] += labours[i].seen[s];
		most_over = labours[i].most_over > most_over ? labours[i].most_over : most_over;
	}
	for (unsigned s = 0; s < b->view.count; s++)
		CHECK_INT(atomic_load(&b->servers[s].in_flight), 0);
	return most_over;
}

/* One ticket: any 16 in a row are exact, whoever took them. */
static void round_robin_of_several_workers_is_exact(void)
{
	struct bench *b = bench_new(&balance_round_robin, weights, 4);
	unsigned seen[MOST] = {0};

	work_together(b, &balance_round_robin, false, seen);
	for (unsigned i = 0; i < 4; i++)
		CHECK_INT(seen[i], DECISIONS / 16 * weights[i]);
	bench_free(b);
}

static void several_workers_draw_and_hash_by_weight_as_one_does(void)
{
	static const struct balancer *const algos[] = {&balance_random, &balance_hash};

	for (unsigned a = 0; a < countof(algos); a++) {
		struct bench *b = bench_new(algos[a], weights, 4);
		unsigned seen[MOST] = {0};

		work_together(b, algos[a], false, seen);
		/* Of keys the bound moves some on. */
		for (unsigned i = 0; algos[a] == &balance_hash && i < 4; i++)
			CHECK(seen[i] > DECISIONS / 25 * weights[i] &&
				seen[i] < DECISIONS / 12 * weights[i]);
		if (algos[a] == &balance_random)
			check_shares(seen, weights, 4);
		bench_free(b);
	}
}

/* What several workers do, one step of one of them at a time: a thread that the system puts to
 * sleep would keep what it has in flight, and be right to have it counted. */
static void work_by_turns(struct bench *b, const struct balancer *algo, unsigned seen[MOST])
{
	int held[WORKERS * HELD];
	struct rng rng;

	rng_seed(&rng, 9);
	for (unsigned i = 0; i < DECISIONS; i++) {
		unsigned slot = i < WORKERS * HELD ? i : (unsigned)rng_below(&rng, WORKERS * HELD);

		if (i >= WORKERS * HELD)
			atomic_fetch_sub(&b->servers[held[slot]].in_flight, 1);
		held[slot] = lead(b, algo, i);
		CHECK_TRUE(held[slot] >= 0);
		atomic_fetch_add(&b->servers[held[slot]].in_flight, 1);
		seen[held[slot]]++;
	}
}

/* With as much to do everywhere the shares are the weights'. */
static void least_requests_and_least_time_follow_the_weights(void)
{
	static const struct balancer *const algos[] = {
		&balance_least_requests, &balance_least_time};
	static const uint32_t same[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

	for (unsigned a = 0; a < countof(algos); a++)
		for (unsigned mixed = 0; mixed < 2; mixed++) {
			unsigned count = mixed ? 4 : 10, seen[MOST] = {0}, total = mixed ? 16 : 10;
			struct bench *b = bench_new(algos[a], mixed ? weights : same, count);

			b->what.now_ns = AT(0);
			for (unsigned i = 0; i < count; i++)
				server_answer_took(&b->servers[i], 10 * NS_PER_MS, AT(0));
			work_by_turns(b, algos[a], seen);
			for (unsigned i = 0; i < count; i++) {
				unsigned w = mixed ? weights[i] : 1;
				unsigned share = DECISIONS * w / total, slack = share / 20;

				CHECK(seen[i] + slack > share && seen[i] < share + slack);
			}
			bench_free(b);
		}
}

/* Each worker may have looked before the others' requests were counted, and no more than that. */
static void a_key_that_all_workers_ask_for_is_bounded(void)
{
	struct bench *b = bench_new(&balance_hash, NULL, 10);
	unsigned seen[MOST] = {0}, served = 0;

	CHECK(work_together(b, &balance_hash, true, seen) <= 2 * WORKERS);
	for (unsigned i = 0; i < 10; i++)
		served += seen[i] > 0;
	CHECK(served >= 7); /* of 128 in flight no server has more than 20 */
	bench_free(b);
}

/* A company behind one address: 5,000 users, each with a request in flight. By that address they
 * would all be one server's; the bound spreads them, and least_requests never knew of it. */
static void users_behind_one_address_are_spread(void)
{
	static const struct balancer *const algos[] = {&balance_hash, &balance_least_requests};

	for (unsigned a = 0; a < countof(algos); a++) {
		struct bench *b = bench_new(algos[a], NULL, 10);
		unsigned most = 0, used = 0;

		for (unsigned i = 0; i < 5000; i++) {
			int at = lead(b, algos[a], 1);

			CHECK_TRUE(at >= 0);
			atomic_fetch_add(&b->servers[at].in_flight, 1);
		}
		for (unsigned i = 0; i < 10; i++) {
			unsigned n = atomic_load(&b->servers[i].in_flight);

			most = n > most ? n : most;
			used += n > 0;
		}
		/* 1.5 times 500, rounded up, at seven servers; or the same at all. */
		CHECK(most <= (algos[a] == &balance_hash ? 751 : 500));
		CHECK_INT(used, algos[a] == &balance_hash ? 7 : 10);
		bench_free(b);
	}
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
	TEST(round_robin_of_several_workers_is_exact),
	TEST(several_workers_draw_and_hash_by_weight_as_one_does),
	TEST(least_requests_and_least_time_follow_the_weights),
	TEST(a_key_that_all_workers_ask_for_is_bounded),
	TEST(users_behind_one_address_are_spread),
};

TESTS_MAIN("spread", cases)
