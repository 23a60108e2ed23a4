/* The agent's part of the file: what it becomes on either node, and what is refused with which
 * words. */
#include "failover/settings.h"

#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/check.h"

#define HEAD                                                               \
	"failover:\n"                                                      \
	"  nodes:\n"                                                       \
	"    lb-a: {id: 1, paths: {lan: 10.0.0.1, cable: 192.168.77.1}}\n" \
	"    lb-b: {id: 2, paths: {cable: 192.168.77.2, lan: 10.0.0.2}}\n" \
	"  secret_file: %s/key\n"
#define WEB           \
	"  groups:\n" \
	"    web: {vrid: 51, interface: eth0, virtual_ips: [10.0.0.100/24, \"fd00::100/64\"]"

static char dir[] = "/tmp/test_failover_settings.XXXXXX";

static void write_file(const char *name, const char *text, mode_t mode)
{
	char file[128];
	FILE *f;

	(void)snprintf(file, sizeof(file), "%s/%s", dir, name);
	f = fopen(file, "w");
	CHECK_TRUE(f != NULL);
	(void)fputs(text, f);
	(void)fclose(f);
	CHECK_INT(chmod(file, mode), 0);
}

/* The file from a head, in which %s is the directory, and a tail. */
static void write_config(const char *head, const char *tail)
{
	char text[4096], whole[4096];
	struct span from = span_of(head);
	size_t at = span_find(from, '%', 0);

	(void)snprintf(whole, sizeof(whole), "%s%s", head, tail);
	if (at == from.len)
		(void)snprintf(text, sizeof(text), "%s", whole);
	else
		(void)snprintf(text, sizeof(text), "%.*s%s%s", (int)at, whole, dir, whole + at + 2);
	write_file("tandem.yaml", text, 0644);
	write_file("key", "0123456789abcdef0123456789abcdef\n", 0600);
}

static struct settings *load(const char *node, char *ret_first, size_t size)
{
	struct conf_report *report = conf_report_new();
	struct conf *conf = NULL;
	struct settings *s;
	char file[128], *line;

	(void)snprintf(file, sizeof(file), "%s/tandem.yaml", dir);
	s = settings_load(file, node, report, &conf);
	line = conf_report_line(report, conf, 0);
	(void)snprintf(ret_first, size, "%s", line ? line : "");
	free(line);
	conf_free(conf);
	conf_report_free(report);
	return s;
}

static struct settings *load_good(const char *node)
{
	char first[512];
	struct settings *s = load(node, first, sizeof(first));

	if (!s)
		fprintf(stderr, "%s\n", first);
	CHECK_TRUE(s != NULL);
	return s;
}

static void check_refused(const char *node, const char *words)
{
	char first[512];
	struct settings *s = load(node, first, sizeof(first));

	if (!strstr(first, words))
		fprintf(stderr, "\n'%s' does not say '%s'\n", first, words);
	CHECK(s == NULL);
	CHECK(strstr(first, words) != NULL);
	settings_free(s);
}

static void check_addr(const struct addr *a, const char *text)
{
	char got[ADDR_TEXT_MAX];

	addr_format(a, got);
	CHECK_TEXT(span_of(got), text);
}

