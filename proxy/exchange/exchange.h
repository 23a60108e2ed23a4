/*
 * One request's life: head read, routed, given a server and a connection to it, content both ways
 * with back-pressure, and the end of it. exchange.c begins and ends it, identity.c finds out whose
 * it is, attempt.c chooses a server and, where retry.c allows it, another, wait.c waits for one,
 * sticky.c keeps a user at one; request.c carries the request to the server, response.c the answer
 * to the client, answer.c the answers of our own; client.c and upstream.c own the two connections.
 *
 * An exchange belongs to a worker's thread. Functions named exchange_client_* and exchange_server_*
 * are what the two connections call; after any of them the exchange may be over and must not be
 * touched.
 */
#pragma once

#include "proxy/exchange/client.h"
#include "proxy/exchange/retry.h"
#include "proxy/exchange/upstream.h"
#include "proxy/http/http2.h"
#include "proxy/net/h2.h"
#include "proxy/pool/queue.h"
#include "proxy/settings/action.h"
#include "proxy/settings/settings.h"

#define EXCHANGE_TRIED_MAX 10 /* as many tries as retry.attempts can ask for */
#define EXCHANGE_KEEP 256     /* finished ones kept for reuse, a worker */
#define SET_COOKIE_MAX 512    /* a line of ours in a response */

/* How an exchange ended, for the log: who and why. */
#define EXCHANGE_ENDS(X)                                 \
	X(OK, "ok")                                      \
	X(CLIENT_BAD, "client malformed")                \
	X(PROXY_HEADER, "client proxy-header")           \
	X(CLIENT_HELLO, "client tls-hello")              \
	X(CLIENT_GONE, "client gone")                    \
	X(CLIENT_TIMEOUT, "client timeout")              \
	X(NO_ROUTE, "proxy no-route")                    \
	X(REFUSED, "proxy refused")                      \
	X(DENIED, "proxy denied")                        \
	X(ANSWERED, "proxy answered")                    \
	X(NO_SERVER, "pool no-server")                   \
	X(QUEUE_FULL, "pool queue-full")                 \
	X(QUEUE_TIMEOUT, "pool timeout:queue")           \
	X(CONNECT_FAILED, "server connect")              \
	X(CONNECT_TIMEOUT, "server timeout:connect")     \
	X(SERVER_TLS, "server tls")                      \
	X(SERVER_BAD, "server malformed")                \
	X(SERVER_CUT, "server cut")                      \
	X(SERVER_TIMEOUT_HEAD, "server timeout:headers") \
	X(SERVER_TIMEOUT_BODY, "server timeout:content") \
	X(TUNNEL_IDLE, "tunnel timeout:idle")            \
	X(TUNNEL_HALF, "tunnel timeout:half-closed")     \
	X(DRAINED, "proxy drained")                      \
	X(PROXY_FULL, "proxy memory")
enum exchange_end {
#define X(name, text) END_##name,
	EXCHANGE_ENDS(X)
#undef X
};
const char *exchange_end_text(enum exchange_end end);

struct exchange {
	struct list link; /* worker's free list or reap list */
	struct worker *worker;
	struct client *client;	      /* NULL once the client has gone or been told everything */
	struct server_conn *upstream; /* NULL: none now */
	struct tunnel *tunnel;	      /* NULL: none, and then nothing of it costs anything */
	struct snapshot *snapshot;    /* holds a reference */
	const struct listener *listener;
	const struct route *route; /* NULL until routed */
	const struct pool *pool;   /* where it is served: the route's, or what stands in for that */
	const struct timeouts *timeouts;
	struct server *server;		/* the one in use: counted in its in_flight */
	const struct pool *server_pool; /* that it was taken from */
	uint8_t tried_count, retries;

