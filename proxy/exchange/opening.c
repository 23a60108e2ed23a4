#include "proxy/exchange/opening.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "proxy/exchange/exchange.h"
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

/* What it says is not believed, and nobody else is to read it. */
static void refuse(struct client *c, struct span bytes, const char *why)
{
	const struct http_fault fault = {400, 0, why};
	struct exchange *x = exchange_new(c);

	if (!x) {
		conn_abort(&c->conn);
		return;
	}
	c->exchange = x;
	x->head_done = true;
	x->status = fault.status;
	exchange_find_client(x);
	fault_note(x, FAULT_REQUEST, EXCERPT_CONTENT, bytes, &fault);
	exchange_cut(x, END_PROXY_HEADER);
}

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
	client_begin(c);
}

static void on_readable(struct conn *conn)
{
	struct client *c = client_of(conn);
	char *room = conn->worker->stage.scratch;
	ssize_t n = raw_peek(conn->fd, room, PROXY_HEADER_MAX);
	struct proxy_header header;
	size_t bytes;
	const char *why;

	_Static_assert(PROXY_HEADER_MAX <= STAGE_SCRATCH_BYTES, "it is looked at there");
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_close(conn);
		return;
	}
	switch (proxy_header_parse(span_make(room, (size_t)n), &header, &bytes, &why)) {
	case PARSE_MORE:
		if (has_ended(c))
			conn_close(conn);
		else
			wait_for(c, bytes);
		return;
	case PARSE_BAD:
		refuse(c, span_make(room, (size_t)n), why);
		return;
	case PARSE_DONE:
		take(c, &header, bytes);
		return;
	}
}

/* Nothing is written before it begins. */
static void on_nothing(struct conn *conn)
{
	(void)conn;
}

static void on_deadline(struct conn *conn)
{
	conn_close(conn);
}

static const struct conn_handler handler = {
	.on_readable = on_readable,
	.on_writable = on_nothing,
	.on_write_error = on_nothing,
	.on_deadline = on_deadline,
	.free = client_free,
};

void opening_start(struct client *c)
{
	c->state = CLIENT_OPENING;
	c->conn.handler = &handler;
}
