#include "failover/net/vrrp.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/assert.h"

#define READS_MAX 256 /* a turn: a flood must not keep the loop for ever */
#define RECEIVE_BUFFER_BYTES (256 * 1024)

static const uint8_t multicast4[4] = {224, 0, 0, 18};
static const uint8_t multicast6[16] = {0xff, 0x02, [15] = 0x12};

static const uint8_t *multicast_of(sa_family_t family)
{
	return family == AF_INET ? multicast4 : multicast6;
}

/* --- addresses ---------------------------------------------------------------------------------
 */
static const uint8_t *bytes_of(const struct sockaddr *sa)
{
	return sa->sa_family == AF_INET
		       ? (const uint8_t *)&((const struct sockaddr_in *)sa)->sin_addr
		       : (const uint8_t *)&((const struct sockaddr_in6 *)sa)->sin6_addr;
}

static bool is_link_local(const uint8_t bytes[16])
{
	return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

static bool is_vip(const struct vrrp_port *p, sa_family_t family, const uint8_t *bytes)
{
	for (unsigned i = 0; i < p->config.vip_count; i++)
		if (p->config.vips[i].family == family &&
			memcmp(p->config.vips[i].bytes, bytes, vrrp_address_bytes(family)) == 0)
			return true;
	return false;
}

/* The address that a socket to this peer would be sent from. */
static int source_for(const struct addr *peer, uint8_t ret_from[16])
{
	struct addr to = *peer, own = {0};
	socklen_t len = sizeof(own);
	int fd = socket(to.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc = -1;

	if (fd < 0)
		return -1;
	addr_set_port(&to, 9); /* nothing is sent */
	if (connect(fd, &to.sa, addr_len(&to)) == 0 && getsockname(fd, &own.sa, &len) == 0) {
		memcpy(ret_from, bytes_of(&own.sa), vrrp_address_bytes(to.sa.sa_family));
		rc = 0;
	}
	close(fd);
	return rc;
}

static void look_up_unicast(struct vrrp_port *p)
{
	for (unsigned i = 0; i < countof(p->families); i++) {
		struct vrrp_family *f = &p->families[i];

		f->has_own = false;
		for (unsigned j = 0; j < p->config.peer_count && !f->has_own; j++)
			if (p->config.peers[j].sa.sa_family == f->family)
				f->has_own = source_for(&p->config.peers[j], f->own) == 0;
	}
}

static void look_up_primary(struct vrrp_port *p)
{
	struct ifaddrs *all = NULL;
	char name[IF_NAMESIZE];

	for (unsigned i = 0; i < countof(p->families); i++)
		p->families[i].has_own = false;
	if (!if_indextoname((unsigned)p->ifindex, name) || getifaddrs(&all) != 0)
		return;
	for (struct ifaddrs *a = all; a; a = a->ifa_next)
		for (unsigned i = 0; i < countof(p->families); i++) {
			struct vrrp_family *f = &p->families[i];

			if (!a->ifa_addr || a->ifa_addr->sa_family != f->family || f->has_own ||
				strcmp(a->ifa_name, name) != 0 ||
				is_vip(p, f->family, bytes_of(a->ifa_addr)) ||
				(f->family == AF_INET6 && !is_link_local(bytes_of(a->ifa_addr))))
				continue;
			memcpy(f->own, bytes_of(a->ifa_addr), vrrp_address_bytes(f->family));
			f->has_own = true;
		}
	freeifaddrs(all);
}

static void look_up_own(struct vrrp_port *p)
{
	p->stale = false;
	if (p->config.peer_count)
		look_up_unicast(p);
	else
		look_up_primary(p);
}

/* --- receiving ---------------------------------------------------------------------------------
 */
/* Whether it came the way that is agreed on. */
static enum vrrp_verdict check_sender(
	const struct vrrp_family *f, const struct vrrp_envelope *e, int ifindex)
{
	const struct vrrp_port *p = f->port;
	size_t bytes = vrrp_address_bytes(f->family);

	if (f->has_own && memcmp(e->from, f->own, bytes) == 0)
		return VRRP_OWN;
	if (p->config.peer_count == 0)
		return ifindex == p->ifindex && memcmp(e->to, multicast_of(f->family), bytes) == 0
			       ? VRRP_OK
			       : VRRP_SOURCE;
	for (unsigned i = 0; i < p->config.peer_count; i++)
		if (p->config.peers[i].sa.sa_family == f->family &&
			memcmp(e->from, bytes_of(&p->config.peers[i].sa), bytes) == 0)
			return VRRP_OK;
	return VRRP_SOURCE;
}

static bool has_address(const uint8_t *list, unsigned count, size_t bytes, const uint8_t *address)
{
	for (unsigned i = 0; i < count; i++)
		if (memcmp(list + i * bytes, address, bytes) == 0)
			return true;
	return false;
}

/* In any order. */
static bool same_addresses(const struct vrrp_family *f, const struct vrrp_packet *p)
{
	size_t bytes = vrrp_address_bytes(f->family);

	for (unsigned i = 0; i < p->count; i++)
		if (!has_address(f->addresses, f->count, bytes, p->addresses + i * bytes))
			return false;
	for (unsigned i = 0; i < f->count; i++)
		if (!has_address(p->addresses, p->count, bytes, f->addresses + i * bytes))
			return false;
	return p->count == f->count;
}

static void tell_odd(struct vrrp_port *p, const struct vrrp_envelope *e, enum vrrp_verdict verdict)
{
	uint32_t bit = UINT32_C(1) << verdict;

	if (!(p->told & bit))
		p->handlers.on_odd(p->handlers.ctx, e, verdict);
	p->told |= bit;
}

static void hear(
	struct vrrp_family *f, const struct vrrp_envelope *e, struct span message, int ifindex)
{
	struct vrrp_port *p = f->port;
	struct vrrp_packet packet;
	enum vrrp_verdict verdict;

	/* Another virtual router, or another network's: not for us, whatever is wrong with it. */
	if (message.len >= 2 && (uint8_t)message.ptr[1] != p->config.vrid)
		return;
	if (p->config.peer_count == 0 && ifindex != p->ifindex)
		return;
	verdict = check_sender(f, e, ifindex);
	if (verdict == VRRP_OK)
		verdict = vrrp_decode(e, message, &packet);
	if (verdict != VRRP_OK) {
		p->dropped[verdict]++;
		tell_odd(p, e, verdict);
		return;
	}
	p->received++;
	f->pseudo_header = packet.pseudo_header;
	if (same_addresses(f, &packet)) {
		p->told = 0;
	} else {
		p->differing++;
		tell_odd(p, e, VRRP_OK);
	}
	p->handlers.on_advert(p->handlers.ctx, e, &packet,
		memcmp(e->from, f->own, vrrp_address_bytes(f->family)));
}

/* What the control messages say: interface, and for IPv6 the rest of the envelope. */
static int read_control(struct msghdr *msg, struct vrrp_envelope *e)
{
	int ifindex = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			ifindex = info.ipi_ifindex;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(e->to, &info.ipi6_addr, sizeof(e->to));
			ifindex = (int)info.ipi6_ifindex;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT) {
			int hops;

			memcpy(&hops, CMSG_DATA(c), sizeof(hops));
			e->ttl = (uint8_t)hops;
		}
	}
	return ifindex;
}

