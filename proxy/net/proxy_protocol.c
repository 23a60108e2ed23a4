#include "proxy/net/proxy_protocol.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "shared/assert.h"

enum {
	V1_MIN = 15,  /* "PROXY UNKNOWN" and its line end */
	V1_MAX = 107, /* the longest that the text allows */
	V2_FIXED = 16,
	V2_INET = 12,
	V2_INET6 = 36,
	V2_UNIX = 216,
	TLV_HEAD = 3,
	TLV_CRC32C = 3,
	CRC_BYTES = 4
};

static const struct span v1_start = {"PROXY ", 6};
static const struct span v2_start = {"\r\n\r\n\0\r\nQUIT\n", 12};

/* --- version 1 --------------------------------------------------------------------------------
 */

/* The text up to the next space or the end, which must not be empty. */
static struct span next_word(struct span *line)
{
	size_t end = span_find(*line, ' ', 0);
	struct span word = span_make(line->ptr, end);

	*line = span_from(*line, end < line->len ? end + 1 : end);
	return word;
}

static int read_address(struct span text, sa_family_t family, struct addr *ret_addr)
{
	return addr_parse_ip(text, ret_addr, NULL) < 0 || ret_addr->sa.sa_family != family ? -1 : 0;
}

static int read_port(struct span text, struct addr *a)
{
	uint64_t port;

	if (text.len > 5 || (text.len > 1 && text.ptr[0] == '0') ||
		span_to_u64(text, UINT16_MAX, &port) < 0)
		return -1;
	addr_set_port(a, (uint16_t)port);
	return 0;
}

/* line: behind "PROXY ", without its end. */
static const char *read_v1_line(struct span line, struct proxy_header *h)
{
	struct span protocol = next_word(&line);
	sa_family_t family = AF_INET;

	h->has_addresses = false;
	if (span_eq(protocol, SPAN("UNKNOWN")))
		return NULL; /* what follows is to be ignored */
	if (span_eq(protocol, SPAN("TCP6")))
		family = AF_INET6;
	else if (!span_eq(protocol, SPAN("TCP4")))
		return "a protocol other than TCP4, TCP6 and UNKNOWN";
	if (read_address(next_word(&line), family, &h->source) < 0 ||
		read_address(next_word(&line), family, &h->destination) < 0)
		return "a malformed address";
	if (span_find(line, ' ', 0) == line.len || read_port(next_word(&line), &h->source) < 0 ||
		read_port(line, &h->destination) < 0)
		return "a malformed port";
	h->has_addresses = true;
	return NULL;
}

static enum parse_rc parse_v1(
	struct span in, struct proxy_header *h, size_t *ret_bytes, const char **ret_why)
{
	size_t end = span_find(in, '\n', 0);

	*ret_why = "a line of more than 107 bytes";
	if (end >= V1_MAX || (end == in.len && in.len >= V1_MAX))
		return PARSE_BAD;
	if (end == in.len) {
		*ret_bytes = in.len < V1_MIN ? V1_MIN : in.len + 1;
		return PARSE_MORE;
	}
	*ret_why = "a line that does not end with CR LF";
	if (in.ptr[end - 1] != '\r') /* there are six bytes before it */
		return PARSE_BAD;
	*ret_why = read_v1_line(span_make(in.ptr + v1_start.len, end - 1 - v1_start.len), h);
	if (*ret_why)
		return PARSE_BAD;
	*ret_bytes = end + 1;
	return PARSE_DONE;
}

/* --- version 2 --------------------------------------------------------------------------------
 */

static uint8_t byte_at(struct span s, size_t at)
{
	return (uint8_t)s.ptr[at];
}

static size_t u16_at(struct span s, size_t at)
{
	return (size_t)byte_at(s, at) << 8 | byte_at(s, at + 1);
}

static uint32_t u32_at(struct span s, size_t at)
{
	return (uint32_t)(u16_at(s, at) << 16 | u16_at(s, at + 2));
}

