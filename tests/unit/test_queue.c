/*
 * The line of a pool: who gets a slot that becomes free, and that none is ever lost.
 */
#include "proxy/pool/queue.h"

#include <sched.h>
#include <stdlib.h>

#include "proxy/pool/sticky.h"
#include "shared/assert.h"
#include "shared/units.h"
#include "tests/unit/check.h"

static struct server_table *table;
static struct conf_report *report;
static struct settings *settings;
static struct member_set *set;
static const struct pool *pool;
static struct pool_view *view;
static struct pool_queue *queue;
static struct rng rng;

static void begin(const char *text)
{
	struct conf *conf;

	table = server_table_new();
	report = conf_report_new();
	CHECK_TRUE(table && report);
	conf = conf_load_text("tandem.yaml", span_of(text), report);
	CHECK_TRUE(conf != NULL);
	settings = settings_build(conf, report, table, 1, NULL);
	CHECK_TRUE(settings != NULL);
	pool = &settings->pools[0];
	set = member_set_new(pool->members, pool->member_count);
	CHECK_TRUE(set != NULL);
	view = pool_view_new(pool, set);
	CHECK_TRUE(view != NULL);
	queue = &pool->state->queue;
	rng_seed(&rng, 1);
}

static void done(void)
{
	CHECK_INT(queue_length(queue), 0);
	for (unsigned i = 0; i < pool->member_count; i++) {
		CHECK_INT(atomic_load(&pool->members[i].server->queued), 0);
		CHECK_INT(atomic_load(&pool->members[i].server->in_flight), 0);
	}
	pool_view_unref(view);
	member_set_unref(set);
	settings_unref(settings);
	server_table_free(table);
	conf_report_free(report);
}

static void new_view(void)
{
	pool_view_unref(view);
	view = pool_view_new(pool, set);
	CHECK_TRUE(view != NULL);
}

#define POOL(limits, servers) "pools: {web: {limits: {" limits "}, servers: {" servers "}}}\n"
#define ONE "s0: \"10.0.0.1:80\""
#define TWO ONE ", s1: \"10.0.0.2:80\""

struct customer {
	struct waiter waiter;
	unsigned granted; /* times that it was told */
};

static void on_granted(struct waiter *w)
{
	container_of(w, struct customer, waiter)->granted++;
}

static struct pick any(void)
{
	return (struct pick){.rng = &rng, .now_ns = 1};
}

static struct server *take(void)
{
	struct pick what = any();

	return pool_take(view, &what);
}

static uint64_t now_ns = 1, queued_ns;
static unsigned priority;

static bool enter_after(struct customer *c, struct server *const *tried, unsigned tried_count)
{
	struct pick what = any();

	what.now_ns = now_ns;
	*c = (struct customer){.waiter = {.on_granted = on_granted,
				       .pool = pool,
				       .queued_ns = queued_ns,
				       .priority = priority,
				       .tried = tried,
				       .tried_count = tried_count,
				       .returns = tried_count > 0}};
	list_init(&c->waiter.link);
	what.tried = tried;
	what.tried_count = tried_count;
	return queue_enter(queue, &c->waiter, view, &what);
}

static bool enter(struct customer *c)
{
	return enter_after(c, NULL, 0);
}

static void a_server_gets_no_more_than_its_limit(void)
{
	struct server *taken[4];

	begin(POOL("connections_per_server: 2", TWO));
	for (unsigned i = 0; i < 4; i++) {
		taken[i] = take();
		CHECK_TRUE(taken[i] != NULL);
	}
	CHECK(take() == NULL);
	for (unsigned i = 0; i < 2; i++)
		CHECK_INT(atomic_load(&pool->members[i].server->in_flight), 2);
	for (unsigned i = 0; i < 4; i++)
		pool_release(view, taken[i]);
	done();
}

/* Enters with this priority at this time, and says who was there. */
static void enter_as(struct customer *c, unsigned with, uint64_t at_ns)
{
	priority = with;
	now_ns = at_ns;
	CHECK(enter(c));
	priority = 0;
	now_ns = 1;
}

/* The slot goes from hand to hand: who had it, as letters. */
static void hand_on(struct server *s, struct customer *c, unsigned count, const char *expected)
{
	char seen[16] = "";

	for (unsigned turn = 0; turn < count; turn++) {
		pool_release(view, s);
		for (unsigned i = 0; i < count; i++)
			if (c[i].granted == 1) {
				c[i].granted++;
				seen[turn] = (char)('a' + i);
			}
	}
	CHECK_TEXT(span_of(seen), expected);
	pool_release(view, s);
}

