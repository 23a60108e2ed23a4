/*
 * What a group tells the operator's programs, and asks them. Runs on the agent's loop.
 */
#pragma once

#include "failover/group.h"

/* After a change of state: the hook of the new role, if the role changed. A role is what people
 * mean: active (ACTIVE, HANDOVER), fault (FAULT), else standby; INIT is none. */
void group_hooks_state(struct group *g, const struct fsm_action *tell);
