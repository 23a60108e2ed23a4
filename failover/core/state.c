/*
 * Names of states and reasons.
 */
#include "failover/core/state.h"

#include "shared/assert.h"

static const char *const state_names[] = {
#define X(value, name, meaning) [value] = #name,
	FSM_STATES(X)
#undef X
};

static const char *const reason_names[] = {
#define X(value, name, words) [value] = #name,
	FSM_REASONS(X)
#undef X
};

static const char *const reason_words[] = {
#define X(value, name, words) [value] = (words),
	FSM_REASONS(X)
#undef X
};

const char *fsm_state_name(enum fsm_state state)
{
	ASSERT((unsigned)state < countof(state_names));
	return state_names[state];
}

const char *fsm_reason_words(enum fsm_reason reason)
{
	ASSERT((unsigned)reason < countof(reason_words));
	return reason_words[reason];
}

const char *fsm_reason_name(enum fsm_reason reason)
{
	ASSERT((unsigned)reason < countof(reason_names));
	return reason_names[reason];
}
