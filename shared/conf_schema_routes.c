/*
 * The keys of a route: what a request must be, and what becomes of it.
 */
#include "shared/conf_schema_rows.h"

#define VALUES_HELP                                                                          \
	"the value, or a list of which one will do; \"*\" is any value, \"~ ^a\" a regular " \
	"expression."
static const struct conf_key value_row = {.type = CONF_TYPE_TEXT, .max = 4096, .help = "A value."};
static const struct conf_key values_row = {.type = CONF_TYPE_LIST,
	.min = 1,
	.max = 64,
	.value = &value_row,
	.help = "A value, or several of which one will do."};
static const struct conf_key match_keys[] = {
	{.name = "host",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 64,
		.value = ROW(.type = CONF_TYPE_HOST, .wild = true, .help = "A host."),
		.help = "Host that the request names: shop.example.com, or *.example.com for all "
			"below it; or one of a list."},
	{.name = "path",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 64,
		.value = ROW(.type = CONF_TYPE_PATH, .wild = true, .help = "A path."),
		.help = "Path of the request: /x exactly, or /x/* for all below it; or one of a "
			"list. Or a regular expression that is found in it, such as \"~ "
			"^/u/([0-9]+)$\"; its groups are $1 to $9 in the route's texts."},
	{.name = "method",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_METHOD, .help = "A method."),
		.help = "Request methods, such as [GET, HEAD]."},
	{.name = "header",
		.type = CONF_TYPE_NAMED,
		.noun = "header",
		.min = 1,
		.max = 16,
		.value = &values_row,
		.help = "Header fields by name, such as {x-beta: \"yes\"}: " VALUES_HELP},
	{.name = "cookie",
		.type = CONF_TYPE_NAMED,
		.noun = "cookie",
		.min = 1,
		.max = 16,
		.value = &values_row,
		.help = "Cookies by name: " VALUES_HELP},
	{.name = "query",
		.type = CONF_TYPE_NAMED,
		.noun = "parameter",
		.min = 1,
		.max = 16,
		.value = &values_row,
		.help = "Parameters of the query by name, compared as they were "
			"sent: " VALUES_HELP},
	{.name = "client",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 1024,
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "A network."),
		.help = "Networks, one of which the client is in; behind trusted_proxies that is "
			"the client they tell of."},
	{.name = "location",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 300,
		.value = ROW(.type = CONF_TYPE_TEXT, .max = 255, .help = "A word."),
		.help = "Words, one of which the client's location is, such as [DE, AT]; see "
			"'location' at the top of the file; \"*\" is any that is known."},
	{.name = "content_type",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 64,
		.value = ROW(.type = CONF_TYPE_TEXT, .max = 255, .help = "A media type."),
		.help = "Media types of the request's content: application/json, or image/* for "
			"all that begin so; without parameters."},
	{.name = "upgrade",
		.type = CONF_TYPE_LIST,
		.min = 1,
		.max = 16,
		.value = ROW(.type = CONF_TYPE_NAME, .words = WORDS("*"), .help = "A protocol."),
		.help = "Protocols that the request asks to change to, such as websocket; \"*\" "
			"is any."},
	{0}};

static const struct conf_key pool_name = {
	.type = CONF_TYPE_REF, .ref = "pools", .noun = "pool", .help = "Name of a pool."};
static const struct conf_key weighted_pools = {.type = CONF_TYPE_NAMED,
	.noun = "pool",
	.min = 1,
	.max = 64,
	.value = ROW(.type = CONF_TYPE_SHARE, .help = "Its share: 90%, or a number."),
	.help = "Pools by name with the share of requests that each gets: percentages that make "
		"100, or numbers that count against each other."};

static const struct conf_key route_limits_keys[] = {CONTENT_LIMITS(NULL), {0}};

static const struct conf_key redirect_keys[] = {
	{.name = "to",
		.type = CONF_TYPE_TEXT,
		.required = true,
		.max = 4096,
		.help = "Where to: a URL or a path with {scheme}, {host}, {path}, {query} (with "
			"its ?), {client} and $1 to $9; or https: the same URL with https."},
	{.name = "status",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("301", "302", "303", "307", "308"),
		.help = "Status of the answer: 308 for https, else 302."},
	{0}};

static const struct conf_key field_text = {
	.type = CONF_TYPE_TEXT, .max = 8192, .help = "The value."};
