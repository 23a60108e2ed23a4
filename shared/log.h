/*
 * The log: one line an event on standard error, each with a level, a stable dotted event id, a
 * sentence and fields. Any thread may log; a line is one write(2) of at most 4 KiB. Only the shell
 * logs, once, with the decision taken. Events are rate-limited by id (burst 20, then 1 a second;
 * what was held back is counted on the next line that goes out, as held_back); debug lines are not,
 * they were asked for. No bodies, cookies, Authorization or keys ever.
 *
 * Text form:  2026-11-22T01:02:03.004Z tandem-proxy info: listening event=proxy.started workers=2
 * JSON form:  {"ts":"...","level":"info","event":"proxy.started","msg":"listening","workers":2}
 * When standard error is the journal (JOURNAL_STREAM), <n> with the syslog level comes first, and
 * the text form leaves time, program and level to journald. Text values are quoted when they need
 * it.
 */
#pragma once

#include <stdbool.h>

#include "shared/err.h"
#include "shared/span.h"

#define LOG_LEVELS(X)     \
	X(ERROR, "error") \
	X(WARNING, "warning") X(NOTICE, "notice") X(INFO, "info") X(DEBUG, "debug")
enum log_level {
#define X(name, text) LOG_##name,
	LOG_LEVELS(X)
#undef X
};
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

enum log_field_kind { LOG_FIELD_TEXT, LOG_FIELD_INT, LOG_FIELD_BOOL };
struct log_field {
	const char *name;
	enum log_field_kind kind;
	struct span text;
	int64_t num;
};
#define F_TEXT(name, value) ((struct log_field){name, LOG_FIELD_TEXT, span_of(value), 0})
#define F_SPAN(name, value) ((struct log_field){name, LOG_FIELD_TEXT, (value), 0})
#define F_INT(name, value) ((struct log_field){name, LOG_FIELD_INT, {0}, (int64_t)(value)})
#define F_BOOL(name, value) ((struct log_field){name, LOG_FIELD_BOOL, {0}, (value)})

/* Sorted; the first parts of all event ids. */
/* clang-format off */
#define LOG_SUBSYSTEMS \
	"access_log", "address", "admin", "agent", "alert", "announce", \
	"autoscale", "check", "config", "conn", "daemon", "discover", \
	"epoch", "exchange", "fence", "fsm", "gateway", "group", \
	"health", "hook", "http", "lease", "link", "listener", \
	"neighbor", "netlink", "orders", "path", "peer", "pool", \
	"probe", "proxy", "register", "reload", "role", "route", \
	"rpc", "server", "settings", "tls", "upgrade", "vrrp", \
	"witness", "worker"
/* clang-format on */
#define LOG_SUBSYSTEMS_MAX 512 /* all of them, with commas between */

void log_open(const char *program, enum log_level level, enum log_format format);
int log_level_parse(struct span text, enum log_level *ret_level);
void log_set_level(enum log_level level);
/* Comma-separated subsystems whose LOG_DEBUG lines show whatever the level: the first part of an
 * event id ("fsm" shows fsm.transition); {0}: none. -1 when a name is not one of the known ones
 * (err lists them). */
int log_set_debug(struct span subsystems, struct err *err);
bool log_wanted(enum log_level level, const char *event);
void log_write(enum log_level level, const char *event, const char *sentence,
	const struct log_field *fields, unsigned count);

/* log_event(LOG_INFO, "server.up", "back in use", F_TEXT("pool", p->name), F_INT("after_ms", 20));
 */
#define log_event(level, event, sentence, ...)                                      \
	do {                                                                        \
		if (log_wanted(level, event))                                       \
			log_write(level, event, sentence,                           \
				(const struct log_field[]){{0}, ##__VA_ARGS__} + 1, \
				sizeof((struct log_field[]){{0}, ##__VA_ARGS__}) /  \
						sizeof(struct log_field) -          \
					1);                                         \
	} while (0)
