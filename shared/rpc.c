/*
 * The JSON-RPC server: one listening Unix socket and its connections, all on the owner's loop.
 *
 * Connections with something to do take turns: a few calls each, and a bounded time for all of them
 * in one round of the loop, so that one who floods us delays neither the others nor what else the
 * loop does.
 *
 * A connection that is done for is closed by conn_close(): its watchers stop and it moves to the
 * reap list, which a prepare watcher empties between two rounds of callbacks; nothing frees it
 * earlier.
 */
#include "shared/rpc.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/conf.h"
#include "shared/list.h"
#include "shared/log.h"
#include "shared/rpc_socket.h"
#include "shared/rpc_wire.h"
#include "shared/units.h"

enum {
	CONNS_MAX = 256,
	OUT_MAX = 1024 * 1024,	       /* what a client may leave unread */
	ANSWER_MAX = 16 * 1024 * 1024, /* an answer alone: status of the most servers */
	IN_MAX = RPC_LINE_MAX + 1,
	READ_CHUNK = 8192,
	RING_SIZE = 1024,
	METHODS_MAX = 62,
	ACCEPTS_A_ROUND = 16,
	CALLS_A_TURN = 4, /* of one connection */
};
#define ROUND_NS (2 * NS_PER_MS) /* for the turns of one round of the loop */
static const double accept_pause_s = 0.1;

struct rpc_server {
	struct ev_loop *loop;
	struct rpc_server_options o;
	struct rpc_socket socket;
	ev_io accept;
	ev_timer accept_pause;
	ev_prepare round, reap;
	ev_idle unfinished; /* active while `ready` holds more: the loop must not sleep */
	struct list conns, dead;
	struct list ready; /* who has something to read, or lines that were read */
	unsigned conn_count;
	uint64_t next_id;
	bool in_call;
	uint64_t seq;	       /* of the last event */
	char *ring[RING_SIZE]; /* event seq at [seq % RING_SIZE], as a line */
};

struct rpc_conn {
	struct rpc_server *server;
	struct list link;
	struct list ready; /* in server.ready */
	int fd;
	ev_io readable, writable;
	struct rpc_caller who;
	struct buf in, out;
	size_t scanned;
	bool skipping;	/* the rest of a line that was too long */
	bool ended;	/* the peer sends no more */
	bool following; /* the event stream */
	bool closing;	/* on the reap list */
};

/* --- one connection -------------------------------------------------------------------------- */
static void conn_close(struct rpc_conn *c)
{
	struct rpc_server *s = c->server;

	if (c->closing)
		return;
	c->closing = true;
	ev_io_stop(s->loop, &c->readable);
	ev_io_stop(s->loop, &c->writable);
	list_remove(&c->ready);
	list_remove(&c->link);
	list_append(&s->dead, &c->link);
	ev_prepare_start(s->loop, &s->reap);
}

static void conn_free(struct rpc_conn *c)
{
	ASSERT(c->closing);
	list_remove(&c->link);
	close(c->fd);
	buf_fini(&c->in);
	buf_fini(&c->out);
	ASSERT(c->server->conn_count > 0);
	c->server->conn_count--;
	free(c);
}

static void on_reap(struct ev_loop *loop, ev_prepare *w, int revents)
{
	struct rpc_server *s = w->data;

	(void)revents;
	ev_prepare_stop(loop, w); /* what on_closed closes starts it again */
	list_each_safe (it, &s->dead) {
		struct rpc_conn *c = list_item(it, struct rpc_conn, link);
		uint64_t id = c->who.id;

		conn_free(c);
		if (s->o.on_closed)
			s->o.on_closed(s->o.ctx, id);
	}
}

static void conn_drop(struct rpc_conn *c)
{
	if (c->closing)
		return;
	log_event(LOG_NOTICE, "rpc.dropped", "dropping a client that does not read",
		F_INT("pid", c->who.pid), F_INT("uid", c->who.uid),
		F_INT("unread_bytes", c->out.len));
	conn_close(c);
}

