/*
 * Ethernet frames about who owns an IP address: ARP (RFC 826, RFC 5227) and neighbour discovery
 * (RFC 4861); and a datagram as a frame. Bytes in, bytes out: no I/O, so that the builders and the
 * reader are tested on the bytes.
 *
 * Checksums of received ICMPv6 are not verified: a driver with checksum offload may hand over
 * frames of the same host unfinished, and neither ARP nor these are authentic anyway.
 */
#pragma once

#include "shared/addr.h"

#define FRAME_MAX 96
#define FRAME_MAC_LEN 6
#define FRAME_UDP_HEAD_MAX 62 /* Ethernet, IPv6, UDP */

/* Who has the address: what a frame says about it. */
#define FRAME_KINDS(X)                                                                   \
	X(NOTHING, "nothing") /* not about an address, or only a question */             \
	X(PROBE, "probe")     /* sender without an address asks whether anyone has it */ \
	X(CLAIM, "claim")     /* sender uses the address as its own */
enum frame_kind {
#define X(name, text) FRAME_##name,
	FRAME_KINDS(X)
#undef X
};

struct frame_said {
	enum frame_kind kind;
	uint8_t mac[FRAME_MAC_LEN]; /* of the sender */
	struct cidr address;	    /* which address; bits is that of a single host */
};

/* Two ways to tell an IPv4 neighbour of a new owner; both are sent, for caches differ in what they
 * heed. */
enum frame_form { FRAME_REQUEST, FRAME_REPLY };

/* "I have it now": a gratuitous ARP of that form, or an unsolicited neighbour advertisement with
 * the override flag to all nodes (form is ignored). Returns the length written. */
size_t frame_announce(const struct cidr *vip, const uint8_t mac[FRAME_MAC_LEN],
	enum frame_form form, uint8_t out[FRAME_MAX]);
/* "Does anyone have it?", from nobody: an ARP probe, or a neighbour solicitation as in duplicate
 * address detection (RFC 4862). Returns the length written. */
size_t frame_probe(
	const struct cidr *vip, const uint8_t mac[FRAME_MAC_LEN], uint8_t out[FRAME_MAX]);
/* A UDP datagram between two addresses with ports, of one family, with the TTL and the class of a
 * heartbeat. out takes FRAME_UDP_HEAD_MAX bytes more than the payload. Returns the length written.
 */
size_t frame_udp(const struct addr *from, const uint8_t from_mac[FRAME_MAC_LEN],
	const struct addr *to, const uint8_t to_mac[FRAME_MAC_LEN], struct span payload,
	uint8_t *out);
/* What a received frame says. Anything short, odd or foreign is FRAME_NOTHING. */
struct frame_said frame_read(const uint8_t *frame, size_t len);
/* The multicast MAC that solicitations for an IPv6 address are sent to. */
void frame_solicited_mac(const struct cidr *vip, uint8_t out[FRAME_MAC_LEN]);
