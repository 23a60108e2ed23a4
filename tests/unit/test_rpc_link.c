/*
 * The link that reopens by itself, against the real server on the same loop.
 */
#include "tests/unit/rpc_bench.h"

struct seen {
	struct rpc_link *link;
	unsigned opened, closed, notified;
	char method[32];
};

static void on_open(void *ctx)
{
	struct seen *s = ctx;

	s->opened++;
	CHECK_INT(rpc_link_notify(s->link, "say", json_pack("{s:s}", "text", "hello")), 0);
}

static void on_closed(void *ctx)
{
	((struct seen *)ctx)->closed++;
}

static void on_notify(void *ctx, const char *method, const json_t *params)
{
	struct seen *s = ctx;

	s->notified++;
	snprintf(s->method, sizeof(s->method), "%s", method);
	CHECK_TEXT(span_of(json_string_value(json_object_get(params, "role"))), "active");
}

static void link_open(struct bench *b, struct seen *s)
{
	const struct rpc_link_options o = {.path = b->path,
		.ctx = s,
		.on_open = on_open,
		.on_closed = on_closed,
		.on_notify = on_notify};
	struct err err;

	memset(s, 0, sizeof(*s));
	s->link = rpc_link_new(b->loop, &o, &err);
	CHECK_TRUE(s->link != NULL);
	CHECK_INT(s->opened, 0); /* from the loop, not from within new */
}

static void the_link_opens_speaks_and_hears(void)
{
	struct bench b;
	struct seen s;

	bench_open(&b);
	link_open(&b, &s);
	CHECK(bench_until(&b, strcmp(b.said, "hello") == 0));
	CHECK_INT(rpc_notify(b.server, b.last.id, "role", json_pack("{s:s}", "role", "active")), 0);
	CHECK(bench_until(&b, s.notified == 1));
	CHECK_TEXT(span_of(s.method), "role");
	rpc_link_free(s.link);
	CHECK(bench_until(&b, b.closed == 1));
	CHECK_INT(s.closed, 0);
	bench_shut(&b);
}

static void the_link_reopens_after_the_server_restarts(void)
{
	struct bench b;
	struct seen s;
	struct err err;
	uint64_t gone_ns;

	bench_open(&b);
	link_open(&b, &s);
	CHECK(bench_until(&b, strcmp(b.said, "hello") == 0));
	rpc_server_free(b.server);
	CHECK(bench_until(&b, s.closed == 1));
	gone_ns = monotonic_ns();
	CHECK_INT(rpc_link_notify(s.link, "say", json_object()), -1);
	CHECK_INT(rpc_link_lost(s.link), 1);
	/* Two attempts fail meanwhile. */
	CHECK(bench_until(&b, monotonic_ns() - gone_ns > 250 * NS_PER_MS));
	CHECK_INT(s.opened, 1);
	b.said[0] = '\0';
	b.server = bench_serve(&b, &err);
	CHECK_TRUE(b.server != NULL);
	CHECK(bench_until(&b, strcmp(b.said, "hello") == 0));
	CHECK_INT(s.opened, 2);
	CHECK_INT(s.closed, 1);
	rpc_link_free(s.link);
	bench_shut(&b);
}

static void a_server_that_does_not_read_costs_messages_not_memory(void)
{
	struct bench b;
	struct seen s;
	unsigned lost = 0;

	bench_open(&b);
	link_open(&b, &s);
	CHECK(bench_until(&b, s.opened == 1));
	for (unsigned i = 0; i < 20000 && !lost;
		i++) /* the server's loop does not turn meanwhile */
		if (rpc_link_notify(s.link, "say",
			    json_pack("{s:s}", "text",
				    "0123456789012345678901234567890123456789")) < 0)
			lost++;
	CHECK_INT(lost, 1);
	CHECK_INT(rpc_link_lost(s.link), 1);
	/* It reads again: what was accepted arrives, and the link never broke. */
	CHECK(bench_until(
		&b, rpc_link_notify(s.link, "say", json_pack("{s:s}", "text", "last")) == 0));
	CHECK(bench_until(&b, strcmp(b.said, "last") == 0));
	CHECK_INT(s.closed, 0);
	rpc_link_free(s.link);
	bench_shut(&b);
}

static void a_link_to_nothing_keeps_trying_and_frees_cleanly(void)
{
	struct bench b;
	struct seen s;
	struct err err;

	bench_open(&b);
	rpc_server_free(b.server);
	link_open(&b, &s);
	for (unsigned turn = 0; turn < 20; turn++)
		ev_run(b.loop, EVRUN_NOWAIT);
	CHECK_INT(s.opened, 0);
	rpc_link_free(s.link);
	b.server = bench_serve(&b, &err);
	CHECK_TRUE(b.server != NULL);
	bench_shut(&b);
}

static const struct test_case cases[] = {
	TEST(the_link_opens_speaks_and_hears),
	TEST(the_link_reopens_after_the_server_restarts),
	TEST(a_server_that_does_not_read_costs_messages_not_memory),
	TEST(a_link_to_nothing_keeps_trying_and_frees_cleanly),
};
TESTS_MAIN("rpc_link", cases)
