#include "failover/agent.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "failover/group_hooks.h"
#include "failover/status.h"
#include "shared/assert.h"
#include "shared/log.h"
#include "shared/rng.h"
#include "shared/units.h"

/* For a peer that does not answer; draining has its own limit. */
#define STOP_LIMIT_S 5.0
#define REALTIME_PRIORITY 10
#define LIBRARY_STACK_BYTES (512 * 1024)
/* A lease as short as that is lost by waiting for a processor that is busy with usual things. */
#define SHORT_LEASE_NS (100 * NS_PER_MS)

static struct group *group_of(struct list *it)
{
	return list_item(it, struct group, in_agent);
}

struct group *agent_find(struct agent *a, const char *name)
{
	list_each (it, &a->groups)
		if (strcmp(group_of(it)->settings.name, name) == 0)
			return group_of(it);
	return NULL;
}

/* --- the proxy ---------------------------------------------------------------------------------
 */
static enum fsm_proxy proxy_health(const struct agent *a)
{
	if (!a->settings->has_proxy)
		return FSM_PROXY_OK;
	switch (a->proxy.state) {
	case PROXY_OK:
		return FSM_PROXY_OK;
	case PROXY_HUNG:
		return FSM_PROXY_HUNG;
	case PROXY_DEAD:
		return FSM_PROXY_DEAD;
	case PROXY_ABSENT:
	case PROXY_STARTING:
	case PROXY_STOPPING: /* it still serves: the addresses move in good order */
		break;
	}
	return FSM_PROXY_ABSENT;
}

static void on_proxy_state(void *ctx, enum proxy_state from, enum proxy_state to)
{
	struct agent *a = ctx;
	bool good = to == PROXY_OK || to == PROXY_STARTING;

	/* The groups first: an address may have to move within a millisecond. */
	list_each (it, &a->groups)
		group_proxy(group_of(it), proxy_health(a));
	alert(a->alerts, ALERT_PROXY_DOWN, "tandem-proxy", proxy_health(a) != FSM_PROXY_OK,
		proxy_state_name(to));
	log_event(good ? LOG_NOTICE : LOG_WARNING, "proxy.state", "the proxy's state changed",
		F_TEXT("from", proxy_state_name(from)), F_TEXT("to", proxy_state_name(to)),
		F_INT("pid", a->proxy.pid));
	rpc_publish(a->rpc, "proxy.state",
		json_pack(
			"{s:s, s:s}", "from", proxy_state_name(from), "to", proxy_state_name(to)));
}

static void tell_proxy(void *ctx, uint64_t caller, const char *method, json_t *params)
{
	struct agent *a = ctx;

	(void)rpc_notify(a->rpc, caller, method, params); /* gone: it says hello again */
}

static void append_vips(json_t *to, const struct group_settings *s)
{
	char text[ADDR_TEXT_MAX];

	for (unsigned i = 0; i < s->vip_count; i++) {
		(void)cidr_format_ip(&s->vips[i], text);
		json_array_append_new(to, json_string(text));
	}
}

void agent_tell_role(struct agent *a)
{
	json_t *groups = json_object(), *vips = json_array(), *role;
	bool active = false;

	list_each (it, &a->groups) {
		const struct group *g = group_of(it);

		active = active || group_owns(g);
		json_object_set_new(groups, g->settings.name,
			json_string(fsm_state_name(group_view(g, monotonic_ns()).state)));
		append_vips(vips, &g->settings);
	}
	daemon_status("%s", active ? "active" : "standby");
	role = json_pack("{s:s, s:o, s:o, s:I}", "role", active ? "active" : "standby", "groups",
		groups, "virtual_ips", vips, "beat_ms",
		(json_int_t)(a->settings->times.beat_ns / NS_PER_MS));
	if (a->proxy.caller)
		tell_proxy(a, a->proxy.caller, "role", json_incref(role));
	for (unsigned i = 0; i < countof(a->proxy.elders); i++)
		if (a->proxy.elders[i].caller)
			tell_proxy(a, a->proxy.elders[i].caller, "role", json_incref(role));
	json_decref(role);
}

