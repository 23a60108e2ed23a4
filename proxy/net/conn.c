#include "proxy/net/conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/progress.h"
#include "proxy/net/rawio.h"
#include "proxy/worker.h"

/* The write that waited for this is tried again. False: no read is wanted now. */
static bool uncross_read(struct conn *c)
{
	c->write_wants_read = false;
	conn_feed(c, EV_WRITE);
	if (!c->reading)
		ev_io_stop(c->worker->loop, &c->rd);
	return c->reading;
}

/* The same the other way round. */
static bool uncross_write(struct conn *c)
{
	c->read_wants_write = false;
	if (c->reading)
		conn_feed(c, EV_READ);
	if (!conn_blocked(c))
		ev_io_stop(c->worker->loop, &c->wr);
	return conn_blocked(c);
}

static void on_read_event(struct ev_loop *loop, ev_io *io, int events)
{
	struct conn *c = io->data;

	(void)loop;
	(void)events;
	if (c->write_wants_read && !uncross_read(c))
		return;
	c->handler->on_readable(c);
}

static void out_drop(struct conn *c)
{
	if (c->out) {
		buf_fini(c->out);
		free(c->out);
		c->out = NULL;
	}
}

static void pipe_drop(struct conn *c)
{
	pipe_put(&c->worker->pipes, c->pipe);
	c->pipe = NULL;
}

void conn_drop_pending(struct conn *c)
{
	out_drop(c);
	pipe_drop(c);
	ev_io_stop(c->worker->loop, &c->wr);
}

/* One write from the pipe, of all that it holds; the same results as out_write(). */
static int pipe_write(struct conn *c)
{
	struct pipe *p = c->pipe;
	ssize_t n = raw_splice(p->read_fd, c->fd, p->held);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	ASSERT((size_t)n <= p->held);
	p->held -= (uint32_t)n;
	if (!p->held)
		pipe_drop(c);
	return 0;
}

/* Writes pending bytes; 0 when all are gone or the kernel takes no more, -1 on error. */
static int out_write(struct conn *c)
{
	if (c->pipe)
		return pipe_write(c);
	while (c->out->len) {
		struct span s = buf_span(c->out);
		struct iovec all = {(void *)(uintptr_t)s.ptr, s.len};
		ssize_t n = c->transport ? c->transport->send(c, &all, 1)
					 : raw_send(c->fd, s.ptr, s.len);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		buf_consume(c->out, (size_t)n);
		if ((size_t)n < s.len)
			return 0;
	}
	out_drop(c);
	return 0;
}

/* While bytes are pending the deadline is the send time's. It stands still in between, so that
 * who takes a little now and then does not begin anew each time. */
static void start_send_clock(struct conn *c)
{
	if (c->send_left_ns > c->send_ns)
		c->send_left_ns = c->send_span_ns = c->send_ns;
	conn_deadline(c, c->send_left_ns);
}

static void stop_send_clock(struct conn *c)
{
	uint64_t now_ns = c->worker->now_ns, until_ns = c->timer.deadline_ns;

	c->send_left_ns = until_ns > now_ns ? until_ns - now_ns : 1;
}

/* Only an error makes the socket readable as well, or a server that has spoken already. */
static void end_connecting(struct conn *c, int events)
{
	ev_io_stop(c->worker->loop, &c->wr);
	ev_io_modify(&c->wr, EV_WRITE);
	c->doubtful = events & EV_READ;
}

static void on_write_event(struct ev_loop *loop, ev_io *io, int events)
{
	struct conn *c = io->data;

	if (c->connecting)
		end_connecting(c, events);
	if (c->read_wants_write && !uncross_write(c))
		return;
	if (!c->connecting && conn_blocked(c)) {
		if (out_write(c) < 0) {
			c->handler->on_write_error(c);
			return;
		}
		if (conn_blocked(c))
			return;
		stop_send_clock(c);
	}
	ev_io_stop(loop, &c->wr);
	c->handler->on_writable(c);
}

void conn_init(struct conn *c, struct worker *w, const struct conn_handler *h, int fd)
{
	c->handler = h;
	c->worker = w;
	c->transport = NULL;
	c->layer = NULL;
	c->fd = fd;
	c->in = NULL;
	c->out = NULL;
	c->send_left_ns = c->send_span_ns = UINT64_MAX;
	c->acked_bytes = 0;
	c->pipe = NULL;
	c->reading = c->read_wants_write = c->write_wants_read = false;
	c->connecting = c->doubtful = c->closing = c->eof = false;
	list_init(&c->reap_link);
	wheel_timer_init(&c->timer);
	ev_io_init(&c->rd, on_read_event, fd, EV_READ);
	ev_io_init(&c->wr, on_write_event, fd, EV_WRITE);
	c->rd.data = c->wr.data = c;
}

