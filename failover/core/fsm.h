/*
 * Who has the address: the state machine of one group on one node.
 *
 * Events go in with the time, actions come out; the agent does them in their order and brings their
 * results back as further events. Nothing else is known here: no fd, no clock, no log, no
 * allocation. struct fsm is flat: a simulator copies it and runs thousands of pairs.
 *
 * What the machine relies on:
 *  - now_ns is CLOCK_MONOTONIC and is read anew for each event;
 *  - everything that waits in a receive queue (heartbeats, ARP and ND) is delivered before
 * FSM_EV_TICK;
 *  - FSM_EV_TICK comes when actions.next_ns is due (late is tolerated and noticed);
 *  - actions are done in their order, before the next event is given; an action with a result gets
 *    exactly one, at once or later, and one that was made with a ticket comes with that ticket;
 *  - a packet is given only when its MAC was good, replay_check accepted it, and its group and node
 *    are the ones of this configuration.
 *
 * doc/failover.md explains the states and the rules.
 */
#pragma once

#include "failover/core/damping.h"
#include "failover/core/packet.h"
#include "failover/core/times.h"

/* --- events -------------------------------------------------------------------------------------
 */

/* name, which fields of struct fsm_event count, when */
#define FSM_EVENTS(X)                                                                              \
	X(TICK)		  /* next_ns is due and all receive queues are empty */                    \
	X(PACKET)	  /* packet, path, age_ns: the peer was heard */                           \
	X(LINK)		  /* good: carrier of the client interface */                              \
	X(GATEWAY)	  /* good: it answers (say good once when none is configured) */           \
	X(PROXY)	  /* proxy: its health changed */                                          \
	X(FENCE)	  /* good: there is one as configured; taken for given until it is said */ \
	X(PROBE_SENT)	  /* result of PROBE_START: the first one left, the wait begins now */     \
	X(PROBE_FAILED)	  /* result of PROBE_START: it could not be sent, it proves nothing */     \
	X(PROBE_ANSWERED) /* PROBE_START was answered: the address is alive. good: by the peer */  \
	X(WITNESS)	  /* result of ASK_WITNESS; ticket, good: it promised us the address */    \
	X(WITNESS_HEARD)  /* it acknowledged a SEND ACTIVE or CLAIM of age_ns ago */               \
	X(PEER_FENCED)	  /* result of FENCE_PEER; ticket, good: the peer is certainly off */      \
	X(PEER_HOST)	  /* the peer's host answered ASK_PEER, or it cannot be asked */           \
	X(CLAIM_HOOKED)	  /* result of CLAIM_HOOK; ticket, good */                                 \
	X(PAUSED)	  /* our clock stood still for age_ns (suspended); before all else */      \
	X(PEER_PROBE)	  /* somebody's probe was heard on the client network. good: the peer's */ \
	X(EPOCH_STORED)	  /* result of STORE_EPOCH; epoch */                                       \
	X(EPOCH_FAILED)	  /* result of STORE_EPOCH */                                              \
	X(CLAIMED)	  /* result of SEND CLAIM: it left (with a kernel lease: it opened one) */ \
	X(CLAIM_REFUSED)  /* result of SEND CLAIM: the kernel dropped it, the window is over */    \
	X(LEASE_REFUSED)  /* a SEND ACTIVE was dropped by the kernel: no lease any more */         \
	X(UNHEARD)	  /* VRRP: a SEND ACTIVE left in no family, and the lease lives */         \
	X(ADDRESS_ADDED)  /* result of ADD_ADDRESSES: all of them are in place */                  \
	X(ADDRESS_FAILED) /* result of ADD_ADDRESSES (DAD failure too), or a REFRESH_ADDRESSES     \
			     failed */                                                             \
	X(ADDRESS_REMOVED)  /* result of REMOVE_ADDRESSES: certainly gone */                       \
	X(ADDRESS_STUCK)    /* result of REMOVE_ADDRESSES: not certain; dies by its lifetime */    \
	X(ADDRESS_DELETED)  /* somebody else deleted a virtual address that we had */              \
	X(ADDRESS_CONFLICT) /* somebody who is not the peer answers for the address */             \
	X(RULES_LOADED)	    /* result of LOAD_RULES */                                             \
	X(RULES_FAILED)	    /* result of LOAD_RULES */                                             \
	X(DRAINED)	    /* result of SET_DRAIN: our last connection is gone */                 \
	X(SWITCHOVER)	    /* operator; ask fsm_switchover_check() first for the answer */        \
	X(FREEZE)	    /* operator; until_ns, 0: until RESUME */                              \
	X(RESUME)	    /* operator */                                                         \
	X(STOP)		    /* the service stops: end in FSM_DO_STOPPED */

