/*
 * The configuration as a checked tree, and the table of keys that checks it. One file for the whole
 * product: both daemons check all of it with the same table (shared/conf_schema*.c), so that
 * --check on either says the same. Core: yaml.c (the shell) builds the raw tree, conf_check() types
 * it (conf_build.h).
 *
 * Every fault found goes into a report with file, line, column and width; the report prints them
 * sorted by line, at most 20, with the line and a caret.
 */
#pragma once

#include <stdio.h>

#include "shared/addr.h"
#include "shared/units.h"

enum conf_kind { CONF_SCALAR, CONF_MAP, CONF_LIST };

struct conf_pos {
	uint32_t file;	 /* index into conf.files */
	uint32_t line;	 /* from 1 */
	uint32_t column; /* from 1, in characters */
	uint32_t width;	 /* characters to underline */
};

struct conf_key; /* a row of the table, below */

struct conf_node {
	enum conf_kind kind;
	struct span name; /* key in the parent map; {0} in a list */
	struct conf_pos name_pos, pos;
	struct span text; /* a scalar as written, quotes resolved */
	const struct conf_key *key;
	bool broken; /* a fault was reported for it: nobody else need look */
	/* Durations in ns, sizes in bytes, counts, ports, booleans 0/1, the index of an ENUM's
	 * word; a STATUS is from * 1000 + to. A word in the place of a number (workers: auto) is 0.
	 */
	uint64_t num;
	union {
		struct rate rate; /* RATE */
		double ratio;	  /* PERCENT: 90% is 90.0 */
		struct addr addr; /* ADDRESS, ENDPOINT (with port), IP */
		struct cidr cidr; /* CIDR */
	};
	const struct conf_node *target; /* REF: what it names */
	struct conf_node *parent, *first, *last, *next;
	size_t count; /* children */
};

struct conf {
	struct conf_node *root; /* a map; never NULL after conf_load, maybe empty */
	char **files;		/* the main file first, then what `include` named */
	char **texts;
	size_t *text_lens;
	size_t file_count;
};

/* At most this much of anything. */
#define CONF_DEPTH_MAX 32
#define CONF_FILE_MAX_BYTES (16 << 20)
#define CONF_FILES_MAX 1024
#define CONF_NODES_MAX 1000000

/* --- faults ---------------------------------------------------------------------------------- */
struct conf_report;
struct conf_report *conf_report_new(void);
void conf_report_free(struct conf_report *r);
/* hint: NULL, or what follows the caret, such as "did you mean 'balance'?". */
void conf_error(struct conf_report *r, struct conf_pos pos, const char *hint, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void conf_warning(struct conf_report *r, struct conf_pos pos, const char *hint, const char *fmt,
	...) __attribute__((format(printf, 4, 5)));
size_t conf_report_errors(const struct conf_report *r);
size_t conf_report_warnings(const struct conf_report *r);
/* Everything for people, in the shape of the man page: sorted, 20 errors (and 20 warnings) at most.
 */
void conf_report_print(const struct conf_report *r, const struct conf *conf, FILE *to);
/* One "file:line:col: error: text" without source lines, sorted; NULL past the end (the first 1,000
 * are kept) or when out of memory. Returns owned. */
char *conf_report_line(const struct conf_report *r, const struct conf *conf, size_t index);
/* The candidate nearest to `word` (Damerau-Levenshtein, at most a third of its length), or NULL. */
const char *did_you_mean(struct span word, const char *const *candidates, size_t count);

/* --- loading --------------------------------------------------------------------------------- */
/* Reads FILE and what it includes, checks everything against the table. Returns the tree even when
 * the report has errors (so that the caller's own checks can add theirs); the caller looks at the
 * report. NULL only when out of memory. Returns owned. (conf_load.c) */
struct conf *conf_load(const char *file, struct conf_report *report);
/* The same from memory; `name` stands for the file in messages; includes are not followed. */
struct conf *conf_load_text(const char *name, struct span text, struct conf_report *report);
/* The same files again, by their texts: the main one, then what it included, in conf.files' order.
 */
struct conf_kept {
	const char *name;
	struct span text;
};
struct conf *conf_load_kept(
	const struct conf_kept *files, size_t count, struct conf_report *report);
/* Another document than the configuration, of the shape that `top` says (its root may be a list),
 * such as what a list of servers is read from. Returns owned, with faults in the report; NULL when
 * out of memory. */
struct conf *conf_load_rows(
	const char *name, struct span text, const struct conf_key *top, struct conf_report *report);
void conf_free(struct conf *c);
/* Each value as a line: "pools.api.balance", "least_requests", "tandem.yaml:12" or, where defaults
 * are wanted too, "default". Secrets are hidden. For a tree without errors. (conf_show.c) */
void conf_show(const struct conf *c, bool effective, void *ctx,
	void (*line)(void *ctx, const char *path, const char *value, const char *from));
/* SHA-256 over the meaning (names and values in order, not comments or layout): equal on both boxes
 * exactly when they run the same configuration. For a tree without errors. (conf_digest.c) */
void conf_digest(const struct conf *c, uint8_t out[32]);

/* --- asking ---------------------------------------------------------------------------------- */
/* A child by name; NULL if not written. path may be dotted: "timeouts.idle". */
const struct conf_node *conf_find(const struct conf_node *map, const char *path);
/* What is written at path under map, or else the table's default for it (map must have been
 * checked). Asking for a path that the table does not know is a bug (ASSERT). */
uint64_t conf_u64(const struct conf_node *map, const char *path);
bool conf_bool(const struct conf_node *map, const char *path);
struct span conf_text(const struct conf_node *map, const char *path); /* {0}: no default */
/* The words of a list (may be NULL) with commas between, as many as fit. */
void conf_words_of(const struct conf_node *list, char *out, size_t size);
static inline const struct conf_node *conf_first(const struct conf_node *node)
{
	return node ? node->first : NULL;
}
/* The node (may be NULL) is evaluated once. */
#define conf_each(child, node) \
	for (const struct conf_node *child = conf_first(node); child; child = child->next)

/* The rows of the table are in conf_schema.h. A list that was written as a lone value is a list in
 * the tree, and a short form (`s1: "10.0.0.1:80"`) is the map it stands for. */
