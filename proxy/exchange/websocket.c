/*
 * WebSocket between HTTP/1 (RFC 6455 4) and HTTP/2 (RFC 8441): the same request and tunnel, but a
 * handshake with a key on one side, and none on the other. Towards a server of HTTP/1 the key is
 * ours, and its answer to it is checked; a client of HTTP/1 is answered for a server of HTTP/2.
 */
#include "proxy/exchange/exchange.h"

#include "proxy/worker.h"
#include "shared/digest.h"

#define KEY_FIELD SPAN("sec-websocket-key")
#define ACCEPT_FIELD SPAN("sec-websocket-accept")

enum { ACCEPT_CHARS = 28 };

static void to_base64(const uint8_t *in, size_t len, char *out)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		uint32_t three = (uint32_t)in[i] << 16 | (i + 1 < len ? in[i + 1] << 8 : 0) |
				 (i + 2 < len ? in[i + 2] : 0);

		*out++ = digits[three >> 18 & 63];
		*out++ = digits[three >> 12 & 63];
		*out++ = i + 1 < len ? digits[three >> 6 & 63] : '=';
		*out++ = i + 2 < len ? digits[three & 63] : '=';
	}
}

/* What is answered to a key (RFC 6455 4.2.2). */
static void accept_of(struct span key, char out[ACCEPT_CHARS])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char both[24 + sizeof(guid)];
	uint8_t digest[20];

	ASSERT(key.len <= 24);
	memcpy(both, key.ptr, key.len);
	memcpy(both + key.len, guid, sizeof(guid) - 1);
	digest_sha1(span_make(both, key.len + sizeof(guid) - 1), digest);
	to_base64(digest, sizeof(digest), out);
}

static const struct http_field *find(const struct http_head *h, struct span name)
{
	for (unsigned i = 0; i < h->field_count; i++)
		if (span_ieq(h->fields[i].name, name))
			return &h->fields[i];
	return NULL;
}

/* None of that name, or as it came. */
static void keep_back(struct http_head *h, struct span name, bool back)
{
	for (unsigned i = 0; i < h->field_count; i++)
		if (span_ieq(h->fields[i].name, name))
			h->fields[i].nominated = back;
}

static struct span line(char *room, const char *name, const char *value, unsigned chars)
{
	int n = snprintf(room, WEBSOCKET_LINE_MAX, "%s: %.*s\r\n", name, (int)chars, value);

	ASSERT(n > 0 && n < WEBSOCKET_LINE_MAX);
	return span_make(room, (size_t)n);
}

struct span exchange_websocket_ask(struct exchange *x, char *room)
{
	bool of_stream = x->request.extended, to_stream = conn_is_stream(&x->upstream->conn);
	uint64_t bytes[2];

	keep_back(&x->request, KEY_FIELD, of_stream || to_stream);
	if (!of_stream || to_stream)
		return (struct span){0};
	bytes[0] = rng_u64(&x->worker->rng);
	bytes[1] = rng_u64(&x->worker->rng);
	to_base64((const uint8_t *)bytes, sizeof(bytes), x->websocket_key);
	return line(room, "Sec-WebSocket-Key", x->websocket_key, sizeof(x->websocket_key));
}

bool exchange_websocket_agreed(const struct exchange *x)
{
	const struct http_field *f;
	char accept[ACCEPT_CHARS];

	if (!x->request.extended || conn_is_stream(&x->upstream->conn))
		return true;
	accept_of(span_make(x->websocket_key, sizeof(x->websocket_key)), accept);
	f = find(&x->response, ACCEPT_FIELD);
	return f && span_eq(f->value, span_make(accept, sizeof(accept)));
}

struct span exchange_websocket_agree(struct exchange *x, char *room)
{
	struct http_head *h = &x->response;
	const struct http_field *key;
	char accept[ACCEPT_CHARS];

	if (conn_is_stream(&x->client->conn)) {
		keep_back(h, ACCEPT_FIELD, true);
		h->status = 200;
		return (struct span){0};
	}
	if (!conn_is_stream(&x->upstream->conn))
		return (struct span){0};
	h->status = 101;
	h->reason = span_of(http_reason(101));
	h->upgrade = x->request.upgrade;
	keep_back(h, ACCEPT_FIELD, true);
	key = find(&x->request, KEY_FIELD);
	if (!key || key->value.len != sizeof(x->websocket_key)) /* then it does not want to know */
		return (struct span){0};
	accept_of(key->value, accept);
	return line(room, "Sec-WebSocket-Accept", accept, sizeof(accept));
}
