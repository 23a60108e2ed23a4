/*
 * All keys of the file, for both daemons. To add one: a row here; the checks and the man page
 * follow.
 */
#include "shared/conf_schema.h"

#include <stdio.h>

#include "shared/assert.h"

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define KEYS(...) ((const struct conf_key[]){__VA_ARGS__, {0}})
#define ROW(...) (&(const struct conf_key){__VA_ARGS__})
#define LATER(key_name, what, instead)                                                 \
	{                                                                              \
		.name = key_name, .type = CONF_TYPE_TEXT, .later = true, .help = what, \
		.hint = instead                                                        \
	}
#define MS NS_PER_MS
#define S NS_PER_S
#define HOUR (3600 * NS_PER_S)

const char *conf_type_name(enum conf_type type)
{
	static const char *const names[] = {
#define X(name, text) [CONF_TYPE_##name] = text,
		CONF_TYPES(X)
#undef X
	};

	ASSERT(type < countof(names));
	return names[type];
}

/* The same keys at the top, where they have defaults, and narrower, where what is not written
 * stays. */
#define TIMEOUTS(X)                                                                     \
	X("head", "10s", "For the whole head of a request to arrive.")                  \
	X("body", "30s", "Between two pieces of a request's body.")                     \
	X("idle", "60s", "A client's connection between two requests.")                 \
	X("h2_idle", "3m", "A client's HTTP/2 connection without requests.")            \
	X("send", "30s", "A client, or server, that takes nothing of what is sent.")    \
	X("connect", "5s", "For a connection to a server.")                             \
	X("first_byte", "60s", "From the end of a request to the server's first byte.") \
	X("between_bytes", "60s", "Between two pieces of a response.")                  \
	X("tunnel", "1h", "A tunnel (WebSocket) on which nothing moves.")               \
	X("half_closed", "30s", "The same, once one side has ended its bytes.")         \
	X("queue", "10s", "For a request to wait for a server.")                        \
	X("server_idle", "4s", "A server's connection between two requests.")           \
	X("drain", "30s", "For running requests to end after a stop or reload.")
#define TIMEOUT(key_name, default_text, what) \
	{.name = key_name,                    \
		.type = CONF_TYPE_DURATION,   \
		.fallback = default_text,     \
		.min = 10 * MS,               \
		.max = 168 * HOUR,            \
		.help = what},
#define TIMEOUT_NARROW(key_name, default_text, what) \
	{.name = key_name,                           \
		.type = CONF_TYPE_DURATION,          \
		.min = 10 * MS,                      \
		.max = 168 * HOUR,                   \
		.help = what},

static const struct conf_key timeouts[] = {TIMEOUTS(TIMEOUT){0}};
static const struct conf_key timeouts_narrow[] = {TIMEOUTS(TIMEOUT_NARROW){0}};
#define TIMEOUTS_ROW(where)                                                         \
	{                                                                           \
		.name = "timeouts", .type = CONF_TYPE_MAP, .keys = timeouts_narrow, \
		.help = "As at the top of the file, for " where "."                 \
	}

/* --- failover -------------------------------------------------------------------------------- */

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

static const struct conf_key failover_keys[] = {
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
			"Required, but for vrrp3 alone."},
	{.name = "old_secret_file",
		.type = CONF_TYPE_FILE,
		.help = "Secret that is accepted as well, while secret_file is being changed."},
	{.name = "port",
		.type = CONF_TYPE_COUNT,
		.fallback = "4242",
		.min = 1,
		.max = 65535,
		.help = "UDP port of the heartbeats."},
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

/* --- listeners ------------------------------------------------------------------------------- */

#define VALUES_HELP                                                                          \
	"the value, or a list of which one will do; \"*\" is any value, \"~ ^a\" a regular " \
	"expression."
static const struct conf_key value_row = {.type = CONF_TYPE_TEXT, .max = 4096, .help = "A value."};
static const struct conf_key values_row = {.type = CONF_TYPE_LIST,
	.min = 1,
	.max = 64,
	.value = &value_row,
	.help = "A value, or several of which one will do."};
static const struct conf_key match_keys[] = {
	{.name = "host",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 64,
		.value = ROW(.type = CONF_TYPE_HOST, .wild = true, .help = "A host."),
		.help = "Host that the request names: shop.example.com, or *.example.com for all "
			"below it; or one of a list."},
	{.name = "path",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 64,
		.value = ROW(.type = CONF_TYPE_PATH, .wild = true, .help = "A path."),
		.help = "Path of the request: /x exactly, or /x/* for all below it; or one of a "
			"list. Or a regular expression that is found in it, such as \"~ "
			"^/u/([0-9]+)$\"; its groups are $1 to $9 in the route's texts."},
	{.name = "method",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_METHOD, .help = "A method."),
		.help = "Request methods, such as [GET, HEAD]."},
	{.name = "header",
		.type = CONF_TYPE_NAMED,
		.noun = "header",
		.min = 1,
		.max = 16,
		.value = &values_row,
		.help = "Header fields by name, such as {x-beta: \"yes\"}: " VALUES_HELP},
	{.name = "cookie",
		.type = CONF_TYPE_NAMED,
		.noun = "cookie",
		.min = 1,
		.max = 16,
		.value = &values_row,
		.help = "Cookies by name: " VALUES_HELP},
	{.name = "query",
		.type = CONF_TYPE_NAMED,
		.noun = "parameter",
		.min = 1,
		.max = 16,
		.value = &values_row,
		.help = "Parameters of the query by name, compared as they were "
			"sent: " VALUES_HELP},
	{.name = "client",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 1024,
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "A network."),
		.help = "Networks, one of which the client is in; behind trusted_proxies that is "
			"the client they tell of."},
	{.name = "location",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 300,
		.value = ROW(.type = CONF_TYPE_TEXT, .max = 255, .help = "A word."),
		.help = "Words, one of which the client's location is, such as [DE, AT]; see "
			"'location' at the top of the file; \"*\" is any that is known."},
	{.name = "content_type",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 64,
		.value = ROW(.type = CONF_TYPE_TEXT, .max = 255, .help = "A media type."),
		.help = "Media types of the request's content: application/json, or image/* for "
			"all that begin so; without parameters."},
	{.name = "upgrade",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_NAME, .words = WORDS("*"), .help = "A protocol."),
		.help = "Protocols that the request asks to change to, such as websocket; \"*\" "
			"is any."},
	{0}};

