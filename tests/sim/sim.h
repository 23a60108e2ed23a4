/*
 * The simulator: two nodes run the shipped state machine, packets and replay protection over a
 * network and kernels made of a few lines each, under a schedule of faults drawn from a seed. The
 * same seed is the same run, to the nanosecond.
 *
 *   schedule.c  what happens, from the seed
 *   world.c     time, the paths, the faults' effects
 *   lan.c       the client network, the witness and the hooks: who is asked, who answers
 *   kernel.c    lease, claim window, addresses, second chance, and the connections they carry
 *   node.c      the agent's part: actions done in order, results brought back
 *   check.c     what must hold
 */
#pragma once

#include "failover/core/fsm.h"
#include "failover/core/replay.h"
#include "shared/assert.h"
#include "shared/rng.h"
#include "shared/units.h"

#include <stdio.h>

#define NODES 2
#define PATHS_MAX 3
#define FAULTS_MAX 16
#define EVENTS_MAX 4096
#define FLYING_MAX 4096
#define INBOX_MAX 400 /* what a socket's buffer holds, about */
#define RESULTS_MAX 32
#define GROUP 51
#define NEVER UINT64_MAX

/* --- the schedule --------------------------------------------------------------------------- */

#define FAULTS(X)            \
	X(PATH_LOSS)         \
	X(PATH_CUT)          \
	X(PATH_DELAY)        \
	X(PATH_DUPLICATE)    \
	X(ALL_PATHS_CUT)     \
	X(LAN_CUT)           \
	X(SPLIT)             \
	X(FREEZE)            \
	X(FREEZE_IN_ACTION)  \
	X(AGENT_KILLED)      \
	X(HOST_DEAD)         \
	X(PROXY_DEAD)        \
	X(PROXY_HUNG)        \
	X(LINK_DOWN)         \
	X(GATEWAY_LOST)      \
	X(FENCE_LOST)        \
	X(SWITCHOVER)        \
	X(OPERATOR_FREEZE)   \
	X(SERVICE_STOP)      \
	X(VIP_DELETED)       \
	X(EPOCH_UNSTORABLE)  \
	X(ADDRESS_UNADDABLE) \
	X(ADDRESS_STUCK)     \
	X(CLAIM_REFUSED)     \
	X(LEASE_REFUSED)     \
	X(RULES_FAIL)        \
	X(CONFLICT)          \
	X(SUSPENDED)         \
	X(VM_PAUSED)         \
	X(WITNESS_CUT)       \
	X(WITNESS_RESTARTED) \
	X(HOOKS_FAIL)        \
	X(REPLAY)

enum fault_kind {
#define X(name) FAULT_##name,
	FAULTS(X)
#undef X
};
#define FAULT_KIND_COUNT (FAULT_REPLAY + 1)

struct fault {
	enum fault_kind kind;
	uint64_t at_ns, end_ns;
	uint8_t node;
	uint8_t path;
	uint8_t dirs; /* bit 0: from node 0, bit 1: from node 1 */
	uint8_t pct;
	bool disk_lost;
	uint64_t extra_ns;
};

/* What fences a node: the kernel's lease, or only that its agent removes the address. */
enum fence { FENCE_DRAWN, FENCE_KERNEL, FENCE_ADDRESS };

struct schedule {
	uint64_t seed;
	enum fence fence;
	bool witness, fence_hook, claim_hook;
	bool on_wire;			    /* packets are encoded and decoded on their way */
	bool whole;			    /* runs to its end though all is quiet */
	enum times_profile profiles[NODES]; /* two configurations need not be the same */
	struct times slowest;		    /* of both */
	uint32_t nodes, paths;
	uint8_t prefers[NODES];
	uint64_t drain_ns[NODES];
	uint64_t failback_ns;
	int32_t ppm[NODES];
	uint64_t offset_ns[NODES], start_ns[NODES];
	uint64_t path_delay_ns[PATHS_MAX], path_jitter_ns[PATHS_MAX];
	uint64_t lan_delay_ns;
	int dead_at_end; /* node that stays dead for good, -1: none */
	uint32_t fault_count;
	struct fault faults[FAULTS_MAX];
	uint64_t healed_ns;  /* no fault after this */
	uint64_t settled_ns; /* by then one owner serves */
	uint64_t end_ns;
};

void schedule_make(struct schedule *sc, uint64_t seed, enum fence fence);
void schedule_print(const struct schedule *sc, uint64_t mask);
const char *fault_name(enum fault_kind kind);
/* From the last fault to one owner that serves: see doc/failover.md. */
uint64_t settle_bound_ns(const struct schedule *sc);

/* --- mutations: the simulator must notice each ----------------------------------------------- */

