/*
 * The proxy's link to the agent, with a stand-in for the agent on the same loop.
 */
#include "config.h"

#include "proxy/failover_link.h"
#include "tests/unit/rpc_bench.h"

struct agent {
	struct bench bench; /* for its directory and loop */
	struct rpc_server *server;
	uint64_t caller;
	unsigned hellos, beats, stoppings, roles;
	json_int_t last_seq, connections, every_ms;
	json_t *hello, *other;
	unsigned vips, states;
	bool open, sunny;
	bool alive;
	enum failover_role from, to;
};

static int on_hello(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;

	(void)err;
	a->hellos++;
	a->caller = who->id;
	json_decref(a->hello);
	a->hello = json_deep_copy(params);
	*ret_result = json_null();
	return 0;
}

static int on_beat(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;

	(void)who;
	(void)err;
	a->beats++;
	a->last_seq = json_integer_value(json_object_get(params, "seq"));
	a->connections = json_integer_value(json_object_get(params, "connections"));
	a->every_ms = json_integer_value(json_object_get(params, "every_ms"));
	*ret_result = json_null();
	return 0;
}

static int on_stopping(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	(void)who;
	(void)params;
	(void)err;
	((struct agent *)ctx)->stoppings++;
	*ret_result = json_null();
	return 0;
}

/* proxy.clients and proxy.state: keeps what came. */
static int on_other(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;

	(void)who;
	(void)err;
	json_decref(a->other);
	a->other = json_deep_copy(params);
	*ret_result = json_null();
	return 0;
}

static const struct rpc_method methods[] = {
	{"proxy.hello", on_hello},
	{"proxy.beat", on_beat},
	{"proxy.stopping", on_stopping},
	{"proxy.clients", on_other},
	{"proxy.state", on_other},
	{NULL, NULL},
};

static void agent_serve(struct agent *a)
{
	const struct rpc_server_options o = {.path = a->bench.path, .methods = methods, .ctx = a};
	struct err err;

	a->server = rpc_server_new(a->bench.loop, &o, &err);
	CHECK_TRUE(a->server != NULL);
}

static bool alive(void *ctx)
{
	return ((struct agent *)ctx)->alive;
}

static uint64_t connections(void *ctx)
{
	(void)ctx;
	return 120;
}

static void on_vips(void *ctx, bool open)
{
	struct agent *a = ctx;

	a->vips++;
	a->open = open;
}

static void on_state(
	void *ctx, const char *kind, const struct failover_version *version, const json_t *doc)
{
	struct agent *a = ctx;

	CHECK_TEXT(span_of(kind), "weather");
	CHECK_TEXT(span_of(version->who), "lb-a:ann");
	CHECK_INT(version->value, 7);
	CHECK_INT(version->when_ms, 1234567890123);
	a->sunny = json_is_true(json_object_get(doc, "sunny"));
	a->states++;
}

static void on_role(void *ctx, enum failover_role from, enum failover_role to)
{
	struct agent *a = ctx;

	a->roles++;
	a->from = from;
	a->to = to;
}

static struct failover_link *agent_open(struct agent *a)
{
	const struct failover_link_options o = {.ctx = a,
		.alive = alive,
		.connections = connections,
		.on_role = on_role,
		.on_vips = on_vips,
		.on_state = on_state};
	struct failover_link *l;
	struct err err;

	memset(a, 0, sizeof(*a));
	bench_open(&a->bench);
	rpc_server_free(a->bench.server);
	snprintf(a->bench.path, sizeof(a->bench.path), "%s/failover.sock", a->bench.dir);
	agent_serve(a);
	a->bench.server = a->server; /* bench_shut frees what serves at the end */
	a->alive = true;
	l = failover_link_new(a->bench.loop, a->bench.dir, &o, &err);
	CHECK_TRUE(l != NULL);
	return l;
}

static void agent_shut(struct agent *a, struct failover_link *l)
{
	failover_link_free(l);
	json_decref(a->hello);
	json_decref(a->other);
	a->bench.server = a->server;
	bench_shut(&a->bench);
}

static void hello_comes_first_and_beats_follow(void)
{
	struct agent a;
	struct failover_link *l = agent_open(&a);
	uint64_t start_ns = monotonic_ns();

	CHECK(bench_until(&a.bench, a.hellos == 1));
	CHECK_INT(json_integer_value(json_object_get(a.hello, "pid")), getpid());
	CHECK_TEXT(
		span_of(json_string_value(json_object_get(a.hello, "version"))), PACKAGE_VERSION);
	CHECK(bench_until(&a.bench, a.beats == 5));
	CHECK(monotonic_ns() - start_ns > 200 * NS_PER_MS);
	CHECK_INT(a.last_seq, 5);
	CHECK_INT(a.connections, 120);
	agent_shut(&a, l);
}

