#include "failover/fence.h"

#include <inttypes.h>

#include "failover/agent.h"
#include "failover/group_vrrp.h"
#include "failover/net/netlink_diag.h"
#include "shared/assert.h"
#include "shared/log.h"
#include "shared/units.h"

#define ASK_MAC_NS NS_PER_S
/* Until a better mode is tried again; doubled each time, for most that lacks will not come. */
#define RETRY_LEAST_NS NS_PER_S
#define RETRY_MOST_NS (64 * NS_PER_S)
/* Connections of ours that are known by name while the peer gets the rest: those that are left of
 * an earlier move. More than these would not fit into one transaction. */
#define SEEDS_MAX 8192
#define SEED_TEXT_MAX 128
#define TEXT_MAX (NFT_TEXT_MAX + SEEDS_MAX * SEED_TEXT_MAX)
/* Beyond the limit of a drain, so that no connection is forgotten before it. */
#define REMEMBER_MORE_S 60

static const uint8_t everybody[FRAME_MAC_LEN] = {255, 255, 255, 255, 255, 255};

static void trouble(const struct group *g, const char *event, const struct err *err)
{
	log_event(LOG_WARNING, event, err->text, F_TEXT("group", g->settings.name));
}

static uint64_t lease_ns(const struct group *g)
{
	return g->vrrp ? vrrp_lease_of(g->settings.vrrp.interval_ns) : g->fsm.config.times.lease_ns;
}

static uint64_t lease_ms(const struct group *g)
{
	return lease_ns(g) / NS_PER_MS;
}

/* --- texts -------------------------------------------------------------------------------------
 */
static struct rules_spec spec_of(const struct group *g, bool egress)
{
	const struct fence *f = &g->fence;
	struct rules_spec s = {.table = f->table,
		.group = g->settings.name,
		.interface = g->settings.interface,
		.vips = g->settings.vips,
		.vip_count = g->settings.vip_count,
		.lease_ms = lease_ms(g),
		.vrid = g->settings.vrid};

	s.advertises = egress && g->vrrp;
	if (egress && !g->vrrp) {
		s.own = &g->agent->settings->paths[f->path].own;
		s.peer = &g->agent->settings->paths[f->path].peer;
	}
	return s;
}

struct seeds {
	struct buf *to;
	const char *table;
	sa_family_t family;
	unsigned count;
	bool whole;
};

static bool put_seed(void *ctx, const struct addr *local, const struct addr *remote)
{
	struct seeds *s = ctx;
	char own[ADDR_TEXT_MAX], client[ADDR_TEXT_MAX];

	if (local->sa.sa_family != s->family)
		return true;
	addr_format_ip(local, own);
	addr_format_ip(remote, client);
	if (s->count == 0)
		s->whole = buf_printf(s->to, "add element netdev %s seen%d {", s->table,
				   s->family == AF_INET ? 4 : 6) == 0;
	s->whole = s->whole && s->count < SEEDS_MAX &&
		   buf_printf(s->to, "%s%s . %s . %u . %u", s->count ? ", " : " ", client, own,
			   addr_port(remote), addr_port(local)) == 0;
	s->count++;
	return s->whole;
}

/* What our proxy has at this moment is ours, though nobody saw its beginning here. */
static bool put_seeds(struct buf *to, const struct group *g, sa_family_t family)
{
	struct seeds s = {.to = to, .table = g->fence.table, .family = family, .whole = true};
	struct err err;

	if (netlink_diag_each(g->settings.vips, g->settings.vip_count, put_seed, &s, &err) != 0) {
		trouble(g, "fence.connections", &err);
		return false;
	}
	return s.whole && (s.count == 0 || buf_printf(to, " }\n") == 0);
}

