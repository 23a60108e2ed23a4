/*
 * A connection that is not read as HTTP: an exchange without a head, which goes to its pool at once
 * and is a tunnel as soon as its server is connected. So it has all that a request has: balancing,
 * the queue, limits, further tries, counters and a line in the log.
 */
#pragma once

struct client;

/* The client may have gone after it. */
void exchange_begin_plain(struct client *c);
