#include "tests/bench/histogram.h"

#include "shared/assert.h"

enum { SUB = 1 << HISTOGRAM_SUB_BITS };

/* Values below SUB have a bucket each; above, every power of two has SUB buckets. */
static unsigned bucket_of(uint64_t value)
{
	unsigned shift;

	if (value < SUB)
		return (unsigned)value;
	shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	return (shift + 1) * SUB + (unsigned)((value >> shift) - SUB);
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_top(unsigned bucket)
{
	unsigned shift;

	if (bucket < SUB)
		return bucket;
	shift = bucket / SUB - 1;
	return ((uint64_t)(bucket % SUB + SUB) << shift) + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *h, uint64_t value)
{
	h->counts[bucket_of(value)]++;
	h->total++;
	if (value > h->max)
		h->max = value;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
	uint64_t seen = 0, wanted = (uint64_t)(q * (double)h->total);

	ASSERT(q >= 0 && q <= 1);
	if (wanted < h->total && (double)wanted < q * (double)h->total)
		wanted++;
	if (wanted == 0)
		wanted = 1;
	for (unsigned i = 0; h->total > 0 && i < HISTOGRAM_BUCKETS; i++) {
		seen += h->counts[i];
		if (seen >= wanted)
			return bucket_top(i) < h->max ? bucket_top(i) : h->max;
	}
	return 0;
}