static bool put_chance(struct buf *to, const struct group *g)
{
	const struct fence *f = &g->fence;
	struct rules_spec spec = spec_of(g, false);
	struct rules_chance chance = {.ports = g->settings.ports,
		.port_count = g->settings.port_count,
		.remember_s = g->fsm.config.drain_ns / NS_PER_S + REMEMBER_MORE_S};

	memcpy(chance.own_mac, f->wire.mac, sizeof(chance.own_mac));
	memcpy(chance.peer_mac, f->wire.peer_mac, sizeof(chance.peer_mac));
	return rules_chance(to, &spec, &chance) && put_seeds(to, g, AF_INET) &&
	       put_seeds(to, g, AF_INET6);
}

static bool put_drain(struct buf *to, const struct group *g)
{
	return buf_printf(to, "add element netdev %s drain { \"%s\" }\n", g->fence.table,
		       g->settings.interface) == 0;
}

/* --- the table ---------------------------------------------------------------------------------
 */
static int run(const struct group *g, struct buf *text, bool whole, struct err *err)
{
	int rc = nft_run_buf(g->agent->nft, text, whole, err);

	buf_fini(text);
	return rc;
}

static int __attribute__((format(printf, 3, 4)))
command(const struct group *g, struct err *err, const char *fmt, ...)
{
	char text[512];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ASSERT(n > 0 && (size_t)n < sizeof(text));
	return nft_run(g->agent->nft, text, err);
}

static enum netlink_set_state look(const struct group *g, const char *set, uint64_t *ret_left_ms)
{
	struct err err;
	enum netlink_set_state state =
		netlink_set_look(g->agent->sets, g->fence.table, set, ret_left_ms, &err);

	if (state == NETLINK_SET_UNKNOWN)
		trouble(g, "fence.look", &err);
	return state;
}

/* --- the lease ---------------------------------------------------------------------------------
 */
/* Without an egress hook. What is deleted must be there, else nothing of it happens: a claim opens
 * a lease and a lease is renewed only while they live. */
static int renew_by_netlink(const struct group *g, const char *from, uint64_t for_ms)
{
	struct err err;

	return command(g, &err,
		"delete element netdev %s %s { \"%s\" }\n"
		"flush set netdev %s lease\n"
		"add element netdev %s lease { \"%s\" timeout %" PRIu64 "ms }\n",
		g->fence.table, from, g->settings.interface, g->fence.table, g->fence.table,
		g->settings.interface, for_ms);
}

/* The lease first: whenever this process stands still, it ends before who heard the advertisement
 * claims. Of one that nobody heard only what was left before remains. */
static int advertise_by_netlink(struct group *g, const struct fsm_action *send, const char *from)
{
	uint64_t end_ns = g->fence.renewed_ns + lease_ns(g), now_ns;
	struct err err;

	if (renew_by_netlink(g, from, lease_ms(g)) != 0)
		return -1;
	if (group_vrrp_send(g, send))
		return 0;
	now_ns = monotonic_ns();
	if (send->packet == PACKET_CLAIM || now_ns + NS_PER_MS > end_ns)
		(void)command(g, &err, "flush set netdev %s lease\n", g->fence.table);
	else
		(void)renew_by_netlink(g, "lease", (end_ns - now_ns) / NS_PER_MS);
	return -1;
}

/* As it leaves it renews the lease. */
static int send_out(struct group *g, const struct fsm_action *send, uint64_t now_ns)
{
	struct err err;

	if (g->vrrp)
		return group_vrrp_send(g, send) ? 0 : -1;
	return agent_send_frame(g->agent, g, send, now_ns, &err);
}

/* Brings an owner's packet past the fence. from: the set whose member allows it. Returns what the
 * kernel then knows of the lease. */
static enum netlink_set_state pass(
	struct group *g, const struct fsm_action *send, const char *from, uint64_t now_ns)
{
	enum netlink_set_state state;
	uint64_t left_ms;
	int rc;

