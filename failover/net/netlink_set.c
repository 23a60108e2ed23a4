#include "failover/net/netlink_set.h"

#include <endian.h>
#include <netinet/in.h> /* before <linux/netfilter.h>, which has its own otherwise */

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct netlink_set {
	struct nl_sock *sock;
	struct nl_cb *on_answer;
	/* Of the answer that is being read. */
	bool member;
	uint64_t left_ms;
};

static void take_member(struct netlink_set *s, struct nlattr *member)
{
	struct nlattr *attrs[NFTA_SET_ELEM_MAX + 1];
	uint64_t left;

	if (s->member || nla_parse_nested(attrs, NFTA_SET_ELEM_MAX, member, NULL) < 0 ||
		!attrs[NFTA_SET_ELEM_EXPIRATION] ||
		nla_len(attrs[NFTA_SET_ELEM_EXPIRATION]) != (int)sizeof(left))
		return;
	memcpy(&left, nla_data(attrs[NFTA_SET_ELEM_EXPIRATION]), sizeof(left));
	s->member = true;
	s->left_ms = be64toh(left);
}

static int on_members(struct nl_msg *msg, void *arg)
{
	struct nlattr *attrs[NFTA_SET_ELEM_LIST_MAX + 1], *member;
	struct nlmsghdr *h = nlmsg_hdr(msg);
	int rest;

	if (nlmsg_parse(h, sizeof(struct nfgenmsg), attrs, NFTA_SET_ELEM_LIST_MAX, NULL) < 0 ||
		!attrs[NFTA_SET_ELEM_LIST_ELEMENTS])
		return NL_OK;
	/* cppcheck-suppress unknownMacro */
	nla_for_each_nested(member, attrs[NFTA_SET_ELEM_LIST_ELEMENTS], rest)
		take_member(arg, member);
	return NL_OK;
}

static int ask(struct netlink_set *s, const char *table, const char *set)
{
	struct nfgenmsg head = {.nfgen_family = NFPROTO_NETDEV, .version = NFNETLINK_V0};
	struct nl_msg *msg =
		nlmsg_alloc_simple(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM, NLM_F_DUMP);
	int rc = -NLE_NOMEM;

	if (msg && nlmsg_append(msg, &head, sizeof(head), NLMSG_ALIGNTO) == 0 &&
		nla_put_string(msg, NFTA_SET_ELEM_LIST_TABLE, table) == 0 &&
		nla_put_string(msg, NFTA_SET_ELEM_LIST_SET, set) == 0)
		rc = nl_send_auto(s->sock, msg);
	nlmsg_free(msg);
	return rc < 0 ? rc : nl_recvmsgs(s->sock, s->on_answer);
}

enum netlink_set_state netlink_set_look(struct netlink_set *s, const char *table, const char *set,
	uint64_t *ret_left_ms, struct err *err)
{
	int rc;

	s->member = false;
	s->left_ms = 0;
	rc = ask(s, table, set);
	*ret_left_ms = s->left_ms;
	if (rc == -NLE_OBJ_NOTFOUND)
		return NETLINK_SET_MISSING;
	if (rc < 0 && rc != -NLE_DUMP_INTR) { /* interrupted by a change elsewhere: good enough */
		err_set(err, "cannot look into nf_tables: %s", nl_geterror(rc));
		return NETLINK_SET_UNKNOWN;
	}
	return s->member ? NETLINK_SET_MEMBER : NETLINK_SET_EMPTY;
}

struct netlink_set *netlink_set_new(struct err *err)
{
	struct netlink_set *s = calloc(1, sizeof(*s));
	int rc = -NLE_NOMEM;

	if (s) {
		s->sock = nl_socket_alloc();
		s->on_answer = nl_cb_alloc(NL_CB_DEFAULT);
	}
	if (s && s->sock && s->on_answer) {
		nl_cb_set(s->on_answer, NL_CB_VALID, NL_CB_CUSTOM, on_members, s);
		rc = nl_connect(s->sock, NETLINK_NETFILTER);
	}
	if (rc >= 0)
		return s;
	netlink_set_free(s);
	err_set(err, "cannot look into nf_tables: %s", nl_geterror(rc));
	return NULL;
}

void netlink_set_free(struct netlink_set *s)
{
	if (!s)
		return;
	if (s->sock)
		nl_socket_free(s->sock);
	nl_cb_put(s->on_answer);
	free(s);
}