static void either_node_sees_itself_and_the_peer(void)
{
	struct settings *a, *b;

	write_config(HEAD, "  profile: fast\n" WEB ", prefer: lb-b, failback: after 60s}\n");
	a = load_good("lb-a");
	b = load_good("lb-b");
	CHECK_TEXT(span_of(a->node), "lb-a");
	CHECK_TEXT(span_of(a->peer), "lb-b");
	CHECK_INT(b->node_id, 2);
	CHECK_INT(b->peer_id, 1);
	/* The same order, though the file names them in two. */
	CHECK_INT(a->path_count, 2);
	CHECK_TEXT(span_of(a->paths[0].name), "lan");
	CHECK_TEXT(span_of(b->paths[0].name), "lan");
	check_addr(&a->paths[0].own, "10.0.0.1:4242");
	check_addr(&b->paths[0].own, "10.0.0.2:4242");
	check_addr(&b->paths[1].peer, "192.168.77.1:4242");
	CHECK_INT(a->times.heartbeat_ns, 10 * NS_PER_MS);
	CHECK_INT(a->group_count, 1);
	CHECK_INT(a->groups[0].vrid, 51);
	CHECK_INT(a->groups[0].vip_count, 2);
	CHECK_INT(a->groups[0].vips[0].bits, 24);
	CHECK_INT(a->groups[0].prefer, 2);
	CHECK_INT(a->groups[0].failback_ns, 60 * NS_PER_S);
	CHECK(!a->has_proxy && !a->has_gateway);
	CHECK(memcmp(a->hash, b->hash, sizeof(a->hash)) == 0);
	CHECK_INT(a->secret_count, 1);
	CHECK_TEXT(a->secrets[0], "0123456789abcdef0123456789abcdef");
	settings_free(a);
	settings_free(b);
}

static void what_is_not_written_has_defaults(void)
{
	struct settings *s;

	write_config(HEAD, WEB "}\n");
	s = load_good("lb-a");
	CHECK_INT(s->times.lease_ns, 250 * NS_PER_MS);
	CHECK_INT(s->groups[0].prefer, 0);
	CHECK_INT(s->groups[0].failback_ns, 0);
	CHECK_INT(s->groups[0].path_mask & 3, 3);
	settings_free(s);
}

static void single_times_a_port_and_paths_can_be_set(void)
{
	struct settings *s;

	write_config(HEAD, "  times: {silence: 400ms}\n  port: 5000\n  gateway: 10.0.0.254\n" WEB
			   ", paths: [cable]}\n"
			   "listeners: {http: {bind: \":80\", routes: [{pool: p}]}}\n"
			   "pools: {p: {servers: {s: \"10.0.1.1:80\"}}}\n");
	s = load_good("lb-a");
	CHECK_INT(s->times.silence_ns, 400 * NS_PER_MS);
	CHECK_INT(s->times.lease_ns, 250 * NS_PER_MS);
	check_addr(&s->paths[0].peer, "10.0.0.2:5000");
	CHECK_INT(s->groups[0].path_mask, 2);
	CHECK(s->has_gateway && s->has_proxy);
	settings_free(s);
}

static void faults_are_named(void)
{
	write_config(HEAD, WEB "}\n");
	check_refused("lb-c", "'lb-c' is not one of the nodes (lb-a, lb-b): name one with --node");
	write_config("listeners: {http: {bind: \":80\", routes: [{pool: p}]}}\n",
		"pools: {p: {servers: {s: \"10.0.1.1:80\"}}}\n");
	check_refused("lb-a", "there is no 'failover' section");
	write_config(HEAD, "  times: {lease: 400ms}\n" WEB "}\n");
	check_refused("lb-a", "silence must be at least");
	write_config(HEAD, WEB ", failback: after 60s}\n");
	check_refused("lb-a", "needs 'prefer'");
	write_config(HEAD, WEB ", paths: [wifi]}\n");
	check_refused("lb-a", "'wifi'");
	write_config(HEAD,
		WEB "}\n    two: {vrid: 51, interface: eth0, virtual_ips: [10.0.0.101/24]}\n");
	check_refused("lb-a", "vrid");
	write_config(HEAD,
		WEB "}\n    two: {vrid: 52, interface: eth0, virtual_ips: [10.0.0.100/32]}\n");
	check_refused("lb-a", "10.0.0.100");
}

static void nodes_must_fit_each_other(void)
{
	static const struct {
		const char *b, *words;
	} faults[] = {{"{id: 1, paths: {lan: 10.0.0.2}}", "id"},
		{"{id: 2, paths: {cable: 10.0.0.2}}", "has no path"},
		{"{id: 2, paths: {lan: 10.0.0.2, cable: 192.168.77.2}}",
			"node 'lb-a' has no path 'cable'"},
		{"{id: 2, paths: {lan: 10.0.0.1}}", "same address"},
		{"{id: 2, paths: {lan: \"fd00::2\"}}", "IPv6 on the other"}};
	char head[512];

	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		(void)snprintf(head, sizeof(head),
			"failover:\n  nodes:\n    lb-a: {id: 1, paths: {lan: 10.0.0.1}}\n    lb-b: "
			"%s\n"
			"  secret_file: %%s/key\n",
			faults[i].b);
		write_config(head, WEB "}\n");
		check_refused("lb-a", faults[i].words);
		check_refused("lb-b", faults[i].words);
	}
}

