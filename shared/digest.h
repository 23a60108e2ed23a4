/*
 * SHA-256, SHA-1 and HMAC-SHA256 over OpenSSL: the only place in shared/ that knows it.
 */
#pragma once

#include "shared/span.h"

void digest_sha256(struct span s, uint8_t out[32]);
/* For protocols that say so (WebSocket), never for a secret's sake. */
void digest_sha1(struct span s, uint8_t out[20]);

/* A key made ready once, for many messages. Not for use by two threads at a time. */
struct mac_key;
struct mac_key *mac_key_new(struct span secret); /* NULL when out of memory */
void mac_key_free(struct mac_key *k);
/* HMAC-SHA256 (RFC 2104) over the parts in order, truncated to 16 bytes. */
void mac_sign(struct mac_key *k, const struct span *parts, unsigned count, uint8_t out[16]);
/* Constant time. */
bool mac_equal(const uint8_t a[16], const uint8_t b[16]);
