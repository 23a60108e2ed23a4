/*
 * Preloaded into a proxy, counts its calls of the allocator, and nothing else: in a file that
 * HEAP_COUNTERS names and whoever measures maps or reads. Three numbers of 64 bits in host order:
 * allocations (malloc, calloc, aligned ones, and realloc that was given none), reallocations,
 * frees.
 *
 * The C library's own entry points take the calls on, so there is nothing to look up and no first
 * call to worry about; a program that brings another allocator is not counted (and says zero).
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALLOCATED, REALLOCATED, FREED, COUNTERS };

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *ptr, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *ptr);

static _Atomic uint64_t
	before[COUNTERS]; /* used until the file is mapped, and where there is none */
static _Atomic uint64_t *counters = before;

__attribute__((constructor)) static void counters_map(void)
{
	const char *path = getenv("HEAP_COUNTERS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(before), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		counters = map;
}

static void count(unsigned which)
{
	atomic_fetch_add_explicit(&counters[which], 1, memory_order_relaxed);
}

void *malloc(size_t size)
{
	count(ALLOCATED);
	return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
	count(ALLOCATED);
	return __libc_calloc(number, size);
}

void *realloc(void *ptr, size_t size)
{
	count(ptr ? REALLOCATED : ALLOCATED);
	return __libc_realloc(ptr, size);
}

void *memalign(size_t alignment, size_t size)
{
	count(ALLOCATED);
	return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	count(ALLOCATED);
	return __libc_memalign(alignment, size);
}

int posix_memalign(void **ret_ptr, size_t alignment, size_t size)
{
	void *ptr;

	count(ALLOCATED);
	ptr = __libc_memalign(alignment, size);
	if (!ptr)
		return ENOMEM;
	*ret_ptr = ptr;
	return 0;
}

void free(void *ptr)
{
	if (ptr)
		count(FREED);
	__libc_free(ptr);
}
