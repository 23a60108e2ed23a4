#include "proxy/discover/leases.h"

#include <stdlib.h>
#include <string.h>

#include "shared/log.h"
#include "shared/state_file.h"
#include "shared/units.h"

#define FILE_NAME "registrations.json"
#define FILE_FORMAT 1
#define WRITE_AGAIN_NS (2 * NS_PER_S)

struct leases {
	struct leases_options o;
	json_t *left; /* {POOL: {...}}, what nobody has taken up yet; NULL: nothing */
	struct state_file *file;
	ev_timer due;
	bool unwritten; /* there is something that the disk does not have */
	bool failing;
};

/* --- the disk ----------------------------------------------------------------------------------
 */

static void failed(struct leases *l, const char *why)
{
	leases_touch(l, WRITE_AGAIN_NS);
	if (!l->failing)
		log_event(LOG_ERROR, "register.unsaved",
			"who is registered counts, but would be lost with a restart",
			F_TEXT("reason", why));
	l->failing = true;
}

static void on_written(void *ctx, uint64_t number, const struct err *err)
{
	struct leases *l = ctx;

	(void)number;
	if (err) {
		failed(l, err->text);
		return;
	}
	if (l->failing)
		log_event(LOG_NOTICE, "register.saved", "who is registered is on disk again");
	l->failing = false;
}

void leases_flush(struct leases *l)
{
	json_t *all;
	char *text;

	if (!l->unwritten || l->o.owner != LEASES_OURS)
		return;
	l->unwritten = false;
	ev_timer_stop(l->o.loop, &l->due);
	all = json_pack("{s:i, s:o}", "format", FILE_FORMAT, "pools", l->o.gather(l->o.ctx));
	text = all ? json_dumps(all, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
	json_decref(all);
	if (!text) {
		failed(l, "out of memory");
	} else if (strlen(text) > STATE_FILE_MAX) {
		free(text);
		failed(l, "more are registered than fit into a file");
	} else {
		(void)state_file_put(l->file, text, strlen(text));
	}
}

static void on_due(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	leases_flush(w->data);
}

static json_t *read_pools(const char *text, size_t len, struct err *err)
{
	json_error_t where;
	json_t *all = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where), *pools = NULL;

	if (!all)
		err_set(err, "line %d: %s", where.line, where.text);
	else if (json_integer_value(json_object_get(all, "format")) != FILE_FORMAT)
		err_set(err, "its format is none that this version knows");
	else if (!json_is_object(json_object_get(all, "pools")))
		err_set(err, "it has no pools");
	else
		pools = json_incref(json_object_get(all, "pools"));
	json_decref(all);
	return pools;
}

/* Whatever the file holds, the proxy starts. */
static json_t *load(const char *dir)
{
	struct err err, aside;
	char *text = NULL;
	json_t *pools = NULL;
	size_t len;

	if (state_file_read(dir, FILE_NAME, &text, &len, &err) < 0) {
		log_event(LOG_ERROR, "register.unread", "starting without who was registered",
			F_TEXT("reason", err.text));
		return NULL;
	}
	if (text)
		pools = read_pools(text, len, &err);
	if (text && !pools) {
		bool kept = state_file_set_aside(dir, FILE_NAME, &aside) == 0;

		log_event(LOG_ERROR, "register.corrupt", "starting without who was registered",
			F_TEXT("file", FILE_NAME), F_TEXT("reason", err.text),
			F_TEXT("kept_as", kept ? FILE_NAME ".bad" : aside.text));
	}
	free(text);
	return pools;
}

/* --- whose they are ----------------------------------------------------------------------------
 */

json_t *leases_take(struct leases *l, struct span pool)
{
	json_t *found = json_incref(json_object_getn(l->left, pool.ptr, pool.len));

	(void)json_object_deln(l->left, pool.ptr, pool.len);
	return found;
}

void leases_touch(struct leases *l, uint64_t within_ns)
{
	double within_s = (double)within_ns / 1e9;

	l->unwritten = true;
	if (ev_is_active(&l->due) && ev_timer_remaining(l->o.loop, &l->due) <= within_s)
		return;
	ev_timer_stop(l->o.loop, &l->due);
	ev_timer_set(&l->due, within_s, 0);
	ev_timer_start(l->o.loop, &l->due);
}

void leases_set_owner(struct leases *l, enum leases_owner owner)
{
	l->o.owner = owner;
	if (owner == LEASES_OURS)
		leases_touch(l, 0);
}

enum leases_owner leases_owner(const struct leases *l)
{
	return l->o.owner;
}

/* --- life --------------------------------------------------------------------------------------
 */

struct leases *leases_new(const struct leases_options *o, struct err *err)
{
	struct leases *l = calloc(1, sizeof(*l));

	if (!l) {
		err_set(err, "out of memory");
		return NULL;
	}
	l->o = *o;
	ev_init(&l->due, on_due);
	l->due.data = l;
	l->file = state_file_new(o->loop, o->state_dir, FILE_NAME, l, on_written, err);
	if (!l->file) {
		free(l);
		return NULL;
	}
	l->left = o->left ? json_incref(o->left) : load(o->state_dir);
	return l;
}

void leases_free(struct leases *l)
{
	if (!l)
		return;
	ev_timer_stop(l->o.loop, &l->due);
	state_file_free(l->file);
	json_decref(l->left);
	free(l);
}
