/*
 * Replay protection: two agents' views of each other, packet by packet.
 */
#include "failover/core/replay.h"

#include "shared/assert.h"
#include "shared/units.h"
#include "tests/unit/check.h"

#define MS NS_PER_MS

static struct replay_news news;

static struct packet stamped(struct replay *from, uint32_t path, uint64_t now_ns)
{
	struct packet p = {.kind = PACKET_STANDBY, .node = 1, .group = 51};

	replay_stamp(from, path, &p, now_ns);
	return p;
}

static enum replay_verdict pass(struct replay *from, struct replay *to, uint64_t now_ns)
{
	struct packet p = stamped(from, 0, now_ns);

	return replay_check(to, 0, &p, now_ns, &news);
}

/* Two that know each other on path 0. */
static void acquaint(struct replay *a, struct replay *b)
{
	replay_init(a, 0xaaaa, 2, 300 * MS);
	replay_init(b, 0xbbbb, 2, 300 * MS);
	pass(a, b, 1 * MS);
	pass(b, a, 2 * MS);
	CHECK_TRUE(pass(a, b, 3 * MS) == REPLAY_MET);
}

static void two_fresh_nodes_meet_in_three_packets(void)
{
	struct replay a, b;

	replay_init(&a, 0xaaaa, 1, 300 * MS);
	replay_init(&b, 0xbbbb, 1, 300 * MS);
	CHECK_INT(pass(&a, &b, 10 * MS), REPLAY_CHALLENGED);
	CHECK_INT(pass(&b, &a, 30 * MS), REPLAY_MET);
	CHECK(!news.restarted);
	CHECK_INT(pass(&a, &b, 60 * MS), REPLAY_MET);
	CHECK_INT(pass(&b, &a, 80 * MS), REPLAY_ACCEPTED);
	CHECK_INT(pass(&a, &b, 110 * MS), REPLAY_ACCEPTED);
}

static void two_that_speak_at_once_meet_as_well(void)
{
	struct replay a, b;
	struct packet pa, pb;

	replay_init(&a, 0xaaaa, 1, 300 * MS);
	replay_init(&b, 0xbbbb, 1, 300 * MS);
	pa = stamped(&a, 0, 0);
	pb = stamped(&b, 0, 0);
	CHECK_INT(replay_check(&b, 0, &pa, 1 * MS, &news), REPLAY_CHALLENGED);
	CHECK_INT(replay_check(&a, 0, &pb, 1 * MS, &news), REPLAY_CHALLENGED);
	pa = stamped(&a, 0, 50 * MS);
	pb = stamped(&b, 0, 50 * MS);
	CHECK_INT(replay_check(&b, 0, &pa, 51 * MS, &news), REPLAY_MET);
	CHECK_INT(replay_check(&a, 0, &pb, 51 * MS, &news), REPLAY_MET);
}

static void a_duplicate_does_not_count(void)
{
	struct replay a, b;
	struct packet p;

	acquaint(&a, &b);
	p = stamped(&a, 0, 10 * MS);
	CHECK_INT(replay_check(&b, 0, &p, 11 * MS, &news), REPLAY_ACCEPTED);
	CHECK_INT(replay_check(&b, 0, &p, 12 * MS, &news), REPLAY_DUPLICATE);
	CHECK_INT(b.paths[0].counts[REPLAY_DUPLICATE], 1);
}

static void a_late_one_does_not_count(void)
{
	struct replay a, b;
	struct packet first, second;

	acquaint(&a, &b);
	first = stamped(&a, 0, 10 * MS);
	second = stamped(&a, 0, 20 * MS);
	CHECK_INT(replay_check(&b, 0, &second, 21 * MS, &news), REPLAY_ACCEPTED);
	CHECK_INT(news.lost, 1);
	CHECK_INT(replay_check(&b, 0, &first, 22 * MS, &news), REPLAY_OUT_OF_ORDER);
	CHECK_INT(b.paths[0].counts[REPLAY_OUT_OF_ORDER], 1);
}

