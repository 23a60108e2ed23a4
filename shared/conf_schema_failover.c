/*
 * The keys of the pair: its nodes, the groups of addresses that move, the witness.
 */
#include "shared/conf_schema_rows.h"

#define HOOK(key_name, text)                                                                      \
	{                                                                                         \
		.name = key_name, .type = CONF_TYPE_LIST, .min = 1, .max = 16,                    \
		.value = ROW(.type = CONF_TYPE_TEXT, .help = "The program, then its arguments."), \
		.help = text                                                                      \
	}
/* For all groups, and narrower in a group. */
#define HOOKS_ROW(default_timeout)                                                                 \
	HOOK("on_active", "Program to run when this node has become active."),                     \
		HOOK("on_standby", "Program to run when this node has become a standby."),         \
		HOOK("on_fault", "Program to run when this node cannot serve any more."),          \
		HOOK("fence_hook",                                                                 \
			"Program that makes sure that the peer is off, such as through its power " \
			"switch; a claim on a silent peer waits for it, and none is made if it "   \
			"fails."),                                                                 \
		HOOK("claim_hook", "Program that moves the address where the network needs "       \
				   "telling, such as a "                                           \
				   "cloud's route table; if it fails the address is given up."),   \
	{                                                                                          \
		.name = "hook_timeout", .type = CONF_TYPE_DURATION, .fallback = (default_timeout), \
		.min = 100 * MS, .max = HOUR,                                                      \
		.help = "After this a program is stopped and has failed."                          \
	}

static const struct conf_key node_keys[] = {
	{.name = "id",
		.type = CONF_TYPE_COUNT,
		.required = true,
		.min = 1,
		.max = 255,
		.help = "Number of the node on the wire; each node has its own."},
	{.name = "paths",
		.type = CONF_TYPE_NAMED,
		.required = true,
		.noun = "path",
		.min = 1,
		.max = 8,
		.value = ROW(.type = CONF_TYPE_IP, .help = "The node's address on this path."),
		.help = "Networks over which the nodes hear each other, each with this node's "
			"address."},
	{.name = "zone",
		.type = CONF_TYPE_NAME,
		.help = "Where the node is: its proxy prefers servers of the same zone while "
			"enough of them can be used."},
	{0}};

static const struct conf_key times_keys[] = {
	{.name = "heartbeat",
		.type = CONF_TYPE_DURATION,
		.min = 2 * MS,
		.max = 10 * S,
		.help = "Between two heartbeats; at most a quarter of lease."},
	{.name = "lease",
		.type = CONF_TYPE_DURATION,
		.min = 10 * MS,
		.max = 60 * S,
		.help = "An active node that could send nothing for this long is not active any "
			"more."},
	{.name = "silence",
		.type = CONF_TYPE_DURATION,
		.min = 20 * MS,
		.max = 60 * S,
		.help = "Without a heartbeat on any path for this long the peer may be gone."},
	{.name = "probe",
		.type = CONF_TYPE_DURATION,
		.min = 5 * MS,
		.max = 10 * S,
		.help = "For an answer when the client network is asked who has the address."},
	{.name = "claim_window",
		.type = CONF_TYPE_DURATION,
		.min = 6 * MS,
		.max = 20 * S,
		.help = "From the beginning of the probe to the claim, at most."},
	{0}};

static const struct conf_key priority_of_all = {.type = CONF_TYPE_COUNT,
	.min = 1,
	.max = 254,
	.help = "The same for whichever node reads it."};
static const struct conf_key priority_of_each = {.type = CONF_TYPE_NAMED,
	.noun = "priority",
	.min = 2,
	.max = 2,
	.value = ROW(.type = CONF_TYPE_COUNT, .min = 1, .max = 254, .help = "A node's priority."),
	.help = "By node."};

