/*
 * Autoscaling's hands: the proxy says how many servers a pool wants, and the program or webhook
 * that the file names for that pool is told. Runs on the agent's loop.
 */
#pragma once

#include <jansson.h>

#include "shared/err.h"

struct agent;

/* proxy.scale: {pool, want, why}. -1 with err: it makes no sense. */
int scale_from_proxy(struct agent *a, const json_t *params, struct err *err);