enum fsm_event_kind {
#define X(name) FSM_EV_##name,
	FSM_EVENTS(X)
#undef X
};

/* The proxy beside us. OK only once it beats; without listeners in the configuration: say OK once.
 */
enum fsm_proxy {
	FSM_PROXY_ABSENT, /* none has connected yet, or it left in good order */
	FSM_PROXY_OK,
	FSM_PROXY_HUNG,
	FSM_PROXY_DEAD,
};

struct fsm_event {
	enum fsm_event_kind kind;
	bool good;
	enum fsm_proxy proxy;
	uint8_t path;
	uint32_t ticket;
	uint64_t age_ns;	     /* of replay_check */
	const struct packet *packet; /* borrows, for the step */
	uint64_t epoch;
	uint64_t until_ns;
};

/* --- actions ------------------------------------------------------------------------------------
 */

#define FSM_ACTIONS(X)                                                                             \
	X(SEND) /* packet, reason: on every path; fsm_packet() fills it. CLAIM has a result */     \
	X(PROBE_START) /* three probes, spread over probe_ns, on the client network. Has a result  \
			*/                                                                         \
	X(PROBE_STOP)  /* no further probes; answers that still come are not reported */           \
	X(ASK_PEER) /* the peer's own addresses on the client network, as often as PROBE_START */  \
	X(ASK_WITNESS) /* ticket, epoch to be claimed. Has a result, within window_ns */           \
	X(FENCE_PEER)  /* ticket: the fence hook. Has a result, within its deadline */             \
	X(CLAIM_HOOK)  /* ticket: the claim hook. Has a result, within its deadline */             \
	X(STORE_EPOCH) /* epoch: durable, so that a restart begins at least there. Has a result */ \
	X(OPEN_CLAIM)  /* at_ns: a claim may leave until then (kernel's claim window) */           \
	X(CLOSE_CLAIM) /* no longer */                                                             \
	X(ADD_ADDRESSES)     /* with a lifetime of 2 s. Has a result */                            \
	X(REFRESH_ADDRESSES) /* their lifetime again, never adding: see below */                   \
	X(REMOVE_ADDRESSES)  /* the fence; drops the lease as well. Has a result */                \
	X(ANNOUNCE)	     /* gratuitous ARP, unsolicited NA for every address, once */          \
	X(LOAD_RULES)	     /* second chance: what is not our proxy's goes to the peer. Has a     \
				result */                                                          \
	X(UNLOAD_RULES)                                                                            \
	X(SET_DRAIN) /* what is still on its way reaches us; the proxy finishes. Has a result */   \
	X(CLEAR_DRAIN)                                                                             \
	X(TICKLE)  /* tell the dead peer's clients */                                              \
	X(TELL)	   /* from, to, reason: log, events, the proxy's role */                           \
	X(ALARM)   /* alarm, on: changed */                                                        \
	X(STOPPED) /* after FSM_EV_STOP: nothing is held any more, the agent may exit */

/*
 * SEND goes to the witness as well when it is ACTIVE, CLAIM or RELEASE. The witness promises the
 * address to one node: to the asker when no other owner was heard, and nothing promised to another,
 * for times_promise_ns(), or when the other's RELEASE was the last it said. PEER_HOST comes as
 * often as it likes while it is true; no PEER_HOST within probe_ns of ASK_PEER means a dead host.
 *
 * With a kernel lease whoever has one must answer the peer's probe: SEND CLAIM adds the addresses
 * just before it leaves (and removes them when it is refused), and REMOVE_ADDRESSES drops the lease
 * before the addresses.
 *
 * LOAD_RULES: the flows that our own proxy has at that time count as seen.
 *
 * REFRESH_ADDRESSES: the agent looks at the clock just before. When the last adding or refreshing
 * is FSM_ADDRESS_LIFE_NS ago, it was frozen on the way and they are gone, perhaps to the peer: it
 * leaves them and reports ADDRESS_DELETED.
 */
enum fsm_action_kind {
#define X(name) FSM_DO_##name,
	FSM_ACTIONS(X)
#undef X
};

#define FSM_ALARMS(X)                                                                   \
	X(HELD, "held: the address is alive elsewhere though the owner is not heard")   \
	X(CANNOT_SERVE, "this node has the address and cannot serve, nor can the peer") \
	X(CONFLICT, "somebody else answers for the address, or asks for it")            \
	X(EPOCH, "the epoch cannot be stored: no claim is possible")                    \
	X(STUCK, "an address could not be removed")                                     \
	X(WITNESS, "the witness refuses or is silent: no claim is possible")            \
	X(FENCE, "the fence hook failed: no claim is possible")                         \
	X(HOOK, "the claim hook failed: the address was given up")

