/*
 * The health machine on a clock of the test's own.
 */
#include "proxy/pool/health.h"

#include "shared/units.h"
#include "tests/unit/check.h"

static const struct health_conf checked = {.active = true,
	.may_eject = true,
	.rise = 2,
	.fall = 3,
	.every_ns = 2 * NS_PER_S,
	.eject_ns = 10 * NS_PER_S};
static const struct health_conf unchecked = {
	.may_eject = true, .rise = 1, .fall = 1, .eject_ns = 10 * NS_PER_S};

static uint64_t now_ns;

static struct health fresh(const struct health_conf *c)
{
	struct health h;

	now_ns = 1000 * NS_PER_S;
	health_init(&h, c->active, now_ns, now_ns);
	return h;
}

static enum health_change feed(
	struct health *h, const struct health_conf *c, enum health_event_kind kind)
{
	struct health_event ev = {.kind = kind,
		.reason = "status 503, expected 200-399",
		.now_ns = now_ns,
		.realtime_ns = now_ns + 7};

	return health_step(h, c, &ev);
}

static struct span text(const struct health *h, const struct health_conf *c)
{
	static char out[64];

	return span_make(out, health_format(h, c, now_ns, out, sizeof(out)));
}

static void a_new_server_is_unknown_and_used(void)
{
	struct health h = fresh(&checked);

	CHECK_TEXT(text(&h, &checked), "unknown");
	CHECK(health_usable(&h));
	CHECK_TEXT(span_of(h.reason), "not checked yet");
	h = fresh(&unchecked);
	CHECK_TEXT(span_of(h.reason), "no check configured");
	CHECK(health_usable(&h));
}

static void what_a_server_says_of_itself_is_plain_text(void)
{
	struct health h = fresh(&checked);
	struct health_event ev = {.kind = HEALTH_CHECK_FAILED,
		.reason = "grpc-status \xff\x1b, expected 0",
		.now_ns = now_ns};
	char endless[500] = {[0 ... 498] = 'x'};

	health_step(&h, &checked, &ev);
	CHECK_TEXT(span_of(h.reason), "grpc-status ??, expected 0");
	ev.reason = endless;
	health_step(&h, &checked, &ev);
	CHECK_INT(strlen(h.reason), sizeof(h.reason) - 1);
}

static void the_first_passed_check_makes_it_up(void)
{
	struct health h = fresh(&checked);

	now_ns += NS_PER_S;
	CHECK_INT(feed(&h, &checked, HEALTH_CHECK_PASSED), HEALTH_MOVED);
	CHECK_TEXT(text(&h, &checked), "up");
	CHECK_INT(h.since_ns, now_ns);
	CHECK_INT(h.since_realtime_ns, now_ns + 7);
	now_ns += NS_PER_S;
	CHECK_INT(feed(&h, &checked, HEALTH_CHECK_PASSED), HEALTH_SAME);
	CHECK_INT(h.since_ns, now_ns - NS_PER_S);
}

static void it_goes_down_after_fall_failures_and_is_used_until_then(void)
{
	struct health h = fresh(&checked);

	feed(&h, &checked, HEALTH_CHECK_PASSED);
	CHECK_INT(feed(&h, &checked, HEALTH_CHECK_FAILED), HEALTH_MOVED);
	CHECK_TEXT(text(&h, &checked), "failing 1/3");
	CHECK(health_usable(&h));
	CHECK_INT(feed(&h, &checked, HEALTH_CHECK_FAILED), HEALTH_MOVED);
	CHECK_TEXT(text(&h, &checked), "failing 2/3");
	CHECK_INT(feed(&h, &checked, HEALTH_CHECK_FAILED), HEALTH_TURNED);
	CHECK_TEXT(text(&h, &checked), "down");
	CHECK(!health_usable(&h));
	CHECK(!h.refused);
	CHECK_TEXT(span_of(h.reason), "status 503, expected 200-399");
}

static void one_passed_check_forgives_failures(void)
{
	struct health h = fresh(&checked);

	feed(&h, &checked, HEALTH_CHECK_FAILED);
	feed(&h, &checked, HEALTH_CHECK_FAILED);
	CHECK_INT(feed(&h, &checked, HEALTH_CHECK_PASSED), HEALTH_MOVED);
	CHECK_TEXT(text(&h, &checked), "up");
	feed(&h, &checked, HEALTH_CHECK_FAILED);
	CHECK_TEXT(text(&h, &checked), "failing 1/3");
}

