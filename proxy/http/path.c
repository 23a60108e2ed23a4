/*
 * The path of a request, so that we and the server read the same one: dot segments resolved (RFC
 * 3986 5.2.4), escapes of unreserved bytes undone (6.2.2.2), and what has two readings refused.
 * Normalising what is normal changes nothing. Nothing is merged, added or re-encoded beyond that:
 * // stays.
 */
#include "proxy/http/h1_internal.h"

/* What a place where a scan stopped turns out to be. */
enum place { PLACE_NORMAL, PLACE_REWRITE, PLACE_BAD };

/* Value of the escape at p, or -1; end bounds it. */
static int unescape(const char *p, const char *end)
{
	unsigned high, low;

	if (end - p < 3)
		return -1;
	high = http_hex[(unsigned char)p[1]];
	low = http_hex[(unsigned char)p[2]];
	return high > 15 || low > 15 ? -1 : (int)(high << 4 | low);
}

/* What the segment that begins at p is: 1 for ".", 2 for "..", else 0. Escapes count; a query ends
 * it. */
static int dots(const char *p, const char *end)
{
	int n = 0;

	while (p < end && *p != '/' && *p != '?') {
		if (*p == '.')
			p++;
		else if (*p == '%' && unescape(p, end) == '.')
			p += 3;
		else
			return 0;
		if (++n > 2)
			return 0;
	}
	return n;
}

static __attribute__((noinline)) enum place look(
	const char *path, size_t at, size_t end, const char **ret_why)
{
	int byte;

	if (path[at] == '\\') {
		*ret_why = "backslash in the path";
		return PLACE_BAD;
	}
	if (path[at] == '.')
		return path[at - 1] == '/' && dots(path + at, path + end) ? PLACE_REWRITE
									  : PLACE_NORMAL;
	ASSERT(path[at] == '%');
	byte = unescape(path + at, path + end);
	if (byte < 0)
		*ret_why = "broken escape in the path";
	else if (byte == '\0' || byte == '/' || byte == '\\')
		*ret_why = "%00, %2f or %5c in the path";
	else
		return char_is((char)byte, CHAR_HOST) ? PLACE_REWRITE : PLACE_NORMAL;
	return PLACE_BAD;
}

/* Copies the segment at *p (up to a slash or the end) to out, unreserved escapes undone. */
static char *copy_segment(char *out, const char **p, const char *end)
{
	const char *from = *p;

	while (from < end && *from != '/') {
		int byte = *from == '%' ? unescape(from, end) : -1;

		if (byte >= 0 && char_is((char)byte, CHAR_HOST)) {
			*out++ = (char)byte;
			from += 3;
		} else {
			*out++ = *from++;
		}
	}
	*p = from;
	return out;
}

/* Writes the normal form of a path that begins with a slash and that look() found nothing bad in.
 */
static __attribute__((noinline)) size_t normalise(struct span path, char *out)
{
	const char *p = path.ptr, *end = path.ptr + path.len;
	char *to = out;

	while (p < end) { /* at a slash; to is after a whole segment */
		int up = dots(++p, end);

		*to++ = '/';
		if (up == 0) {
			to = copy_segment(to, &p, end);
			continue;
		}
		while (p < end && *p != '/')
			p++;
		to--;
		if (up == 2 && to > out)
			while (*--to != '/')
				;
		if (p == end)
			*to++ = '/';
	}
	return (size_t)(to - out);
}

enum parse_rc http_path(struct span target, enum http_path_mode mode, char *out, size_t size,
	struct span *ret_path, struct span *ret_query, struct http_fault *ret_fault)
{
	const char *why = "path that is not in normal form";
	bool rewrite = false;
	size_t at, path_len;

	if (span_eq(target, SPAN("*"))) {
		*ret_path = target;
		*ret_query = span_make(NULL, 0);
		return PARSE_DONE;
	}
	if (!target.len || target.ptr[0] != '/')
		return http_bad(ret_fault, 400, 0, "target that is not a path");
	if (mode == HTTP_PATH_RAW) {
		at = span_find(target, '?', 0);
	} else {
		for (at = 0; at = scan_path(target.ptr, at, target.len), at < target.len; at++) {
			enum place place;

			if (target.ptr[at] == '?')
				break;
			place = look(target.ptr, at, target.len, &why);
			if (place == PLACE_BAD ||
				(place == PLACE_REWRITE && mode == HTTP_PATH_REJECT))
				return http_bad(ret_fault, 400, at, why);
			rewrite |= place == PLACE_REWRITE;
		}
	}
	*ret_path = span_make(target.ptr, at);
	*ret_query = at < target.len ? span_from(target, at + 1) : span_make(NULL, 0);
	if (!rewrite)
		return PARSE_DONE;
	ASSERT(size >= target.len);
	path_len = normalise(*ret_path, out);
	*ret_path = span_make(out, path_len);
	if (ret_query->ptr) {
		out[path_len] = '?';
		memcpy(out + path_len + 1, ret_query->ptr, ret_query->len);
		ret_query->ptr = out + path_len + 1;
	}
	return PARSE_DONE;
}