#define MUTATIONS(X)                                                                         \
	X(none, "the shipped behaviour")                                                     \
	X(deaf_to_answers, "answers to the address probe are thrown away")                   \
	X(deaf_to_probes, "the peer's probes are thrown away")                               \
	X(lazy_disk, "epochs are not stored though reported so")                             \
	X(stopped_clock, "a frozen agent's clock stands still: no self-fence")               \
	X(early_release, "the address is removed 100 ms after it is reported removed")       \
	X(slow_lan, "the client network is slower than the probe allows for")                \
	X(trusting, "replayed and duplicated packets are accepted")                          \
	X(old_release, "a RELEASE counts as fresh however old it is")                        \
	X(no_deadman, "addresses have no lifetime")                                          \
	X(deaf, "packets of an owner are thrown away")                                       \
	X(no_probe, "the address probe is not sent though reported so")                      \
	X(one_way_revocation, "b's probe does not revoke a's claim, nor does b wait for it") \
	X(renew_after_expiry, "a heartbeat renews a lease that ran out")                     \
	X(window_ignored, "a claim leaves without an open claim window")                     \
	X(long_lease, "the kernel's lease is longer than the silence")                       \
	X(lease_kept, "removing the addresses leaves the lease")                             \
	X(lease_before_address, "the lease is opened before the address is there")           \
	X(rules_late, "the second chance begins 5 ms after it is reported loaded")           \
	X(no_rules, "the second chance is never loaded though reported so")                  \
	X(no_drain, "what still reaches a node that gave the address away is fenced")        \
	X(tickle_early, "clients are told while the second chance is loaded")                \
	X(mute, "clients of a dead host are not told")                                       \
	X(deaf_to_hosts, "a living host of the peer is taken for dead")                      \
	X(witness_ignored, "the witness's refusal is taken for a promise")                   \
	X(unheard, "an owner whom nobody hears stays one")                                   \
	X(fence_ignored, "a failed fence hook is taken for a good one")                      \
	X(pause_unseen, "an agent is not told that its clock stood still")

enum mutation {
#define X(name, what) MUTATE_##name,
	MUTATIONS(X)
#undef X
		MUTATION_COUNT
};

/* --- the world ------------------------------------------------------------------------------ */

struct datagram {
	struct packet packet;
	uint64_t made_ns; /* true time; for the checks only */
};

enum input_kind { INPUT_DATAGRAM, INPUT_EVENT };

struct input {
	enum input_kind kind;
	uint32_t number; /* the datagram's slot; PROBE_ANSWERED: of which probe */
	struct fsm_event event;
};

/* What the kernel enforces, also while the agent is frozen or gone. True time. */
struct kernel {
	uint64_t lease_until_ns, claim_until_ns, address_until_ns;
	uint64_t rules_from_ns; /* NEVER: not loaded */
	bool drain;
	bool flows; /* the proxy has connections that it accepted here */
};

/* An agent and the host it runs on. */
struct node {
	uint8_t index;
	/* host and kernel */
	bool host_up, link, gateway, fence;
	enum fsm_proxy proxy;
	struct kernel kernel;
	struct times times;
	uint64_t lease_ns; /* the lease in true time, by this node's clock */
	uint64_t disk_epoch;
	uint64_t paused_ns; /* everything stands still since; 0: no */
	uint64_t stood_ns;  /* for how long it did, in all */
	/* the agent */
	bool running;
	bool start_owed;  /* once it no longer stands still */
	uint64_t wake_ns; /* true time at which the agent wants to run */
	uint64_t frozen_until_ns;
	uint64_t slept_ns; /* MUTATE_stopped_clock */
	struct fsm fsm;
	struct replay replay;
	struct fsm_actions todo;
	uint32_t todo_at;
	struct fsm_event results[RESULTS_MAX];
	uint32_t result_count;
	struct input *inbox; /* INBOX_MAX, a ring */
	uint32_t inbox_head, inbox_count;
	uint32_t probe; /* number of the probe under way; even: none */
	bool freeze_armed;
	uint64_t freeze_for_ns;
	/* faults in force */
	bool epoch_fails, add_fails, remove_fails, claim_refused, lease_refused, rules_fail;
	bool hooks_fail;
};

/* The third box. */
struct witness {
	uint32_t cut[NODES];
	int holder; /* to whom the address is promised, or who said that it has it; -1: nobody */
	uint64_t holder_epoch;
	uint64_t heard_ns;	     /* from the holder, or when the memory was lost */
	uint64_t said_ns[NODES][32]; /* the nodes' clocks when they said so, a ring */
	uint32_t said[NODES];
};

