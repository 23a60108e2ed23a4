#include "failover/net/netlink.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/link/inet.h>
#include <netlink/socket.h>
#include <stdlib.h>
#include <string.h>

#include "shared/assert.h"

#define MONITOR_BUFFER_BYTES (1024 * 1024)
#define MESSAGES_MAX 1024 /* a turn, so that a flood cannot keep the loop */
#define DUMP_TRIES 5
#define LIFE_FOR_EVER UINT32_MAX

struct netlink {
	struct ev_loop *loop;
	struct netlink_handlers handlers;
	struct nl_sock *command, *monitor;
	struct nl_cb *on_event;
	ev_io readable;
	unsigned watched_count;
	struct netlink_link watched[NETLINK_WATCHED_MAX];
	struct netlink_link read[NETLINK_WATCHED_MAX]; /* while all links are read */
	bool draining;
};

static int nl_fail(struct err *err, int rc, const char *what)
{
	return err_set(err, "%s: %s", what, nl_geterror(rc));
}

/* --- links -------------------------------------------------------------------------------------
 */
static bool link_eq(const struct netlink_link *a, const struct netlink_link *b)
{
	return a->ifindex == b->ifindex && a->carrier == b->carrier && a->has_mac == b->has_mac &&
	       memcmp(a->mac, b->mac, sizeof(a->mac)) == 0;
}

static void link_changed(struct netlink *n, unsigned i, const struct netlink_link *now)
{
	if (link_eq(&n->watched[i], now))
		return;
	n->watched[i] = *now;
	n->handlers.on_link(n->handlers.ctx, now);
}

static void link_gone(struct netlink *n, unsigned i)
{
	struct netlink_link gone = {0};

	memcpy(gone.name, n->watched[i].name, sizeof(gone.name));
	link_changed(n, i, &gone);
}

/* -1: the message is not one about a link with a name. One of the bridge's family is about a port:
 * its end there is no end of the link. */
static int parse_link(struct nlmsghdr *h, struct netlink_link *ret_link)
{
	struct nlattr *attrs[IFLA_MAX + 1];
	struct ifinfomsg *info;
	unsigned up = IFF_UP | IFF_RUNNING;

	if (nlmsg_parse(h, sizeof(*info), attrs, IFLA_MAX, NULL) < 0 || !attrs[IFLA_IFNAME])
		return -1;
	info = nlmsg_data(h);
	if (info->ifi_family != AF_UNSPEC)
		return -1;
	*ret_link = (struct netlink_link){.ifindex = info->ifi_index};
	nla_strlcpy(ret_link->name, attrs[IFLA_IFNAME], sizeof(ret_link->name));
	ret_link->carrier = (info->ifi_flags & up) == up;
	if (attrs[IFLA_ADDRESS] && nla_len(attrs[IFLA_ADDRESS]) == (int)sizeof(ret_link->mac)) {
		ret_link->has_mac = true;
		memcpy(ret_link->mac, nla_data(attrs[IFLA_ADDRESS]), sizeof(ret_link->mac));
	}
	return 0;
}

static void take_link(struct netlink *n, struct nlmsghdr *h)
{
	struct netlink_link link;
	bool gone = h->nlmsg_type == RTM_DELLINK;

	if (parse_link(h, &link) != 0)
		return;
	for (unsigned i = 0; i < n->watched_count; i++) {
		bool same_name = strcmp(n->watched[i].name, link.name) == 0;
		bool same_index = n->watched[i].ifindex == link.ifindex;

		if (same_name && !gone)
			link_changed(n, i, &link);
		else if (same_index) /* deleted, moved to another namespace, or renamed */
			link_gone(n, i);
	}
}

/* --- addresses ---------------------------------------------------------------------------------
 */
static int parse_address(
	struct nlmsghdr *h, int *ret_ifindex, struct cidr *ret_address, uint32_t *ret_flags)
{
	struct nlattr *attrs[IFA_MAX + 1], *local;
	struct ifaddrmsg *info;
	int len;

