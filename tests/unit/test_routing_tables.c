/*
 * Routes with every kind of condition, as the file has them: random tables, where the index must
 * agree with reading the list from top to bottom, and never call a route unreachable that a request
 * reaches.
 */
#include <stdlib.h>
#include <strings.h>

#include "proxy/settings/routes.h"
#include "shared/assert.h"
#include "shared/rng.h"
#include "tests/unit/check.h"

#define PICK(list) (list)[rng_below(&rng, countof(list))]
enum { ROUTES = 24, ROUNDS = 300, ASKS = 60, TEXT = 16384 };

static struct rng rng;

/* What a route wants; NULL: nothing of the kind. As the file has it. */
struct wants {
	const char *host, *path, *methods, *header_a, *header_b, *cookie, *query, *client, *type,
		*upgrade;
};

/* What a request has; NULL: not there. */
struct has {
	const char *host, *path, *method, *header_a, *header_b, *cookie, *query, *client, *type,
		*upgrade;
};

static struct wants some_wants(void)
{
	static const char *const hosts[] = {NULL, NULL, NULL, "a.example", "*.example"};
	static const char *const paths[] = {
		NULL, NULL, "/x", "/x/*", "/x/y/*", "/", "~ ^/x/[a-z]+$", "~ y"};
	static const char *const methods[] = {NULL, NULL, "GET", "POST", "[GET, PURGE]"};
	static const char *const values[] = {
		NULL, NULL, NULL, "\"1\"", "[\"1\", \"2\"]", "\"*\"", "\"~ ^[12]$\""};
	static const char *const clients[] = {
		NULL, NULL, NULL, "10.0.0.0/8", "[10.1.0.0/16, 192.0.2.1]", "\"fd00::/8\""};
	static const char *const types[] = {NULL, NULL, NULL, "application/json", "\"text/*\""};
	static const char *const upgrades[] = {NULL, NULL, NULL, "websocket", "\"*\""};

	return (struct wants){PICK(hosts), PICK(paths), PICK(methods), PICK(values), PICK(values),
		PICK(values), PICK(values), PICK(clients), PICK(types), PICK(upgrades)};
}

static struct has some_request(void)
{
	static const char *const hosts[] = {"a.example", "b.example", "A.Example", "other"};
	static const char *const paths[] = {"/", "/x", "/x/", "/x/y", "/x/y/z", "/x/1", "/y"};
	static const char *const methods[] = {"GET", "GET", "POST", "PURGE"};
	static const char *const values[] = {NULL, "", "1", "2", "3", "11"};
	static const char *const clients[] = {
		"10.2.0.1", "10.1.0.1", "192.0.2.1", "fd00::1", "::1"};
	static const char *const types[] = {NULL, "application/json; charset=utf-8", "text/html",
		"Text/Plain", "application/jsonp"};
	static const char *const upgrades[] = {NULL, "WebSocket", "foo, bar/2", "websocket, foo"};

	return (struct has){PICK(hosts), PICK(paths), PICK(methods), PICK(values), PICK(values),
		PICK(values), PICK(values), PICK(clients), PICK(types), PICK(upgrades)};
}

/* --- reading from top to bottom ------------------------------------------------------------------
 */

static bool host_takes(const char *want, const char *host)
{
	size_t len = strlen(host);

	if (!want)
		return true;
	if (want[0] != '*')
		return strcasecmp(want, host) == 0;
	return len > strlen(".example") &&
	       strcasecmp(host + len - strlen(".example"), ".example") == 0;
}

static bool path_takes(const char *want, const char *path)
{
	size_t len = want ? strlen(want) : 0;

	if (!want)
		return true;
	if (strcmp(want, "~ y") == 0)
		return strchr(path, 'y') != NULL;
	if (want[0] == '~')
		return strncmp(path, "/x/", 3) == 0 && path[3] &&
		       strspn(path + 3, "abcdefghijklmnopqrstuvwxyz") == strlen(path + 3);
	return want[len - 1] == '*' ? strncmp(want, path, len - 1) == 0 : strcmp(want, path) == 0;
}

