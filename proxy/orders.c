#include "proxy/orders.h"

#include <stdlib.h>

#include "shared/assert.h"
#include "shared/log.h"
#include "shared/state_file.h"

#define FILE_NAME "servers.json"
#define FILE_FORMAT 1
#define LOOK_AGAIN_S 60 /* at the latest: the wall clock may be set */
#define WRITE_AGAIN_S 2

struct orders {
	struct orders_options options;
	struct overrides *book;
	struct membership *membership; /* NULL before the first snapshot */
	struct state_file *file;
	ev_timer due;	  /* a drain's time is over */
	ev_timer again;	  /* what could not be written is tried again */
	uint64_t version; /* of the document, as we know it */
	uint64_t saved;	  /* numbers of state_file_put() */
	uint64_t changes;
	struct err trouble; /* "": none */
};

static uint64_t now_ms(void)
{
	return realtime_ns() / NS_PER_MS;
}

/* --- the disk ----------------------------------------------------------------------------------
 */

static void on_written(void *ctx, uint64_t number, const struct err *failed)
{
	struct orders *o = ctx;
	bool was_failing = o->trouble.text[0];

	if (!failed) {
		o->saved = number;
		o->trouble.text[0] = '\0';
		ev_timer_stop(o->options.loop, &o->again);
		if (was_failing)
			log_event(LOG_NOTICE, "orders.saved", "what was ordered is on disk again",
				F_INT("servers", overrides_count(o->book)));
		return;
	}
	o->trouble = *failed;
	ev_timer_again(o->options.loop, &o->again);
	if (was_failing) /* it has been said */
		return;
	log_event(LOG_ERROR, "orders.unsaved",
		"what was ordered holds, but would be lost with a restart",
		F_TEXT("reason", failed->text));
	if (o->options.on_event)
		o->options.on_event(o->options.ctx, "orders.unsaved",
			json_pack("{s:s}", "reason", failed->text));
}

static void save(struct orders *o)
{
	json_t *book = overrides_json(o->book, now_ms());
	char *text = NULL;

	if (book) {
		json_object_set_new(book, "format", json_integer(FILE_FORMAT));
		json_object_set_new(book, "version", json_integer((json_int_t)o->version));
		text = json_dumps(book, JSON_INDENT(2) | JSON_SORT_KEYS);
		json_decref(book);
	}
	if (text) {
		o->changes = state_file_put(o->file, text, strlen(text));
	} else {
		err_set(&o->trouble, "out of memory");
		ev_timer_again(o->options.loop, &o->again);
	}
}

static void on_again(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	save(w->data);
}

static int read_book(struct orders *o, const char *text, size_t len, struct err *err)
{
	json_error_t where;
	json_t *book = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	bool changed, ahead;
	int rc;

	if (!book)
		return err_set(err, "line %d: %s", where.line, where.text);
	if (json_integer_value(json_object_get(book, "format")) != FILE_FORMAT)
		rc = err_set(err, "its format is none that this version knows");
	else
		rc = overrides_merge(o->book, book, &changed, &ahead, err);
	o->version = (uint64_t)json_integer_value(json_object_get(book, "version"));
	json_decref(book);
	return rc;
}

/* Whatever the file holds, the proxy starts. */
static void load(struct orders *o)
{
	const char *dir = o->options.state_dir;
	struct err err, aside;
	char *text = NULL;
	size_t len;

	if (state_file_read(dir, FILE_NAME, &text, &len, &err) < 0) {
		log_event(LOG_ERROR, "orders.unread",
			"starting as configured, without what was ordered",
			F_TEXT("reason", err.text));
		return;
	}
	if (text && read_book(o, text, len, &err) < 0) {
		bool kept = state_file_set_aside(dir, FILE_NAME, &aside) == 0;

		log_event(LOG_ERROR, "orders.corrupt",
			"starting as configured, without what was ordered",
			F_TEXT("file", FILE_NAME), F_TEXT("reason", err.text),
			F_TEXT("kept_as", kept ? FILE_NAME ".bad" : aside.text));
		overrides_free(o->book);
		o->book = overrides_new();
	}
	free(text);
}

