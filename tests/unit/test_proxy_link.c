/* The proxy's health: beats, their absence, the exit of its process, and who may speak for it. */
#include "failover/proxy_link.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/log.h"
#include "shared/units.h"
#include "tests/unit/check.h"

static struct ev_loop *loop;
static struct proxy_link proxy;
static unsigned changes;
static uint64_t changed_ns;
static pid_t child, other; /* `other` has the connections from 10 on */
static json_t *order;	   /* the last one about draining */
static unsigned orders, told;

static void on_state(void *ctx, enum proxy_state from, enum proxy_state to)
{
	(void)ctx;
	CHECK(from != to && to == proxy.state);
	changes++;
	changed_ns = monotonic_ns();
}

static void on_client(void *ctx, const struct client_key *k, bool there)
{
	(void)ctx, (void)k;
	told += there ? 1 : 1000;
}

static void tell(void *ctx, uint64_t to, const char *method, json_t *params)
{
	(void)ctx;
	CHECK(to == proxy.caller);
	CHECK_TEXT(span_of(method), "drain");
	json_decref(order);
	order = params;
	orders++;
}

/* A process that only waits to be killed stands for the proxy's. */
static pid_t start_process(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)pause();
		_exit(0);
	}
	CHECK_TRUE(pid > 0);
	return pid;
}

static void begin(void)
{
	struct proxy_link_handlers h = {.on_state = on_state, .on_client = on_client, .tell = tell};

	child = start_process();
	other = start_process();
	changes = orders = told = 0;
	CHECK_TRUE(proxy_link_init(&proxy, loop, &h) == 0);
}

static void end(void)
{
	proxy_link_fini(&proxy);
	(void)kill(child, SIGKILL);
	(void)kill(other, SIGKILL);
	(void)waitpid(child, NULL, 0);
	(void)waitpid(other, NULL, 0);
	json_decref(order);
	order = NULL;
}

static struct rpc_caller caller(uint64_t id)
{
	return (struct rpc_caller){.id = id, .pid = id < 10 ? child : other, .uid = geteuid()};
}

static void hello(uint64_t id)
{
	struct rpc_caller who = caller(id);
	json_t *params = json_pack("{s:i, s:s}", "pid", (int)child, "version", "1.2.3");
	struct err err;

	CHECK_INT(proxy_link_hello(&proxy, &who, params, &err), 0);
	json_decref(params);
}

static int beat_every(uint64_t id, int seq, int every_ms)
{
	struct rpc_caller who = caller(id);
	json_t *params =
		json_pack("{s:i, s:i, s:i}", "connections", 12, "seq", seq, "every_ms", every_ms);
	struct err err;
	int rc = proxy_link_beat(&proxy, &who, params, monotonic_ns(), &err);

	json_decref(params);
	return rc;
}

/* As one that does not say how often. */
static int beat(uint64_t id, int seq)
{
	return beat_every(id, seq, 0);
}

static void on_over(EV_P_ ev_timer *w, int revents)
{
	(void)w, (void)revents;
	ev_break(EV_A_ EVBREAK_ALL);
}

/* Runs the loop for so long. */
static void wait_ms(double ms)
{
	ev_timer over;

	ev_now_update(loop);
	ev_timer_init(&over, on_over, ms / 1e3, 0);
	ev_timer_start(loop, &over);
	ev_run(loop, 0);
	ev_timer_stop(loop, &over);
}

/* However busy the machine is. */
static void await_state(enum proxy_state wanted)
{
	for (int i = 0; i < 500 && proxy.state != wanted; i++)
		wait_ms(10);
	CHECK_INT(proxy.state, wanted);
}