static const struct conf_key pool_name = {
	.type = CONF_TYPE_REF, .ref = "pools", .noun = "pool", .help = "Name of a pool."};
static const struct conf_key weighted_pools = {.type = CONF_TYPE_NAMED,
	.noun = "pool",
	.min = 1,
	.max = 64,
	.value = ROW(.type = CONF_TYPE_SHARE, .help = "Its share: 90%, or a number."),
	.help = "Pools by name with the share of requests that each gets: percentages that make "
		"100, or numbers that count against each other."};

/* Of a listener, where the rates have defaults, and narrower of a route. */
#define CONTENT_LIMITS(default_rate)                                                          \
	{.name = "request_body",                                                              \
		.type = CONF_TYPE_SIZE,                                                       \
		.min = 1,                                                                     \
		.max = UINT64_C(1) << 50,                                                     \
		.help = "Largest body of a request; more is answered with 413; no limit "     \
			"when not written."},                                                 \
		{.name = "body_rate",                                                         \
			.type = CONF_TYPE_BYTE_RATE,                                          \
			.words = WORDS("off"),                                                \
			.fallback = default_rate,                                             \
			.min = 1,                                                             \
			.max = 1 << 30,                                                       \
			.help = "A request's body must come at least as fast, measured over " \
				"each timeouts.body of waiting for it; else 408."},           \
	{                                                                                     \
		.name = "send_rate", .type = CONF_TYPE_BYTE_RATE, .words = WORDS("off"),      \
		.fallback = default_rate, .min = 1, .max = 1 << 30,                           \
		.help = "A client must take a response at least as fast, measured over each " \
			"timeouts.send of waiting for it; else it is cut."                    \
	}

static const struct conf_key route_limits_keys[] = {CONTENT_LIMITS(NULL), {0}};

#define ACCESS_ROWS(who)                                                                         \
	{.name = "allow",                                                                        \
		.type = CONF_TYPE_LIST,                                                          \
		.min = 1,                                                                        \
		.max = 65536,                                                                    \
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "A network."),                      \
		.help = "Networks whose clients may come " who ", and no others do: the rest "   \
			"gets 403. Behind trusted_proxies the client is the one they tell of."}, \
	{                                                                                        \
		.name = "deny", .type = CONF_TYPE_LIST, .min = 1, .max = 65536,                  \
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "A network."),                      \
		.help = "Networks whose clients get 403 " who ", whatever 'allow' says."         \
	}

static const struct conf_key redirect_keys[] = {
	{.name = "to",
		.type = CONF_TYPE_TEXT,
		.required = true,
		.max = 4096,
		.help = "Where to: a URL or a path with {scheme}, {host}, {path}, {query} (with "
			"its ?), {client} and $1 to $9; or https: the same URL with https."},
	{.name = "status",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("301", "302", "303", "307", "308"),
		.help = "Status of the answer: 308 for https, else 302."},
	{0}};

static const struct conf_key field_text = {
	.type = CONF_TYPE_TEXT, .max = 8192, .help = "The value."};
static const struct conf_key respond_keys[] = {{.name = "status",
						       .type = CONF_TYPE_COUNT,
						       .fallback = "200",
						       .min = 200,
						       .max = 599,
						       .help = "Status of the answer."},
	{.name = "body",
		.type = CONF_TYPE_TEXT,
		.lines = true,
		.max = 65536,
		.help = "Content of the answer; without it the status in words."},
	{.name = "content_type",
		.type = CONF_TYPE_TEXT,
		.fallback = "text/plain; charset=utf-8",
		.max = 255,
		.help = "Media type of the content."},
	{.name = "headers",
		.type = CONF_TYPE_NAMED,
		.noun = "header",
		.max = 64,
		.value = &field_text,
		.help = "Further fields of the answer, such as {retry-after: 120}."},
	{0}};

static const struct conf_key edits_keys[] = {
	{.name = "set",
		.type = CONF_TYPE_NAMED,
		.noun = "header",
		.max = 64,
		.value = &field_text,
		.help = "Fields that take the place of those of the same name."},
	{.name = "add",
		.type = CONF_TYPE_NAMED,
		.noun = "header",
		.max = 64,
		.value = &field_text,
		.help = "Fields that come beside those of the same name."},
	{.name = "remove",
		.type = CONF_TYPE_LIST,
		.max = 64,
		.value = ROW(.type = CONF_TYPE_NAME, .noun = "header", .help = "A field's name."),
		.help = "Names of fields that go."},
	{0}};

static const struct conf_key replace_keys[] = {
	{.name = "pattern",
		.type = CONF_TYPE_TEXT,
		.required = true,
		.max = 4096,
		.help = "Regular expression; what it finds first in the path is replaced."},
	{.name = "with",
		.type = CONF_TYPE_TEXT,
		.required = true,
		.max = 4096,
		.help = "What comes there, with the words of 'redirect'; $1 to $9 are the groups "
			"of 'pattern'."},
	{0}};