	bool plain;	   /* no HTTP: bytes both ways, a tunnel once it is connected */
	bool head_done;	   /* the request's head is read */
	bool request_done; /* its content is complete, and staged for the server */
	bool head_sent;	   /* bytes of this request have left for the server in use */
	bool deaf;	   /* the server takes no more of the request; its answer may still come */
	bool rewindable;   /* the content so far is in the client's buffer, to be sent again */
	bool heard;	   /* bytes of an answer have come from the server in use */
	bool reused;	   /* this server connection served others before */
	bool fresh_only;   /* a reused one went stale under us: now only a new one */
	bool waiting;	   /* for a server, in its pool's queue */
	bool waits_for_body;   /* the client's deadline is the content's */
	bool response_started; /* a final head is on its way to the client */
	bool switches;	       /* the server has agreed to an upgrade */
	bool response_done;
	bool response_head_done;
	bool keep_client;
	bool bulk;	     /* reads come full: use large buffers, or a pipe */
	uint8_t out_framing; /* enum http_framing towards the client */
	uint16_t status;
	enum exchange_end end;
	bool over;

	uint32_t body_at; /* offset in the client's buffer of content not yet passed on */
	struct http1_body request_body, response_body;
	struct span path, query;

	uint64_t started_ns, head_ns, chosen_ns, connected_ns, first_byte_ns;
	uint64_t queued_ns;
	uint64_t server_idle_ns;      /* how long its connection may be kept; 0: not */
	uint64_t bytes_in, bytes_out; /* content */
	/* How fast the request's content comes: judged when it was waited for long enough. */
	struct {
		uint64_t bytes_before, waited_ns, since_ns;
	} pace;
	struct span client_ip; /* whose request it is: for the log */
	bool peer_trusted;     /* it came through a proxy that we believe */
	bool has_request_id;

	/* From here on nothing is cleared for a new exchange: it is written before it is read. */
	char request_id[36];
	char websocket_key[24]; /* of a handshake that is ours (websocket.c) */
	struct waiter waiter;	/* while waiting, or just before */
	struct server *tried[EXCHANGE_TRIED_MAX];
	const struct addr *client_addr; /* whose request it is; the client's own, while it lives */
	struct addr client_addr_room;	/* when it is not the peer's */
	char client_ip_room[ADDR_TEXT_MAX]; /* the same as text */
	char target_room[ACTION_PATH_MAX];  /* a normalised or rewritten target, when it differs */

	struct http_head request, response;
};

/* --- for the client's connection
 * ------------------------------------------------------------------ */
struct exchange *exchange_new(struct client *c); /* reading a head; NULL when out of memory */
static inline bool exchange_reading_head(const struct exchange *x)
{
	return !x->head_done;
}
/* Parses what the client's buffer holds. False: more bytes are needed. True: the head is done (or
 * bad), the exchange took over and may even be over. */
bool exchange_read_head(struct exchange *x);
/* The same of a head that came another way; fault: NULL where there is none. */
void exchange_head_here(struct exchange *x, const struct http_fault *fault);
void exchange_request_bytes(
	struct exchange *x); /* more of the content (or of what follows it) came */
/* The same for content that goes from socket to socket; false: there is none such, or no pipe: read
 * it. */
bool exchange_splice_request(struct exchange *x);
bool exchange_make_room(struct exchange *x);
void exchange_client_drained(struct exchange *x);
void exchange_client_eof(struct exchange *x);
void exchange_client_gone(struct exchange *x);
/* The head or the content does not come, or the client does not take what is sent. */
void exchange_client_timeout(struct exchange *x);

/* --- for the server's connection
 * ------------------------------------------------------------------ */
void exchange_server_connected(struct exchange *x);
/* ETIMEDOUT: our deadline; EPROTO: no TLS */
void exchange_server_connect_failed(struct exchange *x, int error);
void exchange_server_readable(struct exchange *x);
/* The head of an answer is in x->response, its lines in front of what the connection has in hand;
 * or there is a fault in it. */
