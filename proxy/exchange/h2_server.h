/*
 * Connections to servers of a pool with `protocol: h2`. A worker has one to a server and lets as
 * many requests share it as the server takes at a time; then it makes another. Each request's
 * stream is a struct server_conn with a single exchange (upstream.h), so what reads and writes the
 * one of HTTP/1 reads and writes this.
 *
 * A connection that has been silent for a while although something is asked of it is pinged, and
 * given up when that is not answered; one of which the server says GOAWAY takes no more requests.
 * What the server has not begun with (REFUSED_STREAM, beyond the GOAWAY) goes to another.
 */
#pragma once

#include "proxy/exchange/upstream.h"

#define H2_SERVER_SILENT_NS (5 * NS_PER_S) /* before a ping, and again before it is given up */
#define H2_SERVER_STREAMS_MAX 1000	   /* requests on one, if the server would take more */

/* A stream on a connection that is there, or NULL. */
struct server_conn *h2_server_take(struct worker *w, struct server *s, struct exchange *x);
/* One on a connection that is being made, perhaps with others. As upstream_connect(). */
struct server_conn *h2_server_connect(
	struct worker *w, struct server *s, struct exchange *x, uint64_t timeout_ns);
/* Whose they are, if there are any. */
const struct server *h2_server_of(const struct upstream *u);
/* What belongs to this stream's server_conn. */
void h2_server_free_stream(struct server_conn *sc);
/* All of them are to go; what runs on them ends first. */
void h2_server_drain_all(struct upstream *u);
