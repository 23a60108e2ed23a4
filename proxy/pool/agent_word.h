/*
 * What an agent on a server's machine says of it, in a line such as HAProxy's agents send: words
 * between blanks or commas, and a reason after '#'.
 *
 *   75%                  three quarters of its weight; 0% is drain
 *   up, ready            may be used
 *   drain                nothing new, but those who are bound to it
 *   maint                nobody
 *   down, fail, stopped  nobody, until it says something else
 *
 * Each line is the whole truth: what it does not say is up, and 100 %. Pure.
 */
#pragma once

#include "shared/span.h"

#define AGENT_STATES(X)                                    \
	X(UP, "up") /* also of who has never been heard */ \
	X(DRAIN, "drain")                                  \
	X(MAINT, "maint")                                  \
	X(DOWN, "down")
enum agent_state {
#define X(name, text) AGENT_##name,
	AGENT_STATES(X)
#undef X
};
const char *agent_state_name(enum agent_state state);

struct agent_word {
	enum agent_state state;
	unsigned weight_pct; /* 1 to 100 */
	char reason[64];     /* empty: none was given */
};

void agent_word_init(struct agent_word *w);
/* -1: there is a word that means nothing, and *ret is as it was. */
int agent_word_parse(struct span line, struct agent_word *ret);
