#include "proxy/net/client_hello.h"

#include "shared/assert.h"

enum {
	RECORD_HEAD = 5,
	RECORD_MAX = 16384,
	HANDSHAKE = 22,
	MESSAGE_HEAD = 4,
	CLIENT_HELLO = 1,
	RANDOM_BYTES = 32,
	SESSION_ID_MAX = 32,
	SERVER_NAME = 0, /* the extension; and the kind of name */
	NAME_MAX_BYTES = 255
};

static uint8_t byte_at(struct span s, size_t at)
{
	return (uint8_t)s.ptr[at];
}

/* --- the message's fields ---------------------------------------------------------------------
 */

/* The next n bytes. False: there are not as many. */
static bool take(struct span *s, size_t n, struct span *ret_taken)
{
	if (s->len < n)
		return false;
	*ret_taken = span_make(s->ptr, n);
	*s = span_from(*s, n);
	return true;
}

static bool take_number(struct span *s, unsigned bytes, size_t *ret_number)
{
	struct span number;

	if (!take(s, bytes, &number))
		return false;
	*ret_number = 0;
	for (unsigned i = 0; i < bytes; i++)
		*ret_number = *ret_number << 8 | byte_at(number, i);
	return true;
}

/* What its own length stands before. */
static bool take_vector(struct span *s, unsigned length_bytes, struct span *ret_taken)
{
	size_t len;

	return take_number(s, length_bytes, &len) && take(s, len, ret_taken);
}

static bool is_host_name(struct span s)
{
	if (s.len == 0 || s.len > NAME_MAX_BYTES)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = ascii_lower(s.ptr[i]);

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
			    c == '_'))
			return false;
	}
	return true;
}

static const char *read_server_name(struct span extension, struct client_hello *h)
{
	struct span list, name;
	size_t kind;

	if (!take_vector(&extension, 2, &list) || extension.len || !list.len)
		return "a malformed list of server names";
	while (list.len) {
		if (!take_number(&list, 1, &kind) || !take_vector(&list, 2, &name))
			return "a malformed list of server names";
		if (kind != SERVER_NAME)
			continue;
		if (h->server_name.len)
			return "two server names";
		if (!is_host_name(name))
			return "a server name that is no host name";
		h->server_name = name;
	}
	return NULL;
}

static const char *read_extensions(struct span all, struct client_hello *h)
{
	bool seen = false;

	while (all.len) {
		const char *why = NULL;
		struct span extension;
		size_t type;

		if (!take_number(&all, 2, &type) || !take_vector(&all, 2, &extension))
			return "a malformed extension";
		if (type != SERVER_NAME)
			continue;
		why = seen ? "two lists of server names" : read_server_name(extension, h);
		if (why)
			return why;
		seen = true;
	}
	return NULL;
}

static const char *read_message(struct span body, struct client_hello *h)
{
	struct span fixed, session, ciphers, compressions, extensions;

	*h = (struct client_hello){0};
	if (!take(&body, 2 + RANDOM_BYTES, &fixed) || !take_vector(&body, 1, &session) ||
		!take_vector(&body, 2, &ciphers) || !take_vector(&body, 1, &compressions))
		return "a malformed ClientHello";
	if (byte_at(fixed, 0) != 3 || session.len > SESSION_ID_MAX || !ciphers.len ||
		ciphers.len % 2 || !compressions.len)
		return "a malformed ClientHello";
	if (!body.len) /* older clients have no extensions */
		return NULL;
	if (!take_vector(&body, 2, &extensions) || body.len)
		return "a malformed ClientHello";
	return read_extensions(extensions, h);
}

/* --- records ----------------------------------------------------------------------------------
 */

/* The message's bytes out of the records so far. */
struct message {
	char *bytes;
	size_t have;
	size_t wanted; /* MESSAGE_HEAD until that is there, then all of it */
};

static const char *append(struct message *m, struct span some)
{
	struct span head;
	size_t body = 0;

	for (size_t i = 0; i < some.len && m->have < m->wanted; i++) {
		m->bytes[m->have++] = some.ptr[i];
		if (m->have != MESSAGE_HEAD)
			continue;
		if (m->bytes[0] != CLIENT_HELLO)
			return "a handshake that does not begin with a ClientHello";
		head = span_make(m->bytes + 1, MESSAGE_HEAD - 1);
		take_number(&head, MESSAGE_HEAD - 1, &body);
		m->wanted += body;
		if (m->wanted > CLIENT_HELLO_MAX)
			return "a ClientHello of more than 16 KiB";
	}
	return NULL;
}

/* Of a record's head, as much as is there. */
static const char *check_record(struct span rest, size_t *ret_len)
{
	if (byte_at(rest, 0) != HANDSHAKE)
		return "no TLS handshake";
	if (rest.len > 1 && byte_at(rest, 1) != 3)
		return "an unknown version of TLS";
	*ret_len = 1;
	if (rest.len >= RECORD_HEAD)
		*ret_len = (size_t)byte_at(rest, 3) << 8 | byte_at(rest, 4);
	return *ret_len == 0 || *ret_len > RECORD_MAX ? "a record of an impossible length" : NULL;
}

bool client_hello_is_tls(struct span in)
{
	return byte_at(in, 0) == HANDSHAKE;
}

enum parse_rc client_hello_parse(struct span in, char room[CLIENT_HELLO_MAX],
	struct client_hello *ret_hello, size_t *ret_bytes, const char **ret_why)
{
	struct message m = {.bytes = room, .wanted = MESSAGE_HEAD};
	size_t at = 0, len = 1;

	if (in.len > CLIENT_HELLO_WIRE_MAX)
		in.len = CLIENT_HELLO_WIRE_MAX;
	while (at < in.len) {
		struct span rest = span_from(in, at), some;

		*ret_why = check_record(rest, &len);
		if (*ret_why)
			return PARSE_BAD;
		if (rest.len < RECORD_HEAD)
			break;
		some = span_from(rest, RECORD_HEAD);
		some.len = some.len < len ? some.len : len;
		*ret_why = append(&m, some);
		if (*ret_why)
			return PARSE_BAD;
		if (m.have == m.wanted) {
			*ret_why = read_message(
				span_make(room + MESSAGE_HEAD, m.have - MESSAGE_HEAD), ret_hello);
			return *ret_why ? PARSE_BAD : PARSE_DONE;
		}
		if (some.len < len) { /* in the middle of this record */
			len -= some.len;
			*ret_bytes = in.len + (len < m.wanted - m.have ? len : m.wanted - m.have);
			break;
		}
		at += RECORD_HEAD + len;
		len = 1;
	}
	if (in.len - at < RECORD_HEAD)
		*ret_bytes = at + RECORD_HEAD + 1;
	*ret_why = "a ClientHello in too many records";
	ASSERT(m.have<m.wanted && * ret_bytes> in.len);
	return *ret_bytes > CLIENT_HELLO_WIRE_MAX ? PARSE_BAD : PARSE_MORE;
}
