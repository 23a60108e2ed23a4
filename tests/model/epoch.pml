/*
 * An epoch is claimed once.
 *
 * One node that stores the epoch of its next claim and then claims, and that may lose power between
 * any two steps and comes back with what its disk says; the disk keeps what was stored before the
 * power went, and may take its time. Its peer claims as well, and is heard or not.
 *   CLAIM_FIRST   the claim leaves before the disk has the epoch
 *   NOT_SYNCED    "stored" is said before it is durable
 */
#define LAST 5

byte disk, cache, own, peer, claimed;

active proctype node()
{
	byte next;

start:	atomic { own = disk; cache = disk }
	do
	:: atomic { peer < LAST && own < LAST -> if :: own < peer -> own = peer :: else fi }
	:: own < LAST ->
		next = own + 1;
#ifdef CLAIM_FIRST
		goto claim;
#endif
store:		if
		:: cache = next
		:: goto start
		fi;
#ifndef NOT_SYNCED
		if
		:: disk = cache
		:: goto start
		fi;
#endif
claim:		if
		:: atomic { assert(next > claimed); claimed = next; own = next }
		:: goto start
		fi;
#ifdef CLAIM_FIRST
		disk = next
#endif
	:: disk = cache
	:: goto start
	od
}

active proctype other() { do :: peer < LAST -> peer++ :: break od }
