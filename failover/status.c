#include "failover/status.h"

#include "config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "failover/agent.h"
#include "failover/group_vrrp.h"
#include "failover/scale.h"
#include "shared/assert.h"
#include "shared/log.h"
#include "shared/units.h"

/* --- what there is to see ----------------------------------------------------------------------
 */
static json_t *time_json(uint64_t realtime_at_ns)
{
	char text[25];

	time_format(realtime_at_ns, text);
	return json_string(text);
}

static json_t *age_ms_json(uint64_t at_ns, uint64_t now_ns)
{
	return at_ns ? json_integer((json_int_t)((now_ns - at_ns) / NS_PER_MS)) : json_null();
}

static json_t *vips_json(const struct group_settings *s)
{
	json_t *vips = json_array();
	char text[ADDR_TEXT_MAX];

	for (unsigned i = 0; i < s->vip_count; i++) {
		cidr_format(&s->vips[i], text);
		json_array_append_new(vips, json_string(text));
	}
	return vips;
}

static json_t *alarms_json(uint32_t set)
{
	json_t *alarms = json_array();

	for (enum fsm_alarm i = 0; i < FSM_ALARM_COUNT; i++)
		if (set >> i & 1)
			json_array_append_new(alarms, json_string(fsm_alarm_words(i)));
	return alarms;
}

static json_t *group_json(const struct group *g, uint64_t now_ns)
{
	struct group_view v = group_view(g, now_ns);
	const char *held = v.alarms >> FSM_ALARM_HELD & 1 ? fsm_alarm_words(FSM_ALARM_HELD) : NULL;
	char reason[160];
	json_t *shown;

	group_reason(g, reason, sizeof(reason));
	shown = json_pack("{s:s, s:s, s:I, s:o, s:I, s:s, s:s?, s:o, s:s, s:i, s:s, s:s?, s:o, "
			  "s:b, s:b, s:b}",
		"state", fsm_state_name(v.state), "protocol", g->vrrp ? "vrrp3" : "tandem", "epoch",
		(json_int_t)v.epoch, "since", time_json(g->since_realtime_ns), "lease_ms",
		(json_int_t)fence_lease_ms(g, now_ns), "fence", fence_mode_name(g->fence.mode),
		"fence_why", g->fence.why[0] ? g->fence.why : NULL, "virtual_ips",
		vips_json(&g->settings), "interface", g->settings.interface, "vrid",
		(int)g->settings.vrid, "reason", reason, "held", held, "alarms",
		alarms_json(v.alarms), "frozen", v.frozen, "link_ok", v.link, "gateway_ok",
		v.gateway);
	json_object_set_new(shown, "moving", g->vrrp ? json_null() : json_boolean(v.moving));
	json_object_set_new(shown, "connections",
		json_integer((json_int_t)clients_count(
			g->agent->proxy.clients, g->settings.vips, g->settings.vip_count)));
	json_object_set_new(shown, "peer_connections",
		json_integer((json_int_t)clients_count(
			g->agent->peer_clients, g->settings.vips, g->settings.vip_count)));
	if (g->vrrp)
		json_object_set_new(shown, "vrrp", group_vrrp_json(g, now_ns));
	return shown;
}

static json_t *path_json(const struct path_state *s, uint64_t now_ns)
{
	json_t *dropped = json_object();
	bool up = s->up;

	for (enum path_drop i = 0; i < PATH_DROP_COUNT; i++)
		if (s->dropped[i])
			json_object_set_new(dropped, path_drop_name(i),
				json_integer((json_int_t)s->dropped[i]));
	return json_pack("{s:b, s:o, s:o, s:I, s:I, s:I, s:I, s:s?, s:o}", "up", up,
		"last_heard_ms", age_ms_json(s->last_heard_ns, now_ns), "rtt_us",
		s->last_heard_ns ? json_integer((json_int_t)s->rtt_us) : json_null(), "lost",
		(json_int_t)s->lost, "received", (json_int_t)s->received, "sent",
		(json_int_t)s->sent, "send_failed", (json_int_t)s->send_failed, "send_error",
		s->send_errno ? strerrordesc_np(s->send_errno) : NULL, "dropped", dropped);
}

