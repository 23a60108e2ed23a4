/*
 * Snapshots from configuration texts, and what a change is called.
 */
#include "proxy/settings/settings.h"

#include <stdlib.h>

#include "proxy/settings/routes.h"
#include "shared/assert.h"
#include "tests/unit/check.h"

static struct server_table *table;
static struct conf_report *report;

/* NULL when the file has errors, which are in the report then. */
static struct settings *load(const char *text, uint64_t generation)
{
	struct conf *conf;
	struct settings *s;

	if (!table)
		table = server_table_new();
	conf_report_free(report);
	report = conf_report_new();
	CHECK_TRUE(table && report);
	conf = conf_load_text("tandem.yaml", span_of(text), report);
	CHECK_TRUE(conf != NULL);
	s = settings_build(conf, report, table, generation, NULL);
	CHECK((s == NULL) == (conf_report_errors(report) > 0));
	if (!s)
		conf_free(conf);
	return s;
}

static struct settings *load_good(const char *text)
{
	struct settings *s = load(text, 1);

	CHECK_TRUE(s != NULL);
	return s;
}

/* Gives everything back; the table complains if something was not. */
static void done(void)
{
	server_table_free(table);
	conf_report_free(report);
	table = NULL;
	report = NULL;
}

static const char full[] =
	"workers: 3\n"
	"timeouts: {idle: 50s, first_byte: 40s, connect: 3s}\n"
	"log: {access: /var/log/tandem/access.log, format: combined}\n"
	"listeners:\n"
	"  web:\n"
	"    bind: [\"127.0.0.1:8080\", \"[::1]:8080\"]\n"
	"    trusted_proxies: [10.0.0.0/8, \"fd00::/8\"]\n"
	"    via: off\n"
	"    path: reject\n"
	"    limits: {connections: 100, request_body: 1MiB, request_head: 8KiB, fields: 50}\n"
	"    timeouts: {idle: 20s, first_byte: 30s, send: 9s}\n"
	"    routes:\n"
	"      - match: {host: Shop.example.com, path: /api/*, method: [GET, POST]}\n"
	"        pool: api\n"
	"        timeouts: {first_byte: 5s}\n"
	"      - match: {path: /b%41r/x}\n"
	"        pool: api\n"
	"      - pool: web\n"
	"  plain: {bind: \"127.0.0.1:8081\", pool: web, via: edge}\n"
	"pools:\n"
	"  api:\n"
	"    balance: round_robin\n"
	"    servers:\n"
	"      a1: {address: \"10.0.1.11:8443\", weight: 2}\n"
	"      a2: {address: \"10.0.1.12:8443\", backup: true}\n"
	"    health: {http: /healthz, host: api.internal, expect: [200, 300-399], every: 5s,\n"
	"      timeout: 2s, rise: 4, fall: 5, port: 9000, method: HEAD}\n"
	"    timeouts: {first_byte: 15s, connect: 1s}\n"
	"    retry: {attempts: 1, on: [connect]}\n"
	"    when_all_down: 503\n"
	"    passive: {failures: 9, max_ejected: 30%}\n"
	"    slow_start: 20s\n"
	"    limits: {connections_per_server: 20, queue: 7, queue_timeout: 3s}\n"
	"  web: {servers: {w1: \"10.0.2.31:8080\"}, health: {tcp: true}, when_all_down: {pool: "
	"api}}\n";

static const struct route *find(
	const struct listener *l, const char *host, const char *path, enum http_method method)
{
	const struct http_head head = {.method = method, .method_text = SPAN("X")};
	struct route_ask ask = {.head = &head, .host = span_of(host), .path = span_of(path)};

	return routes_find(l->routes, &ask);
}

static int route_at(
	const struct listener *l, const char *host, const char *path, enum http_method method)
{
	const struct route *r = find(l, host, path, method);

	return r ? (int)r->index : -1;
}