void conn_start(struct conn *c)
{
	c->reading = true;
	if (c->fd >= 0)
		ev_io_start(c->worker->loop, &c->rd);
	if (c->transport && c->transport->has_input(c))
		conn_feed(c, EV_READ);
}

void conn_start_connecting(struct conn *c)
{
	c->connecting = true;
	ev_io_modify(&c->wr, EV_READ | EV_WRITE);
	ev_io_start(c->worker->loop, &c->wr);
}

int conn_socket_error(struct conn *c)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (c->doubtful && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return errno;
	return error;
}

int conn_connect_error(struct conn *c)
{
	return c->transport ? c->transport->connect_error(c) : conn_socket_error(c);
}

void conn_feed(struct conn *c, int event)
{
	ev_feed_event(c->worker->loop, event == EV_READ ? &c->rd : &c->wr, event);
}

void conn_cross(struct conn *c, int event)
{
	if (event == EV_READ)
		c->read_wants_write = true;
	else
		c->write_wants_read = true;
	if (c->fd >= 0)
		ev_io_start(c->worker->loop, event == EV_READ ? &c->wr : &c->rd);
}

enum io_rc conn_read(struct conn *c, uint32_t size, bool *ret_full)
{
	bool had_none = !c->in;
	ssize_t n;
	uint32_t room;

	*ret_full = false;
	if (had_none) {
		c->in = iobuf_get(&c->worker->iobufs, size);
		if (!c->in) {
			errno = ENOMEM;
			return IO_ERROR;
		}
	}
	room = iobuf_room(c->in);
	ASSERT(room > 0);
	do
		n = c->transport ? c->transport->recv(c, c->in->data + c->in->end, room)
				 : raw_recv(c->fd, c->in->data + c->in->end, room);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN) {
		if (had_none) /* half a record came */
			conn_drop_in(c);
		return IO_AGAIN;
	}
	if (n < 0)
		return IO_ERROR;
	if (n == 0) {
		c->eof = true;
		return IO_EOF;
	}
	c->in->end += (uint32_t)n;
	*ret_full = (uint32_t)n == room;
	return IO_OK;
}

void conn_drop_in(struct conn *c)
{
	iobuf_put(&c->worker->iobufs, c->in);
	c->in = NULL;
}

static void wait_until_writable(struct conn *c)
{
	if (c->fd >= 0)
		ev_io_start(c->worker->loop, &c->wr);
	start_send_clock(c);
}

/* Keeps what the kernel did not take: all pieces but their first `done` bytes. */
static int keep_rest(struct conn *c, const struct iovec *iov, unsigned count, size_t done)
{
	bool waits = c->out;

	if (!waits) {
		c->out = malloc(sizeof(*c->out));
		if (!c->out)
			return -1;
		buf_init(c->out, CONN_OUT_MAX);
	}
	for (unsigned i = 0; i < count; i++) {
		size_t skip = done < iov[i].iov_len ? done : iov[i].iov_len;

		done -= skip;
		if (buf_append(c->out,
			    span_make((char *)iov[i].iov_base + skip, iov[i].iov_len - skip)) < 0) {
			errno = ENOBUFS;
			return -1;
		}
	}
	if (!waits)
		wait_until_writable(c);
	return 0;
}

static inline ssize_t send_pieces(struct conn *c, struct iovec *iov, unsigned count)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = count};

	if (c->transport)
		return c->transport->send(c, iov, count);
	if (count == 1)
		return raw_send(c->fd, iov[0].iov_base, iov[0].iov_len);
	return raw_sendmsg(c->fd, &m);
}

static inline int send_or_keep(struct conn *c, struct iovec *iov, unsigned count, size_t bytes)
{
	ssize_t n = 0;

	ASSERT(!c->pipe);
	if (!c->out) {
		n = send_pieces(c, iov, count);
		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				return -1;
			n = 0;
		}
	}
	return (size_t)n < bytes ? keep_rest(c, iov, count, (size_t)n) : 0;
}