/* The peer's state is that of the first group; the groups of a pair mostly move together. */
static json_t *peer_json(struct agent *a, uint64_t now_ns)
{
	json_t *paths = json_object(), *states = json_object();
	const char *state = NULL;
	bool alive = false;

	for (unsigned i = 0; i < paths_count(a->paths); i++) {
		const struct path_state *s = paths_get(a->paths, i);

		json_object_set_new(paths, s->config.name, path_json(s, now_ns));
	}
	list_each (it, &a->groups) {
		const struct group *g = list_item(it, struct group, in_agent);
		struct group_view v = group_view(g, now_ns);
		const char *its = v.peer_known ? fsm_state_name(v.peer_state) : NULL;

		alive = alive || v.peer_alive;
		state = state ? state : its;
		json_object_set_new(states, g->settings.name, its ? json_string(its) : json_null());
	}
	return json_pack("{s:s, s:s?, s:o, s:b, s:b, s:I, s:o, s:o, s:I}", "node",
		a->settings->peer, "state", state, "groups", states, "alive", alive, "proxy_ok",
		alive && (a->peer_flags & PACKET_PROXY_OK) != 0, "connections",
		(json_int_t)a->peer_connections, "paths", paths, "copy",
		a->copy ? peer_copy_status(a->copy) : json_null(), "clients_told",
		(json_int_t)a->tickle.sent);
}

static json_t *config_json(const struct agent *a)
{
	char hash[2 * sizeof(a->settings->hash) + 1];

	for (size_t i = 0; i < sizeof(a->settings->hash); i++)
		(void)snprintf(hash + 2 * i, 3, "%02x", a->settings->hash[i]);
	return json_pack("{s:I, s:s, s:o}", "generation", (json_int_t)a->generation, "hash", hash,
		"peer_matches",
		a->peer_config_known ? json_boolean(a->peer_config_matches) : json_null());
}

static int do_status(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;
	uint64_t now_ns = monotonic_ns();
	json_t *groups = json_object();
	bool frozen = false;

	(void)who, (void)params;
	list_each (it, &a->groups) {
		const struct group *g = list_item(it, struct group, in_agent);

		frozen = frozen || group_view(g, now_ns).frozen;
		json_object_set_new(groups, g->settings.name, group_json(g, now_ns));
	}
	*ret_result = json_pack("{s:s, s:s, s:I, s:b, s:b, s:o, s:o, s:o, s:o, s:o*}", "node",
		a->settings->node, "version", PACKAGE_VERSION, "age_ms",
		(json_int_t)((now_ns - a->ran_ns) / NS_PER_MS), "frozen", frozen, "realtime",
		a->realtime, "proxy", proxy_link_status(&a->proxy, now_ns), "config",
		config_json(a), "groups", groups, "peer", peer_json(a, now_ns), "witness",
		a->witness ? path_json(witness_link_state(a->witness), now_ns) : NULL);
	return *ret_result ? 0 : err_set(err, "out of memory");
}

/* --- orders ------------------------------------------------------------------------------------
 */
/* The group that params name; NULL and 0: none is named. -1: there is no such group. */
static int named_group(
	struct agent *a, const json_t *params, struct group **ret_group, struct err *err)
{
	const json_t *name = json_object_get(params, "group");
	char names[256] = "";
	size_t at = 0;

	*ret_group = NULL;
	if (!name)
		return 0;
	if (json_is_string(name))
		*ret_group = agent_find(a, json_string_value(name));
	if (*ret_group)
		return 0;
	list_each (it, &a->groups) {
		const struct group *g = list_item(it, struct group, in_agent);
		int n = snprintf(
			names + at, sizeof(names) - at, "%s%s", at ? ", " : "", g->settings.name);

		if (n < 0 || (size_t)n >= sizeof(names) - at)
			break;
		at += (size_t)n;
	}
	return err_set(err, "there is no group '%s': the groups are %s",
		json_is_string(name) ? json_string_value(name) : "?", names);
}

/* Without a name: what this node has is given away; a node that has nothing takes all. */
static bool concerned(struct agent *a, const struct group *named, const struct group *g)
{
	bool owns_any = false;

	if (named)
		return g == named;
	list_each (it, &a->groups)
		owns_any = owns_any || group_owns(list_item(it, struct group, in_agent));
	return !owns_any || group_owns(g);
}