static void it_comes_back_after_rise_passes_in_a_row(void)
{
	struct health h = fresh(&checked);

	feed(&h, &checked, HEALTH_CHECK_REFUSED);
	CHECK_INT(feed(&h, &checked, HEALTH_CHECK_PASSED), HEALTH_TURNED); /* now a last resort */
	CHECK_INT(h.state, HEALTH_RISING);
	CHECK_TEXT(text(&h, &checked), "down");
	CHECK_TEXT(span_of(h.reason), "1 of 2 checks passed");
	CHECK(!health_usable(&h));
	CHECK_INT(feed(&h, &checked, HEALTH_CHECK_FAILED), HEALTH_MOVED);
	CHECK_TEXT(text(&h, &checked), "down");
	feed(&h, &checked, HEALTH_CHECK_PASSED);
	CHECK_INT(feed(&h, &checked, HEALTH_CHECK_PASSED), HEALTH_TURNED);
	CHECK_TEXT(text(&h, &checked), "up");
}

static void with_rise_1_and_fall_1_a_single_check_decides(void)
{
	struct health_conf c = checked;
	struct health h = fresh(&c);

	c.rise = c.fall = 1;
	feed(&h, &c, HEALTH_CHECK_FAILED);
	CHECK_TEXT(text(&h, &c), "down");
	feed(&h, &c, HEALTH_CHECK_PASSED);
	CHECK_TEXT(text(&h, &c), "up");
}

static void a_refused_check_takes_it_out_at_once(void)
{
	struct health h = fresh(&checked);

	feed(&h, &checked, HEALTH_CHECK_PASSED);
	CHECK_INT(feed(&h, &checked, HEALTH_CHECK_REFUSED), HEALTH_TURNED);
	CHECK_TEXT(text(&h, &checked), "down");
	CHECK(h.refused);
	CHECK_TEXT(span_of(h.reason), "connection refused");
}

static void a_refused_request_takes_a_checked_server_out_at_once(void)
{
	struct health h = fresh(&checked);
	struct health_conf last = checked;

	feed(&h, &checked, HEALTH_CHECK_PASSED);
	last.may_eject = false; /* even the last: nobody is there */
	CHECK_INT(feed(&h, &last, HEALTH_TRAFFIC_REFUSED), HEALTH_TURNED);
	CHECK_TEXT(text(&h, &checked), "down");
	CHECK_INT(feed(&h, &last, HEALTH_TRAFFIC_REFUSED), HEALTH_SAME);
	feed(&h, &checked, HEALTH_CHECK_PASSED);
	feed(&h, &checked, HEALTH_CHECK_PASSED);
	CHECK_TEXT(text(&h, &checked), "up");
}

static void without_checks_the_last_server_stays_in_use_though_it_refuses(void)
{
	struct health h = fresh(&unchecked);
	struct health_conf last = unchecked;

	last.may_eject = false;
	CHECK_INT(feed(&h, &last, HEALTH_TRAFFIC_REFUSED), HEALTH_SAME);
	CHECK(health_usable(&h));
	CHECK_INT(feed(&h, &unchecked, HEALTH_TRAFFIC_REFUSED), HEALTH_TURNED);
	CHECK(!health_usable(&h));
}

static void a_refused_request_while_it_rises_takes_it_down_again(void)
{
	struct health h = fresh(&checked);

	feed(&h, &checked, HEALTH_CHECK_REFUSED);
	feed(&h, &checked, HEALTH_CHECK_PASSED);
	feed(&h, &checked, HEALTH_TRAFFIC_REFUSED);
	CHECK_TEXT(text(&h, &checked), "down");
	CHECK(h.refused);
}

