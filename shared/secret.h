/*
 * Secrets that the configuration names by their files.
 */
#pragma once

#include "shared/err.h"
#include "shared/span.h"

#define SECRET_MIN_BYTES 16
#define SECRET_MAX_BYTES 4096

/* What the file holds, without the end of its line. -1 with err: it cannot be read, is open to
 * everyone, or is too short to be a secret. Returns owned: secret_free(). */
int secret_read(const char *file, struct span *ret_secret, struct err *err);
/* Leaves nothing of it in memory. */
void secret_free(struct span secret);
