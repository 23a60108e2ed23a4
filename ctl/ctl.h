/*
 * What the verbs of tandemctl share: options, exit codes, asking the daemons, reading their answers
 * with tolerance (a field that is missing is shown as "-": a newer tool must bear an older daemon).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctl/table.h"
#include "shared/rpc.h"

enum {
	DONE = 0,
	REFUSED = 1, /* or failed */
	USAGE = 2,
	UNREACHABLE = 3, /* the daemon that was asked */
};

enum daemon { PROXY, FAILOVER };

struct ctl {
	const char *run_dir;
	bool json, color;
	bool watch;
	bool has_since;
	uint64_t since;
	const char *for_text;		 /* --for, checked; or NULL */
	const char *timeout_text, *zone; /* of the flags of that name, or NULL */
	uint64_t weight;		 /* 0: not given */
	bool wait, backup, effective, once;
	const char *verb;
	const char *argument; /* what follows the verb, or NULL */
	char **more;	      /* what follows that */
	int more_count;
	const char *from; /* --from, or NULL */
	json_t *headers;  /* the lines of -H; NULL: none */
	FILE *out;
};

void die(const char *what) __attribute__((noreturn));
/* Each line of text, with control bytes replaced. */
void print_lines(const char *text, FILE *to);
/* The words after the program's name on standard error. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

const char *daemon_name(enum daemon d);
void daemon_path(const struct ctl *c, enum daemon d, char *out, size_t size);
/* Takes params. RPC_OK: *ret_result is owned. */
enum rpc_rc ask(const struct ctl *c, enum daemon d, const char *method, json_t *params,
	uint64_t timeout_ms, json_t **ret_result, struct err *err);
/* The exit code for what ask() returned, after the words on standard error where it is not RPC_OK.
 */
int ask_exit(enum rpc_rc rc, const struct err *err);
/* Prints value as indented JSON. Takes value. */
void print_json(const struct ctl *c, json_t *value);
/* One line of JSON, flushed. Takes value. */
void print_json_line(const struct ctl *c, json_t *value);

/* The text at name; "-" when it is missing or not text. */
const char *text_at(const json_t *object, const char *name);
/* The number at name as text in out; "-" when it is missing or not a number. Returns out. */
#define NUMBER_MAX 32
const char *number_at(const json_t *object, const char *name, char out[NUMBER_MAX]);
json_int_t int_at(const json_t *object, const char *name); /* 0 when missing */
/* "2026-11-22T01:02:03.004Z" as how long ago: "12 s", "5 min", "3 h", "9 d"; "-" when it is no
 * time. */
const char *ago(const char *rfc3339, char out[NUMBER_MAX]);
/* The lines of the configuration that runs, owned; NULL after the words, with *ret_rc. */
json_t *ask_config(const struct ctl *c, bool effective, int *ret_rc);
enum tint health_tint(const char *health);
/* How a pool's up/total is to be read. */
enum tint pool_tint(const json_t *pool);

/* --- verbs: return the exit code ---------------------------------------------------------------
 */
int verb_status(struct ctl *c);
int verb_pools(struct ctl *c);
int verb_servers(struct ctl *c);
int verb_certs(struct ctl *c);
int verb_events(struct ctl *c);
int verb_check(struct ctl *c);
int verb_errors(struct ctl *c);
int verb_admin(struct ctl *c); /* drain, ready, maintenance */
int verb_weight(struct ctl *c);
int verb_server(struct ctl *c);
int verb_explain(struct ctl *c);
int verb_plan(struct ctl *c);
int verb_rollback(struct ctl *c);
int verb_config(struct ctl *c);
int verb_top(struct ctl *c);
int verb_dump(struct ctl *c);
int verb_reload(struct ctl *c);
int verb_switchover(struct ctl *c);
int verb_freeze(struct ctl *c);
int verb_resume(struct ctl *c);

/* Parses the command line and runs its verb. */
int ctl_main(int argc, char **argv, FILE *out);