static void a_refused_request_ejects_an_unchecked_server_for_ten_seconds(void)
{
	struct health h = fresh(&unchecked);

	CHECK_INT(feed(&h, &unchecked, HEALTH_TRAFFIC_REFUSED), HEALTH_TURNED);
	CHECK_TEXT(text(&h, &unchecked), "ejected 10 s");
	CHECK(!health_usable(&h));
	CHECK_INT(health_due_ns(&h), now_ns + 10 * NS_PER_S);
	now_ns += 10 * NS_PER_S - 1;
	CHECK_INT(feed(&h, &unchecked, HEALTH_TIME_PASSED), HEALTH_SAME);
	CHECK_TEXT(text(&h, &unchecked), "ejected 1 s");
	now_ns += 1;
	CHECK_INT(feed(&h, &unchecked, HEALTH_TIME_PASSED), HEALTH_TURNED);
	CHECK_TEXT(text(&h, &unchecked), "unknown");
	CHECK_TEXT(span_of(h.reason), "tried again");
	CHECK_INT(health_due_ns(&h), 0);
}

static void broken_traffic_ejects_unless_the_pool_cannot_spare_it(void)
{
	struct health_conf last = checked;
	struct health h = fresh(&checked);

	last.may_eject = false;
	feed(&h, &checked, HEALTH_CHECK_PASSED);
	CHECK_INT(feed(&h, &last, HEALTH_TRAFFIC_BROKE), HEALTH_SAME);
	CHECK_TEXT(text(&h, &checked), "up");
	CHECK_INT(feed(&h, &checked, HEALTH_TRAFFIC_BROKE), HEALTH_TURNED);
	CHECK_TEXT(text(&h, &checked), "ejected 10 s");
	CHECK(!h.refused); /* somebody is there: a last resort */
	CHECK_INT(feed(&h, &checked, HEALTH_TRAFFIC_BROKE), HEALTH_SAME);
}

static void each_ejection_soon_after_the_last_is_longer_up_to_five_minutes(void)
{
	struct health h = fresh(&unchecked);

	for (unsigned n = 1; n <= 40; n++) {
		unsigned expected_s = n < 30 ? n * 10 : 300;

		feed(&h, &unchecked, HEALTH_TRAFFIC_BROKE);
		CHECK_INT(health_due_ns(&h) - now_ns, expected_s * NS_PER_S);
		now_ns = health_due_ns(&h);
		CHECK_INT(feed(&h, &unchecked, HEALTH_TIME_PASSED), HEALTH_TURNED);
		now_ns += 299 * NS_PER_S;
	}
	now_ns += 2 * NS_PER_S; /* more than five minutes in service */
	feed(&h, &unchecked, HEALTH_TRAFFIC_BROKE);
	CHECK_INT(health_due_ns(&h) - now_ns, 10 * NS_PER_S);
}

static void an_ejection_takes_as_long_as_the_pool_says(void)
{
	struct health_conf c = unchecked;
	struct health h = fresh(&c);

	c.eject_ns = 200 * NS_PER_S;
	for (unsigned n = 0; n < 3; n++) { /* twice that would be over the most */
		feed(&h, &c, HEALTH_TRAFFIC_BROKE);
		CHECK_INT(health_due_ns(&h) - now_ns, (n ? 300 : 200) * NS_PER_S);
		now_ns = health_due_ns(&h);
		feed(&h, &c, HEALTH_TIME_PASSED);
	}
}

static void checks_go_on_beneath_an_ejection(void)
{
	struct health h = fresh(&checked);

	feed(&h, &checked, HEALTH_CHECK_PASSED);
	feed(&h, &checked, HEALTH_TRAFFIC_BROKE);
	feed(&h, &checked, HEALTH_CHECK_PASSED);
	CHECK_TEXT(text(&h, &checked), "ejected 10 s"); /* a passed check does not end it */
	feed(&h, &checked, HEALTH_CHECK_FAILED);
	now_ns += 10 * NS_PER_S;
	feed(&h, &checked, HEALTH_TIME_PASSED);
	CHECK_TEXT(text(&h, &checked), "failing 1/3");
	feed(&h, &checked, HEALTH_TRAFFIC_BROKE);
	feed(&h, &checked, HEALTH_CHECK_FAILED);
	CHECK_TEXT(text(&h, &checked), "ejected 20 s");
	feed(&h, &checked, HEALTH_CHECK_FAILED);
	CHECK_TEXT(text(&h, &checked), "down"); /* the graver verdict */
	CHECK_INT(health_due_ns(&h), 0);
}

