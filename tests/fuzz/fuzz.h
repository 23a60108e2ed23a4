/*
 * What every fuzz target offers: one function, run by libFuzzer with inputs that it makes up, and
 * by replay.c with the committed corpus. An oracle that does not hold aborts, with what it was.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shared/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* How the pieces of an input are cut: a seed out of the input itself, so that a finding replays. */
static inline size_t fuzz_piece(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return 1 + (*seed >> 24) % (*seed & 0x800000 ? 64 : 4);
}
