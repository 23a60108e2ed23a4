/*
 * Certificates with their keys, as read from PEM files, and the sets of them that a listener
 * chooses from by the name a client asks for: the one with that very name, then the wildcard one,
 * then the default. A name may have one certificate of each kind of key (RSA, ECDSA, ...), of which
 * the handshake takes what the client can check.
 *
 * Immutable once read, but for the staple of a certificate (ocsp.h). Read by the main thread;
 * looked up by workers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proxy/tls/ocsp.h"
#include "shared/err.h"
#include "shared/map.h"
#include "shared/span.h"

/* What OpenSSL last complained of, in words; emptying its queue is the caller's. */
const char *openssl_reason(void);

struct x509_st;
struct evp_pkey_st;
struct stack_st_X509;

#define CERT_FILE_MAX (1024 * 1024)
#define CERT_NAMES_MAX 1000 /* of one certificate */
#define CERTS_MAX 20000	    /* of a listener */
#define CERT_KINDS_MAX 4    /* RSA, EC, Ed25519, Ed448 */

struct cert {
	char *file;
	struct x509_st *leaf;
	struct stack_st_X509 *chain; /* without the leaf; may be empty */
	struct evp_pkey_st *key;
	char **names; /* lower case; SANs, or without any the common name; "*.x" is a wildcard */
	unsigned name_count;
	int64_t from_s, until_s; /* valid */
	uint8_t fingerprint[32]; /* SHA-256 of the leaf */
	struct staple staple;
};

/* The first certificate in `file` is the server's, those behind it its chain. key_file: NULL when
 * the key is in the same file. -1 with err, which names file and reason. */
int cert_load(const char *file, const char *key_file, struct cert **ret_cert, struct err *err);
void cert_free(struct cert *c);
/* Whole ones; below zero: it has expired. */
int64_t cert_days_left(const struct cert *c, int64_t now_s);
bool cert_covers(const struct cert *c, struct span host);

struct cert_set { /* of one name */
	struct cert *certs[CERT_KINDS_MAX];
	unsigned count;
};

struct cert_store {
	struct cert **certs; /* the default one first */
	unsigned count, room;
	struct map sets; /* by name: struct cert_set */
	struct cert_set *fallback;
};

struct cert_store *cert_store_new(void);
void cert_store_free(struct cert_store *s); /* and its certificates */
/* Takes c; -1: out of memory, or too many. */
int cert_store_add(struct cert_store *s, struct cert *c, struct err *err);
/*
 * Every pair in a directory, by name: NAME.crt, .cert or .pem with NAME.key beside it or the key
 * inside; and of subdirectories (or of itself) fullchain.pem with privkey.pem, as ACME clients
 * leave them. All of it must be good.
 */
int cert_store_add_directory(struct cert_store *s, const char *directory, struct err *err);
/* When all are there, and at least one. -1: out of memory. */
int cert_store_index(struct cert_store *s);
/* host: any case, without port. Never NULL: at least the default. */
const struct cert_set *cert_store_find(const struct cert_store *s, struct span host);
