/*
 * The character tables behind scan.h.
 */
#include "proxy/http/scan.h"

#define STOP_TEXT (CHAR_TEXT_STOP | CHAR_TARGET_STOP)
#define LETTER (CHAR_TOKEN | CHAR_NAME | CHAR_HOST)

const uint8_t http_chars[256] = {
	[0x00 ... 0x08] = STOP_TEXT,
	['\t'] = CHAR_TARGET_STOP,
	[0x0a ... 0x1f] = STOP_TEXT,
	[0x7f] = STOP_TEXT,
	[0x80 ... 0xff] = CHAR_TARGET_STOP,
	[' '] = CHAR_TARGET_STOP,
	['#'] = CHAR_TARGET_STOP | CHAR_TOKEN,
	['0' ... '9'] = CHAR_TOKEN | CHAR_HOST,
	['A' ... 'Z'] = LETTER,
	['a' ... 'z'] = LETTER,
	['-'] = LETTER,
	['!'] = CHAR_TOKEN,
	['$'] = CHAR_TOKEN,
	['%'] = CHAR_TOKEN | CHAR_PATH_STOP,
	['&'] = CHAR_TOKEN,
	['\''] = CHAR_TOKEN,
	['*'] = CHAR_TOKEN,
	['+'] = CHAR_TOKEN,
	['.'] = CHAR_TOKEN | CHAR_HOST | CHAR_PATH_STOP,
	['^'] = CHAR_TOKEN,
	['_'] = CHAR_TOKEN | CHAR_HOST,
	['`'] = CHAR_TOKEN,
	['|'] = CHAR_TOKEN,
	['~'] = CHAR_TOKEN | CHAR_HOST,
	['\\'] = CHAR_PATH_STOP,
	['?'] = CHAR_PATH_STOP,
};

const uint8_t http_hex[256] = {
	[0x00 ... '0' - 1] = 255,
	['9' + 1 ... 'A' - 1] = 255,
	['F' + 1 ... 'a' - 1] = 255,
	['f' + 1 ... 0xff] = 255,
	['0'] = 0,
	['1'] = 1,
	['2'] = 2,
	['3'] = 3,
	['4'] = 4,
	['5'] = 5,
	['6'] = 6,
	['7'] = 7,
	['8'] = 8,
	['9'] = 9,
	['A'] = 10,
	['B'] = 11,
	['C'] = 12,
	['D'] = 13,
	['E'] = 14,
	['F'] = 15,
	['a'] = 10,
	['b'] = 11,
	['c'] = 12,
	['d'] = 13,
	['e'] = 14,
	['f'] = 15,
};
