/*
 * Autoscaling: looks at the pools' signals each second, lets pool/scaling.h decide, and tells the
 * agent, which runs what the file says. Only where the pair's addresses are. Main thread.
 */
#pragma once

#include <jansson.h>

struct proxy;
struct pool;
struct scaled; /* what is kept of a pool; from malloc, in its pool_state */

void scaler_second(struct proxy *p);
/* Adds to the status of a pool what it wants. */
void scaler_status(const struct pool *p, json_t *status);