/* false: the queue is empty. */
static bool receive_one(struct vrrp_family *f)
{
	uint8_t datagram[VRRP_DATAGRAM_MAX + 1];
	_Alignas(struct cmsghdr) uint8_t control[256];
	struct sockaddr_in6 from = {0};
	struct iovec iov = {.iov_base = datagram, .iov_len = sizeof(datagram)};
	struct msghdr msg = {.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	struct vrrp_envelope e = {.family = f->family};
	ssize_t len = recvmsg(f->fd, &msg, MSG_DONTWAIT);
	struct span message;
	int ifindex;

	if (len < 0)
		return errno == EINTR;
	message = span_make(datagram, (size_t)len);
	if (f->family == AF_INET && vrrp_open_ip4(message, &e, &message) != VRRP_OK) {
		f->port->dropped[VRRP_SHAPE]++;
		return true;
	}
	ifindex = read_control(&msg, &e);
	if (f->family == AF_INET6)
		memcpy(e.from, &from.sin6_addr, sizeof(e.from));
	hear(f, &e, message, ifindex);
	return true;
}

static void receive(struct vrrp_family *f)
{
	/* What was heard may close the sockets. */
	for (int left = READS_MAX; left > 0 && f->fd >= 0 && receive_one(f); left--)
		;
}

static void on_readable(EV_P_ ev_io *w, int revents)
{
	(void)loop, (void)revents;
	receive(container_of(w, struct vrrp_family, readable));
}

void vrrp_port_drain(struct vrrp_port *p)
{
	for (unsigned i = 0; i < countof(p->families); i++)
		if (p->families[i].fd >= 0)
			receive(&p->families[i]);
}

/* --- sending -----------------------------------------------------------------------------------
 */
/* The source by a control message: the kernel would take a virtual address for a primary one. */
static void set_source(struct msghdr *msg, const struct vrrp_family *f, const uint8_t from[16])
{
	struct cmsghdr *c = msg->msg_control;

	if (f->family == AF_INET) {
		struct in_pktinfo info = {
			.ipi_ifindex = f->port->config.peer_count ? 0 : f->port->ifindex};

		memcpy(&info.ipi_spec_dst, from, sizeof(info.ipi_spec_dst));
		*c = (struct cmsghdr){.cmsg_level = IPPROTO_IP,
			.cmsg_type = IP_PKTINFO,
			.cmsg_len = CMSG_LEN(sizeof(info))};
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		msg->msg_controllen = CMSG_SPACE(sizeof(info));
	} else {
		struct in6_pktinfo info = {.ipi6_ifindex = f->port->config.peer_count
								   ? 0
								   : (unsigned)f->port->ifindex};

		memcpy(&info.ipi6_addr, from, sizeof(info.ipi6_addr));
		*c = (struct cmsghdr){.cmsg_level = IPPROTO_IPV6,
			.cmsg_type = IPV6_PKTINFO,
			.cmsg_len = CMSG_LEN(sizeof(info))};
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		msg->msg_controllen = CMSG_SPACE(sizeof(info));
	}
}

static void send_to(struct vrrp_family *f, struct vrrp_packet *packet, const struct addr *to,
	const uint8_t from[16])
{
	struct vrrp_port *p = f->port;
	struct vrrp_envelope e = {.family = f->family, .ttl = VRRP_TTL};
	uint8_t wire[VRRP_DATAGRAM_MAX];
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = {0};
	struct iovec iov = {.iov_base = wire};
	struct msghdr msg = {.msg_name = (void *)(uintptr_t)&to->sa,
		.msg_namelen = addr_len(to),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};

	memcpy(e.from, from, vrrp_address_bytes(f->family));
	memcpy(e.to, bytes_of(&to->sa), vrrp_address_bytes(f->family));
	iov.iov_len = vrrp_encode(&e, packet, wire);
	set_source(&msg, f, from);
	if (sendmsg(f->fd, &msg, MSG_DONTWAIT) >= 0) {
		p->sent++;
		p->send_errno = 0;
	} else {
		p->send_failed++;
		p->send_errno = errno;
	}
}

static void send_unicast(struct vrrp_family *f, struct vrrp_packet *packet)
{
	struct vrrp_port *p = f->port;

	for (unsigned i = 0; i < p->config.peer_count; i++) {
		uint8_t from[16];

		if (p->config.peers[i].sa.sa_family != f->family)
			continue;
		if (source_for(&p->config.peers[i], from) == 0) {
			send_to(f, packet, &p->config.peers[i], from);
			continue;
		}
		p->send_failed++;
		p->send_errno = errno;
	}
}

static void send_multicast(struct vrrp_family *f, struct vrrp_packet *packet)
{
	struct addr to = {.in6 = {0}};

	to.sa.sa_family = f->family;
	memcpy((void *)(uintptr_t)bytes_of(&to.sa), multicast_of(f->family),
		vrrp_address_bytes(f->family));
	if (f->family == AF_INET6)
		to.in6.sin6_scope_id = (uint32_t)f->port->ifindex;
	if (f->has_own) {
		send_to(f, packet, &to, f->own);
		return;
	}
	f->port->send_failed++;
	f->port->send_errno = EADDRNOTAVAIL;
	f->port->stale = true; /* it may come without our hearing of it */
}

bool vrrp_port_send(struct vrrp_port *p, uint8_t priority, uint16_t interval_cs)
{
	uint64_t sent_before = p->sent;

	if (p->stale)
		look_up_own(p);
	for (unsigned i = 0; i < countof(p->families); i++) {
		struct vrrp_family *f = &p->families[i];
		struct vrrp_packet packet = {.vrid = p->config.vrid,
			.priority = priority,
			.count = f->count,
			.interval_cs = interval_cs,
			.pseudo_header = f->pseudo_header,
			.addresses = f->addresses};

		if (f->fd < 0)
			continue;
		if (p->config.peer_count)
			send_unicast(f, &packet);
		else
			send_multicast(f, &packet);
	}
	return p->sent != sent_before;
}

/* --- opening -----------------------------------------------------------------------------------
 */
static int set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

static int set_up_ip4(int fd, int ifindex, bool multicast)
{
	struct ip_mreqn group = {.imr_ifindex = ifindex};

	memcpy(&group.imr_multiaddr, multicast4, sizeof(multicast4));
	if (set(fd, IPPROTO_IP, IP_PKTINFO, 1) != 0 || set(fd, IPPROTO_IP, IP_TTL, VRRP_TTL) != 0 ||
		set(fd, IPPROTO_IP, IP_MULTICAST_TTL, VRRP_TTL) != 0 ||
		set(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0) != 0 ||
		set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0) != 0 ||
		set(fd, IPPROTO_IP, IP_TOS, IPTOS_CLASS_CS6) != 0 ||
		setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &group, sizeof(group)) != 0)
		return -1;
	return multicast ? setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)) : 0;
}

