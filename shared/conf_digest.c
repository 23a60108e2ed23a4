/*
 * A configuration's meaning as one number: names and typed values, in the table's order of keys, so
 * that layout, comments, short forms, files and the unit someone chose make no difference, nor does
 * writing out a default.
 */
#include "shared/assert.h"
#include "shared/conf_build.h"
#include "shared/digest.h"

/* state = SHA-256(state, what was added since), each time the room is full. */
struct sum {
	uint8_t bytes[32 + 4096];
	size_t len;
};

static void fold(struct sum *s)
{
	digest_sha256(span_make(s->bytes, s->len), s->bytes);
	s->len = 32;
}

static void add_bytes(struct sum *s, struct span bytes)
{
	while (bytes.len) {
		size_t room = sizeof(s->bytes) - s->len, n = bytes.len < room ? bytes.len : room;

		memcpy(s->bytes + s->len, bytes.ptr, n);
		s->len += n;
		bytes = span_from(bytes, n);
		if (s->len == sizeof(s->bytes))
			fold(s);
	}
}

/* With its length, so that no two sequences of texts read the same. */
static void add(struct sum *s, char mark, struct span text)
{
	uint64_t len = text.len;
	uint8_t head[9] = {(uint8_t)mark};

	for (unsigned i = 0; i < 8; i++)
		head[1 + i] = (uint8_t)(len >> (8 * i));
	add_bytes(s, span_make(head, sizeof(head)));
	add_bytes(s, text);
}

static void add_scalar(struct sum *s, const struct conf_node *n)
{
	char text[ADDR_TEXT_MAX];

	switch (n->key->type) {
	case CONF_TYPE_DURATION:
	case CONF_TYPE_SIZE:
	case CONF_TYPE_BYTE_RATE:
	case CONF_TYPE_COUNT:
	case CONF_TYPE_STATUS:
		snprintf(text, sizeof(text), "%llu", (unsigned long long)n->num);
		add(s, 'v', span_of(text));
		return;
	case CONF_TYPE_ENDPOINT:
		if (n->addr.sa.sa_family == AF_UNSPEC) {
			add(s, 'v', n->text);
			return;
		}
		__attribute__((fallthrough));
	case CONF_TYPE_ADDRESS:
		addr_format(&n->addr, text);
		add(s, 'v', span_of(text));
		return;
	case CONF_TYPE_IP:
		addr_format_ip(&n->addr, text);
		add(s, 'v', span_of(text));
		return;
	case CONF_TYPE_CIDR:
		cidr_format(&n->cidr, text);
		add(s, 'v', span_of(text));
		return;
	case CONF_TYPE_TEXT:
	case CONF_TYPE_NAME:
	case CONF_TYPE_BOOL:
	case CONF_TYPE_RATE:
	case CONF_TYPE_PERCENT:
	case CONF_TYPE_SHARE:
	case CONF_TYPE_BALANCE:
	case CONF_TYPE_ENUM:
	case CONF_TYPE_FILE:
	case CONF_TYPE_HOST:
	case CONF_TYPE_PATH:
	case CONF_TYPE_METHOD:
	case CONF_TYPE_REF:
		add(s, 'v', n->text);
		return;
	case CONF_TYPE_MAP:
	case CONF_TYPE_NAMED:
	case CONF_TYPE_LIST:
	case CONF_TYPE_EITHER:
		break;
	}
	ASSERT(!"a scalar type");
}

/* The default, written out. */
static bool is_default(const struct conf_node *n)
{
	const char *fallback = n->key->fallback;
	enum conf_type type = n->key->type;
	struct conf_node same;

	if (!fallback || n->kind != CONF_SCALAR)
		return false;
	if (span_eq(n->text, span_of(fallback)))
		return true;
	same = (struct conf_node){.kind = CONF_SCALAR, .text = span_of(fallback)};
	return (type == CONF_TYPE_DURATION || type == CONF_TYPE_SIZE ||
		       type == CONF_TYPE_BYTE_RATE || type == CONF_TYPE_COUNT) &&
	       conf_type_scalar(n->key, &same, NULL, NULL, 0) == 0 && same.num == n->num;
}

/* Says something that would not be so without it. */
static bool means_something(const struct conf_node *n)
{
	if (n->key->type != CONF_TYPE_MAP)
		return !is_default(n);
	conf_each (child, n)
		if (means_something(child))
			return true;
	return false;
}

static void add_node(struct sum *s, const struct conf_node *n)
{
	if (n->kind == CONF_SCALAR) {
		add_scalar(s, n);
		return;
	}
	add(s, '(', SPAN(""));
	if (n->key->type == CONF_TYPE_MAP) {
		for (const struct conf_key *k = n->key->keys; k->name; k++) {
			const struct conf_node *child = conf_find(n, k->name);

			/* What was included is in the tree already. */
			if (!child || !means_something(child) || strcmp(k->name, "include") == 0)
				continue;
			add(s, 'k', child->name);
			add_node(s, child);
		}
	} else {
		conf_each (child, n) {
			add(s, 'k', child->name);
			add_node(s, child);
		}
	}
	add(s, ')', SPAN(""));
}

void conf_digest(const struct conf *c, uint8_t out[32])
{
	struct sum s = {.len = 32};

	ASSERT(c->root->key);
	add_node(&s, c->root);
	fold(&s);
	memcpy(out, s.bytes, 32);
}
