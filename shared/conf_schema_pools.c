/*
 * The keys of a pool: its servers, where they come from, how they are checked, chosen and spoken
 * to.
 */
#include "shared/conf_schema_rows.h"

static const struct conf_key server_keys[] = {{.name = "address",
						      .type = CONF_TYPE_ENDPOINT,
						      .required = true,
						      .help = "IP address and port, or a host's "
							      "name and port: then it is the "
							      "address that DNS has for it."},
	{.name = "weight",
		.type = CONF_TYPE_COUNT,
		.fallback = "1",
		.min = 1,
		.max = 256,
		.help = "Share of the requests, relative to the other servers."},
	{.name = "backup",
		.type = CONF_TYPE_BOOL,
		.fallback = "false",
		.help = "Used only while no other server of the pool can be."},
	{.name = "zone",
		.type = CONF_TYPE_NAME,
		.help = "Where it is; a node prefers the servers of its own zone."},
	{.name = "enabled",
		.type = CONF_TYPE_BOOL,
		.fallback = "true",
		.help = "false: it belongs to the pool, but gets no traffic and no checks."},
	{0}};

static const struct conf_key agent_keys[] = {
	{.name = "port",
		.type = CONF_TYPE_COUNT,
		.required = true,
		.min = 1,
		.max = 65535,
		.help = "Where it listens, at the server's address."},
	{.name = "every",
		.type = CONF_TYPE_DURATION,
		.fallback = "2s",
		.min = 50 * MS,
		.max = HOUR,
		.help = "Between two connections to it."},
	{.name = "timeout",
		.type = CONF_TYPE_DURATION,
		.fallback = "1s",
		.min = 10 * MS,
		.max = 60 * S,
		.help = "For its line to come."},
	{0}};

static const struct conf_key health_keys[] = {
	{.name = "http", .type = CONF_TYPE_PATH, .help = "Path to ask for."},
	{.name = "tcp", .type = CONF_TYPE_BOOL, .fallback = "false", .help = "Only connect."},
	{.name = "expect",
		.type = CONF_TYPE_LIST,
		.fallback = "200-399",
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_STATUS, .help = "A status, or a range."),
		.help = "Statuses of a server that is well: 200, or [200, 300-399]."},
	{.name = "method",
		.type = CONF_TYPE_METHOD,
		.fallback = "GET",
		.help = "Method to ask with."},
	{.name = "host",
		.type = CONF_TYPE_HOST,
		.help = "Host to ask for; the server's address when not written."},
	{.name = "port",
		.type = CONF_TYPE_COUNT,
		.min = 1,
		.max = 65535,
		.help = "Port to ask at; the server's own when not written."},
	{.name = "every",
		.type = CONF_TYPE_DURATION,
		.fallback = "2s",
		.min = 50 * MS,
		.max = HOUR,
		.help = "Between two checks."},
	{.name = "timeout",
		.type = CONF_TYPE_DURATION,
		.fallback = "1s",
		.min = 10 * MS,
		.max = 60 * S,
		.help = "For one check, from connecting to the answer."},
	{.name = "rise",
		.type = CONF_TYPE_COUNT,
		.fallback = "2",
		.min = 1,
		.max = 100,
		.help = "Passed checks in a row that bring a server back."},
	{.name = "fall",
		.type = CONF_TYPE_COUNT,
		.fallback = "3",
		.min = 1,
		.max = 100,
		.help = "Failed checks in a row that take a server out."},
	{.name = "grpc",
		.type = CONF_TYPE_TEXT,
		.max = 200,
		.help = "Service to ask grpc.health.v1.Health for; \"*\" for the server as a "
			"whole. "
			"HTTP/2 in clear text."},
	{.name = "body",
		.type = CONF_TYPE_TEXT,
		.min = 1,
		.max = 200,
		.help = "What the content of the answer must have in its first 64 KiB: a text, or "
			"a "
			"regular expression behind ~."},
	{.name = "headers",
		.secret = true,
		.type = CONF_TYPE_NAMED,
		.noun = "header",
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_TEXT, .max = 500, .help = "Its value."),
		.help = "Fields to ask with, such as {Authorization: \"Bearer x\"}."},
	{.name = "agent",
		.type = CONF_TYPE_MAP,
		.keys = agent_keys,
		.help = "A program on each server's machine that says a line about it: 75%, up, "
			"drain, maint, down #reason. With http, tcp or grpc, or alone."},
	{0}};