	if (g->fence.mode == FENCE_KERNEL)
		rc = send_out(g, send, now_ns);
	else if (g->vrrp)
		rc = advertise_by_netlink(g, send, from);
	else
		rc = renew_by_netlink(g, from, lease_ms(g));
	state = look(g, "lease", &left_ms);
	if (state == NETLINK_SET_UNKNOWN)
		return rc == 0 ? NETLINK_SET_MEMBER : NETLINK_SET_EMPTY;
	/* It left and renewed nothing: the rules that should have done it are gone. What was left
	 * when it left is what counts, however long this process stood still since. */
	left_ms += (monotonic_ns() - now_ns) / NS_PER_MS;
	if (state == NETLINK_SET_MEMBER && rc == 0 && left_ms < lease_ms(g) / 2)
		return NETLINK_SET_MISSING;
	if (state == NETLINK_SET_MEMBER && rc == 0)
		g->fence.renewed_ns = now_ns;
	return state;
}

/* The lease of an owner goes on in a new table only if it could still live in the old one: a claim
 * was opened with the table, for half a lease, and only then the clock is looked at. However long
 * this process stands still in between, no lease opens later than the old one would have ended. */
static bool regain(struct group *g)
{
	struct fsm_action active = {.kind = FSM_DO_SEND, .packet = PACKET_ACTIVE};
	uint64_t now_ns = monotonic_ns();

	if (now_ns - g->fence.renewed_ns <= lease_ns(g) / 2 &&
		pass(g, &active, "claim", now_ns) == NETLINK_SET_MEMBER)
		return true;
	fence_close(g);
	return false;
}

/* --- the table ---------------------------------------------------------------------------------
 */
/* While the table was replaced others may have begun, of which only the kernel's sockets know. Of
 * an owner's no packet comes in before it has its lease again. */
static void seed_again(struct group *g)
{
	struct buf text;
	struct err err;
	bool whole;

	buf_init(&text, TEXT_MAX);
	whole = put_seeds(&text, g, AF_INET) && put_seeds(&text, g, AF_INET6);
	if (run(g, &text, whole, &err) != 0)
		trouble(g, "fence.connections", &err);
}

/* The fence matters more: what does not fit, or the kernel will not have, is not to cost it. */
static void give_up_chance(struct group *g, const struct err *err)
{
	g->fence.chance = false;
	log_event(LOG_WARNING, "fence.chance", err->text, F_TEXT("group", g->settings.name),
		F_TEXT("decision", "going on without the second chance: connections that the peer "
				   "has will be cut"));
}

/* Replaces the table in one transaction: there is no moment without a fence. */
static int replace(struct group *g, const struct buf *text, struct err *err)
{
	struct fence *f = &g->fence;
	struct buf all;
	bool whole;

	buf_init(&all, TEXT_MAX);
	whole = buf_append(&all, buf_span(text)) == 0 &&
		rules_peer(&all, f->table, f->peer_mac_known ? f->wire.peer_mac : NULL) &&
		(!f->chance || put_chance(&all, g)) && (!f->draining || put_drain(&all, g));
	if (group_owns(g))
		whole = whole &&
			buf_printf(&all,
				"add element netdev %s claim { \"%s\" timeout %" PRIu64 "ms }\n",
				f->table, g->settings.interface, lease_ms(g) / 2) == 0;
	return run(g, &all, whole, err);
}

/* Takes text. */
static int load(struct group *g, struct buf *text, struct err *err)
{
	struct fence *f = &g->fence;
	bool chance = f->chance;
	int rc = replace(g, text, err);

	if (rc != 0 && chance) {
		struct err why = *err;

		f->chance = false;
		rc = replace(g, text, err);
		f->chance = rc != 0;
		if (rc == 0)
			give_up_chance(g, &why);
	}
	if (rc != 0) {
		buf_fini(text);
		return -1;
	}
	buf_fini(&f->loaded);
	f->loaded = *text;
	f->ifindex = g->link.ifindex;
	if (f->chance && group_owns(g))
		seed_again(g);
	return 0;
}

/* Other addresses, another port of the heartbeats, other times: the lease lives on, and so does
 * what is known of connections. False: the table has to be replaced. */
