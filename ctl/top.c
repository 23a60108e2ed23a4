/*
 * tandemctl top: what every server does now, by the difference of two looks at the proxy's status.
 */
#include <stdlib.h>
#include <unistd.h>

#include "ctl/ctl.h"

enum { TIMEOUT_MS = 2000, INTERVAL_S = 1 };

static int look(const struct ctl *c, json_t **ret_status)
{
	struct err err;

	*ret_status = NULL;
	return ask_exit(ask(c, PROXY, "status", NULL, TIMEOUT_MS, ret_status, &err), &err);
}

static const json_t *server_of(const json_t *status, const char *pool, const char *server)
{
	const json_t *p = json_object_get(json_object_get(status, "pools"), pool);

	return json_object_get(json_object_get(p, "servers"), server);
}

/* Of a counter, a second. One that was not there before, or began anew, says nothing yet. */
static json_int_t rate(const json_t *before, const json_t *now, const char *counter)
{
	json_int_t n = int_at(now, counter) - int_at(before, counter);

	return before && n > 0 ? n / INTERVAL_S : 0;
}

static json_t *server_line(
	const json_t *before, const json_t *s, const char *pool, const char *server)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "pool", pool, "server",
		server, "health", text_at(s, "health"), "admin", text_at(s, "admin"),
		"requests_per_second", rate(before, s, "requests_total"), "failures_per_second",
		rate(before, s, "failures_total"), "in_flight", int_at(s, "in_flight"), "sessions",
		int_at(s, "sessions"), "queued", int_at(s, "queued"));
}

/* {node, requests_per_second, connections, servers: [...]} */
static json_t *compare(const json_t *before, const json_t *now)
{
	json_t *servers = json_array(), *p, *s;
	const char *pool, *server;

	json_object_foreach (json_object_get(now, "pools"), pool, p) {
		json_object_foreach (json_object_get(p, "servers"), server, s) {
			json_array_append_new(servers,
				server_line(server_of(before, pool, server), s, pool, server));
		}
	}
	return json_pack("{s:s, s:s, s:I, s:I, s:o}", "node", text_at(now, "node"), "role",
		text_at(now, "role"), "requests_per_second", rate(before, now, "requests_total"),
		"connections", int_at(now, "connections"), "servers", servers);
}

/* What works most comes first. */
static int by_work(const void *a, const void *b)
{
	const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
	json_int_t of_x = int_at(x, "requests_per_second") + int_at(x, "in_flight");
	json_int_t of_y = int_at(y, "requests_per_second") + int_at(y, "in_flight");

	return of_x != of_y ? (of_x < of_y ? 1 : -1)
			    : strcmp(text_at(x, "server"), text_at(y, "server"));
}

static void add_row(struct table *t, const json_t *s)
{
	static const char *const numbers[] = {
		"requests_per_second", "in_flight", "sessions", "queued", "failures_per_second"};
	const char *health = text_at(s, "health"), *admin = text_at(s, "admin");
	char n[NUMBER_MAX];

	table_add(t, TINT_NONE, "%s/%s", text_at(s, "pool"), text_at(s, "server"));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		table_add(t, TINT_NONE, "%s", number_at(s, numbers[i], n));
	table_add(t, health_tint(health), "%s", health);
	table_add(t, strcmp(admin, "ready") == 0 ? TINT_NONE : TINT_WARN, "%s", admin);
}

static void print_top(const struct ctl *c, const json_t *top)
{
	static const char *const heads[] = {"SERVER", "REQUESTS/S", "IN FLIGHT", "SESSIONS",
		"QUEUED", "FAILURES/S", "HEALTH", "ADMIN", NULL};
	const json_t *servers = json_object_get(top, "servers");
	size_t count = json_array_size(servers);
	const json_t **rows = malloc((count + 1) * sizeof(json_t *));
	char n[NUMBER_MAX];
	struct table t;

	if (!rows)
		die("out of memory");
	for (size_t i = 0; i < count; i++)
		rows[i] = json_array_get(servers, i);
	qsort(rows, count, sizeof(*rows), by_work);
	if (c->color && !c->once)
		fprintf(c->out, "\033[H\033[2J");
	tint_print(text_at(top, "node"), TINT_NONE, c->color, c->out);
	fprintf(c->out, ": %s, %s requests/s", text_at(top, "role"),
		number_at(top, "requests_per_second", n));
	fprintf(c->out, ", %s connections\n", number_at(top, "connections", n));
	table_init(&t, heads);
	for (size_t i = 0; i < count; i++)
		add_row(&t, rows[i]);
	table_print(&t, 0, c->color, c->out);
	table_fini(&t);
	free(rows);
	fflush(c->out);
}

int verb_top(struct ctl *c)
{
	json_t *before, *now = NULL;
	int rc = look(c, &before);

	while (rc == DONE) {
		json_t *top;

		sleep(INTERVAL_S);
		rc = look(c, &now);
		if (rc != DONE)
			break;
		top = compare(before, now);
		if (c->json && c->once)
			print_json(c, top);
		else if (c->json)
			print_json_line(c, top);
		else
			print_top(c, top);
		if (!c->json)
			json_decref(top);
		json_decref(before);
		before = now;
		if (c->once || ferror(c->out)) /* or nobody watches any more */
			break;
	}
	json_decref(before);
	return rc;
}