static void the_top_and_the_listeners_are_in_the_snapshot(void)
{
	struct settings *s = load_good(full);
	const struct listener *l = &s->listeners[0], *plain = &s->listeners[1];

	CHECK_INT(s->workers, 3);
	CHECK_INT(strlen(s->hash), 64);
	CHECK_TEXT(span_of(s->access_log), "/var/log/tandem/access.log");
	CHECK_INT(s->access_format, ACCESS_COMBINED);
	CHECK_INT(s->listener_count, 2);
	CHECK_TEXT(l->name, "web");
	CHECK_INT(l->bind_count, 2);
	CHECK_INT(addr_port(&l->binds[1]), 8080);
	CHECK_INT(l->trusted_count, 2);
	CHECK_INT(l->trusted[0].bits, 8);
	CHECK_INT(l->via.len, 0);
	CHECK_TEXT(plain->via, "edge");
	CHECK_INT(l->path_mode, HTTP_PATH_REJECT);
	CHECK_INT(plain->path_mode, HTTP_PATH_NORMALIZE);
	CHECK_INT(l->connections_max, 100);
	CHECK_INT(l->content.body_max_bytes, 1 << 20);
	CHECK_INT(plain->content.body_max_bytes, 0);
	CHECK_INT(l->limits.head_bytes, 8192);
	CHECK_INT(l->limits.field_bytes, 8192);
	CHECK_INT(l->limits.fields, 50);
	CHECK_INT(plain->limits.head_bytes, 32768);
	CHECK_INT(plain->limits.line_bytes, 8192);
	CHECK_INT(plain->limits.field_bytes, 16384);
	CHECK_INT(plain->limits.fields, 100);
	settings_unref(s);
	done();
}

static void pools_are_in_the_snapshot_with_their_defaults(void)
{
	struct settings *s = load_good(full);
	const struct pool *api = &s->pools[0], *web = &s->pools[1];

	CHECK_INT(s->pool_count, 2);
	CHECK_INT(web->index, 1);
	CHECK_INT(api->balance, BALANCE_ROUND_ROBIN);
	CHECK_INT(api->member_count, 2);
	CHECK_INT(api->members[0].weight, 2);
	CHECK(!api->members[0].backup && api->members[1].backup);
	CHECK_TEXT(span_of(api->members[1].server->address_text), "10.0.1.12:8443");
	CHECK_INT(web->member_count, 1);
	CHECK_TEXT(span_of(web->members[0].server->name), "w1");
	CHECK_INT(web->members[0].weight, 1);
	CHECK_INT(api->check.kind, CHECK_HTTP);
	CHECK_TEXT(api->check.path, "/healthz");
	CHECK_TEXT(api->check.host, "api.internal");
	CHECK_TEXT(api->check.method, "HEAD");
	CHECK_INT(api->check.expect_count, 2);
	CHECK_INT(api->check.expect[0].from, 200);
	CHECK_INT(api->check.expect[0].to, 200);
	CHECK_INT(api->check.expect[1].to, 399);
	CHECK_INT(api->check.port, 9000);
	CHECK_INT(api->check.every_ns, 5 * NS_PER_S);
	CHECK_INT(api->check.rise, 4);
	CHECK_INT(api->check.fall, 5);
	CHECK_INT(api->retry.further, 0);
	CHECK_INT(api->retry.on, RETRY_ON_CONNECT);
	CHECK(api->when_all_down_503);
	CHECK_INT(api->limits.per_server, 20);
	CHECK_INT(api->limits.queue, 7);
	CHECK(api->stand_in == NULL && web->stand_in == api);
	CHECK_INT(web->limits.per_server, 0);
	CHECK_INT(api->passive.failures, 9);
	CHECK_INT(api->passive.eject_ns, 10 * NS_PER_S);
	CHECK(api->passive.max_ejected_pct == 30);
	CHECK_INT(api->slow_start_ns, 20 * NS_PER_S);
	CHECK_INT(web->passive.failures, 5);
	CHECK_INT(web->passive.eject_ns, 10 * NS_PER_S);
	CHECK(web->passive.max_ejected_pct == 50);
	CHECK_INT(web->slow_start_ns, 0);
	CHECK_INT(web->balance, BALANCE_LEAST_REQUESTS);
	CHECK_INT(web->check.kind, CHECK_TCP);
	CHECK_INT(web->check.every_ns, 2 * NS_PER_S);
	CHECK_INT(web->check.timeout_ns, NS_PER_S);
	CHECK_INT(web->check.rise, 2);
	CHECK_INT(web->check.fall, 3);
	CHECK_INT(web->retry.further, 2);
	CHECK_INT(web->retry.on, RETRY_ON_CONNECT | RETRY_ON_STALE | RETRY_ON_RESET);
	CHECK(!web->retry.unsafe_methods && !web->when_all_down_503);
	settings_unref(s);
	done();
}

