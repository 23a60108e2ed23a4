/*
 * Certificates: which one goes with a name, what is refused, and the keys of tickets.
 */
#include "proxy/tls/cert.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/tls/tickets.h"
#include "shared/units.h"
#include "tests/unit/check.h"

static char dir[] = "certs-XXXXXX";

static void path(char out[256], const char *name)
{
	snprintf(out, 256, "%s/%s", dir, name);
}

static EVP_PKEY *new_key(const char *kind)
{
	return strcmp(kind, "rsa") == 0 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
}

/* name.crt and name.key; san: as OpenSSL's configuration has it, NULL: none. */
static void make(const char *name, const char *kind, const char *cn, const char *san, int days)
{
	char crt[256], key_file[256], file[64];
	EVP_PKEY *key = new_key(kind);
	X509 *x = X509_new();
	X509_NAME *subject = X509_get_subject_name(x);
	FILE *f;

	CHECK_TRUE(key && x);
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), days);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400L * days + 60);
	X509_NAME_add_entry_by_txt(
		subject, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, subject);
	X509_set_pubkey(x, key);
	if (san) {
		X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);

		X509_add_ext(x, e, -1);
		X509_EXTENSION_free(e);
	}
	CHECK_TRUE(X509_sign(x, key, EVP_sha256()) > 0);
	snprintf(file, sizeof(file), "%s.crt", name);
	path(crt, file);
	snprintf(file, sizeof(file), "%s.key", name);
	path(key_file, file);
	f = fopen(crt, "w");
	CHECK_TRUE(f && PEM_write_X509(f, x));
	fclose(f);
	f = fopen(key_file, "w");
	CHECK_TRUE(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
	fclose(f);
	X509_free(x);
	EVP_PKEY_free(key);
}

static struct cert *load(const char *name)
{
	char crt[256], key[256], file[64];
	struct cert *c = NULL;
	struct err err;

	snprintf(file, sizeof(file), "%s.crt", name);
	path(crt, file);
	snprintf(file, sizeof(file), "%s.key", name);
	path(key, file);
	CHECK_INT(cert_load(crt, key, &c, &err), 0);
	return c;
}

static struct cert_store *store_of(const char *const *names)
{
	struct cert_store *s = cert_store_new();
	struct err err;

	for (; *names; names++)
		CHECK_INT(cert_store_add(s, load(*names), &err), 0);
	CHECK_INT(cert_store_index(s), 0);
	return s;
}

static const char *first_file(const struct cert_store *s, const char *host)
{
	const struct cert_set *set = cert_store_find(s, span_of(host));

	CHECK_TRUE(set && set->count > 0);
	return strrchr(set->certs[0]->file, '/') + 1;
}

#define CHECK_FILE(store, host, file) CHECK_TEXT(span_of(first_file(store, host)), file)

static void the_very_name_goes_before_the_wildcard_and_that_before_the_first(void)
{
	static const char *const names[] = {"main", "exact", "wild", NULL};
	struct cert_store *s;

	make("main", "ec", "main.test", "DNS:main.test", 30);
	make("exact", "ec", "x", "DNS:Shop.Example.test,IP:10.0.0.1,IP:::1", 30);
	make("wild", "ec", "y", "DNS:*.example.test", 30);
	s = store_of(names);
	CHECK_FILE(s, "shop.example.test", "exact.crt");
	CHECK_FILE(s, "SHOP.example.TEST.", "exact.crt");
	CHECK_FILE(s, "other.example.test", "wild.crt");
	CHECK_FILE(s, "a.b.example.test", "main.crt");
	CHECK_FILE(s, "example.test", "main.crt");
	CHECK_FILE(s, "10.0.0.1", "exact.crt");
	CHECK_FILE(s, "[::1]", "exact.crt");
	CHECK_FILE(s, "", "main.crt");
	CHECK_FILE(s, ".example.test", "main.crt");
	CHECK(cert_covers(s->certs[2], SPAN("Q.example.test")));
	CHECK(!cert_covers(s->certs[2], SPAN("example.test")));
	cert_store_free(s);
}

static void the_common_name_counts_only_without_alternatives(void)
{
	static const char *const names[] = {"main", "old", "new", NULL};
	struct cert_store *s;

	make("old", "ec", "old.test", NULL, 30);
	make("new", "ec", "new.test", "DNS:really.test", 30);
	s = store_of(names);
	CHECK_FILE(s, "old.test", "old.crt");
	CHECK_FILE(s, "new.test", "main.crt");
	CHECK_FILE(s, "really.test", "new.crt");
	cert_store_free(s);
}

static void a_name_has_one_of_each_kind_and_the_longer_lasting_of_two(void)
{
	static const char *const names[] = {"short", "long", "rsa", NULL};
	const struct cert_set *set;
	struct cert_store *s;

	make("short", "ec", "k.test", "DNS:k.test", 5);
	make("long", "ec", "k.test", "DNS:k.test", 50);
	make("rsa", "rsa", "k.test", "DNS:k.test", 10);
	s = store_of(names);
	set = cert_store_find(s, SPAN("k.test"));
	CHECK_INT(set->count, 2);
	CHECK_FILE(s, "k.test", "long.crt");
	CHECK(set->certs[1] == s->certs[2]);
	CHECK_INT(cert_days_left(s->certs[0], (int64_t)(realtime_ns() / NS_PER_S)), 5);
	CHECK_INT(cert_days_left(s->certs[0], (int64_t)(realtime_ns() / NS_PER_S) + 86400 * 6), -1);
	cert_store_free(s);
}

