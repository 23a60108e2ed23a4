/*
 * tandemctl check, plan, reload, rollback, config show.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "shared/assert.h"
#include "shared/conf.h"

enum { CHECK_MS = 10000, RELOAD_MS = 30000 };

/* --- check ----------------------------------------------------------------------------------- */
/* Is this report line ("FILE:LINE:COLUMN: error: ...") an error, not a warning? */
static bool is_error(const char *line)
{
	const char *error = strstr(line, ": error: "), *warning = strstr(line, ": warning: ");

	return error && (!warning || error < warning);
}

/* Without the proxy: the same table of keys, in the shape of the proxy's answer. */
static json_t *check_here(const char *file)
{
	struct conf_report *report = conf_report_new();
	struct conf *conf = report ? conf_load(file, report) : NULL;
	json_t *errors = json_array(), *warnings = json_array(), *result;
	char *text = NULL, *line;
	size_t text_len = 0;
	FILE *to = open_memstream(&text, &text_len);

	if (!conf || !to)
		die("out of memory");
	conf_report_print(report, conf, to);
	fclose(to);
	for (size_t i = 0; (line = conf_report_line(report, conf, i)); i++) {
		json_array_append_new(is_error(line) ? errors : warnings, json_string(line));
		free(line);
	}
	result = json_pack("{s:b, s:s, s:o, s:o, s:s}", "ok", conf_report_errors(report) == 0,
		"file", file, "errors", errors, "warnings", warnings, "text", text);
	free(text);
	conf_free(conf);
	conf_report_free(report);
	if (!result)
		die("out of memory, or the file is not UTF-8");
	return result;
}

/* The report as the daemon wrote it. */
static void print_report(const struct ctl *c, const json_t *result)
{
	const char *text = json_string_value(json_object_get(result, "text"));

	if (text && *text)
		print_lines(text, c->out);
}

/* Without a file: the one that the proxy runs with. */
int verb_check(struct ctl *c)
{
	char *file = c->argument ? realpath(c->argument, NULL) : NULL;
	json_t *result = NULL;
	struct err err;
	enum rpc_rc rc;
	bool ok;

	if (c->argument && !file) {
		complain("%s: %s", c->argument, strerror(errno));
		return REFUSED;
	}
	rc = ask(c, PROXY, "check", json_pack("{s:s*}", "file", file), CHECK_MS, &result, &err);
	if (rc == RPC_UNREACHABLE || (rc == RPC_REFUSED && geteuid() != 0)) {
		complain("tandem-proxy %s: checked here, without what only it can tell",
			rc == RPC_REFUSED ? "may not read files for you" : "is not reachable");
		result = check_here(file ? file : TANDEM_SYSCONFDIR "/tandem/tandem.yaml");
	} else if (rc != RPC_OK) {
		free(file);
		return ask_exit(rc, &err);
	}
	ok = json_is_true(json_object_get(result, "ok"));
	if (c->json) {
		print_json(c, json_incref(result));
	} else {
		print_report(c, result);
		if (ok)
			fprintf(c->out, "%s: good\n", text_at(result, "file"));
	}
	json_decref(result);
	free(file);
	return ok ? DONE : REFUSED;
}

/* --- plan ------------------------------------------------------------------------------------ */
static void print_indented(const struct ctl *c, const json_t *lines)
{
	const json_t *line;
	size_t i;

	json_array_foreach (lines, i, line) {
		fprintf(c->out, "  ");
		tint_print(json_is_string(line) ? json_string_value(line) : "-", TINT_NONE, false,
			c->out);
		putc('\n', c->out);
	}
}

static void print_drained(const struct ctl *c, const json_t *drained)
{
	char sessions[NUMBER_MAX], in_flight[NUMBER_MAX];
	const json_t *d;
	size_t i;

	json_array_foreach (drained, i, d) {
		fprintf(c->out, "  %s: %s; %s sessions, %s in flight may end\n",
			text_at(d, "server"), text_at(d, "why"), number_at(d, "sessions", sessions),
			number_at(d, "in_flight", in_flight));
	}
}

static void print_plan(const struct ctl *c, const json_t *plan, const char *file)
{
	const json_t *changes = json_object_get(plan, "changes"), *l;
	char n[NUMBER_MAX];
	size_t i;

	if (json_array_size(changes) == 0) {
		fprintf(c->out, "%s: a reload would change nothing\n", file);
	} else {
		fprintf(c->out, "%s: a reload would change:\n", file);
		print_indented(c, changes);
	}
	if (json_array_size(json_object_get(plan, "drained")) > 0) {
		fprintf(c->out, "servers that would be drained:\n");
		print_drained(c, json_object_get(plan, "drained"));
	}
	if (json_array_size(json_object_get(plan, "dropped")) > 0) {
		fprintf(c->out, "orders that it would overrule:\n");
		print_indented(c, json_object_get(plan, "dropped"));
	}
	json_array_foreach (json_object_get(plan, "closed"), i, l) {
		fprintf(c->out, "listener %s would close: %s connections are told to go\n",
			text_at(l, "listener"), number_at(l, "connections", n));
	}
}

