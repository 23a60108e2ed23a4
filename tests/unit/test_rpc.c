/*
 * The JSON-RPC server against raw sockets on a real loop.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "shared/assert.h"
#include "shared/buf.h"
#include "tests/unit/rpc_bench.h"

/* Sends a line and reads the answer; both without the newline. */
static json_t *ask(struct bench *b, int fd, const char *line)
{
	raw_send(b, fd, span_of(line));
	raw_send(b, fd, SPAN("\n"));
	return raw_json(b, fd);
}

static void a_request_is_answered_with_its_id(void)
{
	static const char *const ids[] = {"7", "\"a-b\"", "1.5", "null"};
	struct bench b;
	int fd;

	bench_open(&b);
	fd = raw_open(&b);
	for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		char line[160];
		json_t *answer, *id = json_loads(ids[i], JSON_DECODE_ANY, NULL);

		snprintf(line, sizeof(line),
			"{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"echo\",\"params\":{\"k\":[1,2]"
			"}}",
			ids[i]);
		answer = ask(&b, fd, line);
		CHECK(json_equal(json_object_get(answer, "id"), id));
		CHECK(json_object_get(answer, "error") == NULL);
		CHECK_INT(
			json_array_size(json_object_get(
				json_object_get(json_object_get(answer, "result"), "params"), "k")),
			2);
		json_decref(answer);
		json_decref(id);
	}
	CHECK_INT(b.last.pid, getpid());
	CHECK_INT(b.last.uid, getuid());
	close(fd);
	CHECK(bench_until(&b, b.closed == 1));
	bench_shut(&b);
}

static void a_line_may_come_byte_by_byte(void)
{
	static const char line[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}\r\n";
	struct bench b;
	json_t *answer;
	int fd;

	bench_open(&b);
	fd = raw_open(&b);
	for (size_t i = 0; i < sizeof(line) - 1; i++) {
		CHECK_INT(b.calls, 0);
		raw_send(&b, fd, span_make(line + i, 1));
		for (unsigned turn = 0; turn < 3; turn++)
			ev_run(b.loop, EVRUN_NOWAIT);
	}
	answer = raw_json(&b, fd);
	CHECK_INT(json_integer_value(json_object_get(answer, "id")), 1);
	CHECK_INT(b.calls, 1);
	json_decref(answer);
	close(fd);
	bench_shut(&b);
}

static void several_lines_in_one_write_are_answered_in_order(void)
{
	struct bench b;
	int fd;

	bench_open(&b);
	fd = raw_open(&b);
	raw_send(&b, fd,
		SPAN("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}\n\n"
		     "{\"jsonrpc\":\"2.0\",\"method\":\"echo\"}\n"
		     "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"fail\"}\n"
		     "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"echo\"}\n"));
	for (int id = 1; id <= 3; id++) {
		json_t *answer = raw_json(&b, fd);

		CHECK_INT(json_integer_value(json_object_get(answer, "id")), id);
		json_decref(answer);
	}
	CHECK_INT(b.calls, 4); /* the notification too, which has no answer */
	close(fd);
	bench_shut(&b);
}

static void a_refusal_carries_its_words(void)
{
	struct bench b;
	json_t *answer;
	int fd;

	bench_open(&b);
	fd = raw_open(&b);
	answer = ask(&b, fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"fail\"}");
	CHECK_INT(error_code(answer), -32000);
	CHECK_TEXT(span_of(error_text(answer)), "no group 'wob'");
	json_decref(answer);
	close(fd);
	bench_shut(&b);
}

static void faulty_requests_get_the_right_code_and_the_line_goes_on(void)
{
	static const struct {
		const char *line;
		int code;
		const char *words;
	} cases[] = {
		{"{\"jsonrpc\":", -32700, "not JSON"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", -32700, "UTF-8"},
		{"\xc3\x28", -32700, ""},
		{"{} {}", -32700, "not JSON"},
		{"{\"id\":1,\"id\":2}", -32700, "duplicate"},
		{"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}]", -32600, "batches"},
		{"12", -32600, "object"},
		{"{\"id\":1,\"method\":\"echo\"}", -32600, "2.0"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1}", -32600, "method"},
		{"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"echo\"}", -32600, "id"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[1]}", -32602,
			"object"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ecko\"}", -32601,
			"did you mean 'echo'?"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"zzzzzzzz\"}", -32601,
			"events, echo, fail"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events\",\"params\":{\"since\":-1}}",
			-32602, "since"},
	};
	struct bench b;
	json_t *answer;
	int fd;

	bench_open(&b);
	fd = raw_open(&b);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		answer = ask(&b, fd, cases[i].line);
		CHECK_INT(error_code(answer), cases[i].code);
		if (!strstr(error_text(answer), cases[i].words))
			fprintf(stderr, "\n%s: %s\n", cases[i].line, error_text(answer));
		CHECK(strstr(error_text(answer), cases[i].words) != NULL);
		CHECK(json_object_get(answer, "id") != NULL);
		json_decref(answer);
	}
	CHECK_INT(b.calls, 0);
	answer = ask(&b, fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}");
	CHECK(json_object_get(answer, "result") != NULL);
	json_decref(answer);
	close(fd);
	bench_shut(&b);
}

