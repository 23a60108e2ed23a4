/*
 * Alerts: what the agent and the proxy beside it see, told by the rules of `alerts:` to webhooks
 * and programs. What is worth telling when is decided in core/alerting.h; here it is made into JSON
 * and environment and handed to those who send it. Runs on the agent's loop.
 */
#pragma once

#include <jansson.h>

#include "failover/core/alerting.h"
#include "failover/settings.h"

struct agent;
struct alerts;

struct alerts *alerts_new(struct agent *agent, struct err *err);
/* Before the hooks it runs. */
void alerts_free(struct alerts *a);
/* Runs the program (count 0: none) and posts to the webhook ("": none). What cannot be done is
 * logged. label: a string that lives on. */
void alerts_deliver(struct alerts *a, const char *label, const struct hook_command *command,
	const struct hook_vars *vars, const char *webhook, const char *json);
/* The rules of the agent's settings are in force. */
void alerts_apply(struct alerts *a);
/* proxy.conditions: all that is wrong with the servers; what is not named is over. */
void alerts_from_proxy(struct alerts *a, const json_t *params);
/* A condition begins or ends, or an event happens (on is true). */
void alert(struct alerts *a, enum alert_kind kind, const char *subject, bool on, const char *words);
