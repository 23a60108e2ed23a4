/*
 * Addresses and networks: text to value and back. Strict: what inet_pton refuses (leading zeros,
 * short forms such as 10.1) is refused, as are scopes (%eth0).
 */
#include "shared/addr.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "shared/assert.h"

static bool is_v4(const struct addr *a)
{
	return a->sa.sa_family == AF_INET;
}

static bool is_mapped(const struct addr *a)
{
	return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr);
}

/* Fills family and address, port 0; -1 when the text is neither. */
static int pton(struct span text, struct addr *ret_addr)
{
	char copy[INET6_ADDRSTRLEN];
	struct addr a;

	memset(&a, 0, sizeof(a));
	if (memchr(text.ptr, '\0', text.len) || span_copy(text, copy, sizeof(copy)) < 0)
		return -1;
	if (inet_pton(AF_INET, copy, &a.in.sin_addr) == 1) {
		a.sa.sa_family = AF_INET;
	} else {
		memset(&a, 0, sizeof(a));
		if (inet_pton(AF_INET6, copy, &a.in6.sin6_addr) != 1)
			return -1;
		a.sa.sa_family = AF_INET6;
	}
	*ret_addr = a;
	return 0;
}

/* Letters, digits, - and _ in labels of 1 to 63; a name whose last label is a number is an address
 * that went wrong. */
static bool is_host_name(struct span s)
{
	size_t label = 0;
	bool number = false;

	if (s.len && s.ptr[s.len - 1] == '.')
		s.len--;
	for (size_t i = 0; i < s.len; i++) {
		char c = ascii_lower(s.ptr[i]);
		bool digit = c >= '0' && c <= '9';

		if (c == '.' && label) {
			label = 0;
			continue;
		}
		number = (label == 0 || number) && digit;
		if (++label > 63 || !(digit || (c >= 'a' && c <= 'z') || c == '-' || c == '_'))
			return false;
	}
	return label && !number && s.len <= 253;
}

int endpoint_parse(struct span text, struct addr *ret_addr, struct span *ret_host,
	uint16_t *ret_port, struct err *err)
{
	size_t colon = span_find(text, ':', 0);
	struct span host = span_make(text.ptr, colon);
	uint64_t port;

	*ret_host = (struct span){0};
	if (!is_host_name(host))
		return addr_parse(text, ret_addr, err);
	if (colon == text.len || span_to_u64(span_from(text, colon + 1), UINT16_MAX, &port) < 0 ||
		port == 0)
		return err_set(err, "'%.*s' needs a port, such as %.*s:80", SPAN_ARG(text),
			SPAN_ARG(host));
	memset(ret_addr, 0, sizeof(*ret_addr));
	if (host.ptr[host.len - 1] == '.')
		host.len--;
	*ret_host = host;
	*ret_port = (uint16_t)port;
	return 0;
}

int addr_parse_ip(struct span text, struct addr *ret_addr, struct err *err)
{
	if (text.len == 0 || pton(text, ret_addr) < 0)
		return err_set(err, "'%.*s' is not an IP address", SPAN_ARG(text));
	return 0;
}

int addr_parse(struct span text, struct addr *ret_addr, struct err *err)
{
	struct span host, port;
	uint64_t number;
	struct addr a;
	size_t colon = text.len;

	while (colon > 0 && text.ptr[colon - 1] != ':')
		colon--;
	if (colon == 0)
		return err_set(err, "'%.*s' has no port: write ADDRESS:PORT, such as 10.0.0.1:80",
			SPAN_ARG(text));
	host = span_make(text.ptr, colon - 1);
	port = span_from(text, colon);
	if (host.len && host.ptr[0] == '[') {
		if (host.ptr[host.len - 1] != ']')
			return err_set(err,
				"'%.*s' has no port: write [ADDRESS]:PORT, such as [::1]:80",
				SPAN_ARG(text));
		host = span_make(host.ptr + 1, host.len - 2);
		if (span_find(host, ':', 0) == host.len)
			return err_set(err, "'%.*s' is not an address: brackets are for IPv6",
				SPAN_ARG(text));
	} else if (span_find(host, ':', 0) < host.len) {
		return err_set(err, "'%.*s': write an IPv6 address in brackets, such as [::1]:80",
			SPAN_ARG(text));
	} else if (host.len == 0) {
		host = SPAN("::");
	}
	if (host.len == 0 || pton(host, &a) < 0)
		return err_set(err,
			"'%.*s' is not an address: write an IP address and a port, such as "
			"10.0.0.1:80",
			SPAN_ARG(text));
	if (span_to_u64(port, 65535, &number) < 0 || number == 0)
		return err_set(err, "'%.*s' is not a port: write 1 to 65535", SPAN_ARG(port));
	addr_set_port(&a, (uint16_t)number);
	*ret_addr = a;
	return 0;
}

/* By hand: once a request, where inet_ntop's printf is a good part of what a request costs. */
static size_t format_v4(const unsigned char *bytes, char *out)
{
	char *at = out;

	for (int i = 0; i < 4; i++) {
		unsigned b = bytes[i];

		if (i)
			*at++ = '.';
		if (b >= 100)
			*at++ = (char)('0' + b / 100);
		if (b >= 10)
			*at++ = (char)('0' + b / 10 % 10);
		*at++ = (char)('0' + b % 10);
	}
	*at = 0;
	return (size_t)(at - out);
}

