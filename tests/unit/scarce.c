#include "tests/unit/scarce.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static struct scarce {
	bool on, lasting;
	size_t made, nth;
	const bool *own;
} scarce;

void scarce_begin(size_t nth, bool lasting)
{
	scarce.nth = nth;
	scarce.lasting = lasting;
	scarce.made = 0;
	scarce.on = true;
}

size_t scarce_end(void)
{
	scarce.on = false;
	return scarce.made;
}

bool scarce_fails(void)
{
	if (!scarce.on || (scarce.own && *scarce.own))
		return false;
	scarce.made++;
	return scarce.lasting ? scarce.made >= scarce.nth : scarce.made == scarce.nth;
}

void scarce_exempt(const bool *own)
{
	scarce.own = own;
}

void *__wrap_malloc(size_t size)
{
	return scarce_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return scarce_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return scarce_fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return scarce_fails() ? NULL : __real_aligned_alloc(alignment, size);
}