static void conn_flush(struct rpc_conn *c)
{
	if (c->closing)
		return;
	switch (rpc_flush(c->fd, &c->out)) {
	case RPC_FLUSHED:
		ev_io_stop(c->server->loop, &c->writable);
		if (c->ended)
			conn_close(c);
		break;
	case RPC_BLOCKED:
		ev_io_start(c->server->loop, &c->writable);
		break;
	case RPC_BROKEN:
		conn_close(c);
		break;
	}
}

static void on_writable(struct ev_loop *loop, ev_io *w, int revents)
{
	(void)loop;
	(void)revents;
	conn_flush(w->data);
}

static void conn_put_error(
	struct rpc_conn *c, const struct rpc_request *r, int code, const char *text)
{
	bool was_empty = c->out.len == 0;

	if (r->notification)
		return;
	if (rpc_put_error(&c->out, r, code, text) < 0 || (!was_empty && c->out.len > OUT_MAX))
		conn_drop(c);
}

/* An answer may be larger than what a client may leave unread, when there is nothing of that; one
 * that is too large even so is refused in words; one that finds no room costs the connection. */
static void conn_put_result(struct rpc_conn *c, const struct rpc_request *r, json_t *result)
{
	bool was_empty = c->out.len == 0;

	if (r->notification)
		json_decref(result);
	else if (rpc_put_result(&c->out, r, result) == 0) {
		if (!was_empty && c->out.len > OUT_MAX)
			conn_drop(c);
	} else if (was_empty)
		conn_put_error(c, r, RPC_FAILED,
			"the answer is larger than 16 MiB, or there is no memory for it");
	else
		conn_drop(c);
}

/* --- the event stream ------------------------------------------------------------------------ */
static void conn_put_event(struct rpc_conn *c, const char *line)
{
	struct span text = span_of(line);

	if (c->closing)
		return;
	if (c->out.len + text.len > OUT_MAX || buf_append(&c->out, text) < 0)
		conn_drop(c);
}

/* Answers `events` and replays what the ring still holds after params.since. */
static void conn_follow(struct rpc_conn *c, const struct rpc_request *r)
{
	struct rpc_server *s = c->server;
	const json_t *since_json = json_object_get(r->params, "since");
	uint64_t since = s->seq;

	if (since_json && (!json_is_integer(since_json) || json_integer_value(since_json) < 0)) {
		conn_put_error(c, r, RPC_INVALID_PARAMS,
			"'since' must be the sequence number of an event");
		return;
	}
	if (since_json)
		since = (uint64_t)json_integer_value(since_json);
	if (since > s->seq)
		since = 0;
	if (s->seq > RING_SIZE && since < s->seq - RING_SIZE)
		since = s->seq - RING_SIZE;
	if (!r->bare)
		conn_put_result(c, r, json_pack("{s:I}", "seq", (json_int_t)s->seq));
	c->following = true;
	while (since < s->seq && !c->closing) {
		const char *line = s->ring[++since % RING_SIZE];

		if (line) /* there was memory for it */
			conn_put_event(c, line);
		conn_flush(c);
	}
}

static char *event_line(uint64_t seq, const char *event, json_t *fields)
{
	struct buf text;
	char ts[25], *line = NULL;
	json_t *object;

	time_format(realtime_ns(), ts);
	object = json_pack("{s:I, s:s, s:s}", "seq", (json_int_t)seq, "ts", ts, "event", event);
	if (object && fields)
		json_object_update_missing(object, fields);
	json_decref(fields);
	buf_init(&text, OUT_MAX);
	if (rpc_put_json(&text, object, JSON_COMPACT) == 0)
		line = span_dup(buf_span(&text));
	buf_fini(&text);
	return line;
}

void rpc_publish(struct rpc_server *s, const char *event, json_t *fields)
{
	char **slot = &s->ring[++s->seq % RING_SIZE];

	free(*slot);
	*slot = event_line(s->seq, event, fields);
	if (!*slot) {
		log_event(LOG_ERROR, "rpc.event_lost", "no memory for an event, or it is too large",
			F_TEXT("what", event));
		return;
	}
	list_each_safe (it, &s->conns) {
		struct rpc_conn *c = list_item(it, struct rpc_conn, link);

		if (!c->following)
			continue;
		conn_put_event(c, *slot);
		conn_flush(c);
	}
}