static const struct conf_key rewrite_keys[] = {
	{.name = "path",
		.type = CONF_TYPE_TEXT,
		.max = 4096,
		.help = "The whole path as the server gets it, with the words of 'redirect'."},
	{.name = "strip_prefix",
		.type = CONF_TYPE_PATH,
		.help = "Beginning of the path, in whole segments, that the server does not get."},
	{.name = "replace",
		.type = CONF_TYPE_MAP,
		.keys = replace_keys,
		.help = "A part of the path becomes another, after strip_prefix."},
	{.name = "add_prefix",
		.type = CONF_TYPE_PATH,
		.help = "What comes before the path, in the end."},
	{.name = "host",
		.type = CONF_TYPE_TEXT,
		.max = 260,
		.help = "Host that the server gets, host or host:port; X-Forwarded-Host has the "
			"client's."},
	{.name = "request_headers",
		.type = CONF_TYPE_MAP,
		.keys = edits_keys,
		.help = "Changes to the request's fields; values may have the words of "
			"'redirect'."},
	{.name = "response_headers",
		.type = CONF_TYPE_MAP,
		.keys = edits_keys,
		.help = "Changes to the response's fields."},
	{0}};

static const struct conf_key route_keys[] = {
	{.name = "match",
		.type = CONF_TYPE_MAP,
		.keys = match_keys,
		.help = "What a request must be for this route; all of it must agree, nothing "
			"written takes all."},
	{.name = "pool",
		.type = CONF_TYPE_EITHER,
		.shapes = {[CONF_SCALAR] = &pool_name, [CONF_MAP] = &weighted_pools},
		.help = "Pool that gets the request; or several: {web: 90%, web-next: 10%}, of "
			"which each request draws one."},
	{.name = "redirect",
		.type = CONF_TYPE_MAP,
		.keys = redirect_keys,
		.short_for = "to",
		.help = "Sends the client elsewhere; https, a URL or a path is short for {to: "
			"...}."},
	{.name = "respond",
		.type = CONF_TYPE_MAP,
		.keys = respond_keys,
		.short_for = "status",
		.help = "Answers without a server; 503 is short for {status: 503}."},
	{.name = "rewrite",
		.type = CONF_TYPE_MAP,
		.keys = rewrite_keys,
		.help = "What the server gets, and the client back, in other words."},
	{.name = "priority",
		.type = CONF_TYPE_ENUM,
		.words = WORDS(
			"low", "normal", "high", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
		.fallback = "normal",
		.help = "Who goes first of those who wait for a server: 9 before 0; low is 2, "
			"normal 5, high 8. Each step is worth a second of waiting, so nobody waits "
			"for ever."},
	ACCESS_ROWS("here"),
	{.name = "limits",
		.type = CONF_TYPE_MAP,
		.keys = route_limits_keys,
		.help = "As in the listener, for this route."},
	TIMEOUTS_ROW("this route"), LATER("limit", "rate limit", NULL),
	LATER("cache", "cache", NULL), LATER("compress", "compression", NULL), {0}};

static const struct conf_key limits_keys[] = {
	{.name = "connections",
		.type = CONF_TYPE_COUNT,
		.min = 1,
		.max = UINT32_MAX,
		.help = "Client connections at a time; no limit when not written."},
	{.name = "connections_per_client",
		.type = CONF_TYPE_COUNT,
		.min = 1,
		.max = UINT32_MAX,
		.help = "Connections at a time from one address (IPv6: from one /64), but for "
			"trusted_proxies; more are closed at once; no limit when not written."},
	{.name = "request_head",
		.type = CONF_TYPE_SIZE,
		.fallback = "32KiB",
		.min = 1024,
		.max = 56 << 10, /* and trailers, in one buffer */
		.help = "Largest head of a request; more is answered with 431."},
	CONTENT_LIMITS("500B/s"),
	{.name = "fields",
		.type = CONF_TYPE_COUNT,
		.fallback = "100",
		.min = 1,
		.max = 128,
		.help = "Most header fields of a request; more are answered with 431."},
	{.name = "h2_streams",
		.type = CONF_TYPE_COUNT,
		.fallback = "128",
		.min = 1,
		.max = 10000,
		.help = "Requests at a time on one HTTP/2 connection."},
	{.name = "h2_stream_window",
		.type = CONF_TYPE_SIZE,
		.fallback = "64KiB",
		.min = 16384,
		.max = 16 << 20,
		.help = "Content of one HTTP/2 request that may wait here for its server."},
	{.name = "h2_connection_window",
		.type = CONF_TYPE_SIZE,
		.fallback = "1MiB",
		.min = 65535,
		.max = 256 << 20,
		.help = "The same of all requests of a connection together."},
	{.name = "h2_frame",
		.type = CONF_TYPE_SIZE,
		.fallback = "16KiB",
		.min = 16384,
		.max = 1 << 20,
		.help = "Largest HTTP/2 frame that a client may send."},
	{0}};

static const struct conf_key proxy_protocol_keys[] = {
	{.name = "from",
		.type = CONF_TYPE_LIST,
		.required = true,
		.min = 1,
		.max = 1024,
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "A network."),
		.help = "Networks of the proxies that say so. Their connections must begin with "
			"a header of version 1 or 2; from all others a header is not taken for "
			"one."},
	{0}};

