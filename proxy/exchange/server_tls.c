#include "proxy/exchange/server_tls.h"

#include "proxy/net/tls.h"
#include "proxy/worker.h"

/* A session is for the same server and the same settings. NULL: the server has left. */
static struct tls_kept *kept_for(struct worker *w, const struct server *s, const struct pool *p)
{
	const uint64_t of[2] = {s->id, p->tls->id};
	struct upstream *u = &w->upstreams[s->slot];

	if (u->server != s)
		return NULL;
	if (memcmp(u->kept.of, of, sizeof(of)) != 0) {
		tls_kept_drop(&u->kept);
		memcpy(u->kept.of, of, sizeof(of));
	}
	return &u->kept;
}

int server_tls_start(
	struct conn *c, struct server *s, const struct pool *p, enum tls_protocol protocol)
{
	struct ssl_st *ssl = tls_client_session(p->tls, span_of(s->name), &s->address, protocol);

	if (tls_connect(c, ssl, kept_for(c->worker, s, p)) < 0)
		return -1;
	conn_start_connecting(c);
	return 0;
}
