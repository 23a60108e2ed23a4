/*
 * The main thread's side of the list of clients: hands the agent's wishes to every worker, takes
 * their batches and sends them over the link as proxy.clients (doc/shared.md has the message).
 *
 * The link has the say: while its output is long, batches wait in the workers' outboxes, so that a
 * beat never waits behind more than FEED_UNSENT_BYTES. A worker that lost some, or a link that
 * opened anew, starts the whole list again.
 */
#pragma once

#include <ev.h>

#include "proxy/client_list.h"
#include "proxy/failover_link.h"

#define FEED_UNSENT_BYTES (64 * 1024)

struct client_feed;
/* Keeps a borrow of the workers, which report to it from now on: before they start. */
struct client_feed *client_feed_new(
	struct ev_loop *loop, struct worker *const *workers, unsigned worker_count);
/* After the workers were freed. */
void client_feed_free(struct client_feed *f);
/* The link has other virtual IPs or other orders about them; NULL: it is gone. */
void client_feed_watch(struct client_feed *f, struct failover_link *link);
