/*
 * The agent's part of the configuration, as one immutable value: who we are, who the peer is,
 * paths, keys, times and groups. Built from the checked tree; faults that only this agent can see
 * (its node's name, the secret's file) join the report of all others.
 */
#pragma once

#include "failover/core/times.h"
#include "failover/core/alerting.h"
#include "failover/hooks.h"
#include "failover/core/vrrp.h"
#include "failover/net/paths.h"
#include "failover/net/probe.h"
#include "failover/net/vrrp.h"
#include "shared/conf.h"
#include "shared/log.h"

#include <net/if.h>

#define SETTINGS_GROUPS_MAX 32
/* Priorities that follow from `prefer`. */
#define SETTINGS_PRIORITY 100
#define SETTINGS_PRIORITY_PREFERRED 150
#define SETTINGS_NAME_MAX 64

#define SETTINGS_PORTS_MAX 256

/* What holds the line between owning an address and using it, the best last. */
#define FENCE_MODES(X)                                                              \
	X(NONE, "none")	      /* what was asked for does not work here: no claim */ \
	X(ADDRESS, "address") /* the addresses' short life */                       \
	X(NETLINK, "netlink") /* packet rules with a lease that the agent renews */ \
	X(KERNEL, "kernel")   /* packet rules with a lease that our heartbeats renew as they go */
enum fence_mode {
#define X(name, text) FENCE_##name,
	FENCE_MODES(X)
#undef X
};

const char *fence_mode_name(enum fence_mode m);

struct group_settings {
	char name[SETTINGS_NAME_MAX];
	uint8_t vrid;
	char interface[IFNAMSIZ];
	struct cidr vips[PROBE_VIPS_MAX];
	unsigned vip_count;
	uint32_t path_mask;   /* bit a path that carries its heartbeats */
	uint8_t prefer;	      /* node id; 0: none */
	uint64_t failback_ns; /* 0: manual */
	struct hook_command hooks[HOOK_KIND_COUNT];
	uint64_t hook_timeout_ns;
	/* protocol: vrrp3 */
	bool speaks_vrrp;
	struct vrrp_config vrrp;
	struct addr unicast_peers[VRRP_PEERS_MAX]; /* none: multicast */
	unsigned unicast_count;
	/* On which the proxy may have connections to vips; 0 ports: on any. */
	uint16_t ports[SETTINGS_PORTS_MAX];
	unsigned port_count;
};

struct alert_rule_settings {
	struct alert_rule rule;
	char webhook[1024];	     /* "": none */
	struct hook_command command; /* count 0: none */
};

struct scale_settings { /* who is told what a pool wants */
	char pool[SETTINGS_NAME_MAX];
	char webhook[1024];	     /* "": none */
	struct hook_command command; /* count 0: none */
};

struct settings {
	char node[SETTINGS_NAME_MAX], peer[SETTINGS_NAME_MAX];
	uint8_t node_id, peer_id;
	struct path_config paths[PATHS_MAX]; /* in the same order on both nodes */
	unsigned path_count;
	/* What signs first. Owned. */
	struct span secrets[PATHS_KEYS_MAX];
	unsigned secret_count;
	struct alert_rule_settings alerts[ALERT_RULES_MAX];
	unsigned alert_count;
	struct scale_settings *scales; /* owned */
	unsigned scale_count;
	uint64_t hook_timeout_ns; /* of those that are no group's */
	bool speaks_tandem;	  /* some group: heartbeats are needed */
	struct times times;
	enum fence_mode fence;	/* NONE: the best that works */
	uint64_t drain_ns;	/* of connections that an address left behind, when it moves */
	uint64_t stop_drain_ns; /* the same when the service stops */
	bool has_proxy;		/* the file has listeners: a proxy is expected beside us */
	/* The third box, and from which addresses it hears the two nodes, with ports. */
	bool has_witness;
	uint8_t witness_id;
	struct addr witness;
	struct witnessed {
		char name[SETTINGS_NAME_MAX];
		uint8_t id;
		struct addr addr;
	} witnessed[2];
	bool has_gateway;
	struct addr gateway;
	struct group_settings groups[SETTINGS_GROUPS_MAX];
	unsigned group_count;
	char log_level[8]; /* a word of log_level_parse */
	char log_debug[LOG_SUBSYSTEMS_MAX];
	uint8_t hash[32]; /* of the whole configuration's meaning */
};

/* Reads and checks a file for the node of that name, or for the witness (node NULL). NULL when
 * there are faults (in the report, which may hold warnings otherwise) or memory is short.
 * *ret_conf, if not NULL, gets the tree, owned, for printing the report; it may be NULL only when
 * memory was short. */
struct settings *settings_load(
	const char *file, const char *node, struct conf_report *report, struct conf **ret_conf);
void settings_free(struct settings *s);
