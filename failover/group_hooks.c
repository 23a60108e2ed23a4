#include "failover/group_hooks.h"

#include "failover/agent.h"
#include "shared/assert.h"
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

/* The id of the call; 0: it cannot be run, which was said. */
static uint64_t run(struct group *g, enum hook_kind kind, const char *from, const char *to)
{
	const struct settings *s = g->agent->settings;
	struct hook_vars v = {0};
	char words[160], vips[PROBE_VIPS_MAX * ADDR_TEXT_MAX] = "", vip[ADDR_TEXT_MAX];
	size_t len = 0;
	struct err err;
	uint64_t id;

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
	hook_vars_add(&v, "TANDEM_EPOCH", "%llu",
		(unsigned long long)group_view(g, monotonic_ns()).epoch);
	hook_vars_add(&v, "TANDEM_INTERFACE", "%s", g->settings.interface);
	hook_vars_add(&v, "TANDEM_VIRTUAL_IPS", "%s", vips);
	id = hooks_run(g->agent->hooks,
		&(struct hook_call){.lane = g->settings.vrid,
			.label = hook_kind_name(kind),
			.command = &g->settings.hooks[kind],
			.vars = &v,
			.deadline_ns = g->settings.hook_timeout_ns},
		&err);
	if (id == 0)
		log_event(LOG_ERROR, "hook.not_run", err.text, F_TEXT("group", g->settings.name),
			F_TEXT("hook", hook_kind_name(kind)));
	return id;
}

void group_hooks_state(struct group *g, const struct fsm_action *tell)
{
	enum role from = role_of(tell->from), to = role_of(tell->to);
	enum hook_kind kind = to == ROLE_ACTIVE	   ? HOOK_ON_ACTIVE
			      : to == ROLE_STANDBY ? HOOK_ON_STANDBY
						   : HOOK_ON_FAULT;

	if (from != to && g->settings.hooks[kind].count)
		(void)run(g, kind, fsm_state_name(tell->from), fsm_state_name(tell->to));
}

bool group_hooks_ask(struct group *g, const struct fsm_action *ask)
{
	enum hook_kind kind = ask->kind == FSM_DO_FENCE_PEER ? HOOK_FENCE : HOOK_CLAIM;
	struct group_asked_hook *asked = &g->asked_hooks[kind == HOOK_CLAIM];
	const char *state = fsm_state_name(g->fsm.state);

	ASSERT(ask->kind == FSM_DO_FENCE_PEER || ask->kind == FSM_DO_CLAIM_HOOK);
	*asked = (struct group_asked_hook){run(g, kind, state, state), ask->ticket};
	return asked->id != 0;
}

void group_hooks_ended(struct group *g, const struct hook_result *result)
{
	for (unsigned i = 0; i < countof(g->asked_hooks); i++)
		if (g->asked_hooks[i].id == result->id)
			group_event(g, &(struct fsm_event){
					       .kind = i ? FSM_EV_CLAIM_HOOKED : FSM_EV_PEER_FENCED,
					       .ticket = g->asked_hooks[i].ticket,
					       .good = result->good});
}