static bool value_takes(const char *want, const char *value)
{
	if (!want || !value)
		return !want;
	if (strchr(want, '*'))
		return true;
	return strcmp(value, "1") == 0 || (strcmp(value, "2") == 0 && strchr(want, '2'));
}

static bool client_takes(const char *want, const char *client)
{
	if (!want)
		return true;
	if (strncmp(want, "10.0", 4) == 0)
		return strncmp(client, "10.", 3) == 0;
	if (strchr(want, '['))
		return strncmp(client, "10.1.", 5) == 0 || strcmp(client, "192.0.2.1") == 0;
	return strncmp(client, "fd", 2) == 0;
}

static bool type_takes(const char *want, const char *type)
{
	if (!want || !type)
		return !want;
	return strchr(want, '*') ? strncasecmp(type, "text/", 5) == 0
				 : strncmp(type, "application/json;", 17) == 0;
}

static bool takes(const struct wants *w, const struct has *h)
{
	return host_takes(w->host, h->host) && path_takes(w->path, h->path) &&
	       (!w->methods || strstr(w->methods, h->method)) &&
	       value_takes(w->header_a, h->header_a) && value_takes(w->header_b, h->header_b) &&
	       value_takes(w->cookie, h->cookie) && value_takes(w->query, h->query) &&
	       client_takes(w->client, h->client) && type_takes(w->type, h->type) &&
	       (!w->upgrade || (h->upgrade && (strchr(w->upgrade, '*') ||
						      strcasestr(h->upgrade, "websocket"))));
}

static int find_by_reading(const struct wants *w, unsigned count, const struct has *h)
{
	for (unsigned i = 0; i < count; i++)
		if (takes(&w[i], h))
			return (int)i;
	return -1;
}

/* --- the real thing ------------------------------------------------------------------------------
 */

static void write_route(FILE *to, const struct wants *w)
{
	fprintf(to, "      - match:\n          method: %s\n",
		w->methods ? w->methods : "[GET, POST, PURGE]");
	if (w->host)
		fprintf(to, "          host: \"%s\"\n", w->host);
	if (w->path)
		fprintf(to, "          path: \"%s\"\n", w->path);
	if (w->header_a || w->header_b)
		fprintf(to, "          header: {%s%s%s%s%s}\n", w->header_a ? "x-a: " : "",
			w->header_a ? w->header_a : "", w->header_a && w->header_b ? ", " : "",
			w->header_b ? "x-b: " : "", w->header_b ? w->header_b : "");
	if (w->cookie)
		fprintf(to, "          cookie: {c: %s}\n", w->cookie);
	if (w->query)
		fprintf(to, "          query: {q: %s}\n", w->query);
	if (w->client)
		fprintf(to, "          client: %s\n", w->client);
	if (w->type)
		fprintf(to, "          content_type: %s\n", w->type);
	if (w->upgrade)
		fprintf(to, "          upgrade: %s\n", w->upgrade);
	fprintf(to, "        pool: p\n");
}

struct loaded {
	struct server_table *table;
	struct conf_report *report;
	struct settings *settings;
	const struct routes *routes;
};

static void load(struct loaded *l, const struct wants *w, unsigned count)
{
	static char text[TEXT];
	FILE *to = fmemopen(text, sizeof(text), "w");
	struct conf *conf;

	CHECK_TRUE(to != NULL);
	fprintf(to, "pools: {p: {servers: {s: \"10.0.0.1:80\"}}}\nlisteners:\n  h:\n"
		    "    bind: \":80\"\n    routes:\n");
	for (unsigned i = 0; i < count; i++)
		write_route(to, &w[i]);
	fclose(to);
	l->table = server_table_new();
	l->report = conf_report_new();
	conf = conf_load_text("tandem.yaml", span_of(text), l->report);
	CHECK_TRUE(conf != NULL);
	l->settings = settings_build(conf, l->report, l->table, 1, NULL);
	if (!l->settings)
		conf_report_print(l->report, conf, stdout);
	CHECK_TRUE(l->settings != NULL);
	l->routes = l->settings->listeners[0].routes;
}

