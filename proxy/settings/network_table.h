/*
 * Which network an address is in, of many that may lie within each other: the longest prefix wins.
 * IPv4 and IPv6 in one table (IPv4 as ::ffff:0:0/96).
 *
 * Networks are added, then the table is closed: what they cover is cut into ranges side by side,
 * each with the word of the narrowest network that has it, and an address is found by halving. It
 * takes 20 bytes a range, at most two ranges a network, and about 20 steps with a million. Pure.
 */
#pragma once

#include "shared/addr.h"
#include "shared/span.h"

#define NETWORKS_MAX (1u << 22)

struct network_table;
struct network_table *network_table_new(void); /* NULL when out of memory */
void network_table_free(struct network_table *t);
/* tag: what is found for it, below UINT32_MAX; line: where it was read, for the complaint below.
 * -1: out of memory, or over NETWORKS_MAX (errno: ENOMEM, ENOSPC). */
int network_table_add(
	struct network_table *t, const struct cidr *network, uint32_t tag, uint32_t line);
/* No more is added. 0; 1: two are the same network, *ret_lines says where; -1: out of memory. */
int network_table_close(struct network_table *t, uint32_t ret_lines[2]);
/* False: the address is in none. */
bool network_table_find(const struct network_table *t, const struct addr *a, uint32_t *ret_tag);
