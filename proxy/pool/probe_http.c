/*
 * An http check: asks for a path, and judges the status and, where that is wanted, what the content
 * has in its first 64 KiB.
 */
#include <stdlib.h>

#include "proxy/pool/probe.h"
#include "shared/assert.h"

enum { HEAD_MAX = 16384, CONTENT_MAX = 65536 };

static int begin(struct probe *p)
{
	const struct check_conf *c = p->conf;
	char address[ADDR_TEXT_MAX];
	struct span host = c->host;
	int rc;

	p->content.reading = false;
	if (host.len == 0)
		host = span_make(address, addr_format(&p->address, address));
	rc = buf_printf(&p->out, "%.*s %.*s HTTP/1.1\r\nHost: %.*s\r\n", SPAN_ARG(c->method),
		SPAN_ARG(c->path), SPAN_ARG(host));
	conf_each (field, c->headers)
		rc |= buf_printf(
			&p->out, "%.*s: %.*s\r\n", SPAN_ARG(field->name), SPAN_ARG(field->text));
	rc |= buf_printf(&p->out, "%sConnection: close\r\n\r\n",
		c->names_agent ? "" : "User-Agent: tandem-check\r\n");
	if (rc == 0)
		return 0;
	probe_done(p, PROBE_FAILED, "the request is too long");
	return -1;
}

static bool expected(const struct check_conf *c, unsigned status)
{
	for (unsigned i = 0; i < c->expect_count; i++)
		if (status >= c->expect[i].from && status <= c->expect[i].to)
			return true;
	return false;
}

static void say_unexpected(struct probe *p, unsigned status)
{
	const struct check_conf *c = p->conf;
	char text[256];
	size_t at;

	at = (size_t)snprintf(text, sizeof(text), "status %u, expected", status);
	for (unsigned i = 0; i < c->expect_count; i++) {
		const char *before = i ? ", " : " ";

		at += (size_t)snprintf(
			text + at, sizeof(text) - at, "%s%u", before, c->expect[i].from);
		if (c->expect[i].to != c->expect[i].from)
			at += (size_t)snprintf(
				text + at, sizeof(text) - at, "-%u", c->expect[i].to);
		ASSERT(at < sizeof(text)); /* 16 ranges of three digits do fit */
	}
	probe_done(p, PROBE_FAILED, text);
}

static enum http_method method_of(struct span text)
{
	return span_eq(text, SPAN("HEAD")) ? HTTP_HEAD : HTTP_GET;
}

/* --- content -----------------------------------------------------------------------------------
 */

static void judge_content(struct probe *p)
{
	struct span text = buf_span(&p->content.text), wanted = p->conf->body;
	const struct regex *regex = p->conf->body_regex;
	char why[200];

	if (regex ? regex_match(regex, p->room, text, NULL) == REGEX_YES
		  : text.len && memmem(text.ptr, text.len, wanted.ptr, wanted.len)) {
		probe_done(p, PROBE_PASSED, NULL);
		return;
	}
	snprintf(why, sizeof(why), "the content does not have '%.*s'%s", SPAN_ARG(wanted),
		text.len == CONTENT_MAX ? " in its first 64 KiB" : "");
	probe_done(p, PROBE_FAILED, why);
}

/* What has come of the content, without its framing. */
static void read_content(struct probe *p)
{
	struct buf *text = &p->content.text;

	for (;;) {
		struct http_fault fault = {0};
		struct span data;
		size_t used;
		enum parse_rc rc =
			http1_body_next(&p->content.body, buf_span(&p->in), &used, &data, &fault);

		if (rc == PARSE_BAD) {
			probe_done(p, PROBE_FAILED, fault.why);
			return;
		}
		if (data.len > CONTENT_MAX - text->len)
			data.len = CONTENT_MAX - text->len;
		if (buf_append(text, data) < 0) {
			probe_done(p, PROBE_POSTPONED, "out of memory");
			return;
		}
		buf_consume(&p->in, used);
		if (rc == PARSE_DONE || text->len == CONTENT_MAX) {
			judge_content(p);
			return;
		}
		if (used == 0 || p->in.len == 0)
			return;
	}
}

/* --- the head ----------------------------------------------------------------------------------
 */

static void judge_head(struct probe *p, const struct http_head *head)
{
	if (!expected(p->conf, head->status)) {
		say_unexpected(p, head->status);
		return;
	}
	if (!p->conf->body.len) {
		probe_done(p, PROBE_PASSED, NULL);
		return;
	}
	http1_body_init(&p->content.body, head->framing, head->length);
	buf_init(&p->content.text, CONTENT_MAX);
	buf_consume(&p->in, head->head_bytes);
	p->content.reading = true;
	read_content(p);
}

static void heard(struct probe *p)
{
	static const struct http_limits limits = {.line_bytes = HEAD_MAX,
		.head_bytes = HEAD_MAX,
		.field_bytes = HEAD_MAX,
		.fields = HTTP_FIELDS_MAX};
	struct http_head head;
	struct http_fault fault = {0};
	char text[200];

	if (p->content.reading) {
		read_content(p);
		return;
	}
	for (;;) {
		http_head_init(&head);
		switch (http1_parse_response(
			&head, buf_span(&p->in), &limits, method_of(p->conf->method), &fault)) {
		case PARSE_MORE:
			return;
		case PARSE_BAD:
			snprintf(text, sizeof(text), "not an HTTP answer: %s",
				fault.why ? fault.why : "garbage");
			probe_done(p, PROBE_FAILED, text);
			return;
		case PARSE_DONE:
			break;
		}
		if (head.status >= 200) {
			judge_head(p, &head);
			return;
		}
		buf_consume(&p->in, head.head_bytes); /* 1xx: the answer is still to come */
	}
}

static void ended(struct probe *p)
{
	if (p->content.reading && http1_body_eof(&p->content.body) == PARSE_DONE)
		judge_content(p);
	else if (p->content.reading)
		probe_done(p, PROBE_FAILED, "closed in the content of the answer");
	else
		probe_done(p, PROBE_FAILED,
			p->in.len ? "closed in the head of the answer"
				  : "closed without an answer");
}

static void forget(struct probe *p)
{
	if (p->content.reading)
		buf_fini(&p->content.text);
	p->content.reading = false;
}

const struct speech speech_http = {begin, heard, ended, forget};
