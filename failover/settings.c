#include "failover/settings.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/secret.h"

/* Nobody waits for the end of a planned move. */
#define MOVE_DRAIN_NS (5 * 60 * NS_PER_S)

const char *fence_mode_name(enum fence_mode m)
{
	static const char *const names[] = {
#define X(name, text) text,
		FENCE_MODES(X)
#undef X
	};

	ASSERT((unsigned)m < countof(names));
	return names[m];
}

/* What the readers below share. */
struct reading {
	struct settings *s;
	struct conf_report *report;
	const struct conf_node *failover;
};

static const struct conf_node *child(const struct conf_node *map, struct span name)
{
	conf_each (c, map)
		if (span_eq(c->name, name))
			return c;
	return NULL;
}

static bool to_name(
	struct reading *r, const struct conf_node *n, struct span text, char *out, size_t size)
{
	if (span_copy(text, out, size) == 0)
		return true;
	conf_error(r->report, n->pos, NULL, "'%.*s' is longer than %zu characters", SPAN_ARG(text),
		size - 1);
	return false;
}

/* --- nodes and paths ---------------------------------------------------------------------------
 */
static void names_of(const struct conf_node *map, char *out, size_t size)
{
	size_t at = 0;

	out[0] = '\0';
	conf_each (c, map) {
		int n = snprintf(out + at, size - at, "%s%.*s", at ? ", " : "", SPAN_ARG(c->name));

		if (n < 0 || (size_t)n >= size - at)
			return;
		at += (size_t)n;
	}
}

static uint8_t node_id(const struct conf_node *node)
{
	return (uint8_t)conf_u64(node, "id");
}

static void read_path(struct reading *r, const struct conf_node *own, const struct conf_node *peer)
{
	struct path_config *path = &r->s->paths[r->s->path_count];
	uint16_t port = (uint16_t)conf_u64(r->failover, "port");

	ASSERT(r->s->path_count < PATHS_MAX); /* the table's maximum */
	if (!to_name(r, own, own->name, path->name, sizeof(path->name)))
		return;
	path->own = own->addr;
	path->peer = peer->addr;
	addr_set_port(&path->own, port);
	addr_set_port(&path->peer, port);
	r->s->path_count++;
}

/* In the order in which the node with the lower id writes them: a path's index is its id on the
 * wire. */
static void read_paths(struct reading *r, const struct conf_node *own, const struct conf_node *peer)
{
	const struct conf_node *mine = conf_find(own, "paths"), *theirs = conf_find(peer, "paths");
	bool first = r->s->node_id < r->s->peer_id;

	conf_each (path, first ? mine : theirs) {
		const struct conf_node *other = child(first ? theirs : mine, path->name);

		ASSERT(other); /* conf_load checks that the nodes fit each other */
		read_path(r, first ? path : other, first ? other : path);
	}
}

static void read_nodes(struct reading *r, const char *name)
{
	const struct conf_node *nodes = conf_find(r->failover, "nodes");
	const struct conf_node *own = child(nodes, span_of(name)), *peer = NULL;
	char names[256];

	ASSERT(nodes); /* the table asks for them */
	if (!own) {
		names_of(nodes, names, sizeof(names));
		conf_error(r->report, nodes->name_pos, NULL,
			"this node's name '%s' is not one of the nodes (%s): name one with --node",
			name, names);
		return;
	}
	conf_each (n, nodes)
		if (n != own)
			peer = n;
	ASSERT(peer); /* the table asks for two nodes */
	r->s->node_id = node_id(own);
	r->s->peer_id = node_id(peer);
	(void)to_name(r, own, own->name, r->s->node, sizeof(r->s->node));
	(void)to_name(r, peer, peer->name, r->s->peer, sizeof(r->s->peer));
	read_paths(r, own, peer);
}

/* --- the witness -------------------------------------------------------------------------------
 */
static void read_witnessed(
	struct reading *r, struct witnessed *w, const struct conf_node *node, struct span path)
{
	const struct conf_node *paths = conf_find(node, "paths");
	const struct conf_node *at = path.len ? child(paths, path) : conf_first(paths);

