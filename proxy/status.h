/*
 * What proxy.sock tells: the status document and the methods that people and programs call.
 */
#pragma once

#include <jansson.h>

#include "proxy/proxy.h"

json_t *proxy_status(struct proxy *p); /* owned; NULL when out of memory */

/* config_methods.c */
int method_check(void *ctx, const struct rpc_caller *who, const json_t *params, json_t **ret_result,
	struct err *err);
int method_plan(void *ctx, const struct rpc_caller *who, const json_t *params, json_t **ret_result,
	struct err *err);
int method_reload(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err);
int method_rollback(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err);
int method_config(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err);

/* server_methods.c */
int method_server_set(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err);
int method_server_add(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err);
int method_server_remove(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err);