static const struct conf_key certificate_keys[] = {
	{.name = "cert",
		.type = CONF_TYPE_FILE,
		.required = true,
		.help = "File in PEM form: the certificate, then its chain."},
	{.name = "key",
		.type = CONF_TYPE_FILE,
		.help = "File with its private key; not written: in the same file."},
	{0}};
static const struct conf_key certificates_directory = {.type = CONF_TYPE_FILE,
	.help = "Directory: NAME.crt, .cert or .pem with NAME.key beside it or inside, and "
		"subdirectories with fullchain.pem and privkey.pem."};
static const struct conf_key certificate = {.type = CONF_TYPE_MAP,
	.keys = certificate_keys,
	.short_for = "cert",
	.noun = "certificate",
	.help = "A certificate."};
static const struct conf_key certificates_list = {.type = CONF_TYPE_LIST,
	.min = 1,
	.max = 1000,
	.value = &certificate,
	.help = "Certificates; the first is for clients that name no host."};

static const struct conf_key listener_tls_keys[] = {
	{.name = "certificates",
		.type = CONF_TYPE_EITHER,
		.required = true,
		.shapes = {[CONF_SCALAR] = &certificates_directory,
			[CONF_MAP] = &certificate,
			[CONF_LIST] = &certificates_list},
		.help = "A directory, or a list of {cert: FILE, key: FILE}. The one for the host "
			"that the client names is taken, of several kinds of key what it can "
			"check."},
	{.name = "min_version",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("1.2", "1.3"),
		.fallback = "1.2",
		.help = "Oldest version of TLS that is spoken."},
	{.name = "ciphers",
		.type = CONF_TYPE_TEXT,
		.help = "Ciphers as OpenSSL names them, with colons in between, ours to choose by; "
			"not written: ECDHE with AES-GCM or ChaCha20."},
	{.name = "client_ca",
		.type = CONF_TYPE_FILE,
		.help = "Certificates in PEM form that clients' certificates are checked against."},
	{.name = "client_auth",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("none", "optional", "required"),
		.fallback = "none",
		.help = "Ask clients for a certificate: optional lets everybody in, and tells "
			"servers what came of it (X-Client-Cert-Verify)."},
	{.name = "hsts",
		.type = CONF_TYPE_DURATION,
		.min = S,
		.max = 10 * 365 * 24 * HOUR,
		.help = "For so long browsers are to come with TLS only "
			"(Strict-Transport-Security); not written: nothing is said."},
	{.name = "ocsp",
		.type = CONF_TYPE_FILE,
		.words = WORDS("auto"),
		.help = "Staple what says that the certificate is not revoked: a file with an OCSP "
			"response, read again when it changes, or auto: asked of the "
			"certificate's responder."},
	{0}};

static const struct conf_key listener_keys[] = {
	{.name = "bind",
		.type = CONF_TYPE_LIST,
		.required = true,
		.min = 1,
		.max = 64,
		.value = ROW(.type = CONF_TYPE_ADDRESS, .help = "Address and port."),
		.help = "Where to listen: \":80\" for all addresses, \"10.0.0.100:80\", "
			"\"[::1]:80\"."},
	{.name = "mode",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("http", "tcp", "tls_passthrough"),
		.fallback = "http",
		.help = "What is spoken here: HTTP; anything over TCP, which is passed on as it "
			"comes; or TLS, which is passed on too, by the name that the client asks "
			"for ('match: {host}')."},
	{.name = "routes",
		.type = CONF_TYPE_LIST,
		.noun = "route",
		.min = 1,
		.value = ROW(.type = CONF_TYPE_MAP, .keys = route_keys, .noun = "route",
			.help = "A route."),
		.help = "Where requests go; the first route that matches wins."},
	{.name = "pool",
		.type = CONF_TYPE_REF,
		.ref = "pools",
		.noun = "pool",
		.help = "Short for one route that takes all."},
	{.name = "trusted_proxies",
		.type = CONF_TYPE_LIST,
		.max = 1024,
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "A network."),
		.help = "Networks whose X-Forwarded fields are believed."},
	{.name = "path",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("normalize", "reject", "raw"),
		.fallback = "normalize",
		.help = "What to do with paths that can be written shorter: make them normal, "
			"answer 400, "
			"or pass them on as they are."},
	{.name = "limits",
		.type = CONF_TYPE_MAP,
		.keys = limits_keys,
		.help = "What a client may send."},
	TIMEOUTS_ROW("this listener"),
	{.name = "via",
		.type = CONF_TYPE_NAME,
		.words = WORDS("off"),
		.max = 64,
		.help = "Name in the Via field, which finds loops; not written: one made from the "
			"configuration, the same on both boxes."},
	{.name = "tls",
		.type = CONF_TYPE_MAP,
		.keys = listener_tls_keys,
		.help = "TLS is spoken here."},
	{.name = "h2",
		.type = CONF_TYPE_BOOL,
		.fallback = "true",
		.help = "HTTP/2 is offered to clients that come with TLS."},
	{.name = "h2c",
		.type = CONF_TYPE_BOOL,
		.fallback = "false",
		.help = "HTTP/2 in clear text too, for clients that begin with it (prior "
			"knowledge)."},
	{.name = "proxy_protocol",
		.type = CONF_TYPE_MAP,
		.keys = proxy_protocol_keys,
		.help = "Proxies in front of us say whose a connection is (the PROXY protocol)."},
	{.name = "redirect",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("https"),
		.help = "Requests that no route takes are sent to the same host and path over TLS, "
			"where a listener has that."},
	ACCESS_ROWS("in at all"), {0}};

/* --- pools ----------------------------------------------------------------------------------- */

