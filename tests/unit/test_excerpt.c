/*
 * What is shown of malformed messages: the place, and no secret.
 */
#include "proxy/observe/excerpt.h"

#include <stdio.h>
#include <stdlib.h>

#include "shared/assert.h"
#include "tests/unit/check.h"

static struct excerpt e;

static const struct excerpt_line *last(void)
{
	return &e.lines[e.count - 1];
}

static struct span text_of(const struct excerpt_line *l)
{
	return span_make(l->text, l->len);
}

/* The head with a '@' before the fault taken out of it. An exact copy, so that a sanitizer sees a
 * read too far. */
static void show(enum excerpt_kind kind, struct span marked)
{
	size_t at = span_find(marked, '@', 0);
	char *copy = malloc(marked.len);

	CHECK_TRUE(copy != NULL && at < marked.len);
	memcpy(copy, marked.ptr, at);
	memcpy(copy + at, marked.ptr + at + 1, marked.len - at - 1);
	excerpt_make(&e, kind, span_make(copy, marked.len - 1), at);
	free(copy);
	CHECK_TRUE(e.count >= 1);
}
#define SHOW(text) show(EXCERPT_HEAD, SPAN(text))

/* Text and caret of the fault's line, the caret as '^' in the text. */
static void expect(struct span marked, const char *expected)
{
	char got[2 * EXCERPT_TEXT_MAX];
	const struct excerpt_line *l;

	show(EXCERPT_HEAD, marked);
	l = last();
	CHECK_TRUE(l->caret >= 0 && l->caret <= l->len);
	snprintf(got, sizeof(got), "%.*s^%.*s", l->caret, l->text, l->len - l->caret,
		l->text + l->caret);
	CHECK_TEXT(span_of(got), expected);
}
#define EXPECT(text, expected) expect(SPAN(text), expected)

static void the_caret_is_under_the_fault(void)
{
	EXPECT("GET /a@ b HTTP/1.1\r\n\r\n", "GET /a^ b HTTP/1.1\\r\\n");
	EXPECT("GET / HTTP/1.1\r\nHost: a@\nB: c\r\n\r\n", "Host: a^\\n");
	EXPECT("GET / HTTP/1.1\r\nHost: a@\rB: c\r\n\r\n", "Host: a^\\r");
	EXPECT("GET / HTTP/1.1\r\nX-Name: abc@\001def\r\n\r\n", "X-Name: ***^\\x01***\\r\\n");
	EXPECT("GET / HTTP/1.1\r\nX-Name: abc@\\def\r\n\r\n", "X-Name: ***^\\\\***\\r\\n");
	EXPECT("GET / HTTP/1.1\r\nHost: a\r\n@ folded\r\n\r\n", "^ ***\\r\\n");
	EXPECT("GET / HTTP/1.1\r\nHost@ : a\r\n\r\n", "Host^ : ***\\r\\n");
	EXPECT("GET / HTTP/1.1@", "GET / HTTP/1.1^");
	EXPECT("HTTP/1.1 2@x0 OK\r\n\r\n", "HTTP/1.1 2^***\\r\\n");
	EXPECT("GET /\xc3@\xa4 HTTP/1.1\r\n", "GET /\\xc3^\\xa4 HTTP/1.1\\r\\n");
}

static void the_first_line_and_the_one_before_lead_to_it(void)
{
	SHOW("GET /a HTTP/1.1\r\nHost: a\r\nAccept: b\r\nVia: c\r\n@: d\r\n\r\n");
	CHECK_INT(e.count, 3);
	CHECK_TEXT(text_of(&e.lines[0]), "GET /a HTTP/1.1\\r\\n");
	CHECK_TEXT(text_of(&e.lines[1]), "Via: c\\r\\n");
	CHECK_TEXT(text_of(&e.lines[2]), ":***\\r\\n");
	CHECK_INT(e.lines[1].at, 37);
	CHECK_INT(e.lines[2].at, 45);
	CHECK_INT(e.lines[0].caret, -1);
	SHOW("GET /a HTTP/1.1\r\nHost: @a b\r\n\r\n");
	CHECK_INT(e.count, 2);
}

