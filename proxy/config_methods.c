/*
 * The methods of proxy.sock about the configuration: check, plan, reload, rollback, config.
 */
#include <stdlib.h>

#include "proxy/proxy.h"
#include "proxy/status.h"
#include "proxy/succession.h"

/* --- check and plan ----------------------------------------------------------------------------
 */

/* A file that was tried; it leaves nothing behind. */
struct trial {
	struct conf_report *report;
	struct server_table *table;
	struct conf *conf; /* NULL: settings has it */
	struct settings *settings;
};

static void trial_fini(struct trial *t)
{
	settings_unref(t->settings);
	conf_free(t->conf);
	server_table_free(t->table);
	conf_report_free(t->report);
}

/* What `check` answers; NULL when out of memory. */
static json_t *try_file(struct proxy *p, struct trial *t, const char *file, struct err *err)
{
	json_t *result = NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *f = NULL;

	proxy_say_busy(p);
	*t = (struct trial){.report = conf_report_new(), .table = server_table_new()};
	if (t->report && t->table)
		t->conf = conf_load(file, t->report);
	if (t->conf) {
		struct conf *conf = t->conf;

		t->settings = settings_build(conf, t->report, t->table, 1, err);
		if (t->settings)
			t->conf = NULL;
		f = open_memstream(&text, &len);
		if (f) {
			conf_report_print(t->report, conf, f);
			fclose(f);
			result = json_pack("{s:b,s:s,s:o,s:o,s:s}", "ok", t->settings != NULL,
				"file", file, "errors",
				proxy_report_lines(t->report, conf, ": error: "), "warnings",
				proxy_report_lines(t->report, conf, ": warning: "), "text", text);
		}
	}
	free(text);
	if (!result)
		err_set(err, "out of memory");
	return result;
}

static const struct pool *pool_named(const struct settings *s, struct span name)
{
	for (unsigned i = 0; i < s->pool_count; i++)
		if (span_eq(s->pools[i].name, name))
			return &s->pools[i];
	return NULL;
}

static const struct member *configured(const struct pool *p, const char *name)
{
	for (unsigned i = 0; p && i < p->member_count; i++)
		if (strcmp(p->members[i].server->name, name) == 0)
			return &p->members[i];
	return NULL;
}

/* Why the new settings drain this server; NULL: they do not. */
static const char *why_drained(
	const struct pool *was, const struct member *m, const struct pool *next)
{
	const struct member *stays = configured(next, m->server->name);

	if (!next)
		return "its pool is removed";
	if (!configured(was, m->server->name)) /* of a source: nothing of the file's */
		return NULL;
	if (!stays)
		return "removed";
	if (!addr_eq(&stays->server->address, &m->server->address))
		return "it gets another address";
	return stays->disabled && !m->disabled ? "disabled" : NULL;
}

static json_t *drained(const struct settings *now, const struct settings *next)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < now->pool_count; i++) {
		const struct pool *p = &now->pools[i], *after = pool_named(next, p->name);
		const struct member_set *set = p->state->set;

		for (unsigned m = 0; m < set->count; m++) {
			const struct server *s = set->members[m].server;
			const char *why = why_drained(p, &set->members[m], after);

			if (why)
				json_array_append_new(list,
					json_pack("{s:s, s:s, s:I, s:I}", "server", s->key, "why",
						why, "sessions",
						(json_int_t)atomic_load(&s->sessions), "in_flight",
						(json_int_t)atomic_load(&s->in_flight)));
		}
	}
	return list;
}

static bool keeps_a_bind(const struct settings *s, const struct listener *l)
{
	for (unsigned i = 0; i < l->bind_count; i++)
		for (unsigned j = 0; j < s->listener_count; j++)
			for (unsigned k = 0; k < s->listeners[j].bind_count; k++)
				if (addr_eq(&l->binds[i], &s->listeners[j].binds[k]))
					return true;
	return false;
}

/* Listeners whose clients are told to go. */
static json_t *closed(const struct settings *now, const struct settings *next)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < now->listener_count; i++) {
		const struct listener *l = &now->listeners[i];

		if (!keeps_a_bind(next, l))
			json_array_append_new(
				list, json_pack("{s:s%, s:I}", "listener", l->name.ptr, l->name.len,
					      "connections",
					      (json_int_t)atomic_load(&l->state->connections)));
	}
	return list;
}