static const struct conf_key group_keys[] = {
	{.name = "vrid",
		.type = CONF_TYPE_COUNT,
		.required = true,
		.min = 1,
		.max = 255,
		.help = "Number of the group on the wire; each group has its own."},
	{.name = "interface",
		.type = CONF_TYPE_NAME,
		.required = true,
		.max = 15,
		.help = "Network interface that carries the addresses."},
	{.name = "virtual_ips",
		.type = CONF_TYPE_LIST,
		.required = true,
		.min = 1,
		.max = 32,
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "Address and prefix length."),
		.help = "Addresses that move between the nodes, with their prefix length."},
	{.name = "prefer",
		.type = CONF_TYPE_REF,
		.ref = "failover.nodes",
		.noun = "node",
		.help = "The node that starts active, and gets the group back with failback: "
			"after."},
	{.name = "failback",
		.type = CONF_TYPE_DURATION,
		.words = WORDS("manual"),
		.prefix = "after",
		.fallback = "manual",
		.min = 1 * S,
		.max = 24 * HOUR,
		.help = "When the preferred node gets the group back: on a switchover only, or "
			"once "
			"it has been well for a time."},
	{.name = "paths",
		.type = CONF_TYPE_LIST,
		.fallback = "all",
		.min = 1,
		.max = 8,
		.value = ROW(.type = CONF_TYPE_NAME, .help = "A path's name, or all."),
		.help = "Paths that carry this group's heartbeats."},
	{.name = "protocol",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("tandem", "vrrp3"),
		.help = "As above, for this group."},
	{.name = "priority",
		.type = CONF_TYPE_EITHER,
		.shapes = {[CONF_SCALAR] = &priority_of_all, [CONF_MAP] = &priority_of_each},
		.help = "With vrrp3: who is active, 1 to 254; one number, or {NODE: NUMBER, ...}. "
			"Not written: 150 for the node of 'prefer', else 100."},
	{.name = "advertise",
		.type = CONF_TYPE_DURATION,
		.fallback = "1s",
		.min = 10 * MS,
		.max = 40950 * MS,
		.help = "With vrrp3: between two advertisements, in steps of 10ms."},
	{.name = "preempt",
		.type = CONF_TYPE_BOOL,
		.fallback = "true",
		.help = "With vrrp3: take the address from a peer of lower priority; false when "
			"'failback: manual' is written, only then and after its time with "
			"'failback: after'."},
	{.name = "unicast_peer",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 8,
		.value = ROW(.type = CONF_TYPE_IP, .words = WORDS("nodes"),
			.help = "A peer's address, or nodes: the other node's on the group's "
				"paths."),
		.help = "With vrrp3: send to these addresses and hear only them, instead of "
			"multicast."},
	{.name = "accept",
		.type = CONF_TYPE_BOOL,
		.fallback = "true",
		.help = "With vrrp3: Accept_Mode; a load balancer answers on its addresses, so it "
			"can only be true."},
	HOOKS_ROW(NULL), {0}};

static const struct conf_key witness_keys[] = {{.name = "address",
						       .type = CONF_TYPE_IP,
						       .required = true,
						       .help = "The witness's address."},
	{.name = "port",
		.type = CONF_TYPE_COUNT,
		.fallback = "4243",
		.min = 1,
		.max = 65535,
		.help = "UDP port, on the witness and on the nodes."},
	{.name = "path",
		.type = CONF_TYPE_NAME,
		.help = "The path whose addresses the nodes use towards it; by default the first."},
	{0}};

const struct conf_key conf_failover_keys[] = {
	{.name = "nodes",
		.type = CONF_TYPE_NAMED,
		.required = true,
		.noun = "node",
		.min = 2,
		.max = 2,
		.value = ROW(.type = CONF_TYPE_MAP, .keys = node_keys, .help = "A node."),
		.help = "The two boxes of the pair, by name."},
	{.name = "protocol",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("tandem", "vrrp3"),
		.fallback = "tandem",
		.help = "What the nodes speak: Tandem's own, or VRRP version 3 (RFC 9568) with a "
			"peer such as keepalived."},
	{.name = "secret_file",
		.type = CONF_TYPE_FILE,
		.help = "File whose content authenticates the heartbeats; the same on both nodes. "
			"Required, but for vrrp3 alone: with VRRP the nodes need it to know each "
			"other's clients."},
	{.name = "old_secret_file",
		.type = CONF_TYPE_FILE,
		.help = "Secret that is accepted as well, while secret_file is being changed."},
	{.name = "port",
		.type = CONF_TYPE_COUNT,
		.fallback = "4242",
		.min = 1,
		.max = 65535,
		.help = "UDP port of the heartbeats, and TCP port of the copied state."},
	{.name = "profile",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("fast", "default", "relaxed"),
		.fallback = "default",
		.help = "Set of times: 80 ms, 400 ms or 1.5 s to notice a dead node."},
	{.name = "times",
		.type = CONF_TYPE_MAP,
		.keys = times_keys,
		.help = "Single times that differ from the profile's."},
	{.name = "fence",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("auto", "kernel", "netlink", "address"),
		.fallback = "auto",
		.help = "What keeps a node from using addresses that it lost: packet rules whose "
			"lease our heartbeats renew (kernel), or the agent itself (netlink), or "
			"only the addresses' short life; auto: the best that works."},
	{.name = "gateway",
		.type = CONF_TYPE_IP,
		.help = "Router that a node must reach to count as well."},
	{.name = "groups",
		.type = CONF_TYPE_NAMED,
		.required = true,
		.noun = "group",
		.min = 1,
		.max = 32,
		.value = ROW(.type = CONF_TYPE_MAP, .keys = group_keys, .help = "A group."),
		.help = "Sets of addresses that move together, by name."},
	{.name = "witness",
		.type = CONF_TYPE_MAP,
		.keys = witness_keys,
		.short_for = "address",
		.help = "A third box running tandem-failover --witness, asked before a claim on a "
			"silent peer: without its promise there is none."},

	HOOKS_ROW("10s"), {0}};
