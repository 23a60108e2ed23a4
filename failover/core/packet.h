/*
 * The heartbeat on the wire: 96 bytes in network order, then TLVs, then 16 bytes of MAC.
 *
 *   off size field                         off size field
 *     0    1 kind (first, so that a          40    8 echo: the boot_id heard last on this path
 *            kernel rule can match it)       48    8 echo: the seq heard last on this path
 *     1    1 version = 1                     56    4 microseconds since that was heard
 *     2    1 state of the sender             60    4 lease left, ms
 *     3    1 flags                           64    2 health, 0-1000
 *     4    2 group (VRID)                    66    2 preference
 *     6    1 node id                         68    4 open client connections
 *     7    1 path id                         72   16 SHA-256 of the configuration, truncated
 *     8    8 epoch                           88    4 key id
 *    16    8 boot_id                         92    4 length of the TLVs
 *    24    8 seq                             96    n TLVs: type (2), length (2), value
 *    32    8 sender's monotonic clock, ns  96+n   16 MAC
 *
 * Only the shape is checked here: length, version, kind, state, ranges, TLV bounds. The MAC covers
 * everything before it and both addresses; the shell signs and verifies, and verifies first.
 * A core module: values in, values out.
 */
#pragma once

#include "failover/core/state.h"
#include "shared/span.h"

#define PACKET_VERSION 1
#define PACKET_HEAD_BYTES 96
#define PACKET_MAC_BYTES 16
#define PACKET_MIN_BYTES (PACKET_HEAD_BYTES + PACKET_MAC_BYTES)
#define PACKET_MAX_BYTES 1232 /* fits the least IPv6 MTU beneath UDP */
#define PACKET_TLVS_MAX_BYTES (PACKET_MAX_BYTES - PACKET_MIN_BYTES)
#define PACKET_HASH_BYTES 16
#define PACKET_HEALTH_MAX 1000
/* An epoch above this is nonsense: nobody claims that often, and +1 must stay representable. */
#define PACKET_EPOCH_MAX (UINT64_C(1) << 62)

/* Wire value, name. */
#define PACKET_KINDS(X)                                                                    \
	X(0, STANDBY) /* alive, not the owner */                                           \
	X(1, ACTIVE)  /* alive, the owner */                                               \
	X(2, CLAIM)   /* the owner from now on, with a new epoch */                        \
	X(3, RELEASE) /* no longer the owner: the address is gone from here already */     \
	X(4, PREPARE) /* the owner would like to hand over to you */                       \
	X(5, READY)   /* answer to PREPARE: release, I take it at once */                  \
	X(6, DRAINED) /* my last connection is gone: no need to send me strays any more */ \
	X(7, TUPLES)  /* clients to tell should I die, in TLVs */                          \
	X(8, REFUSE)  /* answer to PREPARE: keep it, I cannot or may not take it */

enum packet_kind {
#define X(value, name) PACKET_##name = (value),
	PACKET_KINDS(X)
#undef X
};
#define PACKET_KIND_LAST PACKET_REFUSE

enum packet_flag {
	PACKET_PROXY_OK = 1 << 0,
	PACKET_GATEWAY_OK = 1 << 1,
	PACKET_VIP_OK = 1 << 2,	      /* every virtual address is in place here */
	PACKET_DRAINING = 1 << 3,     /* gave the address away lately: not a candidate */
	PACKET_WANT_RELEASE = 1 << 4, /* the sender wants the present owner (either) to hand over */
	PACKET_CONFIG_MISMATCH = 1 << 5,
	PACKET_HEARS_YOU = 1 << 6, /* on this path, lately */
};
#define PACKET_FLAGS_ALL 0x7f

/* TLV types; one nobody knows is skipped, so that a newer peer can say more. */
enum packet_tlv_type {
	PACKET_TLV_REASON = 1, /* one byte, enum fsm_reason: why (RELEASE, PREPARE, REFUSE) */
	PACKET_TLV_TUPLES = 2, /* TUPLES: clients' addresses and ports */
};

struct packet {
	enum packet_kind kind;
	enum fsm_state state;
	enum fsm_reason reason; /* from or for PACKET_TLV_REASON; REASON_NONE: no such TLV */
	uint8_t flags;		/* enum packet_flag; unknown bits are cleared on decoding */
	uint8_t node;
	uint8_t path;
	uint16_t group; /* VRID, 1-255 */
	uint64_t epoch;
	uint64_t boot_id; /* never 0 */
	uint64_t seq;	  /* from 1, per boot_id and path */
	uint64_t sent_ns; /* the sender's clock: only to be compared with itself */
	uint64_t echo_boot_id;
	uint64_t echo_seq;
	uint32_t echo_delay_us;
	uint32_t lease_left_ms;
	uint16_t health; /* 0: cannot or may not take the address. Zero or not is all that counts */
	uint16_t preference;
	uint32_t connections;
	uint8_t config_hash[PACKET_HASH_BYTES];
	uint32_t key_id;
	/* Further TLVs: borrows. Encoding appends them after the reason; decoding gives them all,
	 * of the datagram's memory. Well-formed either way. */
	struct span tlvs;
};

/* Why a datagram is not a packet; the names are for counters. */
#define PACKET_RCS(X)                                                             \
	X(OK)                                                                     \
	X(TRUNCATED) /* shorter than head and MAC, or than its TLV length says */ \
	X(OVERLONG)  /* longer than it says, or than PACKET_MAX_BYTES */          \
	X(BAD_VERSION)                                                            \
	X(BAD_KIND)                                                               \
	X(BAD_STATE)                                                              \
	X(BAD_RANGE) /* group, node, boot_id, seq, epoch or health */             \
	X(BAD_TLV)

enum packet_rc {
#define X(name) PACKET_##name,
	PACKET_RCS(X)
#undef X
};

/*
 * Writes head and TLVs, and leaves PACKET_MAC_BYTES of zeroes at the end for the shell to sign.
 * Returns the whole length: the MAC goes to out + length - PACKET_MAC_BYTES. The values must be in
 * range and p->tlvs must fit (4 + 1 bytes are taken by a reason): both are ASSERTed.
 */
size_t packet_encode(const struct packet *p, uint8_t out[PACKET_MAX_BYTES]);
/* ret_packet is written only on PACKET_OK, and borrows from the datagram. */
enum packet_rc packet_decode(struct span datagram, struct packet *ret_packet);
/* The key id of something at least PACKET_MIN_BYTES long, to find the key before decoding. */
uint32_t packet_key_id(struct span datagram);

struct packet_tlv {
	uint16_t type;
	struct span value;
};
/* Takes the next TLV off the front of rest; false at the end (and when malformed, which decode
 * refuses). */
bool packet_tlv_next(struct span *rest, struct packet_tlv *ret_tlv);

const char *packet_kind_name(enum packet_kind kind);
const char *packet_rc_name(enum packet_rc rc);
