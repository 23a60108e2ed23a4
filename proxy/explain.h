/*
 * What would become of a request: `explain` of proxy.sock. It is parsed, routed and rewritten by
 * the code that does so with real ones, on the running snapshot; only that nothing is sent or
 * counted. Main thread.
 */
#pragma once

#include "proxy/proxy.h"

/* {method?, url, headers?: ["Name: value", ...], from?, listener?}: a method of proxy.sock. */
int explain_method(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err);
