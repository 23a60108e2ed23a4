/*
 * What workers count for the metrics: each in its own place, added up on demand.
 */
#include "proxy/observe/counts.h"

#include <pthread.h>

#include "shared/units.h"
#include "tests/unit/check.h"

static void a_duration_counts_under_the_first_bound_that_it_does_not_pass(void)
{
	struct timings *t = timings_new(2);
	struct duration_sums s;

	timings_add(t, 0, 0);
	timings_add(t, 0, 500 * NS_PER_US);
	timings_add(t, 1, 500 * NS_PER_US + 1);
	timings_add(t, 1, 60 * NS_PER_S);
	timings_add(t, 1, 60 * NS_PER_S + 1);
	timings_sum(t, &s);
	CHECK_INT(s.counts[0], 2);
	CHECK_INT(s.counts[1], 1);
	CHECK_INT(s.counts[DURATION_BOUND_COUNT - 1], 1);
	CHECK_INT(s.counts[DURATION_BOUND_COUNT], 1);
	CHECK_INT(s.total, 5);
	CHECK_INT(s.sum_ns, 120 * NS_PER_S + NS_PER_MS + 2);
	timings_free(t);
}

static void a_quantile_is_the_bound_that_holds_so_many(void)
{
	struct timings *t = timings_new(1);
	struct duration_sums s;

	timings_sum(t, &s);
	CHECK_INT(duration_quantile_ns(&s, 0.99), 0);
	for (unsigned i = 0; i < 99; i++)
		timings_add(t, 0, NS_PER_MS);
	timings_add(t, 0, 200 * NS_PER_MS);
	timings_sum(t, &s);
	CHECK_INT(duration_quantile_ns(&s, 0.5), NS_PER_MS);
	CHECK_INT(duration_quantile_ns(&s, 0.99), NS_PER_MS);
	CHECK_INT(duration_quantile_ns(&s, 0.995), 250 * NS_PER_MS);
	for (unsigned i = 0; i < 1000; i++)
		timings_add(t, 0, 100 * NS_PER_S);
	timings_sum(t, &s);
	CHECK(duration_quantile_ns(&s, 0.99) == UINT64_MAX);
	timings_free(t);
}

struct seen {
	unsigned calls;
	uint64_t by_listener[4][STATUS_CLASSES];
};

static void on_answers(void *ctx, uint64_t id, const uint64_t sums[STATUS_CLASSES])
{
	struct seen *s = ctx;

	s->calls++;
	CHECK_TRUE(id < 4);
	for (unsigned i = 0; i < STATUS_CLASSES; i++)
		s->by_listener[id][i] += sums[i];
}

static void answers_are_told_once_a_listener_whoever_counted_them(void)
{
	struct answers *a = answers_new(3);
	struct seen s = {0};

	answers_count(a, 0, 1, 200);
	answers_count(a, 2, 1, 204);
	answers_count(a, 2, 1, 503);
	answers_count(a, 1, 2, 0);
	answers_count(a, 1, 2, 999);
	answers_count(a, 0, 2, 101);
	answers_each(a, on_answers, &s);
	CHECK_INT(s.calls, 2);
	CHECK_INT(s.by_listener[1][2], 2);
	CHECK_INT(s.by_listener[1][5], 1);
	CHECK_INT(s.by_listener[2][0], 2);
	CHECK_INT(s.by_listener[2][1], 1);
	answers_free(a);
}

enum { ROUNDS = 200000 };
static struct timings *shared_timings;
static struct answers *shared_answers;

static void *count_much(void *index)
{
	unsigned worker = (unsigned)(uintptr_t)index;

	for (unsigned i = 0; i < ROUNDS; i++) {
		timings_add(shared_timings, worker, i);
		answers_count(shared_answers, worker, 1 + i % 3, 200);
	}
	return NULL;
}

static void nothing_is_lost_when_all_count_and_one_asks(void)
{
	pthread_t threads[4];
	struct duration_sums s;
	struct seen seen = {0};

	shared_timings = timings_new(4);
	shared_answers = answers_new(4);
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, count_much, (void *)i);
	for (unsigned i = 0; i < 100; i++) {
		struct seen now = {0};

		answers_each(shared_answers, on_answers, &now);
		timings_sum(shared_timings, &s);
		CHECK(s.total <= 4 * ROUNDS && now.calls <= 3);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	timings_sum(shared_timings, &s);
	CHECK_INT(s.total, 4 * ROUNDS);
	answers_each(shared_answers, on_answers, &seen);
	CHECK_INT(seen.by_listener[1][2] + seen.by_listener[2][2] + seen.by_listener[3][2],
		4 * ROUNDS);
	timings_free(shared_timings);
	answers_free(shared_answers);
}

static const struct test_case cases[] = {
	TEST(a_duration_counts_under_the_first_bound_that_it_does_not_pass),
	TEST(a_quantile_is_the_bound_that_holds_so_many),
	TEST(answers_are_told_once_a_listener_whoever_counted_them),
	TEST(nothing_is_lost_when_all_count_and_one_asks),
};
TESTS_MAIN("counts", cases)
