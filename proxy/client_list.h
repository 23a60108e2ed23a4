/*
 * A worker's share of the list of clients that the agent keeps: who came to a virtual IP, and who
 * left. It also carries out what the agent says of virtual IPs that are being moved away.
 *
 * A client is told only once it has lasted CLIENT_LIST_AGE_NS (a connection for one request then
 * costs two list operations and no message), and only while somebody wants to know: without an
 * agent `watch` is NULL and nothing here runs. What is to be told leaves in batches through a
 * bounded outbox under a lock that is taken once a batch. When the outbox is full, those who came
 * wait in their own list, and those who left in the last batch; when even that is full the list is
 * `lost` and the main thread asks for all of it anew.
 *
 * The worker's thread runs it all, but for client_list_take.
 */
#pragma once

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>

#include "shared/addr.h"
#include "shared/list.h"
#include "shared/units.h"

#define CLIENT_LIST_AGE_NS (20 * NS_PER_MS)
#define CLIENT_BATCH_PAIRS 512
#define CLIENT_OUTBOX_MAX 16

struct acceptor;
struct client;
struct worker;

/* What the agent wants to hear of, as of now. Immutable; shared by all workers. */
struct client_watch_vip {
	struct addr ip;
	uint64_t leave_ns; /* it is being moved away: idle clients leave then; 0: it is not */
};
struct client_watch {
	_Atomic unsigned refs;
	uint64_t list;	/* another number: tell all clients anew */
	uint64_t drain; /* the agent's number of its last order to drain: confirmed by a batch */
	unsigned vip_count;
	struct client_watch_vip vips[];
};
struct client_watch *client_watch_new(unsigned vip_count); /* NULL: out of memory */
struct client_watch *client_watch_ref(struct client_watch *w);
void client_watch_unref(struct client_watch *w);

struct client_pair {
	struct addr local, remote;
};
struct client_batch {
	struct list link;
	uint64_t list;		    /* of the watch that it was made for */
	uint64_t drain;		    /* likewise, once whole; 0 before */
	bool whole;		    /* all who were here when the watch came are told */
	unsigned gone, come;	    /* those who left come first, and are to be taken first */
	struct client_pair pairs[]; /* CLIENT_BATCH_PAIRS */
};

/* In each client. */
struct client_listed {
	enum { CLIENT_UNLISTED, CLIENT_COME, CLIENT_TOLD } state;
	struct list link;  /* CLIENT_COME: in client_list.come */
	struct addr local; /* family 0: not looked up yet */
	uint64_t come_ns;  /* 0: to be told at once */
	uint64_t leave_ns; /* of its virtual IP */
};

struct client_list {
	struct worker *worker;
	struct client_watch *watch; /* NULL: nobody wants to know */
	struct list come;	    /* struct client.listed.link, those without an age first */
	struct client_batch *gone;  /* is being filled; NULL: nobody left */
	bool due;		    /* a batch must say so much, even if it names nobody */
	bool whole;		    /* said for this watch */
	ev_timer flush;
	void (*on_batch)(void *ctx); /* something to take, or lost. Any thread */
	void *ctx;
	_Atomic bool lost; /* some who left are forgotten: the main thread must ask anew */
	pthread_mutex_t lock;
	struct list outbox;
	unsigned outbox_count;
};

void client_list_init(struct client_list *l, struct worker *w);
void client_list_fini(struct client_list *l);
/* Takes the reference. NULL: nobody wants to know any more. */
void client_list_watch(struct client_list *l, struct client_watch *watch);
/* Before the thread ends: all that is left to say. */
void client_list_flush(struct client_list *l);

static inline void client_listed_init(struct client_listed *c)
{
	c->state = CLIENT_UNLISTED;
	c->local.sa.sa_family = AF_UNSPEC;
	c->leave_ns = 0;
}
/* A client was accepted, and somebody wants to know. */
void client_list_come(struct client_list *l, struct client *c);
/* It goes. */
void client_list_gone(struct client_list *l, struct client *c);

/* The next batch, owned, or NULL. Any thread. */
struct client_batch *client_list_take(struct client_list *l);
