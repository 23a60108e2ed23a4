/*
 * What comes on a client's connection before it speaks to us: a PROXY protocol header, from those
 * of whom the listener expects one. It is looked at where it lies, in the kernel, and taken only
 * once it is whole, with nothing of what follows: whoever reads the connection then (HTTP, a
 * tunnel) finds it as if there had never been anything before. An opening connection holds no
 * buffer.
 */
#pragma once

#include "proxy/exchange/client.h"

/* Where a connection is said to come from and to go to. */
struct client_claim {
	struct addr peer, local; /* whose socket it is; where the client went to */
	struct acceptor_fields fields;
};

/* Ends with client_begin(), or with the client's end. */
void opening_start(struct client *c);
