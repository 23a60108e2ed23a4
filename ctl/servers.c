/*
 * tandemctl drain, ready, maintenance, weight, server add, server remove: orders to the proxy about
 * one server, what they changed, and waiting until a server has nothing to do any more.
 */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "shared/assert.h"
#include "shared/units.h"

enum { TIMEOUT_MS = 2000, SAVED_MS = 1000, LOOK_MS = 100 };

static void pause_ms(unsigned ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	(void)nanosleep(&t, NULL);
}

/* {pool, server} of "api/a2"; NULL after the words about what is wrong. Who runs this as root by
 * sudo is named. */
static json_t *name_server(const char *text)
{
	struct span whole = span_of(text);
	size_t slash = span_find(whole, '/', 0);
	const char *sudo = geteuid() == 0 ? getenv("SUDO_USER") : NULL;
	json_t *params;

	if (slash == 0 || slash + 1 >= whole.len) {
		complain("'%s' is no server: write POOL/SERVER, such as api/a2", text);
		return NULL;
	}
	params = json_pack("{s:s%, s:s}", "pool", text, slash, "server", text + slash + 1);
	if (!params)
		die("out of memory, or the name is not UTF-8");
	if (sudo && *sudo)
		json_object_set_new(params, "by", json_string(sudo));
	return params;
}

/* The order holds in any case; whether it would after a restart is known a moment later. */
static void tell_if_unsaved(const struct ctl *c)
{
	for (unsigned waited_ms = 0; waited_ms < SAVED_MS; waited_ms += LOOK_MS) {
		const json_t *orders;
		json_t *status = NULL;
		const char *trouble;
		struct err err;
		bool saved;

		if (ask(c, PROXY, "status", NULL, TIMEOUT_MS, &status, &err) != RPC_OK)
			return;
		orders = json_object_get(status, "orders");
		saved = int_at(orders, "saved") == int_at(orders, "changes");
		trouble = json_string_value(json_object_get(orders, "trouble"));
		if (trouble)
			complain("it holds, but would be lost with a restart: %s", trouble);
		json_decref(status);
		if (saved || trouble)
			return;
		pause_ms(LOOK_MS);
	}
}

/* What the server has to do; -1: it is in use again, -2: the proxy does not answer. */
static json_int_t work_left(const struct ctl *c, const json_t *order, struct err *err)
{
	const char *pool = text_at(order, "pool"), *server = text_at(order, "server");
	const json_t *p, *s, *leaving;
	json_t *status = NULL;
	json_int_t left;

	if (ask(c, PROXY, "status", NULL, TIMEOUT_MS, &status, err) != RPC_OK)
		return -2;
	p = json_object_get(json_object_get(status, "pools"), pool);
	s = json_object_get(json_object_get(p, "servers"), server);
	leaving = json_object_get(json_object_get(p, "leaving"), server);
	left = int_at(s ? s : leaving, "in_flight");
	if (s && strcmp(text_at(s, "admin"), "ready") == 0)
		left = -1;
	json_decref(status);
	return left;
}

static int wait_for_end(const struct ctl *c, const json_t *order)
{
	json_int_t told = -1;
	struct err err;

	for (;;) {
		json_int_t left = work_left(c, order, &err);

		if (left == -2) {
			complain("%s", err.text);
			return UNREACHABLE;
		}
		if (left == -1) {
			complain("%s/%s is ready again: not waiting any more",
				text_at(order, "pool"), text_at(order, "server"));
			return REFUSED;
		}
		if (left != told && !c->json) {
			fprintf(c->out, "%lld in flight\n", (long long)left);
			fflush(c->out);
		}
		if (left == 0)
			return DONE;
		told = left;
		pause_ms(LOOK_MS);
	}
}

/* Takes params. */
static int order(const struct ctl *c, const char *method, json_t *params)
{
	json_t *result = NULL;
	struct err err;
	int rc = ask_exit(ask(c, PROXY, method, params, TIMEOUT_MS, &result, &err), &err);

	if (rc != DONE)
		return rc;
	if (!c->json)
		print_lines(text_at(result, "text"), c->out);
	if (json_is_true(json_object_get(result, "changed")))
		tell_if_unsaved(c);
	if (c->wait)
		rc = wait_for_end(c, result);
	if (c->json)
		print_json(c, result);
	else
		json_decref(result);
	return rc;
}

int verb_admin(struct ctl *c)
{
	json_t *params = name_server(c->argument);

	if (!params)
		return USAGE;
	json_object_set_new(
		params, "admin", json_string(strcmp(c->verb, "drain") == 0 ? "draining" : c->verb));
	if (c->timeout_text)
		json_object_set_new(params, "timeout", json_string(c->timeout_text));
	return order(c, "server.set", params);
}

int verb_weight(struct ctl *c)
{
	json_t *params = name_server(c->argument);
	uint64_t weight;

	if (!params)
		return USAGE;
	if (span_to_u64(span_of(c->more[0]), 256, &weight) < 0 || weight == 0) {
		complain("'%s' is no weight: a number from 1 to 256", c->more[0]);
		json_decref(params);
		return USAGE;
	}
	json_object_set_new(params, "weight", json_integer((json_int_t)weight));
	return order(c, "server.set", params);
}

static int add(struct ctl *c)
{
	json_t *params;

	if (c->more_count != 2) {
		complain("usage: tandemctl server add POOL/SERVER ADDRESS:PORT [--weight N] "
			 "[--zone ZONE] [--backup]");
		return USAGE;
	}
	params = name_server(c->more[0]);
	if (!params)
		return USAGE;
	json_object_set_new(params, "address", json_string(c->more[1]));
	if (c->weight)
		json_object_set_new(params, "weight", json_integer((json_int_t)c->weight));
	if (c->zone)
		json_object_set_new(params, "zone", json_string(c->zone));
	if (c->backup)
		json_object_set_new(params, "backup", json_true());
	return order(c, "server.add", params);
}

int verb_server(struct ctl *c)
{
	json_t *params;

	if (strcmp(c->argument, "add") == 0)
		return add(c);
	if (strcmp(c->argument, "remove") != 0 || c->more_count != 1 || c->weight || c->zone ||
		c->backup) {
		complain("usage: tandemctl server add POOL/SERVER ADDRESS:PORT, or: tandemctl "
			 "server remove POOL/SERVER [--wait]");
		return USAGE;
	}
	params = name_server(c->more[0]);
	return params ? order(c, "server.remove", params) : USAGE;
}