static void an_unknown_notification_gets_no_answer(void)
{
	struct bench b;
	json_t *answer;
	int fd;

	bench_open(&b);
	fd = raw_open(&b);
	raw_send(&b, fd,
		SPAN("{\"jsonrpc\":\"2.0\",\"method\":\"zzz\"}\n{\"jsonrpc\":\"2.0\",\"method\":"
		     "\"fail\"}\n"));
	answer = ask(&b, fd, "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"echo\"}");
	CHECK_INT(json_integer_value(json_object_get(answer, "id")), 9);
	json_decref(answer);
	close(fd);
	bench_shut(&b);
}

static void a_line_at_the_limit_passes_and_one_over_it_is_skipped(void)
{
	static char line[65536 + 2];
	struct bench b;
	json_t *answer;
	int fd, head;

	bench_open(&b);
	fd = raw_open(&b);
	head = snprintf(line, sizeof(line),
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"say\",\"params\":{\"text\":\"");
	memset(line + head, 'x', sizeof(line) - (size_t)head);
	memcpy(line + 65536 - 3, "\"}}\n", 4);
	raw_send(&b, fd, span_make(line, 65537));
	answer = raw_json(&b, fd);
	CHECK_INT(error_code(answer), 0);
	CHECK_INT(strlen(b.said), sizeof(b.said) - 1);
	json_decref(answer);
	memset(line + head, 'x', sizeof(line) - (size_t)head);
	memcpy(line + 65537 - 3, "\"}}\n", 4);
	raw_send(&b, fd, span_make(line, 65538));
	answer = raw_json(&b, fd);
	CHECK_INT(error_code(answer), -32600);
	CHECK(json_is_null(json_object_get(answer, "id")));
	json_decref(answer);
	answer = ask(&b, fd, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"echo\"}");
	CHECK_INT(json_integer_value(json_object_get(answer, "id")), 2);
	json_decref(answer);
	close(fd);
	bench_shut(&b);
}

static void a_bare_word_is_answered_with_indented_json(void)
{
	struct bench b;
	char line[256];
	int fd;

	bench_open(&b);
	fd = raw_open(&b);
	raw_send(&b, fd, SPAN("echo\n"));
	CHECK(raw_line(&b, fd, line, sizeof(line)));
	CHECK_TEXT(span_of(line), "{");
	CHECK(raw_line(&b, fd, line, sizeof(line)));
	CHECK_TEXT(span_of(line), "    \"params\": null");
	CHECK(raw_line(&b, fd, line, sizeof(line)));
	CHECK_TEXT(span_of(line), "}");
	raw_send(&b, fd, SPAN("eco\n"));
	CHECK(raw_line(&b, fd, line, sizeof(line)));
	CHECK(raw_line(&b, fd, line, sizeof(line)));
	CHECK_TEXT(span_of(line), "    \"error\": {");
	close(fd);
	bench_shut(&b);
}

static void a_peer_that_ends_its_side_still_gets_its_answer(void)
{
	struct bench b;
	json_t *answer;
	int fd;

	bench_open(&b);
	fd = raw_open(&b);
	raw_send(&b, fd,
		SPAN("{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"echo\"}")); /* no newline */
	shutdown(fd, SHUT_WR);
	answer = raw_json(&b, fd);
	CHECK_INT(json_integer_value(json_object_get(answer, "id")), 5);
	json_decref(answer);
	CHECK(raw_closed(&b, fd));
	CHECK(bench_until(&b, b.closed == 1));
	close(fd);
	bench_shut(&b);
}

