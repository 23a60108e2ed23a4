/*
 * The metrics as Prometheus reads them (text format 0.0.4): what workers counted, added up at the
 * moment of asking, and what the main thread knows. Labels are bounded by the configuration: no
 * URL, no client's address. doc/monitoring.md has the list.
 */
#pragma once

#include "shared/buf.h"

struct proxy;

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Main thread. -1: more than the buffer takes. */
int metrics_write(const struct proxy *p, struct buf *out);
