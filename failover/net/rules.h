/*
 * The packet rules of a group, as text for nft.h: the fence with its lease, and the second chance.
 * Pure: no I/O, so that the text is tested as text.
 *
 * doc/failover.md shows a table as it is loaded and says what each rule is for.
 */
#pragma once

#include "shared/addr.h"
#include "shared/buf.h"

#define RULES_TABLE_MAX 96
#define RULES_MAC_LEN 6

struct rules_spec {
	const char *table;
	const char *group;     /* for people */
	const char *interface; /* whose ingress and egress is guarded */
	const struct cidr *vips;
	unsigned vip_count;
	uint64_t lease_ms;
	uint8_t vrid;
	/* What renews the lease as it leaves here: our heartbeats on the path of that interface,
	 * from own to peer, with ports; or our advertisements of VRRP. Neither (NULL, false): the
	 * kernel has no egress hook, and whoever owns the group renews it. */
	const struct addr *own, *peer;
	bool advertises;
};

/* What a second chance needs beside it. */
struct rules_chance {
	uint8_t own_mac[RULES_MAC_LEN], peer_mac[RULES_MAC_LEN];
	const uint16_t *ports; /* of the proxy's listeners */
	unsigned port_count;   /* 0: all */
	uint64_t remember_s;   /* how long a connection is known as ours */
};

/* Groups that speak VRRP may share a number, and are told apart by their name. NULL: it is not one
 * of them. */
void rules_table_name(uint8_t vrid, const char *vrrp_group, char out[RULES_TABLE_MAX]);
/* Whether a table of that name is one of these, whatever group it was for. */
bool rules_is_table(struct span name);
/* All of these append whole commands; false when the text did not fit. */

/* Replaces the table, whatever it was, by one without lease, claim and second chance. */
bool rules_table(struct buf *to, const struct rules_spec *s);
/* For one that is there with the same hooks: other rules and addresses, in one step and with the
 * lease, the claim and the connections that it knows. The kernel refuses it where the table is not.
 */
bool rules_change(struct buf *to, const struct rules_spec *s);
bool rules_delete(struct buf *to, const char *table);
/* The peer's MAC, from which packets for our addresses are accepted. NULL: unknown. */
bool rules_peer(struct buf *to, const char *table, const uint8_t mac[RULES_MAC_LEN]);
/* What is in none of our tables for a new connection goes to the peer. The connections that a
 * second chance knows which is loaded already stay known. */
bool rules_chance(struct buf *to, const struct rules_spec *s, const struct rules_chance *c);
bool rules_no_chance(struct buf *to, const struct rules_spec *s);