int verb_plan(struct ctl *c)
{
	char *file = c->argument ? realpath(c->argument, NULL) : NULL;
	json_t *params = NULL, *plan = NULL;
	struct err err;
	bool ok;
	int rc;

	if (c->argument && !file) {
		complain("%s: %s", c->argument, strerror(errno));
		return REFUSED;
	}
	if (file)
		params = json_pack("{s:s}", "file", file);
	rc = ask_exit(ask(c, PROXY, "plan", params, CHECK_MS, &plan, &err), &err);
	if (rc != DONE) {
		free(file);
		return rc;
	}
	ok = json_is_true(json_object_get(plan, "ok"));
	if (c->json) {
		print_json(c, json_incref(plan));
	} else {
		print_report(c, plan);
		if (ok)
			print_plan(c, plan, file ? file : "the configuration");
	}
	json_decref(plan);
	free(file);
	return ok ? DONE : REFUSED;
}

/* --- reload ---------------------------------------------------------------------------------- */
static void print_changes(const struct ctl *c, enum daemon d, const json_t *result)
{
	const json_t *changes = json_object_get(result, "changes");
	char n[NUMBER_MAX];

	if (json_is_false(json_object_get(result, "ok"))) {
		fprintf(c->out, "%s: not reloaded, the configuration before runs on\n",
			daemon_name(d));
		print_report(c, result);
		return;
	}
	fprintf(c->out, "%s: reloaded, generation %s%s\n", daemon_name(d),
		number_at(result, "generation", n),
		json_is_array(changes) && json_array_size(changes) == 0 ? ", nothing changed" : "");
	print_indented(c, changes);
}

/* A box may run only one of the two: that the other is not there is said, and no failure. */
int verb_reload(struct ctl *c)
{
	static const enum daemon daemons[] = {PROXY, FAILOVER};
	json_t *both = json_object();
	unsigned unreachable = 0;
	int exit_code = DONE;

	for (unsigned i = 0; i < countof(daemons); i++) {
		const char *key = daemons[i] == PROXY ? "proxy" : "failover";
		json_t *result = NULL;
		struct err err;
		enum rpc_rc rc = ask(c, daemons[i], "reload", NULL, RELOAD_MS, &result, &err);

		if (rc == RPC_UNREACHABLE)
			unreachable++;
		if (rc == RPC_REFUSED ||
			(rc == RPC_OK && json_is_false(json_object_get(result, "ok"))))
			exit_code = REFUSED;
		if (rc != RPC_OK)
			complain("%s: %s", daemon_name(daemons[i]), err.text);
		else if (!c->json)
			print_changes(c, daemons[i], result);
		if (rc == RPC_REFUSED)
			result = json_pack("{s:b, s:s}", "ok", 0, "error", err.text);
		json_object_set_new(both, key, rc == RPC_UNREACHABLE ? json_null() : result);
	}
	if (c->json)
		print_json(c, both);
	else
		json_decref(both);
	return unreachable == countof(daemons) ? UNREACHABLE : exit_code;
}

/* --- rollback -------------------------------------------------------------------------------- */
int verb_rollback(struct ctl *c)
{
	const json_t *restored, *name;
	json_t *result = NULL;
	char n[NUMBER_MAX];
	struct err err;
	size_t i;
	int rc = ask_exit(ask(c, PROXY, "rollback", NULL, RELOAD_MS, &result, &err), &err);

	if (rc != DONE)
		return rc;
	if (c->json) {
		print_json(c, result);
		return DONE;
	}
	restored = json_object_get(result, "restored");
	fprintf(c->out, "the configuration that ran from %s on runs again, generation %s\n",
		text_at(restored, "since"), number_at(result, "generation", n));
	json_array_foreach (json_object_get(restored, "files"), i, name) {
		fprintf(c->out, "  %s as it was then\n",
			json_is_string(name) ? json_string_value(name) : "-");
	}
	print_indented(c, json_object_get(result, "changes"));
	fprintf(c->out, "%s is as it is: a reload or a restart takes what it says\n",
		text_at(result, "file"));
	json_decref(result);
	return DONE;
}

/* --- config ---------------------------------------------------------------------------------- */

/* All lines, in as many answers as it takes. NULL after the words, with *ret_rc. */
json_t *ask_config(const struct ctl *c, bool effective, int *ret_rc)
{
	json_t *all = json_array(), *part = NULL;
	json_int_t from = 0;
	struct err err;

	do {
		*ret_rc = ask_exit(
			ask(c, PROXY, "config",
				json_pack("{s:b, s:I}", "effective", (int)effective, "from", from),
				CHECK_MS, &part, &err),
			&err);
		if (*ret_rc != DONE) {
			json_decref(all);
			return NULL;
		}
		json_array_extend(all, json_object_get(part, "lines"));
		from = int_at(part, "next");
		json_decref(part);
	} while (from > 0);
	return all;
}

int verb_config(struct ctl *c)
{
	const json_t *line;
	json_t *lines;
	size_t i;
	int rc;

	if (strcmp(c->argument, "show") != 0) {
		complain("usage: tandemctl config show [--effective]");
		return USAGE;
	}
	lines = ask_config(c, c->effective, &rc);
	if (!lines)
		return rc;
	if (c->json) {
		print_json(c, lines);
		return DONE;
	}
	json_array_foreach (lines, i, line) {
		tint_print(text_at(line, "path"), TINT_NONE, c->color, c->out);
		fprintf(c->out, ": ");
		tint_print(text_at(line, "value"), TINT_GOOD, c->color, c->out);
		fprintf(c->out, "  # ");
		tint_print(text_at(line, "from"), TINT_DIM, c->color, c->out);
		putc('\n', c->out);
	}
	json_decref(lines);
	return DONE;
}
