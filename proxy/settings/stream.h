/*
 * The part of the settings for connections as such: what a listener speaks, and who says whose a
 * connection is, before us and after us.
 */
#pragma once

#include "proxy/settings/settings.h"

/* -1: out of memory. */
int stream_build_listener(const struct conf_node *node, struct listener *l);
/* After its check is built, which needs to know. */
void stream_build_pool(const struct conf_node *node, struct pool *p);