/* --- the pools ---------------------------------------------------------------------------------
 */

static void start_due(struct orders *o)
{
	uint64_t due_ms = overrides_due_ms(o->book, now_ms()), at_ms = now_ms();
	double after_s;

	ev_timer_stop(o->options.loop, &o->due);
	if (!due_ms)
		return;
	after_s = due_ms > at_ms ? (double)(due_ms - at_ms) / 1e3 : 0;
	ev_timer_set(&o->due, after_s < LOOK_AGAIN_S ? after_s : LOOK_AGAIN_S, 0);
	ev_timer_start(o->options.loop, &o->due);
}

static int refresh(struct orders *o, struct span pool, struct err *err)
{
	if (!o->membership)
		return 0;
	return membership_refresh(o->membership, pool, err);
}

static void refresh_all(struct orders *o)
{
	const struct override *v;
	struct span last = {0};
	size_t at = 0;
	struct err err;

	while ((v = overrides_next(o->book, &at))) {
		if (!span_eq(v->pool, last) && refresh(o, v->pool, &err) < 0)
			log_event(LOG_ERROR, "orders.not_followed",
				"a pool stays as it is, though something else was ordered",
				F_SPAN("pool", v->pool), F_TEXT("reason", err.text));
		last = v->pool;
	}
	start_due(o);
}

static void on_due(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	refresh_all(w->data);
}

/* --- the peer ----------------------------------------------------------------------------------
 */

void orders_share(struct orders *o)
{
	const struct failover_version version = {
		.value = o->version, .who = o->options.node, .when_ms = now_ms()};
	json_t *book = overrides_json(o->book, now_ms());
	bool empty = !book || json_object_size(json_object_get(book, "servers")) == 0;

	if (!empty && json_dumpb(book, NULL, 0, JSON_COMPACT) <= FAILOVER_STATE_MAX) {
		o->options.share(o->options.ctx, &version, book);
		return;
	}
	json_decref(book);
	if (!empty)
		log_event(LOG_ERROR, "orders.unshared",
			"more was ordered than fits: the peer is not told",
			F_INT("servers", overrides_count(o->book)));
}

/* We have something that the document does not. */
static void publish(struct orders *o)
{
	o->version++;
	save(o);
	orders_share(o);
}

void orders_hear(struct orders *o, const struct failover_version *version, const json_t *book)
{
	bool changed, ahead;
	struct err err;

	if (overrides_merge(o->book, book, &changed, &ahead, &err) < 0) {
		log_event(LOG_ERROR, "orders.peer_refused",
			"what the peer ordered is not taken over", F_TEXT("from", version->who),
			F_TEXT("reason", err.text));
		return;
	}
	if (version->value > o->version)
		o->version = version->value;
	if (changed) {
		log_event(LOG_NOTICE, "orders.heard", "taken over from the peer",
			F_TEXT("from", version->who), F_INT("servers", overrides_count(o->book)));
		refresh_all(o);
	}
	if (ahead)
		publish(o);
	else if (changed)
		save(o);
}

/* --- orders ------------------------------------------------------------------------------------
 */

struct overrides *orders_book(struct orders *o)
{
	return o->book;
}

struct override_stamp orders_stamp(const struct orders *o, const char *by)
{
	return overrides_stamp(o->book, by, o->options.node, now_ms());
}

int orders_commit(struct orders *o, struct span pool, struct err *err)
{
	int rc = refresh(o, pool, err);

	start_due(o);
	publish(o);
	return rc;
}

/* The configuration has the last word. */
void orders_follow(struct orders *o, struct membership *m, const struct settings *s)
{
	struct override_stamp stamp = orders_stamp(o, "the configuration");
	json_t *lines = json_array(), *line;
	size_t i;

	o->membership = m;
	if (overrides_reconcile(o->book, s, &stamp, lines) > 0) {
		json_array_foreach (lines, i, line)
			log_event(LOG_NOTICE, "orders.dropped",
				"the configuration has the last word",
				F_TEXT("what", json_string_value(line)));
		if (o->options.on_event)
			o->options.on_event(o->options.ctx, "orders.dropped",
				json_pack("{s:O}", "lines", lines));
		refresh_all(o);
		publish(o);
	}
	start_due(o);
	json_decref(lines);
}

