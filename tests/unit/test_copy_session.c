/*
 * The state copy between two ends of a socket pair on one loop, through real TLS: what arrives,
 * what a cut connection goes on with, and what a peer is refused for.
 */
#include "failover/copy_session.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/rng.h"
#include "shared/units.h"
#include "tests/unit/check.h"

static struct ev_loop *loop;

struct side {
	struct copy_pair pair;
	struct clients *own, *theirs;
	struct states states;
	struct secure_context *secure;
	struct copy_session session;
	unsigned ready, ended, states_heard;
	struct err why;
};
static struct side a, b;

static void on_state(void *ctx, unsigned index)
{
	struct side *s = ctx;

	CHECK(index < s->states.count);
	s->states_heard++;
}

static void on_ready(void *ctx, struct copy_session *session)
{
	(void)session;
	((struct side *)ctx)->ready++;
}

static void on_end(void *ctx, struct copy_session *session, const struct err *why)
{
	struct side *s = ctx;

	(void)session;
	s->ended++;
	s->why = *why;
}

static void on_own(void *ctx, const struct client_key *k, bool there)
{
	journal_add(&((struct side *)ctx)->pair.journal, k, there);
}

static void side_open(struct side *s, uint8_t node, uint8_t peer, const char *secret)
{
	const struct clients_handlers own = {.ctx = s, .on_change = on_own}, theirs = {.ctx = s};
	const struct span secrets[] = {span_of(secret)};
	struct err err;

	memset(s, 0, sizeof(*s));
	s->own = clients_new(&own);
	s->theirs = clients_new(&theirs);
	states_init(&s->states);
	CHECK_TRUE(s->own && s->theirs && journal_init(&s->pair.journal) == 0);
	s->secure = secure_context_new(secrets, 1, &err);
	CHECK_TRUE(s->secure != NULL);
	s->pair.node = node;
	s->pair.peer = peer;
	s->pair.stream = 1000 + node;
	s->pair.own = s->own;
	s->pair.theirs = s->theirs;
	s->pair.states = &s->states;
	s->pair.ctx = s;
	s->pair.on_state = on_state;
}

static void side_close(struct side *s)
{
	clients_free(s->own);
	clients_free(s->theirs);
	states_fini(&s->states);
	journal_fini(&s->pair.journal);
	secure_context_free(s->secure);
}

static void begin(void)
{
	side_open(&a, 1, 2, "a secret of thirty-two characters");
	side_open(&b, 2, 1, "a secret of thirty-two characters");
}

static void end(void)
{
	side_close(&a);
	side_close(&b);
}

static void start(struct side *s, int fd, bool client)
{
	struct secure *tls = secure_new(s->secure, fd, client, 0);

	CHECK_TRUE(tls != NULL);
	s->session = (struct copy_session){
		.pair = &s->pair, .ctx = s, .on_ready = on_ready, .on_end = on_end};
	s->ready = s->ended = 0;
	s->why.text[0] = '\0';
	copy_session_start(&s->session, loop, tls);
}

