/*
 * tandemctl certs: the certificates that the proxy serves, the one that ends first on top.
 */
#include <stdlib.h>

#include "ctl/ctl.h"
#include "shared/assert.h"

enum { TIMEOUT_MS = 2000, SOON_DAYS = 14 };

static int by_days(const void *a, const void *b)
{
	json_int_t left = int_at(*(json_t *const *)a, "days_left"),
		   right = int_at(*(json_t *const *)b, "days_left");

	return left < right ? -1 : left > right;
}

static void add_names(struct table *t, const json_t *cert)
{
	const json_t *names = json_object_get(cert, "names");
	const char *first = json_string_value(json_array_get(names, 0));
	size_t more = json_array_size(names) > 1 ? json_array_size(names) - 1 : 0;

	if (more)
		table_add(t, TINT_NONE, "%s and %zu more", first ? first : "-", more);
	else
		table_add(t, TINT_NONE, "%s", first ? first : "-");
}

static void add(struct table *t, const json_t *cert)
{
	json_int_t days = int_at(cert, "days_left");
	char n[NUMBER_MAX];

	add_names(t, cert);
	table_add(t, TINT_NONE, "%s", text_at(cert, "listener"));
	table_add(t, TINT_NONE, "%s", text_at(cert, "key"));
	table_add(t, TINT_NONE, "%.10s", text_at(cert, "not_after"));
	if (days < 0)
		table_add(t, TINT_BAD, "expired");
	else
		table_add(t, days < SOON_DAYS ? TINT_WARN : TINT_GOOD, "%s",
			number_at(cert, "days_left", n));
	table_add(t, TINT_NONE, "%s", text_at(cert, "ocsp"));
	table_add(t, TINT_NONE, "%s", text_at(cert, "file"));
}

static void print_table(const struct ctl *c, const json_t *certs)
{
	static const char *const heads[] = {
		"NAME", "LISTENER", "KEY", "NOT AFTER", "DAYS LEFT", "OCSP", "FILE", NULL};
	size_t count = json_array_size(certs);
	json_t **sorted = calloc(count + 1, sizeof(json_t *));
	struct table t;

	if (!sorted)
		die("out of memory");
	for (size_t i = 0; i < count; i++)
		sorted[i] = json_array_get(certs, i);
	qsort(sorted, count, sizeof(json_t *), by_days);
	table_init(&t, heads);
	for (size_t i = 0; i < count; i++)
		add(&t, sorted[i]);
	table_print(&t, 0, c->color, c->out);
	table_fini(&t);
	free(sorted);
}

int verb_certs(struct ctl *c)
{
	json_t *status = NULL, *certs;
	struct err err;
	int rc = ask_exit(ask(c, PROXY, "status", NULL, TIMEOUT_MS, &status, &err), &err);

	if (rc != DONE)
		return rc;
	certs = json_incref(json_object_get(status, "certificates"));
	json_decref(status);
	if (!certs)
		certs = json_array();
	if (c->json) {
		print_json(c, certs);
		return DONE;
	}
	print_table(c, certs);
	json_decref(certs);
	return DONE;
}