static void a_secret_is_kept_from_others_and_long_enough(void)
{
	write_config(HEAD, WEB "}\n");
	write_file("key", "0123456789abcdef", 0604);
	check_refused("lb-a", "open to everyone");
	write_file("key", "short\n", 0600);
	check_refused("lb-a", "holds 5 bytes");
	write_file("key", "0123456789abcde\n\n", 0600);
	check_refused("lb-a", "holds 15 bytes");
	write_file("key", "0123456789abcdef\r\n", 0640);
	settings_free(load_good("lb-a"));
	write_config("failover:\n  nodes:\n    lb-a: {id: 1, paths: {lan: 10.0.0.1}}\n"
		     "    lb-b: {id: 2, paths: {lan: 10.0.0.2}}\n  secret_file: %s/nowhere\n",
		WEB "}\n");
	check_refused("lb-a", "cannot open");
}

static void the_witness_hears_both_nodes_on_one_path(void)
{
	struct settings *s;

	write_config(HEAD, "  witness: 10.0.0.9\n" WEB "}\n");
	s = load_good("lb-b");
	CHECK(s->has_witness);
	CHECK_INT(s->witness_id, 255);
	check_addr(&s->witness, "10.0.0.9:4243");
	CHECK_TEXT(span_of(s->witnessed[0].name), "lb-a");
	check_addr(&s->witnessed[0].addr, "10.0.0.1:4243");
	check_addr(&s->witnessed[1].addr, "10.0.0.2:4243");
	settings_free(s);
	write_config(HEAD, "  witness: {address: 192.168.77.9, path: cable, port: 99}\n"
			   "  on_active: /nonexistent/hook\n" WEB "}\n");
	s = load_good(NULL); /* the witness: it runs no hooks, and is none of the nodes */
	check_addr(&s->witnessed[1].addr, "192.168.77.2:99");
	settings_free(s);
	write_config(HEAD, "  witness: {address: 10.0.0.9, path: cabel}\n" WEB "}\n");
	check_refused("lb-a", ":6:38: error: node 'lb-a' has no path 'cabel'");
	write_config(HEAD, "  witness: \"fd00::9\"\n" WEB "}\n");
	check_refused("lb-a", "not of one family");
	write_config(HEAD, WEB "}\n");
	check_refused(NULL, "there is no 'witness'");
}

static void hooks_are_for_all_groups_and_narrower_in_one(void)
{
	struct settings *s;

	write_config(HEAD, "  on_active: [/bin/echo, became, active]\n  on_fault: /bin/true\n"
			   "  hook_timeout: 3s\n" WEB ", on_fault: /bin/false}\n"
			   "    db: {vrid: 52, interface: eth0, virtual_ips: 10.0.0.101/24,"
			   " hook_timeout: 500ms}\n");
	s = load_good("lb-a");
	CHECK_INT(s->groups[0].hooks[HOOK_ON_ACTIVE].count, 3);
	CHECK(memcmp(s->groups[0].hooks[HOOK_ON_ACTIVE].text, "/bin/echo\0became\0active", 24) ==
		0);
	CHECK_TEXT(span_of(s->groups[0].hooks[HOOK_ON_FAULT].text), "/bin/false");
	CHECK_TEXT(span_of(s->groups[1].hooks[HOOK_ON_FAULT].text), "/bin/true");
	CHECK_INT(s->groups[1].hooks[HOOK_FENCE].count, 0);
	CHECK_INT(s->groups[0].hook_timeout_ns, 3 * NS_PER_S);
	CHECK_INT(s->groups[1].hook_timeout_ns, 500 * NS_PER_MS);
	settings_free(s);
	write_config(HEAD, "  on_active: notify.sh\n" WEB "}\n");
	check_refused("lb-a", ":6:14: error: on_active names a program by its full path");
	write_config(HEAD, "  on_active: /nonexistent/notify\n" WEB "}\n");
	check_refused("lb-a", "cannot run /nonexistent/notify: No such file or directory");
}