static json_t *transitions_json(const struct group *g)
{
	json_t *counts = json_object();

	for (unsigned i = 0; i < countof(g->transitions); i++)
		if (g->transitions[i])
			json_object_set_new(counts, fsm_reason_name((enum fsm_reason)i),
				json_integer(g->transitions[i]));
	return counts;
}

void agent_tell_counts(struct agent *a)
{
	uint64_t now_ns = monotonic_ns();
	json_t *transitions, *heard;

	if (a->proxy.caller == 0 || now_ns - a->counts_told_ns < NS_PER_S)
		return;
	a->counts_told_ns = now_ns;
	transitions = json_object();
	heard = json_object();
	list_each (it, &a->groups)
		json_object_set_new(
			transitions, group_of(it)->settings.name, transitions_json(group_of(it)));
	for (unsigned i = 0; i < paths_count(a->paths); i++) {
		const struct path_state *s = paths_get(a->paths, i);

		if (s->last_heard_ns)
			json_object_set_new(heard, s->config.name,
				json_integer(
					(json_int_t)((now_ns - s->last_heard_ns) / NS_PER_MS)));
	}
	tell_proxy(a, a->proxy.caller, "counts",
		json_pack("{s:o, s:o}", "transitions", transitions, "peer_heard_ms", heard));
}

/* --- the peer ----------------------------------------------------------------------------------
 */
static void look_at_config(struct agent *a, const struct packet *p)
{
	bool matches = memcmp(p->config_hash, a->settings->hash, PACKET_HASH_BYTES) == 0;

	if (a->peer_config_known && a->peer_config_matches == matches)
		return;
	if (!matches || a->peer_config_known)
		log_event(matches ? LOG_NOTICE : LOG_WARNING, "config.peer",
			matches ? "the peer runs the same configuration again"
				: "the peer runs another configuration than this node");
	a->peer_config_known = true;
	a->peer_config_matches = matches;
	alert(a->alerts, ALERT_CONFIG_MISMATCH, a->settings->peer, !matches,
		matches ? "the nodes run the same configuration"
			: "the nodes run different configurations");
}

static void on_packet(void *ctx, unsigned path, const struct packet *packet, uint64_t age_ns)
{
	struct agent *a = ctx;

	a->peer_flags = packet->flags;
	a->peer_connections = packet->connections;
	look_at_config(a, packet);
	list_each (it, &a->groups) {
		struct group *g = group_of(it);

		if (g->vrrp || g->settings.vrid != packet->group)
			continue;
		group_event(g, &(struct fsm_event){.kind = FSM_EV_PACKET,
				       .path = (uint8_t)path,
				       .age_ns = age_ns,
				       .packet = packet});
		return;
	}
	log_event(LOG_WARNING, "path.group", "the peer has a group that this node has not",
		F_INT("vrid", packet->group));
}

static void tell_peer(struct agent *a)
{
	bool heard = false;

	for (unsigned i = 0; i < paths_count(a->paths); i++)
		heard = heard || paths_get(a->paths, i)->up;
	alert(a->alerts, ALERT_PEER_DOWN, a->settings->peer, !heard,
		heard ? "it is heard again" : "it is not heard on any path");
}

static void on_path(void *ctx, const struct path_state *path)
{
	struct agent *a = ctx;

	log_event(path->up ? LOG_NOTICE : LOG_WARNING, path->up ? "path.up" : "path.down",
		path->up ? "the peer is heard" : "the peer is not heard any more",
		F_TEXT("path", path->config.name), F_INT("lost", path->lost));
	rpc_publish(a->rpc, path->up ? "path.up" : "path.down",
		json_pack("{s:s, s:s}", "path", path->config.name, "peer", a->settings->peer));
	tell_peer(a);
}

static bool is_on_link(void *ctx, const struct addr *peer)
{
	struct agent *a = ctx;

	return netlink_on_link(a->netlink, peer);
}

