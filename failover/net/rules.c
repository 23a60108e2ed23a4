#include "failover/net/rules.h"

#include <inttypes.h>
#include <stdio.h>

#include "failover/core/packet.h"
#include "failover/core/vrrp_packet.h"
#include "shared/assert.h"

/* Before what a user's own rules do with the device, which mostly is at 0 or at -300. */
#define PRIORITY (-500)
/* For what is on its way when the address moves; later the peer sends it, or nobody. */
#define DRAIN_S 5
#define SEEN_MAX 262144

void rules_table_name(uint8_t vrid, const char *vrrp_group, char out[RULES_TABLE_MAX])
{
	(void)snprintf(out, RULES_TABLE_MAX, "tandem_%u%s%s", vrid, vrrp_group ? "_" : "",
		vrrp_group ? vrrp_group : "");
}

bool rules_is_table(struct span name)
{
	const struct span prefix = SPAN("tandem_");

	return span_starts(name, prefix) && name.len > prefix.len && name.ptr[prefix.len] >= '0' &&
	       name.ptr[prefix.len] <= '9';
}

static bool has_egress(const struct rules_spec *s)
{
	return s->own || s->advertises;
}

static bool has_family(const struct rules_spec *s, sa_family_t family)
{
	for (unsigned i = 0; i < s->vip_count; i++)
		if (s->vips[i].family == family)
			return true;
	return false;
}

/* --- parts -------------------------------------------------------------------------------------
 */
static bool put_mac(struct buf *to, const uint8_t mac[RULES_MAC_LEN])
{
	return buf_printf(to, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		       mac[4], mac[5]) == 0;
}

/* A host address as nft writes it. */
static bool put_host(struct buf *to, const struct cidr *host)
{
	char text[ADDR_TEXT_MAX];
	struct span whole = span_make(text, cidr_format(host, text));

	return buf_append(to, span_make(text, span_find(whole, '/', 0))) == 0;
}

static bool put_vip_set(
	struct buf *to, const struct rules_spec *s, sa_family_t family, const char *head)
{
	bool ok = buf_printf(to, "\tset %s;", head) == 0;
	const char *before = " elements = { ";

	for (unsigned i = 0; i < s->vip_count && ok; i++) {
		if (s->vips[i].family != family)
			continue;
		ok = buf_printf(to, "%s", before) == 0 && put_host(to, &s->vips[i]);
		before = ", ";
	}
	return ok && buf_printf(to, has_family(s, family) ? " }; }\n" : " }\n") == 0;
}

/* The target of a neighbour message, compared with each IPv6 address; old nft has no name for it.
 */
static bool put_nd_target(struct buf *to, const struct rules_spec *s)
{
	bool ok = buf_printf(to, "@th,64,128 {") == 0;
	const char *before = " 0x";

	for (unsigned i = 0; i < s->vip_count && ok; i++) {
		if (s->vips[i].family != AF_INET6)
			continue;
		ok = buf_printf(to, "%s", before) == 0;
		for (unsigned b = 0; b < 16 && ok; b++)
			ok = buf_printf(to, "%02x", s->vips[i].bytes[b]) == 0;
		before = ", 0x";
	}
	return ok && buf_printf(to, " }") == 0;
}

/* --- the fence ---------------------------------------------------------------------------------
 */
/* What is in lease and claim says itself how long it lives: so a change of the lease keeps them. */
static bool put_sets(struct buf *to, const struct rules_spec *s)
{
	return put_vip_set(to, s, AF_INET, "vip4 { type ipv4_addr") &&
	       put_vip_set(to, s, AF_INET6, "vip6 { type ipv6_addr") &&
	       buf_printf(to,
		       "\tset peer { type ether_addr; }\n"
		       "\tset lease { type ifname; flags dynamic,timeout; size 8; }\n"
		       "\tset claim { type ifname; flags dynamic,timeout; size 8; }\n"
		       "\tset drain { type ifname; flags timeout; timeout %ds; }\n"
		       "\tchain chance4 { }\n"
		       "\tchain chance6 { }\n",
		       DRAIN_S) == 0;
}

