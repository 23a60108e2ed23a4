/*
 * The end of a process that found itself in an impossible state: say where, then abort, so that the
 * service manager keeps the core and starts a fresh one. Nothing is freed or flushed on the way.
 */
#include "shared/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void assert_failed(const char *file, int line, const char *what)
{
	dprintf(STDERR_FILENO, "%s:%d: assertion failed: %s\n", file, line, what);
	abort();
}
