/*
 * A probe's bytes on its socket: in the clear, or within TLS once that is agreed on. No session is
 * kept: a check that went well says that a new client would do well, too.
 */
#pragma once

#include "proxy/pool/probe.h"

/* As send(2) of all that is in p->out, and recv(2). EPROTO: probe_io_fault() says more. */
ssize_t probe_io_send(struct probe *p);
ssize_t probe_io_recv(struct probe *p, char *room, size_t bytes);
/* Has come, but was not asked for yet: the socket will not tell of it. */
bool probe_io_holds(const struct probe *p);

/* TLS on the socket, which is connected. -1: out of memory. */
int probe_io_secure(struct probe *p);
/* A step of the handshake. 0: it is done; else -1 with errno (EAGAIN: *ret_wants EV_READ or
 * EV_WRITE). */
int probe_io_shake(struct probe *p, int *ret_wants);
const char *probe_io_fault(const struct probe *p);
/* Says goodbye, and lets go; the socket is the caller's. */
void probe_io_end(struct probe *p);
