/*
 * A malformed message for people's eyes: the line where the fault is and what leads to it, without
 * what a message may keep secret. Pure: bytes in, text out.
 *
 * What is shown is chosen, not what is hidden, since a malformed message may hide a secret anywhere
 * ("Authorization : Basic ...", the second half of a cookie on a line of its own, a form's content
 * where a request line belongs). Shown are methods, versions, paths and the names in a query; field
 * names; and the values of fields about framing, persistence and routing. Userinfo, what a query
 * says, all other values and content are three stars. The byte of the fault is shown where it is
 * not a letter or digit.
 */
#pragma once

#include <stdint.h>

#include "shared/span.h"

#define EXCERPT_LINES 3
#define EXCERPT_TEXT_MAX 200

struct excerpt_line {
	uint32_t at;   /* of its first byte in the message */
	int16_t caret; /* where in the text the fault is; -1: not in this line */
	uint16_t len;
	/* Printable ASCII: \r \n \t \\ \xNN for the rest, "..." where something is left out. */
	char text[EXCERPT_TEXT_MAX];
};

struct excerpt {
	unsigned count;
	struct excerpt_line lines[EXCERPT_LINES]; /* the first, the one before, the fault's */
};

enum excerpt_kind { EXCERPT_HEAD, EXCERPT_CONTENT };

/* Byte `at` may be one past the end. Looks at no more than 16 KiB before it. */
void excerpt_make(struct excerpt *e, enum excerpt_kind kind, struct span message, size_t at);
/* "GET /path?name=***" of a request that is understood. */
void excerpt_start_line(struct excerpt_line *l, struct span method, struct span target);
