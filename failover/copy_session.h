/*
 * One connection over which the two agents copy their state to each other: the list of the clients
 * of each one's proxy, and the documents that the proxies share.
 *
 * Both sides say HELLO, with what they have of the other already. The list then goes on from there,
 * when the journal still reaches so far; or as a whole, shard by shard, with the changes that
 * happen meanwhile between the shards: what is sent is always later than what was sent before, so
 * that a slow peer never has the list begin again. A document goes as it is when its turn comes,
 * however often it changed. All of it is bounded by COPY_OUT_BUSY_BYTES a turn of the loop and in
 * memory; when the peer does not read, nothing is gathered for it but the journal.
 *
 * Runs on the agent's loop and never blocks. The owner frees it, after on_end, not from within.
 */
#pragma once

#include <ev.h>

#include "failover/journal.h"
#include "failover/net/secure.h"
#include "failover/states.h"
#include "shared/buf.h"
#include "shared/list.h"

#define COPY_VERSION 1
#define COPY_FRAME_MAX 65536
#define COPY_OUT_BUSY_BYTES (64 * 1024)
#define COPY_BEAT_S 1.0
#define COPY_SILENCE_NS (3 * NS_PER_S)

/* Lengths are of what follows, in network byte order as all numbers: u32 length, u8 type, content.
 * name, type, content. */
#define COPY_FRAMES(X)                                                                 \
	X(HELLO, 1)	 /* u16 version, u8 node, u8 peer, u64 stream of the sender,   \
			    u64 stream and u64 change that it has of the receiver's */ \
	X(CHANGES, 2)	 /* u64 number of the last one, then each: u8 there, key */    \
	X(LIST_BEGIN, 3) /* the whole list follows */                                  \
	X(LIST, 4)	 /* keys */                                                    \
	X(LIST_END, 5)	 /* u64 number of the last change that is in it */             \
	X(STATE, 6)	 /* JSON, as in states.h */                                    \
	X(ACK, 7)	 /* u64 number of the last change that was taken over; each second */
enum copy_frame {
#define X(name, type) COPY_##name = (type),
	COPY_FRAMES(X)
#undef X
};

/* What outlives a connection. The owner's; sessions borrow it. */
struct copy_pair {
	uint8_t node, peer;
	uint64_t stream; /* names the journal; random, never 0 */
	struct journal journal;
	const struct clients *own;
	/* Our proxy has not told its clients in this life: the list waits, lest the peer forget
	 * them. */
	bool own_unknown;
	struct clients *theirs;
	uint64_t have_stream, have_change; /* what `theirs` is a whole copy of; 0: of nothing */
	struct states *states;
	void *ctx;
	void (*on_state)(void *ctx, unsigned index); /* the peer had a newer one */
};

struct copy_session {
	struct list link; /* the owner's */
	struct copy_pair *pair;
	struct ev_loop *loop;
	struct secure *tls;
	void *ctx;
	void (*on_ready)(void *ctx, struct copy_session *s); /* the peer's HELLO was good */
	void (*on_end)(void *ctx, struct copy_session *s, const struct err *why);
	enum { COPY_SHAKING, COPY_GREETING, COPY_READY, COPY_OVER } state;
	ev_io readable, writable;
	ev_timer beat;
	struct buf in, out;
	uint64_t heard_ns;
	char path[64]; /* for status */
	/* sending */
	uint64_t sent, acked; /* numbers of changes */
	bool listing;	      /* the whole list is on its way: `shard` is next */
	uint32_t shard;
	uint32_t states_due; /* a bit each of pair->states */
	/* receiving */
	uint64_t stream; /* the peer's */
	uint64_t taken;	 /* the last change of it that was taken over */
	bool being_listed, ack_due;
};

/* Takes tls. Everything else of s that the owner needs it sets before: pair, ctx, on_*, path. */
void copy_session_start(struct copy_session *s, struct ev_loop *loop, struct secure *tls);
/* Ends it without on_end. */
void copy_session_stop(struct copy_session *s);
void copy_session_fini(struct copy_session *s);
/* There may be something to send. */
void copy_session_pump(struct copy_session *s);
