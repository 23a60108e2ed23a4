#include "failover/net/frame.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <string.h>

#include "shared/assert.h"

/* Offsets in the whole frame. */
enum {
	ETH_TYPE_AT = 12,
	ARP_AT = 14,
	ARP_OP_AT = 20,
	ARP_SENDER_MAC_AT = 22,
	ARP_SENDER_IP_AT = 28,
	ARP_TARGET_MAC_AT = 32,
	ARP_TARGET_IP_AT = 38,
	ARP_LEN = 42,
	IP4_AT = 14,
	IP6_AT = 14,
	IP6_NEXT_AT = 20,
	IP6_HOPS_AT = 21,
	IP6_FROM_AT = 22,
	IP6_TO_AT = 38,
	ICMP6_AT = 54,
	ND_TARGET_AT = 62,
	ND_LEN = 78, /* up to and with the target */
};
enum { ARP_OP_REQUEST = 1, ARP_OP_REPLY = 2, ND_SOLICIT = 135, ND_ADVERT = 136, NEXT_ICMP6 = 58 };
enum { NEXT_UDP = 17 };
enum { ND_OPTION_TARGET_MAC = 2, ND_FLAG_OVERRIDE = 0x20, ND_HOPS = 255 };

static const uint8_t arp_head[6] = {0, 1, 8, 0, 6, 4}; /* Ethernet, IPv4 */
static const uint8_t everyone[FRAME_MAC_LEN] = {255, 255, 255, 255, 255, 255};
static const uint8_t all_nodes_mac[FRAME_MAC_LEN] = {0x33, 0x33, 0, 0, 0, 1};
static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1};
static const uint8_t nobody[16] = {0};

static void put16(uint8_t *at, uint16_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void put_ethernet(uint8_t *out, const uint8_t to[FRAME_MAC_LEN],
	const uint8_t from[FRAME_MAC_LEN], uint16_t type)
{
	memcpy(out, to, FRAME_MAC_LEN);
	memcpy(out + FRAME_MAC_LEN, from, FRAME_MAC_LEN);
	put16(out + ETH_TYPE_AT, type);
}

static size_t put_arp(uint8_t *out, const uint8_t mac[FRAME_MAC_LEN], uint16_t op,
	const uint8_t sender_ip[4], const uint8_t target_mac[FRAME_MAC_LEN],
	const uint8_t target_ip[4])
{
	put_ethernet(out, everyone, mac, ETHERTYPE_ARP);
	memcpy(out + ARP_AT, arp_head, sizeof(arp_head));
	put16(out + ARP_OP_AT, op);
	memcpy(out + ARP_SENDER_MAC_AT, mac, FRAME_MAC_LEN);
	memcpy(out + ARP_SENDER_IP_AT, sender_ip, 4);
	memcpy(out + ARP_TARGET_MAC_AT, target_mac, FRAME_MAC_LEN);
	memcpy(out + ARP_TARGET_IP_AT, target_ip, 4);
	return ARP_LEN;
}

static uint32_t sum16(uint32_t sum, const uint8_t *at, size_t len)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += get16(at + i);
	return len % 2 ? sum + ((uint32_t)at[len - 1] << 8) : sum;
}