static int set_up_ip6(int fd, int ifindex, bool multicast)
{
	struct ipv6_mreq group = {.ipv6mr_interface = (unsigned)ifindex};

	memcpy(&group.ipv6mr_multiaddr, multicast6, sizeof(multicast6));
	if (set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) != 0 ||
		set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1) != 0 ||
		set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, VRRP_TTL) != 0 ||
		set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, VRRP_TTL) != 0 ||
		set(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0) != 0 ||
		set(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0) != 0 ||
		set(fd, IPPROTO_IPV6, IPV6_TCLASS, IPTOS_CLASS_CS6) != 0 ||
		set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, ifindex) != 0)
		return -1;
	return multicast ? setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof(group)) : 0;
}

static int open_family(struct vrrp_family *f, struct err *err)
{
	struct vrrp_port *p = f->port;
	bool multicast = p->config.peer_count == 0;
	int rc;

	f->fd = socket(f->family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, VRRP_PROTOCOL);
	if (f->fd < 0)
		return err_set_errno(err, "cannot open a socket for VRRP");
	rc = f->family == AF_INET ? set_up_ip4(f->fd, p->ifindex, multicast)
				  : set_up_ip6(f->fd, p->ifindex, multicast);
	if (rc != 0) {
		err_set_errno(err, "cannot set up a socket for VRRP");
		close(f->fd);
		f->fd = -1;
		return -1;
	}
	(void)set(f->fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES);
	(void)set(f->fd, SOL_SOCKET, SO_PRIORITY, 6); /* TC_PRIO_INTERACTIVE */
	ev_io_set(&f->readable, f->fd, EV_READ);
	ev_io_start(p->loop, &f->readable);
	return 0;
}

