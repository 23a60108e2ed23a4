/*
 * Keys, values and references: what is accepted, and what exactly is printed about the rest.
 */
#include "shared/conf.h"
#include "shared/conf_build.h"
#include "tests/unit/check.h"
#include "tests/unit/conf_text.h"

#define POOLS "pools:\n  api: {servers: {s1: \"10.0.0.1:80\"}}\n"

static void an_unknown_key_is_told_with_the_nearest_one(void)
{
	CHECK_PRINTED("pools:\n"
		      "  api:\n"
		      "    blance: least_requests\n"
		      "    servers: {s1: \"10.0.0.1:80\"}\n",
		"tandem.yaml:3:5: error: unknown key 'blance' in pool 'api'\n"
		"    3 |     blance: least_requests\n"
		"      |     ^~~~~~ did you mean 'balance'?\n");
	CHECK_PRINTED("listners: {}\n",
		"tandem.yaml:1:1: error: unknown key 'listners' at the top level\n"
		"    1 | listners: {}\n"
		"      | ^~~~~~~~ did you mean 'listeners'?\n");
	CHECK_PRINTED("xyz: 1\n", "tandem.yaml:1:1: error: unknown key 'xyz' at the top level\n"
				  "    1 | xyz: 1\n"
				  "      | ^~~\n");
	CHECK_PRINTS("listeners: {h: {bind: \":80\", routes: [{pool: api}, {mach: {}, pool: "
		     "api}]}}\n" POOLS,
		"1:53: error: unknown key 'mach' in route 2 of listener 'h'\n");
	CHECK_PRINTS("pools: {api: {servers: {s1: {address: \"10.0.0.1:80\", wight: 2}}}}\n",
		"error: unknown key 'wight' in server 's1' of pool 'api'\n");
}

static void a_duplicate_key_is_told_with_the_first(void)
{
	CHECK_PRINTED("workers: 1\nlog: {}\nworkers: 2\n",
		"tandem.yaml:3:1: error: duplicate key 'workers'\n"
		"    3 | workers: 2\n"
		"      | ^~~~~~~ first written here: (line 1)\n");
}

static void a_duplicate_among_many_names_is_found(void)
{
	char text[8192];
	size_t at = 0;

	at += (size_t)snprintf(text, sizeof(text), "pools:\n");
	for (unsigned i = 0; i < 100; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
			"  p%u: {servers: {s: \"10.0.0.1:80\"}}\n", i == 77 ? 7 : i);
	CHECK_PRINTED(text, "tandem.yaml:79:3: error: duplicate key 'p7'\n"
			    "   79 |   p7: {servers: {s: \"10.0.0.1:80\"}}\n"
			    "      |   ^~ first written here: (line 9)\n");
}

static void a_duration_without_a_good_unit_is_told(void)
{
	CHECK_PRINTED("timeouts: {head: 10, idle: 2x}\n",
		"tandem.yaml:1:18: error: '10' is not a duration: write a number and a unit, such "
		"as "
		"500ms, 2s or 5m\n"
		"    1 | timeouts: {head: 10, idle: 2x}\n"
		"      |                  ^~\n"
		"tandem.yaml:1:28: error: '2x' is not a duration: write a number and a unit, such "
		"as "
		"500ms, 2s or 5m\n"
		"    1 | timeouts: {head: 10, idle: 2x}\n"
		"      |                            ^~\n");
}

static void an_undefined_pool_is_told_with_the_nearest_one(void)
{
	CHECK_PRINTED("listeners:\n  http: {bind: \":80\", pool: apii}\n" POOLS,
		"tandem.yaml:2:29: error: pool 'apii' is not defined\n"
		"    2 |   http: {bind: \":80\", pool: apii}\n"
		"      |                             ^~~~ did you mean 'api' (line 4)?\n");
	CHECK_PRINTS("listeners: {h: {bind: \":80\", pool: api}}\n",
		"error: pool 'api' is not defined\n");
}

