#include "proxy/tls/client.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proxy/net/tls.h"
#include "proxy/tls/cert.h"
#include "shared/assert.h"

#define VERIFY_DEPTH 8
#define HOSTS_MAX 20000

/* --- whom we believe ----------------------------------------------------------------------------
 */

/* What is in a file is believed, be it a root, what stands below one, or a server's own. */
static int use_file(struct tls_client *t, const char *file, struct err *err)
{
	if (!SSL_CTX_load_verify_file(t->ctx, file)) {
		err_set(err, "cannot use %s: %s", file, openssl_reason());
		ERR_clear_error();
		return -1;
	}
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(t->ctx), X509_V_FLAG_PARTIAL_CHAIN);
	return 0;
}

static int use_authorities(struct tls_client *t, const char *ca, struct err *err)
{
	if (!t->verify) {
		SSL_CTX_set_verify(t->ctx, SSL_VERIFY_NONE, NULL);
		return 0;
	}
	SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_verify_depth(t->ctx, VERIFY_DEPTH);
	X509_VERIFY_PARAM_set_hostflags(
		SSL_CTX_get0_param(t->ctx), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (ca)
		return use_file(t, ca, err);
	return SSL_CTX_set_default_verify_paths(t->ctx) ? 0 : err_set(err, "out of memory");
}

/* --- making -------------------------------------------------------------------------------------
 */

static int set_up(struct tls_client *t, const struct tls_client_options *o, struct err *err)
{
	tls_prepare(t->ctx);
	SSL_CTX_set_options(t->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	/* One session is kept for each server, by whom connects (net/tls.h). */
	SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	if (!SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION))
		return err_set(err, "cannot set up TLS: %s", openssl_reason());
	t->verify = o->verify;
	if (o->server_name && !(t->name = strdup(o->server_name)))
		return err_set(err, "out of memory");
	return use_authorities(t, o->ca, err);
}

struct tls_client *tls_client_new(const struct tls_client_options *o, struct err *err)
{
	struct tls_client *t = calloc(1, sizeof(*t));

	if (t)
		t->ctx = SSL_CTX_new(TLS_client_method());
	if (!t || !t->ctx) {
		free(t);
		err_set(err, "out of memory");
		return NULL;
	}
	map_init(&t->hosts, HOSTS_MAX);
	if (set_up(t, o, err) == 0)
		return t;
	tls_client_free(t);
	return NULL;
}

void tls_client_free(struct tls_client *t)
{
	size_t at = 0;
	struct span key;
	void *host;

	if (!t)
		return;
	while (map_next(&t->hosts, &at, &key, &host))
		free(host);
	map_fini(&t->hosts);
	SSL_CTX_free(t->ctx);
	cert_free(t->cert);
	free(t->name);
	free(t->host);
	free(t);
}

int tls_client_use(struct tls_client *t, struct cert *cert, struct err *err)
{
	ASSERT(!t->cert);
	t->cert = cert;
	if (SSL_CTX_use_cert_and_key(t->ctx, cert->leaf, cert->key, cert->chain, 1))
		return 0;
	err_set(err, "cannot use the certificate in %s: %s", cert->file, openssl_reason());
	ERR_clear_error();
	return -1;
}

int tls_client_add_host(struct tls_client *t, struct span server, struct span host, struct err *err)
{
	char *copy = span_dup(host);

	ASSERT(!server.len || !map_get(&t->hosts, server));
	if (!copy || (server.len && map_put(&t->hosts, server, copy) < 0)) {
		free(copy);
		return err_set(err, "out of memory");
	}
	if (!server.len) {
		ASSERT(!t->host);
		t->host = copy;
	}
	return 0;
}

/* --- the id -------------------------------------------------------------------------------------
 */

static bool add_text(EVP_MD_CTX *md, const char *text)
{
	return EVP_DigestUpdate(md, text ? text : "", text ? strlen(text) + 1 : 1);
}

/* In any order: a sum of digests. */
static bool add_hosts(EVP_MD_CTX *md, const struct map *hosts)
{
	static const uint64_t seed[2] = {0x746c73, 0x636c69656e74};
	uint64_t sum = 0;
	struct span key;
	size_t at = 0;
	void *host;

	while (map_next(hosts, &at, &key, &host)) {
		const uint64_t own[2] = {seed[0], hash_bytes(key, seed)};

		sum += hash_bytes(span_of(host), own);
	}
	return EVP_DigestUpdate(md, &sum, sizeof(sum));
}

static bool add_certificate(EVP_MD_CTX *md, const X509 *x)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	return X509_digest(x, EVP_sha256(), digest, &len) && EVP_DigestUpdate(md, digest, len);
}