static void a_proxy_that_beats_is_ok(void)
{
	json_t *status;

	begin();
	CHECK_INT(proxy.state, PROXY_ABSENT);
	hello(1);
	CHECK_INT(proxy.state, PROXY_STARTING);
	CHECK_INT(beat(1, 1), 0);
	CHECK_INT(proxy.state, PROXY_OK);
	for (int i = 2; i < 12; i++) {
		wait_ms(30); /* a busy machine makes it longer */
		CHECK_INT(beat(1, i), 0);
	}
	CHECK_INT(proxy.state, PROXY_OK);
	CHECK_INT(changes, 2);
	CHECK_INT(beat(1, 14), 0);
	CHECK_INT(proxy.beats_lost, 2);
	status = proxy_link_status(&proxy, monotonic_ns());
	CHECK_TEXT(span_of(json_string_value(json_object_get(status, "state"))), "ok");
	CHECK_TEXT(span_of(json_string_value(json_object_get(status, "version"))), "1.2.3");
	CHECK_INT(json_integer_value(json_object_get(status, "pid")), child);
	CHECK_INT(json_integer_value(json_object_get(status, "connections")), 12);
	json_decref(status);
	end();
}

static void five_missed_beats_are_a_hang_and_one_ends_it(void)
{
	uint64_t start_ns;

	begin();
	hello(1);
	start_ns = monotonic_ns();
	CHECK_INT(beat(1, 1), 0);
	await_state(PROXY_HUNG);
	CHECK(changed_ns - start_ns >= 250 * NS_PER_MS);
	CHECK_INT(beat(1, 2), 0);
	CHECK_INT(proxy.state, PROXY_OK);
	end();
}

static void five_of_those_that_the_proxy_promised_are_a_hang(void)
{
	uint64_t start_ns, took_ns = UINT64_MAX;

	begin();
	hello(1);
	CHECK_INT(beat_every(1, 1, -1), -1);
	CHECK_INT(beat_every(1, 1, PROXY_BEAT_MAX_MS + 1), -1);
	/* A busy machine makes it longer, but not each time. */
	for (int i = 0; i < 10 && took_ns > 250 * NS_PER_MS; i++) {
		start_ns = monotonic_ns();
		CHECK_INT(beat_every(1, i + 1, 20), 0);
		await_state(PROXY_HUNG);
		took_ns = changed_ns - start_ns;
		CHECK(took_ns >= 100 * NS_PER_MS);
	}
	CHECK(took_ns < 250 * NS_PER_MS);
	/* Who says hello anew has promised nothing. */
	hello(1);
	CHECK_INT(proxy.beat_ms, PROXY_BEAT_MS);
	end();
}

static void a_proxy_that_never_beats_hangs_too(void)
{
	begin();
	hello(1);
	await_state(PROXY_HUNG);
	end();
}

/* By the exit and not by silence: that would be a hang. */
static void its_exit_is_seen(void)
{
	begin();
	hello(1);
	CHECK_INT(beat(1, 1), 0);
	CHECK_INT(kill(child, SIGKILL), 0);
	CHECK_INT(waitpid(child, NULL, 0), child);
	await_state(PROXY_DEAD);
	CHECK_INT(beat(1, 2), -1);
	end();
}

static void a_closed_connection_is_death_or_absence(void)
{
	begin();
	hello(1);
	CHECK_INT(beat(1, 1), 0);
	proxy_link_closed(&proxy, 7);
	CHECK(proxy.caller == 1);
	proxy_link_closed(&proxy, 1);
	CHECK_INT(proxy.state, PROXY_OK);
	await_state(PROXY_ABSENT);

	hello(2);
	CHECK_INT(beat(2, 1), 0);
	CHECK_INT(kill(child, SIGKILL), 0);
	CHECK_INT(waitpid(child, NULL, 0), child);
	proxy_link_closed(&proxy, 2);
	CHECK_INT(proxy.state, PROXY_DEAD);
	end();
}

static void the_last_hello_counts(void)
{
	begin();
	hello(1);
	CHECK_INT(beat(1, 1), 0);
	hello(2);
	CHECK_INT(proxy.state, PROXY_OK); /* a new binary takes over: no reason to move */
	CHECK_INT(beat(1, 2), -1);
	CHECK_INT(beat(2, 1), 0);
	proxy_link_closed(&proxy, 1);
	wait_ms(60);
	CHECK_INT(proxy.state, PROXY_OK);
	end();
}

