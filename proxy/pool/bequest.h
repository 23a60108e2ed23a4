/*
 * The health of servers as one process leaves it to the next: what checks and traffic found stays
 * true when the program is replaced, and a server that is down must not be tried again because of
 * that. As JSON, by the server's key in the table; what a newer or older program does not
 * understand of it is as if it were not there.
 */
#pragma once

#include "proxy/pool/members.h"

/* Adds the servers of this set. */
void bequest_add(json_t *servers, const struct member_set *set);
/* What was left about this server, if anything, is so. */
void bequest_take(const json_t *servers, struct server *s);
