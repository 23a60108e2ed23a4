#include "proxy/tls/server.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proxy/net/tls.h"
#include "shared/assert.h"

#define CIPHERS_1_2                                                  \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"
#define CIPHERS_MAX 2048
#define VERIFY_DEPTH 8
#define FIELDS_MAX 4096

/* --- what belongs to whom -----------------------------------------------------------------------
 */

/* Where a context keeps what it belongs to: a number that OpenSSL gives once. */
static int slot = -1;

/* The last connection that used it has gone, or the snapshot it was made for. */
static void on_ctx_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long l, void *p)
{
	struct tls_server *s = ptr;

	(void)parent, (void)ad, (void)index, (void)l, (void)p;
	if (!s)
		return;
	cert_store_free(s->store);
	free(s->ocsp_file);
	OPENSSL_cleanse(s->ticket_secret, sizeof(s->ticket_secret));
	free(s);
}

static void make_slot(void)
{
	slot = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_ctx_free);
}

static bool own(SSL_CTX *ctx, struct tls_server *s)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_slot);
	return slot >= 0 && SSL_CTX_set_ex_data(ctx, slot, s);
}

const struct tls_server *tls_server_of(const SSL *ssl)
{
	return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), slot);
}

/* --- choosing -----------------------------------------------------------------------------------
 */

static struct span name_of(const SSL *ssl)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	return name ? span_of(name) : (struct span){0};
}

static int use_cert(SSL *ssl, const struct cert *c)
{
	return SSL_use_cert_and_key(ssl, c->leaf, c->key, c->chain, 1);
}

/* Of several kinds of key OpenSSL takes the one that the client can check. The default's are in the
 * context already. */
static int on_choose(SSL *ssl, void *arg)
{
	const struct tls_server *s = arg;
	const struct cert_set *set = cert_store_find(s->store, name_of(ssl));

	if (memcmp(set->certs, s->store->fallback->certs, sizeof(set->certs)) == 0)
		return 1;
	SSL_certs_clear(ssl);
	for (unsigned i = 0; i < set->count; i++)
		if (!use_cert(ssl, set->certs[i]))
			return 0;
	return 1;
}

/* A client asks for the certificate's staple (RFC 6066 8). */
static int on_status(SSL *ssl, void *arg)
{
	const struct tls_server *s = arg;
	const X509 *leaf = SSL_get_certificate(ssl);
	const struct cert_set *set = cert_store_find(s->store, name_of(ssl));
	unsigned char *der = NULL;
	size_t len = 0;

	for (unsigned i = 0; i < set->count && !der; i++)
		if (set->certs[i]->leaf == leaf)
			der = staple_copy(
				&set->certs[i]->staple, (int64_t)(realtime_ns() / NS_PER_S), &len);
	if (!der)
		return SSL_TLSEXT_ERR_NOACK;
	SSL_set_tlsext_status_ocsp_resp(ssl, der, (long)len); /* which takes it */
	return SSL_TLSEXT_ERR_OK;
}

/* RFC 7301: who offers only what we do not speak is refused, which also stops a client that was
 * lured here with another protocol's words. */