static const struct conf_key retry_keys[] = {
	{.name = "attempts",
		.type = CONF_TYPE_COUNT,
		.fallback = "3",
		.min = 1,
		.max = 10,
		.help = "Tries in all for one request, the first included."},
	{.name = "on",
		.type = CONF_TYPE_LIST,
		.fallback = "[connect, stale_connection, reset]",
		.max = 16,
		.value = ROW(.type = CONF_TYPE_ENUM,
			.words = WORDS("connect", "stale_connection", "reset", "first_byte", "429",
				"500", "502", "503", "504"),
			.help = "A failure."),
		.help = "Failures after which another try is made: no connection; a kept "
			"connection that was closed before any byte of the response; a connection "
			"that was closed or reset before the response; no response in time; a "
			"status. What was sent already is sent again only for GET, HEAD, OPTIONS, "
			"PUT and DELETE, and while the content is still held (64 KiB, the head "
			"included)."},
	{.name = "retry_unsafe_methods",
		.type = CONF_TYPE_BOOL,
		.fallback = "false",
		.help = "Whether reset, first_byte and statuses hold for POST, PATCH and unknown "
			"methods too: a server may then do the same thing twice."},
	{0}};

static const struct conf_key all_down_word = {.type = CONF_TYPE_ENUM,
	.words = WORDS("try", "503"),
	.fallback = "try",
	.help = "Either word."};
static const struct conf_key stand_in_keys[] = {{.name = "pool",
							.type = CONF_TYPE_REF,
							.required = true,
							.ref = "pools",
							.noun = "pool",
							.help = "Name of a pool."},
	{0}};
static const struct conf_key all_down_pool = {.type = CONF_TYPE_MAP,
	.keys = stand_in_keys,
	.help = "Another pool gets the traffic meanwhile."};

static const struct conf_key pool_limits_keys[] = {
	{.name = "connections_per_server",
		.type = CONF_TYPE_COUNT,
		.min = 1,
		.max = 1000000,
		.help = "Requests that a server has at a time, over all workers; further ones "
			"wait. No limit when not written."},
	{.name = "queue",
		.type = CONF_TYPE_COUNT,
		.fallback = "1024",
		.min = 0,
		.max = 1000000,
		.help = "Requests that wait for a server; more are answered with 503."},
	{.name = "idle_per_server",
		.type = CONF_TYPE_COUNT,
		.min = 0,
		.max = 100000,
		.help = "Connections without a request that each worker keeps to a server; not "
			"written: 64, and more where more were in use at once."},
	{.name = "queue_timeout",
		.type = CONF_TYPE_DURATION,
		.min = 10 * MS,
		.max = HOUR,
		.help = "For a request to wait, then it is answered with 503; timeouts.queue when "
			"not written."},
	{0}};

static const struct conf_key passive_keys[] = {
	{.name = "failures",
		.type = CONF_TYPE_COUNT,
		.fallback = "5",
		.min = 1,
		.max = 1000,
		.help = "Failed requests in a row that put a server aside: no connection, no "
			"answer in time, a reset, or status 502, 503 or 504."},
	{.name = "eject",
		.type = CONF_TYPE_DURATION,
		.fallback = "10s",
		.min = S,
		.max = 300 * S,
		.help = "For how long, the first time; the nth time in a row n times that, at most "
			"300s."},
	{.name = "max_ejected",
		.type = CONF_TYPE_PERCENT,
		.fallback = "50%",
		.help = "Most of the pool's servers that are put aside for this at a time; never "
			"the last that can be used."},
	{0}};