size_t addr_format_ip(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	if (is_v4(a))
		return format_v4((const unsigned char *)&a->in.sin_addr, out);
	if (is_mapped(a))
		return format_v4(a->in6.sin6_addr.s6_addr + 12, out);
	ASSERT(inet_ntop(AF_INET6, &a->in6.sin6_addr, out, ADDR_TEXT_MAX));
	return strlen(out);
}

size_t addr_format(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	char ip[ADDR_TEXT_MAX];
	size_t n = addr_format_ip(a, ip);
	bool brackets = !is_v4(a) && !is_mapped(a);
	int len;

	ASSERT(n <= INET6_ADDRSTRLEN);
	len = snprintf(out, ADDR_TEXT_MAX, brackets ? "[%.46s]:%u" : "%.46s:%u", ip, addr_port(a));
	ASSERT(len > 0 && len < ADDR_TEXT_MAX);
	return (size_t)len;
}

socklen_t addr_len(const struct addr *a)
{
	return is_v4(a) ? sizeof(a->in) : sizeof(a->in6);
}

uint16_t addr_port(const struct addr *a)
{
	return ntohs(is_v4(a) ? a->in.sin_port : a->in6.sin6_port);
}

void addr_set_port(struct addr *a, uint16_t port)
{
	if (is_v4(a))
		a->in.sin_port = htons(port);
	else
		a->in6.sin6_port = htons(port);
}

bool addr_eq_ip(const struct addr *a, const struct addr *b)
{
	struct addr x = *a, y = *b;

	addr_unmap(&x);
	addr_unmap(&y);
	if (x.sa.sa_family != y.sa.sa_family)
		return false;
	if (is_v4(&x))
		return x.in.sin_addr.s_addr == y.in.sin_addr.s_addr;
	return memcmp(&x.in6.sin6_addr, &y.in6.sin6_addr, sizeof(x.in6.sin6_addr)) == 0 &&
	       x.in6.sin6_scope_id == y.in6.sin6_scope_id;
}

bool addr_is_any(const struct addr *a)
{
	return is_v4(a) ? a->in.sin_addr.s_addr == INADDR_ANY
			: IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
	return addr_port(a) == addr_port(b) && addr_eq_ip(a, b);
}

void addr_unmap(struct addr *a)
{
	struct addr plain;

	if (!is_mapped(a))
		return;
	memset(&plain, 0, sizeof(plain));
	plain.in.sin_family = AF_INET;
	plain.in.sin_port = a->in6.sin6_port;
	memcpy(&plain.in.sin_addr, a->in6.sin6_addr.s6_addr + 12, 4);
	*a = plain;
}

/* The address bytes and how many there are. */
static size_t ip_bytes(const struct addr *a, uint8_t out[16])
{
	if (is_v4(a)) {
		memcpy(out, &a->in.sin_addr, 4);
		return 4;
	}
	memcpy(out, &a->in6.sin6_addr, 16);
	return 16;
}

int cidr_parse(struct span text, struct cidr *ret_cidr, struct err *err)
{
	size_t slash = span_find(text, '/', 0), size;
	struct cidr c = {0};
	struct addr a;
	uint64_t bits;

	if (slash == 0 || pton(span_make(text.ptr, slash), &a) < 0)
		return err_set(err,
			"'%.*s' is not a network: write ADDRESS/BITS, such as 10.0.0.0/8",
			SPAN_ARG(text));
	size = ip_bytes(&a, c.bytes);
	bits = size * 8;
	if (slash < text.len && span_to_u64(span_from(text, slash + 1), size * 8, &bits) < 0)
		return err_set(err, "'%.*s' is not a network: the bits after / are 0 to %zu",
			SPAN_ARG(text), size * 8);
	c.family = a.sa.sa_family;
	c.bits = (uint8_t)bits;
	*ret_cidr = c;
	return 0;
}

bool cidr_contains(const struct cidr *c, const struct addr *a)
{
	unsigned whole = c->bits / 8, rest = c->bits % 8;
	struct addr plain = *a;
	uint8_t bytes[16];

	ASSERT(c->bits <= (c->family == AF_INET ? 32 : 128));
	if (c->family == AF_INET)
		addr_unmap(&plain);
	if (plain.sa.sa_family != c->family)
		return false;
	ip_bytes(&plain, bytes);
	if (memcmp(bytes, c->bytes, whole) != 0)
		return false;
	return rest == 0 || ((bytes[whole] ^ c->bytes[whole]) >> (8 - rest)) == 0;
}

size_t cidr_format(const struct cidr *c, char out[ADDR_TEXT_MAX])
{
	char ip[INET6_ADDRSTRLEN];
	int len;

	ASSERT(inet_ntop(c->family, c->bytes, ip, sizeof(ip)));
	len = snprintf(out, ADDR_TEXT_MAX, "%s/%u", ip, c->bits);
	ASSERT(len > 0 && len < ADDR_TEXT_MAX);
	return (size_t)len;
}

size_t cidr_format_ip(const struct cidr *c, char out[ADDR_TEXT_MAX])
{
	ASSERT(inet_ntop(c->family, c->bytes, out, ADDR_TEXT_MAX));
	return strlen(out);
}

bool cidr_same_host(const struct cidr *a, const struct cidr *b)
{
	return a->family == b->family &&
	       memcmp(a->bytes, b->bytes, a->family == AF_INET ? 4 : 16) == 0;
}
