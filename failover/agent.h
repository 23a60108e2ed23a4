/*
 * The failover agent: owns sockets, groups, and the proxy's link, and brings what happens in one
 * place to the others that must know. One thread runs all of it (the store of epochs and
 * the hooks keep one of their own); nothing here forks.
 */
#pragma once

#include "failover/alerts.h"
#include "failover/epoch_store.h"
#include "failover/group.h"
#include "failover/net/announce.h"
#include "failover/net/arp_guard.h"
#include "failover/net/netlink.h"
#include "failover/net/netlink_set.h"
#include "failover/net/nft.h"
#include "failover/net/paths.h"
#include "failover/net/tickle.h"
#include "failover/peer_copy.h"
#include "failover/proxy_link.h"
#include "failover/settings.h"
#include "shared/daemon.h"
#include "shared/list.h"
#include "shared/rpc.h"

struct agent {
	struct ev_loop *loop;
	const struct daemon_options *options; /* borrows */
	struct settings *settings;	      /* in force; owned */
	uint64_t generation;		      /* of the configuration, from 1 */
	uint64_t boot_id;
	struct rpc_server *rpc;
	struct netlink *netlink;
	/* Both or neither: without them there are no packet rules. */
	struct nft *nft;
	struct netlink_set *sets;
	struct arp_guard arp;
	struct announce announce;
	struct epoch_store *epochs;
	struct hooks *hooks;
	struct alerts *alerts; /* NULL while the agent starts or ends */
	struct paths *paths;
	struct witness_link *witness; /* NULL: none is configured */
	struct proxy_link proxy;
	struct clients *peer_clients; /* as the peer copied them to us */
	struct states states;	      /* documents that the proxies share */
	struct peer_copy *copy;	      /* NULL: there is no peer, or no memory for it */
	struct tickle tickle;
	struct list groups; /* struct group.in_agent */
	/* The peer's configuration, as of its last packet. */
	bool peer_config_known, peer_config_matches;
	uint8_t peer_flags;
	uint32_t peer_connections;
	uint64_t ran_ns;	 /* the loop was alive */
	uint64_t counts_told_ns; /* to the proxy, last */
	bool stopping;
	bool realtime; /* scheduled so */
	ev_timer stop_limit;
	ev_timer watchdog;
	ev_prepare reap;
	struct daemon_signals signals;
};

/* Takes settings, in any case. 0, or -1 with err. */
int agent_init(struct agent *a, struct ev_loop *loop, const struct daemon_options *options,
	struct settings *settings, struct err *err);
void agent_fini(struct agent *a);
/* Reads the file again. A file with faults changes nothing: -1, with the first of them in err. */
int agent_reload(struct agent *a, struct err *err);
/* Gives everything away and ends the loop, five seconds after the limit of a drain at the latest.
 */
void agent_stop(struct agent *a);

/* --- for the groups --- */
/* Handles all that is queued on sockets, so that silence is silence. */
void agent_drain(struct agent *a);
/* Sends on paths, with what only the agent knows filled in. */
void agent_send(struct agent *a, const struct group *g, const struct fsm_action *send,
	uint64_t now_ns, uint32_t path_mask);
/* The same as a frame on the group's own interface. -1 with err: the kernel did not take it. */
int agent_send_frame(struct agent *a, const struct group *g, const struct fsm_action *send,
	uint64_t now_ns, struct err *err);
/* Whether it is our own address on one of the paths. */
bool agent_has_path(const struct agent *a, const struct cidr *address);
/* A group changed its state: the proxy may have a new role. */
void agent_tell_role(struct agent *a);
/* For its metrics, at most once a second: moves by reason, and when the peer was last heard. */
void agent_tell_counts(struct agent *a);
/* Whether a MAC on the group's interface is the peer's. */
bool agent_is_peer(struct agent *a, int ifindex, const uint8_t mac[6]);
struct group *agent_find(struct agent *a, const char *name);

/* --- agent_copy.c --- */
/* Opens the copy to the peer anew, with these settings. */
void agent_open_copy(struct agent *a, const struct settings *s);
/* A client of our proxy came or went; for proxy_link. */
void agent_client(void *ctx, const struct client_key *k, bool there);
/* The proxy's document; -1 with err: refused. */
int agent_state(
	struct agent *a, const struct rpc_caller *who, const json_t *params, struct err *err);
/* A proxy that was started again gets all documents. */
void agent_tell_states(struct agent *a);
