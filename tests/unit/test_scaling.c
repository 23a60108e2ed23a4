/*
 * How many servers a pool wants, on a clock of our own.
 */
#include "proxy/pool/scaling.h"

#include <string.h>

#include "shared/units.h"
#include "tests/unit/check.h"

static struct scaling_conf conf;
static struct scaling_seen seen;
static struct scaling s;
static uint64_t now_ns;
static unsigned want;

static void begin(unsigned servers)
{
	conf = (struct scaling_conf){.min = 2,
		.max = 10,
		.targets = {[SCALING_IN_FLIGHT] = 80, [SCALING_QUEUE] = 1},
		.for_ns = 30 * NS_PER_S,
		.cooldown_ns = 120 * NS_PER_S};
	seen = (struct scaling_seen){.servers = servers, .values = {50, 0, -1, -1}};
	s = (struct scaling){0};
	now_ns = 1000 * NS_PER_S;
	want = 0;
}

/* Steps each second; how many seconds went by until it acted, -1: never. */
static int run(unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++, now_ns += NS_PER_S)
		if (scaling_step(&s, &conf, &seen, now_ns, &want)) {
			now_ns += NS_PER_S;
			return (int)i;
		}
	return -1;
}

static void a_signal_above_its_target_for_long_enough_wants_more(void)
{
	begin(4);
	CHECK_INT(run(100), -1);
	seen.values[SCALING_IN_FLIGHT] = 100;
	CHECK_INT(run(100), 30);
	CHECK_INT(want, 5); /* 4 * 100 / 80 */
	CHECK(strcmp(s.why, "in_flight is 100%, target 80%") == 0);
}

static void a_peak_that_ends_in_time_does_not(void)
{
	begin(4);
	for (unsigned i = 0; i < 10; i++) {
		seen.values[SCALING_IN_FLIGHT] = 100;
		CHECK_INT(run(29), -1);
		seen.values[SCALING_IN_FLIGHT] = 75;
		CHECK_INT(run(1), -1);
	}
}

static void it_rests_after_it_has_acted(void)
{
	begin(4);
	seen.values[SCALING_IN_FLIGHT] = 100;
	CHECK_INT(run(100), 30);
	seen.servers = 5;
	CHECK_INT(run(119), -1);
	CHECK_INT(run(10), 0);
	CHECK_INT(want, 7);
}

static void one_that_waits_is_enough_where_it_says_so(void)
{
	begin(4);
	seen.values[SCALING_QUEUE] = 1;
	CHECK_INT(run(100), 30);
	CHECK_INT(want, 5);
	begin(4);
	seen.values[SCALING_QUEUE] = 1000;
	CHECK_INT(run(100), 30);
	CHECK_INT(want, 8); /* twice as many at most */
}

static void it_never_wants_more_than_max_or_fewer_than_min(void)
{
	begin(9);
	seen.values[SCALING_QUEUE] = 1000;
	CHECK_INT(run(100), 30);
	CHECK_INT(want, 10);
	seen.servers = 10;
	CHECK_INT(run(1000), -1);
	begin(2);
	seen.values[SCALING_IN_FLIGHT] = 0;
	CHECK_INT(run(1000), -1);
	begin(1);
	seen.values[SCALING_IN_FLIGHT] = 0;
	CHECK_INT(run(100), 30);
	CHECK_INT(want, 2);
	begin(15);
	CHECK_INT(run(100), 30);
	CHECK_INT(want, 10);
}

static void one_goes_only_where_the_rest_stays_well_below(void)
{
	begin(4);
	seen.values[SCALING_IN_FLIGHT] = 49; /* 65.3 of three, over 64 */
	CHECK_INT(run(1000), -1);
	seen.values[SCALING_IN_FLIGHT] = 47;
	CHECK_INT(run(100), 30);
	CHECK_INT(want, 3);
	CHECK(strcmp(s.why, "3 would do for what 4 servers do") == 0);
	begin(4);
	seen.values[SCALING_IN_FLIGHT] = 10;
	seen.values[SCALING_QUEUE] = 0.5; /* somebody waits */
	CHECK_INT(run(1000), -1);
}

static void what_is_not_known_has_no_say(void)
{
	begin(4);
	conf.targets[SCALING_LOAD] = 70;
	seen.values[SCALING_IN_FLIGHT] = 10;
	CHECK_INT(run(100), 30);
	CHECK_INT(want, 3);
	begin(4);
	for (unsigned i = 0; i < SCALING_SIGNAL_COUNT; i++)
		seen.values[i] = -1;
	CHECK_INT(run(1000), -1);
	/* Nor has what is known but not asked for. */
	begin(4);
	seen.values[SCALING_P99] = 9999;
	CHECK_INT(run(1000), -1);
}

static void it_does_not_swing(void)
{
	unsigned acts = 0;

	/* The load of 3.5 servers at their target, spread over those that are there. */
	begin(2);
	for (unsigned i = 0; i < 3600; i++) {
		seen.values[SCALING_IN_FLIGHT] = 3.5 * 80 / seen.servers;
		if (run(1) == 0) {
			seen.servers = want;
			acts++;
		}
	}
	CHECK_INT(seen.servers, 4);
	CHECK_INT(acts, 1);
}

static const struct test_case cases[] = {
	TEST(a_signal_above_its_target_for_long_enough_wants_more),
	TEST(a_peak_that_ends_in_time_does_not),
	TEST(it_rests_after_it_has_acted),
	TEST(one_that_waits_is_enough_where_it_says_so),
	TEST(it_never_wants_more_than_max_or_fewer_than_min),
	TEST(one_goes_only_where_the_rest_stays_well_below),
	TEST(what_is_not_known_has_no_say),
	TEST(it_does_not_swing),
};
TESTS_MAIN("scaling", cases)