/* CRC32c (RFC 3720 appendix B.4) of the header, with these four bytes of it taken for zero. */
static uint32_t crc_without(struct span header, size_t from)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < header.len; i++) {
		crc ^= i >= from && i < from + CRC_BYTES ? 0 : byte_at(header, i);
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
	}
	return ~crc;
}

static const char *check_tlvs(struct span header, size_t at)
{
	while (at < header.len) {
		size_t len;

		if (header.len - at < TLV_HEAD ||
			u16_at(header, at + 1) > header.len - at - TLV_HEAD)
			return "a TLV beyond the end";
		len = u16_at(header, at + 1);
		if (byte_at(header, at) == TLV_CRC32C &&
			(len != CRC_BYTES || u32_at(header, at + TLV_HEAD) !=
						     crc_without(header, at + TLV_HEAD)))
			return "a checksum that does not agree";
		at += TLV_HEAD + len;
	}
	return NULL;
}

static void take_v4(struct span s, size_t ip, size_t port, struct addr *a)
{
	*a = (struct addr){.in = {.sin_family = AF_INET}};
	memcpy(&a->in.sin_addr, s.ptr + ip, 4);
	memcpy(&a->in.sin_port, s.ptr + port, 2);
}

static void take_v6(struct span s, size_t ip, size_t port, struct addr *a)
{
	*a = (struct addr){.in6 = {.sin6_family = AF_INET6}};
	memcpy(&a->in6.sin6_addr, s.ptr + ip, 16);
	memcpy(&a->in6.sin6_port, s.ptr + port, 2);
	addr_unmap(a);
}

/* The whole header of a PROXY command. */
static const char *read_v2_addresses(struct span s, struct proxy_header *h)
{
	static const size_t sizes[] = {0, V2_INET, V2_INET6, V2_UNIX};
	unsigned family = byte_at(s, 13) >> 4, transport = byte_at(s, 13) & 15;

	if (family >= sizeof(sizes) / sizeof(sizes[0]) || transport > 2)
		return "an unknown address family";
	if (!family || !transport) /* unspecified: what follows is to be ignored */
		return NULL;
	if (s.len - V2_FIXED < sizes[family])
		return "too short for its addresses";
	h->has_addresses = transport == 1 && family < 3;
	if (h->has_addresses && family == 1) {
		take_v4(s, V2_FIXED, V2_FIXED + 8, &h->source);
		take_v4(s, V2_FIXED + 4, V2_FIXED + 10, &h->destination);
	} else if (h->has_addresses) {
		take_v6(s, V2_FIXED, V2_FIXED + 32, &h->source);
		take_v6(s, V2_FIXED + 16, V2_FIXED + 34, &h->destination);
	}
	return check_tlvs(s, V2_FIXED + sizes[family]);
}

static enum parse_rc parse_v2(
	struct span in, struct proxy_header *h, size_t *ret_bytes, const char **ret_why)
{
	unsigned command;

	*ret_bytes = V2_FIXED;
	if (in.len < V2_FIXED)
		return PARSE_MORE;
	*ret_why = "a version other than 1 and 2";
	if (byte_at(in, 12) >> 4 != 2)
		return PARSE_BAD;
	*ret_why = "an unknown command";
	command = byte_at(in, 12) & 15;
	if (command > 1)
		return PARSE_BAD;
	*ret_why = "too long";
	*ret_bytes = V2_FIXED + u16_at(in, 14);
	if (*ret_bytes > PROXY_HEADER_MAX)
		return PARSE_BAD;
	if (in.len < *ret_bytes)
		return PARSE_MORE;
	h->has_addresses = false;
	if (command == 0) /* LOCAL: the whole block is to be ignored */
		return PARSE_DONE;
	*ret_why = read_v2_addresses(span_make(in.ptr, *ret_bytes), h);
	return *ret_why ? PARSE_BAD : PARSE_DONE;
}

