/*
 * The vector scans and their portable twin find the same place, for every byte at every offset and
 * length around the vector's.
 */
#include "proxy/http/scan.h"

#include <stdlib.h>

#include "tests/unit/check.h"

typedef size_t (*scan_function)(const char *base, size_t from, size_t to);

static void compare(scan_function scan, enum http_char_class class, bool wanted, char harmless)
{
	for (size_t len = 0; len <= 50; len++) {
		char *text =
			malloc(len ? len : 1); /* exact, so that a sanitizer sees a read too far */

		CHECK_TRUE(text != NULL);
		memset(text, harmless, len);
		for (size_t from = 0; from <= len; from++)
			CHECK_INT(scan(text, from, len), len);
		for (size_t at = 0; at < len; at++) {
			for (int c = 0; c < 256; c++) {
				text[at] = (char)c;
				if (scan(text, 0, len) !=
						scan_portable(text, 0, len, class, wanted) ||
					scan(text, at, len) !=
						scan_portable(text, at, len, class, wanted) ||
					(at && scan(text, at / 2, len) != scan_portable(text,
										  at / 2, len,
										  class, wanted)))
					CU_FAIL("the twins differ");
			}
			text[at] = harmless;
		}
		free(text);
	}
}

static void text_is_scanned_alike(void)
{
	compare(scan_text, CHAR_TEXT_STOP, true, 'x');
}

static void targets_are_scanned_alike(void)
{
	compare(scan_target, CHAR_TARGET_STOP, true, '/');
}

static void paths_are_scanned_alike(void)
{
	compare(scan_path, CHAR_PATH_STOP, true, 'a');
}

static void names_are_scanned_alike(void)
{
	compare(scan_name, CHAR_NAME, false, '-');
}

static void hosts_are_scanned_alike(void)
{
	compare(scan_host, CHAR_HOST, false, 'a');
}

/* Never past a byte that ends a line, nor back; in ASCII without TAB, and with room for the
 * vectors, at its end. */
static void lines_are_scanned_up_to_their_end_or_less(void)
{
	for (size_t len = 0; len <= 80; len++) {
		char *text = malloc(len ? len : 1);

		CHECK_TRUE(text != NULL);
		memset(text, 'x', len);
		for (size_t from = 0; from <= len; from++) {
			size_t stop = scan_line(text, from, len);

			CHECK(stop == len || (len < 32 && stop == from));
		}
		for (size_t at = 0; at < len; at++) {
			for (int c = 0; c < 256; c++) {
				text[at] = (char)c;
				for (size_t from = 0; from <= at; from += from < 3 ? 1 : 7) {
					size_t stop = scan_line(text, from, len);
					size_t end = scan_text(text, from, len);

					if (stop < from || stop > end ||
						(stop < end && len >= 32 && c < 0x80 && c != '\t'))
						CU_FAIL("past the end of a line, or short of it");
				}
			}
			text[at] = 'x';
		}
		free(text);
	}
}

static void classes_are_those_of_the_rfc(void)
{
	for (int c = 0; c < 256; c++) {
		bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
		bool alnum = letter || (c >= '0' && c <= '9');

		CHECK(char_is((char)c, CHAR_TOKEN) ==
			(alnum || (c && strchr("!#$%&'*+-.^_`|~", c))));
		CHECK(char_is((char)c, CHAR_NAME) == (letter || c == '-'));
		CHECK(char_is((char)c, CHAR_HOST) == (alnum || (c && strchr("-._~", c))));
		CHECK(char_is((char)c, CHAR_TEXT_STOP) == ((c < 32 && c != '\t') || c == 127));
		CHECK(char_is((char)c, CHAR_TARGET_STOP) == (c <= 32 || c >= 127 || c == '#'));
		CHECK(char_is((char)c, CHAR_PATH_STOP) == (c && strchr("%\\.?", c)));
		CHECK_INT(http_hex[c], c && strchr("0123456789abcdefABCDEF", c)
					       ? (int)strtol((char[]){(char)c, 0}, NULL, 16)
					       : 255);
	}
}

static const struct test_case cases[] = {
	TEST(text_is_scanned_alike),
	TEST(targets_are_scanned_alike),
	TEST(paths_are_scanned_alike),
	TEST(names_are_scanned_alike),
	TEST(hosts_are_scanned_alike),
	TEST(lines_are_scanned_up_to_their_end_or_less),
	TEST(classes_are_those_of_the_rfc),
};
TESTS_MAIN("scans", cases)
