/*
 * The proxy's part of the configuration as one immutable snapshot, shared by all threads and
 * counted by reference. A reload builds a new one next to the running one and swaps it in, all or
 * nothing.
 *
 * Built and freed on the main thread (the last unref by a worker hands it back to be freed there:
 * the owner's business). Everything that outlives a snapshot (a server's counters and health) hangs
 * off struct server in the server table (pool/server.h), which snapshots refer to.
 */
#pragma once

#include <stdatomic.h>

#include "proxy/http/http1.h"
#include "proxy/net/h2.h"
#include "proxy/net/proxy_protocol.h"
#include "proxy/pool/members.h"
#include "proxy/settings/admin.h"
#include "proxy/settings/registering.h"
#include "proxy/settings/scale.h"
#include "proxy/tls/tickets.h"
#include "shared/addr.h"
#include "shared/conf.h"

struct timeouts { /* ns */
	uint64_t head_ns, body_ns, idle_ns, h2_idle_ns, send_ns, connect_ns, first_byte_ns,
		between_bytes_ns, tunnel_ns, half_closed_ns, queue_ns, server_idle_ns, drain_ns;
};

struct content_limits {
	uint64_t body_max_bytes;       /* of a request; 0: no limit */
	uint64_t body_rate, send_rate; /* the least, in bytes a second; 0: none */
};

/* name, word in the file and of the algorithm: a file in pool/balance/ each */
#define BALANCES(X)                       \
	X(LEAST_REQUESTS, least_requests) \
	X(ROUND_ROBIN, round_robin)       \
	X(RANDOM, random)                 \
	X(LEAST_TIME, least_time)         \
	X(HASH, hash)
enum balance {
#define X(name, word) BALANCE_##name,
	BALANCES(X)
#undef X
};

/* What `hash` goes by, as written behind it. */
#define HASH_KEYS(X)              \
	X(CLIENT_IP, "client_ip") \
	X(HEADER, "header:")      \
	X(COOKIE, "cookie:")      \
	X(QUERY, "query:")        \
	X(PATH, "path")           \
	X(HOST, "host")
struct hash_conf {
	enum {
#define X(name, text) HASH_##name,
		HASH_KEYS(X)
#undef X
	} key;
	struct span name; /* of a header, cookie or query parameter */
};

struct tls_client;

struct check_conf {
	enum { CHECK_NONE, CHECK_HTTP, CHECK_TCP, CHECK_GRPC, CHECK_AGENT } kind;
	struct span path, host, method;
	struct span body;		 /* that the content must have; empty: any */
	const struct regex *body_regex;	 /* instead of the text itself; NULL: none */
	struct span service;		 /* of grpc; empty: the server as a whole */
	const struct conf_node *headers; /* to ask with, by name; NULL: none */
	bool names_agent;		 /* User-Agent is one of these */
	struct {
		uint16_t from, to;
	} expect[16];
	unsigned expect_count;
	uint16_t port; /* 0: the server's own */
	uint64_t every_ns, timeout_ns;
	unsigned rise, fall;
	enum proxy_version send_proxy; /* the pool's */
	const struct tls_client *tls;  /* the pool's, too; NULL: in the clear */
};

/* Failures after which another try is made, as in the file. */
/* clang-format off */
#define RETRY_WORDS(X) \
	X(CONNECT, "connect") X(STALE, "stale_connection") X(RESET, "reset") \
	X(FIRST_BYTE, "first_byte") X(429, "429") X(500, "500") X(502, "502") X(503, "503") \
	X(504, "504")
/* clang-format on */
enum retry_word {
#define X(name, text) RETRY_WORD_##name,
	RETRY_WORDS(X)
#undef X
		RETRY_WORD_COUNT
};
_Static_assert(RETRY_WORD_COUNT <= RETRY_REASONS_MAX, "counted one by one");
enum retry_on { /* the same as bits */
#define X(name, text) RETRY_ON_##name = 1 << RETRY_WORD_##name,
	RETRY_WORDS(X)
#undef X
};
#define RETRY_ON_STATUSES (RETRY_ON_429 | RETRY_ON_500 | RETRY_ON_502 | RETRY_ON_503 | RETRY_ON_504)

struct retry_conf {
	unsigned further;    /* tries after the first, at most */
	unsigned on;	     /* bits of enum retry_on */
	bool unsafe_methods; /* POST and its like may be done twice */
};

