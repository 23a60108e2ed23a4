/*
 * Flap damping: see damping.h.
 */
#include "failover/core/damping.h"

#include "shared/assert.h"

void damping_failed(struct damping *d, uint64_t now_ns)
{
	ASSERT(now_ns >= d->failed_ns);
	if (d->hold_ns == 0 || now_ns - d->failed_ns > DAMPING_FORGET_NS)
		d->hold_ns = DAMPING_FIRST_NS;
	else if (d->hold_ns < DAMPING_MAX_NS / 2)
		d->hold_ns *= 2;
	else
		d->hold_ns = DAMPING_MAX_NS;
	d->failed_ns = now_ns;
}

bool damping_over(const struct damping *d, uint64_t good_since_ns, uint64_t now_ns)
{
	ASSERT(good_since_ns <= now_ns);
	return good_since_ns != 0 && now_ns - good_since_ns >= d->hold_ns;
}