static void a_stranger_may_not_speak_for_the_proxy(void)
{
	struct rpc_caller who;
	struct err err;

	begin();
	who = caller(1);
	who.uid = geteuid() + 1;
	CHECK_INT(proxy_link_hello(&proxy, &who, NULL, &err), -1);
	CHECK_INT(proxy_link_stopping(&proxy, &who, &err), -1);
	CHECK_INT(beat(1, 1), -1);
	CHECK_INT(proxy.state, PROXY_ABSENT);
	who.uid = 0;
	CHECK_INT(proxy_link_hello(&proxy, &who, NULL, &err), 0);
	end();
}

static void odd_beats_are_refused(void)
{
	struct rpc_caller who;
	json_t *params = json_pack("{s:i, s:i}", "connections", -1, "seq", 1);
	struct err err;

	begin();
	who = caller(1);
	hello(1);
	CHECK_INT(proxy_link_beat(&proxy, &who, params, monotonic_ns(), &err), -1);
	CHECK_INT(proxy.state, PROXY_STARTING);
	json_decref(params);
	end();
}

static void a_stopping_proxy_stays_so_though_it_beats(void)
{
	struct rpc_caller who;
	struct err err;

	begin();
	who = caller(1);
	hello(1);
	CHECK_INT(beat(1, 1), 0);
	CHECK_INT(proxy_link_stopping(&proxy, &who, &err), 0);
	CHECK_INT(proxy.state, PROXY_STOPPING);
	CHECK_INT(beat(1, 2), 0);
	CHECK_INT(proxy.state, PROXY_STOPPING);
	await_state(PROXY_HUNG);
	CHECK_INT(beat(1, 3), 0);
	CHECK_INT(proxy.state, PROXY_STOPPING);
	end();
}

/* --- its clients ---------------------------------------------------------------------------------
 */
static int clients(uint64_t id, const char *text)
{
	struct rpc_caller who = caller(id);
	json_t *params = json_loads(text, 0, NULL);
	struct err err;
	int rc;

	CHECK_TRUE(params != NULL);
	rc = proxy_link_clients(&proxy, &who, params, &err);
	json_decref(params);
	return rc;
}

static struct cidr vip(const char *text)
{
	struct cidr cidr;
	struct err err;

	CHECK_TRUE(cidr_parse(span_of(text), &cidr, &err) == 0);
	return cidr;
}

static uint64_t count(const char *text)
{
	struct cidr cidr = vip(text);

	return clients_count(proxy.clients, &cidr, 1);
}

static void its_list_of_clients_is_kept_and_told(void)
{
	begin();
	hello(1);
	CHECK_INT(clients(1, "{\"first\": true, \"add\": {\"10.77.0.100:80\":"
			     "\"10.1.2.3:1 10.1.2.3:2\", \"[fd77::100]:80\": \"[fd77::9]:7\"}}"),
		0);
	CHECK(!proxy.clients_known);
	CHECK_INT(count("10.77.0.100/24"), 2);
	CHECK_INT(count("fd77::100/64"), 1);
	CHECK_INT(clients(1, "{\"last\": true}"), 0);
	CHECK(proxy.clients_known);
	/* Who left makes room before who came takes it: a port that is used again. */
	CHECK_INT(clients(1, "{\"add\": {\"10.77.0.100:80\": \"10.1.2.3:1\"},"
			     "\"remove\": {\"10.77.0.100:80\": \"10.1.2.3:1 10.1.2.3:2\"}}"),
		0);
	CHECK_INT(count("10.77.0.100/24"), 1);
	CHECK_INT(told, 4 + 2 * 1000);
	end();
}

static void a_fresh_list_replaces_the_old_one(void)
{
	begin();
	hello(1);
	CHECK_INT(clients(1, "{\"first\": true, \"last\": true, \"add\":"
			     "{\"10.77.0.100:80\": \"10.1.2.3:1 10.1.2.3:2\"}}"),
		0);
	hello(2);
	CHECK(!proxy.clients_known);
	CHECK_INT(count("10.77.0.100"), 2); /* to be told, should we die now */
	CHECK_INT(clients(1, "{\"add\": {\"10.77.0.100:80\": \"10.1.2.3:9\"}}"), -1);
	CHECK_INT(
		clients(2, "{\"first\": true, \"add\": {\"10.77.0.100:80\": \"10.1.2.3:2\"}}"), 0);
	CHECK_INT(count("10.77.0.100"), 2);
	CHECK_INT(clients(2, "{\"last\": true}"), 0);
	CHECK_INT(count("10.77.0.100"), 1);
	end();
}