/* Who asks for an address, and from nowhere: somebody who is about to claim it. That ends the claim
 * that we have open; both sides do so, and two claims never overlap. */
static bool put_who_has(struct buf *to)
{
	return buf_printf(to,
		       "\tchain who_has {\n"
		       "\t\tarp operation request arp saddr ip 0.0.0.0 arp daddr ip @vip4"
		       " delete @claim { iifname } counter"
		       " comment \"somebody else's probe revokes our open claim\"\n"
		       "\t\tarp operation request arp daddr ip @vip4 iifname != @lease counter drop"
		       " comment \"no lease: nobody learns that we are here\"\n"
		       "\t}\n") == 0;
}

static bool put_solicitations(struct buf *to, const struct rules_spec *s)
{
	return buf_printf(to, "\t\tip6 saddr :: icmpv6 type nd-neighbor-solicit ") == 0 &&
	       put_nd_target(to, s) &&
	       buf_printf(to, " delete @claim { iifname } counter"
			      " comment \"somebody else's probe revokes our open claim\"\n"
			      "\t\ticmpv6 type nd-neighbor-solicit ") == 0 &&
	       put_nd_target(to, s) &&
	       buf_printf(to, " iifname != @lease counter drop"
			      " comment \"no lease: nobody learns that we are here\"\n") == 0;
}

static bool put_traffic(struct buf *to, const char *ip, int version)
{
	return buf_printf(to,
		       "\t\t%s daddr != @vip%d accept\n"
		       "\t\tether saddr @peer counter accept comment \"handed over by the peer\"\n"
		       "\t\tiifname @lease goto chance%d\n"
		       "\t\tiifname @drain counter goto chance%d"
		       " comment \"still on its way when the address left\"\n"
		       "\t\tcounter drop comment \"no lease: not ours\"\n"
		       "\t}\n",
		       ip, version, version, version) == 0;
}

static bool put_ingress(struct buf *to, const struct rules_spec *s)
{
	return put_who_has(to) && buf_printf(to, "\tchain to4 {\n") == 0 &&
	       put_traffic(to, "ip", 4) && buf_printf(to, "\tchain to6 {\n") == 0 &&
	       (!has_family(s, AF_INET6) || put_solicitations(to, s)) &&
	       put_traffic(to, "ip6", 6) &&
	       buf_printf(to,
		       "\tchain in {\n"
		       "\t\ttype filter hook ingress device \"%s\" priority %d; policy accept;\n"
		       "\t\tmeta protocol vmap { arp : jump who_has, ip : jump to4, ip6 : jump to6 "
		       "}\n"
		       "\t}\n",
		       s->interface, PRIORITY) == 0;
}

/* Our own heartbeats, by their first byte. */
static bool put_heartbeats(struct buf *to, const struct rules_spec *s)
{
	return buf_printf(to,
		       "\tchain heartbeat {\n"
		       "\t\t@th,64,8 %d oifname @lease"
		       " update @lease { oifname timeout %" PRIu64 "ms } counter accept"
		       " comment \"ACTIVE renews a lease that lives\"\n"
		       "\t\t@th,64,8 { %d, %d } oifname @claim"
		       " update @lease { oifname timeout %" PRIu64 "ms } counter accept"
		       " comment \"within its window a claim opens one\"\n"
		       "\t\t@th,64,8 { %d, %d } counter drop"
		       " comment \"of a past that nobody knows of\"\n"
		       "\t}\n",
		       PACKET_ACTIVE, s->lease_ms, PACKET_ACTIVE, PACKET_CLAIM, s->lease_ms,
		       PACKET_ACTIVE, PACKET_CLAIM) == 0;
}

/* Our own advertisements, by their third byte, the priority. */
static bool put_advertisements(struct buf *to, const struct rules_spec *s)
{
	return buf_printf(to,
		       "\tchain heartbeat {\n"
		       "\t\t@th,16,8 0 counter accept comment \"priority 0 gives it up\"\n"
		       "\t\toifname @lease update @lease { oifname timeout %" PRIu64
		       "ms } counter accept comment \"an advertisement renews a lease that "
		       "lives\"\n"
		       "\t\toifname @claim update @lease { oifname timeout %" PRIu64
		       "ms } counter accept comment \"within its window the first opens one\"\n"
		       "\t\tcounter drop comment \"of a past that nobody knows of\"\n"
		       "\t}\n",
		       s->lease_ms, s->lease_ms) == 0;
}