/* Why not, with what would be right. */
static void refuse(
	const struct agent *a, const struct group *g, enum fsm_reason why, struct err *err)
{
	if (why == REASON_FROZEN_BY_OPERATOR)
		err_set(err, "group '%s' is frozen: resume first", g->settings.name);
	else if (why == REASON_PEER_CANNOT)
		err_set(err, "group '%s' stays here: '%s' cannot take it (see its status)",
			g->settings.name, a->settings->peer);
	else
		err_set(err, "group '%s' cannot move now: %s (this node, '%s', is %s)",
			g->settings.name, fsm_reason_words(why), a->settings->node,
			fsm_state_name(group_view(g, monotonic_ns()).state));
}

static int do_switchover(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;
	struct group *named;
	json_t *groups;
	unsigned accepted = 0;

	if (named_group(a, params, &named, err) != 0)
		return -1;
	groups = json_object();
	list_each (it, &a->groups) {
		struct group *g = list_item(it, struct group, in_agent);
		bool ours = group_owns(g);
		enum fsm_reason why;

		if (!concerned(a, named, g))
			continue;
		why = group_switchover_check(g, monotonic_ns());
		json_object_set_new(groups, g->settings.name,
			json_pack("{s:s, s:s, s:b, s:s?}", "from",
				ours ? a->settings->node : a->settings->peer, "to",
				ours ? a->settings->peer : a->settings->node, "accepted",
				why == REASON_NONE, "reason",
				why == REASON_NONE ? NULL : fsm_reason_words(why)));
		if (why != REASON_NONE) {
			refuse(a, g, why, err);
			continue;
		}
		accepted++;
		log_event(LOG_NOTICE, "group.switchover", "ordered to move",
			F_TEXT("group", g->settings.name), F_INT("uid", who->uid),
			F_INT("pid", who->pid));
		group_event(g, &(struct fsm_event){.kind = FSM_EV_SWITCHOVER});
	}
	if (accepted == 0) {
		json_decref(groups);
		return -1;
	}
	*ret_result = json_pack("{s:o}", "groups", groups);
	return 0;
}

/* "for": "10m", or milliseconds. 0: until told otherwise. */
static int freeze_time(const json_t *params, uint64_t *ret_ns, struct err *err)
{
	const json_t *time = json_object_get(params, "for");

	*ret_ns = 0;
	if (!time)
		return 0;
	if (json_is_integer(time) && json_integer_value(time) > 0 &&
		json_integer_value(time) <= INT64_MAX / (json_int_t)NS_PER_MS)
		*ret_ns = (uint64_t)json_integer_value(time) * NS_PER_MS;
	else if (!json_is_string(time) ||
		 duration_parse(span_of(json_string_value(time)), ret_ns, err) != 0)
		return err_set(
			err, "'for' is a duration such as \"10m\", or a number of milliseconds");
	return *ret_ns ? 0 : err_set(err, "'for' must be longer than nothing");
}

static int set_frozen(struct agent *a, const json_t *params, const struct fsm_event *ev,
	const char *what, json_t **ret_result, struct err *err)
{
	struct group *named;
	json_t *groups;

	if (named_group(a, params, &named, err) != 0)
		return -1;
	groups = json_object();
	list_each (it, &a->groups) {
		struct group *g = list_item(it, struct group, in_agent);

		if (named && g != named)
			continue;
		group_event(g, ev);
		log_event(LOG_NOTICE, what, "ordered by the operator",
			F_TEXT("group", g->settings.name));
		rpc_publish(a->rpc, what, json_pack("{s:s}", "group", g->settings.name));
		json_object_set_new(groups, g->settings.name,
			json_pack("{s:b}", "frozen", group_view(g, monotonic_ns()).frozen));
	}
	*ret_result = json_pack("{s:o}", "groups", groups);
	return 0;
}

static int do_freeze(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct fsm_event ev = {.kind = FSM_EV_FREEZE};
	uint64_t for_ns;

	(void)who;
	if (freeze_time(params, &for_ns, err) != 0)
		return -1;
	ev.until_ns = for_ns ? monotonic_ns() + for_ns : 0;
	return set_frozen(ctx, params, &ev, "group.frozen", ret_result, err);
}

static int do_resume(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	(void)who;
	return set_frozen(ctx, params, &(struct fsm_event){.kind = FSM_EV_RESUME}, "group.resumed",
		ret_result, err);
}

