/*
 * The committed inputs of a fuzz target.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Calls run() with the content of the file, in memory of exactly its size, so that a sanitizer sees
 * a read too far. -1: it cannot be read, as was said on standard error. */
int corpus_file(const char *path, void (*run)(const uint8_t *data, size_t size));
/* With that of each file of the folder. Returns how many there are, or -1. */
int corpus_each(const char *dir, void (*run)(const uint8_t *data, size_t size));
