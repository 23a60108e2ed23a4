#include "tests/fuzz/exchange_oracle.h"

#include <stdio.h>
#include <stdlib.h>

#include "shared/assert.h"

#define MESSAGES_MAX 512
#define TEXTS_BYTES 65536

/* A request as a client made it, or as a server received it; or an answer, likewise. */
struct message {
	struct fake_conn *conn;
	unsigned nth; /* on its connection */
	enum http_method method;
	uint8_t minor;
	uint16_t status;
	struct span target, authority; /* of a request */
	struct span id, client_ip;     /* that the proxy set */
	bool upgrade, whole, keep_alive;
	enum http_framing framing;
	size_t content_at, content_len; /* in the outcome's contents */
};

struct outcome {
	struct message asked[MESSAGES_MAX], received[MESSAGES_MAX], answered[MESSAGES_MAX],
		got[MESSAGES_MAX];
	unsigned asked_count, received_count, answered_count, got_count;
	bool talkative; /* a server said more than it was asked */
	bool switched;	/* protocols */
	struct fake_bytes contents;
	struct fake_bytes texts; /* what spans of the messages point into */
};

static struct http_head head;
static const struct http_limits server_limits = {
	.line_bytes = 8192, .head_bytes = 40 * 1024, .field_bytes = 16 * 1024, .fields = 100};
/* What we write has more than what came: our own fields. */
static const struct http_limits written_limits = {.line_bytes = 16 * 1024,
	.head_bytes = 64 * 1024,
	.field_bytes = 32 * 1024,
	.fields = HTTP_FIELDS_MAX};

/* --- reading what was said
 * --------------------------------------------------------------------------- */

static void keep(struct fake_bytes *b, struct span s)
{
	if (b->len + s.len > b->room) {
		b->room = 2 * (b->len + s.len) + 4096;
		b->data = realloc(b->data, b->room);
		ASSERT(b->data);
	}
	if (s.len)
		memcpy(b->data + b->len, s.ptr, s.len);
	b->len += s.len;
}

static struct message *message_new(struct message *all, unsigned *count)
{
	ASSERT(*count < MESSAGES_MAX);
	all[*count] = (struct message){0};
	return &all[(*count)++];
}

static struct span field(enum http_field_id id)
{
	const struct http_field *f = http_field_find(&head, id);

	return f ? f->value : span_make("", 0);
}

/* Takes the content of a message whose head is in `head` from the front of rest. False: it is
 * malformed. */
static bool read_content(
	struct outcome *o, struct message *m, struct span rest, bool ended, size_t *ret_used)
{
	struct http1_body body;
	struct http_fault fault;
	enum parse_rc rc;
	size_t at = 0, used;

	http1_body_init(&body, head.framing, head.length);
	m->framing = head.framing;
	m->content_at = o->contents.len;
	do {
		struct span data;

		rc = http1_body_next(&body, span_from(rest, at), &used, &data, &fault);
		if (rc == PARSE_BAD)
			break;
		keep(&o->contents, data);
		at += used;
	} while (rc == PARSE_MORE && used);
	m->content_len = o->contents.len - m->content_at;
	m->whole = rc == PARSE_DONE ||
		   (rc == PARSE_MORE && ended && http1_body_eof(&body) == PARSE_DONE);
	*ret_used = at;
	return rc != PARSE_BAD;
}

/* A target as it goes on. False: it is refused. */
static bool read_target(struct outcome *o, const struct listener *l, struct message *m)
{
	static char room[8192];
	struct span path, query;
	struct http_fault fault;

	m->target = head.target;
	if (head.method == HTTP_CONNECT)
		return true;
	if (http_path(head.target, l->path_mode, room, sizeof(room), &path, &query, &fault) !=
		PARSE_DONE)
		return false;
	if (path.ptr == room) {
		size_t len = path.len + (query.ptr ? 1 + query.len : 0);

		keep(&o->texts, span_make(path.ptr, len));
		m->target = span_make(o->texts.data + o->texts.len - len, len);
	}
	return true;
}

