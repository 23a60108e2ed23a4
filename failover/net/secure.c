#include "failover/net/secure.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include "shared/assert.h"

#define KEY_BYTES 32
#define ID_BYTES 8
#define ID_TEXT (2 * ID_BYTES)
/* SHA-256 is the hash that a key of an unnamed one is bound to (RFC 8446 4.2.11). */
#define CIPHER "TLS_AES_128_GCM_SHA256"
static const unsigned char cipher_id[] = {0x13, 0x01};

struct key {
	char id[ID_TEXT + 1]; /* tells the keys apart, and nothing else */
	unsigned char secret[KEY_BYTES];
};

struct secure_context {
	SSL_CTX *ssl;
	struct key keys[SECURE_KEYS_MAX];
	unsigned key_count;
};

struct secure {
	struct secure_context *context;
	SSL *ssl;
	int fd;
	unsigned key;
	bool wants_write;
};

/* --- keys --------------------------------------------------------------------------------------
 */
static int derive(struct span secret, const char *label, unsigned char *out, size_t len)
{
	char sha256[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, sha256, 0),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret.ptr, secret.len),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)label, strlen(label)),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF *hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = hkdf ? EVP_KDF_CTX_new(hkdf) : NULL;
	int rc = ctx && EVP_KDF_derive(ctx, out, len, params) == 1 ? 0 : -1;

	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(hkdf);
	return rc;
}

static int make_key(struct key *k, struct span secret)
{
	unsigned char id[ID_BYTES];

	if (derive(secret, "tandem state copy key", k->secret, sizeof(k->secret)) != 0 ||
		derive(secret, "tandem state copy id", id, sizeof(id)) != 0)
		return -1;
	for (size_t i = 0; i < sizeof(id); i++)
		(void)snprintf(k->id + 2 * i, 3, "%02x", id[i]);
	return 0;
}

/* Owned; NULL: out of memory. */
static SSL_SESSION *key_session(SSL *ssl, const struct key *k)
{
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, cipher_id);
	SSL_SESSION *session = SSL_SESSION_new();

	if (session && cipher &&
		SSL_SESSION_set1_master_key(session, k->secret, sizeof(k->secret)) == 1 &&
		SSL_SESSION_set_cipher(session, cipher) == 1 &&
		SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1)
		return session;
	SSL_SESSION_free(session);
	return NULL;
}

static int on_offer(SSL *ssl, const EVP_MD *md, const unsigned char **ret_id, size_t *ret_id_len,
	SSL_SESSION **ret_session)
{
	struct secure *s = SSL_get_app_data(ssl);
	const struct key *k = &s->context->keys[s->key];

	(void)md; /* only one cipher is allowed, and it is of the key's hash */
	*ret_session = key_session(ssl, k);
	*ret_id = (const unsigned char *)k->id;
	*ret_id_len = ID_TEXT;
	return *ret_session ? 1 : 0;
}

/* An id that is not ours leaves the session NULL: without a certificate the handshake then fails.
 */
static int on_offered(SSL *ssl, const unsigned char *id, size_t id_len, SSL_SESSION **ret_session)
{
	const struct secure *s = SSL_get_app_data(ssl);

	*ret_session = NULL;
	for (unsigned i = 0; i < s->context->key_count; i++) {
		const struct key *k = &s->context->keys[i];

		if (id_len != ID_TEXT || memcmp(id, k->id, ID_TEXT) != 0)
			continue;
		*ret_session = key_session(ssl, k);
		return *ret_session ? 1 : 0;
	}
	return 1;
}