static const struct conf_key sticky_keys[] = {
	{.name = "cookie",
		.type = CONF_TYPE_NAME,
		.required = true,
		.help = "Name of the cookie; not one that an application uses itself."},
	{.name = "max_age",
		.type = CONF_TYPE_DURATION,
		.min = S,
		.max = 365 * 24 * HOUR,
		.help = "How long a browser keeps it, from when it was given; until it is closed "
			"when not written."},
	{0}};

static const struct conf_key register_keys[] = {
	{.name = "token_file",
		.type = CONF_TYPE_FILE,
		.required = true,
		.help = "File with the secret that servers show, 16 to 4096 bytes."},
	{.name = "lease",
		.type = CONF_TYPE_DURATION,
		.fallback = "10s",
		.min = S,
		.max = HOUR,
		.help = "For how long a server counts after it was heard, where it does not say "
			"so itself."},
	{0}};

static const struct conf_key discover_keys[] = {
	{.name = "dns",
		.type = CONF_TYPE_TEXT,
		.help = "A name to follow: _service._proto.name for SRV, or name:port for all "
			"addresses of a host."},
	{.name = "file",
		.type = CONF_TYPE_FILE,
		.help = "A list of servers as Prometheus' file_sd has it, YAML or JSON; its "
			"changes are noticed."},
	{.name = "register",
		.type = CONF_TYPE_MAP,
		.keys = register_keys,
		.help = "Servers say themselves that they are there, at the admin address."},
	{0}};

static const struct conf_key scale_signal_keys[] = {
	{.name = "in_flight",
		.type = CONF_TYPE_PERCENT,
		.help = "Requests that the servers have, of limits.connections_per_server."},
	{.name = "queue",
		.type = CONF_TYPE_COUNT,
		.min = 1,
		.max = 1000000,
		.help = "Requests that wait for a server."},
	{.name = "p99",
		.type = CONF_TYPE_DURATION,
		.min = MS,
		.max = 60 * S,
		.help = "Time to a server's first byte that 99 of 100 requests keep within."},
	{.name = "load",
		.type = CONF_TYPE_PERCENT,
		.help = "The mean of what registered servers tell of themselves."},
	{0}};

static const struct conf_key scale_keys[] = {{.name = "min",
						     .type = CONF_TYPE_COUNT,
						     .fallback = "1",
						     .min = 1,
						     .max = 10000,
						     .help = "Fewest servers."},
	{.name = "max",
		.type = CONF_TYPE_COUNT,
		.required = true,
		.min = 1,
		.max = 10000,
		.help = "Most servers."},
	{.name = "signals",
		.type = CONF_TYPE_MAP,
		.required = true,
		.keys = scale_signal_keys,
		.help = "Targets: above any of them more servers are wanted, far below all of them "
			"fewer."},
	{.name = "for",
		.type = CONF_TYPE_DURATION,
		.fallback = "30s",
		.min = S,
		.max = HOUR,
		.help = "So long it must have been so."},
	{.name = "cooldown",
		.type = CONF_TYPE_DURATION,
		.fallback = "2m",
		.min = S,
		.max = 24 * HOUR,
		.help = "Between two changes."},
	{.name = "exec",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_TEXT, .help = "The program, then its arguments."),
		.help = "Program that the agent runs for it."},
	{.name = "webhook",
		.type = CONF_TYPE_TEXT,
		.help = "URL that gets {pool, want, why} as JSON by POST."},
	{0}};

static const struct conf_key pool_tls_keys[] = {
	{.name = "ca",
		.type = CONF_TYPE_FILE,
		.help = "Certificates in PEM form that servers' certificates are checked against; "
			"not written: those that the system trusts."},
	{.name = "server_name",
		.type = CONF_TYPE_HOST,
		.help = "The name that the certificates must have, which is asked for (SNI); not "
			"written: the host's name in the server's address, else the name in "
			"'discover.dns', else the address."},
	{.name = "verify",
		.type = CONF_TYPE_BOOL,
		.fallback = "true",
		.help = "Whether a server must prove who it is; false: anybody in between can read "
			"and change what passes."},
	{.name = "cert",
		.type = CONF_TYPE_FILE,
		.help = "File in PEM form: our own certificate, for servers that ask for one, then "
			"its chain."},
	{.name = "key",
		.type = CONF_TYPE_FILE,
		.help = "File with its private key; not written: in the same file."},
	{0}};
