#include "proxy/net/tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/socket.h>

#include "proxy/net/rawio.h"
#include "proxy/worker.h"
#include "shared/addr.h"
#include "shared/log.h"

struct tls {
	SSL *ssl;
	struct conn *conn;
	const struct conn_handler *inner; /* hears nothing until the handshake is over */
	void (*on_ready)(struct conn *c); /* NULL: we are the client */
	struct tls_kept *kept;		  /* NULL: sessions are not wanted */
	uint64_t of[2];			  /* what they are kept under */
	struct list link;		  /* tls_tally.pending, of a client's handshake */
	ev_idle again;			  /* more is held than was asked for, or the end */
	uint64_t sent_ns;
	uint32_t record_bytes; /* how much the next one takes */
	uint32_t retry_bytes;  /* of a record that is made, but not written; 0: none */
	int connect_error;
	int read_error; /* that ended reading; 0: none */
	bool handshaking;
	bool more;    /* is sent right after this */
	bool broken;  /* nothing more may be said, not even goodbye */
	bool refused; /* by the other side, for a certificate */
	char fault[TLS_FAULT_MAX];
};

static struct tls *tls_get(const struct conn *c)
{
	return c->layer;
}

/* --- the socket ---------------------------------------------------------------------------------
 */
/* OpenSSL's own would raise SIGPIPE, and calls the C library's read() and write() (rawio.h). */

static int bio_read(BIO *b, char *to, int bytes)
{
	const struct conn *c = BIO_get_data(b);
	ssize_t n = raw_recv(c->fd, to, (size_t)bytes);

	BIO_clear_retry_flags(b);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(b);
	if (n == 0)
		BIO_set_flags(b, BIO_FLAGS_IN_EOF);
	return (int)n;
}

static int bio_write(BIO *b, const char *from, int bytes)
{
	const struct conn *c = BIO_get_data(b);
	ssize_t n = tls_get(c)->more ? raw_send_more(c->fd, from, (size_t)bytes)
				     : raw_send(c->fd, from, (size_t)bytes);

	BIO_clear_retry_flags(b);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(b);
	return (int)n;
}

static long bio_ctrl(BIO *b, int cmd, long number, void *ptr)
{
	(void)number;
	(void)ptr;
	if (cmd == BIO_CTRL_EOF)
		return BIO_test_flags(b, BIO_FLAGS_IN_EOF) != 0;
	return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
	bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "conn");
	if (!bio_method || !BIO_meth_set_read(bio_method, bio_read) ||
		!BIO_meth_set_write(bio_method, bio_write) ||
		!BIO_meth_set_ctrl(bio_method, bio_ctrl)) {
		BIO_meth_free(bio_method);
		bio_method = NULL;
	}
}

static BIO *bio_new(struct conn *c)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *b;

	pthread_once(&once, make_bio_method);
	b = bio_method ? BIO_new(bio_method) : NULL;
	if (b) {
		BIO_set_data(b, c);
		BIO_set_init(b, 1);
	}
	return b;
}

/* --- what went wrong ----------------------------------------------------------------------------
 */