static void want_beats(struct agent *a, int every_ms)
{
	rpc_notify(a->server, a->caller, "role",
		json_pack("{s:s, s:i}", "role", "active", "beat_ms", every_ms));
}

static void it_beats_as_often_as_the_agent_wants_and_says_so(void)
{
	struct agent a;
	struct failover_link *l = agent_open(&a);
	uint64_t start_ns;

	CHECK(bench_until(&a.bench, a.beats >= 1));
	CHECK_INT(a.every_ms, 50);
	want_beats(&a, 20);
	CHECK(bench_until(&a.bench, a.every_ms == 20));
	want_beats(&a, 0); /* nonsense: as before */
	want_beats(&a, 9);
	want_beats(&a, 1001);
	a.beats = 0;
	start_ns = monotonic_ns();
	CHECK(bench_until(&a.bench, a.beats >= 6));
	CHECK(monotonic_ns() - start_ns > 60 * NS_PER_MS); /* one may have been on its way */
	CHECK_INT(a.every_ms, 20);
	/* What keeps the loop is announced. */
	failover_link_busy(l);
	CHECK(bench_until(&a.bench, a.every_ms == 200));
	CHECK(bench_until(&a.bench, a.every_ms == 20));
	/* The next agent is another one, and has not said anything. */
	rpc_server_free(a.server);
	CHECK(bench_until(&a.bench, failover_link_role(l) == FAILOVER_SINGLE));
	agent_serve(&a);
	a.beats = 0;
	CHECK(bench_until(&a.bench, a.beats >= 1));
	CHECK_INT(a.every_ms, 50);
	agent_shut(&a, l);
}

static void a_loop_that_hangs_stops_the_beats_without_a_hole_in_their_numbers(void)
{
	struct agent a;
	struct failover_link *l = agent_open(&a);
	uint64_t start_ns;

	CHECK(bench_until(&a.bench, a.beats == 2));
	a.alive = false;
	start_ns = monotonic_ns();
	bench_until(&a.bench, monotonic_ns() - start_ns > 200 * NS_PER_MS);
	CHECK_INT(a.beats, 2);
	a.alive = true;
	CHECK(bench_until(&a.bench, a.beats == 3));
	CHECK_INT(a.last_seq, 3);
	agent_shut(&a, l);
}

static void the_agents_word_is_the_role(void)
{
	struct agent a;
	struct failover_link *l = agent_open(&a);

	CHECK_INT(failover_link_role(l), FAILOVER_SINGLE);
	CHECK(bench_until(&a.bench, a.hellos == 1));
	CHECK_INT(rpc_notify(a.server, a.caller, "role",
			  json_pack("{s:s, s:{s:s}}", "role", "active", "groups", "web", "ACTIVE")),
		0);
	CHECK(bench_until(&a.bench, a.roles == 1));
	CHECK_INT(a.from, FAILOVER_SINGLE);
	CHECK_INT(a.to, FAILOVER_ACTIVE);
	CHECK_INT(failover_link_role(l), FAILOVER_ACTIVE);
	CHECK_TEXT(span_of(json_string_value(json_object_get(failover_link_groups(l), "web"))),
		"ACTIVE");
	/* The same again, a role that is none, another message: no change. */
	rpc_notify(a.server, a.caller, "role", json_pack("{s:s}", "role", "active"));
	rpc_notify(a.server, a.caller, "role", json_pack("{s:s}", "role", "king"));
	rpc_notify(a.server, a.caller, "weather", json_pack("{s:s}", "role", "standby"));
	rpc_notify(a.server, a.caller, "role", json_pack("{s:s}", "role", "standby"));
	CHECK(bench_until(&a.bench, failover_link_role(l) == FAILOVER_STANDBY));
	CHECK_INT(a.roles, 2);
	CHECK(failover_link_groups(l) == NULL);
	agent_shut(&a, l);
}

static void without_an_agent_the_role_is_single_and_a_new_one_is_greeted(void)
{
	struct agent a;
	struct failover_link *l = agent_open(&a);

	CHECK(bench_until(&a.bench, a.beats >= 2));
	rpc_notify(a.server, a.caller, "role", json_pack("{s:s}", "role", "active"));
	CHECK(bench_until(&a.bench, failover_link_role(l) == FAILOVER_ACTIVE));
	failover_link_stopping(l);
	CHECK(bench_until(&a.bench, a.stoppings == 1));
	rpc_server_free(a.server);
	CHECK(bench_until(&a.bench, failover_link_role(l) == FAILOVER_SINGLE));
	CHECK_INT(a.roles, 2);
	agent_serve(&a);
	CHECK(bench_until(&a.bench, a.hellos == 2));
	CHECK(bench_until(&a.bench, a.stoppings == 2)); /* the new one must know too */
	a.beats = 0;
	CHECK(bench_until(&a.bench, a.beats == 1));
	CHECK_INT(a.last_seq, 1);
	agent_shut(&a, l);
}