static void the_narrowest_time_wins(void)
{
	struct settings *s = load_good(full);
	const struct listener *l = &s->listeners[0];
	const struct timeouts *first = &routes_get(l->routes, 0)->timeouts;
	const struct timeouts *second = &routes_get(l->routes, 1)->timeouts;
	const struct timeouts *third = &routes_get(l->routes, 2)->timeouts;
	const struct timeouts *plain = &routes_get(s->listeners[1].routes, 0)->timeouts;

	CHECK_INT(s->timeouts.head_ns, 10 * NS_PER_S);
	CHECK_INT(l->timeouts.idle_ns, 20 * NS_PER_S);
	CHECK_INT(s->listeners[1].timeouts.idle_ns, 50 * NS_PER_S);
	CHECK_INT(first->first_byte_ns, 5 * NS_PER_S);	 /* the route's */
	CHECK_INT(second->first_byte_ns, 15 * NS_PER_S); /* the pool's */
	CHECK_INT(third->first_byte_ns, 30 * NS_PER_S);	 /* the listener's */
	CHECK_INT(plain->first_byte_ns, 40 * NS_PER_S);	 /* the top's */
	CHECK_INT(first->connect_ns, NS_PER_S);
	CHECK_INT(third->connect_ns, 3 * NS_PER_S);
	CHECK_INT(first->send_ns, 9 * NS_PER_S);
	CHECK_INT(first->queue_ns, 3 * NS_PER_S); /* of the pool's limits */
	CHECK_INT(third->queue_ns, 10 * NS_PER_S);
	CHECK_INT(first->between_bytes_ns, 60 * NS_PER_S);
	CHECK_INT(s->pools[0].timeouts.connect_ns, NS_PER_S);
	CHECK_INT(s->pools[0].timeouts.server_idle_ns, 4 * NS_PER_S);
	settings_unref(s);
	done();
}

#define AT(key) offsetof(struct timeouts, key##_ns)
static const struct {
	const char *key;
	size_t at;
	const char *defaults_to;
	bool early; /* needed before a route is known */
} times[] = {{"head", AT(head), "10s", true}, {"body", AT(body), "30s", false},
	{"idle", AT(idle), "60s", true}, {"h2_idle", AT(h2_idle), "180s", true},
	{"send", AT(send), "30s", false}, {"connect", AT(connect), "5s", false},
	{"first_byte", AT(first_byte), "60s", false},
	{"between_bytes", AT(between_bytes), "60s", false}, {"tunnel", AT(tunnel), "1h", false},
	{"half_closed", AT(half_closed), "30s", false}, {"queue", AT(queue), "10s", false},
	{"server_idle", AT(server_idle), "4s", false}, {"drain", AT(drain), "30s", true}};

static uint64_t time_at(const struct timeouts *t, size_t at)
{
	return *(const uint64_t *)(const void *)((const char *)t + at);
}

/* The times of a file that has them at the first `places` of top, listener, pool and route. */
static void check_time(unsigned which, unsigned places)
{
	static const char *const values[] = {"41s", "42s", "43s", "44s"};
	char text[1024], written[4][64] = {""};
	uint64_t expected_early, expected, by_default;
	struct settings *s;

	for (unsigned i = 0; i < places; i++)
		snprintf(written[i], sizeof(written[i]), "timeouts: {%s: %s}", times[which].key,
			values[i]);
	snprintf(text, sizeof(text),
		"%s\n"
		"listeners: {web: {bind: \"127.0.0.1:80\", routes: [{pool: p, %s}], %s}}\n"
		"pools: {p: {servers: {a: \"127.0.0.1:81\"}, %s}}\n",
		written[0], written[3], written[1], written[2]);
	s = load_good(text);
	CHECK_INT(duration_parse(span_of(times[which].defaults_to), &by_default, NULL), 0);
	expected = places ? (40 + places) * NS_PER_S : by_default;
	expected_early = places > 2 ? 42 * NS_PER_S : expected;
	CHECK_INT(time_at(&s->timeouts, times[which].at), places ? 41 * NS_PER_S : by_default);
	CHECK_INT(time_at(&s->listeners[0].timeouts, times[which].at), expected_early);
	CHECK_INT(time_at(&find(&s->listeners[0], "a", "/", HTTP_GET)->timeouts, times[which].at),
		times[which].early ? expected_early : expected);
	settings_unref(s);
	done();
}

