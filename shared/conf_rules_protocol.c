/*
 * Rules about the protocol that a group speaks: what each needs, and what makes no sense with it.
 */
#include "shared/assert.h"
#include "shared/conf_build.h"

enum { FAMILIES = 2 };

static const sa_family_t families[FAMILIES] = {AF_INET, AF_INET6};
static const char *const family_names[FAMILIES] = {"IPv4", "IPv6"};

bool conf_speaks_vrrp(const struct conf_node *failover, const struct conf_node *group)
{
	return conf_u64(good(group, "protocol") ? group : failover, "protocol") == 1;
}

static bool has_family(const struct conf_node *group, sa_family_t family)
{
	conf_each (vip, good(group, "virtual_ips"))
		if (!vip->broken && vip->cidr.family == family)
			return true;
	return false;
}

/* Every key of the list that is written is an error with these words. */
static void refuse_keys(struct conf_report *report, const struct conf_node *map,
	const char *const *keys, const char *why)
{
	for (; *keys; keys++) {
		const struct conf_node *n = good(map, *keys);

		if (n)
			conf_error(report, n->name_pos, NULL, "'%s' %s", *keys, why);
	}
}

static bool is_word(const struct conf_node *peer, const char *word)
{
	return span_eq(peer->text, span_of(word));
}

static bool uses_path(const struct conf_node *group, struct span name)
{
	const struct conf_node *paths = good(group, "paths");

	conf_each (path, paths)
		if (is_word(path, "all") || span_eq(path->text, name))
			return true;
	return !paths;
}

/* Each family of the group's addresses has somebody to talk to. */
static void check_unicast(struct conf_report *report, const struct conf_node *group,
	const struct conf_node *peers, const struct conf_node *node)
{
	bool reached[FAMILIES] = {false}, nodes = false;

	conf_each (peer, peers) {
		if (peer->broken)
			return;
		nodes = nodes || is_word(peer, "nodes");
		for (int f = 0; f < FAMILIES; f++)
			reached[f] = reached[f] || peer->addr.sa.sa_family == families[f];
	}
	if (nodes && peers->count > 1)
		conf_error(report, peers->pos, NULL, "write 'nodes' alone, or addresses");
	conf_each (path, nodes ? good(node, "paths") : NULL)
		for (int f = 0; f < FAMILIES; f++)
			reached[f] = reached[f] || (uses_path(group, path->name) &&
							   path->addr.sa.sa_family == families[f]);
	for (int f = 0; f < FAMILIES; f++)
		if (has_family(group, families[f]) && !reached[f])
			conf_error(report, peers->pos,
				nodes ? "give the nodes such a path, or list the peers' addresses"
				      : NULL,
				"group '%.*s' has %s addresses and no %s peer",
				SPAN_ARG(group->name), family_names[f], family_names[f]);
}

static void check_priority(
	struct conf_report *report, const struct conf_node *group, const struct conf_node *nodes)
{
	const struct conf_node *priority = good(group, "priority");

	if (!priority || priority->kind != CONF_MAP)
		return;
	conf_each (of, priority) {
		bool found = false;

		conf_each (node, nodes)
			found = found || span_eq(node->name, of->name);
		if (!found && nodes)
			conf_error(report, of->name_pos, NULL, "'%.*s' is not one of the nodes",
				SPAN_ARG(of->name));
	}
	if (conf_find(group, "prefer"))
		conf_error(report, priority->name_pos, NULL,
			"'prefer' says who comes first already: write either it or 'priority'");
}

/* Who takes the address back is said once. */
static void check_preempt(struct conf_report *report, const struct conf_node *group)
{
	const struct conf_node *preempt = good(group, "preempt");
	const struct conf_node *failback = good(group, "failback");

	if (preempt && failback && (preempt->num != 0) != (failback->num != 0))
		conf_error(report, preempt->name_pos, NULL,
			"'preempt: %s' and 'failback: %.*s' contradict each other",
			preempt->num ? "true" : "false", SPAN_ARG(failback->text));
}

static void check_vrrp_group(
	struct conf_report *report, const struct conf_node *group, const struct conf_node *failover)
{
	static const char *const heartbeats[] = {"paths", NULL};
	static const char *const claims[] = {"fence_hook", "claim_hook", NULL};
	const struct conf_node *nodes = good(failover, "nodes");
	const struct conf_node *peers = good(group, "unicast_peer");
	const struct conf_node *advertise = good(group, "advertise");
	const struct conf_node *accept = good(group, "accept");
	const struct conf_node *vips = good(group, "virtual_ips");
	bool link_local = false;

	if (!peers)
		refuse_keys(report, group, heartbeats,
			"is of no use here: with vrrp3 and without unicast_peer advertisements "
			"take the group's interface");
	else
		check_unicast(report, group, peers, nodes ? nodes->first : NULL);
	if (peers && span_eq(conf_text(failover, "fence"), SPAN("kernel")))
		conf_error(report, peers->name_pos, "write 'fence: auto', or 'fence: netlink'",
			"with 'fence: kernel' an advertisement renews the lease as it leaves, and "
			"one to unicast_peer waits while the peer's MAC is unknown");
	refuse_keys(report, group, claims,
		"belongs to a claim of 'protocol: tandem': VRRP claims by its timer alone");
	check_priority(report, group, nodes);
	check_preempt(report, group);
	if (advertise && advertise->num % (10 * NS_PER_MS))
		conf_error(report, advertise->pos, NULL,
			"VRRP counts in steps of 10ms: '%.*s' is between two",
			SPAN_ARG(advertise->text));
	if (accept && !accept->num)
		conf_error(report, accept->pos, NULL,
			"a load balancer answers on its addresses: leave 'accept' out");
	conf_each (vip, vips)
		link_local =
			link_local || (vip->cidr.family == AF_INET6 && vip->cidr.bytes[0] == 0xfe &&
					      (vip->cidr.bytes[1] & 0xc0) == 0x80);
	if (vips && has_family(group, AF_INET6) && !link_local)
		conf_warning(report, vips->pos, NULL,
			"RFC 9568 wants a link-local address (fe80::/10) among the IPv6 addresses "
			"of a virtual router: strict peers refuse a list without one");
}

void conf_rules_protocol(struct conf_report *report, const struct conf_node *failover)
{
	static const char *const of_vrrp[] = {
		"priority", "advertise", "preempt", "unicast_peer", "accept", NULL};
	static const char *const of_tandem[] = {
		"profile", "times", "witness", "fence_hook", "claim_hook", NULL};
	/* With VRRP too, if there is one, the nodes tell each other their clients. */
	static const char *const of_secret[] = {"port", "old_secret_file", NULL};
	const struct conf_node *groups = good(failover, "groups");
	bool tandem = !groups || groups->count == 0;
	char where[128];

	conf_each (group, groups) {
		if (conf_speaks_vrrp(failover, group)) {
			check_vrrp_group(report, group, failover);
			continue;
		}
		tandem = true;
		refuse_keys(report, group, of_vrrp,
			"is for 'protocol: vrrp3', which this group does not speak");
	}
	conf_node_describe(failover, where, sizeof(where));
	if (!tandem)
		refuse_keys(report, failover, of_tandem,
			"is of no use here: no group speaks 'protocol: tandem'");
	if (!tandem && !conf_find(failover, "secret_file"))
		refuse_keys(report, failover, of_secret,
			"is of no use here: there is no 'secret_file'");
	if (tandem && !conf_find(failover, "secret_file"))
		conf_error(report, failover->name.len ? failover->name_pos : failover->pos, NULL,
			"%s needs 'secret_file'", where);
}
