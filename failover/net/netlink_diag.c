#include "failover/net/netlink_diag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "shared/units.h"

#define NEW_SYN_RECV 12 /* the kernel's state of a connection that nobody accepted yet */
/* Not what only waits for time or for a client's last word: both sides have all of it. */
#define STATES                                                                                   \
	(1U << TCP_ESTABLISHED | 1U << TCP_SYN_RECV | 1U << NEW_SYN_RECV | 1U << TCP_FIN_WAIT1 | \
		1U << TCP_CLOSE_WAIT | 1U << TCP_LAST_ACK | 1U << TCP_CLOSING)

struct question {
	const struct cidr *vips;
	unsigned vip_count;
	bool (*on_connection)(void *ctx, const struct addr *local, const struct addr *remote);
	void *ctx;
	bool enough;
};

static struct addr to_addr(int family, const __be32 *bytes, __be16 port)
{
	struct addr a = {0};

	if (family == AF_INET) {
		a.in.sin_family = AF_INET;
		a.in.sin_port = port;
		memcpy(&a.in.sin_addr, bytes, sizeof(a.in.sin_addr));
	} else {
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = port;
		memcpy(&a.in6.sin6_addr, bytes, sizeof(a.in6.sin6_addr));
	}
	addr_unmap(&a);
	return a;
}

static bool is_wanted(const struct question *q, const struct addr *local)
{
	for (unsigned i = 0; i < q->vip_count; i++) {
		struct cidr host = q->vips[i];

		host.bits = host.family == AF_INET ? 32 : 128;
		if (cidr_contains(&host, local))
			return true;
	}
	return false;
}

static int on_socket(struct nl_msg *msg, void *arg)
{
	const struct inet_diag_msg *m = nlmsg_data(nlmsg_hdr(msg));
	struct question *q = arg;
	struct addr local, remote;

	if (nlmsg_datalen(nlmsg_hdr(msg)) < (int)sizeof(*m) ||
		(m->idiag_family != AF_INET && m->idiag_family != AF_INET6))
		return NL_OK;
	local = to_addr(m->idiag_family, m->id.idiag_src, m->id.idiag_sport);
	if (!is_wanted(q, &local))
		return NL_OK;
	remote = to_addr(m->idiag_family, m->id.idiag_dst, m->id.idiag_dport);
	q->enough = !q->on_connection(q->ctx, &local, &remote);
	return q->enough ? NL_STOP : NL_OK;
}

static int ask(struct nl_sock *sock, uint8_t family, uint32_t states)
{
	struct inet_diag_req_v2 req = {
		.sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = states};

	return nl_send_simple(sock, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &req, sizeof(req));
}

/* A socket that listens on :: has its IPv4 connections among those of IPv6. */
static int dump(struct nl_sock *sock, struct nl_cb *on_answer, uint8_t family, uint32_t states)
{
	int rc = ask(sock, family, states);

	return rc < 0 ? rc : nl_recvmsgs(sock, on_answer);
}

int netlink_diag_each(const struct cidr *vips, unsigned vip_count,
	bool (*on_connection)(void *ctx, const struct addr *local, const struct addr *remote),
	void *ctx, struct err *err)
{
	struct question q = {
		.vips = vips, .vip_count = vip_count, .on_connection = on_connection, .ctx = ctx};
	/* One a question: what is not read any more goes away with it. */
	struct nl_sock *sock = nl_socket_alloc();
	struct nl_cb *on_answer = nl_cb_alloc(NL_CB_DEFAULT);
	int rc = -NLE_NOMEM;

	if (sock && on_answer) {
		nl_cb_set(on_answer, NL_CB_VALID, NL_CB_CUSTOM, on_socket, &q);
		rc = nl_connect(sock, NETLINK_SOCK_DIAG);
		if (rc >= 0)
			rc = dump(sock, on_answer, AF_INET, STATES);
		if (rc >= 0 && !q.enough)
			rc = dump(sock, on_answer, AF_INET6, STATES);
	}
	nl_cb_put(on_answer);
	if (sock)
		nl_socket_free(sock);
	return rc < 0 ? err_set(err, "cannot list connections: %s", nl_geterror(rc)) : 0;
}

static bool on_first(void *ctx, const struct addr *local, const struct addr *remote)
{
	(void)local, (void)remote;
	*(bool *)ctx = true;
	return false;
}

int netlink_diag_any(const struct cidr *vips, unsigned vip_count, bool *ret_any, struct err *err)
{
	bool any = false;

	if (netlink_diag_each(vips, vip_count, on_first, &any, err) != 0)
		return -1;
	*ret_any = any;
	return 0;
}

