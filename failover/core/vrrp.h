/*
 * Who has the address, after RFC 9568 section 6.4: the state machine of one virtual router.
 *
 * It stands where struct fsm stands for a group that speaks VRRP, takes the same events and answers
 * with the same actions (fsm.h), so that the agent does for both what it does: SEND with
 * PACKET_ACTIVE is an advertisement with our priority, with PACKET_CLAIM the first of them, which
 * opens the lease, with PACKET_RELEASE one with priority 0. What was heard comes by vrrp_hear.
 * Initialize is INIT, Backup is STANDBY, Active is ACTIVE; a node that cannot serve is in FAULT,
 * sends nothing and never claims.
 *
 * Where it does more than the RFC: an owner has a lease of two and a half of its intervals, which
 * each advertisement that leaves renews. No backup claims before three and its skew are over, so
 * that there is half an interval and the skew for what is late on the way. Without a lease it steps
 * down: when it did not run, when nothing left it, when the kernel says so. Priority 0 is said
 * only once the addresses are certainly gone; preemption can wait until this node has been well for
 * a time, and rests after an ordered move; and as no connection follows the addresses, whatever
 * moved them, the clients that the peer is known to have are told. What cannot be here, for VRRP
 * does not carry it: epochs, the peer's health, a peer that agrees to a move.
 *
 * Pure and flat, like fsm.h, and with the same demands: events in the order in which things
 * happened, everything queued delivered before FSM_EV_TICK.
 */
#pragma once

#include "failover/core/fsm.h"
#include "failover/core/vrrp_packet.h"

struct vrrp_config {
	uint8_t priority; /* 1-254; 255 belongs to routers whose own address it is */
	bool preempt;
	uint64_t preempt_after_ns; /* well for so long before it preempts */
	uint64_t interval_ns;	   /* Advertisement_Interval */
};

/* Equal priorities are decided by the senders' primary addresses. */
enum vrrp_tie {
	VRRP_TIE_OURS,
	VRRP_TIE_THEIRS,
	VRRP_TIE_ELSEWHERE, /* by the other family: this one says nothing */
};

struct vrrp_heard {
	uint8_t priority;
	uint64_t interval_ns;
	enum vrrp_tie tie;
};

/* Read it for status; only vrrp.c writes it. */
struct vrrp {
	struct vrrp_config config;
	enum fsm_state state;
	enum fsm_reason reason; /* of the last change */
	uint64_t since_ns;

	/* what was heard of an active router other than us */
	uint64_t heard_ns; /* 0: never */
	struct vrrp_heard peer;

	/* our condition */
	bool link, gateway;
	bool unfenced; /* nothing would keep this node from using addresses that it lost */
	enum fsm_proxy proxy;
	struct damping damping;
	uint64_t good_since_ns;

	/* orders */
	bool frozen, stopping, stopped;
	uint64_t frozen_until_ns;
	bool moved; /* by order: no preemption until the peer gave it up */

	/* time */
	uint64_t now_ns, next_ns;
	uint64_t learned_ns; /* Active_Adver_Interval */
	uint64_t down_ns;    /* STANDBY: Active_Down_Timer fires */
	enum fsm_reason down_reason;
	uint64_t advert_ns;	 /* ACTIVE: Adver_Timer fires */
	uint64_t sent_ns;	 /* last advertisement that left */
	uint64_t sent_before_ns; /* the one before it: that one may turn out not to have */
	bool unheard;		 /* the last one did not leave */
	uint64_t said_ns;	 /* the interval that was advertised then */

	/* having */
	bool claiming; /* SEND CLAIM has no result yet */
	enum fsm_reason claim_reason;
	bool address;
	bool tickle; /* the peer's clients are to be told once the addresses are here */
	uint8_t announce_left;
	uint64_t announce_ns, refresh_ns, conflict_until_ns;

	/* giving */
	bool removing;	  /* REMOVE_ADDRESSES under way */
	bool resign_owed; /* priority 0 goes out when the addresses are gone */

	uint32_t alarms; /* bit a: enum fsm_alarm a */
};

/* Starts in INIT. Call vrrp_step with FSM_EV_TICK at once after it. */
void vrrp_init(struct vrrp *m, const struct vrrp_config *config, uint64_t now_ns);
/* Another configuration; a learned interval and running timers stay. */
void vrrp_configure(struct vrrp *m, const struct vrrp_config *config);
/* out is written whole. Events that VRRP does not know (packets, probes, epochs, rules) do nothing.
 */
void vrrp_step(
	struct vrrp *m, const struct fsm_event *ev, uint64_t now_ns, struct fsm_actions *out);
/* An advertisement for this virtual router that passed all checks. */
void vrrp_hear(
	struct vrrp *m, const struct vrrp_heard *heard, uint64_t now_ns, struct fsm_actions *out);
/* Whether FSM_EV_SWITCHOVER would do anything: REASON_NONE, or why not. */
enum fsm_reason vrrp_switchover_check(const struct vrrp *m, uint64_t now_ns);
/* Skew_Time and Active_Down_Interval, from the learned interval. */
uint64_t vrrp_skew_ns(const struct vrrp *m);
uint64_t vrrp_down_interval_ns(const struct vrrp *m);
/* Another active router was heard within the Active_Down_Interval, and did not leave. */
bool vrrp_peer_alive(const struct vrrp *m, uint64_t now_ns);
/* What an advertisement with that interval renews: for as long its sender has the addresses. */
static inline uint64_t vrrp_lease_of(uint64_t interval_ns)
{
	return interval_ns * 5 / 2;
}
/* As the owner: how long we may go without sending. */
uint64_t vrrp_lease_ns(const struct vrrp *m);
