/*
 * What workers count for the metrics. Each counts in memory of its own, which it alone writes: a
 * request costs a few plain additions, and no two threads write one cache line. The main thread
 * adds up when it is asked. What a worker counts in is made when it first counts there, and lives
 * as long as the whole; without memory for it that one is not counted.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

/* --- durations: bounds in microseconds, and as Prometheus has them --- */
/* clang-format off */
#define DURATION_BOUNDS(X) \
	X(500, "0.0005") X(1000, "0.001") X(2500, "0.0025") X(5000, "0.005") X(10000, "0.01") \
	X(25000, "0.025") X(50000, "0.05") X(100000, "0.1") X(250000, "0.25") X(500000, "0.5") \
	X(1000000, "1") X(2500000, "2.5") X(5000000, "5") X(10000000, "10") X(30000000, "30") \
	X(60000000, "60")
/* clang-format on */
#define DURATION_ONE(us, text) +1
enum { DURATION_BOUND_COUNT = 0 DURATION_BOUNDS(DURATION_ONE) };

struct durations { /* of one worker; the last count is of those above every bound */
	_Atomic uint64_t counts[DURATION_BOUND_COUNT + 1];
	_Atomic uint64_t sum_ns;
};
struct timings {
	unsigned workers;
	struct durations *_Atomic lanes[];
};
struct duration_sums {
	uint64_t counts[DURATION_BOUND_COUNT + 1]; /* each of its own, not of all below */
	uint64_t total, sum_ns;
};

struct timings *timings_new(unsigned workers); /* NULL when out of memory */
void timings_free(struct timings *t);
/* By the only thread that writes it. */
static inline void counter_add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_store_explicit(
		to, atomic_load_explicit(to, memory_order_relaxed) + n, memory_order_relaxed);
}

extern const uint64_t duration_bounds_ns[DURATION_BOUND_COUNT + 1]; /* the last: UINT64_MAX */
struct durations *timings_lane_new(struct timings *t, unsigned worker);
/* The worker's own thread. */
static inline void timings_add(struct timings *t, unsigned worker, uint64_t took_ns)
{
	struct durations *d = atomic_load_explicit(&t->lanes[worker], memory_order_relaxed);
	unsigned i = 0;

	if (!d && !(d = timings_lane_new(t, worker)))
		return;
	while (took_ns > duration_bounds_ns[i])
		i++;
	counter_add(&d->counts[i], 1);
	counter_add(&d->sum_ns, took_ns);
}
/* Any thread. */
void timings_sum(const struct timings *t, struct duration_sums *ret_sums);
/* The least bound that `share` (0.99) of these took no longer than, in ns; UINT64_MAX where that is
 * above every bound; 0 with none. */
uint64_t duration_quantile_ns(const struct duration_sums *sums, double share);

/* --- answers by the listener they went through and the class of their status --- */
enum { STATUS_CLASSES = 6 }; /* 0: cut before there was one */
#define ANSWER_LISTENERS_MAX \
	1024 /* told apart by one worker; of any further one nothing is counted */
struct answer_row {
	struct answer_row *next;
	uint64_t listener_id;
	_Atomic uint64_t by_class[STATUS_CLASSES];
};
struct answers {
	unsigned workers;
	struct answer_row *_Atomic lanes[];
};

struct answers *answers_new(unsigned workers); /* NULL when out of memory */
void answers_free(struct answers *a);
struct answer_row *answers_find_row(struct answers *a, unsigned worker, uint64_t listener_id);
/* The worker's own thread. listener_id: of a struct kept_state, never given twice. */
static inline void answers_count(
	struct answers *a, unsigned worker, uint64_t listener_id, uint16_t status)
{
	struct answer_row *row = atomic_load_explicit(&a->lanes[worker], memory_order_relaxed);
	unsigned class = status / 100;

	if (row && row->listener_id == listener_id) /* most servers have one listener's requests */
		;
	else if (!(row = answers_find_row(a, worker, listener_id)))
		return;
	counter_add(&row->by_class[class < STATUS_CLASSES ? class : 0], 1);
}
/* Calls `each` once for every listener that answers were counted for. Any thread. */
void answers_each(const struct answers *a,
	void (*each)(void *ctx, uint64_t listener_id, const uint64_t sums[STATUS_CLASSES]),
	void *ctx);
