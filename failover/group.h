/*
 * One group of virtual IPs on this node: the state machine, and the hands that do what it says.
 *
 * Everything that happens becomes an event of the machine; its actions are done in order and their
 * results given back as further events, before anything else is. Runs on the agent's loop; the
 * agent owns it.
 */
#pragma once

#include "failover/core/fsm.h"
#include "failover/fence.h"
#include "failover/net/gateway.h"
#include "failover/net/netlink.h"
#include "failover/net/probe.h"
#include "failover/settings.h"
#include "failover/witness_link.h"
#include "shared/list.h"

struct agent;
struct group_vrrp;

#define GROUP_RESULTS_MAX 16

/* A hook that the machine waits for. */
struct group_asked_hook {
	uint64_t id;
	uint32_t ticket;
};

struct group {
	struct list in_agent;
	struct agent *agent; /* borrows */
	struct group_settings settings;
	struct group_vrrp *vrrp; /* protocol: vrrp3, then fsm is unused; else NULL. Owned */
	struct fsm fsm;
	ev_timer tick;
	struct fence fence;
	struct probe probe;
	struct probe host; /* asks for the peer's own address: does its machine live? */
	struct gateway gateway;
	struct netlink_link link;
	bool asking;  /* an address probe is out: answers are events */
	bool holding; /* the addresses are ours to keep in place */
	bool leaving; /* told to stop: the configuration has no such group any more, or the agent
			 ends */
	bool stopped;
	uint64_t addressed_ns;	 /* when the addresses were last added or refreshed */
	uint64_t claim_until_ns; /* a claim may leave until then; 0: none may */
	uint64_t draining_ns;	 /* since when connections that were left are waited for; 0: not */
	uint64_t counted_ns;	 /* when they were looked for last */
	uint64_t suspended_ns;	 /* time that our clock has not counted, ever */
	enum fsm_reason asked_why;		   /* what led to the last PROBING */
	uint64_t since_realtime_ns;		   /* of the last change of state */
	uint32_t transitions[FSM_REASON_LAST + 1]; /* changes of state, by their reason */
	struct witness_question question;
	struct group_asked_hook asked_hooks[2]; /* fence_hook, claim_hook */
	/* Results of actions, waiting for their turn. */
	bool stepping;
	unsigned result_count;
	struct fsm_event results[GROUP_RESULTS_MAX];
};

/* Starts the machine; what an earlier life left of the addresses is removed first. Returns owned.
 */
struct group *group_new(
	struct agent *agent, const struct group_settings *settings, struct err *err);
/* Takes the addresses away if they are still there. */
void group_free(struct group *g);
/* Takes over settings of the same vrid and interface, and the agent's times, without a change of
 * state. */
void group_apply(struct group *g, const struct group_settings *settings);
/* Hands an event to the machine. Not while it steps. */
void group_event(struct group *g, const struct fsm_event *ev);

/* --- what the agent hears, for the group --- */
void group_link(struct group *g, const struct netlink_link *link);
void group_address(
	struct group *g, int ifindex, const struct cidr *address, bool there, bool dad_failed);
/* Events of the kernel were lost: looks at the addresses again. */
void group_resync(struct group *g);
void group_proxy(struct group *g, enum fsm_proxy proxy);
void group_stop(struct group *g);
/* The agent may have other paths now, and the group is none of the configuration's any more: it
 * uses all of them for what is left of its life. */
void group_paths_changed(struct group *g);

/* How it stands, whatever protocol it speaks. */
struct group_view {
	enum fsm_state state;
	enum fsm_reason reason;
	uint64_t epoch; /* 0 with VRRP, which has none */
	uint64_t next_ns, lease_ns, sent_ns;
	bool frozen, link, gateway;
	bool moving; /* a move was wanted and is pursued; VRRP's are over at once */
	enum fsm_proxy proxy;
	uint32_t alarms; /* bit a: enum fsm_alarm a */
	bool peer_known, peer_alive;
	enum fsm_state peer_state;
};
struct group_view group_view(const struct group *g, uint64_t now_ns);
/* Whether FSM_EV_SWITCHOVER would do anything: REASON_NONE, or why not. */
enum fsm_reason group_switchover_check(const struct group *g, uint64_t now_ns);
/* A heartbeat at once. */
void group_beat(struct group *g);
/* Handles what is queued on the sockets of its own. */
void group_drain(struct group *g);
/* For group_vrrp.c: does what the machine answered to an advertisement. Not while it steps. */
void group_perform(struct group *g, const struct fsm_actions *actions);

/* Says so to the peer: the proxy beside us serves the address. */
bool group_owns(const struct group *g);
/* Why it is in its state, in words. */
void group_reason(const struct group *g, char *out, size_t size);