	if (nlmsg_parse(h, sizeof(*info), attrs, IFA_MAX, NULL) < 0)
		return -1;
	info = nlmsg_data(h);
	len = info->ifa_family == AF_INET ? 4 : 16;
	local = attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS];
	if ((info->ifa_family != AF_INET && info->ifa_family != AF_INET6) || !local ||
		nla_len(local) != len)
		return -1;
	*ret_address = (struct cidr){.family = info->ifa_family, .bits = info->ifa_prefixlen};
	memcpy(ret_address->bytes, nla_data(local), (size_t)len);
	*ret_flags = attrs[IFA_FLAGS] ? nla_get_u32(attrs[IFA_FLAGS]) : info->ifa_flags;
	*ret_ifindex = (int)info->ifa_index;
	return 0;
}

static void take_address(struct netlink *n, struct nlmsghdr *h)
{
	struct cidr address;
	uint32_t flags;
	int ifindex;

	if (parse_address(h, &ifindex, &address, &flags) == 0)
		n->handlers.on_address(n->handlers.ctx, ifindex, &address,
			h->nlmsg_type == RTM_NEWADDR, flags & IFA_F_DADFAILED);
}

/* --- commands ----------------------------------------------------------------------------------
 */
/* Asks for all of something; on_message runs for each. */
static int dump(
	struct netlink *n, int type, nl_recvmsg_msg_cb_t on_message, void *ctx, struct err *err)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	struct rtgenmsg all = {.rtgen_family = AF_UNSPEC};
	int rc = -NLE_NOMEM;

	if (!cb)
		return nl_fail(err, rc, "netlink");
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_message, ctx);
	/* A dump that a change interrupted is repeated. */
	for (int tries = 0; tries < DUMP_TRIES; tries++) {
		rc = nl_send_simple(n->command, type, NLM_F_DUMP, &all, sizeof(all));
		if (rc >= 0)
			rc = nl_recvmsgs(n->command, cb);
		if (rc != -NLE_DUMP_INTR)
			break;
	}
	nl_cb_put(cb);
	return rc < 0 ? nl_fail(err, rc, "cannot read links or addresses from the kernel") : 0;
}

static struct nl_msg *address_message(int type, int flags, int ifindex, const struct cidr *address)
{
	struct ifaddrmsg info = {.ifa_family = (uint8_t)address->family,
		.ifa_prefixlen = address->bits,
		.ifa_index = (unsigned)ifindex};
	struct nl_msg *msg = nlmsg_alloc_simple(type, flags);
	int len = address->family == AF_INET ? 4 : 16;

	if (!msg)
		return NULL;
	if (nlmsg_append(msg, &info, sizeof(info), NLMSG_ALIGNTO) != 0 ||
		nla_put(msg, IFA_LOCAL, len, address->bytes) != 0 ||
		nla_put(msg, IFA_ADDRESS, len, address->bytes) != 0) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

static int set_address(struct netlink *n, int ifindex, const struct cidr *address, uint32_t life_s,
	struct err *err)
{
	/* An IPv6 virtual IP is never chosen as a source by itself: preferred life 0. IPv4 knows no
	 * such choice, and wants preferred <= valid. */
	struct ifa_cacheinfo life = {
		.ifa_valid = life_s, .ifa_prefered = address->family == AF_INET ? life_s : 0};
	struct nl_msg *msg =
		address_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, ifindex, address);
	int rc = -NLE_NOMEM;

	if (!msg)
		return nl_fail(err, rc, "netlink");
	/* The probe has asked already; a tentative address would not answer for seconds. */
	if (nla_put(msg, IFA_CACHEINFO, sizeof(life), &life) != 0 ||
		(address->family == AF_INET6 && nla_put_u32(msg, IFA_FLAGS, IFA_F_NODAD) != 0))
		nlmsg_free(msg);
	else
		rc = nl_send_sync(n->command, msg);
	return rc < 0 ? nl_fail(err, rc, "cannot add the address") : 0;
}