static void a_restarted_peer_is_recognised_within_two_heartbeats(void)
{
	struct replay a, b;

	acquaint(&a, &b);
	replay_init(&a, 0xa2a2, 2, 300 * MS);
	CHECK_INT(pass(&a, &b, 1000 * MS), REPLAY_CHALLENGED);
	CHECK_INT(pass(&b, &a, 1020 * MS), REPLAY_MET);
	CHECK_INT(pass(&a, &b, 1050 * MS), REPLAY_MET);
	CHECK(news.restarted);
}

static void an_old_boot_never_comes_back(void)
{
	struct replay a, b;
	struct packet old;

	acquaint(&a, &b);
	pass(&b, &a, 900 * MS);
	old = stamped(&a, 0, 901 * MS); /* echoes a seq of b that is still known */
	replay_init(&a, 0xa2a2, 2, 300 * MS);
	pass(&a, &b, 1000 * MS);
	pass(&b, &a, 1020 * MS);
	CHECK_INT(pass(&a, &b, 1050 * MS), REPLAY_MET);
	CHECK_INT(replay_check(&b, 0, &old, 1060 * MS, &news), REPLAY_RETIRED);
	CHECK_INT(pass(&a, &b, 1100 * MS), REPLAY_ACCEPTED);
}

/* More boots than are remembered: what an ancient one echoes is older than what was echoed since.
 */
static void a_forgotten_boot_does_not_come_back_either(void)
{
	struct replay a, b;
	struct packet old;
	uint64_t now = 1000 * MS;

	acquaint(&a, &b);
	pass(&b, &a, 900 * MS);
	old = stamped(&a, 0, 901 * MS);
	for (uint64_t boot = 1; boot <= REPLAY_RETIRED_MAX + 2; boot++) {
		replay_init(&a, boot, 2, 300 * MS);
		pass(&a, &b, now);
		pass(&b, &a, now + MS);
		CHECK_INT(pass(&a, &b, now + 2 * MS), REPLAY_MET);
		now += 100 * MS;
	}
	CHECK_INT(replay_check(&b, 0, &old, now, &news), REPLAY_CHALLENGED);
	CHECK_INT(pass(&a, &b, now + MS), REPLAY_ACCEPTED);
}

static void a_recording_is_nothing_to_a_fresh_node(void)
{
	struct replay a, b, fresh;
	struct packet tape[20];

	acquaint(&a, &b);
	for (unsigned i = 0; i < countof(tape); i++) {
		pass(&b, &a, (20 + i) * MS);
		tape[i] = stamped(&a, 0, (20 + i) * MS);
		replay_check(&b, 0, &tape[i], (20 + i) * MS, &news);
	}
	replay_init(&fresh, 0xcccc, 2, 300 * MS);
	for (unsigned i = 0; i < countof(tape); i++) {
		CHECK_INT(replay_check(&fresh, 0, &tape[i], (100 + i) * MS, &news),
			REPLAY_CHALLENGED);
		stamped(&fresh, 0, (100 + i) * MS);
	}
	CHECK_INT(fresh.peer_boot_id, 0);
	/* And nothing new to the one who heard it all. */
	for (unsigned i = 0; i < countof(tape); i++)
		CHECK(!replay_counts(replay_check(&b, 0, &tape[i], 200 * MS, &news)));
}

static void a_recording_does_not_count_on_a_path_that_was_silent(void)
{
	struct replay a, b;
	struct packet p, answer;

	acquaint(&a, &b);
	p = stamped(&a, 1, 20 * MS);
	CHECK_INT(replay_check(&b, 1, &p, 5000 * MS, &news), REPLAY_CHALLENGED);
	/* While the living one proves itself there as everywhere. */
	answer = stamped(&b, 1, 5001 * MS);
	replay_check(&a, 1, &answer, 5002 * MS, &news);
	p = stamped(&a, 1, 5003 * MS);
	CHECK_INT(replay_check(&b, 1, &p, 5004 * MS, &news), REPLAY_MET);
	CHECK(!news.restarted);
}

