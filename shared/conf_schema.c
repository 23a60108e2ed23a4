/*
 * All keys of the file, for both daemons. To add one: a row here; the checks and the man page
 * follow. This is the top, and what belongs to no other conf_schema_ROOM.c.
 */
#include "shared/conf_schema_rows.h"

#include <stdio.h>

#include "shared/assert.h"
#include "shared/log.h"

const char *conf_type_name(enum conf_type type)
{
	static const char *const names[] = {
#define X(name, text) [CONF_TYPE_##name] = text,
		CONF_TYPES(X)
#undef X
	};

	ASSERT(type < countof(names));
	return names[type];
}

/* The same keys at the top, where they have defaults, and narrower, where what is not written
 * stays. */
#define TIMEOUTS(X)                                                                     \
	X("head", "10s", "For the whole head of a request to arrive.")                  \
	X("body", "30s", "Between two pieces of a request's body.")                     \
	X("idle", "60s", "A client's connection between two requests.")                 \
	X("h2_idle", "3m", "A client's HTTP/2 connection without requests.")            \
	X("send", "30s", "A client, or server, that takes nothing of what is sent.")    \
	X("connect", "5s", "For a connection to a server.")                             \
	X("first_byte", "60s", "From the end of a request to the server's first byte.") \
	X("between_bytes", "60s", "Between two pieces of a response.")                  \
	X("tunnel", "1h", "A tunnel (WebSocket) on which nothing moves.")               \
	X("half_closed", "30s", "The same, once one side has ended its bytes.")         \
	X("queue", "10s", "For a request to wait for a server.")                        \
	X("server_idle", "4s", "A server's connection between two requests.")           \
	X("drain", "30s", "For running requests to end after a stop or reload.")
#define TIMEOUT(key_name, default_text, what) \
	{.name = key_name,                    \
		.type = CONF_TYPE_DURATION,   \
		.fallback = default_text,     \
		.min = 10 * MS,               \
		.max = 168 * HOUR,            \
		.help = what},
#define TIMEOUT_NARROW(key_name, default_text, what) \
	{.name = key_name,                           \
		.type = CONF_TYPE_DURATION,          \
		.min = 10 * MS,                      \
		.max = 168 * HOUR,                   \
		.help = what},

static const struct conf_key timeouts[] = {TIMEOUTS(TIMEOUT){0}};
const struct conf_key conf_timeouts_narrow[] = {TIMEOUTS(TIMEOUT_NARROW){0}};

static const struct conf_key alert_keys[] = {
	{.name = "on",
		.type = CONF_TYPE_LIST,
		.required = true,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_ENUM,
			.words = WORDS("failover", "peer_down", "proxy_down", "failover_alarm",
				"config_mismatch", "witness_down", "server_down", "pool_degraded",
				"pool_down", "cert_expiring"),
			.help = "A kind of alert."),
		.help = "What to tell."},
	{.name = "webhook",
		.type = CONF_TYPE_TEXT,
		.secret = true,
		.help = "URL that gets it as JSON by POST."},
	{.name = "exec",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_TEXT, .help = "The program, then its arguments."),
		.help = "Program that is run for it."},
	{.name = "for",
		.type = CONF_TYPE_DURATION,
		.fallback = "2s",
		.max = 24 * HOUR,
		.help = "A condition must have lasted so long, and its end too."},
	{.name = "at_most",
		.type = CONF_TYPE_RATE,
		.help = "Not more often than this, such as 1 per 5m: what waits is told as it is "
			"by then."},
	{0}};

static const struct conf_key log_keys[] = {{.name = "access",
						   .type = CONF_TYPE_FILE,
						   .words = WORDS("off", "stderr"),
						   .fallback = "off",
						   .help = "Where a line for each request goes."},
	{.name = "format",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("json", "combined"),
		.fallback = "json",
		.help = "Shape of those lines."},
	{.name = "level",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("error", "warning", "notice", "info", "debug"),
		.fallback = "info",
		.help = "What the daemons say on standard error; --log-level wins."},
	{.name = "debug",
		.type = CONF_TYPE_LIST,
		.max = 64,
		.value = ROW(.type = CONF_TYPE_ENUM, .words = WORDS(LOG_SUBSYSTEMS),
			.help = "The first part of their events."),
		.help = "Subsystems of which everything is said, whatever the level; --debug "
			"wins."},
	{0}};

static const struct conf_key admin_keys[] = {
	{.name = "bind",
		.type = CONF_TYPE_LIST,
		.required = true,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_ADDRESS, .help = "Address and port."),
		.help = "Addresses to listen on, such as \"127.0.0.1:9000\"."},
	{.name = "allow",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 1000,
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "A network."),
		.help = "Networks whose clients are heard; not written: whoever reaches the "
			"address."},
	{0}};

