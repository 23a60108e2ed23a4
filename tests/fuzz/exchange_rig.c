#include "tests/fuzz/exchange_rig.h"

#include "proxy/exchange/upstream.h"
#include "shared/log.h"
#include "shared/units.h"

#define CLIENTS_MAX 4
#define POOLS_MAX 3
/* Idle turns are none of these: the loop has found something to do each time. */
#define TURNS_MAX 200000
#define DRAIN_STEPS 16	 /* of half a minute: all deadlines of a request together */
#define REQUEST_BYTES 16 /* at least */
#define BULK_KIB_MAX 512 /* a script */

static const char *const texts[2] = {
	"log: {access: /dev/null}\n"
	"timeouts: {tunnel: 60s}\n"
	"listeners:\n"
	"  plain: {bind: \"127.0.0.1:1001\", pool: web}\n"
	"  trusting: {bind: \"127.0.0.1:1002\", trusted_proxies: [10.0.0.0/8], path: raw, via: "
	"off,\n"
	"    limits: {request_body: 1KiB, fields: 20}, pool: trying}\n"
	"  h2: {bind: \"127.0.0.1:1003\", h2c: true, limits: {h2_streams: 8, fields: 20},\n"
	"    routes: [{match: {path: /2/*}, pool: both}, {pool: web}]}\n"
	"pools:\n"
	"  both: {servers: {a: \"127.0.0.1:2006\"}, protocol: h2}\n"
	"  web: {servers: {a: \"127.0.0.1:2001\"}}\n"
	"  trying: {servers: {a: \"127.0.0.1:2002\", b: \"127.0.0.1:2003\", c: "
	"\"127.0.0.1:2004\"},\n"
	"    retry: {attempts: 3, retry_unsafe_methods: true,\n"
	"      on: [connect, stale_connection, reset, first_byte, 500, 503]}}\n",
	/* after a reload: one listener less, another pool */
	"timeouts: {tunnel: 60s}\n"
	"listeners:\n"
	"  plain: {bind: \"127.0.0.1:1001\", pool: other}\n"
	"pools:\n"
	"  other: {servers: {a: \"127.0.0.1:2002\", b: \"127.0.0.1:2005\"}, balance: "
	"round_robin}\n",
};

static struct rig {
	struct server_table *table;
	struct conf_report *reports[2];
	struct settings *settings[2];
	struct pool_view *views[2][POOLS_MAX];
	struct worker *worker;
	int listen_fds[RIG_LISTENERS];
	unsigned running; /* settings */
	uint64_t generation;
	bool finished;
} rig;

/* --- opening and closing
 * ----------------------------------------------------------------------------- */

static void turn(void);

static int build(unsigned i)
{
	struct conf *conf;

	rig.reports[i] = conf_report_new();
	conf = rig.reports[i] ? conf_load_text("t", span_of(texts[i]), rig.reports[i]) : NULL;
	if (!conf)
		return -1;
	rig.settings[i] = settings_build(conf, rig.reports[i], rig.table, i + 1, NULL);
	if (!rig.settings[i]) {
		ASSERT(conf_report_errors(rig.reports[i]) == 0);
		conf_free(conf);
		return -1;
	}
	for (unsigned j = 0; j < rig.settings[i]->pool_count; j++) {
		const struct pool *p = &rig.settings[i]->pools[j];
		struct member_set *set = member_set_new(p->members, p->member_count);

		rig.views[i][j] = set ? pool_view_new(p, set) : NULL;
		member_set_unref(set);
		if (!rig.views[i][j])
			return -1;
	}
	return 0;
}