static void a_missing_key_is_told_at_its_map(void)
{
	CHECK_PRINTED("listeners:\n  http: {pool: api}\n" POOLS,
		"tandem.yaml:2:3: error: listener 'http' needs 'bind'\n"
		"    2 |   http: {pool: api}\n"
		"      |   ^~~~\n");
	CHECK_PRINTED(
		"listeners:\n  http:\n    bind: \":80\"\n    routes:\n    - match: {}\n" POOLS,
		"tandem.yaml:5:7: error: route 1 of listener 'http' needs 'pool', 'redirect' or "
		"'respond'\n"
		"    5 |     - match: {}\n"
		"      |       ^\n");
	/* A misspelt key is told once. */
	CHECK_PRINTED("pools: {api: {severs: {}}}\n",
		"tandem.yaml:1:15: error: unknown key 'severs' in pool 'api'\n"
		"    1 | pools: {api: {severs: {}}}\n"
		"      |               ^~~~~~ did you mean 'servers'?\n");
}

static void what_is_planned_is_refused_by_name(void)
{
	CHECK_PRINTED("listeners: {a: {bind: \":80\", routes: [{respond: 503, cache: x}]}}\n",
		"tandem.yaml:1:54: error: 'cache' is not available in this version\n"
		"    1 | listeners: {a: {bind: \":80\", routes: [{respond: 503, cache: x}]}}\n"
		"      |                                                      ^~~~~\n");
}

static void subsystems_of_the_log_are_known_by_name(void)
{
	struct conf_report *report = conf_report_new();
	struct conf *c = conf_load_text("tandem.yaml", SPAN("log: {debug: [rpc, http]}\n"), report);
	char words[9];

	CHECK_INT(conf_report_errors(report), 0);
	conf_words_of(conf_find(c->root, "log.debug"), words, sizeof(words));
	CHECK_TEXT(span_of(words), "rpc,http");
	conf_words_of(conf_find(c->root, "log.debug"), words, sizeof(words) - 1);
	CHECK_TEXT(span_of(words), "rpc"); /* what does not fit is not cut */
	conf_words_of(NULL, words, sizeof(words));
	CHECK_TEXT(span_of(words), "");
	conf_free(c);
	conf_report_free(report);
}