bool agent_is_peer(struct agent *a, int ifindex, const uint8_t mac[6])
{
	uint8_t known[6];

	/* The MAC of a virtual router (RFC 9568 7.3): a peer that uses it. */
	if (memcmp(mac, (const uint8_t[]){0x00, 0x00, 0x5e, 0x00}, 4) == 0)
		return true;
	for (unsigned i = 0; i < a->settings->path_count; i++)
		if (netlink_neighbour(a->netlink, ifindex, &a->settings->paths[i].peer, known) ==
				0 &&
			memcmp(known, mac, sizeof(known)) == 0)
			return true;
	return false;
}

static struct packet make_packet(const struct agent *a, const struct group *g,
	const struct fsm_action *send, uint64_t now_ns)
{
	struct packet p;

	fsm_packet(&g->fsm, send, now_ns, &p);
	memcpy(p.config_hash, a->settings->hash, PACKET_HASH_BYTES);
	p.connections =
		a->proxy.connections < UINT32_MAX ? (uint32_t)a->proxy.connections : UINT32_MAX;
	if (a->peer_config_known && !a->peer_config_matches)
		p.flags |= PACKET_CONFIG_MISMATCH;
	return p;
}

void agent_send(struct agent *a, const struct group *g, const struct fsm_action *send,
	uint64_t now_ns, uint32_t path_mask)
{
	struct packet p = make_packet(a, g, send, now_ns);

	(void)paths_send(a->paths, &p, path_mask);
	if (a->witness)
		witness_link_send(a->witness, &p);
}

int agent_send_frame(struct agent *a, const struct group *g, const struct fsm_action *send,
	uint64_t now_ns, struct err *err)
{
	struct packet p = make_packet(a, g, send, now_ns);

	return paths_send_frame(a->paths, &a->announce, &p, &g->fence.wire, err);
}

bool agent_has_path(const struct agent *a, const struct cidr *address)
{
	struct cidr host = *address;

	host.bits = host.family == AF_INET ? 32 : 128;
	for (unsigned i = 0; i < a->settings->path_count; i++)
		if (cidr_contains(&host, &a->settings->paths[i].own))
			return true;
	return false;
}

void agent_drain(struct agent *a)
{
	a->ran_ns = monotonic_ns();
	paths_drain(a->paths);
	list_each (it, &a->groups)
		group_drain(group_of(it));
	if (a->witness)
		witness_link_drain(a->witness, monotonic_ns());
	netlink_drain(a->netlink);
	paths_check(a->paths, monotonic_ns());
}

static struct paths *open_paths(struct agent *a, const struct settings *s, struct err *err)
{
	struct paths_options o = {.handlers = {.ctx = a,
					  .on_packet = on_packet,
					  .on_path = on_path,
					  .is_on_link = is_on_link},
		.configs = s->paths,
		.count = s->speaks_tandem ? s->path_count : 0,
		.peer = s->peer_id,
		.silence_ns = s->times.silence_ns,
		.replaces = a->paths,
		.secret_count = s->secret_count};
	struct paths *paths;

	for (unsigned i = 0; i < s->secret_count; i++)
		o.secrets[i] = s->secrets[i];
	/* A new life on the wire each time: numbers start again. */
	do {
		random_bytes(&o.boot_id, sizeof(o.boot_id));
	} while (o.boot_id == 0);
	paths = paths_new(a->loop, &o, err);
	if (paths)
		a->boot_id = o.boot_id;
	return paths;
}

/* --- the kernel --------------------------------------------------------------------------------
 */
static void on_link(void *ctx, const struct netlink_link *link)
{
	struct agent *a = ctx;

	list_each (it, &a->groups)
		if (strcmp(group_of(it)->settings.interface, link->name) == 0)
			group_link(group_of(it), link);
}

static void on_address(
	void *ctx, int ifindex, const struct cidr *address, bool there, bool dad_failed)
{
	struct agent *a = ctx;

	list_each (it, &a->groups)
		group_address(group_of(it), ifindex, address, there, dad_failed);
}

