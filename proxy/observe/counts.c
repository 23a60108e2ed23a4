#include "proxy/observe/counts.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "shared/assert.h"
#include "shared/units.h"

const uint64_t duration_bounds_ns[] = {
#define X(us, text) us *NS_PER_US,
	DURATION_BOUNDS(X)
#undef X
		UINT64_MAX};

/* Zeroed, on cache lines that nobody else writes. */
static void *new_apart(size_t size)
{
	size_t whole = (size + 63) / 64 * 64;
	void *p = aligned_alloc(64, whole);

	if (p)
		memset(p, 0, whole);
	return p;
}

/* --- durations ---------------------------------------------------------------------------------
 */

struct timings *timings_new(unsigned workers)
{
	struct timings *t = calloc(1, sizeof(*t) + workers * sizeof(t->lanes[0]));

	if (t)
		t->workers = workers;
	return t;
}

void timings_free(struct timings *t)
{
	for (unsigned i = 0; t && i < t->workers; i++)
		free(atomic_load(&t->lanes[i]));
	free(t);
}

struct durations *timings_lane_new(struct timings *t, unsigned worker)
{
	struct durations *d = new_apart(sizeof(*d));

	ASSERT(worker < t->workers);
	if (d)
		atomic_store_explicit(&t->lanes[worker], d, memory_order_release);
	return d;
}

void timings_sum(const struct timings *t, struct duration_sums *ret_sums)
{
	*ret_sums = (struct duration_sums){0};
	for (unsigned w = 0; w < t->workers; w++) {
		struct durations *d = atomic_load_explicit(&t->lanes[w], memory_order_acquire);

		for (unsigned i = 0; d && i < countof(d->counts); i++)
			ret_sums->counts[i] +=
				atomic_load_explicit(&d->counts[i], memory_order_relaxed);
		if (d)
			ret_sums->sum_ns += atomic_load_explicit(&d->sum_ns, memory_order_relaxed);
	}
	for (unsigned i = 0; i < countof(ret_sums->counts); i++)
		ret_sums->total += ret_sums->counts[i];
}

uint64_t duration_quantile_ns(const struct duration_sums *sums, double share)
{
	double wanted = (double)sums->total * share;
	uint64_t seen = sums->counts[0];
	unsigned i = 0;

	if (sums->total == 0)
		return 0;
	while (i < DURATION_BOUND_COUNT && (double)seen < wanted)
		seen += sums->counts[++i];
	return duration_bounds_ns[i];
}

/* --- answers -----------------------------------------------------------------------------------
 */

struct answers *answers_new(unsigned workers)
{
	struct answers *a = calloc(1, sizeof(*a) + workers * sizeof(a->lanes[0]));

	if (a)
		a->workers = workers;
	return a;
}

void answers_free(struct answers *a)
{
	for (unsigned i = 0; a && i < a->workers; i++) {
		struct answer_row *row = atomic_load(&a->lanes[i]), *next;

		for (; row; row = next) {
			next = row->next;
			free(row);
		}
	}
	free(a);
}

struct answer_row *answers_find_row(struct answers *a, unsigned worker, uint64_t listener_id)
{
	struct answer_row *first, *row;
	unsigned rows = 0;

	ASSERT(worker < a->workers);
	first = atomic_load_explicit(&a->lanes[worker], memory_order_relaxed);
	for (row = first; row && row->listener_id != listener_id; row = row->next)
		rows++;
	if (row || rows == ANSWER_LISTENERS_MAX)
		return row;
	row = new_apart(sizeof(*row));
	if (!row)
		return NULL;
	row->next = first;
	row->listener_id = listener_id;
	atomic_store_explicit(&a->lanes[worker], row, memory_order_release);
	return row;
}

static const struct answer_row *find_row(
	const struct answers *a, unsigned worker, uint64_t listener_id)
{
	const struct answer_row *row =
		atomic_load_explicit(&a->lanes[worker], memory_order_acquire);

	while (row && row->listener_id != listener_id)
		row = row->next;
	return row;
}

/* False: a worker before this one has counted for it, and with that it was told. */
static bool sum_from(const struct answers *a, unsigned worker, uint64_t listener_id,
	uint64_t sums[STATUS_CLASSES])
{
	for (unsigned w = 0; w < worker; w++)
		if (find_row(a, w, listener_id))
			return false;
	for (unsigned w = worker; w < a->workers; w++) {
		const struct answer_row *row = find_row(a, w, listener_id);

		for (unsigned i = 0; row && i < STATUS_CLASSES; i++)
			sums[i] += atomic_load_explicit(&row->by_class[i], memory_order_relaxed);
	}
	return true;
}

void answers_each(const struct answers *a,
	void (*each)(void *ctx, uint64_t listener_id, const uint64_t sums[STATUS_CLASSES]),
	void *ctx)
{
	for (unsigned w = 0; w < a->workers; w++) {
		const struct answer_row *row =
			atomic_load_explicit(&a->lanes[w], memory_order_acquire);

		for (; row; row = row->next) {
			uint64_t sums[STATUS_CLASSES] = {0};

			if (sum_from(a, w, row->listener_id, sums))
				each(ctx, row->listener_id, sums);
		}
	}
}