int netlink_address_set(struct netlink *n, int ifindex, const struct cidr *address, struct err *err)
{
	return set_address(n, ifindex, address, NETLINK_ADDRESS_LIFE_S, err);
}

int netlink_address_keep(struct netlink *n, const struct cidr *address, struct err *err)
{
	struct cidr host = *address;

	host.bits = host.family == AF_INET ? 32 : 128;
	return set_address(n, NETLINK_LOOPBACK, &host, LIFE_FOR_EVER, err);
}

struct lookup {
	int ifindex;
	const struct cidr *wanted;
	unsigned found;
	struct cidr as[8]; /* one host address may be there with several prefix lengths */
};

static int on_lookup(struct nl_msg *msg, void *arg)
{
	struct lookup *l = arg;
	struct cidr address;
	uint32_t flags;
	int ifindex;

	if (parse_address(nlmsg_hdr(msg), &ifindex, &address, &flags) == 0 &&
		ifindex == l->ifindex && cidr_same_host(&address, l->wanted) &&
		l->found < countof(l->as))
		l->as[l->found++] = address;
	return NL_OK;
}

int netlink_address_there(struct netlink *n, int ifindex, const struct cidr *address,
	bool *ret_there, struct err *err)
{
	struct lookup l = {.ifindex = ifindex, .wanted = address};

	if (dump(n, RTM_GETADDR, on_lookup, &l, err) != 0)
		return -1;
	*ret_there = l.found > 0;
	return 0;
}

struct whereabouts {
	const struct addr *wanted;
	int ifindex;
};

static int on_whereabouts(struct nl_msg *msg, void *arg)
{
	struct whereabouts *w = arg;
	struct cidr address;
	uint32_t flags;
	int ifindex;

	if (parse_address(nlmsg_hdr(msg), &ifindex, &address, &flags) != 0 ||
		ifindex == NETLINK_LOOPBACK)
		return NL_OK;
	address.bits = address.family == AF_INET ? 32 : 128;
	if (cidr_contains(&address, w->wanted))
		w->ifindex = ifindex;
	return NL_OK;
}

int netlink_address_interface(
	struct netlink *n, const struct addr *address, int *ret_ifindex, struct err *err)
{
	struct whereabouts w = {.wanted = address};

	if (dump(n, RTM_GETADDR, on_whereabouts, &w, err) != 0)
		return -1;
	*ret_ifindex = w.ifindex;
	return 0;
}

struct neighbourhood {
	const struct addr *of;
	int ifindexes[NETLINK_WATCHED_MAX];
	unsigned count;
};

static int on_neighbourhood(struct nl_msg *msg, void *arg)
{
	struct neighbourhood *h = arg;
	struct cidr network;
	uint32_t flags;
	int ifindex;

	if (parse_address(nlmsg_hdr(msg), &ifindex, &network, &flags) != 0 ||
		ifindex == NETLINK_LOOPBACK || !cidr_contains(&network, h->of))
		return NL_OK;
	for (unsigned i = 0; i < h->count; i++)
		if (h->ifindexes[i] == ifindex)
			return NL_OK;
	if (h->count < countof(h->ifindexes))
		h->ifindexes[h->count++] = ifindex;
	return NL_OK;
}

int netlink_network_interfaces(struct netlink *n, const struct addr *address,
	int ret_ifindexes[NETLINK_WATCHED_MAX], unsigned *ret_count, struct err *err)
{
	struct neighbourhood h = {.of = address};

	if (dump(n, RTM_GETADDR, on_neighbourhood, &h, err) != 0)
		return -1;
	memcpy(ret_ifindexes, h.ifindexes, sizeof(h.ifindexes));
	*ret_count = h.count;
	return 0;
}