/* The binds that listen only from now on get a socket. */
static int apply(unsigned which)
{
	struct settings *s = rig.settings[which];
	struct worker_socket sockets[RIG_LISTENERS];
	unsigned count = 0;
	struct post *post;

	s->generation = ++rig.generation;
	for (unsigned i = 0; i < s->listener_count; i++)
		if (rig.listen_fds[i] < 0) {
			rig.listen_fds[i] = fake_net_listen(&s->listeners[i].binds[0]);
			sockets[count++] =
				(struct worker_socket){s->listeners[i].binds[0], rig.listen_fds[i]};
		}
	post = worker_apply_new(s, rig.views[which], sockets, count);
	if (!post) {
		while (count--) {
			close(sockets[count].fd);
			for (unsigned i = 0; i < RIG_LISTENERS; i++)
				if (rig.listen_fds[i] == sockets[count].fd)
					rig.listen_fds[i] = -1;
		}
		return -1;
	}
	worker_post_apply(rig.worker, post);
	for (unsigned i = s->listener_count; i < RIG_LISTENERS; i++)
		rig.listen_fds[i] = -1;
	rig.running = which;
	return 0;
}

static void on_finished(void *ctx)
{
	(void)ctx;
}

static int start_worker(void)
{
	struct err err;

	for (unsigned i = 0; i < RIG_LISTENERS; i++)
		rig.listen_fds[i] = -1;
	rig.worker = worker_new(0, on_finished, NULL, &err);
	if (!rig.worker)
		return -1;
	rig.worker->clients_max = CLIENTS_MAX;
	rig.worker->pipes.max = 2;
	return apply(0);
}

static void stop_worker(void)
{
	if (!rig.worker)
		return;
	/* what worker.c does at the end of its thread */
	worker_post_stop(rig.worker, 0, 0);
	for (unsigned i = 0; i < 3; i++) {
		fake_net.now_ns += NS_PER_S;
		turn();
	}
	upstream_close_all(rig.worker);
	turn();
	worker_free(rig.worker);
	rig.worker = NULL;
}

int rig_open(void)
{
	log_set_level(LOG_ERROR);
	fake_net.on = true;
	fake_net_reset();
	rig.table = server_table_new();
	if (!rig.table || build(0) < 0 || build(1) < 0 || start_worker() < 0) {
		rig_close();
		return -1;
	}
	turn();
	fake_net.on = false;
	return 0;
}

void rig_close(void)
{
	fake_net.on = true;
	stop_worker();
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned j = 0; j < countof(rig.views[i]); j++)
			pool_view_unref(rig.views[i][j]);
		settings_unref(rig.settings[i]);
		conf_report_free(rig.reports[i]);
	}
	server_table_free(rig.table);
	memset(&rig, 0, sizeof(rig));
	fake_net.on = false;
}

const struct listener *rig_listener_conf(enum rig_listener which)
{
	return &rig.settings[0]->listeners[which];
}

/* --- the script
 * -------------------------------------------------------------------------------------- */

struct script {
	enum rig_listener which;
	struct rig_result result;
	unsigned clients;
	struct fake_conn *client, *server;
	bool server_speaks;
	unsigned bulk_kib;	 /* said */
	struct fake_bytes early; /* said by a server that nobody has connected to */
	char early_room[4096];
};

/* Turns the loop until nothing happens. */
static void turn(void)
{
	unsigned turns = 0;
	uint64_t calls;

	do {
		ASSERT(turns++ < TURNS_MAX);
		calls = fake_net.calls;
		ev_run(rig.worker->loop, EVRUN_NOWAIT);
	} while (fake_net.polled || fake_net.calls != calls);
}

static struct fake_conn *last_server(void)
{
	for (unsigned i = fake_net.conn_count; i-- > 0;)
		if (!fake_net.conns[i].from_client && fake_net.conns[i].state == FAKE_CONNECTED)
			return &fake_net.conns[i];
	return NULL;
}

static void settle(struct script *s)
{
	struct fake_conn *last;

	turn();
	last = last_server();
	if (!s->server && last && s->early.len) {
		s->server = last;
		fake_net_say(last, s->early.data, s->early.len);
		s->early.len = 0;
		turn();
		last = last_server();
	}
	/* A new connection is the one that is talked to. */
	if (last && (!s->server || last > s->server))
		s->server = last;
}

static void connect_client(struct script *s)
{
	struct addr a;

	if (s->clients == CLIENTS_MAX)
		return;
	ASSERT(addr_parse(SPAN("10.9.0.1:5000"), &a, NULL) == 0);
	a.in.sin_addr.s_addr = htonl(ntohl(a.in.sin_addr.s_addr) + s->clients);
	if (rig.listen_fds[s->which] < 0)
		return;
	s->client = fake_net_client(rig.listen_fds[s->which], &a);
	s->clients++;
}