void exchange_server_head(struct exchange *x, const struct http_fault *fault);
void exchange_server_drained(struct exchange *x);
void exchange_server_deaf(struct exchange *x); /* pending bytes could not be written */
void exchange_server_timeout(struct exchange *x);

/* --- between the files of this room
 * --------------------------------------------------------------- */
/* Whose request this is: the peer, or behind trusted proxies the first untrusted address from the
 * right of X-Forwarded-For. */
void exchange_find_client(struct exchange *x);
/* The same for a head and the address that it came from, which becomes the client's. True: it came
 * from a proxy that is trusted. */
bool identity_find(const struct listener *l, const struct http_head *h, struct addr *found);
/* The request's X-Request-Id for its server, the client and the log: ours, or that of a proxy that
 * is trusted. Only where there is one (has_request_id). */
struct span exchange_request_id(const struct exchange *x);
/* The request as routes look at it; its scheme is for exchange_act() to find out. */
void exchange_ask(const struct exchange *x, struct route_ask *ask);
/* What the route does beyond its pool. False: it was answered, the exchange may be over. */
bool exchange_act(struct exchange *x);
/* The heads, changed as the route says: the bytes written, or 0 when they do not fit. */
int exchange_edit_request(struct exchange *x, struct http1_request_out *o);
int exchange_edit_response(struct exchange *x, struct http1_response_out *o);
/* The head of x->request, or x->response, for the other side: staged, or sent as a stream's. -1: it
 * does not fit. */
int exchange_put_request(struct exchange *x, const struct http1_request_out *o);
int exchange_put_response(struct exchange *x, const struct http1_response_out *o);
/* What the pool's balance goes by, as a number that is the same on both nodes. False: the request
 * has none of it. */
bool exchange_hash_key(const struct route_ask *ask, const struct hash_conf *by, uint64_t *ret_key);
/* What the cookie of the request's pool says of its server; 0: nothing. */
uint64_t exchange_sticky(const struct exchange *x);
/* Is it https to the client, as far as we or those whom we trust can tell? */
bool exchange_is_secure(const struct exchange *x);
/* Where the pool has a cookie: ready lines that give the client that of the server which has
 * answered; empty: it has that already. */
struct span exchange_set_cookie(const struct exchange *x, char *room, size_t size);
/* The line that tells browsers to come with TLS only, over TLS; {0}: none. */
static inline struct span exchange_hsts(const struct exchange *x)
{
	return x->client->ssl ? span_of(x->listener->hsts) : (struct span){0};
}
/* A Host without its port. */
struct span exchange_without_port(struct span authority);
/* Our own pseudonym in a Via that came in: the request has been here before. */
bool exchange_seen_in_via(const struct exchange *x);
/* Its route is known: on to the pool. */
void exchange_route(struct exchange *x, const struct route *route);
/* Chooses a server and goes to it, or waits for one; answers 502 or 503 when there is none. */
void exchange_choose(struct exchange *x);
/* Goes to this server, which pool_take() gave. */
void exchange_go_to(struct exchange *x, struct server *s);
/* In line for a server, on which v and what agree; or, where the line is full, 503. */
void exchange_wait(struct exchange *x, const struct pool_view *v, struct pick *what);
void exchange_wait_deadline(struct exchange *x); /* its time in the queue runs on */
void exchange_leave_queue(struct exchange *x);
void exchange_queue_timeout(struct exchange *x);
/* The worker has been handed the link of a waiter: it has a server, or is to ask anew. */
void exchange_granted(struct list *link);
/* x->response is made ready for a head. */
void exchange_expect_answer(struct exchange *x);
/* A server's head may be a little longer than what we take from clients. */
extern const struct http_limits exchange_response_limits;
/* A WebSocket's handshake where HTTP/2 is on one side, or both: the line that the request, or the
 * answer that agrees, is to have; the fields of HTTP/1's handshake that have no place there are
 * kept back. room: WEBSOCKET_LINE_MAX. (websocket.c) */
