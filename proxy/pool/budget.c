#include "proxy/pool/budget.h"

#include "shared/units.h"

/* Seconds count from 1, so that a slot of zeros is nobody's. */
static uint32_t second_of(uint64_t now_ns)
{
	return (uint32_t)(now_ns / NS_PER_S) + 1;
}

static void count_one(_Atomic uint64_t slots[BUDGET_SECONDS], uint32_t second)
{
	_Atomic uint64_t *slot = &slots[second % BUDGET_SECONDS];
	uint64_t seen = atomic_load_explicit(slot, memory_order_relaxed);

	/* A worker whose clock reading is a little old adds to the newer second. */
	while (seen >> 32 < second)
		if (atomic_compare_exchange_weak_explicit(slot, &seen, (uint64_t)second << 32 | 1,
			    memory_order_relaxed, memory_order_relaxed))
			return;
	atomic_fetch_add_explicit(slot, 1, memory_order_relaxed);
}

static uint64_t sum(_Atomic uint64_t slots[BUDGET_SECONDS], uint32_t second)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < BUDGET_SECONDS; i++) {
		uint64_t seen = atomic_load_explicit(&slots[i], memory_order_relaxed);

		if ((seen >> 32) + BUDGET_SECONDS > second)
			total += (uint32_t)seen;
	}
	return total;
}

void budget_count_request(struct budget *b, uint64_t now_ns)
{
	count_one(b->requests, second_of(now_ns));
}

bool budget_take_retry(struct budget *b, uint64_t now_ns)
{
	uint32_t second = second_of(now_ns);
	uint64_t limit = sum(b->requests, second) / BUDGET_SHARE;

	if (limit < BUDGET_RETRIES_MIN)
		limit = BUDGET_RETRIES_MIN;
	if (sum(b->retries, second) >= limit)
		return false;
	count_one(b->retries, second);
	return true;
}
