/*
 * Rules about listeners that pass bytes on without reading them as HTTP: what is of no use there is
 * named, since whoever wrote it expects something of it.
 */
#include <stdio.h>

#include "shared/conf_build.h"

enum { HTTP, TCP, PASSTHROUGH }; /* as the words of 'mode' */

static const char *const tcp_keys[] = {"bind", "mode", "pool", "proxy_protocol", "tls", "limits",
	"timeouts", "allow", "deny", NULL};
static const char *const passthrough_keys[] = {"bind", "mode", "pool", "routes", "proxy_protocol",
	"limits", "timeouts", "allow", "deny", NULL};
static const char *const route_keys[] = {
	"match", "pool", "priority", "timeouts", "allow", "deny", NULL};
static const char *const match_keys[] = {"host", "client", NULL};
static const char *const limits[] = {"connections", "connections_per_client", NULL};
static const char *const times[] = {
	"head", "connect", "queue", "tunnel", "half_closed", "drain", NULL};

static bool is_one_of(struct span name, const char *const *words)
{
	for (; *words; words++)
		if (span_eq(name, span_of(*words)))
			return true;
	return false;
}

/* What to write in the place of a key. */
static const char *instead_of(struct span name)
{
	static const char *const while_open[] = {"idle", "send", "between_bytes", NULL};

	if (span_eq(name, SPAN("routes")))
		return "write 'pool'";
	if (span_eq(name, SPAN("tls")))
		return "TLS ends in a listener with 'mode: http', which may have the same 'bind'";
	return is_one_of(name, while_open) ? "write 'tunnel'" : NULL;
}

/* Every key of the map but these is an error. */
static void only(struct conf_report *report, const struct conf_node *map, const char *const *keys,
	const char *mode)
{
	conf_each (n, map)
		if (!n->broken && !is_one_of(n->name, keys))
			conf_error(report, n->name_pos, instead_of(n->name),
				"'%.*s' is of no use in a listener with 'mode: %s'",
				SPAN_ARG(n->name), mode);
}

/* hash header:, cookie:, query: and path are found in requests only; a host in TLS, too. */
static void check_balance(struct conf_report *report, const struct conf_node *pool, bool has_host)
{
	const struct conf_node *balance = pool ? good(pool->target, "balance") : NULL;
	struct span text = balance ? balance->text : SPAN(""), key;

	if (!span_starts(text, SPAN("hash ")))
		return;
	key = span_trim(span_from(text, 5));
	if (!span_eq(key, SPAN("client_ip")) && !(has_host && span_eq(key, SPAN("host"))))
		conf_error(report, pool->pos, "make it 'hash client_ip'",
			"pool '%.*s' has 'balance: %.*s', and this listener reads no requests",
			SPAN_ARG(pool->text), SPAN_ARG(text));
}

static void check_tcp(struct conf_report *report, const struct conf_node *listener)
{
	only(report, listener, tcp_keys, "tcp");
	only(report, good(listener, "limits"), limits, "tcp");
	only(report, good(listener, "timeouts"), times, "tcp");
	check_balance(report, good(listener, "pool"), false);
}

/* What passes is TLS already. */
static void check_clear(struct conf_report *report, const struct conf_node *pool)
{
	if (pool && conf_pool_has_tls(pool->target))
		conf_error(report, pool->pos, "send it to a pool without 'tls'",
			"pool '%.*s' has 'tls', and what this listener passes on is TLS already",
			SPAN_ARG(pool->text));
}

static void check_passthrough(struct conf_report *report, const struct conf_node *listener)
{
	static const char mode[] = "tls_passthrough";

	only(report, listener, passthrough_keys, mode);
	only(report, good(listener, "limits"), limits, mode);
	only(report, good(listener, "timeouts"), times, mode);
	check_balance(report, good(listener, "pool"), true);
	check_clear(report, good(listener, "pool"));
	conf_each (route, good(listener, "routes")) {
		only(report, route, route_keys, mode);
		only(report, good(route, "match"), match_keys, mode);
		only(report, good(route, "timeouts"), times, mode);
		check_balance(report, good(route, "pool"), true);
		check_clear(report, good(route, "pool"));
	}
}

static bool share_address(const struct conf_node *a, const struct conf_node *b)
{
	conf_each (mine, good(a, "bind"))
		conf_each (its, good(b, "bind"))
			if (!mine->broken && !its->broken && addr_eq(&mine->addr, &its->addr))
				return true;
	return false;
}

/* A header comes before all else, so who looks first reads it. */
static void check_header(struct conf_report *report, const struct conf_node *listeners,
	const struct conf_node *listener)
{
	const struct conf_node *header = good(listener, "proxy_protocol");

	conf_each (other, listeners) {
		const struct conf_node *mode = good(other, "mode");

		if (header && other != listener && mode && mode->num == PASSTHROUGH &&
			share_address(listener, other))
			conf_error(report, header->name_pos, NULL,
				"'proxy_protocol' belongs into listener '%.*s', which is the first "
				"to look at this address",
				SPAN_ARG(other->name));
	}
}

void conf_rules_stream(struct conf_report *report, const struct conf *c)
{
	const struct conf_node *listeners = good(c->root, "listeners");

	conf_each (listener, listeners) {
		const struct conf_node *mode = good(listener, "mode");

		if (!mode || mode->num == HTTP)
			check_header(report, listeners, listener);
		if (mode && mode->num == TCP)
			check_tcp(report, listener);
		if (mode && mode->num == PASSTHROUGH)
			check_passthrough(report, listener);
	}
	conf_each (pool, good(c->root, "pools")) {
		const struct conf_node *send = good(pool, "send_proxy");
		const struct conf_node *protocol = good(pool, "protocol");

		if (send && protocol && span_eq(protocol->text, SPAN("h2")))
			conf_error(report, send->name_pos, NULL,
				"'send_proxy' speaks of one client, and a connection with "
				"'protocol: h2' serves many");
	}
}
