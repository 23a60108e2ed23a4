/*
 * Socket addresses and networks as values.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "shared/err.h"
#include "shared/span.h"

/* An IPv4 or IPv6 address with a port, or a Unix socket's path is never one of these. */
struct addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
};

#define ADDR_TEXT_MAX 64

/* "10.0.0.1:80", "[::1]:80"; ":80" gives any_v6 (dual stack). Port 1-65535 required. */
int addr_parse(struct span text, struct addr *ret_addr, struct err *err);
/* The same, or a host's name and a port: then ret_host is the name (a span of text), the address
 * has no family, and *ret_port is the port; else ret_host is empty. */
int endpoint_parse(struct span text, struct addr *ret_addr, struct span *ret_host,
	uint16_t *ret_port, struct err *err);
/* An address without a port: "10.0.0.1", "fd00::1". */
int addr_parse_ip(struct span text, struct addr *ret_addr, struct err *err);
/* "10.0.0.1:80", "[fd00::1]:80"; an IPv4-mapped IPv6 address is shown as IPv4. Returns the length.
 */
size_t addr_format(const struct addr *a, char out[ADDR_TEXT_MAX]);
/* The same without port and brackets. */
size_t addr_format_ip(const struct addr *a, char out[ADDR_TEXT_MAX]);
socklen_t addr_len(const struct addr *a);
uint16_t addr_port(const struct addr *a);
void addr_set_port(struct addr *a, uint16_t port);
bool addr_eq(const struct addr *a, const struct addr *b);    /* with port */
bool addr_eq_ip(const struct addr *a, const struct addr *b); /* without port; mapped = IPv4 */
bool addr_is_any(const struct addr *a);			     /* 0.0.0.0 or :: */
/* ::ffff:a.b.c.d becomes a.b.c.d in place. */
void addr_unmap(struct addr *a);

struct cidr {
	sa_family_t family;
	uint8_t bits;
	uint8_t bytes[16];
};

/* "10.0.0.0/8", "fd00::/8", or an address alone (32 or 128 bits). Host bits are kept in bytes:
 * cidr_contains masks them, and a virtual IP such as 10.0.0.100/24 keeps its address. */
int cidr_parse(struct span text, struct cidr *ret_cidr, struct err *err);
bool cidr_contains(const struct cidr *c, const struct addr *a);
/* The same address, whatever the prefix lengths. */
bool cidr_same_host(const struct cidr *a, const struct cidr *b);
size_t cidr_format(const struct cidr *c, char out[ADDR_TEXT_MAX]);
/* The address alone. */
size_t cidr_format_ip(const struct cidr *c, char out[ADDR_TEXT_MAX]);
