#include "proxy/net/wheel.h"

static uint64_t tick_of(uint64_t ns)
{
	return (ns + WHEEL_TICK_NS - 1) >> WHEEL_TICK_SHIFT; /* rounded up: never early */
}

static void queue(struct wheel *w, struct wheel_timer *t, uint64_t tick)
{
	uint64_t furthest = w->tick + WHEEL_SLOTS - 1;

	if (tick <= w->tick)
		tick = w->tick + 1;
	if (tick > furthest)
		tick = furthest;
	t->queued_tick = tick;
	list_append(&w->slots[tick % WHEEL_SLOTS], &t->link);
	w->count++;
}

void wheel_init(struct wheel *w, uint64_t now_ns)
{
	for (unsigned i = 0; i < WHEEL_SLOTS; i++)
		list_init(&w->slots[i]);
	w->tick = now_ns >> WHEEL_TICK_SHIFT;
	w->count = 0;
}

void wheel_timer_init(struct wheel_timer *t)
{
	list_init(&t->link);
	t->deadline_ns = 0;
	t->queued_tick = 0;
}

void wheel_set(struct wheel *w, struct wheel_timer *t, uint64_t deadline_ns)
{
	uint64_t tick;

	t->deadline_ns = deadline_ns;
	if (!deadline_ns)
		return;
	tick = tick_of(deadline_ns);
	if (t->queued_tick && t->queued_tick <= tick)
		return; /* it will be looked at in time */
	wheel_remove(w, t);
	t->deadline_ns = deadline_ns;
	queue(w, t, tick);
}

void wheel_remove(struct wheel *w, struct wheel_timer *t)
{
	list_remove(&t->link); /* of a slot, or of the list of those due */
	if (t->queued_tick) {
		ASSERT(w->count > 0);
		t->queued_tick = 0;
		w->count--;
	}
	t->deadline_ns = 0;
}

static void sweep_slot(struct wheel *w, struct list *slot, uint64_t now_ns, struct list *due)
{
	struct list waiting;

	/* Taken off first: a timer whose turn has not come may go back into this very slot. */
	list_init(&waiting);
	if (!list_empty(slot)) {
		list_insert(slot->prev, &waiting);
		list_remove(slot);
	}
	while (!list_empty(&waiting)) {
		struct wheel_timer *t = list_item(waiting.next, struct wheel_timer, link);

		list_remove(&t->link);
		t->queued_tick = 0;
		w->count--;
		if (!t->deadline_ns)
			continue;
		if (t->deadline_ns <= now_ns) {
			t->deadline_ns = 0;
			list_append(due, &t->link);
		} else {
			queue(w, t, tick_of(t->deadline_ns));
		}
	}
}

void wheel_sweep(struct wheel *w, uint64_t now_ns, struct list *due)
{
	uint64_t until = now_ns >> WHEEL_TICK_SHIFT;

	if (until > w->tick + WHEEL_SLOTS) /* after a long sleep every slot is due once */
		w->tick = until - WHEEL_SLOTS;
	while (w->tick < until) {
		w->tick++;
		sweep_slot(w, &w->slots[w->tick % WHEEL_SLOTS], now_ns, due);
	}
}