enum parse_rc proxy_header_parse(
	struct span in, struct proxy_header *ret_header, size_t *ret_bytes, const char **ret_why)
{
	size_t v1 = in.len < v1_start.len ? in.len : v1_start.len;
	size_t v2 = in.len < v2_start.len ? in.len : v2_start.len;

	*ret_bytes = V1_MIN;
	if (in.len == 0)
		return PARSE_MORE;
	if (memcmp(in.ptr, v1_start.ptr, v1) == 0)
		return parse_v1(in, ret_header, ret_bytes, ret_why);
	if (memcmp(in.ptr, v2_start.ptr, v2) == 0)
		return parse_v2(in, ret_header, ret_bytes, ret_why);
	*ret_why = "no PROXY protocol header";
	return PARSE_BAD;
}

/* --- writing ----------------------------------------------------------------------------------
 */

static void to_v6(const struct addr *a, uint8_t out[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (a->sa.sa_family == AF_INET6) {
		memcpy(out, &a->in6.sin6_addr, 16);
		return;
	}
	memcpy(out, mapped, sizeof(mapped));
	memcpy(out + sizeof(mapped), &a->in.sin_addr, 4);
}

/* Source and destination as bytes; returns how many each has. */
static size_t to_bytes(
	const struct addr *source, const struct addr *destination, uint8_t from[16], uint8_t to[16])
{
	if (source->sa.sa_family != AF_INET || destination->sa.sa_family != AF_INET) {
		to_v6(source, from);
		to_v6(destination, to);
		return 16;
	}
	memcpy(from, &source->in.sin_addr, 4);
	memcpy(to, &destination->in.sin_addr, 4);
	return 4;
}

static size_t write_v1(char *out, const struct addr *source, const struct addr *destination)
{
	char from_text[INET6_ADDRSTRLEN], to_text[INET6_ADDRSTRLEN];
	uint8_t from[16], to[16];
	int n, family;

	if (!source) {
		memcpy(out, "PROXY UNKNOWN\r\n", V1_MIN);
		return V1_MIN;
	}
	family = to_bytes(source, destination, from, to) == 4 ? AF_INET : AF_INET6;
	ASSERT(inet_ntop(family, from, from_text, sizeof(from_text)));
	ASSERT(inet_ntop(family, to, to_text, sizeof(to_text)));
	n = snprintf(out, PROXY_HEADER_OUT_MAX, "PROXY %s %s %s %u %u\r\n",
		family == AF_INET ? "TCP4" : "TCP6", from_text, to_text, addr_port(source),
		addr_port(destination));
	ASSERT(n > 0 && n <= V1_MAX);
	return (size_t)n;
}

static size_t write_v2(char *out, const struct addr *source, const struct addr *destination)
{
	uint8_t from[16], to[16];
	size_t each = source ? to_bytes(source, destination, from, to) : 0;
	size_t len = each ? 2 * each + 4 : 0;
	uint16_t ports[2];

	memcpy(out, v2_start.ptr, v2_start.len);
	out[12] = source ? 0x21 : 0x20; /* version 2, PROXY or LOCAL */
	out[13] = each == 0 ? 0 : each == 4 ? 0x11 : 0x21;
	out[14] = 0;
	out[15] = (char)len;
	if (!source)
		return V2_FIXED;
	ports[0] = htons(addr_port(source));
	ports[1] = htons(addr_port(destination));
	memcpy(out + V2_FIXED, from, each);
	memcpy(out + V2_FIXED + each, to, each);
	memcpy(out + V2_FIXED + 2 * each, ports, sizeof(ports));
	return V2_FIXED + len;
}

size_t proxy_header_write(char out[PROXY_HEADER_OUT_MAX], enum proxy_version version,
	const struct addr *source, const struct addr *destination)
{
	ASSERT(version == PROXY_V1 || version == PROXY_V2);
	return version == PROXY_V1 ? write_v1(out, source, destination)
				   : write_v2(out, source, destination);
}