int conn_flush(struct conn *c, struct stage *s)
{
	int rc = s->bytes ? send_or_keep(c, s->iov, s->count, s->bytes) : 0;

	stage_reset(s);
	return rc;
}

int conn_send(struct conn *c, struct span bytes)
{
	struct iovec one = {(void *)(uintptr_t)bytes.ptr, bytes.len};

	return send_or_keep(c, &one, 1, bytes.len);
}

#define STALL_LOOK_NS (1 * NS_PER_S) /* at least, before the next look */

static int read_progress(const struct conn *c, struct progress *ret_progress)
{
	if (c->transport && c->transport->progress)
		return c->transport->progress(c, ret_progress);
	return progress_read(c->fd, ret_progress);
}

bool conn_stalled(struct conn *c, uint64_t rate)
{
	uint64_t least = rate * (c->send_span_ns / NS_PER_MS) / 1000;
	uint64_t floor_ns = c->send_ns < STALL_LOOK_NS ? c->send_ns : STALL_LOOK_NS;
	struct progress p;

	if (read_progress(c, &p) < 0 || p.silent_ns >= c->send_ns ||
		p.acked_bytes - c->acked_bytes < (least ? least : 1))
		return true;
	c->acked_bytes = p.acked_bytes;
	c->send_span_ns = c->send_ns - p.silent_ns;
	if (c->send_span_ns < floor_ns) /* what it takes next is to be acknowledged by then */
		c->send_span_ns = floor_ns;
	conn_deadline(c, c->send_span_ns);
	return false;
}

bool conn_pipe_get(const struct conn *from, struct conn *to)
{
	ASSERT(!conn_blocked(to));
	if (from->transport || to->transport)
		return false;
	to->pipe = pipe_get(&to->worker->pipes);
	return to->pipe;
}

enum io_rc conn_pipe_fill(struct conn *from, struct conn *to, uint64_t limit, uint32_t *ret_bytes)
{
	struct pipe *p = to->pipe;
	ssize_t n;

	ASSERT(!p->held && limit);
	do
		n = raw_splice(
			from->fd, p->write_fd, limit < SPLICE_MAX_BYTES ? limit : SPLICE_MAX_BYTES);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		*ret_bytes = p->held = (uint32_t)n;
		return IO_OK;
	}
	pipe_drop(to);
	if (n == 0) {
		from->eof = true;
		return IO_EOF;
	}
	if (errno == EAGAIN)
		return IO_AGAIN;
	if (errno != EINVAL && errno != ENOSYS && errno != EPERM)
		return IO_ERROR;
	from->worker->pipes.max = 0; /* this system does not splice: nobody asks again */
	return IO_AGAIN;
}

int conn_pipe_flush(struct conn *to)
{
	if (pipe_write(to) < 0)
		return -1;
	if (to->pipe)
		wait_until_writable(to);
	return 0;
}

void conn_set_deadline(struct conn *c, uint64_t after_ns)
{
	worker_set_deadline(c->worker, &c->timer, after_ns);
}

void conn_pause(struct conn *c)
{
	c->reading = false;
	ev_io_stop(c->worker->loop, &c->rd);
}

void conn_resume_slow(struct conn *c)
{
	if (!c->eof && !c->closing)
		conn_start(c);
}

int conn_shutdown(struct conn *c)
{
	return c->transport ? c->transport->shutdown(c) : shutdown(c->fd, SHUT_WR);
}

static void close_now(struct conn *c, bool abort)
{
	static const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	if (c->closing)
		return;
	c->closing = true;
	c->reading = false;
	ev_io_stop(c->worker->loop, &c->rd);
	ev_io_stop(c->worker->loop, &c->wr);
	wheel_remove(&c->worker->wheel, &c->timer);
	out_drop(c);
	pipe_drop(c);
	conn_drop_in(c);
	if (c->transport)
		c->transport->close(c, abort);
	if (c->fd >= 0 && abort)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	c->fd = -1; /* the watchers still know it */
	list_append(&c->worker->reap, &c->reap_link);
}

void conn_close(struct conn *c)
{
	close_now(c, false);
}

void conn_abort(struct conn *c)
{
	close_now(c, true);
}

void conn_reap(struct conn *c)
{
	ASSERT(c->closing);
	list_remove(&c->reap_link);
	if (c->rd.fd >= 0)
		close(c->rd.fd);
	c->handler->free(c);
}
