#include "proxy/net/wheel.h"
#include "shared/rng.h"
#include "tests/unit/check.h"

#include <stdlib.h>

#define S UINT64_C(1000000000)

static struct wheel w;
static struct wheel_timer t, other;

static void begin(uint64_t now_ns)
{
	wheel_init(&w, now_ns);
	wheel_timer_init(&t);
	wheel_timer_init(&other);
}

static unsigned due_count(struct list *due)
{
	unsigned n = 0;

	while (!list_empty(due)) {
		list_remove(due->next);
		n++;
	}
	return n;
}

static unsigned sweep(uint64_t now_ns)
{
	struct list due;

	list_init(&due);
	wheel_sweep(&w, now_ns, &due);
	return due_count(&due);
}

static void a_deadline_fires_at_most_one_tick_late_and_never_early(void)
{
	uint64_t start = 5 * S, deadline = start + S + 12345, now = start;

	begin(start);
	wheel_set(&w, &t, deadline);
	while (!sweep(now)) {
		CHECK(now < deadline + 2 * WHEEL_TICK_NS);
		now += 1000000;
	}
	CHECK(now >= deadline);
	CHECK(now <= deadline + WHEEL_TICK_NS + 1000000);
	CHECK_INT(w.count, 0);
}

static void a_deadline_moved_away_does_not_fire_at_its_old_time(void)
{
	begin(S);
	wheel_set(&w, &t, 2 * S);
	wheel_set(&w, &t, 10 * S);
	CHECK_INT(sweep(5 * S), 0);
	CHECK_INT(sweep(10 * S + 2 * WHEEL_TICK_NS), 1);
}

static void a_deadline_moved_nearer_fires_at_its_new_time(void)
{
	begin(S);
	wheel_set(&w, &t, 60 * S);
	wheel_set(&w, &t, 2 * S);
	CHECK_INT(sweep(2 * S + 2 * WHEEL_TICK_NS), 1);
}

static void a_deadline_beyond_a_turn_of_the_wheel_waits_its_time(void)
{
	uint64_t deadline = S + 5 * WHEEL_SLOTS * WHEEL_TICK_NS;
	unsigned fired = 0;

	begin(S);
	wheel_set(&w, &t, deadline);
	for (uint64_t now = S; now < deadline; now += WHEEL_TICK_NS)
		fired += sweep(now);
	CHECK_INT(fired, 0);
	CHECK_INT(sweep(deadline + WHEEL_TICK_NS), 1);
}

static void a_cleared_deadline_never_fires(void)
{
	begin(S);
	wheel_set(&w, &t, 2 * S);
	wheel_set(&w, &t, 0);
	CHECK_INT(sweep(100 * S), 0);
	CHECK_INT(w.count, 0);
}

static void a_timer_that_is_due_can_be_removed_or_set_again(void)
{
	struct list due;

	begin(S);
	wheel_set(&w, &t, 2 * S);
	wheel_set(&w, &other, 2 * S);
	list_init(&due);
	wheel_sweep(&w, 3 * S, &due);
	wheel_set(&w, &t, 4 * S); /* while both still stand in `due` */
	wheel_remove(&w, &other);
	CHECK_INT(due_count(&due), 0);
	CHECK_INT(w.count, 1);
	CHECK_INT(sweep(5 * S), 1);
}

static void a_timer_that_is_due_can_be_cleared(void)
{
	struct list due;

	begin(S);
	wheel_set(&w, &t, 2 * S);
	wheel_set(&w, &other, 2 * S);
	list_init(&due);
	wheel_sweep(&w, 3 * S, &due);
	wheel_clear(&t); /* by what the other's end led to */
	wheel_clear(&t);
	CHECK(due.next == &other.link);
	CHECK_INT(due_count(&due), 1);
	wheel_set(&w, &t, 4 * S);
	CHECK_INT(sweep(5 * S), 1);
}

static void a_long_sleep_fires_everything_once(void)
{
	static struct wheel_timer many[1000];

	begin(S);
	for (unsigned i = 0; i < 1000; i++) {
		wheel_timer_init(&many[i]);
		wheel_set(&w, &many[i], S + i * 30000000ull);
	}
	CHECK_INT(sweep(1000 * S), 1000);
	CHECK_INT(sweep(2000 * S), 0);
}

static void random_deadlines_all_fire_in_time(void)
{
	static struct wheel_timer many[500];
	struct rng rng;
	struct list due;
	uint64_t want[500] = {0}, now = 7 * S;
	unsigned late = 0, early = 0, pending = 0;

	rng_seed(&rng, 1);
	begin(now);
	for (unsigned i = 0; i < 500; i++)
		wheel_timer_init(&many[i]);
	list_init(&due);
	for (unsigned step = 0; step < 200000; step++) {
		unsigned i = (unsigned)rng_below(&rng, 500);

		want[i] = rng_below(&rng, 8) ? now + 1 + rng_below(&rng, 100 * S) : 0;
		wheel_set(&w, &many[i], want[i]);
		now += rng_below(&rng, 20000000);
		wheel_sweep(&w, now, &due);
		while (!list_empty(&due)) {
			struct wheel_timer *d = list_item(due.next, struct wheel_timer, link);

			list_remove(&d->link);
			early += !want[d - many] || want[d - many] > now;
			want[d - many] = 0;
		}
		late += want[i] && want[i] + WHEEL_TICK_NS + 20000000 < now;
	}
	for (unsigned i = 0; i < 500; i++) {
		late += want[i] && want[i] + WHEEL_TICK_NS + 20000000 < now;
		pending += want[i] != 0;
	}
	CHECK_INT(early, 0);
	CHECK_INT(late, 0);
	CHECK(pending > 0);
}

static const struct test_case cases[] = {
	TEST(a_deadline_fires_at_most_one_tick_late_and_never_early),
	TEST(a_deadline_moved_away_does_not_fire_at_its_old_time),
	TEST(a_deadline_moved_nearer_fires_at_its_new_time),
	TEST(a_deadline_beyond_a_turn_of_the_wheel_waits_its_time),
	TEST(a_cleared_deadline_never_fires),
	TEST(a_timer_that_is_due_can_be_removed_or_set_again),
	TEST(a_timer_that_is_due_can_be_cleared),
	TEST(a_long_sleep_fires_everything_once),
	TEST(random_deadlines_all_fire_in_time),
};

TESTS_MAIN("wheel", cases)
