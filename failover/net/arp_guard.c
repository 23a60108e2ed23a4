#include "failover/net/arp_guard.h"

#include <string.h>

/* 2 asks for the same subnet besides, which is as good; 8 would not answer at all. */
static bool is_good(const struct netlink_arp *arp)
{
	return (arp->ignore == 1 || arp->ignore == 2) && arp->announce == 2;
}

static bool is_known(const struct arp_guard *g, int ifindex)
{
	for (unsigned i = 0; i < g->count; i++)
		if (g->changed[i].ifindex == ifindex)
			return true;
	return false;
}

/* An interface that was made again has a new number: the oldest ones are gone. */
static void forget_oldest(struct arp_guard *g)
{
	g->count--;
	memmove(&g->changed[0], &g->changed[1], g->count * sizeof(g->changed[0]));
}

void arp_guard_init(struct arp_guard *g, struct netlink *netlink)
{
	*g = (struct arp_guard){.netlink = netlink};
}

int arp_guard_add(struct arp_guard *g, int ifindex, bool *ret_changed, struct err *err)
{
	struct netlink_arp before, wanted = {.ignore = 1, .announce = 2};
	bool known;

	*ret_changed = false;
	if (netlink_arp_get(g->netlink, ifindex, &before, err) != 0)
		return -1;
	if (is_good(&before))
		return 0;
	known = is_known(g, ifindex);
	if (!known && g->count == ARP_GUARD_MAX)
		forget_oldest(g);
	if (before.ignore == 2)
		wanted.ignore = 2;
	if (netlink_arp_set(g->netlink, ifindex, &wanted, err) != 0)
		return -1;
	*ret_changed = true;
	/* Whoever wrote over it since has not said what should be there in the end. */
	if (known)
		return 0;
	g->changed[g->count].ifindex = ifindex;
	g->changed[g->count].before = before;
	g->count++;
	return 0;
}

void arp_guard_fini(struct arp_guard *g)
{
	struct err err;

	/* Backwards: what was there first is written last. */
	while (g->count > 0) {
		g->count--;
		(void)netlink_arp_set(g->netlink, g->changed[g->count].ifindex,
			&g->changed[g->count].before, &err);
	}
}
