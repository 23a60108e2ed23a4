#include "proxy/tls/tickets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <string.h>

#include "proxy/tls/server.h"
#include "proxy/worker.h"
#include "shared/assert.h"

static int derive(
	struct span secret, const char *salt, struct span info, uint8_t *out, size_t bytes)
{
	EVP_KDF *hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *k = hkdf ? EVP_KDF_CTX_new(hkdf) : NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret.ptr, secret.len),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt, strlen(salt)),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info.ptr, info.len),
		OSSL_PARAM_construct_end(),
	};
	int rc = k && EVP_KDF_derive(k, out, bytes, params) > 0 ? 0 : -1;

	EVP_KDF_CTX_free(k);
	EVP_KDF_free(hkdf);
	ERR_clear_error();
	return rc;
}

int ticket_secret_make(struct span pair_secret, uint8_t out[TICKET_SECRET_BYTES], struct err *err)
{
	if (derive(pair_secret, "tandem session tickets 1", SPAN("secret"), out,
		    TICKET_SECRET_BYTES) < 0)
		return err_set(err, "out of memory");
	return 0;
}

static int fill(struct ticket_key *k, const uint8_t secret[TICKET_SECRET_BYTES], uint64_t period)
{
	uint8_t number[8], all[sizeof(k->name) + sizeof(k->cipher) + sizeof(k->mac)];

	for (unsigned i = 0; i < sizeof(number); i++)
		number[i] = (uint8_t)(period >> 8 * (7 - i));
	if (derive(span_make((const char *)secret, TICKET_SECRET_BYTES), "tandem ticket key 1",
		    span_make((const char *)number, sizeof(number)), all, sizeof(all)) < 0)
		return -1;
	memcpy(k->secret, secret, TICKET_SECRET_BYTES);
	memcpy(k->name, all, sizeof(k->name));
	memcpy(k->cipher, all + sizeof(k->name), sizeof(k->cipher));
	memcpy(k->mac, all + sizeof(k->name) + sizeof(k->cipher), sizeof(k->mac));
	k->period = period;
	OPENSSL_cleanse(all, sizeof(all));
	return 0;
}

const struct ticket_key *ticket_key_of(
	struct ticket_cache *c, const uint8_t secret[TICKET_SECRET_BYTES], uint64_t period)
{
	struct ticket_key *k = &c->keys[period % countof(c->keys)];

	if (k->period == period && memcmp(k->secret, secret, TICKET_SECRET_BYTES) == 0)
		return k;
	k->period = 0;
	return fill(k, secret, period) == 0 ? k : NULL;
}

const struct ticket_key *ticket_key_find(struct ticket_cache *c,
	const uint8_t secret[TICKET_SECRET_BYTES], const uint8_t name[16], uint64_t wall_ns)
{
	uint64_t now = ticket_period(wall_ns);

	for (uint64_t p = now + 1; p + TICKET_PERIODS_BEFORE >= now; p--) {
		const struct ticket_key *k = ticket_key_of(c, secret, p);

		if (k && memcmp(k->name, name, sizeof(k->name)) == 0)
			return k;
		if (p == 0)
			break;
	}
	return NULL;
}

static int set_mac(EVP_MAC_CTX *mac, const struct ticket_key *k)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(
			OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)k->mac, sizeof(k->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params);
}

/* As SSL_CTX_set_tlsext_ticket_key_evp_cb(3) wants it: 1 done, 2 done and the client is to get a
 * new one, 0 no ticket, -1 error. */
static int on_ticket(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher,
	EVP_MAC_CTX *mac, int sealing)
{
	const struct conn *c = SSL_get_app_data(ssl);
	const uint8_t *secret = tls_server_of(ssl)->ticket_secret;
	struct ticket_cache *cache = &c->worker->tls.tickets;
	uint64_t wall_ns = worker_wall_ns(c->worker);
	const struct ticket_key *k = sealing ? ticket_key_of(cache, secret, ticket_period(wall_ns))
					     : ticket_key_find(cache, secret, name, wall_ns);

	if (!k)
		return 0;
	if (!sealing)
		return set_mac(mac, k) && EVP_DecryptInit_ex2(
						  cipher, EVP_aes_256_cbc(), k->cipher, iv, NULL)
			       ? 1 + (k->period != ticket_period(wall_ns))
			       : -1;
	memcpy(name, k->name, sizeof(k->name));
	if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) <= 0 ||
		!EVP_EncryptInit_ex2(cipher, EVP_aes_256_cbc(), k->cipher, iv, NULL) ||
		!set_mac(mac, k))
		return -1;
	return 1;
}

void tickets_use(SSL_CTX *ctx)
{
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
	SSL_CTX_set_num_tickets(ctx, TICKETS_A_CONNECTION);
	SSL_CTX_set_timeout(ctx, 2 * TICKET_PERIOD_NS / NS_PER_S);
}
