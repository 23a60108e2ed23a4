/*
 * What the keys of a pool's checks say together.
 */
#include "shared/conf_build.h"

/* Fields that the check writes itself. */
static bool is_ours(struct span name)
{
	static const struct span ours[] = {SPAN("connection"), SPAN("content-length"),
		SPAN("transfer-encoding"), SPAN("upgrade"), SPAN("te")};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (span_ieq(name, ours[i]))
			return true;
	return false;
}

static void check_fields(struct conf_report *report, const struct conf_node *headers)
{
	conf_each (field, headers) {
		if (span_ieq(field->name, SPAN("host")))
			conf_error(
				report, field->name_pos, NULL, "write this as 'host' of 'health'");
		else if (is_ours(field->name))
			conf_error(report, field->name_pos, NULL,
				"a check has no content and a connection of its own: leave '%.*s' "
				"out",
				SPAN_ARG(field->name));
	}
}

/* Keys that say nothing of this kind of check. */
static void refuse(struct conf_report *report, const struct conf_node *health,
	const char *const *keys, const char *whose)
{
	for (; *keys; keys++) {
		const struct conf_node *n = good(health, *keys);

		if (n)
			conf_error(report, n->name_pos, NULL, "'%s' is for %s checks only", *keys,
				whose);
	}
}

void conf_rules_health(struct conf_report *report, const struct conf_node *pool)
{
	static const char *const of_http[] = {"expect", "method", "body", "headers", NULL};
	static const char *const of_asking[] = {"host", NULL};
	static const char *const of_any[] = {"port", "every", "timeout", "rise", "fall", NULL};
	const struct conf_node *health = good(pool, "health"), *http, *tcp, *grpc;

	if (!health)
		return;
	http = conf_find(health, "http");
	grpc = conf_find(health, "grpc");
	tcp = conf_find(health, "tcp");
	if (tcp && !tcp->broken && tcp->num == 0)
		tcp = NULL;
	if (!http && !tcp && !grpc && !conf_find(health, "agent"))
		conf_error(report, health->name_pos, NULL,
			"'health' of pool '%.*s' needs 'http: PATH', 'grpc: SERVICE' or 'tcp: "
			"true'",
			SPAN_ARG(pool->name));
	else if (!!http + !!tcp + !!grpc > 1)
		conf_error(report, (tcp ? tcp : grpc)->name_pos, NULL,
			"a check is one of 'http', 'grpc' and 'tcp'");
	else if (!http && !tcp && !grpc)
		refuse(report, health, of_any, "http, grpc and tcp");
	if (!http)
		refuse(report, health, of_http, "http");
	if (!http && !grpc)
		refuse(report, health, of_asking, "http and grpc");
	check_fields(report, good(health, "headers"));
}