static void while_the_verdict_hangs_checks_come_every_half_second(void)
{
	struct rng rng;
	struct health h = fresh(&checked);
	uint64_t low = UINT64_MAX, high = 0;

	rng_seed(&rng, 1);
	feed(&h, &checked, HEALTH_CHECK_PASSED);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t delay = health_check_delay_ns(&h, &checked, now_ns, &rng);

		low = delay < low ? delay : low;
		high = delay > high ? delay : high;
	}
	CHECK(low >= 1800 * NS_PER_MS && low < 1820 * NS_PER_MS);
	CHECK(high <= 2200 * NS_PER_MS && high > 2180 * NS_PER_MS);
	feed(&h, &checked, HEALTH_CHECK_FAILED);
	CHECK(health_check_delay_ns(&h, &checked, now_ns, &rng) <= 550 * NS_PER_MS);
	feed(&h, &checked, HEALTH_CHECK_FAILED);
	feed(&h, &checked, HEALTH_CHECK_FAILED); /* down: it will take its time */
	CHECK(health_check_delay_ns(&h, &checked, now_ns, &rng) >= 1800 * NS_PER_MS);
	feed(&h, &checked, HEALTH_CHECK_PASSED);
	CHECK(health_check_delay_ns(&h, &checked, now_ns, &rng) <= 550 * NS_PER_MS);
}

static void a_refusing_server_is_looked_at_often_for_half_a_minute(void)
{
	struct rng rng;
	struct health h = fresh(&checked);

	rng_seed(&rng, 1);
	feed(&h, &checked, HEALTH_TRAFFIC_REFUSED);
	CHECK(health_check_delay_ns(&h, &checked, now_ns, &rng) <= 550 * NS_PER_MS);
	now_ns += 29 * NS_PER_S;
	CHECK(health_check_delay_ns(&h, &checked, now_ns, &rng) <= 550 * NS_PER_MS);
	now_ns += 2 * NS_PER_S;
	CHECK(health_check_delay_ns(&h, &checked, now_ns, &rng) >= 1800 * NS_PER_MS);
}

static void what_it_is_by_refusal_matters_while_it_is_down(void)
{
	struct health h = fresh(&checked);

	for (unsigned i = 0; i < 3; i++)
		feed(&h, &checked, HEALTH_CHECK_FAILED);
	CHECK(!h.refused);
	CHECK_INT(feed(&h, &checked, HEALTH_TRAFFIC_REFUSED), HEALTH_TURNED);
	CHECK(h.refused);
	CHECK_INT(feed(&h, &checked, HEALTH_CHECK_FAILED), HEALTH_TURNED);
	CHECK(!h.refused);
}

static void health_stays_over_a_reload_as_far_as_a_check_upholds_it(void)
{
	struct health_conf stricter = checked;
	struct health h = fresh(&checked);

	feed(&h, &checked, HEALTH_CHECK_REFUSED);
	CHECK_INT(health_reconfigure(&h, &checked, now_ns, now_ns), HEALTH_SAME);
	CHECK_TEXT(text(&h, &checked), "down");
	CHECK_INT(health_reconfigure(&h, &unchecked, now_ns, now_ns), HEALTH_TURNED);
	CHECK_TEXT(text(&h, &unchecked), "unknown");
	CHECK_TEXT(span_of(h.reason), "no check configured");
	CHECK_INT(health_reconfigure(&h, &checked, now_ns, now_ns), HEALTH_SAME);
	CHECK_TEXT(span_of(h.reason), "not checked yet");
	feed(&h, &checked, HEALTH_CHECK_FAILED);
	feed(&h, &checked, HEALTH_CHECK_FAILED);
	stricter.fall = 2; /* it stands at 2/3 */
	CHECK_INT(health_reconfigure(&h, &stricter, now_ns, now_ns), HEALTH_MOVED);
	CHECK_TEXT(text(&h, &stricter), "up");
}