static void expect_refused(const char *crt_name, const char *key_name, const char *words)
{
	char crt[256], key[256];
	struct cert *c = NULL;
	struct err err = {{0}};

	path(crt, crt_name);
	if (key_name)
		path(key, key_name);
	CHECK_INT(cert_load(crt, key_name ? key : NULL, &c, &err), -1);
	CHECK(c == NULL);
	if (!strstr(err.text, words) || !strstr(err.text, dir))
		fprintf(stderr, "\n'%s' is not in '%s'\n", words, err.text);
	CHECK(strstr(err.text, words) && strstr(err.text, dir));
}

static void what_is_wrong_with_a_file_is_said(void)
{
	char name[256];
	EVP_PKEY *key = new_key("ec");
	FILE *f;

	expect_refused("main.crt", "wild.key", "does not belong to the certificate");
	expect_refused("main.crt", NULL, "no private key");
	expect_refused("main.key", "main.key", "no certificate");
	expect_refused("none.crt", "main.key", "No such file");
	expect_refused("main.crt", "none.key", "No such file");
	path(name, "locked.key");
	f = fopen(name, "w");
	CHECK_TRUE(f && PEM_write_PKCS8PrivateKey(f, key, EVP_aes_128_cbc(), "pw", 2, NULL, NULL));
	fclose(f);
	EVP_PKEY_free(key);
	expect_refused("main.crt", "locked.key", "encrypted");
	path(name, "folder.crt");
	CHECK_INT(mkdir(name, 0700), 0);
	expect_refused("folder.crt", "main.key", "is no file");
}

static void keys_of_a_period_are_the_same_for_all_and_no_others(void)
{
	static const uint8_t secret[TICKET_SECRET_BYTES] = {1}, other[TICKET_SECRET_BYTES] = {2};
	struct ticket_cache a = {0}, b = {0};
	struct ticket_key first = *ticket_key_of(&a, secret, 1000);

	CHECK(memcmp(&first, ticket_key_of(&b, secret, 1000), sizeof(first)) == 0);
	CHECK(memcmp(first.name, ticket_key_of(&b, secret, 1001)->name, 16) != 0);
	CHECK(memcmp(first.cipher, ticket_key_of(&b, secret, 1001)->cipher, 32) != 0);
	CHECK(memcmp(first.name, ticket_key_of(&b, other, 1000)->name, 16) != 0);
	CHECK(memcmp(first.cipher, first.mac, 32) != 0);
}

static void a_ticket_holds_for_its_period_two_more_and_a_clock_that_is_behind(void)
{
	static const uint8_t secret[TICKET_SECRET_BYTES] = {7}, other[TICKET_SECRET_BYTES] = {8};
	struct ticket_cache c = {0};
	struct ticket_key k = *ticket_key_of(&c, secret, 1000);

	for (uint64_t now = 996; now < 1006; now++) {
		const struct ticket_key *found =
			ticket_key_find(&c, secret, k.name, now * TICKET_PERIOD_NS + 5);

		CHECK_INT(found != NULL, now >= 999 && now <= 1002);
		CHECK(!found || found->period == 1000);
		CHECK(!ticket_key_find(&c, other, k.name, now * TICKET_PERIOD_NS));
	}
	CHECK(!ticket_key_find(&c, secret, (const uint8_t *)"0123456789abcdef", 0));
}

static void a_secret_of_any_length_makes_one(void)
{
	uint8_t a[TICKET_SECRET_BYTES], b[TICKET_SECRET_BYTES];
	struct err err;

	CHECK_INT(ticket_secret_make(SPAN("sixteen bytes or"), a, &err), 0);
	CHECK_INT(ticket_secret_make(SPAN("sixteen bytes or more"), b, &err), 0);
	CHECK(memcmp(a, b, sizeof(a)) != 0);
}

static const struct test_case cases[] = {
	TEST(the_very_name_goes_before_the_wildcard_and_that_before_the_first),
	TEST(the_common_name_counts_only_without_alternatives),
	TEST(a_name_has_one_of_each_kind_and_the_longer_lasting_of_two),
	TEST(what_is_wrong_with_a_file_is_said),
	TEST(keys_of_a_period_are_the_same_for_all_and_no_others),
	TEST(a_ticket_holds_for_its_period_two_more_and_a_clock_that_is_behind),
	TEST(a_secret_of_any_length_makes_one),
};

int main(void)
{
	static const char *const made[] = {
		"main", "exact", "wild", "old", "new", "short", "long", "rsa", "locked", "folder"};
	char name[256], file[64];
	int rc;

	if (!mkdtemp(dir))
		return 99;
	rc = tests_run("certs", cases, sizeof(cases) / sizeof(cases[0]));
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++)
		for (unsigned k = 0; k < 2; k++) {
			snprintf(file, sizeof(file), "%s.%s", made[i], k ? "key" : "crt");
			path(name, file);
			remove(name);
		}
	return rmdir(dir) == 0 ? rc : 99;
}
