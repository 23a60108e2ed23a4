/*
 * What must hold of any exchange, whoever said what, in any pieces, and whatever failed:
 *
 * What a server received is read by a strict parser as requests that the client has made, each with
 * its own content; nothing is left over, and nothing looks whole that was not. What a client
 * received is read as answers, no more than requests; one that is whole is ours, or the whole
 * answer of a server. A POST of which something left is not sent again.
 */
#pragma once

#include "tests/fuzz/exchange_rig.h"

struct outcome;

struct outcome *outcome_new(void);
void outcome_free(struct outcome *o);
/* Reads what lies in fake_net after a run, and aborts where something does not hold. */
void outcome_check(struct outcome *o, enum rig_listener which);
/* Two runs of a script, the bytes cut differently: the same messages, but those that are not whole.
 * Says nothing of servers that say more than they are asked: how much of that is seen, and when,
 * depends on chance. */
void outcome_check_same(const struct outcome *a, const struct outcome *b);

/* Only what lies at servers, but at those that are to be left out: their requests can be read. */
void outcome_read_servers(struct outcome *o, bool (*leave_out)(const struct fake_conn *c));
/* After that: is this ours, or the whole answer of a server, or from a tunnel? */
bool outcome_may_answer(const struct outcome *o, unsigned status, struct span content);