static int do_reload(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;

	(void)who, (void)params;
	if (agent_reload(a, err) != 0)
		return -1;
	*ret_result = json_pack("{s:I}", "generation", (json_int_t)a->generation);
	return 0;
}

static int do_check(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;
	const char *file = json_string_value(json_object_get(params, "file"));
	struct conf_report *report = conf_report_new();
	struct conf *conf = NULL;
	struct settings *s;
	json_t *lines;
	char *line;

	if (!report)
		return err_set(err, "out of memory");
	if (file && rpc_may_check(who, file, err) < 0) {
		conf_report_free(report);
		return -1;
	}
	s = settings_load(file ? file : a->options->config, a->options->node, report, &conf);
	lines = json_array();
	for (size_t i = 0; conf && (line = conf_report_line(report, conf, i)) != NULL; i++) {
		json_array_append_new(lines, json_string(line));
		free(line);
	}
	*ret_result = json_pack("{s:b, s:I, s:I, s:o}", "ok", s != NULL, "errors",
		(json_int_t)conf_report_errors(report), "warnings",
		(json_int_t)conf_report_warnings(report), "lines", lines);
	settings_free(s);
	conf_free(conf);
	conf_report_free(report);
	return 0;
}

/* --- the proxy ---------------------------------------------------------------------------------
 */
static int do_hello(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;

	if (proxy_link_hello(&a->proxy, who, params, err) != 0) {
		log_event(LOG_WARNING, "proxy.refused", err->text, F_INT("pid", who->pid));
		return -1;
	}
	agent_tell_role(a);
	agent_tell_states(a);
	*ret_result = json_object();
	return 0;
}

static int do_beat(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;

	*ret_result = NULL;
	if (proxy_link_beat(&a->proxy, who, params, monotonic_ns(), err) != 0)
		return -1;
	agent_tell_counts(a);
	*ret_result = json_object();
	return 0;
}

static int do_clients(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;

	if (proxy_link_clients(&a->proxy, who, params, err) != 0)
		return -1;
	if (a->copy && a->proxy.clients_known)
		peer_copy_known(a->copy);
	*ret_result = json_object();
	return 0;
}

static int do_state(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	if (agent_state(ctx, who, params, err) != 0)
		return -1;
	*ret_result = json_object();
	return 0;
}

static int do_conditions(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;

	if (proxy_link_is(&a->proxy, who, err) != 0)
		return -1;
	alerts_from_proxy(a->alerts, params);
	*ret_result = json_object();
	return 0;
}

static int do_scale(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;

	if (proxy_link_is(&a->proxy, who, err) != 0 || scale_from_proxy(a, params, err) != 0)
		return -1;
	*ret_result = json_object();
	return 0;
}

static int do_stopping(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;

	(void)params;
	if (proxy_link_stopping(&a->proxy, who, err) != 0)
		return -1;
	*ret_result = json_object();
	return 0;
}

static int do_retired(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct agent *a = ctx;

	(void)params;
	if (proxy_link_retired(&a->proxy, who, err) != 0)
		return -1;
	agent_tell_role(
		a); /* whose clients it is to tell: it may have asked another agent before */
	*ret_result = json_object();
	return 0;
}

static void on_closed(void *ctx, uint64_t caller)
{
	struct agent *a = ctx;

	proxy_link_closed(&a->proxy, caller);
}

static const struct rpc_method methods[] = {
	{"status", do_status},
	{"switchover", do_switchover},
	{"freeze", do_freeze},
	{"resume", do_resume},
	{"reload", do_reload},
	{"check", do_check},
	{"proxy.hello", do_hello},
	{"proxy.beat", do_beat},
	{"proxy.clients", do_clients},
	{"proxy.state", do_state},
	{"proxy.conditions", do_conditions},
	{"proxy.scale", do_scale},
	{"proxy.stopping", do_stopping},
	{"proxy.retired", do_retired},
	{NULL, NULL},
};

struct rpc_server *status_serve(struct agent *a, struct err *err)
{
	char path[PATH_MAX];
	struct rpc_server_options o = {.path = path,
		.group = "tandem",
		.methods = methods,
		.ctx = a,
		.on_closed = on_closed};

	(void)snprintf(path, sizeof(path), "%s/failover.sock", a->options->run_dir);
	return rpc_server_new(a->loop, &o, err);
}