static const struct conf_key location_keys[] = {
	{.name = "networks",
		.type = CONF_TYPE_FILE,
		.help = "File of lines such as 10.0.0.0/8 office; the narrowest network wins."},
	{.name = "maxmind",
		.type = CONF_TYPE_FILE,
		.help = "MaxMind database, asked where the file of networks says nothing. Replace "
			"it "
			"by renaming."},
	{.name = "field",
		.type = CONF_TYPE_TEXT,
		.fallback = "country.iso_code",
		.max = 255,
		.help = "Which text of the database is the client's location."},
	{0}};

static const struct conf_key top_keys[] = {{.name = "failover",
						   .type = CONF_TYPE_MAP,
						   .keys = conf_failover_keys,
						   .help = "The pair; absent on a single box."},
	{.name = "listeners",
		.type = CONF_TYPE_NAMED,
		.noun = "listener",
		.max = 1000,
		.value = ROW(.type = CONF_TYPE_MAP, .keys = conf_listener_keys,
			.help = "A listener."),
		.help = "Where clients connect, by name."},
	{.name = "location",
		.type = CONF_TYPE_MAP,
		.keys = location_keys,
		.help = "Who is where: gives a client a word that routes match. The files are read "
			"at "
			"each reload."},
	{.name = "pools",
		.type = CONF_TYPE_NAMED,
		.noun = "pool",
		.max = 100000,
		.value = ROW(.type = CONF_TYPE_MAP, .keys = conf_pool_keys, .help = "A pool."),
		.help = "Groups of servers that do the same, by name."},
	{.name = "workers",
		.type = CONF_TYPE_COUNT,
		.words = WORDS("auto"),
		.fallback = "auto",
		.min = 1,
		.max = 1024,
		.help = "Threads of the proxy; auto: one a core."},
	{.name = "timeouts",
		.type = CONF_TYPE_MAP,
		.keys = timeouts,
		.help = "How long to wait; also narrower, in a listener, a route or a pool."},
	{.name = "log", .type = CONF_TYPE_MAP, .keys = log_keys, .help = "What is written down."},
	{.name = "include",
		.type = CONF_TYPE_LIST,
		.max = 1000,
		.value = ROW(.type = CONF_TYPE_FILE,
			.help = "A file, or a pattern such as conf.d/*.yaml."),
		.help = "Further files, relative to this one; their top keys are added to this "
			"file's."},
	{.name = "admin",
		.type = CONF_TYPE_MAP,
		.keys = admin_keys,
		.short_for = "bind",
		.help = "Where monitoring asks: /healthz, /status and /metrics over HTTP."},
	{.name = "alerts",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_MAP, .keys = alert_keys, .noun = "alert",
			.help = "An alert."),
		.help = "Who is told of what; the agent sends it."},
	{.name = "resolvers",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_ADDRESS, .help = "Address and port."),
		.help = "DNS servers to ask, such as \"10.0.0.53:53\"; the system's when not "
			"written."},
	{0}};

const struct conf_key conf_schema = {.type = CONF_TYPE_MAP, .keys = top_keys, .help = "The file."};

const struct conf_key *conf_key_find(const struct conf_key *map, struct span name)
{
	ASSERT(map->type == CONF_TYPE_MAP && map->keys);
	for (const struct conf_key *k = map->keys; k->name; k++)
		if (span_eq(name, span_of(k->name)))
			return k;
	return NULL;
}

static void format_num(const struct conf_key *key, uint64_t num, char *out, size_t size)
{
	if (key->type == CONF_TYPE_DURATION)
		duration_format(num, out, size);
	else if (key->type == CONF_TYPE_SIZE)
		size_format(num, out, size);
	else if (key->type == CONF_TYPE_BYTE_RATE)
		snprintf(out + size_format(num, out, size), 3, "/s");
	else
		snprintf(out, size, "%llu", (unsigned long long)num);
}

void conf_key_range(const struct conf_key *key, char *out, size_t size)
{
	char min[32], max[32];

	ASSERT(size > 0);
	out[0] = '\0';
	if (key->max == 0)
		return;
	format_num(key, key->min, min, sizeof(min));
	format_num(key, key->max, max, sizeof(max));
	if (key->min == key->max)
		snprintf(out, size, "%s", min);
	else
		snprintf(out, size, "%s to %s", min, max);
}

void conf_words(const char *const *words, char *out, size_t size)
{
	size_t at = 0;

	ASSERT(size > 0);
	out[0] = '\0';
	for (size_t i = 0; words && words[i] && at < size; i++) {
		const char *before = i == 0 ? "" : words[i + 1] ? ", " : " or ";
		int n = snprintf(out + at, size - at, "%s%s", before, words[i]);

		ASSERT(n > 0);
		at += (size_t)n;
	}
}
