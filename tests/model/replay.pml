/*
 * What was recorded is never taken for the peer.
 *
 * A sender with a boot_id and numbers that start again at each boot, a receiver that challenges
 * whom it does not know with a number of its own, and an eavesdropper who plays back anything that
 * was ever sent, at any time. The receiver accepts a boot_id once it echoes a number of ours that
 * is newer than any echoed so far, and then only larger numbers. What it accepts was made later than
 * all that it accepted before.
 *   BOOT_REUSED   a boot may come with a boot_id that was used before
 *   NO_CHALLENGE  a new boot_id is believed at once
 *   ANY_ECHO      an echo counts however old the number is that it echoes
 */
#define BOOTS 3
#define SEQS 3
#define ECHOES 3

typedef packet { byte of_boot; byte of_seq; byte of_echo; byte of_made }

packet tape[2];
byte taped, made, newest;	 /* the order in which packets were made; of the last accepted */
byte boot = 1, boots = 1, seq, heard; /* the sender; heard: our number that it knows */
byte mine = 1, floor;		 /* the receiver: our numbers, the highest echoed to us */
byte known, last;		 /* the boot_id and the number accepted last */

inline accept(b, s, e, m)
{
	if
	:: b == known && s > last ->
		assert(m > newest);
		newest = m; last = s;
		if :: e > floor -> floor = e :: else fi
#ifdef NO_CHALLENGE
	:: b != known ->
#elif defined(ANY_ECHO)
	:: b != known && e > 0 ->
#else
	:: b != known && e > floor ->
#endif
		assert(m > newest);
		newest = m; known = b; last = s;
		if :: e > floor -> floor = e :: else fi
	:: else
	fi
}

active proctype sender()
{
	do
	:: atomic { seq < SEQS ->
		seq++; made++;
		if
		:: taped < 2 ->
			tape[taped].of_boot = boot; tape[taped].of_seq = seq;
			tape[taped].of_echo = heard; tape[taped].of_made = made; taped++
		:: skip
		fi;
		if
		:: accept(boot, seq, heard, made)
		:: skip /* lost */
		fi }
	:: atomic { heard < mine -> heard = mine } /* ours arrived there */
	:: atomic { mine < ECHOES -> mine++ }
	:: atomic { boots < BOOTS ->
		boots++; seq = 0; heard = 0;
#ifdef BOOT_REUSED
		if :: boot = boots :: boot = 1 fi
#else
		boot = boots
#endif
		}
	:: break
	od
}

/* A copy of what has arrived is a duplicate: refused by its number, which is the first case above. */
active proctype eavesdropper()
{
	byte i;

	do
	:: atomic { taped > 0 ->
		if :: i = 0 :: i = taped - 1 fi;
		accept(tape[i].of_boot, tape[i].of_seq, tape[i].of_echo, tape[i].of_made) }
	:: break
	od
}