static bool change(struct group *g, enum fence_mode mode, const struct rules_spec *spec)
{
	const struct fence *f = &g->fence;
	struct buf text;
	struct err err;
	bool whole;

	if (buf_span(&f->loaded).len == 0 || f->ifindex != g->link.ifindex || f->mode != mode)
		return false;
	buf_init(&text, TEXT_MAX);
	whole = rules_change(&text, spec) &&
		rules_peer(&text, f->table, f->peer_mac_known ? f->wire.peer_mac : NULL) &&
		(!f->chance || put_chance(&text, g));
	if (run(g, &text, whole, &err) == 0)
		return true;
	trouble(g, "fence.change", &err);
	return false;
}

/* *ret_loaded: it was not as wanted before, and is a new one. */
static int ensure(struct group *g, enum fence_mode mode, bool *ret_loaded, struct err *err)
{
	struct fence *f = &g->fence;
	struct rules_spec spec = spec_of(g, mode == FENCE_KERNEL);
	struct buf text;

	buf_init(&text, NFT_TEXT_MAX);
	if (!rules_table(&text, &spec)) {
		buf_fini(&text);
		return err_set(err, "the rules of the fence take more than %d bytes", NFT_TEXT_MAX);
	}
	if (f->ifindex == g->link.ifindex && span_eq(buf_span(&text), buf_span(&f->loaded))) {
		buf_fini(&text);
		return 0;
	}
	if (change(g, mode, &spec)) {
		buf_fini(&f->loaded);
		f->loaded = text;
		return 0;
	}
	*ret_loaded = true;
	return load(g, &text, err);
}

static void unload(struct group *g)
{
	struct fence *f = &g->fence;
	struct buf text;
	struct err err;
	bool whole;

	buf_fini(&f->loaded);
	f->ifindex = 0;
	f->chance = false;
	if (!g->agent->nft)
		return;
	buf_init(&text, NFT_TEXT_MAX);
	whole = rules_delete(&text, f->table);
	if (run(g, &text, whole, &err) != 0)
		trouble(g, "fence.remove", &err);
}

/* --- the peer ----------------------------------------------------------------------------------
 */
/* A peer that speaks VRRP hands nothing over: nothing of it is let in without a lease. */
static void find_path(struct group *g)
{
	const struct settings *s = g->agent->settings;
	struct fence *f = &g->fence;
	int ifindex;
	struct err err;

	f->path = -1;
	for (unsigned i = 0; i < s->path_count && f->path < 0 && !g->vrrp; i++) {
		if (!(g->settings.path_mask >> i & 1))
			continue;
		if (netlink_address_interface(
			    g->agent->netlink, &s->paths[i].own, &ifindex, &err) != 0)
			trouble(g, "fence.path", &err);
		else if (ifindex == g->link.ifindex)
			f->path = (int)i;
	}
	f->wire.path = f->path < 0 ? 0 : (unsigned)f->path;
	f->wire.ifindex = g->link.ifindex;
	memcpy(f->wire.mac, g->link.mac, sizeof(f->wire.mac));
}

/* Whether it is another one than before. */
static bool learn_peer(struct group *g, uint64_t now_ns)
{
	struct fence *f = &g->fence;
	uint8_t mac[FRAME_MAC_LEN];

	f->asked_mac_ns = now_ns;
	if (f->path < 0 || netlink_neighbour(g->agent->netlink, g->link.ifindex,
				   &g->agent->settings->paths[f->path].peer, mac) != 0)
		return false;
	if (f->peer_mac_known && memcmp(mac, f->wire.peer_mac, sizeof(mac)) == 0)
		return false;
	f->peer_mac_known = true;
	memcpy(f->wire.peer_mac, mac, sizeof(mac));
	return true;
}

static int put_peer(struct group *g, struct err *err)
{
	const struct fence *f = &g->fence;
	struct rules_spec spec = spec_of(g, false);
	struct buf text;
	bool whole;

	buf_init(&text, TEXT_MAX);
	whole = rules_peer(&text, f->table, f->wire.peer_mac) &&
		(f->chance ? put_chance(&text, g) : rules_no_chance(&text, &spec));
	return run(g, &text, whole, err);
}