	if (!at) {
		conf_error(r->report, conf_find(r->failover, "witness.path")->pos, NULL,
			"node '%.*s' has no path '%.*s'", SPAN_ARG(node->name), SPAN_ARG(path));
		return;
	}
	(void)to_name(r, node, node->name, w->name, sizeof(w->name));
	w->id = node_id(node);
	w->addr = at->addr;
	addr_set_port(&w->addr, addr_port(&r->s->witness));
}

static void read_witness(struct reading *r)
{
	const struct conf_node *nodes = conf_find(r->failover, "nodes");
	const struct conf_node *witness = conf_find(r->failover, "witness");
	struct settings *s = r->s;
	struct span path;
	unsigned i = 0;

	if (!witness)
		return;
	path = conf_text(witness, "path");
	if (path.len == 0)
		path = conf_find(conf_first(nodes), "paths")->first->name;
	s->has_witness = true;
	s->witness = conf_find(witness, "address")->addr;
	addr_set_port(&s->witness, (uint16_t)conf_u64(witness, "port"));
	conf_each (node, nodes)
		read_witnessed(r, &s->witnessed[i++], node, path);
	if (conf_report_errors(r->report) == 0 &&
		s->witnessed[0].addr.sa.sa_family != s->witness.sa.sa_family)
		conf_error(r->report, witness->pos, NULL,
			"the nodes' addresses on path '%.*s' and the witness's are not of one "
			"family",
			SPAN_ARG(path));
	/* A number on the wire that neither node has. */
	for (s->witness_id = 255;
		s->witness_id == s->witnessed[0].id || s->witness_id == s->witnessed[1].id;)
		s->witness_id--;
}

/* --- secrets -----------------------------------------------------------------------------------
 */
static void read_secrets(struct reading *r)
{
	static const char *const keys[PATHS_KEYS_MAX] = {"secret_file", "old_secret_file"};
	struct span secret = {0};
	struct err err;

	for (unsigned i = 0; i < countof(keys); i++) {
		const struct conf_node *n = conf_find(r->failover, keys[i]);
		char file[PATH_MAX];

		if (!n || !to_name(r, n, n->text, file, sizeof(file)))
			continue;
		if (secret_read(file, &secret, &err) != 0)
			conf_error(r->report, n->pos, NULL, "%s", err.text);
		else
			r->s->secrets[r->s->secret_count++] = secret;
	}
}

/* --- times -------------------------------------------------------------------------------------
 */
static void read_times(struct reading *r)
{
	const struct conf_node *profile = conf_find(r->failover, "profile");
	const struct conf_node *singles = conf_find(r->failover, "times");
	struct times *t = &r->s->times;
	struct {
		const char *key;
		uint64_t *at;
	} times[] = {{"heartbeat", &t->heartbeat_ns}, {"lease", &t->lease_ns},
		{"silence", &t->silence_ns}, {"probe", &t->probe_ns},
		{"claim_window", &t->window_ns}};
	const char *fault;

	*t = times_of(TIMES_default);
	for (enum times_profile p = 0; profile && p < TIMES_PROFILE_COUNT; p++)
		if (span_eq(profile->text, span_of(times_profile_name(p))))
			*t = times_of(p);
	for (unsigned i = 0; i < countof(times); i++) {
		const struct conf_node *n = singles ? conf_find(singles, times[i].key) : NULL;

		if (n)
			*times[i].at = n->num;
	}
	fault = times_check(t);
	if (fault)
		conf_error(r->report, (singles ? singles : r->failover)->pos, NULL,
			"these times are not safe together: %s", fault);
	r->s->stop_drain_ns = conf_u64(r->failover->parent, "timeouts.drain");
	r->s->drain_ns = conf_find(r->failover->parent, "timeouts.drain") ? r->s->stop_drain_ns
									  : MOVE_DRAIN_NS;
}

