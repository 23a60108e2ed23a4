/*
 * What people said of servers while the proxy ran, beside the configuration: an admin state, a
 * weight, servers that were added. Each of the three is a register of its own with a stamp (who,
 * on which node, when) and what the configuration said when it was set. A register that was taken
 * back keeps its stamp, so that the peer hears of that too.
 *
 * Two nodes' books are merged register by register: the newer stamp wins, a tie goes by the node's
 * name. Any order of merging ends in the same book. A stamp is never older than one that was seen
 * before it, whatever the clocks say.
 *
 * The configuration has the last word: when it says something else than it did when a register was
 * set, that is dropped (overrides_reconcile). No clock, no file, no log; main thread. orders.h has
 * what keeps and copies it.
 */
#pragma once

#include <jansson.h>

#include "proxy/settings/settings.h"

#define OVERRIDES_MAX 256 /* servers; as text they fit what the nodes copy to each other */
#define OVERRIDE_WHO_MAX 64

struct override_stamp {
	uint64_t at_ms; /* realtime; 0: never said */
	char by[OVERRIDE_WHO_MAX], node[OVERRIDE_WHO_MAX];
};

struct override {
	char *key; /* pool/server */
	struct span pool, server;
	struct {
		struct override_stamp stamp;
		bool set; /* else ready */
		enum admin_state state;
		uint64_t until_ms; /* draining: then it is in maintenance; 0: it drains on */
		bool was_disabled; /* as configured by then */
	} admin;
	struct {
		struct override_stamp stamp;
		bool set;
		uint32_t value, was;
	} weight;
	struct {
		struct override_stamp stamp;
		bool set;
		struct addr address;
		uint32_t weight;
		char zone[OVERRIDE_WHO_MAX];
		bool backup;
	} added;
};

struct overrides;
struct overrides *overrides_new(void); /* NULL when out of memory */
void overrides_free(struct overrides *o);
unsigned overrides_count(const struct overrides *o); /* that say something */
const struct override *overrides_find(const struct overrides *o, struct span pool,
	struct span server); /* NULL: nothing was said */
/* Iterates: start with *at = 0; NULL at the end. */
const struct override *overrides_next(const struct overrides *o, size_t *at);

/* Now, or later than anything seen. by: cut to what fits. */
struct override_stamp overrides_stamp(
	const struct overrides *o, const char *by, const char *node, uint64_t now_ms);
/* --- one register each; -1 with err: too many servers, or out of memory -------------------------
 */
int overrides_set_admin(struct overrides *o, const struct member *m, enum admin_state state,
	uint64_t until_ms, const struct override_stamp *stamp, struct err *err);
/* weight 0, or the configured one (`was`): taken back. */
int overrides_set_weight(struct overrides *o, const struct server *s, uint32_t weight, uint32_t was,
	const struct override_stamp *stamp, struct err *err);
struct override_server { /* as it was added */
	struct span pool, name;
	struct addr address;
	uint32_t weight;
	struct span zone;
	bool backup;
};
int overrides_add(struct overrides *o, const struct override_server *s,
	const struct override_stamp *stamp, struct err *err);
/* One that was added goes, and what was said of it. */
void overrides_remove(struct overrides *o, struct span pool, struct span server,
	const struct override_stamp *stamp);

/* A draining server whose time is over is in maintenance. o: NULL is ready. */
enum admin_state override_admin(const struct override *o, uint64_t now_ms);
/* When the next one's time is over; 0: none. */
uint64_t overrides_due_ms(const struct overrides *o, uint64_t now_ms);

/*
 * What the settings overrule: a line of words for each in `lines`. Without a stamp nothing is
 * changed; with one the registers are dropped with it. Returns how many.
 */
unsigned overrides_reconcile(struct overrides *o, const struct settings *s,
	const struct override_stamp *stamp, json_t *lines);

/* The whole book, owned; NULL when out of memory. Takes out what was taken back long ago. */
json_t *overrides_json(struct overrides *o, uint64_t now_ms);
/*
 * Takes over what is newer there. *ret_changed: something was; *ret_ahead: something is newer here.
 * -1 with err: it has another shape, and nothing of it was taken.
 */
int overrides_merge(struct overrides *o, const json_t *book, bool *ret_changed, bool *ret_ahead,
	struct err *err);