static void tell_peer(struct group *g)
{
	struct err err;

	if (!fence_has_rules(&g->fence) || put_peer(g, &err) == 0)
		return;
	if (g->fence.chance) {
		give_up_chance(g, &err);
		if (put_peer(g, &err) == 0)
			return;
	}
	trouble(g, "fence.peer", &err);
}

/* --- addresses on lo ---------------------------------------------------------------------------
 */
static void guard_arp(struct group *g, int ifindex)
{
	bool changed = false;
	struct err err;

	if (ifindex == 0)
		return;
	if (arp_guard_add(&g->agent->arp, ifindex, &changed, &err) != 0)
		trouble(g, "fence.arp", &err);
	else if (changed)
		log_event(LOG_INFO, "fence.arp", "set arp_ignore and arp_announce",
			F_TEXT("group", g->settings.name), F_INT("ifindex", ifindex));
}

/* IPv6 asks for no guard: a solicitation is answered by the interface that has the address. */
static bool as_ipv4(const struct cidr *vip, struct addr *ret_address)
{
	if (vip->family != AF_INET)
		return false;
	*ret_address = (struct addr){.in = {.sin_family = AF_INET}};
	memcpy(&ret_address->in.sin_addr, vip->bytes, sizeof(ret_address->in.sin_addr));
	return true;
}

/* Other interfaces of ours on the client network. */
static void guard_network(struct group *g, const struct cidr *vip)
{
	int ifindexes[NETLINK_WATCHED_MAX];
	struct addr address;
	unsigned count = 0;
	struct err err = {""};

	if (as_ipv4(vip, &address) && netlink_network_interfaces(g->agent->netlink, &address,
					      ifindexes, &count, &err) != 0)
		trouble(g, "fence.arp", &err);
	for (unsigned i = 0; i < count; i++)
		guard_arp(g, ifindexes[i]);
}

void fence_guard(struct group *g, int ifindex, const struct cidr *network)
{
	struct addr address;

	if (!fence_has_rules(&g->fence) || ifindex == NETLINK_LOOPBACK)
		return;
	for (unsigned i = 0; i < g->settings.vip_count; i++)
		if (as_ipv4(&g->settings.vips[i], &address) && cidr_contains(network, &address))
			guard_arp(g, ifindex);
}

void fence_keep(struct group *g)
{
	const struct settings *s = g->agent->settings;
	struct err err;

	if (!fence_has_rules(&g->fence))
		return;
	guard_arp(g, g->link.ifindex);
	for (unsigned i = 0; i < s->path_count; i++) {
		int ifindex = 0;

		if (netlink_address_interface(
			    g->agent->netlink, &s->paths[i].own, &ifindex, &err) == 0)
			guard_arp(g, ifindex);
	}
	for (unsigned i = 0; i < g->settings.vip_count; i++) {
		guard_network(g, &g->settings.vips[i]);
		if (netlink_address_keep(g->agent->netlink, &g->settings.vips[i], &err) != 0)
			trouble(g, "fence.keep", &err);
	}
}

void fence_forget(struct group *g, const struct cidr *vip)
{
	struct cidr host = *vip;
	bool removed;
	struct err err;

	host.bits = host.family == AF_INET ? 32 : 128;
	if (netlink_address_remove(g->agent->netlink, NETLINK_LOOPBACK, &host, &removed, &err) != 0)
		trouble(g, "fence.keep", &err);
}

static void forget_all(struct group *g)
{
	for (unsigned i = 0; i < g->settings.vip_count; i++)
		fence_forget(g, &g->settings.vips[i]);
}

/* --- the mode ----------------------------------------------------------------------------------
 */
static bool may(const struct group *g, enum fence_mode mode)
{
	enum fence_mode wanted = g->agent->settings->fence;

	return wanted == FENCE_NONE || wanted == mode;
}