#define VRRP_HEAD                                                          \
	"failover:\n"                                                      \
	"  protocol: vrrp3\n"                                              \
	"  nodes:\n"                                                       \
	"    lb-a: {id: 1, paths: {lan: 10.0.0.1, cable: 192.168.77.1}}\n" \
	"    lb-b: {id: 2, paths: {cable: 192.168.77.2, lan: 10.0.0.2}}\n"
#define VRRP_WEB      \
	"  groups:\n" \
	"    web: {vrid: 51, interface: eth0, virtual_ips: [10.0.0.100/24]"

static void vrrp_needs_no_secret_and_has_defaults(void)
{
	struct settings *s;

	write_config(VRRP_HEAD, VRRP_WEB "}\n");
	s = load_good("lb-a");
	CHECK_INT(s->secret_count, 0);
	CHECK(!s->speaks_tandem);
	CHECK(s->groups[0].speaks_vrrp);
	CHECK_INT(s->groups[0].vrrp.priority, 100);
	CHECK(s->groups[0].vrrp.preempt);
	CHECK_INT(s->groups[0].vrrp.preempt_after_ns, 0);
	CHECK_INT(s->groups[0].vrrp.interval_ns, NS_PER_S);
	CHECK_INT(s->groups[0].unicast_count, 0);
	settings_free(s);
}

static void the_preferred_node_has_the_higher_vrrp_priority(void)
{
	struct settings *s;

	write_config(VRRP_HEAD, VRRP_WEB ", prefer: lb-b, failback: after 60s}\n");
	s = load_good("lb-a");
	CHECK_INT(s->groups[0].vrrp.priority, 100);
	settings_free(s);
	s = load_good("lb-b");
	CHECK_INT(s->groups[0].vrrp.priority, 150);
	CHECK(s->groups[0].vrrp.preempt);
	CHECK_INT(s->groups[0].vrrp.preempt_after_ns, 60 * NS_PER_S);
	settings_free(s);
	write_config(VRRP_HEAD, VRRP_WEB ", priority: {lb-a: 7, lb-b: 9}, failback: manual}\n");
	s = load_good("lb-b");
	CHECK_INT(s->groups[0].vrrp.priority, 9);
	CHECK(!s->groups[0].vrrp.preempt);
	settings_free(s);
}

static void a_vrrp_peer_is_the_other_node_or_listed(void)
{
	struct settings *s;

	write_config(VRRP_HEAD, VRRP_WEB ", unicast_peer: nodes, paths: [lan]}\n");
	s = load_good("lb-b");
	CHECK_INT(s->groups[0].unicast_count, 1);
	CHECK_INT(ntohl(s->groups[0].unicast_peers[0].in.sin_addr.s_addr), 0x0a000001);
	settings_free(s);
	write_config(VRRP_HEAD, VRRP_WEB ", unicast_peer: [10.0.0.1, 10.0.0.2, 10.0.0.9]}\n");
	s = load_good("lb-b");
	CHECK_INT(s->groups[0].unicast_count, 2);
	CHECK_INT(ntohl(s->groups[0].unicast_peers[1].in.sin_addr.s_addr), 0x0a000009);
	settings_free(s);
	write_config(VRRP_HEAD, VRRP_WEB ", unicast_peer: [10.0.0.1]}\n");
	check_refused("lb-a", "these are all addresses of this node");
}