/* Small buffers, so that everything comes in pieces. */
static void two_ends(int fds[2])
{
	static const int small = 4096;

	CHECK_TRUE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
	for (int i = 0; i < 2; i++)
		(void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
}

static void join(void)
{
	int fds[2];

	two_ends(fds);
	start(&a, fds[0], true);
	start(&b, fds[1], false);
}

static void part(void)
{
	copy_session_fini(&a.session);
	copy_session_fini(&b.session);
}

/* Turns the loop until it holds, at most ten seconds. */
#define until(cond)                                                        \
	({                                                                 \
		uint64_t start_ = monotonic_ns();                          \
		while (!(cond) && monotonic_ns() - start_ < 10 * NS_PER_S) \
			ev_run(loop, EVRUN_NOWAIT);                        \
		(cond);                                                    \
	})

static struct client_key key(unsigned n)
{
	struct client_key k = {.local_port = 80, .remote_port = (uint16_t)(n % 60000 + 1)};

	k.local[0] = 0xfd;
	memcpy(k.remote, &n, sizeof(n));
	return k;
}

static void add(struct side *s, unsigned n)
{
	struct client_key k = key(n);

	if (clients_add(s->own, 0, &k) != 0)
		CU_FAIL_FATAL("no room");
}

static void drop(struct side *s, unsigned n)
{
	struct client_key k = key(n);

	clients_remove(s->own, 0, &k);
}

/* Everybody in one is in the other, and nobody else. */
static bool same(struct clients *x, struct clients *y)
{
	struct clients_cursor at = {0};
	const struct client_key *k;
	uint64_t before = clients_total(y);

	while (clients_next(x, &at, &k))
		if (clients_add(y, 0, k) != 0)
			return false;
	return clients_total(x) == before && clients_total(y) == before;
}

static bool copied(struct side *from, struct side *to)
{
	return to->pair.have_stream == from->pair.stream &&
	       to->pair.have_change == from->pair.journal.last;
}

static void both_lists_arrive_and_follow(void)
{
	begin();
	for (unsigned i = 0; i < 20000; i++)
		add(&a, i);
	for (unsigned i = 0; i < 10; i++)
		add(&b, 100000 + i);
	join();
	CHECK(until(copied(&a, &b) && copied(&b, &a)));
	CHECK(same(a.own, b.theirs) && same(b.own, a.theirs));
	for (unsigned i = 0; i < 5000; i++)
		drop(&a, i);
	for (unsigned i = 20000; i < 30000; i++)
		add(&a, i);
	copy_session_pump(&a.session);
	CHECK(until(copied(&a, &b)));
	CHECK(same(a.own, b.theirs));
	CHECK_INT(clients_total(b.theirs), 25000);
	CHECK(until(a.session.acked == a.pair.journal.last));
	CHECK_INT(a.ended + b.ended, 0);
	part();
	end();
}

static void a_list_that_is_not_known_yet_takes_nothing_away(void)
{
	begin();
	for (unsigned i = 0; i < 100; i++)
		add(&a, i);
	join();
	CHECK(until(copied(&a, &b)));
	part();
	/* Another life of the agent, which knows one client so far. */
	a.pair.stream++;
	a.pair.own_unknown = true;
	clients_clear(a.own, 0);
	add(&a, 7);
	add(&b, 200);
	join();
	CHECK(until(copied(&b, &a)));
	add(&a, 100);
	copy_session_pump(&a.session);
	CHECK(until(clients_total(b.theirs) == 101));
	a.pair.own_unknown = false;
	copy_session_pump(&a.session);
	CHECK(until(copied(&a, &b)));
	CHECK(same(a.own, b.theirs));
	part();
	end();
}

static void changes_go_between_the_shards_of_a_list_that_is_on_its_way(void)
{
	struct rng rng;

	begin();
	rng_seed(&rng, 11);
	for (unsigned i = 0; i < 30000; i++)
		add(&a, i);
	join();
	CHECK(until(a.ready && b.ready));
	for (unsigned i = 0; i < 2000 && !copied(&a, &b); i++) {
		for (unsigned n = 0; n < 20; n++)
			if (rng_below(&rng, 2))
				add(&a, (unsigned)rng_below(&rng, 40000));
			else
				drop(&a, (unsigned)rng_below(&rng, 40000));
		copy_session_pump(&a.session);
		ev_run(loop, EVRUN_NOWAIT);
	}
	CHECK(until(copied(&a, &b)));
	CHECK(same(a.own, b.theirs));
	part();
	end();
}

static void a_cut_connection_goes_on_where_it_was(void)
{
	begin();
	for (unsigned i = 0; i < 5000; i++)
		add(&a, i);
	join();
	CHECK(until(copied(&a, &b)));
	part();
	for (unsigned i = 4000; i < 6000; i++) {
		drop(&a, i);
		add(&a, i + 10000);
	}
	join();
	CHECK(until(copied(&a, &b)));
	CHECK(!a.session.listing && a.session.shard == 0); /* no whole list */
	CHECK(same(a.own, b.theirs));
	part();
	end();
}

static void a_list_that_was_cut_in_the_middle_comes_again_whole(void)
{
	begin();
	for (unsigned i = 0; i < 30000; i++)
		add(&a, i);
	for (unsigned turns = 1; turns < 400; turns += 40) {
		join();
		for (unsigned i = 0; i < turns; i++)
			ev_run(loop, EVRUN_NOWAIT);
		part();
		drop(&a, turns);
	}
	join();
	CHECK(until(copied(&a, &b)));
	CHECK(same(a.own, b.theirs));
	part();
	end();
}

static void more_changes_than_the_journal_holds_are_a_whole_list(void)
{
	begin();
	add(&a, 1);
	join();
	CHECK(until(copied(&a, &b)));
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < JOURNAL_SIZE / 2; i++) {
			add(&a, 1000 + i);
			drop(&a, 1000 + i);
		}
	add(&a, 7);
	copy_session_pump(&a.session);
	CHECK(until(copied(&a, &b)));
	CHECK(same(a.own, b.theirs));
	CHECK_INT(clients_total(b.theirs), 2);
	CHECK_INT(a.session.shard, CLIENTS_SHARDS);
	part();
	end();
}