static void values_are_checked_by_type_and_range(void)
{
	static const char *const rows[][2] = {
		{"workers: 0", "'0' is out of range: 1 to 1024"},
		{"workers: two", "'two' is not a whole number"},
		{"workers: -1", "'-1' is not a whole number"},
		{"workers: [1]", "'workers' is a list, not a single value"},
		{"workers:", "there is no value (type: whole number)"},
		{"pools:", "'pools' is empty, not a map"},
		{"pools: 5", "'pools' is a single value, not a map"},
		{"pools: {\"a b\": {servers: {s: \"1.2.3.4:5\"}}}", "'a b' is not a name"},
		{"pools: {a: {servers: {s: \"1.2.3.4\"}}}", "'1.2.3.4' has no port"},
		{"pools: {a: {servers: {s: \":80\"}}}", "':80' is no server's address"},
		{"pools: {a: {servers: {s: {address: \"1.2.3.4:5\", weight: 257}}}}", "1 to 256"},
		{"pools: {a: {servers: {s: {address: \"1.2.3.4:5\", backup: yes}}}}",
			"'yes' is neither true nor false"},
		{"pools: {a: {balance: round_robbin}}", "did you mean 'round_robin'?"},
		{"pools: {a: {balance: best}}",
			"'best' is not a word for this: write least_requests, round_robin, random "
			"or least_time"},
		{"pools: {a: {balance: best}}", "or hash client_ip and the like"},
		{"pools: {a: {balance: hash}}",
			"'hash': write hash client_ip, hash path, hash host, "},
		{"pools: {a: {balance: hash ip}}",
			"or hash header:NAME, cookie:NAME or query:NAME"},
		{"pools: {a: {balance: \"hash cookie:\"}}", "or hash header:NAME, cookie:NAME or"},
		{"pools: {a: {when_all_down: 504}}", "write try or 503"},
		{"pools: {a: {when_all_down: {pool: b}}}", "pool 'b' is not defined"},
		{"pools: {a: {health: {http: healthz}}}",
			"'healthz' is not a path: it begins with /"},
		{"pools: {a: {health: {http: /, expect: [200, 700]}}}", "'700' is not a status"},
		{"pools: {a: {health: {http: /, expect: 399-200}}}", "'399-200' is not a status"},
		{"pools: {a: {health: {http: /, method: get}}}", "write it in capitals"},
		{"alerts: [{on: [servr_down], exec: /bin/true}]",
			"witness_down, server_down, pool_degraded, pool_down or cert_expiring"},
		{"pools: {a: {retry: {on: [connect, 501]}}}", "'501' is not a word for this"},
		{"pools: {a: {retry: {retry_unsafe_methods: 1}}}", "'1' is neither true nor false"},
		{"pools: {a: {retry: {attempts: 11}}}", "'11' is out of range: 1 to 10"},
		{"timeouts: {idle: 1ms}", "'1ms' is out of range: 10ms to 7d"},
		{"log: {level: loud}", "write error, warning, notice, info or debug"},
		{"listeners: {h: {limits: {request_head: 32}}}", "'32' is not a size"},
		{"listeners: {h: {limits: {request_head: 2MiB}}}", "out of range: 1KiB to 56KiB"},
		{"listeners: {h: {trusted_proxies: 10.0.0.0/33}}", "the bits after / are 0 to 32"},
		{"listeners: {h: {via: \"a b\"}}", "'a b' is not a name"},
		{"listeners: {h: {routes: [{match: {path: \"~ \"}}]}}",
			"the regular expression is missing"},
		{"listeners: {h: {routes: [{match: {path: /a*b}}]}}", "a * stands at the end only"},
		{"listeners: {h: {routes: [{match: {path: \"/a?b\"}}]}}", "'?' cannot be in it"},
		{"listeners: {h: {routes: [{match: {host: \"a:80\"}}]}}",
			"write it without a port"},
		{"listeners: {h: {routes: [{match: {host: \"*x\"}}]}}", "'*x' is not a host"},
		{"listeners: {h: {routes: []}}",
			"'routes' of listener 'h' has 0 entries: write at least 1"},
		{"log: {access: \"a\\nb\"}", "a value is one line without control characters"},
		{"log: {access: \"a\\0b\"}", "a value is one line without control characters"},
		{"failover: {groups: {g: {failback: 60s}}}",
			"'60s': write manual, or after and a duration"},
		{"failover: {groups: {g: {failback: after 60}}}", "is not a duration"},
		{"failover: {groups: {g: {interface: a123456789012345}}}", "at most 15 characters"},
		{"failover: {groups: {g: {vrid: 256}}}", "'256' is out of range: 1 to 255"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_PRINTS(rows[i][0], rows[i][1]);
}

static void of_more_than_twenty_errors_the_rest_is_counted(void)
{
	char text[1024] = "", *printed;
	size_t at = 0, lines = 0;

	for (unsigned i = 0; i < 25; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "wrong%u: 1\n", i);
	printed = conf_printed(span_of(text));
	for (const char *c = printed; (c = strstr(c, ": error: ")); c++)
		lines++;
	CHECK_INT(lines, 20);
	CHECK(strstr(printed,
		      "tandem.yaml:20:1: error: unknown key 'wrong19' at the top level\n") != NULL);
	CHECK(strstr(printed, "\n... and 5 more\n") != NULL);
	free(printed);
}

static const char *const good_text =
	"failover:\n"
	"  nodes:\n"
	"    lb-a: {id: 1, paths: {lan: 10.0.0.1, cable: 192.168.77.1}}\n"
	"    lb-b: {id: 2, paths: {lan: 10.0.0.2, cable: 192.168.77.2}}\n"
	"  secret_file: /etc/tandem/pair.key\n"
	"  profile: default                 # fast | default | relaxed\n"
	"  gateway: 10.0.0.254\n"
	"  groups:\n"
	"    web:\n"
	"      vrid: 51\n"
	"      interface: eth0\n"
	"      virtual_ips: [10.0.0.100/24, \"fd00::100/64\"]\n"
	"      prefer: lb-a\n"
	"      failback: after 60s\n"
	"listeners:\n"
	"  http:\n"
	"    bind: [\":80\", \"[::1]:8080\"]\n"
	"    trusted_proxies: [10.0.0.0/8]\n"
	"    limits: {connections: 1000, request_body: 1GiB}\n"
	"    via: off\n"
	"    routes:\n"
	"      - match: {host: shop.example.com, path: /api/*}\n"
	"        pool: api\n"
	"      - {match: {host: \"*.example.com\", method: [GET, HEAD]}, pool: web}\n"
	"      - pool: web\n"
	"        timeouts: {first_byte: 5m}\n"
	"pools:\n"
	"  api:\n"
	"    balance: round_robin\n"
	"    servers:\n"
	"      a1: {address: \"127.1.0.1:80\", weight: 2}\n"
	"      a9: {address: \"10.0.9.19:8443\", backup: true}\n"
	"    health: {http: /healthz, expect: [200, 300-399], every: 1.5s, rise: 2, fall: 3}\n"
	"    retry: {attempts: 3, on: [connect, stale_connection]}\n"
	"    when_all_down: 503\n"
	"  web: {servers: {n1: \"10.0.2.31:8080\"}}\n"
	"workers: auto\n"
	"timeouts: {}\n"
	"log: {access: stderr, format: json}\n"
	"include: [conf.d/*.yaml]\n";

static void a_whole_file_loads_clean_and_answers(void)
{
	struct conf_report *r = conf_report_new();
	struct conf *c = conf_load_text("tandem.yaml", span_of(good_text), r);
	const struct conf_node *http, *api, *expect, *server, *web;

	CHECK_TRUE(c != NULL);
	CHECK_CLEAN(good_text);
	http = conf_find(c->root, "listeners.http");
	CHECK_TRUE(http != NULL);
	CHECK_INT(conf_find(http, "bind")->count, 2);
	CHECK_INT(addr_port(&conf_find(http, "bind")->last->addr), 8080);
	CHECK_INT(conf_find(http, "routes")->count, 3);
	CHECK(conf_find(http, "routes")->first->last->target == conf_find(c->root, "pools.api"));
	CHECK_INT(conf_u64(http, "limits.connections"), 1000);
	CHECK_INT(conf_u64(http, "limits.request_head"), 32768);
	CHECK_TEXT(conf_text(http, "via"), "off");
	CHECK_TEXT(conf_text(http, "path"), "normalize");
	CHECK_INT(conf_u64(conf_find(http, "routes")->last, "timeouts.first_byte"), 300 * NS_PER_S);
	CHECK_INT(conf_u64(c->root, "timeouts.head"), 10 * NS_PER_S);
	CHECK_INT(conf_u64(c->root, "workers"), 0);
	CHECK_TEXT(conf_text(c->root, "log.access"), "stderr");
	CHECK_TEXT(conf_text(c->root, "log.level"), "info");
	api = conf_find(c->root, "pools.api");
	CHECK_INT(conf_u64(api, "balance"), 1);
	CHECK_INT(conf_u64(api, "when_all_down"), 1);
	CHECK_INT(conf_u64(api, "health.every"), 1500 * NS_PER_MS);
	CHECK_INT(conf_u64(api, "health.timeout"), NS_PER_S);
	expect = conf_find(api, "health.expect");
	CHECK_INT(expect->first->num, 200200);
	CHECK_INT(expect->last->num, 300399);
	CHECK_INT(conf_u64(conf_find(api, "servers.a1"), "weight"), 2);
	CHECK(conf_bool(conf_find(api, "servers.a9"), "backup"));
	web = conf_find(c->root, "pools.web");
	server = conf_find(web, "servers.n1"); /* the short form is the map it stands for */
	CHECK_TEXT(conf_text(server, "address"), "10.0.2.31:8080");
	CHECK_INT(conf_u64(server, "weight"), 1);
	CHECK_INT(conf_u64(web, "balance"), 0);
	CHECK_INT(conf_u64(web, "when_all_down"), 0);
	CHECK_TEXT(conf_text(web, "health.expect"), "200-399");
	CHECK_INT(conf_u64(conf_find(c->root, "failover.groups.web"), "failback"), 60 * NS_PER_S);
	CHECK_INT(conf_u64(c->root, "failover.port"), 4242);
	conf_free(c);
	conf_report_free(r);
}

static void a_lone_value_is_a_list_of_one(void)
{
	struct conf_report *r = conf_report_new();
	struct conf *c = conf_load_text(
		"t", SPAN("listeners: {h: {bind: \":80\", routes: {pool: api}}}\n" POOLS), r);
	const struct conf_node *bind, *routes;

	CHECK_TRUE(c != NULL);
	CHECK_INT(conf_report_errors(r), 0);
	bind = conf_find(c->root, "listeners.h.bind");
	CHECK(bind->kind == CONF_LIST && bind->count == 1);
	CHECK_TEXT(bind->first->text, ":80");
	routes = conf_find(c->root, "listeners.h.routes");
	CHECK(routes->kind == CONF_LIST && routes->count == 1);
	CHECK(routes->first->kind == CONF_MAP && routes->first->first->parent == routes->first);
	conf_free(c);
	conf_report_free(r);
}

/* Every row of the table: a default that its own type takes, words, and help. */
static void check_rows(const struct conf_key *map)
{
	for (const struct conf_key *k = map->keys; k->name; k++) {
		const struct conf_key *typed =
			k->type == CONF_TYPE_EITHER ? k->shapes[CONF_SCALAR] : k;

		CHECK(k->help != NULL);
		CHECK(k->later || strlen(k->help) > 10);
		CHECK(k->type != CONF_TYPE_ENUM || k->words);
		CHECK(k->type != CONF_TYPE_REF || (k->ref && k->noun));
		if (typed->fallback && typed->type != CONF_TYPE_LIST) {
			struct conf_node n = {
				.kind = CONF_SCALAR, .text = span_of(typed->fallback)};

			CHECK_INT(conf_type_scalar(typed, &n, NULL, NULL, 0), 0);
		}
		if (k->type == CONF_TYPE_MAP)
			check_rows(k);
		if (k->value && k->value->type == CONF_TYPE_MAP)
			check_rows(k->value);
	}
}

static void every_row_of_the_table_is_sound(void)
{
	check_rows(&conf_schema);
}

static void digest_of(const char *text, uint8_t out[32])
{
	struct conf_report *r = conf_report_new();
	struct conf *c = conf_load_text("t", span_of(text), r);

	CHECK_TRUE(c != NULL && conf_report_errors(r) == 0);
	conf_digest(c, out);
	conf_free(c);
	conf_report_free(r);
}

static bool same_digest(const char *a, const char *b)
{
	uint8_t x[32], y[32];

	digest_of(a, x);
	digest_of(b, y);
	return memcmp(x, y, 32) == 0;
}

static void the_digest_is_of_the_meaning(void)
{
	const char *plain = "pools: {a: {servers: {s: \"10.0.0.1:80\"}}}\ntimeouts: {idle: 2m}\n";

	CHECK(same_digest(plain, "# note\ntimeouts:\n  idle: 120s\npools:\n  a:\n    servers:\n"
				 "      s: {address: 10.0.0.1:80}\n"));
	CHECK(same_digest(plain,
		"pools: {a: {servers: {s: {address: \"10.0.0.1:80\", weight: 1}}, "
		"when_all_down: try, retry: {}}}\ntimeouts: {idle: 2m, head: 10s}\n"));
	CHECK(!same_digest(
		plain, "pools: {a: {servers: {s: \"10.0.0.1:81\"}}}\ntimeouts: {idle: 2m}\n"));
	CHECK(!same_digest(
		plain, "pools: {a: {servers: {t: \"10.0.0.1:80\"}}}\ntimeouts: {idle: 2m}\n"));
	CHECK(!same_digest(
		plain, "pools: {a: {servers: {s: \"10.0.0.1:80\"}}}\ntimeouts: {send: 2m}\n"));
	CHECK(!same_digest(plain, "pools: {a: {servers: {s: \"10.0.0.1:80\"}}}\n"));
	CHECK(same_digest("", "timeouts: {head: 10s}\nworkers: auto\ninclude: x.yaml\n"));
}

static const struct test_case cases[] = {
	TEST(an_unknown_key_is_told_with_the_nearest_one),
	TEST(a_duplicate_key_is_told_with_the_first),
	TEST(a_duplicate_among_many_names_is_found),
	TEST(a_duration_without_a_good_unit_is_told),
	TEST(an_undefined_pool_is_told_with_the_nearest_one),
	TEST(a_missing_key_is_told_at_its_map),
	TEST(what_is_planned_is_refused_by_name),
	TEST(subsystems_of_the_log_are_known_by_name),
	TEST(values_are_checked_by_type_and_range),
	TEST(of_more_than_twenty_errors_the_rest_is_counted),
	TEST(a_whole_file_loads_clean_and_answers),
	TEST(a_lone_value_is_a_list_of_one),
	TEST(every_row_of_the_table_is_sound),
	TEST(the_digest_is_of_the_meaning),
};
TESTS_MAIN("conf", cases)
