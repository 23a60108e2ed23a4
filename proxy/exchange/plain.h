/*
 * A connection that is not read as HTTP: an exchange without a head, which goes to its pool at once
 * and is a tunnel as soon as its server is connected. So it has all that a request has: balancing,
 * the queue, limits, further tries, counters and a line in the log.
 */
#pragma once

#include "shared/span.h"

struct client;
struct route;

/* name: of the server that it wants; empty: it has said none. route: NULL: there is none for that.
 * The client may have gone after it. */
void exchange_begin_plain(struct client *c, const struct route *route, struct span name);