/* RFC 9568 5.2.9: IPv6 link-local addresses come first. */
static void list_addresses(struct vrrp_port *p, struct vrrp_family *f)
{
	size_t bytes = vrrp_address_bytes(f->family);

	f->count = 0;
	for (int first = 1; first >= 0; first--)
		for (unsigned i = 0; i < p->config.vip_count; i++) {
			const struct cidr *vip = &p->config.vips[i];

			if (vip->family != f->family ||
				(f->family == AF_INET6 && is_link_local(vip->bytes)) != first)
				continue;
			memcpy(f->addresses + f->count * bytes, vip->bytes, bytes);
			f->count++;
		}
}

void vrrp_port_close(struct vrrp_port *p)
{
	for (unsigned i = 0; i < countof(p->families); i++) {
		struct vrrp_family *f = &p->families[i];

		if (f->fd < 0)
			continue;
		ev_io_stop(p->loop, &f->readable);
		close(f->fd);
		f->fd = -1;
	}
	p->ifindex = 0;
}

int vrrp_port_open(
	struct vrrp_port *p, int ifindex, const struct vrrp_port_config *config, struct err *err)
{
	ASSERT(ifindex > 0 && config->vip_count <= VRRP_VIPS_MAX);
	vrrp_port_close(p);
	p->config = *config;
	p->ifindex = ifindex;
	for (unsigned i = 0; i < countof(p->families); i++) {
		list_addresses(p, &p->families[i]);
		if (p->families[i].count > 0 && open_family(&p->families[i], err) != 0) {
			vrrp_port_close(p);
			return -1;
		}
	}
	look_up_own(p);
	return 0;
}

void vrrp_port_init(
	struct vrrp_port *p, struct ev_loop *loop, const struct vrrp_port_handlers *handlers)
{
	*p = (struct vrrp_port){.loop = loop, .handlers = *handlers};
	for (unsigned i = 0; i < countof(p->families); i++) {
		struct vrrp_family *f = &p->families[i];

		f->port = p;
		f->fd = -1;
		f->family = i == 0 ? AF_INET : AF_INET6;
		/* Until the peer is heard: what keepalived understands, which as a backup is silent
		 * and would never say. */
		f->pseudo_header = true;
		ev_init(&f->readable, on_readable);
	}
}
