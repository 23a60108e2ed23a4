/*
 * The fence of a group: what keeps this node from using the group's addresses while it does not own
 * them, also when the agent is dead, frozen or wrong.
 *
 * kernel   Packet rules with a lease, which only our own ACTIVE heartbeat renews, as it leaves, and
 *          only while the lease lives; a CLAIM opens one within its window. With VRRP an
 *          advertisement is a heartbeat. The addresses are then always on lo too: connections
 *          outlive the move of an address, and what the peer hands over is served.
 * netlink  The same rules where the kernel has no egress hook, or where what is said to a peer may
 *          wait for it (unicast advertisements): the agent renews the lease itself.
 * address  No packet rules: the addresses' life of two seconds is all.
 * none     What the configuration asks for does not work here: this node claims nothing, and lets
 * go of what it has.
 *
 * The truth is the kernel's: after each of our heartbeats it is asked how long the lease lives. A
 * table that somebody deleted is built again; the lease goes on when it would still have been ours.
 *
 * A part of struct group, on the agent's loop.
 */
#pragma once

#include "failover/core/fsm.h"
#include "failover/net/netlink.h"
#include "failover/net/paths.h"
#include "failover/net/rules.h"
#include "failover/settings.h"

struct agent;
struct group;

struct fence {
	enum fence_mode mode;
	char why[160]; /* it is not the best one; "": it is */
	char table[RULES_TABLE_MAX];
	struct buf loaded; /* the table's text as the kernel has it; empty: no table of ours */
	int ifindex;	   /* for which it was loaded */
	int path;	   /* of this group, with our address on its interface; -1: none, or VRRP */
	bool peer_mac_known; /* then it is in wire.peer_mac, else that is everybody's */
	struct paths_wire wire;
	bool chance;	     /* the second chance is loaded */
	bool draining;	     /* what is on its way to us still counts */
	bool unload_owed;    /* the second chance goes with the end of that */
	uint64_t renewed_ns; /* when the lease was certainly renewed last, or opened */
	uint64_t asked_mac_ns;
	uint64_t retry_ns, retry_wait_ns; /* for a better mode: when, and how long until the next */
	uint64_t repairs;		  /* times that somebody had taken the rules away */
};

/* Before there are groups: an agent that was killed left its rules, and where the configuration has
 * no such group any more nobody else would take them away, nor anything come past them. */
void fence_clean(struct agent *a);
void fence_init(struct fence *f, const struct group_settings *settings);
/* Takes away what is ours: rules, and the addresses from lo. */
void fence_fini(struct group *g);
/* For the interface and the settings as they are now. Returns false when a lease that we had is
 * lost, or an owner has no fence any more. */
bool fence_set_up(struct group *g);
/* Addresses that are not the group's any more. */
void fence_forget(struct group *g, const struct cidr *vip);
/* The addresses on lo: somebody may have taken one of them. */
void fence_keep(struct group *g);
/* An interface has got an address: with one in the network of a virtual IP it must not answer for
 * what is on lo. */
void fence_guard(struct group *g, int ifindex, const struct cidr *network);
/* With each heartbeat: is the table still there, who is the peer, does a better mode work by now?
 * Returns false as fence_set_up does. */
bool fence_check(struct group *g, uint64_t now_ns);

/* --- for the actions of the state machine --- */
/* A claim may leave until then. */
void fence_open(struct group *g, uint64_t until_ns);
void fence_close(struct group *g);
/* Opens a lease with a CLAIM, or renews it with an ACTIVE: false when there is none after that. In
 * mode kernel this sends the packet on the group's own interface; with VRRP it always sends it. */
bool fence_pass(struct group *g, const struct fsm_action *send, uint64_t now_ns);
/* The paths that an owner's packet still has to take. */
uint32_t fence_other_paths(const struct group *g);
/* No lease and no claim. True: certain, whatever becomes of the addresses. */
bool fence_drop(struct group *g);
/* What is on its way to us still counts. */
void fence_drain(struct group *g, bool on);
int fence_load_chance(struct group *g, struct err *err);
/* While we drain it stays: what is on its way to us may be the peer's, after an earlier move. */
void fence_unload_chance(struct group *g);

/* --- for status --- */
/* Connections survive a move of the address. */
static inline bool fence_has_rules(const struct fence *f)
{
	return f->mode == FENCE_KERNEL || f->mode == FENCE_NETLINK;
}
/* How long we own the group without a further heartbeat: the kernel's word where there is a lease.
 */
uint64_t fence_lease_ms(const struct group *g, uint64_t now_ns);