static const struct conf_key server_keys[] = {{.name = "address",
						      .type = CONF_TYPE_ENDPOINT,
						      .required = true,
						      .help = "IP address and port, or a host's "
							      "name and port: then it is the "
							      "address that DNS has for it."},
	{.name = "weight",
		.type = CONF_TYPE_COUNT,
		.fallback = "1",
		.min = 1,
		.max = 256,
		.help = "Share of the requests, relative to the other servers."},
	{.name = "backup",
		.type = CONF_TYPE_BOOL,
		.fallback = "false",
		.help = "Used only while no other server of the pool can be."},
	{.name = "zone",
		.type = CONF_TYPE_NAME,
		.help = "Where it is; a node prefers the servers of its own zone."},
	{.name = "enabled",
		.type = CONF_TYPE_BOOL,
		.fallback = "true",
		.help = "false: it belongs to the pool, but gets no traffic and no checks."},
	{0}};

static const struct conf_key agent_keys[] = {
	{.name = "port",
		.type = CONF_TYPE_COUNT,
		.required = true,
		.min = 1,
		.max = 65535,
		.help = "Where it listens, at the server's address."},
	{.name = "every",
		.type = CONF_TYPE_DURATION,
		.fallback = "2s",
		.min = 50 * MS,
		.max = HOUR,
		.help = "Between two connections to it."},
	{.name = "timeout",
		.type = CONF_TYPE_DURATION,
		.fallback = "1s",
		.min = 10 * MS,
		.max = 60 * S,
		.help = "For its line to come."},
	{0}};

static const struct conf_key health_keys[] = {
	{.name = "http", .type = CONF_TYPE_PATH, .help = "Path to ask for."},
	{.name = "tcp", .type = CONF_TYPE_BOOL, .fallback = "false", .help = "Only connect."},
	{.name = "expect",
		.type = CONF_TYPE_LIST,
		.fallback = "200-399",
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_STATUS, .help = "A status, or a range."),
		.help = "Statuses of a server that is well: 200, or [200, 300-399]."},
	{.name = "method",
		.type = CONF_TYPE_METHOD,
		.fallback = "GET",
		.help = "Method to ask with."},
	{.name = "host",
		.type = CONF_TYPE_HOST,
		.help = "Host to ask for; the server's address when not written."},
	{.name = "port",
		.type = CONF_TYPE_COUNT,
		.min = 1,
		.max = 65535,
		.help = "Port to ask at; the server's own when not written."},
	{.name = "every",
		.type = CONF_TYPE_DURATION,
		.fallback = "2s",
		.min = 50 * MS,
		.max = HOUR,
		.help = "Between two checks."},
	{.name = "timeout",
		.type = CONF_TYPE_DURATION,
		.fallback = "1s",
		.min = 10 * MS,
		.max = 60 * S,
		.help = "For one check, from connecting to the answer."},
	{.name = "rise",
		.type = CONF_TYPE_COUNT,
		.fallback = "2",
		.min = 1,
		.max = 100,
		.help = "Passed checks in a row that bring a server back."},
	{.name = "fall",
		.type = CONF_TYPE_COUNT,
		.fallback = "3",
		.min = 1,
		.max = 100,
		.help = "Failed checks in a row that take a server out."},
	{.name = "grpc",
		.type = CONF_TYPE_TEXT,
		.max = 200,
		.help = "Service to ask grpc.health.v1.Health for; \"*\" for the server as a "
			"whole. "
			"HTTP/2 in clear text."},
	{.name = "body",
		.type = CONF_TYPE_TEXT,
		.min = 1,
		.max = 200,
		.help = "What the content of the answer must have in its first 64 KiB: a text, or "
			"a "
			"regular expression behind ~."},
	{.name = "headers",
		.secret = true,
		.type = CONF_TYPE_NAMED,
		.noun = "header",
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_TEXT, .max = 500, .help = "Its value."),
		.help = "Fields to ask with, such as {Authorization: \"Bearer x\"}."},
	{.name = "agent",
		.type = CONF_TYPE_MAP,
		.keys = agent_keys,
		.help = "A program on each server's machine that says a line about it: 75%, up, "
			"drain, maint, down #reason. With http, tcp or grpc, or alone."},
	{0}};

static const struct conf_key retry_keys[] = {
	{.name = "attempts",
		.type = CONF_TYPE_COUNT,
		.fallback = "3",
		.min = 1,
		.max = 10,
		.help = "Tries in all for one request, the first included."},
	{.name = "on",
		.type = CONF_TYPE_LIST,
		.fallback = "[connect, stale_connection]",
		.max = 16,
		.value = ROW(.type = CONF_TYPE_ENUM,
			.words = WORDS("connect", "stale_connection", "reset", "first_byte", "429",
				"500", "502", "503", "504"),
			.help = "A failure."),
		.help = "Failures after which another try is made: no connection; a kept "
			"connection that was closed before any byte of the response; a connection "
			"that was closed or reset before the response; no response in time; a "
			"status. What was sent already is sent again only for GET, HEAD, OPTIONS, "
			"PUT and DELETE, and while the content is still held (64 KiB, the head "
			"included)."},
	{.name = "retry_unsafe_methods",
		.type = CONF_TYPE_BOOL,
		.fallback = "false",
		.help = "Whether reset, first_byte and statuses hold for POST, PATCH and unknown "
			"methods too: a server may then do the same thing twice."},
	{0}};

static const struct conf_key all_down_word = {.type = CONF_TYPE_ENUM,
	.words = WORDS("try", "503"),
	.fallback = "try",
	.help = "Either word."};
