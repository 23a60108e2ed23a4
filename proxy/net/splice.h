/*
 * Pipes, through which the bulk of a large message goes from one socket to another without a copy
 * into our memory: splice(2). Kept on a worker's free list; a connection has one only while it is
 * slower than what is sent to it.
 *
 * There are never many, and there may be none (no files left, a limit of the kernel): whoever asks
 * must be able to copy instead.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pipe {
	struct pipe *next_free;
	int read_fd, write_fd;
	uint32_t held; /* bytes in it */
};

struct pipe_pool {
	struct pipe *free;
	unsigned max;
	unsigned skip; /* so many asks more are refused without a try */
	/* Written by the worker, read by anyone. */
	_Atomic unsigned open;
	_Atomic uint64_t refused_total; /* asked for when there was none to be had */
};

#define PIPES_MAX 256 /* a worker */
#define PIPES_SKIP 16 /* asks for a new one, after one that could not be opened */
/* What one may hold. Of 1 MB, 64 KiB at a time cost half as much again; 1 MiB at a time is no
 * better, and a user may have 64 MiB of pipes in all. */
#define PIPE_BYTES (256 * 1024)
#define SPLICE_MAX_BYTES (1024 * 1024) /* asked for in one go; pages may be larger than 4 KiB */
/* Content of less than this is copied: there a pipe costs as much (20 KB), and from 48 KB on a
 * sixth to a third less. */
#define SPLICE_MIN_BYTES (32 * 1024)

void pipe_pool_fini(struct pipe_pool *p);
struct pipe *pipe_get(struct pipe_pool *p); /* empty; NULL: copy instead */
/* NULL is fine. One that still holds bytes is closed, and they are gone. */
void pipe_put(struct pipe_pool *p, struct pipe *pipe);
