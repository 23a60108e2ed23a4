/*
 * What the parts of the state machine share: the step in the making and the helpers of fsm.c.
 */
#pragma once

#include "failover/core/election.h"
#include "failover/core/fsm.h"
#include "shared/assert.h"
#include "shared/units.h"

struct step {
	struct fsm *m;
	uint64_t now;
	struct fsm_actions *out;
	bool queues_empty; /* everything that came by now was seen: silence means something */
	bool beat;	   /* say at once what we are */
};

/* fsm.c */
struct fsm_action *act(struct step *s, enum fsm_action_kind kind);
/* With a ticket of its own, which is returned. */
uint32_t act_ticket(struct step *s, enum fsm_action_kind kind);
void act_send(struct step *s, enum packet_kind kind, enum fsm_reason reason);
void act_alarm(struct step *s, enum fsm_alarm alarm, bool on);
/* Changes state: TELL, and the clean-up that leaving a state needs. */
void enter(struct step *s, enum fsm_state to, enum fsm_reason reason);
void store_epoch(struct step *s, uint64_t epoch);
void load_rules(struct step *s, uint64_t end_ns);
void unload_rules(struct step *s);
/* Does the peer's host live? Silence until host_end_ns says that it does not. */
void ask_host(struct step *s);

/* fsm_view.c */
bool owns(const struct fsm *m);
/* Link, gateway and proxy are good, and there is a fence. */
bool able(const struct fsm *m);
/* Why not able. */
enum fsm_reason unable_reason(const struct fsm *m);
/* Would take the address if it were offered. */
bool willing(const struct fsm *m);
bool peer_can_take(const struct fsm *m, uint64_t now);
/* Or is draining, and would take it from an owner that cannot serve. */
bool peer_can_rescue(const struct fsm *m, uint64_t now);
/* Is draining and would take it back from an owner that cannot serve. */
bool can_rescue(const struct fsm *m);
/* Who gives the address away for this does not serve the connections that it has, either. */
bool serves_no_more(enum fsm_reason reason);
/* The peer comes first for an address that nobody has. */
bool peer_is_before_us(const struct fsm *m, uint64_t now);

/* fsm_claim.c: INIT, STANDBY, PROBING, FAULT */
void on_probe_sent(struct step *s);
void on_peer_host(struct step *s);
void claim_by_release(struct step *s, uint64_t age_ns, enum fsm_reason reason);
void retreat(struct step *s, enum fsm_reason reason);
void on_claimed(struct step *s);
void on_witness(struct step *s, bool good);
void on_peer_fenced(struct step *s, bool good);
/* What the state does by itself now. */
void init_run(struct step *s);
void standby_run(struct step *s);
void probing_run(struct step *s);
void fault_run(struct step *s);
/* When standby_run wants to be called for a claim; UINT64_MAX: not by time. */
uint64_t claim_due_ns(const struct fsm *m, uint64_t now);

/* fsm_owner.c: ACTIVE, HANDOVER, DRAINING */
void become_owner(struct step *s, enum fsm_reason reason);
/* Stops being the owner, fence first. release: tell the peer once the address is gone. */
void step_down(struct step *s, enum fsm_state to, enum fsm_reason reason, bool release);
void begin_fence(struct step *s);
void on_fenced(struct step *s, bool certain);
uint64_t drain_limit_ns(const struct fsm *m);
void on_claim_hooked(struct step *s, bool good);
/* The peer or the witness knew us as the owner when we said so this long ago. */
void known_as_owner(struct step *s, uint64_t age_ns);
/* The peer does not take it (in time). */
void handover_refused(struct step *s, enum fsm_reason reason);
void announce(struct step *s);
void active_run(struct step *s);
void handover_run(struct step *s);
void draining_run(struct step *s);

/* fsm_peer.c */
void on_packet(struct step *s, const struct fsm_event *ev);
