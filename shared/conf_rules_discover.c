/*
 * Rules of discovery: what each source needs, and that a pool has one.
 */
#include "shared/conf_build.h"

static void check_dns(struct conf_report *report, const struct conf_node *dns)
{
	struct addr address;
	struct span host;
	uint16_t port;
	struct err err;

	if (!dns)
		return;
	if (span_starts(dns->text, SPAN("_"))) { /* a service has no port of its own */
		struct span labels = dns->text;
		unsigned underscores = 0;

		while (span_starts(labels, SPAN("_"))) {
			size_t dot = span_find(labels, '.', 0);

			underscores++;
			labels = span_from(labels, dot < labels.len ? dot + 1 : dot);
		}
		if (underscores != 2 || labels.len == 0 || dns->text.len > 253 ||
			span_find(dns->text, ':', 0) < dns->text.len)
			conf_error(report, dns->pos, NULL,
				"'%.*s' is no service: write _service._proto.name, such as "
				"_http._tcp.web.internal",
				SPAN_ARG(dns->text));
		return;
	}
	if (endpoint_parse(dns->text, &address, &host, &port, &err) < 0)
		conf_error(report, dns->pos, "or _service._proto.name for SRV", "%s", err.text);
	else if (host.len == 0)
		conf_error(report, dns->pos, "write it under 'servers'",
			"'%.*s' is an address: there is nothing to ask for", SPAN_ARG(dns->text));
}

void conf_rules_discover(
	struct conf_report *report, const struct conf_node *root, const struct conf_node *pool)
{
	const struct conf_node *discover, *file, *registering;
	bool has_any = conf_find(pool, "servers") || conf_find(pool, "discover");

	if (pool->broken)
		return;
	discover = good(pool, "discover");
	conf_each (key, pool)
		has_any |= key->broken; /* a misspelt one is told once */
	if (!has_any)
		conf_error(report, pool->name_pos, NULL,
			"pool '%.*s' needs 'servers' or 'discover'", SPAN_ARG(pool->name));
	if (!discover)
		return;
	if (!discover->first)
		conf_error(report, discover->name_pos, NULL,
			"'discover' of pool '%.*s' needs 'dns', 'file' or 'register'",
			SPAN_ARG(pool->name));
	check_dns(report, good(discover, "dns"));
	file = good(discover, "file");
	if (file && !span_starts(file->text, SPAN("/")))
		conf_error(report, file->pos, NULL, "'%.*s': write the file's full path",
			SPAN_ARG(file->text));
	registering = good(discover, "register");
	if (registering && !conf_find(root, "admin"))
		conf_error(report, registering->name_pos, "add admin: {bind: \"ADDRESS:PORT\"}",
			"'register' needs an admin address for servers to register at");
}