static void next_server(struct script *s)
{
	unsigned from = s->server ? (unsigned)(s->server - fake_net.conns) : 0;

	for (unsigned i = 1; i <= fake_net.conn_count; i++) {
		struct fake_conn *c = &fake_net.conns[(from + i) % fake_net.conn_count];

		if (!c->from_client && c->state == FAKE_CONNECTED && c->fd >= 0) {
			s->server = c;
			return;
		}
	}
}

static void say(struct script *s, const char *bytes, size_t len)
{
	struct fake_conn *c = s->server_speaks ? s->server : s->client;

	if (c) {
		fake_net_say(c, bytes, len);
	} else if (s->server_speaks && s->early.len + len <= sizeof(s->early_room)) {
		memcpy(s->early.data + s->early.len, bytes, len);
		s->early.len += len;
	}
}

static void say_bulk(struct script *s, unsigned kib)
{
	static char filler[1024];

	if (!filler[0])
		memset(filler, 'x', sizeof(filler));
	for (; kib && s->bulk_kib < BULK_KIB_MAX; kib--, s->bulk_kib++)
		say(s, filler, sizeof(filler));
	s->result.bulky = true;
}

static void reload(struct script *s)
{
	/* Of an acceptor that drains the sockets are closed by the worker. */
	if (!s->result.stopped)
		apply(!rig.running);
	s->result.reloaded = true;
}

/* Some bytes, or many. */
static size_t window_of(uint8_t number)
{
	return number < 200 ? number : (number - 199u) * 4096;
}

/* An order that is about one side. */
static void order_side(struct fake_conn *c, char what)
{
	if (!c || c->in_reset)
		return;
	if (what == 'c')
		c->in_end = true;
	else if (what == 'x')
		fake_net_hang_up(c);
	else
		c->in_reset = true;
}

static void order(struct script *s, char what, uint8_t number)
{
	switch (what) {
	case 'C':
	case 'S':
		s->server_speaks = what == 'S';
		return;
	case 'b':
		say_bulk(s, number);
		return;
	case 'n':
		connect_client(s);
		return;
	case 'N':
		next_server(s);
		return;
	case 'c':
	case 'x':
	case 'r':
		order_side(s->client, what);
		break;
	case 's':
	case 'X':
	case 'R':
		order_side(s->server, what == 's' ? 'c' : ascii_lower(what));
		return; /* when the other side has gone is seen in order, however bytes come */
	case 'w':
		if (s->client)
			s->client->window = window_of(number);
		break;
	case 'W':
		if (s->server)
			s->server->window = window_of(number);
		break;
	case 't':
		fake_net.now_ns += NS_PER_S;
		break;
	case 'T':
		fake_net.now_ns += 30 * NS_PER_S;
		break;
	case 'e':
		fake_net.next_connect = FAKE_CONNECT_REFUSED;
		break;
	case 'h':
		fake_net.next_connect = FAKE_CONNECT_HANGS;
		break;
	case 'E':
		fake_net.next_socket_fails = true;
		break;
	case 'G':
		reload(s);
		break;
	case 'D':
		worker_post_stop(rig.worker, 30 * NS_PER_S, WORKER_GOODBYE_NS);
		s->result.stopped = true;
		break;
	default:
		return;
	}
	s->result.timed = true;
}

static void play(struct script *s, struct span script)
{
	size_t at = 0;

	connect_client(s);
	settle(s);
	while (at < script.len) {
		size_t end = span_find(script, (char)0xff, at);

		if (end == at) {
			char what = at + 1 < script.len ? script.ptr[at + 1] : 0;
			bool counts = what == 'w' || what == 'W' || what == 'b';

			if (what == (char)0xff)
				say(s, script.ptr + at, 1);
			else
				order(s, what,
					counts && at + 2 < script.len ? (uint8_t)script.ptr[at + 2]
								      : 0);
			end = at + 2 + counts;
		} else {
			say(s, script.ptr + at, end - at);
		}
		at = end;
		settle(s);
	}
}

