/*
 * Regular expressions of routes: Perl's, by PCRE2, compiled to machine code where the system lets
 * us (a unit with MemoryDenyWriteExecute does not: they are interpreted then). The only place that
 * knows PCRE2.
 *
 * A match may take so many steps, so deep a recursion and so much memory and no more: an expression
 * that explodes on what a client sends gives up, which counts as no match. Bytes are bytes: no
 * UTF-8, no locale.
 *
 * A compiled expression is immutable, and any thread may use it; what a match needs beside it is in
 * a room, of which each thread has its own. Nothing is allocated while matching.
 */
#pragma once

#include "shared/span.h"

struct regex;
struct regex_room;

#define REGEX_CAPTURES 10 /* $0, the whole match, to $9 */
#define REGEX_PATTERN_MAX 4096

struct captures {
	unsigned count;	   /* 1 + the highest group there is, at most REGEX_CAPTURES */
	size_t start, end; /* of the whole match, in the subject */
	struct span group[REGEX_CAPTURES]; /* empty where a group took no part */
};

enum regex_rc { REGEX_YES, REGEX_NO, REGEX_GAVE_UP };

/* NULL: `why` says what is wrong, and *ret_at where in the pattern; or memory is out (why is "").
 */
struct regex *regex_new(struct span pattern, char *why, size_t why_size, size_t *ret_at);
/* Puts it in front of others that regex_free_all() is to free. */
void regex_chain(struct regex *r, struct regex **first);
void regex_free_all(struct regex *first);
/* How many groups it has, without the whole match. */
unsigned regex_groups(const struct regex *r);

struct regex_room *regex_room_new(void); /* NULL when out of memory */
void regex_room_free(struct regex_room *room);

/* ret_captures: NULL, or filled where it matches; they borrow from the subject. */
enum regex_rc regex_match(const struct regex *r, struct regex_room *room, struct span subject,
	struct captures *ret_captures);
