#include "proxy/tls/ocsp.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/tls/cert.h"
#include "shared/assert.h"

#define CLOCK_SKEW_S 300
#define NO_END_S 3600 /* an answer that says not when there is a newer one holds for so long */

/* --- the staple --------------------------------------------------------------------------------
 */

void staple_init(struct staple *s)
{
	*s = (struct staple){.der = NULL};
	pthread_mutex_init(&s->lock, NULL);
}

void staple_fini(struct staple *s)
{
	free(s->der);
	pthread_mutex_destroy(&s->lock);
}

/* Takes der. */
static void staple_set(
	struct staple *s, unsigned char *der, size_t len, int64_t from_s, int64_t until_s)
{
	unsigned char *old;

	pthread_mutex_lock(&s->lock);
	old = s->der;
	s->der = der;
	s->len = len;
	s->from_s = from_s;
	s->until_s = until_s;
	pthread_mutex_unlock(&s->lock);
	free(old);
}

void staple_inherit(struct staple *to, struct staple *from)
{
	unsigned char *der = from->der ? malloc(from->len) : NULL;

	if (!der || to->until_s > from->until_s) {
		free(der);
		return;
	}
	memcpy(der, from->der, from->len);
	to->next_s = from->next_s;
	memcpy(to->trouble, from->trouble, sizeof(to->trouble));
	staple_set(to, der, from->len, from->from_s, from->until_s);
}

unsigned char *staple_copy(struct staple *s, int64_t now_s, size_t *ret_len)
{
	unsigned char *copy = NULL;

	pthread_mutex_lock(&s->lock);
	if (s->der && now_s < s->until_s) {
		copy = OPENSSL_memdup(s->der, s->len);
		*ret_len = s->len;
	}
	pthread_mutex_unlock(&s->lock);
	return copy;
}

/* --- answers -----------------------------------------------------------------------------------
 */

static X509 *issuer_of(const struct cert *c)
{
	for (int i = 0; i < sk_X509_num(c->chain); i++)
		if (X509_check_issued(sk_X509_value(c->chain, i), c->leaf) == X509_V_OK)
			return sk_X509_value(c->chain, i);
	return NULL;
}

static int64_t seconds_of(const ASN1_GENERALIZEDTIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

/* Signed by the issuer, or by whom it has made its responder. */
static bool is_signed(OCSP_BASICRESP *basic, const struct cert *c, X509 *issuer)
{
	X509_STORE *trusted = X509_STORE_new();
	bool good = trusted && X509_STORE_add_cert(trusted, issuer) &&
		    X509_STORE_set_flags(trusted, X509_V_FLAG_PARTIAL_CHAIN) &&
		    OCSP_basic_verify(basic, c->chain, trusted, 0) > 0;

	X509_STORE_free(trusted);
	return good;
}

struct verdict {
	int status, reason;
	ASN1_GENERALIZEDTIME *revoked, *from, *until; /* of the answer's */
	int64_t from_s, until_s;
};

/* Issuers are named by a digest, of which there are two in use. */
static bool find_status(
	OCSP_BASICRESP *basic, const struct cert *c, X509 *issuer, struct verdict *v)
{
	const EVP_MD *digests[] = {EVP_sha1(), EVP_sha256()};

	for (unsigned i = 0; i < countof(digests); i++) {
		OCSP_CERTID *id = OCSP_cert_to_id(digests[i], c->leaf, issuer);
		int found = id ? OCSP_resp_find_status(basic, id, &v->status, &v->reason,
					 &v->revoked, &v->from, &v->until)
			       : 0;

		OCSP_CERTID_free(id);
		if (found)
			return true;
	}
	return false;
}

static int judge(OCSP_RESPONSE *r, OCSP_BASICRESP *basic, const struct cert *c, struct verdict *v,
	struct err *err)
{
	X509 *issuer = issuer_of(c);

	if (!issuer)
		return err_set(err, "the chain in %s is without the certificate's issuer", c->file);
	if (OCSP_response_status(r) != OCSP_RESPONSE_STATUS_SUCCESSFUL || !basic)
		return err_set(err, "the responder says '%s'",
			OCSP_response_status_str(OCSP_response_status(r)));
	if (!find_status(basic, c, issuer, v))
		return err_set(err, "the answer is about another certificate");
	if (!is_signed(basic, c, issuer))
		return err_set(err, "the answer is signed by a stranger");
	if (v->status != V_OCSP_CERTSTATUS_GOOD)
		return err_set(err, "the responder says that the certificate is %s",
			OCSP_cert_status_str(v->status));
	if (!OCSP_check_validity(v->from, v->until, CLOCK_SKEW_S, -1))
		return err_set(err, "the answer is out of date");
	v->from_s = seconds_of(v->from);
	v->until_s = v->until ? seconds_of(v->until) : 0;
	return 0;
}

int ocsp_take(struct cert *c, struct span der, int64_t now_s, struct err *err)
{
	const unsigned char *at = (const unsigned char *)der.ptr;
	OCSP_RESPONSE *r = d2i_OCSP_RESPONSE(NULL, &at, (long)der.len);
	OCSP_BASICRESP *basic = r ? OCSP_response_get1_basic(r) : NULL;
	unsigned char *copy = malloc(der.len + 1);
	struct verdict v;
	int rc = -1;

	if (!copy)
		err_set(err, "out of memory");
	else if (!r)
		err_set(err, "it is no OCSP response in DER form");
	else
		rc = judge(r, basic, c, &v, err);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(r);
	ERR_clear_error();
	if (rc < 0) {
		free(copy);
		return -1;
	}
	memcpy(copy, der.ptr, der.len);
	staple_set(&c->staple, copy, der.len, v.from_s, v.until_s ? v.until_s : now_s + NO_END_S);
	c->staple.trouble[0] = '\0';
	return 0;
}

/* --- questions ---------------------------------------------------------------------------------
 */

static int make_request(const struct cert *c, X509 *issuer, struct span *ret_request)
{
	OCSP_REQUEST *request = OCSP_REQUEST_new();
	OCSP_CERTID *id = request ? OCSP_cert_to_id(EVP_sha1(), c->leaf, issuer) : NULL;
	unsigned char *der = NULL;
	int len = -1;

	if (id && OCSP_request_add0_id(request, id))
		len = i2d_OCSP_REQUEST(request, &der);
	else
		OCSP_CERTID_free(id);
	OCSP_REQUEST_free(request);
	if (len <= 0)
		return -1;
	ret_request->ptr = span_dup(span_make((char *)der, (size_t)len));
	ret_request->len = (size_t)len;
	OPENSSL_free(der);
	return ret_request->ptr ? 0 : -1;
}

int ocsp_question(const struct cert *c, char **ret_url, struct span *ret_request, struct err *err)
{
	STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(c->leaf);
	X509 *issuer = issuer_of(c);
	char *url = NULL;
	int rc = -1;

	if (sk_OPENSSL_STRING_num(urls) < 1)
		err_set(err, "the certificate names no responder");
	else if (!issuer)
		err_set(err, "the chain in %s is without the certificate's issuer", c->file);
	else if (!(url = strdup(sk_OPENSSL_STRING_value(urls, 0))) ||
		 make_request(c, issuer, ret_request) < 0)
		err_set(err, "out of memory");
	else
		rc = 0;
	X509_email_free(urls);
	ERR_clear_error();
	if (rc < 0)
		free(url);
	else
		*ret_url = url;
	return rc;
}
