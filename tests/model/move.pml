/*
 * A planned move ends, and so does draining.
 *
 * Node 0 has the address and is told to move it; either may lose any packet, and a packet arrives
 * before the next tick or never. Node 1 may refuse, its rules may fail to load, and connections may
 * stay for ever. What is checked, for every fair run (time goes on, and not every packet is lost):
 *   never two owners, nobody resets a connection (the rules are loaded before the address moves);
 *   HANDOVER ends: node 0 keeps the address, or it has left;
 *   once it left, somebody has it again;
 *   DRAINING ends.
 * Left out with -D:
 *   NO_READY_LIMIT   READY is awaited for ever
 *   NO_DRAIN_LIMIT   draining waits for the last connection
 *   RULES_AFTER      READY is said before the rules are loaded
 *   RELEASE_FIRST    RELEASE is said before the fence
 *   NO_SILENCE       node 1 takes the address by RELEASE only
 */
mtype = { NONE, PREPARE, READY, REFUSE, RELEASE, ACTIVE, STANDBY };
mtype = { Standby, Active, Handover, Draining };

#define READY_LIMIT 2
#define SILENCE 3
#define DRAIN_LIMIT 4

mtype state0 = Active, state1 = Standby;
bool have0 = true, have1, rules1, wanted, gone, moved;
byte waited, drained_for, silence1;
mtype to0 = NONE, to1 = NONE;

/* The kernel: node 1 gets what belongs to node 0's connections. */
inline take()
{
	atomic {
		assert(!have0);
		assert(rules1 || !moved);
		have1 = true;
		state1 = Active;
		to0 = ACTIVE
	}
}

inline lose_or(channel, packet) { if :: channel = packet :: channel = NONE fi }

proctype node0()
{
	do
	:: atomic { state0 == Active && !wanted ->
		wanted = true; state0 = Handover; waited = 0; lose_or(to1, PREPARE) }
	:: atomic { state0 == Handover && to0 == READY ->
		to0 = NONE;
#ifdef RELEASE_FIRST
		lose_or(to1, RELEASE)
	}
	atomic {
#endif
		have0 = false; moved = true; state0 = Draining; drained_for = 0;
		lose_or(to1, RELEASE) }
	:: atomic { state0 == Handover && to0 == REFUSE -> to0 = NONE; state0 = Active }
#ifndef NO_READY_LIMIT
	:: atomic { state0 == Handover && waited >= READY_LIMIT -> to0 = NONE; state0 = Active }
#endif
	:: atomic { state0 == Draining && gone -> state0 = Standby }
#ifndef NO_DRAIN_LIMIT
	:: atomic { state0 == Draining && drained_for >= DRAIN_LIMIT -> state0 = Standby }
#endif
	od
}

proctype node1()
{
	do
	:: atomic { to1 == PREPARE ->
		to1 = NONE;
		silence1 = 0;
		if
		:: lose_or(to0, REFUSE)
#ifdef RULES_AFTER
		:: lose_or(to0, READY)
#else
		:: rules1 = true; lose_or(to0, READY)
#endif
		fi }
	:: atomic { to1 == RELEASE && state1 == Standby -> to1 = NONE; take() }
#ifndef NO_SILENCE
	/* The probe is not answered, for the fence has been; the strays' rules as in an agent's death. */
	:: atomic { silence1 >= SILENCE && state1 == Standby && !have0 -> rules1 = true; take() }
#endif
	:: atomic { to1 == RELEASE && state1 == Active -> to1 = NONE }
	:: atomic { to1 == ACTIVE -> to1 = NONE; silence1 = 0 }
	od
}

/* Heartbeats repeat what each is. A tick comes when all that was sent has arrived or was lost. */
proctype time()
{
	do
	:: atomic { (to0 == NONE || state0 != Handover) && to1 == NONE ->
		to0 = NONE;
		if :: state0 == Handover && waited < READY_LIMIT -> waited++ :: else fi;
		if :: state0 == Draining && drained_for < DRAIN_LIMIT -> drained_for++ :: else fi;
		if :: silence1 < SILENCE -> silence1++ :: else fi;
		if
		:: have0 && silence1 < SILENCE -> lose_or(to1, ACTIVE)
		:: state0 == Draining && !have1 -> lose_or(to1, RELEASE)
		:: else
		fi }
	od
}

proctype connections() { if :: gone = true :: skip fi }

init { atomic { run node0(); run node1(); run time(); run connections() } }

ltl handover_ends { [] (state0 == Handover -> <> (state0 != Handover)) }
ltl somebody_has_it { [] (!have0 && !have1 -> <> (have0 || have1)) }
ltl draining_ends { [] (state0 == Draining -> <> (state0 != Draining)) }
