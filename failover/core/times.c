/*
 * The profiles and the rules of times.h.
 */
#include "failover/core/times.h"

#include "shared/assert.h"
#include "shared/units.h"

/* Two jiffies of the kernel's timers at 250 Hz, and as much again for the way. */
#define MARGIN_NS (15 * NS_PER_MS)
#define SILENCE_MOST_NS (60 * NS_PER_S)

static const char *const names[] = {
#define X(name, heartbeat, lease, silence, probe, window, beat) [TIMES_##name] = #name,
	TIMES_PROFILES(X)
#undef X
};

struct times times_of(enum times_profile profile)
{
	static const struct times profiles[] = {
#define X(name, heartbeat, lease, silence, probe, window, beat)                          \
	[TIMES_##name] = {(heartbeat)*NS_PER_MS, (lease)*NS_PER_MS, (silence)*NS_PER_MS, \
		(probe)*NS_PER_MS, (window)*NS_PER_MS, (beat)*NS_PER_MS},
		TIMES_PROFILES(X)
#undef X
	};
	ASSERT((unsigned)profile < countof(profiles));
	return profiles[profile];
}

const char *times_profile_name(enum times_profile profile)
{
	ASSERT((unsigned)profile < countof(names));
	return names[profile];
}

/* An owner says so for the lease after it was last known to be one, and its last word holds the
 * kernel's lease for as long again. */
uint64_t times_promise_ns(const struct times *t)
{
	return 2 * t->lease_ns + MARGIN_NS;
}

uint64_t times_respect_ns(uint32_t lease_left_ms)
{
	uint64_t ns = lease_left_ms * NS_PER_MS + MARGIN_NS;

	return ns < SILENCE_MOST_NS ? ns : SILENCE_MOST_NS;
}

const char *times_check(const struct times *t)
{
	if (t->heartbeat_ns < NS_PER_MS || t->silence_ns > SILENCE_MOST_NS)
		return "heartbeat must be 1ms or more, and silence 60s or less";
	if (t->heartbeat_ns > t->lease_ns / 4)
		return "heartbeat must not exceed a quarter of lease";
	if (t->lease_ns + MARGIN_NS > t->silence_ns)
		return "lease + 15ms must not exceed silence";
	if (t->probe_ns < 5 * NS_PER_MS)
		return "probe must be 5ms or more: two crossings of the client network";
	if (t->window_ns <= t->probe_ns)
		return "claim window must exceed probe";
	return NULL;
}
