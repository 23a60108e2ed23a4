/*
 * TCP connections of this machine to given addresses, as the kernel knows them (sock_diag): so a
 * drain ends with the last client whoever serves it, and what is open when packets are about to be
 * shared with the peer is known to be ours.
 *
 * And what is left of one that ended can be done away with: see tickle.h.
 *
 * The kernel walks its table piece by piece, and only as far as is asked for. With netlink.c and
 * netlink_set.c the home of libnl.
 */
#pragma once

#include "shared/addr.h"

/* on_connection gets each connection to one of the addresses, also the half-open and half-closed
 * ones, until it returns false; local and remote are never IPv4-mapped. */
int netlink_diag_each(const struct cidr *vips, unsigned vip_count,
	bool (*on_connection)(void *ctx, const struct addr *local, const struct addr *remote),
	void *ctx, struct err *err);
/* Whether there is any. */
int netlink_diag_any(const struct cidr *vips, unsigned vip_count, bool *ret_any, struct err *err);

/* All TIME_WAITs of this machine: tens of thousands take longer than a heartbeat may wait, so they
 * are gone through in turns. */
struct netlink_diag_left;

/* Returns owned; NULL with err. */
struct netlink_diag_left *netlink_diag_left_new(
	bool (*wanted)(void *ctx, const struct addr *local, const struct addr *remote), void *ctx,
	struct err *err);
void netlink_diag_left_free(struct netlink_diag_left *l);
/* A turn, until that time and a piece more, which is one socket at least: ends those that are
 * wanted. A connection that lives, or that somebody still has to close, is left alone. -1: done as
 * well. */
int netlink_diag_forget(
	struct netlink_diag_left *l, uint64_t until_ns, bool *ret_done, struct err *err);
