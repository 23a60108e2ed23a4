#include "failover/net/netlink_diag.h"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <string.h>

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

/* A socket that listens on :: has its IPv4 connections among those of IPv6. */
static int dump(struct nl_sock *sock, struct nl_cb *on_answer, uint8_t family, uint32_t states)
{
	struct inet_diag_req_v2 req = {
		.sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = states};
	int rc = nl_send_simple(sock, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &req, sizeof(req));

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
struct leftovers {
	const struct question *q;
	struct nl_sock *sock; /* for orders: the other one is being read */
	struct nl_cb *on_answer;
	int rc;
};

/* That one, by its cookie, and no other that may have its ends by now. It may have ended. */
static int end_one(const struct leftovers *l, const struct inet_diag_msg *m)
{
	struct inet_diag_req_v2 req = {
		.sdiag_family = m->idiag_family, .sdiag_protocol = IPPROTO_TCP, .id = m->id};
	int rc = nl_send_simple(l->sock, SOCK_DESTROY, 0, &req, sizeof(req));

	if (rc >= 0)
		rc = nl_recvmsgs(l->sock, l->on_answer);
	return rc == -NLE_OBJ_NOTFOUND ? 0 : rc;
}

static int on_left(struct nl_msg *msg, void *arg)
{
	const struct inet_diag_msg *m = nlmsg_data(nlmsg_hdr(msg));
	struct leftovers *l = arg;
	struct addr local, remote;

	if (nlmsg_datalen(nlmsg_hdr(msg)) < (int)sizeof(*m) || m->idiag_state != TCP_TIME_WAIT ||
		(m->idiag_family != AF_INET && m->idiag_family != AF_INET6))
		return NL_OK;
	local = to_addr(m->idiag_family, m->id.idiag_src, m->id.idiag_sport);
	remote = to_addr(m->idiag_family, m->id.idiag_dst, m->id.idiag_dport);
	if (is_wanted(l->q, &local) && l->q->on_connection(l->q->ctx, &local, &remote) &&
		l->rc >= 0)
		l->rc = end_one(l, m);
	return NL_OK;
}

int netlink_diag_forget(const struct cidr *vips, unsigned vip_count,
	bool (*wanted)(void *ctx, const struct addr *local, const struct addr *remote), void *ctx,
	struct err *err)
{
	struct question q = {
		.vips = vips, .vip_count = vip_count, .on_connection = wanted, .ctx = ctx};
	struct nl_sock *sock = nl_socket_alloc();
	struct nl_cb *on_answer = nl_cb_alloc(NL_CB_DEFAULT);
	struct leftovers l = {
		.q = &q, .sock = nl_socket_alloc(), .on_answer = nl_cb_alloc(NL_CB_DEFAULT)};
	int rc = -NLE_NOMEM;

	if (sock && on_answer && l.sock && l.on_answer) {
		nl_cb_set(on_answer, NL_CB_VALID, NL_CB_CUSTOM, on_left, &l);
		rc = nl_connect(sock, NETLINK_SOCK_DIAG);
		if (rc >= 0)
			rc = nl_connect(l.sock, NETLINK_SOCK_DIAG);
		if (rc >= 0)
			rc = dump(sock, on_answer, AF_INET, 1U << TCP_TIME_WAIT);
		if (rc >= 0)
			rc = dump(sock, on_answer, AF_INET6, 1U << TCP_TIME_WAIT);
	}
	nl_cb_put(on_answer);
	nl_cb_put(l.on_answer);
	if (sock)
		nl_socket_free(sock);
	if (l.sock)
		nl_socket_free(l.sock);
	rc = rc < 0 ? rc : l.rc;
	return rc < 0 ? err_set(err, "cannot end what is left of connections: %s", nl_geterror(rc))
		      : 0;
}
