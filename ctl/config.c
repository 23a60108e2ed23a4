/*
 * tandemctl check, reload.
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
	result = json_pack("{s:b, s:o, s:o, s:s}", "ok", conf_report_errors(report) == 0, "errors",
		errors, "warnings", warnings, "text", text);
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

int verb_check(struct ctl *c)
{
	const char *name = c->argument ? c->argument : TANDEM_SYSCONFDIR "/tandem/tandem.yaml";
	char *file = realpath(name, NULL);
	json_t *result = NULL;
	struct err err;
	enum rpc_rc rc;
	bool ok;

	if (!file) {
		complain("%s: %s", name, strerror(errno));
		return REFUSED;
	}
	rc = ask(c, PROXY, "check", json_pack("{s:s}", "file", file), CHECK_MS, &result, &err);
	if (rc == RPC_UNREACHABLE || (rc == RPC_REFUSED && geteuid() != 0)) {
		complain("tandem-proxy %s: checked here, without what only it can tell",
			rc == RPC_REFUSED ? "may not read files for you" : "is not reachable");
		result = check_here(file);
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
			fprintf(c->out, "%s: good\n", file);
	}
	json_decref(result);
	free(file);
	return ok ? DONE : REFUSED;
}

/* --- reload ---------------------------------------------------------------------------------- */
static void print_changes(const struct ctl *c, enum daemon d, const json_t *result)
{
	const json_t *changes = json_object_get(result, "changes"), *change;
	char n[NUMBER_MAX];
	size_t i;

	if (json_is_false(json_object_get(result, "ok"))) {
		fprintf(c->out, "%s: not reloaded, the configuration before runs on\n",
			daemon_name(d));
		print_report(c, result);
		return;
	}
	fprintf(c->out, "%s: reloaded, generation %s%s\n", daemon_name(d),
		number_at(result, "generation", n),
		json_is_array(changes) && json_array_size(changes) == 0 ? ", nothing changed" : "");
	json_array_foreach (changes, i, change) {
		fprintf(c->out, "  ");
		tint_print(json_is_string(change) ? json_string_value(change) : "-", TINT_NONE,
			false, c->out);
		putc('\n', c->out);
	}
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
		json_object_set_new(both, key, rc == RPC_OK ? result : json_null());
	}
	if (c->json)
		print_json(c, both);
	else
		json_decref(both);
	return unreachable == countof(daemons) ? UNREACHABLE : exit_code;
}