static const struct conf_key stand_in_keys[] = {{.name = "pool",
							.type = CONF_TYPE_REF,
							.required = true,
							.ref = "pools",
							.noun = "pool",
							.help = "Name of a pool."},
	{0}};
static const struct conf_key all_down_pool = {.type = CONF_TYPE_MAP,
	.keys = stand_in_keys,
	.help = "Another pool gets the traffic meanwhile."};

static const struct conf_key pool_limits_keys[] = {
	{.name = "connections_per_server",
		.type = CONF_TYPE_COUNT,
		.min = 1,
		.max = 1000000,
		.help = "Requests that a server has at a time, over all workers; further ones "
			"wait. No limit when not written."},
	{.name = "queue",
		.type = CONF_TYPE_COUNT,
		.fallback = "1024",
		.min = 0,
		.max = 1000000,
		.help = "Requests that wait for a server; more are answered with 503."},
	{.name = "queue_timeout",
		.type = CONF_TYPE_DURATION,
		.min = 10 * MS,
		.max = HOUR,
		.help = "For a request to wait, then it is answered with 503; timeouts.queue when "
			"not written."},
	{0}};

static const struct conf_key passive_keys[] = {
	{.name = "failures",
		.type = CONF_TYPE_COUNT,
		.fallback = "5",
		.min = 1,
		.max = 1000,
		.help = "Failed requests in a row that put a server aside: no connection, no "
			"answer in time, a reset, or status 502, 503 or 504."},
	{.name = "eject",
		.type = CONF_TYPE_DURATION,
		.fallback = "10s",
		.min = S,
		.max = 300 * S,
		.help = "For how long, the first time; the nth time in a row n times that, at most "
			"300s."},
	{.name = "max_ejected",
		.type = CONF_TYPE_PERCENT,
		.fallback = "50%",
		.help = "Most of the pool's servers that are put aside for this at a time; never "
			"the last that can be used."},
	{0}};

static const struct conf_key sticky_keys[] = {
	{.name = "cookie",
		.type = CONF_TYPE_NAME,
		.required = true,
		.help = "Name of the cookie; not one that an application uses itself."},
	{.name = "max_age",
		.type = CONF_TYPE_DURATION,
		.min = S,
		.max = 365 * 24 * HOUR,
		.help = "How long a browser keeps it, from when it was given; until it is closed "
			"when not written."},
	{0}};

static const struct conf_key register_keys[] = {
	{.name = "token_file",
		.type = CONF_TYPE_FILE,
		.required = true,
		.help = "File with the secret that servers show, 16 to 4096 bytes."},
	{.name = "lease",
		.type = CONF_TYPE_DURATION,
		.fallback = "10s",
		.min = S,
		.max = HOUR,
		.help = "For how long a server counts after it was heard, where it does not say "
			"so itself."},
	{0}};

static const struct conf_key discover_keys[] = {
	{.name = "dns",
		.type = CONF_TYPE_TEXT,
		.help = "A name to follow: _service._proto.name for SRV, or name:port for all "
			"addresses of a host."},
	{.name = "file",
		.type = CONF_TYPE_FILE,
		.help = "A list of servers as Prometheus' file_sd has it, YAML or JSON; its "
			"changes are noticed."},
	{.name = "register",
		.type = CONF_TYPE_MAP,
		.keys = register_keys,
		.help = "Servers say themselves that they are there, at the admin address."},
	{0}};

static const struct conf_key scale_signal_keys[] = {
	{.name = "in_flight",
		.type = CONF_TYPE_PERCENT,
		.help = "Requests that the servers have, of limits.connections_per_server."},
	{.name = "queue",
		.type = CONF_TYPE_COUNT,
		.min = 1,
		.max = 1000000,
		.help = "Requests that wait for a server."},
	{.name = "p99",
		.type = CONF_TYPE_DURATION,
		.min = MS,
		.max = 60 * S,
		.help = "Time to a server's first byte that 99 of 100 requests keep within."},
	{.name = "load",
		.type = CONF_TYPE_PERCENT,
		.help = "The mean of what registered servers tell of themselves."},
	{0}};

static const struct conf_key scale_keys[] = {{.name = "min",
						     .type = CONF_TYPE_COUNT,
						     .fallback = "1",
						     .min = 1,
						     .max = 10000,
						     .help = "Fewest servers."},
	{.name = "max",
		.type = CONF_TYPE_COUNT,
		.required = true,
		.min = 1,
		.max = 10000,
		.help = "Most servers."},
	{.name = "signals",
		.type = CONF_TYPE_MAP,
		.required = true,
		.keys = scale_signal_keys,
		.help = "Targets: above any of them more servers are wanted, far below all of them "
			"fewer."},
	{.name = "for",
		.type = CONF_TYPE_DURATION,
		.fallback = "30s",
		.min = S,
		.max = HOUR,
		.help = "So long it must have been so."},
	{.name = "cooldown",
		.type = CONF_TYPE_DURATION,
		.fallback = "2m",
		.min = S,
		.max = 24 * HOUR,
		.help = "Between two changes."},
	{.name = "exec",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_TEXT, .help = "The program, then its arguments."),
		.help = "Program that the agent runs for it."},
	{.name = "webhook",
		.type = CONF_TYPE_TEXT,
		.help = "URL that gets {pool, want, why} as JSON by POST."},
	{0}};