static void on_resync(void *ctx)
{
	struct agent *a = ctx;

	log_event(LOG_WARNING, "netlink.overrun",
		"events of the kernel were lost: reading everything anew");
	list_each (it, &a->groups)
		group_resync(group_of(it));
}

static void on_epoch(void *ctx, const struct epoch_result *r)
{
	struct agent *a = ctx;
	struct group *g = agent_find(a, r->group);

	if (r->failed)
		log_event(LOG_ERROR, "epoch.failed", r->err.text, F_TEXT("group", r->group));
	if (g)
		group_event(g, &(struct fsm_event){.kind = r->failed ? FSM_EV_EPOCH_FAILED
								     : FSM_EV_EPOCH_STORED,
				       .epoch = r->epoch});
}

/* --- groups come and go ------------------------------------------------------------------------
 */
/* Another interface or VRID is another group, though of the same name. */
static bool same_group(const struct agent *a, const struct group *g, const struct group_settings *s)
{
	return strcmp(g->settings.name, s->name) == 0 && g->settings.vrid == s->vrid &&
	       strcmp(g->settings.interface, s->interface) == 0 &&
	       g->settings.speaks_vrrp == s->speaks_vrrp &&
	       (g->vrrp || (g->fsm.config.node == a->settings->node_id &&
				   g->fsm.config.peer == a->settings->peer_id));
}

static const struct group_settings *wanted(const struct agent *a, const struct group *g)
{
	for (unsigned i = 0; i < a->settings->group_count && !a->stopping; i++)
		if (same_group(a, g, &a->settings->groups[i]))
			return &a->settings->groups[i];
	return NULL;
}

/* Free means: neither the name nor the VRID is still in use by a group that is leaving. Groups that
 * speak VRRP may share one (another family or interface: the file's rules have looked). */
static bool is_free(struct agent *a, const struct group_settings *s)
{
	list_each (it, &a->groups)
		if (strcmp(group_of(it)->settings.name, s->name) == 0 ||
			(group_of(it)->settings.vrid == s->vrid &&
				!(group_of(it)->vrrp && s->speaks_vrrp)))
			return false;
	return true;
}

static int start_group(struct agent *a, const struct group_settings *s, struct err *err)
{
	struct group *g = group_new(a, s, err);

	if (!g)
		return -1;
	list_append(&a->groups, &g->in_agent);
	group_proxy(g, proxy_health(a));
	return 0;
}

static int start_missing(struct agent *a, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < a->settings->group_count && !a->stopping; i++)
		if (is_free(a, &a->settings->groups[i]) &&
			start_group(a, &a->settings->groups[i], err) != 0)
			rc = -1;
	return rc;
}

/* Between two turns of the loop nobody holds a group. */
static void on_reap(EV_P_ ev_prepare *w, int revents)
{
	struct agent *a = container_of(w, struct agent, reap);
	struct err err;
	bool any = false;

	(void)revents;
	list_each_safe (it, &a->groups) {
		struct group *g = group_of(it);

		if (!g->stopped)
			continue;
		any = true;
		log_event(LOG_NOTICE, "group.ended", "group ended",
			F_TEXT("group", g->settings.name));
		group_free(g);
	}
	if (a->stopping && list_empty(&a->groups) && hooks_idle(a->hooks))
		ev_break(EV_A_ EVBREAK_ALL);
	else if (any && start_missing(a, &err) != 0)
		log_event(LOG_ERROR, "group.failed", err.text);
}

/* --- a new configuration -----------------------------------------------------------------------
 */
static bool same_paths(const struct settings *a, const struct settings *b)
{
	if (a->speaks_tandem != b->speaks_tandem || a->path_count != b->path_count ||
		a->secret_count != b->secret_count || a->peer_id != b->peer_id ||
		a->times.silence_ns != b->times.silence_ns)
		return false;
	for (unsigned i = 0; i < a->path_count; i++)
		if (strcmp(a->paths[i].name, b->paths[i].name) != 0 ||
			!addr_eq(&a->paths[i].own, &b->paths[i].own) ||
			!addr_eq(&a->paths[i].peer, &b->paths[i].peer))
			return false;
	for (unsigned i = 0; i < a->secret_count; i++)
		if (!span_eq(a->secrets[i], b->secrets[i]))
			return false;
	return true;
}