json_t *orders_conflicts(struct orders *o, const struct settings *s)
{
	json_t *lines = json_array();

	(void)overrides_reconcile(o->book, s, NULL, lines);
	return lines;
}

/* --- status ------------------------------------------------------------------------------------
 */

json_t *orders_status(const struct orders *o)
{
	return json_pack("{s:i, s:I, s:I, s:s?}", "servers", (int)overrides_count(o->book),
		"changes", (json_int_t)o->changes, "saved", (json_int_t)o->saved, "trouble",
		o->trouble.text[0] ? o->trouble.text : NULL);
}

static void put_stamp(json_t *to, const char *what, const struct override_stamp *stamp)
{
	char key[32], at[25];

	(void)snprintf(key, sizeof(key), "%s_by", what);
	json_object_set_new(to, key, json_string(stamp->by));
	time_format(stamp->at_ms * NS_PER_MS, at);
	(void)snprintf(key, sizeof(key), "%s_since", what);
	json_object_set_new(to, key, json_string(at));
}

static void describe(const struct override *v, json_t *server)
{
	char until[25];

	if (v->admin.stamp.at_ms)
		put_stamp(server, "admin", &v->admin.stamp);
	if (v->admin.set && v->admin.until_ms) {
		time_format(v->admin.until_ms * NS_PER_MS, until);
		json_object_set_new(server, "admin_until", json_string(until));
	}
	if (v->weight.set) {
		put_stamp(server, "weight", &v->weight.stamp);
		json_object_set_new(
			server, "weight_configured", json_integer((json_int_t)v->weight.was));
	}
	if (v->added.set)
		put_stamp(server, "added", &v->added.stamp);
}

static void put_leaving(void *ctx, const struct server *s)
{
	json_object_set_new(ctx, s->name,
		json_pack("{s:s, s:I, s:I}", "address", s->address_text, "in_flight",
			(json_int_t)atomic_load(&s->in_flight), "sessions",
			(json_int_t)atomic_load(&s->sessions)));
}

void orders_describe(const struct orders *o, const struct pool *p, json_t *pool_status)
{
	json_t *servers = json_object_get(pool_status, "servers"), *leaving = json_object();
	const struct member_set *set = p->state->set;

	for (unsigned i = 0; i < set->count; i++) {
		const struct member *m = &set->members[i];
		const struct server *s = m->server;
		json_t *server = json_object_get(servers, s->name);
		const struct override *v = overrides_find(o->book, p->name, span_of(s->name));

		json_object_set_new(server, "source", json_string(m->source));
		if (v)
			describe(v, server);
	}
	membership_each_leaving(o->membership, p, leaving, put_leaving);
	json_object_set_new(pool_status, "leaving", leaving);
}

/* --- life --------------------------------------------------------------------------------------
 */

struct orders *orders_new(const struct orders_options *options, struct err *err)
{
	struct orders *o = calloc(1, sizeof(*o));

	if (!o) {
		err_set(err, "out of memory");
		return NULL;
	}
	o->options = *options;
	ev_init(&o->due, on_due);
	ev_init(&o->again, on_again);
	o->again.repeat = WRITE_AGAIN_S;
	o->due.data = o->again.data = o;
	o->file = state_file_new(options->loop, options->state_dir, FILE_NAME, o, on_written, err);
	o->book = o->file ? overrides_new() : NULL;
	if (o->book)
		load(o);
	else if (o->file)
		err_set(err, "out of memory");
	if (!o->book) {
		orders_free(o);
		return NULL;
	}
	return o;
}

void orders_free(struct orders *o)
{
	if (!o)
		return;
	ev_timer_stop(o->options.loop, &o->due);
	ev_timer_stop(o->options.loop, &o->again);
	state_file_free(o->file);
	overrides_free(o->book);
	free(o);
}
