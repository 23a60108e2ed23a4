/*
 * The operator's own programs: told of what happened (on_active, ...), or asked before the agent
 * goes on (fence_hook, claim_hook).
 *
 * Hooks of one lane (a group's VRID; 0 for the alerts) run one after the other in the order in
 * which they were asked for; lanes do not wait for each other. Each has a deadline: SIGTERM to its
 * process group, and SIGKILL half a second later; that counts as failed. A hook gets what it needs
 * to know in its environment, nothing on its standard input, and what it prints goes where the
 * agent logs.
 *
 * Starting a program may wait for a disk, so a thread of its own does it and waits for the end;
 * results come back on the agent's loop. The thread that sends heartbeats never forks.
 */
#pragma once

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "shared/err.h"
#include "shared/span.h"

#define HOOK_LANES 256
#define HOOK_ARGS_MAX 16
#define HOOK_VARS_MAX 16
#define HOOK_TEXT_MAX 1024	/* of all arguments of one call */
#define HOOK_VARS_TEXT_MAX 4096 /* of all variables: 32 virtual IPs, or an alert, and the rest */
#define HOOKS_WAITING_MAX 256	/* of all lanes */

#define HOOK_KINDS(X)               \
	X(ON_ACTIVE, "on_active")   \
	X(ON_STANDBY, "on_standby") \
	X(ON_FAULT, "on_fault")     \
	X(FENCE, "fence_hook")      \
	X(CLAIM, "claim_hook")
enum hook_kind {
#define X(name, text) HOOK_##name,
	HOOK_KINDS(X)
#undef X
		HOOK_KIND_COUNT
};
const char *hook_kind_name(enum hook_kind kind);

/* A command line as configured: the strings one after the other, each with its NUL. */
struct hook_command {
	unsigned count; /* 0: none */
	uint16_t len;
	char text[HOOK_TEXT_MAX];
};
/* -1: too many, or too long. */
int hook_command_add(struct hook_command *c, struct span argument);

/* What a hook is told, as environment variables beside the agent's own. */
struct hook_vars {
	unsigned count;
	uint16_t len;
	char text[HOOK_VARS_TEXT_MAX];
};
/* NAME=value, cut when it does not fit. */
void hook_vars_add(struct hook_vars *v, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

struct hook_call {
	unsigned lane;
	const char *label; /* a string that lives on: for the result */
	const struct hook_command *command;
	const struct hook_vars *vars;
	uint64_t deadline_ns;
};

struct hook_result {
	uint64_t id; /* what hooks_run returned */
	unsigned lane;
	const char *label;
	bool good; /* exit status 0 within the deadline */
	uint64_t took_ns;
	char words[80]; /* how it ended */
};

struct hooks;

struct hooks *hooks_new(struct ev_loop *loop, void *ctx,
	void (*on_result)(void *ctx, const struct hook_result *result), struct err *err);
/* Hooks that run are left to their end, and those that wait never start. */
void hooks_free(struct hooks *h);
/* Copies what the call points to. Returns an id above 0; on_result follows, never from inside this
 * call. 0 with err: too many are waiting, or memory is short. */
uint64_t hooks_run(struct hooks *h, const struct hook_call *call, struct err *err);
/* Nothing waits or runs. */
bool hooks_idle(const struct hooks *h);