struct pool_limits {
	uint32_t per_server; /* requests in flight at one server; 0: any number, and no queue */
	uint32_t queue;	     /* requests that wait */
	bool has_idle;	     /* else as many idle connections are kept as there is use for */
	uint32_t idle;	     /* kept to one server by one worker */
};

/* Without a word in the file; those of the table. */
#define PASSIVE_FAILURES 5
#define PASSIVE_EJECT_NS UINT64_C(10000000000)
#define PASSIVE_EJECTED_PCT 50

struct passive_conf {
	unsigned failures;	/* in a row that eject a server */
	uint64_t eject_ns;	/* for how long, the first time */
	double max_ejected_pct; /* of the pool */
};

/* A cookie that keeps a user at a server. */
struct sticky_conf {
	struct span cookie;  /* its name; empty: none */
	uint64_t max_age_s;  /* 0: as long as the browser runs */
	const uint64_t *key; /* two words, of settings.sticky_key */
};

struct pool {
	struct span name;
	const struct conf_node *node; /* what it was built from */
	unsigned index;		      /* in settings.pools */
	enum balance balance;
	struct hash_conf hash; /* where that is the balance */
	struct span own_zone;  /* where this node is: its servers come first; empty: nobody knows */
	/* As configured; each holds a reference. The pool's servers of now: state->set. */
	struct member *members;
	unsigned member_count;
	struct check_conf check;
	struct check_conf agent; /* what the servers' machines say of themselves */
	struct timeouts timeouts;
	struct retry_conf retry;
	struct pool_limits limits;
	struct passive_conf passive;
	struct sticky_conf sticky;
	bool h2;		       /* is spoken to its servers */
	enum proxy_version send_proxy; /* in front of each connection: then it serves once */
	struct tls_client *tls;	       /* to its servers; NULL: in the clear */
	uint64_t slow_start_ns; /* a server that joins gets its share bit by bit; 0: at once */
	bool when_all_down_503; /* else, and without a stand-in, traffic is tried all the same */
	const struct pool *stand_in; /* gets the traffic when no server can be used; NULL: none */
	struct register_conf registering;
	struct scaling_conf scaling; /* max 0: nobody wants to know */
	struct pool_state *state;    /* shared by snapshots: ticket and totals; holds a reference */
};

struct access { /* see action.h */
	const struct cidr *allow, *deny;
	unsigned allow_count, deny_count;
};

#define PRIORITY_LOW 2
#define PRIORITY_NORMAL 5
#define PRIORITY_HIGH 8

struct action;
struct route {
	unsigned index;		     /* in the listener's order; first match wins */
	const struct pool *pool;     /* NULL: one of the action's, or none */
	const struct action *action; /* NULL: the pool gets the request as it is */
	uint8_t priority; /* in a pool's queue, below QUEUE_PRIORITIES; the highest goes first */
	struct timeouts timeouts;
	struct content_limits content;
	uint32_t line; /* in the file, for explain and warnings */
};

struct location;
struct routes; /* indexed by host and path; route.c */
struct route_ask;
/* NULL: no route (404). No allocation; costs about the same for 10 routes and 10,000. */
const struct route *routes_find(const struct routes *r, struct route_ask *ask);

/* In the order of the file's words. */
enum listener_mode { LISTENER_HTTP, LISTENER_TCP, LISTENER_PASSTHROUGH };

struct tls_server;
struct settings;

struct listener {
	struct span name;
	const struct conf_node *node; /* what it was built from */
	enum listener_mode mode;
	struct addr *binds;
	unsigned bind_count;
	const struct routes *routes;
	const struct route *takes_all; /* the first route, where there is nothing to choose */
	struct timeouts timeouts;
	bool h2c; /* HTTP/2 in clear text, from who knows that */
	struct h2_conf h2_conf;
	struct http_limits limits;
	struct content_limits content;
	uint32_t connections_max, connections_per_client; /* 0: no limit */
	enum http_path_mode path_mode;
	struct span via;	/* empty: off */
	struct tls_server *tls; /* NULL: in the clear */
	bool h2;		/* HTTP/2 is offered to those who come with TLS */
	uint16_t redirect_port; /* what no route takes goes there over TLS; 0: nowhere */
	char hsts[56];		/* "Strict-Transport-Security: max-age=15552000\r\n", or "" */
	const struct cidr *trusted;
	unsigned trusted_count;
	const struct cidr *proxies; /* whose connections begin with a PROXY protocol header */
	unsigned proxy_count;
	struct access access;
	struct listener_state *state; /* shared by snapshots: counters; holds a reference */
};

