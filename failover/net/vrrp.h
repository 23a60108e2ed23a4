/*
 * Advertisements of one group (RFC 9568): a raw socket for each family of its addresses, to the
 * group's multicast address on its interface or to listed peers.
 *
 * What is received is checked here as far as it can be without knowing who is active: section 7.1,
 * and who sent it. What fails is counted by cause and dropped; a list of addresses that is not ours
 * is counted and let pass (a pair with different lists must not have two owners for it). Sending
 * never fails for the caller. The source is the interface's primary address: for IPv6 its
 * link-local one, for IPv4 the first that is not virtual; with listed peers what the kernel
 * chooses for them. Frames leave with the interface's own MAC: a virtual MAC is not used.
 *
 * Runs on the agent's loop; the group owns it.
 */
#pragma once

#include <ev.h>

#include "failover/core/vrrp_packet.h"
#include "shared/addr.h"

#define VRRP_VIPS_MAX 32
#define VRRP_PEERS_MAX 8

struct vrrp_port_handlers {
	void *ctx;
	/* tie: how the sender's primary address compares with ours, as memcmp. */
	void (*on_advert)(void *ctx, const struct vrrp_envelope *e, const struct vrrp_packet *p,
		int compared);
	/* The first of a sort that was dropped, or whose addresses differ (verdict OK), since the
	 * last good one. */
	void (*on_odd)(void *ctx, const struct vrrp_envelope *e, enum vrrp_verdict verdict);
};

/* Both families' parts of the group. */
struct vrrp_family {
	struct vrrp_port *port;
	ev_io readable;
	int fd; /* -1: not open */
	sa_family_t family;
	bool has_own;
	uint8_t own[16];    /* primary address */
	bool pseudo_header; /* what the peer's IPv4 checksums include */
	uint8_t count;	    /* of our virtual addresses */
	uint8_t addresses[VRRP_VIPS_MAX * 16];
};

struct vrrp_port_config {
	uint8_t vrid;
	struct cidr vips[VRRP_VIPS_MAX];
	unsigned vip_count;
	struct addr peers[VRRP_PEERS_MAX]; /* none: multicast */
	unsigned peer_count;
};

struct vrrp_port {
	struct ev_loop *loop;
	struct vrrp_port_handlers handlers;
	struct vrrp_port_config config;
	int ifindex; /* 0: closed */
	bool stale;  /* our addresses may have changed */
	struct vrrp_family families[2];
	uint64_t received, sent, send_failed, differing;
	int send_errno; /* of the last sending; 0: it left */
	uint64_t dropped[VRRP_VERDICT_COUNT];
	uint32_t told; /* bit v: on_odd was called for verdict v */
};

void vrrp_port_init(
	struct vrrp_port *p, struct ev_loop *loop, const struct vrrp_port_handlers *handlers);
/* Opens the sockets on an interface, replacing what was open. Needs CAP_NET_RAW. -1: none is open.
 */
int vrrp_port_open(
	struct vrrp_port *p, int ifindex, const struct vrrp_port_config *config, struct err *err);
void vrrp_port_close(struct vrrp_port *p);
/* Addresses of the interface came or went. */
static inline void vrrp_port_addresses_changed(struct vrrp_port *p)
{
	p->stale = true;
}
/* One advertisement a family (and peer). False: none of them left. */
bool vrrp_port_send(struct vrrp_port *p, uint8_t priority, uint16_t interval_cs);
/* Reads what is queued, so that silence is silence. */
void vrrp_port_drain(struct vrrp_port *p);