static int on_protocols(SSL *ssl, const unsigned char **out, unsigned char *out_len,
	const unsigned char *offered, unsigned offered_len, void *arg)
{
	static const unsigned char both[] = "\2h2\10http/1.1", one[] = "\10http/1.1";
	const struct tls_server *s = arg;
	unsigned char *chosen;

	(void)ssl;
	if (SSL_select_next_proto(&chosen, out_len, s->h2 ? both : one,
		    s->h2 ? sizeof(both) - 1 : sizeof(one) - 1, offered,
		    offered_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

bool tls_speaks_h2(const SSL *ssl)
{
	const unsigned char *chosen;
	unsigned len;

	SSL_get0_alpn_selected(ssl, &chosen, &len);
	return len == 2 && memcmp(chosen, "h2", 2) == 0;
}

const char *tls_version_of(const SSL *ssl)
{
	return SSL_get_version(ssl);
}

const char *tls_cipher_of(const SSL *ssl)
{
	return SSL_get_cipher_name(ssl);
}

static bool has_cert(const struct cert_set *set, const struct cert *c)
{
	for (unsigned i = 0; i < set->count; i++)
		if (set->certs[i] == c)
			return true;
	return false;
}

bool tls_misdirected(const SSL *ssl, struct span host)
{
	struct span name = name_of(ssl);
	const struct cert_store *store;
	const struct cert_set *opened_for, *wanted;

	if (!name.len || !host.len || span_ieq(name, host))
		return false;
	store = tls_server_of(ssl)->store;
	opened_for = cert_store_find(store, name);
	wanted = cert_store_find(store, host);
	for (unsigned i = 0; i < opened_for->count; i++)
		if (has_cert(wanted, opened_for->certs[i]) ||
			cert_covers(opened_for->certs[i], host))
			return false;
	return true;
}

/* --- clients' certificates ----------------------------------------------------------------------
 */

/* With `optional` the handshake goes on whatever became of it: the server is told. */
static int accept_anyway(int ok, X509_STORE_CTX *store)
{
	(void)ok, (void)store;
	return 1;
}

static int use_client_ca(SSL_CTX *ctx, const struct tls_server_options *o, struct err *err)
{
	STACK_OF(X509_NAME) * names;

	if (o->client_auth == CLIENT_AUTH_NONE)
		return 0;
	ASSERT(o->client_ca);
	names = SSL_load_client_CA_file(o->client_ca);
	if (!names || !SSL_CTX_load_verify_file(ctx, o->client_ca)) {
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		err_set(err, "cannot use client_ca %s: %s", o->client_ca, openssl_reason());
		ERR_clear_error();
		return -1;
	}
	SSL_CTX_set_client_CA_list(ctx, names);
	SSL_CTX_set_verify_depth(ctx, VERIFY_DEPTH);
	if (o->client_auth == CLIENT_AUTH_REQUIRED)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	else
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, accept_anyway);
	return 0;
}

/* A field's value is ASCII without line ends: RFC 2253 escapes all others. */
static void put_name(BIO *to, const char *field, X509_NAME *name)
{
	BIO_printf(to, "%s: ", field);
	X509_NAME_print_ex(to, name, 0, XN_FLAG_RFC2253);
	BIO_puts(to, "\r\n");
}

static void put_certificate(BIO *to, X509 *cert)
{
	BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *hex = serial ? BN_bn2hex(serial) : NULL;
	unsigned char digest[32];
	unsigned len = 0;

	put_name(to, "X-Client-Cert-Subject", X509_get_subject_name(cert));
	put_name(to, "X-Client-Cert-Issuer", X509_get_issuer_name(cert));
	if (hex)
		BIO_printf(to, "X-Client-Cert-Serial: %s\r\n", hex);
	if (X509_digest(cert, EVP_sha256(), digest, &len)) {
		BIO_puts(to, "X-Client-Cert-Fingerprint: ");
		for (unsigned i = 0; i < len; i++)
			BIO_printf(to, "%02x", digest[i]);
		BIO_puts(to, "\r\n");
	}
	OPENSSL_free(hex);
	BN_free(serial);
}

char *tls_client_fields(const SSL *ssl)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	long verified = SSL_get_verify_result(ssl);
	BIO *to = BIO_new(BIO_s_mem());
	char *text, *copy;
	long len;

	if (!to)
		return NULL;
	if (!cert)
		BIO_puts(to, "X-Client-Cert-Verify: NONE\r\n");
	else if (verified == X509_V_OK)
		BIO_puts(to, "X-Client-Cert-Verify: SUCCESS\r\n");
	else
		BIO_printf(to, "X-Client-Cert-Verify: FAILED:%s\r\n",
			X509_verify_cert_error_string(verified));
	if (cert)
		put_certificate(to, cert);
	len = BIO_get_mem_data(to, &text);
	if (len > FIELDS_MAX) /* names that nobody verified may be of any length */
		len = (long)(strstr(text, "\r\n") + 2 - text);
	copy = len > 0 ? strndup(text, (size_t)len) : NULL;
	BIO_free(to);
	ERR_clear_error();
	return copy;
}

/* --- policy -------------------------------------------------------------------------------------
 */

/* One list in the file; OpenSSL has one for each version. */
static int use_ciphers(SSL_CTX *ctx, struct span wanted, struct err *err)
{
	char old[CIPHERS_MAX] = "", new[CIPHERS_MAX] = "";

	if (wanted.len >= CIPHERS_MAX)
		return err_set(err, "'ciphers' is too long");
	for (size_t from = 0; from < wanted.len;) {
		size_t to = span_find(wanted, ':', from);
		struct span one = span_trim(span_make(wanted.ptr + from, to - from));
		char *list = span_starts(one, SPAN("TLS_")) ? new : old;
		size_t len = strlen(list);

		snprintf(list + len, CIPHERS_MAX - len, "%s%.*s", len ? ":" : "", SPAN_ARG(one));
		from = to + 1;
	}
	if (SSL_CTX_set_cipher_list(ctx, old[0] ? old : CIPHERS_1_2) &&
		SSL_CTX_set_ciphersuites(ctx, new[0] ? new : CIPHERS_1_3))
		return 0;
	ERR_clear_error();
	return err_set(err, "'ciphers' names none that OpenSSL knows: see openssl ciphers -v");
}

static int use_policy(SSL_CTX *ctx, const struct tls_server_options *o, struct err *err)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (!SSL_CTX_set_min_proto_version(ctx, o->only_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) ||
		!SSL_CTX_set1_groups_list(ctx, (uintptr_t)GROUPS)) /* it is only read */
		return err_set(err, "cannot set up TLS: %s", openssl_reason());
	return use_ciphers(ctx, o->ciphers, err);
}