/* RFC 1071. */
static uint16_t fold16(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Over the pseudo-header of RFC 8200 8.1 and the message, whose checksum field is still zero. */
static void put_icmp6_checksum(uint8_t *frame, size_t icmp_len)
{
	uint32_t sum = sum16(0, frame + IP6_FROM_AT, 32) + (uint32_t)icmp_len + NEXT_ICMP6;

	sum = sum16(sum, frame + ICMP6_AT, icmp_len);
	put16(frame + ICMP6_AT + 2, fold16(sum));
}

static void put_ip6(uint8_t *out, const uint8_t from[16], const uint8_t to[16], uint8_t next,
	size_t payload_len)
{
	memset(out + IP6_AT, 0, 40);
	out[IP6_AT] = 6 << 4;
	put16(out + IP6_AT + 4, (uint16_t)payload_len);
	out[IP6_NEXT_AT] = next;
	out[IP6_HOPS_AT] = ND_HOPS;
	memcpy(out + IP6_FROM_AT, from, 16);
	memcpy(out + IP6_TO_AT, to, 16);
}

static size_t announce6(const struct cidr *vip, const uint8_t mac[FRAME_MAC_LEN], uint8_t *out)
{
	size_t icmp_len = 24 + 8;

	put_ethernet(out, all_nodes_mac, mac, ETHERTYPE_IPV6);
	put_ip6(out, vip->bytes, all_nodes, NEXT_ICMP6, icmp_len);
	memset(out + ICMP6_AT, 0, icmp_len);
	out[ICMP6_AT] = ND_ADVERT;
	out[ICMP6_AT + 4] = ND_FLAG_OVERRIDE;
	memcpy(out + ND_TARGET_AT, vip->bytes, 16);
	out[ND_LEN] = ND_OPTION_TARGET_MAC;
	out[ND_LEN + 1] = 1; /* in units of 8 bytes */
	memcpy(out + ND_LEN + 2, mac, FRAME_MAC_LEN);
	put_icmp6_checksum(out, icmp_len);
	return ICMP6_AT + icmp_len;
}

size_t frame_announce(const struct cidr *vip, const uint8_t mac[FRAME_MAC_LEN],
	enum frame_form form, uint8_t out[FRAME_MAX])
{
	ASSERT(vip->family == AF_INET || vip->family == AF_INET6);
	if (vip->family == AF_INET6)
		return announce6(vip, mac, out);
	if (form == FRAME_REPLY)
		return put_arp(out, mac, ARP_OP_REPLY, vip->bytes, mac, vip->bytes);
	return put_arp(out, mac, ARP_OP_REQUEST, vip->bytes, nobody, vip->bytes);
}

void frame_solicited_mac(const struct cidr *vip, uint8_t out[FRAME_MAC_LEN])
{
	ASSERT(vip->family == AF_INET6);
	memcpy(out, (const uint8_t[]){0x33, 0x33, 0xff}, 3);
	memcpy(out + 3, vip->bytes + 13, 3);
}

size_t frame_probe(const struct cidr *vip, const uint8_t mac[FRAME_MAC_LEN], uint8_t out[FRAME_MAX])
{
	uint8_t to_mac[FRAME_MAC_LEN], to[16] = {0xff, 0x02, [11] = 1, 0xff};

	ASSERT(vip->family == AF_INET || vip->family == AF_INET6);
	if (vip->family == AF_INET)
		return put_arp(out, mac, ARP_OP_REQUEST, nobody, nobody, vip->bytes);
	frame_solicited_mac(vip, to_mac);
	memcpy(to + 13, vip->bytes + 13, 3);
	put_ethernet(out, to_mac, mac, ETHERTYPE_IPV6);
	put_ip6(out, nobody, to, NEXT_ICMP6, 24);
	memset(out + ICMP6_AT, 0, 24);
	out[ICMP6_AT] = ND_SOLICIT;
	memcpy(out + ND_TARGET_AT, vip->bytes, 16);
	put_icmp6_checksum(out, 24);
	return ND_LEN;
}

static void put_ip4(uint8_t *out, const struct in_addr *from, const struct in_addr *to,
	uint8_t protocol, size_t payload_len)
{
	uint8_t *ip = out + IP4_AT;

	memset(ip, 0, 20);
	ip[0] = 4 << 4 | 5;
	ip[1] = IPTOS_CLASS_CS6;
	put16(ip + 2, (uint16_t)(20 + payload_len));
	ip[6] = 0x40; /* don't fragment */
	ip[8] = ND_HOPS;
	ip[9] = protocol;
	memcpy(ip + 12, from, 4);
	memcpy(ip + 16, to, 4);
	put16(ip + 10, fold16(sum16(0, ip, 20)));
}

size_t frame_udp(const struct addr *from, const uint8_t from_mac[FRAME_MAC_LEN],
	const struct addr *to, const uint8_t to_mac[FRAME_MAC_LEN], struct span payload,
	uint8_t *out)
{
	bool v4 = from->sa.sa_family == AF_INET;
	size_t udp_len = 8 + payload.len;
	uint8_t *udp = out + (v4 ? IP4_AT + 20 : IP6_AT + 40);
	uint32_t sum = NEXT_UDP + (uint32_t)udp_len;

	ASSERT(from->sa.sa_family == to->sa.sa_family && udp_len <= UINT16_MAX - 40);
	put_ethernet(out, to_mac, from_mac, v4 ? ETHERTYPE_IP : ETHERTYPE_IPV6);
	if (v4) {
		put_ip4(out, &from->in.sin_addr, &to->in.sin_addr, NEXT_UDP, udp_len);
		sum = sum16(sum, out + IP4_AT + 12, 8);
	} else {
		put_ip6(out, from->in6.sin6_addr.s6_addr, to->in6.sin6_addr.s6_addr, NEXT_UDP,
			udp_len);
		put16(out + IP6_AT, 6 << 12 | IPTOS_CLASS_CS6 << 4);
		sum = sum16(sum, out + IP6_FROM_AT, 32);
	}
	put16(udp, addr_port(from));
	put16(udp + 2, addr_port(to));
	put16(udp + 4, (uint16_t)udp_len);
	put16(udp + 6, 0);
	memcpy(udp + 8, payload.ptr, payload.len);
	sum = fold16(sum16(sum, udp, udp_len));
	put16(udp + 6, sum ? (uint16_t)sum : UINT16_MAX); /* 0 would mean: none */
	return (size_t)(udp - out) + udp_len;
}

static void say(
	struct frame_said *said, enum frame_kind kind, sa_family_t family, const uint8_t *address)
{
	size_t len = family == AF_INET ? 4 : 16;

	said->kind = kind;
	said->address.family = family;
	said->address.bits = (uint8_t)(len * 8);
	memcpy(said->address.bytes, address, len);
}

static void read_arp(const uint8_t *frame, size_t len, struct frame_said *said)
{
	if (len < ARP_LEN || memcmp(frame + ARP_AT, arp_head, sizeof(arp_head)) != 0)
		return;
	memcpy(said->mac, frame + ARP_SENDER_MAC_AT, FRAME_MAC_LEN);
	if (memcmp(frame + ARP_SENDER_IP_AT, nobody, 4) != 0)
		say(said, FRAME_CLAIM, AF_INET, frame + ARP_SENDER_IP_AT);
	else if (get16(frame + ARP_OP_AT) == ARP_OP_REQUEST)
		say(said, FRAME_PROBE, AF_INET, frame + ARP_TARGET_IP_AT);
}

static void read_nd(const uint8_t *frame, size_t len, struct frame_said *said)
{
	if (len < ND_LEN || frame[IP6_NEXT_AT] != NEXT_ICMP6 || frame[IP6_HOPS_AT] != ND_HOPS)
		return;
	memcpy(said->mac, frame + FRAME_MAC_LEN, FRAME_MAC_LEN);
	if (frame[ICMP6_AT] == ND_ADVERT)
		say(said, FRAME_CLAIM, AF_INET6, frame + ND_TARGET_AT);
	else if (frame[ICMP6_AT] == ND_SOLICIT && memcmp(frame + IP6_FROM_AT, nobody, 16) == 0)
		say(said, FRAME_PROBE, AF_INET6, frame + ND_TARGET_AT);
	else if (frame[ICMP6_AT] == ND_SOLICIT)
		say(said, FRAME_CLAIM, AF_INET6, frame + IP6_FROM_AT);
}

struct frame_said frame_read(const uint8_t *frame, size_t len)
{
	struct frame_said said = {.kind = FRAME_NOTHING};

	if (len < ARP_AT)
		return said;
	if (get16(frame + ETH_TYPE_AT) == ETHERTYPE_ARP)
		read_arp(frame, len, &said);
	else if (get16(frame + ETH_TYPE_AT) == ETHERTYPE_IPV6)
		read_nd(frame, len, &said);
	return said;
}
