/*
 * The listening sockets of the data path as the main thread knows them. Workers own and close them;
 * the main thread opens them, knows by the same rule as they which still listen (those of binds
 * that the running snapshot has), and so can leave them to the process that replaces this one.
 * Main thread.
 */
#pragma once

#include "proxy/inheritance.h"
#include "proxy/settings/settings.h"

struct sockets { /* {0}: none */
	struct worker_socket *all;
	unsigned count;
	unsigned *ends; /* by worker: where in `all` its own end. NULL where nobody asks */
};

/*
 * One for each worker for each bind of s that `running` has none for: those that were inherited
 * first, all of them (with fewer workers than there were some get several), then new ones. -1 with
 * err: none is open.
 */
int sockets_open(struct sockets *k, const struct settings *s, const struct sockets *running,
	struct inheritance *in, unsigned workers, struct err *err);
/* Those of worker w. */
const struct worker_socket *sockets_of(const struct sockets *k, unsigned w, unsigned *ret_count);
/* What listens once s runs and `opened` were handed out. -1: out of memory. */
int sockets_next(struct sockets *next, const struct sockets *running, const struct sockets *opened,
	const struct settings *s);
void sockets_close(struct sockets *k); /* instead of handing them out */
void sockets_fini(struct sockets *k);  /* forgets them; they stay open */
