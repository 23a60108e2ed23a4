/*
 * How many connections each client address has at a listener, over all workers. Asked when a
 * connection begins and told when it ends, never on a request's way: so locks will do, several, so
 * that workers seldom meet. An address has an entry only while it has connections.
 */
#pragma once

#include "shared/addr.h"

struct tally;

#define TALLY_MAX (1 << 20) /* addresses at a time; more are refused */

struct tally *tally_new(void); /* NULL when out of memory */
void tally_free(struct tally *t);
/* One connection more from this address (IPv6: from its /64). False, and not counted: it has `max`
 * already, or there is no memory for it. Any thread. */
bool tally_enter(struct tally *t, const struct addr *who, uint32_t max);
void tally_leave(struct tally *t, const struct addr *who);
