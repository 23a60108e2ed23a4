/*
 * A lazy timing wheel for connection deadlines. Moving a deadline further away is a store; only
 * when the slot it once was put in comes round is the timer looked at, and put where it belongs
 * now. Deadlines fire up to one tick (67 ms) late, never early. Pure: time is an argument; one
 * worker owns it.
 */
#pragma once

#include <stdint.h>

#include "shared/list.h"

#define WHEEL_TICK_SHIFT 26 /* 2^26 ns = 67 ms */
#define WHEEL_TICK_NS (UINT64_C(1) << WHEEL_TICK_SHIFT)
#define WHEEL_SLOTS 512 /* one turn is 34 s; later deadlines are looked at once a turn */

struct wheel_timer {
	struct list link;
	uint64_t deadline_ns; /* 0: none */
	uint64_t queued_tick; /* where it hangs; 0: nowhere */
};

struct wheel {
	struct list slots[WHEEL_SLOTS];
	uint64_t tick; /* the last one swept */
	uint64_t count;
};

void wheel_init(struct wheel *w, uint64_t now_ns);
void wheel_timer_init(struct wheel_timer *t);
/* Sets or moves the deadline; 0 clears it. */
void wheel_set(struct wheel *w, struct wheel_timer *t, uint64_t deadline_ns);
/* No deadline; the timer may stay queued, and costs one look. One that is due is not any more. */
static inline void wheel_clear(struct wheel_timer *t)
{
	t->deadline_ns = 0;
	if (!t->queued_tick)
		list_remove(&t->link);
}
/* Takes it out for good, before its memory goes. */
void wheel_remove(struct wheel *w, struct wheel_timer *t);
/* Moves the timers that are due to `due` (unlinked from the wheel, deadline cleared). */
void wheel_sweep(struct wheel *w, uint64_t now_ns, struct list *due);