static void every_time_has_a_default_and_is_taken_from_the_narrowest_place_that_has_it(void)
{
	CHECK_INT(sizeof(struct timeouts), countof(times) * sizeof(uint64_t));
	for (unsigned i = 0; i < countof(times); i++)
		for (unsigned places = 0; places <= 4; places++)
			check_time(i, places);
}

static void limits_of_content_are_the_routes_or_else_the_listeners(void)
{
	struct settings *s = load_good(
		"listeners:\n"
		"  web:\n"
		"    bind: \"127.0.0.1:80\"\n"
		"    limits: {request_body: 1kB, body_rate: 1KiB/s, connections_per_client: 7}\n"
		"    routes:\n"
		"      - {match: {path: /a}, pool: p, limits: {request_body: 2kB, send_rate: "
		"off}}\n"
		"      - {match: {path: /b}, pool: p, limits: {body_rate: 9B/s}}\n"
		"      - pool: p\n"
		"  plain: {bind: \"127.0.0.1:81\", pool: p}\n"
		"pools: {p: {servers: {a: \"127.0.0.1:82\"}}}\n");
	const struct listener *web = &s->listeners[0], *plain = &s->listeners[1];
	const struct content_limits *a = &find(web, "a", "/a", HTTP_GET)->content;
	const struct content_limits *b = &find(web, "a", "/b", HTTP_GET)->content;
	const struct content_limits *rest = &find(web, "a", "/", HTTP_GET)->content;

	CHECK_INT(a->body_max_bytes, 2000);
	CHECK_INT(a->body_rate, 1024);
	CHECK_INT(a->send_rate, 0);
	CHECK_INT(b->body_max_bytes, 1000);
	CHECK_INT(b->body_rate, 9);
	CHECK_INT(b->send_rate, 500);
	CHECK_INT(rest->body_max_bytes, 1000);
	CHECK_INT(web->connections_per_client, 7);
	CHECK_INT(plain->content.body_rate, 500);
	CHECK_INT(plain->content.send_rate, 500);
	CHECK_INT(plain->connections_per_client, 0);
	settings_unref(s);
	done();
}

static void routes_lead_where_the_file_says(void)
{
	struct settings *s = load_good(full);
	const struct listener *l = &s->listeners[0];

	CHECK_INT(route_at(l, "shop.example.com", "/api/x", HTTP_GET), 0);
	CHECK_INT(route_at(l, "shop.example.com", "/api/x", HTTP_PUT), 2);
	CHECK_INT(
		route_at(l, "other.example", "/bAr/x", HTTP_GET), 1); /* as requests are: normal */
	CHECK_INT(route_at(l, "other.example", "/b%41r/x", HTTP_GET), 2);
	CHECK_INT(route_at(&s->listeners[1], "", "/", HTTP_GET), 0);
	CHECK(routes_get(l->routes, 0)->pool == &s->pools[0]);
	CHECK(routes_get(l->routes, 2)->pool == &s->pools[1]);
	CHECK_INT(routes_get(l->routes, 0)->line, 13);
	settings_unref(s);
	done();
}

static void with_raw_paths_patterns_are_taken_as_they_are(void)
{
	struct settings *s = load_good("listeners:\n"
				       "  web:\n"
				       "    bind: \":80\"\n"
				       "    path: raw\n"
				       "    routes:\n"
				       "      - {match: {path: /b%41r/*}, pool: web}\n"
				       "pools: {web: {servers: {w1: \"10.0.2.31:8080\"}}}\n");

	CHECK_INT(route_at(&s->listeners[0], "h", "/b%41r/x", HTTP_GET), 0);
	CHECK_INT(route_at(&s->listeners[0], "h", "/bAr/x", HTTP_GET), -1);
	settings_unref(s);
	done();
}