/* --- what is left of connections -----------------------------------------------------------------
 */
#define PIECE_BYTES 16384 /* some 150 sockets */

struct netlink_diag_left {
	bool (*wanted)(void *ctx, const struct addr *local, const struct addr *remote);
	void *ctx;
	struct nl_sock *list, *orders; /* orders: the other one is being read */
	struct nl_cb *on_answer;
	uint8_t family; /* that is being listed */
	_Alignas(struct nlmsghdr) char piece[PIECE_BYTES];
};

/* That one, by its cookie, and no other that may have its ends by now. It may have ended. */
static int end_one(const struct netlink_diag_left *l, const struct inet_diag_msg *m)
{
	struct inet_diag_req_v2 req = {
		.sdiag_family = m->idiag_family, .sdiag_protocol = IPPROTO_TCP, .id = m->id};
	int rc = nl_send_simple(l->orders, SOCK_DESTROY, 0, &req, sizeof(req));

	if (rc >= 0)
		rc = nl_recvmsgs(l->orders, l->on_answer);
	return rc == -NLE_OBJ_NOTFOUND ? 0 : rc;
}

static int on_left(struct netlink_diag_left *l, struct nlmsghdr *h)
{
	const struct inet_diag_msg *m = nlmsg_data(h);
	struct addr local, remote;

	if (nlmsg_datalen(h) < (int)sizeof(*m) || m->idiag_state != TCP_TIME_WAIT ||
		(m->idiag_family != AF_INET && m->idiag_family != AF_INET6))
		return 0;
	local = to_addr(m->idiag_family, m->id.idiag_src, m->id.idiag_sport);
	remote = to_addr(m->idiag_family, m->id.idiag_dst, m->id.idiag_dport);
	return l->wanted(l->ctx, &local, &remote) ? end_one(l, m) : 0;
}

static int next_list(struct netlink_diag_left *l)
{
	l->family = l->family == AF_UNSPEC ? AF_INET : AF_INET6;
	return ask(l->list, l->family, 1U << TCP_TIME_WAIT);
}

/* The kernel goes on where it was when the piece before has been read. 1: not the last one. */
static int read_piece(struct netlink_diag_left *l)
{
	ssize_t got = recv(nl_socket_get_fd(l->list), l->piece, sizeof(l->piece), 0);
	int left = (int)got, rc = 1;

	if (got < 0)
		return -nl_syserr2nlerr(errno);
	for (struct nlmsghdr *h = (void *)l->piece; nlmsg_ok(h, left) && rc == 1;
		h = nlmsg_next(h, &left)) {
		if (h->nlmsg_type == NLMSG_DONE && l->family == AF_INET6)
			return 0;
		if (h->nlmsg_type == NLMSG_DONE)
			rc = next_list(l);
		else if (h->nlmsg_type == NLMSG_ERROR)
			rc = -NLE_FAILURE;
		else
			rc = on_left(l, h);
		rc = rc < 0 ? rc : 1;
	}
	return rc;
}

int netlink_diag_forget(
	struct netlink_diag_left *l, uint64_t until_ns, bool *ret_done, struct err *err)
{
	int rc;

	do
		rc = read_piece(l);
	while (rc == 1 && monotonic_ns() < until_ns);
	*ret_done = rc != 1;
	return rc < 0 ? err_set(err, "cannot end what is left of connections: %s", nl_geterror(rc))
		      : 0;
}

struct netlink_diag_left *netlink_diag_left_new(
	bool (*wanted)(void *ctx, const struct addr *local, const struct addr *remote), void *ctx,
	struct err *err)
{
	struct netlink_diag_left *l = calloc(1, sizeof(*l));
	int rc = -NLE_NOMEM;

	if (l) {
		l->wanted = wanted;
		l->ctx = ctx;
		l->list = nl_socket_alloc();
		l->orders = nl_socket_alloc();
		l->on_answer = nl_cb_alloc(NL_CB_DEFAULT);
		if (l->list && l->orders && l->on_answer)
			rc = nl_connect(l->list, NETLINK_SOCK_DIAG);
		if (rc >= 0)
			rc = nl_connect(l->orders, NETLINK_SOCK_DIAG);
		if (rc >= 0)
			rc = next_list(l);
	}
	if (rc >= 0)
		return l;
	netlink_diag_left_free(l);
	err_set(err, "cannot list what is left of connections: %s", nl_geterror(rc));
	return NULL;
}

void netlink_diag_left_free(struct netlink_diag_left *l)
{
	if (!l)
		return;
	nl_cb_put(l->on_answer);
	if (l->list)
		nl_socket_free(l->list);
	if (l->orders)
		nl_socket_free(l->orders);
	free(l);
}