static void a_client_that_does_not_read_is_dropped_alone(void)
{
	static const char request[] =
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"big\",\"params\":{\"size\":200000}}\n";
	struct bench b;
	json_t *answer;
	int deaf, other;

	bench_open(&b);
	deaf = raw_open(&b);
	other = raw_open(&b);
	for (unsigned i = 0; i < 20 && b.closed == 0; i++) {
		raw_send(&b, deaf, span_make(request, sizeof(request) - 1));
		for (unsigned turn = 0; turn < 3; turn++)
			ev_run(b.loop, EVRUN_NOWAIT);
		answer = ask(&b, other, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"echo\"}");
		CHECK_INT(json_integer_value(json_object_get(answer, "id")), 2);
		json_decref(answer);
	}
	CHECK_INT(b.closed, 1);
	close(deaf);
	close(other);
	bench_shut(&b);
}

static void an_answer_over_the_ceiling_is_refused_in_words(void)
{
	struct bench b;
	json_t *answer;
	int fd;

	bench_open(&b);
	fd = raw_open(&b);
	answer = ask(&b, fd,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"big\",\"params\":{\"size\":16777216}}");
	CHECK_INT(error_code(answer), -32000);
	json_decref(answer);
	answer = ask(&b, fd,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"big\",\"params\":{\"size\":16776640}}");
	CHECK_INT(json_string_length(json_object_get(answer, "result")), 16776640);
	json_decref(answer);
	close(fd);
	bench_shut(&b);
}

static json_int_t event_seq(struct bench *b, int fd, const char *name)
{
	json_t *event = raw_json(b, fd);
	json_int_t seq = json_integer_value(json_object_get(event, "seq"));

	CHECK_TEXT(span_of(json_string_value(json_object_get(event, "event"))), name);
	CHECK_INT(json_string_length(json_object_get(event, "ts")), 24);
	json_decref(event);
	return seq;
}

static void events_stream_to_those_who_follow(void)
{
	struct bench b;
	json_t *event;
	int bare, framed, other;
	char byte;

	bench_open(&b);
	rpc_publish(b.server, "before", NULL);
	bare = raw_open(&b);
	framed = raw_open(&b);
	other = raw_open(&b);
	raw_send(&b, bare, SPAN("events\n"));
	event = ask(&b, framed, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events\"}");
	CHECK_INT(json_integer_value(json_object_get(json_object_get(event, "result"), "seq")), 1);
	json_decref(event);
	rpc_publish(b.server, "server_down", json_pack("{s:s, s:i}", "pool", "api", "seq", 99));
	CHECK_INT(event_seq(&b, bare, "server_down"), 2); /* a field cannot stand for ours */
	event = raw_json(&b, framed);
	CHECK_TEXT(span_of(json_string_value(json_object_get(event, "pool"))), "api");
	json_decref(event);
	CHECK(read(other, &byte, 1) < 0 && errno == EAGAIN);
	/* Requests go on beside the stream. */
	event = ask(&b, framed, "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"echo\"}");
	CHECK_INT(json_integer_value(json_object_get(event, "id")), 4);
	json_decref(event);
	close(bare);
	close(framed);
	close(other);
	bench_shut(&b);
}

static void events_since_replays_what_the_ring_holds(void)
{
	struct bench b;
	json_t *answer;
	int fd;

	bench_open(&b);
	for (unsigned i = 0; i < 1500; i++)
		rpc_publish(b.server, "tick", NULL);
	fd = raw_open(&b);
	answer = ask(&b, fd,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events\",\"params\":{\"since\":1497}}");
	json_decref(answer);
	for (json_int_t seq = 1498; seq <= 1500; seq++)
		CHECK_INT(event_seq(&b, fd, "tick"), seq);
	close(fd);
	fd = raw_open(&b); /* older than the ring: from its oldest */
	answer = ask(&b, fd,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events\",\"params\":{\"since\":3}}");
	json_decref(answer);
	CHECK_INT(event_seq(&b, fd, "tick"), 1500 - 1024 + 1);
	close(fd);
	fd = raw_open(&b); /* of an earlier life of the daemon: everything */
	answer = ask(&b, fd,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events\",\"params\":{\"since\":99999}"
		"}");
	json_decref(answer);
	CHECK_INT(event_seq(&b, fd, "tick"), 1500 - 1024 + 1);
	close(fd);
	bench_shut(&b);
}