static void virtual_ips_and_orders_to_drain_are_heard(void)
{
	struct agent a;
	struct failover_link *l = agent_open(&a);
	const struct failover_vip *vips = failover_link_vips(l);
	uint64_t now_ns;

	CHECK(bench_until(&a.bench, a.hellos == 1));
	rpc_notify(a.server, a.caller, "role",
		json_pack("{s:s, s:[s, s, i, s]}", "role", "active", "virtual_ips", "10.77.0.100",
			"no address", 7, "fd77::100"));
	CHECK(bench_until(&a.bench, a.vips == 1));
	CHECK(a.open);
	CHECK_INT(failover_link_vip_count(l), 2);
	CHECK_INT(vips[0].drain_until_ns + vips[1].drain_until_ns, 0);
	CHECK_INT(failover_link_drain(l), 0);
	now_ns = monotonic_ns();
	rpc_notify(a.server, a.caller, "drain",
		json_pack("{s:i, s:{s:i, s:i}}", "seq", 3, "virtual_ips", "fd77::100", 5000,
			"10.9.9.9", 5000));
	CHECK(bench_until(&a.bench, a.vips == 2));
	CHECK_INT(vips[0].drain_until_ns, 0);
	CHECK(vips[1].drain_until_ns >= now_ns + 5 * NS_PER_S);
	CHECK_INT(failover_link_drain(l), 3);
	/* The same addresses once more are no news, and do not undo the order. */
	rpc_notify(a.server, a.caller, "role",
		json_pack("{s:s, s:[s, s]}", "role", "standby", "virtual_ips", "10.77.0.100",
			"fd77::100"));
	CHECK(bench_until(&a.bench, a.roles == 2));
	CHECK_INT(a.vips, 2);
	CHECK(vips[1].drain_until_ns != 0);
	rpc_notify(a.server, a.caller, "drain", json_pack("{s:i, s:{}}", "seq", 4, "virtual_ips"));
	CHECK(bench_until(&a.bench, a.vips == 3));
	CHECK_INT(vips[1].drain_until_ns, 0);
	rpc_server_free(a.server);
	CHECK(bench_until(&a.bench, a.vips == 4));
	CHECK(!a.open);
	CHECK_INT(failover_link_vip_count(l), 0);
	agent_serve(&a);
	agent_shut(&a, l);
}

static void clients_and_documents_pass(void)
{
	const struct failover_version version = {
		.value = 7, .who = "lb-a:ann", .when_ms = 1234567890123};
	struct agent a;
	struct failover_link *l = agent_open(&a);

	CHECK_INT(failover_link_clients(l, json_object()), -1); /* not open yet */
	CHECK(bench_until(&a.bench, a.hellos == 1));
	CHECK_INT(failover_link_clients(l, json_pack("{s:b}", "first", true)), 0);
	CHECK(bench_until(&a.bench, a.other != NULL));
	CHECK(json_is_true(json_object_get(a.other, "first")));
	json_decref(a.other);
	a.other = NULL;
	CHECK_INT(
		failover_link_state(l, "weather", &version, json_pack("{s:b}", "sunny", true)), 0);
	CHECK(bench_until(&a.bench, a.other != NULL));
	/* What the agent passes on has the same shape. */
	rpc_notify(a.server, a.caller, "state", json_incref(a.other));
	CHECK(bench_until(&a.bench, a.states == 1));
	CHECK(a.sunny);
	CHECK_INT(failover_link_unsent(l), 0);
	agent_shut(&a, l);
}

static const struct test_case cases[] = {
	TEST(hello_comes_first_and_beats_follow),
	TEST(it_beats_as_often_as_the_agent_wants_and_says_so),
	TEST(a_loop_that_hangs_stops_the_beats_without_a_hole_in_their_numbers),
	TEST(the_agents_word_is_the_role),
	TEST(virtual_ips_and_orders_to_drain_are_heard),
	TEST(clients_and_documents_pass),
	TEST(without_an_agent_the_role_is_single_and_a_new_one_is_greeted),
};
TESTS_MAIN("failover_link", cases)
