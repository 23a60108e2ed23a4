#include "proxy/exchange/plain.h"

#include "proxy/exchange/exchange.h"
#include "proxy/settings/routes.h"
#include "proxy/worker.h"

void exchange_begin_plain(struct client *c)
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
	if (!access_allows(&x->listener->access, &x->client_addr)) {
		exchange_cut(x, END_DENIED);
		return;
	}
	exchange_route(x, routes_get(x->listener->routes, 0));
}
