/*
 * tandemctl explain: what would become of a request, step by step as the proxy says it.
 */
#include "ctl/ctl.h"

enum { TIMEOUT_MS = 2000 };

static void line(const struct ctl *c, const char *name, enum tint tint, const char *text)
{
	fprintf(c->out, "%-10s ", name);
	tint_print(text, tint, c->color, c->out);
	putc('\n', c->out);
}

static void print_request(const struct ctl *c, const json_t *r)
{
	const json_t *request = json_object_get(r, "request");
	const char *query = json_string_value(json_object_get(request, "query"));
	char text[1024];

	line(c, "listener", TINT_NONE, text_at(r, "listener"));
	if (!request)
		return;
	snprintf(text, sizeof(text), "%s %s%s%s, host %s, client %s", text_at(request, "method"),
		text_at(request, "path"), query ? "?" : "", query ? query : "",
		text_at(request, "host"), text_at(request, "client"));
	line(c, "request", TINT_NONE, text);
}

static void print_routes(const struct ctl *c, const json_t *r)
{
	const json_t *over = json_object_get(r, "passed_over"), *route, *one;
	char text[512];
	size_t i;

	if (int_at(r, "passed_over_more") > 0) {
		snprintf(text, sizeof(text), "%lld before these",
			(long long)int_at(r, "passed_over_more"));
		line(c, "not", TINT_DIM, text);
	}
	json_array_foreach (over, i, one) {
		snprintf(text, sizeof(text), "route %lld (line %lld): %s",
			(long long)int_at(one, "route"), (long long)int_at(one, "line"),
			text_at(one, "why"));
		line(c, "not", TINT_DIM, text);
	}
	route = json_object_get(r, "route");
	if (!route)
		return;
	snprintf(text, sizeof(text), "%lld (line %lld)", (long long)int_at(route, "route"),
		(long long)int_at(route, "line"));
	line(c, "route", TINT_GOOD, text);
}

static void print_edits(const struct ctl *c, const char *name, const json_t *edits)
{
	const json_t *one;
	char text[1024];
	size_t i;

	json_array_foreach (json_object_get(edits, "removed"), i, one) {
		snprintf(text, sizeof(text), "without %s", json_string_value(one));
		line(c, name, TINT_NONE, text);
	}
	json_array_foreach (json_object_get(edits, "put"), i, one) {
		line(c, name, TINT_NONE, json_string_value(one));
	}
}

static void print_rewrite(const struct ctl *c, const json_t *r)
{
	const json_t *sent = json_object_get(r, "sent");
	const char *query = json_string_value(json_object_get(sent, "query"));
	char text[1024];

	if (sent) {
		snprintf(text, sizeof(text), "%s%s%s, host %s", text_at(sent, "path"),
			query ? "?" : "", query ? query : "", text_at(sent, "host"));
		line(c, "sent as", TINT_NONE, text);
	}
	print_edits(c, "request", json_object_get(r, "request_headers"));
	print_edits(c, "response", json_object_get(r, "response_headers"));
}

static void print_servers(const struct ctl *c, const json_t *servers)
{
	static const char *const heads[] = {
		"SERVER", "ADDRESS", "CAN SERVE", "HEALTH", "ADMIN", "IN FLIGHT", NULL};
	const json_t *s;
	struct table t;
	size_t i;

	table_init(&t, heads);
	json_array_foreach (servers, i, s) {
		bool can = json_is_true(json_object_get(s, "can_serve"));

		table_add(&t, TINT_NONE, "%s", text_at(s, "name"));
		table_add(&t, TINT_NONE, "%s", text_at(s, "address"));
		table_add(&t, can ? TINT_GOOD : TINT_BAD, "%s", can ? "yes" : "no");
		table_add(&t, TINT_NONE, "%s", text_at(s, "health"));
		table_add(&t, TINT_NONE, "%s", text_at(s, "admin"));
		table_add(&t, TINT_NONE, "%lld", (long long)int_at(s, "in_flight"));
	}
	table_print(&t, 2, c->color, c->out);
	table_fini(&t);
}

static void print_pool(const struct ctl *c, const json_t *pool)
{
	const json_t *chosen = json_object_get(pool, "chosen");
	double share = json_number_value(json_object_get(pool, "share_pct"));
	char text[512];

	if (share < 100)
		snprintf(text, sizeof(text), "%s, with %g%%", text_at(pool, "pool"), share);
	else
		snprintf(text, sizeof(text), "%s", text_at(pool, "pool"));
	line(c, "pool", TINT_NONE, text);
	if (json_object_get(pool, "stand_in"))
		line(c, "instead", TINT_WARN, text_at(pool, "stand_in"));
	print_servers(c, json_object_get(pool, "servers"));
	if (int_at(pool, "servers_more") > 0)
		fprintf(c->out, "  and %lld more\n", (long long)int_at(pool, "servers_more"));
	if (!chosen)
		return;
	snprintf(text, sizeof(text), "%s (%s)", text_at(chosen, "server"), text_at(chosen, "by"));
	line(c, "goes to", TINT_GOOD, text);
}

static void print_answer(const struct ctl *c, const json_t *r)
{
	char text[256];

	if (!json_object_get(r, "status"))
		return;
	snprintf(text, sizeof(text), "%lld: %s", (long long)int_at(r, "status"),
		text_at(r, "reason"));
	line(c, "answer", int_at(r, "status") < 400 ? TINT_GOOD : TINT_WARN, text);
	if (json_object_get(r, "location"))
		line(c, "location", TINT_NONE, text_at(r, "location"));
}

int verb_explain(struct ctl *c)
{
	json_t *result = NULL, *params, *pool;
	struct err err;
	size_t i;
	int rc;

	params = json_pack("{s:s, s:s, s:s*, s:O*}", "method", c->argument, "url", c->more[0],
		"from", c->from, "headers", c->headers);
	if (!params) {
		complain("what is asked for is not UTF-8");
		return USAGE;
	}
	rc = ask_exit(ask(c, PROXY, "explain", params, TIMEOUT_MS, &result, &err), &err);
	if (rc != DONE)
		return rc;
	if (c->json) {
		print_json(c, result);
		return DONE;
	}
	print_request(c, result);
	print_routes(c, result);
	print_rewrite(c, result);
	json_array_foreach (json_object_get(result, "pools"), i, pool) {
		print_pool(c, pool);
	}
	print_answer(c, result);
	json_decref(result);
	return DONE;
}
