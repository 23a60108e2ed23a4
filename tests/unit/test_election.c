/*
 * The small rules: election, flap damping, times.
 */
#include "failover/core/damping.h"
#include "failover/core/election.h"
#include "failover/core/times.h"
#include "shared/units.h"
#include "tests/unit/check.h"

static void the_preferred_node_comes_first(void)
{
	CHECK(election_outranks(1, 2, 1));
	CHECK(!election_outranks(2, 1, 1));
	CHECK(election_outranks(2, 1, 2));
}

static void without_preference_the_higher_id_comes_first(void)
{
	CHECK(election_outranks(2, 1, 0));
	CHECK(!election_outranks(1, 2, 0));
	CHECK(election_outranks(9, 3, 7));
}

static void the_later_claim_keeps_the_address(void)
{
	CHECK(election_keeps(1, 8, 2, 7));
	CHECK(!election_keeps(2, 7, 1, 8));
}

static void at_a_tie_the_lower_id_yields(void)
{
	CHECK(election_keeps(2, 7, 1, 7));
	CHECK(!election_keeps(1, 7, 2, 7));
}

static void hold_down_doubles_up_to_a_minute(void)
{
	struct damping d = {0};
	uint64_t now = 100 * NS_PER_S;
	static const unsigned expected_s[] = {1, 2, 4, 8, 16, 32, 60, 60};

	for (unsigned i = 0; i < 8; i++) {
		now += 5 * NS_PER_S;
		damping_failed(&d, now);
		CHECK_INT(d.hold_ns, expected_s[i] * NS_PER_S);
	}
}

static void a_quiet_time_forgets_the_flaps(void)
{
	struct damping d = {0};

	damping_failed(&d, NS_PER_S);
	damping_failed(&d, 2 * NS_PER_S);
	damping_failed(&d, 2 * NS_PER_S + DAMPING_FORGET_NS);
	CHECK_INT(d.hold_ns, 4 * NS_PER_S);
	damping_failed(&d, 2 * NS_PER_S + 2 * DAMPING_FORGET_NS + 1);
	CHECK_INT(d.hold_ns, NS_PER_S);
}

static void hold_down_counts_from_when_it_became_good(void)
{
	struct damping d = {0};

	damping_failed(&d, 10 * NS_PER_S);
	CHECK(!damping_over(&d, 0, 60 * NS_PER_S));
	CHECK(!damping_over(&d, 20 * NS_PER_S, 21 * NS_PER_S - 1));
	CHECK(damping_over(&d, 20 * NS_PER_S, 21 * NS_PER_S));
}

static void every_profile_is_safe(void)
{
	for (int p = 0; p < TIMES_PROFILE_COUNT; p++) {
		struct times t = times_of((enum times_profile)p);

		CHECK(times_check(&t) == NULL);
	}
	CHECK(strcmp(times_profile_name(TIMES_default), "default") == 0);
}

static void an_unsafe_set_is_refused_with_the_rule_it_breaks(void)
{
	struct times good = times_of(TIMES_default), t;

	t = good;
	t.heartbeat_ns = t.lease_ns / 4 + 1;
	CHECK(strstr(times_check(&t), "quarter of lease") != NULL);
	t = good;
	t.lease_ns = t.silence_ns - 14 * NS_PER_MS;
	CHECK(strstr(times_check(&t), "silence") != NULL);
	t = good;
	t.window_ns = t.probe_ns;
	CHECK(strstr(times_check(&t), "window") != NULL);
	t = good;
	t.probe_ns = 4 * NS_PER_MS;
	CHECK(strstr(times_check(&t), "probe") != NULL);
	t = good;
	t.heartbeat_ns = 0;
	CHECK(strstr(times_check(&t), "heartbeat") != NULL);
}

static const struct test_case cases[] = {
	TEST(the_preferred_node_comes_first),
	TEST(without_preference_the_higher_id_comes_first),
	TEST(the_later_claim_keeps_the_address),
	TEST(at_a_tie_the_lower_id_yields),
	TEST(hold_down_doubles_up_to_a_minute),
	TEST(a_quiet_time_forgets_the_flaps),
	TEST(hold_down_counts_from_when_it_became_good),
	TEST(every_profile_is_safe),
	TEST(an_unsafe_set_is_refused_with_the_rule_it_breaks),
};
TESTS_MAIN("election", cases)
