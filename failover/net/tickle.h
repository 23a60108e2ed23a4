/*
 * Tells the clients of a dead node: each gets a bare ACK out of nowhere from the virtual address it
 * was connected to. Its kernel answers with an ACK of its own (RFC 9293 3.10.7.4), which meets no
 * connection here, and our kernel resets it: the client learns at once what it would have waited
 * for until its own timeout. Should it meet the TIME_WAIT of an earlier one, since the address was
 * here less than a minute ago and the client has the same port again, it would be acknowledged and
 * the client none the wiser: such are done away with first.
 *
 * Never while strays are forwarded to the peer; that is the state machine's to know. What is sent
 * in one go grows from few to many, so that a neighbour that has yet to be found loses little, and
 * waits when the kernel's queue is full. All clients are told twice, a second apart, as the address
 * is announced: the first may have come before a switch knew the way. Runs on the agent's loop.
 */
#pragma once

#include <ev.h>

#include "failover/clients.h"

struct tickle {
	struct ev_loop *loop;
	int fd4, fd6; /* raw sockets; -1: not open */
	ev_timer next;
	/* the run */
	const struct clients *clients;
	struct netlink_diag_left *left; /* TIME_WAITs, as long as they are gone through; owned */
	struct cidr vips[CLIENTS_VIPS_MAX];
	unsigned vip_count;
	struct clients_cursor at;
	unsigned burst, round;
	uint64_t began_ns, sent_before, failed_before;
	/* for status */
	uint64_t sent, failed; /* ever */
};

void tickle_init(struct tickle *t, struct ev_loop *loop);
void tickle_fini(struct tickle *t);
/* Begins with all clients of these addresses, besides those of a run under way. Keeps a borrow of
 * the set until _fini; it may change. */
void tickle_start(struct tickle *t, const struct clients *clients, const struct cidr *vips,
	unsigned vip_count);
/* No more to clients of these addresses: they are not ours any more. */
void tickle_stop(struct tickle *t, const struct cidr *vips, unsigned vip_count);

#define TICKLE_BYTES_MAX 60
/* The packet, with its IP header: 40 bytes for IPv4, 60 for IPv6. Returns its length. */
size_t tickle_packet(const struct client_key *k, uint8_t out[TICKLE_BYTES_MAX]);