/* --- requests -------------------------------------------------------------------------------- */
static void unknown_method(const struct rpc_server *s, const char *name, struct err *err)
{
	const char *names[METHODS_MAX + 1] = {"events"}, *near;
	size_t count = 1;

	for (const struct rpc_method *m = s->o.methods; m->name; m++)
		names[count++] = m->name;
	near = did_you_mean(span_of(name), names, count);
	if (near) {
		err_set(err, "unknown method '%.64s': did you mean '%s'?", name, near);
		return;
	}
	err_set(err, "unknown method '%.64s': there are events", name);
	for (size_t i = 1; i < count; i++) {
		size_t at = strlen(err->text);

		snprintf(err->text + at, sizeof(err->text) - at, ", %s", names[i]);
	}
}

static void conn_call(struct rpc_conn *c, const struct rpc_request *r)
{
	struct rpc_server *s = c->server;
	const struct rpc_method *m = s->o.methods;
	json_t *result = NULL;
	struct err err = {""};
	int rc;

	if (strcmp(r->method, "events") == 0) {
		conn_follow(c, r);
		return;
	}
	while (m->name && strcmp(m->name, r->method) != 0)
		m++;
	if (!m->name) {
		unknown_method(s, r->method, &err);
		conn_put_error(c, r, RPC_METHOD_NOT_FOUND, err.text);
		return;
	}
	ASSERT(!s->in_call);
	s->in_call = true;
	rc = m->call(s->o.ctx, &c->who, r->params, &result, &err);
	s->in_call = false;
	if (rc < 0) {
		json_decref(result);
		conn_put_error(c, r, RPC_FAILED, err.text[0] ? err.text : "failed");
	} else {
		conn_put_result(c, r, result);
	}
}

static void conn_line(struct rpc_conn *c, struct span line)
{
	struct rpc_request r;
	struct err err = {""};
	int code;

	while (line.len && line.ptr[line.len - 1] == '\r')
		line.len--;
	line = span_trim(line);
	if (line.len == 0)
		return;
	code = rpc_request_parse(&r, line, &err);
	if (code)
		conn_put_error(c, &r, code, err.text);
	else
		conn_call(c, &r);
	rpc_request_fini(&r);
	conn_flush(c);
}

static void conn_line_too_long(struct rpc_conn *c)
{
	const struct rpc_request unread = {.id = json_null()};

	conn_put_error(c, &unread, RPC_INVALID_REQUEST,
		"the line is over 65536 bytes: skipped up to its end");
	conn_flush(c);
	buf_consume(&c->in, c->in.len);
	c->scanned = 0;
	c->skipping = true;
}

/* Works off whole lines that have come, at most those of one turn. True: there may be more. */
static bool conn_lines(struct rpc_conn *c)
{
	struct span line;

	for (unsigned calls = 0; rpc_line_next(&c->in, &c->scanned, &line); calls++) {
		if (calls == CALLS_A_TURN)
			return true;
		if (!c->skipping)
			conn_line(c, line);
		c->skipping = false;
		buf_consume(&c->in, line.len + 1);
		c->scanned = 0;
		if (c->closing)
			return false;
	}
	if (c->skipping) {
		buf_consume(&c->in, c->in.len);
		c->scanned = 0;
	} else if (c->in.len == IN_MAX) {
		conn_line_too_long(c);
	}
	return false;
}

/* The peer's last line may lack its newline. */
static void conn_ended(struct rpc_conn *c)
{
	c->ended = true;
	ev_io_stop(c->server->loop, &c->readable);
	if (c->in.len && !c->skipping)
		conn_line(c, buf_span(&c->in));
	conn_flush(c);
}