bool listener_trusts(const struct listener *l, const struct addr *a);
/* Connections from there begin with a PROXY protocol header (stream.c). */
bool listener_expects_header(const struct listener *l, const struct addr *a);
/* l->tls, if the file asks for it; faults go to the report. -1: out of memory. (tls.c) */
int listener_build_tls(struct conf_report *report, struct listener *l);
/* p->tls and its check's, in the same way. (tls_servers.c) */
int pool_build_tls(struct conf_report *report, struct pool *p);
/* Where `redirect: https` leads, when all listeners are built: 443 if that is one of them. */
void settings_build_redirects(struct settings *s);

/* Counters of a listener, kept over reloads. */
struct listener_state {
	struct kept_state kept;
	struct answers *answers;   /* where there was no pool */
	struct timings *durations; /* of requests, from the first byte to the end */
	_Alignas(64) _Atomic uint64_t requests_total;
	_Atomic uint64_t connections_total;
	_Atomic int64_t connections;	  /* open now */
	_Atomic bool room_wanted;	  /* by a worker that has nobody left to send away */
	_Atomic int64_t h2_connections;	  /* of these, HTTP/2 */
	_Atomic uint64_t h2_floods_total; /* HTTP/2 connections sent away for a flood */
	_Atomic uint64_t connections_refused_total; /* over connections_per_client */
	_Atomic uint64_t connections_shed_total;    /* idle, closed to make room for others */
	_Atomic uint64_t regex_gave_up_total;	    /* requests on which a route's did */
	struct tally
		*tally; /* made when a snapshot first has connections_per_client; NULL before */
};

/* Finds it by name or makes it, with a reference for the caller; NULL when out of memory.
 * (server.c) */
struct listener_state *listener_state_get(struct server_table *t, struct span name);
void listener_state_unref(struct server_table *t, struct listener_state *s);

enum access_format { ACCESS_JSON, ACCESS_COMBINED };

struct settings {
	_Atomic unsigned refs;
	uint64_t generation; /* from 1, one more each reload */
	char hash[65];	     /* SHA-256 of the meaning, hex */
	char via[15]; /* "tandem-" and the hash's beginning: a pair's own, so that two tiers are
			 told apart */
	struct conf *conf;   /* what the spans point into */
	struct arena *arena; /* what routes keep beside that */
	struct server_table *table;
	unsigned workers;
	struct timeouts timeouts;
	struct listener *listeners;
	unsigned listener_count;
	struct pool *pools;
	unsigned pool_count;
	struct member *members;	   /* of all pools: what their members point into */
	struct location *location; /* NULL: nobody wants to know */
	uint64_t sticky_key[2];	   /* of the cookies' values */
	const char *access_log;	   /* NULL: off; "stderr"; or a file */
	enum access_format access_format;
	struct admin_conf admin;
};

/*
 * Builds a snapshot from a checked tree and reports what only the proxy can know (unreachable
 * routes are warnings). Takes conf when it succeeds. NULL when the report has errors or memory is
 * out (err then). Servers and states are found again by name in `table`, or made.
 */
struct settings *settings_build(struct conf *conf, struct conf_report *report,
	struct server_table *table, uint64_t generation, struct err *err);
/* What a listener says of HTTP/2. (http2.c) */
void settings_h2(const struct conf_node *node, struct listener *l);
void settings_pool_h2(const struct conf_node *node, struct pool *p);
/* Which of the pair's nodes we are (NULL: none), and so in which zone. Before anybody else has the
 * snapshot. */
void settings_locate(struct settings *s, const char *node);
/* The key of the sticky cookies, where a pool has one: out of the pair's secret, and on a single
 * box kept in state_dir. The same rule as for settings_locate(). -1 with err. (sticky.c) */
int settings_sticky_key(struct settings *s, const char *state_dir, struct err *err);
/* The keys of the session tickets of all listeners: out of the pair's secret, or else the fallback.
 * The same rule again. (tls.c) */
int settings_ticket_secret(
	struct settings *s, const uint8_t fallback[TICKET_SECRET_BYTES], struct err *err);
struct settings *settings_ref(struct settings *s);
/* Any thread; frees at the last (server and state references are given back under the table's
 * lock). */
void settings_unref(struct settings *s);
/* What changes from old to new, in words, a line each: "pool api: server a3 added". Returns the
 * number of lines; lines are owned by the caller (free each and the array). */
size_t settings_diff(const struct settings *old, const struct settings *new, char ***ret_lines);
