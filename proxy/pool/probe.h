/*
 * One check of one server: connects, for an http check asks and reads the head of the answer, and
 * says how it went. A connection of its own each time, since accepting one is part of being well.
 * Knows nothing of schedules or of what the verdict means (checks.c, health.c).
 */
#pragma once

#include <ev.h>

#include "proxy/settings/settings.h"
#include "shared/buf.h"

enum probe_verdict {
	PROBE_PASSED,
	PROBE_FAILED,
	PROBE_REFUSED,	/* nobody listens there */
	PROBE_POSTPONED /* we lack files or ports: says nothing of the server */
};

struct probe {
	struct ev_loop *loop;
	/* reason: NULL when it passed, else valid during the call. May come from within
	 * probe_start. */
	void (*on_done)(struct probe *p, enum probe_verdict verdict, const char *reason);
	const struct check_conf *conf; /* borrows while it runs; may be pointed at an equal one */
	struct addr address;
	int fd; /* -1: not running */
	bool connected;
	ev_io io;
	ev_timer deadline;
	size_t sent_bytes; /* of the request */
	struct buf in;
};

void probe_init(struct probe *p, struct ev_loop *loop,
	void (*on_done)(struct probe *p, enum probe_verdict verdict, const char *reason));
/* It must not be running. */
void probe_start(struct probe *p, const struct check_conf *conf, const struct addr *address);
/* Ends it without a verdict, if it runs. */
void probe_cancel(struct probe *p);
static inline bool probe_running(const struct probe *p)
{
	return p->fd >= 0;
}