static const struct conf_key pool_tls_word = {.type = CONF_TYPE_BOOL, .help = "On or off."};
static const struct conf_key pool_tls = {
	.type = CONF_TYPE_MAP, .keys = pool_tls_keys, .help = "On, and how."};

const struct conf_key conf_pool_keys[] = {
	{.name = "balance",
		.type = CONF_TYPE_BALANCE,
		.words = WORDS("least_requests", "round_robin", "random", "least_time"),
		.fallback = "least_requests",
		.help = "How a server is chosen: the one with the fewest requests for its weight, "
			"each in its turn, one drawn at random, the one that is likely to answer "
			"first, or the same for the same client_ip, header:NAME, cookie:NAME, "
			"query:NAME, path or host."},
	{.name = "servers",
		.type = CONF_TYPE_NAMED,
		.noun = "server",
		.max = 10000,
		.value = ROW(.type = CONF_TYPE_MAP, .keys = server_keys, .short_for = "address",
			.help = "A server, or only its address."),
		.help = "Servers by name; \"10.0.2.31:8080\" is short for {address: "
			"\"10.0.2.31:8080\"}. {} when all are added while it runs."},
	{.name = "health",
		.type = CONF_TYPE_MAP,
		.keys = health_keys,
		.help = "How to find out whether a server is well; without it only its failures "
			"count."},
	{.name = "retry",
		.type = CONF_TYPE_MAP,
		.keys = retry_keys,
		.holds = true,
		.help = "When another server is tried."},
	{.name = "when_all_down",
		.type = CONF_TYPE_EITHER,
		.fallback = "try",
		.shapes = {[CONF_SCALAR] = &all_down_word, [CONF_MAP] = &all_down_pool},
		.help = "With no server that is well: try one all the same, answer 503, or send "
			"the traffic to another pool: {pool: NAME}."},
	{.name = "passive",
		.type = CONF_TYPE_MAP,
		.keys = passive_keys,
		.holds = true,
		.help = "When traffic that fails puts a server aside."},
	{.name = "slow_start",
		.type = CONF_TYPE_DURATION,
		.min = S,
		.max = HOUR,
		.help = "A server that comes back or is added gets a tenth of its share at first "
			"and "
			"all of it after this time, beside others that serve already."},
	{.name = "limits",
		.type = CONF_TYPE_MAP,
		.keys = pool_limits_keys,
		.help = "What its servers get at a time, and who waits."},
	TIMEOUTS_ROW("this pool"),
	{.name = "protocol",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("h1", "h2"),
		.fallback = "h1",
		.help = "What is spoken to the servers: HTTP/1.1, or HTTP/2, which they must "
			"expect (prior knowledge)."},
	{.name = "tls",
		.type = CONF_TYPE_EITHER,
		.fallback = "false",
		.shapes = {[CONF_SCALAR] = &pool_tls_word, [CONF_MAP] = &pool_tls},
		.help = "TLS is spoken to the servers, checks included; true, or {ca: FILE} and "
			"the like."},
	{.name = "send_proxy",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("v1", "v2"),
		.help = "Tell the servers whose a connection is, with a header of this version of "
			"the PROXY protocol in front of each; then no connection is used for two "
			"requests."},
	{.name = "discover",
		.type = CONF_TYPE_MAP,
		.keys = discover_keys,
		.help = "Where further servers come from."},
	{.name = "scale",
		.type = CONF_TYPE_MAP,
		.keys = scale_keys,
		.help = "Who is told when the pool wants more servers, or needs fewer."},
	{.name = "sticky",
		.type = CONF_TYPE_MAP,
		.keys = sticky_keys,
		.help = "A user stays at one server, which a cookie names, for as long as it can "
			"be "
			"used."},
	{0}};
