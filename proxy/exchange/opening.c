#include "proxy/exchange/opening.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "proxy/exchange/exchange.h"
#include "proxy/exchange/plain.h"
#include "proxy/net/client_hello.h"
#include "proxy/net/proxy_protocol.h"
#include "proxy/net/rawio.h"
#include "proxy/worker.h"

static struct client *client_of(struct conn *c)
{
	return container_of(c, struct client, conn);
}

/* The loop wakes us only when so many bytes are there, or no more will come. */
static void wait_for(struct client *c, size_t bytes)
{
	int least = (int)bytes;

	setsockopt(c->conn.fd, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof(least));
	c->held_back = bytes > 1;
}

/* Fewer bytes than were waited for mean that it has ended, but for a kernel short of memory. */
static bool has_ended(const struct client *c)
{
	struct pollfd p = {.fd = c->conn.fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0;
}

static void refuse(struct client *c, struct span bytes, const char *why, enum exchange_end end)
{
	const struct http_fault fault = {400, 0, why};
	struct exchange *x = exchange_new(c);

	if (!x) {
		conn_abort(&c->conn);
		return;
	}
	c->exchange = x;
	x->plain = c->acceptor->listener->mode != LISTENER_HTTP;
	x->head_done = true;
	x->status = fault.status;
	exchange_find_client(x);
	fault_note(x, FAULT_REQUEST, EXCERPT_CONTENT, bytes, &fault);
	exchange_cut(x, end);
}

/* It came to nothing. */
static void give_up(struct conn *conn, const char *why)
{
	if (client_of(conn)->acceptor->listener->tls)
		tls_tell_failed(conn, why);
	conn_abort(conn);
}

/* At least so many bytes of what is looked for are not there yet. */
static void want_more(struct client *c, size_t bytes)
{
	if (has_ended(c))
		give_up(&c->conn, "the connection ended in the middle of it");
	else
		wait_for(c, bytes);
}

/* What waits in the kernel, to be looked at, at most max bytes of it. False: nothing now, or never
 * any more. */
static bool look(struct conn *conn, size_t max, struct span *ret_bytes)
{
	char *room = conn->worker->stage.scratch;
	ssize_t n = raw_peek(conn->fd, room, max);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		give_up(conn, "the connection ended before it");
		return false;
	}
	*ret_bytes = span_make(room, (size_t)n);
	return true;
}

/* --- a ClientHello -----------------------------------------------------------------------------
 */

/* The listener that has the same address, for what no route of this one takes; NULL: none. One that
 * has left takes only those who came before. */
static struct acceptor *behind(const struct acceptor *a)
{
	struct list *others = a->draining ? &a->worker->leaving : &a->worker->acceptors;

	list_each (it, others) {
		struct acceptor *other = list_item(it, struct acceptor, link);

		if (other->listener->mode == LISTENER_HTTP && addr_eq(&other->bind, &a->bind))
			return other;
	}
	return NULL;
}

static void begin(struct client *c, struct span seen)
{
	const struct listener *l = c->acceptor->listener;

	if (l->tls && l->mode == LISTENER_HTTP && !client_hello_is_tls(seen))
		client_begin_clear(c);
	else
		client_begin(c);
}

static void pass_behind(struct client *c, struct acceptor *to, struct span seen)
{
	if (client_move(c, to) < 0)
		conn_abort(&c->conn);
	else
		begin(c, seen);
}

/* By its name and whose it is: there is no more to go by. */
static const struct route *find_route(const struct client *c, struct span name)
{
	static const struct http_head no_head;
	struct route_ask ask = {.head = &no_head,
		.host = name,
		.path = SPAN(""),
		.client = &c->addr,
		.room = c->conn.worker->regex_room};

	return routes_find(c->acceptor->listener->routes, &ask);
}

