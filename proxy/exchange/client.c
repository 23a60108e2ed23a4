#include "proxy/exchange/client.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/exchange/exchange.h"
#include "proxy/exchange/h2_client.h"
#include "proxy/exchange/opening.h"
#include "proxy/exchange/plain.h"
#include "proxy/exchange/tunnel.h"
#include "proxy/net/tally.h"
#include "proxy/settings/routes.h"
#include "proxy/tls/server.h"
#include "proxy/worker.h"

static struct client *client_of(struct conn *c)
{
	return container_of(c, struct client, conn);
}

void client_close(struct client *c)
{
	bool answering =
		conn_blocked(&c->conn) || (c->exchange && !exchange_reading_head(c->exchange));

	if (c->conn.closing)
		return;
	if (c->h2)
		h2_client_abandon(c);
	if (c->exchange)
		exchange_client_gone(c->exchange);
	c->exchange = NULL;
	if (answering) /* what got through must not look complete */
		conn_abort(&c->conn);
	else
		conn_close(&c->conn);
}

/* --- reading heads
 * --------------------------------------------------------------------------------- */

uint64_t client_idle_ns(const struct client *c, uint64_t otherwise_ns)
{
	const struct timeouts *t = &c->acceptor->listener->timeouts;
	uint64_t now_ns = c->acceptor->worker->now_ns, leave_ns = c->listed.leave_ns;
	uint64_t idle_ns = c->acceptor->worker->stopping ? c->acceptor->worker->goodbye_ns
			   : c->acceptor->draining	 ? t->drain_ns
							 : otherwise_ns;

	if (leave_ns && leave_ns <= now_ns)
		return 1; /* at once: 0 is never */
	return leave_ns && leave_ns - now_ns < idle_ns ? leave_ns - now_ns : idle_ns;
}

/* From when the last answer was taken: a deadline that runs already stays, but comes sooner where
 * there is less time now. */
static void set_idle_deadline(struct client *c)
{
	const struct timeouts *t = &c->acceptor->listener->timeouts;
	/* Half an empty line holds a buffer. */
	uint64_t limit_ns = client_idle_ns(c, c->conn.in ? t->head_ns : t->idle_ns);
	uint64_t until_ns = c->conn.timer.deadline_ns;

	if (!until_ns)
		c->silent_since_ns = c->conn.worker->now_ns;
	if (!until_ns || until_ns > c->conn.worker->now_ns + limit_ns)
		conn_deadline(&c->conn, limit_ns);
}

static void wait_for_request(struct client *c)
{
	if (c->conn.in && c->conn.in->start == c->conn.in->end)
		conn_drop_in(&c->conn);
	if (c->conn.eof) {
		client_close(c);
		return;
	}
	if (!conn_blocked(&c->conn))
		set_idle_deadline(c);
	conn_resume(&c->conn);
}

/* Between requests an empty line is nothing (RFC 9112 2.2): it begins no request, and does not make
 * an idle connection live longer. False: there is no more than that. */
static bool skip_empty_lines(struct iobuf *in)
{
	const char *p = in->data + in->start, *end = in->data + in->end;

	while (end - p >= 2 && p[0] == '\r' && p[1] == '\n')
		p += 2;
	in->start = (uint32_t)(p - in->data);
	return p < end && (end - p > 1 || *p != '\r');
}

void client_has_asked(struct client *c)
{
	if (c->asked)
		return;
	c->asked = true;
	list_remove(&c->link);
	list_append(&c->acceptor->clients, &c->link);
}

/* With prior knowledge (RFC 9113 3.3) the first bytes are those of HTTP/2, or the beginning of
 * them: then there is nothing for HTTP/1 to do here, or not yet. */
static bool may_speak_h2(struct client *c)
{
	struct span said = iobuf_span(c->conn.in), preface = SPAN(NGHTTP2_CLIENT_MAGIC);

	if (said.len < preface.len && span_starts(preface, said))
		return true;
	if (!span_starts(said, preface))
		return false;
	h2_client_start(c);
	return true;
}

/* Newcomers stand in the order of their silence. */
static void has_spoken(struct client *c)
{
	c->silent_since_ns = c->conn.worker->now_ns;
	if (c->asked)
		return;
	list_remove(&c->link);
	list_append(&c->acceptor->newcomers, &c->link);
}

/* Starts what is complete in the buffer. A loop, not a recursion: answers of our own end at once.
 */
