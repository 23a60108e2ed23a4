/* When an alert is told: sentences about core/alerting.h. */
#include "failover/core/alerting.h"

#include "tests/unit/check.h"

static struct alerting a;
static uint64_t now_ns;

static void set_up(uint32_t kinds, uint64_t for_ns, struct rate at_most)
{
	const struct alert_rule rule = {kinds, for_ns, at_most};

	memset(&a, 0, sizeof(a));
	now_ns = 1000 * NS_PER_S;
	alerting_rules(&a, &rule, 1);
}

static void set(enum alert_kind kind, bool on, const char *words)
{
	alerting_set(&a, kind, "x", on, words, now_ns);
}

/* How many are told now; *ret: the last. */
static unsigned told(struct alert_notice *ret)
{
	unsigned count = 0;
	uint64_t next_ns;

	while (alerting_next(&a, now_ns, ret, &next_ns))
		count++;
	return count;
}

#define DOWN (1U << ALERT_SERVER_DOWN)
#define MOVED (1U << ALERT_FAILOVER)

static void a_condition_is_told_once_it_has_lasted_and_when_it_is_over(void)
{
	struct alert_notice n;
	uint64_t next_ns;

	set_up(DOWN, 2 * NS_PER_S, (struct rate){0});
	set(ALERT_SERVER_DOWN, true, "refused");
	now_ns += 2 * NS_PER_S - 1;
	CHECK(!alerting_next(&a, now_ns, &n, &next_ns));
	CHECK_INT(next_ns, now_ns + 1);
	now_ns++;
	CHECK_INT(told(&n), 1);
	CHECK(n.on && n.kind == ALERT_SERVER_DOWN);
	CHECK_TEXT(span_of(n.words), "refused");
	CHECK_INT(n.lasts_ns, 2 * NS_PER_S);
	CHECK_INT(told(&n), 0);
	set(ALERT_SERVER_DOWN, false, "up again");
	now_ns += 2 * NS_PER_S;
	CHECK_INT(told(&n), 1);
	CHECK(!n.on);
	CHECK_INT(told(&n), 0);
	CHECK(!a.conditions[0].subject[0]); /* nothing is kept of it */
}

static void what_is_over_before_it_was_told_is_not_told(void)
{
	struct alert_notice n;

	set_up(DOWN, 2 * NS_PER_S, (struct rate){0});
	for (unsigned i = 0; i < 20; i++) {
		set(ALERT_SERVER_DOWN, i % 2 == 0, "");
		now_ns += NS_PER_S;
		CHECK_INT(told(&n), 0);
	}
	now_ns += 10 * NS_PER_S;
	CHECK_INT(told(&n), 0);
}

static void a_short_recovery_ends_no_alert(void)
{
	struct alert_notice n;

	set_up(DOWN, 2 * NS_PER_S, (struct rate){0});
	set(ALERT_SERVER_DOWN, true, "");
	now_ns += 3 * NS_PER_S;
	CHECK_INT(told(&n), 1);
	set(ALERT_SERVER_DOWN, false, "");
	now_ns += NS_PER_S;
	CHECK_INT(told(&n), 0);
	set(ALERT_SERVER_DOWN, true, "");
	now_ns += 10 * NS_PER_S;
	CHECK_INT(told(&n), 0);
}

static void the_rate_holds_back_and_the_last_word_comes_through(void)
{
	struct alert_notice n;
	uint64_t next_ns;

	set_up(DOWN, 0, (struct rate){1, 300 * NS_PER_S});
	set(ALERT_SERVER_DOWN, true, "");
	CHECK_INT(told(&n), 1);
	now_ns += NS_PER_S;
	set(ALERT_SERVER_DOWN, false, "");
	CHECK(!alerting_next(&a, now_ns, &n, &next_ns));
	CHECK_INT(next_ns, now_ns + 299 * NS_PER_S);
	now_ns = next_ns;
	CHECK_INT(told(&n), 1);
	CHECK(!n.on);
}

static void a_rate_of_three_lets_three_through_at_once(void)
{
	struct alert_notice n;
	char subject[2] = "a";

	set_up(DOWN, 0, (struct rate){3, 60 * NS_PER_S});
	for (unsigned i = 0; i < 10; i++, subject[0]++)
		alerting_set(&a, ALERT_SERVER_DOWN, subject, true, "", now_ns);
	CHECK_INT(told(&n), 3);
	now_ns += 20 * NS_PER_S;
	CHECK_INT(told(&n), 1);
	now_ns += 300 * NS_PER_S;
	CHECK_INT(told(&n), 3);
}

