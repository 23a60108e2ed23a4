/*
 * One scalar by its row of the table: text in, value out, or words about what is wrong with it and
 * what would be right.
 */
#include "shared/assert.h"
#include "shared/conf_build.h"

enum { NAME_MAX_BYTES = 64, HOST_MAX_BYTES = 253, METHOD_MAX_BYTES = 32 };

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

/* The index of the word in the list, or -1. */
static int word_index(const char *const *words, struct span text)
{
	for (int i = 0; words && words[i]; i++)
		if (span_eq(text, span_of(words[i])))
			return i;
	return -1;
}

static int type_name(struct span text, struct err *err)
{
	bool good = text.len > 0 && text.len <= NAME_MAX_BYTES;

	for (size_t i = 0; good && i < text.len; i++)
		good = is_alnum(text.ptr[i]) || (text.ptr[i] && strchr("-_.", text.ptr[i]));
	return good ? 0
		    : err_set(err,
			      "'%.*s' is not a name: use letters, digits and - _ . (at most %d)",
			      SPAN_ARG(text), NAME_MAX_BYTES);
}

static int type_bool(struct span text, uint64_t *ret_num, struct err *err)
{
	*ret_num = span_eq(text, SPAN("true"));
	if (*ret_num || span_eq(text, SPAN("false")))
		return 0;
	return err_set(err, "'%.*s' is neither true nor false", SPAN_ARG(text));
}

static int type_enum(
	const struct conf_key *key, struct conf_node *n, struct err *err, char *hint, size_t size)
{
	int index = word_index(key->words, n->text);
	char words[192];
	const char *near;
	size_t count = 0;

	if (index >= 0) {
		n->num = (uint64_t)index;
		return 0;
	}
	conf_words(key->words, words, sizeof(words));
	/* A later word may take an argument: "hash client_ip". */
	if (word_index(key->later_words, span_make(n->text.ptr, span_find(n->text, ' ', 0))) >= 0) {
		if (hint)
			snprintf(hint, size, "write %s", words);
		return err_set(err, "'%.*s' is not available in this version", SPAN_ARG(n->text));
	}
	while (key->words[count])
		count++;
	near = did_you_mean(n->text, key->words, count);
	if (near && hint)
		snprintf(hint, size, "did you mean '%s'?", near);
	return err_set(err, "'%.*s' is not a word for this: write %s", SPAN_ARG(n->text), words);
}

/* What a request can be told by: a word, or one with a name. */
static bool is_hash_key(struct span key)
{
	static const char *const alone[] = {"client_ip", "path", "host", NULL};
	static const char *const named[] = {"header:", "cookie:", "query:"};

	if (word_index(alone, key) >= 0)
		return true;
	for (size_t i = 0; i < countof(named); i++)
		if (span_starts(key, span_of(named[i])))
			return type_name(span_from(key, strlen(named[i])), NULL) == 0;
	return false;
}

static int type_balance(
	const struct conf_key *key, struct conf_node *n, struct err *err, char *hint, size_t size)
{
	struct span hash = span_make(n->text.ptr, span_find(n->text, ' ', 0));

	if (!span_eq(hash, SPAN("hash"))) {
		if (type_enum(key, n, err, hint, size) == 0)
			return 0;
		if (hint && !hint[0])
			snprintf(hint, size, "or hash client_ip and the like");
		return -1;
	}
	if (is_hash_key(span_trim(span_from(n->text, hash.len))))
		return 0;
	return err_set(err,
		"'%.*s': write hash client_ip, hash path, hash host, or hash header:NAME, "
		"cookie:NAME or query:NAME",
		SPAN_ARG(n->text));
}

static int type_host(const struct conf_key *key, struct span text, struct err *err)
{
	struct span name = text;
	bool good;

	if (key->wild && span_starts(name, SPAN("*.")))
		name = span_from(name, 2);
	if (name.len > 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']') {
		struct addr a;

		return addr_parse_ip(span_make(name.ptr + 1, name.len - 2), &a, err);
	}
	good = name.len > 0 && name.len <= HOST_MAX_BYTES && name.ptr[0] != '.';
	for (size_t i = 0; good && i < name.len; i++)
		good = is_alnum(name.ptr[i]) || (name.ptr[i] && strchr("-_.", name.ptr[i]));
	if (good)
		return 0;
	if (span_find(name, ':', 0) < name.len)
		return err_set(
			err, "'%.*s' is not a host: write it without a port", SPAN_ARG(text));
	return err_set(err, "'%.*s' is not a host%s", SPAN_ARG(text),
		key->wild ? ": write a name, or *.name for all below it" : " name");
}