enum what {
	WHAT_DATAGRAM,
	WHAT_PROBE,	/* send it */
	WHAT_PROBE_IN,	/* it arrives at node */
	WHAT_ANSWER_IN, /* the answer arrives at node */
	WHAT_HOST_IN,	/* a question for the node's own address arrives there */
	WHAT_HOST_ANSWER,
	WHAT_WITNESS_ASKED,  /* by node; ticket */
	WHAT_WITNESS_SAYS,   /* to node; ticket and, in the lowest bit, its answer */
	WHAT_WITNESS_HEARS,  /* an owner's heartbeat, of node; its place in said_ns */
	WHAT_WITNESS_ECHOES, /* to node */
	WHAT_WITNESS_FREES,  /* node said RELEASE */
	WHAT_FENCE_HOOK,     /* of node is done; ticket */
	WHAT_CLAIM_HOOK,
	WHAT_DRAINED, /* the last connection of node is gone; number of the draining */
	WHAT_RESUMED, /* 1: the agent can see that it was suspended */
	WHAT_BACK,    /* a fenced host */
	WHAT_TAKEN,   /* by then node has taken over */
	WHAT_TOLD,    /* by then node has told the clients of the dead peer */
	WHAT_FAULT,
	WHAT_FAULT_END,
	WHAT_START,
	WHAT_DEATH, /* of dead_at_end */
	WHAT_TAPE,  /* the eavesdropper plays back something that node once sent */
	WHAT_SETTLED,
	WHAT_QUIET,  /* perhaps it can end here */
	WHAT_REMOVE, /* MUTATE_early_release */
};

struct event {
	uint64_t at_ns, order;
	enum what what;
	uint8_t node;
	uint32_t arg; /* fault number, probe number, or datagram slot */
};

/* What check.c remembers; times are true unless they say local. */
struct check {
	uint64_t probe_begin_local_ns[NODES]; /* NEVER: none counts */
	bool probe_answered[NODES];
	bool probe_blind[NODES];	 /* something of it was lost on the way */
	bool claim_froze[NODES];	 /* the agent stood still between deciding and having */
	uint64_t release_made_ns[NODES]; /* of the freshest RELEASE heard; NEVER: none */
	uint64_t claim_epoch[NODES];
	uint64_t claim_ns[NODES], had_ns[NODES];
	uint64_t stuck_until_ns[NODES];
	uint64_t stale_until_ns[NODES]; /* it stood still and may act on old evidence */
	bool addressless[NODES];	/* somebody deleted the address under the lease */
	bool promised[NODES], fenced[NODES];
	bool by_probe[NODES];			  /* its last claim was */
	uint64_t died_ns[NODES], asked_ns[NODES]; /* the host; the question for the peer's */
	bool host_blind[NODES];	  /* of its question for the peer's host something was lost */
	bool rules_failed[NODES]; /* it has no second chance to give, since its last claim */
	bool heard_off[NODES];	  /* when it began to claim, the peer had called its proxy off */
	bool split_flows;	  /* both had the address */
	bool untold[NODES];	  /* of this dead host; told by the other */
	uint64_t flows_cut;	  /* by what no design can help */
	uint32_t takeover_faults; /* how many faults were seen when one began that is timed */
	uint32_t moves;		  /* planned moves that were completed */
	uint64_t dual_ns;	  /* both have the address, or think so, since; NEVER: no */
	uint64_t dual_total_ns;
	bool dual_excused;
	uint64_t joined_ns; /* both run and hear each other without fault since; NEVER: no */
	uint64_t calm_ns;   /* no fault in force since; NEVER: one is */
	uint64_t ended_ns;  /* the last fault */
	uint32_t faults_on, faults_seen;
	uint64_t claims;
	uint64_t taken; /* claims that made an owner */
	char failure[256];
};

struct world {
	const struct schedule *sc;
	uint64_t mask; /* which faults happen */
	enum mutation mutation;
	bool trace, trace_packets;
	struct rng rng;
	bool kernel; /* the lease fences */
	bool taping; /* somebody will play recordings */
	bool dirty;  /* something changed that the checks look at */
	bool over;
	uint64_t now_ns;
	struct node nodes[NODES];
	struct witness witness;
	uint32_t drain_number[NODES];
	struct input inboxes[NODES][INBOX_MAX];
	/* network, by direction (who sends) */
	uint32_t path_cut[PATHS_MAX][NODES];
	uint8_t path_loss_pct[PATHS_MAX][NODES];
	uint64_t path_extra_ns[PATHS_MAX][NODES];
	uint8_t path_dup_pct[PATHS_MAX][NODES];
	uint32_t lan_cut[NODES];
	struct datagram tape[NODES][64]; /* an eavesdropper's */
	uint32_t tape_count[NODES];
	/* what is to come */
	struct event heap[EVENTS_MAX];
	uint32_t heap_count;
	uint64_t heap_order;
	struct datagram flying[FLYING_MAX];
	uint32_t free_slots[FLYING_MAX];
	uint32_t free_count;
	struct check check;
	uint64_t steps;
};