static const struct conf_key pool_tls_keys[] = {
	{.name = "ca",
		.type = CONF_TYPE_FILE,
		.help = "Certificates in PEM form that servers' certificates are checked against; "
			"not written: those that the system trusts."},
	{.name = "server_name",
		.type = CONF_TYPE_HOST,
		.help = "The name that the certificates must have, which is asked for (SNI); not "
			"written: the host's name in the server's address, else the name in "
			"'discover.dns', else the address."},
	{.name = "verify",
		.type = CONF_TYPE_BOOL,
		.fallback = "true",
		.help = "Whether a server must prove who it is; false: anybody in between can read "
			"and change what passes."},
	{.name = "cert",
		.type = CONF_TYPE_FILE,
		.help = "File in PEM form: our own certificate, for servers that ask for one, then "
			"its chain."},
	{.name = "key",
		.type = CONF_TYPE_FILE,
		.help = "File with its private key; not written: in the same file."},
	{0}};
static const struct conf_key pool_tls_word = {.type = CONF_TYPE_BOOL, .help = "On or off."};
static const struct conf_key pool_tls = {
	.type = CONF_TYPE_MAP, .keys = pool_tls_keys, .help = "On, and how."};

static const struct conf_key pool_keys[] = {
	{.name = "balance",
		.type = CONF_TYPE_BALANCE,
		.words = WORDS("least_requests", "round_robin", "random", "least_time"),
		.fallback = "least_requests",
		.help = "How a server is chosen: the one with the fewest requests for its weight, "
			"each in its turn, one drawn at random, the one that is likely to answer "
			"first, or the same for the same client_ip, header:NAME, cookie:NAME, "
			"query:NAME, path or host."},
	{.name = "servers",
		.type = CONF_TYPE_NAMED,
		.noun = "server",
		.max = 10000,
		.value = ROW(.type = CONF_TYPE_MAP, .keys = server_keys, .short_for = "address",
			.help = "A server, or only its address."),
		.help = "Servers by name; \"10.0.2.31:8080\" is short for {address: "
			"\"10.0.2.31:8080\"}. {} when all are added while it runs."},
	{.name = "health",
		.type = CONF_TYPE_MAP,
		.keys = health_keys,
		.help = "How to find out whether a server is well; without it only its failures "
			"count."},
	{.name = "retry",
		.type = CONF_TYPE_MAP,
		.keys = retry_keys,
		.help = "When another server is tried."},
	{.name = "when_all_down",
		.type = CONF_TYPE_EITHER,
		.fallback = "try",
		.shapes = {[CONF_SCALAR] = &all_down_word, [CONF_MAP] = &all_down_pool},
		.help = "With no server that is well: try one all the same, answer 503, or send "
			"the traffic to another pool: {pool: NAME}."},
	{.name = "passive",
		.type = CONF_TYPE_MAP,
		.keys = passive_keys,
		.help = "When traffic that fails puts a server aside."},
	{.name = "slow_start",
		.type = CONF_TYPE_DURATION,
		.min = S,
		.max = HOUR,
		.help = "A server that comes back or is added gets a tenth of its share at first "
			"and "
			"all of it after this time, beside others that serve already."},
	{.name = "limits",
		.type = CONF_TYPE_MAP,
		.keys = pool_limits_keys,
		.help = "What its servers get at a time, and who waits."},
	TIMEOUTS_ROW("this pool"),
	{.name = "protocol",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("h1", "h2"),
		.fallback = "h1",
		.help = "What is spoken to the servers: HTTP/1.1, or HTTP/2, which they must "
			"expect (prior knowledge)."},
	{.name = "tls",
		.type = CONF_TYPE_EITHER,
		.fallback = "false",
		.shapes = {[CONF_SCALAR] = &pool_tls_word, [CONF_MAP] = &pool_tls},
		.help = "TLS is spoken to the servers, checks included; true, or {ca: FILE} and "
			"the like."},
	{.name = "send_proxy",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("v1", "v2"),
		.help = "Tell the servers whose a connection is, with a header of this version of "
			"the PROXY protocol in front of each; then no connection is used for two "
			"requests."},
	{.name = "discover",
		.type = CONF_TYPE_MAP,
		.keys = discover_keys,
		.help = "Where further servers come from."},
	{.name = "scale",
		.type = CONF_TYPE_MAP,
		.keys = scale_keys,
		.help = "Who is told when the pool wants more servers, or needs fewer."},
	{.name = "sticky",
		.type = CONF_TYPE_MAP,
		.keys = sticky_keys,
		.help = "A user stays at one server, which a cookie names, for as long as it can "
			"be "
			"used."},
	{0}};

/* --- the rest -------------------------------------------------------------------------------- */

static const struct conf_key alert_keys[] = {
	{.name = "on",
		.type = CONF_TYPE_LIST,
		.required = true,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_ENUM,
			.words = WORDS("failover", "peer_down", "proxy_down", "failover_alarm",
				"config_mismatch", "witness_down", "server_down", "pool_degraded",
				"pool_down", "cert_expiring"),
			.help = "A kind of alert."),
		.help = "What to tell."},
	{.name = "webhook",
		.type = CONF_TYPE_TEXT,
		.secret = true,
		.help = "URL that gets it as JSON by POST."},
	{.name = "exec",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_TEXT, .help = "The program, then its arguments."),
		.help = "Program that is run for it."},
	{.name = "for",
		.type = CONF_TYPE_DURATION,
		.fallback = "2s",
		.max = 24 * HOUR,
		.help = "A condition must have lasted so long, and its end too."},
	{.name = "at_most",
		.type = CONF_TYPE_RATE,
		.help = "Not more often than this, such as 1 per 5m: what waits is told as it is "
			"by then."},
	{0}};