struct secure_context *secure_context_new(
	const struct span *secrets, unsigned count, struct err *err)
{
	struct secure_context *c = calloc(1, sizeof(*c));
	bool good = c != NULL;

	ASSERT(count > 0 && count <= SECURE_KEYS_MAX);
	for (unsigned i = 0; good && i < count; i++)
		good = make_key(&c->keys[c->key_count++], secrets[i]) == 0;
	if (good)
		c->ssl = SSL_CTX_new(TLS_method());
	good = good && c->ssl && SSL_CTX_set_min_proto_version(c->ssl, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_ciphersuites(c->ssl, CIPHER) == 1 &&
	       SSL_CTX_set_num_tickets(c->ssl, 0) == 1;
	if (!good) {
		err_set(err, "cannot prepare TLS for the state copy");
		secure_context_free(c);
		return NULL;
	}
	/* Frames have lengths: a connection that ends without a word tells no lies. */
	SSL_CTX_set_options(c->ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
					 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					 SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_psk_use_session_callback(c->ssl, on_offer);
	SSL_CTX_set_psk_find_session_callback(c->ssl, on_offered);
	return c;
}

void secure_context_free(struct secure_context *c)
{
	if (!c)
		return;
	SSL_CTX_free(c->ssl);
	OPENSSL_cleanse(c->keys, sizeof(c->keys));
	free(c);
}

/* --- a connection ------------------------------------------------------------------------------
 */
struct secure *secure_new(struct secure_context *c, int fd, bool client, unsigned key)
{
	struct secure *s = calloc(1, sizeof(*s));

	ASSERT(key < c->key_count);
	if (s)
		s->ssl = SSL_new(c->ssl);
	if (!s || !s->ssl || SSL_set_fd(s->ssl, fd) != 1) {
		if (s)
			SSL_free(s->ssl);
		free(s);
		close(fd);
		return NULL;
	}
	s->context = c;
	s->fd = fd;
	s->key = key;
	SSL_set_app_data(s->ssl, s);
	if (client) /* a server that shows a certificate instead of the key is refused */
		SSL_set_verify(s->ssl, SSL_VERIFY_PEER, NULL);
	if (client)
		SSL_set_connect_state(s->ssl);
	else
		SSL_set_accept_state(s->ssl);
	return s;
}

void secure_free(struct secure *s)
{
	if (!s)
		return;
	SSL_free(s->ssl);
	close(s->fd);
	free(s);
}

/* What a call that did not succeed means. */
static enum secure_rc outcome(struct secure *s, int rc, const char *doing, struct err *err)
{
	const char *reason;
	unsigned long code;

	switch (SSL_get_error(s->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		return SECURE_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		s->wants_write = true;
		return SECURE_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		err_set(err, "closed by the peer");
		return SECURE_ENDED;
	case SSL_ERROR_SYSCALL:
		err_set_errno(err, "%s", doing);
		return SECURE_BROKEN;
	default:
		code = ERR_peek_last_error();
		reason = ERR_reason_error_string(code);
		err_set(err, "%s: %s", doing, reason ? reason : "TLS failed");
		return SECURE_BROKEN;
	}
}

static void begin_call(struct secure *s)
{
	ERR_clear_error();
	errno = 0;
	s->wants_write = false;
}

enum secure_rc secure_handshake(struct secure *s, struct err *err)
{
	enum secure_rc rc;
	int done;

	begin_call(s);
	done = SSL_do_handshake(s->ssl);
	if (done != 1) {
		rc = outcome(s, done, "handshake (is the secret the same on both nodes?)", err);
		return rc == SECURE_ENDED ? SECURE_BROKEN : rc;
	}
	if (SSL_session_reused(s->ssl) == 1) /* so OpenSSL calls "with a pre-shared key" */
		return SECURE_OK;
	err_set(err, "the peer did not use the pair's secret");
	return SECURE_BROKEN;
}

enum secure_rc secure_read(
	struct secure *s, char *to, size_t room, size_t *ret_len, struct err *err)
{
	int rc;

	begin_call(s);
	rc = SSL_read_ex(s->ssl, to, room, ret_len);
	return rc == 1 ? SECURE_OK : outcome(s, rc, "reading", err);
}

enum secure_rc secure_write(struct secure *s, struct span data, size_t *ret_len, struct err *err)
{
	int rc;

	begin_call(s);
	rc = SSL_write_ex(s->ssl, data.ptr, data.len, ret_len);
	return rc == 1 ? SECURE_OK : outcome(s, rc, "writing", err);
}

bool secure_wants_write(const struct secure *s)
{
	return s->wants_write;
}

bool secure_has_more(const struct secure *s)
{
	return SSL_has_pending(s->ssl) == 1;
}

int secure_fd(const struct secure *s)
{
	return s->fd;
}
