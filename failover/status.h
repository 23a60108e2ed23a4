/*
 * What the agent says and takes on failover.sock: status, events, and the operator's orders. The
 * proxy speaks on the same socket; its notifications are handed to the agent's proxy_link.
 */
#pragma once

#include "shared/rpc.h"

struct agent;

/* Returns owned; NULL with err. The server calls back into the agent as long as it lives. */
struct rpc_server *status_serve(struct agent *a, struct err *err);
