/*
 * Rules over several keys.
 */
#include "tests/unit/conf_text.h"

#define NODES                                                           \
	"nodes: {a: {id: 1, paths: {lan: 10.0.0.1, cable: 10.9.0.1}}, " \
	"b: {id: 2, paths: {lan: 10.0.0.2, cable: 10.9.0.2}}}"
#define GROUPS "groups: {web: {vrid: 1, interface: eth0, virtual_ips: 10.0.0.100/24}}"
#define PAIR(nodes, groups, more) "failover: {secret_file: /k, " nodes ", " groups more "}\n"
#define TIMES(times) PAIR(NODES, GROUPS, ", times: {" times "}")

static void a_pair_has_two_nodes_that_differ(void)
{
	CHECK_CLEAN(PAIR(NODES, GROUPS, ""));
	CHECK_PRINTS(PAIR("nodes: {a: {id: 1, paths: {lan: 10.0.0.1}}}", GROUPS, ""),
		"'nodes' of 'failover' has 1 entry: write 2\n");
	CHECK_PRINTS(PAIR("nodes: {a: {id: 1, paths: {lan: 10.0.0.1}}, b: {id: 1, paths: {lan: "
			  "10.0.0.2}}}",
			     GROUPS, ""),
		"error: id 1 belongs to node 'a' already (line 1)\n");
	CHECK_PRINTS(PAIR("nodes: {a: {id: 1, paths: {lan: 10.0.0.1}}, b: {id: 2, paths: {lan: "
			  "10.0.0.1}}}",
			     GROUPS, ""),
		"error: both nodes have the same address on path 'lan'\n");
	CHECK_PRINTS(PAIR("nodes: {a: {id: 1, paths: {lan: 10.0.0.1}}, b: {id: 2, paths: {lan: "
			  "\"fd00::1\"}}}",
			     GROUPS, ""),
		"error: path 'lan' is IPv4 on one node and IPv6 on the other\n");
}

static void both_nodes_have_the_same_paths(void)
{
	const char *text = "failover:\n"
			   "  nodes:\n"
			   "    a: {id: 1, paths: {lan: 10.0.0.1, cable: 10.9.0.1}}\n"
			   "    b: {id: 2, paths: {lan: 10.0.0.2}}\n"
			   "  secret_file: /k\n"
			   "  " GROUPS "\n";

	CHECK_PRINTED(text, "tandem.yaml:4:16: error: node 'b' has no path 'cable', which node 'a' "
			    "has (line 3)\n"
			    "    4 |     b: {id: 2, paths: {lan: 10.0.0.2}}\n"
			    "      |                ^~~~~\n");
}

static void groups_have_their_own_numbers_and_addresses(void)
{
	CHECK_PRINTS(
		PAIR(NODES,
			"groups: {g1: {vrid: 7, interface: eth0, virtual_ips: 10.0.0.100/24},\n"
			"         g2: {vrid: 7, interface: eth0, virtual_ips: 10.0.0.101/24}}",
			""),
		"error: vrid 7 belongs to group 'g1' already (line 1)\n");
	CHECK_PRINTS(
		PAIR(NODES,
			"groups: {g1: {vrid: 7, interface: eth0, virtual_ips: 10.0.0.100/24},\n"
			"         g2: {vrid: 8, interface: eth0, virtual_ips: 10.0.0.100/16}}",
			""),
		"tandem.yaml:2:54: error: address 10.0.0.100 is a virtual IP already (line 1)\n");
	CHECK_PRINTS(
		PAIR(NODES, "groups: {g1: {vrid: 7, interface: eth0, virtual_ips: 10.0.0.2/24}}",
			""),
		"error: address 10.0.0.2 is a node's own already (line 1)\n");
	CHECK_PRINTS(PAIR(NODES, "groups: {g1: {vrid: 7, virtual_ips: 10.0.0.100/24}}", ""),
		"error: group 'g1' of 'failover' needs 'interface'\n");
	CHECK_PRINTS(PAIR(NODES,
			     "groups: {g1: {vrid: 7, interface: eth0, virtual_ips: 10.0.0.100/24, "
			     "paths: [lann]}}",
			     ""),
		"path 'lann' is not one of the nodes'\n");
	CHECK_PRINTS(PAIR(NODES,
			     "groups: {g1: {vrid: 7, interface: eth0, virtual_ips: 10.0.0.100/24, "
			     "prefer: c}}",
			     ""),
		"node 'c' is not defined\n");
	CHECK_PRINTS(PAIR(NODES,
			     "groups: {g1: {vrid: 7, interface: e, virtual_ips: 10.0.0.100/24, "
			     "failback: after 5s}}",
			     ""),
		"failback: after needs 'prefer'");
	CHECK_CLEAN(PAIR(NODES,
		"groups: {g1: {vrid: 7, interface: eth0, virtual_ips: 10.0.0.100/24, paths: all}}",
		""));
}

