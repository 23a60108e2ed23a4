/*
 * Keeps the staples of all certificates fresh (listeners' `tls.ocsp`): from a file, which is read
 * again when it has changed, or asked of the certificates' responders, again when half of an
 * answer's life is over. A responder that fails is asked again later, and harms nobody: as long as
 * it holds the last answer is stapled, then none is.
 *
 * Main thread, and one thread of its own that waits for responders, one question at a time.
 */
#pragma once

#include <ev.h>

#include "proxy/settings/settings.h"

struct stapling;

#define STAPLING_LOOK_S 5.0	/* at files, and for what is due */
#define STAPLING_AGAIN_S 300	/* after an answer that was none */
#define STAPLING_PATIENCE_S 10L /* for a responder */

struct stapling *stapling_new(struct ev_loop *loop); /* NULL: out of memory */
/* A question that is on its way is given up. */
void stapling_free(struct stapling *s);
/* s runs from now on; it has what certificates had in the one before (NULL: none). */
void stapling_apply(struct stapling *k, const struct settings *s, const struct settings *before);
