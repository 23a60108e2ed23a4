/*
 * Active checks against small servers on loopback, all in this process and on one loop.
 */
#include "proxy/pool/checks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/pool/queue.h"
#include "shared/assert.h"
#include "shared/list.h"
#include "shared/log.h"
#include "shared/units.h"
#include "tests/unit/check.h"

#define SERVERS 3

/* --- servers ------------------------------------------------------------------------------------
 */

struct fake {	/* answers every request with the same bytes, in pieces if asked */
	int fd; /* -1: nobody listens there, but the port stays ours */
	uint16_t port;
	ev_io accept;
	const char *answer; /* NULL: none, ever; "": closes */
	size_t answer_len;  /* where it has NULs; 0: it is text */
	size_t piece;	    /* bytes at a time; 0: all */
	bool talks_first;   /* without being asked */
	unsigned connections;
	uint64_t last_ms;   /* when the last one came */
	char request[1024]; /* the last one */
};

struct fake_conn {
	struct fake *fake;
	struct list link;
	int fd;
	ev_io io;
	ev_timer more;
	size_t sent;
};

static struct ev_loop *loop;
static struct fake fakes[SERVERS];
static struct list fake_conns;

static uint64_t now_ms(void)
{
	return monotonic_ns() / NS_PER_MS;
}

static void fake_conn_free(struct fake_conn *c)
{
	ev_io_stop(loop, &c->io);
	ev_timer_stop(loop, &c->more);
	close(c->fd);
	list_remove(&c->link);
	free(c);
}

static void fake_send(struct ev_loop *l, ev_timer *t, int events)
{
	struct fake_conn *c = t->data;
	size_t len = c->fake->answer_len, n;

	(void)events;
	if (!c->fake->answer) /* it has fallen silent since it began */
		return;
	if (!len)
		len = strlen(c->fake->answer);
	n = len > c->sent ? len - c->sent : 0;
	if (c->fake->piece && n > c->fake->piece)
		n = c->fake->piece;
	if (n == 0 || send(c->fd, c->fake->answer + c->sent, n, MSG_NOSIGNAL) != (ssize_t)n) {
		fake_conn_free(c);
		return;
	}
	c->sent += n;
	ev_timer_set(t, 0.001, 0);
	ev_timer_start(l, t);
}

static void fake_readable(struct ev_loop *l, ev_io *w, int events)
{
	struct fake_conn *c = w->data;
	ssize_t n = recv(c->fd, c->fake->request, sizeof(c->fake->request) - 1, 0);

	(void)events;
	if (n <= 0) {
		fake_conn_free(c);
		return;
	}
	c->fake->request[n] = '\0';
	if (!c->fake->answer)
		return;
	ev_io_stop(l, w);
	fake_send(l, &c->more, 0);
}

