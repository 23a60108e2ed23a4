/*
 * What a witness knows, and when it promises the address of a group to a node.
 *
 * It promises to one node at a time: to the asker when neither another owner was heard nor another
 * asker promised to within times_promise_ns(), unless the other's last word was a RELEASE. It
 * forgets all when it starts, so it promises nothing before it has listened for that long. Where a
 * node hears an owner, or lost the client network with all its paths to the peer, this is what
 * tells them apart: the witness is on neither side.
 *
 * A core module: flat, no clock, no allocation. doc/failover.md says what a promise is worth.
 */
#pragma once

#include "failover/core/packet.h"
#include "failover/core/times.h"

struct witness_group {
	uint8_t owner; /* node that said so last; 0: none, or it let go */
	uint8_t promised;
	uint64_t owner_ns, promised_ns;
};

struct witness {
	uint64_t promise_ns, started_ns;
	struct witness_group groups[256]; /* by VRID */
};

#define WITNESS_VERDICTS(X)                      \
	X(PROMISED, "promised")                  \
	X(OWNED, "another owner was heard")      \
	X(TAKEN, "another node has the promise") \
	X(STARTING, "started too short a time ago to promise")
enum witness_verdict {
#define X(name, words) WITNESS_##name,
	WITNESS_VERDICTS(X)
#undef X
};
const char *witness_verdict_words(enum witness_verdict v);

void witness_init(struct witness *w, const struct times *times, uint64_t now_ns);
/* A node's packet that replay_check accepted. */
void witness_heard(struct witness *w, const struct packet *p, uint64_t now_ns);
/* A node asks before it claims. */
enum witness_verdict witness_ask(struct witness *w, uint16_t group, uint8_t node, uint64_t now_ns);