static void a_list_that_makes_no_sense_is_refused(void)
{
	begin();
	CHECK_INT(clients(1, "{\"add\": {\"10.77.0.100:80\": \"10.1.2.3:1\"}}"), -1);
	hello(1);
	CHECK_INT(clients(1, "{\"add\": {\"10.77.0.100\": \"10.1.2.3:1\"}}"), -1);
	CHECK_INT(clients(1, "{\"add\": {\"10.77.0.100:80\": \"10.1.2.3:1  \"}}"), -1);
	CHECK_INT(clients(1, "{\"add\": {\"10.77.0.100:80\": 7}}"), 0); /* names nobody */
	CHECK_INT(clients(1, "{\"remove\": 7, \"add\": []}"), 0);
	end();
}

static void the_clients_of_a_dead_proxy_are_gone(void)
{
	begin();
	hello(1);
	CHECK_INT(beat(1, 1), 0);
	CHECK_INT(clients(1, "{\"first\": true, \"last\": true, \"add\":"
			     "{\"10.77.0.100:80\": \"10.1.2.3:1\"}}"),
		0);
	CHECK_INT(kill(child, SIGKILL), 0);
	CHECK_INT(waitpid(child, NULL, 0), child);
	await_state(PROXY_DEAD);
	CHECK_INT(count("10.77.0.100"), 0);
	end();
}

static void drained_is_what_the_proxy_has_confirmed_after_the_last_client(void)
{
	struct cidr vips[] = {vip("10.77.0.100/24"), vip("fd77::100/64")};
	const json_t *left;

	begin();
	CHECK(proxy_link_drained(&proxy, vips, 2)); /* no proxy, no clients */
	hello(1);
	CHECK_INT(clients(1, "{\"first\": true, \"last\": true, \"add\":"
			     "{\"10.77.0.100:80\": \"10.1.2.3:1\"}}"),
		0);
	proxy_link_drain(&proxy, vips, 2, 5 * NS_PER_S);
	CHECK_INT(orders, 1);
	CHECK_INT(json_integer_value(json_object_get(order, "seq")), 1);
	left = json_object_get(order, "virtual_ips");
	CHECK_INT(json_object_size(left), 2);
	CHECK(json_integer_value(json_object_get(left, "10.77.0.100")) > 4000);
	CHECK(json_integer_value(json_object_get(left, "fd77::100")) <= 5000);
	CHECK_INT(clients(1, "{\"drain\": 1}"), 0);
	CHECK(!proxy_link_drained(&proxy, vips, 2));
	/* Gone, as far as we know: the proxy is asked whether one came in between. */
	CHECK_INT(clients(1, "{\"remove\": {\"10.77.0.100:80\": \"10.1.2.3:1\"}}"), 0);
	CHECK_INT(orders, 2);
	CHECK(!proxy_link_drained(&proxy, vips, 2));
	CHECK_INT(clients(1, "{\"add\": {\"10.77.0.100:80\": \"10.1.2.3:2\"}, \"drain\": 2}"), 0);
	CHECK(!proxy_link_drained(&proxy, vips, 2));
	CHECK_INT(clients(1, "{\"remove\": {\"10.77.0.100:80\": \"10.1.2.3:2\"}}"), 0);
	CHECK_INT(clients(1, "{\"drain\": 99}"), 0); /* of nobody's order */
	CHECK(!proxy_link_drained(&proxy, vips, 2));
	CHECK_INT(clients(1, "{\"drain\": 3}"), 0);
	CHECK(proxy_link_drained(&proxy, vips, 2));
	end();
}

