#include "proxy/settings/match.h"

#include <stdio.h>

#include "proxy/http/items.h"
#include "shared/assert.h"

const char *condition_word(enum condition_kind kind)
{
	static const char *const words[] = {
#define X(name, word) word,
		CONDITIONS(X)
#undef X
	};

	ASSERT((unsigned)kind < countof(words));
	return words[kind];
}

/* --- holding -----------------------------------------------------------------------------------
 */

struct look {
	const struct condition *condition;
	const struct route_ask *ask;
	bool gave_up;
};

static bool value_fits(struct look *l, struct span value)
{
	const struct condition *c = l->condition;

	if (c->wanted_count == 0)
		return true;
	for (unsigned i = 0; i < c->wanted_count; i++) {
		enum regex_rc rc;

		if (!c->wanted[i].regex) {
			if (span_eq(c->wanted[i].text, value))
				return true;
			continue;
		}
		rc = regex_match(c->wanted[i].regex, l->ask->room, value, NULL);
		if (rc == REGEX_YES)
			return true;
		l->gave_up |= rc == REGEX_GAVE_UP;
	}
	return false;
}

static bool header_fits(struct look *l)
{
	const struct condition *c = l->condition;
	const struct http_head *h = l->ask->head;

	if (c->field != HTTP_F_OTHER && !h->first[c->field])
		return false;
	for (const struct http_field *f = h->fields; f < h->fields + h->field_count; f++)
		if (http_field_is(f, c->field, c->name) && value_fits(l, f->value))
			return true;
	return false;
}

/* Any parameter of that name in a=1;b=2 or a=1&b=2. One without "=" has an empty value. */
static bool parameter_fits(struct look *l, struct span list, char separator)
{
	struct span name, value;

	while (parameter_next(&list, separator, &name, &value))
		if (span_eq(name, l->condition->name) && value_fits(l, value))
			return true;
	return false;
}

static bool cookie_fits(struct look *l)
{
	const struct http_head *h = l->ask->head;

	if (!h->first[HTTP_F_COOKIE])
		return false;
	for (unsigned i = h->first[HTTP_F_COOKIE] - 1u; i < h->field_count; i++)
		if (h->fields[i].id == HTTP_F_COOKIE && parameter_fits(l, h->fields[i].value, ';'))
			return true;
	return false;
}

static bool client_fits(const struct look *l)
{
	for (unsigned i = 0; i < l->condition->network_count; i++)
		if (cidr_contains(&l->condition->networks[i], l->ask->client))
			return true;
	return false;
}

/* "text/html", "text/" and a star. */
static bool media_type_fits(struct span wanted, struct span type)
{
	if (wanted.len && wanted.ptr[wanted.len - 1] == '*') {
		wanted.len--;
		return type.len > wanted.len && span_ieq(span_make(type.ptr, wanted.len), wanted);
	}
	return span_ieq(wanted, type);
}

static bool content_type_fits(const struct look *l)
{
	const struct http_field *f = http_field_find(l->ask->head, HTTP_F_CONTENT_TYPE);
	struct span type;

	if (!f)
		return false;
	type = span_trim(span_make(f->value.ptr, span_find(f->value, ';', 0)));
	for (unsigned i = 0; i < l->condition->wanted_count; i++)
		if (media_type_fits(l->condition->wanted[i].text, type))
			return true;
	return l->condition->wanted_count == 0;
}

static bool upgrade_fits(const struct look *l)
{
	struct span list = l->ask->head->upgrade, protocol;

	if (l->condition->wanted_count == 0)
		return list.len > 0;
	while (item_next(&list, ',', &protocol))
		for (unsigned i = 0; i < l->condition->wanted_count; i++)
			if (span_ieq(l->condition->wanted[i].text, protocol))
				return true;
	return false;
}

static bool fits(struct look *l)
{
	switch (l->condition->kind) {
	case CONDITION_UPGRADE:
		return upgrade_fits(l);
	case CONDITION_CLIENT:
		return client_fits(l);
	case CONDITION_LOCATION:
		return l->ask->location.len && value_fits(l, l->ask->location);
	case CONDITION_CONTENT_TYPE:
		return content_type_fits(l);
	case CONDITION_HEADER:
		return header_fits(l);
	case CONDITION_COOKIE:
		return cookie_fits(l);
	case CONDITION_QUERY:
		return l->ask->query.ptr && parameter_fits(l, l->ask->query, '&');
	case CONDITION_PATH:
		return value_fits(l, l->ask->path);
	}
	ASSERT(!"a kind of condition");
	return false;
}

