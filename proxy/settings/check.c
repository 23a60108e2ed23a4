#include "proxy/settings/check.h"

#include "proxy/tls/client.h"
#include "shared/assert.h"

static void build_expected(const struct conf_node *health, struct check_conf *c)
{
	const struct conf_node *expect = conf_find(health, "expect");

	if (!expect) { /* a list: the table's default is text */
		c->expect[c->expect_count].from = 200;
		c->expect[c->expect_count++].to = 399;
	}
	conf_each (range, expect) {
		ASSERT(c->expect_count < countof(c->expect));
		c->expect[c->expect_count].from = (uint16_t)(range->num / 1000);
		c->expect[c->expect_count++].to = (uint16_t)(range->num % 1000);
	}
}

/* "~ ^ok$" is an expression. */
static void build_body(struct builder *b, const struct conf_node *body, struct check_conf *c)
{
	if (!body)
		return;
	c->body = body->text;
	if (span_starts(c->body, SPAN("~")))
		c->body_regex = build_regex(b, body, span_trim(span_from(c->body, 1)));
}

static void build_http(struct builder *b, const struct conf_node *health, struct check_conf *c)
{
	c->kind = CHECK_HTTP;
	c->path = conf_text(health, "http");
	c->method = conf_text(health, "method");
	build_body(b, conf_find(health, "body"), c);
	c->headers = conf_find(health, "headers");
	conf_each (field, c->headers)
		c->names_agent |= span_ieq(field->name, SPAN("user-agent"));
	build_expected(health, c);
}

static void build_rhythm(const struct conf_node *node, struct check_conf *c)
{
	c->every_ns = conf_u64(node, "every");
	c->timeout_ns = conf_u64(node, "timeout");
}

static void build_agent(const struct conf_node *agent, struct check_conf *c)
{
	c->kind = CHECK_AGENT;
	c->port = (uint16_t)conf_u64(agent, "port");
	build_rhythm(agent, c);
}

void check_build(struct builder *b, const struct conf_node *pool, struct pool *p)
{
	const struct conf_node *health = conf_find(pool, "health");
	struct check_conf *c = &p->check;

	c->kind = p->agent.kind = CHECK_NONE;
	c->rise = c->fall = 1;
	if (!health)
		return;
	if (conf_find(health, "agent"))
		build_agent(conf_find(health, "agent"), &p->agent);
	if (conf_find(health, "http")) {
		build_http(b, health, c);
	} else if (conf_find(health, "grpc")) {
		c->kind = CHECK_GRPC;
		c->service = conf_text(health, "grpc");
		if (span_eq(c->service, SPAN("*")))
			c->service = (struct span){0};
	} else if (conf_bool(health, "tcp")) {
		c->kind = CHECK_TCP;
	} else {
		return; /* the agent alone */
	}
	c->host = conf_text(health, "host");
	if (conf_find(health, "port"))
		c->port = (uint16_t)conf_u64(health, "port");
	build_rhythm(health, c);
	c->rise = (unsigned)conf_u64(health, "rise");
	c->fall = (unsigned)conf_u64(health, "fall");
}

static bool same_fields(const struct conf_node *a, const struct conf_node *b)
{
	const struct conf_node *x = conf_first(a), *y = conf_first(b);

	for (; x && y; x = x->next, y = y->next)
		if (!span_eq(x->name, y->name) || !span_eq(x->text, y->text))
			return false;
	return !x && !y;
}

bool check_same(const struct check_conf *a, const struct check_conf *b)
{
	if (a->kind != b->kind || !span_eq(a->path, b->path) || !span_eq(a->host, b->host) ||
		!span_eq(a->method, b->method) || !span_eq(a->body, b->body) ||
		!span_eq(a->service, b->service) || !same_fields(a->headers, b->headers) ||
		a->expect_count != b->expect_count || a->port != b->port ||
		a->every_ns != b->every_ns || a->timeout_ns != b->timeout_ns ||
		a->send_proxy != b->send_proxy || tls_client_id(a->tls) != tls_client_id(b->tls))
		return false;
	for (unsigned i = 0; i < a->expect_count; i++)
		if (a->expect[i].from != b->expect[i].from || a->expect[i].to != b->expect[i].to)
			return false;
	return true;
}