/* Whatever is wrong, and wherever: "hidden" is nowhere. */
static void no_secret_is_shown(void)
{
	static const char *const heads[] = {
		"GET /?token=hidden HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /?a=hidden&b=hidden&hidden&c=d=hidden#hidden HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /#hidden?x=hidden HTTP/1.1\r\n\r\n",
		"GET /a;jsessionid=hidden;hidden/b;hidden;c=hidden?d=hidden HTTP/1.1\r\n\r\n",
		"GET /?a=hidden hidden HTTP/1.1\r\n\r\n",
		"GET http://hidden:hidden@a/b?c=hidden HTTP/1.1\r\n\r\n",
		"GET http://hid/hidden@a/b HTTP/1.1\r\n\r\n",
		"GET hidden:hidden@a HTTP/1.1\r\n\r\n",
		"get /?a=hidden\r\n\r\n",
		"name=x&password=hidden\r\n\r\n",
		"hidden\r\n",
		"\x16\x03\x01 hidden",
		"GET / HTTP/1.1\r\nAuthorization: Basic hidden\r\n\r\n",
		"GET / HTTP/1.1\r\nAuthorization : Basic hidden\r\n\r\n",
		"GET / HTTP/1.1\r\nProxy-Authorization\t: Basic hidden\r\n\r\n",
		"GET / HTTP/1.1\r\nCookie:hidden=hidden; b=hidden\r\n hidden\r\n\r\n",
		"GET / HTTP/1.1\r\nCookie: a=hidden\nhidden; hidden\r\n\r\n",
		"GET / HTTP/1.1\r\nX-Api-Key: hidden\r\nReferer: http://a/?hidden\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: hidden:hidden@a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\rCookie: hidden\r\n\r\n",
		"GET / HTTP/1.1\r\n: hidden\r\n\r\n",
		"HTTP/1.1 200 hidden\r\nSet-Cookie: a=hidden\r\nset-cookie: hidden\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: http://a/?hidden\r\n\r\n",
		"HTTP/2 hidden hidden\r\n",
	};
	char text[EXCERPT_TEXT_MAX + 1];

	for (size_t i = 0; i < countof(heads); i++)
		for (size_t at = 0; at <= strlen(heads[i]); at++) {
			excerpt_make(&e, EXCERPT_HEAD, span_of(heads[i]), at);
			for (unsigned j = 0; j < e.count; j++) {
				CHECK_TRUE(e.lines[j].len < sizeof(text));
				snprintf(text, sizeof(text), "%.*s", e.lines[j].len,
					e.lines[j].text);
				/* not even three letters of it */
				if (strstr(text, "hid") || strstr(text, "dde") ||
					strstr(text, "den"))
					fprintf(stderr, "\nat %zu: %s\n", at, text);
				CHECK(!strstr(text, "hid") && !strstr(text, "dde") &&
					!strstr(text, "den"));
			}
		}
}

static void content_is_not_shown_but_for_the_byte_of_the_fault(void)
{
	show(EXCERPT_CONTENT, SPAN("password=hunter2@-5\r\n"));
	CHECK_INT(e.count, 1);
	CHECK_TEXT(text_of(last()), "***-***\\r\\n");
	show(EXCERPT_CONTENT, SPAN("4111111111111111@x\r\n"));
	CHECK_TEXT(text_of(last()), "******\\r\\n");
}

static void a_long_line_keeps_its_beginning_and_the_place(void)
{
	char head[20000];
	size_t len = 0;

	len += (size_t)snprintf(head, sizeof(head), "GET /");
	memset(head + len, 'a', 3000);
	len += 3000;
	head[len] = '\n';
	memset(head + len + 1, 'b', 3000);
	excerpt_make(&e, EXCERPT_HEAD, span_make(head, len + 3001), len);
	CHECK_INT(e.count, 1);
	CHECK(e.lines[0].len <= EXCERPT_TEXT_MAX);
	CHECK(span_starts(text_of(last()), SPAN("GET /aaa")));
	CHECK_TEXT(span_from(text_of(last()), (size_t)last()->caret), "\\n");
	/* one that begins too far back to be looked at is taken for a value */
	memset(head, 'c', sizeof(head));
	head[sizeof(head) - 10] = ':';
	excerpt_make(&e, EXCERPT_HEAD, span_make(head, sizeof(head)), sizeof(head) - 1);
	CHECK_INT(e.count, 2);
	CHECK_TEXT(text_of(last()), "******");
	CHECK_INT(last()->caret, 3);
}

static void nothing_at_all_has_no_lines(void)
{
	excerpt_make(&e, EXCERPT_HEAD, span_make("", 0), 0);
	CHECK_INT(e.count, 0);
	excerpt_make(&e, EXCERPT_HEAD, SPAN("a"), 99);
	CHECK_INT(e.count, 1);
	CHECK_INT(last()->caret, 3);
}

static void a_request_that_is_understood_is_named_without_its_secrets(void)
{
	struct excerpt_line l;

	excerpt_start_line(&l, SPAN("GET"), SPAN("/a/@b?c=hidden"));
	CHECK_TEXT(text_of(&l), "GET /a/@b?c=***");
	excerpt_start_line(&l, SPAN("GET"), SPAN("/a;b=hidden;hidden/c/;d?e=hidden"));
	CHECK_TEXT(text_of(&l), "GET /a;b=***;***/c/;***?e=***");
	CHECK_INT(l.caret, -1);
}

static const struct test_case cases[] = {
	TEST(the_caret_is_under_the_fault),
	TEST(the_first_line_and_the_one_before_lead_to_it),
	TEST(no_secret_is_shown),
	TEST(content_is_not_shown_but_for_the_byte_of_the_fault),
	TEST(a_long_line_keeps_its_beginning_and_the_place),
	TEST(nothing_at_all_has_no_lines),
	TEST(a_request_that_is_understood_is_named_without_its_secrets),
};
TESTS_MAIN("excerpt", cases)
