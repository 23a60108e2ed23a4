#include "proxy/net/splice.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "shared/assert.h"

static void pipe_close(struct pipe_pool *p, struct pipe *pipe)
{
	unsigned before = atomic_fetch_sub_explicit(&p->open, 1, memory_order_relaxed);

	ASSERT(before > 0);
	close(pipe->read_fd);
	close(pipe->write_fd);
	free(pipe);
}

void pipe_pool_fini(struct pipe_pool *p)
{
	for (struct pipe *pipe = p->free, *next; pipe; pipe = next) {
		next = pipe->next_free;
		pipe_close(p, pipe);
	}
	p->free = NULL;
	ASSERT(atomic_load_explicit(&p->open, memory_order_relaxed) == 0);
}

static struct pipe *pipe_open(void)
{
	struct pipe *pipe = malloc(sizeof(*pipe));
	int fds[2];

	if (!pipe)
		return NULL;
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
		free(pipe);
		return NULL;
	}
	pipe->read_fd = fds[0];
	pipe->write_fd = fds[1];
	/* Refused once a user has many pages in pipes; new ones are then too small to pay. */
	if (fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES) < 0) {
		close(fds[0]);
		close(fds[1]);
		free(pipe);
		return NULL;
	}
	return pipe;
}

/* Who asks does so for each event of each transfer: what cannot be had is not tried each time. */
static struct pipe *pipe_new(struct pipe_pool *p)
{
	struct pipe *pipe;

	if (atomic_load_explicit(&p->open, memory_order_relaxed) >= p->max)
		return NULL;
	if (p->skip) {
		p->skip--;
		return NULL;
	}
	pipe = pipe_open();
	if (pipe)
		atomic_fetch_add_explicit(&p->open, 1, memory_order_relaxed);
	else
		p->skip = PIPES_SKIP;
	return pipe;
}

struct pipe *pipe_get(struct pipe_pool *p)
{
	struct pipe *pipe = p->free;

	if (pipe) {
		p->free = pipe->next_free;
	} else {
		pipe = pipe_new(p);
		if (!pipe) {
			atomic_fetch_add_explicit(&p->refused_total, 1, memory_order_relaxed);
			return NULL;
		}
	}
	pipe->held = 0;
	return pipe;
}

void pipe_put(struct pipe_pool *p, struct pipe *pipe)
{
	if (!pipe)
		return;
	if (pipe->held) {
		pipe_close(p, pipe);
		return;
	}
	pipe->next_free = p->free;
	p->free = pipe;
}