/* The requests that this client has made, as far as they can be understood. */
static void read_asked(struct outcome *o, const struct listener *l, struct fake_conn *c)
{
	struct span rest = span_make(c->in.data, c->in.len);
	struct http_fault fault;
	struct message *m;
	size_t used;

	for (unsigned nth = 0;; nth++) {
		http_head_init(&head);
		if (http1_parse_request(&head, rest, &l->limits, &fault) != PARSE_DONE)
			return;
		m = message_new(o->asked, &o->asked_count);
		*m = (struct message){.conn = c,
			.nth = nth,
			.method = head.method,
			.minor = head.minor,
			.authority = head.authority,
			.upgrade = head.upgrade.len > 0,
			.keep_alive = head.keep_alive};
		if (!read_target(o, l, m))
			return;
		if (!read_content(o, m, span_from(rest, head.head_bytes), false, &used) ||
			!m->whole || !m->keep_alive)
			return;
		rest = span_from(rest, head.head_bytes + used);
	}
}

enum answer { ANSWERED, SWITCHED, NOT_ANSWERED };

/* The next answer off the front of *in, whose head may be looked at in `head`. */
static enum answer read_answer(
	struct outcome *o, struct fake_conn *c, const struct message *request, struct span *in)
{
	struct http_fault fault;
	struct message *m;
	size_t used;

	do {
		http_head_init(&head);
		if (http1_parse_response(&head, *in, &server_limits, request->method, &fault) !=
			PARSE_DONE)
			return NOT_ANSWERED;
		*in = span_from(*in, head.head_bytes);
		if (head.status == 101)
			return SWITCHED;
	} while (head.status < 200);
	m = message_new(o->answered, &o->answered_count);
	*m = (struct message){.conn = c, .nth = request->nth, .status = head.status};
	if (!read_content(o, m, *in, c->in_end, &used) || !m->whole)
		return NOT_ANSWERED;
	*in = span_from(*in, used);
	return ANSWERED;
}

/* What a server says before a byte of the request has come to it may be taken for its answer: that
 * it is none cannot be told. */
static void read_unasked(struct outcome *o, struct fake_conn *c, struct span in)
{
	const struct message get = {.method = HTTP_GET}, head_only = {.method = HTTP_HEAD};
	struct span again = in;

	o->talkative = true;
	read_answer(o, c, &get, &in);
	read_answer(o, c, &head_only, &again);
}

/* The requests that a server received, and what it answered to each. */
static void read_server(struct outcome *o, struct fake_conn *c)
{
	struct span in = span_make(c->in.data, c->in.len), out = span_make(c->out.data, c->out.len);
	enum answer answer = ANSWERED;
	struct http_fault fault;
	struct message *m;
	enum parse_rc rc;
	size_t used;

	for (unsigned nth = 0; out.len; nth++) {
		http_head_init(&head);
		rc = http1_parse_request(&head, out, &written_limits, &fault);
		ASSERT(rc != PARSE_BAD);
		if (rc == PARSE_MORE) { /* cut off: no request for anyone, but it may be answered */
			struct message begun = {.conn = c,
				.nth = nth,
				.method = span_starts(out, SPAN("HEAD ")) ? HTTP_HEAD : HTTP_GET};

			if (answer == ANSWERED)
				answer = read_answer(o, c, &begun, &in);
			break;
		}
		m = message_new(o->received, &o->received_count);
		*m = (struct message){.conn = c,
			.nth = nth,
			.method = head.method,
			.target = head.target,
			.authority = head.authority,
			.id = field(HTTP_F_X_REQUEST_ID),
			.client_ip = field(HTTP_F_X_FORWARDED_FOR),
			.upgrade = head.upgrade.len > 0};
		ASSERT(head.minor == 1 && m->id.len && m->client_ip.len);
		ASSERT(read_content(o, m, span_from(out, head.head_bytes), false, &used));
		out = span_from(out, head.head_bytes + used);
		if (answer == ANSWERED)
			answer = read_answer(o, c, m, &in);
		o->switched |= answer == SWITCHED;
		if ((answer == SWITCHED && m->upgrade) || !m->whole)
			break; /* a tunnel, or it was cut */
	}
	if (answer == ANSWERED && in.len > 0)
		read_unasked(o, c, in);
}

static const struct message *asked_of(
	const struct outcome *o, const struct fake_conn *c, unsigned nth)
{
	for (unsigned i = 0; i < o->asked_count; i++)
		if (o->asked[i].conn == c && o->asked[i].nth == nth)
			return &o->asked[i];
	return NULL;
}