static void a_node_without_listeners_has_none(void)
{
	struct settings *s = load_good("pools: {web: {servers: {w1: \"10.0.2.31:8080\"}}}\n");

	CHECK_INT(s->listener_count, 0);
	CHECK_INT(s->pool_count, 1);
	CHECK(s->workers >= 1);
	CHECK(s->access_log == NULL);
	settings_unref(s);
	s = load_good("");
	CHECK_INT(s->listener_count, 0);
	CHECK_INT(s->pool_count, 0);
	settings_unref(s);
	done();
}

static void a_file_with_errors_gives_no_snapshot_and_leaks_nothing(void)
{
	CHECK(load("pools: {web: {blance: x, servers: {w1: \"10.0.2.31:8080\"}}}\n", 1) == NULL);
	CHECK(load("listeners:\n  web:\n    bind: \":80\"\n    routes:\n"
		   "      - {match: {path: \"/a%00b\"}, pool: web}\n"
		   "pools: {web: {servers: {w1: \"10.0.2.31:8080\"}}}\n",
		      1) == NULL);
	done();
}

static void a_route_that_can_never_match_is_warned_of_with_its_line(void)
{
	static const char text[] = "listeners:\n"
				   "  web:\n"
				   "    bind: \":80\"\n"
				   "    routes:\n"
				   "      - match: {path: /api/*}\n"
				   "        pool: web\n"
				   "      - match: {path: /assets/*}\n"
				   "        pool: web\n"
				   "      - match: {path: /assets/*, method: [GET, HEAD]}\n"
				   "        pool: web\n"
				   "      - pool: web\n"
				   "pools: {web: {servers: {w1: \"10.0.2.31:8080\"}}}\n";
	struct settings *s = load_good(text);
	char *line;

	CHECK_INT(conf_report_errors(report), 0);
	CHECK_INT(conf_report_warnings(report), 1);
	line = conf_report_line(report, s->conf, 0);
	CHECK_TEXT(span_of(line),
		"tandem.yaml:9:9: warning: route 3 can never match: route 2 (line 7) already takes "
		"every request for /assets/*");
	free(line);
	settings_unref(s);
	done();
}

static void a_time_that_comes_too_late_is_warned_of(void)
{
	struct settings *s =
		load_good("listeners: {web: {bind: \":80\", pool: web}}\n"
			  "pools:\n"
			  "  web: {servers: {w1: \"10.0.2.31:8080\"}, timeouts: {head: 5s}}\n");

	CHECK_INT(conf_report_warnings(report), 1);
	CHECK_INT(routes_get(s->listeners[0].routes, 0)->timeouts.head_ns, 10 * NS_PER_S);
	settings_unref(s);
	done();
}

static void servers_and_counters_are_the_same_after_a_reload(void)
{
	struct settings *a = load_good(full), *b = load(full, 2);
	const struct server *a1 = a->pools[0].members[0].server;

	CHECK_TRUE(b != NULL);
	CHECK_INT(b->generation, 2);
	CHECK(strcmp(a->hash, b->hash) == 0);
	CHECK(a1 == b->pools[0].members[0].server);
	CHECK(a1 != b->pools[0].members[1].server);
	CHECK(a1->slot != b->pools[0].members[1].server->slot);
	CHECK(a->pools[0].state == b->pools[0].state);
	CHECK(a->listeners[0].state == b->listeners[0].state);
	settings_unref(a);
	CHECK_TEXT(span_of(a1->name), "a1");
	settings_unref(b);
	done();
}

static void a_server_with_another_address_is_a_new_one(void)
{
	static const char moved[] = "pools: {api: {servers: {a1: \"10.0.1.99:8443\"}}}\n";
	struct settings *a = load_good(full), *b = load(moved, 2), *c;

	CHECK_TRUE(b != NULL);
	CHECK(a->pools[0].members[0].server != b->pools[0].members[0].server);
	CHECK(a->pools[0].members[0].server->slot != b->pools[0].members[0].server->slot);
	settings_unref(a); /* the old one goes; its name is the new one's by now */
	c = load(moved, 3);
	CHECK_TRUE(c != NULL);
	CHECK(b->pools[0].members[0].server == c->pools[0].members[0].server);
	settings_unref(b);
	settings_unref(c);
	done();
}

