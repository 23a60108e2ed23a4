/*
 * A grpc check: the unary call grpc.health.v1.Health/Check over HTTP/2 with prior knowledge. It
 * passes when the answer says SERVING and grpc-status 0. The messages have one field each and are
 * read and written by hand.
 */
#include <nghttp2/nghttp2.h>
#include <stdlib.h>

#include "proxy/pool/probe.h"
#include "shared/assert.h"

enum { PREFIX_BYTES = 5, REQUEST_MAX = 512, ANSWER_MAX = 64, STATUS_MAX = 4 };

struct grpc_call {
	struct probe *probe;
	nghttp2_session *session;
	uint8_t request[REQUEST_MAX];
	size_t request_len, request_at;
	uint8_t answer[ANSWER_MAX];
	size_t answer_len;
	char http_status[STATUS_MAX], grpc_status[STATUS_MAX]; /* as text; empty: not heard */
	bool closed;					       /* the stream has ended */
};

/* HealthCheckResponse.ServingStatus */
static const char *const serving_words[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
enum { SERVING = 1 };

/* --- messages ----------------------------------------------------------------------------------
 */

static bool take_varint(struct span *in, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < in->len && i < 10; i++) {
		uint8_t byte = (uint8_t)in->ptr[i];

		value |= (uint64_t)(byte & 0x7f) << 7 * i;
		if (byte & 0x80)
			continue;
		*in = span_from(*in, i + 1);
		*ret = value;
		return true;
	}
	return false;
}

/* The prefix (not compressed, length), then field 1, a string. */
static void write_request(struct grpc_call *c, struct span service)
{
	uint8_t *at = c->request + PREFIX_BYTES;

	ASSERT(service.len <= REQUEST_MAX - PREFIX_BYTES - 3); /* the table's bound */
	if (service.len) {
		*at++ = 1 << 3 | 2;
		if (service.len > 0x7f) {
			*at++ = (uint8_t)(service.len | 0x80);
			*at++ = (uint8_t)(service.len >> 7);
		} else {
			*at++ = (uint8_t)service.len;
		}
		memcpy(at, service.ptr, service.len);
		at += service.len;
	}
	c->request_len = (size_t)(at - c->request);
	memset(c->request, 0, PREFIX_BYTES);
	c->request[3] = (uint8_t)((c->request_len - PREFIX_BYTES) >> 8);
	c->request[4] = (uint8_t)(c->request_len - PREFIX_BYTES);
}

/* Field 1, an enum, which is 0 where it is left out. False: that is no such message. */
static bool read_answer(const struct grpc_call *c, uint64_t *ret_serving)
{
	struct span in = span_make(c->answer, c->answer_len);
	uint64_t tag, value;

	if (in.len < PREFIX_BYTES || in.ptr[0] != 0 || in.ptr[1] || in.ptr[2] || in.ptr[3] ||
		(uint8_t)in.ptr[4] != in.len - PREFIX_BYTES)
		return false;
	in = span_from(in, PREFIX_BYTES);
	*ret_serving = 0;
	while (in.len) {
		if (!take_varint(&in, &tag) || !take_varint(&in, &value))
			return false;
		if ((tag & 7) == 2 && value <= in.len) /* one that we do not know */
			in = span_from(in, value);
		else if ((tag & 7) != 0)
			return false;
		else if (tag >> 3 == 1)
			*ret_serving = value;
	}
	return true;
}

/* --- the session -------------------------------------------------------------------------------
 */

static ssize_t on_body_wanted(nghttp2_session *session, int32_t stream_id, uint8_t *out,
	size_t size, uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
	struct grpc_call *c = source->ptr;
	size_t n = c->request_len - c->request_at;

	(void)session, (void)stream_id, (void)ctx;
	n = n < size ? n : size;
	memcpy(out, c->request + c->request_at, n);
	c->request_at += n;
	if (c->request_at == c->request_len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static void keep_status(char out[STATUS_MAX], const uint8_t *value, size_t len)
{
	if (len < STATUS_MAX)
		snprintf(out, STATUS_MAX, "%.*s", (int)len, (const char *)value);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *ctx)
{
	struct grpc_call *c = ctx;
	struct span n = span_make(name, name_len);

	(void)session, (void)frame, (void)flags;
	if (span_eq(n, SPAN(":status")))
		keep_status(c->http_status, value, value_len);
	else if (span_eq(n, SPAN("grpc-status")))
		keep_status(c->grpc_status, value, value_len);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
	size_t len, void *ctx)
{
	struct grpc_call *c = ctx;

	(void)session, (void)flags, (void)stream_id;
	if (len > ANSWER_MAX - c->answer_len)
		return NGHTTP2_ERR_CALLBACK_FAILURE; /* longer than any answer to this */
	memcpy(c->answer + c->answer_len, data, len);
	c->answer_len += len;
	return 0;
}

static int on_closed(nghttp2_session *session, int32_t stream_id, uint32_t error, void *ctx)
{
	struct grpc_call *c = ctx;

	(void)session, (void)stream_id, (void)error;
	c->closed = true;
	return 0;
}

/* What the session has to say. -1: memory is out, or it goes on without end. */
static int gather(struct probe *p)
{
	const uint8_t *data;
	ssize_t n;

	while ((n = nghttp2_session_mem_send(p->call->session, &data)) > 0)
		if (buf_append(&p->out, span_make(data, (size_t)n)) < 0)
			return -1;
	return n < 0 ? -1 : 0;
}

static int session_new(struct grpc_call *c)
{
	nghttp2_session_callbacks *callbacks;
	int rc;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return -1;
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_closed);
	rc = nghttp2_session_client_new(&c->session, callbacks, c);
	nghttp2_session_callbacks_del(callbacks);
	return rc == 0 ? 0 : -1;
}

static nghttp2_nv field(struct span name, struct span value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name.ptr, (uint8_t *)(uintptr_t)value.ptr,
		name.len, value.len, NGHTTP2_NV_FLAG_NONE};
}

