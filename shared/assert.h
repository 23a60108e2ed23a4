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
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