/* All whole lines in hand are done with. */
static bool conn_read(struct rpc_conn *c)
{
	size_t want = IN_MAX - c->in.len < READ_CHUNK ? IN_MAX - c->in.len : READ_CHUNK;
	char *to = buf_reserve(&c->in, want);
	ssize_t n;

	if (!to) {
		conn_close(c);
		return false;
	}
	n = read(c->fd, to, want);
	if (n > 0) {
		buf_grew(&c->in, (size_t)n);
		return conn_lines(c);
	}
	if (n == 0)
		conn_ended(c);
	else if (errno != EAGAIN && errno != EINTR)
		conn_close(c);
	return false;
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
	struct rpc_conn *c = w->data;

	(void)loop;
	(void)revents;
	if (list_empty(&c->ready))
		list_append(&c->server->ready, &c->ready);
}

static void on_round(struct ev_loop *loop, ev_prepare *w, int revents)
{
	struct rpc_server *s = w->data;
	uint64_t end_ns = list_empty(&s->ready) ? 0 : monotonic_ns() + ROUND_NS;

	(void)revents;
	while (!list_empty(&s->ready) && monotonic_ns() < end_ns) {
		struct rpc_conn *c = list_item(s->ready.next, struct rpc_conn, ready);

		list_remove(&c->ready);
		if ((conn_lines(c) || (!c->closing && conn_read(c))) && !c->closing)
			list_append(&s->ready, &c->ready);
	}
	if (list_empty(&s->ready))
		ev_idle_stop(loop, &s->unfinished);
	else
		ev_idle_start(loop, &s->unfinished);
}

static void on_unfinished(struct ev_loop *loop, ev_idle *w, int revents)
{
	(void)loop;
	(void)w;
	(void)revents; /* being active is all that it is for */
}

int rpc_notify(struct rpc_server *s, uint64_t caller_id, const char *method, json_t *params)
{
	list_each (it, &s->conns) {
		struct rpc_conn *c = list_item(it, struct rpc_conn, link);

		if (c->who.id != caller_id)
			continue;
		if (rpc_put_request(&c->out, method, params, 0) < 0)
			conn_drop(c);
		else
			conn_flush(c);
		return c->closing ? -1 : 0;
	}
	json_decref(params);
	return -1;
}

bool rpc_caller_is_trusted(const struct rpc_caller *who)
{
	return who->uid == 0 || who->uid == geteuid();
}

int rpc_may_check(const struct rpc_caller *who, const char *file, struct err *err)
{
	struct stat st;

	if (!rpc_caller_is_trusted(who))
		return err_set(err,
			"only root and user id %u may choose the file: check it with your own "
			"rights, by --check",
			(unsigned)geteuid());
	if (stat(file, &st) == 0 && !S_ISREG(st.st_mode))
		return err_set(err, "%s is not a regular file", file);
	return 0;
}

/* --- accepting ------------------------------------------------------------------------------- */
static void refuse_full(int fd)
{
	static const char words[] = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,"
				    "\"message\":\"too many connections: 256 are open\"}}\n";

	log_event(LOG_WARNING, "rpc.full", "refusing a client: too many connections",
		F_INT("open", CONNS_MAX));
	/* A fresh socket has room for it; if not, closing says enough. */
	if (send(fd, words, sizeof(words) - 1, MSG_NOSIGNAL) < 0)
		log_event(LOG_DEBUG, "rpc.full_unsaid", "the refused client was gone");
	close(fd);
}

static void conn_new(struct rpc_server *s, int fd)
{
	struct ucred cred = {.uid = (uid_t)-1};
	socklen_t len = sizeof(cred);
	struct rpc_conn *c = s->conn_count < CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		refuse_full(fd);
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		log_event(LOG_WARNING, "rpc.no_credentials", "cannot tell who a client is");
	c->server = s;
	c->fd = fd;
	c->who = (struct rpc_caller){.id = ++s->next_id, .pid = cred.pid, .uid = cred.uid};
	buf_init(&c->in, IN_MAX);
	buf_init(&c->out, ANSWER_MAX);
	list_init(&c->ready);
	list_append(&s->conns, &c->link);
	s->conn_count++;
	ev_io_init(&c->readable, on_readable, fd, EV_READ);
	ev_io_init(&c->writable, on_writable, fd, EV_WRITE);
	c->readable.data = c->writable.data = c;
	ev_io_start(s->loop, &c->readable);
}

