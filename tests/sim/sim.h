/*
 * The simulator: two nodes run the shipped state machine, packets and replay protection over a
 * network and kernels made of a few lines each, under a schedule of faults drawn from a seed. The
 * same seed is the same run, to the nanosecond.
 *
 *   schedule.c  what happens, from the seed
 *   world.c     time, network, kernels, the faults' effects
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
#define WIRE_MAX 128
#define EVENTS_MAX 8192
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

struct schedule {
	uint64_t seed;
	enum times_profile profile;
	uint32_t nodes, paths;
	uint8_t prefer;
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

void schedule_make(struct schedule *sc, uint64_t seed);
void schedule_print(const struct schedule *sc, uint64_t mask);
const char *fault_name(enum fault_kind kind);
/* From the last fault to one owner that serves: see doc/failover.md. */
uint64_t settle_bound_ns(const struct schedule *sc);

/* --- mutations: the simulator must notice each ----------------------------------------------- */

#define MUTATIONS(X)                                                                   \
	X(none, "the shipped behaviour")                                               \
	X(deaf_to_answers, "answers to the address probe are thrown away")             \
	X(deaf_to_probes, "the peer's probes are thrown away")                         \
	X(lazy_disk, "epochs are not stored though reported so")                       \
	X(stopped_clock, "a frozen agent's clock stands still: no self-fence")         \
	X(early_release, "the address is removed 100 ms after it is reported removed") \
	X(slow_lan, "the client network is slower than the probe allows for")          \
	X(trusting, "replayed and duplicated packets are accepted")                    \
	X(old_release, "a RELEASE counts as fresh however old it is")                  \
	X(no_deadman, "addresses have no lifetime")                                    \
	X(deaf, "packets of an owner are thrown away")

enum mutation {
#define X(name, what) MUTATE_##name,
	MUTATIONS(X)
#undef X
		MUTATION_COUNT
};

/* --- the world ------------------------------------------------------------------------------ */

struct datagram {
	uint8_t bytes[WIRE_MAX];
	uint16_t len;
	uint8_t path;
	uint64_t made_ns; /* true time; for the checks only */
};

enum input_kind { INPUT_DATAGRAM, INPUT_EVENT };

struct input {
	enum input_kind kind;
	struct fsm_event event;
	uint32_t probe; /* PROBE_ANSWERED: of which probe */
	struct datagram datagram;
};

/* An agent and the host it runs on. */
struct node {
	uint8_t index;
	/* host and kernel */
	bool host_up, link, gateway;
	enum fsm_proxy proxy;
	uint64_t address_until_ns;
	uint64_t disk_epoch;
	/* the agent */
	bool running;
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
};

enum what {
	WHAT_DATAGRAM,
	WHAT_PROBE,	/* send it */
	WHAT_PROBE_IN,	/* it arrives at node */
	WHAT_ANSWER_IN, /* the answer arrives at node */
	WHAT_FAULT,
	WHAT_FAULT_END,
	WHAT_START,
	WHAT_DEATH, /* of dead_at_end */
	WHAT_TAPE,  /* the eavesdropper plays back something that node once sent */
	WHAT_SETTLED,
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
	uint64_t claim_ns[NODES];
	uint64_t stuck_until_ns[NODES];
	uint64_t dual_ns; /* both have the address, or think so, since; NEVER: no */
	uint64_t dual_total_ns;
	bool dual_excused;
	uint64_t joined_ns; /* both run and hear each other without fault since; NEVER: no */
	uint64_t calm_ns;   /* no fault in force since; NEVER: one is */
	uint32_t faults_on, faults_seen;
	uint64_t claims;
	char failure[256];
};

struct world {
	const struct schedule *sc;
	uint64_t mask; /* which faults happen */
	enum mutation mutation;
	bool trace, trace_packets;
	struct rng rng;
	struct times times;
	uint64_t now_ns;
	struct node nodes[NODES];
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
	struct datagram flying[EVENTS_MAX];
	uint32_t free_slots[EVENTS_MAX];
	uint32_t free_count;
	struct check check;
	uint64_t steps;
};

/* Runs one schedule; true when everything held, else w->check.failure says what did not. */
bool world_run(struct world *w, const struct schedule *sc, uint64_t mask, enum mutation mutation,
	bool trace, bool trace_packets);
void world_at(struct world *w, uint64_t at_ns, enum what what, uint8_t node, uint32_t arg);
void world_send(struct world *w, struct node *n, uint32_t path, const struct datagram *d);
void world_trace(const struct world *w, const struct node *n, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* --- the agent ------------------------------------------------------------------------------ */

void node_start(struct world *w, struct node *n);
/* The process ends at once; the kernel keeps the address. */
void node_kill(struct world *w, struct node *n);
void node_freeze(struct world *w, struct node *n, uint64_t for_ns);
/* Puts something where the agent finds it when it runs; dropped when there is no room or no agent.
 */
struct input *node_input(struct node *n, enum input_kind kind);
void node_event(struct node *n, struct fsm_event ev);
/* Everything the agent can do at this instant. */
void node_run(struct world *w, struct node *n);
/* True time at which it wants to run. */
uint64_t node_wake_ns(const struct world *w, const struct node *n);
uint64_t node_clock(const struct world *w, const struct node *n, uint64_t true_ns);
bool node_has_address(const struct world *w, const struct node *n);

/* --- what must hold ------------------------------------------------------------------------- */

void check_fail(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_init(struct world *w);
/* The node starts to claim, by probe or by RELEASE; and it no longer does. */
void check_claim_begins(struct world *w, const struct node *n);
void check_claim_ends(struct world *w, const struct node *n);
void check_claim(struct world *w, const struct node *n);
void check_froze(struct world *w, const struct node *n);
/* After everything that could happen at this instant. */
void check_instant(struct world *w);
void check_fault(struct world *w, bool on);
void check_settled(struct world *w);
void check_end(struct world *w);
