/*
 * A TCP connection between the two nodes of a pair, encrypted and authenticated by their secret:
 * TLS 1.3 with a pre-shared key and nothing else, no certificates. The key is derived from the
 * secret by HKDF (RFC 5869) with a label of its own, so that nothing learnt here helps against the
 * heartbeats. The only place in failover/ that knows TLS. Never blocks; the owner watches the fd.
 */
#pragma once

#include <stdbool.h>

#include "shared/err.h"
#include "shared/span.h"

#define SECURE_KEYS_MAX 2

struct secure_context;
/* From the pair's secrets; all are accepted. NULL with err. */
struct secure_context *secure_context_new(
	const struct span *secrets, unsigned count, struct err *err);
void secure_context_free(struct secure_context *c);

struct secure;
/* Takes fd (non-blocking), in any case. key: which secret a client offers. Keeps a borrow of c.
 * NULL: out of memory. */
struct secure *secure_new(struct secure_context *c, int fd, bool client, unsigned key);
void secure_free(struct secure *s);

enum secure_rc {
	SECURE_OK,
	SECURE_AGAIN, /* when the fd is readable; with secure_wants_write: or writable */
	SECURE_ENDED, /* the other side closed in order */
	SECURE_BROKEN,
};
/* Until OK; read and write work only then. */
enum secure_rc secure_handshake(struct secure *s, struct err *err);
enum secure_rc secure_read(
	struct secure *s, char *to, size_t room, size_t *ret_len, struct err *err);
/* After AGAIN the same bytes must be offered again. */
enum secure_rc secure_write(struct secure *s, struct span data, size_t *ret_len, struct err *err);
bool secure_wants_write(const struct secure *s);
/* Bytes that were read from the fd already: it need not become readable for them. */
bool secure_has_more(const struct secure *s);
int secure_fd(const struct secure *s);
