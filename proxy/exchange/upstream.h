/*
 * Connections to servers, HTTP/1: connecting, idle ones kept by server, taken freshest first. An
 * idle connection keeps its read watcher, so that a server's close is seen at once.
 */
#pragma once

#include "proxy/net/conn.h"
#include "proxy/pool/server.h"

struct exchange;
struct upstream;

struct server_conn {
	struct conn conn;
	struct list link; /* upstream.idle while idle */
	struct server *server;
	struct exchange *exchange; /* NULL: idle */
	bool stream;		   /* of a connection that it shares (h2_server.h); never idle */
	bool patient;		   /* small packets may wait for the one before (no TCP_NODELAY) */
	uint64_t tls;		   /* what it was made with: tls_client_id() */
};

/* So many are kept, a server and worker, where limits.idle_per_server does not say; more where more
 * requests were in flight at once when one had to be opened, half as many each time that one has
 * its time out without being used. */
#define UPSTREAM_IDLE_MIN 64

/* An idle connection to this server, made as the pool of x wants them, or NULL. The exchange has it
 * from now on. */
struct server_conn *upstream_take(struct worker *w, struct server *s, struct exchange *x);
/* Starts connecting. NULL: failed at once, errno says why. exchange_server_connected or
 * _connect_failed follows, never from inside this call. */
struct server_conn *upstream_connect(
	struct worker *w, struct server *s, struct exchange *x, uint64_t timeout_ns);
/* From now on nothing that is sent waits. */
void upstream_hurry(struct server_conn *sc);
/* For h2_server.c: a socket on its way to the server, -1 with errno; and what is the same for a
 * stream. */
int upstream_open(const struct server *s, bool patient);
void upstream_init_stream(
	struct server_conn *sc, struct worker *w, struct server *s, struct exchange *x);
/* Back to idle, or closed when there are enough, the server has left, or the worker stops. */
void upstream_release(struct server_conn *sc, uint64_t idle_ns);
void upstream_discard(struct server_conn *sc);
/* For the handler that a tunnel gives the connection. */
void server_conn_free(struct conn *conn);
void upstream_init(struct upstream *u);
/* Closes the idle connections to servers that the current snapshot does not have. */
void upstream_close_strangers(struct worker *w);
void upstream_close_all(struct worker *w);
