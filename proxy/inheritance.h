/*
 * What a process leaves to the one that replaces it when the binary is upgraded in place: its
 * listening sockets, a socket on which the two talk while both live, and what it knows that is on
 * no disk. The sockets keep their numbers over exec; a memory file says which number is what, as
 * JSON, and the environment variable TANDEM_UPGRADE has the number of that file. All other files
 * are closed by the successor before it does anything else, so that nothing leaks in, and the
 * variable is taken away, so that nothing leaks out. Main thread.
 */
#pragma once

#include <jansson.h>

#include "proxy/worker.h"

#define INHERITANCE_VARIABLE "TANDEM_UPGRADE"

struct inheritance { /* {.talk = -1}: none, an ordinary start */
	struct worker_socket *sockets;
	bool *taken;
	unsigned count;
	int talk; /* to the predecessor; -1: there is none */
	json_t *state;
};

/* The file for the successor, which is to get all of the sockets and `talk` under their numbers;
 * -1 with err. */
int inheritance_write(const struct worker_socket *sockets, unsigned count, int talk,
	const json_t *state, struct err *err);
/* The first thing in a process, before it opens any file. -1 with err: there is one that makes no
 * sense; talk is right all the same, if it can be known. */
int inheritance_read(struct inheritance *in, struct err *err);
/* The n-th socket of this bind, which is the caller's from now on; -1: there are not so many. */
int inheritance_take(struct inheritance *in, const struct addr *bind, unsigned n);
/* Closes what nobody took; the predecessor still serves who waits there. `talk` stays. */
void inheritance_fini(struct inheritance *in);