/* What renews the lease leaves the group's interface at once, whether the peer lives or not. */
static bool speaks_at_once(const struct group *g, struct err *why_not)
{
	if (g->vrrp && g->settings.unicast_count > 0)
		err_set(why_not, "advertisements to unicast_peer wait while its MAC is unknown");
	else if (!g->vrrp && g->fence.path < 0)
		err_set(why_not, "none of the group's paths has its address on interface '%s'",
			g->settings.interface);
	else
		return true;
	return false;
}

/* The best that works; why_not says what the better ones lack. */
static enum fence_mode choose(struct group *g, bool *ret_loaded, struct err *why_not)
{
	struct err err = {""};

	why_not->text[0] = '\0';
	if (may(g, FENCE_ADDRESS) && !may(g, FENCE_KERNEL))
		return FENCE_ADDRESS;
	if (!g->agent->nft) {
		err_set(why_not, "the kernel's packet filter is out of reach");
		return may(g, FENCE_ADDRESS) ? FENCE_ADDRESS : FENCE_NONE;
	}
	if (may(g, FENCE_KERNEL) && speaks_at_once(g, why_not) &&
		ensure(g, FENCE_KERNEL, ret_loaded, why_not) == 0)
		return FENCE_KERNEL;
	if (may(g, FENCE_NETLINK) && ensure(g, FENCE_NETLINK, ret_loaded, &err) == 0)
		return FENCE_NETLINK;
	if (why_not->text[0] == '\0')
		*why_not = err;
	return may(g, FENCE_ADDRESS) ? FENCE_ADDRESS : FENCE_NONE;
}

static void tell_mode(const struct group *g)
{
	const struct fence *f = &g->fence;

	log_event(f->why[0] ? LOG_WARNING : LOG_NOTICE, "fence.mode",
		f->mode == FENCE_NONE ? "there is no fence as configured: claiming nothing"
				      : "what keeps this node from using addresses that it lost",
		F_TEXT("group", g->settings.name), F_TEXT("fence", fence_mode_name(f->mode)),
		F_TEXT("why", f->why));
}

bool fence_set_up(struct group *g)
{
	struct fence *f = &g->fence;
	enum fence_mode before = f->mode;
	bool loaded = false;
	struct err why_not;

	if (g->link.ifindex == 0) { /* the rules went with it */
		buf_fini(&f->loaded);
		f->ifindex = 0;
		return true;
	}
	find_path(g);
	(void)learn_peer(g, monotonic_ns());
	f->mode = choose(g, &loaded, &why_not);
	if (fence_has_rules(f)) {
		fence_keep(g);
	} else {
		forget_all(g);
		unload(g);
	}
	if (f->mode != before || strncmp(f->why, why_not.text, sizeof(f->why) - 1) != 0) {
		(void)snprintf(f->why, sizeof(f->why), "%s", why_not.text);
		f->retry_wait_ns = RETRY_LEAST_NS;
		f->retry_ns = monotonic_ns() + f->retry_wait_ns;
		tell_mode(g);
	}
	if (f->mode == FENCE_NONE)
		return !group_owns(g);
	return !loaded || !group_owns(g) || !fence_has_rules(f) || regain(g);
}

/* Somebody took the rules away, probably together with all others (nft flush ruleset). Whether we
 * have a lease in the new ones. */
static bool repair(struct group *g)
{
	struct fence *f = &g->fence;
	bool regained;

	buf_fini(&f->loaded);
	f->repairs++;
	regained = fence_set_up(g) && group_owns(g);
	log_event(LOG_WARNING, "fence.vanished",
		"somebody removed packet rules of ours: loaded them again",
		F_TEXT("group", g->settings.name), F_TEXT("table", f->table),
		F_BOOL("owner", group_owns(g)), F_BOOL("regained", regained));
	rpc_publish(g->agent->rpc, "fence.vanished",
		json_pack("{s:s, s:s, s:b}", "group", g->settings.name, "table", f->table,
			"regained", regained));
	return regained;
}

/* What failed may have been short of memory, for a moment. */
static bool retry(struct group *g, uint64_t now_ns)
{
	struct fence *f = &g->fence;

	f->retry_ns = now_ns + f->retry_wait_ns;
	if (f->retry_wait_ns < RETRY_MOST_NS)
		f->retry_wait_ns *= 2;
	return fence_set_up(g);
}

