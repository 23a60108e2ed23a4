#include "failover/group_hooks.h"

#include "failover/agent.h"
#include "shared/buf.h"
#include "shared/log.h"

enum role { ROLE_NONE, ROLE_ACTIVE, ROLE_STANDBY, ROLE_FAULT };

static enum role role_of(enum fsm_state state)
{
	switch (state) {
	case FSM_INIT:
		return ROLE_NONE;
	case FSM_ACTIVE:
	case FSM_HANDOVER:
		return ROLE_ACTIVE;
	case FSM_STANDBY:
	case FSM_PROBING:
	case FSM_DRAINING:
		return ROLE_STANDBY;
	case FSM_FAULT:
		return ROLE_FAULT;
	}
	return ROLE_NONE;
}

static void run(struct group *g, enum hook_kind kind, const char *from, const char *to)
{
	const struct settings *s = g->agent->settings;
	struct hook_vars v = {0};
	char words[160], vips[PROBE_VIPS_MAX * ADDR_TEXT_MAX] = "", vip[ADDR_TEXT_MAX];
	size_t len = 0;
	struct err err;

	for (unsigned i = 0; i < g->settings.vip_count; i++) {
		cidr_format(&g->settings.vips[i], vip);
		len += (size_t)snprintf(
			vips + len, sizeof(vips) - len, "%s%s", len ? " " : "", vip);
	}
	group_reason(g, words, sizeof(words));
	hook_vars_add(&v, "TANDEM_HOOK", "%s", hook_kind_name(kind));
	hook_vars_add(&v, "TANDEM_NODE", "%s", s->node);
	hook_vars_add(&v, "TANDEM_PEER", "%s", s->peer);
	hook_vars_add(&v, "TANDEM_GROUP", "%s", g->settings.name);
	hook_vars_add(&v, "TANDEM_FROM", "%s", from);
	hook_vars_add(&v, "TANDEM_STATE", "%s", to);
	hook_vars_add(&v, "TANDEM_REASON", "%s", words);
	hook_vars_add(&v, "TANDEM_EPOCH", "%llu", (unsigned long long)g->fsm.epoch);
	hook_vars_add(&v, "TANDEM_INTERFACE", "%s", g->settings.interface);
	hook_vars_add(&v, "TANDEM_VIRTUAL_IPS", "%s", vips);
	if (hooks_run(g->agent->hooks,
		    &(struct hook_call){.lane = g->settings.vrid,
			    .label = hook_kind_name(kind),
			    .command = &g->settings.hooks[kind],
			    .vars = &v,
			    .deadline_ns = g->settings.hook_timeout_ns},
		    &err) == 0)
		log_event(LOG_ERROR, "hook.not_run", err.text, F_TEXT("group", g->settings.name),
			F_TEXT("hook", hook_kind_name(kind)));
}

void group_hooks_state(struct group *g, const struct fsm_action *tell)
{
	enum role from = role_of(tell->from), to = role_of(tell->to);
	enum hook_kind kind = to == ROLE_ACTIVE	   ? HOOK_ON_ACTIVE
			      : to == ROLE_STANDBY ? HOOK_ON_STANDBY
						   : HOOK_ON_FAULT;

	if (from != to && g->settings.hooks[kind].count)
		run(g, kind, fsm_state_name(tell->from), fsm_state_name(tell->to));
}
