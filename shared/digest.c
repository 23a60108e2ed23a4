/*
 * SHA-256 and HMAC-SHA256 over libcrypto. A failure of these calls can only be lack of memory or a
 * broken library: the one-shot hash aborts on it, a key that cannot be made is NULL.
 */
#include "shared/digest.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "shared/assert.h"

struct mac_key {
	EVP_MAC_CTX *ctx; /* keyed; mac_sign starts it over without the key */
};

void digest_sha256(struct span s, uint8_t out[32])
{
	ASSERT(EVP_Digest(s.len ? s.ptr : "", s.len, out, NULL, EVP_sha256(), NULL) == 1);
}

void digest_sha1(struct span s, uint8_t out[20])
{
	ASSERT(EVP_Digest(s.len ? s.ptr : "", s.len, out, NULL, EVP_sha1(), NULL) == 1);
}

struct mac_key *mac_key_new(struct span secret)
{
	char sha256[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
		OSSL_PARAM_construct_end(),
	};
	struct mac_key *k = calloc(1, sizeof(*k));
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);

	if (k && hmac)
		k->ctx = EVP_MAC_CTX_new(hmac);
	EVP_MAC_free(hmac); /* the context holds its own reference */
	/* An empty secret needs a pointer all the same: NULL would mean "the key as before". */
	if (!k || !k->ctx ||
		EVP_MAC_init(k->ctx, (const unsigned char *)(secret.len ? secret.ptr : ""),
			secret.len, params) != 1) {
		mac_key_free(k);
		return NULL;
	}
	return k;
}

void mac_key_free(struct mac_key *k)
{
	if (!k)
		return;
	EVP_MAC_CTX_free(k->ctx);
	free(k);
}

void mac_sign(struct mac_key *k, const struct span *parts, unsigned count, uint8_t out[16])
{
	unsigned char full[32];
	size_t len = 0;

	ASSERT(EVP_MAC_init(k->ctx, NULL, 0, NULL) == 1);
	for (unsigned i = 0; i < count; i++)
		if (parts[i].len)
			ASSERT(EVP_MAC_update(k->ctx, (const unsigned char *)parts[i].ptr,
				       parts[i].len) == 1);
	ASSERT(EVP_MAC_final(k->ctx, full, &len, sizeof(full)) == 1);
	ASSERT(len == sizeof(full));
	memcpy(out, full, 16);
	OPENSSL_cleanse(full, sizeof(full));
}

bool mac_equal(const uint8_t a[16], const uint8_t b[16])
{
	return CRYPTO_memcmp(a, b, 16) == 0;
}
