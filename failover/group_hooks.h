/*
 * What a group tells the operator's programs, and asks them. Runs on the agent's loop.
 */
#pragma once

#include "failover/group.h"

/* After a change of state: the hook of the new role, if the role changed. A role is what people
 * mean: active (ACTIVE, HANDOVER), fault (FAULT), else standby; INIT is none. */
void group_hooks_state(struct group *g, const struct fsm_action *tell);
/* Runs what the machine asks for: FSM_DO_FENCE_PEER, FSM_DO_CLAIM_HOOK. False: it cannot be run. */
bool group_hooks_ask(struct group *g, const struct fsm_action *ask);
/* A hook of the group's lane has ended; the machine may be waiting for it. */
void group_hooks_ended(struct group *g, const struct hook_result *result);