static bool same_witness(const struct settings *a, const struct settings *b)
{
	if (a->has_witness != b->has_witness || a->witness_id != b->witness_id)
		return false;
	return !a->has_witness || (addr_eq(&a->witness, &b->witness) &&
					  addr_eq(&a->witnessed[0].addr, &b->witnessed[0].addr) &&
					  addr_eq(&a->witnessed[1].addr, &b->witnessed[1].addr));
}

/* The old ones stay when the new ones fail. */
static int swap_paths(struct agent *a, const struct settings *next, struct err *err)
{
	struct witness_link *witness = NULL;
	struct paths *paths;

	if (same_paths(a->settings, next) && same_witness(a->settings, next))
		return 0;
	paths_drain(a->paths);
	paths = open_paths(a, next, err);
	if (!paths)
		return -1;
	if (next->has_witness) {
		witness = witness_link_new(a, next, a->witness, err);
		if (!witness) {
			paths_free(paths);
			return -1;
		}
	}
	witness_link_free(a->witness);
	paths_free(a->paths);
	a->witness = witness;
	a->paths = paths;
	agent_open_copy(a, next);
	return 0;
}

static void judge_times(const struct agent *a)
{
	if (a->realtime || !a->settings->speaks_tandem ||
		a->settings->times.lease_ns > SHORT_LEASE_NS)
		return;
	log_event(LOG_WARNING, "agent.not_realtime",
		"such short times want real-time scheduling, which was not granted: on a busy "
		"machine addresses move without need, and a takeover takes long. Allow it "
		"(CPUSchedulingPolicy=rr in the unit file), or use 'profile: default'",
		F_INT("lease_ms", a->settings->times.lease_ns / NS_PER_MS));
}

static void apply(struct agent *a, struct settings *next)
{
	struct settings *old = a->settings;
	struct err err;

	a->settings = next;
	a->generation++;
	a->peer_config_known = false;
	daemon_log_follow(a->options, span_of(next->log_level), span_of(next->log_debug));
	list_each (it, &a->groups) {
		struct group *g = group_of(it);
		const struct group_settings *s = wanted(a, g);

		if (s && !g->leaving) {
			group_apply(g, s);
		} else {
			group_paths_changed(g);
			group_stop(g);
		}
		group_proxy(g, proxy_health(a));
	}
	if (start_missing(a, &err) != 0)
		log_event(LOG_ERROR, "group.failed", err.text);
	agent_tell_role(a); /* of other virtual IPs, perhaps */
	alerts_apply(a->alerts);
	if (next->times.lease_ns != old->times.lease_ns)
		judge_times(a);
	settings_free(old);
}

/* The first fault for the caller, all of them for the log. */
static void tell_faults(const struct conf_report *report, const struct conf *conf, struct err *err)
{
	char *line;

	err_set(err, "cannot read the configuration");
	for (size_t i = 0; (line = conf_report_line(report, conf, i)) != NULL; i++) {
		if (i == 0)
			err_set(err, "%s", line);
		log_event(LOG_ERROR, "config.fault", line);
		free(line);
	}
	if (conf_report_errors(report) > 1)
		err_prefix(err, "%zu errors, the first", conf_report_errors(report));
}

int agent_reload(struct agent *a, struct err *err)
{
	struct conf_report *report = conf_report_new();
	struct conf *conf = NULL;
	struct settings *next =
		report ? settings_load(a->options->config, a->options->node, report, &conf) : NULL;
	int rc = -1;

	daemon_reloading();
	if (!next && report)
		tell_faults(report, conf, err);
	else if (!next)
		err_set(err, "out of memory");
	else if (swap_paths(a, next, err) == 0)
		rc = 0;
	if (rc == 0) {
		apply(a, next);
		log_event(LOG_NOTICE, "config.applied", "configuration applied",
			F_INT("generation", a->generation));
		rpc_publish(a->rpc, "config.applied",
			json_pack("{s:I}", "generation", (json_int_t)a->generation));
	} else {
		settings_free(next);
		log_event(LOG_ERROR, "config.refused", err->text,
			F_TEXT("decision", "keeping the running one"));
	}
	conf_free(conf);
	conf_report_free(report);
	daemon_ready();
	return rc;
}