void tls_describe(const SSL *ssl, char *out, size_t size)
{
	unsigned long error = ERR_peek_last_error();
	const char *text = error ? ERR_reason_error_string(error) : NULL;

	if (!error)
		snprintf(out, size, "the connection ended in the middle of it");
	else if (ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		snprintf(out, size, "certificate verify failed: %s",
			X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
	else
		snprintf(out, size, "%s", text ? text : "unknown error");
}

/* RFC 8446 6.2: alerts that speak of the certificate that the other side wants to see. */
static bool is_about_certificate(unsigned long error)
{
	static const int alerts[] = {SSL_AD_BAD_CERTIFICATE, SSL_AD_UNSUPPORTED_CERTIFICATE,
		SSL_AD_CERTIFICATE_REVOKED, SSL_AD_CERTIFICATE_EXPIRED, SSL_AD_CERTIFICATE_UNKNOWN,
		SSL_AD_UNKNOWN_CA, SSL_AD_ACCESS_DENIED, SSL_AD_CERTIFICATE_REQUIRED};

	for (unsigned i = 0; i < countof(alerts); i++)
		if (ERR_GET_REASON(error) == SSL_AD_REASON_OFFSET + alerts[i])
			return true;
	return false;
}

static void note_fault(struct tls *t)
{
	t->broken = true;
	t->refused = is_about_certificate(ERR_peek_last_error());
	if (!t->fault[0])
		tls_describe(t->ssl, t->fault, sizeof(t->fault));
	ERR_clear_error();
}

/* --- records ------------------------------------------------------------------------------------
 */

/* SSL_get_error() wants an empty queue before what it is asked about. It nearly always is, and to
 * empty it costs ten times as much as a look. */
static void forget_errors(void)
{
	if (ERR_peek_error())
		ERR_clear_error();
}

/* What SSL_read or SSL_write came to: 0 (the end), or -1 with errno. event is what was tried. */
static int no_result(struct tls *t, int event, int rc)
{
	int error = errno;

	switch (SSL_get_error(t->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		if (event == EV_WRITE)
			conn_cross(t->conn, event);
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_WANT_WRITE:
		if (event == EV_READ)
			conn_cross(t->conn, event);
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		if (event == EV_READ)
			return 0;
		error = EPIPE;
		break;
	case SSL_ERROR_SYSCALL:
		break;
	default:
		error = 0;
		break;
	}
	note_fault(t);
	/* What was left in errno by others must not look like something to wait for. */
	errno = error && error != EAGAIN && error != EINTR ? error : ECONNRESET;
	return -1;
}

static void on_again(struct ev_loop *loop, ev_idle *idle, int events)
{
	struct tls *t = idle->data;

	(void)events;
	ev_idle_stop(loop, idle);
	if (t->conn->reading)
		conn_feed(t->conn, EV_READ);
}

/* The end may have come in one packet with the bytes before it: then the socket is silent. */
static bool has_ended(const struct tls *t)
{
	return t->read_error || SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN;
}

static bool tls_has_input(const struct conn *c)
{
	return SSL_has_pending(tls_get(c)->ssl) || has_ended(tls_get(c));
}

static ssize_t tls_recv(struct conn *c, void *to, size_t bytes)
{
	struct tls *t = tls_get(c);
	size_t n, done = 0;

	if (t->read_error) {
		errno = t->read_error;
		return -1;
	}
	do {
		int rc;

		forget_errors();
		rc = SSL_read_ex(t->ssl, (char *)to + done, bytes - done, &n);
		if (rc <= 0) {
			int last = no_result(t, EV_READ, rc);

			if (last < 0 && errno != EAGAIN)
				t->read_error = errno;
			if (done)
				break;
			return last;
		}
		done += n;
	} while (done < bytes && SSL_has_pending(t->ssl));
	if ((done == bytes && SSL_has_pending(t->ssl)) || has_ended(t))
		ev_idle_start(c->worker->loop, &t->again);
	return (ssize_t)done;
}

/* The front of what is to be sent, at most `limit` bytes, in one piece: where it lies, or in
 * `room`. */
static struct span gather(struct iovec *iov, unsigned *at, unsigned count, size_t limit, char *room)
{
	size_t len = 0;
	struct span out = span_make(iov[*at].iov_base, iov[*at].iov_len);

	if (out.len >= limit || *at + 1 == count)
		return span_make(out.ptr, out.len < limit ? out.len : limit);
	for (unsigned i = *at; i < count && len < limit; i++) {
		size_t n = iov[i].iov_len < limit - len ? iov[i].iov_len : limit - len;

		memcpy(room + len, iov[i].iov_base, n);
		len += n;
	}
	return span_make(room, len);
}

static void skip(struct iovec *iov, unsigned *at, size_t bytes)
{
	while (bytes) {
		size_t n = iov[*at].iov_len < bytes ? iov[*at].iov_len : bytes;

		iov[*at].iov_base = (char *)iov[*at].iov_base + n;
		iov[*at].iov_len -= n;
		bytes -= n;
		if (!iov[*at].iov_len)
			++*at;
	}
}

/* A record that was made goes first, with the bytes it was made of. */
static size_t record_limit(struct tls *t)
{
	uint64_t now_ns = t->conn->worker->now_ns;

	if (t->retry_bytes)
		return t->retry_bytes;
	if (now_ns - t->sent_ns >= TLS_RECORD_IDLE_NS)
		t->record_bytes = TLS_RECORD_MIN;
	t->sent_ns = now_ns;
	return t->record_bytes;
}

static void record_sent(struct tls *t, size_t bytes)
{
	t->retry_bytes = 0;
	if (bytes < t->record_bytes)
		return;
	t->record_bytes *= 2;
	if (t->record_bytes > TLS_RECORD_MAX)
		t->record_bytes = TLS_RECORD_MAX;
}

static ssize_t tls_send(struct conn *c, const struct iovec *iov, unsigned count)
{
	struct tls *t = tls_get(c);
	UNFILLED struct iovec left[STAGE_IOV];
	UNFILLED char room[TLS_RECORD_MAX];
	size_t bytes = 0, done = 0;
	unsigned at = 0;

	ASSERT(count <= countof(left));
	memcpy(left, iov, count * sizeof(*iov));
	for (unsigned i = 0; i < count; i++)
		bytes += iov[i].iov_len;
	while (done < bytes) {
		struct span record = gather(left, &at, count, record_limit(t), room);
		size_t n;
		int rc;

		ASSERT(record.len >= t->retry_bytes);
		t->more = record.len < bytes - done;
		forget_errors();
		rc = SSL_write_ex(t->ssl, record.ptr, record.len, &n);
		if (rc <= 0) {
			if (no_result(t, EV_WRITE, rc) < 0 && errno == EAGAIN)
				t->retry_bytes = (uint32_t)record.len;
			return done ? (ssize_t)done : -1;
		}
		ASSERT(n == record.len);
		record_sent(t, n);
		skip(left, &at, n);
		done += n;
	}
	return (ssize_t)done;
}

/* --- the end ------------------------------------------------------------------------------------
 */

/* A close_notify that the socket does not take is not worth waiting for. */
static void say_end(struct tls *t)
{
	if (t->broken || t->handshaking || SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN)
		return;
	ERR_clear_error();
	t->more = true;
	if (SSL_shutdown(t->ssl) < 0)
		ERR_clear_error();
}

static int tls_shutdown(struct conn *c)
{
	say_end(tls_get(c));
	return shutdown(c->fd, SHUT_WR);
}

static void end_handshake(struct tls *t)
{
	struct conn *c = t->conn;

	if (!t->handshaking)
		return;
	t->handshaking = false;
	c->handler = t->inner;
	if (t->on_ready) {
		ASSERT(c->worker->tls.pending_count > 0);
		c->worker->tls.pending_count--;
		list_remove(&t->link);
	}
}

static void tls_close(struct conn *c, bool abort)
{
	struct tls *t = tls_get(c);

	if (!abort)
		say_end(t);
	end_handshake(t);
	ev_idle_stop(c->worker->loop, &t->again);
	SSL_free(t->ssl);
	free(t);
	c->layer = NULL;
	c->transport = NULL;
}

static int tls_connect_error(struct conn *c)
{
	return tls_get(c)->connect_error;
}

static const struct transport transport = {
	.recv = tls_recv,
	.send = tls_send,
	.has_input = tls_has_input,
	.shutdown = tls_shutdown,
	.close = tls_close,
	.connect_error = tls_connect_error,
};

/* --- sessions with servers ----------------------------------------------------------------------
 */

void tls_kept_drop(struct tls_kept *k)
{
	SSL_SESSION_free(k->session);
	*k = (struct tls_kept){0};
}

static bool may_keep(const struct tls *t)
{
	return t->kept && memcmp(t->of, t->kept->of, sizeof(t->of)) == 0;
}

/* A server may give several, at any time. 1: it is ours now. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
	struct conn *c = SSL_get_app_data(ssl); /* NULL: a check's */
	struct tls *t = c ? tls_get(c) : NULL;

	if (!t || !may_keep(t))
		return 0;
	SSL_SESSION_free(t->kept->session);
	t->kept->session = session;
	return 1;
}

/* --- the handshake ------------------------------------------------------------------------------
 */

void tls_tell_failed(const struct conn *c, const char *why)
{
	struct worker *w = c->worker;
	uint64_t total =
		atomic_fetch_add_explicit(&w->tls.failed_total, 1, memory_order_relaxed) + 1;
	struct addr peer = {.sa.sa_family = AF_UNSPEC};
	socklen_t len = sizeof(peer);
	char text[ADDR_TEXT_MAX] = "";

	if (w->tls.told_ns && w->now_ns - w->tls.told_ns < TLS_TELL_NS)
		return;
	w->tls.told_ns = w->now_ns;
	if (getpeername(c->fd, &peer.sa, &len) == 0) {
		addr_unmap(&peer);
		addr_format_ip(&peer, text);
	}
	log_event(LOG_NOTICE, "tls.failed", "a client's handshake came to nothing",
		F_TEXT("client", text), F_TEXT("reason", why), F_INT("failed_total", total));
}

/* Whoever waits for the connect hears the rest. */
static void connect_done(struct tls *t, int error)
{
	struct conn *c = t->conn;

	t->connect_error = error;
	end_handshake(t);
	ev_io_stop(c->worker->loop, &c->rd);
	ev_io_stop(c->worker->loop, &c->wr);
	c->handler->on_writable(c);
}

static void failed(struct tls *t, int error)
{
	note_fault(t);
	if (!t->on_ready) {
		atomic_fetch_add_explicit(
			&t->conn->worker->tls.server_failed_total, 1, memory_order_relaxed);
		if (may_keep(t)) /* the next one owes nothing to this */
			tls_kept_drop(t->kept);
		connect_done(t, error);
		return;
	}
	tls_tell_failed(t->conn, t->fault);
	conn_close(t->conn);
}

static void accepted(struct tls *t)
{
	struct conn *c = t->conn;
	bool new_version = SSL_version(t->ssl) >= TLS1_3_VERSION;

	atomic_fetch_add_explicit(
		&c->worker->tls.done_total[new_version][SSL_session_reused(t->ssl)], 1,
		memory_order_relaxed);
	end_handshake(t);
	ev_io_stop(c->worker->loop, &c->wr);
	conn_deadline(c, 0);
	conn_start(c);
	t->on_ready(c);
}

static void connected(struct tls *t)
{
	atomic_fetch_add_explicit(
		&t->conn->worker->tls.server_done_total[SSL_session_reused(t->ssl)], 1,
		memory_order_relaxed);
	connect_done(t, 0);
}

/* The others, too, are to come to something. */
static void begin_turn(struct worker *w)
{
	if (w->tls.steps_ns == w->now_ns)
		return;
	w->tls.steps_ns = w->now_ns;
	w->tls.crowded = w->tls.refused;
	w->tls.refused = false;
	w->tls.first_steps = w->tls.later_steps = 0;
}

static bool has_turn(struct worker *w, unsigned steps, unsigned max)
{
	w->tls.refused |= steps >= max;
	return steps < max;
}

bool tls_may_begin(struct worker *w)
{
	begin_turn(w);
	return has_turn(w, w->tls.first_steps, TLS_FIRST_STEPS_MAX);
}

static bool may_go_on(struct worker *w)
{
	begin_turn(w);
	return has_turn(w, w->tls.later_steps, TLS_LATER_STEPS_MAX);
}

bool tls_is_crowded(struct worker *w)
{
	begin_turn(w);
	return w->tls.crowded;
}

static void watch_only(struct conn *c, ev_io *on, ev_io *off)
{
	ev_io_stop(c->worker->loop, off);
	ev_io_start(c->worker->loop, on);
}

static void step(struct tls *t)
{
	struct conn *c = t->conn;
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(t->ssl);
	if (rc == 1) {
		if (t->on_ready)
			accepted(t);
		else
			connected(t);
		return;
	}
	switch (SSL_get_error(t->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		watch_only(c, &c->rd, &c->wr);
		break;
	case SSL_ERROR_WANT_WRITE:
		watch_only(c, &c->wr, &c->rd);
		break;
	default:
		failed(t, EPROTO);
		break;
	}
}

static void on_readable(struct conn *c)
{
	struct tls *t = tls_get(c);
	bool first = SSL_in_before(t->ssl);

	if (first ? !tls_may_begin(c->worker) : !may_go_on(c->worker))
		return;
	++*(first ? &c->worker->tls.first_steps : &c->worker->tls.later_steps);
	step(t);
}

static void on_writable(struct conn *c)
{
	struct tls *t = tls_get(c);
	int error = SSL_in_before(t->ssl) && c->connecting ? conn_socket_error(c) : 0;

	if (error)
		connect_done(t, error);
	else
		step(t);
}

static void on_write_error(struct conn *c)
{
	failed(tls_get(c), EPROTO); /* never: nothing is pending before the end of it */
}

static void give_up(struct tls *t, const char *why)
{
	snprintf(t->fault, sizeof(t->fault), "%s", why);
	failed(t, ETIMEDOUT);
}

static void on_deadline(struct conn *c)
{
	struct tls *t = tls_get(c);

	if (!t->on_ready) {
		end_handshake(t);
		c->handler->on_deadline(c);
		return;
	}
	give_up(t, "it took too long");
}

static const struct conn_handler handshake = {
	.on_readable = on_readable,
	.on_writable = on_writable,
	.on_write_error = on_write_error,
	.on_deadline = on_deadline,
};

/* --- beginnings ---------------------------------------------------------------------------------
 */

void tls_prepare(SSL_CTX *ctx)
{
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1); /* a record with its head in one system call */
	SSL_CTX_sess_set_new_cb(ctx, on_session);
}

static int start(struct conn *c, SSL *ssl, void (*on_ready)(struct conn *c))
{
	struct tls *t = NULL;
	BIO *bio = NULL;

	ASSERT(!c->transport);
	if (ssl)
		t = calloc(1, sizeof(*t));
	if (t)
		bio = bio_new(c);
	if (!bio) {
		free(t);
		SSL_free(ssl);
		ERR_clear_error();
		errno = ENOMEM;
		return -1;
	}
	SSL_set_bio(ssl, bio, bio);
	SSL_set_app_data(ssl, c); /* for what is asked in the handshake: tickets.c */
	t->ssl = ssl;
	t->conn = c;
	t->inner = c->handler;
	t->on_ready = on_ready;
	t->handshaking = true;
	t->record_bytes = TLS_RECORD_MIN;
	t->sent_ns = c->worker->now_ns;
	list_init(&t->link);
	ev_idle_init(&t->again, on_again);
	ev_set_priority(&t->again, EV_MAXPRI - 1); /* each turn, however busy */
	t->again.data = t;
	c->transport = &transport;
	c->layer = t;
	c->handler = &handshake;
	return 0;
}

void tls_tally_init(struct tls_tally *t)
{
	list_init(&t->pending);
}

int tls_accept(struct conn *c, SSL *ssl, void (*on_ready)(struct conn *c))
{
	struct tls_tally *tally = &c->worker->tls;

	ASSERT(on_ready);
	if (ssl)
		SSL_set_accept_state(ssl);
	if (start(c, ssl, on_ready) < 0)
		return -1;
	SSL_set_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
	if (tally->pending_count == TLS_HANDSHAKES_MAX)
		give_up(list_item(tally->pending.next, struct tls, link), "newer ones came");
	list_append(&tally->pending, &tls_get(c)->link);
	tally->pending_count++;
	return 0;
}

int tls_connect(struct conn *c, SSL *ssl, struct tls_kept *kept)
{
	struct tls *t;

	if (ssl)
		SSL_set_connect_state(ssl);
	if (start(c, ssl, NULL) < 0)
		return -1;
	t = tls_get(c);
	t->kept = kept;
	if (!kept)
		return 0;
	memcpy(t->of, kept->of, sizeof(t->of));
	if (kept->session && !SSL_set_session(ssl, kept->session))
		ERR_clear_error(); /* then in full */
	return 0;
}

SSL *tls_of(const struct conn *c)
{
	return c->transport == &transport ? tls_get(c)->ssl : NULL;
}

const char *tls_fault(const struct conn *c)
{
	return c->transport == &transport ? tls_get(c)->fault : "";
}

bool tls_refused(const struct conn *c)
{
	return c->transport == &transport && tls_get(c)->refused;
}