static const struct conf_key log_keys[] = {{.name = "access",
						   .type = CONF_TYPE_FILE,
						   .words = WORDS("off", "stderr"),
						   .fallback = "off",
						   .help = "Where a line for each request goes."},
	{.name = "format",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("json", "combined"),
		.fallback = "json",
		.help = "Shape of those lines."},
	{.name = "level",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("error", "warning", "notice", "info", "debug"),
		.fallback = "info",
		.help = "What the daemons say on standard error; --log-level wins."},
	LATER("debug", "", "use --debug"), {0}};

static const struct conf_key admin_keys[] = {
	{.name = "bind",
		.type = CONF_TYPE_LIST,
		.required = true,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_ADDRESS, .help = "Address and port."),
		.help = "Addresses to listen on, such as \"127.0.0.1:9000\"."},
	{.name = "allow",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 1000,
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "A network."),
		.help = "Networks whose clients are heard; not written: whoever reaches the "
			"address."},
	{0}};

static const struct conf_key location_keys[] = {
	{.name = "networks",
		.type = CONF_TYPE_FILE,
		.help = "File of lines such as 10.0.0.0/8 office; the narrowest network wins."},
	{.name = "maxmind",
		.type = CONF_TYPE_FILE,
		.help = "MaxMind database, asked where the file of networks says nothing. Replace "
			"it "
			"by renaming."},
	{.name = "field",
		.type = CONF_TYPE_TEXT,
		.fallback = "country.iso_code",
		.max = 255,
		.help = "Which text of the database is the client's location."},
	{0}};

static const struct conf_key top_keys[] = {{.name = "failover",
						   .type = CONF_TYPE_MAP,
						   .keys = failover_keys,
						   .help = "The pair; absent on a single box."},
	{.name = "listeners",
		.type = CONF_TYPE_NAMED,
		.noun = "listener",
		.max = 1000,
		.value = ROW(.type = CONF_TYPE_MAP, .keys = listener_keys, .help = "A listener."),
		.help = "Where clients connect, by name."},
	{.name = "location",
		.type = CONF_TYPE_MAP,
		.keys = location_keys,
		.help = "Who is where: gives a client a word that routes match. The files are read "
			"at "
			"each reload."},
	{.name = "pools",
		.type = CONF_TYPE_NAMED,
		.noun = "pool",
		.max = 100000,
		.value = ROW(.type = CONF_TYPE_MAP, .keys = pool_keys, .help = "A pool."),
		.help = "Groups of servers that do the same, by name."},
	{.name = "workers",
		.type = CONF_TYPE_COUNT,
		.words = WORDS("auto"),
		.fallback = "auto",
		.min = 1,
		.max = 1024,
		.help = "Threads of the proxy; auto: one a core."},
	{.name = "timeouts",
		.type = CONF_TYPE_MAP,
		.keys = timeouts,
		.help = "How long to wait; also narrower, in a listener, a route or a pool."},
	{.name = "log", .type = CONF_TYPE_MAP, .keys = log_keys, .help = "What is written down."},
	{.name = "include",
		.type = CONF_TYPE_LIST,
		.max = 1000,
		.value = ROW(.type = CONF_TYPE_FILE,
			.help = "A file, or a pattern such as conf.d/*.yaml."),
		.help = "Further files, relative to this one; their top keys are added to this "
			"file's."},
	{.name = "admin",
		.type = CONF_TYPE_MAP,
		.keys = admin_keys,
		.short_for = "bind",
		.help = "Where monitoring asks: /healthz, /status and /metrics over HTTP."},
	{.name = "alerts",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_MAP, .keys = alert_keys, .noun = "alert",
			.help = "An alert."),
		.help = "Who is told of what; the agent sends it."},
	{.name = "resolvers",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_ADDRESS, .help = "Address and port."),
		.help = "DNS servers to ask, such as \"10.0.0.53:53\"; the system's when not "
			"written."},
	{0}};

const struct conf_key conf_schema = {.type = CONF_TYPE_MAP, .keys = top_keys, .help = "The file."};

const struct conf_key *conf_key_find(const struct conf_key *map, struct span name)
{
	ASSERT(map->type == CONF_TYPE_MAP && map->keys);
	for (const struct conf_key *k = map->keys; k->name; k++)
		if (span_eq(name, span_of(k->name)))
			return k;
	return NULL;
}

static void format_num(const struct conf_key *key, uint64_t num, char *out, size_t size)
{
	if (key->type == CONF_TYPE_DURATION)
		duration_format(num, out, size);
	else if (key->type == CONF_TYPE_SIZE)
		size_format(num, out, size);
	else if (key->type == CONF_TYPE_BYTE_RATE)
		snprintf(out + size_format(num, out, size), 3, "/s");
	else
		snprintf(out, size, "%llu", (unsigned long long)num);
}

void conf_key_range(const struct conf_key *key, char *out, size_t size)
{
	char min[32], max[32];

	ASSERT(size > 0);
	out[0] = '\0';
	if (key->max == 0)
		return;
	format_num(key, key->min, min, sizeof(min));
	format_num(key, key->max, max, sizeof(max));
	if (key->min == key->max)
		snprintf(out, size, "%s", min);
	else
		snprintf(out, size, "%s to %s", min, max);
}

void conf_words(const char *const *words, char *out, size_t size)
{
	size_t at = 0;

	ASSERT(size > 0);
	out[0] = '\0';
	for (size_t i = 0; words && words[i] && at < size; i++) {
		const char *before = i == 0 ? "" : words[i + 1] ? ", " : " or ";
		int n = snprintf(out + at, size - at, "%s%s", before, words[i]);

		ASSERT(n > 0);
		at += (size_t)n;
	}
}
