/*
 * ASSERT stays on in release builds: for invariants and impossible cases, never for input, peers,
 * system calls or allocation.
 */
#pragma once

_Noreturn void assert_failed(const char *file, int line, const char *what);

#define ASSERT(cond)                                              \
	do {                                                      \
		if (__builtin_expect(!(cond), 0))                 \
			assert_failed(__FILE__, __LINE__, #cond); \
	} while (0)

#define countof(array) (sizeof(array) / sizeof((array)[0]))
/* For a large local array that is written before it is read, on a way that is taken often: the
 * hardened build (-ftrivial-auto-var-init) does not fill it first. */
#if defined(__has_attribute) && __has_attribute(uninitialized)
#define UNFILLED __attribute__((uninitialized))
#else
#define UNFILLED
#endif
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