static void both_protocols_can_be_spoken_by_one_file(void)
{
	struct settings *s;

	write_config(HEAD, WEB "}\n    old: {vrid: 51, interface: eth1, virtual_ips: 10.9.0.1/24,"
			       " protocol: vrrp3}\n");
	check_refused("lb-a", "vrid 51 belongs to group 'web' already");
	write_config(HEAD, WEB "}\n    old: {vrid: 52, interface: eth1, virtual_ips: 10.9.0.1/24,"
			       " protocol: vrrp3}\n");
	s = load_good("lb-a");
	CHECK(s->speaks_tandem);
	CHECK(!s->groups[0].speaks_vrrp);
	CHECK(s->groups[1].speaks_vrrp);
	settings_free(s);
}

static void ports_are_those_that_can_have_connections_to_the_group(void)
{
	struct settings *s;

	write_config(HEAD, WEB "}\n");
	s = load_good("lb-a");
	CHECK_INT(s->groups[0].port_count, 0);
	settings_free(s);
	write_config(HEAD, WEB "}\n"
			       "listeners:\n"
			       "  a: {bind: [\":80\", \"10.0.0.1:81\"], routes: [{pool: p}]}\n"
			       "  b: {bind: \"10.0.0.100:443\", routes: [{pool: p}]}\n"
			       "  c: {bind: \"0.0.0.0:8080\", routes: [{pool: p}]}\n"
			       "  d: {bind: \"10.0.0.100:80\", routes: [{pool: p}]}\n"
			       "pools: {p: {servers: {s: \"10.0.1.1:80\"}}}\n");
	s = load_good("lb-a");
	CHECK_INT(s->groups[0].port_count, 3);
	CHECK_INT(s->groups[0].ports[0], 80);
	CHECK_INT(s->groups[0].ports[1], 443);
	CHECK_INT(s->groups[0].ports[2], 8080);
	settings_free(s);
}

static void a_move_drains_longer_than_a_stop_unless_the_file_says(void)
{
	struct settings *s;

	write_config(HEAD, WEB "}\n");
	s = load_good("lb-a");
	CHECK_INT(s->drain_ns, 300 * NS_PER_S);
	CHECK_INT(s->stop_drain_ns, 30 * NS_PER_S);
	CHECK_INT(s->fence, FENCE_NONE);
	settings_free(s);
	write_config(HEAD "  fence: netlink\n", WEB "}\ntimeouts: {drain: 7s}\n");
	s = load_good("lb-a");
	CHECK_INT(s->drain_ns, 7 * NS_PER_S);
	CHECK_INT(s->stop_drain_ns, 7 * NS_PER_S);
	CHECK_INT(s->fence, FENCE_NETLINK);
	settings_free(s);
	write_config(HEAD "  fence: kernle\n", WEB "}\n");
	check_refused("lb-a", "kernle");
}

static const struct test_case cases[] = {
	TEST(either_node_sees_itself_and_the_peer),
	TEST(what_is_not_written_has_defaults),
	TEST(single_times_a_port_and_paths_can_be_set),
	TEST(faults_are_named),
	TEST(nodes_must_fit_each_other),
	TEST(a_secret_is_kept_from_others_and_long_enough),
	TEST(the_witness_hears_both_nodes_on_one_path),
	TEST(hooks_are_for_all_groups_and_narrower_in_one),
	TEST(vrrp_needs_no_secret_and_has_defaults),
	TEST(the_preferred_node_has_the_higher_vrrp_priority),
	TEST(a_vrrp_peer_is_the_other_node_or_listed),
	TEST(both_protocols_can_be_spoken_by_one_file),
	TEST(ports_are_those_that_can_have_connections_to_the_group),
	TEST(a_move_drains_longer_than_a_stop_unless_the_file_says),
};

static void clean(void)
{
	char file[128];

	(void)snprintf(file, sizeof(file), "%s/key", dir);
	(void)unlink(file);
	(void)snprintf(file, sizeof(file), "%s/tandem.yaml", dir);
	(void)unlink(file);
	(void)rmdir(dir);
}

int main(void)
{
	int rc;

	if (!mkdtemp(dir))
		return 99;
	rc = tests_run("failover_settings", cases, sizeof(cases) / sizeof(*cases));
	clean();
	return rc;
}