static const struct conf_key respond_keys[] = {{.name = "status",
						       .type = CONF_TYPE_COUNT,
						       .fallback = "200",
						       .min = 200,
						       .max = 599,
						       .help = "Status of the answer."},
	{.name = "body",
		.type = CONF_TYPE_TEXT,
		.lines = true,
		.max = 65536,
		.help = "Content of the answer; without it the status in words."},
	{.name = "content_type",
		.type = CONF_TYPE_TEXT,
		.fallback = "text/plain; charset=utf-8",
		.max = 255,
		.help = "Media type of the content."},
	{.name = "headers",
		.type = CONF_TYPE_NAMED,
		.noun = "header",
		.max = 64,
		.value = &field_text,
		.help = "Further fields of the answer, such as {retry-after: 120}."},
	{0}};

static const struct conf_key edits_keys[] = {
	{.name = "set",
		.type = CONF_TYPE_NAMED,
		.noun = "header",
		.max = 64,
		.value = &field_text,
		.help = "Fields that take the place of those of the same name."},
	{.name = "add",
		.type = CONF_TYPE_NAMED,
		.noun = "header",
		.max = 64,
		.value = &field_text,
		.help = "Fields that come beside those of the same name."},
	{.name = "remove",
		.type = CONF_TYPE_LIST,
		.max = 64,
		.value = ROW(.type = CONF_TYPE_NAME, .noun = "header", .help = "A field's name."),
		.help = "Names of fields that go."},
	{0}};

static const struct conf_key replace_keys[] = {
	{.name = "pattern",
		.type = CONF_TYPE_TEXT,
		.required = true,
		.max = 4096,
		.help = "Regular expression; what it finds first in the path is replaced."},
	{.name = "with",
		.type = CONF_TYPE_TEXT,
		.required = true,
		.max = 4096,
		.help = "What comes there, with the words of 'redirect'; $1 to $9 are the groups "
			"of 'pattern'."},
	{0}};

static const struct conf_key rewrite_keys[] = {
	{.name = "path",
		.type = CONF_TYPE_TEXT,
		.max = 4096,
		.help = "The whole path as the server gets it, with the words of 'redirect'."},
	{.name = "strip_prefix",
		.type = CONF_TYPE_PATH,
		.help = "Beginning of the path, in whole segments, that the server does not get."},
	{.name = "replace",
		.type = CONF_TYPE_MAP,
		.keys = replace_keys,
		.help = "A part of the path becomes another, after strip_prefix."},
	{.name = "add_prefix",
		.type = CONF_TYPE_PATH,
		.help = "What comes before the path, in the end."},
	{.name = "host",
		.type = CONF_TYPE_TEXT,
		.max = 260,
		.help = "Host that the server gets, host or host:port; X-Forwarded-Host has the "
			"client's."},
	{.name = "request_headers",
		.type = CONF_TYPE_MAP,
		.keys = edits_keys,
		.help = "Changes to the request's fields; values may have the words of "
			"'redirect'."},
	{.name = "response_headers",
		.type = CONF_TYPE_MAP,
		.keys = edits_keys,
		.help = "Changes to the response's fields."},
	{0}};

const struct conf_key conf_route_keys[] = {
	{.name = "match",
		.type = CONF_TYPE_MAP,
		.keys = match_keys,
		.help = "What a request must be for this route; all of it must agree, nothing "
			"written takes all."},
	{.name = "pool",
		.type = CONF_TYPE_EITHER,
		.shapes = {[CONF_SCALAR] = &pool_name, [CONF_MAP] = &weighted_pools},
		.help = "Pool that gets the request; or several: {web: 90%, web-next: 10%}, of "
			"which each request draws one."},
	{.name = "redirect",
		.type = CONF_TYPE_MAP,
		.keys = redirect_keys,
		.short_for = "to",
		.help = "Sends the client elsewhere; https, a URL or a path is short for {to: "
			"...}."},
	{.name = "respond",
		.type = CONF_TYPE_MAP,
		.keys = respond_keys,
		.short_for = "status",
		.help = "Answers without a server; 503 is short for {status: 503}."},
	{.name = "rewrite",
		.type = CONF_TYPE_MAP,
		.keys = rewrite_keys,
		.help = "What the server gets, and the client back, in other words."},
	{.name = "priority",
		.type = CONF_TYPE_ENUM,
		.words = WORDS(
			"low", "normal", "high", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
		.fallback = "normal",
		.help = "Who goes first of those who wait for a server: 9 before 0; low is 2, "
			"normal 5, high 8. Each step is worth a second of waiting, so nobody waits "
			"for ever."},
	ACCESS_ROWS("here"),
	{.name = "limits",
		.type = CONF_TYPE_MAP,
		.keys = route_limits_keys,
		.help = "As in the listener, for this route."},
	TIMEOUTS_ROW("this route"), LATER("limit", "rate limit", NULL),
	LATER("cache", "cache", NULL), LATER("compress", "compression", NULL), {0}};
