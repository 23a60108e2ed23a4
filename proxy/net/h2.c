#include "proxy/net/h2_internal.h"

#include <arpa/inet.h>

#include "proxy/worker.h"

/* What a peer may make us do for nothing: at once, and a second. */
#define FRAMES_AT_ONCE 1000
#define FRAMES_A_S 200
#define RESETS_AT_ONCE 200
#define RESETS_A_S 30
#define CONTINUATIONS_MAX 128
#define FRAME_HEAD 9
#define FRAMES_A_CONTENT 4 /* earned by a frame of content that it takes */
#define FRAMES_A_REQUEST 8

static const struct http_limits trailer_limits = {
	.line_bytes = 0, .head_bytes = HTTP1_TRAILERS_MAX, .field_bytes = 8192, .fields = 100};

void h2_wake(struct h2 *h)
{
	if (!ev_is_pending(&h->work))
		ev_feed_event(h->conn->worker->loop, &h->work, EV_PREPARE);
}

void h2_break(struct h2 *h)
{
	h->failed = true;
	h2_wake(h);
}

void h2_tell(struct h2_stream *s)
{
	if (!list_empty(&s->event_link))
		return;
	list_append(&s->h2->events, &s->event_link);
	h2_wake(s->h2);
}

void h2_set_nv(nghttp2_nv *nv, const struct http_list *list)
{
	for (unsigned i = 0; i < list->count; i++) {
		const struct http_pair *p = &list->pairs[i];

		nv[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)p->name.ptr,
			(uint8_t *)(uintptr_t)p->value.ptr, p->name.len, p->value.len,
			NGHTTP2_NV_FLAG_NONE};
	}
}

/* --- the budget
 * --------------------------------------------------------------------------------------- */

static void fill_up(uint32_t *left, uint64_t by, uint32_t max)
{
	*left = by < max - *left ? *left + (uint32_t)by : max;
}

static void earn(struct h2 *h, uint32_t frames)
{
	fill_up(&h->budget.frames, frames, FRAMES_AT_ONCE);
}

static void spend(struct h2 *h, uint32_t *left)
{
	uint64_t now_ns = h->conn->worker->now_ns;
	uint64_t ms = (now_ns - h->budget.filled_ns) / NS_PER_MS;

	if (ms >= 100) {
		fill_up(&h->budget.frames, ms * FRAMES_A_S / 1000, FRAMES_AT_ONCE);
		fill_up(&h->budget.resets, ms * RESETS_A_S / 1000, RESETS_AT_ONCE);
		h->budget.filled_ns = now_ns;
	}
	if (*left) {
		--*left;
		return;
	}
	if (!h->overspent)
		h2_fail(h, NGHTTP2_ENHANCE_YOUR_CALM);
	h->overspent = true;
}

/* A frame that costs us something, and its sender nothing. */
static bool is_cheap(const nghttp2_frame_hd *hd)
{
	switch (hd->type) {
	case NGHTTP2_DATA: /* see is_empty() */
	case NGHTTP2_HEADERS:
	case NGHTTP2_RST_STREAM: /* which have a budget of their own, or a limit */
		return false;
	default: /* SETTINGS, PING, PRIORITY, WINDOW_UPDATE, CONTINUATION, unknown ones */
		return true;
	}
}

/* Content that is none, or only padding. */
static bool is_empty(const nghttp2_frame *frame)
{
	return frame->hd.type == NGHTTP2_DATA && frame->hd.length == frame->data.padlen &&
	       !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
}

/* Resets that we were made to send count like those that came. */
static bool is_provoked(uint32_t code)
{
	return code == NGHTTP2_PROTOCOL_ERROR || code == NGHTTP2_FLOW_CONTROL_ERROR ||
	       code == NGHTTP2_STREAM_CLOSED || code == NGHTTP2_FRAME_SIZE_ERROR ||
	       code == NGHTTP2_REFUSED_STREAM || code == NGHTTP2_COMPRESSION_ERROR;
}

/* --- what nghttp2 calls
 * -------------------------------------------------------------------------------- */

static struct h2_stream *stream_by(nghttp2_session *session, int32_t id)
{
	return nghttp2_session_get_stream_user_data(session, id);
}

/* nghttp2 passes over HEADERS on a stream that is over. They may have been on their way when we
 * reset it, which is paid for; without a reset the client breaks the rules (RFC 9113 5.1, 5.1.1):
 * it had ended the stream, or passed over its number, which is known where it left out none. */