static void the_highest_priority_goes_first_and_among_equals_who_came_first(void)
{
	struct customer c[5];
	struct server *s;

	begin(POOL("connections_per_server: 1", ONE));
	s = take();
	enter_as(&c[0], 2, 10);
	enter_as(&c[1], 5, 20);
	enter_as(&c[2], 9, 30);
	enter_as(&c[3], 5, 40);
	enter_as(&c[4], 0, 50);
	hand_on(s, c, 5, "cbdae");
	done();
}

static void a_step_of_priority_is_worth_a_second_of_waiting_and_no_more(void)
{
	struct customer c[4];
	struct server *s;

	begin(POOL("connections_per_server: 1", ONE));
	s = take();
	enter_as(&c[0], 2, 1 * NS_PER_S);
	enter_as(&c[1], 5, 4 * NS_PER_S - 1); /* just in time to go before a */
	enter_as(&c[2], 5, 4 * NS_PER_S + 1);
	enter_as(&c[3], 9, 9 * NS_PER_S);
	hand_on(s, c, 4, "bacd");
	done();
}

static void who_returns_goes_before_every_priority(void)
{
	struct customer c[2];
	struct server *s, *other;

	begin(POOL("connections_per_server: 1", TWO));
	s = take();
	other = take();
	enter_as(&c[0], 9, 1);
	CHECK(enter_after(&c[1], &other, 1));
	hand_on(s, c, 2, "ba");
	pool_release(view, other);
	done();
}

static void a_free_slot_goes_to_the_longest_waiting_and_stays_counted(void)
{
	struct customer c[3];
	struct server *s;

	begin(POOL("connections_per_server: 1", ONE));
	s = take();
	for (unsigned i = 0; i < 3; i++)
		CHECK(enter(&c[i]));
	CHECK_INT(queue_length(queue), 3);
	CHECK_INT(atomic_load(&s->queued), 3);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_INT(c[i].granted, 0);
		pool_release(view, s);
		CHECK_INT(c[i].granted, 1);
		CHECK(c[i].waiter.server == s);
		CHECK_INT(atomic_load(&s->in_flight), 1);
	}
	pool_release(view, s);
	done();
}

#define STICKY_TWO                                                                  \
	"pools: {web: {limits: {connections_per_server: 1}, sticky: {cookie: lb}, " \
	"servers: {" TWO "}}}\n"

/* A user of this server joins the line. */
static bool enter_bound(struct customer *c, const struct server *s)
{
	struct pick what = any();

	*c = (struct customer){.waiter = {.on_granted = on_granted, .pool = pool}};
	list_init(&c->waiter.link);
	what.sticky = sticky_value(pool->sticky.key, s);
	return queue_enter(queue, &c->waiter, view, &what);
}

static void a_user_waits_for_his_own_server_and_others_go_past_him(void)
{
	struct server *s0, *s1, *s;
	struct customer user, other;

	begin(STICKY_TWO);
	s0 = pool->members[0].server;
	s1 = pool->members[1].server;
	CHECK(take() && take());
	CHECK(enter_bound(&user, s0));
	CHECK_INT(queue_unbound(queue), 0);
	CHECK(enter(&other));
	CHECK_INT(queue_unbound(queue), 1);
	pool_release(view, s1);
	CHECK_INT(user.granted, 0);
	CHECK(other.granted == 1 && other.waiter.server == s1);
	pool_release(view, s1); /* nobody waits for it: it is free */
	CHECK_INT(atomic_load(&s1->in_flight), 0);
	s = take();
	CHECK(s == s1);
	pool_release(view, s0);
	CHECK(user.granted == 1 && user.waiter.server == s0);
	CHECK_INT(queue_unbound(queue), 0);
	pool_release(view, s0);
	pool_release(view, s1);
	done();
}

static void a_user_whose_server_goes_down_takes_any_other(void)
{
	struct customer user, late;
	const struct pick what = any();

	begin(STICKY_TWO);
	CHECK(take() && take());
	CHECK(enter_bound(&user, pool->members[0].server));
	CHECK(enter_bound(&late, pool->members[0].server));
	atomic_store(&pool->members[0].server->usable, false);
	new_view();
	queue_serve(queue, view, &what);
	CHECK_INT(user.granted, 0); /* the other one is full */
	CHECK_INT(queue_unbound(queue), 2);
	pool_release(view, pool->members[1].server);
	CHECK(user.granted == 1 && user.waiter.server == pool->members[1].server);
	atomic_store(&pool->members[0].server->usable, true);
	new_view();
	queue_serve(queue, view, &what);
	CHECK_INT(late.granted, 0); /* he is waiting for his server again, which is full */
	CHECK_INT(queue_unbound(queue), 0);
	pool_release(view, pool->members[1].server);
	CHECK_INT(late.granted, 0);
	pool_release(view, pool->members[0].server);
	CHECK(late.granted == 1 && late.waiter.server == pool->members[0].server);
	pool_release(view, pool->members[0].server);
	done();
}