static void events_that_wait_are_counted_and_told_as_one(void)
{
	struct alert_notice n;

	set_up(MOVED, 5 * NS_PER_S, (struct rate){1, 60 * NS_PER_S});
	set(ALERT_FAILOVER, true, "first");
	CHECK_INT(told(&n), 1); /* an event does not have to last */
	CHECK_INT(n.events, 1);
	for (unsigned i = 0; i < 3; i++)
		set(ALERT_FAILOVER, true, "again");
	CHECK_INT(told(&n), 0);
	now_ns += 60 * NS_PER_S;
	CHECK_INT(told(&n), 1);
	CHECK_INT(n.events, 3);
	CHECK_TEXT(span_of(n.words), "again");
	CHECK_INT(told(&n), 0);
}

static void a_rule_hears_of_its_kinds_only(void)
{
	struct alert_notice n;

	set_up(MOVED, 0, (struct rate){0});
	set(ALERT_SERVER_DOWN, true, "");
	CHECK_INT(told(&n), 0);
	set(ALERT_FAILOVER, true, "");
	CHECK_INT(told(&n), 1);
}

static void new_rules_are_told_of_what_is_on(void)
{
	const struct alert_rule rules[] = {{DOWN, 0, {0}}, {DOWN | MOVED, 0, {0}}};
	struct alert_notice n;

	set_up(DOWN, 0, (struct rate){0});
	set(ALERT_SERVER_DOWN, true, "");
	set(ALERT_FAILOVER, true, "");
	CHECK_INT(told(&n), 1);
	alerting_rules(&a, rules, 2);
	CHECK_INT(told(&n), 1); /* the first is the old one; the event is over */
	CHECK_INT(n.rule, 1);
}

static void a_rule_that_stays_knows_what_it_was_told(void)
{
	const struct alert_rule rules[] = {
		{MOVED, 0, {0}}, {DOWN, 0, {1, 60 * NS_PER_S}}, {DOWN, 0, {0}}};
	struct alert_notice n;

	set_up(DOWN, 0, (struct rate){1, 60 * NS_PER_S});
	set(ALERT_SERVER_DOWN, true, "");
	CHECK_INT(told(&n), 1);
	alerting_rules(&a, rules, 3); /* the second one is the old one */
	CHECK_INT(told(&n), 1);
	CHECK_INT(n.rule, 2);
	set(ALERT_SERVER_DOWN, false, "");
	CHECK_INT(told(&n), 1); /* the old one's rate holds it back */
	CHECK_INT(n.rule, 2);
	now_ns += 60 * NS_PER_S;
	CHECK_INT(told(&n), 1);
	CHECK_INT(n.rule, 1);
}

static void a_full_table_loses_the_newest_and_counts_it(void)
{
	struct alert_notice n;
	char subject[16];

	set_up(DOWN, NS_PER_S, (struct rate){0});
	for (unsigned i = 0; i <= ALERT_CONDITIONS_MAX; i++) {
		(void)snprintf(subject, sizeof(subject), "s%u", i);
		alerting_set(&a, ALERT_SERVER_DOWN, subject, true, "", now_ns);
	}
	CHECK_INT(a.lost, 1);
	now_ns += NS_PER_S;
	CHECK_INT(told(&n), ALERT_CONDITIONS_MAX);
}

static const struct test_case cases[] = {
	TEST(a_condition_is_told_once_it_has_lasted_and_when_it_is_over),
	TEST(what_is_over_before_it_was_told_is_not_told),
	TEST(a_short_recovery_ends_no_alert),
	TEST(the_rate_holds_back_and_the_last_word_comes_through),
	TEST(a_rate_of_three_lets_three_through_at_once),
	TEST(events_that_wait_are_counted_and_told_as_one),
	TEST(a_rule_hears_of_its_kinds_only),
	TEST(new_rules_are_told_of_what_is_on),
	TEST(a_rule_that_stays_knows_what_it_was_told),
	TEST(a_full_table_loses_the_newest_and_counts_it),
};
TESTS_MAIN("alerting", cases)
