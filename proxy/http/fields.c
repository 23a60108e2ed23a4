/*
 * Names: which field is this, which reason goes with this status.
 */
#include "proxy/http/http1.h"

#include "proxy/http/h1_internal.h"
#include "shared/assert.h"

const char http1_names[HTTP_F_COUNT][NAME_BYTES] __attribute__((aligned(16))) = {
#define X(name, text) [HTTP_F_##name] = text,
	HTTP_FIELDS(X)
#undef X
};

/* The tests hold this against HTTP_FIELDS. */
#define AT(letter) [(letter)&31]
const uint8_t http1_candidates[NAME_LENGTHS][32] = {
	[2] = {AT('t') = HTTP_F_TE},
	[3] = {AT('v') = HTTP_F_VIA},
	[4] = {AT('h') = HTTP_F_HOST, AT('d') = HTTP_F_DATE},
	[6] = {AT('c') = HTTP_F_COOKIE, AT('e') = HTTP_F_EXPECT},
	[7] = {AT('r') = HTTP_F_REFERER, AT('u') = HTTP_F_UPGRADE, AT('t') = HTTP_F_TRAILER},
	[9] = {AT('f') = HTTP_F_FORWARDED},
	[10] = {AT('c') = HTTP_F_CONNECTION, AT('u') = HTTP_F_USER_AGENT,
		AT('s') = HTTP_F_SET_COOKIE, AT('k') = HTTP_F_KEEP_ALIVE},
	[11] = {AT('r') = HTTP_F_RETRY_AFTER},
	[12] = {AT('c') = HTTP_F_CONTENT_TYPE, AT('x') = HTTP_F_X_REQUEST_ID},
	[13] = {AT('a') = HTTP_F_AUTHORIZATION, AT('x') = HTTP_F_X_FORWARDED},
	[14] = {AT('c') = HTTP_F_CONTENT_LENGTH, AT('x') = HTTP_F_X_CLIENT_CERT},
	[15] = {AT('x') = HTTP_F_X_FORWARDED_FOR},
	[16] = {AT('p') = HTTP_F_PROXY_CONNECTION, AT('x') = HTTP_F_X_FORWARDED_HOST},
	[17] = {AT('t') = HTTP_F_TRANSFER_ENCODING, AT('x') = HTTP_F_X_FORWARDED_PROTO},
	[18] = {AT('p') = HTTP_F_PROXY_AUTHENTICATE, AT('x') = HTTP_F_X_FORWARDED},
	[19] = {AT('p') = HTTP_F_PROXY_AUTHORIZATION, AT('x') = HTTP_F_X_FORWARDED},
};

enum http_field_id http1_second_field_id(struct span name)
{
	if (SPAN_IS(name, "x-forwarded-port")) /* beside x-forwarded-host */
		return HTTP_F_X_FORWARDED_PORT;
	if (name.len >= 12 && name_is(name.ptr, "x-forwarded-", 12))
		return HTTP_F_X_FORWARDED;
	return HTTP_F_OTHER;
}

enum http_field_id http1_long_field_id(struct span name)
{
	if (name_is(name.ptr, "x-client-cert-", 14))
		return HTTP_F_X_CLIENT_CERT;
	if (name_is(name.ptr, "x-forwarded-", 12))
		return HTTP_F_X_FORWARDED;
	return SPAN_IS(name, "strict-transport-security") ? HTTP_F_STRICT_TRANSPORT_SECURITY
							  : HTTP_F_OTHER;
}

enum http_field_id http_field_id(struct span name)
{
	return http1_field_id(name);
}

const char *http_field_reserved(struct span name)
{
	enum http_field_id id = http_field_id(name);

	if (http1_is_lookalike(name))
		return "servers take it for a field of Tandem's own";
	if (field_in(id, FIELD_BIT(CONTENT_LENGTH) | FIELD_BIT(TRANSFER_ENCODING) |
				 FIELD_BIT(TRAILER) | FIELD_BIT(EXPECT)))
		return "it says where the content ends";
	if (field_in(id, FIELDS_HOP_BY_HOP))
		return "it is for one connection, not for a message";
	if (id != HTTP_F_FORWARDED && field_in(id, FIELDS_OURS))
		return "Tandem sets it";
	return NULL;
}

const struct http_field *http_field_find(const struct http_head *h, enum http_field_id id)
{
	ASSERT(id > HTTP_F_OTHER && id < HTTP_F_COUNT);
	return h->first[id] ? &h->fields[h->first[id] - 1] : NULL;
}

const char *http_reason(uint16_t status)
{
	static const struct {
		uint16_t status;
		const char *reason;
	} reasons[] = {
		{100, "Continue"},
		{101, "Switching Protocols"},
		{103, "Early Hints"},
		{200, "OK"},
		{201, "Created"},
		{202, "Accepted"},
		{203, "Non-Authoritative Information"},
		{204, "No Content"},
		{205, "Reset Content"},
		{206, "Partial Content"},
		{300, "Multiple Choices"},
		{301, "Moved Permanently"},
		{302, "Found"},
		{303, "See Other"},
		{304, "Not Modified"},
		{307, "Temporary Redirect"},
		{308, "Permanent Redirect"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{402, "Payment Required"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{406, "Not Acceptable"},
		{407, "Proxy Authentication Required"},
		{408, "Request Timeout"},
		{409, "Conflict"},
		{410, "Gone"},
		{411, "Length Required"},
		{412, "Precondition Failed"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{415, "Unsupported Media Type"},
		{416, "Range Not Satisfiable"},
		{417, "Expectation Failed"},
		{421, "Misdirected Request"},
		{422, "Unprocessable Content"},
		{425, "Too Early"},
		{426, "Upgrade Required"},
		{428, "Precondition Required"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{451, "Unavailable For Legal Reasons"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{505, "HTTP Version Not Supported"},
		{507, "Insufficient Storage"},
		{508, "Loop Detected"},
		{511, "Network Authentication Required"},
	};

	for (size_t i = 0; i < countof(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "";
}
