/*
 * A worker's deadlines, on a loop that the test turns.
 */
#include "proxy/worker.h"

#include <unistd.h>

#include "shared/units.h"
#include "tests/unit/check.h"

#define COUNT (3 * WORKER_DUE_MAX + 1)

struct timed {
	struct conn conn;
	unsigned met;
	bool freed;
};

static struct timed all[COUNT];
static unsigned met;

static void on_deadline(struct conn *c)
{
	struct timed *t = container_of(c, struct timed, conn);

	t->met++;
	met++;
	conn_close(c);
}

static void on_free(struct conn *c)
{
	container_of(c, struct timed, conn)->freed = true;
}

static const struct conn_handler handler = {.on_deadline = on_deadline, .free = on_free};

static void nothing(void *ctx)
{
	(void)ctx;
}

static struct worker *start(void)
{
	struct err err;
	struct worker *w = worker_new(0, nothing, NULL, &err);

	CHECK_TRUE(w != NULL);
	met = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		all[i] = (struct timed){0};
		conn_init(&all[i].conn, w, &handler, -1);
		conn_deadline(&all[i].conn, NS_PER_MS);
	}
	return w;
}

/* Until the first are met. */
static void wait_for_first(struct worker *w)
{
	for (unsigned i = 0; i < 5000 && !met; i++) {
		usleep(1000);
		ev_run(w->loop, EVRUN_NOWAIT);
	}
	CHECK_INT(met, WORKER_DUE_MAX);
}

static void who_runs_out_of_time_together_is_closed_over_several_turns(void)
{
	struct worker *w = start();

	wait_for_first(w);
	ev_run(w->loop, EVRUN_NOWAIT);
	CHECK_INT(met, 2 * WORKER_DUE_MAX);
	ev_run(w->loop, EVRUN_NOWAIT);
	ev_run(w->loop, EVRUN_NOWAIT);
	CHECK_INT(met, COUNT);
	CHECK(!ev_is_active(&w->overdue));
	ev_run(w->loop, EVRUN_NOWAIT);
	for (unsigned i = 0; i < COUNT; i++)
		CHECK(all[i].met == 1 && all[i].freed);
	worker_free(w);
}

static void who_is_closed_or_gets_more_time_before_its_turn_is_left_alone(void)
{
	struct worker *w = start();
	struct timed *closed = NULL, *spared = NULL;

	wait_for_first(w);
	for (unsigned i = 0; i < COUNT; i++) {
		if (all[i].met)
			continue;
		if (!closed)
			closed = &all[i];
		else
			spared = &all[i];
	}
	CHECK_TRUE(closed && spared);
	conn_close(&closed->conn);
	conn_deadline(&spared->conn, 1000 * NS_PER_S);
	for (unsigned i = 0; i < 5; i++)
		ev_run(w->loop, EVRUN_NOWAIT);
	CHECK_INT(met, COUNT - 2);
	CHECK(closed->freed && !closed->met && !spared->met && !spared->conn.closing);
	conn_close(&spared->conn);
	ev_run(w->loop, EVRUN_NOWAIT);
	worker_free(w);
}

static const struct test_case cases[] = {
	TEST(who_runs_out_of_time_together_is_closed_over_several_turns),
	TEST(who_is_closed_or_gets_more_time_before_its_turn_is_left_alone),
};

TESTS_MAIN("worker", cases)
