/*
 * OCSP (RFC 6960): what is to be asked about a certificate, and whether an answer says that it is
 * good. An answer that is stapled to the handshake spares clients to ask themselves, and hides from
 * the responder who comes here. Pure but for the staple, which the main thread renews while workers
 * read it.
 */
#pragma once

#include <pthread.h>

#include "shared/err.h"
#include "shared/span.h"

struct cert;

#define OCSP_ANSWER_MAX (64 * 1024)

struct staple {
	pthread_mutex_t lock; /* a copy of a few KB is made under it, in full handshakes only */
	unsigned char *der;   /* NULL: none; under the lock */
	size_t len;
	int64_t from_s, until_s;
	/* Main thread only. */
	int64_t next_s;	   /* when to ask again */
	char trouble[160]; /* why there is none, or no newer one */
};

void staple_init(struct staple *s);
void staple_fini(struct staple *s);
/* Takes over what another one has, of the same certificate. */
void staple_inherit(struct staple *to, struct staple *from);
/* Owned (OPENSSL_free), when there is one that holds now; NULL: none. */
unsigned char *staple_copy(struct staple *s, int64_t now_s, size_t *ret_len);

/* Does der say of this certificate, signed by who may, that it is good now? Then it is its staple.
 */
int ocsp_take(struct cert *c, struct span der, int64_t now_s, struct err *err);
/* Where to ask, and what. Both returned owned (free). -1: the certificate names no responder, or
 * its issuer is not in the chain. */
int ocsp_question(const struct cert *c, char **ret_url, struct span *ret_request, struct err *err);