static void client_run(struct client *c)
{
	c->running = true;
	while (!c->conn.closing && c->state == CLIENT_OPEN && !conn_blocked(&c->conn) &&
		c->conn.in && c->conn.in->end > c->conn.in->start &&
		(!c->exchange || exchange_reading_head(c->exchange))) {
		if (!c->exchange) {
			/* Over TLS it is agreed on, or not spoken (RFC 9113 3.2). */
			if (!c->asked && c->acceptor->listener->h2c && !c->ssl && may_speak_h2(c))
				break;
			if (!skip_empty_lines(c->conn.in))
				break;
			c->exchange = exchange_new(c);
			if (!c->exchange) {
				client_close(c);
				break;
			}
			has_spoken(c);
		}
		if (exchange_read_head(c->exchange)) {
			client_has_asked(c);
			continue;
		}
		if (c->conn.eof)
			client_close(c); /* half a head, and no more to come */
		else
			conn_resume(&c->conn);
		break;
	}
	c->running = false;
	if (!c->conn.closing && c->state == CLIENT_OPEN && !c->exchange && !c->h2)
		wait_for_request(c);
}

/* Room in the buffer for the next read; false when there can be none now. */
static bool make_room(struct client *c)
{
	struct iobuf *b = c->conn.in;

	if (!b || iobuf_room(b))
		return true;
	if (c->exchange && !exchange_reading_head(c->exchange))
		return exchange_make_room(c->exchange);
	return iobuf_make_room(&c->conn.worker->iobufs, &c->conn.in);
}

static void on_eof(struct client *c)
{
	conn_pause(&c->conn);
	if (c->exchange && !exchange_reading_head(c->exchange)) {
		exchange_client_eof(c->exchange);
		return;
	}
	/* An answer on its way, and the requests behind it, come first: on_writable goes on. */
	if (!conn_blocked(&c->conn))
		client_close(c);
}

static void read_and_discard(struct client *c)
{
	bool full;
	enum io_rc rc;

	if (c->conn.in)
		c->conn.in->start = c->conn.in->end = 0;
	rc = conn_read(&c->conn, IOBUF_SMALL_BYTES, &full);
	if (rc == IO_AGAIN)
		return;
	if (rc == IO_OK) {
		c->discarded += c->conn.in->end;
		if (c->discarded <= CLIENT_LINGER_BYTES)
			return;
	}
	client_close(c);
}

static void on_readable(struct conn *conn)
{
	struct client *c = client_of(conn);
	bool full;

	if (c->exchange && exchange_splice_request(c->exchange))
		return;
	if (c->state == CLIENT_LINGERING) {
		read_and_discard(c);
		return;
	}
	if (c->state == CLIENT_FLUSHING || !make_room(c)) {
		conn_pause(conn);
		return;
	}
	switch (conn_read(conn, IOBUF_SMALL_BYTES, &full)) {
	case IO_AGAIN:
		return;
	case IO_EOF:
		on_eof(c);
		return;
	case IO_ERROR:
		client_close(c);
		return;
	case IO_OK:
		break;
	}
	if (c->exchange && !exchange_reading_head(c->exchange))
		exchange_request_bytes(c->exchange);
	else
		client_run(c);
}

/* --- endings
 * ------------------------------------------------------------------------------------------ */

static void start_lingering(struct client *c)
{
	if (!c->linger || conn_shutdown(&c->conn) < 0) {
		client_close(c);
		return;
	}
	c->state = CLIENT_LINGERING;
	conn_deadline(&c->conn, CLIENT_LINGER_NS);
	conn_resume(&c->conn);
	if (c->conn.eof)
		client_close(c);
}

void client_say_goodbye(struct client *c, bool linger)
{
	c->linger = linger;
	if (conn_blocked(&c->conn)) {
		c->state = CLIENT_FLUSHING; /* the send deadline runs */
		return;
	}
	start_lingering(c);
}

void client_exchange_done(struct client *c, bool keep, bool linger)
{
	c->exchange = NULL;
	if (c->over)
		h2_client_answered(c);
	else if (!keep)
		client_say_goodbye(c, linger);
	else if (!c->running)
		client_run(c);
}

void client_exchange_cut(struct client *c)
{
	c->exchange = NULL;
	conn_abort(&c->conn);
}

static void on_writable(struct conn *conn)
{
	struct client *c = client_of(conn);

	if (c->state == CLIENT_FLUSHING) {
		start_lingering(c);
		return;
	}
	conn_deadline(conn, 0);
	if (c->exchange && !exchange_reading_head(c->exchange))
		exchange_client_drained(c->exchange);
	else if (!c->over)
		client_run(c);
}

static void on_write_error(struct conn *conn)
{
	client_close(client_of(conn));
}

static const struct content_limits *content_limits(const struct client *c)
{
	if (c->exchange && c->exchange->route)
		return &c->exchange->route->content;
	return &c->acceptor->listener->content;
}

