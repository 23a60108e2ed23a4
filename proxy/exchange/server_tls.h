/*
 * TLS on connections to servers of a pool that has it, whatever is spoken on them: from the
 * snapshot's context, with the server's name, and the session that the worker keeps of it.
 */
#pragma once

#include "proxy/net/conn.h"
#include "proxy/pool/server.h"
#include "proxy/settings/settings.h"
#include "proxy/tls/client.h"

/*
 * The socket of c is connected, and nothing was said on it that belongs into TLS; its watchers and
 * `connecting` are as conn_start_connecting() leaves them. on_writable comes once more, when the
 * handshake is over or has failed: conn_connect_error(). -1 with errno.
 */
int server_tls_start(
	struct conn *c, struct server *s, const struct pool *p, enum tls_protocol protocol);
