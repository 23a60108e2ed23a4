#include "proxy/discover/dns_answer.h"

#include "shared/assert.h"

enum { HEADER = 12, JUMPS_MAX = 32, LABEL_MAX = 63 };

struct reading {
	const uint8_t *bytes;
	size_t len, at;
	bool bad;
};

struct record_head {
	uint16_t type, class;
	uint32_t ttl_s;
	size_t data, end; /* offsets */
};

static uint16_t u16(const struct reading *r, size_t at)
{
	ASSERT(at + 2 <= r->len);
	return (uint16_t)(r->bytes[at] << 8 | r->bytes[at + 1]);
}

static uint32_t u32(const struct reading *r, size_t at)
{
	return (uint32_t)u16(r, at) << 16 | u16(r, at + 2);
}

static bool has(struct reading *r, size_t bytes)
{
	r->bad = r->bad || r->len - r->at < bytes;
	return !r->bad;
}

static void skip_name(struct reading *r)
{
	while (has(r, 1)) {
		uint8_t n = r->bytes[r->at];

		if (n >= 0xc0) { /* a pointer ends it */
			if (has(r, 2))
				r->at += 2;
			return;
		}
		if (n > LABEL_MAX || !has(r, 1u + n)) {
			r->bad = true;
			return;
		}
		r->at += 1u + n;
		if (n == 0)
			return;
	}
}

/* The name at `at`, which may point to elsewhere, always backwards. -1: malformed, or with bytes
 * that are in no host's name. */
static int read_name(const struct reading *r, size_t at, char out[DNS_NAME_MAX])
{
	size_t used = 0;

	for (unsigned jumps = 0; jumps < JUMPS_MAX;) {
		uint8_t n;

		if (at >= r->len)
			return -1;
		n = r->bytes[at];
		if (n == 0) {
			out[used ? used - 1 : 0] = '\0';
			return 0;
		}
		if (n >= 0xc0) {
			size_t to;

			if (at + 2 > r->len)
				return -1;
			to = u16(r, at) & 0x3fff;
			if (to >= at)
				return -1;
			at = to;
			jumps++;
			continue;
		}
		if (n > LABEL_MAX || at + 1 + n > r->len || used + n + 1 >= DNS_NAME_MAX)
			return -1;
		for (uint8_t i = 0; i < n; i++) {
			char c = ascii_lower((char)r->bytes[at + 1 + i]);

			if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' &&
				c != '_')
				return -1;
			out[used++] = c;
		}
		out[used++] = '.';
		at += 1u + n;
	}
	return -1;
}

static bool next_record(struct reading *r, struct record_head *ret)
{
	size_t data_len;

	skip_name(r);
	if (!has(r, 10))
		return false;
	ret->type = u16(r, r->at);
	ret->class = u16(r, r->at + 2);
	ret->ttl_s = u32(r, r->at + 4);
	if (ret->ttl_s > INT32_MAX) /* RFC 2181 8: as good as none */
		ret->ttl_s = 0;
	data_len = u16(r, r->at + 8);
	r->at += 10;
	if (!has(r, data_len))
		return false;
	ret->data = r->at;
	ret->end = r->at += data_len;
	return true;
}

/* False: it is not one that can be used. */
static bool take(const struct reading *r, const struct record_head *h, struct dns_record *out)
{
	size_t len = h->end - h->data;

	memset(out, 0, sizeof(*out));
	switch (h->type) {
	case DNS_A:
		out->addr.in.sin_family = AF_INET;
		if (len != sizeof(out->addr.in.sin_addr))
			return false;
		memcpy(&out->addr.in.sin_addr, r->bytes + h->data, len);
		return !addr_is_any(&out->addr);
	case DNS_AAAA:
		out->addr.in6.sin6_family = AF_INET6;
		if (len != sizeof(out->addr.in6.sin6_addr))
			return false;
		memcpy(&out->addr.in6.sin6_addr, r->bytes + h->data, len);
		return !addr_is_any(&out->addr);
	case DNS_SRV:
		if (len < 7)
			return false;
		out->priority = u16(r, h->data);
		out->weight = u16(r, h->data + 2);
		out->port = u16(r, h->data + 4);
		/* "." is how a domain says that it has no such service (RFC 2782). */
		return read_name(r, h->data + 6, out->target) == 0 && out->target[0] && out->port;
	default:
		return false;
	}
}

static void shorten(struct dns_answer *a, uint32_t ttl_s, bool *known)
{
	if (!*known || ttl_s < a->ttl_s)
		a->ttl_s = ttl_s;
	*known = true;
}

/* How long an empty answer holds: the lesser of the SOA's own time and its last field (RFC 2308).
 */
static void read_negative_ttl(struct reading *r, unsigned count, struct dns_answer *a)
{
	struct record_head h;

	while (count-- > 0 && next_record(r, &h)) {
		uint32_t minimum;

		if (h.type != DNS_SOA || h.end - h.data < 20)
			continue;
		minimum = u32(r, h.end - 4);
		a->ttl_s = h.ttl_s < minimum ? h.ttl_s : minimum;
		return;
	}
}

static enum dns_verdict failed(struct dns_answer *a, const char *why)
{
	*a = (struct dns_answer){.why = why};
	return DNS_FAILED;
}

static const char *code_text(unsigned code)
{
	static const char *const texts[] = {
		[1] = "FORMERR", [2] = "SERVFAIL", [4] = "NOTIMP", [5] = "REFUSED"};

	return code < countof(texts) && texts[code] ? texts[code] : "an unknown response code";
}

enum dns_verdict dns_answer_read(struct span message, enum dns_type type,
	struct dns_record *records, unsigned room, struct dns_answer *ret_answer)
{
	struct reading r = {.bytes = (const uint8_t *)message.ptr, .len = message.len};
	struct dns_answer a = {0};
	unsigned questions, answers, code;
	struct record_head h;
	bool known = false;

	if (!has(&r, HEADER))
		return failed(ret_answer, "the message is cut short");
	code = r.bytes[3] & 0xf;
	if (code != 0 && code != 3)
		return failed(ret_answer, code_text(code));
	questions = u16(&r, 4);
	answers = u16(&r, 6);
	r.at = HEADER;
	while (questions-- > 0 && !r.bad) {
		skip_name(&r);
		if (has(&r, 4))
			r.at += 4;
	}
	for (unsigned i = 0; i < answers && !r.bad; i++) {
		struct dns_record record;

		if (!next_record(&r, &h) || h.class != 1)
			continue;
		if (h.type == DNS_CNAME)
			shorten(&a, h.ttl_s, &known);
		if (h.type != type || !take(&r, &h, &record))
			continue;
		shorten(&a, h.ttl_s, &known);
		if (a.count < room)
			records[a.count++] = record;
		else
			a.dropped++;
	}
	if (r.bad)
		return failed(ret_answer, "the message is malformed");
	if (a.count == 0)
		read_negative_ttl(&r, u16(&r, 8), &a);
	*ret_answer = a;
	return code == 3 ? DNS_NXDOMAIN : DNS_GOOD;
}