int netlink_address_remove(struct netlink *n, int ifindex, const struct cidr *address,
	bool *ret_removed, struct err *err)
{
	struct lookup l = {.ifindex = ifindex, .wanted = address, .found = 1, .as = {*address}};
	bool removed = false;
	int rc = 0;

	/* As configured at first: the usual case, and the one that must be quick. */
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < l.found; i++) {
			struct nl_msg *msg = address_message(RTM_DELADDR, 0, ifindex, &l.as[i]);

			rc = msg ? nl_send_sync(n->command, msg) : -NLE_NOMEM;
			if (rc >= 0)
				removed = true;
			else if (rc != -NLE_NOADDR && rc != -NLE_OBJ_NOTFOUND && rc != -NLE_NODEV)
				return nl_fail(err, rc, "cannot remove the address");
		}
		if (removed || round == 1)
			break;
		l.found = 0;
		if (dump(n, RTM_GETADDR, on_lookup, &l, err) != 0)
			return -1;
	}
	*ret_removed = removed;
	return 0;
}

int netlink_arp_get(struct netlink *n, int ifindex, struct netlink_arp *ret_arp, struct err *err)
{
	struct netlink_arp arp;
	struct rtnl_link *link = NULL;
	int rc = rtnl_link_get_kernel(n->command, ifindex, NULL, &link);

	if (rc >= 0)
		rc = rtnl_link_inet_get_conf(link, IPV4_DEVCONF_ARP_IGNORE, &arp.ignore);
	if (rc >= 0)
		rc = rtnl_link_inet_get_conf(link, IPV4_DEVCONF_ARP_ANNOUNCE, &arp.announce);
	if (link)
		rtnl_link_put(link);
	if (rc < 0)
		return nl_fail(err, rc, "cannot read arp_ignore and arp_announce");
	*ret_arp = arp;
	return 0;
}

int netlink_arp_set(struct netlink *n, int ifindex, const struct netlink_arp *arp, struct err *err)
{
	struct rtnl_link *which = rtnl_link_alloc(), *changes = rtnl_link_alloc();
	int rc = -NLE_NOMEM;

	if (which && changes) {
		rtnl_link_set_ifindex(which, ifindex);
		rc = rtnl_link_inet_set_conf(changes, IPV4_DEVCONF_ARP_IGNORE, arp->ignore);
		if (rc >= 0)
			rc = rtnl_link_inet_set_conf(
				changes, IPV4_DEVCONF_ARP_ANNOUNCE, arp->announce);
		if (rc >= 0)
			rc = rtnl_link_change(n->command, which, changes, 0);
	}
	if (which)
		rtnl_link_put(which);
	if (changes)
		rtnl_link_put(changes);
	return rc < 0 ? nl_fail(err, rc, "cannot set arp_ignore and arp_announce") : 0;
}

static int on_route(struct nl_msg *msg, void *arg)
{
	struct nlattr *attrs[RTA_MAX + 1];
	bool *direct = arg;

	if (nlmsg_hdr(msg)->nlmsg_type == RTM_NEWROUTE &&
		nlmsg_parse(nlmsg_hdr(msg), sizeof(struct rtmsg), attrs, RTA_MAX, NULL) == 0)
		*direct = !attrs[RTA_GATEWAY] && !attrs[RTA_VIA];
	return NL_OK;
}

static int on_neighbour(struct nl_msg *msg, void *arg)
{
	struct nlattr *attrs[NDA_MAX + 1];
	struct netlink_link *found = arg;

	if (nlmsg_hdr(msg)->nlmsg_type == RTM_NEWNEIGH &&
		nlmsg_parse(nlmsg_hdr(msg), sizeof(struct ndmsg), attrs, NDA_MAX, NULL) == 0 &&
		attrs[NDA_LLADDR] && nla_len(attrs[NDA_LLADDR]) == (int)sizeof(found->mac)) {
		found->has_mac = true;
		memcpy(found->mac, nla_data(attrs[NDA_LLADDR]), sizeof(found->mac));
	}
	return NL_OK;
}

