#include "proxy/exchange/plain.h"

#include "proxy/exchange/exchange.h"
#include "proxy/worker.h"

/* A TLS client is told in its own words (RFC 6066 3), and given time to read them. */
static void refuse_name(struct exchange *x)
{
	static const struct span unrecognized_name = {"\x15\x03\x01\0\x02\x02\x70", 7};
	struct stage *s = &x->worker->stage;

	x->status = 404;
	x->end = END_NO_ROUTE;
	x->request_done = false; /* of what it still says nothing is read */
	stage_span(s, unrecognized_name);
	if (conn_flush(&x->client->conn, s) < 0)
		exchange_cut(x, END_NO_ROUTE);
	else
		exchange_finish(x);
}

void exchange_begin_plain(struct client *c, const struct route *route, struct span name)
{
	struct exchange *x = exchange_new(c);

	if (!x) {
		conn_abort(&c->conn);
		return;
	}
	c->exchange = x;
	client_has_asked(c);
	conn_deadline(&c->conn, 0);
	x->plain = x->head_done = x->request_done = x->rewindable = true;
	exchange_find_client(x);
	ASSERT(name.len <= sizeof(x->target_room));
	memcpy(x->target_room, name.len ? name.ptr : "", name.len);
	x->request.authority = span_make(x->target_room, name.len);
	if (!access_allows(&x->listener->access, x->client_addr))
		exchange_answer(x, 403, END_DENIED);
	else if (route)
		exchange_route(x, route);
	else
		refuse_name(x);
}