static void orders_to_drain_hold_for_a_new_proxy_and_until_undone(void)
{
	struct cidr vips[] = {vip("10.77.0.100/24"), vip("fd77::100/64")};

	begin();
	proxy_link_drain(&proxy, vips, 2, 5 * NS_PER_S);
	CHECK_INT(orders, 0); /* nobody to tell */
	hello(1);
	CHECK_INT(orders, 1);
	proxy_link_undrain(&proxy, vips, 1);
	CHECK_INT(orders, 2);
	CHECK_INT(json_object_size(json_object_get(order, "virtual_ips")), 1);
	proxy_link_undrain(&proxy, vips, 1);
	CHECK_INT(orders, 2);
	proxy_link_undrain(&proxy, vips, 2);
	CHECK_INT(json_object_size(json_object_get(order, "virtual_ips")), 0);
	hello(2);
	CHECK_INT(orders, 3);
	end();
}

/* --- a new binary ------------------------------------------------------------------------------
 */
static int retire(uint64_t id)
{
	struct rpc_caller who = caller(id);
	struct err err;

	return proxy_link_retired(&proxy, &who, &err);
}

static void succeed(void)
{
	hello(1);
	CHECK_INT(beat(1, 1), 0);
	CHECK_INT(clients(1, "{\"first\": true, \"last\": true, \"add\":"
			     "{\"10.77.0.100:80\": \"10.1.2.3:1 10.1.2.3:2\"}}"),
		0);
	hello(10);
	CHECK(!proxy.clients_known);
	CHECK_INT(beat(10, 1), 0);
	CHECK_INT(clients(10, "{\"first\": true, \"last\": true, \"add\":"
			      "{\"10.77.0.100:80\": \"10.1.2.3:3\"}}"),
		0);
	CHECK(proxy.clients_known);
	CHECK_INT(proxy.state, PROXY_OK);
}

static void the_clients_of_the_one_before_count_until_it_has_none(void)
{
	json_t *status;

	begin();
	succeed();
	CHECK_INT(retire(1), 0);
	CHECK_INT(count("10.77.0.100"), 3);
	status = proxy_link_status(&proxy, monotonic_ns());
	CHECK_INT(json_integer_value(json_object_get(
			  json_array_get(json_object_get(status, "elders"), 0), "clients")),
		2);
	json_decref(status);
	/* One of its, which the new one does not have; and one that came back to the new one first.
	 */
	CHECK_INT(clients(1, "{\"remove\": {\"10.77.0.100:80\": \"10.1.2.3:2\"}}"), 0);
	CHECK_INT(clients(10, "{\"add\": {\"10.77.0.100:80\": \"10.1.2.3:1\"}}"), 0);
	CHECK_INT(clients(1, "{\"remove\": {\"10.77.0.100:80\": \"10.1.2.3:1\"}}"), 0);
	CHECK_INT(count("10.77.0.100"), 2);
	CHECK_INT(clients(1, "{\"add\": {\"10.77.0.100:80\": \"10.1.2.3:4\"}}"), 0);
	CHECK_INT(count("10.77.0.100"), 3);
	proxy_link_closed(&proxy, 1);
	CHECK_INT(count("10.77.0.100"), 2);
	CHECK_INT(clients(1, "{\"add\": {\"10.77.0.100:80\": \"10.1.2.3:4\"}}"), -1);
	CHECK_INT(proxy.state, PROXY_OK);
	end();
}

static void an_agent_that_was_started_since_hears_of_them_too(void)
{
	begin();
	CHECK_INT(clients(1, "{\"first\": true}"), -1);
	CHECK_INT(retire(1), 0);
	CHECK_INT(clients(1, "{\"first\": true, \"last\": true, \"add\":"
			     "{\"10.77.0.100:80\": \"10.1.2.3:1\"}}"),
		0);
	CHECK(!proxy.clients_known); /* those of the proxy are not */
	CHECK_INT(proxy.state, PROXY_ABSENT);
	CHECK_INT(count("10.77.0.100"), 1);
	hello(10);
	CHECK_INT(clients(10, "{\"first\": true, \"last\": true}"), 0);
	CHECK_INT(count("10.77.0.100"), 1);
	end();
}