/* Which file the caller means; NULL with err. */
static const char *which_file(
	const struct proxy *p, const struct rpc_caller *who, const json_t *params, struct err *err)
{
	const char *file = json_string_value(json_object_get(params, "file"));

	if (params && json_object_get(params, "file") && !file) {
		err_set(err,
			"'file' must be a path, such as {\"file\": \"/etc/tandem/tandem.yaml\"}");
		return NULL;
	}
	if (file && rpc_may_check(who, file, err) < 0)
		return NULL;
	return file ? file : p->options->config;
}

int method_check(void *ctx, const struct rpc_caller *who, const json_t *params, json_t **ret_result,
	struct err *err)
{
	struct proxy *p = ctx;
	const char *file = which_file(p, who, params, err);
	struct trial t;

	if (!file)
		return -1;
	*ret_result = try_file(p, &t, file, err);
	trial_fini(&t);
	return *ret_result ? 0 : -1;
}

int method_plan(void *ctx, const struct rpc_caller *who, const json_t *params, json_t **ret_result,
	struct err *err)
{
	struct proxy *p = ctx;
	const char *file = which_file(p, who, params, err);
	struct trial t;

	if (!file)
		return -1;
	*ret_result = try_file(p, &t, file, err);
	if (*ret_result && t.settings) {
		json_object_set_new(*ret_result, "changes", proxy_changes(p->settings, t.settings));
		json_object_set_new(
			*ret_result, "dropped", orders_conflicts(p->orders, t.settings));
		json_object_set_new(*ret_result, "drained", drained(p->settings, t.settings));
		json_object_set_new(*ret_result, "closed", closed(p->settings, t.settings));
	}
	trial_fini(&t);
	return *ret_result ? 0 : -1;
}

/* --- reload and rollback -----------------------------------------------------------------------
 */

int method_reload(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct proxy *p = ctx;
	json_t *changes = NULL;

	(void)who;
	(void)params;
	if (succession_may_change(p, err) < 0)
		return -1;
	if (proxy_reload(p, &changes, err) < 0)
		return -1;
	*ret_result = json_pack("{s:b,s:I,s:o}", "ok", 1, "generation",
		(json_int_t)p->settings->generation, "changes", changes);
	return 0;
}

int method_rollback(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	struct proxy *p = ctx;
	json_t *changes = NULL, *restored;

	(void)who;
	(void)params;
	if (succession_may_change(p, err) < 0)
		return -1;
	restored = history_previous(p->history); /* by then it is another one */
	if (proxy_rollback(p, &changes, err) < 0) {
		json_decref(restored);
		return -1;
	}
	*ret_result = json_pack("{s:b,s:I,s:o,s:o?,s:s}", "ok", 1, "generation",
		(json_int_t)p->settings->generation, "changes", changes, "restored", restored,
		"file", p->options->config);
	return 0;
}

/* --- config ------------------------------------------------------------------------------------
 */

enum { LINES_MAX = 1000 }; /* an answer */

struct lines {
	json_t *list;
	size_t skip, seen;
};

static void add_line(void *ctx, const char *path, const char *value, const char *from)
{
	struct lines *l = ctx;

	if (l->seen >= l->skip && json_array_size(l->list) < LINES_MAX)
		json_array_append_new(l->list,
			json_pack("{s:s, s:s, s:s}", "path", path, "value", value, "from", from));
	l->seen++;
}

/* {effective?, from?}: lines from that number on; `next` when there are more. */
int method_config(void *ctx, const struct rpc_caller *who, const json_t *params,
	json_t **ret_result, struct err *err)
{
	const struct proxy *p = ctx;
	json_int_t from = json_integer_value(json_object_get(params, "from"));
	struct lines l = {.list = json_array(), .skip = from > 0 ? (size_t)from : 0};
	size_t end;

	(void)who;
	(void)err;
	conf_show(p->settings->conf, json_is_true(json_object_get(params, "effective")), &l,
		add_line);
	end = l.skip + json_array_size(l.list);
	*ret_result = json_pack("{s:I, s:s, s:o, s:o}", "generation",
		(json_int_t)p->settings->generation, "hash", p->settings->hash, "lines", l.list,
		"next", end < l.seen ? json_integer((json_int_t)end) : json_null());
	return 0;
}