static int type_path(
	const struct conf_key *key, struct span text, struct err *err, char *hint, size_t size)
{
	struct span body = text;
	size_t i = 0;

	if (key->wild && text.len && text.ptr[0] == '~') { /* which the proxy will compile */
		if (span_trim(span_from(text, 1)).len)
			return 0;
		if (hint)
			snprintf(hint, size, "write it behind the ~, as in \"~ ^/x\"");
		return err_set(err, "the regular expression is missing");
	}
	if (key->wild && body.len >= 2 && memcmp(body.ptr + body.len - 2, "/*", 2) == 0)
		body.len--;
	if (body.len == 0 || body.ptr[0] != '/')
		return err_set(err, "'%.*s' is not a path: it begins with /", SPAN_ARG(text));
	while (i < body.len && body.ptr[i] > 0x20 && body.ptr[i] < 0x7f && body.ptr[i] != '#' &&
		!(key->wild && (body.ptr[i] == '*' || body.ptr[i] == '?')))
		i++;
	if (i == body.len)
		return 0;
	if (body.ptr[i] == '*')
		return err_set(
			err, "'%.*s': a * stands at the end only, after a /", SPAN_ARG(text));
	return err_set(err, "'%.*s' is not a path: '%c' cannot be in it", SPAN_ARG(text),
		body.ptr[i] > 0x20 ? body.ptr[i] : '?');
}

/* "90%" or "9": num is the number, or hundredths of the percentage, which is in ratio too. */
static int type_share(struct conf_node *n, struct err *err)
{
	struct span text = n->text;

	if (text.len && text.ptr[text.len - 1] == '%') {
		if (percent_parse(text, &n->ratio, err) < 0)
			return -1;
		n->num = (uint64_t)(n->ratio * 100 + 0.5);
		return 0;
	}
	n->ratio = 0;
	if (span_to_u64(text, 1000000, &n->num) < 0)
		return err_set(err,
			"'%.*s' is not a share: write a percentage such as 90%%, or a "
			"number",
			SPAN_ARG(text));
	return 0;
}

static int type_method(struct span text, struct err *err)
{
	bool good = text.len > 0 && text.len <= METHOD_MAX_BYTES;

	for (size_t i = 0; good && i < text.len; i++) {
		char c = text.ptr[i];

		good = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
	}
	return good ? 0
		    : err_set(err, "'%.*s' is not a method: write it in capitals, such as GET",
			      SPAN_ARG(text));
}

static int type_status(struct span text, uint64_t *ret_num, struct err *err)
{
	size_t dash = span_find(text, '-', 0);
	uint64_t from = 0, to = 0;
	int rc = span_to_u64(span_make(text.ptr, dash), 599, &from);

	if (dash < text.len)
		rc |= span_to_u64(span_from(text, dash + 1), 599, &to);
	else
		to = from;
	if (rc < 0 || from < 100 || to < from)
		return err_set(err, "'%.*s' is not a status: write 200, or a range such as 200-399",
			SPAN_ARG(text));
	*ret_num = from * 1000 + to;
	return 0;
}

static bool has_control(struct span text, bool lines)
{
	for (size_t i = 0; i < text.len; i++)
		if (lines && (text.ptr[i] == '\n' || text.ptr[i] == '\r' || text.ptr[i] == '\t'))
			continue;
		else if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
			return true;
	return false;
}

static bool is_number(enum conf_type type)
{
	return type == CONF_TYPE_COUNT || type == CONF_TYPE_DURATION || type == CONF_TYPE_SIZE ||
	       type == CONF_TYPE_BYTE_RATE;
}

