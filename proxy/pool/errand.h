/*
 * Something that a server is asked again and again: a probe, when its turn is, and the line in
 * which it stands while too many others are under way. What is asked when, and what follows from
 * the answer, is the owner's business (checks.c).
 */
#pragma once

#include "proxy/pool/probe.h"
#include "shared/list.h"

#define ERRANDS_RUNNING_MAX 1024 /* probes at a time; the rest wait in line */

struct errands { /* of one loop */
	struct ev_loop *loop;
	struct list waiting;
	unsigned running;
	bool starting;
	struct regex_room *room;
};

struct errand {
	struct errands *all;
	const struct server *server; /* borrows */
	const struct check_conf *conf;
	/* The probe has ended: plan the next. reason as in struct probe. */
	void (*on_done)(struct errand *e, enum probe_verdict verdict, const char *reason);
	struct probe probe;
	ev_timer next;
	struct list waiting; /* in all->waiting */
};

int errands_init(struct errands *all, struct ev_loop *loop); /* -1: out of memory */
void errands_fini(struct errands *all);			     /* after all of them have halted */
void errand_init(struct errand *e, struct errands *all, const struct server *server,
	const struct check_conf *conf,
	void (*on_done)(struct errand *e, enum probe_verdict verdict, const char *reason));
/* An equal one, of a newer snapshot; also while it runs. */
void errand_move(struct errand *e, const struct check_conf *conf);
/* The next time is after so long. */
void errand_plan(struct errand *e, uint64_t after_ns);
/* The same, where that is earlier than planned; one that is under way is left alone. */
void errand_hasten(struct errand *e, uint64_t after_ns);
/* Neither planned nor under way. */
bool errand_is_idle(struct errand *e);
/* Not under way any more, and not planned. */
void errand_halt(struct errand *e);