/* A HEAD that we gave up before it was all there was no HEAD to us: then our text follows. */
static struct span skip_text_for_head(struct span rest)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%u %s\n", head.status, http_reason(head.status));
	struct span ours = span_make(text, (size_t)n);

	if (head.status == 408 && head.framing == HTTP_NO_BODY && !head.keep_alive &&
		span_eq(rest, ours))
		return span_from(rest, ours.len);
	return rest;
}

/* What a client got, which must be answers. */
static void read_got(struct outcome *o, struct fake_conn *c)
{
	struct span rest = span_make(c->out.data, c->out.len);
	struct http_fault fault;
	enum parse_rc rc;
	size_t used;

	for (unsigned nth = 0; rest.len;) {
		const struct message *asked = asked_of(o, c, nth);
		struct message *m;

		http_head_init(&head);
		rc = http1_parse_response(
			&head, rest, &written_limits, asked ? asked->method : HTTP_GET, &fault);
		ASSERT(rc != PARSE_BAD);
		if (rc == PARSE_MORE) {
			ASSERT(c->out_reset || c->in_reset || c->deaf);
			return;
		}
		rest = span_from(rest, head.head_bytes);
		if (head.status == 101) {
			ASSERT(asked && asked->upgrade);
			return;
		}
		if (head.status < 200) {
			ASSERT(asked && asked->minor > 0);
			continue;
		}
		rest = skip_text_for_head(rest);
		m = message_new(o->got, &o->got_count);
		*m = (struct message){.conn = c, .nth = nth++, .status = head.status};
		ASSERT(read_content(o, m, rest, c->out_end && !c->out_reset, &used));
		if (!m->whole)
			return;
		rest = span_from(rest, used);
	}
}

static void forget(struct outcome *o)
{
	o->asked_count = o->received_count = o->answered_count = o->got_count = 0;
	o->talkative = o->switched = false;
	o->contents.len = o->texts.len = 0;
}

static void read_all(struct outcome *o, enum rig_listener which)
{
	forget(o);
	/* so that spans into it stay: more than targets can ever take */
	if (!o->texts.room) {
		o->texts.room = TEXTS_BYTES;
		o->texts.data = malloc(o->texts.room);
		ASSERT(o->texts.data);
	}
	for (unsigned i = 0; i < fake_net.conn_count; i++) {
		struct fake_conn *c = &fake_net.conns[i];

		if (c->from_client)
			read_asked(o, rig_listener_conf(which), c);
		else
			read_server(o, c);
	}
	for (unsigned i = 0; i < fake_net.conn_count; i++)
		if (fake_net.conns[i].from_client)
			read_got(o, &fake_net.conns[i]);
}

/* --- what must hold
 * ---------------------------------------------------------------------------------- */

static struct span content_of(const struct outcome *o, const struct message *m)
{
	return span_make(o->contents.data + m->content_at, m->content_len);
}

static bool begins(struct span whole, struct span part)
{
	return whole.len >= part.len && span_eq(span_make(whole.ptr, part.len), part);
}

/* The client whose address is the last of the list. */
static const struct fake_conn *client_of(struct span list)
{
	size_t at = list.len;
	char text[ADDR_TEXT_MAX];

	while (at > 0 && list.ptr[at - 1] != ',' && list.ptr[at - 1] != ' ')
		at--;
	for (unsigned i = 0; i < fake_net.conn_count; i++) {
		const struct fake_conn *c = &fake_net.conns[i];

		if (c->from_client && span_eq(span_make(text, addr_format_ip(&c->peer, text)),
					      span_from(list, at)))
			return c;
	}
	return NULL;
}

/* Who names no host meant the address of the listener. */
static bool is_host_of(struct span received, struct span asked)
{
	return asked.len ? span_eq(received, asked) : begins(received, SPAN("127.0.0.1:100"));
}

static bool may_be(
	const struct outcome *o, const struct message *received, const struct message *asked)
{
	struct span got = content_of(o, received), said = content_of(o, asked);

	return received->method == asked->method && span_eq(received->target, asked->target) &&
	       is_host_of(received->authority, asked->authority) &&
	       (received->whole ? asked->whole && span_eq(got, said) : begins(said, got));
}

/* Each request that a server received is the client's next, or the same again. */
static void check_received(struct outcome *o)
{
	for (unsigned i = 0; i < o->received_count; i++) {
		struct message *m = &o->received[i];
		const struct fake_conn *client = client_of(m->client_ip);
		const struct message *asked = NULL;

		ASSERT(client);
		for (unsigned j = 0; !asked && j < o->asked_count; j++)
			if (o->asked[j].conn == client && may_be(o, m, &o->asked[j]))
				asked = &o->asked[j];
		ASSERT(asked);
	}
}

