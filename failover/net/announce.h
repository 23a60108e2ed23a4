/*
 * Tells the neighbours where a virtual IP is now, from a packet socket: gratuitous ARP in both
 * forms, unsolicited neighbour advertisements. Sent through AF_PACKET and not by the kernel's own
 * means, for a refusal by a filter at egress is then seen (ENOBUFS).
 *
 * One instance serves all groups of an agent; runs on the agent's loop. When to repeat is the state
 * machine's business.
 */
#pragma once

#include "failover/net/frame.h"
#include "shared/err.h"

struct announce {
	int fd;
};

/* Needs CAP_NET_RAW. */
int announce_init(struct announce *a, struct err *err);
void announce_fini(struct announce *a);
/* Sends one frame out of an interface. -1 with err when the kernel did not take it; *ret_refused
 * then says whether a filter at egress dropped it. */
int announce_send_frame(struct announce *a, int ifindex, const uint8_t *frame, size_t len,
	bool *ret_refused, struct err *err);
/* Tells of every address in vips. Tries all of them; the result is that of the first failure. */
int announce_send(struct announce *a, int ifindex, const uint8_t mac[FRAME_MAC_LEN],
	const struct cidr *vips, unsigned vip_count, bool *ret_refused, struct err *err);