static bool put_heartbeats_out(struct buf *to, const struct rules_spec *s)
{
	const char *ip = s->own->sa.sa_family == AF_INET ? "ip" : "ip6";
	char own[ADDR_TEXT_MAX], peer[ADDR_TEXT_MAX];

	addr_format_ip(s->own, own);
	addr_format_ip(s->peer, peer);
	return buf_printf(to,
		       "\t\t%s saddr %s %s daddr %s udp sport %u udp dport %u @th,96,16 %u"
		       " jump heartbeat\n",
		       ip, own, ip, peer, addr_port(s->own), addr_port(s->peer), s->vrid) == 0;
}

/* Whatever is routed through here has a smaller TTL: what has 255 began on this machine. */
static bool put_advertisements_out(struct buf *to, const struct rules_spec *s)
{
	bool ok = true;

	if (has_family(s, AF_INET))
		ok = buf_printf(to,
			     "\t\tip protocol %d ip ttl %d @th,0,16 0x%x%02x jump heartbeat\n",
			     VRRP_PROTOCOL, VRRP_TTL, VRRP_FIRST_BYTE, s->vrid) == 0;
	if (has_family(s, AF_INET6))
		ok = ok && buf_printf(to,
				   "\t\tip6 nexthdr %d ip6 hoplimit %d @th,0,16 0x%x%02x"
				   " jump heartbeat\n",
				   VRRP_PROTOCOL, VRRP_TTL, VRRP_FIRST_BYTE, s->vrid) == 0;
	return ok;
}

static bool put_egress(struct buf *to, const struct rules_spec *s)
{
	bool ok;

	ok = (s->own ? put_heartbeats(to, s) : put_advertisements(to, s)) &&
	     buf_printf(to,
		     "\tchain out {\n"
		     "\t\ttype filter hook egress device \"%s\" priority %d; policy accept;\n",
		     s->interface, PRIORITY) == 0 &&
	     (s->own ? put_heartbeats_out(to, s) : put_advertisements_out(to, s)) &&
	     buf_printf(to, "\t\tarp saddr ip @vip4 oifname != @lease counter drop"
			    " comment \"no lease: no announcement\"\n") == 0;
	if (has_family(s, AF_INET6))
		ok = ok && buf_printf(to, "\t\ticmpv6 type nd-neighbor-advert ") == 0 &&
		     put_nd_target(to, s) &&
		     buf_printf(to, " oifname != @lease counter drop"
				    " comment \"no lease: no announcement\"\n") == 0;
	return ok && buf_printf(to, "\t}\n") == 0;
}

bool rules_delete(struct buf *to, const char *table)
{
	/* Added first, for what is not there cannot be deleted. */
	return buf_printf(to, "add table netdev %s\ndelete table netdev %s\n", table, table) == 0;
}

static bool put_table(struct buf *to, const struct rules_spec *s)
{
	return buf_printf(to,
		       "table netdev %s {\n"
		       "\tcomment \"Tandem, group %s: the fence of its addresses\"\n",
		       s->table, s->group) == 0 &&
	       put_sets(to, s) && put_ingress(to, s) && (!has_egress(s) || put_egress(to, s)) &&
	       buf_printf(to, "}\n") == 0;
}

bool rules_table(struct buf *to, const struct rules_spec *s)
{
	return rules_delete(to, s->table) && put_table(to, s);
}

static bool put_flush(struct buf *to, const char *what, const char *table, const char *name)
{
	return buf_printf(to, "flush %s netdev %s %s\n", what, table, name) == 0;
}

bool rules_change(struct buf *to, const struct rules_spec *s)
{
	static const char *const chains[] = {"who_has", "to4", "to6", "in", "heartbeat", "out"};
	unsigned count = has_egress(s) ? countof(chains) : countof(chains) - 2;
	bool ok = put_flush(to, "set", s->table, "vip4") && put_flush(to, "set", s->table, "vip6");

	for (unsigned i = 0; i < count; i++)
		ok = ok && put_flush(to, "chain", s->table, chains[i]);
	return ok && put_table(to, s);
}