static void a_follower_that_does_not_read_is_dropped(void)
{
	struct bench b;
	json_t *answer;
	int fd;

	bench_open(&b);
	fd = raw_open(&b);
	answer = ask(&b, fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events\"}");
	json_decref(answer);
	for (unsigned i = 0; i < 40000; i++)
		rpc_publish(b.server, "tick",
			json_pack("{s:s}", "text", "0123456789012345678901234567890123456789"));
	CHECK_INT(b.closed, 0); /* never within a callback or a call */
	CHECK(bench_until(&b, b.closed == 1));
	close(fd);
	bench_shut(&b);
}

static void notifications_reach_only_their_connection(void)
{
	struct bench b;
	json_t *answer;
	uint64_t id;
	int one, two;
	char byte;

	bench_open(&b);
	one = raw_open(&b);
	two = raw_open(&b);
	json_decref(ask(&b, two, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}"));
	json_decref(ask(&b, one, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}"));
	id = b.last.id;
	CHECK_INT(rpc_notify(b.server, id, "role", json_pack("{s:s}", "role", "active")), 0);
	answer = raw_json(&b, one);
	CHECK_TEXT(span_of(json_string_value(json_object_get(answer, "method"))), "role");
	CHECK(json_object_get(answer, "id") == NULL);
	json_decref(answer);
	CHECK(read(two, &byte, 1) < 0 && errno == EAGAIN);
	close(one);
	CHECK(bench_until(&b, b.closed == 1));
	CHECK_INT(rpc_notify(b.server, id, "role", json_object()), -1);
	close(two);
	bench_shut(&b);
}

static void a_stale_socket_is_replaced_and_a_live_one_refused(void)
{
	struct bench b;
	struct rpc_server *second;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	struct err err;
	int fd;

	bench_open(&b);
	CHECK_TRUE(stat(b.path, &st) == 0);
	CHECK_INT(st.st_mode & 0777, 0660);
	second = bench_serve(&b, &err);
	CHECK(second == NULL);
	CHECK(strstr(err.text, "another tandem-proxy is running") != NULL);
	json_decref(
		ask(&b, fd = raw_open(&b), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}"));
	CHECK_INT(b.calls, 1); /* the live one was not harmed */
	close(fd);
	rpc_server_free(b.server);
	/* What a killed daemon leaves: a bound file that nobody listens on. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_TRUE(span_copy(span_of(b.path), address.sun_path, sizeof(address.sun_path)) == 0);
	CHECK_TRUE(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	close(fd);
	b.server = bench_serve(&b, &err);
	CHECK_TRUE(b.server != NULL);
	close(raw_open(&b));
	bench_shut(&b);
}

static void a_file_that_is_no_socket_is_left_alone(void)
{
	struct bench b;
	struct err err;
	int fd;

	bench_open(&b);
	rpc_server_free(b.server);
	fd = open(b.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CHECK_TRUE(fd >= 0);
	close(fd);
	b.server = bench_serve(&b, &err);
	CHECK(b.server == NULL);
	CHECK(strstr(err.text, "not a socket") != NULL);
	CHECK(access(b.path, F_OK) == 0);
	unlink(b.path);
	bench_shut(&b);
}

static void running_out_of_files_pauses_accepting(void)
{
	struct rlimit limit, few;
	struct bench b;
	json_t *answer;
	int fd;

	bench_open(&b);
	CHECK_TRUE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	fd = raw_open(&b);
	few = (struct rlimit){.rlim_cur = (rlim_t)fd + 1, .rlim_max = limit.rlim_max};
	CHECK_TRUE(setrlimit(RLIMIT_NOFILE, &few) == 0);
	for (unsigned turn = 0; turn < 50; turn++)
		ev_run(b.loop, EVRUN_NOWAIT);
	CHECK_TRUE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	answer = ask(&b, fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}");
	CHECK_INT(json_integer_value(json_object_get(answer, "id")), 1);
	json_decref(answer);
	close(fd);
	bench_shut(&b);
}

static void the_connection_too_many_is_told_so(void)
{
	struct bench b;
	int fds[257];
	json_t *answer;

	bench_open(&b);
	for (unsigned i = 0; i < 257; i++) {
		fds[i] = raw_open(&b);
		ev_run(b.loop, EVRUN_NOWAIT);
	}
	answer = raw_json(&b, fds[256]);
	CHECK(strstr(error_text(answer), "too many connections") != NULL);
	json_decref(answer);
	answer = ask(&b, fds[255], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}");
	CHECK_INT(json_integer_value(json_object_get(answer, "id")), 1);
	json_decref(answer);
	for (unsigned i = 0; i < 257; i++)
		close(fds[i]);
	CHECK(bench_until(&b, b.closed == 256));
	bench_shut(&b);
}

/* In one piece: the socket takes it whole. */
static void flood(struct bench *b, int fd, const char *line, unsigned count)
{
	struct buf all;

	buf_init(&all, 65536);
	for (unsigned i = 0; i < count; i++)
		CHECK_TRUE(buf_append(&all, span_of(line)) == 0);
	raw_send(b, fd, buf_span(&all));
	buf_fini(&all);
}

static void one_who_floods_does_not_keep_the_others_waiting(void)
{
	static const char say[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"say\"}\n";
	struct bench b;
	int fds[3];

	bench_open(&b);
	for (unsigned i = 0; i < countof(fds); i++)
		fds[i] = raw_open(&b);
	flood(&b, fds[1], "echo\n", 1000);
	raw_send(&b, fds[0], span_of(say));
	raw_send(&b, fds[2], span_of(say)); /* whatever the order in which the loop finds them */
	for (unsigned i = 0; i < countof(fds); i += 2) {
		json_t *answer = raw_json(&b, fds[i]);

		CHECK_INT(json_integer_value(json_object_get(answer, "id")), 1);
		json_decref(answer);
	}
	CHECK(b.calls_before_say <= 8);
	CHECK(bench_until(&b, b.calls == 1000));
	for (unsigned i = 0; i < countof(fds); i++)
		close(fds[i]);
	bench_shut(&b);
}

static void calls_that_take_long_leave_the_loop_its_turn(void)
{
	struct bench b;
	unsigned before;
	int fd;

	bench_open(&b);
	fd = raw_open(&b);
	flood(&b, fd, "nap\n", 100);
	CHECK(bench_until(&b, b.calls > 0));
	before = b.calls;
	ev_run(b.loop, EVRUN_NOWAIT);
	CHECK(b.calls > before); /* the loop does not fall asleep over the rest */
	CHECK(b.calls - before <= 8);
	CHECK(bench_until(&b, b.calls == 100));
	close(fd);
	bench_shut(&b);
}

static void only_who_has_our_rights_chooses_a_file_to_check(void)
{
	struct rpc_caller who = {.uid = geteuid() + 1};
	struct err err;

	if (who.uid != 0)
		CHECK(rpc_may_check(&who, "/etc/hostname", &err) < 0 &&
			strstr(err.text, "your own rights"));
	who.uid = geteuid();
	CHECK(rpc_may_check(&who, "/etc/passwd", &err) == 0);
	CHECK(rpc_may_check(&who, "/nonexistent", &err) == 0); /* for the report to tell */
	CHECK(rpc_may_check(&who, "/dev/null", &err) < 0 && strstr(err.text, "regular"));
}

static const struct test_case cases[] = {
	TEST(a_request_is_answered_with_its_id),
	TEST(a_line_may_come_byte_by_byte),
	TEST(several_lines_in_one_write_are_answered_in_order),
	TEST(a_refusal_carries_its_words),
	TEST(faulty_requests_get_the_right_code_and_the_line_goes_on),
	TEST(an_unknown_notification_gets_no_answer),
	TEST(a_line_at_the_limit_passes_and_one_over_it_is_skipped),
	TEST(a_bare_word_is_answered_with_indented_json),
	TEST(a_peer_that_ends_its_side_still_gets_its_answer),
	TEST(a_client_that_does_not_read_is_dropped_alone),
	TEST(an_answer_over_the_ceiling_is_refused_in_words),
	TEST(events_stream_to_those_who_follow),
	TEST(events_since_replays_what_the_ring_holds),
	TEST(a_follower_that_does_not_read_is_dropped),
	TEST(notifications_reach_only_their_connection),
	TEST(a_stale_socket_is_replaced_and_a_live_one_refused),
	TEST(a_file_that_is_no_socket_is_left_alone),
	TEST(running_out_of_files_pauses_accepting),
	TEST(the_connection_too_many_is_told_so),
	TEST(one_who_floods_does_not_keep_the_others_waiting),
	TEST(calls_that_take_long_leave_the_loop_its_turn),
	TEST(only_who_has_our_rights_chooses_a_file_to_check),
};
TESTS_MAIN("rpc", cases)
