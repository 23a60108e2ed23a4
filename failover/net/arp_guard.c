#include "failover/net/arp_guard.h"

/* 2 asks for the same subnet besides, which is as good; 8 would not answer at all. */
static bool is_good(const struct netlink_arp *arp)
{
	return (arp->ignore == 1 || arp->ignore == 2) && arp->announce == 2;
}

void arp_guard_init(struct arp_guard *g, struct netlink *netlink)
{
	*g = (struct arp_guard){.netlink = netlink};
}

int arp_guard_add(struct arp_guard *g, int ifindex, bool *ret_changed, struct err *err)
{
	struct netlink_arp before, wanted = {.ignore = 1, .announce = 2};

	*ret_changed = false;
	if (netlink_arp_get(g->netlink, ifindex, &before, err) != 0)
		return -1;
	if (is_good(&before))
		return 0;
	if (g->count == ARP_GUARD_MAX)
		return err_set(err, "more than %d interfaces", ARP_GUARD_MAX);
	if (before.ignore == 2)
		wanted.ignore = 2;
	if (netlink_arp_set(g->netlink, ifindex, &wanted, err) != 0)
		return -1;
	g->changed[g->count].ifindex = ifindex;
	g->changed[g->count].before = before;
	g->count++;
	*ret_changed = true;
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