/* One question about an address: head is the family's own header, attr the address's attribute. */
static void ask(struct netlink *n, int type, void *head, size_t head_len, int attr,
	const struct addr *about, nl_recvmsg_msg_cb_t on_answer, void *ctx)
{
	bool v4 = about->sa.sa_family == AF_INET;
	const void *bytes =
		v4 ? (const void *)&about->in.sin_addr : (const void *)&about->in6.sin6_addr;
	struct nl_msg *msg = nlmsg_alloc_simple(type, 0);
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);

	if (msg && cb && nlmsg_append(msg, head, head_len, NLMSG_ALIGNTO) == 0 &&
		nla_put(msg, attr, v4 ? 4 : 16, bytes) == 0 && nl_send_auto(n->command, msg) >= 0) {
		nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_answer, ctx);
		/* "There is none" is an answer too, which takes the acknowledgement's place. */
		if (nl_recvmsgs(n->command, cb) >= 0)
			(void)nl_wait_for_ack(n->command);
	}
	nlmsg_free(msg);
	nl_cb_put(cb);
}

bool netlink_on_link(struct netlink *n, const struct addr *to)
{
	struct rtmsg head = {.rtm_family = (uint8_t)to->sa.sa_family};
	bool direct = true;

	ask(n, RTM_GETROUTE, &head, sizeof(head), RTA_DST, to, on_route, &direct);
	return direct;
}

int netlink_neighbour(
	struct netlink *n, int ifindex, const struct addr *address, uint8_t ret_mac[6])
{
	struct ndmsg head = {.ndm_family = (uint8_t)address->sa.sa_family, .ndm_ifindex = ifindex};
	struct netlink_link found = {0};

	ask(n, RTM_GETNEIGH, &head, sizeof(head), NDA_DST, address, on_neighbour, &found);
	if (!found.has_mac)
		return -1;
	memcpy(ret_mac, found.mac, sizeof(found.mac));
	return 0;
}

/* --- the monitor -------------------------------------------------------------------------------
 */
static int on_dumped_link(struct nl_msg *msg, void *arg)
{
	struct netlink *n = arg;
	struct netlink_link link;

	if (parse_link(nlmsg_hdr(msg), &link) == 0)
		for (unsigned i = 0; i < n->watched_count; i++)
			if (strcmp(n->watched[i].name, link.name) == 0)
				n->read[i] = link;
	return NL_OK;
}

/* Into n->read; nobody is told yet, for a handler may give commands, which an unfinished dump
 * forbids. */
static int read_links(struct netlink *n, struct err *err)
{
	for (unsigned i = 0; i < n->watched_count; i++) {
		n->read[i] = (struct netlink_link){0};
		memcpy(n->read[i].name, n->watched[i].name, IFNAMSIZ);
	}
	return dump(n, RTM_GETLINK, on_dumped_link, n, err);
}

static void tell_links(struct netlink *n)
{
	for (unsigned i = 0; i < n->watched_count; i++)
		link_changed(n, i, &n->read[i]);
}

static int on_monitored(struct nl_msg *msg, void *arg)
{
	struct nlmsghdr *h = nlmsg_hdr(msg);

	if (h->nlmsg_type == RTM_NEWLINK || h->nlmsg_type == RTM_DELLINK)
		take_link(arg, h);
	else if (h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR)
		take_address(arg, h);
	return NL_OK;
}

