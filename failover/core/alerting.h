/*
 * When to bother people. Conditions come and go (the peer is silent, a server is down), events
 * happen (an address has moved); a rule wants to be told of some kinds, of a condition only once it
 * has lasted, and not more often than a rate.
 *
 * It is states that are told, not transitions: what was not told before it was over is forgotten,
 * and what waits for the rate is told as it is by then. So a flapping server costs one message, and
 * the last word is never lost. A core module: time is an argument, no allocation.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shared/span.h"
#include "shared/units.h"

/* what a rule's `on` calls it; E: an event, C: a condition; what it means */
#define ALERT_KINDS(X)                                                                     \
	X(FAILOVER, "failover", E, "virtual addresses have moved")                         \
	X(PEER_DOWN, "peer_down", C, "the peer is not heard on any path")                  \
	X(PROXY_DOWN, "proxy_down", C, "the proxy beside the agent does not serve")        \
	X(FAILOVER_ALARM, "failover_alarm", C, "a group of addresses needs looking at")    \
	X(CONFIG_MISMATCH, "config_mismatch", C, "the nodes run different configurations") \
	X(WITNESS_DOWN, "witness_down", C, "the witness does not answer")                  \
	X(SERVER_DOWN, "server_down", C, "a server is down")                               \
	X(POOL_DEGRADED, "pool_degraded", C, "less than all servers of a pool are up")     \
	X(POOL_DOWN, "pool_down", C, "no server of a pool is up")                          \
	X(CERT_EXPIRING, "cert_expiring", C, "a certificate is near its end")

enum alert_kind {
#define X(name, text, type, what) ALERT_##name,
	ALERT_KINDS(X)
#undef X
		ALERT_KIND_COUNT
};
const char *alert_kind_name(enum alert_kind kind);
/* -1: there is none of that name. */
int alert_kind_parse(struct span name, enum alert_kind *ret_kind);
bool alert_kind_is_event(enum alert_kind kind);

#define ALERT_RULES_MAX 16
#define ALERT_SUBJECT_MAX 160
#define ALERT_WORDS_MAX 160
#define ALERT_CONDITIONS_MAX 512

struct alert_rule {
	uint32_t kinds;	 /* bit k: enum alert_kind k */
	uint64_t for_ns; /* a condition must have lasted, and its end too */
	struct rate at_most;
};

struct alert_condition {
	enum alert_kind kind;
	char subject[ALERT_SUBJECT_MAX]; /* "": the slot is free */
	char words[ALERT_WORDS_MAX];
	bool on;
	uint64_t changed_ns;
	uint32_t told;	 /* rules that know it as on */
	uint32_t untold; /* events: rules that have not heard of the last */
	uint32_t events; /* since a rule was told, at most */
};

struct alerting {
	unsigned rule_count;
	struct alert_rule rules[ALERT_RULES_MAX];
	uint64_t full_ns[ALERT_RULES_MAX]; /* when the rule's bucket is full again (GCRA) */
	uint64_t lost;			   /* found no room */
	struct alert_condition conditions[ALERT_CONDITIONS_MAX];
};

struct alert_notice {
	unsigned rule;
	enum alert_kind kind;
	const char *subject, *words; /* borrows until the next call */
	bool on;		     /* events: true */
	uint32_t events;	     /* how many since the last notice; conditions: 0 */
	uint64_t lasts_ns;	     /* it has been so for */
};

/* Conditions stay. A rule that was there before knows what it was told; a new one is told of what
 * is on. */
void alerting_rules(struct alerting *a, const struct alert_rule *rules, unsigned count);
void alerting_set(struct alerting *a, enum alert_kind kind, const char *subject, bool on,
	const char *words, uint64_t now_ns);
/* The next notice that is due; false: none is, and *ret_next_ns says when to ask again (UINT64_MAX:
 * when something is set). */
bool alerting_next(struct alerting *a, uint64_t now_ns, struct alert_notice *ret_notice,
	uint64_t *ret_next_ns);
