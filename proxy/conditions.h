/*
 * What is wrong with the servers, for the agent's alerts: servers that are down, pools that miss
 * some or have none, and of certificates that end soon. Sent as a whole when something changed, at
 * most once a second, so that the agent needs no history. Main thread.
 */
#pragma once

#include <jansson.h>

#include "proxy/settings/settings.h"

#define CONDITIONS_MAX 64 /* named; the pools first, so that what is cut is the longer list */

/* {"conditions": [{"kind": "server_down", "subject": "api/a1", "words": "..."}, ...]}; owned, NULL
 * when out of memory. */
json_t *conditions_now(const struct settings *s);