bool fence_check(struct group *g, uint64_t now_ns)
{
	struct fence *f = &g->fence;
	uint64_t left_ms;

	if (g->link.ifindex == 0)
		return true;
	if (f->why[0] && now_ns >= f->retry_ns && !retry(g, now_ns))
		return false;
	if (!fence_has_rules(f))
		return true;
	if (now_ns - f->asked_mac_ns >= ASK_MAC_NS && learn_peer(g, now_ns))
		tell_peer(g);
	/* An owner looks when it sends. */
	if (!group_owns(g) && look(g, "lease", &left_ms) == NETLINK_SET_MISSING)
		(void)repair(g);
	return true;
}

/* --- actions -----------------------------------------------------------------------------------
 */
void fence_open(struct group *g, uint64_t until_ns)
{
	uint64_t now_ns = monotonic_ns();
	struct err err;

	if (!fence_has_rules(&g->fence) || now_ns >= until_ns)
		return;
	if (command(g, &err,
		    "flush set netdev %s claim\n"
		    "add element netdev %s claim { \"%s\" timeout %" PRIu64 "ms }\n",
		    g->fence.table, g->fence.table, g->settings.interface,
		    (until_ns - now_ns) / NS_PER_MS) != 0)
		trouble(g, "fence.claim", &err);
}

void fence_close(struct group *g)
{
	struct err err;

	if (fence_has_rules(&g->fence) &&
		command(g, &err, "flush set netdev %s claim\n", g->fence.table) != 0)
		trouble(g, "fence.claim", &err);
}

bool fence_pass(struct group *g, const struct fsm_action *send, uint64_t now_ns)
{
	bool claim = send->packet == PACKET_CLAIM;

	ASSERT(claim || send->packet == PACKET_ACTIVE);
	if (g->fence.mode == FENCE_NONE)
		return false;
	if (g->fence.mode == FENCE_ADDRESS) {
		g->fence.renewed_ns = now_ns;
		return !g->vrrp || group_vrrp_send(g, send) || !claim;
	}
	switch (pass(g, send, claim ? "claim" : "lease", now_ns)) {
	case NETLINK_SET_MEMBER:
		return true;
	case NETLINK_SET_MISSING:
		return repair(g) && !claim;
	case NETLINK_SET_EMPTY:
	case NETLINK_SET_UNKNOWN:
		break;
	}
	return false;
}

uint32_t fence_other_paths(const struct group *g)
{
	if (g->fence.mode != FENCE_KERNEL)
		return g->settings.path_mask;
	return g->settings.path_mask & ~(UINT32_C(1) << g->fence.path);
}

bool fence_drop(struct group *g)
{
	struct err err;

	if (!fence_has_rules(&g->fence))
		return false;
	if (command(g, &err,
		    "flush set netdev %s claim\n"
		    "flush set netdev %s lease\n",
		    g->fence.table, g->fence.table) == 0)
		return true;
	trouble(g, "fence.drop", &err);
	(void)repair(g);
	return fence_has_rules(&g->fence);
}

void fence_drain(struct group *g, bool on)
{
	struct err err;

	if (!fence_has_rules(&g->fence))
		return;
	g->fence.draining = on;
	if (!on && g->fence.unload_owed)
		fence_unload_chance(g);
	if (command(g, &err,
		    on ? "add element netdev %s drain { \"%s\" }\n" : "flush set netdev %s drain\n",
		    g->fence.table, g->settings.interface) != 0)
		trouble(g, "fence.drain", &err);
}