/* --- after it
 * ---------------------------------------------------------------------------------------- */

static bool someone_left(void)
{
	return rig.worker->clients || rig.worker->server_conns;
}

/* An exchange has a reference to the snapshot, as each acceptor has. */
static bool exchanges_left(void)
{
	unsigned holders = 1;

	list_each_safe (it, &rig.worker->acceptors)
		holders++;
	return rig.worker->snapshot && rig.worker->snapshot->refs != holders;
}

/* Everything ends, whatever the far ends do: they say nothing any more, and take all. */
static void drain(size_t said)
{
	size_t steps = DRAIN_STEPS * (1 + said / REQUEST_BYTES);

	for (unsigned i = 0; i < fake_net.conn_count; i++)
		fake_net.conns[i].window = SIZE_MAX;
	turn();
	for (size_t i = 0; i < steps && someone_left(); i++) {
		fake_net.now_ns += 30 * NS_PER_S;
		turn();
	}
	ASSERT(!someone_left() && !exchanges_left());
	for (unsigned i = 0; i < 2; i++)
		for (unsigned j = 0; j < rig.settings[i]->pool_count; j++) {
			struct pool *p = &rig.settings[i]->pools[j];

			for (unsigned k = 0; k < p->member_count; k++)
				ASSERT(atomic_load(&p->members[k].server->in_flight) == 0);
		}
	for (unsigned i = 0; i < fake_net.conn_count; i++)
		ASSERT(fake_net.conns[i].fd < 0);
}

/* The same beginning for every script. */
static void reset(void)
{
	fake_net_reset();
	rng_seed(&rig.worker->rng, 1);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned j = 0; j < rig.settings[i]->pool_count; j++) {
			struct pool_state *state = rig.settings[i]->pools[j].state;

			atomic_store(&state->ticket, 0);
			memset(&state->budget, 0, sizeof(state->budget));
		}
}

struct rig_result rig_run(enum rig_listener which, struct span script, size_t read_max)
{
	struct script s = {.which = which};

	s.early.data = s.early_room;
	fake_net.on = true;
	if (!rig.worker)
		ASSERT(start_worker() == 0);
	else if (rig.running != 0)
		ASSERT(apply(0) == 0);
	reset();
	turn();
	fake_net.read_max = read_max;
	play(&s, script);
	drain(script.len);
	if (s.result.stopped)
		stop_worker();
	fake_net.on = false;
	return s.result;
}

#define H2_HELLO "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

struct rig_result rig_run_h2(struct span script, size_t read_max)
{
	static const struct span hello = SPAN(H2_HELLO);
	static char whole[H2_SCRIPT_MAX + 64];

	ASSERT(script.len <= H2_SCRIPT_MAX);
	memcpy(whole, hello.ptr, hello.len);
	if (script.len)
		memcpy(whole + hello.len, script.ptr, script.len);
	return rig_run(LISTENER_H2, span_make(whole, hello.len + script.len), read_max);
}

bool rig_serves(void)
{
	const struct span script = SPAN("GET / HTTP/1.1\r\nHost: a\r\n\r\n\xff"
					"SHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	const struct span answer = SPAN("HTTP/1.1 200 OK\r\n");

	rig_run(LISTENER_PLAIN, script, SIZE_MAX);
	return span_starts(
		span_make(fake_net.conns[0].out.data, fake_net.conns[0].out.len), answer);
}

bool rig_serves_h2(void)
{
	const struct span script = SPAN("\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\1a\xff"
					"SHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	const struct span end = SPAN("\0\0\2\0\1\0\0\0\1ok"); /* DATA, END_STREAM */
	const struct fake_bytes *out = &fake_net.conns[0].out, *asked = &fake_net.conns[1].out;

	rig_run_h2(script, SIZE_MAX);
	return span_starts(
		       span_make(asked->data, asked->len), SPAN("GET / HTTP/1.1\r\nHost: a\r\n")) &&
	       memmem(out->data, out->len, end.ptr, end.len);
}
