/*
 * A service's servers by DNS (RFC 2782), followed: `_http._tcp.web.internal` names hosts, each with
 * a port, a weight and a priority. Those of the lowest priority serve, the others are backups. What
 * comes and goes, and when it is asked for again, is as with a host's addresses (host.h).
 */
#pragma once

#include "proxy/discover/crew.h"

struct srv;
/* Begins to ask. NULL when out of memory. Takes the crew, for whose entries it cares. */
struct srv *srv_new(const struct crew_options *o, const char *name, struct crew *crew);
void srv_free(struct srv *s, bool keep);
bool srv_settled(const struct srv *s);
/* Why it is not known, or not anew; NULL: it is. */
const char *srv_reason(const struct srv *s);