/* Whatever comes in whatever order, the machine keeps its own rules. */
static void random_events_keep_the_invariants(void)
{
	struct rng rng;

	rng_seed(&rng, 4);
	for (unsigned round = 0; round < 200; round++) {
		struct health_conf c = checked;
		struct health h;

		c.active = rng_below(&rng, 2);
		c.rise = 1 + (unsigned)rng_below(&rng, 3);
		c.fall = 1 + (unsigned)rng_below(&rng, 3);
		h = fresh(&c);
		for (unsigned i = 0; i < 500; i++) {
			static const enum health_event_kind kinds[] = {HEALTH_CHECK_PASSED,
				HEALTH_CHECK_FAILED, HEALTH_CHECK_REFUSED, HEALTH_TRAFFIC_REFUSED,
				HEALTH_TRAFFIC_BROKE, HEALTH_TIME_PASSED};
			/* Without checks only the last three come. */
			enum health_event_kind kind =
				kinds[c.active ? rng_below(&rng, 6) : 3 + rng_below(&rng, 3)];
			bool was_usable = health_usable(&h);
			enum health_change change;

			now_ns += rng_below(&rng, 5 * NS_PER_S);
			c.may_eject = rng_below(&rng, 2);
			change = feed(&h, &c, kind);
			CHECK(change == HEALTH_TURNED || health_usable(&h) == was_usable);
			CHECK(h.state != HEALTH_FAILING || (h.count > 0 && h.count < c.fall));
			CHECK(h.state != HEALTH_RISING || (h.count > 0 && h.count < c.rise));
			CHECK((health_due_ns(&h) != 0) == (h.state == HEALTH_EJECTED));
			CHECK(h.reason[0] != '\0');
			if (kind == HEALTH_CHECK_PASSED && h.state != HEALTH_EJECTED)
				CHECK(h.state == HEALTH_UP || h.state == HEALTH_RISING);
			if (kind == HEALTH_TRAFFIC_REFUSED && (c.active || c.may_eject))
				CHECK(!health_usable(&h) && h.refused);
			if (health_usable(&h))
				CHECK(!h.refused);
		}
	}
}

static void one_that_nobody_looked_at_is_used_again_once_checks_pass(void)
{
	struct health h = fresh(&checked);

	CHECK_INT(health_distrust(&h, "out of service until now", 2, 2), HEALTH_TURNED);
	CHECK(!health_usable(&h));
	CHECK_TEXT(span_of(h.reason), "out of service until now");
	feed(&h, &checked, HEALTH_CHECK_PASSED);
	CHECK(!health_usable(&h));
	feed(&h, &checked, HEALTH_CHECK_PASSED);
	CHECK_INT(h.state, HEALTH_UP);
	health_distrust(&h, "out of service until now", 9, 9);
	feed(&h, &checked, HEALTH_CHECK_FAILED);
	CHECK_INT(h.state, HEALTH_DOWN);
}

static const struct test_case cases[] = {
	TEST(one_that_nobody_looked_at_is_used_again_once_checks_pass),
	TEST(a_new_server_is_unknown_and_used),
	TEST(what_a_server_says_of_itself_is_plain_text),
	TEST(the_first_passed_check_makes_it_up),
	TEST(it_goes_down_after_fall_failures_and_is_used_until_then),
	TEST(one_passed_check_forgives_failures),
	TEST(it_comes_back_after_rise_passes_in_a_row),
	TEST(with_rise_1_and_fall_1_a_single_check_decides),
	TEST(a_refused_check_takes_it_out_at_once),
	TEST(a_refused_request_takes_a_checked_server_out_at_once),
	TEST(without_checks_the_last_server_stays_in_use_though_it_refuses),
	TEST(a_refused_request_while_it_rises_takes_it_down_again),
	TEST(a_refused_request_ejects_an_unchecked_server_for_ten_seconds),
	TEST(broken_traffic_ejects_unless_the_pool_cannot_spare_it),
	TEST(each_ejection_soon_after_the_last_is_longer_up_to_five_minutes),
	TEST(an_ejection_takes_as_long_as_the_pool_says),
	TEST(checks_go_on_beneath_an_ejection),
	TEST(while_the_verdict_hangs_checks_come_every_half_second),
	TEST(a_refusing_server_is_looked_at_often_for_half_a_minute),
	TEST(what_it_is_by_refusal_matters_while_it_is_down),
	TEST(health_stays_over_a_reload_as_far_as_a_check_upholds_it),
	TEST(random_events_keep_the_invariants),
};

TESTS_MAIN("health", cases)
