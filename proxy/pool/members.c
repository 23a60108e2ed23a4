#include "proxy/pool/members.h"

#include <stdlib.h>

#include "shared/assert.h"

static const char *const admin_names[] = {
#define X(name, text) text,
	ADMIN_STATES(X)
#undef X
};

const char *admin_state_name(enum admin_state s)
{
	ASSERT((unsigned)s < countof(admin_names));
	return admin_names[s];
}

int admin_state_parse(struct span word, enum admin_state *ret)
{
	for (unsigned i = 0; i < countof(admin_names); i++)
		if (span_eq(word, span_of(admin_names[i]))) {
			*ret = (enum admin_state)i;
			return 0;
		}
	return -1;
}

struct member_set *member_set_new(const struct member *members, unsigned count)
{
	struct member_set *s = malloc(sizeof(*s) + count * sizeof(s->members[0]));
	size_t bytes = 0;
	char *at;

	if (!s)
		return NULL;
	for (unsigned i = 0; i < count; i++)
		bytes += members[i].zone.len;
	s->zones = at = malloc(bytes + 1);
	if (!at) {
		free(s);
		return NULL;
	}
	atomic_init(&s->refs, 1);
	s->count = count;
	for (unsigned i = 0; i < count; i++) {
		struct member *m = &s->members[i];

		*m = members[i];
		server_ref(m->server);
		m->zone.ptr = at;
		if (m->zone.len)
			memcpy(at, members[i].zone.ptr, m->zone.len);
		at += m->zone.len;
	}
	return s;
}

struct member_set *member_set_ref(struct member_set *s)
{
	unsigned before = atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);

	ASSERT(before > 0);
	return s;
}

void member_set_unref(struct member_set *s)
{
	unsigned before;

	if (!s)
		return;
	before = atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel);
	ASSERT(before > 0);
	if (before > 1)
		return;
	for (unsigned i = 0; i < s->count; i++)
		server_unref(s->members[i].server);
	free(s->zones);
	free(s);
}

const struct member *member_set_find(const struct member_set *s, const struct server *server)
{
	for (unsigned i = 0; i < s->count; i++)
		if (s->members[i].server == server)
			return &s->members[i];
	return NULL;
}

const struct member *member_set_named(const struct member_set *s, struct span name)
{
	for (unsigned i = 0; i < s->count; i++)
		if (span_eq(name, span_of(s->members[i].server->name)))
			return &s->members[i];
	return NULL;
}

static bool member_same(const struct member *a, const struct member *b)
{
	return a->server == b->server && a->weight == b->weight && span_eq(a->zone, b->zone) &&
	       a->backup == b->backup && a->disabled == b->disabled && a->admin == b->admin &&
	       a->source == b->source;
}

bool member_set_same(const struct member_set *a, const struct member_set *b)
{
	if (a->count != b->count)
		return false;
	for (unsigned i = 0; i < a->count; i++)
		if (!member_same(&a->members[i], &b->members[i]))
			return false;
	return true;
}
