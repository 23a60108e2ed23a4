/* To whom a witness promises the address. */
#include "failover/core/witness.h"

#include "shared/units.h"
#include "tests/unit/check.h"

#define GROUP 51

static struct witness w;
static uint64_t now_ns;

static void set_up(void)
{
	struct times t = times_of(TIMES_default);

	now_ns = 1000 * NS_PER_S;
	witness_init(&w, &t, now_ns);
	now_ns += w.promise_ns;
}

static void hear(uint8_t node, enum packet_kind kind)
{
	witness_heard(&w, &(struct packet){.kind = kind, .node = node, .group = GROUP}, now_ns);
}

static enum witness_verdict ask(uint8_t node)
{
	return witness_ask(&w, GROUP, node, now_ns);
}

static void nothing_is_promised_before_it_has_listened(void)
{
	set_up();
	now_ns--;
	CHECK_INT(ask(1), WITNESS_STARTING);
	now_ns++;
	CHECK_INT(ask(1), WITNESS_PROMISED);
}

static void an_owner_that_was_heard_keeps_the_address(void)
{
	set_up();
	hear(1, PACKET_ACTIVE);
	now_ns += w.promise_ns - 1;
	CHECK_INT(ask(2), WITNESS_OWNED);
	CHECK_INT(ask(1), WITNESS_PROMISED); /* it may ask for its own */
	now_ns++;
	CHECK_INT(ask(2), WITNESS_TAKEN);
}

static void a_silent_owner_loses_it(void)
{
	set_up();
	hear(1, PACKET_CLAIM);
	now_ns += w.promise_ns;
	CHECK_INT(ask(2), WITNESS_PROMISED);
}

static void a_promise_is_made_to_one_node_at_a_time(void)
{
	set_up();
	CHECK_INT(ask(2), WITNESS_PROMISED);
	CHECK_INT(ask(1), WITNESS_TAKEN);
	CHECK_INT(ask(2), WITNESS_PROMISED); /* asked again: from now on */
	now_ns += w.promise_ns - 1;
	CHECK_INT(ask(1), WITNESS_TAKEN);
	now_ns++;
	CHECK_INT(ask(1), WITNESS_PROMISED);
}

static void a_release_gives_back_at_once(void)
{
	set_up();
	CHECK_INT(ask(1), WITNESS_PROMISED);
	hear(1, PACKET_ACTIVE);
	CHECK_INT(ask(2), WITNESS_OWNED);
	hear(2, PACKET_RELEASE); /* not its own to give */
	CHECK_INT(ask(2), WITNESS_OWNED);
	hear(1, PACKET_RELEASE);
	CHECK_INT(ask(2), WITNESS_PROMISED);
}

static void a_standby_says_nothing_about_the_owner(void)
{
	set_up();
	hear(1, PACKET_ACTIVE);
	hear(2, PACKET_STANDBY);
	CHECK_INT(ask(2), WITNESS_OWNED);
	hear(1, PACKET_STANDBY); /* one that was frozen: its lease may still run */
	CHECK_INT(ask(2), WITNESS_OWNED);
}

static void groups_are_apart(void)
{
	set_up();
	hear(1, PACKET_ACTIVE);
	CHECK_INT(witness_ask(&w, GROUP + 1, 2, now_ns), WITNESS_PROMISED);
	CHECK_INT(ask(2), WITNESS_OWNED);
}

static const struct test_case cases[] = {
	TEST(nothing_is_promised_before_it_has_listened),
	TEST(an_owner_that_was_heard_keeps_the_address),
	TEST(a_silent_owner_loses_it),
	TEST(a_promise_is_made_to_one_node_at_a_time),
	TEST(a_release_gives_back_at_once),
	TEST(a_standby_says_nothing_about_the_owner),
	TEST(groups_are_apart),
};
TESTS_MAIN("witness", cases)
