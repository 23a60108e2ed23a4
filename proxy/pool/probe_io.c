#include "proxy/pool/probe_io.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "proxy/net/tls.h"
#include "proxy/tls/client.h"
#include "shared/assert.h"

struct probe_tls {
	SSL *ssl;
	bool done; /* the handshake */
	bool broken;
	char fault[TLS_FAULT_MAX + 8];
};

static enum tls_protocol protocol_of(const struct check_conf *c)
{
	switch (c->kind) {
	case CHECK_HTTP:
		return TLS_HTTP1;
	case CHECK_GRPC:
		return TLS_HTTP2;
	case CHECK_NONE:
	case CHECK_TCP:
	case CHECK_AGENT:
		break;
	}
	return TLS_ANY_PROTOCOL;
}

int probe_io_secure(struct probe *p)
{
	ASSERT(!p->tls && p->conf->tls);
	p->tls = calloc(1, sizeof(*p->tls));
	if (!p->tls)
		return -1;
	p->tls->ssl = tls_client_session(
		p->conf->tls, span_of(p->server->name), &p->server->address, protocol_of(p->conf));
	if (!p->tls->ssl || !SSL_set_fd(p->tls->ssl, p->fd)) {
		ERR_clear_error();
		return -1;
	}
	SSL_set_connect_state(p->tls->ssl);
	return 0;
}

/* What a call came to: 0 (the end), or -1 with errno. */
static int no_result(struct probe_tls *t, int rc, int *ret_wants)
{
	switch (SSL_get_error(t->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		*ret_wants = EV_READ;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_WANT_WRITE:
		*ret_wants = EV_WRITE;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		break;
	}
	t->broken = true;
	memcpy(t->fault, "TLS: ", 5);
	tls_describe(t->ssl, t->fault + 5, sizeof(t->fault) - 5);
	ERR_clear_error();
	errno = EPROTO;
	return -1;
}

int probe_io_shake(struct probe *p, int *ret_wants)
{
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(p->tls->ssl);
	p->tls->done = rc == 1;
	if (rc != 1 && no_result(p->tls, rc, ret_wants) == 0)
		errno = ECONNRESET;
	return p->tls->done ? 0 : -1;
}

ssize_t probe_io_send(struct probe *p)
{
	struct span out = buf_span(&p->out);
	int rc, wants;
	size_t n;

	if (!p->tls)
		return send(p->fd, out.ptr, out.len, MSG_NOSIGNAL);
	ERR_clear_error();
	rc = SSL_write_ex(p->tls->ssl, out.ptr, out.len, &n);
	if (rc > 0)
		return (ssize_t)n;
	if (no_result(p->tls, rc, &wants) == 0)
		errno = EPIPE;
	return -1;
}

ssize_t probe_io_recv(struct probe *p, char *room, size_t bytes)
{
	int rc, wants;
	size_t n;

	if (!p->tls)
		return recv(p->fd, room, bytes, 0);
	ERR_clear_error();
	rc = SSL_read_ex(p->tls->ssl, room, bytes, &n);
	return rc > 0 ? (ssize_t)n : no_result(p->tls, rc, &wants);
}

bool probe_io_holds(const struct probe *p)
{
	return p->tls && SSL_has_pending(p->tls->ssl);
}

const char *probe_io_fault(const struct probe *p)
{
	return p->tls ? p->tls->fault : "";
}

void probe_io_end(struct probe *p)
{
	struct probe_tls *t = p->tls;

	if (!t)
		return;
	if (t->ssl && t->done && !t->broken && SSL_shutdown(t->ssl) < 0)
		ERR_clear_error();
	SSL_free(t->ssl);
	free(t);
	p->tls = NULL;
}