/* Sessions belong to a listener and to what it asks of clients: no older one comes round that. */
static int use_session_id(SSL_CTX *ctx, const struct tls_server_options *o, struct err *err)
{
	STACK_OF(X509_OBJECT) *authorities = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ctx));
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char id[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	bool good = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) &&
		    EVP_DigestUpdate(md, o->name.ptr, o->name.len) &&
		    EVP_DigestUpdate(md, &o->client_auth, sizeof(o->client_auth));

	for (int i = 0; good && i < sk_X509_OBJECT_num(authorities); i++) {
		const X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(authorities, i));

		/* All of it: another key may come under the same name. */
		good = !x ||
		       (X509_digest(x, EVP_sha256(), id, &len) && EVP_DigestUpdate(md, id, len));
	}
	good = good && EVP_DigestFinal_ex(md, id, &len) &&
	       SSL_CTX_set_session_id_context(ctx, id, SSL_MAX_SID_CTX_LENGTH);
	EVP_MD_CTX_free(md);
	return good ? 0 : err_set(err, "cannot set up TLS: %s", openssl_reason());
}

/* What OpenSSL's policy refuses (a key that is too short) is refused now, and not when the first
 * client comes for it. */
static int try_all(const struct tls_server *s, struct err *err)
{
	SSL *trial = SSL_new(s->ctx);
	int rc = trial ? 0 : err_set(err, "out of memory");

	for (unsigned i = 0; rc == 0 && i < s->store->count; i++)
		if (!use_cert(trial, s->store->certs[i]))
			rc = err_set(err, "cannot use the certificate in %s: %s",
				s->store->certs[i]->file, openssl_reason());
	SSL_free(trial);
	ERR_clear_error();
	return rc;
}