void netlink_drain(struct netlink *n)
{
	struct err err;
	int rc = 1;

	if (n->draining) /* called from a handler */
		return;
	n->draining = true;
	for (unsigned i = 0; i < MESSAGES_MAX && rc > 0; i++)
		rc = nl_recvmsgs_report(n->monitor, n->on_event);
	n->draining = false;
	if (rc >= 0 || rc == -NLE_AGAIN || rc == -NLE_INTR)
		return;
	/* The socket's buffer overran: what it said is incomplete. Should the reading fail too, the
	 * next event brings the truth. */
	if (read_links(n, &err) == 0)
		tell_links(n);
	n->handlers.on_resync(n->handlers.ctx);
}

static void on_readable(EV_P_ ev_io *w, int revents)
{
	(void)loop, (void)revents;
	netlink_drain(container_of(w, struct netlink, readable));
}

int netlink_watch(
	struct netlink *n, const char *interface, struct netlink_link *ret_link, struct err *err)
{
	unsigned i = 0;

	while (i < n->watched_count && strcmp(n->watched[i].name, interface) != 0)
		i++;
	if (i == n->watched_count) {
		if (i == NETLINK_WATCHED_MAX)
			return err_set(err, "more than %u interfaces", NETLINK_WATCHED_MAX);
		n->watched[i] = (struct netlink_link){0};
		if (span_copy(span_of(interface), n->watched[i].name, IFNAMSIZ) != 0)
			return err_set(err, "'%s' is too long for an interface name", interface);
		n->watched_count++;
		if (read_links(n, err) != 0) {
			n->watched_count--;
			return -1;
		}
		n->watched[i] = n->read[i]; /* told by returning it */
		tell_links(n);
	}
	*ret_link = n->watched[i];
	return 0;
}

static int any_sequence(struct nl_msg *msg, void *arg)
{
	(void)msg, (void)arg;
	return NL_OK;
}

static int open_monitor(struct netlink *n, struct err *err)
{
	int rc;

	nl_socket_disable_seq_check(n->monitor);
	nl_cb_set(n->on_event, NL_CB_VALID, NL_CB_CUSTOM, on_monitored, n);
	nl_cb_set(n->on_event, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, any_sequence, NULL);
	rc = nl_connect(n->monitor, NETLINK_ROUTE);
	if (rc >= 0)
		rc = nl_socket_add_memberships(
			n->monitor, RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, 0);
	if (rc >= 0)
		rc = nl_socket_set_nonblocking(n->monitor);
	if (rc < 0)
		return nl_fail(err, rc, "cannot watch links and addresses");
	/* Only makes an overrun rarer. */
	(void)nl_socket_set_buffer_size(n->monitor, MONITOR_BUFFER_BYTES, 0);
	return 0;
}

struct netlink *netlink_new(struct ev_loop *loop, const struct netlink_handlers *h, struct err *err)
{
	struct netlink *n = calloc(1, sizeof(*n));
	int rc;

	if (!n) {
		err_set_errno(err, "netlink");
		return NULL;
	}
	n->loop = loop;
	n->handlers = *h;
	n->command = nl_socket_alloc();
	n->monitor = nl_socket_alloc();
	n->on_event = nl_cb_alloc(NL_CB_DEFAULT);
	ev_init(&n->readable, on_readable);
	rc = n->command && n->monitor && n->on_event ? nl_connect(n->command, NETLINK_ROUTE)
						     : -NLE_NOMEM;
	if (rc < 0) {
		nl_fail(err, rc, "cannot open a netlink socket");
		goto fail;
	}
	if (open_monitor(n, err) != 0)
		goto fail;
	ev_io_set(&n->readable, nl_socket_get_fd(n->monitor), EV_READ);
	ev_io_start(loop, &n->readable);
	return n;
fail:
	netlink_free(n);
	return NULL;
}

void netlink_free(struct netlink *n)
{
	if (!n)
		return;
	ev_io_stop(n->loop, &n->readable);
	if (n->command)
		nl_socket_free(n->command);
	if (n->monitor)
		nl_socket_free(n->monitor);
	nl_cb_put(n->on_event);
	free(n);
}