static void read_fence(struct reading *r)
{
	struct span word = conf_text(r->failover, "fence");

	/* "auto" is none of these: NONE. */
	for (enum fence_mode m = FENCE_ADDRESS; m <= FENCE_KERNEL; m++)
		if (span_eq(word, span_of(fence_mode_name(m))))
			r->s->fence = m;
}

/* --- groups ------------------------------------------------------------------------------------
 */
static void read_vips(struct group_settings *g, const struct conf_node *group)
{
	conf_each (vip, conf_find(group, "virtual_ips")) {
		ASSERT(g->vip_count < PROBE_VIPS_MAX); /* the table's maximum */
		g->vips[g->vip_count++] = vip->cidr;
	}
}

static void read_group_paths(
	struct reading *r, struct group_settings *g, const struct conf_node *group)
{
	const struct conf_node *paths = conf_find(group, "paths");

	g->path_mask = paths ? 0 : ~UINT32_C(0);
	conf_each (path, paths) {
		if (span_eq(path->text, SPAN("all")))
			g->path_mask = ~UINT32_C(0);
		for (unsigned i = 0; i < r->s->path_count; i++)
			if (span_eq(path->text, span_of(r->s->paths[i].name)))
				g->path_mask |= UINT32_C(1) << i;
	}
}

/* Its own, or those of all groups. */
static const struct conf_node *of_group(
	const struct reading *r, const struct conf_node *group, const char *key)
{
	const struct conf_node *own = conf_find(group, key);

	return own ? own : conf_find(r->failover, key);
}

static void read_hook(
	struct reading *r, struct hook_command *to, const char *key, const struct conf_node *words)
{
	struct err err;

	conf_each (word, words)
		if (hook_command_add(to, word->text) != 0) {
			conf_error(r->report, words->pos, NULL,
				"the command of %s is longer than %d characters", key,
				HOOK_TEXT_MAX - 1);
			return;
		}
	if (to->text[0] != '/')
		conf_error(r->report, words->first->pos, NULL,
			"%s names a program by its full path, such as /etc/tandem/%s", key, key);
	else if (access(to->text, X_OK) != 0) {
		err_set_errno(&err, "cannot run %s", to->text);
		conf_error(r->report, words->first->pos, NULL, "%s", err.text);
	}
}

static void read_hooks(struct reading *r, struct group_settings *g, const struct conf_node *group)
{
	const struct conf_node *timeout = conf_find(group, "hook_timeout");

	for (enum hook_kind k = 0; k < HOOK_KIND_COUNT; k++) {
		const struct conf_node *words = of_group(r, group, hook_kind_name(k));

		if (words)
			read_hook(r, &g->hooks[k], hook_kind_name(k), words);
	}
	g->hook_timeout_ns = timeout ? timeout->num : conf_u64(r->failover, "hook_timeout");
}

/* "nodes" is the other node's addresses on the group's paths. */
static void read_unicast(struct reading *r, struct group_settings *g, const struct conf_node *group)
{
	conf_each (peer, conf_find(group, "unicast_peer")) {
		bool nodes = span_eq(peer->text, SPAN("nodes"));
		bool own = false;

		for (unsigned i = 0; i < r->s->path_count; i++) {
			const struct path_config *path = &r->s->paths[i];

			own = own || addr_eq_ip(&peer->addr, &path->own);
			if (nodes && g->path_mask >> i & 1)
				g->unicast_peers[g->unicast_count++] = path->peer;
		}
		/* The list may name both nodes: the file is the same on both. */
		if (!nodes && !own)
			g->unicast_peers[g->unicast_count++] = peer->addr;
	}
	ASSERT(g->unicast_count <= VRRP_PEERS_MAX);
	if (g->unicast_count == 0 && conf_find(group, "unicast_peer"))
		conf_error(r->report, conf_find(group, "unicast_peer")->pos, NULL,
			"these are all addresses of this node ('%s'): name the peer's", r->s->node);
}

static uint8_t priority_of(
	struct reading *r, const struct group_settings *g, const struct conf_node *priority)
{
	if (priority && priority->kind == CONF_MAP)
		priority = child(priority, span_of(r->s->node));
	if (priority)
		return (uint8_t)priority->num;
	return g->prefer == r->s->node_id ? SETTINGS_PRIORITY_PREFERRED : SETTINGS_PRIORITY;
}

