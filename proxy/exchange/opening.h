/*
 * What has to be seen of a client's connection before anybody speaks to it: a PROXY protocol
 * header, from those of whom the listener expects one; and where TLS is passed on, the ClientHello.
 * Either is looked at where it lies, in the kernel. The header is taken once it is whole, with
 * nothing of what follows; the hello stays: whoever reads the connection then (HTTP, a handshake, a
 * tunnel) finds it as if nobody had been there before. An opening connection holds no buffer.
 */
#pragma once

#include "proxy/exchange/client.h"

/* Where a connection is said to come from and to go to. */
struct client_claim {
	struct addr peer, local; /* whose socket it is; where the client went to */
	struct acceptor_fields fields;
};

/* Ends with client_begin(), with a tunnel's beginning, or with the client's end. */
void opening_start(struct client *c);
