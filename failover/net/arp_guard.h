/*
 * Interfaces that must not answer ARP for an address that only lo has, nor ask with it as the
 * sender: arp_ignore 1 and arp_announce 2, set over netlink. Remembers what was there before.
 *
 * What an agent that was killed has set stays: the one that follows cannot know that it was not the
 * user, and leaves it.
 */
#pragma once

#include "failover/net/netlink.h"

#define ARP_GUARD_MAX 64

struct arp_guard {
	struct netlink *netlink; /* borrows */
	unsigned count;
	struct {
		int ifindex;
		struct netlink_arp before;
	} changed[ARP_GUARD_MAX];
};

void arp_guard_init(struct arp_guard *g, struct netlink *netlink);
/* *ret_changed: it was otherwise before. */
int arp_guard_add(struct arp_guard *g, int ifindex, bool *ret_changed, struct err *err);
/* Everything as it was; interfaces that are gone are passed over. */
void arp_guard_fini(struct arp_guard *g);
