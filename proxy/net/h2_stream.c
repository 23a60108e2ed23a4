/*
 * One stream as a connection. Content that came waits in `in`, which flow control bounds: only what
 * was read is given back to the other side's windows. Content to send is never kept here: send()
 * lets nghttp2 make frames straight from the caller's pieces, as far as the windows and the
 * connection's socket take them; the rest is the caller's (conn.out), and comes again when nghttp2
 * asks for more.
 */
#include "proxy/net/h2_internal.h"

#include <errno.h>

#include "proxy/net/progress.h"
#include "proxy/worker.h"

#define TRAILER_LIST_MAX 128

static struct h2_stream *stream_of(const struct conn *c)
{
	ASSERT(conn_is_stream(c));
	return c->layer;
}

void h2_stream_init(struct h2_stream *s, struct h2 *h, struct conn *conn, int32_t id)
{
	memset(s, 0, sizeof(*s));
	s->h2 = h;
	s->conn = conn;
	s->id = id;
	list_init(&s->event_link);
	list_append(&h->streams, &s->link);
	h->stream_count++;
	buf_init(&s->in, UINT32_MAX); /* bounded by the window */
	buf_init(&s->trailers, HTTP1_TRAILERS_MAX);
	buf_init(&s->trailers_out, HTTP1_TRAILERS_MAX);
	conn->transport = &h2_transport;
	conn->layer = s;
}

void h2_stream_move(struct h2_stream *s, struct h2 *to)
{
	ASSERT(s->id == 0 && s->h2 != to && s->h2->stream_count > 0);
	list_remove(&s->event_link);
	list_init(&s->event_link);
	list_remove(&s->link);
	s->h2->stream_count--;
	s->h2 = to;
	list_append(&to->streams, &s->link);
	to->stream_count++;
}

/* The other side hears that it ends, and nghttp2 knows us no more. */
static void drop(struct h2_stream *s, uint32_t code)
{
	nghttp2_session *session = s->h2->session;

	nghttp2_session_set_stream_user_data(session, s->id, NULL);
	if (nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, code) != 0)
		h2_break(s->h2);
}

/* --- receiving
 * ---------------------------------------------------------------------------------------- */

static bool has_input(const struct conn *c)
{
	const struct h2_stream *s = stream_of(c);

	return s->in.len || s->in_end || s->reset;
}

/* What was read may come again. */
static void give_back(struct h2_stream *s, size_t bytes)
{
	nghttp2_session *session = s->h2->session;
	int rc = h2_keeps_connection_open(s->h2)
			 ? nghttp2_session_consume_stream(session, s->id, bytes)
			 : nghttp2_session_consume(session, s->id, bytes);

	if (rc != 0)
		h2_break(s->h2);
}

static ssize_t stream_recv(struct conn *c, void *to, size_t bytes)
{
	struct h2_stream *s = stream_of(c);
	size_t n = s->in.len < bytes ? s->in.len : bytes;

	if (!n) {
		if (s->in_end)
			return 0;
		errno = s->reset ? ECONNRESET : EAGAIN;
		return -1;
	}
	memcpy(to, s->in.data + s->in.off, n);
	buf_consume(&s->in, n);
	if (s->h2) {
		give_back(s, n);
		h2_wake(s->h2);
	}
	if (s->in.len || s->reset)
		conn_feed(c, EV_READ);
	else if (s->in_end)
		c->eof = true; /* seen with the last bytes, not after them */
	return (ssize_t)n;
}

/* --- sending
 * ------------------------------------------------------------------------------------------ */

static void resume(struct h2_stream *s)
{
	if (s->deferred) {
		s->deferred = false;
		if (nghttp2_session_resume_data(s->h2->session, s->id) == NGHTTP2_ERR_NOMEM)
			h2_break(s->h2);
	}
	h2_wake(s->h2);
}

static bool can_send(const struct h2_stream *s)
{
	return s->h2 && !s->h2->over && !s->h2->failed && !s->closed && !s->ended;
}

static bool is_interim(const struct http_list *list)
{
	return span_eq(list->pairs[0].name, SPAN(":status")) && list->pairs[0].value.ptr[0] == '1';
}

/* A negative number: nghttp2 would not have it. */
static int submit_head(struct h2_stream *s, const struct http_list *list, bool ends)
{
	nghttp2_session *session = s->h2->session;
	nghttp2_data_provider content = {.read_callback = h2_read_content};
	UNFILLED nghttp2_nv nv[HTTP_LIST_MAX];

	h2_set_nv(nv, list);
	if (is_interim(list))
		return nghttp2_submit_headers(
			session, NGHTTP2_FLAG_NONE, s->id, NULL, nv, list->count, NULL);
	s->head_sent = true;
	s->ends = ends;
	if (s->h2->role->server)
		return nghttp2_submit_response(
			session, s->id, nv, list->count, ends ? NULL : &content);
	s->id = nghttp2_submit_request(session, NULL, nv, list->count, ends ? NULL : &content, s);
	return s->id;
}

void h2_send_head(struct conn *c, const struct http_list *list, bool ends)
{
	struct h2_stream *s = stream_of(c);

	if (!can_send(s) || s->head_sent)
		return;
	if (submit_head(s, list, ends) < 0) {
		if (s->id > 0)
			drop(s, NGHTTP2_INTERNAL_ERROR);
		s->closed = s->reset = true;
		s->code = NGHTTP2_REFUSED_STREAM;
		h2_tell(s);
	}
	h2_wake(s->h2);
}

void h2_expect_head(struct conn *c, struct http_head *head, const struct http_limits *limits,
	enum http_method request_method)
{
	struct h2_stream *s = stream_of(c);