static void on_deadline(struct conn *conn)
{
	struct client *c = client_of(conn);

	if (conn_blocked(conn) && !conn_stalled(conn, content_limits(c)->send_rate))
		return;
	if (c->exchange)
		exchange_client_timeout(c->exchange);
	else if (c->listed.leave_ns && c->state == CLIENT_OPEN && !conn_blocked(conn))
		client_say_goodbye(
			c, true); /* what it may just be sending must not be met by a reset */
	else /* idle for long enough, or lingered, or did not take the last answer */
		client_close(c);
}

static void leave_tally(struct client *c)
{
	if (c->counted)
		tally_leave(c->acceptor->listener->state->tally, &c->addr);
	c->counted = false;
}

struct span client_ip_find(struct client *c)
{
	char text[ADDR_TEXT_MAX];
	size_t len;

	if (c->over)
		return client_ip(c->over);
	len = addr_format_ip(&c->addr, text);
	ASSERT(len > 0 && len <= sizeof(c->ip));
	memcpy(c->ip, text, len);
	c->ip_len = (uint8_t)len;
	return span_make(c->ip, len);
}

const struct addr *client_peer(const struct client *c)
{
	return c->claim ? &c->claim->peer : &c->addr;
}

void client_local(const struct client *c, struct addr *ret_local)
{
	socklen_t len = sizeof(*ret_local);

	if (c->over)
		c = c->over;
	*ret_local = c->claim ? c->claim->local : c->acceptor->bind;
	if (addr_is_any(ret_local) && getsockname(c->conn.fd, &ret_local->sa, &len) == 0)
		addr_unmap(ret_local);
}

const struct acceptor_fields *client_fields(const struct client *c)
{
	return c->claim ? &c->claim->fields : &c->acceptor->fields;
}

void client_free(struct conn *conn)
{
	struct client *c = client_of(conn);
	struct acceptor *a = c->acceptor;
	struct worker *w = conn->worker;

	if (c->over) {
		h2_client_free_stream(c);
		return;
	}
	ASSERT(!c->exchange && a->client_count > 0);
	if (c->h2)
		h2_client_free(c);
	if (c->listed.state != CLIENT_UNLISTED)
		client_list_gone(&w->list, c);
	leave_tally(c);
	list_remove(&c->link);
	free(c->cert_fields);
	a->client_count--;
	atomic_fetch_sub_explicit(&a->listener->state->connections, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&w->clients, 1, memory_order_relaxed);
	free(c->claim);
	free(c);
	acceptor_free_if_done(a);
	worker_check_finished(w);
}

const struct conn_handler client_handler = {
	.on_readable = on_readable,
	.on_writable = on_writable,
	.on_write_error = on_write_error,
	.on_deadline = on_deadline,
	.free = client_free,
};

static void client_speaks(struct client *c);

/* Most likely HTTP: its user is told what to do, in words that he can read. */
void client_begin_clear(struct client *c)
{
	const struct answer wrong_scheme = {.status = 400,
		.content_type = SPAN("text/plain; charset=utf-8"),
		.content = SPAN("400 Bad Request: this port speaks TLS, write https://\n")};
	struct exchange *x = exchange_new(c);

	tls_tell_failed(&c->conn, "it does not speak TLS");
	if (!x) {
		client_close(c);
		return;
	}
	c->state = CLIENT_OPEN;
	c->conn.handler = &client_handler;
	c->exchange = x;
	x->head_done = true;
	exchange_find_client(x);
	exchange_answer_with(x, &wrong_scheme, END_CLIENT_BAD);
}

/* The handshake is over. */
static void on_secured(struct conn *conn)
{
	struct client *c = client_of(conn);

	c->ssl = tls_of(conn);
	if (tls_server_of(c->ssl)->client_auth != CLIENT_AUTH_NONE) {
		c->cert_fields = tls_client_fields(c->ssl);
		if (!c->cert_fields) {
			client_close(c);
			return;
		}
	}
	has_spoken(c);
	conn_deadline(conn, c->acceptor->listener->timeouts.head_ns);
	client_speaks(c);
}

/* In the clear, or within TLS. */
static void client_speaks(struct client *c)
{
	if (c->acceptor->listener->mode == LISTENER_TCP)
		exchange_begin_plain(c, routes_get(c->acceptor->listener->routes, 0), SPAN(""));
	else if (c->ssl && tls_speaks_h2(c->ssl))
		h2_client_start(c);
}

int client_move(struct client *c, struct acceptor *to)
{
	struct acceptor *from = c->acceptor;

	leave_tally(c);
	list_remove(&c->link);
	from->client_count--;
	atomic_fetch_sub_explicit(&from->listener->state->connections, 1, memory_order_relaxed);
	c->acceptor = to;
	list_append(&to->newcomers, &c->link);
	to->client_count++;
	atomic_fetch_add_explicit(&to->listener->state->connections, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&to->listener->state->connections_total, 1, memory_order_relaxed);
	acceptor_free_if_done(from);
	return acceptor_is_full(to) || !acceptor_count_client(to, &c->addr, &c->counted) ? -1 : 0;
}

