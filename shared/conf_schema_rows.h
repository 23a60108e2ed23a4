/*
 * What the files of the table share: how rows are written, and the rows that stand in several maps.
 * Nobody else needs this.
 */
#pragma once

#include "shared/conf_schema.h"
#include "shared/units.h"

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define ROW(...) (&(const struct conf_key){__VA_ARGS__})
#define LATER(key_name, what, instead)                                                 \
	{                                                                              \
		.name = key_name, .type = CONF_TYPE_TEXT, .later = true, .help = what, \
		.hint = instead                                                        \
	}
#define MS NS_PER_MS
#define S NS_PER_S
#define HOUR (3600 * NS_PER_S)

/* Maps of the top of the file, by room: conf_schema_ROOM.c. Each ends with a row without name. */
extern const struct conf_key conf_failover_keys[];
extern const struct conf_key conf_listener_keys[];
extern const struct conf_key conf_pool_keys[];
extern const struct conf_key conf_route_keys[];

/* All of timeouts, without defaults: in a listener, a route or a pool what is not written is as at
 * the top. */
extern const struct conf_key conf_timeouts_narrow[];
#define TIMEOUTS_ROW(where)                                                              \
	{                                                                                \
		.name = "timeouts", .type = CONF_TYPE_MAP, .keys = conf_timeouts_narrow, \
		.help = "As at the top of the file, for " where "."                      \
	}

/* Of a listener, where the rates have defaults, and narrower of a route. */
#define CONTENT_LIMITS(default_rate)                                                          \
	{.name = "request_body",                                                              \
		.type = CONF_TYPE_SIZE,                                                       \
		.min = 1,                                                                     \
		.max = UINT64_C(1) << 50,                                                     \
		.help = "Largest body of a request; more is answered with 413; no limit "     \
			"when not written."},                                                 \
		{.name = "body_rate",                                                         \
			.type = CONF_TYPE_BYTE_RATE,                                          \
			.words = WORDS("off"),                                                \
			.fallback = default_rate,                                             \
			.min = 1,                                                             \
			.max = 1 << 30,                                                       \
			.help = "A request's body must come at least as fast, measured over " \
				"each timeouts.body of waiting for it; else 408."},           \
	{                                                                                     \
		.name = "send_rate", .type = CONF_TYPE_BYTE_RATE, .words = WORDS("off"),      \
		.fallback = default_rate, .min = 1, .max = 1 << 30,                           \
		.help = "A client must take a response at least as fast, measured over each " \
			"timeouts.send of waiting for it; else it is cut."                    \
	}

/* Of a listener, and narrower of a route. */
#define ACCESS_ROWS(who)                                                                         \
	{.name = "allow",                                                                        \
		.type = CONF_TYPE_LIST,                                                          \
		.min = 1,                                                                        \
		.max = 65536,                                                                    \
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "A network."),                      \
		.help = "Networks whose clients may come " who ", and no others do: the rest "   \
			"gets 403. Behind trusted_proxies the client is the one they tell of."}, \
	{                                                                                        \
		.name = "deny", .type = CONF_TYPE_LIST, .min = 1, .max = 65536,                  \
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "A network."),                      \
		.help = "Networks whose clients get 403 " who ", whatever 'allow' says."         \
	}
