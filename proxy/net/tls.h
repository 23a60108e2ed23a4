/*
 * TLS as a transport of a connection (transport.h), either role, over OpenSSL. What is agreed on
 * (certificates, versions, names, tickets) is settled in the SSL that is handed in; here it is
 * driven: the handshake, records, the end.
 *
 * The handshake runs before the connection's handler hears of anything, with a handler of its own
 * in its place. A client's begins when its first message is there (exchange/opening.c), so that
 * who only says half of it costs us nothing. One worker has at most TLS_HANDSHAKES_MAX on their way
 * from clients, of which the oldest makes way for one more, and in one turn of its loop begins at
 * most TLS_FIRST_STEPS_MAX, since each costs a signature, and goes on with TLS_LATER_STEPS_MAX: who
 * is connected already is not kept waiting by a flood of newcomers. No more are let in at a time
 * than may begin, so that they begin in the order in which they came: the kernel's queue is a fair
 * one, the sockets that are readable are not. Those that fail are counted; a line in the log now
 * and then says why.
 *
 * An idle connection holds no buffers but OpenSSL's own state. Pieces that are sent together share
 * records: small ones first, on a new connection or after an idle second, so that the other side
 * can begin with the first packet that comes; then each is twice the last, to the 16 KB that cost
 * least.
 *
 * A client may end without a close_notify, since requests say themselves where they end. Of a
 * server that is an error (ECONNRESET): an answer that lasts until the close would otherwise be
 * anybody's to cut (RFC 9112 9.8).
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "proxy/net/conn.h"
#include "proxy/tls/tickets.h"

struct ssl_st; /* SSL */
struct ssl_ctx_st;
struct ssl_session_st;

/* A worker, some 46 KiB each. As many signatures take it the better part of a second, in which a
 * client from far away comes to its second message. */
#define TLS_HANDSHAKES_MAX 2048
#define TLS_FIRST_STEPS_MAX 1
#define TLS_LATER_STEPS_MAX 8
#define TLS_RECORD_MIN 1369 /* with what TLS and TCP over IPv6 add: one packet of 1500 bytes */
#define TLS_RECORD_MAX 16384
#define TLS_RECORD_IDLE_NS (1 * NS_PER_S) /* then they are small again */
#define TLS_TELL_NS (10 * NS_PER_S)
#define TLS_FAULT_MAX 120

/* Of a worker. Written by its thread, the atomics read by anyone. */
struct tls_tally {
	struct list pending; /* handshakes of clients, the oldest first */
	unsigned pending_count;
	unsigned first_steps, later_steps; /* in this turn of the loop */
	uint64_t steps_ns;		   /* when that began */
	bool refused;			   /* one more, in this turn */
	bool crowded;			   /* in the turn before one was refused */
	uint64_t told_ns;		   /* of one that failed */
	struct ticket_cache tickets;
	/* Of clients, that came to an end: 1.2 and before, 1.3; in full, resumed. */
	_Atomic uint64_t done_total[2][2];
	_Atomic uint64_t failed_total;
	/* Of servers; in full, resumed. */
	_Atomic uint64_t server_done_total[2];
	_Atomic uint64_t server_failed_total;
};

/* Where the last session with a server is kept, for the next connection to it. */
struct tls_kept {
	struct ssl_session_st *session; /* NULL: none */
	uint64_t of[2];			/* with whom, and as whom: it is for no other */
};
void tls_kept_drop(struct tls_kept *k);

/* Of a worker that starts. */
void tls_tally_init(struct tls_tally *t);
/* In this turn of the loop another handshake may begin. What does not, waits in the socket. */
bool tls_may_begin(struct worker *w);
/* It was not enough for all: clients who have not been let in yet had better wait in the kernel's
 * queue, where they cost nothing, than in each turn of the loop. */
bool tls_is_crowded(struct worker *w);
/* A client's handshake came to nothing before it began. */
void tls_tell_failed(const struct conn *c, const char *why);

/* What every SSL_CTX of ours needs for this. */
void tls_prepare(struct ssl_ctx_st *ctx);

/*
 * Both take ssl (NULL: -1; also when out of memory), whose context has been prepared, and put TLS
 * over the connection's socket. The connection is to be started as without it.
 *
 * accept: on_ready is called once the handshake is over, before anything else; the deadline that is
 * set is the handshake's, and cleared. One that fails closes the connection, of which the handler
 * hears only free(). on_ready may close it too.
 *
 * connect: on_writable comes, still `connecting`, when the handshake is over, or it or the connect
 * has failed; conn_connect_error() says which (EPROTO: TLS, see tls_fault). on_deadline comes with
 * `connecting` set, as without TLS. kept: the session there is resumed, and replaced by newer ones
 * for as long as it is of the same; it must outlive the connection. NULL: none.
 */
int tls_accept(struct conn *c, struct ssl_st *ssl, void (*on_ready)(struct conn *c));
int tls_connect(struct conn *c, struct ssl_st *ssl, struct tls_kept *kept);

/* The connection's; NULL: it has none. Borrowed. */
struct ssl_st *tls_of(const struct conn *c);
/* Why a handshake with a server failed, or what came after it, as text of OpenSSL's or of the
 * verification. "": it did not. */
const char *tls_fault(const struct conn *c);
/* The other side has broken off because of our certificate, or since it had none. With TLS 1.3 that
 * comes after the handshake, and instead of anything else. */
bool tls_refused(const struct conn *c);
/* The same text, of the call on ssl that has just failed; for who drives one without a connection.
 */
void tls_describe(const struct ssl_st *ssl, char *out, size_t size);
