#include "tests/fuzz/h2_oracle.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>

#include "shared/assert.h"

#define STREAMS_MAX 512
#define FRAME_HEAD 9
#define PORT_H2 2006 /* of the rig's server that speaks it */

static const struct span preface = SPAN("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

struct stream {
	int32_t id;
	enum { BEGUN, ANSWERED, ENDED, RESET } state; /* of what is sent on it */
	unsigned status;
	bool has_length, trailers;
	uint64_t length;
	struct fake_bytes content;
};

/* What was sent on one connection, so far as it is read. */
struct reader {
	bool server; /* we are: answers are sent */
	struct span left;
	nghttp2_hd_inflater *inflater;
	struct stream streams[STREAMS_MAX];
	unsigned count, frames;
	int32_t newest, goodbye;
};

struct frame {
	uint8_t type, flags;
	int32_t id;
	struct span payload;
};

/* --- frames
 * -------------------------------------------------------------------------------- */

static uint32_t number(struct span s, unsigned bytes)
{
	uint32_t n = 0;

	ASSERT(s.len >= bytes);
	for (unsigned i = 0; i < bytes; i++)
		n = n << 8 | (uint8_t)s.ptr[i];
	return n;
}

/* False: there is none, or it was cut off with the connection. */
static bool next_frame(struct reader *r, struct frame *f)
{
	uint32_t len;

	if (r->left.len < FRAME_HEAD)
		return false;
	len = number(r->left, 3);
	ASSERT(len <= 16384);
	if (r->left.len - FRAME_HEAD < len)
		return false;
	f->type = (uint8_t)r->left.ptr[3];
	f->flags = (uint8_t)r->left.ptr[4];
	f->id = (int32_t)number(span_from(r->left, 5), 4);
	ASSERT(f->id >= 0);
	f->payload = span_make(r->left.ptr + FRAME_HEAD, len);
	r->left = span_from(r->left, FRAME_HEAD + len);
	ASSERT(r->frames++ || (f->type == NGHTTP2_SETTINGS && !f->flags));
	return true;
}

/* --- heads
 * -------------------------------------------------------------------------------- */

struct head {
	bool request, trailers, fields; /* fields: one without a colon has come */
	unsigned pseudo, status;
	bool has_length;
	uint64_t length;
};

static bool is_one_of(struct span s, const char *const *names)
{
	for (; *names; names++)
		if (span_eq(s, span_of(*names)))
			return true;
	return false;
}

static uint64_t decimal(struct span s)
{
	uint64_t n = 0;

	ASSERT(s.len && s.len < 20);
	for (size_t i = 0; i < s.len; i++) {
		ASSERT(s.ptr[i] >= '0' && s.ptr[i] <= '9');
		n = n * 10 + (uint64_t)(s.ptr[i] - '0');
	}
	return n;
}

static void read_field(struct head *h, struct span name, struct span value)
{
	static const char *const hop[] = {"connection", "proxy-connection", "keep-alive",
		"transfer-encoding", "upgrade", "http2-settings", NULL};
	static const char *const asked[] = {
		":method", ":scheme", ":authority", ":path", ":protocol", NULL};

	ASSERT(name.len);
	for (size_t i = 0; i < name.len; i++)
		ASSERT(name.ptr[i] > ' ' && name.ptr[i] == ascii_lower(name.ptr[i]));
	for (size_t i = 0; i < value.len; i++)
		ASSERT(value.ptr[i] != '\r' && value.ptr[i] != '\n' && value.ptr[i] != '\0');
	if (name.ptr[0] == ':') {
		ASSERT(!h->trailers && !h->fields);
		h->pseudo++;
		if (h->request) {
			ASSERT(is_one_of(name, asked));
		} else {
			ASSERT(span_eq(name, SPAN(":status")) && h->pseudo == 1 && value.len == 3);
			h->status = (unsigned)decimal(value);
		}
		return;
	}
	h->fields = true;
	ASSERT(!is_one_of(name, hop));
	ASSERT(!h->request || !span_eq(name, SPAN("host"))); /* it is :authority */
	ASSERT(!span_eq(name, SPAN("te")) || span_eq(value, SPAN("trailers")));
	if (span_eq(name, SPAN("content-length"))) {
		ASSERT(!h->trailers && !h->has_length);
		h->has_length = true;
		h->length = decimal(value);
	}
}

static void read_block(struct reader *r, struct span block, bool last, struct head *h)
{
	const uint8_t *at = (const uint8_t *)block.ptr;
	size_t left = block.len;

	for (;;) {
		nghttp2_nv nv;
		int flags = 0;
		ssize_t n = nghttp2_hd_inflate_hd2(r->inflater, &nv, &flags, at, left, last);

		ASSERT(n >= 0);
		at += n;
		left -= (size_t)n;
		if (flags & NGHTTP2_HD_INFLATE_EMIT)
			read_field(h, span_make(nv.name, nv.namelen),
				span_make(nv.value, nv.valuelen));
		if (flags & NGHTTP2_HD_INFLATE_FINAL) {
			nghttp2_hd_inflate_end_headers(r->inflater);
			return;
		}
		if (!left && !(flags & NGHTTP2_HD_INFLATE_EMIT)) {
			ASSERT(!last);
			return;
		}
	}
}

/* The whole of it, with the CONTINUATIONs that follow. False: it was cut off. */
static bool read_head(struct reader *r, const struct frame *first, struct head *h)
{
	struct frame f = *first;

	if (f.flags & NGHTTP2_FLAG_PRIORITY)
		f.payload = span_from(f.payload, 5);
	ASSERT(!(f.flags & NGHTTP2_FLAG_PADDED));
	for (;;) {
		bool last = f.flags & NGHTTP2_FLAG_END_HEADERS;

		read_block(r, f.payload, last, h);
		if (last)
			return true;
		if (!next_frame(r, &f))
			return false;
		ASSERT(f.type == NGHTTP2_CONTINUATION && f.id == first->id);
	}
}

/* --- streams
 * -------------------------------------------------------------------------------- */

static struct stream *find(struct reader *r, int32_t id)
{
	for (unsigned i = 0; i < r->count; i++)
		if (r->streams[i].id == id)
			return &r->streams[i];
	return NULL;
}

static struct stream *find_or_begin(struct reader *r, int32_t id)
{
	struct stream *s = find(r, id);

	if (s)
		return s;
	ASSERT(id % 2 == 1 && r->count < STREAMS_MAX);
	ASSERT(r->server || id > r->newest); /* of our own the numbers grow */
	r->newest = id > r->newest ? id : r->newest;
	s = &r->streams[r->count++];
	s->id = id;
	s->state = BEGUN;
	s->status = 0;
	s->has_length = s->trailers = false;
	s->content.len = 0;
	return s;
}

static void end(struct stream *s)
{
	s->state = ENDED;
	/* of an answer to HEAD, and 304, the length is only told */
	ASSERT(!s->has_length || s->length == s->content.len || (s->status && !s->content.len));
}

static void on_headers(struct reader *r, const struct frame *f)
{
	struct stream *s = find_or_begin(r, f->id);
	struct head h = {.request = !r->server, .trailers = s->state == ANSWERED};

	ASSERT(s->state == BEGUN || s->state == ANSWERED);
	if (!read_head(r, f, &h))
		return;
	ASSERT(h.trailers == !h.pseudo);
	s->trailers = h.trailers;
	ASSERT(!h.trailers || f->flags & NGHTTP2_FLAG_END_STREAM);
	if (!h.trailers && (h.request || h.status >= 200)) {
		s->state = ANSWERED;
		s->status = h.status;
		s->has_length = h.has_length;
		s->length = h.length;
	}
	if (f->flags & NGHTTP2_FLAG_END_STREAM) {
		ASSERT(s->state == ANSWERED); /* not with an interim one */
		end(s);
	}
}

static void on_data(struct reader *r, const struct frame *f)
{
	struct stream *s = find(r, f->id);
	struct fake_bytes *to;

	ASSERT(s && s->state == ANSWERED && !(f->flags & NGHTTP2_FLAG_PADDED));
	to = &s->content;
	if (to->len + f->payload.len > to->room) {
		to->room = 2 * (to->len + f->payload.len);
		to->data = realloc(to->data, to->room);
		ASSERT(to->data);
	}
	if (f->payload.len)
		memcpy(to->data + to->len, f->payload.ptr, f->payload.len);
	to->len += f->payload.len;
	ASSERT(!s->has_length || to->len <= s->length);
	if (f->flags & NGHTTP2_FLAG_END_STREAM)
		end(s);
}

static void on_reset(struct reader *r, const struct frame *f)
{
	struct stream *s = find_or_begin(r, f->id);

	ASSERT(f->payload.len == 4 && s->state != RESET);
	/* Who has ended needs nothing more, but says so, or what was asked was wrong. */
	if (s->state != ENDED)
		s->state = RESET;
}

static void on_goaway(struct reader *r, const struct frame *f)
{
	int32_t last = (int32_t)number(f->payload, 4);

	ASSERT(f->id == 0 && last >= 0 && last <= r->goodbye);
	r->goodbye = last;
}

static void read_frame(struct reader *r, const struct frame *f)
{
	switch (f->type) {
	case NGHTTP2_DATA:
		on_data(r, f);
		break;
	case NGHTTP2_HEADERS:
		on_headers(r, f);
		break;
	case NGHTTP2_RST_STREAM:
		on_reset(r, f);
		break;
	case NGHTTP2_SETTINGS:
		ASSERT(f->id == 0 && f->payload.len % 6 == 0);
		ASSERT(!(f->flags & NGHTTP2_FLAG_ACK) || !f->payload.len);
		break;
	case NGHTTP2_PING:
		ASSERT(f->id == 0 && f->payload.len == 8);
		break;
	case NGHTTP2_GOAWAY:
		on_goaway(r, f);
		break;
	case NGHTTP2_WINDOW_UPDATE:
		ASSERT(f->payload.len == 4 && number(f->payload, 4) > 0);
		break;
	default:
		ASSERT(!"a frame that we have a reason to send");
	}
}

static void read_conn(struct reader *r, const struct fake_conn *c)
{
	struct frame f;

	r->server = c->from_client;
	r->left = span_make(c->out.data, c->out.len);
	r->count = r->frames = 0;
	r->newest = 0;
	r->goodbye = INT32_MAX;
	if (!r->server && r->left.len) {
		ASSERT(span_starts(r->left, preface));
		r->left = span_from(r->left, preface.len);
	}
	ASSERT(nghttp2_hd_inflate_new(&r->inflater) == 0);
	while (next_frame(r, &f))
		read_frame(r, &f);
	nghttp2_hd_inflate_del(r->inflater);
}

/* --- what must hold
 * -------------------------------------------------------------------------------- */

static bool server_speaks_h2(const struct fake_conn *c)
{
	return !c->from_client && addr_port(&c->peer) == PORT_H2;
}

/* The listener takes HTTP/1 too. */
static bool client_speaks_h2(const struct fake_conn *c)
{
	return c->from_client && span_starts(span_make(c->in.data, c->in.len), preface);
}

/* Returns how many that a server gave ended without trailers. */
static unsigned check_answers(const struct reader *r, const struct outcome *o)
{
	unsigned bare = 0;

	for (unsigned i = 0; i < r->count; i++) {
		const struct stream *s = &r->streams[i];

		if (s->state != ENDED)
			continue;
		ASSERT(!o || outcome_may_answer(
				     o, s->status, span_make(s->content.data, s->content.len)));
		bare += s->status < 400 && !s->trailers;
	}
	return bare;
}

unsigned h2_oracle_check(struct outcome *o)
{
	static struct reader r;
	bool known = true; /* all that servers have answered */
	unsigned bare = 0;

	for (unsigned i = 0; i < fake_net.conn_count; i++)
		if (server_speaks_h2(&fake_net.conns[i])) {
			read_conn(&r, &fake_net.conns[i]);
			known = false;
		}
	outcome_read_servers(o, server_speaks_h2);
	for (unsigned i = 0; i < fake_net.conn_count; i++)
		if (client_speaks_h2(&fake_net.conns[i])) {
			read_conn(&r, &fake_net.conns[i]);
			bare += check_answers(&r, known ? o : NULL);
		}
	return bare;
}
