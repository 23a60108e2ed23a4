/*
 * xoshiro256** seeded through splitmix64 (Blackman and Vigna, public domain descriptions), and the
 * kernel's random bytes.
 */
#include "shared/rng.h"

#include <errno.h>
#include <stddef.h>
#include <sys/random.h>
#include <sys/types.h>

#include "shared/assert.h"

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

void rng_seed(struct rng *r, uint64_t seed)
{
	for (size_t i = 0; i < countof(r->s); i++) {
		uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));

		z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
		r->s[i] = z ^ (z >> 31);
	}
	ASSERT(r->s[0] | r->s[1] | r->s[2] | r->s[3]);
}

uint64_t rng_u64(struct rng *r)
{
	uint64_t result = rotl(r->s[1] * 5, 7) * 9;
	uint64_t t = r->s[1] << 17;

	r->s[2] ^= r->s[0];
	r->s[3] ^= r->s[1];
	r->s[1] ^= r->s[2];
	r->s[0] ^= r->s[3];
	r->s[2] ^= t;
	r->s[3] = rotl(r->s[3], 45);
	return result;
}

uint64_t rng_below(struct rng *r, uint64_t bound)
{
	uint64_t reject, x;

	if (bound == 0)
		return 0;
	/* 2^64 mod bound: below that, the low results would come up once more often than the rest.
	 */
	reject = -bound % bound;
	do
		x = rng_u64(r);
	while (x < reject);
	return x % bound;
}

void random_bytes(void *out, uint32_t len)
{
	uint8_t *at = out;

	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		/* Without the kernel's random bytes there are no keys worth having: stop here. */
		ASSERT(n > 0);
		at += n;
		len -= (uint32_t)n;
	}
}
