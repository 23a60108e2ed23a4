/*
 * What must hold of HTTP/2 that the proxy speaks, whoever said what in any pieces, and whatever
 * failed: its frames are those of RFC 9113, in an order that a strict reader takes, on streams that
 * are open; heads can be decoded and have no field that is not allowed; what has a length has that
 * length; an answer that ended is ours, or the whole one of a server (those that speak HTTP/2 are
 * not asked). What servers of HTTP/1 received can be read (exchange_oracle.h).
 */
#pragma once

#include "tests/fuzz/exchange_oracle.h"

/* Reads what lies in fake_net after a run of rig_run_h2(), and aborts where something does not
 * hold. o is only room for it. Returns how many answers of servers ended without trailers. */
unsigned h2_oracle_check(struct outcome *o);
