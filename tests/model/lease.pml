/*
 * Never two leases.
 *
 * Two agents that may stand still anywhere for any time (any interleaving), heartbeats over two
 * paths that may be lost on either, kernels whose operations are atomic, and a client network that
 * carries a probe or an answer within one tick. Time is a process of its own: what it counts down
 * is what the kernels and the agents' clocks count.
 *
 * L lease, D silence, P wait for answers (more than two crossings), W claim window (more than P).
 * The safe order of the times is L < D, 2 crossings < P < W; -D changes them, and -D with a name
 * leaves an ingredient out:
 *   NO_GUARD       the kernel lets heartbeats and claims pass without lease and window
 *   NO_WINDOW      a claim needs no open window
 *   NO_PROBE       a claim after silence alone
 *   ONE_WAY        node 1's probe does not close node 0's window
 *   LAN_LOSS       the client network may lose a probe: the limit of what two boxes can know
 *   WITNESS        a third box promises the address to one of them
 *   STAYS          an owner whom the witness does not hear stays one
 *   COLD           nobody owns it at first
 */
#ifndef L
#define L 2
#endif
#ifndef D
#define D 3
#endif
#ifndef P
#define P 3
#endif
#ifndef W
#define W 4
#endif
#ifndef PROMISE
#define PROMISE (2 * L + 1)
#endif

byte lease[2], window[2];   /* the kernels: ticks left */
byte silence[2], asking[2]; /* the agents' clocks: up to D; ticks of P left */
bit heard[4];		    /* in the receive queue: path * 2 + node */
bit answered[2];
byte probe[2], answer[2];   /* on the client network: 0 none, 1 new, 2 a tick old */
#ifdef WITNESS
byte promised = 2, promise_left, known[2]; /* to whom, ticks; since when an owner was not heard */
bool reach[2];				   /* the witness hears it */
#endif

inline down(x) { if :: x > 0 -> x-- :: else fi }

inline carry(path, to)
{
	if :: heard[path * 2 + to] = 1 :: skip fi
}

#ifdef WITNESS
inline vouch(me)
{
	if
	:: reach[me] && (promised == me || promise_left == 0) ->
		promised = me; promise_left = PROMISE; known[me] = L
	:: else
	fi
}
#endif

inline send_active(me)
{
	atomic {
		if
#ifdef NO_GUARD
		:: true ->
#else
		:: lease[me] > 0 ->
#endif
			lease[me] = L; carry(0, 1 - me); carry(1, 1 - me)
#ifdef WITNESS
			; vouch(me)
#endif
#ifndef NO_GUARD
		:: else
#endif
		fi
	}
}

inline send_claim(me)
{
	atomic {
		if
#if defined(NO_GUARD) || defined(NO_WINDOW)
		:: true ->
#else
		:: window[me] > 0 ->
#endif
			lease[me] = L; window[me] = 0; carry(0, 1 - me); carry(1, 1 - me)
#ifdef WITNESS
			; vouch(me)
#endif
#if !defined(NO_GUARD) && !defined(NO_WINDOW)
		:: else -> window[me] = 0
#endif
		fi
	}
}

/* What waits in the queues is read before silence is believed. */
inline listen(me)
{
	atomic {
		if
		:: heard[me] || heard[2 + me] -> heard[me] = 0; heard[2 + me] = 0; silence[me] = 0
		:: else
		fi
	}
}

inline claim(me)
{
	atomic { window[me] = W; answered[me] = 0 }
#ifndef NO_PROBE
	atomic { probe[me] = 1; asking[me] = P }
	(asking[me] == 0);
#endif
#ifdef WITNESS
	atomic {
		if
		:: reach[me] && (promised == me || promise_left == 0) ->
			promised = me; promise_left = PROMISE; known[me] = L
		:: else -> answered[me] = 1
		fi
	}
#endif
	if
	:: answered[me] -> atomic { window[me] = 0; silence[me] = 0 }
	:: else -> send_claim(me)
	fi
}

proctype agent(byte me)
{
	bool owner = (lease[me] > 0);

end:	do
#if defined(WITNESS) && !defined(STAYS)
	:: owner && known[me] == 0 -> atomic { owner = false; lease[me] = 0; silence[me] = 0 }
	:: owner && known[me] > 0 ->
#else
	:: owner ->
#endif
		if
		:: lease[me] == 0 -> atomic { owner = false; silence[me] = 0 }
		:: else -> send_active(me)
		fi
	:: !owner ->
		listen(me);
		if
		:: silence[me] >= D ->
			claim(me);
			/* Too late: asked again at once, for nobody was heard. */
			atomic {
				owner = (lease[me] > 0);
				if :: owner -> silence[me] = 0 :: else fi
			}
		:: else
		fi
	od
}

inline deliver_probe(from)
{
	atomic {
		probe[from] > 0 -> probe[from] = 0;
#ifdef LAN_LOSS
		if
		:: goto lost
		:: skip
		fi;
#endif
		if :: lease[1 - from] > 0 -> answer[from] = 1 :: else fi;
#ifdef ONE_WAY
		if :: from == 0 -> window[1] = 0 :: else fi
#else
		window[1 - from] = 0
#endif
	}
}

active proctype network()
{
end:	do
	:: deliver_probe(0)
	:: deliver_probe(1)
	:: atomic { answer[0] > 0 -> answer[0] = 0; answered[0] = 1 }
	:: atomic { answer[1] > 0 -> answer[1] = 0; answered[1] = 1 }
#ifdef LAN_LOSS
lost:	skip
#endif
	od
}

inline age(x) { if :: x == 1 -> x = 2 :: else fi }

/* A tick waits for what the client network must have delivered. */
active proctype clock()
{
	do
	:: atomic {
		probe[0] < 2 && probe[1] < 2 && answer[0] < 2 && answer[1] < 2 ->
		down(lease[0]); down(lease[1]); down(window[0]); down(window[1]);
		down(asking[0]); down(asking[1]);
		if :: silence[0] < D -> silence[0]++ :: else fi;
		if :: silence[1] < D -> silence[1]++ :: else fi;
#ifdef WITNESS
		down(known[0]); down(known[1]); down(promise_left);
#endif
		age(probe[0]); age(probe[1]); age(answer[0]); age(answer[1])
	}
	od
}

active proctype monitor() { assert(lease[0] == 0 || lease[1] == 0) }

init {
	atomic {
#ifndef COLD
		lease[0] = L;
#ifdef WITNESS
		promised = 0; promise_left = PROMISE; known[0] = L;
#endif
#endif
#ifdef WITNESS
		if :: reach[0] = true :: skip fi;
		if :: reach[1] = true :: skip fi;
#endif
		run agent(0);
		run agent(1)
	}
}
