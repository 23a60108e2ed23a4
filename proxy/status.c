#include "config.h"

#include "proxy/status.h"

#include "proxy/certs.h"
#include "proxy/explain.h"
#include "proxy/scaler.h"

#include <string.h>
#include <unistd.h>

static json_t *config_status(const struct proxy *p)
{
	const struct reload_result *r = &p->last_reload;

	return json_pack("{s:I,s:s,s:b,s:{s:b,s:s?,s:o}}", "generation",
		(json_int_t)p->settings->generation, "hash", p->settings->hash, "rolled_back",
		(int)p->rolled_back, "last_reload", "ok", r->ok || !r->at[0], "at",
		r->at[0] ? r->at : NULL, "errors",
		r->errors ? json_incref(r->errors) : json_array());
}

static json_t *listener_status(const struct listener *l)
{
	json_t *binds = json_array();
	struct span mode = conf_text(l->node, "mode");
	char text[ADDR_TEXT_MAX];

	for (unsigned i = 0; i < l->bind_count; i++) {
		addr_format(&l->binds[i], text);
		json_array_append_new(binds, json_string(text));
	}
	return json_pack("{s:s%,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "mode", mode.ptr, mode.len,
		"bind", binds, "connections", (json_int_t)atomic_load(&l->state->connections),
		"h2_connections", (json_int_t)atomic_load(&l->state->h2_connections),
		"h2_floods_total", (json_int_t)atomic_load(&l->state->h2_floods_total),
		"connections_total", (json_int_t)atomic_load(&l->state->connections_total),
		"connections_refused_total",
		(json_int_t)atomic_load(&l->state->connections_refused_total),
		"connections_shed_total",
		(json_int_t)atomic_load(&l->state->connections_shed_total), "requests_total",
		(json_int_t)atomic_load(&l->state->requests_total), "regex_gave_up_total",
		(json_int_t)atomic_load(&l->state->regex_gave_up_total));
}

static json_t *tls_status(const struct proxy *p)
{
	uint64_t full = 0, resumed = 0, failed = 0;
	uint64_t servers_full = 0, servers_resumed = 0, servers_failed = 0;

	for (unsigned i = 0; i < p->worker_count; i++) {
		const struct tls_tally *t = &p->workers[i]->tls;

		full += atomic_load(&t->done_total[0][0]) + atomic_load(&t->done_total[1][0]);
		resumed += atomic_load(&t->done_total[0][1]) + atomic_load(&t->done_total[1][1]);
		failed += atomic_load(&t->failed_total);
		servers_full += atomic_load(&t->server_done_total[0]);
		servers_resumed += atomic_load(&t->server_done_total[1]);
		servers_failed += atomic_load(&t->server_failed_total);
	}
	return json_pack("{s:I,s:I,s:I,s:{s:I,s:I,s:I}}", "full_total", (json_int_t)full,
		"resumed_total", (json_int_t)resumed, "failed_total", (json_int_t)failed, "servers",
		"full_total", (json_int_t)servers_full, "resumed_total",
		(json_int_t)servers_resumed, "failed_total", (json_int_t)servers_failed);
}

json_t *proxy_status(struct proxy *p)
{
	const struct settings *s = p->settings;
	json_t *listeners = json_object(), *pools = json_object(), *root;
	uint64_t connections = 0, server_connections = 0, requests = 0, pipes = 0, refused = 0;

	proxy_say_busy(p);
	for (unsigned i = 0; i < p->worker_count; i++) {
		connections += atomic_load(&p->workers[i]->clients);
		server_connections += atomic_load(&p->workers[i]->server_conns);
		pipes += atomic_load(&p->workers[i]->pipes.open);
		refused += atomic_load(&p->workers[i]->pipes.refused_total);
	}
	for (unsigned i = 0; i < s->listener_count; i++) {
		requests += atomic_load(&s->listeners[i].state->requests_total);
		json_object_setn_new(listeners, s->listeners[i].name.ptr, s->listeners[i].name.len,
			listener_status(&s->listeners[i]));
	}
	for (unsigned i = 0; i < s->pool_count; i++) {
		json_t *pool = pool_status(&s->pools[i]);

		orders_describe(p->orders, &s->pools[i], pool);
		discovery_status(p->discovery, s->pools[i].name, pool);
		scaler_status(&s->pools[i], pool);
		json_object_setn_new(pools, s->pools[i].name.ptr, s->pools[i].name.len, pool);
	}
	root = json_pack("{s:s,s:s,s:s,s:b,s:o,s:i,s:I,s:I,s:{s:I,s:I},s:I,s:I,s:o,s:o}", "node",
		p->options->node ? p->options->node : "", "version", PACKAGE_VERSION, "role",
		p->link ? failover_role_name(failover_link_role(p->link)) : "single", "draining",
		p->stopping, "config", config_status(p), "workers", (int)p->worker_count,
		"connections", (json_int_t)connections, "server_connections",
		(json_int_t)server_connections, "pipes", "open", (json_int_t)pipes, "refused_total",
		(json_int_t)refused, "requests_total", (json_int_t)requests, "requests_per_second",
		(json_int_t)p->requests_per_second, "listeners", listeners, "pools", pools);
	json_object_set_new(root, "pid", json_integer(getpid()));
	json_object_set_new(root, "upgrade", upgrade_status(p->upgrade));
	json_object_set_new(root, "orders", orders_status(p->orders));
	json_object_set_new(root, "tls_handshakes", tls_status(p));
	json_object_set_new(root, "certificates", certs_status(s));
	return root;
}

static int method_status(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	(void)who;
	(void)params;
	*ret_result = proxy_status(ctx);
	return *ret_result ? 0 : err_set(err, "out of memory");
}

static int method_errors(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct proxy *p = ctx;
	struct fault_log **logs = malloc(p->worker_count * sizeof(struct fault_log *));

	(void)who;
	(void)params;
	for (unsigned i = 0; logs && i < p->worker_count; i++)
		logs[i] = &p->workers[i]->faults;
	*ret_result = logs ? fault_logs_json(logs, p->worker_count) : NULL;
	free(logs);
	return *ret_result ? 0 : err_set(err, "out of memory");
}

const struct rpc_method proxy_methods[] = {
	{"status", method_status},
	{"check", method_check},
	{"errors", method_errors},
	{"explain", explain_method},
	{"plan", method_plan},
	{"reload", method_reload},
	{"rollback", method_rollback},
	{"config", method_config},
	{"server.set", method_server_set},
	{"server.add", method_server_add},
	{"server.remove", method_server_remove},
	{NULL, NULL},
};
