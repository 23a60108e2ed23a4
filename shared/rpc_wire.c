/*
 * Lines of JSON-RPC 2.0 as both ends read and write them. No state and no event loop here.
 */
#include "shared/rpc_wire.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/assert.h"

int rpc_address(const char *path, struct sockaddr_un *ret_address, struct err *err)
{
	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (span_copy(span_of(path), ret_address->sun_path, sizeof(ret_address->sun_path)) < 0)
		return err_set(err, "the path %s is too long for a socket: at most %zu bytes", path,
			sizeof(ret_address->sun_path) - 1);
	return 0;
}

int rpc_connect(const struct sockaddr_un *address)
{
	int saved, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

void rpc_peer_name(const char *path, char *out, size_t size)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	const char *dot = strchr(base, '.');

	snprintf(out, size, "tandem-%.*s", dot ? (int)(dot - base) : (int)strlen(base), base);
}

bool rpc_line_next(const struct buf *in, size_t *scanned, struct span *ret_line)
{
	struct span s = buf_span(in);
	size_t end;

	ASSERT(*scanned <= s.len);
	end = span_find(s, '\n', *scanned);
	if (end == s.len) {
		*scanned = s.len;
		return false;
	}
	*ret_line = span_make(s.ptr, end);
	return true;
}

enum rpc_flush_rc rpc_flush(int fd, struct buf *out)
{
	while (out->len) {
		struct span s = buf_span(out);
		ssize_t n = send(fd, s.ptr, s.len, MSG_NOSIGNAL);

		if (n >= 0)
			buf_consume(out, (size_t)n);
		else if (errno == EAGAIN)
			return RPC_BLOCKED;
		else if (errno != EINTR)
			return RPC_BROKEN;
	}
	return RPC_FLUSHED;
}

static int put_text(const char *text, size_t len, void *out)
{
	return buf_append((struct buf *)out, span_make(text, len));
}

int rpc_put_json(struct buf *out, json_t *value, size_t flags)
{
	size_t before = out->len;
	int rc = value ? json_dump_callback(value, put_text, out, flags) : -1;

	if (rc == 0)
		rc = buf_append(out, span_of("\n"));
	if (rc < 0)
		buf_shorten(out, before);
	json_decref(value);
	return rc;
}

/* --- requests -------------------------------------------------------------------------------- */
static bool is_bare_word(struct span s)
{
	if (s.len == 0 || s.len >= sizeof(((struct rpc_request *)NULL)->word))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = ascii_lower(s.ptr[i]);

		if (!(c >= 'a' && c <= 'z') &&
			(i == 0 || !((c >= '0' && c <= '9') || strchr("._-", c))))
			return false;
	}
	return true;
}

static int bad(struct err *err, int code, const char *text)
{
	err_set(err, "%s", text);
	return code;
}

/* The members of the envelope; the id first, so that what is wrong elsewhere can be answered to it.
 */
static int request_read(struct rpc_request *r, struct err *err)
{
	json_t *id = json_object_get(r->body, "id");
	const char *version = json_string_value(json_object_get(r->body, "jsonrpc"));
	json_t *params = json_object_get(r->body, "params");

	if (id && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))
		return bad(err, RPC_INVALID_REQUEST, "'id' must be a string, a number or null");
	if (id) {
		json_decref(r->id);
		r->id = json_incref(id);
	}
	if (!version || strcmp(version, "2.0") != 0)
		return bad(err, RPC_INVALID_REQUEST, "'jsonrpc' must be \"2.0\"");
	r->method = json_string_value(json_object_get(r->body, "method"));
	if (!r->method)
		return bad(err, RPC_INVALID_REQUEST, "'method' must be a string");
	r->notification = !id;
	if (json_is_object(params))
		r->params = params;
	else if (params && !json_is_null(params))
		return bad(err, RPC_INVALID_PARAMS,
			"'params' must be an object: parameters have names");
	return 0;
}

int rpc_request_parse(struct rpc_request *r, struct span line, struct err *err)
{
	json_error_t error;

	*r = (struct rpc_request){.id = json_null()};
	if (is_bare_word(line)) {
		ASSERT(span_copy(line, r->word, sizeof(r->word)) == 0);
		r->method = r->word;
		r->bare = true;
		return 0;
	}
	r->body = json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (!r->body && json_error_code(&error) == json_error_invalid_utf8) {
		err_set(err, "byte %d of the line is not UTF-8", error.position + 1);
		return RPC_PARSE_ERROR;
	}
	if (!r->body) {
		err_set(err, "not JSON: %s", error.text);
		return RPC_PARSE_ERROR;
	}
	if (json_is_array(r->body))
		return bad(
			err, RPC_INVALID_REQUEST, "batches are not taken: send one request a line");
	if (!json_is_object(r->body))
		return bad(err, RPC_INVALID_REQUEST,
			"a request is an object, or a method's name without quotes");
	return request_read(r, err);
}

void rpc_request_fini(struct rpc_request *r)
{
	json_decref(r->id);
	json_decref(r->body);
}

/* --- answers --------------------------------------------------------------------------------- */
/* Words may quote bytes that are not UTF-8, or be cut within a character. */
static json_t *text_json(const char *text)
{
	json_t *value = json_string(text);
	char plain[sizeof(((struct err *)NULL)->text)];

	if (value)
		return value;
	snprintf(plain, sizeof(plain), "%s", text);
	for (char *c = plain; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	return json_string(plain);
}

int rpc_put_result(struct buf *out, const struct rpc_request *r, json_t *result)
{
	if (r->bare)
		return rpc_put_json(out, result, JSON_INDENT(4) | JSON_ENCODE_ANY);
	return rpc_put_json(out,
		json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id", r->id, "result", result),
		JSON_COMPACT);
}

int rpc_put_error(struct buf *out, const struct rpc_request *r, int code, const char *text)
{
	json_t *error = json_pack("{s:i, s:o}", "code", code, "message", text_json(text));

	if (r->bare)
		return rpc_put_json(out, json_pack("{s:o}", "error", error), JSON_INDENT(4));
	return rpc_put_json(out,
		json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id", r->id, "error", error),
		JSON_COMPACT);
}

int rpc_put_request(struct buf *out, const char *method, json_t *params, int id)
{
	return rpc_put_json(out,
		json_pack("{s:s, s:o*, s:s, s:o*}", "jsonrpc", "2.0", "id",
			id ? json_integer(id) : NULL, "method", method, "params", params),
		JSON_COMPACT);
}
