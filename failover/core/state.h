/*
 * The states of a group and the reasons for changing them: one list each, from which the enums, the
 * names in logs and status, and the wire values come.
 */
#pragma once

/* Wire value, name, what it means. Also the words of the status socket. */
#define FSM_STATES(X)                                                                    \
	X(0, INIT, "waiting for link, gateway and proxy to be good for a while")         \
	X(1, STANDBY, "listening; takes the address when nobody has it")                 \
	X(2, PROBING, "asking the client network whether anybody still has the address") \
	X(3, ACTIVE, "has the address")                                                  \
	X(4, HANDOVER, "has the address and is giving it to the peer")                   \
	X(5, DRAINING, "gave the address away, finishing connections")                   \
	X(6, FAULT, "cannot serve")

enum fsm_state {
#define X(value, name, meaning) FSM_##name = (value),
	FSM_STATES(X)
#undef X
};
#define FSM_STATE_LAST FSM_FAULT

/* Wire value, name, words for people. */
#define FSM_REASONS(X)                                                                     \
	X(0, NONE, "no reason")                                                            \
	X(1, STARTED, "started")                                                           \
	X(2, ALL_GOOD, "link, gateway and proxy are good")                                 \
	X(3, PEER_SILENT, "peer silent on all paths")                                      \
	X(4, NO_OWNER, "nobody has the address and it is this node's turn")                \
	X(5, NO_PEER, "no peer is configured")                                             \
	X(6, PEER_RELEASED, "the peer released the address")                               \
	X(7, PROBE_SILENT, "address probe unanswered")                                     \
	X(8, PROBE_ANSWERED, "address probe answered: somebody has the address")           \
	X(9, PROBE_FAILED, "the address probe could not be sent")                          \
	X(10, PEER_PROBING, "the peer is probing for the address itself")                  \
	X(11, PEER_ACTIVE, "the peer has the address")                                     \
	X(12, PEER_WINS, "the peer has the address with a later claim")                    \
	X(13, TIE_YIELDED, "the peer claimed at the same time and has the higher node id") \
	X(14, CLAIM_LATE, "the evidence for the claim became too old")                     \
	X(15, CLAIM_REFUSED, "the kernel refused the claim")                               \
	X(16, LEASE_LOST, "the kernel refused the heartbeat: the lease ran out")           \
	X(17, FROZEN, "this agent did not run for longer than the lease")                  \
	X(18, EPOCH_FAILED, "the epoch could not be stored")                               \
	X(19, LINK_DOWN, "the client interface has no carrier")                            \
	X(20, GATEWAY_LOST, "the gateway does not answer")                                 \
	X(21, PROXY_DEAD, "the proxy died")                                                \
	X(22, PROXY_HUNG, "the proxy does not answer")                                     \
	X(23, PROXY_ABSENT, "no proxy is connected")                                       \
	X(24, ADDRESS_FAILED, "an address could not be added")                             \
	X(25, ADDRESS_CONFLICT, "somebody else uses the address")                          \
	X(26, OPERATOR, "ordered by the operator")                                         \
	X(27, STOPPING, "this agent is stopping")                                          \
	X(28, FAILBACK, "the preferred node has been good for long enough")                \
	X(29, PEER_WANTS, "the peer asked for the address")                                \
	X(30, NOT_READY, "the peer did not get ready in time")                             \
	X(31, PEER_REFUSED, "the peer refused to take the address")                        \
	X(32, PEER_CANNOT, "the peer cannot take the address")                             \
	X(33, NOT_OWNER, "this node does not have the address")                            \
	X(34, FROZEN_BY_OPERATOR, "frozen by the operator")                                \
	X(35, FENCED, "the address is gone from here")                                     \
	X(36, DRAINED, "no connection is left")                                            \
	X(37, DRAIN_TIMEOUT, "the time for draining is over")                              \
	X(38, RULES_FAILED, "the second-chance rules could not be loaded")                 \
	X(39, PAUSED, "the clock of this node stood still: it was suspended")              \
	X(40, WITNESS_REFUSED, "the witness refused: another node has the address")        \
	X(41, WITNESS_SILENT, "the witness did not answer")                                \
	X(42, FENCE_FAILED, "the fence hook failed")                                       \
	X(43, CLAIM_HOOK_FAILED, "the claim hook failed")                                  \
	X(44, UNHEARD, "neither the peer nor the witness hears this node")                 \
	X(45, STILL_DRAINING, "the connections of the last move are not finished yet")     \
	X(46, ADVERT_SILENT, "no advertisement for the Active_Down_Interval")              \
	X(47, PEER_LEFT, "the peer gave it up with priority 0")                            \
	X(48, PREEMPTS, "the peer has the lower priority")                                 \
	X(49, PRIORITY_HIGH, "the peer advertises a higher priority")                      \
	X(50, TIE_LOST, "the peer advertises the same priority from a higher address")     \
	X(51, PRIORITY_LOW, "the peer's priority is not lower, and VRRP cannot ask it")    \
	X(52, NO_FENCE, "what would keep this node from using lost addresses does not work")

enum fsm_reason {
#define X(value, name, words) REASON_##name = (value),
	FSM_REASONS(X)
#undef X
};
#define FSM_REASON_LAST REASON_NO_FENCE

/* "ACTIVE" */
const char *fsm_state_name(enum fsm_state state);
/* "peer silent on all paths" */
const char *fsm_reason_words(enum fsm_reason reason);
/* "PEER_SILENT": stable, for fields of events. */
const char *fsm_reason_name(enum fsm_reason reason);