static bool is_unsafe(enum http_method m)
{
	return m == HTTP_POST || m == HTTP_PATCH || m == HTTP_OTHER;
}

/* With ids that only the proxy gives: no request twice that may not be, and each in its order. */
static void check_once_and_in_order(const struct outcome *o)
{
	for (unsigned i = 0; i < o->received_count; i++)
		for (unsigned j = i + 1; j < o->received_count; j++) {
			const struct message *a = &o->received[i], *b = &o->received[j];

			if (!span_eq(a->id, b->id))
				continue;
			ASSERT(a->conn != b->conn && a->method == b->method);
			ASSERT(!is_unsafe(a->method));
			ASSERT(span_eq(a->target, b->target));
		}
}

/* One of the proxy's own errors, or as much of it as the client took. */
static bool is_ours(unsigned status, struct span content, bool whole)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%u %s\n", status, http_reason(status));
	struct span all = span_make(text, (size_t)n);

	return status >= 400 &&
	       (content.len == 0 || (whole ? span_eq(content, all) : begins(all, content)));
}

/* What came to the client as whole is somebody's whole answer. */
static void check_answers(const struct outcome *o)
{
	for (unsigned i = 0; i < o->got_count; i++) {
		const struct message *m = &o->got[i];
		bool found = false;

		ASSERT(m->nth == 0 || asked_of(o, m->conn, m->nth - 1));
		if (!asked_of(o, m->conn, m->nth))
			ASSERT(is_ours(m->status, content_of(o, m),
				m->whole)); /* of what was no request */
		for (unsigned j = 0; !found && j < o->answered_count; j++) {
			const struct message *a = &o->answered[j];

			found = a->status == m->status &&
				(m->whole ? a->whole && span_eq(content_of(o, a), content_of(o, m))
					  : begins(content_of(o, a), content_of(o, m)));
		}
		ASSERT(found || is_ours(m->status, content_of(o, m), m->whole));
	}
}

void outcome_check(struct outcome *o, enum rig_listener which)
{
	read_all(o, which);
	check_received(o);
	if (which == LISTENER_PLAIN)
		check_once_and_in_order(o);
	check_answers(o);
}

void outcome_read_servers(struct outcome *o, bool (*leave_out)(const struct fake_conn *c))
{
	forget(o);
	for (unsigned i = 0; i < fake_net.conn_count; i++)
		if (!fake_net.conns[i].from_client && !leave_out(&fake_net.conns[i]))
			read_server(o, &fake_net.conns[i]);
}

bool outcome_may_answer(const struct outcome *o, unsigned status, struct span content)
{
	for (unsigned i = 0; i < o->answered_count; i++) {
		const struct message *a = &o->answered[i];

		if (a->whole && a->status == status && span_eq(content_of(o, a), content))
			return true;
	}
	return (o->switched && status == 200) || is_ours(status, content, true);
}

/* Two ways to cut the same bytes: the same messages, but that one which is not whole may be shorter
 * or missing. */
static void check_same(const struct outcome *a, const struct message *as, unsigned a_count,
	const struct outcome *b, const struct message *bs, unsigned b_count)
{
	unsigned i = 0, j = 0;

	for (;;) {
		while (i < a_count && !as[i].whole)
			i++;
		while (j < b_count && !bs[j].whole)
			j++;
		if (i == a_count || j == b_count)
			break;
		ASSERT(as[i].status == bs[j].status && as[i].method == bs[j].method);
		ASSERT(as[i].conn == bs[j].conn);
		ASSERT(span_eq(content_of(a, &as[i++]), content_of(b, &bs[j++])));
	}
	ASSERT(i == a_count && j == b_count);
}

void outcome_check_same(const struct outcome *a, const struct outcome *b)
{
	if (a->talkative || b->talkative)
		return;
	check_same(a, a->received, a->received_count, b, b->received, b->received_count);
	check_same(a, a->got, a->got_count, b, b->got, b->got_count);
}

struct outcome *outcome_new(void)
{
	struct outcome *o = calloc(1, sizeof(*o));

	ASSERT(o);
	return o;
}

void outcome_free(struct outcome *o)
{
	free(o->contents.data);
	free(o->texts.data);
	free(o);
}
