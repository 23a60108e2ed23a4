/*
 * The agent's line to the witness: every heartbeat goes there as well, and before a claim the
 * question whether the address is promised to us.
 *
 * The question is a PREPARE, repeated until it is answered: READY is the promise, REFUSE the
 * refusal. An answer counts when it is for the epoch that was asked for and was made after the
 * question, which its echo proves. The witness answers each packet at once, so that what it echoes
 * it has heard. Runs on the agent's loop, and gives the groups their events.
 */
#pragma once

#include <ev.h>

#include "failover/settings.h"

struct agent;
struct group;
struct witness_link;

/* What a group has asked; in struct group. */
struct witness_question {
	uint32_t ticket; /* 0: nothing */
	uint64_t asked_ns, epoch;
	ev_timer again;
};

/* The settings name a witness. replaces: the one in use until now, or NULL; the caller frees it.
 * NULL with err. */
struct witness_link *witness_link_new(struct agent *agent, const struct settings *settings,
	struct witness_link *replaces, struct err *err);
void witness_link_free(struct witness_link *l);
/* A heartbeat of ours. */
void witness_link_send(struct witness_link *l, const struct packet *packet);
/* Handles what is queued. Not from within a step of a group. */
void witness_link_drain(struct witness_link *l, uint64_t now_ns);
const struct path_state *witness_link_state(const struct witness_link *l);

/* For FSM_DO_ASK_WITNESS; the answer comes as FSM_EV_WITNESS. A later one takes its place. */
void witness_ask_for(struct group *g, uint32_t ticket, uint64_t epoch);
/* No longer. */
void witness_ask_no_more(struct group *g);
