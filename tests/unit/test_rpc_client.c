/*
 * The blocking client, against the real server on a loop of its own thread, and against sockets
 * that misbehave.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "tests/unit/rpc_bench.h"

struct served {
	struct bench bench;
	pthread_t thread;
	ev_async wake;
	ev_timer tick;
	atomic_bool stop;
};

static void on_wake(struct ev_loop *loop, ev_async *w, int revents)
{
	struct served *s = w->data;

	(void)revents;
	if (atomic_load(&s->stop))
		ev_break(loop, EVBREAK_ALL);
}

static void on_tick(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct served *s = w->data;

	(void)loop;
	(void)revents;
	rpc_publish(s->bench.server, "tick", NULL);
}

static void *serve(void *arg)
{
	struct served *s = arg;

	ev_run(s->bench.loop, 0);
	return NULL;
}

static void served_open(struct served *s)
{
	bench_open(&s->bench);
	atomic_init(&s->stop, false);
	ev_async_init(&s->wake, on_wake);
	ev_timer_init(&s->tick, on_tick, 0.01, 0.01);
	s->wake.data = s->tick.data = s;
	ev_async_start(s->bench.loop, &s->wake);
	ev_timer_start(s->bench.loop, &s->tick);
	CHECK_TRUE(pthread_create(&s->thread, NULL, serve, s) == 0);
}

static void served_shut(struct served *s)
{
	atomic_store(&s->stop, true);
	ev_async_send(s->bench.loop, &s->wake);
	CHECK_TRUE(pthread_join(s->thread, NULL) == 0);
	ev_async_stop(s->bench.loop, &s->wake);
	ev_timer_stop(s->bench.loop, &s->tick);
	bench_shut(&s->bench);
}

static void a_call_returns_the_result(void)
{
	struct served s;
	json_t *result = NULL;
	struct err err;

	served_open(&s);
	CHECK_INT(rpc_call(s.bench.path, "echo", json_pack("{s:i}", "k", 3), 2000, &result, &err),
		RPC_OK);
	CHECK_INT(json_integer_value(json_object_get(json_object_get(result, "params"), "k")), 3);
	json_decref(result);
	CHECK_INT(rpc_call(s.bench.path, "big", json_pack("{s:i}", "size", 1000000), 2000, &result,
			  &err),
		RPC_OK);
	CHECK_INT(json_string_length(result), 1000000);
	json_decref(result);
	served_shut(&s);
}

static void a_refusal_is_told_apart_and_keeps_its_words(void)
{
	struct served s;
	json_t *result = NULL;
	struct err err;

	served_open(&s);
	CHECK_INT(rpc_call(s.bench.path, "fail", NULL, 2000, &result, &err), RPC_REFUSED);
	CHECK_TEXT(span_of(err.text), "no group 'wob'");
	served_shut(&s);
}

static void an_absent_daemon_is_named(void)
{
	struct err err;
	json_t *result = NULL;

	CHECK_INT(rpc_call("/nowhere/failover.sock", "status", NULL, 1000, &result, &err),
		RPC_UNREACHABLE);
	CHECK_TEXT(span_of(err.text), "cannot reach /nowhere/failover.sock: No such file or "
				      "directory; is tandem-failover running?");
}

/* A socket that is bound, and listens with room for one, and then never answers. */
static int mute(struct bench *b)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(b->dir, sizeof(b->dir), "/tmp/tandem-test.XXXXXX");
	CHECK_TRUE(mkdtemp(b->dir) != NULL);
	snprintf(b->path, sizeof(b->path), "%s/proxy.sock", b->dir);
	CHECK_TRUE(span_copy(span_of(b->path), address.sun_path, sizeof(address.sun_path)) == 0);
	CHECK_TRUE(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static void mute_end(struct bench *b, int fd)
{
	close(fd);
	unlink(b->path);
	rmdir(b->dir);
}

static void a_dead_daemons_socket_says_refused(void)
{
	struct bench b;
	json_t *result = NULL;
	struct err err;
	int fd = mute(&b); /* bound, not listening */

	CHECK_INT(rpc_call(b.path, "status", NULL, 1000, &result, &err), RPC_UNREACHABLE);
	CHECK(strstr(err.text, "Connection refused; is tandem-proxy running?") != NULL);
	mute_end(&b, fd);
}

static void a_mute_daemon_costs_the_deadline_and_no_more(void)
{
	struct bench b;
	json_t *result = NULL;
	struct err err;
	uint64_t start_ns;
	int fd = mute(&b);

	CHECK_TRUE(listen(fd, 0) == 0);
	start_ns = monotonic_ns();
	CHECK_INT(rpc_call(b.path, "status", NULL, 100, &result, &err), RPC_UNREACHABLE);
	CHECK(strstr(err.text, "tandem-proxy does not answer") != NULL);
	/* Now its backlog is full: connecting waits too. */
	CHECK_INT(rpc_call(b.path, "status", NULL, 100, &result, &err), RPC_UNREACHABLE);
	CHECK(strstr(err.text, "tandem-proxy does not answer") != NULL);
	CHECK(monotonic_ns() - start_ns >= 200 * NS_PER_MS);
	CHECK(monotonic_ns() - start_ns < 1500 * NS_PER_MS);
	mute_end(&b, fd);
}

static void a_socket_of_another_group_says_so(void)
{
	struct served s;
	json_t *result = NULL;
	struct err err;
	bool was_root = geteuid() == 0;

	served_open(&s);
	CHECK_TRUE(chmod(s.bench.path, 0) == 0);
	if (was_root) { /* root meets no EACCES: be nobody for the call */
		CHECK_TRUE(chmod(s.bench.dir, 0755) == 0);
		if (seteuid(65534) <
			0) { /* a user namespace that maps nobody else: nothing to see here */
			served_shut(&s);
			return;
		}
	}
	CHECK_INT(rpc_call(s.bench.path, "echo", NULL, 1000, &result, &err), RPC_UNREACHABLE);
	CHECK(strstr(err.text, "are you in group tandem?") != NULL);
	if (was_root)
		CHECK_TRUE(seteuid(0) == 0);
	served_shut(&s);
}

static bool on_line(void *ctx, const json_t *object)
{
	unsigned *count = ctx;

	CHECK_TEXT(span_of(json_string_value(json_object_get(object, "event"))), "tick");
	return ++*count < 3;
}

static void follow_gives_each_event_until_told_to_stop(void)
{
	struct served s;
	struct err err;
	unsigned count = 0;

	served_open(&s);
	CHECK_INT(rpc_follow(s.bench.path, "events", json_pack("{s:i}", "since", 0), on_line,
			  &count, &err),
		RPC_OK);
	CHECK_INT(count, 3);
	CHECK_INT(rpc_follow(s.bench.path, "events", json_pack("{s:s}", "since", "x"), on_line,
			  &count, &err),
		RPC_REFUSED);
	served_shut(&s);
}

static const struct test_case cases[] = {
	TEST(a_call_returns_the_result),
	TEST(a_refusal_is_told_apart_and_keeps_its_words),
	TEST(an_absent_daemon_is_named),
	TEST(a_dead_daemons_socket_says_refused),
	TEST(a_mute_daemon_costs_the_deadline_and_no_more),
	TEST(a_socket_of_another_group_says_so),
	TEST(follow_gives_each_event_until_told_to_stop),
};
TESTS_MAIN("rpc_client", cases)
