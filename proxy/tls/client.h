/*
 * What TLS to a pool's servers is: an SSL_CTX, whom it believes, what it shows of itself, and under
 * which name each server is to be known. Built with a snapshot, then immutable; a connection keeps
 * what it began with.
 *
 * A server is verified unless that is switched off: its certificate must come from one of the
 * authorities, be in date, and have the name that the pool says; else the host's name that the
 * server is written with, or that the pool's servers are discovered by; else its address. The same
 * name, but never an address, is what it is asked for (SNI).
 *
 * Policy: TLS 1.2 and 1.3 with OpenSSL's ciphers; no renegotiation, no compression, no early data.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shared/addr.h"
#include "shared/err.h"
#include "shared/map.h"
#include "shared/span.h"

struct ssl_st;
struct ssl_ctx_st;
struct cert;

enum tls_protocol { TLS_ANY_PROTOCOL, TLS_HTTP1, TLS_HTTP2 }; /* that is offered (ALPN) */

struct tls_client {
	struct ssl_ctx_st *ctx;
	/* Of what a connection is made with, the files' contents included: connections and sessions
	 * of one snapshot are as good as those of another with the same. Never 0. */
	uint64_t id;
	bool verify;
	char *name;	   /* of all servers; NULL: each has its own */
	char *host;	   /* of those that have no other; NULL: their address */
	struct map hosts;  /* char *, by the name that a server has in the file */
	struct cert *cert; /* ours; NULL: none */
};

struct tls_client_options {
	const char *ca;		 /* file; NULL: whom the system believes */
	const char *server_name; /* NULL: each has its own */
	bool verify;
};

/* NULL with err: the authorities cannot be used. */
struct tls_client *tls_client_new(const struct tls_client_options *o, struct err *err);
void tls_client_free(struct tls_client *t);
/* --- before the first session; -1 with err ------------------------------------------------------
 */
/* Takes cert, in any case. */
int tls_client_use(struct tls_client *t, struct cert *cert, struct err *err);
/* The host's name of a server; empty: of all that have no other. */
int tls_client_add_host(
	struct tls_client *t, struct span server, struct span host, struct err *err);
/* When all is said. */
int tls_client_seal(struct tls_client *t, struct err *err);

/* For a connection to this server; NULL: out of memory. */
struct ssl_st *tls_client_session(const struct tls_client *t, struct span server,
	const struct addr *address, enum tls_protocol protocol);
/* 0 for NULL: in the clear. */
static inline uint64_t tls_client_id(const struct tls_client *t)
{
	return t ? t->id : 0;
}
