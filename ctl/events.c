/*
 * tandemctl events: both daemons' streams on one terminal. A thread follows each, so that one that
 * is down, or goes down, does not hold up the other; each comes back to its daemon every second,
 * asking for what it missed. Ends with the terminal, or when neither daemon could be reached at
 * first.
 */
#include <pthread.h>
#include <unistd.h>

#include "ctl/ctl.h"

enum { FIRST_LOOK_MS = 2000, RETRY_S = 1 };

struct follower {
	const struct ctl *c;
	enum daemon daemon;
	pthread_mutex_t *out; /* one line at a time */
	bool has_since;
	json_int_t since;
};

static void print_field(FILE *to, const char *name, const json_t *value)
{
	const char *words = json_string_value(value);
	char *text;

	fprintf(to, "  %s=", name);
	if (words && *words && !strchr(words, ' ')) {
		tint_print(words, TINT_NONE, false, to);
		return;
	}
	text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT); /* quotes what needs it */
	tint_print(text ? text : "-", TINT_NONE, false, to);
	free(text);
}

static void print_event(const struct ctl *c, enum daemon d, const json_t *event)
{
	const json_t *value;
	const char *name;

	fprintf(c->out, "%s  %-15s  ", text_at(event, "ts"), daemon_name(d));
	tint_print(text_at(event, "event"), TINT_GOOD, c->color, c->out);
	json_object_foreach ((json_t *)(uintptr_t)event, name, value) {
		if (strcmp(name, "seq") != 0 && strcmp(name, "ts") != 0 &&
			strcmp(name, "event") != 0)
			print_field(c->out, name, value);
	}
	putc('\n', c->out);
	fflush(c->out);
}

static bool on_event(void *ctx, const json_t *event)
{
	struct follower *f = ctx;
	bool more;

	f->since = int_at(event, "seq");
	f->has_since = true;
	pthread_mutex_lock(f->out);
	if (f->c->json) {
		json_t *named = json_pack("{s:s}", "daemon", daemon_name(f->daemon));

		json_object_update_missing(named, (json_t *)(uintptr_t)event);
		print_json_line(f->c, named);
	} else {
		print_event(f->c, f->daemon, event);
	}
	more = !ferror(f->c->out);
	pthread_mutex_unlock(f->out);
	return more;
}

static void *follow(void *arg)
{
	struct follower *f = arg;
	bool told = false;
	char path[4096];
	struct err err;

	daemon_path(f->c, f->daemon, path, sizeof(path));
	for (;;) {
		json_t *params = f->has_since ? json_pack("{s:I}", "since", f->since) : NULL;
		json_int_t before = f->since;
		enum rpc_rc rc = rpc_follow(path, "events", params, on_event, f, &err);

		if (rc == RPC_OK)
			return NULL;
		if (f->since != before)
			told = false;
		if (!told)
			complain("%s; trying again each second", err.text);
		told = true;
		sleep(RETRY_S);
	}
}

int verb_events(struct ctl *c)
{
	pthread_mutex_t out = PTHREAD_MUTEX_INITIALIZER;
	struct follower followers[2] = {{.daemon = FAILOVER}, {.daemon = PROXY}};
	enum rpc_rc rc[2];
	pthread_t threads[2];
	struct err err;

	for (unsigned i = 0; i < 2; i++) {
		json_t *status = NULL;

		rc[i] = ask(c, followers[i].daemon, "status", NULL, FIRST_LOOK_MS, &status, &err);
		json_decref(status);
		followers[i].c = c;
		followers[i].out = &out;
		followers[i].has_since = c->has_since;
		followers[i].since = (json_int_t)c->since;
	}
	if (rc[0] == RPC_UNREACHABLE && rc[1] == RPC_UNREACHABLE)
		return ask_exit(RPC_UNREACHABLE, &err);
	for (unsigned i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, follow, &followers[i]) != 0)
			die("cannot start a thread");
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return DONE;
}
