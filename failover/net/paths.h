/*
 * Heartbeats to and from the peer: one UDP socket a path, each bound to our address on that path.
 *
 * What is received is checked in this order: source, key, MAC, shape, TTL, node, replay; only what
 * passes reaches the handler, the rest is counted by cause and dropped. Sending never fails for the
 * caller: a path that cannot send is counted and shown, and the others carry on. The sockets bind
 * to addresses that may not exist yet (a cable that is plugged in later).
 *
 * Runs on the agent's loop. It owns the replay protection; it knows no groups.
 */
#pragma once

#include <ev.h>

#include "failover/core/replay.h"
#include "failover/net/announce.h"
#include "shared/addr.h"
#include "shared/digest.h"

#define PATHS_MAX REPLAY_PATHS_MAX
#define PATH_NAME_MAX 64
#define PATHS_KEYS_MAX 2

/* Why a datagram is dropped: name, and what to tell whoever looks after the pair. NULL: it happens
 * in a pair that is well, or anybody can bring it about. */
#define PATH_DROPS(X)                                                                       \
	X(SOURCE, "source", NULL) /* not from the peer's address on this path */            \
	X(KEY, "key", "signed with a key that this node has not: does secret_file differ?") \
	X(MAC, "mac", "forged, or damaged on the way")                                      \
	X(SHAPE, "shape", "not understood: is it another version?")                         \
	X(TTL, "ttl", "was routed, though the peer is on the same network")                 \
	X(NODE, "node", "of another node id or path than the peer's: do the files differ?") \
	X(REPLAY, "replay", NULL) /* old, or not proved to be alive yet */
enum path_drop {
#define X(name, text, words) PATH_DROP_##name,
	PATH_DROPS(X)
#undef X
		PATH_DROP_COUNT
};
const char *path_drop_name(enum path_drop d);

struct path_config {
	char name[PATH_NAME_MAX];
	struct addr own, peer; /* with ports */
};

struct path_key {
	uint32_t id;
	struct mac_key *mac; /* NULL: none */
};

struct path_state {
	struct path_config config;
	bool up;		/* heard within the silence time, as of the last paths_check */
	uint64_t last_heard_ns; /* 0: never */
	uint64_t rtt_us;	/* smoothed; 0: not known yet */
	uint64_t lost;		/* holes in the peer's numbers */
	uint64_t received, sent, send_failed;
	int send_errno; /* of the last sending; 0: it left */
	uint64_t dropped[PATH_DROP_COUNT];
};

struct paths_handlers {
	void *ctx;
	void (*on_packet)(void *ctx, unsigned path, const struct packet *packet, uint64_t age_ns);
	void (*on_path)(void *ctx, const struct path_state *path); /* path->up changed */
	/* Whether the kernel reaches the peer without a gateway: its packets then must come with
	 * TTL 255. */
	bool (*is_on_link)(void *ctx, const struct addr *peer);
};

struct paths_options {
	struct paths_handlers handlers;
	const struct path_config *configs; /* copied */
	unsigned count;
	uint8_t peer; /* its node id */
	uint64_t boot_id, silence_ns;
	/* The first signs; all are accepted. Each of at least 16 bytes. */
	struct span secrets[PATHS_KEYS_MAX];
	unsigned secret_count;
	/* Others of this process bind the same port, each for a peer of its own. */
	bool shared_port;
	/* NULL, or the ones in use until now: the new sockets may take their ports. The caller
	 * frees them once the new ones are there. */
	struct paths *replaces;
};

struct paths;

/* Addresses that are missing are no error; -1 (NULL) when a port is taken or memory is short. */
struct paths *paths_new(struct ev_loop *loop, const struct paths_options *o, struct err *err);
void paths_free(struct paths *p);
/* Stamps, signs and sends the packet on every path of the mask. Returns on how many it left. */
unsigned paths_send(struct paths *p, const struct packet *packet, uint32_t path_mask);
/*
 * The same on one path, as a frame on its interface, past the kernel's IP: then it leaves also when
 * the peer's MAC cannot be asked for because the peer is dead, and a packet filter that drops it
 * shows. 0, or -1 with err.
 */
struct paths_wire {
	unsigned path;
	int ifindex;
	uint8_t mac[FRAME_MAC_LEN], peer_mac[FRAME_MAC_LEN];
};
int paths_send_frame(struct paths *p, struct announce *announce, const struct packet *packet,
	const struct paths_wire *wire, struct err *err);
/* Handles everything that is queued on all sockets. Not from within a handler. */
void paths_drain(struct paths *p);
/* Decides which paths are up and tells of changes. */
void paths_check(struct paths *p, uint64_t now_ns);
unsigned paths_count(const struct paths *p);
const struct path_state *paths_get(const struct paths *p, unsigned path);
