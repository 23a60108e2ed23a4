/*
 * What may lie between a connection and its bytes: TLS over the socket, or a stream of an HTTP/2
 * connection, which has no socket of its own (conn.fd is -1). A connection without a transport is a
 * bare socket, and pays one predictable branch for this.
 *
 * The transport keeps its state in conn.layer. It is called on the worker's thread only, by conn.c
 * only, and never calls the connection's handler from inside one of these calls: what becomes ready
 * is told through conn_feed(). Rules for who writes one:
 *
 * - The watchers of the socket are conn.c's. Where there is no socket they are never started, and
 *   conn_feed() is all that ever wakes the handler: EV_READ when bytes or the end have come and
 *   conn.reading is set, EV_WRITE when there is room again after a send that fell short.
 * - A transport that holds bytes (already decrypted, already framed) says so in has_input(): a
 *   resumed connection is then called although its socket is silent. One that gave recv() all it
 *   asked for and still holds some feeds EV_READ itself, in the next turn of the loop, so that one
 *   fast sender does not keep the others waiting.
 * - Bytes that send() did not take come again, at the front of what is sent next, unless the
 *   connection is given up.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

struct conn;
struct progress;

struct transport {
	/* As recv(2): bytes, 0 at the end, -1 with errno (EAGAIN: none now). bytes > 0. */
	ssize_t (*recv)(struct conn *c, void *to, size_t bytes);
	/* As sendmsg(2): how many were taken, or -1 with errno (EAGAIN: none now). Pieces are not
	 * empty, and there is at least one. */
	ssize_t (*send)(struct conn *c, const struct iovec *iov, unsigned count);
	bool (*has_input)(const struct conn *c);
	/* As shutdown(2) with SHUT_WR: nothing more will be sent; the other way stays open. */
	int (*shutdown)(struct conn *c);
	/* The connection closes (abort: it must not look complete to the other side); the socket,
	 * if there is one, right after. Frees conn.layer. */
	void (*close)(struct conn *c, bool abort);
	/* What became of the connect: 0, or an errno. */
	int (*connect_error)(struct conn *c);
	/* As progress_read(). NULL: it is the socket's. */
	int (*progress)(const struct conn *c, struct progress *ret_progress);
};
