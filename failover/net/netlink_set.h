/*
 * Looks into a set of nf_tables: is it there, and how long does its member still live? With this
 * the agent knows what the kernel knows, instead of what it hopes. One question and one answer on a
 * socket of its own, a hundredth of a millisecond; it waits for no transaction of anybody.
 *
 * With netlink.c and netlink_diag.c the home of libnl.
 */
#pragma once

#include <stdint.h>

#include "shared/err.h"

enum netlink_set_state {
	NETLINK_SET_MEMBER,  /* one that lives */
	NETLINK_SET_EMPTY,   /* the set, and nothing in it */
	NETLINK_SET_MISSING, /* no such set, or no such table */
	NETLINK_SET_UNKNOWN, /* the kernel did not say */
};

struct netlink_set;

struct netlink_set *netlink_set_new(struct err *err);
void netlink_set_free(struct netlink_set *s);
/* A set of a table of the family netdev, with timeouts. *ret_left_ms: of its first member, 0
 * without. err is written with UNKNOWN. */
enum netlink_set_state netlink_set_look(struct netlink_set *s, const char *table, const char *set,
	uint64_t *ret_left_ms, struct err *err);
