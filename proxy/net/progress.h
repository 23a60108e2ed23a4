/*
 * How far the other side of a TCP connection has come with what was sent to it. The kernel says
 * that a socket takes more only once a third of its buffer is free, which for a slow client with a
 * large buffer is minutes; its own counters tell sooner who reads slowly and who does not at all.
 */
#pragma once

#include <stdint.h>

struct progress {
	uint64_t acked_bytes; /* since the connection began */
	uint64_t silent_ns;   /* since bytes (not probes) last left for it */
};

/* -1: this system does not say. One system call. */
int progress_read(int fd, struct progress *ret_progress);
