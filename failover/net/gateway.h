/*
 * Does the gateway answer on a group's interface? Asked by address probes (ARP from 0.0.0.0,
 * neighbour solicitation from ::), which need no address of ours and disturb no cache; any frame in
 * which the gateway speaks of its own address counts as an answer.
 *
 * Bad when nothing was heard for three asks, good with the first answer. Runs on the agent's loop.
 */
#pragma once

#include "failover/net/probe.h"

#define GATEWAY_ASK_MS 500
/* An answer comes right after its ask. Looked at with each ask, half of one from where it would be
 * a matter of chance: so the two nodes miss a gateway at most an ask apart. */
#define GATEWAY_SILENCE_MS (5 * GATEWAY_ASK_MS / 2)

struct gateway {
	struct probe probe;
	ev_timer ask;
	struct cidr address;
	bool good;
	uint64_t heard_ns;
	void *ctx;
	void (*on_change)(void *ctx, bool good);
};

void gateway_init(struct gateway *g, struct ev_loop *loop, struct announce *announce, void *ctx,
	void (*on_change)(void *ctx, bool good));
/* Stops without a word; gateway_watch may follow. */
void gateway_fini(struct gateway *g);
/* Watches the address on an interface. Bad before its first answer; one that was good stays so as
 * long as it is not silent. */
int gateway_watch(struct gateway *g, const struct addr *gateway, int ifindex,
	const uint8_t mac[FRAME_MAC_LEN], struct err *err);
/* The interface is gone: bad. */
void gateway_forget(struct gateway *g);
