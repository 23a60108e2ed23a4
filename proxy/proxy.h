/*
 * The main thread: owns the workers, the running snapshot, the checks, the sockets towards people
 * and the agent. It answers no requests itself.
 */
#pragma once

#include <ev.h>

#include "proxy/client_feed.h"
#include "proxy/discover/discovery.h"
#include "proxy/failover_link.h"
#include "proxy/net/httpd.h"
#include "proxy/history.h"
#include "proxy/orders.h"
#include "proxy/pool/checks.h"
#include "proxy/pool/membership.h"
#include "proxy/sockets.h"
#include "proxy/upgrade.h"
#include "proxy/worker.h"
#include "shared/daemon.h"
#include "proxy/stapling.h"
#include "shared/rpc.h"

struct reload_result {
	bool ok;
	char at[25];	/* RFC 3339; empty: never */
	json_t *errors; /* lines */
};

struct proxy {
	const struct daemon_options *options;
	struct ev_loop *loop;
	struct server_table *table;
	struct settings *settings; /* the running snapshot */
	struct pool_view **views;  /* of that snapshot, by pool index */
	struct orders *orders;
	struct history *history;
	struct membership *membership;
	struct checks *checks;
	struct stapling *stapling;
	struct rpc_server *rpc;
	struct httpd *admin;
	struct discovery *discovery;
	struct failover_link *link; /* NULL: a single box */
	struct client_feed *feed;   /* NULL with it */
	struct upgrade *upgrade;
	struct inheritance inheritance; /* until this process serves */
	struct sockets sockets;		/* on which workers listen */
	struct worker **workers;
	unsigned worker_count;
	struct daemon_signals signals;
	ev_async worker_done, health_wake;
	ev_timer second, watchdog, yield, certs, link_late;
	uint64_t files; /* that we may have open */
	struct reload_result last_reload;
	uint64_t generation; /* the last one given out */
	uint64_t ping;	     /* the number that workers were last asked to echo */
	uint64_t alive_ns;   /* when all loops last did */
	uint64_t requests_before, requests_per_second;
	uint8_t ticket_secret[TICKET_SECRET_BYTES]; /* where there is no pair's */
	bool conditions_changed;		    /* the agent is to be told */
	bool rolled_back;			    /* what runs is not what the file says */
	bool succeeds;				    /* another process, whose binary was upgraded */
	bool stopping, hurry;
	bool config_refused; /* at start */
};

/* After a change: returns when all workers have taken it over, so that whoever is answered then
 * finds it done; a worker that does not turn is waited for 100 ms. */
void proxy_settle(struct proxy *p);
/* Starts everything that the configuration asks for; -1 with err. */
int proxy_start(struct proxy *p, const struct daemon_options *o, struct err *err);
/* Runs until it has been told to stop and everything has drained. Returns the exit code. */
int proxy_run(struct proxy *p);
void proxy_fini(struct proxy *p);

/* No new connections; what runs may finish, and who idles may stay for goodbye_ns. Again with other
 * limits: those hold. */
void proxy_drain(struct proxy *p, uint64_t limit_ns, uint64_t goodbye_ns);
/* A successor is told what is left here. */
void proxy_tell_left(struct proxy *p);
/* All has drained, and nobody else's end is awaited: proxy_run() returns. */
void proxy_end_if_done(struct proxy *p);

/* Before what goes through all servers and routes: with so many of them the main thread is silent
 * for longer than the agent waits for a beat in its fastest profile, hence is told. */
#define PROXY_MANY 1000
void proxy_say_busy(struct proxy *p);
/*
 * Loads the file again and swaps it in, all or nothing: sockets are opened, the access log is
 * tried, then every worker gets the new snapshot. On failure the running one goes on, and the
 * report is on stderr. *ret_changes (may be NULL): what changed, an array of lines (owned).
 */
int proxy_reload(struct proxy *p, json_t **ret_changes, struct err *err);
/* The same with the configuration that ran before the one that runs. The file is not touched. */
int proxy_rollback(struct proxy *p, json_t **ret_changes, struct err *err);
/* What going from old to new changes: lines, owned. */
json_t *proxy_changes(const struct settings *old, const struct settings *new);

/* The lines of a report that contain `kind` (": error: " or ": warning: "), as an array; owned. */
json_t *proxy_report_lines(const struct conf_report *r, const struct conf *conf, const char *kind);

/* The methods of proxy.sock (status.c). */
extern const struct rpc_method proxy_methods[];