static void times_that_are_not_safe_are_refused_with_the_rule(void)
{
	CHECK_CLEAN(TIMES("heartbeat: 25ms"));
	CHECK_CLEAN(PAIR(NODES, GROUPS, ", profile: fast, times: {probe: 12ms}"));
	CHECK_PRINTS(TIMES("heartbeat: 63ms"),
		"heartbeat must be at most a quarter of lease (63 ms of 250 ms)\n");
	CHECK_PRINTS(TIMES("lease: 290ms"),
		"silence must be at least 15 ms longer than lease (300 ms and 290 ms)");
	CHECK_PRINTS(TIMES("probe: 150ms"),
		"claim_window must be longer than probe (150 ms and 150 ms)\n");
	CHECK_PRINTS(PAIR(NODES, GROUPS, ", profile: relaxed, times: {silence: 300ms}"),
		"silence must be at least 15 ms longer than lease (300 ms and 1000 ms)");
}

#define POOL "pools: {p: {servers: {s: \"10.0.0.1:80\"}}}\n"

static void a_listener_leads_somewhere_once(void)
{
	CHECK_PRINTS("listeners: {h: {bind: \":80\"}}\n" POOL,
		"listener 'h' needs 'pool' or 'routes'\n");
	CHECK_PRINTS("listeners: {h: {bind: \":80\", pool: p, routes: [{pool: p}]}}\n" POOL,
		"listener 'h' has both 'pool' and 'routes'\n");
	CHECK_PRINTS("listeners:\n  h: {bind: \":80\", pool: p}\n  i: {bind: \"[::]:80\", pool: "
		     "p}\n" POOL,
		"tandem.yaml:3:13: error: [::]:80 is listened on already (line 2)\n");
	CHECK_CLEAN("listeners:\n  h: {bind: \"127.0.0.1:80\", pool: p}\n"
		    "  i: {bind: [\"127.0.0.1:81\", \"127.0.0.2:80\"], pool: p}\n" POOL);
}

#define ROUTE(text) "listeners: {h: {bind: \":80\", routes: [" text "]}}\n" POOL

static void a_route_does_one_thing(void)
{
	CHECK_PRINTS(ROUTE("{match: {path: /x}}"),
		"route 1 of listener 'h' needs 'pool', 'redirect' or 'respond'\n");
	CHECK_PRINTS(ROUTE("{pool: p, redirect: https}"),
		"a route has 'pool' or 'redirect', not both\n");
	CHECK_PRINTS(ROUTE("{respond: 503, redirect: https}"),
		"a route has 'redirect' or 'respond', not both\n");
	CHECK_PRINTS(ROUTE("{respond: 503, rewrite: {path: /x}}"),
		"'rewrite' is for routes with 'pool'");
	CHECK_PRINTED(ROUTE("{pool: p, priority: high}"), "");
}

static void the_shares_of_pools_make_a_whole(void)
{
	CHECK_PRINTED(ROUTE("{pool: {p: 100%}}"), "");
	CHECK_PRINTED(ROUTE("{pool: {p: 3}}"), "");
	CHECK_PRINTS(ROUTE("{pool: {p: 90%}}"), "the shares of the pools make 90%, not 100%\n");
	CHECK_PRINTS(ROUTE("{pool: {p: 0}}"), "no pool has a share");
	CHECK_PRINTS(ROUTE("{pool: {p: 100%, pp: 1}}"), "pool 'pp' is not defined\n");
	CHECK_PRINTS(ROUTE("{pool: {pq: 50%, p: 1}}"),
		"the share of 'p' is a number, that of 'pq' a percentage\n");
	CHECK_PRINTS(ROUTE("{pool: {p: much}}"), "'much' is not a share");
}

#define HEALTH(health) "pools: {p: {servers: {s: \"10.0.0.1:80\"}, health: {" health "}}}\n"