static void on_accept(struct ev_loop *loop, ev_io *w, int revents)
{
	struct rpc_server *s = w->data;

	(void)revents;
	for (unsigned i = 0; i < ACCEPTS_A_ROUND; i++) {
		int fd = accept4(s->socket.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			conn_new(s, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			log_event(LOG_WARNING, "rpc.accept",
				"cannot accept a client now: waiting 100 ms",
				F_TEXT("reason", strerror(errno)));
			ev_io_stop(loop, w);
			ev_timer_set(&s->accept_pause, accept_pause_s, 0.0);
			ev_timer_start(loop, &s->accept_pause);
		}
		return;
	}
}

static void on_accept_pause(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct rpc_server *s = w->data;

	(void)revents;
	ev_io_start(loop, &s->accept);
}

struct rpc_server *rpc_server_new(
	struct ev_loop *loop, const struct rpc_server_options *o, struct err *err)
{
	struct rpc_server *s = calloc(1, sizeof(*s));
	char *path = span_dup(span_of(o->path));
	unsigned methods = 0;

	while (o->methods[methods].name)
		methods++;
	ASSERT(methods <= METHODS_MAX);
	if (!s || !path) {
		err_set(err, "out of memory");
		free(path);
		free(s);
		return NULL;
	}
	s->loop = loop;
	s->o = *o;
	s->o.path = path;
	list_init(&s->conns);
	list_init(&s->dead);
	list_init(&s->ready);
	ev_prepare_init(&s->round, on_round);
	ev_prepare_init(&s->reap, on_reap);
	ev_idle_init(&s->unfinished, on_unfinished);
	ev_timer_init(&s->accept_pause, on_accept_pause, accept_pause_s, 0.0);
	ev_io_init(&s->accept, on_accept, -1, EV_READ);
	s->round.data = s->reap.data = s->accept_pause.data = s->accept.data = s;
	if (rpc_socket_listen(&s->socket, path, o->group, o->replaces, err) < 0) {
		rpc_server_free(s);
		return NULL;
	}
	ev_io_set(&s->accept, s->socket.fd, EV_READ);
	ev_io_start(loop, &s->accept);
	ev_prepare_start(loop, &s->round);
	return s;
}

int rpc_server_reclaim(struct rpc_server *s, struct err *err)
{
	struct rpc_socket again;

	if (rpc_socket_is_ours(&s->socket, s->o.path))
		return 0;
	if (rpc_socket_listen(&again, s->o.path, s->o.group, true, err) < 0) {
		rpc_socket_close(&again, s->o.path);
		return -1;
	}
	ev_io_stop(s->loop, &s->accept);
	rpc_socket_close(&s->socket, s->o.path);
	s->socket = again;
	ev_io_set(&s->accept, s->socket.fd, EV_READ);
	ev_io_start(s->loop, &s->accept);
	return 0;
}

void rpc_server_free(struct rpc_server *s)
{
	if (!s)
		return;
	ASSERT(!s->in_call);
	list_each_safe (it, &s->conns)
		conn_close(list_item(it, struct rpc_conn, link));
	list_each_safe (it, &s->dead)
		conn_free(list_item(it, struct rpc_conn, link));
	ev_prepare_stop(s->loop, &s->round);
	ev_prepare_stop(s->loop, &s->reap);
	ev_idle_stop(s->loop, &s->unfinished);
	ev_timer_stop(s->loop, &s->accept_pause);
	ev_io_stop(s->loop, &s->accept);
	rpc_socket_close(&s->socket, s->o.path);
	for (unsigned i = 0; i < RING_SIZE; i++)
		free(s->ring[i]);
	free((char *)(uintptr_t)s->o.path);
	free(s);
}