static void on_late_head(struct h2 *h)
{
	bool left_out = h->begun < ((uint32_t)h->last_id + 1) / 2;

	if (h->reset_sent)
		spend(h, &h->budget.frames);
	else if (!h->overspent)
		h2_fail(h, left_out ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_STREAM_CLOSED);
}

static bool is_late(const struct h2 *h, const nghttp2_frame_hd *hd)
{
	return h->role->server && hd->type == NGHTTP2_HEADERS && hd->stream_id & 1 &&
	       hd->stream_id <= h->last_id &&
	       nghttp2_session_get_stream_remote_close(h->session, hd->stream_id) < 0;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ctx)
{
	struct h2 *h = ctx;

	(void)session;
	if (is_late(h, hd))
		on_late_head(h);
	else if (hd->type == NGHTTP2_PRIORITY && hd->stream_id == 0) /* RFC 9113 6.3 */
		h2_fail(h, NGHTTP2_PROTOCOL_ERROR);
	else if (is_cheap(hd))
		spend(h, &h->budget.frames);
	return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
	struct h2 *h = ctx;
	int32_t id = frame->hd.stream_id;
	struct h2_stream *s = stream_by(session, id);

	if (h->role->server && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		static const nghttp2_extpri fair = {NGHTTP2_EXTPRI_DEFAULT_URGENCY, 1};

		h->last_id = id;
		h->begun++;
		h->open++;
		s = h->open <= h->streams_max ? h->role->on_request(h, id) : NULL;
		if (!s)
			return nghttp2_submit_rst_stream(
				session, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
		s->head = H2_HEAD_COMING;
		nghttp2_session_set_stream_user_data(session, id, s);
		nghttp2_session_change_extpri_stream_priority(session, id, &fair, 1);
		earn(h, FRAMES_A_REQUEST);
		return 0;
	}
	if (!s)
		return 0;
	if (s->head == H2_HEAD_HERE) {
		h->role->on_event(s); /* before the next takes its place */
		if (!s->h2)
			return 0;
	}
	if (s->head == H2_NO_HEAD)
		s->head = H2_HEAD_COMING;
	else
		http2_read_start(&s->reader, HTTP2_TRAILERS, NULL, &trailer_limits);
	return 0;
}

/* The buffer that the lines of a head are kept in; NULL when out of memory. */
static char *text_of(struct h2_stream *s, size_t *ret_size)
{
	struct conn *c = s->conn;

	if (s->reader.kind == HTTP2_TRAILERS) {
		if (!s->trailers.data && !buf_reserve(&s->trailers, HTTP1_TRAILERS_MAX))
			return NULL;
		*ret_size = s->trailers.cap;
		return s->trailers.data;
	}
	if (!c->in)
		c->in = iobuf_get(&c->worker->iobufs, IOBUF_SMALL_BYTES);
	if (!c->in)
		return NULL;
	c->in->end = c->in->start + s->reader.bytes;
	*ret_size = c->in->size - c->in->start;
	return c->in->data + c->in->start;
}

static int add_field(struct h2_stream *s, struct span name, struct span value)
{
	size_t size;
	char *text = text_of(s, &size);

	while (text && !http2_read_field(&s->reader, text, size, name, value)) {
		if (s->reader.kind == HTTP2_TRAILERS ||
			!iobuf_make_room(&s->conn->worker->iobufs, &s->conn->in))
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		text = text_of(s, &size);
		http_head_move(s->reader.head, text);
	}
	return text ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *ctx)
{
	struct h2_stream *s = stream_by(session, frame->hd.stream_id);

	(void)flags, (void)ctx;
	return s ? add_field(s, span_make(name, name_len), span_make(value, value_len)) : 0;
}

/* What nghttp2 would leave out: we do not repair. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
	const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
	void *ctx)
{
	(void)session, (void)frame, (void)name, (void)name_len, (void)value, (void)value_len;
	(void)flags, (void)ctx;
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int end_head(struct h2_stream *s, bool ends)
{
	size_t size;
	char *text = text_of(s, &size);
	enum parse_rc rc;

	if (!text)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	rc = http2_read_end(&s->reader, text, ends, s->request_method);
	if (s->reader.kind == HTTP2_TRAILERS) {
		if (rc == PARSE_BAD)
			return nghttp2_submit_rst_stream(
				s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_PROTOCOL_ERROR);
		buf_grew(&s->trailers, s->reader.bytes);
		return 0;
	}
	s->conn->in->end = s->conn->in->start + s->reader.bytes + HTTP2_READ_SPARE;
	s->head = H2_HEAD_HERE;
	return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
	struct h2 *h = ctx;
	struct h2_stream *s;
	bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	int rc = 0;

	if (is_empty(frame))
		spend(h, &h->budget.frames);
	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA:
		s = stream_by(session, frame->hd.stream_id);
		if (!s)
			break;
		s->in_end |= ends;
		if (frame->hd.type == NGHTTP2_HEADERS)
			rc = end_head(s, ends);
		h2_tell(s);
		break;
	case NGHTTP2_RST_STREAM:
		spend(h, &h->budget.resets);
		break;
	case NGHTTP2_SETTINGS:
		h->greeted = true;
		break;
	case NGHTTP2_PING:
		if (frame->hd.flags & NGHTTP2_FLAG_ACK) {
			h->ponged = true;
			h2_wake(h);
		}
		break;
	default:
		break;
	}
	return rc;
}

static int on_content(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
	size_t len, void *ctx)
{
	struct h2_stream *s = stream_by(session, id);

	(void)flags, (void)ctx;
	if (!s)
		return nghttp2_session_consume(session, id, len);
	if (buf_append(&s->in, span_make(data, len)) < 0) {
		nghttp2_session_consume(session, id, len);
		return nghttp2_submit_rst_stream(
			session, NGHTTP2_FLAG_NONE, id, NGHTTP2_INTERNAL_ERROR);
	}
	h2_tell(s);
	return h2_keeps_connection_open(s->h2) ? nghttp2_session_consume_connection(session, len)
					       : 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
	struct h2 *h = ctx;
	uint8_t type = frame->hd.type;
	struct h2_stream *s;

	h->reset_sent |= type == NGHTTP2_RST_STREAM;
	if (type == NGHTTP2_RST_STREAM && is_provoked(frame->rst_stream.error_code))
		spend(h, &h->budget.resets);
	if (type == NGHTTP2_DATA)
		earn(h, FRAMES_A_CONTENT);
	if (type == NGHTTP2_GOAWAY && frame->goaway.last_stream_id != INT32_MAX)
		conn_resume(h->conn);
	/* Not before it: nghttp2 lets pings overtake, and the answer is to say that it was read. */
	if (type == NGHTTP2_GOAWAY && frame->goaway.last_stream_id == INT32_MAX)
		return nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, NULL);
	if ((type != NGHTTP2_DATA && type != NGHTTP2_HEADERS) ||
		!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	s = stream_by(session, frame->hd.stream_id);
	if (!s)
		return 0;
	s->ended = true;
	/* The rest of what was asked is not wanted (RFC 9113 8.1). */
	if (h->role->server && !s->in_end)
		return nghttp2_submit_rst_stream(
			session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
	struct h2_stream *s = stream_by(session, id);
	struct h2 *h = ctx;

	h->open -= h->open > 0;
	if (!s)
		return 0;
	s->closed = true;
	s->code = code;
	s->reset = !(s->in_end && s->ended) && !(s->h2->role->server && s->ended);
	h2_tell(s);
	return 0;
}

/* --- the connection
 * ----------------------------------------------------------------------------------- */

static nghttp2_session_callbacks *make_callbacks(void)
{
	nghttp2_session_callbacks *to;

	if (nghttp2_session_callbacks_new(&to) != 0)
		return NULL;
	nghttp2_session_callbacks_set_on_begin_frame_callback(to, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(to, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(to, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(to, on_invalid_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(to, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(to, on_content);
	nghttp2_session_callbacks_set_on_frame_send_callback(to, on_frame_send);
	nghttp2_session_callbacks_set_on_stream_close_callback(to, on_stream_close);
	nghttp2_session_callbacks_set_send_data_callback(to, h2_write_content);
	return to;
}

static int make_session(struct h2 *h)
{
	nghttp2_session_callbacks *callbacks = make_callbacks();
	nghttp2_option *option = NULL;
	int rc = -1;

	if (callbacks && nghttp2_option_new(&option) == 0) {
		nghttp2_option_set_no_auto_window_update(option, 1);
		nghttp2_option_set_peer_max_concurrent_streams(option, 100);
		/* The frames of one head: a few are all that one within our limits needs, but they
		 * may be small, and they are paid for. */
		nghttp2_option_set_max_continuations(option, CONTINUATIONS_MAX);
		/* Its own limit of resets would end all streams as if nothing had happened. */
		nghttp2_option_set_stream_reset_rate_limit(
			option, RESETS_AT_ONCE + 1, RESETS_A_S + 1);
		rc = h->role->server
			     ? nghttp2_session_server_new2(&h->session, callbacks, h, option)
			     : nghttp2_session_client_new2(&h->session, callbacks, h, option);
	}
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	return rc == 0 ? 0 : -1;
}

/* Of a client with more streams than it may have, nghttp2 would end the connection, and with it
 * those that it may. They are to be refused one by one (RFC 9113 5.1.2), which on_begin_headers()
 * does: so nghttp2 knows of no limit, and the SETTINGS that it has made are told of it here. */
static int say_limit(struct h2 *h, uint32_t streams)
{
	enum { ENTRY_BYTES = 6 };
	const uint8_t *frame;
	ssize_t n;

	h->streams_max = streams;
	h->out = iobuf_get(&h->conn->worker->iobufs, IOBUF_LARGE_BYTES);
	n = h->out ? nghttp2_session_mem_send(h->session, &frame) : -1;
	if (n < 0)
		return -1;
	ASSERT(n >= FRAME_HEAD && n <= iobuf_room(h->out));
	memcpy(h->out->data, frame, (size_t)n);
	h->out->end = (uint32_t)n;
	for (char *e = h->out->data + FRAME_HEAD; e < h->out->data + n; e += ENTRY_BYTES)
		if (e[0] == 0 && e[1] == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) {
			streams = htonl(streams);
			memcpy(e + 2, &streams, sizeof(streams));
		}
	return 0;
}

static int say_hello(struct h2 *h, const struct h2_conf *conf, const struct http_limits *limits)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, conf->stream_window},
		{NGHTTP2_SETTINGS_MAX_FRAME_SIZE, conf->frame_bytes},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->head_bytes},
		{NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, UINT32_MAX},
		{NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
	};
	const nghttp2_settings_entry client_settings[] = {
		settings[0],
		settings[1],
		settings[2],
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
	};
	int rc = h->role->server ? nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings,
					   countof(settings))
				 : nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE,
					   client_settings, countof(client_settings));

	if (rc == 0 && h->role->server)
		rc = say_limit(h, conf->streams);
	if (rc == 0)
		rc = nghttp2_session_set_local_window_size(
			h->session, NGHTTP2_FLAG_NONE, 0, (int32_t)conf->connection_window);
	return rc == 0 ? 0 : -1;
}

static void on_work(struct ev_loop *loop, ev_prepare *work, int events);

int h2_init(struct h2 *h, const struct h2_role *role, struct conn *c, const struct h2_conf *conf,
	const struct http_limits *limits)
{
	memset(h, 0, sizeof(*h));
	h->role = role;
	h->conn = c;
	list_init(&h->streams);
	list_init(&h->events);
	h->budget.frames = FRAMES_AT_ONCE;
	h->budget.resets = RESETS_AT_ONCE;
	h->budget.filled_ns = c->worker->now_ns;
	ev_prepare_init(&h->work, on_work);
	ev_set_priority(&h->work, EV_MINPRI);
	h->work.data = h;
	if (make_session(h) < 0)
		return -1;
	if (say_hello(h, conf, limits) < 0) {
		iobuf_put(&c->worker->iobufs, h->out);
		h->out = NULL;
		nghttp2_session_del(h->session);
		h->session = NULL;
		return -1;
	}
	h2_wake(h);
	return 0;
}

void h2_fini(struct h2 *h)
{
	ASSERT(list_empty(&h->streams) && !ev_is_pending(&h->work));
	nghttp2_session_del(h->session);
}

void h2_abandon(struct h2 *h)
{
	struct worker *w = h->conn->worker;

	ASSERT(!h->inside);
	h->over = true;
	list_each_safe (it, &h->streams) {
		struct h2_stream *s = list_item(it, struct h2_stream, link);

		s->closed = s->reset = s->lost = true;
		h->role->on_event(s);
	}
	/* Who keeps its stream for a while has only what is in it. */
	while (!list_empty(&h->streams)) {
		struct h2_stream *s = list_item(h->streams.next, struct h2_stream, link);

		list_remove(&s->link);
		list_remove(&s->event_link);
		s->h2 = NULL;
		h->stream_count--;
	}
	ev_clear_pending(w->loop, &h->work);
	iobuf_put(&w->iobufs, h->out);
	h->out = NULL;
}

static void broken(struct h2 *h)
{
	if (h->over)
		return;
	h->over = true;
	h->role->on_broken(h);
}

/* What was gathered goes to the socket. False: no more now. */
static bool flush(struct h2 *h)
{
	struct iobuf *out = h->out;
	struct span frames = iobuf_span(out);

	out->start = out->end = 0;
	if (frames.len && conn_send(h->conn, frames) < 0) {
		h2_break(h);
		return false;
	}
	return !conn_blocked(h->conn);
}

void h2_pump(struct h2 *h)
{
	const uint8_t *piece;
	ssize_t n = 1;

	if (h->inside || h->over || h->failed || h->conn->connecting || conn_blocked(h->conn))
		return;
	if (!h->out)
		h->out = iobuf_get(&h->conn->worker->iobufs, IOBUF_LARGE_BYTES);
	if (!h->out) { /* to wait for memory would take all of the worker's turns */
		h2_break(h);
		return;
	}
	while (n > 0 || h->full) {
		if (iobuf_room(h->out) < H2_PIECE_MAX && !flush(h))
			return;
		h->full = false;
		h->inside = true;
		n = nghttp2_session_mem_send(h->session, &piece);
		h->inside = false;
		if (n < 0) {
			h2_break(h);
			return;
		}
		if (n > 0) {
			ASSERT(n <= iobuf_room(h->out));
			memcpy(h->out->data + h->out->end, piece, (size_t)n);
			h->out->end += (uint32_t)n;
		}
	}
}

static void tell_owners(struct h2 *h)
{
	while (!list_empty(&h->events)) {
		struct h2_stream *s = list_item(h->events.next, struct h2_stream, event_link);

		list_remove(&s->event_link);
		list_init(&s->event_link);
		h->role->on_event(s);
	}
}

static void work(struct h2 *h)
{
	struct iobuf_pool *pool = &h->conn->worker->iobufs;

	tell_owners(h);
	h2_pump(h);
	if (h->out && !h->over && !h->failed)
		flush(h);
	if (h->failed)
		broken(h);
	if (h->out && h->out->end == h->out->start) {
		iobuf_put(pool, h->out);
		h->out = NULL;
	}
	if (h->over)
		return;
	if (h->ponged || h->greeted || !h->stream_count)
		h->role->on_quiet(h);
	if (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session) &&
		!h->over) {
		h->over = true;
		h->role->on_over(h);
	}
}