static void a_check_is_one_of_three_kinds_or_an_agents(void)
{
	static const char needs[] = "'health' of pool 'p' needs 'http: PATH', 'grpc: SERVICE' or "
				    "'tcp: true'\n";

	CHECK_CLEAN(HEALTH("http: /, body: ok, headers: {Accept: a/b}"));
	CHECK_CLEAN(HEALTH("tcp: true, every: 1s"));
	CHECK_CLEAN(HEALTH("grpc: '*', host: h, port: 50051"));
	CHECK_CLEAN(HEALTH("agent: {port: 9100}"));
	CHECK_CLEAN(HEALTH("http: /, agent: {port: 9100, every: 5s}"));
	CHECK_PRINTS(HEALTH("every: 1s"), needs);
	CHECK_PRINTS(HEALTH("tcp: false"), needs);
	CHECK_PRINTS(HEALTH("http: /, tcp: true"), "a check is one of 'http', 'grpc' and 'tcp'\n");
	CHECK_PRINTS(HEALTH("http: /, grpc: a.B"), "a check is one of 'http', 'grpc' and 'tcp'\n");
	CHECK_PRINTS(HEALTH("tcp: true, expect: 200"), "'expect' is for http checks only\n");
	CHECK_PRINTS(HEALTH("grpc: a.B, body: x"), "'body' is for http checks only\n");
	CHECK_PRINTS(HEALTH("tcp: true, host: h"), "'host' is for http and grpc checks only\n");
	CHECK_PRINTS(HEALTH("agent: {port: 1}, rise: 2"),
		"'rise' is for http, grpc and tcp checks only\n");
	CHECK_PRINTS(HEALTH("http: /, headers: {host: h}"), "write this as 'host' of 'health'\n");
	CHECK_PRINTS(HEALTH("http: /, headers: {Connection: x}"), "leave 'Connection' out\n");
}

#define POOL_WITH(keys) "pools: {p: {servers: {s: \"10.0.0.1:80\"}, " keys "}}\n"
#define LIMITED "connections_per_server: 2"

static void a_queue_needs_a_limit_and_has_one_time(void)
{
	CHECK_CLEAN(POOL_WITH("limits: {" LIMITED ", queue: 0, queue_timeout: 1s}"));
	CHECK_PRINTS(POOL_WITH("limits: {queue: 9}"),
		"'limits' of pool 'p' needs 'connections_per_server'");
	CHECK_CLEAN(POOL_WITH("limits: {idle_per_server: 9}"));
	CHECK_PRINTS(POOL_WITH("limits: {idle_per_server: 9, queue: 9}"),
		"'limits' of pool 'p' needs 'connections_per_server'");
	CHECK_PRINTS(POOL_WITH("limits: {" LIMITED ", queue_timeout: 1s}, timeouts: {queue: 2s}"),
		"pool 'p' has both 'queue_timeout' and 'timeouts: {queue}'\n");
}

#define STANDS_IN(name, other) \
	"  " name ": {servers: {s: \"10.0.0.1:80\"}, when_all_down: {pool: " other "}}\n"

static void pools_do_not_stand_in_for_each_other_in_a_circle(void)
{
	CHECK_CLEAN("pools:\n" STANDS_IN("a", "b")
			STANDS_IN("b", "c") "  c: {servers: {s: \"10.0.0.1:80\"}}\n");
	CHECK_PRINTS("pools:\n" STANDS_IN("a", "b") STANDS_IN("b", "c") STANDS_IN("c", "b"),
		"the traffic of pool 'b' would come back to it\n");
	CHECK_PRINTS("pools:\n" STANDS_IN("a", "a"), "the traffic of pool 'a' would come back");
	CHECK_PRINTS("pools:\n" STANDS_IN("a", "x"), "pool 'x' is not defined");
}

/* The same pair with VRRP in a group of these keys. */
#define VRRP(keys, more)                                                              \
	"failover: {nodes: {a: {id: 1, paths: {lan: 10.0.0.1}}, b: {id: 2, paths: "   \
	"{lan: 10.0.0.2}}}, protocol: vrrp3, groups: {g: {vrid: 7, interface: eth0, " \
	"virtual_ips: 10.0.0.100/24" keys "}" more "}}\n"

