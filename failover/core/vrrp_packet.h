/*
 * VRRP version 3 on the wire (RFC 9568 section 5): bytes in, a value out, and back.
 *
 * An IPv4 checksum comes in two forms: RFC 9568 sums the message alone, keepalived and older FRR
 * put a pseudo-header before it, as IPv6 does. Both are accepted; which one it was is told, so that
 * the answer can use the same.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

#include "shared/span.h"

#define VRRP_PROTOCOL 112
#define VRRP_TTL 255
#define VRRP_HEAD_BYTES 8
#define VRRP_FIRST_BYTE 0x31 /* version 3, an advertisement */
#define VRRP_INTERVAL_MAX_CS 4095
#define VRRP_CS_NS UINT64_C(10000000)
/* With the most addresses that its one byte of count can say, and an IPv4 header. */
#define VRRP_DATAGRAM_MAX (60 + VRRP_HEAD_BYTES + 255 * 16)

/* What the checks of section 7.1 say, in their order. */
#define VRRP_VERDICTS(X)                                                           \
	X(OK, "ok")                                                                \
	X(TTL_WRONG, "ttl")	/* not 255: it was routed */                       \
	X(SHAPE, "shape")	/* too short, too long, or no address in it */     \
	X(VERSION, "version")	/* not 3 */                                        \
	X(TYPE, "type")		/* not an advertisement */                         \
	X(CHECKSUM, "checksum") /* of neither form */                              \
	X(INTERVAL, "interval") /* zero: no time to wait can be derived from it */ \
	X(SOURCE, "source")	/* from an address or network not expected */      \
	X(OWN, "own")		/* our own, reflected by the network */
enum vrrp_verdict {
#define X(name, text) VRRP_##name,
	VRRP_VERDICTS(X)
#undef X
		VRRP_VERDICT_COUNT
};
const char *vrrp_verdict_name(enum vrrp_verdict v);

/* What the IP header says. */
struct vrrp_envelope {
	sa_family_t family;
	uint8_t ttl;
	uint8_t from[16], to[16]; /* the first 4 or all 16 bytes */
};

struct vrrp_packet {
	uint8_t vrid;
	uint8_t priority; /* 0: it stops being active; 255: the address owner */
	uint8_t count;
	uint16_t interval_cs; /* Max Advertise Interval, 1-4095 */
	bool pseudo_header;   /* IPv4: in the checksum; always so with IPv6 */
	/* borrows: count addresses of 4 or 16 bytes */
	const uint8_t *addresses;
};

/* Bytes of one address. */
static inline size_t vrrp_address_bytes(sa_family_t family)
{
	return family == AF_INET ? 4 : 16;
}

/* Takes an IPv4 datagram apart, as a raw socket gives it: VRRP_OK or VRRP_SHAPE. *ret_message
 * borrows from it. */
enum vrrp_verdict vrrp_open_ip4(
	struct span datagram, struct vrrp_envelope *ret_envelope, struct span *ret_message);
/* *ret_packet is written when VRRP_OK, and borrows from the message. */
enum vrrp_verdict vrrp_decode(
	const struct vrrp_envelope *e, struct span message, struct vrrp_packet *ret_packet);
/* Returns the length written; the envelope's TTL is the caller's to send with. */
size_t vrrp_encode(
	const struct vrrp_envelope *e, const struct vrrp_packet *p, uint8_t out[VRRP_DATAGRAM_MAX]);
