/*
 * A client's connection that speaks HTTP/2: it carries streams (net/h2.h), each a struct client
 * with one exchange. It is closed after an idle time as one of HTTP/1 is, but with a GOAWAY; when
 * it is to leave (stop, reload, move of the virtual IP) it says so in two steps, so that no request
 * is lost on the way, serves what runs, and closes.
 */
#pragma once

#include "proxy/exchange/client.h"

/* From the bytes in its buffer on, which begin with the preface. It may be closed after it. */
void h2_client_start(struct client *c);
/* Has it a request running? */
bool h2_client_busy(const struct client *c);
void h2_client_drain(struct client *c);
/* It is being closed: its streams go first. */
void h2_client_abandon(struct client *c);
void h2_client_free(struct client *c);

/* --- of a stream --- */

/* Its exchange is over, and all of its answer said. */
void h2_client_answered(struct client *stream);
void h2_client_free_stream(struct client *stream);
