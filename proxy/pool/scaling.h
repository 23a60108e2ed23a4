/*
 * How many servers a pool wants. Once a second it sees what the pool's signals say against their
 * targets; when one was above its target, or all were far below, for long enough, it wants another
 * number, and after that rests for a while. Core: values in, values out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* word, unit: what the pool is measured by */
#define SCALING_SIGNALS(X)                                                          \
	X(IN_FLIGHT, "in_flight", "%") /* of what the servers may have at a time */ \
	X(QUEUE, "queue", "")	       /* requests that wait */                     \
	X(P99, "p99", " ms")	       /* of the times to a server's first byte */  \
	X(LOAD, "load", "%")	       /* as the servers tell it */
enum scaling_signal {
#define X(name, word, unit) SCALING_##name,
	SCALING_SIGNALS(X)
#undef X
		SCALING_SIGNAL_COUNT
};

struct scaling_conf {
	unsigned min, max;		      /* servers; 1 <= min <= max */
	double targets[SCALING_SIGNAL_COUNT]; /* 0: this signal has no say */
	uint64_t for_ns, cooldown_ns;
};

struct scaling_seen {
	unsigned servers;		     /* that the pool has, and that may get traffic */
	double values[SCALING_SIGNAL_COUNT]; /* below 0: not known */
};

/* What would be right now: more while something is above its target, fewer while one server less
 * would still leave all well below. */
enum scaling_lean { SCALING_STAY, SCALING_UP, SCALING_DOWN };

struct scaling { /* zeroed to begin with */
	enum scaling_lean lean;
	uint64_t since_ns; /* it leans so */
	uint64_t acted_ns; /* 0: never */
	unsigned want;	   /* as it was last told; 0: nothing was */
	char why[128];
};

/* True: *ret_want servers are wanted now, for the reason in s->why. */
bool scaling_step(struct scaling *s, const struct scaling_conf *conf,
	const struct scaling_seen *seen, uint64_t now_ns, unsigned *ret_want);
