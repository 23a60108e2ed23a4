/*
 * Memory of what a snapshot keeps of its routes: taken bit by bit while it is built, given back at
 * once. Regular expressions are the library's own memory; the arena remembers those made for it and
 * frees them too.
 */
#pragma once

#include "shared/span.h"

struct regex;
struct arena_chunk;

struct arena {
	struct arena_chunk *chunks; /* the one in use first */
	struct regex *regexes;
	bool out_of_memory; /* once something could not be had; what was is still good */
};

void arena_init(struct arena *a);
void arena_fini(struct arena *a);
/* Zeroed, aligned for anything. NULL when memory is out. */
void *arena_alloc(struct arena *a, size_t count, size_t size);
/* A copy of the text; {0} when memory is out. */
struct span arena_keep(struct arena *a, struct span text);
/* A regular expression that goes with the arena. As regex_new(). */
struct regex *arena_regex(
	struct arena *a, struct span pattern, char *why, size_t why_size, size_t *ret_at);
