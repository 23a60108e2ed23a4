/*
 * Known answers of FIPS 180-2 and RFC 4231, and what the digest of a configuration may depend on.
 */
#include "shared/conf.h"
#include "shared/digest.h"
#include "tests/unit/check.h"

static void hex(const uint8_t *bytes, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void sha256_gives_the_known_answers(void)
{
	uint8_t out[32];
	char text[65];

	digest_sha256(SPAN("abc"), out);
	hex(out, 32, text);
	CHECK_TEXT(
		span_of(text), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	digest_sha256((struct span){0}, out);
	hex(out, 32, text);
	CHECK_TEXT(
		span_of(text), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void hmac_gives_the_known_answers_however_the_message_is_cut(void)
{
	const struct span whole[] = {SPAN("what do ya want for nothing?")};
	const struct span cut[] = {SPAN("what do ya "), {0}, SPAN("want for nothing"), SPAN("?")};
	struct mac_key *k = mac_key_new(SPAN("Jefe")); /* RFC 4231, case 2 */
	uint8_t a[16], b[16];
	char text[33];

	CHECK_TRUE(k != NULL);
	mac_sign(k, whole, 1, a);
	hex(a, 16, text);
	CHECK_TEXT(span_of(text), "5bdcc146bf60754e6a042426089575c7");
	mac_sign(k, cut, 4, b); /* the same key again */
	CHECK(mac_equal(a, b));
	b[15] ^= 1;
	CHECK(!mac_equal(a, b));
	mac_key_free(k);
}

static void an_empty_secret_is_a_key_too(void)
{
	const struct span part = SPAN("x");
	struct mac_key *k = mac_key_new((struct span){0}), *other = mac_key_new(SPAN("y"));
	uint8_t a[16], b[16];

	CHECK_TRUE(k && other);
	mac_sign(k, &part, 1, a);
	mac_sign(other, &part, 1, b);
	CHECK(!mac_equal(a, b));
	mac_key_free(k);
	mac_key_free(other);
	mac_key_free(NULL);
}

static void digest_of(const char *text, uint8_t out[32])
{
	struct conf_report *r = conf_report_new();
	struct conf *c = conf_load_text("t.yaml", span_of(text), r);

	CHECK_TRUE(c != NULL);
	CHECK_INT(conf_report_errors(r), 0);
	conf_digest(c, out);
	conf_free(c);
	conf_report_free(r);
}

static void layout_and_comments_do_not_change_a_configurations_digest(void)
{
	uint8_t a[32], b[32];

	digest_of("pools:\n  web:\n    servers:\n      a1: {address: \"10.0.0.1:80\"}\n", a);
	digest_of("# two boxes\npools: {web: {servers: {a1: {address: '10.0.0.1:80'}}}}\n", b);
	CHECK(memcmp(a, b, 32) == 0);
}

static void every_name_value_and_level_changes_it(void)
{
	static const char *const texts[] = {
		"pools: {web: {servers: {a1: {address: \"10.0.0.1:80\"}}}}\n",
		"pools: {web: {servers: {a2: {address: \"10.0.0.1:80\"}}}}\n",
		"pools: {web: {servers: {a1: {address: \"10.0.0.1:81\"}}}}\n",
		"pools: {web: {servers: {a1: {address: \"10.0.0.1:80\", weight: 2}}}}\n",
		"pools: {web: {servers: {a1: {address: \"10.0.0.1:80\"}}}}\nworkers: 2\n",
	};
	uint8_t digests[5][32];

	for (unsigned i = 0; i < 5; i++) {
		digest_of(texts[i], digests[i]);
		for (unsigned j = 0; j < i; j++)
			CHECK(memcmp(digests[i], digests[j], 32) != 0);
	}
}

static const struct test_case cases[] = {
	TEST(sha256_gives_the_known_answers),
	TEST(hmac_gives_the_known_answers_however_the_message_is_cut),
	TEST(an_empty_secret_is_a_key_too),
	TEST(layout_and_comments_do_not_change_a_configurations_digest),
	TEST(every_name_value_and_level_changes_it),
};
TESTS_MAIN("digest", cases)
