/*
 * One check of one server: connects, says what its kind of check says, hears the answer, and tells
 * how it went. A connection of its own each time, since accepting one is part of being well. Knows
 * nothing of schedules or of what the verdict means (checks.c, health.c).
 *
 * probe.c owns the socket and the time, probe_io.c what lies between the socket and the bytes; what
 * is said and heard is a speech of its kind, which sees bytes only: probe_http.c, probe_grpc.c,
 * probe_agent.c. A tcp check has none.
 */
#pragma once

#include <ev.h>

#include "proxy/pool/server.h"
#include "proxy/settings/regex.h"
#include "proxy/settings/settings.h"
#include "shared/buf.h"

enum probe_verdict {
	PROBE_PASSED,
	PROBE_FAILED,
	PROBE_REFUSED,	/* nobody listens there */
	PROBE_POSTPONED /* we lack files or ports: says nothing of the server */
};

struct probe;
struct grpc_call;
struct probe_tls;

struct speech {
	/* Puts into p->out what is said once connected, and TLS is agreed on. -1: it is over,
	 * probe_done() was called. */
	int (*begin)(struct probe *p);
	/* p->in has more; takes what it can, and may put more into p->out. */
	void (*heard)(struct probe *p);
	/* The server has closed. Ends the probe. */
	void (*ended)(struct probe *p);
	/* Lets go of its own; NULL: nothing to let go of. */
	void (*forget)(struct probe *p);
};
extern const struct speech speech_http, speech_grpc, speech_agent;

struct probe {
	struct ev_loop *loop;
	/* reason: NULL when it passed (but of an agent, whose line it is), else valid during the
	 * call. May come from within probe_start. */
	void (*on_done)(struct probe *p, enum probe_verdict verdict, const char *reason);
	const struct check_conf *conf; /* borrows while it runs; may be pointed at an equal one */
	const struct speech *speech;   /* NULL: only connects */
	const struct server *server;   /* borrows while it runs */
	struct addr address;
	int fd; /* -1: not running */
	bool connected, secured;
	struct probe_tls *tls; /* probe_io.c's; NULL: in the clear, so far */
	ev_io io;
	ev_timer deadline;
	struct buf out, in;
	struct { /* of an http check, once the head was good */
		bool reading;
		struct http1_body body;
		struct buf text;
	} content;
	struct grpc_call *call;
	struct regex_room *room; /* borrows, for good */
};

/* room: for the regular expressions of checks on this loop. */
void probe_init(struct probe *p, struct ev_loop *loop, struct regex_room *room,
	void (*on_done)(struct probe *p, enum probe_verdict verdict, const char *reason));
/* It must not be running. */
void probe_start(struct probe *p, const struct check_conf *conf, const struct server *server);
/* Ends it without a verdict, if it runs. */
void probe_cancel(struct probe *p);
static inline bool probe_running(const struct probe *p)
{
	return p->fd >= 0;
}

/* --- for the speeches: the verdict is there. reason (may lie in p->in) is copied. */
void probe_done(struct probe *p, enum probe_verdict verdict, const char *reason);
