/*
 * Upgrade (RFC 9110 7.8), with nothing to configure: a request that asks for another protocol is
 * passed on with its Upgrade field. When the server switches to what was asked for, the two
 * connections become a tunnel: bytes both ways, as they come, until both sides have ended theirs.
 * Whatever else the server answers goes on as any response does.
 *
 * The exchange lives on as the tunnel's owner (the server's in_flight, the log's line, the
 * snapshot); the connections get the handlers of tunnel.c, so that ordinary ones pay nothing.
 */
#pragma once

#include "proxy/exchange/exchange.h"

/* Is Upgrade passed on? Not with content: a server that switches would have to read it first; and
 * HTTP/2 has only WebSocket, if that. */
static inline bool tunnel_wanted(const struct exchange *x)
{
	const struct conn *to = &x->upstream->conn;

	if (conn_is_stream(to) &&
		!(span_ieq(x->request.upgrade, SPAN("websocket")) && h2_takes_tunnels(to)))
		return false;
	return x->request.upgrade.len &&
	       (x->request.framing == HTTP_NO_BODY ||
		       (x->request.framing == HTTP_LENGTH && x->request.length == 0));
}
/* A server of HTTP/2 that has answered well has switched; HTTP/1's 101 names nothing but what the
 * request asked for, and the request was passed on so.
 */
static inline bool tunnel_agreed(const struct exchange *x)
{
	if (conn_is_stream(&x->upstream->conn))
		return tunnel_wanted(x) && x->response.status / 100 == 2;
	return tunnel_wanted(x) && x->response.status == 101 &&
	       http_upgrade_agrees(x->request.upgrade, x->response.upgrade) &&
	       exchange_websocket_agreed(x);
}
/* The 101 is with the client, and the server's buffer stands behind its head. The exchange may be
 * over after it. */
void tunnel_start(struct exchange *x);
/* The same for what is no HTTP, when the server is connected: a tunnel from the start. */
void tunnel_open(struct exchange *x);
/* A reload took its listener: it may live for as long as anything else that drains. */
void tunnel_drain(struct exchange *x);
/* For the exchange's end, after its line is logged. */
void tunnel_fini(struct exchange *x);
