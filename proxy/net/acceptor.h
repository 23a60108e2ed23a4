/*
 * Listening sockets. The main thread opens one a worker for each bind (SO_REUSEPORT), before a
 * snapshot is handed out, so that a bind that fails fails the reload. A worker owns its own from
 * then on: a listener that stays over a reload keeps its sockets, never re-bound (that would reset
 * clients who wait in the queue).
 *
 * Two listeners may have one address: one that passes TLS on has the socket, and gives what is not
 * for it to the other's acceptor (exchange/opening.c), which has none of its own.
 */
#pragma once

#include <ev.h>
#include <stdbool.h>

#include "shared/addr.h"
#include "shared/list.h"

struct worker;
struct snapshot;
struct listener;

/* "X-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\n", and with https */
struct acceptor_fields {
	char text[2][64];
	unsigned len[2];
};

/* A socket that a worker listens on. One a bind, but more after an upgrade of the binary to fewer
 * workers: closing one that was inherited would reset who waits in its queue. */
struct listening {
	struct list link; /* acceptor.sockets */
	struct acceptor *acceptor;
	ev_io io;
};

struct acceptor {
	struct list link; /* worker.acceptors, or worker.leaving */
	struct worker *worker;
	struct snapshot *snapshot; /* the last one that has this listener; holds a reference */
	const struct listener *listener; /* in that snapshot */
	struct addr bind;
	struct list sockets; /* none: it listens no more, or another does for it */
	ev_timer pause;	     /* no files left: accepting rests */
	uint64_t told_paused_ns, told_shed_ns, told_refused_ns; /* when that was last logged */
	struct list newcomers; /* clients who have not asked anything yet, the oldest first */
	struct list clients;   /* the others */
	unsigned client_count;
	bool draining; /* answers say Connection: close */
	struct acceptor_fields fields;
};

#define ACCEPT_BATCH 32
#define ACCEPT_PAUSE_S 0.1
#define ACCEPT_TELL_NS (10 * NS_PER_S) /* the same trouble is logged once in so long */

/* A bound, listening, non-blocking socket for `bind`. SO_REUSEPORT, IP_FREEBIND (a virtual IP need
 * not be here yet); ":80" is dual stack. */
int acceptor_open(const struct addr *bind, int *ret_fd, struct err *err);

/* Worker side. Takes a (from malloc); keeps a reference to snap. */
void acceptor_start(struct acceptor *a, struct worker *w, struct snapshot *snap,
	const struct listener *l, const struct addr *bind);
/* Takes k (from malloc) and fd: clients come from now on. */
void acceptor_listen(struct acceptor *a, struct listening *k, int fd);
/* Its sockets, with who waits there, are another's from now on. */
void acceptor_hand_over(struct acceptor *from, struct acceptor *to);
/* The same listener in a new snapshot. */
void acceptor_move(struct acceptor *a, struct snapshot *snap, const struct listener *l);
/* Takes what waits in the queue, listens no more, and says goodbye to its clients as they come by.
 */
void acceptor_drain(struct acceptor *a);
/* Now and then: if another worker wants room at this listener, somebody idle of ours goes. */
void acceptor_help_out(struct acceptor *a);
/* It has as many clients as limits.connections says. */
bool acceptor_is_full(const struct acceptor *a);
/* Counts a client where its address has a limit; false: it is over that, and is to be refused. */
bool acceptor_count_client(struct acceptor *a, const struct addr *client, bool *ret_counted);
/* For requests to this port. */
void acceptor_fields_make(struct acceptor_fields *f, uint16_t port);
/* Once it drains and its last client is gone; else nothing. */
void acceptor_free_if_done(struct acceptor *a);
