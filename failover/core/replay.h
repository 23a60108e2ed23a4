/*
 * Which datagrams of the peer count: replay protection without a wall clock.
 *
 * A boot_id is random at each start of an agent; seq counts per boot_id and path. On each path a
 * boot_id counts only once it has proved that it lives now, by echoing a seq that we sent on that
 * path in this boot of ours; until then it is answered with a challenge (our next packet echoes it)
 * and no more. Then only larger seqs count. A recording cannot echo what we had not sent when it
 * was made: the echo must be newer than any echo consumed so far on that path. A boot_id that was
 * replaced is retired and stays so.
 *
 * Two fresh nodes meet in three packets: A's first is a stranger to B; B's next echoes it, which
 * proves B to A; A's next echoes that, which proves A to B. A restart looks the same to the one who
 * stayed.
 *
 * The echo also bounds how old a packet can be: it was made after the packet of ours that it
 * echoes.
 *
 * One struct a peer, for all its paths and groups. A core module: flat, copyable, no clock.
 */
#pragma once

#include "failover/core/packet.h"

#define REPLAY_PATHS_MAX 8
#define REPLAY_RING 128	      /* packets of ours whose time of sending is remembered, a path */
#define REPLAY_RETIRED_MAX 16 /* boot_ids remembered after they were replaced */
#define REPLAY_AGE_UNKNOWN UINT64_MAX

#define REPLAY_VERDICTS(X)                                                                         \
	X(ACCEPTED)   /* the peer we know, and newer than all before */                            \
	X(MET)	      /* accepted, and the first of this boot_id on this path */                   \
	X(CHALLENGED) /* a stranger: our next packet on this path echoes it. Not a sign of life */ \
	X(DUPLICATE)  /* the very last one again */                                                \
	X(OUT_OF_ORDER) /* older than the last one: late, or recorded */                           \
	X(RETIRED)	/* of a boot_id that was replaced */

enum replay_verdict {
#define X(name) REPLAY_##name,
	REPLAY_VERDICTS(X)
#undef X
		REPLAY_VERDICT_COUNT
};

struct replay_path {
	uint64_t next_seq;    /* of ours */
	uint64_t last_seq;    /* of the peer's; 0: it has proved nothing on this path yet */
	uint64_t heard_ns;    /* when last_seq came */
	uint64_t echo_floor;  /* the highest seq of ours that was echoed to us */
	uint64_t stranger_id; /* to be challenged by our next packet; 0: none */
	uint64_t stranger_seq;
	uint64_t stranger_ns;
	uint64_t sent_ns[REPLAY_RING]; /* when seq was sent, at seq modulo REPLAY_RING */
	uint64_t counts[REPLAY_VERDICT_COUNT];
};

struct replay {
	uint64_t own_boot_id;
	uint64_t peer_boot_id; /* 0: nobody met yet */
	uint64_t silence_ns;
	uint64_t retired[REPLAY_RETIRED_MAX];
	uint32_t retired_count; /* grows; the ring is at it modulo REPLAY_RETIRED_MAX */
	uint32_t path_count;
	struct replay_path paths[REPLAY_PATHS_MAX];
};

struct replay_news {
	uint64_t age_ns; /* the packet was made at most this long ago, or REPLAY_AGE_UNKNOWN */
	uint64_t rtt_ns; /* or REPLAY_AGE_UNKNOWN */
	uint64_t lost;	 /* seqs skipped since the one before */
	bool restarted;	 /* the peer is a new boot of one that we knew */
};

/* own_boot_id: random, not 0. silence_ns: after this long without a packet HEARS_YOU is no longer
 * said. */
void replay_init(struct replay *r, uint64_t own_boot_id, uint32_t path_count, uint64_t silence_ns);
/*
 * Before each sending on a path: fills path, boot_id, seq, sent_ns, the echo and HEARS_YOU. Every
 * copy that leaves needs its own call.
 */
void replay_stamp(struct replay *r, uint32_t path, struct packet *p, uint64_t now_ns);
/*
 * For each packet whose MAC was good. Only ACCEPTED and MET may be given to a state machine.
 * ret_news is written for those two only.
 */
enum replay_verdict replay_check(struct replay *r, uint32_t path, const struct packet *p,
	uint64_t now_ns, struct replay_news *ret_news);
static inline bool replay_counts(enum replay_verdict v)
{
	return v == REPLAY_ACCEPTED || v == REPLAY_MET;
}
const char *replay_verdict_name(enum replay_verdict v);