static void a_peer_that_does_not_read_costs_no_more_than_its_buffer(void)
{
	int fds[2];

	begin();
	for (unsigned i = 0; i < 50000; i++)
		add(&a, i);
	two_ends(fds);
	start(&a, fds[0], true);
	start(&b, fds[1], false);
	CHECK(until(a.ready && b.ready));
	ev_io_stop(loop, &b.session.readable);
	for (unsigned i = 0; i < 1000; i++) {
		add(&a, 100000 + i);
		copy_session_pump(&a.session);
		ev_run(loop, EVRUN_NOWAIT);
		if (a.session.out.len > 2 * COPY_OUT_BUSY_BYTES)
			CU_FAIL_FATAL("it is gathered though nobody reads");
	}
	ev_io_start(loop, &b.session.readable);
	CHECK(until(copied(&a, &b)));
	CHECK(same(a.own, b.theirs));
	part();
	end();
}

static json_t *weather(int value, const char *who)
{
	return json_pack("{s:s, s:{s:i, s:i, s:s}, s:s}", "kind", "weather", "version", "value",
		value, "when", 1, "who", who, "doc", "sunny");
}

static void documents_go_both_ways_and_the_newer_one_stays(void)
{
	json_t *older = weather(1, "lb-a"), *newer = weather(2, "lb-b"),
	       *newest = weather(3, "lb-a");
	unsigned index;
	struct err err;

	begin();
	CHECK_INT(states_put(&a.states, older, &index, &err), STATES_NEWER);
	CHECK_INT(states_put(&b.states, newer, &index, &err), STATES_NEWER);
	join();
	CHECK(until(a.states_heard == 1));
	CHECK_INT(a.states.list[0].value, 2);
	CHECK_INT(b.states_heard, 0);
	CHECK_INT(states_put(&a.states, newest, &index, &err), STATES_NEWER);
	a.session.states_due |= 1;
	copy_session_pump(&a.session);
	CHECK(until(b.states_heard == 1));
	CHECK_INT(b.states.list[0].value, 3);
	CHECK_INT(a.states_heard, 1); /* it does not come back */
	json_decref(older);
	json_decref(newer);
	json_decref(newest);
	part();
	end();
}

static void another_secret_is_refused(void)
{
	side_open(&a, 1, 2, "a secret of thirty-two characters");
	side_open(&b, 2, 1, "another one, of as many characters");
	join();
	CHECK(until(a.ended && b.ended));
	CHECK_INT(a.ready + b.ready, 0);
	CHECK(strstr(a.why.text, "is the secret the same on both nodes?") != NULL);
	part();
	end();
}