	s->head = H2_NO_HEAD;
	s->request_method = request_method;
	http2_read_start(&s->reader, HTTP2_RESPONSE, head, limits);
}

int h2_send_end(struct conn *c, struct span trailers)
{
	struct h2_stream *s = stream_of(c);

	if (!can_send(s) || s->ends)
		return 0;
	if (trailers.len && buf_append(&s->trailers_out, trailers) < 0)
		return -1;
	s->ends = true;
	resume(s);
	return 0;
}

/* The last of the content has gone: trailers follow. 1: none of them may; -1: out of memory. */
static __attribute__((noinline)) int submit_trailers(struct h2_stream *s)
{
	UNFILLED struct http_pair pairs[TRAILER_LIST_MAX];
	UNFILLED nghttp2_nv nv[TRAILER_LIST_MAX];
	UNFILLED char room[HTTP1_TRAILERS_MAX];
	struct http_list list = {.pairs = pairs, .max = countof(pairs)};

	if (http2_list_trailers(&list, room, sizeof(room), buf_span(&s->trailers_out)) < 0)
		return -1;
	if (!list.count)
		return 1;
	h2_set_nv(nv, &list);
	return nghttp2_submit_trailer(s->h2->session, s->id, nv, list.count) == 0 ? 0 : -1;
}

ssize_t h2_read_content(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
	uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	struct h2 *h = ctx;
	int rc;

	(void)buf, (void)source;
	if (!s)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (!s->iov_left && conn_blocked(s->conn)) { /* it has more, and offers it again */
		conn_feed(s->conn, EV_WRITE);
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (!s->iov_left && !s->ends) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (iobuf_room(h->out) < H2_PIECE_MAX) {
		h->full = true;
		return NGHTTP2_ERR_PAUSE;
	}
	length = length < s->iov_left ? length : s->iov_left;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (length == s->iov_left && s->ends) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		rc = s->trailers_out.len ? submit_trailers(s) : 1;
		if (rc < 0) /* without them it would look whole */
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		if (rc == 0)
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	}
	return (ssize_t)length;
}

static void add(struct iobuf *out, const void *bytes, size_t n)
{
	memcpy(out->data + out->end, bytes, n);
	out->end += (uint32_t)n;
}

int h2_write_content(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
	size_t length, nghttp2_data_source *source, void *ctx)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	struct h2 *h = ctx;

	(void)source;
	ASSERT(s && length <= s->iov_left && iobuf_room(h->out) >= length + 9);
	add(h->out, head, 9); /* no padding was asked for */
	s->iov_left -= length;
	s->taken += length;
	s->sent_bytes += length;
	s->sent_ns = h->conn->worker->now_ns;
	while (length) {
		size_t n = s->iov->iov_len - s->iov_at;

		n = n < length ? n : length;
		add(h->out, (const char *)s->iov->iov_base + s->iov_at, n);
		length -= n;
		s->iov_at += n;
		if (s->iov_at == s->iov->iov_len) {
			s->iov++;
			s->iov_at = 0;
		}
	}
	return 0;
}

static ssize_t stream_send(struct conn *c, const struct iovec *iov, unsigned count)
{
	struct h2_stream *s = stream_of(c);

	if (!can_send(s)) {
		errno = EPIPE;
		return -1;
	}
	resume(s);
	if (!s->h2->inside) {
		s->iov = iov;
		s->iov_at = s->iov_left = s->taken = 0;
		for (unsigned i = 0; i < count; i++)
			s->iov_left += iov[i].iov_len;
		h2_pump(s->h2);
		s->iov_left = 0;
		if (s->taken)
			return (ssize_t)s->taken;
	}
	errno = EAGAIN;
	return -1;
}

static int stream_shutdown(struct conn *c)
{
	struct h2_stream *s = stream_of(c);

	if (!can_send(s)) {
		errno = EPIPE;
		return -1;
	}
	return h2_send_end(c, span_make(NULL, 0));
}

static int stream_progress(const struct conn *c, struct progress *ret_progress)
{
	const struct h2_stream *s = stream_of(c);

	*ret_progress = (struct progress){
		.acked_bytes = s->sent_bytes,
		.silent_ns = c->worker->now_ns - s->sent_ns,
	};
	return 0;
}

/* --- the end
 * ------------------------------------------------------------------------------------------ */

static void stream_close(struct conn *c, bool abort)
{
	struct h2_stream *s = stream_of(c);
	struct h2 *h = s->h2;

	if (h) {
		if (!s->closed && s->id > 0) {
			drop(s, !h->role->server ? NGHTTP2_CANCEL
				: abort		 ? NGHTTP2_INTERNAL_ERROR
						 : NGHTTP2_NO_ERROR);
		}
		if (s->in.len && !h2_keeps_connection_open(h) &&
			nghttp2_session_consume_connection(h->session, s->in.len) != 0)
			h2_break(h);
		list_remove(&s->link);
		list_remove(&s->event_link);
		ASSERT(h->stream_count > 0);
		h->stream_count--;
		h2_wake(h);
	}
	s->h2 = NULL;
	buf_fini(&s->in);
	buf_fini(&s->trailers);
	buf_fini(&s->trailers_out);
}

static int stream_connect_error(struct conn *c)
{
	const struct h2_stream *s = stream_of(c);

	return s->h2 ? s->h2->connect_error : ECONNRESET;
}

const struct transport h2_transport = {
	.recv = stream_recv,
	.send = stream_send,
	.has_input = has_input,
	.shutdown = stream_shutdown,
	.close = stream_close,
	.connect_error = stream_connect_error,
	.progress = stream_progress,
};