static void a_new_binary_that_ends_before_its_turn_moves_nothing(void)
{
	begin();
	succeed();
	CHECK_INT(kill(other, SIGKILL), 0);
	CHECK_INT(waitpid(other, NULL, 0), other);
	for (int i = 0; i < 500 && proxy.caller != 1; i++)
		wait_ms(10);
	CHECK_INT(proxy.caller, 1);
	CHECK_INT(proxy.pid, child);
	CHECK_INT(proxy.state, PROXY_OK);
	CHECK_INT(count("10.77.0.100"), 2);
	CHECK_INT(beat(1, 99), 0);
	CHECK_INT(proxy.beats_lost, 0);
	hello(1); /* which it says when it has seen that, too */
	CHECK_INT(count("10.77.0.100"), 2);
	CHECK_INT(changes, 2);
	/* And its own end is one again. */
	CHECK_INT(kill(child, SIGKILL), 0);
	CHECK_INT(waitpid(child, NULL, 0), child);
	await_state(PROXY_DEAD);
	end();
}

static void the_end_of_one_whose_elder_has_retired_is_the_proxys(void)
{
	begin();
	succeed();
	CHECK_INT(retire(1), 0);
	CHECK_INT(kill(other, SIGKILL), 0);
	CHECK_INT(waitpid(other, NULL, 0), other);
	await_state(PROXY_DEAD);
	CHECK_INT(count("10.77.0.100"), 2); /* they are still there, and may have to be told */
	hello(1);
	CHECK_INT(retire(1), 0); /* it has just heard the new one's last word */
	CHECK_INT(proxy.state, PROXY_ABSENT);
	CHECK_INT(count("10.77.0.100"), 2);
	end();
}

static void of_many_elders_the_oldest_is_forgotten(void)
{
	begin();
	hello(10);
	CHECK_INT(clients(10, "{\"first\": true, \"last\": true}"), 0);
	for (uint64_t id = 1; id < 10; id++) {
		char text[128];

		CHECK_INT(retire(id), 0);
		(void)snprintf(text, sizeof(text),
			"{\"first\": true, \"last\": true, \"add\":"
			"{\"10.77.0.100:80\": \"10.1.2.3:%u\"}}",
			(unsigned)id);
		CHECK_INT(clients(id, text), 0);
	}
	CHECK_INT(count("10.77.0.100"), CLIENTS_SOURCES - 1);
	CHECK_INT(clients(1, "{\"first\": true}"), -1);
	CHECK_INT(clients(9, "{\"first\": true}"), 0);
	end();
}

static const struct test_case cases[] = {
	TEST(a_proxy_that_beats_is_ok),
	TEST(five_missed_beats_are_a_hang_and_one_ends_it),
	TEST(five_of_those_that_the_proxy_promised_are_a_hang),
	TEST(a_proxy_that_never_beats_hangs_too),
	TEST(its_exit_is_seen),
	TEST(a_closed_connection_is_death_or_absence),
	TEST(the_last_hello_counts),
	TEST(a_stranger_may_not_speak_for_the_proxy),
	TEST(odd_beats_are_refused),
	TEST(a_stopping_proxy_stays_so_though_it_beats),
	TEST(its_list_of_clients_is_kept_and_told),
	TEST(a_fresh_list_replaces_the_old_one),
	TEST(a_list_that_makes_no_sense_is_refused),
	TEST(the_clients_of_a_dead_proxy_are_gone),
	TEST(drained_is_what_the_proxy_has_confirmed_after_the_last_client),
	TEST(orders_to_drain_hold_for_a_new_proxy_and_until_undone),
	TEST(the_clients_of_the_one_before_count_until_it_has_none),
	TEST(an_agent_that_was_started_since_hears_of_them_too),
	TEST(a_new_binary_that_ends_before_its_turn_moves_nothing),
	TEST(the_end_of_one_whose_elder_has_retired_is_the_proxys),
	TEST(of_many_elders_the_oldest_is_forgotten),
};

int main(void)
{
	loop = ev_loop_new(EVFLAG_NOENV);
	log_open("test_proxy_link", LOG_ERROR, LOG_FORMAT_TEXT);
	return loop ? tests_run("proxy_link", cases, sizeof(cases) / sizeof(*cases)) : 99;
}