struct span exchange_websocket_ask(struct exchange *x, char *room);
struct span exchange_websocket_agree(struct exchange *x, char *room);
/* The server has done as the handshake that is ours wants it. */
bool exchange_websocket_agreed(const struct exchange *x);
#define WEBSOCKET_LINE_MAX 64
/* Sends the head and what there is of the content. */
void exchange_send_request(struct exchange *x);
/* Passes on the content that is in hand, as far as the server takes it. -1: the exchange is over.
 */
int exchange_pump_request(struct exchange *x);
/* Tries again after a failure before the response started, or gives this answer. */
void exchange_failed(
	struct exchange *x, enum retry_failure what, uint16_t status, enum exchange_end end);
/* A response's head is here: counts it for the server, and sees for how long its connection may be
 * kept. */
void exchange_server_answered(struct exchange *x);
/* It did not as it should: reset, closed early, garbage, too slow. Counts that. */
void exchange_server_broke(struct exchange *x);
/* The response whose head is read is worth another try: returns the server for exchange_retry(),
 * which first lets go of this one. NULL: it is the answer. */
struct server *exchange_find_better(struct exchange *x);
void exchange_retry(struct exchange *x, struct server *s, bool reusable);
/* The reader of the content behind this head. Of a stream, its end ends it, whatever length was
 * said (which nghttp2 holds it to). */
static inline void exchange_body_init(struct http1_body *b, const struct http_head *h)
{
	http1_body_init(
		b, h->h2 && h->framing != HTTP_NO_BODY ? HTTP_UNTIL_CLOSE : h->framing, h->length);
}
/* All of `in` has been read, and its end has been seen: is that the end of the content? Its
 * trailers are b's then. */
bool exchange_body_ended(struct http1_body *b, const struct conn *from);
/* How content of this framing is framed for `to`: chunks are HTTP/1's only. */
static inline enum http_framing exchange_framing_for(
	const struct conn *to, enum http_framing framing)
{
	if (conn_is_stream(to))
		return framing == HTTP_CHUNKED ? HTTP_UNTIL_CLOSE : framing;
	return framing == HTTP_UNTIL_CLOSE ? HTTP_CHUNKED : framing;
}
/* A run of content, and its end, framed for the next hop. The stage has room (stage_has_room) and
 * borrows data until the flush. -1: the trailers do not fit. */
void exchange_stage_content(struct stage *s, enum http_framing framing, struct span data);
int exchange_stage_end(
	struct conn *to, struct stage *s, enum http_framing framing, struct span trailers);
/* A server of this pool, of which no connection is in hand. */
void exchange_give_back(struct exchange *x, const struct pool *p, struct server *s);
/* Lets go of the server and its connection; reusable: back among the idle ones. */
void exchange_release_server(struct exchange *x, bool reusable);
/* An answer of our own, then the end. Only before a response started. */
void exchange_answer(struct exchange *x, uint16_t status, enum exchange_end end);
/* The same with what a route wants it to say. All of it is held by the exchange's snapshot, or by
 * the caller. */
struct answer {
	uint16_t status;
	struct span fields;		   /* ready lines */
	struct span content_type, content; /* without a type there is no content */
};
/* To the same host and path over TLS, as the listener has it. */
void exchange_send_to_tls(struct exchange *x);
void exchange_answer_with(struct exchange *x, const struct answer *a, enum exchange_end end);
/* The response is broken off: the client is cut, never given what looks complete. */
void exchange_cut(struct exchange *x, enum exchange_end end);
/* The client's buffer holds something of the request that follows this one. */
bool exchange_next_in_hand(const struct exchange *x);
/* The response is complete: log, release, go on with the client. */
void exchange_finish(struct exchange *x);
void exchange_reject(struct exchange *x, const struct http_fault *fault);

/* Memory: called by the worker after a loop iteration, and at its end. */
void exchange_reap(struct exchange *x);
void exchange_free_all(struct worker *w);