static void read_vrrp(struct reading *r, struct group_settings *g, const struct conf_node *group)
{
	const struct conf_node *failback = conf_find(group, "failback");

	g->speaks_vrrp =
		conf_u64(conf_find(group, "protocol") ? group : r->failover, "protocol") == 1;
	if (!g->speaks_vrrp) {
		r->s->speaks_tandem = true;
		return;
	}
	g->vrrp = (struct vrrp_config){.priority = priority_of(r, g, conf_find(group, "priority")),
		.preempt = failback ? failback->num != 0 : conf_bool(group, "preempt"),
		.preempt_after_ns = g->failback_ns,
		.interval_ns = conf_u64(group, "advertise")};
	read_unicast(r, g, group);
}

static bool is_any(const struct addr *a)
{
	return a->sa.sa_family == AF_INET ? a->in.sin_addr.s_addr == INADDR_ANY
					  : IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

static bool is_vip(const struct group_settings *g, const struct addr *a)
{
	for (unsigned i = 0; i < g->vip_count; i++) {
		struct cidr host = g->vips[i];

		host.bits = host.family == AF_INET ? 32 : 128;
		if (cidr_contains(&host, a))
			return true;
	}
	return false;
}

/* False: there are too many to list. */
static bool add_port(struct group_settings *g, uint16_t port)
{
	for (unsigned i = 0; i < g->port_count; i++)
		if (g->ports[i] == port)
			return true;
	if (g->port_count == SETTINGS_PORTS_MAX)
		return false;
	g->ports[g->port_count++] = port;
	return true;
}

static void read_ports(struct group_settings *g, const struct conf_node *listeners)
{
	conf_each (listener, listeners)
		conf_each (bind, conf_find(listener, "bind"))
			if ((is_any(&bind->addr) || is_vip(g, &bind->addr)) &&
				!add_port(g, addr_port(&bind->addr))) {
				g->port_count = 0;
				return;
			}
}

static void read_group(struct reading *r, const struct conf_node *group)
{
	struct group_settings *g = &r->s->groups[r->s->group_count];
	const struct conf_node *prefer = conf_find(group, "prefer");
	const struct conf_node *failback = conf_find(group, "failback");

	ASSERT(r->s->group_count < SETTINGS_GROUPS_MAX); /* the table's maximum */
	r->s->group_count++;
	(void)to_name(r, group, group->name, g->name, sizeof(g->name));
	(void)to_name(r, group, conf_text(group, "interface"), g->interface, sizeof(g->interface));
	g->vrid = (uint8_t)conf_u64(group, "vrid");
	g->prefer = prefer ? node_id(child(conf_find(r->failover, "nodes"), prefer->text)) : 0;
	g->failback_ns = failback ? failback->num : 0;
	read_vips(g, group);
	read_ports(g, conf_find(r->failover->parent, "listeners"));
	read_group_paths(r, g, group);
	if (!r->s->node_id) /* the witness */
		return;
	read_hooks(r, g, group);
	read_vrrp(r, g, group);
}

/* --- alerts ------------------------------------------------------------------------------------
 */
static void read_alert(struct reading *r, const struct conf_node *alert)
{
	struct alert_rule_settings *a = &r->s->alerts[r->s->alert_count];
	const struct conf_node *webhook = conf_find(alert, "webhook");
	const struct conf_node *exec = conf_find(alert, "exec");
	const struct conf_node *at_most = conf_find(alert, "at_most");
	enum alert_kind kind;

	ASSERT(r->s->alert_count < ALERT_RULES_MAX); /* the table's maximum */
	r->s->alert_count++;
	conf_each (word, conf_find(alert, "on"))
		if (alert_kind_parse(word->text, &kind) == 0)
			a->rule.kinds |= UINT32_C(1) << kind;
	a->rule.for_ns = conf_u64(alert, "for");
	if (at_most)
		a->rule.at_most = at_most->rate;
	if (!webhook && !exec)
		conf_error(r->report, alert->pos, NULL,
			"this alert reaches nobody: add webhook: URL or exec: PROGRAM");
	if (webhook && !span_starts(webhook->text, SPAN("http://")) &&
		!span_starts(webhook->text, SPAN("https://")))
		conf_error(r->report, webhook->pos, NULL,
			"a webhook is a URL such as https://hooks.example.com/lb");
	if (webhook)
		(void)to_name(r, webhook, webhook->text, a->webhook, sizeof(a->webhook));
	if (exec)
		read_hook(r, &a->command, "exec", exec);
}

/* --- autoscaling -------------------------------------------------------------------------------
 */
static void read_scales(struct reading *r, const struct conf_node *pools)
{
	unsigned count = 0;

	conf_each (pool, pools)
		count += conf_find(pool, "scale") != NULL;
	r->s->scales = calloc(count + 1, sizeof(*r->s->scales));
	conf_each (pool, pools) {
		const struct conf_node *scale = conf_find(pool, "scale");
		const struct conf_node *webhook = conf_find(pool, "scale.webhook");
		const struct conf_node *exec = conf_find(pool, "scale.exec");
		struct scale_settings *s;

		if (!scale || !r->s->scales)
			continue;
		s = &r->s->scales[r->s->scale_count++];
		(void)to_name(r, pool, pool->name, s->pool, sizeof(s->pool));
		if (webhook)
			(void)to_name(r, webhook, webhook->text, s->webhook, sizeof(s->webhook));
		if (exec)
			read_hook(r, &s->command, "exec", exec);
	}
}

/* --- all ---------------------------------------------------------------------------------------
 */
static void read_all(struct reading *r, const struct conf *conf, const char *node)
{
	const struct conf_node *listeners = conf_find(conf->root, "listeners");
	const struct conf_node *gateway;

	r->failover = conf_find(conf->root, "failover");
	if (!r->failover) {
		conf_error(r->report, conf->root->pos, NULL,
			"there is no 'failover' section: a single box runs tandem-proxy alone");
		return;
	}
	if (node)
		read_nodes(r, node);
	read_witness(r);
	if (!node && !r->s->has_witness)
		conf_error(r->report, r->failover->name_pos, NULL,
			"there is no 'witness' in it: it says which address the witness has");
	read_secrets(r);
	read_times(r);
	read_fence(r);
	conf_each (group, conf_find(r->failover, "groups"))
		read_group(r, group);
	if (node)
		conf_each (alert, conf_find(conf->root, "alerts"))
			read_alert(r, alert);
	if (node)
		read_scales(r, conf_find(conf->root, "pools"));
	r->s->hook_timeout_ns = conf_u64(r->failover, "hook_timeout");
	gateway = conf_find(r->failover, "gateway");
	r->s->has_gateway = gateway != NULL;
	if (gateway)
		r->s->gateway = gateway->addr;
	r->s->has_proxy = listeners && listeners->count > 0;
	(void)span_copy(
		conf_text(conf->root, "log.level"), r->s->log_level, sizeof(r->s->log_level));
	conf_words_of(conf_find(conf->root, "log.debug"), r->s->log_debug, sizeof(r->s->log_debug));
	conf_digest(conf, r->s->hash);
}

struct settings *settings_load(
	const char *file, const char *node, struct conf_report *report, struct conf **ret_conf)
{
	struct conf *conf = conf_load(file, report);
	struct settings *s = calloc(1, sizeof(*s));
	struct reading r = {.s = s, .report = report};

	/* After a fault in the file's form the values mean nothing, and would be reported twice. */
	if (s && conf && conf_report_errors(report) == 0)
		read_all(&r, conf, node);
	if (s && (!conf || conf_report_errors(report) != 0)) {
		settings_free(s);
		s = NULL;
	}
	if (ret_conf)
		*ret_conf = conf;
	else
		conf_free(conf);
	return s;
}

void settings_free(struct settings *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->secret_count; i++)
		secret_free(s->secrets[i]);
	free(s->scales);
	free(s);
}