enum fsm_alarm {
#define X(name, words) FSM_ALARM_##name,
	FSM_ALARMS(X)
#undef X
		FSM_ALARM_COUNT
};

struct fsm_action {
	enum fsm_action_kind kind;
	enum packet_kind packet;
	enum fsm_state from, to;
	enum fsm_reason reason;
	enum fsm_alarm alarm;
	bool on;
	uint32_t ticket;
	uint64_t epoch;
	uint64_t at_ns;
};

#define FSM_ACTIONS_MAX 24

struct fsm_actions {
	uint32_t count;
	uint64_t next_ns; /* give FSM_EV_TICK then: always set, at most a heartbeat ahead */
	struct fsm_action list[FSM_ACTIONS_MAX];
};

/* --- the machine --------------------------------------------------------------------------------
 */

struct fsm_config {
	struct times times;
	uint8_t node;		/* our id, 1-255 */
	uint8_t peer;		/* its id, another; 0: there is none */
	uint8_t prefer;		/* node id of the preferred one, 0: none */
	uint16_t group;		/* VRID, 1-255 */
	uint64_t failback_ns;	/* hand back after the preferred peer was good for this long; 0:
				   manual */
	uint64_t drain_ns;	/* draining ends after this, whatever is left */
	uint64_t stop_drain_ns; /* the same while the service stops; 0: drain_ns */
	/* What a claim needs beside the evidence. A claim by RELEASE needs neither of the first
	 * two: the peer itself says that it has let go. */
	bool witness;	 /* a third box must promise us the address, and hear us or the peer must */
	bool fence_hook; /* the peer must have been fenced */
	bool claim_hook; /* runs once the lease is ours; announced only after it */
};

/* The constants that are not a user's business. */
#define FSM_SETTLE_NS (1000 * UINT64_C(1000000)) /* all good for this long at boot */
#define FSM_READY_NS (200 * UINT64_C(1000000))	 /* the peer's time to get ready */
#define FSM_ADDRESS_LIFE_NS \
	(2000 * UINT64_C(1000000)) /* dead-man: what the addresses are added with */
#define FSM_REFRESH_NS (500 * UINT64_C(1000000))
#define FSM_HOST_NS (1000 * UINT64_C(1000000)) /* between two looks at a silent peer's host */
/* A gateway that died is missed by both, by the other up to a question later (net/gateway.h),
 * and by what a busy machine adds. */
#define FSM_GATEWAY_NS (1000 * UINT64_C(1000000))
#define FSM_WANT_NS (5000 * UINT64_C(1000000)) /* how long a wish to move is pursued */

/* What was heard of the peer, in the order in which it said it. */
struct fsm_peer {
	uint64_t boot_id; /* 0: never heard */
	uint64_t sent_ns;
	uint64_t heard_ns;
	uint64_t epoch;
	uint64_t good_since_ns; /* could take the address without a break since; 0: cannot */
	bool owner;		/* it said so with its last packet */
	uint64_t respect_ns;	/* nobody asks for as long after that; 0: it was none */
	enum fsm_state state;
	uint8_t flags;
	uint16_t health;
};

/* Read it for status; only fsm.c and its parts write it. */
struct fsm {
	struct fsm_config config;
	enum fsm_state state;
	enum fsm_reason reason; /* of the last change */
	uint64_t since_ns;	/* of the last change */
	uint64_t epoch;		/* of our last claim, or the highest heard: what we say */
	uint64_t stored_epoch;	/* durable: a claim takes at most this one */
	uint64_t storing_epoch; /* STORE_EPOCH under way; 0: none */
	uint64_t store_retry_ns;
	struct fsm_peer peer;

	/* our condition */
	bool link, gateway;
	bool unfenced; /* a claim would be refused, and a heartbeat of an owner */
	enum fsm_proxy proxy;
	struct damping damping;
	uint64_t good_since_ns; /* able without a break; 0: not */
	uint64_t gateway_ns;	/* it was found or lost then */

	/* orders */
	bool frozen, stopping, stopped;
	uint64_t frozen_until_ns; /* 0: until told */
	enum fsm_reason want;	  /* a move is wanted: why; REASON_NONE: none */
	uint64_t want_until_ns;

	/* time */
	uint64_t now_ns;  /* of the last event */
	uint64_t next_ns; /* the tick we asked for */
	uint64_t beat_ns; /* next heartbeat */
	uint64_t sent_ns; /* last heartbeat as the owner: the lease runs from here */

