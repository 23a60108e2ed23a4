/*
 * A connection as bytes: a socket, or what a transport makes of one (transport.h: TLS, a stream of
 * HTTP/2), its watchers, one deadline, the buffer being read into and what could not be written
 * yet, copied or still in a pipe. Client and server sides embed one and give it a handler.
 *
 * The read watcher stays on from start to end; a handler that is called but wants nothing more says
 * conn_pause(), and conn_resume() later. Writing is done at once; only what the kernel does not
 * take is copied to `out`, and only then does a write watcher start. A worker's thread owns it all.
 *
 * conn_close() never frees: memory and socket go after the loop iteration (worker.c). Another
 * socket with its number would make libev take that for the same one, and ask the kernel in vain.
 */
#pragma once

#include <ev.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "proxy/net/iobuf.h"
#include "proxy/net/splice.h"
#include "proxy/net/transport.h"
#include "proxy/net/wheel.h"
#include "shared/assert.h"
#include "shared/buf.h"

struct worker;
struct conn;

struct conn_handler {
	void (*on_readable)(struct conn *c);
	/* Everything pending has been written, or a connect has come to its end. */
	void (*on_writable)(struct conn *c);
	void (*on_write_error)(struct conn *c); /* of pending bytes, which are to be dropped */
	void (*on_deadline)(struct conn *c);
	void (*free)(struct conn *c); /* gives the embedding object back */
};

struct conn {
	const struct conn_handler *handler;
	struct worker *worker;
	const struct transport *transport; /* NULL: the bare socket */
	void *layer;			   /* the transport's state */
	ev_io rd, wr;
	struct wheel_timer timer;
	struct iobuf *in;      /* NULL when nothing is in hand */
	struct buf *out;       /* NULL when nothing is pending; never beside a pipe */
	struct pipe *pipe;     /* that leads here; NULL when nothing is pending in one */
	struct list reap_link; /* worker.reap: closed, and to be freed */
	uint64_t send_ns; /* on_deadline, when bytes were pending for so long (ask conn_stalled) */
	uint64_t send_left_ns; /* of that, when nothing was pending in between */
	uint64_t send_span_ns; /* for so long bytes were pending when it is over */
	uint64_t acked_bytes;  /* by the other side when it was last asked about */
	int fd;		       /* -1: a transport without a socket of its own, or closing */
	bool reading;	       /* not paused */
	bool read_wants_write, write_wants_read; /* the transport's (conn_cross) */
	bool connecting;			 /* wr watches for the connect */
	bool doubtful;				 /* it may have failed: the socket is to be asked */
	bool closing;
	bool eof;
};

/* Bytes that `out` may hold: a head and one stage of content. Producers stop while it holds any. */
#define CONN_OUT_MAX (256 * 1024)

/* What goes out next, gathered for one writev. One a worker, filled and flushed within one
 * callback; spans borrow until the flush. */
#define STAGE_IOV 64
#define STAGE_SCRATCH_BYTES (80 * 1024)
struct stage {
	struct iovec iov[STAGE_IOV];
	unsigned count;
	size_t bytes;
	size_t used; /* of scratch */
	char scratch[STAGE_SCRATCH_BYTES];
};

void conn_init(struct conn *c, struct worker *w, const struct conn_handler *h, int fd);
void conn_start(struct conn *c); /* starts reading */
void conn_start_connecting(struct conn *c);
/* on_writable with `connecting`: what became of it, 0 or an errno. Once. */
int conn_connect_error(struct conn *c);
/* The same of the socket, whatever lies over it. */
int conn_socket_error(struct conn *c);
/* For a transport: calls what EV_READ or EV_WRITE on the socket would call, soon. EV_READ is not to
 * be fed while it is paused. */
void conn_feed(struct conn *c, int event);
/* For a transport: what just fell short, a read (EV_READ) or a write (EV_WRITE), has to be tried
 * again once the socket is ready for the other. */
void conn_cross(struct conn *c, int event);

enum io_rc { IO_OK, IO_AGAIN, IO_EOF, IO_ERROR };
/* Reads once into c->in (gets one of `size` if there is none; there must be room). *ret_full says
 * that more is likely to wait. errno is kept on IO_ERROR. */