/* Runs one schedule; true when everything held, else w->check.failure says what did not. */
bool world_run(struct world *w, const struct schedule *sc, uint64_t mask, enum mutation mutation,
	bool trace, bool trace_packets);
void world_at(struct world *w, uint64_t at_ns, enum what what, uint8_t node, uint32_t arg);
void world_send(struct world *w, struct node *n, const struct packet *p);
void world_free(struct world *w, uint32_t slot);
void world_trace(const struct world *w, const struct node *n, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Uniform enough in [0, bound), without a division. */
static inline uint64_t pick(struct rng *r, uint64_t bound)
{
	return (uint64_t)((unsigned __int128)rng_u64(r) * bound >> 64);
}

/* --- the client network, the witness, the hooks ----------------------------------------------- */

void lan_probe(struct world *w, struct node *n);
void lan_ask_host(struct world *w, struct node *n);
void lan_happen(struct world *w, struct node *n, enum what what, uint32_t arg);
void witness_init(struct world *w);
void witness_ask(struct world *w, struct node *n, uint32_t ticket);
/* The node says ACTIVE, CLAIM or RELEASE. */
void witness_tell(struct world *w, struct node *n, enum packet_kind kind);
void witness_happen(struct world *w, struct node *n, enum what what, uint32_t arg);
void hook_run(struct world *w, struct node *n, enum what what, uint32_t ticket);
void hook_done(struct world *w, struct node *n, enum what what, uint32_t ticket);

/* --- the kernel ------------------------------------------------------------------------------- */

/* Answers for the address: it is there, and the lease if that fences. */
bool kernel_answers(const struct world *w, const struct node *n);
/* May send and receive for it: with a lease that is the lease. */
bool kernel_holds(const struct world *w, const struct node *n);
void kernel_reset(struct node *n);
bool kernel_claim(struct world *w, struct node *n);
/* A heartbeat of the owner leaves: false when the kernel refuses it. */
bool kernel_renew(struct world *w, struct node *n);
void kernel_open_claim(struct world *w, struct node *n, uint64_t for_ns);
void kernel_revoke(struct world *w, struct node *n);
void kernel_add(struct world *w, struct node *n);
void kernel_remove(struct world *w, struct node *n);
void kernel_stood_still(struct world *w, struct node *n, uint64_t ns);
/* Where do the connections go now? */
void kernel_flows(struct world *w);

/* --- the agent ------------------------------------------------------------------------------ */

void node_start(struct world *w, struct node *n);
/* The process ends at once; the kernel keeps the address. */
void node_kill(struct world *w, struct node *n);
void node_freeze(struct world *w, struct node *n, uint64_t for_ns);
void node_pause(struct world *w, struct node *n, uint64_t for_ns, bool seen);
void node_resume(struct world *w, struct node *n, bool seen);
/* Puts something where the agent finds it when it runs; dropped when there is no room or no agent.
 */
struct input *node_input(struct world *w, struct node *n, enum input_kind kind);
void node_event(struct world *w, struct node *n, struct fsm_event ev);
/* Everything the agent can do at this instant. */
void node_run(struct world *w, struct node *n);
uint64_t node_clock(const struct world *w, const struct node *n, uint64_t true_ns);
/* Its host runs and its link is up. */
static inline bool node_up(const struct node *n)
{
	return n->host_up && n->link && n->paused_ns == 0;
}
static inline struct node *node_peer(struct world *w, const struct node *n)
{
	return &w->nodes[1 - n->index];
}
/* Calls itself the owner. */
bool node_owns(const struct node *n);

/* --- what must hold ------------------------------------------------------------------------- */

void check_fail(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_init(struct world *w);
/* The node starts to claim, by probe or by RELEASE; and it no longer does. */
void check_claim_begins(struct world *w, const struct node *n);
void check_claim_ends(struct world *w, const struct node *n);
void check_claim(struct world *w, const struct node *n);
void check_froze(struct world *w, const struct node *n);
/* A kernel has just given a lease: not even for an instant may the other have one. */
void check_lease(struct world *w);
/* After everything that could happen at this instant. */
void check_instant(struct world *w);
void check_fault(struct world *w, bool on);
void check_settled(struct world *w);
void check_taken(struct world *w, const struct node *n);
void check_tell_by(struct world *w, const struct node *n);
void check_told(struct world *w, const struct node *n, uint32_t claim);
void check_tickle(struct world *w, const struct node *n);
void check_drained(struct world *w, const struct node *n);
void check_resumed(struct world *w, const struct node *n, bool seen);
/* A fault begins that the other node must answer in time. */
void check_timed(struct world *w, const struct fault *f);
void check_end(struct world *w);
