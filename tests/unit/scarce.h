/*
 * An allocator that runs out: the one that the linker puts in the place of malloc() and the like
 * (SCARCE_WRAPS in tests/unit/shared.mk). What comes from inside of shared libraries is theirs; who
 * can hand a library an allocator hands it one that asks scarce_fails().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* From now on the nth allocation fails, and with `lasting` all after it. */
void scarce_begin(size_t nth, bool lasting);
/* No more. Returns how many were made. */
size_t scarce_end(void);
/* Does the one that is being made fail? Counts it. */
bool scarce_fails(void);
/* While this is true allocations are the test's own. Borrowed. */
void scarce_exempt(const bool *own);