static void recordings_do_not_take_the_echo_from_the_living(void)
{
	struct replay a, b;
	struct packet old = {
		.kind = PACKET_ACTIVE, .node = 1, .group = 51, .boot_id = 0xdead, .seq = 9};
	struct packet p;

	acquaint(&a, &b);
	CHECK_INT(replay_check(&b, 0, &old, 10 * MS, &news), REPLAY_CHALLENGED);
	p = stamped(&b, 0, 11 * MS);
	CHECK_INT(p.echo_boot_id, 0xdead);
	p = stamped(&b, 0, 12 * MS);
	CHECK_INT(p.echo_boot_id, 0xaaaa);
}

static void our_own_packets_are_not_the_peer(void)
{
	struct replay a;
	struct packet p;

	replay_init(&a, 0xaaaa, 1, 300 * MS);
	p = stamped(&a, 0, 1 * MS);
	CHECK(!replay_counts(replay_check(&a, 0, &p, 2 * MS, &news)));
	p = stamped(&a, 0, 3 * MS);
	CHECK_INT(p.echo_boot_id, 0);
}

static void the_echo_bounds_the_age_and_gives_the_round_trip(void)
{
	struct replay a, b;
	struct packet ping, pong;

	acquaint(&a, &b);
	ping = stamped(&a, 0, 100 * MS);
	replay_check(&b, 0, &ping, 500000 * MS + 3 * MS, &news); /* clocks have nothing in common */
	pong = stamped(&b, 0, 500000 * MS + 23 * MS);
	CHECK_INT(replay_check(&a, 0, &pong, 128 * MS, &news), REPLAY_ACCEPTED);
	CHECK_INT(news.age_ns, 28 * MS);
	CHECK_INT(news.rtt_ns, 8 * MS);
}

static void an_echo_of_long_ago_tells_no_age(void)
{
	struct replay a, b;
	struct packet p;

	acquaint(&a, &b);
	p = stamped(&b, 0, 10 * MS);
	for (unsigned i = 0; i < REPLAY_RING; i++)
		stamped(&a, 0, (20 + i) * MS);
	CHECK_INT(replay_check(&a, 0, &p, 500 * MS, &news), REPLAY_ACCEPTED);
	CHECK(news.age_ns == REPLAY_AGE_UNKNOWN);
}

static void hears_you_is_said_while_it_is_so(void)
{
	struct replay a, b;

	acquaint(&a, &b);
	CHECK(stamped(&b, 0, 4 * MS).flags & PACKET_HEARS_YOU);
	CHECK(!(stamped(&b, 1, 4 * MS).flags & PACKET_HEARS_YOU));
	CHECK(stamped(&b, 0, 303 * MS).flags & PACKET_HEARS_YOU);
	CHECK(!(stamped(&b, 0, 304 * MS).flags & PACKET_HEARS_YOU));
}

static const struct test_case cases[] = {
	TEST(two_fresh_nodes_meet_in_three_packets),
	TEST(two_that_speak_at_once_meet_as_well),
	TEST(a_duplicate_does_not_count),
	TEST(a_late_one_does_not_count),
	TEST(a_restarted_peer_is_recognised_within_two_heartbeats),
	TEST(an_old_boot_never_comes_back),
	TEST(a_forgotten_boot_does_not_come_back_either),
	TEST(a_recording_is_nothing_to_a_fresh_node),
	TEST(a_recording_does_not_count_on_a_path_that_was_silent),
	TEST(recordings_do_not_take_the_echo_from_the_living),
	TEST(our_own_packets_are_not_the_peer),
	TEST(the_echo_bounds_the_age_and_gives_the_round_trip),
	TEST(an_echo_of_long_ago_tells_no_age),
	TEST(hears_you_is_said_while_it_is_so),
};
TESTS_MAIN("replay", cases)