enum io_rc conn_read(struct conn *c, uint32_t size, bool *ret_full);
/* The buffer back to its pool. */
void conn_drop_in(struct conn *c);

static inline bool conn_blocked(const struct conn *c)
{
	return c->out || c->pipe;
}
/* Bytes from elsewhere on their way through a pipe, which this one has not taken yet. */
static inline uint32_t conn_in_pipe(const struct conn *c)
{
	return c->pipe ? c->pipe->held : 0;
}

/* Stage: room for at least this many bytes of scratch; NULL when there is not (never for a fresh
 * stage and a head within limits). Follow with stage_wrote. */
static inline char *stage_scratch(struct stage *s, size_t *ret_room)
{
	*ret_room = STAGE_SCRATCH_BYTES - s->used;
	return s->scratch + s->used;
}
static inline void stage_span(struct stage *s, struct span data)
{
	struct iovec *last = s->count ? &s->iov[s->count - 1] : NULL;

	if (!data.len)
		return;
	s->bytes += data.len;
	if (last && (char *)last->iov_base + last->iov_len == data.ptr) {
		last->iov_len += data.len; /* runs that touch are one */
		return;
	}
	ASSERT(s->count < STAGE_IOV);
	s->iov[s->count++] = (struct iovec){(void *)(uintptr_t)data.ptr, data.len};
}
static inline void stage_wrote(struct stage *s, size_t bytes)
{
	ASSERT(bytes <= STAGE_SCRATCH_BYTES - s->used);
	stage_span(s, span_make(s->scratch + s->used, bytes));
	s->used += bytes;
}
static inline void stage_reset(struct stage *s) /* forgets what is staged */
{
	s->count = 0;
	s->bytes = s->used = 0;
}
static inline bool stage_has_room(const struct stage *s) /* for a chunk: head, data, end */
{
	return s->count + 4 <= STAGE_IOV && s->used + 64 <= STAGE_SCRATCH_BYTES;
}
/* Writes what is staged (after what is pending). -1: the connection is broken (errno). */
int conn_flush(struct conn *c, struct stage *s);
/* The same with bytes that were never staged. */
int conn_send(struct conn *c, struct span bytes);

/* on_deadline with bytes pending: has the other side taken nothing for send_ns, or, while bytes
 * were pending, less than `rate` bytes a second? False: it goes on, and so does the deadline. */
bool conn_stalled(struct conn *c, uint64_t rate);
/*
 * Splicing, between bare sockets: conn_pipe_get() gives `to`, which has nothing pending, a pipe for
 * what comes from `from` (false: none, copy); conn_pipe_fill() reads once, at most `limit` bytes,
 * from there, with nothing in hand; only IO_OK leaves the pipe in place, and then conn_pipe_flush()
 * writes what was read. -1: broken; what is left is to be dropped.
 */
bool conn_pipe_get(const struct conn *from, struct conn *to);
enum io_rc conn_pipe_fill(struct conn *from, struct conn *to, uint64_t limit, uint32_t *ret_bytes);
int conn_pipe_flush(struct conn *to);
void conn_drop_pending(struct conn *c);

void conn_set_deadline(struct conn *c, uint64_t after_ns);
/* From now; 0: none. */
static inline void conn_deadline(struct conn *c, uint64_t after_ns)
{
	if (after_ns)
		conn_set_deadline(c, after_ns);
	else
		wheel_clear(&c->timer);
}
void conn_pause(struct conn *c);
static inline void conn_resume(struct conn *c);
void conn_resume_slow(struct conn *c);
/* Nothing more will be sent; nothing may be pending. -1: it is broken (errno). */
int conn_shutdown(struct conn *c);
void conn_close(struct conn *c);
/* The same with a reset instead of a FIN: the other side must not take what it got for complete. */
void conn_abort(struct conn *c);
/* For worker.c: after the loop iteration its socket is closed, and its memory goes back. */
void conn_reap(struct conn *c);

static inline void conn_resume(struct conn *c)
{
	if (!c->reading)
		conn_resume_slow(c);
}