static void on_hello_readable(struct conn *conn)
{
	struct client *c = client_of(conn);
	char *room = conn->worker->stage.scratch + CLIENT_HELLO_WIRE_MAX;
	const struct route *route;
	struct acceptor *other;
	struct client_hello hello;
	struct span seen;
	enum parse_rc rc;
	size_t bytes;
	const char *why;

	_Static_assert(CLIENT_HELLO_WIRE_MAX + CLIENT_HELLO_MAX <= STAGE_SCRATCH_BYTES,
		"it is looked at there");
	/* A signature may follow: what has no turn now stays in the kernel. */
	if (!tls_may_begin(conn->worker) || !look(conn, CLIENT_HELLO_WIRE_MAX, &seen))
		return;
	rc = client_hello_parse(seen, room, &hello, &bytes, &why);
	if (rc == PARSE_MORE) {
		want_more(c, bytes);
		return;
	}
	if (c->held_back)
		wait_for(c, 1);
	if (c->acceptor->listener->tls) {
		begin(c, seen);
		return;
	}
	route = rc == PARSE_DONE ? find_route(c, hello.server_name) : NULL;
	other = route ? NULL : behind(c->acceptor);
	if (other) {
		pass_behind(c, other, seen);
	} else if (rc == PARSE_BAD) {
		refuse(c, seen, why, END_CLIENT_HELLO);
	} else {
		client_begin(c);
		exchange_begin_plain(c, route, hello.server_name);
	}
}

static void on_nothing(struct conn *conn) /* nothing is written before it begins */
{
	(void)conn;
}

static void on_deadline(struct conn *conn)
{
	give_up(conn, "it took too long");
}

#define HANDLER(readable)                                                                     \
	{                                                                                     \
		.on_readable = (readable), .on_writable = on_nothing,                         \
		.on_write_error = on_nothing, .on_deadline = on_deadline, .free = client_free \
	}
static const struct conn_handler hello_handler = HANDLER(on_hello_readable);

static void start_reading(struct client *c)
{
	if (c->acceptor->listener->mode == LISTENER_PASSTHROUGH || c->acceptor->listener->tls)
		c->conn.handler = &hello_handler;
	else
		client_begin(c);
}

/* --- a PROXY protocol header -------------------------------------------------------------------
 */

/* -1: it may not come in. */
static int believe(struct client *c, const struct proxy_header *h)
{
	struct client_claim *claim = malloc(sizeof(*claim));

	if (!claim)
		return -1;
	claim->peer = c->addr;
	claim->local = h->destination;
	acceptor_fields_make(&claim->fields, addr_port(&h->destination));
	c->claim = claim;
	c->addr = h->source;
	return acceptor_count_client(c->acceptor, &c->addr, &c->counted) ? 0 : -1;
}

/* The header is the first `bytes` of what waits in the kernel. */
static void take(struct client *c, const struct proxy_header *h, size_t bytes)
{
	ssize_t n = raw_recv(c->conn.fd, c->conn.worker->stage.scratch, bytes);

	if (n != (ssize_t)bytes || (h->has_addresses && believe(c, h) < 0)) {
		conn_abort(&c->conn);
		return;
	}
	if (c->held_back)
		wait_for(c, 1);
	start_reading(c);
}

static void on_header_readable(struct conn *conn)
{
	struct client *c = client_of(conn);
	struct proxy_header header;
	struct span seen;
	size_t bytes;
	const char *why;

	_Static_assert(PROXY_HEADER_MAX <= STAGE_SCRATCH_BYTES, "it is looked at there");
	if (!look(conn, PROXY_HEADER_MAX, &seen))
		return;
	switch (proxy_header_parse(seen, &header, &bytes, &why)) {
	case PARSE_MORE:
		want_more(c, bytes);
		return;
	case PARSE_BAD:
		refuse(c, seen, why, END_PROXY_HEADER);
		return;
	case PARSE_DONE:
		take(c, &header, bytes);
		return;
	}
}

static const struct conn_handler header_handler = HANDLER(on_header_readable);

void opening_start(struct client *c)
{
	c->state = CLIENT_OPENING;
	if (listener_expects_header(c->acceptor->listener, &c->addr))
		c->conn.handler = &header_handler;
	else
		start_reading(c);
}
