/*
 * tandemctl errors: the last malformed messages, each with a caret under what was wrong. The proxy
 * has taken out what may be secret, and escaped the rest.
 */
#include "ctl/ctl.h"

enum { TIMEOUT_MS = 2000 };

/* "     37  X-Name: ***\x01***\r\n", and the caret's line. */
static void print_line(const struct ctl *c, const json_t *line, bool in_head)
{
	const json_t *caret = json_object_get(line, "caret");
	int indent = 8;

	if (in_head)
		indent = fprintf(c->out, "%8lld  ", (long long)int_at(line, "at"));
	else
		fprintf(c->out, "%*s", indent, "");
	tint_print(text_at(line, "text"), TINT_NONE, false, c->out);
	putc('\n', c->out);
	if (!json_is_integer(caret) || json_integer_value(caret) > 1000)
		return;
	fprintf(c->out, "%*s", indent + (int)json_integer_value(caret), "");
	tint_print("^", TINT_BAD, c->color, c->out);
	putc('\n', c->out);
}

static void print_error(const struct ctl *c, const json_t *e, bool request)
{
	bool in_head = strcmp(text_at(e, "part"), "head") == 0;
	const json_t *line;
	char at[NUMBER_MAX], status[NUMBER_MAX];
	size_t i;

	fprintf(c->out, "\n%s  %s ", text_at(e, "time"), request ? "listener" : "server");
	tint_print(text_at(e, request ? "listener" : "server"), TINT_NONE, false, c->out);
	fprintf(c->out, ", %s ", request ? "client" : "address");
	tint_print(text_at(e, request ? "client" : "address"), TINT_NONE, false, c->out);
	fprintf(c->out, "\n    ");
	tint_print(text_at(e, "reason"), TINT_BAD, c->color, c->out);
	fprintf(c->out, in_head ? ", at byte %s of the head" : ", after %s bytes of content",
		number_at(e, "at", at));
	fprintf(c->out, ": %s", number_at(e, "status", status));
	if (json_object_get(e, "request")) {
		fprintf(c->out, " for ");
		tint_print(text_at(e, "request"), TINT_NONE, false, c->out);
	}
	putc('\n', c->out);
	json_array_foreach (json_object_get(e, "lines"), i, line) {
		print_line(c, line, in_head);
	}
}

static void print_side(const struct ctl *c, const json_t *side, const char *what, bool request)
{
	const json_t *last = json_object_get(side, "last"), *e;
	json_int_t total = int_at(side, "total");
	size_t shown = json_array_size(last), i;

	fprintf(c->out, "malformed %s: %lld", what, (long long)total);
	if ((json_int_t)shown < total)
		fprintf(c->out, ", the last %zu that were looked at:", shown);
	putc('\n', c->out);
	json_array_foreach (last, i, e) {
		print_error(c, e, request);
	}
}

int verb_errors(struct ctl *c)
{
	json_t *result = NULL;
	struct err err;
	int rc = ask_exit(ask(c, PROXY, "errors", NULL, TIMEOUT_MS, &result, &err), &err);

	if (rc != DONE)
		return rc;
	if (c->json) {
		print_json(c, result);
		return DONE;
	}
	print_side(c, json_object_get(result, "requests"), "requests", true);
	putc('\n', c->out);
	print_side(c, json_object_get(result, "responses"), "responses", false);
	json_decref(result);
	return DONE;
}
