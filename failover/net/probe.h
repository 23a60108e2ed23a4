/*
 * Listens on one interface for what is said about a group's virtual IPs, and asks: address probes
 * before a claim (RFC 5227, RFC 4862), somebody else's probes, somebody else using an address of
 * ours.
 *
 * The socket is open as long as the interface is there, filtered in the kernel to frames that name
 * one of the addresses, so that a LAN full of ARP does not wake the agent. Runs on the agent's
 * loop. It decides nothing: who was heard goes to the handlers, and the frames of our own MAC are
 * not reported.
 */
#pragma once

#include <ev.h>

#include "failover/net/announce.h"

#define PROBE_VIPS_MAX 32
#define PROBE_SHOTS 3

struct probe_handlers {
	void *ctx;
	/* A MAC other than ours uses the address. */
	void (*on_claim)(void *ctx, const struct frame_said *said);
	/* A MAC other than ours asks whether anyone has the address. */
	void (*on_probe)(void *ctx, const struct frame_said *said);
	/* A shot could not be sent: the question was not asked. */
	void (*on_failed)(void *ctx, const struct err *err);
};

struct probe {
	struct ev_loop *loop;
	struct probe_handlers handlers;
	struct announce *announce; /* borrows */
	ev_io readable;
	ev_timer next_shot;
	int fd; /* -1: no interface */
	/* Set it before listening where a packet filter drops what is to be heard: all frames are
	 * then looked at before it sees them, at the price of a look at every one of them. */
	bool before_filter;
	int ifindex;
	uint8_t mac[FRAME_MAC_LEN];
	unsigned shots_left;
	unsigned vip_count;
	struct cidr vips[PROBE_VIPS_MAX];
};

void probe_init(struct probe *p, struct ev_loop *loop, struct announce *announce,
	const struct probe_handlers *handlers);
void probe_fini(struct probe *p);
/* Listens on the interface for these addresses (at most PROBE_VIPS_MAX), replacing what it listened
 * to. */
int probe_listen(struct probe *p, int ifindex, const uint8_t mac[FRAME_MAC_LEN],
	const struct cidr *vips, unsigned vip_count, struct err *err);
/* The interface is gone. */
void probe_deafen(struct probe *p);
/* Asks PROBE_SHOTS times, the last one a third of the window before its end. The first goes out
 * before this returns; -1 when it did not. */
int probe_start(struct probe *p, uint64_t window_ms, struct err *err);
void probe_stop(struct probe *p);
/* Reads what is queued, so that a decision is taken on everything that was heard. */
void probe_drain(struct probe *p);
