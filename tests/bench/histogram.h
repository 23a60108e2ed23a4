/*
 * Counts of times in buckets of equal relative width (1/128 of their value, under 0.8 %), so that a
 * quantile far out in the tail is as exact as the median, in memory that does not grow.
 */
#pragma once

#include <stdint.h>

enum {
	HISTOGRAM_SUB_BITS = 7,
	HISTOGRAM_BUCKETS = (64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS
};

struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS];
	uint64_t total, max;
};

void histogram_add(struct histogram *h, uint64_t value);
/* The value that a share q (0 to 1) of all values does not exceed; 0 when there are none. */
uint64_t histogram_quantile(const struct histogram *h, double q);