static void on_reload_signal(void *ctx)
{
	struct err err;

	(void)agent_reload(ctx, &err); /* it has logged */
}

/* --- the end -----------------------------------------------------------------------------------
 */
static void on_stop_limit(EV_P_ ev_timer *w, int revents)
{
	(void)w, (void)revents;
	log_event(LOG_WARNING, "agent.stop_limit",
		"could not give everything away in time: dropping it");
	ev_break(EV_A_ EVBREAK_ALL);
}

void agent_stop(struct agent *a)
{
	if (a->stopping)
		return;
	a->stopping = true;
	log_event(LOG_NOTICE, "agent.stopping", "giving away what this node has");
	daemon_stopping();
	ev_timer_set(&a->stop_limit, STOP_LIMIT_S + (double)a->settings->stop_drain_ns / 1e9, 0);
	ev_timer_start(a->loop, &a->stop_limit);
	list_each (it, &a->groups)
		group_stop(group_of(it));
}

static void on_stop_signal(void *ctx)
{
	agent_stop(ctx);
}

/* --- life --------------------------------------------------------------------------------------
 */
static void on_watchdog(EV_P_ ev_timer *w, int revents)
{
	(void)loop, (void)w, (void)revents;
	daemon_watchdog_beat();
}

static void limit_stacks(void)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, LIBRARY_STACK_BYTES);
	(void)pthread_setattr_default_np(&attr);
	pthread_attr_destroy(&attr);
}

/* Helps on a busy machine; nothing relies on it. */
static void ask_for_real_time(struct agent *a)
{
	struct sched_param param = {.sched_priority = REALTIME_PRIORITY};
	struct rlimit lock = {0};
	bool locked = false;

	a->realtime = sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &param) == 0;
	/* Threads that libraries start: their stacks would be locked whole. */
	limit_stacks();
	/* Under a limit locking would succeed now, and allocations would fail later. */
	if (getrlimit(RLIMIT_MEMLOCK, &lock) == 0 && lock.rlim_cur == RLIM_INFINITY)
		locked = mlockall(MCL_CURRENT | MCL_FUTURE) == 0;
	log_event(LOG_INFO, "agent.realtime",
		a->realtime && locked
			? "real-time scheduling and locked memory"
			: "not all real-time help was allowed: a very busy machine may "
			  "delay heartbeats",
		F_BOOL("scheduled", a->realtime), F_BOOL("locked", locked));
	judge_times(a);
}

static void open_packet_filter(struct agent *a)
{
	struct err err;

	a->nft = nft_new(&err);
	a->sets = a->nft ? netlink_set_new(&err) : NULL;
	if (a->sets)
		return;
	nft_free(a->nft);
	a->nft = NULL;
	log_event(LOG_WARNING, "fence.no_nft", err.text);
}

static int open_kernel(struct agent *a, struct err *err)
{
	struct netlink_handlers handlers = {
		.ctx = a, .on_link = on_link, .on_address = on_address, .on_resync = on_resync};

	if (announce_init(&a->announce, err) != 0)
		return -1;
	a->netlink = netlink_new(a->loop, &handlers, err);
	if (!a->netlink)
		return -1;
	arp_guard_init(&a->arp, a->netlink);
	open_packet_filter(a);
	fence_clean(a);
	a->paths = open_paths(a, a->settings, err);
	if (a->paths && a->settings->has_witness)
		a->witness = witness_link_new(a, a->settings, NULL, err);
	return a->paths && (a->witness || !a->settings->has_witness) ? 0 : -1;
}

