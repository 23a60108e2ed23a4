/*
 * Durations, sizes and rates as people write them. A unit is always required (but for 0).
 */
#pragma once

#include "shared/err.h"
#include "shared/span.h"

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

/* "500ms", "2s", "5m", "8h", "180d", "1.5s"; at most 10 years. In ns. */
int duration_parse(struct span text, uint64_t *ret_ns, struct err *err);
/* "64KiB", "1MiB", "2GiB", "100B", also kB MB GB of thousands. In bytes. */
int size_parse(struct span text, uint64_t *ret_bytes, struct err *err);
/* "500B/s", "64KiB/s". In bytes a second. */
int byte_rate_parse(struct span text, uint64_t *ret_bytes, struct err *err);
struct rate {
	uint64_t count;
	uint64_t per_ns;
};
/* "50/s", "1000/m", "5/h". */
int rate_parse(struct span text, struct rate *ret_rate, struct err *err);
/* "90%" -> 90.0; 0 to 100 only where the caller says so. */
int percent_parse(struct span text, double *ret_pct, struct err *err);
/* The shortest exact text: 1500000000 -> "1500ms". Returns the length. */
size_t duration_format(uint64_t ns, char *out, size_t size);
/* Likewise: 65536 -> "64KiB", 1000 -> "1000B". */
size_t size_format(uint64_t bytes, char *out, size_t size);
/* RFC 3339 with milliseconds, UTC: "2026-11-22T01:02:03.004Z"; out takes 25 bytes. */
void time_format(uint64_t realtime_ns, char out[25]);
uint64_t monotonic_ns(void);
uint64_t realtime_ns(void);