bool rules_peer(struct buf *to, const char *table, const uint8_t mac[RULES_MAC_LEN])
{
	if (buf_printf(to, "flush set netdev %s peer\n", table) != 0)
		return false;
	return !mac || (buf_printf(to, "add element netdev %s peer { ", table) == 0 &&
			       put_mac(to, mac) && buf_printf(to, " }\n") == 0);
}

/* --- the second chance -------------------------------------------------------------------------
 */
/* The next one begins with a set without members: those of an earlier move say nothing. Flushing a
 * large one would take long, deleting it does not. */
static bool put_no_chance(struct buf *to, const struct rules_spec *s, int version)
{
	return buf_printf(to,
		       "flush chain netdev %s chance%d\n"
		       "add set netdev %s seen%d { type ipv%d_addr . ipv%d_addr . inet_service ."
		       " inet_service; flags dynamic,timeout; }\n"
		       "delete set netdev %s seen%d\n",
		       s->table, version, s->table, version, version, version, s->table,
		       version) == 0;
}

static bool put_ports(struct buf *to, const struct rules_chance *c)
{
	bool ok = true;

	if (c->port_count == 0)
		return buf_printf(to, "1-65535") == 0;
	for (unsigned i = 0; i < c->port_count && ok; i++)
		ok = buf_printf(to, "%s%u", i ? ", " : "{ ", c->ports[i]) == 0;
	return ok && buf_printf(to, " }") == 0;
}

static bool put_to_peer(struct buf *to, const struct rules_chance *c)
{
	return buf_printf(to, " ether saddr set ") == 0 && put_mac(to, c->own_mac) &&
	       buf_printf(to, " ether daddr set ") == 0 && put_mac(to, c->peer_mac);
}

static bool put_chance(
	struct buf *to, const struct rules_spec *s, const struct rules_chance *c, int version)
{
	const char *ip = version == 4 ? "ip" : "ip6";
	char tuple[96];
	bool ok;

	(void)snprintf(tuple, sizeof(tuple), "%s saddr . %s daddr . tcp sport . tcp dport", ip, ip);
	ok = buf_printf(to,
		     "flush chain netdev %s chance%d\n"
		     "add set netdev %s seen%d { type ipv%d_addr . ipv%d_addr . inet_service ."
		     " inet_service; flags dynamic,timeout; timeout %" PRIu64 "s; size %d; }\n"
		     "table netdev %s {\n"
		     "\tchain chance%d {\n"
		     "\t\ttcp flags & (fin | syn | rst | ack) == syn update @seen%d { %s }"
		     " counter accept comment \"begins here: ours\"\n"
		     "\t\t%s @seen%d accept\n"
		     "\t\ttcp dport ",
		     s->table, version, s->table, version, version, version, c->remember_s,
		     SEEN_MAX, s->table, version, version, tuple, tuple, version) == 0 &&
	     put_ports(to, c) && put_to_peer(to, c) &&
	     buf_printf(to, " counter fwd to \"%s\" comment \"begun at the peer: its own\"\n\t\t%s",
		     s->interface,
		     version == 4 ? "icmp type destination-unreachable icmp code frag-needed"
				  : "icmpv6 type packet-too-big") == 0 &&
	     put_to_peer(to, c) &&
	     /* Both of us may be meant: a copy goes there, and the frame is ours again. */
	     buf_printf(to, " dup to \"%s\" ether daddr set ", s->interface) == 0 &&
	     put_mac(to, c->own_mac);
	return ok && buf_printf(to, " counter accept comment \"for both\"\n\t}\n}\n") == 0;
}

bool rules_chance(struct buf *to, const struct rules_spec *s, const struct rules_chance *c)
{
	return (!has_family(s, AF_INET) || put_chance(to, s, c, 4)) &&
	       (!has_family(s, AF_INET6) || put_chance(to, s, c, 6));
}

bool rules_no_chance(struct buf *to, const struct rules_spec *s)
{
	return put_no_chance(to, s, 4) && put_no_chance(to, s, 6);
}