static void on_hook(void *ctx, const struct hook_result *result)
{
	struct agent *a = ctx;

	log_event(result->good ? LOG_INFO : LOG_WARNING, "hook.ended", result->words,
		F_TEXT("hook", result->label), F_INT("lane", result->lane),
		F_BOOL("good", result->good), F_INT("ms", result->took_ns / NS_PER_MS));
	list_each (it, &a->groups)
		if (group_of(it)->settings.vrid == result->lane)
			group_hooks_ended(group_of(it), result);
}

static int open_sockets(struct agent *a, struct err *err)
{
	if (daemon_make_dir(a->options->run_dir, 0750, err) != 0 ||
		daemon_make_dir(a->options->state_dir, 0750, err) != 0)
		return -1;
	a->epochs = epoch_store_new(a->loop, a->options->state_dir, a, on_epoch, err);
	if (!a->epochs)
		return -1;
	a->hooks = hooks_new(a->loop, a, on_hook, err);
	if (!a->hooks)
		return -1;
	a->alerts = alerts_new(a, err);
	if (!a->alerts)
		return -1;
	/* Also keeps a second agent out, before anything of the first one is touched. */
	a->rpc = status_serve(a, err);
	return a->rpc ? 0 : -1;
}

int agent_init(struct agent *a, struct ev_loop *loop, const struct daemon_options *options,
	struct settings *settings, struct err *err)
{
	struct proxy_link_handlers proxy = {.ctx = a,
		.on_state = on_proxy_state,
		.on_client = agent_client,
		.tell = tell_proxy};
	struct clients_handlers peer_clients = {.ctx = a};
	double watchdog_s = daemon_watchdog_interval();

	*a = (struct agent){
		.loop = loop, .options = options, .settings = settings, .generation = 1};
	a->announce.fd = -1;
	a->ran_ns = monotonic_ns();
	list_init(&a->groups);
	ev_init(&a->stop_limit, on_stop_limit);
	ev_timer_init(&a->watchdog, on_watchdog, watchdog_s, watchdog_s);
	ev_prepare_init(&a->reap, on_reap);
	states_init(&a->states);
	tickle_init(&a->tickle, loop);
	a->peer_clients = clients_new(&peer_clients);
	if (proxy_link_init(&a->proxy, loop, &proxy) != 0 || !a->peer_clients) {
		err_set(err, "out of memory");
		agent_fini(a);
		return -1;
	}
	if (open_sockets(a, err) != 0 || open_kernel(a, err) != 0 || start_missing(a, err) != 0) {
		agent_fini(a);
		return -1;
	}
	agent_open_copy(a, settings);
	ev_prepare_start(loop, &a->reap);
	if (watchdog_s > 0)
		ev_timer_start(loop, &a->watchdog);
	a->signals = (struct daemon_signals){
		.loop = loop, .ctx = a, .on_stop = on_stop_signal, .on_reload = on_reload_signal};
	daemon_signals_start(&a->signals);
	ask_for_real_time(a);
	daemon_log_follow(options, span_of(settings->log_level), span_of(settings->log_debug));
	return 0;
}

void agent_fini(struct agent *a)
{
	ev_prepare_stop(a->loop, &a->reap);
	ev_timer_stop(a->loop, &a->watchdog);
	ev_timer_stop(a->loop, &a->stop_limit);
	list_each_safe (it, &a->groups)
		group_free(group_of(it));
	witness_link_free(a->witness);
	tickle_fini(&a->tickle);
	peer_copy_free(a->copy);
	a->copy = NULL; /* the proxy's clients go below */
	clients_free(a->peer_clients);
	states_fini(&a->states);
	paths_free(a->paths);
	arp_guard_fini(&a->arp);
	netlink_set_free(a->sets);
	nft_free(a->nft);
	netlink_free(a->netlink);
	announce_fini(&a->announce);
	proxy_link_fini(&a->proxy);
	rpc_server_free(a->rpc);
	epoch_store_free(a->epochs);
	alerts_free(a->alerts);
	hooks_free(a->hooks);
	settings_free(a->settings);
}