static void fake_accept(struct ev_loop *l, ev_io *w, int events)
{
	struct fake *f = w->data;
	struct fake_conn *c = calloc(1, sizeof(*c));

	(void)events;
	CHECK_TRUE(c != NULL);
	c->fake = f;
	c->fd = accept4(f->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (c->fd < 0) { /* a tcp check resets before we get to it */
		free(c);
		return;
	}
	f->connections++;
	f->last_ms = now_ms();
	list_append(&fake_conns, &c->link);
	ev_io_init(&c->io, fake_readable, c->fd, EV_READ);
	ev_init(&c->more, fake_send);
	c->io.data = c->more.data = c;
	if (f->talks_first && f->answer)
		fake_send(l, &c->more, 0);
	else
		ev_io_start(l, &c->io);
}

static void fake_open(struct fake *f)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
		.sin_port = htons(f->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int on = 1;

	f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK_TRUE(f->fd >= 0);
	setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	CHECK_TRUE(bind(f->fd, (struct sockaddr *)&sin, sizeof(sin)) == 0);
	CHECK_TRUE(listen(f->fd, 128) == 0);
	CHECK_TRUE(getsockname(f->fd, (struct sockaddr *)&sin, &len) == 0);
	f->port = ntohs(sin.sin_port);
	ev_io_init(&f->accept, fake_accept, f->fd, EV_READ);
	f->accept.data = f;
	ev_io_start(loop, &f->accept);
}

static void fake_close(struct fake *f)
{
	if (f->fd < 0)
		return;
	ev_io_stop(loop, &f->accept);
	close(f->fd);
	f->fd = -1;
}

/* --- the bench ----------------------------------------------------------------------------------
 */

static struct server_table *table;
static struct conf_report *report;
static struct settings *settings;
static struct checks *checks;
static unsigned views_made, views_failing, events_seen, in_pool;
static char last_event[64];
static ev_async wake;

static int on_pool_changed(void *ctx, const struct pool *p)
{
	(void)ctx;
	CHECK(p == &settings->pools[p->index]);
	if (views_failing) {
		views_failing--;
		return -1;
	}
	views_made++;
	return 0;
}

static void on_event(void *ctx, const char *event, json_t *fields)
{
	(void)ctx;
	CHECK(json_string_value(json_object_get(fields, "reason")) != NULL);
	snprintf(last_event, sizeof(last_event), "%s", event);
	events_seen++;
	json_decref(fields);
}

static void on_async(struct ev_loop *l, ev_async *w, int events)
{
	(void)l;
	(void)w;
	(void)events;
	checks_wake(checks);
}

static void on_wake(void *ctx)
{
	(void)ctx;
	ev_async_send(loop, &wake);
}

/* Pool `web` of all the servers, with this said of its health ("" for no check). */
static void apply(const char *health)
{
	char text[1024], servers[256] = "";
	struct settings *old = settings;
	const struct pool *pool;
	struct conf *conf;
	size_t at = 0;

	for (unsigned i = 0; i < in_pool; i++)
		at += (size_t)snprintf(servers + at, sizeof(servers) - at,
			"%ss%u: \"127.0.0.1:%u\"", i ? ", " : "", i, fakes[i].port);
	snprintf(text, sizeof(text), "pools: {web: {servers: {%s}%s%s}}\n", servers,
		health[0] ? ", health: " : "", health);
	conf_report_free(report);
	report = conf_report_new();
	CHECK_TRUE(report != NULL);
	conf = conf_load_text("tandem.yaml", span_of(text), report);
	CHECK_TRUE(conf != NULL);
	settings = settings_build(conf, report, table, 1, NULL);
	CHECK_TRUE(settings != NULL);
	pool = &settings->pools[0];
	member_set_unref(pool->state->set);
	pool->state->set = member_set_new(pool->members, pool->member_count);
	CHECK_TRUE(pool->state->set != NULL);
	checks_apply(checks, settings);
	settings_unref(old);
}

static void begin(const char *health)
{
	static const struct checks_options options = {
		.on_pool_changed = on_pool_changed, .on_event = on_event};

	loop = ev_loop_new(0);
	table = server_table_new();
	CHECK_TRUE(loop && table);
	list_init(&fake_conns);
	for (unsigned i = 0; i < SERVERS; i++) {
		fakes[i] = (struct fake){.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
		fake_open(&fakes[i]);
	}
	settings = NULL;
	report = NULL;
	views_made = views_failing = events_seen = 0;
	in_pool = SERVERS;
	ev_async_init(&wake, on_async);
	ev_async_start(loop, &wake);
	server_table_on_wake(table, on_wake, NULL);
	checks = checks_new(loop, table, &options);
	CHECK_TRUE(checks != NULL);
	apply(health);
}

static void end(void)
{
	checks_free(checks);
	settings_unref(settings);
	while (!list_empty(&fake_conns))
		fake_conn_free(list_item(fake_conns.next, struct fake_conn, link));
	for (unsigned i = 0; i < SERVERS; i++)
		fake_close(&fakes[i]);
	ev_async_stop(loop, &wake);
	server_table_free(table);
	conf_report_free(report);
	ev_loop_destroy(loop);
}

static struct server *server(unsigned i)
{
	return settings->pools[0].members[i].server;
}

static void on_tick(struct ev_loop *l, ev_timer *w, int events)
{
	(void)w;
	(void)events;
	ev_break(l, EVBREAK_ONE);
}

static void run_ms(unsigned ms)
{
	ev_timer tick;

	ev_now_update(loop);
	ev_timer_init(&tick, on_tick, ms / 1000.0, 0);
	ev_timer_start(loop, &tick);
	ev_run(loop, 0);
	ev_timer_stop(loop, &tick);
}

/* Runs the loop until the server is in this state; false after five seconds. */
static bool becomes(unsigned i, enum health_state state)
{
	for (unsigned waited_ms = 0; waited_ms < 5000; waited_ms += 5) {
		if (server(i)->health.state == state)
			return true;
		run_ms(5);
	}
	fprintf(stderr, "server %u is %s (%s), not %s\n", i,
		health_state_name(server(i)->health.state), server(i)->health.reason,
		health_state_name(state));
	return false;
}

static const char fast_http[] = "{http: /healthz, every: 50ms, timeout: 2s}";

/* --- tests --------------------------------------------------------------------------------------
 */

static void servers_that_answer_come_up_at_once(void)
{
	begin("{http: /healthz, every: 10s}");
	for (unsigned i = 0; i < SERVERS; i++) {
		CHECK(becomes(i, HEALTH_UP));
		CHECK(atomic_load(&server(i)->usable));
	}
	CHECK_INT(views_made, 0); /* unknown was usable too: no view changed */
	CHECK_INT(events_seen, SERVERS);
	CHECK(strncmp(fakes[0].request, "GET /healthz HTTP/1.1\r\n", 23) == 0);
	CHECK(strstr(fakes[0].request, "\r\nHost: 127.0.0.1:") != NULL);
	CHECK(strstr(fakes[0].request, "\r\nUser-Agent: tandem-check\r\n") != NULL);
	CHECK(strstr(fakes[0].request, "\r\nConnection: close\r\n") != NULL);
	end();
}

static void a_bad_status_takes_a_server_down_after_three_and_two_good_ones_bring_it_back(void)
{
	begin(fast_http);
	CHECK(becomes(0, HEALTH_UP));
	fakes[0].answer = "HTTP/1.1 503 Busy\r\n\r\n";
	CHECK(becomes(0, HEALTH_FAILING));
	CHECK(atomic_load(&server(0)->usable));
	CHECK(becomes(0, HEALTH_DOWN));
	CHECK(!atomic_load(&server(0)->usable) && !atomic_load(&server(0)->refused));
	CHECK_TEXT(span_of(server(0)->health.reason), "status 503, expected 200-399");
	run_ms(1);
	CHECK_INT(views_made, 1);
	CHECK_TEXT(span_of(last_event), "server.down");
	fakes[0].answer = "HTTP/1.1 204 No Content\r\n\r\n";
	CHECK(becomes(0, HEALTH_RISING));
	CHECK(becomes(0, HEALTH_UP));
	run_ms(1);
	CHECK_INT(views_made, 2);
	CHECK_INT(server(1)->health.state, HEALTH_UP);
	end();
}

static void the_expected_statuses_decide(void)
{
	begin("{http: /, every: 50ms, expect: [200, 404-405], host: web.internal, method: HEAD}");
	fakes[0].answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\n";
	fakes[1].answer = "HTTP/1.1 204 No Content\r\n\r\n";
	CHECK(becomes(0, HEALTH_UP));
	CHECK(becomes(1, HEALTH_DOWN));
	CHECK_TEXT(span_of(server(1)->health.reason), "status 204, expected 200, 404-405");
	CHECK(strncmp(fakes[0].request, "HEAD / HTTP/1.1\r\nHost: web.internal\r\n", 37) == 0);
	end();
}

static void an_answer_in_pieces_after_an_interim_one_counts(void)
{
	begin("{http: /, every: 50ms, timeout: 2s}");
	fakes[0].answer = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
	fakes[0].piece = 1;
	CHECK(becomes(0, HEALTH_UP));
	end();
}

static void garbage_silence_and_closing_are_failures_each_with_its_reason(void)
{
	begin("{http: /healthz, every: 50ms, timeout: 100ms}");
	fakes[0].answer = "SSH-2.0-OpenSSH_9.2\r\n\r\n";
	fakes[1].answer = NULL;
	fakes[2].answer = "";
	CHECK(becomes(0, HEALTH_DOWN));
	CHECK(becomes(1, HEALTH_DOWN));
	CHECK(becomes(2, HEALTH_DOWN));
	CHECK(strncmp(server(0)->health.reason, "not an HTTP answer: ", 20) == 0);
	CHECK_TEXT(span_of(server(1)->health.reason), "timeout after 100ms");
	CHECK_TEXT(span_of(server(2)->health.reason), "closed without an answer");
	end();
}

static void a_head_that_never_ends_is_a_failure(void)
{
	static char endless[40000];

	memset(endless, 'a', sizeof(endless) - 1);
	memcpy(endless, "HTTP/1.1 200 OK\r\nX: ", 20);
	begin(fast_http);
	fakes[0].answer = endless;
	CHECK(becomes(0, HEALTH_DOWN));
	CHECK(strstr(server(0)->health.reason, "timeout") == NULL);
	end();
}

static void a_refused_check_takes_it_out_at_once_and_it_comes_back(void)
{
	begin(fast_http);
	CHECK(becomes(0, HEALTH_UP));
	fake_close(&fakes[0]);
	while (server(0)->health.state == HEALTH_UP)
		run_ms(1);
	CHECK_INT(server(0)->health.state, HEALTH_DOWN); /* never merely failing */
	CHECK(atomic_load(&server(0)->refused));
	CHECK_TEXT(span_of(server(0)->health.reason), "connection refused");
	fake_open(&fakes[0]);
	CHECK(becomes(0, HEALTH_UP));
	CHECK(!atomic_load(&server(0)->refused));
	end();
}

static void a_tcp_check_only_connects(void)
{
	begin("{tcp: true, every: 50ms}");
	fakes[0].answer = NULL;
	fake_close(&fakes[1]);
	CHECK(becomes(0, HEALTH_UP));
	CHECK(becomes(1, HEALTH_DOWN));
	CHECK_TEXT(span_of(fakes[0].request), "");
	end();
}

#define HTTP_TEXT(text) "HTTP/1.1 200 OK\r\n\r\n" text

static void the_content_must_have_the_text_whatever_its_framing(void)
{
	begin("{http: /, every: 50ms, timeout: 2s, body: 'all good'}");
	fakes[0].answer = HTTP_TEXT("we are all good here"); /* until the close */
	fakes[1].answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			  "5\r\nall g\r\n3;x\r\nood\r\n0\r\n\r\n";
	fakes[1].piece = 1;
	fakes[2].answer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall bad good";
	CHECK(becomes(0, HEALTH_UP));
	CHECK(becomes(1, HEALTH_UP));
	CHECK(becomes(2, HEALTH_DOWN));
	CHECK_TEXT(span_of(server(2)->health.reason), "the content does not have 'all good'");
	end();
}

static void a_good_text_with_a_bad_status_or_a_broken_end_does_not_count(void)
{
	begin("{http: /, every: 50ms, timeout: 2s, body: good}");
	fakes[0].answer = "HTTP/1.1 503 No\r\n\r\ngood";
	fakes[1].answer = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ngood";
	fakes[2].answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ngood";
	CHECK(becomes(0, HEALTH_DOWN));
	CHECK_TEXT(span_of(server(0)->health.reason), "status 503, expected 200-399");
	CHECK(becomes(1, HEALTH_DOWN));
	CHECK_TEXT(span_of(server(1)->health.reason), "closed in the content of the answer");
	CHECK(becomes(2, HEALTH_DOWN));
	CHECK(strstr(server(2)->health.reason, "chunk") != NULL);
	end();
}

static void only_the_first_64_kib_are_looked_at(void)
{
	enum { HEAD = 19, MOST = 65536 };
	static char near[HEAD + MOST + 1000], far[HEAD + MOST + 1000];

	memset(near, '.', sizeof(near) - 1);
	memcpy(near, HTTP_TEXT(""), HEAD);
	memcpy(far, near, sizeof(far));
	memcpy(near + HEAD + MOST - 4, "good", 4);
	memcpy(far + HEAD + MOST - 3, "good", 4);
	begin("{http: /, every: 50ms, timeout: 2s, body: good}");
	fakes[0].answer = near;
	fakes[1].answer = far;
	CHECK(becomes(0, HEALTH_UP));
	CHECK(becomes(1, HEALTH_DOWN));
	CHECK_TEXT(span_of(server(1)->health.reason),
		"the content does not have 'good' in its first 64 KiB");
	end();
}

static void an_expression_looks_at_the_content_too(void)
{
	begin("{http: /, every: 50ms, timeout: 2s, body: '~ \"state\": *\"(ok|warm)\"'}");
	fakes[0].answer = HTTP_TEXT("{\"state\":  \"warm\"}");
	fakes[1].answer = HTTP_TEXT("{\"state\": \"cold\"}");
	CHECK(becomes(0, HEALTH_UP));
	CHECK(becomes(1, HEALTH_DOWN));
	CHECK_TEXT(span_of(server(1)->health.reason),
		"the content does not have '~ \"state\": *\"(ok|warm)\"'");
	end();
}

static void it_asks_with_the_fields_that_the_pool_says(void)
{
	begin("{http: /, every: 50ms, headers: {Authorization: 'Bearer x', User-Agent: me}}");
	CHECK(becomes(0, HEALTH_UP));
	CHECK(strstr(fakes[0].request, "\r\nAuthorization: Bearer x\r\nUser-Agent: me\r\n") !=
		NULL);
	CHECK(strstr(fakes[0].request, "tandem-check") == NULL);
	apply("{http: /, every: 50ms, headers: {Authorization: 'Bearer y'}}");
	run_ms(100);
	CHECK(strstr(fakes[0].request,
		      "\r\nAuthorization: Bearer y\r\nUser-Agent: tandem-check\r\n") != NULL);
	end();
}

/* A server's side of HTTP/2 for the first call, byte for byte: SETTINGS, the head (:status 200),
 * one message, and the trailers with grpc-status. */
#define H2_SETTINGS "\0\0\0\4\0\0\0\0\0"
#define H2_HEAD "\0\0\1\1\4\0\0\0\1\x88"
#define H2_MESSAGE(status)   \
	"\0\0\7\0\0\0\0\0\1" \
	"\0\0\0\0\2"         \
	"\x08" status
#define H2_TRAILERS(digit)     \
	"\0\0\x0f\1\5\0\0\0\1" \
	"\0\x0bgrpc-status\1" digit
#define GRPC(status, digit) H2_SETTINGS H2_HEAD H2_MESSAGE(status) H2_TRAILERS(digit)
static void answers(unsigned i, const char *bytes, size_t len)
{
	fakes[i].answer = bytes;
	fakes[i].answer_len = len;
}
#define ANSWER(i, bytes) answers(i, bytes, sizeof(bytes) - 1)

static void a_grpc_check_passes_when_the_service_serves(void)
{
	begin("{grpc: shop.Cart, every: 50ms, timeout: 2s}");
	for (unsigned i = 0; i < SERVERS; i++)
		ANSWER(i, GRPC("\1", "0"));
	fakes[1].piece = 1;
	CHECK(becomes(0, HEALTH_UP));
	CHECK(becomes(1, HEALTH_UP));
	CHECK(memmem(fakes[0].request, sizeof(fakes[0].request), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		      24) != NULL);
	CHECK(memmem(fakes[0].request, sizeof(fakes[0].request), "\0\0\0\0\x0b\x0a\x09shop.Cart",
		      16) != NULL);
	ANSWER(0, GRPC("\2", "0"));
	ANSWER(1, GRPC("\1", "5"));
	CHECK(becomes(0, HEALTH_DOWN));
	CHECK_TEXT(span_of(server(0)->health.reason), "grpc status NOT_SERVING");
	CHECK(becomes(1, HEALTH_DOWN));
	CHECK_TEXT(span_of(server(1)->health.reason), "grpc-status 5, expected 0");
	end();
}

static void a_grpc_check_takes_nothing_for_well_that_it_does_not_understand(void)
{
	begin("{grpc: '*', every: 50ms, timeout: 200ms}");
	ANSWER(0, H2_SETTINGS "\0\0\1\1\5\0\0\0\1\x8d"); /* :status 404, and no more */
	fakes[1].answer = "HTTP/1.1 400 Bad Request\r\n\r\n";
	ANSWER(2, H2_SETTINGS H2_HEAD H2_TRAILERS("0")); /* no message */
	CHECK(becomes(0, HEALTH_DOWN));
	CHECK_TEXT(span_of(server(0)->health.reason), "status 404, expected 200");
	CHECK(becomes(1, HEALTH_DOWN));
	CHECK_TEXT(span_of(server(1)->health.reason), "not a gRPC answer over HTTP/2");
	CHECK(becomes(2, HEALTH_DOWN));
	CHECK_TEXT(span_of(server(2)->health.reason), "the answer is not a HealthCheckResponse");
	ANSWER(1, H2_SETTINGS H2_HEAD);
	ANSWER(2, H2_SETTINGS "\0\0\x08\7\0\0\0\0\0"
			      "\0\0\0\0\0\0\0\0"); /* GOAWAY */
	run_ms(150);
	CHECK(server(1)->health.state == HEALTH_DOWN); /* closed, or reset */
	CHECK(strstr(server(1)->health.reason, "expected") == NULL);
	CHECK_TEXT(span_of(server(2)->health.reason), "the server does not take the call");
	end();
}

/* Servers s0 and s1, which have no check; s2 is the agent of both, at another port. */
static void begin_with_agent(const char *line)
{
	char health[100];

	begin("");
	in_pool = 2;
	fakes[2].answer = line;
	fakes[2].talks_first = true;
	snprintf(health, sizeof(health), "{agent: {port: %u, every: 50ms}}, slow_start: 60s",
		fakes[2].port);
	apply(health);
}

static bool agent_says(enum agent_state state, unsigned pct)
{
	for (unsigned waited_ms = 0; waited_ms < 3000; waited_ms += 5) {
		const struct agent_word *w = &server(0)->agent;

		if (w->state == state && w->weight_pct == pct)
			return true;
		run_ms(5);
	}
	return false;
}

static void an_agent_sets_the_weight_and_says_who_is_out(void)
{
	begin_with_agent("75%\n");
	CHECK(agent_says(AGENT_UP, 75));
	CHECK(atomic_load(&server(0)->usable));
	fakes[2].answer = "drain\n";
	CHECK(agent_says(AGENT_DRAIN, 100));
	CHECK(atomic_load(&server(0)->usable) && atomic_load(&server(0)->drains));
	fakes[2].answer = "down 50% # out of disk\n";
	CHECK(agent_says(AGENT_DOWN, 50));
	CHECK(!atomic_load(&server(0)->usable) && !atomic_load(&server(0)->refused));
	CHECK_TEXT(span_of(server(0)->agent.reason), "out of disk");
	CHECK_TEXT(span_of(last_event), "server.agent");
	CHECK_INT(server(0)->health.state, HEALTH_UNKNOWN); /* nobody has checked it */
	fakes[2].answer = "maint";			    /* and the end of the line by closing */
	CHECK(agent_says(AGENT_MAINT, 100));
	CHECK(atomic_load(&server(0)->refused)); /* not even as a last resort */
	fakes[2].answer = "ready\r\n";
	CHECK(agent_says(AGENT_UP, 100));
	CHECK(atomic_load(&server(0)->usable));
	run_ms(2);
	CHECK(views_made >= 5);
	end();
}

static void an_agent_that_is_silent_or_talks_nonsense_changes_nothing(void)
{
	static const char *const lines[] = {NULL, "", "gibberish\n", "75 %\n", "101%\n"};

	begin_with_agent("drain 20%\n");
	CHECK(agent_says(AGENT_DRAIN, 20));
	for (unsigned i = 0; i < countof(lines); i++) {
		fakes[2].answer = lines[i];
		run_ms(120);
		CHECK_INT(server(0)->agent.state, AGENT_DRAIN);
	}
	fake_close(&fakes[2]);
	run_ms(120);
	CHECK_INT(server(0)->agent.state, AGENT_DRAIN);
	apply(""); /* without an agent there is nobody to say so */
	CHECK_INT(server(0)->agent.state, AGENT_UP);
	CHECK(!atomic_load(&server(0)->drains));
	end();
}

static unsigned connections_within(unsigned ms)
{
	unsigned before = fakes[0].connections;

	run_ms(ms);
	return fakes[0].connections - before;
}

static bool checked_since(unsigned i, uint64_t since_ms)
{
	for (unsigned n = 0; n < 100 && (!fakes[i].connections || fakes[i].last_ms < since_ms); n++)
		run_ms(30);
	return fakes[i].connections && fakes[i].last_ms >= since_ms;
}

static void a_standby_checks_at_a_tenth_of_the_rate_and_all_at_once_when_it_becomes_active(void)
{
	uint64_t became_ms;

	begin("{http: /, every: 100ms}");
	CHECK(connections_within(1000) >= 5);
	checks_standby(checks, true);
	run_ms(150); /* what was planned */
	CHECK(connections_within(2000) <= 3);
	CHECK(connections_within(2000) >= 1);
	apply("{http: /, every: 1s}"); /* once now, then after 10 s */
	for (unsigned i = 0; i < SERVERS; i++)
		CHECK(checked_since(i, 0));
	run_ms(100);
	became_ms = now_ms();
	checks_standby(checks, false);
	for (unsigned i = 0; i < SERVERS; i++)
		CHECK(checked_since(i, became_ms));
	end();
}

static void first_checks_are_spread_and_all_made_within_one_interval(void)
{
	uint64_t began_ms;
	unsigned first, second;

	begin("");
	ev_now_update(loop); /* from which the checks are planned */
	began_ms = now_ms();
	apply("{http: /, every: 90ms, timeout: 80ms}");
	run_ms(5);
	first = fakes[0].connections;
	second = fakes[1].connections;
	if (now_ms() - began_ms < 9) { /* else others kept us from looking in time */
		CHECK_INT(first, 1);
		CHECK_INT(second, 0); /* comes 10 ms later */
	}
	run_ms(80);
	for (unsigned i = 0; i < SERVERS; i++)
		CHECK(fakes[i].connections >= 1);
	end();
}

static void a_worker_that_was_refused_takes_a_server_out_within_one_iteration(void)
{
	begin("{http: /, every: 10s}");
	CHECK(becomes(0, HEALTH_UP));
	CHECK(becomes(1, HEALTH_UP));
	CHECK(becomes(2, HEALTH_UP));
	server_report(server(0), SERVER_REFUSED);
	server_report(server(1), SERVER_REFUSED);
	server_report(server(0), SERVER_REFUSED);
	ev_run(loop, EVRUN_ONCE); /* hears of it */
	ev_run(loop,
		EVRUN_NOWAIT); /* before it waits again, views are made: of two servers, once */
	CHECK_INT(server(0)->health.state, HEALTH_DOWN);
	CHECK_INT(server(1)->health.state, HEALTH_DOWN);
	CHECK_INT(views_made, 1);
	/* Though checks come every ten seconds, it is looked at again soon. */
	CHECK(becomes(0, HEALTH_UP));
	end();
}

static void a_view_that_could_not_be_made_is_made_later_also_after_a_reload(void)
{
	begin("");
	views_failing = 2;
	server_report(server(0), SERVER_REFUSED);
	run_ms(500);
	CHECK_INT(views_failing, 1); /* and it is not tried without a pause */
	apply("");
	for (unsigned waited_ms = 500; views_failing && waited_ms < 5000; waited_ms += 5)
		run_ms(5);
	CHECK_INT(views_failing, 0);
	CHECK_INT(views_made, 0);
	for (unsigned waited_ms = 0; !views_made && waited_ms < 5000; waited_ms += 5)
		run_ms(5);
	CHECK_INT(views_made, 1);
	end();
}

static void without_checks_traffic_decides_but_never_of_the_last_half(void)
{
	begin("");
	CHECK_TEXT(span_of(server(0)->health.reason), "no check configured");
	for (unsigned i = 0; i < 5; i++)
		server_report(server(0), SERVER_BROKE);
	run_ms(2);
	CHECK_INT(server(0)->health.state, HEALTH_EJECTED);
	for (unsigned i = 0; i < 50; i++)
		server_report(server(1), SERVER_BROKE);
	run_ms(2);
	CHECK_INT(server(1)->health.state, HEALTH_UNKNOWN); /* one of three is half already */
	server_report(server(1), SERVER_REFUSED);
	run_ms(2);
	CHECK_INT(
		server(1)->health.state, HEALTH_EJECTED); /* but there is no use in a closed port */
	CHECK_INT(fakes[0].connections, 0);
	end();
}

static void the_pool_says_how_many_failures_eject_for_how_long_and_of_how_many(void)
{
	unsigned ejected = 0;

	begin("{tcp: true}, passive: {failures: 2, eject: 60s, max_ejected: 70%}");
	for (unsigned i = 0; i < SERVERS; i++)
		CHECK(becomes(i, HEALTH_UP));
	server_report(server(0), SERVER_BROKE);
	run_ms(2);
	CHECK_INT(server(0)->health.state, HEALTH_UP);
	for (unsigned i = 0; i < SERVERS; i++)
		for (unsigned failures = 0; failures < 2; failures++)
			server_report(server(i), SERVER_BROKE);
	run_ms(2);
	for (unsigned i = 0; i < SERVERS; i++) {
		const struct health *h = &server(i)->health;

		if (h->state != HEALTH_EJECTED)
			continue;
		ejected++;
		CHECK_INT(health_due_ns(h) - h->since_ns, 60 * NS_PER_S);
	}
	CHECK_INT(ejected, 2); /* never the last */
	end();
}

/* Whatever fails in whatever order: of broken traffic at most the part that the pool says is put
 * aside, each for 10 s times how often, and there is always one left. */
static void ejections_never_empty_a_pool_nor_go_past_its_part(void)
{
	static const char *const pools[] = {"", "{tcp: true, every: 10s}"};
	struct rng rng;

	rng_seed(&rng, 3);
	for (unsigned a = 0; a < countof(pools); a++) {
		begin(pools[a]);
		run_ms(60);
		for (unsigned i = 0; i < 1000; i++) {
			unsigned ejected = 0, usable = 0, at = (unsigned)rng_below(&rng, SERVERS);

			server_report(server(at), rng_below(&rng, 8) ? SERVER_BROKE : SERVER_OK);
			checks_wake(checks);
			for (unsigned k = 0; k < SERVERS; k++) {
				const struct health *h = &server(k)->health;

				ejected += h->state == HEALTH_EJECTED;
				usable += health_usable(h);
				if (h->state == HEALTH_EJECTED)
					CHECK(h->ejections >= 1 &&
						h->ejected_until_ns - h->since_ns ==
							h->ejections * 10 * NS_PER_S);
			}
			CHECK(ejected <= SERVERS / 2 && usable >= SERVERS - SERVERS / 2);
		}
		CHECK(server(0)->health.state == HEALTH_EJECTED ||
			server(1)->health.state == HEALTH_EJECTED ||
			server(2)->health.state == HEALTH_EJECTED);
		end();
	}
	begin(""); /* nobody there at all: the last one is tried all the same */
	for (unsigned i = 0; i < 300; i++) {
		unsigned usable = 0;

		server_report(server((unsigned)rng_below(&rng, SERVERS)), SERVER_REFUSED);
		checks_wake(checks);
		for (unsigned k = 0; k < SERVERS; k++)
			usable += health_usable(&server(k)->health);
		CHECK(usable >= 1);
	}
	end();
}

static void a_server_that_comes_back_or_is_added_starts_slowly_but_none_at_the_start(void)
{
	static const char slowly[] =
		"{http: /, every: 50ms, timeout: 2s, rise: 1}, slow_start: 10s";
	const struct pool *p;

	begin(slowly);
	in_pool = 2;
	apply(slowly);
	CHECK(becomes(0, HEALTH_UP));
	CHECK_INT(server(0)->started_ns, 0);
	CHECK_INT(server(1)->started_ns, 0);
	fakes[0].answer = "HTTP/1.1 500 No\r\n\r\n";
	CHECK(becomes(0, HEALTH_DOWN));
	fakes[0].answer = "HTTP/1.1 200 Yes\r\n\r\n";
	CHECK(becomes(0, HEALTH_UP));
	p = &settings->pools[0];
	CHECK(server(0)->started_ns > 0);
	CHECK_INT(pool_share_pct(p, server(0), server(0)->started_ns), 10);
	CHECK_INT(pool_share_pct(p, server(0), server(0)->started_ns + 5 * NS_PER_S), 55);
	CHECK_INT(pool_share_pct(p, server(0), server(0)->started_ns + 10 * NS_PER_S), 100);
	in_pool = 3; /* beside 1, which serves fully */
	apply(slowly);
	CHECK(server(2)->started_ns > 0);
	end();
}

static void a_share_grows_in_steps_until_it_is_whole_and_no_view_is_made_after_that(void)
{
	static const char slowly[] = "{tcp: true}, slow_start: 1s";

	begin(slowly);
	in_pool = 2;
	apply(slowly);
	in_pool = 3;
	apply(slowly);
	CHECK(server(2)->started_ns > 0);
	views_made = 0;
	run_ms(1400);
	CHECK(views_made >= 4 && views_made <= 8);
	CHECK_INT(server(2)->started_ns, 0);
	views_made = 0;
	run_ms(600);
	CHECK_INT(views_made, 0);
	end();
}

static void when_all_come_back_none_starts_slowly(void)
{
	begin("{http: /, every: 50ms, timeout: 2s, rise: 1}, slow_start: 10s");
	for (unsigned i = 0; i < SERVERS; i++)
		fakes[i].answer = "HTTP/1.1 500 No\r\n\r\n";
	for (unsigned i = 0; i < SERVERS; i++)
		CHECK(becomes(i, HEALTH_DOWN));
	fakes[1].answer = "HTTP/1.1 200 Yes\r\n\r\n";
	CHECK(becomes(1, HEALTH_UP));
	CHECK_INT(server(1)->started_ns, 0);
	end();
}

static void health_survives_a_reload_and_the_check_under_way_too(void)
{
	begin(fast_http);
	fakes[0].answer = "HTTP/1.1 500 No\r\n\r\n";
	CHECK(becomes(0, HEALTH_DOWN));
	CHECK(becomes(1, HEALTH_UP));
	for (unsigned i = 0; i < 50; i++) {
		apply(fast_http);
		run_ms(3);
		CHECK(server(0)->health.state == HEALTH_DOWN);
		CHECK(server(1)->health.state == HEALTH_UP);
	}
	fakes[0].answer = "HTTP/1.1 200 Yes\r\n\r\n"; /* the rhythm goes on */
	CHECK(becomes(0, HEALTH_UP));
	end();
}

static void a_removed_server_is_not_asked_any_more_even_in_the_middle(void)
{
	unsigned seen;
	uint16_t port;

	begin("{http: /, every: 50ms, timeout: 5s}");
	fakes[2].answer = NULL; /* its check hangs */
	CHECK(becomes(0, HEALTH_UP));
	CHECK(checked_since(2, 0));
	CHECK_INT(fakes[2].connections, 1);
	port = fakes[2].port;
	fakes[2].port = fakes[0].port; /* s2 moves to another address */
	apply("{http: /, every: 50ms, timeout: 5s}");
	fakes[2].port = port;
	CHECK(becomes(2, HEALTH_UP));
	seen = fakes[2].connections;
	run_ms(200);
	CHECK_INT(fakes[2].connections, seen);
	end();
}

static unsigned granted;

static void on_granted(struct waiter *w)
{
	(void)w;
	granted++;
}

static void who_waits_for_a_removed_server_is_not_forgotten_when_it_fails(void)
{
	struct waiter w = {.on_granted = on_granted};
	struct rng rng;
	struct pick what = {.rng = &rng, .now_ns = 1};
	struct settings *old;
	struct pool_view *view;
	struct server *s;

	begin("{http: /, every: 10s}, limits: {connections_per_server: 1}");
	rng_seed(&rng, 1);
	old = settings_ref(settings);
	view = pool_view_new(&old->pools[0], old->pools[0].state->set);
	CHECK_TRUE(view != NULL);
	for (unsigned i = 0; i < SERVERS; i++)
		CHECK(pool_take(view, &what) != NULL);
	w.pool = &old->pools[0];
	list_init(&w.link);
	granted = 0;
	CHECK(queue_enter(&w.pool->state->queue, &w, view, &what));
	in_pool = 1;
	apply("{http: /, every: 10s}, limits: {connections_per_server: 1}");
	s = old->pools[0].members[2].server;
	server_suspect(s);
	pool_release(view, s);
	CHECK_INT(granted, 0);
	run_ms(50);
	CHECK_INT(granted, 1);
	CHECK(w.server == s);
	CHECK_INT(atomic_load(&s->in_flight), 1);
	if (!granted)
		queue_leave(&w.pool->state->queue, &w);
	pool_view_unref(view);
	settings_unref(old);
	end();
}

static void a_changed_check_is_made_anew_and_a_dropped_one_lets_it_go(void)
{
	begin("{http: /old, every: 50ms}");
	fakes[0].answer = "HTTP/1.1 500 No\r\n\r\n";
	CHECK(becomes(0, HEALTH_DOWN));
	apply("{http: /new, every: 10s}");
	CHECK_INT(server(0)->health.state, HEALTH_DOWN);
	for (unsigned i = 0; i < 100 && strncmp(fakes[1].request, "GET /new ", 9) != 0; i++)
		run_ms(20);
	CHECK(strncmp(fakes[1].request, "GET /new ", 9) == 0);
	views_made = 0;
	apply("");
	CHECK_INT(server(0)->health.state, HEALTH_UNKNOWN);
	CHECK(atomic_load(&server(0)->usable));
	run_ms(20);
	CHECK_INT(views_made, 1);
	end();
}

static void checks_stop_when_everything_is_freed(void)
{
	begin(fast_http);
	fakes[0].answer = NULL;
	run_ms(20);
	end(); /* with a check under way; the sanitizers see what is left */
}

static const struct test_case cases[] = {
	TEST(servers_that_answer_come_up_at_once),
	TEST(a_bad_status_takes_a_server_down_after_three_and_two_good_ones_bring_it_back),
	TEST(the_expected_statuses_decide),
	TEST(an_answer_in_pieces_after_an_interim_one_counts),
	TEST(garbage_silence_and_closing_are_failures_each_with_its_reason),
	TEST(a_head_that_never_ends_is_a_failure),
	TEST(a_refused_check_takes_it_out_at_once_and_it_comes_back),
	TEST(a_tcp_check_only_connects),
	TEST(the_content_must_have_the_text_whatever_its_framing),
	TEST(a_good_text_with_a_bad_status_or_a_broken_end_does_not_count),
	TEST(only_the_first_64_kib_are_looked_at),
	TEST(an_expression_looks_at_the_content_too),
	TEST(it_asks_with_the_fields_that_the_pool_says),
	TEST(a_grpc_check_passes_when_the_service_serves),
	TEST(a_grpc_check_takes_nothing_for_well_that_it_does_not_understand),
	TEST(an_agent_sets_the_weight_and_says_who_is_out),
	TEST(an_agent_that_is_silent_or_talks_nonsense_changes_nothing),
	TEST(a_standby_checks_at_a_tenth_of_the_rate_and_all_at_once_when_it_becomes_active),
	TEST(first_checks_are_spread_and_all_made_within_one_interval),
	TEST(a_worker_that_was_refused_takes_a_server_out_within_one_iteration),
	TEST(a_view_that_could_not_be_made_is_made_later_also_after_a_reload),
	TEST(without_checks_traffic_decides_but_never_of_the_last_half),
	TEST(the_pool_says_how_many_failures_eject_for_how_long_and_of_how_many),
	TEST(ejections_never_empty_a_pool_nor_go_past_its_part),
	TEST(a_server_that_comes_back_or_is_added_starts_slowly_but_none_at_the_start),
	TEST(a_share_grows_in_steps_until_it_is_whole_and_no_view_is_made_after_that),
	TEST(when_all_come_back_none_starts_slowly),
	TEST(health_survives_a_reload_and_the_check_under_way_too),
	TEST(a_removed_server_is_not_asked_any_more_even_in_the_middle),
	TEST(who_waits_for_a_removed_server_is_not_forgotten_when_it_fails),
	TEST(a_changed_check_is_made_anew_and_a_dropped_one_lets_it_go),
	TEST(checks_stop_when_everything_is_freed),
};

int main(void)
{
	log_open("test_checks", LOG_ERROR, LOG_FORMAT_TEXT);
	return tests_run("checks", cases, countof(cases));
}