static void on_work(struct ev_loop *loop, ev_prepare *watcher, int events)
{
	(void)loop;
	(void)events;
	work(watcher->data);
}

void h2_receive(struct h2 *h, struct span bytes)
{
	ssize_t n;

	if (h->over)
		return;
	h->inside = true;
	n = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes.ptr, bytes.len);
	h->inside = false;
	h->overspent |= n == NGHTTP2_ERR_FLOODED; /* more answers wait than it will ever read */
	if (n < 0)
		broken(h);
	else
		h2_wake(h);
}

void h2_writable(struct h2 *h)
{
	h2_wake(h);
}

void h2_warn(struct h2 *h)
{
	nghttp2_submit_shutdown_notice(h->session);
	h2_wake(h);
}

void h2_ping(struct h2 *h)
{
	nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
	h2_wake(h);
}

/* What a connection is to end with: without memory to say it, it ends at once. */
static void submitted(struct h2 *h, int rc)
{
	if (rc == 0)
		h2_wake(h);
	else
		h2_break(h);
}

/* A stream that comes before this has left would be served, though the other side is told that it
 * was not, and asks for the same elsewhere. So nothing comes until then. */
void h2_say_goodbye(struct h2 *h)
{
	if (h->role->server)
		conn_pause(h->conn);
	submitted(h, nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
			     nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR,
			     NULL, 0));
}

void h2_fail(struct h2 *h, uint32_t code)
{
	submitted(h, nghttp2_session_terminate_session(h->session, code));
}