static void who_is_told_to_ask_anew_keeps_the_place_and_the_time(void)
{
	struct customer c[4];
	struct server *s;

	begin(POOL("connections_per_server: 1", ONE));
	s = take();
	for (unsigned i = 0; i < 3; i++) {
		now_ns = 100 + 100 * i;
		CHECK(enter(&c[i]));
	}
	now_ns = 500;
	queued_ns = 350; /* it came between the first and the second */
	CHECK(enter(&c[3]));
	CHECK_INT(c[3].waiter.since_ns, 150);
	now_ns = 1;
	queued_ns = 0;
	for (unsigned i = 0; i < 4; i++) {
		static const unsigned order[] = {0, 3, 1, 2};

		pool_release(view, s);
		CHECK(c[order[i]].waiter.server == s);
	}
	pool_release(view, s);
	done();
}

static void a_slot_that_became_free_before_the_line_was_joined_is_not_missed(void)
{
	struct customer c;

	begin(POOL("connections_per_server: 1", ONE));
	CHECK(enter(&c));
	CHECK_INT(c.granted, 1);
	pool_release(view, c.waiter.server);
	done();
}

static void the_line_has_an_end(void)
{
	struct customer c[3];
	struct server *s, *tried[1];

	begin(POOL("connections_per_server: 1, queue: 2", TWO));
	s = take();
	tried[0] = take();
	CHECK(enter(&c[0]) && enter(&c[1]));
	CHECK(!enter(&c[2]));
	CHECK(enter_after(&c[2], tried, 1)); /* but for one that had a server already */
	pool_release(view, s);
	CHECK_INT(c[2].granted, 1); /* and that is the first */
	CHECK(!queue_leave(queue, &c[0].waiter));
	CHECK(!queue_leave(queue, &c[1].waiter));
	pool_release(view, tried[0]);
	pool_release(view, s);
	done();
}

static void who_leaves_is_passed_over_and_gives_back_what_it_was_granted(void)
{
	struct customer c[2];
	struct server *s;

	begin(POOL("connections_per_server: 1", ONE));
	s = take();
	CHECK(enter(&c[0]) && enter(&c[1]));
	CHECK(!queue_leave(queue, &c[0].waiter));
	pool_release(view, s);
	CHECK_INT(c[0].granted, 0);
	CHECK_INT(c[1].granted, 1);
	CHECK(queue_leave(queue, &c[1].waiter));
	pool_release(view, c[1].waiter.server);
	done();
}

static void nobody_gets_a_server_that_it_failed_at_and_none_waits_behind_it(void)
{
	struct server *a, *b;
	struct customer c[2];

	begin(POOL("connections_per_server: 1", TWO));
	a = take();
	b = take();
	CHECK(enter_after(&c[0], &a, 1));
	CHECK(enter(&c[1]));
	pool_release(view, a);
	CHECK_INT(c[0].granted, 0);
	CHECK_INT(c[1].granted, 1);
	CHECK(c[1].waiter.server == a);
	pool_release(view, b);
	CHECK(c[0].waiter.server == b);
	pool_release(view, a);
	pool_release(view, b);
	done();
}

static void a_server_that_is_out_gets_nobody_and_one_that_comes_back_serves(void)
{
	struct server *a, *b;
	struct customer c[2];
	struct pick what = any();

	begin(POOL("connections_per_server: 1", TWO));
	a = take();
	b = take();
	CHECK(enter(&c[0]) && enter(&c[1]));
	atomic_store(&a->usable, false);
	new_view();
	pool_release(view, a);
	CHECK_INT(queue_length(queue), 2);
	pool_release(view, b); /* those who would rather be at a go to b */
	CHECK(c[0].waiter.server == b);
	atomic_store(&a->usable, true);
	new_view();
	queue_serve(queue, view, &what);
	CHECK(c[1].waiter.server == a);
	pool_release(view, a);
	pool_release(view, b);
	done();
}

static void a_backup_gets_nobody_of_the_line_once_others_serve_again(void)
{
	struct server *backup, *s;
	struct customer c;

	begin(POOL(
		"connections_per_server: 1", ONE ", s1: {address: \"10.0.0.2:80\", backup: true}"));
	atomic_store(&pool->members[0].server->usable, false);
	new_view();
	backup = take();
	CHECK(backup == pool->members[1].server);
	atomic_store(&pool->members[0].server->usable, true);
	new_view();
	s = take();
	CHECK(s == pool->members[0].server);
	CHECK(enter(&c));
	pool_release(view, backup);
	CHECK_INT(c.granted, 0);
	pool_release(view, s);
	CHECK(c.waiter.server == s);
	pool_release(view, s);
	done();
}