	/* taking */
	uint64_t owner_ns;	 /* somebody was last known to be the owner, or listening began */
	uint64_t retry_ns;	 /* no probe before */
	uint64_t void_ns;	 /* a RELEASE that may have been made before this is void */
	uint64_t yield_until_ns; /* we gave it away: the peer comes first */
	uint64_t probe_end_ns;	 /* UINT64_MAX: not sent yet */
	uint64_t window_end_ns;
	bool probing;	 /* PROBE_START without PROBE_STOP */
	bool by_release; /* the claim rests on the peer's RELEASE, not on a probe */
	bool claim_sent;
	uint32_t ticket;	   /* the last one that was given out */
	uint32_t witness_ticket;   /* ASK_WITNESS under way; 0: none */
	uint32_t fence_ticket;	   /* FENCE_PEER under way; 0: none */
	uint64_t promise_asked_ns; /* when the promise was asked for that we have; 0: none */
	bool fenced;		   /* the peer is, for this claim */
	bool tickle; /* the peer's clients are to be told once we have the address and no rules */

	/* having */
	bool address;	/* in place, as far as we know */
	bool contested; /* another owner was heard: announce again once it is none */
	uint8_t announce_left;
	uint64_t announce_ns;
	uint64_t refresh_ns;
	uint64_t conflict_until_ns;
	uint32_t hook_ticket; /* CLAIM_HOOK under way; 0: none. Nothing is announced meanwhile */
	uint64_t known_ns;    /* peer or witness knew us as the owner; our clock, when we said so */

	/* giving */
	uint64_t handover_ns;  /* none before: the last one failed */
	uint64_t ready_end_ns; /* HANDOVER: READY is awaited until */
	uint64_t drain_end_ns;
	bool removing;	   /* REMOVE_ADDRESSES under way */
	bool release_owed; /* RELEASE goes out when the address is gone */
	bool released;	   /* RELEASE is said until the peer has taken it */
	bool taken;	   /* DRAINING: the peer was heard to have the address since */
	bool drained;
	enum fsm_reason release_reason;

	/* second chance */
	bool rules, rules_pending; /* loaded; LOAD_RULES under way */
	bool ready_owed;	   /* READY goes out when the rules are loaded */
	uint64_t rules_end_ns;
	bool host_lives;      /* the peer is heard, or its host answered since it was asked last */
	uint64_t host_end_ns; /* until when it may answer */

	uint32_t alarms; /* bit a: enum fsm_alarm a */
};

/*
 * Starts in INIT. stored_epoch is what the disk says (0: nothing). What is left of the addresses
 * from an earlier life is the agent's to remove before. Call fsm_step with FSM_EV_TICK at once
 * after it.
 */
void fsm_init(
	struct fsm *m, const struct fsm_config *config, uint64_t stored_epoch, uint64_t now_ns);
/* Another configuration of the same pair and group, which are not to change. An owner's lease ends
 * as it would have ended, until it is renewed: call fsm_step soon. What a witness is to confirm of
 * an owner counts from now. */
void fsm_configure(struct fsm *m, const struct fsm_config *config, uint64_t now_ns);
/* out is written whole. */
void fsm_step(struct fsm *m, const struct fsm_event *ev, uint64_t now_ns, struct fsm_actions *out);

/*
 * The fields of a packet that the machine knows: kind, state, reason, flags (but HEARS_YOU and
 * CONFIG_MISMATCH), group, node, epoch, health, preference, lease_left_ms. The rest is zeroed for
 * the agent (config_hash, connections, key_id) and replay_stamp to fill.
 */
void fsm_packet(const struct fsm *m, const struct fsm_action *send, uint64_t now_ns,
	struct packet *ret_packet);

/*
 * Whether FSM_EV_SWITCHOVER would do anything: REASON_NONE, or why not (for the operator's answer).
 * STILL_DRAINING: it can be asked again when the node that gave the address away last has finished.
 */
enum fsm_reason fsm_switchover_check(const struct fsm *m, uint64_t now_ns);
/* Heard on any path within the silence time. */
bool fsm_peer_alive(const struct fsm *m, uint64_t now_ns);
static inline bool fsm_alarm_on(const struct fsm *m, enum fsm_alarm alarm)
{
	return m->alarms >> alarm & 1;
}
/* Why a proxy in this state serves nobody; REASON_NONE: it is well. */
enum fsm_reason fsm_proxy_reason(enum fsm_proxy proxy);
const char *fsm_event_name(enum fsm_event_kind kind);
const char *fsm_action_name(enum fsm_action_kind kind);
const char *fsm_alarm_name(enum fsm_alarm alarm);
const char *fsm_alarm_words(enum fsm_alarm alarm);