static int check_range(const struct conf_key *key, const struct conf_node *n, struct err *err)
{
	/* The longest text of a name or an interface, or the least and the most of a number. */
	uint64_t value = is_number(key->type) ? n->num : n->text.len;
	char range[80];

	if (key->max == 0 || (value >= key->min && value <= key->max))
		return 0;
	conf_key_range(key, range, sizeof(range));
	if (is_number(key->type))
		return err_set(err, "'%.*s' is out of range: %s", SPAN_ARG(n->text), range);
	return err_set(err, "'%.*s' is too long: at most %llu characters", SPAN_ARG(n->text),
		(unsigned long long)key->max);
}

static int type_endpoint(struct conf_node *n, struct err *err)
{
	struct span host;
	uint16_t port = 0;

	if (endpoint_parse(n->text, &n->addr, &host, &port, err) < 0)
		return -1;
	n->num = port;
	return 0;
}

static int type_value(
	const struct conf_key *key, struct conf_node *n, struct err *err, char *hint, size_t size)
{
	switch (key->type) {
	case CONF_TYPE_NAME:
	case CONF_TYPE_REF:
		return type_name(n->text, err);
	case CONF_TYPE_BOOL:
		return type_bool(n->text, &n->num, err);
	case CONF_TYPE_COUNT:
		if (span_to_u64(n->text, UINT64_MAX, &n->num) < 0)
			return err_set(err, "'%.*s' is not a whole number", SPAN_ARG(n->text));
		return 0;
	case CONF_TYPE_DURATION:
		return duration_parse(n->text, &n->num, err);
	case CONF_TYPE_SIZE:
		return size_parse(n->text, &n->num, err);
	case CONF_TYPE_BYTE_RATE:
		return byte_rate_parse(n->text, &n->num, err);
	case CONF_TYPE_RATE:
		return rate_parse(n->text, &n->rate, err);
	case CONF_TYPE_PERCENT:
		return percent_parse(n->text, &n->ratio, err);
	case CONF_TYPE_SHARE:
		return type_share(n, err);
	case CONF_TYPE_BALANCE:
		return type_balance(key, n, err, hint, size);
	case CONF_TYPE_ENUM:
		return type_enum(key, n, err, hint, size);
	case CONF_TYPE_ADDRESS:
		return addr_parse(n->text, &n->addr, err);
	case CONF_TYPE_ENDPOINT:
		return type_endpoint(n, err);
	case CONF_TYPE_IP:
		return addr_parse_ip(n->text, &n->addr, err);
	case CONF_TYPE_CIDR:
		return cidr_parse(n->text, &n->cidr, err);
	case CONF_TYPE_HOST:
		return type_host(key, n->text, err);
	case CONF_TYPE_PATH:
		return type_path(key, n->text, err, hint, size);
	case CONF_TYPE_METHOD:
		return type_method(n->text, err);
	case CONF_TYPE_STATUS:
		return type_status(n->text, &n->num, err);
	case CONF_TYPE_TEXT:
	case CONF_TYPE_FILE:
		return 0;
	case CONF_TYPE_MAP:
	case CONF_TYPE_NAMED:
	case CONF_TYPE_LIST:
	case CONF_TYPE_EITHER:
		break;
	}
	ASSERT(!"a scalar type");
}

int conf_type_scalar(
	const struct conf_key *key, struct conf_node *n, struct err *err, char *hint, size_t size)
{
	struct span text = n->text;
	int rc;

	ASSERT(n->kind == CONF_SCALAR);
	if (has_control(text, key->lines))
		return err_set(err, "a value is one line without control characters");
	if (text.len == 0)
		return err_set(err, "there is no value (type: %s)", conf_type_name(key->type));
	if (key->type != CONF_TYPE_ENUM && key->type != CONF_TYPE_BALANCE &&
		word_index(key->words, text) >= 0)
		return 0;
	if (key->prefix) {
		size_t len = strlen(key->prefix);

		if (!span_starts(text, span_of(key->prefix)) || text.len <= len ||
			text.ptr[len] != ' ')
			return err_set(err, "'%.*s': write %s, or %s and a %s", SPAN_ARG(text),
				key->words[0], key->prefix, conf_type_name(key->type));
		n->text = span_trim(span_from(text, len));
	}
	rc = type_value(key, n, err, hint, size);
	if (rc == 0)
		rc = check_range(key, n, err);
	n->text = text;
	return rc;
}