static bool add_authorities(EVP_MD_CTX *md, SSL_CTX *ctx)
{
	STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ctx));

	for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
		const X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));

		if (x && !add_certificate(md, x))
			return false;
	}
	return true;
}

/* The system's authorities may be read later, one by one: they count by when they were changed. */
static bool add_system(EVP_MD_CTX *md)
{
	const char *const places[] = {X509_get_default_cert_file(), X509_get_default_cert_dir()};
	bool good = true;

	for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++) {
		struct stat st;

		if (stat(places[i], &st) == 0)
			good = good && EVP_DigestUpdate(md, &st.st_mtim, sizeof(st.st_mtim));
	}
	return good;
}

int tls_client_seal(struct tls_client *t, struct err *err)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char digest[EVP_MAX_MD_SIZE];
	bool good = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) &&
		    EVP_DigestUpdate(md, &t->verify, sizeof(t->verify)) && add_text(md, t->name) &&
		    add_text(md, t->host) && add_hosts(md, &t->hosts) &&
		    add_authorities(md, t->ctx) && (!t->verify || add_system(md)) &&
		    (!t->cert || add_certificate(md, t->cert->leaf)) &&
		    EVP_DigestFinal_ex(md, digest, NULL);

	EVP_MD_CTX_free(md);
	ERR_clear_error();
	if (!good)
		return err_set(err, "out of memory");
	memcpy(&t->id, digest, sizeof(t->id));
	t->id |= 1;
	return 0;
}

/* --- sessions -----------------------------------------------------------------------------------
 */

static const char *name_of(const struct tls_client *t, struct span server)
{
	const char *own = t->name ? NULL : map_get(&t->hosts, server);

	if (t->name)
		return t->name;
	return own ? own : t->host;
}

/* A name is asked for, too; an address cannot be (RFC 6066 3). */
static bool use_name(SSL *ssl, const char *name)
{
	if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name))
		return true;
	ERR_clear_error();
	/* The macro drops const, of what OpenSSL only reads. */
	return SSL_set1_host(ssl, name) && SSL_set_tlsext_host_name(ssl, (uintptr_t)name);
}

static bool use_protocol(SSL *ssl, enum tls_protocol protocol)
{
	static const unsigned char http1[] = "\10http/1.1", http2[] = "\2h2";

	switch (protocol) {
	case TLS_ANY_PROTOCOL:
		break;
	case TLS_HTTP1:
		return SSL_set_alpn_protos(ssl, http1, sizeof(http1) - 1) == 0;
	case TLS_HTTP2:
		return SSL_set_alpn_protos(ssl, http2, sizeof(http2) - 1) == 0;
	}
	return true;
}

SSL *tls_client_session(const struct tls_client *t, struct span server, const struct addr *address,
	enum tls_protocol protocol)
{
	const char *name = name_of(t, server);
	SSL *ssl = SSL_new(t->ctx);
	char text[ADDR_TEXT_MAX];

	ASSERT(t->id);
	if (!name) {
		addr_format_ip(address, text);
		name = text;
	}
	if (ssl && use_name(ssl, name) && use_protocol(ssl, protocol))
		return ssl;
	SSL_free(ssl);
	ERR_clear_error();
	return NULL;
}