int fence_load_chance(struct group *g, struct err *err)
{
	struct fence *f = &g->fence;
	struct rules_spec spec;
	struct buf text;
	bool whole;

	if (!fence_has_rules(f))
		return 0;
	if (learn_peer(g, monotonic_ns()))
		tell_peer(g);
	if (!f->peer_mac_known) {
		log_event(LOG_WARNING, "fence.no_peer",
			"the peer's MAC on the client network is unknown: connections that it has "
			"will be cut",
			F_TEXT("group", g->settings.name));
		return 0;
	}
	buf_init(&text, TEXT_MAX);
	spec = spec_of(g, false);
	whole = rules_no_chance(&text, &spec) && put_chance(&text, g);
	if (run(g, &text, whole, err) != 0)
		return -1;
	f->chance = true;
	f->unload_owed = false;
	return 0;
}

void fence_unload_chance(struct group *g)
{
	struct rules_spec spec = spec_of(g, false);
	struct buf text;
	struct err err;
	bool whole;

	g->fence.unload_owed = g->fence.chance && g->fence.draining;
	if (!g->fence.chance || g->fence.draining)
		return;
	g->fence.chance = false;
	buf_init(&text, NFT_TEXT_MAX);
	whole = rules_no_chance(&text, &spec);
	if (run(g, &text, whole, &err) != 0)
		trouble(g, "fence.chance", &err);
}

/* --- status and life ---------------------------------------------------------------------------
 */
uint64_t fence_lease_ms(const struct group *g, uint64_t now_ns)
{
	struct group_view view = group_view(g, now_ns);
	uint64_t used_ns = now_ns - view.sent_ns, left_ms;

	if (!group_owns(g))
		return 0;
	if (fence_has_rules(&g->fence) && look(g, "lease", &left_ms) != NETLINK_SET_UNKNOWN)
		return left_ms;
	return used_ns < view.lease_ns ? (view.lease_ns - used_ns) / NS_PER_MS : 0;
}

static void name_table(const struct group_settings *s, char out[RULES_TABLE_MAX])
{
	rules_table_name(s->vrid, s->speaks_vrrp ? s->name : NULL, out);
}

static bool is_used(const struct settings *s, struct span table)
{
	char name[RULES_TABLE_MAX];

	for (unsigned i = 0; i < s->group_count; i++) {
		name_table(&s->groups[i], name);
		if (span_eq(table, span_of(name)))
			return true;
	}
	return false;
}

/* Of one line: "table netdev NAME". */
static bool put_left_over(struct buf *to, const struct settings *s, struct span line)
{
	const struct span head = SPAN("table netdev ");
	char name[RULES_TABLE_MAX];
	struct span table;

	if (!span_starts(line, head))
		return true;
	table = span_from(line, head.len);
	if (!rules_is_table(table) || is_used(s, table) ||
		span_copy(table, name, sizeof(name)) != 0)
		return true;
	log_event(LOG_NOTICE, "fence.left_over",
		"removing the packet rules of a group that is not configured any more",
		F_TEXT("table", name));
	return rules_delete(to, name);
}

void fence_clean(struct agent *a)
{
	struct span lines = {0};
	struct buf text;
	struct err err;
	bool whole = true;
	int rc;

	if (!a->nft)
		return;
	buf_init(&text, NFT_TEXT_MAX);
	rc = nft_tables(a->nft, &lines, &err);
	while (lines.len > 0) {
		size_t end = span_find(lines, '\n', 0);

		whole = whole && put_left_over(&text, a->settings, span_make(lines.ptr, end));
		lines = span_from(lines, end < lines.len ? end + 1 : end);
	}
	if (rc == 0 && buf_span(&text).len > 0)
		rc = nft_run_buf(a->nft, &text, whole, &err);
	if (rc != 0)
		log_event(LOG_WARNING, "fence.left_over", err.text);
	buf_fini(&text);
}

void fence_init(struct fence *f, const struct group_settings *settings)
{
	*f = (struct fence){.mode = FENCE_NONE, .path = -1};
	name_table(settings, f->table);
	buf_init(&f->loaded, NFT_TEXT_MAX);
	memcpy(f->wire.peer_mac, everybody, sizeof(everybody));
}

void fence_fini(struct group *g)
{
	if (fence_has_rules(&g->fence)) {
		forget_all(g);
		unload(g);
	}
	buf_fini(&g->fence.loaded);
}
