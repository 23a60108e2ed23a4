/*
 * Threads beside an event loop: for what may wait for a disk, a name server or another program.
 */
#pragma once

#include <pthread.h>

#include "shared/err.h"

/* Starts run(arg) with all signals blocked (they are the loop's) and a small stack, for memory may
 * be locked. what: "the thread that ..." for err. */
int thread_start(
	pthread_t *ret_thread, void *(*run)(void *), void *arg, const char *what, struct err *err);
