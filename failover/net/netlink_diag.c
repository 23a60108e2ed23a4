#include "failover/net/netlink_diag.h"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <string.h>

#include "shared/assert.h"

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
static int dump(struct nl_sock *sock, struct nl_cb *on_answer, uint8_t family)
{
	struct inet_diag_req_v2 req = {
		.sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = STATES};
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
			rc = dump(sock, on_answer, AF_INET);
		if (rc >= 0 && !q.enough)
			rc = dump(sock, on_answer, AF_INET6);
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

/* --- what is left of a connection ----------------------------------------------------------------
 */
struct nl_sock *netlink_diag_open(struct err *err)
{
	struct nl_sock *sock = nl_socket_alloc();
	int rc = sock ? nl_connect(sock, NETLINK_SOCK_DIAG) : -NLE_NOMEM;

	if (rc >= 0)
		rc = nl_socket_set_nonblocking(sock);
	if (rc >= 0) {
		nl_socket_disable_auto_ack(sock);
		return sock;
	}
	err_set(err, "cannot look at connections: %s", nl_geterror(rc));
	netlink_diag_close(sock);
	return NULL;
}

void netlink_diag_close(struct nl_sock *sock)
{
	if (sock)
		nl_socket_free(sock);
}

static void put_end(const struct addr *a, __be32 bytes[4], __be16 *port)
{
	if (a->sa.sa_family == AF_INET)
		memcpy(bytes, &a->in.sin_addr, sizeof(a->in.sin_addr));
	else
		memcpy(bytes, &a->in6.sin6_addr, sizeof(a->in6.sin6_addr));
	*port = htons(addr_port(a));
}

static int any_sequence(struct nl_msg *msg, void *arg)
{
	(void)msg, (void)arg;
	return NL_OK;
}

/* Also what listens there is found, when nothing else is. */
static int on_found(struct nl_msg *msg, void *arg)
{
	const struct inet_diag_msg *m = nlmsg_data(nlmsg_hdr(msg));
	struct inet_diag_msg *ret_found = arg;

	if (nlmsg_datalen(nlmsg_hdr(msg)) >= (int)sizeof(*m))
		*ret_found = *m;
	return NL_OK;
}

/* The kernel has answered when it has taken the question: one datagram, which may be an error. */
static int ask(struct nl_sock *sock, int type, int flags, struct inet_diag_req_v2 *req,
	struct inet_diag_msg *ret_found)
{
	struct nl_cb *on_answer = nl_cb_alloc(NL_CB_DEFAULT);
	int rc = -NLE_NOMEM;

	if (on_answer) {
		nl_cb_set(on_answer, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, any_sequence, NULL);
		nl_cb_set(on_answer, NL_CB_VALID, NL_CB_CUSTOM, on_found, ret_found);
		rc = nl_send_simple(sock, type, flags, req, sizeof(*req));
	}
	if (rc >= 0)
		rc = nl_recvmsgs(sock, on_answer);
	nl_cb_put(on_answer);
	return rc;
}

int netlink_diag_forget(
	struct nl_sock *sock, const struct addr *local, const struct addr *remote, struct err *err)
{
	struct inet_diag_req_v2 req = {
		.sdiag_family = (uint8_t)local->sa.sa_family, .sdiag_protocol = IPPROTO_TCP};
	struct inet_diag_msg found = {0};
	int rc;

	ASSERT(local->sa.sa_family == remote->sa.sa_family);
	put_end(local, req.id.idiag_src, &req.id.idiag_sport);
	put_end(remote, req.id.idiag_dst, &req.id.idiag_dport);
	memset(req.id.idiag_cookie, 0xff, sizeof(req.id.idiag_cookie)); /* INET_DIAG_NOCOOKIE */
	rc = ask(sock, SOCK_DIAG_BY_FAMILY, 0, &req, &found);
	if (rc >= 0 && found.idiag_state == TCP_TIME_WAIT) {
		/* That one, and no other that may be there by now. */
		memcpy(req.id.idiag_cookie, found.id.idiag_cookie, sizeof(req.id.idiag_cookie));
		rc = ask(sock, SOCK_DESTROY, NLM_F_ACK, &req, &found);
	}
	if (rc >= 0 || rc == -NLE_OBJ_NOTFOUND)
		return 0;
	return err_set(err, "cannot end what is left of a connection: %s", nl_geterror(rc));
}
