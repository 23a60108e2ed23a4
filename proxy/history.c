#include "proxy/history.h"

#include <stdlib.h>

#include "shared/assert.h"
#include "shared/log.h"
#include "shared/state_file.h"

#define FILE_NAME "configuration.json"
#define FILE_FORMAT 1
#define KEPT_BYTES_MAX ((size_t)STATE_FILE_MAX / 4) /* of texts; as JSON they may grow */

struct history {
	const char *state_dir; /* borrows */
	struct state_file *file;
	json_t *running, *previous; /* {hash, since, files: [{name, text}]}; NULL: none */
};

/* NULL: too large to be kept, or out of memory. */
static json_t *texts_of(const struct conf *c)
{
	json_t *files = json_array();
	size_t bytes = 0;

	for (size_t i = 0; i < c->file_count; i++)
		bytes += c->text_lens[i];
	for (size_t i = 0; bytes <= KEPT_BYTES_MAX && i < c->file_count; i++)
		json_array_append_new(
			files, json_pack("{s:s, s:s%}", "name", c->files[i], "text",
				       c->texts[i] ? c->texts[i] : "", c->text_lens[i]));
	if (json_array_size(files) == c->file_count)
		return files;
	json_decref(files);
	return NULL;
}

static void on_written(void *ctx, uint64_t number, const struct err *failed)
{
	(void)ctx;
	(void)number;
	if (failed)
		log_event(LOG_ERROR, "config.unkept",
			"after a restart there would be nothing to roll back to",
			F_TEXT("reason", failed->text));
}

static void save(struct history *h)
{
	json_t *all = json_pack("{s:i, s:O?, s:O?}", "format", FILE_FORMAT, "running", h->running,
		"previous", h->previous);
	char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;

	if (text)
		state_file_put(h->file, text, strlen(text));
	json_decref(all);
}

void history_ran(struct history *h, const struct settings *s)
{
	const char *hash = json_string_value(json_object_get(h->running, "hash"));
	json_t *files;
	char since[25];

	if (hash && strcmp(hash, s->hash) == 0)
		return;
	files = texts_of(s->conf);
	if (!files)
		log_event(LOG_WARNING, "config.unkept",
			"the configuration is too large to be kept for a rollback");
	time_format(realtime_ns(), since);
	json_decref(h->previous);
	h->previous = h->running;
	h->running = json_pack("{s:s, s:s, s:o?}", "hash", s->hash, "since", since, "files", files);
	save(h);
}

json_t *history_previous(const struct history *h)
{
	json_t *names = json_array();
	const json_t *file;
	size_t i;

	if (!json_is_object(h->previous)) {
		json_decref(names);
		return NULL;
	}
	json_array_foreach (json_object_get(h->previous, "files"), i, file) {
		json_array_append(names, json_object_get(file, "name"));
	}
	return json_pack("{s:O?, s:O?, s:o}", "hash", json_object_get(h->previous, "hash"), "since",
		json_object_get(h->previous, "since"), "files", names);
}

struct conf *history_load(const struct history *h, struct conf_report *report, struct err *err)
{
	const json_t *files = json_object_get(h->previous, "files"), *file;
	size_t count = json_array_size(files), i;
	struct conf_kept *kept = calloc(count + 1, sizeof(*kept));
	struct conf *conf = NULL;

	err_set(err, !h->previous ? "no other configuration has run before this one"
		     : !count	  ? "the configuration before was too large to be kept"
				  : "out of memory");
	if (!kept)
		return NULL;
	json_array_foreach (files, i, file) {
		const json_t *text = json_object_get(file, "text");

		kept[i].name = json_string_value(json_object_get(file, "name"));
		kept[i].text = span_make(json_string_value(text), json_string_length(text));
	}
	if (count)
		conf = conf_load_kept(kept, count, report);
	free(kept);
	return conf;
}

/* --- life --------------------------------------------------------------------------------------
 */

static bool is_kept(const json_t *kept)
{
	const json_t *file;
	size_t i;

	if (json_is_null(kept))
		return true;
	json_array_foreach (json_object_get(kept, "files"), i, file)
		if (!json_is_string(json_object_get(file, "name")) ||
			!json_is_string(json_object_get(file, "text")))
			return false;
	return json_is_string(json_object_get(kept, "hash")) &&
	       json_is_string(json_object_get(kept, "since"));
}

static json_t *take(const json_t *all, const char *name)
{
	json_t *kept = json_object_get(all, name);

	return json_is_object(kept) ? json_incref(kept) : NULL;
}

static void load(struct history *h)
{
	char *text = NULL;
	json_t *all;
	struct err err;
	size_t len;

	if (state_file_read(h->state_dir, FILE_NAME, &text, &len, &err) < 0)
		log_event(LOG_ERROR, "config.unread", "nothing to roll back to",
			F_TEXT("reason", err.text));
	if (!text)
		return;
	all = json_loadb(text, len, 0, NULL);
	free(text);
	if (json_integer_value(json_object_get(all, "format")) == FILE_FORMAT &&
		is_kept(json_object_get(all, "running")) &&
		is_kept(json_object_get(all, "previous"))) {
		h->running = take(all, "running");
		h->previous = take(all, "previous");
	} else {
		(void)state_file_set_aside(h->state_dir, FILE_NAME, &err);
		log_event(LOG_ERROR, "config.unread",
			"the kept configuration makes no sense: nothing to roll back to",
			F_TEXT("kept_as", FILE_NAME ".bad"));
	}
	json_decref(all);
}

struct history *history_new(struct ev_loop *loop, const char *state_dir, struct err *err)
{
	struct history *h = calloc(1, sizeof(*h));

	if (!h) {
		err_set(err, "out of memory");
		return NULL;
	}
	h->state_dir = state_dir;
	h->file = state_file_new(loop, state_dir, FILE_NAME, h, on_written, err);
	if (!h->file) {
		free(h);
		return NULL;
	}
	load(h);
	return h;
}

void history_free(struct history *h)
{
	if (!h)
		return;
	state_file_free(h->file);
	json_decref(h->running);
	json_decref(h->previous);
	free(h);
}
