/*
 * The times of a pair: three profiles, and the rules that keep any set of them safe.
 */
#pragma once

#include <stdint.h>

/* name, heartbeat, lease, silence, probe, claim window, the proxy's beat: milliseconds */
#define TIMES_PROFILES(X)                     \
	X(fast, 10, 40, 55, 10, 40, 20)       \
	X(default, 50, 250, 300, 50, 150, 50) \
	X(relaxed, 200, 1000, 1200, 100, 400, 50)

enum times_profile {
#define X(name, heartbeat, lease, silence, probe, window, beat) TIMES_##name,
	TIMES_PROFILES(X)
#undef X
		TIMES_PROFILE_COUNT
};

struct times {
	uint64_t heartbeat_ns; /* between two heartbeats (h) */
	uint64_t lease_ns;     /* without sending for this long we are no longer the owner (L) */
	uint64_t silence_ns; /* without hearing an owner on any path for this long we may ask (D) */
	uint64_t probe_ns;   /* for the answer to an address probe (P) */
	uint64_t window_ns;  /* from the start of the probe to the claim, at most */
	uint64_t beat_ns;    /* of the proxy beside us; the rules do not concern it */
};

struct times times_of(enum times_profile profile);
const char *times_profile_name(enum times_profile profile);
/* How long a promise of the witness lasts, and how long it remembers an owner that it heard. */
uint64_t times_promise_ns(const struct times *t);
/* For how long nobody may ask whom an owner told how much its lease has left: the two files may
 * differ while one is reloaded. */
uint64_t times_respect_ns(uint32_t lease_left_ms);
/* NULL when the set is safe, else which rule it breaks, in words ("lease + 15ms must not exceed
 * silence"). */
const char *times_check(const struct times *t);