static void vrrp_has_keys_of_its_own(void)
{
	CHECK_CLEAN(VRRP("", ""));
	CHECK_CLEAN(VRRP(", priority: 254, advertise: 10ms, preempt: false, accept: true", ""));
	CHECK_CLEAN(VRRP(", priority: {a: 1, b: 2}, failback: after 5s, unicast_peer: nodes", ""));
	CHECK_PRINTS(VRRP(", priority: 255", ""), "255");
	CHECK_PRINTS(VRRP(", priority: {a: 1, c: 2}", ""), "'c' is not one of the nodes\n");
	CHECK_PRINTS(VRRP(", priority: {a: 1, b: 2}, prefer: a", ""),
		"'prefer' says who comes first already: write either it or 'priority'\n");
	CHECK_PRINTS(VRRP(", advertise: 15ms", ""), "'15ms' is between two\n");
	CHECK_PRINTS(VRRP(", advertise: 41s", ""), "41s");
	CHECK_PRINTS(VRRP(", accept: false", ""), "leave 'accept' out\n");
	CHECK_PRINTS(VRRP(", preempt: true, failback: manual", ""),
		"'preempt: true' and 'failback: manual' contradict each other\n");
	CHECK_PRINTS(VRRP(", paths: lan", ""), "'paths' is of no use here");
	CHECK_PRINTS(VRRP(", claim_hook: /bin/true", ""), "VRRP claims by its timer alone\n");
	CHECK_PRINTS(VRRP(", unicast_peer: \"fd00::2\"", ""),
		"group 'g' has IPv4 addresses and no IPv4 peer\n");
	CHECK_PRINTS(VRRP(", unicast_peer: [nodes, 10.0.0.2]", ""), "write 'nodes' alone");
	CHECK_PRINTS("failover: {" NODES ", protocol: vrrp3, fence: kernel, groups: {g: {vrid: 7, "
		     "interface: eth0, virtual_ips: 10.0.0.100/24, unicast_peer: nodes}}}\n",
		"write 'fence: auto', or 'fence: netlink'");
	CHECK_PRINTS(VRRP("", ", h: {vrid: 8, interface: eth0, virtual_ips: \"fd00::1/64\"}"),
		"warning: RFC 9568 wants a link-local address");
}

static void alerts_without_an_agent_are_warned_of(void)
{
	const char *alerts = "alerts: [{on: [cert_expiring], webhook: \"http://a.test/\"}]\n";
	char with[512];

	CHECK_PRINTS(alerts, "tandem.yaml:1:1: warning: nobody will be told");
	snprintf(with, sizeof(with), "%s%s", PAIR(NODES, GROUPS, ""), alerts);
	CHECK_CLEAN(with);
}

static void vrrp_counts_its_numbers_by_family_and_interface(void)
{
	CHECK_CLEAN(VRRP("", ", h: {vrid: 7, interface: eth0, virtual_ips: \"fe80::1/64\"}"));
	CHECK_CLEAN(VRRP("", ", h: {vrid: 7, interface: eth1, virtual_ips: 10.0.1.1/24}"));
	CHECK_PRINTS(VRRP("", ", h: {vrid: 7, interface: eth0, virtual_ips: 10.0.1.1/24}"),
		"vrid 7 belongs to group 'g' already");
}

static void keys_of_one_protocol_are_refused_with_the_other(void)
{
	CHECK_PRINTS("failover: {" NODES ", protocol: vrrp3, profile: fast, groups: {g: "
		     "{vrid: 7, interface: eth0, virtual_ips: 10.0.0.100/24}}}\n",
		"'profile' is of no use here: no group speaks 'protocol: tandem'\n");
	CHECK_PRINTS("failover: {" NODES ", protocol: vrrp3, port: 4300, groups: {g: "
		     "{vrid: 7, interface: eth0, virtual_ips: 10.0.0.100/24}}}\n",
		"'port' is of no use here: there is no 'secret_file'\n");
	CHECK_CLEAN("failover: {" NODES ", protocol: vrrp3, port: 4300, secret_file: /etc/key, "
		    "old_secret_file: /etc/old, groups: {g: {vrid: 7, interface: eth0, "
		    "virtual_ips: 10.0.0.100/24}}}\n");
	CHECK_PRINTS(VRRP("", ", h: {vrid: 8, interface: eth0, virtual_ips: 10.0.0.101/24, "
			      "protocol: tandem}"),
		"'failover' needs 'secret_file'\n");
	CHECK_PRINTS(PAIR(NODES,
			     "groups: {g1: {vrid: 7, interface: eth0, virtual_ips: 10.0.0.100/24, "
			     "priority: 3}}",
			     ""),
		"'priority' is for 'protocol: vrrp3', which this group does not speak\n");
}

