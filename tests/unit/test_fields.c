/*
 * The names that Tandem knows, and their look-alikes.
 */
#include "proxy/http/h1_internal.h"

#include "tests/unit/check.h"

static const char *const names[HTTP_F_COUNT] = {
#define X(name, text) text,
	HTTP_FIELDS(X)
#undef X
};

static void every_known_name_is_found_in_any_case(void)
{
	for (unsigned id = 1; id < HTTP_F_COUNT; id++) {
		char mixed[32];
		struct span name = span_of(names[id]);

		CHECK_INT(http_field_id(name), id);
		for (size_t i = 0; i < name.len; i++) {
			bool raise = i % 2 == 0 && name.ptr[i] >= 'a' && name.ptr[i] <= 'z';

			mixed[i] = raise ? (char)(name.ptr[i] - 32) : name.ptr[i];
		}
		CHECK_INT(http_field_id(span_make(mixed, name.len)), id);
	}
}

/* Of a name that is none of the known ones. */
static unsigned id_of_another(const char *name, size_t n)
{
	const struct span family = SPAN("x-forwarded-");
	bool in = n >= family.len && span_ieq(span_make(name, family.len), family);

	return in ? HTTP_F_X_FORWARDED : HTTP_F_OTHER;
}

/* Any one byte changed makes another name, unless only its case changed. */
static void nothing_else_is_taken_for_a_known_name(void)
{
	for (unsigned id = 1; id < HTTP_F_COUNT; id++) {
		char other[32];
		size_t n = strlen(names[id]);

		for (size_t i = 0; i < n; i++) {
			memcpy(other, names[id], n);
			for (int c = 0; c < 256; c++) {
				other[i] = (char)c;
				CHECK_INT(http_field_id(span_make(other, n)),
					ascii_lower((char)c) == names[id][i]
						? id
						: id_of_another(other, n));
			}
		}
		memcpy(other, names[id], n);
		other[n] = 'x';
		CHECK_INT(http_field_id(span_make(other, n + 1)), id_of_another(other, n + 1));
	}
	CHECK_INT(http_field_id(span_make(NULL, 0)), HTTP_F_OTHER);
	CHECK_INT(http_field_id(SPAN("x")), HTTP_F_OTHER);
	CHECK_INT(http_field_id(SPAN("X-Client-Cert-Fingerprint")), HTTP_F_X_CLIENT_CERT);
	CHECK_INT(http_field_id(SPAN("x-client-certainly-not-this")), HTTP_F_OTHER);
	CHECK_INT(http_field_id(SPAN("a-name-that-is-longer-than-any-known-one")), HTTP_F_OTHER);
}

static void whatever_begins_as_the_forwarded_fields_is_one_of_them(void)
{
	static const char *const others[] = {"X-Forwarded-", "x-forwarded-b", "X-Forwarded-By",
		"X-Forwarded-Ssl", "x-forwarded-user", "X-Forwarded-Proxy", "X-Forwarded-Prefix",
		"X-Forwarded-Server1", "X-Forwarded-For-Original-Client", "x-forwarded-_"};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		CHECK_INT(http_field_id(span_of(others[i])), HTTP_F_X_FORWARDED);
	CHECK_INT(http_field_id(SPAN("X-Forwarded")), HTTP_F_OTHER);
	CHECK_INT(http_field_id(SPAN("X-Forwarder-By")), HTTP_F_OTHER);
	CHECK(!http_field_reserved(SPAN("X-Forwarded-Prefix"))); /* an operator may */
	CHECK(http_field_reserved(SPAN("X-Forwarded-For")) != NULL);
}

/* What a look at sixteen bytes says of this line is what the portable way says; it may say nothing.
 */
static bool read_alike(const char *line, size_t end)
{
	unsigned id = HTTP_F_COUNT;
	size_t len = name_at_once(line, &id);
	bool plain;
	size_t colon = name_end(line, 0, end, &plain);

	if (len == 0)
		return id == HTTP_F_COUNT;
	return len == colon && plain && id == http_field_id(span_make(line, len));
}

/* Every known name with any one byte of its line changed, and cut and drawn out. */
static void names_read_at_once_are_those_read_bytewise(void)
{
	for (unsigned id = 1; id < HTTP_F_COUNT; id++) {
		size_t n = strlen(names[id]);
		char line[64];
		bool alike = true;

		memset(line, 'v', sizeof(line));
		memcpy(line, names[id], n);
		line[n] = ':';
		line[40] = '\r';
		for (size_t i = 0; i < 24; i++) {
			char was = line[i];

			for (int c = 0; c < 256; c++) {
				line[i] = (char)c;
				alike &= read_alike(line, 40);
			}
			line[i] = was;
		}
		for (size_t len = 0; len < 24; len++) {
			memset(line, 'e', 24);
			memcpy(line, names[id], n < len ? n : len);
			line[len] = ':';
			alike &= read_alike(line, 40);
		}
		CHECK(alike);
	}
}

static void usual_names_are_read_at_once_where_there_are_vectors(void)
{
#ifdef __SSE2__
	unsigned id = HTTP_F_COUNT;

	for (unsigned known = 1; known < HTTP_F_COUNT; known++) {
		char line[40] = {0};
		size_t n = strlen(names[known]);

		memcpy(line, names[known], n);
		line[n] = ':';
		if (n >= NAME_ROOM) {
			CHECK_INT(name_at_once(line, &id), 0);
			continue;
		}
		CHECK_INT(name_at_once(line, &id), n);
		CHECK_INT(id, known);
	}
	CHECK_INT(name_at_once("Accept-Encoding:", &id), 15);
	CHECK_INT(id, HTTP_F_OTHER);
#else
	CHECK_INT(name_at_once("Host: a         ", NULL), 0);
#endif
}

static void reasons_are_known_for_our_own_statuses(void)
{
	static const uint16_t ours[] = {400, 403, 404, 405, 408, 413, 414, 417, 421, 429, 431, 500,
		501, 502, 503, 504, 505, 508};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		CHECK(http_reason(ours[i])[0] != '\0');
	CHECK_TEXT(span_of(http_reason(502)), "Bad Gateway");
	CHECK_TEXT(span_of(http_reason(299)), "");
}

static const struct test_case cases[] = {
	TEST(every_known_name_is_found_in_any_case),
	TEST(nothing_else_is_taken_for_a_known_name),
	TEST(whatever_begins_as_the_forwarded_fields_is_one_of_them),
	TEST(names_read_at_once_are_those_read_bytewise),
	TEST(usual_names_are_read_at_once_where_there_are_vectors),
	TEST(reasons_are_known_for_our_own_statuses),
};
TESTS_MAIN("field names", cases)