void client_begin(struct client *c)
{
	const struct listener *l = c->acceptor->listener;

	c->state = CLIENT_OPEN;
	c->conn.handler = &client_handler;
	if (!l->tls) {
		client_speaks(c);
	} else if (tls_accept(&c->conn, tls_server_session(l->tls), on_secured) < 0) {
		client_close(c);
	} else {
		has_spoken(c);
		c->conn.handler->on_readable(&c->conn);
	}
}

void client_new(struct acceptor *a, int fd, const struct addr *peer, bool counted)
{
	struct client *c = malloc(sizeof(*c));

	if (!c) {
		if (counted)
			tally_leave(a->listener->state->tally, peer);
		close(fd);
		return;
	}
	conn_init(&c->conn, a->worker, &client_handler, fd);
	c->conn.send_ns = a->listener->timeouts.send_ns;
	c->acceptor = a;
	c->ssl = NULL;
	c->cert_fields = NULL;
	c->exchange = NULL;
	c->addr = *peer;
	c->claim = NULL;
	c->ip_len = 0;
	c->discarded = 0;
	c->h2 = NULL;
	c->over = NULL;
	c->running = c->held_back = c->linger = c->asked = false;
	c->counted = counted;
	c->silent_since_ns = a->worker->now_ns;
	client_listed_init(&c->listed);
	if (a->worker->list.watch)
		client_list_come(&a->worker->list, c);
	list_append(&a->newcomers, &c->link);
	a->client_count++;
	atomic_fetch_add_explicit(&a->listener->state->connections, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&a->listener->state->connections_total, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&a->worker->clients, 1, memory_order_relaxed);
	conn_deadline(&c->conn, a->listener->timeouts.head_ns);
	conn_start(&c->conn);
	opening_start(c);
}

static void start_draining(struct client *c)
{
	if (c->state == CLIENT_OPENING && !c->conn.closing)
		set_idle_deadline(c);
	if (c->conn.closing || c->state != CLIENT_OPEN)
		return;
	if (c->h2)
		h2_client_drain(c);
	else if (!c->exchange)
		wait_for_request(c);
	else if (c->exchange->tunnel)
		tunnel_drain(c->exchange);
}

static void each_client(struct acceptor *a, void (*each)(struct client *c))
{
	list_each_safe (it, &a->newcomers)
		each(list_item(it, struct client, link));
	list_each_safe (it, &a->clients)
		each(list_item(it, struct client, link));
}

void client_start_draining(struct acceptor *a)
{
	each_client(a, start_draining);
}

void client_close_all(struct acceptor *a)
{
	each_client(a, client_close);
}

void client_uncount_all(struct acceptor *a)
{
	each_client(a, leave_tally);
}

/* --- making room
 * ---------------------------------------------------------------------------------------- */

static bool is_silent(const struct client *c, uint64_t so_long_ns)
{
	return c->conn.worker->now_ns - c->silent_since_ns >= so_long_ns;
}

unsigned client_shed_silent(struct acceptor *a)
{
	const struct listener *l = a->listener;
	unsigned shed = 0, looks;

	list_each_safe (it, &a->newcomers) {
		struct client *c = list_item(it, struct client, link);

		if (c->conn.closing)
			continue;
		if (shed == CLIENT_SHED_MAX || !is_silent(c, CLIENT_NEWCOMER_NS))
			break; /* who comes after it is newer */
		client_close(c);
		shed++;
	}
	looks = shed ? 0 : CLIENT_SHED_LOOK_MAX;
	while (looks-- && shed < CLIENT_SHED_MAX && !list_empty(&a->clients)) {
		struct client *c = list_item(a->clients.next, struct client, link);

		list_remove(&c->link); /* the next time it is others' turn */
		list_append(&a->clients, &c->link);
		if (c->exchange || c->state != CLIENT_OPEN || conn_blocked(&c->conn) ||
			c->conn.closing || !is_silent(c, CLIENT_SILENT_NS) ||
			(c->h2 && h2_client_busy(c)))
			continue;
		client_close(c);
		shed++;
	}
	atomic_fetch_add_explicit(&l->state->connections_shed_total, shed, memory_order_relaxed);
	return shed;
}

void client_leave_changed(struct client *c)
{
	if (c->h2 && c->state == CLIENT_OPEN && c->listed.leave_ns)
		h2_client_drain(c);
	if (c->h2 || c->exchange || c->state != CLIENT_OPEN || conn_blocked(&c->conn))
		return;
	conn_deadline(&c->conn, 0);
	wait_for_request(c);
}