/* --- diff ---------------------------------------------------------------------------------------
 */

static bool said(char **lines, size_t count, const char *line)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(lines[i], line) == 0)
			return true;
	fprintf(stderr, "not said: %s\n", line);
	return false;
}

static size_t diff(const char *old, const char *new, char ***ret_lines)
{
	struct settings *a = load_good(old), *b = load_good(new);
	size_t count = settings_diff(a, b, ret_lines);

	settings_unref(a);
	settings_unref(b);
	return count;
}

static void free_lines(char **lines, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(lines[i]);
	free(lines);
}

static void the_same_file_changes_nothing(void)
{
	char **lines;
	size_t count = diff(full, full, &lines);

	CHECK_INT(count, 0);
	free_lines(lines, count);
	done();
}

static void every_change_is_said_in_words(void)
{
	static const char new[] =
		"workers: 4\n"
		"timeouts: {idle: 51s}\n"
		"listeners:\n"
		"  web:\n"
		"    bind: [\"127.0.0.1:8080\", \"127.0.0.1:8088\"]\n"
		"    routes:\n"
		"      - {match: {path: /api/*}, pool: api}\n"
		"      - pool: new\n"
		"  other: {bind: \"127.0.0.1:8082\", pool: api}\n"
		"pools:\n"
		"  api:\n"
		"    servers:\n"
		"      a3: \"10.0.1.13:8443\"\n"
		"      a2: {address: \"10.0.1.99:8443\", weight: 5}\n"
		"    health: {http: /healthz}\n"
		"  new: {servers: {n1: \"10.0.2.31:8080\", n2: \"10.0.2.32:8080\"}}\n";
	static const char *const expected[] = {
		"workers 3 -> 4: from the next start on",
		"timeouts changed",
		"log changed",
		"listener web: bind 127.0.0.1:8088 added",
		"listener web: bind [::1]:8080 removed",
		"listener web: route 1 changed",
		"listener web: route 2 changed",
		"listener web: route 3 removed",
		"listener web: trusted_proxies changed",
		"listener web: path changed",
		"listener web: limits changed",
		"listener web: timeouts changed",
		"listener web: via changed",
		"listener other added",
		"listener plain removed",
		"pool api: server a3 added",
		"pool api: server a1 removed",
		"pool api: server a2 address 10.0.1.12:8443 -> 10.0.1.99:8443",
		"pool api: server a2 weight 1 -> 5",
		"pool api: server a2 is no longer a backup",
		"pool api: balance round_robin -> least_requests",
		"pool api: health changed",
		"pool api: limits changed",
		"pool api: passive changed",
		"pool api: retry changed",
		"pool api: slow_start changed",
		"pool api: timeouts changed",
		"pool api: when_all_down changed",
		"pool new added, servers: 2",
		"pool web removed",
	};
	char **lines;
	size_t count = diff(full, new, &lines);

	CHECK_INT(count, countof(expected));
	for (size_t i = 0; i < countof(expected); i++)
		CHECK(said(lines, count, expected[i]));
	free_lines(lines, count);
	done();
}

static const struct test_case cases[] = {
	TEST(the_top_and_the_listeners_are_in_the_snapshot),
	TEST(pools_are_in_the_snapshot_with_their_defaults),
	TEST(the_narrowest_time_wins),
	TEST(every_time_has_a_default_and_is_taken_from_the_narrowest_place_that_has_it),
	TEST(limits_of_content_are_the_routes_or_else_the_listeners),
	TEST(routes_lead_where_the_file_says),
	TEST(with_raw_paths_patterns_are_taken_as_they_are),
	TEST(a_node_without_listeners_has_none),
	TEST(a_file_with_errors_gives_no_snapshot_and_leaks_nothing),
	TEST(a_route_that_can_never_match_is_warned_of_with_its_line),
	TEST(a_time_that_comes_too_late_is_warned_of),
	TEST(servers_and_counters_are_the_same_after_a_reload),
	TEST(a_server_with_another_address_is_a_new_one),
	TEST(the_same_file_changes_nothing),
	TEST(every_change_is_said_in_words),
};

TESTS_MAIN("proxy settings", cases)
