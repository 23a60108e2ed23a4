/*
 * rtnetlink: virtual IPs put on and taken off an interface, and what happens to links and
 * addresses. With netlink_set.c and netlink_diag.c the home of libnl.
 *
 * Addresses are given to the kernel with a short life (NETLINK_ADDRESS_LIFE_S) and must be
 * refreshed: a dead or frozen agent's addresses then go away by themselves. Commands wait for the
 * kernel's answer, which takes microseconds. Events come on the agent's loop; when the kernel had
 * to drop some (ENOBUFS), links are read anew and on_resync tells the owner to look at its
 * addresses again.
 */
#pragma once

#include <ev.h>
#include <net/if.h>

#include "shared/addr.h"

#define NETLINK_ADDRESS_LIFE_S 2
#define NETLINK_WATCHED_MAX 32
#define NETLINK_LOOPBACK 1 /* the interface index of lo, in every network namespace */

struct netlink_link {
	char name[IFNAMSIZ];
	int ifindex;  /* 0: there is no such interface now */
	bool carrier; /* up, and the lower layer too */
	bool has_mac; /* an Ethernet address, in mac */
	uint8_t mac[6];
};

struct netlink_handlers {
	void *ctx;
	/* A watched interface came, went, or changed; link is valid during the call. */
	void (*on_link)(void *ctx, const struct netlink_link *link);
	/* An address was added or changed (there), or removed. dad_failed: another host has it
	 * (IPv6). */
	void (*on_address)(
		void *ctx, int ifindex, const struct cidr *address, bool there, bool dad_failed);
	/* Events were lost: addresses may have come and gone unseen. */
	void (*on_resync)(void *ctx);
};

struct netlink;

struct netlink *netlink_new(
	struct ev_loop *loop, const struct netlink_handlers *h, struct err *err);
void netlink_free(struct netlink *n);
/* Starts to watch an interface by name (it need not exist yet); tells its state at once through
 * *ret_link. Watching one twice is fine. -1: too many, or the kernel did not answer. */
int netlink_watch(
	struct netlink *n, const char *interface, struct netlink_link *ret_link, struct err *err);
/* Adds the address, or gives it a new life if it is there. Needs CAP_NET_ADMIN. */
int netlink_address_set(
	struct netlink *n, int ifindex, const struct cidr *address, struct err *err);
/* Adds a single host's address to lo, for good: packets for it are ours whatever interface they
 * come by, but nobody is told so. One that is there already is no error. */
int netlink_address_keep(struct netlink *n, const struct cidr *address, struct err *err);
/* Removes the address, whatever its prefix length; one that is not there is no error. *ret_removed
 * says whether there was any. */
int netlink_address_remove(struct netlink *n, int ifindex, const struct cidr *address,
	bool *ret_removed, struct err *err);
/* Whether the interface has the address now. */
int netlink_address_there(struct netlink *n, int ifindex, const struct cidr *address,
	bool *ret_there, struct err *err);
/* Which interface has the address; 0: none. lo does not count. */
int netlink_address_interface(
	struct netlink *n, const struct addr *address, int *ret_ifindex, struct err *err);
/* The interfaces with an address whose network has this one in it, at most NETLINK_WATCHED_MAX of
 * them; lo does not count. */
int netlink_network_interfaces(struct netlink *n, const struct addr *address,
	int ret_ifindexes[NETLINK_WATCHED_MAX], unsigned *ret_count, struct err *err);
/* What an interface does with ARP (the sysctls arp_ignore and arp_announce). */
struct netlink_arp {
	uint32_t ignore, announce;
};
int netlink_arp_get(struct netlink *n, int ifindex, struct netlink_arp *ret_arp, struct err *err);
int netlink_arp_set(struct netlink *n, int ifindex, const struct netlink_arp *arp, struct err *err);
/* Whether the kernel would send to the address without a gateway. An address with no route at all
 * counts as on-link: the stricter reading. */
bool netlink_on_link(struct netlink *n, const struct addr *to);
/* The MAC of a neighbour, as far as the kernel knows it; -1 when it does not. */
int netlink_neighbour(
	struct netlink *n, int ifindex, const struct addr *address, uint8_t ret_mac[6]);
/* Handles what is queued, without waiting. */
void netlink_drain(struct netlink *n);
