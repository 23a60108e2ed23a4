/*
 * Keys of session tickets. They are derived (HKDF, RFC 5869) from a secret and the number of the
 * period of the wall clock, so that all workers, both boxes of a pair and a process that was
 * started anew have the same ones and nothing is copied: a client resumes wherever it comes to. New
 * tickets are made with the current period's; those of the two before and, where the other box's
 * clock is ahead, the one after are taken.
 *
 * What that costs: who learns the secret can read the tickets of all times, and with them what was
 * said over TLS 1.2 connections that he recorded, whose secrets tickets hold. With keys that are
 * forgotten he could not go back further than their life. A resumption over TLS 1.3 still agrees on
 * a new key (psk_dhe_ke only), so there nothing said earlier is lost. The secret is the pair's own
 * (failover.secret_file: who has it owns the pair's addresses, too); a box without a pair makes up
 * one when it starts.
 */
#pragma once

#include <stdint.h>

#include "shared/err.h"
#include "shared/span.h"
#include "shared/units.h"

#define TICKET_PERIOD_NS (12 * UINT64_C(3600) * NS_PER_S)
#define TICKET_PERIODS_BEFORE 2
#define TICKET_SECRET_BYTES 32
/* A client that had so many connections can resume as many, each with a ticket of its own (RFC 8446
 * C.4). Each costs two thirds of what the signature of a full handshake does. */
#define TICKETS_A_CONNECTION 1

struct ticket_key {
	uint64_t period;		     /* 0: none here */
	uint8_t secret[TICKET_SECRET_BYTES]; /* it comes from */
	uint8_t name[16], cipher[32], mac[32];
};

/* What a worker has derived already. */
struct ticket_cache {
	struct ticket_key keys[TICKET_PERIODS_BEFORE + 2];
};

/* All that tickets have in common with a pair's secret, which may be of any length. */
int ticket_secret_make(struct span pair_secret, uint8_t out[TICKET_SECRET_BYTES], struct err *err);

/* The key of a period; NULL: out of memory. Valid until the next call. */
const struct ticket_key *ticket_key_of(
	struct ticket_cache *c, const uint8_t secret[TICKET_SECRET_BYTES], uint64_t period);
/* The one with this name that holds at this time; NULL: none. */
const struct ticket_key *ticket_key_find(struct ticket_cache *c,
	const uint8_t secret[TICKET_SECRET_BYTES], const uint8_t name[16], uint64_t wall_ns);
static inline uint64_t ticket_period(uint64_t wall_ns)
{
	return wall_ns / TICKET_PERIOD_NS;
}

struct ssl_ctx_st;
/* Tickets of this context's sessions are sealed with keys of the secret, which must live as long.
 * The connection's worker keeps them (tls.h). */
void tickets_use(struct ssl_ctx_st *ctx);