static void a_stranger_without_tls_is_refused(void)
{
	static const char words[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	int fds[2];

	begin();
	two_ends(fds);
	start(&b, fds[1], false);
	CHECK(write(fds[0], words, sizeof(words) - 1) == sizeof(words) - 1);
	CHECK(until(b.ended));
	CHECK_INT(b.ready, 0);
	close(fds[0]);
	copy_session_fini(&b.session);
	end();
}

static void another_node_is_refused(void)
{
	side_open(&a, 3, 2, "a secret of thirty-two characters");
	side_open(&b, 2, 1, "a secret of thirty-two characters");
	join();
	CHECK(until(b.ended));
	CHECK(strstr(b.why.text, "says to be node 3") != NULL);
	part();
	end();
}

/* Puts bytes where a's next frame would be. */
static void say(const char *bytes, size_t len)
{
	CHECK(buf_append(&a.session.out, span_make(bytes, len)) == 0);
	ev_io_start(loop, &a.session.writable);
}

static void refused_for(const char *bytes, size_t len, const char *words)
{
	begin();
	join();
	CHECK(until(a.ready && b.ready));
	say(bytes, len);
	CHECK(until(b.ended));
	if (!strstr(b.why.text, words))
		fprintf(stderr, "\nended with '%s', not '%s'\n", b.why.text, words);
	CHECK(strstr(b.why.text, words) != NULL);
	part();
	end();
}

static void nonsense_ends_the_connection(void)
{
	refused_for("\0\0\0\0\1", 5, "length");
	refused_for("\0\1\0\1\1", 5, "length");
	refused_for("\0\0\0\2\2x", 6, "CHANGES");
	refused_for("\0\0\0\2\4x", 6, "LIST");
	refused_for("\0\0\0\1\5", 5, "LIST_END");
	refused_for("\0\0\0\3\6[]", 7, "STATE");
	refused_for("\0\0\0\2\6x", 6, "STATE");
	refused_for("\0\0\0\1\7", 5, "ACK");
	refused_for("\0\0\0\1\1", 5, "HELLO");
}

static void another_version_is_refused_in_words(void)
{
	static const char hello[33] = {0, 0, 0, 29, COPY_HELLO, 0, 2, 1, 2};
	enum secure_rc rc = SECURE_AGAIN;
	struct secure *client;
	struct err err;
	size_t sent;
	int fds[2];

	begin();
	two_ends(fds);
	start(&b, fds[1], false);
	client = secure_new(a.secure, fds[0], true, 0);
	CHECK_TRUE(client != NULL);
	CHECK(until((rc = secure_handshake(client, &err)) != SECURE_AGAIN));
	CHECK_INT(rc, SECURE_OK);
	CHECK_INT(secure_write(client, span_make(hello, sizeof(hello)), &sent, &err), SECURE_OK);
	CHECK(until(b.ended));
	CHECK_TEXT(span_of(b.why.text), "the peer speaks version 2 of the state copy, this node 1");
	CHECK_INT(b.ready, 0);
	secure_free(client);
	copy_session_fini(&b.session);
	end();
}

static void what_is_unknown_is_skipped(void)
{
	begin();
	join();
	CHECK(until(a.ready && b.ready));
	say("\0\0\0\4\x63new", 8);
	add(&a, 1);
	copy_session_pump(&a.session);
	CHECK(until(copied(&a, &b)));
	CHECK_INT(b.ended, 0);
	part();
	end();
}

static void a_silent_peer_is_given_up(void)
{
	uint64_t start_ns = monotonic_ns();
	int fds[2];

	begin();
	two_ends(fds);
	start(&a, fds[0], true); /* nobody answers */
	while (!a.ended && monotonic_ns() - start_ns < 10 * NS_PER_S)
		ev_run(loop, EVRUN_ONCE);
	CHECK_INT(a.ended, 1);
	CHECK(monotonic_ns() - start_ns >= COPY_SILENCE_NS);
	close(fds[1]);
	copy_session_fini(&a.session);
	end();
}

static const struct test_case cases[] = {
	TEST(both_lists_arrive_and_follow),
	TEST(a_list_that_is_not_known_yet_takes_nothing_away),
	TEST(changes_go_between_the_shards_of_a_list_that_is_on_its_way),
	TEST(a_cut_connection_goes_on_where_it_was),
	TEST(a_list_that_was_cut_in_the_middle_comes_again_whole),
	TEST(more_changes_than_the_journal_holds_are_a_whole_list),
	TEST(a_peer_that_does_not_read_costs_no_more_than_its_buffer),
	TEST(documents_go_both_ways_and_the_newer_one_stays),
	TEST(another_secret_is_refused),
	TEST(a_stranger_without_tls_is_refused),
	TEST(another_node_is_refused),
	TEST(nonsense_ends_the_connection),
	TEST(another_version_is_refused_in_words),
	TEST(what_is_unknown_is_skipped),
	TEST(a_silent_peer_is_given_up),
};

int main(void)
{
	loop = ev_loop_new(EVFLAG_NOENV);
	return loop ? tests_run("copy_session", cases, sizeof(cases) / sizeof(*cases)) : 99;
}
