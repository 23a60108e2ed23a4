/*
 * The table of keys: one row says what a key is called, of which type it is, what it may be and
 * what it means. The parser's checks, the man page's reference and the answer to "what runs when
 * nothing is written" all come from it. A key that is planned but not there yet has a row too, so
 * that writing it is an error with a reason and never silently without effect.
 */
#pragma once

#include "shared/conf.h"

#define CONF_TYPES(X)                                                                            \
	X(MAP, "map")		 /* of the keys in .keys; .short_for: what a lone value means */ \
	X(NAMED, "map of names") /* any name -> .value; a member is called a .noun */            \
	X(LIST, "list")		 /* of .value; a lone value is taken as a list of one */         \
	X(TEXT, "text")                                                                          \
	X(NAME, "name") /* letters, digits, - _ . */                                             \
	X(BOOL, "true or false")                                                                 \
	X(COUNT, "whole number")                                                                 \
	X(DURATION, "duration")                                                                  \
	X(SIZE, "size")                                                                          \
	X(RATE, "rate")                                                                          \
	X(BYTE_RATE, "bytes a second")                                                           \
	X(PERCENT, "percentage")                                                                 \
	X(SHARE, "percentage or number") /* num; .ratio of a percentage, else 0 */               \
	X(BALANCE, "hash KEY")		 /* one of .words, or hash and what it goes by */        \
	X(ENUM, "word")			 /* one of .words */                                     \
	X(ADDRESS, "address and port")                                                           \
	X(ENDPOINT, "address or name, and port") /* of a name: .addr without family, .num */     \
	X(IP, "IP address")                                                                      \
	X(CIDR, "network")                                                                       \
	X(FILE, "file name")                                                                     \
	X(HOST, "host name") /* .wild: or *.name */                                              \
	X(PATH, "path")	     /* .wild: or /x/ and a star, for all below, or ~ and a pattern */   \
	X(METHOD, "request method")                                                              \
	X(STATUS, "status or range") /* 200 or 200-399 */                                        \
	X(REF, "name")		     /* .ref: where the names are, such as "pools" */            \
	X(EITHER, "either form")     /* .shapes by kind of node: scalar, map or list */
enum conf_type {
#define X(name, text) CONF_TYPE_##name,
	CONF_TYPES(X)
#undef X
};
const char *conf_type_name(enum conf_type type);

struct conf_key {
	const char *name; /* in its map; NULL for a row of .value or .shapes */
	enum conf_type type;
	bool required;
	bool later; /* known, but not available in this version */
	bool wild;
	bool lines;	      /* a text may have several lines */
	bool holds;	      /* a section whose defaults hold where it is not written, too */
	bool secret;	      /* it, or what is in it, may be shown to nobody */
	const char *fallback; /* the default, as one would write it; NULL: none */
	uint64_t min, max;    /* of num, or of a list's or named map's members; max 0: no bound */
	const char *const *words;	/* taken as they are, ends with NULL */
	const char *const *later_words; /* known, but not available in this version */
	const char *prefix;		/* before the value: `after 60s` */
	const char *short_for;
	const struct conf_key *keys;	  /* ends with a row without name */
	const struct conf_key *value;	  /* of NAMED and LIST */
	const struct conf_key *shapes[3]; /* by enum conf_kind */
	const char *ref;
	const char *noun;
	const char *help; /* one line */
	const char *hint; /* later: what to do in this version */
};

/* The top of the file. */
extern const struct conf_key conf_schema;

/* The row of a key of a MAP; NULL when it has none of that name. */
const struct conf_key *conf_key_find(const struct conf_key *map, struct span name);
/* "1 to 256", "10ms to 1h"; "" when there is no bound. */
void conf_key_range(const struct conf_key *key, char *out, size_t size);
/* "a, b or c" of a list of words, cut when it does not fit. */
void conf_words(const char *const *words, char *out, size_t size);