static int submit(struct grpc_call *c)
{
	static const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
	const struct check_conf *conf = c->probe->conf;
	nghttp2_data_provider body = {.source.ptr = c, .read_callback = on_body_wanted};
	char address[ADDR_TEXT_MAX];
	struct span host = conf->host.len
				   ? conf->host
				   : span_make(address, addr_format(&c->probe->address, address));
	const nghttp2_nv head[] = {
		field(SPAN(":method"), SPAN("POST")),
		field(SPAN(":scheme"), conf->tls ? SPAN("https") : SPAN("http")),
		field(SPAN(":path"), SPAN("/grpc.health.v1.Health/Check")),
		field(SPAN(":authority"), host),
		field(SPAN("content-type"), SPAN("application/grpc")),
		field(SPAN("te"), SPAN("trailers")),
		field(SPAN("user-agent"), SPAN("tandem-check")),
	};

	if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, countof(settings)) !=
		0)
		return -1;
	return nghttp2_submit_request(c->session, NULL, head, countof(head), &body, NULL) < 0 ? -1
											      : 0;
}

/* --- the speech --------------------------------------------------------------------------------
 */

static int begin(struct probe *p)
{
	struct grpc_call *c = calloc(1, sizeof(*c));

	p->call = c;
	if (c) {
		c->probe = p;
		write_request(c, p->conf->service);
	}
	if (c && session_new(c) == 0 && submit(c) == 0 && gather(p) == 0)
		return 0;
	probe_done(p, PROBE_POSTPONED, "out of memory");
	return -1;
}

static void judge(struct probe *p)
{
	const struct grpc_call *c = p->call;
	char text[100];
	uint64_t serving;

	if (!c->http_status[0])
		snprintf(text, sizeof(text), "the server does not take the call");
	else if (strcmp(c->http_status, "200") != 0)
		snprintf(text, sizeof(text), "status %s, expected 200", c->http_status);
	else if (strcmp(c->grpc_status, "0") != 0)
		snprintf(text, sizeof(text), "grpc-status %s, expected 0",
			c->grpc_status[0] ? c->grpc_status : "missing");
	else if (!read_answer(c, &serving) || serving >= countof(serving_words))
		snprintf(text, sizeof(text), "the answer is not a HealthCheckResponse");
	else if (serving != SERVING)
		snprintf(text, sizeof(text), "grpc status %s", serving_words[serving]);
	else {
		probe_done(p, PROBE_PASSED, NULL);
		return;
	}
	probe_done(p, PROBE_FAILED, text);
}

static void heard(struct probe *p)
{
	struct grpc_call *c = p->call;
	ssize_t n = nghttp2_session_mem_recv(
		c->session, (const uint8_t *)p->in.data + p->in.off, p->in.len);

	if (n > 0)
		buf_consume(&p->in, (size_t)n);
	if (c->closed)
		judge(p);
	else if (n >= 0 && gather(p) < 0)
		probe_done(p, PROBE_POSTPONED, "out of memory");
	else if (n < 0 || !nghttp2_session_want_read(c->session)) /* it has said goodbye */
		probe_done(p, PROBE_FAILED, "not a gRPC answer over HTTP/2");
}

static void ended(struct probe *p)
{
	probe_done(p, PROBE_FAILED, "closed without an answer");
}

static void forget(struct probe *p)
{
	if (p->call)
		nghttp2_session_del(p->call->session);
	free(p->call);
	p->call = NULL;
}

const struct speech speech_grpc = {begin, heard, ended, forget};
