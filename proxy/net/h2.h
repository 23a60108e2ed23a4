/*
 * An HTTP/2 connection: nghttp2, in memory, over one struct conn, and its streams, each of them a
 * struct conn of its own that has no socket (its transport is this module). What reads and writes
 * connections elsewhere reads and writes streams without knowing: content comes and goes as bytes,
 * back-pressure becomes flow control, an abort becomes RST_STREAM. Only heads, and the end of what
 * is sent, have functions of their own here: h2_send_head(), h2_send_end().
 *
 * nghttp2's callbacks only note what happened; owners hear of it from a function that runs at the
 * end of each turn of the loop in which there was something to do, and so gathers what all streams
 * have to send into few writes. The owner of the connection (exchange/h2_client.c, h2_server.c)
 * reads it and hands in bytes.
 *
 * A peer can make us work, or remember, for little: every frame of such a kind spends of a budget
 * that content, answers and time fill again; who overspends is sent away with ENHANCE_YOUR_CALM.
 */
#pragma once

#include <ev.h>
#include <nghttp2/nghttp2.h>

#include "proxy/http/http2.h"
#include "proxy/net/conn.h"
#include "shared/buf.h"

struct h2;
struct h2_stream;

struct h2_conf {
	uint32_t streams; /* of the other side, at a time */
	uint32_t stream_window, connection_window, frame_bytes;
};

struct h2_role {
	bool server; /* the other side asks, and we answer */
	/* A request begins: its stream, with its head's reader started. NULL: it is refused. */
	struct h2_stream *(*on_request)(struct h2 *h, int32_t id);
	/* Something of this happened since: its head is here (h2_stream.head), content or the end
	 * of it came while it is read, it was reset, nghttp2 is done with it (closed). */
	void (*on_event)(struct h2_stream *s);
	/* No stream is left, or the answer to a ping came, or SETTINGS. */
	void (*on_quiet)(struct h2 *h);
	/* Nothing more will come or go, and all that was to go has been written. */
	void (*on_over)(struct h2 *h);
	/* The connection is broken. */
	void (*on_broken)(struct h2 *h);
};

struct h2 {
	nghttp2_session *session;
	const struct h2_role *role;
	struct conn *conn;
	ev_prepare work; /* never started: fed when there is something to do */
	struct list streams, events;
	unsigned stream_count;
	struct iobuf *out; /* frames on their way to conn */
	bool full;	   /* no room in it for the frame that nghttp2 would send */
	bool inside;	   /* of nghttp2 */
	bool failed;	   /* it cannot send: on_broken comes */
	bool over;	   /* on_over or on_broken was called */
	bool overspent;	   /* and was sent away */
	bool ponged;
	bool greeted;	 /* its SETTINGS have come */
	bool reset_sent; /* by us, of any stream */
	int32_t last_id; /* of the streams that the other side has begun */
	uint32_t begun;	 /* how many those were */
	uint32_t open;	 /* and how many of them nghttp2 has not closed */
	uint32_t streams_max;
	int connect_error; /* of conn, for those who wait for it; 0: none */
	struct {
		uint64_t filled_ns;
		uint32_t frames, resets; /* left */
	} budget;
};

struct h2_stream {
	struct list link, event_link; /* h2.streams, h2.events */
	struct h2 *h2;		      /* NULL: the connection has gone, or it never was on one */
	struct conn *conn;
	int32_t id; /* 0: not begun */
	/* What is being received. */
	struct http2_reader reader;
	enum http_method request_method; /* of what a response answers */
	enum { H2_NO_HEAD, H2_HEAD_COMING, H2_HEAD_HERE, H2_HEAD_TAKEN } head;
	bool in_end;		 /* END_STREAM came */
	bool lost;		 /* with its connection */
	bool closed;		 /* nghttp2 has forgotten it */
	bool reset;		 /* and not because both sides had ended */
	uint32_t code;		 /* of the reset */
	struct buf in, trailers; /* content not yet read; lines of the trailers that came */
	/* What is being sent. */
	bool head_sent, ends, ended; /* ended: END_STREAM has gone */
	bool deferred;		     /* nghttp2 does not ask for content until it is resumed */
	struct buf trailers_out;
	const struct iovec *iov; /* while in send() */
	unsigned iov_count;
	size_t iov_at, iov_left, taken;
	uint64_t sent_bytes, sent_ns;
};

extern const struct transport h2_transport;
static inline bool conn_is_stream(const struct conn *c)
{
	return c->transport == &h2_transport;
}

/* Says hello. -1: out of memory; h2_fini() may follow. c is borrowed until then. */
int h2_init(struct h2 *h, const struct h2_role *role, struct conn *c, const struct h2_conf *conf,
	const struct http_limits *limits);
/* After h2_abandon(). */
void h2_fini(struct h2 *h);
/* Bytes that came. */
void h2_receive(struct h2 *h, struct span bytes);
/* conn takes more again. */
void h2_writable(struct h2 *h);
/* The connection is closing: all streams are reset, as their owners hear at once. */
void h2_abandon(struct h2 *h);
/* No new requests, step one: said so that those on their way are still served. A ping's answer,
 * or some time, shows when it is known (RFC 9113 6.8). */
void h2_warn(struct h2 *h);
/* Step two: what comes from now on is ignored. What runs goes on. */
void h2_say_goodbye(struct h2 *h);
void h2_fail(struct h2 *h, uint32_t code);
void h2_ping(struct h2 *h);
/* How many streams of ours the other side takes at a time. */
static inline uint32_t h2_streams_max(const struct h2 *h)
{
	return nghttp2_session_get_remote_settings(
		h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}
/* May a stream of ours be a tunnel (RFC 8441)? */
static inline bool h2_takes_tunnels(const struct conn *c)
{
	const struct h2_stream *s = c->layer;

	return s->h2 && nghttp2_session_get_remote_settings(
				s->h2->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}
static inline bool h2_takes_more(const struct h2 *h)
{
	return !h->over && nghttp2_session_check_request_allowed(h->session);
}

/* s of conn (of no socket, from conn_init) on this connection; id is 0 for one of ours, which
 * begins with its head. */
void h2_stream_init(struct h2_stream *s, struct h2 *h, struct conn *conn, int32_t id);
/* It has not begun: it will on that connection. */
void h2_stream_move(struct h2_stream *s, struct h2 *to);
/* A response's head is to come, into head: again after an interim one. limits outlive it. */
void h2_expect_head(struct conn *c, struct http_head *head, const struct http_limits *limits,
	enum http_method request_method);
/* A head, or an interim one; ends: and nothing follows. What cannot be sent any more goes nowhere:
 * the stream is reset, or will be, as its owner hears. */
void h2_send_head(struct conn *c, const struct http_list *list, bool ends);
/* Lines of the trailers that came; borrowed. */
static inline struct span h2_trailers(const struct conn *c)
{
	const struct h2_stream *s = c->layer;

	return buf_span(&s->trailers);
}
/* What is flushed next, if anything is, is the last of it. Trailers are lines. -1: no memory. */
int h2_send_end(struct conn *c, struct span trailers);