bool match_holds(const struct match *m, const struct route_ask *ask,
	const struct condition **ret_failed, bool *ret_gave_up)
{
	for (unsigned i = 0; i < m->count; i++) {
		struct look l = {.condition = &m->conditions[i], .ask = ask};
		bool good = fits(&l);

		*ret_gave_up |= l.gave_up && !good;
		if (good)
			continue;
		if (ret_failed)
			*ret_failed = l.condition;
		return false;
	}
	return true;
}

/* --- implying ----------------------------------------------------------------------------------
 */

static bool cidr_within(const struct cidr *narrow, const struct cidr *wide)
{
	struct cidr cut = *narrow;
	struct addr base = {.sa = {.sa_family = cut.family}};

	if (narrow->family != wide->family || narrow->bits < wide->bits)
		return false;
	if (cut.family == AF_INET)
		memcpy(&base.in.sin_addr, cut.bytes, 4);
	else
		memcpy(&base.in6.sin6_addr, cut.bytes, 16);
	return cidr_contains(wide, &base);
}

static bool networks_within(const struct condition *narrow, const struct condition *wide)
{
	for (unsigned i = 0; i < narrow->network_count; i++) {
		unsigned at = 0;

		while (at < wide->network_count &&
			!cidr_within(&narrow->networks[i], &wide->networks[at]))
			at++;
		if (at == wide->network_count)
			return false;
	}
	return true;
}

/* Each of one's values is one of the other's. */
static bool values_within(const struct condition *narrow, const struct condition *wide)
{
	if (wide->wanted_count == 0)
		return true;
	for (unsigned i = 0; i < narrow->wanted_count; i++) {
		const struct wanted *n = &narrow->wanted[i];
		unsigned at = 0;

		while (at < wide->wanted_count && (!n->regex != !wide->wanted[at].regex ||
							  !span_eq(n->text, wide->wanted[at].text)))
			at++;
		if (at == wide->wanted_count)
			return false;
	}
	return narrow->wanted_count > 0;
}

static bool condition_implies(const struct condition *narrow, const struct condition *wide)
{
	if (narrow->kind != wide->kind || narrow->field != wide->field)
		return false;
	if (narrow->kind == CONDITION_HEADER ? !span_ieq(narrow->name, wide->name)
					     : !span_eq(narrow->name, wide->name))
		return false;
	return narrow->kind == CONDITION_CLIENT ? networks_within(narrow, wide)
						: values_within(narrow, wide);
}

bool match_implies(const struct match *narrow, const struct match *wide)
{
	for (unsigned i = 0; i < wide->count; i++) {
		unsigned at = 0;

		while (at < narrow->count &&
			!condition_implies(&narrow->conditions[at], &wide->conditions[i]))
			at++;
		if (at == narrow->count)
			return false;
	}
	return true;
}

/* --- the rest ----------------------------------------------------------------------------------
 */

bool match_captures(const struct match *m, const struct route_ask *ask, struct captures *ret)
{
	const struct condition *last = m->count ? &m->conditions[m->count - 1] : NULL;

	if (!last || last->kind != CONDITION_PATH)
		return false;
	return regex_match(last->wanted[0].regex, ask->room, ask->path, ret) == REGEX_YES;
}

void condition_describe(const struct condition *c, char *out, size_t size)
{
	char text[ADDR_TEXT_MAX];
	int n = snprintf(out, size, "%s%s%.*s is %s", condition_word(c->kind),
		c->name.len ? " " : "", SPAN_ARG(c->name),
		c->wanted_count || c->network_count ? "not " : "missing");
	size_t at = n > 0 ? (size_t)n : 0;

	for (unsigned i = 0; i < c->wanted_count && at < size; i++) {
		n = snprintf(out + at, size - at, "%s%s'%.*s'", i ? ", " : "",
			c->wanted[i].regex ? "~ " : "", SPAN_ARG(c->wanted[i].text));
		at += n > 0 ? (size_t)n : 0;
	}
	for (unsigned i = 0; i < c->network_count && at < size; i++) {
		cidr_format(&c->networks[i], text);
		n = snprintf(out + at, size - at, "%s%s", i ? ", " : "", text);
		at += n > 0 ? (size_t)n : 0;
	}
}
