/*
 * What a listener's TLS is: an SSL_CTX, its certificates, and the policy. Built with a snapshot,
 * then immutable; a connection keeps what it began with, over reloads, for as long as it lives
 * (OpenSSL counts that).
 *
 * Policy: TLS 1.2 and 1.3; ECDHE with AEAD ciphers only, ours first but ChaCha20 for a client that
 * puts it first; X25519, P-256, P-384; no renegotiation, no compression, no early data; resumption
 * by tickets only (tickets.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "proxy/tls/cert.h"
#include "proxy/tls/tickets.h"

struct ssl_st;
struct ssl_ctx_st;

enum client_auth { CLIENT_AUTH_NONE, CLIENT_AUTH_OPTIONAL, CLIENT_AUTH_REQUIRED };

struct tls_server {
	struct ssl_ctx_st *ctx; /* frees this when the last connection has gone */
	struct cert_store *store;
	uint8_t ticket_secret[TICKET_SECRET_BYTES];
	enum client_auth client_auth;
	bool h2;		   /* offered, and taken before http/1.1 */
	bool ocsp_auto;		   /* staples are asked for (stapling.c) */
	char *ocsp_file;	   /* or come from there; NULL: they do not */
	struct timespec ocsp_read; /* the file's time when it was */
};

struct tls_server_options {
	struct span name;    /* the listener's: a session is not resumed with another */
	struct span ciphers; /* as OpenSSL names them, of both versions; empty: our own choice */
	bool only_1_3;
	enum client_auth client_auth;
	const char *client_ca; /* file; NULL: none */
	bool http;	       /* its protocols are offered (ALPN); else none is asked about */
	bool h2;
	struct span ocsp; /* "auto", or a file; empty: nothing is stapled */
};

/* Takes store, which is indexed, in any case. NULL with err. */
struct tls_server *tls_server_new(
	struct cert_store *store, const struct tls_server_options *o, struct err *err);
void tls_server_free(struct tls_server *s);
/* Reads ocsp_file if it has changed since; each of its certificates takes what is about it. -1: it
 * cannot be read, or is about none of them, or not good. Main thread. */
int tls_server_read_staples(struct tls_server *s, struct err *err);
/* For one connection; NULL: out of memory. */
struct ssl_st *tls_server_session(struct tls_server *s);
/* That a connection belongs to. */
const struct tls_server *tls_server_of(const struct ssl_st *ssl);

/* What was agreed on, as text: "TLSv1.3" and "TLS_AES_128_GCM_SHA256". */
const char *tls_version_of(const struct ssl_st *ssl);
const char *tls_cipher_of(const struct ssl_st *ssl);
/* Has it been agreed to speak HTTP/2 on it? */
bool tls_speaks_h2(const struct ssl_st *ssl);
/*
 * A request for this host (without port) on a connection that was opened for another name (RFC 9110
 * 15.5.20). A client may use one connection for all names of its certificate (RFC 9113 9.1.1), and
 * one that named none, or would get the same certificate for the host, is where it belongs.
 */
bool tls_misdirected(const struct ssl_st *ssl, struct span host);
/* The lines about the client's certificate for the server's request: X-Client-Cert-Verify, and with
 * a certificate -Subject, -Issuer, -Serial, -Fingerprint. Returns owned; NULL: out of memory. */
char *tls_client_fields(const struct ssl_st *ssl);