static void unload(struct loaded *l)
{
	settings_unref(l->settings);
	server_table_free(l->table);
	conf_report_free(l->report);
}

static int find(const struct routes *r, const struct has *h, struct regex_room *room)
{
	static const struct http_limits limits = {8192, 32768, 16384, 100};
	static struct http_head head;
	static char text[2048];
	struct http_fault fault;
	struct addr client;
	struct route_ask ask = {.head = &head, .client = &client, .room = room};
	const struct route *found;
	FILE *to = fmemopen(text, sizeof(text), "w");

	fprintf(to, "%s %s%s%s HTTP/1.1\r\nHost: %s:80\r\n", h->method, h->path,
		h->query ? "?r&q=" : "", h->query ? h->query : "", h->host);
	if (h->header_a)
		fprintf(to, "X-A: %s\r\n", h->header_a);
	if (h->header_b)
		fprintf(to, "X-B: nothing\r\nx-b: %s\r\n", h->header_b);
	if (h->cookie)
		fprintf(to, "Cookie: b=1; c=%s; d=2\r\n", h->cookie);
	if (h->type)
		fprintf(to, "Content-Type: %s\r\n", h->type);
	if (h->upgrade)
		fprintf(to, "Connection: upgrade\r\nUpgrade: %s\r\n", h->upgrade);
	fprintf(to, "\r\n");
	fclose(to);
	http_head_init(&head);
	CHECK_TRUE(http1_parse_request(&head, span_of(text), &limits, &fault) == PARSE_DONE);
	CHECK_TRUE(http_path(head.target, HTTP_PATH_REJECT, NULL, 0, &ask.path, &ask.query,
			   &fault) == PARSE_DONE);
	ask.host = span_make(head.authority.ptr, strlen(h->host));
	CHECK_TRUE(addr_parse_ip(span_of(h->client), &client, NULL) == 0);
	found = routes_find(r, &ask);
	CHECK(ask.gave_up == NULL);
	/* Those before it have a reason, and it has none. */
	for (unsigned i = 0; i <= (found ? found->index : routes_count(r) - 1); i++) {
		char why[256];

		routes_why_not(r, i, &ask, why, sizeof(why));
		CHECK((strcmp(why, "it takes the request") == 0) == (found && i == found->index));
	}
	return found ? (int)found->index : -1;
}

static void the_index_agrees_with_reading_the_list_whatever_the_conditions(void)
{
	struct regex_room *room = regex_room_new();
	unsigned matched = 0, dead = 0;

	CHECK_TRUE(room != NULL);
	rng_seed(&rng, 7);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct wants w[ROUTES];
		bool unreachable[ROUTES];
		unsigned count = 1 + (unsigned)rng_below(&rng, ROUTES);
		const struct route *first, *last;
		struct loaded l;

		for (unsigned i = 0; i < count; i++)
			w[i] = some_wants();
		load(&l, w, count);
		for (unsigned i = 0; i < count; i++) {
			unreachable[i] = routes_shadowed(l.routes, i, &first, &last);
			dead += unreachable[i];
		}
		for (unsigned i = 0; i < ASKS; i++) {
			struct has h = some_request();
			int expected = find_by_reading(w, count, &h);

			/* "X-B: nothing" comes with it, which any value takes anyhow. */
			CHECK_INT(find(l.routes, &h, room), expected);
			CHECK(expected < 0 || !unreachable[expected]);
			matched += expected >= 0;
		}
		unload(&l);
	}
	CHECK(matched > 2000); /* the questions were not all idle */
	CHECK(dead > 50);
	regex_room_free(room);
}

static const struct test_case cases[] = {
	TEST(the_index_agrees_with_reading_the_list_whatever_the_conditions),
};

TESTS_MAIN("routing_tables", cases)