static int use_default(struct tls_server *s, struct err *err)
{
	const struct cert_set *set = s->store->fallback;

	if (try_all(s, err) < 0)
		return -1;
	for (unsigned i = 0; i < set->count; i++)
		if (!SSL_CTX_use_cert_and_key(s->ctx, set->certs[i]->leaf, set->certs[i]->key,
			    set->certs[i]->chain, 1))
			return err_set(err, "out of memory");
	return 0;
}

static int use_ocsp(struct tls_server *s, struct span ocsp, struct err *err)
{
	if (!ocsp.len)
		return 0;
	SSL_CTX_set_tlsext_status_cb(s->ctx, on_status);
	SSL_CTX_set_tlsext_status_arg(s->ctx, s);
	s->ocsp_auto = span_eq(ocsp, SPAN("auto"));
	if (s->ocsp_auto)
		return 0;
	s->ocsp_file = span_dup(ocsp);
	return s->ocsp_file ? 0 : err_set(err, "out of memory");
}

/* -1: it cannot be read. */
static int read_file(const char *file, char *room, size_t size, size_t *ret_len, struct err *err)
{
	FILE *f = fopen(file, "re");

	if (!f)
		return err_set_errno(err, "cannot read %s", file);
	*ret_len = fread(room, 1, size, f);
	fclose(f);
	return 0;
}

int tls_server_read_staples(struct tls_server *s, struct err *err)
{
	struct stat st;
	char *der;
	size_t len = 0;
	int rc = -1;

	if (stat(s->ocsp_file, &st) < 0)
		return err_set_errno(err, "cannot read %s", s->ocsp_file);
	if (memcmp(&st.st_mtim, &s->ocsp_read, sizeof(st.st_mtim)) == 0)
		return 0;
	s->ocsp_read = st.st_mtim;
	der = malloc(OCSP_ANSWER_MAX);
	if (!der)
		return err_set(err, "out of memory");
	if (read_file(s->ocsp_file, der, OCSP_ANSWER_MAX, &len, err) == 0)
		for (unsigned i = 0; i < s->store->count; i++)
			if (ocsp_take(s->store->certs[i], span_make(der, len),
				    (int64_t)(realtime_ns() / NS_PER_S), err) == 0)
				rc = 0;
	free(der);
	return rc < 0 ? err_prefix(err, "OCSP response %s", s->ocsp_file) : 0;
}

static int set_up(struct tls_server *s, const struct tls_server_options *o, struct err *err)
{
	tls_prepare(s->ctx);
	if (use_policy(s->ctx, o, err) < 0 || use_client_ca(s->ctx, o, err) < 0 ||
		use_session_id(s->ctx, o, err) < 0 || use_default(s, err) < 0)
		return -1;
	SSL_CTX_set_cert_cb(s->ctx, on_choose, s);
	if (o->http)
		SSL_CTX_set_alpn_select_cb(s->ctx, on_protocols, s);
	tickets_use(s->ctx);
	return use_ocsp(s, o->ocsp, err);
}

struct tls_server *tls_server_new(
	struct cert_store *store, const struct tls_server_options *o, struct err *err)
{
	struct tls_server *s = calloc(1, sizeof(*s));
	SSL_CTX *ctx = s ? SSL_CTX_new(TLS_server_method()) : NULL;

	if (!ctx) {
		free(s);
		cert_store_free(store);
		err_set(err, "out of memory");
		return NULL;
	}
	s->ctx = ctx;
	s->store = store;
	s->client_auth = o->client_auth;
	s->h2 = o->h2;
	if (!own(ctx, s)) {
		SSL_CTX_free(ctx);
		cert_store_free(store);
		free(s);
		err_set(err, "out of memory");
		return NULL;
	}
	if (set_up(s, o, err) == 0)
		return s;
	tls_server_free(s);
	return NULL;
}

void tls_server_free(struct tls_server *s)
{
	if (s)
		SSL_CTX_free(s->ctx);
}

SSL *tls_server_session(struct tls_server *s)
{
	return SSL_new(s->ctx);
}