static void a_tcp_listener_has_nothing_of_http(void)
{
	CHECK_CLEAN(
		"listeners: {d: {bind: \":5432\", mode: tcp, pool: p, limits: {connections: 9}, "
		"timeouts: {tunnel: 8h}, proxy_protocol: {from: 10.0.0.0/8}}}\n" POOL);
	CHECK_PRINTS("listeners: {d: {bind: \":5432\", mode: tcp}}\n" POOL,
		"listener 'd' needs 'pool'\n");
	CHECK_PRINTS("listeners: {d: {bind: \":5432\", mode: tcp, routes: [{pool: p}]}}\n" POOL,
		"tandem.yaml:1:43: error: 'routes' is of no use in a listener with 'mode: tcp'\n"
		"    1 | listeners: {d: {bind: \":5432\", mode: tcp, routes: [{pool: p}]}}\n"
		"      |                                           ^~~~~~ write 'pool'\n");
	CHECK_PRINTS(
		"listeners: {d: {bind: \":5432\", mode: tcp, pool: p, limits: {fields: 9}}}\n" POOL,
		"error: 'fields' is of no use in a listener with 'mode: tcp'\n");
	CHECK_PRINTS("listeners: {d: {bind: \":5432\", mode: tcp, pool: p, timeouts: {idle: "
		     "9s}}}\n" POOL,
		"error: 'idle' is of no use in a listener with 'mode: tcp'\n");
	CHECK_PRINTS("listeners: {d: {bind: \":5432\", mode: tcp, pool: q}}\n"
		     "pools: {q: {balance: hash header:x-user, servers: {s: \"10.0.0.9:80\"}}}\n",
		"error: pool 'q' has 'balance: hash header:x-user', and this listener reads no "
		"requests\n");
	CHECK_PRINTS(
		"listeners: {d: {bind: \":5432\", mode: tcp, pool: p, proxy_protocol: {}}}\n" POOL,
		"'proxy_protocol' of listener 'd' needs 'from'\n");
}

#define THROUGH "through: {bind: \":443\", mode: tls_passthrough, pool: p}"

static void a_passthrough_listener_matches_names_only_and_may_share_its_address(void)
{
	CHECK_CLEAN("listeners: {t: {bind: \":443\", mode: tls_passthrough, "
		    "routes: [{match: {host: a.example}, pool: p}]}}\n" POOL);
	CHECK_PRINTS("listeners: {t: {bind: \":443\", mode: tls_passthrough, "
		     "routes: [{match: {path: /x}, pool: p}]}}\n" POOL,
		"error: 'path' is of no use in a listener with 'mode: tls_passthrough'\n");
	CHECK_CLEAN("listeners:\n  " THROUGH "\n  web: {bind: \":443\", pool: p}\n" POOL);
	CHECK_PRINTS("listeners:\n  " THROUGH "\n  web: {bind: \":443\", pool: p}\n"
		     "  more: {bind: \":443\", pool: p}\n" POOL,
		"tandem.yaml:4:16: error: :443 is listened on already (line 3)\n");
	CHECK_PRINTS("listeners:\n  " THROUGH
		     "\n  tcp: {bind: \":443\", mode: tcp, pool: p}\n" POOL,
		"tandem.yaml:3:15: error: :443 is listened on already (line 2)\n");
	CHECK_PRINTS("listeners:\n  " THROUGH "\n  web: {bind: \":443\", pool: p, proxy_protocol: "
		     "{from: 10.0.0.0/8}}\n" POOL,
		"tandem.yaml:3:32: error: 'proxy_protocol' belongs into listener 'through', which "
		"is the first to look at this address\n");
	CHECK_PRINTS("listeners:\n  tcp: {bind: \":443\", mode: tcp, pool: p}\n  " THROUGH
		     "\n" POOL,
		":443 is listened on already (line 2)\n");
}

static const struct test_case cases[] = {
	TEST(a_route_does_one_thing),
	TEST(the_shares_of_pools_make_a_whole),
	TEST(a_pair_has_two_nodes_that_differ),
	TEST(both_nodes_have_the_same_paths),
	TEST(groups_have_their_own_numbers_and_addresses),
	TEST(times_that_are_not_safe_are_refused_with_the_rule),
	TEST(a_listener_leads_somewhere_once),
	TEST(a_tcp_listener_has_nothing_of_http),
	TEST(a_passthrough_listener_matches_names_only_and_may_share_its_address),
	TEST(a_check_is_one_of_three_kinds_or_an_agents),
	TEST(a_queue_needs_a_limit_and_has_one_time),
	TEST(pools_do_not_stand_in_for_each_other_in_a_circle),
	TEST(alerts_without_an_agent_are_warned_of),
	TEST(vrrp_has_keys_of_its_own),
	TEST(vrrp_counts_its_numbers_by_family_and_interface),
	TEST(keys_of_one_protocol_are_refused_with_the_other),
};
TESTS_MAIN("conf_rules", cases)