static void with_nobody_left_all_are_told_to_ask_anew(void)
{
	struct customer c[2];
	struct pick what = any();
	struct server *s;

	begin(POOL("connections_per_server: 1", ONE));
	s = take();
	CHECK(enter(&c[0]) && enter(&c[1]));
	atomic_store(&s->usable, false);
	atomic_store(&s->refused, true);
	new_view();
	CHECK_INT(view->count, 0);
	queue_serve(queue, view, &what);
	for (unsigned i = 0; i < 2; i++) {
		CHECK_INT(c[i].granted, 1);
		CHECK(c[i].waiter.server == NULL);
	}
	pool_release(view, s);
	done();
}

/* --- many threads -------------------------------------------------------------------------------
 */

enum { THREADS = 4, ROUNDS = 20000, LIMIT = 2 };

struct busy {
	struct waiter waiter;
	_Atomic unsigned granted;
	unsigned waited;
	bool leaves; /* does not always wait for the grant */
	uint64_t seed;
};

static _Atomic unsigned over_limit;

static void on_busy_granted(struct waiter *w)
{
	atomic_store(&container_of(w, struct busy, waiter)->granted, 1);
}

static void use(struct server *s)
{
	if (atomic_load(&s->in_flight) > LIMIT)
		atomic_fetch_add(&over_limit, 1);
}

static struct server *wait_for_one(struct busy *b, struct pick *what)
{
	b->waiter = (struct waiter){.on_granted = on_busy_granted, .pool = pool};
	list_init(&b->waiter.link);
	atomic_store(&b->granted, 0);
	if (!queue_enter(queue, &b->waiter, view, what))
		return NULL;
	b->waited++;
	if (b->leaves && rng_below(what->rng, 2) == 0)
		return queue_leave(queue, &b->waiter) ? b->waiter.server : NULL;
	while (!atomic_load(&b->granted))
		sched_yield();
	return b->waiter.server;
}

static void *work(void *arg)
{
	struct busy *b = arg;
	struct rng own;
	struct pick what = {.rng = &own, .now_ns = 1};

	rng_seed(&own, b->seed);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct server *s = queue_length(queue) ? NULL : pool_take(view, &what);

		if (!s)
			s = wait_for_one(b, &what);
		if (!s)
			continue;
		use(s);
		if (rng_below(&own, 4) == 0)
			sched_yield(); /* others find it full */
		pool_release(view, s);
	}
	return NULL;
}

/* A slot that was lost would leave a thread waiting for ever. */
static void no_slot_is_lost_or_given_twice_between_threads(void)
{
	static struct busy workers[2 * THREADS];
	pthread_t threads[2 * THREADS];
	unsigned waited = 0;

	begin(POOL("connections_per_server: 2", TWO));
	for (unsigned t = 0; t < 2 * THREADS; t++) {
		workers[t] = (struct busy){.seed = t, .leaves = t % 2};
		CHECK_TRUE(pthread_create(&threads[t], NULL, work, &workers[t]) == 0);
	}
	for (unsigned t = 0; t < 2 * THREADS; t++) {
		pthread_join(threads[t], NULL);
		waited += workers[t].waited;
	}
	CHECK_INT(atomic_load(&over_limit), 0);
	CHECK(waited > 0);
	done();
}

static const struct test_case cases[] = {
	TEST(the_highest_priority_goes_first_and_among_equals_who_came_first),
	TEST(a_step_of_priority_is_worth_a_second_of_waiting_and_no_more),
	TEST(who_returns_goes_before_every_priority),
	TEST(a_server_gets_no_more_than_its_limit),
	TEST(a_free_slot_goes_to_the_longest_waiting_and_stays_counted),
	TEST(a_user_waits_for_his_own_server_and_others_go_past_him),
	TEST(a_user_whose_server_goes_down_takes_any_other),
	TEST(who_is_told_to_ask_anew_keeps_the_place_and_the_time),
	TEST(a_slot_that_became_free_before_the_line_was_joined_is_not_missed),
	TEST(the_line_has_an_end),
	TEST(who_leaves_is_passed_over_and_gives_back_what_it_was_granted),
	TEST(nobody_gets_a_server_that_it_failed_at_and_none_waits_behind_it),
	TEST(a_server_that_is_out_gets_nobody_and_one_that_comes_back_serves),
	TEST(a_backup_gets_nobody_of_the_line_once_others_serve_again),
	TEST(with_nobody_left_all_are_told_to_ask_anew),
	TEST(no_slot_is_lost_or_given_twice_between_threads),
};

TESTS_MAIN("queue", cases)
